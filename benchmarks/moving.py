"""`python -m benchmarks.moving`: pictures of MuJoCo models in many poses, beside `mujoco.Renderer`.

How many pictures a second, without and with the gradient to poses; how much memory; whether a batch
has the bits of a loop; and with `--agree` how far both draw the same. All run in turn, in rounds.
"CPU ms" is the time of all threads, "ms" that of the clock, both for one picture, the least of all
rounds. MuJoCo's pictures are rgb, drawn by `MUJOCO_GL` (osmesa where it is not set) on one thread,
with shadows, reflections, skybox and haze off; its states are set before, as ours are.
"""

from __future__ import annotations

import argparse
import ctypes.util
import functools
import importlib
import importlib.util
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from benchmarks.timing import peak_rss_bytes

# A model of every kind of geom: with pictures on planes and boxes, and on a ball.
EVERY_KIND = """
<mujoco model="every kind">
 <visual><headlight ambient=".1 .1 .1" diffuse=".2 .2 .2" specular="0 0 0"/></visual>
 <asset>
  <texture name="chk" type="2d" builtin="checker" rgb1=".2 .3 .4" rgb2=".7 .7 .6" width="64"
   height="64"/>
  <texture name="sky" type="cube" builtin="gradient" rgb1="1 0 0" rgb2="0 0 1" width="32"
   height="192"/>
  <material name="floor" texture="chk" texrepeat="4 4"/>
  <material name="shiny" rgba=".2 .6 .3 1" specular=".6" shininess=".4"/>
  <material name="cube" texture="sky"/>
  <mesh name="tet" vertex="0 0 0 .5 0 0 0 .4 0 0 0 .5"/>
 </asset>
 <worldbody>
  <light directional="true" dir="-.3 .4 -1" diffuse=".5 .5 .5" castshadow="false"/>
  <light pos="1 -1.5 2" dir="-.3 .5 -1" diffuse=".3 .3 .2" cutoff="180" castshadow="false"/>
  <geom type="plane" size="2 2 .1" material="floor"/>
  <body pos="0 0 .6"><freejoint/>
   <geom type="box" size=".2 .15 .1" pos="-.7 0 0" euler="20 30 10" rgba=".8 .2 .2 1"/>
   <geom type="sphere" size=".18" pos="0 0 .1" material="shiny"/>
  </body>
  <body pos=".6 .2 .7"><joint type="hinge" axis="0 1 0"/>
   <geom type="capsule" fromto="0 0 0 .3 .1 .3" size=".07" rgba=".2 .3 .9 1"/>
   <body pos=".3 .1 .3"><joint type="hinge" axis="1 0 0"/>
    <geom type="ellipsoid" size=".1 .2 .06" pos="0 .1 .1" rgba=".9 .7 .1 1"/></body>
  </body>
  <geom type="cylinder" size=".12 .2" pos="-.2 -.6 .2" rgba=".6 .2 .7 1"/>
  <geom type="mesh" mesh="tet" pos=".5 -.7 .01" rgba=".9 .9 .9 1"/>
  <geom type="box" size=".15 .15 .15" pos="1.0 -.3 .2" euler="0 0 20" material="floor"/>
  <geom type="sphere" size=".15" pos="-.5 .6 .3" material="cube"/>
  <camera pos="0.2 -2.6 1.7" xyaxes="1 0.05 0 0 0.45 0.9" fovy="45"/>
 </worldbody>
</mujoco>
"""
MOVED = 0.1  # standard deviation of what joints are off their rest, radians and scene units
FLAGS = ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX", "mjRND_HAZE", "mjRND_FOG")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser("benchmarks.moving", description=__doc__)
    option = parser.add_argument
    option("models", nargs="*", metavar="MODEL", help="MJCF or URDF (default: of every kind)")
    option("--camera", type=int, default=0, metavar="N", help="of the model; else the free one")
    option("--poses", type=int, default=1024, metavar="N", help="(default: 1024)")
    option("--chunk", type=int, default=64, metavar="N", help="drawn at once (default: 64)")
    option("--size", type=int, default=64, metavar="N", help="of pictures (default: 64)")
    option("--rounds", type=int, default=5, metavar="N", help="the least of so many (default: 5)")
    option("--agree", action="store_true", help="compare pictures of 240 x 320, time nothing")
    option("--json", type=Path, metavar="PATH", help="write the results there")
    options = parser.parse_args(argv)
    if "MUJOCO_GL" not in os.environ and ctypes.util.find_library("OSMesa"):
        os.environ["MUJOCO_GL"] = "osmesa"
    mujoco: Any = importlib.import_module("mujoco")
    rows = []
    for path in options.models or [None]:
        model = loaded(mujoco, path)
        row = agreement(mujoco, model) if options.agree else speeds(mujoco, model, options)
        rows.append({"model": "every kind" if path is None else Path(path).stem, **row})
        print(json.dumps(rows[-1], indent=1), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def loaded(mujoco: Any, path: str | None) -> Any:
    """The model, with room for pictures."""
    make = mujoco.MjSpec.from_file if path else mujoco.MjSpec.from_string
    spec = make(path or EVERY_KIND)
    spec.visual.global_.offwidth = spec.visual.global_.offheight = 640
    return spec.compile()


def states(mujoco: Any, model: Any, count: int) -> list[Any]:
    """So many states, moved at random."""
    random, found = np.random.default_rng(0), []
    for _ in range(count):
        data = mujoco.MjData(model)
        data.qpos[:] = model.qpos0
        mujoco.mj_integratePos(model, data.qpos, random.normal(0, MOVED, model.nv), 1)
        mujoco.mj_forward(model, data)
        found.append(data)
    return found


class Theirs:
    """`mujoco.Renderer` with all off that we do not draw."""

    def __init__(self, mujoco: Any, model: Any, height: int, width: int, camera: int) -> None:
        self.renderer, self.camera = mujoco.Renderer(model, height, width), camera
        self.off = [int(getattr(mujoco.mjtRndFlag, name)) for name in FLAGS]
        # Draw geoms alone, no sites, tendons and so on.
        self.option = mujoco.MjvOption()
        for kind in ("site", "tendon", "joint", "actuator", "skin", "flex"):
            getattr(self.option, f"{kind}group")[:] = 0
        for kind in ("TENDON", "ACTUATOR", "RANGEFINDER"):  # the rays of sensors too
            self.option.flags[int(getattr(mujoco.mjtVisFlag, f"mjVIS_{kind}"))] = 0
        self.samples = int(self.renderer._mjr_context.offSamples)

    def see(self, data: Any) -> None:
        """Takes a state."""
        self.renderer.update_scene(data, self.camera, self.option)
        for flag in self.off:
            self.renderer.scene.flags[flag] = 0

    def draw(self, data: Any) -> np.ndarray:
        """The picture of a state."""
        self.see(data)
        return self.renderer.render()

    def parts(self, data: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colours, depth, and geoms or -1."""
        rgb = self.draw(data).copy()
        self.renderer.enable_depth_rendering()
        depth = self.renderer.render().copy()
        self.renderer.disable_depth_rendering()
        self.renderer.enable_segmentation_rendering()
        geom = self.renderer.render()[..., 0].copy()
        self.renderer.disable_segmentation_rendering()
        return rgb, depth, geom


def speeds(mujoco: Any, model: Any, options: Any) -> dict[str, Any]:
    """What one model takes, ours and theirs."""
    number = options.camera if 0 <= options.camera < model.ncam else -1
    seen = states(mujoco, model, options.poses)
    scene, camera = scene_of(model), jr.mujoco.camera(model, seen[0], number)
    lights, settings = jr.mujoco.lights(model, seen[0], camera), jr.mujoco.options(model)
    poses = jnp.stack([jr.mujoco.poses(data) for data in seen])
    size = options.size, options.size
    weights = jax.random.normal(jax.random.key(0), (*size, 3))

    def picture(poses: jax.Array, **how: Any) -> jr.Image:
        return jr.render(scene.at(poses), camera, lights, image_size=size, **settings, **how)

    def drawn(poses: jax.Array) -> Any:
        image = picture(poses)
        return image.rgb, image.depth, image.object

    def loss(poses: jax.Array) -> jax.Array:
        rgb = picture(poses, rasterizer=jr.Hard(visibility_gradient="antialias")).rgb
        return jnp.sum(rgb * weights)

    def many(one: Callable) -> Any:
        return jax.jit(lambda poses: jax.lax.map(one, poses, batch_size=options.chunk))

    programs = {"ours": many(drawn), "ours, with gradient": many(jax.value_and_grad(loss))}
    compiled = {name: program.lower(poses).compile() for name, program in programs.items()}
    runs: dict[str, Callable[[], Any]] = {
        name: functools.partial(lambda program: jax.block_until_ready(program(poses)), program)
        for name, program in compiled.items()
    }
    asked = int(model.vis.quality.offsamples)
    for samples in sorted({0, asked}):
        model.vis.quality.offsamples = samples
        theirs = Theirs(mujoco, model, *size, number)
        name = f"mujoco.Renderer, {max(theirs.samples, 1)} samples per pixel"
        runs[name] = functools.partial(lambda theirs: [theirs.draw(data) for data in seen], theirs)

    # Take turns, each of them once before.
    found = dict.fromkeys(runs, np.full(2, np.inf))
    for turn in range(options.rounds + 1):
        for name, run in runs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            spent = np.array([time.process_time() - cpu, time.perf_counter() - wall])
            if turn:
                found[name] = np.minimum(found[name], 1e3 * spent / len(seen))
    return {
        "faces": len(scene.parts.faces),
        "vertices": len(scene.parts.part_of_vertex),
        "size": options.size,
        "poses": options.poses,
        "chunk": options.chunk,
        "platform": os.environ.get("MUJOCO_GL", ""),
        "CPU ms, ms": {name: times.round(3).tolist() for name, times in found.items()},
        "temporary kB for each of a chunk": {
            name: round(program.memory_analysis().temp_size_in_bytes / options.chunk / 1e3)
            for name, program in compiled.items()
        },
        "peak MB of this process": round(peak_rss_bytes() / 1e6),
        "unlike a loop": unlike(jax.jit(drawn), compiled["ours"](poses), poses),
    }


def unlike(one: Callable, several: Any, poses: jax.Array) -> dict[str, Any]:
    """Which part of the numbers of a batch has other bits than those of each pose alone."""
    alone = [np.stack(part) for part in zip(*map(one, poses), strict=True)]
    names = "rgb", "depth", "object"
    return {
        name: float(np.mean(np.asarray(own) != loop))
        for name, own, loop in zip(names, several, alone, strict=True)
    }


def scene_of(model: Any) -> jr.Scene:
    """The scene of a model, without a word of what of it is not drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jr.mujoco.scene_from_model(model)


def agreement(mujoco: Any, model: Any) -> dict[str, Any]:
    """How far both draw the same: the worst of five states, from two cameras each."""
    height, width = 240, 320
    scene, settings = scene_of(model), jr.mujoco.options(model)
    seen = states(mujoco, model, 5)
    numbers = [number for number in (0, 1, -1) if number < model.ncam][:2]
    draw = jax.jit(
        lambda *args: jr.render(
            scene.at(args[0]), *args[1:], image_size=(height, width), **settings
        )
    )
    equal, off, depths, colors = [], [], [], []
    for number in numbers:
        theirs = Theirs(mujoco, model, height, width, number)
        for data in seen:
            camera = jr.mujoco.camera(model, data, number)
            image = draw(jr.mujoco.poses(data), camera, jr.mujoco.lights(model, data, camera))
            rgb, depth, geom = theirs.parts(data)
            same = np.asarray(image.object) == geom
            inner = ~near_edge(geom)
            equal.append(same.mean())
            off.append(int((~same & inner).sum()))
            there = same & inner & (geom >= 0)
            depths.append(np.abs(np.asarray(image.depth) / depth - 1)[there].max(initial=0))
            colors.append(np.abs(np.clip(image.rgb, 0, 1) * 255 - rgb).mean())
    return {
        "geoms": int(model.ngeom),
        "faces": len(scene.parts.faces),
        "cameras": len(numbers),
        "equal": float(np.min(equal)),
        "off": int(np.max(off)),
        "depth": float(np.max(depths)),
        "color": float(np.max(colors)),
    }


def near_edge(ids: np.ndarray) -> np.ndarray:
    """Which pixels have another id within one pixel, diagonals included."""
    padded, (height, width) = np.pad(ids, 1, mode="edge"), ids.shape
    moved = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.any([other != ids for other in moved], axis=0)


if __name__ == "__main__":
    raise SystemExit(main())
