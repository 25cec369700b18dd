"""The z-buffer drawn by kernels in machine code, on a CPU; shapes as in `__init__.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrender.ops.batching import batch_size
from jaxrender.ops.cpu import Kernel
from jaxrender.ops.hard.passes import draw_by_passes
from jaxrender.ops.hard.scene import over_z_of
from jaxrender.ops.triangle import Corners, corner_indices, set_up_barycentrics, to_pixels
from jaxrender.ops.view import View

CULLS = "none", "back", "front"


def draw_by_kernels(
    vertices: jax.Array,
    faces: jax.Array,
    view: View,
    *,
    facing_first: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Faces, barycentrics and depths: of those what nobody asks for is not computed."""
    views = batch_size(vertices, faces, view)
    limits = jnp.stack(
        [jnp.broadcast_to(depth, (views,)) for depth in (*view.limits, view.empty_depth)], -1
    )
    shape, dtype = (views, *view.image_size), vertices.dtype
    options = view.perspective, CULLS.index(view.cull), facing_first
    faces = faces.astype(jnp.int32)
    face, depth = _ZBUFFER(
        vertices,
        faces,
        limits,
        results=[(shape, jnp.dtype("int32")), (shape, dtype)],
        options=options,
    )
    (barycentrics,) = _BARYCENTRICS(
        vertices, faces, face, depth, results=[((*shape, 3), dtype)], options=[view.perspective]
    )
    return face, barycentrics, depth


def gradient_by_kernel(
    given: Any, cotangents: Any, shapes: Any, perspective: Any
) -> Sequence[jax.Array]:
    """The gradient of barycentrics and depth to vertices, of all views."""
    vertices, faces, face = given
    views, dtype = batch_size(*given, *cotangents), vertices.dtype
    face, *cotangents = (
        jnp.broadcast_to(array, (views, *array.shape[1:])) for array in (face, *cotangents)
    )
    result = ((views, *vertices.shape[1:]), dtype)
    faces = faces.astype(jnp.int32)
    return _GRADIENT(vertices, faces, face, *cotangents, results=[result], options=[perspective])


def motions_by_kernel(given: Any, linear: Any, perspective: Any) -> Sequence[jax.Array]:
    """How barycentrics and depth move with vertices, of all views, each by motions of its own."""
    vertices, faces, face = given
    groups, views, dtype = batch_size(*given), batch_size(*given, *linear), vertices.dtype
    face = jnp.broadcast_to(face, (groups, *face.shape[1:]))
    moved = jnp.broadcast_to(linear[0], (views, *linear[0].shape[1:]))
    shape = views, *face.shape[1:]
    results = [((*shape, 3), dtype), (shape, dtype)]
    faces = faces.astype(jnp.int32)
    return _MOTIONS(vertices, faces, face, moved, results=results, options=[perspective])


def _nearest_otherwise(
    vertices: jax.Array, faces: jax.Array, limits: jax.Array, *, results: Any, options: Any
) -> Sequence[jax.Array]:
    """The same in passes."""
    perspective, cull, facing_first, _ = options
    near, far, empty = limits.T
    view = View(near, far, results[0][0][1:], CULLS[cull], bool(perspective))
    face, _, depth = draw_by_passes(vertices, faces, view, facing_first=bool(facing_first))
    return face, jnp.where(face < 0, empty[:, None, None], depth)


def _barycentrics_otherwise(
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    depth: jax.Array,
    *,
    results: Any,
    options: Any,
) -> Sequence[jax.Array]:
    """The same by looking faces up."""
    perspective, (views, height, width) = bool(options[0]), face.shape
    index, _ = corner_indices(faces, vertices.shape[1], views, shared=vertices.shape[0] == 1)
    axes = [axis.reshape(-1) for axis in to_pixels(vertices, (height, width))]
    planes = set_up_barycentrics(Corners(*(axis[index] for axis in axes)), perspective=perspective)
    first = faces.shape[1] * jnp.arange(views, dtype=jnp.int32)[:, None, None]
    scale = depth if perspective else jnp.ones_like(depth)
    over_z = over_z_of(planes, jnp.where(face < 0, 0, face + first))
    return [jnp.stack([jnp.where(face < 0, 0, over * scale) for over in over_z], -1)]


def _gradient_otherwise(*arrays: jax.Array, results: Any, options: Any) -> Sequence[jax.Array]:
    """The same by transposing what looks faces up."""
    from jaxrender.ops.hard import MOVE_FRAGMENTS

    vertices = arrays[0]
    shapes = ((vertices.shape[1:], vertices.dtype),)
    return MOVE_FRAGMENTS.plainly_backward(
        *arrays, count=3, shapes=shapes, options=bool(options[0])
    )


def _motions_otherwise(*arrays: jax.Array, results: Any, options: Any) -> Sequence[jax.Array]:
    """The same in plain JAX."""
    from jaxrender.ops.hard import MOVE_FRAGMENTS

    return MOVE_FRAGMENTS.plainly_forward(*arrays, count=3, shapes=(), options=bool(options[0]))


_GRADIENT = Kernel("gradient", _gradient_otherwise)
_MOTIONS = Kernel("motions", _motions_otherwise)
_ZBUFFER = Kernel("zbuffer", _nearest_otherwise)
_BARYCENTRICS = Kernel("barycentrics", _barycentrics_otherwise)
