"""The scans of the soft rasteriser by kernels in machine code, on a CPU, for what is most used.

That is SoftRas's own blend: coverage by the logistic function of the squared distance to the
boundary, alpha by the product, colours that the corners have. All else is scanned in passes, as are
tangents. Shapes and symbols as in `__init__.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrender.ops import cpu
from jaxrender.ops.blocks import Bounds
from jaxrender.ops.cpu import Kernel
from jaxrender.ops.framebuffer import Framebuffer
from jaxrender.ops.soft.outlines import are_known_to_kernels
from jaxrender.ops.soft.scan import SceneSetup, reached_pixels, varyings_by_triangle
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

PADDING = 8  # columns of planes, so that as many pixels at once never leave a row's memory


def has_kernels(scene: Scene, settings: Settings, schedule: Schedule) -> bool:
    """Whether kernels may blend a scene."""
    shader, some = settings.shader, scene.corners.shape[1] > 0 and schedule.has_kernels
    plain = shader is None or (shader.taps is None and shader.color is None)
    known = plain and are_known_to_kernels(settings)
    return known and some and cpu.can_take(scene.corners.dtype)


def scan_forward(
    scene: Scene, uniforms: Uniforms, views: int, settings: Settings
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`total`, the nearest depth and sums, as `add_up_in_passes` returns them."""
    arrays = _arrays(scene, uniforms, views, settings)
    height, width = settings.image_size
    count = 4 + settings.shader.channels if settings.shader else 1
    shape = (views, count, height, width + PADDING)
    kernel = _kernels_of(settings._replace(needed=Needed(), block_size=(0, 0)))[0]
    colored = settings.shader is not None
    (planes,) = kernel(
        *arrays,
        results=[(shape, scene.corners.dtype)],
        options=[settings.perspective, colored],
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
) -> jax.Array:
    """What the backward scan adds up for each triangle `[B, N, 11 + 3 K]`.

    That is of xy 6, z 3, varyings 3 K, sigma 1, and inverse temperature 1.

    Args:
        scene: as given to `blend_backward`.
        uniforms: likewise.
        pictures: `[B or 1, H, W]` each, the leaves of `Pixels`, with that of the depth.
        views: `B`.
        settings: what is part of the program.
    """
    arrays = _arrays(scene, uniforms, views, settings)
    shape = (views, *settings.image_size)
    planes = _pad(jnp.stack([jnp.broadcast_to(picture, shape) for picture in pictures], 1))
    count, varyings = scene.varyings.shape[1], scene.varyings.shape[3]
    needed = Needed(shader_uniforms=False, texels=False)
    kernel = _kernels_of(settings._replace(needed=needed, block_size=(0, 0)))[1]
    options = settings.perspective, settings.shader is not None, settings.needed.varyings
    result = ((views, count, 11 + 3 * varyings), scene.corners.dtype)
    return kernel(*arrays, planes, results=[result], options=options)[0]


def _arrays(
    scene: Scene, uniforms: Uniforms, views: int, settings: Settings
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Triangles `[B or 1, 16, N]`, bounds `[B, N, 4]`, varyings and uniforms `[B, 7]`."""
    by_view = jnp.stack([jnp.broadcast_to(number, (views,)) for number in uniforms], 1)

    def bounds_of(corners: jax.Array, draw_mode: jax.Array, radius_sq: jax.Array) -> jax.Array:
        drawn = draw_mode != NOT_DRAWN
        return jnp.stack(reached_pixels(corners, drawn, radius_sq[None], settings), -1)

    count = scene.corners.shape[1]
    bounds = jax.vmap(bounds_of)(
        jnp.broadcast_to(scene.corners, (views, count, 3, 3)),
        jnp.broadcast_to(scene.draw_mode, (views, count)),
        jnp.broadcast_to(uniforms.blur_radius_sq, (views,)),
    )
    triangles = jax.vmap(functools.partial(set_up_triangles, perspective=settings.perspective))(
        scene.corners
    )
    return triangles, bounds, scene.varyings, by_view


@functools.lru_cache(maxsize=256)
def _kernels_of(settings: Settings) -> tuple[Kernel, Kernel]:
    """Forwards and backwards, each with the passes that do the same."""
    return (
        Kernel("blend", functools.partial(_forward_otherwise, settings=settings)),
        Kernel("blend_gradient", functools.partial(_backward_otherwise, settings=settings)),
    )


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
    """Likewise."""
    from jaxrender.ops.soft.backward import split_sums, sum_in_passes
    from jaxrender.ops.soft.cotangents import full_sum_sizes, sum_sizes, unpack_pixels

    *scene, planes = arrays
    schedule, (views, count, _) = SCHEDULES["cpu"], results[0][0]
    settings = settings._replace(block_size=schedule.backward_block)
    pixels, varyings = unpack_pixels(planes[..., :-PADDING], settings), scene[2].shape[-1]
    sizes = sum_sizes(settings, varyings, 0)
    setup = _setup_of(scene, settings)
    sums, _ = sum_in_passes(setup, pixels, None, sizes, 1, settings=settings, schedule=schedule)
    full = full_sum_sizes(varyings, 0)
    return [jnp.concatenate(split_sums(sums.reshape(views, count, sum(sizes)), sizes, full), -1)]


def _setup_of(arrays: Sequence[jax.Array], settings: Settings) -> SceneSetup:
    """A scene made ready for passes, from what kernels are given of it."""
    triangles, bounds, varyings, uniforms = arrays
    (views, count, _), dtype = bounds.shape, triangles.dtype
    triangles = jnp.broadcast_to(triangles, (views, *triangles.shape[1:]))
    return SceneSetup(
        Framebuffer(views, settings.image_size, settings.block_size),
        count,
        Bounds(*bounds.reshape(-1, 4).T),
        jnp.moveaxis(triangles, 1, 0).reshape(-1, views * count),
        jnp.ones(views * count, bool),
        varyings_by_triangle(varyings),
        jnp.zeros((0, views), dtype),
        jnp.zeros((1, 1), dtype),
        0,
        jnp.zeros((0, count), jnp.int32),
        uniforms.T,
    )


def _pad(planes: jax.Array) -> jax.Array:
    """Planes `[..., H, W + 8]`, 0 behind the pictures."""
    return jnp.pad(planes, (*[(0, 0)] * (planes.ndim - 1), (0, PADDING)))
