"""`fitting.Schedule`, and that a fit compiles nothing where its loss was compiled before."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrender import fitting
from jaxrender._reuse import Reused, Unknown, key_of

SCHEDULE = fitting.Schedule(steps=11, sigma=(1e-2, 1e-4), weights={"smooth": (1.0, 0.0)}, hold=0.2)


def test_by_hand():
    sigma, smooth = (SCHEDULE.functions()[name] for name in ("sigma", "smooth"))
    done = np.clip((np.arange(11) - 2) / 8, 0, 1)
    np.testing.assert_allclose([sigma(k) for k in range(11)], 10 ** (-2 - 2 * done))
    np.testing.assert_allclose([smooth(k) for k in range(11)], 1 - done)
    rates = 0.01 + 0.09 * (1 + np.cos(np.pi * done)) / 2
    np.testing.assert_allclose(SCHEDULE.learning_rate(jnp.arange(11)), rates, rtol=1e-5)
    assert set(fitting.Schedule().functions()) == {"sigma"}
    early = fitting.Schedule(steps=5, until=0.5).functions()["sigma"]
    assert [early(k) == early(4) for k in range(5)] == [False, False, True, True, True]
    sizes = fitting.Schedule(steps=5, sizes=(8, 16))
    assert [sizes.size_at(k) for k in range(5)] == [8, 8, 8, 16, 16]
    assert SCHEDULE.size_at(0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"sizes": (8, 0.5)},
        {"hold": 0.6, "until": 0.5},
        {"sigma": 1e-4},
        {"rate": (0.1, -1.0)},
        {"weights": {"smooth": (1.0, np.nan)}},
    ],
)
def test_bad_input(wrong):
    name = "smooth" if "weights" in wrong else next(iter(wrong))
    with pytest.raises(ValueError, match=f"`{name}`"):
        fitting.Schedule(**wrong)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"schedule": {"sigma": 1}}, "schedule"),
        ({"schedule": SCHEDULE, "steps": 3}, "steps"),
        ({"schedule": SCHEDULE, "schedules": {"sigma": float}}, "schedules"),
        ({}, "steps"),
    ],
)
def test_fit_refuses(wrong, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        fitting.fit(lambda x: x, 1.0, optax.sgd(0.1), progress=False, **wrong)


@pytest.mark.slow
def test_fit_takes_it():
    """The loss gets all that changes, and a size of each part."""
    met = []

    def loss(x, sigma, smooth, size, key):
        met.append(size)
        return (x - key) ** 2 + 0 * sigma * smooth, (sigma, smooth, size)

    schedule = fitting.Schedule(steps=4, weights={"smooth": (1.0, 0.5)}, sizes=(4, 9))
    rate = optax.sgd(schedule.learning_rate)
    found = fitting.fit(
        loss,
        1.0,
        rate,
        schedule=schedule,
        schedules={"key": lambda _: 2.0},
        progress=False,
        has_aux=True,
    )
    assert found.steps == 4
    sigma, smooth, size = found.aux
    np.testing.assert_allclose(sigma[[0, 3, 4]], [1e-4, 1e-6, 1e-6], rtol=1e-5)
    np.testing.assert_allclose(smooth[[0, 3]], [1.0, 0.5])
    assert size.tolist() == [4, 4, 9, 9, 9]
    assert set(met) == {4, 9}


TARGET = jnp.arange(3.0)


def away(x):
    """What `loss` calls, which reads a global."""
    return ((x - TARGET) ** 2).sum()


def loss(x):
    return away(x)


@pytest.mark.slow
def test_compiles_once(monkeypatch, caplog):
    """A second call of the same fit compiles nothing; one whose global has changed does."""

    def once(function=loss):
        caplog.clear()
        with jax.log_compiles():
            found = fitting.fit(function, jnp.ones(3), optax.adam(0.1), steps=3, progress=False)
        return found, sum("Compiling" in record.message for record in caplog.records)

    first, _ = once()
    again, compiled = once()
    assert compiled == 0
    np.testing.assert_array_equal(again.losses, first.losses)
    monkeypatch.setitem(globals(), "TARGET", jnp.zeros(3))
    other, compiled = once()
    assert compiled > 0
    assert other.losses[0] == 3

    # A closure that was made anew, around the same values, is the same.
    def closed(weight):
        return lambda x: (weight * x).sum()

    once(closed(0.25))
    assert once(closed(0.25))[1] == 0
    assert once(closed(0.5))[0].losses[0] == 1.5


@pytest.mark.slow
def test_goes_on():
    """Two fits, the second with the state of the first, are one."""
    fit = functools.partial(fitting.fit, loss, optimizer=optax.sgd(0.1, 0.9), progress=False)
    whole = fit(params=jnp.ones(3), steps=1)
    more = fit(params=jnp.ones(3), steps=1, state=whole.state)
    assert not np.allclose(more.last_params, whole.last_params)
    with pytest.raises(ValueError, match="`state`"):
        fit(params=jnp.ones(4)[:2], steps=1, state=whole.state)


def test_keys():
    """They are equal for what behaves the same, and there is none for what may change unseen."""
    array = np.zeros(3)

    def reads():
        return array

    before = key_of(reads)
    assert key_of(reads) == before
    array[1] = 2
    assert key_of(reads) != before
    assert key_of(0.0) != key_of(-0.0)
    assert key_of(1) != key_of(True)
    assert key_of(float("nan")) == key_of(float("nan"))
    assert key_of(functools.partial(reads, 1)) != key_of(functools.partial(reads, 2))
    assert key_of(optax.adam(0.1)) == key_of(optax.adam(0.1))
    assert key_of(optax.adam(0.1)) != key_of(optax.adam(0.2))
    assert key_of(SCHEDULE.learning_rate) == key_of(SCHEDULE.learning_rate)

    def recursive(n):
        return recursive(n - 1)

    assert key_of(recursive) == key_of(recursive)
    for changing in (np.random.default_rng(), types.SimpleNamespace(), {1, 2}, bytearray(1)):
        with pytest.raises(Unknown):
            key_of(changing)
    loop = []
    loop.append(loop)
    made = Reused(lambda value: object())
    assert made(loop) is not made(loop)
    assert made(1) is made(1)
