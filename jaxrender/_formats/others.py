"""The formats that trimesh reads and writes for us: STL and GLB, and PLY for writing."""

from __future__ import annotations

import io
import json
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._color import recode
from jaxrender._formats.raw import RawMesh, eight_bit, optional, unit_colors

COLORS = "_jaxrender_color"  # COLOR_0 by a name under which trimesh keeps its numbers


def read_stl(path: Path, encoding: str = "display") -> RawMesh:
    """Reads an STL file, which has no colours; corners at one place become one vertex."""
    trimesh = _trimesh()
    raw = _scene(trimesh.load_scene(path, process=False), {}, path, encoding)
    return _weld(raw).check()


def read_glb(path: Path, encoding: str = "display") -> RawMesh:
    """Reads a GLB file; the parts of a scene become one mesh, where the scene has them.

    Its images are display-encoded, the factors and vertex colours that multiply them linear; the
    product is taken of linear values.
    """
    trimesh = _trimesh()
    header, binary = _open_glb(path.read_bytes())

    # Hide from trimesh what it would round to 8 bits: factors, by number, and vertex colours.
    for number, material in enumerate(header.get("materials", [])):
        material["name"] = str(number)
    for mesh in header.get("meshes", []):
        for primitive in mesh["primitives"]:
            attributes = primitive["attributes"]
            if "COLOR_0" in attributes:
                attributes[COLORS] = attributes.pop("COLOR_0")
    scene = trimesh.load_scene(
        io.BytesIO(_pack_glb(header, binary)),
        file_type="glb",
        resolver=trimesh.resolvers.FilePathResolver(path),
        process=False,
    )
    return _scene(scene, header, path, encoding).check()


def write_trimesh(path: Path, raw: RawMesh) -> None:
    """Writes PLY or STL, with the colours of vertices or faces in PLY, as display values."""
    colors = {
        name: None if values is None else eight_bit(recode(values, raw.encoding, "display"))
        for name, values in (("vertex_colors", raw.vertex_colors), ("face_colors", raw.face_colors))
    }
    _trimesh().Trimesh(raw.vertices, raw.faces, **colors, process=False).export(path)


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
    return optional("trimesh", package="trimesh", purpose="Reading or writing mesh files")


def _scene(scene: Any, header: dict[str, Any], path: Path, encoding: str) -> RawMesh:
    """All triangles of a scene as one mesh; `header` is the file's own JSON, where it has one."""
    parts = [part for part in scene.dump() if hasattr(part, "faces")]
    raws = [_part(part, header, path, encoding) for part in parts if len(part.faces)]
    return _join(raws) if raws else RawMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))


def _part(part: Any, header: dict[str, Any], path: Path, encoding: str) -> RawMesh:
    """One geometry of a scene."""
    raw = RawMesh(np.asarray(part.vertices), np.asarray(part.faces, np.int64), encoding=encoding)
    count = len(raw.faces)
    colors = part.vertex_attributes.get(COLORS)
    image, factor = None, np.ones(3)
    if part.visual.kind == "texture":
        image, factor = _material(part.visual.material, header)
        raw.face_colors = np.tile(recode(factor, "linear", encoding), (count, 1))
    if image is not None and part.visual.uv is not None:
        raw.uv, raw.uv_faces = np.asarray(part.visual.uv)[:, :2], raw.faces
        image = recode(recode(image, "display", "linear") * factor, "linear", encoding)
        raw.images, raw.face_image = [image], np.zeros(count, np.int64)
        if colors is not None and not (unit_colors(colors[:, :3]) == 1).all():
            warnings.warn(f"{path}: ignores vertex colours beside a texture image", stacklevel=2)
    elif colors is not None:
        product = unit_colors(np.asarray(colors)[:, :3]) * factor
        raw.vertex_colors = recode(product, "linear", encoding)
    return raw


def _material(material: Any, header: dict[str, Any]) -> tuple[np.ndarray | None, np.ndarray]:
    """The image of a glTF material, if it has one, and the linear colour that multiplies it."""
    image = getattr(material, "baseColorTexture", None)
    factor = getattr(material, "baseColorFactor", None)
    color = np.ones(3) if factor is None else unit_colors(np.asarray(factor))[:3]

    # Take the factor as the file has it, before it was rounded to 8 bits.
    materials, name = header.get("materials", []), str(getattr(material, "name", ""))
    if name.isdigit() and int(name) < len(materials):
        exact = materials[int(name)].get("pbrMetallicRoughness", {}).get("baseColorFactor")
        color = color if exact is None else np.array(exact[:3], np.float64)
    return None if image is None else np.asarray(image.convert("RGB")) / 255, color


def _join(raws: list[RawMesh]) -> RawMesh:
    """Puts all parts into one mesh; a part without colours is white."""
    vertex_start = np.cumsum([0, *(len(raw.vertices) for raw in raws)])
    uv_start = np.cumsum([0, *(0 if raw.uv is None else len(raw.uv) for raw in raws)])
    joined = RawMesh(
        vertices=np.concatenate([raw.vertices for raw in raws]),
        faces=np.concatenate([raw.faces + k for raw, k in zip(raws, vertex_start, strict=False)]),
        images=[image for raw in raws for image in raw.images],
        encoding=raws[0].encoding,
    )
    if any(raw.vertex_colors is not None for raw in raws):
        joined.vertex_colors = np.concatenate(
            [_or(raw.vertex_colors, _plain_vertex_colors(raw)) for raw in raws]
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


def _plain_vertex_colors(raw: RawMesh) -> np.ndarray:
    """The one colour of the faces of a part, for its vertices; white without."""
    color = np.ones((1, 3)) if raw.face_colors is None else raw.face_colors[:1]
    return np.repeat(color, len(raw.vertices), axis=0)


def _weld(raw: RawMesh) -> RawMesh:
    """Makes one vertex of those at exactly the same place, in the order of their first use."""
    corners = raw.vertices[raw.faces.reshape(-1)] + 0.0  # -0 becomes 0
    _, first, ids = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    faces = rank[ids.reshape(-1)].reshape(-1, 3)
    return RawMesh(corners[first[order]], faces, encoding=raw.encoding)
