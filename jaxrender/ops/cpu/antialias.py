"""Pixels that are filled up to the silhouettes between them, see `ops/edges`; and the way back.

Shapes: `B` views, `H, W` image, `C` channels.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.edges import NO_EDGE
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

PART_ROWS = 64

# The arguments of a job.
PICTURE, CODE, PLACE, RESULT = range(FIRST, FIRST + 4)
HEIGHT, WIDTH, CHANNELS, TRANSPOSED, PARTS = range(FIRST + 4, FIRST + 9)


@numba.njit(error_model="numpy")
def fill_part(job: int, part: int, like: Any) -> None:
    """Some rows of a view, each from its own pairs and those that it is the second of."""
    size, height, width = size_of(like), get(job, HEIGHT), get(job, WIDTH)
    channels, parts = get(job, CHANNELS), get(job, PARTS)
    view, band = part // parts, part % parts
    pixels, integer, half = height * width, np.int32(0), typed(0.5, like)
    picture = get(job, PICTURE) + size * pixels * channels * view
    result = get(job, RESULT) + size * pixels * channels * view
    codes, places = get(job, CODE) + 8 * pixels * view, get(job, PLACE) + 2 * size * pixels * view
    transposed = get(job, TRANSPOSED) != 0
    top, bottom = height * band // parts, height * (band + 1) // parts
    for number in range(top * width * channels, bottom * width * channels):
        store(result, number, load(picture, number, like))

    # Pairs from the row above on, whose second pixels lie in the first row here.
    for row in range(max(top - 1, 0), bottom):
        for axis in range(2):
            if (row < top) & (axis == 0):
                continue
            step = width if axis == 1 else 1
            for pixel in range(row * width, (row + 1) * width):
                if load(codes, axis * pixels + pixel, integer) == NO_EDGE:
                    continue
                weight = load(places, axis * pixels + pixel, like) - half
                one, other = pixel, pixel + step
                target = other if weight >= typed(0, like) else one
                for channel in range(channels):
                    i, j, k = (
                        channels * one + channel,
                        channels * other + channel,
                        channels * target + channel,
                    )
                    if transposed:
                        given = weight * load(picture, k, like)
                        if row >= top:
                            store(result, i, load(result, i, like) + given)
                        if (axis == 0) | (row < bottom - 1):
                            store(result, j, load(result, j, like) - given)
                    elif ((target == one) & (row >= top)) | (
                        (target == other) & ((axis == 0) | (row < bottom - 1))
                    ):
                        given = weight * (load(picture, i, like) - load(picture, j, like))
                        store(result, k, load(result, k, like) + given)


@numba.njit(error_model="numpy")
def work(job: int, like: Any) -> None:
    """Does parts of a job while there are any."""
    part = next_part(job)
    while part >= 0:
        fill_part(job, part, like)
        fetch_add(job, DONE, 1)
        part = next_part(job)
    let_go(job)


@numba.njit(error_model="numpy")
def fill(frame: int, worker: int, like: Any) -> None:
    """The pictures of all views."""
    job = malloc(8 * JOB_SIZE)
    picture = buffer(frame, ARGUMENTS, 0)
    views, height = get(get(picture, SIZES), 0), get(get(picture, SIZES), 1)
    put(job, PICTURE, get(picture, DATA))
    put(job, CODE, get(buffer(frame, ARGUMENTS, 1), DATA))
    put(job, PLACE, get(buffer(frame, ARGUMENTS, 2), DATA))
    put(job, RESULT, get(buffer(frame, RESULTS, 0), DATA))
    put(job, HEIGHT, height)
    put(job, WIDTH, get(get(picture, SIZES), 2))
    put(job, CHANNELS, get(get(picture, SIZES), 3))
    options = get(get(get(frame, ATTRIBUTES), 0), 2)
    put(job, TRANSPOSED, get(options, 0))
    parts = max(1, height // PART_ROWS)
    put(job, PARTS, parts)
    threads = pool_size(frame, get(options, 1)) if views * parts > 1 else 1
    run_job(frame, job, views * parts, worker, threads)
    free(job)


def entry(dtype: Any, name: str, stamp: str) -> Any:
    """The function, to be compiled, of the frames of XLA's calls and of jobs; see `zbuffer.py`."""
    like = dtype(0)

    def antialias(address: int) -> int:
        worker = get(symbol_address(name), 0)
        if get(address, MARK) == IS_JOB:
            work(address, like)
        elif not answers_version(address) and len(stamp):
            fill(address, worker, like)
        return 0

    return antialias
