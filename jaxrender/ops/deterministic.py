"""Gather and scatter-add whose sums are deterministic on a GPU too, where XLA is asked for that.

Shapes: `n` values of `K` numbers, `N` rows of a table.

A GPU adds values to the same row in whatever order they arrive, so that rounding differs from run
to run. XLA can be told not to (`XLA_FLAGS=--xla_gpu_deterministic_ops=true`), and then adds one
value after the other, each in a step of a loop of its own: a picture takes seconds. So where
determinism is requested, this library adds in another way. The values are sorted by their index,
so that those of one index stand together, a run, and each run is summed in doubling strides:

    s_i ← s_i + s_(i - d)  within the run,     d = 1, 2, 4, … up to the longest run

after which the last of each run is its sum, and no two of those have the same index. That takes
O(n log n) and as many steps as the longest run has binary digits (Hillis and Steele 1986).

A CPU adds in order anyway.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

FLAG = re.compile(
    r"--xla_gpu_(?:deterministic_ops|exclude_nondeterministic_ops)(?:=(?:true|1))?(?![=\w])"
)


def is_requested() -> bool:
    """Whether XLA's flags ask a GPU for the same bits in each run, and it is one."""
    return jax.default_backend() != "cpu" and bool(FLAG.search(os.environ.get("XLA_FLAGS", "")))


class Runs(NamedTuple):
    """`n` values sorted by index: those of equal index, a run, stand together."""

    order: jax.Array  # [n] which value stands where
    rank: jax.Array  # [n] how many of the same run come before
    longest: jax.Array  # [] length of the longest run within the table
    target: jax.Array  # [n] the row that the last of each run is added to; of others, out of range

    def sum_values(self, values: jax.Array) -> jax.Array:
        """The sums `[n, K]` of values `[n, K]`, each at the last of its run."""
        position = jnp.arange(self.rank.size, dtype=jnp.int32)

        def double(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            stride, sums = carry
            before = sums[jnp.maximum(position - stride, 0)]
            return 2 * stride, sums + jnp.where((self.rank >= stride)[:, None], before, 0)

        start = jnp.int32(1) + 0 * self.longest, values[self.order]
        return lax.while_loop(lambda carry: carry[0] < self.longest, double, start)[1]


def sort_into_runs(index: jax.Array, size: int) -> Runs:
    """Sorts indices `[n]` into a table of `size` rows; those out of range are dropped."""
    position = jnp.arange(index.size, dtype=jnp.int32)
    index = jnp.where((index >= 0) & (index < size), index, size).astype(jnp.int32)
    index, order = lax.sort((index, position), num_keys=1)
    begins = jnp.concatenate([jnp.ones(1, bool), index[1:] != index[:-1]])[: index.size]
    ends = jnp.concatenate([begins[1:], jnp.ones(1, bool)])[: index.size] & (index < size)
    rank = position - lax.cummax(jnp.where(begins, position, 0))
    longest = jnp.max(jnp.where(index < size, rank, -1), initial=-1) + 1
    return Runs(order, rank, longest, jnp.where(ends, index, size + position))


def scatter_add(table: jax.Array, index: jax.Array, values: jax.Array) -> jax.Array:
    """Adds values `[..., ...]` to the rows `index` `[...]` of a table `[N, ...]`.

    Indices out of [0, N) are dropped. Where determinism is requested, it is differentiable in
    reverse mode alone.
    """
    if not is_requested():
        index = jnp.where(index < 0, table.shape[0], index)
        return table.at[index].add(values, mode="drop")
    return _scatter_add(table, index, values) if index.size and table.size else table


@jax.custom_vjp
def _scatter_add(table: jax.Array, index: jax.Array, values: jax.Array) -> jax.Array:
    runs = sort_into_runs(index.reshape(-1), table.shape[0])
    sums = runs.sum_values(values.reshape(index.size, -1)).reshape(-1, *table.shape[1:])
    return table.at[runs.target].add(sums, mode="drop", unique_indices=True)


def _scatter_add_fwd(table, index, values):
    return _scatter_add(table, index, values), index


def _scatter_add_bwd(index, cotangent):
    inside = (index >= 0) & (index < cotangent.shape[0])
    inside = inside.reshape(*inside.shape, *(1,) * (cotangent.ndim - 1))
    return cotangent, None, jnp.where(inside, gather(cotangent, index), 0)


_scatter_add.defvjp(_scatter_add_fwd, _scatter_add_bwd)


def scatter_add_each(
    table: jax.Array, indices: Sequence[jax.Array], values: Sequence[jax.Array]
) -> jax.Array:
    """`scatter_add` of several arrays of one shape; if deterministic, by one sort for all."""
    if is_requested():
        return scatter_add(table, jnp.stack(indices), jnp.stack(values))
    for index, value in zip(indices, values, strict=True):
        table = scatter_add(table, index, value)
    return table


def gather(table: jax.Array, index: jax.Array) -> jax.Array:
    """`table[index]`, indices clipped, with a gradient that is deterministic where requested.

    There it is differentiable in reverse mode alone.
    """
    if not (index.size and table.size):
        return jnp.zeros((*index.shape, *table.shape[1:]), table.dtype)
    if not is_requested():
        return jnp.take(table, index, axis=0, mode="clip")
    return _gather(table, jnp.clip(index, 0, table.shape[0] - 1))


@jax.custom_vjp
def _gather(table: jax.Array, index: jax.Array) -> jax.Array:
    return table[index]


def _gather_fwd(table, index):
    return table[index], (jnp.zeros_like(table), index)


def _gather_bwd(residuals, cotangent):
    zeros, index = residuals
    return scatter_add(zeros, index, cotangent), None


_gather.defvjp(_gather_fwd, _gather_bwd)


def gather_each(columns: Sequence[jax.Array], index: jax.Array) -> list[jax.Array]:
    """`gather` of several tables `[N]` at the same indices."""
    if not is_requested():
        return [gather(column, index) for column in columns]
    return list(jnp.moveaxis(gather(jnp.stack(columns, -1), index), -1, 0))
