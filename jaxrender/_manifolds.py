"""Parameters that do not move along straight lines: rotations, and numbers between bounds.

`least_squares` moves each of its parameters by small steps from where it is. A plain array moves
along straight lines; a `Parameter` says itself how it moves.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender import rotations
from jaxrender._checks import check_array, check_rotation, is_concrete
from jaxrender.ops.pytrees import struct

INSIDE = 1e-3  # of the way between two bounds, or of a unit from one: a start no nearer to them


class Parameter:
    """What `least_squares` asks of a parameter with a way of its own to move: derive to make one.

    A `jaxrender.struct` whose arrays are where it is.
    """

    @property
    def coordinates(self) -> int:
        """How many numbers a step has."""
        raise NotImplementedError

    def value(self) -> jax.Array:
        """What the residuals are given."""
        raise NotImplementedError

    def moved(self, step: jax.Array) -> Parameter:
        """Where a step `[coordinates]` leads; differentiable where the step is 0, itself there."""
        raise NotImplementedError

    def checked(self, name: str) -> Parameter:
        """Itself with arrays for fields; a ValueError that begins with `name` where it is wrong."""
        return self


@struct
class Rotation(Parameter):
    """A rotation, which moves on SO(3): `R exp(w)` by a step `w` in radians.

    Args:
        matrix: `[..., 3, 3]` orthonormal; of determinant -1 too, as a camera's is.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrender import fitting
        >>> turned = fitting.Rotation(jnp.eye(3)).moved(jnp.array([0, 0, jnp.pi / 2]))
        >>> round(float(turned.value()[1, 0]), 3)  # x has become y
        1.0
    """

    matrix: ArrayLike  # [..., 3, 3]

    @property
    def coordinates(self) -> int:
        return math.prod(jnp.shape(self.matrix)[:-1])

    def value(self) -> jax.Array:
        return jnp.asarray(self.matrix)

    def moved(self, step: jax.Array) -> Rotation:
        turn = rotations.from_axis_angle(step.reshape(jnp.shape(self.matrix)[:-1]))
        matrix = jnp.matmul(self.matrix, turn, precision=jax.lax.Precision.HIGHEST)
        return Rotation(matrix)

    def checked(self, name: str) -> Rotation:
        matrix = check_array(f"{name}.matrix", self.matrix, ("...", 3, 3))
        check_rotation(f"{name}.matrix", matrix, proper=False)
        return Rotation(matrix)


@struct
class Bounded(Parameter):
    """Numbers between bounds, by the coordinate of Minuit (James and Roos 1975).

    Between two bounds `x = l + (h - l) (1 + sin u) / 2`, with one `x = l - 1 + √(u² + 1)`, with
    none `x = u`; a step moves `u`. At a bound `x` does not depend on `u`, so a start that lies on
    one is moved inside by a thousandth.

    Args:
        number: `[...]` within the bounds.
        low: broadcasts against `number`; -inf is none.
        high: likewise; inf is none.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrender import fitting
        >>> depth = fitting.Bounded(jnp.array(0.3), low=0.0, high=1.0)
        >>> float(depth.moved(jnp.array([100.0])).value()) <= 1
        True
    """

    number: ArrayLike  # [...]
    low: ArrayLike = -np.inf
    high: ArrayLike = np.inf

    @property
    def coordinates(self) -> int:
        return math.prod(jnp.shape(self.number))

    def value(self) -> jax.Array:
        return jnp.asarray(self.number)

    def moved(self, step: jax.Array) -> Bounded:
        x = jnp.asarray(self.number)
        low, high = jnp.asarray(self.low, x.dtype), jnp.asarray(self.high, x.dtype)
        step = step.reshape(x.shape)
        from_low, from_high = jnp.isfinite(low), jnp.isfinite(high)

        # Give each case numbers that it can take, used or not.
        span = jnp.where(from_low & from_high, high - low, 1)
        share = jnp.where(from_low & from_high, (x - low) / span, 0.5)
        angle = jnp.arcsin(jnp.clip(2 * share - 1, 2 * INSIDE - 1, 1 - 2 * INSIDE))
        between = low + span * (1 + jnp.sin(angle + 2 * step / span)) / 2

        def beyond(distance: jax.Array, step: jax.Array) -> jax.Array:
            u = jnp.sqrt(jnp.maximum(distance, INSIDE) * (jnp.maximum(distance, INSIDE) + 2))
            return jnp.sqrt((u + step) ** 2 + 1) - 1

        above = low + beyond(jnp.where(from_low, x - low, 1), step)
        below = high - beyond(jnp.where(from_high, high - x, 1), -step)
        moved = jnp.where(from_low, jnp.where(from_high, between, above), below)
        moved = jnp.where(from_low | from_high, moved, x + step)
        # Rounding may lead over a bound.
        return Bounded(jnp.clip(moved, low, high), low, high)

    def checked(self, name: str) -> Bounded:
        number = check_array(f"{name}.number", self.number, ("...",))
        low, high = (
            jnp.broadcast_to(jnp.asarray(bound, number.dtype), number.shape)
            for bound in (self.low, self.high)
        )
        if is_concrete(number, low, high):
            if not (low < high).all():
                raise ValueError(f"`{name}` must have low < high, got {self.low} and {self.high}.")
            if not ((low <= number) & (number <= high)).all():
                raise ValueError(
                    f"`{name}.number` must lie between {self.low} and {self.high}, got "
                    f"{float(number.min()):.6g} to {float(number.max()):.6g}. Begin inside."
                )
        return Bounded(number, low, high)
