"""The z-buffer drawn in passes of many pixel blocks, on a GPU; shapes as in `hard.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.blocks import Blocks, block_pixels, expected_blocks, scan_blocks
from jaxrender.ops.hard_scene import NO_OFFER, Drawn, Scene, face_of, look_at_planes, nearness_at
from jaxrender.ops.triangles import Edges, Planes, pixel_centre, planes_of

BLOCK_SIZE = (4, 16)  # of the passes
MOST_BLOCKS = 1 << 17  # of a pass


def draw_in_passes(scene: Scene, *, image_size: tuple[int, int], perspective: bool) -> Drawn:
    """Draws many pixel blocks at once."""
    corners, bounds, edges, first, lowest, highest = scene
    (height, width), views = image_size, lowest.shape[0]
    (_, total), padded = edges.x.shape, height + BLOCK_SIZE[0]

    def fold(state: tuple[jax.Array, jax.Array], blocks: Blocks) -> tuple[jax.Array, jax.Array]:
        view = lax.div(blocks.face, jnp.int32(total // views))
        these = Edges(*table[:15, blocks.face].reshape(5, 3, -1, 1, 1))
        y, x = block_pixels(blocks.row, blocks.column, BLOCK_SIZE)
        low, high = lowest[view], jnp.where(blocks.valid, highest[view], -jnp.inf)
        limits = low[:, None, None], high[:, None, None]
        x, y = pixel_centre(x, width, dtype), pixel_centre(y, height, dtype)
        nearness = nearness_at(these, x[None], y[None], *limits)
        keys = jnp.where(first[blocks.face], blocks.face - NO_OFFER, blocks.face)
        return _merge_pixels(state, nearness, keys, blocks, blocks.row + view * padded)

    # Draw the views one below the other, padded so that no block leaves the picture. One table
    # of all numbers: a single gather serves a pass, and because a loop needs the table, XLA does
    # not compute its numbers anew at each pixel that asks for them.
    planes, dtype = planes_of(corners, perspective=perspective), edges.x.dtype
    table = jnp.concatenate([jnp.atleast_2d(rows) for rows in (*edges, *planes)])
    tall = (views * padded, width + BLOCK_SIZE[1])
    expected = expected_blocks(total // views, image_size, BLOCK_SIZE)
    buffers = scan_blocks(
        fold,
        (jnp.full(tall, -jnp.inf, dtype), jnp.full(tall, NO_OFFER, jnp.int32)),
        bounds,
        block_size=BLOCK_SIZE,
        blocks_per_pass=min(MOST_BLOCKS, 2 * views * expected),
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
    blocks: Blocks,
    row: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Scatters single pixels, all at once, and only those that hit: for a GPU's atomics."""
    nearest, held = (buffer.reshape(-1) for buffer in state)
    shape = state[0].shape
    rows, columns = block_pixels(row, blocks.column, BLOCK_SIZE)
    pixel = jnp.where(nearness > -jnp.inf, rows * shape[1] + columns, nearest.size)
    nearest = nearest.at[pixel].max(nearness, mode="drop")
    winning = nearest.at[pixel].get(mode="fill", fill_value=jnp.inf)
    offer = jnp.where(nearness == winning, pixel, nearest.size)
    held = held.at[offer].min(keys[:, None, None], mode="drop")
    return nearest.reshape(shape), held.reshape(shape)
