"""Measures one function: time after warm-up, time to compile, memory of the compiled program."""

from __future__ import annotations

import dataclasses
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long repeated runs took.

    Attributes:
        median_ms: of all timed runs.
        min_ms: of the fastest.
        repeats: how many there were.
    """

    median_ms: float
    min_ms: float
    repeats: int


def measure(run: Callable[[], Any], *, seconds: float = 1.0, repeats: int = 15) -> Timing:
    """Times `run` once warm: up to `repeats` times, but at least three, within `seconds`."""
    jax.block_until_ready(run())
    times: list[float] = []
    while len(times) < 3 or (len(times) < repeats and sum(times) < seconds):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return Timing(1e3 * statistics.median(times), 1e3 * min(times), len(times))


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled JAX function and what compiling it took.

    Attributes:
        call: the compiled function.
        trace_s: seconds to trace and lower it.
        compile_s: seconds to trace, lower and compile it.
        peak_bytes: its arguments, results and temporaries together, where JAX says.
        temporary_bytes: the temporaries alone.
    """

    call: jax.stages.Compiled
    trace_s: float
    compile_s: float
    peak_bytes: int | None
    temporary_bytes: int | None


def compile_program(function: Callable[..., Any], *args: Any) -> Program:
    """Compiles `function` for arguments like `args`, ahead of its first run.

    Args:
        function: any that JAX can trace.
        *args: its arguments.
    """
    gc.collect()  # or what earlier programs left is, meanwhile, at a second and more
    start = time.perf_counter()
    lowered = jax.jit(function).lower(*args)
    traced = time.perf_counter() - start
    compiled = lowered.compile()
    seconds = time.perf_counter() - start

    memory = compiled.memory_analysis()
    if memory is None:
        return Program(compiled, traced, seconds, None, None)
    peak = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return Program(compiled, traced, seconds, peak, memory.temp_size_in_bytes)


def peak_rss_bytes() -> int:
    """The most memory this process has held so far, compiler and all."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
