"""`least_squares` against SciPy's, and how it moves, ends and complains."""

from __future__ import annotations

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares as scipys

import jaxrender as jr
from jaxrender import fitting, rotations
from jaxrender.fitting import Bounded, Rotation

X = np.linspace(-1, 2, 25)
Y = 1.3 * np.exp(-0.8 * X) + 0.4 + 0.02 * np.sin(9 * X)
FAR_OFF = Y + 3 * (np.arange(25) % 6 == 0)  # with outliers


def curve(params):
    return params["a"] * jnp.exp(params["b"] * X) + params["c"]


def begin(**of):
    return {name: jnp.asarray(of.get(name, 0.5)) for name in "abc"}


def solve(residuals, params, **options):
    return fitting.least_squares(residuals, params, **{"progress": False, **options})


@pytest.mark.usefixtures("x64")
class TestAgainstScipy:
    @pytest.mark.slow
    @pytest.mark.parametrize("rho", ["linear", "huber", "soft_l1", "cauchy", "arctan"])
    def test_outliers(self, rho):
        def theirs(v):
            return v[0] * np.exp(v[1] * X) + v[2] - FAR_OFF

        wanted = scipys(theirs, [1.0, -0.5, 0.5], loss=rho, f_scale=0.1, xtol=1e-12, ftol=1e-12)
        options = {"rho": rho, "scale": 0.1, "tolerance": 1e-15, "steps": 200}
        found = solve(lambda p: curve(p) - FAR_OFF, begin(a=1.0, b=-0.5), **options)
        assert found.cost == pytest.approx(wanted.cost, rel=1e-7)
        np.testing.assert_allclose([found.params[k] for k in "abc"], wanted.x, rtol=1e-3)
        assert found.reason.startswith("converged")
        assert found.costs.shape == (found.steps + 1, 1)
        assert (np.diff(found.costs[:, 0]) <= 0).all()

    @pytest.mark.slow
    def test_a_function_of_squares(self):
        options = {"scale": 0.1, "tolerance": 1e-12}
        named = solve(lambda p: curve(p) - FAR_OFF, begin(a=1.0, b=-0.5), rho="cauchy", **options)
        own = solve(lambda p: curve(p) - FAR_OFF, begin(a=1.0, b=-0.5), rho=jnp.log1p, **options)
        assert own.cost == named.cost

    @pytest.mark.slow
    @pytest.mark.parametrize("jacobian", ["forward", "matrix_free"])
    def test_a_banana(self, jacobian):
        """Rosenbrock's, for which a step has to be shortened."""

        def residuals(x):
            return {"bent": 10 * (x[1:] - x[:-1] ** 2), "straight": 1 - x[:-1]}

        start = jnp.array([-1.2, 1.0, 0.5])
        found = solve(residuals, start, jacobian=jacobian, steps=400, tolerance=1e-14)
        np.testing.assert_allclose(found.params, 1, atol=1e-5)

    @pytest.mark.slow
    def test_many_coordinates_need_no_jacobian(self):
        goal = jnp.linspace(0, 1, 300)
        found = solve(lambda x: jnp.sin(x) - jnp.sin(goal), jnp.zeros(300))
        np.testing.assert_allclose(found.params, goal, atol=1e-4)

    @pytest.mark.slow
    def test_bounds(self):
        wanted = scipys(
            lambda v: v[0] * np.exp(v[1] * X) + v[2] - Y,
            [1.0, -0.5, 0.6],
            bounds=([-np.inf, -0.7, 0.5], [np.inf, np.inf, 2]),
            xtol=1e-12,
            ftol=1e-12,
        )
        start = {
            "a": Bounded(1.0),
            "b": Bounded(-0.5, low=-0.7),
            "c": Bounded(0.6, low=0.5, high=2.0),
        }
        found = solve(lambda p: curve(p) - Y, start, tolerance=1e-13, steps=200)
        # It lies on a bound or two, which is approached by the square root of the cost.
        np.testing.assert_allclose([found.params[k] for k in "abc"], wanted.x, atol=2e-3)
        assert found.params["b"] >= -0.7
        assert found.params["c"] >= 0.5


class TestParameters:
    @pytest.mark.thorough
    def test_rotations_stay_rotations(self):
        points = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
        turn = rotations.random(jax.random.key(1))
        found = solve(
            lambda R: points @ R.T - points @ turn.T, Rotation(jr.look_at((1, 2, 3)).rotation.T)
        )
        # A mirror stays one, and gets as near as one can.
        assert float(jnp.linalg.det(found.params)) == pytest.approx(-1, abs=1e-5)
        found = solve(lambda R: points @ R.T - points @ turn.T, Rotation(jnp.eye(3)))
        np.testing.assert_allclose(found.params, turn, atol=1e-5)

    @pytest.mark.thorough
    def test_bounds_are_kept_whatever_the_step(self):
        steps = jnp.array([-1e30, -3.0, -1e-3, 0.0, 1e-3, 3.0, 1e30])
        for low, high in ((-1.0, 2.0), (-1.0, np.inf), (-np.inf, 2.0), (-np.inf, np.inf)):
            for number in (-1.0, -0.999, 0.5, 2.0):
                bounded = Bounded(jnp.full(7, number), low, high).checked("b")
                moved = bounded.moved(steps).value()
                assert ((low <= moved) & (moved <= high)).all()
                assert not jnp.isnan(moved).any()
                slope = jax.jacfwd(lambda step, b=bounded: b.moved(step).value())(jnp.zeros(7))
                assert (jnp.diagonal(slope) > 0).all()
                if -0.9 < number < 1.9:
                    assert moved[3] == pytest.approx(number, abs=1e-6)

    @pytest.mark.slow
    def test_dtypes_and_trees_come_back(self):
        start = {"x": [jnp.zeros((2, 3))], "y": (2.0, jnp.zeros(0))}
        found = solve(lambda p: (p["x"][0] - 1, p["y"][0] - 3), start)
        assert found.params["x"][0].shape == (2, 3)
        assert found.params["y"][1].shape == (0,)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found.params))
        np.testing.assert_allclose(found.params["y"][0], 3, rtol=1e-6)

    @pytest.mark.slow
    def test_one_of_ones_own(self):
        @jr.struct
        class OnCircle(fitting.Parameter):
            angle: jax.Array

            @property
            def coordinates(self):
                return 1

            def value(self):
                return jnp.stack([jnp.cos(self.angle), jnp.sin(self.angle)])

            def moved(self, step):
                return OnCircle(self.angle + step[0])

        found = solve(lambda p: p - jnp.array([3.0, 4.0]), OnCircle(jnp.float32(0.0)))
        np.testing.assert_allclose(found.params, [0.6, 0.8], atol=1e-3)


class TestManyStarts:
    @pytest.mark.thorough
    def test_each_ends_by_itself(self):
        """Some find the lower valley, some another, one nothing."""
        start = jnp.array([-2.0, 0.3, 2.0, jnp.nan, 1.9])

        def residuals(x):
            return jnp.stack([(x**2 - 1), 0.3 * (x - 1)])

        alone = [solve(residuals, x, steps=30) for x in start if not np.isnan(x)]
        for chunk in (None, 2):
            with pytest.raises(ValueError, match=r"must be finite"):
                solve(residuals, start, many=True, chunk=chunk)
            sound = jnp.where(jnp.isnan(start), 1e30, start)
            found = solve(residuals, sound, many=True, steps=30, chunk=chunk)
            assert found.every.shape == (5,)
            own = found.every[jnp.array([0, 1, 2, 4])]
            np.testing.assert_allclose(own, [one.params for one in alone], rtol=1e-4)
            assert found.params == pytest.approx(1, abs=1e-4)
            assert found.best_start in (1, 2, 4)
            assert found.reasons[3] == "the cost is NaN or infinite at the start"
            assert found.reason == found.reasons[found.best_start]

    @pytest.mark.slow
    def test_rotations(self):
        points = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
        turns = rotations.random(jax.random.key(2), (6,))
        start = {"R": Rotation(turns), "t": Bounded(jnp.zeros((6, 3)), -1.0, 1.0)}
        found = solve(lambda p: points @ p["R"].T + p["t"][None] - points - 0.25, start, many=True)
        np.testing.assert_allclose(found.params["R"], np.eye(3), atol=1e-4)
        np.testing.assert_allclose(found.params["t"], 0.25, atol=1e-4)


class TestLoop:
    @pytest.mark.slow
    def test_schedules_arrive_and_nothing_ends_it_early(self):
        seen, traces = [], []

        def goal(step):
            seen.append(step)
            return 0.5 * step

        def residuals(x, goal):
            traces.append(None)
            return x - goal

        found = solve(residuals, jnp.zeros(2), steps=6, schedules={"goal": goal})
        assert seen == [0, 1, 2, 3, 4, 5]
        assert len(traces) <= 4  # of the step and of the cost, not of each step
        assert found.steps == 6
        np.testing.assert_allclose(found.params, 2.5, atol=1e-2)

    @pytest.mark.slow
    def test_stuck(self):
        """A derivative that points nowhere: no step is taken, and that is said."""
        wrong = jax.custom_jvp(lambda x: jnp.abs(x) + 1)
        wrong.defjvp(lambda x, dx: (wrong(*x), -jnp.sign(x[0]) * dx[0]))
        found = solve(lambda x: wrong(x), jnp.array(2.0), steps=100)
        assert found.reason == "stuck: no step lowers the cost, however short"
        assert found.params == 2

    @pytest.mark.usefixtures("interruptible")
    def test_interrupted(self):
        def goal(step):
            if step == 3:
                signal.raise_signal(signal.SIGINT)
            return 1.0

        with pytest.warns(UserWarning, match="interrupted at step 4 of 50"):
            found = solve(lambda x, goal: x - goal, jnp.zeros(2), schedules={"goal": goal})
        assert (found.steps, found.interrupted) == (4, True)

    @pytest.mark.slow
    def test_what_nothing_depends_on(self):
        start = {"x": jnp.zeros(2), "still": Rotation(jnp.eye(3))}
        with pytest.warns(UserWarning, match=r"no residual depends on params\['still'\] at"):
            found = solve(lambda p: p["x"] - 1, start)
        np.testing.assert_allclose(found.params["x"], 1)
        np.testing.assert_array_equal(found.params["still"], np.eye(3))


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        ({}, {}, "`params` must hold at least one array"),
        ({"n": 3}, {}, r"`params\['n'\]` must be floating-point, got int32"),
        (np.array([1.0, np.nan]), {}, "`params` must be finite"),
        (Rotation(2 * np.eye(3)), {}, "`params.matrix` must hold an orthonormal"),
        (Bounded(3.0, 0.0, 1.0), {}, r"`params.number` must lie between 0\.0 and 1\.0, got 3"),
        (Bounded(3.0, 5.0, 1.0), {}, "`params` must have low < high"),
        (1.0, {"steps": 0}, "`steps` must be a whole number from 1"),
        (1.0, {"scale": 2**70}, "`scale` must lie between"),
        (1.0, {"steps": 2**70}, "`steps` must be a whole number from 1"),
        (1.0, {"scale": 0}, "`scale` must be a positive number"),
        (1.0, {"tolerance": -1}, "`tolerance` must be a positive number"),
        (1.0, {"damping": np.inf}, "`damping` must be a positive number"),
        (1.0, {"chunk": 0.5}, "`chunk` must be a whole number"),
        (1.0, {"rho": "tukey"}, "`rho` must be"),
        (1.0, {"jacobian": "reverse"}, "`jacobian` must be"),
        (1.0, {"schedules": {"a": 1}}, r"`schedules\['a'\]` must be a function"),
        (1.0, {"many": True}, "must have a first axis"),
        ((np.ones(2), np.ones(3)), {"many": True}, "must have a first axis"),
    ],
)
def test_bad_arguments(params, options, message):
    with pytest.raises(ValueError, match=message):
        solve(lambda p: jax.tree.leaves(p)[0], params, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("residuals", "message"),
    [
        (lambda x: (), "at least one array"),
        (lambda x: {"mask": 1j * x}, r"`residuals\(params\)\['mask'\]` must be"),
        (lambda x: jnp.log(x - 5), "`residuals` must be finite, got NaN or infinity at `params`"),
    ],
)
def test_bad_residuals(residuals, message):
    with pytest.raises(ValueError, match=message):
        solve(residuals, jnp.ones(2))


def test_traced_parameters():
    with pytest.raises(ValueError, match="must be known values"):
        jax.jit(lambda x: solve(lambda p: p, x).cost)(1.0)
