"""Edges cut at a depth, in homogeneous coordinates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrender.ops.clip import box_in_front, cut_edges
from jaxrender.ops.triangle import FARTHEST, Corners


@pytest.mark.slow
@pytest.mark.parametrize("perspective", [True, False])
def test_cut_edges(perspective):
    """Against the point in space, projected."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-2, 2, (2, 50, 3))
    near = 0.3
    if perspective:
        a[:, 2], b[:, 2] = rng.uniform(0.4, 3, 50), rng.uniform(-2, 0.2, 50)
    on_screen = [p[:, :2] / p[:, 2:] if perspective else p[:, :2] for p in (a, b)]
    cut = cut_edges(*(jnp.asarray(p[:, 2:]) for p in (a, b)), jnp.float32(near))
    np.testing.assert_array_equal(cut.crosses[:, 0], (a[:, 2] >= near) != (b[:, 2] >= near))

    t = (near - a[:, 2:]) / (b[:, 2:] - a[:, 2:])
    point = (1 - t) * a + t * b
    wanted = point[:, :2] / near if perspective else point[:, :2]
    found = cut.point(*map(jnp.asarray, on_screen), perspective=perspective)
    crosses = np.asarray(cut.crosses[:, 0])
    assert crosses.any()
    np.testing.assert_allclose(found[crosses], wanted[crosses], rtol=1e-4, atol=1e-4)
    # What does not cross is cut at its start, and stays finite.
    inside = np.asarray(cut.interpolate(*map(jnp.asarray, on_screen)))[~crosses]
    np.testing.assert_allclose(inside, on_screen[0][~crosses], rtol=1e-6)
    assert np.isfinite(found).all()


@pytest.mark.slow
def test_a_cut_beyond_the_end_of_float32_is_finite():
    """So are its derivatives: a corner at 1e17 pixels, a near plane at a millionth of its depth."""
    near = jnp.float32(1e-6)

    def cut(x_a, x_b, z_a, z_b):
        return cut_edges(z_a, z_b, near).point_within_reach(x_a, x_b, perspective=True)

    for args in ((1e17, 3.0, 8.0, -1.0), (-1e17, 1e17, 1e30, -1e30), (0.5, 0.25, 2.0, -2.0)):
        values = jnp.float32(args)
        found, slopes = jax.value_and_grad(cut, (0, 1, 2, 3))(*values)
        assert np.abs(found) <= FARTHEST
        assert np.isfinite(slopes).all()
        if abs(args[0]) > 1e16:
            assert np.abs(found) == np.float32(FARTHEST)


@pytest.mark.slow
def test_box_in_front():
    """A face whose third corner is behind the camera, one in front, and one behind."""
    x = jnp.array([[0.0, 0, 0], [4, 4, 4], [6, 2, 2]])
    y = jnp.array([[0.0, 0, 0], [0, 0, 0], [0, 2, 2]])
    z = jnp.array([[2.0, 2, -1], [2, 2, -1], [-1, 2, -1]])
    box = box_in_front(Corners(x, y, z), jnp.full(3, 0.5))
    np.testing.assert_allclose(box.left, [-6, 0, np.inf], rtol=1e-6)
    np.testing.assert_allclose(box.right, [4, 4, -np.inf], rtol=1e-6)
    np.testing.assert_allclose(box.bottom, [0, 2, -np.inf], rtol=1e-6)
    np.testing.assert_array_equal(box.misses((2, 8)), [False, False, True])
