"""`python -m benchmarks.loading`: how long `load_mesh` takes, and trimesh on the same files.

A height field of a million faces is written by trimesh in each format; both then read it in turn,
and the least time of each counts. Ours are arrays of JAX at the end.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxrender as jr

FORMATS = ("obj", "ply", "glb")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    how = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser("benchmarks.loading", description=__doc__, formatter_class=how)
    parser.add_argument("--faces", type=int, default=1_000_000, metavar="N", help="of the mesh")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="the least of so many")
    options = parser.parse_args(argv)
    trimesh = importlib.import_module("trimesh")
    print(f"{'format':8} {'ours: CPU s':>12} {'wall s':>8} {'trimesh: CPU s':>15} {'wall s':>8}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mesh = trimesh.Trimesh(*height_field(options.faces), process=False)
        for suffix in FORMATS:
            path = Path(folder) / f"a.{suffix}"
            mesh.export(path)
            readers = [
                lambda path=path: jax.block_until_ready(jr.load_mesh(path).vertices),
                lambda path=path: trimesh.load(path, process=False),
            ]
            rounds = [[_time(read) for read in readers] for _ in range(options.rounds)]
            (cpu, wall), (cpu_theirs, wall_theirs) = np.min(rounds, axis=0)
            theirs = f"{cpu_theirs:15.3f} {wall_theirs:8.3f}"
            print(f"{suffix:8} {cpu:12.3f} {wall:8.3f} {theirs}", flush=True)
    return 0


def height_field(faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `[V, 3]` float32 of a wavy square, and so many faces `[F, 3]`."""
    side = int(np.ceil(np.sqrt(faces / 2)))
    x, y = np.meshgrid(*[np.linspace(0, 1, side + 1)] * 2)
    vertices = np.stack([x, y, np.sin(9 * x) * np.cos(7 * y)], axis=-1).reshape(-1, 3)
    corner = (np.arange(side)[:, None] * (side + 1) + np.arange(side)).reshape(-1)
    upper, lower = (0, 1, side + 2), (0, side + 2, side + 1)
    both = np.concatenate([corner[:, None] + np.array(part) for part in (upper, lower)])
    return vertices.astype(np.float32), both[:faces]


def _time(read: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of all CPUs, and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    read()
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    raise SystemExit(main())
