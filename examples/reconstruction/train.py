"""Trains a network that makes a mesh from one picture, by silhouettes alone.

    python examples/reconstruction/train.py --data out/shapes --output out/run
    python examples/reconstruction/train.py --data out/shapes --output out/run --resume

The defaults are those of the original, for a GPU. The batch is split over all devices; on several
hosts start the same line on each, with `--distributed`, and let them share the output folder. A
run that was stopped or killed goes on with `--resume`, and ends with the same numbers.

The output folder gets `config.json`, `checkpoints/`, `log.jsonl` (images per second counts the
pictures that are drawn, four of each object) and `pictures/`: sheets of what was seen, the mesh
from there and from two other sides, and the meshes turning.

References:
    Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786, section 5.1.
"""

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from checkpoints import Checkpoints, cut_log, read_config, write_config
from data import VIEWS, Batch, Dataset, ahead, open_dataset, sample
from initial import started
from model import Config, predict, template
from pictures import save_sheet, save_turning
from training import SCHEDULES, VIEWED, Settings, State, Trainer, make_trainer

SHOWN = 6  # objects in the pictures


def main(
    data: Path,
    output: Path,
    settings: Settings,
    config: Config,
    *,
    classes: list[str] | None = None,
    resume: bool = False,
    log_every: int = 50,
    save_every: int = 1000,
    pictures_every: int = 1000,
    keep: int = 2,
    check: bool = True,
    unpack_to: Path | None = None,
) -> State:
    """Trains to the last step, from the start or from the last checkpoint.

    Args:
        data: the folder of the data set.
        output: the folder to write to.
        settings: of the training.
        config: of the network; its size is that of the pictures.
        classes: which to train on; None is all.
        resume: whether to go on with the run in `output`.
        log_every: steps from one line of the log to the next.
        save_every: steps from one checkpoint to the next.
        pictures_every: steps from pictures to pictures; 0 draws none.
        keep: how many checkpoints stay.
        check: whether to read all files once, to see that they are sound.
        unpack_to: where compressed files are unpacked; None is beside them.

    Returns:
        The last state.

    Raises:
        ValueError: a setting, the data or the folder is not as it must be.
        FloatingPointError: the loss is not finite.
    """
    if min(log_every, save_every, keep) < 1 or pictures_every < 0:
        raise ValueError("Intervals and the number of checkpoints must be positive.")
    known = open_dataset(data, "train", classes, check=check, unpack_to=unpack_to)
    config = dataclasses.replace(config, size=known.size)
    trainer = make_trainer(config, settings)
    checkpoints = Checkpoints(output, keep)
    start = _prepare(output, checkpoints, config, settings, known.classes, resume)

    fresh = not start and settings.initial
    state = started(trainer, config, Path(settings.initial)) if fresh else trainer.init()
    if start:
        state = checkpoints.restore(start, state, trainer.replicated)
    first = jax.process_index() == 0
    shown = _shown(data, known, classes, unpack_to) if pictures_every and first else None

    # Each host makes its rows of the batch.
    share = settings.batch // jax.process_count()
    rows = slice(jax.process_index() * share, (jax.process_index() + 1) * share)

    def make(step: int) -> Batch:
        batch = sample(known, settings.batch, settings.seed, step, rows, recolor=settings.recolor)
        return jax.tree.map(
            lambda part: jax.make_array_from_process_local_data(trainer.split, part), batch
        )

    steps = range(start, settings.steps)
    with Log(output / "log.jsonl" if first else None, start, settings) as log:
        for step, batch in zip(steps, ahead(make, steps), strict=True):
            state, terms = trainer.advance(state, batch)
            done = step + 1
            last = done == settings.steps
            log.count()

            # Wait for the numbers only now and then: meanwhile the device runs ahead.
            saves = done % save_every == 0 or last
            if done % log_every == 0 or saves or step == start:
                log.write(done, jax.device_get(terms))
            if saves:
                checkpoints.save(done, state)
            if shown is not None and (done % pictures_every == 0 or last):
                _save_pictures(output / "pictures" / f"{done:07}", trainer, state, *shown)
    return state


class Log:
    """The log of a run and its progress bar."""

    def __init__(self, path: Path | None, start: int, settings: Settings) -> None:
        """Goes on with the file at step `start`; with None, as on other hosts, shows nothing."""
        self._file = None if path is None else path.open("a")
        self._bar = tqdm(total=settings.steps, initial=start, unit="step", disable=path is None)
        self._images = VIEWED * settings.batch
        self._step, self._time = start, 0.0

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file and the bar."""
        self._bar.close()
        if self._file is not None:
            self._file.close()

    def count(self) -> None:
        """Counts one more step."""
        self._bar.update()

    def write(self, step: int, terms: dict[str, Any]) -> None:
        """Writes a line: the loss and its terms, and images per second since the last line.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        line: dict[str, Any] = {"step": step, **{name: float(v) for name, v in terms.items()}}
        if not math.isfinite(line["loss"]):
            raise FloatingPointError(
                f"The loss is {line['loss']} at step {step}. Try a lower --learning-rate."
            )

        # The first line's time is that of compiling.
        now = time.perf_counter()
        seconds = now - self._time if self._time else math.inf
        speed = round(self._images * (step - self._step) / seconds, 1)
        self._step, self._time = step, now
        line |= {"images_per_second": speed, "time": time.time()}
        self._bar.set_postfix_str(f"loss {line['loss']:.4f}, {speed:.0f} images/s")
        if self._file is not None:
            print(json.dumps(line), file=self._file, flush=True)


def _prepare(
    output: Path,
    checkpoints: Checkpoints,
    config: Config,
    settings: Settings,
    classes: tuple[str, ...],
    resume: bool,
) -> int:
    """Looks what the folder holds, and returns the step to go on from."""
    latest = checkpoints.latest()
    written = (output / "config.json").exists()
    if not resume and (latest is not None or written):
        raise ValueError(
            f"{output} holds a run. Pass --resume to go on with it, or another --output."
        )
    if resume and written:
        before = read_config(output)
        for old, new in zip(before, (config, settings, classes), strict=True):
            if old != new:
                raise ValueError(
                    f"{output} was started with {old}, not {new}. Pass the same settings and "
                    "data, or another --output."
                )

    # Let all hosts look before the first one writes.
    multihost_utils.sync_global_devices("looked")
    if jax.process_index() == 0:
        output.mkdir(parents=True, exist_ok=True)
        write_config(output, config, settings, classes)
        cut_log(output / "log.jsonl", latest or 0)
    return latest or 0


def _shown(
    data: Path, known: Dataset, classes: list[str] | None, unpack_to: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures `[K, 4, S, S]` and views `[K]` to watch: of "val", or else of "train"."""
    held_out = [data / f"{name}_val_images.npz" for name in known.classes]
    if all(path.exists() for path in held_out):
        known = open_dataset(data, "val", known.classes, check=False, unpack_to=unpack_to)
    views = np.arange(SHOWN) * 5 % VIEWS
    kinds = [index % len(known.classes) for index in range(SHOWN)]
    numbers = [index // len(known.classes) for index in range(SHOWN)]
    images = [
        known.images[kind][number % len(known.images[kind]), view]
        for kind, number, view in zip(kinds, numbers, views, strict=True)
    ]
    return np.stack(images), views


def _save_pictures(
    path: Path, trainer: Trainer, state: State, images: np.ndarray, views: np.ndarray
) -> None:
    """Writes what the network makes of some pictures: `path.png` and `path.gif`."""
    model, statistics = trainer.model(jax.tree.map(np.asarray, state))
    vertices, colors = predict(model, statistics, images)
    faces = template(model.config.subdivisions).faces
    save_sheet(path.with_suffix(".png"), images, views, vertices, faces, colors)
    save_turning(path.with_suffix(".gif"), images, views, vertices, faces, colors)


def join_hosts(where: str) -> None:
    """Joins the hosts of a run: "auto" on a cluster, or "ADDRESS:PORT,COUNT,INDEX".

    Raises:
        ValueError: it is neither.
    """
    if where == "auto":
        jax.distributed.initialize()
        return
    parts = where.split(",")
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        raise ValueError(
            f"`--distributed` takes ADDRESS:PORT,COUNT,INDEX, or nothing on a cluster, got "
            f"{where!r}. Pass for example 10.0.0.1:1234,2,0 on the first of two hosts."
        )
    jax.distributed.initialize(parts[0], int(parts[1]), int(parts[2]))


def _arguments() -> dict[str, Any]:
    usual, network = Settings(), Config()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def add(name: str, kind: type, default: Any, text: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=f"{text} [{default}]")

    add("--data", Path, Path("out/shapes"), "the folder of the data set")
    add("--output", Path, Path("out/run"), "the folder to write to")
    parser.add_argument("--classes", nargs="+", help="which to train on [all]")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    add("--steps", int, usual.steps, "how many")
    add("--batch", int, usual.batch, "objects in each")
    add("--seed", int, usual.seed, "of the weights and the order of the data")
    add("--learning-rate", float, usual.learning_rate, "of Adam")
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default=usual.schedule,
        help=f"how learning rate and sigma fall [{usual.schedule}]",
    )
    add("--sigma", float, usual.sigma, "blur of the silhouettes, in squared half image heights")
    add("--laplacian", float, usual.laplacian, "weight of the Laplacian loss")
    add("--flatten", float, usual.flatten, "weight of the flatten loss")
    add("--channels", int, network.channels, "of the first convolution")
    add("--hidden", int, network.hidden, "width of the dense layers")
    add("--subdivisions", int, network.subdivisions, "of the sphere; 3 is 642 vertices")
    parser.add_argument(
        "--colors",
        type=int,
        nargs="?",
        const=32,
        default=0,
        metavar="COUNT",
        help="learn colours too, from a palette of so many [32]",
    )
    parser.add_argument(
        "--recolor",
        action="store_true",
        help="exchange and dim colours at random, lest the network knows objects by them",
    )
    parser.add_argument(
        "--initial",
        default="",
        metavar="FOLDER",
        help="of a run with whose weights to start; its sphere may be coarser",
    )
    add("--log-every", int, 50, "steps from one line of the log to the next")
    add("--save-every", int, 1000, "steps from one checkpoint to the next")
    add("--pictures-every", int, 1000, "steps from pictures to pictures; 0 draws none")
    add("--keep", int, 2, "how many checkpoints stay")
    parser.add_argument("--unpack-to", type=Path, help="where compressed files go [beside them]")
    parser.add_argument("--no-check", action="store_true", help="do not read all files at first")
    parser.add_argument(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="ADDRESS:PORT,COUNT,INDEX",
        help="join the other hosts; without a value as the cluster says",
    )
    given = vars(parser.parse_args())
    hosts, palette = given.pop("distributed"), given.pop("colors")
    if hosts is not None:
        join_hosts(hosts)

    def some(names: Iterable[str]) -> dict[str, Any]:
        return {name: given.pop(name) for name in names}

    names = ["steps", "batch", "seed", "learning_rate", "schedule", "sigma", "recolor", "initial"]
    settings = Settings(**some([*names, "laplacian", "flatten"]))
    config = Config(**some(("channels", "hidden", "subdivisions")), palette=palette)
    return given | {"settings": settings, "config": config, "check": not given.pop("no_check")}


if __name__ == "__main__":
    try:
        main(**_arguments())
    except ValueError as error:
        raise SystemExit(f"train.py: {error}") from error
