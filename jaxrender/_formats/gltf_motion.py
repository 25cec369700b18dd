"""Animations of glTF, sampled at a time, and where its nodes stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxrender._formats.gltf_accessors import Document, finite, numbers

PATHS = ("translation", "rotation", "scale", "weights")


def sample_animations(
    document: Document, chosen: Sequence[int | str], time: float
) -> dict[int, dict[str, np.ndarray]]:
    """What animations set at a time: of each node the values of paths, where two do, the last's.

    Args:
        document: the file.
        chosen: numbers or names of the animations; none is the first, and others are noted.
        time: in seconds; before the first and after the last key the nearest of them holds.

    Raises:
        ValueError: there is no such animation, or it is not as the standard says.
    """
    names = [animation.get("name") for animation in document.items("animations")]
    if not chosen and len(names) > 1:
        document.note(f"all animations but the first, of {names}: pass animation=(...)")
    found: dict[int, dict[str, np.ndarray]] = {}
    for which in chosen or (0,):
        number = names.index(which) if isinstance(which, str) and which in names else which
        if isinstance(number, str) or not 0 <= number < len(names):
            raise ValueError(f"there is no animation {which!r}, of {len(names)}: {names}")
        for node, values in _sample_animation(document, number, time).items():
            found.setdefault(node, {}).update(values)
    return found


def _sample_animation(
    document: Document, which: int, time: float
) -> dict[int, dict[str, np.ndarray]]:
    """What one animation sets."""
    animation = document.item("animations", which)
    found: dict[int, dict[str, np.ndarray]] = {}
    for number, channel in enumerate(animation.get("channels", [])):
        name = f"animations[{which}].channels[{number}]"
        target, samplers = channel["target"], animation["samplers"]
        path = target.get("path")
        if path not in PATHS:
            document.note(f"animation of {path}")
        elif "node" in target:
            document.item("nodes", target["node"])
            if not 0 <= channel["sampler"] < len(samplers):
                raise ValueError(f"{name} names sampler {channel['sampler']}, of {len(samplers)}")
            values = _sample(document, name, samplers[channel["sampler"]], path, time)
            found.setdefault(target["node"], {})[path] = values
    return found


def _sample(
    document: Document, name: str, sampler: dict[str, Any], path: str, time: float
) -> np.ndarray:
    """The values of one channel."""
    times = finite(name, document.accessor(sampler["input"]).astype(np.float64).reshape(-1))
    values = finite(name, document.accessor(sampler["output"]).astype(np.float64))
    way = sampler.get("interpolation", "LINEAR")
    if way not in ("LINEAR", "STEP", "CUBICSPLINE"):
        raise ValueError(f"{name} interpolates by {way}, which does not exist")
    parts = 3 if way == "CUBICSPLINE" else 1
    if not len(times) or values.size % (len(times) * parts) or (np.diff(times) < 0).any():
        raise ValueError(f"{name}: {len(times)} times fall, or do not fit {len(values)} values")
    values = values.reshape(len(times), parts, -1)
    width = {"translation": 3, "rotation": 4, "scale": 3}.get(path, values.shape[2])
    if values.shape[2] != width:
        raise ValueError(f"{name} has {values.shape[2]} numbers for {path}, not {width}")

    # Find the keys around the time, and the way from one to the other.
    low = int(np.clip(np.searchsorted(times, time, side="right") - 1, 0, len(times) - 1))
    high = min(low + 1, len(times) - 1)
    step = times[high] - times[low]
    t = float(np.clip((time - times[low]) / step, 0, 1)) if step > 0 else 0.0
    if way == "STEP":
        return values[low, 0]
    if way == "CUBICSPLINE":
        # Hermite's basis; the keys hold (slope before, value, slope after).
        (_, start, leaving), (arriving, end, _) = values[low], values[high]
        spline = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * step * leaving
        return spline + (3 * t**2 - 2 * t**3) * end + (t**3 - t**2) * step * arriving
    if path == "rotation":
        return _slerp(values[low, 0], values[high, 0], t)
    return (1 - t) * values[low, 0] + t * values[high, 0]


def _slerp(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """Turns from one quaternion to another on the shorter way."""
    start, end = (part / max(np.linalg.norm(part), 1e-30) for part in (start, end))
    cosine = float(start @ end)
    if cosine < 0:
        end, cosine = -end, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        return (1 - t) * start + t * end
    return (np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle)


def world_matrices(document: Document, moved: dict[int, dict[str, np.ndarray]]) -> np.ndarray:
    """Where each node stands in the world, `[nodes, 4, 4]`.

    Raises:
        ValueError: a node has two parents, or is below itself.
    """
    nodes = document.items("nodes")
    worlds = np.zeros((len(nodes), 4, 4))
    parents: dict[int, int] = {}
    for index in range(len(nodes)):
        for child in document.item("nodes", index).get("children", []):
            document.item("nodes", child)
            if child in parents:
                raise ValueError(f"nodes[{child}] is a child of two nodes")
            parents[child] = index

    # Go down from the roots; what they do not lead to goes round in a circle.
    ready = [index for index in range(len(nodes)) if index not in parents]
    done = 0
    while ready:
        index = ready.pop()
        done += 1
        local = _local(f"nodes[{index}]", nodes[index], moved.get(index, {}))
        worlds[index] = worlds[parents[index]] @ local if index in parents else local
        ready += nodes[index].get("children", [])
    if done < len(nodes):
        raise ValueError("its nodes go round in a circle: one is below itself")
    return worlds


def _local(name: str, node: dict[str, Any], moved: dict[str, np.ndarray]) -> np.ndarray:
    """Where a node stands in its parent."""
    if "matrix" in node:
        if set(moved) - {"weights"}:
            raise ValueError(f"{name} has a matrix, and is animated")
        return numbers(f"{name}.matrix", node["matrix"], (16,)).reshape(4, 4).T
    default = {"translation": [0, 0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1]}
    parts = [
        numbers(f"{name}.{path}", moved.get(path, node.get(path, value)), (len(value),))
        for path, value in default.items()
    ]
    return compose(*(part[None] for part in parts))[0]


def compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Matrices `[N, 4, 4]` that scale, then turn (by quaternions x, y, z, w), then move."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    if (length == 0).any():
        raise ValueError("a rotation is the quaternion 0")
    x, y, z, w = (rotation / length).T
    turns = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrices = np.zeros((len(translation), 4, 4))
    matrices[:, :3, :3] = np.moveaxis(np.array(turns), -1, 0) * scale[:, None, :]
    matrices[:, :3, 3] = translation
    matrices[:, 3, 3] = 1
    return matrices
