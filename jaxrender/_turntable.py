"""Frames of a camera that goes around a mesh, for the command line.

Mesh files are right-handed and are drawn so, with `y` up and their front on the +z side.
Shape legend: `N` frames, `H, W` image.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._camera import look_at, orthographic, perspective, points_from_angles
from jaxrender._choices import Cull, Shading
from jaxrender._render import render
from jaxrender._shading import corner_normals, face_normals, make_lights
from jaxrender._textures import FaceTexels, VertexColors
from jaxrender._types import Camera, Hard, Lights, Mesh, Soft


class Framing(NamedTuple):
    """Where the camera goes around; traced."""

    centre: np.ndarray  # [3] scene units, of the bounding box
    radius: float  # scene units, of the sphere there that holds the mesh
    distance: float  # scene units
    elevation: float  # degrees
    fov: float  # degrees, vertical


@dataclasses.dataclass(frozen=True)
class Style:
    """How a frame is drawn; static."""

    show: str = "rgb"
    size: tuple[int, int] = (256, 256)
    orthographic: bool = False
    transparent: bool = False
    anti_aliasing: int = 2
    cull: Cull = "none"
    shading: Shading = "phong"


def frame_mesh(
    mesh: Mesh, size: tuple[int, int], *, distance: float | None, elevation: float, fov: float
) -> Framing:
    """Aims at the middle of the mesh; without a distance its sphere fills the picture."""
    points = np.asarray(mesh.vertices, np.float64)[np.asarray(mesh.faces)].reshape(-1, 3)
    centre = (points.min(0) + points.max(0)) / 2
    radius = float(np.linalg.norm(points - centre, axis=-1).max()) or 1.0
    if distance is None:
        height, width = size
        slope = math.tan(math.radians(fov / 2)) * min(1.0, width / height)
        distance = radius / math.sin(math.atan(slope))
    return Framing(centre, radius, distance, elevation, fov)


@functools.partial(jax.jit, static_argnames="style")
def draw_frame(
    mesh: Mesh,
    framing: Framing,
    azimuth: jax.Array,
    background: Any,
    rasterizer: Hard | Soft,
    *,
    style: Style,
) -> jax.Array:
    """One picture: `[H, W, 3]` colour, `[H, W]` coverage, or `[H, W, 2]` depth and coverage."""
    camera = _camera(framing, azimuth, style)
    draw = functools.partial(
        render,
        mesh,
        camera,
        _lights(camera),
        image_size=style.size,
        near=jnp.maximum(framing.distance - 1.01 * framing.radius, 1e-3 * framing.radius),
        far=None if style.show == "depth" else framing.distance + 1.01 * framing.radius,
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


def _camera(framing: Framing, azimuth: jax.Array, style: Style) -> Camera:
    # Take the direction of growing elevation as up: it is never parallel to the view.
    eye = points_from_angles(framing.distance, framing.elevation, azimuth)
    up = points_from_angles(1.0, framing.elevation + 90, azimuth)
    height, width = style.size
    if style.orthographic:
        projection = orthographic(2 * framing.radius / min(1.0, width / height))
    else:
        projection = perspective(framing.fov)
    return look_at(framing.centre + eye, framing.centre, up, projection=projection)


def _lights(camera: Camera) -> Lights:
    """A key light over the camera's left shoulder and a weak one from its right."""
    key, fill = jnp.asarray([[-0.5, 0.6, -0.62], [0.8, 0.1, -0.6]]) @ camera.rotation
    return make_lights(0.25, [(key, 0.65), (fill, 0.15)], specular=0.2, shininess=40.0)


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
