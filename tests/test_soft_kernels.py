"""The soft blend by kernels: equal to the passes, whoever of the threads does what."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from soft_scenes import assert_close, small_scene

import jaxrender as jr
from jaxrender.ops import soft

ON_CPU = jax.default_backend() == "cpu"
pytestmark = pytest.mark.skipif(not ON_CPU, reason="kernels are for a CPU")


def scenes(count=40):
    """Two views of faces small, large, across the near plane, beyond `far`, and none at all."""
    vertices, faces = small_scene(3, count)
    vertices = np.array(vertices, dtype=float).reshape(-1, 3, 3)
    vertices[0, :, :2] *= 9
    vertices[1::7, 0, 2] = 0.05
    vertices[2::7, 1, 2] = 30
    vertices[3, 1] = vertices[3, 0]
    faces = faces.at[4, 1].set(10**6)
    turned = vertices * np.array([-0.7, 1.2, 1.0])
    return jnp.array(np.stack([vertices, turned]).reshape(2, -1, 3)), faces


def loss(vertices, colors, sigma, gamma, faces, *, size, colored):
    """Of both views, with weights that tell all pixels and channels apart."""

    def of_view(vertices):
        image = jr.rasterize_soft(
            jr.ScreenMesh(vertices, faces),
            jr.VertexColors(colors) if colored else None,
            image_size=size,
            sigma=sigma,
            gamma=gamma,
            near=0.2,
            far=10.0,
            aggregate_rgb="softmax" if colored else None,
        )
        pictures = [image.alpha[..., None]]
        if colored:
            pictures += [image.rgb, image.depth[..., None]]
        picture = jnp.concatenate(pictures, -1)
        return (picture * jnp.cos(jnp.arange(picture.size).reshape(picture.shape))).sum()

    return jax.vmap(of_view)(vertices).sum()


def arguments(dtype):
    vertices, faces = scenes()
    colors = np.random.default_rng(1).uniform(size=(vertices.shape[1], 3))
    numbers = (jnp.asarray(number, dtype) for number in (3e-3, 1e-2))
    return vertices.astype(dtype), jnp.asarray(colors, dtype), *numbers, faces


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("colored", [False, True])
def test_equals_passes(monkeypatch, colored):
    """Also those that an exported program has in their place; to rounding in float64."""
    args = arguments(np.float64)
    both = functools.partial(loss, size=(11, 21), colored=colored)
    both = jax.value_and_grad(both, (0, 1, 2, 3))
    program = jax.jit(both).lower(*args)
    assert "jaxrender_blend" in program.as_text()
    kernels = program.compile()(*args)
    exported = jax.export.export(jax.jit(both))(*args)
    assert "jaxrender_blend" not in exported.mlir_module()
    without = soft.SCHEDULES["cpu"]._replace(has_kernels=False)
    monkeypatch.setitem(soft.SCHEDULES, "cpu", without)
    jax.clear_caches()
    passes = jax.jit(both)(*args)
    for other in (exported.call(*args), passes):
        for found, wanted in zip(jax.tree.leaves(kernels), jax.tree.leaves(other), strict=True):
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * scale)
    single = jax.jit(both)(*arguments(np.float32))
    assert_close(single, kernels)
    jax.clear_caches()


@pytest.mark.thorough
@pytest.mark.parametrize("colored", [False, True])
def test_threads_change_nothing(monkeypatch, colored):
    both = functools.partial(loss, size=(130, 131), colored=colored)
    results = []
    for threads in ("1", "3", ""):
        monkeypatch.setenv("JAXRENDER_THREADS", threads)
        jax.clear_caches()
        program = jax.jit(jax.value_and_grad(both, (0, 1, 2, 3)))
        results += [program(*arguments(np.float32)) for _ in range(2)]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    jax.clear_caches()


@pytest.mark.slow
def test_what_kernels_leave_to_passes():
    """Other distributions, T-conorms and distances, and textures that are read."""
    vertices, colors, sigma, _, faces = arguments(np.float32)
    faces = faces.at[4].set(0)
    uv = jr.UVTexture(jnp.ones((2, 2, 3)), colors[:, :2], faces)

    def has_kernel(texture=None, **options):
        def draw(vertices):
            screen = jr.ScreenMesh(vertices, faces)
            return jr.rasterize_soft(screen, texture, image_size=(5, 6), sigma=sigma, **options).rgb

        return "jaxrender_blend" in jax.jit(draw).lower(vertices[0]).as_text()

    assert has_kernel(jr.VertexColors(colors))
    assert not has_kernel(uv)
    assert not has_kernel(distribution="gaussian")
    assert not has_kernel(squared=False)
    assert not has_kernel(distance="barycentric")
    assert not has_kernel(aggregate_alpha="einstein")
    assert not has_kernel(faithful=True, far=10.0, near=1.0)
