"""Cameras of NeRF: `transforms.json`, as NeRF's own scenes, instant-ngp and nerfstudio have it.

`transform_matrix` leads from the camera (x right, y up, looking along -z) to the world; `cx`, `cy`
count pixels from the picture's upper left corner, as `pinhole` does.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._camera import pinhole
from jaxrender._formats.raw import optional
from jaxrender._formats.text import read_bytes
from jaxrender._types import Camera

MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL")
BENDS = ("k1", "k2", "p1", "p2", "k3")
NOT_DRAWN = ("k4", "k5", "k6")


def read_transforms(path: Path, image_size: tuple[int, int] | None) -> dict[str, Camera]:
    """The cameras of a file by the `file_path` of their frames.

    Raises:
        ValueError: the file is no such file; the message goes on from its name.
    """
    told = json.loads(read_bytes(path))
    if not isinstance(told, dict) or not isinstance(told.get("frames"), list):
        raise ValueError("it has no list of `frames`")
    made: dict[str, Camera] = {}
    for number, frame in enumerate(told["frames"]):
        name = frame.get("file_path", f"frame {number}")
        if name in made:
            raise ValueError(f"two frames have the file_path {name!r}")
        try:
            made[name] = _camera(path, told | frame, image_size)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from error
    return made


def _camera(path: Path, told: dict[str, Any], image_size: tuple[int, int] | None) -> Camera:
    model = told.get("camera_model", "OPENCV")
    if model not in MODELS or told.get("is_fisheye") or any(told.get(k) for k in NOT_DRAWN):
        lens = model if model not in MODELS else "fisheye, or one with k4"
        raise ValueError(f"its lens, {lens}, is not drawn. Undistort the pictures")
    matrix = np.array(told.get("transform_matrix", ()), float)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"`transform_matrix` must be [4, 4], got {list(matrix.shape)}")

    # Turn the camera's y down and its view forward.
    rotation = matrix[:3, :3].T * np.array([[1], [-1], [-1]])
    height, width = _size(path, told, image_size)
    fx = _focal_length(told, "x", width)
    fy = _focal_length(told, "y", height)
    if fx is None and fy is None:
        raise ValueError("it has neither fl_x nor camera_angle_x")
    fx, fy = fx or fy, fy or fx
    cx, cy = told.get("cx", width / 2), told.get("cy", height / 2)
    return pinhole(
        np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float),
        rotation,
        -rotation @ matrix[:3, 3],
        np.array([told.get(name, 0) for name in BENDS], float),
        image_size=(height, width),
    )


def _focal_length(told: dict[str, Any], axis: str, side: int) -> float | None:
    """Pixels, or None where the file does not say."""
    if f"fl_{axis}" in told:
        return float(told[f"fl_{axis}"])
    angle = told.get(f"camera_angle_{axis}")
    if angle is None:
        return None
    if not 0 < angle < math.pi:
        raise ValueError(f"`camera_angle_{axis}` must be radians between 0 and pi, got {angle}")
    return side / 2 / math.tan(angle / 2)


def _size(path: Path, told: dict[str, Any], image_size: tuple[int, int] | None) -> tuple[int, int]:
    """`(H, W)`: as the file says, or as was given, or that of the picture."""
    if "w" in told and "h" in told:
        if told["w"] != int(told["w"]) or told["h"] != int(told["h"]):
            raise ValueError(f"`w` and `h` must be whole pixels, got {told['w']}, {told['h']}")
        return int(told["h"]), int(told["w"])
    if image_size is not None:
        return image_size
    name = told.get("file_path", "")
    for suffix in ("", ".png", ".jpg"):
        picture = path.parent / f"{name}{suffix}"
        if picture.is_file():
            pillow = optional("PIL.Image", package="pillow", purpose="The size of a picture")
            with pillow.open(picture) as file:
                return file.size[1], file.size[0]
    raise ValueError("it has no w and h, and its picture is not there: pass image_size=(H, W)")
