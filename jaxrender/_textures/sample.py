"""`sample_texture`: the colour of points on faces, whatever the kind of texture.

Shape legend: `V` vertices, `F` faces, `C` channels, `R` rows of a table, `K` taps, `...` any number
of points.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxrender._checks import check_array, check_choice
from jaxrender._choices import ENCODINGS, Encoding
from jaxrender._textures.base import Texture, White, columns_of
from jaxrender._textures.footprint import OnScreen
from jaxrender._textures.program import TextureProgram, program_of
from jaxrender._types import Mesh
from jaxrender.ops import deterministic
from jaxrender.ops.blend import blend_by_weights, blend_rows
from jaxrender.ops.fusion import computed_once


def sample_texture(
    texture: Texture | None, faces: jax.Array, face: jax.Array, barycentrics: jax.Array
) -> jax.Array:
    """The colour of points on faces: what `Texture.color` makes of `Σₖ weightₖ · table[rowₖ]`.

    Gradient: exact to the texture's colours, to `uv`, and to `barycentrics`. `FaceTexels` and
    pictures of filter "nearest" are constant within a texel: no gradient to `barycentrics` or
    `uv`. No face has gradient 0.

    Args:
        texture: of any kind; None is white, 3 channels.
        faces: `[F, 3]` int32 vertex indices of the mesh.
        face: `[...]` int32 the face at each point, or `NO_FACE`.
        barycentrics: `[..., 3]` where on that face.

    Returns:
        `[..., C]` colours; 0 where there is no face.

    Raises:
        ValueError: a kind, shape or dtype is not as above.

    Example:
        >>> import jaxrender as jr, jax.numpy as jnp
        >>> texture = jr.VertexColors(jnp.eye(3))
        >>> where = jnp.array([0, -1]), jnp.array([[0.5, 0.25, 0.25], [0, 0, 0]])
        >>> jr.sample_texture(texture, jnp.array([[0, 1, 2]]), *where).tolist()
        [[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]
    """
    if texture is not None and not isinstance(texture, Texture):
        check_texture(texture, Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32)))
    kind = as_texture(texture)
    faces = check_array("faces", faces, ("F", 3), kind="int")
    face = check_array("face", face, ("...",), kind="int")
    barycentrics = check_array("barycentrics", barycentrics, (*face.shape, 3))
    if faces.shape[0] == 0:
        return jnp.zeros((*face.shape, kind.channels()), barycentrics.dtype)
    points = _points(kind, faces, face, barycentrics)

    # Read the table.
    color, texel = None, []
    if kind.table() is not None:
        table, rows, weights = _read(kind, points)
        if deterministic.is_requested():
            color = (deterministic.gather(table, rows) * weights[..., None]).sum(-2)
        else:
            color = _blend(table, rows, weights)
        if not points.program.has_color:
            return color
        texel = columns_of(color)

    # Make colours of it, and none where there is no face.
    colors = points.program.color(texel, points.varyings, points.uniforms)
    dtype = barycentrics.dtype if color is None else color.dtype
    colors = [jnp.broadcast_to(jnp.asarray(part, dtype), face.shape) for part in colors]
    return jnp.where(points.seen[..., None], jnp.stack(colors, -1), 0)


def taps(
    texture: Texture | None, faces: jax.Array, face: jax.Array, barycentrics: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which rows of which table points on faces read, and with what weights.

    Args:
        texture: of a kind that has a table.
        faces: `[F, 3]` int32 vertex indices of the mesh, at least one.
        face: `[...]` int32 the face at each point, or `NO_FACE`.
        barycentrics: `[..., 3]` where on that face.

    Returns:
        `table` `[R, C]`, `rows` `[..., K]` int32 of it, and `weights` `[..., K]`, all 0 where there
        is no face.
    """
    kind = as_texture(texture)
    return _read(kind, _points(kind, faces, face, barycentrics))


class _Points(NamedTuple):
    """What a texture has at points, each array `[...]`."""

    program: TextureProgram
    seen: jax.Array  # whether a face is there
    indices: list[jax.Array]
    varyings: list[jax.Array]
    uniforms: list[jax.Array]
    changes: list[jax.Array]  # of the varyings, see `Texture.has_footprint`


def _points(
    texture: Texture, faces: jax.Array, face: jax.Array, barycentrics: jax.Array
) -> _Points:
    """Gathers and interpolates what `Texture.taps` and `Texture.color` need."""
    # Read face 0 where there is none, to count for nothing.
    seen = face >= 0
    face = jnp.where(seen, face, 0).astype(jnp.int32)
    uniforms = texture.uniforms()
    uniforms = [] if uniforms is None else list(uniforms)
    if isinstance(texture, OnScreen):
        index, here, changes = texture.at(faces, face, barycentrics)
        program = program_of(texture.texture)
        return _Points(program, seen, index, here, uniforms, changes)
    index, varyings = texture.indices(faces), texture.varyings(faces)
    own = face[..., None] if index is None else jnp.take(index, face, axis=0, mode="clip")
    here = barycentrics
    if varyings is not None and varyings.shape[-1]:
        corners = deterministic.gather(varyings, face)
        here = (corners * barycentrics[..., None]).sum(-2)
    empty = varyings is not None and not varyings.shape[-1]
    return _Points(
        program_of(texture), seen, columns_of(own), [] if empty else columns_of(here), uniforms, []
    )


def _read(texture: Texture, points: _Points) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Table, rows and weights, see `taps`."""
    table = texture.table()
    if table is None:
        raise ValueError(f"`texture` of kind {type(texture).__name__} has no table.")
    rows, weights = points.program.taps(
        points.indices, [*points.varyings, *points.changes], points.uniforms
    )
    weights = [jnp.where(points.seen, weight, 0) for weight in weights]
    return table, jnp.stack(computed_once(rows), -1), jnp.stack(computed_once(weights), -1)


def as_texture(texture: Texture | None) -> Texture:
    """The texture, or white in place of None."""
    return White() if texture is None else texture


def channels(texture: Texture | None) -> int:
    """How many channels `C` the texture has."""
    return as_texture(texture).channels()


def encoding_of(texture: Texture | None) -> Encoding:
    """How the colours of the texture are encoded; the white of None is "display"."""
    return as_texture(texture).encoding


def check_texture(texture: Any, mesh: Mesh) -> Texture | None:
    """Returns the mesh's texture with its arrays in the right shapes and dtypes.

    Args:
        texture: what the user gave.
        mesh: the mesh that wears it; only its numbers of vertices and faces count.

    Raises:
        ValueError: it is no texture, does not fit the mesh, holds 8-bit colours, has another
            encoding, or an index or page is out of range. Inside jit, where values are not known,
            an index out of range reads the nearest row that exists.
    """
    if texture is None:
        return None
    if not isinstance(texture, Texture):
        raise ValueError(
            "`texture` must be VertexColors, another jaxrender.Texture, or None, got "
            f"{type(texture).__name__}. Wrap colours per vertex as VertexColors(colors)."
        )
    check_choice("texture.encoding", texture.encoding, ENCODINGS)
    return texture.checked(mesh)


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

    out = _blend(table, indices, weights)
    d_out = jnp.zeros_like(out)
    if not isinstance(d_table, SymbolicZero):
        d_out = d_out + blend_rows(d_table, indices, weights)
    if not isinstance(d_weights, SymbolicZero):
        d_out = d_out + blend_by_weights(table, indices, d_weights)
    return out, d_out
