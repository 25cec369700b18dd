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
    scene_of,
    sides_of,
    vertex_of,
)
from jaxrender.ops.cpu.machine import (
    answer,
    argument,
    get,
    length,
    load,
    option,
    store,
    symbol_address,
    typed,
    view_of,
)
from jaxrender.ops.cpu.sums import PARTS, parts_of_picture, run_sums, table_of


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
def do_part(job: int, part: int, like: Any) -> None:
    """The gradient of a part of a view."""
    parts, none = get(job, PARTS), np.int32(-1)
    view, band = part // parts, part % parts
    scene, last = scene_of(job, view, like), np.int64(length(argument(job, 1), 1) - 1)
    shape, count, silhouettes = argument(job, 5), scene[2], option(job, 1) != 0
    height, width, channels = length(shape, 1), length(shape, 2), length(shape, 3)
    pixels = height * width
    face_at, codes = view_of(argument(job, 2), view, none), view_of(argument(job, 3), view, none)
    places = view_of(argument(job, 4), view, like)
    picture, pulled = view_of(shape, view, like), view_of(argument(job, 6), view, like)
    gradient = table_of(job, view, band, like)
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

                # Find what moves with the place: one of both pixels, or each a half; and how far
                # each one's colours go on to the edge as they come from the pixel before.
                of_first, of_second, to_first, to_second = 0.5, 0.5, 0.0, 0.0
                where = typed(load(places, axis * pixels + pixel, like), 0.0)
                if silhouettes:
                    of_first, of_second = (0.0, 1.0) if where >= 0.5 else (1.0, 0.0)
                else:
                    at, end = (row, height - 2) if axis == 1 else (column, width - 2)
                    own, theirs = load(face_at, pixel, none), load(face_at, pixel + step, none)
                    if at > 0 and load(face_at, pixel - step, none) == own:
                        to_first = where
                    if at < end and load(face_at, pixel + 2 * step, none) == theirs:
                        to_second = 1.0 - where
                pull = 0.0
                for i in range(channels * pixel, channels * (pixel + 1)):
                    j = i + channels * step
                    of_i, of_j = load(picture, i, like), load(picture, j, like)
                    colors = typed(of_i - of_j, 0.0)
                    if to_first != 0.0:
                        colors += to_first * (of_i - load(picture, i - channels * step, like))
                    if to_second != 0.0:
                        colors += to_second * (load(picture, j + channels * step, like) - of_j)
                    one, other = load(pulled, i, like), load(pulled, j, like)
                    pull += colors * (of_first * one + of_second * other)
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
def start(job: int, like: Any) -> None:
    """The gradient of all views."""
    face = argument(job, 2)
    views, height, width = length(face, 0), length(face, 1), length(face, 2)
    parts = parts_of_picture(views, height, width, length(argument(job, 0), 1))
    run_sums(job, views, parts, option(job, 3), like)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def places(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return places
