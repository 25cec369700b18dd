"""Forward kinematics of a MuJoCo model in JAX: where its geoms are, by its joints.

Shape legend: `N` geoms, `Q` joint positions.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._checks import check_array
from jaxrender.mujoco.state import as_poses, check_model
from jaxrender.rotations import from_axis_angle, from_quaternion

# mjtJoint.
FREE, BALL, SLIDE, HINGE = range(4)


def kinematics(model: Any, qpos: ArrayLike) -> jax.Array:
    """Where the joints of a model bring its geoms, for `Scene.at`.

    What `mujoco.mj_kinematics` computes, differentiable, and without MJX: for models read from URDF
    or MJCF, whose joints are to be found. A simulation in JAX is `mjx.step`.

    Gradient: exact.

    Args:
        model: a `mujoco.MjModel`; its arrays are constants of the program.
        qpos: `[Q]` positions of the joints, radians and scene units, in MuJoCo's order. Mocap
            bodies stay where the model has them.

    Returns:
        `[N, 4, 4]`.

    Raises:
        ValueError: it is no model, or `qpos` has another shape.

    Example:
        >>> import mujoco
        >>> import jaxrender.mujoco
        >>> model = mujoco.MjModel.from_xml_string(
        ...     "<mujoco><worldbody><body pos='0 0 1'><joint axis='0 1 0'/>"
        ...     "<geom size='.1' pos='1 0 0'/></body></worldbody></mujoco>"
        ... )
        >>> poses = jaxrender.mujoco.kinematics(model, [0.5 * 3.14159265])
        >>> (poses[0, :3, 3].round(4) + 0).tolist()
        [0.0, 0.0, 0.0]
    """
    check_model(model)
    start = np.asarray(model.qpos0, np.float64)
    qpos = check_array("qpos", qpos, (len(start),), finite=True, dtype=jnp.result_type(float))
    dtype = qpos.dtype

    def rows(values: Any) -> jax.Array:
        return jnp.asarray(np.asarray(values), dtype)

    # Turn by sums of products, which a batch has the bits of.
    def turned(turns: jax.Array, vectors: jax.Array) -> jax.Array:
        return (turns * vectors[:, None]).sum(2)

    def product(ones: jax.Array, others: jax.Array) -> jax.Array:
        return (ones[:, :, :, None] * others[:, None]).sum(2)

    # Move each body within its parent, by its first joint, the second, and so on: all bodies at
    # once, since a program of one after the other takes long to compile.
    places, turns = rows(model.body_pos), from_quaternion(rows(model.body_quat))
    numbers, kinds = np.asarray(model.body_jntnum), np.asarray(model.jnt_type)
    axes, anchors = rows(model.jnt_axis), rows(model.jnt_pos)
    moves, first = qpos - rows(start), np.asarray(model.jnt_qposadr)
    for nth in range(int(numbers.max(initial=0))):
        have = np.flatnonzero(numbers > nth)
        joints = np.asarray(model.body_jntadr)[have] + nth
        for kind in np.unique(kinds[joints]):
            chosen = kinds[joints] == kind
            bodies, own = have[chosen], joints[chosen]
            at, place, frame = first[own], places[bodies], turns[bodies]
            quaternion = at[:, None] + np.arange(4)
            if kind == FREE:
                place, frame = qpos[quaternion[:, :3]], from_quaternion(qpos[quaternion + 3])
            elif kind == SLIDE:
                place = place + turned(frame, axes[own]) * moves[at][:, None]
            else:
                anchor = place + turned(frame, anchors[own])
                if kind == BALL:
                    swing = from_quaternion(qpos[quaternion])
                else:
                    swing = from_axis_angle(axes[own] * moves[at][:, None])
                frame = product(frame, swing)
                place = anchor - turned(frame, anchors[own])
            places, turns = _put(places, bodies, place), _put(turns, bodies, frame)

    # Go down from the world, to the children of all bodies of a level at once.
    parents = np.asarray(model.body_parentid)
    level, origins, frames = np.zeros(1, int), places[:1], turns[:1]
    levels = [(level, origins, frames)]
    while len(level := np.flatnonzero(np.isin(parents, level) & (np.arange(len(parents)) > 0))):
        above = np.searchsorted(levels[-1][0], parents[level])
        origins = origins[above] + turned(frames[above], places[level])
        frames = product(frames[above], turns[level])
        levels.append((level, origins, frames))
    order = np.argsort(np.concatenate([level for level, _, _ in levels]))
    origins = jnp.concatenate([origins for _, origins, _ in levels])[order]
    frames = jnp.concatenate([frames for _, _, frames in levels])[order]

    # Put the geoms on their bodies.
    owner = np.asarray(model.geom_bodyid)
    origins, frames = origins[owner], frames[owner]
    positions = origins + turned(frames, rows(model.geom_pos))
    return as_poses(positions, product(frames, from_quaternion(rows(model.geom_quat))))


def _put(table: jax.Array, rows: np.ndarray, values: jax.Array) -> jax.Array:
    """The table with other values in some rows."""
    source = np.arange(len(table))
    source[rows] = len(table) + np.arange(len(rows))
    return jnp.concatenate([table, values])[source]
