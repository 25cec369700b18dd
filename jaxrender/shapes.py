"""Meshes that need no file: cube, icosphere, torus, plane and the Utah teapot.

Each is a `Mesh` without texture, and right-handed: the faces are counter-clockwise seen from
outside, and `y` is up. No vertex is there twice. Positions are in scene units and in JAX's default
float type. They are made by NumPy on the host, so the arguments are plain numbers.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrender import _teapot
from jaxrender._checks import check_whole
from jaxrender._topology import quarter_faces
from jaxrender._types import Mesh

# What indices of 32 bits can count.
MOST_SUBDIVISIONS, MOST_SEGMENTS, MOST_TESSELLATION = 13, 2**15 - 1, 2**12

__all__ = [
    "cube",
    "icosphere",
    "plane",
    "teapot",
    "torus",
]


def __dir__() -> list[str]:
    return __all__


def cube(size: float = 1.0) -> Mesh:
    """Makes a cube of 8 vertices and 12 faces, centred on the origin.

    Args:
        size: length of an edge.

    Raises:
        ValueError: `size` is not a positive number.

    Example:
        >>> cube(2.0).vertices[0].tolist()
        [-1.0, -1.0, -1.0]
    """
    half = _positive("size", size) / 2

    # Number the corners by their coordinates' signs: x is bit 2, y bit 1, z bit 0.
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    quads = np.array(
        [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    )
    return _mesh(half * corners, _split(quads))


def icosphere(subdivisions: int = 3, radius: float = 1.0) -> Mesh:
    """Makes a sphere of `20 · 4ⁿ` nearly equal faces, centred on the origin.

    Each subdivision of an icosahedron cuts every face in four at the middles of its edges,
    pushed out to the sphere. It has `10 · 4ⁿ + 2` vertices.

    Args:
        subdivisions: n, from 0 (an icosahedron).
        radius: of the sphere through all vertices.

    Raises:
        ValueError: `subdivisions` is not a whole number from 0, or `radius` not positive.

    Example:
        >>> icosphere(3).faces.shape
        (1280, 3)
    """
    subdivisions = check_whole(
        "subdivisions", subdivisions, least=0, most=MOST_SUBDIVISIONS, example=3
    )
    radius = _positive("radius", radius)

    # Place the icosahedron's corners on three golden rectangles.
    golden = (1 + math.sqrt(5)) / 2
    signs = [(a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    vertices = np.array(
        [(a, b, 0) for a, b in signs]
        + [(0, a, b) for a, b in signs]
        + [(b, 0, a) for a, b in signs]
    )
    vertices /= math.hypot(1, golden)

    # Three corners at the least distance from each other are a face.
    near = [[bool(u @ v > 0.4) for v in vertices] for u in vertices]
    triples = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i][j] and near[j][k] and near[k][i]
    ]
    faces = np.array(
        [(i, j, k) if np.linalg.det(vertices[[i, j, k]]) > 0 else (i, k, j) for i, j, k in triples]
    )

    for _ in range(subdivisions):
        ends, faces = quarter_faces(faces, len(vertices))
        vertices = np.concatenate([vertices, vertices[ends].mean(1)])
        vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    return _mesh(radius * vertices, faces)


def torus(
    major_radius: float = 1.0,
    minor_radius: float = 0.4,
    major_segments: int = 48,
    minor_segments: int = 24,
) -> Mesh:
    """Makes a ring around the y axis, of `2 · major_segments · minor_segments` faces.

    Args:
        major_radius: from the axis to the middle of the tube.
        minor_radius: of the tube; less than `major_radius` keeps the hole open.
        major_segments: number of sections along the tube, at least 3.
        minor_segments: number of corners of a section, at least 3.

    Raises:
        ValueError: a radius is not positive, or a number of segments is less than 3.

    Example:
        >>> torus().faces.shape
        (2304, 3)
    """
    major_radius = _positive("major_radius", major_radius)
    minor_radius = _positive("minor_radius", minor_radius)
    rows = _whole("major_segments", major_segments, least=3)
    columns = _whole("minor_segments", minor_segments, least=3)

    # Place the vertices along the ring and around the tube.
    along = 2 * np.pi * np.arange(rows)[:, None] / rows
    around = 2 * np.pi * np.arange(columns)[None, :] / columns
    distance = major_radius + minor_radius * np.cos(around)
    height = np.broadcast_to(minor_radius * np.sin(around), (rows, columns))
    points = np.stack([distance * np.sin(along), height, distance * np.cos(along)], axis=-1)

    # Close the grid in both directions.
    ids = np.pad(np.arange(rows * columns).reshape(rows, columns), ((0, 1), (0, 1)), mode="wrap")
    return _mesh(points.reshape(-1, 3), _split(_grid_quads(ids)))


def plane(size: float = 1.0, segments: int = 1) -> Mesh:
    """Makes a square in the xz plane, centred on the origin, seen from above (+y).

    Args:
        size: length of a side.
        segments: number of squares along each side; `2 · segments²` faces.

    Raises:
        ValueError: `size` is not positive, or `segments` not a whole number from 1.

    Example:
        >>> plane(segments=4).faces.shape
        (32, 3)
    """
    half = _positive("size", size) / 2
    count = _whole("segments", segments, least=1) + 1

    # Let z grow along the rows and x along the columns: z cross x is up.
    ticks = np.linspace(-half, half, count)
    z, x = np.meshgrid(ticks, ticks, indexing="ij")
    points = np.stack([x, np.zeros_like(x), z], axis=-1)
    return _mesh(points.reshape(-1, 3), _split(_grid_quads(np.arange(count**2).reshape(count, -1))))


def teapot(tessellation: int = 10) -> Mesh:
    """Makes the Utah teapot from its 32 Bézier patches, at its published size.

    The spout points to +x, the handle to -x, and it stands on `y = 0`: 6.4 wide, 3.15 high
    and 4 deep. See `jaxrender.io.normalize` for the unit box.

    The patches are welded where they meet, so the pot is smooth; but the teapot is famously
    not closed, and this one is not: handle and spout are open tubes whose ends pierce the
    body, and there is a gap between lid and rim: through it one sees the inner side of the
    faces. It is four surfaces with six open edges; the handle's lower end touches the body in
    one vertex.

    Args:
        tessellation: number of segments along each side of a patch: about
            `64 · tessellation²` faces, less those that shrink to an edge at the two poles. One
            segment would press handle and spout flat.

    Raises:
        ValueError: `tessellation` is not a whole number from 2.

    Example:
        >>> teapot(4).faces.shape
        (992, 3)

    References:
        Newell, The Utilization of Procedure Models in Digital Image Synthesis, 1975.
        Crow, The Origins of the Teapot, IEEE CG&A 7(1), 1987.
    """
    segments = _whole("tessellation", tessellation, least=2, most=MOST_TESSELLATION)

    # Turn the published z up into y up.
    points = _teapot.evaluate(_teapot.patches(), segments)[..., [0, 2, 1]] * np.array([1, 1, -1])

    # Weld the seams: their points are bitwise equal, and at the poles they are once rounded.
    points = np.round(points, 9) + 0.0  # -0 becomes 0
    vertices, welded = np.unique(points.reshape(-1, 3), axis=0, return_inverse=True)
    faces = np.concatenate([_split(_grid_quads(ids)) for ids in welded.reshape(points.shape[:3])])

    # Drop the triangles that have shrunk to an edge at the poles.
    a, b, c = faces.T
    return _mesh(vertices, faces[(a != b) & (b != c) & (c != a)])


def _mesh(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    # Convert on the host: JAX would compile a program for each type.
    vertices = np.asarray(vertices, jnp.result_type(float))
    return Mesh(jnp.asarray(vertices), jnp.asarray(np.asarray(faces, np.int32)))


def _grid_quads(ids: np.ndarray) -> np.ndarray:
    """The cells of a grid of vertex ids, wound from the rows towards the columns."""
    corners = (ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:])
    return np.stack(corners, axis=-1).reshape(-1, 4)


def _split(quads: np.ndarray) -> np.ndarray:
    """Cuts quads `[Q, 4]` along their first diagonal into triangles `[2 Q, 3]`."""
    return quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


def _positive(name: str, value: Any) -> float:
    number = math.nan
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"`{name}` must be a positive number, got {value!r}. Pass for example 1.")
    return number


def _whole(name: str, value: Any, *, least: int, most: int = MOST_SEGMENTS) -> int:
    return check_whole(name, value, least=least, most=most, example=max(least, 8))
