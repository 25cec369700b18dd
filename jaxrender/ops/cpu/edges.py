"""Which edge lies between two neighbouring pixels, as `ops/edges/pairs.py` finds it.

Most neighbours see the same face and are passed by. All numbers are doubles, so that corners need
no scaling before they are multiplied.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.machine import (
    FIRST,
    answer,
    argument,
    free,
    get,
    length,
    load,
    malloc,
    option,
    put,
    result,
    run_job,
    size_of,
    store,
    symbol_address,
    threads_for,
    typed,
    view_of,
)

NO_EDGE, CUT = 0, 7  # codes
TOO_FAR, ROUNDING, EDGE_ON = 1e12, 0.5, 4  # as in `ops/edges/pairs.py`
PART_ROWS = 32
BOTH_SIDES = 3  # of an edge: bits of the faces that lie on its one side and on its other

MARKS, PARTS = range(FIRST, FIRST + 2)  # noted in a job: see `start`; of a view, 0 while marking


@numba.njit(error_model="numpy")
def near(value: float) -> float:
    """A coordinate of a vertex, 0 where it is too far, or not a number."""
    return value if abs(value) < TOO_FAR else 0.0


@numba.njit(error_model="numpy")
def vertex_of(scene: Any, face: int, corner: int) -> int:
    """The vertex that a corner of a face is."""
    vertex = np.int64(load(scene[1], 3 * face + corner, np.int32(0)))
    return min(max(vertex, 0), scene[2] - 1)


@numba.njit(error_model="numpy")
def position_of(scene: Any, vertex: int, like: Any) -> Any:
    """Where a vertex lies, in pixels, and how deep."""
    vertices, _, _, height, width, _ = scene
    x = near(typed(load(vertices, 3 * vertex, like), 0.0))
    y = near(typed(load(vertices, 3 * vertex + 1, like), 0.0))
    z = near(typed(load(vertices, 3 * vertex + 2, like), 0.0))
    return (x * width + width - 1.0) * 0.5, (height - 1.0 - y * height) * 0.5, z


@numba.njit(error_model="numpy")
def scene_of(job: int, view: int, like: Any) -> Any:
    """What is known of a view: vertices, faces, their count, the picture's size, perspective."""
    vertices, faces, face = argument(job, 0), argument(job, 1), argument(job, 2)
    height, width = typed(length(face, 1), 0.0), typed(length(face, 2), 0.0)
    first, second = view_of(vertices, view, like), view_of(faces, view, np.int32(0))
    return first, second, length(vertices, 1), height, width, option(job, 0) != 0


@numba.njit(error_model="numpy")
def corner_of(scene: Any, vertex: int, like: Any) -> Any:
    """A vertex as a corner `(X w, Y w, w)`, and what of it is linear on screen, times w."""
    x, y, z = position_of(scene, vertex, like)
    if scene[5]:
        return x * z, y * z, z, 1.0
    return x, y, 1.0, z


@numba.njit(error_model="numpy")
def sides_of(a: Any, b: Any, c: Any, x: float, y: float) -> Any:
    """On which side of the edges opposite to its corners a point lies; and the determinant."""
    ax, ay = a[0] - x * a[2], a[1] - y * a[2]
    bx, by = b[0] - x * b[2], b[1] - y * b[2]
    cx, cy = c[0] - x * c[2], c[1] - y * c[2]
    sa, sb, sc = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    return sa, sb, sc, sa * a[2] + sb * b[2] + sc * c[2]


@numba.njit(error_model="numpy")
def is_inside(sides: Any) -> bool:
    """Whether a face covers the point."""
    sa, sb, sc, d = sides
    return (d != 0.0) & (sa * d >= 0.0) & (sb * d >= 0.0) & (sc * d >= 0.0)


@numba.njit(error_model="numpy")
def crosses(a: Any, b: Any, here: float, there: float, place: Any) -> bool:
    """Whether the edge from a to b, if it counts for this axis, runs between the two centres."""
    x, y, axis = place
    # Both centres lie on either side of it.
    if (here <= 0.0) == (there <= 0.0):
        return False
    across, along = a[1] * b[2] - b[1] * a[2], b[0] * a[2] - a[0] * b[2]
    steep = abs(across) >= abs(along)
    if steep == (axis == 1):
        return False
    # Its ends lie on either side of the line through the centres, and it meets that in front.
    if axis == 0:
        end_a, end_b = a[1] - y * a[2], b[1] - y * b[2]
    else:
        end_a, end_b = a[0] - x * a[2], b[0] - x * b[2]
    if (end_a <= 0.0) == (end_b <= 0.0):
        return False
    return (a[2] * end_b - b[2] * end_a) * (end_b - end_a) > 0.0


@numba.njit(error_model="numpy")
def plane_of(a: Any, b: Any, c: Any, determinant: float) -> Any:
    """How what is linear on screen changes along x and along y."""
    scale = 1.0 / determinant
    x = (
        a[3] * (b[1] * c[2] - b[2] * c[1])
        + b[3] * (c[1] * a[2] - c[2] * a[1])
        + c[3] * (a[1] * b[2] - a[2] * b[1])
    )
    y = (
        a[3] * (b[2] * c[0] - b[0] * c[2])
        + b[3] * (c[2] * a[0] - c[0] * a[2])
        + c[3] * (a[2] * b[0] - a[0] * b[2])
    )
    return x * scale, y * scale


@numba.njit(error_model="numpy")
def shared_corners(corners: Any, others: Any) -> int:
    """Which corners of a face coincide with some of another; a bit for each."""
    shared = 0
    for k in range(3):
        x, y, z, depth = corners[k]
        for n in range(3):
            other = others[n]
            same = (x == other[0]) & (y == other[1]) & (z == other[2]) & (depth == other[3])
            shared |= same << k
    return shared


@numba.njit(error_model="numpy")
def separates(a: Any, b: Any, place: Any) -> bool:
    """Whether the two centres lie on either side of the line from a to b."""
    x, y, axis = place
    p, q = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2]
    here = p * x + q * y + (a[0] * b[1] - a[1] * b[0])
    return (here <= 0.0) != (here + (q if axis == 1 else p) <= 0.0)


@numba.njit(error_model="numpy")
def is_smooth(scene: Any, first: int, second: int, place: Any, like: Any) -> bool:
    """Whether all that is between two centres is an edge that their faces share, not folded.

    A quick answer for nearly all pairs of a fine mesh; no may also mean that it is not that plain.
    """
    # Find the corners that only one of them has; the others follow it in order.
    i0, i1, i2 = vertex_of(scene, first, 0), vertex_of(scene, first, 1), vertex_of(scene, first, 2)
    own = (i0, i1, i2)
    j0 = vertex_of(scene, second, 0)
    j1, j2 = vertex_of(scene, second, 1), vertex_of(scene, second, 2)
    theirs = (j0, j1, j2)
    alone, count = 0, 0
    for k in range(3):
        if (own[k] != j0) & (own[k] != j1) & (own[k] != j2):
            alone, count = k, count + 1
    if count != 1:
        return False
    alone_second, count = 0, 0
    for k in range(3):
        if (theirs[k] != i0) & (theirs[k] != i1) & (theirs[k] != i2):
            alone_second, count = k, count + 1
    if count != 1:
        return False
    start, end = own[(alone + 1) % 3], own[(alone + 2) % 3]
    same_order = theirs[(alone_second + 1) % 3] == start

    # See that their edge separates the centres, and none of the others does.
    a, b = corner_of(scene, start, like), corner_of(scene, end, like)
    if not separates(a, b, place):
        return False
    c, d = corner_of(scene, own[alone], like), corner_of(scene, theirs[alone_second], like)
    if separates(a, c, place) | separates(b, c, place):
        return False
    if separates(a, d, place) | separates(b, d, place):
        return False
    p, q = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2]
    r = a[0] * b[1] - a[1] * b[0]
    product = (p * c[0] + q * c[1] + r * c[2]) * (p * d[0] + q * d[1] + r * d[2])
    return product > 0.0 if same_order else product < 0.0


@numba.njit(error_model="numpy")
def code_of(
    scene: Any, silhouettes: Any, crease: bool, pair: Any, depths: Any, place: Any, like: Any
) -> Any:
    """The code of the edge between two pixels, and its place.

    Args:
        scene: of `corner_of`.
        silhouettes: address of a number for each face, a bit for each edge that is one; or 0.
        crease: whether an edge that both share counts.
        pair: what faces they see.
        depths: and how deep.
        place: of the first, x and y, and the axis along which the other lies.
        like: a number of the vertices' type.
    """
    first, second = pair
    x, y, axis = place
    allowed_first, allowed_second = 7, 7
    if silhouettes != 0:
        # Nothing more is to be found out where neither has a silhouette edge.
        allowed_first = load(silhouettes, first, np.int32(0)) if first >= 0 else 0
        allowed_second = load(silhouettes, second, np.int32(0)) if second >= 0 else 0
        if (allowed_first | allowed_second) == 0:
            return NO_EDGE, 0.5
    elif not crease and (
        (first >= 0) & (second >= 0) and is_smooth(scene, first, second, place, like)
    ):
        return NO_EDGE, 0.5

    # Look at both faces from both centres.
    one, other = max(first, 0), max(second, 0)
    a0 = corner_of(scene, vertex_of(scene, one, 0), like)
    a1 = corner_of(scene, vertex_of(scene, one, 1), like)
    a2 = corner_of(scene, vertex_of(scene, one, 2), like)
    b0 = corner_of(scene, vertex_of(scene, other, 0), like)
    b1 = corner_of(scene, vertex_of(scene, other, 1), like)
    b2 = corner_of(scene, vertex_of(scene, other, 2), like)
    far_x, far_y = x + (1.0 - axis), y + axis
    a_here, a_there = sides_of(a0, a1, a2, x, y), sides_of(a0, a1, a2, far_x, far_y)
    b_here, b_there = sides_of(b0, b1, b2, x, y), sides_of(b0, b1, b2, far_x, far_y)

    # Find the nearer: the other's face ends before its pixel centre, or else in depth.
    goes_on, comes, over = False, False, second < 0
    if (first >= 0) & (second >= 0):
        goes_on, comes = is_inside(a_there), is_inside(b_here)
        over = comes if goes_on != comes else depths[0] < depths[1]
    if goes_on & comes:
        if silhouettes != 0:
            return NO_EDGE, 0.5
        # Where their depths are equal, they cut each other.
        here = (a0[3] * a_here[0] + a1[3] * a_here[1] + a2[3] * a_here[2]) / a_here[3] - (
            b0[3] * b_here[0] + b1[3] * b_here[1] + b2[3] * b_here[2]
        ) / b_here[3]
        pa, qa = plane_of(a0, a1, a2, a_here[3])
        pb, qb = plane_of(b0, b1, b2, b_here[3])
        steep = abs(pa - pb) >= abs(qa - qb)
        along = (qa - qb) if axis == 1 else (pa - pb)
        within = abs(here + along * 0.5) <= (0.5 + ROUNDING) * abs(along)
        cut = (steep != (axis == 1)) & within & (along != 0.0)
        return (CUT, min(max(-here / along, 0.0), 1.0)) if cut else (NO_EDGE, 0.5)

    # Leave out edges that they share, if they look the same way.
    allowed = allowed_first if over else allowed_second
    both = (first >= 0) & (second >= 0)
    if (silhouettes == 0) & both & (not crease) & (a_here[3] * b_here[3] > 0.0):
        shared = shared_corners((a0, a1, a2), (b0, b1, b2))
        if not over:
            shared = shared_corners((b0, b1, b2), (a0, a1, a2))
        allowed &= ~(((shared & 6) == 6) | ((shared & 5) == 5) << 1 | ((shared & 3) == 3) << 2)

    # Take the first edge that is steep enough, and crosses between the two centres.
    a, b, c = (a0, a1, a2) if over else (b0, b1, b2)
    here, there = (a_here, a_there) if over else (b_here, b_there)
    code = 1 if over else 4
    if (allowed & 1) != 0 and crosses(b, c, here[0], there[0], place):
        return code, here[0] / (here[0] - there[0])
    if (allowed & 2) != 0 and crosses(c, a, here[1], there[1], place):
        return code + 1, here[1] / (here[1] - there[1])
    if (allowed & 4) != 0 and crosses(a, b, here[2], there[2], place):
        return code + 2, here[2] / (here[2] - there[2])
    return NO_EDGE, 0.5


@numba.njit(error_model="numpy")
def side_of(scene: Any, corners: Any, like: Any) -> int:
    """The sign of a face's determinant; 0 of one that is seen edge-on, but for rounding."""
    x0, y0, z0 = position_of(scene, corners[0], like)
    x1, y1, z1 = position_of(scene, corners[1], like)
    x2, y2, z2 = position_of(scene, corners[2], like)
    ax, ay, bx, by = x1 - x0, y1 - y0, x2 - x0, y2 - y0
    area = ax * by - ay * bx
    reach = max(max(abs(ax), abs(ay)), max(abs(bx), abs(by)))
    extent = max(max(scene[3], scene[4]), max(abs(x0), abs(y0)) + reach)
    epsilon = EDGE_ON * (2.0**-23 if size_of(like) == 4 else 2.0**-52)
    if abs(area) <= epsilon * extent * reach:
        return 0
    side = 1 if area > 0.0 else -1
    if scene[5]:
        for z in (z0, z1, z2):
            side *= 1 if z > 0.0 else (-1 if z < 0.0 else 0)
    return side


@numba.njit(error_model="numpy")
def mark_silhouettes(job: int, view: int, like: Any) -> None:
    """Notes which edges of a view are silhouettes: all faces of theirs lie on one side."""
    scene, integer = scene_of(job, view, like), np.int32(0)
    _, faces, count, _, _, _ = scene
    face_count, edges = length(argument(job, 1), 1), view_of(argument(job, 4), view, integer)
    marks, most = get(job, MARKS) + 16 * face_count * view, 3 * face_count
    sides = marks + 4 * face_count
    for edge in range(most):
        store(sides, edge, integer)
    for face in range(face_count):
        i = load(faces, 3 * face, integer)
        j = load(faces, 3 * face + 1, integer)
        k = load(faces, 3 * face + 2, integer)
        if (min(i, min(j, k)) < 0) | (max(i, max(j, k)) >= count):
            continue
        side = side_of(scene, (np.int64(i), np.int64(j), np.int64(k)), like)
        if side == 0:
            continue
        for corner in range(3):
            start = j if corner == 0 else (k if corner == 1 else i)
            end = k if corner == 0 else (i if corner == 1 else j)
            edge = np.int64(load(edges, 3 * face + corner, integer))
            if (edge >= 0) & (edge < most):
                bit = 1 if (side > 0) == (start < end) else 2
                store(sides, edge, np.int32(load(sides, edge, integer) | bit))
    for face in range(face_count):
        mark = 0
        for corner in range(3):
            edge = np.int64(load(edges, 3 * face + corner, integer))
            edge = min(max(edge, 0), most - 1)
            mark |= (load(sides, edge, integer) != BOTH_SIDES) << corner
        store(marks, face, np.int32(mark))


@numba.njit(error_model="numpy")
def find_part(job: int, part: int, like: Any) -> None:
    """The codes of some rows of a view."""
    parts, none = get(job, PARTS), np.int32(-1)
    view, band = part // parts, part % parts
    scene, face_count = scene_of(job, view, like), length(argument(job, 1), 1)
    height, width = length(argument(job, 2), 1), length(argument(job, 2), 2)
    pixels, last = height * width, np.int64(face_count - 1)
    silhouettes, faceted = 0, option(job, 2) != 0
    if option(job, 1) != 0:
        silhouettes = get(job, MARKS) + 16 * face_count * view
    face_at, depth_at = view_of(argument(job, 2), view, none), view_of(argument(job, 3), view, like)
    codes, places = view_of(result(job, 0), view, none), view_of(result(job, 1), view, like)
    for row in range(height * band // parts, height * (band + 1) // parts):
        y = typed(row, 0.0)
        for column in range(width):
            pixel = row * width + column
            first = load(face_at, pixel, none)
            for axis in range(2):
                code, where, step = NO_EDGE, 0.5, width if axis == 1 else 1
                at, last_at = (row, height - 1) if axis == 1 else (column, width - 1)
                if at < last_at:
                    second = load(face_at, pixel + step, none)
                    if second != first:
                        pair = min(np.int64(first), last), min(np.int64(second), last)
                        depths = load(depth_at, pixel, like), load(depth_at, pixel + step, like)
                        place = typed(column, 0.0), y, axis
                        crease = faceted and (
                            (at > 0) & (at < last_at - 1)
                            and (load(face_at, pixel - step, none) == first)
                            & (load(face_at, pixel + 2 * step, none) == second)
                        )
                        code, where = code_of(scene, silhouettes, crease, pair, depths, place, like)
                store(codes, axis * pixels + pixel, np.int32(code))
                store(places, axis * pixels + pixel, typed(where, like))


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """A view's silhouettes, or the codes of some of its rows."""
    if get(job, PARTS) == 0:
        mark_silhouettes(job, part, like)
    else:
        find_part(job, part, like)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The codes of all views."""
    face, most = argument(job, 2), option(job, 3)
    views, height, face_count = length(face, 0), length(face, 1), length(argument(job, 1), 1)

    # See which edges are silhouettes, then go through the pixels.
    silhouettes = option(job, 1) != 0
    marks = malloc(16 * face_count * views if silhouettes else 8)
    put(job, MARKS, marks)
    if silhouettes:
        put(job, PARTS, 0)
        run_job(job, views, threads_for(job, most) if views > 1 else 1)
    parts = max(1, height // PART_ROWS)
    put(job, PARTS, parts)
    run_job(job, views * parts, threads_for(job, most) if views * parts > 1 else 1)
    free(marks)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def edges(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return edges
