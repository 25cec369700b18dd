import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrender import fitting, shapes

BALL = shapes.icosphere(1)
SQUARE = jnp.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
TWO = jnp.array([[0, 1, 2], [0, 2, 3]])


def laplacian_by_hand(vertices, faces, kind):
    """The Laplacian `[V, V]`, face by face."""
    vertices = np.asarray(vertices, np.float64)
    weights = np.zeros((len(vertices), len(vertices)))
    for face in np.asarray(faces):
        for k in range(3):
            a, b, c = np.roll(face, k)
            u, v = vertices[a] - vertices[c], vertices[b] - vertices[c]
            cotangent = u @ v / np.linalg.norm(np.cross(u, v)) / 2
            weights[a, b] = weights[b, a] = 1 if kind == "uniform" else weights[a, b] + cotangent
    return np.diag(weights.sum(1)) - weights


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "cotangent"])
def test_is_the_matrix(kind):
    bumpy = np.random.default_rng(0).normal(0, 0.1, BALL.vertices.shape) + BALL.vertices
    steps = fitting.large_steps(bumpy, BALL.faces, smoothness=7.0, laplacian=kind)
    matrix = np.eye(len(bumpy)) + 7 * laplacian_by_hand(bumpy, BALL.faces, kind)
    np.testing.assert_allclose(steps.to_differential(bumpy), matrix @ bumpy, atol=2e-5)
    wanted = np.linalg.solve(matrix, bumpy)
    np.testing.assert_allclose(steps.from_differential(bumpy), wanted, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("numba", ["1", "0"])
def test_modes(x64, monkeypatch, numba):
    monkeypatch.setenv("JAXRENDER_NUMBA", numba)
    jax.clear_caches()
    steps = fitting.large_steps(SQUARE.astype(float), TWO, smoothness=3.0)
    inverse = np.linalg.inv(np.eye(4) + 3 * laplacian_by_hand(SQUARE, TWO, "uniform"))
    inverse = np.kron(inverse, np.eye(3))
    many = np.random.default_rng(1).normal(size=(5, 4, 3))

    @jax.jit
    def modes(steps, many):
        flat = lambda u: steps.from_differential(u.reshape(4, 3)).ravel()  # noqa: E731
        return (
            jax.vmap(steps.from_differential)(many),
            jax.jacfwd(flat)(many[0].ravel()),
            jax.jacrev(flat)(many[0].ravel()),
            jax.hessian(lambda u: (flat(u) ** 2).sum())(many[0].ravel()),
        )

    each, forward, reverse, hessian = modes(steps, many)
    np.testing.assert_allclose(each, (many.reshape(5, 12) @ inverse).reshape(5, 4, 3), atol=1e-12)
    np.testing.assert_allclose(forward, inverse, atol=1e-12)
    np.testing.assert_allclose(reverse, inverse, atol=1e-12)
    np.testing.assert_allclose(hessian, 2 * inverse @ inverse, atol=1e-12)
    jax.clear_caches()


@pytest.mark.slow
def test_seams_stay_closed():
    apart = SQUARE[TWO].reshape(-1, 3)  # two corners are there twice
    steps = fitting.large_steps(apart, np.arange(6).reshape(2, 3))
    assert steps.to_differential(apart).shape == (4, 3)
    moved = steps.from_differential(jnp.arange(12.0).reshape(4, 3) ** 2)
    joined = fitting.large_steps(SQUARE, TWO)
    wanted = joined.from_differential(jnp.arange(12.0).reshape(4, 3) ** 2)
    np.testing.assert_allclose(moved, wanted[TWO].reshape(-1, 3), rtol=1e-6)


@pytest.mark.slow
def test_faces_without_area_and_lone_vertices():
    vertices = jnp.concatenate([SQUARE, jnp.array([[2.0, 0, 0], [9, 9, 9]])])
    faces = jnp.array([[0, 1, 2], [0, 2, 3], [0, 1, 4], [2, 2, 3]])  # the third is a line
    for kind in ("uniform", "cotangent"):
        steps = fitting.large_steps(vertices, faces, laplacian=kind)
        back = steps.from_differential(steps.to_differential(vertices))
        np.testing.assert_allclose(back, vertices, atol=1e-5)


@pytest.mark.slow
def test_adam_uniform():
    # The first step is the gradient over its largest number, each array by itself.
    gradient = {
        "a": jnp.array([[3.0, -1.0], [0.0, 2.0]]),
        "b": jnp.array([0.5]),
        "none": jnp.zeros(0),
    }
    rule = fitting.adam_uniform(optax.constant_schedule(0.1))
    state = rule.init(gradient)
    update, state = rule.update(gradient, state)
    np.testing.assert_allclose(update["a"], -0.1 * gradient["a"] / 3, rtol=1e-6)
    np.testing.assert_allclose(update["b"], [-0.1], rtol=1e-6)

    # The second by hand.
    second = jax.tree.map(lambda g: g * 0 + 1, gradient)
    update, _ = rule.update(second, state)
    mean = (0.1 * 0.9 * np.asarray(gradient["a"]) + 0.1) / (1 - 0.9**2)
    square = (0.001 * 0.999 * 9 + 0.001) / (1 - 0.999**2)
    np.testing.assert_allclose(update["a"], -0.1 * mean / np.sqrt(square), rtol=1e-5)
    assert all(
        np.isfinite(leaf).all()
        for leaf in jax.tree.leaves(
            rule.update(jax.tree.map(jnp.zeros_like, gradient), rule.init(gradient))
        )
    )


@pytest.mark.slow
def test_smooth_where_plain_steps_are_not():
    # One vertex is pulled: all follow, and the nearer the more.
    steps = fitting.large_steps(BALL.vertices, BALL.faces)
    start = steps.to_differential(BALL.vertices)
    pull = jax.grad(lambda u: steps.from_differential(u)[0] @ BALL.vertices[0])(start)
    moved = steps.from_differential(start + pull) - BALL.vertices
    along = np.asarray(moved @ BALL.vertices[0])
    by_distance = np.argsort(np.linalg.norm(BALL.vertices - BALL.vertices[:1], axis=1))
    assert (along > 0).all()
    assert along.argmax() == 0
    assert along[by_distance[1:7]].min() > along[by_distance[-7:]].max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": jnp.zeros((4, 2))}, "`vertices`"),
        ({"vertices": SQUARE.at[0].set(jnp.nan)}, "`vertices`"),
        ({"vertices": jnp.zeros((0, 3)), "faces": jnp.zeros((0, 3), int)}, "at least one vertex"),
        ({"faces": TWO + 2}, "`faces`"),
        ({"smoothness": -1.0}, "`smoothness`"),
        ({"smoothness": None}, "`smoothness`"),
        ({"laplacian": "mean"}, "`laplacian`"),
    ],
)
def test_bad_arguments(change, message):
    given = {"vertices": SQUARE, "faces": TWO} | change
    with pytest.raises(ValueError, match=message):
        fitting.large_steps(given.pop("vertices"), given.pop("faces"), **given)


def test_bad_parameters():
    steps = fitting.large_steps(SQUARE, TWO)
    with pytest.raises(ValueError, match="`parameters`"):
        steps.from_differential(jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match="`vertices`"):
        steps.to_differential(jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match="known"):
        jax.jit(lambda v: fitting.large_steps(v, TWO).first)(SQUARE)
    for change in ({"b1": 1.0}, {"b2": -0.1}, {"eps": 0.0}):
        with pytest.raises(ValueError, match=next(iter(change))):
            fitting.adam_uniform(0.1, **change)
