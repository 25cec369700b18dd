"""Which texels points read: arithmetic on arrays of any one shape.

Shapes: `R, T` texels per side, `F` faces, `N` points on each, `C` channels, `H, W` of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._choices import FILTERS, WRAPS


def texel_taps(first: jax.Array, w0: jax.Array, w1: jax.Array, side: int) -> tuple[list, list]:
    """The row of the one texel at barycentrics `w0`, `w1` of a face, and its weight 1.

    Args:
        first: the row of the face's first texel.
        w0: first barycentric.
        w1: second barycentric.
        side: `R`.
    """
    # Find the cell, and which of its two triangles.
    x, y = jnp.clip(w0, 0, 1) * side, jnp.clip(w1, 0, 1) * side
    ix, iy = (jnp.clip(position.astype(jnp.int32), 0, side - 1) for position in (x, y))
    # Beyond the edge from vertex 0 to 1 the two add up to 1; rounding must not choose there.
    iy = jnp.minimum(iy, side - 1 - ix)
    within = (x - ix.astype(x.dtype)) + (y - iy.astype(y.dtype))
    lower = (within <= 1) | (ix + iy == side - 1)
    ix, iy = jnp.where(lower, ix, side - 1 - ix), jnp.where(lower, iy, side - 1 - iy)
    return [first + iy * side + ix], [jnp.ones_like(w0)]


def cube_taps(first: jax.Array, barycentrics: list[jax.Array], side: int) -> tuple[list, list]:
    """The rows of the eight texels around points of faces, and their weights.

    Args:
        first: the row of the face's first texel.
        barycentrics: of the points, three arrays.
        side: `T`.
    """
    ends = []
    for barycentric in barycentrics:
        low, high, fraction = _neighbours(_limit(barycentric * (side - 1), side - 1), side)
        ends.append(((low, 1 - fraction), (high, fraction)))
    rows, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        (i, x), (j, y), (k, z) = (ends[axis][end] for axis, end in enumerate(corner))
        rows.append(first + (i * side + j) * side + k)
        weights.append(x * y * z)
    return rows, weights


def uv_taps(
    u: jax.Array,
    v: jax.Array,
    page: Sequence[Any],
    wrap: str | tuple[str, str],
    filter: str,
) -> tuple[list, list]:
    """The rows of the four texels around points of an image, or of the nearest; their weights.

    Args:
        u: to the right.
        v: up.
        page: first texel, height and width of the rectangle that is read, texels from row to row,
            and where samplers differ also the sampler, as in `UVTexture.samplers`; numbers or
            arrays.
        wrap: as in `UVTexture`, unless `page` has a sampler.
        filter: likewise.
    """
    # Find the neighbours on either side, right and down.
    first, height, across, stride, *sampler = page
    along_u, along_v = sampler[:2] or wraps_of(wrap)
    left, right, x = _wrapped_neighbours(u, across, along_u)
    upper, lower, y = _wrapped_neighbours(1 - v, height, along_v)

    # Go all the way to the nearer one, where that is asked for.
    if sampler:
        nearest = sampler[2] == FILTERS.index("nearest")
        x, y = (jnp.where(nearest, (way >= 0.5).astype(way.dtype), way) for way in (x, y))
    elif filter == "nearest":
        column, row = jnp.where(x < 0.5, left, right), jnp.where(y < 0.5, upper, lower)
        return [first + row * stride + column], [jnp.ones_like(u)]

    top, bottom = first + upper * stride, first + lower * stride
    rows = [top + left, top + right, bottom + left, bottom + right]
    return rows, [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]


def wraps_of(wrap: str | tuple[str, str]) -> tuple[str, str]:
    """How a picture goes on along u and along v."""
    return (wrap, wrap) if isinstance(wrap, str) else wrap


def mirrored(coordinate: jax.Array) -> jax.Array:
    """The triangle wave of period 2 that is the identity on [0, 1]."""
    ahead = coordinate - 2 * jnp.floor(coordinate / 2)
    return jnp.where(ahead < 1, ahead, 2 - ahead)


def _wrapped_neighbours(
    coordinate: jax.Array, size: jax.Array | int, wrap: str | jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The texels on both sides of a coordinate in [0, 1], and how far from the first it is."""
    if not isinstance(wrap, str):
        # Find both, and choose: the ends of a mirrored picture are those of a clamped one.
        folded = jnp.where(wrap == WRAPS.index("mirror"), mirrored(coordinate), coordinate)
        repeated = _wrapped_neighbours(coordinate, size, "repeat")
        clamped = _wrapped_neighbours(folded, size, "clamp")
        repeats = wrap == WRAPS.index("repeat")
        low, high, fraction = (
            jnp.where(repeats, *pair) for pair in zip(repeated, clamped, strict=True)
        )
        return low, high, fraction
    if wrap == "mirror":
        coordinate = mirrored(coordinate)
    span = jnp.asarray(size, coordinate.dtype)
    if wrap != "repeat":
        return _neighbours(_limit(coordinate * span - 0.5, span - 1), size)
    position = (coordinate - jnp.floor(coordinate)) * span - 0.5
    low = jnp.floor(position)
    fraction, low = position - low, low.astype(jnp.int32)
    high = jnp.where(low + 1 >= size, 0, low + 1)
    return jnp.where(low < 0, size - 1, low), high, fraction


def _neighbours(
    position: jax.Array, size: jax.Array | int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The texels on both sides of a position in [0, size - 1], and the way from the first."""
    low = jnp.clip(position.astype(jnp.int32), 0, jnp.maximum(size - 2, 0))
    return low, jnp.minimum(low + 1, size - 1), position - low.astype(position.dtype)


def _limit(position: jax.Array, top: jax.Array | int) -> jax.Array:
    """Clips to [0, top]; unlike `jnp.clip` with the full gradient on both ends."""
    return jnp.where(position < 0, 0, jnp.where(position > top, top, position))


def bake_picture(
    image: jax.Array,
    corners: jax.Array,
    weights: jax.Array,
    *,
    pages: jax.Array | None,
    samplers: jax.Array | None,
    wrap: str,
    own_wrap: str | tuple[str, str],
    filter: str,
    bilinear: bool,
) -> jax.Array:
    """The colours `[F, N, C]` of all faces, read as the ancestors bake them; see `io.bake_cubes`.

    Args:
        image: `[H, W, C]` of a `UVTexture`.
        corners: `[F, 3, 2]` the coordinates of each face's corners.
        weights: `[N, 3]` barycentrics.
        pages: `[F, 3]` or `[F, 4]` of the texture, or None.
        samplers: `[F, 3]` of the texture, or None.
        wrap: "texture", or by which rule of NMR.
        own_wrap: that of the texture, where there are no samplers.
        filter: likewise.
        bilinear: between four pixels, unless the texture itself reads the nearest.
    """
    # Find each face's page: its first row, height and width.
    height, width, channels = image.shape
    if pages is None:
        pages = jnp.tile(jnp.array([[0, height, width]], jnp.int32), (corners.shape[0], 1))
    first, rows, columns = (pages[:, k, None] for k in range(3))
    stride = width
    if pages.shape[1] == 4:
        stride = pages[:, 3, None]
    else:
        first = first * width

    # Wrap the corners or the samples.
    if wrap != "texture":
        uv = _interpolated(weights, _wrap_corners(corners, wrap))
    else:
        uv = _interpolated(weights, corners)
        codes = jnp.array([[WRAPS.index(along) for along in wraps_of(own_wrap)]])
        uv = _wrap_samples(uv, codes if samplers is None else samplers[:, :2])

    # Find the pixels around the point, with the rows counted from the lower edge.
    x, y = (uv[..., k] * (size - 1).astype(uv.dtype) for k, size in enumerate((columns, rows)))
    nearest = jnp.full((1, 1), not bilinear or (wrap == "texture" and filter == "nearest"))
    if bilinear and wrap == "texture" and samplers is not None:
        nearest = samplers[:, 2, None] == FILTERS.index("nearest")
    x, y = (jnp.where(nearest, jnp.floor(way + 0.5), way) for way in (x, y))
    x0, y0 = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    table = image.reshape(height * width, channels)

    def pixel(dx: int, dy: int) -> jax.Array:
        column = jnp.clip(x0 + dx, 0, columns - 1)
        row = rows - 1 - jnp.clip(y0 + dy, 0, rows - 1)
        return table[first + row * stride + column]

    fx, fy = ((at - low.astype(at.dtype))[..., None] for at, low in ((x, x0), (y, y0)))
    below = pixel(0, 0) * (1 - fx) + pixel(1, 0) * fx
    above = pixel(0, 1) * (1 - fx) + pixel(1, 1) * fx
    return below * (1 - fy) + above * fy


def _interpolated(weights: jax.Array, corners: jax.Array) -> jax.Array:
    """What corners of faces `[F, 3, D]` have at barycentrics `[N, 3]`, `[F, N, D]`."""
    # GPUs would otherwise round the factors to 10 bits, and so miss by texels.
    return jnp.einsum("nk,fkd->fnd", weights, corners, precision=jax.lax.Precision.HIGHEST)


def _wrap_samples(uv: jax.Array, codes: jax.Array) -> jax.Array:
    """Coordinates `[F, N, 2]` brought into [0, 1] as `[F or 1, 2]` codes say; those inside stay."""
    codes = codes[:, None, :]
    outside = jnp.where(codes == WRAPS.index("clamp"), jnp.clip(uv, 0, 1), uv - jnp.floor(uv))
    outside = jnp.where(codes == WRAPS.index("mirror"), mirrored(uv), outside)
    return jnp.where((uv >= 0) & (uv <= 1), uv, outside)


def _wrap_corners(uv: jax.Array, wrap: str) -> jax.Array:
    """NMR's wrapping, with its remainder in (0, n] for numbers up to 0."""
    if wrap == "clamp":
        return jnp.clip(uv, 0, 1)

    def remainder(n: int) -> jax.Array:
        return jnp.where(uv > 0, jnp.fmod(uv, n), n + jnp.fmod(uv, n))

    if wrap == "repeat":
        return remainder(1)
    return jnp.where(remainder(2) < 1, remainder(1), 1 - remainder(1))
