"""The examples: each runs, scaled down, and reaches what it is about."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from imageio.v3 import imread

import jaxrender as jr

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TRUTH = np.asarray(jr.points_from_angles(2.732, 30.0, -15.0))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frames(path: Path) -> np.ndarray:
    return np.asarray(imread(path, index=None))


def test_nmr_1_turntable(tmp_path):
    path = tmp_path / "new" / "folder" / "turn.gif"
    load("nmr_1_turntable").main(4, 32, path)
    turn = frames(path)
    assert turn.shape == (4, 32, 32, 3)
    assert ((turn > 50).mean((1, 2, 3)) > 0.05).all()
    assert (turn[0] != turn[1]).any()


def test_nmr_2_vertices(tmp_path):
    """The outline fills the square that it covered a part of."""
    found = load("nmr_2_vertices").main(200, 40, tmp_path / "fit.gif")
    assert found.best_loss < 0.03 * found.losses[0]
    assert 30 < len(frames(tmp_path / "fit.gif")) <= len(found.snapshots) + 30


def test_nmr_3_textures(tmp_path):
    found = load("nmr_3_textures").main(60, 40, tmp_path / "paint.gif")
    assert found.losses[-10:].mean() < 0.1 * found.losses[:5].mean()
    # Its first view shows the stripes, from the second on (the lid's knob ends below the first).
    module = load("nmr_3_textures")
    picture = np.asarray(module.striped_picture(40))
    turn = frames(tmp_path / "paint.gif")[0] / 255
    assert np.median(np.abs(turn - picture)[turn.max(-1) > 0]) < 0.1


@pytest.mark.parametrize("size", [64])
def test_nmr_4_camera(tmp_path, size):
    found = load("nmr_4_camera").main(250, size, tmp_path / "search.gif")
    assert found.stopped
    assert found.best_loss < 70 * (size / 256) ** 2
    eye = np.asarray(found.params)
    cosine = eye @ TRUTH / np.linalg.norm(eye) / np.linalg.norm(TRUTH)
    assert np.degrees(np.arccos(cosine)) < 4
    assert abs(np.linalg.norm(eye) - 2.732) < 0.1
