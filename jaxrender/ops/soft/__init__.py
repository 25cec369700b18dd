"""The blend of all triangles that reach a pixel: SoftRas's aggregation, forward and backward.

Shapes: `B` views, `N` triangles, `H, W` image, `K` varyings, `U` uniforms of the shader, `C`
channels, `P` blocks of a pass, `h, w` block. Distances are in pixels, and so is `sigma`.

Forward. Triangle `j` reaches a pixel with the coverage `D_j = F(t_j)`, where `t = ±d²/σ` is
positive inside. With its depth `z_j` and colour `c_j` there (see `triangle_setup.py`), the nearest
depth `m`, that of the background `z_b` included, and the inverse temperature `s = 1/(R γ)`, where
`R` is the range of depths (see `_soft.py`),

    p_j = D_j exp(-s (z_j - m))      p_b = exp(-s (z_b - m))      S = p_b + Σ p_j
    colour = Σ p_j c_j / S           behind = Σ p_j (z_j - m) / S
    background = p_b / S             foreground = Σ p_j / S
    total = Σ g(D_j)

(Liu et al. 2019, Eq. 1, Eq. 2, Eq. 3, Eq. 4, with the generator `g = -log(1 - D)` and `alpha = 1 -
exp(-total)`; other `g` are the generators of other T-conorms, Petersen et al. 2022.) Depths stand
where the paper has depths scaled to [0, 1]: it is the same softmax, with less to round off. The
foreground is 1 less the background, but has all its digits where it is small. The blended depth of
what is drawn is `m + behind / foreground`: differences are blended, for the digits of large depths
would be lost in the gradient. In it `m` is a constant, since any other gives the same. Two scans
over the pixel blocks of all triangles (see `blocks.py`): the first finds `m`, the second adds
everything up. Sums and minima need no order, so no list per pixel is kept or sorted, and memory is
O(N + H W).

Backward. With the cotangents `G_c`, `G_z`, `G_b`, `G_a` of colour, behind, background (less that of
the foreground) and total, and `v_j = G_c · c_j + G_z (z_j - m)`, of which the mean over triangles
and background is `v = G_c · colour + G_z behind + G_b background`, the derivative of the softmax is

    q_j = (p_j / S) (v_j - v)                  ∂L/∂log D_j = q_j
    ∂L/∂c_j = (p_j / S) G_c                    ∂L/∂z_j = (p_j / S) G_z - s q_j
    ∂L/∂s = -Σ_j q_j (z_j - m) - q_b (z_b - m)      q_b = background (G_b - v)

so one more scan finds all that a triangle gets, each pixel's part by itself. From `D_j` and
`g(D_j)` it goes back to what they take, `x = t` or its root,

    ∂L/∂x = G_a g'(x) + q_j F'(x) / D_j        ∂L/∂c = ∂L/∂x ∂x/∂c

and on to the closest point `c` of the boundary, which moves with its edge: a corner gets that times
its barycentric in `c`. The point moves along the edge too, but that does not change the distance
(the envelope theorem). From `c_j` and `z_j` it goes back to the barycentrics `b_k` of the corners.
With `u_k = ∂L/∂b_k`, their mean `ū = Σ_k b_k u_k`, and `r_k = w⁺_k / z_k`,

    ∂L/∂r_k = (u_k - ū) / Σ_m r_m              ∂L/∂z_k = b_k ∂L/∂z_j - b_k (u_k - ū) / z_k

and from the screen barycentrics `w_k` to the corners: moving corner `m` moves them all,

    ∂w_k/∂x_m = -w_m ∂w_k/∂x      so      ∂L/∂x_m = -w_m Σ_k ∂L/∂w_k ∂w_k/∂x

What nobody differentiates to is left out of that scan, and so is the cotangent of `behind` where
there is none (`Needed`).

Dropped: the jump where a triangle comes into reach (`D = cutoff`) or passes `far`, or where
another edge is the closest.

In the code `d_x` is the cotangent of `x`, ∂L/∂x. `fragments.py` computes `t`, `D_j`, `b_k`, `z_j`
and `p_j`, `shader.py` `c_j`, `forward.py` the sums, `cotangents.py` the cotangents of a
triangle from one block of pixels, `backward.py` their sums.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from jaxrender.ops.batching import fold_vmap_scheduled
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.soft.backward import blend_backward
from jaxrender.ops.soft.forward import blend_forward
from jaxrender.ops.soft.structs import (
    SCHEDULES,
    Blend,
    Needed,
    Scene,
    Settings,
    Uniforms,
)


def soft_blend(
    scene: Scene, uniforms: Uniforms, settings: Settings, schedule: str | None = None
) -> Blend:
    """Blends the triangles of one view; see the top of the file.

    Gradient: reverse mode; to corners, varyings, the shader's uniforms, texels, `sigma`,
    `inverse_temperature` and `background_depth`. Of `nearest_depth` there is none.
    """
    given = scene, uniforms
    return _soft_blend(*match_varying_axes(given, given), settings, schedule)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _soft_blend(
    scene: Scene, uniforms: Uniforms, settings: Settings, schedule: str | None
) -> Blend:
    return _forward_of(settings, schedule)(scene, uniforms)[0]


def _soft_blend_fwd(scene, uniforms, settings, schedule):
    moves = jax.tree.map(lambda given: given.perturbed, (scene, uniforms), is_leaf=_is_primal)
    scene, uniforms = jax.tree.map(lambda given: given.value, (scene, uniforms), is_leaf=_is_primal)
    blend, residuals = _forward_of(settings, schedule)(scene, uniforms)
    needed = Needed(
        corners=moves[0].corners,
        varyings=moves[0].varyings,
        shader_uniforms=moves[0].shader_uniforms,
        texels=moves[0].texels,
        sigma=moves[1].sigma,
        inverse_temperature=moves[1].inverse_temperature,
    )
    return blend, (scene, uniforms, blend, residuals, needed.to_array())


def _is_primal(given) -> bool:
    return isinstance(given, CustomVJPPrimal)


def _soft_blend_bwd(settings, schedule, forward_residuals, cotangents):
    scene, uniforms, blend, residuals, needed = forward_residuals
    needed = Needed.from_array(needed)
    needed = dataclasses.replace(needed, depth=not isinstance(cotangents.behind, SymbolicZero))
    settings = settings._replace(needed=needed)
    cotangents = jax.tree.map(
        lambda d, of: jnp.zeros_like(of) if isinstance(d, SymbolicZero) else d,
        cotangents,
        blend,
        is_leaf=lambda d: isinstance(d, SymbolicZero),
    )
    backward = _backward_of(settings, schedule)
    gradients = backward(scene, uniforms, blend, residuals, cotangents)
    return match_varying_axes(gradients, cotangents)


_soft_blend.defvjp(_soft_blend_fwd, _soft_blend_bwd, symbolic_zeros=True)


@functools.lru_cache(maxsize=256)
def _forward_of(settings: Settings, schedule: str | None):
    """The operation for these static settings; made once, so that `vmap` rules are too."""
    return fold_vmap_scheduled(
        functools.partial(blend_forward, settings=settings), SCHEDULES, schedule
    )


@functools.lru_cache(maxsize=256)
def _backward_of(settings: Settings, schedule: str | None):
    return fold_vmap_scheduled(
        functools.partial(blend_backward, settings=settings), SCHEDULES, schedule
    )
