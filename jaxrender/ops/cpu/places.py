"""The gradient of pictures at edges to the vertices, see `ops/edges`.

Pixels without an edge are passed by. How an edge moves is written once for both ways: `add` adds to
the gradient, or, for `edge_motions.py`, to how far the edge goes where vertices move. A **target**
says which: an address of the one, or the other; that of motions of vertices; how many numbers each
has; and how many motions there are, 0 for a gradient.

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
def add(target: Any, scene: Any, face: int, corner: int, slope: Any, like: Any) -> None:
    """Adds what a corner of a face does to an edge; a vertex that is too far does nothing.

    Args:
        target: see the top of the file.
        scene: as of `scene_of`.
        face: which has the corner.
        corner: 0, 1 or 2.
        slope: of the place by the corner's x and y in pixels and its z, times a cotangent.
        like: of the type of the vertices.
    """
    vertices, _, _, height, width, _ = scene
    into, moved, numbers, motions = target
    vertex = 3 * vertex_of(scene, face, corner)
    parts = slope[0] * width * 0.5, slope[1] * height * -0.5, slope[2]
    for k in range(3):
        if abs(load(vertices, vertex + k, like)) < TOO_FAR:
            if motions == 0:
                total = load(into, vertex + k, like) + typed(parts[k], like)
                store(into, vertex + k, total)
            for motion in range(motions):
                by = typed(load(moved, motion * numbers + vertex + k, like), 0.0)
                store(into, motion, load(into, motion, 0.0) + parts[k] * by)


@numba.njit(error_model="numpy")
def add_outline(
    target: Any, scene: Any, face: Any, corner: Any, place: Any, cotangent: float, like: Any
) -> None:
    """Adds what moves the place where the edge opposite to a corner crosses."""
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
    of_b = cotangent * -across_a / difference
    of_a, slope = cotangent - of_b, (along_b - along_a) / difference
    if axis == 0:
        add(target, scene, face, first, (of_a, -of_a * slope, 0.0), like)
        add(target, scene, face, second, (of_b, -of_b * slope, 0.0), like)
    else:
        add(target, scene, face, first, (-of_a * slope, of_a, 0.0), like)
        add(target, scene, face, second, (-of_b * slope, of_b, 0.0), like)


@numba.njit(error_model="numpy")
def add_face(
    target: Any, scene: Any, face: int, corners: Any, point: Any, cotangent: float, like: Any
) -> None:
    """Adds what changes that which is linear on screen, at a point of a face."""
    a, b, c = corners
    sa, sb, sc, determinant = sides_of(a, b, c, point[0], point[1])
    px, py = plane_of(a, b, c, determinant)
    scale = cotangent / determinant
    for corner in range(3):
        # dP = Σₖ λₖ (dPₖ - ∂P/∂X dXₖ - ∂P/∂Y dYₖ), and with perspective dPₖ = -dzₖ / zₖ².
        side = sa if corner == 0 else (sb if corner == 1 else sc)
        w = a[2] if corner == 0 else (b[2] if corner == 1 else c[2])
        by_value = scale * side * w
        by_depth = -scale * side / w if scene[5] else by_value
        add(target, scene, face, corner, (-by_value * px, -by_value * py, by_depth), like)


@numba.njit(error_model="numpy")
def add_cut(target: Any, scene: Any, pair: Any, place: Any, cotangent: float, like: Any) -> None:
    """Adds what moves the place where two faces cut each other."""
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
    scale = cotangent / along
    add_face(target, scene, first, (a0, a1, a2), point, -scale, like)
    add_face(target, scene, second, (b0, b1, b2), point, scale, like)


@numba.njit(error_model="numpy")
def add_place(
    target: Any, scene: Any, code: Any, faces: Any, place: Any, cotangent: Any, like: Any
) -> None:
    """Adds what moves the place of an edge with that code, between pixels that see these faces."""
    last = faces[2]
    first, second = min(max(faces[0], 0), last), min(max(faces[1], 0), last)
    if code == CUT:
        add_cut(target, scene, (first, second), place, cotangent, like)
    elif code <= 3:
        add_outline(target, scene, first, code - 1, place, cotangent, like)
    else:
        add_outline(target, scene, second, code - 4, place, cotangent, like)


@numba.njit(error_model="numpy")
def weights_of(face_at: int, pixel: int, where: float, axis: int, size: Any, silhouettes: bool):
    """How much of either pixel moves with a place, and how far their colours go on.

    That is one of both, or each a half; and colours go on to the edge as from the pixel before.
    """
    if silhouettes:
        return (0.0, 1.0, 0.0, 0.0) if where >= 0.5 else (1.0, 0.0, 0.0, 0.0)
    height, width = size
    step, none, to_first, to_second = width if axis == 1 else 1, np.int32(-1), 0.0, 0.0
    at, end = (pixel // width, height - 2) if axis == 1 else (pixel % width, width - 2)
    own, theirs = load(face_at, pixel, none), load(face_at, pixel + step, none)
    if at > 0 and load(face_at, pixel - step, none) == own:
        to_first = where
    if at < end and load(face_at, pixel + 2 * step, none) == theirs:
        to_second = 1.0 - where
    return 0.5, 0.5, to_first, to_second


@numba.njit(error_model="numpy")
def color_step(picture: int, i: int, step: int, weights: Any, like: Any) -> float:
    """How much more of a channel there is on the near side of an edge than beyond it."""
    of_i, of_j = load(picture, i, like), load(picture, i + step, like)
    colors = typed(of_i - of_j, 0.0)
    if weights[2] != 0.0:
        colors += weights[2] * (of_i - load(picture, i - step, like))
    if weights[3] != 0.0:
        colors += weights[3] * (load(picture, i + 2 * step, like) - of_j)
    return colors


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
    picture, cotangent = view_of(shape, view, like), view_of(argument(job, 6), view, like)
    gradient = table_of(job, view, band, like)
    target, zero = (gradient, gradient, 3 * count, 0), typed(0, like)
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
                where = typed(load(places, axis * pixels + pixel, like), 0.0)
                weights = weights_of(face_at, pixel, where, axis, (height, width), silhouettes)
                d_place = 0.0
                for i in range(channels * pixel, channels * (pixel + 1)):
                    j = i + channels * step
                    one, other = load(cotangent, i, like), load(cotangent, j, like)
                    colors = color_step(picture, i, channels * step, weights, like)
                    d_place += colors * (weights[0] * one + weights[1] * other)
                if d_place == 0.0:
                    continue
                place = typed(column, 0.0), typed(row, 0.0), axis
                first = np.int64(load(face_at, pixel, none))
                second = np.int64(load(face_at, pixel + step, none))
                add_place(target, scene, code, (first, second, last), place, d_place, like)


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
