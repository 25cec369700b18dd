"""The gradient of visibility in passes of many pixels, by plain JAX; see `__init__.py`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import batch_size
from jaxrender.ops.blocks import compact_indices, loop_over_chunks
from jaxrender.ops.deterministic import scatter_add_each
from jaxrender.ops.nmr.scanlines import Crossing, Scanlines, Sweep, SweptEdges, as_scanlines
from jaxrender.ops.nmr.segments import Segments, segments_of, upright_corners
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.triangle import Corners

SWEEPS = 6  # 3 edges x 2 axes


class Schedule(NamedTuple):
    """How much is done at once on a kind of device; a matter of speed alone."""

    pixels: int  # visible pixels in a pass
    sweeps: int  # done at once with them
    line_pixels: int  # of the scanlines that are summed over at once
    cut_if_needed: bool  # whether edges are cut only if some vertex is behind a camera


CPU = Schedule(pixels=1 << 13, sweeps=1, line_pixels=1 << 17, cut_if_needed=True)
GPU = Schedule(pixels=1 << 20, sweeps=SWEEPS, line_pixels=1 << 24, cut_if_needed=False)


def differentiate_by_passes(
    vertices: jax.Array,  # [B or 1, V, 3]
    faces: jax.Array,  # [B or 1, F, 3]
    face: jax.Array,  # [B or 1, H, W]
    image: jax.Array,  # [B or 1, H, W, C]
    cotangent: jax.Array,  # [B or 1, H, W, C]
    eps: jax.Array,  # [B or 1]
    *,
    perspective: bool,
    schedule: Schedule,
) -> jax.Array:
    """The gradient `[B, V, 3]`, of all views at once."""
    args = (vertices, faces, face, image, cotangent, eps)
    views = batch_size(*args)
    vertices, faces, face, image, cotangent, eps = (
        jnp.broadcast_to(arg, (views, *arg.shape[1:])) for arg in args
    )
    height, width = face.shape[1:]

    # Set the edges of all faces up, one view after the other. On a CPU, cut them only if any vertex
    # is behind a camera: that, and its derivative, takes longer than all else here. A GPU would
    # wait longer for the answer.
    def transpose(corners: Corners, gradient: Segments, *, cut: bool) -> Corners:
        return jax.vjp(functools.partial(segments_of, cut=cut), corners)[1](gradient)[0]

    def choose(function: Callable, *args: Any) -> Any:
        whole = functools.partial(function, cut=False)
        if not (perspective and schedule.cut_if_needed):
            return function(*args, cut=perspective)
        behind = (vertices[..., 2] <= 0).any()
        return lax.cond(behind, functools.partial(function, cut=True), whole, *args)

    corners, to_vertices = jax.vjp(
        lambda vertices: upright_corners(vertices, faces, (height, width)), vertices
    )
    edges = choose(segments_of, corners)
    is_cut = (corners.z <= 0).any(0) & perspective
    gradient = _sweep_all(edges, is_cut, face, image, cotangent, eps, schedule)
    return to_vertices(choose(transpose, corners, gradient))[0]


def _sweep_all(
    edges: Segments,
    is_cut: jax.Array,
    face: jax.Array,
    image: jax.Array,
    cotangent: jax.Array,
    eps: jax.Array,
    schedule: Schedule,
) -> Segments:
    """The gradient to the edges of all faces.

    Args:
        edges: of all views, `[2, 3, B F]`.
        is_cut: `[B F]` whether the camera plane cuts the face.
        face: `[B, H, W]`.
        image: `[B, H, W, C]`.
        cotangent: `[B, H, W, C]`.
        eps: `[B]`.
        schedule: how much is done at once.
    """
    views, height, width, _ = image.shape
    faces, dtype = is_cut.shape[0], edges.start.dtype
    lines = Scanlines(as_scanlines(image.astype(dtype)), as_scanlines(cotangent.astype(dtype)))
    points = [points.reshape(6, -1) for points in edges]
    table = jnp.concatenate([*points, is_cut[None].astype(dtype)])

    # List the visible pixels.
    face = face[:, ::-1].reshape(-1)
    at_once = min(schedule.pixels, face.size)
    queue, visible = compact_indices(face >= 0, face.size + at_once)

    def one_pass(number: jax.Array, gradient: jax.Array) -> jax.Array:
        # Find where the pixels lie, and the edges of their faces.
        first = number * at_once
        pixel = lax.dynamic_slice(queue, (first,), (at_once,))
        live = first + jnp.arange(at_once, dtype=jnp.int32) < visible
        row, column = lax.div(pixel, jnp.int32(width)), lax.rem(pixel, jnp.int32(width))
        view, row = lax.div(row, jnp.int32(height)), lax.rem(row, jnp.int32(height))
        owner = face[pixel] + view * (faces // views)

        def some_sweeps(number: jax.Array, carry: tuple) -> tuple:
            # What a loop carries is in memory; what it does not, XLA computes at each use.
            known, pixels, gradient = carry
            live, view, row, column, owner = pixels
            numbers = number * schedule.sweeps + jnp.arange(schedule.sweeps, dtype=jnp.int32)
            sweep = Sweep(numbers[:, None], (height, width))
            u, v = (jnp.where(sweep.by_column, *pair) for pair in ((column, row), (row, column)))
            line = view * (width + height) + jnp.where(sweep.by_column, u, width + u)

            start, end, third = (_corner(known, sweep, *of) for of in ((0, 0), (1, 0), (0, 2)))
            swept = SweptEdges(start, end, u, owner, eps[view])
            crossing = swept.cross(sweep)
            crossing = crossing._replace(valid=crossing.valid & live)

            def accumulate(
                gradient: jax.Array, terms: list[jax.Array], index: jax.Array
            ) -> jax.Array:
                return scatter_add_each(gradient, [index, SWEEPS * faces + index], terms)

            # Inwards: add one term for the pixel itself.
            inside = _is_inside(swept, crossing, third, v, known[12:] > 0)
            terms = _inward_terms(lines, line, v, swept, crossing, inside, sweep.line_length)
            gradient = accumulate(gradient, terms, sweep.coordinate * faces + owner)

            # Outwards: from the pixels right inside the edges, add a sum over all beyond.
            rows = max(1, min(schedule.line_pixels // lines.image.shape[2], u.size // 8))
            chosen, chosen_count = compact_indices(
                (crossing.valid & (v == crossing.inner.astype(v.dtype))).reshape(-1),
                u.size + rows,
            )
            chosen_index = (line * lines.image.shape[2] + v).reshape(-1)[chosen]
            every = jax.tree.map(lambda array: jnp.broadcast_to(array, u.shape).reshape(-1), swept)

            def one_chunk(chunk: jax.Array, gradient: jax.Array) -> jax.Array:
                first = chunk * rows
                slots = lax.dynamic_slice(chosen, (first,), (rows,))
                these = jax.tree.map(lambda array: array[slots], every)
                number = numbers[0] + lax.div(slots, jnp.int32(at_once))
                sweep = Sweep(number, (height, width))
                crossing = these.cross(sweep)
                live = first + jnp.arange(rows, dtype=jnp.int32) < chosen_count
                crossing = crossing._replace(valid=crossing.valid & live)
                index = lax.dynamic_slice(chosen_index, (first,), (rows,))
                sums = _outward_sums(lines, index, these, crossing)
                return accumulate(gradient, sums, sweep.coordinate * faces + these.owner)

            gradient = loop_over_chunks(chosen_count, rows, one_chunk, gradient)
            return known, pixels, gradient

        pixels = [array[None] for array in (live, view, row, column, owner)]
        carry = (table[:, owner], pixels, gradient)
        times = jnp.int32(SWEEPS // schedule.sweeps)
        return lax.fori_loop(jnp.int32(0), times, some_sweeps, carry)[-1]

    zeros = match_varying_axes(jnp.zeros(12 * faces, dtype), face)
    gradient = loop_over_chunks(visible, at_once, one_pass, zeros)
    # Scale from screen units, which it is per so far, to pixels, which the edges are in.
    pixels_per_unit = jnp.array([width / 2, height / 2], dtype)[None, :, None, None]
    return Segments(*(gradient.reshape(2, 2, 3, faces) / pixels_per_unit))


def _corner(known: jax.Array, sweep: Sweep, end: int, shift: int) -> tuple[jax.Array, jax.Array]:
    """The coordinates across and along the scanlines `[E, P]` of an end of an edge.

    Args:
        known: `[13, P]` the edges of the pixels' faces, see `_sweep_all`.
        sweep: `[E, 1]`, which edges are swept, and along which axis.
        end: 0 where the edge starts, 1 where it ends.
        shift: how many edges further around the face.
    """
    edge = lax.rem(sweep.edge[:, 0] + shift, jnp.int32(3))

    def read(axis: jax.Array) -> jax.Array:
        # Row by row, which XLA reads where it needs them: a gather it would write out.
        rows = [lax.dynamic_index_in_dim(known, k, keepdims=False) for k in axis * 3 + edge]
        return jnp.stack(rows)

    return read(end * 2 + sweep.axis[:, 0]), read(end * 2 + 1 - sweep.axis[:, 0])


def _is_inside(
    swept: SweptEdges,
    crossing: Crossing,
    third: tuple[jax.Array, jax.Array],
    v: jax.Array,
    is_cut: jax.Array,
) -> jax.Array:
    """Whether pixels lie between v* and where their scanline leaves the face on its far side.

    By crossings, not by edge functions: the limit is rounded to pixels as the original does.
    """
    (au, av), (bu, bv), (cu, cv) = swept.a, swept.b, third
    u = swept.u.astype(au.dtype)
    from_a = (u - au) * (u - cu) < 0
    start_u, start_v = jnp.where(from_a, au, cu), jnp.where(from_a, av, cv)
    rise, run = jnp.where(from_a, cv - av, bv - cv), jnp.where(from_a, cu - au, bu - cu)
    limit = start_v + rise * (u - start_u) / run
    limit = jnp.where(crossing.outward > 0, jnp.ceil(limit), jnp.floor(limit))
    limit = jnp.where(jnp.isnan(limit), 0, limit)
    # The far side of a face that is cut may be the cut.
    limit = jnp.where(is_cut, -crossing.outward * jnp.inf, limit)
    low, high = jnp.minimum(crossing.inner, limit), jnp.maximum(crossing.inner, limit)
    v = v.astype(low.dtype)
    return (low <= v) & (v <= high)


def _inward_terms(
    lines: Scanlines,
    line: jax.Array,
    v: jax.Array,
    swept: SweptEdges,
    crossing: Crossing,
    inside: jax.Array,
    line_length: jax.Array,
) -> list[jax.Array]:
    """The gradients `[P]` by pixels that the face may give up, to either end."""
    outer = (crossing.inner + crossing.outward).astype(jnp.int32)
    decrease = lines.loss_decrease(line, v, jnp.clip(outer, 0, line_length - 1))
    counts = crossing.valid & inside & (decrease > 0)
    terms = []
    for jacobian, depends in zip(crossing.jacobian, crossing.depends, strict=True):
        distance = (v.astype(jacobian.dtype) - crossing.at) * jacobian
        distance += jnp.where(distance > 0, swept.eps, -swept.eps)
        terms.append(jnp.where(counts & depends, -decrease / distance, 0))
    return terms


def _outward_sums(
    lines: Scanlines, index: jax.Array, swept: SweptEdges, crossing: Crossing
) -> list[jax.Array]:
    """The gradients `[K]`, summed over the pixels that the face may gain, to either end.

    `index` counts the pixels right inside the edges through all scanlines.
    """
    # Let both ends be rows of one table: with a single use, XLA never writes the table out.
    length = lines.image.shape[2]
    index = jnp.concatenate([index, index])
    outward = jnp.concatenate([crossing.outward, crossing.outward])[:, None]
    at = jnp.concatenate([crossing.at, crossing.at])[:, None]
    eps = jnp.concatenate([swept.eps, swept.eps])[:, None]
    jacobian = jnp.concatenate(crossing.jacobian)[:, None]
    decrease = lines.loss_decrease_along(index)
    along = jnp.arange(length, dtype=decrease.dtype)[None]
    inner = lax.rem(index, jnp.int32(length)).astype(decrease.dtype)
    beyond = (along - inner[:, None]) * outward > 0
    decrease = jnp.where(beyond & (decrease > 0), decrease, 0)
    distance = (along - at) * outward * jnp.abs(jacobian) + eps

    # A product with ones: XLA's own sum along a row is several times slower on a CPU.
    total = jnp.dot(decrease / distance, jnp.ones(length, decrease.dtype), precision="highest")
    sums = (-total * outward[:, 0] * jnp.sign(jacobian[:, 0])).reshape(2, -1)
    return [
        jnp.where(crossing.valid & depends, sum_, 0)
        for sum_, depends in zip(sums, crossing.depends, strict=True)
    ]
