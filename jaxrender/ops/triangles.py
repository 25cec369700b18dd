"""The geometry of one triangle and one point, in pixel coordinates.

Pixel coordinates put the centre of the pixel in row `i`, column `j` at the point `(j, i)`, `y`
down. All functions are elementwise: corners and points may have any shapes that broadcast.

A corner behind the camera has `z < 0` and its `x, y` divided by that `z`. With `w_m` the screen
barycentric of corner `m`, the point at perspective-correct barycentrics `b` seen at a pixel has

    b_m / z = w_m / z_m        1 / z = Σ_m w_m / z_m

These are the edge functions of 2D homogeneous coordinates (Olano and Greer 1997), so the part
of a triangle in front of the camera is exactly where all three `w_m / z_m >= 0`: a triangle
across the camera plane needs no clipping.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.windows import Bounds

MIN_AREA = 1e-12  # twice the area, square pixels, up to which a triangle is degenerate
FARTHEST = 1e17  # pixel coordinates are clipped to this, so that no product overflows


class Corners(NamedTuple):
    """The three corners of a triangle: pixel coordinates and camera-space depth."""

    x: tuple[jax.Array, ...]
    y: tuple[jax.Array, ...]
    z: tuple[jax.Array, ...]


def to_pixels(
    vertices: jax.Array, image_size: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixel coordinates and depth of screen-space vertices `[..., 3]`."""
    height, width = image_size
    x = 0.5 * width * vertices[..., 0] + 0.5 * (width - 1)
    y = -0.5 * height * vertices[..., 1] + 0.5 * (height - 1)
    return jnp.clip(x, -FARTHEST, FARTHEST), jnp.clip(y, -FARTHEST, FARTHEST), vertices[..., 2]


def signed_area(corners: Corners) -> jax.Array:
    """Twice the signed area, square pixels; positive is clockwise to the eye."""
    (x0, x1, x2), (y0, y1, y2), _ = corners
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)


def is_front(corners: Corners, area: jax.Array) -> jax.Array:
    """Whether a triangle is counter-clockwise to the eye, wherever its corners lie."""
    behind = (corners.z[0] < 0) ^ (corners.z[1] < 0) ^ (corners.z[2] < 0)
    return (area < 0) ^ behind


class Edges(NamedTuple):
    """A triangle made ready for many points: edge `m` lies opposite corner `m`.

    The weight of corner `m` at a point is `(y - y_m) dx_m - (x - x_m) dy_m`, twice an area in
    square pixels, signed so that all three are >= 0 on the visible triangle. Then
    `Σ_m weight_m scale_m` is the nearness: 1/z under perspective, -z otherwise.
    """

    x: tuple[jax.Array, ...]  # the end of edge m from which is measured
    y: tuple[jax.Array, ...]
    dx: tuple[jax.Array, ...]
    dy: tuple[jax.Array, ...]
    scale: tuple[jax.Array, ...]

    def weights(self, x: jax.Array, y: jax.Array) -> list[jax.Array]:
        """The weights of the three corners at a point."""
        return [(y - self.y[m]) * self.dx[m] - (x - self.x[m]) * self.dy[m] for m in range(3)]


def edges_of(corners: Corners, *, perspective: bool) -> Edges:
    """Sets a triangle up; finite where its area is more than `MIN_AREA`.

    Two triangles that share an edge run along it in opposite directions. Both measure from
    the same end of it, the one farther from the camera, and so find weights that differ in
    sign alone, to the last bit: no pixel falls into a crack between them. The differences to
    that end are exact near it, and its coordinates are the smaller ones where the other end is
    close to the camera plane.
    """
    area = signed_area(corners)
    sides = []
    for m in range(3):
        a, b = (m + 1) % 3, (m + 2) % 3
        xa, ya, za = corners.x[a], corners.y[a], corners.z[a]
        xb, yb, zb = corners.x[b], corners.y[b], corners.z[b]
        from_a = (za > zb) | ((za == zb) & ((xa < xb) | ((xa == xb) & (ya < yb))))
        facing = area * corners.z[m] if perspective else area
        sign = jnp.sign(facing)
        scale = 1 / jnp.abs(facing) if perspective else -corners.z[m] / jnp.abs(area)
        sides.append(
            (
                jnp.where(from_a, xa, xb),
                jnp.where(from_a, ya, yb),
                (xb - xa) * sign,
                (yb - ya) * sign,
                scale,
            )
        )
    return Edges(*zip(*sides, strict=True))


def surface_point(
    corners: Corners, x: jax.Array, y: jax.Array, *, perspective: bool
) -> tuple[list[jax.Array], jax.Array]:
    """Where on a triangle, of more than `MIN_AREA`, a pixel looks; differentiable.

    Returns:
        The three perspective-correct barycentrics, and the depth.
    """
    edges = edges_of(corners, perspective=perspective)
    weights = edges.weights(x, y)
    if not perspective:
        area = jnp.abs(signed_area(corners))
        b0, b1, b2 = (weight / area for weight in weights)
        z0, z1, z2 = corners.z
        return [b0, b1, b2], b0 * z0 + b1 * z1 + b2 * z2
    s0, s1, s2 = (weight * scale for weight, scale in zip(weights, edges.scale, strict=True))
    depth = 1 / (s0 + s1 + s2)
    return [s0 * depth, s1 * depth, s2 * depth], depth


def pixel_bounds(
    corners: Corners,
    area: jax.Array,
    drawn: jax.Array,
    near: jax.Array | None,
    *,
    image_size: tuple[int, int],
) -> Bounds:
    """The pixels that each triangle may touch; none for one that cannot be drawn.

    Args:
        corners: each `[F]`.
        area: `[F]` signed areas.
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
        low = high = None
        for *point, valid in points:
            at_least = jnp.where(valid, point[axis], jnp.inf)
            at_most = jnp.where(valid, point[axis], -jnp.inf)
            low = at_least if low is None else jnp.minimum(low, at_least)
            high = at_most if high is None else jnp.maximum(high, at_most)
        return (
            jnp.ceil(jnp.clip(low, 0, size)).astype(jnp.int32),
            jnp.floor(jnp.clip(high, -1, size - 1)).astype(jnp.int32),
        )

    left, right = span(0, width)
    top, bottom = span(1, height)
    finite = jnp.isfinite(sum(corners.x) + sum(corners.y) + sum(corners.z))
    drawn = drawn & finite & (jnp.abs(area) > MIN_AREA)
    return Bounds(top, left, jnp.where(drawn, bottom, -1), right)
