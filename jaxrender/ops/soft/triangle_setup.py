"""Triangle setup of the soft rasteriser: how far, how deep and where on it a pixel is.

Pixel coordinates as in `triangle.py`. Shapes: `P` blocks of a pass, `h, w` block. Numbers of
a triangle are `[P, 1]`, those of a pixel `[P, h w]`.

With `e_k` the edge functions, twice the areas of the triangles that the point makes with the
edge opposite corner `k`, the screen barycentrics are `w_k = e_k / area`, some of them negative
outside. A point outside is looked up at `w⁺ = max(w, 0)`, scaled to a sum of 1. There, with the
depths `z_k` of the corners, the perspective-correct barycentrics and the depth are

    b_k = (w⁺_k / z_k) / Σ_m (w⁺_m / z_m)        z = Σ_k b_k z_k

and without perspective `b = w⁺ / Σ w⁺`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.triangle import MIN_AREA, Corners, edge_function, signed_area

Triple = list[jax.Array]  # one for each corner


class Edge(NamedTuple):
    """An edge of triangles, turned so that they lie to its left."""

    x: jax.Array  # where it begins
    y: jax.Array
    dx: jax.Array  # the way to its end
    dy: jax.Array

    def function_at(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The edge function at a pixel; its derivatives by x and y are `-dy` and `dx`."""
        return edge_function(x, y, self.x, self.y, self.dx, self.dy)


class TriangleSetup(NamedTuple):
    """Triangles made ready for many pixels, one for each block."""

    x: Triple
    y: Triple
    z: Triple
    inverse_area: jax.Array  # of twice the signed area
    inverse_length_sq: Triple  # 1 / length² of the edge opposite each corner
    inverse_depth: Triple  # 1/z, or 1 without perspective; up to a factor, at most 1

    def edge_functions(self, x: jax.Array, y: jax.Array) -> Triple:
        """The edge functions at a pixel, signed so that all are positive inside."""
        return [edge.function_at(x, y) for edge in self._edges()]

    def stacked_edges(self) -> Edge:
        """The three edges, each opposite its corner, in an axis of their own: `[P, 3, 1]`."""
        return Edge(*(jnp.stack(ends, 1) for ends in zip(*self._edges(), strict=True)))

    def _edges(self) -> list[Edge]:
        sign = jnp.sign(self.inverse_area)
        found = []
        for k in range(3):
            a, b = (k + 1) % 3, (k + 2) % 3
            dx, dy = (self.x[b] - self.x[a]) * sign, (self.y[b] - self.y[a]) * sign
            found.append(Edge(self.x[a], self.y[a], dx, dy))
        return found

    def distance_sq(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The squared distance of a pixel from the boundary, square pixels."""
        d0, d1, d2 = (self._closest_on_edge(k, x, y)[0] for k in range(3))
        return jnp.minimum(jnp.minimum(d0, d1), d2)

    def closest_point(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The point of the boundary closest to a pixel, as the way around it from corner 0.

        Each edge is 1 long: 0 to 1 is the edge from corner 0 to 1, and so on. One number, so
        that one array carries the point to whatever asks for it.
        """
        (d12, t12), (d20, t20), (d01, t01) = (self._closest_on_edge(k, x, y) for k in range(3))
        return jnp.where((d01 <= d12) & (d01 <= d20), t01, jnp.where(d12 <= d20, 1 + t12, 2 + t20))

    def _closest_on_edge(self, k: int, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The squared distance to the edge opposite corner `k`, and how far along it that is."""
        a, b = (k + 1) % 3, (k + 2) % 3
        dx, dy = self.x[b] - self.x[a], self.y[b] - self.y[a]
        x, y = x - self.x[a], y - self.y[a]
        along = jnp.clip((x * dx + y * dy) * self.inverse_length_sq[k], 0, 1)
        x, y = x - along * dx, y - along * dy
        return x * x + y * y, along


def closest_point_barycentrics(closest_point: jax.Array) -> jax.Array:
    """The barycentrics `[P, 3, h w]` of such a point `[P, h w]` of the boundary."""
    corner = jnp.arange(3, dtype=closest_point.dtype)[None, :, None]
    around = jnp.abs(closest_point[:, None] - corner)
    return jnp.maximum(1 - jnp.minimum(around, 3 - around), 0)


def is_inside(edges: Triple) -> jax.Array:
    """Whether a pixel is inside, by its edge functions; the boundary is not."""
    return (edges[0] > 0) & (edges[1] > 0) & (edges[2] > 0)


def set_up_triangles(corners: jax.Array, *, perspective: bool) -> jax.Array:
    """The numbers of `TriangleSetup` `[16, N]` of triangles `[N, 3, 3]`, for one gather a pass."""
    x, y, z = corners.transpose(2, 1, 0)
    area = signed_area(Corners(x, y, z))
    area = jnp.where(jnp.abs(area) < MIN_AREA, jnp.where(area > 0, MIN_AREA, -MIN_AREA), area)
    length_sq = []
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        length_sq.append((x[b] - x[a]) ** 2 + (y[b] - y[a]) ** 2)
    inverse_length_sq = 1 / jnp.maximum(jnp.stack(length_sq), MIN_AREA**2)
    inverse_depth = jnp.ones_like(z)
    if perspective:
        closest = functools.reduce(jnp.minimum, jnp.abs(z))[None]
        inverse_depth = closest / jnp.where(z == 0, 1, z)
    return jnp.concatenate([x, y, z, 1 / area[None], inverse_length_sq, inverse_depth])


def unpack_triangles(rows: jax.Array) -> TriangleSetup:
    """The triangles of columns `[16, P]` of that table."""
    row = [rows[k][:, None] for k in range(rows.shape[0])]
    return TriangleSetup(row[0:3], row[3:6], row[6:9], row[9], row[10:13], row[13:16])


def interpolate(barycentrics: Triple, values: Triple) -> jax.Array:
    """`Σ_k barycentrics_k values_k` over the corners."""
    return barycentrics[0] * values[0] + barycentrics[1] * values[1] + barycentrics[2] * values[2]
