"""Voxels of a mesh: those that its surface meets, and those that it encloses.

Shapes: `B` meshes, `V` vertices, `F` faces, `N` voxels along each side of the grid, `P` slots of
a pass, `h, w` window, `W` words of 32 voxels along a side.

Voxel coordinates put voxel `(i, j, k)` at the cube from `(i, j, k)` to `(i + 1, j + 1, k + 1)`,
so the edges of the voxels lie on the lattice of whole numbers. A voxel is on the surface if

(a) a face meets one of its twelve edges, or
(b) a corner of a face lies in it.

For (a), every face is projected along each of the three axes, and the window engine (see
`windows.py`) walks over the lattice lines that it may meet, as over pixels: three pictures in
which a line meets not the nearest face but all of them. The voxel edge that is met belongs to
the four voxels around the line; it is marked once, and the four are marked at the end, for the
whole grid in one go. Marks only ever switch a voxel on, so their order does not matter.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import fold_vmap
from jaxrender.ops.triangles import FARTHEST, Corners, edges_of
from jaxrender.ops.windows import MAX_SLOTS, Bounds, Windows, scan_windows, window_pixels

WINDOW = (2, 2)  # lattice lines; most faces of a fine mesh meet one or none
MIN_SLOTS = 256  # even for few faces: large ones have many windows
WORD = 32  # bits

# The lines along axis `d` are numbered by their place on the two other axes.
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
    meshes = max(arg.shape[0] for arg in (vertices, faces, low, high))
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
    inside = ((voxel >= 0) & (voxel < resolution)).all(0) & valid  # [3, BF]
    x, y, z = jnp.where(inside, voxel, resolution).astype(jnp.int32)
    mesh = lax.div(jnp.arange(valid.size, dtype=jnp.int32), jnp.int32(faces.shape[1]))
    return surface.at[mesh, x, y, z].set(True, mode="drop")


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
    points = jnp.broadcast_to(points, (meshes, vertex_count, 3)).reshape(-1, 3)

    # Find the corners in one list of vertices.
    first = jnp.arange(meshes, dtype=jnp.int32) * vertex_count
    ids = (jnp.clip(faces, 0, vertex_count - 1) + first[:, None, None]).reshape(-1, 3)
    corners = jnp.stack([axis[ids.T] for axis in points.T])

    # Leave out faces that are nowhere.
    in_range = ((faces >= 0) & (faces < vertex_count)).all(-1)
    in_range = jnp.broadcast_to(in_range, (meshes, faces.shape[1])).reshape(-1)
    valid = in_range & jnp.isfinite(corners).all((0, 1))
    return jnp.clip(corners, -FARTHEST, FARTHEST), valid


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
    most = jnp.where(valid, most, -1)
    p_axis, q_axis = jnp.array(ACROSS, jnp.int32).T
    bounds = Bounds(
        *(
            limit[axis].reshape(-1)
            for limit, axis in ((least, p_axis), (least, q_axis), (most, p_axis), (most, q_axis))
        )
    )

    def fold(met: jax.Array, windows: Windows) -> jax.Array:
        # Project each slot's face along its axis.
        axis = lax.div(windows.face, jnp.int32(total))
        face = windows.face - axis * total
        corner = jnp.arange(3)[:, None]
        projected = Corners(
            *(
                corners[which[None], corner, face[None]][..., None, None]
                for which in (q_axis[axis], p_axis[axis], axis)
            )
        )

        # Test the window's lines against the face's edges, and find where they meet it.
        p, q = window_pixels(windows.row, windows.column, WINDOW)  # [P, h, 1], [P, 1, w]
        edges = edges_of(projected, perspective=False)
        weights = edges.weights(q.astype(dtype)[None], p.astype(dtype)[None])  # [3, P, h, w]
        area = weights.sum(0)
        hit = (weights >= 0).all(0) & (area > 0) & windows.live[:, None, None]
        c0, c1, c2 = projected.z
        along = weights[1] * (c1 - c0) + weights[2] * (c2 - c0)
        along = jnp.floor(c0 + along / jnp.where(area > 0, area, 1))

        # Mark the voxel edges there; a line outside the grid may be a line of the next mesh.
        hit &= (p < n) & (q < n) & (along >= 0) & (along < n)
        mesh = lax.div(windows.face, jnp.int32(total // meshes))[:, None, None]  # axis included
        line = (mesh * n + p) * n + q
        return met.at[line, jnp.where(hit, along, n).astype(jnp.int32)].set(True, mode="drop")

    met = scan_windows(
        fold,
        jnp.zeros((3 * meshes * n * n, n), bool),
        bounds,
        window=WINDOW,
        slots=min(MAX_SLOTS, max(MIN_SLOTS, 3 * total)),
    )
    return met.reshape(3, meshes, n, n, n)


def _exterior(surface: jax.Array) -> jax.Array:
    """The empty voxels `[B, N, N, N]` that empty neighbours connect to the grid's outer layer.

    A flood through the six faces of each voxel, in sweeps: one floods the grid along one
    direction as far as it goes, so that a convex mesh takes one round of the six and a
    labyrinth one for every few of its turns. The voxels along the last axis are bits of
    words, which makes a step of a sweep 32 times cheaper than it would be on booleans.
    """
    n = surface.shape[1]
    rim = jnp.arange(n) % max(n - 1, 1) == 0
    outer = rim[:, None, None] | rim[None, :, None] | rim[None, None, :]
    free = _packed(~surface)
    start = free & _packed(outer)[None]

    def sweep(reached: jax.Array, axis: int, sign: int) -> jax.Array:
        # After the step of 2ᵏ the flood has gone 2ᵏ⁺¹ - 1 voxels, and `clear` says whether the
        # 2ᵏ⁺¹ voxels up to here are free: the parallel prefix of Kogge and Stone (1973).
        move = _shifted_bits if axis == 3 else _shifted
        clear = free
        step = 1
        while step < n:
            reached |= clear & move(reached, axis, sign * step)
            clear &= move(clear, axis, sign * step)
            step *= 2
        return reached

    def one_round(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        before, _ = carry
        reached = before
        for axis in (1, 2, 3):
            for sign in (1, -1):
                reached = sweep(reached, axis, sign)
        return reached, (reached != before).any()

    reached, _ = lax.while_loop(lambda carry: carry[1], one_round, (start, start.any()))
    return _unpacked(reached, n)


def _shifted(array: jax.Array, axis: int, step: int) -> jax.Array:
    """What lay at `i - step` along the axis now lies at `i`; zeros come in."""
    padding = [(0, 0, 0)] * array.ndim
    padding[axis] = (step, -step, 0)
    return lax.pad(array, jnp.zeros((), array.dtype), padding)


def _shifted_bits(words: jax.Array, axis: int, step: int) -> jax.Array:
    """`_shifted` along an axis of packed bits."""
    whole, bits = divmod(step, WORD)
    moved = _shifted(words, axis, whole)
    if bits:
        # The upper bits of each word carry over into the next.
        carried = _shifted(words, axis, whole + 1)
        moved = (moved << bits) | (carried >> (WORD - bits))
    return moved


def _packed(bits: jax.Array) -> jax.Array:
    """Booleans `[..., N]` as words `[..., W]`; the padding is False."""
    n = bits.shape[-1]
    words = -(-n // WORD)
    padding = [(0, 0, 0)] * (bits.ndim - 1) + [(0, words * WORD - n, 0)]
    bits = lax.pad(bits, False, padding).reshape(*bits.shape[:-1], words, WORD)
    place = jnp.arange(WORD, dtype=jnp.uint32)
    return jnp.sum(jnp.where(bits, jnp.uint32(1) << place, 0), -1, dtype=jnp.uint32)


def _unpacked(words: jax.Array, n: int) -> jax.Array:
    """Words `[..., W]` as their first `n` booleans."""
    place = jnp.arange(WORD, dtype=jnp.uint32)
    bits = (words[..., None] >> place) & 1
    return bits.reshape(*words.shape[:-1], -1)[..., :n].astype(bool)
