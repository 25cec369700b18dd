"""The scenes of `benchmarks.gradients`: each a mesh, and how its vertices move.

All are turned by odd angles, so that no edge lies along rows, columns or diagonals of pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

import jaxrender as jr
from jaxrender import shapes

Point = tuple[float, float, float]
Part = tuple[np.ndarray, np.ndarray, jr.Texture]  # vertices, faces, colours

EYE, FOV = (0.0, 0.0, 3.0), 40.0  # where the camera stands, and its field of view, degrees
EYE, FOV = (0.0, 0.0, 3.0), 40.0  # where the camera stands, and its field of view, degrees
RED, GREEN, BLUE, SAND = (0.9, 0.25, 0.2), (0.2, 0.65, 0.3), (0.2, 0.35, 0.85), (0.8, 0.7, 0.5)


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is drawn, and how it moves.

    Attributes:
        name: what the table calls it.
        mesh: in float64, with its texture.
        moved: `[V]` 1 for vertices that translations and rotations move, else 0.
        corners: `[K]` vertices that move one at a time.
        cuts: whether surfaces cut each other, which "antialias" does not see.
        silhouette: whether the loss is of coverage, not of colours.
        hides: whether what moves has one colour, and is hidden in part: only what of its outline is
            seen has a gradient.
    """

    name: str
    mesh: jr.Mesh
    moved: np.ndarray
    corners: np.ndarray
    cuts: bool = False
    silhouette: bool = False
    hides: bool = False

    def motions(self) -> dict[str, np.ndarray]:
        """Motions of all vertices `[K, V, 3]`: of the pose, and of single vertices."""
        vertices, eye = np.asarray(self.mesh.vertices), np.eye(3)
        arms = vertices - vertices[self.moved > 0].mean(0)
        shifts = [np.broadcast_to(axis, arms.shape) for axis in eye]
        turns = [np.cross(axis, arms) for axis in eye]
        pose = np.stack(shifts + turns) * self.moved[:, None]
        single = np.zeros((len(self.corners), 3, *vertices.shape))
        for k, corner in enumerate(self.corners):
            single[k, :, corner] = eye
        return {"pose": pose, "vertex": single.reshape(-1, *vertices.shape)}


def scenes() -> list[Scene]:
    """All of them; those in colours of vertices are padded alike, to be compiled once."""
    made = [make() for make in SCENES]
    alike = [k for k, scene in enumerate(made) if _is_small(scene)]
    for k, mesh in zip(alike, jr.pad_meshes(made[k].mesh for k in alike), strict=True):
        more = len(mesh.vertices) - len(made[k].moved)
        made[k] = dataclasses.replace(made[k], mesh=mesh, moved=np.pad(made[k].moved, (0, more)))
    return made


def _is_small(scene: Scene) -> bool:
    return isinstance(scene.mesh.texture, jr.VertexColors) and len(scene.mesh.faces) < 5000


# --- parts ----------------------------------------------------------------------------------------


def turned(vertices: np.ndarray, by: Point, at: Point = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Points turned by an angle about an axis, whose product is `by`, then moved."""
    turn = np.asarray(jr.rotations.from_axis_angle(jnp.asarray(by, float)))
    return np.asarray(vertices, float) @ turn.T + np.asarray(at)


def rainbow(vertices: np.ndarray, pitch: float = 1.0, phase: float = 0.0) -> jr.VertexColors:
    """Smooth colours by place."""
    ways = pitch * np.array([[1.9, 0.7, -0.4], [-0.5, 1.6, 0.9], [0.8, -1.1, 1.7]])
    waves = np.asarray(vertices) @ ways + np.array([0.3, 1.7, 4.0]) + phase
    return jr.VertexColors(jnp.asarray(0.5 + 0.45 * np.sin(waves)))


def one_color(vertices: np.ndarray, color: Point) -> jr.VertexColors:
    """The same colour everywhere."""
    return jr.VertexColors(jnp.tile(jnp.asarray(color, float), (len(vertices), 1)))


def rectangle(width: float, height: float, segments: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """An upright grid that looks at the camera."""
    flat = shapes.plane(1.0, segments)
    x, _, y = np.asarray(flat.vertices, float).T
    return np.stack([x * width, -y * height, 0 * x], -1), np.asarray(flat.faces)


def box(size: Point, *, divided: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A box of these sides, whose faces may be divided in four."""
    cube = jr.subdivide(shapes.cube()) if divided else shapes.cube()
    return np.asarray(cube.vertices, float) * np.asarray(size), np.asarray(cube.faces)


def arrays(mesh: jr.Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces."""
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces)


def outermost(vertices: np.ndarray, way: tuple[float, float] = (1.0, 0.4)) -> np.ndarray:
    """The vertex farthest on screen, which is one of the outline; to the right, and a little up."""
    return np.array([np.argmax(vertices[:, :2] @ way / (EYE[2] - vertices[:, 2]))])


def _scene(
    name: str,
    moving: Part,
    *still: Part,
    corners: ArrayLike | None = None,
    cuts: bool = False,
    silhouette: bool = False,
    hides: bool = False,
) -> Scene:
    """Of parts, the first of which moves."""
    mesh, _ = jr.join_meshes(
        jr.Mesh(jnp.asarray(vertices), jnp.asarray(faces), texture)
        for vertices, faces, texture in (moving, *still)
    )
    moved = (np.arange(len(mesh.vertices)) < len(moving[0])).astype(float)
    corners = outermost(moving[0]) if corners is None else corners
    return Scene(name, mesh, moved, np.asarray(corners), cuts, silhouette, hides)


# --- of outlines ----------------------------------------------------------------------------------


def torus() -> Scene:
    """A white ring that the picture's border cuts: a silhouette."""
    points, faces = arrays(shapes.torus(0.75, 0.27, 24, 12))
    points = turned(points, (0.9, 0.3, 0.2), (0.45, 0.2, 0.0))
    white = one_color(points, (1.0, 1.0, 1.0))
    left = outermost(points, (-1.0, 0.0))  # what is on the right lies outside
    part = points, faces, white
    return _scene("torus cut by the frame, silhouette", part, corners=left, silhouette=True)


def hand() -> Scene:
    """A palm with five fingers, of one smooth surface: a silhouette with deep folds."""
    points, faces = arrays(shapes.icosphere(3))
    angle = np.arctan2(points[:, 1], points[:, 0])
    flat = np.hypot(points[:, 0], points[:, 1])
    reach = 0.5 + 0.45 * flat**4 * np.cos(2.5 * (angle - 0.4)) ** 4 * (np.abs(angle - 0.4) < 2.5)
    points = turned(points * np.stack([reach, reach, 0 * reach + 0.2], -1), (0.3, -0.4, 0.1))
    white = one_color(points, (1.0, 1.0, 1.0))
    return _scene("hand, silhouette", (points, faces, white), silhouette=True)


def rod() -> Scene:
    """A rod one pixel thick before a wall."""
    points, faces = box((0.035, 1.5, 0.035))
    points = turned(points, (0.2, 0.1, -0.4), (0.1, 0.05, 0.3))
    wall = _wall()
    return _scene("rod one pixel thick", (points, faces, one_color(points, SAND)), wall)


# --- of edges inside the picture ------------------------------------------------------------------


def cube() -> Scene:
    """A cube in smooth colours before a wall in others."""
    points, faces = box((0.8, 0.8, 0.8))
    points = turned(points, (0.4, 0.6, 0.2), (0.1, -0.05, 0.2))
    return _scene("cube before a wall", (points, faces, rainbow(points)), _wall())


def sharp_box() -> Scene:
    """A box with a colour for each side: edges where faces meet."""
    points, faces = box((0.9, 0.7, 0.8))
    points = turned(points, (0.6, -0.7, -0.1), (0.05, 0.0, 0.0))
    colors = jnp.asarray([RED, GREEN, BLUE, SAND, (0.5, 0.2, 0.6), (0.9, 0.9, 0.9)])
    texels = jnp.repeat(colors, 2, 0)[:, None, None, :]
    return _scene("box, a colour for each side", (points, faces, jr.FaceTexels(texels)))


def blades() -> Scene:
    """Two that cut each other."""
    one, faces = rectangle(1.3, 0.9)
    one = turned(one, (0.25, 0.6, 0.2), (0.05, 0.02, 0.0))
    other = turned(rectangle(1.5, 1.1)[0], (0.1, -0.5, -0.15), (-0.03, 0.0, 0.0))
    parts = [(one, faces, one_color(one, RED)), (other, faces, one_color(other, BLUE))]
    return _scene("blades that cut each other", *parts, cuts=True)


def room() -> Scene:
    """A room of smooth colours with a block in it: vertices of both move one by one."""
    block, faces = box((0.7, 0.6, 0.7), divided=True)
    block = turned(block, (0.35, 0.6, 0.15), (0.15, -0.3, -0.5))
    walls, sides = box((2.3, 2.1, 7.0), divided=True)
    walls = turned(walls, (0.07, 0.11, 0.05), (0.0, 0.0, 1.9))  # the camera stands in it
    behind = len(block) + np.argsort(walls[:, 2])[:9:2]
    corners = [*range(0, len(block), 6), *behind]
    parts = [(block, faces, rainbow(block)), (walls, sides, rainbow(walls, 0.7, 2.0))]
    return _scene("room in smooth colours", *parts, corners=np.array(corners))


def behind_a_bar() -> Scene:
    """A ball in one colour behind a bar, which hides a part of it."""
    points, faces = arrays(shapes.icosphere(2, 0.6))
    points = turned(points, (0.3, 0.2, 0.1), (0.05, 0.03, -0.2))
    bar, sides = box((0.45, 2.6, 0.1))
    bar = turned(bar, (0.0, 0.1, 0.3), (0.0, 0.0, 0.7))
    parts = [(points, faces, one_color(points, GREEN)), (bar, sides, one_color(bar, SAND))]
    return _scene("ball behind a bar", *parts, hides=True)


def shells() -> Scene:
    """A ball in a larger one, seen through a hole in that."""
    inner, faces = arrays(shapes.icosphere(3, 0.42))
    inner = turned(inner, (0.2, 0.1, 0.0), (0.12, 0.08, 0.0))
    outer, around = arrays(shapes.icosphere(3, 0.8))
    outer = turned(outer, (0.1, 0.3, 0.2))
    away = outer @ np.array([0.25, 0.15, 0.956]) < 0.62
    around = around[away[around].any(1)]
    parts = [(outer, around, rainbow(outer, 1.2)), (inner, faces, rainbow(inner, 1.5, 2.0))]
    return _scene("ball seen through a hole in a shell", *parts)


def fold() -> Scene:
    """A wavy sheet seen from the side: it hides parts of itself."""
    points, faces = rectangle(1.4, 1.8, 24)
    x, y, _ = points.T
    points = np.stack([x, y, 0.2 * np.sin(8.0 * y + 0.8 * x)], -1)
    points = turned(points, (-0.85, 0.25, 0.2))
    return _scene("sheet that folds over itself", (points, faces, rainbow(points, 1.3)))


def fine_ball() -> Scene:
    """A ball whose faces are smaller than pixels, before a wall."""
    points, faces = arrays(shapes.icosphere(5, 0.65))
    points = turned(points, (0.2, 0.3, 0.1), (0.1, 0.05, 0.0))
    return _scene("ball of 8 faces to a pixel", (points, faces, rainbow(points)), _wall())


def textured() -> Scene:
    """A picture before another."""
    points, faces = rectangle(1.0, 0.8)
    points = turned(points, (0.3, 0.5, 0.25), (0.05, 0.0, 0.3))
    wall, sides = rectangle(3.0, 3.0)
    wall = turned(wall, (0.1, 0.15, 0.05), (0.0, 0.0, -0.6))
    uv = jnp.asarray([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    parts = []
    for k, (place, corners) in enumerate(((points, faces), (wall, sides))):
        texels = np.random.default_rng(k).uniform(size=(5, 5, 3)) * 0.8 + 0.1
        picture = jr.UVTexture(jnp.asarray(texels), uv, jnp.asarray(corners), wrap="clamp")
        parts.append((place, corners, picture))
    return _scene("picture before a picture", *parts)


def _wall() -> Part:
    """A wall in smooth colours behind all else."""
    points, faces = rectangle(4.0, 4.0, 4)
    points = turned(points, (0.1, 0.15, 0.05), (0.0, 0.0, -0.8))
    return points, faces, rainbow(points, 0.6, 2.5)


SCENES: tuple[Callable[[], Scene], ...] = (
    *(torus, cube, blades, room, behind_a_bar),
    *(sharp_box, hand, fine_ball, rod, textured, shells, fold),
)
