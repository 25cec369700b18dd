"""Frames of a camera that goes around a mesh, for the command line.

Mesh files are right-handed and are drawn so, with their front on the +z side where y is up.
Shape legend: `N` frames, `H, W` image.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._choices import Cull, Shading
from jaxrender._framing import UpAxis, camera_lights, depth_range, frame
from jaxrender._render import render
from jaxrender._shading import corner_normals, face_normals
from jaxrender._textures import FaceTexels, VertexColors
from jaxrender._types import Hard, Lights, Mesh, Soft, static, struct


@struct
class Orbit:
    """The way on which the camera goes around, in the words of `frame`."""

    elevation: float = 20.0  # degrees
    fov: float = 40.0  # degrees, vertical
    distance: float | None = None  # scene units; None fills the picture
    at: jax.Array | None = None  # [3]; None is the middle of the mesh
    parallel: bool = static(default=False)
    up: UpAxis = static(default="y")


@dataclasses.dataclass(frozen=True)
class Style:
    """How a frame is drawn; static."""

    show: str = "rgb"
    size: tuple[int, int] = (256, 256)
    transparent: bool = False
    anti_aliasing: int = 2
    cull: Cull = "none"
    shading: Shading = "phong"


@functools.partial(jax.jit, static_argnames="style")
def draw_frame(
    mesh: Mesh,
    orbit: Orbit,
    azimuth: jax.Array,
    lights: Lights | Mapping[str, float],
    background: Any,
    rasterizer: Hard | Soft,
    *,
    style: Style,
) -> jax.Array:
    """One picture: `[H, W, 3]` colour, `[H, W]` coverage, or `[H, W, 2]` depth and coverage.

    Lights stand still, or, if only numbers for `camera_lights` are given, beside the camera.
    """
    camera = frame(
        mesh,
        azimuth,
        orbit.elevation,
        distance=orbit.distance,
        at=orbit.at,
        fov=orbit.fov,
        parallel=orbit.parallel,
        image_size=style.size,
        up=orbit.up,
    )
    near, far = depth_range(mesh, camera)
    draw = functools.partial(
        render,
        mesh,
        camera,
        lights if isinstance(lights, Lights) else camera_lights(camera, **lights),
        image_size=style.size,
        near=near,
        far=None if style.show == "depth" else far,
        anti_aliasing=style.anti_aliasing,
        cull=style.cull,
        shading=style.shading,
        rasterizer=rasterizer,
    )
    image = draw(background=background)
    if style.show == "alpha":
        return image.alpha

    if style.show == "depth":
        return jnp.stack([image.depth, image.alpha], axis=-1)

    # Leave out the background's share of each pixel.
    covered = jnp.where(image.alpha > 0, image.alpha, 1)
    if style.transparent:
        if isinstance(rasterizer, Soft):
            seen = 1 - (draw(background=1.0).rgb - image.rgb).mean(-1)
            covered = jnp.maximum(seen, 1e-3)
        return jnp.concatenate([image.rgb / covered[..., None], image.alpha[..., None]], axis=-1)
    return image.rgb


def show_normals(mesh: Mesh, shading: Shading) -> Mesh:
    """The mesh with normals for colours: per face where the shading is flat, else smooth."""
    if shading == "flat":
        texture: Any = FaceTexels((face_normals(mesh.vertices, mesh.faces)[:, None, None] + 1) / 2)
    elif mesh.normal_faces is None:
        texture = VertexColors((corner_normals(mesh)[0] + 1) / 2)
    else:
        # Give each corner a vertex of its own.
        normals, own = corner_normals(mesh)
        corners = jnp.arange(mesh.faces.size, dtype=mesh.faces.dtype).reshape(mesh.faces.shape)
        texture = VertexColors((normals[own].reshape(-1, 3) + 1) / 2)
        mesh = Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), corners)
    return dataclasses.replace(mesh, texture=texture)


def show_depth(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Depth and coverage to brightness: 1 nearest, 0 farthest, over all frames; black outside."""
    depth, alpha = np.moveaxis(np.stack(pictures), -1, 0)
    seen = depth[alpha > 0]
    near, far = (seen.min(), seen.max()) if seen.size else (0.0, 1.0)
    return list(alpha * (far - depth) / max(far - near, 1e-12))
