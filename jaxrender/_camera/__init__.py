"""Cameras: where they stand, how they project, and the way from world to screen space.

Camera space has `x` right, `y` up and `z` forward, so depth is `z > 0`. Screen space has `x`
and `y` in [-1, 1] across the picture's width and height, `y` up, and keeps that depth.

Of the models in `models.py` those are listed here that other modules know by name; a new one need
not be.
"""

from jaxrender._camera.blender import from_blender
from jaxrender._camera.calibrated import from_opencv, from_opengl, pinhole
from jaxrender._camera.models import (
    Orthographic,
    Perspective,
    Pinhole,
    orthographic,
    perspective,
)
from jaxrender._camera.placing import (
    camera_position,
    look,
    look_at,
    points_from_angles,
    viewpoint,
)
from jaxrender._camera.projecting import check_camera, project, transform

__all__ = [
    "Orthographic",
    "Perspective",
    "Pinhole",
    "camera_position",
    "check_camera",
    "from_blender",
    "from_opencv",
    "from_opengl",
    "look",
    "look_at",
    "orthographic",
    "perspective",
    "pinhole",
    "points_from_angles",
    "project",
    "transform",
    "viewpoint",
]
