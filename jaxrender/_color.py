"""The two encodings of colours: "display", as in picture files and on screens, and "linear".

The sRGB curve of IEC 61966-2-1 leads from linear light L to the display value D,

    D = 12.92 L                       up to L = 0.0031308
    D = 1.055 L^(1 / 2.4) - 0.055     above

It is continued beyond 1 by the same power, and below 0 as an odd function.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender._checks import check_array
from jaxrender._pixels import decode, encode

MANY = 100_000  # colours, from which it is worth to see if they have 8 bits


def to_display(colors: ArrayLike) -> jax.Array:
    r"""Encodes linear light with the sRGB curve, as picture files and screens have it.

    `D = 12.92 L` up to `L = 0.0031308`, `D = 1.055 L^(1 / 2.4) - 0.055` above; beyond 1 the same
    power, below 0 an odd function. Alpha is no colour: leave it out.

    Gradient: exact; 12.92 at 0.

    Args:
        colors: `[...]` linear values, normally in [0, 1].

    Returns:
        `[...]` display values.

    Raises:
        ValueError: `colors` are no numbers, or 8-bit values.

    Example:
        >>> (255 * to_display(jnp.array([0.0, 0.5, 1.0]))).round().tolist()
        [0.0, 188.0, 255.0]

    References:
        IEC 61966-2-1:1999, Default RGB colour space - sRGB.
    """
    return encode(_check(colors), jnp)


def to_linear(colors: ArrayLike) -> jax.Array:
    r"""Decodes display values with the sRGB curve to linear light; the inverse of `to_display`.

    `L = D / 12.92` up to `D = 0.04045`, `L = ((D + 0.055) / 1.055)^2.4` above; beyond 1 the same
    power, until the largest number of the dtype, below 0 an odd function. Alpha is no colour:
    leave it out.

    Gradient: exact; 1 / 12.92 at 0.

    Args:
        colors: `[...]` display values, normally in [0, 1].

    Returns:
        `[...]` linear values.

    Raises:
        ValueError: `colors` are no numbers, or 8-bit values.

    Example:
        >>> (255 * to_linear(jnp.array([0.0, 0.5, 1.0]))).round().tolist()
        [0.0, 55.0, 255.0]

        A texture says itself which encoding it has:

        >>> import dataclasses, jaxrender as jr
        >>> texture = jr.VertexColors(jnp.full((8, 3), 0.5))
        >>> linear = dataclasses.replace(
        ...     texture, colors=jr.to_linear(texture.colors), encoding="linear"
        ... )

    References:
        IEC 61966-2-1:1999, Default RGB colour space - sRGB.
    """
    return decode(_check(colors), jnp)


def recode(colors: np.ndarray, held: str, wanted: str) -> np.ndarray:
    """Colours of one encoding in another, by NumPy in float64; as they are where both are one."""
    if held == wanted:
        return colors
    curve = encode if wanted == "display" else decode
    colors = np.asarray(colors)
    if colors.size > MANY and colors.min() >= 0 and colors.max() <= 1:
        # Look up what has 8 bits, as most of files has: powers take ten times as long.
        levels = np.arange(256) / 255
        steps = np.rint(colors * 255).astype(np.uint8)
        if np.array_equal(levels.astype(colors.dtype)[steps], colors):
            return curve(levels)[steps]
    return curve(colors.astype(np.float64))


def recode_pixels(pixels: np.ndarray, held: str, wanted: str) -> np.ndarray:
    """As `recode`, of pictures: alpha, the last of 2 or 4 channels, stays as it is."""
    if held == wanted:
        return pixels
    count = pixels.shape[-1] - (pixels.shape[-1] in (2, 4)) if pixels.ndim == 3 else None
    if count is None:
        return recode(pixels, held, wanted)
    return np.concatenate([recode(pixels[..., :count], held, wanted), pixels[..., count:]], axis=-1)


def _check(colors: ArrayLike) -> jax.Array:
    if getattr(colors, "dtype", None) == np.uint8:
        raise ValueError(
            "`colors` must be floating-point, normally in [0, 1], got uint8. "
            "Divide 8-bit colours by 255."
        )
    return check_array("colors", colors, ("...",), hint="Pass colours, normally in [0, 1].")
