"""Stanford PLY, read.

Read here and not through trimesh, which moves quads and larger polygons behind the triangles and
splits them in another order than a fan, so that faces no longer match the file's own order and
colours. Writing goes through trimesh.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._color import recode
from jaxrender._formats.raw import RawMesh, fans, unit_colors

TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclasses.dataclass
class Property:
    """A column of an element; `count` is the type of a list's length, or empty."""

    name: str
    type: str
    count: str = ""


@dataclasses.dataclass
class Element:
    """A table of the file: its rows and columns."""

    name: str
    rows: int
    properties: list[Property]


def read_ply(path: Path, encoding: str = "display") -> RawMesh:
    """Reads a PLY file, with the colours of its vertices or faces, which are display-encoded."""
    data = path.read_bytes()
    form, elements, start = _header(path, data)

    # Turn text into numbers of one type, so that text and binary are read alike.
    if form == "ascii":
        body, types = np.array(data[start:].split(), "f8").tobytes(), dict.fromkeys(TYPES, "f8")
    else:
        body, types = data[start:], {name: ORDERS[form] + code for name, code in TYPES.items()}

    tables: dict[str, dict[str, Any]] = {}
    offset = 0
    for element in elements:
        tables[element.name], offset = _table(body, offset, element, types)

    vertex, face = tables.get("vertex", {}), tables.get("face", {})
    if not all(axis in vertex for axis in "xyz"):
        raise ValueError("it has no vertices with x, y and z")
    corners, sizes = face.get("vertex_indices", face.get("vertex_index", (_NONE, _NONE)))
    triangles, owners = fans(corners, sizes)
    face_colors = _colors(elements, "face", face, encoding)
    return RawMesh(
        vertices=np.stack([vertex[axis] for axis in "xyz"], axis=-1).astype(np.float64),
        faces=triangles,
        vertex_colors=_colors(elements, "vertex", vertex, encoding),
        face_colors=None if face_colors is None else face_colors[owners],
        encoding=encoding,
    ).check()


_NONE = np.zeros(0, np.int64)


def _header(path: Path, data: bytes) -> tuple[str, list[Element], int]:
    """The format, the elements, and where the data start."""
    end = data.find(b"end_header")
    start = data.find(b"\n", end) + 1
    if not data.startswith(b"ply") or end < 0 or start == 0:
        raise ValueError("it does not start with a PLY header")
    form = ""
    elements: list[Element] = []
    for line in data[:end].decode("ascii", errors="replace").splitlines():
        match line.split():
            case ["format", form, *_] if form not in ORDERS:
                raise ValueError(f"unknown PLY format {form!r}")
            case ["element", name, rows]:
                elements.append(Element(name, int(rows), []))
            case ["property", "list", count, kind, name] if count in TYPES and kind in TYPES:
                elements[-1].properties.append(Property(name, kind, count))
            case ["property", kind, name] if kind in TYPES:
                elements[-1].properties.append(Property(name, kind))
            case ["property", *rest]:
                raise ValueError(f"unknown PLY property {' '.join(rest)!r}")
            case ["comment", "TextureFile", *_]:
                warnings.warn(f"{path}: the texture is not read; save it as OBJ", stacklevel=2)
    return form, elements, start


def _table(
    body: bytes, offset: int, element: Element, types: dict[str, str]
) -> tuple[dict[str, Any], int]:
    """The columns of an element, and where the next one starts.

    A plain column is an array, a column of lists a pair (all values, length of each list).
    """
    # Suppose that all rows are built like the first.
    fields: list[tuple] = []
    for column in element.properties:
        if column.count:
            fields.append((f"{column.name} length", types[column.count]))
            position = offset + np.dtype(fields[:-1]).itemsize
            length = _number(body, types[column.count], position) if element.rows else 0
            fields.append((column.name, types[column.type], (int(length),)))
        else:
            fields.append((column.name, types[column.type]))
    row = np.dtype(fields)
    end = offset + element.rows * row.itemsize
    lists = [column.name for column in element.properties if column.count]
    if end <= len(body):
        table = np.frombuffer(body, row, element.rows, offset)
        sizes = {name: table[f"{name} length"].astype(np.int64) for name in lists}
        if all((size == row[name].shape[0]).all() for name, size in sizes.items()):
            columns: dict[str, Any] = {
                column.name: table[column.name] for column in element.properties
            }
            for name, size in sizes.items():
                columns[name] = (columns[name].astype(np.int64).reshape(-1), size)
            return columns, end
    if not lists:
        raise ValueError(f"it ends within the {element.name} data")
    return _ragged_table(body, offset, element, types)


def _ragged_table(
    body: bytes, offset: int, element: Element, types: dict[str, str]
) -> tuple[dict[str, Any], int]:
    """Reads row by row what has lists of different lengths."""
    values: dict[str, list] = {column.name: [] for column in element.properties}
    sizes: dict[str, list[int]] = {column.name: [] for column in element.properties}
    for _ in range(element.rows):
        for column in element.properties:
            length = 1
            if column.count:
                length = int(_number(body, types[column.count], offset))
                offset += np.dtype(types[column.count]).itemsize
            kind = np.dtype(types[column.type])
            if length < 0 or offset + length * kind.itemsize > len(body):
                raise ValueError(f"it ends within the {element.name} data")
            values[column.name].extend(np.frombuffer(body, kind, length, offset).tolist())
            sizes[column.name].append(length)
            offset += length * kind.itemsize
    columns: dict[str, Any] = {}
    for column in element.properties:
        if column.count:
            lengths = np.array(sizes[column.name], np.int64)
            columns[column.name] = (np.array(values[column.name]).astype(np.int64), lengths)
        else:
            columns[column.name] = np.array(values[column.name])
    return columns, offset


def _number(body: bytes, kind: str, offset: int) -> Any:
    if offset + np.dtype(kind).itemsize > len(body):
        raise ValueError("it ends too early")
    return np.frombuffer(body, kind, 1, offset)[0]


def _colors(
    elements: list[Element], name: str, table: dict[str, Any], encoding: str
) -> np.ndarray | None:
    """The columns red, green and blue as floats."""
    declared = {
        column.name: TYPES[column.type]
        for element in elements
        if element.name == name
        for column in element.properties
    }
    channels = ("red", "green", "blue")
    if not all(channel in table for channel in channels):
        return None
    values = [unit_colors(np.asarray(table[c]).astype(declared[c])) for c in channels]
    return recode(np.stack(values, axis=-1), "display", encoding)
