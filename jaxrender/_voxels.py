"""Voxelisation: which cells of a grid a mesh meets or encloses.

Shapes: `V` vertices, `F` faces, `N` voxels along each side of the grid.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxrender._checks import check_array, check_faces, is_concrete
from jaxrender.ops.voxels import occupied_voxels

MOST_RESOLUTION = 1290  # whose cube is the last below 2**31


def voxelize(
    vertices: ArrayLike,
    faces: ArrayLike,
    *,
    resolution: int,
    bounds: tuple[ArrayLike, ArrayLike] = (-0.5, 0.5),
) -> jax.Array:
    """Finds the voxels that a closed mesh meets or encloses.

    The grid fills the box between the corners `bounds = (low, high)`. With `N` the resolution, a
    point `v` has the voxel coordinates

        u = N (v - low) / (high - low)

    and lies in voxel `floor(u)`. A voxel is on the surface if a face meets one of its twelve
    edges or has a corner in it. The exterior is the empty voxels that can be reached from the
    grid's outer layer through the faces of empty voxels; the result is everything else. It is
    exact for any number of faces, in memory O(F + N³), and faces may point either way.

    What encloses nothing shows its surface alone: an open mesh, or one that leaves the box and
    is open there. So keep closed meshes inside the box: what lies at its upper limit is outside.
    A cavity is filled. A face without area has only its corners.

    SoftRas's `Mesh.voxelize` has the box from `-(N - 1) / (2 N)` to `(N - 1) / (2 N)`.

    Gradient: none; that to `vertices` and `bounds` is zero. Compare grids with `losses.iou`.

    Args:
        vertices: `[V, 3]` positions, scene units.
        faces: `[F, 3]` integer vertex indices.
        resolution: `N`, at least 1; static.
        bounds: `(low, high)`, each `[3]`, or `[]` for all three axes; scene units.

    Returns:
        `[N, N, N]` bool, indexed by `x`, `y`, `z`.

    Raises:
        ValueError: a shape, dtype or range is not as above, a vertex is not finite, or an index
            is out of range. Inside jit, where values are not known, faces with such a vertex or
            index, and only they, are left out; with bounds that are not finite, or equal, all are.

    Example:
        >>> import jaxrender as jr
        >>> ball = jr.shapes.icosphere(2, radius=0.4)
        >>> filled = jr.voxelize(ball.vertices, ball.faces, resolution=16)
        >>> filled.shape, bool(filled[8, 8, 8]), bool(filled[0, 0, 0])
        ((16, 16, 16), True, False)

    References:
        Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786: the rules, from its program.
        Kogge and Stone, A parallel algorithm for the efficient solution of a general class of
        recurrence equations, 1973: the sweeps of the flood.
    """
    vertices = check_array(
        "vertices", vertices, ("V", 3), finite=True, hint="Pass one mesh; use jax.vmap for several."
    )
    faces = check_faces("faces", faces, vertices.shape[0])
    low, high = (limit.astype(vertices.dtype) for limit in _check_bounds(bounds))
    return occupied_voxels(vertices, faces, low, high, resolution=_check_resolution(resolution))


def _check_bounds(bounds: Any) -> tuple[jax.Array, jax.Array]:
    """Returns `low` and `high`, each `[3]`, with `low < high` where they are known."""
    try:
        low, high = bounds
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`bounds` must be a pair (low, high), got {bounds!r}. Pass for example (-0.5, 0.5)."
        ) from error
    low, high = (
        jnp.broadcast_to(
            check_array(
                f"bounds[{index}]",
                limit,
                (3,) if np.ndim(limit) else (),
                finite=True,
                hint="Pass one number, or one for each axis.",
            ),
            (3,),
        )
        for index, limit in enumerate((low, high))
    )
    if is_concrete(low, high) and not (np.asarray(low) < np.asarray(high)).all():
        raise ValueError(
            f"`bounds` must have low < high on each axis, got low={low}, high={high}. "
            "Pass the opposite corners of the box that the grid fills."
        )
    return low, high


def _check_resolution(resolution: Any) -> int:
    """Returns the resolution as a positive Python int."""
    if isinstance(resolution, Tracer):
        raise ValueError(
            "`resolution` must be static, got a traced value. "
            'Pass static_argnames="resolution" to jax.jit.'
        )
    try:
        whole = int(resolution) == resolution
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or resolution < 1:
        raise ValueError(
            f"`resolution` must be a positive integer, got {resolution!r}. Pass for example 32."
        )
    if resolution > MOST_RESOLUTION:
        raise ValueError(
            f"`resolution` must be at most {MOST_RESOLUTION}, as voxels are counted by int32, got "
            f"{resolution!r}. Pass for example 32."
        )
    return int(resolution)
