"""Textures: what colour each face has where.

Every texture is a sparse linear read of a table of colours,

    colour = Σₖ weightₖ · table[indexₖ]

so each kind only says which rows of which table a point of a face reads, and with what weights.

Each says how its colours are encoded: "display", sRGB as in picture files, or "linear". They are
interpolated, lit and blended as they are, and the picture has the encoding of its texture; see
`jaxrender.to_display` and `jaxrender.to_linear`. It says nothing of features.

Shape legend: `V` vertices, `F` faces, `C` channels, `R, T` texels per side, `U` texture
coordinates, `N` rows of a table, `K` taps, `...` any number of points.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from jaxrender._checks import check_array, check_choice, check_faces, is_concrete
from jaxrender._color import ENCODINGS
from jaxrender._types import Mesh, static, struct
from jaxrender.ops import deterministic

# What `UVTexture.samplers` counts: how a picture goes on outside [0, 1], and how it is read.
WRAPS = ("repeat", "clamp", "mirror")
FILTERS = ("linear", "nearest")


@struct
class VertexColors:
    """One colour per vertex, interpolated across each face.

    Attributes:
        colors: `[V, C]` colours or features.
        encoding: of the colours, "display" or "linear"; static.
    """

    colors: jax.Array  # [V, C]
    encoding: str = static(default="display")


@struct
class FaceTexels:
    """SoftRas's surface texture: each face is cut into R² equal triangles of one colour each.

    With `w` the barycentrics, `ix = ⌊w₀ R⌋` and `iy = ⌊w₁ R⌋`, a point in the lower triangle of
    its cell reads `texels[face, iy, ix]`, one in the upper triangle `texels[face, R-1-iy, R-1-ix]`.
    Unlike in SoftRas, a point on vertex 0 or 1 never reads another face.

    Attributes:
        texels: `[F, R, R, C]` colours or features.
        encoding: of the colours, "display" or "linear"; static.
    """

    texels: jax.Array  # [F, R, R, C]
    encoding: str = static(default="display")


@struct
class FaceCubes:
    """NMR's texture: a cube of T³ texels per face, read at `(T - 1) · barycentrics`, trilinear.

    A vertex reads its own texel exactly: vertex 0 reads `cubes[face, T-1, 0, 0]`.

    Attributes:
        cubes: `[F, T, T, T, C]` colours or features.
        encoding: of the colours, "display" or "linear"; static.
    """

    cubes: jax.Array  # [F, T, T, T, C]
    encoding: str = static(default="display")


@struct
class UVTexture:
    """A picture wrapped around the mesh.

    `u` goes right and `v` UP, (0, 0) is the picture's lower left corner, and the centre of the
    texel in column `i` lies at `u = (i + 1/2) / W`, as in OpenGL.

    Several pictures fit in one `image`: stack them vertically, padded on the right, and name in
    `pages` the rectangle that each face reads. Coordinates then count, and wrap, within it. Faces
    may also differ in how they read: `samplers` says so, in numbers, since it is traced.

    Attributes:
        image: `[H, W, C]` colours or features; row 0 is the top.
        uv: `[U, 2]` texture coordinates, normally in [0, 1].
        faces: `[F, 3]` int32 indices into `uv`, one per corner of each face of the mesh.
        pages: `[F, 3]` int32 (first row, height, width) in texels, or None: all of `image`.
        wrap: what lies outside [0, 1]: "repeat", "clamp" (the border texel), "mirror" (back and
            forth), or a pair of them for u and v; static.
        filter: "linear", between four texels, or "nearest"; static.
        tint: `[U, C]` colours at the texture coordinates, interpolated across each face, that
            multiply what is read; or None.
        samplers: `[F, 3]` int32 (wrap of u, wrap of v, filter), in place of `wrap` and `filter`:
            0 repeats, 1 clamps, 2 mirrors; 0 is linear, 1 nearest; or None.
        encoding: of the colours, "display" or "linear"; static.
    """

    image: jax.Array  # [H, W, C]
    uv: jax.Array  # [U, 2]
    faces: jax.Array  # [F, 3]
    pages: jax.Array | None = None  # [F, 3]
    wrap: str | tuple[str, str] = static(default="repeat")
    filter: str = static(default="linear")
    tint: jax.Array | None = None  # [U, C]
    samplers: jax.Array | None = None  # [F, 3]
    encoding: str = static(default="display")


Texture = VertexColors | FaceTexels | FaceCubes | UVTexture | None


def sample_texture(
    texture: Texture, faces: jax.Array, face: jax.Array, barycentrics: jax.Array
) -> jax.Array:
    """The colour of points on faces: `Σₖ weightₖ · table[indexₖ]`, see `taps`, times the tint.

    Gradient: exact to the texture's colours, to `uv`, and to `barycentrics`. `FaceTexels` and
    pictures of filter "nearest" are constant within a texel: no gradient to `barycentrics` or
    `uv`. No face has gradient 0.

    Args:
        texture: one of the textures; None is white, 3 channels.
        faces: `[F, 3]` int32 vertex indices of the mesh.
        face: `[...]` int32 the face at each point, or `NO_FACE`.
        barycentrics: `[..., 3]` where on that face.

    Returns:
        `[..., C]` colours; 0 where there is no face.

    Example:
        >>> import jaxrender as jr, jax.numpy as jnp
        >>> texture = jr.VertexColors(jnp.eye(3))
        >>> where = jnp.array([0, -1]), jnp.array([[0.5, 0.25, 0.25], [0, 0, 0]])
        >>> jr.sample_texture(texture, jnp.array([[0, 1, 2]]), *where).tolist()
        [[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]
    """
    table, indices, weights = taps(texture, faces, face, barycentrics)
    if deterministic.is_requested():
        color = (deterministic.gather(table, indices) * weights[..., None]).sum(-2)
    else:
        color = _blend(table, indices, weights)
    if isinstance(texture, UVTexture) and texture.tint is not None and faces.shape[0]:
        corners = deterministic.gather(texture.tint, texture.faces)
        tint = deterministic.gather(corners, jnp.maximum(face, 0)) * barycentrics[..., None]
        color = color * tint.sum(-2)
    return color


def taps(
    texture: Texture, faces: jax.Array, face: jax.Array, barycentrics: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which rows of which table points on faces read, and with what weights.

    Args:
        texture: one of the textures; None is white, 3 channels.
        faces: `[F, 3]` int32 vertex indices of the mesh.
        face: `[...]` int32 the face at each point, or `NO_FACE`.
        barycentrics: `[..., 3]` where on that face.

    Returns:
        `table` `[N, C]`, `indices` `[..., K]` int32 rows of it, and `weights` `[..., K]`, all 0
        where there is no face.
    """
    dtype = barycentrics.dtype

    # Let a mesh without faces, and a texture without colours, read one black row.
    if faces.shape[0] == 0:
        table = jnp.zeros((1, channels(texture)), dtype)
        return table, jnp.zeros((*face.shape, 1), jnp.int32), jnp.zeros((*face.shape, 1), dtype)

    # Read face 0 where there is none, with weight 0.
    seen = face >= 0
    face = jnp.where(seen, face, 0).astype(jnp.int32)
    if texture is None:
        table, indices = jnp.ones((1, 3), dtype), jnp.zeros_like(face)[..., None]
        weights = jnp.ones((*face.shape, 1), dtype)
    elif isinstance(texture, VertexColors):
        table, indices = texture.colors, jnp.take(faces, face, axis=0, mode="clip")
        weights = barycentrics
    elif isinstance(texture, FaceTexels):
        table, indices, weights = _texel_taps(texture.texels, face, barycentrics)
    elif isinstance(texture, FaceCubes):
        table, indices, weights = _cube_taps(texture.cubes, face, barycentrics)
    else:
        table, indices, weights = _uv_taps(texture, face, barycentrics)
    return table, indices, jnp.where(seen[..., None], weights, 0)


def channels(texture: Texture) -> int:
    """How many channels `C` the texture has."""
    if texture is None:
        return 3
    return jax.tree.leaves(texture)[0].shape[-1]


def encoding_of(texture: Texture) -> str:
    """How the colours of the texture are encoded; the white of None is "display"."""
    return "display" if texture is None else texture.encoding


def check_texture(texture: Any, mesh: Mesh) -> Texture:
    """Returns the mesh's texture with its arrays in the right shapes and dtypes.

    Args:
        texture: what the user gave.
        mesh: the mesh that wears it; only its numbers of vertices and faces count.

    Raises:
        ValueError: it is no texture, does not fit the mesh, holds 8-bit colours, has another
            encoding, or an index or page is out of range. Inside jit, where values are not known,
            an index out of range reads the nearest row that exists.
    """
    vertex_count, face_count = mesh.vertices.shape[0], mesh.faces.shape[0]
    if texture is None:
        return None
    if isinstance(texture, VertexColors | FaceTexels | FaceCubes | UVTexture):
        check_choice("texture.encoding", texture.encoding, ENCODINGS)
    if isinstance(texture, VertexColors):
        colors = _check_colors("colors", texture.colors, (vertex_count, "C"))
        return dataclasses.replace(texture, colors=colors)
    if isinstance(texture, FaceTexels):
        texels = _check_colors("texels", texture.texels, (face_count, "R", "R", "C"))
        _check_side("texels", texels)
        return dataclasses.replace(texture, texels=texels)
    if isinstance(texture, FaceCubes):
        cubes = _check_colors("cubes", texture.cubes, (face_count, "T", "T", "T", "C"))
        _check_side("cubes", cubes)
        return dataclasses.replace(texture, cubes=cubes)
    if isinstance(texture, UVTexture):
        return _check_uv(texture, face_count)
    raise ValueError(
        "`texture` must be VertexColors, FaceTexels, FaceCubes, UVTexture or None, got "
        f"{type(texture).__name__}. Wrap colours per vertex as VertexColors(colors)."
    )


@jax.custom_jvp
def _blend(table: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """`Σₖ weightsₖ · table[indicesₖ]`.

    Bilinear in table and weights, so its derivative is the sum of two blends, which JAX would
    find as well. It is written out because the two directions want different programs: the sum
    one tap at a time (8 taps at 512²: 10 ms against 80 ms for all at once on 2 CPU cores), its
    transpose all taps at once, one scatter instead of one per tap (70 ms against 150 ms).
    """
    color = jnp.zeros((), jnp.result_type(table, weights))
    for k in range(indices.shape[-1]):
        color = (
            color + jnp.take(table, indices[..., k], axis=0, mode="clip") * weights[..., k, None]
        )
    return color


@functools.partial(_blend.defjvp, symbolic_zeros=True)
def _blend_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    table, indices, weights = primals
    d_table, _, d_weights = tangents

    def moved(rows: jax.Array, amounts: jax.Array) -> jax.Array:
        return (jnp.take(rows, indices, axis=0, mode="clip") * amounts[..., None]).sum(-2)

    out = _blend(table, indices, weights)
    d_out = jnp.zeros_like(out)
    if not isinstance(d_table, SymbolicZero):
        d_out = d_out + moved(d_table, weights)
    if not isinstance(d_weights, SymbolicZero):
        d_out = d_out + moved(table, d_weights)
    return out, d_out


def _texel_taps(texels: jax.Array, face: jax.Array, barycentrics: jax.Array) -> tuple:
    """The one texel of each point; see `FaceTexels`."""
    side = texels.shape[1]
    (row,), (weight,) = texel_taps(face * side**2, barycentrics[..., 0], barycentrics[..., 1], side)
    return texels.reshape(-1, texels.shape[-1]), row[..., None], weight[..., None]


def _cube_taps(cubes: jax.Array, face: jax.Array, barycentrics: jax.Array) -> tuple:
    """The eight texels around each point; see `FaceCubes`."""
    side = cubes.shape[1]
    where = [barycentrics[..., k] for k in range(3)]
    rows, weights = cube_taps(face * side**3, where, side)
    return cubes.reshape(-1, cubes.shape[-1]), jnp.stack(rows, -1), jnp.stack(weights, -1)


def _uv_taps(texture: UVTexture, face: jax.Array, barycentrics: jax.Array) -> tuple:
    """The texels around each point; see `UVTexture`."""
    height, width, count = texture.image.shape

    # Gather the corners' coordinates once per face, then once per point.
    corners = deterministic.gather(texture.uv, texture.faces)
    uv = (deterministic.gather(corners, face) * barycentrics[..., None]).sum(-2)

    # Find the face's rectangle of the image, and its sampler.
    page = [0, height, width]
    if texture.pages is not None:
        page = list(jnp.moveaxis(jnp.take(texture.pages, face, axis=0, mode="clip"), -1, 0))
    if texture.samplers is not None:
        page += list(jnp.moveaxis(jnp.take(texture.samplers, face, axis=0, mode="clip"), -1, 0))
    rows, weights = uv_taps(uv[..., 0], uv[..., 1], page, width, texture.wrap, texture.filter)
    return texture.image.reshape(-1, count), jnp.stack(rows, -1), jnp.stack(weights, -1)


def texel_taps(first: jax.Array, w0: jax.Array, w1: jax.Array, side: int) -> tuple[list, list]:
    """The row of the one texel at barycentrics `w0`, `w1` of a face, and its weight 1.

    Args:
        first: the row of the face's first texel.
        w0: first barycentric.
        w1: second barycentric.
        side: `R`.
    """
    # Find the cell, and which of its two triangles.
    x, y = jnp.clip(w0, 0, 1) * side, jnp.clip(w1, 0, 1) * side
    ix, iy = (jnp.clip(position.astype(jnp.int32), 0, side - 1) for position in (x, y))
    # Beyond the edge from vertex 0 to 1 the two add up to 1; rounding must not choose there.
    iy = jnp.minimum(iy, side - 1 - ix)
    within = (x - ix.astype(x.dtype)) + (y - iy.astype(y.dtype))
    lower = (within <= 1) | (ix + iy == side - 1)
    ix, iy = jnp.where(lower, ix, side - 1 - ix), jnp.where(lower, iy, side - 1 - iy)
    return [first + iy * side + ix], [jnp.ones_like(w0)]


def cube_taps(first: jax.Array, barycentrics: list[jax.Array], side: int) -> tuple[list, list]:
    """The rows of the eight texels around points of faces, and their weights.

    Args:
        first: the row of the face's first texel.
        barycentrics: of the points, three arrays.
        side: `T`.
    """
    ends = []
    for barycentric in barycentrics:
        low, high, fraction = _neighbours(_limit(barycentric * (side - 1), side - 1), side)
        ends.append(((low, 1 - fraction), (high, fraction)))
    rows, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        (i, x), (j, y), (k, z) = (ends[axis][end] for axis, end in enumerate(corner))
        rows.append(first + (i * side + j) * side + k)
        weights.append(x * y * z)
    return rows, weights


def uv_taps(
    u: jax.Array,
    v: jax.Array,
    page: Sequence[Any],
    width: int,
    wrap: str | tuple[str, str],
    filter: str,
) -> tuple[list, list]:
    """The rows of the four texels around points of an image, or of the nearest; their weights.

    Args:
        u: to the right.
        v: up.
        page: first row, height and width of the rectangle that is read, and where samplers differ
            also the sampler, as in `UVTexture.samplers`; numbers or arrays.
        width: of the whole image.
        wrap: as in `UVTexture`, unless `page` has a sampler.
        filter: likewise.
    """
    # Find the neighbours on either side, right and down.
    first, height, across, *sampler = page
    along_u, along_v = sampler[:2] or wraps_of(wrap)
    left, right, x = _wrapped_neighbours(u, across, along_u)
    upper, lower, y = _wrapped_neighbours(1 - v, height, along_v)

    # Go all the way to the nearer one, where that is asked for.
    if sampler:
        nearest = sampler[2] == FILTERS.index("nearest")
        x, y = (jnp.where(nearest, (way >= 0.5).astype(way.dtype), way) for way in (x, y))
    elif filter == "nearest":
        column, row = jnp.where(x < 0.5, left, right), jnp.where(y < 0.5, upper, lower)
        return [(first + row) * width + column], [jnp.ones_like(u)]

    top, bottom = (first + upper) * width, (first + lower) * width
    rows = [top + left, top + right, bottom + left, bottom + right]
    return rows, [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]


def wraps_of(wrap: str | tuple[str, str]) -> tuple[str, str]:
    """How a picture goes on along u and along v."""
    return (wrap, wrap) if isinstance(wrap, str) else wrap


def mirrored(coordinate: jax.Array) -> jax.Array:
    """The triangle wave of period 2 that is the identity on [0, 1]."""
    ahead = coordinate - 2 * jnp.floor(coordinate / 2)
    return jnp.where(ahead < 1, ahead, 2 - ahead)


def _wrapped_neighbours(
    coordinate: jax.Array, size: jax.Array | int, wrap: str | jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The texels on both sides of a coordinate in [0, 1], and how far from the first it is."""
    if not isinstance(wrap, str):
        # Find both, and choose: the ends of a mirrored picture are those of a clamped one.
        folded = jnp.where(wrap == WRAPS.index("mirror"), mirrored(coordinate), coordinate)
        repeated = _wrapped_neighbours(coordinate, size, "repeat")
        clamped = _wrapped_neighbours(folded, size, "clamp")
        repeats = wrap == WRAPS.index("repeat")
        low, high, fraction = (
            jnp.where(repeats, *pair) for pair in zip(repeated, clamped, strict=True)
        )
        return low, high, fraction
    if wrap == "mirror":
        coordinate = mirrored(coordinate)
    span = jnp.asarray(size, coordinate.dtype)
    if wrap != "repeat":
        return _neighbours(_limit(coordinate * span - 0.5, span - 1), size)
    position = (coordinate - jnp.floor(coordinate)) * span - 0.5
    low = jnp.floor(position)
    fraction, low = position - low, low.astype(jnp.int32)
    high = jnp.where(low + 1 >= size, 0, low + 1)
    return jnp.where(low < 0, size - 1, low), high, fraction


def _neighbours(
    position: jax.Array, size: jax.Array | int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The texels on both sides of a position in [0, size - 1], and the way from the first."""
    low = jnp.clip(position.astype(jnp.int32), 0, jnp.maximum(size - 2, 0))
    return low, jnp.minimum(low + 1, size - 1), position - low.astype(position.dtype)


def _limit(position: jax.Array, top: jax.Array | int) -> jax.Array:
    """Clips to [0, top]; unlike `jnp.clip` with the full gradient on both ends."""
    return jnp.where(position < 0, 0, jnp.where(position > top, top, position))


def _check_colors(name: str, value: Any, shape: tuple[int | str, ...]) -> jax.Array:
    if getattr(value, "dtype", None) == np.uint8:
        raise ValueError(
            f"`texture.{name}` must be floating-point colours, normally in [0, 1], got uint8. "
            "Divide 8-bit colours by 255."
        )
    array = check_array(f"texture.{name}", value, shape)
    if 0 in array.shape[1:]:
        raise ValueError(
            f"`texture.{name}` must have at least one texel and one channel, got "
            f"{list(array.shape)}. Pass for example 3 channels of rgb."
        )
    return array


def _check_side(name: str, array: jax.Array) -> None:
    """Rejects texel squares and cubes whose sides differ."""
    if len(set(array.shape[1:-1])) > 1:
        raise ValueError(
            f"`texture.{name}` must have the same number of texels on each side, got "
            f"{list(array.shape)}. Pass [F, R, R, C] texels or [F, T, T, T, C] cubes."
        )


def _check_inside(pages: np.ndarray, height: int, width: int, hint: str) -> None:
    """Rejects pages that reach out of the image."""
    first, rows, columns = pages.T
    fits = (first >= 0) & (rows > 0) & (columns > 0)
    fits &= (first + rows <= height) & (columns <= width)
    if not fits.all():
        face = int(np.argmin(fits))
        raise ValueError(
            f"`texture.pages` must lie within the image of {height} x {width} texels, got "
            f"{pages[face].tolist()} for face {face}. {hint}"
        )


def _check_uv(texture: UVTexture, face_count: int) -> UVTexture:
    image = _check_colors("image", texture.image, ("H", "W", "C"))
    uv = check_array("texture.uv", texture.uv, ("U", 2))
    faces = check_faces("texture.faces", texture.faces, uv.shape[0])
    if faces.shape[0] != face_count:
        raise ValueError(
            f"`texture.faces` must have one row for each of the mesh's {face_count} faces, got "
            f"{faces.shape[0]}. Pass the texture coordinates of each face's corners."
        )
    _check_sampler(texture)
    if 0 in image.shape:
        raise ValueError(
            f"`texture.image` must have at least one texel, got {list(image.shape)}. "
            "Pass texture=None for a white mesh."
        )

    pages = texture.pages
    if pages is not None:
        hint = "Pass (first row, height, width) per face, in texels."
        pages = check_array("texture.pages", pages, (face_count, 3), kind="int", hint=hint)
        if is_concrete(pages) and face_count:
            _check_inside(np.asarray(pages), image.shape[0], image.shape[1], hint)
        pages = pages.astype(jnp.int32)

    tint, samplers = texture.tint, texture.samplers
    if tint is not None:
        tint = _check_colors("tint", tint, (uv.shape[0], image.shape[2]))
    if samplers is not None:
        samplers = check_array("texture.samplers", samplers, (face_count, 3), kind="int")
        if is_concrete(samplers) and face_count:
            most = np.array([len(WRAPS), len(WRAPS), len(FILTERS)])
            known = np.asarray(samplers)
            bad = np.flatnonzero(((known < 0) | (known >= most)).any(1))
            if len(bad):
                raise ValueError(
                    f"`texture.samplers` must be (wrap of u, wrap of v, filter) as indices into "
                    f"{WRAPS} and {FILTERS}, got {known[bad[0]].tolist()} for face {bad[0]}."
                )
        samplers = samplers.astype(jnp.int32)
    return dataclasses.replace(
        texture, image=image, uv=uv, faces=faces, pages=pages, tint=tint, samplers=samplers
    )


def _check_sampler(texture: UVTexture) -> None:
    """Rejects a wrap and a filter that do not exist."""
    wrap = texture.wrap
    known = wrap in WRAPS if isinstance(wrap, str) else isinstance(wrap, tuple) and len(wrap) == 2
    if not known or not set(wraps_of(wrap)) <= set(WRAPS):
        options = ", ".join(map(repr, WRAPS))
        raise ValueError(
            f"`texture.wrap` must be one of {options}, or a tuple of two of them for u and v, got "
            f"{wrap!r}."
        )
    check_choice("texture.filter", texture.filter, FILTERS)
