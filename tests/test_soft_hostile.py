"""`rasterize_soft` of hostile numbers: finite, and what is wrong loses its own faces alone."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import soup
from soft_scenes import (
    assert_close,
    separate,
)

import jaxrender as jr

pytestmark = pytest.mark.usefixtures("short_passes")


@jax.jit
def hostile_gradient(vertices, faces, colors, numbers):
    def loss(vertices, colors, numbers):
        image = jr.rasterize_soft(
            jr.ScreenMesh(vertices, faces),
            jr.VertexColors(colors),
            image_size=(7, 9),
            background=0.5,
            near=0.1,
            **numbers,
        )
        upstream = jnp.linspace(-1, 1, 63).reshape(7, 9)
        loss = (image.rgb * upstream[..., None]).sum() + (image.alpha * upstream).sum()
        return loss + (image.depth * upstream).sum(), image

    slopes, image = jax.grad(loss, (0, 1, 2), has_aux=True)(vertices, colors, numbers)
    return image, slopes


HOSTILE_KINDS = ["plain", "same", "point", "thin", "huge", "far", "near", "plane", "behind", "flat"]


@st.composite
def hostile_scenes(draw):
    """Twelve faces and the numbers to draw them with."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    corners = soup(seed, 12)[0].reshape(-1, 3, 3)
    for index in range(12):
        kind, face = draw(st.sampled_from(HOSTILE_KINDS)), corners[index]
        if kind == "same":
            face[:] = corners[0]
        elif kind == "point":
            face[:] = face[0]
        elif kind == "thin":
            face[2] = face[0] + (face[1] - face[0]) * np.float32(rng.uniform(-1, 2))
        elif kind == "huge":
            face[:, :2] *= 1e6
        elif kind == "far":
            face[:, :2] += 1e6
        elif kind == "near":
            face[:, 2] = 0.1 * rng.choice([0.5, 1, 1, 2], 3)
        elif kind == "plane":
            face[rng.integers(3), 2] = rng.choice([0, 1e-30, -1e-30, 1e-12])
        elif kind == "behind":
            face[: rng.integers(1, 4), 2] *= -1
        elif kind == "flat":
            face[:, :2] = (2 * rng.integers(-1, 10, (3, 2)) + 1) / [9, 7] - 1
    sigma = 10.0 ** draw(st.integers(-8, 0))
    numbers = {"sigma": np.float32(sigma), "gamma": np.float32(10.0 ** draw(st.integers(-6, 0)))}
    return corners, numbers | {"far": draw(st.sampled_from([None, np.float32(100)]))}


def assert_sane(image, slopes):
    for leaf in jax.tree.leaves((image, slopes)):
        assert np.isfinite(leaf).all()
    assert (image.alpha >= 0).all()
    assert (image.alpha <= 1).all()
    assert (image.rgb >= -1e-5).all()
    assert (image.rgb <= 1 + 1e-5).all()


class TestHostile:
    colors = np.random.default_rng(0).uniform(size=(36, 3)).astype(np.float32)
    numbers: ClassVar = {"sigma": np.float32(1e-3), "gamma": np.float32(1e-3), "far": None}

    @pytest.mark.long
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(hostile_scenes())
    def test_finite(self, scene):
        corners, numbers = scene
        assert_sane(*hostile_gradient(*separate(corners), self.colors, numbers))

    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.parametrize("scale", [1e12, 1e17, 1e20, 1e37])
    def test_faces_of_any_size_in_any_blur(self, scale):
        corners = soup(3, 12)[0].reshape(-1, 3, 3)
        corners[2, :, :2] = np.array([[-1, -1], [1, -1], [0, 1]]) * scale
        corners[5, :, :2] *= scale
        numbers = self.numbers | {"sigma": np.float32(1e-30)}
        assert_sane(*hostile_gradient(*separate(corners), self.colors, numbers))

    @pytest.mark.slow
    def test_nan_vertices_lose_their_faces_only(self):
        corners = soup(3, 12)[0].reshape(-1, 3, 3)
        bad, gone = corners.copy(), corners.copy()
        bad[2, 1, 0], bad[5, 0, 2], bad[7, 2] = np.nan, np.inf, np.nan
        gone[[2, 5, 7]] = 0
        image, (by_vertices, *others) = hostile_gradient(*separate(bad), self.colors, self.numbers)
        wanted, (wanted_by_vertices, *wanted_others) = hostile_gradient(
            *separate(gone), self.colors, self.numbers
        )
        assert_sane(image, (by_vertices, others))
        assert_close(image, wanted)
        assert_close((by_vertices, others), (wanted_by_vertices, wanted_others))
        assert (np.asarray(by_vertices).reshape(12, 9)[[2, 5, 7]] == 0).all()

    @pytest.mark.slow
    def test_indices_out_of_range_lose_their_faces_only(self):
        vertices, faces = separate(soup(3, 12)[0].reshape(-1, 3, 3))
        bad = faces.at[2, 1].set(36).at[5, 0].set(-1)
        gone = faces.at[jnp.array([2, 5])].set(0)
        got, wanted = (
            hostile_gradient(vertices, f, self.colors, self.numbers) for f in (bad, gone)
        )
        assert_close(got, wanted)

    @pytest.mark.slow
    @pytest.mark.parametrize(("faithful", "far"), [(False, None), (False, 100), (True, 100)])
    @pytest.mark.parametrize("vertex_count", [0, 3])
    def test_nothing_to_see(self, vertex_count, faithful, far):
        faces = jnp.zeros((0, 3), jnp.int32)

        def draw(vertices, colors):
            return jr.rasterize_soft(
                jr.ScreenMesh(vertices, faces),
                jr.VertexColors(colors),
                image_size=(3, 4),
                background=0.25,
                far=far,
                faithful=faithful,
            )

        vertices, colors = jnp.ones((vertex_count, 3)), jnp.ones((vertex_count, 2))
        image, pull = jax.vjp(draw, vertices, colors)
        assert image.rgb.shape == (3, 4, 2)
        assert (image.rgb == 0.25).all()
        assert (image.alpha == 0).all()
        assert (image.depth == (far or 0)).all()
        for slope in pull(jax.tree.map(jnp.ones_like, image)):
            assert (slope == 0).all()
