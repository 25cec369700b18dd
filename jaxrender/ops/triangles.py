"""The geometry of one triangle and one point, in pixel coordinates.

Pixel coordinates have their origin in the middle of the picture, `y` down: the centre of the pixel
in row `i`, column `j` is the point `(j - (W - 1) / 2, i - (H - 1) / 2)`, exactly. So nothing is
added to what `project` returns, and small coordinates keep all their digits. All functions are
elementwise: corners and points may have any shapes that broadcast.

A corner behind the camera has `z < 0` and its `x, y` divided by that `z`. With `w_m` the screen
barycentric of corner `m`, the point at perspective-correct barycentrics `b` seen at a pixel has

    b_m / z = w_m / z_m        1 / z = Σ_m w_m / z_m

These are the edge functions of 2D homogeneous coordinates (Olano and Greer 1997), so the part
of a triangle in front of the camera is exactly where all three `w_m / z_m >= 0`: a triangle
across the camera plane needs no clipping.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.blocks import Bounds
from jaxrender.ops.deterministic import gather_each

# A triangle is degenerate up to twice this area, in square pixels, or where a corner's depth is
# smaller than this; beyond, 1 / (area z) and its derivatives are finite in float32.
MIN_AREA = 1e-10
MIN_DEPTH = 1e-13
FARTHEST = 1e17  # pixel coordinates are clipped to this, so that no product overflows


class Corners(NamedTuple):
    """The corners of triangles: pixel coordinates and camera-space depth, each `[3, ...]`."""

    x: jax.Array
    y: jax.Array
    z: jax.Array


def to_pixels(
    vertices: jax.Array, image_size: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixel coordinates and depth of screen-space vertices `[..., 3]`."""
    height, width = image_size
    x = 0.5 * width * vertices[..., 0]
    y = -0.5 * height * vertices[..., 1]
    return jnp.clip(x, -FARTHEST, FARTHEST), jnp.clip(y, -FARTHEST, FARTHEST), vertices[..., 2]


def pixel_centre(pixel: jax.Array, size: int, dtype: jnp.dtype) -> jax.Array:
    """The pixel coordinate of the centres of pixels, counted from 0, of a picture `size` wide."""
    return pixel.astype(dtype) - 0.5 * (size - 1)


def corner_ids(
    faces: jax.Array, vertex_count: int, views: int, *, shared: bool
) -> tuple[jax.Array, jax.Array]:
    """Where the corners of all views' faces lie in one list of vertices, view after view.

    Args:
        faces: `[B or 1, F, 3]` int32.
        vertex_count: of one view.
        views: `B`.
        shared: whether all views have the same vertices, which the list then holds once.

    Returns:
        `[3, B F]` int32 places, those out of range clipped, and `[B F]` whether all of a face
        are in range.
    """
    first = jnp.arange(views, dtype=jnp.int32) * (0 if shared else vertex_count)
    ids = (jnp.clip(faces, 0, vertex_count - 1) + first[:, None, None]).reshape(-1, 3)
    in_range = ((faces >= 0) & (faces < vertex_count)).all(-1)
    return ids.T, jnp.broadcast_to(in_range, (views, faces.shape[1])).reshape(-1)


def signed_area(corners: Corners) -> jax.Array:
    """Twice the signed area, square pixels; positive is clockwise to the eye."""
    (x0, x1, x2), (y0, y1, y2), _ = corners
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)


def is_front(corners: Corners, area: jax.Array, *, perspective: bool) -> jax.Array:
    """Whether a triangle is counter-clockwise to the eye, wherever its corners lie."""
    if not perspective:
        return area < 0
    behind = (corners.z[0] < 0) ^ (corners.z[1] < 0) ^ (corners.z[2] < 0)
    return (area < 0) ^ behind


def is_drawable(corners: Corners, area: jax.Array, *, perspective: bool) -> jax.Array:
    """Whether a triangle has finite corners, an area, and a place on screen."""
    usable = jnp.isfinite(corners.x) & jnp.isfinite(corners.y) & jnp.isfinite(corners.z)
    if perspective:
        usable &= jnp.abs(corners.z) > MIN_DEPTH
    return usable.all(0) & (jnp.abs(area) > MIN_AREA)


def inverse_area(area: jax.Array) -> jax.Array:
    """`1 / |area|`, and 0 where a triangle is too thin to be drawn.

    One kernel may round the area of a triangle to 0 that another, by a fused multiply-add, does
    not, and take it for drawable: what it gets must be finite, and so must its derivative.
    """
    drawable = jnp.abs(area) > MIN_AREA
    return jnp.where(drawable, 1 / jnp.where(drawable, jnp.abs(area), 1), 0)


class CornerOrder(NamedTuple):
    """Which of the corners of triangles come before which, from the farthest to the nearest.

    By depth, where that is equal by `x`, then by `y`: where a triangle lies decides, not which
    corner the user names first.
    """

    before_01: jax.Array  # [...] bool: whether corner 0 comes before corner 1, and so on
    before_12: jax.Array
    before_02: jax.Array

    def sort(self, corners: Corners) -> Corners:
        """The corners in this order."""
        before_01, before_12, before_02 = self

        def choose(axis: jax.Array, is_0: jax.Array, is_1: jax.Array) -> jax.Array:
            return jnp.where(is_0, axis[0], jnp.where(is_1, axis[1], axis[2]))

        first = before_01 & before_02, ~before_01 & before_12
        middle = (before_01 ^ before_02) & (before_01 ^ before_12), before_01 == before_12
        last = ~before_01 & ~before_02, before_01 & ~before_12
        return Corners(
            *(
                jnp.stack([choose(axis, *which) for which in (first, middle, last)])
                for axis in corners
            )
        )

    def ranks(self) -> jax.Array:
        """The place `[3, ...]` int32 of each corner in this order."""
        before_01, before_12, before_02 = (before.astype(jnp.int32) for before in self)
        return jnp.stack(
            [2 - before_01 - before_02, 1 + before_01 - before_12, before_02 + before_12]
        )

    def turns(self) -> jax.Array:
        """Whether sorting reverses the sense in which the corners go round."""
        return ~(self.before_01 ^ self.before_12 ^ self.before_02)


def corner_order(corners: Corners) -> CornerOrder:
    """The order in which triangles are set up, whatever that of their corners."""

    def is_before(a: int, b: int) -> jax.Array:
        (xa, ya, za), (xb, yb, zb) = ([axis[corner] for axis in corners] for corner in (a, b))
        return (za > zb) | ((za == zb) & ((xa < xb) | ((xa == xb) & (ya < yb))))

    return CornerOrder(is_before(0, 1), is_before(1, 2), is_before(0, 2))


def sort_corners(corners: Corners) -> tuple[Corners, jax.Array]:
    """The corners in that order, and whether they go round in the other sense then."""
    order = corner_order(corners)
    return order.sort(corners), order.turns()


class Edges(NamedTuple):
    """Triangles made ready for many points, each `[3, ...]`: edge `m` lies opposite corner `m`.

    The corners go from the farthest to the nearest, see `CornerOrder`. The weight of corner `m`
    at a point is `(y - y_m) dx_m - (x - x_m) dy_m`, twice an area in square pixels, signed so
    that all three are >= 0 on the visible triangle.

    With the nearness `n_m` of the corners, 1/z under perspective and -z otherwise, that at a point
    is `n_0 + w_1 (n_1 - n_0) + w_2 (n_2 - n_0)`, as the screen barycentrics `w` add up to 1. All
    three terms have one sign, and what rounding does to the weights of a sliver counts for
    as much as its corners differ in depth.
    """

    x: jax.Array  # the end of edge m from which is measured
    y: jax.Array
    dx: jax.Array
    dy: jax.Array
    rise: jax.Array  # n_0, and how much nearness rises per weight of corners 1 and 2

    def weights(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The weights `[3, ...]` of the three corners at a point."""
        return (y - self.y) * self.dx - (x - self.x) * self.dy

    def nearness(self, weights: jax.Array) -> jax.Array:
        """The nearness at a point of these weights."""
        return self.rise[0] + weights[1] * self.rise[1] + weights[2] * self.rise[2]


def edges_of(corners: Corners, *, perspective: bool) -> Edges:
    """Sets drawable triangles up, see `is_drawable`, whose corners are sorted, see `CornerOrder`.

    Two triangles that share an edge run along it in opposite directions. Both measure from
    the same end of it, the one farther from the camera, and so find weights that differ in
    sign alone, to the last bit: no pixel falls into a crack between them. The differences to
    that end are exact near it, and its coordinates are the smaller ones where the other end is
    close to the camera plane.
    """
    area = signed_area(corners)
    sign = jnp.sign(area)[None] * (jnp.sign(corners.z) if perspective else 1)
    nearness = 1 / corners.z if perspective else -corners.z
    scale = inverse_area(area)[None] * (jnp.sign(corners.z[1:]) if perspective else 1)
    (x0, x1, x2), (y0, y1, y2), _ = corners
    return Edges(
        x=jnp.stack([x1, x0, x0]),
        y=jnp.stack([y1, y0, y0]),
        dx=jnp.stack([x2 - x1, x0 - x2, x1 - x0]) * sign,
        dy=jnp.stack([y2 - y1, y0 - y2, y1 - y0]) * sign,
        rise=jnp.concatenate([nearness[:1], (nearness[1:] - nearness[:1]) * scale]),
    )


class Planes(NamedTuple):
    """Triangles made ready to be looked up by the pixels that see them.

    Corner `m` has at a pixel the share `x_slope_m (x - x_far) + y_slope_m (y - y_far) + at_far_m`,
    which is b_m / z under perspective and b_m otherwise, with b the perspective-correct
    barycentrics and `far` the corner farthest from the camera: there the shares of the other
    two are 0, and near it everything is exact.
    """

    x_far: jax.Array  # [F]
    y_far: jax.Array  # [F]
    x_slope: jax.Array  # [3, F]
    y_slope: jax.Array  # [3, F]
    at_far: jax.Array  # [3, F]
    z: jax.Array  # [3, F] depth of the corners

    def shares(self, face: jax.Array, x: jax.Array, y: jax.Array) -> list[jax.Array]:
        """The shares of the three corners at pixels that each look at one `face`.

        One gather per number: on a CPU six times quicker than gathering rows of a table.
        """
        columns = [self.x_far, self.y_far, *self.x_slope, *self.y_slope, *self.at_far]
        x_far, y_far, *found = gather_each(columns, face)
        across, down = x - x_far, y - y_far
        return [found[m] * across + found[3 + m] * down + found[6 + m] for m in range(3)]


def planes_of(corners: Corners, *, perspective: bool) -> Planes:
    """Sets drawable triangles up, see `is_drawable`; differentiable."""
    area = signed_area(corners)
    scale = (jnp.sign(area) * inverse_area(area))[None] / (corners.z if perspective else 1)
    (x0, x1, x2), (y0, y1, y2), (z0, z1, z2) = corners
    is_first = (z0 >= z1) & (z0 >= z2)
    is_second = ~is_first & (z1 >= z2)
    is_far = jnp.stack([is_first, is_second, ~is_first & ~is_second])
    return Planes(
        x_far=jnp.where(is_far, corners.x, 0).sum(0),
        y_far=jnp.where(is_far, corners.y, 0).sum(0),
        x_slope=jnp.stack([y1 - y2, y2 - y0, y0 - y1]) * scale,
        y_slope=jnp.stack([x2 - x1, x0 - x2, x1 - x0]) * scale,
        at_far=jnp.where(is_far, 1 / corners.z if perspective else 1, 0),
        z=corners.z,
    )


def pixel_span(low: jax.Array, high: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The first and last of `size` pixels between two pixel coordinates, int32."""
    middle = 0.5 * (size - 1)  # adding it may round onto a pixel centre, never beyond it
    return (
        jnp.ceil(jnp.clip(low + middle, 0, size)).astype(jnp.int32),
        jnp.floor(jnp.clip(high + middle, -1, size - 1)).astype(jnp.int32),
    )


def pixel_bounds(
    corners: Corners,
    drawn: jax.Array,
    near: jax.Array | None,
    *,
    image_size: tuple[int, int],
) -> Bounds:
    """The pixels that each triangle may touch; none for one that is not drawn.

    Args:
        corners: each `[3, F]`.
        drawn: `[F]` bool; False empties the bounds.
        near: `[F]` depth at which triangles are cut, or None to take them whole.
        image_size: `(H, W)`.
    """
    height, width = image_size
    points = [(corners.x[m], corners.y[m], True) for m in range(3)]
    if near is not None:
        # Keep the corners beyond the near plane, and cut the edges that cross it.
        beyond = [corners.z[m] >= near for m in range(3)]
        points = [(corners.x[m], corners.y[m], beyond[m]) for m in range(3)]
        for a, b in ((0, 1), (1, 2), (2, 0)):
            crosses = beyond[a] ^ beyond[b]
            za, zb = corners.z[a], corners.z[b]
            t = (near - za) / jnp.where(crosses, zb - za, 1)
            cut = [
                ((1 - t) * axis[a] * za + t * axis[b] * zb) / near
                for axis in (corners.x, corners.y)
            ]
            points.append((cut[0], cut[1], crosses))

    def span(axis: int, size: int) -> tuple[jax.Array, jax.Array]:
        low = (jnp.where(valid, point[axis], jnp.inf) for *point, valid in points)
        high = (jnp.where(valid, point[axis], -jnp.inf) for *point, valid in points)
        return pixel_span(
            functools.reduce(jnp.minimum, low), functools.reduce(jnp.maximum, high), size
        )

    left, right = span(0, width)
    top, bottom = span(1, height)
    return Bounds(top, left, jnp.where(drawn, bottom, -1), right)
