"""The block engine: walks over all (face, pixel) pairs, exactly and without a capacity.

Shapes: `F` faces, `P` pixel blocks of a pass, `h, w` pixels of a block.

Each face touches the pixels within its bounds. The bounds are cut into pixel blocks of a fixed
size that start at the face's own corner, so a small face is one block, and a face that fills
the picture is many. The blocks of all faces are numbered face by face, from the LAST face to
the first, and handled in passes of a fixed number of blocks, as many passes as it takes: no
list overflows, nothing is sorted, and memory is O(faces + pixels) whatever the mesh.

Cost: O(faces + blocks). The walk from the last face to the first, some of which may be kept for
later, lets a z-buffer break ties with a plain minimum (`triangle.py` has the rule).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.cpu import Kernel
from jaxrender.ops.sharding import match_varying_axes

MAX_BLOCKS_PER_PASS = 1 << 23  # float32 counts exactly so far
BEYOND_PASS = 1 << 30  # stands for any position behind the last block of a pass


class Bounds(NamedTuple):
    """The pixels that each face may touch, inclusive; empty where `bottom < top`."""

    top: jax.Array  # [F] int32
    left: jax.Array  # [F]
    bottom: jax.Array  # [F]
    right: jax.Array  # [F]


class Blocks(NamedTuple):
    """The pixel blocks of one pass, each of one face."""

    face: jax.Array  # [P] int32
    row: jax.Array  # [P] the block's first row, 0 where the entry is padding
    column: jax.Array  # [P] the block's first column, likewise
    valid: jax.Array  # [P] bool: whether the entry is a block, not padding


def scan_blocks(
    fold: Callable[[Any, Blocks], Any],
    state: Any,
    bounds: Bounds,
    *,
    block_size: tuple[int, int],
    blocks_per_pass: int,
    drawn_last: jax.Array | None = None,
    by_kernel: bool = False,
) -> Any:
    """Folds every pixel block of every face into `state`, from the last face to the first.

    Args:
        fold: `fold(state, blocks) -> state`; a face's blocks never overlap.
        state: any pytree.
        bounds: of each face, in pixels.
        block_size: `(h, w)` in pixels.
        blocks_per_pass: `P`, at most `MAX_BLOCKS_PER_PASS`; a setting of speed alone.
        drawn_last: `[F]` bool, faces that come behind all others, from the last to the first too.
        by_kernel: whether a kernel lists the blocks, where that may be; it takes no `drawn_last`.
            A pass then costs one call in place of twenty small programs, which take longer to
            compile than all that they are for.

    Returns:
        The final state.
    """
    faces = bounds.top.shape[0]
    if faces == 0:
        return state
    if by_kernel:
        table = jnp.stack(bounds)[None]

        def one_call(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
            place, state = carry
            with jax.named_scope("bin"):
                shapes = ((1, 4, blocks_per_pass), jnp.int32), ((1, 2), jnp.int32)
                (face, row, column, valid), place = (
                    result[0]
                    for result in _WALK(table, place[None], results=shapes, options=block_size)
                )
            return place, fold(state, Blocks(face, row, column, valid > 0))

        start = match_varying_axes((jnp.array([faces - 1, 0], jnp.int32), state), table)
        return lax.while_loop(lambda carry: carry[0][0] >= 0, one_call, start)[1]

    with jax.named_scope("bin"):
        queue = _list_faces(bounds, block_size, blocks_per_pass, drawn_last=drawn_last)

    def one_pass(carry: tuple[jax.Array, jax.Array, Any]) -> tuple[jax.Array, jax.Array, Any]:
        cursor, done, state = carry
        with jax.named_scope("bin"):
            blocks, cursor, done = _next_blocks(
                bounds, queue, cursor, done, block_size, blocks_per_pass
            )
        return cursor, done, fold(state, blocks)

    zero = jnp.zeros((), jnp.int32)
    start = match_varying_axes((zero, zero, state), bounds.top)
    return lax.while_loop(lambda carry: carry[0] < queue.listed, one_pass, start)[2]


class _Queue(NamedTuple):
    """The faces that have blocks, in the order of the walk."""

    faces: jax.Array  # [F + P] int32
    listed: jax.Array  # [] how many there are
    columns: jax.Array  # [F] how many blocks each face has side by side
    blocks: jax.Array  # [F] and in all


def _list_faces(
    bounds: Bounds,
    block_size: tuple[int, int],
    blocks_per_pass: int,
    *,
    drawn_last: jax.Array | None = None,
    pending: jax.Array | bool = True,
) -> _Queue:
    """Counts each face's blocks, and lists the faces that have any and are pending, last first."""
    (height, width), faces = block_size, bounds.top.shape[0]
    rows = lax.div(jnp.maximum(bounds.bottom - bounds.top + height, 0), jnp.int32(height))
    columns = lax.div(jnp.maximum(bounds.right - bounds.left + width, 0), jnp.int32(width))
    count = rows * columns
    has_any, padded = (count > 0) & pending, faces + blocks_per_pass  # for the last pass
    soon = has_any if drawn_last is None else has_any & ~drawn_last
    queue, listed = compact_indices(soon[::-1], padded)
    if drawn_last is not None:
        behind, more = compact_indices((has_any & drawn_last)[::-1], padded)
        index = jnp.arange(padded, dtype=jnp.int32)
        queue = jnp.where(index < listed, queue, behind[jnp.maximum(index - listed, 0)])
        listed = listed + more
    return _Queue(faces - 1 - queue, listed, columns, count)


def _next_blocks(
    bounds: Bounds,
    queue: _Queue,
    cursor: jax.Array,
    done: jax.Array,
    block_size: tuple[int, int],
    blocks_per_pass: int,
) -> tuple[Blocks, jax.Array, jax.Array]:
    """The blocks of a pass from a place in the queue on; then the place of the next pass.

    The next faces get consecutive positions in the pass; of the first, `done` blocks are drawn
    already. Sums of all their blocks may exceed int32; float32 only rounds those that have no
    position left.
    """
    height, width = block_size
    position = jnp.arange(blocks_per_pass, dtype=jnp.int32)
    ahead = lax.dynamic_slice(queue.faces, (cursor,), (blocks_per_pass,))
    remaining = jnp.where(cursor + position < queue.listed, queue.blocks[ahead], 0)
    remaining = remaining - jnp.where(position == 0, done, 0)
    ends = jnp.cumsum(jnp.minimum(remaining, blocks_per_pass + 1), dtype=jnp.float32)
    ends = jnp.minimum(ends, BEYOND_PASS).astype(jnp.int32)
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), ends[:-1]])

    # Find whose block each position holds: as many faces start before it as it comes after.
    opens = jnp.zeros(blocks_per_pass, jnp.int32).at[starts].add(1, mode="drop")
    owner = jnp.cumsum(opens, dtype=jnp.int32) - 1
    index = position - starts[owner] + jnp.where(owner == 0, done, 0)
    face = ahead[owner]
    across = jnp.maximum(queue.columns[face], 1)
    down = lax.div(index, across)
    valid = position < ends[-1]
    blocks = Blocks(
        face=face,
        row=jnp.where(valid, bounds.top[face] + height * down, 0),
        column=jnp.where(valid, bounds.left[face] + width * (index - across * down), 0),
        valid=valid,
    )

    # Go on behind the last block drawn.
    last, drawn = owner[-1], index[-1] + 1
    whole = drawn >= queue.blocks[face[-1]]
    all_fit = ends[-1] <= blocks_per_pass
    cursor = cursor + jnp.where(all_fit, blocks_per_pass, last + whole.astype(jnp.int32))
    return blocks, cursor, jnp.where(all_fit | whole, 0, drawn)


def _walk_plainly(
    table: jax.Array, place: jax.Array, *, results: Any, options: Sequence[int]
) -> list[jax.Array]:
    """What the kernel does: the blocks of the next pass from a face on; and the next place.

    A place is a face, -1 behind the first of all, and how many of its blocks are drawn already.
    """
    bounds, blocks_per_pass = Bounds(*table[0]), results[0][0][2]
    block_size = options[0], options[1]
    face, done = place[0]
    pending = jnp.arange(table.shape[2], dtype=jnp.int32) <= face
    queue = _list_faces(bounds, block_size, blocks_per_pass, pending=pending)
    zero = jnp.zeros((), jnp.int32)
    blocks, cursor, done = _next_blocks(bounds, queue, zero, done, block_size, blocks_per_pass)
    face = jnp.where(cursor < queue.listed, queue.faces[cursor], -1)
    columns = jnp.stack([array.astype(jnp.int32) for array in blocks])
    return [columns[None], jnp.stack([face, done])[None]]


_WALK = Kernel("walk", _walk_plainly)


def expected_blocks(faces: int, image_size: tuple[int, int], block_size: tuple[int, int]) -> int:
    """About how many blocks the faces of a view have, if two layers of them fill the picture."""
    (height, width), (down, across) = image_size, block_size
    return faces + 2 * height * width // (down * across)


def block_pixels(
    row: jax.Array, column: jax.Array, block_size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """Rows `[P, h, 1]` and columns `[P, 1, w]` of the pixels of blocks with these first pixels."""
    height, width = block_size
    down = jnp.arange(height, dtype=jnp.int32)[None, :, None]
    across = jnp.arange(width, dtype=jnp.int32)[None, None, :]
    return row[:, None, None] + down, column[:, None, None] + across


def compact_indices(mask: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The indices `[size]` where a mask is true, in order, then zeros; and how many there are."""
    rank = jnp.cumsum(mask, dtype=jnp.int32)
    target = jnp.where(mask, rank - 1, size)
    index = jnp.arange(mask.size, dtype=jnp.int32)
    listed = jnp.zeros(size, jnp.int32).at[target].set(index, mode="drop", unique_indices=True)
    return listed, rank[-1]


def loop_over_chunks(items: jax.Array, chunk_size: int, body: Callable, state: Any) -> Any:
    """Calls `body(chunk, state) -> state` for each chunk of so many items until all are done."""
    chunks = lax.div(items + (chunk_size - 1), jnp.int32(chunk_size))
    return lax.fori_loop(jnp.int32(0), chunks, body, state)
