"""Distributions against SciPy, finite differences and hostile numbers."""

from __future__ import annotations

import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrender import _choices, distributions
from jaxrender.distributions import DISTRIBUTIONS, gamma, reverse

# Each cdf by SciPy; those that it lacks by their textbook formula.
REFERENCE = {
    "uniform": stats.uniform(-1, 2).cdf,
    "cubic_hermite": stats.beta(2, 2, loc=-1, scale=2).cdf,
    "wigner_semicircle": stats.semicircular.cdf,
    "gaussian": stats.norm.cdf,
    "laplace": stats.laplace.cdf,
    "logistic": stats.logistic.cdf,
    "gudermannian": stats.hypsecant.cdf,
    "cauchy": stats.cauchy.cdf,
    "reciprocal": lambda x: 0.5 + x / (1 + np.abs(x)) / 2,
    "gumbel_max": stats.gumbel_r.cdf,
    "gumbel_min": stats.gumbel_l.cdf,
    "exponential": stats.expon.cdf,
    "exponential_reversed": lambda x: stats.expon.sf(-x),
    "gamma": stats.gamma(0.5).cdf,
    "gamma_reversed": lambda x: stats.gamma(0.5).sf(-x),
    "levy": stats.levy.cdf,
    "levy_reversed": lambda x: stats.levy.sf(-x),
}
SYMMETRIC = list(REFERENCE)[:9]
INSIDE = ["exponential", "gamma", "levy"]

# The rest of the family of gamma distributions: other shapes take another way.
SHAPES = [1e-3, 0.1, 0.5, 1.0, 2.0, 7.5, 100.0]
ALL = DISTRIBUTIONS | {f"gamma({p:g})": gamma(p) for p in SHAPES}

DTYPES = [np.float32, np.float64]

# All arrays have one shape, so that little is compiled. No point is a corner of a cdf.
N = 169
POINTS = np.linspace(-6.03, 6.04, N)

pytestmark = pytest.mark.usefixtures("x64")


def values_and_slopes(cdf, points, dtype=np.float64) -> tuple[np.ndarray, np.ndarray]:
    """The cdf, and its derivative by reverse mode, at these points in a row."""
    x = jnp.asarray(np.resize(points, N), dtype)
    values, back = jax.vjp(cdf, x)
    (slopes,) = back(jnp.ones_like(x))
    assert values.dtype == slopes.dtype == dtype
    return np.asarray(values)[: len(points)], np.asarray(slopes)[: len(points)]


def test_the_table_holds_them_all():
    assert list(DISTRIBUTIONS) == list(REFERENCE)
    for name in set(DISTRIBUTIONS) - {"gamma"}:
        if not name.endswith("reversed"):
            assert DISTRIBUTIONS[name] is getattr(distributions, name)
    for name in INSIDE:
        assert DISTRIBUTIONS[f"{name}_reversed"] is reverse(DISTRIBUTIONS[name])
    assert DISTRIBUTIONS["gamma"] is gamma(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_values_agree_with_scipy(name):
    wanted = REFERENCE[name](POINTS)
    np.testing.assert_allclose(DISTRIBUTIONS[name](jnp.asarray(POINTS)), wanted, atol=1e-14)
    single = DISTRIBUTIONS[name](jnp.asarray(POINTS, jnp.float32))
    np.testing.assert_allclose(single, wanted, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("p", SHAPES)
def test_gamma_agrees_with_scipy(p):
    x = p * np.linspace(-1, 3, N)
    wanted = stats.gamma(p).cdf(x)
    np.testing.assert_allclose(gamma(p)(jnp.asarray(x)), wanted, atol=1e-11)
    np.testing.assert_allclose(gamma(p)(jnp.asarray(x, jnp.float32)), wanted, atol=3e-5)


@pytest.mark.cases(14)
@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_slopes_agree_with_finite_differences(name):
    cdf, x, step = ALL[name], jnp.asarray(POINTS), 1e-6
    values, slopes = values_and_slopes(cdf, POINTS)
    wanted = (cdf(x + step) - cdf(x - step)) / (2 * step)
    np.testing.assert_allclose(slopes, wanted, atol=1e-8, rtol=1e-6)
    assert np.diff(values).min() >= -1e-15


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wigner_semicircle", "gamma(2)"])
def test_one_number_at_a_time(name):
    slopes = jax.vmap(jax.grad(ALL[name]))(jnp.asarray(POINTS))
    np.testing.assert_allclose(slopes, values_and_slopes(ALL[name], POINTS)[1], rtol=1e-14)


@pytest.mark.cases(29)
@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_hostile_numbers_give_finite_ones(name, dtype):
    # Corners, their neighbours, and numbers whose squares or powers leave the dtype.
    info = np.finfo(dtype)
    sizes = [info.tiny / 8, info.tiny, 1e-30, 1e-20, 1e-8, 4e-4, 6e-4, 0.5, 1 - info.eps, 1]
    sizes += [1 + info.eps, 7, 10, 15, 50, 90, 110, 800, 1e4, 1e10, 1e19, 1e30, info.max]
    values, slopes = values_and_slopes(ALL[name], [-x for x in sizes[::-1]] + [0] + sizes, dtype)
    assert np.isfinite(slopes).all()
    assert (slopes >= 0).all()

    # Values rise from 0 to 1, but for rounding.
    assert (values >= 0).all()
    assert (values <= 1).all()
    assert np.diff(values).min() >= -10 * info.eps
    np.testing.assert_allclose(values[[0, -1]], [0, 1], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetry(name):
    cdf = DISTRIBUTIONS[name]
    values, slopes = values_and_slopes(cdf, POINTS)
    mirrored = values_and_slopes(cdf, -POINTS)
    np.testing.assert_allclose(mirrored, [1 - values, slopes], atol=1e-15)
    np.testing.assert_allclose(values_and_slopes(reverse(cdf), POINTS)[0], values, atol=1e-15)

    # In the middle, where some are made of two halves, they are smooth.
    value, slope = values_and_slopes(cdf, [0, 1e-7])
    assert abs(value[0] - 0.5) <= np.finfo(float).eps  # as exact as jax's arctan(1)
    np.testing.assert_allclose(slope, (value[1] - value[0]) / 1e-7, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSIDE)
def test_one_side_stays_empty_and_its_mirror_full(name):
    x = np.array([0.0, -1e-30, -1.0, -1e30])
    np.testing.assert_array_equal(values_and_slopes(DISTRIBUTIONS[name], x), [[0] * 4, [0] * 4])
    mirrored = DISTRIBUTIONS[f"{name}_reversed"]
    np.testing.assert_array_equal(values_and_slopes(mirrored, -x), [[1] * 4, [0] * 4])


@pytest.mark.parametrize("name", ["uniform", "cubic_hermite", "wigner_semicircle"])
def test_they_end_at_one(name):
    got = values_and_slopes(DISTRIBUTIONS[name], [-2, -1, 1, 2])
    np.testing.assert_array_equal(got, [[0, 0, 1, 1], [0] * 4])


def test_the_same_argument_gives_the_same_object():
    assert gamma(2) is gamma(2.0) is gamma(np.float32(2)) is gamma(p=2)
    assert gamma(2) is not gamma(3)
    assert reverse(gamma(2)) is reverse(gamma(2.0)) is not reverse(gamma(3))

    # So a static argument is traced once.
    traced = []

    @functools.partial(jax.jit, static_argnames="cdf")
    def covered(x, cdf):
        traced.append(cdf)
        return cdf(x)

    for p in (0.5, np.float64(0.5)):
        got, cdf = covered(jnp.asarray(POINTS), reverse(gamma(p))), reverse(gamma(p))
        np.testing.assert_allclose(got, values_and_slopes(cdf, POINTS)[0], atol=1e-15)
    assert len(traced) == 1


@pytest.mark.parametrize("p", [0, -1.0, np.nan, np.inf, 1e4])
def test_gamma_names_a_wrong_shape(p):
    with pytest.raises(ValueError, match=r"`p` must be from 0\.001 to 100, got"):
        gamma(p)


def test_type_checkers_know_every_name():
    assert set(typing.get_args(_choices.Distribution)) == set(distributions.DISTRIBUTIONS)
