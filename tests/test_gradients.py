"""Gradients of sharp pictures beside differences of fine ones: `benchmarks.gradients`."""

from __future__ import annotations

import numpy as np
import pytest

import jaxrender as jr
from benchmarks import gradient_scenes, gradients

SIZE, FINE, SAMPLES = 32, 16, 4
EDGE, ANTIALIAS = jr.Hard("edge"), jr.Hard("antialias")


def figures(make, *ways):
    """Cosine and length of the gradients to a pose."""
    scene = make()
    motions = scene.motions()["pose"]
    right, error = gradients.truth(scene, "pose", FINE, SIZE)
    assert error < 0.02
    found = (gradients.slope_by(scene, way, SAMPLES, SIZE) * motions for way in ways)
    return [gradients.compare(slopes.sum((1, 2)), right) for slopes in found]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("make", "ways", "within"),
    [
        (gradient_scenes.cube, (EDGE, ANTIALIAS), 0.1),
        (gradient_scenes.blades, (EDGE,), 0.15),
        (gradient_scenes.sharp_box, (EDGE,), 0.1),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_main_figures(x64, make, ways, within):
    for cosine, length in figures(make, *ways):
        assert cosine >= 0.98
        assert abs(length - 1) <= within


def test_tables():
    """They have a row for each scene, and numbers that are read at a glance."""
    row = {"pose": (0.98765, 1.234), "x": (-1.0, 12.345), "vertex": (-0.5, 123.4)}
    result = {
        "errors": dict.fromkeys(row, 0.00123),
        "ways": {name: {**row, "inside": 0.25} for name in gradients.WAYS},
    }
    told = gradients.tables({"a cube": result})
    assert told.count("| a cube |") == 4
    result["errors"]["x"] = 0.06
    assert "| a cube | – | –" in gradients.tables({"a cube": result})
    for cell in (".988 / 1.23", "| -12.35 |", "-.500 / 123", "| 25% |", "| 0.1% |"):
        assert cell in told


def test_motions():
    """Of the pose only what moves does; a turn leaves its middle."""
    scene = gradient_scenes.cube()
    pose, single = (scene.motions()[kind] for kind in ("pose", "vertex"))
    assert pose.shape == (6, *scene.mesh.vertices.shape)
    assert (pose[:, scene.moved == 0] == 0).all()
    np.testing.assert_allclose(pose[3:].sum(1), 0, atol=1e-5)
    assert single.shape == (3, *scene.mesh.vertices.shape)
    assert (np.abs(single).sum((0, 2)) > 0).sum() == 1
