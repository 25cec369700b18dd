"""Measures the training step: images per second, and the share of it that is rendering.

    python examples/reconstruction/speed.py
    python examples/reconstruction/speed.py --batch 16 --channels 16 --hidden 512

It needs no data: the pictures are noise, and the meshes those of a new network. Images per second
counts the pictures that are drawn, four of each object. Rendering is timed alone, forward and
backward, on meshes like those of the step.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from data import VIEWS, Batch
from model import Config, template
from training import VIEWED, Settings, draw, make_trainer

ORIGINAL = 250_000  # steps that the original trains


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """The median time of a call, after a first one that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(config: Config, settings: Settings, repeats: int = 10) -> dict[str, float]:
    """Measures, prints and returns seconds of a step and of its rendering, and what follows."""
    trainer = make_trainer(config, settings)
    random = np.random.default_rng(0)
    count, size = settings.batch, config.size
    views = random.integers(VIEWS, size=(count, 2)).astype(np.int32)
    images = random.integers(256, size=(count, 2, 4, size, size), dtype=np.uint8)
    batch = jax.device_put(Batch(images, views), trainer.split)
    state = trainer.init()

    def step() -> object:
        nonlocal state
        state, terms = trainer.advance(state, batch)
        return terms

    # Draw the sphere at two thirds of its size, about as large as an object.
    sphere = template(config.subdivisions)
    bumps = random.normal(1.0, 0.03, (count, 2, *sphere.vertices.shape))
    vertices = jax.device_put((0.67 * sphere.vertices * bumps).astype(np.float32), trainer.split)
    colors = vertices + 0.5 if config.palette else None

    @jax.jit
    @jax.grad
    def rendering(vertices: jax.Array) -> jax.Array:
        drawn = draw(
            vertices, colors, jnp.asarray(views), settings.sigma, faces=sphere.faces, size=size
        )
        return (drawn * jnp.asarray(images)[:, None]).sum()

    whole = median_seconds(step, repeats)
    drawing = median_seconds(lambda: rendering(vertices), repeats)
    found = {
        "step_seconds": whole,
        "images_per_second": VIEWED * count / whole,
        "rendering_share": drawing / whole,
        "hours": whole * ORIGINAL / 3600,
    }
    print(
        f"{count} objects, {VIEWED * count} pictures of {size}² a step, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}: {1e3 * whole:.0f} ms a step, "
        f"{found['images_per_second']:.0f} images per second; rendering {1e3 * drawing:.0f} ms, "
        f"{found['rendering_share']:.0%}; {ORIGINAL:,} steps would take {found['hours']:.1f} hours"
    )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64, help="objects a step [64]")
    parser.add_argument("--size", type=int, default=64, help="pixels along each side [64]")
    parser.add_argument("--channels", type=int, default=64, help="of the first convolution [64]")
    parser.add_argument("--hidden", type=int, default=1024, help="width of dense layers [1024]")
    parser.add_argument("--subdivisions", type=int, default=3, help="of the sphere [3]")
    parser.add_argument("--colors", type=int, default=0, help="palette, 0 is none [0]")
    parser.add_argument("--repeats", type=int, default=10, help="steps to time [10]")
    given = parser.parse_args()
    main(
        Config(given.size, given.channels, given.hidden, given.subdivisions, given.colors),
        Settings(batch=given.batch),
        given.repeats,
    )
