"""What the scans of the soft rasteriser share: a scene made ready, and what a pass sees of it.

Shapes and symbols as in `soft.py`. The pixels of a window lie in one axis, row by row, so that
vector units are filled whatever the window.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops import ordered
from jaxrender.ops.footprints import (
    Footprint,
    Triple,
    footprint_table,
    footprints_of,
    is_inside,
    mix,
)
from jaxrender.ops.passes import vary_like
from jaxrender.ops.triangles import pixel_span
from jaxrender.ops.windows import Bounds, Windows, expected_windows, scan_windows, window_pixels

NOT_DRAWN, ALPHA_ONLY, DRAWN = 0, 1, 2  # what a triangle takes part in
CERTAIN = 80.0  # a `t` at which every coverage is 1
FARTHEST = 1e15  # what `t` counts as at most, so that it can be multiplied
NO_OFFER = jnp.iinfo(jnp.int32).max
IN_BOUNDS = lax.GatherScatterMode.PROMISE_IN_BOUNDS
PLANE_SCATTER = lax.ScatterDimensionNumbers((1, 2), (), (0, 1))  # windows of one plane
PLANE_GATHER = lax.GatherDimensionNumbers((1, 2), (), (0, 1))
PLANES_SCATTER = lax.ScatterDimensionNumbers((1, 2, 3), (), (1, 2))  # of several at once
PLANES_GATHER = lax.GatherDimensionNumbers((1, 2, 3), (), (1, 2))


class Schedule(NamedTuple):
    """How the same passes run on a kind of device; a matter of speed alone."""

    forward: tuple[int, int]  # window; a CPU scatters few large ones quicker than many small ones
    backward: tuple[int, int]  # the less of it lies out of a triangle's reach, the better
    slots: tuple[int, int]  # windows in a pass, at least and at most
    share: float  # of the windows to be expected, that a pass should hold
    staged: bool  # whether what many results need is written out first


SCHEDULES = {
    "cpu": Schedule((4, 16), (4, 8), (256, 1024), 0.5, staged=True),
    "gpu": Schedule((4, 8), (4, 8), (1 << 15, 1 << 17), 4, staged=False),
}


class Paint(NamedTuple):
    """How attributes become colours, with two functions of lists of arrays `[P, h w]`.

    Attributes:
        channels: `C`.
        taps: `(places, attributes) -> (rows, weights)`, which rows of the table to read and how
            much of each; `places` are integers of the triangle. None reads nothing.
        mix: `(texel, attributes) -> colours`, elementwise. None is the attributes themselves.
        flat: whether each triangle has the same attributes all over.
    """

    channels: int
    taps: Callable[[list[jax.Array], list[jax.Array]], tuple[list, list]] | None = None
    mix: Callable[[list[jax.Array], list[jax.Array]], list[jax.Array]] | None = None
    flat: bool = False


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the loss depends on, and what it is to be differentiated to; the rest gets 0.

    Part of the program, also among what the forward scans keep.
    """

    depth: bool = True  # whether it depends on the depth that is drawn
    corners: bool = True
    attributes: bool = True
    table: bool = True
    sigma: bool = True
    sharpness: bool = True


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
        wanted: what to differentiate.
        window: `(h, w)`, which the scans take from their schedule.
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
    wanted: Wanted = Wanted()
    window: tuple[int, int] = (0, 0)


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


class Setup(NamedTuple):
    """The triangles of all views, one view after the other, ready to be scanned."""

    views: int
    triangles: int  # N
    bounds: Bounds
    footprints: jax.Array  # [16, B N]
    colored: jax.Array  # [B N] bool
    attributes: jax.Array  # [3 K, B N], or [3 K, N] where all views share them
    table: jax.Array  # [R, C'] or [B R, C']
    rows: int  # R where each view has its own texels, or 0
    places: jax.Array  # [I, B N or N]
    scales: jax.Array  # [7, B]


class Slots(NamedTuple):
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


def set_up(scene: Scene, scales: Scales, settings: Settings) -> Setup:
    """Arranges the views' triangles; every array has a leading axis `[B or 1]`."""
    views = max(array.shape[0] for array in (*scene, *scales))
    count = scene.corners.shape[1]
    rates = jnp.stack([jnp.broadcast_to(scale, (views,)) for scale in scales])
    corners = jnp.broadcast_to(scene.corners, (views, count, 3, 3)).reshape(-1, 3, 3)
    part = jnp.broadcast_to(scene.part, (views, count)).reshape(-1)
    reach = jnp.repeat(Scales(*rates).reach, count)
    table = scene.table
    return Setup(
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
    left, right = pixel_span(low[:, 0], high[:, 0], width)
    top, bottom = pixel_span(low[:, 1], high[:, 1], height)
    return Bounds(top, left, jnp.where(drawn, bottom, -1), right)


def take_slots(setup: Setup, windows: Windows, settings: Settings) -> Slots:
    """Gathers what a pass needs of its triangles."""
    face = windows.face
    view = lax.div(face, jnp.int32(max(setup.triangles, 1)))
    local = face - view * setup.triangles
    row = windows.row + view * (settings.image_size[0] + settings.window[0])
    return Slots(
        windows,
        view,
        setup.footprints[:, face],
        setup.colored[face],
        setup.attributes[:, face if setup.attributes.shape[1] > setup.triangles else local],
        setup.places[:, face if setup.places.shape[1] > setup.triangles else local],
        setup.table,
        view * setup.rows,
        setup.scales[:, view],
        jnp.stack([row, windows.column], -1),
    )


class Sight(NamedTuple):
    """The pixels of a pass, and what they look at."""

    x: jax.Array  # [P, h w]
    y: jax.Array
    footprint: Footprint
    scales: Scales  # each [P, 1]
    live: jax.Array  # [P, 1] bool
    colored: jax.Array  # [P, 1] bool


def look(slots: Slots, settings: Settings) -> Sight:
    """Lays the numbers of a pass out; done anew in each stage, for it costs nothing there."""
    height, width = settings.window
    places = [divmod(pixel, width) for pixel in range(height * width)]
    down, across = jnp.array(places, jnp.int32).T  # constants, quicker than divisions there
    y = slots.windows.row[:, None] + down[None]
    x = slots.windows.column[:, None] + across[None]
    dtype = slots.footprints.dtype
    return Sight(
        x.astype(dtype),
        y.astype(dtype),
        footprints_of(slots.footprints),
        Scales(*(scale[:, None] for scale in slots.scales)),
        slots.windows.live[:, None],
        slots.colored[:, None],
    )


def signed_square(
    sight: Sight, edges: Triple, settings: Settings, squared: jax.Array | None = None
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
        lowest = lowest_barycentric(sight, edges)
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
    scaled = jnp.minimum(squared / scales.sigma, FARTHEST)
    return jnp.where(reached, jnp.where(inside, scaled, -scaled), -jnp.inf)


def lowest_barycentric(sight: Sight, edges: Triple) -> jax.Array:
    """The smallest of the screen barycentrics."""
    lowest = jnp.minimum(jnp.minimum(edges[0], edges[1]), edges[2])
    return lowest * jnp.abs(sight.footprint.inverse_area)


def interpolation(sight: Sight, edges: Triple, settings: Settings) -> Triple:
    """The weights of the corners' attributes."""
    footprint = sight.footprint
    shares = [
        share_of(edge, nearness, footprint.inverse_area, settings)
        for edge, nearness in zip(edges, footprint.nearness, strict=True)
    ]
    total = shares[0] + shares[1] + shares[2]
    return [weight_of(share, total, settings) for share in shares]


def share_of(
    edge: jax.Array, nearness: jax.Array, inverse_area: jax.Array, settings: Settings
) -> jax.Array:
    """What a corner's weight is proportional to, from the edge function opposite of it."""
    if settings.faithful:
        # SoftRas: clipped from above as well, and not perspective-correct.
        return jnp.clip(edge * jnp.abs(inverse_area), 0, 1)
    return jnp.maximum(edge, 0) * nearness


def weight_of(share: jax.Array, total: jax.Array, settings: Settings) -> jax.Array:
    """A corner's weight, from its share and that of all three."""
    if settings.faithful:
        return share / jnp.maximum(total, 1e-5)
    # Where rounding leaves nothing of a sliver, take its middle.
    return jnp.where(total > 0, share / jnp.where(total > 0, total, 1), 1 / 3)


def depth_at(sight: Sight, weights: Triple, settings: Settings) -> jax.Array:
    """The depth at a pixel, from `interpolation`."""
    z = sight.footprint.z
    if settings.faithful:
        nearness = sight.footprint.nearness
        closest, over = nearness[0] * z[0], mix(weights, nearness)
        return closest / jnp.where(over == 0, jnp.finfo(z[0].dtype).tiny, over)
    return mix(weights, z)


def in_range(sight: Sight, depth: jax.Array, settings: Settings) -> jax.Array:
    """Whether that depth is drawn; pieces are cut at `near` before."""
    if settings.faithful:
        return (depth >= sight.scales.near) & (depth <= sight.scales.far)
    return depth <= sight.scales.far


def argument_of(signed: jax.Array, settings: Settings) -> jax.Array:
    """What coverage and tally take, where the triangle reaches; elsewhere something harmless."""
    signed = jnp.where(signed > -jnp.inf, signed, 0)
    if settings.squared:
        return signed
    return jnp.sign(signed) * jnp.sqrt(jnp.abs(signed))


def is_covered(signed: jax.Array, sight: Sight, settings: Settings) -> jax.Array:
    """Where a triangle covers more than the cutoff."""
    reached = signed > -jnp.inf
    if settings.sure:
        return reached
    return reached & (settings.coverage(argument_of(signed, settings)) > sight.scales.cutoff)


def weigh(
    sight: Sight,
    signed: jax.Array,
    w0: jax.Array,
    w1: jax.Array,
    nearest: jax.Array,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    """`p_j`, and the depth, `nearest` where it is not drawn."""
    depth = depth_at(sight, [w0, w1, 1 - w0 - w1], settings)
    seen = is_covered(signed, sight, settings) & sight.colored & in_range(sight, depth, settings)
    depth = jnp.where(seen, depth, nearest)
    coverage = settings.coverage(argument_of(signed, settings))
    # Rounding may put a sliver in front of the nearest depth that another kernel found.
    behind = jnp.maximum(depth - nearest, 0)
    weight = coverage * jnp.exp(-sight.scales.sharpness * behind)
    return jnp.where(seen, weight, 0), depth


def tall_picture(
    views: int, settings: Settings
) -> tuple[tuple[int, int], Callable[[jax.Array], jax.Array]]:
    """The size of the views drawn one below the other, padded so that no window leaves them.

    Also what cuts planes `[n, *size]` into `[B, H, W, n]`.
    """
    height, width = settings.image_size
    padded, wider = height + settings.window[0], width + settings.window[1]

    def cut_out(planes: jax.Array) -> jax.Array:
        planes = planes.reshape(-1, views, padded, wider)[:, :, :height, :width]
        return planes.transpose(1, 2, 3, 0)

    return (views * padded, wider), cut_out


def stack_views(planes: list[jax.Array], settings: Settings) -> jax.Array:
    """Lays planes `[B, H, W]` out as scans take them: `[n, *size]` of `tall_picture`."""
    height, width = settings.window
    stacked = jnp.pad(jnp.stack(planes), ((0, 0), (0, 0), (0, height), (0, width)))
    return stacked.reshape(len(planes), -1, stacked.shape[-1])


def read_pixels(planes: jax.Array, slots: Slots, settings: Settings) -> jax.Array:
    """What a plane `[*size]` of `tall_picture` has at the pixels of a pass, `[P, h w]`.

    Of several planes `[n, *size]`, `[P, n, h w]`.
    """
    numbers = PLANE_GATHER if planes.ndim == 2 else PLANES_GATHER
    size = (*planes.shape[:-2], *settings.window)
    read = lax.gather(planes, slots.origin, numbers, size, mode=IN_BOUNDS)
    return read.reshape(*read.shape[:-2], -1)


def write_pixels(
    scatter: Callable, planes: jax.Array, slots: Slots, values: jax.Array, settings: Settings
) -> jax.Array:
    """Folds such values into planes, with `lax.scatter_max` or another of its kind."""
    numbers = PLANE_SCATTER if planes.ndim == 2 else PLANES_SCATTER
    values = values.reshape(*values.shape[:-1], *settings.window)
    return scatter(planes, slots.origin, values, numbers, mode=IN_BOUNDS)


def add_pixels(planes: jax.Array, slots: Slots, values: jax.Array, settings: Settings) -> jax.Array:
    """Adds such values to planes, in a fixed order if that is asked for."""
    if not ordered.is_order_asked_for():
        return write_pixels(lax.scatter_add, planes, slots, values, settings)
    rows, columns = window_pixels(slots.origin[:, 0], slots.origin[:, 1], settings.window)
    places = jnp.where(slots.windows.live[:, None, None], rows * planes.shape[-1] + columns, -1)
    flat = planes.reshape(-1, planes.shape[-2] * planes.shape[-1])
    runs = ordered.runs_of(places.reshape(-1), flat.shape[1])
    values = values.reshape(places.shape[0], flat.shape[0], -1)
    sums = runs.add_up(jnp.moveaxis(values, 1, 2).reshape(-1, flat.shape[0]))
    added = flat.at[:, runs.places].add(sums.T, mode="drop", unique_indices=True)
    return added.reshape(planes.shape)


def scan(
    setup: Setup, fold: Callable, state: Any, *, settings: Settings, schedule: Schedule
) -> Any:
    """Folds all windows of all views into `state`: `fold(state, slots, settings, staged)`."""
    return scan_windows(
        lambda state, windows: fold(
            state, take_slots(setup, windows, settings), settings, schedule.staged
        ),
        state,
        setup.bounds,
        window=settings.window,
        slots=_slots(setup, settings, schedule),
    )


def _slots(setup: Setup, settings: Settings, schedule: Schedule) -> int:
    """How many windows a pass holds."""
    expected = expected_windows(setup.triangles, settings.image_size, settings.window)
    share = max(int(schedule.share * setup.views * expected), 1)
    fewest, most = schedule.slots
    return min(most, max(fewest, 1 << share.bit_length() - 1))


def staged_call(staged: bool, function: Callable, slots: Slots, *arrays: Any) -> Any:
    """`function(slots, *arrays)`, with the arrays written out first.

    XLA on a CPU makes one kernel of each result, with all that it needs computed anew. Operands
    of a branch are written out, and so computed once; this branch is always taken.
    """
    if not staged:
        return function(slots, *arrays)
    # Compiled functions are traced once, not at each use: stages lie inside of stages.
    function = jax.jit(function, inline=True)
    shapes = jax.eval_shape(function, slots, *arrays)

    def never(slots: Slots, *_: Any) -> Any:
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return vary_like(zeros, slots.view)

    return lax.cond(
        slots.view[0] >= 0,
        function,
        never,
        slots,
        *arrays,
    )


def corner_attributes(slots: Slots) -> list[list[jax.Array]]:
    """The attributes of the three corners, each `[P, 1]`."""
    count = slots.attributes.shape[0] // 3
    rows = [slots.attributes[k][:, None] for k in range(3 * count)]
    return [rows[:count], rows[count : 2 * count], rows[2 * count :]]


def attributes_at(slots: Slots, w0: jax.Array, w1: jax.Array, *, flat: bool) -> list[jax.Array]:
    """The attributes at each pixel."""
    if flat:
        return [jnp.broadcast_to(value, w0.shape) for value in corner_attributes(slots)[0]]
    weights = [w0, w1, 1 - w0 - w1]
    return [mix(weights, list(corners)) for corners in zip(*corner_attributes(slots), strict=True)]


def taps_of(slots: Slots, attributes: list[jax.Array], paint: Paint) -> tuple[list, list]:
    """The rows of the view's table that pixels read, and their weights; none without taps."""
    if paint.taps is None:
        return [], []
    places = [slots.places[k][:, None] for k in range(slots.places.shape[0])]
    return paint.taps(places, attributes)


def paint_at(slots: Slots, attributes: list[jax.Array], paint: Paint) -> list[jax.Array]:
    """The colours of the triangles at each pixel."""
    texel = []
    if paint.taps is not None:
        rows, weights = taps_of(slots, attributes, paint)
        texel = blend_texels(read_rows(slots, rows), weights)
    return attributes if paint.mix is None else paint.mix(texel, attributes)


def read_rows(slots: Slots, rows: list[jax.Array]) -> list[list[jax.Array]]:
    """The channels of each of the rows at each pixel."""
    first = slots.first_row[:, None]
    read = [jnp.take(slots.table, first + row, axis=0, mode="clip") for row in rows]
    return [[texel[..., c] for c in range(slots.table.shape[-1])] for texel in read]


def blend_texels(read: list[list[jax.Array]], weights: list[jax.Array]) -> list[jax.Array]:
    """The channels of the texels that were read, weighted."""
    return [
        functools.reduce(jnp.add, map(jnp.multiply, channel, weights))
        for channel in zip(*read, strict=True)
    ]
