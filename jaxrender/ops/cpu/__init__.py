"""Kernels: what a CPU does in machine code that numba compiles, as operations of JAX.

A kernel is a call of XLA's, like those of its own runtime, for arrays with a leading batch axis
that differs from `B` only where the whole batch shares an array. It is no more than a quicker way:
each has a function of plain JAX that computes the same, and where no kernel can run, that does. So
it is on other devices, in what `jax.export` exports, and on a CPU where numba cannot be imported,
which is warned of.

Two environment variables, read when a program is traced, say otherwise:

- `JAXRENDER_NUMBA=0`: no kernels.
- `JAXRENDER_THREADS`: how many threads a call may use at most; by default as many as XLA has,
  which is as many as the process may run on. Results do not depend on it.

The first use of a kernel on a machine compiles it, in some seconds, and keeps it on disk: in the
folder that the environment variable NUMBA_CACHE_DIR names, or else beside the source, or in the
user's cache folder (see `objects.py`). Where nothing can be written, each process compiles anew.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxrender.ops.linear import run_outside_jit
from jaxrender.ops.program import ShaderProgram
from jaxrender.ops.sharding import match_varying_axes

DTYPES = "float32", "float64"  # of vertices for which there are kernels
Shape = tuple[tuple[int, ...], Any]  # of a result, and its dtype


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of a module of this package.

    Attributes:
        module: its name, `zbuffer` say, which has a function `entry`.
        otherwise: `otherwise(*arrays, results=, options=)`, a function of plain JAX, that gives
            the same.
        program: of a shader, which gets machine code of its own; or None. Behind the options the
            kernel then finds its key, see `programs.py`.
        backward: whether the program's cotangents are needed.
    """

    module: str
    otherwise: Callable[..., Sequence[jax.Array]]
    program: ShaderProgram | None = None
    backward: bool = False

    def __call__(
        self, *arrays: jax.Array, results: Sequence[Shape], options: Sequence[int] = ()
    ) -> list[jax.Array]:
        """The results of these shapes and dtypes, of arrays whose first gives the float dtype."""
        options = (*(int(option) for option in options), thread_limit())
        given = _call().bind(*arrays, kernel=self, results=tuple(results), options=options)
        return match_varying_axes(given, arrays)


def are_available() -> bool:
    """Whether kernels may be used here; a warning, once, if only numba is missing.

    Where JAX's default is another device, numba is looked for when a program is compiled for a CPU.
    """
    if os.environ.get("JAXRENDER_NUMBA", "") == "0":
        return False
    return jax.default_backend() != "cpu" or _find_numba()


def can_take(*dtypes: Any) -> bool:
    """Whether kernels may be used here, for arrays of these dtypes, which must be one."""
    names = {str(jax.numpy.dtype(dtype)) for dtype in dtypes}
    return len(names) == 1 and names <= {*DTYPES} and are_available()


def thread_limit() -> int:
    """How many threads a kernel may use; 0 is no limit."""
    asked = os.environ.get("JAXRENDER_THREADS", "")
    if asked and not (asked.isdecimal() and int(asked) > 0):
        raise ValueError(
            f"The environment variable JAXRENDER_THREADS must be a number of threads, at least 1, "
            f"got {asked!r}. Unset it for as many as the process may run on."
        )
    return int(asked or 0)


@functools.cache
def _find_numba() -> bool:
    """Whether numba is installed; to import it takes long, and kernels on disk do without."""
    if importlib.util.find_spec("numba") and importlib.util.find_spec("llvmlite"):
        return True
    _warn_without_numba("it is not installed")
    return False


def _warn_without_numba(reason: str) -> None:
    warnings.warn(
        f"numba cannot be imported ({reason}): pictures are drawn on the CPU without it, which "
        "takes about 8 times as long. Run `pip install numba`, or set the environment variable "
        "JAXRENDER_NUMBA=0 if that is what you want.",
        stacklevel=3,
    )


@functools.lru_cache(maxsize=256)
def _target_of(
    module: str, dtype: str, program: ShaderProgram | None, backward: bool
) -> tuple[str | None, tuple[int, ...]]:
    """The name under which XLA calls a kernel, or None where numba cannot be imported.

    And the key of its program, if it has one.
    """
    from jaxrender.ops.cpu.calls import target_of

    try:
        if program is None:
            return target_of(module, dtype), ()
        from jaxrender.ops.cpu.programs import key_of

        key = key_of(program, backward)
        return target_of(module, dtype, key), (key,)
    except ImportError as error:  # as where numba wants another numpy
        _warn_without_numba(str(error))
        return None, ()


@functools.cache
def _call() -> Any:
    """The primitive that all kernels are; made late, as what it needs takes time to import."""
    from jax.core import ShapedArray
    from jax.extend.core import Primitive
    from jax.interpreters import mlir

    call = Primitive("jaxrender_kernel")
    call.multiple_results = True

    run_outside_jit(call)

    @call.def_abstract_eval
    def call_shapes(*arrays: Any, results: tuple[Shape, ...], **params: Any) -> list[ShapedArray]:
        return [ShapedArray(shape, dtype) for shape, dtype in results]

    def lower_plainly(ctx: Any, *arrays: Any, kernel: Kernel, **params: Any) -> Any:
        plain = functools.partial(kernel.otherwise, **params)
        return mlir.lower_fun(plain, multiple_results=True)(ctx, *arrays)

    def lower_on_cpu(ctx: Any, *arrays: Any, kernel: Kernel, results: Any, options: Any) -> Any:
        # A program that leaves this process cannot take the kernel along.
        target, key = None, ()
        if not ctx.module_context.lowering_parameters.for_export and _find_numba():
            dtype, program = str(ctx.avals_in[0].dtype), kernel.program
            target, key = _target_of(kernel.module, dtype, program, kernel.backward)
        if target is None:
            return lower_plainly(ctx, *arrays, kernel=kernel, results=results, options=options)
        import numpy as np

        options = np.array([*options, *key], np.int64)
        return jax.ffi.ffi_lowering(target)(ctx, *arrays, options=options)

    mlir.register_lowering(call, lower_plainly)
    mlir.register_lowering(call, lower_on_cpu, platform="cpu")
    return call
