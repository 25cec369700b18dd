"""Sums by kernels: each part of a view has a table of its own, and these are added in order.

So the bits do not depend on who made which part. The first part's table is the result itself.
"""

from __future__ import annotations

from typing import Any

import numba

from jaxrender.ops.cpu.machine import (
    RANK,
    free,
    get,
    length,
    load,
    malloc,
    put,
    result,
    size_of,
    store,
    view_of,
)
from jaxrender.ops.cpu.rows import PARTS, run_parts

PART_POINTS, MAX_PARTS = 1 << 15, 16
PART_TABLES = PARTS + 1  # noted in a job behind the number of parts: where their tables are


@numba.njit(error_model="numpy")
def table_size(job: int) -> int:
    """How many numbers there are in the result of a view."""
    array, numbers = result(job, 0), 1
    for axis in range(1, get(array, RANK)):
        numbers *= length(array, axis)
    return numbers


@numba.njit(error_model="numpy")
def table_of(job: int, view: int, band: int, like: Any) -> int:
    """Where the sums of a part of a view go."""
    if band == 0:
        return view_of(result(job, 0), view, like)
    before = view * (get(job, PARTS) - 1) + band - 1
    return get(job, PART_TABLES) + size_of(like) * table_size(job) * before


@numba.njit(error_model="numpy")
def run_sums(job: int, views: int, parts: int, most: int, like: Any) -> None:
    """Does so many parts of each view, with `most` threads, and adds their tables."""
    numbers = table_size(job)
    tables = malloc(max(8, size_of(like) * numbers * views * (parts - 1)))
    if tables == 0:
        parts = 1
    put(job, PART_TABLES, tables)
    run_parts(job, views, parts, most)
    for view in range(views):
        total = table_of(job, view, 0, like)
        for band in range(1, parts):
            here = table_of(job, view, band, like)
            for number in range(numbers):
                store(total, number, load(total, number, like) + load(here, number, like))
    free(tables)


@numba.njit(error_model="numpy")
def parts_of_picture(views: int, height: int, width: int, rows: int) -> int:
    """How many parts of each picture: by its size alone, as long as tables of `rows` are small."""
    pixels = height * width
    return max(
        1, min(min(MAX_PARTS // views, height), min(pixels // PART_POINTS, 2 * pixels // rows))
    )
