"""The forward scans of the soft rasteriser; shapes and symbols as in `__init__.py`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import batch_size
from jaxrender.ops.framebuffer import Framebuffer
from jaxrender.ops.soft.fragments import (
    barycentrics_of,
    coverage_argument,
    depth_at,
    fragments_of,
    in_range,
    is_covered,
    scaled_distance,
)
from jaxrender.ops.soft.kernels import has_kernels, scan_forward
from jaxrender.ops.soft.scan import PassInputs, SceneSetup, scan_scene, separate_call, set_up_scene
from jaxrender.ops.soft.shader import interpolate_varyings, shade, without_holes
from jaxrender.ops.soft.softmax import normalize, raw_weight
from jaxrender.ops.soft.structs import Blend, Residuals, Scene, Schedule, Settings, Uniforms

NO_FACE_YET = jnp.iinfo(jnp.int32).max

TotalState = tuple[jax.Array, jax.Array]  # planes of `total` and of the face of the maximum


def blend_forward(
    scene: Scene, uniforms: Uniforms, *, settings: Settings, schedule: Schedule
) -> tuple[Blend, Residuals]:
    """The two scans; all arrays have a leading axis `[B or 1]`."""
    views = batch_size(scene, uniforms)
    if has_kernels(scene, settings, schedule):
        total, nearest, sums = scan_forward(scene, uniforms, views, settings)
        max_face = jnp.zeros((views, 0, 0), jnp.int32)
    else:
        settings = settings._replace(block_size=schedule.forward_block)
        framebuffer = Framebuffer(views, settings.image_size, settings.block_size)
        setup = set_up_scene(scene, uniforms, framebuffer, settings)
        total, nearest, sums, max_face = add_up_in_passes(setup, settings, schedule)

    # Divide by S: the weighted means (Liu et al. 2019, Eq. 2).
    if not settings.shader:
        zeros, ones = jnp.zeros_like(total), jnp.ones_like(total)
        return Blend(sums, zeros, ones, zeros, total, zeros), Residuals(ones, max_face)
    by_view = (jnp.broadcast_to(number, (views,))[:, None, None] for number in uniforms)
    blend, weight_sum = normalize(sums, total, nearest, Uniforms(*by_view))
    return blend, Residuals(weight_sum, max_face)


def add_up_in_passes(
    setup: SceneSetup, settings: Settings, schedule: Schedule
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The two scans.

    Returns:
        `total` and the nearest depth m `[B, H, W]`; sums `[B, H, W, 2 + C]` of `p_j`,
        `p_j (z_j - m)` and `p_j c_j`, or none where there are no colours; and the faces of the
        largest generators `[B, H, W]`, or `[B, 0, 0]` where nobody asks for them.
    """
    framebuffer, dtype = setup.framebuffer, setup.triangles.dtype
    scan = functools.partial(scan_scene, setup, schedule=schedule)
    fold_options = {"framebuffer": framebuffer, "settings": settings}

    # Add up generators alone, where no colours are asked for.
    total = jnp.zeros(framebuffer.size, dtype)
    no_face = framebuffer.size if settings.takes_maximum else (0, 0)
    max_face = jnp.full(no_face, NO_FACE_YET, jnp.int32)
    if not settings.shader:
        fold = functools.partial(_fold_total, **fold_options)
        total, max_face = scan(fold, (total, max_face))
        total = framebuffer.crop(total[None])[..., 0]
        no_sums = jnp.zeros((*total.shape, 0), dtype)
        return total, total, no_sums, _crop_max_face(max_face, framebuffer, settings)

    # Find the nearest depth m at each pixel. It is sought as the highest of what is less than
    # zero: a GPU has an instruction for the maximum of floats, by way of their bits, and loops for
    # the minimum.
    fold = functools.partial(_fold_nearest, **fold_options)
    background = Uniforms(*setup.uniforms).background_depth
    background = jnp.repeat(background, framebuffer.rows_per_view)
    nearest = -scan(fold, jnp.broadcast_to(-background[:, None], framebuffer.size))

    # Add everything up, and crop the views.
    fold = functools.partial(_fold_blend, **fold_options, schedule=schedule)
    sums = jnp.zeros((2 + settings.shader.channels, *framebuffer.size), dtype)
    total, max_face, sums, _ = scan(fold, (total, max_face, sums, nearest))
    total, nearest = (framebuffer.crop(plane[None])[..., 0] for plane in (total, nearest))
    max_face = _crop_max_face(max_face, framebuffer, settings)
    return total, nearest, framebuffer.crop(sums), max_face


def _crop_max_face(max_face: jax.Array, framebuffer: Framebuffer, settings: Settings) -> jax.Array:
    """Faces of the largest generators `[B, H, W]`; `[B, 0, 0]` where nobody asks for them."""
    if settings.takes_maximum:
        return framebuffer.crop(max_face[None])[..., 0]
    return jnp.zeros((framebuffer.views, 0, 0), jnp.int32)


def _fold_nearest(
    highest: jax.Array, inputs: PassInputs, *, framebuffer: Framebuffer, settings: Settings
) -> jax.Array:
    """Folds `-z_j` of what is drawn into the plane of the highest."""
    fragments = fragments_of(inputs, settings)
    edges = fragments.triangle.edge_functions(fragments.x, fragments.y)
    t = scaled_distance(fragments, edges, settings)
    barycentrics = barycentrics_of(fragments, edges, settings)
    t = without_holes(t, inputs, barycentrics[0], barycentrics[1], settings)
    depth = depth_at(fragments, barycentrics, settings)
    drawn = is_covered(t, fragments, settings) & fragments.colored
    drawn &= in_range(fragments, depth, settings)
    offer = jnp.where(drawn, -depth, -jnp.inf)
    return framebuffer.scatter_blocks(lax.scatter_max, highest, inputs.origin, offer)


def _fold_total(
    state: TotalState, inputs: PassInputs, *, framebuffer: Framebuffer, settings: Settings
) -> TotalState:
    """Adds `g(D_j)` alone."""
    fragments = fragments_of(inputs, settings)
    edges = fragments.triangle.edge_functions(fragments.x, fragments.y)
    t = scaled_distance(fragments, edges, settings)
    barycentrics = barycentrics_of(fragments, edges, settings)
    if not settings.faithful:
        depth = depth_at(fragments, barycentrics, settings)
        t = jnp.where(in_range(fragments, depth, settings), t, -jnp.inf)
    t = without_holes(t, inputs, barycentrics[0], barycentrics[1], settings)
    return _add_generator(state, inputs, t, framebuffer, settings)


def _add_generator(
    state: TotalState,
    inputs: PassInputs,
    t: jax.Array,
    framebuffer: Framebuffer,
    settings: Settings,
) -> TotalState:
    """Adds `g(D_j)` of a pass to `total`, or finds the largest and whose it is."""
    total, max_face = state
    # (Liu et al. 2019, Eq. 4), as the sum of -log(1 - D_j).
    generator = jnp.where(t > -jnp.inf, settings.generator(coverage_argument(t, settings)), 0)
    if not settings.takes_maximum:
        valid = inputs.blocks.valid
        return framebuffer.add_blocks(total, inputs.origin, valid, generator), max_face
    total = framebuffer.scatter_blocks(lax.scatter_max, total, inputs.origin, generator)
    largest = framebuffer.read_blocks(total, inputs.origin)
    # Passes go from the last triangle to the first: an offer replaces what earlier ones left.
    hit = (generator == largest) & (generator > 0)
    offer = jnp.where(hit, inputs.face[:, None], NO_FACE_YET)
    max_face = framebuffer.scatter_blocks(lax.scatter_min, max_face, inputs.origin, offer)
    return total, max_face


def _fold_blend(
    state: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    inputs: PassInputs,
    *,
    framebuffer: Framebuffer,
    settings: Settings,
    schedule: Schedule,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Adds `g(D_j)`, and `p_j` with `z_j - m` and colours."""
    total, max_face, sums, nearest = state
    nearest_depth = framebuffer.read_blocks(nearest, inputs.origin)

    # Find how far each pixel is from the triangle, and where on it that is.
    fragments = fragments_of(inputs, settings)
    edges = fragments.triangle.edge_functions(fragments.x, fragments.y)
    t = scaled_distance(fragments, edges, settings)
    barycentrics = barycentrics_of(fragments, edges, settings)
    if not settings.faithful:
        depth = depth_at(fragments, barycentrics, settings)
        t = jnp.where(in_range(fragments, depth, settings), t, -jnp.inf)
    b0, b1 = barycentrics[:2]
    t = without_holes(t, inputs, b0, b1, settings)

    # Weigh the triangles, and shade them; hand `t` on as it is, so that it is computed once.
    def weigh(
        inputs: PassInputs, t: jax.Array, b0: jax.Array, b1: jax.Array, nearest_depth: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        fragments = fragments_of(inputs, settings)
        weight, depth = raw_weight(fragments, t, b0, b1, nearest_depth, settings)
        return weight, depth - nearest_depth, t

    def weighted_colors(
        inputs: PassInputs, weight: jax.Array, behind: jax.Array, b0: jax.Array, b1: jax.Array
    ) -> jax.Array:
        colors = []
        if (shader := settings.shader) is not None:
            varyings = interpolate_varyings(inputs, b0, b1, shader)
            colors = shade(inputs, varyings, shader, b0.shape)
        # (Liu et al. 2019, Eq. 2), the numerator: p_j, p_j (z_j - m) and p_j c_j.
        return jnp.stack([weight, weight * behind, *(weight * color for color in colors)], axis=1)

    call = functools.partial(separate_call, schedule=schedule)
    weight, behind, t = call(weigh, inputs, t, b0, b1, nearest_depth)
    added = call(weighted_colors, inputs, weight, behind, b0, b1)

    # Add them up.
    total, max_face = _add_generator((total, max_face), inputs, t, framebuffer, settings)
    sums = framebuffer.add_blocks(sums, inputs.origin, inputs.blocks.valid, added)
    return total, max_face, sums, nearest
