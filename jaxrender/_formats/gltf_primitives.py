"""The primitives of glTF meshes: their attributes, morphed, and their triangles.

Shapes: `V` vertices, `F` faces of one primitive.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxrender._formats.gltf_accessors import Document, finite
from jaxrender._formats.raw import needed_by, unit_colors

DRACO = "KHR_draco_mesh_compression"
TRIANGLES, STRIP, FAN = 4, 5, 6
MOST_INT32 = 2**31 - 1
MODES = {0: "points", 1: "lines", 2: "line loops", 3: "line strips"}


@dataclasses.dataclass
class Primitive:
    """A part of a mesh, of one material.

    Attributes:
        name: where it stands in the file, for messages.
        vertices: `[V, 3]`.
        faces: `[F, 3]`.
        material: index of its material, or None.
        normals: `[V, 3]`, 0 where they are not finite; or None.
        uv: `[V, 2]` of each set, v down, as the file has them.
        colors: `[V, 4]` linear rgb and alpha, or None.
        joints: `[V, K]` indices into the joints of a skin; no column without a skin.
        weights: `[V, K]` theirs.
        places: index of the accessor of its vertices.
        node: index of the node that shows it.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    material: int | None
    normals: np.ndarray | None
    uv: dict[int, np.ndarray]
    colors: np.ndarray | None
    joints: np.ndarray
    weights: np.ndarray
    places: int = -1
    node: int = -1


def read_primitive(
    document: Document, name: str, described: dict[str, Any], weights: np.ndarray
) -> Primitive | None:
    """Reads a primitive with its morph targets at `weights`; None if it has no triangles.

    Raises:
        ValueError: an attribute does not fit the others, or is not as the standard says.
    """
    mode = described.get("mode", TRIANGLES)
    if mode in MODES:
        document.note(MODES[mode])
        return None
    if mode not in (TRIANGLES, STRIP, FAN):
        raise ValueError(f"{name} has mode {mode}, which does not exist")
    arrays, corners = _arrays(document, name, described)
    if "POSITION" not in arrays:
        document.note("primitives without POSITION")
        return None
    _morph(document, name, described, arrays, weights)
    count = len(arrays["POSITION"])
    if corners is None:
        corners = np.arange(count)
    if len(corners) and corners.max() >= count:
        raise ValueError(f"{name} names vertex {corners.max()}, of {count}")
    if corners.dtype == np.uint32 and count <= MOST_INT32:
        corners = corners.view(np.int32)  # which need not be copied
    else:
        corners = corners.astype(np.int32 if count <= MOST_INT32 else np.int64)
    if mode == TRIANGLES and len(corners) % 3:
        document.note(f"{len(corners) % 3} corner(s) behind the last triangle")

    # Take the attributes that we know.
    normals, colors = arrays.get("NORMAL"), arrays.get("COLOR_0")
    if colors is not None:
        colors = finite(f"{name}, COLOR_0", colors)
        if colors.shape[1] == 3:
            colors = np.concatenate([colors, np.ones((count, 1), colors.dtype)], axis=1)
    joints, weights = _influences(name, arrays, count)
    return Primitive(
        name,
        finite(f"{name}, POSITION", arrays["POSITION"]),
        triangles(corners, mode),
        described.get("material"),
        None if normals is None else np.nan_to_num(normals, posinf=0, neginf=0),
        {
            int(key[9:]): finite(f"{name}, {key}", values)
            for key, values in arrays.items()
            if key.startswith("TEXCOORD_")
        },
        colors,
        joints,
        weights,
        described["attributes"].get("POSITION", -1),
    )


def triangles(corners: np.ndarray, mode: int) -> np.ndarray:
    """The faces that corners form: one after the other, as a strip, or as a fan.

    Triangle `i` of a strip is `(i, i + 1, i + 2)`, of which every second is turned; of a fan
    `(i + 1, i + 2, 0)`. Those of a strip that name a vertex twice only lead on to the next part of
    it; they are left out.
    """
    if mode == TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    first = np.arange(max(len(corners) - 2, 0))
    if mode == FAN:
        return corners[np.stack([first + 1, first + 2, np.zeros_like(first)], -1)]
    odd = first % 2
    faces = corners[np.stack([first, first + 1 + odd, first + 2 - odd], -1)]
    return faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]


def _arrays(
    document: Document, name: str, described: dict[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The attributes as `[V, K]`, and the corners of the faces."""
    packed = described.get("extensions", {}).get(DRACO)
    arrays, corners = ({}, None) if packed is None else _draco(document, name, described, packed)
    for key, index in described["attributes"].items():
        known = key in ("POSITION", "NORMAL", "COLOR_0")
        known = known or key.startswith(("TEXCOORD_", "JOINTS_", "WEIGHTS_"))
        if known and key not in arrays:
            arrays[key] = _with_width(f"{name}, {key}", key, document.accessor(index))
    if packed is None and "indices" in described:
        corners = document.accessor(described["indices"]).reshape(-1)
        if corners.dtype.kind != "u":
            what = "no whole numbers from 0"
            raise ValueError(f"{name}: accessors[{described['indices']}] has {what}")
    counts = {key: len(values) for key, values in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{name} has attributes of different lengths: {counts}")
    return arrays, corners


def _with_width(name: str, key: str, values: np.ndarray) -> np.ndarray:
    """Returns an attribute, if it has as many components as its kind must have.

    Floats of the file's own width, but joints; colours that should be normalised and do not say
    so, are.
    """
    kind = key.partition("_")[0]
    widths = {"POSITION": (3,), "NORMAL": (3,), "TEXCOORD": (2,), "COLOR": (3, 4)}
    if values.ndim != 2 or values.shape[1] not in widths.get(kind, (4,)):
        raise ValueError(f"{name} has {' x '.join(map(str, values.shape[1:]))} components")
    if kind == "JOINTS":
        if values.dtype.kind == "f":
            raise ValueError(f"{name} has no whole numbers")
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        return values
    return unit_colors(values) if kind in ("COLOR", "WEIGHTS") else values.astype(np.float64)


def _morph(
    document: Document,
    name: str,
    described: dict[str, Any],
    arrays: dict[str, np.ndarray],
    weights: np.ndarray,
) -> None:
    """Adds the morph targets, each times its weight; colours stay from 0 to 1."""
    targets = described.get("targets", [])
    if len(weights) and len(weights) != len(targets):
        raise ValueError(f"{name} has {len(targets)} morph targets, and {len(weights)} weights")
    for target, weight in zip(targets, np.asarray(weights, np.float64), strict=False):
        for key, index in target.items():
            if key in arrays and weight:
                moved = _with_width(f"{name}, target {key}", key, document.accessor(index))
                if moved.shape != arrays[key].shape:
                    raise ValueError(f"{name}: a morph target of {key} does not fit it")
                arrays[key] = arrays[key] + weight * moved
    if any("COLOR_0" in target for target in targets) and "COLOR_0" in arrays:
        arrays["COLOR_0"] = np.clip(arrays["COLOR_0"], 0, 1)


def _influences(
    name: str, arrays: dict[str, np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """All sets of joints and weights, side by side, `[V, K]` each."""
    sets = sorted(key[7:] for key in arrays if key.startswith("JOINTS_"))
    missing = [which for which in sets if f"WEIGHTS_{which}" not in arrays]
    if missing:
        raise ValueError(f"{name} has JOINTS_{missing[0]} without weights")
    joints = [np.zeros((count, 0), np.int64), *(arrays[f"JOINTS_{which}"] for which in sets)]
    weights = [np.zeros((count, 0)), *(arrays[f"WEIGHTS_{which}"] for which in sets)]
    together = finite(f"{name}, WEIGHTS", np.concatenate(weights, axis=1, dtype=np.float64))
    return np.concatenate(joints, axis=1), together


def _draco(
    document: Document, name: str, described: dict[str, Any], packed: dict[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Decompresses a primitive; its accessors say of what type the numbers are."""
    draco = needed_by(DRACO, "DracoPy", package="DracoPy")
    data, _ = document.view(packed["bufferView"])
    mesh = draco.decode(bytes(data))
    if not hasattr(mesh, "faces"):
        raise ValueError(f"{name} is compressed as points")
    arrays = {}
    for key, number in packed["attributes"].items():
        found = mesh.get_attribute_by_unique_id(number)
        accessor = document.item("accessors", described["attributes"].get(key))
        values = document.unit(accessor, np.asarray(found["data"]))
        arrays[key] = _with_width(f"{name}, {key}", key, values)
    return arrays, np.asarray(mesh.faces).reshape(-1)
