"""Rows of a table blended at points: what is linear in the table, with a quick transpose.

Shapes: `B` views, `...` points, `K` rows that each reads, `R` rows of `C` numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrender.ops import cpu
from jaxrender.ops.batching import batch_size
from jaxrender.ops.cpu import Kernel
from jaxrender.ops.linear import LinearMap


def blend_rows(table: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """`Σₖ weightsₖ · table[indicesₖ]`, to be differentiated by the table alone.

    Args:
        table: `[R, C]`.
        indices: `[..., K]` int32; those out of range are clipped.
        weights: `[..., K]`.

    Returns:
        `[..., C]`.
    """
    if not _is_kernel_for(table, indices, weights):
        return _blend([weights, indices], [table], None)[0]
    return _OF_TABLE([weights, indices.astype(jnp.int32)], [table], None)[0]


def blend_by_weights(table: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """The same, to be differentiated by the weights alone."""
    if not _is_kernel_for(table, indices, weights):
        return _blend_weights([table, indices], [weights], None)[0]
    return _OF_WEIGHTS([table, indices.astype(jnp.int32)], [weights], None)[0]


def _is_kernel_for(table: jax.Array, indices: jax.Array, weights: jax.Array) -> bool:
    some, here = table.size > 0 and indices.size > 0, jax.default_backend() == "cpu"
    return some and here and cpu.can_take(table.dtype, weights.dtype)


def _blend(given: Any, linear: Any, options: None) -> list[jax.Array]:
    (weights, indices), (table,) = given, linear
    return [(jnp.take(table, indices, axis=0, mode="clip") * weights[..., None]).sum(-2)]


def _blend_weights(given: Any, linear: Any, options: None) -> list[jax.Array]:
    (table, indices), (weights,) = given, linear
    return _blend([weights, indices], [table], options)


def _points(views: int, values: jax.Array) -> jax.Array:
    """Values `[B or 1, ..., C]` of all points `[B, N, C]`."""
    points, channels = math.prod(values.shape[1:-1]), values.shape[-1]
    return jnp.broadcast_to(values.reshape(-1, points, channels), (views, points, channels))


def _scatter(given: Any, cotangents: Any, shapes: Any, options: None) -> Sequence[jax.Array]:
    """The gradient of the table, of all views."""
    (weights, indices), (values,) = given, cotangents
    views, taps, rows = batch_size(*given, *cotangents), weights.shape[-1], shapes[0][0][0]
    values = _points(views, values)
    points, channels = values.shape[1:]
    return _SCATTER(
        weights.reshape(-1, points, taps),
        indices.reshape(-1, points, taps),
        values,
        results=[((views, rows, channels), values.dtype)],
    )


def _multiply(given: Any, cotangents: Any, shapes: Any, options: None) -> Sequence[jax.Array]:
    """The gradient of the weights, of all views."""
    (table, indices), (values,) = given, cotangents
    views, (shape, dtype) = batch_size(*given, *cotangents), shapes[0]
    values = _points(views, values)
    points, taps = values.shape[1], shape[-1]
    products = _MULTIPLY(
        table,
        indices.reshape(-1, points, taps),
        values,
        results=[((views, points, taps), dtype)],
    )
    return [products[0].reshape(views, *shape)]


def _scatter_otherwise(
    weights: jax.Array, indices: jax.Array, values: jax.Array, *, results: Any, options: Any
) -> Sequence[jax.Array]:
    """The same by JAX's transpose."""
    shapes = ((results[0][0][1:], results[0][1]),)
    return _OF_TABLE.plainly_backward(
        weights, indices, values, count=2, shapes=shapes, options=None
    )


def _multiply_otherwise(
    table: jax.Array, indices: jax.Array, values: jax.Array, *, results: Any, options: Any
) -> Sequence[jax.Array]:
    """The same by JAX's transpose."""
    shapes = ((results[0][0][1:], results[0][1]),)
    return _OF_WEIGHTS.plainly_backward(
        table, indices, values, count=2, shapes=shapes, options=None
    )


_OF_TABLE = LinearMap("jaxrender_blend", _blend, _scatter)
_OF_WEIGHTS = LinearMap("jaxrender_blend_weights", _blend_weights, _multiply)
_SCATTER = Kernel("scatter", _scatter_otherwise)
_MULTIPLY = Kernel("multiply", _multiply_otherwise)
