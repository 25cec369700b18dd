"""Object File Format, with the colours that Geomview allows: COFF vertices and coloured faces.

Read and written here and not through trimesh, which drops these colours and moves larger
polygons behind the triangles.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from jaxrender._color import recode
from jaxrender._formats.raw import RawMesh, digits, eight_bit, fans


def read_off(path: Path, encoding: str = "display") -> RawMesh:
    """Reads an OFF file, with the colours of its vertices or faces, which are display-encoded."""
    text = re.sub(r"#[^\n]*", "", path.read_text(encoding="utf-8", errors="replace"))
    header = re.match(r"\s*(ST)?(C?)(N?)OFF(?=\s|\d)", text)  # some write OFF8 12 0
    if header is None:
        raise ValueError("it does not start with OFF")
    uv, _, normals = header.groups()
    lines = [line.split() for line in text[header.end() :].splitlines() if line.strip()]
    if not lines or len(lines[0]) < 2:
        raise ValueError("it has no counts of vertices and faces")
    vertices, faces = int(lines[0][0]), int(lines[0][1])
    if len(lines) < 1 + vertices + faces:
        raise ValueError(f"it ends before its {vertices} vertices and {faces} faces")

    # A vertex is a position, then perhaps a normal, a colour and texture coordinates.
    rows = lines[1 : 1 + vertices]
    skip = 6 if normals else 3
    tails = [row[skip : len(row) - 2 if uv else len(row)] for row in rows]

    # A face is a number of corners, the corners, then perhaps a colour.
    polygons = lines[1 + vertices : 1 + vertices + faces]
    sizes = np.array([int(row[0]) for row in polygons], np.int64)
    corners = [int(word) for row in polygons for word in row[1 : 1 + int(row[0])]]
    if len(corners) != sizes.sum():
        raise ValueError("a face has fewer corners than it says")
    triangles, owners = fans(np.array(corners, np.int64), sizes)
    face_colors = _colors([row[1 + int(row[0]) :] for row in polygons], encoding)
    return RawMesh(
        vertices=np.array([[float(word) for word in row[:3]] for row in rows]).reshape(-1, 3),
        faces=triangles,
        vertex_colors=_colors(tails, encoding),
        face_colors=None if face_colors is None else face_colors[owners],
        encoding=encoding,
    ).check()


def _colors(rows: list[list[str]], encoding: str) -> np.ndarray | None:
    """Colours of three or four words, if all rows have one: whole numbers are 255ths."""
    if not rows or min(len(row) for row in rows) < 3:
        return None
    values = np.array([[float(word) for word in row[:3]] for row in rows])
    whole = all(word.lstrip("+-").isdigit() for row in rows for word in row[:3])
    return recode(values / 255 if whole else values, "display", encoding)


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
    path.write_text("\n".join([header, counts, *vertices, *faces]) + "\n", encoding="utf-8")


def _beside(lines: list[str], colors: np.ndarray, encoding: str, alpha: str) -> list[str]:
    values = eight_bit(recode(colors, encoding, "display")).tolist()
    return [f"{line} {r} {g} {b}{alpha}" for line, (r, g, b) in zip(lines, values, strict=True)]
