"""jaxrender for PyTorch: the same functions, of tensors, differentiated by `torch.autograd`.

    import jaxrender as jr, jaxrender.torch as jt

    mesh = jr.Mesh(vertices, faces, jr.VertexColors(colors))        # tensors in our structs
    image = jt.render(mesh, jt.look_at((2, 2, 2)), image_size=(256, 256), rasterizer=jr.Hard("nmr"))
    image.alpha.mean().backward()

Each function here is that of the same name in `jaxrender`: take the arguments from there. Structs
hold tensors in place of arrays, and what comes back holds tensors; on a CPU nothing is copied
between the two. Every function is compiled at its first call for a combination of shapes and static
arguments. `wrap` makes others of the kind, such as a batch, `wrap(jax.vmap(…))`, or a loss.

Needs PyTorch, which `import jaxrender` alone does not. `jaxrender.torch.nvdiffrast` answers to the
names of nvdiffrast.
"""

from __future__ import annotations

import functools
from typing import Any

from jaxrender import (
    _camera,
    _edges,
    _framing,
    _interpolate,
    _nmr,
    _rasterize,
    _render,
    _shading,
    _soft,
    _textures,
)
from jaxrender._types import Fragments, Hard, Image, Mesh, ScreenMesh
from jaxrender.torch._bridge import to_jax, to_torch, wrap

__all__ = [
    "antialias",
    "edge_gradient",
    "face_normals",
    "frame",
    "interpolate",
    "look",
    "look_at",
    "make_lights",
    "nmr_gradient",
    "orthographic",
    "perspective",
    "pinhole",
    "points_from_angles",
    "project",
    "rasterize_hard",
    "rasterize_soft",
    "render",
    "sample_texture",
    "shade",
    "silhouette",
    "to_jax",
    "to_torch",
    "vertex_normals",
    "wrap",
]


def __dir__() -> list[str]:
    return __all__


look = wrap(_camera.look)
look_at = wrap(_camera.look_at)
orthographic = wrap(_camera.orthographic)
perspective = wrap(_camera.perspective)
pinhole = wrap(_camera.pinhole)
points_from_angles = wrap(_camera.points_from_angles)
project = wrap(_camera.project)
frame = wrap(_framing.frame)
make_lights = wrap(_shading.make_lights)
face_normals = wrap(_shading.face_normals)
vertex_normals = wrap(_shading.vertex_normals)
rasterize_hard = wrap(_rasterize.rasterize_hard)
rasterize_soft = wrap(_soft.rasterize_soft)
interpolate = wrap(_interpolate.interpolate)
sample_texture = wrap(_textures.sample_texture)
shade = wrap(_shading.shade)
edge_gradient = wrap(_edges.edge_gradient)
nmr_gradient = wrap(_nmr.nmr_gradient)

_drawn, _outlined, _blended = map(wrap, (_render.render, _render.silhouette, _edges.antialias))


@functools.wraps(_render.render)
def render(mesh: Any, *args: Any, rasterizer: Any = None, **options: Any) -> Image:
    """As `jaxrender.render`."""
    return _drawn(mesh, *args, rasterizer=_with_edges(mesh, rasterizer), **options)


@functools.wraps(_render.silhouette)
def silhouette(mesh: Any, *args: Any, rasterizer: Any = None, **options: Any) -> Any:
    """As `jaxrender.silhouette`."""
    return _outlined(mesh, *args, rasterizer=_with_edges(mesh, rasterizer), **options)


@functools.wraps(_edges.antialias)
def antialias(image: Any, fragments: Fragments, screen: ScreenMesh, *, edges: Any = None) -> Any:
    """As `jaxrender.antialias`."""
    if edges is None and isinstance(screen, ScreenMesh):
        edges = _edges.number_edges(to_jax(screen.faces))
    return _blended(image, fragments, screen, edges=edges)


def _with_edges(mesh: Any, rasterizer: Any) -> Any:
    """The rasteriser with the edges numbered, where it needs them: compiled, it would sort them."""
    if not (isinstance(mesh, Mesh) and isinstance(rasterizer, Hard)):
        return rasterizer
    if rasterizer.visibility_gradient == "antialias":
        edges = _edges.number_edges(to_jax(mesh.faces))
        return Hard(_edges.Antialias(edges), rasterizer.eps, rasterizer.interpolation_gradient)
    return rasterizer
