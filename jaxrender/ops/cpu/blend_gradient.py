"""The soft blend, backwards: what a triangle gets of the pixels that it reaches, see `ops/soft`.

A thread sums up all of a triangle, row by row from the first pixel to the last, so the bits do not
depend on who does. Each pixel has, in planes `[B, n, H, W + 8]`, the cotangent of its total, and
where there are colours `m`, `1 / S`, the mean `v`, and the cotangents of its C colours and of
`behind`. Behind the pictures planes are 0.

Results are sums by texel `[B, R, C']`, or `[B, 0, 0]` where nobody asks; and `[B, N, 11 + 3 K + U]`
by triangle: of the corners' x and y, of their z, of what they have of each of K varyings, of what
sigma and the inverse temperature get by way of the triangle, and of what the U uniforms of a shader
do. Many triangles may read a texel: where that is asked for, they are dealt in few parts, each of
which has a table of its own, see `sums.py`.

A name `d_x` is the cotangent of `x`, ∂L/∂x.
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
    BOUNDS,
    CHANNELS,
    COLORED,
    CUT,
    INVERSE_AREA,
    INVERSE_DEPTH,
    INVERSE_SIGMA,
    OVER_Z,
    PLANES,
    SHADED,
    TEMPERATURE,
    WHOLE,
    Distances,
    Planes,
    Triangle,
    Z,
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
    malloc,
    option,
    put,
    result,
    size_of,
    store,
    symbol_address,
    typed,
    view_of,
)
from jaxrender.ops.cpu.sums import PARTS, run_sums, table_of, table_size

SHADER = FIRST + 2  # noted in a job, behind what `sums.py` notes
PART_TRIANGLES = 8
MAX_TABLES, TABLE_NUMBERS = 8, 1 << 21  # of all parts of all views, as long as more than two
MIN_WORK = 1 << 14  # of what several threads are asked for, in pixels

D_TOTAL, NEAREST, INVERSE_SUM, MEAN, D_COLORS = range(5)  # planes

# The sums: of x, of y and of z of the three corners, and others.
D_X, D_Y, D_Z, D_SIGMA, D_TEMPERATURE, D_CORNERS = 0, 3, 6, 9, 10, 11


@intrinsic(prefer_literal=True)
def sum_row(
    context: Any, asked: Any, record: Any, sums: Any, planes: Any, numbers: Any, place: Any
) -> Any:
    """Adds what a triangle gets of the pixels of a row.

    Args:
        asked: `WHOLE`, `CUT`, `COLORED` or `SHADED`; known to the compiler.
        record: of the triangle.
        sums: address of the sums, each of 8 lanes.
        planes: address of the first pixel in the first plane.
        numbers: `(steps, plane_bytes, channels, of_varyings, varyings, words)`: how many times 8
            pixels, how far one plane is from the next, whether what the corners have is asked for,
            and what a shader is called with.
        place: `(x, y)` of the first pixel.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, record_at, sums_at, first_plane, counts, point = args
        kind = context.get_value_type(place.dtype)
        steps, plane_bytes, *shader = (builder.extract_value(counts, k) for k in range(6))
        x0, y = (builder.extract_value(point, k) for k in range(2))
        triangle, y = read_triangle(builder, record_at, kind), spread(builder, y)
        vector_bytes = ir.Constant(steps.type, LANES * lane_bytes(kind))
        into = Planes(builder, kind, sums_at, vector_bytes)
        with cgutils.for_range(builder, steps) as loop:
            distances = distances_at(triangle, pixels_at(builder, x0, loop.index, kind), y)
            t, inside, reached = reach_of(triangle, distances)
            some = builder.icmp_signed("!=", reached.bits(), reached.bits().type(0))
            with builder.if_then(some):
                ahead = builder.mul(loop.index, vector_bytes)
                pixels = Planes(builder, kind, builder.add(first_plane, ahead), plane_bytes).read
                e = (-t).exp()
                coverage = inside.where(1, e) / (e + 1)
                # ∂L/∂t = G_a g'(t) + q F'(t) / F, where g' = F, and F' = F (1 - F).
                d_t = pixels(D_TOTAL) * coverage
                if asked.literal_value != WHOLE:
                    barycentrics, scale = barycentrics_of(triangle, distances)
                    depth, drawn = depth_of(triangle, barycentrics)
                    reached = reached & drawn
                    looked_up = barycentrics, scale, depth, reached
                    if asked.literal_value in (COLORED, SHADED):
                        d_log = _sum_blend(
                            triangle,
                            distances,
                            looked_up,
                            coverage,
                            pixels,
                            into,
                            (record_at, asked.literal_value == SHADED, *shader),
                        )
                        d_t = d_t + d_log * (1 - coverage)
                d_t = reached.where(d_t, 0)
                into.add(D_SIGMA, d_t * inside.where(t, -t))
                _sum_closest(triangle, distances, inside.where(d_t, -d_t), into)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(asked, integer, integer, integer, numbers, place), generate


def _sum_closest(triangle: Triangle, distances: Distances, d_t: Lanes, into: Planes) -> None:
    """Adds what the corners get by the closest point, at 1 - a and a of the ends of its edge."""
    d0, d1, d2 = distances.squares
    third = (d2 <= d0) & (d2 <= d1)
    second = ~third & (d1 < d0)
    first = ~third & ~second

    def closest(values: list[Lanes]) -> Lanes:
        return third.where(values[2], second.where(values[1], values[0]))

    along = closest(distances.along)
    rest = 1 - along
    # t = ±|x - c|²/σ, so ∂t/∂c = ∓2 (x - c) / σ.
    rate = d_t * triangle.record[INVERSE_SIGMA] * -2
    weights = (
        first.where(0, third.where(rest, along)),
        second.where(0, first.where(rest, along)),
        third.where(0, second.where(rest, along)),
    )
    for number, way in ((D_X, distances.way_x), (D_Y, distances.way_y)):
        d_closest = rate * closest(way)
        for k in range(3):
            into.add(number + k, d_closest * weights[k])


def _sum_blend(
    triangle: Triangle,
    distances: Distances,
    looked_up: Any,
    coverage: Lanes,
    pixels: Any,
    into: Planes,
    shader: Any,
) -> Lanes:
    """Adds what comes by colours and depth; `q_j`."""
    barycentrics, scale, depth, reached = looked_up
    record, shaded, channels, of_varyings, varyings, words = shader
    builder, kind = coverage.builder, coverage.kind
    temperature = triangle.record[TEMPERATURE]
    behind = reached.where((depth - pixels(NEAREST)).at_least(0), 0)
    weight = coverage * (-(temperature * behind)).exp() * pixels(INVERSE_SUM)
    weight = reached.where(weight, 0)  # p_j / S

    def d_pixel_of(channel: Any) -> Lanes:
        return pixels(builder.add(channel, ir.Constant(channel.type, D_COLORS)))

    vector = coverage.value.type
    above, u1_at, u2_at = (cgutils.alloca_once(builder, vector) for _ in range(3))
    builder.store((-pixels(MEAN)).value, above)
    for held in (u1_at, u2_at):
        builder.store(weight.full(0).value, held)

    def add_product(held: Any, one: Lanes, other: Lanes) -> None:
        total = Lanes(builder, builder.load(held)).plus_product(one, other)
        builder.store(total.value, held)

    def sum_varying(number: Any, d_varying: Lanes, corners: list[Lanes]) -> None:
        """What the second and third corner have more of it, and what all get."""
        add_product(u1_at, d_varying, corners[1])
        add_product(u2_at, d_varying, corners[2])
        with builder.if_then(builder.trunc(of_varyings, ir.IntType(1))):
            row = builder.mul(number, ir.Constant(number.type, 3))
            for k in range(3):
                place = builder.add(row, ir.Constant(row.type, D_CORNERS + k))
                into.add(place, barycentrics[k] * d_varying)

    # Go through the channels: v_j - v, with ∂L/∂c_j = (p_j / S) G_c; and on to the varyings.
    if shaded:
        d_colors = vectors_at(builder, words, programs.D_COLORS, kind)
        with cgutils.for_range(builder, channels) as loop:
            d_colors.write(loop.index, weight * d_pixel_of(loop.index))
        call_shader(record, barycentrics, reached, words, varyings)
        with cgutils.for_range(builder, channels) as loop:
            color = vectors_at(builder, words, programs.COLORS, kind).read(loop.index)
            add_product(above, d_pixel_of(loop.index), color)
        with cgutils.for_range(builder, varyings) as loop:
            d_varying = vectors_at(builder, words, programs.D_VARYINGS, kind).read(loop.index)
            sum_varying(loop.index, d_varying, read_channel(builder, record, loop.index, kind))
    else:
        with cgutils.for_range(builder, channels) as loop:
            corners = read_channel(builder, record, loop.index, kind)
            d_pixel = d_pixel_of(loop.index)
            add_product(above, d_pixel, interpolate(barycentrics, *corners))
            sum_varying(loop.index, weight * d_pixel, corners)

    # q_j = (p_j / S) (v_j - v), and ∂L/∂z_j = (p_j / S) G_z - s q_j.
    d_behind = pixels(builder.add(channels, ir.Constant(channels.type, D_COLORS)))
    above_mean = Lanes(builder, builder.load(above)).plus_product(d_behind, behind)
    d_log = weight * above_mean
    d_depth = (weight * d_behind).minus_product(temperature, d_log)
    into.add(D_TEMPERATURE, d_log * behind)

    # u_k, less that of the first corner, and their mean; ∂L/∂r_k = (u_k - ū) / Σ_m r_m.
    z0, z1, z2 = triangle.three(Z)
    u1 = Lanes(builder, builder.load(u1_at)).plus_product(d_depth, z1 - z0)
    u2 = Lanes(builder, builder.load(u2_at)).plus_product(d_depth, z2 - z0)
    mean = (barycentrics[1] * u1).plus_product(barycentrics[2], u2)
    sum_x = sum_y = weight.full(0)
    for k, above_it in enumerate((-mean, u1 - mean, u2 - mean)):
        inverse_depth = triangle.record[INVERSE_DEPTH + k]
        d_edge = (distances.edges[k] > 0).where(above_it * scale * inverse_depth, 0)
        sum_x = sum_x.plus_product(d_edge, triangle.dy[k])
        sum_y = sum_y.minus_product(d_edge, triangle.dx[k])
        of_z = d_depth.minus_product(above_it, triangle.record[OVER_Z + k])
        into.add(D_Z + k, barycentrics[k] * of_z)

    # ∂L/∂x_m = -w_m Σ_k ∂L/∂w_k ∂w_k/∂x, with ∂e_k/∂x = -dy_k and ∂e_k/∂y = dx_k.
    for number, total in ((D_X, sum_x), (D_Y, sum_y)):
        total = total * triangle.record[INVERSE_AREA]
        for k in range(3):
            into.add(number + k, total * distances.edges[k])
    return d_log


@intrinsic
def sum_lanes(context: Any, sums: Any, number: Any, like: Any) -> Any:
    """Of sums by lane in memory, one with its lanes added up."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        apart = ir.Constant(args[1].type, LANES * lane_bytes(kind))
        return Planes(builder, kind, args[0], apart).read(args[1]).sum()

    like = types.unliteral(like)
    return like(types.int64, types.int64, like), generate


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """What some triangles of a view get."""
    parts, planes, bounds = get(job, PARTS), argument(job, PLANES), argument(job, BOUNDS)
    view, chunk = part // parts, part % parts
    height, width = length(planes, 2), length(planes, 3)
    scene, size = scene_of(job, view, like), size_of(like)
    count, varyings, numbers = scene[3], scene[4], length(result(job, 1), 2)
    channels = max(length(planes, 1) - D_COLORS - 1, 0)
    pixels, boxes = view_of(planes, view, like), view_of(bounds, view, np.int32(0))
    found = view_of(result(job, 1), view, like)
    plane, perspective, asked = size * height * width, option(job, 0) != 0, option(job, 1)
    middle_x, middle_y = middle_of(planes, like)
    zero = typed(0, like)
    record = malloc(size * (CHANNELS + 3 * varyings))
    sums = malloc(size * LANES * numbers)
    words = words_for_shader(job, view, get(job, SHADER), channels, like)
    put(words, programs.D_UNIFORMS, sums + size * LANES * (D_CORNERS + 3 * varyings))
    texel_numbers = table_size(job)
    if texel_numbers > 0:
        d_texels = table_of(job, view, chunk, like)
        put(words, programs.D_TEXELS, d_texels)
        for number in range(texel_numbers):
            store(d_texels, number, zero)
    for face in range(count * chunk // parts, count * (chunk + 1) // parts):
        into = found + size * numbers * face
        top, bottom, left, right = box_of(boxes, face)
        if (top > bottom) | (left > right):
            for number in range(numbers):
                store(into, number, zero)
            continue
        turned = set_up(record, scene, face, perspective, like)
        whole = is_near(record, like)
        for number in range(LANES * numbers):
            store(sums, number, zero)
        put_face(job, words, view, face)
        steps, of_varyings = (right - left + LANES) // LANES, option(job, 2)
        counts = steps, plane, channels, of_varyings, varyings, words
        x = typed(left, like) - middle_x
        for row in range(top, bottom + 1):
            at, y = pixels + size * (row * width + left), typed(row, like) - middle_y
            if asked == SHADED:
                sum_row(SHADED, record, sums, at, counts, (x, y))
            elif asked == COLORED:
                sum_row(COLORED, record, sums, at, counts, (x, y))
            elif whole:
                sum_row(WHOLE, record, sums, at, counts, (x, y))
            else:
                sum_row(CUT, record, sums, at, counts, (x, y))

        # Hand out the sums, to the corners as they came.
        for k in range(3):
            corner = 3 - k if turned and k > 0 else k
            store(into, 2 * corner, sum_lanes(sums, D_X + k, like))
            store(into, 2 * corner + 1, sum_lanes(sums, D_Y + k, like))
            store(into, 6 + corner, sum_lanes(sums, D_Z + k, like))
            for number in range(varyings):
                value = sum_lanes(sums, D_CORNERS + 3 * number + k, like)
                store(into, 9 + corner * varyings + number, value)
        store(into, 9 + 3 * varyings, sum_lanes(sums, D_SIGMA, like))
        store(into, 10 + 3 * varyings, sum_lanes(sums, D_TEMPERATURE, like))
        for number in range(D_CORNERS + 3 * varyings, numbers):
            store(into, number, sum_lanes(sums, number, like))
    free(record)
    free(sums)
    free(words)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """What all triangles of all views get."""
    views, count = length(result(job, 1), 0), length(result(job, 1), 1)
    planes, texel_numbers = argument(job, PLANES), table_size(job)
    put(job, SHADER, programs.program_address(option(job, 4)) if option(job, 1) == SHADED else 0)
    work = views * (length(planes, 2) * length(planes, 3) + 16 * count)
    most = option(job, 3) if work > MIN_WORK else 1
    parts = max(1, count // PART_TRIANGLES)
    if texel_numbers > 0:
        tables = max(2, min(MAX_TABLES, TABLE_NUMBERS // texel_numbers))
        parts = max(1, min(parts, tables // views))
    run_sums(job, views, parts, most, like)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def blend_gradient(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return blend_gradient
