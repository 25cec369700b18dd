"""A glTF 2.0 file as it grows: JSON, and the bytes that it names."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np

from jaxrender._formats.gltf_materials import CLAMP, MIRROR, NEAREST, REPEAT
from jaxrender._textures import FILTERS, WRAPS

FLOAT, SHORT, LONG = 5126, 5123, 5125  # types of components
LINEAR = 9729
CODES = {"repeat": REPEAT, "clamp": CLAMP, "mirror": MIRROR, "linear": LINEAR, "nearest": NEAREST}


class File:
    """A glTF file as it grows: JSON, and the bytes that it names."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "jaxrender"},
            "scene": 0,
        }
        self.extensions: dict[str, None] = {}
        self._textures: dict[tuple[int, tuple[int, ...]], int] = {}

    def item(self, kind: str, **described: Any) -> int:
        """Appends a top-level object; returns its number."""
        self.json.setdefault(kind, []).append(described)
        return len(self.json[kind]) - 1

    def texture(self, image: int, sampler: tuple[int, ...]) -> int:
        """A texture of a picture, which is read as `UVTexture.samplers` say; returns its number."""
        key = image, sampler
        if key not in self._textures:
            along_u, along_v, between = sampler
            wraps = {"wrapS": CODES[WRAPS[along_u]], "wrapT": CODES[WRAPS[along_v]]}
            filter = CODES[FILTERS[between]]
            number = self.item("samplers", **wraps, magFilter=filter, minFilter=filter)
            self._textures[key] = self.item("textures", source=image, sampler=number)
        return self._textures[key]

    def view(self, data: bytes, **described: Any) -> int:
        """Appends bytes, from a multiple of four on."""
        self.data += b"\0" * (-len(self.data) % 4)
        place = len(self.data)
        self.data += data
        described |= {"buffer": 0, "byteOffset": place, "byteLength": len(data)}
        return self.item("bufferViews", **described)

    def accessor(self, values: np.ndarray, target: int, **described: Any) -> int:
        """Appends an array `[N]` or `[N, K]`."""
        kinds = {"f": FLOAT, "H": SHORT, "I": LONG}
        types = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
        data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        return self.item(
            "accessors",
            bufferView=self.view(data, target=target),
            componentType=kinds[values.dtype.char],
            count=len(values),
            type=types[values.shape[1] if values.ndim == 2 else 1],
            **described,
        )

    def _whole(self, **buffer: Any) -> bytes:
        """The JSON, with the buffer that it names."""
        used = {"extensionsUsed": list(self.extensions)} if self.extensions else {}
        buffers = [{"byteLength": len(self.data), **buffer}]
        return json.dumps(self.json | used | {"buffers": buffers}, separators=(",", ":")).encode()

    def glb(self) -> bytes:
        """The file as one binary."""
        text = self._whole()
        text += b" " * (-len(text) % 4)
        data = bytes(self.data) + b"\0" * (-len(self.data) % 4)
        length = 12 + 8 + len(text) + 8 + len(data)
        head = struct.pack("<4sII", b"glTF", 2, length)
        chunk = struct.pack("<I4s", len(text), b"JSON") + text
        return head + chunk + struct.pack("<I4s", len(data), b"BIN\0") + data

    def text(self) -> bytes:
        """The file as JSON, with its bytes inside."""
        uri = "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
        return self._whole(uri=uri)
