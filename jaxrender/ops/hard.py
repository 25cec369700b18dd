"""The z-buffer: which face is nearest at each pixel, exactly.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `P` blocks of a pass, `h, w` block.

Two schedules find the same:

- **loop**, for a CPU: the faces are drawn one after the other, from the last to the first, into a
  z-buffer, block by block (see `strips.py`).
- **pixels**, for a GPU: the faces are drawn in passes of `P` blocks (see `blocks.py`). In each
  pass every block computes the nearness of its face at its pixels; the nearness buffer takes
  the maximum; and every pixel that equals the buffer there offers its face's key, of which the
  key buffer takes the minimum.

Of faces that tie the one that looks at the camera is seen, then the one of lower id: that of the
lowest key, see `face_of`. The loop goes from the last face to the first, so a face has a lower key
than those drawn before, unless it is a back and they are fronts: it looks at the key that is
held. The passes draw all backs before the fronts, so an offer always has a lower key than what
came before: it replaces it, whether it is nearer or ties. Maximum and minimum do not depend on
order, so the result does not depend on the number of blocks, nor, up to rounding, on the device.

Faces that tie are told by equal bits, so those of one triangle must not depend on the order of
its corners: it is set up with its corners sorted by where they lie (`CornerOrder`).

Nearness is 1/z under perspective and -z otherwise: both are linear on screen, and need no
division at a pixel.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import deterministic, native
from jaxrender.ops.batching import fold_vmap_scheduled, in_chunks
from jaxrender.ops.hard_loop import draw_in_loop
from jaxrender.ops.hard_passes import draw_in_passes
from jaxrender.ops.hard_scene import Scene, pixel_centres, set_up
from jaxrender.ops.strips import Strips
from jaxrender.ops.triangles import (
    Corners,
    is_drawable,
    planes_of,
    signed_area,
    sort_corners,
    to_pixels,
)

FEW_SET_UP = 1 << 13  # faces; for more, two threads are quicker than one function
MANY_SET_UP = 5 * FEW_SET_UP  # for more than one view; what is set up of more is slow to reach
MOST_NUMBERS = jnp.iinfo(jnp.int32).max  # that the loop can count; more go in passes
MIN_NEARNESS = 1e-18  # of what has a gradient: the square of its inverse is finite in float32


def nearest_faces(
    vertices: jax.Array,
    faces: jax.Array,
    near: jax.Array,
    far: jax.Array | None,
    *,
    image_size: tuple[int, int],
    perspective: bool = True,
    cull: str = "none",
    facing_first: bool = True,
    schedule: str | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Finds the nearest face at each pixel centre. Not differentiable.

    Args:
        vertices: `[V, 3]` screen space.
        faces: `[F, 3]` int32. A face with an index out of range, with a vertex that is not
            finite, or of no area is not drawn.
        near: `[]` depth in front of which nothing is drawn; exclusive.
        far: `[]` depth behind which nothing is drawn; exclusive. None is no limit.
        image_size: `(H, W)`.
        perspective: whether 1/z (True) or z (False) is linear on screen.
        cull: which side is not drawn: "none", "back" or "front".
        facing_first: whether of faces at the same depth one that looks at the camera is seen
            before those that look away; else their ids decide alone.
        schedule: a key of `SCHEDULES`; by default that of the platform.

    Returns:
        `face` `[H, W]` int32, -1 where there is none; of those that tie, with `facing_first`, one
        that looks at the camera, and among these the lowest id.
        `barycentrics` `[H, W, 3]` perspective-correct, 0 where there is none.
        `depth` `[H, W]`, `far` where there is none, or 0 without.
    """
    limit = jnp.full_like(near, jnp.inf) if far is None else far
    operation = _single_view(image_size, perspective, cull, facing_first, schedule)
    return operation(vertices, faces, near, limit)


def hard_fragments(
    vertices: jax.Array,
    faces: jax.Array,
    near: jax.Array,
    far: jax.Array | None,
    image_size: tuple[int, int],
    perspective: bool,
    cull: str,
    *,
    facing_first: bool = True,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`nearest_faces`, differentiable.

    Gradient: exact, inside the face that a pixel sees: of barycentrics and depth to
    `vertices`, and of the empty pixels' depth to `far`. Which face it sees has none.
    """
    still = lax.stop_gradient
    face, barycentrics, depth = nearest_faces(
        still(vertices),
        faces,
        still(near),
        still(far),
        image_size=image_size,
        perspective=perspective,
        cull=cull,
        facing_first=facing_first,
    )
    nothing = jnp.zeros_like(near) if far is None else far
    # Sums in a fixed order are made by a rule for reverse mode alone.
    moving = _moving_in_reverse if deterministic.is_requested() else _moving
    moved: Any = moving(vertices, nothing, faces, face, barycentrics, depth, perspective)
    return face, *moved


def _as_they_are(
    vertices: jax.Array,
    far: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    barycentrics: jax.Array,
    depth: jax.Array,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """Barycentrics and depth; the rules below make their derivatives those of `look_up`."""
    return barycentrics, depth


_moving = jax.custom_jvp(_as_they_are, nondiff_argnums=(6,))
_moving_in_reverse = jax.custom_vjp(_as_they_are, nondiff_argnums=(6,))


@_moving.defjvp
def _moving_jvp(perspective, primals, tangents):
    vertices, far, faces, face, *_ = primals
    _, moved = jax.jvp(
        lambda vertices, far: look_up(vertices, faces, face, far, perspective=perspective),
        (vertices, far),
        tangents[:2],
    )
    return _moving(*primals, perspective), moved


def _moving_in_reverse_fwd(vertices, far, faces, face, barycentrics, depth, perspective):
    return (barycentrics, depth), (vertices, far, faces, face)


def _moving_in_reverse_bwd(perspective, kept, upstream):
    vertices, far, faces, face = kept
    _, pull = jax.vjp(
        lambda vertices, far: look_up(vertices, faces, face, far, perspective=perspective),
        vertices,
        far,
    )
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
    corners = Corners(*deterministic.gather_each(to_pixels(vertices, (height, width)), faces.T))
    drawable = is_drawable(corners, signed_area(corners), perspective=perspective)[None]
    harmless = jnp.array([[0, 1, 0], [0, 0, 1], [1, 1, 1]], vertices.dtype)[..., None]
    corners = Corners(*map(functools.partial(jnp.where, drawable), corners, harmless))
    planes = planes_of(corners, perspective=perspective)

    # Look each pixel's face up; an empty pixel gets shares that divide by nothing near zero.
    empty = face < 0
    face = jnp.maximum(face, 0)
    shares = planes.shares(face, *pixel_centres(height, width, vertices.dtype))
    s0, s1, s2 = (jnp.where(empty, 1, share) for share in shares)
    if perspective:
        # Keep 1/z where it is rounded to nothing out of what is divided by.
        nearness = s0 + s1 + s2
        depth = 1 / jnp.where(nearness > MIN_NEARNESS, nearness, 1)
        s0, s1, s2 = s0 * depth, s1 * depth, s2 * depth
    else:
        z0, z1, z2 = deterministic.gather_each([*planes.z], face)
        depth = s0 * z0 + s1 * z1 + s2 * z2
    barycentrics = [jnp.where(empty, 0, s) for s in (s0, s1, s2)]
    return jnp.stack(barycentrics, axis=-1), jnp.where(empty, far, depth)


@functools.cache
def _single_view(
    image_size: tuple[int, int],
    perspective: bool,
    cull: str,
    facing_first: bool,
    schedule: str | None,
):
    """The operation for these static settings; made once, so that `vmap` rules are too."""
    draw = functools.partial(
        _draw,
        image_size=image_size,
        perspective=perspective,
        cull=cull,
        facing_first=facing_first,
    )
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
    facing_first: bool,
    schedule: bool,  # whether in the loop, where that can be
) -> tuple[jax.Array, jax.Array, jax.Array]:
    views = max(arg.shape[0] for arg in (vertices, faces, near, far))
    near, far = (jnp.broadcast_to(limit, (views,)) for limit in (near, far))
    height, width = image_size
    face_count = faces.shape[1]
    fill = jnp.where(far < jnp.inf, far, 0)[:, None, None]
    if vertices.shape[1] == 0 or face_count == 0:
        nothing = jnp.full((views, height, width), -1, jnp.int32)
        zeros = jnp.zeros((*nothing.shape, 3), vertices.dtype)
        return nothing, zeros, jnp.broadcast_to(fill, nothing.shape)

    # Draw some views after the others where their faces are many, in memory that stays near.
    in_loop = schedule and native.are_native_loops_available()
    at_once = views
    if in_loop:
        at_once = _views_at_once(views, max(face_count, vertices.shape[1]), image_size)
    if at_once < views:
        draw = functools.partial(
            _draw,
            image_size=image_size,
            perspective=perspective,
            cull=cull,
            facing_first=facing_first,
            schedule=schedule,
        )
        return in_chunks(draw, (vertices, faces, near, far), at_once)

    # Set the faces of all views up, and draw them; a picture that is too large goes in passes.
    in_loop = in_loop and Strips(views, image_size).size <= MOST_NUMBERS
    prepare = functools.partial(
        set_up, views=views, image_size=image_size, cull=cull, facing_first=facing_first
    )
    if in_loop:
        prepare = functools.partial(prepare, sort=native.apart(sort_corners))
    if in_loop and max(faces.size, vertices.size) * views <= 3 * FEW_SET_UP:
        prepare = native.one_function(prepare)
    nearness_of = jnp.reciprocal if perspective else jnp.negative
    corners, bounds, edges, first_drawn = prepare(vertices, faces, near if perspective else None)
    lowest = nearness_of(far)
    if perspective:
        # What is nearer than this has a finite depth.
        lowest = jnp.maximum(lowest, jnp.finfo(lowest.dtype).tiny)
    scene = Scene(corners, bounds, edges, first_drawn, lowest, nearness_of(near))
    draw = draw_in_loop if in_loop else draw_in_passes
    nearest, face, shares = draw(scene, image_size=image_size, perspective=perspective)
    empty = face < 0
    depth = nearness_of(jnp.where(empty, -1, nearest))
    first = face_count * jnp.arange(views, dtype=jnp.int32)[:, None, None]
    scale = depth if perspective else 1
    barycentrics = [jnp.where(empty, 0, share * scale) for share in shares]
    return (
        jnp.where(empty, -1, face - first),
        jnp.stack(barycentrics, axis=-1),
        jnp.where(empty, fill, depth),
    )


def _views_at_once(views: int, faces: int, image_size: tuple[int, int]) -> int:
    """How many views are drawn at once: of small meshes as many as are set up in one function."""
    most = (FEW_SET_UP if 2 * faces <= FEW_SET_UP else MANY_SET_UP) // faces
    return max(1, min(most, MOST_NUMBERS // Strips(1, image_size).size, views))


SCHEDULES = {"loop": True, "pixels": False}
