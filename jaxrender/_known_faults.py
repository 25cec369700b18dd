"""Releases of jax with which results are wrong."""

from __future__ import annotations

import warnings

import jax

WRONG = {"0.10.2": "it miscompiles batched products of small matrices on a CPU"}


def warn_of_jax(version: str = jax.__version__) -> None:
    """Warns where this release of jax is known to be wrong; starts no backend."""
    if version in WRONG:
        warnings.warn(
            f"jax {version} gives wrong results: {WRONG[version]}. Install another one: "
            "pip install -U jax",
            stacklevel=3,
        )
