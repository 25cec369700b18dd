"""The gradient of `rasterize_soft`: against finite differences, alone and together, and batched."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit
from soft_scenes import (
    blended,
    separate,
    small_scene,
    some_texture,
)

import jaxrender as jr

pytestmark = pytest.mark.usefixtures("short_passes")


# --- the derivative of what is drawn ----------------------------------------------------------


def bent(x):
    """A distribution of our own."""
    return 0.5 + 0.5 * jnp.tanh(x + 0.3 * jnp.tanh(x))


OURS = jr.tconorms.TConorm("ours", lambda D: D + D**3, lambda s: jnp.tanh(s))

DIFFERENTIATED = {
    "default": {},
    "orthographic": {"perspective": False, "distance": "barycentric"},
    "hard distance": {"distance": "hard", "texture": "cube"},
    "sum": {
        "distribution": "cauchy",
        "cutoff": 1e-4,
        "aggregate_alpha": "sum",
        "texture": "uv",
        "cull": "back",
    },
    "hard colour": {"aggregate_rgb": "hard", "aggregate_alpha": "max"},
    "near plane": {"near": 2.8, "aggregate_alpha": "yager"},
    "gaussian": {"distribution": "gaussian", "squared": False, "texture": "texel"},
    "own": {
        "distribution": bent,
        "squared": False,
        "aggregate_alpha": OURS,
        "distance": "barycentric",
        "perspective": False,
        "near": 2.8,
    },
}


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", DIFFERENTIATED)
def test_equals_finite_differences(case):
    options = {"cutoff": 1e-12, "near": 1.0, "texture": "vertex", "perspective": True}
    options |= DIFFERENTIATED[case]
    kind, perspective = options.pop("texture"), options.pop("perspective")
    vertices, faces = small_scene(1)
    texture = some_texture(kind, faces)
    weights = np.random.default_rng(0).normal(size=(5, 12, 16))
    leaves, tree = jax.tree.flatten(texture)
    moving = [leaf.dtype == vertices.dtype for leaf in leaves]

    def loss(p):
        given = iter(p["texture"])
        both = zip(leaves, moving, strict=True)
        texture = jax.tree.unflatten(tree, [next(given) if move else leaf for leaf, move in both])
        image = jr.rasterize_soft(
            jr.ScreenMesh(p["vertices"], faces, perspective=perspective),
            texture,
            image_size=(12, 16),
            **options | {k: v for k, v in p.items() if k not in ("vertices", "texture")},
        )
        planes = [*jnp.moveaxis(image.rgb, -1, 0), image.alpha, image.depth]
        return sum((a * b).sum() for a, b in zip(weights, planes, strict=True))

    moved = [leaf for leaf, move in zip(leaves, moving, strict=True) if move]
    numbers = {"sigma": 2e-2, "gamma": 0.1, "background": [0.2, 0.5, 0.1], "eps": 1e-2}
    numbers |= {"near": options["near"], "far": 10.0}
    place = {name: np.array(number) for name, number in numbers.items()}
    place |= {"vertices": np.array(vertices), "texture": list(map(np.array, moved))}
    derivative = jit(jax.value_and_grad(loss))
    _, slope = jax.device_get(derivative(place))
    rng = np.random.default_rng(3)
    step, got = 1e-6, {}
    for name in ["vertices", "vertices", "vertices", *place]:
        # Go a little way to either side, moving all of one argument at random.
        way = jax.tree.map(lambda x: np.array(rng.normal(size=x.shape)), place[name])
        ends = [
            derivative(
                place
                | {name: jax.tree.map(lambda x, d, s=s: np.array(x + s * d), place[name], way)}
            )[0]
            for s in (-step, step)
        ]
        wanted = float(ends[1] - ends[0]) / (2 * step)
        products = jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).ravel(), slope[name], way))
        products = np.concatenate(products)
        scale = max(np.linalg.norm(products), 1e-2)
        got.setdefault(name, []).append(abs(wanted - products.sum()) / scale)
    for name, error in got.items():
        assert max(error) < 1e-5, (name, error)


# --- to one argument, or to several ---------------------------------------------------------------


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("vertex", {"depth": 0.1}),
        ("texel", {}),
        ("uv", {"distance": "barycentric"}),
        ("flat", {"distance": "hard"}),
        ("flat", {"depth": 0.1}),
        ("vertex", {"aggregate_rgb": None}),
        ("vertex", {"far": 9.0, "depth": 0.1}),
        ("vertex", {"faithful": True, "near": 1.0, "far": 100.0}),
    ],
)
def test_each_argument_alone_has_the_same_gradient(kind, options):
    """What nobody asks for is not computed; the rest stays as it is."""
    vertices, faces = small_scene(5)
    if kind == "flat":
        texture = jr.FaceTexels(jax.random.uniform(jax.random.key(0), (len(faces), 1, 1, 3)))
    else:
        texture = some_texture(kind, faces)
    tree = jax.tree.structure(texture)

    def loss(vertices, colors, sigma, gamma):
        leaves = [colors, *jax.tree.leaves(texture)[1:]]
        dressed = jax.tree.unflatten(tree, leaves)
        return blended(vertices, faces, dressed, sigma, gamma, **options)

    args = vertices, jax.tree.leaves(texture)[0], jnp.asarray(0.01), jnp.asarray(0.1)
    together = jit(jax.grad(loss, (0, 1, 2, 3)))(*args)
    for number, wanted in enumerate(together):
        alone = jit(jax.grad(loss, number))(*args)
        np.testing.assert_allclose(alone, wanted, rtol=1e-9, atol=1e-12)
    if options.get("aggregate_rgb", "softmax"):
        assert all(np.abs(wanted).max() > 0 for wanted in together[1::2])


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
def test_flat_colours_are_those_of_all_corners():
    vertices, faces = small_scene(6)
    colors = jax.random.uniform(jax.random.key(0), (len(faces), 3))

    def flat(vertices, colors):
        return blended(vertices, faces, jr.FaceTexels(colors[:, None, None]), 0.01, 0.1, near=2.8)

    def corners(vertices, colors):
        return blended(vertices, faces, jr.VertexColors(colors.repeat(3, 0)), 0.01, 0.1, near=2.8)

    got, wanted = (
        jit(jax.value_and_grad(loss, (0, 1)))(vertices, colors) for loss in (flat, corners)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), got, wanted)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_vertices_closed_over_are_vertices_passed():
    """XLA folds what it knows, which rounds otherwise; no more than that."""
    ball, random = jr.shapes.icosphere(0), np.random.default_rng(0)
    # Uneven: where two edges are equally close, or a face just faces a light, rounding decides
    # which of two gradients is taken, and in even scenes many a pixel lies there.
    vertices = ball.vertices + 0.05 * random.normal(size=ball.vertices.shape)
    eyes = jr.points_from_angles(3.0, 20.0, jnp.array([11.0, 37.0]))

    def loss(vertices, eye):
        mesh, look = jr.Mesh(vertices, ball.faces), jr.look_at(eye)
        image = jr.render(mesh, look, image_size=(8, 8), shading="phong", rasterizer=jr.Soft(1e-3))
        return (image.rgb**2).sum()

    slope = jax.grad(loss)
    passed = jit(lambda vertices: jax.lax.map(lambda eye: slope(vertices, eye), eyes))(vertices)
    closed = jit(lambda: jax.lax.map(lambda eye: slope(vertices, eye), eyes))()
    assert np.abs(passed).max() > 0.1
    np.testing.assert_allclose(closed, passed, atol=1e-11 * np.abs(passed).max())


# --- more losses than views -------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("kind", "alpha"), [("vertex", "max"), ("uv", "prod")])
def test_many_losses_of_one_view(kind, alpha):
    """`vmap` over what only the loss depends on, and `jax.jacrev`, are loops."""
    random = np.random.default_rng(0)
    corners = random.uniform((-0.8, -0.8, 2), (0.8, 0.8, 4), (3, 3, 3))
    vertices, faces = separate(np.float32(corners))
    options = {"image_size": (5, 6), "sigma": 1e-2, "gamma": 1e-1, "aggregate_alpha": alpha}
    targets = jnp.asarray(random.uniform(size=(3, 5, 6, 4)), jnp.float32)
    backgrounds = jnp.asarray(random.uniform(size=(2, 3)), jnp.float32)
    texture = some_texture(kind, faces)
    table, *rest = jax.tree.leaves(texture)

    def picture(vertices, table, background):
        image = jr.rasterize_soft(
            jr.ScreenMesh(vertices, faces),
            type(texture)(table, *rest),
            background=background,
            **options,
        )
        return jnp.concatenate([image.rgb, image.alpha[..., None]], -1)

    def loss(vertices, table, background, target):
        return (picture(vertices, table, background) * target).sum()

    slope = jax.grad(loss, (0, 1, 2))
    over_targets = jax.vmap(slope, (None, None, None, 0))
    some = vertices, table, backgrounds[0]
    many = jit(over_targets)(*some, targets)
    nested = jit(jax.vmap(over_targets, (None, None, 0, None)))(*some[:2], backgrounds, targets)
    jacobian = jit(jax.jacrev(picture, (0, 1, 2)))(*some)

    # The gradient of a weighted picture is the weighted sum of the Jacobian's rows.
    def agrees(got, want):
        size = np.abs(want).max()
        assert size > 1e-3
        np.testing.assert_allclose(got, want, atol=2e-5 * size)

    alone = jit(slope)
    for index, target in enumerate(targets):
        want = alone(*some, target)
        other = alone(vertices, table, backgrounds[1], target)
        for k, part in enumerate(want):
            agrees(many[k][index], part)
            agrees(nested[k][0, index], part)
            agrees(nested[k][1, index], other[k])
            agrees(np.tensordot(target, jacobian[k], axes=3), part)

    # Of two views with three losses each, either knows its own highest triangle.
    views = jnp.stack([vertices, vertices[::-1]])
    both = jit(jax.vmap(over_targets, (0, None, None, None)))(views, *some[1:], targets)
    for got, part in zip(both, alone(views[1], *some[1:], targets[2]), strict=True):
        agrees(got[1, 2], part)
