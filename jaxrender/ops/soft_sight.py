"""What the pixels of a pass see of their triangles: where, how far and how much of them.

Shapes and symbols as in `soft.py`. The pixels of a window lie in one axis, row by row, so that
vector units are filled whatever the window.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.footprints import Footprint, Triple, footprints_of, is_inside, mix
from jaxrender.ops.soft_scene import Slots
from jaxrender.ops.soft_types import Scales, Settings
from jaxrender.ops.triangles import pixel_centre

CERTAIN = 80.0  # a `t` at which every coverage is 1
FARTHEST = 1e15  # what `t` counts as at most, so that it can be multiplied


class Sight(NamedTuple):
    """The pixels of a pass, and what they look at."""

    x: jax.Array  # [P, h w]
    y: jax.Array
    footprint: Footprint
    scales: Scales  # each [P, 1]
    live: jax.Array  # [P, 1] bool
    colored: jax.Array  # [P, 1] bool


def look(slots: Slots, settings: Settings) -> Sight:
    """Lays the numbers of a pass out; done anew in each stage, for it costs nothing there."""
    height, width = settings.window
    places = [divmod(pixel, width) for pixel in range(height * width)]
    down, across = jnp.array(places, jnp.int32).T  # constants, quicker than divisions there
    y = slots.windows.row[:, None] + down[None]
    x = slots.windows.column[:, None] + across[None]
    dtype = slots.footprints.dtype
    return Sight(
        pixel_centre(x, settings.image_size[1], dtype),
        pixel_centre(y, settings.image_size[0], dtype),
        footprints_of(slots.footprints),
        Scales(*(scale[:, None] for scale in slots.scales)),
        slots.windows.live[:, None],
        slots.colored[:, None],
    )


def signed_square(
    sight: Sight, edges: Triple, settings: Settings, squared: jax.Array | None = None
) -> jax.Array:
    """`t`, positive inside, -inf where the triangle does not reach.

    Args:
        sight: what is looked at.
        edges: the edge functions there.
        settings: which distance.
        squared: the squared distance, where it is known already.
    """
    inside = is_inside(edges)
    footprint, scales = sight.footprint, sight.scales
    if settings.distance == "hard":
        on_edge = (edges[0] >= 0) & (edges[1] >= 0) & (edges[2] >= 0)
        return jnp.where(on_edge & sight.live, CERTAIN, -jnp.inf).astype(edges[0].dtype)
    if settings.distance == "barycentric":
        lowest = lowest_barycentric(sight, edges)
        squared = lowest * lowest
        inside = lowest > 0
        if settings.faithful:
            # SoftRas looks no farther than this, as if barycentrics were places on screen.
            grown = 0.5 * settings.image_size[0] * jnp.sqrt(scales.reach)
            for place, corners in ((sight.x, footprint.x), (sight.y, footprint.y)):
                low, high = (
                    functools.reduce(jnp.minimum, corners),
                    functools.reduce(jnp.maximum, corners),
                )
                near = (place >= low - grown) & (place <= high + grown)
                squared = jnp.where(near, squared, jnp.inf)
                inside = inside & near
    elif squared is None:
        squared = footprint.distance(sight.x, sight.y)
    reached = sight.live & (inside | (squared < scales.reach))
    scaled = jnp.minimum(squared / scales.sigma, FARTHEST)
    return jnp.where(reached, jnp.where(inside, scaled, -scaled), -jnp.inf)


def lowest_barycentric(sight: Sight, edges: Triple) -> jax.Array:
    """The smallest of the screen barycentrics."""
    lowest = jnp.minimum(jnp.minimum(edges[0], edges[1]), edges[2])
    return lowest * jnp.abs(sight.footprint.inverse_area)


def interpolation(sight: Sight, edges: Triple, settings: Settings) -> Triple:
    """The weights of the corners' attributes."""
    footprint = sight.footprint
    shares = [
        share_of(edge, nearness, footprint.inverse_area, settings)
        for edge, nearness in zip(edges, footprint.nearness, strict=True)
    ]
    total = shares[0] + shares[1] + shares[2]
    return [weight_of(share, total, settings) for share in shares]


def share_of(
    edge: jax.Array, nearness: jax.Array, inverse_area: jax.Array, settings: Settings
) -> jax.Array:
    """What a corner's weight is proportional to, from the edge function opposite of it."""
    if settings.faithful:
        # SoftRas: clipped from above as well, and not perspective-correct.
        return jnp.clip(edge * jnp.abs(inverse_area), 0, 1)
    return jnp.maximum(edge, 0) * nearness


def weight_of(share: jax.Array, total: jax.Array, settings: Settings) -> jax.Array:
    """A corner's weight, from its share and that of all three."""
    if settings.faithful:
        return share / jnp.maximum(total, 1e-5)
    # Where rounding leaves nothing of a sliver, take its middle.
    return jnp.where(total > 0, share / jnp.where(total > 0, total, 1), 1 / 3)


def depth_at(sight: Sight, weights: Triple, settings: Settings) -> jax.Array:
    """The depth at a pixel, from `interpolation`."""
    z = sight.footprint.z
    if settings.faithful:
        nearness = sight.footprint.nearness
        closest, over = nearness[0] * z[0], mix(weights, nearness)
        return closest / jnp.where(over == 0, jnp.finfo(z[0].dtype).tiny, over)
    return mix(weights, z)


def in_range(sight: Sight, depth: jax.Array, settings: Settings) -> jax.Array:
    """Whether that depth is drawn; pieces are cut at `near` before."""
    if settings.faithful:
        return (depth >= sight.scales.near) & (depth <= sight.scales.far)
    return depth <= sight.scales.far


def argument_of(signed: jax.Array, settings: Settings) -> jax.Array:
    """What coverage and tally take, where the triangle reaches; elsewhere something harmless."""
    signed = jnp.where(signed > -jnp.inf, signed, 0)
    if settings.squared:
        return signed
    return jnp.sign(signed) * jnp.sqrt(jnp.abs(signed))


def is_covered(signed: jax.Array, sight: Sight, settings: Settings) -> jax.Array:
    """Where a triangle covers more than the cutoff."""
    reached = signed > -jnp.inf
    if settings.sure:
        return reached
    return reached & (settings.coverage(argument_of(signed, settings)) > sight.scales.cutoff)


def weigh(
    sight: Sight,
    signed: jax.Array,
    w0: jax.Array,
    w1: jax.Array,
    nearest: jax.Array,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    """`p_j`, and the depth, `nearest` where it is not drawn."""
    depth = depth_at(sight, [w0, w1, 1 - w0 - w1], settings)
    seen = is_covered(signed, sight, settings) & sight.colored & in_range(sight, depth, settings)
    depth = jnp.where(seen, depth, nearest)
    coverage = settings.coverage(argument_of(signed, settings))
    # Rounding may put a sliver in front of the nearest depth that another kernel found.
    behind = jnp.maximum(depth - nearest, 0)
    weight = coverage * jnp.exp(-sight.scales.sharpness * behind)
    return jnp.where(seen, weight, 0), depth
