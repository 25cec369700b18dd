"""The four operations of nvdiffrast on JAX arrays, of one view; and what a triangle shows where.

Positions are in clip space: a vertex `(x, y, z, w)` is seen at `(x/w, y/w)`, [-1, 1] across the
picture, at the depth `z/w`, -1 nearest and 1 farthest, which is linear on screen. **Row 0 is the
bottom.** With `(X, Y)` the pixel and `x' = x - X w`, `y' = y - Y w` of each corner,

    aₖ = x'ₖ₊₁ y'ₖ₊₂ - y'ₖ₊₁ x'ₖ₊₂        u = a₀ / Σ a        v = a₁ / Σ a

which holds too where a corner is behind the camera (Laine et al. 2020, arXiv:2011.03277).

Shapes: `V` vertices, `T` triangles, `H, W` picture, `A` attributes, `C` channels, `h, w` texture.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._edges import antialias as blend_edges
from jaxrender._types import Fragments, ScreenMesh
from jaxrender.ops import deterministic
from jaxrender.ops.hard import nearest_faces
from jaxrender.ops.hard.peel import FIRST, faces_behind
from jaxrender.ops.view import View

LEAST_W = 1e-6  # of the largest coordinate of a triangle: what has less is cut off


# --- rasterisation --------------------------------------------------------------------------------


def frustum(image_size: tuple[int, int], dtype: np.dtype) -> View:
    """Depths from -1 to 1, both included."""
    near, far = (np.nextafter(dtype.type(limit), dtype.type(2 * limit)) for limit in (-1, 1))
    return View(jnp.asarray(near), jnp.asarray(far), image_size, "none", perspective=False)


def on_screen(pos: jax.Array) -> jax.Array:
    """Positions `[V, 4]` as `(x/w, y/w, z/w)`."""
    w = pos[:, 3:]
    return pos[:, :3] / jnp.where(w == 0, 1, w)


def triangles_seen(screen: jax.Array, tri: jax.Array, image_size: tuple[int, int]) -> jax.Array:
    """The nearest triangle `[H, W]` int32 at each pixel, -1 for none."""
    view = frustum(image_size, screen.dtype)
    return nearest_faces(screen, tri, view)[0][::-1]


def first_bound(views: int, image_size: tuple[int, int], dtype: np.dtype) -> jax.Array:
    """Reversed depths `[B, H, W]` behind which everything lies."""
    return jnp.full((views, *image_size), jnp.inf, dtype)


def triangles_behind(
    screen: jax.Array, tri: jax.Array, bound: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The nearest triangle `[H, W]` that is farther than a bound, and the next bound."""
    everything = jnp.isposinf(bound)
    key = jnp.where(everything, FIRST, jnp.iinfo(jnp.int32).max)
    view = frustum((bound.shape[0], bound.shape[1]), screen.dtype)
    reversed_depth, _, face, _ = faces_behind(screen, tri, view, bound, key)
    return face[::-1], reversed_depth


def surface_points(
    pos: jax.Array, tri: jax.Array, face: jax.Array, *, grad_db: bool
) -> tuple[jax.Array, jax.Array]:
    """What pixels see: `(u, v, z/w, id + 1)` and `(du/dX, du/dY, dv/dX, dv/dY)`, each `[H, W, 4]`.

    Gradient: exact, of u, v and, with `grad_db`, their derivatives to `pos`; z/w and ids have none.
    """
    height, width = face.shape
    if not tri.shape[0]:
        return jnp.zeros((height, width, 4), pos.dtype), jnp.zeros((height, width, 4), pos.dtype)
    seen = face >= 0
    corners = deterministic.gather(pos, deterministic.gather(tri, jnp.maximum(face, 0)))
    # Scale each triangle to 1, which changes no ratio, so that no product overflows.
    scale = jax.lax.stop_gradient(jnp.abs(corners).max((-2, -1), keepdims=True))
    x, y, z, w = jnp.moveaxis(corners / jnp.where(scale > 0, scale, 1), -1, 0)
    column, row = jnp.arange(width, dtype=pos.dtype), jnp.arange(height, dtype=pos.dtype)
    at_x = jnp.broadcast_to((2 * column[None, :] + 1 - width) / width, face.shape)
    at_y = jnp.broadcast_to((2 * row[:, None] + 1 - height) / height, face.shape)

    def areas(at_x: jax.Array, at_y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Each corner's `aₖ` `[H, W, 3]`, and their sum, which is never 0."""
        dx, dy = x - at_x[..., None] * w, y - at_y[..., None] * w
        area = _cross(dx, dy)
        total = area.sum(-1)
        return area, jnp.where(seen & (total != 0), total, 1)

    def uv(at_x: jax.Array, at_y: jax.Array) -> jax.Array:
        area, total = areas(at_x, at_y)
        return jnp.where(seen[..., None], area[..., :2] / total[..., None], 0)

    # Differentiate by the pixel's place, whose step is 2 / W, or 2 / H.
    steps = jnp.full_like(at_x, 2 / width), jnp.full_like(at_y, 2 / height)
    here, by_x = jax.jvp(lambda at_x: uv(at_x, at_y), (at_x,), steps[:1])
    _, by_y = jax.jvp(lambda at_y: uv(at_x, at_y), (at_y,), steps[1:])
    slopes = jnp.stack([by_x, by_y], -1).reshape(height, width, 4)

    # Keep rounding inside of the triangle; that has no part in the gradient.
    inside = jnp.clip(here, 0, 1)
    inside = inside / jnp.maximum(inside.sum(-1, keepdims=True), 1)
    here = here + jax.lax.stop_gradient(inside - here)
    area, _ = areas(at_x, at_y)
    over, under = (z * area).sum(-1), (w * area).sum(-1)
    depth = jnp.clip(over / jnp.where(under == 0, 1, under), -1, 1)
    depth = jax.lax.stop_gradient(jnp.where(seen, depth, 0))
    number = (face + 1).astype(pos.dtype)
    points = jnp.concatenate([here, jnp.stack([depth, number], -1)], -1)
    return points, slopes if grad_db else jax.lax.stop_gradient(slopes)


def _cross(x: jax.Array, y: jax.Array) -> jax.Array:
    """`aₖ` of corners `[..., 3]`."""
    following, last = (1, 2, 0), (2, 0, 1)
    return x[..., following] * y[..., last] - y[..., following] * x[..., last]


def cut_at_the_frustum(pos: np.ndarray, tri: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts in front of the camera of triangles that reach behind it.

    Args:
        pos: `[T, 3, 4]` the corners of those triangles.
        tri: `[T]` their numbers.

    Returns:
        `[N, 3, 3]` corners on screen, and `[N]` the triangle that each is part of.
    """
    parts, numbers = [], []
    for corners, number in zip(pos.astype(np.float64), tri, strict=True):
        if not np.isfinite(corners).all():
            continue
        least = LEAST_W * np.abs(corners).max()
        _, _, z, w = np.eye(4)
        polygon = corners
        for plane, limit in ((w + z, 0.0), (w - z, 0.0), (w, least)):
            polygon = _cut(polygon, polygon @ plane - limit)
        screen = polygon[:, :3] / polygon[:, 3:]
        for k in range(1, len(screen) - 1):
            parts.append(screen[[0, k, k + 1]])
            numbers.append(number)
    return np.reshape(parts, (-1, 3, 3)), np.asarray(numbers, np.int32)


def _cut(polygon: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The part `[M, 4]` of a convex polygon where a function, given at its corners, is > 0."""
    kept = []
    for k in range(len(polygon)):
        here, there = inside[k - 1], inside[k]
        if (here > 0) != (there > 0):
            share = here / (here - there)
            kept.append((1 - share) * polygon[k - 1] + share * polygon[k])
        if there > 0:
            kept.append(polygon[k])
    return np.reshape(kept, (-1, 4))


# --- interpolation --------------------------------------------------------------------------------


def interpolated(attr: jax.Array, rast: jax.Array, tri: jax.Array) -> jax.Array:
    """Attributes `[V, A]` where pixels look, `[H, W, A]`; 0 where they see nothing."""
    seen, corners = _corners(attr, rast, tri)
    u, v = rast[..., 0:1], rast[..., 1:2]
    here = u * corners[..., 0, :] + v * corners[..., 1, :] + (1 - u - v) * corners[..., 2, :]
    return jnp.where(seen, here, 0)


def attribute_slopes(
    attr: jax.Array, rast: jax.Array, tri: jax.Array, rast_db: jax.Array
) -> jax.Array:
    """Their derivatives `(dA/dX, dA/dY)` for each in turn, `[H, W, 2 A]`."""
    seen, corners = _corners(attr, rast, tri)
    by_uv = corners[..., :2, :] - corners[..., 2:, :]
    by_pixel = rast_db.reshape(*rast.shape[:2], 2, 2)
    slopes = jnp.einsum("hwka,hwkd->hwad", by_uv, by_pixel, precision="highest")
    return jnp.where(seen, slopes.reshape(*rast.shape[:2], -1), 0)


def seen_triangle(rast: jax.Array) -> jax.Array:
    """The triangle at each pixel `[H, W]` int32, -1 for none."""
    return jnp.round(rast[..., 3]).astype(jnp.int32) - 1


def _corners(attr: jax.Array, rast: jax.Array, tri: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether a pixel sees something `[H, W, 1]`, and the attributes of its corners."""
    face = seen_triangle(rast)
    seen = face >= 0
    if not tri.shape[0]:
        return seen[..., None], jnp.zeros((*face.shape, 3, attr.shape[1]), attr.dtype)
    corners = deterministic.gather(tri, jnp.maximum(face, 0))
    return seen[..., None], deterministic.gather(attr, corners)


# --- textures -------------------------------------------------------------------------------------


class _Tap(NamedTuple):
    """A texel that is read, with its weight."""

    column: jax.Array  # [H, W] int32
    row: jax.Array
    weight: jax.Array  # [H, W]


def sampled(tex: jax.Array, uv: jax.Array, *, linear: bool, boundary: str) -> jax.Array:
    """A texture `[h, w, C]`, or cube map `[6, w, w, C]`, read at `uv`, to `[H, W, C]`.

    Gradient: exact to `tex`; to `uv` that of the blend of texels, none without.
    """
    *_, height, width, channels = tex.shape
    texels = tex.reshape(-1, channels)
    valid = jnp.isfinite(uv).all(-1)
    uv = jnp.where(valid[..., None], uv, 0)
    if boundary == "cube":
        side, s, t, known = _cube_side(uv)
        valid &= known
    else:
        side, (s, t) = jnp.zeros(uv.shape[:2], jnp.int32), (uv[..., 0], uv[..., 1])
        if boundary == "wrap":
            s, t = (x - jax.lax.stop_gradient(jnp.floor(x)) for x in (s, t))
    if not linear:
        column, row = (jnp.floor(x * n) for x, n in ((s, width), (t, height)))
        taps = [_Tap(column, row, jnp.ones_like(s))]
    else:
        s, t = s * width - 0.5, t * height - 0.5
        if boundary == "clamp":
            s, t = jnp.clip(s, 0, width - 1), jnp.clip(t, 0, height - 1)
        left, below = jnp.floor(s), jnp.floor(t)
        x, y = s - left, t - below
        taps = [
            _Tap(left + i, below + j, (x if i else 1 - x) * (y if j else 1 - y))
            for j in (0, 1)
            for i in (0, 1)
        ]
    result = jnp.zeros((*uv.shape[:2], channels), tex.dtype)
    if boundary == "cube" and linear:
        taps = _share_corners(taps, width)
    for column, row, weight in taps:
        within = valid
        if boundary == "zero":
            within &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = _texel(side, column, row, width, height, boundary if linear else "clamp")
        color = deterministic.gather(texels, index)
        result += jnp.where(within[..., None], color * weight[..., None], 0)
    return result


def _texel(
    side: jax.Array, column: jax.Array, row: jax.Array, width: int, height: int, boundary: str
) -> jax.Array:
    """The number of a texel that may lie one beside the texture."""
    if boundary == "wrap":
        column, row = column % width, row % height
    elif boundary == "cube":
        side, column, row = _around_the_edge(side, column, row, width)
    column = jnp.clip(column, 0, width - 1).astype(jnp.int32)
    row = jnp.clip(row, 0, height - 1).astype(jnp.int32)
    return (side * height + row) * width + column


# The sides of a cube map as OpenGL numbers them: +x, -x, +y, -y, +z, -z. Of each its main axis,
# and the axes along which s and t grow, with their signs.
_MAIN = np.array([0, 0, 1, 1, 2, 2])
_S_AXIS, _S_SIGN = np.array([2, 2, 0, 0, 0, 0]), np.array([-1, 1, 1, 1, 1, -1])
_T_AXIS, _T_SIGN = np.array([1, 1, 2, 2, 1, 1]), np.array([-1, -1, 1, -1, -1, -1])


def _cube_side(
    direction: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The side that a direction `[H, W, 3]` meets, where `[0, 1]²` on it, and whether it does."""
    x, y, z = (jnp.abs(direction[..., k]) for k in range(3))
    main = jnp.where(z > jnp.maximum(x, y), 2, jnp.where(y > x, 1, 0))
    ahead = _along(direction, main)
    side = 2 * main + (ahead < 0)
    known = ahead != 0
    scale = 0.5 / jnp.abs(jnp.where(known, ahead, 1))
    s, t = (
        _along(direction, jnp.asarray(axis)[side])
        * jnp.asarray(sign, direction.dtype)[side]
        * scale
        for axis, sign in ((_S_AXIS, _S_SIGN), (_T_AXIS, _T_SIGN))
    )
    return side.astype(jnp.int32), jnp.clip(s + 0.5, 0, 1), jnp.clip(t + 0.5, 0, 1), known


def _along(direction: jax.Array, axis: jax.Array) -> jax.Array:
    """The component of directions `[..., 3]` along axes `[...]`."""
    x, y, z = (direction[..., k] for k in range(3))
    return jnp.where(axis == 0, x, jnp.where(axis == 1, y, z))


def _around_the_edge(
    side: jax.Array, column: jax.Array, row: jax.Array, width: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The texel that a texel beside one side of the cube is on the neighbouring side."""
    # Take the texel's middle on the plane of the side, in half texels from the side's middle, and
    # fold what is over the edge: it is as far down the next side as it was over.
    s, t = 2 * column + 1 - width, 2 * row + 1 - width
    over = jnp.maximum(jnp.maximum(jnp.abs(s), jnp.abs(t)) - width, 0)
    ahead = (width - over) * (1 - 2 * (side % 2))
    parts = [
        (_MAIN, ahead),
        (_S_AXIS, jnp.clip(s, -width, width) * jnp.asarray(_S_SIGN, s.dtype)[side]),
        (_T_AXIS, jnp.clip(t, -width, width) * jnp.asarray(_T_SIGN, s.dtype)[side]),
    ]
    place: Any = sum(
        value[..., None] * jax.nn.one_hot(jnp.asarray(axis)[side], 3, dtype=s.dtype)
        for axis, value in parts
    )
    other, s, t, _ = _cube_side(place)
    return other, jnp.floor(s * width), jnp.floor(t * width)


def _share_corners(taps: list[_Tap], width: int) -> list[_Tap]:
    """Gives the weight of a texel beyond a corner of the cube, where there is none, to the rest."""
    beyond = [
        ((tap.column < 0) | (tap.column >= width)) & ((tap.row < 0) | (tap.row >= width))
        for tap in taps
    ]
    lost = sum(jnp.where(out, tap.weight, 0) for tap, out in zip(taps, beyond, strict=True))
    return [
        tap._replace(weight=jnp.where(out, 0, tap.weight + lost / 3))
        for tap, out in zip(taps, beyond, strict=True)
    ]


# --- antialiasing ---------------------------------------------------------------------------------


def antialiased(
    color: jax.Array,
    rast: jax.Array,
    pos: jax.Array,
    tri: jax.Array,
    edges: jax.Array,
    boost: jax.Array,
) -> jax.Array:
    """`jaxrender.antialias` of a picture `[H, W, C]` whose row 0 is the bottom.

    Gradient: as there, that to `pos` times `boost`.
    """
    screen = on_screen(pos + (boost - 1) * (pos - jax.lax.stop_gradient(pos)))
    # Turn the screen upside down, as the picture is.
    screen = screen * jnp.asarray([[1, -1, 1]], screen.dtype)
    face = seen_triangle(rast)
    fragments = Fragments(face, jnp.zeros((*face.shape, 3), rast.dtype), rast[..., 2])
    return blend_edges(color, fragments, ScreenMesh(screen, tri, perspective=False), edges=edges)
