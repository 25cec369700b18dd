"""The shapes of MuJoCo's geoms, of size 1 where they can be scaled, as its renderer divides them.

Round ones have as many sides as its own, so that rims agree; flat ones no more than they need, as
light is found at each pixel here. Coordinates of textures go from the upper left, as in OpenGL.

Shape legend: `V` vertices, `F` faces, `U` texture coordinates, `N` normals.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

NEAR_NORMAL = 0.8  # cosine to the face's normal below which a mesh without uv has that in place

QUAD = np.array([[0, 1, 2], [0, 2, 3]])


class Shape(NamedTuple):
    """A geom, or a part of one."""

    vertices: np.ndarray  # [V, 3]
    faces: np.ndarray  # [F, 3]
    normals: np.ndarray  # [N, 3]
    normal_faces: np.ndarray  # [F, 3]
    uv: np.ndarray | None  # [U, 2]; None where they follow from the vertices
    uv_faces: np.ndarray | None  # [F, 3]


def _grid(rows: int, columns: int, flip: bool = False) -> np.ndarray:
    """Faces `[F, 3]` between the rows of a grid of `rows + 1` by `columns + 1` vertices."""
    first = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1, 1)
    around = np.array([0, 1, columns + 2, columns + 1])
    corners = (first + (around[::-1] if flip else around))[:, QUAD]
    return corners.reshape(-1, 3)


def _round(vertices: np.ndarray, normals: np.ndarray, uv: np.ndarray, faces: np.ndarray) -> Shape:
    """A shape of as many normals and coordinates as vertices, without faces that are edges."""
    corners = vertices[faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    faces = faces[np.abs(area).max(1) > 1e-9]
    return Shape(vertices, faces, normals, faces, uv, faces)


def _ring(slices: int) -> tuple[np.ndarray, np.ndarray]:
    angle = 2 * np.pi * np.arange(slices + 1) / slices
    angle[-1] = 0
    return np.cos(angle), np.sin(angle)


@functools.cache
def sphere(slices: int, stacks: int) -> Shape:
    """A ball of radius 1."""
    half = stacks // 2
    rows = np.arange(-half, half + 1) / half
    return _ball(slices, rows, 0.5 - rows / 2)


@functools.cache
def half_sphere(slices: int, stacks: int, sign: int) -> Shape:
    """The upper (1) or lower (-1) half of a ball of radius 1, around the end of a unit axis."""
    half = stacks // 2
    rows = np.arange(half + 1) / half
    ball = _ball(slices, *((rows, 1 - rows) if sign > 0 else (-rows[::-1], rows[::-1])))
    return ball._replace(vertices=ball.vertices + np.array([0, 0, sign]))


def _ball(slices: int, rows: np.ndarray, v: np.ndarray) -> Shape:
    """Rings of a ball from below to above, at elevations of `rows` quarter turns."""
    cosine, sine = _ring(slices)
    elevation = rows[:, None] * np.pi / 2
    across = np.where(np.abs(rows[:, None]) == 1, 0, np.cos(elevation))
    up = np.broadcast_to(np.sin(elevation), (len(rows), slices + 1))
    points = np.stack([across * cosine, across * sine, up], -1)
    u = np.broadcast_to(np.arange(slices + 1) / slices, up.shape).copy()
    # Where a row is a pole, its triangles have their tips in the middle of their bases.
    u[rows == -1] += 0.5 / slices
    u[rows == 1] -= 0.5 / slices
    uv = np.stack([u, np.broadcast_to(v[:, None], up.shape)], -1)
    faces = _grid(len(rows) - 1, slices)
    points = points.reshape(-1, 3)
    return _round(points, points, uv.reshape(-1, 2), faces)


@functools.cache
def tube(slices: int) -> Shape:
    """The side of a cylinder of radius 1, from -1 to 1 along z."""
    cosine, sine = _ring(slices)
    around = np.stack([cosine, sine, 0 * sine], -1)
    points = np.concatenate([around - np.array([0, 0, 1]), around + np.array([0, 0, 1])])
    u = np.arange(slices + 1) / slices
    uv = np.stack([np.tile(u, 2), np.repeat([1.0, 0.0], slices + 1)], -1)
    return _round(points, np.tile(around, (2, 1)), uv, _grid(1, slices))


@functools.cache
def cylinder(slices: int) -> Shape:
    """The same, closed."""
    cosine, sine = _ring(slices)
    parts = [tube(slices)]
    for sign in (-1, 1):
        rim = np.stack([cosine, sine, sign + 0 * sine], -1)[:-1]
        points = np.concatenate([rim, [[0, 0, sign]]])
        rings = np.arange(slices)
        faces = np.stack([rings, np.roll(rings, -1), np.full(slices, slices)], -1)
        normals = np.broadcast_to([0.0, 0.0, sign], points.shape)
        faces = faces if sign > 0 else faces[:, ::-1]
        parts.append(_round(points, normals, 0.5 + 0.5 * points[:, :2], faces))
    return joined(parts)


@functools.cache
def box() -> Shape:
    """A cube from -1 to 1, with a texture on each side."""
    parts = []
    for axis, sign in ((2, 1), (2, -1), (0, 1), (0, -1), (1, -1), (1, 1)):
        along, up = (axis_ for axis_ in range(3) if axis_ != axis)
        points = np.full((4, 3), float(sign))
        points[:, along] = -1, 1, 1, -1
        points[:, up] = -1, -1, 1, 1
        normal = np.zeros(3)
        normal[axis] = sign
        outwards = np.cross(points[1] - points[0], points[3] - points[0])[axis] * sign > 0
        uv = np.stack([0.5 + 0.5 * points[:, along], 0.5 - 0.5 * points[:, up]], -1)
        faces = QUAD if outwards else QUAD[:, ::-1]
        parts.append(_round(points, np.tile(normal, (4, 1)), uv, faces))
    return joined(parts)


def plane(extent: Any, *, endless: tuple[bool, bool]) -> Shape:
    """A rectangle of both sides, 1 by 1 half sizes, or as far as `extent` where it does not end."""
    lines = []
    for is_endless in endless:
        far = np.array([-extent, -extent / 30, extent / 30, extent])
        lines.append(far if is_endless else np.array([-1.0, 1.0]))
    x, y = lines
    points = np.stack([*np.meshgrid(x, y), np.zeros((len(y), len(x)))], -1).reshape(-1, 3)
    coordinates = [
        0.5 * points[:, 0] if endless[0] else 0.5 + 0.5 * points[:, 0],
        -0.5 * points[:, 1] if endless[1] else 0.5 - 0.5 * points[:, 1],
    ]
    faces = _grid(len(y) - 1, len(x) - 1)
    faces = np.concatenate([faces, faces[:, ::-1]])
    normals = np.broadcast_to([0.0, 0.0, 1.0], points.shape)
    return Shape(points, faces, normals, faces, np.stack(coordinates, -1), faces)


def mesh(model: Any, index: int) -> Shape:
    """A mesh of the model, as it was compiled."""

    def rows(name: str, first: int, count: int) -> np.ndarray:
        return np.asarray(getattr(model, name))[first : first + count]

    first, count = int(model.mesh_faceadr[index]), int(model.mesh_facenum[index])
    faces = rows("mesh_face", first, count)
    start, size = int(model.mesh_vertadr[index]), int(model.mesh_vertnum[index])
    vertices = rows("mesh_vert", start, size).astype(np.float64)
    start, size = int(model.mesh_normaladr[index]), int(model.mesh_normalnum[index])
    normals, own = rows("mesh_normal", start, size), rows("mesh_facenormal", first, count)
    if model.mesh_texcoordadr[index] >= 0:
        start, size = int(model.mesh_texcoordadr[index]), int(model.mesh_texcoordnum[index])
        uv, uv_faces = rows("mesh_texcoord", start, size), rows("mesh_facetexcoord", first, count)
        return Shape(vertices, faces, normals, own, uv.astype(np.float64), uv_faces)

    # Creases: where the normal of a corner is far from the face's own, that counts.
    flat = _face_normals(vertices, faces)
    cosine = np.einsum("fkx,fx->fk", normals[own], flat)
    chosen = np.where(cosine < NEAR_NORMAL, len(normals) + np.arange(count)[:, None], own)
    used, compact = np.unique(chosen, return_inverse=True)
    every = np.concatenate([normals, flat])[used]
    return Shape(vertices, faces, every, compact.reshape(-1, 3), None, None)


def height_field(model: Any, index: int) -> Shape:
    """A height field of the model, closed below."""
    rows, columns = int(model.hfield_nrow[index]), int(model.hfield_ncol[index])
    start = int(model.hfield_adr[index])
    heights = np.asarray(model.hfield_data)[start : start + rows * columns].reshape(rows, columns)
    x_size, y_size, z_size, depth = np.asarray(model.hfield_size, np.float64)[index]
    x = x_size * (2 * np.arange(columns) / (columns - 1) - 1)
    y = y_size * (2 * np.arange(rows) / (rows - 1) - 1)
    top = np.stack([*np.meshgrid(x, y), heights * z_size], -1)
    bottom = top * np.array([1, 1, 0]) - np.array([0, 0, depth])
    count = rows * columns
    points = np.concatenate([top.reshape(-1, 3), bottom.reshape(-1, 3)])
    number = np.arange(count).reshape(rows, columns)

    # Cut each square from its upper left to its lower right, and let walls go down at the sides.
    a, b, c, d = number[1:, :-1], number[:-1, :-1], number[1:, 1:], number[:-1, 1:]
    faces = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)]
    for edge in (number[::-1, 0], number[:, -1], number[0], number[-1, ::-1]):
        low, high = edge[:-1], edge[1:]
        wall = np.stack([low + count, high + count, high, low], -1)
        faces.append(wall[:, QUAD].reshape(-1, 3))
    corners = number[0, 0], number[-1, 0], number[-1, -1], number[0, -1]
    faces.append((np.array(corners) + count)[QUAD])
    faces = np.concatenate(faces)
    own = np.repeat(np.arange(len(faces))[:, None], 3, axis=1)
    return Shape(points, faces, _face_normals(points, faces), own, None, None)


def _face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), np.array([1.0, 0, 0]))


def joined(parts: list[Shape]) -> Shape:
    """Shapes that have all they may have as one."""
    tables: list[Any] = []
    whole: list[Any] = list(parts)
    for rows, faces in ((0, 1), (2, 3), (4, 5)):
        starts = np.cumsum([0, *(len(part[rows]) for part in whole)])
        tables.append(np.concatenate([part[rows] for part in whole]))
        moved = [part[faces] + start for part, start in zip(whole, starts, strict=False)]
        tables.append(np.concatenate(moved))
    return Shape(*tables)
