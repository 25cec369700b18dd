"""The formats that trimesh reads and writes for us: STL and GLB, and PLY for writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._formats.raw import RawMesh, eight_bit, optional, unit_colors


def read_trimesh(path: Path) -> RawMesh:
    """Reads an STL or GLB file; the parts of a scene become one mesh, where the scene has them."""
    trimesh = _trimesh()
    scene = trimesh.load_scene(path, process=False)
    parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]
    raws = [_part(part) for part in parts if len(part.faces)]
    raw = _join(raws) if raws else RawMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    return (_weld(raw) if path.suffix.lower() == ".stl" else raw).check()


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


def _part(part: Any) -> RawMesh:
    """One geometry of a scene."""
    raw = RawMesh(np.asarray(part.vertices), np.asarray(part.faces, np.int64))
    count = len(raw.faces)
    if part.visual.kind == "vertex":
        raw.vertex_colors = unit_colors(np.asarray(part.visual.vertex_colors)[:, :3])
    elif part.visual.kind == "texture":
        image, factor = _material(part.visual.material)
        raw.face_colors = np.tile(factor, (count, 1))
        if image is not None and part.visual.uv is not None:
            raw.uv, raw.uv_faces = np.asarray(part.visual.uv)[:, :2], raw.faces
            raw.images, raw.face_image = [image * factor], np.zeros(count, np.int64)
    return raw


def _material(material: Any) -> tuple[np.ndarray | None, np.ndarray]:
    """The image of a glTF material, if it has one, and the colour that multiplies it."""
    image = getattr(material, "baseColorTexture", None)
    factor = getattr(material, "baseColorFactor", None)
    color = np.ones(3) if factor is None else unit_colors(np.asarray(factor))[:3]
    return None if image is None else np.asarray(image.convert("RGB")) / 255, color


def _join(raws: list[RawMesh]) -> RawMesh:
    """Puts all parts into one mesh; a part without colours is white."""
    vertex_start = np.cumsum([0, *(len(raw.vertices) for raw in raws)])
    uv_start = np.cumsum([0, *(0 if raw.uv is None else len(raw.uv) for raw in raws)])
    joined = RawMesh(
        vertices=np.concatenate([raw.vertices for raw in raws]),
        faces=np.concatenate([raw.faces + k for raw, k in zip(raws, vertex_start, strict=False)]),
        images=[image for raw in raws for image in raw.images],
    )
    if any(raw.vertex_colors is not None for raw in raws):
        joined.vertex_colors = np.concatenate(
            [_or(raw.vertex_colors, np.ones((len(raw.vertices), 3))) for raw in raws]
        )
    if any(raw.face_colors is not None for raw in raws):
        joined.face_colors = np.concatenate(
            [_or(raw.face_colors, np.ones((len(raw.faces), 3))) for raw in raws]
        )
    if joined.images:
        image_start = np.cumsum([0, *(len(raw.images) for raw in raws)])
        none = [np.full((len(raw.faces), 3), -1) for raw in raws]
        joined.uv = np.concatenate([raw.uv for raw in raws if raw.uv is not None])
        joined.uv_faces = np.concatenate(
            [
                none[k] if raw.uv_faces is None else raw.uv_faces + uv_start[k]
                for k, raw in enumerate(raws)
            ]
        )
        joined.face_image = np.concatenate(
            [
                none[k][:, 0] if raw.face_image is None else raw.face_image + image_start[k]
                for k, raw in enumerate(raws)
            ]
        )
    return joined


def _or(values: np.ndarray | None, default: np.ndarray) -> np.ndarray:
    return default if values is None else values


def _weld(raw: RawMesh) -> RawMesh:
    """Makes one vertex of those at exactly the same place, in the order of their first use."""
    corners = raw.vertices[raw.faces.reshape(-1)] + 0.0  # -0 becomes 0
    _, first, ids = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return RawMesh(corners[first[order]], rank[ids.reshape(-1)].reshape(-1, 3))
