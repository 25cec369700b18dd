"""Kernels as operations of JAX: compiled or found on disk, and registered with XLA."""

from __future__ import annotations

import ctypes
import functools
import importlib
import threading
from typing import Any

import jax


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

    from jaxrender.ops.cpu import objects

    target = f"jaxrender_{kernel}_{dtype}"
    own_address = _own_addresses.setdefault(target, ctypes.c_int64(0))
    llvmlite.binding.add_symbol(target, ctypes.addressof(own_address))

    def function() -> Any:
        module = importlib.import_module(f"jaxrender.ops.cpu.{kernel}")
        return module.entry(np.dtype(dtype).type, target)

    own_address.value = objects.load(target, function)
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype = ctypes.py_object
    capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    jax.ffi.register_ffi_target(
        target, capsule(own_address.value, None, None), platform="cpu", api_version=1
    )
    return target


_own_addresses: dict[str, ctypes.c_int64] = {}  # of compiled functions, where they find it
