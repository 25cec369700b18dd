"""Example 1 of the Neural 3D Mesh Renderer: draws an object from many viewpoints.

    python examples/nmr_1_turntable.py

References:
    Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from tqdm import tqdm

import jaxrender as jr


def main(steps: int, size: int, output: Path) -> None:
    """Draws `steps` views of `size`² pixels, all round the teapot, and saves them as a GIF."""
    teapot = jr.normalize(jr.shapes.teapot())

    @jax.jit
    def draw(azimuth: jax.Array) -> jax.Array:
        camera = jr.look_at(jr.points_from_angles(2.732, 30.0, azimuth))
        image = jr.render(teapot, camera, image_size=(size, size), anti_aliasing=2)
        return image.rgb

    started = time.perf_counter()
    azimuths = jnp.linspace(0.0, 360.0, steps, endpoint=False)
    frames = [draw(azimuth) for azimuth in tqdm(azimuths, desc="drawing", unit="frame")]
    jr.io.save_animation(output, frames)
    print(f"{steps} views in {time.perf_counter() - started:.1f} s: {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=90, help="how many views")
    parser.add_argument("--size", type=int, default=256, help="pixels along each side")
    parser.add_argument("--output", type=Path, default="out/nmr_1_turntable.gif")
    main(**vars(parser.parse_args()))
