"""The scenes: perturbed icospheres in screen space, as NumPy arrays, from 320 to 1.3 million faces.

A bumpy sphere has what makes rasterising hard (hidden layers, edge-on faces, faces of many
sizes) and comes in any number of faces. All are seen with a half angle of 30 degrees.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

DISTANCE, AZIMUTH, ELEVATION, HALF_ANGLE = 2.732, 30.0, 20.0, 30.0
NEAR, FAR = 0.1, 100.0


@dataclasses.dataclass(frozen=True)
class Scene:
    """A mesh on screen and the picture to draw of it.

    Attributes:
        name: what the table calls it.
        vertices: `[N, V, 3]` float32 screen space, one for each of `N` views.
        faces: `[F, 3]` int32, shared by all views.
        size: height and width of the picture, pixels.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    size: int

    @property
    def views(self) -> int:
        """How many views are drawn at once."""
        return len(self.vertices)


def sphere(subdivisions: int, size: int, views: int = 1) -> Scene:
    """The bumpy sphere of `20 · 4^subdivisions` faces; further views walk around it."""
    vertices, faces = bumpy_sphere(subdivisions)
    azimuths = AZIMUTH + np.arange(views) * (360.0 / views)
    screens = np.stack([_project(vertices, azimuth) for azimuth in azimuths])
    return Scene(f"{len(faces):,} faces, {size}², {_count(views)}", screens, faces, size)


def crowded(size: int = 256) -> Scene:
    """The bad one: 20,480 faces inside a square of 16 x 16 pixels."""
    scene = sphere(5, size)
    low, high = scene.vertices[..., :2].min((0, 1)), scene.vertices[..., :2].max((0, 1))
    vertices = scene.vertices.copy()
    vertices[..., :2] = ((vertices[..., :2] - low) / (high - low) - 0.5) * np.float32(32 / size)
    return Scene(f"{len(scene.faces):,} faces in 16², {size}²", vertices, scene.faces, size)


@functools.cache
def bumpy_sphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """Its vertices and faces, of size 0.9 or so about the origin."""
    from jaxrender import shapes  # late: processes that only draw know nothing of jax

    mesh = shapes.icosphere(subdivisions)
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    x, y, z = vertices.T
    radius = 0.9 * (1 + 0.15 * np.sin(5 * x) * np.cos(4 * y) + 0.1 * np.sin(7 * z))
    return vertices * radius[:, None], faces


def _project(vertices: np.ndarray, azimuth: float) -> np.ndarray:
    # Stand the camera on its sphere, looking at the origin.
    a, e = np.radians(azimuth), np.radians(ELEVATION)
    eye = DISTANCE * np.array([np.cos(e) * np.sin(a), np.sin(e), -np.cos(e) * np.cos(a)])
    forward = -eye / DISTANCE
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    x, y, z = ((vertices - eye) @ np.stack([right, np.cross(forward, right), forward]).T).T

    # Divide by depth; the half angle reaches the picture's edge.
    scale = 1 / (z * np.tan(np.radians(HALF_ANGLE)))
    return np.stack([x * scale, y * scale, z], axis=-1).astype(np.float32)


def _count(views: int) -> str:
    return "1 view" if views == 1 else f"{views} views"
