"""The surface that faces make together: which edges they share, which are sharp, which side is out.

In NumPy, on meshes of known values. Shape legend: `V` vertices, `F` faces, `E` edges, `S` sides of
faces. The corners of all faces are numbered from 0 to 3F - 1, face by face.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._checks import (
    check_array,
    check_faces,
    check_is_mesh,
    check_normals,
    is_concrete,
)
from jaxrender._material import check_material
from jaxrender._textures import Texture, VertexColors, check_texture
from jaxrender._types import Mesh


class Edges(NamedTuple):
    """The edges of a mesh, one row for each side of each face that has three different corners.

    Attributes:
        edge: `[S]` number of the side's edge.
        degree: `[E]` how many sides each edge has.
        low: `[S]` corner at the edge's first end.
        high: `[S]` corner at its second end.
    """

    edge: np.ndarray
    degree: np.ndarray
    low: np.ndarray
    high: np.ndarray


def edges(vertices: np.ndarray, faces: np.ndarray) -> Edges:
    """Finds the edges; vertices at the same place, which many files repeat at seams, are one."""
    _, point = np.unique(vertices, axis=0, return_inverse=True)
    points = point.reshape(-1)[faces]

    # Walk around each face: a side goes from its corner to the next.
    start = np.arange(points.size).reshape(-1, 3)
    start = start[(points != np.roll(points, 1, axis=1)).all(1)]
    stop = np.roll(start, -1, axis=1).reshape(-1)
    start, points = start.reshape(-1), points.reshape(-1).astype(np.int64)
    ascending = points[start] < points[stop]
    low, high = np.where(ascending, start, stop), np.where(ascending, stop, start)
    key = points[low] * (points.max(initial=0) + 1) + points[high]
    _, edge, degree = np.unique(key, return_inverse=True, return_counts=True)
    return Edges(edge.reshape(-1), degree, low, high)


def split_creases(mesh: Mesh, degrees: float) -> Mesh:
    """Gives faces that meet at more than an angle vertices of their own, so that it looks sharp.

    A mesh with normals of its own looks as these say already, and stays as it is.

    Corners stay one vertex where a chain of faces joined by smooth edges leads from one to the
    other; vertices at the same place are joined where the surface is smooth.

    Args:
        mesh: of known values.
        degrees: the angle between the normals of neighbours; 0 splits all that is not flat.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if mesh.normals is not None:
        return mesh
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    corners = vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-300)

    # Pair the two sides of each ordinary edge, and keep the smooth ones.
    edge, degree, low, high = edges(vertices, faces)
    sides = np.argsort(edge, kind="stable")
    one, other = sides[degree[edge[sides]] == 2].reshape(-1, 2).T
    cosine = (normals[low[one] // 3] * normals[low[other] // 3]).sum(-1)
    smooth = cosine >= math.cos(math.radians(degrees)) - 1e-6
    one, other = one[smooth], other[smooth]

    # Join their corners; what is connected is one vertex.
    pairs = np.concatenate([low[one], high[one]]), np.concatenate([low[other], high[other]])
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(faces.size, faces.size))
    _, vertex = connected_components(graph, directed=False)
    _, first = np.unique(vertex, return_index=True)
    source = faces.reshape(-1)[first]
    texture = None if mesh.texture is None else mesh.texture.of_vertices(source)
    material = mesh.material
    if material is not None:
        material = material.with_maps(lambda texture: texture.of_vertices(source))
    new_faces = jnp.asarray(vertex.reshape(-1, 3), mesh.faces.dtype)
    return dataclasses.replace(
        mesh, vertices=mesh.vertices[source], faces=new_faces, texture=texture, material=material
    )


def weld(mesh: Mesh, tolerance: float = 0.0) -> Mesh:
    """Joins vertices at the same place, which files split where texture or normals differ.

    Losses on the shape of a mesh, and fits, then see one surface: at a seam that is split faces are
    no neighbours, and tear apart. What the corners of faces had stays theirs: texture coordinates
    and normals have faces of their own, and colours of vertices become a white `UVTexture` with a
    `tint` where they differ at one place.

    Of vertices that are joined the one of lowest index gives the position, and the order of those
    that are left is that of the mesh. Faces stay, in their order, also where their corners have
    become one: they have no area and are not drawn.

    Gradient: exact to the vertices that are left.

    Args:
        mesh: with known vertices and faces; the texture may be traced.
        tolerance: how far apart vertices at the same place may be, scene units; chains of near
            vertices become one. 0 joins those that are exactly equal.

    Returns:
        The mesh with fewer vertices.

    Raises:
        ValueError: the mesh or the tolerance is not valid, or the mesh is traced by `jax.jit`,
            `jax.grad` or `jax.vmap`: call this once, outside.

    Example:
        >>> import jaxrender as jr
        >>> cube = jr.shapes.cube()
        >>> corners = jr.Mesh(cube.vertices[cube.faces].reshape(-1, 3), [[0, 1, 2], [3, 4, 5]])
        >>> len(corners.vertices), len(jr.weld(corners).vertices)
        (36, 8)
    """
    check_is_mesh(mesh)
    number = isinstance(tolerance, int | float | np.number) and not isinstance(tolerance, bool)
    if not number or not 0 <= tolerance < math.inf:
        raise ValueError(f"`tolerance` must be a length from 0, got {tolerance!r}. Pass 1e-6.")
    task = "weld a mesh", "weld(mesh)"
    vertices, faces = _known("mesh.vertices", "mesh.faces", mesh.vertices, mesh.faces, task)
    with jax.ensure_compile_time_eval():
        known_faces = jnp.asarray(faces, jnp.int32)
    texture = check_texture(mesh.texture, Mesh(jnp.asarray(vertices), known_faces))
    material = check_material(mesh.material, Mesh(jnp.asarray(vertices), known_faces, texture))
    normals, own = check_normals("mesh", mesh, jnp.asarray(vertices), known_faces)

    # Number the places in the order of their first vertices.
    place = _places(vertices, float(tolerance))
    _, source, place = np.unique(place, return_index=True, return_inverse=True)
    order = np.argsort(source)
    source, rank = source[order], np.argsort(order)
    place = rank[place.reshape(-1)]
    if len(source) == len(vertices):
        return mesh
    with jax.ensure_compile_time_eval():
        joined = jnp.asarray(place[faces], jnp.int32)

    # Keep what corners have where it differs at one place.
    def welded(texture: Texture) -> Texture:
        if isinstance(texture, VertexColors) and _agree(texture.colors, source[place]):
            return texture.of_vertices(source)
        return texture.welded(known_faces, source)

    texture = None if texture is None else welded(texture)
    material = None if material is None else material.with_maps(welded)
    if normals is not None and own is None:
        own = known_faces
        if _agree(normals, source[place]):
            normals, own = normals[source], None
    return dataclasses.replace(
        mesh,
        vertices=jnp.asarray(mesh.vertices)[source],
        faces=joined,
        texture=texture,
        normals=normals,
        normal_faces=own,
        material=material,
    )


def _places(vertices: np.ndarray, tolerance: float) -> np.ndarray:
    """A number for each vertex `[V]`, the same for those at the same place."""
    if tolerance == 0:
        order = np.lexsort(vertices.T)
        new = (vertices[order[1:]] != vertices[order[:-1]]).any(axis=1)
        place = np.zeros(len(vertices), np.int64)
        place[order[1:]] = np.cumsum(new)
        return place
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    one, other = KDTree(vertices).query_pairs(tolerance, output_type="ndarray").T
    shape = (len(vertices), len(vertices))
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=shape)
    return connected_components(graph, directed=False)[1]


def _agree(values: Any, source: np.ndarray) -> bool:
    """Whether values of vertices `[V, C]` are known, and equal where they are joined."""
    return is_concrete(values) and bool((np.asarray(values)[source] == np.asarray(values)).all())


def orient_faces(mesh: Mesh) -> Mesh:
    """Turns faces so that neighbours agree about which side is the front.

    Files often mix both windings: smooth normals then cancel out where they meet, and show as
    dark patches, and `cull` makes holes. From face to face across their edges, all are wound
    alike; vertices at the same place are one, as at seams. Edges of three and more faces lead
    nowhere, and a one-sided surface (a Möbius strip) stays torn along some of its edges.

    Of both ways to wind a connected part, a closed one gets that with its front outside, where the
    world is right-handed, and an open one that of most of its faces. A room, or a cavity, has its
    front outside as well; light that is `two_sided` does not mind.

    A face is turned by exchanging its first two corners; its texture turns with it (one of your
    own needs a method `turned`, see `Texture`). Faces keep their order; vertices, and normals
    of the mesh's own, are untouched.

    Args:
        mesh: with known vertices and faces; the texture may be traced.

    Returns:
        The mesh with turned faces.

    Raises:
        ValueError: the mesh is not valid, or is traced by `jax.jit`, `jax.grad` or `jax.vmap`:
            call this once, outside.

    Example:
        >>> import jaxrender as jr
        >>> cube = jr.shapes.cube()
        >>> mixed = jr.Mesh(cube.vertices, cube.faces.at[::3, :2].set(cube.faces[::3, 1::-1]))
        >>> (jr.orient_faces(mixed).faces == cube.faces).all().item()
        True
    """
    check_is_mesh(mesh)
    vertices, faces = _known("mesh.vertices", "mesh.faces", mesh.vertices, mesh.faces)
    plain = Mesh(jnp.asarray(vertices), jnp.asarray(faces))
    texture = check_texture(mesh.texture, plain)
    material = check_material(mesh.material, dataclasses.replace(plain, texture=texture))
    normals, own = check_normals("mesh", mesh, jnp.asarray(vertices), jnp.asarray(faces))
    plain = Mesh(mesh.vertices, mesh.faces, texture, normals, own, material)
    return _turned(plain, faces, turned_faces(vertices, faces))


def turn_around(mesh: Mesh) -> Mesh:
    """A mesh that has been checked, with the fronts of all its faces where their backs were."""
    return _turned(mesh, mesh.faces, np.ones(len(mesh.faces), bool))


def _turned(mesh: Mesh, faces: Any, turned: np.ndarray) -> Mesh:
    """The mesh with the first two corners of some faces `[F]` exchanged, in all that it has."""
    with jax.ensure_compile_time_eval():
        wound = jnp.asarray(_turn(faces, turned), jnp.int32)
    texture, material, own = mesh.texture, mesh.material, mesh.normal_faces
    if own is not None:
        own = jnp.where(turned[:, None], own[:, np.array([1, 0, 2])], own)
    return dataclasses.replace(
        mesh,
        faces=wound,
        texture=None if texture is None else texture.turned(turned),
        normal_faces=own,
        material=None if material is None else material.with_maps(lambda t: t.turned(turned)),
    )


def outward_signs(vertices: ArrayLike, faces: ArrayLike) -> np.ndarray:
    """-1 for each face `[F]` that `orient_faces` turns, 1 for the others.

    Raises:
        ValueError: as of `orient_faces`.
    """
    return np.where(turned_faces(*_known("vertices", "faces", vertices, faces)), -1, 1)


def _known(
    vertices_name: str,
    faces_name: str,
    vertices: ArrayLike,
    faces: ArrayLike,
    task: tuple[str, str] = ("orient faces", "orient_faces(mesh)"),
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces as NumPy's, checked.

    Raises:
        ValueError: they are traced, or wrong.
    """
    if not is_concrete(vertices, faces):
        raise ValueError(
            f"`{vertices_name}` and `{faces_name}` must be known to {task[0]}, got traced "
            f"values. Call {task[1]} once, outside of jax.jit, jax.grad and jax.vmap, and "
            "go on with its faces."
        )
    with jax.ensure_compile_time_eval():
        checked = check_array(vertices_name, vertices, ("V", 3), finite=True)
        return np.asarray(checked), np.asarray(check_faces(faces_name, faces, checked.shape[0]))


def turned_faces(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which faces `[F]` are to be turned, see `orient_faces`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    if not len(faces):
        return np.zeros(0, bool)

    # Pair the two sides of each ordinary edge; faces that walk it the same way disagree.
    count = len(faces)
    edge, degree, low, high = edges(vertices, faces)
    order = np.argsort(edge, kind="stable")
    one, other = order[degree[edge[order]] == 2].reshape(-1, 2).T
    forward = low % 3 == (high + 2) % 3
    first, second = low[one] // 3, low[other] // 3
    disagree = forward[one] == forward[other]

    # Walk from the first face of each part to all others, by way of a face that is none.
    pairs = np.concatenate([first, second]), np.concatenate([second, first])
    graph = coo_array((np.ones(len(pairs[0])), pairs), shape=(count, count)).tocsr()
    parts, part = connected_components(graph, directed=False)
    _, root = np.unique(part, return_index=True)
    walk = np.concatenate([pairs[0], np.full(parts, count)]), np.concatenate([pairs[1], root])
    graph = coo_array((np.ones(len(walk[0])), walk), shape=(count + 1, count + 1)).tocsr()
    order, before = breadth_first_order(graph, count)

    # Hand on from each to the next whether it is turned, by what one of their edges says.
    names = pairs[0].astype(np.int64) * count + pairs[1]
    names, said = np.unique(names, return_index=True)
    steps = order[1:].astype(np.int64)
    inner = before[steps] < count
    known = np.zeros(count, bool)
    known[steps[inner]] = np.concatenate([disagree, disagree])[
        said[np.searchsorted(names, before[steps[inner]] * count + steps[inner])]
    ]
    turned = np.zeros(count + 1, bool)
    for face, source in zip(steps.tolist(), before[steps].tolist(), strict=True):
        turned[face] = turned[source] ^ known[face]
    turned = turned[:count]

    # Choose of both ways: a positive volume where a part is closed, else that of most faces.
    corners = vertices[faces].astype(np.float64)
    middle = np.zeros((parts, 3))
    np.add.at(middle, part, corners.mean(1))
    sizes = np.bincount(part, minlength=parts)
    corners -= (middle / np.maximum(sizes, 1)[:, None])[part][:, None]
    volume = (np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum(-1)
    volume = np.bincount(part, np.where(turned, -volume, volume), minlength=parts)
    open_part = np.zeros(parts, bool)
    open_part[part[low[degree[edge] != 2] // 3]] = True
    by_most = 2 * np.bincount(part, turned, minlength=parts) > sizes
    return turned ^ np.where(open_part | (volume == 0), by_most, volume < 0)[part]


def _turn(faces: Any, turned: np.ndarray) -> Any:
    """Faces `[F, 3]` with the first two corners of those that are turned exchanged."""
    return np.where(turned[:, None], np.asarray(faces)[:, [1, 0, 2]], faces)
