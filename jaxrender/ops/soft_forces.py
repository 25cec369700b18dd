"""What a triangle gets from the pixels that see it; shapes and symbols as in `soft.py`.

The steps of a pass of the backward scan, each of which writes out what the next one needs: find
where the pixels look, weigh the triangles (how much each counts at each pixel), pull at what a
pixel sees of them, move their corners by that, and add the pixels up. What the three corners have
is one array `[P, 3, h w]`, and what they get is a sum over the pixels of products of two such
arrays, `Σ_s a[p, k, s] b[p, j, s]`: a third of the arrays that one for each corner would be.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.footprints import Side, Triple, mix, spot_weights
from jaxrender.ops.soft_paint import Pulled, attributes_at, corner_attributes, pull_paint
from jaxrender.ops.soft_scene import Slots, staged_call
from jaxrender.ops.soft_sight import (
    Sight,
    argument_of,
    depth_at,
    in_range,
    look,
    lowest_barycentric,
    share_of,
    signed_square,
    weigh,
    weight_of,
)
from jaxrender.ops.soft_types import Settings

# What the steps hand back: the sums of each triangle `[P, n]`, in the order of `widths_of`; and
# the rows of the table that pixels read, each with its gradient `[P, h w, C']`.
Gained = tuple[jax.Array, list[jax.Array], list[jax.Array]]


def widths_of(settings: Settings, values: int) -> tuple[int, int, int, int, int]:
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


class _Place(NamedTuple):
    """Where pixels are to a triangle; each `[P, 3, h w]`, one for each corner."""

    edges: jax.Array  # the edge functions
    weights: jax.Array  # of the corners where it is looked up
    spot: jax.Array | None  # of the corners in the closest point of its boundary

    def away(self, sight: Sight) -> tuple[jax.Array, jax.Array]:
        """The way from the closest point of the boundary to the pixel."""
        weights, footprint = _corners(self.spot), sight.footprint
        return sight.x - mix(weights, footprint.x), sight.y - mix(weights, footprint.y)


def _corners(array: jax.Array | None) -> Triple:
    """What the three corners have, apart."""
    return [] if array is None else [array[:, k] for k in range(3)]


def gain(
    slots: Slots,
    told: jax.Array,
    sides: Side,
    spot: jax.Array | None,
    *,
    settings: Settings,
    staged: bool,
) -> Gained:
    """All steps.

    Args:
        slots: the triangles of a pass.
        told: `[P, n, h w]` what each pixel tells them: the slope of the total; and where there
            are colours, the nearest depth, 1 / S, the mean `v`, the slopes of the colours, and
            that of `behind`, if the loss depends on it.
        sides: of the triangles.
        spot: `[P, h w]` the closest points of the boundaries; None where no distance needs them.
        settings: what is part of the program.
        staged: whether each step writes out what the next one needs.
    """
    sight = look(slots, settings)
    edges = sides.at(sight.x[:, None], sight.y[:, None])
    shares, total = _shares(sight, edges, settings)
    weights = weight_of(shares, total, settings)
    place = _Place(edges, weights, None if spot is None else spot_weights(spot))
    weigh = functools.partial(_weigh, settings=settings, staged=staged)
    return staged_call(staged, weigh, slots, told, place)


def _shares(sight: Sight, edges: jax.Array, settings: Settings) -> tuple[jax.Array, jax.Array]:
    """What the corners' weights are proportional to `[P, 3, h w]`, and the sum `[P, 1, h w]`."""
    nearness = jnp.stack(sight.footprint.nearness, 1)
    shares = share_of(edges, nearness, sight.footprint.inverse_area[:, None], settings)
    return shares, functools.reduce(jnp.add, _corners(shares))[:, None]


def _weigh(
    slots: Slots, told: jax.Array, place: _Place, *, settings: Settings, staged: bool
) -> Gained:
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
    """How the loss depends on what a pixel sees of a triangle; each `[P, h w]`, if it is needed."""

    argument: jax.Array  # on what coverage and tally take
    depth: jax.Array | None
    mean: jax.Array | None  # on the barycentrics, the mean of all three, less `_levelled`
    attributes: list[jax.Array]
    scales: list[jax.Array]  # on sigma, up to a factor, and on the sharpness


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
) -> Gained:
    """Finds how each pixel pulls at what it sees of a triangle; then goes back from there."""
    wanted, paint = settings.wanted, settings.paint
    sharpness = look(slots, settings).scales.sharpness
    w0, w1, w2 = _corners(place.weights)

    # Pull at colours and depth, and at the weight of the triangle among the others.
    pulled, to_weight, to_depth, bend = Pulled([], [], [], []), None, None, None
    if paint is not None and share is not None:
        slopes = [told[:, 4 + c] for c in range(paint.channels)]
        attributes = attributes_at(slots, w0, w1, flat=paint.flat)
        pulled = pull_paint(slots, attributes, [share * slope for slope in slopes], settings)
        worth = functools.reduce(jnp.add, map(jnp.multiply, slopes, pulled.colors), -told[:, 3])
        behind = depth - told[:, 1]
        worth = worth + told[:, -1] * behind if wanted.depth else worth
        to_weight = share * worth
        to_depth = -sharpness * to_weight
        to_depth = to_depth + share * told[:, -1] if wanted.depth else to_depth
        bend = to_weight * behind

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
    if to_depth is not None and wanted.corners and not settings.faithful:
        levels = _levelled(slots, settings)
        turns = [
            _turn(to_depth, pulled.attributes, [level[:, k] for level in levels]) for k in range(3)
        ]
        mean = mix([w0, w1, w2], turns)

    # Leave out what nobody asks for.
    if not any(widths_of(settings, len(pulled.attributes))):
        return jnp.zeros((len(signed), 0), signed.dtype), pulled.rows, pulled.texels
    keep = wanted.attributes or (mean is not None and paint is not None and not paint.flat)
    scales = [slope * argument] if wanted.sigma and settings.distance != "hard" else []
    scales += [bend] if wanted.sharpness and bend is not None else []
    forces = _Forces(
        slope, to_depth if wanted.corners else None, mean, pulled.attributes if keep else [], scales
    )
    move = functools.partial(_move, settings=settings, staged=staged)
    added = staged_call(staged, move, slots, place, signed, depth, forces)
    return added, pulled.rows, pulled.texels


def _levelled(slots: Slots, settings: Settings) -> list[jax.Array]:
    """Depth, and attributes that differ, of the corners `[P, 3, 1]`, less what the first has.

    Only differences between corners count, and small ones of large numbers would be rounded off.
    """
    fields = [look(slots, settings).footprint.z]
    if settings.paint is not None and not settings.paint.flat:
        fields += map(list, zip(*corner_attributes(slots), strict=True))
    return [jnp.stack([part - field[0] for part in field], 1) for field in fields]


def _turn(
    to_depth: jax.Array, to_attributes: list[jax.Array], levels: list[jax.Array]
) -> jax.Array:
    """The pull at the barycentric of a corner that has these levels."""
    pulls = [to_depth, *to_attributes][: len(levels)]
    return functools.reduce(jnp.add, map(jnp.multiply, pulls, levels))


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
    moves = settings.wanted.corners

    # Push the closest point of the boundary, which moves with its edge, against the pixel.
    push = []
    if place.spot is not None and moves:
        x, y = place.away(sight)
        sign = jnp.sign(signed)
        rate = 2 * sign / sight.scales.sigma
        if not settings.squared:
            squared = x * x + y * y
            rate = sign / jnp.sqrt(sight.scales.sigma * jnp.where(squared > 0, squared, 1))
        rate = jnp.where(signed > -jnp.inf, rate, 0) * forces.argument
        push = [-rate * x, -rate * y]

    # Turn the edges about the pixel: those that weigh the barycentrics, and the closest one.
    turns = []
    if forces.mean is not None and forces.depth is not None:
        pulls = [pull[:, None] for pull in forces.attributes]
        turn = _turn(forces.depth[:, None], pulls, _levelled(slots, settings))
        _, total = _shares(sight, place.edges, settings)
        rate = jnp.stack(sight.footprint.nearness, 1) / jnp.where(total > 0, total, 1)
        turns.append(jnp.where(place.edges > 0, (turn - forces.mean[:, None]) * rate, 0))
    if settings.distance == "barycentric" and moves:
        turns.append(_pinch(sight, _corners(place.edges), signed, forces.argument, settings))

    # Sink the corners: change their depths, and their attributes.
    sink = [] if forces.mean is None else [forces.mean]
    if forces.depth is not None:
        sink.append(forces.depth * depth**2 if settings.faithful else forces.depth)
    sink += forces.attributes
    add_up = functools.partial(_add_up, settings=settings)
    return staged_call(
        staged,
        add_up,
        slots,
        place,
        push,
        functools.reduce(jnp.add, turns) if turns else None,
        jnp.stack(sink, 1) if sink else None,
        jnp.stack(forces.scales, 1) if forces.scales else None,
    )


def _pinch(
    sight: Sight, edges: Triple, signed: jax.Array, argument: jax.Array, settings: Settings
) -> jax.Array:
    """How the edge of the least barycentric is turned, where that is the distance."""
    lowest, sigma = jnp.abs(lowest_barycentric(sight, edges)), sight.scales.sigma
    rate = 2 * lowest / sigma if settings.squared else jax.lax.rsqrt(sigma)
    rate = jnp.where(signed > -jnp.inf, rate, 0) * argument
    rate = rate * jnp.abs(sight.footprint.inverse_area)

    # On a tie it is the first.
    first = (edges[0] <= edges[1]) & (edges[0] <= edges[2])
    second = ~first & (edges[1] <= edges[2])
    return jnp.where(jnp.stack([first, second, ~first & ~second], 1), rate[:, None], 0)


def _add_up(
    slots: Slots,
    place: _Place,
    push: list[jax.Array],
    turn: jax.Array | None,
    sink: jax.Array | None,
    scales: jax.Array | None,
    *,
    settings: Settings,
) -> jax.Array:
    """The sums over each window `[P, n]`, in the order of `widths_of`."""
    footprint = look(slots, settings).footprint
    parts: list[jax.Array] = []

    # Add up how x and y of the corners are moved.
    moved = []
    if push and place.spot is not None:
        pushed = [_contract(place.spot, along[:, None]) for along in push]
        moved.append(jnp.concatenate(pushed, -1))
    if turn is not None:
        sides, area = footprint.sides(), jnp.abs(footprint.inverse_area)[..., None]
        slopes = jnp.concatenate([sides.dy, -sides.dx], -1) * area
        turned = _contract(place.edges, turn)[..., None]
        moved += [turned[:, :, m] * slopes[:, m, None] for m in range(3)]
    if moved:
        parts.append(functools.reduce(jnp.add, moved))

    # Add up how depths and attributes are; depths where they are on screen.
    if sink is not None:
        sunk = _contract(place.weights, sink)
        leans = settings.wanted.corners and not settings.faithful
        by_mean, by_rest = sunk[..., 0], sunk[..., int(leans) :]
        if settings.wanted.corners:
            by_depth, by_rest = by_rest[..., 0], by_rest[..., 1:]
            z = jnp.stack(footprint.z, 1)[..., 0]
            z = jnp.where(z == 0, 1, z)
            if settings.faithful:
                by_depth = by_depth / z**2
            elif settings.perspective:
                pulls = [by_rest[..., k] for k in range(by_rest.shape[-1])]
                levels = [level[..., 0] for level in _levelled(slots, settings)]
                by_depth = by_depth - (_turn(by_depth, pulls, levels) - by_mean) / z
            parts.append(by_depth)
        if settings.wanted.attributes:
            parts.append(by_rest)

    # Add up what the scales get.
    if scales is not None:
        parts.append(scales.sum(-1))
    return jnp.concatenate([part.reshape(part.shape[0], -1) for part in parts], -1)


def _contract(a: jax.Array, b: jax.Array) -> jax.Array:
    """`Σ_s a[p, i, s] b[p, j, s]`, `[P, i, j]`; as a product of matrices one core would do it."""
    return (a[:, :, None] * b[:, None]).sum(-1)
