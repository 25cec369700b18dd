"""glTF 2.0, written as .glb, or as .gltf with its buffer inside.

A vertex of glTF has one texture coordinate of each set and one normal, so a vertex of the mesh
becomes one for each group of these that its corners have. Faces of one material stand together.

Shapes: `F` faces, `U` texture coordinates, `W` vertices as written.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._formats.colors import recoded
from jaxrender._formats.gltf_file import File
from jaxrender._formats.gltf_material_writer import BASE, NUMBERS, Encode, write_materials
from jaxrender._formats.raw import RawMesh
from jaxrender._formats.saving import write_files

ATTRIBUTE, INDEX = 34962, 34963  # what a view of the buffer is for
MOST_COLORS = 256  # of faces, beyond which they become a picture

Coordinates = tuple[np.ndarray, np.ndarray]  # a set: `[U, 2]`, and the faces `[F, 3]` into it


def write_gltf(path: Path, raw: RawMesh, encode: Encode) -> None:
    """Writes geometry, normals, texture coordinates, pictures, colours and materials.

    Pictures of colours are written display-encoded, all other numbers linear.
    """
    layers = {
        name: _with_palette(path, name, layer) for name, layer in {BASE: raw, **raw.layers}.items()
    }
    file = File()
    sets, numbers = _coordinates(layers)
    faces, columns = _split(raw, sets)
    attributes = _attributes(file, layers[BASE], sets, columns)

    # Write the faces of one material after those of another, all with the same vertices.
    materials, group = write_materials(file, layers, numbers, encode)
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
    write_files({path: file.glb() if path.suffix.lower() == ".glb" else file.text()})


def _with_palette(path: Path, name: str, raw: RawMesh) -> RawMesh:
    """Makes a picture of colours of faces where there are many, or where only pictures are read."""
    if raw.face_colors is None or raw.images:
        return raw
    colors, which = np.unique(raw.face_colors, axis=0, return_inverse=True)
    if name in NUMBERS:
        if (colors == NUMBERS[name]).all():
            return dataclasses.replace(raw, face_colors=None)
    elif len(colors) <= MOST_COLORS:
        return raw
    else:
        what = f"{len(colors):,} colours of faces become the texels of a picture"
        warnings.warn(f"{path}: its {what}, in 8 bits", stacklevel=5)
    side = int(np.ceil(np.sqrt(len(colors))))
    picture = np.zeros((side * side, colors.shape[1]))
    picture[: len(colors)] = colors
    row, column = np.divmod(np.arange(len(colors)), side)
    return dataclasses.replace(
        raw,
        face_colors=None,
        images=[picture.reshape(side, side, -1)],
        face_image=np.zeros(len(raw.faces), int),
        uv=np.stack([column + 0.5, side - row - 0.5], axis=-1) / side,
        uv_faces=np.repeat(which.reshape(-1, 1), 3, axis=1),
        wrap="clamp",
        filter="nearest",
    )


def _coordinates(layers: dict[str, RawMesh]) -> tuple[list[Coordinates], dict[str, int]]:
    """The sets of texture coordinates of all layers, each once, and the number of each layer's."""
    sets: list[Coordinates] = []
    numbers = {}
    for name, layer in layers.items():
        if layer.uv is None or layer.uv_faces is None:
            continue
        for number, (uv, faces) in enumerate(sets):
            if np.array_equal(layer.uv_faces, faces) and np.array_equal(layer.uv, uv):
                numbers[name] = number
                break
        else:
            numbers[name] = len(sets)
            sets.append((layer.uv, layer.uv_faces))
    return sets, numbers


def _split(raw: RawMesh, sets: list[Coordinates]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The faces `[F, 3]` as written, and for each vertex `[W]` its place, coordinates and normal.

    Coordinates have a column for each set; without normals the last counts for nothing.
    """
    normals = 0 if raw.normals is None else len(raw.normals)
    indices = [raw.faces, *(faces for _, faces in sets), raw.normal_faces]
    counts = [len(raw.vertices), *(len(uv) for uv, _ in sets), normals]
    given = [raw.faces if index is None else index for index in indices]
    alike = [
        count in (0, counts[0]) and (index is raw.faces or np.array_equal(index, raw.faces))
        for index, count in zip(given, counts, strict=True)
    ]
    if all(alike):
        return raw.faces, [np.arange(counts[0])] * len(given)

    # Number the corners by all of these, in the order of the vertices; keep vertices of no face.
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


def _attributes(
    file: File, raw: RawMesh, sets: list[Coordinates], columns: list[np.ndarray]
) -> dict[str, int]:
    """Writes what vertices have; returns the numbers of the accessors."""
    place, *coordinates, normal = columns
    positions = raw.vertices[place].astype(np.float32)
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    attributes = {"POSITION": file.accessor(positions, ATTRIBUTE, **bounds)}
    if raw.normals is not None:
        length = np.linalg.norm(raw.normals, axis=1, keepdims=True)
        normals = raw.normals / np.where(length > 0, length, 1)
        attributes["NORMAL"] = file.accessor(normals[normal].astype(np.float32), ATTRIBUTE)
    for number, (uv, _) in enumerate(sets):
        down = np.stack([uv[:, 0], 1 - uv[:, 1].astype(np.float64)], axis=-1)
        values = down[coordinates[number]].astype(np.float32)
        attributes[f"TEXCOORD_{number}"] = file.accessor(values, ATTRIBUTE)

    # Colours are floats: 8 bits of linear light would be too few. A tint goes with coordinates,
    # which are the first set then.
    colors = raw.vertex_colors if raw.tint is None else raw.tint
    if colors is not None:
        linear = recoded(np.clip(colors, 0, 1), raw.encoding, "linear").astype(np.float32)
        own = place if raw.tint is None else coordinates[0]
        attributes["COLOR_0"] = file.accessor(linear[own], ATTRIBUTE)
    return attributes
