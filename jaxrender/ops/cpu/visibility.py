"""NMR's gradient of visibility, in machine code; `ops/nmr` has the maths and the names.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `C` channels.

It is done in the natural order: for each face that is seen, for each of its edges, for each line of
pixels that this crosses, one sweep outwards to the border of the picture and one inwards over the
face, 8 pixels at a time. Pictures are laid out as lines before, first as columns, then as rows, in
the same memory. What each face gives to its corners is kept apart, and added up face by face at the
end: so the bits do not depend on who did which.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from jaxrender.ops.cpu.faces import FARTHEST, has_place
from jaxrender.ops.cpu.lanes import LANES, Lanes, count_up, read, spread
from jaxrender.ops.cpu.machine import (
    FIRST,
    answer,
    argument,
    copy_notes,
    free,
    get,
    intrinsic,
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

TILE = 16  # pixels: pictures are turned in squares that the cache holds
MIN_PIXELS = 1 << 11  # of pictures that several threads are asked for
CHUNKS_PER_THREAD = 8
CUT_FRACTION = 1 / 1024  # as in `ops/nmr/segments.py`
STEEPEST = 1e30  # an end that moves an edge so little, by pixels, gets nothing from it
TERMS = 9  # of a face: x, y and z of its three corners

# Noted in a job: what is done, of which view, along which axis (0 along columns, 1 along rows), in
# how many parts; addresses of the lines; of the ids of faces that are seen, and their number; and
# of their terms.
STAGE, VIEW, AXIS, PARTS, LINES, SEEN, SEEN_COUNT, TERMS_AT = range(FIRST, FIRST + 8)

WHOLE_VIEW, LAY_OUT, SWEEP = range(3)  # stages: what a part of a job does


# --- a sweep along a line -------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def sweep(context: Any, own: Any, line: Any, span: Any, numbers: Any) -> Any:
    """The sums of `fall / D` over pixels of a line, for the start and the end of an edge.

    Args:
        own: whether pixels count only where they see the face; known to the compiler.
        line: `(image, cotangent, face, plane, channels, id)`: addresses of the line, the bytes
            from one channel to the next, how many channels, and the face.
        span: `(first, end, reference)`: pixels from `first` to before `end`, and the one whose
            colour they take.
        numbers: `(at, jacobian_a, jacobian_b, eps)`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, given, limits, edge = args
        kind, index = context.get_value_type(numbers.dtype), ir.IntType(64)
        size = ir.Constant(index, context.get_abi_sizeof(kind))
        image, cotangent, face, plane, channels, number = (
            builder.extract_value(given, k) for k in range(6)
        )
        first, end, reference = (builder.extract_value(limits, k) for k in range(3))
        at, *jacobian, eps = (spread(builder, builder.extract_value(edge, k)) for k in range(4))
        zero = Lanes(builder, ir.Constant(ir.VectorType(kind, LANES), [0.0] * LANES))
        sums = [cgutils.alloca_once_value(builder, zero.value) for _ in range(2)]
        fall_at = cgutils.alloca_once(builder, zero.value.type)
        ends = spread(builder, builder.trunc(end, ir.IntType(32)))
        id_ = spread(builder, builder.trunc(number, ir.IntType(32)))
        all_planes = builder.mul(plane, channels)
        back = builder.mul(reference, size)
        step, none = ir.Constant(index, LANES), ir.Constant(index, 0)

        with cgutils.for_range_slice(builder, first, end, step, index, inc=True) as (v, _):
            # Find how far the loss falls.
            builder.store(zero.value, fall_at)
            ahead = builder.mul(v, size)
            with cgutils.for_range_slice(builder, none, all_planes, plane, index, inc=True) as (
                channel,
                _,
            ):
                here = builder.add(image, channel)
                color = builder.inttoptr(builder.add(here, back), kind.as_pointer())
                change = read(builder, builder.add(here, ahead), kind)
                change = change - spread(builder, builder.load(color))
                weight = builder.add(builder.add(cotangent, channel), ahead)
                fall = Lanes(builder, builder.load(fall_at))
                fall = fall.plus_product(change, read(builder, weight, kind))
                builder.store(fall.value, fall_at)
            fall = Lanes(builder, builder.load(fall_at))
            place = spread(builder, builder.trunc(v, ir.IntType(32)))
            place = place + count_up(builder, ir.IntType(32))
            counts = (fall > 0) & (place < ends)
            if own.literal_value:
                there = builder.add(face, builder.mul(v, ir.Constant(index, 4)))
                counts = counts & read(builder, there, ir.IntType(32)).equals(id_)

            # Divide by the way, where there is any pixel that counts.
            found = builder.icmp_signed("!=", counts.bits(), none)
            with builder.if_then(found):
                fall = counts.where(fall, 0)
                way = Lanes(builder, builder.sitofp(place.value, zero.value.type)) - at
                for total, per_pixel in zip(sums, jacobian, strict=True):
                    distance = way * per_pixel
                    distance = distance + (distance > 0).where(eps, -eps)
                    held = Lanes(builder, builder.load(total))
                    builder.store((held + fall / distance).value, total)
        found = [Lanes(builder, builder.load(total)).sum() for total in sums]
        return context.make_tuple(builder, signature.return_type, found)

    pair = types.UniTuple(numbers.dtype, 2)
    return pair(own, line, span, numbers), generate


# --- an edge along an axis ------------------------------------------------------------------------


@numba.njit(error_model="numpy")
def gradient_of_edge(lines: Any, shape: Any, points: Any, face: Any, is_cut: bool, eps: Any) -> Any:
    """The gradients to the ends `a` and `b` of an edge along an axis, per screen unit.

    Args:
        lines: `(image, cotangent, faces, plane, channels)`, addresses of the first line.
        shape: `(count, pixels, by_column)` of the lines.
        points: `(au, av, bu, bv, cu, cv)`: its ends and the third corner.
        face: its number.
        is_cut: whether the camera plane cuts the face.
        eps: least way.
    """
    image, cotangent, faces, plane, channels = lines
    count, pixels, by_column = shape
    au, av, bu, bv, cu, cv = points
    zero, one, two = typed(0, eps), typed(1, eps), typed(2, eps)
    span, per_line = bu - au, typed(pixels, eps)
    total_a, total_b = zero, zero
    if span == zero:
        return total_a, total_b
    outward = np.int64(-1) if (au < bu) == by_column else np.int64(1)
    low, high = max(min(au, bu), zero), min(max(au, bu), typed(count - 1, eps))
    first = np.int64(np.ceil(min(low, typed(count, eps))))
    last = np.int64(max(high, -one))
    for line in range(first, last + 1):
        # Cross the edge with the line, between two pixels of the picture.
        u = typed(line, eps)
        at = av + (bv - av) * (u - au) / span
        if not ((at > -one) & (at < per_line)):
            continue
        inner = np.int64(np.floor(at) if outward > 0 else np.ceil(at))
        outer = inner + outward
        if (min(inner, outer) < 0) | (max(inner, outer) >= pixels):
            continue

        # Find how far either end must move; one that lies on the line gets nothing.
        to_b, to_a = bu - u, u - au
        b_counts = abs(span) < typed(STEEPEST, eps) * abs(to_a)
        a_counts = abs(span) < typed(STEEPEST, eps) * abs(to_b)
        of_a = (span / to_b if a_counts else one) * two / per_line
        of_b = (span / to_a if b_counts else one) * two / per_line
        numbers = at, of_a, of_b, eps
        here = line * pixels
        start = image + size_of(eps) * here, cotangent + size_of(eps) * here, faces + 4 * here
        given = start[0], start[1], start[2], plane, channels, np.int64(face)

        # Outwards: over all beyond, where the pixel right inside the edge sees the face.
        if load(start[2], inner, np.int32(0)) == face:
            begin = outer if outward > 0 else 0
            end = pixels if outward > 0 else inner
            sum_a, sum_b = sweep(0, given, (begin, end, inner), numbers)
            total_a, total_b = total_a - sum_a * a_counts, total_b - sum_b * b_counts

        # Inwards: over the face up to its far side, which may be the cut of one that is cut.
        from_a = (u - au) * (u - cu) < zero
        start_u, start_v = (au, av) if from_a else (cu, cv)
        rise, run = (cv - av, cu - au) if from_a else (bv - cv, bu - cu)
        limit = start_v + rise * (u - start_u) / run
        limit = np.ceil(limit) if outward > 0 else np.floor(limit)
        if is_cut:
            limit = -per_line if outward > 0 else two * per_line
        limit = zero if np.isnan(limit) else min(max(limit, -one), per_line)
        begin, end = max(min(inner, np.int64(limit)), 0), max(inner, np.int64(limit)) + 1
        sum_a, sum_b = sweep(1, given, (begin, min(end, pixels), outer), numbers)
        total_a, total_b = total_a - sum_a * a_counts, total_b - sum_b * b_counts
    return total_a, total_b


# --- a face ---------------------------------------------------------------------------------------


@numba.njit(error_model="numpy")
def cut_end(z: Any, other_z: Any, point: Any, other: Any) -> Any:
    """An end that is behind the camera, cut in front of it: see `clip.cut_edges`.

    Returns:
        Its coordinate, and how that changes with: its own, that of the other end, its own `z`, that
        of the other.
    """
    one, at = typed(1, z), typed(CUT_FRACTION, z)
    ratio = z / other_z
    t, dt = (one - at) / (one - ratio), (one - at) / ((one - ratio) * (one - ratio))
    cut = ((one - t) * other + t * ratio * point) / at
    of_ratio = (dt * (ratio * point - other) + t * point) / at
    return cut, t * ratio / at, (one - t) / at, of_ratio / other_z, -of_ratio * ratio / other_z


@numba.njit(error_model="numpy")
def add_face(scene: Any, lines: Any, face: Any, axis: Any, terms: int, eps: Any) -> None:
    """Adds to the terms of a face what its edges get along an axis.

    Args:
        scene: `(vertices, faces, vertex_count, height, width, perspective)`.
        lines: as of `gradient_of_edge`.
        face: its number.
        axis: 0 along columns, 1 along rows.
        terms: address of the terms: x, y, z of each corner.
        eps: least way.
    """
    vertices, faces, vertex_count, height, width, perspective = scene
    integer, zero, half = np.int32(0), typed(0, eps), typed(0.5, eps)
    w, h, most = typed(width, eps), typed(height, eps), typed(FARTHEST, eps)
    one = typed(1, eps)

    # Find the corners, in pixels with y up.
    a, b = load(faces, 3 * face, integer), load(faces, 3 * face + 1, integer)
    c = load(faces, 3 * face + 2, integer)
    a = 3 * np.int64(min(max(a, 0), vertex_count - 1))
    b = 3 * np.int64(min(max(b, 0), vertex_count - 1))
    c = 3 * np.int64(min(max(c, 0), vertex_count - 1))
    x0, y0 = half * w * load(vertices, a, eps), half * h * load(vertices, a + 1, eps)
    x1, y1 = half * w * load(vertices, b, eps), half * h * load(vertices, b + 1, eps)
    x2, y2 = half * w * load(vertices, c, eps), half * h * load(vertices, c + 1, eps)
    z0, z1, z2 = load(vertices, a + 2, eps), load(vertices, b + 2, eps), load(vertices, c + 2, eps)
    x0, y0 = min(max(x0, -most), most), min(max(y0, -most), most)
    x1, y1 = min(max(x1, -most), most), min(max(y1, -most), most)
    x2, y2 = min(max(x2, -most), most), min(max(y2, -most), most)

    # Leave out what is not drawn.
    area = (y2 - y0) * (x1 - x0) - (x2 - x0) * (y1 - y0)
    if not has_place((x0, y0, z0, x1, y1, z1, x2, y2, z2), area, perspective):
        return
    is_cut = perspective and (min(z0, z1, z2) <= zero)
    front = area > zero
    if perspective:
        front = front ^ (z0 < zero) ^ (z1 < zero) ^ (z2 < zero)

    # Take coordinates across and along the lines, and the corners counter-clockwise.
    x_middle, y_middle = half * (w - one), half * (h - one)
    x0, x1, x2 = x0 + x_middle, x1 + x_middle, x2 + x_middle
    y0, y1, y2 = y0 + y_middle, y1 + y_middle, y2 + y_middle
    flip = np.int64(0) if front else np.int64(2)  # corner `k` here is `abs(k - flip)` of the face
    if not front:
        x0, y0, z0, x2, y2, z2 = x2, y2, z2, x0, y0, z0
    if axis == 0:
        count, pixels = width, height
        u0, v0, u1, v1, u2, v2 = x0, y0, x1, y1, x2, y2
    else:
        count, pixels = height, width
        u0, v0, u1, v1, u2, v2 = y0, x0, y1, x1, y2, x2
    shape, units = (count, pixels, axis == 0), typed(2, eps) / typed(pixels, eps)

    for edge in range(3):
        own, next_ = abs(edge - flip), abs((edge + 1) % 3 - flip)
        if edge == 0:
            au, av, az, bu, bv, bz, cu, cv = u0, v0, z0, u1, v1, z1, u2, v2
        elif edge == 1:
            au, av, az, bu, bv, bz, cu, cv = u1, v1, z1, u2, v2, z2, u0, v0
        else:
            au, av, az, bu, bv, bz, cu, cv = u2, v2, z2, u0, v0, z0, u1, v1

        # Cut an edge that passes behind the camera; the gradient of the cut goes to both ends.
        if is_cut and ((az <= zero) | (bz <= zero)):
            if (az <= zero) & (bz <= zero):
                continue
            if az <= zero:
                cut_u, cut = cut_end(az, bz, au, bu)[0], cut_end(az, bz, av, bv)
                points = cut_u, cut[0], bu, bv, cu, cv
                of_cut, of_other = gradient_of_edge(lines, shape, points, face, is_cut, eps)
            else:
                cut_u, cut = cut_end(bz, az, bu, au)[0], cut_end(bz, az, bv, av)
                points = au, av, cut_u, cut[0], cu, cv
                of_other, of_cut = gradient_of_edge(lines, shape, points, face, is_cut, eps)
                own, next_ = next_, own
            place = 3 * own + 1 - axis
            store(terms, place, load(terms, place, eps) + of_cut * cut[1])
            place = 3 * next_ + 1 - axis
            store(terms, place, load(terms, place, eps) + (of_other + of_cut * cut[2]))
            of_cut *= units
            store(terms, 3 * own + 2, load(terms, 3 * own + 2, eps) + of_cut * cut[3])
            store(terms, 3 * next_ + 2, load(terms, 3 * next_ + 2, eps) + of_cut * cut[4])
        else:
            points = au, av, bu, bv, cu, cv
            of_a, of_b = gradient_of_edge(lines, shape, points, face, is_cut, eps)
            place = 3 * own + 1 - axis
            store(terms, place, load(terms, place, eps) + of_a)
            place = 3 * next_ + 1 - axis
            store(terms, place, load(terms, place, eps) + of_b)


# --- a view ---------------------------------------------------------------------------------------


@numba.njit(error_model="numpy")
def sizes_of(job: int) -> Any:
    """Height, width and channels of the pictures."""
    image = argument(job, 3)
    return length(image, 1), length(image, 2), length(image, 3)


@numba.njit(error_model="numpy")
def lines_of(job: int, like: Any) -> Any:
    """Where the lines lie: image, cotangent, faces; the bytes of a channel; and channels."""
    height, width, channels = sizes_of(job)
    plane, image = size_of(like) * height * width, get(job, LINES)
    return image, image + channels * plane, image + 2 * channels * plane, plane, channels


@numba.njit(error_model="numpy")
def lay_out(job: int, part: int, like: Any) -> None:
    """Lays a band of rows of the pictures out as lines, square by square."""
    height, width, channels = sizes_of(job)
    axis, view, none = get(job, AXIS), get(job, VIEW), np.int32(-1)
    image, cotangent, faces, _, _ = lines_of(job, like)
    face_from = view_of(argument(job, 2), view, none)
    image_from = view_of(argument(job, 3), view, like)
    cotangent_from = view_of(argument(job, 4), view, like)
    top = TILE * part
    for left in range(0, width, TILE):
        for row in range(top, min(top + TILE, height)):
            for column in range(left, min(left + TILE, width)):
                pixel = row * width + column
                line = (height - 1 - row) * width + column
                if axis == 0:
                    line = column * height + (height - 1 - row)
                store(faces, line, load(face_from, pixel, none))
                for channel in range(channels):
                    place = channel * height * width + line
                    store(image, place, load(image_from, channels * pixel + channel, like))
                    weight = load(cotangent_from, channels * pixel + channel, like)
                    store(cotangent, place, weight)


@numba.njit(error_model="numpy")
def list_seen(job: int) -> None:
    """Lists the faces that any pixel sees, in order."""
    height, width, _ = sizes_of(job)
    count, none = length(argument(job, 1), 1), np.int32(-1)
    face_from = view_of(argument(job, 2), get(job, VIEW), none)
    seen, marked = get(job, SEEN), np.int8(1)
    marks = malloc(8 * (count // 8 + 1))
    for number in range(count // 8 + 1):
        put(marks, number, 0)
    for pixel in range(height * width):
        face = load(face_from, pixel, none)
        if (face >= 0) & (face < count):
            store(marks, face, marked)
    found = 0
    for number in range(count // 8 + 1):
        if get(marks, number) != 0:
            for face in range(8 * number, min(8 * number + 8, count)):
                if load(marks, face, marked) != 0:
                    store(seen, found, np.int32(face))
                    found += 1
    put(job, SEEN_COUNT, found)
    free(marks)


@numba.njit(error_model="numpy")
def add_faces(job: int, part: int, like: Any) -> None:
    """The terms of a part of the faces that are seen, along an axis."""
    count, axis, view = get(job, SEEN_COUNT), get(job, AXIS), get(job, VIEW)
    height, width, _ = sizes_of(job)
    vertices, faces = view_of(argument(job, 0), view, like), np.int32(0)
    scene = (
        vertices,
        view_of(argument(job, 1), view, faces),
        length(argument(job, 0), 1),
        height,
        width,
        option(job, 0) != 0,
    )
    lines, eps = lines_of(job, like), load(view_of(argument(job, 5), view, like), 0, like)
    for entry in range(count * part // get(job, PARTS), count * (part + 1) // get(job, PARTS)):
        terms = get(job, TERMS_AT) + size_of(like) * TERMS * entry
        if axis == 0:
            for k in range(TERMS):
                store(terms, k, typed(0, like))
        face = np.int64(load(get(job, SEEN), entry, faces))
        add_face(scene, lines, face, axis, terms, eps)


@numba.njit(error_model="numpy")
def add_terms(job: int, like: Any) -> None:
    """Adds the terms of faces up by vertex, in order."""
    view, integer = get(job, VIEW), np.int32(0)
    faces, gradient = view_of(argument(job, 1), view, integer), view_of(result(job, 0), view, like)
    count = length(result(job, 0), 1)
    for number in range(3 * count):
        store(gradient, number, typed(0, like))
    for entry in range(get(job, SEEN_COUNT)):
        face = np.int64(load(get(job, SEEN), entry, integer))
        terms = get(job, TERMS_AT) + size_of(like) * TERMS * entry
        for corner in range(3):
            vertex = min(max(np.int64(load(faces, 3 * face + corner, integer)), 0), count - 1)
            for k in range(3):
                place = 3 * vertex + k
                more = load(terms, 3 * corner + k, like)
                store(gradient, place, load(gradient, place, like) + more)


@numba.njit(error_model="numpy")
def differentiate(job: int, view: int, threads: int, like: Any) -> None:
    """The gradient of a view, with several threads or by itself."""
    height, width, channels = sizes_of(job)
    size, pixels = size_of(like), height * width
    most = min(pixels, length(argument(job, 1), 1))
    lines = malloc(2 * channels * size * pixels + 4 * pixels + size * LANES)
    seen = malloc(4 * most + 8)
    put(job, VIEW, view)
    put(job, LINES, lines)
    put(job, SEEN, seen)
    list_seen(job)
    terms = malloc(size * TERMS * get(job, SEEN_COUNT) + 8)
    put(job, TERMS_AT, terms)
    chunks = 1 if threads == 1 else CHUNKS_PER_THREAD * threads
    put(job, PARTS, chunks)
    for axis in range(2):
        put(job, AXIS, axis)
        for stage in range(LAY_OUT, SWEEP + 1):
            put(job, STAGE, stage)
            parts = chunks if stage == SWEEP else (height + TILE - 1) // TILE
            if threads > 1:
                run_job(job, parts, threads)
            else:
                for part in range(parts):
                    if stage == SWEEP:
                        add_faces(job, part, like)
                    else:
                        lay_out(job, part, like)
    add_terms(job, like)
    free(terms)
    free(seen)
    free(lines)


# --- calls ----------------------------------------------------------------------------------------


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """A view, or of one a band or some of its faces."""
    stage = get(job, STAGE)
    if stage == WHOLE_VIEW:
        own = copy_notes(job)
        differentiate(own, part, 1, like)
        free(own)
    elif stage == LAY_OUT:
        lay_out(job, part, like)
    else:
        add_faces(job, part, like)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The gradient of all views: each by one thread, or one after the other by all threads."""
    height, width, _ = sizes_of(job)
    views = length(result(job, 0), 0)
    threads = threads_for(job, option(job, 1)) if views * height * width > MIN_PIXELS else 1
    if (threads == 1) | (views >= 2 * threads):
        put(job, STAGE, WHOLE_VIEW)
        run_job(job, views, threads)
    else:
        for view in range(views):
            differentiate(job, view, threads, like)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def visibility(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return visibility
