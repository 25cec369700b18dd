"""The joints of a robot arm, from one mask and one depth picture.

    python examples/urdf_arm.py --output out/urdf_arm.png

An arm of six joints is described by URDF, which MuJoCo reads; its forward kinematics are JAX. Where
its outline and its surface are in one picture tells all six joints, from starts up to 15 degrees
off, all at once, by the method of Levenberg and Marquardt. Mask and depth are drawn by MuJoCo's
renderer where there is an OpenGL for it (`MUJOCO_GL=osmesa`), else by ours; the script says which.

`--model` takes another arm, URDF or MJCF, and `--tool` what it holds at its site "attachment_site".
Meshes of many faces are made coarser for the search, `--cell` says by how much; not in the picture.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from jaxrender import fitting, io

LINKS = (  # parent joint: where from, about which axis; then size of the box, and its middle
    ((0.0, 0.0, 0.0), "0 0 1", (0.12, 0.16, 0.16), (0.0, 0.0, 0.08)),
    ((0.0, 0.0, 0.16), "0 1 0", (0.10, 0.12, 0.42), (0.0, 0.08, 0.19)),
    ((0.0, 0.0, 0.42), "0 1 0", (0.08, 0.10, 0.36), (0.0, -0.03, 0.16)),
    ((0.0, 0.0, 0.36), "0 1 0", (0.08, 0.08, 0.16), (0.0, 0.06, 0.06)),
    ((0.0, 0.06, 0.14), "0 0 1", (0.08, 0.18, 0.08), (0.0, 0.06, 0.02)),
    ((0.0, 0.15, 0.02), "0 1 0", (0.20, 0.06, 0.06), (0.05, 0.04, 0.0)),
)
POSE = np.array([0.5, -0.6, 1.2, 0.4, 0.6, 0.5])  # of the joints, radians


def urdf() -> str:
    """The arm: a base, and links of one box each, the last with a thing that sticks out."""
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


class Seen(NamedTuple):
    """A picture of an arm; both `[H, W]`."""

    mask: np.ndarray  # coverage
    depth: np.ndarray  # times coverage, scene units


def main() -> None:
    """Finds the joints, and says how many starts did."""
    parser = argparse.ArgumentParser(description="The joints of an arm from one mask and depth.")
    parser.add_argument("--model", type=Path, default=None, help="URDF or MJCF (default: ours)")
    parser.add_argument("--tool", type=Path, default=None, help="MJCF of what the arm holds")
    parser.add_argument(
        "--pose", type=float, nargs="+", default=POSE.tolist(), help="of the joints"
    )
    parser.add_argument("--starts", type=int, default=64, help="(default: 64)")
    parser.add_argument("--off", type=float, default=15.0, help="degrees, at most (default: 15)")
    parser.add_argument("--size", type=int, default=64, help="of the picture (default: 64)")
    parser.add_argument("--steps", type=int, default=25, help="at most (default: 25)")
    parser.add_argument("--cell", type=float, default=0.0, help="of coarser meshes (default: 0)")
    parser.add_argument("--chunk", type=int, default=16, help="starts at once (default: 16)")
    parser.add_argument("--output", type=Path, default=None, help="a PNG of all starts and ends")
    options = parser.parse_args()

    mujoco: Any = importlib.import_module("mujoco")  # so that --help does not need it
    model = loaded(mujoco, options.model, options.tool)
    truth = np.array(options.pose)
    qpos = np.array(model.qpos0)
    qpos[: len(truth)] = truth
    camera = jr.look_at(*viewpoint(mujoco, model, qpos), up=(0.0, 0.0, 1.0))
    camera = camera_of(model, camera)
    scene = jr.mujoco.scene_from_model(model)
    finest = 4 * options.size
    seen, who = drawn(mujoco, model, scene, camera, qpos, finest)
    seen = Seen(*(pooled(part, 4) for part in seen))
    print(
        f"mask and depth by {who}, {options.size} x {options.size}, {seen.mask.sum():.0f} covered"
    )

    # Find the joints of all starts at once.
    random = np.random.default_rng(0)
    starts = truth + np.deg2rad(random.uniform(-1, 1, (options.starts, len(truth))) * options.off)
    coarse = coarser(scene, options.cell) if options.cell else scene
    faces = len(coarse.parts.faces)
    residuals = residuals_of(model, coarse, camera, qpos, seen)
    found = fitting.least_squares(
        residuals, jnp.asarray(starts), many=True, steps=options.steps, chunk=options.chunk,
        rho="huber", scale=0.2, tolerance=1e-4,
    )  # fmt: skip
    off = np.rad2deg(np.abs(np.asarray(found.every) - truth))
    arrived = (off < 0.5).all(1)
    print(
        f"{faces} faces: {arrived.mean():.1%} of {len(starts)} starts have all joints within "
        f"0.5 degrees, after {found.steps} steps and {found.seconds:.0f} s"
    )
    print(f"those: off by {off[arrived].max(0, initial=0).round(3)} at most, each joint")
    print(f"the one of the least cost: off by {off[found.best_start].round(3)}")

    if options.output:
        pictures = [seen.mask]
        draw = jax.jit(lambda joints: picture(model, scene, camera, qpos, joints, options.size)[1])
        for joints in (starts, np.asarray(found.every)):
            pictures.append(np.mean([draw(jnp.asarray(own)) for own in joints[:16]], axis=0))
        io.save_image(options.output, np.repeat(np.concatenate(pictures, 1)[..., None], 3, -1))


def loaded(mujoco: Any, path: Path | None, tool: Path | None) -> Any:
    """The model, with what it holds."""
    if path is None:
        return mujoco.MjModel.from_xml_string(urdf())
    spec = mujoco.MjSpec.from_file(str(path))
    if tool is not None:
        spec.attach(mujoco.MjSpec.from_file(str(tool)), site="attachment_site", prefix="tool_")
    return spec.compile()


def viewpoint(mujoco: Any, model: Any, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where to see all of the arm from, and where its middle is."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    shown = np.asarray(model.geom_group) < 3
    low, high = (end(data.geom_xpos[shown], axis=0) for end in (np.min, np.max))
    middle, reach = (low + high) / 2, np.linalg.norm(high - low) + 0.2
    return middle + reach * np.array([0.75, -0.6, 0.4]), middle


def camera_of(model: Any, camera: jr.Camera) -> jr.Camera:
    """The same with the field of view that MuJoCo's free camera has."""
    fov = jnp.asarray(float(model.vis.global_.fovy), camera.rotation.dtype)
    return jr.Camera(camera.rotation, camera.translation, jr.perspective(fov))


def drawn(
    mujoco: Any, model: Any, scene: jr.Scene, camera: jr.Camera, qpos: np.ndarray, size: int
) -> tuple[Seen, str]:
    """Mask and depth, by MuJoCo's renderer or ours."""
    try:
        renderer = mujoco.Renderer(model, size, size)
    except Exception:  # which of them says that there is no OpenGL depends on the machine
        image = jr.render(
            scene.at(jr.mujoco.kinematics(model, qpos)), camera, image_size=(size, size)
        )
        return Seen(np.asarray(image.alpha), np.asarray(image.depth)), "jaxrender"
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)

    # Put MuJoCo's camera where ours is, by the place that it looks at.
    free = mujoco.MjvCamera()
    eye, ahead = (
        np.asarray(jr.camera_position(camera), float),
        np.asarray(camera.rotation[2], float),
    )
    free.distance = 1.0
    free.lookat[:] = eye + ahead
    free.azimuth = np.rad2deg(np.arctan2(ahead[1], ahead[0]))
    free.elevation = np.rad2deg(np.arcsin(ahead[2]))
    renderer.update_scene(data, free)
    renderer.enable_depth_rendering()
    depth = renderer.render().copy()
    renderer.disable_depth_rendering()
    renderer.enable_segmentation_rendering()
    mask = (renderer.render()[..., 0] >= 0).astype(np.float32)
    return Seen(mask, depth * mask), "mujoco.Renderer"


def pooled(picture: np.ndarray, count: int) -> np.ndarray:
    """Means of so many pixels along each side."""
    side = len(picture) // count
    return picture.reshape(side, count, side, count).mean((1, 3))


def picture(
    model: Any, scene: jr.Scene, camera: jr.Camera, qpos: Any, joints: jax.Array, size: int
) -> tuple[jax.Array, jax.Array]:
    """Depth times coverage, and coverage `[H, W]`, with the gradients of both."""
    whole = jnp.asarray(qpos, joints.dtype).at[: len(joints)].set(joints)
    mesh = scene.at(jr.mujoco.kinematics(model, whole)).mesh()
    # Draw depth as if it were a colour: it moves with the surface, and at edges.
    depth = mesh.vertices @ camera.rotation[2] + camera.translation[2]
    mesh = jr.Mesh(mesh.vertices, mesh.faces, jr.VertexColors(depth[:, None]))
    image = jr.render(
        mesh,
        camera,
        image_size=(size, size),
        shading="none",
        anti_aliasing=2,
        rasterizer=jr.Hard(visibility_gradient="edge"),
    )
    return image.rgb[..., 0], image.alpha


def residuals_of(
    model: Any, scene: jr.Scene, camera: jr.Camera, qpos: np.ndarray, seen: Seen
) -> Any:
    """What ought to be 0: differences of mask, and of depth where both have some."""
    mask, depth = (jnp.asarray(part, jnp.float32) for part in seen)
    middle = depth.sum() / mask.sum()

    def residuals(joints: jax.Array) -> dict[str, jax.Array]:
        found, covered = picture(model, scene, camera, qpos, joints, len(mask))
        # From the middle of the arm, so that where nothing is counts little; in tenths of a unit.
        ours, theirs = found - middle * covered, depth - middle * mask
        return {"mask": covered - mask, "depth": 10 * (ours - theirs)}

    return residuals


def coarser(scene: jr.Scene, cell: float) -> jr.Scene:
    """The scene with the vertices of each object joined that lie in one cell of a grid."""
    whole = scene.at(jnp.tile(jnp.eye(4), (len(scene.ids), 1, 1))).mesh()
    vertices, faces = np.asarray(whole.vertices, np.float64), np.asarray(whole.faces)
    owner = np.asarray(scene.parts.object_of_face)
    objects = []
    for number in range(len(scene.ids)):
        own = faces[owner == number]
        if not len(own):
            objects.append(jr.Object((), id=int(scene.ids[number])))
            continue
        used, corners = np.unique(own, return_inverse=True)
        places = np.floor(vertices[used] / cell).astype(int)
        _, joined, counts = np.unique(places, axis=0, return_inverse=True, return_counts=True)
        means = np.stack(
            [np.bincount(joined.ravel(), axis) / counts for axis in vertices[used].T], axis=1
        )
        kept = joined.ravel()[corners.reshape(-1, 3)]
        kept = kept[(kept != np.roll(kept, 1, axis=1)).all(axis=1)]
        kept = kept if len(kept) else np.zeros((1, 3), int)
        mesh = jr.Mesh(jnp.asarray(means, jnp.float32), jnp.asarray(kept, jnp.int32))
        objects.append(jr.Object(mesh, id=int(scene.ids[number])))
    return jr.make_scene(objects)


if __name__ == "__main__":
    main()
