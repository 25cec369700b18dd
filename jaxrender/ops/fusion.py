"""`computed_once`: where XLA is to keep what it would rather compute again."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax


def computed_once(columns: Sequence[jax.Array]) -> list[jax.Array]:
    """The same arrays, broadcast to one shape; on a CPU each is computed once.

    There XLA merges elementwise operations into all that read them: what the three channels of four
    texels have in common, it computes twelve times. It does not merge a stack if it cannot see that
    this is taken apart again.
    """
    columns = list(jnp.broadcast_arrays(*columns)) if columns else []
    if jax.default_backend() != "cpu":
        return columns
    kept: dict[int, jax.Array] = {}
    for dtype in dict.fromkeys(column.dtype for column in columns):
        own = [k for k, column in enumerate(columns) if column.dtype == dtype]
        stacked = lax.optimization_barrier(jnp.stack([columns[k] for k in own]))
        kept |= {k: stacked[number] for number, k in enumerate(own)}
    return [kept[k] for k in range(len(columns))]
