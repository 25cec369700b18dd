r"""The approximate gradient of visibility of the Neural 3D Mesh Renderer (Kato et al. 2018).

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image, `C` channels, `E` = 6 sweeps, which are
the 3 edges of a face x 2 axes, `P` pixels of a pass, `K` edge pixels of a sweep, `L` pixels of a
line.

**What it approximates.** A hard picture is piecewise constant in the positions of vertices: a
pixel changes only when an edge arrives at its centre, so the true derivative is zero almost
everywhere. NMR takes the finite difference to that arrival instead. Follow one line of pixels,
a column for the vertical axis, a row for the horizontal one; let `v` count along it, `u` number
it, and let an edge from `a` to `b` of the face that a pixel sees cross it at

    v*(u) = a_v + (b_v - a_v) (u - a_u) / (b_u - a_u)

Moving `a` along the line by some distance moves the crossing by (b_u - u) / (b_u - a_u) times as
much. So to bring the edge to pixel `q` of the line, `a` must move by

    D_a(q) = (v_q - v*) (b_u - a_u) / (b_u - u)            and b by (v_q - v*) (b_u - a_u) / (u - a_u)

When it arrives, `q` takes the colour of a reference pixel `r` on the other side of the edge, and
with the upstream gradient `G` the loss falls by about

    δ(q) = Σ_c (I_c[q] - I_c[r]) G_c[q]

The gradient to `a` is the slope of that fall, -δ / D_a, summed over all pixels `q`:

- **outwards** (the face grows): `r` is the pixel just inside the edge, where it is this face that
  is seen; `q` runs from the pixel just outside to the border of the picture;
- **inwards** (the face shrinks): `r` is the pixel just outside the edge; `q` runs over all pixels
  of the line that see this face.

`D` is in screen units and kept `eps` away from zero.

**When it is zero.** Where no pixel sees the face; where δ <= 0, that is where the loss would
rise: the gradient only ever says which way is downhill (its opposite direction is another edge's
affair); where nothing changes, δ = 0. The channels are summed before that test, so the gradient
of rgb and alpha together is not the sum of their gradients. There is none in depth.

**Why it reaches far.** A pixel pulls on every edge of its row and column however distant, with a
strength that falls as 1 / distance: a silhouette is drawn to a target that it does not touch yet.

**How it is done.** The inward part is one term for each (visible pixel, sweep), with no search:
its face tells the edge, the edge tells v* and r. The outward part exists only at pixels right
inside an edge; these are listed, and each is one row of a table [K, L] over its whole line. Both
run in passes of fixed size, as many as it takes: there is no capacity, and memory is
O(pixels + faces).

Peculiarities kept from the original, with rows counted from the bottom as it does:

- an edge that ends less than one pixel before the picture still acts, extrapolated, on line 0;
- where the inward limit v_lim, the far side of the face, is undefined because an edge lies along
  the line through a pixel centre, it is 0;
- an end that lies exactly on the line (its divisor is 0) gets nothing from it.

Beyond the original: under perspective an edge that passes behind the camera is cut in front of it,
where the picture has it, and the gradient of the cut goes to both ends by the chain rule, depth
included; the original takes such corners where they are mirrored to.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import fold_vmap
from jaxrender.ops.triangles import Corners, is_front, signed_area, to_pixels

CUT = 1 / 1024  # edges that pass behind the camera are cut at this part of their front end's depth
SWEEPS = 6


class Schedule(NamedTuple):
    """How much is done at once on a kind of device; a matter of speed alone."""

    pixels: int  # visible pixels in a pass
    edges: int  # edge pixels whose lines are swept at once


SCHEDULES = {
    "cpu": Schedule(pixels=8192, edges=1024),
    "gpu": Schedule(pixels=1 << 22, edges=1 << 15),
}



class Edges(NamedTuple):
    """The edges of faces in pixel coordinates with `y` UP, in counter-clockwise order.

    Each is `[2, 3, ...]`: coordinate (x, y), edge. An edge that plays no part lies at (-2, -2).
    """

    start: jax.Array
    end: jax.Array


def visibility_gradient(
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    image: jax.Array,
    upstream: jax.Array,
    eps: jax.Array,
    *,
    perspective: bool = True,
    schedule: str | None = None,
) -> jax.Array:
    """The gradient `[V, 3]` of NMR to screen-space vertices. Not differentiable.

    Args:
        vertices: `[V, 3]` screen space.
        faces: `[F, 3]` int32.
        face: `[H, W]` int32 the face that each pixel sees, -1 for none.
        image: `[H, W, C]` the picture, background included.
        upstream: `[H, W, C]` the gradient of the loss to it.
        eps: `[]` least distance, screen units.
        perspective: whether edges are cut where they pass behind the camera.
        schedule: a key of `SCHEDULES`; by default that of the platform.
    """
    operation = _single_view(perspective, schedule)
    return operation(vertices, faces, face, image, upstream, eps)


@functools.cache
def _single_view(perspective: bool, schedule: str | None):
    """The operation for these static settings; made once, so that `vmap` rules are too."""

    def differentiate(*args: jax.Array) -> jax.Array:
        plans = {
            name: functools.partial(_differentiate, perspective=perspective, schedule=plan)
            for name, plan in SCHEDULES.items()
        }
        if schedule is not None:
            return plans[schedule](*args)
        return lax.platform_dependent(*args, cpu=plans["cpu"], default=plans["gpu"])

    return fold_vmap(differentiate)


def edges_of(
    vertices: jax.Array, faces: jax.Array, image_size: tuple[int, int], *, perspective: bool
) -> Edges:
    """The edges of faces `[F, 3]`, as front faces have them; differentiable."""
    # Find the corners. Rows count from the bottom.
    ids = jnp.clip(faces, 0, vertices.shape[0] - 1).T
    flip = jnp.array([1, -1, 1], vertices.dtype)
    corners = Corners(*(axis[ids] for axis in to_pixels(vertices * flip, image_size)))
    usable = jnp.isfinite(corners.x) & jnp.isfinite(corners.y) & jnp.isfinite(corners.z)
    corners = Corners(*(jnp.where(usable.all(0), axis, 0) for axis in corners))

    # Turn faces that are seen from behind round.
    area = -signed_area(corners)
    front = is_front(corners, area) if perspective else area < 0
    x, y, z = (jnp.where(front, axis, axis[::-1]) for axis in corners)
    start, end = jnp.stack([x, y]), jnp.stack([jnp.roll(x, -1, 0), jnp.roll(y, -1, 0)])
    if not perspective:
        return Edges(start, end)

    # Cut edges that pass behind the camera; leave out those that are wholly behind it.
    start_z, end_z = z, jnp.roll(z, -1, 0)

    def cut(keep: jax.Array, keep_z: jax.Array, lose: jax.Array, lose_z: jax.Array) -> jax.Array:
        crosses = (keep_z > 0) & (lose_z <= 0)
        keep_z, lose_z = jnp.where(crosses, keep_z, 1), jnp.where(crosses, lose_z, -1)
        depth = CUT * keep_z
        t = (keep_z - depth) / (keep_z - lose_z)
        crossing = ((1 - t) * keep * keep_z + t * lose * lose_z) / depth
        return jnp.where(crosses, crossing, lose)

    behind = (start_z <= 0) & (end_z <= 0)
    start, end = cut(end, end_z, start, start_z), cut(start, start_z, end, end_z)
    return Edges(*(jnp.where(behind, -2, point) for point in (start, end)))


def _differentiate(
    vertices: jax.Array,  # [B or 1, V, 3]
    faces: jax.Array,  # [B or 1, F, 3]
    face: jax.Array,  # [B or 1, H, W]
    image: jax.Array,  # [B or 1, H, W, C]
    upstream: jax.Array,  # [B or 1, H, W, C]
    eps: jax.Array,  # [B or 1]
    *,
    perspective: bool,
    schedule: Schedule,
) -> jax.Array:
    views = max(arg.shape[0] for arg in (vertices, faces, face, image, upstream, eps))
    _, height, width, channels = image.shape
    face_count = faces.shape[1]
    if vertices.shape[1] == 0 or face_count == 0 or channels == 0 or height * width == 0:
        return jnp.zeros((views, *vertices.shape[1:]), vertices.dtype)

    # Set the edges of all faces up, one view after the other.
    vertices, faces, face, image, upstream, eps = (
        jnp.broadcast_to(arg, (views, *arg.shape[1:]))
        for arg in (vertices, faces, face, image, upstream, eps)
    )

    def set_up(vertices: jax.Array) -> Edges:
        edges = jax.vmap(
            functools.partial(edges_of, image_size=(height, width), perspective=perspective)
        )(vertices, faces)
        return jax.tree.map(lambda edge: jnp.moveaxis(edge, 0, 2).reshape(2, 3, -1), edges)

    edges, to_vertices = jax.vjp(set_up, vertices)
    behind = (vertices[..., 2] <= 0) if perspective else jnp.zeros(vertices.shape[:2], bool)
    cut = jax.vmap(lambda behind, faces: behind[faces].any(-1))(behind, faces).reshape(-1)
    gradient = _sweep(edges, cut, face, image, upstream, eps, schedule)
    return to_vertices(gradient)[0]


class Crossing(NamedTuple):
    """Where an edge crosses the line of a pixel, and what moving its ends does there."""

    at: jax.Array  # v*
    step: jax.Array  # +1 or -1, the way out of the face
    inner: jax.Array  # v of the last pixel inside
    reach: tuple[jax.Array, jax.Array]  # screen units an end moves per pixel of the crossing
    moves: tuple[jax.Array, jax.Array]  # whether the end moves the crossing at all
    valid: jax.Array  # whether the edge crosses this line, between two pixels of the picture


def _cross(au, av, bu, bv, u, axis, lines, size) -> Crossing:
    """The crossing of the edges from a to b with the lines `u`; all arguments broadcast.

    Args:
        au, av, bu, bv: the ends, pixel coordinates.
        u: the number of the line.
        axis: 0 where lines are columns, 1 where they are rows.
        lines: how many there are.
        size: pixels of a line.
    """
    level = au == bu
    span = jnp.where(level, 1, bu - au)
    at = av + (bv - av) * (u - au) / span
    step = jnp.where((au < bu) == (axis == 0), -1, 1).astype(at.dtype)
    inner = jnp.where(step > 0, jnp.floor(at), jnp.ceil(at))
    outer = inner + step
    first = jnp.maximum(jnp.ceil(jnp.minimum(au, bu)), 0)
    last = jnp.trunc(jnp.minimum(jnp.maximum(au, bu), lines - 1))
    valid = ~level & (u >= first) & (u <= last)
    valid &= (inner >= 0) & (inner < size) & (outer >= 0) & (outer < size)
    to_end = (bu - u, u - au)
    moves = tuple(difference != 0 for difference in to_end)
    reach = tuple(
        span / jnp.where(move, difference, 1) * 2 / size
        for difference, move in zip(to_end, moves, strict=True)
    )
    return Crossing(at, step, inner, reach, moves, valid)


def _sweep(
    edges: Edges,
    cut: jax.Array,
    face: jax.Array,
    image: jax.Array,
    upstream: jax.Array,
    eps: jax.Array,
    schedule: Schedule,
) -> Edges:
    """The gradient to the edges of all faces.

    Args:
        edges: of all views, `[2, 3, B F]`.
        cut: `[B F]` whether the camera plane cuts the face.
        face: `[B, H, W]`.
        image: `[B, H, W, C]`.
        upstream: `[B, H, W, C]`.
        eps: `[B]`.
        schedule: how much is done at once.
    """
    views, height, width, channels = image.shape
    face_total = cut.shape[0]
    dtype = edges.start.dtype
    table = jnp.concatenate([part.reshape(6, -1) for part in edges] + [cut[None].astype(dtype)])

    # Lay the picture out as lines, all columns and then all rows of each view, from the bottom.
    length = max(height, width)

    def as_lines(picture: jax.Array) -> jax.Array:
        rows = jnp.moveaxis(picture[:, ::-1].astype(dtype), 3, 0)  # [C, B, H, W]
        columns = rows.swapaxes(2, 3)
        fill = [
            jnp.pad(lines, ((0, 0), (0, 0), (0, 0), (0, length - lines.shape[3])))
            for lines in (columns, rows)
        ]
        return jnp.concatenate(fill, 2).reshape(channels, -1, length)

    image, upstream = as_lines(image), as_lines(upstream)
    line_total = views * (width + height)

    # List the visible pixels.
    face = face[:, ::-1].reshape(-1)
    visible = face >= 0
    pixels = min(schedule.pixels, face.size)
    position = jnp.cumsum(visible, dtype=jnp.int32)
    queue = jnp.zeros(face.size + pixels, jnp.int32)
    queue = queue.at[jnp.where(visible, position - 1, queue.size)].set(
        jnp.arange(face.size, dtype=jnp.int32), mode="drop", unique_indices=True
    )

    def one_pass(number: jax.Array, gradient: jax.Array) -> jax.Array:
        # Find the pixels of this pass, and the edges of their faces.
        first = number * pixels
        pixel = lax.dynamic_slice(queue, (first,), (pixels,))
        live = first + jnp.arange(pixels, dtype=jnp.int32) < position[-1]
        view = lax.div(pixel, jnp.int32(height * width))
        within = pixel - view * (height * width)
        row = lax.div(within, jnp.int32(width))
        column = within - row * width
        owner = face[pixel] + view * (face_total // views)
        known = table[:, owner]  # [13, P]

        def one_sweep(sweep: jax.Array, carry) -> tuple:
            known, live, view, row, column, owner, gradient = carry
            axis, edge = lax.div(sweep, jnp.int32(3)), lax.rem(sweep, jnp.int32(3))
            by_column = axis == 0
            lines, size = (
                jnp.where(by_column, a, b).astype(dtype)
                for a, b in ((width, height), (height, width))
            )
            u, v = (jnp.where(by_column, a, b) for a, b in ((column, row), (row, column)))
            line = view * (width + height) + jnp.where(by_column, u, width + u)

            def end_of(end: int, coordinate: jax.Array, edge: jax.Array) -> jax.Array:
                place = (end * 2 + coordinate) * 3 + edge
                return lax.dynamic_index_in_dim(known, place, keepdims=False)

            au, av = end_of(0, axis, edge), end_of(0, 1 - axis, edge)
            bu, bv = end_of(1, axis, edge), end_of(1, 1 - axis, edge)
            third = lax.rem(edge + 2, jnp.int32(3))
            cu, cv = end_of(0, axis, third), end_of(0, 1 - axis, third)

            # Inwards: the face gives this pixel up for what lies just outside.
            uf, vf = u.astype(dtype), v.astype(dtype)
            crossing = _cross(au, av, bu, bv, uf, axis, lines, size)
            along_first = (uf - au) * (uf - cu) < 0
            start_u, start_v = jnp.where(along_first, au, cu), jnp.where(along_first, av, cv)
            rise, run = jnp.where(along_first, cv - av, bv - cv), jnp.where(along_first, cu - au, bu - cu)
            limit = start_v + rise * (uf - start_u) / run
            limit = jnp.where(crossing.step > 0, jnp.ceil(limit), jnp.floor(limit))
            limit = jnp.where(jnp.isnan(limit), 0, limit)
            inside = (vf >= jnp.minimum(crossing.inner, limit)) & (vf <= jnp.maximum(crossing.inner, limit))
            inside |= (known[12] > 0) & ((crossing.inner - vf) * crossing.step >= 0)
            valid = crossing.valid & live
            outer = jnp.clip(crossing.inner + crossing.step, 0, size - 1).astype(jnp.int32)
            delta = 0
            for channel in range(channels):
                seen, pull = image[channel].reshape(-1), upstream[channel].reshape(-1)
                here = line * length + v
                delta = delta + (seen[here] - seen[line * length + outer]) * pull[here]
            delta = jnp.where(valid & inside & (delta > 0), delta, 0)
            place = ((1 - axis) * 3 + edge) * face_total + owner
            for end in range(2):
                reach = (vf - crossing.at) * crossing.reach[end]
                reach = jnp.where(reach > 0, reach + eps[view], reach - eps[view])
                moved = jnp.where(crossing.moves[end], -delta / reach, 0)
                gradient = gradient.at[place + end * 6 * face_total].add(moved)

            # Outwards: list the pixels right inside the edge.
            at_edge = valid & (vf == crossing.inner)
            rank = jnp.cumsum(at_edge, dtype=jnp.int32)
            edges_at_once = min(schedule.edges, pixels)
            order = jnp.zeros(pixels + edges_at_once, jnp.int32)
            order = order.at[jnp.where(at_edge, rank - 1, order.size)].set(
                jnp.arange(pixels, dtype=jnp.int32), mode="drop", unique_indices=True
            )
            data = (au, av, bu, bv, u, line, owner, view)
            along = jnp.arange(length, dtype=dtype)[None]

            def one_block(block: jax.Array, gradient: jax.Array) -> jax.Array:
                start = block * edges_at_once
                chosen = lax.dynamic_slice(order, (start,), (edges_at_once,))
                live = start + jnp.arange(edges_at_once, dtype=jnp.int32) < rank[-1]
                au, av, bu, bv, u, line, owner, view = (item[chosen] for item in data)
                crossing = _cross(au, av, bu, bv, u.astype(dtype), axis, lines, size)
                inner = crossing.inner.astype(jnp.int32)
                delta = 0
                for channel in range(channels):
                    reference = image[channel].reshape(-1)[line * length + inner]
                    delta = delta + (image[channel][line] - reference[:, None]) * upstream[channel][line]
                distance = (along - crossing.at[:, None]) * crossing.step[:, None]
                outside = (along - inner[:, None].astype(dtype)) * crossing.step[:, None] > 0
                fall = jnp.where(outside & (delta > 0), delta, 0)
                place = ((1 - axis) * 3 + edge) * face_total + owner
                for end in range(2):
                    reach = crossing.reach[end]
                    pulls = fall / (distance * jnp.abs(reach)[:, None] + eps[view][:, None])
                    pulls = jnp.dot(pulls, jnp.ones(length, dtype), precision=lax.Precision.HIGHEST)
                    moved = -pulls * crossing.step * jnp.sign(reach)
                    moved = jnp.where(live & crossing.moves[end], moved, 0)
                    gradient = gradient.at[place + end * 6 * face_total].add(moved)
                return gradient

            blocks = lax.div(rank[-1] + edges_at_once - 1, jnp.int32(edges_at_once))
            gradient = lax.fori_loop(jnp.int32(0), blocks, one_block, gradient)
            return known, live, view, row, column, owner, gradient

        carry = (known, live, view, row, column, owner, gradient)
        return lax.fori_loop(jnp.int32(0), jnp.int32(SWEEPS), one_sweep, carry)[-1]

    passes = lax.div(position[-1] + pixels - 1, jnp.int32(pixels))
    gradient = lax.fori_loop(jnp.int32(0), passes, one_pass, jnp.zeros(12 * face_total, dtype))
    # It is per screen unit so far; the edges are in pixels.
    pixels_per_unit = jnp.array([width / 2, height / 2], dtype)[:, None, None]
    return Edges(*(gradient.reshape(2, 2, 3, face_total) / pixels_per_unit))
