"""`project`: the way from world to screen space.

Shape legend: `V` vertices, `H, W` image.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from jaxrender._checks import check_array, check_aspect, check_image_size, check_rotation
from jaxrender._types import Camera, Projection

# Depths nearer the camera plane than this are moved to it: small enough to be zero in any scene,
# large enough that 1/z² and x/z² are finite in float32.
TINY_DEPTH = 1e-12


def project(
    vertices: ArrayLike, camera: Camera, *, image_size: tuple[int, int] | None = None
) -> jax.Array:
    """Takes vertices from the world to the screen.

    Camera space is `(x, y, z) = vertices @ rotation.T + translation`. Screen space has `x` and
    `y` in [-1, 1] across the picture, `y` up, and the same `z`: they are `to_screen(x / z, y / z)`
    of the camera's projection, or `to_screen(x, y)` of a parallel one. Each model has its formula
    there, such as `Perspective.to_screen`.

    A vertex behind the camera has `z < 0` and is divided by that. A vertex on the camera plane
    (`|z| < 1e-12`) has no place on the screen: its `z` becomes 1e-12 of the same sign, so that
    `(x z, y z, z)` gives its homogeneous coordinates back, as for every other vertex.

    Gradient: exact to `vertices` and to every array of the camera; 0 to the `z` of a vertex on
    the camera plane.

    Args:
        vertices: `[V, 3]` world space, scene units.
        camera: of `look_at`, `look`, `pinhole`, `from_opencv` or `from_opengl`.
        image_size: `(H, W)` of the picture to be made; None is a square one for perspective
            and orthographic cameras, and the calibrated one for those that have one.

    Returns:
        `[V, 3]` screen space.

    Raises:
        ValueError: a shape or dtype is wrong, a vertex is not finite, or a calibrated camera's
            picture has another aspect. Inside jit a vertex that is not finite becomes NaN,
            which the rasterisers ignore; it spoils no gradient.

    Example:
        >>> import jaxrender as jr
        >>> camera = jr.look_at((0.0, 0.0, 2.0), projection=jr.perspective(90.0))
        >>> jr.project([[1.0, 1.0, 0.0]], camera, image_size=(100, 200)).tolist()
        [[0.25, 0.5, 2.0]]
    """
    vertices = check_array(
        "vertices",
        vertices,
        ("V", 3),
        finite=True,
        hint="Pass finite points; jax.vmap maps over batches.",
    )
    camera = check_camera(camera)
    size = None if image_size is None else check_image_size(image_size)

    # Keep vertices that are not finite out of sums over all vertices.
    finite = jnp.isfinite(vertices).all(-1, keepdims=True)
    points = transform(jnp.where(finite, vertices, 0), camera)

    # Divide by depth, never by zero, where rays meet in one point.
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    projection = camera.projection
    if not projection.parallel:
        z = jnp.where(jnp.abs(z) < TINY_DEPTH, jnp.copysign(TINY_DEPTH, z).astype(z.dtype), z)
        x, y = x / z, y / z

    # Find where the rays meet the picture.
    if size is not None and projection.image_size is not None:
        height, width = projection.image_size
        check_aspect(width / height, size, "`camera` is calibrated for")
    x, y = projection.to_screen(x, y, size)
    return jnp.where(finite, jnp.stack([x, y, z], axis=-1), jnp.nan)


def transform(points: jax.Array, camera: Camera) -> jax.Array:
    """World points `[..., 3]` in camera space."""
    # Ask for full precision: GPUs would round the factors to 10 bits.
    rotated = jnp.matmul(points, camera.rotation.T, precision=jax.lax.Precision.HIGHEST)
    return rotated + jnp.broadcast_to(camera.translation, rotated.shape)


def check_camera(camera: Any) -> Camera:
    """Returns the camera with arrays of the right shapes.

    Raises:
        ValueError: it is not a camera, an array in it has the wrong shape or is not finite, or
            its rotation is not orthonormal; of either determinant, for worlds of either hand.
    """
    hint = "Build the camera with look_at, look, pinhole, from_opencv or from_opengl."
    projection = getattr(camera, "projection", None)
    if not isinstance(projection, Projection):
        raise ValueError(f"`camera` must be a Camera, got {type(camera).__name__}. {hint}")
    rotation = check_array("camera.rotation", camera.rotation, (3, 3), finite=True, hint=hint)
    check_rotation("camera.rotation", rotation, proper=False)
    translation = check_array(
        "camera.translation", camera.translation, (3,), finite=True, hint=hint
    )
    return Camera(rotation, translation, _check_projection(projection, hint))


def _check_projection(projection: Projection, hint: str) -> Projection:
    """Returns the camera model with arrays of the shapes that it names."""

    def checked(path: tuple[Any, ...], value: Any) -> jax.Array:
        name = jax.tree_util.keystr(path)
        shape = projection.shapes.get(name.removeprefix("."), ("...",))
        return check_array(f"camera.projection{name}", value, shape, finite=True, hint=hint)

    projection = jax.tree_util.tree_map_with_path(checked, projection)
    if projection.image_size is None:
        return projection
    size = check_image_size(projection.image_size)
    if size == projection.image_size:
        return projection
    given: Any = projection
    return dataclasses.replace(given, image_size=size)
