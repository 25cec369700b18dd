"""The z-buffer's kernel: the faces of a band of rows, one after the other, in machine code.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image.

A face is set up as `ops/triangle.py` says, its edge functions are evaluated row by row, 8 pixels
at a time, and the nearest reversed depth (see `ops/hard`) so far and the key of its face stand
where depth and face are to be returned. What a band of rows holds stays in a processor's own cache:
so the picture is drawn band by band, each from the faces that touch it. In a picture of one band
that is every face; otherwise faces are sorted by band before, by counting them, and those that
cover no pixel centre are left out.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types

from jaxrender.ops.cpu.faces import (
    EDGES,
    FIRST_COLUMN,
    INTEGERS,
    KEY,
    LAST_COLUMN,
    LOWER,
    NO_KEY,
    SCRATCH_BYTES,
    UPPER,
    bound_in_front,
    face_of,
    set_up,
)
from jaxrender.ops.cpu.lanes import LANES, count_up, read, spread, write
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
    lowest_bit,
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

BAND_BYTES = 1 << 18  # of what a band holds: half of a processor's second cache
PIXELS_PER_FACE = 64  # fewer, and sorting the faces by band takes longer than it saves
STEADY = 1e5  # pixels: up to such coordinates it is known to within one where a row enters a face
TINY_32, TINY_64 = float(np.finfo(np.float32).tiny), float(np.finfo(np.float64).tiny)
MAX_BANDS = 1 << 12
MIN_WORK = 1 << 15  # of what several threads are asked for, in pixels
CHUNKS_PER_THREAD = 4
BANDS_PER_THREAD = 8

# Noted in a job: what is done; how a picture is cut; what is sorted.
STAGE, VIEW, BAND_ROWS, BANDS = range(FIRST, FIRST + 4)
SPANS, CHUNKS, ENDS, QUEUE = range(FIRST + 4, FIRST + 8)

DRAW_VIEW, COUNT_FACES, PLACE_FACES, DRAW_BAND = range(4)  # stages: what a part of a job does


# --- vectors --------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def offer(context: Any, lanes: Any, depth: Any, key: Any, numbers: Any, new_key: Any) -> Any:
    """Offers a face to neighbouring pixels of a row: a z-test.

    Args:
        lanes: how many pixels; known to the compiler.
        depth: address of their reversed depths, changed in place.
        key: address of their keys, likewise.
        numbers: `(x, x_a, x_b, r0, r1, r2, dy0, dy1, dy2, n0, s1, s2, near)`: the x of the first
            pixel, the ends of edge 0 and of the others, what the edge functions have in common
            along the row, the edges' heights, the reversed depth and its slopes, and what it must
            be below.
        new_key: of the face.
    """
    count = lanes.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, depth_at, key_at, given, key_value = args
        kind = context.get_value_type(numbers.dtype)
        x, x_a, x_b, r0, r1, r2, dy0, dy1, dy2, n0, s1, s2, near = (
            spread(builder, builder.extract_value(given, k), count) for k in range(numbers.count)
        )
        x = x + count_up(builder, kind, count)
        e0 = r0.minus_product(x - x_a, dy0)
        e1 = r1.minus_product(x - x_b, dy1)
        e2 = r2.minus_product(x - x_b, dy2)
        offered = n0.plus_product(e1, s1).plus_product(e2, s2)

        # Test: inside, behind the near plane, and nearer, or as near and of a lower key.
        held, held_key = (
            read(builder, depth_at, kind, count),
            read(builder, key_at, ir.IntType(32), count),
        )
        offered_key = spread(builder, key_value, count)
        nearer = (offered > held) | (offered.equals(held) & (offered_key < held_key))
        seen = nearer & (offered < near) & (e0 >= 0) & (e1 >= 0) & (e2 >= 0)
        # Fence reads from writes, or LLVM makes masked writes of these, which some processors
        # are slow at; it is no instruction.
        builder.fence("seq_cst", "singlethread")
        write(builder, depth_at, seen.where(offered, held))
        write(builder, key_at, seen.where(offered_key, held_key))
        return context.get_dummy_value()

    return types.void(lanes, types.int64, types.int64, numbers, types.int32), generate


# --- drawing --------------------------------------------------------------------------------------


@numba.njit(error_model="numpy")
def scene_of(job: int, view: int, like: Any) -> Any:
    """What setting a face up reads: addresses, sizes and limits of a view."""
    vertices = view_of(argument(job, 0), view, like)
    faces = view_of(argument(job, 1), view, np.int32(0))
    limits = view_of(argument(job, 2), view, like)
    near, far = load(limits, 0, like), load(limits, 1, like)
    height, width = length(result(job, 0), 1), length(result(job, 0), 2)
    size = typed(width, like), typed(height, like)
    perspective = option(job, 0) != 0
    return vertices, faces, length(argument(job, 0), 1), size[0], size[1], near, far, perspective


@numba.njit(error_model="numpy")
def draw_face(scratch: int, lane: int, rows: Any, target: Any, numbers: Any) -> None:
    """Draws a face that is set up, where it lies within rows."""
    near, middle_x, middle_y = numbers
    depth, keys, width = target
    zero = np.int32(0)
    upper = np.int64(load(scratch, LANES * UPPER + lane, zero))
    lower = np.int64(load(scratch, LANES * LOWER + lane, zero))
    upper, lower = max(upper, rows[0]), min(lower, rows[1])
    first = np.int64(load(scratch, LANES * FIRST_COLUMN + lane, zero))
    last = np.int64(load(scratch, LANES * LAST_COLUMN + lane, zero))
    key = load(scratch, LANES * KEY + lane, zero)
    edges = scratch + 4 * LANES * INTEGERS + size_of(near) * (LANES * EDGES + lane)
    x_a, y_a = load(edges, 0, near), load(edges, LANES, near)
    x_b, y_b = load(edges, 2 * LANES, near), load(edges, 3 * LANES, near)
    dx0, dx1 = load(edges, 4 * LANES, near), load(edges, 5 * LANES, near)
    dx2, dy0 = load(edges, 6 * LANES, near), load(edges, 7 * LANES, near)
    dy1, dy2 = load(edges, 8 * LANES, near), load(edges, 9 * LANES, near)
    n0, slope1 = load(edges, 10 * LANES, near), load(edges, 11 * LANES, near)
    slope2 = load(edges, 12 * LANES, near)

    # Of a wide face, find out where rows enter and leave it.
    one = typed(1, near)
    wide, i0, i1, i2 = last - first >= 3 * LANES, one, one, one
    if wide:
        wide = load(edges, 13 * LANES, near) < typed(STEADY, near)
        i0, i1, i2 = one / dy0, one / dy1, one / dy2
    for row in range(upper, lower + 1):
        y = typed(row, near) - middle_y
        r0, r1, r2 = (y - y_a) * dx0, (y - y_b) * dx1, (y - y_b) * dx2
        begin, end = first, last
        if wide:
            low, high = typed(first, near), typed(last, near)
            low, high = narrow(low, high, x_a + r0 * i0 + middle_x, dy0)
            low, high = narrow(low, high, x_b + r1 * i1 + middle_x, dy1)
            low, high = narrow(low, high, x_b + r2 * i2 + middle_x, dy2)
            begin, end = np.int64(low), np.int64(high)
        while begin <= end:
            column = min(begin, width - LANES) if width >= LANES else begin
            x = typed(column, near) - middle_x
            given = (x, x_a, x_b, r0, r1, r2, dy0, dy1, dy2, n0, slope1, slope2, near)
            at = row * width + column
            if width >= LANES:
                offer(LANES, depth + size_of(near) * at, keys + 4 * at, given, key)
                begin += LANES
            else:
                offer(1, depth + size_of(near) * at, keys + 4 * at, given, key)
                begin += 1


@numba.njit(error_model="numpy")
def narrow(low: Any, high: Any, crossing: Any, dy: Any) -> Any:
    """The columns of a row that may lie inside of an edge, which it crosses at a column."""
    one = typed(1, low)
    if (dy > 0) & (crossing + one < high):
        high = max(crossing + one, low - one)
    if (dy < 0) & (crossing - one > low):
        low = min(crossing - one, high + one)
    return low, high


@numba.njit(error_model="numpy")
def draw_band(job: int, view: int, band: int, like: Any) -> None:
    """Draws the rows of a band of a view: from its queue, where there is one."""
    size, face = size_of(like), result(job, 0)
    height, width = length(face, 1), length(face, 2)
    scene = scene_of(job, view, like)
    near, far, perspective = scene[5], scene[6], scene[7]
    first_row = band * get(job, BAND_ROWS)
    rows = first_row, min(first_row + get(job, BAND_ROWS), height) - 1
    depth, keys = view_of(result(job, 1), view, like), view_of(face, view, np.int32(0))

    # Nothing is drawn that is no nearer than `far`, and nothing ties with what is not drawn.
    # What is nearer than the least number has a finite depth.
    half, one, no_key = typed(0.5, like), typed(1, like), np.int32(NO_KEY)
    reversed_far, reversed_near = -far, -near
    if perspective:
        least = typed(TINY_32 if size == 4 else TINY_64, like)
        reversed_far, reversed_near = max(one / far, least), one / near
    for pixel in range(first_row * width, (rows[1] + 1) * width):
        store(depth, pixel, reversed_far)
        store(keys, pixel, no_key)

    # Draw the faces, several set up at once.
    numbers = reversed_near, half * (scene[3] - one), half * (scene[4] - one)
    entry, last = np.int64(0), length(argument(job, 1), 1)
    queue, ends, chunks = get(job, QUEUE), get(job, ENDS), get(job, CHUNKS)
    if queue != 0:
        entry = get(ends, chunks * band - 1) if band > 0 else 0
        last = get(ends, chunks * (band + 1) - 1)
    options, scratch = (option(job, 1), option(job, 2)), malloc(SCRATCH_BYTES)
    while entry < last:
        bits, crossing = set_up(1, scratch, (queue, entry, last), scene, options)
        while bits != 0:
            lane = lowest_bit(bits)
            bits &= bits - 1
            if (crossing >> lane) & 1:
                bound_in_front(scratch, lane, scene)
            draw_face(scratch, lane, rows, (depth, keys, width), numbers)
        entry += LANES
    free(scratch)

    # Turn reversed depths and keys into depths and faces.
    empty = load(view_of(argument(job, 2), view, like), 2, like)
    for pixel in range(first_row * width, (rows[1] + 1) * width):
        key, held = load(keys, pixel, no_key), load(depth, pixel, like)
        found = one / held if perspective else -held
        store(depth, pixel, empty if key == no_key else found)
        store(keys, pixel, face_of(key))


# --- sorting by band ------------------------------------------------------------------------------


@numba.njit(error_model="numpy")
def sort_faces(job: int, chunk: int, place: bool, like: Any) -> None:
    """Counts the faces of a chunk in each band, then places them into the queues of the bands.

    The counts of chunks within bands lie band by band. Before faces are placed they become where
    each begins, afterwards they are where each ends.
    """
    rows, bands, chunks = get(job, BAND_ROWS), get(job, BANDS), get(job, CHUNKS)
    spans, ends, queue = get(job, SPANS), get(job, ENDS), get(job, QUEUE)
    count = length(argument(job, 1), 1)
    scene = scene_of(job, get(job, VIEW), like)
    if not place:
        for band in range(bands):
            put(ends, chunks * band + chunk, 0)
    first, last = count * chunk // chunks, count * (chunk + 1) // chunks
    options, scratch, zero = (0, 0), malloc(SCRATCH_BYTES), np.int32(0)
    for start in range(first, last, LANES):
        if not place:
            # Note the first and the last band of each, the last one above the first for none.
            bits, crossing = set_up(0, scratch, (0, start, last), scene, options)
            for lane in range(min(LANES, last - start)):
                drawn = (bits >> lane) & 1 != 0
                if drawn & ((crossing >> lane) & 1 != 0):
                    drawn = bound_in_front(scratch, lane, scene)
                upper = np.int64(load(scratch, LANES * UPPER + lane, zero))
                lower = np.int64(load(scratch, LANES * LOWER + lane, zero))
                span = (upper // rows) | (lower // rows) << 16 if drawn else 1
                store(spans, start + lane, np.int32(span))
        for face in range(start, min(start + LANES, last)):
            span = np.int64(load(spans, face, zero))
            for band in range(span & 0xFFFF, (span >> 16) + 1):
                at = chunks * band + chunk
                if place:
                    store(queue, get(ends, at), np.int32(face))
                put(ends, at, get(ends, at) + 1)
    free(scratch)


@numba.njit(error_model="numpy")
def draw_view(job: int, view: int, threads: int, like: Any) -> None:
    """Draws a view, with several threads or by itself."""
    bands, chunks = get(job, BANDS), get(job, CHUNKS)
    put(job, VIEW, view)
    put(job, QUEUE, 0)
    put(job, SPANS, malloc(4 * length(argument(job, 1), 1)) if bands > 1 else 0)
    put(job, ENDS, malloc(8 * chunks * bands) if bands > 1 else 0)
    ends = get(job, ENDS)
    for stage in range(COUNT_FACES, DRAW_BAND + 1):
        count = bands if stage == DRAW_BAND else chunks
        sorts = stage != DRAW_BAND
        # Without memory to sort faces in, draw all of them in each band.
        if sorts & ((get(job, SPANS) == 0) | (ends == 0)):
            continue
        if stage == PLACE_FACES:
            total = np.int64(0)
            for place in range(chunks * bands):
                here = get(ends, place)
                put(ends, place, total)
                total += here
            put(job, QUEUE, malloc(4 * (total + LANES)))
            if get(job, QUEUE) == 0:
                continue
        put(job, STAGE, stage)
        if threads > 1:
            run_job(job, count, threads)
        else:
            for part in range(count):
                if sorts:
                    sort_faces(job, part, stage == PLACE_FACES, like)
                else:
                    draw_band(job, view, part, like)
    if bands > 1:
        free(get(job, SPANS))
        free(ends)
        free(get(job, QUEUE))


# --- calls ----------------------------------------------------------------------------------------


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """Draws a view or a band of one, or sorts some faces of one."""
    stage = get(job, STAGE)
    if stage == DRAW_VIEW:
        own = copy_notes(job)
        draw_view(own, part, 1, like)
        free(own)
    elif stage == DRAW_BAND:
        draw_band(job, get(job, VIEW), part, like)
    else:
        sort_faces(job, part, stage == PLACE_FACES, like)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """Draws all views: each by one thread, or one after the other by all threads."""
    face, faces = result(job, 0), length(argument(job, 1), 1)
    views, height, width = length(face, 0), length(face, 1), length(face, 2)

    # Cut pictures into bands that stay in cache, and one that all threads share into enough.
    cost = height * width // 4 + 8 * faces
    threads = threads_for(job, option(job, 3)) if views * cost > MIN_WORK else 1
    by_view = (threads == 1) | (views >= 2 * threads) | (cost < MIN_WORK)
    rows = height
    if height * width > PIXELS_PER_FACE * faces:
        rows = max(1, BAND_BYTES // ((size_of(like) + 4) * width))
    if not by_view:
        rows = min(rows, max(8, height // (BANDS_PER_THREAD * threads)))
    rows = max(rows, (height + MAX_BANDS - 1) // MAX_BANDS)
    put(job, BAND_ROWS, rows)
    put(job, BANDS, (height + rows - 1) // rows)
    put(job, CHUNKS, 1)
    if by_view:
        put(job, STAGE, DRAW_VIEW)
        run_job(job, views, threads)
    else:
        put(job, CHUNKS, max(1, min(CHUNKS_PER_THREAD * threads, faces // 1024)))
        for view in range(views):
            draw_view(job, view, threads, like)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def zbuffer(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return zbuffer
