"""The forward scans of the soft rasteriser; shapes and symbols as in `soft.py`."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.soft_paint import attributes_at, paint_at
from jaxrender.ops.soft_planes import NO_OFFER, add_pixels, read_pixels, tall_picture, write_pixels
from jaxrender.ops.soft_scene import Slots, scan, set_up, staged_call
from jaxrender.ops.soft_sight import (
    argument_of,
    depth_at,
    in_range,
    interpolation,
    is_covered,
    look,
    signed_square,
    weigh,
)
from jaxrender.ops.soft_types import Blend, Saved, Scales, Scene, Schedule, Settings


def blend_forward(
    corners: jax.Array,
    part: jax.Array,
    attributes: jax.Array,
    table: jax.Array,
    places: jax.Array,
    *scales: jax.Array,
    settings: Settings,
    schedule: Schedule,
) -> tuple[Blend, Saved]:
    """The two scans; all arguments have a leading axis `[B or 1]`."""
    settings = settings._replace(window=schedule.forward)
    scene = Scene(corners, part, attributes, table, places)
    views = max(array.shape[0] for array in (*scene, *scales))
    setup = set_up(scene, Scales(*scales), settings, views)
    tall, cut_out = tall_picture(setup.views, settings)
    rates = Scales(*setup.scales[:, :, None, None])
    dtype = corners.dtype
    run = functools.partial(scan, setup, settings=settings, schedule=schedule)

    # Add up tallies alone, where no colours are asked for.
    total = jnp.zeros(tall, dtype)
    winner = jnp.full(tall if settings.highest else (0, 0), NO_OFFER, jnp.int32)
    if not settings.paint:
        total, winner = run(_fold_tally, (total, winner))
        total = cut_out(total[None])[..., 0]
        zeros, ones = jnp.zeros_like(total), jnp.ones_like(total)
        blend = Blend(jnp.zeros((*total.shape, 0), dtype), zeros, ones, zeros, total, zeros)
        return blend, Saved(ones, _cut_winner(winner, cut_out, setup.views, settings))

    # Find the nearest depth at each pixel; then add everything up. It is sought as the highest of
    # what is less than zero: a GPU has an instruction for the maximum of floats, by way of their
    # bits, and loops for the minimum.
    floor = jnp.repeat(rates.floor.reshape(-1), settings.image_size[0] + settings.window[0])
    nearest = -run(_fold_nearest, jnp.broadcast_to(-floor[:, None], tall))
    sums = jnp.zeros((2 + settings.paint.channels, *tall), dtype)
    total, winner, sums, _ = run(_fold_blend, (total, winner, sums, nearest))

    # Cut the views out of the tall picture, and divide.
    sums = cut_out(sums)
    total, nearest = (cut_out(plane[None])[..., 0] for plane in (total, nearest))
    background = jnp.exp(-rates.sharpness * (rates.floor - nearest))
    norm = background + sums[..., 0]
    norm = jnp.where(norm > 0, norm, 1)
    blend = Blend(
        rgb=sums[..., 2:] / norm[..., None],
        behind=sums[..., 1] / norm,
        background=background / norm,
        foreground=sums[..., 0] / norm,
        total=total,
        nearest=nearest,
    )
    return blend, Saved(norm, _cut_winner(winner, cut_out, setup.views, settings))


def _cut_winner(winner: jax.Array, cut_out: Callable, views: int, settings: Settings) -> jax.Array:
    """Winners `[B, H, W]`; `[B, 0, 0]` where nobody asks for them."""
    if settings.highest:
        return cut_out(winner[None])[..., 0]
    return jnp.zeros((views, 0, 0), jnp.int32)


def _fold_nearest(highest: jax.Array, slots: Slots, settings: Settings, staged: bool) -> jax.Array:
    sight = look(slots, settings)
    edges = sight.footprint.edges(sight.x, sight.y)
    signed = signed_square(sight, edges, settings)
    depth = depth_at(sight, interpolation(sight, edges, settings), settings)
    seen = is_covered(signed, sight, settings) & sight.colored & in_range(sight, depth, settings)
    offer = jnp.where(seen, -depth, -jnp.inf)
    return write_pixels(lax.scatter_max, highest, slots, offer, settings)


def _fold_tally(
    state: tuple[jax.Array, jax.Array], slots: Slots, settings: Settings, staged: bool
) -> tuple[jax.Array, jax.Array]:
    sight = look(slots, settings)
    edges = sight.footprint.edges(sight.x, sight.y)
    signed = signed_square(sight, edges, settings)
    if not settings.faithful:
        depth = depth_at(sight, interpolation(sight, edges, settings), settings)
        signed = jnp.where(in_range(sight, depth, settings), signed, -jnp.inf)
    return _add_tally(*state, slots, signed, settings)


def _add_tally(
    total: jax.Array, winner: jax.Array, slots: Slots, signed: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """Adds the tallies of a pass to `total`, or finds the highest and whose it is."""
    tally = jnp.where(signed > -jnp.inf, settings.tally(argument_of(signed, settings)), 0)
    if not settings.highest:
        added = add_pixels(total, slots, tally, settings)
        return added, winner
    total = write_pixels(lax.scatter_max, total, slots, tally, settings)
    highest = read_pixels(total, slots, settings)
    # Passes go from the last triangle to the first: an offer replaces what earlier ones left.
    hit = (tally == highest) & (tally > 0)
    # Winners are numbered within their view, since `vmap` may make several views of it later.
    offer = jnp.where(hit, slots.triangle[:, None], NO_OFFER)
    return total, write_pixels(lax.scatter_min, winner, slots, offer, settings)


def _fold_blend(
    state: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    slots: Slots,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    total, winner, sums, nearest = state
    nearest_here = read_pixels(nearest, slots, settings)

    # Find how far each pixel is from the triangle, and where on it that is.
    sight = look(slots, settings)
    edges = sight.footprint.edges(sight.x, sight.y)
    signed = signed_square(sight, edges, settings)
    weights = interpolation(sight, edges, settings)
    if not settings.faithful:
        depth = depth_at(sight, weights, settings)
        signed = jnp.where(in_range(sight, depth, settings), signed, -jnp.inf)

    # Add what it contributes.
    contribute = functools.partial(_contribute, settings=settings, staged=staged)
    added, signed = staged_call(staged, contribute, slots, signed, *weights[:2], nearest_here)
    total, winner = _add_tally(total, winner, slots, signed, settings)
    sums = add_pixels(sums, slots, added, settings)
    return total, winner, sums, nearest


def _contribute(
    slots: Slots,
    signed: jax.Array,
    w0: jax.Array,
    w1: jax.Array,
    nearest: jax.Array,
    *,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, jax.Array]:
    """What the triangles of a pass add to `S`, `behind` and colours; and `signed` as it is."""
    weight, depth = weigh(look(slots, settings), signed, w0, w1, nearest, settings)
    color = functools.partial(_color, settings=settings)
    return staged_call(staged, color, slots, weight, depth - nearest, w0, w1), signed


def _color(
    slots: Slots,
    weight: jax.Array,
    behind: jax.Array,
    w0: jax.Array,
    w1: jax.Array,
    *,
    settings: Settings,
) -> jax.Array:
    """The weights, and times them `z_j - m` and colours `[P, 2 + C, h w]`."""
    colors = []
    if (paint := settings.paint) is not None:
        colors = paint_at(slots, attributes_at(slots, w0, w1, flat=paint.flat), paint)
    return jnp.stack([weight, weight * behind, *(weight * color for color in colors)], axis=1)
