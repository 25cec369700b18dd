"""Solves `A x = b` by the factors of a sparse matrix, `A = L D Lᵀ`; see `ops/sparse.py`.

In double precision throughout: the factors come as sums of two numbers of the float type.

Shapes: `B` right sides of `K` columns, `N` unknowns, `M` numbers in `L` and `D`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.machine import (
    answer,
    argument,
    free,
    get,
    length,
    load,
    malloc,
    option,
    result,
    run_job,
    store,
    symbol_address,
    threads_for,
    typed,
    view_of,
)


@numba.njit(error_model="numpy")
def do_part(job: int, view: int, like: Any) -> None:
    """The solution of one right side: forward substitution, then backward."""
    size, columns = length(argument(job, 0), 1), length(argument(job, 0), 2)
    right, solution = view_of(argument(job, 0), view, like), view_of(result(job, 0), view, like)
    integer, double = np.int32(0), np.float64(0)
    order = view_of(argument(job, 1), view, integer)
    starts, rows = (
        view_of(argument(job, 2), view, integer),
        view_of(argument(job, 3), view, integer),
    )
    high, low = view_of(argument(job, 4), view, like), view_of(argument(job, 5), view, like)
    x = malloc(8 * size * columns)
    for j in range(size):
        source = columns * np.int64(load(order, j, integer))
        for c in range(columns):
            store(x, columns * j + c, np.float64(load(right, source + c, like)))

    # Take what each unknown is from those after it, by the columns of L.
    for j in range(size):
        first, end = load(starts, j, integer) + 1, load(starts, j + 1, integer)
        for k in range(first, end):
            value = np.float64(load(high, k, like)) + np.float64(load(low, k, like))
            i = np.int64(load(rows, k, integer))
            for c in range(columns):
                known = load(x, j * columns + c, double)
                at = i * columns + c
                store(x, at, load(x, at, double) - value * known)

    # Divide by D, which stands first in each column; then go back.
    for step in range(size):
        j = size - 1 - step
        first, end = load(starts, j, integer) + 1, load(starts, j + 1, integer)
        pivot = np.float64(load(high, first - 1, like)) + np.float64(load(low, first - 1, like))
        for c in range(columns):
            store(x, j * columns + c, load(x, j * columns + c, double) / pivot)
        for k in range(first, end):
            value = np.float64(load(high, k, like)) + np.float64(load(low, k, like))
            i = np.int64(load(rows, k, integer))
            for c in range(columns):
                known = load(x, i * columns + c, double)
                at = j * columns + c
                store(x, at, load(x, at, double) - value * known)
    for j in range(size):
        target = columns * np.int64(load(order, j, integer))
        for c in range(columns):
            store(solution, target + c, typed(load(x, columns * j + c, double), like))
    free(x)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The solutions of all right sides."""
    views = length(result(job, 0), 0)
    run_job(job, views, threads_for(job, option(job, 0)))


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def solve(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return solve
