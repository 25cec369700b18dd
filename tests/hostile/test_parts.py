"""Bodies, voxels, losses and fits of values that an enemy would choose."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Variant, drawn, scenes

import jaxrender as jr
from jaxrender import losses, skinning

pytestmark = [pytest.mark.hostile, pytest.mark.slow]

# --- losses ---------------------------------------------------------------------------------------

VARIANT = Variant()
FANS = np.arange(12)
TOPOLOGIES = [
    losses.mesh_topology(np.stack(corners, -1), 36)
    for corners in (
        (FANS, FANS + 1, FANS + 2),  # a strip
        (0 * FANS, FANS + 1, FANS + 2),  # a fan
        (0 * FANS, 0 * FANS + 1, FANS + 2),  # all at one edge, so there are no hinges
    )
]
TOPOLOGIES = losses.pad_topologies(TOPOLOGIES)


def all_losses(vertices, topology):
    """By name."""
    of_mesh = losses.laplacian, losses.flatten, losses.edge_length, losses.normal_consistency
    found = {loss.__name__: loss(vertices, topology, reduction="mean") for loss in of_mesh}
    coverage = jax.nn.sigmoid(vertices[:6])
    return found | {"negative_iou": losses.negative_iou(coverage, coverage[::-1])}


@functools.cache
def slopes(dtype):
    """The losses, and the gradient of each."""
    return jax.jit(lambda *args: (all_losses(*args), jax.jacrev(all_losses)(*args)))


def check_losses(values, which) -> None:
    topology = TOPOLOGIES[which]
    found, gradients = slopes(values["vertices"].dtype)(values["vertices"], topology)
    for name in found:
        assert np.isfinite(found[name]), name
        assert np.isfinite(gradients[name]).all(), name
        assert found[name] >= -1e-5, name


@pytest.mark.thorough
@drawn(2)
@given(scenes(VARIANT), st.integers(0, 2))
def test_losses_in_float32(values, which):
    check_losses(values, which)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@drawn(2)
@given(scenes(VARIANT, np.float64), st.integers(0, 2))
def test_losses_in_float64(values, which):
    check_losses(values, which)


@pytest.mark.usefixtures("x64")
@drawn(4)
@given(st.integers(0, 2**16), st.integers(0, 2))
def test_losses_have_the_slope_of_differences(seed, which):
    vertices, way = np.random.default_rng(seed).normal(size=(2, 36, 3))
    run = slopes(vertices.dtype)
    ends = [run(vertices + step * way, TOPOLOGIES[which])[0] for step in (-1e-6, 1e-6)]
    for name, gradient in run(vertices, TOPOLOGIES[which])[1].items():
        wanted, products = (ends[1][name] - ends[0][name]) / 2e-6, np.asarray(gradient) * way
        scale = max(np.abs(products).sum(), 1)
        assert abs(products.sum() - wanted) <= 1e-5 * scale, (name, products.sum(), wanted)


# --- bodies ---------------------------------------------------------------------------------------

V, J, S = 14, 4, 2
ANGLES = 0.0, 1.0, np.pi, 2 * np.pi, 1e-30, 1e-8, 1e6, 1e15


@st.composite
def bodies(draw, dtype=np.float32):
    """A model whose bones may have no length and whose weights may be of one joint, and a pose."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    template = rng.normal(size=(V, 3)) * draw(st.sampled_from([1.0, 0.0, 1e-6, 1e6]))
    shares = rng.uniform(size=(2, V, J)) ** draw(st.sampled_from([1, 50]))
    weights, regressor = shares / shares.sum(-1, keepdims=True)
    arrays = {
        "template": template,
        "shape_directions": rng.normal(size=(V, 3, S)),
        "pose_directions": rng.normal(size=(V, 3, 9 * (J - 1))),
        "joint_regressor": regressor.T / regressor.sum(0)[:, None],
        "weights": weights,
    }
    turns = [draw(st.sampled_from(ANGLES)) for _ in range(J)]
    axes = rng.normal(size=(J, 3))
    pose = axes / np.linalg.norm(axes, axis=1, keepdims=True) * np.array(turns)[:, None]
    motion = pose, rng.normal(size=S) * draw(st.sampled_from([1, 1e3])), rng.normal(size=3)
    faces = rng.integers(0, V, (5, 3))
    model = skinning.BodyModel(
        faces=np.asarray(faces, np.int32),
        parents=(-1, 0, 1, 0),
        **{name: np.asarray(array, dtype) for name, array in arrays.items()},
    )
    return model, tuple(np.asarray(part, dtype) for part in motion)


def reach(model, pose, shape, shift):
    return (skinning.skin(model, pose, shape, shift) * jnp.linspace(-1, 1, 3)[None]).sum()


@functools.cache
def skinned(dtype):
    def run(model, pose, shape, shift):
        both = jax.value_and_grad(reach, (1, 2, 3))
        two = jax.vmap(both, (None, 0, None, None))(model, jnp.stack([pose, pose]), shape, shift)
        return skinning.skin(model, pose, shape, shift), both(model, pose, shape, shift), two

    return jax.jit(run)


def check_body(model, motion, rtol) -> None:
    vertices, one, two = skinned(model.template.dtype)(model, *motion)
    for leaf in jax.tree.leaves((vertices, one)):
        assert np.isfinite(leaf).all()
    # Rotations keep lengths, so nothing is farther than all that the arms add up to.
    reached = np.abs(model.template).max() + np.abs(motion[1]).sum() * 10 + 9 * J * 20
    assert np.abs(np.asarray(vertices) - motion[2]).max() <= 40 * reached
    for a, b in zip(jax.tree.leaves(two), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a[0], b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.thorough
@drawn(2)
@given(bodies())
def test_bodies_in_float32(body):
    check_body(*body, 1e-4)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@drawn(2)
@given(bodies(np.float64))
def test_bodies_in_float64(body):
    check_body(*body, 1e-10)


# --- voxels ---------------------------------------------------------------------------------------


@functools.cache
def voxels():
    grid = functools.partial(jr.voxelize, resolution=5, bounds=(-1.0, 1.0))
    return jax.jit(lambda v, f: (grid(v, f), jax.vmap(grid, (None, 0))(v, jnp.stack([f, f[::-1]]))))


@pytest.mark.thorough
@drawn()
@given(scenes(VARIANT))
def test_voxels(values):
    """Neither the order of faces nor that of corners counts; each corner marks its voxel."""
    vertices, faces = values["vertices"], values["faces"]
    one, both = voxels()(vertices, faces)
    turned, _ = voxels()(vertices, faces[:, [2, 0, 1]])
    np.testing.assert_array_equal(both[0], one)
    np.testing.assert_array_equal(both[1], one)
    np.testing.assert_array_equal(turned, one)
    places = np.floor((vertices[faces].reshape(-1, 3) + np.float32(1)) * 5 / np.float32(2))
    inside = places[((places >= 0) & (places < 5)).all(1)].astype(int)
    assert np.asarray(one)[tuple(inside.T)].all()


# --- fits -----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*gradient is exactly zero", "ignore:least_squares")
@drawn(1000)
@given(scenes(Variant(faces=2), mild=True), st.sampled_from([1e-3, 1.0, 1e6]))
def test_fits_end_finite(values, rate):
    """Whatever the rate, a fit ends with finite parameters no worse than those it began with."""
    optax = pytest.importorskip("optax")
    camera = jr.look_at(values["eye"], values["at"], values["up"])

    def residuals(vertices):
        how = jr.Soft(sigma=1e-2)
        mesh = jr.Mesh(vertices, values["faces"])
        return jr.silhouette(mesh, camera, image_size=(3, 5), rasterizer=how) - 0.5

    start = values["vertices"]
    first = float((residuals(start) ** 2).sum())
    found = jr.fitting.fit(
        lambda vertices: (residuals(vertices) ** 2).sum() + 0 * vertices.sum(),
        start,
        optax.sgd(rate),
        steps=3,
        progress=False,
    )
    assert np.isfinite(found.params).all()
    assert float((residuals(found.params) ** 2).sum()) <= first * (1 + 1e-5)
    solved = jr.fitting.least_squares(residuals, start, steps=2, progress=False)
    assert np.isfinite(solved.params).all()
    assert 2 * solved.cost <= first * (1 + 1e-5)
