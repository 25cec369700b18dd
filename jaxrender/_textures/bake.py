"""Bakes the colours of a mesh into the texels of its faces, by the ancestors' rules.

Shapes: `F` faces, `N` sample points on each, `C` channels.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_array, check_choice, check_faces, check_whole
from jaxrender._choices import WRAPS, Wrap
from jaxrender._textures.kinds import FaceCubes, FaceTexels
from jaxrender._textures.sample import as_texture, check_texture, encoding_of
from jaxrender._types import Mesh


def bake_cubes(
    mesh: Mesh,
    texture_size: int = 4,
    *,
    wrap: Wrap | Literal["texture"] = "texture",
    bilinear: bool = True,
) -> Mesh:
    r"""Replaces the texture of a mesh by NMR's texture cubes.

    Texel (i₀, i₁, i₂) of a face gets the colour at the barycentric coordinates
    `(i₀, i₁, i₂) / (i₀ + i₁ + i₂)`. At texture coordinates (u, v) that is the image at
    `x = u (W - 1)`, `y = v (H - 1)` from its lower left pixel, as Kato et al. wrote it: pixel
    centres are at whole numbers, and the outermost ones at 0 and 1. Texel (0, 0, 0) has no
    barycentric coordinates and gets the image at (0, 0).

    Gradient: exact, to the image (or colours) and, with `bilinear`, to the coordinates.

    Args:
        mesh: with a `UVTexture`, `VertexColors`, `FaceTexels` of one texel, a texture of your own,
            or None for white.
        texture_size: T, texels along each side of a cube; with 1 it is the face's centroid.
        wrap: what happens outside the image. "texture": each sample is wrapped as the texture
            says. "repeat", "mirror", "clamp": NMR's rule, which moves a face's three corners
            into the image before it samples between them; its "repeat" also exchanges the
            coordinates 0 and 1.
        bilinear: between four pixels, or False for the nearest one; so is what the texture itself
            reads with filter "nearest", as long as `wrap` is "texture".

    Returns:
        the mesh with `FaceCubes` `[F, T, T, T, C]`, in the encoding that it had.

    Raises:
        ValueError: a texture of another kind, or a wrong `texture_size` or `wrap`.

    Example:
        >>> from jaxrender.shapes import cube
        >>> bake_cubes(cube(), 2).texture.cubes.shape
        (12, 2, 2, 2, 3)

    References:
        Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566.
    """
    side = _check_side("texture_size", texture_size)
    check_choice("wrap", wrap, ("texture", *WRAPS))
    index = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = index / np.maximum(index.sum(axis=1, keepdims=True), 1)
    if side == 1:
        weights = np.full((1, 3), 1 / 3)
    colors = _colors_at(mesh, weights, wrap, bilinear)
    cubes = colors.reshape(colors.shape[0], side, side, side, colors.shape[-1])
    return dataclasses.replace(mesh, texture=FaceCubes(cubes, encoding_of(mesh.texture)))


def bake_texels(mesh: Mesh, resolution: int = 4) -> Mesh:
    r"""Replaces the texture of a mesh by SoftRas's surface texels.

    The `R²` texels of a face are small triangles. Texel `[iy, ix]` gets the colour at its
    centre: at barycentrics `w₀ = (ix + 1/3) / R`, `w₁ = (iy + 1/3) / R` where `ix + iy < R`,
    otherwise `w₀ = (R - 1 - ix + 2/3) / R`, `w₁ = (R - 1 - iy + 2/3) / R`. Images are read
    as in `bake_cubes`.

    Gradient: exact, to the image (or colours) and to the coordinates.

    Args:
        mesh: with a `UVTexture`, `VertexColors`, `FaceTexels` of one texel, a texture of your own,
            or None for white.
        resolution: R, texels along each side of a face.

    Returns:
        the mesh with `FaceTexels` `[F, R, R, C]`, in the encoding that it had.

    Raises:
        ValueError: a texture of another kind, or a wrong `resolution`.

    Example:
        >>> from jaxrender.shapes import cube
        >>> bake_texels(cube(), 2).texture.texels.shape
        (12, 2, 2, 3)

    References:
        Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786.
    """
    side = _check_side("resolution", resolution)
    iy, ix = (axis.reshape(-1) for axis in np.meshgrid(*[np.arange(side)] * 2, indexing="ij"))
    lower = ix + iy < side
    w0 = np.where(lower, ix + 1 / 3, side - 1 - ix + 2 / 3) / side
    w1 = np.where(lower, iy + 1 / 3, side - 1 - iy + 2 / 3) / side
    weights = np.stack([w0, w1, 1 - w0 - w1], axis=-1)
    colors = _colors_at(mesh, weights, "texture", bilinear=True)
    texels = colors.reshape(colors.shape[0], side, side, colors.shape[-1])
    return dataclasses.replace(mesh, texture=FaceTexels(texels, encoding_of(mesh.texture)))


def _check_side(name: str, side: int) -> int:
    return check_whole(name, side, least=1, most=2**12, example=4)


def _colors_at(mesh: Mesh, weights: np.ndarray, wrap: str, bilinear: bool) -> jax.Array:
    """The colours `[F, N, C]` of all faces at the barycentrics `weights` `[N, 3]`."""
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3))
    faces = check_faces("mesh.faces", mesh.faces, len(vertices))
    texture = check_texture(mesh.texture, mesh)
    points = jnp.asarray(weights, vertices.dtype)
    return as_texture(texture).baked(faces, points, wrap=wrap, bilinear=bilinear)
