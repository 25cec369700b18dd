"""`least_squares`: Levenberg's and Marquardt's method for residuals, pictures among them.

Legend: `P` coordinates of the parameters, `M` residuals, `S` starts, `K` steps done. With the
residuals `r(δ)` after a step `δ` from where the parameters are, their Jacobian `J = dr/dδ` at 0,
and a function `ρ` that lets large ones count less,

    cost     C = ½ s² Σ ρ(r² / s²)
    weights  w = ρ'(r² / s²)
    step     (Jᵀ W J + λ D) δ = -Jᵀ W r

where `D` is the diagonal of `Jᵀ W J`, so that the units of the parameters do not matter (Marquardt
1963). Without `ρ` that is Gauss's and Newton's step where `λ` is 0. A step is taken if it lowers
the cost; `λ` follows the part of the promised decrease that came (Nielsen 1999).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import (
    check_array,
    check_choice,
    check_flag,
    check_function,
    check_is_floating,
    check_title,
    check_whole,
    is_concrete,
)
from jaxrender._manifolds import Parameter
from jaxrender._progress import MOST_STEPS, check_schedules, held_interrupts, progress_bar

MANY = 64  # coordinates, from which on no Jacobian is made
LEAST_DAMPING, MOST_DAMPING = 1e-9, 1e7
SHORTENED = 1.0  # damping from which on a step is so short that it promises little anyway
NEGLIGIBLE = 1e-12  # of the largest diagonal element: no coordinate counts as less

# Why a start is done; 0 while it is not.
REASONS = (
    "steps: it might go on",
    "converged: no step promises to lower the cost, or it is 0 to rounding",
    "converged: the last step did not lower the cost by much",
    "stuck: no step lowers the cost, however short",
    "the cost is NaN or infinite at the start",
)
GOING_ON, FLAT, SLOW, STUCK, NOT_FINITE = range(5)

Rho = Literal["linear", "huber", "soft_l1", "cauchy", "arctan"]


def _huber(square: jax.Array) -> jax.Array:
    return jnp.where(square <= 1, square, 2 * jnp.sqrt(jnp.where(square <= 1, 1, square)) - 1)


RHOS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda square: square,
    "huber": _huber,
    "soft_l1": lambda square: 2 * (jnp.sqrt(1 + square) - 1),
    "cauchy": jnp.log1p,
    "arctan": jnp.arctan,
}


@dataclasses.dataclass(frozen=True, eq=False)
class LeastSquares:
    """What `least_squares` found, and how it got there.

    Attributes:
        params: the parameters of the lowest cost, without what said how they move.
        cost: their cost.
        reason: why their start ended: it begins with "converged", "steps" or "stuck".
        steps: `K`, the steps that were made.
        costs: `[K + 1, S]` float64 after 0, 1, ... K steps, under the schedules of the next.
        seconds: wall time, compilation included.
        best_start: which of the starts led to `params`.
        every: all starts' parameters, each array `[S, ...]`.
        reasons: all starts' reasons, `S` of them.
        interrupted: whether Ctrl-C ended it.
    """

    params: Any = dataclasses.field(repr=False)
    cost: float
    reason: str
    steps: int
    costs: np.ndarray = dataclasses.field(repr=False)  # [K + 1, S]
    seconds: float
    best_start: int
    every: Any = dataclasses.field(repr=False)
    reasons: list[str] = dataclasses.field(repr=False)
    interrupted: bool = False


class _State(NamedTuple):
    """Where the method stands, from one start."""

    params: Any
    damping: jax.Array  # [] λ
    growth: jax.Array  # [] by how much λ grows when a step fails
    first_cost: jax.Array  # [] or infinity, before the first step
    reason: jax.Array  # [] int32, of REASONS


def least_squares(
    residuals: Callable[..., Any],
    params: Any,
    *,
    steps: int = 50,
    many: bool = False,
    rho: Rho | Callable[[jax.Array], jax.Array] = "linear",
    scale: float = 1.0,
    jacobian: Literal["auto", "forward", "matrix_free"] = "auto",
    schedules: Mapping[str, Callable[[int], Any]] | None = None,
    tolerance: float = 1e-6,
    damping: float = 1e-3,
    chunk: int | None = None,
    progress: bool | str = True,
) -> LeastSquares:
    """Minimises the squares of residuals by the method of Levenberg and Marquardt.

    Residuals are differences that ought to be 0: of pictures, depth, masks, keypoints. Each step
    linearises them, so a pose takes ten steps where gradient descent takes hundreds. They must be
    differentiable in forward mode: a picture of `Hard(visibility_gradient="antialias")` or "edge",
    of `Soft(…)`, of `interpolate`; not one with NMR's gradient.

    A step is one program, compiled once per call. With few coordinates it makes the Jacobian
    `[M, P]` by one batched call of `jax.jvp`; with many it solves for the step by conjugate
    gradients, of which each needs one `jvp` and its transpose.

    Args:
        residuals: called as `residuals(params, **scheduled)`; returns an array or a pytree of
            them, all of it finite. It is traced, and may close over anything.
        params: any pytree of floating-point arrays or numbers, and of `fitting.Rotation`,
            `fitting.Bounded` or a `fitting.Parameter` of your own; where those are, the residuals
            get plain arrays.
        steps: the most steps to make.
        many: whether each array of `params` has a first axis of `S` starts. All are sought at
            once; each ends by itself.
        rho: "linear", "huber", "soft_l1", "cauchy" or "arctan" (as in SciPy), or a function of
            squares, elementwise: how much residuals beyond `scale` count.
        scale: the size of a residual that is still ordinary.
        jacobian: "forward" makes it, "matrix_free" does not; "auto" makes it up to 64 coordinates.
        schedules: what changes from step to step, as in `fit`: a blur, for example.
        tolerance: a start ends once a step lowers its cost, or promises to, by less than this
            part. It does not while `schedules` are given, which ends all after `steps`.
        damping: `λ` of the first step. More begins with shorter ones.
        chunk: how many starts to draw at once, to spare memory; None is all.
        progress: whether to show a progress bar, or its title. Without tqdm there is none.

    Returns:
        the parameters of the lowest cost, and what became of each start.

    Warns:
        UserWarning: no residual depends on a parameter, to first order; Ctrl-C ended it.

    Raises:
        ValueError: a parameter is not floating-point or no rotation, the residuals are not real
            arrays, not finite from any start, or another argument is not as above.

    References:
        Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", 1963.
        Nielsen, "Damping Parameter in Marquardt's Method", 1999.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrender import fitting, rotations
        >>> points = jax.random.normal(jax.random.key(0), (9, 3))
        >>> turn = rotations.from_axis_angle(jnp.array([0.3, -1.2, 0.4]))
        >>> seen = points @ turn.T + 0.5
        >>> def residuals(params):
        ...     return points @ params["turn"].T + params["shift"][None] - seen
        >>> start = {"turn": fitting.Rotation(jnp.eye(3)), "shift": jnp.zeros(3)}
        >>> found = fitting.least_squares(residuals, start, progress=False)
        >>> found.params["shift"].round(3).tolist(), found.steps < 10
        ([0.5, 0.5, 0.5], True)
    """
    _check_arguments(steps, scale, tolerance, damping, chunk, schedules)
    scale, tolerance, damping = float(scale), float(tolerance), float(damping)
    check_function("residuals", residuals, "a function of the parameters that returns an array")
    check_title("progress", progress)
    check_choice("jacobian", jacobian, ["auto", "forward", "matrix_free"])
    if not callable(rho):
        rho = RHOS[check_choice("rho", rho, list(RHOS))]
    params, starts = _check_params(params, check_flag("many", many))
    if jacobian == "auto":
        jacobian = "forward" if _coordinates(_one(params)) <= MANY else "matrix_free"
    cost_of, advance = _programs(residuals, rho, scale, jacobian, None if schedules else tolerance)
    costs_of, advance_all = (_over_starts(one, starts, chunk) for one in (cost_of, advance))
    state = _State(
        params,
        jnp.full(starts, damping, _dtype(params)),
        jnp.full(starts, 2, _dtype(params)),
        jnp.full(starts, jnp.inf, _dtype(params)),
        jnp.zeros(starts, jnp.int32),
    )
    begun, made, costs, last = time.perf_counter(), 0, [], None

    def settings(step: int) -> dict[str, Any]:
        return {name: schedule(step) for name, schedule in (schedules or {}).items()}

    with progress_bar(progress, steps) as show, held_interrupts() as interrupts:
        while made < steps and not interrupts:
            state, cost, last, still = advance_all(state, settings(made))
            costs.append(np.asarray(cost, np.float64))
            made += 1
            if made == 1:
                _check_start(params, costs[0], np.asarray(still))
            reason = np.asarray(state.reason)
            show(made, float(np.nanmin(costs[-1])))
            if reason.all():
                break
    # The last step knows what it led to; to draw that again would be a program of its own.
    last = costs_of(state, settings(0)) if last is None else last
    costs.append(np.asarray(last, np.float64))
    if interrupts:
        warnings.warn(f"least_squares: interrupted at step {made} of {steps}", stacklevel=2)
    best = int(np.nanargmin(costs[-1]))
    found, reasons = (
        jax.vmap(_values)(state.params),
        [REASONS[code] for code in np.asarray(state.reason)],
    )
    return LeastSquares(
        params=jax.tree.map(lambda leaf: leaf[best], found),
        cost=float(costs[-1][best]),
        reason=reasons[best],
        steps=made,
        costs=np.stack(costs),
        seconds=time.perf_counter() - begun,
        best_start=best,
        every=found,
        reasons=reasons,
        interrupted=bool(interrupts),
    )


def _programs(
    residuals: Callable[..., Any],
    rho: Callable[[jax.Array], jax.Array],
    scale: float,
    jacobian: str,
    tolerance: float | None,
) -> tuple[Callable[..., jax.Array], Callable[..., Any]]:
    """The cost of one start, and its step; without a tolerance nothing but NaN ends it.

    A step also returns the cost before and after it, and which coordinates nothing depends on.
    """
    slope = jax.grad(lambda square: rho(square).sum())

    def vector(params: Any, scheduled: dict[str, Any]) -> jax.Array:
        return _flattened(residuals(_values(params), **scheduled))

    def total(vector: jax.Array) -> jax.Array:
        return 0.5 * scale**2 * rho(jnp.square(vector / scale)).sum()

    def cost_of(state: _State, scheduled: dict[str, Any]) -> jax.Array:
        return total(vector(state.params, scheduled))

    def advance(
        state: _State, scheduled: dict[str, Any]
    ) -> tuple[_State, jax.Array, jax.Array, jax.Array]:
        nowhere = jnp.zeros(_coordinates(state.params), state.damping.dtype)

        # Linearise the residuals, and weigh them.
        r, jvp = jax.linearize(lambda d: vector(_moved(state.params, d), scheduled), nowhere)
        cost, weight = total(r), slope(jnp.square(r / scale))
        solve = _solve_with_jacobian if jacobian == "forward" else _solve_matrix_free
        step, promise, still = solve(jvp, nowhere, r, weight, state.damping)

        # Take the step if it leads down.
        params = _moved(state.params, step)
        after = total(vector(params, scheduled))
        better = after < cost
        came = (cost - after) / jnp.where(promise > 0, promise, 1)
        slower = state.damping * jnp.maximum(1 / 3, 1 - (2 * came - 1) ** 3)
        damping = jnp.where(better, slower, state.damping * state.growth)

        # Say why to go no farther.
        first_cost = jnp.where(jnp.isinf(state.first_cost), cost, state.first_cost)
        rounded = cost <= (10 * jnp.finfo(cost.dtype).eps) ** 2 * first_cost
        little = 0 if tolerance is None else tolerance * cost
        flat = rounded | ((promise <= little) & (state.damping < SHORTENED))
        reason = jnp.where(better & (cost - after <= little), SLOW, GOING_ON)
        reason = jnp.where(~better & (damping > MOST_DAMPING), STUCK, reason)
        reason = jnp.where(flat, FLAT, reason)
        reason = jnp.where(tolerance is None, GOING_ON, reason)
        reason = jnp.where(jnp.isfinite(cost), reason, NOT_FINITE)
        following = _State(
            jax.tree.map(lambda new, old: jnp.where(better, new, old), params, state.params),
            jnp.clip(damping, LEAST_DAMPING, MOST_DAMPING),
            jnp.where(better, 2, 2 * state.growth),
            first_cost,
            reason.astype(jnp.int32),
        )
        # What is done stays as it is.
        done = state.reason != GOING_ON
        state = jax.tree.map(lambda new, old: jnp.where(done, old, new), following, state)
        return state, cost, jnp.where(better & ~done, after, cost), still

    return cost_of, advance


def _solve_with_jacobian(
    jvp: Callable, nowhere: jax.Array, r: jax.Array, weight: jax.Array, damping: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The step, the decrease that it promises, and which coordinates nothing depends on."""
    rows = jax.vmap(jvp)(jnp.eye(nowhere.size, dtype=nowhere.dtype))  # Jᵀ [P, M]
    dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    normal, gradient = dot(rows * weight[None], rows.T), dot(rows, weight * r)
    diagonal = jnp.diagonal(normal)
    largest = diagonal.max(initial=0)
    spread = jnp.where(largest > 0, jnp.maximum(diagonal, NEGLIGIBLE * largest), 1)
    # Solve for unit diagonals, which rounds less.
    unit = jax.lax.rsqrt(spread)
    scaled = normal * unit[:, None] * unit[None] + damping * jnp.eye(
        nowhere.size, dtype=nowhere.dtype
    )
    step = -unit * jax.scipy.linalg.solve(scaled, unit * gradient, assume_a="pos")
    promise = 0.5 * jnp.sum(step * (damping * spread * step - gradient))
    return step, promise, jnp.all(rows == 0, axis=1)


def _solve_matrix_free(
    jvp: Callable, nowhere: jax.Array, r: jax.Array, weight: jax.Array, damping: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same by conjugate gradients; all coordinates are damped alike, as Levenberg has it."""
    vjp = jax.linear_transpose(jvp, nowhere)
    gradient = vjp(weight * r)[0]

    def curve(step: jax.Array) -> jax.Array:
        return vjp(weight * jvp(step))[0]

    # Measure the curvature along the gradient, for want of a diagonal.
    length = jnp.sum(gradient**2)
    spread = jnp.sum(gradient * curve(gradient)) / jnp.where(length > 0, length, 1)
    spread = jnp.where(spread > 0, spread, 1)
    step, _ = jax.scipy.sparse.linalg.cg(
        lambda step: curve(step) + damping * spread * step,
        -gradient,
        tol=1e-3,
        maxiter=min(nowhere.size, 100),
    )
    promise = 0.5 * jnp.sum(step * (damping * spread * step - gradient))
    return step, promise, gradient == 0


# --- the tree of parameters -----------------------------------------------------------------------


def _is_parameter(node: Any) -> bool:
    return isinstance(node, Parameter)


def _values(params: Any) -> Any:
    """What the residuals are given."""
    return jax.tree.map(
        lambda node: node.value() if _is_parameter(node) else node, params, is_leaf=_is_parameter
    )


def _coordinates(params: Any) -> int:
    """How many numbers a step has, `P`."""
    nodes = jax.tree.leaves(params, is_leaf=_is_parameter)
    return sum(node.coordinates if _is_parameter(node) else node.size for node in nodes)


def _moved(params: Any, step: jax.Array) -> Any:
    """The parameters after a step `[P]`."""
    nodes, tree = jax.tree.flatten(params, is_leaf=_is_parameter)
    moved, first = [], 0
    for node in nodes:
        last = first + (node.coordinates if _is_parameter(node) else node.size)
        own = step[first:last]
        # A parameter of another dtype than the step's keeps its own.
        if _is_parameter(node):
            there = node.moved(own)
            moved.append(jax.tree.map(lambda new, old: new.astype(old.dtype), there, node))
        else:
            moved.append((node + own.reshape(node.shape)).astype(node.dtype))
        first = last
    return jax.tree.unflatten(tree, moved)


def _one(params: Any) -> Any:
    """The shapes of one start's parameters."""
    return jax.eval_shape(lambda params: jax.tree.map(lambda leaf: leaf[0], params), params)


def _dtype(params: Any) -> Any:
    return jnp.result_type(*jax.tree.leaves(params))


def _flattened(residuals: Any) -> jax.Array:
    """All residuals in one array."""
    leaves = jax.tree_util.tree_leaves_with_path(residuals)
    if not leaves:
        raise ValueError("`residuals` must return at least one array, got none.")
    parts = [
        check_array(f"residuals(params){jax.tree_util.keystr(path)}", leaf, ("...",)).reshape(-1)
        for path, leaf in leaves
    ]
    dtype = jnp.result_type(*parts)
    return jnp.concatenate([part.astype(dtype) for part in parts])


def _over_starts(program: Callable, starts: int, chunk: int | None) -> Callable:
    """A program of one start for all of them, compiled."""

    @jax.jit
    def every(state: _State, scheduled: dict[str, Any]) -> Any:
        if chunk is None or chunk >= starts:
            return jax.vmap(program, (0, None))(state, scheduled)
        return jax.lax.map(lambda one: program(one, scheduled), state, batch_size=chunk)

    return every


# --- checks at the door ---------------------------------------------------------------------------


def _check_arguments(
    steps: Any,
    scale: Any,
    tolerance: Any,
    damping: Any,
    chunk: Any,
    schedules: Mapping[str, Any] | None,
) -> None:
    for name, count in (("steps", steps), ("chunk", 1 if chunk is None else chunk)):
        check_whole(name, count, least=1, most=MOST_STEPS, example=50, floats=False)
    for name, number in (("scale", scale), ("tolerance", tolerance), ("damping", damping)):
        least = 0 if name == "tolerance" else math.ulp(0)
        real = isinstance(number, int | float | np.number)
        if not real or not least <= number < math.inf:
            raise ValueError(f"`{name}` must be a positive number, got {number!r}.")
    if not 1e-18 <= scale <= 1e18:  # its square is a float32
        raise ValueError(f"`scale` must lie between 1e-18 and 1e18, got {scale!r}.")
    check_schedules(schedules, "residuals")


def _check_params(params: Any, many: bool) -> tuple[Any, int]:
    """The parameters as arrays with an axis of starts, and how many there are."""
    nodes, tree = jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_parameter)
    if not nodes:
        raise ValueError(f"`params` must hold at least one array, got {params!r}.")
    checked = []
    for path, node in nodes:
        name = f"params{jax.tree_util.keystr(path)}"
        if _is_parameter(node):
            checked.append(node.checked(name))
            continue
        check_is_floating(name, node, "residuals")
        checked.append(check_array(name, node, ("...",), finite=True))
    params = jax.tree.unflatten(tree, checked)
    if not is_concrete(*jax.tree.leaves(params)):
        raise ValueError("`params` must be known values, got a traced one. Call outside of jit.")
    if not many:
        return jax.tree.map(lambda leaf: leaf[None], params), 1
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(params)}
    if len(sizes) > 1 or sizes & {(), (0,)}:
        raise ValueError(
            "With many=True all arrays of `params` must have a first axis of as many starts, got "
            f"{sorted(sizes)}. Repeat what all starts share by jnp.broadcast_to."
        )
    return params, sizes.pop()[0]


def _check_start(params: Any, costs: np.ndarray, still: np.ndarray) -> None:
    """Looks at the first step: whether it could be made, and what it could not move."""
    if not np.isfinite(costs).any():
        raise ValueError(
            "`residuals` must be finite, got NaN or infinity at "
            + ("`params`." if len(costs) == 1 else "each of the starts.")
            + " Run residuals(params) under `with jax.debug_nans(True):` to see where it arises."
        )
    nodes, first, names = jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_parameter), 0, []
    still = np.atleast_1d(still[np.isfinite(costs)].all(0))
    for path, node in nodes:
        one = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), node)
        last = first + _coordinates(one)
        if last > first and still[first:last].all():
            names.append(f"params{jax.tree_util.keystr(path)}")
        first = last
    if names:
        warnings.warn(
            f"least_squares: no residual depends on {', '.join(names)} at the start, to first "
            "order, so nothing tells where to move it. Which face is seen where has no derivative "
            'by default: take Hard(visibility_gradient="antialias") or Soft(…), and see that the '
            "object is in the picture.",
            stacklevel=3,
        )
