"""Bakes the colours of a mesh into the texels of its faces, by the ancestors' rules.

Shapes: `F` faces, `N` sample points on each, `C` channels.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_array, check_choice, check_faces
from jaxrender._textures.sample import (
    FILTERS,
    WRAPS,
    FaceCubes,
    FaceTexels,
    UVTexture,
    VertexColors,
    check_texture,
    encoding_of,
    mirrored,
    wraps_of,
)
from jaxrender._types import Mesh


def bake_cubes(
    mesh: Mesh, texture_size: int = 4, *, wrap: str = "texture", bilinear: bool = True
) -> Mesh:
    r"""Replaces the texture of a mesh by NMR's texture cubes.

    Texel (i₀, i₁, i₂) of a face gets the colour at the barycentric coordinates
    `(i₀, i₁, i₂) / (i₀ + i₁ + i₂)`. At texture coordinates (u, v) that is the image at
    `x = u (W - 1)`, `y = v (H - 1)` from its lower left pixel, as Kato et al. wrote it: pixel
    centres are at whole numbers, and the outermost ones at 0 and 1. Texel (0, 0, 0) has no
    barycentric coordinates and gets the image at (0, 0).

    Gradient: exact, to the image (or colours) and, with `bilinear`, to the coordinates.

    Args:
        mesh: with a `UVTexture`, `VertexColors`, `FaceTexels` of one texel, or None for white.
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
        mesh: with a `UVTexture`, `VertexColors`, `FaceTexels` of one texel, or None for white.
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
    if int(side) != side or side < 1:
        raise ValueError(f"`{name}` must be a whole number from 1, got {side!r}.")
    return int(side)


def _colors_at(mesh: Mesh, weights: np.ndarray, wrap: str, bilinear: bool) -> jax.Array:
    """The colours `[F, N, C]` of all faces at the barycentrics `weights` `[N, 3]`."""
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3))
    faces = check_faces("mesh.faces", mesh.faces, len(vertices))
    texture = check_texture(mesh.texture, mesh)
    points = jnp.asarray(weights, vertices.dtype)
    if isinstance(texture, UVTexture):
        return _sample(texture, points, wrap, bilinear)
    if isinstance(texture, VertexColors):
        # Give NMR's texel without barycentrics, which are all 0 there, the mean colour.
        points = jnp.where(points.sum(axis=1, keepdims=True) == 0, 1 / 3, points)
        return jnp.einsum("nk,fkc->fnc", points, texture.colors[faces])
    if isinstance(texture, FaceTexels) and texture.texels.shape[1] == 1:
        constant = texture.texels[:, 0]
    elif texture is None:
        constant = jnp.ones((len(faces), 1, 3), vertices.dtype)
    else:
        raise ValueError(
            f"`mesh.texture` must be a UVTexture, VertexColors, FaceTexels of one texel or None, "
            f"got {type(texture).__name__}. Bake from the mesh as it was loaded."
        )
    return jnp.broadcast_to(constant, (len(faces), len(weights), constant.shape[-1]))


def _sample(texture: UVTexture, weights: jax.Array, wrap: str, bilinear: bool) -> jax.Array:
    """Reads the image `[H, W, C]` at barycentrics `[N, 3]` of all faces: `[F, N, C]`."""
    # Find each face's page: its first row, height and width.
    height, width, channels = texture.image.shape
    count = len(texture.faces)
    pages = texture.pages
    if pages is None:
        pages = jnp.tile(jnp.array([[0, height, width]], jnp.int32), (count, 1))
    first, rows, columns = (pages[:, k, None] for k in range(3))

    # Wrap the corners or the samples.
    corners = texture.uv[texture.faces]
    if wrap != "texture":
        uv = jnp.einsum("nk,fkd->fnd", weights, _wrap_corners(corners, wrap))
    else:
        uv = jnp.einsum("nk,fkd->fnd", weights, corners)
        uv = _wrap_samples(texture, uv)

    # Find the pixels around the point, with the rows counted from the lower edge.
    x, y = (uv[..., k] * (size - 1).astype(uv.dtype) for k, size in enumerate((columns, rows)))
    nearest = jnp.full((1, 1), not bilinear or (wrap == "texture" and texture.filter == "nearest"))
    if bilinear and wrap == "texture" and texture.samplers is not None:
        nearest = texture.samplers[:, 2, None] == FILTERS.index("nearest")
    x, y = (jnp.where(nearest, jnp.floor(way + 0.5), way) for way in (x, y))
    x0, y0 = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    image = texture.image.reshape(height * width, channels)

    def pixel(dx: int, dy: int) -> jax.Array:
        column = jnp.clip(x0 + dx, 0, columns - 1)
        row = first + rows - 1 - jnp.clip(y0 + dy, 0, rows - 1)
        return image[row * width + column]

    fx, fy = ((at - low.astype(at.dtype))[..., None] for at, low in ((x, x0), (y, y0)))
    below = pixel(0, 0) * (1 - fx) + pixel(1, 0) * fx
    above = pixel(0, 1) * (1 - fx) + pixel(1, 1) * fx
    colors = below * (1 - fy) + above * fy
    if texture.tint is None:
        return colors
    # Give NMR's texel without barycentrics, which are all 0 there, the mean tint.
    weights = jnp.where(weights.sum(axis=1, keepdims=True) == 0, 1 / 3, weights)
    return colors * jnp.einsum("nk,fkc->fnc", weights, texture.tint[texture.faces])


def _wrap_samples(texture: UVTexture, uv: jax.Array) -> jax.Array:
    """Coordinates `[F, N, 2]` brought into [0, 1] as the texture says; those inside stay."""
    if texture.samplers is None:
        codes = jnp.array([[WRAPS.index(wrap) for wrap in wraps_of(texture.wrap)]])
    else:
        codes = texture.samplers[:, :2]
    codes = codes[:, None, :]
    outside = jnp.where(codes == WRAPS.index("clamp"), jnp.clip(uv, 0, 1), uv - jnp.floor(uv))
    outside = jnp.where(codes == WRAPS.index("mirror"), mirrored(uv), outside)
    return jnp.where((uv >= 0) & (uv <= 1), uv, outside)


def _wrap_corners(uv: jax.Array, wrap: str) -> jax.Array:
    """NMR's wrapping, with its remainder in (0, n] for numbers up to 0."""
    if wrap == "clamp":
        return jnp.clip(uv, 0, 1)

    def remainder(n: int) -> jax.Array:
        return jnp.where(uv > 0, jnp.fmod(uv, n), n + jnp.fmod(uv, n))

    if wrap == "repeat":
        return remainder(1)
    return jnp.where(remainder(2) < 1, remainder(1), 1 - remainder(1))
