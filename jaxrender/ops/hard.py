"""The z-buffer: which face is nearest at each pixel, exactly.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `P` slots of a pass, `h, w` window.

Two schedules find the same:

- **loop**, for a CPU: the faces are drawn one after the other, from the last to the first, into a
  z-buffer, window by window (see `strips.py`).
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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import ordered
from jaxrender.ops.batching import fold_vmap_scheduled, in_lots
from jaxrender.ops.native import apart, are_native_loops_available, one_function
from jaxrender.ops.ordered import take_each
from jaxrender.ops.passes import vary_like
from jaxrender.ops.strips import Strips, Window, number, piece, walk
from jaxrender.ops.triangles import (
    Corners,
    Edges,
    Planes,
    corner_ids,
    edges_of,
    inverse_area,
    is_drawable,
    is_front,
    pixel_bounds,
    planes_of,
    signed_area,
    to_pixels,
)
from jaxrender.ops.windows import (
    Bounds,
    Windows,
    expected_windows,
    scan_windows,
    window_pixels,
)

WINDOW = (4, 16)  # of the passes
MOST_SLOTS = 1 << 17  # of a pass
FEW_PIXELS = 1 << 17  # of all views, padding and all
FEW_FACES = 8  # few are fewer than one for so many pixels
FEW_SET_UP = 1 << 13  # faces; for more, two threads are quicker than one function
MANY_SET_UP = 5 * FEW_SET_UP  # for more than one view; what is set up of more is slow to reach
MOST_NUMBERS = jnp.iinfo(jnp.int32).max  # that the loop can count; more go in passes
NO_OFFER = jnp.iinfo(jnp.int32).max


class Scene(NamedTuple):
    """The faces of all views, `B F` of them, one view after the other, ready to be drawn."""

    corners: Corners  # each [3, B F]
    bounds: Bounds  # each [B F]
    edges: Edges  # each [3, B F]
    lowest: jax.Array  # [B] nearness behind which nothing is drawn
    highest: jax.Array  # [B] nearness in front of which nothing is drawn


# What drawing returns: the highest nearness; its face, counted through all views, `NO_OFFER` where
# there is none; and the shares of its corners, see `Planes`. Each `[B, H, W]`.
Drawn = tuple[jax.Array, jax.Array, list[jax.Array]]


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
    # Sums in a fixed order are made by a rule for reverse mode alone.
    moving = _moving_in_reverse if ordered.is_order_asked_for() else _moving
    moved: Any = moving(vertices, far, faces, face, barycentrics, depth, perspective)
    return face, *moved


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def _moving_in_reverse(
    vertices: jax.Array,
    far: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    barycentrics: jax.Array,
    depth: jax.Array,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """`_moving`, differentiable in reverse mode."""
    return barycentrics, depth


def _moving_in_reverse_fwd(vertices, far, faces, face, barycentrics, depth, perspective):
    return (barycentrics, depth), (vertices, far, faces, face)


def _moving_in_reverse_bwd(perspective, kept, upstream):
    vertices, far, faces, face = kept
    look = functools.partial(look_up, faces=faces, face=face, perspective=perspective)
    _, pull = jax.vjp(lambda vertices, far: look(vertices, far=far), vertices, far)
    return *pull(upstream), None, None, None, None


_moving_in_reverse.defvjp(_moving_in_reverse_fwd, _moving_in_reverse_bwd)


def look_up(
    vertices: jax.Array, faces: jax.Array, face: jax.Array, far: jax.Array, *, perspective: bool
) -> tuple[jax.Array, jax.Array]:
    """Barycentrics `[H, W, 3]` and depth `[H, W]` of given faces `[H, W]`; differentiable."""
    height, width = face.shape
    if vertices.shape[0] == 0 or faces.shape[0] == 0:
        return jnp.zeros((height, width, 3), vertices.dtype), jnp.broadcast_to(far, face.shape)

    # Set up every face; let those that no pixel can see be some harmless triangle, whose
    # gradient is zero and not NaN.
    corners = Corners(*take_each(to_pixels(vertices, (height, width)), faces.T))
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
        z0, z1, z2 = take_each([*planes.z], face)
        depth = s0 * z0 + s1 * z1 + s2 * z2
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
    schedule: bool,  # whether in the loop, where that can be
) -> tuple[jax.Array, jax.Array, jax.Array]:
    views = max(arg.shape[0] for arg in (vertices, faces, near, far))
    near, far = (jnp.broadcast_to(limit, (views,)) for limit in (near, far))
    height, width = image_size
    face_count = faces.shape[1]
    if vertices.shape[1] == 0 or face_count == 0:
        nothing = jnp.full((views, height, width), -1, jnp.int32)
        zeros = jnp.zeros((*nothing.shape, 3), vertices.dtype)
        return nothing, zeros, jnp.broadcast_to(far[:, None, None], nothing.shape)

    # Draw some views after the others where their faces are many, in memory that stays near.
    in_loop = schedule and are_native_loops_available()
    at_once = views
    if in_loop:
        at_once = _views_at_once(views, max(face_count, vertices.shape[1]), image_size)
    if at_once < views:
        draw = functools.partial(
            _draw, image_size=image_size, perspective=perspective, cull=cull, schedule=schedule
        )
        return in_lots(draw, (vertices, faces, near, far), at_once)

    # Set the faces of all views up, and draw them; a picture that is too large goes in passes.
    in_loop = in_loop and Strips(views, image_size).size <= MOST_NUMBERS
    set_up = functools.partial(_set_up, views=views, image_size=image_size, cull=cull)
    if in_loop and max(faces.size, vertices.size) * views <= 3 * FEW_SET_UP:
        set_up = one_function(set_up)
    nearness_of = jnp.reciprocal if perspective else jnp.negative
    corners, bounds, edges = set_up(vertices, faces, near if perspective else None)
    scene = Scene(corners, bounds, edges, nearness_of(far), nearness_of(near))
    draw = _draw_in_loop if in_loop else _draw_in_passes
    nearest, face, shares = draw(scene, image_size=image_size, perspective=perspective)
    empty = face == NO_OFFER
    depth = nearness_of(jnp.where(empty, -1, nearest))
    first = face_count * jnp.arange(views, dtype=jnp.int32)[:, None, None]
    scale = depth if perspective else 1
    barycentrics = [jnp.where(empty, 0, share * scale) for share in shares]
    return (
        jnp.where(empty, -1, face - first),
        jnp.stack(barycentrics, axis=-1),
        jnp.where(empty, far[:, None, None], depth),
    )


def _views_at_once(views: int, faces: int, image_size: tuple[int, int]) -> int:
    """How many views are drawn at once: of small meshes as many as are set up in one function."""
    most = (FEW_SET_UP if 2 * faces <= FEW_SET_UP else MANY_SET_UP) // faces
    return max(1, min(most, MOST_NUMBERS // Strips(1, image_size).size, views))


def _set_up(
    vertices: jax.Array,
    faces: jax.Array,
    near: jax.Array | None,
    *,
    views: int,
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


def _draw_in_loop(scene: Scene, *, image_size: tuple[int, int], perspective: bool) -> Drawn:
    """Draws one face after the other."""
    corners, bounds, edges, lowest, highest = scene
    strips = Strips(lowest.shape[0], image_size)
    draw = one_function(functools.partial(_find_nearest, strips=strips))
    nearest, face = draw(bounds, edges, lowest, highest)

    # Find where on its face each pixel looks, unless nobody asks for it: by looking the face up,
    # or by another walk where that has less to do, in small pictures of few faces.
    if not FEW_FACES * edges.x.shape[1] <= strips.size <= FEW_PIXELS:
        nearest, face = strips.cut_out(nearest), strips.cut_out(face)
        planes = apart(functools.partial(planes_of, perspective=perspective))(corners)
        return nearest, face, _look_at_planes(planes, face)
    if not perspective:
        scale = inverse_area(signed_area(corners))
        edges = edges._replace(scale=jnp.broadcast_to(scale[None], edges.scale.shape))
    share = one_function(functools.partial(_find_shares, strips=strips))
    shares = share(bounds, edges, face)
    nearest, face, s0, s1 = map(strips.cut_out, (nearest, face, *shares))
    s2 = jnp.maximum((nearest if perspective else 1) - s0 - s1, 0)
    return nearest, face, [s0, s1, s2]


def _look_at_planes(planes: Planes, face: jax.Array) -> list[jax.Array]:
    """The shares of the corners of the faces `[B, H, W]` that pixels see."""
    _, height, width = face.shape
    x, y = _pixel_centres(height, width, planes.x_far.dtype)
    return planes.shares(jnp.where(face == NO_OFFER, 0, face), x[None], y[None])


def _find_nearest(
    bounds: Bounds,
    edges: Edges,
    lowest: jax.Array,
    highest: jax.Array,
    *,
    strips: Strips,
) -> tuple[jax.Array, jax.Array]:
    """The walk that finds the highest nearness, and whose it is."""

    def offer(edges: Edges, window: Window, lowest: jax.Array, highest: jax.Array) -> jax.Array:
        x, y = window.pixels(edges.x.dtype)
        limits = number(lowest, window.view), number(highest, window.view)
        return _nearness(_edges_of_face(edges, window.face), x[None], y[None], *limits)

    def paint(nearest: jax.Array, ids: jax.Array, offered: jax.Array, window: Window) -> jax.Array:
        wins = (offered == window.read(nearest)) & (offered > -jnp.inf)
        return window.write(ids, jnp.where(wins, window.face, window.read(ids)))

    def fold(buffers: tuple[jax.Array, jax.Array], window: Window) -> tuple[jax.Array, jax.Array]:
        nearest, ids = buffers
        offered = apart(offer)(edges, window, lowest, highest)
        before = window.read(nearest)
        nearest = window.write(nearest, jnp.where(offered > before, offered, before))
        return nearest, apart(paint)(nearest, ids, offered, window)

    empty = strips.full(-jnp.inf, edges.x.dtype), strips.full(NO_OFFER, jnp.int32)
    return walk(fold, vary_like(empty, lowest), bounds, strips)


def _find_shares(
    bounds: Bounds,
    edges: Edges,
    face: jax.Array,
    *,
    strips: Strips,
) -> tuple[jax.Array, jax.Array]:
    """The walk that finds the shares of the first two corners where a face is seen."""

    def fold(shares: tuple[jax.Array, jax.Array], window: Window) -> tuple[jax.Array, jax.Array]:
        x, y = window.pixels(edges.x.dtype)
        these = _edges_of_face(edges, window.face)
        seen = window.read(face) == window.face
        found = these.weights(x[None], y[None]) * these.scale
        written = [
            window.write(share, jnp.where(seen, found[m], window.read(share)))
            for m, share in enumerate(shares)
        ]
        return written[0], written[1]

    nothing = strips.full(0, edges.x.dtype), strips.full(0, edges.x.dtype)
    return walk(fold, vary_like(nothing, face), bounds, strips)


def _edges_of_face(edges: Edges, face: jax.Array) -> Edges:
    return Edges(*(piece(field, (0, face), (3, 1)) for field in edges))


def _draw_in_passes(scene: Scene, *, image_size: tuple[int, int], perspective: bool) -> Drawn:
    """Draws many windows at once."""
    corners, bounds, edges, lowest, highest = scene
    (height, width), views = image_size, lowest.shape[0]
    (_, total), padded = edges.x.shape, height + WINDOW[0]

    def fold(state: tuple[jax.Array, jax.Array], windows: Windows) -> tuple[jax.Array, jax.Array]:
        view = lax.div(windows.face, jnp.int32(total // views))
        these = Edges(*table[:15, windows.face].reshape(5, 3, -1, 1, 1))
        y, x = window_pixels(windows.row, windows.column, WINDOW)
        low, high = lowest[view], jnp.where(windows.live, highest[view], -jnp.inf)
        limits = low[:, None, None], high[:, None, None]
        nearness = _nearness(these, x[None].astype(dtype), y[None].astype(dtype), *limits)
        return _merge_pixels(state, nearness, windows, windows.row + view * padded)

    # Draw the views one below the other, padded so that no window leaves the picture. One table
    # of all numbers: a single gather serves a pass, and because a loop needs the table, XLA does
    # not compute its numbers anew at each pixel that asks for them.
    planes, dtype = planes_of(corners, perspective=perspective), edges.x.dtype
    table = jnp.concatenate([jnp.atleast_2d(rows) for rows in (*edges, *planes)])
    tall = (views * padded, width + WINDOW[1])
    buffers = scan_windows(
        fold,
        (jnp.full(tall, -jnp.inf, dtype), jnp.full(tall, NO_OFFER, jnp.int32)),
        bounds,
        window=WINDOW,
        slots=min(MOST_SLOTS, 2 * views * expected_windows(total // views, image_size, WINDOW)),
    )
    nearest, face = (buffer.reshape(views, padded, -1)[:, :height, :width] for buffer in buffers)

    planes = Planes(table[15], table[16], *table[17:].reshape(4, 3, -1))
    return nearest, face, _look_at_planes(planes, face)


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


SCHEDULES = {"loop": True, "pixels": False}
