"""Work in passes of a fixed size, as many as it takes: no list overflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def list_places(mask: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The places `[size]` where a mask is true, in order, then zeros; and how many there are."""
    rank = jnp.cumsum(mask, dtype=jnp.int32)
    where = jnp.where(mask, rank - 1, size)
    places = jnp.arange(mask.size, dtype=jnp.int32)
    listed = jnp.zeros(size, jnp.int32).at[where].set(places, mode="drop", unique_indices=True)
    return listed, rank[-1]


def repeat(items: jax.Array, at_once: int, body: Callable, state: Any) -> Any:
    """Calls `body(number, state) -> state` until all items are done, so many at once."""
    times = lax.div(items + (at_once - 1), jnp.int32(at_once))
    return lax.fori_loop(jnp.int32(0), times, body, state)
