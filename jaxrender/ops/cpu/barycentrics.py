"""The barycentrics of the faces that pixels see, in machine code.

They are those of `triangle.BarycentricPlanes`. A face is set up where a row of pixels first sees
it; its planes are kept while no other face needs their place in the cache, so that the next rows
find them.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.faces import FARTHEST, MIN_AREA
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

PLACES, PLANE = 512, 12  # of the cache, and numbers at each: x, y of the far corner, then planes
BAND_PIXELS = 1 << 15  # of a part of a job

# The arguments of a job.
VERTICES, FACES, FACE, DEPTH, RESULT = range(FIRST, FIRST + 5)
VERTEX_COUNT, FACE_COUNT, HEIGHT, WIDTH = range(FIRST + 5, FIRST + 9)
VERTEX_VIEWS, FACE_VIEWS, PERSPECTIVE, BANDS = range(FIRST + 9, FIRST + 13)


@numba.njit(error_model="numpy")
def set_up(plane: int, vertices: int, faces: int, face: Any, half: Any, perspective: bool) -> None:
    """Writes the planes of a face: its far corner, then for each corner slopes and offset."""
    across, down = half
    one, zero, most = typed(1, across), typed(0, across), typed(FARTHEST, across)
    a = 3 * np.int64(load(faces, 3 * face, np.int32(0)))
    b = 3 * np.int64(load(faces, 3 * face + 1, np.int32(0)))
    c = 3 * np.int64(load(faces, 3 * face + 2, np.int32(0)))
    x0, y0, z0 = load(vertices, a, one), load(vertices, a + 1, one), load(vertices, a + 2, one)
    x1, y1, z1 = load(vertices, b, one), load(vertices, b + 1, one), load(vertices, b + 2, one)
    x2, y2, z2 = load(vertices, c, one), load(vertices, c + 1, one), load(vertices, c + 2, one)
    x0, y0 = min(max(across * x0, -most), most), min(max(down * y0, -most), most)
    x1, y1 = min(max(across * x1, -most), most), min(max(down * y1, -most), most)
    x2, y2 = min(max(across * x2, -most), most), min(max(down * y2, -most), most)

    area = (y2 - y0) * (x1 - x0) - (x2 - x0) * (y1 - y0)
    scale = one / area if abs(area) > typed(MIN_AREA, one) else zero
    i0, i1, i2 = one, one, one
    if perspective:
        i0, i1, i2 = one / z0, one / z1, one / z2
    s0, s1, s2 = scale * i0, scale * i1, scale * i2
    first = (z0 >= z1) & (z0 >= z2)
    second = (not first) & (z1 >= z2)
    third = not (first | second)
    store(plane, 0, x0 if first else (x1 if second else x2))
    store(plane, 1, y0 if first else (y1 if second else y2))
    store(plane, 2, (y1 - y2) * s0)
    store(plane, 3, (x2 - x1) * s0)
    store(plane, 4, i0 if first else zero)
    store(plane, 5, (y2 - y0) * s1)
    store(plane, 6, (x0 - x2) * s1)
    store(plane, 7, i1 if second else zero)
    store(plane, 8, (y0 - y1) * s2)
    store(plane, 9, (x1 - x0) * s2)
    store(plane, 10, i2 if third else zero)


@numba.njit(error_model="numpy")
def fill_band(job: int, part: int, like: Any) -> None:
    """The barycentrics of a band of rows of a view."""
    size, height, width = size_of(like), get(job, HEIGHT), get(job, WIDTH)
    bands = get(job, BANDS)
    view, band = part // bands, part % bands
    shared = get(job, VERTEX_VIEWS) == 1
    vertices = get(job, VERTICES) + 3 * size * get(job, VERTEX_COUNT) * (0 if shared else view)
    shared = get(job, FACE_VIEWS) == 1
    faces = get(job, FACES) + 12 * get(job, FACE_COUNT) * (0 if shared else view)
    perspective = get(job, PERSPECTIVE) != 0
    half, one, zero, none = typed(0.5, like), typed(1, like), typed(0, like), np.int32(-1)
    across = half * typed(width, like), -half * typed(height, like)
    middle_x = half * (typed(width, like) - one)
    middle_y = half * (typed(height, like) - one)
    face_at = get(job, FACE) + 4 * view * height * width
    depth_at = get(job, DEPTH) + size * view * height * width
    result = get(job, RESULT) + 3 * size * view * height * width

    cache = malloc(4 * PLACES + size * PLANE * PLACES)
    for place in range(PLACES):
        store(cache, place, none)
    for row in range(height * band // bands, height * (band + 1) // bands):
        y, column = typed(row, like) - middle_y, 0
        while column < width:
            # Find how far the same face is seen.
            at = row * width + column
            face = load(face_at, at, none)
            length = 1
            while (column + length < width) and load(face_at, at + length, none) == face:
                length += 1
            if face < 0:
                for number in range(3 * at, 3 * (at + length)):
                    store(result, number, zero)
                column += length
                continue
            place = np.int64(face) & (PLACES - 1)
            plane = cache + 4 * PLACES + size * PLANE * place
            if load(cache, place, none) != face:
                set_up(plane, vertices, faces, np.int64(face), across, perspective)
                store(cache, place, face)
            x_far, below = load(plane, 0, like), y - load(plane, 1, like)
            a0, b0, c0 = load(plane, 2, like), load(plane, 3, like), load(plane, 4, like)
            a1, b1, c1 = load(plane, 5, like), load(plane, 6, like), load(plane, 7, like)
            a2, b2, c2 = load(plane, 8, like), load(plane, 9, like), load(plane, 10, like)
            c0, c1, c2 = b0 * below + c0, b1 * below + c1, b2 * below + c2
            for pixel in range(at, at + length):
                x = (typed(column, like) - middle_x) - x_far
                scale = load(depth_at, pixel, like) if perspective else one
                store(result, 3 * pixel, (a0 * x + c0) * scale)
                store(result, 3 * pixel + 1, (a1 * x + c1) * scale)
                store(result, 3 * pixel + 2, (a2 * x + c2) * scale)
                column += 1
    free(cache)


@numba.njit(error_model="numpy")
def work(job: int, like: Any) -> None:
    """Does parts of a job while there are any."""
    part = next_part(job)
    while part >= 0:
        fill_band(job, part, like)
        fetch_add(job, DONE, 1)
        part = next_part(job)
    let_go(job)


@numba.njit(error_model="numpy")
def fill(frame: int, worker: int) -> None:
    """The barycentrics of all pixels of all views."""
    job = malloc(8 * JOB_SIZE)
    vertices, faces = buffer(frame, ARGUMENTS, 0), buffer(frame, ARGUMENTS, 1)
    face = buffer(frame, ARGUMENTS, 2)
    views, height = get(get(face, SIZES), 0), get(get(face, SIZES), 1)
    width = get(get(face, SIZES), 2)
    put(job, VERTICES, get(vertices, DATA))
    put(job, VERTEX_VIEWS, get(get(vertices, SIZES), 0))
    put(job, VERTEX_COUNT, get(get(vertices, SIZES), 1))
    put(job, FACES, get(faces, DATA))
    put(job, FACE_VIEWS, get(get(faces, SIZES), 0))
    put(job, FACE_COUNT, get(get(faces, SIZES), 1))
    put(job, FACE, get(face, DATA))
    put(job, DEPTH, get(buffer(frame, ARGUMENTS, 3), DATA))
    put(job, RESULT, get(buffer(frame, RESULTS, 0), DATA))
    put(job, HEIGHT, height)
    put(job, WIDTH, width)
    options = get(get(get(frame, ATTRIBUTES), 0), 2)
    put(job, PERSPECTIVE, get(options, 0))
    bands = max(1, min(height, height * width // BAND_PIXELS))
    put(job, BANDS, bands)
    threads = pool_size(frame, get(options, 1)) if views * bands > 1 else 1
    run_job(frame, job, views * bands, worker, threads)
    free(job)


def entry(dtype: Any, name: str, stamp: str) -> Any:
    """The function, to be compiled, of the frames of XLA's calls and of jobs; see `zbuffer.py`."""
    like = dtype(0)

    def barycentrics(address: int) -> int:
        worker = get(symbol_address(name), 0)
        if get(address, MARK) == IS_JOB:
            work(address, like)
        elif not answers_version(address) and len(stamp):
            fill(address, worker)
        return 0

    return barycentrics
