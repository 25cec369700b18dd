"""The benchmarks run and write what they say; no test asserts a time."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scenes

REPO = Path(__file__).resolve().parent.parent

CONTESTS = {
    "hard": {"hard", "hard, depth"},
    "nmr": {"nmr, alpha", "nmr, rgb 2x2, grad", "nmr, fitting step"},
    "soft": {"soft, alpha", "soft, rgb, grad"},
    "views": {"views, soft"},
}


@pytest.mark.parametrize("task", CONTESTS)
def test_quick_run_writes_a_record(task, tmp_path):
    path = tmp_path / "results" / f"{task}.json"
    command = [sys.executable, "-m", "benchmarks", task, "--quick", "--json", str(path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    record = json.loads(path.read_text())
    assert {"date", "cpu", "cores", "devices", "versions", "results"} <= record.keys()
    ours = [result for result in record["results"] if result["who"] == "jaxrender"]
    with_optax = importlib.util.find_spec("optax") is not None
    expected = CONTESTS[task] - (set() if with_optax else {"nmr, fitting step"})
    assert {result["task"] for result in ours} == expected
    assert {result["views"] for result in ours} == {1, 2}
    for result in ours:
        assert result["median_ms"] >= result["min_ms"] > 0
        assert result["scene"] in done.stdout

    # The C++ peer sees what we see, and finds the same gradient, up to ties and rounding at edges.
    theirs = [result for result in record["results"] if result["who"] != "jaxrender"]
    assert {result["task"] for result in theirs} == expected - {"nmr, fitting step"}
    for result in theirs:
        if shutil.which("g++"):
            assert result["agreement"] > 0.99, result
            assert result["ratio"] > 0
        else:
            assert result["detail"] == "absent: g++ is not installed"


def test_unknown_task_is_an_error():
    command = [sys.executable, "-m", "benchmarks", "sculpt"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no task sculpt; there is hard, nmr, soft, views" in done.stderr


@pytest.mark.parametrize("subdivisions", [0, 2])
def test_scenes_lie_in_the_picture(subdivisions):
    scene = scenes.sphere(subdivisions, 64, views=3)
    assert scene.faces.shape == (20 * 4**subdivisions, 3)
    assert scene.vertices.shape == (3, 10 * 4**subdivisions + 2, 3)
    assert np.abs(scene.vertices[..., :2]).max() < 1
    assert scene.vertices[..., 2].min() > scenes.NEAR


def test_crowded_scene_lies_in_a_square_of_16_pixels():
    scene = scenes.crowded(128)
    extent = np.ptp(scene.vertices[..., :2], axis=(0, 1)) * 128 / 2
    np.testing.assert_allclose(extent, 16, rtol=1e-4)
