"""Cameras: where they stand, how they project, and the way from world to screen space.

Camera space has `x` right, `y` up and `z` forward, so depth is `z > 0`. Screen space has `x`
and `y` in [-1, 1] across the picture's width and height, `y` up, and keeps that depth.

Shape legend: `V` vertices, `H, W` image.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._checks import (
    check_array,
    check_image_size,
    check_rotation,
    is_concrete,
    same_float,
)
from jaxrender._distortion import bend
from jaxrender._types import Camera, Orthographic, Perspective, Pinhole
from jaxrender.rotations import from_axis_angle

# Vectors shorter than this have no direction.
NO_LENGTH = 1e-12

# Depths nearer the camera plane than this are moved to it: small enough to be zero in any scene,
# large enough that 1/z² and x/z² are finite in float32.
TINY_DEPTH = 1e-12

# No field of view is narrower than this, in degrees: the square of its scale is finite in float32,
# also times the place of a point near the camera plane.
TINY_FOV = 1e-6

Vector = tuple[jax.Array, jax.Array, jax.Array]  # components x, y, z


def perspective(fov: ArrayLike = 60.0) -> Perspective:
    """A symmetric perspective projection.

    A point (x, y, z) of camera space is seen at `y / (z tan(fov / 2))`, and at the same scale
    in x: the vertical field of view is fixed, a wider picture shows more. NMR and SoftRas
    name the half angle: their `viewing_angle=30` is `fov=60`.

    Gradient: exact to `fov`.

    Args:
        fov: `[]` the full vertical field of view, degrees, from 1e-6 to less than 180.

    Returns:
        The projection, for `look_at` or `look`.

    Raises:
        ValueError: `fov` is not one number from 1e-6 to less than 180. Inside jit, where the
            value is not known, `project` clamps it to [1e-6, 180].

    Example:
        >>> import jaxrender as jr
        >>> camera = jr.look_at((0, 0, 3), projection=jr.perspective(fov=45.0))
    """
    fov = check_array("fov", fov, (), finite=True, hint="Pass degrees, for example 60.")
    (fov,) = same_float(fov)
    if is_concrete(fov) and not np.asarray(TINY_FOV, fov.dtype) <= np.asarray(fov) < 180:
        raise ValueError(
            f"`fov` must lie between 0 (1e-6) and 180 degrees, got {float(fov)}. "
            "Pass the full vertical field of view, for example 60; for parallel rays, "
            "`orthographic`."
        )
    return Perspective(fov)


def orthographic(height: ArrayLike = 2.0) -> Orthographic:
    """A parallel projection: `y` is seen at `2 y / height`, however far away.

    SoftRas's and NMR's `viewing_scale=s` is `height=2/s`.

    Gradient: exact to `height`.

    Args:
        height: `[]` scene units from the bottom to the top of the picture, positive.

    Returns:
        The projection, for `look_at` or `look`.

    Raises:
        ValueError: `height` is not one positive number. Inside jit, where the value is not
            known, `project` raises it to at least 1e-12.

    Example:
        >>> import jaxrender as jr
        >>> camera = jr.look_at((0, 0, 3), projection=jr.orthographic(height=2.5))
    """
    height = check_array("height", height, (), finite=True, hint="Pass scene units, for example 2.")
    if is_concrete(height) and not float(height) > 0:
        raise ValueError(
            f"`height` must be positive, got {float(height)}. "
            "Pass how many scene units the picture shows from bottom to top, for example 2."
        )
    return Orthographic(*same_float(height))


def look_at(
    eye: ArrayLike,
    at: ArrayLike = (0.0, 0.0, 0.0),
    up: ArrayLike = (0.0, 1.0, 0.0),
    *,
    projection: Perspective | Orthographic | None = None,
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
        projection: `perspective(...)` or `orthographic(...)`; None is `perspective(60)`.
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
    if is_concrete(eye, at) and _length(np.asarray(at) - np.asarray(eye)) <= NO_LENGTH:
        raise ValueError(
            f"`eye` must not be at its own target `at`, got both at {np.asarray(eye).tolist()}. "
            "Move the camera away from the point it looks at."
        )
    return _oriented(eye, at - eye, up, projection, right_handed)


def look(
    eye: ArrayLike,
    direction: ArrayLike | None = None,
    up: ArrayLike = (0.0, 1.0, 0.0),
    *,
    projection: Perspective | Orthographic | None = None,
    right_handed: bool = True,
) -> Camera:
    """A camera at `eye` that looks along `direction`; see `look_at` for the axes.

    Gradient: exact to `eye`, `direction`, `up` and the projection's parameters.

    Args:
        eye: `[3]` where the camera stands, scene units.
        direction: `[3]` where it looks; any length. None is where a camera at azimuth 0 looks
            (see `points_from_angles`): (0, 0, -1), and (0, 0, 1) without `right_handed`.
        up: `[3]` the direction that is up in the picture; any length.
        projection: `perspective(...)` or `orthographic(...)`; None is `perspective(60)`.
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
        direction = (0.0, 0.0, -1.0 if right_handed else 1.0)
    eye, direction, up = (
        check_array(name, value, (3,), finite=True, hint="Pass one vector (x, y, z).")
        for name, value in (("eye", eye), ("direction", direction), ("up", up))
    )
    eye, direction, up = same_float(eye, direction, up)
    if is_concrete(direction) and _length(np.asarray(direction)) <= NO_LENGTH:
        raise ValueError("`direction` must not be zero. Pass where the camera looks.")
    return _oriented(eye, direction, up, projection, right_handed)


def pinhole(
    matrix: ArrayLike,
    rotation: ArrayLike,
    translation: ArrayLike,
    distortion: ArrayLike | None = None,
    *,
    image_size: tuple[int, int],
) -> Camera:
    """A calibrated camera, given as NMR's `projection` takes it.

    A world point X is at `(x, y, z) = R X + t`, here with `y` DOWN. With `x' = x/z`, `y' = y/z`
    and `r² = x'² + y'²`, the lens moves it to

        x'' = x' (1 + k1 r² + k2 r⁴ + k3 r⁶) + 2 p1 x' y' + p2 (r² + 2 x'²)
        y'' = y' (1 + k1 r² + k2 r⁴ + k3 r⁶) + p1 (r² + 2 y'²) + 2 p2 x' y'

    and `(u, v, 1) = K (x'', y'', 1)` is its place in pixels, `v` down, with (0, 0) the upper
    left corner of the picture. (`from_opencv` takes K with (0, 0) at the first pixel's centre.)
    The polynomial in r is followed as far from the axis as it grows, and not beyond r = 10; from
    there on it is continued along its tangent, and the parts with p1 and p2 stay as they are. So
    points outside the lens's field are not folded back into the picture: they lie on the border
    of what the lens shows, in their direction, and outside of it from r = 10 on.

    The lens moves the VERTICES of a mesh; edges between them stay straight on screen, and depth
    goes straight inside triangles. That is wrong for large triangles near the picture's border
    (a wall of two triangles was 8.5 pixels off, one of 16 x 16 squares 0.2): `subdivide` the
    mesh, or draw exactly, without the lens, and move the pixels: see `distort`.

    Gradient: exact to the four arrays; outside of the field with its border held.

    Args:
        matrix: `[3, 3]` K, pixels, last row (0, 0, 1).
        rotation: `[3, 3]` R, from the world to x right, y down, z forward.
        translation: `[3]` t, scene units.
        distortion: `[5]` k1, k2, p1, p2, k3; None is no distortion.
        image_size: `(H, W)` of the picture that K was calibrated for; static. A picture of
            another size with the same aspect shows the same scene.

    Returns:
        The camera; its `rotation` and `translation` are flipped to `y` up.

    Raises:
        ValueError: a shape is wrong, K's last row is not (0, 0, 1), or the rotation is not
            orthonormal, or mirrors (its determinant is -1).

    Example:
        >>> import jaxrender as jr
        >>> K = [[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]]
        >>> R = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        >>> camera = jr.pinhole(K, R, (0.0, 0.0, 4.0), image_size=(48, 64))
        >>> jr.project([[0.0, 0.0, 0.0]], camera).tolist()
        [[0.0, 0.0, 4.0]]

    References:
        Kato et al., Neural 3D Mesh Renderer, CVPR 2018; Brown, Decentering distortion of
        lenses, 1966.
    """
    if distortion is None:
        distortion = jnp.zeros(5)
    hint = "Pass k1, k2, p1, p2, k3, with zeros for those you do not have."
    matrix, rotation, translation, distortion = same_float(
        check_array("matrix", matrix, (3, 3), finite=True, hint="Pass K, in pixels."),
        check_array("rotation", rotation, (3, 3), finite=True),
        check_array("translation", translation, (3,), finite=True),
        check_array("distortion", distortion, (5,), finite=True, hint=hint),
    )
    size = check_image_size(image_size)
    _check_last_row("matrix", matrix)
    check_rotation("rotation", rotation, proper=True)
    flip = jnp.asarray([1, -1, 1], rotation.dtype)
    return Camera(rotation * flip[:, None], translation * flip, Pinhole(matrix, distortion, size))


def from_opencv(
    matrix: ArrayLike,
    rotation: ArrayLike,
    translation: ArrayLike,
    distortion: ArrayLike | None = None,
    *,
    image_size: tuple[int, int],
) -> Camera:
    """A camera calibrated by OpenCV, where whole pixel coordinates are pixel CENTRES.

    The same as `pinhole` with K's principal point moved by half a pixel, to where (0, 0) is the
    upper left corner of the picture. It takes what `cv2.calibrateCamera` and `cv2.solvePnP`
    return as it is: rows or columns of numbers, and rotation vectors.

    Gradient: exact to the four arrays.

    Args:
        matrix: `[3, 3]` OpenCV's camera matrix, pixels, last row (0, 0, 1).
        rotation: `[3, 3]` from the world to x right, y down, z forward; or the rotation vector,
            `[3]`, `[3, 1]` or `[1, 3]`, radians.
        translation: `[3]`, `[3, 1]` or `[1, 3]` scene units.
        distortion: k1, k2, p1, p2 and, unless it is 0, k3: `[4]` or `[5]`, or a row or column of
            them; None is no distortion.
        image_size: `(H, W)` of the calibrated picture; static. OpenCV says (W, H).

    Returns:
        The camera.

    Raises:
        ValueError: as `pinhole`; or there are 8, 12 or 14 distortion coefficients.

    Example:
        >>> import jaxrender as jr, numpy as np
        >>> K = [[100.0, 0.0, 31.5], [0.0, 100.0, 23.5], [0.0, 0.0, 1.0]]
        >>> rvec, tvec, coefficients = np.zeros((3, 1)), [[0.0], [0.0], [4.0]], np.zeros((1, 5))
        >>> camera = jr.from_opencv(K, rvec, tvec, coefficients, image_size=(48, 64))
        >>> jr.project([[0.0, 0.0, 0.0]], camera).tolist()
        [[0.0, 0.0, 4.0]]
    """
    matrix = check_array("matrix", matrix, (3, 3), finite=True, hint="Pass K, in pixels.")
    (matrix,) = same_float(matrix)
    centre = jnp.asarray([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], matrix.dtype)
    translation = _flat("translation", translation, (3,), "Pass tvec.")
    turn = check_array("rotation", rotation, ("...",), finite=True)
    if turn.shape != (3, 3):
        hint = "Pass a matrix [3, 3], or a rotation vector."
        turn = from_axis_angle(_flat("rotation", turn, (3,), hint))

    # Give no k3 for 0, but do not cut off coefficients that stand in a denominator.
    if distortion is not None:
        distortion = check_array("distortion", distortion, ("...",), finite=True)
        if distortion.size in (8, 12, 14):
            raise ValueError(
                f"`distortion` must be the 4 or 5 coefficients k1, k2, p1, p2, k3, got "
                f"{distortion.size}, of OpenCV's rational, thin prism or tilted model. Do not cut "
                "them: the first five are fitted together with the others, and alone were up to "
                "5.4 pixels off. Undistort the pictures with cv2.undistort and pass None, or "
                "calibrate without those models."
            )
        distortion = _flat("distortion", distortion, (4, 5), "Pass k1, k2, p1, p2, k3.")
        distortion = jnp.pad(distortion, (0, 5 - distortion.size))
    return pinhole(matrix + centre, turn, translation, distortion, image_size=image_size)


def from_opengl(view: ArrayLike, projection: ArrayLike, *, image_size: tuple[int, int]) -> Camera:
    """A camera given by OpenGL's view and projection matrices.

    OpenGL's camera looks along -z with y up, and a point is drawn at
    `projection @ view @ (x, y, z, 1)`, divided by its last coordinate. A perspective matrix
    (`glFrustum`, `gluPerspective`) becomes the equivalent `pinhole` camera, an orthographic one
    (`glOrtho`, symmetric) an `orthographic` camera. The matrix's near and far planes are not
    kept: pass those to `render`.

    Gradient: exact to `view`.

    Args:
        view: `[4, 4]` from the world to the camera, acting on column vectors.
        projection: `[4, 4]` from the camera to clip space; its values must be known, so not
            the argument of a jitted function.
        image_size: `(H, W)` of the viewport; static.

    Returns:
        The camera.

    Raises:
        ValueError: a matrix is not of these forms; `view` scales or mirrors; an orthographic one
            is off-centre, or has another aspect than the image; `projection` is not known.

    Example:
        >>> import jaxrender as jr, numpy as np
        >>> view = np.eye(4); view[2, 3] = -4.0
        >>> frustum = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, -1.02, -0.2], [0, 0, -1.0, 0]]
        >>> camera = jr.from_opengl(view, frustum, image_size=(64, 64))
        >>> jr.project([[1.0, 0.0, 0.0]], camera).tolist()
        [[0.25, 0.0, 4.0]]
    """
    view, clip = same_float(
        check_array("view", view, (4, 4), finite=True),
        check_array("projection", projection, (4, 4), finite=True),
    )
    height, width = check_image_size(image_size)
    _check_last_row("view", view)
    check_rotation("view", view[:3, :3], proper=True)

    # Turn OpenGL's -z into our forward.
    flip = jnp.asarray([1, 1, -1], view.dtype)
    rotation, translation = view[:3, :3] * flip[:, None], view[:3, 3] * flip

    # Tell the kinds of projection apart by what they divide by.
    if not is_concrete(clip):
        raise ValueError(
            "`projection` must have known values, because they decide the kind of camera. "
            "Build the camera outside jit, or use `pinhole` or `look_at`."
        )
    rows = np.asarray(clip)
    if np.array_equal(rows[3], (0, 0, -1, 0)) and not rows[:2, 3].any():
        # Map [-1, 1] to pixels; K acts on (x/z, y/z) with y down, the matrix on y up and -z.
        to_pixels = jnp.asarray([width / 2, -height / 2], clip.dtype)
        linear = clip[:2, :2] * to_pixels[:, None] * jnp.asarray([1, -1], clip.dtype)[None]
        centre = jnp.asarray([width / 2, height / 2], clip.dtype) - clip[:2, 2] * to_pixels
        last = jnp.asarray([[0, 0, 1]], clip.dtype)
        matrix = jnp.concatenate([jnp.concatenate([linear, centre[:, None]], 1), last])
        kind: Any = Pinhole(matrix, jnp.zeros(5, clip.dtype), (height, width))
    elif np.array_equal(rows[3], (0, 0, 0, 1)):
        diagonal = np.diag([rows[0, 0], rows[1, 1]])
        symmetric = np.allclose(rows[:2], np.pad(diagonal, ((0, 0), (0, 2))), atol=1e-6)
        if not symmetric or rows[0, 0] <= 0 or rows[1, 1] <= 0:
            raise ValueError(
                "`projection` is orthographic and must be symmetric (left = -right, "
                f"bottom = -top), got first rows {rows[:2].tolist()}. Move `view` instead."
            )
        _check_aspect(rows[1, 1] / rows[0, 0], (height, width), "`projection` shows")
        kind = Orthographic(2 / clip[1, 1])
    else:
        raise ValueError(
            "`projection` must end in the row (0, 0, -1, 0) of a perspective or (0, 0, 0, 1) of an "
            f"orthographic matrix, got {rows[3].tolist()}. Transpose it if it acts on row vectors."
        )
    return Camera(rotation, translation, kind)


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

    Example:
        >>> import jaxrender as jr
        >>> jr.points_from_angles(2.0, elevation=0.0, azimuth=0.0).tolist()
        [0.0, 0.0, 2.0]
    """
    d, e, a = same_float(
        check_array("distance", distance, ("...",)),
        check_array("elevation", elevation, ("...",)),
        check_array("azimuth", azimuth, ("...",)),
    )
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

    Example:
        >>> import jaxrender as jr
        >>> jr.camera_position(jr.look_at((0.0, 0.0, 3.0))).tolist()
        [0.0, 0.0, 3.0]
    """
    # Add 0, so that no coordinate is -0.
    return 0 - (camera.rotation * camera.translation[:, None]).sum(0)


def viewpoint(camera: Camera) -> jax.Array:
    """Where the camera sees from, as a homogeneous point; `shade` takes it as `eye`.

    Gradient: exact.

    Args:
        camera: any camera.

    Returns:
        `[4]` world space: (x, y, z, 1), the camera's position; or (x, y, z, 0), the direction
        from the scene to the viewer, for an orthographic camera, which sees from infinity.

    Example:
        >>> import jaxrender as jr
        >>> jr.viewpoint(jr.look_at((0.0, 0.0, 3.0))).tolist()
        [0.0, 0.0, 3.0, 1.0]
    """
    if isinstance(camera.projection, Orthographic):
        point, w = -camera.rotation[2], 0
    else:
        point, w = camera_position(camera), 1
    return jnp.concatenate([point, jnp.full((1,), w, point.dtype)])


def project(
    vertices: ArrayLike, camera: Camera, *, image_size: tuple[int, int] | None = None
) -> jax.Array:
    """Takes vertices from the world to the screen.

    Camera space is `(x, y, z) = vertices @ rotation.T + translation`. Screen space has `x` and
    `y` in [-1, 1] across the picture, `y` up, and the same `z`; with the aspect `W / H`

        Perspective:   x / (z tan(fov/2) W/H),  y / (z tan(fov/2))
        Orthographic:  2 x / (height W/H),      2 y / height
        Pinhole:       2 u / W - 1,             1 - 2 v / H       (u, v: see `pinhole`)

    A vertex behind the camera has `z < 0` and is divided by that. A vertex on the camera plane
    (`|z| < 1e-12`) has no place on the screen: its `z` becomes 1e-12 of the same sign, so that
    `(x z, y z, z)` gives its homogeneous coordinates back, as for every other vertex.

    Gradient: exact to `vertices` and to every array of the camera; 0 to the `z` of a vertex on
    the camera plane.

    Args:
        vertices: `[V, 3]` world space, scene units.
        camera: of `look_at`, `look`, `pinhole`, `from_opencv` or `from_opengl`.
        image_size: `(H, W)` of the picture to be made; None is a square one for perspective
            and orthographic cameras, and the calibrated one for pinhole cameras.

    Returns:
        `[V, 3]` screen space.

    Raises:
        ValueError: a shape or dtype is wrong, a vertex is not finite, or a pinhole camera's
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

    # Divide by depth, never by zero.
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    projection = camera.projection
    aspect = 1.0 if size is None else size[1] / size[0]
    if isinstance(projection, Orthographic):
        scale = 2 / jnp.maximum(projection.height, NO_LENGTH)
        x, y = x * (scale / aspect), y * scale
    else:
        z = jnp.where(jnp.abs(z) < TINY_DEPTH, jnp.copysign(TINY_DEPTH, z).astype(z.dtype), z)
        x, y = x / z, y / z
        if isinstance(projection, Pinhole):
            calibrated = projection.image_size
            if size is not None:
                _check_aspect(calibrated[1] / calibrated[0], size, "`camera` is calibrated for")
            x, y = to_picture(x, -y, projection)
        else:
            scale = _scale(projection.fov)
            x, y = x * (scale / aspect), y * scale
    return jnp.where(finite, jnp.stack([x, y, z], axis=-1), jnp.nan)


def transform(points: jax.Array, camera: Camera) -> jax.Array:
    """World points `[..., 3]` in camera space."""
    # Ask for full precision: GPUs would round the factors to 10 bits.
    rotated = jnp.matmul(points, camera.rotation.T, precision=jax.lax.Precision.HIGHEST)
    return rotated + jnp.broadcast_to(camera.translation, rotated.shape)


def unit(vectors: jax.Array, floor: float = NO_LENGTH) -> jax.Array:
    """Vectors `[..., 3]` of length 1; those shorter than `floor` become 0, with gradient 0."""
    return jnp.stack(unit3((vectors[..., 0], vectors[..., 1], vectors[..., 2]), floor), -1)


def unit3(vector: Vector, floor: float = NO_LENGTH) -> Vector:
    """The same, of components: XLA on CPU vectorises these, but not short last axes."""
    # Scale by the largest component, so that no square overflows or vanishes.
    x, y, z = vector
    size = jnp.maximum(jnp.maximum(jnp.abs(x), jnp.abs(y)), jnp.abs(z))
    size = jax.lax.stop_gradient(size)
    long = size > floor
    scale = 1 / jnp.where(long, size, 1)
    x, y, z = (jnp.where(long, part * scale, 1) for part in (x, y, z))

    # Divide by the length, which now is at least 1.
    inverse = 1 / jnp.sqrt(x * x + y * y + z * z)
    x, y, z = (jnp.where(long, part * inverse, 0) for part in (x, y, z))
    return x, y, z


def _oriented(
    eye: jax.Array,
    direction: jax.Array,
    up: jax.Array,
    projection: Perspective | Orthographic | None,
    right_handed: bool,
) -> Camera:
    """The camera at `eye` with the axes of `look_at`."""
    projection = perspective() if projection is None else projection
    if not isinstance(projection, Perspective | Orthographic):
        raise ValueError(
            f"`projection` must be of `perspective` or `orthographic`, got "
            f"{type(projection).__name__}. Pass for example jaxrender.perspective(60)."
        )

    # Build the axes, each orthogonal to those before it; they change hands with `right`.
    forward = unit(direction)
    sideways = jnp.cross(unit(up), forward)
    if is_concrete(direction, up) and _length(np.asarray(sideways)) < 1e-6:
        raise ValueError(
            f"`up` must not be zero or parallel to the view, got {np.asarray(up).tolist()} for a "
            f"view along {np.asarray(forward).tolist()}. Pass another `up`, for example (0, 0, 1)."
        )
    right = unit(sideways)
    upward = jnp.cross(forward, right)

    rotation = jnp.stack([-right if right_handed else right, upward, forward])
    return Camera(rotation, -(rotation * eye[None]).sum(-1), projection)


def _scale(fov: jax.Array) -> jax.Array:
    """`1 / tan(fov / 2)`, to the last digits also near 180 degrees, where the tangent is a pole."""
    fov = jnp.clip(fov, TINY_FOV, 180)
    wide = fov > 90
    narrow = 1 / jnp.tan(jnp.deg2rad(jnp.where(wide, 90, fov) / 2))
    return jnp.where(wide, jnp.tan(jnp.deg2rad(jnp.where(wide, 180 - fov, 90) / 2)), narrow)


def to_picture(x: jax.Array, y: jax.Array, lens: Pinhole) -> tuple[jax.Array, jax.Array]:
    """Screen x, y of points at `x = X/Z`, `y = Y/Z` (y down): distortion, then K."""
    x, y = bend(x, y, lens.distortion)

    # Apply K, and map pixels to [-1, 1].
    height, width = lens.image_size
    u = lens.matrix[0, 0] * x + lens.matrix[0, 1] * y + lens.matrix[0, 2]
    v = lens.matrix[1, 0] * x + lens.matrix[1, 1] * y + lens.matrix[1, 2]
    return 2 * u / width - 1, 1 - 2 * v / height


def check_camera(camera: Any) -> Camera:
    """Returns the camera with arrays of the right shapes.

    Raises:
        ValueError: it is not a camera, an array in it has the wrong shape or is not finite, or
            its rotation is not orthonormal; of either determinant, for worlds of either hand.
    """
    hint = "Build the camera with look_at, look, pinhole, from_opencv or from_opengl."
    projection = getattr(camera, "projection", None)
    if not isinstance(projection, Perspective | Orthographic | Pinhole):
        raise ValueError(f"`camera` must be a Camera, got {type(camera).__name__}. {hint}")
    shapes = {"fov": (), "height": (), "matrix": (3, 3), "distortion": (5,)}
    kept: dict[str, Any] = {
        name: check_array(
            f"camera.projection.{name}", getattr(projection, name), shape, finite=True, hint=hint
        )
        for name, shape in shapes.items()
        if hasattr(projection, name)
    }
    if isinstance(projection, Pinhole):
        kept["image_size"] = check_image_size(projection.image_size)
    rotation = check_array("camera.rotation", camera.rotation, (3, 3), finite=True, hint=hint)
    check_rotation("camera.rotation", rotation, proper=False)
    return Camera(
        rotation,
        check_array("camera.translation", camera.translation, (3,), finite=True, hint=hint),
        type(projection)(**kept),
    )


def _flat(name: str, value: ArrayLike, counts: tuple[int, ...], hint: str) -> jax.Array:
    """Returns numbers `[N]` of which OpenCV makes a row `[1, N]` or a column `[N, 1]`.

    Raises:
        ValueError: it is not of that shape, or `N` not one of the counts.
    """
    array = check_array(name, value, ("...",), finite=True, hint=hint)
    if array.size not in counts or sorted(array.shape) not in ([array.size], [1, array.size]):
        known = " or ".join(str(count) for count in counts)
        raise ValueError(
            f"`{name}` must be {known} numbers, in a row or a column, got {list(array.shape)}. "
            f"{hint}"
        )
    return array.reshape(-1)


def _check_last_row(name: str, matrix: jax.Array) -> None:
    last = [0] * (matrix.shape[1] - 1) + [1]
    if is_concrete(matrix) and not np.allclose(np.asarray(matrix)[-1], last, atol=1e-6):
        raise ValueError(
            f"`{name}` must end in the row {last}, got {np.asarray(matrix)[-1].tolist()}. "
            "Divide by the last number, or transpose a matrix that acts on row vectors."
        )


def _check_aspect(aspect: float, image_size: tuple[int, int], owner: str) -> None:
    height, width = image_size
    if abs(height * aspect - width) > 0.5:
        raise ValueError(
            f"`image_size` must have the aspect that {owner} (W/H = {aspect:.4g}), got "
            f"{image_size}. Render at a multiple of the camera's own size, "
            f"for example {(height, max(round(height * aspect), 1))}."
        )


def _length(vector: np.ndarray) -> float:
    return float(np.sqrt((vector.astype(float) ** 2).sum()))
