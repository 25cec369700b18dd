"""Views made in parts, each by one thread: bands of a picture's rows, or some of its triangles."""

from __future__ import annotations

import numba

from jaxrender.ops.cpu.machine import FIRST, length, put, run_job, threads_for

PART_ROWS = 64

PARTS = FIRST  # of a view, noted in a job


@numba.njit(error_model="numpy")
def run_rows(job: int, pictures: int, most: int) -> None:
    """Does all parts of pictures `[G, H, ...]`, with `most` threads."""
    run_bands(job, length(pictures, 0), length(pictures, 1), most)


@numba.njit(error_model="numpy")
def run_bands(job: int, views: int, height: int, most: int) -> None:
    """Does all parts of so many pictures of a height."""
    run_parts(job, views, max(1, height // PART_ROWS), most)


@numba.njit(error_model="numpy")
def run_parts(job: int, views: int, parts: int, most: int) -> None:
    """Does so many parts of each of some views, and notes how many; with `most` threads."""
    put(job, PARTS, parts)
    run_job(job, views * parts, threads_for(job, most) if views * parts > 1 else 1)
