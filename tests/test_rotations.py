"""Rotations against SciPy, finite differences, and at the points where formulas divide by zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial.transform import Rotation

import jaxrender as jr
from jaxrender import rotations, skinning

IDENTITY = np.eye(3)
HALF_TURNS = [np.diag(d) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])]
ANGLES = (0.0, 1e-12, 1e-6, 1e-3, 0.2, 0.3, 1.0, 2.5, 3.1, np.pi - 1e-6, np.pi)

jitted = {name: jax.jit(getattr(rotations, name)) for name in rotations.__all__ if name != "random"}


def vectors(angle: float, count: int = 20, seed: int = 0) -> np.ndarray:
    """Rotation vectors of one angle about all axes, those of the coordinates first."""
    axes = np.random.default_rng(seed).normal(size=(count, 3))
    axes = np.concatenate([np.eye(3), -np.eye(3), axes])
    return angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)


def some(count: int = 30, seed: int = 0) -> np.ndarray:
    return Rotation.random(count, random_state=seed).as_matrix()


def singular() -> np.ndarray:
    """Rotations at and beside the points where formulas divide by zero, `[..., 3, 3]`."""
    near = [Rotation.from_rotvec(vectors(angle)).as_matrix() for angle in ANGLES]
    return np.concatenate([np.stack([IDENTITY, *HALF_TURNS]), *near])


# --- against SciPy ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("angle", ANGLES)
def test_against_scipy(angle):
    r = vectors(angle)
    theirs = Rotation.from_rotvec(r)
    matrices = theirs.as_matrix()
    np.testing.assert_allclose(jitted["from_axis_angle"](r), matrices, atol=1e-15)
    ours = np.array(jitted["to_axis_angle"](matrices))
    if angle < 3.14:
        np.testing.assert_allclose(ours, r, atol=1e-14, rtol=1e-9)
    np.testing.assert_allclose(Rotation.from_rotvec(ours).as_matrix(), matrices, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), angle, atol=1e-14)

    q = np.roll(theirs.as_quat(), 1, axis=1)
    np.testing.assert_allclose(jitted["from_quaternion"](3 * q), matrices, atol=1e-15)
    ours = np.asarray(jitted["to_quaternion"](matrices))
    assert (ours[:, 0] >= 0).all()
    np.testing.assert_allclose(np.abs((ours * q).sum(1)), 1, atol=1e-14)

    other = some(len(r))
    turned = jitted["angle_between"](other, other @ matrices)
    np.testing.assert_allclose(turned, np.degrees(angle), atol=1e-7)


@pytest.mark.thorough
def test_float32():
    """There and back to a few units of the last place, whatever the angle."""
    for matrices in (some(200), singular()):
        matrices = matrices.astype(np.float32)
        for name in ("axis_angle", "quaternion", "6d"):
            back = jitted[f"from_{name}"](jitted[f"to_{name}"](matrices))
            assert back.dtype == jnp.float32
            np.testing.assert_allclose(back, matrices, atol=2e-6)
    # A small angle is not lost among the rounding errors of its cosine.
    r = vectors(1e-6).astype(np.float32)
    np.testing.assert_allclose(
        jitted["to_axis_angle"](jitted["from_axis_angle"](r)), r, rtol=1e-5, atol=1e-12
    )
    turned = jitted["angle_between"](np.eye(3)[None], jitted["from_axis_angle"](r))
    np.testing.assert_allclose(turned, np.degrees(1e-6), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_six_numbers_by_gram_and_schmidt():
    six = np.random.default_rng(0).normal(size=(20, 6))
    for one, got in zip(six, jitted["from_6d"](six), strict=True):
        a, b = one[:3], one[3:]
        first = a / np.linalg.norm(a)
        second = b - (first @ b) * first
        second = second / np.linalg.norm(second)
        want = np.stack([first, second, np.cross(first, second)], axis=1)
        np.testing.assert_allclose(got, want, atol=1e-14)
        np.testing.assert_allclose(rotations.to_6d(got), want.T[:2].ravel(), atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_orthonormalize_is_nearest():
    random = np.random.default_rng(0)
    matrices = random.normal(size=(40, 3, 3))
    got = np.asarray(jitted["orthonormalize"](matrices))
    np.testing.assert_allclose(got @ got.transpose(0, 2, 1), np.eye(3) + 0 * got, atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(got), np.sign(np.linalg.det(matrices)), atol=1e-14)
    # None of many others of the same hand is nearer.
    others = some(2000)
    for matrix, nearest in zip(matrices, got, strict=True):
        hand = np.sign(np.linalg.det(matrix))
        distances = np.linalg.norm(hand * others - matrix, axis=(1, 2))
        assert np.linalg.norm(nearest - matrix) <= distances.min()
    # What is orthonormal stays, whatever its scale.
    np.testing.assert_allclose(jitted["orthonormalize"](1e-30 * some()), some(), atol=1e-14)
    np.testing.assert_allclose(jitted["orthonormalize"](-some()), -some(), atol=1e-14)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_angles_between_cameras():
    """Those of right-handed worlds have determinant -1."""
    first, second = (
        jr.look_at(jr.points_from_angles(3.0, 0.0, azimuth)).rotation for azimuth in (10.0, 55.0)
    )
    assert np.linalg.det(first) == pytest.approx(-1)
    assert rotations.angle_between(first, second) == pytest.approx(45)
    np.testing.assert_allclose(rotations.orthonormalize(first), first, atol=1e-14)


@pytest.mark.slow
def test_random_is_uniform():
    draw = jax.jit(rotations.random, static_argnums=1)
    sample = np.asarray(draw(jax.random.key(0), (20_000,)))
    assert sample.dtype == np.float32
    np.testing.assert_allclose(
        sample @ sample.transpose(0, 2, 1), np.eye(3) + 0 * sample, atol=1e-5
    )
    assert (np.linalg.det(sample) > 0).all()
    # All means vanish, all columns are spread evenly, and the angle's density is 1 - cos.
    assert np.abs(sample.mean(0)).max() < 0.02
    np.testing.assert_allclose((sample**2).mean(0), 1 / 3, atol=0.01)
    angles = np.sort(np.radians(rotations.angle_between(np.eye(3)[None], sample)))
    shares = (np.arange(len(angles)) + 0.5) / len(angles)
    np.testing.assert_allclose((angles - np.sin(angles)) / np.pi, shares, atol=0.02)
    assert rotations.random(jax.random.key(1)).shape == (3, 3)


def test_skinning_shares_the_code():
    assert skinning.rotation_matrices is rotations.from_axis_angle


# --- jit, vmap, dtypes ------------------------------------------------------------------------


CALLS = {
    "from_axis_angle": (vectors(1.0),),
    "to_axis_angle": (some(26),),
    "from_quaternion": (np.random.default_rng(0).normal(size=(26, 4)),),
    "to_quaternion": (some(26),),
    "from_6d": (np.random.default_rng(0).normal(size=(26, 6)),),
    "to_6d": (some(26),),
    "angle_between": (some(26), some(26, seed=1)),
    "orthonormalize": (np.random.default_rng(0).normal(size=(26, 3, 3)),),
}


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_jit_equals_eager_and_vmap_equals_loop(name, dtype, request):
    if dtype == np.float64:
        request.getfixturevalue("x64")
    function, args = getattr(rotations, name), [jnp.asarray(arg, dtype) for arg in CALLS[name]]
    limit = 1e-5 if dtype == np.float32 else 1e-13
    eager = function(*args)
    assert eager.dtype == dtype
    np.testing.assert_allclose(jitted[name](*args), eager, atol=limit)
    np.testing.assert_allclose(jax.jit(jax.vmap(function))(*args), eager, atol=limit)
    loop = [function(*one) for one in zip(*args, strict=True)]
    np.testing.assert_allclose(np.stack(loop), eager, atol=limit)
    # Any number of leading axes.
    folded = [arg.reshape(2, 13, *arg.shape[1:]) for arg in args]
    result = jitted[name](*folded)
    np.testing.assert_allclose(result.reshape(eager.shape), eager, atol=limit)
    assert function(*[arg[:0] for arg in args]).shape == (0, *eager.shape[1:])


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_strict_promotion_and_strong_types(name):
    with jax.numpy_dtype_promotion("strict"):
        result = getattr(rotations, name)(*[arg.astype(np.float32) for arg in CALLS[name]])
    assert result.dtype == jnp.float32
    assert not result.weak_type
    assert not rotations.from_axis_angle([0, 0, 1]).weak_type


# --- gradients --------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CALLS)
def test_gradient(name):
    args = [jnp.asarray(arg[:5]) for arg in CALLS[name]]
    if name not in ("from_axis_angle", "from_quaternion", "from_6d", "orthonormalize"):
        # Differentiate along rotations, outside of which the function means nothing.
        operation, tangents = getattr(rotations, name), [jnp.zeros((5, 3)) for _ in args]
        given = args

        def turned(*by):
            return operation(
                *[a @ rotations.from_axis_angle(w) for a, w in zip(given, by, strict=True)]
            )

        function, args = jax.jit(turned), tangents
    else:
        function = jitted[name]
    check_grads(function, args, order=1, modes=["fwd"], rtol=1e-6, atol=1e-6)
    check_grads(function, args, order=2, modes=["rev"], rtol=1e-6, atol=1e-6)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["to_axis_angle", "to_quaternion"])
def test_gradient_at_the_identity(name):
    """The rotation vector's is the identity there, the quaternion's half of it; and near it."""
    for angle in (0.0, 1e-13, 1e-7, 1e-3):
        slope = jax.jacfwd(lambda w: getattr(rotations, name)(rotations.from_axis_angle(w)))
        got = np.asarray(jax.jit(slope)(jnp.array([0.6, 0.0, 0.8]) * angle))
        want = np.eye(3) if name == "to_axis_angle" else np.vstack([np.zeros(3), np.eye(3) / 2])
        np.testing.assert_allclose(got, want, atol=max(angle, 1e-12))
    # Where the series ends.
    if name == "to_axis_angle":
        edge = 2 * np.arctan(np.sqrt(rotations.SMALL))
        for angle in (0.999 * edge, 1.001 * edge):
            got = jax.jit(slope)(jnp.array([0.6, 0.0, 0.8]) * angle)
            np.testing.assert_allclose(got, np.eye(3), atol=1e-13)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
def test_gradient_of_orthonormalize_at_rotations():
    """Where all singular values are equal: the projection onto what turns."""
    random = np.random.default_rng(0)
    for r in (IDENTITY, -IDENTITY, *HALF_TURNS, some(1)[0], np.diag([1.0, 1, -1])):
        step = random.normal(size=(3, 3))
        got = jax.jit(lambda r, d: jax.jvp(rotations.orthonormalize, (r,), (d,))[1])(r, step)
        skew = r.T @ step
        np.testing.assert_allclose(got, r @ (skew - skew.T) / 2, atol=1e-14)
        check_grads(jitted["orthonormalize"], (jnp.asarray(r),), 2, ["rev"], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_gradient_of_the_angle():
    """Degrees per radian along the axis, on either side of 0 and nothing at it."""
    axis = jnp.array([0.0, 0.6, 0.8])

    def angle(t):
        return rotations.angle_between(jnp.eye(3), rotations.from_axis_angle(t * axis))

    slopes = jax.jit(jax.vmap(jax.grad(angle)))(jnp.array([0.0, 1e-9, -1e-9, 1e-3, 1.0, 3.0]))
    want = np.degrees([0.0, 1, -1, 1, 1, 1])
    np.testing.assert_allclose(slopes, want, rtol=1e-6)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_for_any_finite_input(dtype, request):
    """Values and gradients, inside jit, of rotations, of what is none, and of extreme numbers."""
    if dtype == np.float64:
        request.getfixturevalue("x64")
    random = np.random.default_rng(0)
    large = float(np.finfo(dtype).max) / 16
    scales = np.array([0.0, 1e-38, 1e-20, 1.0, 1e10])[:, None]
    hostile = {
        3: np.concatenate([random.normal(size=(5, 3)) * scales, vectors(np.pi), vectors(1e-30)]),
        4: np.concatenate(
            [random.normal(size=(5, 4)) * scales, np.eye(4), large * np.ones((1, 4))]
        ),
        6: np.concatenate(
            [random.normal(size=(5, 6)) * scales, np.eye(6), np.ones((1, 6)), large * np.eye(6)]
        ),
        9: np.concatenate(
            [
                (random.normal(size=(5, 9)) * scales).reshape(-1, 3, 3),
                singular(),
                -singular(),
                [np.ones((3, 3)), np.diag([1.0, 0, 0]), np.diag([1.0, 1, 0]), np.diag([2.0, 1, 1])],
                [large * np.diag([1.0, 0, 0]), large * IDENTITY],
            ]
        ),
    }
    for name in CALLS:
        size = {"from_axis_angle": 3, "from_quaternion": 4, "from_6d": 6}.get(name, 9)
        given = jnp.asarray(hostile[size], dtype)
        args = [given, given[::-1]] if name == "angle_between" else [given]
        if name in ("to_axis_angle", "to_quaternion", "to_6d", "angle_between"):
            args = [jnp.clip(arg, -1e10, 1e10) for arg in args]

        @jax.jit
        def values(*args, name=name):
            loss = lambda *args: getattr(rotations, name)(*args).sum()  # noqa: E731
            return getattr(rotations, name)(*args), jax.grad(loss, range(len(args)))(*args)

        for leaf in jax.tree.leaves(values(*args)):
            assert np.isfinite(leaf).all(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotations.from_axis_angle(np.zeros(4)), "`axis_angle` must be"),
        (lambda: rotations.from_axis_angle([np.nan, 0, 0]), "`axis_angle` must be finite"),
        (lambda: rotations.to_axis_angle(np.zeros((3, 4))), "`rotation` must be"),
        (lambda: rotations.to_axis_angle(-IDENTITY), "`rotation` must hold a proper rotation"),
        (lambda: rotations.to_quaternion(1.1 * IDENTITY), "orthonormal"),
        (lambda: rotations.to_6d(np.zeros((3, 3))), "orthonormal"),
        (lambda: rotations.from_quaternion(np.zeros(3)), "`quaternion` must be"),
        (lambda: rotations.from_quaternion(np.zeros((2, 4))), "must not be zero"),
        (lambda: rotations.from_6d(np.ones(5)), "`six` must be"),
        (lambda: rotations.from_6d(np.ones(6)), "nor parallel"),
        (lambda: rotations.angle_between(IDENTITY, -IDENTITY), "`a` and `b` must both"),
        (lambda: rotations.angle_between(IDENTITY, 2 * IDENTITY), "`b` must hold"),
        (lambda: rotations.orthonormalize(np.diag([1.0, 1, 0])), "must not be singular"),
        (lambda: rotations.orthonormalize(np.zeros((3, 3))), "must not be singular"),
        (lambda: rotations.random(0), "`key` must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
