"""The blend of all triangles that reach a pixel: SoftRas's aggregation, forward and backward.

Shapes: `B` views, `N` triangles, `H, W` image, `K` attributes, `C` channels, `P` slots of a pass,
`h, w` window. Distances are in pixels, and so is `sigma`.

Forward. Triangle `j` reaches a pixel with the coverage `D_j = F(t_j)`, where `t = ±d²/σ` is
positive inside. With its depth `z_j` and colour `c_j` there (see `footprints.py`), the nearest
depth `m`, that of the background `z_b` included, and the sharpness `s = 1/(R γ)`, where `R` is
the range of depths (see `_soft.py`),

    p_j = D_j exp(-s (z_j - m))      p_b = exp(-s (z_b - m))      S = p_b + Σ p_j
    colour = Σ p_j c_j / S           behind = Σ p_j (z_j - m) / S
    background = p_b / S             foreground = Σ p_j / S
    total = Σ g(D_j)

(Liu et al. 2019, Eq. 1-4, with `g = -log(1 - D)` and `alpha = 1 - exp(-total)`; other `g` are the
generators of other T-conorms, Petersen et al. 2022.) Depths stand where the paper has depths
scaled to [0, 1]: it is the same softmax, with less to round off. The foreground is 1 less the
background, but has all its digits where it is small. The blended depth of what is drawn is
`m + behind / foreground`: differences are blended, for the digits of large depths would be lost
in the gradient. In it `m` is a constant, since any other gives the same. Two scans over the
windows of all triangles (see `windows.py`): the first finds `m`, the second adds everything up.
Sums and minima need no order, so no list per pixel is kept or sorted, and memory is O(N + H W).

Backward. With the upstream gradients `G_c`, `G_z`, `G_b`, `G_a` of colour, behind, background (less
that of the foreground) and total, and `v_j = G_c · c_j + G_z (z_j - m)`, of which the mean over
triangles and background is `v = G_c · colour + G_z behind + G_b background`, the derivative of the
softmax is

    q_j = (p_j / S) (v_j - v)                  ∂L/∂log D_j = q_j
    ∂L/∂c_j = (p_j / S) G_c                    ∂L/∂z_j = (p_j / S) G_z - s q_j
    ∂L/∂s = -Σ_j q_j (z_j - m) - q_b (z_b - m)      q_b = background (G_b - v)

so one more scan finds all that a triangle gets, each pixel's part by itself: from `D_j` and
`g(D_j)` to `t`, from `t` to the corners of the closest edge, from `c_j` and `z_j` to the
barycentrics, and from those to the corners. The closest point moves along the edge too, but
that does not change the distance (the envelope theorem). With `w_k` the screen barycentrics
and `u_k = ∂L/∂w_k`, moving corner `m` moves them all:

    ∂w_k/∂x_m = -w_m ∂w_k/∂x      so      ∂L/∂x_m = -w_m Σ_k u_k ∂w_k/∂x

What nobody differentiates to is left out of that scan, and so is the upstream gradient of `behind`
where there is none (`Wanted`).

Dropped: the jump where a triangle comes into reach (`D = cutoff`) or passes `far`, or where
another edge is the closest.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from jaxrender.ops.batching import fold_vmap_scheduled
from jaxrender.ops.passes import vary_like
from jaxrender.ops.soft_backward import blend_backward
from jaxrender.ops.soft_forward import blend_forward
from jaxrender.ops.soft_types import SCHEDULES, Blend, Saved, Scales, Scene, Settings, Wanted


def soft_blend(
    scene: Scene, scales: Scales, settings: Settings, schedule: str | None = None
) -> Blend:
    """Blends the triangles of one view; see the top of the file.

    Gradient: reverse mode; to corners, attributes, table, `sigma`, `sharpness` and `floor`. Of
    `nearest` there is none.
    """
    given = scene, scales
    return _differentiable_blend(*vary_like(given, given), settings, schedule)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _differentiable_blend(
    scene: Scene, scales: Scales, settings: Settings, schedule: str | None
) -> Blend:
    return _blend(scene, scales, settings, schedule)[0]


def _blend(
    scene: Scene, scales: Scales, settings: Settings, schedule: str | None
) -> tuple[Blend, Saved]:
    return _forward_of(settings, schedule)(*scene, *scales)


def _soft_blend_fwd(scene, scales, settings, schedule):
    moves = jax.tree.map(lambda given: given.perturbed, (scene, scales), is_leaf=_is_primal)
    scene, scales = jax.tree.map(lambda given: given.value, (scene, scales), is_leaf=_is_primal)
    blend, saved = _blend(scene, scales, settings, schedule)
    wanted = Wanted(
        corners=moves[0].corners,
        attributes=moves[0].attributes,
        table=moves[0].table,
        sigma=moves[1].sigma,
        sharpness=moves[1].sharpness,
    )
    return blend, (scene, scales, blend, saved, wanted)


def _is_primal(given) -> bool:
    return isinstance(given, CustomVJPPrimal)


def _soft_blend_bwd(settings, schedule, kept, upstream):
    scene, scales, blend, saved, wanted = kept
    wanted = dataclasses.replace(wanted, depth=not isinstance(upstream.behind, SymbolicZero))
    settings = settings._replace(wanted=wanted)
    upstream = jax.tree.map(
        lambda slope, of: jnp.zeros_like(of) if isinstance(slope, SymbolicZero) else slope,
        upstream,
        blend,
        is_leaf=lambda slope: isinstance(slope, SymbolicZero),
    )
    backward = _backward_of(settings, schedule)
    corners, attributes, table, sigma, sharpness, floor = backward(
        *scene, *scales, *blend, *saved, *upstream
    )
    zero = jnp.zeros_like(sigma)
    gradients = (
        scene._replace(corners=corners, part=None, attributes=attributes, table=table, places=None),
        Scales(sigma, sharpness, floor, zero, zero, zero, zero),
    )
    return vary_like(gradients, upstream)


_differentiable_blend.defvjp(_soft_blend_fwd, _soft_blend_bwd, symbolic_zeros=True)


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
