"""The z-buffer drawn in passes of many windows, on a GPU; shapes as in `hard.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.hard_scene import NO_OFFER, Drawn, Scene, face_of, look_at_planes, nearness_at
from jaxrender.ops.triangles import Edges, Planes, pixel_centre, planes_of
from jaxrender.ops.windows import Windows, expected_windows, scan_windows, window_pixels

WINDOW = (4, 16)  # of the passes
MOST_SLOTS = 1 << 17  # of a pass


def draw_in_passes(scene: Scene, *, image_size: tuple[int, int], perspective: bool) -> Drawn:
    """Draws many windows at once."""
    corners, bounds, edges, first, lowest, highest = scene
    (height, width), views = image_size, lowest.shape[0]
    (_, total), padded = edges.x.shape, height + WINDOW[0]

    def fold(state: tuple[jax.Array, jax.Array], windows: Windows) -> tuple[jax.Array, jax.Array]:
        view = lax.div(windows.face, jnp.int32(total // views))
        these = Edges(*table[:15, windows.face].reshape(5, 3, -1, 1, 1))
        y, x = window_pixels(windows.row, windows.column, WINDOW)
        low, high = lowest[view], jnp.where(windows.live, highest[view], -jnp.inf)
        limits = low[:, None, None], high[:, None, None]
        x, y = pixel_centre(x, width, dtype), pixel_centre(y, height, dtype)
        nearness = nearness_at(these, x[None], y[None], *limits)
        keys = jnp.where(first[windows.face], windows.face - NO_OFFER, windows.face)
        return _merge_pixels(state, nearness, keys, windows, windows.row + view * padded)

    # Draw the views one below the other, padded so that no window leaves the picture. One table
    # of all numbers: a single gather serves a pass, and because a loop needs the table, XLA does
    # not compute its numbers anew at each pixel that asks for them.
    planes, dtype = planes_of(corners, perspective=perspective), edges.x.dtype
    table = jnp.concatenate([jnp.atleast_2d(rows) for rows in (*edges, *planes)])
    tall = (views * padded, width + WINDOW[1])
    buffers = scan_windows(
        fold,
        (jnp.full(tall, -jnp.inf, dtype), jnp.full(tall, NO_OFFER, jnp.int32)),
        bounds,
        window=WINDOW,
        slots=min(MOST_SLOTS, 2 * views * expected_windows(total // views, image_size, WINDOW)),
        late=first,
    )
    nearest, key = (buffer.reshape(views, padded, -1)[:, :height, :width] for buffer in buffers)
    face = face_of(key)

    planes = Planes(table[15], table[16], *table[17:].reshape(4, 3, -1))
    return nearest, face, look_at_planes(planes, face)


def _merge_pixels(
    state: tuple[jax.Array, jax.Array],
    nearness: jax.Array,
    keys: jax.Array,
    windows: Windows,
    row: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Scatters single pixels, all at once, and only those that hit: for a GPU's atomics."""
    nearest, held = (buffer.reshape(-1) for buffer in state)
    shape = state[0].shape
    rows, columns = window_pixels(row, windows.column, WINDOW)
    pixel = jnp.where(nearness > -jnp.inf, rows * shape[1] + columns, nearest.size)
    nearest = nearest.at[pixel].max(nearness, mode="drop")
    winning = nearest.at[pixel].get(mode="fill", fill_value=jnp.inf)
    offer = jnp.where(nearness == winning, pixel, nearest.size)
    held = held.at[offer].min(keys[:, None, None], mode="drop")
    return nearest.reshape(shape), held.reshape(shape)
