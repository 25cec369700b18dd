"""`jit` for tests: nearly all of their time is compiling, so they compile without optimisation.

It takes about a third of the time, and is right wherever rounding does not decide; programs that
run long, and tests of what rounding decides, take `jax.jit`.
"""

from __future__ import annotations

import functools

import jax


def quick_options() -> dict[str, int | bool]:
    """How to compile in a third of the time, if this jaxlib knows how."""
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x + 1).lower(1.0).compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


jit = functools.partial(jax.jit, compiler_options=quick_options())
