"""How an operation with a batch axis of its own works under `jax.vmap`, in one fused call.

`jax.vmap` of a loop is ruinous: every view would run as long as the slowest, with a select over
the whole state at each step. So the loops of `ops` are written for a leading batch axis, in
which views are simply more rows of one tall picture, and `vmap` is taught to fold its axis
into that one. Arguments and results are pytrees: structs travel as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def batch_size(*args: Any) -> int:
    """`B` of pytrees whose arrays each have a leading batch axis of size `B`, or 1 if shared."""
    return max(array.shape[0] for array in jax.tree.leaves(args))


def fold_vmap(batched: Callable) -> Callable:
    """Turns an operation over a batch into one over a single example that `vmap` keeps fused.

    Args:
        batched: takes pytrees of arrays that each have a leading batch axis of size `B`, or of
            size 1 when the whole batch shares them, and returns a pytree of arrays with a
            leading `B`.

    Returns:
        The same operation without the batch axis. Any number of nested `jax.vmap`s around it
        end in one call of `batched`; an array that is not mapped stays shared, uncopied. All its
        arguments are arrays, or pytrees of them. It has no derivative: give it one by a
        `LinearMap` (as `_nmr.py`), or call it on `jax.lax.stop_gradient` of what it gets.

    Example:
        What is static, `power`, makes an operation of its own, once. Under `jax.shard_map` a loop
        must begin with what varies as its results do: `match_varying_axes` sees to that.

        >>> import functools, jax, jax.numpy as jnp
        >>> from jaxrender.ops.sharding import match_varying_axes
        >>> @functools.cache
        ... def sum_of_powers(power):
        ...     def batched(points, scale):  # [B or 1, N], [B or 1]
        ...         views, count = batch_size(points, scale), points.shape[1]
        ...         start = match_varying_axes(jnp.zeros(views), (points, scale))
        ...         def add(k, total):
        ...             return total + scale * points[:, k] ** power
        ...         return jax.lax.fori_loop(0, count, add, start)
        ...     return fold_vmap(batched)
        >>> points, scales = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 10.0])
        >>> jax.vmap(sum_of_powers(2), (None, 0))(points, scales).tolist()
        [14.0, 140.0]
    """
    # Compiled here, because without it each call outside `jax.jit` compiles the loops anew.
    compiled = jax.jit(batched)

    @jax.custom_batching.custom_vmap
    def over_batch(*args: Any):
        return compiled(*args)

    @over_batch.def_vmap
    def rule(axis_size: int, in_batched: Any, *args: Any):
        unfolded = fold_axis(over_batch, axis_size, args, tuple(in_batched))
        return unfolded, jax.tree.map(lambda _: True, unfolded)

    def single(*args: Any):
        with_axis = jax.tree.map(lambda array: array[None], args)
        return jax.tree.map(lambda result: result[0], over_batch(*with_axis))

    return single


def fold_axis(operation: Callable, axis_size: int, args: Any, mapped: Any) -> Any:
    """Calls an operation over a batch with an axis of `vmap` folded into the batch's.

    Args:
        operation: over a batch, as of `fold_vmap`.
        axis_size: of the axis of `vmap`.
        args: pytrees of arrays; those that are mapped have that axis before the batch's.
        mapped: pytrees of bools, which these are.

    Returns:
        Its results, each with the axis of `vmap` before the batch's.
    """
    arrays, tree = jax.tree.flatten(args)
    of_maps = jax.tree.leaves(mapped)
    if axis_size == 0:

        def of_one(*arrays: jax.Array) -> Any:
            return fold_axis(operation, 1, jax.tree.unflatten(tree, arrays), mapped)

        return results_of_none(of_one, arrays, [0 if of_map else None for of_map in of_maps])
    pairs = zip(arrays, of_maps, strict=True)
    inner = max(array.shape[1 if of_map else 0] for array, of_map in pairs)

    def fold(array: jax.Array, of_map: bool) -> jax.Array:
        return fold_into(array, of_map, axis_size, inner, 0)

    results = operation(*jax.tree.map(fold, args, mapped))
    return jax.tree.map(lambda result: result.reshape(axis_size, inner, *result.shape[1:]), results)


def results_of_none(
    operation: Callable, arrays: Sequence[jax.Array], axes: Sequence[int | None], place: int = 0
) -> Any:
    """What an operation returns where an axis of `vmap` has no examples: nothing of each result.

    A batch of 0 could not be told from what it shares, whose axis has the size 1.

    Args:
        operation: over that axis, of any other size.
        arrays: its arguments.
        axes: where they have the axis; None is not.
        place: where the results have it.
    """

    def resized(shape: tuple[int, ...], axis: int, count: int) -> tuple[int, ...]:
        return (*shape[:axis], count, *shape[axis + 1 :])

    one = [
        jax.ShapeDtypeStruct(
            array.shape if axis is None else resized(array.shape, axis, 1), array.dtype
        )
        for array, axis in zip(arrays, axes, strict=True)
    ]
    return jax.tree.map(
        lambda result: jnp.zeros(resized(result.shape, place, 0), result.dtype),
        jax.eval_shape(operation, *one),
    )


def fold_into(array: jax.Array, mapped: bool, size: int, inner: int, place: int) -> jax.Array:
    """An array with the axis of `vmap` folded into that of the batch.

    Args:
        array: with a leading batch axis of size `inner` or 1, and if it is mapped, that of `vmap`.
        mapped: whether it is.
        size: of the axis of `vmap`.
        inner: of the batch.
        place: 0 if the axis of `vmap` goes before that of the batch, 1 if behind it.

    Returns:
        With a leading axis of `size * inner`, or 1 if all share it.
    """
    if not mapped and array.shape[0] == 1:
        return array
    if not mapped:
        array = jnp.expand_dims(array, place)
    whole = (size, inner) if place == 0 else (inner, size)
    array = jnp.broadcast_to(array, (*whole, *array.shape[2:]))
    return array.reshape(size * inner, *array.shape[2:])  # which may be empty


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
    return fold_vmap(functools.partial(by_platform, batched, schedules, name))


def by_platform(batched: Callable, schedules: Mapping[str, Any], name: str | None, *args: Any):
    """`batched(*args, schedule=…)`, by one schedule or another; see `fold_vmap_scheduled`."""
    if name is not None:
        return batched(*args, schedule=schedules[name])
    plans = [functools.partial(batched, schedule=plan) for plan in schedules.values()]
    if jax.default_backend() == "cpu":
        return plans[0](*args)  # tracing the other as well would take as long again
    return lax.platform_dependent(*args, cpu=plans[0], default=plans[-1])
