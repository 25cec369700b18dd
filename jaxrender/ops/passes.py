"""Work in passes of a fixed size, as many as it takes: no list overflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer


def compact_indices(mask: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The indices `[size]` where a mask is true, in order, then zeros; and how many there are."""
    rank = jnp.cumsum(mask, dtype=jnp.int32)
    target = jnp.where(mask, rank - 1, size)
    index = jnp.arange(mask.size, dtype=jnp.int32)
    listed = jnp.zeros(size, jnp.int32).at[target].set(index, mode="drop", unique_indices=True)
    return listed, rank[-1]


def match_varying_axes(values: Any, like: Any) -> Any:
    """`values` as they are, but varying over a device axis wherever an array of `like` does.

    Inside `jax.shard_map` a loop must begin with what varies if its results do, and so must both
    branches of a choice, and what an operation with a gradient of its own takes. A choice between
    equals says so, and compiles to nothing. Outside of all transformations nothing is done.
    """
    arrays = jax.tree.leaves(like)
    if not any(isinstance(array, Tracer) for array in arrays):
        return values
    firsts = [array.reshape(-1)[0] for array in arrays if array.size]
    zero = sum((first.astype(jnp.int32) * 0 for first in firsts), jnp.int32(0))
    return jax.tree.map(lambda array: lax.select(zero == 0, array, array), values)


def loop_over_chunks(items: jax.Array, chunk_size: int, body: Callable, state: Any) -> Any:
    """Calls `body(chunk, state) -> state` for each chunk of so many items until all are done."""
    chunks = lax.div(items + (chunk_size - 1), jnp.int32(chunk_size))
    return lax.fori_loop(jnp.int32(0), chunks, body, state)
