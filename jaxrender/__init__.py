"""jaxrender: a differentiable mesh renderer made of pure JAX functions.

    mesh, camera --project--> ScreenMesh --rasterize_hard--> Fragments --shade--> image

`render` runs the stages in order, compiled. Every function takes one mesh and one view; a batch
is `jax.vmap`. `jaxrender.shapes` and `jaxrender.io` make and load meshes.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxrender._batch import pad_meshes, stack_meshes
from jaxrender._cache import cache
from jaxrender._camera import (
    camera_position,
    from_blender,
    from_opencv,
    from_opengl,
    look,
    look_at,
    pinhole,
    points_from_angles,
    project,
    viewpoint,
)
from jaxrender._camera.models import Orthographic, Perspective, Pinhole, orthographic, perspective
from jaxrender._color import to_display, to_linear
from jaxrender._diagnose import why_not_drawn
from jaxrender._edges import Antialias, antialias, edge_gradient, number_edges
from jaxrender._framing import camera_lights, depth_range, frame, turntable
from jaxrender._interpolate import interpolate
from jaxrender._join import join_meshes
from jaxrender._known_faults import warn_of_jax
from jaxrender._lens import distort, undistort, undistorted_camera
from jaxrender._material import Material
from jaxrender._nmr import NMR, nmr_gradient
from jaxrender._rasterize import rasterize_hard
from jaxrender._render import render, silhouette
from jaxrender._scene import Object, Scene, make_scene
from jaxrender._shading import face_normals, make_lights, shade, vertex_normals
from jaxrender._soft import rasterize_soft
from jaxrender._subdivide import subdivide
from jaxrender._surface import orient_faces, weld
from jaxrender._textures import Texture, sample_texture
from jaxrender._textures.kinds import FaceCubes, FaceTexels, UVTexture, VertexColors
from jaxrender._types import (
    NO_FACE,
    Camera,
    Fragments,
    Hard,
    Image,
    Lights,
    Mesh,
    Projection,
    ScreenMesh,
    Soft,
    static,
    struct,
)
from jaxrender._voxels import voxelize

if TYPE_CHECKING:
    from jaxrender import (
        debug,
        distributions,
        fitting,
        io,
        losses,
        mujoco,
        rotations,
        shapes,
        skinning,
        tconorms,
    )
    from jaxrender._viewer import Viewer, view
    from jaxrender.io import SceneFile, load_mesh, load_scene, normalize, save_mesh

__version__ = "0.1.0"

warn_of_jax()

__all__ = [
    "NMR",
    "NO_FACE",
    "Antialias",
    "Camera",
    "FaceCubes",
    "FaceTexels",
    "Fragments",
    "Hard",
    "Image",
    "Lights",
    "Material",
    "Mesh",
    "Object",
    "Orthographic",
    "Perspective",
    "Pinhole",
    "Projection",
    "Scene",
    "SceneFile",
    "ScreenMesh",
    "Soft",
    "Texture",
    "UVTexture",
    "VertexColors",
    "Viewer",
    "antialias",
    "cache",
    "camera_lights",
    "camera_position",
    "debug",
    "depth_range",
    "distort",
    "distributions",
    "edge_gradient",
    "face_normals",
    "fitting",
    "frame",
    "from_blender",
    "from_opencv",
    "from_opengl",
    "interpolate",
    "io",
    "join_meshes",
    "load_mesh",
    "load_scene",
    "look",
    "look_at",
    "losses",
    "make_lights",
    "make_scene",
    "mujoco",
    "nmr_gradient",
    "normalize",
    "number_edges",
    "orient_faces",
    "orthographic",
    "pad_meshes",
    "perspective",
    "pinhole",
    "points_from_angles",
    "project",
    "rasterize_hard",
    "rasterize_soft",
    "render",
    "rotations",
    "sample_texture",
    "save_mesh",
    "shade",
    "shapes",
    "silhouette",
    "skinning",
    "stack_meshes",
    "static",
    "struct",
    "subdivide",
    "tconorms",
    "to_display",
    "to_linear",
    "turntable",
    "undistort",
    "undistorted_camera",
    "vertex_normals",
    "view",
    "viewpoint",
    "voxelize",
    "weld",
    "why_not_drawn",
]

# What is loaded at its first use, and the module that has it; None is a module itself. So importing
# the package takes half of the time that it takes to load all.
_LATER = {
    **dict.fromkeys(("debug", "distributions", "fitting", "io", "losses", "mujoco", "rotations")),
    **dict.fromkeys(("shapes", "skinning", "tconorms")),
    **dict.fromkeys(("SceneFile", "load_mesh", "load_scene", "normalize", "save_mesh"), "io"),
    **dict.fromkeys(("Viewer", "view"), "_viewer"),
}

if not TYPE_CHECKING:  # to a type checker any name would be one of ours

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f"{__name__}.{_LATER[name] or name}")
        value = getattr(module, name) if _LATER[name] else module
        globals()[name] = value  # the next use costs nothing
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
