"""Faulty files, see `mutations.py`: a right mesh or picture, or an error that names the file."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mutations import PICTURES, SECRET, SUFFIXES, Mutant, mutant
from PIL import Image

import jaxrender as jr

SECONDS = 20
SLACK = 50e6  # bytes, beside ten times the files and their pictures
opened: list[str] = []  # by the file that is being read


def _note(event: str, args: tuple) -> None:
    if event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], str | bytes | Path):
        opened.append(os.fsdecode(args[0]))


@pytest.fixture(scope="module", autouse=True)
def audit():
    """Notes what is opened; a hook cannot be taken away again."""
    sys.addaudithook(_note)


def memory(peak: bool) -> int:
    """Bytes that the process has in memory, now or at most since `forget_peak`; 0 if unknown."""
    with contextlib.suppress(OSError, StopIteration):
        word = "VmHWM" if peak else "VmRSS"
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(word)).split()[1]) * 1024
    return 0


def forget_peak() -> int:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return memory(peak=False)
    return 0


def allowance(files: dict[str, bytes]) -> float:
    """Ten times the files and the pictures that can be decoded, and some more."""
    total = sum(map(len, files.values()))
    for data in files.values():
        with contextlib.suppress(Exception), Image.open(io.BytesIO(data)) as picture:
            picture.load()
            total += picture.width * picture.height * len(picture.getbands())
    return 10 * total + SLACK


def assert_right(result) -> None:
    """A mesh that can be drawn, or a picture."""
    for leaf in jax.tree.leaves(result):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert np.isfinite(leaf).all()
    if isinstance(result, jr.Mesh):
        # Take its points through the doors, as `render` does.
        jr.subdivide(result, 0) if result.material is None else jr.pad_meshes([result])
        assert result.faces.shape[0] > 0
        assert result.faces.shape[1] == 3
    else:
        assert result.ndim == 3
        assert result.size


def read(made: Mutant, folder: Path) -> str:
    """Reads it, within its folder; returns "right" or the words of the error."""
    path = made.write(folder)
    before, began = forget_peak(), time.process_time()
    opened.clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)
            if path.suffix in PICTURES:
                result = jr.io.load_image(path)
            else:
                result = jr.load_mesh(path, within_folder=True)
        told = "right"
    except ValueError as error:
        told, result = str(error), None
        assert path.name in told, told
    grown = memory(peak=True) - before if before else 0
    outside = [name for name in opened if f"{os.sep}{SECRET}" in os.path.realpath(name)]
    assert not outside, f"{outside} read, which lies outside of the folder"
    assert time.process_time() - began < SECONDS
    assert grown < allowance(made.files), f"{grown / 1e6:.0f} MB"
    if result is not None:
        assert_right(result)
    return told


def read_all(suffix: str, seeds: range, folder: Path) -> dict[str, int]:
    """Reads so many, and counts what came of it."""
    counts = {"right": 0, "refused": 0}
    for seed in seeds:
        made = mutant(suffix, seed)
        try:
            told = read(made, folder)
        except Exception as error:
            error.add_note(f"mutant({suffix!r}, {seed}) is wrong: {made.name}")
            raise
        counts["right" if told == "right" else "refused"] += 1
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_some(suffix, tmp_path):
    read_all(suffix, range(7), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many(suffix, tmp_path):
    counts = read_all(suffix, range(7, 350), tmp_path)
    assert min(counts.values()) > 10


def test_the_same_seed_makes_the_same_file():
    assert all(mutant(suffix, 3) == mutant(suffix, 3) for suffix in SUFFIXES)
    assert mutant(".obj", 3) != mutant(".obj", 4)
