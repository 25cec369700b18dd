"""Faces set up for the z-buffer, 8 at a time: which are drawn, which win ties, and their edges.

`ops/triangle.py` has the rules and the formulas; here they are written once more, for vectors:
`triangle.is_drawn` in `set_up`, by the names of its reasons, and for one triangle in `has_place`;
`triangle.key_of` and `face_of`; and `triangle.CornerOrder` and `set_up_edges` in `_edges`.

Results lie in a scratch pad: rows of 8 int32 numbers, then rows of 8 floats.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types

from jaxrender.ops.cpu.lanes import (
    LANES,
    Lanes,
    collect,
    count_up,
    lane_bytes,
    largest,
    least,
    read,
    spread,
    write,
)
from jaxrender.ops.cpu.machine import intrinsic, load, store, typed

MIN_AREA, MIN_DEPTH, FARTHEST = 1e-10, 1e-13, 1e17  # as in `ops/triangle.py`
MAX_KEY, NO_KEY = (1 << 31) - 1, -(1 << 31)  # that of no face is lower than all keys

# The rows of int32 numbers, and of floats: the corners as given, then what edges need.
FIRST_COLUMN, LAST_COLUMN, UPPER, LOWER, KEY, INTEGERS = range(6)
X, Y, Z = 0, 3, 6
EDGES, FLOATS = 9, 23  # x_a, y_a, x_b, y_b, dx [3], dy [3], slope [3], extent
SCRATCH_BYTES = 4 * LANES * INTEGERS + 8 * LANES * FLOATS


@intrinsic(prefer_literal=True)
def set_up(context: Any, whole: Any, scratch: Any, ids: Any, scene: Any, options: Any) -> Any:
    """Sets up faces, as `triangle.is_drawn` and `triangle.set_up_edges` do.

    Args:
        whole: whether edges are wanted, or the bounds alone; known to the compiler.
        scratch: address of the scratch pad.
        ids: `(queue, first, end)`: faces from number `first` on, to before `end`; numbers in a
            queue, where its address is not 0.
        scene: `(vertices, faces, vertex_count, width, height, near, far, perspective)`.
        options: `(cull, facing_first)`.

    Returns:
        Which of them are to be drawn, a bit each, and which of these cross the near plane, whose
        bounds in the scratch pad are wrong.
    """
    like = scene.types[3]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, pad, which, given, chosen = args
        kind = context.get_value_type(like)
        vertices, faces, count, *rest = (builder.extract_value(given, k) for k in range(8))
        width, height, near, far, perspective = (spread(builder, value) for value in rest)
        perspective = Lanes(builder, builder.trunc(perspective.value, _bits()))

        # Find the corners, and whether they are any, in pixel coordinates.
        face, drawn = _numbers(builder, pad, *(builder.extract_value(which, k) for k in range(3)))
        corners, exist = _corners(builder, face, vertices, faces, count, kind)
        drawn = drawn & exist  # else INDEX_OUT_OF_RANGE
        x, y, z = (corners[k::3] for k in range(3))
        for value in (*x, *y):
            drawn = drawn & value.equals(value)  # NOT_FINITE; what is infinite is clipped
        for value in z:
            drawn = drawn & (value * 0).equals(0)  # NOT_FINITE
            drawn = drawn & ((value.abs() > MIN_DEPTH) | ~perspective)  # ON_CAMERA_PLANE
        x = [(width * 0.5 * value).at_least(-FARTHEST).at_most(FARTHEST) for value in x]
        y = [(height * -0.5 * value).at_least(-FARTHEST).at_most(FARTHEST) for value in y]
        nearest = least(*z)
        drawn = drawn & (largest(*z) >= near) & (nearest <= far)  # BEFORE_NEAR, BEYOND_FAR

        # Bound them as `triangle.pixel_span` does.
        crosses = drawn & perspective & (nearest < near)
        first, last = _span(least(*x), largest(*x), width)
        upper, lower = _span(least(*y), largest(*y), height)
        drawn = drawn & (((first <= last) & (upper <= lower)) | crosses)  # OFF_PICTURE
        integers, floats = [first, last, upper, lower], [*x, *y, *z]
        if whole.literal_value:
            edges = _edges(x, y, z, perspective)
            area, front, *edges = edges
            cull, facing_first = (
                spread(builder, builder.trunc(builder.extract_value(chosen, k), ir.IntType(32)))
                for k in range(2)
            )
            culled = (cull.equals(1) & ~front) | (cull.equals(2) & front)
            drawn = drawn & (area > MIN_AREA) & ~culled  # NO_AREA, CULLED
            wins_ties = front | facing_first.equals(0)
            integers.append(wins_ties.where(face - MAX_KEY, face))
            floats += edges
        for row, value in enumerate(integers):
            write(builder, _row(builder, pad, 4 * row), value)
        size = lane_bytes(kind)
        for row, value in enumerate(floats):
            write(builder, _row(builder, pad, 4 * INTEGERS + size * row), value)
        found = [drawn.bits(), (drawn & crosses).bits()]
        return context.make_tuple(builder, signature.return_type, found)

    pair = types.UniTuple(types.int64, 2)
    return pair(whole, types.int64, ids, scene, options), generate


def _bits() -> Any:
    return ir.VectorType(ir.IntType(1), LANES)


def _row(builder: Any, pad: Any, bytes_before: int) -> Any:
    """The address of a row of the scratch pad, by how many bytes of each lane come before."""
    return builder.add(pad, ir.Constant(ir.IntType(64), LANES * bytes_before))


def _numbers(builder: Any, pad: Any, queue: Any, first: Any, end: Any) -> tuple[Lanes, Lanes]:
    """The numbers of the faces, and whether there are any so far on; else 0."""
    integer = ir.IntType(32)
    position = spread(builder, builder.trunc(first, integer)) + count_up(builder, integer)
    exist = position < spread(builder, builder.trunc(end, integer))

    # Read from the queue, or where there is none what is not used.
    none = builder.icmp_signed("==", queue, ir.Constant(ir.IntType(64), 0))
    behind = builder.add(queue, builder.mul(first, ir.Constant(ir.IntType(64), 4)))
    queued = read(builder, builder.select(none, pad, behind), integer)
    given = Lanes(builder, builder.select(none, position.value, queued.value))
    return exist.where(given, 0), exist


def _corners(
    builder: Any, face: Lanes, vertices: Any, faces: Any, count: Any, kind: Any
) -> tuple[list[Lanes], Lanes]:
    """The x, y and z of the first, second and third corners, and whether all are vertices."""
    integer, number = ir.IntType(32), ir.IntType(64)
    faces = builder.inttoptr(faces, integer.as_pointer())
    vertices = builder.inttoptr(vertices, kind.as_pointer())

    def three_of(table: Any, rows: Lanes) -> list[Lanes]:
        found = []
        for lane in range(LANES):
            start = builder.mul(builder.zext(rows.lane(lane), number), ir.Constant(number, 3))
            places = (builder.add(start, ir.Constant(number, k)) for k in range(3))
            found.append([builder.load(builder.gep(table, [place])) for place in places])
        return [collect(builder, [triple[k] for triple in found]) for k in range(3)]

    index = three_of(faces, face)
    count = spread(builder, builder.trunc(count, integer))
    exist = (least(*index) >= 0) & (largest(*index) < count)
    return [axis for corner in index for axis in three_of(vertices, exist.where(corner, 0))], exist


def _span(low: Lanes, high: Lanes, size: Lanes) -> tuple[Lanes, Lanes]:
    """The first and last of `size` pixels between two pixel coordinates."""
    middle = (size - 1) * 0.5
    first = (low + middle).at_least(0).at_most(size).ceil()
    return first, (high + middle).at_least(-1).at_most(size - 1).floor()


def _edges(x: list[Lanes], y: list[Lanes], z: list[Lanes], perspective: Lanes) -> list[Lanes]:
    """Twice the area, whether it is a front, and the rows from `EDGES` on."""
    # Sort the corners as `triangle.CornerOrder`, so that any order gives the same bits.
    corners: list[Any] = list(zip(x, y, z, strict=True))
    turned: Any = None
    for a in (0, 1, 0):
        (xa, ya, za), (xb, yb, zb) = one, other = corners[a : a + 2]
        swap = (zb > za) | (zb.equals(za) & ((xb < xa) | (xb.equals(xa) & (yb < ya))))
        corners[a] = tuple(swap.where(q, p) for p, q in zip(one, other, strict=True))
        corners[a + 1] = tuple(swap.where(p, q) for p, q in zip(one, other, strict=True))
        turned = swap if turned is None else turned ^ swap
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = corners

    # Tell the side, and sign the edges so that their functions are positive inside.
    # The area of a sliver is the small difference of large products: take those in double.
    signed = (y2 - y0).widen() * (x1 - x0).widen()
    signed = signed.minus_product((x2 - x0).widen(), (y1 - y0).widen()).narrow(x0)
    area, clockwise = signed.abs(), signed > 0
    behind = [perspective & (depth < 0) for depth in (z0, z1, z2)]
    front = ~clockwise ^ turned ^ behind[0] ^ behind[1] ^ behind[2]
    scale = 1 / area
    n0, n1, n2 = (perspective.where(1 / depth, -depth) for depth in (z0, z1, z2))
    slope1, slope2 = (n1 - n0) * scale, (n2 - n0) * scale
    slope1, slope2 = (
        side.where(-slope, slope) for side, slope in zip(behind[1:], (slope1, slope2), strict=True)
    )

    def sign(value: Lanes, corner: int) -> Lanes:
        return (clockwise ^ behind[corner]).where(value, -value)

    across = [sign(x2 - x1, 0), sign(x0 - x2, 1), sign(x1 - x0, 2)]
    down = [sign(y2 - y1, 0), sign(y0 - y2, 1), sign(y1 - y0, 2)]
    extent = largest(*(value.abs() for value in (x0, x1, x2, y0, y1, y2)))
    return [area, front, x1, y1, x0, y0, *across, *down, n0, slope1, slope2, extent]


@numba.njit(error_model="numpy")
def has_place(corners: Any, area: Any, perspective: bool) -> Any:
    """`triangle.is_drawn` of one triangle, by the reasons that its corners decide alone.

    Args:
        corners: x, y, z of each in turn, clipped to `FARTHEST`.
        area: twice the signed area.
        perspective: whether depth is divided by.
    """
    x0, y0, z0, x1, y1, z1, x2, y2, z2 = corners
    moved = (x0 + y0 + z0 + x1 + y1 + z1 + x2 + y2 + z2) * typed(0, area)
    if (moved != typed(0, area)) | (not (abs(area) > typed(MIN_AREA, area))):
        return False  # NOT_FINITE, NO_AREA
    nearest = min(abs(z0), abs(z1), abs(z2))
    return (not perspective) or (nearest > typed(MIN_DEPTH, area))  # ON_CAMERA_PLANE


@numba.njit(error_model="numpy")
def face_of(key: Any) -> Any:
    """The face of a key, -1 for none."""
    face = key + np.int32(MAX_KEY) if key < 0 else key
    return np.int32(-1) if key == np.int32(NO_KEY) else np.int32(face)


@numba.njit(error_model="numpy")
def bound_in_front(scratch: int, lane: int, scene: Any) -> Any:
    """Bounds the part of a face in front of the near plane, as `clip.box_in_front`; if any."""
    width, height, near = scene[3], scene[4], scene[5]
    rows = scratch + 4 * LANES * INTEGERS
    huge, one, zero, half = typed(np.inf, near), typed(1, near), typed(0, near), typed(0.5, near)
    left, top, right, bottom = huge, huge, -huge, -huge
    for a in range(3):
        b = a + 1 if a < 2 else 0
        xa, xb = load(rows, LANES * (X + a) + lane, near), load(rows, LANES * (X + b) + lane, near)
        ya, yb = load(rows, LANES * (Y + a) + lane, near), load(rows, LANES * (Y + b) + lane, near)
        za, zb = load(rows, LANES * (Z + a) + lane, near), load(rows, LANES * (Z + b) + lane, near)
        if za >= near:
            left, right, top, bottom = min(left, xa), max(right, xa), min(top, ya), max(bottom, ya)
        if (za >= near) != (zb >= near):
            t = (near - za) / (zb - za)
            x = ((one - t) * za * xa + t * zb * xb) / near
            y = ((one - t) * za * ya + t * zb * yb) / near
            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    middle = half * (width - one)
    first = np.int32(np.ceil(min(max(left + middle, zero), width)))
    last = np.int32(np.floor(min(max(right + middle, -one), width - one)))
    middle = half * (height - one)
    upper = np.int32(np.ceil(min(max(top + middle, zero), height)))
    lower = np.int32(np.floor(min(max(bottom + middle, -one), height - one)))
    store(scratch, LANES * FIRST_COLUMN + lane, first)
    store(scratch, LANES * LAST_COLUMN + lane, last)
    store(scratch, LANES * UPPER + lane, upper)
    store(scratch, LANES * LOWER + lane, lower)
    return (first <= last) & (upper <= lower)
