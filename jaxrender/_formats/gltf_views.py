"""The cameras of glTF files, and their lights (KHR_lights_punctual)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxrender._formats.gltf_accessors import Document, numbers
from jaxrender._formats.gltf_scene import Stage

LIGHTS = "KHR_lights_punctual"
KINDS = ("directional", "point", "spot")
WHOLE = 1e-6  # how small an axis may be, in parts of the longest


class View(NamedTuple):
    """A camera.

    Attributes:
        eye: `[3]` where it stands.
        ahead: `[3]` where it looks.
        up: `[3]` what is up in its picture.
        parallel: whether rays are.
        extent: what is seen from the bottom of its picture to the top: the field of view, degrees,
            or where rays are parallel, scene units.
        near: depth from which it sees.
        far: depth up to which it does, or None.
        aspect: width over height of its picture, or None: any.
    """

    eye: np.ndarray
    ahead: np.ndarray
    up: np.ndarray
    parallel: bool
    extent: float
    near: float
    far: float | None
    aspect: float | None


class Light(NamedTuple):
    """A light.

    Attributes:
        kind: "directional", "point" or "spot".
        color: `[3]` linear, times its intensity, in lux or candela.
        place: `[3]` where it is.
        ahead: `[3]` unit, where it shines.
        inner: degrees from there up to which a spot is bright.
        outer: from which it is dark.
    """

    kind: str
    color: np.ndarray
    place: np.ndarray
    ahead: np.ndarray
    inner: float
    outer: float


def read_views(document: Document, stage: Stage) -> dict[str, View]:
    """The cameras by the names of their nodes, or else their own.

    Raises:
        ValueError: one is not as the standard says.
    """
    found: dict[str, View] = {}
    for index in stage.nodes:
        node = document.item("nodes", index)
        if "camera" not in node:
            continue
        described = document.item("cameras", node["camera"])
        name = str(node.get("name") or described.get("name") or f"nodes[{index}]")
        first, count = name, 1
        while name in found:
            count += 1
            name = f"{first} ({count})"
        eye, ahead, up = _axes(document, f"nodes[{index}]", stage.worlds[index])
        found[name] = View(eye, ahead, up, *_lens(f"cameras[{node['camera']}]", described))
    return found


def _lens(
    name: str, described: dict[str, Any]
) -> tuple[bool, float, float, float | None, float | None]:
    """What `View` says behind `up`."""
    kind = described["type"]
    if kind not in ("perspective", "orthographic"):
        raise ValueError(f"{name} is {kind!r}, neither perspective nor orthographic")
    told = described[kind]

    def number(key: str) -> float:
        return float(numbers(f"{name}.{key}", told[key], ()))

    near, far = number("znear"), number("zfar") if "zfar" in told else None
    if near < 0 or (far is not None and far <= near):
        raise ValueError(f"{name} sees from {near} to {far}")
    if kind == "perspective":
        fov, aspect = number("yfov"), number("aspectRatio") if "aspectRatio" in told else None
        if not 0 < fov < np.pi:
            raise ValueError(f"{name} has a field of view of {fov} radians")
        return False, float(np.rad2deg(fov)), near, far, aspect
    width, height = number("xmag"), number("ymag")
    if not width or not height:
        raise ValueError(f"{name} shows {2 * width} x {2 * height}")
    return True, 2 * abs(height), near, far, abs(width / height)


def read_lights(document: Document, stage: Stage) -> list[Light]:
    """The lights of a scene.

    Raises:
        ValueError: one is not as the extension says.
    """
    told = document.json.get("extensions", {}).get(LIGHTS, {}).get("lights", [])
    found = []
    for index in stage.nodes:
        node = document.item("nodes", index)
        if LIGHTS not in node.get("extensions", {}):
            continue
        number = node["extensions"][LIGHTS]["light"]
        if not isinstance(number, int) or not 0 <= number < len(told):
            raise ValueError(f"nodes[{index}] names light {number}, of {len(told)}")
        name, described = f"lights[{number}]", told[number]
        kind, spot = described["type"], described.get("spot", {})
        if kind not in KINDS:
            raise ValueError(f"{name} has type {kind!r}, known are {', '.join(KINDS)}")
        if "range" in described and kind != "directional":
            document.note("where the light of lamps ends (`range`)")
        color = numbers(f"{name}.color", described.get("color", [1, 1, 1]), (3,))
        intensity = numbers(f"{name}.intensity", described.get("intensity", 1), ())
        cones = spot.get("innerConeAngle", 0), spot.get("outerConeAngle", np.pi / 4)
        inner, outer = np.rad2deg(numbers(f"{name}.spot", cones, (2,))).tolist()
        if kind == "spot" and not 0 <= inner < outer <= 90 + 1e-3:
            raise ValueError(f"{name} has cones of {inner} and {outer} degrees")
        place, ahead, _ = _axes(document, f"nodes[{index}]", stage.worlds[index])
        found.append(Light(kind, color * intensity, place, ahead, inner, min(outer, 90.0)))
    return found


def _axes(
    document: Document, name: str, matrix: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a node is, where it looks (-z) and what is up there, of length 1 and at right angles.

    Its sizes do not count.
    """
    up, back = matrix[:3, 1], matrix[:3, 2]
    ahead = -back / max(np.linalg.norm(back), 1e-300)
    across = up - (up @ ahead) * ahead
    if not np.linalg.norm(back) > 0 or not np.linalg.norm(across) > WHOLE * np.linalg.norm(up):
        raise ValueError(f"{name} has a camera or a light, and no size along its axes")
    if np.linalg.det(matrix[:3, :3]) < 0:
        document.note(f"the mirroring of {name}, which has a camera or a light")
    return matrix[:3, 3], ahead, across / np.linalg.norm(across)
