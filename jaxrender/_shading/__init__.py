"""Normals, lights, and the colour of what a rasteriser sees.

`reflection.py` says how much light a point reflects, `lighting.py` where a mesh is lit, `shade.py`
applies it to what the hard rasteriser sees; `normals.py` and `lights.py` are what they take.
"""

from jaxrender._shading.lighting import Lighting, is_like_opengl, lighting_of, lit_at
from jaxrender._shading.lights import check_color, check_lights, check_lit, make_lights
from jaxrender._shading.normals import NO_AREA, corner_normals, face_normals, vertex_normals
from jaxrender._shading.shade import SHADINGS, shade

__all__ = [
    "NO_AREA",
    "SHADINGS",
    "Lighting",
    "check_color",
    "check_lights",
    "check_lit",
    "corner_normals",
    "face_normals",
    "is_like_opengl",
    "lighting_of",
    "lit_at",
    "make_lights",
    "shade",
    "vertex_normals",
]
