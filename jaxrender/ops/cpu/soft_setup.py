"""Triangles of the soft blend made ready, and the pixels that each may reach.

The numbers are those of `set_up_triangles` and, by the euclidean distance, of `reached_pixels` in
`ops/soft`. XLA makes them as fast, but takes a fifth of a second to compile what does, forwards and
backwards each.

Shapes: `B` views, `N` triangles.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.faces import MIN_AREA
from jaxrender.ops.cpu.machine import (
    answer,
    argument,
    get,
    length,
    load,
    option,
    result,
    size_of,
    store,
    symbol_address,
    typed,
    view_of,
)
from jaxrender.ops.cpu.rows import PARTS, run_parts

PART_TRIANGLES = 1 << 12

CORNERS, DRAW_MODE, RADIUS_SQ = range(3)  # what calls are given


@numba.njit(error_model="numpy")
def span(low: Any, high: Any, middle: Any, first: int, end: int) -> Any:
    """The first pixel between two coordinates, and the one behind the last, of `first` to `end`."""
    start = math.ceil(min(max(low + middle, typed(first, low)), typed(end, low)))
    last = math.floor(min(max(high + middle, typed(first - 1, low)), typed(end - 1, low)))
    return np.int64(start), np.int64(last) + 1


@numba.njit(error_model="numpy")
def inverse_square(dx: Any, dy: Any) -> Any:
    """1 / length² of an edge."""
    return typed(1, dx) / max(dx * dx + dy * dy, typed(MIN_AREA**2, dx))


@numba.njit(error_model="numpy")
def bound(boxes: int, face: int, corner: int, radius: Any, height: int, width: int) -> None:
    """Writes the first row and column, and the last ones, that a triangle may reach."""
    x0, y0 = load(corner, 0, radius), load(corner, 1, radius)
    x1, y1 = load(corner, 3, radius), load(corner, 4, radius)
    x2, y2 = load(corner, 6, radius), load(corner, 7, radius)
    half = typed(0.5, radius)
    middle_x, middle_y = half * typed(width - 1, radius), half * typed(height - 1, radius)
    left, right = span(min(x0, x1, x2) - radius, max(x0, x1, x2) + radius, middle_x, 0, width)
    top, bottom = span(min(y0, y1, y2) - radius, max(y0, y1, y2) + radius, middle_y, 0, height)
    store(boxes, 4 * face, np.int32(top))
    store(boxes, 4 * face + 1, np.int32(left))
    store(boxes, 4 * face + 2, np.int32(bottom - 1))
    store(boxes, 4 * face + 3, np.int32(right - 1))


@numba.njit(error_model="numpy")
def set_up(rows: int, face: int, count: int, corner: int, perspective: bool, like: Any) -> None:
    """Writes the 16 numbers of a triangle, each into its row."""
    zero, one, least = typed(0, like), typed(1, like), typed(MIN_AREA, like)
    closest = min(
        abs(load(corner, 2, like)), abs(load(corner, 5, like)), abs(load(corner, 8, like))
    )
    for k in range(3):
        for axis in range(3):
            store(rows, (3 * axis + k) * count + face, load(corner, 3 * k + axis, like))

        # Measure the edge opposite to the corner.
        a, b = 3 * ((k + 1) % 3), 3 * ((k + 2) % 3)
        dx = load(corner, b, like) - load(corner, a, like)
        dy = load(corner, b + 1, like) - load(corner, a + 1, like)
        store(rows, (10 + k) * count + face, inverse_square(dx, dy))

        z = load(corner, 3 * k + 2, like)
        inverse_depth = closest / (one if z == zero else z) if perspective else one
        store(rows, (13 + k) * count + face, inverse_depth)

    x0, y0 = load(corner, 0, like), load(corner, 1, like)
    dx, dy = load(corner, 3, like) - x0, load(corner, 4, like) - y0
    area = (load(corner, 7, like) - y0) * dx - (load(corner, 6, like) - x0) * dy
    if abs(area) < least:
        area = least if area > zero else -least
    store(rows, 9 * count + face, one / area)


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """Makes a part of the triangles of a view ready."""
    triangles, boxes, parts = result(job, 0), result(job, 1), get(job, PARTS)
    count, view, band = length(boxes, 1), part // parts, part % parts
    height, width, perspective = option(job, 0), option(job, 1), option(job, 2) != 0
    corners = view_of(argument(job, CORNERS), view, like)
    modes = view_of(argument(job, DRAW_MODE), view, np.int32(0))
    radius = typed(math.sqrt(load(view_of(argument(job, RADIUS_SQ), view, like), 0, like)), like)
    rows, into = view_of(triangles, view, like), view_of(boxes, view, np.int32(0))
    shared = length(triangles, 0) < length(boxes, 0)
    for face in range(count * band // parts, count * (band + 1) // parts):
        corner, drawn = corners + size_of(like) * 9 * face, load(modes, face, np.int32(0)) != 0
        if drawn:
            bound(into, face, corner, radius, height, width)
        else:
            for k in range(4):
                store(into, 4 * face + k, np.int32(-1 if k > 1 else 0))
        if (view > 0) & shared:
            continue
        if drawn | shared:
            set_up(rows, face, count, corner, perspective, like)
        else:
            for k in range(16):
                store(rows, k * count + face, typed(0, like))


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """Makes the triangles of all views ready."""
    views, count = length(result(job, 1), 0), length(result(job, 1), 1)
    run_parts(job, views, max(1, count // PART_TRIANGLES), option(job, 3))


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def soft_setup(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return soft_setup
