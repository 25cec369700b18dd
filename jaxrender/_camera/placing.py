"""Where cameras stand and look, in the world.

Shape legend: `...` any number of places.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._camera.models import perspective
from jaxrender._camera.projecting import check_camera
from jaxrender._checks import check_array, check_flag, is_concrete, same_float
from jaxrender._types import Camera, Projection
from jaxrender._vectors import NO_LENGTH, unit


def look_at(
    eye: ArrayLike,
    at: ArrayLike = (0.0, 0.0, 0.0),
    up: ArrayLike = (0.0, 1.0, 0.0),
    *,
    projection: Projection | None = None,
    right_handed: bool = True,
) -> Camera:
    """A camera at `eye` that looks at the point `at`.

    With `n(v) = v / |v|`, the camera's axes in the world are

        forward = n(at - eye)    right = n(forward x up)    upward = right x forward

    That suits a right-handed world, as mesh files, glTF and PyTorch3D have it. NMR and SoftRas
    take the world for left-handed: without `right_handed`, right is the opposite, and a
    right-handed mesh appears as in a mirror, with its faces seen from behind.

    Camera space (`x` right, `y` up, `z` forward) is left-handed, so the rotation of a camera in
    a right-handed world has determinant -1. A proper rotation still turns it, from the right:
    `R @ exp(w)`, with `exp(w)` = `rotations.from_axis_angle(w)`.

    Gradient: exact to `eye`, `at`, `up` and the projection's parameters.

    Args:
        eye: `[3]` where the camera stands, scene units.
        at: `[3]` the point in the middle of the picture, scene units.
        up: `[3]` the direction that is up in the picture; any length.
        projection: `perspective(...)`, `orthographic(...)` or another `Projection`; None is
            `perspective(60)`.
        right_handed: whether the world is right-handed; False is the world of NMR and SoftRas.
            Static.

    Returns:
        The camera.

    Raises:
        ValueError: a shape is wrong, the camera stands at its own target, or `up` is parallel
            to the view. Inside jit, where values are not known, the axes that have no
            direction are zero: everything is seen at finite places, on a line or a point.

    Example:
        >>> import jaxrender as jr
        >>> camera = jr.look_at((0.0, 0.0, 3.0))
        >>> jr.project([[0.0, 0.0, 0.0]], camera).tolist()
        [[0.0, 0.0, 3.0]]
    """
    eye, at, up = (
        check_array(name, value, (3,), finite=True, hint="Pass one point (x, y, z).")
        for name, value in (("eye", eye), ("at", at), ("up", up))
    )
    eye, at, up = same_float(eye, at, up)
    if not is_concrete(eye, at):
        return _oriented(eye, at - eye, up, projection, right_handed)
    direction = np.asarray(at, float) - np.asarray(eye, float)
    if _length(direction) <= NO_LENGTH:
        raise ValueError(
            f"`eye` must not be at its own target `at`, got both at {np.asarray(eye).tolist()}. "
            "Move the camera away from the point it looks at."
        )
    return _oriented(eye, direction, up, projection, right_handed)


def look(
    eye: ArrayLike,
    direction: ArrayLike | None = None,
    up: ArrayLike = (0.0, 1.0, 0.0),
    *,
    projection: Projection | None = None,
    right_handed: bool = True,
) -> Camera:
    """A camera at `eye` that looks along `direction`; see `look_at` for the axes.

    Gradient: exact to `eye`, `direction`, `up` and the projection's parameters.

    Args:
        eye: `[3]` where the camera stands, scene units.
        direction: `[3]` where it looks; any length. None is where a camera at azimuth 0 looks
            (see `points_from_angles`): (0, 0, -1), and (0, 0, 1) without `right_handed`.
        up: `[3]` the direction that is up in the picture; any length.
        projection: `perspective(...)`, `orthographic(...)` or another `Projection`; None is
            `perspective(60)`.
        right_handed: whether the world is right-handed; False is the world of NMR and SoftRas.
            Static.

    Returns:
        The camera.

    Raises:
        ValueError: a shape is wrong, `direction` is zero, or `up` is parallel to it. Inside
            jit the axes that have no direction are zero, as in `look_at`.

    Example:
        >>> import jaxrender as jr
        >>> camera = jr.look((0.0, 0.0, 3.0), direction=(0.0, 0.0, -1.0))
    """
    if direction is None:
        direction = (0.0, 0.0, -1.0 if check_flag("right_handed", right_handed) else 1.0)
    eye, direction, up = (
        check_array(name, value, (3,), finite=True, hint="Pass one vector (x, y, z).")
        for name, value in (("eye", eye), ("direction", direction), ("up", up))
    )
    eye, direction, up = same_float(eye, direction, up)
    if is_concrete(direction) and _length(np.asarray(direction)) <= NO_LENGTH:
        raise ValueError("`direction` must not be zero. Pass where the camera looks.")
    return _oriented(eye, direction, up, projection, right_handed)


def points_from_angles(
    distance: ArrayLike, elevation: ArrayLike, azimuth: ArrayLike, *, right_handed: bool = True
) -> jax.Array:
    """The points at a distance from the origin, seen under two angles.

        (d cos e sin a,  d sin e,  d cos e cos a)

    Azimuth 0 is the +z side, where a camera looks along -z; azimuth 90 the +x side; elevation 90
    is straight above. Without `right_handed` the last coordinate is the opposite, as in NMR and
    SoftRas: azimuth 0 is the -z side.

    Gradient: exact to all three.

    Args:
        distance: `[...]` scene units.
        elevation: `[...]` degrees above the ground.
        azimuth: `[...]` degrees around the vertical.
        right_handed: whether the world is right-handed, as for `look_at`; static.

    Returns:
        `[..., 3]`; the three arguments are broadcast against each other.

    Raises:
        ValueError: an argument is no number, or not finite, or they cannot be broadcast.

    Example:
        >>> import jaxrender as jr
        >>> jr.points_from_angles(2.0, elevation=0.0, azimuth=0.0).tolist()
        [0.0, 0.0, 2.0]
    """
    d, e, a = same_float(
        check_array("distance", distance, ("...",), finite=True),
        check_array("elevation", elevation, ("...",), finite=True),
        check_array("azimuth", azimuth, ("...",), finite=True),
    )
    return _on_sphere(d, e, a, right_handed=check_flag("right_handed", right_handed))


@functools.partial(jax.jit, static_argnames="right_handed", inline=True)
def _on_sphere(d: jax.Array, e: jax.Array, a: jax.Array, *, right_handed: bool) -> jax.Array:
    """`points_from_angles`; one program, for outside of `jax.jit` each step would be its own."""
    d, e, a = jnp.broadcast_arrays(d, jnp.deg2rad(e), jnp.deg2rad(a))
    ground = d * jnp.cos(e)
    front = ground if right_handed else -ground
    return jnp.stack([ground * jnp.sin(a), d * jnp.sin(e), front * jnp.cos(a)], axis=-1)


def camera_position(camera: Camera) -> jax.Array:
    """Where the camera stands: `-Rᵀ t`, for an orthonormal rotation R.

    Gradient: exact.

    Args:
        camera: any camera.

    Returns:
        `[3]` world space, scene units.

    Raises:
        ValueError: it is no camera.

    Example:
        >>> import jaxrender as jr
        >>> jr.camera_position(jr.look_at((0.0, 0.0, 3.0))).tolist()
        [0.0, 0.0, 3.0]
    """
    camera = check_camera(camera)
    # Add 0, so that no coordinate is -0.
    return 0 - (camera.rotation * camera.translation[:, None]).sum(0)


def viewpoint(camera: Camera) -> jax.Array:
    """Where the camera sees from, as a homogeneous point; `shade` takes it as `eye`.

    Gradient: exact.

    Args:
        camera: any camera.

    Returns:
        `[4]` world space: (x, y, z, 1), the camera's position; or (x, y, z, 0), the direction
        from the scene to the viewer, for a parallel projection, which sees from infinity.

    Raises:
        ValueError: it is no camera.

    Example:
        >>> import jaxrender as jr
        >>> jr.viewpoint(jr.look_at((0.0, 0.0, 3.0))).tolist()
        [0.0, 0.0, 3.0, 1.0]
    """
    camera = check_camera(camera)
    if camera.projection.parallel:
        point, w = -camera.rotation[2], 0
    else:
        point, w = camera_position(camera), 1
    return jnp.concatenate([point, jnp.full((1,), w, point.dtype)])


def _oriented(
    eye: jax.Array,
    direction: jax.Array | np.ndarray,
    up: jax.Array,
    projection: Projection | None,
    right_handed: bool,
) -> Camera:
    """The camera at `eye` with the axes of `look_at`."""
    projection = perspective() if projection is None else projection
    if not isinstance(projection, Projection):
        raise ValueError(
            "`projection` must be of `perspective` or `orthographic`, or another Projection, got "
            f"{type(projection).__name__}. Pass for example jaxrender.perspective(60)."
        )

    check_flag("right_handed", right_handed)
    if is_concrete(direction, up):
        # In double precision, and at once: a program would take half a second to compile.
        view, above = np.asarray(direction, float), np.asarray(up, float)
        rotation, sideways = _axes(view, above, _known_unit, np, right_handed)
        if _length(sideways) < 1e-6:
            raise ValueError(
                f"`up` must not be zero or parallel to the view, got {np.asarray(up).tolist()} for "
                f"a view along {rotation[2].astype(eye.dtype).tolist()}. Pass another `up`, for "
                "example (0, 0, 1)."
            )
        if is_concrete(eye):
            with np.errstate(over="ignore"):
                translation = jnp.asarray(-rotation @ np.asarray(eye, float), eye.dtype)
            return Camera(jnp.asarray(rotation, eye.dtype), translation, projection)
        rotation = jnp.asarray(rotation, eye.dtype)
    else:
        rotation, _ = _axes(direction, up, unit, jnp, right_handed)
    return Camera(rotation, -(rotation * eye[None]).sum(-1), projection)


def _axes(direction: Any, up: Any, unit: Callable, numpy: Any, right_handed: bool) -> Any:
    """The rotation of a camera by `numpy`, NumPy or JAX's; and its right, of any length."""
    # Build the axes, each orthogonal to those before it; they change hands with `right`.
    forward = unit(direction)
    sideways = numpy.cross(unit(up), forward)
    right = unit(sideways)
    upward = numpy.cross(forward, right)
    return numpy.stack([-right if right_handed else right, upward, forward]), sideways


def _known_unit(vector: np.ndarray) -> np.ndarray:
    """As `unit`."""
    size = np.abs(vector).max()
    if size <= NO_LENGTH:
        return np.zeros(3)
    return vector / size / _length(vector / size)


def _length(vector: np.ndarray) -> float:
    size = float(np.abs(vector).max())
    return size * float(np.sqrt(((vector / size).astype(float) ** 2).sum())) if size > 0 else 0.0
