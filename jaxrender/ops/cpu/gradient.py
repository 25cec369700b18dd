"""The gradient of barycentrics and depths to the vertices of the faces that pixels see.

With `o_m = x_m (x - x_f) + y_m (y - y_f) + c_m` the barycentrics over z, plane equations of
`triangle.BarycentricPlanes`, a pixel has

    d = 1 / Σ o_m        b_m = d o_m

and with cotangents `g_m` of its barycentrics and `g` of its depth

    dL/do_m = d (g_m - Σₖ gₖ bₖ - g d)

Without perspective `b_m = o_m`, `d = Σ b_m z_m`, and `dL/do_m = g_m + g z_m`. What a face needs of
its pixels are nine sums, of `dL/do_m`, and of it times `x - x_f` and `y - y_f`; they stand in a
cache beside its planes, and go to its vertices when another face needs the place, or at the end.

Each part of a picture has sums of its own, which are added in order: so the bits do not depend on
who made which.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.barycentrics import set_up
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
    store,
    symbol_address,
    typed,
    view_of,
)
from jaxrender.ops.cpu.sums import PARTS, parts_of_picture, run_sums, table_of

PLACES, PLANE = 512, 24  # of the cache, and numbers at each: planes as in `barycentrics.py`, sums
SUMS, DEPTHS = 11, 20  # where these begin: 9 sums, and 3 of the depths of corners, if linear
MIN_INVERSE_DEPTH = 1e-18  # as in `ops/hard`


@numba.njit(error_model="numpy")
def add(gradient: int, place: Any, amount: float, like: Any) -> None:
    """Adds to a number of a gradient."""
    store(gradient, place, typed(load(gradient, place, like) + amount, like))


@numba.njit(error_model="numpy")
def corners_of(scene: Any, face: Any, like: Any) -> Any:
    """Where the vertices of a face stand, and its corners: x and y in pixels, cut off, and z."""
    vertices, faces, across, down, _ = scene
    a = 3 * np.int64(load(faces, 3 * face, np.int32(0)))
    b = 3 * np.int64(load(faces, 3 * face + 1, np.int32(0)))
    c = 3 * np.int64(load(faces, 3 * face + 2, np.int32(0)))
    most, w, h = FARTHEST, typed(across, 0.0), typed(down, 0.0)
    z0, z1, z2 = (
        typed(load(vertices, a + 2, like), 0.0),
        typed(load(vertices, b + 2, like), 0.0),
        typed(load(vertices, c + 2, like), 0.0),
    )
    x0, x1, x2 = (
        w * load(vertices, a, like),
        w * load(vertices, b, like),
        w * load(vertices, c, like),
    )
    y0, y1, y2 = (
        h * load(vertices, a + 1, like),
        h * load(vertices, b + 1, like),
        h * load(vertices, c + 1, like),
    )
    x0, y0 = min(max(x0, -most), most), min(max(y0, -most), most)
    x1, y1 = min(max(x1, -most), most), min(max(y1, -most), most)
    x2, y2 = min(max(x2, -most), most), min(max(y2, -most), most)
    return (a, b, c), (x0, x1, x2), (y0, y1, y2), (z0, z1, z2)


@numba.njit(error_model="numpy")
def far_corner(x: Any, y: Any, z: Any, perspective: bool) -> Any:
    """Whether the first or the second corner is farthest, 1 over the area, and over depths."""
    x0, x1, x2 = x
    y0, y1, y2 = y
    z0, z1, z2 = z
    first = (z0 >= z1) & (z0 >= z2)
    second = (not first) & (z1 >= z2)
    xf, xa, xb = (x0, x1, x2) if first else ((x1, x2, x0) if second else (x2, x0, x1))
    yf, ya, yb = (y0, y1, y2) if first else ((y1, y2, y0) if second else (y2, y0, y1))
    area = (yb - yf) * (xa - xf) - (xb - xf) * (ya - yf)
    scale = 1.0 / area if abs(area) > MIN_AREA else 0.0
    i0, i1, i2 = 1.0, 1.0, 1.0
    if perspective:
        i0, i1, i2 = 1.0 / z0, 1.0 / z1, 1.0 / z2
    return first, second, scale, (i0, i1, i2)


@numba.njit(error_model="numpy")
def spend(plane: int, gradient: int, scene: Any, face: Any, like: Any) -> None:
    """Adds what the sums of a face come to, to the gradient of its vertices; clears them."""
    _, _, across, down, perspective = scene
    (a, b, c), (x0, x1, x2), (y0, y1, y2), z = corners_of(scene, face, like)
    most, w, h = FARTHEST, typed(across, 0.0), typed(down, 0.0)
    g0, p0, q0 = load(plane, SUMS, 0.0), load(plane, SUMS + 1, 0.0), load(plane, SUMS + 2, 0.0)
    g1, p1, q1 = load(plane, SUMS + 3, 0.0), load(plane, SUMS + 4, 0.0), load(plane, SUMS + 5, 0.0)
    g2, p2, q2 = load(plane, SUMS + 6, 0.0), load(plane, SUMS + 7, 0.0), load(plane, SUMS + 8, 0.0)

    # From the planes to area, measured from the far corner, corners and depths.
    first, second, scale, (i0, i1, i2) = far_corner((x0, x1, x2), (y0, y1, y2), z, perspective)
    third = not (first | second)
    t0 = ((y1 - y2) * p0 + (x2 - x1) * q0) * i0
    t1 = ((y2 - y0) * p1 + (x0 - x2) * q1) * i1
    t2 = ((y0 - y1) * p2 + (x1 - x0) * q2) * i2
    of_area = -(t0 + t1 + t2) * scale * scale
    s0, s1, s2 = scale * i0, scale * i1, scale * i2
    dx0 = (y1 - y2) * of_area + s1 * q1 - s2 * q2
    dx1 = (y2 - y0) * of_area + s2 * q2 - s0 * q0
    dx2 = (y0 - y1) * of_area + s0 * q0 - s1 * q1
    dy0 = (x2 - x1) * of_area + s2 * p2 - s1 * p1
    dy1 = (x0 - x2) * of_area + s0 * p0 - s2 * p2
    dy2 = (x1 - x0) * of_area + s1 * p1 - s0 * p0
    dz0, dz1, dz2 = (
        load(plane, DEPTHS, 0.0),
        load(plane, DEPTHS + 1, 0.0),
        load(plane, DEPTHS + 2, 0.0),
    )

    # From the far corner.
    dx = -(load(plane, 2, 0.0) * g0 + load(plane, 5, 0.0) * g1 + load(plane, 8, 0.0) * g2)
    dy = -(load(plane, 3, 0.0) * g0 + load(plane, 6, 0.0) * g1 + load(plane, 9, 0.0) * g2)
    dx0, dy0 = dx0 + (dx if first else 0.0), dy0 + (dy if first else 0.0)
    dx1, dy1 = dx1 + (dx if second else 0.0), dy1 + (dy if second else 0.0)
    dx2, dy2 = dx2 + (dx if third else 0.0), dy2 + (dy if third else 0.0)
    if perspective:
        dz0 -= (t0 * scale + (g0 * i0 if first else 0.0)) * i0
        dz1 -= (t1 * scale + (g1 * i1 if second else 0.0)) * i1
        dz2 -= (t2 * scale + (g2 * i2 if third else 0.0)) * i2
    add(gradient, a, w * dx0 if abs(x0) < most else 0.0, like)
    add(gradient, b, w * dx1 if abs(x1) < most else 0.0, like)
    add(gradient, c, w * dx2 if abs(x2) < most else 0.0, like)
    add(gradient, a + 1, h * dy0 if abs(y0) < most else 0.0, like)
    add(gradient, b + 1, h * dy1 if abs(y1) < most else 0.0, like)
    add(gradient, c + 1, h * dy2 if abs(y2) < most else 0.0, like)
    add(gradient, a + 2, dz0, like)
    add(gradient, b + 2, dz1, like)
    add(gradient, c + 2, dz2, like)
    for number in range(SUMS, PLANE):
        store(plane, number, 0.0)


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """The gradient of a part of a view."""
    none, parts = np.int32(-1), get(job, PARTS)
    height, width = length(argument(job, 2), 1), length(argument(job, 2), 2)
    count, view, band = length(result(job, 0), 1), part // parts, part % parts
    vertices = view_of(argument(job, 0), view, like)
    faces, face_at = view_of(argument(job, 1), view, none), view_of(argument(job, 2), view, none)
    of_barycentrics = view_of(argument(job, 3), view, like)
    of_depth, gradient = view_of(argument(job, 4), view, like), table_of(job, view, band, like)
    perspective = option(job, 0) != 0
    w, h = typed(width, like), typed(height, like)
    across, down = typed(0.5, like) * w, typed(-0.5, like) * h
    middle_x, middle_y = 0.5 * (width - 1), 0.5 * (height - 1)
    scene = vertices, faces, across, down, perspective
    zero = typed(0, like)
    for number in range(3 * count):
        store(gradient, number, zero)

    # Sum by face; the planes are set up in the numbers' own precision, and all else in double.
    cache = malloc(8 * PLACES + 8 * PLANE * PLACES)
    pad = malloc(8 * PLANE)
    for place in range(PLACES):
        store(cache, place, none)
    for row in range(height * band // parts, height * (band + 1) // parts):
        y, column = row - middle_y, 0
        while column < width:
            face = load(face_at, row * width + column, none)
            if face < 0:
                column += 1
                continue
            place = np.int64(face) & (PLACES - 1)
            plane = cache + 8 * PLACES + 8 * PLANE * place
            held = load(cache, place, none)
            if held != face:
                if held >= 0:
                    spend(plane, gradient, scene, np.int64(held), like)
                store(cache, place, face)
                set_up(pad, vertices, faces, np.int64(face), (across, down), perspective)
                for number in range(SUMS):
                    store(plane, number, typed(load(pad, number, like), 0.0))
                for number in range(SUMS, PLANE):
                    store(plane, number, 0.0)
            x_far, below = load(plane, 0, 0.0), y - load(plane, 1, 0.0)
            a0, b0, c0 = load(plane, 2, 0.0), load(plane, 3, 0.0), load(plane, 4, 0.0)
            a1, b1, c1 = load(plane, 5, 0.0), load(plane, 6, 0.0), load(plane, 7, 0.0)
            a2, b2, c2 = load(plane, 8, 0.0), load(plane, 9, 0.0), load(plane, 10, 0.0)
            c0, c1, c2 = b0 * below + c0, b1 * below + c1, b2 * below + c2
            s0, s1, s2, p0, p1, p2, r0, r1, r2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            z0, z1, z2 = 0.0, 0.0, 0.0
            if not perspective:
                z0 = typed(load(vertices, 3 * load(faces, 3 * face, none) + 2, like), 0.0)
                z1 = typed(load(vertices, 3 * load(faces, 3 * face + 1, none) + 2, like), 0.0)
                z2 = typed(load(vertices, 3 * load(faces, 3 * face + 2, none) + 2, like), 0.0)
            pixel = row * width + column
            while column < width and load(face_at, pixel, none) == face:
                x = (column - middle_x) - x_far
                g0 = typed(load(of_barycentrics, 3 * pixel, like), 0.0)
                g1 = typed(load(of_barycentrics, 3 * pixel + 1, like), 0.0)
                g2 = typed(load(of_barycentrics, 3 * pixel + 2, like), 0.0)
                g = typed(load(of_depth, pixel, like), 0.0)
                o0, o1, o2 = a0 * x + c0, a1 * x + c1, a2 * x + c2
                if perspective:
                    inverse = o0 + o1 + o2
                    if inverse > MIN_INVERSE_DEPTH:
                        depth = 1.0 / inverse
                        common = (g0 * o0 + g1 * o1 + g2 * o2 + g) * depth
                        g0, g1, g2 = (
                            (g0 - common) * depth,
                            (g1 - common) * depth,
                            (g2 - common) * depth,
                        )
                else:
                    r0, r1, r2 = r0 + g * o0, r1 + g * o1, r2 + g * o2
                    g0, g1, g2 = g0 + g * z0, g1 + g * z1, g2 + g * z2
                s0, s1, s2 = s0 + g0, s1 + g1, s2 + g2
                p0, p1, p2 = p0 + g0 * x, p1 + g1 * x, p2 + g2 * x
                column += 1
                pixel += 1
            sums = plane + 8 * SUMS
            store(sums, 0, load(sums, 0, 0.0) + s0)
            store(sums, 1, load(sums, 1, 0.0) + p0)
            store(sums, 2, load(sums, 2, 0.0) + s0 * below)
            store(sums, 3, load(sums, 3, 0.0) + s1)
            store(sums, 4, load(sums, 4, 0.0) + p1)
            store(sums, 5, load(sums, 5, 0.0) + s1 * below)
            store(sums, 6, load(sums, 6, 0.0) + s2)
            store(sums, 7, load(sums, 7, 0.0) + p2)
            store(sums, 8, load(sums, 8, 0.0) + s2 * below)
            if not perspective:
                store(sums, 9, load(sums, 9, 0.0) + r0)
                store(sums, 10, load(sums, 10, 0.0) + r1)
                store(sums, 11, load(sums, 11, 0.0) + r2)
    for place in range(PLACES):
        held = load(cache, place, none)
        if held >= 0:
            plane = cache + 8 * PLACES + 8 * PLANE * place
            spend(plane, gradient, scene, np.int64(held), like)
    free(cache)
    free(pad)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The gradient of all views."""
    views, height = length(argument(job, 2), 0), length(argument(job, 2), 1)
    width = length(argument(job, 2), 2)
    parts = parts_of_picture(views, height, width, length(result(job, 0), 1))
    run_sums(job, views, parts, option(job, 1), like)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def gradient(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return gradient
