"""`Schedule`: how a fit goes from coarse to fine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Ends = tuple[float, float]  # of the first step, and of the last


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How a fit goes from coarse to fine: its steps, their length, blur, weights and resolution.

    A blur or a weight stays at its first number for the part `hold` of the steps, then goes to its
    last, which it has from the part `until` on. It goes geometrically, or, where a number is 0,
    linearly. The rate is held as long, and falls along a cosine until the end.

    `fit` takes one, and calls the loss with what it names: `sigma`, `gamma` and each of `weights`,
    as far as they are given, and `size` if there are `sizes`. For `least_squares` pass
    `schedules=schedule.functions()`.

    Attributes:
        steps: `N`, how many.
        rate: the learning rate, first and last; an optimiser takes `learning_rate`.
        sigma: the blur of `Soft`, first and last; or None.
        gamma: its temperature, first and last; or None.
        weights: first and last of what else the loss takes, by name: of regularisers, say.
        sizes: pixels along a side, from coarse to fine, for an equal part of the steps each. `size`
            is a Python int, and each of them compiles a step of its own.
        hold: the part of the steps at which all is as at first.
        until: the part after which blur and weights are as at last.

    Raises:
        ValueError: a number is out of its range, or no pair where one belongs.

    Example:
        >>> schedule = Schedule(steps=101, sigma=(1e-2, 1e-6), weights={"smooth": (1.0, 0.0)})
        >>> [f"{schedule.functions()['sigma'](step):.0e}" for step in (0, 50, 100)]
        ['1e-02', '1e-04', '1e-06']
        >>> schedule.functions()["smooth"](50)
        0.5
        >>> round(float(schedule.learning_rate(50)), 4)
        0.055
    """

    steps: int = 200
    rate: Ends = (0.1, 0.01)
    sigma: Ends | None = (1e-4, 1e-6)
    gamma: Ends | None = None
    weights: Mapping[str, Ends] = dataclasses.field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    hold: float = 0.0
    until: float = 1.0

    def __post_init__(self) -> None:
        for name, counts in (("steps", (self.steps,)), ("sizes", self.sizes)):
            whole = all(isinstance(count, int | np.integer) and count >= 1 for count in counts)
            if not whole:
                raise ValueError(f"`{name}` must be whole from 1, got {getattr(self, name)!r}.")
        if not 0 <= self.hold <= self.until <= 1:
            raise ValueError(
                "`hold` and `until` must be parts of the steps, 0 <= hold <= until <= 1, got "
                f"{self.hold!r} and {self.until!r}."
            )
        for name, ends in {"rate": self.rate, **self._changing()}.items():
            numbers = isinstance(ends, tuple | list) and len(ends) == 2
            numbers = numbers and all(isinstance(end, int | float | np.number) for end in ends)
            if not (numbers and all(math.isfinite(end) and end >= 0 for end in ends)):
                raise ValueError(
                    f"`{name}` must be two numbers from 0, of the first step and of the last, got "
                    f"{ends!r}."
                )

    def learning_rate(self, step: Any) -> jax.Array:
        """The learning rate at a step, traced or not: a schedule for optax."""
        first, last = self.rate
        start = self.hold * (self.steps - 1)
        done = jnp.clip((step - start) / max(self.steps - 1 - start, 1), 0, 1)
        return last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * done))

    def functions(self) -> dict[str, Callable[[int], float]]:
        """What the loss takes at each step, by name, but for `size`: `schedules` for `fit`."""
        start = self.hold * (self.steps - 1)
        length = max(self.until * (self.steps - 1) - start, 1)

        def between(first: float, last: float) -> Callable[[int], float]:
            def at(step: int) -> float:
                done = min(max((step - start) / length, 0.0), 1.0)
                if first > 0 and last > 0:
                    return float(first * (last / first) ** done)
                return float(first + (last - first) * done)

            return at

        return {name: between(*ends) for name, ends in self._changing().items()}

    def size_at(self, step: int) -> int | None:
        """The resolution at a step, or None where there are no `sizes`."""
        if not self.sizes:
            return None
        return int(self.sizes[min(step * len(self.sizes) // self.steps, len(self.sizes) - 1)])

    def _changing(self) -> dict[str, Ends]:
        """The ends of what changes and is no rate, by name."""
        blur = {"sigma": self.sigma, "gamma": self.gamma}
        return {name: ends for name, ends in blur.items() if ends is not None} | dict(self.weights)
