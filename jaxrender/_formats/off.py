"""Object File Format, with the colours that Geomview allows: COFF vertices and coloured faces.

Read and written here and not through trimesh, which drops these colours and moves larger
polygons behind the triangles.

The header's letters say what a vertex has: `ST` texture coordinates, `C` a colour, `N` a normal,
`4` a fourth coordinate that divides. Geomview writes them in this order, and in a vertex x y z (w),
the normal, the colour, (s, t). MeshLab turns the letters, NCOFF say, and there the colour comes
before the normal.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from jaxrender._choices import Encoding
from jaxrender._color import recode
from jaxrender._formats.colors import in_unit, settle
from jaxrender._formats.polygons import cut
from jaxrender._formats.raw import RawMesh, digits, first_not_finite
from jaxrender._formats.saving import write_files
from jaxrender._formats.text import Lines, Notes, Rows, read_bytes
from jaxrender._pixels import eight_bit

HEADER = re.compile(rb"(?:\s|#[^\n]*\n)*((?:ST|C|N|4|n)*)OFF(?=\s|\d|$)")  # some write OFF8 12 0

MOST = 2**31  # of anything that is counted


def read_off(path: Path, encoding: Encoding = "display") -> RawMesh:
    """Reads an OFF file, with the colours of its vertices or faces, which are display-encoded.

    Whole numbers are 255ths, unless the largest is 1; faces without a colour are white beside
    those that have one.

    Raises:
        LineError: a line is not as the format says.
        ValueError: there is no header, the file ends too early, or there are no faces.
    """
    notes = Notes()
    data = read_bytes(path)
    header = HEADER.match(data)
    if header is None:
        raise ValueError("it does not start with OFF")
    letters = header[1].decode()
    if "n" in letters or data[header.end() :].lstrip(b" \t").startswith(b"BINARY"):
        raise ValueError("it is OFF of any dimension, or binary; known is text with three")
    lines = Lines(path, data, start=header.end(), comment=b"#")
    counts = lines.rows(np.arange(min(len(lines), 1)))
    if not len(counts) or counts.counts[0] < 2:
        raise ValueError("it has no counts of vertices and faces")
    if not all(0 <= count < MOST and count == int(count) for count in counts.values[:2]):
        raise counts.error(0, "the numbers of vertices and faces are none")
    vertices, polygons = (int(count) for count in counts.values[:2])
    if len(lines) < 1 + vertices + polygons:
        raise ValueError(f"it ends before its {vertices} vertices and {polygons} faces")
    if len(lines) > 1 + vertices + polygons:
        line = lines.number(1 + vertices + polygons)
        notes.add(path, f"ignores lines behind the last face, from line {line} on")

    rows = lines.rows(np.arange(1, 1 + vertices))
    raw, known = _vertices(rows, letters, encoding, notes)
    rows = lines.rows(np.arange(1 + vertices, 1 + vertices + polygons))
    _add_faces(raw, rows, notes)
    settle(raw, known, path, notes)
    raw.notes = list(notes)
    return raw


def _vertices(
    rows: Rows, letters: str, encoding: Encoding, notes: Notes
) -> tuple[RawMesh, np.ndarray]:
    """Reads the vertices; returns also `[V]` which of them have a colour."""
    path = rows.lines.path
    size = 4 if "4" in letters else 3
    normal, uv = 3 * ("N" in letters), 2 * ("ST" in letters)
    least = size + normal + uv
    rows.need(least, f"a vertex of {letters}OFF needs {least} numbers or more")
    places = rows.columns(0, size)
    if size == 4:
        places = places[:, :3] / np.where(places[:, 3:] != 0, places[:, 3:], np.nan)
    raw = RawMesh(places, np.zeros((0, 3), np.int64), encoding=encoding)
    bad = first_not_finite(places)
    if bad is not None:
        raise rows.error(bad, f"vertex {bad} is not finite: {places[bad].tolist()}")

    # What is neither place nor normal nor texture coordinate is colour: three numbers, or four.
    width = rows.counts - least
    channels = np.where(width >= 4, 4, np.where(width == 3, 3, 0))
    if (width > 4).any() or ((width > 0) & (width < 3)).any():
        notes.add(path, "ignores numbers behind those of a vertex")
    turned = "N" in letters and "C" in letters and letters.index("N") < letters.index("C")
    at_color = np.full(len(rows), size) if turned else np.full(len(rows), size + normal)
    at_normal = size + channels if turned else np.full(len(rows), size)
    known = channels > 0
    if known.any():
        colors = _pick(rows, at_color, 3)
        colors[known] = in_unit(colors[known], path, notes, "colours of vertices", scales=(255,))
        colors[~known] = 1.0
        alpha = _pick(rows, at_color + 3, 1)[channels == 4]
        if (alpha < (255 if (alpha > 1).any() else 1)).any():
            notes.add(path, "ignores alpha of vertices")
        raw.vertex_colors = recode(colors, "display", encoding)
    if normal:
        found = _pick(rows, at_normal, 3)
        raw.normals = np.where(np.isfinite(found).all(axis=1, keepdims=True), found, 0.0)
    if uv:
        raw.uv = _pick(rows, size + normal + channels, 2)
        bad = first_not_finite(raw.uv)
        if bad is not None:
            raise rows.error(bad, "a texture coordinate is not finite")
    return raw, known


def _pick(rows: Rows, at: np.ndarray, count: int) -> np.ndarray:
    """Numbers `[L, count]` of each row from a place of its own on; NaN behind its end."""
    step = np.arange(count)[None]
    there = at[:, None] + step < rows.counts[:, None]
    values = np.append(rows.values, np.nan)
    return values[np.where(there, (rows.starts + at)[:, None] + step, len(values) - 1)]


def _add_faces(raw: RawMesh, rows: Rows, notes: Notes) -> None:
    """Reads and cuts the polygons: a number of corners, the corners, then perhaps a colour."""
    path, count = rows.lines.path, len(raw.vertices)
    sizes = rows.columns(0, 1)[:, 0]
    bad = np.flatnonzero(~((sizes >= 0) & (sizes < MOST) & (sizes == np.rint(sizes))))
    if len(bad):
        raise rows.error(int(bad[0]), f"a face cannot have {sizes[bad[0]]:g} corners")
    sizes = sizes.astype(np.int64)
    short = np.flatnonzero(rows.counts < 1 + sizes)
    if len(short):
        found = f"a face has fewer corners than it says: {rows.counts[short[0]] - 1}"
        raise rows.error(int(short[0]), f"{found}, of {sizes[short[0]]}")
    few = int((sizes < 3).sum())
    if few:
        notes.add(path, f"ignores {few} faces of less than three corners")
    owners = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    values = rows.values[rows.starts[owners] + 1 + within]
    bad = np.flatnonzero(~((values >= 0) & (values < count) & (values == np.rint(values))))
    if len(bad):
        message = f"a face names vertex {values[bad[0]]:.17g}, of {count}"
        raise rows.error(int(owners[bad[0]]), message)
    corners = values.astype(np.int64)
    triangles = cut(raw.vertices, corners, sizes)
    raw.faces = triangles.of_corners(corners)
    raw.need_faces()
    if raw.uv is not None:
        raw.uv_faces = raw.faces.copy()

    # Take the colours: three numbers or four; one alone is a place in a table that is elsewhere.
    width = rows.counts - 1 - sizes
    if ((width == 1) | (width == 2) | (width > 4)).any():
        notes.add(path, "ignores numbers behind the corners of faces that are no colour")
    known = (width == 3) | (width == 4)
    if known.any():
        colors = _pick(rows, 1 + sizes, 3)
        colors[known] = in_unit(colors[known], path, notes, "colours of faces", scales=(255,))
        colors[~known] = 1.0
        alpha = _pick(rows, 4 + sizes, 1)[width == 4]
        if (alpha < (255 if (alpha > 1).any() else 1)).any():
            notes.add(path, "ignores alpha of faces")
        raw.face_colors = triangles.of_polygons(recode(colors, "display", raw.encoding))


def write_off(path: Path, raw: RawMesh) -> None:
    """Writes an OFF file; colours become display values, whole numbers from 0 to 255."""
    number = digits(raw.vertices)
    vertices = [" ".join(number % value for value in row) for row in raw.vertices.tolist()]
    faces = [f"3 {a} {b} {c}" for a, b, c in raw.faces.tolist()]
    header = "OFF"
    if raw.vertex_colors is not None:
        header = "COFF"
        vertices = _beside(vertices, raw.vertex_colors, raw.encoding, " 255")
    if raw.face_colors is not None:
        faces = _beside(faces, raw.face_colors, raw.encoding, "")
    counts = f"{len(vertices)} {len(faces)} 0"
    write_files({path: ("\n".join([header, counts, *vertices, *faces]) + "\n").encode()})


def _beside(lines: list[str], colors: np.ndarray, encoding: Encoding, alpha: str) -> list[str]:
    values = eight_bit(recode(colors, encoding, "display")).tolist()
    return [f"{line} {r} {g} {b}{alpha}" for line, (r, g, b) in zip(lines, values, strict=True)]
