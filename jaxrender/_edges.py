"""`antialias` and `edge_gradient`: what a sharp picture does where faces end.

Two neighbouring pixels that see different faces have an edge between them. Where it crosses the
line through the two pixel centres is a smooth function of the vertices: `antialias` blends the two
colours by it, `edge_gradient` leaves the picture as it is and differentiates it.

Coordinates are pixels, `x` to the right, `y` down, from a pixel centre. A corner is homogeneous,
`(x w, y w, w)` with `w` its depth under perspective, else 1, so that edges which pass behind the
camera need no cut. With `c_k` the corners of a face, the line through two of them and the
determinant are

    l_k = c_(k+1) × c_(k+2)        d = c_0 · l_0

and the face covers a point `p = (x, y, 1)` where all `l_k · p / d >= 0`.

Shapes: `H, W` image, `C` channels, `V` vertices, `F` faces, `...` pairs of neighbouring pixels, in
rows `[H, W - 1]` or in columns `[H - 1, W]`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.lax import stop_gradient
from jax.typing import ArrayLike

from jaxrender._checks import check_array, check_drawn, is_concrete
from jaxrender._types import NO_FACE, Fragments, ScreenMesh, struct
from jaxrender.ops import deterministic
from jaxrender.ops.sharding import match_varying_axes

Vector = list[jax.Array]  # three components

TOO_FAR = 1e12  # of vertices that count as if they were not there: products would overflow
ROUNDING = 0.5  # pixels that a line of intersection may lie beyond either pixel centre


def antialias(
    image: jax.Array,
    fragments: Fragments,
    screen: ScreenMesh,
    *,
    edges: ArrayLike | None = None,
) -> jax.Array:
    r"""Blends the colours of neighbouring pixels where a silhouette edge runs between them.

    Of two neighbours that see different faces, the edge of the nearer face crosses the line through
    both pixel centres at the fraction `t` of the way from the first. The colour on its side then
    fills that much of the way, and so a part of the other pixel, which is half a pixel wide:

        t >= 1/2:  I₂ ← I₂ + (t - 1/2) (I₁ - I₂)        t < 1/2:  I₁ ← I₁ + (1/2 - t) (I₂ - I₁)

    Steep edges count between neighbours of a row, flat ones between those of a column. A silhouette
    edge is one behind which the surface does not go on: it belongs to one face alone, or all its
    faces lie on the same side of it on screen; vertices that a file splits at a seam make two (see
    `weld`). Where surfaces cut each other, and where a face is cut by the near plane, nothing is
    blended.

    Gradient: that of these formulas, exact, to `image` and to `screen.vertices`, in forward and
    reverse mode, to any order. It is the gradient of what edges show, and of nothing else: a pixel
    that no silhouette edge touches pulls on none.

    Args:
        image: `[H, W, C]` any channels (rgb, alpha, features), background included; or `[H, W]`.
            Apply it before anti-aliased samples are averaged.
        fragments: what `rasterize_hard` made of `screen`.
        screen: the mesh in screen space: `vertices` `[V, 3]`, `faces` `[F, 3]`.
        edges: `[F, 3]` int32 `number_edges(screen.faces)`, known once for all pictures; None
            sorts the edges for each, which may take as long as drawing.

    Returns:
        The image, blended.

    Raises:
        ValueError: a shape or dtype is not as above.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrender as jr
        >>> corners = jnp.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.0, 0.5, 2.0]])
        >>> def covered(corners):
        ...     screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        ...     seen = jr.rasterize_hard(screen, image_size=(64, 64))
        ...     return jr.antialias((seen.face >= 0).astype(float), seen, screen).mean()
        >>> round(float(covered(corners)), 3)  # the area is an eighth of the picture
        0.125
        >>> [round(x, 2) for x in jax.grad(covered)(corners)[2].tolist()]
        [0.0, 0.12, 0.0]

    References:
        Laine et al., Modular Primitives for High-Performance Differentiable Rendering, 2020,
        arXiv:2011.03277, section 3.6.
    """
    picture, screen = check_drawn(image, fragments, screen, "antialias")
    if screen.faces.shape[0] == 0:
        return jnp.asarray(image)
    with jax.named_scope("antialias"):
        if edges is None:
            edges = _sort_edges(screen.faces, fragments)
        else:
            edges = check_array("edges", edges, screen.faces.shape, kind="int")
        height, width, _ = picture.shape
        ends = _silhouette_edges(screen, edges, (height, width))
        change = jnp.zeros_like(picture)
        for pairs in _pairs_of(screen, fragments, (height, width)):
            first, second = _NEIGHBOURS[pairs.axis]
            place, found = _outlines(pairs, ends)
            weight = jnp.where(found, place - 0.5, 0).astype(picture.dtype)[..., None]
            step = picture[first] - picture[second]
            change = change.at[second].add(jnp.where(weight > 0, weight, 0) * step)
            change = change.at[first].add(jnp.where(weight < 0, weight, 0) * step)
        return (picture + change).reshape(jnp.shape(image))


def edge_gradient(image: jax.Array, fragments: Fragments, screen: ScreenMesh) -> jax.Array:
    r"""Gives a sharp picture the derivative that its edges have.

    Returns the picture as it is. Between two neighbours that see different faces lies a place `s`
    where the one's colour ends and the other's begins. Moved by `ds` towards the second, it shows
    that much more of the first, which is shared out to both pixels:

        dI₁ += (I₁ - I₂) / 2 ds        dI₂ += (I₁ - I₂) / 2 ds

    The place is where the nearer face's edge crosses the line through both pixel centres, or, where
    both faces go on under the other pixel, where they cut each other. Steep edges count between
    neighbours of a row, flat ones between those of a column. Where both faces share the edge and
    look the same way the picture is continuous, and nothing is added.

    It is the derivative of what an edge of a pixel's length does, with the colours at the pixel
    centres; so it is as exact as they are near to the edge. Faces smaller than a pixel that lie
    between two centres are not seen. Like the picture, it knows nothing beyond one pixel:
    `nmr_gradient` and `rasterize_soft` reach further. On a CPU its reverse mode is not quick yet:
    half a second for 256 x 256 pixels.

    Gradient: as said, to `screen.vertices`, and that of the picture itself. It is linear in the
    tangents, so forward and reverse mode are transposes of each other; second derivatives are
    those of this expression.

    Args:
        image: `[H, W, C]` any channels (rgb, alpha, features), background included; or `[H, W]`.
            Apply it before anti-aliased samples are averaged.
        fragments: what `rasterize_hard` made of `screen`.
        screen: the mesh in screen space: `vertices` `[V, 3]`, `faces` `[F, 3]`.

    Returns:
        The image.

    Raises:
        ValueError: a shape or dtype is not as above.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrender as jr
        >>> corners = jnp.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.0, 0.5, 2.0]])
        >>> def covered(corners):
        ...     screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        ...     seen = jr.rasterize_hard(screen, image_size=(64, 64))
        ...     return jr.edge_gradient((seen.face >= 0).astype(float), seen, screen).mean()
        >>> [round(x, 2) for x in jax.grad(covered)(corners)[2].tolist()]
        [0.0, 0.12, 0.0]

    References:
        Pidhorskyi et al., Rasterized Edge Gradients, ECCV 2024, arXiv:2405.02508.
    """
    picture, screen = check_drawn(image, fragments, screen, "edge_gradient")
    if screen.faces.shape[0] == 0:
        return jnp.asarray(image)
    with jax.named_scope("edges"):
        args = picture, screen.vertices, screen.faces, fragments.face, fragments.depth
        args = match_varying_axes(args, args)
        return _with_edges(*args, screen.perspective).reshape(jnp.shape(image))


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _with_edges(
    picture: jax.Array,
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    depth: jax.Array,
    perspective: bool,
) -> jax.Array:
    return picture


def _with_edges_jvp(perspective, primals, tangents):
    picture, vertices, faces, face, depth = primals
    d_picture, d_vertices = tangents[:2]
    shape = face.shape
    fragments = Fragments(face, jnp.zeros((*shape, 0)), depth)
    if isinstance(d_picture, SymbolicZero):
        d_picture = jnp.zeros_like(picture)
    if isinstance(d_vertices, SymbolicZero):
        return picture, d_picture

    def places(vertices: jax.Array) -> list[jax.Array]:
        pairs = _pairs_of(ScreenMesh(vertices, faces, perspective), fragments, shape)
        return [_place(pair) for pair in pairs]

    _, d_places = jax.jvp(places, (vertices,), (d_vertices,))
    for (first, second), d_place in zip(_NEIGHBOURS, d_places, strict=True):
        step = (picture[first] - picture[second]) / 2 * d_place.astype(picture.dtype)[..., None]
        d_picture = d_picture.at[first].add(step).at[second].add(step)
    return picture, d_picture


_with_edges.defjvp(_with_edges_jvp, symbolic_zeros=True)


# --- pairs of neighbouring pixels -----------------------------------------------------------------

_ALL, _BUT_LAST, _BUT_FIRST = slice(None), slice(None, -1), slice(1, None)
# The first and the second of all pairs: along x, then along y.
_NEIGHBOURS = (
    ((_ALL, _BUT_LAST), (_ALL, _BUT_FIRST)),
    ((_BUT_LAST, _ALL), (_BUT_FIRST, _ALL)),
)


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
    faces: tuple[_Face, _Face]
    first_is_over: jax.Array  # whether the edge between them is that of the first's face
    cut: jax.Array  # whether both faces go on under the other pixel


def _pairs_of(screen: ScreenMesh, fragments: Fragments, shape: tuple[int, int]) -> Iterator[_Pairs]:
    """The pairs along x, and those along y; differentiable to the vertices."""
    table = _corner_table(screen, shape)
    row, column = (jnp.arange(size, dtype=table.dtype) for size in shape)
    seen, depth = fragments.face >= 0, stop_gradient(fragments.depth)
    index = jnp.where(seen, fragments.face, 0)
    for axis, (first, second) in enumerate(_NEIGHBOURS):
        origin = column[first[1]][None, :], row[first[0]][:, None]
        ours, theirs = (
            _face_at(table, index[side], seen[side], origin) for side in (first, second)
        )

        # Find the nearer: the other's face ends before its pixel centre, or else in depth.
        goes_on = ours.covers(1 - axis, axis) & theirs.seen
        comes = theirs.covers(0, 0) & ours.seen
        nearer = depth[first] < depth[second]
        over = jnp.where(goes_on != comes, comes, nearer)
        over = jnp.where(theirs.seen, jnp.where(ours.seen, over, False), True)
        differ = fragments.face[first] != fragments.face[second]
        yield _Pairs(axis, differ, (ours, theirs), over, goes_on & comes)


def _corner_table(screen: ScreenMesh, shape: tuple[int, int]) -> jax.Array:
    """What `_Face` is made of, for each face: `[F, 17]`.

    The corners in pixels, `(x w, y w, w)` of all three; 1 or z of each; whether the edges are
    steep; and how the depth plane slopes.
    """
    height, width = shape
    known = jnp.abs(screen.vertices) < TOO_FAR
    x, y, z = jnp.where(known, screen.vertices, 0).T
    x, y = (x * width + width - 1) / 2, (height - 1 - y * height) / 2
    one = jnp.ones_like(z)
    w, depth = (z, one) if screen.perspective else (one, z)
    rows = deterministic.gather(jnp.stack([x * w, y * w, w, depth], -1), screen.faces)
    table = jnp.concatenate([rows[..., :3].reshape(-1, 9), rows[..., 3]], -1)

    # Decide here which edges are steep: seen from each pixel, rounding would decide anew, and an
    # edge at 45 degrees would count twice, or not at all.
    still = stop_gradient(table)
    zero = jnp.zeros((), table.dtype)
    _, lines, determinant, depths = _lines_of([still[:, k] for k in range(12)], (zero, zero))
    steep = [(jnp.abs(line[0]) >= jnp.abs(line[1])).astype(table.dtype) for line in lines]
    tilt = _depth_plane(lines, determinant, depths, determinant != 0)[:2]
    return jnp.concatenate([table, jnp.stack([*steep, *tilt], -1)], -1)


def _face_at(
    table: jax.Array, index: jax.Array, seen: jax.Array, origin: tuple[jax.Array, jax.Array]
) -> _Face:
    """The faces of that index, moved so that `origin` is 0."""
    numbers = deterministic.gather(table, index)
    parts = [numbers[..., k] for k in range(17)]
    steep = [part > 0 for part in parts[12:15]]
    return _Face(index, seen, *_lines_of(parts[:12], origin), steep, parts[15:])


def _lines_of(
    parts: list[jax.Array], origin: tuple[jax.Array, jax.Array]
) -> tuple[list[Vector], list[Vector], jax.Array, Vector]:
    """Corners, lines, determinant and depths, see `_Face`, of the columns of the table."""
    corners, depths = [], []
    for k in range(3):
        # Scale corners, which changes no line, so that products neither overflow nor vanish.
        x, y, w = parts[3 * k : 3 * k + 3]
        moved = [x - origin[0] * w, y - origin[1] * w, w]
        size = stop_gradient(functools.reduce(jnp.maximum, map(jnp.abs, moved)))
        scale = 1 / jnp.where(size > 0, size, 1)
        corners.append([part * scale for part in moved])
        depths.append(parts[9 + k] * scale)
    lines = [_cross(corners[(k + 1) % 3], corners[(k + 2) % 3]) for k in range(3)]
    return corners, lines, _dot(corners[0], lines[0]), depths


def _depth_plane(
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


# --- where the edge crosses -----------------------------------------------------------------------


def _outlines(pairs: _Pairs, counts: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Where the nearer face ends, as a fraction of the way between the centres, and whether so.

    Args:
        pairs: along one axis.
        counts: `[F, 3]` which edges may count; edge `k` lies opposite to corner `k`. None: those
            that the two faces do not share while they look the same way.
    """
    ours, theirs = pairs.faces
    pick = functools.partial(jnp.where, pairs.first_is_over)
    over, under = (jax.tree.map(pick, *both) for both in ((ours, theirs), (theirs, ours)))
    allowed = [pairs.differ & ~pairs.cut] * 3
    if counts is not None:
        rows = counts[over.face]
        allowed = [rows[..., k] & allowed[k] for k in range(3)]
    else:
        same_way = over.seen & under.seen & (over.determinant * under.determinant > 0)
        apart = [~_is_corner(corner, under) for corner in over.corners]
        allowed = [
            allowed[k] & (~same_way | apart[(k + 1) % 3] | apart[(k + 2) % 3]) for k in range(3)
        ]

    # Take the first edge that is steep enough, and crosses between the two centres.
    line, found = [jnp.ones_like(over.determinant)] * 3, jnp.zeros_like(pairs.differ)
    for k in range(3):
        ends = over.corners[(k + 1) % 3], over.corners[(k + 2) % 3]
        steep = over.steep[k] if pairs.axis == 0 else ~over.steep[k]
        hit = allowed[k] & steep & ~found & _crosses(over.lines[k], *ends, pairs.axis)
        line = [jnp.where(hit, new, old) for new, old in zip(over.lines[k], line, strict=True)]
        found = found | hit
    return -line[2] / line[pairs.axis], found


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


def _cut_line(pairs: _Pairs) -> tuple[jax.Array, jax.Array]:
    """Where the two faces have the same depth, on the way between the centres, and whether so."""
    cut = pairs.differ & pairs.cut
    ours, theirs = (
        _depth_plane(face.lines, face.determinant, face.depths, cut) for face in pairs.faces
    )
    line = [one - other for one, other in zip(ours, theirs, strict=True)]
    tilt = [jnp.abs(one - other) for one, other in zip(*(f.tilt for f in pairs.faces), strict=True)]
    steep = tilt[0] >= tilt[1] if pairs.axis == 0 else tilt[0] < tilt[1]
    along = jnp.abs(line[pairs.axis])
    within = jnp.abs(line[2] + line[pairs.axis] / 2) <= (0.5 + ROUNDING) * along
    cuts = cut & steep & within & (along > 0)
    return -line[2] / jnp.where(cuts, line[pairs.axis], 1), cuts


def _place(pairs: _Pairs) -> jax.Array:
    """Where the picture changes between the centres; a constant where it does not."""
    outline, ends = _outlines(pairs, None)
    line, cuts = _cut_line(pairs)
    return jnp.where(ends, outline, 0) + jnp.where(cuts, line, 0)


def _silhouette_edges(screen: ScreenMesh, edges: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Which edges `[F, 3]` have no face behind them: all their faces lie on one side of them.

    Edge `k` lies opposite to corner `k`. Faces that are not drawn lie on no side.
    """
    # Say on which side of its edge, from the lower index to the higher, each face lies.
    faces = screen.faces
    table = stop_gradient(_corner_table(screen, shape))
    every, origin = jnp.arange(faces.shape[0]), jnp.zeros(1, table.dtype)
    face = _face_at(table, every, every >= 0, (origin, origin))
    usable = ((faces >= 0) & (faces < screen.vertices.shape[0])).all(-1)
    side = jnp.where(usable, jnp.sign(face.determinant), 0)[:, None]
    start, end = _edge_ends(faces)
    side = jnp.where(start < end, side, -side)

    # Ask for each edge whether faces lie on both sides.
    sides = jnp.stack([side > 0, side < 0], -1).astype(jnp.int32)
    either = jnp.zeros((faces.size, 2), jnp.int32).at[edges].max(sides, mode="drop")
    return either.min(-1)[jnp.clip(edges, 0, faces.size - 1)] == 0


def _edge_ends(faces: Any) -> tuple[Any, Any]:
    """The vertices `[F, 3]` where the edges opposite to the corners start and end."""
    return faces[:, (1, 2, 0)], faces[:, (2, 0, 1)]


def number_edges(faces: ArrayLike) -> np.ndarray:
    """Numbers the edges of a mesh, for `antialias`: those of the same two vertices alike.

    Args:
        faces: `[F, 3]` int32, known: not under `jax.jit`.

    Returns:
        `[F, 3]` int32 in [0, 3 F): of the edge that lies opposite to each corner.

    Raises:
        ValueError: a shape or dtype is not as above, or the faces are traced.

    Example:
        >>> import jaxrender as jr
        >>> jr.number_edges([[0, 1, 2], [2, 1, 3]]).tolist()
        [[2, 1, 0], [3, 4, 2]]
    """
    if not is_concrete(faces):
        raise ValueError(
            "`faces` must be known, got a traced value. Call number_edges outside of jax.jit and "
            "jax.vmap, or close over the faces instead of passing them as an argument."
        )
    with jax.ensure_compile_time_eval():
        known = np.asarray(check_array("faces", faces, ("F", 3), kind="int"))
    start, end = (ends.astype(np.int64) for ends in _edge_ends(known))
    low, high = np.minimum(start, end), np.maximum(start, end)
    _, number = np.unique(low * (high.max(initial=0) + 1) + high, return_inverse=True)
    return number.reshape(-1, 3).astype(np.int32)


def _sort_edges(faces: jax.Array, fragments: Fragments) -> jax.Array:
    """`number_edges` of faces that are traced."""
    start, end = _edge_ends(faces)
    low, high = jnp.minimum(start, end).reshape(-1), jnp.maximum(start, end).reshape(-1)
    # Add a 0 that XLA does not know to be one: it would sort known faces itself, in minutes.
    low = low + jnp.minimum(fragments.face[0, 0], NO_FACE) - NO_FACE
    position = jnp.arange(low.size, dtype=jnp.int32)
    low, high, order = jax.lax.sort((low, high, position), num_keys=2)
    begins = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    number = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(begins, dtype=jnp.int32)])
    return jnp.zeros(low.size, jnp.int32).at[order].set(number).reshape(-1, 3)


@struct
class Antialias:
    """`Hard(visibility_gradient="antialias")`: `antialias`, as `render` and `silhouette` take it.

    Attributes:
        edges: `[F, 3]` int32 `number_edges(mesh.faces)`; by default `render` numbers them where
            the faces are known, and else sorts them for each picture.
    """

    edges: ArrayLike | None = None  # [F, 3]

    def __call__(self, picture: jax.Array, fragments: Fragments, screen: ScreenMesh) -> jax.Array:
        """The picture, blended at its silhouette edges."""
        return antialias(picture, fragments, screen, edges=self.edges)

    def prepared(self, faces: jax.Array) -> Antialias:
        """Itself, with the edges of faces that are known."""
        if self.edges is not None or not is_concrete(faces) or not faces.shape[0]:
            return self
        return Antialias(number_edges(faces))
