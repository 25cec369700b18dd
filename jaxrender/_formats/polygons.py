"""Cuts polygons into triangles: as fans where these cover them exactly, else ear by ear.

A polygon lies in the plane of Newell's normal, the sum of the cross products of its fan

    N = Σᵢ (vᵢ - v₀) × (vᵢ₊₁ - v₀)

whose length is twice its area. Its fan covers it exactly where no triangle of the fan is turned
against N. Else ears are cut off: an ear is a corner whose triangle is turned like N and holds no
other corner (Meisters 1975). A hole, as Blender and others write it, is joined to the outline by an
edge that is walked twice: corners that lie where a corner of the ear lies do not count as held.

Shapes: `P` polygons, `K` corners of each where they have equally many, `C` corners of all of them,
`F` triangles.

References:
    Meisters, Polygons have ears, The American Mathematical Monthly 82 (1975).
    Eberly, Triangulation by ear clipping (2002), on holes.
"""

from __future__ import annotations

import numpy as np

PATIENCE = 8  # how often in a polygon that crosses itself ears are looked for anew
ROUNDING = 1e-14  # in squares of the polygon's reach
SLACK = 1e-9  # of its area a fan may cover too much
ALL, INSIDE, FLAT, NONE = range(4)  # what is asked of an ear, the less the longer none is found


class Triangles:
    """Which corners of which polygons triangles have."""

    def __init__(self, ids: np.ndarray | None = None, owners: np.ndarray | None = None) -> None:
        """Takes `[F, 3]` places among corners, and `[F]` polygons; None if all are triangles."""
        self._ids, self._owners = ids, owners

    def of_corners(self, values: np.ndarray) -> np.ndarray:
        """What the corners of triangles have, `[F, 3, ...]`, of what corners have, `[C, ...]`."""
        return values.reshape(-1, 3, *values.shape[1:]) if self._ids is None else values[self._ids]

    def of_polygons(self, values: np.ndarray) -> np.ndarray:
        """What triangles have, `[F, ...]`, of what polygons have, `[P, ...]`."""
        return values if self._owners is None else values[self._owners]


def cut(vertices: np.ndarray, corners: np.ndarray, sizes: np.ndarray) -> Triangles:
    """Cuts polygons into triangles of the same winding, those of a polygon one after the other.

    Args:
        vertices: `[V, 3]` finite.
        corners: the vertices of all polygons, one polygon after the other.
        sizes: how many corners each polygon has; those of less than three vanish.
    """
    if (sizes == 3).all():
        return Triangles()
    starts = np.cumsum(sizes) - sizes
    ids, owners = _fans(starts, sizes)

    # Cut ear by ear what a fan would not cover.
    pieces = np.maximum(sizes - 2, 0)
    firsts = np.cumsum(pieces) - pieces
    for size in np.unique(sizes[sizes > 3]):
        same = np.flatnonzero(sizes == size)
        places = vertices[corners[starts[same, None] + np.arange(size)[None]]].astype(np.float64)
        fan = np.cross(places[:, 1:-1] - places[:, :1], places[:, 2:] - places[:, :1])
        normal = fan.sum(axis=1)
        signed = np.einsum("pki,pi->pk", fan, normal)
        limit = SLACK * np.einsum("pi,pi->p", normal, normal)
        bad = np.flatnonzero((signed < -limit[:, None]).any(axis=1))
        if len(bad):
            ears = _ears(_flat(places[bad], normal[bad]))
            rows = firsts[same[bad], None] + np.arange(size - 2)[None]
            ids[rows] = starts[same[bad], None, None] + ears
    return Triangles(ids, owners)


def _fans(starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fans (v0, v1, v2), (v0, v2, v3)... of polygons."""
    pieces = np.maximum(sizes - 2, 0)
    owners = np.repeat(np.arange(len(sizes)), pieces)
    step = np.arange(len(owners)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = starts[owners]
    return np.stack([start, start + step + 1, start + step + 2], axis=-1), owners


def _flat(places: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Polygons `[P, K, 3]` in their planes, `[P, K, 2]`, so that they turn counter-clockwise."""
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = normal / np.where(length > 0, length, 1)
    aside = np.eye(3)[np.abs(normal).argmin(axis=1)]
    x = np.cross(aside, normal)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    y = np.cross(normal, x)
    places = places - places[:, :1]
    return np.stack([np.einsum("pki,pi->pk", places, axis) for axis in (x, y)], axis=-1)


def _ears(points: np.ndarray) -> np.ndarray:
    """Triangles `[P, K - 2, 3]` of polygons `[P, K, 2]` that turn counter-clockwise.

    All polygons are cut at once, one ear of each at a time. An ear stays one until a neighbour is
    cut off, so that after each cut two corners are looked at anew, and all only when none is left.
    """
    count, size, _ = points.shape
    following = np.tile(np.roll(np.arange(size), -1), (count, 1))
    preceding = np.tile(np.roll(np.arange(size), 1), (count, 1))
    left, ears = np.ones((count, size), bool), np.zeros((count, size), bool)
    triangles = np.zeros((count, size - 2, 3), np.int64)
    found, level, given_up, corner = (np.zeros(count, np.int64) for _ in range(4))
    looked = np.zeros(count, bool)
    reach = np.square(points).sum(axis=-1).max(axis=1)

    def look(which: np.ndarray, b: np.ndarray) -> None:
        """Sees whether a corner of each polygon is an ear."""
        triangle = preceding[which, b], b, following[which, b]
        state = points[which], left[which], triangle, level[which], reach[which]
        ears[which, b] = left[which, b] & _is_ear(*state)

    active = np.arange(count)
    while len(active):
        # Look at all corners where no ear is left, and ask less where that has just been done.
        dry = active[~ears[active].any(axis=1)]
        if len(dry):
            level[dry] = np.where(looked[dry], level[dry] + 1, ALL)
            looked[dry] = True
            for b in range(size):
                look(dry, np.full(len(dry), b))
            continue

        # Cut off the next ear; go on behind it, where the next is less of a sliver.
        ahead = (np.arange(size)[None] - corner[active][:, None]) % size
        b = np.where(ears[active], ahead, size).argmin(axis=1)
        a, c = preceding[active, b], following[active, b]
        triangles[active, found[active]] = np.stack([a, b, c], axis=-1)
        found[active] += 1
        left[active, b] = ears[active, b] = looked[active] = False
        following[active, a], preceding[active, c] = c, a
        corner[active] = following[active, c]
        look(active, a)
        look(active, c)

        # Having cut what is no ear, hope for ears again; a few times, for it takes long.
        hope = active[(level[active] == NONE) & (given_up[active] < PATIENCE)]
        ears[hope] = False
        given_up[hope] += 1
        active = active[found[active] < size - 2]
    return triangles


def _is_ear(
    points: np.ndarray,
    left: np.ndarray,
    triangle: tuple[np.ndarray, np.ndarray, np.ndarray],
    level: np.ndarray,
    reach: np.ndarray,
) -> np.ndarray:
    """Whether triangles `[P]` of neighbouring corners can be cut off."""
    rows = np.arange(len(points))
    a, b, c = (points[rows, corner] for corner in triangle)
    slack = ROUNDING * reach
    turn = _turn(a, b, c)
    convex = turn > np.where(level < FLAT, slack, -slack)

    # See on which side of each edge all corners lie; at first those on an edge count as held.
    sides = [_turn(p[:, None], q[:, None], points) for p, q in ((a, b), (b, c), (c, a))]
    least = np.minimum(np.minimum(sides[0], sides[1]), sides[2])
    inside = least >= np.where(level == ALL, -slack, slack)[:, None]
    meets = np.zeros(left.shape, bool)
    for place in (a, b, c):
        meets |= (points == place[:, None]).all(axis=-1)
    held = (inside & left & ~meets).any(axis=1)
    return (convex & (~held | (np.abs(turn) <= slack))) | (level == NONE)


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Twice the signed area of triangles of points `[..., 2]`; more than 0 where they turn left."""
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (
        c[..., 0] - a[..., 0]
    )
