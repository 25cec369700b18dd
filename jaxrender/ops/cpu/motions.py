"""How barycentrics and depths of pixels move where vertices do: `gradient.py` the other way.

With the barycentrics over z of that module, whose planes `a_m, b_m, c_m` depend on the corners,

    do_m = da_m (x - x_f) + db_m (y - y_f) + dc_m - a_m dx_f - b_m dy_f

which is three numbers of a face for each `m` and each motion; they stand in a cache beside its
planes. Then `dd = -d² Σ do_m` and `db_m = d (do_m - b_m Σ do_k)`, and without perspective
`db_m = do_m`, `dd = Σ do_m z_m + o_m dz_m`.

Shapes: `G` views, `T` motions of each, `V` vertices, `F` faces, `H, W` image; what motions have is
`[G T, ...]`, those of a view one after the other.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.barycentrics import set_up
from jaxrender.ops.cpu.faces import FARTHEST
from jaxrender.ops.cpu.gradient import MIN_INVERSE_DEPTH, corners_of, far_corner
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
from jaxrender.ops.cpu.rows import PARTS, run_rows

PLACES, PLANE, OWN = 512, 14, 12  # of the cache; numbers of a face at each; of each motion
DEPTHS = 11  # where the depths of the corners begin


@numba.njit(error_model="numpy")
def move_planes(plane: int, scene: Any, moved: Any, face: Any, like: Any) -> None:
    """Writes what the planes of a face change by, behind them, for each motion.

    Of each plane the slopes along x and y and what it has at the far corner's place; then the
    depths of the corners.
    """
    _, _, across, down, perspective = scene
    motion_at, numbers, motions = moved
    most, w, h = FARTHEST, typed(across, 0.0), typed(down, 0.0)
    (a, b, c), (x0, x1, x2), (y0, y1, y2), z = corners_of(scene, face, like)
    first, second, scale, (i0, i1, i2) = far_corner((x0, x1, x2), (y0, y1, y2), z, perspective)
    # Corners that are too far stay where they are.
    wx0, wx1, wx2 = (
        w if abs(x0) < most else 0.0,
        w if abs(x1) < most else 0.0,
        w if abs(x2) < most else 0.0,
    )
    hy0, hy1, hy2 = (
        h if abs(y0) < most else 0.0,
        h if abs(y1) < most else 0.0,
        h if abs(y2) < most else 0.0,
    )
    s0, s1, s2 = scale * i0, scale * i1, scale * i2
    for motion in range(motions):
        at, own = motion * numbers, plane + 8 * (PLANE + OWN * motion)
        dx0 = wx0 * load(motion_at, at + a, like)
        dx1 = wx1 * load(motion_at, at + b, like)
        dx2 = wx2 * load(motion_at, at + c, like)
        dy0 = hy0 * load(motion_at, at + a + 1, like)
        dy1 = hy1 * load(motion_at, at + b + 1, like)
        dy2 = hy2 * load(motion_at, at + c + 1, like)
        dz0 = typed(load(motion_at, at + a + 2, like), 0.0)
        dz1 = typed(load(motion_at, at + b + 2, like), 0.0)
        dz2 = typed(load(motion_at, at + c + 2, like), 0.0)
        of_area = (y1 - y2) * dx0 + (x2 - x1) * dy0 + (y2 - y0) * dx1 + (x0 - x2) * dy1
        of_area += (y0 - y1) * dx2 + (x1 - x0) * dy2
        of_scale = -of_area * scale * scale
        di0, di1, di2 = 0.0, 0.0, 0.0
        if perspective:
            di0, di1, di2 = -dz0 * i0 * i0, -dz1 * i1 * i1, -dz2 * i2 * i2
        t0 = of_scale * i0 + scale * di0
        t1 = of_scale * i1 + scale * di1
        t2 = of_scale * i2 + scale * di2
        dxf, dyf = (dx0, dy0) if first else ((dx1, dy1) if second else (dx2, dy2))
        store(own, 0, (dy1 - dy2) * s0 + (y1 - y2) * t0)
        store(own, 1, (dx2 - dx1) * s0 + (x2 - x1) * t0)
        store(own, 2, (di0 if first else 0.0) - (y1 - y2) * s0 * dxf - (x2 - x1) * s0 * dyf)
        store(own, 3, (dy2 - dy0) * s1 + (y2 - y0) * t1)
        store(own, 4, (dx0 - dx2) * s1 + (x0 - x2) * t1)
        store(own, 5, (di1 if second else 0.0) - (y2 - y0) * s1 * dxf - (x0 - x2) * s1 * dyf)
        third = not (first | second)
        store(own, 6, (dy0 - dy1) * s2 + (y0 - y1) * t2)
        store(own, 7, (dx1 - dx0) * s2 + (x1 - x0) * t2)
        store(own, 8, (di2 if third else 0.0) - (y0 - y1) * s2 * dxf - (x1 - x0) * s2 * dyf)
        store(own, 9, dz0)
        store(own, 10, dz1)
        store(own, 11, dz2)


@numba.njit(error_model="numpy")
def move_run(plane: int, place: Any, pixels: Any, into: Any, perspective: bool, like: Any) -> None:
    """Writes how the pixels of a row that see one face change, by each motion."""
    x, below = place
    pixel, end, size = pixels
    barycentrics, depths, motions = into
    z0, z1, z2 = (
        load(plane, DEPTHS, 0.0),
        load(plane, DEPTHS + 1, 0.0),
        load(plane, DEPTHS + 2, 0.0),
    )
    for here in range(pixel, end):
        o0 = load(plane, 2, 0.0) * x + (load(plane, 3, 0.0) * below + load(plane, 4, 0.0))
        o1 = load(plane, 5, 0.0) * x + (load(plane, 6, 0.0) * below + load(plane, 7, 0.0))
        o2 = load(plane, 8, 0.0) * x + (load(plane, 9, 0.0) * below + load(plane, 10, 0.0))
        inverse = o0 + o1 + o2
        depth = 1.0 / inverse if perspective & (inverse > MIN_INVERSE_DEPTH) else 1.0
        known = perspective & (inverse > MIN_INVERSE_DEPTH)
        b0, b1, b2 = o0 * depth, o1 * depth, o2 * depth
        for motion in range(motions):
            own, at = plane + 8 * (PLANE + OWN * motion), motion * size + here
            d0 = load(own, 0, 0.0) * x + load(own, 1, 0.0) * below + load(own, 2, 0.0)
            d1 = load(own, 3, 0.0) * x + load(own, 4, 0.0) * below + load(own, 5, 0.0)
            d2 = load(own, 6, 0.0) * x + load(own, 7, 0.0) * below + load(own, 8, 0.0)
            of_depth = 0.0
            if known:
                total = d0 + d1 + d2
                of_depth = -depth * depth * total
                d0, d1, d2 = (
                    depth * (d0 - b0 * total),
                    depth * (d1 - b1 * total),
                    depth * (d2 - b2 * total),
                )
            elif not perspective:
                of_depth = d0 * z0 + d1 * z1 + d2 * z2 + o0 * load(own, 9, 0.0)
                of_depth += o1 * load(own, 10, 0.0) + o2 * load(own, 11, 0.0)
            store(barycentrics, 3 * at, typed(d0, like))
            store(barycentrics, 3 * at + 1, typed(d1, like))
            store(barycentrics, 3 * at + 2, typed(d2, like))
            store(depths, at, typed(of_depth, like))
        x += 1.0


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """Some rows of a view, by each motion."""
    none, parts = np.int32(-1), get(job, PARTS)
    shape, view, band = argument(job, 2), part // parts, part % parts
    height, width = length(shape, 1), length(shape, 2)
    vertices, faces = view_of(argument(job, 0), view, like), view_of(argument(job, 1), view, none)
    motions, face_at = length(argument(job, 3), 0) // length(shape, 0), view_of(shape, view, none)
    barycentrics = view_of(result(job, 0), view * motions, like)
    depths = view_of(result(job, 1), view * motions, like)
    numbers = 3 * length(argument(job, 3), 1)
    moved = view_of(argument(job, 3), view * motions, like), numbers, motions
    perspective, size, zero = option(job, 0) != 0, height * width, typed(0, like)
    across = typed(0.5, like) * typed(width, like)
    down = typed(-0.5, like) * typed(height, like)
    middle_x, middle_y = 0.5 * (width - 1), 0.5 * (height - 1)
    scene, into = (vertices, faces, across, down, perspective), (barycentrics, depths, motions)
    top, bottom = height * band // parts, height * (band + 1) // parts
    for motion in range(motions):
        for number in range(motion * size + top * width, motion * size + bottom * width):
            store(barycentrics, 3 * number, zero)
            store(barycentrics, 3 * number + 1, zero)
            store(barycentrics, 3 * number + 2, zero)
            store(depths, number, zero)

    # Set a face up where it is met first, and keep it until another needs its place.
    one = PLANE + OWN * motions
    cache, pad = malloc(8 * PLACES + 8 * one * PLACES), malloc(8 * PLANE)
    for place in range(PLACES):
        store(cache, place, none)
    for row in range(top, bottom):
        y, column = row - middle_y, 0
        while column < width:
            pixel = row * width + column
            face = load(face_at, pixel, none)
            if face < 0:
                column += 1
                continue
            place = np.int64(face) & (PLACES - 1)
            plane = cache + 8 * PLACES + 8 * one * place
            if load(cache, place, none) != face:
                store(cache, place, face)
                set_up(pad, vertices, faces, np.int64(face), (across, down), perspective)
                for number in range(DEPTHS):
                    store(plane, number, typed(load(pad, number, like), 0.0))
                for corner in range(3):
                    vertex = np.int64(load(faces, 3 * np.int64(face) + corner, none))
                    z = typed(load(vertices, 3 * vertex + 2, like), 0.0)
                    store(plane, DEPTHS + corner, z)
                move_planes(plane, scene, moved, np.int64(face), like)
            x, below = (column - middle_x) - load(plane, 0, 0.0), y - load(plane, 1, 0.0)
            while column < width and load(face_at, row * width + column, none) == face:
                column += 1
            end = row * width + column
            move_run(plane, (x, below), (pixel, end, size), into, perspective, like)
    free(cache)
    free(pad)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The pixels of all views, by each motion."""
    run_rows(job, argument(job, 2), option(job, 1))


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def motions(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return motions
