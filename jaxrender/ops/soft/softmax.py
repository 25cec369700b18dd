"""The softmax of SoftRas (Liu et al. 2019, Eq. 3): how much each triangle counts at a pixel.

Shapes and symbols as in `__init__.py`, which derives all this. Every line that computes the weights
stands here, and what their derivatives are: change them together. Tests compare the derivatives
with finite differences.

    forwards    p_j = D_j exp(-s (z_j - m))      `numerator`; of fragments `raw_weight`
                S = p_b + Σ p_j                  `normalize`; where a triangle adds: `forward.py`
    backwards   v, q_b                           `mean_of_cotangents`, of each pixel
                p_j / S, q_j and ∂L/∂z_j         `blend_weight`, `softmax_cotangents`, of fragments
                ∂L/∂s and ∂L/∂z_b                `uniform_cotangents`
    tangents    of all this                      `drawn_weight` by JAX, and `normalize_tangents`

The inverse temperature `s` comes from the user's numbers, in `_soft.py`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.soft.fragments import (
    Fragments,
    coverage_argument,
    depth_at,
    in_range,
    is_covered,
)
from jaxrender.ops.soft.structs import Blend, Settings, Uniforms

# --- forwards -------------------------------------------------------------------------------------


def numerator(coverage: jax.Array, behind: jax.Array, inverse_temperature: jax.Array) -> jax.Array:
    """`p_j = D_j exp(-s (z_j - m))`, with the way `z_j - m` behind the nearest depth."""
    return coverage * jnp.exp(-inverse_temperature * behind)  # (Liu et al. 2019, Eq. 3)


def raw_weight(
    fragments: Fragments,
    t: jax.Array,
    b0: jax.Array,
    b1: jax.Array,
    nearest_depth: jax.Array,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    """`p_j` of fragments, and `z_j`, which is `m` where nothing is drawn."""
    depth = depth_at(fragments, [b0, b1, 1 - b0 - b1], settings)
    drawn = is_covered(t, fragments, settings) & fragments.colored
    drawn &= in_range(fragments, depth, settings)
    depth = jnp.where(drawn, depth, nearest_depth)
    # Rounding may put a sliver in front of the nearest depth that another kernel found.
    behind = jnp.maximum(depth - nearest_depth, 0)
    return drawn_weight(drawn, coverage_argument(t, settings), behind, fragments, settings), depth


def drawn_weight(
    drawn: jax.Array,
    argument: jax.Array,
    behind: jax.Array,
    fragments: Fragments,
    settings: Settings,
) -> jax.Array:
    """`p_j` of fragments that are drawn, with the argument of their coverage; 0 of others."""
    coverage = settings.coverage(argument)  # (Liu et al. 2019, Eq. 1)
    weight = numerator(coverage, behind, fragments.uniforms.inverse_temperature)
    return jnp.where(drawn, weight, 0)


def normalize(
    sums: jax.Array, total: jax.Array, nearest: jax.Array, of_view: Uniforms
) -> tuple[Blend, jax.Array]:
    """Divides sums by `S = p_b + Σ p_j`, with the background's weight `p_b = exp(-s (z_b - m))`.

    Args:
        sums: `[B, H, W, 2 + C]` of `p_j`, `p_j (z_j - m)` and `p_j c_j`.
        total: `[B, H, W]` as it is.
        nearest: `[B, H, W]` m.
        of_view: each `[B, 1, 1]`.

    Returns:
        The blend, and `S`.
    """
    background_weight = jnp.exp(-of_view.inverse_temperature * (of_view.background_depth - nearest))
    weight_sum = background_weight + sums[..., 0]
    weight_sum = jnp.where(weight_sum > 0, weight_sum, 1)
    # (Liu et al. 2019, Eq. 3), the denominator; of colours it is Eq. 2.
    blend = Blend(
        rgb=sums[..., 2:] / weight_sum[..., None],
        behind=sums[..., 1] / weight_sum,
        background_weight=background_weight / weight_sum,
        foreground_weight=sums[..., 0] / weight_sum,
        total=total,
        nearest_depth=nearest,
    )
    return blend, weight_sum


# --- backwards ------------------------------------------------------------------------------------


class BlendedPixels(NamedTuple):
    """What a triangle needs of the blend, and of its cotangents, at the pixels that it reaches."""

    nearest_depth: jax.Array  # m
    inverse_weight_sum: jax.Array  # 1 / S
    mean: jax.Array  # v
    d_color: list[jax.Array]  # G_c
    d_depth: jax.Array | None  # G_z, if the loss depends on it


def mean_of_cotangents(
    blend: Blend, weight_sum: jax.Array, cotangents: Blend, *, needs_depth: bool
) -> tuple[BlendedPixels, jax.Array]:
    """The mean v of `v_j = G_c · c_j + G_z (z_j - m)` over triangles and background, and `q_b`."""
    d_background = cotangents.background_weight - cotangents.foreground_weight
    mean = (
        (cotangents.rgb * blend.rgb).sum(-1)
        + cotangents.behind * blend.behind
        + d_background * blend.background_weight
    )
    # q_b = background (G_b - v)
    d_log_background = blend.background_weight * (d_background - mean)
    blended = BlendedPixels(
        blend.nearest_depth,
        1 / weight_sum,
        mean,
        d_color=[cotangents.rgb[..., c] for c in range(cotangents.rgb.shape[-1])],
        d_depth=cotangents.behind if needs_depth else None,
    )
    return blended, d_log_background


def blend_weight(
    fragments: Fragments,
    t: jax.Array,
    b0: jax.Array,
    b1: jax.Array,
    blended: BlendedPixels,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    """`p_j / S`, which is `∂c/∂c_j`, and `z_j`, as of `raw_weight`."""
    weight, depth = raw_weight(fragments, t, b0, b1, blended.nearest_depth, settings)
    return weight * blended.inverse_weight_sum, depth  # (Liu et al. 2019, Eq. 3)


def softmax_cotangents(
    weight: jax.Array,
    colors: list[jax.Array],
    depth: jax.Array,
    inverse_temperature: jax.Array,
    blended: BlendedPixels,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Goes back through `p_j / S`.

    Args:
        weight: `p_j / S` of fragments.
        colors: `c_j`, channel by channel.
        depth: `z_j`.
        inverse_temperature: `s`.
        blended: of the pixels.

    Returns:
        The cotangents of `log D_j`, which is `q_j`, and of `z_j`; and `q_j (z_j - m)`.
    """
    # v_j - v, with v_j = G_c · c_j + G_z (z_j - m).
    behind = depth - blended.nearest_depth
    products = map(jnp.multiply, blended.d_color, colors)
    above_mean = functools.reduce(jnp.add, products, -blended.mean)
    if blended.d_depth is not None:
        above_mean = above_mean + blended.d_depth * behind
    # q_j = ∂L/∂log D_j = (p_j / S) (v_j - v): the derivative of Eq. 3 (Liu et al. 2019).
    d_log_coverage = weight * above_mean
    # ∂L/∂z_j = (p_j / S) G_z - s q_j.
    d_depth = -inverse_temperature * d_log_coverage
    if blended.d_depth is not None:
        d_depth = d_depth + weight * blended.d_depth
    return d_log_coverage, d_depth, d_log_coverage * behind


def uniform_cotangents(
    d_log_coverage_times_behind: jax.Array,
    d_log_background: jax.Array,
    behind: jax.Array | int,
    inverse_temperature: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Those of `s` and of `z_b`, each `[B]`.

    Args:
        d_log_coverage_times_behind: `[B]` Σ_j q_j (z_j - m) over all triangles and pixels.
        d_log_background: `[B, H, W]` q_b.
        behind: `[B, H, W]` z_b - m.
        inverse_temperature: `[B, 1, 1]` s.
    """
    # ∂L/∂s = -Σ_j q_j (z_j - m) - q_b (z_b - m), and ∂L/∂z_b = -s q_b.
    background_behind = (d_log_background * behind).sum((1, 2))
    d_background_depth = -(d_log_background * inverse_temperature).sum((1, 2))
    return -d_log_coverage_times_behind - background_behind, d_background_depth


# --- tangents -------------------------------------------------------------------------------------


def normalize_tangents(
    d_sums: jax.Array,
    uniforms: Uniforms,
    blend: Blend,
    weight_sum: jax.Array,
    d_inverse_temperature: jax.Array,
    d_background_depth: jax.Array,
) -> Blend:
    """The tangents of `normalize`.

    Args:
        d_sums: `[T, B, H, W, 3 + C]` of the total and of its sums.
        uniforms: each `[B or 1]`.
        blend: what it returned, `[B or 1, ...]`.
        weight_sum: likewise, `S`.
        d_inverse_temperature: `[T, B or 1]`.
        d_background_depth: likewise.
    """

    def of_view(number: jax.Array) -> jax.Array:
        return number[..., None, None]

    # d p_b / S = -(ds (z_b - m) + s dz_b) p_b / S, and dS / S = (d p_b + Σ d p_j) / S.
    behind = of_view(uniforms.background_depth) - blend.nearest_depth
    rate = -of_view(d_inverse_temperature) * behind[None]
    temperature = of_view(uniforms.inverse_temperature)[None]
    rate = rate - temperature * of_view(d_background_depth)
    d_background = blend.background_weight[None] * rate
    over = (1 / weight_sum)[None]
    d_foreground = d_sums[..., 1] * over
    d_log_sum = d_background + d_foreground

    # d (Σ / S) = (dΣ) / S - (Σ / S) (dS / S): the derivative of Eq. 3 (Liu et al. 2019).
    d_color = d_sums[..., 3:] * over[..., None] - blend.rgb[None] * d_log_sum[..., None]
    d_total = d_sums[..., 0]
    return Blend(
        rgb=d_color,
        behind=d_sums[..., 2] * over - blend.behind[None] * d_log_sum,
        background_weight=d_background - blend.background_weight[None] * d_log_sum,
        foreground_weight=d_foreground - blend.foreground_weight[None] * d_log_sum,
        total=d_total,
        nearest_depth=jnp.zeros_like(d_total),
    )
