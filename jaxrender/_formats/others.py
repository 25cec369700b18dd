"""The formats that trimesh reads and writes for us: STL, and GLB and PLY for writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._formats.raw import RawMesh, eight_bit, optional


def read_trimesh(path: Path) -> RawMesh:
    """Reads an STL file; corners at one place become one vertex."""
    trimesh = _trimesh()
    scene = trimesh.load_scene(path, process=False)
    parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]
    corners = [np.asarray(part.vertices)[np.asarray(part.faces)] for part in parts]
    return _weld(np.concatenate([np.zeros((0, 3, 3)), *corners]).reshape(-1, 3)).check()


def write_trimesh(path: Path, raw: RawMesh) -> None:
    """Writes PLY, STL or GLB with the colours of vertices or, in PLY, faces."""
    trimesh = _trimesh()
    mesh = trimesh.Trimesh(
        raw.vertices,
        raw.faces,
        vertex_colors=None if raw.vertex_colors is None else eight_bit(raw.vertex_colors),
        face_colors=None if raw.face_colors is None else eight_bit(raw.face_colors),
        process=False,
    )
    mesh.export(path)


def _trimesh() -> Any:
    return optional("trimesh", package="trimesh", purpose="Reading or writing mesh files")


def _weld(corners: np.ndarray) -> RawMesh:
    """Makes one vertex of the corners at one place, in the order of their first use.

    Args:
        corners: `[3 F, 3]` of the faces, one after the other.
    """
    corners = corners + 0.0  # -0 becomes 0
    _, first, ids = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return RawMesh(corners[first[order]], rank[ids.reshape(-1)].reshape(-1, 3))
