"""`python -m benchmarks`: runs the tasks named, prints one table, writes a JSON file and a plot."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax

import jaxrender as jr
from benchmarks.harness import Result, run
from benchmarks.roofline import limits
from benchmarks.timing import peak_rss_bytes

TASKS = ("hard", "nmr", "soft", "views")
PACKAGES = (
    *("jax", "jaxlib", "numpy", "numba", "optax", "mitsuba", "embreex", "open3d", "deodr"),
    *("pytorch3d", "torch", "jaxrenderer"),
)
COLUMNS = (
    f"{'task':20} {'scene':32} {'who':15} {'median ms':>10} {'min ms':>10} {'ours/theirs':>11} "
    f"{'trace s':>7} {'compile s':>9} {'memory MB':>9} {'temp. MB':>9} {'agreement':>10}"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    unknown = set(options.tasks) - set(TASKS)
    if unknown:
        parser.error(f"no task {', '.join(sorted(unknown))}; there is {', '.join(TASKS)}")
    if options.deterministic:
        # Before JAX has any device, or XLA has read them.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    about = _about()
    about["deterministic"] = options.deterministic
    print(f"{about['cpu']}, {about['cores']} cores; {', '.join(about['devices'])}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    print("\n" + COLUMNS)

    # Run the contests, a row at a time.
    results: list[Result] = []
    told: set[tuple[str, str]] = set()  # a peer that is absent is named once
    seconds = 0.1 if options.quick else 1.0
    for task in options.tasks or TASKS:
        module = importlib.import_module(f"benchmarks.{task}")
        for contest in module.contests(quick=options.quick, peers=options.peers):
            if options.scene not in contest.scene.name:
                continue
            how = {name: getattr(options, name) for name in ("profile", "roofline")}
            for result in run(contest, seconds=seconds, **how):
                results.append(result)
                absence = (result.who, result.detail)
                if result.median_ms is not None or absence not in told:
                    print(_row(result), flush=True)
                    told.add(absence)
                if result.stages:
                    parts = (f"{stage} {ms:.2f}" for stage, ms in result.stages.items())
                    print(f"{'':20} ms by stage: {', '.join(parts)}", flush=True)
                if result.work:
                    print(f"{'':20} {result.work}", flush=True)

    # Keep the record.
    about["peak_rss_bytes"] = peak_rss_bytes()
    if options.roofline:
        about["limits"] = dataclasses.asdict(limits())
    print(f"\nmost memory held by this process: {about['peak_rss_bytes'] / 1e6:,.0f} MB")
    if options.json:
        record = {**about, "results": [dataclasses.asdict(result) for result in results]}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=2) + "\n")
        print(options.json)
    if options.plot:
        from benchmarks.plot import save_plot

        save_plot(options.plot, results, f"{about['cpu']}, jax {about['versions']['jax']}")
        print(options.plot)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    option = parser.add_argument
    option("tasks", nargs="*", metavar="TASK", help=f"any of {', '.join(TASKS)}; all by default")
    option("--quick", action="store_true", help="a few seconds: does it all still run?")
    option("--peers", action="store_true", help="also time the peers that can be imported")
    option("--profile", action="store_true", help="also say where our time goes, by stage")
    option("--roofline", action="store_true", help="also count what our programs do")
    option("--deterministic", action="store_true", help="let a GPU add in a fixed order, too")
    option("--scene", default="", metavar="TEXT", help="only scenes with TEXT in their name")
    option("--json", type=Path, metavar="PATH", help="write the results there")
    option("--plot", type=Path, metavar="PATH", help="draw them there (.png); needs matplotlib")
    return parser


def _about() -> dict[str, Any]:
    """The machine and the versions, without anything that names its owner."""
    versions = {"python": platform.python_version(), "jaxrender": jr.__version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "versions": versions,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _row(result: Result) -> str:
    """One line of the table; a peer without figures says why."""
    start = f"{result.task:20} {result.scene:32} {result.who:15} "
    if result.median_ms is None:
        return start + result.detail
    memory, temporary = (
        None if size is None else size / 1e6 for size in (result.peak_bytes, result.temporary_bytes)
    )
    share = None if result.agreement is None else 100 * result.agreement
    return (
        f"{start}{_cell(result.median_ms, 10, 2)} {_cell(result.min_ms, 10, 2)} "
        f"{_cell(result.ratio, 11, 2)} {_cell(result.trace_s, 7, 2)} "
        f"{_cell(result.compile_s, 9, 2)} {_cell(memory, 9, 1)} {_cell(temporary, 9, 1)} "
        f"{_cell(share, 9, 3, '%')}"
    )


def _cell(value: float | None, width: int, digits: int, unit: str = "") -> str:
    return " " * (width + len(unit)) if value is None else f"{value:{width},.{digits}f}{unit}"


if __name__ == "__main__":
    sys.exit(main())
