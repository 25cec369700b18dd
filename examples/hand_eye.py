"""Finds where a robot's camera stands from masks of its arm in several joint states.

    python examples/hand_eye.py

A camera beside a robot sees its arm, whose model and joint angles are known. Where is the camera,
seen from the robot's base? No target is needed, only masks: those of eight states are compared with
what the model shows from where the camera is thought to be, and `fitting.least_squares` moves the
camera, first on small pictures, which see where to go from afar, then on larger ones.

The camera has 640 x 480 pixels, and is calibrated: K, and a lens that distorts. Its masks are
undistorted once, so that all is drawn without a lens, in which edges are straight. They are
MuJoCo's own where OSMesa is there to draw them (or MUJOCO_GL says what is), else this renderer's,
and have whole pixels, 0 or 1. From 5 cm and 5 degrees off the camera is found to less than 1 mm and
0.1 degrees. Needs `pip install mujoco`, and for its pictures `pip install PyOpenGL`.

The first pictures have the gradient of "antialias", which is quick; the last that of "edge", which
sees faces smaller than a pixel too, and ends nearer.
"""

import argparse
import ctypes.util
import dataclasses
import importlib.util
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from jaxrender.fitting import Rotation, Schedule, least_squares
from jaxrender.rotations import angle_between, from_axis_angle

ARM = """
<mujoco>
 <visual><quality numslices="20" numstacks="10"/><global offwidth="2048" offheight="1600"/></visual>
 <asset>
  <mesh name="fin" vertex="-.05 -.04 0  .05 -.04 0  .05 .04 0  -.05 .04 0  .09 0 .16  .02 0 .2"/>
  <mesh name="wedge" vertex="-.04 -.03 0 .04 -.03 0 .04 .03 0 -.04 .03 0 0 -.03 .12 .03 .03 .09"/>
 </asset>
 <worldbody>
  <camera name="eye" focalpixel="1 1" sensorsize="1 1" resolution="1 1"/>
  <geom type="box" size=".12 .1 .03" pos="0 0 .03"/>
  <body pos="0 0 .06"><joint axis="0 0 1"/>
   <geom type="cylinder" size=".07 .06" pos="0 0 .06"/>
   <geom type="mesh" mesh="fin" pos="-.05 0 .05" euler="0 -60 0"/>
   <body pos="0 0 .15"><joint axis="0 1 0"/>
    <geom type="capsule" size=".05" fromto="0 -.05 0 0 .07 0"/>
    <geom type="box" size=".035 .03 .15" pos="0 .05 .15"/>
    <body pos="0 0 .3"><joint axis="0 1 0"/>
     <geom type="ellipsoid" size=".06 .09 .05"/>
     <geom type="capsule" size=".035" fromto="0 0 .02 .04 0 .24"/>
     <body pos=".04 0 .24"><joint axis="0 0 1"/>
      <geom type="mesh" mesh="wedge"/>
      <body pos="0 0 .1"><joint axis="0 1 0"/>
       <geom type="cylinder" size=".03 .05" euler="90 0 0"/>
       <body pos="0 0 .05"><joint axis="0 0 1"/>
        <geom type="box" size=".05 .02 .025" pos="0 0 .0"/>
        <geom type="box" size=".008 .015 .05" pos=".04 0 .07"/>
        <geom type="box" size=".008 .015 .03" pos="-.04 0 .05"/>
       </body>
      </body>
     </body>
    </body>
   </body>
  </body>
 </worldbody>
</mujoco>
"""
SIZE = (480, 640)
K = ((610.0, 0.0, 327.3), (0.0, 606.0, 236.1), (0.0, 0.0, 1.0))
LENS = (-0.21, 0.08, 0.0012, -0.0009, 0.0)
EYE, TARGET = (0.95, -0.65, 0.6), (0.1, 0.0, 0.36)  # where it stands, metres, and looks
AWAY, ANGLE = 0.05, 5.0  # how far off it is thought to be at first: metres, degrees
SAMPLES = 2  # of what is before the lens, along each side of a pixel

# Two passes: of which part of the size pictures are, the gradient of their edges, how many steps,
# and by how many of their pixels they are blurred at the first step and at the last.
PASSES = (
    (4, "antialias", Schedule(steps=6, sigma=None, weights={"blur": (16.0, 2.0)})),
    (2, "edge", Schedule(steps=3, sigma=None, weights={"blur": (2.0, 1.0)})),
)


def placed(camera: jr.Camera, turn: jax.Array, eye: jax.Array) -> jr.Camera:
    """The camera, standing and looking as said."""
    return dataclasses.replace(camera, rotation=turn, translation=-turn @ eye)


def joint_states(model: Any, count: int) -> list[Any]:
    """The arm in so many states, as one would drive it to."""
    mujoco: Any = importlib.import_module("mujoco")  # Any: it has no types
    random, states = np.random.default_rng(5), []
    for _ in range(count):
        data = mujoco.MjData(model)
        data.qpos = random.uniform(-1, 1, model.nq) * [1.5, 0.7, 1.0, 1.5, 1.3, 1.5]
        mujoco.mj_forward(model, data)
        states.append(data)
    return states


def drawn_by_mujoco(model: Any, states: list[Any], ideal: jr.Camera) -> np.ndarray:
    """Where MuJoCo has the arm `[H, W, S]`, seen by a camera without a lens."""
    mujoco: Any = importlib.import_module("mujoco")
    lens: Any = ideal.projection
    (fx, _, cx), (_, fy, cy), _ = np.asarray(lens.matrix, float)
    height, width = lens.image_size
    number = model.camera("eye").id
    model.cam_sensorsize[number] = model.cam_resolution[number] = width, height
    model.cam_intrinsic[number] = fx, fy, width / 2 - cx, height / 2 - cy
    model.cam_pos[number] = np.asarray(jr.camera_position(ideal))
    axes = np.asarray(ideal.rotation, float).T * [1, 1, -1]  # it looks along -z
    mujoco.mju_mat2Quat(model.cam_quat[number], axes.ravel())
    masks = []
    with mujoco.Renderer(model, SAMPLES * height, SAMPLES * width) as renderer:
        renderer.enable_segmentation_rendering()
        for data in states:
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, number)
            masks.append(renderer.render()[..., 0] >= 0)
    return np.stack(masks, axis=-1)


def drawn_by_us(scene: jr.Scene, poses: jax.Array, ideal: jr.Camera) -> np.ndarray:
    """The same, by this renderer."""
    lens: Any = ideal.projection
    size = tuple(SAMPLES * side for side in lens.image_size)
    draw = jax.jit(lambda poses: jr.render(scene.at(poses), ideal, image_size=size).face)
    return np.stack([np.asarray(draw(one)) >= 0 for one in poses], axis=-1)


def has_opengl() -> bool:
    """Whether MuJoCo can draw without a screen; if by OSMesa, tells it so."""
    osmesa = importlib.util.find_spec("OpenGL") and ctypes.util.find_library("OSMesa")
    if osmesa:
        os.environ.setdefault("MUJOCO_GL", "osmesa")
    return os.environ.get("MUJOCO_GL", "") not in ("", "disable")


def seen(masks: np.ndarray, camera: jr.Camera, ideal: jr.Camera) -> np.ndarray:
    """What the camera sees of them at the centres of its pixels: `[480, 640, S]`."""
    through_lens = jax.jit(lambda masks: jr.distort(masks, camera, ideal, filter="nearest"))
    return np.asarray(through_lens(masks.astype(np.uint8)))


def means(pictures: Any, side: int) -> Any:
    """Means of squares of so many pixels; the pictures `[H, W, S]`."""
    height, width, count = pictures.shape
    return pictures.reshape(height // side, side, width // side, side, count).mean((1, 3))


def blurred(pictures: jax.Array, width: jax.Array) -> jax.Array:
    """Convolved with a Gaussian of so many pixels `[]`; the pictures `[H, W, S]`, 0 beyond."""

    def kernel(side: int) -> jax.Array:
        away = np.arange(side)[:, None] - np.arange(side)[None]
        weights = jnp.exp(-0.5 * (away / width) ** 2)
        return weights / weights[side // 2].sum()

    height, width_ = pictures.shape[:2]
    return jnp.einsum("ij,jks,lk->ils", kernel(height), pictures, kernel(width_))


def search(
    scene: jr.Scene, poses: jax.Array, masks: jax.Array, camera: jr.Camera, starts: dict
) -> dict:
    """Moves the camera from all starts; the masks `[480, 640, S]` are as without the lens."""
    for part, gradient, schedule in PASSES:
        wanted = means(masks, part)
        size = SIZE[0] // part, SIZE[1] // part
        rasterizer = jr.Hard(visibility_gradient=gradient)

        def residuals(
            params: dict, blur: jax.Array, size=size, wanted=wanted, rasterizer=rasterizer
        ) -> jax.Array:
            here = placed(camera, params["turn"], params["eye"])

            def draw(poses: jax.Array) -> jax.Array:
                arm = scene.at(poses)
                return jr.silhouette(arm, here, image_size=size, rasterizer=rasterizer)

            return blurred(jax.vmap(draw, out_axes=-1)(poses) - wanted, blur)

        found = least_squares(
            residuals,
            {"turn": Rotation(starts["turn"]), "eye": starts["eye"]},
            steps=schedule.steps,
            many=True,
            chunk=1,
            schedules=schedule.functions(),
            progress=f"Pictures of {size[1]} x {size[0]}",
        )
        starts = found.every
    return starts


def random_starts(key: jax.Array, turn: jax.Array, eye: jax.Array, count: int) -> dict:
    """Cameras that stand and look wrongly by as much as one is thought to."""
    axes, ways = jax.random.normal(key, (2, count, 3))
    axes, ways = (v / jnp.linalg.norm(v, axis=1, keepdims=True) for v in (axes, ways))
    return {
        "turn": turn[None] @ from_axis_angle(jnp.radians(ANGLE) * axes),
        "eye": eye[None] + AWAY * ways,
    }


def main(count: int, starts: int, by_mujoco: bool, output: Path) -> tuple[float, float]:
    """Finds the camera from all starts; returns how far the worst is off: metres, degrees."""
    mujoco: Any = importlib.import_module("mujoco")
    model = mujoco.MjModel.from_xml_string(ARM)
    states = joint_states(model, count)
    scene = jr.mujoco.scene_from_model(model)
    poses = jnp.stack([jr.mujoco.poses(data) for data in states])

    # See the arm through the lens, from where the camera is.
    turn, eye = jr.look_at(EYE, at=TARGET, up=(0, 0, 1)).rotation, jnp.array(EYE)
    lens = jr.pinhole(jnp.array(K), jnp.eye(3), jnp.zeros(3), jnp.array(LENS), image_size=SIZE)
    camera = placed(lens, turn, eye)
    ideal = jr.undistorted_camera(camera)
    masks = seen(
        drawn_by_mujoco(model, states, ideal) if by_mujoco else drawn_by_us(scene, poses, ideal),
        camera,
        ideal,
    )

    # Undistort it, once, and find the camera.
    ideal = jr.undistorted_camera(lens, cover=False)
    straight = jax.jit(lambda masks: jr.undistort(masks, lens, ideal))(masks.astype(np.float32))
    at_first = random_starts(jax.random.key(0), turn, eye, starts)
    found = search(scene, poses, straight, ideal, at_first)
    away = np.linalg.norm(found["eye"] - eye[None], axis=1)
    angles = np.asarray(angle_between(found["turn"], turn[None]))
    print(
        f"{'MuJoCo' if by_mujoco else 'Own'} masks of {count} states: from {100 * AWAY:.0f} cm and "
        f"{ANGLE:.0f} degrees off to {1e3 * away.max():.3f} mm and {angles.max():.4f} degrees"
        + (f" at most, from {starts} starts" if starts > 1 else "")
    )

    # Show the masks in blue, and in red what the model shows: at first, and at last.
    shown = []
    for cameras in (at_first, found):
        here = placed(ideal, cameras["turn"][0], cameras["eye"][0])
        for k in range(min(count, 3)):
            drawn = jr.silhouette(scene.at(poses[k]), here, image_size=SIZE)
            shown.append(jnp.stack([drawn, 0.6 * drawn, straight[..., k]], axis=-1))
    half = len(shown) // 2
    rows = [jnp.concatenate(row, axis=1) for row in (shown[:half], shown[half:])]
    jr.io.save_image(output, jnp.concatenate(rows)[::2, ::2])
    return float(away.max()), float(angles.max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=8, help="of the arm's joints")
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument(
        "--masks",
        choices=("mujoco", "own"),
        default="mujoco" if has_opengl() else "own",
        help="who draws what the camera sees",
    )
    parser.add_argument("--output", type=Path, default=Path("out/hand_eye.png"))
    options = parser.parse_args()
    main(options.states, options.starts, options.masks == "mujoco", options.output)
