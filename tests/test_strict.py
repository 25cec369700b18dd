"""Every public operation under `jax_numpy_dtype_promotion="strict"`: no dtype is mixed by us.

Nothing is compiled but where it must be: dtypes are mixed, or not, while a program is traced.
"""

from __future__ import annotations

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import distributions, fitting, io, losses, rotations, shapes, skinning, tconorms
from jaxrender.ops import deterministic, hard, nmr, soft

SIZE = (8, 8)
NMR = jr.Hard(visibility_gradient="nmr")

# Each kind of texture, with either rasteriser in another shading.
PICTURES = [
    ("none", "flat", jr.Hard()),
    ("none", "gouraud", jr.Soft()),
    ("colors", "phong", NMR),
    ("colors", "flat", jr.Soft()),
    ("one texel", "gouraud", jr.Hard(interpolation_gradient=False)),
    ("one texel", "phong", jr.Soft(distance="barycentric")),
    ("texels", "none", NMR),
    ("texels", "none", jr.Soft(faithful=True, aggregate_alpha="hard")),
    ("cubes", "flat", jr.Hard()),
    ("cubes", "none", jr.Soft(aggregate_rgb="hard", aggregate_alpha="sum")),
    ("cubes", "flat", jr.Soft(distance="hard", distribution="cauchy", squared=False)),
    ("uv", "gouraud", NMR),
    ("uv", "phong", jr.Soft()),
    ("clamped pages", "phong", jr.Hard()),
    ("clamped pages", "gouraud", jr.Soft(aggregate_alpha="max")),
]
ONLY_READS = {
    "skinning.load_smpl",
    "io.load_scene",
    "load_scene",
    "io.read_blender",
    "io.read_colmap",
    "io.read_nerf",
}  # files, whose numbers get the default dtype
SHOWS = {"view"}  # what others draw, in a browser
MAKES_TYPES = {"struct", "static", "checked"}  # of what others compute
SETS = {"cache"}  # how things are compiled
DTYPES = {"float32": (False, np.float32, np.int32), "float64": (True, np.float64, np.int64)}


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(params=DTYPES)
def numbers(request):
    """The dtypes of floats and of indices."""
    x64, floats, indices = DTYPES[request.param]
    jax.config.update("jax_enable_x64", x64)
    yield floats, indices
    jax.config.update("jax_enable_x64", False)


def traced(function, *args):
    """Traces a function with its arguments, and what it closes over, known or not."""
    return jax.eval_shape(function, *args)


def gradient(function, *args):
    """Traces value and gradient of the sum of all that a function returns."""

    def total(floats):
        result = function(*jax.tree.unflatten(tree, merged(floats)))
        leaves = [leaf for leaf in jax.tree.leaves(result) if _is_float(leaf)]
        return sum((leaf.sum() for leaf in leaves), start=jnp.zeros_like(floats[0].reshape(-1)[0]))

    def merged(floats):
        rest = iter(floats)
        return [next(rest) if _is_float(leaf) else leaf for leaf in leaves]

    leaves, tree = jax.tree.flatten(args)
    floats = [leaf for leaf in leaves if _is_float(leaf)]
    return traced(jax.value_and_grad(total), floats)


def _is_float(leaf) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def dressed(kind, floats, indices) -> jr.Mesh:
    """A tetrahedron."""
    random = np.random.default_rng(0)
    vertices = random.normal(size=(4, 3)).astype(floats)
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], indices)

    def some(*shape):
        return random.uniform(size=shape).astype(floats)

    pages = np.array([[0, 4, 4], [4, 2, 3]] * 2, indices)
    texture = {
        "none": lambda: None,
        "colors": lambda: jr.VertexColors(some(4, 3)),
        "one texel": lambda: jr.FaceTexels(some(4, 1, 1, 3)),
        "texels": lambda: jr.FaceTexels(some(4, 2, 2, 3)),
        "cubes": lambda: jr.FaceCubes(some(4, 2, 2, 2, 3)),
        "uv": lambda: jr.UVTexture(some(4, 5, 3), some(6, 2), (faces + 1) % 6),
        "clamped pages": lambda: jr.UVTexture(some(6, 4, 3), some(4, 2), faces, pages, "clamp"),
    }[kind]()
    return jr.Mesh(vertices, faces, texture)


def some_lights(floats):
    return jr.make_lights(
        0.25,
        [(np.array([0, 1, -1], floats), floats(0.5))],
        [(np.array([1, 1, -1], floats), np.array([0.5, 0.25, 1], floats))],
        specular=floats(0.5),
        shininess=floats(20),
    )


def drawn(mesh, camera, lights, rasterizer, shading="flat", **options):
    return jr.render(
        mesh,
        camera,
        lights,
        image_size=SIZE,
        rasterizer=rasterizer,
        shading=shading,
        **options,
    )


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("numbers", "kind", "shading", "rasterizer"),
    [("float32", *picture) for picture in PICTURES]
    # Tracing takes a second or two each, so float64 gets some of them.
    + [("float64", *picture) for picture in PICTURES[1::2]],
    indirect=["numbers"],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_picture(kind, shading, rasterizer, numbers):
    floats, indices = numbers
    mesh, eye = dressed(kind, floats, indices), np.array([0, 1, -3], floats)
    lights, background = some_lights(floats), np.full((*SIZE, 3), 0.5, floats)
    # SoftRas has a depth range.
    limits = {"near": 1.0, "far": 100.0} if getattr(rasterizer, "faithful", False) else {}

    def picture(mesh, eye, lights, background):
        options = {"background": background, **limits}
        return drawn(mesh, jr.look_at(eye), lights, rasterizer, shading, **options)

    value, slopes = gradient(picture, mesh, eye, lights, background)
    assert value.dtype == floats
    assert {slope.dtype for slope in slopes} == {np.dtype(floats)}


@pytest.mark.cases(1)
@pytest.mark.thorough
def test_many_views(numbers):
    floats, indices = numbers
    many = jax.tree.map(lambda leaf: np.stack([leaf] * 2), dressed("uv", floats, indices))
    camera = jr.look((0, 0, -3), projection=jr.orthographic(3))

    def picture(mesh):
        return drawn(mesh, camera, None, jr.Soft(), anti_aliasing=2, background=0.5, cull="back")

    gradient(jax.vmap(picture), many)


@pytest.mark.long
@pytest.mark.parametrize("gpu", ["any order", "in order"])
@pytest.mark.parametrize("rasterizer", [NMR, jr.Soft()], ids=["nmr", "soft"])
def test_other_schedules(rasterizer, gpu, numbers, monkeypatch):
    """What a GPU runs, with sums in any order and in a fixed one."""
    jax.clear_caches()
    monkeypatch.setattr(deterministic, "is_requested", lambda: gpu == "in order")
    for module in (hard, nmr, soft):
        first, *_, last = module.SCHEDULES
        monkeypatch.setitem(module.SCHEDULES, first, module.SCHEDULES[last])
    floats, indices = numbers
    mesh = dressed("texels", floats, indices)
    gradient(lambda mesh: drawn(mesh, jr.look_at((0, 1, -3)), None, rasterizer), mesh)
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*distributions.DISTRIBUTIONS, "gamma", "reverse"])
def test_every_distribution(name, numbers):
    floats, _ = numbers
    made = {"gamma": distributions.gamma(2.5), "reverse": distributions.reverse(distributions.levy)}
    cdf = made.get(name) or distributions.DISTRIBUTIONS[name]
    x = np.linspace(-2, 2, 5, dtype=floats)
    value, slope = traced(lambda x: jax.jvp(cdf, [x], [jnp.ones_like(x)]), x)
    assert value.dtype == slope.dtype == floats
    gradient(cdf, x)


@pytest.mark.slow
@pytest.mark.parametrize(
    "conorm",
    [
        *tconorms.TCONORMS,
        tconorms.hamacher(2.0),
        tconorms.frank(2.0),
        tconorms.yager(2.0),
        tconorms.aczel_alsina(2.0),
        tconorms.dombi(2.0),
        tconorms.schweizer_sklar(-2.0),
    ],
    ids=lambda conorm: getattr(conorm, "name", conorm),
)
def test_every_tconorm(conorm, numbers):
    floats, _ = numbers
    conorm = tconorms.TCONORMS.get(conorm, conorm)
    coverage = np.linspace(0, 1, 5, dtype=floats)
    if conorm != tconorms.maximum:
        gradient(lambda x: conorm.inverse(conorm.generator(x)), coverage)


# --- stages ---------------------------------------------------------------------------------------


def stages(floats, indices):
    """Each public function of arrays, by name, with all that it is differentiated to."""
    mesh, lights = dressed("uv", floats, indices), some_lights(floats)
    other = dressed("uv", floats, indices)
    vertices, faces = mesh.vertices, mesh.faces
    camera = jr.look_at(np.array([0, 1, -3], floats))
    seen = jr.Fragments(
        np.zeros(SIZE, np.int32), np.full((*SIZE, 3), 1 / 3, floats), np.ones(SIZE, floats)
    )
    topology = losses.mesh_topology(faces, 4)
    calibration = np.array([[8, 0, 4], [0, 8, 4], [0, 0, 1]], floats)
    lens = np.array([0.1, 0.01, 0.001, 0.001, 0], floats)
    opengl = jnp.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, -1, -0.2], [0, 0, -1, 0]], floats)
    turn, way = np.eye(3, dtype=floats), np.array([0, 0, 3], floats)
    body = skinning.procedural_body(24)
    pose = np.full((len(body.parents), 3), 0.1, floats)
    shape, angles = np.ones(4, floats), np.full(5, 30, floats)

    def screen(vertices):
        return jr.ScreenMesh(jr.project(vertices, camera, image_size=SIZE), faces)

    def through(camera):
        return jr.project(vertices, camera, image_size=SIZE)

    def calibrated(matrix, distortion):
        return jr.pinhole(matrix, turn, way, distortion, image_size=SIZE)

    def mapped(name, reduction):
        return lambda v: getattr(losses, name)(v, topology, reduction=reduction)

    picture = np.full(SIZE, 0.5, floats)
    return {
        "look_at": (lambda *a: through(jr.look_at(*a)), way, way / 2, np.array([0, 1, 0], floats)),
        "look": (lambda *a: through(jr.look(*a)), -way, way),
        "perspective": (
            lambda fov: through(jr.look_at((0, 1, -3), projection=jr.perspective(fov))),
            floats(45),
        ),
        "orthographic": (
            lambda h: through(jr.look_at((0, 1, -3), projection=jr.orthographic(h))),
            floats(2),
        ),
        "pinhole": (
            lambda *a: through(jr.pinhole(*a, image_size=SIZE)),
            calibration,
            turn,
            way,
            lens,
        ),
        "from_opencv": (
            lambda *a: through(jr.from_opencv(*a, image_size=SIZE)),
            calibration,
            turn,
            way,
            lens,
        ),
        "from_opengl": (
            lambda view: through(jr.from_opengl(view, opengl, image_size=SIZE)),
            np.eye(4, dtype=floats),
        ),
        "from_blender": (
            lambda *a: through(jr.from_blender(a[0], image_size=SIZE, lens=a[1], shift_x=a[2])),
            np.eye(4, dtype=floats),
            floats(50),
            floats(0.1),
        ),
        "undistorted_camera": (
            lambda *a: through(jr.undistorted_camera(calibrated(*a), image_size=SIZE)),
            calibration,
            lens,
        ),
        "distort": (lambda p, *a: jr.distort(p, calibrated(*a)), picture, calibration, lens),
        "undistort": (lambda p, *a: jr.undistort(p, calibrated(*a)), picture, calibration, lens),
        "to_display": (jr.to_display, picture),
        "to_linear": (jr.to_linear, picture),
        "points_from_angles": (jr.points_from_angles, angles, angles, angles),
        "frame": (lambda m, a, e, d: through(jr.frame(m, a, e, distance=d)), mesh, *angles[:3]),
        "turntable": (lambda m, a: jax.vmap(through)(jr.turntable(m, 2, a)), mesh, angles[0]),
        "camera_lights": (lambda eye: jr.camera_lights(jr.look_at(eye)), way),
        "depth_range": (lambda m, eye: jr.depth_range(m, jr.look_at(eye)), mesh, way),
        "camera_position": (lambda *a: jr.camera_position(jr.look_at(*a)), way, way / 2),
        "viewpoint": (lambda *a: jr.viewpoint(jr.look_at(*a)), way, way / 2),
        "project": (lambda v: jr.project(v, camera, image_size=SIZE), vertices),
        "make_lights": (lambda c: jr.make_lights(c, point=[(way, c)], specular=c), floats(0.5)),
        "face_normals": (lambda v: jr.face_normals(v, faces), vertices),
        "vertex_normals": (lambda v: jr.vertex_normals(v, faces), vertices),
        "orient_faces": (
            lambda colors: jr.orient_faces(jr.Mesh(vertices, faces, jr.FaceCubes(colors))),
            np.ones((4, 2, 2, 2, 3), floats),
        ),
        "subdivide": (
            lambda v, t: jr.subdivide(jr.Mesh(v, faces, dataclasses.replace(t, faces=faces))),
            vertices,
            mesh.texture,
        ),
        "weld": (lambda t: (t, jr.weld(jr.Mesh(vertices, faces, t), 0.1)), mesh.texture),
        "join_meshes": (lambda *m: jr.join_meshes(m)[0], mesh, other),
        "make_scene": (
            lambda m, pose: jr.render(
                jr.make_scene([jr.Object(m, pose), jr.Object(m, local=pose, id=4)]).at(
                    jnp.stack([pose, pose])
                ),
                camera,
                image_size=SIZE,
            ),
            mesh,
            np.eye(4, dtype=floats),
        ),
        "Scene.with_material": (
            lambda m, base: jr.silhouette(
                jr.make_scene([m, m], lights).with_material(base_color=base),
                camera,
                np.array([1], indices),
                image_size=SIZE,
                rasterizer=jr.Soft(),
            ),
            mesh,
            np.ones((1, 4), floats),
        ),
        "make_lights of spots": (
            lambda c: jr.make_lights(
                c, spot=[(way, c, way, floats(40), c)], attenuation=way, like_opengl=True
            ),
            floats(0.5),
        ),
        "Mesh.transformed": (lambda m, t: m.transformed(t), mesh, np.eye(4, dtype=floats)),
        "Material": (
            lambda m, base: jr.render(
                dataclasses.replace(m, material=jr.Material(base_color=base)),
                camera,
                image_size=SIZE,
            ),
            mesh,
            np.full((1, 4), 0.5, floats),
        ),
        "Material ": (
            lambda m, gloss: jr.render(
                dataclasses.replace(
                    m,
                    normals=np.ones((4, 3), floats),
                    normal_faces=faces,
                    material=jr.Material(
                        alpha_cutoff=gloss[:1],
                        emissive=m.texture,
                        specular=gloss[None],
                        shininess=gloss[:1],
                        unlit=gloss[:1],
                    ),
                ),
                camera,
                jr.make_lights(),
                image_size=SIZE,
                shading="phong",
                rasterizer=jr.Soft(),
            ),
            mesh,
            np.full(3, 0.5, floats),
        ),
        "shade": (lambda *a: jr.shade(*a, eye=way, shading="phong"), seen, mesh, lights),
        "sample_texture": (
            lambda texture, b: jr.sample_texture(texture, faces, seen.face, b),
            mesh.texture,
            seen.barycentrics,
        ),
        "rasterize_hard": (lambda v: jr.rasterize_hard(screen(v), image_size=SIZE), vertices),
        "rasterize_soft": (
            lambda v, *a: jr.rasterize_soft(screen(v), image_size=SIZE, sigma=a[0], gamma=a[1]),
            vertices,
            floats(1e-3),
            floats(1e-2),
        ),
        "nmr_gradient": (lambda p, v: jr.nmr_gradient(p, seen, screen(v)), picture, vertices),
        "edge_gradient": (lambda p, v: jr.edge_gradient(p, seen, screen(v)), picture, vertices),
        "antialias": (lambda p, v: jr.antialias(p, seen, screen(v)), picture, vertices),
        "antialias ": (
            lambda p, v: jr.antialias(p, seen, screen(v), edges=jr.number_edges(faces)),
            picture,
            vertices,
        ),
        "interpolate": (
            lambda a, v: jr.interpolate(a, seen, faces, screen=screen(v)),
            vertices,
            vertices,
        ),
        "silhouette": (lambda m: jr.silhouette(m, camera, image_size=SIZE), mesh),
        "render": (lambda m, c: jr.render(m, c, image_size=SIZE), mesh, camera),
        "voxelize": (lambda v: jr.voxelize(v, faces, resolution=4), vertices),
        "pad_meshes": (lambda *m: jr.pad_meshes(m), mesh, other),
        "stack_meshes": (lambda *m: jr.stack_meshes(m), mesh, other),
        "normalize": (jr.normalize, mesh),
        "io.normalize": (jr.normalize, mesh),
        "io.bake_cubes": (lambda m: io.bake_cubes(m, 2), mesh),
        "io.bake_cubes ": (lambda m: io.bake_cubes(m, 2, wrap="mirror", bilinear=False), mesh),
        "io.bake_cubes  ": (
            lambda c: io.bake_cubes(jr.Mesh(vertices, faces, jr.VertexColors(c)), 2),
            vertices,
        ),
        "io.bake_texels": (lambda m: io.bake_texels(m, 2), mesh),
        **{
            f"losses.{name}{' ' * count}": (mapped(name, reduction), vertices)
            for name in ("laplacian", "flatten", "edge_length", "normal_consistency")
            for count, reduction in enumerate(losses.REDUCTIONS)
        },
        "losses.pad_topologies": (lambda v: (v, losses.pad_topologies([topology] * 2)), vertices),
        "losses.stack_topologies": (
            lambda v: jax.vmap(losses.laplacian)(
                jnp.stack([v, v]), losses.stack_topologies([topology] * 2)
            ),
            vertices,
        ),
        "losses.negative_iou": (losses.negative_iou, picture, picture / 2),
        "losses.iou": (lambda p, t: losses.iou(p > 0.4, t > 0.4), picture, picture / 2),
        "losses.mesh_topology": (lambda v: losses.mesh_topology(faces, len(v)), vertices),
        "rotations.from_axis_angle": (rotations.from_axis_angle, pose),
        "rotations.to_axis_angle": (rotations.to_axis_angle, turn),
        "rotations.from_quaternion": (rotations.from_quaternion, np.ones(4, floats)),
        "rotations.to_quaternion": (rotations.to_quaternion, turn),
        "rotations.from_6d": (rotations.from_6d, np.arange(6, dtype=floats)),
        "rotations.to_6d": (rotations.to_6d, turn),
        "rotations.random": (lambda v: (v, rotations.random(jax.random.key(0))), way),
        "rotations.angle_between": (rotations.angle_between, turn, turn),
        "rotations.orthonormalize": (rotations.orthonormalize, turn),
        "skinning.procedural_body": (lambda v: (v, skinning.procedural_body(24)), vertices),
        "skinning.skin": (lambda *a: skinning.skin(body, *a), pose, shape, way),
        "skinning.joints": (lambda *a: skinning.joints(body, *a), pose, shape, way),
        "skinning.rotation_matrices": (skinning.rotation_matrices, pose),
        **{
            f"shapes.{name}": (lambda v, name=name: (v, getattr(shapes, name)()), vertices)
            for name in ("cube", "icosphere", "torus", "plane", "teapot")
        },
    }


@pytest.mark.parametrize(
    "numbers", ["float32", pytest.param("float64", marks=pytest.mark.thorough)], indirect=True
)
def test_every_stage(numbers):
    for name, (function, *args) in stages(*numbers).items():
        try:
            traced(function, *args)
            gradient(function, *args)
        except Exception as error:
            error.add_note(f"of {name}")
            raise


def products(jaxpr):
    """The products of matrices of a program, and of those inside of it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for part in jax.tree.leaves(equation.params, is_leaf=lambda part: hasattr(part, "jaxpr")):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from products(inner)


@pytest.mark.slow
def test_no_product_is_rounded_on_a_gpu():
    """By default these round the factors of a product to 10 bits."""
    highest = (jax.lax.Precision.HIGHEST,) * 2
    found = set()
    for name, (function, *args) in stages(np.float32, np.int32).items():
        for product in products(jax.make_jaxpr(function)(*args).jaxpr):
            of_floats = jnp.issubdtype(product.outvars[0].aval.dtype, jnp.floating)
            if of_floats and product.params["precision"] != highest:
                found.add(name.strip())
    assert not found, f"give the products of {found} a precision"


@pytest.mark.slow
def test_fitting(numbers):
    import optax

    floats, indices = numbers
    mesh = dressed("none", floats, indices)
    topology = losses.mesh_topology(mesh.faces, 4)

    def loss(vertices, target):
        return losses.edge_length(vertices, topology, target=target)

    found = fitting.fit(
        loss,
        mesh.vertices,
        optax.adam(0.1),
        steps=2,
        schedules={"target": lambda step: floats(step)},
        progress=False,
    )
    assert found.params.dtype == floats


@pytest.mark.thorough
@pytest.mark.parametrize("jacobian", ["forward", "matrix_free"])
def test_least_squares(numbers, jacobian):
    floats, _ = numbers
    points = np.random.default_rng(0).normal(size=(4, 3)).astype(floats)

    def residuals(params, shift):
        return points @ params["turn"].T - points - (params["shift"] - shift)[None]

    found = fitting.least_squares(
        residuals,
        {
            "turn": fitting.Rotation(rotations.from_axis_angle(np.full(3, 0.1, floats))),
            "shift": fitting.Bounded(np.zeros(3, floats), -1.0, 1.0),
        },
        rho="huber",
        jacobian=jacobian,
        schedules={"shift": lambda step: floats(0.1)},
        steps=2,
        progress=False,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {np.dtype(floats)}


@pytest.mark.slow
def test_files(tmp_path, numbers):
    floats, indices = numbers
    for kind, name in (("uv", "a.obj"), ("colors", "b.ply"), ("one texel", "c.off")):
        io.save_mesh(tmp_path / name, dressed(kind, floats, indices))
        again = io.load_mesh(tmp_path / name)
        assert again.vertices.dtype == floats
        traced(lambda mesh: drawn(mesh, jr.look_at((0, 1, -3)), None, jr.Hard()), again)
    picture = np.full((*SIZE, 3), 0.5, floats)
    io.save(tmp_path / "a.npz", picture=picture)
    assert io.load(tmp_path / "a.npz")["picture"].dtype == floats
    io.save_depth(tmp_path / "a.npy", picture[..., 0])
    assert io.load_depth(tmp_path / "a.npy").dtype == floats
    io.save_image(tmp_path / "a.png", picture)
    io.save_animation(tmp_path / "a.gif", [picture] * 2)
    assert io.load_image(tmp_path / "a.png").dtype == floats


@pytest.mark.cases(1)
@pytest.mark.thorough
def test_why_not_drawn(numbers):
    """It looks at values, so it is not traced."""
    floats, indices = numbers
    mesh, camera = dressed("none", floats, indices), jr.look_at(np.array([0, 1, -3], floats))
    told = jr.why_not_drawn(mesh, camera, 0, image_size=SIZE, near=2, far=9, cull="back")
    assert told.startswith("Face 0 is ")


def test_no_operation_is_left_out():
    source = inspect.getsource(inspect.getmodule(test_files))
    named = {name.strip() for name in stages(np.float32, np.int32)}
    modules = {"": jr, "fitting.": fitting, "io.": io, "losses.": losses, "shapes.": shapes}
    modules |= {"rotations.": rotations, "skinning.": skinning}
    public = {
        f"{prefix}{name}"
        for prefix, module in modules.items()
        for name, thing in vars(module).items()
        if inspect.isfunction(thing)
        and not name.startswith("_")
        and name not in MAKES_TYPES | SETS
        and (name in jr.__all__ or (prefix and thing.__module__ == module.__name__))
    }
    unnamed = public - named - ONLY_READS - SHOWS
    missing = {name for name in unnamed if f"{name.split('.')[-1]}(" not in source}
    assert not missing, f"give {missing} a line in `stages`"
