"""Faces and depths of a sharp picture are those of a slow ray caster, but for rounding."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from caster import cast
from hypothesis import event, given
from strategies import Variant, drawn, scenes

import jaxrender as jr

pytestmark = [pytest.mark.hostile, pytest.mark.slow]

VARIANTS = {
    "5x7": Variant(),
    "13x11 parallel": Variant(image_size=(13, 11), parallel=True),
    "1x1 back": Variant(image_size=(1, 1), cull="back"),
    "1x17 limited": Variant(image_size=(1, 17), limited=True),
    "17x1 one face": Variant(image_size=(17, 1), faces=1, cull="front"),
    "no faces": Variant(faces=0),
}


@functools.cache
def program(variant: Variant):
    """The mesh on screen, and its fragments."""

    @jax.jit
    def run(values):
        zoom = values["zoom"]
        lens = jr.orthographic(zoom / 30) if variant.parallel else jr.perspective(zoom)
        camera = jr.look_at(values["eye"], values["at"], values["up"], projection=lens)
        size = variant.image_size
        vertices = jr.project(values["vertices"], camera, image_size=size)
        screen = jr.ScreenMesh(vertices, values["faces"], not variant.parallel)
        near, far = values["near"], values["far"] if variant.limited else None
        return vertices, jr.rasterize_hard(
            screen, image_size=size, near=near, far=far, cull=variant.cull
        )

    return run


def check_ids(variant: Variant, values) -> float:
    """Compares all pixels; returns the share of those that may show one thing alone."""
    vertices, seen = map(jax.device_get, program(variant)(dict(values)))
    far = float(values["far"]) if variant.limited else None
    rays = cast(
        vertices,
        values["faces"],
        variant.image_size,
        float(values["near"]),
        far,
        perspective=not variant.parallel,
        cull=variant.cull,
    )
    assert rays.allows(seen.face).all(), (seen.face, rays.allowed.argmax(0))
    hit = seen.face >= 0
    assert (seen.depth[~hit] == (far or 0)).all()
    if hit.any():
        shown = np.where(hit, seen.face, 0)[None]
        least, most = (np.take_along_axis(d, shown, 0)[0] for d in (rays.nearest, rays.farthest))
        assert (seen.depth >= least)[hit].all()
        assert (seen.depth <= most)[hit].all()
        np.testing.assert_allclose(seen.barycentrics.sum(-1)[hit], 1, rtol=1e-4)
    return float(rays.decided.mean())


@pytest.mark.parametrize("name", VARIANTS)
def test_in_float32(name):
    variant = VARIANTS[name]

    @drawn(len(VARIANTS))
    @given(scenes(variant))
    def check(values):
        event(f"decided: {check_ids(variant, values):.1f}")

    check()


@pytest.mark.parametrize("name", ["5x7", "1x17 limited"])
def test_in_float64(name, x64):
    variant = VARIANTS[name]

    @drawn(4)
    @given(scenes(variant, np.float64))
    def check(values):
        check_ids(variant, values)

    check()


def test_rounding_decides_little():
    """Of scenes with little wrong; so the comparison says something."""
    variant = VARIANTS["5x7"]
    shares = []

    @drawn(20)
    @given(scenes(variant, mild=True))
    def check(values):
        shares.append(check_ids(variant, values))

    check()
    assert np.median(shares) == 1
    assert np.mean(shares) > 0.8  # a face may lie in the near plane
