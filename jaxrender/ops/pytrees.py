"""Structs: frozen dataclasses that `jax.jit`, `jax.grad` and `jax.vmap` pass through."""

from __future__ import annotations

import dataclasses
import sys
import weakref
from collections.abc import Iterable
from typing import Any, TypeVar, dataclass_transform

import jax
from jax.core import Tracer

T = TypeVar("T")

_structs: weakref.WeakSet[type] = weakref.WeakSet()


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def struct(cls: type[T]) -> type[T]:
    """Makes a class a frozen dataclass and a pytree; see `static` and `variant` for its fields.

    Textures, camera models and visibility gradients of one's own are structs.

    Args:
        cls: a class whose annotated fields are arrays, or other pytrees.

    Returns:
        The class.

    Example:
        >>> import jax, jaxrender as jr
        >>> @jr.struct
        ... class Ball:
        ...     radius: jax.Array
        ...     name: str = jr.static(default="ball")
        >>> jax.tree.map(lambda x: 2 * x, Ball(1.5))
        Ball(radius=3.0)
    """
    if cls in _structs:
        return cls  # its base class makes structs of its subclasses
    _structs.add(cls)
    own = "__repr__" in vars(cls)
    made: Any = dataclasses.dataclass(frozen=True, repr=False)(cls)  # Any: pyright sees none here
    if not own:
        made.__repr__ = _in_one_line
    fields = dataclasses.fields(made)
    fixed = [field.name for field in fields if field.metadata.get("static")]
    traced = [field.name for field in fields if field.name not in fixed]
    variants = {field.name for field in fields if field.metadata.get("variant")}

    def flatten(node: T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values, chosen = [], []
        for name in traced:
            value = getattr(node, name)
            named = name in variants and is_named(value)
            values.append(None if named else value)
            chosen.append(value if named else None)
        return tuple(values), (tuple(getattr(node, name) for name in fixed), tuple(chosen))

    def flatten_with_keys(node: T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values, rest = flatten(node)
        return tuple(zip(map(jax.tree_util.GetAttrKey, traced), values, strict=True)), rest

    def unflatten(rest: tuple[Any, ...], values: Iterable[Any]) -> T:
        settings, chosen = rest
        given = [v if c is None else c for v, c in zip(values, chosen, strict=True)]
        return made(**dict(zip((*traced, *fixed), (*given, *settings), strict=True)))

    # Not `register_dataclass`: since 0.10.0, jax compares the structures of dataclasses without
    # their classes, so that jit now and then takes the program of an alike struct.
    jax.tree_util.register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)
    return made


def _in_one_line(node: Any) -> str:
    """A struct as text: its arrays by dtype and shape, what has its default left out."""
    parts = []
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if field.default is not dataclasses.MISSING and value is field.default:
            continue
        parts.append(f"{field.name}={_as_text(value)}")
    return f"{type(node).__name__}({', '.join(parts)})"


def _as_text(value: Any) -> str:
    names = getattr(value, "_fields", None) if isinstance(value, tuple) else None
    if names is not None:
        named = zip(names, map(_as_text, value), strict=True)
        return f"{type(value).__name__}({', '.join(f'{name}={text}' for name, text in named)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_as_text, value))}{',' * (len(value) == 1)})"
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple):
        return repr(value)
    if shape or isinstance(value, Tracer):
        return f"{value.dtype}{list(shape)}"
    return f"{value:.6g}" if jax.numpy.issubdtype(value.dtype, jax.numpy.floating) else str(value)


def structs_of(package: str) -> dict[str, type]:
    """The structs that the modules of a package hold, by their names."""
    inside = (cls for cls in _structs if cls.__module__.startswith(f"{package}."))
    # Leave out what only says that it is of such a module: a class of a docstring's example.
    return {
        cls.__name__: cls
        for cls in inside
        if getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls
    }


def static(**kwargs: Any) -> Any:
    """A field of a `struct` that is part of the traced program, not an input of it; hashable.

    Args:
        **kwargs: as of `dataclasses.field`, for example `default`.

    Returns:
        The field.

    Example:
        >>> import jaxrender as jr
        >>> @jr.struct
        ... class Named:
        ...     name: str = jr.static(default="nobody")
        >>> Named().name
        'nobody'
    """
    return dataclasses.field(metadata={"static": True}, **kwargs)


def variant(**kwargs: Any) -> Any:
    """A field of a `struct` that holds one of several ways to do a thing.

    A name or a function is part of the traced program; of a struct the arrays are inputs of it.
    """
    return dataclasses.field(metadata={"variant": True}, **kwargs)


def is_named(value: Any) -> bool:
    """Whether a variant is a name or a function, not a pytree."""
    return isinstance(value, str) or (callable(value) and jax.tree_util.all_leaves([value]))
