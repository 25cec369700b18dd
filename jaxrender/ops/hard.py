"""The z-buffer: which face is nearest at each pixel, exactly.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `P` slots of a pass, `h, w` window.

Two schedules find the same:

- **loop**, for a CPU: the faces are drawn one after the other, from the last to the first, into a
  z-buffer, window by window of 8 x 8 pixels. The picture lies in strips 8 pixels wide, row after
  row, so a window anywhere in a strip is one run of 64 numbers: a few vector operations. The
  loop is one function of machine code (see `native.py`).
- **pixels**, for a GPU: the faces are drawn in passes of `P` windows (see `windows.py`). In each
  pass every window computes the nearness of its face at its pixels; the nearness buffer takes
  the maximum; and every pixel that equals the buffer there offers its face id, of which the id
  buffer takes the minimum.

Both go from the last face to the first, so an offer always has a lower id than what came before:
it replaces it, whether it is nearer or ties. The lowest id wins every tie. Maximum and minimum do
not depend on order, so the result does not depend on the number of slots, nor, up to rounding, on
the device.

Nearness is 1/z under perspective and -z otherwise: both are linear on screen, and need no
division at a pixel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import fold_vmap_scheduled
from jaxrender.ops.native import apart, one_function
from jaxrender.ops.passes import vary_like
from jaxrender.ops.triangles import (
    Corners,
    Edges,
    Planes,
    corner_ids,
    edges_of,
    is_drawable,
    is_front,
    pixel_bounds,
    planes_of,
    signed_area,
    to_pixels,
)
from jaxrender.ops.windows import MAX_SLOTS, Bounds, Windows, scan_windows, window_pixels

WINDOW = (4, 16)  # of the passes
SLOTS = MAX_SLOTS  # of a pass, at most
MIN_SLOTS = 256  # even for few faces: large ones have many windows
STRIP = 8  # width of the loop's strips, and of its windows
STRIP_ROWS = 8  # of its windows: fewer rows cost hardly less, and make more windows
NO_OFFER = jnp.iinfo(jnp.int32).max


def nearest_faces(
    vertices: jax.Array,
    faces: jax.Array,
    near: jax.Array,
    far: jax.Array,
    *,
    image_size: tuple[int, int],
    perspective: bool = True,
    cull: str = "none",
    schedule: str | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Finds the nearest face at each pixel centre. Not differentiable.

    Args:
        vertices: `[V, 3]` screen space.
        faces: `[F, 3]` int32. A face with an index out of range, with a vertex that is not
            finite, or of no area is not drawn.
        near: `[]` depth in front of which nothing is drawn; exclusive.
        far: `[]` depth behind which nothing is drawn; exclusive.
        image_size: `(H, W)`.
        perspective: whether 1/z (True) or z (False) is linear on screen.
        cull: which side is not drawn: "none", "back" or "front".
        schedule: a key of `SCHEDULES`; by default that of the platform.

    Returns:
        `face` `[H, W]` int32, -1 where there is none; the lowest id wins a tie.
        `barycentrics` `[H, W, 3]` perspective-correct, 0 where there is none.
        `depth` `[H, W]`, `far` where there is none.
    """
    return _single_view(image_size, perspective, cull, schedule)(vertices, faces, near, far)


def hard_fragments(
    vertices: jax.Array,
    faces: jax.Array,
    near: jax.Array,
    far: jax.Array,
    image_size: tuple[int, int],
    perspective: bool,
    cull: str,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`nearest_faces`, differentiable.

    Gradient: exact, inside the face that a pixel sees: of barycentrics and depth to
    `vertices`, and of the empty pixels' depth to `far`. Which face it sees has none.
    """
    face, barycentrics, depth = nearest_faces(
        *map(lax.stop_gradient, (vertices, faces, near, far)),
        image_size=image_size,
        perspective=perspective,
        cull=cull,
    )
    return face, *_moving(vertices, far, faces, face, barycentrics, depth, perspective)


@functools.partial(jax.custom_jvp, nondiff_argnums=(6,))
def _moving(
    vertices: jax.Array,
    far: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    barycentrics: jax.Array,
    depth: jax.Array,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """Barycentrics and depth as they are; their derivatives are those of `look_up`."""
    return barycentrics, depth


@_moving.defjvp
def _moving_jvp(perspective, primals, tangents):
    vertices, far, faces, face, *_ = primals
    _, moved = jax.jvp(
        lambda vertices, far: look_up(vertices, faces, face, far, perspective=perspective),
        (vertices, far),
        tangents[:2],
    )
    return _moving(*primals, perspective), moved


def look_up(
    vertices: jax.Array, faces: jax.Array, face: jax.Array, far: jax.Array, *, perspective: bool
) -> tuple[jax.Array, jax.Array]:
    """Barycentrics `[H, W, 3]` and depth `[H, W]` of given faces `[H, W]`; differentiable."""
    height, width = face.shape
    if vertices.shape[0] == 0 or faces.shape[0] == 0:
        return jnp.zeros((height, width, 3), vertices.dtype), jnp.broadcast_to(far, face.shape)

    # Set up every face; let those that no pixel can see be some harmless triangle, whose
    # gradient is zero and not NaN.
    ids = jnp.clip(faces, 0, vertices.shape[0] - 1).T
    corners = Corners(*(axis[ids] for axis in to_pixels(vertices, (height, width))))
    drawable = is_drawable(corners, signed_area(corners), perspective=perspective)[None]
    harmless = jnp.array([[0, 1, 0], [0, 0, 1], [1, 1, 1]], vertices.dtype)[..., None]
    corners = Corners(*map(functools.partial(jnp.where, drawable), corners, harmless))
    planes = planes_of(corners, perspective=perspective)

    # Look each pixel's face up; an empty pixel gets shares that divide by nothing near zero.
    empty = face < 0
    planes = planes.of(jnp.maximum(face, 0))
    shares = planes.shares(*_pixel_centres(height, width, vertices.dtype))
    s0, s1, s2 = (jnp.where(empty, 1, share) for share in shares)
    if perspective:
        depth = 1 / (s0 + s1 + s2)
        s0, s1, s2 = s0 * depth, s1 * depth, s2 * depth
    else:
        depth = sum(s * planes.z[m] for m, s in enumerate((s0, s1, s2)))
    barycentrics = [jnp.where(empty, 0, s) for s in (s0, s1, s2)]
    return jnp.stack(barycentrics, axis=-1), jnp.where(empty, far, depth)


def _pixel_centres(height: int, width: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """X `[1, W]` and y `[H, 1]` in pixel coordinates."""
    return jnp.arange(width, dtype=dtype)[None, :], jnp.arange(height, dtype=dtype)[:, None]


@functools.cache
def _single_view(image_size: tuple[int, int], perspective: bool, cull: str, schedule: str | None):
    """The operation for these static settings; made once, so that `vmap` rules are too."""
    draw = functools.partial(_draw, image_size=image_size, perspective=perspective, cull=cull)
    return fold_vmap_scheduled(draw, SCHEDULES, schedule)


def _draw(
    vertices: jax.Array,  # [B or 1, V, 3]
    faces: jax.Array,  # [B or 1, F, 3]
    near: jax.Array,  # [B or 1]
    far: jax.Array,  # [B or 1]
    *,
    image_size: tuple[int, int],
    perspective: bool,
    cull: str,
    schedule: Schedule,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    views = max(arg.shape[0] for arg in (vertices, faces, near, far))
    near, far = (jnp.broadcast_to(limit, (views,)) for limit in (near, far))
    height, width = image_size
    face_count = faces.shape[1]
    if vertices.shape[1] == 0 or face_count == 0:
        nothing = jnp.full((views, height, width), -1, jnp.int32)
        zeros = jnp.zeros((*nothing.shape, 3), vertices.dtype)
        return nothing, zeros, jnp.broadcast_to(far[:, None, None], nothing.shape)

    # Draw the faces of all views.
    corners, bounds, edges = _set_up(
        vertices, faces, near if perspective else None, views, image_size=image_size, cull=cull
    )
    nearness_of = jnp.reciprocal if perspective else jnp.negative
    limits = nearness_of(far), nearness_of(near)
    with jax.named_scope("draw"):
        nearest, face = schedule.draw(bounds, edges, *limits, image_size=image_size)
    empty = face == NO_OFFER
    depth = nearness_of(jnp.where(empty, -1, nearest))

    # Look up where on its face each pixel looks.
    x, y = _pixel_centres(height, width, vertices.dtype)
    planes = schedule.written(functools.partial(planes_of, perspective=perspective))(corners)
    shares = planes.of(jnp.where(empty, 0, face)).shares(x[None], y[None])
    first = face_count * jnp.arange(views, dtype=jnp.int32)
    scale = depth if perspective else 1
    barycentrics = [jnp.where(empty, 0, share * scale) for share in shares]
    return (
        jnp.where(empty, -1, face - first[:, None, None]),
        jnp.stack(barycentrics, axis=-1),
        jnp.where(empty, far[:, None, None], depth),
    )


def _set_up(
    vertices: jax.Array,
    faces: jax.Array,
    near: jax.Array | None,
    views: int,
    *,
    image_size: tuple[int, int],
    cull: str,
) -> tuple[Corners, Bounds, Edges]:
    """What drawing needs of the faces of all views, `B F` of them, one view after the other."""
    vertex_count, face_count = vertices.shape[1], faces.shape[1]
    perspective = near is not None

    # Find the corners in one list of vertices.
    ids, drawn = corner_ids(faces, vertex_count, views, shared=vertices.shape[0] == 1)
    axes = [axis.reshape(-1) for axis in to_pixels(vertices, image_size)]
    corners = Corners(*(axis[ids] for axis in axes))

    # Leave out faces that cannot be drawn, or that turn their culled side.
    area = signed_area(corners)
    drawn &= is_drawable(corners, area, perspective=perspective)
    if cull != "none":
        drawn &= is_front(corners, area, perspective=perspective) == (cull == "back")

    # Bound their pixels, and set up their edges.
    if near is not None:
        near = jnp.broadcast_to(near[:, None], (views, face_count)).reshape(-1)
    bounds = pixel_bounds(corners, drawn, near, image_size=image_size)
    return corners, bounds, edges_of(corners, perspective=perspective)


def _nearness(
    edges: Edges, x: jax.Array, y: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
    """The nearness of faces at pixels, -inf outside of a face or of the limits."""
    weights = edges.weights(x, y)
    inside = (weights[0] >= 0) & (weights[1] >= 0) & (weights[2] >= 0)
    s0, s1, s2 = weights * edges.scale
    nearness = s0 + s1 + s2
    return jnp.where(inside & (nearness > low) & (nearness < high), nearness, -jnp.inf)


def _draw_in_loop(
    bounds: Bounds,
    edges: Edges,
    lowest: jax.Array,
    highest: jax.Array,
    *,
    image_size: tuple[int, int],
) -> tuple[jax.Array, jax.Array]:
    """Draws one face after the other.

    Args:
        bounds: of the faces of all views, each `[B F]`.
        edges: of the same faces, each `[3, B F]`.
        lowest: `[B]` nearness behind which nothing is drawn.
        highest: `[B]` nearness in front of which nothing is drawn.
        image_size: `(H, W)`.

    Returns:
        The highest nearness and its face, counted through all views, each `[B, H, W]`; `NO_OFFER`
        where there is none.
    """
    (height, width), views = image_size, lowest.shape[0]
    strips, rows = -(-width // STRIP), height + STRIP_ROWS - 1
    draw = one_function(functools.partial(_draw_strips, strips=strips, rows=rows))
    buffers = draw(bounds, edges, lowest, highest)

    def cut_out(buffer: jax.Array) -> jax.Array:
        buffer = buffer.reshape(views, strips, rows, STRIP).transpose(0, 2, 1, 3)
        return buffer.reshape(views, rows, -1)[:, :height, :width]

    nearest, face = map(cut_out, buffers)
    return nearest, face


def _draw_strips(
    bounds: Bounds,
    edges: Edges,
    lowest: jax.Array,
    highest: jax.Array,
    *,
    strips: int,
    rows: int,
) -> tuple[jax.Array, jax.Array]:
    """The loop over the faces; returns the strips of the views, `[B strips rows STRIP]`."""
    total, dtype = edges.x.shape[1], edges.x.dtype
    per_view, last_face = jnp.int32(total // lowest.shape[0]), jnp.int32(total - 1)
    size = STRIP_ROWS * STRIP
    pixel = jnp.arange(size, dtype=jnp.int32)
    down, across = (part.astype(dtype) for part in jnp.divmod(pixel, STRIP))

    def number(array: jax.Array, *place: int | jax.Array) -> jax.Array:
        return _slice(array, place, (1,) * len(place)).reshape(())

    def offer(
        edges: Edges, face: jax.Array, row: jax.Array, strip: jax.Array, *limits: jax.Array
    ) -> jax.Array:
        edges = Edges(*(_slice(field, (0, face), (3, 1)) for field in edges))
        x, y = (strip * STRIP).astype(dtype) + across, row.astype(dtype) + down
        return _nearness(edges, x[None], y[None], *limits)

    def paint(
        nearest: jax.Array, ids: jax.Array, nearness: jax.Array, at: jax.Array, face: jax.Array
    ) -> jax.Array:
        wins = (nearness == _slice(nearest, (at,), (size,))) & (nearness > -jnp.inf)
        painted = jnp.where(wins, face, _slice(ids, (at,), (size,)))
        return lax.dynamic_update_slice(ids, painted, (at,), allow_negative_indices=False)

    def draw_face(step: jax.Array, buffers: tuple[jax.Array, jax.Array]) -> tuple:
        face = last_face - step
        view = lax.div(face, per_view)
        limits = number(lowest, view), number(highest, view)
        left, right = number(bounds.left, face), number(bounds.right, face)
        first, last = lax.div(left, jnp.int32(STRIP)), lax.div(right, jnp.int32(STRIP))
        final_row = lax.select(left <= right, number(bounds.bottom, face), jnp.int32(-1))

        def draw_window(carry: tuple) -> tuple:
            row, strip, nearest, ids = carry
            at = ((view * strips + strip) * rows + row) * STRIP
            nearness = apart(offer)(edges, face, row, strip, *limits)
            before = _slice(nearest, (at,), (size,))
            here = jnp.where(nearness > before, nearness, before)
            nearest = lax.dynamic_update_slice(
                nearest, here, (at,), allow_negative_indices=False
            )
            ids = apart(paint)(nearest, ids, nearness, at, face)
            ends = strip >= last
            row = lax.select(ends, row + STRIP_ROWS, row)
            return row, lax.select(ends, first, strip + 1), nearest, ids

        start = (number(bounds.top, face), first, *buffers)
        return lax.while_loop(lambda carry: carry[0] <= final_row, draw_window, start)[2:]

    count = lowest.shape[0] * strips * rows * STRIP
    empty = jnp.full(count, -jnp.inf, dtype), jnp.full(count, NO_OFFER, jnp.int32)
    return lax.fori_loop(jnp.int32(0), jnp.int32(total), draw_face, vary_like(empty, (bounds.top, lowest)))


def _slice(array: jax.Array, start: tuple, sizes: tuple[int, ...]) -> jax.Array:
    """A piece of an array, from places that are known not to be negative."""
    start = tuple(jnp.asarray(place, jnp.int32) for place in start)
    return lax.dynamic_slice(array, start, sizes, allow_negative_indices=False)


def _draw_in_passes(
    bounds: Bounds,
    edges: Edges,
    lowest: jax.Array,
    highest: jax.Array,
    *,
    image_size: tuple[int, int],
) -> tuple[jax.Array, jax.Array]:
    """The same as `_draw_in_loop`, many windows at once."""
    (height, width), views = image_size, lowest.shape[0]
    (_, total), padded = edges.x.shape, height + WINDOW[0]

    def fold(state: tuple[jax.Array, jax.Array], windows: Windows) -> tuple[jax.Array, jax.Array]:
        view = lax.div(windows.face, jnp.int32(total // views))
        these = Edges(*table[:, windows.face].reshape(5, 3, -1, 1, 1))
        y, x = window_pixels(windows.row, windows.column, WINDOW)
        low, high = lowest[view], jnp.where(windows.live, highest[view], -jnp.inf)
        limits = low[:, None, None], high[:, None, None]
        nearness = _nearness(these, x[None].astype(dtype), y[None].astype(dtype), *limits)
        return _merge_pixels(state, nearness, windows, windows.row + view * padded)

    # Draw the views one below the other, padded so that no window leaves the picture. One table
    # of all numbers: a single gather serves a pass.
    table, dtype = jnp.concatenate(edges), edges.x.dtype
    tall = (views * padded, width + WINDOW[1])
    buffers = scan_windows(
        fold,
        (jnp.full(tall, -jnp.inf, dtype), jnp.full(tall, NO_OFFER, jnp.int32)),
        bounds,
        window=WINDOW,
        slots=min(SLOTS, max(MIN_SLOTS, total)),
    )
    nearest, face = (
        buffer.reshape(views, padded, -1)[:, :height, :width] for buffer in buffers
    )
    return nearest, face


def _merge_pixels(
    state: tuple[jax.Array, jax.Array], nearness: jax.Array, windows: Windows, row: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Scatters single pixels, all at once, and only those that hit: for a GPU's atomics."""
    nearest, ids = (buffer.reshape(-1) for buffer in state)
    shape = state[0].shape
    rows, columns = window_pixels(row, windows.column, WINDOW)
    pixel = jnp.where(nearness > -jnp.inf, rows * shape[1] + columns, nearest.size)
    nearest = nearest.at[pixel].max(nearness, mode="drop")
    winning = nearest.at[pixel].get(mode="fill", fill_value=jnp.inf)
    offer = jnp.where(nearness == winning, pixel, nearest.size)
    ids = ids.at[offer].min(windows.face[:, None, None], mode="drop")
    return nearest.reshape(shape), ids.reshape(shape)


class Schedule(NamedTuple):
    """How the same faces are drawn on a kind of device; a matter of speed alone."""

    draw: Callable
    written: Callable  # turns a function into one whose results are in memory, if that pays


SCHEDULES = {
    "loop": Schedule(_draw_in_loop, apart),
    "pixels": Schedule(_draw_in_passes, lambda function: function),
}
