"""What is no array, in words."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


def as_array(name: str, value: Any, dtype: DTypeLike | None = None) -> jax.Array:
    """Returns `value` as an array of real numbers or bools, of any shape.

    Raises:
        ValueError: it is none.
    """
    try:
        if value is None or np.iscomplexobj(value):
            raise TypeError
        return jnp.asarray(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"`{name}` must be an array of real numbers, got {description(value)}."
        ) from error


def float_dtype(values: Any) -> np.dtype:
    """The dtype of an array of floats, and of whole numbers JAX's default float type."""
    dtype = jnp.result_type(values)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)


def description(value: Any) -> str:
    """What came that no array can be made of."""
    if isinstance(value, int):
        return f"{value}, which no integer of JAX holds"
    if not isinstance(value, list | tuple):
        return type(value).__name__
    try:
        kinds = {type(item).__name__ for item in np.array(value, object).reshape(-1)}
    except ValueError:
        return "rows of different lengths"
    lists = kinds & {"list", "tuple"}
    odd = kinds - {"int", "float", "bool"} - lists
    if lists:
        return "rows of different lengths"
    return f"a list that holds {min(odd)}" if odd else "numbers that no integer of JAX holds"
