"""Wavefront OBJ and MTL.

Read here and not through trimesh: its loader splits vertices at texture seams, orders faces by
material, and makes a scene of several geometries where there are several materials. We keep
the file's own vertices and faces.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxrender._color import recode
from jaxrender._formats.mtl import Material, read_libraries
from jaxrender._formats.raw import RawMesh, digits, fans, relative

UNNAMED = ("", "None", "(null)")  # what exporters write where there is no material


@dataclasses.dataclass
class _Lines:
    """The lines of an OBJ file by kind; indices count from 0, -1 is none."""

    vertices: list[list[float]] = dataclasses.field(default_factory=list)
    uv: list[list[float]] = dataclasses.field(default_factory=list)
    faces: list[list[int]] = dataclasses.field(default_factory=list)
    uv_faces: list[list[int]] = dataclasses.field(default_factory=list)
    face_names: list[str] = dataclasses.field(default_factory=list)
    libraries: list[str] = dataclasses.field(default_factory=list)


def read_obj(
    path: Path, read_image: Callable[[Path], np.ndarray] | None, encoding: str = "display"
) -> RawMesh:
    """Reads an OBJ file, and with `read_image` its materials and their images.

    The file's vertex colours and images are display-encoded, its `Kd` is linear.

    Args:
        path: the file.
        read_image: an image as `[H, W, 3]` display values; None reads no materials.
        encoding: of the colours that are returned.
    """
    lines = _scan(path)
    numbers = [vertex for vertex in lines.vertices if len(vertex) >= 6]
    colored = len(numbers) == len(lines.vertices) > 0
    sizes = np.array([len(face) for face in lines.faces], np.int64)
    triangles, owners = fans(_flat(lines.faces), sizes)
    raw = RawMesh(
        vertices=np.array([vertex[:3] for vertex in lines.vertices]).reshape(-1, 3),
        faces=triangles,
        encoding=encoding,
    ).check()
    if colored:
        colors = np.array([vertex[3:6] for vertex in numbers])
        raw.vertex_colors = recode(colors, "display", encoding)
    if lines.uv:
        raw.uv = np.array(lines.uv)
        raw.uv_faces = fans(_flat(lines.uv_faces), sizes)[0]
    if read_image is not None:
        names = [lines.face_names[owner] for owner in owners]
        _paint(path, raw, names, read_libraries(path, lines.libraries), read_image)
    return raw


def _flat(rows: list[list[int]]) -> np.ndarray:
    return np.fromiter(itertools.chain.from_iterable(rows), np.int64)


def _scan(path: Path) -> _Lines:
    """Sorts the lines of the file by kind."""
    lines = _Lines()
    name = ""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    for number, line in enumerate(text.split("\n"), start=1):
        keyword, _, rest = line.strip().replace("\t", " ").partition(" ")
        try:
            if keyword == "v":
                lines.vertices.append([float(word) for word in rest.partition("#")[0].split()])
                if len(lines.vertices[-1]) < 3:
                    raise ValueError("a vertex needs three numbers")
            elif keyword == "vt":
                words = rest.partition("#")[0].split()
                lines.uv.append([float(word) for word in [*words, "0"][:2]])
            elif keyword == "f":
                _scan_face(rest.partition("#")[0].split(), lines)
                lines.face_names.append(name)
            elif keyword == "usemtl":
                name = rest.strip()
            elif keyword == "mtllib":
                lines.libraries.append(rest.strip())
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return lines


def _scan_face(words: list[str], lines: _Lines) -> None:
    """Adds a face line, whose corners are `v`, `v/vt`, `v//vn` or `v/vt/vn`."""
    if len(words) < 3:
        raise ValueError(f"a face needs three corners, got {len(words)}")
    corners = [[*word.split("/"), ""] for word in words]
    lines.faces.append([_index(corner[0], len(lines.vertices)) for corner in corners])

    # A face has texture coordinates in all of its corners, or none.
    if all(corner[1] for corner in corners):
        lines.uv_faces.append([_index(corner[1], len(lines.uv)) for corner in corners])
    else:
        lines.uv_faces.append([-1] * len(words))


def _index(word: str, count: int) -> int:
    """Counts from 0 what the file counts from 1, or, negative, back from the latest."""
    index = int(word)
    if index > 0:
        return index - 1
    if index == 0 or index + count < 0:
        raise ValueError(f"index {index} with {count} lines to count")
    return index + count


def _paint(
    path: Path,
    raw: RawMesh,
    names: list[str],
    materials: dict[str, Material],
    read_image: Callable[[Path], np.ndarray],
) -> None:
    """Gives each face the colour and the image of its material."""
    raw.face_image = np.full(len(names), -1)
    textured = np.zeros(len(names), bool)
    if raw.uv_faces is not None:
        textured = raw.uv_faces.min(axis=1) >= 0
    colors = np.ones((len(names), 3))
    pictures: dict[Path, int] = {}
    clamps = set()
    faces_of: dict[str, list[int]] = {}
    for face, name in enumerate(names):
        faces_of.setdefault(name, []).append(face)

    for name, faces in faces_of.items():
        # Take the plain colour.
        if name not in materials:
            if name not in UNNAMED:
                message = f"{path}: no material {name!r} in its library; its faces are white"
                warnings.warn(message, stacklevel=2)
            continue
        material = materials[name]
        colors[faces] = recode(np.array(material.color), "linear", raw.encoding)
        if not material.image:
            continue

        # Take the image, where it and the texture coordinates are there.
        file = relative(path, material.image)
        problem = ""
        try:
            if file is None:
                raise ValueError(f"texture file {material.image} of material {name!r} is missing")
            if file not in pictures:
                raw.images.append(recode(read_image(file), "display", raw.encoding))
                pictures[file] = len(raw.images) - 1
            raw.face_image[faces] = np.where(textured[faces], pictures[file], -1)
            clamps.add(material.clamp)
            if not textured[faces].all():
                problem = f"faces with material {name!r} have no texture coordinates"
        except ValueError as error:
            problem = str(error)
        if problem:
            plain = f"its plain colour {list(material.color)} (linear)"
            warnings.warn(f"{path}: {problem}; {plain} serves instead", stacklevel=2)

    if any(name in materials for name in faces_of):
        raw.face_colors = colors
    if clamps == {True}:
        raw.wrap = "clamp"
    elif len(clamps) == 2:
        warnings.warn(f"{path}: only some textures clamp; all will repeat", stacklevel=2)


def write_obj(path: Path, raw: RawMesh, write_image: Callable[[Path, np.ndarray], None]) -> None:
    """Writes an OBJ file, and beside it the MTL file and PNG images that it needs.

    Vertex colours and images are written display-encoded, `Kd` linear.
    """
    lines = []
    materials, names = _materials(path, raw, write_image)
    if materials:
        library = path.with_suffix(".mtl")
        library.write_text("\n".join(materials) + "\n", encoding="utf-8")
        lines.append(f"mtllib {library.name}")

    # Write the vertices, with their colours where they have some, and texture coordinates.
    number = digits(raw.vertices)
    rows = raw.vertices
    if raw.vertex_colors is not None:
        colors = recode(raw.vertex_colors, raw.encoding, "display")
        rows = np.concatenate([rows, colors], axis=1)
    lines += [" ".join(["v", *(number % value for value in row)]) for row in rows.tolist()]
    if raw.uv is not None:
        lines += [f"vt {number % u} {number % v}" for u, v in raw.uv.tolist()]

    # Write the faces in their order, and the material where it changes.
    current = None
    corners = (
        raw.faces[..., None]
        if raw.uv_faces is None
        else np.stack([raw.faces, raw.uv_faces], axis=-1)
    )
    for face, triangle in enumerate((corners + 1).tolist()):
        if names and names[face] != current:
            current = names[face]
            lines.append(f"usemtl {current}")
        lines.append(" ".join(["f", *("/".join(map(str, corner)) for corner in triangle)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _materials(
    path: Path, raw: RawMesh, write_image: Callable[[Path, np.ndarray], None]
) -> tuple[list[str], list[str]]:
    """The lines of the MTL file, and the name of each face's material."""
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
        write_image(file, recode(image, raw.encoding, "display"))
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
    return lines, names if lines else []
