"""`python -m benchmarks.against`: one table of ours and other rasterisers, each in a fresh process.

For each scene and each of them two processes at least, in turns: how long from the start of Python
to the first picture; how long a picture takes then, of a mesh that stands still, and of one whose
vertices move, so that what was built of them is built anew; and the most memory that the process
held. Of times the least is kept, "CPU" is the time of all threads. Install is what the packages
take on disk, with all that they need, as pip lists it. Pictures are depth and, where there are any,
faces; "same" is the part of the pixels that ours and theirs show alike.

    pip install . mitsuba embreex open3d deodr trimesh jaxrenderer mujoco
    python -m benchmarks.against --json benchmarks/results/against-cpu-2-cores.json \
        --docs docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SCENES = {"quick": ((2, 64),), "all": ((4, 256), (5, 512), (7, 512))}  # subdivisions and size
SECONDS, RUNS = 1.0, 30  # of each timing, at most
MARKS = "<!-- AGAINST OTHERS: python -m benchmarks.against -->", "<!-- END OF OTHERS -->"
PACKAGES = {
    "ours": ("jax", "numba", "numpy"),
    "mitsuba": ("mitsuba",),
    "embree": ("embreex",),
    "open3d": ("open3d",),
    "deodr": ("deodr", "trimesh"),
    "jaxrenderer": ("jaxrenderer",),
    "mujoco": ("mujoco",),
    "pytorch3d": ("easypytorch3d",),
}
NAMES = {
    "ours": "jaxrender",
    "mitsuba": "Mitsuba (LLVM)",
    "embree": "Embree (embreex)",
    "open3d": "Open3D, ray casting",
    "mujoco": "`mujoco.Renderer` (OSMesa)",
    "pytorch3d": "PyTorch3D",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser("benchmarks.against", description=__doc__)
    option = parser.add_argument
    option("who", nargs="*", metavar="WHO", help=f"of {', '.join(PACKAGES)} (default: all)")
    option("--rounds", type=int, default=2, metavar="N", help="processes of each (default: 2)")
    option("--quick", action="store_true", help="one small scene")
    option("--json", type=Path, metavar="PATH", help="write the results there")
    option("--docs", type=Path, metavar="PATH", help="write the table into this page")
    option("--one", nargs=2, metavar=("WHO", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        return one(options.one[0], Path(options.one[1]))
    unknown = set(options.who) - set(PACKAGES)
    if unknown:
        parser.error(f"nobody is called {', '.join(unknown)}: choose of {', '.join(PACKAGES)}")
    rows = compare(options.who or list(PACKAGES), "quick" if options.quick else "all", options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.docs:
        write_table(options.docs, rows)
    print(table(rows))
    return 0


# --- the fresh process ----------------------------------------------------------------------------


def one(who: str, folder: Path) -> int:
    """Draws the scene in a folder with one of them, and writes there what it took."""
    from benchmarks import peers

    begun = float(os.environ["BENCHMARKS_BEGUN"])
    given = np.load(folder / "scene.npz")
    scene = peers.Scene("", given["vertices"], given["faces"], int(given["size"]))
    adapter = ADAPTERS[who](peers, scene)
    try:
        drawer = adapter(moving=False)
        seen = drawer.draw()
        first = time.time() - begun
        first_cpu, after = time.process_time(), peak_mb()
        row: dict[str, Any] = {
            "detail": drawer.detail,
            "first s": first,
            "first CPU s": first_cpu,
            "first MB": after,
            "still": timed(drawer.draw),
        }
        if drawer.read is not None:
            face, depth = drawer.read(seen)
            np.savez(folder / f"{who}.npz", depth=depth, **({} if face is None else {"face": face}))
        moved = adapter(moving=True)
        row["moving"] = timed(moved.draw) if moved is not drawer else row["still"]
        row["MB"] = peak_mb()
    except Exception as error:  # whatever a foreign library raises
        row = {"detail": f"{type(error).__name__}: {error}"[:200]}
    (folder / f"{who}.json").write_text(json.dumps(row))
    return 0


def timed(run: Callable[[], Any]) -> list[float]:
    """The least milliseconds of a run by the clock, and of all threads."""
    run()
    least, begun, runs = [np.inf, np.inf], time.perf_counter(), 0
    while runs < 3 or (runs < RUNS and time.perf_counter() - begun < SECONDS):
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        least, runs = [min(*pair) for pair in zip(least, spent, strict=True)], runs + 1
    return [1e3 * value for value in least]


def peak_mb() -> float:
    """The most memory that this process has held, without what its parent had when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _once(make: Callable[[], Any]) -> Callable[..., Any]:
    """An adapter of what has nothing built of vertices: it draws what moves as what stands."""
    kept = functools.cache(make)
    return lambda moving: kept()


def _trees(name: str) -> Callable[[Any, Any], Callable[..., Any]]:
    return lambda peers, scene: functools.partial(getattr(peers, name), scene)


def _always(name: str, **more: Any) -> Callable[[Any, Any], Callable[..., Any]]:
    return lambda peers, scene: _once(lambda: getattr(peers, name)(scene, **more))


def _deodr(peers: Any, scene: Any) -> Callable[..., Any]:
    colors = np.random.default_rng(0).uniform(size=(scene.vertices.shape[1], 3))
    return _once(lambda: peers.deodr(scene, colors=colors))


ADAPTERS: dict[str, Callable[[Any, Any], Callable[..., Any]]] = {
    "ours": _always("ours"),
    "mitsuba": _trees("mitsuba"),
    "embree": _trees("embree"),
    "open3d": _trees("open3d"),
    "deodr": _deodr,
    "jaxrenderer": _always("jaxrenderer"),
    "mujoco": _trees("mujoco"),
    "pytorch3d": _always("pytorch3d"),
}


# --- all of them ----------------------------------------------------------------------------------


def compare(who: list[str], scenes: str, options: Any) -> list[dict[str, Any]]:
    """A row for each scene and each of them, of the least of all rounds."""
    from benchmarks.scenes import sphere

    sizes, rows = {name: install_mb(name) for name in who}, []
    for subdivisions, size in SCENES[scenes]:
        scene = sphere(subdivisions, size)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.savez(folder / "scene.npz", vertices=scene.vertices, faces=scene.faces, size=size)
            found: dict[str, dict[str, Any]] = {}
            for _ in range(options.rounds):
                for each in who:
                    found[each] = least(found.get(each), fresh(each, folder))
            for each, row in found.items():
                alike = same(folder / "ours.npz", folder / f"{each}.npz")
                rows.append({"scene": scene.name, "who": each, "same": alike, **row})
                rows[-1]["install MB"] = sizes[each]
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def fresh(who: str, folder: Path) -> dict[str, Any]:
    """What one of them takes in a process of its own, without anything kept from earlier ones."""
    away = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
    env = {name: value for name, value in os.environ.items() if name not in away}
    env |= {"BENCHMARKS_BEGUN": repr(time.time())}
    env.setdefault("MUJOCO_GL", "osmesa")
    command = [sys.executable, "-m", "benchmarks.against", "--one", who, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    written = folder / f"{who}.json"
    if not written.exists():
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return {"detail": said[-1][:200]}
    row = json.loads(written.read_text())
    written.unlink()
    return row


def least(before: dict[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    """The least of each number of two rounds."""
    if before is None or "still" not in before:
        return row
    return {
        name: value if isinstance(value, str) else np.minimum(value, row.get(name, value)).tolist()
        for name, value in before.items()
    }


def same(ours: Path, theirs: Path) -> float | None:
    """The part of the pixels with one face, or depths within a thousandth where none are told."""
    if not (ours.exists() and theirs.exists()):
        return None
    a, b = np.load(ours), np.load(theirs)
    if "face" in b:
        return float(np.mean(a["face"] == b["face"]))
    return float(np.mean(np.abs(a["depth"] / b["depth"] - 1) < 1e-3))


def install_mb(who: str) -> float | None:
    """What packages take on disk, with all that they need; of ours, this folder and its needs."""
    found: dict[str, float] = {}
    try:
        for package in PACKAGES[who]:
            _add_package(package, found)
    except importlib.metadata.PackageNotFoundError:
        return None
    total = sum(found.values())
    if who == "ours":
        source = Path(__file__).parent.parent / "jaxrender"
        total += sum(path.stat().st_size for path in source.rglob("*.py"))
    return total / 1e6


def _add_package(name: str, found: dict[str, float]) -> None:
    """Adds the bytes of a package, and of what it needs, by names."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name in found:
        return
    distribution = importlib.metadata.distribution(name)
    files = (path.locate() for path in distribution.files or () if "__pycache__" not in path.parts)
    found[name] = sum(os.path.getsize(path) for path in files if os.path.isfile(path))
    for need in distribution.requires or ():
        requirement, _, marker = need.partition(";")
        if "extra" in marker or not _applies(marker.strip()):
            continue
        try:
            _add_package(re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0], found)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system


def _applies(marker: str) -> bool:
    """Whether a requirement with this marker is one here."""
    if not marker:
        return True
    from packaging.markers import Marker

    return Marker(marker).evaluate()


# --- the table ------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """The table of all rows, in Markdown."""
    head = (
        "scene",
        "who",
        "still, ms (CPU)",
        "moving, ms (CPU)",
        "first picture, s (CPU)",
        "peak MB",
        "install MB",
        "same pixels",
    )
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    told = set()
    for row in rows:
        # Say once that somebody cannot be there at all.
        if "still" not in row:
            absence = row["who"], row["detail"]
            if absence in told:
                continue
            told.add(absence)
        cells = [row["scene"], NAMES.get(row["who"], row["who"])]
        if "still" in row:
            cells += ["{} ({})".format(*map(_digits, row[name])) for name in ("still", "moving")]
            cells += [f"{row['first s']:.1f} ({row['first CPU s']:.1f})", f"{row['MB']:.0f}"]
        else:
            cells += [row["detail"].replace("|", "/"), "", "", ""]
        size, alike = row["install MB"], row["same"]
        cells += ["" if size is None else f"{size:,.0f}"]
        cells += ["" if alike is None else f"{100 * alike:.2f}%"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _digits(number: float) -> str:
    """Three digits at least."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:.3g}"


def write_table(page: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the table between its marks on a page."""
    text = page.read_text()
    before, rest = text.split(MARKS[0], 1)
    _, after = rest.split(MARKS[1], 1)
    page.write_text(f"{before}{MARKS[0]}\n{table(rows)}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
