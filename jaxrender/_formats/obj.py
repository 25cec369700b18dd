"""Wavefront OBJ, read; its materials are in `mtl.py` and `obj_materials.py`.

Read here and not through trimesh: its loader splits vertices at texture seams, orders faces by
material, and makes a scene of several geometries where there are several materials. We keep
the file's own vertices and faces.

Shapes: `V` vertices, `F` faces, `P` polygons, `C` corners of all polygons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxrender._choices import Encoding
from jaxrender._color import recode
from jaxrender._formats.colors import in_unit, settle
from jaxrender._formats.obj_faces import Corners, read_corners
from jaxrender._formats.obj_materials import hide_vertex_colors, paint
from jaxrender._formats.polygons import Triangles, cut
from jaxrender._formats.raw import RawMesh, first_not_finite
from jaxrender._formats.text import Lines, Notes, Rows, read_bytes, shown

# Lines that change nothing here: smoothing, and hints to programs of the eighties.
SILENT = {"s", "mg", "bevel", "c_interp", "d_interp", "lod", "shadow_obj", "trace_obj"}
LOOSE = {"l": "lines (l)", "p": "points (p)", "fo": "faces written as `fo`"}
CURVED = {
    "bmat", "bsp", "bzp", "cdc", "con", "cstype", "curv", "curv2", "deg", "end", "hole", "parm",
    "res", "scrv", "sp", "step", "stech", "ctech", "surf", "trim", "vp",
}  # fmt: skip


@dataclasses.dataclass
class _Names:
    """The lines of an OBJ file that hold words.

    Attributes:
        libraries: what follows `mtllib`.
        materials: the lines of `usemtl`, and what follows.
        objects: the lines of `o`, and what follows.
        groups: the lines of `g`, likewise.
    """

    libraries: list[str] = dataclasses.field(default_factory=list)
    materials: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    objects: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    groups: list[tuple[int, str]] = dataclasses.field(default_factory=list)


def read_obj(
    path: Path, read_image: Callable[[Path], np.ndarray] | None, encoding: Encoding = "display"
) -> RawMesh:
    """Reads an OBJ file, and with `read_image` its materials and their images.

    The file's vertex colours and images are display-encoded, its `Kd` is linear.

    Args:
        path: the file.
        read_image: a picture as `[H, W, C]` display values, with 1 to 4 channels; None reads no
            materials.
        encoding: of the colours that are returned.

    Raises:
        LineError: a line is not as the format says.
        ValueError: there are no faces.
    """
    notes = Notes()
    lines = Lines(path, read_bytes(path), comment=b"#", continued=True)
    kinds = {key: lines.starting(key) for key in ("v", "vt", "vn", "f")}
    names = _read_names(lines, kinds, notes)
    vertices = lines.rows(kinds["v"], "v")
    vertices.need(3, "a vertex needs three numbers")
    coordinates = lines.rows(kinds["vt"], "vt")
    coordinates.need(1, "a texture coordinate needs a number")
    normals = lines.rows(kinds["vn"], "vn")
    corners = read_corners(lines, kinds, notes)
    places = vertices.columns(0, 3)
    bad = first_not_finite(places)
    if bad is not None:
        raise vertices.error(bad, f"vertex {bad} is not finite: {places[bad].tolist()}")
    raw = RawMesh(places, np.zeros((0, 3), np.int64), encoding=encoding)
    triangles = _add_faces(raw, corners, coordinates, normals, notes)
    raw.need_faces()
    _add_objects(raw, names.objects or names.groups, kinds["f"], triangles)
    known = _add_vertex_colors(raw, vertices, notes)
    if read_image is not None:
        before = np.searchsorted([line for line, _ in names.materials], kinds["f"])
        materials = [name for _, name in names.materials]
        paint(
            path, raw, names.libraries, materials, triangles.of_polygons(before), read_image, notes
        )
        known = hide_vertex_colors(raw, known, path, notes)
    settle(raw, known, path, notes)
    raw.notes = list(notes)
    return raw


def _read_names(lines: Lines, kinds: dict[str, np.ndarray], notes: Notes) -> _Names:
    """Reads the lines that hold no vertices and faces."""
    names = _Names()
    others = np.ones(len(lines), bool)
    for found in kinds.values():
        others[found] = False
    for line in np.flatnonzero(others).tolist():
        keyword, _, rest = lines.text(line).replace("\t", " ").partition(" ")
        keyword = keyword.lower()
        if keyword == "usemtl":
            names.materials.append((line, rest.strip()))
        elif keyword in ("o", "g"):
            (names.objects if keyword == "o" else names.groups).append((line, rest.strip()))
        elif keyword == "mtllib":
            names.libraries.append(rest.strip())
        elif keyword in LOOSE:
            notes.add(lines.path, f"ignores {LOOSE[keyword]}")
        elif keyword in CURVED:
            notes.add(lines.path, "ignores curves and surfaces")
        elif keyword not in SILENT:
            notes.add(lines.path, f"ignores lines of {shown(keyword)[:20]!r}")
    return names


def _add_faces(
    raw: RawMesh, corners: Corners, coordinates: Rows, normals: Rows, notes: Notes
) -> Triangles:
    """Cuts the polygons; returns which triangles they have become."""
    triangles = cut(raw.vertices, corners.vertices, corners.sizes)
    raw.faces = triangles.of_corners(corners.vertices)

    def told(text: str) -> None:
        notes.add(coordinates.lines.path, text)

    if len(coordinates):
        raw.uv = coordinates.columns(0, 2, fill=0.0)
        bad = first_not_finite(raw.uv)
        if bad is not None:
            raise coordinates.error(bad, "a texture coordinate is not finite")
        raw.uv_faces = _whole(raw, corners.uv, triangles, "texture coordinates", told)
    if len(normals):
        normals.need(3, "a normal needs three numbers")
        found = normals.columns(0, 3)
        raw.normals = np.where(np.isfinite(found).all(axis=1, keepdims=True), found, 0.0)
        raw.normal_faces = _whole(raw, corners.normals, triangles, "normals", told)
        if raw.normal_faces.max(initial=-1) < 0:
            raw.normals = raw.normal_faces = None
    return triangles


def _add_objects(
    raw: RawMesh, lines: list[tuple[int, str]], faces: np.ndarray, triangles: Triangles
) -> None:
    """Numbers the objects that have faces, in the order of their first face."""
    if not lines:
        return
    before = np.searchsorted([line for line, _ in lines], faces)
    numbers: dict[str, int] = {}
    for line in np.flatnonzero(np.bincount(before)).tolist():
        numbers.setdefault(lines[line - 1][1] if line else "", len(numbers))
    told = np.array([numbers.get(name, -1) for name in ("", *(name for _, name in lines))])
    raw.objects = list(numbers)
    raw.face_object = triangles.of_polygons(told[before])


def _whole(
    raw: RawMesh,
    corners: np.ndarray | None,
    triangles: Triangles,
    what: str,
    told: Callable[[str], None],
) -> np.ndarray:
    """Indices `[F, 3]` of faces that have them at all corners, else -1."""
    if corners is None:
        return np.full(raw.faces.shape, -1)
    found = triangles.of_corners(corners)
    if (found < 0).any():
        lacks = found.min(axis=1) < 0
        if (found[lacks] >= 0).any():
            told(f"ignores {what} of faces that have them at some corners only")
        found[lacks] = -1
    return found


def _add_vertex_colors(raw: RawMesh, vertices: Rows, notes: Notes) -> np.ndarray:
    """Takes the colours behind the coordinates; returns `[V]` which vertices have some."""
    path, counts = vertices.lines.path, vertices.counts
    known = counts >= 6
    if not known.any():
        if (counts > 3).any():
            weights = vertices.columns(3, 4, fill=1.0)
            if (weights != 1).any():
                notes.add(path, "ignores w of vertices, the fourth number")
            if (counts > 4).any():
                notes.add(path, "ignores numbers behind those of a vertex")
        return known

    # Seven numbers are x, y, z, w and a colour where w is 1 for all, else a colour and alpha.
    values = vertices.columns(3, 7)
    seven = counts == 7
    homogeneous = bool(seven.any() and (values[seven, 0] == 1).all())
    colors = values[:, :3].copy()
    if homogeneous:
        colors[seven] = values[seven, 1:]
    elif (values[seven, 3] < 1).any():
        notes.add(path, "ignores alpha of vertices, the seventh number")
    if (counts > 7).any() or ((counts > 3) & ~known).any():
        notes.add(path, "ignores numbers behind those of a vertex")
    colors[known] = in_unit(colors[known], path, notes, "colours of vertices")
    colors[~known] = 1.0
    raw.vertex_colors = recode(colors, "display", raw.encoding)
    return known
