"""Fragments, the pixels of a pass with their triangles: distance, coverage, barycentrics, depth.

Shapes and symbols as in `__init__.py`. The pixels of a block lie in one axis, row by row, so that
vector units are filled whatever the block.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.soft.scan import PassInputs
from jaxrender.ops.soft.structs import Settings, Uniforms
from jaxrender.ops.soft.triangle_setup import (
    TriangleSetup,
    Triple,
    interpolate,
    is_inside,
    unpack_triangles,
)
from jaxrender.ops.triangle import pixel_centre

CERTAIN = 80.0  # a `t` at which every coverage is 1
MAX_SCALED_DISTANCE = 1e15  # what `t` counts as at most, so that it can be multiplied


class Fragments(NamedTuple):
    """The pixels of a pass, each with the triangle of its block."""

    x: jax.Array  # [P, h w]
    y: jax.Array
    triangle: TriangleSetup
    uniforms: Uniforms  # each [P, 1]
    valid: jax.Array  # [P, 1] bool
    colored: jax.Array  # [P, 1] bool


def fragments_of(inputs: PassInputs, settings: Settings) -> Fragments:
    """Lays the numbers of a pass out; done anew in each step, for it costs nothing there."""
    height, width = settings.block_size
    offsets = [divmod(pixel, width) for pixel in range(height * width)]
    down, across = jnp.array(offsets, jnp.int32).T  # constants, quicker than divisions there
    y = inputs.blocks.row[:, None] + down[None]
    x = inputs.blocks.column[:, None] + across[None]
    dtype = inputs.triangles.dtype
    return Fragments(
        pixel_centre(x, settings.image_size[1], dtype),
        pixel_centre(y, settings.image_size[0], dtype),
        unpack_triangles(inputs.triangles),
        Uniforms(*(number[:, None] for number in inputs.uniforms)),
        inputs.blocks.valid[:, None],
        inputs.colored[:, None],
    )


# --- distance and coverage ------------------------------------------------------------------------


def scaled_distance(
    fragments: Fragments,
    edges: Triple,
    settings: Settings,
    distance_sq: jax.Array | None = None,
) -> jax.Array:
    """`t = ±d²/σ`, positive inside, -inf where the triangle does not reach.

    Args:
        fragments: of a pass.
        edges: the edge functions there.
        settings: which distance.
        distance_sq: the squared distance, where it is known already.
    """
    inside = is_inside(edges)
    triangle, uniforms = fragments.triangle, fragments.uniforms
    if settings.distance == "hard":
        on_edge = (edges[0] >= 0) & (edges[1] >= 0) & (edges[2] >= 0)
        return jnp.where(on_edge & fragments.valid, CERTAIN, -jnp.inf).astype(edges[0].dtype)
    if settings.distance == "barycentric":
        lowest = lowest_barycentric(fragments, edges)
        distance_sq = lowest * lowest
        inside = lowest > 0
        if settings.faithful:
            # SoftRas looks no farther than this, as if barycentrics were positions on screen.
            radius = 0.5 * settings.image_size[0] * jnp.sqrt(uniforms.blur_radius_sq)
            for position, corners in ((fragments.x, triangle.x), (fragments.y, triangle.y)):
                low, high = (
                    functools.reduce(jnp.minimum, corners),
                    functools.reduce(jnp.maximum, corners),
                )
                near = (position >= low - radius) & (position <= high + radius)
                distance_sq = jnp.where(near, distance_sq, jnp.inf)
                inside = inside & near
    elif distance_sq is None:
        distance_sq = triangle.distance_sq(fragments.x, fragments.y)
    reached = fragments.valid & (inside | (distance_sq < uniforms.blur_radius_sq))
    # (Liu et al. 2019, Eq. 1): the argument of the sigmoid, δ d² / σ.
    scaled = jnp.minimum(distance_sq / uniforms.sigma, MAX_SCALED_DISTANCE)
    return jnp.where(reached, jnp.where(inside, scaled, -scaled), -jnp.inf)


def lowest_barycentric(fragments: Fragments, edges: Triple) -> jax.Array:
    """The smallest of the screen barycentrics."""
    lowest = jnp.minimum(jnp.minimum(edges[0], edges[1]), edges[2])
    return lowest * jnp.abs(fragments.triangle.inverse_area)


def coverage_argument(t: jax.Array, settings: Settings) -> jax.Array:
    """What `F` and the generator take, where the triangle reaches; elsewhere something harmless."""
    t = jnp.where(t > -jnp.inf, t, 0)
    if settings.squared:
        return t
    return jnp.sign(t) * jnp.sqrt(jnp.abs(t))


def is_covered(t: jax.Array, fragments: Fragments, settings: Settings) -> jax.Array:
    """Where a triangle covers more than the cutoff."""
    reached = t > -jnp.inf
    if settings.reached_is_covered:
        return reached
    return reached & (settings.coverage(coverage_argument(t, settings)) > fragments.uniforms.cutoff)


# --- barycentrics and depth -----------------------------------------------------------------------


def barycentrics_of(fragments: Fragments, edges: Triple, settings: Settings) -> Triple:
    """`b_k`, what the corners' varyings are weighted by."""
    triangle = fragments.triangle
    over_z = [
        barycentric_over_z(edge, inverse_depth, triangle.inverse_area, settings)
        for edge, inverse_depth in zip(edges, triangle.inverse_depth, strict=True)
    ]
    total = over_z[0] + over_z[1] + over_z[2]
    return [normalize_barycentric(over, total, settings) for over in over_z]


def barycentric_over_z(
    edge: jax.Array, inverse_depth: jax.Array, inverse_area: jax.Array, settings: Settings
) -> jax.Array:
    """`w⁺_k / z_k` up to a factor, from the edge function opposite corner `k`."""
    if settings.faithful:
        # SoftRas: clipped from above as well, and not perspective-correct.
        return jnp.clip(edge * jnp.abs(inverse_area), 0, 1)
    return jnp.maximum(edge, 0) * inverse_depth


def normalize_barycentric(over_z: jax.Array, total: jax.Array, settings: Settings) -> jax.Array:
    """`b_k = (w⁺_k / z_k) / Σ_m (w⁺_m / z_m)`."""
    if settings.faithful:
        return over_z / jnp.maximum(total, 1e-5)
    # Where rounding leaves nothing of a sliver, take its middle.
    return jnp.where(total > 0, over_z / jnp.where(total > 0, total, 1), 1 / 3)


def depth_at(fragments: Fragments, barycentrics: Triple, settings: Settings) -> jax.Array:
    """`z_j = Σ_k b_k z_k`, the depth of the fragments."""
    z = fragments.triangle.z
    if settings.faithful:
        inverse_depth = fragments.triangle.inverse_depth
        closest, over = inverse_depth[0] * z[0], interpolate(barycentrics, inverse_depth)
        return closest / jnp.where(over == 0, jnp.finfo(z[0].dtype).tiny, over)
    return interpolate(barycentrics, z)


def in_range(fragments: Fragments, depth: jax.Array, settings: Settings) -> jax.Array:
    """Whether that depth is drawn; triangles are clipped at `near` before."""
    if settings.faithful:
        return (depth >= fragments.uniforms.near) & (depth <= fragments.uniforms.far)
    return depth <= fragments.uniforms.far
