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
    def turned(turn: jax.Array, vector: jax.Array) -> jax.Array:
        return (turn * vector[None]).sum(1)

    def product(one: jax.Array, other: jax.Array) -> jax.Array:
        return (one[:, :, None] * other[None]).sum(1)

    # Go down from the world; parents stand before their children.
    moves, first = qpos - rows(start), np.asarray(model.jnt_qposadr)
    places, rests = rows(model.body_pos), from_quaternion(rows(model.body_quat))
    axes, anchors = rows(model.jnt_axis), rows(model.jnt_pos)
    bodies = [(jnp.zeros(3, dtype), jnp.eye(3, dtype=dtype))]
    for body in range(1, int(model.nbody)):
        origin, frame = bodies[int(model.body_parentid[body])]
        place, turn = origin + turned(frame, places[body]), product(frame, rests[body])
        begin, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        for joint in range(begin, begin + count):
            kind, own = int(model.jnt_type[joint]), int(first[joint])
            if kind == FREE:
                place, turn = qpos[own : own + 3], from_quaternion(qpos[own + 3 : own + 7])
            elif kind == SLIDE:
                place = place + turned(turn, axes[joint]) * moves[own]
            else:
                anchor = place + turned(turn, anchors[joint])
                if kind == BALL:
                    swing = from_quaternion(qpos[own : own + 4])
                else:
                    swing = from_axis_angle(axes[joint] * moves[own])
                turn = product(turn, swing)
                place = anchor - turned(turn, anchors[joint])
        bodies.append((place, turn))

    # Put the geoms on their bodies.
    owner = np.asarray(model.geom_bodyid)
    origins = jnp.stack([place for place, _ in bodies])[owner]
    frames = jnp.stack([turn for _, turn in bodies])[owner]
    local = from_quaternion(rows(model.geom_quat))
    positions = origins + (frames * rows(model.geom_pos)[:, None]).sum(2)
    return as_poses(positions, (frames[:, :, :, None] * local[:, None]).sum(2))
