"""The scans of the soft rasteriser by kernels in machine code, on a CPU, for what is most used.

That is SoftRas's own blend: coverage by the logistic function of the squared distance to the
boundary, alpha by the product; with colours that the corners have, or a shader that has a program
(`ops/program.py`), as textures and lights have. All else is scanned in passes, as are tangents,
but for those of silhouettes (`outlines.py`).
Shapes and symbols as in `__init__.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrender.ops import cpu
from jaxrender.ops.blocks import Bounds
from jaxrender.ops.cpu import Kernel
from jaxrender.ops.framebuffer import Framebuffer
from jaxrender.ops.program import ShaderProgram, Sizes, shader_program
from jaxrender.ops.soft.cotangents import full_sum_sizes, sum_sizes, unpack_pixels
from jaxrender.ops.soft.outlines import are_known_to_kernels
from jaxrender.ops.soft.scan import (
    SceneSetup,
    reached_pixels,
    shader_inputs,
    varyings_by_triangle,
)
from jaxrender.ops.soft.shader import needs_texels
from jaxrender.ops.soft.structs import (
    NOT_DRAWN,
    SCHEDULES,
    Needed,
    Scene,
    Schedule,
    Settings,
    Uniforms,
)
from jaxrender.ops.soft.triangle_setup import set_up_triangles

WHOLE, COLORED, SHADED = 0, 2, 3  # as in `cpu/fragments.py`; kernels choose `CUT` themselves
PADDING = 8  # columns of planes, so that as many pixels at once never leave a row's memory


def has_kernels(scene: Scene, settings: Settings, schedule: Schedule) -> bool:
    """Whether kernels may blend a scene."""
    some = scene.corners.shape[1] > 0 and schedule.has_kernels
    if not (some and are_known_to_kernels(settings) and cpu.can_take(scene.corners.dtype)):
        return False
    return not _is_shaded(settings) or _program_of(scene, settings) is not None


def _is_shaded(settings: Settings) -> bool:
    """Whether colours are more than what the corners have."""
    shader = settings.shader
    return shader is not None and (shader.taps is not None or shader.color is not None)


def _program_of(scene: Scene, settings: Settings) -> ShaderProgram | None:
    """What the shader does with one fragment, if it has a program."""
    shader = settings.shader
    assert shader is not None
    sizes = Sizes(
        scene.texture_index.shape[-1],
        scene.varyings.shape[-1],
        scene.shader_uniforms.shape[-1],
        0 if shader.taps is None else scene.texels.shape[-1],
        shader.channels,
    )
    return shader_program(shader.taps, shader.color, sizes, str(scene.corners.dtype))


def scan_forward(
    scene: Scene, uniforms: Uniforms, views: int, settings: Settings
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`total`, the nearest depth and sums, as `add_up_in_passes` returns them."""
    arrays = _arrays(scene, uniforms, views, settings)
    height, width = settings.image_size
    count = 4 + settings.shader.channels if settings.shader else 1
    shape = (views, count, height, width + PADDING)
    colored = settings.shader is not None
    (planes,) = _kernel_of(scene, settings._replace(needed=Needed()), backward=False)(
        *arrays,
        results=[(shape, scene.corners.dtype)],
        options=[settings.perspective, _asked(settings)],
    )
    planes = planes[..., :width]
    nearest = planes[:, 1 if colored else 0]
    return planes[:, 0], nearest, jnp.moveaxis(planes[:, 2:], 1, -1)


def scan_backward(
    scene: Scene,
    uniforms: Uniforms,
    pictures: list[jax.Array],
    views: int,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    """What the backward scan adds up for each triangle `[B, N, n]`, and each texel `[B, R, C']`.

    Of a triangle those are all of `full_sum_sizes`.

    Args:
        scene: as given to `blend_backward`.
        uniforms: likewise.
        pictures: `[B or 1, H, W]` each, the leaves of `Pixels`, with that of the depth.
        views: `B`.
        settings: what is part of the program.
    """
    arrays, dtype = _arrays(scene, uniforms, views, settings), scene.corners.dtype
    shape = (views, *settings.image_size)
    planes = _pad(jnp.stack([jnp.broadcast_to(picture, shape) for picture in pictures], 1))
    numbers = sum(full_sum_sizes(scene.varyings.shape[3], scene.shader_uniforms.shape[1]))
    of_texels = scene.texels.shape[1:] if needs_texels(settings) else (0, 0)
    d_texels, sums = _kernel_of(scene, settings, backward=True)(
        *arrays,
        planes,
        results=[
            ((views, *of_texels), dtype),
            ((views, scene.corners.shape[1], numbers), dtype),
        ],
        options=[settings.perspective, _asked(settings), settings.needed.varyings],
    )
    if not needs_texels(settings):
        d_texels = jnp.zeros((views, *scene.texels.shape[1:]), dtype)
    return sums, d_texels


def _asked(settings: Settings) -> int:
    """What kernels are asked for: coverage alone, or colours too, of corners or of a shader."""
    if settings.shader is None:
        return WHOLE
    return SHADED if _is_shaded(settings) else COLORED


def _arrays(
    scene: Scene, uniforms: Uniforms, views: int, settings: Settings
) -> tuple[jax.Array, ...]:
    """Triangles `[B or 1, 16, N]`, bounds `[B, N, 4]`, varyings, uniforms `[B, 7]`, and a shader's.

    That is its uniforms, the texels, and where those of each triangle are.
    """
    by_view = jnp.stack([jnp.broadcast_to(number, (views,)) for number in uniforms], 1)

    count, dtype = scene.corners.shape[1], scene.corners.dtype
    triangles, bounds = _SET_UP(
        scene.corners,
        scene.draw_mode,
        jnp.broadcast_to(uniforms.blur_radius_sq, (views,)),
        results=[
            ((scene.corners.shape[0], 16, count), dtype),
            ((views, count, 4), jnp.int32),
        ],
        options=[*settings.image_size, settings.perspective],
    )
    own = scene.varyings, by_view, scene.shader_uniforms, scene.texels, scene.texture_index
    return triangles, bounds, *own


def _set_up_otherwise(
    corners: jax.Array,
    draw_mode: jax.Array,
    blur_radius_sq: jax.Array,
    *,
    results: Any,
    options: Sequence[int],
) -> Sequence[jax.Array]:
    """The same in plain JAX."""
    views, count = results[1][0][:2]
    height, width, perspective = options[:3]

    def bounds_of(corners: jax.Array, draw_mode: jax.Array, radius_sq: jax.Array) -> jax.Array:
        drawn, size = draw_mode != NOT_DRAWN, (height, width)
        return jnp.stack(reached_pixels(corners, drawn, radius_sq[None], "euclidean", size), -1)

    bounds = jax.vmap(bounds_of)(
        jnp.broadcast_to(corners, (views, count, 3, 3)),
        jnp.broadcast_to(draw_mode, (views, count)),
        blur_radius_sq,
    )
    set_up = functools.partial(set_up_triangles, perspective=bool(perspective))
    return [jax.vmap(set_up)(corners), bounds]


_SET_UP = Kernel("soft_setup", _set_up_otherwise)


def _kernel_of(scene: Scene, settings: Settings, *, backward: bool) -> Kernel:
    """The kernel of a scan, with the passes that do the same."""
    program = _program_of(scene, settings) if _is_shaded(settings) else None
    return _kernel(settings._replace(block_size=(0, 0)), program, backward)


@functools.lru_cache(maxsize=256)
def _kernel(settings: Settings, program: ShaderProgram | None, backward: bool) -> Kernel:
    otherwise = _backward_otherwise if backward else _forward_otherwise
    name = "blend_gradient" if backward else "blend"
    return Kernel(name, functools.partial(otherwise, settings=settings), program, backward)


def _forward_otherwise(
    *arrays: jax.Array, results: Any, options: Any, settings: Settings
) -> Sequence[jax.Array]:
    """The same in passes."""
    from jaxrender.ops.soft.forward import add_up_in_passes

    schedule = SCHEDULES["cpu"]
    settings = settings._replace(block_size=schedule.forward_block)
    total, nearest, sums, _ = add_up_in_passes(_setup_of(arrays, settings), settings, schedule)
    planes = total[:, None]
    if settings.shader:
        planes = jnp.concatenate([planes, nearest[:, None], jnp.moveaxis(sums, -1, 1)], 1)
    return [_pad(planes)]


def _backward_otherwise(
    *arrays: jax.Array, results: Any, options: Any, settings: Settings
) -> Sequence[jax.Array]:
    """The same in passes."""
    from jaxrender.ops.soft.backward import split_sums, sum_in_passes

    *scene, planes = arrays
    schedule, (views, count, _) = SCHEDULES["cpu"], results[1][0]
    settings = settings._replace(block_size=schedule.backward_block)
    # The kernel is given a cotangent of depth, whether it is needed or not.
    settings = settings._replace(needed=dataclasses.replace(settings.needed, depth=True))
    pixels = unpack_pixels(planes[..., :-PADDING], settings)
    numbers = scene[2].shape[-1], scene[4].shape[-1]
    sizes, full = sum_sizes(settings, *numbers), full_sum_sizes(*numbers)
    rows = scene[5].shape[1]
    sums, d_texels = sum_in_passes(
        _setup_of(scene, settings), pixels, None, sizes, rows, settings=settings, schedule=schedule
    )
    by_triangle = split_sums(sums.reshape(views, count, sum(sizes)), sizes, full)
    if not needs_texels(settings):
        d_texels = d_texels[:0]
    return [d_texels.reshape(results[0][0]), jnp.concatenate(by_triangle, -1)]


def _setup_of(arrays: Sequence[jax.Array], settings: Settings) -> SceneSetup:
    """A scene made ready for passes, from what kernels are given of it."""
    triangles, bounds, varyings, uniforms, shader_uniforms, texels, texture_index = arrays
    views, count, _ = bounds.shape
    triangles = jnp.broadcast_to(triangles, (views, *triangles.shape[1:]))
    return SceneSetup(
        Framebuffer(views, settings.image_size, settings.block_size),
        count,
        Bounds(*bounds.reshape(-1, 4).T),
        jnp.moveaxis(triangles, 1, 0).reshape(-1, views * count),
        jnp.ones(views * count, bool),
        varyings_by_triangle(varyings),
        *shader_inputs(shader_uniforms, texels, texture_index, views),
        uniforms.T,
    )


def _pad(planes: jax.Array) -> jax.Array:
    """Planes `[..., H, W + 8]`, 0 behind the pictures."""
    return jnp.pad(planes, (*[(0, 0)] * (planes.ndim - 1), (0, PADDING)))
