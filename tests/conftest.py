"""What all tests share: strict rank promotion, the golden data, x64 on request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

REPO = Path(__file__).resolve().parent.parent
COPIED = REPO / "tests"  # the part of the data that travels with the repository
SHARED = REPO.parent / "shared"  # all of it, beside the checkout


class Data:
    """Finds files in a folder of `tests`, or of `../shared`; see the README there."""

    def __init__(self, folder: str) -> None:
        self.folders = (COPIED / folder, SHARED / folder)

    def path(self, name: str) -> Path:
        """The file's path; skips the test where it is absent (in CI that is a failure)."""
        for folder in self.folders:
            if (folder / name).exists():
                return folder / name
        reason = f"{name} is not here: it lies in {self.folders[1]}, beside the checkout"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    def glob(self, pattern: str) -> list[Path]:
        """All files that match, by name; skips or fails like `path` where there are none."""
        found = {path.name: path for folder in self.folders[::-1] for path in folder.glob(pattern)}
        return [found[name] for name in sorted(found)] or [self.path(pattern)]

    def __call__(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of one `.npz` file."""
        with np.load(self.path(name)) as arrays:
            return dict(arrays)


@pytest.fixture(scope="session")
def golden() -> Data:
    """Reference data of the ancestors."""
    return Data("golden")


@pytest.fixture(scope="session")
def cases() -> Data:
    """Files as real programs write them, and the right pictures of some."""
    return Data("cases")


@pytest.fixture
def x64() -> Iterator[None]:
    """Runs the test in float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
