"""Writes small glTF files for tests: arrays become accessors, the rest is plain JSON."""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
CORNERS = np.array([0, 1, 2, 0, 2, 3], np.uint16)


class Writer:
    """A glTF file as it grows."""

    def __init__(self, **top: Any) -> None:
        self.data = b""
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, **top}

    def item(self, kind: str, **described: Any) -> int:
        """Appends a top-level object, and returns its number."""
        self.json.setdefault(kind, []).append(described)
        return len(self.json[kind]) - 1

    def view(self, data: bytes, **described: Any) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        place = len(self.data)
        self.data += data
        return self.item(
            "bufferViews", buffer=0, byteOffset=place, byteLength=len(data), **described
        )

    def accessor(self, values: Any, **described: Any) -> int:
        """Appends an array; matrices go column by column."""
        values = np.asarray(values)
        kind = COMPONENTS[values.dtype.str[1:]]
        rows = values.swapaxes(1, 2) if values.ndim == 3 else values
        return self.item(
            "accessors",
            bufferView=self.view(np.ascontiguousarray(rows).tobytes()),
            componentType=kind,
            count=len(values),
            type=TYPES[values.shape[1:]],
            **described,
        )

    def mesh(
        self,
        positions: Any = SQUARE,
        indices: Any = CORNERS,
        *,
        attributes: dict[str, int] | None = None,
        mesh: dict[str, Any] | None = None,
        **primitive: Any,
    ) -> int:
        """Appends a mesh of one primitive."""
        attributes = dict(attributes or {})
        if positions is not None:
            attributes["POSITION"] = self.accessor(np.asarray(positions, np.float32))
        if indices is not None:
            primitive["indices"] = self.accessor(indices)
        made = {"attributes": attributes, **primitive}
        return self.item("meshes", primitives=[made], **(mesh or {}))

    def picture(self, pixels: Any, format: str = "PNG", **texture: Any) -> int:
        """Appends a picture and a texture of it, and returns the texture's number."""
        from PIL import Image

        file = io.BytesIO()
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(file, format, lossless=True) if format == "WEBP" else image.save(file, format)
        mime = f"image/{format.lower()}"
        source = self.item("images", bufferView=self.view(file.getvalue()), mimeType=mime)
        return self.item("textures", **({"source": source} | texture))

    def draw(self, mesh: int = 0, **node: Any) -> Writer:
        """Appends a node that shows a mesh, and that the scene names."""
        number = self.item("nodes", mesh=mesh, **node)
        if "scenes" not in self.json:
            self.json["scenes"] = [{"nodes": []}]
        self.json["scenes"][0]["nodes"].append(number)
        return self

    def glb(self) -> bytes:
        self.json["buffers"] = [{"byteLength": len(self.data)}]
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + b"\0" * (-len(self.data) % 4)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
        chunks += struct.pack("<II", len(data), 0x004E4942) + data
        return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks

    def save(self, path: Path) -> Path:
        """Writes a GLB file."""
        path.write_bytes(self.glb())
        return path

    def save_json(self, path: Path, buffer: str | None = None) -> Path:
        """Writes a glTF file, with its buffer in a file of that name, or in itself."""
        uri = buffer
        if buffer is None:
            uri = f"data:application/octet-stream;base64,{base64.b64encode(self.data).decode()}"
        else:
            (path.parent / buffer).write_bytes(self.data)
        self.json["buffers"] = [{"byteLength": len(self.data), "uri": uri}]
        path.write_text(json.dumps(self.json))
        return path
