"""The formats that trimesh writes for us: STL, PLY and GLB."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._color import recode
from jaxrender._formats.raw import RawMesh, eight_bit, optional

COLORS = "_jaxrender_color"  # COLOR_0 by a name under which trimesh keeps its numbers


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
    if path.suffix.lower() == ".ply" and normals is not None:
        mesh.export(path, vertex_normal=True)
    else:
        mesh.export(path)


def write_glb(path: Path, raw: RawMesh) -> None:
    """Writes GLB, with the colours of vertices as linear floats: 8 bits would be too few."""
    mesh = _trimesh().Trimesh(raw.vertices, raw.faces, process=False)
    if raw.vertex_colors is not None:
        colors = recode(np.clip(raw.vertex_colors, 0, 1), raw.encoding, "linear")
        mesh.vertex_attributes[COLORS] = colors.astype(np.float32)
    header, binary = _open_glb(mesh.export(file_type="glb"))
    for primitive in header["meshes"][0]["primitives"]:
        if COLORS in primitive["attributes"]:
            primitive["attributes"]["COLOR_0"] = primitive["attributes"].pop(COLORS)
    path.write_bytes(_pack_glb(header, binary))


def _open_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON of a GLB file, and what follows it."""
    if data[:4] != b"glTF" or data[16:20] != b"JSON":
        raise ValueError("it does not start as a GLB file")
    end = 20 + int.from_bytes(data[12:16], "little")
    return json.loads(data[20:end]), data[end:]


def _pack_glb(header: dict[str, Any], rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    length = 20 + len(text) + len(rest)
    return struct.pack("<4sIII4s", b"glTF", 2, length, len(text), b"JSON") + text + rest


def _trimesh() -> Any:
    return optional("trimesh", package="trimesh", purpose="Writing mesh files")
