"""Scenes made ready for the passes; shapes as in `__init__.py`."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.blocks import Bounds
from jaxrender.ops.clip import box_in_front
from jaxrender.ops.triangle import (
    BarycentricPlanes,
    Box,
    Candidates,
    Corners,
    Edges,
    candidates_of,
    corner_indices,
    is_drawn,
    pixel_centre,
    reason_not_drawn,
    set_up_edges,
    sort_corners,
    to_pixels,
    wins_ties,
)
from jaxrender.ops.view import View


class Scene(NamedTuple):
    """The faces of all views, `B F` of them, one view after the other, ready to be drawn."""

    corners: Corners  # each [3, B F]
    bounds: Bounds  # each [B F]
    edges: Edges  # each [3, B F]
    wins_ties: jax.Array  # [B F] bool, of `triangle.wins_ties`
    reversed_far: jax.Array  # [B] reversed depth behind which nothing is drawn
    reversed_near: jax.Array  # [B] reversed depth in front of which nothing is drawn


# What drawing returns: the reversed depth of the nearest face; that face, counted through all
# views, -1 where there is none; and its `BarycentricPlanes.over_z`. Each `[B, H, W]`.
Drawn = tuple[jax.Array, jax.Array, list[jax.Array]]


def set_up(
    vertices: jax.Array,
    faces: jax.Array,
    view: View,
    *,
    views: int,
    facing_first: bool,
) -> tuple[Corners, Bounds, Edges, jax.Array]:
    """What drawing needs of the faces of all views, `B F` of them, one view after the other.

    The limits of `view` are `[B or 1]`.
    """
    given, box, candidates = _candidates(vertices, faces, view, views=views)
    # A box beside the picture has no pixels, which need not be tested.
    bounds = box.pixels(view.image_size)
    bottom = jnp.where(is_drawn(candidates._replace(box=None)), bounds.bottom, -1)
    edges = set_up_edges(candidates.corners, perspective=view.perspective)
    wins = wins_ties(candidates, facing_first=facing_first)
    return given, bounds._replace(bottom=bottom), edges, wins


def reasons_not_drawn(vertices: jax.Array, faces: jax.Array, view: View) -> tuple[jax.Array, Box]:
    """Why the faces of one view are not drawn: a `Reason` `[F]` each, and their boxes."""
    view = jax.tree.map(lambda limit: limit[None], view)
    _, box, candidates = _candidates(vertices[None], faces[None], view, views=1)
    return reason_not_drawn(candidates), box


def _candidates(
    vertices: jax.Array,
    faces: jax.Array,
    view: View,
    *,
    views: int,
) -> tuple[Corners, Box, Candidates]:
    """The corners of faces as given, their boxes, and what is to be tested."""
    vertex_count, face_count = vertices.shape[1], faces.shape[1]

    # Find the corners in one list of vertices.
    index, in_range = corner_indices(faces, vertex_count, views, shared=vertices.shape[0] == 1)
    axes = [axis.reshape(-1) for axis in to_pixels(vertices, view.image_size)]
    given = Corners(*(axis[index] for axis in axes))

    # Sort the corners of each face, so that its copies in another order get the same bits.
    corners, turned = sort_corners(given)

    # Bound the part in front of the near plane.
    near, far = (
        jnp.broadcast_to(limit[:, None], (views, face_count)).reshape(-1) for limit in view.limits
    )
    box = box_in_front(corners, near if view.perspective else None)
    candidates = candidates_of(
        corners, view, turned=turned, exists=in_range, near=near, far=far, box=box
    )
    return given, box, candidates


def reversed_depth_at(
    edges: Edges,
    x: jax.Array,
    y: jax.Array,
    reversed_far: jax.Array,
    reversed_near: jax.Array,
) -> jax.Array:
    """The reversed depth of faces at pixels, -inf outside of a face or of the limits."""
    functions = edges.functions_at(x, y)
    inside = (functions[0] >= 0) & (functions[1] >= 0) & (functions[2] >= 0)
    reversed_depth = edges.reversed_depth(functions)
    inside = inside & (reversed_depth < reversed_near) & (reversed_depth > reversed_far)
    return jnp.where(inside, reversed_depth, -jnp.inf)


def over_z_of(planes: BarycentricPlanes, face: jax.Array) -> list[jax.Array]:
    """The barycentrics over z in the faces `[B, H, W]` that pixels see."""
    _, height, width = face.shape
    x, y = pixel_centres(height, width, planes.x_far.dtype)
    return planes.over_z(jnp.maximum(face, 0), x[None], y[None])


def pixel_centres(height: int, width: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """X `[1, W]` and y `[H, 1]` in pixel coordinates."""
    x, y = (
        pixel_centre(jnp.arange(size, dtype=jnp.int32), size, dtype) for size in (width, height)
    )
    return x[None, :], y[:, None]
