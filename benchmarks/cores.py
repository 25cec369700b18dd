"""`python -m benchmarks.cores`: what all cores gain over one, beside C++ that runs on each.

Timed in turns, of which the least counts: depths by one thread and by all (`JAXRENDER_THREADS`),
and the z-buffer in C++ once, then as often as there are cores, side by side and each with memory of
its own. That is what this machine can gain just then: cores share their memory, and others' work.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import jax

from benchmarks import scenes
from benchmarks.hard import depths_of
from benchmarks.native import zbuffer
from benchmarks.scenes import Scene

AIMS = ((64, 256, 0.85), (1, 2048, 0.75))  # views, size, and what share of that gain is the aim


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cores", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args(argv)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores; ms by one and by all, and the gain")
    for views, size, aim in AIMS:
        scene = scenes.sphere(4, size, views)
        least = _least(scene, cores or 1, options.rounds)
        ours, theirs = (
            least["one thread"] / least["all threads"],
            (cores or 1) * least["C++"] / least["C++ on each core"],
        )
        times = ", ".join(f"{name} {1e3 * seconds:.2f}" for name, seconds in least.items())
        share = f"{ours:.2f} of {theirs:.2f}: {ours / theirs:.0%} (aim {aim:.0%})"
        print(f"{scene.name}: {times}; {share}", flush=True)
    return 0


def _least(scene: Scene, cores: int, rounds: int) -> dict[str, float]:
    """The least seconds that each way took."""
    args = jax.device_put((scene.vertices, scene.faces))
    one, every = (_program(scene, args, threads) for threads in ("1", ""))
    drawers = [zbuffer(scene).draw for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        ways: dict[str, Callable[[], Any]] = {
            "one thread": one,
            "all threads": every,
            "C++": drawers[0],
            # A call of C lets other threads of Python run.
            "C++ on each core": lambda: list(pool.map(lambda draw: draw(), drawers)),
        }
        least = dict.fromkeys(ways, float("inf"))
        for name, seconds in _timed(ways, rounds):
            least[name] = min(least[name], seconds)
    return least


def _timed(ways: dict[str, Callable[[], Any]], rounds: int) -> Iterator[tuple[str, float]]:
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:  # the first finds its memory
                yield name, time.perf_counter() - start


def _program(scene: Scene, args: Any, threads: str) -> Callable[[], Any]:
    """What draws depths with so many threads, or with all."""
    # The setting is read when a program is traced.
    with mock.patch.dict(os.environ, JAXRENDER_THREADS=threads):
        jax.clear_caches()
        program = jax.jit(depths_of(scene)).lower(*args).compile()
    return lambda: jax.block_until_ready(program(*args))


if __name__ == "__main__":
    sys.exit(main())
