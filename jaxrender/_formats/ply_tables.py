"""The container of PLY: a header that declares tables, and the tables, as text or binary.

Shapes: `R` rows of a table, `N` values of a list property in all rows.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._formats.text import LineError, Lines, Notes, decoded, read_bytes, shown

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
    "int64": "i8",
    "uint64": "u8",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
         "f4": "f", "f8": "d"}  # fmt: skip
END = re.compile(rb"[\r\n][ \t]*end_header[ \t]*(\r\n|\n|\r)", re.IGNORECASE)


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


@dataclasses.dataclass
class Table:
    """The values of an element.

    Attributes:
        columns: `[R]` by name, in the types that the file declares.
        lists: all values `[N]` and the length `[R]` in each row, by name.
        error: makes the error that names a row.
    """

    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    lists: dict[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)
    error: Callable[[int, str], ValueError] = lambda row, message: ValueError(
        f"row {row}: {message}"
    )


def read_tables(path: Path, notes: Notes) -> tuple[dict[str, Table], list[str]]:
    """Reads all elements of a file, by name, and its comments; names are in lower case.

    Raises:
        LineError: a line is not as the header says.
        ValueError: there is no header, or the file ends too early.
    """
    data = read_bytes(path)
    end = END.search(data)
    if not data.startswith(b"ply") or end is None:
        raise ValueError("it does not start with a PLY header")
    start = end.end()
    if end[1] == b"\r\n" and b"\n" not in data[: end.start()]:
        start -= 1  # lines end with \r alone, and binary data begin with \n
    form, elements, comments = _header(path, data[: end.start()])
    if form == "ascii":
        return _text_tables(path, data, start, elements, notes), comments
    tables = {}
    for element in elements:
        tables[element.name], start = _binary_table(data, start, element, ORDERS[form])
    if start < len(data):
        notes.add(path, f"ignores {len(data) - start} bytes behind the last element")
    return tables, comments


def _header(path: Path, text: bytes) -> tuple[str, list[Element], list[str]]:
    """The format, the elements, and the comments."""
    form = ""
    elements: list[Element] = []
    comments: list[str] = []
    for number, line in enumerate(decoded(text).splitlines(), 1):
        words = line.split()
        match [words[0].lower() if words else "", *words[1:]]:
            case ["format", kind, *_]:
                form = kind.lower()
                if form not in ORDERS:
                    raise LineError(path, number, f"unknown PLY format {shown(kind)!r}")
            case ["element", name, rows, *_] if rows.isdigit():
                elements.append(Element(name.lower(), int(rows), []))
            case ["property", "list", count, kind, name, *_] if (
                elements and count.lower() in TYPES and kind.lower() in TYPES
            ):
                property = Property(name.lower(), TYPES[kind.lower()], TYPES[count.lower()])
                elements[-1].properties.append(property)
            case ["property", kind, name, *_] if elements and kind.lower() in TYPES:
                elements[-1].properties.append(Property(name.lower(), TYPES[kind.lower()]))
            case ["property" | "element", *rest]:
                what = shown(" ".join(rest))
                raise LineError(path, number, f"unknown PLY {words[0].lower()} {what!r}")
            case ["comment", *_]:
                comments.append(line.strip()[len("comment") :].strip())
    if not form:
        raise ValueError("its PLY header names no format")
    return form, elements, comments


# --- text -----------------------------------------------------------------------------------------


def _text_tables(
    path: Path, data: bytes, start: int, elements: list[Element], notes: Notes
) -> dict[str, Table]:
    """Reads tables of which each row is a line."""
    lines = Lines(path, data, start=start)
    first, total = 0, sum(element.rows for element in elements if element.properties)
    if len(lines) > total:
        raise lines.error(total, f"it goes on behind the {total} rows that its header declares")
    tables = {}
    for element in elements:
        if not element.properties:
            tables[element.name] = Table()
            continue
        if first + element.rows > len(lines):
            found = f"{len(lines) - first} of {element.rows} rows"
            raise ValueError(f"it ends within the {element.name} data: {found}")
        which = np.arange(first, first + element.rows)
        tables[element.name] = _text_table(lines, which, element, notes)
        first += element.rows
    return tables


def _text_table(lines: Lines, which: np.ndarray, element: Element, notes: Notes) -> Table:
    """Reads all rows of a table at once, property by property."""
    rows = lines.rows(which)
    table = Table(error=rows.error)
    ends = rows.starts + rows.counts
    values = np.append(rows.values, 0.0)
    place = rows.starts.copy()

    def within(ends_of_values: np.ndarray) -> None:
        short = np.flatnonzero(ends_of_values > ends)
        if len(short):
            row = int(short[0])
            need = ends_of_values[row] - rows.starts[row]
            found = f"the row of {element.name} has {rows.counts[row]} words, of {need} or more"
            raise rows.error(row, found)

    for column in element.properties:
        within(place + 1)
        if not column.count:
            table.columns[column.name] = _typed(values[place], column, rows.error)
            place = place + 1
            continue
        length = Property(f"length of {column.name}", column.count)
        sizes = _typed(values[place], length, rows.error)
        negative = np.flatnonzero(sizes < 0)
        if len(negative):
            raise rows.error(int(negative[0]), f"the length of {column.name} is negative")
        sizes = sizes.astype(np.int64)
        within(place + 1 + sizes)
        total = int(sizes.sum())
        owners = np.repeat(np.arange(len(sizes)), sizes)
        ids = np.arange(total) + np.repeat(place + 1 - (np.cumsum(sizes) - sizes), sizes)
        found = _typed(
            values[ids], column, lambda at, text, owners=owners: rows.error(int(owners[at]), text)
        )
        table.lists[column.name] = found, sizes
        place = place + 1 + sizes
    more = np.flatnonzero(place < ends)
    if len(more):
        line = lines.number(int(which[more[0]]))
        what = f"{len(more)} rows of {element.name}, as in line {line}"
        notes.add(lines.path, f"ignores words behind those of {what}")
    return table


def _typed(
    values: np.ndarray, column: Property, error: Callable[[int, str], ValueError]
) -> np.ndarray:
    """Numbers in the type that a property declares.

    Raises:
        LineError: one does not fit.
    """
    kind = np.dtype(column.type)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            found = values.astype(kind)
        bad = np.isfinite(values) & ~np.isfinite(found)
    else:
        info = np.iinfo(kind)
        bad = ~((values == np.rint(values)) & (values >= info.min) & (values <= info.max))
        found = np.where(bad, 0, values).astype(kind)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        names = {code: name for name, code in TYPES.items() if not name[-1].isdigit()}
        kind_name = names.get(column.type, column.type)
        raise error(first, f"{column.name} is {values[first]:g}, which is no {kind_name}")
    return found


# --- binary ---------------------------------------------------------------------------------------


def _binary_table(data: bytes, offset: int, element: Element, order: str) -> tuple[Table, int]:
    """The columns of an element, and where the next one starts."""
    if not element.rows or not element.properties:
        empty = np.zeros(0, np.int64)
        columns = {column.name: empty for column in element.properties if not column.count}
        lists = {column.name: (empty, empty) for column in element.properties if column.count}
        return Table(columns, lists), offset

    # Suppose that all rows are built like the first.
    fields: list[tuple] = []
    for column in element.properties:
        kind = np.dtype(order + column.type)
        if column.count:
            count = np.dtype(order + column.count)
            position = offset + np.dtype(fields).itemsize
            if position + count.itemsize > len(data):
                raise ValueError(f"it ends within the {element.name} data")
            length = int(np.frombuffer(data, count, 1, position)[0])
            if length < 0 or length > len(data):
                raise ValueError(f"the first {column.name} of {element.name} has {length} values")
            fields.append((f"{column.name} length", count))
            fields.append((column.name, kind, (length,)))
        else:
            fields.append((column.name, kind))
    row = np.dtype(fields)
    lists = [column.name for column in element.properties if column.count]
    end = offset + element.rows * row.itemsize
    if end <= len(data):
        rows = np.frombuffer(data, row, element.rows, offset)
        if all((rows[f"{name} length"] == row[name].shape[0]).all() for name in lists):
            table = Table()
            for column in element.properties:
                if column.count:
                    length = row[column.name].shape[0]
                    sizes = np.broadcast_to(np.int64(length), element.rows)
                    table.lists[column.name] = _lists(rows, column.name), sizes
                else:
                    table.columns[column.name] = rows[column.name]
            return table, end
    if not lists:
        raise ValueError(f"it ends within the {element.name} data")
    return _ragged_table(data, offset, element, order)


def _lists(rows: np.ndarray, name: str) -> np.ndarray:
    """The values `[N]` of a list that has one length in all rows."""
    # Copy each list as one thing of so many bytes, which takes half the time.
    fields: Any = rows.dtype.fields
    kind, offset = fields[name][:2]
    if not kind.itemsize:
        return np.zeros(0, kind.base)
    whole: Any = {
        "names": [name],
        "formats": [np.dtype((np.void, kind.itemsize))],
        "offsets": [offset],
        "itemsize": rows.dtype.itemsize,
    }
    return np.ascontiguousarray(rows.view(np.dtype(whole))[name]).view(kind.base)


def _ragged_table(data: bytes, offset: int, element: Element, order: str) -> tuple[Table, int]:
    """Reads a table with lists of different lengths."""
    # Walk over the rows, to find where each list starts.
    steps: list[tuple[int, struct.Struct, int]] = []  # bytes before a list, its length, its values
    before = 0
    for column in element.properties:
        if column.count:
            reader = struct.Struct(order + CODES[column.count])
            steps.append((before, reader, np.dtype(column.type).itemsize))
            before = 0
        else:
            before += np.dtype(column.type).itemsize
    starts: list[int] = []
    sizes: list[int] = []
    begins = []
    place = offset
    try:
        for _ in range(element.rows):
            begins.append(place)
            for skip, reader, item in steps:
                (size,) = reader.unpack_from(data, place + skip)
                place += skip + reader.size
                starts.append(place)
                sizes.append(int(size))
                if size < 0:
                    raise ValueError(f"a row of {element.name} has a list of {size} values")
                place += int(size) * item
            place += before
    except struct.error:
        place = len(data) + 1
    if place > len(data):
        raise ValueError(f"it ends within the {element.name} data")

    # Gather the bytes of all values of a column.
    table = Table()
    whole = np.frombuffer(data, np.uint8)
    list_starts = np.array(starts, np.int64).reshape(element.rows, len(steps))
    list_sizes = np.array(sizes, np.int64).reshape(element.rows, len(steps))
    at, number = np.array(begins, np.int64), 0
    for column in element.properties:
        kind, counts = np.dtype(order + column.type), None
        if column.count:
            counts, firsts = list_sizes[:, number], list_starts[:, number]
            steps_within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            places = np.repeat(firsts, counts) + steps_within * kind.itemsize
            at, number = firsts + counts * kind.itemsize, number + 1
        else:
            places, at = at, at + kind.itemsize
        values = whole[places[:, None] + np.arange(kind.itemsize)[None]].reshape(-1).view(kind)
        if counts is not None:
            table.lists[column.name] = values, counts
        else:
            table.columns[column.name] = values
    return table, place
