"""Fits: the loop that every script repeats, for many parameters or few, and those of a mesh.

They know nothing of rendering; `fit` needs optax.

Legend: `N` steps asked for, `K` steps done. A fit counts in updates: what it records at step `k`
belongs to the parameters after `k` updates, so step 0 to those given.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import (
    check_array,
    check_flag,
    check_function,
    check_is_floating,
    check_title,
    check_whole,
)
from jaxrender._formats.raw import optional
from jaxrender._large_steps import LargeSteps, adam_uniform, large_steps
from jaxrender._least_squares import LeastSquares, least_squares
from jaxrender._manifolds import Bounded, Parameter, Rotation
from jaxrender._progress import MOST_STEPS, check_schedules, held_interrupts, progress_bar
from jaxrender._remesh import Remeshed, remesh
from jaxrender._reuse import Reused
from jaxrender._schedule import Schedule
from jaxrender._viewer import Viewer, live_view

__all__ = [
    "Bounded",
    "Fit",
    "LargeSteps",
    "LeastSquares",
    "NotFiniteError",
    "Parameter",
    "Remeshed",
    "Rotation",
    "Schedule",
    "adam_uniform",
    "fit",
    "large_steps",
    "least_squares",
    "remesh",
]


def __dir__() -> list[str]:
    return __all__


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """What `fit` found, and how it got there.

    Attributes:
        params: the parameters with the lowest loss.
        best_step: how many updates led to them.
        best_loss: their loss, `losses[best_step]`; infinite if no loss was finite.
        last_params: the parameters after the last update; their loss is `losses[-1]`.
        steps: `K`, the number of updates.
        stopped: whether it ended before the steps asked for.
        seconds: wall time, compilation included.
        losses: `[K + 1]` float64, after 0, 1, ... K updates.
        aux: what the loss returned beside its value, each array `[K + 1, ...]`; None without.
        snapshots: what `snapshot` returned, by step, in order.
        state: the optimiser's state, which another `fit` goes on from.
    """

    params: Any = dataclasses.field(repr=False)
    best_step: int
    best_loss: float
    last_params: Any = dataclasses.field(repr=False)
    steps: int
    stopped: bool
    seconds: float
    losses: np.ndarray = dataclasses.field(repr=False)  # [K + 1]
    aux: Any = dataclasses.field(repr=False)
    snapshots: dict[int, Any] = dataclasses.field(repr=False)
    state: Any = dataclasses.field(repr=False)


class NotFiniteError(FloatingPointError):
    """The loss, or the update that its gradient leads to, is NaN or infinite.

    Attributes:
        fit: all up to and including that step: `params` are the best so far, `last_params`
            those where it happened.
    """

    def __init__(self, message: str, fit: Fit) -> None:
        super().__init__(message)
        self.fit = fit


class _State(NamedTuple):
    """What goes from step to step, on the device.

    An update waits here until the next step applies it, so `params` are always those that
    were evaluated last, whatever ends the loop.
    """

    params: Any
    update: Any
    optimizer: Any
    best: Any
    best_loss: jax.Array  # []


def fit(
    loss: Callable[..., Any],
    params: Any,
    optimizer: Any,
    *,
    steps: int | None = None,
    schedule: Schedule | None = None,
    schedules: Mapping[str, Callable[[int], Any]] | None = None,
    project: Callable[[Any], Any] | None = None,
    stop: float | Callable[[float, int], bool] | None = None,
    snapshot: Callable[[Any], Any] | None = None,
    snapshot_every: int = 10,
    progress: bool | str = True,
    live: bool | Viewer = False,
    has_aux: bool = False,
    state: Any = None,
) -> Fit:
    """Minimises a loss by gradient steps, and returns the best parameters it met.

    A step is one program: the loss, its gradient, the optimiser's update. What `schedules` change
    is an input of it, so it is compiled once as long as shapes and dtypes stay; and a later call
    with the same loss, optimiser and `project` compiles nothing. They are the same where their code
    is, and all that it reads: closures, globals, and those of the functions called. If any of that
    could have changed unseen (an object with attributes, say), the step is compiled anew; of the
    last four all that they close over is kept. After the last update the loss is evaluated once
    more, with the schedules of the last step, so that this update counts too. The loss is read
    after each step, which makes stops exact.

    Losses of different steps compare only where they measure the same. If a schedule changes
    what the loss means (a blur, a weight, the view), the lowest may be the easiest rather than
    the best: take `last_params` then.

    Ctrl-C ends the fit after the step at hand, with a warning, and `fit` returns what is there;
    a second one raises KeyboardInterrupt at once. This holds in the main thread, unless another
    handler of that signal is installed.

    Args:
        loss: called as `loss(params, **scheduled)`; returns a real scalar, or with `has_aux` a
            pair `(scalar, aux)`. It is traced, and may close over anything.
        params: any pytree of floating-point arrays or numbers; the caller's stay as they are.
        optimizer: from optax, learning-rate schedules included. One with a line search, such as
            `optax.lbfgs()`, gets the loss function that it needs.
        steps: `N`, how many updates to make; or None, as the `schedule` says.
        schedule: how the fit goes from coarse to fine: a blur, weights and a resolution, under the
            names that `Schedule` tells. Pass its `learning_rate` to the optimiser.
        schedules: what changes from step to step, by the name under which the loss takes it:
            functions of the step (an int from 0 to N - 1) that return a number, an array or any
            pytree of them, such as a blur, a view and its picture, or a random key.
        project: maps parameters to the nearest allowed ones, such as colours into [0, 1], or a
            camera's rotation to an orthonormal one; applied to the given parameters and after
            each update, inside the program.
        stop: ends the fit once the loss is less than this number, or once `stop(loss, step)`,
            asked from step 0 on, is true.
        snapshot: called with the parameters at step 0, each `snapshot_every` steps and at the
            end; what it returns (a picture, say) is brought into host memory and kept.
        snapshot_every: steps from one snapshot to the next.
        progress: whether to show a progress bar, or its title. Without tqdm there is none.
        live: whether to show in a browser, each `snapshot_every` steps, what `snapshot` returns, or
            without one the parameters: a `Mesh` or `Scene` to be turned there, or a picture (see
            `jaxrender.view`, which needs viser). A `Viewer` of yours stays open afterwards.
        has_aux: whether the loss returns `(scalar, aux)`; the `aux` of every step is kept, so
            let it be small: the terms of the loss, for example.
        state: what the optimiser goes on from, the `state` of an earlier `Fit` of parameters of the
            same shapes, or what `Remeshed.carry` made of it; its counts, and so a learning rate's
            schedule, go on as well. None begins anew.

    Returns:
        the parameters with the lowest loss, those of the last step, and the history.

    Warns:
        UserWarning: the gradient of a parameter, all of it, is exactly zero at step 0: as that of
            `render(…).alpha` is with a plain `Hard()`, or of an object beside the picture.

    Raises:
        ValueError: a parameter is not floating-point, the loss is not a real scalar, or another
            argument is not as above.
        NotFiniteError: a loss is NaN or infinite, or an update is. It names the step and the
            parameters whose gradient is to blame, and holds the fit so far. A gradient that
            the optimiser keeps from them (`optax.zero_nans`, frozen parameters) stops nothing.

    Example:
        >>> import optax
        >>> target = jnp.array([1.0, -2.0])
        >>> def loss(params, weight):
        ...     return weight * jnp.sum((params["x"] - target) ** 2)
        >>> found = fit(
        ...     loss,
        ...     {"x": jnp.zeros(2)},
        ...     optax.adam(0.1),
        ...     steps=500,
        ...     schedules={"weight": lambda step: 1.0 + 0.01 * step},
        ...     stop=1e-6,
        ...     progress=False,
        ... )
        >>> found.params["x"].round(2).tolist(), found.stopped
        ([1.0, -2.0], True)

        All numbers of a camera can be sought at once, if its rotation is kept from going skew:

        >>> import dataclasses
        >>> import jaxrender as jr
        >>> corners = jr.shapes.cube().vertices
        >>> seen = jr.project(corners, jr.look_at((1.0, 0.5, 3.0)))
        >>> def straight(camera):
        ...     rotation = jr.rotations.orthonormalize(camera.rotation)
        ...     return dataclasses.replace(camera, rotation=rotation)
        >>> found = fit(
        ...     lambda camera: jnp.sum((jr.project(corners, camera) - seen) ** 2),
        ...     jr.look_at((0.0, 0.0, 4.0)),
        ...     optax.adam(0.05),
        ...     steps=300,
        ...     project=straight,
        ...     progress=False,
        ... )
        >>> jr.camera_position(found.params).round(1).tolist()
        [1.0, 0.5, 3.0]
    """
    count, changes = _check_schedule(steps, schedule, schedules)
    _check_arguments(optimizer, count, stop, snapshot_every)
    check_function("loss", loss, "a function of the parameters that returns a number")
    for name, function in (("project", project), ("snapshot", snapshot)):
        if function is not None:
            check_function(name, function, "a function of the parameters")
    check_title("progress", progress)
    has_aux = check_flag("has_aux", has_aux)
    params = _check_params(params)
    begin, advance = _programs(loss, optimizer, project, has_aux)
    reached = stop if callable(stop) else lambda value, _: stop is not None and value < stop
    losses, auxes, snapshots = [], [], {}
    best_step, best_loss, started = 0, math.inf, time.perf_counter()

    def settings(step: int) -> dict[str, Any]:
        return {name: changing(step) for name, changing in changes.items()}

    def so_far(stopped: bool) -> Fit:
        return Fit(
            params=going.best,
            best_step=best_step,
            best_loss=best_loss,
            last_params=going.params,
            steps=len(losses) - 1,
            stopped=stopped,
            seconds=time.perf_counter() - started,
            losses=np.array(losses),
            aux=jax.tree.map(lambda *leaves: np.stack(leaves), *auxes),
            snapshots=snapshots,
            state=going.optimizer,
        )

    with (
        live_view(live) as watch,
        progress_bar(progress, count) as show,
        held_interrupts() as interrupts,
    ):
        scheduled = settings(0)
        going = begin(params, scheduled, state)
        for step in range(count + 1):
            # Apply the last update, evaluate, and read the loss.
            if 0 < step < count:
                scheduled = settings(step)
            size = None if schedule is None else schedule.size_at(step)
            going, report = advance(going, scheduled, size)
            value, aux, level, *not_finite = jax.device_get(report)
            value = float(value)
            losses.append(value)
            auxes.append(aux)
            show(step, value)
            sound = math.isfinite(value)
            if sound and value < best_loss:
                best_step, best_loss = step, value

            # Refuse what is not finite, but not an update that nobody will apply.
            ends = sound and bool(step == count or interrupts or reached(value, step))
            if not sound or (not_finite[1].any() and not ends):
                raise NotFiniteError(_diagnosis(step, value, params, *not_finite), so_far(True))
            if step == 0 and level.any() and not ends:
                warnings.warn(_stillness(params, level), stacklevel=2)

            # Give the snapshot arrays of its own: the next step overwrites the state's.
            if (snapshot or watch) and (ends or step % snapshot_every == 0):
                taken = jax.tree.map(jnp.copy, going.params)
                taken = jax.device_get(taken if snapshot is None else snapshot(taken))
                if snapshot is not None:
                    snapshots[step] = taken
                if watch is not None:
                    watch(taken, f"step {step} of {count}, loss {value:.4g}")
            if ends:
                break
    found = so_far(len(losses) <= count)
    if found.stopped and interrupts:
        warnings.warn(f"fit: interrupted at step {found.steps} of {count}", stacklevel=2)
    return found


@Reused
def _programs(
    loss: Callable[..., Any],
    optimizer: Any,
    project: Callable[[Any], Any] | None,
    has_aux: bool,
) -> tuple[Callable[..., _State], Callable[..., Any]]:
    """What makes the first state, and the step from one to the next, both compiled."""
    optax = optional("optax", package="optax", purpose="Fitting", extra="all")
    optimizer = optax.with_extra_args_support(optimizer)

    # Take the schedules too, unused: where they are bound to a device, so is the first state
    # then, as all later ones are, and `advance` is not compiled a second time.
    @functools.partial(jax.jit, keep_unused=True)
    def begin(params: Any, _: dict[str, Any], inner: Any) -> _State:
        update = jax.tree.map(jnp.zeros_like, params)
        fresh = optimizer.init(params)
        inner = fresh if inner is None else _check_state(inner, fresh)
        state = _State(params, update, inner, params, jnp.array(math.inf))
        # Copy, so that donating the state destroys neither the caller's arrays nor one twice.
        return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.result_type(leaf)), state)

    @functools.partial(jax.jit, donate_argnums=0, static_argnums=2)
    def advance(state: _State, scheduled: dict[str, Any], size: int | None) -> tuple[_State, Any]:
        named = scheduled if size is None else scheduled | {"size": size}

        def objective(params: Any) -> tuple[jax.Array, Any]:
            return _check_loss(loss(params, **named), has_aux)

        params = optax.apply_updates(state.params, state.update)
        if project is not None:
            params = jax.tree.map(
                lambda old, new: check_array("project(params)", new, old.shape).astype(old.dtype),
                params,
                project(params),
            )
        (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        # Optimisers mix dtypes of their own, whatever jax is told to think of that.
        with jax.numpy_dtype_promotion("standard"):
            update, inner = optimizer.update(
                gradient,
                state.optimizer,
                params,
                value=value,
                grad=gradient,
                value_fn=lambda params: objective(params)[0],
            )
        better = jnp.isfinite(value) & (value < state.best_loss)
        best, best_loss = jax.tree.map(
            functools.partial(jnp.where, better),
            (params, value),
            (state.best, state.best_loss),
        )
        # Keep all dtypes, and none of them weak: one program serves all steps.
        following = jax.tree.map(
            lambda new, old: jnp.asarray(new, old.dtype),
            _State(params, update, inner, best, best_loss),
            state,
        )
        # Look for what does not pull before the first update only, when no loss is known yet.
        leaves = len(jax.tree.leaves(gradient))
        level = jax.lax.cond(
            jnp.isinf(state.best_loss), _are_zero, lambda _: jnp.zeros(leaves, bool), gradient
        )
        counts = _count_not_finite(gradient), _count_not_finite(update)
        return following, (value, aux, level, *counts)

    return begin, advance


def _count_not_finite(tree: Any) -> jax.Array:
    """How many values of each leaf are NaN or infinite, `[leaves]`."""
    return jnp.stack([jnp.sum(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])


def _are_zero(tree: Any) -> jax.Array:
    """Which leaves hold nothing but zeros, `[leaves]`; not those that hold nothing."""
    leaves = jax.tree.leaves(tree)
    return jnp.stack([jnp.all(leaf == 0) if leaf.size else jnp.array(False) for leaf in leaves])


def _stillness(params: Any, level: np.ndarray) -> str:
    """What the warning of parameters without a gradient says."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = ", ".join(
        f"params{jax.tree_util.keystr(path)}"
        for (path, _), zero in zip(leaves, level, strict=True)
        if zero
    )
    return (
        f"fit: at step 0 the gradient is exactly zero in all of {names}, so nothing tells where to "
        "move it. The loss may be as low as it gets there, or not depend on it; or it depends on "
        "it only by which face is seen where: of that, `render` has no gradient by default, but "
        '`silhouette`, Hard(visibility_gradient="nmr") and Soft(…) give one, as far as the object '
        "is in the picture."
    )


def _diagnosis(
    step: int, loss: float, params: Any, gradient: np.ndarray, update: np.ndarray
) -> str:
    """What a NotFiniteError says."""

    def guilty(counts: np.ndarray) -> str:
        leaves = jax.tree_util.tree_leaves_with_path(params)
        return ", ".join(
            f"params{jax.tree_util.keystr(path)} ({count} of {leaf.size} values)"
            for (path, leaf), count in zip(leaves, counts, strict=True)
            if count
        )

    facts = f"the loss is {loss:.6g}"
    if gradient.any():
        facts += f"; its gradient is not finite in {guilty(gradient)}"
    elif update.any():
        facts += f"; its gradient is finite, but the optimiser's update is not in {guilty(update)}"
    return (
        f"At step {step} {facts}. Try a lower learning rate, optax.clip_by_global_norm or "
        "optax.zero_nans; fit under `with jax.debug_nans(True):` to see which operation makes "
        "a NaN. The `fit` of this error has the best parameters so far, `params`, and those of "
        "this step, `last_params`."
    )


# --- checks at the door ---------------------------------------------------------------------------


def _check_schedule(
    steps: int | None, schedule: Any, schedules: Mapping[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    """Returns the number of steps, and all that changes from one to the next, but for `size`."""
    check_schedules(schedules, "loss")
    schedules = dict(schedules or {})
    if schedule is None:
        return steps, schedules
    if not isinstance(schedule, Schedule):
        raise ValueError(
            f"`schedule` must be a fitting.Schedule, got {type(schedule).__name__}. Functions of "
            "the step, by name, go into `schedules`."
        )
    if steps is not None:
        raise ValueError(
            f"`steps` must be left out beside a `schedule`, which has {schedule.steps}, got "
            f"{steps!r}. Pass dataclasses.replace(schedule, steps={steps!r}) for another number."
        )
    own = schedule.functions()
    twice = sorted(own.keys() & schedules.keys())
    if twice:
        raise ValueError(
            f"`schedules` must not name what `schedule` does, got {', '.join(twice)} in both."
        )
    return schedule.steps, own | schedules


def _check_arguments(optimizer: Any, steps: Any, stop: Any, snapshot_every: Any) -> None:
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(
            f"`optimizer` must have `init` and `update`, got {optimizer!r}. "
            "Pass one of optax, for example optax.adam(1e-2)."
        )
    for name, count in (("steps", steps), ("snapshot_every", snapshot_every)):
        check_whole(name, count, least=1, most=MOST_STEPS, example=300, floats=False)
    if not (stop is None or callable(stop) or isinstance(stop, int | float | np.number)):
        raise ValueError(f"`stop` must be a number or a function (loss, step), got {stop!r}.")


def _check_params(params: Any) -> Any:
    """Returns the parameters as arrays, once all are floating-point."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError(f"`params` must hold at least one array, got {params!r}.")
    for path, leaf in leaves:
        check_is_floating(f"params{jax.tree_util.keystr(path)}", leaf, "loss")
    return jax.tree.map(jnp.asarray, params)


def _check_state(state: Any, fresh: Any) -> Any:
    """Returns the optimiser's state, once it is one of these parameters."""
    kinds = [jax.tree.map(jnp.shape, tree) for tree in (state, fresh)]
    if jax.tree.structure(state) != jax.tree.structure(fresh) or kinds[0] != kinds[1]:
        raise ValueError(
            "`state` must be that of this optimiser for parameters of these shapes, "
            f"{kinds[1]}, got {kinds[0]}. Pass the `state` of a Fit, carried over to a new mesh by "
            "`Remeshed.carry`; or None."
        )
    return state


def _check_loss(output: Any, has_aux: bool) -> tuple[jax.Array, Any]:
    """Returns the loss's value and what came beside it."""
    pair = isinstance(output, tuple) and len(output) == 2
    if output is None or (has_aux and not pair):
        wanted = "(scalar, aux)" if has_aux else "a scalar"
        raise ValueError(f"`loss` must return {wanted}, got {type(output).__name__}.")
    value, aux = output if has_aux else (output, None)
    hint = "Return one number, such as a mean; if there is more, a pair, and pass has_aux=True."
    return check_array("loss(params)", value, (), hint=hint), aux
