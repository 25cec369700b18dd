"""Loops that a CPU runs as if they were written in C.

XLA's CPU runtime starts every operation of a loop's body by itself, at about a microsecond each:
a loop over faces, pixel by pixel or window by window, would take forever. But it can also compile
a whole computation, loops included, into one function of machine code, and does so by itself for
loops that touch less than a kilobyte in a step (its pass for small while loops). What that pass
writes for the backend to read is a mark on a call; here the mark is set on calls of our own.

Only the schedule of a CPU may run like this: nobody has tried it elsewhere, where such a loop would
be slow at best.

What may be inside: elementwise operations, slices, gathers, reductions and loops; no sort, no
scatter and no matrix product, which are calls of the runtime.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from jaxrender.ops.sharding import match_varying_axes

UNTRIED = 0, 13  # the first jax with which nobody has tried these loops
FLAG = "small_while_loop"  # of XLA; says which loops XLA makes functions of by itself


def are_native_loops_available() -> bool:
    """Whether loops may be compiled so here; where not, there are slower ways.

    Not with a jax that is newer than those tried, as a compiler that takes the marks another way
    may stop the process; not where XLA_FLAGS makes XLA take larger loops for small, which it would
    find inside of ours; and not without `jax.jit`. The environment variable JAXRENDER_NATIVE_LOOPS
    decides for the first two: 0 is never, 1 is always.
    """
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        return False
    asked = os.environ.get("JAXRENDER_NATIVE_LOOPS", "")
    if asked in ("0", "1"):
        return asked == "1"
    return jax.__version_info__[:2] < UNTRIED and FLAG not in os.environ.get("XLA_FLAGS", "")


def one_function(function: Callable) -> Callable:
    """`function` of arrays, compiled into one function of machine code that one thread runs.

    It is not differentiable, and must not call another such function.
    """

    def marked(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]

        def called(*given: jax.Array) -> Any:
            rest = iter(given)
            leaves = [next(rest) if 0 not in size else jnp.zeros(size, of) for size, of in shapes]
            first = [array[(0,) * array.ndim] for array in given]
            return function(*jax.tree.unflatten(tree, leaves)), first

        given = [leaf for leaf in leaves if leaf.size]
        call = jax.jit(called, inline=False)
        marks = {"xla_cpu_small_call": "true", "inlineable": "false"}
        # XLA stops at an argument that nothing reads (jaxlib 0.8 to 0.12): keep what reads each,
        # and behind the barrier let it not see which are constants, or it would put those inside.
        results, first = _mark(call(*lax.optimization_barrier(given)), **marks)
        return match_varying_axes(results, first)

    return marked


def apart(function: Callable) -> Callable:
    """`function` of arrays, whose results are written out before anything else is computed.

    Otherwise XLA computes anew, in each operation that needs it, what `function` returns; and an
    array that one operation reads before another overwrites a part of it is copied whole, at each
    step of a loop, unless it is plain which comes first.
    """
    call = jax.jit(function, inline=False)

    def marked(*args: Any) -> Any:
        return _mark(call(*args), inlineable="false")

    return marked


def _mark(results: Any, **marks: str) -> Any:
    """The results of a call; the program has these marks at it."""
    return set_xla_metadata(results, **marks)


def weigh_down(index: jax.Array) -> jax.Array:
    """An index `[]` >= 0 as it is; the loop whose body has this is not a small one to XLA.

    Its pass for small loops would make a function of a small loop inside of ours as well, and a
    function inside of a function stops the compiler (jaxlib 0.8 to 0.12). So this is a branch,
    never taken, that would touch 128 kB.
    """

    def heavy(index: jax.Array) -> jax.Array:
        return apart(lambda index: jnp.full(1 << 15, index))(index).sum(dtype=jnp.int32)

    return lax.cond(index < 0, heavy, lambda index: index, index)
