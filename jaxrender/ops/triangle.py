"""The geometry of one triangle and one point, in pixel coordinates.

Pixel coordinates have their origin in the middle of the picture, `y` down: the centre of the pixel
in row `i`, column `j` is the point `(j - (W - 1) / 2, i - (H - 1) / 2)`, exactly. So nothing is
added to what `project` returns, and small coordinates keep all their digits. All functions are
elementwise: corners and points may have any shapes that broadcast.

A corner behind the camera has `z < 0` and its `x, y` divided by that `z`. With `w_m` the screen
barycentric of corner `m`, the point at perspective-correct barycentrics `b` seen at a pixel has

    b_m / z = w_m / z_m        1 / z = Σ_m w_m / z_m

These are the edge functions of 2D homogeneous coordinates (Olano and Greer 1997), so the part
of a triangle in front of the camera is exactly where all three `w_m / z_m >= 0`: a triangle
across the camera plane needs no clipping.
"""

from __future__ import annotations

import enum
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.blocks import Bounds
from jaxrender.ops.deterministic import gather_each
from jaxrender.ops.view import View

# A triangle is degenerate up to twice this area, in square pixels, or where a corner's depth is
# smaller than this; beyond, 1 / (area z) and its derivatives are finite in float32.
MIN_AREA = 1e-10
MIN_DEPTH = 1e-13
FARTHEST = 1e17  # pixel coordinates are clipped to this, so that no product overflows


class Corners(NamedTuple):
    """The corners of triangles: pixel coordinates and camera-space depth, each `[3, ...]`."""

    x: jax.Array
    y: jax.Array
    z: jax.Array


class Box(NamedTuple):
    """Bounding boxes in pixel coordinates, each `[F]`; inside out where there is nothing."""

    left: jax.Array
    top: jax.Array
    right: jax.Array
    bottom: jax.Array

    def misses(self, image_size: tuple[int, int]) -> jax.Array:
        """Whether a box lies beside the picture."""
        height, width = image_size
        beside = (self.right < -0.5 * width) | (self.left > 0.5 * width)
        return beside | (self.bottom < -0.5 * height) | (self.top > 0.5 * height)

    def pixels(self, image_size: tuple[int, int]) -> Bounds:
        """The pixels whose centres lie in the box."""
        left, right = pixel_span(self.left, self.right, image_size[1])
        top, bottom = pixel_span(self.top, self.bottom, image_size[0])
        return Bounds(top, left, bottom, right)


def to_pixels(
    vertices: jax.Array, image_size: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixel coordinates and depth of screen-space vertices `[..., 3]`."""
    height, width = image_size
    x = 0.5 * width * vertices[..., 0]
    y = -0.5 * height * vertices[..., 1]
    return jnp.clip(x, -FARTHEST, FARTHEST), jnp.clip(y, -FARTHEST, FARTHEST), vertices[..., 2]


def pixel_centre(pixel: jax.Array, size: int, dtype: jnp.dtype) -> jax.Array:
    """The pixel coordinate of the centres of pixels, counted from 0, of a picture `size` wide."""
    return pixel.astype(dtype) - 0.5 * (size - 1)


def corner_indices(
    faces: jax.Array, vertex_count: int, views: int, *, shared: bool
) -> tuple[jax.Array, jax.Array]:
    """Where the corners of all views' faces lie in one list of vertices, view after view.

    Args:
        faces: `[B or 1, F, 3]` int32.
        vertex_count: of one view.
        views: `B`.
        shared: whether all views have the same vertices, which the list then holds once.

    Returns:
        `[3, B F]` int32 indices, those out of range clipped, and `[B F]` whether all of a face
        are in range.
    """
    first = jnp.arange(views, dtype=jnp.int32) * (0 if shared else vertex_count)
    index = (jnp.clip(faces, 0, vertex_count - 1) + first[:, None, None]).reshape(-1, 3)
    in_range = ((faces >= 0) & (faces < vertex_count)).all(-1)
    return index.T, jnp.broadcast_to(in_range, (views, faces.shape[1])).reshape(-1)


def signed_area(corners: Corners) -> jax.Array:
    """Twice the signed area, square pixels; positive is clockwise to the eye."""
    (x0, x1, x2), (y0, y1, y2), _ = corners
    return edge_function(x2, y2, x0, y0, x1 - x0, y1 - y0)


def is_far_corner(corners: Corners) -> jax.Array:
    """Which corner `[3, ...]` of triangles is the farthest from the camera, the first of equals."""
    z0, z1, z2 = corners.z
    is_first = (z0 >= z1) & (z0 >= z2)
    is_second = ~is_first & (z1 >= z2)
    return jnp.stack([is_first, is_second, ~is_first & ~is_second])


def area_from_far_corner(corners: Corners) -> jax.Array:
    """`signed_area`, by the two sides that meet in the farthest corner.

    A corner close to the camera plane lies so far away on screen that the product of two sides
    that meet there has no digit left of the area.
    """
    is_far = is_far_corner(corners)
    turned = (
        jnp.stack([jnp.where(is_far, jnp.roll(axis, -k, 0), 0).sum(0) for k in range(3)])
        for axis in corners
    )
    return signed_area(Corners(*turned))


def is_front(corners: Corners, area: jax.Array, *, perspective: bool) -> jax.Array:
    """Whether a triangle is counter-clockwise to the eye, wherever its corners lie."""
    if not perspective:
        return area < 0
    behind = (corners.z[0] < 0) ^ (corners.z[1] < 0) ^ (corners.z[2] < 0)
    return (area < 0) ^ behind


def is_culled(front: jax.Array, cull: str) -> jax.Array:
    """Whether a triangle turns the side that is not drawn; `cull` is "none", "back" or "front"."""
    if cull == "none":
        return jnp.zeros_like(front)
    return front != (cull == "back")


class Reason(enum.IntEnum):
    """Whether a triangle is drawn, and if not, why; see `is_drawn`."""

    DRAWN = 0
    INDEX_OUT_OF_RANGE = 1
    NOT_FINITE = 2
    ON_CAMERA_PLANE = 3
    NO_AREA = 4
    BEFORE_NEAR = 5
    BEYOND_FAR = 6
    OFF_PICTURE = 7
    CULLED = 8


class Candidates(NamedTuple):
    """Triangles, and what a rasteriser knows of them; what is None is not tested.

    `candidates_of` makes those of rasterisers that draw.
    """

    corners: Corners  # each [3, F]
    perspective: bool  # whether depth is divided by
    exists: jax.Array | None = None  # [F] bool: whether there is one: its indices name vertices
    area: jax.Array | None = None  # [F] of `signed_area`
    near: jax.Array | None = None  # [] or [F]
    far: jax.Array | None = None  # [] or [F]
    box: Box | None = None  # of the part in front of `near`
    image_size: tuple[int, int] = (0, 0)  # (H, W), for the box
    front: jax.Array | None = None  # [F] bool, of `is_front`
    cull: str = "none"  # "none", "back" or "front"


def candidates_of(
    corners: Corners, view: View, *, turned: jax.Array | None = None, **known: Any
) -> Candidates:
    """What follows from corners and view: all that a new reason needs, if these two decide it.

    Args:
        corners: each `[3, F]`.
        view: what is drawn.
        turned: `[F]` whether corners go round in the other sense than the user named them.
        known: other fields of `Candidates`.
    """
    area = signed_area(corners)
    front = is_front(corners, area, perspective=view.perspective)
    return Candidates(
        corners=corners,
        perspective=view.perspective,
        area=area,
        image_size=view.image_size,
        front=front if turned is None else front ^ turned,
        cull=view.cull,
        **known,
    )


def is_drawn(candidates: Candidates) -> jax.Array:
    """Which triangles `[F]` are drawn, for every rasteriser, by the tests of `_failed_tests`.

    A triangle is not drawn for the first of these reasons that holds, of those that a rasteriser
    tests:

    - INDEX_OUT_OF_RANGE: one of its indices names no vertex.
    - NOT_FINITE: one of its coordinates is NaN or infinite.
    - ON_CAMERA_PLANE: under perspective, a corner lies too near the plane through the camera to
      have a place on screen (`MIN_DEPTH`).
    - NO_AREA: it is seen edge-on, or its corners coincide (`MIN_AREA`).
    - BEFORE_NEAR: all of it lies before `near`, or behind the camera.
    - BEYOND_FAR: all of it lies beyond `far`.
    - OFF_PICTURE: the part of it in front of `near` lies beside the picture.
    - CULLED: it turns the side that is not drawn.

    Who tests what: a triangle as a whole (x), at each pixel (p), and not for alpha (c):

        reason              z-buffer   soft   soft, faithful   NMR's edges   voxels
        INDEX_OUT_OF_RANGE     x        x           x                          x
        NOT_FINITE             x        x           x               x          x
        ON_CAMERA_PLANE        x        x                           x
        NO_AREA                x        x           x               x
        BEFORE_NEAR           x p       x          p c
        BEYOND_FAR            x p      x p         p c
        OFF_PICTURE            x
        CULLED                 x        x           c

    The soft rasteriser cuts triangles at near first, and blurs what lies beside the picture into
    it. `why_not_drawn` gives the z-buffer's answer. On a CPU kernels test the same: `cpu/faces.py`
    has a copy, for the z-buffer in `set_up`, for NMR's edges in `has_place`.

    What is drawn may still be seen nowhere: where others hide it, or where it lies between pixel
    centres.
    """
    return ~functools.reduce(jnp.logical_or, [fails for _, fails in _failed_tests(candidates)])


def reason_not_drawn(candidates: Candidates) -> jax.Array:
    """Why triangles are not drawn: a `Reason` `[F]` int32; DRAWN where `is_drawn`."""
    code = jnp.full(candidates.corners.x.shape[1:], int(Reason.DRAWN), jnp.int32)
    for reason, fails in reversed(_failed_tests(candidates)):
        code = jnp.where(fails, int(reason), code)
    return code


def _failed_tests(candidates: Candidates) -> list[tuple[Reason, jax.Array]]:
    """The tests of `is_drawn` in order, and which triangles `[F]` fail each."""
    given, (x, y, z) = candidates, candidates.corners
    tests = []
    if given.exists is not None:
        tests.append((Reason.INDEX_OUT_OF_RANGE, ~given.exists))
    # Combine the corners one by one: of a reduction XLA on a CPU makes a program of its own.
    finite = jnp.isfinite(x) & jnp.isfinite(y) & jnp.isfinite(z)
    tests.append((Reason.NOT_FINITE, ~functools.reduce(jnp.logical_and, finite)))
    if given.perspective:
        tests.append(
            (Reason.ON_CAMERA_PLANE, functools.reduce(jnp.logical_or, jnp.abs(z) <= MIN_DEPTH))
        )
    if given.area is not None:
        tests.append((Reason.NO_AREA, jnp.abs(given.area) <= MIN_AREA))
    if given.near is not None:
        tests.append((Reason.BEFORE_NEAR, functools.reduce(jnp.maximum, z) < given.near))
    if given.far is not None:
        tests.append((Reason.BEYOND_FAR, functools.reduce(jnp.minimum, z) > given.far))
    if given.box is not None:
        tests.append((Reason.OFF_PICTURE, given.box.misses(given.image_size)))
    if given.front is not None and given.cull != "none":
        tests.append((Reason.CULLED, is_culled(given.front, given.cull)))
    return tests


def inverse_area(area: jax.Array) -> jax.Array:
    """`1 / |area|`, and 0 where a triangle is too thin to be drawn.

    One kernel may round the area of a triangle to 0 that another, by a fused multiply-add, does
    not, and take it for drawable: what it gets must be finite, and so must its derivative.
    """
    drawable = jnp.abs(area) > MIN_AREA
    return jnp.where(drawable, 1 / jnp.where(drawable, jnp.abs(area), 1), 0)


# --- ties: which of the faces at equal depth is seen ----------------------------------------------
#
# Those that win ties (`wins_ties`) come before the others, and of each kind the one of lower
# number: the face of the lowest key (`key_of`). A kernel compares keys, any keys. The passes draw
# faces in the order of falling keys, those that win ties last (`drawn_last` of
# `blocks.scan_blocks`) and each kind from its last number to its first: who wins may change freely
# here, the order of numbers only together with that. `peel.py` tells faces at equal depth by their
# keys.
#
# Equal depth is told by equal bits, so those of a triangle must not depend on the order of its
# corners: it is set up with its corners sorted by where they lie (`CornerOrder`). Kernels have all
# this once more in `ops/cpu/faces.py`: `wins_ties` and `key_of` in `set_up`, and `face_of`.

TIES_IN_WORDS = "a face that looks at the camera is seen, then the one of lower index"


def wins_ties(faces: Candidates, *, facing_first: bool) -> jax.Array:
    """Which faces `[F]` are seen before all others that are as near: those that are fronts.

    Not `facing_first`, as in SoftRas, which knows no fronts, numbers alone decide.
    """
    assert faces.front is not None
    return faces.front if facing_first else jnp.ones_like(faces.front)


MAX_KEY = jnp.iinfo(jnp.int32).max  # of no face


def key_of(face: jax.Array, wins_ties: jax.Array) -> jax.Array:
    """The key of a face: its number, and of one that wins ties that less `MAX_KEY`.

    So no number of faces overflows.
    """
    return jnp.where(wins_ties, face - MAX_KEY, face)


def face_of(key: jax.Array) -> jax.Array:
    """The face that has a key, -1 for none."""
    return jnp.where(key == MAX_KEY, -1, jnp.where(key < 0, key + MAX_KEY, key))


class CornerOrder(NamedTuple):
    """Which of the corners of triangles come before which, from the farthest to the nearest.

    By depth, where that is equal by `x`, then by `y`: where a triangle lies decides, not which
    corner the user names first.
    """

    before_01: jax.Array  # [...] bool: whether corner 0 comes before corner 1, and so on
    before_12: jax.Array
    before_02: jax.Array

    def sort(self, corners: Corners) -> Corners:
        """The corners in this order."""
        before_01, before_12, before_02 = self

        def choose(axis: jax.Array, is_0: jax.Array, is_1: jax.Array) -> jax.Array:
            return jnp.where(is_0, axis[0], jnp.where(is_1, axis[1], axis[2]))

        first = before_01 & before_02, ~before_01 & before_12
        middle = (before_01 ^ before_02) & (before_01 ^ before_12), before_01 == before_12
        last = ~before_01 & ~before_02, before_01 & ~before_12
        return Corners(
            *(
                jnp.stack([choose(axis, *which) for which in (first, middle, last)])
                for axis in corners
            )
        )

    def turns(self) -> jax.Array:
        """Whether sorting reverses the sense in which the corners go round."""
        return ~(self.before_01 ^ self.before_12 ^ self.before_02)


def corner_order(corners: Corners) -> CornerOrder:
    """The order in which triangles are set up, whatever that of their corners."""

    def is_before(a: int, b: int) -> jax.Array:
        (xa, ya, za), (xb, yb, zb) = ([axis[corner] for axis in corners] for corner in (a, b))
        return (za > zb) | ((za == zb) & ((xa < xb) | ((xa == xb) & (ya < yb))))

    return CornerOrder(is_before(0, 1), is_before(1, 2), is_before(0, 2))


def sort_corners(corners: Corners) -> tuple[Corners, jax.Array]:
    """The corners in that order, and whether they go round in the other sense then."""
    order = corner_order(corners)
    return order.sort(corners), order.turns()


# --- edges and planes -----------------------------------------------------------------------------


def edge_function(
    x: jax.Array,
    y: jax.Array,
    x_start: jax.Array,
    y_start: jax.Array,
    dx: jax.Array,
    dy: jax.Array,
) -> jax.Array:
    """Twice the signed area of a point with an edge that runs from a start by `(dx, dy)`.

    The difference to the start is exact near it. The derivatives by x and y are `-dy` and `dx`.
    """
    return (y - y_start) * dx - (x - x_start) * dy


class Edges(NamedTuple):
    """Triangles made ready for many points, each `[3, ...]`: edge `m` lies opposite corner `m`.

    The corners go from the farthest to the nearest, see `CornerOrder`. The edge functions `e_m`
    are signed so that all three are >= 0 on the visible triangle.

    With the reversed depth `n_m` of the corners, 1/z under perspective and -z otherwise, that at a
    point is `n_0 + w_1 (n_1 - n_0) + w_2 (n_2 - n_0)`, as the screen barycentrics `w` add up to 1.
    All three terms have one sign, and what rounding does to the edge functions of a sliver counts
    for as much as its corners differ in depth.
    """

    x: jax.Array  # the end of edge m from which is measured
    y: jax.Array
    dx: jax.Array
    dy: jax.Array
    slope: jax.Array  # n_0, and how much reversed depth rises with the functions of edges 1 and 2

    def functions_at(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The three edge functions `[3, ...]` at a point."""
        return edge_function(x, y, self.x, self.y, self.dx, self.dy)

    def reversed_depth(self, functions: jax.Array) -> jax.Array:
        """The reversed depth at a point of these edge functions."""
        return self.slope[0] + functions[1] * self.slope[1] + functions[2] * self.slope[2]


def set_up_edges(corners: Corners, *, perspective: bool) -> Edges:
    """Sets triangles up that are drawn, and whose corners are sorted, see `CornerOrder`.

    Two triangles that share an edge run along it in opposite directions. Both measure from
    the same end of it, the one farther from the camera, and so find edge functions that differ in
    sign alone, to the last bit: no pixel falls into a crack between them. The differences to
    that end are exact near it, and its coordinates are the smaller ones where the other end is
    close to the camera plane.
    """
    area = signed_area(corners)
    sign = jnp.sign(area)[None] * (jnp.sign(corners.z) if perspective else 1)
    reversed_depth = 1 / corners.z if perspective else -corners.z
    scale = inverse_area(area)[None] * (jnp.sign(corners.z[1:]) if perspective else 1)
    (x0, x1, x2), (y0, y1, y2), _ = corners
    return Edges(
        x=jnp.stack([x1, x0, x0]),
        y=jnp.stack([y1, y0, y0]),
        dx=jnp.stack([x2 - x1, x0 - x2, x1 - x0]) * sign,
        dy=jnp.stack([y2 - y1, y0 - y2, y1 - y0]) * sign,
        slope=jnp.concatenate(
            [reversed_depth[:1], (reversed_depth[1:] - reversed_depth[:1]) * scale]
        ),
    )


class BarycentricPlanes(NamedTuple):
    """Triangles made ready to be looked up by the pixels that see them: plane equations.

    The perspective-correct barycentrics `b` are not linear on screen, but over z they are:
    `b_m / z = x_slope_m (x - x_far) + y_slope_m (y - y_far) + at_far_m`, with `far` the corner
    farthest from the camera: there those of the other two are 0, and near it everything is exact.
    Without perspective the same is `b_m` itself.
    """

    x_far: jax.Array  # [F]
    y_far: jax.Array  # [F]
    x_slope: jax.Array  # [3, F]
    y_slope: jax.Array  # [3, F]
    at_far: jax.Array  # [3, F]
    z: jax.Array  # [3, F] depth of the corners

    def over_z(self, face: jax.Array, x: jax.Array, y: jax.Array) -> list[jax.Array]:
        """The barycentrics over z of pixels that each look at one `face`.

        One gather per number: on a CPU quicker than gathering rows of a table.
        """
        columns = [self.x_far, self.y_far, *self.x_slope, *self.y_slope, *self.at_far]
        x_far, y_far, *found = gather_each(columns, face)
        across, down = x - x_far, y - y_far
        return [found[m] * across + found[3 + m] * down + found[6 + m] for m in range(3)]


def set_up_barycentrics(corners: Corners, *, perspective: bool) -> BarycentricPlanes:
    """Sets triangles up that are drawn; differentiable."""
    is_far, area = is_far_corner(corners), area_from_far_corner(corners)
    scale = (jnp.sign(area) * inverse_area(area))[None] / (corners.z if perspective else 1)
    (x0, x1, x2), (y0, y1, y2), _ = corners
    return BarycentricPlanes(
        x_far=jnp.where(is_far, corners.x, 0).sum(0),
        y_far=jnp.where(is_far, corners.y, 0).sum(0),
        x_slope=jnp.stack([y1 - y2, y2 - y0, y0 - y1]) * scale,
        y_slope=jnp.stack([x2 - x1, x0 - x2, x1 - x0]) * scale,
        at_far=jnp.where(is_far, 1 / corners.z if perspective else 1, 0),
        z=corners.z,
    )


def pixel_span(low: jax.Array, high: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The first and last of `size` pixels between two pixel coordinates, int32."""
    middle = 0.5 * (size - 1)  # adding it may round onto a pixel centre, never beyond it
    return (
        jnp.ceil(jnp.clip(low + middle, 0, size)).astype(jnp.int32),
        jnp.floor(jnp.clip(high + middle, -1, size - 1)).astype(jnp.int32),
    )
