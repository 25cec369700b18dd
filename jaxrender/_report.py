"""What `jaxrender info` says of a mesh: sizes, texture, whether its surface is closed.

Shape legend: `V` vertices, `F` faces.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxrender._surface import edges
from jaxrender._types import Mesh


def report(mesh: Mesh) -> dict[str, str]:
    """The facts by name, in the order to print them."""
    corners = np.asarray(mesh.vertices, np.float64)[np.asarray(mesh.faces)]
    low, high = corners.min((0, 1)), corners.max((0, 1))

    # Measure the faces; a sum of signed tetrahedra is the volume.
    spans = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(spans, axis=-1) / 2
    degenerate = int((areas <= 1e-12 * np.square(high - low).sum()).sum())
    middle = corners - (low + high) / 2
    volume = np.einsum("fi,fi->", middle[:, 0], np.cross(middle[:, 1], middle[:, 2])) / 6

    # Say what keeps the surface from being closed.
    defects = {kind: count for kind, count in _defects(mesh).items() if count}
    counts = ", ".join(f"{count:,} {kind}" for kind, count in defects.items())
    return {
        "vertices": f"{len(mesh.vertices):,}",
        "faces": f"{len(mesh.faces):,}",
        "degenerate": f"{degenerate:,} faces without area",
        "bounding box": f"{_point(low)} to {_point(high)}",
        "texture": _texture(mesh),
        "surface": f"not closed: {counts}" if defects else "closed",
        "area": f"{areas.sum():.6g}",
        "volume": "none, it is not closed" if defects else f"{volume:.6g}",
    }


def _defects(mesh: Mesh) -> dict[str, int]:
    """How many edges do not have exactly two faces that agree on which side is out."""
    edge, degree, low, high = edges(np.asarray(mesh.vertices), np.asarray(mesh.faces))

    # Count how often each edge is walked upwards; once, if its two faces agree.
    ups = np.bincount(edge, weights=high == low // 3 * 3 + (low + 1) % 3, minlength=len(degree))
    return {
        "boundary edges": int((degree == 1).sum()),
        "edges of more than two faces": int((degree > 2).sum()),
        "edges whose faces are turned against each other": int(((degree == 2) & (ups != 1)).sum()),
    }


def _texture(mesh: Mesh) -> str:
    """Its kind, the shapes of its arrays, and how its colours are encoded."""
    if mesh.texture is None:
        return "none"
    arrays = ", ".join(
        f"{field.name} {list(value.shape)}"
        for field in dataclasses.fields(mesh.texture)
        if hasattr(value := getattr(mesh.texture, field.name), "shape")
    )
    return f"{type(mesh.texture).__name__} ({arrays}), {mesh.texture.encoding} colours"


def _point(point: np.ndarray) -> str:
    return f"({', '.join(f'{value:.6g}' for value in point)})"
