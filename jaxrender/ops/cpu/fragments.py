"""Fragments of the soft blend, 8 at a time: a triangle made ready, and what pixels have of it.

The formulas are those of `triangle_setup.py` and `fragments.py` in `ops/soft`, for coverage by the
logistic function of the squared distance. A triangle lies in a **record** of floats, turned so that
its edge functions are positive inside. Edge `k` is opposite to corner `k`, from the next corner on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils

from jaxrender.ops.cpu import programs
from jaxrender.ops.cpu.lanes import LANES, Lanes, count_up, lane_bytes, least, read, spread, write
from jaxrender.ops.cpu.machine import (
    NUMBER,
    argument,
    length,
    load,
    malloc,
    put,
    size_of,
    store,
    typed,
    view_of,
)

# The numbers of a record, and behind them those of each varying, a channel say: what the first
# corner has of it, and what the others have more.
X, Y, Z, INVERSE_LENGTH, INVERSE_DEPTH, OVER_Z = range(0, 18, 3)
INVERSE_AREA, INVERSE_SIGMA, REACH, FAR, TEMPERATURE = range(18, 23)
CHANNELS = 23

# What is asked of a triangle: the total alone, or where its depth is drawn, or colours as well,
# those of the corners, or those of a shader.
WHOLE, CUT, COLORED, SHADED = range(4)

# What calls are given: besides these, what a shader needs.
TRIANGLES, BOUNDS, VARYINGS, UNIFORMS, SHADER_UNIFORMS, TEXELS, TEXTURE_INDEX, PLANES = range(8)
FUNCTION = programs.WORDS  # behind the words for a shader: where it lies

# The rows of `set_up_triangles`, and the fields of `Uniforms`, both of `ops/soft`.
AREA_ROW = 9
SIGMA, INVERSE_TEMPERATURE, BACKGROUND_DEPTH, FAR_DEPTH, BLUR_RADIUS_SQ = 0, 1, 2, 4, 5
MAX_SCALED_DISTANCE = 1e15  # what a scaled distance counts as at most, as in `ops/soft`


@numba.njit(error_model="numpy")
def scene_of(job: int, view: int, like: Any) -> Any:
    """Where triangles, varyings and uniforms of a view stand, how many triangles and varyings."""
    triangles, varyings = argument(job, TRIANGLES), argument(job, VARYINGS)
    return (
        view_of(triangles, view, like),
        view_of(varyings, view, like),
        view_of(argument(job, UNIFORMS), view, like),
        length(triangles, 2),
        length(varyings, 3),
    )


@numba.njit(error_model="numpy")
def set_up(record: int, scene: Any, face: int, perspective: bool, like: Any) -> bool:
    """Makes a triangle ready; whether it was turned: its second and third corner have swapped."""
    triangles, varyings, uniforms, count, channels = scene
    one, zero = typed(1, like), typed(0, like)
    inverse_area = load(triangles, AREA_ROW * count + face, like)
    turned = inverse_area < zero
    for k in range(3):
        corner = 3 - k if turned and k > 0 else k
        z = load(triangles, (6 + corner) * count + face, like)
        store(record, X + k, load(triangles, corner * count + face, like))
        store(record, Y + k, load(triangles, (3 + corner) * count + face, like))
        store(record, Z + k, z)
        store(record, INVERSE_LENGTH + k, load(triangles, (10 + corner) * count + face, like))
        store(record, INVERSE_DEPTH + k, load(triangles, (13 + corner) * count + face, like))
        over = one / (one if z == zero else z)
        store(record, OVER_Z + k, over if perspective else zero)
    store(record, INVERSE_AREA, abs(inverse_area))
    store(record, INVERSE_SIGMA, one / load(uniforms, SIGMA, like))
    store(record, REACH, load(uniforms, BLUR_RADIUS_SQ, like))
    store(record, FAR, load(uniforms, FAR_DEPTH, like))
    store(record, TEMPERATURE, load(uniforms, INVERSE_TEMPERATURE, like))
    corners = varyings + size_of(like) * 3 * channels * face
    for channel in range(channels):
        first = load(corners, channel, like)
        second = load(corners, channels * (2 if turned else 1) + channel, like)
        third = load(corners, channels * (1 if turned else 2) + channel, like)
        store(record, CHANNELS + 3 * channel, first)
        store(record, CHANNELS + 3 * channel + 1, second - first)
        store(record, CHANNELS + 3 * channel + 2, third - first)
    return turned


@numba.njit(error_model="numpy")
def is_near(record: int, like: Any) -> bool:
    """Whether no part of a triangle is beyond `far`, so that its depth need not be known."""
    far = load(record, FAR, like)
    return (
        (load(record, Z, like) <= far)
        & (load(record, Z + 1, like) <= far)
        & (load(record, Z + 2, like) <= far)
    )


@numba.njit(error_model="numpy")
def box_of(boxes: int, face: int) -> Any:
    """The first and last row, and the first and last column, that a triangle may reach."""
    integer = np.int32(0)
    return (
        np.int64(load(boxes, 4 * face, integer)),
        np.int64(load(boxes, 4 * face + 2, integer)),
        np.int64(load(boxes, 4 * face + 1, integer)),
        np.int64(load(boxes, 4 * face + 3, integer)),
    )


@numba.njit(error_model="numpy")
def middle_of(planes: int, like: Any) -> Any:
    """Where the middle of a picture lies in pixels, of planes `[B, n, H, W + 8]`."""
    half, one = typed(0.5, like), typed(1, like)
    return (
        half * (typed(length(planes, 3) - LANES, like) - one),
        half * (typed(length(planes, 2), like) - one),
    )


@numba.njit(error_model="numpy")
def words_for_shader(job: int, view: int, function: int, channels: int, like: Any) -> int:
    """Words for a shader's calls, to be freed; without those of the face, and of cotangents."""
    varyings, texels = length(argument(job, VARYINGS), 3), argument(job, TEXELS)
    vectors = LANES * size_of(like)
    words = malloc(8 * (FUNCTION + 1) + 2 * vectors * (varyings + channels))
    first = words + 8 * (FUNCTION + 1)
    put(words, programs.VARYINGS, first)
    put(words, programs.D_VARYINGS, first + vectors * varyings)
    put(words, programs.COLORS, first + 2 * vectors * varyings)
    put(words, programs.D_COLORS, first + vectors * (2 * varyings + channels))
    put(words, programs.UNIFORMS, view_of(argument(job, SHADER_UNIFORMS), view, like))
    put(words, programs.TEXELS, view_of(texels, view, like))
    put(words, programs.D_TEXELS, 0)
    put(words, programs.ROWS, length(texels, 1))
    put(words, FUNCTION, function)
    return words


@numba.njit(error_model="numpy")
def put_face(job: int, words: int, view: int, face: int) -> None:
    """Tells a shader of which face fragments are."""
    index, none = argument(job, TEXTURE_INDEX), np.int32(0)
    put(words, programs.INDEX, view_of(index, view, none) + 4 * length(index, 2) * face)


class Triangle(NamedTuple):
    """The numbers of a record, each in all lanes, and the edges."""

    record: list[Lanes]
    dx: list[Lanes]  # of each edge, from its beginning to its end
    dy: list[Lanes]

    def three(self, first: int) -> list[Lanes]:
        """What the corners, or edges, have of a number."""
        return self.record[first : first + 3]


class Distances(NamedTuple):
    """How pixels lie to a triangle, and to each of its edges."""

    edges: list[Lanes]  # the edge functions
    squares: list[Lanes]  # squared distances from the edges
    along: list[Lanes]  # how far along each edge its closest point is, 0 to 1
    way_x: list[Lanes]  # from that point to the pixel
    way_y: list[Lanes]


class Planes:
    """Vectors of 8 lanes in memory, so many bytes apart: of pixels, or sums."""

    def __init__(self, builder: Any, kind: Any, first: Any, apart: Any) -> None:
        self.builder, self.kind, self.first, self.apart = builder, kind, first, apart

    def _address(self, plane: Any) -> Any:
        if isinstance(plane, int):
            plane = ir.Constant(self.apart.type, plane)
        return self.builder.add(self.first, self.builder.mul(plane, self.apart))

    def read(self, plane: Any) -> Lanes:
        """What a plane has."""
        return read(self.builder, self._address(plane), self.kind)

    def write(self, plane: Any, value: Lanes) -> None:
        """Has a plane have that."""
        write(self.builder, self._address(plane), value)

    def add(self, plane: Any, value: Lanes) -> None:
        """Adds to what it has."""
        self.write(plane, self.read(plane) + value)


def read_triangle(builder: Any, record: Any, kind: Any) -> Triangle:
    """Reads a record at an address."""
    numbers = [read_number(builder, record, k, kind) for k in range(CHANNELS)]
    following = [(1, 2), (2, 0), (0, 1)]
    return Triangle(
        numbers,
        [numbers[X + b] - numbers[X + a] for a, b in following],
        [numbers[Y + b] - numbers[Y + a] for a, b in following],
    )


def read_number(builder: Any, address: Any, index: Any, kind: Any) -> Lanes:
    """A number of many, in all lanes."""
    if isinstance(index, int):
        index = ir.Constant(ir.IntType(64), index)
    at = builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])
    return spread(builder, builder.load(at))


def read_channel(builder: Any, record: Any, channel: Any, kind: Any) -> list[Lanes]:
    """What the first corner has of a channel, and what the others have more."""
    first = builder.mul(channel, ir.Constant(channel.type, 3))
    places = [builder.add(first, ir.Constant(channel.type, CHANNELS + k)) for k in range(3)]
    return [read_number(builder, record, place, kind) for place in places]


def vectors_at(builder: Any, words: Any, number: int, kind: Any) -> Planes:
    """The vectors that a shader is called with, or sets."""
    apart = ir.Constant(NUMBER, LANES * lane_bytes(kind))
    return Planes(builder, kind, builder.load(_word(builder, words, number)), apart)


def _word(builder: Any, words: Any, number: int) -> Any:
    pointer = builder.inttoptr(words, NUMBER.as_pointer())
    return builder.gep(pointer, [ir.Constant(NUMBER, number)])


def call_shader(
    record: Any, barycentrics: list[Lanes], drawn: Lanes, words: Any, varyings: Any
) -> None:
    """Has a shader find the colours of fragments, of which those that are drawn count."""
    builder, kind = drawn.builder, barycentrics[0].kind
    given = vectors_at(builder, words, programs.VARYINGS, kind)
    with cgutils.for_range(builder, varyings) as loop:
        corners = read_channel(builder, record, loop.index, kind)
        given.write(loop.index, interpolate(barycentrics, *corners))
    builder.store(drawn.bits(), _word(builder, words, programs.ASKED))
    function = builder.load(_word(builder, words, FUNCTION))
    kinds = ir.FunctionType(NUMBER, [NUMBER])
    builder.call(builder.inttoptr(function, kinds.as_pointer()), [words])


def pixels_at(builder: Any, first: Any, step: Any, kind: Any) -> Lanes:
    """The x of pixels, so many steps of all lanes behind the first."""
    lanes = count_up(builder, kind)
    ahead = builder.mul(step, ir.Constant(step.type, lanes.value.type.count))
    return spread(builder, first) + spread(builder, builder.sitofp(ahead, kind)) + lanes


def distances_at(triangle: Triangle, x: Lanes, y: Lanes) -> Distances:
    """How pixels lie to a triangle."""
    found = []
    for k in range(3):
        begin, dx, dy = (k + 1) % 3, triangle.dx[k], triangle.dy[k]
        px, py = x - triangle.record[X + begin], y - triangle.record[Y + begin]
        edge = (py * dx).minus_product(px, dy)
        along = (py * dy).plus_product(px, dx) * triangle.record[INVERSE_LENGTH + k]
        along = along.at_least(0).at_most(1)
        way_x, way_y = px.minus_product(along, dx), py.minus_product(along, dy)
        found.append((edge, (way_x * way_x).plus_product(way_y, way_y), along, way_x, way_y))
    return Distances(*map(list, zip(*found, strict=True)))


def reach_of(triangle: Triangle, distances: Distances) -> tuple[Lanes, Lanes, Lanes]:
    """`|t|` of pixels, where they are inside, and where the triangle reaches."""
    e0, e1, e2 = distances.edges
    inside, square = (e0 > 0) & (e1 > 0) & (e2 > 0), least(*distances.squares)
    reached = inside | (square < triangle.record[REACH])
    return (square * triangle.record[INVERSE_SIGMA]).at_most(MAX_SCALED_DISTANCE), inside, reached


def barycentrics_of(triangle: Triangle, distances: Distances) -> tuple[list[Lanes], Lanes]:
    """`b_k`, what varyings are weighted by, and `1 / Σ_m (w⁺_m / z_m)` up to the same factor."""
    over_z = [
        edge.at_least(0) * inverse_depth
        for edge, inverse_depth in zip(distances.edges, triangle.three(INVERSE_DEPTH), strict=True)
    ]
    total = over_z[0] + over_z[1] + over_z[2]
    scale = 1 / (total > 0).where(total, 1)
    return [(total > 0).where(over * scale, 1 / 3) for over in over_z], scale


def interpolate(barycentrics: list[Lanes], first: Lanes, second: Lanes, third: Lanes) -> Lanes:
    """What the first corner has, and by barycentrics what the others have more."""
    return first.plus_product(barycentrics[1], second).plus_product(barycentrics[2], third)


def depth_of(triangle: Triangle, barycentrics: list[Lanes]) -> tuple[Lanes, Lanes]:
    """`z_j` of pixels, and where that is drawn."""
    z0, z1, z2 = triangle.three(Z)
    depth = interpolate(barycentrics, z0, z1 - z0, z2 - z0)
    return depth, depth <= triangle.record[FAR]
