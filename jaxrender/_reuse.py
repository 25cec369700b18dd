"""Compiled programs that serve again: whether a function is the same as one met before.

`jax.jit` knows a function by its identity, so it neither knows one that was defined again, nor sees
that a variable which the same one reads has changed. `key_of` follows what a function reads: its
code, its defaults, its closure, the globals it names, and the functions among these. It gives up
on what may change unseen.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import numpy as np

T = TypeVar("T")

# What these define does not change.
LIBRARIES = {"jax", "jaxlib", "jaxrender", "numpy", "optax", "chex", "math", "functools"}
PLAIN = (enum.Enum, bool, int, str, bytes, type(None), type(Ellipsis), range, np.dtype)
ROUNDED = (float, complex, np.generic)  # whose equality does not tell 0 from -0
MOST = 4  # programs that are kept, with all that they close over


class Unknown(Exception):
    """A value may change without its key."""


class _Same:
    """A value that equals itself alone, and is kept as long as its key."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


def key_of(value: Any, met: dict[int, int] | None = None) -> Hashable:
    """A key that is equal for values that behave the same.

    Args:
        value: a function, or what one reads.
        met: the functions met on the way, by identity, and their numbers.

    Raises:
        Unknown: there is none, since the value may change, or is not understood.
    """
    deeper = functools.partial(key_of, met={} if met is None else met)
    kind = type(value)
    if isinstance(value, ROUNDED):
        return kind, repr(value)
    if isinstance(value, PLAIN):
        return kind, value
    if isinstance(value, jax.Array):
        return _Same(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        held = np.ascontiguousarray(value)
        return value.shape, value.dtype, hashlib.sha256(held.tobytes()).digest()
    if isinstance(value, tuple | list):
        return kind, *map(deeper, value)
    if isinstance(value, dict):
        return kind, *((deeper(name), deeper(part)) for name, part in value.items())
    if isinstance(value, functools.partial):
        return kind, *map(deeper, (value.func, value.args, value.keywords))
    if isinstance(value, types.MethodType):
        return kind, deeper(value.__func__), deeper(value.__self__)
    if isinstance(value, types.FunctionType):
        return _key_of_function(value, deeper)
    if kind.__name__ == "PjitFunction":
        return kind, deeper(getattr(value, "__wrapped__"))  # noqa: B009
    if not (_is_of_library(value) or _is_built_in(value)):
        raise Unknown
    if dataclasses.is_dataclass(kind) and getattr(kind, "__dataclass_params__").frozen:  # noqa: B009
        return kind, *(deeper(getattr(value, part.name)) for part in dataclasses.fields(kind))
    if callable(value) or kind is types.ModuleType:
        return _Same(value)
    raise Unknown


def _is_built_in(value: Any) -> bool:
    """Whether this is a class or a function of Python's own, bound to nothing that changes."""
    if isinstance(value, type):
        return value.__module__ == "builtins"
    owner = getattr(value, "__self__", None)
    bound = not (owner is None or isinstance(owner, types.ModuleType))
    return isinstance(value, types.BuiltinFunctionType) and not bound


def _is_of_library(value: Any) -> bool:
    if isinstance(value, types.FunctionType):
        name = value.__globals__.get("__name__")
    elif isinstance(value, types.ModuleType):
        name = value.__name__
    else:
        name = getattr(value, "__module__", None) or type(value).__module__
    return isinstance(name, str) and name.split(".")[0] in LIBRARIES


def _key_of_function(function: types.FunctionType, deeper: Any) -> Hashable:
    """That of a function: its code, and all that it reads besides its arguments."""
    met = deeper.keywords["met"]
    if id(function) in met:
        return "met", met[id(function)]
    met[id(function)] = len(met)
    try:
        held = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError as error:  # a variable that has no value yet
        raise Unknown from error
    key = function.__code__, *map(deeper, (function.__defaults__, function.__kwdefaults__, held))
    if _is_of_library(function):
        return key

    # Follow the globals that it names, and, of modules that are no library, their attributes.
    names = sorted(_names_of(function.__code__))
    for name in names:
        if name not in function.__globals__:
            continue
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType) and not _is_of_library(value):
            inside = [part for part in names if part in vars(value)]
            key += name, _Same(value), *(deeper(vars(value)[part]) for part in inside)
        else:
            key += name, deeper(value)
    return key


def _names_of(code: types.CodeType) -> set[str]:
    """The names that code reads, that of functions inside of it too."""
    inner = (part for part in code.co_consts if isinstance(part, types.CodeType))
    return set(code.co_names).union(*map(_names_of, inner))


class Reused:
    """Calls a function that makes programs, and keeps what it made last, by its arguments' keys."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make
        self.kept: OrderedDict[Hashable, Any] = OrderedDict()
        self.lock = threading.Lock()
        functools.update_wrapper(self, make)

    def __call__(self, *args: Any) -> Any:
        try:
            key = tuple(map(key_of, args))
        except (Unknown, RecursionError):
            return self.make(*args)
        with self.lock:
            if key not in self.kept:
                self.kept[key] = self.make(*args)
            self.kept.move_to_end(key)
            while len(self.kept) > MOST:
                self.kept.popitem(last=False)
            return self.kept[key]
