"""The z-buffer: which face is nearest at each pixel, exactly.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `P` blocks of a pass, `h, w` block.

Two schedules find the same:

- **loop**, for a CPU: the faces are drawn one after the other, from the last to the first, into a
  z-buffer, block by block (see `column_framebuffer.py`).
- **pixels**, for a GPU: the faces are drawn in passes of `P` blocks (see `blocks.py`). In each
  pass every block computes the depth of its face at its pixels; the depth buffer takes the
  nearest; and every pixel that equals the buffer there offers its face's key, of which the
  key buffer takes the minimum.

The depth buffer holds **reversed depth**: 1/z under perspective and -z otherwise. Both are
larger where a face is nearer, and linear on screen, so that nothing is divided at a pixel.

Of faces that tie the one that looks at the camera is seen, then the one of lower id: that of the
lowest key, see `face_of`. The loop goes from the last face to the first, so a face has a lower key
than those drawn before, unless it is a back and they are fronts: it looks at the key that is
held. The passes draw all backs before the fronts, so an offer always has a lower key than what
came before: it replaces it, whether it is nearer or ties. Maximum and minimum do not depend on
order, so the result does not depend on the number of blocks, nor, up to rounding, on the device.

Faces that tie are told by equal bits, so those of one triangle must not depend on the order of
its corners: it is set up with its corners sorted by where they lie (`CornerOrder`).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import deterministic, native
from jaxrender.ops.batching import batch_size, fold_vmap_scheduled, in_chunks
from jaxrender.ops.hard.column_framebuffer import ColumnFramebuffer
from jaxrender.ops.hard.loop import draw_in_loop
from jaxrender.ops.hard.passes import draw_in_passes
from jaxrender.ops.hard.scene import Scene, pixel_centres, set_up
from jaxrender.ops.triangle import (
    Candidates,
    Corners,
    is_drawn,
    set_up_barycentrics,
    signed_area,
    sort_corners,
    to_pixels,
)
from jaxrender.ops.view import View

# Faces that one thread sets up in one compiled call; more are set up by several threads.
MAX_FACES_IN_ONE_CALL = 1 << 13
# Faces of several views that are set up at once: what is set up of them should stay in cache.
MAX_FACES_OF_VIEWS = 5 * MAX_FACES_IN_ONE_CALL
MAX_INDEX = jnp.iinfo(jnp.int32).max  # of the loop's framebuffer; larger pictures go in passes
MIN_INVERSE_DEPTH = 1e-18  # of what has a gradient: the square of its inverse is finite in float32


def nearest_faces(
    vertices: jax.Array,
    faces: jax.Array,
    view: View,
    *,
    facing_first: bool = True,
    schedule: str | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Finds the nearest face at each pixel centre. Not differentiable.

    Args:
        vertices: `[V, 3]` screen space.
        faces: `[F, 3]` int32; `triangle.is_drawn` says which of them are drawn.
        view: what is drawn; depths at its limits are not.
        facing_first: whether of faces at the same depth one that looks at the camera is seen
            before those that look away; else their ids decide alone.
        schedule: a key of `SCHEDULES`; by default that of the platform.

    Returns:
        `face` `[H, W]` int32, -1 where there is none; of those that tie, with `facing_first`, one
        that looks at the camera, and among these the lowest id.
        `barycentrics` `[H, W, 3]` perspective-correct, 0 where there is none.
        `depth` `[H, W]`, `far` where there is none, or 0 without.
    """
    return _single_view(facing_first, schedule)(vertices, faces, view)


def hard_fragments(
    vertices: jax.Array, faces: jax.Array, view: View, *, facing_first: bool = True
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`nearest_faces`, differentiable.

    Gradient: exact, inside the face that a pixel sees: of barycentrics and depth to
    `vertices`, and of the empty pixels' depth to `far`. Which face it sees has none.
    """
    constant = lax.stop_gradient((vertices, view))
    face, barycentrics, depth = nearest_faces(
        constant[0], faces, constant[1], facing_first=facing_first
    )
    # Sums in a fixed order are made by a rule for reverse mode alone.
    differentiable = (
        _reverse_mode_fragments if deterministic.is_requested() else _differentiable_fragments
    )
    fragments: Any = differentiable(
        vertices, view.empty_depth, faces, face, barycentrics, depth, view.perspective
    )
    return face, *fragments


def _known_fragments(
    vertices: jax.Array,
    empty_depth: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    barycentrics: jax.Array,
    depth: jax.Array,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """Barycentrics and depth; the rules below make their derivatives those of `look_up`."""
    return barycentrics, depth


_differentiable_fragments = jax.custom_jvp(_known_fragments, nondiff_argnums=(6,))
_reverse_mode_fragments = jax.custom_vjp(_known_fragments, nondiff_argnums=(6,))


@_differentiable_fragments.defjvp
def _differentiable_fragments_jvp(perspective, primals, tangents):
    vertices, empty_depth, faces, face, *_ = primals
    _, tangents_out = jax.jvp(
        lambda vertices, empty_depth: look_up(
            vertices, faces, face, empty_depth, perspective=perspective
        ),
        (vertices, empty_depth),
        tangents[:2],
    )
    return _differentiable_fragments(*primals, perspective), tangents_out


def _reverse_mode_fragments_fwd(
    vertices, empty_depth, faces, face, barycentrics, depth, perspective
):
    return (barycentrics, depth), (vertices, empty_depth, faces, face)


def _reverse_mode_fragments_bwd(perspective, residuals, cotangents):
    vertices, empty_depth, faces, face = residuals
    _, transposed = jax.vjp(
        lambda vertices, empty_depth: look_up(
            vertices, faces, face, empty_depth, perspective=perspective
        ),
        vertices,
        empty_depth,
    )
    return *transposed(cotangents), None, None, None, None


_reverse_mode_fragments.defvjp(_reverse_mode_fragments_fwd, _reverse_mode_fragments_bwd)


def look_up(
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    empty_depth: jax.Array,
    *,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """Barycentrics `[H, W, 3]` and depth `[H, W]` of given faces `[H, W]`; differentiable.

    Where there is no face (-1) they are 0 and `empty_depth`.
    """
    height, width = face.shape
    if vertices.shape[0] == 0 or faces.shape[0] == 0:
        zeros = jnp.zeros((height, width, 3), vertices.dtype)
        return zeros, jnp.broadcast_to(empty_depth, face.shape)

    # Set up every face; let those that no pixel can see be some harmless triangle, whose
    # gradient is zero and not NaN.
    corners = Corners(*deterministic.gather_each(to_pixels(vertices, (height, width)), faces.T))
    drawn = is_drawn(Candidates(corners, perspective, area=signed_area(corners)))[None]
    harmless = jnp.array([[0, 1, 0], [0, 0, 1], [1, 1, 1]], vertices.dtype)[..., None]
    corners = Corners(*map(functools.partial(jnp.where, drawn), corners, harmless))
    planes = set_up_barycentrics(corners, perspective=perspective)

    # Look each pixel's face up; an empty pixel gets what divides by nothing near zero.
    empty = face < 0
    face = jnp.maximum(face, 0)
    over_z = planes.over_z(face, *pixel_centres(height, width, vertices.dtype))
    b0, b1, b2 = (jnp.where(empty, 1, over) for over in over_z)
    if perspective:
        # Keep 1/z where it is rounded to nothing out of what is divided by.
        inverse_depth = b0 + b1 + b2
        depth = 1 / jnp.where(inverse_depth > MIN_INVERSE_DEPTH, inverse_depth, 1)
        b0, b1, b2 = b0 * depth, b1 * depth, b2 * depth
    else:
        z0, z1, z2 = deterministic.gather_each([*planes.z], face)
        depth = b0 * z0 + b1 * z1 + b2 * z2
    barycentrics = [jnp.where(empty, 0, b) for b in (b0, b1, b2)]
    return jnp.stack(barycentrics, axis=-1), jnp.where(empty, empty_depth, depth)


@functools.cache
def _single_view(facing_first: bool, schedule: str | None):
    """The operation for these static settings; made once, so that `vmap` rules are too."""
    draw = functools.partial(_draw, facing_first=facing_first)
    return fold_vmap_scheduled(draw, SCHEDULES, schedule)


def _draw(
    vertices: jax.Array,  # [B or 1, V, 3]
    faces: jax.Array,  # [B or 1, F, 3]
    view: View,  # limits [B or 1]
    *,
    facing_first: bool,
    schedule: bool,  # whether in the loop, where that can be
) -> tuple[jax.Array, jax.Array, jax.Array]:
    views = batch_size(vertices, faces, view)
    near, far, empty_depth = (
        jnp.broadcast_to(depth, (views,)) for depth in (*view.limits, view.empty_depth)
    )
    height, width = view.image_size
    face_count = faces.shape[1]
    fill = empty_depth[:, None, None]
    if vertices.shape[1] == 0 or face_count == 0:
        nothing = jnp.full((views, height, width), -1, jnp.int32)
        zeros = jnp.zeros((*nothing.shape, 3), vertices.dtype)
        return nothing, zeros, jnp.broadcast_to(fill, nothing.shape)

    # Draw some views after the others where their faces are many, in memory that stays near.
    in_loop = schedule and native.are_native_loops_available()
    at_once = views
    if in_loop:
        at_once = _views_at_once(views, max(face_count, vertices.shape[1]), view.image_size)
    if at_once < views:
        draw = functools.partial(_draw, facing_first=facing_first, schedule=schedule)
        return in_chunks(draw, (vertices, faces, view), at_once)

    # Set the faces of all views up, and draw them; a picture that is too large goes in passes.
    in_loop = in_loop and ColumnFramebuffer(views, view.image_size).size <= MAX_INDEX
    prepare = functools.partial(set_up, views=views, facing_first=facing_first)
    if in_loop:
        prepare = functools.partial(prepare, sort=native.apart(sort_corners))
    if in_loop and max(faces.size, vertices.size) * views <= 3 * MAX_FACES_IN_ONE_CALL:
        prepare = native.one_function(prepare)
    reverse = jnp.reciprocal if view.perspective else jnp.negative
    corners, bounds, edges, wins_ties = prepare(vertices, faces, view)
    reversed_far = reverse(far)
    if view.perspective:
        # What is nearer than this has a finite depth.
        reversed_far = jnp.maximum(reversed_far, jnp.finfo(reversed_far.dtype).tiny)
    scene = Scene(corners, bounds, edges, wins_ties, reversed_far, reverse(near))
    draw = draw_in_loop if in_loop else draw_in_passes
    reversed_depth, face, over_z = draw(scene, view)

    # Turn what was drawn into fragments.
    empty = face < 0
    depth = reverse(jnp.where(empty, -1, reversed_depth))
    first = face_count * jnp.arange(views, dtype=jnp.int32)[:, None, None]
    scale = depth if view.perspective else 1
    barycentrics = [jnp.where(empty, 0, over * scale) for over in over_z]
    return (
        jnp.where(empty, -1, face - first),
        jnp.stack(barycentrics, axis=-1),
        jnp.where(empty, fill, depth),
    )


def _views_at_once(views: int, faces: int, image_size: tuple[int, int]) -> int:
    """How many views are drawn at once: of small meshes as many as one compiled call sets up."""
    small = 2 * faces <= MAX_FACES_IN_ONE_CALL
    most = (MAX_FACES_IN_ONE_CALL if small else MAX_FACES_OF_VIEWS) // faces
    return max(1, min(most, MAX_INDEX // ColumnFramebuffer(1, image_size).size, views))


SCHEDULES = {"loop": True, "pixels": False}
