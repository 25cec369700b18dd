"""Values of points multiplied by rows of a table that each reads: the gradient of their weights.

    product_{p, k} = Σ_c value[p, c] row_{index[p, k], c}

Shapes: `B` views, `N` points, `K` rows that each reads, `R` rows of `C` numbers.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.machine import (
    answer,
    argument,
    get,
    length,
    load,
    option,
    result,
    size_of,
    store,
    symbol_address,
    typed,
    view_of,
)
from jaxrender.ops.cpu.rows import PARTS, run_parts

PART_POINTS = 1 << 14


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """The products of a part of the points of a view."""
    table, indices = argument(job, 0), argument(job, 1)
    rows, channels = length(table, 1), length(table, 2)
    count, taps = length(result(job, 0), 1), length(result(job, 0), 2)
    view, band = part // get(job, PARTS), part % get(job, PARTS)
    table, indices = view_of(table, view, like), view_of(indices, view, np.int32(0))
    values, products = view_of(argument(job, 2), view, like), view_of(result(job, 0), view, like)
    size, parts = size_of(like), get(job, PARTS)
    zero, integer = typed(0, like), np.int32(0)
    for point in range(count * band // parts, count * (band + 1) // parts):
        value = values + size * channels * point
        for k in range(taps):
            index = np.int64(load(indices, taps * point + k, integer))
            row = table + size * channels * min(max(index, 0), rows - 1)
            total = zero
            for channel in range(channels):
                total += load(value, channel, like) * load(row, channel, like)
            store(products, taps * point + k, total)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The products of all views."""
    views, points = length(result(job, 0), 0), length(result(job, 0), 1)
    run_parts(job, views, max(1, points // PART_POINTS), option(job, 0))


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def multiply(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return multiply
