"""What arrays vary over the devices of `jax.shard_map`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer


def match_varying_axes(values: Any, like: Any) -> Any:
    """`values` as they are, but varying over a device axis wherever an array of `like` does.

    Inside `jax.shard_map` a loop must begin with what varies if its results do, and so must both
    branches of a choice, and what an operation with a gradient of its own takes. A choice between
    equals says so, and compiles to nothing. Outside of all transformations nothing is done.
    """
    arrays = jax.tree.leaves(like)
    if not any(isinstance(array, Tracer) for array in arrays):
        return values
    firsts = [array.reshape(-1)[0] for array in arrays if array.size]
    zero = sum((first.astype(jnp.int32) * 0 for first in firsts), jnp.int32(0))
    return jax.tree.map(lambda array: lax.select(zero == 0, array, array), values)
