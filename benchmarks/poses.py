"""`python -m benchmarks.poses`: how many of many starts find a pose, and how long Adam takes.

The task of `examples/pose_from_cad.py`, by its own residuals: the pose of a known mesh from one
mask and one depth picture of 128² pixels, from starts that are up to 30 degrees and a fifth of the
size off, each shifted to the middle of the depth picture, in 12 steps of `fitting.least_squares`. A
start has arrived within 0.5 degrees and 1% of the size. Four shapes that no turn maps onto
themselves.

Adam gets the same residuals, squared, their gradient by reverse mode, and the same squares, large
ones first, over five times the processor time that shifting and all steps took, at three rates:
once from the starts as they are, and once from where they were shifted to. Both are counted without
what compiling takes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from benchmarks.scenes import bumpy_sphere
from jaxrender import shapes
from jaxrender.fitting import Rotation, least_squares

SIZE, STEPS, CHUNK = 128, 12, 8
FARTHEST_TURN, FARTHEST_SHIFT = 30.0, 0.2  # degrees, parts of the size
OF_ADAM, LONGER = 16, 5.0  # starts, and how many times as long it may take
RESULTS = Path(__file__).parent / "results" / "poses.json"
EXAMPLE = Path(__file__).parent.parent / "examples" / "pose_from_cad.py"
BEGIN, END = "<!-- POSE TABLE: python -m benchmarks.poses -->", "<!-- END OF POSES -->"


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser("benchmarks.poses", description=__doc__)
    option = parser.add_argument
    option("--shape", default="", metavar="TEXT", help="only shapes with TEXT in their name")
    option("--starts", type=int, default=100, help="of each shape")
    option("--without-adam", action="store_true", help="by least_squares alone")
    option("--seed", type=int, default=0, help="of the starts")
    option("--json", type=Path, default=RESULTS, metavar="PATH", help="where results are kept")
    option("--write", type=Path, metavar="PATH", help="put the table into that page")
    option("--measured", action="store_true", help="measure nothing, take what is in the file")
    options = parser.parse_args(argv)
    results = json.loads(options.json.read_text()) if options.json.exists() else {}
    for number, (name, make) in enumerate(SHAPES.items()):
        if options.measured or options.shape not in name:
            continue
        results[name] = measure(
            make(), number, options.starts, adam=not options.without_adam, seed=options.seed
        )
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    if options.write:
        page = options.write.read_text()
        before, rest = page.split(BEGIN)
        options.write.write_text(f"{before}{BEGIN}\n{table(results)}{END}{rest.split(END)[1]}")
    return 0


# --- shapes ---------------------------------------------------------------------------------------


def _teapot() -> jr.Mesh:
    return shapes.teapot()


def _bumpy_ball() -> jr.Mesh:
    """Almost round: its bumps alone tell how it is turned."""
    vertices, faces = bumpy_sphere(4)
    return jr.Mesh(jnp.asarray(vertices, jnp.float32), jnp.asarray(faces))


def _hand() -> jr.Mesh:
    """A ball drawn out to a palm with five fingers of different lengths, and bent."""
    ball = shapes.icosphere(4)
    x, y, z = np.asarray(ball.vertices, float).T
    angle, flat = np.arctan2(y, x), np.hypot(x, y)
    fingers = flat**4 * np.cos(2.5 * angle) ** 4 * (1 + 0.35 * np.sin(angle + 0.5))
    reach = 0.5 + 0.5 * fingers * (np.abs(angle) < 2.5)
    points = np.stack([x * reach, y * reach, 0.25 * z], -1)
    points[:, 2] += 0.25 * (points[:, 0] - 0.2) ** 2
    return jr.Mesh(jnp.asarray(points, jnp.float32), ball.faces)


def _bracket() -> jr.Mesh:
    """Two plates at right angles, a rib and a peg: flat faces and sharp edges."""
    boxes = [
        ((1.6, 0.2, 1.0), (0.0, 0.0, 0.0)),
        ((0.2, 1.0, 1.0), (-0.7, 0.5, 0.0)),
        ((0.9, 0.5, 0.15), (-0.3, 0.3, 0.25)),
        ((0.25, 0.6, 0.25), (0.55, 0.3, -0.25)),
    ]
    cube, parts = shapes.cube(), []
    for size, place in boxes:
        parts.append(jr.Mesh(cube.vertices * jnp.array(size) + jnp.array(place), cube.faces))
    return jr.join_meshes(parts)[0]


SHAPES: dict[str, Callable[[], jr.Mesh]] = {
    "teapot": _teapot,
    "bumpy ball": _bumpy_ball,
    "hand": _hand,
    "bracket": _bracket,
}


# --- what is measured -----------------------------------------------------------------------------


def load_example() -> Any:
    """`examples/pose_from_cad.py`."""
    import importlib.util

    spec: Any = importlib.util.spec_from_file_location("pose_from_cad", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(
    mesh: jr.Mesh,
    number: int,
    count: int,
    *,
    adam: bool = True,
    size: int = SIZE,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of a shape, whose pose and starts are drawn by its number (and a seed)."""
    example = load_example()
    model = jr.io.normalize(jr.Mesh(mesh.vertices, mesh.faces))
    turn = example.random(jax.random.key(20 + number))
    shift = jnp.array([0.1, -0.05, 0.1])
    seen, middle = example.observe(model, turn, shift, size)

    def problem(pose: dict, weights: jax.Array) -> list[jax.Array]:
        drawn = example.draw(model, pose["turn"], pose["shift"], middle, size)
        return example.residuals(drawn, seen, weights)

    far = FARTHEST_TURN, FARTHEST_SHIFT
    key = jax.random.key(number + 100 * seed)
    turns, shifts = example.random_starts(key, turn, shift, count, *far)
    placed, began = example.shift_to_middle(model, turns, shifts, seen, middle), []

    def weights_of(step: int) -> jax.Array:
        began.append(time.process_time())
        return example.weights_of(step, STEPS)

    found = least_squares(
        problem,
        {"turn": Rotation(turns), "shift": placed},
        steps=STEPS,
        many=True,
        chunk=CHUNK,
        schedules={"weights": weights_of},
        progress=False,
    )
    # The first step compiles, so it is left out.
    one_step = (began[-1] - began[1]) / (len(began) - 2) / count
    right = example.arrived(found.every, turn, shift)
    angles = np.asarray(example.angle_between(found.every["turn"], turn[None]))
    result: dict[str, Any] = {
        "faces": len(model.faces),
        "starts": count,
        "arrived": int(right.sum()),
        "steps": found.steps,
        "median_degrees": float(np.median(angles)),
        "ms_per_step": 1e3 * one_step,
    }
    print(result, flush=True)
    if not adam:
        return result

    # Give Adam the first starts, and so many times as long; shifting counts as one more step, which
    # is more than it takes.
    few = min(OF_ADAM, count)
    seconds = one_step * (STEPS + 1) * few
    goal = float(right[:few].mean())
    for told, where in (("adam", shifts), ("adam_shifted", placed)):
        descent = example.Adam(problem, {"turn": turns[:few], "shift": where[:few]})
        rows = result[told] = {}
        for rate in example.RATES:
            best = [0.0]

            def enough(poses: Any, best: list[float] = best) -> bool:
                best[0] = max(best[0], float(example.arrived(poses, turn, shift).mean()))
                return best[0] >= goal

            came, spent = descent.run(rate, LONGER * seconds, enough, time.process_time)
            rows[str(rate)] = {"arrived": best[0], "enough": came, "times": spent / seconds}
            print(told, rate, rows[str(rate)], flush=True)
    return {**result, "goal": goal}


# --- how it is told -------------------------------------------------------------------------------


def table(results: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    heads = "shape", "faces", "starts", "arrived", "ms a step", "Adam, best rate", "Adam, shifted"
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for name, row in results.items():
        share, ms = row["arrived"] / row["starts"], row["ms_per_step"]
        cells = name, f"{row['faces']:,}", row["starts"], f"{share:.0%}", f"{ms:.0f}"
        told = [
            _best_rate(row.get(way, {}), row.get("goal", 0)) for way in ("adam", "adam_shifted")
        ]
        lines.append("| " + " | ".join(map(str, (*cells, *told))) + " |")
    return "\n".join(lines) + "\n"


def _best_rate(rows: dict[str, Any], goal: float) -> str:
    """How Adam did at the rate that suits it best."""
    if not rows:
        return "–"
    rate, best = min(rows.items(), key=lambda row: (-row[1]["arrived"], row[1]["times"]))
    if best["enough"]:
        return f"at {rate} as many after {best['times']:.1f} times as long"
    return (
        f"at {rate} {best['arrived']:.0%}, not {goal:.0%}, after {best['times']:.0f} times as long"
    )


if __name__ == "__main__":
    sys.exit(main())
