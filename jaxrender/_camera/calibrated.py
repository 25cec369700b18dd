"""Cameras that another program calibrated, or draws with: K and distortion, OpenCV, OpenGL.

Shape legend: `H, W` image.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._camera.models import Orthographic, Pinhole
from jaxrender._checks import (
    check_array,
    check_aspect,
    check_image_size,
    check_rotation,
    is_concrete,
    same_float,
)
from jaxrender._types import Camera, Projection
from jaxrender.rotations import from_axis_angle


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
        kind: Projection = Pinhole(matrix, jnp.zeros(5, clip.dtype), (height, width))
    elif np.array_equal(rows[3], (0, 0, 0, 1)):
        diagonal = np.diag([rows[0, 0], rows[1, 1]])
        symmetric = np.allclose(rows[:2], np.pad(diagonal, ((0, 0), (0, 2))), atol=1e-6)
        if not symmetric or rows[0, 0] <= 0 or rows[1, 1] <= 0:
            raise ValueError(
                "`projection` is orthographic and must be symmetric (left = -right, "
                f"bottom = -top), got first rows {rows[:2].tolist()}. Move `view` instead."
            )
        check_aspect(rows[1, 1] / rows[0, 0], (height, width), "`projection` shows")
        kind = Orthographic(2 / clip[1, 1])
    else:
        raise ValueError(
            "`projection` must end in the row (0, 0, -1, 0) of a perspective or (0, 0, 0, 1) of an "
            f"orthographic matrix, got {rows[3].tolist()}. Transpose it if it acts on row vectors."
        )
    return Camera(rotation, translation, kind)


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
