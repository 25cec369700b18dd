"""`subdivide`: each triangle cut in four, in the same place and the same colours.

Shape legend: `V` vertices, `F` faces, `E` edges, `C` channels, `R, T` texels per side.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_array, check_faces, is_concrete
from jaxrender._textures import (
    FaceCubes,
    FaceTexels,
    Texture,
    UVTexture,
    VertexColors,
    check_texture,
    texel_taps,
)
from jaxrender._topology import quarter_faces
from jaxrender._types import Mesh
from jaxrender.ops.ordered import take

# The barycentrics in a face of the corners of its quarters, in the order of `quarter_faces`.
QUARTERS = np.array(
    [
        [[2, 0, 0], [1, 1, 0], [1, 0, 1]],
        [[0, 2, 0], [0, 1, 1], [1, 1, 0]],
        [[0, 0, 2], [1, 0, 1], [0, 1, 1]],
        [[1, 1, 0], [0, 1, 1], [1, 0, 1]],
    ]
) / 2  # fmt: skip


def subdivide(mesh: Mesh, times: int = 1) -> Mesh:
    """Cuts every triangle in four at the middles of its edges; the surface stays as it is.

    Faces that share an edge share its new vertex, so a closed mesh stays closed. The old vertices
    come first, in their order, then the new ones. The quarters of face f are the faces 4f to
    4f + 3: those at its corners 0, 1 and 2, and the one in the middle. So after n times,
    `face // 4**n` is the face that a face is a part of.

    Every kind of texture looks as before. `VertexColors` and the coordinates of a `UVTexture` get
    the mean of both ends at new vertices. The texels of `FaceTexels` and `FaceCubes` are cut up
    between the quarters, each side in two if that is possible (R even, or T odd), else at twice
    the resolution: R or T then stay, and the texture is 4 times as large.

    Lens distortion bends edges that are drawn straight; on a finer mesh they are shorter. Light
    per face or vertex also gets finer: shading "flat" and "gouraud" change where it varies.

    Gradient: exact to vertices and texture: a new vertex hands half of its own to either end.

    Args:
        mesh: with known faces; vertices and colours may be traced.
        times: how often, from 0; `4**times` faces for each; static.

    Returns:
        The finer mesh.

    Raises:
        ValueError: the mesh or `times` is not as above, or faces (of the mesh, or of its
            `UVTexture`) are traced by `jax.jit`: close over them, or subdivide outside.

    Example:
        >>> import jaxrender as jr
        >>> cube = jr.shapes.cube()
        >>> fine = jr.subdivide(cube, 2)
        >>> fine.vertices.shape, fine.faces.shape
        ((98, 3), (192, 3))
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"`mesh` must be a Mesh, got {type(mesh).__name__}. Pass Mesh(vertices, faces)."
        )
    if not isinstance(times, int | np.integer) or isinstance(times, bool) or times < 0:
        raise ValueError(f"`times` must be a whole number from 0, got {times!r}. Pass 1 or 2.")
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    faces = _known_faces("mesh.faces", mesh.faces, vertices.shape[0])
    texture = check_texture(mesh.texture, Mesh(vertices, faces))
    if isinstance(texture, UVTexture):
        known = _known_faces("mesh.texture.faces", mesh.texture.faces, texture.uv.shape[0])
        texture = dataclasses.replace(texture, faces=known)
    mesh = Mesh(vertices, faces, texture)
    for _ in range(times):
        mesh = _subdivide(mesh)
    return mesh


def _known_faces(name: str, faces: Any, vertex_count: int) -> jax.Array:
    """Returns faces with values, also where the surroundings are being traced.

    Raises:
        ValueError: they are traced themselves, or are no faces.
    """
    if not is_concrete(faces):
        raise ValueError(
            f"`{name}` must be known, got a traced value. Subdivide outside of jax.jit and "
            "jax.vmap, or close over the faces instead of passing them as an argument."
        )
    with jax.ensure_compile_time_eval():
        return check_faces(name, faces, vertex_count)


def _subdivide(mesh: Mesh) -> Mesh:
    vertices, ends, faces = mesh.vertices, *_quartered(mesh.faces, len(mesh.vertices))
    texture = mesh.texture
    if isinstance(texture, VertexColors):
        colors = _with_middles(texture.colors, ends)
        texture = dataclasses.replace(texture, colors=colors)
    elif isinstance(texture, UVTexture):
        uv_ends, uv_faces = _quartered(texture.faces, len(texture.uv))
        pages = texture.pages
        texture = dataclasses.replace(
            texture,
            uv=_with_middles(texture.uv, uv_ends),
            faces=uv_faces,
            pages=None if pages is None else jnp.repeat(pages, 4, axis=0),
        )
    else:
        texture = _cut_texels(texture)
    return Mesh(_with_middles(vertices, ends), faces, texture)


def _quartered(faces: jax.Array, count: int) -> tuple[np.ndarray, jax.Array]:
    """`quarter_faces`; with values, also where the surroundings are being traced."""
    ends, quarters = quarter_faces(np.asarray(faces), count)
    with jax.ensure_compile_time_eval():
        return ends, jnp.asarray(quarters, jnp.int32)


def _with_middles(values: jax.Array, ends: np.ndarray) -> jax.Array:
    """Values at vertices `[V, C]`, and behind them those at the middles of edges."""
    # Halve before adding, so that nothing overflows.
    first, second = (take(values, jnp.asarray(ends[:, k], jnp.int32)) for k in range(2))
    return jnp.concatenate([values, first * 0.5 + second * 0.5])


def _cut_texels(texture: Texture) -> Texture:
    """`FaceTexels` or `FaceCubes` of the quarters; None stays None."""
    if isinstance(texture, FaceTexels):
        count, side, _, channels = texture.texels.shape
        half = side // 2 if side % 2 == 0 else side
        texels = texture.texels.reshape(count, side**2, channels)[:, _rows_of_quarters(side, half)]
        return dataclasses.replace(texture, texels=texels.reshape(-1, half, half, channels))
    if isinstance(texture, FaceCubes):
        quarters = [_cut_cubes(texture.cubes, corners) for corners in QUARTERS]
        cubes = jnp.stack(quarters, axis=1)
        return dataclasses.replace(texture, cubes=cubes.reshape(-1, *cubes.shape[2:]))
    return texture


def _rows_of_quarters(side: int, half: int) -> np.ndarray:
    """Which of a face's `R²` texels `[4, half²]` is at the centre of those of its quarters."""
    iy, ix = np.divmod(np.arange(half**2), half)
    lower = ix + iy < half
    w0 = np.where(lower, ix + 1 / 3, half - 1 - ix + 2 / 3) / half
    w1 = np.where(lower, iy + 1 / 3, half - 1 - iy + 2 / 3) / half
    places = np.stack([w0, w1, 1 - w0 - w1], axis=-1) @ QUARTERS
    with jax.ensure_compile_time_eval():
        w0, w1 = (jnp.asarray(places[..., k]) for k in range(2))
        (rows,), _ = texel_taps(jnp.zeros(w0.shape, jnp.int32), w0, w1, side)
        return np.asarray(rows)


def _cut_cubes(cubes: jax.Array, corners: np.ndarray) -> jax.Array:
    """The cubes of one quarter of each face `[F, T', T', T', C]`, read along each axis."""
    side = cubes.shape[1]
    half = side // 2 + 1 if side % 2 else side

    # Each barycentric of the face depends on one of the quarter's own: it goes from 1/2 to 1, from
    # 0 to 1/2, or in the middle from 1/2 to 0. Read the cube there, between two texels at most.
    for axis in range(3):
        start, stop = _span(corners[:, axis])
        position = (start + (stop - start) * np.linspace(0, 1, half)) * (side - 1)
        low = np.minimum(np.floor(position).astype(int), max(side - 2, 0))
        high = np.minimum(low + 1, side - 1)
        shape = (*(1,) * (axis + 1), half, *(1,) * (3 - axis))
        share = jnp.asarray(position - low, cubes.dtype).reshape(shape)
        below, above = (jnp.take(cubes, rows, axis=axis + 1) for rows in (low, high))
        cubes = below * (1 - share) + above * share
    order = [_own_axis(corners[:, axis]) for axis in range(3)]
    return cubes.transpose(0, *(1 + order.index(k) for k in range(3)), 4)


def _own_axis(values: np.ndarray) -> int:
    """Which of a quarter's own barycentrics alone moves one barycentric of the face."""
    alike = [values[k - 2] == values[k - 1] for k in range(3)]
    return alike.index(True)


def _span(values: np.ndarray) -> tuple[float, float]:
    """That barycentric of the face where its own is 0, and where it is 1."""
    own = _own_axis(values)
    return float(np.delete(values, own)[0]), float(values[own])
