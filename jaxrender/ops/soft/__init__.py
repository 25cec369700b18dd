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

Forwards, one scan adds up the tangents of all pairs (`tangents.py`), or of most silhouettes a
kernel (`outlines.py`). Both are one linear map and its transpose, so all modes of differentiation
work, once: a derivative of them raises an error.

Dropped: the jump where a triangle comes into reach (`D = cutoff`) or passes `far`, or where
another edge is the closest.

In the code `d_x` is the cotangent of `x`, ∂L/∂x. `softmax.py` has all of Eq. 3, `p_j / S`, forwards
and backwards. `fragments.py` computes `t`, `D_j` (Eq. 1), `b_k` and `z_j`, `shader.py` `c_j`,
`forward.py` the sums (Eq. 2, Eq. 4), `cotangents.py` the cotangents of a triangle from one block of
pixels, `backward.py` their sums. On a CPU kernels scan what is most used, see `kernels.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxrender.ops.batching import batch_size, by_platform, fold_vmap_scheduled
from jaxrender.ops.linear import LinearMap, batched_zeros, without_groups
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.soft.backward import blend_backward
from jaxrender.ops.soft.forward import blend_forward
from jaxrender.ops.soft.outlines import are_added_by_kernel, outline_tangents
from jaxrender.ops.soft.structs import (
    SCHEDULES,
    Blend,
    Needed,
    Residuals,
    Scene,
    Settings,
    Uniforms,
)
from jaxrender.ops.soft.tangents import Variables, blend_tangents


def soft_blend(
    scene: Scene, uniforms: Uniforms, settings: Settings, schedule: str | None = None
) -> Blend:
    """Blends the triangles of one view; see the top of the file.

    Gradient: forward and reverse mode, once; to corners, varyings, the shader's uniforms, texels,
    `sigma`, `inverse_temperature` and `background_depth`. Of `nearest_depth` there is none.
    """
    given = scene, uniforms
    return _soft_blend(*match_varying_axes(given, given), settings, schedule)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _soft_blend(
    scene: Scene, uniforms: Uniforms, settings: Settings, schedule: str | None
) -> Blend:
    blend = _forward_of(settings, schedule)(scene, uniforms)[0]
    return match_varying_axes(blend, (scene, uniforms))


def _soft_blend_jvp(settings, schedule, primals, tangents):
    scene, uniforms = primals
    blend, residuals = _once(scene, uniforms, settings, schedule)
    blend = match_varying_axes(blend, primals)
    moves = Variables.of(*tangents)
    moved = {name for name, d in moves._asdict().items() if not isinstance(d, SymbolicZero)}
    if not moved:
        return blend, jax.tree.map(jnp.zeros_like, blend)
    needed = Needed(**{name: name in moved for name in Needed.OF_VARIABLES})
    options = settings._replace(needed=needed), schedule, tuple(sorted(moved))
    given = jax.tree.leaves((scene, uniforms, blend, residuals))
    linear = [getattr(moves, name) for name in options[2]]
    return blend, Blend(*_BLEND(given, linear, options))


_soft_blend.defjvp(_soft_blend_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _once(
    scene: Scene, uniforms: Uniforms, settings: Settings, schedule: str | None
) -> tuple[Blend, Residuals]:
    """What the derivatives of a picture are made of, which have none themselves."""
    return _forward_of(settings, schedule)(scene, uniforms)


@_once.defjvp
def _once_jvp(*args):
    _refuse()


def _refuse() -> NoReturn:
    raise NotImplementedError(
        "A soft picture can be differentiated once, got a derivative of its derivative, as of "
        "jax.hessian. Take Gauss-Newton, with jax.jacfwd of the picture, or draw with "
        'Hard(visibility_gradient="antialias"), which has derivatives of any order.'
    )


class _BlendMap(LinearMap):
    """The tangents of the blend, and the way back; options are settings, schedule, variables."""

    def forward(self, *arrays, count, shapes, options, unused=()):
        settings, schedule, names = options
        arrays = match_varying_axes(list(arrays), list(arrays))
        given, linear = _structs_of(arrays[:count]), arrays[count:]
        views, size = batch_size(*arrays[:count]), batch_size(*arrays)
        each = size // views  # the tangents of a view, which take one walk together

        def by_motion(tangent: jax.Array) -> jax.Array:
            if len(tangent) == 1:
                return jnp.broadcast_to(tangent[None], (each, *tangent.shape))
            return jnp.moveaxis(tangent.reshape(views, each, *tangent.shape[1:]), 1, 0)

        scene, uniforms = given[:2]
        moved = {}
        for name, value in Variables.of(scene, uniforms)._asdict().items():
            if name in names:
                moved[name] = by_motion(linear[names.index(name)])
            else:
                moved[name] = jnp.zeros((each, 1, *value.shape[1:]), value.dtype)
        tangents = match_varying_axes(Variables(**moved), arrays)
        if are_added_by_kernel(scene, settings, schedule):
            d_total = outline_tangents(scene, uniforms, tangents, settings)
            zero = jnp.zeros_like(d_total)
            return [zero[..., None][..., :0], zero, zero, zero, d_total, zero]
        run = functools.partial(_scheduled, blend_tangents, settings, schedule)
        results = jax.tree.leaves(run(*given, tangents))
        return [jnp.moveaxis(result, 0, 1).reshape(size, *result.shape[2:]) for result in results]

    def backward(self, *arrays, count, shapes, options, unused=()):
        settings, schedule, names = options
        arrays = match_varying_axes(list(arrays), list(arrays))
        size = batch_size(*arrays)
        scene, uniforms, blend, residuals = _structs_of(without_groups(arrays[:count], size))
        needed = dataclasses.replace(
            settings.needed, depth=Blend._fields.index("behind") not in unused
        )
        run = functools.partial(
            _scheduled, blend_backward, settings._replace(needed=needed), schedule
        )
        cotangents = Blend(*arrays[count:])
        gradients = Variables.of(*run(scene, uniforms, blend, residuals, cotangents))
        found = [getattr(gradients, name) for name in names]
        return [jnp.broadcast_to(d, (size, *d.shape[1:])) for d in found]

    def plainly_backward(self, *arrays, count, shapes, options, unused=()):
        _refuse()

    def abstract_forward(self, *arrays, count, shapes, options, unused=()):
        blend = _structs_of(arrays[:count])[2]
        return batched_zeros([(value.shape[1:], value.dtype) for value in blend], arrays)

    def abstract_backward(self, *arrays, count, shapes, options, unused=()):
        return batched_zeros(shapes, arrays)


def _structs_of(arrays: Any) -> Any:
    """Scene, uniforms, blend and residuals, whose leaves these are."""
    rest, kinds = iter(arrays), (Scene, Uniforms, Blend, Residuals)
    return tuple(kind(*(next(rest) for _ in kind._fields)) for kind in kinds)


def _scheduled(operation: Callable, settings: Settings, schedule: str | None, *args: Any) -> Any:
    """The operation over a batch, by the schedule of the platform or that of this name."""
    return by_platform(functools.partial(operation, settings=settings), SCHEDULES, schedule, *args)


_BLEND = _BlendMap("jaxrender_soft_blend", lambda *args: _refuse(), lambda *args: _refuse())


@functools.lru_cache(maxsize=256)
def _forward_of(settings: Settings, schedule: str | None):
    """The operation for these static settings; made once, so that `vmap` rules are too."""
    return fold_vmap_scheduled(
        functools.partial(blend_forward, settings=settings), SCHEDULES, schedule
    )
