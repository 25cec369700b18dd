"""The soft blend, forwards: Eq. 2 to 4 of SoftRas for coverage by the logistic function.

`ops/soft` derives it; there two scans find the nearest depth `m` of a pixel, and add up. Here one
does: where a triangle comes before all so far, what was added up is scaled to the new `m`,

    p_j = D_j exp(-s (z_j - m'))  =  D_j exp(-s (z_j - m)) exp(-s (m - m'))

Results are planes `[B, n, H, W + 8]`: `total = Σ -log(1 - D_j)`, and where there are colours `m`,
`Σ p_j`, `Σ p_j (z_j - m)` and `Σ p_j c_j`. Triangles of a pixel come in their order, whoever draws
it: so the bits do not depend on that.

Shapes: `B` views, `N` triangles, `C` channels, `H, W` image.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from jaxrender.ops.cpu import programs
from jaxrender.ops.cpu.fragments import (
    BACKGROUND_DEPTH,
    BOUNDS,
    CHANNELS,
    COLORED,
    CUT,
    SHADED,
    TEMPERATURE,
    TRIANGLES,
    WHOLE,
    Planes,
    Triangle,
    barycentrics_of,
    box_of,
    call_shader,
    depth_of,
    distances_at,
    interpolate,
    is_near,
    middle_of,
    pixels_at,
    put_face,
    reach_of,
    read_channel,
    read_triangle,
    scene_of,
    set_up,
    vectors_at,
    words_for_shader,
)
from jaxrender.ops.cpu.lanes import LANES, Lanes, lane_bytes, spread
from jaxrender.ops.cpu.machine import (
    FIRST,
    answer,
    argument,
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

BANDS, SHADER = range(FIRST, FIRST + 2)  # of a view; noted in a job
BAND_BYTES = 1 << 18  # of the planes of a band: half of a processor's second cache
MIN_ROWS, BANDS_PER_THREAD = 8, 8
MIN_WORK = 1 << 14  # of what several threads are asked for, in pixels

TOTAL, NEAREST, WEIGHT, BEHIND, COLORS = range(5)  # planes


@intrinsic(prefer_literal=True)
def blend_row(context: Any, asked: Any, record: Any, planes: Any, numbers: Any, place: Any) -> Any:
    """Adds a triangle to the pixels of a row.

    Args:
        asked: `WHOLE`, `CUT`, `COLORED` or `SHADED`; known to the compiler.
        record: of the triangle.
        planes: address of the first pixel in the first plane.
        numbers: `(steps, plane_bytes, channels, varyings, words)`: how many times 8 pixels, how far
            one plane is from the next, and what a shader is called with.
        place: `(x, y)` of the first pixel.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, record_at, first_plane, counts, point = args
        kind = context.get_value_type(place.dtype)
        steps, plane_bytes, *shader = (builder.extract_value(counts, k) for k in range(5))
        x0, y = (builder.extract_value(point, k) for k in range(2))
        triangle, y = read_triangle(builder, record_at, kind), spread(builder, y)
        vector_bytes = LANES * lane_bytes(kind)
        with cgutils.for_range(builder, steps) as loop:
            distances = distances_at(triangle, pixels_at(builder, x0, loop.index, kind), y)
            t, inside, reached = reach_of(triangle, distances)
            some = builder.icmp_signed("!=", reached.bits(), reached.bits().type(0))
            with builder.if_then(some):
                ahead = builder.mul(loop.index, ir.Constant(loop.index.type, vector_bytes))
                at = Planes(builder, kind, builder.add(first_plane, ahead), plane_bytes)
                e, fragments = (-t).exp(), None
                if asked.literal_value != WHOLE:
                    barycentrics, _ = barycentrics_of(triangle, distances)
                    depth, drawn = depth_of(triangle, barycentrics)
                    reached = reached & drawn
                    fragments = barycentrics, depth, reached
                at.add(TOTAL, reached.where(_softplus(t, e, inside), 0))
                if asked.literal_value in (COLORED, SHADED):
                    coverage = inside.where(1, e) / (e + 1)
                    colors = record_at, asked.literal_value == SHADED, *shader
                    _blend(builder, triangle, coverage, fragments, at, colors)
        return context.get_dummy_value()

    return types.void(asked, types.int64, types.int64, numbers, place), generate


def _softplus(t: Lanes, e: Lanes, inside: Lanes) -> Lanes:
    """`log(1 + exp(±t))` by the series of `softplus` in `outlines.py`, with `e = exp(-t)`."""
    s = e / (e + 2)
    square, series = s * s, s.full(0)
    for k in reversed(range(7 if t.kind == ir.FloatType() else 17)):
        series = s.full(1 / (2 * k + 1)).plus_product(series, square)
    return inside.where(t, 0) + s * 2 * series


def _blend(
    builder: Any,
    triangle: Triangle,
    coverage: Lanes,
    fragments: Any,
    at: Planes,
    colors: Any,
) -> None:
    """Adds to the planes of colours: (Liu et al. 2019, Eq. 2 and 3)."""
    barycentrics, depth, drawn = fragments
    record, shaded, channels, varyings, words = colors
    temperature = triangle.record[TEMPERATURE]

    # Scale what was added up, where this comes before the nearest so far.
    held = at.read(NEAREST)
    nearest = drawn.where(depth.at_most(held), held)
    closer = (nearest < held).bits()
    with builder.if_then(builder.icmp_signed("!=", closer, closer.type(0)), likely=False):
        step = held - nearest
        scale = (-(temperature * step)).exp()
        weight = at.read(WEIGHT)
        at.write(NEAREST, nearest)
        at.write(WEIGHT, weight * scale)
        at.write(BEHIND, at.read(BEHIND).plus_product(weight, step) * scale)
        with cgutils.for_range(builder, channels) as loop:
            plane = builder.add(loop.index, ir.Constant(loop.index.type, COLORS))
            at.write(plane, at.read(plane) * scale)

    # Add this triangle.
    behind = (depth - nearest).at_least(0)
    weight = drawn.where(coverage * (-(temperature * behind)).exp(), 0)
    at.add(WEIGHT, weight)
    at.add(BEHIND, weight * drawn.where(behind, 0))
    if shaded:
        call_shader(record, barycentrics, drawn, words, varyings)
    with cgutils.for_range(builder, channels) as loop:
        if shaded:
            color = vectors_at(builder, words, programs.COLORS, at.kind).read(loop.index)
        else:
            corners = read_channel(builder, record, loop.index, at.kind)
            color = interpolate(barycentrics, *corners)
        plane = builder.add(loop.index, ir.Constant(loop.index.type, COLORS))
        at.add(plane, weight * color)


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """Blends the triangles of a band of rows of a view."""
    bands, planes, bounds = get(job, BANDS), result(job, 0), argument(job, BOUNDS)
    view, band = part // bands, part % bands
    height, width = length(planes, 2), length(planes, 3)
    begin, end = height * band // bands, height * (band + 1) // bands
    scene, size = scene_of(job, view, like), size_of(like)
    count, varyings, channels = scene[3], scene[4], length(planes, 1) - COLORS
    into, boxes = view_of(planes, view, like), view_of(bounds, view, np.int32(0))
    plane, perspective, asked = size * height * width, option(job, 0) != 0, option(job, 1)
    middle_x, middle_y = middle_of(planes, like)

    # Begin with nothing, before the background.
    background = load(scene[2], BACKGROUND_DEPTH, like)
    for number in range(length(planes, 1)):
        value = background if number == NEAREST else typed(0, like)
        for pixel in range(begin * width, end * width):
            store(into, number * height * width + pixel, value)

    record = malloc(size * (CHANNELS + 3 * varyings))
    words = words_for_shader(job, view, get(job, SHADER), max(channels, 0), like)
    for face in range(count):
        top, bottom, left, right = box_of(boxes, face)
        top, bottom = max(top, begin), min(bottom, end - 1)
        if (top > bottom) | (left > right):
            continue
        set_up(record, scene, face, perspective, like)
        put_face(job, words, view, face)
        whole, steps = is_near(record, like), (right - left + LANES) // LANES
        numbers = steps, plane, channels, varyings, words
        x = typed(left, like) - middle_x
        for row in range(top, bottom + 1):
            at, y = into + size * (row * width + left), typed(row, like) - middle_y
            if asked == SHADED:
                blend_row(SHADED, record, at, numbers, (x, y))
            elif asked == COLORED:
                blend_row(COLORED, record, at, numbers, (x, y))
            elif whole:
                blend_row(WHOLE, record, at, numbers, (x, y))
            else:
                blend_row(CUT, record, at, numbers, (x, y))
    free(record)
    free(words)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """Blends all views: by bands that stay in cache, and enough of them for all threads."""
    planes, count = result(job, 0), length(argument(job, TRIANGLES), 2)
    views, height, width = length(planes, 0), length(planes, 2), length(planes, 3)
    work = views * (height * width + 16 * count)
    threads = threads_for(job, option(job, 2)) if work > MIN_WORK else 1
    rows = BAND_BYTES // (size_of(like) * length(planes, 1) * width)
    if threads > 1:
        rows = min(rows, height * views // (BANDS_PER_THREAD * threads))
    bands = max(1, height // max(rows, MIN_ROWS))
    put(job, BANDS, bands)
    put(job, SHADER, programs.program_address(option(job, 3)) if option(job, 1) == SHADED else 0)
    run_job(job, views * bands, threads)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def blend(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return blend
