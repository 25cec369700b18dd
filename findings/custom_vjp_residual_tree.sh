#!/usr/bin/env bash
# jax 0.10.1 (and 0.12.0.1), `jax.custom_vjp` with `symbolic_zeros=True`, under an inner `jax.jit`.
#
# Guess: what the forward rule puts into its residuals comes back to the backward rule of the same
# differentiation; also a static node of their pytree, which records there what is perturbed.
# Seen: the ARRAYS do, but the residuals' TREE is that of whichever pattern of perturbed arguments was traced
# last. Traces of the forward rule are kept by pattern and reused, the tree is overwritten: after a gradient to
# `a` and `y`, then one to `y` alone, one to `x` and `y` (the first pattern again, by another way through the
# inner jit) gets the tree of the second, and a backward rule that believes it returns 0 for a gradient of 5.
# So carry such facts in the residual arrays, as the shape of an empty one, say.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'jax==0.10.1' 'numpy==2.2.6' 2>/dev/null
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import dataclasses
import sys

import jax
import jax.numpy as jnp


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Perturbed:
    x: bool
    y: bool


@jax.custom_vjp
def product(x, y):
    return x * y


def forward(x, y):
    return x.value * y.value, (x.value, y.value, Perturbed(x.perturbed, y.perturbed))


def backward(residuals, cotangent):
    x, y, perturbed = residuals
    d_x = cotangent * y if perturbed.x else jnp.zeros_like(x)
    d_y = cotangent * x if perturbed.y else jnp.zeros_like(y)
    return d_x, d_y


product.defvjp(forward, backward, symbolic_zeros=True)


@jax.jit
def moved_product(a, x, y):
    return product(x + a, y)


seen = []
for wanted in ((0, 2), (2,), (1, 2)):
    gradient = jax.grad(moved_product, wanted)(1.0, 2.0, 5.0)
    seen.append([float(part) for part in gradient])
    print(f"to {', '.join('axy'[k] for k in wanted)}: {seen[-1]}")
# Printed on 2026-11-29:
#   to a, y: [5.0, 3.0]
#   to y: [3.0]
#   to x, y: [0.0, 3.0]
sys.exit(seen != [[5.0, 3.0], [3.0], [0.0, 3.0]])
PYTHON
