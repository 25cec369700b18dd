"""Pictures as the scans of the soft rasteriser read and write them, all views in one plane.

Shapes and symbols as in `soft.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import ordered
from jaxrender.ops.soft_scene import Slots
from jaxrender.ops.soft_types import Settings
from jaxrender.ops.windows import window_pixels

NO_OFFER = jnp.iinfo(jnp.int32).max
IN_BOUNDS = lax.GatherScatterMode.PROMISE_IN_BOUNDS
PLANE_SCATTER = lax.ScatterDimensionNumbers((1, 2), (), (0, 1))  # windows of one plane
PLANE_GATHER = lax.GatherDimensionNumbers((1, 2), (), (0, 1))
PLANES_SCATTER = lax.ScatterDimensionNumbers((1, 2, 3), (), (1, 2))  # of several at once
PLANES_GATHER = lax.GatherDimensionNumbers((1, 2, 3), (), (1, 2))


def tall_picture(
    views: int, settings: Settings
) -> tuple[tuple[int, int], Callable[[jax.Array], jax.Array]]:
    """The size of the views drawn one below the other, padded so that no window leaves them.

    Also what cuts planes `[n, *size]` into `[B, H, W, n]`.
    """
    height, width = settings.image_size
    padded, wider = height + settings.window[0], width + settings.window[1]

    def cut_out(planes: jax.Array) -> jax.Array:
        planes = planes.reshape(-1, views, padded, wider)[:, :, :height, :width]
        return planes.transpose(1, 2, 3, 0)

    return (views * padded, wider), cut_out


def stack_views(planes: list[jax.Array], settings: Settings) -> jax.Array:
    """Lays planes `[B, H, W]` out as scans take them: `[n, *size]` of `tall_picture`."""
    height, width = settings.window
    stacked = jnp.pad(jnp.stack(planes), ((0, 0), (0, 0), (0, height), (0, width)))
    return stacked.reshape(len(planes), -1, stacked.shape[-1])


def read_pixels(planes: jax.Array, slots: Slots, settings: Settings) -> jax.Array:
    """What a plane `[*size]` of `tall_picture` has at the pixels of a pass, `[P, h w]`.

    Of several planes `[n, *size]`, `[P, n, h w]`.
    """
    numbers = PLANE_GATHER if planes.ndim == 2 else PLANES_GATHER
    size = (*planes.shape[:-2], *settings.window)
    read = lax.gather(planes, slots.origin, numbers, size, mode=IN_BOUNDS)
    return read.reshape(*read.shape[:-2], -1)


def write_pixels(
    scatter: Callable, planes: jax.Array, slots: Slots, values: jax.Array, settings: Settings
) -> jax.Array:
    """Folds such values into planes, with `lax.scatter_max` or another of its kind."""
    numbers = PLANE_SCATTER if planes.ndim == 2 else PLANES_SCATTER
    values = values.reshape(*values.shape[:-1], *settings.window)
    return scatter(planes, slots.origin, values, numbers, mode=IN_BOUNDS)


def add_pixels(planes: jax.Array, slots: Slots, values: jax.Array, settings: Settings) -> jax.Array:
    """Adds such values to planes, in a fixed order if that is asked for."""
    if not ordered.is_requested():
        return write_pixels(lax.scatter_add, planes, slots, values, settings)
    rows, columns = window_pixels(slots.origin[:, 0], slots.origin[:, 1], settings.window)
    places = jnp.where(slots.windows.live[:, None, None], rows * planes.shape[-1] + columns, -1)
    flat = planes.reshape(-1, planes.shape[-2] * planes.shape[-1])
    runs = ordered.sort_into_runs(places.reshape(-1), flat.shape[1])
    values = values.reshape(places.shape[0], flat.shape[0], -1)
    sums = runs.sum_values(jnp.moveaxis(values, 1, 2).reshape(-1, flat.shape[0]))
    added = flat.at[:, runs.target].add(sums.T, mode="drop", unique_indices=True)
    return added.reshape(planes.shape)
