"""Distributions: how the coverage of a triangle falls off across its edge, after GenDR.

Push an edge inwards by a random step, `blur` times a number with the cumulative distribution
function (cdf) F. A pixel at the signed distance d from the edge, positive inside, stays covered
with probability `F(d / blur)`; so `rasterize_soft` has it with `squared=False` and `blur = √σ`, and
by default, as SoftRas, with `±d²/σ` in place of `d / blur`. Any function that maps arrays of
`x = d / blur` elementwise to [0, 1] and does not decrease serves as F; here are those of
GenDR, each with the scale that it has there. `DISTRIBUTIONS` lists them by name.

| reach | distributions |
| --- | --- |
| `abs(x) < 1` | `uniform`, `cubic_hermite`, `wigner_semicircle` |
| tails that fall exponentially | `gaussian`, `laplace`, `logistic`, `gudermannian` |
| tails that fall as `1 / abs(x)` | `cauchy`, `reciprocal` |
| lopsided | `gumbel_max`, `gumbel_min` |
| 0 up to the edge, so only inside | `exponential`, `gamma(p)`, `levy` |
| 1 from the edge, so all inside | the `reverse` of these three |

They keep the dtype. Values and first derivatives are finite for every finite x, float32 and
float64. At a corner of F the derivative is 0, also where the density grows without bound.

References:
    Petersen et al., GenDR: A Generalized Differentiable Renderer, CVPR 2022, arXiv:2204.13845.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.special import erf, erfc, gammainc

from jaxrender._choices import as_number

__all__ = [
    "DISTRIBUTIONS",
    "Cdf",
    "cauchy",
    "cubic_hermite",
    "exponential",
    "gamma",
    "gaussian",
    "gudermannian",
    "gumbel_max",
    "gumbel_min",
    "laplace",
    "levy",
    "logistic",
    "reciprocal",
    "reverse",
    "uniform",
    "wigner_semicircle",
]


def __dir__() -> list[str]:
    return __all__


#: A distribution: a cumulative distribution function, elementwise and differentiable by JAX.
Cdf = Callable[[jax.Array], jax.Array]

LEAST_GUMBEL = -7.0  # exp(-exp(7)) is 0 in float64 too
LEAST_LEVY = 5e-4  # and so is erfc(sqrt(1 / (2 · 5e-4)))
GAMMA_SHAPES = 1e-3, 100.0  # beyond, float32 has errors of more than 3e-5


def uniform(x: jax.Array) -> jax.Array:
    """Rises in a straight line: `(1 + x) / 2` within [-1, 1], so over `blur` to either side.

    Example:
        >>> uniform(jnp.array([-2.0, -0.5, 0.0, 2.0])).tolist()
        [0.0, 0.25, 0.5, 1.0]
    """
    return 0.5 + 0.5 * _within_one(x)


def cubic_hermite(x: jax.Array) -> jax.Array:
    """Rises as the smoothstep: `3 y² - 2 y³` with `y = (1 + x) / 2`, within [-1, 1].

    Example:
        >>> cubic_hermite(jnp.array([-2.0, -0.5, 0.0, 2.0])).tolist()
        [0.0, 0.15625, 0.5, 1.0]
    """
    t = _within_one(x)
    return 0.5 + t * (3 - t * t) / 4


@jax.custom_jvp
def wigner_semicircle(x: jax.Array) -> jax.Array:
    """Wigner's semicircle of radius 1, `1/2 + (x sqrt(1 - x²) + arcsin x) / π` within [-1, 1].

    Gradient: the density `2/π sqrt(1 - x²)`, which has no singular terms.

    Example:
        >>> wigner_semicircle(jnp.array([-1.0, 0.0, 1.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    t = _within_one(x)
    # Clip, because rounding may leave the range near either end.
    return jnp.clip(0.5 + (t * jnp.sqrt(1 - t * t) + jnp.arcsin(t)) / math.pi, 0, 1)


@wigner_semicircle.defjvp
def _wigner_semicircle_jvp(primals, tangents):
    (x,), (step,) = primals, tangents
    inside = jnp.abs(x) < 1
    density = 2 / math.pi * jnp.sqrt(1 - jnp.where(inside, x, 0) ** 2)
    return wigner_semicircle(x), jnp.where(inside, density, 0) * step


def gaussian(x: jax.Array) -> jax.Array:
    """The normal distribution of standard deviation 1: `erfc(-x / sqrt(2)) / 2`.

    Example:
        >>> gaussian(jnp.array([-50.0, 0.0, 50.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return 0.5 * erfc(-math.sqrt(0.5) * x)


def laplace(x: jax.Array) -> jax.Array:
    """Laplace's distribution of scale 1: `exp(x) / 2` outside, `1 - exp(-x) / 2` inside.

    Example:
        >>> laplace(jnp.array([-50.0, 0.0, 50.0])).round(4).tolist()
        [0.0, 0.5, 1.0]
    """
    return _symmetric(x, lambda outside: 0.5 * jnp.exp(outside))


def logistic(x: jax.Array) -> jax.Array:
    """The logistic distribution of scale 1, `1 / (1 + exp(-x))`: the sigmoid of SoftRas.

    Example:
        >>> logistic(jnp.array([-50.0, 0.0, 50.0])).round(4).tolist()
        [0.0, 0.5, 1.0]
    """
    return jax.nn.sigmoid(x)


def gudermannian(x: jax.Array) -> jax.Array:
    """The hyperbolic secant distribution `2/π arctan(exp x)`, of the density `sech(x) / π`.

    Example:
        >>> gudermannian(jnp.array([-50.0, 0.0, 50.0])).round(4).tolist()
        [0.0, 0.5, 1.0]
    """
    return _symmetric(x, lambda outside: 2 / math.pi * jnp.arctan(jnp.exp(outside)))


def cauchy(x: jax.Array) -> jax.Array:
    """Cauchy's distribution of scale 1: `1/2 + arctan(x) / π`.

    Example:
        >>> cauchy(jnp.array([-1.0, 0.0, 1.0])).tolist()
        [0.25, 0.5, 0.75]
    """
    # As the angle between (-x, 1) and the first axis it keeps its digits in the outer tail.
    return jnp.arctan2(jnp.ones_like(x), -x) / math.pi


def reciprocal(x: jax.Array) -> jax.Array:
    """The reciprocal sigmoid `1/2 + x / (1 + abs(x)) / 2`.

    Example:
        >>> reciprocal(jnp.array([-1.0, 0.0, 1.0])).tolist()
        [0.25, 0.5, 0.75]
    """
    return _symmetric(x, lambda outside: 0.5 / (1 - outside))


def gumbel_max(x: jax.Array) -> jax.Array:
    """Gumbel's distribution of maxima, scale 1: `exp(-exp(-x))`; the longer tail lies inside.

    Example:
        >>> gumbel_max(jnp.array([-50.0, 50.0])).tolist()
        [0.0, 1.0]
        >>> round(float(gumbel_max(0.0)), 4)
        0.3679
    """
    return jnp.exp(-jnp.exp(-jnp.where(x > LEAST_GUMBEL, x, LEAST_GUMBEL)))


def gumbel_min(x: jax.Array) -> jax.Array:
    """Gumbel's distribution of minima, scale 1: `1 - exp(-exp x)`; the longer tail lies outside.

    Example:
        >>> gumbel_min(jnp.array([-200.0, 50.0])).tolist()
        [0.0, 1.0]
        >>> round(float(gumbel_min(0.0)), 4)
        0.6321
    """
    return -jnp.expm1(-jnp.exp(jnp.where(-x > LEAST_GUMBEL, x, -LEAST_GUMBEL)))


def exponential(x: jax.Array) -> jax.Array:
    """The exponential distribution of rate 1: `1 - exp(-x)` where x > 0, else 0.

    Example:
        >>> exponential(jnp.array([-1.0, 0.0, 50.0])).tolist()
        [0.0, 0.0, 1.0]
    """
    return -jnp.expm1(-jnp.where(x > 0, x, 0))


def gamma(p: float) -> Cdf:
    """Makes the gamma distribution of shape p and rate 1; the same p gives the same object.

    With the lower incomplete gamma function γ it is `γ(p, x) / Γ(p)` where x > 0, else 0;
    `gamma(1)` is `exponential`, and `gamma(0.5)` is `erf(sqrt x)`. The other shapes are slower:
    they add up a series.

    Gradient: the density `xᵖ⁻¹ exp(-x) / Γ(p)`; 0 where x <= 0, though for p < 1 it grows
    without bound towards 0.

    Args:
        p: shape, from 0.001 to 100.

    Returns:
        The cdf, elementwise.

    Raises:
        ValueError: `p` is not in that range.

    Example:
        >>> round(float(gamma(2.0)(1.0)), 4)
        0.2642
        >>> gamma(2.0) is gamma(2)
        True
    """
    low, high = GAMMA_SHAPES
    p = as_number("p", p)
    if not low <= p <= high:
        raise ValueError(f"`p` must be from {low:g} to {high:g}, got {p!r}. Pass for example 0.5.")
    return exponential if p == 1 else _gamma(p)


@functools.cache
def _gamma(p: float) -> Cdf:
    log_gamma = math.lgamma(p)

    def positive(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Where x is at least the smallest normal number, and x there, 1 elsewhere."""
        x = jnp.asarray(x)
        inside = x >= jnp.finfo(x.dtype).tiny
        return inside, jnp.where(inside, x, 1)

    @jax.custom_jvp
    def cdf(x):
        inside, x = positive(x)
        value = erf(jnp.sqrt(x)) if p == 0.5 else gammainc(jnp.full_like(x, p), x)
        return jnp.where(inside, value, 0)

    @cdf.defjvp
    def _cdf_jvp(primals, tangents):
        inside, x = positive(*primals)
        density = jnp.exp((p - 1) * jnp.log(x) - x - log_gamma)
        return cdf(*primals), jnp.where(inside, density, 0) * tangents[0]

    return cdf


def levy(x: jax.Array) -> jax.Array:
    """Lévy's distribution of scale 1: `erfc(sqrt(1 / (2 x)))` where x > 0, else 0.

    Example:
        >>> levy(jnp.array([-1.0, 0.0])).tolist()
        [0.0, 0.0]
        >>> round(float(levy(1.0)), 4)
        0.3173
    """
    inside = x > LEAST_LEVY
    return jnp.where(inside, erfc(jax.lax.rsqrt(2 * jnp.where(inside, x, 1))), 0)


@functools.cache
def reverse(cdf: Cdf, /) -> Cdf:
    """Mirrors a distribution: `x -> 1 - cdf(-x)`; the same cdf gives the same object.

    Symmetric ones stay as they are. Those that cover nothing up to the edge come to cover all
    from the edge on.

    Args:
        cdf: elementwise.

    Returns:
        The reversed cdf, elementwise.

    Example:
        >>> reverse(exponential)(jnp.array([-50.0, 0.0, 1.0])).tolist()
        [0.0, 1.0, 1.0]
        >>> reverse(exponential) is reverse(exponential)
        True
    """

    def reversed_cdf(x: jax.Array) -> jax.Array:
        return 1 - cdf(-x)

    return reversed_cdf


#: By name, in GenDR's order. The gamma distribution has the shape 0.5; GenDR, where the shape has
#: no default, draws 0.5 and 2.
DISTRIBUTIONS: dict[str, Cdf] = {
    "uniform": uniform,
    "cubic_hermite": cubic_hermite,
    "wigner_semicircle": wigner_semicircle,
    "gaussian": gaussian,
    "laplace": laplace,
    "logistic": logistic,
    "gudermannian": gudermannian,
    "cauchy": cauchy,
    "reciprocal": reciprocal,
    "gumbel_max": gumbel_max,
    "gumbel_min": gumbel_min,
    "exponential": exponential,
    "exponential_reversed": reverse(exponential),
    "gamma": gamma(0.5),
    "gamma_reversed": reverse(gamma(0.5)),
    "levy": levy,
    "levy_reversed": reverse(levy),
}


def _within_one(x: jax.Array) -> jax.Array:
    """Clips to [-1, 1]; unlike `jnp.clip` it has the derivative 0 at the ends, not 1/2."""
    return jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))


def _symmetric(x: jax.Array, tail: Cdf) -> jax.Array:
    """The cdf that is `tail` where x < 0, and symmetric: only the tail's own side is computed.

    So nothing overflows inside, and the derivative at 0 is the tail's.
    """
    outside = jnp.where(x < 0, x, -x)
    half = tail(outside)
    return jnp.where(x < 0, half, 1 - half)
