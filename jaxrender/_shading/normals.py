"""Normals of faces and vertices, and which side of a face is seen.

Shape legend: `V` vertices, `F` faces, `N` normals.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from jaxrender._checks import check_array, check_faces, check_flag
from jaxrender._surface import outward_signs
from jaxrender._types import Mesh
from jaxrender._vectors import NO_LENGTH, unit
from jaxrender.ops.deterministic import gather, scatter_add

# Normals shorter than this, where the mesh's longest edge is 1, belong to faces without area.
NO_AREA = 1e-20


def face_normals(vertices: ArrayLike, faces: ArrayLike) -> jax.Array:
    """Unit normals of the faces: `n((v1 - v0) x (v2 - v0))`, with `n(v) = v / |v|`.

    They point to the side from which the corners run counter-clockwise, where the world is
    right-handed: outward on usual meshes. SoftRas's normals are these, NMR's the opposite.

    Gradient: exact to `vertices`; 0 from a face without area.

    Args:
        vertices: `[V, 3]` positions.
        faces: `[F, 3]` int32 vertex indices.

    Returns:
        `[F, 3]`; 0 for a face without area, or with a vertex that is not finite.

    Raises:
        ValueError: a shape, dtype or index is wrong.

    Example:
        >>> import jaxrender as jr
        >>> jr.face_normals([[0, 0, 0], [2, 0, 0], [0, 2, 0]], [[0, 1, 2]]).tolist()
        [[0.0, 0.0, 1.0]]
    """
    vertices = check_array("vertices", vertices, ("V", 3))
    faces = check_faces("faces", faces, vertices.shape[0])
    return unit(_area_vectors(vertices, faces), NO_AREA)


def vertex_normals(vertices: ArrayLike, faces: ArrayLike, *, orient: bool = False) -> jax.Array:
    """Unit normals at the vertices: the sum of their faces' normals, weighted by area.

    The side is that of `face_normals`. The weights are SoftRas's.

    Where neighbouring faces are wound against each other, as in many files, their normals cancel
    out, and "gouraud" and "phong" shading show dark patches. `orient` turns the normals of faces
    so that neighbours agree, as `orient_faces` turns the faces themselves. To draw such a mesh,
    call `orient_faces` once, which also sets culling right.

    Gradient: exact to `vertices`; 0 from a vertex whose faces have no area.

    Args:
        vertices: `[V, 3]` positions.
        faces: `[F, 3]` int32 vertex indices.
        orient: whether neighbouring faces are first made to agree; static. Vertices and faces
            must then be known, not traced.

    Returns:
        `[V, 3]`; 0 at a vertex in no face with an area.

    Raises:
        ValueError: a shape, dtype or index is wrong; `orient` inside `jax.jit` or `jax.grad`.

    Example:
        >>> import jaxrender as jr
        >>> jr.vertex_normals([[0, 0, 0], [2, 0, 0], [0, 2, 0]], [[0, 1, 2]])[1].tolist()
        [0.0, 0.0, 1.0]
    """
    signs = outward_signs(vertices, faces) if check_flag("orient", orient) else None
    vertices = check_array("vertices", vertices, ("V", 3))
    faces = check_faces("faces", faces, vertices.shape[0])
    areas = _area_vectors(vertices, faces)
    if signs is not None:
        areas = areas * jnp.asarray(signs, areas.dtype)[:, None]
    corners = jnp.broadcast_to(areas[:, None], (*faces.shape, 3))
    return unit(scatter_add(jnp.zeros_like(vertices), faces, corners), NO_AREA)


def corner_normals(mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """Unit normals `[N, 3]` of a mesh, and which of them its corners `[F, 3]` have.

    Its own where it has some, else those of its vertices.
    """
    if mesh.normals is None:
        return vertex_normals(mesh.vertices, mesh.faces), mesh.faces
    faces = mesh.faces if mesh.normal_faces is None else mesh.normal_faces
    return unit(finite_or_zero(mesh.normals)), faces


def front_normals(mesh: Mesh) -> jax.Array:
    """Unit normals `[F, 3]` of the faces, on the side that the mesh's own normals point to.

    So the winding of a file that disagrees with its normals, as where an object was mirrored,
    does not turn these around.
    """
    own = face_normals(mesh.vertices, mesh.faces)
    if mesh.normals is None:
        return own
    normals, faces = corner_normals(mesh)
    inside = (gather(normals, faces).sum(1) * own).sum(-1, keepdims=True) < 0
    return jnp.where(inside, -own, own)


def centroids(mesh: Mesh) -> jax.Array:
    return gather(finite_or_zero(mesh.vertices), mesh.faces).mean(1)


def finite_or_zero(vertices: jax.Array) -> jax.Array:
    """Vertices that are not finite kept out of positions; normals leave their faces out."""
    return jnp.where(jnp.isfinite(vertices).all(-1, keepdims=True), vertices, 0)


def _area_vectors(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """Normals `[F, 3]` as long as the faces' areas, up to one common factor."""
    if faces.shape[0] == 0:
        return jnp.zeros((0, 3), vertices.dtype)

    # Leave out faces with a vertex that is not finite.
    corners = gather(vertices, faces)
    finite = jnp.isfinite(corners).all((1, 2), keepdims=True)
    corners = jnp.where(finite, corners, 0)

    # Scale the longest edge to 1, so that no product overflows or vanishes.
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    size = jax.lax.stop_gradient(jnp.maximum(jnp.abs(a), jnp.abs(b)).max())
    scale = jnp.where(size > NO_LENGTH, 1 / jnp.maximum(size, NO_LENGTH), 0)
    return jnp.cross(a * scale, b * scale)
