"""How a soft silhouette changes where triangles move: `ops/soft/outlines.py` in machine code.

A pixel at `x` that a triangle reaches sees it at the distance `d` from the closest point `c` of its
boundary, which lies the part `u` of the way from corner `a` to corner `b`. With `t = ±d² / σ`,

    d softplus(t) = ∓ F(t) / σ (2 (x - c) · ((1 - u) dv_a + u dv_b) + d²/σ dσ)

and so each pair of a triangle and a pixel takes five numbers, whatever the number of motions.

Shapes: `G` views, `T` motions of each, `N` triangles, `H, W` image; what motions have is
`[G T, ...]`, those of a view one after the other.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.fragments import MAX_SCALED_DISTANCE
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
from jaxrender.ops.cpu.rows import PARTS, run_bands
from jaxrender.ops.cpu.soft_setup import inverse_square, span


@numba.njit(error_model="numpy")
def closest_on(ax: Any, ay: Any, dx: Any, dy: Any, inverse: Any, x: Any, y: Any) -> Any:
    """The way from the closest point of an edge to a pixel, its square, and where on it that is."""
    x, y = x - ax, y - ay
    along = min(max((x * dx + y * dy) * inverse, typed(0, ax)), typed(1, ax))
    x, y = x - along * dx, y - along * dy
    return x * x + y * y, along, x, y


@numba.njit(error_model="numpy")
def lies_beyond(corners: tuple, inside: tuple, far: Any, perspective: bool) -> bool:
    """Whether a triangle is farther than `far` at a pixel, by its edge functions there."""
    zero, (z0, z1, z2), (e0, e1, e2) = typed(0, far), corners, inside
    w0, w1, w2 = max(e0, zero), max(e1, zero), max(e2, zero)
    if perspective:
        w0 = w0 / z0 if z0 != zero else w0
        w1 = w1 / z1 if z1 != zero else w1
        w2 = w2 / z2 if z2 != zero else w2
    total = w0 + w1 + w2
    if not total > zero:
        return z0 + z1 + z2 > far + far + far
    return (w0 / total) * z0 + (w1 / total) * z1 + (w2 / total) * z2 > far


@numba.njit(error_model="numpy")
def add_triangle(
    sums: int, moved: int, motions: int, corners: int, numbers: tuple, picture: tuple, like: Any
) -> None:
    """Adds the tangents of one triangle to the pixels of some rows, `[rows, W, T]`.

    Args:
        sums: of the rows.
        moved: `[6, T]` how its corners move along x and y, then `[T]` how `σ` does.
        motions: `T`.
        corners: `[3, 3]`.
        numbers: `σ`, the square of the blur's radius, `far`.
        picture: its size, the rows, and whether depth is perspective.
        like: a number of the float type.
    """
    sigma, radius_sq, far = numbers
    height, width, top, bottom, perspective = picture
    half, zero = typed(0.5, like), typed(0, like)
    x0, y0, z0 = load(corners, 0, like), load(corners, 1, like), load(corners, 2, like)
    x1, y1, z1 = load(corners, 3, like), load(corners, 4, like), load(corners, 5, like)
    x2, y2, z2 = load(corners, 6, like), load(corners, 7, like), load(corners, 8, like)
    radius = typed(math.sqrt(radius_sq), like)
    middle_x, middle_y = half * typed(width - 1, like), half * typed(height - 1, like)
    first, end = span(
        min(min(y0, y1), y2) - radius, max(max(y0, y1), y2) + radius, middle_y, top, bottom
    )
    left, right = span(
        min(min(x0, x1), x2) - radius, max(max(x0, x1), x2) + radius, middle_x, 0, width
    )
    if (first >= end) | (left >= right):
        return
    dx0, dy0, dx1, dy1, dx2, dy2 = x2 - x1, y2 - y1, x0 - x2, y0 - y2, x1 - x0, y1 - y0
    i0, i1, i2 = inverse_square(dx0, dy0), inverse_square(dx1, dy1), inverse_square(dx2, dy2)
    # A triangle without an area counts as turned the other way.
    sign = typed(1, like) if (y2 - y0) * dx2 - (x2 - x0) * dy2 > zero else typed(-1, like)
    may_be_beyond = max(max(z0, z1), z2) > far
    one = size_of(like)
    for row in range(first, end):
        y = typed(row, like) - middle_y
        for column in range(left, right):
            x = typed(column, like) - middle_x
            e0 = sign * ((y - y1) * dx0 - (x - x1) * dy0)
            e1 = sign * ((y - y2) * dx1 - (x - x2) * dy1)
            e2 = sign * ((y - y0) * dx2 - (x - x0) * dy2)
            inside = (e0 > zero) & (e1 > zero) & (e2 > zero)
            d0, u0, wx0, wy0 = closest_on(x1, y1, dx0, dy0, i0, x, y)
            d1, u1, wx1, wy1 = closest_on(x2, y2, dx1, dy1, i1, x, y)
            d2, u2, wx2, wy2 = closest_on(x0, y0, dx2, dy2, i2, x, y)
            a, b, d, u, wx, wy = 1, 2, d0, u0, wx0, wy0
            if (d2 <= d0) & (d2 <= d1):
                a, b, d, u, wx, wy = 0, 1, d2, u2, wx2, wy2
            elif d1 < d0:
                a, b, d, u, wx, wy = 2, 0, d1, u1, wx1, wy1
            if not (inside | (d < radius_sq)):
                continue
            if may_be_beyond and lies_beyond((z0, z1, z2), (e0, e1, e2), far, perspective):
                continue
            scaled = d / sigma
            if not scaled < typed(MAX_SCALED_DISTANCE, like):
                continue
            # F(t) / σ, without an overflow of exp.
            small = typed(math.exp(-scaled), like)
            slope = (typed(1, like) if inside else small) / ((typed(1, like) + small) * sigma)
            slope = -slope if inside else slope
            px, py, ps = (slope + slope) * wx, (slope + slope) * wy, slope * scaled
            ax, ay, bx, by = px - u * px, py - u * py, u * px, u * py
            at = sums + one * motions * ((row - top) * width + column)
            of_a, of_b = moved + one * 2 * motions * a, moved + one * 2 * motions * b
            of_sigma = moved + one * 6 * motions
            for motion in range(motions):
                change = ax * load(of_a, motion, like) + ay * load(of_a, motions + motion, like)
                change += bx * load(of_b, motion, like) + by * load(of_b, motions + motion, like)
                change += ps * load(of_sigma, motion, like)
                store(at, motion, load(at, motion, like) + change)


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """Some rows of a view, by each motion."""
    none, parts = np.int32(0), get(job, PARTS)
    view, band, count = part // parts, part % parts, length(argument(job, 1), 1)
    height, width = length(result(job, 0), 1), length(result(job, 0), 2)
    motions = length(result(job, 0), 0) // length(argument(job, 2), 0)
    corners, drawn = view_of(argument(job, 0), view, like), view_of(argument(job, 1), view, none)
    limits = view_of(argument(job, 2), view, like)
    numbers = load(limits, 0, like), load(limits, 1, like), load(limits, 2, like)
    moved = view_of(argument(job, 3), view * motions, like)
    of_sigma = view_of(argument(job, 4), view * motions, like)
    into = view_of(result(job, 0), view * motions, like)
    top, bottom = height * band // parts, height * (band + 1) // parts
    picture = height, width, top, bottom, option(job, 0) != 0
    one, pixels, zero = size_of(like), width * (bottom - top), typed(0, like)
    sums, own = malloc(max(8, one * motions * pixels)), malloc(max(8, one * 7 * motions))
    for number in range(motions * pixels):
        store(sums, number, zero)
    for motion in range(motions):
        store(own, 6 * motions + motion, load(of_sigma, motion, like))

    # Take the triangles in order, so that sums do not depend on the threads.
    for triangle in range(count):
        if load(drawn, triangle, none) == 0:
            continue
        for motion in range(motions):
            at = 9 * (count * motion + triangle)
            for corner in range(3):
                for axis in range(2):
                    number = load(moved, at + 3 * corner + axis, like)
                    store(own, (2 * corner + axis) * motions + motion, number)
        place = corners + one * 9 * triangle
        add_triangle(sums, own, motions, place, numbers, picture, like)
    for motion in range(motions):
        first = (motion * height + top) * width
        for pixel in range(pixels):
            store(into, first + pixel, load(sums, motions * pixel + motion, like))
    free(sums)
    free(own)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The pictures of all views, by each motion."""
    run_bands(job, length(argument(job, 2), 0), length(result(job, 0), 1), option(job, 1))


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def soft_motions(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return soft_motions
