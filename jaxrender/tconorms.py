"""T-conorms: how the coverages of all triangles at a pixel become its one alpha, after GenDR.

A T-conorm S(a, b) is an OR of numbers in [0, 1]: commutative, associative, never decreasing, with
`S(a, 0) = a` and `S(a, 1) = 1`. The smallest is the maximum. All others here are Archimedean:
they have a generator g with `g(0) = 0` that turns them into a sum. With the coverages Dⱼ

    alpha = g⁻¹(Σⱼ g(Dⱼ))

so triangles can be added in any order. The families have a parameter p that leads from a strong
OR, where faint triangles soon add up, towards the maximum. `TCONORMS` lists them by name.

| T-conorm | S(a, b) | towards the maximum |
| --- | --- | --- |
| `probabilistic` | `a + b - a b`: independent events, as in SoftRas | |
| `einstein` | `(a + b) / (1 + a b)` | |
| `hamacher(p)` | `(a + b + (p - 2) a b) / (1 + (p - 1) a b)` | p to 0, not reached |
| `frank(p)` | `1 - log_p(1 + (p^a' - 1)(p^b' - 1) / (p - 1))` | p to 0 |
| `yager(p)` | `min(1, (aᵖ + bᵖ)^(1/p))` | p to ∞ |
| `aczel_alsina(p)` | `1 - exp(-((-log a')ᵖ + (-log b')ᵖ)^(1/p))` | p to ∞ |
| `dombi(p)` | `1 - 1 / (1 + ((a / a')ᵖ + (b / b')ᵖ)^(1/p))` | p to ∞ |
| `schweizer_sklar(p)` | `1 - (a'ᵖ + b'ᵖ - 1)^(1/p)` | p to -∞ |

with `a' = 1 - a` and `b' = 1 - b`.

Legend: D coverage, s total of generators, `-log(1 - D)` the thickness, `D / (1 - D)` the odds.

Values and first derivatives are finite, for every D in [0, 1] and every finite s >= 0. Coverages
count as at most `1 - eps` of their dtype where the generator is infinite at 1, with the derivative
0 above; where a slope at 0 is infinite it is 0 instead. Powers round coverages near 0 to 0, and
those near 1 to a little less: in float32 `dombi(16)` tells them apart from 0.005 to 0.98, and
`dombi(4)` from 3e-10 to `1 - eps`.

References:
    Petersen et al., GenDR: A Generalized Differentiable Renderer, CVPR 2022, arXiv:2204.13845;
    Klement, Mesiar and Pap, Triangular Norms, Springer 2000, chapter 4.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from jaxrender._choices import as_number

__all__ = [
    "TCONORMS",
    "TConorm",
    "aczel_alsina",
    "dombi",
    "einstein",
    "frank",
    "hamacher",
    "maximum",
    "probabilistic",
    "schweizer_sklar",
    "yager",
]


def __dir__() -> list[str]:
    return __all__


# At this thickness 1 - exp(-thickness) is 1, in float64 too.
OPAQUE = 40.0

# A generator reaches at most this power of the dtype's largest number: then 1e9 of them can be
# added, and its derivative does not overflow.
REACH = 0.75

POWERS = 1 / 16, 16.0  # the range of p that GenDR draws; beyond it float32 has no room for powers
NEAR_MAXIMUM = 'Larger ones are nearly the maximum: pass TCONORMS["max"].'


@dataclasses.dataclass(frozen=True)
class TConorm:
    """An Archimedean T-conorm, `alpha = inverse(sum of generator(D))`; `maximum` is a marker.

    It is hashable, so that it can be a static argument of `jax.jit`. One of your own needs two
    elementwise functions, differentiable by JAX; make it once, since another pair of functions
    compiles again.

    Attributes:
        name: what it is called.
        generator: coverages in [0, 1] to numbers from 0 that are added; 0 for 0, increasing.
        inverse: a total to an alpha in [0, 1]; 1 for totals that no coverage has.

    Example:
        >>> bounded_sum = TConorm("bounded sum", lambda D: D, lambda s: jnp.minimum(s, 1))
        >>> coverages = jnp.array([0.25, 0.5])
        >>> float(bounded_sum.inverse(bounded_sum.generator(coverages).sum()))
        0.75
    """

    name: str
    generator: Callable[[jax.Array], jax.Array]
    inverse: Callable[[jax.Array], jax.Array]


def _same_for_same_p(family: Callable[[float], TConorm]) -> Callable[[float], TConorm]:
    """Caches by the value of p. By itself `functools.cache` holds 2 and 2.0 apart."""
    cached = functools.cache(family)

    @functools.wraps(family)
    def of_number(p: Any) -> TConorm:
        return cached(as_number("p", p))

    return of_number


@_same_for_same_p
def hamacher(p: float) -> TConorm:
    """Hamacher's family: `probabilistic` is p = 1, `einstein` p = 2, and `dombi(1)` p = 0.

    With the odds `o = D / (1 - D)` the generator is `log(1 + p o) / p`, and o itself for p = 0.

    Args:
        p: from 0 to 1e6.

    Returns:
        The T-conorm; the same p gives the same object.

    Raises:
        ValueError: `p` is not in that range.

    Example:
        >>> both = hamacher(0.0).generator(jnp.array([0.5, 0.5])).sum()
        >>> round(float(hamacher(0.0).inverse(both)), 4)
        0.6667
    """
    _check_p(p, 0.0, 1e6, "Pass 0 for Hamacher's own sum, 1 for the probabilistic one.")
    name = f"hamacher({p:g})"
    if p < 1e-18:  # no float tells it from 0
        return TConorm(name, _odds, _from_odds)

    def generator(coverage: jax.Array) -> jax.Array:
        return jnp.log1p(p * _odds(coverage)) / p

    def inverse(total: jax.Array) -> jax.Array:
        return _from_odds(jnp.expm1(_at_most(p * total, OPAQUE)) / p)

    return TConorm(name, generator, inverse)


@_same_for_same_p
def frank(p: float) -> TConorm:
    """Frank's family, from the maximum (p to 0) over `probabilistic` (p = 1) to the bounded sum.

    With `k = log p` it is the probabilistic sum of `w(D) = (1 - exp(-k D)) / (1 - exp(-k))`, a
    bent copy of [0, 1]: the generator is `-log(1 - w(D))`, where
    `1 - w(D) = (exp(k (1 - D)) - 1) / (exp(k) - 1)`.

    Args:
        p: from 1e-9 to 1e9.

    Returns:
        The T-conorm; the same p gives the same object.

    Raises:
        ValueError: `p` is not in that range.

    Example:
        >>> both = frank(2.0).generator(jnp.array([0.5, 0.5])).sum()
        >>> round(float(frank(2.0).inverse(both)), 4)
        0.7716
    """
    hint = 'Nearer 0 pass TCONORMS["max"], above yager(1), the bounded sum.'
    _check_p(p, 1e-9, 1e9, hint)
    name = f"frank({p:g})"
    if p == 1:
        return TConorm(name, _thickness, _from_thickness)
    k = math.log(p)

    # Both ways have two forms, each exact where the other one cancels.
    def generator(coverage: jax.Array) -> jax.Array:
        coverage = _below_one(coverage)
        w = jnp.expm1(-k * coverage) / math.expm1(-k)
        rest = jnp.expm1(k * (1 - coverage)) / math.expm1(k)
        low = w < 0.5
        return jnp.where(low, -jnp.log1p(-jnp.where(low, w, 0)), -jnp.log(rest))

    def inverse(total: jax.Array) -> jax.Array:
        low = total < 0.5
        w = -jnp.expm1(-jnp.where(low, total, 0))
        rest = jnp.exp(-jnp.where(low, 0.5, total))
        near = -jnp.log1p(w * math.expm1(-k)) / k
        return jnp.where(low, near, 1 - jnp.log1p(rest * math.expm1(k)) / k)

    return TConorm(name, generator, inverse)


@_same_for_same_p
def yager(p: float) -> TConorm:
    """Yager's family: the p-norm of all coverages, cut at 1; `yager(1)` is the bounded sum.

    The generator is `Dᵖ`.

    Args:
        p: from 1/16 to 16. In float32 coverages below `1e-38^(1/p)` count as 0.

    Returns:
        The T-conorm; the same p gives the same object.

    Raises:
        ValueError: `p` is not in that range.

    Example:
        >>> both = yager(2.0).generator(jnp.array([0.3, 0.4])).sum()
        >>> round(float(yager(2.0).inverse(both)), 4)
        0.5
    """
    _check_p(p, *POWERS, NEAR_MAXIMUM)

    def generator(coverage: jax.Array) -> jax.Array:
        return _power(coverage, p)

    def inverse(total: jax.Array) -> jax.Array:
        return _power(_at_most(total, 1.0), 1 / p)

    return TConorm(f"yager({p:g})", generator, inverse)


@_same_for_same_p
def aczel_alsina(p: float) -> TConorm:
    """Aczél and Alsina's family: the p-norm of the thicknesses; `probabilistic` is p = 1.

    The generator is `(-log(1 - D))ᵖ`.

    Args:
        p: from 1/16 to 16.

    Returns:
        The T-conorm; the same p gives the same object.

    Raises:
        ValueError: `p` is not in that range.

    Example:
        >>> both = aczel_alsina(2.0).generator(jnp.array([0.5, 0.5])).sum()
        >>> round(float(aczel_alsina(2.0).inverse(both)), 4)
        0.6248
    """
    _check_p(p, *POWERS, NEAR_MAXIMUM)

    def generator(coverage: jax.Array) -> jax.Array:
        return _power(_thickness(coverage), p)

    def inverse(total: jax.Array) -> jax.Array:
        return _from_thickness(_power(_at_most(total, OPAQUE**p), 1 / p))

    return TConorm(f"aczel_alsina({p:g})", generator, inverse)


@_same_for_same_p
def dombi(p: float) -> TConorm:
    """Dombi's family: the p-norm of the odds.

    The generator is `(D / (1 - D))ᵖ`.

    Args:
        p: from 1/16 to 16.

    Returns:
        The T-conorm; the same p gives the same object.

    Raises:
        ValueError: `p` is not in that range.

    Example:
        >>> both = dombi(2.0).generator(jnp.array([0.5, 0.5])).sum()
        >>> round(float(dombi(2.0).inverse(both)), 4)
        0.5858
    """
    _check_p(p, *POWERS, NEAR_MAXIMUM)

    def generator(coverage: jax.Array) -> jax.Array:
        return _power(_odds(coverage, p), p)

    def inverse(total: jax.Array) -> jax.Array:
        # Odds of exp(40) are an alpha of 1, and their square does not overflow.
        largest = math.exp(min(OPAQUE * p, _log_max(total) - 1))
        return _from_odds(_power(_at_most(total, largest), 1 / p))

    return TConorm(f"dombi({p:g})", generator, inverse)


@_same_for_same_p
def schweizer_sklar(p: float) -> TConorm:
    """Schweizer and Sklar's family for p < 0; `dombi(1)` is p = -1, `probabilistic` p to 0.

    With the thickness `t = -log(1 - D)` the generator is `(exp(-p t) - 1) / -p`. (GenDR leaves
    out p > 0 too, where totals are bounded and float32 loses coverages near 1.)

    Args:
        p: from -16 to -1/16.

    Returns:
        The T-conorm; the same p gives the same object.

    Raises:
        ValueError: `p` is not in that range.

    Example:
        >>> both = schweizer_sklar(-2.0).generator(jnp.array([0.5, 0.5])).sum()
        >>> round(float(schweizer_sklar(-2.0).inverse(both)), 4)
        0.622
    """
    low, high = POWERS
    hint = 'Nearer 0 pass TCONORMS["probabilistic"], below TCONORMS["max"].'
    _check_p(p, -high, -low, hint)
    q = -p

    def generator(coverage: jax.Array) -> jax.Array:
        return jnp.expm1(q * _thickness(coverage, q)) / q

    def inverse(total: jax.Array) -> jax.Array:
        return _from_thickness(jnp.log1p(q * total) / q)

    return TConorm(f"schweizer_sklar({p:g})", generator, inverse)


def _no_sum(_: jax.Array) -> NoReturn:
    raise ValueError(
        "The maximum has no generator: no sum makes it. Compare with `tconorm == maximum` first, "
        "and take jnp.max of the coverages."
    )


#: The largest of all coverages. The rasteriser knows it by name; its functions raise.
maximum = TConorm("max", _no_sum, _no_sum)


def _thickness(coverage: jax.Array, power: float = 0.0) -> jax.Array:
    """`-log(1 - D)`, finite: see `_below_one`."""
    return -jnp.log1p(-_below_one(coverage, power))


def _from_thickness(thickness: jax.Array) -> jax.Array:
    """`1 - exp(-thickness)`: as it stands where that is exact, since `expm1` loses the slope."""
    near = -jnp.expm1(-thickness)
    return jnp.where(thickness < 0.5, near, 1 - jnp.exp(-thickness))


def _odds(coverage: jax.Array, power: float = 0.0) -> jax.Array:
    """`D / (1 - D)`, finite: see `_below_one`."""
    coverage = _below_one(coverage, power)
    return coverage / (1 - coverage)


def _from_odds(odds: jax.Array) -> jax.Array:
    """`o / (1 + o)`, from 1 on in the form whose slope, `1 / (1 + o)²`, is no difference."""
    return jnp.where(odds < 1, odds / (1 + odds), 1 - 1 / (1 + odds))


def _below_one(coverage: jax.Array, power: float = 0.0) -> jax.Array:
    """Holds D at `1 - eps`, and where `(1 - D)^-power` stays within `REACH`; no slope above."""
    eps = float(jnp.finfo(jnp.result_type(coverage)).eps)
    thickest = -math.log(eps)
    if power:
        thickest = min(thickest, REACH * _log_max(coverage) / power)
    return _at_most(coverage, -math.expm1(-thickest))


def _at_most(x: jax.Array, most: float) -> jax.Array:
    """`min(x, most)`, with the derivative 0 at `most`; `jnp.minimum` has 1/2 there."""
    return jnp.where(x < most, x, most)


def _power(x: jax.Array, p: float) -> jax.Array:
    """`xᵖ` for x >= 0; below the smallest normal number 0, with the derivative 0."""
    if p == 1:
        return x
    positive = x >= jnp.finfo(jnp.result_type(x)).tiny
    return jnp.where(positive, jnp.where(positive, x, 1) ** p, 0)


def _log_max(x: jax.Array) -> float:
    return math.log(float(jnp.finfo(jnp.result_type(x)).max))


def _check_p(p: float, low: float, high: float, hint: str) -> None:
    if not low <= p <= high:
        raise ValueError(f"`p` must be from {low:g} to {high:g}, got {p:g}. {hint}")


#: Independent events, `1 - Πⱼ (1 - Dⱼ)`: what SoftRas calls "prod". The generator is -log(1 - D).
probabilistic = TConorm("probabilistic", _thickness, _from_thickness)

#: The sum of speeds under relativity. Its generator artanh(D) is log(1 + 2 D / (1 - D)) / 2, which
#: is Hamacher's for p = 2, and in that form it keeps its slope near 1.
einstein = dataclasses.replace(hamacher(2.0), name="einstein")

#: By name, in GenDR's order. Of the p that GenDR tries for Yager's and Aczél and Alsina's families,
#: 0.5, 1, 2 and 4, its reconstructions take 2. It has no p for the other families; these lie
#: between the probabilistic sum and the maximum.
TCONORMS: dict[str, TConorm] = {
    "max": maximum,
    "probabilistic": probabilistic,
    "einstein": einstein,
    "hamacher": hamacher(0.5),
    "frank": frank(0.1),
    "yager": yager(2.0),
    "aczel_alsina": aczel_alsina(2.0),
    "dombi": dombi(2.0),
    "schweizer_sklar": schweizer_sklar(-2.0),
}
