"""From pixels to controls: an arm reaches the pose of a picture, by its gradient through MJX.

    python examples/mjx_reach.py --output out/mjx_reach.gif

An arm of two links hangs from a hinge, each joint with a motor. One picture shows where it is to
be after a third of a second. The torques of the motors, one for each of eight stretches of that
time, are found by Adam from the gradient of the links' silhouettes in the last state to them:
through the renderer, `mujoco.mjx.kinematics` and all steps of the simulation. The joints end within
a tenth of a degree of where they were to be. Needs `pip install mujoco-mjx`.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrender as jr
from jaxrender import io

ARM = """
<mujoco>
 <option timestep="0.01" gravity="0 0 -3"><flag contact="disable" constraint="disable"/></option>
 <worldbody>
  <light pos="0 -2 3" dir="0 .5 -1" cutoff="80"/>
  <geom type="plane" size="2 2 .1" pos="0 0 -1.3" rgba=".6 .65 .7 1"/>
  <body pos="0 0 0"><joint name="a" type="hinge" axis="0 1 0" damping=".4"/>
   <geom type="capsule" fromto="0 0 0 0 0 -.5" size=".07" rgba=".8 .3 .2 1" mass="1"/>
   <body pos="0 0 -.5"><joint name="b" type="hinge" axis="0 1 0" damping=".2"/>
    <geom type="capsule" fromto="0 0 0 0 0 -.4" size=".05" rgba=".2 .4 .8 1" mass=".5"/></body>
  </body>
  <camera name="side" pos="0 -3 -.4" xyaxes="1 0 0 0 0 1" fovy="40"/>
 </worldbody>
 <actuator><motor joint="a" gear="4"/><motor joint="b" gear="2"/></actuator>
</mujoco>
"""
STRETCHES, STEPS = 8, 4  # of one torque each, and simulation steps in each
SIZE = (48, 48)
OBJECTS = np.array([1, 2])  # the links


def main() -> None:
    """Finds the torques, and shows how."""
    parser = argparse.ArgumentParser(description="An arm reaches the pose of a picture.")
    parser.add_argument("--steps", type=int, default=120, help="of Adam (default: 120)")
    parser.add_argument("--output", type=Path, default=None, help="a GIF of all attempts")
    options = parser.parse_args()

    # Imported here, so that --help needs neither.
    mujoco: Any = importlib.import_module("mujoco")  # Any: it has no types
    mjx: Any = importlib.import_module("mujoco.mjx")

    model = mujoco.MjModel.from_xml_string(ARM)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene, device = jr.mujoco.scene_from_model(model), mjx.put_model(model)
    camera = jr.mujoco.camera(model, data, "side")
    lights = jr.mujoco.lights(model, data, camera)
    start = mjx.put_data(model, data)

    def simulated(torques):
        """The last state, and the poses of the geoms in it."""

        def stretch(state, torque):
            for _ in range(STEPS):
                state = mjx.step(device, state.replace(ctrl=torque))
            return state, None

        state, _ = jax.lax.scan(stretch, start, torques)
        return state.qpos, jr.mujoco.poses(mjx.kinematics(device, state))

    def mask(poses, sigma):
        return jr.silhouette(
            scene.at(poses),
            camera,
            OBJECTS,
            image_size=SIZE,
            rasterizer=jr.Soft(sigma=sigma),
        )

    def loss(torques, sigma):
        qpos, poses = simulated(torques)
        return jnp.square(mask(poses, sigma) - mask(wanted, sigma)).mean(), (qpos, poses)

    # Show where it shall be: where unknown torques bring it.
    random = np.random.default_rng(3)
    torques = jnp.asarray(random.normal(size=(STRETCHES, 2)) * 0.5 + [0.9, -0.7])
    goal, wanted = jax.jit(simulated)(torques)

    # Start from none, with silhouettes that are blurred at first.
    torques = jnp.zeros((STRETCHES, 2))
    schedule = jr.fitting.Schedule(steps=options.steps, rate=(0.05, 0.05), sigma=(1e-2, 2e-4))
    optimizer = optax.adam(schedule.learning_rate)
    state = optimizer.init(torques)
    slope = jax.jit(jax.value_and_grad(loss, has_aux=True))
    seen = []
    for step in range(options.steps):
        sigma = schedule.functions()["sigma"](step)
        (value, (qpos, poses)), gradient = slope(torques, sigma)
        change, state = optimizer.update(gradient, state)
        torques = optax.apply_updates(torques, change)
        if step % 20 == 0 or step == options.steps - 1:
            away = np.rad2deg(np.abs(np.asarray(qpos - goal)))
            print(f"step {step:3d}  loss {value:.5f}  joints off by {away.round(2)} degrees")
        if options.output and step % 4 == 0:
            seen.append(poses)

    if options.output:
        draw = jax.jit(
            lambda poses: (
                jr.render(
                    scene.at(poses),
                    camera,
                    lights,
                    image_size=(160, 160),
                    anti_aliasing=2,
                    **jr.mujoco.options(model),
                ).rgb
            )
        )
        target = draw(wanted)
        io.save_animation(options.output, [(draw(poses) + target) / 2 for poses in seen], fps=10)


if __name__ == "__main__":
    main()
