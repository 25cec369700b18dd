"""Gradients are central differences, in float64, where a picture is smooth.

All values move at once along a line, so that all gradients count in one number. The picture is
taken for smooth there if each pixel's differences over two steps, one four times the other, agree,
and those to both sides: not where another face comes to be seen, or a soft one into reach.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from strategies import HARD, SOFT, drawn, loss, scenes, shares, split

pytestmark = [pytest.mark.hostile, pytest.mark.slow]

# Those whose gradient is that of what they draw; "edge" and "nmr" are derived otherwise. Soft ones
# with `far`: without, depths are scaled by their range, which counts as constant.
SMOOTH = {name: HARD[name] for name in ("hard", "hard 2x2", "antialias", "antialias 2x2")} | {
    name: dataclasses.replace(variant, limited=True)
    for name, variant in SOFT.items()
    if "hard" not in name and "faithful" not in name and variant.faces
}
STEPS = -4e-6, -1e-6, 0, 1e-6, 4e-6


@functools.cache
def program(variant):
    """What each pixel adds to a loss at steps along a line; the loss's derivative along it."""

    @jax.jit
    def run(moving, ways, values):
        def at(step):
            moved = jax.tree.map(lambda value, way: value + step * way, moving, ways)
            return shares(variant, moved, values)

        slopes = jax.grad(functools.partial(loss, variant))(moving, values)
        products = jax.tree.map(lambda slope, way: (slope * way).sum(), slopes, ways)
        return jax.lax.map(at, np.array(STEPS)), products

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
    seen, products = jax.device_get(program(variant)(moving, ways, values))
    before_far, before, middle, after, after_far = seen
    step, far_step = STEPS[-2:]
    difference = (after - before) / (2 * step)
    far_difference = (after_far - before_far) / (2 * far_step)
    parts = np.array([*products.values()])
    rounding = 1e-13 * (1 + np.abs(middle).sum()) / step
    scale = np.abs(parts).max()
    if np.abs(difference - far_difference).sum() > 1e-5 * scale + rounding:
        return False
    # Leave out a corner of the function right here too: of "max" faces that share an edge have one.
    # Each pixel counts by itself, as what one turns to one side may hide what another does.
    turn = ((before + after) / 2 - middle) / step
    if np.abs(turn).sum() > 1e-4 * scale + rounding:
        return False
    difference = difference.sum()
    assert abs(parts.sum() - difference) <= 1e-4 * scale + 10 * rounding, (difference, products)
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
