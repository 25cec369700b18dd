r"""Edges between neighbouring pixels: which there are, where they lie, and how they move.

Two neighbouring pixels that see different faces have an edge between them. It lies at a **place**
`s`, as a fraction of the way from the first pixel centre to the second. Which edge that is, its
**code**, is found once, without a gradient (`pairs.py`); how its place moves with the vertices is
then a matter of a few numbers.

Coordinates are pixels, `X` to the right, `Y` down, from the centre of the first pixel; here of
neighbours in a row, whose centres are `(0, 0)` and `(1, 0)`. In a column `X` and `Y` change roles.

**An outline**, from a vertex `a` of the nearer face to a vertex `b`, is a line on screen, so depths
do not move it. With `t = Y_a / (Y_a - Y_b)` and its slope `m = (X_b - X_a) / (Y_b - Y_a)`, which
is at most 1 since flat edges count in columns,

    s = (1 - t) X_a + t X_b        ds = (1 - t) (dX_a - m dY_a) + t (dX_b - m dY_b)

which holds too where an end lies behind the camera and `t` is not between 0 and 1.

**A cut** is where two faces have the same depth: `P(s) = Q(s)`, with `P` and `Q` linear on screen,
1/z under perspective and z without. At a given point the plane through the corners `k` changes by
`dP = Σₖ λₖ (dPₖ - ∂P/∂X dXₖ - ∂P/∂Y dYₖ)`, `λ` the barycentrics on screen, so

    ds = -(dP - dQ) / (∂P/∂X - ∂Q/∂X)

Both are linear in the motion of the vertices: a `LinearMap`, which on a CPU is a kernel that visits
the pixels with an edge alone, and so is its transpose. Second derivatives are those of these
formulas.

Shapes: `V` vertices, `F` faces, `H, W` image. What pairs of neighbours have is `[2, H, W]`, those
of rows and those of columns, at the first of the two; the last column, or row, has no pair.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxrender.ops import cpu, deterministic
from jaxrender.ops.batching import batch_size, fold_vmap, fold_vmap_scheduled
from jaxrender.ops.cpu import Kernel
from jaxrender.ops.edges.pairs import (
    CUT,
    NO_EDGE,
    depth_plane,
    find_codes,
    lines_of,
    placed_vertices,
)
from jaxrender.ops.linear import LinearMap, over_batch
from jaxrender.ops.sharding import match_varying_axes


class Options(NamedTuple):
    """What is part of the program."""

    perspective: bool  # whether 1/z (True) or z (False) is linear on screen
    silhouettes: bool  # whether only silhouette edges count, or all, and cuts
    faceted: bool = False  # whether edges count too where faces meet that look the same way


def find_edges(
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    depth: jax.Array,
    edges: jax.Array | None,
    *,
    perspective: bool,
    faceted: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """The edges between pixels. Not differentiable.

    Args:
        vertices: `[V, 3]` screen space.
        faces: `[F, 3]` int32.
        face: `[H, W]` int32 what pixels see, -1 where that is nothing.
        depth: `[H, W]` of it.
        edges: `[F, 3]` int32 which edges are the same: only silhouette edges count, and no cuts.
            None: all edges but those between faces that look the same way.
        perspective: whether 1/z (True) or z (False) is linear on screen.
        faceted: without `edges`, whether those between faces that look the same way count as well,
            where the pixels before and behind the two see the same faces as they.

    Returns:
        Codes `[2, H, W]` int32: `NO_EDGE`; `1 + k`, edge `k` of the first pixel's face, which lies
        opposite to its corner `k`; `4 + k`, that of the second's; or `CUT`.
        Places `[2, H, W]`, 1/2 where there is no edge.
    """
    options = Options(bool(perspective), edges is not None, bool(faceted))
    edges = jnp.zeros((0, 3), jnp.int32) if edges is None else edges.astype(jnp.int32)
    given = vertices, faces.astype(jnp.int32), face.astype(jnp.int32), depth, edges
    return _finder(options)(*jax.lax.stop_gradient(given))


@functools.partial(jax.custom_jvp, nondiff_argnums=(6,))
def blend_pixels(
    picture: jax.Array,
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    code: jax.Array,
    place: jax.Array,
    perspective: bool,
) -> jax.Array:
    """Fills pixels `[H, W, C]` with their neighbours' colours, up to the places of silhouettes.

    Gradient: exact, to picture and vertices, in forward and reverse mode, to any order.

    Args:
        picture: `[H, W, C]`, of the dtype of the vertices.
        vertices: as of `find_edges`.
        faces: likewise.
        face: likewise.
        code: what that found.
        place: likewise.
        perspective: as there.
    """
    if jax.default_backend() == "cpu" and cpu.can_take(vertices.dtype):
        return _BLEND_BY_KERNEL(picture, code, place)
    return _blend([code, place], [picture], None)[0]


def _blend_pixels_jvp(perspective, primals, tangents):
    picture, given = primals[0], primals[1:]
    result = blend_pixels(*primals, perspective)
    moved = jnp.zeros_like(picture)
    if not isinstance(tangents[0], SymbolicZero):
        place = places_of(*given, Options(perspective, silhouettes=True))
        moved += _BLEND([given[3], place], [tangents[0]], None)[0]
    if not isinstance(tangents[1], SymbolicZero):
        options = Options(perspective, silhouettes=True)
        moved += move_pixels(picture, *given, moved=tangents[1], options=options)
    return result, moved


blend_pixels.defjvp(_blend_pixels_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def places_of(
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    code: jax.Array,
    place: jax.Array,
    options: Options,
) -> jax.Array:
    """The places of edges, as they were found, to be differentiated by the vertices."""
    return place


@places_of.defjvp
def _places_of_jvp(options, primals, tangents):
    return places_of(*primals, options), _motion(primals[:4], tangents[0], options)


def move_pixels(
    picture: jax.Array,
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    code: jax.Array,
    place: jax.Array,
    moved: jax.Array,
    options: Options,
) -> jax.Array:
    """How a picture changes at edges, where vertices move by `moved` `[V, 3]`.

    Of two neighbours with colours `I₁` and `I₂` one pixel, or both, get `(I₁ - I₂) ds`: where only
    silhouettes count, the one on whose side of the middle the place lies, else each a half, and
    colours are those at the edge, see `_steps_at_edges`.
    """
    return _MOVE_PIXELS([vertices, faces, face, code, place, picture], [moved], options)[0]


# --- pixels ---------------------------------------------------------------------------------------


def _steps(picture: jax.Array) -> jax.Array:
    """How much the first of two neighbours has more than the second `[2, H, W, C]`."""
    right = jnp.pad(picture[:, :-1] - picture[:, 1:], ((0, 0), (0, 1), (0, 0)))
    return jnp.stack([right, jnp.pad(picture[:-1] - picture[1:], ((0, 1), (0, 0), (0, 0)))])


def _steps_at_edges(picture: jax.Array, face: jax.Array, place: jax.Array) -> jax.Array:
    """`_steps`, of colours that go on to the edge as from the pixel before, of the same face."""
    same = (_second(face) == face[None])[..., None]
    rise = jnp.where(same, _second(picture) - picture[None], 0)  # from each pixel to the next
    before = jnp.stack([_shifted(rise[0], 1, -1), _shifted(rise[1], 0, -1)])
    behind = jnp.stack([_shifted(rise[0], 1, 1), _shifted(rise[1], 0, 1)])
    place = place[..., None]
    return _steps(picture) + place * before + (1 - place) * behind


def _shifted(values: jax.Array, axis: int, step: int) -> jax.Array:
    """What the next along an axis has, or the one before; 0 at the border."""
    axes = [(0, 0)] * values.ndim
    axes[axis] = (int(step < 0), int(step > 0))
    start = int(step > 0)
    padded, size = jnp.pad(values, axes), values.shape[axis]
    return jax.lax.slice_in_dim(padded, start, start + size, axis=axis)


def _at_second(values: jax.Array) -> jax.Array:
    """What is added to the second of pairs `[2, H, W, C]`, summed at each pixel."""
    right = jnp.pad(values[0, :, :-1], ((0, 0), (1, 0), (0, 0)))
    return right + jnp.pad(values[1, :-1], ((1, 0), (0, 0), (0, 0)))


def _blend(given: Any, linear: Any, options: None) -> list[jax.Array]:
    """Fills what lies on the other side of the middle: part of the second pixel, or the first."""
    (code, place), (picture,) = given, linear
    step = jnp.where((code != NO_EDGE)[..., None], _steps(picture), 0)
    filled, of_second = (place - 0.5)[..., None] * step, (place >= 0.5)[..., None]
    of_first = jnp.where(of_second, 0, filled).sum(0)
    return [picture + of_first + _at_second(jnp.where(of_second, filled, 0))]


def _transposed_blend(
    given: Any, cotangents: Any, shapes: Any, options: None
) -> Sequence[jax.Array]:
    """The gradient of the picture, of all views."""
    arrays = *given, *cotangents
    if jax.default_backend() == "cpu" and cpu.can_take(cotangents[0].dtype):
        return _by_kernel(cotangents[0], *given, transposed=True)
    return _BLEND.plainly_backward(*arrays, count=2, shapes=shapes, options=None)


def _move_pixels(given: Any, linear: Any, options: Options) -> list[jax.Array]:
    """`move_pixels`, as a `LinearMap` takes it: linear in how vertices move."""
    *given, place, picture = given
    motion = _motion(given, linear[0], options)[..., None]
    if not options.silhouettes:
        change = motion * _steps_at_edges(picture, given[2], place)
        return [(change.sum(0) + _at_second(change)) / 2]
    change = motion * _steps(picture)
    of_second = (place >= 0.5)[..., None]
    of_first = jnp.where(of_second, 0, change).sum(0)
    return [of_first + _at_second(jnp.where(of_second, change, 0))]


def _batched_move_pixels(given: Any, linear: Any, options: Options) -> Sequence[jax.Array]:
    """`_move_pixels` of all views, each with the motions of a group."""
    vertices, faces, *of_pixels = given
    groups, views = batch_size(*given), batch_size(*given, *linear)
    if jax.default_backend() == "cpu" and cpu.can_take(vertices.dtype):
        of_pixels = [jnp.broadcast_to(a, (groups, *a.shape[1:])) for a in of_pixels]
        moved = jnp.broadcast_to(linear[0], (views, *linear[0].shape[1:]))
        result = (views, *of_pixels[-1].shape[1:]), vertices.dtype
        return _MOVER(vertices, faces, *of_pixels, moved, results=[result], options=options)
    shapes = ((linear[0].shape[1:], linear[0].dtype),)
    return _MOVE_PIXELS.plainly_forward(*given, *linear, count=6, shapes=shapes, options=options)


def _transposed_move_pixels(
    given: Any, cotangents: Any, shapes: Any, options: Options
) -> Sequence[jax.Array]:
    """The gradient of vertices, of all views."""
    views, vertices = batch_size(*given, *cotangents), given[0]
    if jax.default_backend() == "cpu" and cpu.can_take(vertices.dtype):
        of_pixels = [
            jnp.broadcast_to(array, (views, *array.shape[1:]))
            for array in (*given[2:], *cotangents)
        ]
        result = (views, *vertices.shape[1:]), vertices.dtype
        return _TRANSPOSED_MOVER(*given[:2], *of_pixels, results=[result], options=options)

    def single(*arrays: jax.Array) -> jax.Array:
        *given, place, picture, cotangent = arrays
        second = _second(cotangent)
        if options.silhouettes:
            step = _steps(picture)
            d_change = jnp.where((place >= 0.5)[..., None], second, cotangent[None])
        else:
            step = _steps_at_edges(picture, given[2], place)
            d_change = (cotangent[None] + second) / 2
        d_place = (d_change * step).sum(-1)

        def add(total: jax.Array, jacobians: list[_Jacobian]) -> jax.Array:
            return deterministic.scatter_add_each(
                total,
                [jacobian.vertex for jacobian in jacobians],
                [jacobian.slope * d_place[..., None] for jacobian in jacobians],
            )

        zeros = match_varying_axes(jnp.zeros_like(given[0]), arrays)
        return _add_jacobians(add, zeros, given, options)

    return [over_batch(single, (*given, *cotangents))]


# --- how places move ------------------------------------------------------------------------------


class _Outlines(NamedTuple):
    """The ends of outlines, each `[2, H, W]`; `along` the way between the centres, and across."""

    used: jax.Array  # bool; the rest is something harmless where not
    a: jax.Array  # int32 vertex
    b: jax.Array
    along_a: jax.Array
    along_b: jax.Array
    t: jax.Array
    slope: jax.Array  # m


def _outlines(vertices: jax.Array, faces: jax.Array, face: jax.Array, code: jax.Array) -> _Outlines:
    """The ends of the outlines with these codes."""
    used = (code != NO_EDGE) & (code != CUT)
    first = code <= 3
    corner = jnp.where(used, code - jnp.where(first, 1, 4), 0)
    corners = deterministic.gather(faces, jnp.where(first, face[None], _second(face)))
    choose = functools.partial(jnp.take_along_axis, corners, axis=-1)
    a, b = (choose(((corner + step) % 3)[..., None])[..., 0] for step in (1, 2))

    # Take the ends from the centre of the first pixel, along and across.
    x, y, _ = placed_vertices(vertices, face.shape)
    xy = jnp.stack([x, y], -1)
    centres = _centres(face.shape, x.dtype)[None]
    ends = [deterministic.gather(xy, end) - centres for end in (a, b)]
    along_a, along_b = (jnp.stack([end[0, ..., 0], end[1, ..., 1]]) for end in ends)
    across_a, across_b = (jnp.stack([end[0, ..., 1], end[1, ..., 0]]) for end in ends)
    difference = across_b - across_a
    used &= difference != 0
    scale = 1 / jnp.where(used, difference, 1)
    t = jnp.where(used, -across_a * scale, 0)
    slope = jnp.where(used, (along_b - along_a) * scale, 0)
    return _Outlines(used, a, b, along_a, along_b, t, slope)


def _second(values: jax.Array) -> jax.Array:
    """What the second pixels of all pairs have, `[H, W]` to `[2, H, W]`; the first's at the end."""
    right = jnp.concatenate([values[:, 1:], values[:, -1:]], 1)
    return jnp.stack([right, jnp.concatenate([values[1:], values[-1:]])])


def _centres(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """The pixel centres `[H, W, 2]`."""
    row, column = (jnp.arange(size, dtype=dtype) for size in shape)
    return jnp.stack(jnp.broadcast_arrays(column[None, :], row[:, None]), -1)


def _places(vertices: jax.Array, faces: jax.Array, face: jax.Array, code: jax.Array) -> jax.Array:
    """The places of the outlines with these codes."""
    ends = _outlines(vertices, faces, face, code)
    place = (1 - ends.t) * ends.along_a + ends.t * ends.along_b
    # Rounding may put that of an edge from far away outside.
    return jnp.where(ends.used, jnp.clip(place, 0, 1), 0.5)


class _Jacobian(NamedTuple):
    """How each place moves with one of the vertices that it depends on."""

    vertex: jax.Array  # [2, H, W] int32
    slope: jax.Array  # [2, H, W, 3] of the place by the vertex's screen coordinates


def _jacobians_of_outlines(
    vertices: jax.Array, faces: jax.Array, face: jax.Array, code: jax.Array
) -> list[_Jacobian]:
    """The two vertices of the edge that each outline is."""
    ends = _outlines(vertices, faces, face, code)
    jacobians = []
    for vertex, weight in ((ends.a, 1 - ends.t), (ends.b, ends.t)):
        along = jnp.where(ends.used, weight, 0)
        across = -along * ends.slope
        x, y = jnp.stack([along[0], across[1]]), jnp.stack([across[0], along[1]])
        jacobians.append(_jacobian(vertices, face.shape, vertex, [x, y, jnp.zeros_like(x)]))
    return jacobians


def _jacobian(
    vertices: jax.Array, shape: tuple[int, ...], vertex: jax.Array, slopes: list[jax.Array]
) -> _Jacobian:
    """Of slopes by pixel coordinates and z; vertices that are too far do not move."""
    height, width = shape
    x, y, z = slopes
    known = deterministic.gather(placed_vertices(vertices, shape)[2], vertex)
    slope = jnp.stack([x * (width / 2), y * (-height / 2), z], -1)
    return _Jacobian(vertex, jnp.where(known, slope, 0))


def _add_jacobians(add: Callable, total: jax.Array, given: Any, options: Options) -> jax.Array:
    """`add(total, jacobians)`, of outlines, and of cuts if there are any."""
    total = add(total, _jacobians_of_outlines(*given))
    if options.silhouettes:
        return total
    cuts = (given[3] == CUT).any()

    def with_cuts(total: jax.Array) -> jax.Array:
        return add(total, _jacobians_of_cuts(*given, perspective=options.perspective))

    return jax.lax.cond(cuts, with_cuts, lambda total: total, total)


def _jacobians_of_cuts(
    vertices: jax.Array, faces: jax.Array, face: jax.Array, code: jax.Array, *, perspective: bool
) -> list[_Jacobian]:
    """The six vertices of both faces that cut each other."""
    used = code == CUT
    x, y, _ = placed_vertices(vertices, face.shape)
    z = vertices[:, 2]
    w, depth = (z, jnp.ones_like(z)) if perspective else (jnp.ones_like(z), z)
    rows = jnp.stack([x * w, y * w, w, depth, z], -1)
    rows = jnp.where(jnp.isfinite(rows), rows, 0)
    column, row = (_centres(face.shape, x.dtype)[..., k] for k in (0, 1))
    origin = column[None], row[None]

    # Set up both faces: P, and each corner's weight in its value at any point.
    sides = []
    for own in (jnp.broadcast_to(face, code.shape), _second(face)):
        corners = deterministic.gather(faces, own)
        numbers = deterministic.gather(rows, corners)
        parts = [numbers[..., k, n] for k in range(3) for n in range(3)]
        parts += [numbers[..., k, 3] for k in range(3)]
        scaled, lines, determinant, depths = lines_of(parts, origin)
        plane = depth_plane(lines, determinant, depths, used & (determinant != 0))
        over = 1 / jnp.where(used & (determinant != 0), determinant, 1)
        of_depth = [numbers[..., k, 4] for k in range(3)]
        sides.append((corners, scaled, lines, over, plane, of_depth))
    difference = [one - other for one, other in zip(sides[0][4], sides[1][4], strict=True)]
    along = jnp.stack([difference[0][0], difference[1][1]])
    used &= along != 0
    scale = 1 / jnp.where(used, along, 1)
    place = jnp.where(used, -difference[2] * scale, 0)
    at_x, at_y = jnp.stack([place[0], 0 * place[0]]), jnp.stack([0 * place[1], place[1]])

    jacobians = []
    for sign, (corners, scaled, lines, over, plane, of_depth) in zip((-1, 1), sides, strict=True):
        for k in range(3):
            side = lines[k][0] * at_x + lines[k][1] * at_y + lines[k][2]
            # λ of the corner, and the change of P with its depth.
            by_value = jnp.where(used, sign * scale * side * over * scaled[k][2], 0)
            depth = jnp.where(used, of_depth[k], 1)
            by_depth = by_value
            if perspective:
                nonzero = depth != 0
                by_depth = jnp.where(nonzero, -by_value / jnp.where(nonzero, depth, 1) ** 2, 0)
            slopes = [-by_value * plane[0], -by_value * plane[1], by_depth]
            jacobians.append(_jacobian(vertices, face.shape, corners[..., k], slopes))
    return jacobians


def _motion(given: Any, moved: jax.Array, options: Options) -> jax.Array:
    """The motion `[2, H, W]` of places where vertices move by `moved` `[V, 3]`."""

    def add(total: jax.Array, jacobians: list[_Jacobian]) -> jax.Array:
        for vertex, slope in jacobians:
            total += (slope * deterministic.gather(moved, vertex)).sum(-1)
        return total

    zeros = match_varying_axes(jnp.zeros(given[3].shape, moved.dtype), (given, moved))
    return _add_jacobians(add, zeros, given, options)


# --- kernels --------------------------------------------------------------------------------------


@functools.cache
def _finder(options: Options):
    """The operation for these static settings; made once, so that `vmap` rules are too."""
    find = functools.partial(_find, options=options)
    return fold_vmap_scheduled(find, {"kernel": True, "plain": False}, None)


def _find(*arrays: jax.Array, options: Options, schedule: bool) -> Sequence[jax.Array]:
    """The codes and places of all views; arrays `[B or 1, …]`."""
    vertices, faces, face, depth, edges = arrays
    views, shape, dtype = batch_size(*arrays), (2, *face.shape[1:]), vertices.dtype
    results = ((views, *shape), jnp.dtype("int32")), ((views, *shape), dtype)
    if not (schedule and cpu.can_take(vertices.dtype)):
        return _find_otherwise(*arrays, results=results, options=options)
    face, depth = (jnp.broadcast_to(array, (views, *array.shape[1:])) for array in (face, depth))
    given = vertices, faces, face, depth.astype(dtype), edges
    return _FIND(*given, results=results, options=options)


def _find_otherwise(*arrays: jax.Array, results: Any, options: Any) -> Sequence[jax.Array]:
    """The same in plain JAX."""
    options = Options(*(bool(option) for option in options[:3]))

    def single(*arrays: Any) -> tuple[jax.Array, jax.Array]:
        code, place = find_codes(*arrays, options=options)
        return code, jnp.where(code == CUT, place, _places(*arrays[:3], code=code))

    return list(over_batch(single, arrays))


def _by_kernel(
    picture: jax.Array, code: jax.Array, place: jax.Array, *, transposed: bool
) -> Sequence[jax.Array]:
    """`_blend`, or its transpose, of all views; arrays `[B or 1, …]`."""
    arrays = picture, code, place
    views = batch_size(*arrays)
    arrays = [jnp.broadcast_to(array, (views, *array.shape[1:])) for array in arrays]
    result = arrays[0].shape, picture.dtype
    return _BLENDER(*arrays, results=[result], options=[transposed])


def _blend_otherwise(*arrays: jax.Array, results: Any, options: Any) -> Sequence[jax.Array]:
    """The same in plain JAX."""
    picture, code, place = arrays
    if options[0]:
        shapes = ((picture.shape[1:], picture.dtype),)
        return _BLEND.plainly_backward(code, place, picture, count=2, shapes=shapes, options=None)
    return [over_batch(lambda *arrays: _blend(arrays[1:], arrays[:1], None)[0], arrays)]


def _move_otherwise(*arrays: jax.Array, results: Any, options: Any) -> Sequence[jax.Array]:
    """`_move_pixels` in plain JAX."""
    of = Options(*(bool(option) for option in options[:3]))
    return _MOVE_PIXELS.plainly_forward(*arrays, count=6, shapes=(), options=of)


def _transposed_move_otherwise(
    *arrays: jax.Array, results: Any, options: Any
) -> Sequence[jax.Array]:
    """The same as JAX transposes it."""
    shapes = ((results[0][0][1:], results[0][1]),)
    of = Options(*(bool(option) for option in options[:3]))
    return _MOVE_PIXELS.plainly_backward(*arrays, count=6, shapes=shapes, options=of)


_BLEND = LinearMap("jaxrender_blend_pixels", _blend, _transposed_blend)
_MOVE_PIXELS = LinearMap(
    "jaxrender_move_pixels", _move_pixels, _transposed_move_pixels, _batched_move_pixels
)
_FIND = Kernel("edges", _find_otherwise)
_BLENDER = Kernel("antialias", _blend_otherwise)
_TRANSPOSED_MOVER = Kernel("places", _transposed_move_otherwise)
_MOVER = Kernel("edge_motions", _move_otherwise)
_BLEND_BY_KERNEL = fold_vmap(lambda *arrays: _by_kernel(*arrays, transposed=False)[0])
