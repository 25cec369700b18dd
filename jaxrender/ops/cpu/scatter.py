"""Rows of a table that points read, backwards: each row gets what the points give it, by weight.

    row_r = Σ_{p, k: index[p, k] = r} weight[p, k] value[p]

Neighbouring points that read the same rows, as the pixels of a face do, are summed first. Each part
of the points has a table of its own, and these are added in order.

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
    store,
    symbol_address,
    typed,
    view_of,
)
from jaxrender.ops.cpu.sums import MAX_PARTS, PART_POINTS, PARTS, run_sums, table_of


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """The sums of a part of the points of a view."""
    parts = get(job, PARTS)
    count, taps = length(argument(job, 0), 1), length(argument(job, 0), 2)
    rows, channels = length(result(job, 0), 1), length(result(job, 0), 2)
    view, band = part // parts, part % parts
    weights = view_of(argument(job, 0), view, like)
    indices = view_of(argument(job, 1), view, np.int32(0))
    values, table = view_of(argument(job, 2), view, like), table_of(job, view, band, like)
    zero, integer = typed(0, like), np.int32(0)
    for number in range(rows * channels):
        store(table, number, zero)

    point, end = count * band // parts, count * (band + 1) // parts
    while point < end:
        # Find how far the same rows are read.
        last, same = point + 1, True
        while same & (last < end):
            for k in range(taps):
                same &= load(indices, taps * last + k, integer) == load(
                    indices, taps * point + k, integer
                )
            last += 1 if same else 0
        for k in range(0, taps, 3):
            # Three at a time; those behind the last one count for nothing.
            second, third = min(k + 1, taps - 1), min(k + 2, taps - 1)
            a = np.int64(load(indices, taps * point + k, integer))
            b = np.int64(load(indices, taps * point + second, integer))
            c = np.int64(load(indices, taps * point + third, integer))
            a = channels * min(max(a, 0), rows - 1)
            b = channels * min(max(b, 0), rows - 1)
            c = channels * min(max(c, 0), rows - 1)
            for channel in range(channels):
                s0, s1, s2 = zero, zero, zero
                for number in range(point, last):
                    value = load(values, channels * number + channel, like)
                    s0 += load(weights, taps * number + k, like) * value
                    s1 += load(weights, taps * number + second, like) * value
                    s2 += load(weights, taps * number + third, like) * value
                store(table, a + channel, load(table, a + channel, like) + s0)
                if k + 1 < taps:
                    store(table, b + channel, load(table, b + channel, like) + s1)
                if k + 2 < taps:
                    store(table, c + channel, load(table, c + channel, like) + s2)
        point = last


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The sums of all views."""
    views, points, rows = (
        length(argument(job, 2), 0),
        length(argument(job, 2), 1),
        length(result(job, 0), 1),
    )
    # Cut the points into parts, by their number alone, as long as their tables are small.
    parts = max(1, min(MAX_PARTS // views, min(points // PART_POINTS, 2 * points // rows)))
    run_sums(job, views, parts, option(job, 0), like)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def scatter(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return scatter
