"""Work in passes of a fixed size, as many as it takes: no list overflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer


def list_places(mask: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The places `[size]` where a mask is true, in order, then zeros; and how many there are."""
    rank = jnp.cumsum(mask, dtype=jnp.int32)
    where = jnp.where(mask, rank - 1, size)
    places = jnp.arange(mask.size, dtype=jnp.int32)
    listed = jnp.zeros(size, jnp.int32).at[where].set(places, mode="drop", unique_indices=True)
    return listed, rank[-1]


def vary_like(state: Any, like: Any) -> Any:
    """`state` itself, but one that differs between devices wherever an array of `like` does.

    Inside `jax.shard_map` a loop must begin with what differs if its results do, and so must both
    branches of a choice, and what an operation with a gradient of its own takes. A choice between
    equals says so, and compiles to nothing. Outside of all transformations nothing is done.
    """
    arrays = jax.tree.leaves(like)
    if not any(isinstance(array, Tracer) for array in arrays):
        return state
    firsts = [array.reshape(-1)[0] for array in arrays if array.size]
    zero = sum((first.astype(jnp.int32) * 0 for first in firsts), jnp.int32(0))
    return jax.tree.map(lambda array: lax.select(zero == 0, array, array), state)


def repeat(items: jax.Array, at_once: int, body: Callable, state: Any) -> Any:
    """Calls `body(number, state) -> state` until all items are done, so many at once."""
    times = lax.div(items + (at_once - 1), jnp.int32(at_once))
    return lax.fori_loop(jnp.int32(0), times, body, state)
