"""The blend of all triangles that reach a pixel: SoftRas's aggregation, forward and backward.

Shapes: `B` views, `N` triangles, `H, W` image, `K` attributes, `C` channels, `P` slots of a pass,
`h, w` window. Distances are in pixels, and so is `sigma`.

Forward. Triangle `j` reaches a pixel with the coverage `D_j = F(t_j)`, where `t = ±d²/σ` is
positive inside. With its depth `z_j` and colour `c_j` there (see `footprints.py`), the nearest
depth `m`, that of the background `z_b` included, and the sharpness `s = 1/((far - near) γ)`,

    p_j = D_j exp(-s (z_j - m))      p_b = exp(-s (z_b - m))      S = p_b + Σ p_j
    colour = Σ p_j c_j / S           depth = Σ p_j z_j / S        background = p_b / S
    total = Σ g(D_j)

(Liu et al. 2019, Eq. 1-4, with `g = -log(1 - D)` and `alpha = 1 - exp(-total)`; other `g` are the
generators of other T-conorms, Petersen et al. 2022.) Depths stand where the paper has depths
scaled to [0, 1]: it is the same softmax, with less to round off. Two scans over the windows of
all triangles (see `windows.py`): the first finds `m`, the second adds everything up. Sums and
minima need no order, so no list per pixel is kept or sorted, and memory is O(N + H W).

Backward. With the upstream gradients `G_c`, `G_z`, `G_b`, `G_a` of colour, depth, background and
total, and `v_j = G_c · c_j + G_z z_j`, of which the mean over triangles and background is
`v = G_c · colour + G_z depth + G_b background`, the derivative of the softmax is

    q_j = (p_j / S) (v_j - v)                  ∂L/∂log D_j = q_j
    ∂L/∂c_j = (p_j / S) G_c                    ∂L/∂z_j = (p_j / S) G_z - s q_j
    ∂L/∂s = -Σ_j q_j (z_j - m) - q_b (z_b - m)      q_b = background (G_b - v)

so one more scan finds all that a triangle gets, each pixel's part by itself: from `D_j` and
`g(D_j)` to `t`, from `t` to the corners of the closest edge, from `c_j` and `z_j` to the
barycentrics, and from those to the corners. The closest point moves along the edge too, but
that does not change the distance (the envelope theorem). With `w_k` the screen barycentrics
and `u_k = ∂L/∂w_k`, moving corner `m` moves them all:

    ∂w_k/∂x_m = -w_m ∂w_k/∂x      so      ∂L/∂x_m = -w_m Σ_k u_k ∂w_k/∂x

Dropped: the jump where a triangle comes into reach (`D = cutoff`) or passes `far`, or where
another edge is the closest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import fold_vmap_scheduled
from jaxrender.ops.footprints import (
    Footprint,
    Triple,
    footprint_table,
    is_inside,
    read_footprints,
)
from jaxrender.ops.windows import Bounds, Windows, scan_windows, window_pixels

WINDOW = (8, 16)  # a row of 16 floats fills the vector units; reach makes triangles tall
NOT_DRAWN, ALPHA_ONLY, DRAWN = 0, 1, 2  # what a triangle takes part in
CERTAIN = 80.0  # a `t` at which every coverage is 1
NO_OFFER = jnp.iinfo(jnp.int32).max
IN_BOUNDS = lax.GatherScatterMode.PROMISE_IN_BOUNDS
PLANE_SCATTER = lax.ScatterDimensionNumbers((1, 2), (), (0, 1))  # windows of one plane
PLANE_GATHER = lax.GatherDimensionNumbers((1, 2), (), (0, 1))
PLANES_SCATTER = lax.ScatterDimensionNumbers((1, 2, 3), (), (1, 2))  # of several at once
PLANES_GATHER = lax.GatherDimensionNumbers((1, 2, 3), (), (1, 2))


class Schedule(NamedTuple):
    """How the same passes run on a kind of device; a matter of speed alone."""

    slots: int  # windows in a pass
    staged: bool  # whether what many results need is written out first


SCHEDULES = {"cpu": Schedule(512, staged=True), "gpu": Schedule(1 << 14, staged=False)}


class Paint(NamedTuple):
    """How attributes become colours, with two functions of lists of arrays `[P, h, w]`.

    Attributes:
        channels: `C`.
        taps: `(places, attributes) -> (rows, weights)`, which rows of the table to read and how
            much of each; `places` are integers of the triangle. None reads nothing.
        mix: `(texel, attributes) -> colours`, elementwise. None is the attributes themselves.
    """

    channels: int
    taps: Hashable | None = None
    mix: Hashable | None = None


class Settings(NamedTuple):
    """What is part of the program.

    Attributes:
        image_size: `(H, W)`.
        distance: "euclidean", "barycentric" or "hard".
        coverage: `F`, elementwise.
        squared: whether `F` takes `t = ±d²/σ` or its root `±d/√σ`.
        sure: whether `F` exceeds any cutoff everywhere inside.
        tally: `t -> g(F(t))`, or likewise of its root; elementwise.
        highest: whether `total` is the largest, not the sum.
        paint: how colours are found; None blends nothing: only `total` counts.
        perspective: whether 1/z (True) or z (False) is linear on screen.
        faithful: SoftRas's arithmetic, see `rasterize_soft`.
    """

    image_size: tuple[int, int]
    distance: str
    coverage: Callable[[jax.Array], jax.Array]
    squared: bool
    sure: bool
    tally: Callable[[jax.Array], jax.Array]
    highest: bool
    paint: Paint | None
    perspective: bool
    faithful: bool


class Scales(NamedTuple):
    """What is traced, each `[]`, one for each view."""

    sigma: jax.Array  # square pixels, or squared barycentrics
    sharpness: jax.Array  # s, per scene unit of depth
    floor: jax.Array  # z_b, depth of the background
    near: jax.Array  # in front of which nothing is drawn
    far: jax.Array  # behind which nothing is drawn
    reach: jax.Array  # how far a triangle reaches, as `sigma`
    cutoff: jax.Array  # the coverage there


class Scene(NamedTuple):
    """What is drawn."""

    corners: jax.Array  # [N, 3, 3] of each corner: pixel coordinates x, y, and depth
    part: jax.Array  # [N] int32: NOT_DRAWN, ALPHA_ONLY or DRAWN
    attributes: jax.Array  # [N, 3, K] of each corner
    table: jax.Array  # [R, C'] texels
    places: jax.Array  # [N, I] int32 what `Paint.taps` needs of a triangle


class Blend(NamedTuple):
    """The sums of all triangles at each pixel; see the top of the file."""

    rgb: jax.Array  # [H, W, C]
    depth: jax.Array  # [H, W]
    background: jax.Array  # [H, W]
    total: jax.Array  # [H, W]


class Saved(NamedTuple):
    """What the backward scan needs of the forward ones."""

    nearest: jax.Array  # [H, W] m
    norm: jax.Array  # [H, W] S
    winner: jax.Array  # [H, W] int32, or [0, 0]: which triangle gave the highest tally


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def soft_blend(
    scene: Scene, scales: Scales, settings: Settings, schedule: str | None = None
) -> Blend:
    """Blends the triangles of one view; see the top of the file.

    Gradient: reverse mode; to corners, attributes, table, `sigma`, `sharpness` and `floor`.
    """
    return _blend(scene, scales, settings, schedule)[0]


def _blend(
    scene: Scene, scales: Scales, settings: Settings, schedule: str | None
) -> tuple[Blend, Saved]:
    return _forward_of(settings, schedule)(*scene, *scales)


def _soft_blend_fwd(scene, scales, settings, schedule):
    blend, saved = _blend(scene, scales, settings, schedule)
    return blend, (scene, scales, blend, saved)


def _soft_blend_bwd(settings, schedule, kept, upstream):
    scene, scales, blend, saved = kept
    corners, attributes, table, sigma, sharpness, floor = _backward_of(settings, schedule)(
        *scene, *scales, *blend, *saved, *upstream
    )
    zero = jnp.zeros_like(sigma)
    return (
        Scene(corners, None, attributes, table, None),  # ty: integers have no gradient
        Scales(sigma, sharpness, floor, zero, zero, zero, zero),
    )


soft_blend.defvjp(_soft_blend_fwd, _soft_blend_bwd)


@functools.lru_cache(maxsize=256)
def _forward_of(settings: Settings, schedule: str | None):
    """The operation for these static settings; made once, so that `vmap` rules are too."""
    return fold_vmap_scheduled(functools.partial(_forward, settings=settings), SCHEDULES, schedule)


@functools.lru_cache(maxsize=256)
def _backward_of(settings: Settings, schedule: str | None):
    return fold_vmap_scheduled(functools.partial(_backward, settings=settings), SCHEDULES, schedule)


class _Setup(NamedTuple):
    """The triangles of all views, one view after the other, ready to be scanned."""

    views: int
    count: int  # N
    bounds: Bounds
    footprints: jax.Array  # [16, B N]
    colored: jax.Array  # [B N] bool
    attributes: jax.Array  # [3 K, B N], or [3 K, N] where all views share them
    table: jax.Array  # [R, C'] or [B R, C']
    rows: int  # R where each view has its own texels, or 0
    places: jax.Array  # [I, B N or N]
    scales: jax.Array  # [7, B]


class _Slots(NamedTuple):
    """The triangles of one pass, and their windows."""

    windows: Windows
    view: jax.Array  # [P]
    footprints: jax.Array  # [16, P]
    colored: jax.Array  # [P] bool
    attributes: jax.Array  # [3 K, P]
    places: jax.Array  # [I, P]
    table: jax.Array  # of all views
    first_row: jax.Array  # [P] of the view's texels in it
    scales: jax.Array  # [7, P]
    origin: jax.Array  # [P, 2] of the windows in the tall picture


def _set_up(scene: Scene, scales: Scales, settings: Settings) -> _Setup:
    """Arranges the views' triangles; every array has a leading axis `[B or 1]`."""
    views = max(array.shape[0] for array in (*scene, *scales))
    count = scene.corners.shape[1]
    rates = jnp.stack([jnp.broadcast_to(scale, (views,)) for scale in scales])
    corners = jnp.broadcast_to(scene.corners, (views, count, 3, 3)).reshape(-1, 3, 3)
    part = jnp.broadcast_to(scene.part, (views, count)).reshape(-1)
    reach = jnp.repeat(Scales(*rates).reach, count)
    table = scene.table
    return _Setup(
        views,
        count,
        _bounds(corners, part != NOT_DRAWN, reach, settings),
        footprint_table(corners, perspective=settings.perspective),
        part == DRAWN,
        scene.attributes.transpose(2, 3, 0, 1).reshape(-1, scene.attributes.shape[0] * count),
        table.reshape(-1, table.shape[-1]),
        table.shape[1] if table.shape[0] > 1 else 0,
        scene.places.transpose(2, 0, 1).reshape(-1, scene.places.shape[0] * count),
        rates,
    )


def _bounds(corners: jax.Array, drawn: jax.Array, reach: jax.Array, settings: Settings) -> Bounds:
    """The pixels that triangles `[N, 3, 3]` may reach."""
    height, width = settings.image_size
    xy = corners[..., :2]
    grown = jnp.sqrt(reach)[:, None, None]
    if settings.distance == "hard":
        grown = jnp.zeros_like(grown)
    if settings.distance == "barycentric":
        # All that has w >= -r is the triangle with corners w_k = 1 + 2 r.
        spread = xy + grown * (3 * xy - xy.sum(1, keepdims=True))
        low, high = spread.min(1), spread.max(1)
    else:
        low, high = (xy - grown).min(1), (xy + grown).max(1)

    def first(axis: int, size: int) -> jax.Array:
        return jnp.ceil(jnp.clip(low[:, axis], 0, size)).astype(jnp.int32)

    def last(axis: int, size: int) -> jax.Array:
        return jnp.floor(jnp.clip(high[:, axis], -1, size - 1)).astype(jnp.int32)

    bottom = jnp.where(drawn, last(1, height), -1)
    return Bounds(first(1, height), first(0, width), bottom, last(0, width))


def _take_slots(setup: _Setup, windows: Windows, settings: Settings) -> _Slots:
    """Gathers what a pass needs of its triangles."""
    face = windows.face
    view = lax.div(face, jnp.int32(max(setup.count, 1)))
    local = face - view * setup.count
    row = windows.row + view * (settings.image_size[0] + WINDOW[0])
    return _Slots(
        windows,
        view,
        setup.footprints[:, face],
        setup.colored[face],
        setup.attributes[:, face if setup.attributes.shape[1] > setup.count else local],
        setup.places[:, face if setup.places.shape[1] > setup.count else local],
        setup.table,
        view * setup.rows,
        setup.scales[:, view],
        jnp.stack([row, windows.column], -1),
    )


class _Sight(NamedTuple):
    """The pixels of a pass, and what they look at."""

    x: jax.Array  # [P, h, w]
    y: jax.Array
    footprint: Footprint
    scales: Scales  # each [P, 1, 1]
    live: jax.Array  # [P, 1, 1] bool
    colored: jax.Array  # [P, 1, 1] bool


def _look(slots: _Slots) -> _Sight:
    """Lays the numbers of a pass out; done anew in each stage, for it costs nothing there."""
    y, x = window_pixels(slots.windows.row, slots.windows.column, WINDOW)
    dtype = slots.footprints.dtype
    return _Sight(
        x.astype(dtype),
        y.astype(dtype),
        read_footprints(slots.footprints, jnp.arange(slots.view.size)),
        Scales(*(scale[:, None, None] for scale in slots.scales)),
        slots.windows.live[:, None, None],
        slots.colored[:, None, None],
    )


def _signed(
    sight: _Sight, edges: Triple, settings: Settings, squared: jax.Array | None = None
) -> jax.Array:
    """`t`, positive inside, -inf where the triangle does not reach.

    Args:
        sight: what is looked at.
        edges: the edge functions there.
        settings: which distance.
        squared: the squared distance, where it is known already.
    """
    inside = is_inside(edges)
    footprint, scales = sight.footprint, sight.scales
    if settings.distance == "hard":
        on_edge = (edges[0] >= 0) & (edges[1] >= 0) & (edges[2] >= 0)
        return jnp.where(on_edge & sight.live, CERTAIN, -jnp.inf).astype(edges[0].dtype)
    if settings.distance == "barycentric":
        lowest = _lowest(sight, edges)
        squared = lowest * lowest
        inside = lowest > 0
        if settings.faithful:
            # SoftRas looks no farther than this, as if barycentrics were places on screen.
            grown = 0.5 * settings.image_size[0] * jnp.sqrt(scales.reach)
            for place, corners in ((sight.x, footprint.x), (sight.y, footprint.y)):
                low, high = (
                    functools.reduce(jnp.minimum, corners),
                    functools.reduce(jnp.maximum, corners),
                )
                near = (place >= low - grown) & (place <= high + grown)
                squared = jnp.where(near, squared, jnp.inf)
                inside = inside & near
    elif squared is None:
        squared = footprint.distance(sight.x, sight.y)
    reached = sight.live & (inside | (squared < scales.reach))
    return jnp.where(reached, jnp.where(inside, squared, -squared) / scales.sigma, -jnp.inf)


def _lowest(sight: _Sight, edges: Triple) -> jax.Array:
    """The smallest of the screen barycentrics."""
    lowest = jnp.minimum(jnp.minimum(edges[0], edges[1]), edges[2])
    return lowest * jnp.abs(sight.footprint.inverse_area)


def _interpolation(sight: _Sight, edges: Triple, settings: Settings) -> tuple[Triple, jax.Array]:
    """The weights of the corners' attributes, and `1 / Σ e⁺_k q_k` (not for `faithful`)."""
    footprint = sight.footprint
    if settings.faithful:
        # SoftRas: clipped from above as well, and not perspective-correct.
        weights = [jnp.clip(edge * jnp.abs(footprint.inverse_area), 0, 1) for edge in edges]
        total = jnp.maximum(weights[0] + weights[1] + weights[2], 1e-5)
        return [weight / total for weight in weights], 1 / total
    weights = [jnp.maximum(edge, 0) * footprint.nearness[k] for k, edge in enumerate(edges)]
    total = weights[0] + weights[1] + weights[2]
    inverse = 1 / jnp.where(total > 0, total, 1)
    return [weight * inverse for weight in weights], inverse


def _depth(sight: _Sight, weights: Triple, settings: Settings) -> jax.Array:
    """The depth at a pixel, from `_interpolation`."""
    z = sight.footprint.z
    if settings.faithful:
        nearness = sight.footprint.nearness
        closest = nearness[0] * z[0]
        over = sum(weight * near for weight, near in zip(weights, nearness, strict=True))
        return closest / jnp.where(over == 0, jnp.finfo(z[0].dtype).tiny, over)
    return weights[0] * z[0] + weights[1] * z[1] + weights[2] * z[2]


def _in_range(sight: _Sight, depth: jax.Array, settings: Settings) -> jax.Array:
    """Whether that depth is drawn; pieces are cut at `near` before."""
    if settings.faithful:
        return (depth >= sight.scales.near) & (depth <= sight.scales.far)
    return depth <= sight.scales.far


def _argument(signed: jax.Array, settings: Settings) -> jax.Array:
    """What coverage and tally take, where the triangle reaches; elsewhere something harmless."""
    signed = jnp.where(signed > -jnp.inf, signed, 0)
    if settings.squared:
        return signed
    return jnp.sign(signed) * jnp.sqrt(jnp.abs(signed))


def _covered(signed: jax.Array, sight: _Sight, settings: Settings) -> jax.Array:
    """Where a triangle covers more than the cutoff."""
    reached = signed > -jnp.inf
    if settings.sure:
        return reached
    return reached & (settings.coverage(_argument(signed, settings)) > sight.scales.cutoff)


def _forward(
    corners: jax.Array,
    part: jax.Array,
    attributes: jax.Array,
    table: jax.Array,
    places: jax.Array,
    *scales: jax.Array,
    settings: Settings,
    schedule: Schedule,
) -> tuple[Blend, Saved]:
    """The two scans; all arguments have a leading axis `[B or 1]`."""
    setup = _set_up(Scene(corners, part, attributes, table, places), Scales(*scales), settings)
    tall, cut_out = _tall(setup.views, settings)
    rates = Scales(*setup.scales[:, :, None, None])
    dtype = corners.dtype
    scan = functools.partial(_scan, setup, settings=settings, schedule=schedule)

    # Add up tallies alone, where no colours are asked for.
    total = jnp.zeros(tall, dtype)
    winner = jnp.full(tall if settings.highest else (0, 0), NO_OFFER, jnp.int32)
    if not settings.paint:
        total, winner = scan(_fold_tally, (total, winner))
        total = cut_out(total[None])[..., 0]
        ones = jnp.ones_like(total)
        blend = Blend(jnp.zeros((*total.shape, 0), dtype), 0 * ones, ones, total)
        return blend, Saved(ones, ones, _cut_winner(winner, cut_out, setup.views, settings))

    # Find the nearest depth at each pixel; then add everything up.
    nearest = jnp.repeat(rates.floor.reshape(-1), settings.image_size[0] + WINDOW[0])
    nearest = scan(_fold_nearest, jnp.broadcast_to(nearest[:, None], tall))
    sums = jnp.zeros((2 + settings.paint.channels, *tall), dtype)
    total, winner, sums, _ = scan(_fold_blend, (total, winner, sums, nearest))

    # Cut the views out of the tall picture, and divide.
    sums = cut_out(sums)
    total, nearest = (cut_out(plane[None])[..., 0] for plane in (total, nearest))
    background = jnp.exp(-rates.sharpness * (rates.floor - nearest))
    norm = background + sums[..., 0]
    norm = jnp.where(norm > 0, norm, 1)
    blend = Blend(sums[..., 2:] / norm[..., None], sums[..., 1] / norm, background / norm, total)
    return blend, Saved(nearest, norm, _cut_winner(winner, cut_out, setup.views, settings))


def _cut_winner(winner: jax.Array, cut_out: Callable, views: int, settings: Settings) -> jax.Array:
    """Winners `[B, H, W]`; `[B, 0, 0]` where nobody asks for them."""
    if settings.highest:
        return cut_out(winner[None])[..., 0]
    return jnp.zeros((views, 0, 0), jnp.int32)


def _tall(
    views: int, settings: Settings
) -> tuple[tuple[int, int], Callable[[jax.Array], jax.Array]]:
    """The size of the views drawn one below the other, padded so that no window leaves them.

    Also what cuts planes `[n, *size]` into `[B, H, W, n]`.
    """
    height, width = settings.image_size
    padded = height + WINDOW[0]

    def cut_out(planes: jax.Array) -> jax.Array:
        planes = planes.reshape(-1, views, padded, width + WINDOW[1])[:, :, :height, :width]
        return planes.transpose(1, 2, 3, 0)

    return (views * padded, width + WINDOW[1]), cut_out


def _stack_views(planes: list[jax.Array], settings: Settings) -> jax.Array:
    """Lays planes `[B, H, W]` out as scans take them: `[n, *size]` of `_tall`."""
    stacked = jnp.pad(jnp.stack(planes), ((0, 0), (0, 0), (0, WINDOW[0]), (0, WINDOW[1])))
    return stacked.reshape(len(planes), -1, stacked.shape[-1])


def _scan(
    setup: _Setup, fold: Callable, state: Any, *, settings: Settings, schedule: Schedule
) -> Any:
    """Folds all windows of all views into `state`: `fold(state, slots, settings, staged)`."""
    return scan_windows(
        lambda state, windows: fold(
            state, _take_slots(setup, windows, settings), settings, schedule.staged
        ),
        state,
        setup.bounds,
        window=WINDOW,
        slots=schedule.slots,
    )


def _fold_nearest(nearest: jax.Array, slots: _Slots, settings: Settings, staged: bool) -> jax.Array:
    sight = _look(slots)
    edges = sight.footprint.edges(sight.x, sight.y)
    signed = _signed(sight, edges, settings)
    depth = _depth(sight, _interpolation(sight, edges, settings)[0], settings)
    seen = _covered(signed, sight, settings) & sight.colored & _in_range(sight, depth, settings)
    offer = jnp.where(seen, depth, jnp.inf)
    return lax.scatter_min(nearest, slots.origin, offer, PLANE_SCATTER, mode=IN_BOUNDS)


def _fold_tally(
    state: tuple[jax.Array, jax.Array], slots: _Slots, settings: Settings, staged: bool
) -> tuple[jax.Array, jax.Array]:
    sight = _look(slots)
    edges = sight.footprint.edges(sight.x, sight.y)
    signed = _signed(sight, edges, settings)
    if not settings.faithful:
        depth = _depth(sight, _interpolation(sight, edges, settings)[0], settings)
        signed = jnp.where(_in_range(sight, depth, settings), signed, -jnp.inf)
    return _add_tally(*state, slots, signed, settings)


def _add_tally(
    total: jax.Array, winner: jax.Array, slots: _Slots, signed: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """Adds the tallies of a pass to `total`, or finds the highest and whose it is."""
    tally = jnp.where(signed > -jnp.inf, settings.tally(_argument(signed, settings)), 0)
    if not settings.highest:
        return _add(total, slots, tally), winner
    total = lax.scatter_max(total, slots.origin, tally, PLANE_SCATTER, mode=IN_BOUNDS)
    highest = lax.gather(total, slots.origin, PLANE_GATHER, WINDOW, mode=IN_BOUNDS)
    # Passes go from the last triangle to the first: an offer replaces what earlier ones left.
    hit = (tally == highest) & (tally > 0)
    offer = jnp.where(hit, slots.windows.face[:, None, None], NO_OFFER)
    return total, lax.scatter_min(winner, slots.origin, offer, PLANE_SCATTER, mode=IN_BOUNDS)


def _add(plane: jax.Array, slots: _Slots, values: jax.Array) -> jax.Array:
    return lax.scatter_add(plane, slots.origin, values, PLANE_SCATTER, mode=IN_BOUNDS)


def _fold_blend(
    state: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    slots: _Slots,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    total, winner, sums, nearest = state
    nearest_here = lax.gather(nearest, slots.origin, PLANE_GATHER, WINDOW, mode=IN_BOUNDS)

    # Find how far each pixel is from the triangle, and where on it that is.
    sight = _look(slots)
    edges = sight.footprint.edges(sight.x, sight.y)
    signed = _signed(sight, edges, settings)
    weights, _ = _interpolation(sight, edges, settings)
    if not settings.faithful:
        in_range = _in_range(sight, _depth(sight, weights, settings), settings)
        signed = jnp.where(in_range, signed, -jnp.inf)

    def weigh(slots: _Slots, signed: jax.Array, w0: jax.Array, w1: jax.Array, nearest: jax.Array):
        weight, depth = _weight(_look(slots), signed, w0, w1, nearest, settings)

        def paint(slots: _Slots, weight: jax.Array, depth: jax.Array, w0: jax.Array, w1: jax.Array):
            colors = _paint(slots, _interpolate(slots, w0, w1), settings.paint)
            return jnp.stack([weight, weight * depth, *(weight * color for color in colors)], 1)

        return _stage(staged, paint, slots, weight, depth, w0, w1), signed

    added, signed = _stage(staged, weigh, slots, signed, weights[0], weights[1], nearest_here)
    total, winner = _add_tally(total, winner, slots, signed, settings)
    sums = lax.scatter_add(sums, slots.origin, added, PLANES_SCATTER, mode=IN_BOUNDS)
    return total, winner, sums, nearest


def _stage(staged: bool, function: Callable, slots: _Slots, *arrays: jax.Array) -> Any:
    """`function(slots, *arrays)`, with the arrays written out first.

    XLA on a CPU makes one kernel of each result, with all that it needs computed anew. Operands
    of a branch are written out, and so computed once; this branch is always taken.
    """
    if not staged:
        return function(slots, *arrays)
    shapes = jax.eval_shape(function, slots, *arrays)
    return lax.cond(
        slots.view[0] >= 0,
        function,
        lambda *_: jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes),
        slots,
        *arrays,
    )


def _weight(
    sight: _Sight,
    signed: jax.Array,
    w0: jax.Array,
    w1: jax.Array,
    nearest: jax.Array,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    """`p_j`, and the depth, `nearest` where it is not drawn."""
    depth = _depth(sight, [w0, w1, 1 - w0 - w1], settings)
    seen = _covered(signed, sight, settings) & sight.colored & _in_range(sight, depth, settings)
    depth = jnp.where(seen, depth, nearest)
    coverage = settings.coverage(_argument(signed, settings))
    weight = coverage * jnp.exp(-sight.scales.sharpness * (depth - nearest))
    return jnp.where(seen, weight, 0), depth


def _corner_attributes(slots: _Slots) -> list[list[jax.Array]]:
    """The attributes of the three corners, each `[P, 1, 1]`."""
    count = slots.attributes.shape[0] // 3
    rows = [slots.attributes[k][:, None, None] for k in range(3 * count)]
    return [rows[:count], rows[count : 2 * count], rows[2 * count :]]


def _interpolate(slots: _Slots, w0: jax.Array, w1: jax.Array) -> list[jax.Array]:
    """The attributes at each pixel."""
    w2 = 1 - w0 - w1
    corners = zip(*_corner_attributes(slots), strict=True)
    return [w0 * first + w1 * second + w2 * third for first, second, third in corners]


def _taps(slots: _Slots, attributes: list[jax.Array], paint: Paint) -> tuple[list, list]:
    """The rows of the view's table that pixels read, and their weights."""
    places = [slots.places[k][:, None, None] for k in range(slots.places.shape[0])]
    return paint.taps(places, attributes)


def _paint(slots: _Slots, attributes: list[jax.Array], paint: Paint) -> list[jax.Array]:
    """The colours of the triangles at each pixel."""
    texel = []
    if paint.taps is not None:
        rows, weights = _taps(slots, attributes, paint)
        texel = _blend_texels(_read_rows(slots, rows), weights)
    return attributes if paint.mix is None else paint.mix(texel, attributes)


def _read_rows(slots: _Slots, rows: list[jax.Array]) -> list[list[jax.Array]]:
    """The channels of each of the rows at each pixel."""
    first = slots.first_row[:, None, None]
    read = [jnp.take(slots.table, first + row, axis=0, mode="clip") for row in rows]
    return [[texel[..., c] for c in range(slots.table.shape[-1])] for texel in read]


def _blend_texels(read: list[list[jax.Array]], weights: list[jax.Array]) -> list[jax.Array]:
    return [
        functools.reduce(jnp.add, map(jnp.multiply, channel, weights))
        for channel in zip(*read, strict=True)
    ]


class _Pulled(NamedTuple):
    """What the colours of a pass, and through them their attributes and texels, are pulled."""

    colors: list[jax.Array]
    attributes: list[jax.Array]  # the gradient to them
    rows: list[jax.Array]  # of the table, each with its gradient
    texels: list[jax.Array]  # [P, h, w, C']


def _pull_paint(
    slots: _Slots, attributes: list[jax.Array], upstream: list[jax.Array], paint: Paint
) -> _Pulled:
    """`_paint`, and the gradients that `upstream` at its colours has."""
    if paint.mix is None and paint.taps is None:
        return _Pulled(attributes, upstream, [], [])

    # Read the texels again.
    rows, weights, read, texel, pull_weights = [], [], [], [], None
    if paint.taps is not None:
        rows, _ = _taps(slots, attributes, paint)
        weights, pull_weights = jax.vjp(lambda values: _taps(slots, values, paint)[1], attributes)
        read = _read_rows(slots, rows)
        texel = _blend_texels(read, weights)

    # Go back through the mixing, then through the reading.
    if paint.mix is None:
        colors, by_texel, by_attributes = texel, upstream, [jnp.zeros_like(a) for a in attributes]
    else:
        colors, pull = jax.vjp(paint.mix, texel, attributes)
        by_texel, by_attributes = pull(upstream)
    if pull_weights is None:
        return _Pulled(colors, by_attributes, [], [])
    by_weights = [functools.reduce(jnp.add, map(jnp.multiply, row, by_texel)) for row in read]
    (moved,) = pull_weights(by_weights)
    by_attributes = list(map(jnp.add, by_attributes, moved))
    texels = [jnp.stack([weight * part for part in by_texel], -1) for weight in weights]
    return _Pulled(colors, by_attributes, rows, texels)


def _backward(
    *args: jax.Array, settings: Settings, schedule: Schedule
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """One scan; all arguments have a leading axis `[B or 1]`.

    Args:
        *args: the fields of `Scene`, `Scales`, `Blend` and `Saved`, and those of the upstream
            gradient of `Blend`.
        settings: what is part of the program.
        schedule: a matter of speed.

    Returns:
        The gradients of corners, attributes, table, sigma, sharpness and floor, each `[B, ...]`.
    """
    fields = iter(args)
    scene, scales, blend, saved, upstream = (
        kind(*(next(fields) for _ in kind._fields)) for kind in (Scene, Scales, Blend, Saved, Blend)
    )
    setup = _set_up(scene, scales, settings)
    rates = Scales(*setup.scales[:, :, None, None])
    views, count, dtype = setup.views, setup.count, scene.corners.dtype

    # Lay out what each pixel tells the triangles that reach it.
    planes, by_background = [upstream.total], jnp.zeros((views, 1, 1), dtype)
    if settings.paint:
        mean = (
            (upstream.rgb * blend.rgb).sum(-1)
            + upstream.depth * blend.depth
            + upstream.background * blend.background
        )
        by_background = blend.background * (upstream.background - mean)
        colors = [upstream.rgb[..., c] for c in range(settings.paint.channels)]
        planes += [saved.nearest, 1 / saved.norm, mean, upstream.depth, *colors]
    shape = (views, *settings.image_size)
    told = _stack_views([jnp.broadcast_to(plane, shape) for plane in planes], settings)
    winner = None
    if settings.highest:
        (winner,) = _stack_views([jnp.broadcast_to(saved.winner, shape)], settings)

    # Sum up what each triangle and each texel gets.
    values = scene.attributes.shape[-1]
    widths = _widths(settings, values)
    sums = jnp.zeros((views * count, sum(widths)), dtype)
    texels = jnp.zeros((views * scene.table.shape[1], scene.table.shape[2]), dtype)
    fold = functools.partial(_fold_back, told=told, winner=winner, rows=scene.table.shape[1])
    if any(widths):
        sums, texels = _scan(setup, fold, (sums, texels), settings=settings, schedule=schedule)

    # Hand it out.
    start, parts = 0, []
    for width, full in zip(widths, (6, 3, 3 * values, 1, 1), strict=True):
        part = sums[:, start : start + width] if width else jnp.zeros((views * count, full), dtype)
        parts.append(
            part.reshape(views, count, 3, -1) if full % 3 == 0 else part.reshape(views, -1)
        )
        start += width
    xy, z, attributes, by_argument, by_sharpness = parts
    power = 1 if settings.squared else 0.5
    behind = by_background * (rates.floor - saved.nearest) if settings.paint else by_background
    return (
        jnp.concatenate([xy, z], axis=-1),
        attributes,
        texels.reshape(views, *scene.table.shape[1:]),
        -power * by_argument.sum(1) / rates.sigma[:, 0, 0],
        -by_sharpness.sum(1) - behind.sum((1, 2)),
        -(by_background * rates.sharpness).sum((1, 2)),
    )


def _widths(settings: Settings, values: int) -> tuple[int, int, int, int, int]:
    """How many sums there are of x and y, depths, attributes, sigma and sharpness."""
    pulled = settings.distance != "hard"
    turned = settings.paint is not None and not settings.faithful
    painted = settings.paint is not None
    return 6 * (pulled or turned), 3 * painted, 3 * values * painted, int(pulled), int(painted)


def _fold_back(
    state: tuple[jax.Array, jax.Array],
    slots: _Slots,
    settings: Settings,
    staged: bool,
    *,
    told: jax.Array,
    winner: jax.Array | None,
    rows: int,
) -> tuple[jax.Array, jax.Array]:
    """Adds what the triangles of a pass get from the pixels of their windows."""
    sums, texels = state
    size = (told.shape[0], *WINDOW)
    told = lax.gather(told, slots.origin, PLANES_GATHER, size, mode=IN_BOUNDS)
    if winner is not None:
        won = lax.gather(winner, slots.origin, PLANE_GATHER, WINDOW, mode=IN_BOUNDS)
        own = (won == slots.windows.face[:, None, None])[:, None]
        told = jnp.concatenate([jnp.where(own, told[:, :1], 0), told[:, 1:]], axis=1)

    # Find the closest point of the boundary, and where on the triangle each pixel looks.
    sight = _look(slots)
    spot = None
    if settings.distance == "euclidean":
        spot = sight.footprint.spot(sight.x, sight.y)
    (w0, w1, _), _ = _interpolation(sight, sight.footprint.edges(sight.x, sight.y), settings)

    # Weigh the triangle; find how the pixel pulls at what it sees; and how that moves corners.
    judge = functools.partial(_judge, settings=settings, staged=staged)
    added, read, amounts = _stage(staged, judge, slots, told, spot, w0, w1)
    sums = sums.at[slots.windows.face].add(added)
    first = slots.view[:, None, None] * rows
    for row, amount in zip(read, amounts, strict=True):
        texels = texels.at[first + row].add(amount, mode="drop")
    return sums, texels


def _judge(
    slots: _Slots,
    told: jax.Array,
    spot: jax.Array | None,
    w0: jax.Array,
    w1: jax.Array,
    *,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
    """Weighs the triangles of a pass as the forward scans do; then goes back from there."""
    sight = _look(slots)
    edges = sight.footprint.edges(sight.x, sight.y)
    squared = None
    if spot is not None:
        x, y = sight.footprint.from_spot(spot, sight.x, sight.y)
        squared = x * x + y * y
    signed = _signed(sight, edges, settings, squared)
    depth = _depth(sight, [w0, w1, 1 - w0 - w1], settings)
    signed = jnp.where(_in_range(sight, depth, settings), signed, -jnp.inf)
    share = None
    if settings.paint:
        weight, depth = _weight(sight, signed, w0, w1, told[:, 1], settings)
        share = weight * told[:, 2]
    pull = functools.partial(_pull, settings=settings, staged=staged)
    return _stage(staged, pull, slots, told, spot, w0, w1, signed, share, depth)


class _Forces(NamedTuple):
    """How the loss depends on what a pixel sees of a triangle; each `[P, h, w]`."""

    argument: jax.Array  # on what coverage and tally take
    scaled: jax.Array  # the same times that argument, for sigma
    depth: jax.Array | None
    bend: jax.Array | None  # on the sharpness
    barycentrics: list[jax.Array]  # on each, less their mean, or none
    attributes: list[jax.Array]


def _pull(
    slots: _Slots,
    told: jax.Array,
    spot: jax.Array | None,
    w0: jax.Array,
    w1: jax.Array,
    signed: jax.Array,
    share: jax.Array | None,
    depth: jax.Array,
    *,
    settings: Settings,
    staged: bool,
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
    """Finds how each pixel pulls at what it sees of a triangle; then goes back from there."""
    sight = _look(slots)

    # Pull at colours and depth, and at the weight of the triangle among the others.
    pulled, to_weight, to_depth, bend = _Pulled([], [], [], []), None, None, None
    if settings.paint and share is not None:
        upstream = [share * told[:, 5 + c] for c in range(settings.paint.channels)]
        pulled = _pull_paint(slots, _interpolate(slots, w0, w1), upstream, settings.paint)
        worth = told[:, 4] * depth - told[:, 3]
        for c, color in enumerate(pulled.colors):
            worth = worth + told[:, 5 + c] * color
        to_weight = share * worth
        to_depth = share * told[:, 4] - sight.scales.sharpness * to_weight
        bend = to_weight * (depth - told[:, 1])

    # Pull at coverage and tally.
    argument = _argument(signed, settings)
    ones = jnp.ones_like(argument)
    slope = told[:, 0] * jax.jvp(settings.tally, (argument,), (ones,))[1]
    if to_weight is not None:
        coverage, steepness = jax.jvp(settings.coverage, (argument,), (ones,))
        slope = slope + to_weight * steepness / jnp.where(coverage > 0, coverage, 1)
    slope = jnp.where(signed > -jnp.inf, slope, 0)

    # Pull at the barycentrics, which choose depth and attributes; in SoftRas nothing does.
    turns: list[jax.Array] = []
    if to_depth is not None and not settings.faithful:
        for z, corner in zip(sight.footprint.z, _corner_attributes(slots), strict=True):
            turns.append(to_depth * z)
            for pull, attribute in zip(pulled.attributes, corner, strict=True):
                turns[-1] = turns[-1] + pull * attribute
        mean = w0 * turns[0] + w1 * turns[1] + (1 - w0 - w1) * turns[2]
        turns = [turn - mean for turn in turns]

    forces = _Forces(slope, slope * argument, to_depth, bend, turns, pulled.attributes)
    move = functools.partial(_move, settings=settings, staged=staged)
    added = _stage(staged, move, slots, spot, w0, w1, signed, depth, forces)
    return added, pulled.rows, pulled.texels


def _move(
    slots: _Slots,
    spot: jax.Array | None,
    w0: jax.Array,
    w1: jax.Array,
    signed: jax.Array,
    depth: jax.Array,
    forces: _Forces,
    *,
    settings: Settings,
    staged: bool,
) -> jax.Array:
    """Finds how the pull at what a pixel sees moves the corners; then adds the pixels up."""
    sight = _look(slots)
    footprint, sigma = sight.footprint, sight.scales.sigma
    edges = footprint.edges(sight.x, sight.y)
    inverse_area = jnp.abs(footprint.inverse_area)

    # Push the closest point of the boundary, which moves with its edge, against the pixel.
    push, on_edges = None, []
    if spot is not None:
        x, y = footprint.from_spot(spot, sight.x, sight.y)
        sign = jnp.sign(signed)
        rate = 2 * sign / sigma
        if not settings.squared:
            squared = x * x + y * y
            rate = sign / jnp.sqrt(sigma * jnp.where(squared > 0, squared, 1))
        rate = jnp.where(signed > -jnp.inf, rate, 0) * forces.argument
        push = -rate * x, -rate * y

    # Turn the edges about the pixel: those that weigh the barycentrics, and the closest one.
    if forces.barycentrics:
        _, inverse = _interpolation(sight, edges, settings)
        on_edges = [
            jnp.where(edge > 0, turn * nearness * inverse, 0)
            for edge, turn, nearness in zip(
                edges, forces.barycentrics, footprint.nearness, strict=True
            )
        ]
    if settings.distance == "barycentric":
        lowest = jnp.abs(_lowest(sight, edges))
        rate = 2 * lowest / sigma if settings.squared else jax.lax.rsqrt(sigma)
        rate = jnp.where(signed > -jnp.inf, rate, 0) * forces.argument * inverse_area
        on_edges = on_edges or [jnp.zeros_like(w0)] * 3
        on_edges = [
            on_edge + jnp.where(is_lowest, rate, 0)
            for on_edge, is_lowest in zip(on_edges, _which_is_lowest(edges), strict=True)
        ]
    turn = None
    if on_edges:
        by_x, by_y = footprint.slopes()
        turn = _dot(on_edges, by_x) * inverse_area, _dot(on_edges, by_y) * inverse_area

    # Sink the corners: change their depths, where they are on screen.
    sinks: list[jax.Array] = []
    if forces.depth is not None:
        for k, weight in enumerate((w0, w1, 1 - w0 - w1)):
            z = jnp.where(footprint.z[k] == 0, 1, footprint.z[k])
            if settings.faithful:
                sinks.append(weight * forces.depth * (depth / z) ** 2)
            elif settings.perspective:
                sinks.append(weight * (forces.depth - forces.barycentrics[k] / z))
            else:
                sinks.append(weight * forces.depth)
    add_up = functools.partial(_add_up, distance=settings.distance)
    return _stage(staged, add_up, slots, spot, push, turn, sinks, w0, w1, forces)


def _add_up(
    slots: _Slots,
    spot: jax.Array | None,
    push: tuple[jax.Array, jax.Array] | None,
    turn: tuple[jax.Array, jax.Array] | None,
    sinks: list[jax.Array],
    w0: jax.Array,
    w1: jax.Array,
    forces: _Forces,
    *,
    distance: str,
) -> jax.Array:
    """The sums over each window `[P, n]`, in the order of `_widths`."""
    sight = _look(slots)
    terms: list[jax.Array] = []
    edges = sight.footprint.edges(sight.x, sight.y)
    for k in range(3):
        for axis in range(2):
            parts = []
            if push is not None and spot is not None:
                parts.append(push[axis] * sight.footprint.spot_weights(spot)[k])
            if turn is not None:
                parts.append(-turn[axis] * edges[k])
            if parts:
                terms.append(functools.reduce(jnp.add, parts))
    terms += sinks
    for weight in (w0, w1, 1 - w0 - w1):
        terms += [weight * attribute for attribute in forces.attributes]
    if distance != "hard":
        terms.append(forces.scaled)
    if forces.bend is not None:
        terms.append(forces.bend)

    # A product with ones is quicker on a CPU than a sum.
    pixels = WINDOW[0] * WINDOW[1]
    rows = jnp.stack([term.reshape(-1, pixels) for term in terms], 1).reshape(-1, pixels)
    ones = jnp.ones((pixels, 1), rows.dtype)
    total = jnp.matmul(rows, ones, precision=lax.Precision.HIGHEST)
    return total.reshape(-1, len(terms))


def _dot(a: Triple, b: Triple) -> jax.Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _which_is_lowest(edges: Triple) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Whether each edge function is the smallest; on a tie the first."""
    first = (edges[0] <= edges[1]) & (edges[0] <= edges[2])
    second = ~first & (edges[1] <= edges[2])
    return first, second, ~first & ~second
