"""`fit`: what it returns, what it compiles, and how it ends."""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("optax", reason="fitting needs optax")
import optax

import jaxrender as jr
from jaxrender.fitting import NotFiniteError, fit

TARGET = np.array([1.0, -2.0, 0.5], np.float32)


def distance(params: dict) -> jax.Array:
    return jnp.sum((params["x"] - TARGET) ** 2)


def start() -> dict:
    return {"x": jnp.zeros(3)}


def quiet_fit(loss=distance, params=None, optimizer=None, *, steps=20, **kwargs):
    optimizer = optax.sgd(0.1) if optimizer is None else optimizer
    params = start() if params is None else params
    return fit(loss, params, optimizer, steps=steps, **{"progress": False, **kwargs})


class TestResult:
    def test_equals_plain_gradient_descent(self):
        x, losses = np.zeros(3), []
        for _ in range(20):
            losses.append(np.sum((x - TARGET) ** 2))
            x = x - 0.1 * 2 * (x - TARGET)
        losses.append(np.sum((x - TARGET) ** 2))

        found = quiet_fit()
        np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
        np.testing.assert_allclose(found.params["x"], x, rtol=1e-5)
        np.testing.assert_array_equal(found.params["x"], found.last_params["x"])
        assert (found.steps, found.best_step, found.stopped) == (20, 20, False)
        assert found.seconds > 0
        assert found.snapshots == {}
        assert found.aux is None

    def test_best_parameters_return(self):
        """Descends for 7 updates, then climbs."""
        found = quiet_fit(optimizer=optax.sgd(lambda count: jnp.where(count < 7, 0.1, -0.1)))
        assert found.best_step == np.argmin(found.losses) == 7
        assert found.best_loss == found.losses.min() < found.losses[-1]
        assert distance(found.params) == pytest.approx(found.best_loss, rel=1e-6)
        assert distance(found.last_params) == pytest.approx(found.losses[-1], rel=1e-6)
        assert not found.stopped

    def test_the_given_parameters_can_be_the_best(self):
        found = quiet_fit(optimizer=optax.sgd(-0.1))
        assert found.best_step == 0
        np.testing.assert_array_equal(found.params["x"], 0)

    def test_the_last_update_counts(self):
        found = quiet_fit(optimizer=optax.sgd(0.5), steps=1)
        np.testing.assert_allclose(found.params["x"], TARGET)
        assert found.losses.shape == (2,)

    @pytest.mark.slow
    def test_is_deterministic(self):
        def noisy(params, key):
            return distance(params) + jnp.sum(params["x"] * jax.random.normal(key, (3,)))

        runs = [quiet_fit(noisy, schedules={"key": jax.random.key}) for _ in range(2)]
        np.testing.assert_array_equal(runs[0].losses, runs[1].losses)
        np.testing.assert_array_equal(runs[0].params["x"], runs[1].params["x"])

    def test_aux_is_kept_for_each_step(self):
        def terms(params):
            parts = {"fit": distance(params), "x": params["x"]}
            return parts["fit"] + 0.1 * jnp.sum(params["x"] ** 2), parts

        found = quiet_fit(terms, has_aux=True)
        assert found.aux["x"].shape == (21, 3)
        np.testing.assert_allclose(
            found.aux["fit"] + 0.1 * np.sum(found.aux["x"] ** 2, axis=-1), found.losses, rtol=1e-5
        )
        np.testing.assert_array_equal(found.aux["x"][-1], found.last_params["x"])

    def test_prints_in_one_line(self):
        text = repr(quiet_fit(steps=2))
        assert "best_loss" in text
        assert "params" not in text


class TestStillness:
    """Parameters that nothing pulls are named before the first update."""

    @staticmethod
    def covered(eye, rasterizer=None, at=(0.0, 0.0, 0.0)):
        return jr.render(
            jr.shapes.cube(),
            jr.look_at(eye, at),
            image_size=(12, 12),
            rasterizer=rasterizer,
        ).alpha.mean()

    @pytest.mark.slow
    def test_a_picture_without_a_gradient_of_visibility(self):
        with pytest.warns(UserWarning, match="exactly zero in all of params") as caught:
            found = quiet_fit(self.covered, jnp.array([1.0, 1.0, 3.0]), steps=3)
        (warning,) = caught
        for remedy in ("silhouette", "Hard(visibility_gradient=", "Soft("):
            assert remedy in str(warning.message)
        assert warning.filename == __file__
        assert (found.losses == found.losses[0]).all()

    @pytest.mark.long
    @pytest.mark.parametrize("rasterizer", [jr.Hard("nmr"), jr.Soft(sigma=1e-3)])
    def test_what_gives_one_is_quiet(self, rasterizer):
        def loss(eye):
            return self.covered(eye, rasterizer)

        quiet_fit(loss, jnp.array([1.0, 1.0, 3.0]), steps=2)

    @pytest.mark.long
    def test_an_object_beside_the_picture(self):
        def loss(eye):
            return self.covered(eye, jr.Soft(), at=(40.0, 0.0, 0.0))

        with pytest.warns(UserWarning, match="as far as the object is in the picture"):
            quiet_fit(loss, jnp.array([1.0, 1.0, 3.0]), steps=2)

    @pytest.mark.slow
    def test_each_leaf_is_judged_by_itself(self):
        params = {
            "x": jnp.zeros(3),
            "still": {"a": jnp.ones((2, 2)), "b": jnp.ones(())},
            "none": jnp.zeros((0, 3)),
            "partly": jnp.zeros(4),
        }

        def loss(params):
            return distance(params) + (params["partly"][0] - 1) ** 2 + 0 * params["still"]["b"]

        with pytest.warns(UserWarning, match="exactly zero") as caught:
            quiet_fit(loss, params, steps=2)
        text = str(caught[0].message)
        assert len(caught) == 1
        assert "params['still']['a'], params['still']['b']," in text
        assert not any(name in text for name in ("'x'", "none", "partly"))

    @pytest.mark.slow
    def test_only_before_the_first_update(self):
        """A gradient that vanishes later is no news, and one that never is is not looked at."""
        quiet_fit(lambda params: jnp.sum(jnp.abs(params["x"] - 0.05)), optimizer=optax.sgd(0.05))
        traces = []

        def loss(params):
            traces.append(1)
            return distance(params)

        quiet_fit(loss)
        assert len(traces) == 1

    def test_at_its_lowest_from_the_start(self):
        params = {"x": jnp.asarray(TARGET)}
        with pytest.warns(UserWarning, match="as low as it gets"):
            quiet_fit(params=params, steps=2)
        # What ends at once is not asked to move.
        assert quiet_fit(params=params, steps=2, stop=1e-3).steps == 0


class TestCameras:
    corners = jr.shapes.cube().vertices

    @pytest.mark.long
    @pytest.mark.parametrize("right_handed", [True, False])
    def test_project_keeps_a_camera_straight(self, right_handed):
        """All arrays of a camera are sought; only with `project` does its rotation stay one."""
        hand = {"right_handed": right_handed}
        truth = jr.look_at(jr.points_from_angles(3.0, 10.0, 20.0, **hand), **hand)
        seen = jr.project(self.corners, truth)
        start = jr.look_at(jr.points_from_angles(4.0, 0.0, 0.0, **hand), **hand)

        def straight(camera):
            rotation = jr.rotations.orthonormalize(camera.rotation)
            return dataclasses.replace(camera, rotation=rotation)

        def loss(camera):
            return jnp.sum((jr.project(self.corners, camera) - seen) ** 2)

        for project in (straight, None):
            found = quiet_fit(loss, start, optax.adam(0.03), steps=400, project=project)
            rotation = np.asarray(found.params.rotation)
            skewness = np.abs(rotation @ rotation.T - np.eye(3)).max()
            if project:
                assert skewness < 1e-5
                assert np.sign(np.linalg.det(rotation)) == (-1 if right_handed else 1)
                np.testing.assert_allclose(
                    jr.camera_position(found.params), jr.camera_position(truth), atol=0.05
                )
                assert jr.rotations.angle_between(rotation, truth.rotation) < 1
            half_way = quiet_fit(loss, start, optax.adam(0.03), steps=20, project=project)
            rotation = np.asarray(half_way.last_params.rotation)
            skewness = np.abs(rotation @ rotation.T - np.eye(3)).max()
            assert (skewness < 1e-5) == bool(project)
            if not project:
                with pytest.raises(ValueError, match="orthonormalize"):
                    jr.project(self.corners, half_way.last_params)


class TestParameters:
    def test_the_callers_arrays_live_on(self):
        params = start()
        quiet_fit(params=params)
        np.testing.assert_array_equal(params["x"], 0)

    def test_one_array_in_two_places(self):
        x = jnp.zeros(3)
        found = quiet_fit(lambda params: jnp.sum((params[0] - params[1] - TARGET) ** 2), [x, x])
        np.testing.assert_allclose(found.params[0], -found.params[1])

    @pytest.mark.slow
    def test_numbers_numpy_and_structs(self):
        @jax.tree_util.register_dataclass
        @dataclasses.dataclass
        class Pose:
            scale: float
            shift: np.ndarray

        found = quiet_fit(
            lambda pose: (pose.scale - 2) ** 2 + jnp.sum((pose.shift - TARGET) ** 2),
            Pose(1.0, np.zeros(3)),
            steps=60,
        )
        assert isinstance(found.params, Pose)
        assert found.params.scale == pytest.approx(2, abs=1e-4)
        np.testing.assert_allclose(found.params.shift, TARGET, atol=1e-4)

    @pytest.mark.usefixtures("x64")
    def test_float64(self):
        found = quiet_fit(params={"x": np.zeros(3)}, steps=200)
        assert found.params["x"].dtype == jnp.float64
        assert found.best_loss < 1e-25

    def test_bfloat16(self):
        found = quiet_fit(params={"x": jnp.zeros(3, jnp.bfloat16)})
        assert found.params["x"].dtype == jnp.bfloat16
        assert found.best_loss < 1e-2

    def test_projection_holds_from_the_first_step(self):
        found = quiet_fit(
            params={"x": jnp.full(3, 9.0)},
            project=lambda params: jax.tree.map(lambda x: jnp.clip(x, -1, 0.75), params),
            snapshot=lambda params: params["x"],
            snapshot_every=1,
        )
        pictures = np.stack(list(found.snapshots.values()))
        np.testing.assert_array_equal(pictures[0], 0.75)
        assert pictures.min() >= -1
        assert pictures.max() <= 0.75
        np.testing.assert_allclose(found.params["x"], [0.75, -1, 0.5], atol=0.01)


class TestOptimizers:
    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "make",
        [
            lambda: optax.adam(0.1),
            lambda: optax.inject_hyperparams(optax.adam)(0.1),
            lambda: optax.chain(optax.scale(-0.05), optax.trace(0.5)),  # its state is its update
            lambda: optax.chain(optax.add_noise(1e-3, 0.9, 0), optax.sgd(0.1)),  # holds a key
            lambda: optax.MultiSteps(optax.sgd(0.2), 2),
        ],
        ids=["adam", "inject", "trace", "noise", "multi"],
    )
    def test_kinds_of_state(self, make):
        traces = []

        def loss(params):
            traces.append(params)
            return distance(params)

        assert quiet_fit(loss, optimizer=make(), steps=100).best_loss < 1e-3
        assert len(traces) == 1

    @pytest.mark.slow
    def test_line_search(self):
        """LBFGS evaluates the loss where it likes, with the schedules of the step."""

        def rosenbrock(params, weight):
            x, y = params
            return weight * ((1 - x) ** 2 + 100 * (y - x**2) ** 2)

        found = quiet_fit(
            rosenbrock,
            (-1.2, 1.0),
            optax.lbfgs(),
            steps=60,
            schedules={"weight": lambda step: 1.0},
        )
        np.testing.assert_allclose(found.params, 1, atol=1e-3)


class TestSchedules:
    def test_values_arrive_without_a_second_trace(self):
        """Numbers, tables, whole views and keys; the step after the last update sees the last."""
        traces, asked = [], []
        views = [{"target": jax.device_put(TARGET * k, jax.devices()[0])} for k in (1, 2, 3)]

        def sigma(step):
            asked.append(step)
            return 0.5**step

        def loss(params, sigma, table, view, key):
            traces.append(params)
            noise = 0 * jax.random.normal(key, (3,))
            error = jnp.sum((params["x"] + noise - view["target"]) ** 2)
            return error, {"sigma": sigma, "table": table, "target": view["target"]}

        found = quiet_fit(
            loss,
            steps=6,
            has_aux=True,
            schedules={
                "sigma": sigma,
                "table": np.arange(6).__getitem__,
                "view": lambda step: views[step % 3],
                "key": jax.random.key,
            },
        )
        assert len(traces) == 1
        assert asked == [0, 1, 2, 3, 4, 5]
        np.testing.assert_allclose(found.aux["sigma"], 0.5 ** np.array([0, 1, 2, 3, 4, 5, 5]))
        np.testing.assert_array_equal(found.aux["table"], [0, 1, 2, 3, 4, 5, 5])
        np.testing.assert_array_equal(found.aux["target"][:, 0], [1, 2, 3, 1, 2, 3, 3])

    @pytest.mark.slow
    @pytest.mark.parametrize("committed", ["params", "schedules", "neither"])
    def test_one_program_whatever_is_bound_to_a_device(self, committed):
        def bind(name, tree):
            return jax.device_put(tree, jax.devices()[0]) if name == committed else tree

        compiled = []
        jax.monitoring.register_event_duration_secs_listener(
            lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
        )
        targets = [bind("schedules", jnp.asarray(TARGET * k)) for k in (1, 2, 3, 4)]
        params = bind("params", start())
        try:
            compiled.clear()
            quiet_fit(
                lambda params, target: jnp.sum((params["x"] - target) ** 2),
                params,
                steps=4,
                schedules={"target": targets.__getitem__},
            )
        finally:
            jax.monitoring.clear_event_listeners()
        assert len(compiled) == 2, "one program for the first state, one for the steps"

    @pytest.mark.slow
    def test_a_new_fit_sees_new_variables(self):
        weight = 1.0

        def loss(params):
            return weight * distance(params)

        first = quiet_fit(loss, steps=1).losses[0]
        weight = 2.0
        assert quiet_fit(loss, steps=1).losses[0] == pytest.approx(2 * first)


class TestSnapshots:
    def test_steps_and_parameters(self):
        seen = quiet_fit(steps=23, snapshot=lambda params: params, snapshot_every=10).snapshots
        assert list(seen) == [0, 10, 20, 23]
        for step, params in seen.items():
            assert isinstance(params["x"], np.ndarray)
            np.testing.assert_allclose(params["x"], TARGET * (1 - 0.8**step), rtol=1e-5)

    def test_an_early_end_has_one(self):
        found = quiet_fit(snapshot=lambda _: "picture", stop=lambda _, step: step == 13)
        assert found.snapshots == {0: "picture", 10: "picture", 13: "picture"}


class TestStop:
    def test_below_a_loss(self):
        found = quiet_fit(stop=0.1)
        assert found.stopped
        assert found.losses[-1] < 0.1 <= found.losses[-2]
        assert found.best_step == found.steps == len(found.losses) - 1
        assert distance(found.last_params) == pytest.approx(found.losses[-1], rel=1e-6)

    def test_function_is_asked_each_step(self):
        asked = []
        found = quiet_fit(stop=lambda loss, step: asked.append((loss, step)) or step == 4)
        assert asked == list(zip(found.losses, range(5), strict=True))
        assert found.stopped
        assert found.steps == 4

    def test_at_the_last_step_is_not_early(self):
        assert not quiet_fit(steps=4, stop=lambda _, step: step == 4).stopped


class TestNotFinite:
    def test_loss(self):
        """From step 5 on the loss is NaN; the parameters of step 4 are the best."""
        with pytest.raises(NotFiniteError, match=r"step 5 the loss is nan.*clip_by") as caught:
            quiet_fit(
                lambda params, shift: distance(params) + jnp.sqrt(shift),
                schedules={"shift": lambda step: 4.5 - step},
                snapshot=lambda params: params["x"],
                snapshot_every=1,
            )
        found = caught.value.fit
        assert isinstance(caught.value, FloatingPointError)
        assert found.stopped
        assert found.steps == 5
        assert found.best_step == 4
        assert found.best_loss == found.losses[4]
        assert np.isnan(found.losses[5])
        np.testing.assert_array_equal(found.params["x"], found.snapshots[4])
        np.testing.assert_allclose(found.last_params["x"], TARGET * (1 - 0.8**5), rtol=1e-5)

    def test_infinite_from_the_start(self):
        with pytest.raises(NotFiniteError, match="step 0 the loss is inf") as caught:
            quiet_fit(lambda params: distance(params) / 0)
        np.testing.assert_array_equal(caught.value.fit.params["x"], 0)
        assert caught.value.fit.best_loss == np.inf

    @pytest.mark.slow
    def test_gradient_names_the_leaf(self):
        """The gradient of a norm at 0 is NaN; clipping spreads it, but one leaf is to blame."""
        params = {"mesh": {"offsets": jnp.zeros((2, 3))}, "x": jnp.zeros(3)}
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))
        with pytest.raises(NotFiniteError) as caught:
            quiet_fit(
                lambda params: distance(params) + jnp.linalg.norm(params["mesh"]["offsets"]),
                params,
                optimizer,
            )
        message = str(caught.value)
        assert "At step 0 the loss is 5.25; its gradient is not finite" in message
        assert "params['mesh']['offsets'] (6 of 6 values)" in message
        assert "params['x']" not in message
        np.testing.assert_array_equal(caught.value.fit.last_params["x"], 0)

    def test_update(self):
        optimizer = optax.sgd(lambda count: jnp.where(count < 3, 0.1, jnp.inf))
        with pytest.raises(NotFiniteError, match=r"step 3 .*update is not in params\['x'\]"):
            quiet_fit(optimizer=optimizer)

    @pytest.mark.slow
    def test_no_harm_where_the_optimizer_deals_with_it(self):
        def loss(params):
            return distance(params) + jnp.linalg.norm(params["frozen"])

        params = {**start(), "frozen": jnp.zeros(2)}
        labels = {"x": "free", "frozen": "frozen"}
        kinds = {"free": optax.sgd(0.1), "frozen": optax.set_to_zero()}
        for optimizer in (
            optax.chain(optax.zero_nans(), optax.sgd(0.1)),
            optax.multi_transform(kinds, labels),
        ):
            assert quiet_fit(loss, params, optimizer).best_loss < 0.1

    @pytest.mark.slow
    def test_no_harm_at_the_end(self):
        """The fit arrives where the gradient is NaN: there is nothing left to update."""
        params, optimizer = {"x": jnp.asarray(TARGET)}, optax.sgd(0.1)

        def loss(params):
            return jnp.linalg.norm(params["x"] - TARGET)

        assert quiet_fit(loss, params, optimizer, stop=1e-6).best_loss == 0
        with pytest.raises(NotFiniteError):
            quiet_fit(loss, params, optimizer)


class TestProgress:
    @pytest.fixture
    def no_tqdm(self, monkeypatch):
        for name in [name for name in sys.modules if name.split(".")[0] == "tqdm"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "tqdm", None)

    def test_bar(self, capsys):
        pytest.importorskip("tqdm")
        quiet_fit(progress="pose")
        captured = capsys.readouterr()
        assert captured.out == ""
        last = captured.err.replace("\r", "\n").strip().splitlines()[-1]
        assert last.startswith("pose: 100%")
        assert "20/20" in last
        assert "loss 0.000697" in last

    def test_bar_of_a_notebook_without_widgets(self, monkeypatch, capsys):
        """tqdm's own choice would warn there."""
        pytest.importorskip("tqdm")
        for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        shell = SimpleNamespace(get_ipython=lambda: None)
        fakes = {"ipywidgets": None, "IPython": shell, "ipykernel.zmqshell": shell}
        for name, fake in fakes.items():
            monkeypatch.setitem(sys.modules, name, fake)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            quiet_fit(progress=True)
        assert not told
        assert "fitting: 100%" in capsys.readouterr().err

    @pytest.mark.usefixtures("no_tqdm")
    @pytest.mark.parametrize("progress", [True, False])
    def test_without_tqdm(self, progress, capsys):
        assert quiet_fit(progress=progress).steps == 20
        assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("interruptible")
class TestInterrupt:
    def test_returns_what_is_there(self):
        def interrupting(step):
            if step == 3:
                signal.raise_signal(signal.SIGINT)
            return 1.0

        def loss(params, weight):
            return weight * distance(params)

        with pytest.warns(UserWarning, match="interrupted at step 3 of 20"):
            found = quiet_fit(loss, schedules={"weight": interrupting}, snapshot=lambda p: p["x"])
        assert found.stopped
        assert found.steps == found.best_step == 3
        assert list(found.snapshots) == [0, 3]
        np.testing.assert_allclose(found.params["x"], TARGET * (1 - 0.8**3), rtol=1e-5)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_twice_raises(self):
        def interrupting(_):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            quiet_fit(lambda params, nothing: distance(params), schedules={"nothing": interrupting})
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_leaves_other_handlers_alone(self):
        caught = []
        signal.signal(signal.SIGINT, lambda *_: caught.append(True))
        found = quiet_fit(stop=lambda _, step: signal.raise_signal(signal.SIGINT))
        assert found.steps == 20
        assert len(caught) == 20

    def test_other_threads(self):
        found = []
        thread = threading.Thread(target=lambda: found.append(quiet_fit()))
        thread.start()
        thread.join()
        assert found[0].steps == 20


class TestBadArguments:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"params": {}}, "`params` must hold at least one array"),
            ({"params": {"faces": jnp.zeros((4, 3), int)}}, r"`params\['faces'\]`.*int32.*close"),
            ({"params": [1.0, 2]}, r"`params\[1\]` must be floating-point, got int"),
            ({"params": {"name": "teapot"}}, r"`params\['name'\]` must be floating-point"),
            ({"steps": 0}, "`steps` must be a whole number from 1 to 2147483647, got 0"),
            ({"steps": 2**70}, "`steps` must be a whole number from 1 to 2147483647, got 11805"),
            ({"steps": 1.5}, "`steps`"),
            ({"optimizer": optax.adam}, r"`optimizer` must have `init`.*optax.adam\(1e-2\)"),
            ({"schedules": {"sigma": 1e-4}}, r"`schedules\['sigma'\]` must be a function"),
            ({"stop": "plateau"}, "`stop` must be a number or a function"),
            ({"snapshot_every": 0}, "`snapshot_every` must be"),
            ({"loss": lambda params: params["x"] - TARGET}, r"must be .* \[\], got float32\[3\]"),
            ({"loss": lambda params: None}, "`loss` must return a scalar, got NoneType"),
            ({"loss": lambda params: (distance(params), 1)}, "pass has_aux=True"),
            ({"has_aux": True}, r"`loss` must return \(scalar, aux\), got \w*Tracer"),
            ({"project": lambda params: {"x": params["x"][:2]}}, r"`project.params.` .* \[3\]"),
            ({"project": lambda params: None}, "dict"),
        ],
    )
    def test_raises(self, change, message):
        with pytest.raises(ValueError, match=message):
            quiet_fit(**change)

    def test_arguments_are_checked_before_optax_is_needed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "optax", None)
        with pytest.raises(ValueError, match="floating-point"):
            quiet_fit(params=[1])
