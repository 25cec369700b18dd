"""Sums at given places: in any order, which is quick, or in a fixed one, if a GPU is asked to.

Shapes: `n` values of `K` numbers, `N` places.

A GPU adds values to the same place in whatever order they arrive, so that rounding differs from
run to run. XLA can be told not to (`XLA_FLAGS=--xla_gpu_deterministic_ops=true`), and then adds one
value after the other, each in a step of a loop of its own: a picture takes seconds. So where that
is asked for, the sums of this library are made another way. The values are sorted by their places,
so that those of one place stand together, a run, and each run is added up in doubling strides:

    s_i ← s_i + s_(i - d)  within the run,     d = 1, 2, 4, … up to the longest run

after which the last of each run is its sum, and no two of those have the same place. That takes
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


def is_order_asked_for() -> bool:
    """Whether XLA's flags ask a GPU for the same bits in each run, and it is one."""
    return jax.default_backend() != "cpu" and bool(FLAG.search(os.environ.get("XLA_FLAGS", "")))


class Runs(NamedTuple):
    """Which of `n` values belong together, sorted by their places."""

    order: jax.Array  # [n] which value stands where
    rank: jax.Array  # [n] how many of the same run come before
    longest: jax.Array  # [] of a run that counts
    places: jax.Array  # [n] where the sums go: of the last of each run; others are out of range

    def add_up(self, values: jax.Array) -> jax.Array:
        """The sums `[n, K]` of values `[n, K]`, at the last of each run."""
        index = jnp.arange(self.rank.size, dtype=jnp.int32)

        def double(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            stride, sums = carry
            before = sums[jnp.maximum(index - stride, 0)]
            return 2 * stride, sums + jnp.where((self.rank >= stride)[:, None], before, 0)

        start = jnp.int32(1) + 0 * self.longest, values[self.order]
        return lax.while_loop(lambda carry: carry[0] < self.longest, double, start)[1]


def runs_of(places: jax.Array, count: int) -> Runs:
    """Sorts places `[n]`; those that are not in [0, count) count for nothing."""
    index = jnp.arange(places.size, dtype=jnp.int32)
    places = jnp.where((places >= 0) & (places < count), places, count).astype(jnp.int32)
    places, order = lax.sort((places, index), num_keys=1)
    begins = jnp.concatenate([jnp.ones(1, bool), places[1:] != places[:-1]])[: places.size]
    ends = jnp.concatenate([begins[1:], jnp.ones(1, bool)])[: places.size] & (places < count)
    rank = index - lax.cummax(jnp.where(begins, index, 0))
    longest = jnp.max(jnp.where(places < count, rank, -1), initial=-1) + 1
    return Runs(order, rank, longest, jnp.where(ends, places, count + index))


def add_at(table: jax.Array, places: jax.Array, values: jax.Array) -> jax.Array:
    """`table` `[N, ...]` with values `[..., ...]` added at places `[...]`, in order if asked for.

    Places out of [0, N) count for nothing. In order, it is differentiable in reverse mode alone.
    """
    if not is_order_asked_for():
        places = jnp.where(places < 0, table.shape[0], places)
        return table.at[places].add(values, mode="drop")
    return _add_at(table, places, values) if places.size and table.size else table


@jax.custom_vjp
def _add_at(table: jax.Array, places: jax.Array, values: jax.Array) -> jax.Array:
    runs = runs_of(places.reshape(-1), table.shape[0])
    sums = runs.add_up(values.reshape(places.size, -1)).reshape(-1, *table.shape[1:])
    return table.at[runs.places].add(sums, mode="drop", unique_indices=True)


def _add_at_fwd(table, places, values):
    return _add_at(table, places, values), places


def _add_at_bwd(places, upstream):
    inside = (places >= 0) & (places < upstream.shape[0])
    inside = inside.reshape(*inside.shape, *(1,) * (upstream.ndim - 1))
    return upstream, None, jnp.where(inside, take(upstream, places), 0)


_add_at.defvjp(_add_at_fwd, _add_at_bwd)


def add_each_at(
    table: jax.Array, places: Sequence[jax.Array], values: Sequence[jax.Array]
) -> jax.Array:
    """`add_at` of several arrays of one shape; in order, of all together, which is sorted once."""
    if is_order_asked_for():
        return add_at(table, jnp.stack(places), jnp.stack(values))
    for these, value in zip(places, values, strict=True):
        table = add_at(table, these, value)
    return table


def take(table: jax.Array, places: jax.Array) -> jax.Array:
    """`table[places]`, those out of range clipped, whose gradient is added in order if asked for.

    In order, it is differentiable in reverse mode alone.
    """
    if not (places.size and table.size):
        return jnp.zeros((*places.shape, *table.shape[1:]), table.dtype)
    if not is_order_asked_for():
        return jnp.take(table, places, axis=0, mode="clip")
    return _take(table, jnp.clip(places, 0, table.shape[0] - 1))


@jax.custom_vjp
def _take(table: jax.Array, places: jax.Array) -> jax.Array:
    return table[places]


def _take_fwd(table, places):
    return table[places], (jnp.zeros_like(table), places)


def _take_bwd(kept, upstream):
    zeros, places = kept
    return add_at(zeros, places, upstream), None


_take.defvjp(_take_fwd, _take_bwd)


def take_each(columns: Sequence[jax.Array], places: jax.Array) -> list[jax.Array]:
    """`take` of several tables `[N]` at the same places."""
    if not is_order_asked_for():
        return [take(column, places) for column in columns]
    return list(jnp.moveaxis(take(jnp.stack(columns, -1), places), -1, 0))
