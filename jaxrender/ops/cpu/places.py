"""The gradient of pictures at edges to the vertices, see `ops/edges`.

Pixels without an edge are passed by.

Each part of a picture has sums of its own, which are added in order: so the bits do not depend on
who made which.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.edges import (
    CUT,
    NO_EDGE,
    TOO_FAR,
    corner_of,
    plane_of,
    position_of,
    sides_of,
    vertex_of,
)
from jaxrender.ops.cpu.gradient import MAX_PARTS, PART_PIXELS
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

# The arguments of a job.
VERTICES, FACES, FACE, CODE, PLACE, PICTURE, PULLED = range(FIRST, FIRST + 7)
RESULT, PART_SUMS, VERTEX_COUNT, FACE_COUNT = range(FIRST + 7, FIRST + 11)
HEIGHT, WIDTH, CHANNELS, VERTEX_VIEWS, FACE_VIEWS = range(FIRST + 11, FIRST + 16)
PERSPECTIVE, SILHOUETTES, PARTS = range(FIRST + 16, FIRST + 19)


@numba.njit(error_model="numpy")
def add(gradient: int, scene: Any, face: int, corner: int, slope: Any, like: Any) -> None:
    """Adds to the gradient of a vertex, as far as that is known, by its place in pixels."""
    vertices, _, _, height, width, _ = scene
    vertex = 3 * vertex_of(scene, face, corner)
    parts = slope[0] * width * 0.5, slope[1] * height * -0.5, slope[2]
    for k in range(3):
        if abs(load(vertices, vertex + k, like)) < TOO_FAR:
            total = load(gradient, vertex + k, like) + typed(parts[k], like)
            store(gradient, vertex + k, total)


@numba.njit(error_model="numpy")
def pull_outline(
    gradient: int, scene: Any, face: Any, corner: Any, place: Any, pulled: float, like: Any
) -> None:
    """Adds the gradient of where the edge opposite to a corner crosses."""
    x, y, axis = place
    first, second = corner + 1 if corner < 2 else 0, corner - 1 if corner > 0 else 2
    xa, ya, _ = position_of(scene, vertex_of(scene, face, first), like)
    xb, yb, _ = position_of(scene, vertex_of(scene, face, second), like)
    along_a, across_a, along_b, across_b = xa - x, ya - y, xb - x, yb - y
    if axis == 1:
        along_a, across_a, along_b, across_b = ya - y, xa - x, yb - y, xb - x
    difference = across_b - across_a
    if difference == 0.0:
        return
    # ds = (1 - t) (dX_a - m dY_a) + t (dX_b - m dY_b)
    of_b = pulled * -across_a / difference
    of_a, slope = pulled - of_b, (along_b - along_a) / difference
    if axis == 0:
        add(gradient, scene, face, first, (of_a, -of_a * slope, 0.0), like)
        add(gradient, scene, face, second, (of_b, -of_b * slope, 0.0), like)
    else:
        add(gradient, scene, face, first, (-of_a * slope, of_a, 0.0), like)
        add(gradient, scene, face, second, (-of_b * slope, of_b, 0.0), like)


@numba.njit(error_model="numpy")
def pull_face(
    gradient: int, scene: Any, face: int, corners: Any, point: Any, pulled: float, like: Any
) -> None:
    """Adds the gradient of what is linear on screen, at a point of a face."""
    a, b, c = corners
    sa, sb, sc, determinant = sides_of(a, b, c, point[0], point[1])
    px, py = plane_of(a, b, c, determinant)
    scale = pulled / determinant
    for corner in range(3):
        # dP = Σₖ λₖ (dPₖ - ∂P/∂X dXₖ - ∂P/∂Y dYₖ), and with perspective dPₖ = -dzₖ / zₖ².
        side = sa if corner == 0 else (sb if corner == 1 else sc)
        w = a[2] if corner == 0 else (b[2] if corner == 1 else c[2])
        share = scale * side * w
        by_depth = -scale * side / w if scene[5] else share
        add(gradient, scene, face, corner, (-share * px, -share * py, by_depth), like)


@numba.njit(error_model="numpy")
def pull_cut(gradient: int, scene: Any, pair: Any, place: Any, pulled: float, like: Any) -> None:
    """Adds the gradient of where two faces cut each other."""
    x, y, axis = place
    first, second = pair
    a0 = corner_of(scene, vertex_of(scene, first, 0), like)
    a1 = corner_of(scene, vertex_of(scene, first, 1), like)
    a2 = corner_of(scene, vertex_of(scene, first, 2), like)
    b0 = corner_of(scene, vertex_of(scene, second, 0), like)
    b1 = corner_of(scene, vertex_of(scene, second, 1), like)
    b2 = corner_of(scene, vertex_of(scene, second, 2), like)
    sa, sb, sc, of_first = sides_of(a0, a1, a2, x, y)
    here = (a0[3] * sa + a1[3] * sb + a2[3] * sc) / of_first
    sa, sb, sc, of_second = sides_of(b0, b1, b2, x, y)
    here -= (b0[3] * sa + b1[3] * sb + b2[3] * sc) / of_second
    pa, qa = plane_of(a0, a1, a2, of_first)
    pb, qb = plane_of(b0, b1, b2, of_second)
    along = qa - qb if axis == 1 else pa - pb
    if (of_first == 0.0) | (of_second == 0.0) | (along == 0.0):
        return
    step = -here / along
    point = (x + step, y) if axis == 0 else (x, y + step)
    scale = pulled / along
    pull_face(gradient, scene, first, (a0, a1, a2), point, -scale, like)
    pull_face(gradient, scene, second, (b0, b1, b2), point, scale, like)


@numba.njit(error_model="numpy")
def sum_part(job: int, part: int, like: Any) -> None:
    """The gradient of a part of a view."""
    size, height, width = size_of(like), get(job, HEIGHT), get(job, WIDTH)
    count, face_count, parts = get(job, VERTEX_COUNT), get(job, FACE_COUNT), get(job, PARTS)
    view, band = part // parts, part % parts
    vertices = get(job, VERTICES)
    vertices += 0 if get(job, VERTEX_VIEWS) == 1 else 3 * size * count * view
    faces = get(job, FACES) + (0 if get(job, FACE_VIEWS) == 1 else 12 * face_count * view)
    high, wide = typed(height, 0.0), typed(width, 0.0)
    scene = vertices, faces, count, high, wide, get(job, PERSPECTIVE) != 0
    pixels, none, last = height * width, np.int32(-1), np.int64(face_count - 1)
    face_at, codes = get(job, FACE) + 4 * pixels * view, get(job, CODE) + 8 * pixels * view
    channels, silhouettes = get(job, CHANNELS), get(job, SILHOUETTES) != 0
    places = get(job, PLACE) + 2 * size * pixels * view
    picture = get(job, PICTURE) + size * pixels * channels * view
    pulled = get(job, PULLED) + size * pixels * channels * view
    gradient = get(job, RESULT) + 3 * size * count * view
    if band > 0:
        gradient = get(job, PART_SUMS) + 3 * size * count * (view * (parts - 1) + band - 1)
    zero = typed(0, like)
    for number in range(3 * count):
        store(gradient, number, zero)
    for axis in range(2):
        step = width if axis == 1 else 1
        for row in range(height * band // parts, height * (band + 1) // parts):
            for column in range(width):
                pixel = row * width + column
                code = np.int64(load(codes, axis * pixels + pixel, none))
                if code == NO_EDGE:
                    continue

                # Find what moves with the place: one of both pixels, or each a half.
                of_first, of_second = 0.5, 0.5
                if silhouettes:
                    where = load(places, axis * pixels + pixel, like) >= typed(0.5, like)
                    of_first, of_second = (0.0, 1.0) if where else (1.0, 0.0)
                pull = 0.0
                for i in range(channels * pixel, channels * (pixel + 1)):
                    j = i + channels * step
                    colors = load(picture, i, like) - load(picture, j, like)
                    one, other = load(pulled, i, like), load(pulled, j, like)
                    pull += typed(colors, 0.0) * (of_first * one + of_second * other)
                if pull == 0.0:
                    continue
                place = typed(column, 0.0), typed(row, 0.0), axis
                first = np.int64(load(face_at, pixel, none))
                second = np.int64(load(face_at, pixel + step, none))
                first, second = min(max(first, 0), last), min(max(second, 0), last)
                if code == CUT:
                    pull_cut(gradient, scene, (first, second), place, pull, like)
                elif code <= 3:
                    pull_outline(gradient, scene, first, code - 1, place, pull, like)
                else:
                    pull_outline(gradient, scene, second, code - 4, place, pull, like)


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
    """The gradient of all views."""
    job, size = malloc(8 * JOB_SIZE), size_of(like)
    vertices, faces = buffer(frame, ARGUMENTS, 0), buffer(frame, ARGUMENTS, 1)
    face = buffer(frame, ARGUMENTS, 2)
    views, height = get(get(face, SIZES), 0), get(get(face, SIZES), 1)
    width, count = get(get(face, SIZES), 2), get(get(vertices, SIZES), 1)
    put(job, VERTICES, get(vertices, DATA))
    put(job, VERTEX_VIEWS, get(get(vertices, SIZES), 0))
    put(job, VERTEX_COUNT, count)
    put(job, FACES, get(faces, DATA))
    put(job, FACE_VIEWS, get(get(faces, SIZES), 0))
    put(job, FACE_COUNT, get(get(faces, SIZES), 1))
    put(job, FACE, get(face, DATA))
    put(job, CODE, get(buffer(frame, ARGUMENTS, 3), DATA))
    put(job, PLACE, get(buffer(frame, ARGUMENTS, 4), DATA))
    put(job, PICTURE, get(buffer(frame, ARGUMENTS, 5), DATA))
    put(job, PULLED, get(buffer(frame, ARGUMENTS, 6), DATA))
    put(job, CHANNELS, get(get(buffer(frame, ARGUMENTS, 5), SIZES), 3))
    result = get(buffer(frame, RESULTS, 0), DATA)
    put(job, RESULT, result)
    put(job, HEIGHT, height)
    put(job, WIDTH, width)
    options = get(get(get(frame, ATTRIBUTES), 0), 2)
    put(job, PERSPECTIVE, get(options, 0))
    put(job, SILHOUETTES, get(options, 1))

    # Cut the pictures into parts, by their size alone, as long as their sums are small.
    pixels = height * width
    parts = max(
        1, min(min(MAX_PARTS // views, height), min(pixels // PART_PIXELS, 2 * pixels // count))
    )
    sums = malloc(max(8, 3 * size * count * views * (parts - 1)))
    if sums == 0:
        parts = 1
    put(job, PARTS, parts)
    put(job, PART_SUMS, sums)
    threads = pool_size(frame, get(options, 2)) if views * parts > 1 else 1
    run_job(frame, job, views * parts, worker, threads)
    for view in range(views):
        for part in range(parts - 1):
            here = sums + 3 * size * count * (view * (parts - 1) + part)
            total = result + 3 * size * count * view
            for number in range(3 * count):
                store(total, number, load(total, number, like) + load(here, number, like))
    free(sums)
    free(job)


def entry(dtype: Any, name: str, stamp: str) -> Any:
    """The function, to be compiled, of the frames of XLA's calls and of jobs; see `zbuffer.py`."""
    like = dtype(0)

    def places(address: int) -> int:
        worker = get(symbol_address(name), 0)
        if get(address, MARK) == IS_JOB:
            work(address, like)
        elif not answers_version(address) and len(stamp):
            fill(address, worker, like)
        return 0

    return places
