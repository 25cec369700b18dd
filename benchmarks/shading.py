"""`python -m benchmarks.shading`: what a picture and its gradient cost, by rasteriser and shading.

A ball of 5,120 faces at 256 x 256, in colours of vertices, with one light; the gradient is that to
all vertices. Programs are run in turn; of each the least processor time is kept, which other work
on the machine changes less than the time by the clock.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

import jaxrender as jr
from jaxrender._choices import SHADINGS

SUBDIVISIONS, SIZE, ROUNDS = 4, 256, 12
RESULTS = Path(__file__).parent / "results" / "shading.json"
WAYS = {
    "Hard()": jr.Hard(),
    'Hard("edge")': jr.Hard("edge"),
    'Hard("antialias")': jr.Hard("antialias"),
    'Hard("nmr")': jr.Hard("nmr"),
    "Soft(1e-4)": jr.Soft(sigma=1e-4),
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser("benchmarks.shading", description=__doc__)
    option = parser.add_argument
    option("--rounds", type=int, default=ROUNDS, metavar="N", help="runs of each program")
    option("--subdivisions", type=int, default=SUBDIVISIONS, metavar="N", help="of the ball")
    option("--size", type=int, default=SIZE, metavar="PIXELS", help="of the picture")
    option("--json", type=Path, default=RESULTS, metavar="PATH", help="where results are kept")
    options = parser.parse_args(argv)
    found = measure(options.subdivisions, options.size, options.rounds)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"jax": jax.__version__, "ms": found}, indent=1) + "\n")
    print(table(found))
    return 0


def measure(subdivisions: int, size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time, by rasteriser and shading."""
    ball = jr.shapes.icosphere(subdivisions)
    mesh = jr.Mesh(ball.vertices, ball.faces, jr.VertexColors(0.5 + 0.4 * ball.vertices))
    camera = jr.frame(mesh)
    weights = jax.random.normal(jax.random.key(0), (size, size, 3))

    def loss(vertices, way, shading):
        moved = mesh.with_vertices(vertices)
        image = jr.render(moved, camera, image_size=(size, size), rasterizer=way, shading=shading)
        return jnp.sum(image.rgb * weights)

    program = jax.jit(jax.value_and_grad(loss), static_argnames="shading")
    cases = [(name, shading) for name in WAYS for shading in SHADINGS]
    least = dict.fromkeys(cases, float("inf"))
    for number in range(rounds + 1):
        for name, shading in cases:
            start = time.process_time()
            jax.block_until_ready(program(mesh.vertices, WAYS[name], shading))
            if number:  # the first call compiles
                least[name, shading] = min(least[name, shading], time.process_time() - start)
    return {
        name: {shading: round(1e3 * least[name, shading], 2) for shading in SHADINGS}
        for name in WAYS
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """A table in Markdown."""
    shadings = list(next(iter(found.values())))
    rows = [["", *(f'"{shading}"' for shading in shadings)], ["---"] * (1 + len(shadings))]
    rows += [[f"`{name}`", *(f"{ms:.3g}" for ms in row.values())] for name, row in found.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
