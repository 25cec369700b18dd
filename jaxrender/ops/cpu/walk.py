"""The next pixel blocks of a walk over all faces, from the last to the first; see `ops/blocks.py`.

Shapes: `F` faces, `P` blocks of a pass.
"""

from __future__ import annotations

from typing import Any

import numba

from jaxrender.ops.cpu.machine import (
    answer,
    argument,
    get,
    length,
    load,
    option,
    result,
    store,
    symbol_address,
    typed,
    view_of,
)


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """Lists as many blocks `[4, P]` as a pass has: face, row, column, and whether it is one."""
    height, width = option(job, 0), option(job, 1)
    faces, most = length(argument(job, 0), 2), length(result(job, 0), 2)
    bounds, place = view_of(argument(job, 0), 0, like), view_of(argument(job, 1), 0, like)
    blocks, after = view_of(result(job, 0), 0, like), view_of(result(job, 1), 0, like)
    face, done, filled = int(load(place, 0, like)), int(load(place, 1, like)), 0
    while face >= 0:
        # Count the blocks of the face, and list those that are left and fit.
        top, left = int(load(bounds, face, like)), int(load(bounds, faces + face, like))
        bottom = int(load(bounds, 2 * faces + face, like))
        right = int(load(bounds, 3 * faces + face, like))
        down, across = (bottom - top + height) // height, (right - left + width) // width
        count = max(down, 0) * max(across, 0)
        while (done < count) & (filled < most):
            row = done // across
            store(blocks, filled, typed(face, like))
            store(blocks, most + filled, typed(top + height * row, like))
            store(blocks, 2 * most + filled, typed(left + width * (done - across * row), like))
            store(blocks, 3 * most + filled, typed(1, like))
            filled += 1
            done += 1
        # Stop at a face that has some left: the next pass goes on there.
        if done < count:
            break
        face, done = face - 1, 0
    store(after, 0, typed(face, like))
    store(after, 1, typed(done, like))
    for number in range(filled, most):
        for k in range(4):
            store(blocks, k * most + number, typed(0, like))


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """One part, for a pass is short."""
    do_part(job, 0, like)


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for an integer type; its own address stands under a name."""
    like = dtype(0)

    def walk(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return walk
