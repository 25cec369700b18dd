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
from jaxrender.ops.soft.kernels import has_kernels, scan_backward
from jaxrender.ops.soft.scan import PassInputs, SceneSetup, scan_scene, set_up_scene
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
    views = batch_size(scene, uniforms, blend, residuals, cotangents)
    by_kernel = has_kernels(scene, settings, schedule)
    of_view = Uniforms(*(jnp.broadcast_to(number, (views,))[:, None, None] for number in uniforms))
    count, dtype = scene.corners.shape[1], scene.corners.dtype

    # Lay out what the triangles need of each pixel.
    blended, d_log_background = None, jnp.zeros((views, 1, 1), dtype)
    if settings.shader:
        blended, d_log_background = mean_of_cotangents(
            blend,
            residuals.weight_sum,
            cotangents,
            needs_depth=settings.needed.depth or by_kernel,
        )
    pixels = Pixels(cotangents.total, blended)

    # Add up the cotangents of each triangle and each texel.
    full_sizes = full_sum_sizes(scene.varyings.shape[-1], scene.shader_uniforms.shape[-1])
    if by_kernel:
        sizes = full_sizes
        leaves = jax.tree.leaves(pixels)
        sums, d_texels = scan_backward(scene, uniforms, leaves, views, settings)
    else:
        sizes = sum_sizes(settings, scene.varyings.shape[-1], scene.shader_uniforms.shape[-1])
        max_face = residuals.max_face if settings.takes_maximum else None
        framebuffer = Framebuffer(views, settings.image_size, schedule.backward_block)
        settings = settings._replace(block_size=framebuffer.block_size)
        sums, d_texels = sum_in_passes(
            set_up_scene(scene, uniforms, framebuffer, settings),
            pixels,
            max_face,
            sizes,
            scene.texels.shape[1],
            settings=settings,
            schedule=schedule,
        )

    # Split the sums into those of corners, and what uniforms get by way of each triangle.
    parts = split_sums(sums.reshape(views, count, sum(sizes)), sizes, full_sizes)
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


def split_sums(
    sums: jax.Array, sizes: tuple[int, ...], full_sizes: tuple[int, ...]
) -> list[jax.Array]:
    """Of sums `[B, N, n]` each kind; those that were not asked for are 0."""
    start, parts = 0, []
    for size, full in zip(sizes, full_sizes, strict=True):
        part = sums[..., start : start + size]
        parts.append(part if size else jnp.zeros((*sums.shape[:2], full), sums.dtype))
        start += size
    return parts


def sum_in_passes(
    setup: SceneSetup,
    pixels: Pixels,
    max_face: jax.Array | None,
    sizes: tuple[int, ...],
    texel_rows: int,
    *,
    settings: Settings,
    schedule: Schedule,
) -> tuple[jax.Array, jax.Array]:
    """What each triangle gets `[B N, n]`, n in all of `sum_sizes`, and what each texel does.

    Args:
        setup: the scene.
        pixels: each `[B or 1, H, W]`.
        max_face: of the residuals, where the total is a maximum.
        sizes: of `sum_sizes`.
        texel_rows: `R` of a view.
        settings: what is part of the program.
        schedule: a matter of speed.
    """
    framebuffer, columns = setup.framebuffer, setup.texels.shape[1]
    d_texels = jnp.zeros((framebuffer.views * texel_rows, columns), setup.texels.dtype)
    planes = framebuffer.stack(jax.tree.leaves(pixels))
    sums = jnp.zeros((framebuffer.views * setup.triangle_count, sum(sizes)), planes.dtype)
    if not (any(sizes) or needs_texels(settings)):
        return sums, d_texels
    fold = functools.partial(
        _fold_backward,
        planes=planes,
        max_face=None if max_face is None else framebuffer.stack([max_face])[0],
        texel_rows=texel_rows,
        framebuffer=framebuffer,
        settings=settings,
        schedule=schedule,
    )
    return scan_scene(setup, fold, (sums, d_texels), schedule=schedule)


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
