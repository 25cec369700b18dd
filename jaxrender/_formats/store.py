"""Structs in files: what `io.save` writes and `io.load` reads, without pickles.

A tree of structs, tuples, lists, dicts and plain values is a text (JSON), in which arrays are named
by their place ("camera.rotation"). In an .npz archive the text is the entry `jaxrender.json`, and
each array an entry of its own, which `numpy.load` reads by that name; in a .json file arrays stand
in the text.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import is_concrete
from jaxrender._formats.saving import replacing, write_files
from jaxrender._formats.text import read_bytes
from jaxrender._types import Camera, Mesh, Projection, ScreenMesh
from jaxrender.ops.pytrees import structs_of

VERSION = 1
ENTRY = "jaxrender.json"
SUFFIXES = (".npz", ".json")

# The last axes of arrays; there may be others before, of a batch.
LAST_AXES: dict[type, dict[str, tuple[int, ...]]] = {
    Camera: {"rotation": (3, 3), "translation": (3,)},
    Mesh: {"vertices": (3,), "faces": (3,)},
    ScreenMesh: {"vertices": (3,), "faces": (3,)},
}


def write_store(path: Path, things: Mapping[str, Any]) -> None:
    """Writes things by name.

    Raises:
        ValueError: one is not made of structs, arrays and plain values.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = {name: _encoded(name, thing, arrays) for name, thing in things.items()}
    head = {"jaxrender": VERSION, "content": tree}
    if path.suffix.lower() == ".json":
        head["arrays"] = {
            name: {"dtype": values.dtype.name, "shape": values.shape, "values": values.tolist()}
            for name, values in arrays.items()
        }
        try:
            text = json.dumps(head, allow_nan=False)
        except ValueError as error:
            raise ValueError(f"{path}: JSON has no NaN and no infinity. Write .npz.") from error
        write_files({path: text.encode()})
        return

    with replacing(path) as (part,), zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(ENTRY, json.dumps(head))
        for name, values in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, values, allow_pickle=False)
            archive.writestr(f"{name}.npy", entry.getvalue())


def read_store(path: Path, kinds: Sequence[type]) -> dict[str, Any]:
    """The things of a file by name.

    Raises:
        ValueError: it is not a file of `write_store`; the message goes on from its name.
    """
    known = structs_of("jaxrender") | {kind.__name__: kind for kind in kinds}
    if path.suffix.lower() == ".json":
        head = json.loads(read_bytes(path))
        _check_head(head)
        arrays = {
            name: np.array(told["values"], told["dtype"]).reshape(told["shape"])
            for name, told in head["arrays"].items()
        }
    else:
        with zipfile.ZipFile(path) as archive:
            if ENTRY not in archive.namelist():
                raise ValueError(f"it has no entry {ENTRY}: `jaxrender.io.save` did not write it")
            head = json.loads(archive.read(ENTRY))
            _check_head(head)
            arrays = {
                name.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(name)), allow_pickle=False
                )
                for name in archive.namelist()
                if name != ENTRY
            }
    return {name: _decoded(name, node, arrays, known) for name, node in head["content"].items()}


def _check_head(head: Any) -> None:
    if not isinstance(head, dict) or "jaxrender" not in head:
        raise ValueError("`jaxrender.io.save` did not write it")
    if head["jaxrender"] != VERSION:
        raise ValueError(
            f"its format is {head['jaxrender']}, and this version knows {VERSION}. Update jaxrender"
        )


def _encoded(name: str, thing: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A node of the tree; its arrays are put aside, by their places."""
    if thing is None or isinstance(thing, bool | int | str):
        return thing
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else {"float": str(thing)}
    if isinstance(thing, jax.Array | np.ndarray | np.generic):
        arrays[name] = _known(name, thing)
        return {"array": name}
    if isinstance(thing, tuple | list):
        items = [_encoded(f"{name}[{k}]", item, arrays) for k, item in enumerate(thing)]
        return {"tuple" if isinstance(thing, tuple) else "list": items}
    if isinstance(thing, dict) and all(isinstance(key, str) for key in thing):
        return {"dict": {key: _encoded(f"{name}.{key}", thing[key], arrays) for key in thing}}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = {
            field.name: _encoded(f"{name}.{field.name}", getattr(thing, field.name), arrays)
            for field in dataclasses.fields(thing)
        }
        return {"struct": type(thing).__name__, "fields": fields}
    raise ValueError(
        f"`{name}` must be a struct of jaxrender, an array, a plain value, or a tuple, list or "
        f"dict of these, got {getattr(thing, '__name__', None) or type(thing).__name__}. Leave "
        "functions out, and name those that have a name."
    )


def _known(name: str, thing: Any) -> np.ndarray:
    """The values of an array.

    Raises:
        ValueError: it is traced, or of a type that NumPy has not.
    """
    if not is_concrete(thing):
        raise ValueError(f"`{name}` must have known values, got a traced one. Save outside jit.")
    if isinstance(thing, jax.Array) and jnp.issubdtype(thing.dtype, jax.dtypes.extended):
        raise ValueError(f"`{name}` must be an array of numbers, got {thing.dtype}.")
    values = np.asarray(thing)
    if values.dtype.kind not in "biuf" or values.dtype.isbuiltin != 1:
        raise ValueError(
            f"`{name}` must be an array of numbers that NumPy has, got {values.dtype.name}. Pass "
            "it as float32."
        )
    return values


def _decoded(name: str, node: Any, arrays: Mapping[str, np.ndarray], known: dict[str, type]) -> Any:
    """The thing that a node says."""
    if not isinstance(node, dict):
        return node
    if "float" in node:
        return float(node["float"])
    if "array" in node:
        return jnp.asarray(arrays[node["array"]])
    for key, kind in (("tuple", tuple), ("list", list)):
        if key in node:
            items = enumerate(node[key])
            return kind(_decoded(f"{name}[{k}]", item, arrays, known) for k, item in items)
    if "dict" in node:
        items = node["dict"].items()
        return {key: _decoded(f"{name}.{key}", item, arrays, known) for key, item in items}
    if node["struct"] not in known:
        raise ValueError(
            f"`{name}` is a {node['struct']}, which this version does not know. Pass the class in "
            "`kinds`, or update jaxrender"
        )
    kind: Any = known[node["struct"]]
    fields = {
        key: _decoded(f"{name}.{key}", item, arrays, known) for key, item in node["fields"].items()
    }
    wanted = {field.name for field in dataclasses.fields(kind)}
    if fields.keys() - wanted:
        extra = ", ".join(sorted(fields.keys() - wanted))
        raise ValueError(
            f"`{name}` has {extra}, which {kind.__name__} has not in this version. Update jaxrender"
        )
    _check_axes(name, kind, fields)
    return kind(**fields)


def _check_axes(name: str, kind: type, fields: Mapping[str, Any]) -> None:
    """Rejects arrays whose last axes are not those of their struct."""
    axes = kind.shapes if issubclass(kind, Projection) else LAST_AXES.get(kind, {})
    for field, last in axes.items():
        shape = getattr(fields.get(field), "shape", ())
        if shape[len(shape) - len(last) :] != last:
            wanted = ", ".join(["...", *map(str, last)])
            raise ValueError(f"`{name}.{field}` must be [{wanted}], got {list(shape)}")
