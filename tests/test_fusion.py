"""`computed_once` changes no value and no derivative."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender.ops.fusion import computed_once


def mixed(x):
    one, two, three = computed_once([jnp.sin(x), jnp.floor(x).astype(jnp.int32), x[:1] ** 2])
    return (one * three + two).sum()


def test_values_and_derivatives_are_the_same():
    x = jnp.array([0.3, 1.5, -2.2])
    np.testing.assert_allclose(jax.jit(mixed)(x), (jnp.sin(x) * x[0] ** 2 + jnp.floor(x)).sum())
    slope = jnp.cos(x) * x[0] ** 2 + jnp.array([2 * x[0] * jnp.sin(x).sum(), 0, 0])
    np.testing.assert_allclose(jax.grad(mixed)(x), slope, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(mixed, (x,), (jnp.ones(3),))[1], slope.sum(), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(mixed)(jnp.stack([x, 2 * x])), [mixed(x), mixed(2 * x)])
    assert computed_once([]) == []
