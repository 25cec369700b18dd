"""The scans of the soft rasteriser: a scene made ready, and what each pass has of it.

Shapes and symbols as in `__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.blocks import Blocks, Bounds, expected_blocks, scan_blocks
from jaxrender.ops.cpu import are_available
from jaxrender.ops.framebuffer import Framebuffer
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.soft.structs import DRAWN, NOT_DRAWN, Scene, Schedule, Settings, Uniforms
from jaxrender.ops.soft.triangle_setup import set_up_triangles
from jaxrender.ops.triangle import pixel_span


class SceneSetup(NamedTuple):
    """The triangles of all views, one view after the other, ready to be scanned."""

    framebuffer: Framebuffer
    triangle_count: int  # N
    bounds: Bounds
    triangles: jax.Array  # [16, B N] of `set_up_triangles`
    colored: jax.Array  # [B N] bool
    varyings: jax.Array  # [3 K, B N], or [3 K, N] where all views share them
    shader_uniforms: jax.Array  # [U, B]
    texels: jax.Array  # [R, C'] or [B R, C']
    rows_per_view: int  # R where each view has its own texels, or 0
    texture_index: jax.Array  # [I, B N or N]
    uniforms: jax.Array  # [7, B]


class PassInputs(NamedTuple):
    """The pixel blocks of one pass, and what is known of their triangles."""

    blocks: Blocks
    view: jax.Array  # [P]
    face: jax.Array  # [P] the triangle, counted within its view
    triangles: jax.Array  # [16, P]
    colored: jax.Array  # [P] bool
    varyings: jax.Array  # [3 K, P]
    shader_uniforms: jax.Array  # [U, P]
    texture_index: jax.Array  # [I, P]
    texels: jax.Array  # of all views
    first_row: jax.Array  # [P] of the view's texels in it
    uniforms: jax.Array  # [7, P]
    origin: jax.Array  # [P, 2] where the blocks begin in the framebuffer


def set_up_scene(
    scene: Scene, uniforms: Uniforms, framebuffer: Framebuffer, settings: Settings
) -> SceneSetup:
    """Arranges the views' triangles; every array has a leading axis `[B or 1]`."""
    views, count = framebuffer.views, scene.corners.shape[1]
    by_view = jnp.stack([jnp.broadcast_to(number, (views,)) for number in uniforms])
    corners = jnp.broadcast_to(scene.corners, (views, count, 3, 3)).reshape(-1, 3, 3)
    draw_mode = jnp.broadcast_to(scene.draw_mode, (views, count)).reshape(-1)
    blur_radius_sq = jnp.repeat(Uniforms(*by_view).blur_radius_sq, count)
    return SceneSetup(
        framebuffer,
        count,
        reached_pixels(
            corners, draw_mode != NOT_DRAWN, blur_radius_sq, settings.distance, settings.image_size
        ),
        set_up_triangles(corners, perspective=settings.perspective),
        draw_mode == DRAWN,
        varyings_by_triangle(scene.varyings),
        *shader_inputs(scene.shader_uniforms, scene.texels, scene.texture_index, views),
        by_view,
    )


def shader_inputs(
    uniforms: jax.Array, texels: jax.Array, index: jax.Array, views: int
) -> tuple[jax.Array, jax.Array, int, jax.Array]:
    """What `SceneSetup` has of a shader's, from uniforms to `texture_index`; each `[B or 1, …]`."""
    return (
        jnp.broadcast_to(uniforms, (views, uniforms.shape[1])).T,
        texels.reshape(-1, texels.shape[-1]),
        texels.shape[1] if texels.shape[0] > 1 else 0,
        index.transpose(2, 0, 1).reshape(-1, index.shape[0] * index.shape[1]),
    )


def varyings_by_triangle(varyings: jax.Array) -> jax.Array:
    """Varyings `[B or 1, N, 3, K]` as `[3 K, B N or N]`."""
    views, count, corners, numbers = varyings.shape
    return varyings.transpose(2, 3, 0, 1).reshape(corners * numbers, views * count)


def reached_pixels(
    corners: jax.Array,
    drawn: jax.Array,
    blur_radius_sq: jax.Array,
    distance: str,
    image_size: tuple[int, int],
) -> Bounds:
    """The pixels that triangles `[N, 3, 3]` may reach, with a squared blur radius `[N or 1]`."""
    height, width = image_size
    xy = corners[..., :2]
    radius = jnp.sqrt(blur_radius_sq)[:, None]
    if distance == "hard":
        radius = jnp.zeros_like(radius)
    if distance == "barycentric":
        # All that has w >= -r is the triangle with corners w_k = 1 + 2 r.
        spread = xy + radius[:, None] * (3 * xy - xy.sum(1, keepdims=True))
        low, high = spread.min(1), spread.max(1)
    else:
        a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
        low = jnp.minimum(jnp.minimum(a, b), c) - radius
        high = jnp.maximum(jnp.maximum(a, b), c) + radius
    left, right = pixel_span(low[:, 0], high[:, 0], width)
    top, bottom = pixel_span(low[:, 1], high[:, 1], height)
    return Bounds(top, left, jnp.where(drawn, bottom, -1), right)


def gather_inputs(setup: SceneSetup, blocks: Blocks) -> PassInputs:
    """Gathers what a pass needs of its triangles."""
    # Compute the view even if there is one alone: where XLA knows it, it computes all that hangs on
    # the view's uniforms anew at every pixel that asks for it, and a pass takes four times as long.
    face, local, row = blocks.face, blocks.face, blocks.row
    view = jnp.minimum(face, 0)
    if setup.framebuffer.views > 1:
        view = lax.div(face, jnp.int32(max(setup.triangle_count, 1)))
        local = face - view * setup.triangle_count
        row = blocks.row + view * setup.framebuffer.rows_per_view

    def own_or_shared(table: jax.Array) -> jax.Array:
        return table[:, face if table.shape[1] > setup.triangle_count else local]

    return PassInputs(
        blocks,
        view,
        local,
        setup.triangles[:, face],
        setup.colored[face],
        own_or_shared(setup.varyings),
        setup.shader_uniforms[:, view],
        own_or_shared(setup.texture_index),
        setup.texels,
        view * setup.rows_per_view,
        setup.uniforms[:, view],
        jnp.stack([row, blocks.column], -1),
    )


def scan_scene(setup: SceneSetup, fold: Callable, state: Any, *, schedule: Schedule) -> Any:
    """Folds all pixel blocks of all views into `state`: `fold(state, inputs) -> state`."""
    framebuffer = setup.framebuffer
    return scan_blocks(
        lambda state, blocks: fold(state, gather_inputs(setup, blocks)),
        state,
        setup.bounds,
        block_size=framebuffer.block_size,
        blocks_per_pass=_blocks_per_pass(setup, schedule),
        by_kernel=schedule.has_kernels and are_available(),
    )


def _blocks_per_pass(setup: SceneSetup, schedule: Schedule) -> int:
    """How many pixel blocks a pass holds: a power of two."""
    framebuffer = setup.framebuffer
    expected = expected_blocks(setup.triangle_count, framebuffer.image_size, framebuffer.block_size)
    share = max(int(schedule.pass_fraction * framebuffer.views * expected), 1)
    fewest, most = schedule.blocks_per_pass
    return min(most, max(fewest, 1 << share.bit_length() - 1))


def separate_call(function: Callable, inputs: PassInputs, *values: Any, schedule: Schedule) -> Any:
    """`function(inputs, *values)`, whose arguments and results are each computed once.

    XLA on a CPU makes one kernel of each result, in which all that it needs is computed anew: a
    picture and its gradient then take four times as long (594 against 140 ms of CPU for 5,120
    faces at 256²). It writes out what goes into a branch and what comes out of it; so this is a
    branch, always taken.
    """
    if not schedule.materialize:
        return function(inputs, *values)
    # Compiled functions are traced once, not at each use.
    function = jax.jit(function, inline=True)
    shapes = jax.eval_shape(function, inputs, *values)

    def never(inputs: PassInputs, *_: Any) -> Any:
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return match_varying_axes(zeros, inputs.view)

    return lax.cond(inputs.view[0] >= 0, function, never, inputs, *values)
