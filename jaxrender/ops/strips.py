"""The walk over all (face, pixel) pairs on a CPU: one window after the other, in machine code.

The same walk as `blocks.py`, for the kind of loop of `native.py`: from the last face to the
first, and over the pixels within the bounds of each.

Shapes: `B` views, `F` faces, `H, W` image, `S` pixels of a window.

The picture lies in strips 8 pixels wide: a strip's first row, its second row, and so on, then the
next strip; then the next view. A window is 8 rows of one strip, which may begin at any row. So it
is one run of `S` = 64 numbers wherever it lies, and reading it, working on it and writing it are a
few vector operations each. Rows are added at the foot of each strip, that no window leaves it.
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
from jaxrender.ops.triangles import pixel_centre

WIDTH = 8  # of a strip, and of a window
ROWS = 8  # of a window: fewer rows cost hardly less, and make more windows
SIZE = ROWS * WIDTH


class Strips(NamedTuple):
    """Pictures of `B` views in strips, and how they lie in memory."""

    views: int
    image_size: tuple[int, int]

    @property
    def rows(self) -> int:
        """Of a strip."""
        return self.image_size[0] + ROWS - 1

    @property
    def columns(self) -> int:
        """How many strips a view has."""
        return -(-self.image_size[1] // WIDTH)

    @property
    def size(self) -> int:
        """How many numbers there are, padding and all."""
        return self.views * self.columns * self.rows * WIDTH

    def full(self, value: Any, dtype: Any) -> jax.Array:
        """Pictures of one number, or one `[B]` each: all strips of a view, then of the next."""
        rows = jnp.broadcast_to(jnp.asarray(value, dtype)[..., None], (self.views, 1))
        return jnp.broadcast_to(rows, (self.views, self.size // self.views)).reshape(-1)

    def cut_out(self, strips: jax.Array) -> jax.Array:
        """The pictures `[B, H, W]`."""
        height, width = self.image_size
        strips = strips.reshape(self.views, self.columns, self.rows, WIDTH)
        rows = strips.transpose(0, 2, 1, 3).reshape(self.views, self.rows, -1)
        return rows[:, :height, :width]


class Window(NamedTuple):
    """Eight rows of a strip, and the face that is looked at; int32 `[]`."""

    face: jax.Array  # counted through all views
    view: jax.Array
    row: jax.Array  # the first
    strip: jax.Array  # within its view
    place: jax.Array  # where the window begins in memory

    def pixels(self, image_size: tuple[int, int], dtype: Any) -> tuple[jax.Array, jax.Array]:
        """The pixel coordinates x and y `[S]` of the centres."""
        height, width = image_size
        down, across = jnp.divmod(jnp.arange(SIZE, dtype=jnp.int32), WIDTH)
        x, y = pixel_centre(self.strip * WIDTH, width, dtype), pixel_centre(self.row, height, dtype)
        return x + across.astype(dtype), y + down.astype(dtype)

    def read(self, strips: jax.Array) -> jax.Array:
        """What lies there `[S]`."""
        return piece(strips, (self.place,), (SIZE,))

    def write(self, strips: jax.Array, values: jax.Array) -> jax.Array:
        """The picture with these values `[S]` in their place."""
        # One number says where: with two, of the strip and in it, drawing takes half as long again.
        return lax.dynamic_update_slice(strips, values, (self.place,), allow_negative_indices=False)


def walk(
    fold: Callable[[Any, Window], Any],
    state: Any,
    bounds: Bounds,
    strips: Strips,
) -> Any:
    """Folds every window of every face into `state`, from the last face to the first.

    Args:
        fold: `fold(state, window) -> state`. What it writes to an array it must have read before,
            see `native.apart`.
        state: any pytree.
        bounds: of the faces of all views, `[B F]`.
        strips: how the pictures lie.
    """
    total = bounds.top.shape[0]
    per_view, last_face = jnp.int32(total // strips.views), jnp.int32(total - 1)

    def one_face(step: jax.Array, state: Any) -> Any:
        face = last_face - step
        view = lax.div(face, per_view)
        top, left, bottom, right = (number(side, face) for side in bounds)
        first, last = lax.div(left, jnp.int32(WIDTH)), lax.div(right, jnp.int32(WIDTH))
        bottom = lax.select(left <= right, bottom, jnp.int32(-1))

        def one_window(carry: tuple[jax.Array, jax.Array, Any]) -> tuple:
            row, strip, state = carry
            row = weigh_down(row)
            place = ((view * strips.columns + strip) * strips.rows + row) * WIDTH
            state = fold(state, Window(face, view, row, strip, place))
            ends = strip >= last
            row, strip = lax.select(ends, row + ROWS, row), lax.select(ends, first, strip + 1)
            return row, strip, state

        return lax.while_loop(lambda carry: carry[0] <= bottom, one_window, (top, first, state))[2]

    state = match_varying_axes(state, bounds.top)
    return lax.fori_loop(jnp.int32(0), jnp.int32(total), one_face, state)


def piece(array: jax.Array, start: tuple, sizes: tuple[int, ...]) -> jax.Array:
    """A piece of an array, from places that are known not to be negative."""
    start = tuple(jnp.asarray(place, jnp.int32) for place in start)
    return lax.dynamic_slice(array, start, sizes, allow_negative_indices=False)


def number(array: jax.Array, *place: int | jax.Array) -> jax.Array:
    """One number of an array, `[]`."""
    return piece(array, place, (1,) * len(place)).reshape(())
