"""Which edge lies between two neighbouring pixels: plain JAX; words and shapes as in `__init__.py`.

A corner is homogeneous, `(X w, Y w, w)` with `w` its depth under perspective, else 1, so that edges
which pass behind the camera need no cut. With `c_k` the corners of a face, the line through two
of them and the determinant are

    l_k = c_(k+1) × c_(k+2)        d = c_0 · l_0

and the face covers a point `p = (X, Y, 1)` where all `l_k · p / d >= 0`.

The kernel `cpu/edges.py` does the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops import deterministic

Vector = list[jax.Array]  # three components

NO_EDGE, CUT = 0, 7  # codes
TOO_FAR = 1e12  # of vertices that count as if they were not there: products would overflow
EDGE_ON = 4  # roundings of the corners, of a face's height, up to which it has no front or back
ROUNDING = 0.5  # pixels that a line of intersection may lie beyond either pixel centre

_ALL, _BUT_LAST, _BUT_FIRST = slice(None), slice(None, -1), slice(1, None)
# The first and the second of all pairs: along x, then along y.
_NEIGHBOURS = (
    ((_ALL, _BUT_LAST), (_ALL, _BUT_FIRST)),
    ((_BUT_LAST, _ALL), (_BUT_FIRST, _ALL)),
)


def find_codes(
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    depth: jax.Array,
    edges: jax.Array,
    *,
    options: Any,
) -> tuple[jax.Array, jax.Array]:
    """Codes, see `find_edges`, of one example, and the places of cuts, 1/2 where there is none.

    The edges are empty where all count.
    """
    counts = None
    table = _corner_table(vertices, faces, face.shape, options.perspective)
    if options.silhouettes:
        counts = _silhouette_edges(vertices, faces, edges, face.shape, options.perspective)
    codes, places = [], []
    for axis, _ in enumerate(_NEIGHBOURS):
        code, place = _codes_along(axis, table, face, depth, counts, options.faceted)
        rest = [(0, int(axis == 1)), (0, int(axis == 0))]
        codes.append(jnp.pad(code, rest, constant_values=NO_EDGE))
        places.append(jnp.pad(place, rest, constant_values=0.5))
    return jnp.stack(codes), jnp.stack(places)


class _Face(NamedTuple):
    """What one pixel of each pair sees; the first pixel's centre is the origin of both."""

    face: jax.Array  # int32, 0 where there is none
    seen: jax.Array  # whether there is one
    corners: list[Vector]  # c_k
    lines: list[Vector]  # l_k
    determinant: jax.Array  # d
    depths: Vector  # 1, or without perspective z, of the corners, scaled as these are
    steep: list[jax.Array]  # whether the lines are, by the same bits for rows and for columns
    tilt: list[jax.Array]  # slopes of `depth_plane` along x and y, likewise

    def covers(self, x: float, y: float) -> jax.Array:
        """Whether the face covers that point, be it seen there or not."""
        sides = [x * line[0] + y * line[1] + line[2] for line in self.lines]
        inside = [side * self.determinant >= 0 for side in sides]
        return self.seen & (self.determinant != 0) & functools.reduce(jnp.logical_and, inside)


class _Pairs(NamedTuple):
    """All neighbours along one axis."""

    axis: int  # 0 in rows, 1 in columns
    differ: jax.Array  # whether the two see different faces
    crease: jax.Array  # whether an edge that both share counts
    faces: tuple[_Face, _Face]
    first_is_over: jax.Array  # whether the edge between them is that of the first's face
    cut: jax.Array  # whether both faces go on under the other pixel


def _codes_along(
    axis: int,
    table: jax.Array,
    face: jax.Array,
    depth: jax.Array,
    counts: jax.Array | None,
    faceted: bool,
) -> tuple[jax.Array, jax.Array]:
    """The codes of the pairs along x, or of those along y, and the places of cuts."""
    first, second = _NEIGHBOURS[axis]
    row, column = (jnp.arange(size, dtype=table.dtype) for size in face.shape)
    seen = face >= 0
    index = jnp.where(seen, face, 0)
    origin = column[first[1]][None, :], row[first[0]][:, None]
    ours, theirs = (_face_at(table, index[side], seen[side], origin) for side in (first, second))

    # Find the nearer: the other's face ends before its pixel centre, or else in depth.
    goes_on = ours.covers(1 - axis, axis) & theirs.seen
    comes = theirs.covers(0, 0) & ours.seen
    nearer = depth[first] < depth[second]
    over = jnp.where(goes_on != comes, comes, nearer)
    over = jnp.where(theirs.seen, jnp.where(ours.seen, over, False), True)
    differ, crease = face[first] != face[second], jnp.zeros(over.shape, bool)
    if faceted:
        crease = _both_go_on(face, axis)
    pairs = _Pairs(axis, differ, crease, (ours, theirs), over, goes_on & comes)
    code = _outline_codes(pairs, counts)
    if counts is not None:
        return code, jnp.full(code.shape, 0.5, table.dtype)
    cut, place = _find_cuts(pairs)
    return jnp.where(cut, CUT, code), place


def _both_go_on(face: jax.Array, axis: int) -> jax.Array:
    """Whether the pixels before and behind a pair see the same faces as the two."""
    lines = face if axis == 0 else face.T
    same = jnp.pad(lines[:, 1:] == lines[:, :-1], ((0, 0), (1, 1)))
    known = same[:, :-2] & same[:, 2:]
    return known if axis == 0 else known.T


def placed_vertices(
    vertices: jax.Array, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The vertices' X and Y `[V]`, 0 where they are too far, and which axes are not `[V, 3]`."""
    height, width = shape
    known = jnp.abs(vertices) < TOO_FAR
    x, y, _ = jnp.where(known, vertices, 0).T
    return (x * width + width - 1) / 2, (height - 1 - y * height) / 2, known


def _corner_table(
    vertices: jax.Array, faces: jax.Array, shape: tuple[int, ...], perspective: bool
) -> jax.Array:
    """What `_Face` is made of, for each face: `[F, 17]`.

    The corners in pixels, `(X w, Y w, w)` of all three; 1 or z of each; whether the edges are
    steep; and how the depth plane slopes.
    """
    x, y, known = placed_vertices(vertices, shape)
    z = jnp.where(known[:, 2], vertices[:, 2], 0)
    w, depth = (z, jnp.ones_like(z)) if perspective else (jnp.ones_like(z), z)
    rows = deterministic.gather(jnp.stack([x * w, y * w, w, depth], -1), faces)
    table = jnp.concatenate([rows[..., :3].reshape(-1, 9), rows[..., 3]], -1)

    # Decide here which edges are steep: seen from each pixel, rounding would decide anew, and an
    # edge at 45 degrees would count twice, or not at all.
    zero = jnp.zeros((), table.dtype)
    _, lines, determinant, depths = lines_of([table[:, k] for k in range(12)], (zero, zero))
    steep = [(jnp.abs(line[0]) >= jnp.abs(line[1])).astype(table.dtype) for line in lines]
    tilt = depth_plane(lines, determinant, depths, determinant != 0)[:2]
    return jnp.concatenate([table, jnp.stack([*steep, *tilt], -1)], -1)


def _face_at(
    table: jax.Array, index: jax.Array, seen: jax.Array, origin: tuple[jax.Array, jax.Array]
) -> _Face:
    """The faces of that index, moved so that `origin` is 0."""
    numbers = deterministic.gather(table, index)
    parts = [numbers[..., k] for k in range(17)]
    steep = [part > 0 for part in parts[12:15]]
    return _Face(index, seen, *lines_of(parts[:12], origin), steep, parts[15:])


def lines_of(
    parts: list[jax.Array], origin: tuple[jax.Array, jax.Array]
) -> tuple[list[Vector], list[Vector], jax.Array, Vector]:
    """Corners, lines, determinant and depths, see `_Face`, of the columns of the table."""
    corners, depths = [], []
    for k in range(3):
        # Scale corners, which changes no line, so that products neither overflow nor vanish.
        x, y, w = parts[3 * k : 3 * k + 3]
        moved = [x - origin[0] * w, y - origin[1] * w, w]
        size = jax.lax.stop_gradient(functools.reduce(jnp.maximum, map(jnp.abs, moved)))
        scale = 1 / jnp.where(size > 0, size, 1)
        corners.append([part * scale for part in moved])
        depths.append(parts[9 + k] * scale)
    lines = [_cross(corners[(k + 1) % 3], corners[(k + 2) % 3]) for k in range(3)]
    return corners, lines, _dot(corners[0], lines[0]), depths


def depth_plane(
    lines: list[Vector], determinant: jax.Array, depths: Vector, used: jax.Array
) -> Vector:
    """`1/z`, or without perspective `z`, as a linear function of the point, where used."""
    scale = 1 / jnp.where(used, determinant, 1)
    rows = zip(lines, depths, strict=True)
    weighted = [[part * depth * scale for part in line] for line, depth in rows]
    return [functools.reduce(jnp.add, parts) for parts in zip(*weighted, strict=True)]


def _cross(a: Vector, b: Vector) -> Vector:
    return [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]


def _dot(a: Vector, b: Vector) -> jax.Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _outline_codes(pairs: _Pairs, counts: jax.Array | None) -> jax.Array:
    """Which edge of the nearer face ends it between the centres.

    Args:
        pairs: along one axis.
        counts: `[F, 3]` which edges may count; edge `k` lies opposite to corner `k`. None: those
            that the two faces do not share while they look the same way.
    """
    ours, theirs = pairs.faces
    pick: Callable = functools.partial(jnp.where, pairs.first_is_over)
    over, under = (jax.tree.map(pick, *both) for both in ((ours, theirs), (theirs, ours)))
    allowed = [pairs.differ & ~pairs.cut] * 3
    if counts is not None:
        rows = counts[over.face]
        allowed = [rows[..., k] & allowed[k] for k in range(3)]
    else:
        same_way = over.seen & under.seen & (over.determinant * under.determinant > 0)
        same_way &= ~pairs.crease
        apart = [~_is_corner(corner, under) for corner in over.corners]
        allowed = [
            allowed[k] & (~same_way | apart[(k + 1) % 3] | apart[(k + 2) % 3]) for k in range(3)
        ]

    # Take the first edge that is steep enough, and crosses between the two centres.
    code = jnp.full(pairs.differ.shape, NO_EDGE, jnp.int32)
    for k in reversed(range(3)):
        ends = over.corners[(k + 1) % 3], over.corners[(k + 2) % 3]
        steep = over.steep[k] if pairs.axis == 0 else ~over.steep[k]
        hit = allowed[k] & steep & _crosses(over.lines[k], *ends, pairs.axis)
        code = jnp.where(hit, jnp.where(pairs.first_is_over, 1 + k, 4 + k), code)
    return code


def _is_corner(corner: Vector, face: _Face) -> jax.Array:
    """Whether a corner of the face lies at the same place."""
    same = [[a == b for a, b in zip(corner, other, strict=True)] for other in face.corners]
    return functools.reduce(jnp.logical_or, [a & b & c for a, b, c in same])


def _crosses(line: Vector, a: Vector, b: Vector, axis: int) -> jax.Array:
    """Whether the edge from a to b crosses between the centres, before the camera."""
    # Its ends lie on either side of the line through the centres, and it meets that in front.
    end_a, end_b = a[1 - axis], b[1 - axis]
    between = (end_a <= 0) != (end_b <= 0)
    meets = (a[2] * end_b - b[2] * end_a) * (end_b - end_a) > 0

    # Both centres lie on either side of it.
    here, there = line[2], line[2] + line[axis]
    return between & meets & ((here <= 0) != (there <= 0))


def _find_cuts(pairs: _Pairs) -> tuple[jax.Array, jax.Array]:
    """Whether two faces have the same depth somewhere on the way between the centres, and where."""
    cut = pairs.differ & pairs.cut
    ours, theirs = (
        depth_plane(face.lines, face.determinant, face.depths, cut) for face in pairs.faces
    )
    line = [one - other for one, other in zip(ours, theirs, strict=True)]
    tilt = [jnp.abs(one - other) for one, other in zip(*(f.tilt for f in pairs.faces), strict=True)]
    steep = tilt[0] >= tilt[1] if pairs.axis == 0 else tilt[0] < tilt[1]
    along = jnp.abs(line[pairs.axis])
    within = jnp.abs(line[2] + line[pairs.axis] / 2) <= (0.5 + ROUNDING) * along
    cut &= steep & within & (along > 0)
    place = -line[2] / jnp.where(cut, line[pairs.axis], 1)
    return cut, jnp.where(cut, jnp.clip(place, 0, 1), 0.5)


def _silhouette_edges(
    vertices: jax.Array,
    faces: jax.Array,
    edges: jax.Array,
    shape: tuple[int, ...],
    perspective: bool,
) -> jax.Array:
    """Which edges `[F, 3]` have no face behind them: all their faces lie on one side of them.

    Edge `k` lies opposite to corner `k`. Faces that are not drawn, or seen edge-on, lie on no side.
    """
    # Say on which side of its edge, from the lower index to the higher, each face lies: that of
    # the sign of its determinant.
    x, y, known = placed_vertices(vertices, shape)
    x, y = (deterministic.gather(axis, faces).T for axis in (x, y))
    ax, ay, bx, by = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    area = ax * by - ay * bx
    reach = functools.reduce(jnp.maximum, map(jnp.abs, (ax, ay, bx, by)))
    extent = jnp.maximum(max(shape), jnp.maximum(jnp.abs(x[0]), jnp.abs(y[0])) + reach)
    edge_on = jnp.abs(area) <= EDGE_ON * jnp.finfo(area.dtype).eps * extent * reach
    side = jnp.sign(area)
    if perspective:
        z = deterministic.gather(jnp.where(known[:, 2], vertices[:, 2], 0), faces)
        side *= jnp.sign(z).prod(-1)
    usable = ((faces >= 0) & (faces < vertices.shape[0])).all(-1)
    side = jnp.where(usable & ~edge_on, side, 0)[:, None]
    start, end = faces[:, (1, 2, 0)], faces[:, (2, 0, 1)]
    side = jnp.where(start < end, side, -side)

    # Ask for each edge whether faces lie on both sides.
    sides = jnp.stack([side > 0, side < 0], -1).astype(jnp.int32)
    either = jnp.zeros((faces.size, 2), jnp.int32).at[edges].max(sides, mode="drop")
    return either.min(-1)[jnp.clip(edges, 0, faces.size - 1)] == 0
