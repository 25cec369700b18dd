"""The scans of the soft rasteriser: a scene made ready, and what each pass has of it.

Shapes and symbols as in `soft.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.footprints import footprint_table
from jaxrender.ops.passes import vary_like
from jaxrender.ops.soft_types import DRAWN, NOT_DRAWN, Scales, Scene, Schedule, Settings
from jaxrender.ops.triangles import pixel_span
from jaxrender.ops.windows import Bounds, Windows, expected_windows, scan_windows


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
    triangle: jax.Array  # [P] within its view
    footprints: jax.Array  # [16, P]
    colored: jax.Array  # [P] bool
    attributes: jax.Array  # [3 K, P]
    places: jax.Array  # [I, P]
    table: jax.Array  # of all views
    first_row: jax.Array  # [P] of the view's texels in it
    scales: jax.Array  # [7, P]
    origin: jax.Array  # [P, 2] of the windows in the tall picture


def set_up(scene: Scene, scales: Scales, settings: Settings, views: int) -> Setup:
    """Arranges the triangles of so many views; every array has a leading axis `[B or 1]`."""
    count = scene.corners.shape[1]
    rates = jnp.stack([jnp.broadcast_to(scale, (views,)) for scale in scales])
    corners = jnp.broadcast_to(scene.corners, (views, count, 3, 3)).reshape(-1, 3, 3)
    part = jnp.broadcast_to(scene.part, (views, count)).reshape(-1)
    reach = jnp.repeat(Scales(*rates).reach, count)
    table = scene.table
    return Setup(
        views,
        count,
        reached_pixels(corners, part != NOT_DRAWN, reach, settings),
        footprint_table(corners, perspective=settings.perspective),
        part == DRAWN,
        scene.attributes.transpose(2, 3, 0, 1).reshape(-1, scene.attributes.shape[0] * count),
        table.reshape(-1, table.shape[-1]),
        table.shape[1] if table.shape[0] > 1 else 0,
        scene.places.transpose(2, 0, 1).reshape(-1, scene.places.shape[0] * count),
        rates,
    )


def reached_pixels(
    corners: jax.Array, drawn: jax.Array, reach: jax.Array, settings: Settings
) -> Bounds:
    """The pixels that triangles `[N, 3, 3]` may reach, with a reach `[N or 1]`."""
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
        local,
        setup.footprints[:, face],
        setup.colored[face],
        setup.attributes[:, face if setup.attributes.shape[1] > setup.triangles else local],
        setup.places[:, face if setup.places.shape[1] > setup.triangles else local],
        setup.table,
        view * setup.rows,
        setup.scales[:, view],
        jnp.stack([row, windows.column], -1),
    )


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
