"""What a triangle is to a pixel in or around it: how far, how deep, and where on it.

Pixel coordinates as in `triangles.py`. Shapes: `P` slots of a pass, `h, w` window. Numbers of
a triangle are `[P, 1]`, those of a pixel `[P, h w]`.

With `e_k` the edge functions, twice the areas of the triangles that the point makes with the
edge opposite corner `k`, the screen barycentrics are `w_k = e_k / area`, some of them negative
outside. A point outside is looked up at `w⁺ = max(w, 0)`, scaled to a sum of 1. There, with the
depths `z_k` of the corners, the perspective-correct barycentrics and the depth are

    b_k = (w⁺_k / z_k) / Σ_m (w⁺_m / z_m)        z = Σ_k b_k z_k

and without perspective `b = w⁺ / Σ w⁺`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.triangles import MIN_AREA, Corners, signed_area

Triple = list[jax.Array]  # one for each corner


class Side(NamedTuple):
    """An edge of triangles, turned so that they lie to its left."""

    x: jax.Array  # where it begins
    y: jax.Array
    dx: jax.Array  # the way to its end
    dy: jax.Array

    def at(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The edge function at a pixel; its derivatives are `-dy` and `dx`."""
        return (y - self.y) * self.dx - (x - self.x) * self.dy


class Footprint(NamedTuple):
    """Triangles made ready for many pixels, one in each slot."""

    x: Triple
    y: Triple
    z: Triple
    inverse_area: jax.Array  # of twice the signed area
    inverse_length: Triple  # 1 / length² of the edge opposite each corner
    nearness: Triple  # 1/z, or 1 without perspective; up to a factor, at most 1

    def edges(self, x: jax.Array, y: jax.Array) -> Triple:
        """The edge functions at a pixel, signed so that all are positive inside."""
        return [edge.at(x, y) for edge in self._sides()]

    def sides(self) -> Side:
        """The three edges, each opposite its corner, in an axis of their own: `[P, 3, 1]`."""
        return Side(*(jnp.stack(ends, 1) for ends in zip(*self._sides(), strict=True)))

    def _sides(self) -> list[Side]:
        sign = jnp.sign(self.inverse_area)
        found = []
        for k in range(3):
            a, b = (k + 1) % 3, (k + 2) % 3
            dx, dy = (self.x[b] - self.x[a]) * sign, (self.y[b] - self.y[a]) * sign
            found.append(Side(self.x[a], self.y[a], dx, dy))
        return found

    def distance(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The squared distance of a pixel from the boundary, square pixels."""
        d0, d1, d2 = (self._to_edge(k, x, y)[0] for k in range(3))
        return jnp.minimum(jnp.minimum(d0, d1), d2)

    def spot(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The point of the boundary closest to a pixel, as the way around it from corner 0.

        Each edge is 1 long: 0 to 1 is the edge from corner 0 to 1, and so on. One number, so
        that one array carries the point to whatever asks for it.
        """
        (d12, t12), (d20, t20), (d01, t01) = (self._to_edge(k, x, y) for k in range(3))
        return jnp.where((d01 <= d12) & (d01 <= d20), t01, jnp.where(d12 <= d20, 1 + t12, 2 + t20))

    def _to_edge(self, k: int, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The squared distance to the edge opposite corner `k`, and how far along it that is."""
        a, b = (k + 1) % 3, (k + 2) % 3
        dx, dy = self.x[b] - self.x[a], self.y[b] - self.y[a]
        x, y = x - self.x[a], y - self.y[a]
        along = jnp.clip((x * dx + y * dy) * self.inverse_length[k], 0, 1)
        x, y = x - along * dx, y - along * dy
        return x * x + y * y, along


def spot_weights(spot: jax.Array) -> jax.Array:
    """The weights of the corners `[P, 3, h w]` in such a point `[P, h w]` of the boundary."""
    corner = jnp.arange(3, dtype=spot.dtype)[None, :, None]
    away = jnp.abs(spot[:, None] - corner)
    return jnp.maximum(1 - jnp.minimum(away, 3 - away), 0)


def is_inside(edges: Triple) -> jax.Array:
    """Whether a pixel is inside, by its edge functions; the boundary is not."""
    return (edges[0] > 0) & (edges[1] > 0) & (edges[2] > 0)


def footprint_table(corners: jax.Array, *, perspective: bool) -> jax.Array:
    """The numbers of `Footprint` `[16, N]` of triangles `[N, 3, 3]`: one gather serves a pass."""
    x, y, z = corners.transpose(2, 1, 0)
    area = signed_area(Corners(x, y, z))
    area = jnp.where(jnp.abs(area) < MIN_AREA, jnp.where(area > 0, MIN_AREA, -MIN_AREA), area)
    lengths = []
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        lengths.append((x[b] - x[a]) ** 2 + (y[b] - y[a]) ** 2)
    inverse_length = 1 / jnp.maximum(jnp.stack(lengths), MIN_AREA**2)
    nearness = jnp.ones_like(z)
    if perspective:
        closest = jnp.abs(z).min(0, keepdims=True)
        nearness = closest / jnp.where(z == 0, 1, z)
    return jnp.concatenate([x, y, z, 1 / area[None], inverse_length, nearness])


def footprints_of(rows: jax.Array) -> Footprint:
    """The triangles of columns `[16, P]` of that table."""
    row = [rows[k][:, None] for k in range(rows.shape[0])]
    return Footprint(row[0:3], row[3:6], row[6:9], row[9], row[10:13], row[13:16])


def mix(weights: Triple, values: Triple) -> jax.Array:
    """`Σ_k weights_k values_k` over the corners."""
    return weights[0] * values[0] + weights[1] * values[1] + weights[2] * values[2]
