"""The edges of faces as segments of the picture: in order, and cut in front of the camera.

Shapes: `B` views, `V` vertices, `F` faces, `N` faces of all views.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.clip import cut_edges
from jaxrender.ops.deterministic import gather_each
from jaxrender.ops.triangle import (
    Candidates,
    Corners,
    corner_indices,
    is_drawn,
    is_front,
    signed_area,
    to_pixels,
)

CUT_FRACTION = 1 / 1024  # of its front end's depth, at which an edge is cut


class Segments(NamedTuple):
    """The edges of faces in pixels with `y` UP, counter-clockwise around each face.

    The centre of the pixel in column `j` and row `i`, counted from the bottom, is at `(j, i)`.
    Each is `[2, 3, ...]`: coordinate (x, y), edge. An edge wholly behind the camera lies at
    the point (-2, -2), outside every picture.
    """

    start: jax.Array
    end: jax.Array


def upright_corners(vertices: jax.Array, faces: jax.Array, image_size: tuple[int, int]) -> Corners:
    """The corners `[3, B F]` of the faces of all views, in pixels with `y` up; differentiable.

    An index out of range is some vertex.

    Args:
        vertices: `[B, V, 3]` screen space.
        faces: `[B, F, 3]` int32.
        image_size: `(H, W)`.
    """
    views, count = vertices.shape[:2]
    index, _ = corner_indices(faces, count, views, shared=False)
    flip = jnp.array([1, -1, 1], vertices.dtype)[None, None]
    x, y, z = (axis.reshape(-1) for axis in to_pixels(vertices * flip, image_size))
    height, width = image_size
    # Lines of pixels are counted by whole numbers: have corners on pixel centres lie on those.
    axes = x + 0.5 * (width - 1), y + 0.5 * (height - 1), z
    return Corners(*gather_each(axes, index))


def segments_of(corners: Corners, *, cut: bool) -> Segments:
    """The edges `[2, 3, N]` of faces, of those seen from behind in reversed order.

    Differentiable. A face that is drawn nowhere is at 0.

    Args:
        corners: `[3, N]` of the faces, see `upright_corners`.
        cut: whether corners with `z <= 0` are behind the camera. An edge with one such end is
            cut close in front of the camera, where it has left the picture or lies in front
            of any near plane.
    """
    area = -signed_area(corners)
    drawn = is_drawn(Candidates(corners, cut, area=area))
    corners = Corners(*(jnp.where(drawn, axis, 0) for axis in corners))

    # Turn faces that are seen from behind round.
    front = is_front(corners, area, perspective=cut)
    x, y, z = (jnp.where(front, axis, axis[::-1]) for axis in corners)
    start, start_z = jnp.stack([x, y]), z
    end, end_z = jnp.roll(start, -1, axis=1), jnp.roll(z, -1, axis=0)
    if not cut:
        return Segments(start, end)

    # Move an end behind the camera to where the edge is cut, with depths in those of the other.
    def in_front(
        point: jax.Array, depth: jax.Array, other: jax.Array, other_depth: jax.Array
    ) -> jax.Array:
        crosses = (depth <= 0) & (other_depth > 0)
        ratio = jnp.where(crosses, depth, -1) / jnp.where(crosses, other_depth, 1)
        one, at = jnp.ones_like(ratio)[None], jnp.asarray(CUT_FRACTION, ratio.dtype)
        moved = cut_edges(one, ratio[None], at).point(other, point, perspective=True)
        return jnp.where(crosses[None], moved, point)

    behind = (start_z <= 0) & (end_z <= 0)
    moved = in_front(start, start_z, end, end_z), in_front(end, end_z, start, start_z)
    return Segments(*(jnp.where(behind[None], -2, point) for point in moved))
