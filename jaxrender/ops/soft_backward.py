"""The backward scan of the soft rasteriser; shapes and symbols as in `soft.py`.

It goes the way of the forward scans back, in four steps for each pass, each of which writes out
what the next one needs: judge the triangles (how much each counts at each pixel), pull at what a
pixel sees of them, move their corners by that, and add the pixels up.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.footprints import Triple, mix, spot_weights
from jaxrender.ops.soft_scene import (
    Blend,
    Paint,
    Saved,
    Scales,
    Scene,
    Schedule,
    Settings,
    Sight,
    Slots,
    argument_of,
    attributes_at,
    blend_texels,
    corner_attributes,
    depth_at,
    in_range,
    look,
    lowest_barycentric,
    read_pixels,
    read_rows,
    scan,
    set_up,
    share_of,
    signed_square,
    stack_views,
    staged_call,
    taps_of,
    weigh,
    weight_of,
)


def blend_backward(
    *args: jax.Array, settings: Settings, schedule: Schedule
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """One scan; all arguments have a leading axis `[B or 1]`.

    Args:
        *args: the fields of `Scene`, `Scales`, `Blend` and `Saved`, and those of the upstream
            gradient of `Blend`.
        settings: what is part of the program.
        schedule: a matter of speed.

    Returns:
        The gradients of corners, attributes, table, sigma, sharpness and floor, each `[B, ...]`.
    """
    fields = iter(args)

    def take(count: int) -> list[jax.Array]:
        return [next(fields) for _ in range(count)]

    scene, scales, blend = Scene(*take(5)), Scales(*take(7)), Blend(*take(4))
    saved, upstream = Saved(*take(3)), Blend(*take(4))
    settings = settings._replace(window=schedule.backward)
    setup = set_up(scene, scales, settings)
    rates = Scales(*setup.scales[:, :, None, None])
    views, count, dtype = setup.views, setup.triangles, scene.corners.dtype

    # Lay out what each pixel tells the triangles that reach it.
    planes, by_background = [upstream.total], jnp.zeros((views, 1, 1), dtype)
    if settings.paint:
        mean = (
            (upstream.rgb * blend.rgb).sum(-1)
            + upstream.depth * blend.depth
            + upstream.background * blend.background
        )
        by_background = blend.background * (upstream.background - mean)
        colors = [upstream.rgb[..., c] for c in range(settings.paint.channels)]
        planes += [saved.nearest, 1 / saved.norm, mean, *colors]
        planes += [upstream.depth] if settings.wanted.depth else []
    shape = (views, *settings.image_size)
    told = stack_views([jnp.broadcast_to(plane, shape) for plane in planes], settings)
    winner = None
    if settings.highest:
        (winner,) = stack_views([jnp.broadcast_to(saved.winner, shape)], settings)

    # Sum up what each triangle and each texel gets.
    values = scene.attributes.shape[-1]
    widths = _widths(settings, values)
    sums = jnp.zeros((views * count, sum(widths)), dtype)
    texels = jnp.zeros((views * scene.table.shape[1], scene.table.shape[2]), dtype)
    fold = functools.partial(_fold_back, told=told, winner=winner, rows=scene.table.shape[1])
    if any(widths) or _reads_table(settings):
        sums, texels = scan(setup, fold, (sums, texels), settings=settings, schedule=schedule)

    # Hand it out.
    start, parts = 0, []
    for width, full in zip(widths, (6, 3, 3 * values, 1, 1), strict=True):
        part = sums[:, start : start + width] if width else jnp.zeros((views * count, full), dtype)
        parts.append(
            part.reshape(views, count, 3, -1) if full % 3 == 0 else part.reshape(views, -1)
        )
        start += width
    xy, z, attributes, by_argument, by_sharpness = parts
    power = 1 if settings.squared else 0.5
    behind = by_background * (rates.floor - saved.nearest) if settings.paint else by_background
    return (
        jnp.concatenate([xy, z], axis=-1),
        attributes,
        texels.reshape(views, *scene.table.shape[1:]),
        -power * by_argument.sum(1) / rates.sigma[:, 0, 0],
        -by_sharpness.sum(1) - behind.sum((1, 2)),
        -(by_background * rates.sharpness).sum((1, 2)),
    )


def _widths(settings: Settings, values: int) -> tuple[int, int, int, int, int]:
    """How many sums there are of x and y, depths, attributes, sigma and sharpness."""
    wanted = settings.wanted
    pulled = settings.distance != "hard"
    turned = settings.paint is not None and not settings.faithful
    painted = settings.paint is not None
    return (
        6 * (wanted.corners and (pulled or turned)),
        3 * (wanted.corners and painted),
        3 * values * (wanted.attributes and painted),
        int(wanted.sigma and pulled),
        int(wanted.sharpness and painted),
    )


def _reads_table(settings: Settings) -> bool:
    """Whether the table is to be differentiated."""
    paint = settings.paint
    return settings.wanted.table and paint is not None and paint.taps is not None


def _leans(settings: Settings) -> bool:
    """Whether barycentrics choose what a pixel sees; in SoftRas they pass no gradient on."""
    return settings.wanted.corners and settings.paint is not None and not settings.faithful


def _fold_back(
    state: tuple[jax.Array, jax.Array],
    slots: Slots,
    settings: Settings,
    staged: bool,
    *,
    told: jax.Array,
    winner: jax.Array | None,
    rows: int,
) -> tuple[jax.Array, jax.Array]:
    """Adds what the triangles of a pass get from the pixels of their windows."""
    sums, texels = state
    told = read_pixels(told, slots, settings)
    if winner is not None:
        won = read_pixels(winner, slots, settings)
        own = (won == slots.windows.face[:, None])[:, None]
        told = jnp.concatenate([jnp.where(own, told[:, :1], 0), told[:, 1:]], axis=1)

    # Find the edge functions, and the closest point of the boundary.
    sight = look(slots, settings)
    edges = sight.footprint.sides().at(sight.x[:, None], sight.y[:, None])
    spot = None
    if settings.distance == "euclidean":
        spot = sight.footprint.spot(sight.x, sight.y)

    # Weigh the triangle; find how the pixel pulls at what it sees; and how that moves corners.
    judge = functools.partial(_judge, settings=settings, staged=staged)
    added, read, amounts = staged_call(staged, judge, slots, told, edges, spot)
    sums = sums.at[slots.windows.face].add(added)
    first = slots.view[:, None] * rows
    for row, amount in zip(read, amounts, strict=True):
        texels = texels.at[first + row].add(amount, mode="drop")
    return sums, texels


class _Place(NamedTuple):
    """Where pixels are to a triangle; each `[P, 3, h w]`, one for each corner."""

    edges: jax.Array  # the edge functions
    weights: jax.Array  # of the corners where it is looked up
    spot: jax.Array | None  # of the corners in the closest point of its boundary

    def away(self, sight: Sight) -> tuple[jax.Array, jax.Array]:
        """The way from the closest point of the boundary to the pixel."""
        weights = _corners(self.spot)
        footprint = sight.footprint
        return sight.x - mix(weights, footprint.x), sight.y - mix(weights, footprint.y)


def _corners(array: jax.Array) -> Triple:
    """What the three corners have, apart."""
    return [array[:, k] for k in range(3)]


def _judge(
    slots: Slots,
    told: jax.Array,
    edges: jax.Array,
    spot: jax.Array | None,
    *,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
    """Finds where the pixels of a pass look; then goes back from there."""
    shares, total = _shares(look(slots, settings), edges, settings)
    weights = weight_of(shares, total, settings)
    place = _Place(edges, weights, None if spot is None else spot_weights(spot))
    weigh = functools.partial(_weigh, settings=settings, staged=staged)
    return staged_call(staged, weigh, slots, told, place)


def _shares(
    sight: Sight, edges: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """What the corners' weights are proportional to `[P, 3, h w]`, and the sum `[P, 1, h w]`."""
    nearness = jnp.stack(sight.footprint.nearness, 1)
    shares = share_of(edges, nearness, sight.footprint.inverse_area[:, None], settings)
    return shares, functools.reduce(jnp.add, _corners(shares))[:, None]


def _weigh(
    slots: Slots, told: jax.Array, place: _Place, *, settings: Settings, staged: bool
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
    """Weighs the triangles of a pass as the forward scans do; then goes back from there."""
    sight = look(slots, settings)
    squared = None
    if place.spot is not None:
        x, y = place.away(sight)
        squared = x * x + y * y
    signed = signed_square(sight, _corners(place.edges), settings, squared)
    w0, w1, w2 = _corners(place.weights)
    depth = depth_at(sight, [w0, w1, w2], settings)
    signed = jnp.where(in_range(sight, depth, settings), signed, -jnp.inf)
    share = None
    if settings.paint:
        weight, depth = weigh(sight, signed, w0, w1, told[:, 1], settings)
        share = weight * told[:, 2]
    pull = functools.partial(_pull, settings=settings, staged=staged)
    return staged_call(staged, pull, slots, told, place, signed, share, depth)


class _Forces(NamedTuple):
    """How the loss depends on what a pixel sees of a triangle; each `[P, h w]`."""

    argument: jax.Array  # on what coverage and tally take
    scaled: jax.Array | None  # the same times that argument, for sigma
    depth: jax.Array | None
    bend: jax.Array | None  # on the sharpness
    mean: jax.Array | None  # on each barycentric, the mean of all three
    attributes: jax.Array  # [P, K, h w]


class _Pulled(NamedTuple):
    """What the colours of a pass, and through them their attributes and texels, are pulled."""

    colors: list[jax.Array]
    attributes: list[jax.Array]  # the gradient to them
    rows: list[jax.Array]  # of the table, each with its gradient
    texels: list[jax.Array]  # [P, h w, C']; none where nobody asks for it


def _pull_paint(
    slots: Slots, attributes: list[jax.Array], upstream: list[jax.Array], settings: Settings
) -> _Pulled:
    """`paint_at`, and the gradients that `upstream` at its colours has."""
    paint = settings.paint or Paint(0)
    if paint.mix is None and paint.taps is None:
        return _Pulled(attributes, upstream, [], [])

    # Read the texels again.
    rows, weights, read, texel, pull_weights = [], [], [], [], None
    if paint.taps is not None:
        rows, _ = taps_of(slots, attributes, paint)
        weights, pull_weights = jax.vjp(lambda values: taps_of(slots, values, paint)[1], attributes)
        read = read_rows(slots, rows)
        texel = blend_texels(read, weights)

    # Go back through the mixing, then through the reading.
    if paint.mix is None:
        colors, by_texel, by_attributes = texel, upstream, [jnp.zeros_like(a) for a in attributes]
    else:
        colors, pull = jax.vjp(paint.mix, texel, attributes)
        by_texel, by_attributes = pull(upstream)
    if pull_weights is None:
        return _Pulled(colors, by_attributes, [], [])
    by_weights = [functools.reduce(jnp.add, map(jnp.multiply, row, by_texel)) for row in read]
    (moved,) = pull_weights(by_weights)
    by_attributes = list(map(jnp.add, by_attributes, moved))
    if not _reads_table(settings):
        return _Pulled(colors, by_attributes, [], [])
    texels = [jnp.stack([weight * part for part in by_texel], -1) for weight in weights]
    return _Pulled(colors, by_attributes, rows, texels)


def _pull(
    slots: Slots,
    told: jax.Array,
    place: _Place,
    signed: jax.Array,
    share: jax.Array | None,
    depth: jax.Array,
    *,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
    """Finds how each pixel pulls at what it sees of a triangle; then goes back from there."""
    sight = look(slots, settings)
    w0, w1, w2 = _corners(place.weights)

    # Pull at colours and depth, and at the weight of the triangle among the others.
    pulled, to_weight, to_depth, bend = _Pulled([], [], [], []), None, None, None
    if settings.paint and share is not None:
        slopes = [told[:, 4 + c] for c in range(settings.paint.channels)]
        attributes = attributes_at(slots, w0, w1, flat=settings.paint.flat)
        upstream = [share * slope for slope in slopes]
        pulled = _pull_paint(slots, attributes, upstream, settings)
        worth = functools.reduce(jnp.add, map(jnp.multiply, slopes, pulled.colors), -told[:, 3])
        worth = worth + told[:, -1] * depth if settings.wanted.depth else worth
        to_weight = share * worth
        to_depth = -sight.scales.sharpness * to_weight
        to_depth = to_depth + share * told[:, -1] if settings.wanted.depth else to_depth
        bend = to_weight * (depth - told[:, 1])

    # Pull at coverage and tally.
    argument = argument_of(signed, settings)
    ones = jnp.ones_like(argument)
    slope = told[:, 0] * jax.jvp(settings.tally, (argument,), (ones,))[1]
    if to_weight is not None:
        coverage, steepness = jax.jvp(settings.coverage, (argument,), (ones,))
        slope = slope + to_weight * steepness / jnp.where(coverage > 0, coverage, 1)
    slope = jnp.where(signed > -jnp.inf, slope, 0)

    # Pull at the barycentrics, which choose depth and attributes; in SoftRas nothing does.
    mean = None
    if to_depth is not None and _leans(settings):
        z, values = _levelled(slots, settings)
        turns = [
            _turn(to_depth, pulled.attributes, z[:, k], [value[:, k] for value in values])
            for k in range(3)
        ]
        mean = mix([w0, w1, w2], turns)
    pulls = pulled.attributes
    if not settings.wanted.attributes and (mean is None or settings.paint.flat):
        pulls = []
    forces = _Forces(
        slope,
        slope * argument if settings.wanted.sigma else None,
        to_depth if settings.wanted.corners else None,
        bend if settings.wanted.sharpness else None,
        mean,
        jnp.stack(pulls, 1) if pulls else jnp.zeros((len(signed), 0, signed.shape[1]), signed.dtype),
    )
    move = functools.partial(_move, settings=settings, staged=staged)
    added = staged_call(staged, move, slots, place, signed, depth, forces)
    return added, pulled.rows, pulled.texels


def _levelled(slots: Slots, settings: Settings) -> tuple[jax.Array, list[jax.Array]]:
    """Depth and each attribute of the corners `[P, 3, 1]`, less what the first corner has.

    No attributes where all corners have the same.
    """
    fields = [look(slots, settings).footprint.z]
    if settings.paint is not None and not settings.paint.flat:
        fields += map(list, zip(*corner_attributes(slots), strict=True))
    z, *values = [jnp.stack([part - field[0] for part in field], 1) for field in fields]
    return z, values


def _turn(
    to_depth: jax.Array, pulls: list[jax.Array], z: jax.Array, values: list[jax.Array]
) -> jax.Array:
    """The pull at a barycentric, whose corner has this depth and these attributes."""
    parts = [pull * value for pull, value in zip(pulls, values, strict=False)]
    return functools.reduce(jnp.add, parts, to_depth * z)


def _move(
    slots: Slots,
    place: _Place,
    signed: jax.Array,
    depth: jax.Array,
    forces: _Forces,
    *,
    settings: Settings,
    staged: bool,
) -> jax.Array:
    """Finds how the pull at what a pixel sees moves the corners; then adds the pixels up."""
    sight = look(slots, settings)
    sigma = sight.scales.sigma

    # Push the closest point of the boundary, which moves with its edge, against the pixel.
    push, turn, sink = None, None, None
    if place.spot is not None and settings.wanted.corners:
        x, y = place.away(sight)
        sign = jnp.sign(signed)
        rate = 2 * sign / sigma
        if not settings.squared:
            squared = x * x + y * y
            rate = sign / jnp.sqrt(sigma * jnp.where(squared > 0, squared, 1))
        rate = jnp.where(signed > -jnp.inf, rate, 0) * forces.argument
        push = -rate[:, None] * jnp.stack([x, y], 1)

    # Turn the edges about the pixel: those that weigh the barycentrics, and the closest one.
    if forces.mean is not None and forces.depth is not None:
        z, values = _levelled(slots, settings)
        pulls = [forces.attributes[:, k, None] for k in range(forces.attributes.shape[1])]
        turned = _turn(forces.depth[:, None], pulls, z, values) - forces.mean[:, None]
        nearness = jnp.stack(sight.footprint.nearness, 1)
        _, total = _shares(sight, place.edges, settings)
        turn = turned * nearness / jnp.where(total > 0, total, 1)
        turn = jnp.where(place.edges > 0, turn, 0)
    if settings.distance == "barycentric" and settings.wanted.corners:
        edges = _corners(place.edges)
        lowest = jnp.abs(lowest_barycentric(sight, edges))
        rate = 2 * lowest / sigma if settings.squared else jax.lax.rsqrt(sigma)
        rate = jnp.where(signed > -jnp.inf, rate, 0) * forces.argument
        rate = rate * jnp.abs(sight.footprint.inverse_area)
        pinched = jnp.where(jnp.stack(_which_is_lowest(edges), 1), rate[:, None], 0)
        turn = pinched if turn is None else turn + pinched

    # Sink the corners: change their depths, and their attributes.
    pulls = []
    if forces.depth is not None:
        pulls.append(forces.depth * depth**2 if settings.faithful else forces.depth)
    if forces.mean is not None:
        pulls.append(forces.mean)
    if pulls or forces.attributes.size:
        sink = jnp.concatenate([*(pull[:, None] for pull in pulls), forces.attributes], 1)
    add_up = functools.partial(_add_up, settings=settings)
    return staged_call(staged, add_up, slots, place, push, turn, sink, forces)


def _add_up(
    slots: Slots,
    place: _Place,
    push: jax.Array | None,
    turn: jax.Array | None,
    sink: jax.Array | None,
    forces: _Forces,
    *,
    settings: Settings,
) -> jax.Array:
    """The sums over each window `[P, n]`, in the order of `_widths`."""
    sight = look(slots, settings)
    footprint = sight.footprint
    parts: list[jax.Array] = []

    # Add up how x and y of the corners are moved.
    moved: list[jax.Array] = []
    if push is not None and place.spot is not None:
        moved.append(_contract(place.spot, push))
    if turn is not None:
        sides = footprint.sides()
        slopes = jnp.concatenate([sides.dy, -sides.dx], -1) * jnp.abs(footprint.inverse_area)[..., None]
        turned = _contract(place.edges, turn)
        moved.append(
            functools.reduce(jnp.add, (turned[:, :, m, None] * slopes[:, m, None] for m in range(3)))
        )
    if moved:
        parts.append(functools.reduce(jnp.add, moved))

    # Add up how their depths are, where they are on screen, and their attributes.
    if sink is not None:
        z = jnp.stack(footprint.z, 1)[..., 0]
        z = jnp.where(z == 0, 1, z)
        sunk = _contract(place.weights, sink)
        count = forces.attributes.shape[1]
        by_attributes = sunk[..., sunk.shape[-1] - count :]
        if forces.depth is not None:
            by_depth = sunk[..., 0]
            if settings.faithful:
                by_depth = by_depth / z**2
            elif settings.perspective:
                level, values = _levelled(slots, settings)
                pulls = [by_attributes[..., k] for k in range(count)]
                leans = _turn(by_depth, pulls, level[..., 0], [value[..., 0] for value in values])
                by_depth = by_depth - (leans - sunk[..., 1]) / z
            parts.append(by_depth)
        if settings.wanted.attributes:
            parts.append(by_attributes)

    # Add up what the scales get: a product with ones is quicker on a CPU than a sum.
    scaled = [forces.scaled] if settings.distance != "hard" else []
    scaled = [part for part in (*scaled, forces.bend) if part is not None]
    if scaled:
        rows = jnp.stack(scaled, 1)
        ones = jnp.ones((rows.shape[-1], 1), rows.dtype)
        parts.append(jnp.matmul(rows, ones, precision=lax.Precision.HIGHEST))
    return jnp.concatenate([part.reshape(part.shape[0], -1) for part in parts], -1)


def _contract(a: jax.Array, b: jax.Array) -> jax.Array:
    """`Σ_s a[p, i, s] b[p, j, s]`, `[P, i, j]`."""
    return (a[:, :, None] * b[:, None]).sum(-1)


def _which_is_lowest(edges: Triple) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Whether each edge function is the smallest; on a tie the first."""
    first = (edges[0] <= edges[1]) & (edges[0] <= edges[2])
    second = ~first & (edges[1] <= edges[2])
    return first, second, ~first & ~second
