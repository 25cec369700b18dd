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
    answer,
    argument,
    free,
    get,
    length,
    load,
    malloc,
    option,
    result,
    size_of,
    store,
    symbol_address,
    typed,
    view_of,
)
from jaxrender.ops.cpu.rows import PARTS, run_parts

PLACES, PLANE = 512, 12  # of the cache, and numbers at each: x, y of the far corner, then planes
BAND_PIXELS = 1 << 15  # of a part of a job


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

    # Measure the area from the far corner, see `triangle.area_from_far_corner`.
    first = (z0 >= z1) & (z0 >= z2)
    second = (not first) & (z1 >= z2)
    third = not (first | second)
    xf, xa, xb = (x0, x1, x2) if first else ((x1, x2, x0) if second else (x2, x0, x1))
    yf, ya, yb = (y0, y1, y2) if first else ((y1, y2, y0) if second else (y2, y0, y1))
    area = (yb - yf) * (xa - xf) - (xb - xf) * (ya - yf)
    scale = one / area if abs(area) > typed(MIN_AREA, one) else zero
    i0, i1, i2 = one, one, one
    if perspective:
        i0, i1, i2 = one / z0, one / z1, one / z2
    s0, s1, s2 = scale * i0, scale * i1, scale * i2
    store(plane, 0, xf)
    store(plane, 1, yf)
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
def do_part(job: int, part: int, like: Any) -> None:
    """The barycentrics of a band of rows of a view."""
    size, none = size_of(like), np.int32(-1)
    height, width = length(result(job, 0), 1), length(result(job, 0), 2)
    bands = get(job, PARTS)
    view, band = part // bands, part % bands
    vertices = view_of(argument(job, 0), view, like)
    faces, face_at = view_of(argument(job, 1), view, none), view_of(argument(job, 2), view, none)
    depth_at, found = view_of(argument(job, 3), view, like), view_of(result(job, 0), view, like)
    perspective = option(job, 0) != 0
    half, one, zero = typed(0.5, like), typed(1, like), typed(0, like)
    across = half * typed(width, like), -half * typed(height, like)
    middle_x = half * (typed(width, like) - one)
    middle_y = half * (typed(height, like) - one)

    cache = malloc(4 * PLACES + size * PLANE * PLACES)
    for place in range(PLACES):
        store(cache, place, none)
    for row in range(height * band // bands, height * (band + 1) // bands):
        y, column = typed(row, like) - middle_y, 0
        while column < width:
            # Find how far the same face is seen.
            at = row * width + column
            face = load(face_at, at, none)
            run = 1
            while (column + run < width) and load(face_at, at + run, none) == face:
                run += 1
            if face < 0:
                for number in range(3 * at, 3 * (at + run)):
                    store(found, number, zero)
                column += run
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
            for pixel in range(at, at + run):
                x = (typed(column, like) - middle_x) - x_far
                scale = load(depth_at, pixel, like) if perspective else one
                store(found, 3 * pixel, (a0 * x + c0) * scale)
                store(found, 3 * pixel + 1, (a1 * x + c1) * scale)
                store(found, 3 * pixel + 2, (a2 * x + c2) * scale)
                column += 1
    free(cache)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The barycentrics of all pixels of all views."""
    views, height = length(result(job, 0), 0), length(result(job, 0), 1)
    bands = max(1, min(height, height * length(result(job, 0), 2) // BAND_PIXELS))
    run_parts(job, views, bands, option(job, 1))


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def barycentrics(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return barycentrics
