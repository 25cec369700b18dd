"""The backward scan of the soft rasteriser; shapes and symbols as in `soft.py`.

What a triangle gets from the pixels of its windows is found in `soft_forces.py`; here it is added
up for each triangle and texel, and handed out.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxrender.ops.ordered import scatter_add
from jaxrender.ops.soft_forces import gain, widths_of
from jaxrender.ops.soft_paint import reads_table
from jaxrender.ops.soft_planes import read_pixels, stack_views
from jaxrender.ops.soft_scene import Slots, scan, set_up, staged_call
from jaxrender.ops.soft_sight import look
from jaxrender.ops.soft_types import Blend, Saved, Scales, Scene, Schedule, Settings


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
    widths = widths_of(settings, values)
    sums = jnp.zeros((views * count, sum(widths)), dtype)
    texels = jnp.zeros((views * scene.table.shape[1], scene.table.shape[2]), dtype)
    fold = functools.partial(_fold_back, told=told, winner=winner, rows=scene.table.shape[1])
    if any(widths) or reads_table(settings):
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

    # Find the sides, and the closest point of the boundary.
    sight = look(slots, settings)
    sides, spot = sight.footprint.sides(), None
    if settings.distance == "euclidean":
        spot = sight.footprint.spot(sight.x, sight.y)

    # Weigh the triangle; find how the pixel pulls at what it sees; and how that moves corners.
    gains = functools.partial(gain, settings=settings, staged=staged)
    added, read, amounts = staged_call(staged, gains, slots, told, sides, spot)
    sums = scatter_add(sums, jnp.where(slots.windows.live, slots.windows.face, -1), added)
    first = slots.view[:, None] * rows
    for row, amount in zip(read, amounts, strict=True):
        texels = scatter_add(texels, first + row, amount)
    return sums, texels
