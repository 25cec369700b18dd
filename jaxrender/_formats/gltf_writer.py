"""glTF 2.0, written as .glb, or as .gltf with its buffer inside.

A vertex of glTF has one texture coordinate and one normal, so a vertex of the mesh becomes one for
each pair of these that its corners have. Faces of one material stand together.

Shapes: `F` faces, `W` vertices as written.
"""

from __future__ import annotations

import base64
import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._color import recode
from jaxrender._formats.gltf_materials import CLAMP, MIRROR, NEAREST, REPEAT, UNLIT
from jaxrender._formats.raw import RawMesh, Surface

FLOAT, SHORT, LONG = 5126, 5123, 5125  # types of components
ATTRIBUTE, INDEX = 34962, 34963  # what a view of the buffer is for
LINEAR = 9729
WRAPS = {"repeat": REPEAT, "clamp": CLAMP, "mirror": MIRROR}
FILTERS = {"linear": LINEAR, "nearest": NEAREST}
ALL_WRAPS, ALL_FILTERS = (REPEAT, CLAMP, MIRROR), (LINEAR, NEAREST)  # by `UVTexture.samplers`
MOST_COLORS = 256  # of faces, beyond which they become a picture

Encode = Callable[[np.ndarray], bytes]  # display values `[H, W, 3 or 4]` as PNG


def write_gltf(path: Path, raw: RawMesh, encode: Encode) -> None:
    """Writes geometry, normals, texture coordinates, pictures and colours.

    Pictures are written display-encoded, the colours of vertices and faces linear.
    """
    raw = _with_palette(path, raw)
    file = _File()
    faces, columns = _split(raw)
    attributes = _attributes(file, raw, columns)

    # Write the faces of one material after those of another, all with the same vertices.
    materials, group = _materials(file, raw, encode)
    order = np.argsort(group, kind="stable")
    if (order != np.arange(len(order))).any():
        warnings.warn(
            f"{path}: its faces are sorted by material, as glTF wants them; vertices are not",
            stacklevel=4,
        )
    wide = int(faces.max()) >= 0xFFFF
    primitives = []
    for index in np.unique(group):
        corners = faces[group == index].reshape(-1).astype(np.uint32 if wide else np.uint16)
        primitive: dict[str, Any] = {"attributes": attributes}
        primitive["indices"] = file.accessor(corners, INDEX)
        if materials:
            primitive["material"] = int(index)
        primitives.append(primitive)
    file.item("meshes", primitives=primitives)
    file.item("nodes", mesh=0)
    file.item("scenes", nodes=[0])
    path.write_bytes(file.glb() if path.suffix.lower() == ".glb" else file.text())


def _with_palette(path: Path, raw: RawMesh) -> RawMesh:
    """Makes a picture of colours of faces where there are many."""
    if raw.face_colors is None or raw.images:
        return raw
    colors, which = np.unique(raw.face_colors, axis=0, return_inverse=True)
    if len(colors) <= MOST_COLORS:
        return raw
    warnings.warn(
        f"{path}: its {len(colors):,} colours of faces become the texels of a picture, in 8 bits",
        stacklevel=5,
    )
    side = int(np.ceil(np.sqrt(len(colors))))
    picture = np.zeros((side * side, colors.shape[1]))
    picture[: len(colors)] = colors
    row, column = np.divmod(np.arange(len(colors)), side)
    return RawMesh(
        raw.vertices,
        raw.faces,
        images=[picture.reshape(side, side, -1)],
        face_image=np.zeros(len(raw.faces), int),
        uv=np.stack([column + 0.5, side - row - 0.5], axis=-1) / side,
        uv_faces=np.repeat(which.reshape(-1, 1), 3, axis=1),
        wrap="clamp",
        filter="nearest",
        normals=raw.normals,
        normal_faces=raw.normal_faces,
        surfaces=raw.surfaces,
        face_material=raw.face_material,
        encoding=raw.encoding,
    )


def _split(raw: RawMesh) -> tuple[np.ndarray, list[np.ndarray]]:
    """The faces `[F, 3]` as written, and for each vertex `[W]` its place, coordinate and normal."""
    indices = [raw.faces, raw.uv_faces, raw.normal_faces]
    counts = [len(raw.vertices), *(0 if x is None else len(x) for x in (raw.uv, raw.normals))]
    given = [raw.faces if index is None else index for index in indices]
    alike = [
        count in (0, counts[0]) and (index is raw.faces or np.array_equal(index, raw.faces))
        for index, count in zip(given, counts, strict=True)
    ]
    if all(alike):
        return raw.faces, [np.arange(counts[0])] * 3

    # Number the corners by all three, in the order of the vertices; keep vertices of no face.
    unused = np.setdiff1d(np.arange(counts[0]), raw.faces)
    columns = [np.concatenate([index.reshape(-1), np.zeros_like(unused)]) for index in given]
    columns[0][raw.faces.size :] = unused
    columns = [column.astype(np.int64) for column in columns]
    key = columns[0]
    for column in columns[1:]:
        key = np.unique(key, return_inverse=True)[1] * (column.max() + 1) + column
    _, first, ids = np.unique(key, return_index=True, return_inverse=True)
    faces = ids[: raw.faces.size].reshape(-1, 3)
    return faces, [column[first] for column in columns]


def _attributes(file: _File, raw: RawMesh, columns: list[np.ndarray]) -> dict[str, int]:
    """Writes what vertices have; returns the numbers of the accessors."""
    place, coordinate, normal = columns
    positions = raw.vertices[place].astype(np.float32)
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    attributes = {"POSITION": file.accessor(positions, ATTRIBUTE, **bounds)}
    if raw.normals is not None:
        length = np.linalg.norm(raw.normals, axis=1, keepdims=True)
        normals = raw.normals / np.where(length > 0, length, 1)
        attributes["NORMAL"] = file.accessor(normals[normal].astype(np.float32), ATTRIBUTE)
    if raw.uv is not None:
        uv = np.stack([raw.uv[:, 0], 1 - raw.uv[:, 1].astype(np.float64)], axis=-1)
        attributes["TEXCOORD_0"] = file.accessor(uv[coordinate].astype(np.float32), ATTRIBUTE)

    # Colours are floats: 8 bits of linear light would be too few.
    colors = raw.vertex_colors if raw.tint is None else raw.tint
    if colors is not None:
        linear = _recoded(np.clip(colors, 0, 1), raw.encoding, "linear").astype(np.float32)
        own = place if raw.tint is None else coordinate
        attributes["COLOR_0"] = file.accessor(linear[own], ATTRIBUTE)
    return attributes


def _materials(file: _File, raw: RawMesh, encode: Encode) -> tuple[int, np.ndarray]:
    """Writes the materials; returns how many there are, and that of each face `[F]`.

    A mesh without any colour has none.
    """
    count = len(raw.faces)
    image = np.full(count, -1) if raw.face_image is None else raw.face_image
    if raw.vertex_colors is None and raw.face_colors is None and not (raw.images or raw.surfaces):
        return 0, np.zeros(count, int)

    # Tell materials apart by surface, picture and sampler, or by plain colour.
    surfaces = raw.surfaces or [Surface()]
    surface = np.zeros(count, int) if raw.face_material is None else raw.face_material
    sampler = np.tile(_sampler(raw), (count, 1)) if raw.samplers is None else raw.samplers
    plain = np.ones((count, 3)) if raw.face_colors is None else raw.face_colors
    pictured = image[:, None] >= 0
    columns = surface[:, None], image[:, None], np.where(pictured, sampler, 0)
    kinds = np.concatenate([*columns, np.where(pictured, 1, plain)], axis=1)
    unique, first, group = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    by_first = np.argsort(first)  # in the order in which faces have them
    rank = np.empty_like(by_first)
    rank[by_first] = np.arange(len(by_first))

    images = [
        file.item("images", bufferView=file.view(encode(picture)), mimeType="image/png")
        for picture in (_recoded(picture, raw.encoding, "display") for picture in raw.images)
    ]
    textures: dict[tuple, int] = {}
    for kind in unique[by_first]:
        number, picture, *how = kind[:5].astype(int).tolist()
        texture = None
        if picture >= 0:
            key = (picture, *how)
            if key not in textures:
                textures[key] = _texture(file, images[picture], key[1:])
            texture = textures[key]
        color = _recoded(np.clip(kind[5:], 0, 1), raw.encoding, "linear")
        file.item("materials", **_material(file, surfaces[number], color, texture))
    return len(unique), rank[group.reshape(-1)]


def _material(
    file: _File, surface: Surface, color: np.ndarray, texture: int | None
) -> dict[str, Any]:
    """A material, with its linear colour `[3 or 4]` and its texture."""
    factor = np.append(color[:3] * surface.color, surface.alpha * color[3:].prod())
    metal: dict[str, Any] = {
        "metallicFactor": surface.metallic,
        "roughnessFactor": surface.roughness,
    }
    if (factor != 1).any():
        metal["baseColorFactor"] = np.clip(factor, 0, 1).tolist()
    if texture is not None:
        metal["baseColorTexture"] = {"index": texture}
    material: dict[str, Any] = {"pbrMetallicRoughness": metal, "doubleSided": True}
    if surface.cutoff is not None:
        material |= {"alphaMode": "MASK", "alphaCutoff": surface.cutoff}
    elif surface.blend:
        material["alphaMode"] = "BLEND"
    if surface.unlit:
        material["extensions"] = {UNLIT: {}}
        file.json["extensionsUsed"] = [UNLIT]
    return material


def _recoded(colors: np.ndarray, held: str, wanted: str) -> np.ndarray:
    """Colours in another encoding; alpha, the fourth, stays as it is."""
    if held == wanted or colors.shape[-1] == 3:
        return recode(colors, held, wanted)
    return np.concatenate([recode(colors[..., :3], held, wanted), colors[..., 3:]], axis=-1)


def _sampler(raw: RawMesh) -> list[int]:
    """How all pictures are read, in the numbers of `UVTexture.samplers`."""
    wraps = (raw.wrap, raw.wrap) if isinstance(raw.wrap, str) else raw.wrap
    numbers = [ALL_WRAPS.index(WRAPS[wrap]) for wrap in wraps]
    return [*numbers, ALL_FILTERS.index(FILTERS[raw.filter])]


def _texture(file: _File, image: int, sampler: tuple[int, ...]) -> int:
    """Writes a texture; returns its number."""
    described = {
        "wrapS": ALL_WRAPS[sampler[0]],
        "wrapT": ALL_WRAPS[sampler[1]],
        "magFilter": ALL_FILTERS[sampler[2]],
        "minFilter": ALL_FILTERS[sampler[2]],
    }
    return file.item("textures", source=image, sampler=file.item("samplers", **described))


class _File:
    """A glTF file as it grows: JSON, and the bytes that it names."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "jaxrender"},
            "scene": 0,
        }

    def item(self, kind: str, **described: Any) -> int:
        """Appends a top-level object; returns its number."""
        self.json.setdefault(kind, []).append(described)
        return len(self.json[kind]) - 1

    def view(self, data: bytes, **described: Any) -> int:
        """Appends bytes, from a multiple of four on."""
        self.data += b"\0" * (-len(self.data) % 4)
        place = len(self.data)
        self.data += data
        described |= {"buffer": 0, "byteOffset": place, "byteLength": len(data)}
        return self.item("bufferViews", **described)

    def accessor(self, values: np.ndarray, target: int, **described: Any) -> int:
        """Appends an array `[N]` or `[N, K]`."""
        kinds = {"f": FLOAT, "H": SHORT, "I": LONG}
        types = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
        data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        return self.item(
            "accessors",
            bufferView=self.view(data, target=target),
            componentType=kinds[values.dtype.char],
            count=len(values),
            type=types[values.shape[1] if values.ndim == 2 else 1],
            **described,
        )

    def glb(self) -> bytes:
        """The file as one binary."""
        self.json["buffers"] = [{"byteLength": len(self.data)}]
        text = json.dumps(self.json, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        data = bytes(self.data) + b"\0" * (-len(self.data) % 4)
        length = 12 + 8 + len(text) + 8 + len(data)
        head = struct.pack("<4sII", b"glTF", 2, length)
        chunk = struct.pack("<I4s", len(text), b"JSON") + text
        return head + chunk + struct.pack("<I4s", len(data), b"BIN\0") + data

    def text(self) -> bytes:
        """The file as JSON, with its bytes inside."""
        uri = "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
        self.json["buffers"] = [{"byteLength": len(self.data), "uri": uri}]
        return json.dumps(self.json).encode()
