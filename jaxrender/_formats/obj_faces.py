"""The corners of the faces of OBJ files: `v`, `v/vt`, `v//vn` or `v/vt/vn`.

Shapes: `P` polygons, `C` corners of all polygons.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxrender._formats.text import SPACE, Lines, Notes, parsed, shown

SLASH = ord("/")

# The forms of a corner by (slashes, double slashes): which of v, vt, vn it has.
FORMS = {(0, 0): (0,), (1, 0): (0, 1), (2, 1): (0, 2), (2, 0): (0, 1, 2)}
KINDS = (("v", "vertex"), ("vt", "texture coordinate"), ("vn", "normal"))


class Corners(NamedTuple):
    """The corners of all polygons, one polygon after the other; indices from 0.

    Attributes:
        sizes: `[P]` how many corners each polygon has.
        vertices: `[C]` indices.
        uv: `[C]` indices, -1 where there is none; None if none has.
        normals: likewise.
    """

    sizes: np.ndarray
    vertices: np.ndarray
    uv: np.ndarray | None
    normals: np.ndarray | None


def read_corners(lines: Lines, kinds: dict[str, np.ndarray], notes: Notes) -> Corners:
    """Reads the lines of faces.

    Args:
        lines: of the file.
        kinds: which lines are of `v`, `vt`, `vn` and `f`.
        notes: takes what is dropped.

    Raises:
        LineError: a face has less than three corners, or an index leads nowhere.
    """
    faces = kinds["f"]
    sizes = lines.words[faces].astype(np.int64) - 1
    short = np.flatnonzero(sizes < 3)
    if len(short):
        message = f"a face needs three corners, got {sizes[short[0]]}"
        raise lines.error(int(faces[short[0]]), message)

    # Read the lines of each form at a time, and those of none or several word by word.
    block = lines.block(faces, 1)
    forms = _forms(block, sizes)
    numbers: list[np.ndarray | None] = [None, None, None]
    offsets = np.cumsum(sizes) - sizes
    for form in np.flatnonzero(np.bincount(forms + 1)) - 1:
        which = np.flatnonzero(forms == form)
        kept = tuple(FORMS.values())[form] if form >= 0 else (0, 1, 2)
        text = block if len(which) == len(faces) else lines.block(faces[which])
        count = int(sizes[which].sum())
        values = None
        if form >= 0:
            values = parsed(text.replace(b"/", b" "), np.int64, count * len(kept))
        if values is None:
            kept, values = (0, 1, 2), _slowly(lines, faces[which])
        values = values.reshape(count, len(kept))
        for column, kind in enumerate(kept):
            if len(which) == len(faces):
                numbers[kind] = values[:, column]
                continue
            found = numbers[kind]
            if found is None:
                found = numbers[kind] = np.zeros(int(sizes.sum()), np.int64)
            found[_ranges(offsets[which], sizes[which])] = values[:, column]
    vertices, uv, normals = [
        None if values is None else _counted(lines, kinds, kind, values, sizes, notes)
        for kind, values in enumerate(numbers)
    ]
    return Corners(sizes, np.zeros(0, np.int64) if vertices is None else vertices, uv, normals)


def _forms(block: bytes, sizes: np.ndarray) -> np.ndarray:
    """The form of the corners of each line, as a number of `FORMS`; -1 for another or several."""
    if b"/" not in block:
        return np.zeros(len(sizes), np.int64)
    text = np.frombuffer(block, np.uint8)
    space = text <= SPACE
    first = ~space
    first[1:] &= space[:-1]
    words = np.flatnonzero(first)
    slash = text == SLASH
    double = slash.copy()
    double[0] = False
    double[1:] &= slash[:-1]
    codes = np.add.reduceat(slash.astype(np.uint8), words, dtype=np.uint8)
    if double.any():
        # A word of 256 slashes looks like one of none, which the number of numbers gives away.
        codes += 16 * np.add.reduceat(double.astype(np.uint8), words, dtype=np.uint8)
    table = np.full(256, -1, np.int64)
    for number, (slashes, doubles) in enumerate(FORMS):
        table[slashes + 16 * doubles] = number
    if (codes == codes[0]).all():
        return np.full(len(sizes), table[codes[0]])
    forms = table[codes]
    starts = np.cumsum(sizes) - sizes
    low, high = np.minimum.reduceat(forms, starts), np.maximum.reduceat(forms, starts)
    return np.where(low == high, low, -1)


def _slowly(lines: Lines, faces: np.ndarray) -> np.ndarray:
    """Corners `[C, 3]` of lines, word by word; 0 where one has no texture coordinate or normal."""
    found = []
    for line in faces.tolist():
        for word in lines.split(line):
            parts = [*word.split(b"/"), b"", b""]
            try:
                if len(parts) > 5 or b"_" in word:
                    raise ValueError
                corner = [int(parts[0]), *(int(part) if part else 0 for part in parts[1:3])]
                if max(map(abs, corner)) >= 2**62:
                    raise ValueError
            except ValueError:
                text = shown(word.decode("latin-1"))
                message = f"a corner is v, v/vt, v//vn or v/vt/vn, got {text}"
                raise lines.error(line, message) from None
            found.append(corner)
    return np.array(found, np.int64).reshape(-1, 3)


def _counted(
    lines: Lines,
    kinds: dict[str, np.ndarray],
    kind: int,
    numbers: np.ndarray,
    sizes: np.ndarray,
    notes: Notes,
) -> np.ndarray | None:
    """Counts from 0 what the file counts from 1, or, negative, back from the latest line."""
    keyword, what = KINDS[kind]
    faces, total = kinds["f"], len(kinds[keyword])
    back = numbers < 0
    indices = numbers - 1
    if back.any():
        owners = np.repeat(np.arange(len(sizes)), sizes)[back]
        indices[back] = numbers[back] + np.searchsorted(kinds[keyword], faces)[owners]
    bad = (indices >= total) | (indices < 0)
    if kind:
        bad &= numbers != 0
        indices[numbers == 0] = -1
    if not bad.any():
        return indices
    first = int(np.flatnonzero(bad)[0])
    face = int(np.searchsorted(np.cumsum(sizes), first, side="right"))
    number, before = numbers[first], int(np.searchsorted(kinds[keyword], faces[face]))
    if number > 0:
        message = f"a face names {what} {number}, of {total}"
    else:
        message = f"index {number} with {before} lines of {keyword} to count"
    if keyword == "vn":
        line = lines.number(int(faces[face]))
        notes.add(lines.path, f"ignores the normals: {message} (line {line})")
        return None
    raise lines.error(int(faces[face]), message)


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The numbers from each start on, so many for each, one after the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)
