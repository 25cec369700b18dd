"""The z-buffer drawn in passes of many pixel blocks, by plain JAX; shapes as in `__init__.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import batch_size
from jaxrender.ops.blocks import Blocks, block_pixels, expected_blocks, scan_blocks
from jaxrender.ops.hard.scene import (
    Drawn,
    Scene,
    over_z_of,
    reversed_depth_at,
    set_up,
)
from jaxrender.ops.triangle import (
    MAX_KEY,
    BarycentricPlanes,
    Edges,
    face_of,
    key_of,
    pixel_centre,
    set_up_barycentrics,
)
from jaxrender.ops.view import View

BLOCK_SIZE = (4, 16)  # of the passes
MAX_BLOCKS_PER_PASS = 1 << 17


def draw_by_passes(
    vertices: jax.Array,  # [B or 1, V, 3]
    faces: jax.Array,  # [B or 1, F, 3]
    view: View,  # limits [B or 1]
    *,
    facing_first: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Faces, barycentrics and depths, of all views at once."""
    views, face_count = batch_size(vertices, faces, view), faces.shape[1]
    scene = scene_of(vertices, faces, view, views=views, facing_first=facing_first)
    drawn = draw_scene(scene, view)
    face, barycentrics, depth = fragments_of(drawn, face_count, perspective=view.perspective)
    empty_depth = jnp.broadcast_to(view.empty_depth, (views,))[:, None, None]
    return face, barycentrics, jnp.where(face < 0, empty_depth, depth)


def scene_of(
    vertices: jax.Array, faces: jax.Array, view: View, *, views: int, facing_first: bool
) -> Scene:
    """The faces of all views, set up; arguments as of `draw_by_passes`."""
    near, far = (jnp.broadcast_to(depth, (views,)) for depth in view.limits)
    reverse = jnp.reciprocal if view.perspective else jnp.negative
    set_up_faces = set_up(vertices, faces, view, views=views, facing_first=facing_first)
    reversed_far = reverse(far)
    if view.perspective:
        # What is nearer than this has a finite depth.
        reversed_far = jnp.maximum(reversed_far, jnp.finfo(reversed_far.dtype).tiny)
    return Scene(*set_up_faces, reversed_far, reverse(near))


def fragments_of(
    drawn: Drawn, face_count: int, *, perspective: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Faces by their numbers in their own view, barycentrics and depths; of nothing any depth."""
    reversed_depth, face, over_z = drawn
    empty, views = face < 0, face.shape[0]
    reverse = jnp.reciprocal if perspective else jnp.negative
    depth = reverse(jnp.where(empty, -1, reversed_depth))
    first = face_count * jnp.arange(views, dtype=jnp.int32)[:, None, None]
    scale = depth if perspective else 1
    barycentrics = [jnp.where(empty, 0, over * scale) for over in over_z]
    return jnp.where(empty, -1, face - first), jnp.stack(barycentrics, axis=-1), depth


def draw_scene(
    scene: Scene, view: View, behind: tuple[jax.Array, jax.Array] | None = None
) -> Drawn:
    """Draws many pixel blocks at once.

    With `behind`, reversed depth and key `[B, H, W]` of a face at each pixel, only what comes after
    that there: what is farther, or as far and of a higher key.
    """
    corners, bounds, edges, wins_ties, reversed_far, reversed_near = scene
    (height, width), views = view.image_size, reversed_far.shape[0]
    (_, total), padded = edges.x.shape, height + BLOCK_SIZE[0]

    def fold(state: tuple[jax.Array, jax.Array], blocks: Blocks) -> tuple[jax.Array, jax.Array]:
        of_view = lax.div(blocks.face, jnp.int32(total // views))
        these = Edges(*table[:15, blocks.face].reshape(5, 3, -1, 1, 1))
        y, x = block_pixels(blocks.row, blocks.column, BLOCK_SIZE)
        far, near = reversed_far[of_view], reversed_near[of_view]
        near = jnp.where(blocks.valid, near, -jnp.inf)
        limits = far[:, None, None], near[:, None, None]
        x, y = pixel_centre(x, width, dtype), pixel_centre(y, height, dtype)
        reversed_depth = reversed_depth_at(these, x[None], y[None], *limits)
        keys = key_of(blocks.face, wins_ties[blocks.face])
        if seen is not None:
            rows, columns = block_pixels(blocks.row + of_view * padded, blocks.column, BLOCK_SIZE)
            depth_before, key_before = (plane[rows, columns] for plane in seen)
            after = (reversed_depth == depth_before) & (keys[:, None, None] > key_before)
            reversed_depth = jnp.where(
                (reversed_depth < depth_before) | after, reversed_depth, -jnp.inf
            )
        return _merge_pixels(state, reversed_depth, keys, blocks, blocks.row + of_view * padded)

    # Draw the views one below the other, padded so that no block leaves the picture. One table
    # of all numbers: a single gather serves a pass, and because a loop needs the table, XLA does
    # not compute its numbers anew at each pixel that asks for them.
    planes, dtype = set_up_barycentrics(corners, perspective=view.perspective), edges.x.dtype
    table = jnp.concatenate([jnp.atleast_2d(rows) for rows in (*edges, *planes)])
    tall = (views * padded, width + BLOCK_SIZE[1])
    seen = None
    if behind is not None:
        rest = ((0, 0), (0, BLOCK_SIZE[0]), (0, BLOCK_SIZE[1]))
        seen = [jnp.pad(plane, rest).reshape(tall) for plane in behind]
    expected = expected_blocks(total // views, view.image_size, BLOCK_SIZE)
    buffers = scan_blocks(
        fold,
        (jnp.full(tall, -jnp.inf, dtype), jnp.full(tall, MAX_KEY, jnp.int32)),
        bounds,
        block_size=BLOCK_SIZE,
        blocks_per_pass=min(MAX_BLOCKS_PER_PASS, 2 * views * expected),
        drawn_last=wins_ties,
    )
    reversed_depth, key = (
        buffer.reshape(views, padded, -1)[:, :height, :width] for buffer in buffers
    )
    face = face_of(key)

    planes = BarycentricPlanes(table[15], table[16], *table[17:].reshape(4, 3, -1))
    return reversed_depth, face, over_z_of(planes, face)


def _merge_pixels(
    state: tuple[jax.Array, jax.Array],
    reversed_depth: jax.Array,
    keys: jax.Array,
    blocks: Blocks,
    row: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Scatters single pixels, all at once, and only those that hit: for a GPU's atomics."""
    nearest, lowest_key = (buffer.reshape(-1) for buffer in state)
    shape = state[0].shape
    rows, columns = block_pixels(row, blocks.column, BLOCK_SIZE)
    pixel = jnp.where(reversed_depth > -jnp.inf, rows * shape[1] + columns, nearest.size)
    nearest = nearest.at[pixel].max(reversed_depth, mode="drop")
    winning = nearest.at[pixel].get(mode="fill", fill_value=jnp.inf)
    tied = jnp.where(reversed_depth == winning, pixel, nearest.size)
    lowest_key = lowest_key.at[tied].min(keys[:, None, None], mode="drop")
    return nearest.reshape(shape), lowest_key.reshape(shape)
