"""Example 2 of the Neural 3D Mesh Renderer: deforms a teapot until its outline is a rectangle.

    python examples/nmr_2_vertices.py

Every vertex is free, there is no regulariser, and one silhouette is all that the loss sees. It
works because NMR's gradient reaches far: an empty pixel of the rectangle pulls on edges that
are nowhere near it.

References:
    Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566, section 4.2.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jaxrender as jr


def main(steps: int, size: int, output: Path) -> jr.fitting.Fit:
    """Fits in `steps` steps at `size`² pixels; saves the fit, and a turn around its result."""
    teapot = jr.normalize(jr.shapes.teapot())
    rectangle = jnp.zeros((size, size)).at[size // 4 : -size // 4, size // 4 : -size // 4].set(1)
    seen = {"image_size": (size, size), "anti_aliasing": 2}

    def look(azimuth: jax.Array | float) -> jr.Camera:
        return jr.look_at(jr.points_from_angles(2.732, 0.0, azimuth))

    def loss(vertices: jax.Array) -> jax.Array:
        mesh = teapot.with_vertices(vertices)
        return jnp.sum((jr.silhouette(mesh, look(90.0), **seen) - rectangle) ** 2)

    @jax.jit
    def draw(vertices: jax.Array, azimuth: jax.Array | float = 90.0) -> jax.Array:
        mesh = teapot.with_vertices(vertices)
        return jr.render(mesh, look(azimuth), **seen).rgb

    found = jr.fitting.fit(
        loss,
        teapot.vertices,
        optax.adam(2e-3),
        steps=steps,
        snapshot=draw,
        snapshot_every=max(steps // 30, 1),
        progress="deforming",
    )

    around = [draw(found.params, azimuth) for azimuth in jnp.arange(90.0, 450.0, 12.0)]
    jr.io.save_animation(output, [*found.snapshots.values(), *around], fps=15)
    print(
        f"loss {found.losses[0]:.0f} -> {found.best_loss:.1f} "
        f"({found.steps} steps, {found.seconds:.1f} s): {output}"
    )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=256, help="pixels along each side")
    parser.add_argument("--output", type=Path, default="out/nmr_2_vertices.gif")
    main(**vars(parser.parse_args()))
