"""`View`: what every rasteriser is told of the picture that it draws."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrender.ops.pytrees import static, struct


@struct
class View:
    """How a mesh in screen space is looked at.

    Attributes:
        near: `[]` depth in front of which nothing is drawn, scene units.
        far: `[]` depth behind which nothing is drawn, scene units; None is no limit.
        image_size: `(H, W)` in pixels; static.
        cull: which side of faces is not drawn: "none", "back" or "front"; static.
        perspective: whether 1/z (True) or z (False) is linear on screen; static.
    """

    near: jax.Array  # []
    far: jax.Array | None  # []
    image_size: tuple[int, int] = static()
    cull: str = static(default="none")
    perspective: bool = static(default=True)

    @property
    def limits(self) -> tuple[jax.Array, jax.Array]:
        """`near` and `far`, each `[]`; infinity is no limit."""
        return self.near, jnp.full_like(self.near, jnp.inf) if self.far is None else self.far

    @property
    def empty_depth(self) -> jax.Array:
        """`[]` the depth where nothing is drawn: `far`, or 0 without."""
        return jnp.zeros_like(self.near) if self.far is None else self.far

    def astype(self, dtype: DTypeLike) -> View:
        """The same with limits of this dtype."""
        far = None if self.far is None else jnp.asarray(self.far, dtype)
        return dataclasses.replace(self, near=jnp.asarray(self.near, dtype), far=far)
