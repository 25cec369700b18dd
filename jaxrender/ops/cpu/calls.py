"""Kernels as operations of JAX: compiled or found on disk, and registered with XLA."""

from __future__ import annotations

import ctypes
import functools
import importlib
import threading
from typing import Any

import jax


def target_of(kernel: str, dtype: str, key: int | None = None) -> str:
    """The name under which XLA calls a kernel for a dtype, compiled and registered by then.

    Args:
        kernel: the module of this package that has its `entry`.
        dtype: "float32" or "float64".
        key: of the program that it runs, if any. It has a name of its own: where the program is
            not there, as when XLA's code comes from another process, XLA says so.
    """
    # Let one thread in at a time: XLA refuses a name that another has just registered.
    with _registering:
        return _target_of(kernel, dtype, key)


_registering = threading.RLock()


@functools.cache
def _target_of(kernel: str, dtype: str, key: int | None) -> str:
    target = f"jaxrender_{kernel}_{dtype}"
    address = _address_of(kernel, dtype, target)
    if key is not None:
        target += f"_{key & (1 << 64) - 1:016x}"
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype = ctypes.py_object
    capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    jax.ffi.register_ffi_target(target, capsule(address, None, None), platform="cpu", api_version=1)
    return target


@functools.cache
def _address_of(kernel: str, dtype: str, target: str) -> int:
    """Where the kernel lies, which is brought into this process."""
    import llvmlite.binding
    import numpy as np

    from jaxrender.ops.cpu import objects

    own_address = _own_addresses.setdefault(target, ctypes.c_int64(0))
    llvmlite.binding.add_symbol(target, ctypes.addressof(own_address))

    def function() -> Any:
        module = importlib.import_module(f"jaxrender.ops.cpu.{kernel}")
        return module.entry(np.dtype(dtype).type, target)

    own_address.value = objects.load(target, function)
    return own_address.value


_own_addresses: dict[str, ctypes.c_int64] = {}  # of compiled functions, where they find it
