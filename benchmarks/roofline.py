"""What a program has to do, and how long the machine takes for so much at its best: `--roofline`.

XLA counts the operations of a compiled program, and the bytes that its kernels read and write, but
each loop's body once. So each program is compiled again with the body of one loop twice in it,
which tells what the body costs; and it is run once with a callback in each loop, which tells how
often. What kernels (`jaxrender.ops.cpu`) do is not known to
XLA's count; such programs, which only a CPU has, have no figures.

The machine's limits are measured, by the two simplest programs: one that only reads and writes, and
one that only multiplies and adds. On a CPU a pass's arrays stay in caches, so that a program can
beat the limit of its memory; exponentials and the like are not among the operations.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.timing import measure
from jaxrender.ops import cpu

SCATTER = re.compile(r"%\w*scatter\S* = [a-z]+(\d+)\[([\d,]*)\]\S* fusion\(")
Loop = tuple[int, ...]  # the how-many-eth loop, within the how-many-eth, …, of a program


@dataclasses.dataclass(frozen=True)
class Work:
    """What one run of a program does.

    Attributes:
        flops: additions, multiplications and the like.
        bytes: read and written by kernels; what stays in a cache between two counts too.
        steps: of all loops; each starts its kernels anew.
    """

    flops: float
    bytes: float
    steps: int

    def __str__(self) -> str:
        best = limits()
        return (
            f"{self.flops / 1e9:.3f} Gflop, at best {1e3 * self.flops / best.flops:.2f} ms; "
            f"{self.bytes / 1e9:.3f} GB, from memory {1e3 * self.bytes / best.bytes:.2f} ms; "
            f"{self.steps} loop steps"
        )


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the machine does in a second."""

    flops: float
    bytes: float


@functools.cache
def limits() -> Limits:
    """Those of JAX's default device, in float32."""
    # Read and write what no cache holds, in place.
    numbers = 1 << (26 if jax.default_backend() == "cpu" else 28)
    shift = jax.jit(lambda x: x + 1, donate_argnums=0)
    state = [jnp.zeros(numbers, jnp.float32)]

    def stream() -> jax.Array:
        state[0] = shift(state[0])
        return state[0]

    bytes_per_s = 8 * numbers / (1e-3 * measure(stream).min_ms)

    # Multiply and add in chains that do not wait for each other.
    chains, length, width = 8, 64, 1 << (16 if jax.default_backend() == "cpu" else 24)

    @jax.jit
    def arithmetic(x: jax.Array) -> jax.Array:
        values = [x + k for k in range(chains)]
        for _ in range(length):
            values = [value * 0.999 + 0.001 for value in values]
        return functools.reduce(jnp.add, values)

    start = jnp.zeros(width, jnp.float32)
    best = measure(lambda: arithmetic(start), repeats=50).min_ms
    return Limits(2 * chains * length * width / (1e-3 * best), bytes_per_s)


def work_of(function: Callable[..., Any], *args: Any) -> Work | None:
    """What `function(*args)` does; None if it has loops that XLA's count does not know."""
    kernels: list[cpu.Kernel] = []
    with known_loops() as loops, _told_of_kernels(kernels):
        plain = jax.jit(function).lower(*args)
    if kernels:
        return None

    ticks = loop_steps(function, *args)

    # Find what each body costs, with the loops inside of it; some were traced for other shapes.
    total = once = _cost(plain)
    bodies: dict[Loop, np.ndarray] = {}
    for loop in loops:
        with known_loops(twice=loop):
            lowered = jax.jit(function).lower(*args)
        if lowered.as_text() != plain.as_text():
            bodies[loop] = _cost(lowered) - once

    # Count each as often as it runs, without the loops inside.
    for loop, cost in bodies.items():
        inside = [bodies[other] for other in bodies if other[:-1] == loop]
        total = total + (cost - sum(inside, start=np.zeros(2))) * (ticks[loop] - 1)
    return Work(float(total[0]), float(total[1]), sum(ticks.values()))


def loop_steps(function: Callable[..., Any], *args: Any) -> Counter[Loop]:
    """How often the body of each loop runs in `function(*args)`, which has no kernels."""
    ticks: Counter[Loop] = Counter()
    with known_loops(ticks=ticks):
        jax.block_until_ready(jax.jit(function)(*args))
        jax.effects_barrier()
    return ticks


def loop_of(names: str) -> Loop | None:
    """Which loop an instruction is, or is in, that was traced in `known_loops`, by its names."""
    found = re.findall(r"\bloop_(\d+(?:_\d+)*)\b", names)
    return tuple(int(number) for number in found[-1].split("_")) if found else None


def _cost(lowered: jax.stages.Lowered) -> np.ndarray:
    """Operations and bytes of a program, each loop's body counted once."""
    compiled = lowered.compile()
    found = compiled.cost_analysis() or {}

    # XLA has a scatter read and write all of the array that it changes a few places of.
    whole = 0
    for bits, shape in SCATTER.findall(compiled.as_text() or ""):
        sizes = [int(size) for size in shape.split(",") if size]
        whole += 2 * math.prod(sizes) * int(bits) // 8
    return np.array([found.get("flops", 0.0), found.get("bytes accessed", 0.0) - whole])


@contextlib.contextmanager
def known_loops(
    *, twice: Loop | None = None, ticks: Counter[Loop] | None = None
) -> Iterator[dict[Loop, None]]:
    """Lets programs be traced with loops that are known; what comes out is which there are.

    Args:
        twice: the loop whose body is to be in the program twice.
        ticks: counts the runs of each body.
    """
    found: dict[Loop, None] = {}
    within: list[Loop] = [()]
    ordinals = [0]
    while_loop = lax.while_loop

    def known_while(cond: Callable, body: Callable, init: Any) -> Any:
        loop: Loop = (*within[-1], ordinals[-1])
        ordinals[-1] += 1
        found[loop] = None

        def once(carry: Any) -> Any:
            within.append(loop)
            ordinals.append(0)
            if ticks is not None:
                jax.debug.callback(functools.partial(ticks.update, [loop]))
            carry = body(carry)
            within.pop()
            ordinals.pop()
            return carry

        with jax.named_scope("loop_" + "_".join(map(str, loop))):
            return while_loop(
                cond, (lambda carry: once(once(carry))) if twice == loop else once, init
            )

    def known_fori(lower: jax.Array, upper: jax.Array, body: Callable, init: Any) -> Any:
        # With a number of steps that XLA knows it would count, or copy the body, for itself.
        lower, upper = lax.optimization_barrier((jnp.asarray(lower), jnp.asarray(upper)))

        def step(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
            return carry[0] + 1, body(*carry)

        return known_while(lambda carry: carry[0] < upper, step, (lower, init))[1]

    # Nothing that was traced before may be taken, nor what is traced here be taken afterwards.
    jax.clear_caches()
    try:
        with (
            mock.patch.object(lax, "while_loop", known_while),
            mock.patch.object(lax, "fori_loop", known_fori),
        ):
            yield found
    finally:
        jax.clear_caches()


@contextlib.contextmanager
def _told_of_kernels(kernels: list[cpu.Kernel]) -> Iterator[None]:
    """Appends to `kernels` each that is called."""
    plain = cpu.Kernel.__call__

    def told(kernel: cpu.Kernel, *args: Any, **options: Any) -> Any:
        kernels.append(kernel)
        return plain(kernel, *args, **options)

    with mock.patch.object(cpu.Kernel, "__call__", told):
        yield
