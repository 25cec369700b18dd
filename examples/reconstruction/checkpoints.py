"""What a run leaves in its folder: checkpoints, settings and the log.

    config.json          the settings of the network and the training
    checkpoints/STEP/    what is learned, whole or not there at all
    log.jsonl            one line of JSON for every few steps

A run may be killed at any moment: orbax writes a checkpoint under another name and renames it when
it is complete, and so are the other files written. The data of a step depend on nothing but the
seed and the step, so that a run that goes on from a checkpoint does the same as one that
never stopped, bit for bit (on a GPU with XLA_FLAGS=--xla_gpu_deterministic_ops=true).
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from model import Config
from training import Settings, State


class Checkpoints:
    """The checkpoints of a run."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        """Opens the folder; `keep` is how many of the last checkpoints stay."""
        self._folder = Path(folder).absolute() / "checkpoints"
        # Save before the next step starts: that step overwrites the state's memory.
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def latest(self) -> int | None:
        """The last step that was saved; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: State) -> None:
        """Saves the state after so many steps, on all hosts together."""
        self._manager.save(step, args=ocp.args.StandardSave(_by_name(state)), force=True)

    def restore(self, step: int, like: Any, sharding: jax.sharding.Sharding) -> State:
        """Reads a state.

        Args:
            step: a step that was saved.
            like: a state of the same shapes.
            sharding: where its arrays shall lie.

        Raises:
            ValueError: the checkpoint is damaged, or is that of another network.
        """
        wanted = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for name, leaf in _by_name(like).items()
        }
        try:
            found = self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
        except Exception as error:
            raise ValueError(
                f"Cannot read the checkpoint {self._folder / str(step)} ({error}). Remove that "
                "folder to go on from the one before."
            ) from error
        return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in wanted])


def _by_name(state: Any) -> dict[str, Any]:
    """The arrays of a state by their place in it."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        f"{index:03} {jax.tree_util.keystr(path)}": leaf
        for index, (path, leaf) in enumerate(leaves)
    }


def write_config(
    folder: Path, config: Config, settings: Settings, classes: tuple[str, ...]
) -> None:
    """Writes the settings of a run."""
    known = {
        "model": dataclasses.asdict(config),
        "training": dataclasses.asdict(settings),
        "classes": list(classes),
    }
    write_text(folder / "config.json", json.dumps(known, indent=2) + "\n")


def read_config(folder: Path) -> tuple[Config, Settings, tuple[str, ...]]:
    """The settings of a run.

    Raises:
        ValueError: the folder has none, or they are damaged.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"There is no {path}. Name the folder that train.py has written.")
    try:
        known = json.loads(path.read_text())
        return Config(**known["model"]), Settings(**known["training"]), tuple(known["classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}).") from error


def cut_log(path: Path, step: int) -> None:
    """Drops the lines of the log that belong to later steps, or were not finished."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    write_text(path, "".join(kept))


def write_text(path: Path, text: str) -> None:
    """Writes a file, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    os.replace(part, path)
