"""That every file of the golden data is compared is seen to by `conftest.py`; here that itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import conftest
import numpy as np
import pytest


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Golden data: two files of arrays, and one that names another, which names a third."""
    tmp_path = tmp_path / "data" / "golden"
    tmp_path.mkdir(parents=True)
    np.savez(tmp_path / "one.npz", a=np.zeros(1))
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    (tmp_path / "meshes" / "images").mkdir(parents=True)
    (tmp_path / "meshes" / "m.obj").write_text("mtllib m.mtl\nv 0 0 0\n")
    (tmp_path / "meshes" / "m.mtl").write_text("newmtl a\nmap_Kd ./images/t.png\n")
    (tmp_path / "meshes" / "images" / "t.png").write_bytes(b"")
    (tmp_path / "README.md").write_text("not data")
    monkeypatch.setattr(conftest, "SHARED", tmp_path.parent)
    monkeypatch.setattr(conftest, "COPIED", tmp_path / "nowhere")
    return tmp_path


def test_files_that_no_test_opens(data):
    golden = conftest.Data("golden")
    assert golden.glob("*.npz") == ["one.npz", "two.npz"]
    assert golden.glob("*.npz", "b") == ["two.npz"]
    assert len(conftest.unopened_files(golden.opened)) == 5  # to list files is not to open them
    golden("two.npz")
    assert golden.path("meshes/m.obj") == data / "meshes" / "m.obj"
    assert conftest.unopened_files(golden.opened) == ["one.npz"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "code"), [(["-n", "0"], 1), (["-n", "2"], 1), (["-n", "0", "test_two.py"], 0)]
)
def test_a_whole_run_fails(data, options, code):
    """Of two files of tests, which leave one file of data out, in one process and in several."""
    tests = data.parent / "tests"
    tests.mkdir()
    for name, opened in (("one", "two.npz"), ("two", "meshes/m.obj")):
        text = f"def test_{name}(golden):\n    golden.path({opened!r})\n"
        (tests / f"test_{name}.py").write_text(text)
    source = Path(conftest.__file__).read_text()
    source = source.replace('REPO.parent / "shared"', f"Path({str(data.parent)!r})")
    (tests / "conftest.py").write_text(source)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=tests,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stdout + run.stderr
    assert ("no test compares one.npz" in run.stdout) == bool(code)
    assert "two.npz" not in run.stdout
