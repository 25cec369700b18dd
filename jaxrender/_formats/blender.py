"""Cameras of Blender, in the JSON that a few lines inside Blender write; see `io.read_blender`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jaxrender._camera import from_blender
from jaxrender._formats.text import read_bytes
from jaxrender._types import Camera

LENS = ("type", "lens", "ortho_scale", "sensor_width", "sensor_height", "sensor_fit")
LENS += ("shift_x", "shift_y")
ASPECT = ("pixel_aspect_x", "pixel_aspect_y")


def read_blender_cameras(path: Path, *, y_up: bool) -> dict[str, Camera]:
    """The cameras of a file by their names.

    Raises:
        ValueError: the file is no such file; the message goes on from its name.
    """
    told = json.loads(read_bytes(path))
    if not isinstance(told, dict) or not {"render", "cameras"} <= told.keys():
        raise ValueError("it must hold `render` and `cameras`, see `read_blender`")
    render = told["render"]
    try:
        percentage = render.get("resolution_percentage", 100)
        sides = [int(render[f"resolution_{axis}"] * percentage / 100) for axis in ("y", "x")]
    except KeyError as error:
        raise ValueError(f"`render` has no {error}") from error
    shared = {name: render[name] for name in ASPECT if name in render}
    made = {}
    for name, camera in told["cameras"].items():
        lens = {key: camera[key] for key in LENS if key in camera}
        try:
            made[name] = _camera(camera, shared | lens, (sides[0], sides[1]), y_up)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return made


def _camera(
    camera: dict[str, Any], lens: dict[str, Any], size: tuple[int, int], y_up: bool
) -> Camera:
    if "matrix_world" not in camera:
        raise ValueError("it has no matrix_world")
    return from_blender(camera["matrix_world"], image_size=size, y_up=y_up, **lens)
