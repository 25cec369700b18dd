"""Camera models: how camera space meets the picture, one class for each way.

To add one, write a class here, or anywhere: see `Projection`.

Shape legend: `V` vertices, `H, W` image.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._checks import check_array, is_concrete, same_float
from jaxrender._distortion import bend
from jaxrender._types import Projection, static
from jaxrender._vectors import NO_LENGTH

# No field of view is narrower than this, in degrees: the square of its scale is finite in float32,
# also times the place of a point near the camera plane.
TINY_FOV = 1e-6


class Perspective(Projection):
    """A symmetric perspective projection; see `perspective`.

    Attributes:
        fov: `[]` the full vertical field of view, degrees.
    """

    fov: jax.Array  # []

    shapes: ClassVar = {"fov": ()}

    def to_screen(
        self, x: jax.Array, y: jax.Array, image_size: tuple[int, int] | None
    ) -> tuple[jax.Array, jax.Array]:
        """`x / (tan(fov/2) W/H)`, `y / tan(fov/2)`."""
        scale = _scale(self.fov)
        return x * (scale / _aspect(image_size)), y * scale


class Orthographic(Projection):
    """A parallel projection; see `orthographic`.

    Attributes:
        height: `[]` scene units from the bottom to the top of the picture.
    """

    height: jax.Array  # []

    parallel: ClassVar = True
    shapes: ClassVar = {"height": ()}

    def to_screen(
        self, x: jax.Array, y: jax.Array, image_size: tuple[int, int] | None
    ) -> tuple[jax.Array, jax.Array]:
        """`2 x / (height W/H)`, `2 y / height`."""
        scale = 2 / jnp.maximum(self.height, NO_LENGTH)
        return x * (scale / _aspect(image_size)), y * scale


class Pinhole(Projection):
    """A calibrated camera with lens distortion; see `pinhole`.

    Attributes:
        matrix: `[3, 3]` intrinsics K in pixels; (0, 0) is the picture's upper left corner,
            so the centre of the first pixel is (0.5, 0.5).
        distortion: `[5]` k1, k2, p1, p2, k3 as in OpenCV.
        image_size: `(H, W)` of the picture that K was calibrated for; static.
    """

    matrix: jax.Array  # [3, 3]
    distortion: jax.Array  # [5]
    image_size: tuple[int, int] = static()

    shapes: ClassVar = {"matrix": (3, 3), "distortion": (5,)}

    def to_screen(
        self, x: jax.Array, y: jax.Array, image_size: tuple[int, int] | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """`2 u / W - 1`, `1 - 2 v / H`, with u, v in pixels, as `pinhole` has them."""
        x, y = bend(x, -y, self.distortion)

        # Apply K, and map pixels to [-1, 1].
        height, width = self.image_size
        u = self.matrix[0, 0] * x + self.matrix[0, 1] * y + self.matrix[0, 2]
        v = self.matrix[1, 0] * x + self.matrix[1, 1] * y + self.matrix[1, 2]
        return 2 * u / width - 1, 1 - 2 * v / height


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


def _scale(fov: jax.Array) -> jax.Array:
    """`1 / tan(fov / 2)`, to the last digits also near 180 degrees, where the tangent is a pole."""
    fov = jnp.clip(fov, TINY_FOV, 180)
    wide = fov > 90
    narrow = 1 / jnp.tan(jnp.deg2rad(jnp.where(wide, 90, fov) / 2))
    return jnp.where(wide, jnp.tan(jnp.deg2rad(jnp.where(wide, 180 - fov, 90) / 2)), narrow)


def _aspect(image_size: tuple[int, int] | None) -> float:
    """`W / H`, 1 for no picture."""
    return 1.0 if image_size is None else image_size[1] / image_size[0]
