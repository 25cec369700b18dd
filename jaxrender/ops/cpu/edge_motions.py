"""How pictures change at edges where vertices move, see `ops/edges`: `places.py` the other way.

Shapes: `G` views, `T` motions of each, `V` vertices, `H, W` image, `C` channels; what motions have
is `[G T, ...]`, those of a view one after the other.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.edges import NO_EDGE, scene_of
from jaxrender.ops.cpu.machine import (
    answer,
    argument,
    free,
    get,
    length,
    load,
    malloc,
    option,
    result,
    store,
    symbol_address,
    typed,
    view_of,
)
from jaxrender.ops.cpu.places import add_place, color_step, weights_of
from jaxrender.ops.cpu.rows import PARTS, run_rows


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """Some rows of a view, each from its own pairs and those that it is the second of."""
    parts, none = get(job, PARTS), np.int32(-1)
    view, band = part // parts, part % parts
    scene, last = scene_of(job, view, like), np.int64(length(argument(job, 1), 1) - 1)
    shape, silhouettes = argument(job, 5), option(job, 1) != 0
    height, width, channels = length(shape, 1), length(shape, 2), length(shape, 3)
    pixels, motions = height * width, length(argument(job, 6), 0) // length(shape, 0)
    face_at, codes = view_of(argument(job, 2), view, none), view_of(argument(job, 3), view, none)
    places, picture = view_of(argument(job, 4), view, like), view_of(shape, view, like)
    changed = view_of(result(job, 0), view * motions, like)
    ways = malloc(8 * motions)  # how far an edge goes by each motion
    target = ways, view_of(argument(job, 6), view * motions, like), 3 * scene[2], motions
    top, bottom, size = height * band // parts, height * (band + 1) // parts, channels * pixels
    zero = typed(0, like)
    for motion in range(motions):
        for number in range(channels * width * top, channels * width * bottom):
            store(changed, motion * size + number, zero)

    # Pairs from the row above on, whose second pixels lie in the first row here.
    for row in range(max(top - 1, 0), bottom):
        for axis in range(2):
            if (row < top) & (axis == 0):
                continue
            step = width if axis == 1 else 1
            for column in range(width):
                pixel = row * width + column
                code = np.int64(load(codes, axis * pixels + pixel, none))
                if code == NO_EDGE:
                    continue
                for motion in range(motions):
                    store(ways, motion, 0.0)
                place = typed(column, 0.0), typed(row, 0.0), axis
                first = np.int64(load(face_at, pixel, none))
                second = np.int64(load(face_at, pixel + step, none))
                add_place(target, scene, code, (first, second, last), place, 1.0, like)
                where = typed(load(places, axis * pixels + pixel, like), 0.0)
                weights = weights_of(face_at, pixel, where, axis, (height, width), silhouettes)
                of_first = weights[0] if row >= top else 0.0
                of_second = weights[1] if (axis == 0) | (row < bottom - 1) else 0.0
                for i in range(channels * pixel, channels * (pixel + 1)):
                    j = channels * step
                    colors = color_step(picture, i, j, weights, like)
                    for motion in range(motions):
                        change, at = colors * load(ways, motion, 0.0), motion * size + i
                        if of_first != 0.0:
                            total = load(changed, at, like) + typed(of_first * change, like)
                            store(changed, at, total)
                        if of_second != 0.0:
                            total = load(changed, at + j, like) + typed(of_second * change, like)
                            store(changed, at + j, total)
    free(ways)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The pictures of all views, by each motion."""
    run_rows(job, argument(job, 5), option(job, 3))


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def edge_motions(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return edge_motions
