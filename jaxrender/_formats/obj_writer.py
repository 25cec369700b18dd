"""Wavefront OBJ and MTL, written."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxrender._color import recode
from jaxrender._formats.raw import RawMesh, digits
from jaxrender._formats.saving import write_files


def write_obj(path: Path, raw: RawMesh, encode: Callable[[Path, np.ndarray], bytes]) -> None:
    """Writes an OBJ file, and beside it the MTL file and PNG images that it needs.

    Vertex colours and images are written display-encoded, `Kd` linear.
    """
    lines = []
    files, materials, names = _materials(path, raw, encode)
    if materials:
        library = path.with_suffix(".mtl")
        files[library] = ("\n".join(materials) + "\n").encode()
        lines.append(f"mtllib {library.name}")

    # Write the vertices, with their colours where they have some, texture coordinates, normals.
    number = digits(raw.vertices)
    rows = raw.vertices
    if raw.vertex_colors is not None:
        colors = recode(raw.vertex_colors, raw.encoding, "display")
        rows = np.concatenate([rows, colors], axis=1)
    lines += [" ".join(["v", *(number % value for value in row)]) for row in rows.tolist()]
    if raw.uv is not None:
        lines += [f"vt {number % u} {number % v}" for u, v in raw.uv.tolist()]
    if raw.normals is not None:
        lines += [" ".join(["vn", *(number % x for x in row)]) for row in raw.normals.tolist()]

    # Write the faces in their order, and the material where it changes.
    current = None
    parts, sign = [raw.faces], "/"
    if raw.uv_faces is not None:
        parts.append(raw.uv_faces)
    if raw.normals is not None:
        sign = "/" if len(parts) == 2 else "//"
        parts.append(raw.faces if raw.normal_faces is None else raw.normal_faces)
    for face, triangle in enumerate((np.stack(parts, axis=-1) + 1).tolist()):
        if names and names[face] != current:
            current = names[face]
            lines.append(f"usemtl {current}")
        lines.append(" ".join(["f", *(sign.join(map(str, corner)) for corner in triangle)]))
    write_files(files | {path: ("\n".join(lines) + "\n").encode()})


def _materials(
    path: Path, raw: RawMesh, encode: Callable[[Path, np.ndarray], bytes]
) -> tuple[dict[Path, bytes], list[str], list[str]]:
    """The pictures, the lines of the MTL file, and the name of each face's material."""
    files: dict[Path, bytes] = {}
    lines: list[str] = []
    names = [""] * len(raw.faces)
    if raw.images and (raw.wrap not in ("repeat", "clamp") or raw.filter != "linear"):
        told = f"wrap {raw.wrap!r} and filter {raw.filter!r}"
        warnings.warn(f"{path}: MTL cannot say {told}; all will repeat, linearly", stacklevel=3)
    if raw.images and raw.samplers is not None:
        message = f"{path}: MTL cannot say the samplers of faces; all will repeat, linearly"
        warnings.warn(message, stacklevel=3)
    for index, image in enumerate(raw.images):
        file = path.with_name(f"{path.stem}_{index}.png")
        files[file] = encode(file, recode(image, raw.encoding, "display"))
        clamps = raw.wrap == "clamp" and raw.samplers is None
        clamp = "-clamp on " if clamps else ""
        lines += [f"newmtl image_{index}", "Kd 1 1 1", f"map_Kd {clamp}{file.name}"]
    if raw.face_image is not None:
        names = ["" if index < 0 else f"image_{index}" for index in raw.face_image]
    if raw.face_colors is not None:
        colors, ids = np.unique(raw.face_colors, axis=0, return_inverse=True)
        colors = recode(colors, raw.encoding, "linear")
        number = digits(colors)
        plain = [not name for name in names]
        for index in np.unique(ids.reshape(-1)[plain]):
            words = " ".join(number % value for value in colors[index].tolist())
            lines += [f"newmtl color_{index}", f"Kd {words}"]
        names = [name or f"color_{index}" for name, index in zip(names, ids.flat, strict=True)]
    return files, lines, names if lines else []
