"""The surface shader of the soft rasteriser: colours of fragments, and the way back from them.

Shapes and symbols as in `__init__.py`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.soft.scan import PassInputs
from jaxrender.ops.soft.structs import Settings, Shader
from jaxrender.ops.soft.triangle_setup import interpolate


def corner_varyings(inputs: PassInputs) -> list[list[jax.Array]]:
    """The varyings of the three corners, each `[P, 1]`."""
    count = inputs.varyings.shape[0] // 3
    rows = [inputs.varyings[k][:, None] for k in range(3 * count)]
    return [rows[:count], rows[count : 2 * count], rows[2 * count :]]


def interpolate_varyings(
    inputs: PassInputs, b0: jax.Array, b1: jax.Array, shader: Shader
) -> list[jax.Array]:
    """The varyings of each fragment."""
    corners = corner_varyings(inputs)
    if shader.constant_per_face:
        return [jnp.broadcast_to(value, b0.shape) for value in corners[0]]
    barycentrics = [b0, b1, 1 - b0 - b1]
    return [interpolate(barycentrics, list(values)) for values in zip(*corners, strict=True)]


def shade(
    inputs: PassInputs, varyings: list[jax.Array], shader: Shader, shape: tuple[int, ...]
) -> list[jax.Array]:
    """The colours `c_j` of the fragments, each of the shape `(P, h w)`."""
    uniforms, texel = _uniforms(inputs), []
    if shader.taps is not None:
        rows, weights = _taps(inputs, varyings, uniforms, shader, shape)
        texel = _blend_taps(_read_texels(inputs, rows), weights)
    return _colors(texel, varyings, uniforms, shader, shape)


def without_holes(
    t: jax.Array, inputs: PassInputs, b0: jax.Array, b1: jax.Array, settings: Settings
) -> jax.Array:
    """`t` of fragments, -inf where the triangle has a hole; which is where has no gradient."""
    if settings.mask is None:
        return t
    inputs, b0, b1 = jax.lax.stop_gradient((inputs, b0, b1))
    varyings = interpolate_varyings(inputs, b0, b1, settings.mask)
    (margin,) = shade(inputs, varyings, settings.mask, b0.shape)
    return jnp.where(margin < 0, -jnp.inf, t)


def _uniforms(inputs: PassInputs) -> list[jax.Array]:
    """The uniforms of the shader, each `[P, 1]`."""
    return [inputs.shader_uniforms[k][:, None] for k in range(inputs.shader_uniforms.shape[0])]


def _colors(
    texel: list, varyings: list, uniforms: list, shader: Shader, shape: tuple[int, ...]
) -> list[jax.Array]:
    """Colours of texels, varyings and uniforms."""
    if shader.color is None:
        return texel or varyings
    colors = shader.color(texel, varyings, uniforms)
    return [jnp.broadcast_to(color, shape) for color in colors]


def _taps(
    inputs: PassInputs, varyings: list, uniforms: list, shader: Shader, shape: tuple[int, ...]
) -> tuple[list, list]:
    """The rows of the view's texels that fragments read, and their weights; none without taps."""
    if shader.taps is None:
        return [], []
    index = [inputs.texture_index[k][:, None] for k in range(inputs.texture_index.shape[0])]
    rows, weights = shader.taps(index, varyings, uniforms)
    return [jnp.broadcast_to(row, shape) for row in rows], [
        jnp.broadcast_to(weight, shape) for weight in weights
    ]


def _read_texels(inputs: PassInputs, rows: list[jax.Array]) -> list[list[jax.Array]]:
    """The channels of each of the rows at each fragment."""
    first = inputs.first_row[:, None]
    taps = [jnp.take(inputs.texels, first + row, axis=0, mode="clip") for row in rows]
    return [[tap[..., c] for c in range(inputs.texels.shape[-1])] for tap in taps]


def _blend_taps(taps: list[list[jax.Array]], weights: list[jax.Array]) -> list[jax.Array]:
    """The channels of the texels that were read, weighted."""
    return [
        functools.reduce(jnp.add, map(jnp.multiply, channel, weights))
        for channel in zip(*taps, strict=True)
    ]


def needs_texels(settings: Settings) -> bool:
    """Whether the texels are to be differentiated."""
    shader = settings.shader
    return settings.needed.texels and shader is not None and shader.taps is not None


class ShaderCotangents(NamedTuple):
    """The colours of fragments, and the cotangents of what they are made of."""

    colors: list[jax.Array]
    varyings: list[jax.Array]
    uniforms: list[jax.Array]  # each [P, 1]; none where nobody asks for it
    rows: list[jax.Array]  # of the texels, each with its cotangent
    texels: list[jax.Array]  # [P, h w, C']; none where nobody asks for it


def shade_backward(
    inputs: PassInputs, varyings: list[jax.Array], d_color: list[jax.Array], settings: Settings
) -> ShaderCotangents:
    """`shade`, and the cotangents of varyings, uniforms and texels, from those of its colours."""
    shader = settings.shader or Shader(0)
    if shader.color is None and shader.taps is None:
        return ShaderCotangents(varyings, d_color, [], [], [])
    shape, uniforms = d_color[0].shape, _uniforms(inputs)
    if not settings.needed.shader_uniforms:
        uniforms = jax.lax.stop_gradient(uniforms)

    # Read the texels again.
    rows, weights, taps, texel, weights_vjp = [], [], [], [], None
    if shader.taps is not None:
        rows, _ = _taps(inputs, varyings, uniforms, shader, shape)
        weights, weights_vjp = jax.vjp(
            lambda own, same: _taps(inputs, own, same, shader, shape)[1], varyings, uniforms
        )
        taps = _read_texels(inputs, rows)
        texel = _blend_taps(taps, weights)

    # Go back through the colour function, then through the reading.
    colors, color_vjp = jax.vjp(
        functools.partial(_colors, shader=shader, shape=shape), texel, varyings, uniforms
    )
    d_texel, d_varyings, d_uniforms = color_vjp(d_color)
    d_taps = []
    if weights_vjp is not None:
        d_weights = [functools.reduce(jnp.add, map(jnp.multiply, tap, d_texel)) for tap in taps]
        by_weights = weights_vjp(d_weights)
        d_varyings, d_uniforms = (
            list(map(jnp.add, *pair))
            for pair in zip((d_varyings, d_uniforms), by_weights, strict=True)
        )
        if needs_texels(settings):
            d_taps = [jnp.stack([weight * part for part in d_texel], -1) for weight in weights]
    return ShaderCotangents(
        colors,
        d_varyings,
        d_uniforms if settings.needed.shader_uniforms else [],
        rows if d_taps else [],
        d_taps,
    )
