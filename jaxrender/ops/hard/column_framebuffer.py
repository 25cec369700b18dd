"""The walk over all (face, pixel) pairs on a CPU: one pixel block after the other.

The same walk as `blocks.py`, for the kind of loop of `native.py`: from the last face to the
first, and over the pixels within the bounds of each.

Shapes: `B` views, `F` faces, `H, W` image, `S` pixels of a block.

The picture lies in columns 8 pixels wide: a column's first row, its second row, and so on, then the
next column; then the next view. A pixel block is 8 rows of one column, which may begin at any row.
So it is one run of `S` = 64 numbers wherever it lies, and reading it, working on it and writing it
are a few vector operations each. Each column is padded at its foot, so that no block leaves it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.blocks import Bounds
from jaxrender.ops.native import weigh_down
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.triangle import pixel_centre

WIDTH = 8  # of a column, and of a pixel block
ROWS = 8  # of a pixel block
SIZE = ROWS * WIDTH


class ColumnFramebuffer(NamedTuple):
    """How the pictures of `B` views lie in memory, in columns."""

    views: int
    image_size: tuple[int, int]

    @property
    def rows(self) -> int:
        """Of a column."""
        return self.image_size[0] + ROWS - 1

    @property
    def columns(self) -> int:
        """How many columns a view has."""
        return -(-self.image_size[1] // WIDTH)

    @property
    def size(self) -> int:
        """How many numbers there are, padding and all."""
        return self.views * self.columns * self.rows * WIDTH

    def full(self, value: Any, dtype: Any) -> jax.Array:
        """Pictures of one number, or one `[B]` each: all columns of a view, then of the next."""
        rows = jnp.broadcast_to(jnp.asarray(value, dtype)[..., None], (self.views, 1))
        return jnp.broadcast_to(rows, (self.views, self.size // self.views)).reshape(-1)

    def crop(self, buffer: jax.Array) -> jax.Array:
        """The pictures `[B, H, W]`."""
        height, width = self.image_size
        columns = buffer.reshape(self.views, self.columns, self.rows, WIDTH)
        rows = columns.transpose(0, 2, 1, 3).reshape(self.views, self.rows, -1)
        return rows[:, :height, :width]


class PixelBlock(NamedTuple):
    """Eight rows of a column, and the face that is drawn there; int32 `[]`."""

    face: jax.Array  # counted through all views
    view: jax.Array
    row: jax.Array  # the first
    column: jax.Array  # within its view
    offset: jax.Array  # where the block begins in memory

    def pixels(self, image_size: tuple[int, int], dtype: Any) -> tuple[jax.Array, jax.Array]:
        """The pixel coordinates x and y `[S]` of the centres."""
        height, width = image_size
        down, across = jnp.divmod(jnp.arange(SIZE, dtype=jnp.int32), WIDTH)
        x = pixel_centre(self.column * WIDTH, width, dtype)
        y = pixel_centre(self.row, height, dtype)
        return x + across.astype(dtype), y + down.astype(dtype)

    def read(self, buffer: jax.Array) -> jax.Array:
        """What lies there `[S]`."""
        return slice_at(buffer, (self.offset,), (SIZE,))

    def write(self, buffer: jax.Array, values: jax.Array) -> jax.Array:
        """The buffer with these values `[S]` there."""
        # Address by one number: with two, of column and row, drawing takes half as long again.
        return lax.dynamic_update_slice(
            buffer, values, (self.offset,), allow_negative_indices=False
        )


def walk(
    fold: Callable[[Any, PixelBlock], Any],
    state: Any,
    bounds: Bounds,
    framebuffer: ColumnFramebuffer,
) -> Any:
    """Folds every pixel block of every face into `state`, from the last face to the first.

    Args:
        fold: `fold(state, block) -> state`. What it writes to an array it must have read before,
            see `native.apart`.
        state: any pytree.
        bounds: of the faces of all views, `[B F]`.
        framebuffer: how the pictures lie in memory.
    """
    total = bounds.top.shape[0]
    per_view, last_face = jnp.int32(total // framebuffer.views), jnp.int32(total - 1)

    def one_face(step: jax.Array, state: Any) -> Any:
        face = last_face - step
        view = lax.div(face, per_view)
        top, left, bottom, right = (scalar_at(side, face) for side in bounds)
        first, last = lax.div(left, jnp.int32(WIDTH)), lax.div(right, jnp.int32(WIDTH))
        bottom = lax.select(left <= right, bottom, jnp.int32(-1))

        def one_block(carry: tuple[jax.Array, jax.Array, Any]) -> tuple:
            row, column, state = carry
            row = weigh_down(row)
            offset = ((view * framebuffer.columns + column) * framebuffer.rows + row) * WIDTH
            state = fold(state, PixelBlock(face, view, row, column, offset))
            ends = column >= last
            row, column = lax.select(ends, row + ROWS, row), lax.select(ends, first, column + 1)
            return row, column, state

        return lax.while_loop(lambda carry: carry[0] <= bottom, one_block, (top, first, state))[2]

    state = match_varying_axes(state, bounds.top)
    return lax.fori_loop(jnp.int32(0), jnp.int32(total), one_face, state)


def slice_at(array: jax.Array, start: tuple, sizes: tuple[int, ...]) -> jax.Array:
    """A slice of an array, from indices that are known not to be negative."""
    start = tuple(jnp.asarray(index, jnp.int32) for index in start)
    return lax.dynamic_slice(array, start, sizes, allow_negative_indices=False)


def scalar_at(array: jax.Array, *index: int | jax.Array) -> jax.Array:
    """One number of an array, `[]`."""
    return slice_at(array, index, (1,) * len(index)).reshape(())
