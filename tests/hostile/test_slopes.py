"""Gradients are central differences, in float64, where a picture is smooth.

All values move at once along a line, so that all gradients count in one number. The picture is
taken for smooth there if differences over two steps, one four times the other, agree, and those to
both sides: not where another face comes to be seen, or a soft one into reach.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from strategies import HARD, SOFT, drawn, loss, scenes, split

pytestmark = [pytest.mark.hostile, pytest.mark.slow]

# Those whose gradient is that of what they draw; "edge" and "nmr" are derived otherwise. Soft ones
# with `far`: without, depths are scaled by their range, which counts as constant.
SMOOTH = {name: HARD[name] for name in ("hard", "hard 2x2", "antialias", "antialias 2x2")} | {
    name: dataclasses.replace(variant, limited=True)
    for name, variant in SOFT.items()
    if "hard" not in name and "faithful" not in name and variant.faces
}
STEPS = 1e-6, 4e-6


@functools.cache
def program(variant):
    """A loss, and its derivative along a line."""

    @jax.jit
    def run(moving, ways, values):
        slopes = jax.grad(functools.partial(loss, variant))(moving, values)
        products = jax.tree.map(lambda slope, way: (slope * way).sum(), slopes, ways)
        return loss(variant, moving, values), products

    return run


def check_slope(variant, values) -> bool:
    """Compares; returns whether the picture is smooth."""
    moving, values = split(variant, values)
    rng = np.random.default_rng(0)
    # Numbers of the blur move by a part of themselves, at most.
    ways = {
        name: rng.uniform(-1, 1, at.shape) * np.minimum(np.abs(at).max(), 1)
        for name, at in moving.items()
    }
    run = program(variant)

    def at(step):
        moved = {name: value + step * ways[name] for name, value in moving.items()}
        return float(run(moved, ways, values)[0])

    middle, products = run(moving, ways, values)
    ends = [(at(-step), at(step)) for step in STEPS]
    differences = [
        (after - before) / (2 * step) for step, (before, after) in zip(STEPS, ends, strict=True)
    ]
    parts = np.array([*map(float, products.values())])
    rounding = 1e-13 * (1 + abs(float(middle))) / STEPS[0]
    scale = np.abs(parts).max()
    if abs(differences[0] - differences[1]) > 1e-5 * scale + rounding:
        return False
    # Leave out a corner of the function right here too: of "max" faces that share an edge have one.
    turn = (sum(ends[0]) / 2 - float(middle)) / STEPS[0]
    if abs(turn) > 1e-4 * scale + rounding:
        return False
    assert abs(parts.sum() - differences[0]) <= 1e-4 * scale + 10 * rounding, (
        differences, dict(zip(products, parts, strict=True)),
    )  # fmt: skip
    return True


@pytest.mark.thorough
@pytest.mark.cases(2)
@pytest.mark.parametrize("name", SMOOTH)
def test_differences(name, x64):
    variant, smooth = SMOOTH[name], []

    @drawn(len(SMOOTH))
    @given(scenes(variant, np.float64, mild=True))
    def check(values):
        smooth.append(check_slope(variant, values))

    check()
    assert any(smooth)
