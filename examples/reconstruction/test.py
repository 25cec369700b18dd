"""Tests a trained network: voxel IoU by class, beside two baselines and the published figures.

    python examples/reconstruction/test.py --data out/shapes --run out/run
    python examples/reconstruction/test.py --data out/shapes --run out/run --refine 40

Every view of every object is reconstructed, and the mesh's voxels are compared with the object's
at 32³, as in the papers. With `--refine` each mesh is then fitted to the outline in its picture,
which the papers do not do, see refine.py, and the refined ones are tested too. The folder `test` in
that of the run gets `results.json`, and for the first objects of each class their meshes, as they
are at last, a sheet of pictures and the meshes turning.

The published figures are for 13 classes of ShapeNet, so that only a test on that data set may be
compared with them.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import jaxrender as jr
from baselines import mean_shape, nearest, overlap
from checkpoints import Checkpoints, read_config, write_text
from data import VIEWS, Dataset, open_dataset, voxels_of
from model import Reconstructor, predict, template
from pictures import save_sheet, save_turning
from refine import refine as refined
from training import Trainer, make_trainer

PUBLISHED = {
    "NMR": 0.6015,
    "SoftRas, silhouettes": 0.6234,
    "SoftRas, full": 0.6464,
    "NMR, public code and data": 0.60,
    "SoftRas, public code and data": 0.62,
}
BATCH = 48  # pictures that the network sees at a time

Results = dict[str, dict[str, float]]
Method = Callable[[np.ndarray], tuple[jax.Array, jax.Array | None]]


@jax.jit
def filled(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """The voxels `[B, 32, 32, 32]` of meshes `[B, V, 3]`."""
    return jax.vmap(lambda one: voxels_of(one, faces))(vertices)


def main(
    data: Path,
    run: Path,
    *,
    step: int | None = None,
    views: int = VIEWS,
    show: int = 4,
    refine: int = 0,
    baselines: bool = True,
    check: bool = True,
    unpack_to: Path | None = None,
) -> Results:
    """Tests a run on the test split of its classes, and prints a table.

    Args:
        data: the folder of the data set.
        run: the folder that train.py has written.
        step: which checkpoint; None is the last.
        views: how many of the 24 to test, evenly spread.
        show: objects of each class whose meshes and pictures are written.
        refine: steps to refine each mesh by; 0 leaves them as the network made them.
        baselines: whether to test the baselines too; they need the train split.
        check: whether to read all files once, to see that they are sound.
        unpack_to: where compressed files are unpacked; None is beside them.

    Returns:
        The mean IoU by method and class, "mean" among the classes.

    Raises:
        ValueError: an argument is out of range, or there is no such run, checkpoint or data.
    """
    if not 1 <= views <= VIEWS or VIEWS % views:
        raise ValueError(f"`views` must divide {VIEWS}, got {views}. Pass for example 6.")
    if min(show, refine) < 0:
        raise ValueError(f"`show` and `refine` must not be negative, got {show} and {refine}.")
    model, statistics, classes, step = load(run, step)
    tested = open_dataset(data, "test", classes, check=check, unpack_to=unpack_to)
    if tested.size != model.config.size:
        raise ValueError(
            f"{data} has pictures of {tested.size}², but {run} was trained on those of "
            f"{model.config.size}². Pass the data it was trained on."
        )
    faces = template(model.config.subdivisions).faces
    chosen = np.arange(0, VIEWS, VIEWS // views)

    # What makes a mesh of a picture, by its name in the table; the last one is shown.
    methods: dict[str, Method] = {
        "reconstruction": lambda images: predict(model, statistics, images)
    }
    if refine:
        _, settings, _ = read_config(run)
        methods["refined"] = lambda images: refined(model, statistics, images, refine, settings)

    results: Results = {method: {} for method in methods}
    for kind, name in enumerate(tqdm(classes, desc="testing", unit="class")):
        scores = {method: [] for method in methods}
        for images, truth in _pieces(tested, kind, chosen):
            for method, make in methods.items():
                shapes = filled(make(images)[0], jnp.asarray(faces))
                scores[method].append(overlap(np.asarray(shapes), truth))
        for method, parts in scores.items():
            results[method][name] = float(np.concatenate(parts).mean())

        # Show the first objects, each from another side.
        count = min(show, len(tested.images[kind]))
        if count:
            sides = np.arange(count) * 5 % VIEWS
            images = tested.images[kind][np.arange(count), sides]
            vertices, colors = list(methods.values())[-1](images)
            path = run / "test" / name
            save_sheet(path.with_suffix(".png"), images, sides, vertices, faces, colors)
            save_turning(path.with_suffix(".gif"), images, sides, vertices, faces, colors)
            for number in range(count):
                texture = None if colors is None else jr.VertexColors(colors[number])
                mesh = jr.Mesh(vertices[number], jnp.asarray(faces), texture)
                jr.save_mesh(path.with_name(f"{name}_{number}_{sides[number]:02}.obj"), mesh)

    if baselines:
        known = open_dataset(data, "train", classes, check=check, unpack_to=unpack_to)
        results |= test_baselines(known, tested, chosen)
    for scores in results.values():
        scores["mean"] = float(np.mean(list(scores.values())))
    (run / "test").mkdir(parents=True, exist_ok=True)
    write_text(run / "test" / "results.json", json.dumps({"step": step, **results}, indent=2))
    print(table(results))
    return results


def load(
    run: Path, step: int | None = None
) -> tuple[Reconstructor, eqx.nn.State, tuple[str, ...], int]:
    """The network of a run, its batch statistics, its classes and the step."""
    config, settings, classes = read_config(run)
    checkpoints = Checkpoints(run)
    step = checkpoints.latest() if step is None else step
    if step is None:
        raise ValueError(f"{run} has no checkpoint yet.")
    trainer: Trainer = make_trainer(config, settings, devices=jax.local_devices()[:1])
    state = checkpoints.restore(step, jax.eval_shape(trainer.init), trainer.replicated)
    model, statistics = trainer.model(state)
    return model, statistics, classes, step


def test_baselines(known: Dataset, tested: Dataset, views: np.ndarray) -> Results:
    """The mean IoU by class of the baselines."""
    results: Results = {"nearest picture": {}, "mean shape": {}}
    for kind, name in enumerate(tqdm(known.classes, desc="baselines", unit="class")):
        shapes = np.asarray(known.voxels[kind])
        truth = np.asarray(tested.voxels[kind])
        results["mean shape"][name] = float(overlap(mean_shape(shapes)[None], truth).mean())
        scores = [
            overlap(shapes[nearest(images, known.images[kind])], truth)
            for images, truth in _pieces(tested, kind, views)
        ]
        results["nearest picture"][name] = float(np.concatenate(scores).mean())
    return results


def table(results: Results) -> str:
    """The results as a table, and what was published for ShapeNet."""
    classes = list(next(iter(results.values())))
    lines = [
        "| voxel IoU | " + " | ".join(classes) + " |",
        "| --- |" + " --- |" * len(classes),
        *(
            f"| {method} | " + " | ".join(f"{scores[name]:.4f}" for name in classes) + " |"
            for method, scores in results.items()
        ),
        "",
        "Published means, over 13 classes of ShapeNet: not the same data, unless you tested on it.",
        *(f"    {method:30} {score:.4f}" for method, score in PUBLISHED.items()),
    ]
    return "\n".join(lines)


def _pieces(
    dataset: Dataset, kind: int, views: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pictures `[B, 4, S, S]` of a class with the voxels of each, piece by piece."""
    images, voxels = dataset.images[kind], dataset.voxels[kind]
    objects, sides = np.repeat(np.arange(len(images)), len(views)), np.tile(views, len(images))
    for start in range(0, len(objects), BATCH):
        piece = slice(start, start + BATCH)
        yield images[objects[piece], sides[piece]], voxels[objects[piece]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("out/shapes"), help="the data set")
    parser.add_argument("--run", type=Path, default=Path("out/run"), help="what train.py wrote")
    parser.add_argument("--step", type=int, help="which checkpoint [the last]")
    parser.add_argument("--views", type=int, default=VIEWS, help="how many of 24 to test [24]")
    parser.add_argument("--show", type=int, default=4, help="objects of each class to show [4]")
    parser.add_argument("--refine", type=int, default=0, help="steps to refine each mesh by [0]")
    parser.add_argument("--no-baselines", dest="baselines", action="store_false")
    parser.add_argument("--no-check", dest="check", action="store_false")
    parser.add_argument("--unpack-to", type=Path, help="where compressed files go [beside them]")
    try:
        main(**vars(parser.parse_args()))
    except ValueError as error:
        raise SystemExit(f"test.py: {error}") from error
