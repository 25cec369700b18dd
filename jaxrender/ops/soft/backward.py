"""The backward scan of the soft rasteriser; shapes and symbols as in `__init__.py`.

The cotangents of one pass's triangles are found in `cotangents.py`; here those of all passes are
added up for each triangle and texel, and handed out.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxrender.ops.batching import batch_size
from jaxrender.ops.deterministic import scatter_add
from jaxrender.ops.framebuffer import Framebuffer
from jaxrender.ops.soft.cotangents import (
    Pixels,
    full_sum_sizes,
    sum_sizes,
    triangle_cotangents,
)
from jaxrender.ops.soft.scan import PassInputs, scan_scene, set_up_scene
from jaxrender.ops.soft.shader import needs_texels
from jaxrender.ops.soft.softmax import mean_of_cotangents, uniform_cotangents
from jaxrender.ops.soft.structs import Blend, Residuals, Scene, Schedule, Settings, Uniforms


def blend_backward(
    scene: Scene,
    uniforms: Uniforms,
    blend: Blend,
    residuals: Residuals,
    cotangents: Blend,
    *,
    settings: Settings,
    schedule: Schedule,
) -> tuple[Scene, Uniforms]:
    """One scan; all arrays have a leading axis `[B or 1]`.

    Args:
        scene: as given to `blend_forward`.
        uniforms: likewise.
        blend: what that returned.
        residuals: likewise.
        cotangents: of `blend`.
        settings: what is part of the program.
        schedule: a matter of speed.

    Returns:
        The cotangents of scene and uniforms, each `[B, ...]`; None of integers, and of what the
        picture is not differentiated to.
    """
    settings = settings._replace(block_size=schedule.backward_block)
    views = batch_size(scene, uniforms, blend, residuals, cotangents)
    framebuffer = Framebuffer(views, settings.image_size, settings.block_size)
    setup = set_up_scene(scene, uniforms, framebuffer, settings)
    of_view = Uniforms(*setup.uniforms[:, :, None, None])
    count, dtype = setup.triangle_count, scene.corners.dtype

    # Lay out what the triangles need of each pixel.
    blended, d_log_background = None, jnp.zeros((views, 1, 1), dtype)
    if settings.shader:
        blended, d_log_background = mean_of_cotangents(
            blend, residuals.weight_sum, cotangents, needs_depth=settings.needed.depth
        )
    planes = framebuffer.stack(jax.tree.leaves(Pixels(cotangents.total, blended)))
    max_face = None
    if settings.takes_maximum:
        (max_face,) = framebuffer.stack([residuals.max_face])

    # Add up the cotangents of each triangle and each texel.
    varying_count = scene.varyings.shape[-1]
    uniform_count = scene.shader_uniforms.shape[-1]
    sizes = sum_sizes(settings, varying_count, uniform_count)
    sums = jnp.zeros((views * count, sum(sizes)), dtype)
    d_texels = jnp.zeros((views * scene.texels.shape[1], scene.texels.shape[2]), dtype)
    if any(sizes) or needs_texels(settings):
        fold = functools.partial(
            _fold_backward,
            planes=planes,
            max_face=max_face,
            texel_rows=scene.texels.shape[1],
            framebuffer=framebuffer,
            settings=settings,
            schedule=schedule,
        )
        sums, d_texels = scan_scene(setup, fold, (sums, d_texels), schedule=schedule)

    # Split the sums into those of corners, and what uniforms get by way of each triangle.
    start, parts = 0, []
    full_sizes = full_sum_sizes(varying_count, uniform_count)
    for size, full in zip(sizes, full_sizes, strict=True):
        part = sums[:, start : start + size] if size else jnp.zeros((views * count, full), dtype)
        parts.append(part.reshape(views, count, full))
        start += size
    d_xy, d_z, d_varyings = (part.reshape(views, count, 3, -1) for part in parts[:3])
    argument_times_d_argument, d_log_coverage_times_behind, d_shader_uniforms = (
        part.sum(1) for part in parts[3:]
    )

    # ∂t/∂σ = -t / σ, of the root half of that; then those of the softmax.
    power = 1 if settings.squared else 0.5
    behind = of_view.background_depth - blend.nearest_depth if settings.shader else 1
    d_inverse_temperature, d_background_depth = uniform_cotangents(
        d_log_coverage_times_behind[:, 0], d_log_background, behind, of_view.inverse_temperature
    )
    d_uniforms = uniforms._replace(
        sigma=-power * argument_times_d_argument[:, 0] / of_view.sigma[:, 0, 0],
        inverse_temperature=d_inverse_temperature,
        background_depth=d_background_depth,
        near=None,
        far=None,
        blur_radius_sq=None,
        cutoff=None,
    )
    d_scene = scene._replace(
        corners=jnp.concatenate([d_xy, d_z], axis=-1),
        draw_mode=None,
        varyings=d_varyings,
        shader_uniforms=d_shader_uniforms,
        texels=d_texels.reshape(views, *scene.texels.shape[1:]),
        texture_index=None,
    )
    return d_scene, d_uniforms


def _fold_backward(
    state: tuple[jax.Array, jax.Array],
    inputs: PassInputs,
    *,
    planes: jax.Array,
    max_face: jax.Array | None,
    texel_rows: int,
    framebuffer: Framebuffer,
    settings: Settings,
    schedule: Schedule,
) -> tuple[jax.Array, jax.Array]:
    """Adds the cotangents of the triangles of a pass, and of the texels they read."""
    sums, d_texels = state
    here = framebuffer.read_blocks(planes, inputs.origin)
    if max_face is not None:
        # Let the total depend on the triangle of the largest generator alone.
        owner = framebuffer.read_blocks(max_face, inputs.origin)
        own = (owner == inputs.face[:, None])[:, None]
        here = jnp.concatenate([jnp.where(own, here[:, :1], 0), here[:, 1:]], axis=1)
    added, rows, taps = triangle_cotangents(inputs, here, settings=settings, schedule=schedule)
    face = jnp.where(inputs.blocks.valid, inputs.blocks.face, -1)
    sums = scatter_add(sums, face, added)
    first = inputs.view[:, None] * texel_rows
    for row, d_tap in zip(rows, taps, strict=True):
        d_texels = scatter_add(d_texels, first + row, d_tap)
    return sums, d_texels
