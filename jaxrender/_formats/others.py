"""The formats that trimesh writes for us: STL and PLY."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxrender._color import recode
from jaxrender._formats.raw import RawMesh, optional
from jaxrender._formats.saving import write_files
from jaxrender._pixels import eight_bit


def write_trimesh(path: Path, raw: RawMesh) -> None:
    """Writes PLY or STL, with the colours of vertices or faces in PLY, as display values."""
    colors = {
        name: None if values is None else eight_bit(recode(values, raw.encoding, "display"))
        for name, values in (("vertex_colors", raw.vertex_colors), ("face_colors", raw.face_colors))
    }
    normals = raw.normals if raw.normal_faces is None else None
    mesh = _trimesh().Trimesh(
        raw.vertices, raw.faces, vertex_normals=normals, **colors, process=False
    )
    suffix = path.suffix.lower()
    options = {"vertex_normal": True} if suffix == ".ply" and normals is not None else {}
    write_files({path: mesh.export(file_type=suffix[1:], **options)})


def _trimesh() -> Any:
    return optional("trimesh", package="trimesh", purpose="Writing mesh files")
