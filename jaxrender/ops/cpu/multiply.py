"""Values of points multiplied by rows of a table that each reads: the gradient of their weights.

    product_{p, k} = Σ_c value[p, c] row_{index[p, k], c}

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

PART_POINTS = 1 << 14

# The arguments of a job.
TABLE, INDICES, VALUES, RESULT = range(FIRST, FIRST + 4)
POINTS, TAPS, CHANNELS, ROWS, PARTS = range(FIRST + 4, FIRST + 9)
TABLE_VIEWS, INDEX_VIEWS = range(FIRST + 9, FIRST + 11)


@numba.njit(error_model="numpy")
def multiply_part(job: int, part: int, like: Any) -> None:
    """The products of a part of the points of a view."""
    size, count, taps = size_of(like), get(job, POINTS), get(job, TAPS)
    channels, rows, parts = get(job, CHANNELS), get(job, ROWS), get(job, PARTS)
    view, band = part // parts, part % parts
    shared = get(job, TABLE_VIEWS) == 1
    table = get(job, TABLE) + size * rows * channels * (0 if shared else view)
    shared = get(job, INDEX_VIEWS) == 1
    indices = get(job, INDICES) + 4 * count * taps * (0 if shared else view)
    values = get(job, VALUES) + size * count * channels * view
    result = get(job, RESULT) + size * count * taps * view
    zero, integer = typed(0, like), np.int32(0)
    for point in range(count * band // parts, count * (band + 1) // parts):
        value = values + size * channels * point
        for k in range(taps):
            index = np.int64(load(indices, taps * point + k, integer))
            row = table + size * channels * min(max(index, 0), rows - 1)
            total = zero
            for channel in range(channels):
                total += load(value, channel, like) * load(row, channel, like)
            store(result, taps * point + k, total)


@numba.njit(error_model="numpy")
def work(job: int, like: Any) -> None:
    """Does parts of a job while there are any."""
    part = next_part(job)
    while part >= 0:
        multiply_part(job, part, like)
        fetch_add(job, DONE, 1)
        part = next_part(job)
    let_go(job)


@numba.njit(error_model="numpy")
def fill(frame: int, worker: int) -> None:
    """The products of all views."""
    job = malloc(8 * JOB_SIZE)
    table, indices = buffer(frame, ARGUMENTS, 0), buffer(frame, ARGUMENTS, 1)
    values, result = buffer(frame, ARGUMENTS, 2), buffer(frame, RESULTS, 0)
    views, points = get(get(result, SIZES), 0), get(get(result, SIZES), 1)
    put(job, TABLE, get(table, DATA))
    put(job, TABLE_VIEWS, get(get(table, SIZES), 0))
    put(job, ROWS, get(get(table, SIZES), 1))
    put(job, CHANNELS, get(get(table, SIZES), 2))
    put(job, INDICES, get(indices, DATA))
    put(job, INDEX_VIEWS, get(get(indices, SIZES), 0))
    put(job, VALUES, get(values, DATA))
    put(job, RESULT, get(result, DATA))
    put(job, POINTS, points)
    put(job, TAPS, get(get(result, SIZES), 2))
    parts = max(1, points // PART_POINTS)
    put(job, PARTS, parts)
    most = get(get(get(get(frame, ATTRIBUTES), 0), 2), 0)
    threads = pool_size(frame, most) if views * parts > 1 else 1
    run_job(frame, job, views * parts, worker, threads)
    free(job)


def entry(dtype: Any, name: str, stamp: str) -> Any:
    """The function, to be compiled, of the frames of XLA's calls and of jobs; see `zbuffer.py`."""
    like = dtype(0)

    def multiply(address: int) -> int:
        worker = get(symbol_address(name), 0)
        if get(address, MARK) == IS_JOB:
            work(address, like)
        elif not answers_version(address) and len(stamp):
            fill(address, worker)
        return 0

    return multiply
