"""The z-buffer: which face is nearest at each pixel, exactly.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `P` slots of a pass, `h, w` window.

The faces are drawn in passes of `P` windows (see `windows.py`). In each pass

1. every window computes the nearness of its face at its pixels, `-inf` where it misses;
2. the nearness buffer takes the maximum;
3. every window that equals the buffer there offers its face id, and the id buffer takes the
   minimum.

Passes go from the last face to the first, so an offer always has a lower id than what earlier
passes left: it replaces it, whether it is nearer or ties. The lowest id wins every tie, with no
reset of the id buffer. Maximum and minimum do not depend on order, so the result is the same
on every device and for any number of slots.

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

WINDOW = (4, 16)  # a row of 16 floats fills the vector units; 8 rows are about as fast
MIN_SLOTS = 256  # even for few faces: large ones have many windows
NO_OFFER = jnp.iinfo(jnp.int32).max


class Schedule(NamedTuple):
    """How the same passes run on a kind of device; a matter of speed alone."""

    slots: int  # most windows in a pass
    merge: Callable  # merges the windows of a pass into the buffers


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
    face = jnp.maximum(face, 0)
    shares = planes.shares(face, *_pixel_centres(height, width, vertices.dtype))
    s0, s1, s2 = (jnp.where(empty, 1, share) for share in shares)
    if perspective:
        depth = 1 / (s0 + s1 + s2)
        s0, s1, s2 = s0 * depth, s1 * depth, s2 * depth
    else:
        depth = sum(s * planes.z[m][face] for m, s in enumerate((s0, s1, s2)))
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

    # Draw the views one below the other, padded so that no window leaves the picture.
    bounds, table = _set_up(
        vertices, faces, near if perspective else None, views, image_size=image_size, cull=cull
    )
    dtype = vertices.dtype
    tall = (views * (height + WINDOW[0]), width + WINDOW[1])
    nearness_of = jnp.reciprocal if perspective else jnp.negative
    lowest, highest = nearness_of(far), nearness_of(near)

    def fold(state: tuple[jax.Array, jax.Array], windows: Windows) -> tuple[jax.Array, jax.Array]:
        view = lax.div(windows.face, jnp.int32(face_count))
        edges = table[:15, windows.face].reshape(5, 3, -1)
        nearness = _window_nearness(Edges(*edges), windows)
        low, high = lowest[view], jnp.where(windows.live, highest[view], -jnp.inf)
        seen = (nearness > low[:, None, None]) & (nearness < high[:, None, None])
        origin = jnp.stack([windows.row + view * (height + WINDOW[0]), windows.column], -1)
        return schedule.merge(state, jnp.where(seen, nearness, -jnp.inf), windows.face, origin)

    nearest, face = scan_windows(
        fold,
        (jnp.full(tall, -jnp.inf, dtype), jnp.full(tall, NO_OFFER, jnp.int32)),
        bounds,
        window=WINDOW,
        slots=min(schedule.slots, max(MIN_SLOTS, views * face_count)),
    )

    # Cut the views out of the tall picture.
    nearest, face = (
        buffer.reshape(views, height + WINDOW[0], -1)[:, :height, :width]
        for buffer in (nearest, face)
    )
    empty = face == NO_OFFER
    depth = nearness_of(jnp.where(empty, -1, nearest))

    # Look up where on its face each pixel looks.
    planes = Planes(table[15], table[16], *table[17:].reshape(4, 3, -1))
    x, y = _pixel_centres(height, width, dtype)
    shares = planes.shares(jnp.where(empty, 0, face), x[None], y[None])
    scale = depth if perspective else 1
    barycentrics = [jnp.where(empty, 0, share * scale) for share in shares]
    return (
        jnp.where(empty, -1, lax.rem(face, jnp.int32(face_count))),
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
) -> tuple[Bounds, jax.Array]:
    """What drawing needs of the faces of all views, one view after the other.

    Returns:
        The pixel bounds, each `[B F]`, and a table `[29, B F]` of the numbers of `Edges` (15)
        and of `Planes` (14): one gather serves a pass, and because a loop needs the table, XLA
        does not compute its numbers anew at each pixel that asks for them.
    """
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
    edges = edges_of(corners, perspective=perspective)
    planes = planes_of(corners, perspective=perspective)
    return bounds, jnp.concatenate([jnp.atleast_2d(rows) for rows in (*edges, *planes)])


def _window_nearness(edges: Edges, windows: Windows) -> jax.Array:
    """The nearness of each slot's face at its window's pixels, -inf outside the face.

    Args:
        edges: of each slot's face, `[3, P]`.
        windows: the slots.

    Returns:
        `[P, h, w]`.
    """
    y, x = window_pixels(windows.row, windows.column, WINDOW)
    dtype = edges.x.dtype
    edges = Edges(*(value[..., None, None] for value in edges))
    weights = edges.weights(x[None].astype(dtype), y[None].astype(dtype))
    s0, s1, s2 = weights * edges.scale
    inside = (weights[0] >= 0) & (weights[1] >= 0) & (weights[2] >= 0)
    nearness = s0 + s1 + s2
    return jnp.where(inside, nearness, -jnp.inf)


def _merge_rows(
    state: tuple[jax.Array, jax.Array], nearness: jax.Array, face: jax.Array, origin: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Scatters whole windows: on a CPU one after the other, each row a vector operation."""
    nearest, ids = state
    scatter = lax.ScatterDimensionNumbers((1, 2), (), (0, 1))
    gather = lax.GatherDimensionNumbers((1, 2), (), (0, 1))
    inside = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    nearest = lax.scatter_max(nearest, origin, nearness, scatter, mode=inside)
    # Always taken: a branch keeps XLA from fusing the gather into the comparison, where it
    # would fetch pixel by pixel instead of row by row, at three times the cost.
    winning = lax.cond(
        face[0] >= 0,
        lambda nearest: lax.gather(nearest, origin, gather, WINDOW, mode=inside),
        lambda nearest: vary_like(jnp.zeros((origin.shape[0], *WINDOW), nearest.dtype), nearest),
        nearest,
    )
    hit = (nearness == winning) & (nearness > -jnp.inf)
    offer = jnp.where(hit, face[:, None, None], NO_OFFER)
    return nearest, lax.scatter_min(ids, origin, offer, scatter, mode=inside)


def _merge_pixels(
    state: tuple[jax.Array, jax.Array], nearness: jax.Array, face: jax.Array, origin: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Scatters single pixels, all at once, and only those that hit: for a GPU's atomics."""
    nearest, ids = (buffer.reshape(-1) for buffer in state)
    shape = state[0].shape
    row, column = window_pixels(origin[:, 0], origin[:, 1], WINDOW)
    pixel = jnp.where(nearness > -jnp.inf, row * shape[1] + column, nearest.size)
    nearest = nearest.at[pixel].max(nearness, mode="drop")
    winning = nearest.at[pixel].get(mode="fill", fill_value=jnp.inf)
    offer = jnp.where(nearness == winning, pixel, nearest.size)
    ids = ids.at[offer].min(face[:, None, None], mode="drop")
    return nearest.reshape(shape), ids.reshape(shape)


SCHEDULES = {
    "rows": Schedule(slots=2048, merge=_merge_rows),
    "pixels": Schedule(slots=MAX_SLOTS, merge=_merge_pixels),
}
