"""Pictures as the scans of the soft rasteriser read and write them, all views in one plane.

Shapes: `B` views, `H, W` image, `P` blocks of a pass, `h, w` block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import deterministic
from jaxrender.ops.blocks import block_pixels

IN_BOUNDS = lax.GatherScatterMode.PROMISE_IN_BOUNDS
PLANE_SCATTER = lax.ScatterDimensionNumbers((1, 2), (), (0, 1))  # blocks of one plane
PLANE_GATHER = lax.GatherDimensionNumbers((1, 2), (), (0, 1))
PLANES_SCATTER = lax.ScatterDimensionNumbers((1, 2, 3), (), (1, 2))  # of several at once
PLANES_GATHER = lax.GatherDimensionNumbers((1, 2, 3), (), (1, 2))


class Framebuffer(NamedTuple):
    """How planes lie in memory: the views one below the other, padded by one block.

    A plane `[B (H + h), W + w]` is one number for each pixel; no block that begins in the
    picture leaves it, or reaches into the next view.
    """

    views: int
    image_size: tuple[int, int]
    block_size: tuple[int, int]

    @property
    def rows_per_view(self) -> int:
        """`H + h`."""
        return self.image_size[0] + self.block_size[0]

    @property
    def size(self) -> tuple[int, int]:
        """`(B (H + h), W + w)`, the rows and columns of a plane."""
        return self.views * self.rows_per_view, self.image_size[1] + self.block_size[1]

    def crop(self, planes: jax.Array) -> jax.Array:
        """The pictures `[B, H, W, n]` in planes `[n, *size]`."""
        (height, width), columns = self.image_size, self.size[1]
        planes = planes.reshape(-1, self.views, self.rows_per_view, columns)
        return planes[:, :, :height, :width].transpose(1, 2, 3, 0)

    def stack(self, pictures: list[jax.Array]) -> jax.Array:
        """Planes `[n, *size]` of pictures `[B or 1, H, W]`."""
        shape, (height, width) = (self.views, *self.image_size), self.block_size
        stacked = jnp.stack([jnp.broadcast_to(picture, shape) for picture in pictures])
        stacked = jnp.pad(stacked, ((0, 0), (0, 0), (0, height), (0, width)))
        return stacked.reshape(len(pictures), -1, stacked.shape[-1])

    def read_blocks(self, planes: jax.Array, origin: jax.Array) -> jax.Array:
        """What a plane has at the pixels of blocks that begin at `origin` `[P, 2]`: `[P, h w]`.

        Of several planes `[n, *size]`, `[P, n, h w]`.
        """
        numbers = PLANE_GATHER if planes.ndim == 2 else PLANES_GATHER
        size = (*planes.shape[:-2], *self.block_size)
        read = lax.gather(planes, origin, numbers, size, mode=IN_BOUNDS)
        return read.reshape(*read.shape[:-2], -1)

    def scatter_blocks(
        self, scatter: Callable, planes: jax.Array, origin: jax.Array, values: jax.Array
    ) -> jax.Array:
        """Folds such values into planes, with `lax.scatter_max` or another of its kind."""
        numbers = PLANE_SCATTER if planes.ndim == 2 else PLANES_SCATTER
        values = values.reshape(*values.shape[:-1], *self.block_size)
        return scatter(planes, origin, values, numbers, mode=IN_BOUNDS)

    def add_blocks(
        self, planes: jax.Array, origin: jax.Array, valid: jax.Array, values: jax.Array
    ) -> jax.Array:
        """Adds such values to planes, deterministically where that is requested.

        `valid` `[P]` tells blocks from padding, whose values are 0.
        """
        if not deterministic.is_requested():
            return self.scatter_blocks(lax.scatter_add, planes, origin, values)
        rows, columns = block_pixels(origin[:, 0], origin[:, 1], self.block_size)
        index = jnp.where(valid[:, None, None], rows * planes.shape[-1] + columns, -1)
        flat = planes.reshape(-1, planes.shape[-2] * planes.shape[-1])
        runs = deterministic.sort_into_runs(index.reshape(-1), flat.shape[1])
        values = values.reshape(index.shape[0], flat.shape[0], -1)
        sums = runs.sum_values(jnp.moveaxis(values, 1, 2).reshape(-1, flat.shape[0]))
        added = flat.at[:, runs.target].add(sums.T, mode="drop", unique_indices=True)
        return added.reshape(planes.shape)
