"""T-conorms against their textbook formulas, the axioms, and hostile numbers."""

from __future__ import annotations

import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrender import _choices, tconorms
from jaxrender.tconorms import TCONORMS, TConorm

# Klement, Mesiar and Pap give each family as the T-norm T(x, y) with S(a, b) = 1 - T(1 - a, 1 - b).
TEXTBOOK = {
    "hamacher": lambda p, x, y: x * y / (p + (1 - p) * (x + y - x * y)),
    "frank": lambda p, x, y: np.log1p((p**x - 1) * (p**y - 1) / (p - 1)) / np.log(p),
    "yager": lambda p, x, y: np.maximum(1 - ((1 - x) ** p + (1 - y) ** p) ** (1 / p), 0),
    "aczel_alsina": lambda p, x, y: np.exp(-(((-np.log(x)) ** p + (-np.log(y)) ** p) ** (1 / p))),
    "dombi": lambda p, x, y: 1 / (1 + ((1 / x - 1) ** p + (1 / y - 1) ** p) ** (1 / p)),
    "schweizer_sklar": lambda p, x, y: (x**p + y**p - 1) ** (1 / p),
}
SHAPES = {
    "hamacher": [0.0, 0.5, 1.0, 16.0, 1e6],
    "frank": [1e-9, 0.1, 2.0, 1e9],
    "yager": [1 / 16, 0.5, 1.0, 2.0, 16.0],
    "aczel_alsina": [1 / 16, 0.5, 1.0, 2.0, 16.0],
    "dombi": [1 / 16, 0.5, 1.0, 2.0, 4.4, 16.0],
    "schweizer_sklar": [-16.0, -4.4, -2.0, -1 / 16],
}
DEFAULTS = {
    "hamacher": 0.5,
    "frank": 0.1,
    "yager": 2.0,
    "aczel_alsina": 2.0,
    "dombi": 2.0,
    "schweizer_sklar": -2.0,
}


def dual(family: str, p: float):
    return lambda a, b: 1 - TEXTBOOK[family](p, 1 - a, 1 - b)


# Each T-conorm beside its S(a, b) of two arguments, by name.
CASES = {
    "probabilistic": (tconorms.probabilistic, lambda a, b: a + b - a * b),
    "einstein": (tconorms.einstein, lambda a, b: (a + b) / (1 + a * b)),
} | {
    f"{family}({p:g})": (getattr(tconorms, family)(p), dual(family, p))
    for family, shapes in SHAPES.items()
    for p in shapes
}
DTYPES = [np.float32, np.float64]

# Pairs of coverages. All arrays have one shape, so that little is compiled.
A, B = (grid.ravel() for grid in np.meshgrid(*[np.linspace(0.02, 0.98, 13)] * 2))
C = np.random.default_rng(0).permutation(B)

pytestmark = pytest.mark.usefixtures("x64")


def join(tconorm: TConorm, *coverages) -> jax.Array:
    """S of any number of arrays of coverages."""
    total = functools.reduce(jnp.add, [tconorm.generator(jnp.asarray(D)) for D in coverages])
    return tconorm.inverse(total)


def values_and_slopes(tconorm: TConorm, a, b, dtype=np.float64) -> tuple[np.ndarray, np.ndarray]:
    """S(a, b), and its derivative to a by reverse mode."""
    a, b = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    values, back = jax.vjp(lambda a: join(tconorm, a, b), a)
    (slopes,) = back(jnp.ones_like(values))
    assert values.dtype == slopes.dtype == dtype
    return np.asarray(values), np.asarray(slopes)


@pytest.mark.cases(8)
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_values_and_slopes_agree_with_the_textbook(name):
    tconorm, textbook = CASES[name]
    wanted, step = textbook(A, B), 1e-6
    values, slopes = values_and_slopes(tconorm, A, B)

    # For the largest and smallest p the textbook's formulas lose digits.
    rough = 1e4 if "1e" in name else 1
    np.testing.assert_allclose(values, wanted, atol=1e-12 * rough)

    # Where the sum is cut at 1 the slope breaks off.
    smooth = np.abs(wanted - 1) > 1e-5
    differences = (textbook(A + step, B) - textbook(A - step, B)) / (2 * step)
    tolerance = {"atol": 1e-7 * rough, "rtol": 1e-5}
    np.testing.assert_allclose(slopes[smooth], differences[smooth], **tolerance)

    single, _ = values_and_slopes(tconorm, A, B, np.float32)
    np.testing.assert_allclose(single, wanted, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_axioms(name):
    tconorm, _ = CASES[name]
    S = functools.partial(join, tconorm)
    zeros, ones, both = jnp.zeros(A.shape), jnp.ones(A.shape), S(A, B)

    np.testing.assert_array_equal(both, S(B, A))
    np.testing.assert_allclose(S(both, C), S(A, S(B, C)), atol=1e-9)
    np.testing.assert_allclose(S(both, C), S(A, B, C), atol=1e-9)
    np.testing.assert_allclose(S(A, zeros), A, atol=1e-12)
    np.testing.assert_array_equal(S(zeros, zeros), zeros)
    np.testing.assert_allclose(S(A, ones), ones, atol=1e-10)
    assert (np.asarray(both) >= np.maximum(A, B) - 1e-12).all()
    assert (np.asarray(S(A + 0.01, B)) >= np.asarray(both) - 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_hostile_numbers_give_finite_ones(name, dtype):
    tconorm, _ = CASES[name]
    info = np.finfo(dtype)
    least = [0, info.tiny / 8, info.tiny, 1e-20, 1e-6]
    coverages = [*least, 0.1, 0.5, 0.9, 1 - 1e-4, 1 - 2 * info.eps, 1 - info.eps, 1, 1]
    totals = [*least, 0.1, 0.5, 1, 20, 1e3, 1e10, 1e30, info.max]

    # Each way by itself: finite, rising, and below 1 at the end.
    for function, points in ((tconorm.generator, coverages), (tconorm.inverse, totals)):
        x = jnp.asarray(np.resize(points, A.size), dtype)
        values, back = jax.vjp(function, x)
        values, (slopes,) = np.asarray(values), back(jnp.ones_like(x))
        assert np.isfinite([values, slopes]).all()
        assert (values >= 0).all()
        assert np.diff(values[:13]).min() >= -2 * info.eps
        assert (np.asarray(slopes) >= 0).all()
        if function is tconorm.inverse:
            assert values.max() <= 1
        else:
            assert np.isfinite(1e6 * values.max())  # a million triangles can be added

    # Both together.
    pairs = np.meshgrid(coverages, coverages)
    values, slopes = values_and_slopes(tconorm, pairs[0].ravel(), pairs[1].ravel(), dtype)
    assert np.isfinite([values, slopes]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["probabilistic", "einstein", "hamacher(0.5)", "dombi(2)"])
def test_slopes_at_an_opaque_pixel_keep_their_digits(name):
    # In float32 alpha is here within 10 and 1000 eps of 1, so 1 - alpha has few digits.
    a, b = (np.float32(1 - 0.005 * (1.01 - grid)) for grid in (A, B))
    _, slopes = values_and_slopes(CASES[name][0], a, b, np.float32)
    _, wanted = values_and_slopes(CASES[name][0], a, b)
    np.testing.assert_allclose(slopes, wanted, rtol=1e-4)


def test_the_table_and_its_defaults():
    assert list(TCONORMS) == ["max", "probabilistic", "einstein", *DEFAULTS]
    for name, p in DEFAULTS.items():
        assert TCONORMS[name] is getattr(tconorms, name)(p)

        # They lie between the probabilistic sum and the maximum, but for Yager's near 1.
        alpha = np.asarray(join(TCONORMS[name], A, B))
        assert (alpha <= np.where(name == "yager", 1, A + B - A * B) + 1e-12).all()


def test_families_meet():
    same = {
        "probabilistic": [("hamacher", 1), ("frank", 1), ("aczel_alsina", 1)],
        "einstein": [("hamacher", 2)],
        "hamacher(0)": [("dombi", 1), ("schweizer_sklar", -1)],
    }
    for name, others in same.items():
        for family, p in others:
            other = getattr(tconorms, family)(p)
            np.testing.assert_allclose(join(CASES[name][0], A, B), join(other, A, B), atol=1e-14)
    np.testing.assert_allclose(tconorms.einstein.generator(jnp.asarray(A)), np.arctanh(A))
    np.testing.assert_allclose(join(tconorms.yager(1), A, B), np.minimum(A + B, 1))
    for extreme in (tconorms.yager(16), tconorms.dombi(16), tconorms.schweizer_sklar(-16)):
        np.testing.assert_allclose(join(extreme, A, B), np.maximum(A, B), atol=0.05)


def test_the_maximum_is_a_marker():
    assert TCONORMS["max"] is tconorms.maximum
    assert tconorms.maximum != tconorms.probabilistic
    for function in (tconorms.maximum.generator, tconorms.maximum.inverse):
        with pytest.raises(ValueError, match="no generator"):
            function(jnp.asarray(A))


def test_the_same_argument_gives_the_same_object():
    assert tconorms.frank(2.0) is tconorms.frank(2) is tconorms.frank(p=np.float32(2))
    for family, shapes in SHAPES.items():
        assert getattr(tconorms, family)(shapes[0]) is CASES[f"{family}({shapes[0]:g})"][0]
    assert len(set(TCONORMS.values())) == len(TCONORMS)

    # So a static argument is traced once.
    traced = []

    @functools.partial(jax.jit, static_argnames="tconorm")
    def alpha(D, tconorm):
        traced.append(tconorm)
        return tconorm.inverse(tconorm.generator(D).sum())

    for p in (2.0, 2):
        alpha(jnp.asarray(A), tconorm=tconorms.frank(p))
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("family", "p", "hint"),
    [
        ("hamacher", -0.1, "Pass 0"),
        ("frank", 0.0, r'pass TCONORMS\["max"\]'),
        ("yager", 0.0, r'pass TCONORMS\["max"\]'),
        ("yager", np.nan, r'pass TCONORMS\["max"\]'),
        ("aczel_alsina", -1.0, r'pass TCONORMS\["max"\]'),
        ("dombi", 64.0, r'pass TCONORMS\["max"\]'),
        ("schweizer_sklar", 0.5, r'pass TCONORMS\["probabilistic"\]'),
    ],
)
def test_a_wrong_parameter_is_named(family, p, hint):
    with pytest.raises(ValueError, match=rf"`p` must be from .* to .*, got {p:g}\. .*{hint}"):
        getattr(tconorms, family)(p)


def test_type_checkers_know_every_name():
    assert set(typing.get_args(_choices.TConormName)) == set(tconorms.TCONORMS)
