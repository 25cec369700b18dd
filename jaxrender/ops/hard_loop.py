"""The z-buffer drawn by a loop over faces, on a CPU; shapes as in `hard.py`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import native
from jaxrender.ops.hard_scene import (
    NO_OFFER,
    Drawn,
    Scene,
    face_of,
    look_at_planes,
    nearness_at,
)
from jaxrender.ops.passes import vary_like
from jaxrender.ops.strips import Strips, Window, number, piece, walk
from jaxrender.ops.triangles import (
    Corners,
    Edges,
    corner_order,
    inverse_area,
    planes_of,
    signed_area,
)
from jaxrender.ops.windows import Bounds

FEW_PIXELS = 1 << 17  # of all views, padding and all
FEW_FACES = 8  # few are fewer than one for so many pixels
NO_KEY = -NO_OFFER - 1  # of no face, lower than all keys


def draw_in_loop(scene: Scene, *, image_size: tuple[int, int], perspective: bool) -> Drawn:
    """Draws one face after the other."""
    corners, bounds, edges, first, lowest, highest = scene
    strips = Strips(lowest.shape[0], image_size)
    draw = native.one_function(functools.partial(_find_nearest, strips=strips))
    nearest, key = draw(bounds, edges, first, lowest, highest)
    face = face_of(key)

    # Find where on its face each pixel looks, unless nobody asks for it: by looking the face up,
    # or by another walk where that has less to do, in small pictures of few faces.
    if not FEW_FACES * edges.x.shape[1] <= strips.size <= FEW_PIXELS:
        nearest, face = strips.cut_out(nearest), strips.cut_out(face)
        planes = native.apart(functools.partial(planes_of, perspective=perspective))(corners)
        return nearest, face, look_at_planes(planes, face)
    share = native.one_function(
        functools.partial(_find_shares, strips=strips, perspective=perspective)
    )
    shares = share(bounds, edges, corners, face)
    nearest, face, s0, s1 = map(strips.cut_out, (nearest, face, *shares))
    s2 = jnp.maximum((nearest if perspective else 1) - s0 - s1, 0)
    return nearest, face, [s0, s1, s2]


def _find_nearest(
    bounds: Bounds,
    edges: Edges,
    first: jax.Array,
    lowest: jax.Array,
    highest: jax.Array,
    *,
    strips: Strips,
) -> tuple[jax.Array, jax.Array]:
    """The walk that finds the highest nearness, and the key of the face that has it."""

    def offer(
        edges: Edges, nearest: jax.Array, window: Window, highest: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        x, y = window.pixels(strips.image_size, edges.x.dtype)
        edges, high = _edges_of_face(edges, window.face), number(highest, window.view)
        return nearness_at(edges, x[None], y[None], None, high), window.read(nearest)

    def paint(keys: jax.Array, offered: jax.Array, before: jax.Array, window: Window) -> jax.Array:
        # Of the faces drawn before, fronts alone have lower keys, and only if this is a back.
        is_first = number(first, window.face)
        key = lax.select(is_first, window.face - NO_OFFER, window.face)
        least = lax.select(is_first, jnp.int32(-NO_OFFER), jnp.int32(0))
        held = window.read(keys)
        wins = (offered > before) | ((offered == before) & (held >= least))
        return window.write(keys, jnp.where(wins, key, held))

    def fold(buffers: tuple[jax.Array, jax.Array], window: Window) -> tuple[jax.Array, jax.Array]:
        nearest, keys = buffers
        offered, before = native.apart(offer)(edges, nearest, window, highest)
        nearest = window.write(nearest, jnp.where(offered > before, offered, before))
        return nearest, native.apart(paint)(keys, offered, before, window)

    # Nothing is drawn that is no nearer than `lowest`, and nothing ties with what is not drawn.
    empty = strips.full(lowest, edges.x.dtype), strips.full(NO_KEY, jnp.int32)
    return walk(fold, vary_like(empty, lowest), bounds, strips)


def _find_shares(
    bounds: Bounds,
    edges: Edges,
    corners: Corners,
    face: jax.Array,
    *,
    strips: Strips,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """The walk that finds the shares of the first two corners where a face is seen."""
    # Find the edges opposite those corners, and what turns their weights into shares.
    ranks = corner_order(corners).ranks()[:2]
    scale = inverse_area(signed_area(corners))[None]
    scale = scale / jnp.abs(corners.z[:2]) if perspective else scale
    fields = (edges.x, edges.y, edges.dx, edges.dy)
    x_end, y_end, dx, dy = (
        jnp.where(ranks == 0, field[:1], jnp.where(ranks == 1, field[1:2], field[2:]))
        for field in fields
    )
    own = x_end, y_end, dx * scale, dy * scale

    def fold(shares: tuple[jax.Array, jax.Array], window: Window) -> tuple[jax.Array, jax.Array]:
        x, y = window.pixels(strips.image_size, edges.x.dtype)
        x_end, y_end, dx, dy = (piece(field, (0, window.face), (2, 1)) for field in own)
        seen = window.read(face) == window.face
        found = (y[None] - y_end) * dx - (x[None] - x_end) * dy
        written = [
            window.write(share, jnp.where(seen, found[m], window.read(share)))
            for m, share in enumerate(shares)
        ]
        return written[0], written[1]

    nothing = strips.full(0, edges.x.dtype), strips.full(0, edges.x.dtype)
    return walk(fold, vary_like(nothing, face), bounds, strips)


def _edges_of_face(edges: Edges, face: jax.Array) -> Edges:
    return Edges(*(piece(field, (0, face), (3, 1)) for field in edges))
