"""Loops that a CPU runs as if they were written in C.

XLA's CPU runtime starts every operation of a loop's body by itself, at about a microsecond each:
a loop over faces, pixel by pixel or window by window, would take forever. But it can also compile
a whole computation, loops included, into one function of machine code, and does so by itself for
loops that touch less than a kilobyte in a step (its pass for small while loops). What that pass
writes for the backend to read is a mark on a call; here the mark is set on calls of our own.

Another platform ignores the marks, and so would an XLA that no longer knows them: the results are
the same, the loop is slow. Only loops that are made for a CPU should run like this.

What may be inside: elementwise operations, slices, gathers, reductions and loops; no sort, no
scatter and no matrix product, which are calls of the runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def one_function(function: Callable) -> Callable:
    """`function` of arrays, compiled into one function of machine code that one thread runs.

    It is not differentiable, and must not call another such function.
    """
    called = jax.jit(function, inline=False)

    def marked(*args: Any) -> Any:
        return set_xla_metadata(called(*args), xla_cpu_small_call="true", inlineable="false")

    return marked


def apart(function: Callable) -> Callable:
    """`function` of arrays, whose results are written out before anything else is computed.

    Otherwise XLA computes anew, in each operation that needs it, what `function` returns; and an
    array that one operation reads before another overwrites a part of it is copied whole, at each
    step of a loop, unless it is plain which comes first.
    """
    called = jax.jit(function, inline=False)

    def marked(*args: Any) -> Any:
        return set_xla_metadata(called(*args), inlineable="false")

    return marked
