"""Other blends of triangles, after GenDR: distributions, T-conorms, and a distribution of your own.

    python examples/gendr_distributions.py

Draws the silhouette of a teapot with every distribution (across) and a few T-conorms (down), then
fits the vertices of a sphere to that silhouette with a distribution that is an ordinary Python
function, which JAX differentiates.

References:
    Petersen et al., GenDR: A Generalized Differentiable Renderer, CVPR 2022, arXiv:2204.13845.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import tqdm

import jaxrender as jr

DISTRIBUTIONS = ("uniform", "gaussian", "logistic", "cauchy", "gumbel_max", "exponential")
TCONORMS = ("max", "probabilistic", "einstein", "yager")
CAMERA = jr.look_at((0.0, 1.2, 2.5), projection=jr.perspective(40.0))


def half_cosine(x: jax.Array) -> jax.Array:
    """A distribution that is in no table: half a wave of a cosine, from 0 at -1 to 1 at 1."""
    return 0.5 + 0.5 * jnp.sin(0.5 * jnp.pi * jnp.clip(x, -1, 1))


def main(steps: int, size: int, output: Path) -> jr.fitting.Fit:
    """Draws the table at `size`² pixels each, then fits in `steps` steps; saves both."""
    teapot = jr.normalize(jr.shapes.teapot(2))
    pixels = (size, size)

    def outline(mesh: jr.Mesh, **settings) -> jax.Array:
        soft = jr.Soft(sigma=1e-3, squared=False, **settings)
        return jr.silhouette(mesh, CAMERA, image_size=pixels, rasterizer=soft)

    # Draw the table.
    rows = []
    for conorm in tqdm.tqdm(TCONORMS, desc="drawing"):
        across = [
            outline(teapot, distribution=name, aggregate_alpha=conorm)
            for name in (*DISTRIBUTIONS, half_cosine)
        ]
        rows.append(jnp.concatenate(across, axis=1))
    table = output.with_suffix(".png")
    jr.io.save_image(table, jnp.concatenate(rows))

    # Fit a sphere to the teapot's outline with the distribution of our own.
    sphere = jr.shapes.icosphere(3)
    sphere = sphere.with_vertices(0.4 * sphere.vertices)
    topology = jr.losses.mesh_topology(sphere.faces, len(sphere.vertices))
    target = (outline(teapot, distribution="uniform", aggregate_alpha="max") > 0.5).astype(float)

    def alpha(vertices: jax.Array) -> jax.Array:
        mesh = sphere.with_vertices(vertices)
        return outline(mesh, distribution=half_cosine)

    def loss(vertices: jax.Array) -> jax.Array:
        smooth = jr.losses.laplacian(vertices, topology)
        return jr.losses.negative_iou(alpha(vertices), target) + 0.02 * smooth

    found = jr.fitting.fit(
        loss,
        sphere.vertices,
        optax.adam(5e-3),
        steps=steps,
        snapshot=jax.jit(lambda vertices: jnp.concatenate([target, alpha(vertices)], axis=1)),
        snapshot_every=max(steps // 30, 1),
        progress="fitting",
    )
    jr.io.save_animation(output, list(found.snapshots.values()), fps=15)
    iou = 1 - jr.losses.negative_iou((alpha(found.params) > 0.5).astype(float), target)
    print(f"IoU {float(iou):.3f} ({found.steps} steps, {found.seconds:.1f} s): {table}, {output}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--size", type=int, default=128, help="pixels along each side")
    parser.add_argument("--output", type=Path, default="out/gendr_distributions.gif")
    main(**vars(parser.parse_args()))
