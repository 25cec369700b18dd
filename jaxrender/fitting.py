"""`fit`: the loop that every fitting script repeats. Knows nothing of rendering; needs optax.

Legend: `N` steps asked for, `K` steps done. All that a fit records is counted in updates:
entry `k` of a history belongs to the parameters after `k` updates, so entry 0 to those given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

__all__ = ["Fit", "NotFiniteError", "fit"]


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """What `fit` found, and how it got there.

    Attributes:
        params: the parameters with the lowest loss.
        best_step: how many updates led to them.
        best_loss: their loss, `losses[best_step]`.
        last_params: the parameters after the last update; their loss is `losses[-1]`.
        steps: `K`, the number of updates.
        stopped: whether `stop` or Ctrl-C ended it before the steps asked for.
        seconds: wall time, compilation included.
        losses: `[K + 1]` float64, after 0, 1, ... K updates.
        aux: what the loss returned beside its value, each array `[K + 1, ...]`; None without.
        snapshots: what `snapshot` returned, by step, in order.
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


class NotFiniteError(FloatingPointError):
    """The loss, or what its gradient makes of the parameters, is NaN or infinite.

    Attributes:
        fit: all up to and including that step. Its `params` are the best before, and its
            `last_params` those where it happened, for another look.
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
    steps: int,
    schedules: Mapping[str, Callable[[int], Any]] | None = None,
    project: Callable[[Any], Any] | None = None,
    stop: float | Callable[[float, int], bool] | None = None,
    snapshot: Callable[[Any], Any] | None = None,
    snapshot_every: int = 10,
    progress: bool | str = True,
    has_aux: bool = False,
) -> Fit:
    """Minimises a loss over parameters, and keeps the best that it passes.

    A step evaluates the loss and its gradient, and applies the optimiser's update. All of it is
    one program, compiled once a call; what `schedules` change is an input of that program, so
    nothing is compiled again as long as shapes and dtypes stay. After `steps` updates the loss
    is evaluated once more, with the last step's schedules, so that the last update counts too.
    The loss is read after each step, which makes stops exact.

    Losses of different steps compare only where they measure the same. If a schedule changes
    what the loss means (a blur, a weight, the view), the lowest may be the easiest rather
    than the best: take `last_params` then.

    Ctrl-C ends the fit after the step at hand, with a warning, and returns what is there; a
    second one raises KeyboardInterrupt. (So in the main thread, where Python's own handler is
    in place.)

    Args:
        loss: called as `loss(params, **scheduled)`; returns a real scalar, or with `has_aux` a
            pair `(scalar, aux)`. It is traced, and may close over anything.
        params: any pytree of floating-point arrays or numbers. They are copied first.
        optimizer: from optax, learning-rate schedules included. One with a line search, such as
            `optax.lbfgs()`, gets the loss function that it needs.
        steps: `N`, how many updates to make.
        schedules: what changes from step to step, by the name under which the loss takes it:
            functions of the step (an int from 0 to N - 1) that return a number, an array or any
            pytree of them, such as a blur, a view and its picture, or a random key.
        project: maps parameters to the nearest allowed ones, such as colours into [0, 1];
            applied to the given parameters and after each update, inside the program.
        stop: ends the fit once the loss is less than this number, or once
            `stop(loss, step)` is true.
        snapshot: called with the parameters at step 0, each `snapshot_every` steps and at the
            end; what it returns (a picture, say) is brought into host memory and kept.
        snapshot_every: steps from one snapshot to the next.
        progress: whether to show a progress bar, or its title. Without tqdm there is none.
        has_aux: whether the loss returns `(scalar, aux)`; the `aux` of every step is kept, so
            let it be small: the terms of the loss, for example.

    Returns:
        the parameters with the lowest loss, and the history.

    Raises:
        ValueError: a parameter is not floating-point, the loss is not a real scalar, or another
            argument is not as above.
        NotFiniteError: the loss is NaN or infinite, or the optimiser's update is. It names
            the step and the parameters whose gradient is to blame, and holds the fit so far.
            Gradients that the optimiser deals with (`optax.zero_nans`, frozen parameters)
            stop nothing.

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
    """
    _check_arguments(optimizer, steps, schedules or {}, stop, snapshot_every)
    params = _check_params(params)
    advance, state = _program(loss, params, optimizer, project, has_aux)
    reached = stop if callable(stop) else lambda loss, step: stop is not None and loss < stop
    losses, auxes, snapshots, scheduled = [], [], {}, {}
    best_step, best_loss, begin = 0, math.inf, time.perf_counter()

    def so_far(stopped: bool) -> Fit:
        return Fit(
            params=state.best,
            best_step=best_step,
            best_loss=best_loss,
            last_params=state.params,
            steps=len(losses) - 1,
            stopped=stopped,
            seconds=time.perf_counter() - begin,
            losses=np.array(losses),
            aux=jax.tree.map(lambda *leaves: np.stack(leaves), *auxes),
            snapshots=snapshots,
        )

    with _progress_bar(progress, steps) as show, _held_interrupts() as interrupts:
        for step in range(steps + 1):
            # Apply the last update, evaluate, and read the loss.
            if step < steps:
                scheduled = {name: value(step) for name, value in (schedules or {}).items()}
            state, report = advance(state, scheduled)
            value, aux, not_finite = jax.device_get(report)
            losses.append(float(value))
            auxes.append(aux)
            if math.isfinite(value) and value < best_loss:
                best_step, best_loss = step, float(value)
            show(step, losses[-1])
            if not math.isfinite(value) or not_finite["update"].any():
                raise NotFiniteError(_diagnosis(step, losses[-1], not_finite, params), so_far(True))

            # Give the snapshot arrays of its own: the next step overwrites the state's.
            ends = step == steps or bool(interrupts) or bool(reached(losses[-1], step))
            if snapshot is not None and (ends or step % snapshot_every == 0):
                snapshots[step] = jax.device_get(snapshot(jax.tree.map(jnp.copy, state.params)))
            if ends:
                break
    if interrupts:
        warnings.warn(f"interrupted at step {len(losses) - 1} of {steps}", stacklevel=2)
    return so_far(len(losses) <= steps)


def _program(
    loss: Callable[..., Any],
    params: Any,
    optimizer: Any,
    project: Callable[[Any], Any] | None,
    has_aux: bool,
) -> tuple[Callable[[_State, dict[str, Any]], Any], _State]:
    """The compiled step, and the state that it starts from.

    It is compiled anew for each fit, because a loss often reads variables of a notebook that
    have changed since.
    """
    import optax

    optimizer = optax.with_extra_args_support(optimizer)

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: _State, scheduled: dict[str, Any]) -> tuple[_State, Any]:
        def objective(params: Any) -> tuple[jax.Array, Any]:
            return _check_loss(loss(params, **scheduled), has_aux)

        params = optax.apply_updates(state.params, state.update)
        if project is not None:
            params = _like(project(params), state.params, "`project` must keep all shapes.")
        (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(params)
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
        following = _State(params, update, inner, best, best_loss)
        report = value, aux, _count_not_finite(gradient), _count_not_finite(update)
        return _like(following, state), report

    # Copy all, so that donating the state destroys neither the caller's arrays nor one twice.
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = _State(params, zeros, optimizer.init(params), params, jnp.array(math.inf))
    return advance, jax.tree.map(lambda leaf: jnp.array(leaf, jnp.result_type(leaf)), state)


def _like(tree: Any, model: Any) -> Any:
    """The tree in the model's dtypes, without weak types: one program serves all steps."""
    return jax.tree.map(lambda leaf, other: jnp.asarray(leaf, other.dtype), tree, model)


def _count_not_finite(tree: Any) -> jax.Array:
    """How many values of each leaf are NaN or infinite, `[leaves]`."""
    return jnp.stack([jnp.sum(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])


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

    facts = [f"the loss is {loss:.6g}"]
    if gradient.any():
        facts.append(f"its gradient is not finite in {guilty(gradient)}")
    elif update.any():
        facts.append(f"its gradient is finite, but the update is not in {guilty(update)}")
    return (
        f"At step {step} {'; '.join(facts)}. Try a lower learning rate, optax.clip_by_global_norm, "
        "or optax.zero_nans; with the configuration option jax_debug_nans JAX says where a NaN "
        "is made. This error's `fit` has the parameters: `params` the best before, `last_params` "
        "those of this step."
    )


@contextlib.contextmanager
def _progress_bar(progress: bool | str, steps: int) -> Iterator[Callable[[int, float], None]]:
    """A function that shows the step and its loss."""
    if progress:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            progress = False
    if not progress:
        yield lambda step, loss: None
        return
    title = progress if isinstance(progress, str) else "fitting"
    with tqdm(total=steps, desc=title, unit="step") as bar:

        def show(step: int, loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            bar.update(step - bar.n)

        yield show


@contextlib.contextmanager
def _held_interrupts() -> Iterator[list[int]]:
    """Collects the first Ctrl-C instead of raising it in the middle of a step."""
    caught: list[int] = []

    def hold(number: int, _: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield caught
        return
    signal.signal(signal.SIGINT, hold)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Checks at the door


def _check_params(params: Any) -> Any:
    """Returns the parameters as arrays, once all are floating-point."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError("`params` has no arrays. Pass what the loss is to be minimised over.")
    for path, leaf in leaves:
        dtype = getattr(leaf, "dtype", type(leaf))
        try:
            fits = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        except TypeError:
            fits = False
        if not fits:
            name = getattr(dtype, "name", None) or getattr(dtype, "__name__", str(dtype))
            raise ValueError(
                f"`params{jax.tree_util.keystr(path)}` must be floating-point, got {name}. "
                "Leave it out of the parameters and close over it in the loss."
            )
    return jax.tree.map(jnp.asarray, params)
