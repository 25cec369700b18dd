"""STL, read: text or binary; corners at one place become one vertex.

A text file may hold several solids, which become objects.

Colours of faces are read where one of the two ways is used that programs have agreed on: 15 bits in
the two bytes behind each face, whose highest bit says that they are a colour (VisCAM, SolidView),
or, where the header says `COLOR=`, that they are none and the colour of the header is meant
(Magics; MeshLab writes that header, and by the bit means the same as VisCAM). Normals are those of
the faces themselves, and are not kept.

Shapes: `F` faces.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxrender._choices import Encoding
from jaxrender._color import recode
from jaxrender._formats.polygons import cut
from jaxrender._formats.raw import RawMesh, first_not_finite
from jaxrender._formats.text import Lines, Notes, read_bytes

FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
START = 84  # of the faces: behind 80 bytes of any text and their number
KEYWORDS = ("solid", "endsolid", "facet", "endfacet", "outer", "endloop", "vertex")


def read_stl(path: Path, encoding: Encoding = "display") -> RawMesh:
    """Reads an STL file.

    Raises:
        LineError: a line of a text file is not as the format says.
        ValueError: the file ends too early, or there are no faces.
    """
    notes = Notes()
    data = path.read_bytes()
    count = int.from_bytes(data[80:START], "little") if len(data) >= START else -1
    size = START + count * FACE.itemsize

    # A binary file may begin with "solid", too; then its size says what it is.
    text = read_bytes(path)
    is_text = text[:512].lstrip()[:5].lower() == b"solid"
    is_text = is_text and any(word in text.lower() for word in (b"facet", b"endsolid"))
    if len(data) == size or (count >= 0 and not is_text):
        corners, colors = _binary(path, data, count, notes)
        raw = _weld(corners.reshape(-1, 3))
        raw.face_colors = None if colors is None else recode(colors, "display", encoding)
    elif is_text:
        corners, solids, names = _text(path, text, notes)
        raw = _weld(corners.reshape(-1, 3))
        raw.objects, raw.face_object = names, solids
    else:
        raise ValueError("it is neither text that starts with `solid` nor a binary STL file")
    raw.encoding = encoding
    raw.check()
    raw.notes = list(notes)
    return raw


def _binary(
    path: Path, data: bytes, count: int, notes: Notes
) -> tuple[np.ndarray, np.ndarray | None]:
    """The corners `[F, 3, 3]` of a binary file, and the colours `[F, 3]` of its faces."""
    end = START + count * FACE.itemsize
    if end > len(data):
        found = (len(data) - START) // FACE.itemsize
        raise ValueError(f"it ends within its faces: {found} of {count}")
    if end < len(data):
        notes.add(path, f"ignores {len(data) - end} bytes behind the last face")
    faces = np.frombuffer(data, FACE, count, START)
    attribute = faces["attribute"]
    high = attribute >= 1 << 15
    bits = np.stack([attribute >> shift & 31 for shift in (10, 5, 0)], axis=-1)
    header = data[:80]
    place = header.find(b"COLOR=")
    corners = faces["corners"].astype(np.float64)
    if 0 <= place <= 80 - 10:
        # MeshLab turns the meaning of the highest bit, which its other colours give away.
        common = np.frombuffer(header, np.uint8, 3, place + 6)
        turned = (high & ~np.isin(attribute & 0x7FFF, (0, 0x7FFF))).any()
        own = high if turned or not attribute.any() else ~high
        return corners, np.where(own[:, None], bits[:, ::-1] / 31, common[None] / 255)
    if high.any():
        return corners, np.where(high[:, None], bits / 31, 1.0)
    if attribute.any():
        notes.add(path, "ignores the attributes of faces, which say no colour")
    return corners, None


def _text(path: Path, data: bytes, notes: Notes) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The corners `[F, 3, 3]` of a text file, the solid `[F]` of each face, and their names."""
    lines = Lines(path, data)
    which = {keyword: lines.starting(keyword) for keyword in KEYWORDS}
    known = np.zeros(len(lines), bool)
    for found in which.values():
        known[found] = True
    if not known.all():
        line = lines.number(int(np.flatnonzero(~known)[0]))
        notes.add(path, f"ignores lines of unknown kinds, as line {line}")
    rows = lines.rows(which["vertex"], "vertex")
    rows.need(3, "a vertex needs three numbers")
    vertices = rows.columns(0, 3)

    # A loop holds the corners of one face, as a rule three.
    loops = which["outer"]
    sizes = np.diff(np.searchsorted(which["vertex"], np.append(loops, len(lines))))
    short = np.flatnonzero(sizes < 3)
    if len(short):
        message = f"a face needs three corners, got {sizes[short[0]]}"
        raise lines.error(int(loops[short[0]]), message)
    if sizes.sum() != len(vertices):
        raise lines.error(int(which["vertex"][0]), "a vertex stands outside of a loop")
    bad = first_not_finite(vertices)
    if bad is not None:
        raise rows.error(bad, f"a vertex is not finite: {vertices[bad].tolist()}")
    triangles = cut(vertices, np.arange(len(vertices)), sizes)

    # Number the solids that have faces, those of one name as one.
    heads = which["solid"]
    before = np.searchsorted(heads, loops)
    names = ["", *(lines.text(line)[len("solid") :].strip() for line in heads.tolist())]
    numbers: dict[str, int] = {}
    told = {at: numbers.setdefault(names[at], len(numbers)) for at in np.unique(before).tolist()}
    solids = np.array([told.get(at, -1) for at in range(len(names))])[before]
    return triangles.of_corners(vertices), triangles.of_polygons(solids), list(numbers)


def _weld(corners: np.ndarray) -> RawMesh:
    """Makes one vertex of the corners at one place, in the order of their first use.

    Args:
        corners: `[3 F, 3]` of the faces, one after the other.
    """
    corners = corners + 0.0  # -0 becomes 0
    order = np.lexsort(corners.T)
    placed = corners[order]
    new = np.ones(len(corners), bool)
    new[1:] = (placed[1:] != placed[:-1]).any(axis=1)
    group = np.cumsum(new) - 1
    ids = np.empty(len(corners), np.int64)
    ids[order] = group

    # `lexsort` keeps the order of equals, so that the first of each group is its first use.
    first = order[new]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return RawMesh(corners[np.sort(first)], rank[ids].reshape(-1, 3))
