"""Faces cut at the near plane: the triangles in front of it that a rasteriser can draw.

A face across the near plane leaves a triangle or a quadrilateral in front of it, which is two
triangles; so every face has two pieces, of which the second is empty for almost all. The cut is
made in homogeneous coordinates `(x z, y z, z)`, in which edges are straight wherever their
ends lie, the camera plane included (Blinn and Newell 1978). Plain JAX: gradients go through.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.deterministic import gather
from jaxrender.ops.triangles import MIN_AREA, Corners, is_drawable, is_front, signed_area, to_pixels


class Pieces(NamedTuple):
    """Triangles to draw: first the first pieces of all faces, then the second ones."""

    corners: jax.Array  # [2 F, 3, 3] of each corner: pixel coordinates x, y, and depth
    shares: jax.Array  # [2 F, 3, 3] of each corner: its barycentrics in the face
    drawn: jax.Array  # [2 F] bool


def cut_faces(
    vertices: jax.Array,
    faces: jax.Array,
    near: jax.Array,
    *,
    image_size: tuple[int, int],
    perspective: bool,
    cull: str,
) -> Pieces:
    """The pieces of the faces of one view.

    Args:
        vertices: `[V, 3]` screen space.
        faces: `[F, 3]` int32; one with an index out of range has no piece.
        near: `[]` depth at which faces are cut.
        image_size: `(H, W)`.
        perspective: whether 1/z (True) or z (False) is linear on screen.
        cull: which side is not drawn: "none", "back" or "front".
    """
    corners, usable = _corners_of(vertices, faces, image_size)

    # Turn the corner that is alone on its side of the near plane to the first place.
    front = (corners[..., 2] >= near).astype(jnp.int32)
    in_front = front.sum(-1)
    alone = jnp.argmax(jnp.where((in_front == 1)[:, None], front, 1 - front), axis=-1)
    alone = jnp.where((in_front == 1) | (in_front == 2), alone, 0)
    corners = _turned(corners, alone)
    shares = _turned(jnp.eye(3, dtype=vertices.dtype)[None], alone)

    # Cut the two edges that leave it.
    first, one, other = (corners[:, k] for k in range(3))
    cut_one, one_shares = _cut(first, one, shares[:, 0], shares[:, 1], near, perspective)
    cut_other, other_shares = _cut(first, other, shares[:, 0], shares[:, 2], near, perspective)

    def pieces(whole, tip, quad_1, quad_2):
        kind = in_front[:, None, None]
        one = jnp.where(kind == 3, whole, jnp.where(kind == 1, tip, quad_1))
        return jnp.concatenate([one, quad_2])

    cut = pieces(
        corners,
        jnp.stack([first, cut_one, cut_other], 1),
        jnp.stack([one, other, cut_other], 1),
        jnp.stack([one, cut_other, cut_one], 1),
    )
    cut_shares = pieces(
        shares,
        jnp.stack([shares[:, 0], one_shares, other_shares], 1),
        jnp.stack([shares[:, 1], shares[:, 2], other_shares], 1),
        jnp.stack([shares[:, 1], other_shares, one_shares], 1),
    )

    # Leave out what is behind, cannot be drawn, or turns its culled side.
    exists = jnp.concatenate([usable & (in_front > 0), usable & (in_front == 2)])
    axes = Corners(*cut.transpose(2, 1, 0))
    area = signed_area(axes)
    drawn = exists & is_drawable(axes, area, perspective=perspective)
    if cull != "none":
        drawn &= is_front(axes, area, perspective=perspective) == (cull == "back")
    return Pieces(cut, cut_shares, drawn)


def whole_faces(
    vertices: jax.Array, faces: jax.Array, *, image_size: tuple[int, int], cull: str
) -> tuple[Pieces, jax.Array]:
    """Faces as SoftRas takes them, uncut, and which of them `[F]` are not culled.

    Its corners behind the camera lie on screen where the division by `z` puts them. What it makes
    of a face without area is lost in rounding; nothing, as a rule, so these are not drawn.
    """
    corners, usable = _corners_of(vertices, faces, image_size)
    axes = Corners(*corners.transpose(2, 1, 0))
    area = signed_area(axes)
    extent = (corners[..., :2].max(1) - corners[..., :2].min(1)).max(-1)
    rounding = 8 * jnp.finfo(corners.dtype).eps * max(image_size) * extent
    usable &= jnp.abs(area) > jnp.maximum(rounding, MIN_AREA * image_size[0] * image_size[1] / 4)
    kept = jnp.full(usable.shape, True)
    if cull != "none":
        kept = is_front(axes, area, perspective=False) == (cull == "back")
    shares = jnp.broadcast_to(jnp.eye(3, dtype=vertices.dtype), corners.shape)
    return Pieces(corners, shares, usable), kept


def _corners_of(
    vertices: jax.Array, faces: jax.Array, image_size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """The corners of faces `[F, 3, 3]`, and which faces have three that are there and finite."""
    count = vertices.shape[0]
    places = jnp.stack(to_pixels(vertices, image_size), -1)
    corners = gather(places, faces)
    usable = ((faces >= 0) & (faces < count)).all(-1) & jnp.isfinite(corners).all((1, 2))
    return jnp.where(usable[:, None, None], corners, 1), usable


def _turned(corners: jax.Array, first: jax.Array) -> jax.Array:
    """What the corners `[F or 1, 3, n]` of faces have, from the corner `first` `[F]` on."""
    # A choice of three; as a gather, and in the gradient a scatter, it would need lists of places.
    one, two = (jnp.roll(corners, -k, axis=1) for k in (1, 2))
    first = first[:, None, None]
    return jnp.where(first == 0, corners, jnp.where(first == 1, one, two))


def _cut(
    a: jax.Array,
    b: jax.Array,
    a_shares: jax.Array,
    b_shares: jax.Array,
    near: jax.Array,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """Where edges from corners `a` to corners `b` `[F, 3]` meet the near plane, if they do."""
    za, zb = a[:, 2:], b[:, 2:]
    crosses = (za >= near) != (zb >= near)
    t = jnp.where(crosses, near - za, 0) / jnp.where(crosses, zb - za, 1)
    xy = (1 - t) * a[:, :2] + t * b[:, :2]
    if perspective:
        # The camera plane itself has no place on screen; its points lie before `near` anyway.
        xy = ((1 - t) * a[:, :2] * za + t * b[:, :2] * zb) / jnp.where(crosses, near, 1)
    z = jnp.broadcast_to(near, za.shape).astype(a.dtype)
    return jnp.concatenate([xy, z], -1), (1 - t) * a_shares + t * b_shares
