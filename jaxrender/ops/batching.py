"""How an operation with a batch axis of its own works under `jax.vmap`, in one fused call.

`jax.vmap` of a loop is ruinous: every view would run as long as the slowest, with a select over
the whole state at each step. So the loops of `ops` are written for a leading batch axis, in
which views are simply more rows of one tall picture, and `vmap` is taught to fold its axis
into that one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def fold_vmap(batched: Callable) -> Callable:
    """Turns an operation over a batch into one over a single example that `vmap` keeps fused.

    Args:
        batched: takes arrays that each have a leading batch axis of size `B`, or of size 1
            when the whole batch shares them, and returns arrays with a leading `B`.

    Returns:
        The same operation without the batch axis. Any number of nested `jax.vmap`s around it
        end in one call of `batched`; an argument that is not mapped stays shared, uncopied.
    """
    # Compiled here, because without it each call outside `jax.jit` compiles the loops anew.
    compiled = jax.jit(batched)

    @jax.custom_batching.custom_vmap
    def over_batch(*args: jax.Array):
        return compiled(*args)

    @over_batch.def_vmap
    def fold_axis(axis_size: int, in_batched: list[bool], *args: jax.Array):
        inner = max(
            arg.shape[1 if mapped else 0] for arg, mapped in zip(args, in_batched, strict=True)
        )

        def fold(arg: jax.Array, mapped: bool) -> jax.Array:
            if not mapped and arg.shape[0] == 1:
                return arg
            if not mapped:
                arg = jnp.broadcast_to(arg[None], (axis_size, *arg.shape))
            arg = jnp.broadcast_to(arg, (axis_size, inner, *arg.shape[2:]))
            return arg.reshape(axis_size * inner, *arg.shape[2:])

        results = over_batch(*map(fold, args, in_batched))
        unfolded = jax.tree.map(
            lambda result: result.reshape(axis_size, inner, *result.shape[1:]), results
        )
        return unfolded, jax.tree.map(lambda _: True, unfolded)

    def single(*args: jax.Array):
        return jax.tree.map(lambda result: result[0], over_batch(*(arg[None] for arg in args)))

    return single


def in_lots(batched: Callable, args: Sequence[jax.Array], at_once: int) -> Any:
    """`batched(*args)`, of so many examples at once: memory for all at once is slow to get.

    Args:
        batched: as for `fold_vmap`.
        args: its arguments.
        at_once: how many at most.
    """
    size = max(arg.shape[0] for arg in args)
    at_once = max(1, min(at_once, size))
    if at_once == size:
        return batched(*args)

    # Make lots of one size, that of the last too, which takes the last example several times.
    even = [lot for lot in range(at_once, at_once // 2, -1) if size % lot == 0]
    lot = even[0] if even else -(-size // -(-size // at_once))
    lots = -(-size // lot)
    own = [arg.shape[0] == size for arg in args]

    def split(arg: jax.Array) -> jax.Array:
        if lots * lot > size:
            arg = jnp.concatenate(
                [arg, jnp.broadcast_to(arg[-1:], (lots * lot - size, *arg.shape[1:]))]
            )
        return arg.reshape(lots, lot, *arg.shape[1:])

    def some(parts: list[jax.Array]) -> Any:
        rest = iter(parts)
        return batched(*(next(rest) if mine else arg for arg, mine in zip(args, own, strict=True)))

    results = lax.map(some, [split(arg) for arg, mine in zip(args, own, strict=True) if mine])
    return jax.tree.map(lambda array: array.reshape(lots * lot, *array.shape[2:])[:size], results)


def fold_vmap_scheduled(
    batched: Callable, schedules: Mapping[str, Any], name: str | None
) -> Callable:
    """`fold_vmap` of an operation that runs by one schedule or another.

    Args:
        batched: as for `fold_vmap`, with a keyword `schedule`.
        schedules: by name: the first is a CPU's, the last that of any other device.
        name: which to take; None is that of the platform, and that of a CPU where jax's default
            is one, whatever the program is exported for.
    """

    def scheduled(*args: jax.Array):
        if name is not None:
            return batched(*args, schedule=schedules[name])
        plans = [functools.partial(batched, schedule=plan) for plan in schedules.values()]
        if jax.default_backend() == "cpu":
            return plans[0](*args)  # tracing the other as well would take as long again
        return lax.platform_dependent(*args, cpu=plans[0], default=plans[-1])

    return fold_vmap(scheduled)
