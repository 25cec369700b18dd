"""The container of glTF 2.0: JSON, buffers, views of them, and the arrays that accessors name.

Read with `json` and `struct` and not through a parser of glTF: two chunks and one level of
references are all there is to parse, and what costs care (strides, sparse and normalised values,
bounds, compression) parsers of glTF leave to the caller anyway.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._formats.raw import needed_by, relative

COMPONENTS = {
    5120: np.dtype("<i1"),
    5121: np.dtype("<u1"),
    5122: np.dtype("<i2"),
    5123: np.dtype("<u2"),
    5124: np.dtype("<i4"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
    5130: np.dtype("<f8"),
}

# (columns, rows) of each kind of element; vectors are one column.
ELEMENTS = {
    "SCALAR": (1, 1),
    "VEC2": (1, 2),
    "VEC3": (1, 3),
    "VEC4": (1, 4),
    "MAT2": (2, 2),
    "MAT3": (3, 3),
    "MAT4": (4, 4),
}

MOST_ELEMENTS = 2**28  # of what a few bytes of a file can ask for without holding it
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class Document:
    """One glTF file: its JSON, and what its references lead to.

    Attributes:
        path: the file.
        json: the top-level object.
        notes: what is not as the file asks for; warned of in one sentence in the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: dict[str, None] = {}
        self._buffers: dict[int, memoryview] = {}
        self._views: dict[int, memoryview] = {}
        data = memoryview(path.read_bytes())
        text, self._chunk = self._chunks(data) if data[:4] == b"glTF" else (data, None)
        try:
            self.json = json.loads(str(text, "utf-8-sig"), parse_constant=_reject_constant)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"it is neither GLB nor JSON: {error}") from error
        if not isinstance(self.json, dict):
            raise ValueError("its JSON is not an object")
        asset = self.json.get("asset", {})
        version = str(asset.get("minVersion", asset.get("version", "2.0")))
        if version != "2.0":
            raise ValueError(f"it is glTF {version}, known is 2.0")

    def note(self, text: str) -> None:
        """Keeps what the final warning is to name, once."""
        self.notes[text] = None

    def items(self, kind: str) -> list[Any]:
        """All top-level objects of a kind, "nodes" say."""
        found = self.json.get(kind, [])
        if not isinstance(found, list):
            raise ValueError(f"`{kind}` is not a list")
        return found

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """One of them.

        Raises:
            ValueError: there is none of that number.
        """
        found = self.items(kind)
        if not isinstance(index, int) or not 0 <= index < len(found):
            raise ValueError(f"{kind}[{index}] is asked for, of {len(found)}")
        if not isinstance(found[index], dict):
            raise ValueError(f"{kind}[{index}] is not an object")
        return found[index]

    def resource(self, name: str, uri: str) -> bytes | Path:
        """What a URI holds, or the file that it names.

        Raises:
            ValueError: it is not readable, leads to a network or an absolute path, or there is no
                such file.
        """
        if uri.startswith("data:"):
            head, comma, body = uri.partition(",")
            if not comma:
                raise ValueError(f"{name} has a data URI without a comma")
            if not head.endswith(";base64"):
                return urllib.parse.unquote_to_bytes(body)
            try:
                return base64.b64decode(urllib.parse.unquote(body))
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"{name} has a broken data URI: {error}") from error
        decoded = urllib.parse.unquote(uri)
        if "://" in uri or decoded.startswith(("/", "\\")):
            raise ValueError(f"{name} lies at {uri}, which is not relative to the file")
        # A name may be written as it is, though it should be percent-encoded.
        found = relative(self.path, decoded) or relative(self.path, uri)
        if found is None:
            raise ValueError(f"{name} is missing: there is no file {decoded}")
        return found

    def view(self, index: Any) -> tuple[memoryview, int | None]:
        """The bytes of a buffer view, and its stride if it has one."""
        described = self.item("bufferViews", index)
        name = f"bufferViews[{index}]"
        extensions = described.get("extensions", {})
        for extension in MESHOPT:
            if extension in extensions:
                described = extensions[extension]
                if index not in self._views:
                    packed = self._slice(name, described)
                    self._views[index] = _meshopt(name, extension, described, packed)
                return self._views[index], _whole(name, described, "byteStride")
        stride = _whole(name, described, "byteStride") if "byteStride" in described else None
        return self._slice(name, described), stride

    def accessor(self, index: Any) -> np.ndarray:
        """The values of an accessor.

        Returns:
            `[N, K]`, or `[N, columns, rows]` of matrices, not to be written to: whole numbers or
            floats as the file has them, or float64, which normalised whole numbers become.

        Raises:
            ValueError: it reaches out of its view, or is not as the standard says.
        """
        described = self.item("accessors", index)
        name = f"accessors[{index}]"
        count = _whole(name, described, "count")
        dtype, (columns, rows) = self._types(name, described)
        if "bufferView" in described:
            view, stride = self.view(described["bufferView"])
            offset = _whole(name, described, "byteOffset", 0)
            values = _strided(name, view, offset, stride, count, dtype, columns, rows)
        elif count > MOST_ELEMENTS:
            raise ValueError(f"{name} has {count} elements, but no buffer view")
        else:
            values = np.zeros((count, columns, rows), dtype)
        if "sparse" in described:
            values = values.copy()
            self._fill(f"{name}.sparse", described["sparse"], values)
        return self.unit(described, values if columns > 1 else values[:, 0])

    def unit(self, described: dict[str, Any], values: np.ndarray) -> np.ndarray:
        """Whole numbers as fractions if the accessor is normalised; other values as they are."""
        if values.dtype.kind == "f" or not described.get("normalized"):
            return values
        dtype = COMPONENTS[described["componentType"]]
        return np.maximum(values / np.iinfo(dtype).max, -1.0)

    def _types(self, name: str, described: dict[str, Any]) -> tuple[np.dtype, tuple[int, int]]:
        component, element = described.get("componentType"), described.get("type")
        if component not in COMPONENTS or element not in ELEMENTS:
            raise ValueError(f"{name} is of unknown type {element} of {component}")
        return COMPONENTS[component], ELEMENTS[element]

    def _fill(self, name: str, sparse: dict[str, Any], values: np.ndarray) -> None:
        """Puts the values of a sparse accessor in their places."""
        count = _whole(name, sparse, "count")
        parts = []
        for part, dtype, shape in (
            ("indices", COMPONENTS.get(sparse["indices"].get("componentType")), (1, 1)),
            ("values", values.dtype, values.shape[1:]),
        ):
            if dtype is None:
                raise ValueError(f"{name} has indices of unknown type")
            view, _ = self.view(sparse[part].get("bufferView"))
            offset = _whole(name, sparse[part], "byteOffset", 0)
            parts.append(_strided(f"{name}.{part}", view, offset, None, count, dtype, *shape))
        places = parts[0].reshape(-1)
        if len(places) and (places.min() < 0 or places.max() >= len(values)):
            raise ValueError(f"{name} fills place {places.max()}, of {len(values)}")
        values[places] = parts[1]

    def _slice(self, name: str, described: dict[str, Any]) -> memoryview:
        """The part of a buffer that a view, or its compressed form, names."""
        data = self._buffer(described.get("buffer"))
        offset = _whole(name, described, "byteOffset", 0)
        length = _whole(name, described, "byteLength")
        if offset + length > len(data):
            raise ValueError(f"{name} ends at byte {offset + length}, of {len(data)} of its buffer")
        return data[offset : offset + length]

    def _buffer(self, index: Any) -> memoryview:
        described = self.item("buffers", index)
        if index not in self._buffers:
            name, uri = f"buffers[{index}]", described.get("uri")
            if uri is not None:
                found = self.resource(name, uri)
                data = found.read_bytes() if isinstance(found, Path) else found
            elif index == 0 and self._chunk is not None:
                data = self._chunk
            else:
                raise ValueError(f"{name} has neither a URI nor a binary chunk")
            length = _whole(name, described, "byteLength")
            if length > len(data):
                raise ValueError(f"{name} says {length} bytes, and has {len(data)}")
            self._buffers[index] = memoryview(data)[:length]
        return self._buffers[index]

    def _chunks(self, data: memoryview) -> tuple[memoryview, memoryview | None]:
        """The JSON and the binary chunk of a GLB file."""
        if len(data) < 20:
            raise ValueError(f"it has {len(data)} bytes, too few for GLB")
        version, length = struct.unpack_from("<II", data, 4)
        if version != 2:
            raise ValueError(f"it is GLB version {version}, known is 2")
        if length > len(data):
            raise ValueError(f"it is cut off: {len(data)} bytes, of {length}")
        if length < len(data):
            self.note(f"{len(data) - length} bytes behind its end")
        chunks: dict[int, memoryview] = {}
        place = 12
        while place + 8 <= length:
            size, kind = struct.unpack_from("<II", data, place)
            if place + 8 + size > length:
                raise ValueError(f"a chunk of {size} bytes at {place} reaches beyond its end")
            chunks.setdefault(kind, data[place + 8 : place + 8 + size])
            place += 8 + size
        if 0x4E4F534A not in chunks:
            raise ValueError("it has no JSON chunk")
        return chunks[0x4E4F534A], chunks.get(0x004E4942)


def numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of the JSON as finite float64 of that shape; -1 is any length.

    Raises:
        ValueError: they are not.
    """
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not numbers: {values!r}") from error
    fits = array.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or not np.isfinite(array).all():
        size = " x ".join("any" if want < 0 else str(want) for want in shape) or "one"
        raise ValueError(f"{name} must be {size} finite number(s), got {values!r}")
    return array


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """Returns `values` if none is NaN or infinite.

    Raises:
        ValueError: one is.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        raise ValueError(f"{name}: element {place} is not finite: {values[place].tolist()}")
    return values


def _strided(
    name: str,
    view: memoryview,
    offset: int,
    stride: int | None,
    count: int,
    dtype: np.dtype,
    columns: int,
    rows: int,
) -> np.ndarray:
    """The elements `[N, columns, rows]` of a view, which are not copied."""
    # Let each column of a matrix start at a multiple of four bytes.
    column = rows * dtype.itemsize
    if columns > 1:
        column = -(-column // 4) * 4
    if stride is None or stride == 0:
        stride = columns * column
    used = (columns - 1) * column + rows * dtype.itemsize
    if stride < used:
        raise ValueError(f"{name} has elements of {used} bytes, {stride} apart")
    end = offset + stride * (count - 1) + used if count else offset
    if end > len(view):
        raise ValueError(f"{name} ends at byte {end} of its buffer view, which has {len(view)}")
    strides = (stride, column, dtype.itemsize)
    return np.ndarray((count, columns, rows), dtype, view, offset, strides)


def _meshopt(name: str, extension: str, described: dict[str, Any], data: memoryview) -> memoryview:
    """Decompresses a buffer view."""
    meshopt = needed_by(extension, "meshopt", package="meshopt")
    count, stride = (_whole(name, described, key) for key in ("count", "byteStride"))
    if count * stride > 16 * MOST_ELEMENTS:
        raise ValueError(f"{name} has {count} elements of {stride} bytes once it is decompressed")
    mode, filter = described.get("mode"), described.get("filter", "NONE")
    decoded = meshopt.decode_gltf_buffer(bytes(data), count, stride, mode, filter)
    return memoryview(np.ascontiguousarray(decoded).tobytes())


def _whole(name: str, described: dict[str, Any], key: str, default: int | None = None) -> int:
    """A count, length or offset: a whole number from 0."""
    value = described.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # some JSON writers know no whole numbers
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name}.{key} must be a whole number from 0, got {value!r}")
    return value


def _reject_constant(word: str) -> None:
    raise ValueError(f"its JSON has {word} where a number belongs")
