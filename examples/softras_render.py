"""Soft Rasterizer, rendering: a turning object, sharp at first, then blurred, then transparent.

    python examples/softras_render.py
    python examples/softras_render.py --mesh object.obj

In the first turn of three the picture is nearly that of a z-buffer. In the second, `sigma` grows
and shrinks again: each triangle reaches farther beyond its edges. In the third, `gamma` does: the
triangles behind come to count as much as those in front, and at last the background too. One
compiled program draws all frames, for camera, `sigma` and `gamma` are inputs of it.

References:
    Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786, section 3.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import jaxrender as jr

SIGMA = 1e-5, 3e-3  # sharp and blurred, in squared half picture heights
GAMMA = 0.05, 2.0  # opaque and transparent, in fractions of `far - near`
CREAM, BLUE = (0.95, 0.90, 0.80), (0.13, 0.36, 0.65)


def checkered_teapot() -> jr.Mesh:
    """The Utah teapot, with a chequered picture wrapped around its axis."""
    teapot = jr.normalize(jr.shapes.teapot(8))
    row, column = np.indices((128, 128)) // 16
    picture = np.where((row + column)[..., None] % 2, CREAM, BLUE)

    # Give each corner the turn around the axis that is nearest to that of its face's first.
    x, y, z = np.moveaxis(np.asarray(teapot.vertices)[np.asarray(teapot.faces)], -1, 0)
    turn = np.arctan2(x, z) / (2 * np.pi)
    turn -= np.round(turn - turn[:, :1])
    texture = jr.UVTexture(
        jnp.asarray(picture, y.dtype),
        uv=jnp.asarray(np.stack([2 * turn, 1.5 * y], -1).reshape(-1, 2)),
        faces=jnp.arange(y.size, dtype=jnp.int32).reshape(-1, 3),
    )
    return dataclasses.replace(teapot, texture=texture)


def swell(limits: tuple[float, float], time: np.ndarray) -> np.ndarray:
    """From the first limit up to the second and back, while time goes from 0 to 1."""
    low, high = np.log(limits)
    return np.exp(low + (high - low) * np.sin(np.pi * np.clip(time, 0, 1)) ** 2)


def main(steps: int, size: int, output: Path, mesh: Path | None = None) -> None:
    """Draws `steps` frames of `size`² pixels in three turns, and saves them as a GIF."""
    thing = jr.normalize(jr.load_mesh(mesh)) if mesh else checkered_teapot()
    lights = jr.make_lights(0.55, [((0.3, 1.0, -0.4), 0.4)])

    @jax.jit
    def draw(azimuth: jax.Array, sigma: jax.Array, gamma: jax.Array) -> jax.Array:
        eye = jr.points_from_angles(4.0, 30.0, azimuth)
        image = jr.render(
            thing,
            jr.look_at(eye, projection=jr.perspective(34.0), right_handed=True),
            lights,
            image_size=(size, size),
            near=2.2,
            far=5.8,
            background=1.0,
            # Let the background count as just behind the object: what is blurred fades into it.
            rasterizer=jr.Soft(sigma=sigma, gamma=gamma, eps=0.25),
        )
        return image.rgb

    started = time.perf_counter()
    turns = np.linspace(0.0, 3.0, steps, endpoint=False)
    settings = np.stack([30 + 360 * turns, swell(SIGMA, turns - 1), swell(GAMMA, turns - 2)], 1)
    frames = [
        draw(*setting) for setting in tqdm(jnp.asarray(settings), desc="drawing", unit="frame")
    ]
    jr.io.save_animation(output, frames)
    print(f"{steps} frames in {time.perf_counter() - started:.1f} s: {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=90, help="how many frames")
    parser.add_argument("--size", type=int, default=256, help="pixels along each side")
    parser.add_argument("--mesh", type=Path, help="draw this file in place of the teapot")
    parser.add_argument("--output", type=Path, default="out/softras_render.gif")
    main(**vars(parser.parse_args()))
