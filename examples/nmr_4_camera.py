"""Example 4 of the Neural 3D Mesh Renderer: finds where a camera stood, from a silhouette.

    python examples/nmr_4_camera.py

The camera starts far away, where the teapot is a speck. It looks at the teapot's middle; its
position is all that is sought. It is sought in the left-handed world of the original, whose search
this is: NMR's gradient depends on how a surface is cut into triangles, and from the other side of
the teapot, where the cuts run the other way, the search ends elsewhere.

References:
    Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jaxrender as jr


def main(steps: int, size: int, output: Path) -> jr.fitting.Fit:
    """Fits in at most `steps` steps at `size`² pixels, and saves the fit as a GIF."""
    teapot = jr.normalize(jr.shapes.teapot())
    truth = jr.points_from_angles(2.732, 30.0, -15.0, right_handed=False)

    def look_from(eye: jax.Array) -> jr.Camera:
        return jr.look_at(eye, right_handed=False)

    def outline(eye: jax.Array) -> jax.Array:
        return jr.silhouette(teapot, look_from(eye), image_size=(size, size), anti_aliasing=2)

    target = outline(truth)

    @jax.jit
    def draw(eye: jax.Array) -> jax.Array:
        """The view from there, with the target's outline in red."""
        image = jr.render(teapot, look_from(eye), image_size=(size, size), anti_aliasing=2)
        missed = jnp.abs(target - image.alpha)[..., None] * jnp.array([[[0.5, 0.0, 0.0]]])
        return jnp.minimum(image.rgb + missed, 1.0)

    found = jr.fitting.fit(
        lambda eye: jnp.sum((outline(eye) - target) ** 2),
        jnp.array([6.0, 10.0, -14.0]),
        optax.adam(0.1),
        steps=steps,
        stop=70.0 * (size / 256) ** 2,
        snapshot=draw,
        snapshot_every=5,
        progress="searching",
    )

    jr.io.save_animation(output, [*found.snapshots.values()], fps=15)
    eye = found.params
    cosine = jnp.vdot(eye, truth) / jnp.linalg.norm(eye) / jnp.linalg.norm(truth)
    print(
        f"loss {found.losses[0]:.0f} -> {found.best_loss:.1f} "
        f"({found.steps} steps, {found.seconds:.1f} s); "
        f"{jnp.degrees(jnp.arccos(cosine)):.2f} degrees off, "
        f"at distance {jnp.linalg.norm(eye):.3f} instead of 2.732: {output}"
    )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256, help="pixels along each side")
    parser.add_argument("--output", type=Path, default="out/nmr_4_camera.gif")
    main(**vars(parser.parse_args()))
