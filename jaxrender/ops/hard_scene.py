"""What both ways of drawing a z-buffer share; shapes as in `hard.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.blocks import Bounds
from jaxrender.ops.triangles import (
    Corners,
    Edges,
    Planes,
    corner_ids,
    edges_of,
    is_drawable,
    is_front,
    pixel_bounds,
    pixel_centre,
    signed_area,
    sort_corners,
    to_pixels,
)

NO_OFFER = jnp.iinfo(jnp.int32).max


class Scene(NamedTuple):
    """The faces of all views, `B F` of them, one view after the other, ready to be drawn."""

    corners: Corners  # each [3, B F]
    bounds: Bounds  # each [B F]
    edges: Edges  # each [3, B F]
    first: jax.Array  # [B F] bool: whether the face is seen before others that are as near
    lowest: jax.Array  # [B] nearness behind which nothing is drawn
    highest: jax.Array  # [B] nearness in front of which nothing is drawn


# What drawing returns: the highest nearness; its face, counted through all views, -1 where there
# is none; and the shares of its corners, see `Planes`. Each `[B, H, W]`.
Drawn = tuple[jax.Array, jax.Array, list[jax.Array]]


def set_up(
    vertices: jax.Array,
    faces: jax.Array,
    near: jax.Array | None,
    *,
    views: int,
    image_size: tuple[int, int],
    cull: str,
    facing_first: bool,
    sort: Callable = sort_corners,
) -> tuple[Corners, Bounds, Edges, jax.Array]:
    """What drawing needs of the faces of all views, `B F` of them, one view after the other."""
    vertex_count, face_count = vertices.shape[1], faces.shape[1]
    perspective = near is not None

    # Find the corners in one list of vertices.
    ids, drawn = corner_ids(faces, vertex_count, views, shared=vertices.shape[0] == 1)
    axes = [axis.reshape(-1) for axis in to_pixels(vertices, image_size)]
    corners = Corners(*(axis[ids] for axis in axes))

    # Sort the corners of each face, so that its copies in another order get the same bits.
    given = corners
    corners, turned = sort(corners)

    # Leave out faces that cannot be drawn, or that turn their culled side.
    area = signed_area(corners)
    drawn &= is_drawable(corners, area, perspective=perspective)
    front = is_front(corners, area, perspective=perspective) ^ turned
    if cull != "none":
        drawn &= front == (cull == "back")

    # Bound their pixels, and set up their edges.
    if near is not None:
        near = jnp.broadcast_to(near[:, None], (views, face_count)).reshape(-1)
    bounds = pixel_bounds(corners, drawn, near, image_size=image_size)
    first = front if facing_first else jnp.ones_like(front)
    return given, bounds, edges_of(corners, perspective=perspective), first


def face_of(key: jax.Array) -> jax.Array:
    """The face that has a key, -1 for none.

    Of faces that tie the one of lowest key is seen. The key of a back is its number, that of a
    front its number less `NO_OFFER`: so all fronts come first, and no number of faces overflows.
    """
    return jnp.where(key == NO_OFFER, -1, jnp.where(key < 0, key + NO_OFFER, key))


def nearness_at(
    edges: Edges, x: jax.Array, y: jax.Array, low: jax.Array | None, high: jax.Array
) -> jax.Array:
    """The nearness of faces at pixels, -inf outside of a face or of the limits."""
    weights = edges.weights(x, y)
    inside = (weights[0] >= 0) & (weights[1] >= 0) & (weights[2] >= 0)
    nearness = edges.nearness(weights)
    inside = inside & (nearness < high)
    if low is not None:
        inside = inside & (nearness > low)
    return jnp.where(inside, nearness, -jnp.inf)


def look_at_planes(planes: Planes, face: jax.Array) -> list[jax.Array]:
    """The shares of the corners of the faces `[B, H, W]` that pixels see."""
    _, height, width = face.shape
    x, y = pixel_centres(height, width, planes.x_far.dtype)
    return planes.shares(jnp.maximum(face, 0), x[None], y[None])


def pixel_centres(height: int, width: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """X `[1, W]` and y `[H, 1]` in pixel coordinates."""
    x, y = (
        pixel_centre(jnp.arange(size, dtype=jnp.int32), size, dtype) for size in (width, height)
    )
    return x[None, :], y[:, None]
