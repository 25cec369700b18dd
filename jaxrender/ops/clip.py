"""Triangles clipped at the near plane, in homogeneous coordinates.

A face across the near plane leaves a triangle or a quadrilateral in front of it, which is two
triangles. The cut is made in homogeneous coordinates `(x z, y z, z)`, in which edges are straight
wherever their ends lie, the camera plane included (Blinn and Newell 1978): on the edge from `a` to
`b`, the point at depth `n` lies at

    t = (n - z_a) / (z_b - z_a)        x = ((1 - t) z_a x_a + t z_b x_b) / n

`cut_edges` is that, for all who need it: the soft rasteriser draws the clipped triangles, the
z-buffer only bounds the pixels of what is in front, and NMR's edges end in front of the camera.
Plain JAX: gradients go through.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.deterministic import gather
from jaxrender.ops.triangle import (
    FARTHEST,
    MIN_AREA,
    Box,
    Candidates,
    Corners,
    candidates_of,
    is_culled,
    is_drawn,
    is_front,
    signed_area,
    to_pixels,
)
from jaxrender.ops.view import View


class EdgeCut(NamedTuple):
    """Where edges from `a` to `b` meet a plane of one depth; see `cut_edges`."""

    crosses: jax.Array  # [...] bool: whether an edge does; where not, the cut is at `a`
    t: jax.Array  # the way from `a` to `b` in homogeneous coordinates
    z_a: jax.Array
    z_b: jax.Array
    depth: jax.Array

    def point(self, a: jax.Array, b: jax.Array, *, perspective: bool) -> jax.Array:
        """The coordinate on screen, from those of the ends."""
        if not perspective:
            return self.interpolate(a, b)
        # The camera plane itself has no place on screen, but a cut lies in front of it.
        cut = (1 - self.t) * self.z_a * a + self.t * self.z_b * b
        return cut / jnp.where(self.crosses, self.depth, 1)

    def point_within_reach(self, a: jax.Array, b: jax.Array, *, perspective: bool) -> jax.Array:
        """`point`, at most `FARTHEST` as vertices are, so that no derivative overflows."""
        found = self.point(a, b, perspective=perspective)
        reached = jnp.abs(found) <= FARTHEST
        beyond = jnp.where(found > 0, FARTHEST, -FARTHEST).astype(found.dtype)
        a, b = (jnp.where(reached, end, 0) for end in (a, b))
        return jnp.where(reached, self.point(a, b, perspective=perspective), beyond)

    def interpolate(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """What is linear on the face in space, such as its barycentrics, from that of the ends."""
        return (1 - self.t) * a + self.t * b


def cut_edges(z_a: jax.Array, z_b: jax.Array, depth: jax.Array) -> EdgeCut:
    """Cuts edges between points of these depths, which broadcast, at a `depth`."""
    crosses = (z_a >= depth) != (z_b >= depth)
    t = jnp.where(crosses, depth - z_a, 0) / jnp.where(crosses, z_b - z_a, 1)
    return EdgeCut(crosses, t, z_a, z_b, depth)


def box_in_front(corners: Corners, near: jax.Array | None) -> Box:
    """The bounding box of the part of triangles in front of `near`.

    Args:
        corners: each `[3, F]`.
        near: `[F]`; None takes triangles whole, as where z is linear on screen.
    """
    x, y, z = corners
    points = [(x[m], y[m], True) for m in range(3)]
    if near is not None:
        # Keep the corners beyond the near plane, and cut the edges that cross it.
        points = [(x[m], y[m], z[m] >= near) for m in range(3)]
        for a, b in ((0, 1), (1, 2), (2, 0)):
            cut = cut_edges(z[a], z[b], near)
            at_x, at_y = (cut.point(axis[a], axis[b], perspective=True) for axis in (x, y))
            points.append((at_x, at_y, cut.crosses))

    def extent(axis: int) -> tuple[jax.Array, jax.Array]:
        low = (jnp.where(valid, point[axis], jnp.inf) for *point, valid in points)
        high = (jnp.where(valid, point[axis], -jnp.inf) for *point, valid in points)
        return functools.reduce(jnp.minimum, low), functools.reduce(jnp.maximum, high)

    (left, right), (top, bottom) = extent(0), extent(1)
    return Box(left, top, right, bottom)


class ClippedTriangles(NamedTuple):
    """The triangles to draw, two of each face: all first ones, then all second ones.

    The second is not drawn, but for a face of which a quadrilateral is left.
    """

    corners: jax.Array  # [2 F, 3, 3] of each corner: pixel coordinates x, y, and depth
    barycentrics: jax.Array  # [2 F, 3, 3] of each corner, in its face
    drawn: jax.Array  # [2 F] bool


def clip_faces(vertices: jax.Array, faces: jax.Array, view: View) -> ClippedTriangles:
    """Clips the faces `[F, 3]` of screen-space vertices `[V, 3]` at `view.near`."""
    near = view.near
    corners, in_range, finite = _corners_of(vertices, faces, view.image_size)
    exists = is_drawn(
        Candidates(_as_axes(corners), False, exists=in_range & finite, near=near, far=view.far)
    )

    # Rotate the corner that is alone on its side of the near plane to the first position.
    beyond = [corners[:, k, 2] >= near for k in range(3)]
    beyond_count = functools.reduce(jnp.add, [side.astype(jnp.int32) for side in beyond])
    is_second = (beyond[1] != beyond[0]) & (beyond[1] != beyond[2])
    is_third = (beyond[2] != beyond[0]) & (beyond[2] != beyond[1])
    alone = jnp.where(is_second, 1, jnp.where(is_third, 2, 0))
    corners = _rotate_corners(corners, alone)
    barycentrics = _rotate_corners(jnp.eye(3, dtype=vertices.dtype)[None], alone)

    # Cut the two edges that leave it.
    first, one, other = (corners[:, k] for k in range(3))
    b_first, b_one, b_other = (barycentrics[:, k] for k in range(3))
    cuts, b_cuts = _cut(corners, barycentrics, view)
    cut_one, cut_other = (cuts[:, k] for k in range(2))
    b_cut_one, b_cut_other = (b_cuts[:, k] for k in range(2))

    def assemble(whole: jax.Array, tip: list, quad_1: list, quad_2: list) -> jax.Array:
        count, second = beyond_count[:, None, None], jnp.stack(quad_2, 1)
        partial = jnp.where(count == 1, jnp.stack(tip, 1), jnp.stack(quad_1, 1))
        return jnp.concatenate([jnp.where(count == 3, whole, partial), second])

    clipped = assemble(
        corners, [first, cut_one, cut_other], [one, other, cut_other], [one, cut_other, cut_one]
    )
    barycentrics = assemble(
        barycentrics,
        [b_first, b_cut_one, b_cut_other],
        [b_one, b_other, b_cut_other],
        [b_one, b_cut_other, b_cut_one],
    )

    # Leave out what cannot be drawn, or turns its culled side.
    exists = jnp.concatenate([exists, exists & (beyond_count == 2)])
    drawn = is_drawn(candidates_of(_as_axes(clipped), view, exists=exists))
    return ClippedTriangles(clipped, barycentrics, drawn)


def unclipped_faces(
    vertices: jax.Array, faces: jax.Array, view: View
) -> tuple[ClippedTriangles, jax.Array]:
    """Faces as SoftRas takes them, one triangle each, and which of them `[F]` are not culled.

    Its corners behind the camera lie on screen where the division by `z` puts them. What it makes
    of a face without area is lost in rounding; nothing, as a rule, so these are not drawn.
    """
    corners, in_range, finite = _corners_of(vertices, faces, view.image_size)
    axes, (height, width) = _as_axes(corners), view.image_size
    area = signed_area(axes)
    extent = (corners[..., :2].max(1) - corners[..., :2].min(1)).max(-1)
    rounding = 8 * jnp.finfo(corners.dtype).eps * max(height, width) * extent
    thin = jnp.abs(area) <= jnp.maximum(rounding, MIN_AREA * height * width / 4)
    area_or_none = jnp.where(thin, 0, area)
    drawn = is_drawn(Candidates(axes, False, exists=in_range & finite, area=area_or_none))
    culled = is_culled(is_front(axes, area, perspective=False), view.cull)
    barycentrics = jnp.broadcast_to(jnp.eye(3, dtype=vertices.dtype), corners.shape)
    return ClippedTriangles(corners, barycentrics, drawn), ~culled


def _corners_of(
    vertices: jax.Array, faces: jax.Array, image_size: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The corners of faces `[F, 3, 3]`, which faces have three that exist, and that are finite.

    The others have corners that are harmless to differentiate.
    """
    count = vertices.shape[0]
    positions = jnp.stack(to_pixels(vertices, image_size), -1)
    corners = gather(positions, faces)
    in_range = _all_of_three((faces >= 0) & (faces < count))
    finite = _all_of_three(_all_of_three(jnp.isfinite(corners)))
    return jnp.where((in_range & finite)[:, None, None], corners, 1), in_range, finite


def _all_of_three(values: jax.Array) -> jax.Array:
    """Whether all three along the last axis hold; as elementwise steps, which XLA fuses."""
    return values[..., 0] & values[..., 1] & values[..., 2]


def _as_axes(corners: jax.Array) -> Corners:
    """Corners `[F, 3, 3]` as x, y and z, each `[3, F]`."""
    return Corners(*corners.transpose(2, 1, 0))


def _rotate_corners(corners: jax.Array, first: jax.Array) -> jax.Array:
    """What the corners `[F or 1, 3, n]` of faces have, from the corner `first` `[F]` on."""
    # Choose among three: a gather, and the scatter of its gradient, would need lists of indices.
    one, two = (jnp.roll(corners, -k, axis=1) for k in (1, 2))
    first = first[:, None, None]
    return jnp.where(first == 0, corners, jnp.where(first == 1, one, two))


def _cut(corners: jax.Array, barycentrics: jax.Array, view: View) -> tuple[jax.Array, jax.Array]:
    """Cuts the edges from corner 0 of `[F, 3, 3]` to the others; also the cuts' barycentrics."""
    a, b = corners[:, :1], corners[:, 1:]
    cut = cut_edges(a[..., 2:], b[..., 2:], view.near)
    xy = cut.point_within_reach(a[..., :2], b[..., :2], perspective=view.perspective)
    z = jnp.broadcast_to(view.near, cut.t.shape).astype(a.dtype)
    cuts = jnp.concatenate([xy, z], -1)
    return cuts, cut.interpolate(barycentrics[:, :1], barycentrics[:, 1:])
