"""Sparse symmetric systems `A x = b`, positive definite, of a matrix known beforehand.

    A = P (L D Lᵀ) Pᵀ        (Aₓ)ᵢ = dᵢ xᵢ + Σ_{edges ij} wᵢⱼ (xᵢ - xⱼ)

Factors are found on the host, once. A kernel solves by them; where no kernel runs, the method of
conjugate gradients does, which needs the edges alone. Both have the derivatives of an exact
solution, in every mode: another solution with the same matrix.

Shapes: `N` unknowns, `E` edges, `M` numbers in the factors, `K` columns of a right side.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrender.ops.batching import batch_size, fold_vmap
from jaxrender.ops.cpu import Kernel, can_take
from jaxrender.ops.deterministic import scatter_add
from jaxrender.ops.linear import over_batch
from jaxrender.ops.pytrees import struct

MAX_ITERATIONS = 2000  # of conjugate gradients


@struct
class Matrix:
    """A matrix.

    Attributes:
        ends: `[E, 2]` int32 the unknowns of each edge.
        weights: `[E]` their weights.
        diagonal: `[N]` what is added to the diagonal.
    """

    ends: jax.Array
    weights: jax.Array
    diagonal: jax.Array


@struct
class Factors:
    """Its factors; a column of `L` has a 1 first, and in the place of that its number of `D`.

    Attributes:
        order: `[N]` int32 in which unknowns are eliminated.
        starts: `[N + 1]` int32 where columns begin.
        rows: `[M]` int32 rows of the numbers, in the order of elimination.
        high, low: `[M]` two numbers each, whose sum it is.
    """

    order: jax.Array
    starts: jax.Array
    rows: jax.Array
    high: jax.Array
    low: jax.Array


@struct
class System:
    """What `solve` needs: a matrix, and its factors."""

    matrix: Matrix
    factors: Factors


def multiply(matrix: Matrix, x: jax.Array) -> jax.Array:
    """`A x`, `[N, K]`."""
    a, b = matrix.ends.T
    pull = matrix.weights[:, None] * (x[a] - x[b])
    return scatter_add(scatter_add(matrix.diagonal[:, None] * x, a, pull), b, -pull)


def solve(system: System, right: jax.Array) -> jax.Array:
    """`x`, `[N, K]`, of `A x = right`, of the dtype of the system."""
    return jax.lax.custom_linear_solve(
        functools.partial(multiply, system.matrix),
        right,
        lambda _, right: _solve_folded(system, right),
        symmetric=True,
    )


def _solve_batch(system: System, right: jax.Array) -> jax.Array:
    """The solutions of a batch, without derivatives."""
    if not can_take(right.dtype):
        return over_batch(_by_gradients, (right, *jax.tree.leaves(system.matrix)))
    shape = (batch_size(system, right), *right.shape[1:])
    arrays = jax.tree.leaves((system.factors, system.matrix))
    (x,) = KERNEL(right, *arrays, results=[(shape, right.dtype)])
    return x


_solve_folded = fold_vmap(_solve_batch)


def _by_gradients(
    right: jax.Array, ends: jax.Array, weights: jax.Array, diagonal: jax.Array
) -> jax.Array:
    """The solution by conjugate gradients, scaled by the diagonal of the matrix."""
    a, b = ends.T
    whole = scatter_add(scatter_add(diagonal[:, None], a, weights[:, None]), b, weights[:, None])
    x, _ = jax.scipy.sparse.linalg.cg(
        functools.partial(multiply, Matrix(ends, weights, diagonal)),
        right,
        tol=4 * float(jnp.finfo(right.dtype).eps),
        maxiter=MAX_ITERATIONS,
        M=lambda residual: residual / whole,
    )
    return x


def _solve_plainly(*arrays: jax.Array, results: Any, options: Any) -> Sequence[jax.Array]:
    """What the kernel does, in plain JAX."""
    right, *_, ends, weights, diagonal = arrays
    return [over_batch(_by_gradients, (right, ends, weights, diagonal))]


KERNEL = Kernel("sparse", _solve_plainly)
