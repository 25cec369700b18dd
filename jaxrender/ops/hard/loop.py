"""The z-buffer drawn by a loop over faces, on a CPU; shapes as in `__init__.py`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import native
from jaxrender.ops.blocks import Bounds
from jaxrender.ops.hard.column_framebuffer import (
    ColumnFramebuffer,
    PixelBlock,
    scalar_at,
    slice_at,
    walk,
)
from jaxrender.ops.hard.scene import (
    MAX_KEY,
    Drawn,
    Scene,
    face_of,
    over_z_of,
    reversed_depth_at,
)
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.triangle import (
    Corners,
    Edges,
    corner_order,
    edge_function,
    inverse_area,
    set_up_barycentrics,
    signed_area,
)
from jaxrender.ops.view import View

FEW_PIXELS = 1 << 17  # of all views, padding and all
FEW_FACES = 8  # few are fewer than one for so many pixels
NO_KEY = -MAX_KEY - 1  # of no face, lower than all keys


def draw_in_loop(scene: Scene, view: View) -> Drawn:
    """Draws one face after the other."""
    corners, bounds, edges, wins_ties, reversed_far, reversed_near = scene
    perspective = view.perspective
    framebuffer = ColumnFramebuffer(reversed_far.shape[0], view.image_size)
    draw = native.one_function(functools.partial(_find_nearest, framebuffer=framebuffer))
    nearest, key = draw(bounds, edges, wins_ties, reversed_far, reversed_near)
    face = face_of(key)

    # Find where on its face each pixel looks, unless nobody asks for it: by looking the face up,
    # or by another walk where that has less to do, in small pictures of few faces.
    if not FEW_FACES * edges.x.shape[1] <= framebuffer.size <= FEW_PIXELS:
        nearest, face = framebuffer.crop(nearest), framebuffer.crop(face)
        planes = native.apart(functools.partial(set_up_barycentrics, perspective=perspective))(
            corners
        )
        return nearest, face, over_z_of(planes, face)
    find = native.one_function(
        functools.partial(_find_over_z, framebuffer=framebuffer, perspective=perspective)
    )
    over_z = find(bounds, edges, corners, face)
    nearest, face, b0, b1 = map(framebuffer.crop, (nearest, face, *over_z))
    b2 = jnp.maximum((nearest if perspective else 1) - b0 - b1, 0)
    return nearest, face, [b0, b1, b2]


def _find_nearest(
    bounds: Bounds,
    edges: Edges,
    wins_ties: jax.Array,
    reversed_far: jax.Array,
    reversed_near: jax.Array,
    *,
    framebuffer: ColumnFramebuffer,
) -> tuple[jax.Array, jax.Array]:
    """The walk that finds the highest reversed depth, and the key of the face that has it."""

    def offer(
        edges: Edges, nearest: jax.Array, block: PixelBlock, reversed_near: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        x, y = block.pixels(framebuffer.image_size, edges.x.dtype)
        edges, near = _edges_of_face(edges, block.face), scalar_at(reversed_near, block.view)
        return reversed_depth_at(edges, x[None], y[None], None, near), block.read(nearest)

    def merge(
        keys: jax.Array, offered: jax.Array, before: jax.Array, block: PixelBlock
    ) -> jax.Array:
        # At equal depth this face wins, since the last come first, unless it is a back and a
        # front is held: see `key_of`.
        wins = scalar_at(wins_ties, block.face)
        key = lax.select(wins, block.face - MAX_KEY, block.face)
        least = lax.select(wins, jnp.int32(-MAX_KEY), jnp.int32(0))
        held = block.read(keys)
        seen = (offered > before) | ((offered == before) & (held >= least))
        return block.write(keys, jnp.where(seen, key, held))

    def fold(
        buffers: tuple[jax.Array, jax.Array], block: PixelBlock
    ) -> tuple[jax.Array, jax.Array]:
        nearest, keys = buffers
        offered, before = native.apart(offer)(edges, nearest, block, reversed_near)
        nearest = block.write(nearest, jnp.where(offered > before, offered, before))
        return nearest, native.apart(merge)(keys, offered, before, block)

    # Nothing is drawn that is no nearer than `far`, and nothing ties with what is not drawn.
    empty = framebuffer.full(reversed_far, edges.x.dtype), framebuffer.full(NO_KEY, jnp.int32)
    return walk(fold, match_varying_axes(empty, reversed_far), bounds, framebuffer)


def _find_over_z(
    bounds: Bounds,
    edges: Edges,
    corners: Corners,
    face: jax.Array,
    *,
    framebuffer: ColumnFramebuffer,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """The walk that finds the first two barycentrics over z where a face is seen."""
    # Find the edges opposite those corners, and what scales their edge functions.
    ranks = corner_order(corners).ranks()[:2]
    scale = inverse_area(signed_area(corners))[None]
    scale = scale / jnp.abs(corners.z[:2]) if perspective else scale
    fields = (edges.x, edges.y, edges.dx, edges.dy)
    x_end, y_end, dx, dy = (
        jnp.where(ranks == 0, field[:1], jnp.where(ranks == 1, field[1:2], field[2:]))
        for field in fields
    )
    own = x_end, y_end, dx * scale, dy * scale

    def fold(over_z: tuple[jax.Array, jax.Array], block: PixelBlock) -> tuple[jax.Array, jax.Array]:
        x, y = block.pixels(framebuffer.image_size, edges.x.dtype)
        x_end, y_end, dx, dy = (slice_at(field, (0, block.face), (2, 1)) for field in own)
        seen = block.read(face) == block.face
        found = edge_function(x[None], y[None], x_end, y_end, dx, dy)
        written = [
            block.write(over, jnp.where(seen, found[m], block.read(over)))
            for m, over in enumerate(over_z)
        ]
        return written[0], written[1]

    nothing = framebuffer.full(0, edges.x.dtype), framebuffer.full(0, edges.x.dtype)
    return walk(fold, match_varying_axes(nothing, face), bounds, framebuffer)


def _edges_of_face(edges: Edges, face: jax.Array) -> Edges:
    return Edges(*(slice_at(field, (0, face), (3, 1)) for field in edges))
