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
from jaxrender.ops.triangles import Edges, inverse_area, planes_of, signed_area

FEW_PIXELS = 1 << 17  # of all views, padding and all
FEW_FACES = 8  # few are fewer than one for so many pixels


def draw_in_loop(scene: Scene, *, image_size: tuple[int, int], perspective: bool) -> Drawn:
    """Draws one face after the other."""
    corners, bounds, edges, lowest, highest = scene
    strips = Strips(lowest.shape[0], image_size)
    draw = native.one_function(functools.partial(_find_nearest, strips=strips))
    nearest, face = draw(bounds, edges, lowest, highest)

    # Find where on its face each pixel looks, unless nobody asks for it: by looking the face up,
    # or by another walk where that has less to do, in small pictures of few faces.
    if not FEW_FACES * edges.x.shape[1] <= strips.size <= FEW_PIXELS:
        nearest, face = strips.cut_out(nearest), strips.cut_out(face)
        planes = native.apart(functools.partial(planes_of, perspective=perspective))(corners)
        return nearest, face, look_at_planes(planes, face)
    if not perspective:
        scale = inverse_area(signed_area(corners))
        edges = edges._replace(scale=jnp.broadcast_to(scale[None], edges.scale.shape))
    share = native.one_function(functools.partial(_find_shares, strips=strips))
    shares = share(bounds, edges, face)
    nearest, face, s0, s1 = map(strips.cut_out, (nearest, face, *shares))
    s2 = jnp.maximum((nearest if perspective else 1) - s0 - s1, 0)
    return nearest, face, [s0, s1, s2]


def _find_nearest(
    bounds: Bounds,
    edges: Edges,
    lowest: jax.Array,
    highest: jax.Array,
    *,
    strips: Strips,
) -> tuple[jax.Array, jax.Array]:
    """The walk that finds the highest nearness, and whose it is."""

    def offer(edges: Edges, window: Window, lowest: jax.Array, highest: jax.Array) -> jax.Array:
        x, y = window.pixels(edges.x.dtype)
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
    return walk(fold, match_varying_axes(empty, lowest), bounds, strips)


def _find_shares(
    bounds: Bounds,
    edges: Edges,
    face: jax.Array,
    *,
    strips: Strips,
) -> tuple[jax.Array, jax.Array]:
    """The walk that finds the shares of the first two corners where a face is seen."""

    def fold(shares: tuple[jax.Array, jax.Array], window: Window) -> tuple[jax.Array, jax.Array]:
        x, y = window.pixels(edges.x.dtype)
        these = _edges_of_face(edges, window.face)
        seen = window.read(face) == window.face
        found = these.weights(x[None], y[None]) * these.scale
        written = [
            window.write(share, jnp.where(seen, found[m], window.read(share)))
            for m, share in enumerate(shares)
        ]
        return written[0], written[1]

    nothing = strips.full(0, edges.x.dtype), strips.full(0, edges.x.dtype)
    return walk(fold, match_varying_axes(nothing, face), bounds, strips)


def _edges_of_face(edges: Edges, face: jax.Array) -> Edges:
    return Edges(*(piece(field, (0, face), (3, 1)) for field in edges))
