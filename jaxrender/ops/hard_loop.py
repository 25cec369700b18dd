"""The z-buffer drawn by a loop over faces, on a CPU; shapes as in `hard.py`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxrender.ops import native
from jaxrender.ops.blocks import Bounds
from jaxrender.ops.hard_scene import NO_OFFER, Drawn, Scene, look_at_planes, nearness_at
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.strips import Strips, Window, number, piece, walk
from jaxrender.ops.triangles import (
    Corners,
    Edges,
    corner_order,
    inverse_area,
    planes_of,
    signed_area,
)

FEW_PIXELS = 1 << 17  # of all views, padding and all
FEW_FACES = 8  # few are fewer than one for so many pixels


def draw_in_loop(scene: Scene, *, image_size: tuple[int, int], perspective: bool) -> Drawn:
    """Draws one face after the other."""
    corners, bounds, edges, first, lowest, highest = scene
    strips = Strips(lowest.shape[0], image_size)
    draw = native.one_function(functools.partial(_find_nearest, strips=strips))
    nearest, face = draw(bounds, edges, first, lowest, highest)
    face = jnp.where(face == NO_OFFER, -1, face)

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
    """The walk that finds the highest nearness, and whose it is."""

    def offer(edges: Edges, window: Window, lowest: jax.Array, highest: jax.Array) -> jax.Array:
        x, y = window.pixels(strips.image_size, edges.x.dtype)
        limits = number(lowest, window.view), number(highest, window.view)
        return nearness_at(_edges_of_face(edges, window.face), x[None], y[None], *limits)

    def paint(nearest: jax.Array, ids: jax.Array, offered: jax.Array, window: Window) -> jax.Array:
        wins = (offered == window.read(nearest)) & (offered > -jnp.inf)
        return window.write(ids, jnp.where(wins, window.face, window.read(ids)))

    def fold(buffers: tuple[jax.Array, jax.Array], window: Window) -> tuple[jax.Array, jax.Array]:
        nearest, ids = buffers
        offered = native.apart(offer)(edges, window, lowest, highest)
        before = window.read(nearest)
        nearest = window.write(nearest, jnp.where(offered > before, offered, before))
        return nearest, native.apart(paint)(nearest, ids, offered, window)

    empty = strips.full(-jnp.inf, edges.x.dtype), strips.full(NO_OFFER, jnp.int32)
    return walk(fold, match_varying_axes(empty, lowest), bounds, strips, late=first)


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
    ranks = corner_order(corners).ranks()
    scale = inverse_area(signed_area(corners))[None]
    scale = jnp.broadcast_to(scale / jnp.abs(corners.z) if perspective else scale, ranks.shape)

    def fold(shares: tuple[jax.Array, jax.Array], window: Window) -> tuple[jax.Array, jax.Array]:
        x, y = window.pixels(strips.image_size, edges.x.dtype)
        seen = window.read(face) == window.face
        written = []
        for corner, share in enumerate(shares):
            rank = number(ranks, corner, window.face)
            weight = _edges_of_face(edges, window.face, rank, 1).weights(x[None], y[None])[0]
            found = weight * number(scale, corner, window.face)
            written.append(window.write(share, jnp.where(seen, found, window.read(share))))
        return written[0], written[1]

    nothing = strips.full(0, edges.x.dtype), strips.full(0, edges.x.dtype)
    return walk(fold, match_varying_axes(nothing, face), bounds, strips)


def _edges_of_face(
    edges: Edges, face: jax.Array, first: int | jax.Array = 0, count: int = 3
) -> Edges:
    """Of one face so many corners from the `first` on, each `[count, 1]`."""
    return Edges(*(piece(field, (first, face), (count, 1)) for field in edges))
