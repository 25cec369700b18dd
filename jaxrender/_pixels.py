"""Colours as numbers on screens and in files: the sRGB curve, 8 bits, and what they cut off.

The curve is that of `to_display` and `to_linear`, by NumPy or by `jax.numpy`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

SLOPE, SCALE, OFFSET, POWER = 12.92, 1.055, 0.055, 2.4
DISPLAY_KNEE = 0.04045
LINEAR_KNEE = DISPLAY_KNEE / SLOPE  # 0.0031308, so that values on the straight part return exactly
CLIP_SLACK = 1e-3  # by how much rounding may leave [0, 1]
CLIP_HINT = "Divide by the largest; numbers such as depth are kept by `save_depth`."


def encode(linear: Any, xp: Any = np) -> Any:
    """`to_display` of an array of floats, by NumPy or by `jax.numpy`."""
    # Keep the power away from 0, where its slope is infinite.
    size = xp.maximum(xp.abs(linear), LINEAR_KNEE)
    curve = xp.sign(linear) * (SCALE * size ** (1 / POWER) - OFFSET)
    return xp.where(xp.abs(linear) <= LINEAR_KNEE, SLOPE * linear, curve)


def decode(display: Any, xp: Any = np) -> Any:
    """`to_linear` of an array of floats, by NumPy or by `jax.numpy`."""
    # Keep the power finite, whatever the number.
    most = SCALE * (0.5 * float(jnp.finfo(display.dtype).max)) ** (1 / POWER)
    size = xp.clip(xp.abs(display), DISPLAY_KNEE, most)
    curve = xp.sign(display) * ((size + OFFSET) / SCALE) ** POWER
    return xp.where(xp.abs(display) <= DISPLAY_KNEE, display / SLOPE, curve)


def eight_bit(values: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] as whole numbers from 0 to 255, clipped and rounded."""
    return np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)


class Clipped(NamedTuple):
    """How many of how many numbers lie outside [0, 1] by more than rounding, and how far."""

    number: int
    total: int
    low: float
    high: float


def clipped(values: np.ndarray) -> Clipped:
    """What of an array `eight_bit` would clip."""
    outside = values[(values < -CLIP_SLACK) | (values > 1 + CLIP_SLACK)]
    low, high = outside.min(initial=np.inf), outside.max(initial=-np.inf)
    return Clipped(outside.size, values.size, float(low), float(high))


def warn_of_clipping(what: object, found: Iterable[Clipped], hint: str) -> None:
    """Warns once of all that is clipped."""
    numbers, totals, lows, highs = zip(*found, strict=True)
    if sum(numbers):
        low, high = min(lows), max(highs)
        span = f"{low:.4g}" if low == high else f"from {low:.4g} to {high:.4g}"
        message = f"{what}: {sum(numbers):,} of {sum(totals):,} values are not in [0, 1] ({span})"
        warnings.warn(f"{message} and are clipped. {hint}", stacklevel=3)
