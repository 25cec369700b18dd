"""Pixels that are filled up to the silhouettes between them, see `ops/edges`; and the way back.

Shapes: `B` views, `H, W` image, `C` channels.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from jaxrender.ops.cpu.edges import NO_EDGE
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
from jaxrender.ops.cpu.rows import PARTS, run_rows


@numba.njit(error_model="numpy")
def do_part(job: int, part: int, like: Any) -> None:
    """Some rows of a view, each from its own pairs and those that it is the second of."""
    shape, parts, integer = argument(job, 0), get(job, PARTS), np.int32(0)
    view, band = part // parts, part % parts
    height, width, channels = length(shape, 1), length(shape, 2), length(shape, 3)
    pixels, half, transposed = height * width, typed(0.5, like), option(job, 0) != 0
    picture, filled = view_of(shape, view, like), view_of(result(job, 0), view, like)
    codes, places = view_of(argument(job, 1), view, integer), view_of(argument(job, 2), view, like)
    top, bottom = height * band // parts, height * (band + 1) // parts
    for number in range(top * width * channels, bottom * width * channels):
        store(filled, number, load(picture, number, like))

    # Pairs from the row above on, whose second pixels lie in the first row here.
    for row in range(max(top - 1, 0), bottom):
        for axis in range(2):
            if (row < top) & (axis == 0):
                continue
            step = width if axis == 1 else 1
            for pixel in range(row * width, (row + 1) * width):
                if load(codes, axis * pixels + pixel, integer) == NO_EDGE:
                    continue
                weight = load(places, axis * pixels + pixel, like) - half
                one, other = pixel, pixel + step
                target = other if weight >= typed(0, like) else one
                for channel in range(channels):
                    i, j, k = (
                        channels * one + channel,
                        channels * other + channel,
                        channels * target + channel,
                    )
                    if transposed:
                        given = weight * load(picture, k, like)
                        if row >= top:
                            store(filled, i, load(filled, i, like) + given)
                        if (axis == 0) | (row < bottom - 1):
                            store(filled, j, load(filled, j, like) - given)
                    elif ((target == one) & (row >= top)) | (
                        (target == other) & ((axis == 0) | (row < bottom - 1))
                    ):
                        given = weight * (load(picture, i, like) - load(picture, j, like))
                        store(filled, k, load(filled, k, like) + given)


@numba.njit(error_model="numpy")
def start(job: int, like: Any) -> None:
    """The pictures of all views."""
    run_rows(job, argument(job, 0), option(job, 1))


def entry(dtype: Any, name: str) -> Any:
    """The kernel, to be compiled, for a float type; its own address stands under a name."""
    like = dtype(0)

    def antialias(address: int) -> int:
        return answer(address, get(symbol_address(name), 0), start, do_part, like)

    return antialias
