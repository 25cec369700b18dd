"""The colours of triangles at the pixels of a pass, and what the gradient to them pulls at.

Shapes and symbols as in `soft.py`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.footprints import mix
from jaxrender.ops.soft_scene import Slots
from jaxrender.ops.soft_types import Paint, Settings


def corner_attributes(slots: Slots) -> list[list[jax.Array]]:
    """The attributes of the three corners, each `[P, 1]`."""
    count = slots.attributes.shape[0] // 3
    rows = [slots.attributes[k][:, None] for k in range(3 * count)]
    return [rows[:count], rows[count : 2 * count], rows[2 * count :]]


def attributes_at(slots: Slots, w0: jax.Array, w1: jax.Array, *, flat: bool) -> list[jax.Array]:
    """The attributes at each pixel."""
    if flat:
        return [jnp.broadcast_to(value, w0.shape) for value in corner_attributes(slots)[0]]
    weights = [w0, w1, 1 - w0 - w1]
    return [mix(weights, list(corners)) for corners in zip(*corner_attributes(slots), strict=True)]


def taps_of(slots: Slots, attributes: list[jax.Array], paint: Paint) -> tuple[list, list]:
    """The rows of the view's table that pixels read, and their weights; none without taps."""
    if paint.taps is None:
        return [], []
    places = [slots.places[k][:, None] for k in range(slots.places.shape[0])]
    return paint.taps(places, attributes)


def paint_at(slots: Slots, attributes: list[jax.Array], paint: Paint) -> list[jax.Array]:
    """The colours of the triangles at each pixel."""
    texel = []
    if paint.taps is not None:
        rows, weights = taps_of(slots, attributes, paint)
        texel = blend_texels(read_rows(slots, rows), weights)
    return attributes if paint.mix is None else paint.mix(texel, attributes)


def read_rows(slots: Slots, rows: list[jax.Array]) -> list[list[jax.Array]]:
    """The channels of each of the rows at each pixel."""
    first = slots.first_row[:, None]
    read = [jnp.take(slots.table, first + row, axis=0, mode="clip") for row in rows]
    return [[texel[..., c] for c in range(slots.table.shape[-1])] for texel in read]


def blend_texels(read: list[list[jax.Array]], weights: list[jax.Array]) -> list[jax.Array]:
    """The channels of the texels that were read, weighted."""
    return [
        functools.reduce(jnp.add, map(jnp.multiply, channel, weights))
        for channel in zip(*read, strict=True)
    ]


def reads_table(settings: Settings) -> bool:
    """Whether the table is to be differentiated."""
    paint = settings.paint
    return settings.wanted.table and paint is not None and paint.taps is not None


class Pulled(NamedTuple):
    """What the colours of a pass, and through them their attributes and texels, are pulled."""

    colors: list[jax.Array]
    attributes: list[jax.Array]  # the gradient to them
    rows: list[jax.Array]  # of the table, each with its gradient
    texels: list[jax.Array]  # [P, h w, C']; none where nobody asks for it


def pull_paint(
    slots: Slots, attributes: list[jax.Array], upstream: list[jax.Array], settings: Settings
) -> Pulled:
    """`paint_at`, and the gradients that `upstream` at its colours has."""
    paint = settings.paint or Paint(0)
    if paint.mix is None and paint.taps is None:
        return Pulled(attributes, upstream, [], [])

    # Read the texels again.
    rows, weights, read, texel, pull_weights = [], [], [], [], None
    if paint.taps is not None:
        rows, _ = taps_of(slots, attributes, paint)
        weights, pull_weights = jax.vjp(lambda values: taps_of(slots, values, paint)[1], attributes)
        read = read_rows(slots, rows)
        texel = blend_texels(read, weights)

    # Go back through the mixing, then through the reading.
    if paint.mix is None:
        colors, by_texel, by_attributes = texel, upstream, [jnp.zeros_like(a) for a in attributes]
    else:
        colors, pull = jax.vjp(paint.mix, texel, attributes)
        by_texel, by_attributes = pull(upstream)
    if pull_weights is None:
        return Pulled(colors, by_attributes, [], [])
    by_weights = [functools.reduce(jnp.add, map(jnp.multiply, row, by_texel)) for row in read]
    (moved,) = pull_weights(by_weights)
    by_attributes = list(map(jnp.add, by_attributes, moved))
    if not reads_table(settings):
        return Pulled(colors, by_attributes, [], [])
    texels = [jnp.stack([weight * part for part in by_texel], -1) for weight in weights]
    return Pulled(colors, by_attributes, rows, texels)
