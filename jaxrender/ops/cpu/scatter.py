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
    ARGUMENTS,
    ATTRIBUTES,
    DATA,
    DONE,
    FIRST,
    IS_JOB,
    JOB_SIZE,
    MARK,
    RESULTS,
    SIZES,
    answers_version,
    buffer,
    fetch_add,
    free,
    get,
    let_go,
    load,
    malloc,
    next_part,
    pool_size,
    put,
    run_job,
    size_of,
    store,
    symbol_address,
    typed,
)

PART_POINTS, MAX_PARTS = 1 << 15, 16

# The arguments of a job.
WEIGHTS, INDICES, VALUES, RESULT, PART_SUMS = range(FIRST, FIRST + 5)
POINTS, TAPS, CHANNELS, ROWS, PARTS = range(FIRST + 5, FIRST + 10)
WEIGHT_VIEWS, INDEX_VIEWS = range(FIRST + 10, FIRST + 12)


@numba.njit(error_model="numpy")
def sum_part(job: int, part: int, like: Any) -> None:
    """The sums of a part of the points of a view."""
    size, count, taps = size_of(like), get(job, POINTS), get(job, TAPS)
    channels, rows, parts = get(job, CHANNELS), get(job, ROWS), get(job, PARTS)
    view, band = part // parts, part % parts
    shared = get(job, WEIGHT_VIEWS) == 1
    weights = get(job, WEIGHTS) + size * count * taps * (0 if shared else view)
    shared = get(job, INDEX_VIEWS) == 1
    indices = get(job, INDICES) + 4 * count * taps * (0 if shared else view)
    values = get(job, VALUES) + size * count * channels * view
    table = get(job, RESULT) + size * rows * channels * view
    if band > 0:
        table = get(job, PART_SUMS) + size * rows * channels * (view * (parts - 1) + band - 1)
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
def work(job: int, like: Any) -> None:
    """Does parts of a job while there are any."""
    part = next_part(job)
    while part >= 0:
        sum_part(job, part, like)
        fetch_add(job, DONE, 1)
        part = next_part(job)
    let_go(job)


@numba.njit(error_model="numpy")
def fill(frame: int, worker: int, like: Any) -> None:
    """The sums of all views."""
    job, size = malloc(8 * JOB_SIZE), size_of(like)
    weights, indices = buffer(frame, ARGUMENTS, 0), buffer(frame, ARGUMENTS, 1)
    values, result = buffer(frame, ARGUMENTS, 2), buffer(frame, RESULTS, 0)
    views, points = get(get(values, SIZES), 0), get(get(values, SIZES), 1)
    rows, channels = get(get(result, SIZES), 1), get(get(result, SIZES), 2)
    put(job, WEIGHTS, get(weights, DATA))
    put(job, WEIGHT_VIEWS, get(get(weights, SIZES), 0))
    put(job, TAPS, get(get(weights, SIZES), 2))
    put(job, INDICES, get(indices, DATA))
    put(job, INDEX_VIEWS, get(get(indices, SIZES), 0))
    put(job, VALUES, get(values, DATA))
    put(job, RESULT, get(result, DATA))
    put(job, POINTS, points)
    put(job, CHANNELS, channels)
    put(job, ROWS, rows)

    # Cut the points into parts, by their number alone, as long as their tables are small.
    parts = max(1, min(MAX_PARTS // views, min(points // PART_POINTS, 2 * points // rows)))
    table = rows * channels
    sums = malloc(max(8, size * table * views * (parts - 1)))
    if sums == 0:
        parts = 1
    put(job, PARTS, parts)
    put(job, PART_SUMS, sums)
    most = get(get(get(get(frame, ATTRIBUTES), 0), 2), 0)
    threads = pool_size(frame, most) if views * parts > 1 else 1
    run_job(frame, job, views * parts, worker, threads)
    for view in range(views):
        total = get(job, RESULT) + size * table * view
        for part in range(parts - 1):
            here = sums + size * table * (view * (parts - 1) + part)
            for number in range(table):
                store(total, number, load(total, number, like) + load(here, number, like))
    free(sums)
    free(job)


def entry(dtype: Any, name: str, stamp: str) -> Any:
    """The function, to be compiled, of the frames of XLA's calls and of jobs; see `zbuffer.py`."""
    like = dtype(0)

    def scatter(address: int) -> int:
        worker = get(symbol_address(name), 0)
        if get(address, MARK) == IS_JOB:
            work(address, like)
        elif not answers_version(address) and len(stamp):
            fill(address, worker, like)
        return 0

    return scatter
