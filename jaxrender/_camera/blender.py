"""Cameras of Blender, by the names of its settings."""

from __future__ import annotations

from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._camera.models import Orthographic, Pinhole
from jaxrender._checks import (
    check_array,
    check_choice,
    check_flag,
    check_image_size,
    check_positive,
    check_rotation,
    is_concrete,
    same_float,
)
from jaxrender._types import Camera
from jaxrender._vectors import unit

SensorFit = Literal["AUTO", "HORIZONTAL", "VERTICAL"]
BlenderLens = Literal["PERSP", "ORTHO"]


def from_blender(
    matrix_world: ArrayLike,
    *,
    image_size: tuple[int, int],
    type: BlenderLens = "PERSP",
    lens: ArrayLike = 50.0,
    ortho_scale: ArrayLike = 6.0,
    sensor_width: ArrayLike = 36.0,
    sensor_height: ArrayLike = 24.0,
    sensor_fit: SensorFit = "AUTO",
    shift_x: ArrayLike = 0.0,
    shift_y: ArrayLike = 0.0,
    pixel_aspect_x: float = 1.0,
    pixel_aspect_y: float = 1.0,
    y_up: bool = False,
) -> Camera:
    """A camera of Blender, given by its settings, which have the names that they have there.

    It looks along -z of its object with y up. Of the picture's W by H pixels, one of height
    `a = pixel_aspect_y / pixel_aspect_x` for each unit of width, the fitted side is W where
    `sensor_fit` is "HORIZONTAL", `a H` where it is "VERTICAL", and the larger of both where it is
    "AUTO". With `d` that side and `s` the sensor's width (its height, where "VERTICAL"), in pixels
    and `v` down,

        u = W/2 - d shift_x + d lens/s x/z,        v = H/2 + (d shift_y - d lens/s y/z) / a

    and an orthographic camera shows `ortho_scale` along `d`. As in Blender, a scale of the object
    does not count.

    Gradient: exact to `matrix_world`, `lens`, `ortho_scale`, the sensor and the shifts.

    Args:
        matrix_world: `[4, 4]` of the camera's object, to the world.
        image_size: `(H, W)` of the picture: the resolution, times its percentage; static.
        type: "PERSP" or "ORTHO"; static.
        lens: `[]` focal length, millimetres.
        ortho_scale: `[]` scene units.
        sensor_width: `[]` millimetres.
        sensor_height: `[]` millimetres.
        sensor_fit: "AUTO", "HORIZONTAL" or "VERTICAL"; static.
        shift_x: `[]` fractions of the fitted side.
        shift_y: `[]` likewise.
        pixel_aspect_x: of the render settings; static.
        pixel_aspect_y: likewise.
        y_up: whether the world is turned such that y is up, (x, y, z) -> (x, z, -y), as Blender
            writes glTF and OBJ files; static. PLY and STL files are z up.

    Returns:
        The camera: a pinhole, or an orthographic one.

    Raises:
        ValueError: a shape is wrong, a number is out of range, the object is sheared or mirrored,
            or pixels of an orthographic camera are not square.

    Example:
        >>> import jaxrender as jr, numpy as np
        >>> world = np.eye(4); world[2, 3] = 5.0
        >>> camera = jr.from_blender(world, image_size=(120, 160), lens=35.0)
        >>> jr.project([[0.0, 0.0, 0.0]], camera).tolist()
        [[0.0, 0.0, 5.0]]
    """
    height, width = check_image_size(image_size)
    check_choice("type", type, get_args(BlenderLens))
    check_choice("sensor_fit", sensor_fit, get_args(SensorFit))
    hint = "Pass the camera object's matrix_world."
    (world,) = same_float(check_array("matrix_world", matrix_world, (4, 4), finite=True, hint=hint))
    dtype = world.dtype
    shifts = [
        check_array(name, value, (), finite=True, dtype=dtype)
        for name, value in (("shift_x", shift_x), ("shift_y", shift_y))
    ]
    check_positive("pixel_aspect_x", pixel_aspect_x)
    check_positive("pixel_aspect_y", pixel_aspect_y)
    aspect = float(pixel_aspect_y) / float(pixel_aspect_x)

    # Stand where the object stands, without its scale: x right, y up, and -z forward.
    axes = unit(world[:3, :3].T)
    if is_concrete(axes) and not np.asarray(axes).any(-1).all():
        raise ValueError(f"`matrix_world` must have three axes, got one of length 0. {hint}")
    check_rotation("matrix_world", axes, proper=True)
    rotation = axes * jnp.asarray([[1], [1], [-1]], dtype)
    if check_flag("y_up", y_up):
        rotation = jnp.stack([rotation[:, 0], rotation[:, 2], -rotation[:, 1]], axis=1)
        eye = jnp.stack([world[0, 3], world[2, 3], -world[1, 3]])
    else:
        eye = world[:3, 3]
    translation = -jnp.matmul(rotation, eye[:, None], precision="highest")[:, 0]

    # Find the side of the picture that the sensor's side fits.
    wide = sensor_fit == "HORIZONTAL" or (sensor_fit == "AUTO" and width >= aspect * height)
    side = width if wide else aspect * height
    if type == "ORTHO":
        if abs(aspect - 1) > 1e-6:
            raise ValueError(
                "`pixel_aspect_x` and `pixel_aspect_y` must be the same for an orthographic "
                f"camera, got {pixel_aspect_x} and {pixel_aspect_y}."
            )
        scale = check_positive("ortho_scale", ortho_scale, dtype=dtype)
        moved = jnp.stack([*shifts, jnp.zeros_like(scale)]) * scale
        return Camera(rotation, translation - moved, Orthographic(scale * (height / side)))

    name, sensor = "sensor_width", sensor_width
    if sensor_fit == "VERTICAL":
        name, sensor = "sensor_height", sensor_height
    focal = side * check_positive("lens", lens, dtype=dtype)
    focal = focal / check_positive(name, sensor, dtype=dtype)
    zero, one = jnp.zeros_like(focal), jnp.ones_like(focal)
    middle = width / 2 - side * shifts[0], height / 2 + (side / aspect) * shifts[1]
    matrix = jnp.stack([focal, zero, middle[0], zero, focal / aspect, middle[1], zero, zero, one])
    return Camera(
        rotation, translation, Pinhole(matrix.reshape(3, 3), jnp.zeros(5, dtype), (height, width))
    )
