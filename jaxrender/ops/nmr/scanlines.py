"""Pictures as scanlines, and the edges that cross them; see `__init__.py`.

Shapes: `B` views, `H, W` image, `C` channels, `N` scanlines of `L` pixels, `K` of them at once.

A scanline is a column or a row. `u` numbers them, `v` the pixels along one; both count from the
left, or from the bottom.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

STEEPEST = 1e30  # an end that moves an edge so little, by pixels, gets nothing from it


class Scanlines(NamedTuple):
    """Pictures as scanlines: all columns, then all rows of each view, from the bottom.

    There are `N = B (W + H)` of them, each of `L = max(H, W)` pixels, padded with 0.
    """

    image: jax.Array  # [C, N, L]
    cotangent: jax.Array  # [C, N, L] of the image

    def loss_decrease(self, line: jax.Array, pixel: jax.Array, reference: jax.Array) -> jax.Array:
        """How far the loss falls, δ, if pixels of these lines take the colour of others."""
        length = self.image.shape[2]
        total = 0
        for image, cotangent in zip(self.image, self.cotangent, strict=True):
            image, here = image.reshape(-1), line * length + pixel
            change = image[here] - image[line * length + reference]
            total = total + change * cotangent.reshape(-1)[here]
        return jnp.asarray(total)

    def loss_decrease_along(self, index: jax.Array) -> jax.Array:
        """The same of all pixels `[K, L]` of the lines of these pixels, which are the references.

        `index` `[K]` counts them through all lines.
        """
        line = lax.div(index, jnp.int32(self.image.shape[2]))
        total = 0
        for image, cotangent in zip(self.image, self.cotangent, strict=True):
            color = image.reshape(-1)[index]
            total = total + (image[line] - color[:, None]) * cotangent[line]
        return jnp.asarray(total)


def as_scanlines(picture: jax.Array) -> jax.Array:
    """`[C, N, L]` of `[B, H, W, C]`."""
    rows = jnp.moveaxis(picture[:, ::-1], 3, 0)
    columns = rows.swapaxes(2, 3)
    length = max(rows.shape[2:])
    padded = [
        jnp.pad(lines, ((0, 0), (0, 0), (0, 0), (0, length - lines.shape[3])))
        for lines in (columns, rows)
    ]
    return jnp.concatenate(padded, axis=2).reshape(rows.shape[0], -1, length)


class Crossing(NamedTuple):
    """Where edges cross scanlines, and how that depends on their ends."""

    at: jax.Array  # v*
    outward: jax.Array  # +1 or -1: which way along the line leaves the face
    inner: jax.Array  # v of the last pixel inside
    valid: jax.Array  # whether the edge crosses this line, between two pixels of the picture
    jacobian: tuple[jax.Array, ...]  # D_a, D_b per pixel of v*: screen units that an end moves
    depends: tuple[jax.Array, ...]  # whether v* depends on the end at all


class Sweep(NamedTuple):
    """Which edge of each face is swept, and along which axis: the sweep's number, 0 to 5."""

    number: jax.Array  # int32
    image_size: tuple[int, int]  # (H, W)

    @property
    def axis(self) -> jax.Array:
        """0 along columns, 1 along rows."""
        return lax.div(self.number, jnp.int32(3))

    @property
    def edge(self) -> jax.Array:
        """Which edge of the face: 0, 1 or 2."""
        return lax.rem(self.number, jnp.int32(3))

    @property
    def by_column(self) -> jax.Array:
        """Whether scanlines are columns."""
        return self.axis == 0

    @property
    def line_count(self) -> jax.Array:
        """How many scanlines a view has."""
        height, width = self.image_size
        return jnp.where(self.by_column, width, height)

    @property
    def line_length(self) -> jax.Array:
        """How many pixels a scanline has."""
        height, width = self.image_size
        return jnp.where(self.by_column, height, width)

    @property
    def coordinate(self) -> jax.Array:
        """Which coordinate of which edge gets the gradient: those of x, then those of y."""
        return (1 - self.axis) * 3 + self.edge


class SweptEdges(NamedTuple):
    """One edge of the faces that pixels see, and the scanlines of the pixels along one axis."""

    a: tuple[jax.Array, jax.Array]  # (u, v) where the edge starts
    b: tuple[jax.Array, jax.Array]  # (u, v) where it ends
    u: jax.Array  # int32 number of the line
    owner: jax.Array  # int32 the face, counted through all views
    eps: jax.Array  # of the view

    def cross(self, sweep: Sweep) -> Crossing:
        """Crosses the edges with the scanlines."""
        (au, av), (bu, bv) = self.a, self.b
        u = self.u.astype(au.dtype)
        count, length = sweep.line_count.astype(au.dtype), sweep.line_length.astype(au.dtype)
        level = au == bu
        span = jnp.where(level, 1, bu - au)
        # Multiply before dividing: v* is then exact where an edge between pixel centres meets
        # another, and no fused multiply-add rounds it to the one or the other side of it.
        at = av + (bv - av) * (u - au) / span
        outward = jnp.where((au < bu) == sweep.by_column, -1, 1).astype(at.dtype)
        inner = jnp.where(outward > 0, jnp.floor(at), jnp.ceil(at))
        outer = inner + outward
        first = jnp.maximum(jnp.ceil(jnp.minimum(au, bu)), 0)
        last = jnp.trunc(jnp.minimum(jnp.maximum(au, bu), count - 1))
        valid = ~level & (first <= u) & (u <= last)
        valid &= (inner >= 0) & (inner < length) & (outer >= 0) & (outer < length)

        # Find how far either end must move to move the crossing by one pixel.
        to_b, to_a = bu - u, u - au
        depends = tuple(jnp.abs(span) < STEEPEST * jnp.abs(way) for way in (to_b, to_a))
        jacobian = tuple(
            span / jnp.where(does, way, 1) * 2 / length
            for way, does in zip((to_b, to_a), depends, strict=True)
        )
        return Crossing(at, outward, inner, valid, jacobian, depends)
