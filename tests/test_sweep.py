"""Every public function, each of its arguments and each field of those, given what it is not."""

from __future__ import annotations

import dataclasses
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import (
    _diagnose,
    _rasterize,
    _render,
    _soft,
    debug,
    distributions,
    fitting,
    io,
    losses,
    rotations,
    shapes,
    skinning,
    tconorms,
)

SIZE = (8, 8)


@dataclasses.dataclass
class Descent:
    """An optimizer."""

    def init(self, params):
        return ()

    def update(self, slopes, state, params):
        return jax.tree.map(lambda slope: -0.1 * slope, slopes), state


def calls(tmp):
    """A right call of each public function: its name, the function, arguments by name."""
    cube = shapes.cube()
    V, F = cube.vertices, cube.faces
    camera = jr.look_at((1.0, 2.0, 3.0))
    screen = jr.ScreenMesh(jr.project(V, camera, image_size=SIZE), F)
    fr = jr.Fragments(jnp.zeros(SIZE, jnp.int32), jnp.full((*SIZE, 3), 1 / 3), jnp.ones(SIZE))
    lights = jr.make_lights()
    topology = losses.mesh_topology(F, 8)
    uv = jr.UVTexture(jnp.ones((4, 4, 3)), jnp.zeros((8, 2)), F)
    textured = jr.Mesh(V, F, uv)
    colored = jr.Mesh(V, F, jr.VertexColors(jnp.ones((8, 3))))
    K = jnp.array([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]])
    R, T = jnp.eye(3), jnp.array([0.0, 0, 3])
    pin = jr.pinhole(K, R, T, image_size=SIZE)
    gl = jnp.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, -1, -0.2], [0, 0, -1, 0]])
    img, alpha = jnp.full((8, 8, 3), 0.5), jnp.full((8, 8), 0.5)
    body = skinning.procedural_body(24)
    pose = jnp.zeros((len(body.parents), 3))
    material = jr.Material(base_color=jnp.ones((1, 4)))
    io.save_mesh(tmp / "a.obj", cube)
    io.save_image(tmp / "a.png", img)
    io.save_depth(tmp / "a.npy", alpha)
    io.save(tmp / "a.npz", m=cube)
    return {
        "antialias": (jr.antialias, dict(image=img, fragments=fr, screen=screen)),
        "camera_lights": (
            jr.camera_lights,
            dict(camera=camera, ambient=0.5, key=0.5, fill=0.2, specular=0.1, shininess=10.0),
        ),
        "camera_position": (jr.camera_position, dict(camera=camera)),
        "depth_range": (jr.depth_range, dict(mesh=cube, camera=camera)),
        "distort": (
            jr.distort,
            dict(image=img, camera=pin, source=None, image_size=SIZE, filter="linear", fill=0.0),
        ),
        "edge_gradient": (jr.edge_gradient, dict(image=img, fragments=fr, screen=screen)),
        "face_normals": (jr.face_normals, dict(vertices=V, faces=F)),
        "frame": (
            jr.frame,
            dict(
                mesh=cube,
                azimuth=30.0,
                elevation=20.0,
                distance=None,
                at=None,
                fov=40.0,
                parallel=False,
                image_size=SIZE,
                up="y",
                right_handed=True,
            ),
        ),
        "from_blender": (
            jr.from_blender,
            dict(
                matrix_world=jnp.eye(4),
                image_size=SIZE,
                lens=50.0,
                sensor_width=36.0,
                sensor_height=24.0,
                sensor_fit="AUTO",
                shift_x=0.0,
                shift_y=0.0,
                pixel_aspect_x=1.0,
                pixel_aspect_y=1.0,
                y_up=False,
                type="PERSP",
            ),
        ),
        "from_opencv": (
            jr.from_opencv,
            dict(matrix=K, rotation=R, translation=T, distortion=None, image_size=SIZE),
        ),
        "from_opengl": (jr.from_opengl, dict(view=jnp.eye(4), projection=gl, image_size=SIZE)),
        "interpolate": (jr.interpolate, dict(attributes=V, fragments=fr, faces=F, screen=screen)),
        "join_meshes": (jr.join_meshes, dict(meshes=[cube, cube])),
        "load_mesh": (
            jr.load_mesh,
            dict(
                path=tmp / "a.obj",
                texture="auto",
                texture_size=4,
                colors="display",
                image_size=None,
                centre=False,
                origin=None,
                weld=False,
                time=None,
                animation=None,
                scene=None,
                within_folder=False,
                objects=False,
            ),
        ),
        "load_scene": (
            jr.load_scene,
            dict(
                path=tmp / "a.glb",
                colors="display",
                exposure=1.0,
                time=None,
                animation=None,
                scene=None,
                origin=None,
                within_folder=False,
            ),
        ),
        "look": (
            jr.look,
            dict(
                eye=(0.0, 0, -3),
                direction=(0.0, 0, 1),
                up=(0.0, 1, 0),
                projection=jr.perspective(),
                right_handed=True,
            ),
        ),
        "look_at": (
            jr.look_at,
            dict(
                eye=(0.0, 0, -3),
                at=(0.0, 0, 1),
                up=(0.0, 1, 0),
                projection=jr.perspective(),
                right_handed=True,
            ),
        ),
        "make_lights": (
            jr.make_lights,
            dict(
                ambient=0.5,
                directional=[((0.0, 1, 0), 0.5)],
                point=[((0.0, 1, 0), 0.5)],
                spot=[((0.0, 1, 0), 0.5, (0.0, -1, 0), 40.0, 1.0)],
                attenuation=(1.0, 0, 0),
                specular=0.0,
                shininess=10.0,
                reflection="blinn_phong",
                like_opengl=False,
            ),
        ),
        "make_scene": (jr.make_scene, dict(objects=[cube, cube], lights=lights)),
        "nmr_gradient": (jr.nmr_gradient, dict(image=img, fragments=fr, screen=screen, eps=1e-3)),
        "normalize": (jr.normalize, dict(mesh=cube)),
        "number_edges": (jr.number_edges, dict(faces=F)),
        "orient_faces": (jr.orient_faces, dict(mesh=cube)),
        "orthographic": (jr.orthographic, dict(height=2.0)),
        "pad_meshes": (jr.pad_meshes, dict(meshes=[cube, cube])),
        "perspective": (jr.perspective, dict(fov=40.0)),
        "pinhole": (
            jr.pinhole,
            dict(matrix=K, rotation=R, translation=T, distortion=None, image_size=SIZE),
        ),
        "points_from_angles": (
            jr.points_from_angles,
            dict(distance=2.0, elevation=20.0, azimuth=10.0, right_handed=True),
        ),
        "project": (jr.project, dict(vertices=V, camera=camera, image_size=SIZE)),
        "rasterize_hard": (
            jr.rasterize_hard,
            dict(screen=screen, image_size=SIZE, near=0.1, far=100.0, cull="none"),
        ),
        "rasterize_soft": (
            jr.rasterize_soft,
            dict(
                screen=screen,
                texture=colored.texture,
                image_size=SIZE,
                sigma=1e-4,
                gamma=0.1,
                near=0.1,
                far=100.0,
                background=0.0,
                eps=1e-3,
                distance="euclidean",
                aggregate_rgb="softmax",
                aggregate_alpha="prod",
                cutoff=1e-4,
                cull="none",
                faithful=False,
                distribution="logistic",
                squared=True,
            ),
        ),
        "render": (
            jr.render,
            dict(
                mesh=textured,
                camera=camera,
                lights=lights,
                image_size=SIZE,
                near=0.1,
                far=100.0,
                background=0.0,
                anti_aliasing=1,
                cull="none",
                shading="flat",
                two_sided=True,
                rasterizer=jr.Hard("nmr"),
            ),
        ),
        "render soft": (
            jr.render,
            dict(
                mesh=dataclasses.replace(colored, material=material),
                camera=camera,
                lights=lights,
                image_size=SIZE,
                near=0.1,
                far=100.0,
                rasterizer=jr.Soft(),
            ),
        ),
        "sample_texture": (
            jr.sample_texture,
            dict(texture=uv, faces=F, face=fr.face, barycentrics=fr.barycentrics),
        ),
        "save_mesh": (jr.save_mesh, dict(path=tmp / "b.obj", mesh=textured)),
        "shade": (
            jr.shade,
            dict(
                fragments=fr,
                mesh=textured,
                lights=lights,
                eye=(1.0, 2, 3),
                shading="flat",
                two_sided=True,
            ),
        ),
        "silhouette": (
            jr.silhouette,
            dict(
                mesh=cube,
                camera=camera,
                objects=None,
                image_size=SIZE,
                near=0.1,
                far=100.0,
                anti_aliasing=1,
                cull="none",
                rasterizer=jr.Hard("nmr"),
            ),
        ),
        "stack_meshes": (jr.stack_meshes, dict(meshes=[cube, cube])),
        "subdivide": (jr.subdivide, dict(mesh=textured, times=1)),
        "to_display": (jr.to_display, dict(colors=img)),
        "to_linear": (jr.to_linear, dict(colors=img)),
        "turntable": (
            jr.turntable,
            dict(
                mesh=cube,
                frames=3,
                azimuth=0.0,
                elevation=10.0,
                distance=None,
                at=None,
                fov=40.0,
                parallel=False,
                image_size=SIZE,
                up="y",
                right_handed=True,
            ),
        ),
        "undistort": (
            jr.undistort,
            dict(image=img, camera=pin, target=None, image_size=SIZE, filter="linear", fill=0.0),
        ),
        "undistorted_camera": (
            jr.undistorted_camera,
            dict(camera=pin, image_size=SIZE, cover=True),
        ),
        "vertex_normals": (jr.vertex_normals, dict(vertices=V, faces=F, orient=False)),
        "viewpoint": (jr.viewpoint, dict(camera=camera)),
        "voxelize": (jr.voxelize, dict(vertices=V, faces=F, resolution=4, bounds=(-0.5, 0.5))),
        "weld": (jr.weld, dict(mesh=textured, tolerance=0.0)),
        "why_not_drawn": (
            jr.why_not_drawn,
            dict(
                mesh=cube,
                camera=camera,
                face=None,
                image_size=SIZE,
                near=0.1,
                far=100.0,
                cull="none",
                anti_aliasing=1,
            ),
        ),
        **{
            f"distributions.{n}": (getattr(distributions, n), dict(x=alpha))
            for n in (
                "cauchy",
                "exponential",
                "gaussian",
                "levy",
                "logistic",
                "uniform",
                "wigner_semicircle",
            )
        },
        "distributions.gamma": (distributions.gamma, dict(p=2.0)),
        "distributions.reverse": (distributions.reverse, dict(cdf=distributions.levy)),
        **{
            f"tconorms.{n}": (getattr(tconorms, n), dict(p=-2.0 if n == "schweizer_sklar" else 2.0))
            for n in ("aczel_alsina", "dombi", "frank", "hamacher", "schweizer_sklar", "yager")
        },
        "fitting.fit": (
            fitting.fit,
            dict(
                loss=lambda p: sum((leaf**2).sum() for leaf in jax.tree.leaves(p)),
                params={"a": jnp.ones(2)},
                optimizer=Descent(),
                steps=2,
                schedules=None,
                project=None,
                stop=None,
                snapshot=None,
                snapshot_every=1,
                progress=False,
                has_aux=False,
            ),
        ),
        "fitting.least_squares": (
            fitting.least_squares,
            dict(
                residuals=lambda p: jnp.stack([(x**2).sum() for x in jax.tree.leaves(p)]),
                params={"a": jnp.ones(2)},
                steps=2,
                many=False,
                rho="linear",
                scale=1.0,
                jacobian="auto",
                schedules=None,
                tolerance=1e-6,
                damping=1e-3,
                chunk=None,
                progress=False,
            ),
        ),
        "io.bake_cubes": (
            io.bake_cubes,
            dict(mesh=textured, texture_size=2, wrap="repeat", bilinear=True),
        ),
        "io.bake_texels": (io.bake_texels, dict(mesh=textured, resolution=2)),
        "io.load": (io.load, dict(path=tmp / "a.npz", kinds=())),
        "io.load_depth": (io.load_depth, dict(path=tmp / "a.npy", scale=None)),
        "io.load_image": (io.load_image, dict(path=tmp / "a.png", colors="display", upright=True)),
        "io.read_blender": (io.read_blender, dict(path=tmp / "a.json", y_up=True)),
        "io.read_colmap": (io.read_colmap, dict(folder=tmp)),
        "io.read_nerf": (io.read_nerf, dict(path=tmp / "t.json", image_size=None)),
        "io.save": (io.save, dict(path=tmp / "c.npz", mesh=cube)),
        "io.save_animation": (
            io.save_animation,
            dict(path=tmp / "c.gif", frames=[img, img], fps=10, encoding="display"),
        ),
        "io.save_depth": (io.save_depth, dict(path=tmp / "c.npy", depth=alpha, scale=None)),
        "io.save_image": (io.save_image, dict(path=tmp / "c.png", image=img, encoding="display")),
        **{
            f"losses.{n}": (
                getattr(losses, n),
                dict(vertices=V, topology=topology, reduction="mean"),
            )
            for n in ("laplacian", "flatten", "normal_consistency")
        },
        "losses.edge_length": (
            losses.edge_length,
            dict(vertices=V, topology=topology, target=1.0, reduction="mean"),
        ),
        "losses.iou": (losses.iou, dict(predicted=alpha > 0.1, target=alpha > 0.1)),
        "losses.mesh_topology": (losses.mesh_topology, dict(faces=F, vertex_count=8)),
        "losses.negative_iou": (losses.negative_iou, dict(silhouette=alpha, target=alpha)),
        "losses.pad_topologies": (losses.pad_topologies, dict(topologies=[topology, topology])),
        "losses.stack_topologies": (losses.stack_topologies, dict(topologies=[topology, topology])),
        "rotations.angle_between": (rotations.angle_between, dict(a=R, b=R)),
        "rotations.from_6d": (rotations.from_6d, dict(six=jnp.arange(6.0))),
        "rotations.from_axis_angle": (rotations.from_axis_angle, dict(axis_angle=jnp.ones(3))),
        "rotations.from_quaternion": (rotations.from_quaternion, dict(quaternion=jnp.ones(4))),
        "rotations.orthonormalize": (rotations.orthonormalize, dict(matrix=R)),
        "rotations.random": (rotations.random, dict(key=jax.random.key(0), shape=(2,))),
        "rotations.to_6d": (rotations.to_6d, dict(rotation=R)),
        "rotations.to_axis_angle": (rotations.to_axis_angle, dict(rotation=R)),
        "rotations.to_quaternion": (rotations.to_quaternion, dict(rotation=R)),
        "shapes.cube": (shapes.cube, dict(size=1.0)),
        "shapes.icosphere": (shapes.icosphere, dict(subdivisions=1, radius=1.0)),
        "shapes.plane": (shapes.plane, dict(size=1.0, segments=2)),
        "shapes.teapot": (shapes.teapot, dict(tessellation=2)),
        "shapes.torus": (
            shapes.torus,
            dict(major_radius=1.0, minor_radius=0.2, major_segments=5, minor_segments=4),
        ),
        "skinning.joints": (
            skinning.joints,
            dict(model=body, pose=pose, shape=None, translation=None),
        ),
        "skinning.load_smpl": (skinning.load_smpl, dict(path=tmp / "x.npz")),
        "skinning.procedural_body": (skinning.procedural_body, dict(resolution=24)),
        "skinning.rotation_matrices": (skinning.rotation_matrices, dict(axis_angle=pose)),
        "skinning.skin": (skinning.skin, dict(model=body, pose=pose, shape=None, translation=None)),
        # methods
        "Mesh.with_vertices": (cube.with_vertices, dict(vertices=V)),
        "Mesh.transformed": (cube.transformed, dict(matrix=jnp.eye(4))),
        "Image.to_rgba": (jr.Image(img, alpha, alpha).to_rgba, dict(background=0.0)),
        "debug.checked": (debug.checked, dict(function=len, kinds=("finite",))),
    }


class Odd:
    """No array."""


BAD = {
    "None": None,
    "text": "x",
    "ragged": [[0.0, 1, 2], [3.0]],
    "a list with None": [[0.0, None, 2.0]],
    "rank 4": np.ones((2, 3, 5, 7), np.float32),
    "complex": 1j * np.ones((8, 3)),
    "objects": np.array([Odd()] * 3, object),
    "object": Odd(),
    "huge": 2**70,
    "a huge pair": (2**70, 2**70),
    "dict": {"a": 1},
    "bytes": b"ab",
    "dates": np.array(["2020-01-01"] * 3, "datetime64[D]"),
    "NaN": float("nan"),
}
PATHS = {"path", "folder"}


class Reached(Exception):
    """All arguments have been taken."""


def attempts(args):
    for name, value in args.items():
        for kind, bad in BAD.items():
            yield name, kind, args | {name: bad}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for field in dataclasses.fields(value):
                for kind, bad in BAD.items():
                    whole = dataclasses.replace(value, **{field.name: bad})
                    yield f"{name}.{field.name}", kind, args | {name: whole}


def outcome(function, args, name):
    """ "taken", "named", or what is wrong with the error."""
    try:
        function(**args)
    except (Reached, FileNotFoundError):
        return "taken"
    except (ValueError, fitting.NotFiniteError) as error:
        parts = [name, name.split(".")[0], name.split(".")[-1]]
        ways = [way for part in parts for way in (f"`{part}", f"{part}`", f"not finite in {part} ")]
        named = any(way in str(error) for way in ways)
        return "named" if named else f"not named: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


@pytest.fixture
def doors_alone(monkeypatch):
    """What is drawn is not, once all is checked."""

    def reach(*args, **kwargs):
        raise Reached

    for module, name in (
        (_render, "_render"),
        (_render, "_silhouette"),
        (_rasterize, "draw_hard"),
        (_soft, "draw_soft"),
        (_diagnose, "_Picture"),
    ):
        monkeypatch.setattr(module, name, reach)


# Elementwise functions are as those of jax.numpy, and fields of textures are checked with a mesh.
FREE = ("distributions", "sample_texture texture.", "load_mesh path", "save_mesh path")
FREE += ("load_scene path", "io.")


@pytest.mark.long
@pytest.mark.usefixtures("doors_alone")
@pytest.mark.parametrize("part", range(8))
def test_every_argument(part, tmp_path):
    """Each eighth function, so that workers share them."""
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for called, (function, args) in list(calls(tmp_path).items())[part::8]:
            for name, kind, bad in attempts(args):
                if any(f"{called} {name}".startswith(free) for free in FREE):
                    continue
                found = outcome(function, bad, name)
                if found not in ("taken", "named"):
                    wrong.append(f"{called}({name}={kind}): {found[:200]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_every_function_is_called(tmp_path):
    known = {name.removeprefix("render ").split(" ")[0] for name in calls(tmp_path)}
    modules = [jr, *filter(inspect.ismodule, (getattr(jr, name) for name in jr.__all__))]
    for module in modules:
        prefix = "" if module is jr else module.__name__.split(".")[-1] + "."
        missing = [
            f"{prefix}{name}"
            for name in module.__all__
            if inspect.isfunction(thing := getattr(module, name))
            and f"{prefix}{name}" not in known | LEFT_OUT
            and not (prefix and (name in known or thing.__module__ != module.__name__))
        ]
        assert not missing, f"{missing} are in no row of `calls`"


LEFT_OUT = {
    *("static", "struct"),  # they take classes
    *("view", "cache"),  # tested where a page is served, and where a process of its own is
    *(f"mujoco.{name}" for name in jr.mujoco.__all__),  # they take MuJoCo's own things
    *(f"distributions.{name}" for name in jr.distributions.__all__),  # as jax.numpy's functions
}
