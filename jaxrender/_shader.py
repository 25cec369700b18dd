"""The surface shader of the soft rasteriser: a texture in a light, as varyings and uniforms.

Shapes: `F` faces, `K` varyings, `U` uniforms, `R` rows of a table and `T` its columns, `I` numbers
of a face.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrender._material import SurfaceTexture
from jaxrender._shading import Lighting
from jaxrender._textures import Texture, as_texture
from jaxrender._textures.base import columns_of, indices_of, varyings_of
from jaxrender._textures.program import TextureProgram, program_of
from jaxrender.ops.soft.structs import Shader


class Surface(NamedTuple):
    """A shader, and what it is given."""

    shader: Shader
    varyings: jax.Array  # [F, 3, K] of each corner
    uniforms: jax.Array  # [U]
    table: jax.Array  # [R, T] what is read
    indices: jax.Array  # [F, I] int32 what of it each face reads
    mask: Shader | None = None  # of one channel, below 0 where there is nothing


def surface_of(
    texture: Texture | None,
    faces: jax.Array,
    lighting: Lighting | None,
    dtype: DTypeLike,
    *,
    at_corners: bool,
) -> Surface:
    """The shader of a texture in a light, and what it is given.

    Args:
        texture: of the mesh.
        faces: `[F, 3]` int32 of the mesh.
        lighting: that falls on it, if any.
        dtype: of the picture.
        at_corners: whether colours of corners may be lit there, and interpolated.
    """
    kind = as_texture(texture)
    channels, constant, mask = kind.channels(), kind.constant_per_face, None
    drawn = channels
    if isinstance(kind, SurfaceTexture):
        drawn, channels = 3, 3 if kind.emissive is None else 6

    # Light the colours of the corners, where that is all.
    colors = kind.corner_colors(faces)
    if colors is not None and lighting is not None and at_corners:
        values = (columns_of(colors), columns_of(lighting.varyings), list(lighting.uniforms))
        colors, constant = jnp.stack(lighting.lit(*values), -1), constant and lighting.constant
        lighting = None

    # Interpolate them, unless something is to be done with what is interpolated.
    inputs = _inputs_of(kind, faces, dtype)
    if colors is not None and (lighting is None or inputs.varyings.shape[-1] >= channels):
        inputs = _Inputs(colors, jnp.zeros(0, dtype), None, jnp.zeros((len(faces), 0), jnp.int32))
        program = None
    else:
        program, constant = program_of(kind), False
    shader = Shader(drawn, constant_per_face=constant)
    if program is not None or lighting is not None:
        steps = _Steps(
            program,
            inputs.varyings.shape[-1],
            inputs.uniforms.size,
            channels,
            None if lighting is None else lighting.lit,
        )
        reads = _taps(steps) if inputs.table is not None else None
        shader = Shader(drawn, reads, _color(steps))
        if isinstance(kind, SurfaceTexture) and kind.masked:
            mask = Shader(1, reads, _margin(steps))
    varyings, uniforms = [inputs.varyings], [inputs.uniforms]
    if lighting is not None:
        varyings, uniforms = [*varyings, lighting.varyings], [*uniforms, lighting.uniforms]
    return Surface(
        shader,
        jnp.concatenate([part.astype(dtype) for part in varyings], -1),
        jnp.concatenate([part.astype(dtype) for part in uniforms]),
        jnp.zeros((1, 1), dtype) if inputs.table is None else inputs.table.astype(dtype),
        inputs.indices,
        mask,
    )


class _Inputs(NamedTuple):
    """What the program of a texture is given."""

    varyings: jax.Array  # [F, 3, K]
    uniforms: jax.Array  # [U]
    table: jax.Array | None  # [R, T]
    indices: jax.Array  # [F, I]


def _inputs_of(texture: Texture, faces: jax.Array, dtype: DTypeLike) -> _Inputs:
    """What the texture says it is, with what stands for None."""
    varyings, index = varyings_of(texture, faces, dtype), indices_of(texture, faces)
    uniforms, table = texture.uniforms(), texture.table()
    if table is None:
        index = index[:, :0]
    return _Inputs(varyings, jnp.zeros(0, dtype) if uniforms is None else uniforms, table, index)


class _Steps(NamedTuple):
    """What a shader does: static, and equal where it is the same."""

    texture: TextureProgram | None  # None: the first varyings are colours
    varying_count: int  # those of the texture come first
    uniform_count: int  # likewise
    channels: int  # of the colours that it has; others come behind
    lit: Callable | None  # see `Lighting`


@functools.lru_cache(maxsize=256)
def _taps(steps: _Steps) -> Callable:
    """`Shader.taps`; made once, for it is static."""
    assert steps.texture is not None
    program = steps.texture

    def taps(index: list, varyings: list, uniforms: list) -> tuple[list, list]:
        return program.taps(index, varyings[: steps.varying_count], uniforms[: steps.uniform_count])

    return taps


@functools.lru_cache(maxsize=256)
def _color(steps: _Steps) -> Callable:
    """`Shader.color`; made once, for it is static."""

    def color(texel: list, varyings: list, uniforms: list) -> list:
        colors, light = varyings[: steps.varying_count], varyings[steps.varying_count :]
        own, lights = uniforms[: steps.uniform_count], uniforms[steps.uniform_count :]
        if steps.texture is not None:
            colors = steps.texture.color(texel, colors, own)[: steps.channels]
        return colors if steps.lit is None else steps.lit(colors, light, lights)

    return color


@functools.lru_cache(maxsize=256)
def _margin(steps: _Steps) -> Callable:
    """`Shader.color` of a mask: the last channel of a `SurfaceTexture`."""
    assert steps.texture is not None
    program = steps.texture

    def margin(texel: list, varyings: list, uniforms: list) -> list:
        own = varyings[: steps.varying_count], uniforms[: steps.uniform_count]
        return program.color(texel, *own)[-1:]

    return margin
