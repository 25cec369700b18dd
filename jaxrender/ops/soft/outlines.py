"""Tangents of soft silhouettes as most have them, where a kernel adds them up.

Shapes and symbols as in `__init__.py`. Of the logistic distribution of squared distances and the
probabilistic sum the generator is the softplus, whose derivative is the coverage: so the kernel
needs to know no function of the user's.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrender.ops.batching import batch_size, by_platform
from jaxrender.ops.cpu import Kernel, can_take
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.soft.structs import SCHEDULES, Blend, Residuals, Scene, Settings, Uniforms
from jaxrender.ops.soft.tangents import Variables, blend_tangents


@jax.custom_jvp
def softplus(t: jax.Array) -> jax.Array:
    """`-log(1 - D)` of the logistic distribution: `log(1 + exp(t))`.

    By `log((1 + s) / (1 - s)) = 2 (s + s³/3 + s⁵/5 + …)` with `s = e / (2 + e)`, at most 1/3, for
    `e = exp(-|t|)`: to the last digits, in a quarter of the time that `log1p` takes on a CPU.
    """
    e = jnp.exp(-jnp.abs(t))
    s = e / (2 + e)
    series = jnp.zeros_like(s)
    for k in reversed(range(7 if jnp.finfo(t.dtype).bits <= 32 else 17)):
        series = series * (s * s) + 1 / (2 * k + 1)
    return jnp.maximum(t, 0) + 2 * s * series


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    return softplus(primals[0]), jax.nn.sigmoid(primals[0]) * tangents[0]


def are_known_to_kernels(settings: Settings) -> bool:
    """Whether `t` is a squared distance to the boundary, and the generator the softplus of it.

    The coverage is the logistic function then: no other has that generator.
    """
    squared = settings.distance == "euclidean" and settings.squared
    plain = settings.mask is None and not settings.faithful
    return squared and plain and settings.generator is softplus


def are_added_by_kernel(scene: Scene, settings: Settings, schedule: str | None) -> bool:
    """Whether the kernel knows the tangents of such pictures, and can run here."""
    return (
        settings.shader is None
        and are_known_to_kernels(settings)
        and schedule is None
        and jax.default_backend() == "cpu"
        and can_take(scene.corners.dtype)
    )


def outline_tangents(
    scene: Scene, uniforms: Uniforms, tangents: Variables, settings: Settings
) -> jax.Array:
    """The tangents of `total` `[G T, H, W]`, those of a view one after the other.

    Args:
        scene: arrays with a leading axis `[G or 1]`.
        uniforms: likewise.
        tangents: `[T, G or 1, ...]`.
        settings: what is part of the program.
    """
    views, dtype = batch_size(scene, uniforms), scene.corners.dtype
    motions = tangents.sigma.shape[0]
    numbers = uniforms.sigma, uniforms.blur_radius_sq, uniforms.far
    limits = jnp.stack([jnp.broadcast_to(number, (views,)) for number in numbers], -1)

    def view_by_view(moved: jax.Array) -> jax.Array:
        moved = jnp.broadcast_to(moved, (motions, views, *moved.shape[2:]))
        return jnp.moveaxis(moved, 0, 1).reshape(motions * views, *moved.shape[2:])

    moved = [view_by_view(tangents.corners), view_by_view(tangents.sigma)]
    result = (motions * views, *settings.image_size), dtype
    given = scene.corners, scene.draw_mode.astype(jnp.int32), limits
    kernel, options = _kernel_of(settings), [settings.perspective]
    return kernel(*given, *moved, results=[result], options=options)[0]


@functools.lru_cache(maxsize=256)
def _kernel_of(settings: Settings) -> Kernel:
    """The kernel; made once for these settings, for it is static."""
    return Kernel("soft_motions", functools.partial(_plainly, settings=settings))


def _plainly(
    corners: jax.Array,
    draw_mode: jax.Array,
    limits: jax.Array,
    d_corners: jax.Array,
    d_sigma: jax.Array,
    *,
    results: Any,
    options: Any,
    settings: Settings,
) -> Sequence[jax.Array]:
    """The same by the scan of all tangents."""
    views, count, dtype = len(limits), corners.shape[1], corners.dtype
    sigma, blur_radius_sq, far = limits.T
    one, nothing = jnp.ones(1, dtype), jnp.zeros(1, dtype)
    texels = jnp.zeros((1, 1, 1), dtype)
    varyings, index = jnp.zeros((1, count, 3, 0), dtype), jnp.zeros((1, count, 0), jnp.int32)
    scene = Scene(corners, draw_mode, varyings, nothing[:, :0], texels, index)
    uniforms = Uniforms(sigma, one, one, nothing, far, blur_radius_sq, nothing)

    def motion_by_motion(moved: jax.Array) -> jax.Array:
        return jnp.moveaxis(moved.reshape(views, -1, *moved.shape[1:]), 1, 0)

    still = jax.tree.map(
        lambda value: jnp.zeros((len(d_sigma) // views, 1, *value.shape[1:]), dtype),
        Variables.of(scene, uniforms),
    )
    tangents = still._replace(corners=motion_by_motion(d_corners), sigma=motion_by_motion(d_sigma))
    plane = jnp.zeros((1, *settings.image_size), dtype)
    blend = Blend(plane[..., None][..., :0], plane, plane, plane, plane, plane)
    residuals = Residuals(plane, jnp.zeros((1, 0, 0), jnp.int32))
    tangents = match_varying_axes(tangents, (scene, uniforms, tangents))
    run = functools.partial(blend_tangents, settings=settings)
    moved = by_platform(run, SCHEDULES, None, scene, uniforms, blend, residuals, tangents)
    return [jnp.moveaxis(moved.total, 0, 1).reshape(results[0][0])]
