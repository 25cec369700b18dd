"""Whatever is drawn, pictures and all gradients are finite, and alpha lies in its range."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from strategies import VARIANTS, Variant, drawn, loss, picture, scenes, split

pytestmark = [pytest.mark.hostile, pytest.mark.slow]


@functools.cache
def program(variant: Variant):
    """The picture and all its gradients."""

    @jax.jit
    def run(moving, values):
        slopes = jax.grad(functools.partial(loss, variant))(moving, values)
        return picture(variant, {**values, **moving}), slopes

    return run


def check_finite(variant: Variant, values) -> None:
    image, slopes = program(variant)(*split(variant, values))
    for path, leaf in jax.tree_util.tree_leaves_with_path((image, slopes)):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert leaf.dtype == values["vertices"].dtype, jax.tree_util.keystr(path)
    # A pixel that four edges touch is blended four times by "antialias".
    few = 1.0 if variant.rasterizer == "antialias" else 1e-4
    assert (image.alpha >= -few).all()
    assert (image.alpha <= 1 + few).all()
    assert (image.depth >= 0).all() or variant.parallel
    if variant.shading == "none":
        assert (image.rgb >= -few).all()
        assert (image.rgb <= 1 + few).all()


@pytest.mark.thorough
@pytest.mark.cases(4)
@pytest.mark.parametrize("name", VARIANTS)
def test_in_float32(name):
    variant = VARIANTS[name]

    @drawn(len(VARIANTS))
    @given(scenes(variant))
    def check(values):
        check_finite(variant, values)

    check()


@pytest.mark.thorough
@pytest.mark.cases(2)
@pytest.mark.parametrize("name", VARIANTS)
def test_in_float64(name, x64):
    variant = VARIANTS[name]

    @drawn(len(VARIANTS))
    @given(scenes(variant, np.float64))
    def check(values):
        check_finite(variant, values)

    check()
