"""Example 3 of the Neural 3D Mesh Renderer: paints a teapot to match a picture from all sides.

    python examples/nmr_3_textures.py

Each step looks at the teapot from another side and compares with the same striped picture. The
gradient to textures is exact; the shape stays as it is.

References:
    Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566, section 4.2.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrender as jr

STRIPES = ["6f5fa8", "3f7fd0", "59b9c7", "f2c14e", "ee8434", "c8553d"]  # from the top


def striped_picture(size: int) -> jax.Array:
    """Six stripes over the middle three quarters of a black picture."""
    colors = jnp.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in STRIPES]) / 255
    stripe = jnp.floor(((jnp.arange(size) + 0.5) / size - 0.125) / 0.75 * len(STRIPES)).astype(int)
    inside = (stripe >= 0) & (stripe < len(STRIPES))
    rows = jnp.where(inside[:, None], colors[jnp.clip(stripe, 0, len(STRIPES) - 1)], 0)
    return jnp.broadcast_to(rows[:, None], (size, size, 3))


def main(steps: int, size: int, output: Path) -> jr.fitting.Fit:
    """Fits in `steps` steps at `size`² pixels, then saves a turn around the result."""
    teapot = jr.normalize(jr.shapes.teapot())
    picture = striped_picture(size)
    random = np.random.default_rng(0)

    @jax.jit
    def draw(texels: jax.Array, azimuth: jax.Array | float) -> jr.Image:
        return jr.render(
            dataclasses.replace(teapot, texture=jr.FaceCubes(jax.nn.sigmoid(texels))),
            jr.look_at(jr.points_from_angles(2.732, 0.0, azimuth), projection=jr.orthographic(2.0)),
            jr.make_lights(1.0, []),
            image_size=(size, size),
            anti_aliasing=2,
        )

    def loss(texels: jax.Array, azimuth: jax.Array) -> jax.Array:
        image = draw(texels, azimuth)
        return jnp.sum((image.rgb - picture * image.alpha[..., None]) ** 2)

    found = jr.fitting.fit(
        loss,
        jnp.zeros((len(teapot.faces), 4, 4, 4, 3)),
        optax.adam(0.1, b1=0.5),
        steps=steps,
        schedules={"azimuth": lambda _: random.uniform(0, 360)},
        progress="painting",
    )

    # The views differ, and so do their losses: the last texture is the best painted.
    azimuths = jnp.arange(0.0, 360.0, 8.0)
    frames = [draw(found.last_params, azimuth).rgb for azimuth in azimuths]
    jr.io.save_animation(output, frames, fps=15)
    before, after = (np.mean(part) for part in (found.losses[:5], found.losses[-20:]))
    print(
        f"loss {before:.0f} -> {after:.1f}, the mean of the last 20 views "
        f"({found.steps} steps, {found.seconds:.1f} s): {output}"
    )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=256, help="pixels along each side")
    parser.add_argument("--output", type=Path, default="out/nmr_3_textures.gif")
    main(**vars(parser.parse_args()))
