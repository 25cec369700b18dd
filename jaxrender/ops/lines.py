"""Pictures as lines of pixels, and the edges that cross them; see `nmr.py`.

Shapes: `B` views, `H, W` image, `C` channels, `N` lines of `L` pixels, `K` lines at once.

A line is a column or a row. `u` numbers the lines, `v` the pixels along one; both count from
the left, or from the bottom.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Lines(NamedTuple):
    """Pictures as lines of pixels: all columns, then all rows of each view, from the bottom.

    There are `N = B (W + H)` lines, each of `L = max(H, W)` pixels, padded with 0.
    """

    image: jax.Array  # [C, N, L]
    upstream: jax.Array  # [C, N, L]

    def fall(self, line: jax.Array, pixel: jax.Array, reference: jax.Array) -> jax.Array:
        """How far the loss falls, δ, if pixels of these lines take the colour of others."""
        length = self.image.shape[2]
        total = 0
        for image, upstream in zip(self.image, self.upstream, strict=True):
            image, here = image.reshape(-1), line * length + pixel
            change = image[here] - image[line * length + reference]
            total = total + change * upstream.reshape(-1)[here]
        return jnp.asarray(total)

    def fall_along(self, place: jax.Array) -> jax.Array:
        """The same of all pixels `[K, L]` of the lines of these pixels, which are the references.

        `place` `[K]` counts them through all lines.
        """
        line = lax.div(place, jnp.int32(self.image.shape[2]))
        total = 0
        for image, upstream in zip(self.image, self.upstream, strict=True):
            color = image.reshape(-1)[place]
            total = total + (image[line] - color[:, None]) * upstream[line]
        return jnp.asarray(total)


def as_lines(picture: jax.Array) -> jax.Array:
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
    """Where edges cross lines, and what moving their ends does there."""

    at: jax.Array  # v*
    outward: jax.Array  # +1 or -1: which way along the line leaves the face
    inner: jax.Array  # v of the last pixel inside
    valid: jax.Array  # whether the edge crosses this line, between two pixels of the picture
    levers: tuple[jax.Array, ...]  # screen units that an end moves per pixel of v*
    moves: tuple[jax.Array, ...]  # whether the end moves v* at all


class Way(NamedTuple):
    """Which edge of a face it is, and along which axis: a sweep's number, 0 to 5."""

    sweep: jax.Array  # int32
    image_size: tuple[int, int]  # (H, W)

    @property
    def axis(self) -> jax.Array:
        """0 along columns, 1 along rows."""
        return lax.div(self.sweep, jnp.int32(3))

    @property
    def edge(self) -> jax.Array:
        """0, 1 or 2."""
        return lax.rem(self.sweep, jnp.int32(3))

    @property
    def by_column(self) -> jax.Array:
        """Whether lines are columns."""
        return self.axis == 0

    @property
    def lines(self) -> jax.Array:
        """How many there are in a view."""
        height, width = self.image_size
        return jnp.where(self.by_column, width, height)

    @property
    def size(self) -> jax.Array:
        """How many pixels a line has."""
        height, width = self.image_size
        return jnp.where(self.by_column, height, width)

    @property
    def of_edge(self) -> jax.Array:
        """Which coordinate of which edge it moves: those of x, then those of y."""
        return (1 - self.axis) * 3 + self.edge


class Sweep(NamedTuple):
    """One edge of the faces that pixels see, and the lines of the pixels along one axis."""

    a: tuple[jax.Array, jax.Array]  # (u, v) where the edge starts
    b: tuple[jax.Array, jax.Array]  # (u, v) where it ends
    u: jax.Array  # int32 number of the line
    owner: jax.Array  # int32 the face, counted through all views
    eps: jax.Array  # of the view

    def cross(self, way: Way) -> Crossing:
        """Crosses the edges with the lines."""
        (au, av), (bu, bv) = self.a, self.b
        u = self.u.astype(au.dtype)
        lines, size = way.lines.astype(au.dtype), way.size.astype(au.dtype)
        level = au == bu
        span = jnp.where(level, 1, bu - au)
        # Multiplied before it is divided, v* is exact where an edge between pixel centres meets
        # another; and no fused multiply-add rounds it to the one or the other side of it.
        at = av + (bv - av) * (u - au) / span
        outward = jnp.where((au < bu) == way.by_column, -1, 1).astype(at.dtype)
        inner = jnp.where(outward > 0, jnp.floor(at), jnp.ceil(at))
        outer = inner + outward
        first = jnp.maximum(jnp.ceil(jnp.minimum(au, bu)), 0)
        last = jnp.trunc(jnp.minimum(jnp.maximum(au, bu), lines - 1))
        valid = ~level & (first <= u) & (u <= last)
        valid &= (inner >= 0) & (inner < size) & (outer >= 0) & (outer < size)
        to_b, to_a = bu - u, u - au
        moves = to_b != 0, to_a != 0
        levers = tuple(
            span / jnp.where(move, way, 1) * 2 / size
            for way, move in zip((to_b, to_a), moves, strict=True)
        )
        return Crossing(at, outward, inner, valid, levers, moves)
