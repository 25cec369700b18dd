"""`remesh`: triangles of one size for a shape that a fit has stretched, and what goes with them.

Shapes: `V` vertices and `F` faces before, `W` and `G` after.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender._arrays import float_dtype
from jaxrender._checks import check_array, check_faces, check_whole, is_concrete
from jaxrender._formats.raw import optional
from jaxrender._textures import FaceTexels, UVTexture, VertexColors
from jaxrender._types import Mesh

MOST_COUNT = 2**31 - 1  # of vertices and of iterations: they are int32


@dataclasses.dataclass(frozen=True, eq=False)
class Remeshed:
    """A mesh of new triangles, and where its vertices lie on the old ones.

    Attributes:
        mesh: the new mesh, `[W, 3]` vertices and `[G, 3]` faces.
        corners: `[W, 3]` int32 the old vertices around each new one.
        barycentrics: `[W, 3]` how much each of them counts.
        vertex_count: `V`, of the old mesh.
    """

    mesh: Mesh
    corners: jax.Array
    barycentrics: jax.Array
    vertex_count: int

    def carry(self, tree: Any) -> Any:
        """What belongs to the old vertices, interpolated at the new ones.

        That has a meaning for colours, features, velocities, and for an optimiser's moments, which
        are smooth where the gradient is; `fit` goes on from them by `state=`. Parameters of
        `large_steps` are made anew: `large_steps(…).to_differential(mesh.vertices)`.

        Args:
            tree: any pytree; its floating-point arrays whose first axis is `V` are interpolated,
                all else (numbers of steps, say) stays as it is.

        Returns:
            the same tree, with `[W, ...]` in place of `[V, ...]`.
        """

        def moved(leaf: Any) -> Any:
            shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
            if (
                not shape
                or shape[0] != self.vertex_count
                or not jnp.issubdtype(dtype, jnp.floating)
            ):
                return leaf
            part = self.barycentrics.astype(dtype).reshape(-1, 3, *[1] * (len(shape) - 1))
            return (part * jnp.asarray(leaf)[self.corners]).sum(1)

        return jax.tree.map(moved, tree)


def remesh(
    mesh: Mesh,
    *,
    edge_length: ArrayLike | None = None,
    vertices: int | None = None,
    iterations: int = 10,
) -> Remeshed:
    """Covers the surface of a mesh with triangles of about one size, between stages of a fit.

    A fit stretches triangles where a limb grows, and crowds them elsewhere. Edges are split,
    collapsed and flipped, and vertices move along the surface, until all edges are about as long
    (Botsch and Kobbelt, by gpytoolbox). The surface keeps its holes and pieces; borders stay.

    Vertices at one place become one. Colours of vertices are interpolated. Texture coordinates are
    too, each new face within the chart of the old one below its middle, so a seam may run up to
    half an edge beside its place. Of `FaceTexels` with one colour a face, each new face takes that
    of the old one below its middle. Normals are dropped.

    Args:
        mesh: its vertices and faces must be known; no edge may have more than two faces.
        edge_length: what edges are to be long, scene units; None is their mean length.
        vertices: about how many vertices to have instead.
        iterations: how often to go over all edges.

    Returns:
        the new mesh, and what carries over to it what belongs to vertices.

    Warns:
        UserWarning: the mesh has a material, which is dropped.

    Raises:
        ValueError: a value is traced or out of range, an edge has more than two faces, or the
            texture is of another kind.
        MissingPackageError: gpytoolbox is not installed (extra `remesh`).

    Example:
        >>> import jaxrender as jr
        >>> ball = jr.shapes.icosphere(2)
        >>> stretched = ball.with_vertices(ball.vertices * jax.numpy.array([[4.0, 1, 1]]))
        >>> finer = remesh(stretched, edge_length=0.3)  # doctest: +SKIP
        >>> finer.mesh.vertices.shape  # doctest: +SKIP
        (589, 3)

    References:
        Botsch and Kobbelt, A Remeshing Approach to Multiresolution Modeling, SGP 2004.
    """
    points, faces, kept, length = _check(mesh, edge_length, vertices, iterations)
    kit = optional("gpytoolbox", package="gpytoolbox", purpose="remesh", extra="remesh")
    if len(kit.non_manifold_edges(faces)):
        raise ValueError(
            "`mesh` has an edge with more than two faces, where no surface can be told from it. "
            "Split it there, or pass one surface of it alone."
        )
    found, triangles = kit.remesh_botsch(points, faces, int(iterations), length, True)
    if not len(triangles):
        raise ValueError(
            f"`edge_length` {length:.4g} leaves no face of the mesh. Pass a shorter one."
        )

    # Find the new vertices, and the middles of the new faces, on the old surface.
    _, below, shares = kit.squared_distance(found, points, F=faces, use_cpp=True, use_aabb=True)
    middles = found[triangles].mean(1)
    home = kit.squared_distance(middles, points, F=faces, use_cpp=True, use_aabb=True)[1]
    dtype = float_dtype(jnp.asarray(mesh.vertices))
    corners = np.asarray(mesh.faces)[kept[below]]
    place, share = jnp.asarray(corners, jnp.int32), jnp.asarray(shares, dtype)
    made = Mesh(jnp.asarray(found, dtype), jnp.asarray(triangles, jnp.int32))
    remeshed = Remeshed(made, place, share, len(mesh.vertices))
    if mesh.material is not None:
        warnings.warn("remesh: the mesh's material is dropped; textures are kept", stacklevel=2)
    texture = mesh.texture
    if isinstance(texture, VertexColors):
        texture = dataclasses.replace(texture, colors=remeshed.carry(texture.colors))
    elif isinstance(texture, FaceTexels):
        texture = dataclasses.replace(texture, texels=texture.texels[kept[home]])
    elif isinstance(texture, UVTexture):
        texture = _rewrapped(kit, texture, (points, faces), (found, triangles), kept, home)
    return dataclasses.replace(remeshed, mesh=dataclasses.replace(made, texture=texture))


def _joined(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places `[U, 3]` of vertices, the faces over them, and which of these are whole."""
    known = np.asarray(mesh.vertices, np.float64) + 0.0
    points, place = np.unique(known, axis=0, return_inverse=True)
    faces = place.reshape(-1)[np.asarray(mesh.faces)]
    return points, faces, (faces != np.roll(faces, 1, axis=1)).all(1)


def _rewrapped(
    kit: Any,
    texture: UVTexture,
    old: tuple[np.ndarray, np.ndarray],
    new: tuple[np.ndarray, np.ndarray],
    kept: np.ndarray,
    home: np.ndarray,
) -> UVTexture:
    """The texture around the new faces, each in the chart of the old face below its middle."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    (points, faces), (found, triangles) = old, new
    wrapped = np.asarray(texture.faces)[kept]
    count, ends = len(texture.uv), np.concatenate([wrapped[:, :2], wrapped[:, 1:]]).T
    links = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(count, count))
    chart = connected_components(links, directed=False)[1][wrapped[:, 0]]

    # Look in each chart for the corners of the faces that have their home there.
    rows, shares = np.empty((0, 3), int), np.empty((0, 3))
    around = np.empty(triangles.shape, np.int32)
    for one in np.unique(chart[home]):
        own, here = np.flatnonzero(chart == one), np.flatnonzero(chart[home] == one)
        used, place = np.unique(triangles[here], return_inverse=True)
        _, below, share = kit.squared_distance(
            found[used], points, F=faces[own], use_cpp=True, use_aabb=True
        )
        around[here] = place.reshape(-1, 3) + len(rows)
        rows, shares = np.concatenate([rows, wrapped[own[below]]]), np.concatenate([shares, share])

    def between(values: jax.Array) -> jax.Array:
        return (jnp.asarray(shares, values.dtype)[:, :, None] * values[rows]).sum(1)

    def of_faces(values: jax.Array | None) -> jax.Array | None:
        return None if values is None else values[kept[home]]

    return dataclasses.replace(
        texture,
        uv=between(texture.uv),
        faces=jnp.asarray(around),
        tint=None if texture.tint is None else between(texture.tint),
        pages=of_faces(texture.pages),
        samplers=of_faces(texture.samplers),
    )


def _check(
    mesh: Mesh, edge_length: ArrayLike | None, vertices: int | None, iterations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Places `[U, 3]`, faces `[F', 3]` over them, which those were, and the length of edges.

    Faces are kept that have three corners at different places.
    """
    if not is_concrete(mesh, edge_length):
        raise ValueError(
            "`mesh` and `edge_length` must be known, got a traced value. Call remesh outside "
            "jax.jit, jax.vmap and jax.grad."
        )
    array = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    check_faces("mesh.faces", mesh.faces, len(array))
    for name, count, example in (("iterations", iterations, 10), ("vertices", vertices, 2000)):
        if count is not None:
            check_whole(name, count, least=1, most=MOST_COUNT, example=example, floats=False)
    if edge_length is not None and vertices is not None:
        raise ValueError("`vertices` must be left out beside `edge_length`: pass one of them.")
    kind, texture = type(mesh.texture).__name__, mesh.texture
    flat = isinstance(texture, FaceTexels) and texture.texels.shape[1:3] == (1, 1)
    if not (texture is None or flat or isinstance(texture, VertexColors | UVTexture)):
        raise ValueError(
            "`mesh.texture` must be VertexColors, UVTexture, FaceTexels of one texel, or None, "
            f"got {kind}. Pass dataclasses.replace(mesh, texture=None), and paint the new mesh."
        )
    points, faces, whole = _joined(mesh)
    if not whole.any():
        raise ValueError(
            "`mesh` must have a face with three corners at different places, got none."
        )
    kept = np.flatnonzero(whole)
    used, faces = np.unique(faces[kept], return_inverse=True)
    points, faces = points[used], faces.reshape(-1, 3).astype(np.int32)

    sides = points[faces] - points[np.roll(faces, 1, axis=1)]
    length = float(np.linalg.norm(sides, axis=-1).mean())
    if edge_length is not None:
        length = float(check_array("edge_length", edge_length, (), finite=True))
    if vertices is not None:
        # Of a closed surface each vertex has two equilateral faces, √3/2 of the edge squared.
        area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1).sum() / 2
        length = float(np.sqrt(2 * area / (np.sqrt(3) * vertices)))
    if length <= 0:
        raise ValueError(f"`edge_length` must be above 0, got {length:g}.")
    return points, faces, kept, length
