"""Structs: frozen dataclasses that `jax.jit`, `jax.grad` and `jax.vmap` pass through."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def struct(cls: type[T]) -> type[T]:
    """Makes a class a frozen dataclass and a pytree; see `static` for untraced fields."""
    made: Any = dataclasses.dataclass(frozen=True)(cls)  # Any: pyright sees no dataclass here
    fields = dataclasses.fields(made)
    traced = [field.name for field in fields if not field.metadata.get("static")]
    fixed = [field.name for field in fields if field.metadata.get("static")]

    def flatten(node: T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple([getattr(node, n) for n in traced]), tuple([getattr(node, n) for n in fixed])

    def flatten_with_keys(node: T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values, rest = flatten(node)
        return tuple(zip(map(jax.tree_util.GetAttrKey, traced), values, strict=True)), rest

    def unflatten(rest: tuple[Any, ...], values: Iterable[Any]) -> T:
        return made(**dict(zip((*traced, *fixed), (*values, *rest), strict=True)))

    # Not `register_dataclass`: since 0.10.0, jax compares the structures of dataclasses without
    # their classes, so that jit now and then takes the program of an alike struct.
    jax.tree_util.register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)
    return made


def static(**kwargs: Any) -> Any:
    """A struct field that is part of the traced program, not an input of it; hashable."""
    return dataclasses.field(metadata={"static": True}, **kwargs)
