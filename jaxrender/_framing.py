"""`frame` and `turntable`: cameras that a mesh fills, and lights and depths to go with them.

Shape legend: `V` vertices, `F` faces, `N` cameras, `H, W` image.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender._camera import (
    check_camera,
    look_at,
    orthographic,
    perspective,
    points_from_angles,
    transform,
)
from jaxrender._checks import (
    check_array,
    check_choice,
    check_faces,
    check_flag,
    check_image_size,
    check_is_mesh,
    check_positive,
    check_whole,
)
from jaxrender._shading import check_color, make_lights
from jaxrender._types import Camera, Lights, Mesh, is_padding

UpAxis = Literal["x", "y", "z", "-x", "-y", "-z"]
UP_AXES = get_args(UpAxis)

# What becomes of the axes x, y, z when y is turned, the shortest way, to be the axis that is up.
TURNS = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),  # about x, as OpenCV's world is turned
}
MARGIN = 1.01  # the range of depths, in radii to either side of the middle
POINT = "Pass one point (x, y, z)."
NEAREST = 1e-3  # the least near plane, in radii

# Towards the lights, in camera space (x right, y up, z forward), and their colours.
KEY, FILL = (-0.5, 0.6, -0.62), (0.8, 0.1, -0.6)


def frame(
    mesh: Mesh,
    azimuth: ArrayLike = 30.0,
    elevation: ArrayLike = 20.0,
    *,
    distance: ArrayLike | None = None,
    at: ArrayLike | None = None,
    fov: ArrayLike = 40.0,
    parallel: bool = False,
    image_size: tuple[int, int] = (256, 256),
    up: UpAxis = "y",
    right_handed: bool = True,
) -> Camera:
    """A camera whose picture a mesh fills, seen under two angles, as the command line draws it.

    It looks at the middle of the mesh's bounding box. With `r` the radius of the sphere there that
    holds the mesh, and `s = tan(fov / 2) min(1, W / H)`, it stands `r / sin(atan(s))` away, where
    the sphere touches the nearer sides of the picture. The angles are those of
    `points_from_angles`, in a world that is turned, the shortest way, such that y becomes the axis
    `up`: azimuth 0 looks from +z where y is up, from -y where z is (Blender's front), and from -z
    where -y is (in front of a camera of OpenCV).

    What is drawn between which depths is `render`'s to say: of a mesh that is not about 1 large, or
    where the soft rasteriser shall blend by the same depths in all pictures, pass it those of
    `depth_range`.

    Gradient: exact to all numbers and to the vertices that hold the box and the sphere; shared
    evenly among those that tie.

    Args:
        mesh: what to look at; vertices of no face, as padding has them, do not count.
        azimuth: `[]` degrees around the vertical.
        elevation: `[]` degrees above the ground.
        distance: `[]` from what it looks at, scene units; None fills the picture.
        at: `[3]` the point in the middle of the picture, and of the sphere; None is the middle.
        fov: `[]` vertical field of view, degrees.
        parallel: whether the projection is orthographic; it shows the sphere whatever the
            distance. Static.
        image_size: `(H, W)` of the picture that is to be filled; static.
        up: the axis of the world that is up: "x", "y", "z", "-x", "-y" or "-z"; static.
        right_handed: whether the world is right-handed, as for `look_at`; static.

    Returns:
        The camera.

    Raises:
        ValueError: the mesh has no vertices or its arrays are no mesh, or a number is out of range.

    Example:
        >>> import jaxrender as jr
        >>> mesh = jr.shapes.cube()
        >>> camera = jr.frame(mesh, azimuth=0.0, elevation=0.0, distance=2.5)
        >>> jr.camera_position(camera).tolist()
        [0.0, 0.0, 2.5]
    """
    subject, angles, settings = _checked(
        mesh, azimuth, elevation, distance, at, fov, parallel, image_size, up, right_handed
    )
    return _framed(subject, angles, **settings)


def turntable(
    mesh: Mesh,
    frames: int = 36,
    azimuth: ArrayLike = 30.0,
    elevation: ArrayLike = 20.0,
    *,
    distance: ArrayLike | None = None,
    at: ArrayLike | None = None,
    fov: ArrayLike = 40.0,
    parallel: bool = False,
    image_size: tuple[int, int] = (256, 256),
    up: UpAxis = "y",
    right_handed: bool = True,
) -> Camera:
    """Cameras that go once around a mesh: those of `frame`, `360 / N` degrees apart.

    Gradient: as `frame`.

    Args:
        mesh: what to go around.
        frames: N, how many; static.
        azimuth: `[]` of the first, degrees; the others go on with growing azimuth.
        elevation: `[]` degrees above the ground.
        distance: as for `frame`, and so are the others.
        at: `[3]`.
        fov: `[]`.
        parallel: static.
        image_size: `(H, W)`, static.
        up: static.
        right_handed: static.

    Returns:
        One `Camera` of `N` cameras, for `jax.vmap` or `jax.lax.map`: each of its arrays has a
        leading axis `N`.

    Raises:
        ValueError: as `frame`, or `frames` is no whole number from 1.

    Example:
        >>> import jax, jaxrender as jr
        >>> mesh = jr.shapes.cube()
        >>> cameras = jr.turntable(mesh, 8, image_size=(16, 16))
        >>> draw = lambda camera: jr.render(mesh, camera, image_size=(16, 16)).rgb
        >>> jax.vmap(draw)(cameras).shape  # doctest: +SKIP
        (8, 16, 16, 3)
    """
    frames = check_whole("frames", frames, least=1, most=2**20, example=36, floats=False)
    subject, (first, *others), settings = _checked(
        mesh, azimuth, elevation, distance, at, fov, parallel, image_size, up, right_handed
    )
    turns = np.arange(frames) * (360 / frames)
    azimuths = first + jnp.asarray(turns, first.dtype)
    return _all_framed(subject, azimuths, others, **settings)


def camera_lights(
    camera: Camera,
    *,
    ambient: ArrayLike = 0.25,
    key: ArrayLike = 0.65,
    fill: ArrayLike = 0.15,
    specular: ArrayLike = 0.2,
    shininess: ArrayLike = 40.0,
) -> Lights:
    """Lights that stand beside a camera: a key light over its left shoulder, a weak one at right.

    What faces the camera is lit, in whatever world it stands: right- or left-handed, y up, z up, or
    y down as OpenCV's. The command line lights meshes so; `render` without lights keeps those of
    NMR, which stand in the world.

    Gradient: exact.

    Args:
        camera: any camera.
        ambient: colour of the light from everywhere, rgb or one number, as in `make_lights`.
        key: colour of the light from above the left shoulder.
        fill: colour of the light from the right.
        specular: colour of the surface's mirror-like reflection.
        shininess: exponent of that reflection.

    Returns:
        The lights, for `render` or `shade`.

    Raises:
        ValueError: it is no camera, or a number is not finite.

    Example:
        >>> import jaxrender as jr, numpy as np
        >>> lights = jr.camera_lights(jr.look_at((0, 0, 3)))
        >>> np.allclose(lights.directions, [[-0.5, 0.6, 0.62], [0.8, 0.1, 0.6]])
        True
    """
    camera = check_camera(camera)
    towards = jnp.asarray([KEY, FILL], camera.rotation.dtype)
    towards = jnp.matmul(towards, camera.rotation, precision="highest")
    key, fill = check_color("key", key), check_color("fill", fill)
    lights = [(towards[0], key), (towards[1], fill)]
    return make_lights(ambient, lights, specular=specular, shininess=shininess)


def depth_range(mesh: Mesh, camera: Camera) -> tuple[jax.Array, jax.Array]:
    """The depths between which a camera sees a mesh, for `render`'s `near` and `far`.

    With `z` the depth of the middle of the mesh's bounding box and `r` the radius of the sphere
    there that holds it, `z - 1.01 r` and `z + 1.01 r`: the same however the mesh turns. In
    perspective near is at least `r / 1000`, and far, if it were less, twice that.

    Gradient: exact.

    Args:
        mesh: what is seen.
        camera: any camera.

    Returns:
        near, far: `[]` scene units.

    Raises:
        ValueError: they are no mesh and camera.

    Example:
        >>> import jaxrender as jr
        >>> mesh = jr.shapes.cube(1e-3)
        >>> camera = jr.frame(mesh)
        >>> near, far = jr.depth_range(mesh, camera)
        >>> image = jr.render(mesh, camera, near=near, far=far)  # doctest: +SKIP
    """
    camera = check_camera(camera)
    return _depths(_bare(mesh), camera)


@jax.jit
def _depths(mesh: Mesh, camera: Camera) -> tuple[jax.Array, jax.Array]:
    centre, radius = _sphere(mesh, None)
    depth = transform(centre[None], camera)[0, 2]
    near, far = depth - MARGIN * radius, depth + MARGIN * radius
    if camera.projection.parallel:
        return near, far
    near = jnp.maximum(near, NEAREST * radius)
    return near, jnp.where(far > near, far, 2 * near)


def bounding_box(mesh: Mesh) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """A mesh's vertices `[V, 3]`, which of them count `[V]`, and the corners `[3]` of their box.

    Those count that faces use, or all if there are no faces; where values are not known, only those
    that are finite.

    Raises:
        ValueError: the vertices are not `[V, 3]` finite floats, or the faces do not fit them.
    """
    check_is_mesh(mesh)
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    faces = check_faces("mesh.faces", mesh.faces, vertices.shape[0])
    return vertices, *_bounds(vertices, faces)


@jax.jit
def _bounds(vertices: jax.Array, faces: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which vertices count, and the corners of their box."""
    corners = jnp.where(is_padding(faces)[:, None], vertices.shape[0], faces)
    used = jnp.zeros(vertices.shape[0], bool).at[corners].set(True, mode="drop")
    counts = jnp.isfinite(vertices).all(axis=1) & (used | ~used.any())
    low = jnp.min(vertices, axis=0, initial=jnp.inf, where=counts[:, None])
    high = jnp.max(vertices, axis=0, initial=-jnp.inf, where=counts[:, None])
    return counts, low, high


def _checked(
    mesh: Mesh,
    azimuth: ArrayLike,
    elevation: ArrayLike,
    distance: ArrayLike | None,
    at: ArrayLike | None,
    fov: ArrayLike,
    parallel: bool,
    image_size: tuple[int, int],
    up: str,
    right_handed: bool,
) -> tuple[Mesh, list[Any], dict[str, Any]]:
    """The bare mesh, the numbers in its dtype, and the static settings."""
    mesh = _bare(mesh)
    dtype = mesh.vertices.dtype
    lens = perspective(check_array("fov", fov, (), dtype=dtype))
    angles = [
        check_array("azimuth", azimuth, (), finite=True, dtype=dtype),
        check_array("elevation", elevation, (), finite=True, dtype=dtype),
        None if distance is None else check_positive("distance", distance, dtype=dtype),
        None if at is None else check_array("at", at, (3,), finite=True, hint=POINT, dtype=dtype),
        lens,
    ]
    height, width = check_image_size(image_size)
    settings = {"narrow": min(1.0, width / height), "parallel": check_flag("parallel", parallel)}
    settings |= {
        "up": check_choice("up", up, UP_AXES),
        "right_handed": check_flag("right_handed", right_handed),
    }
    return mesh, angles, settings


def _bare(mesh: Any) -> Mesh:
    """The mesh without its texture, checked."""
    check_is_mesh(mesh)
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    faces = check_faces("mesh.faces", mesh.faces, vertices.shape[0])
    if not vertices.shape[0]:
        raise ValueError("`mesh` must have vertices, got none. Pass at least one triangle.")
    return Mesh(vertices, faces)


# Compiled: a first call took 3 seconds, one small operation after the other.
@functools.partial(jax.jit, static_argnames=("narrow", "parallel", "up", "right_handed"))
def _framed(
    mesh: Mesh, angles: list[Any], *, narrow: float, parallel: bool, up: UpAxis, right_handed: bool
) -> Camera:
    azimuth, elevation, distance, at, lens = angles
    centre, radius = _sphere(mesh, at)

    # Move the camera back until the cone of the narrower side touches the sphere.
    if distance is None:
        slope = jnp.tan(jnp.deg2rad(lens.fov) / 2) * narrow
        distance = radius * jnp.sqrt(1 + slope**2) / slope

    # Take the direction of growing elevation as up: it is never parallel to the view.
    eye = points_from_angles(distance, elevation, azimuth, right_handed=right_handed)
    upwards = points_from_angles(1.0, elevation + 90, azimuth, right_handed=right_handed)
    turn = jnp.asarray(TURNS[up], eye.dtype)
    eye, upwards = jnp.matmul(jnp.stack([eye, upwards]), turn, precision="highest")
    projection = orthographic(2 * radius / narrow) if parallel else lens
    return look_at(centre + eye, centre, upwards, projection=projection, right_handed=right_handed)


@functools.partial(jax.jit, static_argnames=("narrow", "parallel", "up", "right_handed"))
def _all_framed(mesh: Mesh, azimuths: jax.Array, others: list[Any], **settings: Any) -> Camera:
    return jax.vmap(lambda azimuth: _framed(mesh, [azimuth, *others], **settings))(azimuths)


def _sphere(mesh: Mesh, at: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """The middle `[3]` of a mesh, or the point given, and the radius around it; 1 for a point."""
    vertices, counts, low, high = bounding_box(mesh)
    centre = low + (high - low) / 2 if at is None else at

    # Scale before squaring, so that nothing overflows, and keep a root of 0 from the gradient.
    away = jnp.where(counts[:, None], vertices - centre[None], 0)
    size = jax.lax.stop_gradient(jnp.abs(away).max())
    size = jnp.where(size > 0, size, 1)
    square = jnp.square(away / size).sum(axis=1).max()
    return centre, jnp.where(square > 0, size * jnp.sqrt(jnp.where(square > 0, square, 1)), 1)
