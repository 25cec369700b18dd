"""The window engine: walks over all (face, pixel) pairs, exactly and without a capacity.

Each face touches the pixels within its bounds. The bounds are cut into windows of a fixed
size that start at the face's own corner, so a small face is one window, and a face that fills
the picture is many. The windows of all faces are numbered face by face, from the LAST face to
the first, and handled in passes of a fixed number of slots, as many passes as it takes: no
list overflows, nothing is sorted, and memory is O(faces + pixels) whatever the mesh.

Cost: O(faces + windows). The walk from the last face to the first, some of which may be kept for
later, lets a z-buffer break ties with a plain minimum (see `hard.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.passes import list_places, vary_like

MAX_SLOTS = 1 << 23  # of a pass: float32 counts exactly so far
NO_SLOT = 1 << 30  # stands for any place behind the last slot


class Bounds(NamedTuple):
    """The pixels that each face may touch, inclusive; empty where `bottom < top`."""

    top: jax.Array  # [F] int32
    left: jax.Array  # [F]
    bottom: jax.Array  # [F]
    right: jax.Array  # [F]


class Windows(NamedTuple):
    """One pass: a window of pixels of one face in each slot."""

    face: jax.Array  # [P] int32
    row: jax.Array  # [P] the window's first row, 0 where the slot is not in use
    column: jax.Array  # [P] the window's first column, likewise
    live: jax.Array  # [P] bool: whether the slot is in use


def scan_windows(
    fold: Callable[[Any, Windows], Any],
    state: Any,
    bounds: Bounds,
    *,
    window: tuple[int, int],
    slots: int,
    late: jax.Array | None = None,
) -> Any:
    """Folds every window of every face into `state`, from the last face to the first.

    Args:
        fold: `fold(state, windows) -> state`; a face's windows never overlap.
        state: any pytree.
        bounds: of each face, in pixels.
        window: `(height, width)` in pixels.
        slots: how many windows a pass holds, at most `MAX_SLOTS`; a setting of speed alone.
        late: `[F]` bool, faces that come behind all others, from the last to the first as well.

    Returns:
        The final state.
    """
    faces = bounds.top.shape[0]
    if faces == 0:
        return state
    height, width = window

    # Count each face's windows; list the faces that have any, last face first.
    with jax.named_scope("bin"):
        rows = lax.div(jnp.maximum(bounds.bottom - bounds.top + height, 0), jnp.int32(height))
        columns = lax.div(jnp.maximum(bounds.right - bounds.left + width, 0), jnp.int32(width))
        count = rows * columns
        has_any, padded = count > 0, faces + slots  # for the last pass
        soon = has_any if late is None else has_any & ~late
        queue, listed = list_places(soon[::-1], padded)
        if late is not None:
            behind, more = list_places((has_any & late)[::-1], padded)
            place = jnp.arange(padded, dtype=jnp.int32)
            queue = jnp.where(place < listed, queue, behind[jnp.maximum(place - listed, 0)])
            listed = listed + more
        queue = faces - 1 - queue
    slot = jnp.arange(slots, dtype=jnp.int32)

    def next_windows(cursor: jax.Array, done: jax.Array) -> tuple[Windows, jax.Array, jax.Array]:
        # Give the next faces consecutive slots; the first face may be `done` in part. Sums of
        # all their windows may exceed int32; float32 only rounds those that no slot is left for.
        ahead = lax.dynamic_slice(queue, (cursor,), (slots,))
        left_over = jnp.where(cursor + slot < listed, count[ahead], 0)
        left_over = left_over - jnp.where(slot == 0, done, 0)
        ends = jnp.cumsum(jnp.minimum(left_over, slots + 1), dtype=jnp.float32)
        ends = jnp.minimum(ends, NO_SLOT).astype(jnp.int32)
        starts = jnp.concatenate([jnp.zeros(1, jnp.int32), ends[:-1]])

        # Find whose window each slot holds: as many faces start before it as it comes after.
        opens = jnp.zeros(slots, jnp.int32).at[starts].add(1, mode="drop")
        owner = jnp.cumsum(opens, dtype=jnp.int32) - 1
        index = slot - starts[owner] + jnp.where(owner == 0, done, 0)
        face = ahead[owner]
        across = jnp.maximum(columns[face], 1)
        down = lax.div(index, across)
        live = slot < ends[-1]
        windows = Windows(
            face=face,
            row=jnp.where(live, bounds.top[face] + height * down, 0),
            column=jnp.where(live, bounds.left[face] + width * (index - across * down), 0),
            live=live,
        )

        # Go on behind the last window drawn.
        last, drawn = owner[-1], index[-1] + 1
        whole = drawn >= count[face[-1]]
        all_fit = ends[-1] <= slots
        cursor = cursor + jnp.where(all_fit, slots, last + whole.astype(jnp.int32))
        return windows, cursor, jnp.where(all_fit | whole, 0, drawn)

    def one_pass(carry: tuple[jax.Array, jax.Array, Any]) -> tuple[jax.Array, jax.Array, Any]:
        cursor, done, state = carry
        with jax.named_scope("bin"):
            windows, cursor, done = next_windows(cursor, done)
        return cursor, done, fold(state, windows)

    zero = jnp.zeros((), jnp.int32)
    start = vary_like((zero, zero, state), bounds.top)
    return lax.while_loop(lambda carry: carry[0] < listed, one_pass, start)[2]


def expected_windows(faces: int, image_size: tuple[int, int], window: tuple[int, int]) -> int:
    """About how many windows the faces of a view have, if two layers of them fill the picture."""
    (height, width), (down, across) = image_size, window
    return faces + 2 * height * width // (down * across)


def window_pixels(
    row: jax.Array, column: jax.Array, window: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """Rows `[P, h, 1]` and columns `[P, 1, w]` of the pixels of windows with these origins."""
    height, width = window
    down = jnp.arange(height, dtype=jnp.int32)[None, :, None]
    across = jnp.arange(width, dtype=jnp.int32)[None, None, :]
    return row[:, None, None] + down, column[:, None, None] + across
