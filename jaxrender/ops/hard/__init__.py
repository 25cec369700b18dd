"""The z-buffer: which face is nearest at each pixel, exactly.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `P` blocks of a pass, `h, w` block.

Two schedules find the same:

- **kernels**, for a CPU: machine code that numba compiles draws the faces one after the other into
  a z-buffer (see `ops/cpu`). Where no kernels can run, the passes do it.
- **passes**, for a GPU: the faces are drawn in passes of `P` blocks (see `blocks.py`). In each
  pass every block computes the depth of its face at its pixels; the depth buffer takes the
  nearest; and every pixel that equals the buffer there offers its face's key, of which the
  key buffer takes the minimum.

The depth buffer holds **reversed depth**: 1/z under perspective and -z otherwise. Both are
larger where a face is nearer, and linear on screen, so that nothing is divided at a pixel.

Of faces that tie that of the lowest key is seen: `triangle.py` has the rule. A kernel compares
keys. The passes draw faces in the order of falling keys, so an offer always has a lower key than
what came before: it replaces it, whether it is nearer or ties.
Maximum and minimum do not depend on order, so the result does not depend on the number of blocks or
threads, nor, up to rounding, on the device.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import cpu, deterministic
from jaxrender.ops.batching import batch_size, fold_vmap_scheduled
from jaxrender.ops.hard.kernels import draw_by_kernels, gradient_by_kernel, motions_by_kernel
from jaxrender.ops.hard.passes import draw_by_passes
from jaxrender.ops.hard.scene import pixel_centres
from jaxrender.ops.linear import LinearMap
from jaxrender.ops.triangle import (
    Candidates,
    Corners,
    area_from_far_corner,
    is_drawn,
    set_up_barycentrics,
    to_pixels,
)
from jaxrender.ops.view import View

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
        facing_first: see `triangle.wins_ties`.
        schedule: a key of `SCHEDULES`; by default that of the platform.

    Returns:
        `face` `[H, W]` int32, -1 where there is none; of those that tie, that of the lowest key.
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
    if jax.default_backend() == "cpu" and cpu.can_take(vertices.dtype):
        moved, empty_moved = tangents[:2]
        barycentrics, depth = MOVE_FRAGMENTS([vertices, faces, face], [moved], perspective)
        tangents_out = barycentrics, jnp.where(face < 0, empty_moved, depth)
        return _differentiable_fragments(*primals, perspective), tangents_out
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
    drawn = is_drawn(Candidates(corners, perspective, area=area_from_far_corner(corners)))[None]
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
    schedule: bool,  # whether by kernels, where those can run
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Faces, barycentrics and depths of all views."""
    if vertices.shape[1] == 0 or faces.shape[1] == 0:
        shape = batch_size(vertices, faces, view), *view.image_size
        nothing, zeros = jnp.full(shape, -1, jnp.int32), jnp.zeros((*shape, 3), vertices.dtype)
        return nothing, zeros, jnp.broadcast_to(view.empty_depth[:, None, None], shape)
    draw = draw_by_kernels if schedule and cpu.can_take(vertices.dtype) else draw_by_passes
    return draw(vertices, faces, view, facing_first=facing_first)


def _move_fragments(given: Any, linear: Any, perspective: Any) -> tuple[jax.Array, jax.Array]:
    """How barycentrics and depth move with vertices; nothing where there is no face."""
    (vertices, faces, face), (moved,) = given, linear

    def seen(vertices: jax.Array) -> tuple[jax.Array, jax.Array]:
        return look_up(
            vertices, faces, face, jnp.zeros((), vertices.dtype), perspective=perspective
        )

    return jax.jvp(seen, (vertices,), (moved,))[1]


MOVE_FRAGMENTS = LinearMap(
    "jaxrender_move_fragments", _move_fragments, gradient_by_kernel, motions_by_kernel
)
SCHEDULES = {"kernels": True, "passes": False}
