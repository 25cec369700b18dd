"""Kernels as operations of JAX: compiled, kept on disk, registered with XLA."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

HERE = Path(__file__).parent


def target_of(kernel: str, dtype: str) -> str:
    """The name under which XLA calls a kernel for a dtype, compiled and registered by then.

    Args:
        kernel: the module of this package that has its `entry`.
        dtype: "float32" or "float64".
    """
    # Let one thread in at a time: XLA refuses a name that another has just registered.
    with _registering:
        return _target_of(kernel, dtype)


_registering = threading.RLock()


@functools.cache
def _target_of(kernel: str, dtype: str) -> str:
    import llvmlite.binding
    import numpy as np

    target = f"jaxrender_{kernel}_{dtype}"
    module = importlib.import_module(f"jaxrender.ops.cpu.{kernel}")
    _name_symbols()
    own_address, name = _own_addresses.setdefault(target, ctypes.c_int64(0)), f"{target}_{_stamp()}"
    llvmlite.binding.add_symbol(name, ctypes.addressof(own_address))
    handler = _compile(module.entry(np.dtype(dtype).type, name))
    own_address.value = handler.address
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype = ctypes.py_object
    capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    jax.ffi.register_ffi_target(
        target, capsule(handler.address, None, None), platform="cpu", api_version=1
    )
    _handlers.append(handler)
    return target


_own_addresses: dict[str, ctypes.c_int64] = {}  # of compiled functions, where they find it
_handlers: list[Any] = []


@functools.cache
def _name_symbols() -> None:
    from jaxrender.ops.cpu.machine import name_symbols

    name_symbols()


@functools.cache
def _stamp() -> str:
    """What changes with the source of any kernel: numba looks at one file of it alone.

    As part of a name that a kernel uses it is part of what numba finds it by on disk.
    """
    sources = sorted(HERE.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


def _compile(function: Callable[[int], int]) -> Any:
    """Compiles a C function of one number; takes it from disk where it was kept there."""
    import numba

    cfunc: Any = numba.cfunc
    compiler = functools.partial(
        cfunc, numba.int64(numba.int64), nopython=True, error_model="numpy"
    )
    try:
        return compiler(cache=True)(function)
    except RuntimeError:  # no folder can be written
        return compiler()(function)
