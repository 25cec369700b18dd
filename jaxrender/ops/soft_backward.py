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

from jaxrender.ops.footprints import Triple, mix
from jaxrender.ops.soft_scene import (
    Blend,
    Paint,
    Saved,
    Scales,
    Scene,
    Schedule,
    Settings,
    Slots,
    argument_of,
    attributes_at,
    blend_texels,
    corner_attributes,
    depth_at,
    in_range,
    interpolation,
    look,
    lowest_barycentric,
    read_pixels,
    read_rows,
    scan,
    set_up,
    signed_square,
    stack_views,
    staged_call,
    taps_of,
    weigh,
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
        planes += [saved.nearest, 1 / saved.norm, mean, upstream.depth, *colors]
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
    if any(widths):
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
    pulled = settings.distance != "hard"
    turned = settings.paint is not None and not settings.faithful
    painted = settings.paint is not None
    return 6 * (pulled or turned), 3 * painted, 3 * values * painted, int(pulled), int(painted)


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

    # Find the closest point of the boundary, and where on the triangle each pixel looks.
    sight = look(slots, settings)
    spot = None
    if settings.distance == "euclidean":
        spot = sight.footprint.spot(sight.x, sight.y)
    (w0, w1, _), _ = interpolation(sight, sight.footprint.edges(sight.x, sight.y), settings)

    # Weigh the triangle; find how the pixel pulls at what it sees; and how that moves corners.
    judge = functools.partial(_judge, settings=settings, staged=staged)
    added, read, amounts = staged_call(staged, judge, slots, told, spot, w0, w1)
    sums = sums.at[slots.windows.face].add(added)
    first = slots.view[:, None] * rows
    for row, amount in zip(read, amounts, strict=True):
        texels = texels.at[first + row].add(amount, mode="drop")
    return sums, texels


def _judge(
    slots: Slots,
    told: jax.Array,
    spot: jax.Array | None,
    w0: jax.Array,
    w1: jax.Array,
    *,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
    """Weighs the triangles of a pass as the forward scans do; then goes back from there."""
    sight = look(slots, settings)
    edges = sight.footprint.edges(sight.x, sight.y)
    squared = None
    if spot is not None:
        x, y = sight.footprint.from_spot(spot, sight.x, sight.y)
        squared = x * x + y * y
    signed = signed_square(sight, edges, settings, squared)
    depth = depth_at(sight, [w0, w1, 1 - w0 - w1], settings)
    signed = jnp.where(in_range(sight, depth, settings), signed, -jnp.inf)
    share = None
    if settings.paint:
        weight, depth = weigh(sight, signed, w0, w1, told[:, 1], settings)
        share = weight * told[:, 2]
    pull = functools.partial(_pull, settings=settings, staged=staged)
    return staged_call(staged, pull, slots, told, spot, w0, w1, signed, share, depth)


class _Forces(NamedTuple):
    """How the loss depends on what a pixel sees of a triangle; each `[P, h w]`."""

    argument: jax.Array  # on what coverage and tally take
    scaled: jax.Array  # the same times that argument, for sigma
    depth: jax.Array | None
    bend: jax.Array | None  # on the sharpness
    barycentrics: list[jax.Array]  # on each, less their mean, or none
    attributes: list[jax.Array]


class _Pulled(NamedTuple):
    """What the colours of a pass, and through them their attributes and texels, are pulled."""

    colors: list[jax.Array]
    attributes: list[jax.Array]  # the gradient to them
    rows: list[jax.Array]  # of the table, each with its gradient
    texels: list[jax.Array]  # [P, h w, C']


def _pull_paint(
    slots: Slots, attributes: list[jax.Array], upstream: list[jax.Array], paint: Paint
) -> _Pulled:
    """`paint_at`, and the gradients that `upstream` at its colours has."""
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
    texels = [jnp.stack([weight * part for part in by_texel], -1) for weight in weights]
    return _Pulled(colors, by_attributes, rows, texels)


def _pull(
    slots: Slots,
    told: jax.Array,
    spot: jax.Array | None,
    w0: jax.Array,
    w1: jax.Array,
    signed: jax.Array,
    share: jax.Array | None,
    depth: jax.Array,
    *,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
    """Finds how each pixel pulls at what it sees of a triangle; then goes back from there."""
    sight = look(slots, settings)

    # Pull at colours and depth, and at the weight of the triangle among the others.
    pulled, to_weight, to_depth, bend = _Pulled([], [], [], []), None, None, None
    if settings.paint and share is not None:
        upstream = [share * told[:, 5 + c] for c in range(settings.paint.channels)]
        pulled = _pull_paint(slots, attributes_at(slots, w0, w1), upstream, settings.paint)
        worth = told[:, 4] * depth - told[:, 3]
        for c, color in enumerate(pulled.colors):
            worth = worth + told[:, 5 + c] * color
        to_weight = share * worth
        to_depth = share * told[:, 4] - sight.scales.sharpness * to_weight
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
    turns: list[jax.Array] = []
    if to_depth is not None and not settings.faithful:
        for z, corner in zip(sight.footprint.z, corner_attributes(slots), strict=True):
            turns.append(to_depth * z)
            for pull, attribute in zip(pulled.attributes, corner, strict=True):
                turns[-1] = turns[-1] + pull * attribute
        mean = mix([w0, w1, 1 - w0 - w1], turns)
        turns = [turn - mean for turn in turns]

    forces = _Forces(slope, slope * argument, to_depth, bend, turns, pulled.attributes)
    move = functools.partial(_move, settings=settings, staged=staged)
    added = staged_call(staged, move, slots, spot, w0, w1, signed, depth, forces)
    return added, pulled.rows, pulled.texels


def _move(
    slots: Slots,
    spot: jax.Array | None,
    w0: jax.Array,
    w1: jax.Array,
    signed: jax.Array,
    depth: jax.Array,
    forces: _Forces,
    *,
    settings: Settings,
    staged: bool,
) -> jax.Array:
    """Finds how the pull at what a pixel sees moves the corners; then adds the pixels up."""
    sight = look(slots, settings)
    footprint, sigma = sight.footprint, sight.scales.sigma
    edges = footprint.edges(sight.x, sight.y)
    inverse_area = jnp.abs(footprint.inverse_area)

    # Push the closest point of the boundary, which moves with its edge, against the pixel.
    push, on_edges = None, []
    if spot is not None:
        x, y = footprint.from_spot(spot, sight.x, sight.y)
        sign = jnp.sign(signed)
        rate = 2 * sign / sigma
        if not settings.squared:
            squared = x * x + y * y
            rate = sign / jnp.sqrt(sigma * jnp.where(squared > 0, squared, 1))
        rate = jnp.where(signed > -jnp.inf, rate, 0) * forces.argument
        push = -rate * x, -rate * y

    # Turn the edges about the pixel: those that weigh the barycentrics, and the closest one.
    if forces.barycentrics:
        _, inverse = interpolation(sight, edges, settings)
        on_edges = [
            jnp.where(edge > 0, turn * nearness * inverse, 0)
            for edge, turn, nearness in zip(
                edges, forces.barycentrics, footprint.nearness, strict=True
            )
        ]
    if settings.distance == "barycentric":
        lowest = jnp.abs(lowest_barycentric(sight, edges))
        rate = 2 * lowest / sigma if settings.squared else jax.lax.rsqrt(sigma)
        rate = jnp.where(signed > -jnp.inf, rate, 0) * forces.argument * inverse_area
        on_edges = on_edges or [jnp.zeros_like(w0)] * 3
        on_edges = [
            on_edge + jnp.where(is_lowest, rate, 0)
            for on_edge, is_lowest in zip(on_edges, _which_is_lowest(edges), strict=True)
        ]
    turn = None
    if on_edges:
        by_x, by_y = footprint.slopes()
        turn = mix(on_edges, by_x) * inverse_area, mix(on_edges, by_y) * inverse_area

    # Sink the corners: change their depths, where they are on screen.
    sinks: list[jax.Array] = []
    if forces.depth is not None:
        for k, weight in enumerate((w0, w1, 1 - w0 - w1)):
            z = jnp.where(footprint.z[k] == 0, 1, footprint.z[k])
            if settings.faithful:
                sinks.append(weight * forces.depth * (depth / z) ** 2)
            elif settings.perspective:
                sinks.append(weight * (forces.depth - forces.barycentrics[k] / z))
            else:
                sinks.append(weight * forces.depth)
    add_up = functools.partial(_add_up, settings=settings)
    return staged_call(staged, add_up, slots, spot, push, turn, sinks, w0, w1, forces)


def _add_up(
    slots: Slots,
    spot: jax.Array | None,
    push: tuple[jax.Array, jax.Array] | None,
    turn: tuple[jax.Array, jax.Array] | None,
    sinks: list[jax.Array],
    w0: jax.Array,
    w1: jax.Array,
    forces: _Forces,
    *,
    settings: Settings,
) -> jax.Array:
    """The sums over each window `[P, n]`, in the order of `_widths`."""
    sight = look(slots, settings)
    terms: list[jax.Array] = []
    edges = sight.footprint.edges(sight.x, sight.y)
    for k in range(3):
        for axis in range(2):
            parts = []
            if push is not None and spot is not None:
                parts.append(push[axis] * sight.footprint.spot_weights(spot)[k])
            if turn is not None:
                parts.append(-turn[axis] * edges[k])
            if parts:
                terms.append(functools.reduce(jnp.add, parts))
    terms += sinks
    for weight in (w0, w1, 1 - w0 - w1):
        terms += [weight * attribute for attribute in forces.attributes]
    if settings.distance != "hard":
        terms.append(forces.scaled)
    if forces.bend is not None:
        terms.append(forces.bend)

    # A product with ones is quicker on a CPU than a sum.
    rows = jnp.stack(terms, 1).reshape(-1, terms[0].shape[1])
    ones = jnp.ones((rows.shape[1], 1), rows.dtype)
    total = jnp.matmul(rows, ones, precision=lax.Precision.HIGHEST)
    return total.reshape(-1, len(terms))


def _which_is_lowest(edges: Triple) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Whether each edge function is the smallest; on a tie the first."""
    first = (edges[0] <= edges[1]) & (edges[0] <= edges[2])
    second = ~first & (edges[1] <= edges[2])
    return first, second, ~first & ~second
