"""What outlines can tell at most: spheres fitted to all 24 outlines of each object, one by one.

    python examples/reconstruction/ceiling.py --data out/shapes
    python examples/reconstruction/ceiling.py --data out/shapes --subdivisions 2

The sphere, the way it is deformed, the silhouettes and the loss are those of the training; there is
no network, and all sides are seen, not one. So this is about the voxel IoU of a network that is
trained by outlines and never wrong about what it cannot see. How much is filled, in parts of what
should be, tells of what the outlines and the sphere leave closed: what lies between legs, say.

Shapes: `N` objects, `V` vertices.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrender as jr
from baselines import nearest, overlap
from data import VIEWS, open_dataset, voxels_of
from model import CENTROID_SCALE, deformed, template
from training import Settings, outline, regularizers

SEEN = 4  # views of each object in a step


def fit(
    outlines: np.ndarray, subdivisions: int, steps: int, rate: float, settings: Settings
) -> jax.Array:
    """Vertices `[N, V, 3]` fitted to coverage `[N, 24, S, S]` in [0, 1]."""
    sphere, size = template(subdivisions), outlines.shape[-1]
    count = len(outlines)
    start = jnp.zeros((count, 3)), jnp.zeros((count, *sphere.vertices.shape))
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def one(vertices: jax.Array, seen: jax.Array, views: jax.Array) -> jax.Array:
        def miss(view: jax.Array, target: jax.Array) -> jax.Array:
            drawn = outline(vertices, view, settings.sigma, faces=sphere.faces, size=size)
            return jr.losses.negative_iou(drawn, target)

        return jax.vmap(miss)(views, seen).mean() + regularizers(vertices, subdivisions, settings)

    def meshes(params: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jax.vmap(
            lambda centroid, biases: deformed(sphere.vertices, CENTROID_SCALE * centroid, biases)
        )(*params)

    @jax.jit
    def advance(params, state, seen, views):
        def loss(params):
            return jax.vmap(one, in_axes=(0, 0, None))(meshes(params), seen, views).sum()

        update, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, update), state

    params, state, random = start, optimizer.init(start), np.random.default_rng(settings.seed)
    for _ in range(steps):
        views = random.choice(VIEWS, SEEN, replace=False)
        params, state = advance(params, state, outlines[:, views], views)
    return meshes(params)


def main(
    data: Path,
    *,
    split: str = "val",
    count: int = 6,
    subdivisions: int = 3,
    steps: int = 500,
    rate: float = 0.03,
    classes: list[str] | None = None,
) -> dict[str, dict[str, float]]:
    """Prints and returns by class the IoU of the fit, what it fills, the nearest picture's IoU.

    Args:
        data: the folder of the data set.
        split: of the objects.
        count: `N`, the first so many of each class.
        subdivisions: of the sphere.
        steps: of a fit.
        rate: the learning rate of Adam at first; it falls along a cosine.
        classes: which; None is all.

    Raises:
        ValueError: an argument is out of range, or there are no such data.
    """
    if min(count, steps) < 1:
        raise ValueError(f"Counts must be positive, got {count} objects and {steps} steps.")
    tested = open_dataset(data, split, classes, check=False)
    known = open_dataset(data, "train", tested.classes, check=False)
    faces = jnp.asarray(template(subdivisions).faces)
    fill = jax.jit(jax.vmap(lambda one: voxels_of(one, faces)))

    # Fit all classes at once: one program.
    seen = [images[:count] for images in tested.images]
    outlines = np.concatenate([images[:, :, 3] for images in seen]).astype(np.float32) / 255
    vertices = fit(outlines, subdivisions, steps, rate, Settings())
    ends = np.cumsum([len(images) for images in seen])[:-1]

    results = {}
    for kind, (name, fitted) in enumerate(
        zip(tested.classes, np.split(np.asarray(vertices), ends), strict=True)
    ):
        images, truth = seen[kind], np.asarray(tested.voxels[kind][:count]) != 0
        shapes = np.asarray(fill(jnp.asarray(fitted))) != 0
        asked = images[:, :: VIEWS // 6].reshape(-1, *images.shape[2:])
        found = np.asarray(known.voxels[kind])[nearest(asked, known.images[kind])]
        results[name] = {
            "fit": float(overlap(shapes, truth).mean()),
            "fit fills": float(shapes.sum() / truth.sum()),
            "nearest picture": float(overlap(found, np.repeat(truth, 6, axis=0)).mean()),
        }
        print(f"{name:8}", ", ".join(f"{what} {ours:.3f}" for what, ours in results[name].items()))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("out/shapes"), help="the data set")
    parser.add_argument("--classes", nargs="+", help="which [all]")
    parser.add_argument("--split", default="val", help="of the objects [val]")
    parser.add_argument("--count", type=int, default=6, help="objects of each class [6]")
    parser.add_argument("--subdivisions", type=int, default=3, help="of the sphere [3]")
    parser.add_argument("--steps", type=int, default=500, help="of each fit [500]")
    parser.add_argument("--rate", type=float, default=0.03, help="the learning rate [0.03]")
    try:
        main(**vars(parser.parse_args()))
    except ValueError as error:
        raise SystemExit(f"ceiling.py: {error}") from error
