"""Sums in a fixed order, which a GPU makes where XLA's flags ask for the same bits in each run."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from benchmarks import ahead
from jaxrender.ops import deterministic


@pytest.fixture
def requested(monkeypatch):
    """Lets programs be traced as for a GPU that is asked for order."""
    monkeypatch.setattr(deterministic, "is_requested", lambda: True)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("count", "size"), [(0, 3), (1, 1), (300, 7), (300, 500)])
def test_sums_are_those_of_numpy(monkeypatch, count, size, asked):
    monkeypatch.setattr(deterministic, "is_requested", lambda: asked)
    random = np.random.default_rng(count)
    places = random.integers(-3, size + 3, count).astype(np.int32)
    values = random.integers(-50, 50, (count, 2)).astype(np.float32)
    table = random.integers(-50, 50, (size, 2)).astype(np.float32)
    expected = table.copy()
    inside = (places >= 0) & (places < size)
    np.add.at(expected, places[inside], values[inside])
    got = jax.jit(deterministic.scatter_add)(jnp.array(table), jnp.array(places), values)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_many_values_at_one_place(requested):
    values = np.random.default_rng(0).uniform(size=(100_000, 1)).astype(np.float32)
    places = jnp.full(100_000, 2).at[::1000].set(1)
    sums = jax.jit(deterministic.scatter_add)(jnp.zeros((4, 1)), places, values)
    exact = [values[np.asarray(places) == place].astype(np.float64).sum() for place in range(4)]
    np.testing.assert_allclose(sums[:, 0], exact, rtol=1e-6)


@pytest.mark.thorough
def test_under_vmap(requested):
    random = np.random.default_rng(1)
    places = jnp.array(random.integers(0, 5, (3, 40)))
    values = jnp.array(random.normal(size=(3, 40, 2)))
    add = functools.partial(deterministic.scatter_add, jnp.zeros((5, 2)))
    together = jax.vmap(add)(places, values)
    for got, *args in zip(together, places, values, strict=True):
        np.testing.assert_array_equal(got, add(*args))


TEXTURES = {
    "cubes": lambda mesh, random: jr.FaceCubes(random.uniform(size=(len(mesh.faces), 2, 2, 2, 3))),
    "texels": lambda mesh, random: jr.FaceTexels(random.uniform(size=(len(mesh.faces), 2, 2, 3))),
    "uv": lambda mesh, random: jr.UVTexture(
        random.uniform(size=(8, 8, 3)), random.uniform(size=(9, 2)), mesh.faces % 9
    ),
}


def losses_of(mesh, *, kind, shading, rasterizer):
    """A function of vertices and the texture's arrays, from a mesh to numbers; and those."""
    random = np.random.default_rng(0)
    texture = jax.tree.map(
        lambda array: jnp.asarray(array, jnp.float32) if array.dtype == np.float64 else array,
        TEXTURES[kind](mesh, random),
    )
    upstream = jnp.array(random.normal(size=(2, 24, 24, 4)), jnp.float32)
    eyes = jr.points_from_angles(2.7, 20.0, jnp.array([30.0, 200.0]))
    topology = jr.losses.mesh_topology(mesh.faces, len(mesh.vertices))

    def loss(vertices, texture):
        def picture(eye):
            image = jr.render(
                jr.Mesh(vertices, mesh.faces, texture),
                jr.look_at(eye),
                image_size=(24, 24),
                shading=shading,
                rasterizer=rasterizer,
            )
            return jnp.concatenate([image.rgb, image.alpha[..., None]], -1)

        return (
            (jax.vmap(picture)(eyes) * upstream).sum()
            + jr.losses.laplacian(vertices, topology)
            + jr.losses.flatten(vertices, topology)
        )

    return loss, (mesh.vertices, texture)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "shading", "rasterizer"),
    [
        ("uv", "gouraud", jr.Hard(visibility_gradient="nmr")),
        ("texels", "phong", jr.Soft(sigma=1e-3, gamma=1e-2)),
    ],
)
def test_pictures_and_gradients_are_the_same(kind, shading, rasterizer):
    """By a GPU's schedule, with sums in a fixed order and without; they differ by rounding."""
    # Uneven, lest a normal be square to the light but for rounding.
    ball = jr.shapes.icosphere(1)
    uneven = jnp.array(np.random.default_rng(2).uniform(0.9, 1.1, (len(ball.vertices), 1)))
    mesh = jr.Mesh(ball.vertices * uneven.astype(jnp.float32), ball.faces)
    options = {"kind": kind, "shading": shading, "rasterizer": rasterizer}
    found = []
    for asked in (False, True):
        loss, args = losses_of(mesh, **options)
        jax.clear_caches()
        with ahead.schedules_of_a_gpu(deterministic=asked):
            program = jax.jit(jax.value_and_grad(loss, (0, 1), allow_int=True))
            assert ("stablehlo.sort" in program.lower(*args).as_text()) == asked
            found.append(program(*args))
        jax.clear_caches()
    for wanted, got in zip(*map(jax.tree.leaves, found), strict=True):
        if jnp.issubdtype(jnp.asarray(got).dtype, jnp.floating):
            size = float(jnp.abs(wanted).max())
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5 * max(size, 1e-3))


def test_only_a_gpu_is_asked(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert deterministic.is_requested() == (backend == "gpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--xla_gpu_deterministic_ops", True),
        ("--xla_gpu_deterministic_ops=1", True),
        ("--xla_gpu_exclude_nondeterministic_ops=true --other", True),
        ("--xla_gpu_deterministic_ops=false", False),
        ("--xla_gpu_deterministic_ops_of_others=true", False),
    ],
)
def test_flags(flags, expected):
    assert bool(deterministic.FLAG.search(flags)) == expected


@pytest.mark.parametrize("rasterizer", [jr.Hard(visibility_gradient="nmr"), jr.Soft(sigma=1e-3)])
def test_nothing_is_added_one_by_one_on_a_gpu(monkeypatch, rasterizer):
    """XLA makes loops of all sums whose order it would have to fix itself."""
    pytest.importorskip("jax_plugins.xla_cuda12", reason="the CUDA plugin of JAX is not installed")
    monkeypatch.setenv("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    loss, args = losses_of(
        jr.shapes.icosphere(2), kind="cubes", shading="gouraud", rasterizer=rasterizer
    )
    gradient = jax.grad(loss, (0, 1))
    program, _ = ahead.compile_for(ahead.H200, gradient, *args, deterministic=True)
    trips = re.findall(r'known_trip_count":\{"n":"(\d+)"', program.as_text())
    assert max(map(int, trips), default=0) < 50
