"""Textures of faces cut in four, see `subdivide`.

Shape legend: `V` vertices, `F` faces, `E` edges, `C` channels, `R, T` texels per side.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._textures.reading import texel_taps
from jaxrender._topology import quarter_faces
from jaxrender.ops.deterministic import gather

# The barycentrics in a face of the corners of its quarters, in the order of `quarter_faces`.
QUARTERS = np.array(
    [
        [[2, 0, 0], [1, 1, 0], [1, 0, 1]],
        [[0, 2, 0], [0, 1, 1], [1, 1, 0]],
        [[0, 0, 2], [1, 0, 1], [0, 1, 1]],
        [[1, 1, 0], [0, 1, 1], [1, 0, 1]],
    ]
) / 2  # fmt: skip


def quarter(faces: jax.Array, count: int) -> tuple[np.ndarray, jax.Array]:
    """`quarter_faces`; with values, also where the surroundings are being traced."""
    ends, quarters = quarter_faces(np.asarray(faces), count)
    with jax.ensure_compile_time_eval():
        return ends, jnp.asarray(quarters, jnp.int32)


def with_middles(values: jax.Array, ends: np.ndarray) -> jax.Array:
    """Values at vertices `[V, C]`, and behind them those at the middles of edges."""
    # Halve before adding, so that nothing overflows.
    first, second = (gather(values, jnp.asarray(ends[:, k], jnp.int32)) for k in range(2))
    return jnp.concatenate([values, first * 0.5 + second * 0.5])


def cut_texels(texels: jax.Array) -> jax.Array:
    """`FaceTexels.texels` of the quarters."""
    count, side, _, channels = texels.shape
    half = side // 2 if side % 2 == 0 else side
    texels = texels.reshape(count, side**2, channels)[:, _rows_of_quarters(side, half)]
    return texels.reshape(-1, half, half, channels)


def cut_cubes(cubes: jax.Array) -> jax.Array:
    """`FaceCubes.cubes` of the quarters."""
    quarters = jnp.stack([_cut_cubes(cubes, corners) for corners in QUARTERS], axis=1)
    return quarters.reshape(-1, *quarters.shape[2:])


def _rows_of_quarters(side: int, half: int) -> np.ndarray:
    """Which of a face's `R²` texels `[4, half²]` is at the centre of those of its quarters."""
    iy, ix = np.divmod(np.arange(half**2), half)
    lower = ix + iy < half
    w0 = np.where(lower, ix + 1 / 3, half - 1 - ix + 2 / 3) / half
    w1 = np.where(lower, iy + 1 / 3, half - 1 - iy + 2 / 3) / half
    places = np.stack([w0, w1, 1 - w0 - w1], axis=-1) @ QUARTERS
    with jax.ensure_compile_time_eval():
        w0, w1 = (jnp.asarray(places[..., k]) for k in range(2))
        (rows,), _ = texel_taps(jnp.zeros(w0.shape, jnp.int32), w0, w1, side)
        return np.asarray(rows)


def _cut_cubes(cubes: jax.Array, corners: np.ndarray) -> jax.Array:
    """The cubes of one quarter of each face `[F, T', T', T', C]`, read along each axis."""
    side = cubes.shape[1]
    half = side // 2 + 1 if side % 2 else side

    # Each barycentric of the face depends on one of the quarter's own: it goes from 1/2 to 1, from
    # 0 to 1/2, or in the middle from 1/2 to 0. Read the cube there, between two texels at most.
    for axis in range(3):
        start, stop = _span(corners[:, axis])
        position = (start + (stop - start) * np.linspace(0, 1, half)) * (side - 1)
        low = np.minimum(np.floor(position).astype(int), max(side - 2, 0))
        high = np.minimum(low + 1, side - 1)
        shape = (*(1,) * (axis + 1), half, *(1,) * (3 - axis))
        share = jnp.asarray(position - low, cubes.dtype).reshape(shape)
        below, above = (jnp.take(cubes, rows, axis=axis + 1) for rows in (low, high))
        cubes = below * (1 - share) + above * share
    order = [_own_axis(corners[:, axis]) for axis in range(3)]
    return cubes.transpose(0, *(1 + order.index(k) for k in range(3)), 4)


def _own_axis(values: np.ndarray) -> int:
    """Which of a quarter's own barycentrics alone moves one barycentric of the face."""
    alike = [values[k - 2] == values[k - 1] for k in range(3)]
    return alike.index(True)


def _span(values: np.ndarray) -> tuple[float, float]:
    """That barycentric of the face where its own is 0, and where it is 1."""
    own = _own_axis(values)
    return float(np.delete(values, own)[0]), float(values[own])
