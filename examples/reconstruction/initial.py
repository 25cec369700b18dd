"""What a training starts from: the weights of another run, whose sphere may be coarser.

A coarse sphere takes a fraction of the time, and most of what is learned with it, how to see, is
not about vertices. So train with it first, then go on with a finer one.

Shapes: `V` vertices of the finer sphere, `U` of the coarser one, `H` features of the decoder.
"""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from checkpoints import Checkpoints, read_config
from model import Config, template
from training import State, Trainer, make_trainer


def started(trainer: Trainer, config: Config, run: Path) -> State:
    """The first state of a training, with the weights and batch statistics of a run.

    Args:
        trainer: of the training.
        config: of its network.
        run: the folder that train.py has written; its last checkpoint is taken.

    Raises:
        ValueError: there is no such run or checkpoint, its network is another one, or its sphere
            is finer.
    """
    coarse, settings, _ = read_config(run)
    if dataclasses.replace(coarse, subdivisions=config.subdivisions) != config:
        raise ValueError(f"{run} has the network {coarse}, not {config}. Pass its --channels, …")
    if coarse.subdivisions > config.subdivisions:
        raise ValueError(
            f"{run} has a sphere of {coarse.subdivisions} subdivisions. Pass at least as many, got "
            f"{config.subdivisions}."
        )
    checkpoints = Checkpoints(run)
    step = checkpoints.latest()
    if step is None:
        raise ValueError(f"{run} has no checkpoint yet.")
    settings = dataclasses.replace(settings, batch=jax.device_count())
    like = jax.eval_shape(make_trainer(coarse, settings).init)
    known = checkpoints.restore(step, like, trainer.replicated)
    params = jax.tree.map(np.asarray, known.params)

    # Let the rows of the last layers, three or a palette of each vertex, become those of more.
    for level in range(coarse.subdivisions, config.subdivisions):
        shares = between(level)
        params = eqx.tree_at(
            lambda p: (p.biases.weight, p.biases.bias),
            params,
            replace_fn=lambda rows, shares=shares: _finer(rows, shares),
        )
        if coarse.palette:
            params = eqx.tree_at(
                lambda p: (p.painter.selecting.weight, p.painter.selecting.bias),
                params,
                replace_fn=lambda rows, shares=shares: _finer(rows, shares.mean(0, keepdims=True)),
            )

    # Only the structure tells of another sphere.
    state = trainer.init()
    parts = {"params": params, "statistics": known.statistics}
    return state._replace(
        **{
            name: jax.device_put(
                jax.tree.unflatten(jax.tree.structure(getattr(state, name)), jax.tree.leaves(part)),
                trainer.replicated,
            )
            for name, part in parts.items()
        }
    )


def _finer(rows: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Rows `[V K, …]` of a layer from those `[U K, …]` of the coarser sphere.

    Args:
        rows: `K` of each vertex in turn.
        shares: `[A, V, U]` of the vertices, by axis, where `A` is `K`, or 1 for all rows the same.
    """
    by_vertex = rows.reshape(shares.shape[2], -1, *rows.shape[1:])
    shares = np.broadcast_to(shares, (by_vertex.shape[1], *shares.shape[1:]))
    finer = np.einsum("avu,ua...->va...", shares, by_vertex)
    return finer.reshape(-1, *rows.shape[1:]).astype(rows.dtype)


def between(level: int) -> np.ndarray:
    """What share each vertex of a sphere has in those of the next finer one, by axis.

    A vertex that both have takes what it had, and a new one the mean of the two ends of its edge.
    An end on a plane between octants has learned nothing about the axis across, as it stays there:
    then the other end counts alone.

    Args:
        level: subdivisions of the coarser sphere.

    Returns:
        `[3, V, U]`; rows sum to 1.
    """
    coarse, fine = template(level), template(level + 1)
    ends = np.unique(
        np.sort(np.stack([coarse.faces, np.roll(coarse.faces, 1, 1)], -1), -1).reshape(-1, 2),
        axis=0,
    )
    old = np.stack([np.arange(len(coarse.vertices))] * 2, -1)
    ends = np.concatenate([old, ends])
    middles = coarse.vertices[ends].sum(1)
    middles /= 2 * np.linalg.norm(middles, axis=1, keepdims=True)
    place = (fine.vertices @ middles.T).argmax(1)  # [V]
    ends = ends[place]  # [V, 2]

    free = np.abs(coarse.vertices[ends]) > 1e-6  # [V, 2, 3]
    weights = np.where(free.any(1, keepdims=True), free, True).astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    shares = np.zeros((3, len(fine.vertices), len(coarse.vertices)))
    rows = np.arange(len(ends))
    for end in range(2):
        for axis in range(3):
            shares[axis, rows, ends[:, end]] += weights[:, end, axis]
    return shares
