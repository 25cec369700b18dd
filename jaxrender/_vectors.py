"""Vectors of length 1, and a gradient of 0 where there is none."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Vectors shorter than this have no direction.
NO_LENGTH = 1e-12

Vector = tuple[jax.Array, jax.Array, jax.Array]  # components x, y, z


def unit(vectors: jax.Array, floor: float = NO_LENGTH) -> jax.Array:
    """Vectors `[..., 3]` of length 1; those shorter than `floor` become 0, with gradient 0."""
    return jnp.stack(unit3((vectors[..., 0], vectors[..., 1], vectors[..., 2]), floor), -1)


def unit3(vector: Vector, floor: float = NO_LENGTH) -> Vector:
    """The same, of components: XLA on CPU vectorises these, but not short last axes."""
    # Scale by the largest component, so that no square overflows or vanishes.
    x, y, z = vector
    size = jnp.maximum(jnp.maximum(jnp.abs(x), jnp.abs(y)), jnp.abs(z))
    size = jax.lax.stop_gradient(size)
    long = size > floor
    scale = 1 / jnp.where(long, size, 1)
    x, y, z = (jnp.where(long, part * scale, 1) for part in (x, y, z))

    # Divide by the length, which now is at least 1.
    inverse = 1 / jnp.sqrt(x * x + y * y + z * z)
    x, y, z = (jnp.where(long, part * inverse, 0) for part in (x, y, z))
    return x, y, z
