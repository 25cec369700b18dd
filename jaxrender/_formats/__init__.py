"""Mesh files: each module reads or writes one family of formats, in NumPy arrays.

`FORMATS` says which there are, and what `load_mesh` and `save_mesh` want of each. To add one, write
a module with `read(path, …) -> RawMesh`, and a line of the table. It gives colours in the encoding
that is asked for; what it does not understand it notes in `RawMesh.notes`, and what is wrong is a
ValueError, in text with the line (`off.py`, which also writes), else of `RawMesh.check` (`stl.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxrender._choices import Encoding
from jaxrender._formats import gltf, gltf_writer, obj, obj_writer, off, others, ply, stl
from jaxrender._formats.raw import RawMesh


class Reading(NamedTuple):
    """What of a file is read, and how."""

    encoding: Encoding  # of all colours of the mesh
    read_pixels: Callable[..., Any] | None  # for pictures; None: no colours are read
    motion: dict[str, Any]  # of glTF


class Writing(NamedTuple):
    """How pictures are written."""

    png: Callable[..., bytes]  # the bytes of a file, by what errors call it and the picture


class Format(NamedTuple):
    """How a kind of mesh file is read and written, and what of colours it stores."""

    read: Callable[[Path, Reading], RawMesh]
    write: Callable[[Path, RawMesh, Writing], None] | None = None  # None: it is read alone
    pictures: bool = False
    tint: bool = False
    vertex_colors: bool = False
    face_colors: bool = False
    normals: Literal["any", "vertices"] | None = None  # of corners too, or of vertices alone
    materials: bool = False  # their numbers, and alpha


_GLTF = Format(
    lambda path, how: gltf.read_gltf(path, how.read_pixels, how.encoding, **how.motion),
    lambda path, raw, how: gltf_writer.write_gltf(
        path, raw, lambda image: how.png(f"{path}: a picture", image)
    ),
    pictures=True,
    tint=True,
    vertex_colors=True,
    face_colors=True,
    normals="any",
    materials=True,
)
FORMATS = {
    ".obj": Format(
        lambda path, how: obj.read_obj(path, how.read_pixels, how.encoding),
        lambda path, raw, how: obj_writer.write_obj(path, raw, how.png),
        pictures=True,
        vertex_colors=True,
        face_colors=True,
        normals="any",
    ),
    ".ply": Format(
        lambda path, how: ply.read_ply(path, how.encoding, how.read_pixels),
        lambda path, raw, how: others.write_trimesh(path, raw),
        vertex_colors=True,
        face_colors=True,
        normals="vertices",
    ),
    ".stl": Format(
        lambda path, how: stl.read_stl(path, how.encoding),
        lambda path, raw, how: others.write_trimesh(path, raw),
    ),
    ".off": Format(
        lambda path, how: off.read_off(path, how.encoding),
        lambda path, raw, how: off.write_off(path, raw),
        vertex_colors=True,
        face_colors=True,
    ),
    ".glb": _GLTF,
    ".gltf": _GLTF,
}
