"""The surface that faces make together: which vertices are one point, which edges are sharp.

In NumPy, on meshes of known values. Shape legend: `V` vertices, `F` faces, `E` edges, `S` sides of
faces. The corners of all faces are numbered from 0 to 3F - 1, face by face.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrender._textures import VertexColors
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


def edges(mesh: Mesh) -> Edges:
    """Finds the edges; vertices at the same place, which many files repeat at seams, are one."""
    _, point = np.unique(np.asarray(mesh.vertices), axis=0, return_inverse=True)
    points = point.reshape(-1)[np.asarray(mesh.faces)]

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

    Corners stay one vertex where a chain of faces joined by smooth edges leads from one to the
    other; vertices at the same place are joined where the surface is smooth.

    Args:
        mesh: of known values.
        degrees: the angle between the normals of neighbours; 0 splits all that is not flat.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    corners = vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-300)

    # Pair the two sides of each ordinary edge, and keep the smooth ones.
    edge, degree, low, high = edges(mesh)
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
    texture = mesh.texture
    if isinstance(texture, VertexColors):
        texture = dataclasses.replace(texture, colors=texture.colors[source])
    new_faces = jnp.asarray(vertex.reshape(-1, 3), mesh.faces.dtype)
    return dataclasses.replace(
        mesh, vertices=mesh.vertices[source], faces=new_faces, texture=texture
    )
