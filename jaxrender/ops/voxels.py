"""Voxels of a mesh: those that its surface meets, and those that it encloses.

Shapes: `B` meshes, `V` vertices, `F` faces, `N` voxels along each side of the grid, `P` blocks of
a pass, `W` words of 32 voxels along a side.

Voxel coordinates put voxel `(i, j, k)` at the cube from `(i, j, k)` to `(i + 1, j + 1, k + 1)`,
so the edges of the voxels lie on the lattice of whole numbers. A voxel is on the surface if

(a) a face meets one of its twelve edges, or
(b) a corner of a face lies in it.

For (a), every face is projected along each of the three axes, and the block engine (see
`blocks.py`) walks over the lattice lines that it may meet, as over pixels. A voxel edge that is
met belongs to the four voxels around the line: the walk marks the edge, and those four follow
at the end, for the whole grid in one go. A mark only ever switches on, so that order does not
matter and the result is the same on every device.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import batch_size, fold_vmap
from jaxrender.ops.blocks import Blocks, Bounds, scan_blocks
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.triangle import (
    FARTHEST,
    Candidates,
    Corners,
    corner_indices,
    is_drawn,
    set_up_edges,
    sort_corners,
)

BLOCK_SIZE = (1, 1)  # lattice lines; most faces of a fine mesh meet one or none
BLOCKS_PER_PASS = 256, 1 << 15  # at least, for large faces have many blocks, and at most
WORD = 32  # bits

# The lines along axis `d` are numbered by their position on the two other axes.
ACROSS = ((1, 2), (0, 2), (0, 1))


def occupied_voxels(
    vertices: jax.Array, faces: jax.Array, low: jax.Array, high: jax.Array, *, resolution: int
) -> jax.Array:
    """Which voxels a mesh meets or encloses. Not differentiable.

    Args:
        vertices: `[V, 3]` in any unit.
        faces: `[F, 3]` int32. A face with an index out of range or a vertex that is not finite
            is left out.
        low: `[3]` the corner of the grid at voxel coordinates (0, 0, 0), in that unit.
        high: `[3]` the opposite corner.
        resolution: `N`.

    Returns:
        `[N, N, N]` bool, indexed by `x`, `y`, `z`.
    """
    arguments = map(lax.stop_gradient, (vertices, faces, low, high))
    return _single_mesh(resolution)(*arguments)


@functools.cache
def _single_mesh(resolution: int):
    """The operation for this static setting; made once, so that `vmap` rules are too."""

    def occupied(*args: jax.Array) -> jax.Array:
        return ~_exterior(_surface(*args, resolution=resolution))

    return fold_vmap(occupied)


def _surface(
    vertices: jax.Array,  # [B or 1, V, 3]
    faces: jax.Array,  # [B or 1, F, 3]
    low: jax.Array,  # [B or 1, 3]
    high: jax.Array,  # [B or 1, 3]
    *,
    resolution: int,
) -> jax.Array:
    """The voxels `[B, N, N, N]` of rules (a) and (b)."""
    meshes = batch_size(vertices, faces, low, high)
    if vertices.shape[1] == 0 or faces.shape[1] == 0:
        return jnp.zeros((meshes, *[resolution] * 3), bool)
    corners, valid = _corners(vertices, faces, low, high, meshes, resolution)
    edges = _met_edges(corners, valid, meshes, resolution)

    # (a) Mark the voxels around each voxel edge that is met: lines p and p + 1 bound voxel p.
    surface = jnp.zeros((meshes, *[resolution] * 3), bool)
    for axis in range(3):
        marked = edges[axis]
        for across in (1, 2):
            marked |= _shifted(marked, across, -1)
        surface |= jnp.moveaxis(marked, 3, 1 + axis)

    # (b) Mark the voxels that hold a corner.
    voxel = jnp.floor(corners)
    inside = ((voxel >= 0) & (voxel < resolution)).all(0) & valid[None]  # [3, BF]
    x, y, z = jnp.where(inside[None], voxel, resolution).astype(jnp.int32)
    mesh = lax.div(jnp.arange(valid.size, dtype=jnp.int32), jnp.int32(faces.shape[1]))
    # A maximum, which any order gives: to write to the same index twice is undefined on a GPU.
    return surface.at[mesh[None], x, y, z].max(True, mode="drop")


def _corners(
    vertices: jax.Array,
    faces: jax.Array,
    low: jax.Array,
    high: jax.Array,
    meshes: int,
    resolution: int,
) -> tuple[jax.Array, jax.Array]:
    """The corners of all faces of all meshes.

    Returns:
        Voxel coordinates `[3 axes, 3 corners, BF]`, and `[BF]` whether the face takes part.
    """
    vertex_count = vertices.shape[1]
    scale = resolution / (high - low)
    points = (vertices - low[:, None]) * scale[:, None]

    # Find the corners in one list of vertices; leave out faces that are nowhere.
    index, in_range = corner_indices(faces, vertex_count, meshes, shared=points.shape[0] == 1)
    corners = Corners(*(axis[index] for axis in points.reshape(-1, 3).T))
    drawn = is_drawn(Candidates(corners, False, exists=in_range))
    return jnp.clip(jnp.stack(corners), -FARTHEST, FARTHEST), drawn


def _met_edges(corners: jax.Array, valid: jax.Array, meshes: int, resolution: int) -> jax.Array:
    """The voxel edges that faces meet: rule (a).

    Args:
        corners: `[3 axes, 3 corners, BF]` voxel coordinates.
        valid: `[BF]` whether the face takes part.
        meshes: `B`.
        resolution: `N`.

    Returns:
        `[3, B, N, N, N]` bool: for each axis `d`, whether a face meets the line along `d` at
        whole numbers `p, q` on the two other axes between `c` and `c + 1`.
    """
    n = resolution
    total = valid.size
    dtype = corners.dtype

    # Bound the lines that each face may meet, along one axis after the other.
    least = jnp.ceil(jnp.clip(corners.min(1), 0, n)).astype(jnp.int32)
    most = jnp.floor(jnp.clip(corners.max(1), -1, n - 1)).astype(jnp.int32)
    most = jnp.where(valid[None], most, -1)
    p_axis, q_axis = jnp.array(ACROSS, jnp.int32).T
    bounds = Bounds(
        *(
            limit[axis].reshape(-1)
            for limit, axis in ((least, p_axis), (least, q_axis), (most, p_axis), (most, q_axis))
        )
    )

    def fold(met: jax.Array, blocks: Blocks) -> jax.Array:
        # Project each block's face along its axis.
        axis = lax.div(blocks.face, jnp.int32(total))
        face, corner = blocks.face - axis * total, jnp.arange(3)[:, None]
        q_corner, p_corner, c_corner = (
            corners[chosen[None], corner, face[None]]
            for chosen in (q_axis[axis], p_axis[axis], axis)
        )

        # Test its line against the three edges, and find where the face meets it.
        projected, _ = sort_corners(Corners(q_corner, p_corner, c_corner))
        edges = set_up_edges(projected, perspective=False)
        p, q = blocks.row, blocks.column
        functions = edges.functions_at(q.astype(dtype)[None], p.astype(dtype)[None])  # [3, P]
        area = functions.sum(0)
        hit = blocks.valid & (functions >= 0).all(0) & (area > 0)
        c0, c1, c2 = projected.z
        offset = functions[1] * (c1 - c0) + functions[2] * (c2 - c0)
        c = jnp.floor(c0 + offset / jnp.where(hit, area, 1))

        # Mark the voxel edge there.
        hit &= (c >= 0) & (c < n)
        axis_and_mesh = lax.div(blocks.face, jnp.int32(total // meshes))
        line = (axis_and_mesh * n + p) * n + q
        return met.at[line, jnp.where(hit, c, n).astype(jnp.int32)].max(True, mode="drop")

    met = scan_blocks(
        fold,
        jnp.zeros((3 * meshes * n * n, n), bool),
        bounds,
        block_size=BLOCK_SIZE,
        blocks_per_pass=min(BLOCKS_PER_PASS[1], max(BLOCKS_PER_PASS[0], 3 * total)),
    )
    return met.reshape(3, meshes, n, n, n)


def _exterior(surface: jax.Array) -> jax.Array:
    """The empty voxels `[B, N, N, N]` that empty neighbours connect to the grid's outer layer.

    A flood through the six sides of each voxel, in sweeps: each carries it along one direction
    as far as it goes, plane by plane. A round of all six fills the outside of a convex mesh,
    and a labyrinth takes a round for every few of its turns. The voxels along the last axis
    are bits of words, so that a plane is a handful of vector operations.
    """
    n = surface.shape[1]
    rim = jnp.arange(n) % max(n - 1, 1) == 0
    outer = rim[:, None, None] | rim[None, :, None] | rim[None, None, :]
    free = _packed(~surface)
    start = free & _packed(outer)[None]

    def sweep(reached: jax.Array, axis: int, *, back: bool) -> jax.Array:
        def one_plane(before: jax.Array, plane: tuple[jax.Array, jax.Array]):
            reached, free = plane
            if axis < 3:
                reached |= free & before
            else:
                # Let the last bit of the word before into the first of this one.
                reached |= free & (before << (WORD - 1) if back else before >> (WORD - 1))
                reached = _flooded_word(reached, free, back=back)
            return reached, reached

        planes = jnp.moveaxis(reached, axis, 0), jnp.moveaxis(free, axis, 0)
        outside = match_varying_axes(jnp.zeros_like(planes[0][0]), planes)
        _, swept = lax.scan(one_plane, outside, planes, reverse=back)
        return jnp.moveaxis(swept, 0, axis)

    def one_round(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        before, _ = carry
        reached = before
        for axis in (1, 2, 3):
            for back in (False, True):
                reached = sweep(reached, axis, back=back)
        return reached, (reached != before).any()

    reached, _ = lax.while_loop(lambda carry: carry[1], one_round, (start, start.any()))
    return _unpacked(reached, n)


def _flooded_word(reached: jax.Array, free: jax.Array, *, back: bool) -> jax.Array:
    """Carries a flood through the free bits of each word, towards higher bits or `back`.

    After the step of 2ᵏ it has gone 2ᵏ⁺¹ - 1 bits, and `free` says whether the last 2ᵏ⁺¹ bits
    are all free: the parallel prefix of Kogge and Stone.
    """
    for step in (1, 2, 4, 8, 16):
        reached |= free & (reached >> step if back else reached << step)
        free &= free >> step if back else free << step
    return reached


def _shifted(array: jax.Array, axis: int, step: int) -> jax.Array:
    """What lay at `i - step` along the axis now lies at `i`; zeros come in."""
    padding = [(0, 0, 0)] * array.ndim
    padding[axis] = (step, -step, 0)
    return lax.pad(array, jnp.zeros((), array.dtype), padding)


def _packed(bits: jax.Array) -> jax.Array:
    """Booleans `[..., N]` as words `[..., W]`; the padding is False."""
    n = bits.shape[-1]
    words = -(-n // WORD)
    padding = [(0, 0, 0)] * (bits.ndim - 1) + [(0, words * WORD - n, 0)]
    bits = lax.pad(bits, False, padding).reshape(*bits.shape[:-1], words, WORD)
    bit = lax.broadcasted_iota(jnp.uint32, bits.shape, bits.ndim - 1)
    return jnp.sum(bits.astype(jnp.uint32) << bit, -1, dtype=jnp.uint32)


def _unpacked(words: jax.Array, n: int) -> jax.Array:
    """Words `[..., W]` as their first `n` booleans."""
    bit = lax.broadcasted_iota(jnp.uint32, (*words.shape, WORD), words.ndim)
    bits = (words[..., None] >> bit) & 1
    return bits.reshape(*words.shape[:-1], -1)[..., :n].astype(bool)
