"""`python -m benchmarks.hands`: hands fitted to a depth picture and to a photograph, beside deodr.

deodr (`pip install deodr`) comes with both pictures, a mesh of a hand, and two examples that bend
it to them. Its energy is

    E = Σ |I - I₀|² + ½ c |L (v - v₀)|²

with the graph's Laplacian `L`, over the vertices `v` about their mean, a turn and a shift; and for
the photograph a colour and two lights. Its fitter runs twice from the same start: as it is, and
with our pictures, by "antialias", and our gradient in place of its own. Both run as long as its
examples do, and as long again thrice, the last time by steps of 0.3 of their size, since the steps
of the examples go to and fro. What is found is drawn by the other as well.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr

RIGID = 1000.0  # c
STEPS = {"depth picture": 300, "photograph": 100}  # as its examples
FURTHER = (1.0, 1.0, 0.3)  # as long again each, and what steps are made smaller by before
RESULTS = Path(__file__).parent / "results" / "hands.json"
FARTHEST, DEPTH_SCALE, FOCAL = 450.0, 110 / 450, 241.0  # as its examples have them
BACKGROUND = np.array([0.5, 0.6, 0.7])


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser("benchmarks.hands", description=__doc__)
    option = parser.add_argument
    option("--only", default="", metavar="TEXT", help="only what has TEXT in its name")
    option("--json", type=Path, default=RESULTS, metavar="PATH", help="where results are kept")
    options = parser.parse_args(argv)
    results = json.loads(options.json.read_text()) if options.json.exists() else {}
    for name, make in {"depth picture": depth_fitter, "photograph": photograph_fitter}.items():
        if options.only in name:
            results[name] = compare(name, make)
            print(name, results[name], flush=True)
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


# --- deodr's --------------------------------------------------------------------------------------


def _imported() -> tuple[Any, Any]:
    """deodr, and its fitters."""
    return importlib.import_module("deodr"), importlib.import_module("deodr.mesh_fitter")


def depth_fitter() -> Any:
    """Its fitter of a depth picture, as its example sets it up."""
    deodr, fitters = _imported()
    folder = Path(deodr.data_path)
    depth = np.fromfile(folder / "depth.bin", np.float32).reshape(240, 320).astype(float)
    depth = np.fliplr(depth)[20:-20, 60:-60].copy()
    depth[depth == 0] = FARTHEST
    faces, vertices = deodr.read_obj(str(folder / "hand.obj"))
    fitter = fitters.MeshDepthFitter(vertices, faces, np.full(3, 0.1), np.zeros(3), cregu=RIGID)
    fitter.set_image(depth / FARTHEST, focal=FOCAL, distortion=np.array([1.0, 0, 0, 0, 0]))
    fitter.set_max_depth(1)
    fitter.set_depth_scale(DEPTH_SCALE)
    return fitter


def photograph_fitter() -> Any:
    """Its fitter of a photograph, likewise."""
    import imageio.v3 as iio

    deodr, fitters = _imported()
    folder = Path(deodr.data_path)
    faces, vertices = deodr.read_obj(str(folder / "hand.obj"))
    middle = vertices.mean(0)
    fitter = fitters.MeshRGBFitterWithPose(
        vertices - middle,
        faces,
        default_color=np.array([0.4, 0.3, 0.25]),
        default_light_directional=-np.array([0.1, 0.5, 0.4]),
        default_light_ambient=0.6,
        euler_init=np.zeros(3),
        translation_init=middle,
        cregu=RIGID,
    )
    photograph = iio.imread(folder / "hand.png").astype(float) / 255
    fitter.set_image(photograph, distortion=np.array([-1.0, 0, 0, 0, 0]))
    fitter.set_background_color(BACKGROUND)
    return fitter


# --- ours -----------------------------------------------------------------------------------------


def compare(name: str, make: Callable[[], Any]) -> dict[str, Any]:
    """Their energies and time, and ours."""
    theirs, ours = make(), make()
    put_ours_in(ours)
    run(ours, 1)  # compiles
    ours.reset()
    result: dict[str, Any] = {"steps": STEPS[name]}
    for who, fitter in (("deodr", theirs), ("jaxrender", ours)):
        energies, seconds = run(fitter, STEPS[name])
        row = {"start": energies[0], "as_its_example": min(energies), "cpu_s": seconds}
        for share in FURTHER:
            for what in ("vertices", "quaternion", "translation"):
                factor = f"step_factor_{what}"
                setattr(fitter, factor, share * getattr(fitter, factor))
            energies, _ = run(fitter, STEPS[name])
        result[who] = {**row, "at_last": energies[-1]}
    result["jaxrender"]["drawn_by_other"] = energy_of(make(), ours)
    result["deodr"]["drawn_by_other"] = energy_of(ours, theirs)  # changes ours
    return result


def run(fitter: Any, count: int) -> tuple[list[float], float]:
    """The energies of so many steps, and the processor time."""
    begun = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        energies = [float(fitter.step()[0]) for _ in range(count)]
    return energies, time.process_time() - begun


def energy_of(fitter: Any, found: Any) -> float:
    """The energy by the pictures of one fitter of what another found."""
    for name in vars(found):
        if name in ("vertices", "mesh_color") or name.startswith(("transform_", "light_")):
            setattr(fitter, name, getattr(found, name))
    fitter.vertices = fitter.vertices - fitter.vertices.mean(0)
    with contextlib.redirect_stdout(io.StringIO()):
        return float(fitter.step()[0])


def put_ours_in(fitter: Any) -> None:
    """Has a fitter of theirs draw by us, and take our gradient."""
    size, camera_given = (fitter.height, fitter.width), fitter.camera
    faces, rgb = jnp.asarray(fitter.mesh.faces, jnp.int32), hasattr(fitter, "mesh_color")
    camera = jr.from_opencv(
        jnp.asarray(camera_given.intrinsic, jnp.float32),
        jnp.asarray(camera_given.extrinsic[:, :3], jnp.float32),
        jnp.asarray(camera_given.extrinsic[:, 3], jnp.float32),
        jnp.asarray(camera_given.distortion, jnp.float32),
        image_size=size,
    )
    way = jr.Hard(jr.Antialias(jr.number_edges(faces)))

    @jax.jit
    def draw(state: dict[str, jax.Array]) -> jax.Array:
        turn = jr.rotations.from_quaternion(jnp.roll(state["transform_quaternion"], 1))
        vertices = state["vertices"] @ turn.T + state["transform_translation"][None]
        if rgb:
            normals = jr.vertex_normals(vertices, faces)
            lit = jnp.maximum(-(normals @ state["light_directional"]), 0) + state["light_ambient"]
            colors, behind = lit[:, None] * state["mesh_color"][None], jnp.asarray(BACKGROUND)
        else:
            depth = vertices @ camera.rotation[2] + camera.translation[2]
            colors, behind = jnp.clip(depth * DEPTH_SCALE, 0, 1)[:, None], jnp.ones(1)
        return jr.render(
            jr.Mesh(vertices, faces, jr.VertexColors(colors)),
            camera,
            image_size=size,
            shading="none",
            rasterizer=way,
            background=behind,
        ).rgb

    @jax.jit
    def pull(state: dict[str, jax.Array], upstream: jax.Array) -> dict[str, jax.Array]:
        return jax.vjp(draw, state)[1](upstream)[0]

    names = ["vertices", "transform_quaternion", "transform_translation"]
    names += ["mesh_color", "light_directional", "light_ambient"] if rgb else []

    def state() -> dict[str, np.ndarray]:
        return {name: np.asarray(getattr(fitter, name), np.float32) for name in names}

    def render() -> np.ndarray:
        return np.asarray(draw(state()), float)

    def render_backward(upstream: np.ndarray) -> None:
        for name, gradient in pull(state(), upstream.astype(np.float32)).items():
            setattr(
                fitter,
                f"_{name}_b" if name == "vertices" else f"{name}_b",
                np.array(gradient, float),
            )

    fitter.render, fitter.render_backward = render, render_backward


if __name__ == "__main__":
    sys.exit(main())
