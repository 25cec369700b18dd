"""Stanford PLY, read.

Read here and not through trimesh, which moves quads and larger polygons behind the triangles and
splits them in another order than a fan, so that faces no longer match the file's own order and
colours. Writing goes through trimesh.

Shapes: `V` vertices, `F` faces, `P` polygons, `C` corners of all polygons.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import as_strided

from jaxrender._choices import Encoding
from jaxrender._color import recode
from jaxrender._formats.colors import in_unit, settle
from jaxrender._formats.ply_tables import Table, read_tables
from jaxrender._formats.polygons import Triangles, cut
from jaxrender._formats.raw import RawMesh, first_not_finite, relative, rgb, unit_colors, unsigned
from jaxrender._formats.text import Notes, shown

COLORS = (
    ("red", "green", "blue"),
    ("r", "g", "b"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
)
ALPHAS = ("alpha", "a", "diffuse_alpha")
COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
CORNERS = ("vertex_indices", "vertex_index")
NOT_READ = {"edge": "edges", "material": "materials", "range_grid": "a range grid"}


def read_ply(
    path: Path,
    encoding: Encoding = "display",
    read_image: Callable[[Path], np.ndarray] | None = None,
) -> RawMesh:
    """Reads a PLY file, with its display-encoded colours, and with `read_image` its pictures.

    Args:
        path: the file.
        encoding: of the colours that are returned.
        read_image: a picture as `[H, W, C]` display values; None reads none.

    Raises:
        LineError: a line is not as the format says.
        ValueError: there are no faces, or the file is not as its header says.
    """
    notes = Notes()
    tables, comments = read_tables(path, notes)
    vertex, face = tables.get("vertex", Table()), tables.get("face", Table())
    if not all(axis in vertex.columns for axis in "xyz"):
        raise ValueError("it has no vertices with x, y and z")
    for name, what in NOT_READ.items():
        if name in tables:
            notes.add(path, f"ignores {what}")
    places = _columns(vertex, ("x", "y", "z"))
    bad = first_not_finite(places)
    if bad is not None:
        raise vertex.error(bad, f"vertex {bad} is not finite: {places[bad].tolist()}")
    raw = RawMesh(places, np.zeros((0, 3), np.int64), encoding=encoding)
    triangles = _add_faces(raw, face, tables.get("tristrips"), path, notes)
    raw.need_faces()

    # Take what belongs to vertices, then what belongs to faces.
    if all(f"n{axis}" in vertex.columns for axis in "xyz"):
        normals = _columns(vertex, ("nx", "ny", "nz"))
        if first_not_finite(normals) is not None:
            normals = np.where(np.isfinite(normals).all(1, keepdims=True), normals, 0.0)
        raw.normals = normals
    raw.vertex_colors = _colors(vertex, "vertices", encoding, path, notes)
    if triangles is not None:
        colors = _colors(face, "faces", encoding, path, notes)
        raw.face_colors = None if colors is None else triangles.of_polygons(colors)
    _add_coordinates(raw, vertex, face, triangles, path, notes)
    names = [text.partition(" ")[2].strip() for text in comments
             if text.lower().startswith("texturefile ")]  # fmt: skip
    bad = None if raw.uv is None else first_not_finite(raw.uv)
    if bad is not None:
        message = f"texture coordinate {bad} is not finite"
        if names:
            raise ValueError(message)
        # Blender writes what its memory held where an object has none.
        notes.add(path, f"ignores texture coordinates: {message}")
        raw.uv = raw.uv_faces = None
    if names and read_image is not None:
        _add_pictures(raw, face, triangles, names, path, read_image, notes)
    settle(raw, np.ones(len(raw.vertices), bool), path, notes)
    raw.notes = list(notes)
    return raw


def _add_faces(
    raw: RawMesh, face: Table, strips: Table | None, path: Path, notes: Notes
) -> Triangles | None:
    """Cuts the polygons; returns which triangles they have become, or None if there are none."""
    found = next((face.lists[name] for name in CORNERS if name in face.lists), None)
    if found is None:
        if strips is not None:
            raw.faces = _strips(strips, len(raw.vertices))
        return None
    corners, sizes = _indices(found[0], found[1], face, len(raw.vertices)), found[1]
    triangles = cut(raw.vertices, corners, sizes)
    raw.faces = triangles.of_corners(corners)
    few = 0 if len(raw.faces) == len(sizes) else int((sizes < 3).sum())
    if few:
        notes.add(path, f"ignores {few} faces of less than three corners")
    if strips is not None:
        notes.add(path, "ignores triangle strips beside faces")
    return triangles


def _columns(table: Table, names: tuple[str, ...]) -> np.ndarray:
    """Columns side by side, as floats; float32 stays float32, which is smaller."""
    columns = [table.columns[name] for name in names]
    step, stride = columns[0].itemsize, columns[0].strides[0]
    place = [column.__array_interface__["data"][0] for column in columns]
    alike = all(
        (column.dtype, column.strides[0]) == (columns[0].dtype, stride) for column in columns
    )
    if alike and (np.diff(place) == step).all():
        # They lie side by side in the file, too: no need to put them together number by number.
        values = as_strided(columns[0], (len(columns[0]), len(names)), (stride, step))
        values = np.require(values, requirements=["C", "A"])
    else:
        values = np.stack(columns, axis=-1)
    return values.astype(np.float32 if values.dtype == np.float32 else np.float64, copy=False)


def _indices(values: np.ndarray, sizes: np.ndarray, table: Table, count: int) -> np.ndarray:
    """Indices of vertices, in the width that the file has if these are whole numbers.

    Raises:
        ValueError: one is not whole, or leads nowhere.
    """
    if values.dtype.kind in "iu" and len(values):
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        if unsigned(native).max() < count:
            return native.astype(np.int32 if native.itemsize <= 4 else np.int64, copy=False)
    bad = ~((values >= 0) & (values < count))
    if values.dtype.kind == "f":
        bad |= values != np.rint(values)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        row = int(np.searchsorted(np.cumsum(sizes), first, side="right"))
        raise table.error(row, f"a face names vertex {values[first]}, of {count}")
    return values.astype(np.int64)


def _strips(table: Table, count: int) -> np.ndarray:
    """The faces of strips of triangles, which -1 separates; every second is turned."""
    found = next((table.lists[name] for name in CORNERS if name in table.lists), None)
    if found is None:
        return np.zeros((0, 3), np.int64)
    values, sizes = found
    breaks = values == -1
    _indices(np.where(breaks, 0, values), sizes, table, count)

    # Start again behind each break, and where a new row starts.
    values = values.astype(np.int64)
    starts = np.zeros(len(values), bool)
    starts[(np.cumsum(sizes) - sizes)[sizes > 0]] = True
    starts[1:] |= breaks[:-1]
    begins = np.maximum.accumulate(np.where(starts, np.arange(len(values)), 0))
    first = np.arange(max(len(values) - 2, 0))
    whole = (begins[first] == begins[first + 2]) & ~breaks[first] & ~breaks[first + 1]
    first = first[whole & ~breaks[first + 2]]
    odd = (first - begins[first]) % 2
    faces = values[np.stack([first, first + 1 + odd, first + 2 - odd], axis=-1)]
    return faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]


def _colors(
    table: Table, what: str, encoding: Encoding, path: Path, notes: Notes
) -> np.ndarray | None:
    """The colours of an element as floats."""
    names = next((c for c in COLORS if all(channel in table.columns for channel in c)), None)
    if names is None:
        alike = _like_colors(list(table.columns))
        if alike:
            notes.add(path, f"ignores {', '.join(map(shown, alike))} of {what}, no three colours")
        return None
    for name in ALPHAS:
        if name in table.columns:
            alpha = table.columns[name]
            full = 1 if alpha.dtype.kind == "f" and alpha.max(initial=0) <= 1 else 255
            if (alpha < full).any():
                notes.add(path, f"ignores alpha of {what}")
    values = np.stack([table.columns[name] for name in names], axis=-1)
    label = f"colours of {what}"
    if values.dtype.kind in "iu":
        # Take the bytes that nearly all files have as such; wider numbers by their largest.
        small = values.dtype.itemsize == 1
        if small or (values.dtype == np.uint16 and values.max(initial=0) > 255):
            unit = unit_colors(values)
            return recode(
                np.maximum(unit, 0) if values.dtype.kind == "i" else unit, "display", encoding
            )
    return recode(in_unit(values.astype(np.float64), path, notes, label), "display", encoding)


def _like_colors(names: list[str]) -> list[str]:
    """Those of some names that look like colours, though they are none that we know."""
    alike = [name for name in names if name.endswith(("red", "green", "blue"))]
    for name in names:
        triple = [name[:-1] + channel for channel in "rgb"]
        if len(name) > 1 and name.endswith("r") and set(triple) <= set(names):
            alike += [one for one in triple if one not in alike]
    return alike


def _add_coordinates(
    raw: RawMesh,
    vertex: Table,
    face: Table,
    triangles: Triangles | None,
    path: Path,
    notes: Notes,
) -> None:
    """Takes the texture coordinates of the corners of faces, or of vertices."""
    wedges = face.lists.get("texcoord")
    if wedges is not None and triangles is not None:
        values, counts = wedges
        sizes = next(face.lists[name][1] for name in CORNERS if name in face.lists)
        whole = counts == 2 * sizes
        if not whole.all():
            other = int((~whole & (counts > 0)).sum())
            if other:
                notes.add(path, f"ignores texture coordinates of {other} faces: not two a corner")
            # Take them out: behind an odd number of them, pairs would begin at the wrong one.
            values = values[np.repeat(whole, counts)]
        if whole.any():
            # Number the corners of each face from where its coordinates start.
            owned = np.where(whole, sizes, 0)
            within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            starts = np.repeat(np.cumsum(owned) - owned, sizes)
            places = np.where(np.repeat(whole, sizes), starts + within, -1)
            raw.uv = values.astype(np.float64).reshape(-1, 2)
            raw.uv_faces = triangles.of_corners(places)
    else:
        names = next((c for c in COORDINATES if all(n in vertex.columns for n in c)), None)
        if names is not None:
            raw.uv = _columns(vertex, names)
            raw.uv_faces = raw.faces.copy()


def _add_pictures(
    raw: RawMesh,
    face: Table,
    triangles: Triangles | None,
    names: list[str],
    path: Path,
    read_image: Callable[[Path], np.ndarray],
    notes: Notes,
) -> None:
    """Lets faces read the pictures that comments name, as MeshLab and others write them."""
    if raw.uv_faces is None:
        notes.add(path, "ignores its picture: it has no texture coordinates")
        return
    numbers = []
    for name in names:
        file = relative(path, name)
        try:
            if file is None:
                raise ValueError(f"texture file {shown(name)} is missing")
            pixels, clear = rgb(read_image(file))
        except ValueError as error:
            notes.add(path, f"{error}; its faces have no picture")
            numbers.append(-1)
            continue
        if clear:
            notes.add(path, f"ignores alpha of the picture {shown(file.name)}")
        numbers.append(len(raw.images))
        raw.images.append(recode(pixels, "display", raw.encoding))
    which = np.zeros(len(raw.faces), np.int64)
    if "texnumber" in face.columns and triangles is not None:
        which = triangles.of_polygons(face.columns["texnumber"].astype(np.int64))
    named = (which >= 0) & (which < len(names))
    raw.face_image = np.where(named, np.array(numbers)[np.where(named, which, 0)], -1)
    raw.face_image[raw.uv_faces.min(axis=1) < 0] = -1
