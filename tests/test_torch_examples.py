"""The scripts for PyTorch run and arrive. Needs it: `make test-torch`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

pytest.importorskip("torch")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "pytorch"
pytestmark = pytest.mark.torch


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


def test_triangle(script):
    picture = script("triangle").main(["--size", "33"])
    assert picture.shape == (33, 33, 3)
    assert picture[0].max() == 0
    for (row, column), channel in {(27, 6): 0, (27, 26): 1, (7, 16): 2}.items():
        assert picture[row, column].argmax() == channel


def test_cube(script):
    before, after = script("cube").main(["--steps", "250", "--views", "6"])
    assert after < 0.2 * before


def test_pose(script):
    before, after = script("pose").main(["--steps", "100", "--resolution", "32"])
    assert before > 10
    assert after < 1
