"""Body models in the files of SMPL: pickles of Python 2, or NumPy archives.

A pickle is a program, and the official ones were written with chumpy, which no longer installs.
So nothing that a pickle names is ever called: arrays, sparse matrices and chumpy's objects become
`_Stand`s, which only hold what the file says about them, and whose numbers are read from there.

Shapes: `V` vertices, `F` faces, `J` joints, `S` shape parameters,
`P = 9 (J - 1)` numbers of a pose.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = {
    "v_template": ("V", 3),
    "f": ("F", 3),
    "shapedirs": ("V", 3, "S"),
    "posedirs": ("V", 3, "P"),
    "J_regressor": ("J", "V"),
    "weights": ("V", "J"),
    "kintree_table": (2, "J"),
}
WHOLE = ("f", "kintree_table")


def read_smpl(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a body model by the names of its fields.

    Raises:
        ValueError: the file is not such a model; the message goes on from its name.
    """
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    arrays = _read_archive(path) if archive else _read_pickle(path)
    _check_shapes(arrays)

    # Each joint of the tree has a name, which is its column in all of the files known.
    above, names = arrays["kintree_table"].tolist()
    columns = {name: column for column, name in enumerate(names)}
    parents = [-1, *(columns.get(name, -1) for name in above[1:])]
    return {
        "template": arrays["v_template"],
        "faces": arrays["f"],
        "shape_directions": arrays["shapedirs"],
        "pose_directions": arrays["posedirs"],
        "joint_regressor": arrays["J_regressor"],
        "weights": arrays["weights"],
        "parents": np.array(parents),
    }


def _check_shapes(arrays: dict[str, np.ndarray]) -> None:
    """Checks that the arrays fit each other, and that faces name vertices."""
    sizes: dict[str, int] = {}
    for key, shape in SHAPES.items():
        array = arrays[key]
        fits = array.ndim == len(shape) and all(
            size == (want if isinstance(want, int) else sizes.setdefault(want, size))
            for want, size in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(sizes.get(str(size), size)) for size in shape)
            raise ValueError(f"{key} must be an array [{wanted}], got {list(array.shape)}")
        if array.dtype.kind not in ("iu" if key in WHOLE else "fiu"):
            raise ValueError(f"{key} must hold numbers, got {array.dtype.name}")
        if not np.isfinite(array).all():
            raise ValueError(f"{key} holds numbers that are not finite")
    if sizes["P"] != 9 * (sizes["J"] - 1):
        raise ValueError(f"posedirs must be for {9 * (sizes['J'] - 1)} numbers, got {sizes['P']}")
    faces = arrays["f"]
    if not faces.size or faces.min() < 0 or faces.max() >= sizes["V"]:
        raise ValueError(f"f must name vertices from 0 to {sizes['V'] - 1}")


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in _known(archive.files)}


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        try:
            content = _Reader(file, encoding="latin1").load()
        except ValueError:
            raise
        except Exception as error:  # a bad pickle may raise anything
            raise ValueError(f"it is no pickle that can be read ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dict")
    arrays = {}
    for key in _known(content):
        try:
            arrays[key] = _array(content[key])
        except Exception as error:  # what stands for an array may hold anything
            raise ValueError(f"{key} is no array that can be read ({error})") from error
    return arrays


def _known(keys: Any) -> list[str]:
    """The keys that make a model.

    Raises:
        ValueError: one is missing.
    """
    missing = [key for key in SHAPES if key not in keys]
    if missing:
        found = ", ".join(sorted(str(key) for key in keys))
        raise ValueError(f"it has no {', '.join(missing)}; its keys are {found or 'none'}")
    return list(SHAPES)


# --- pickles ----------------------------------------------------------------------------------


class _Stand:
    """What stands for an object of a pickle: what it is, and what the file says about it."""

    kind = ""
    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any) -> _Stand:
        stand = super().__new__(cls)
        stand.args = args
        return stand

    def __setstate__(self, state: Any) -> None:
        self.state = state


@functools.cache
def _stand_for(kind: str) -> type[_Stand]:
    return type("_Stand", (_Stand,), {"kind": kind})


class _Empty(_Stand):
    """Stands for the functions that make an object without content; the content follows."""

    def __new__(cls, stand: type[_Stand], *_: Any) -> _Stand:
        if not issubclass(stand, _Stand):
            raise ValueError("it makes an object of a kind that no body model has")
        return stand()


class _Bytes(_Stand):
    """Stands for the function that makes bytes of the text that Python 3 writes for them."""

    def __new__(cls, text: str, *_: Any) -> bytes:
        return text.encode("latin1")


ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
BUFFERS = ("numpy.core.numeric", "numpy._core.numeric")
BUILTINS = ("__builtin__", "builtins")
SPARSE = ("csc_matrix", "csr_matrix", "csc_array", "csr_array")

# What a pickle may name, and what it gets instead.
STANDS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _stand_for("ndarray"),
    ("numpy", "dtype"): _stand_for("dtype"),
    **{(module, "_reconstruct"): _Empty for module in ARRAYS},
    **{(module, "scalar"): _stand_for("scalar") for module in ARRAYS},
    **{(module, "_frombuffer"): _stand_for("buffer") for module in BUFFERS},
    **{(module, "_reconstructor"): _Empty for module in ("copy_reg", "copyreg")},
    **{(module, "object"): object for module in BUILTINS},
    **{(module, "set"): set for module in BUILTINS},
    ("_codecs", "encode"): _Bytes,
}


class _Reader(pickle.Unpickler):
    """Reads a pickle, and calls nothing but the stands."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for something that the pickle names.

        Raises:
            ValueError: no body model needs it.
        """
        if (module, name) in STANDS:
            return STANDS[module, name]
        if module.startswith("scipy.sparse") and name in SPARSE:
            return _stand_for(name[:3])
        if module.split(".")[0] == "chumpy":
            return _stand_for(f"{module}.{name}")
        raise ValueError(
            f"it asks for {module}.{name}, which no body model needs; nothing of it was run"
        )


def _array(value: Any) -> np.ndarray:
    """The numbers of a stand, or of a plain list."""
    if not isinstance(value, _Stand):
        return np.asarray(value)
    state = value.state
    match value.kind:
        case "ndarray":
            shape, dtype, by_columns, data = state[-4:]
            return _from_bytes(data, dtype, shape, by_columns=by_columns)
        case "buffer":
            data, dtype, shape, order = value.args[:4]
            if order not in ("C", "F"):
                raise ValueError(f"its order of {order} is not known")
            return _from_bytes(data, dtype, shape, by_columns=order == "F")
        case "scalar":
            dtype, data = value.args
            return _from_bytes(data, dtype, ())
        case "csc" | "csr":
            return _dense(state, by_columns=value.kind == "csc")
        case "chumpy.ch.Ch":
            return _array(state["x"])
        case "chumpy.reordering.Select":
            chosen = _array(state["a"]).ravel()[_array(state["idxs"])]
            return (
                chosen.reshape(state["preferred_shape"]) if "preferred_shape" in state else chosen
            )
    raise ValueError(f"it is a {value.kind}; save the values as a plain array")


def _from_bytes(data: Any, dtype: Any, shape: Any, *, by_columns: bool = False) -> np.ndarray:
    # Python 2 wrote bytes as text.
    raw = data.encode("latin1") if isinstance(data, str) else data
    name, order_of_bytes = dtype.args[0], dtype.state[1]
    numbers = np.dtype(name).newbyteorder(order_of_bytes)
    if numbers.kind not in "fiub":
        raise ValueError(f"its numbers are of type {name}")
    return np.frombuffer(raw, numbers).reshape(shape, order="F" if by_columns else "C")


def _dense(state: dict[str, Any], *, by_columns: bool) -> np.ndarray:
    """A sparse matrix of compressed columns or rows, with all its zeros."""
    values, inner, starts = (_array(state[key]) for key in ("data", "indices", "indptr"))
    shape = state["_shape"]
    outer = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    matrix = np.zeros(shape)
    np.add.at(matrix, (inner, outer) if by_columns else (outer, inner), values)
    return matrix
