"""`nmr_gradient`, the operations under it, and `render` and `silhouette` with it."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_nmr
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import jit
from reference import soup

import jaxrender as jr
from jaxrender._textures.bake import bake_cubes
from jaxrender.ops import hard, nmr
from jaxrender.ops.view import View

SCHEDULES = sorted(nmr.SCHEDULES)
GRADIENT = jax.jit(nmr.visibility_gradient, static_argnames=("perspective", "schedule"))


@functools.partial(jax.jit, static_argnames=("image_size",))
def nearest_faces(vertices, faces, near, far, *, image_size):
    view = View(jnp.float32(near), jnp.float32(far), image_size)
    return hard.nearest_faces(vertices, faces, view)


# Twice the largest differences between float32 and float64 in the files, relative L2.
FLOAT32 = {"rgb": 1e-3, "depth": 4e-4, "gradient": 6e-4}


def separate(corners: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Vertices `[3 F, 3]` and faces `[F, 3]` of faces that share none."""
    count = len(corners)
    return jnp.asarray(corners).reshape(-1, 3), jnp.arange(3 * count, dtype=jnp.int32).reshape(
        -1, 3
    )


def relative(got: np.ndarray, wanted: np.ndarray, where: np.ndarray) -> float:
    """Relative L2 difference of what `where` selects."""
    got, wanted = np.asarray(got)[where], np.asarray(wanted)[where]
    return float(np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), 1e-30))


def channel_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, -3, -1)


# --- the ancestor's numbers -------------------------------------------------------------------


RASTERS = GOLDEN.split(GOLDEN.glob("nmr/*.npz", "grad_faces_alpha_f64"))
# Those that travel with the repository, and the others: one program each.
PARTS = [
    pytest.param(
        [file.values[0] for file in RASTERS if bool(file.marks) == bool(marks)],
        marks=marks,
        id=name,
    )
    for name, marks in (("copied", ()), ("others", pytest.mark.thorough))
]


class TestRasterFiles:
    """The rule itself, on the ancestor's own face maps: every case, all faces that are stable."""

    @pytest.mark.thorough
    @pytest.mark.usefixtures("x64")
    @pytest.mark.parametrize("files", PARTS)
    def test_float64(self, golden, files):
        self.check(golden, files, np.float64, "_f64", 1e-6, {"rgb": 1e-3, "depth": 4e-4})

    @pytest.mark.thorough
    @pytest.mark.slow
    @pytest.mark.parametrize("files", PARTS)
    def test_float32(self, golden, files):
        self.check(golden, files, np.float32, "", FLOAT32["gradient"], FLOAT32)

    def check(self, golden, files, dtype, suffix, tolerance, pictures):
        for file in files:
            data = golden(file)
            for item in range(len(data["faces"])):
                one = {
                    name: value[item]
                    for name, value in data.items()
                    if value.ndim and len(value) == len(data["faces"])
                }
                options = json.loads(str(data["options"]))
                gradients = self.differentiate(one, options, dtype, pictures)
                stable = ~one["unstable_faces"].astype(bool)
                for name, gradient in gradients.items():
                    wanted = one[f"grad_faces{name}{suffix}"]
                    difference = relative(gradient, wanted, stable)
                    assert difference < tolerance, (file, item, name, difference)

    def differentiate(self, one, options, dtype, pictures):
        """All gradients of one item, by the names of the file; checks pictures on the way."""
        # Pad with faces that nobody sees, so that few programs are compiled.
        count = len(one["faces"])
        more = max(400 - count, 0)
        faces = np.concatenate([one["faces"], np.ones((more, 3, 3))]).astype(dtype)
        cubes = one["textures"] if "textures" in one else np.zeros((count, 2, 2, 2, 3))
        cubes = np.pad(cubes, ((0, more), *[(0, 0)] * 4)).astype(dtype)
        factor = 2 if options["anti_aliasing"] else 1

        def samples(array):
            spread = np.ones((factor, factor, *[1] * (array.ndim - 2)))
            return jnp.asarray(np.kron(array, spread).astype(dtype) / factor**2)

        nothing = np.zeros((3, *one["alpha"].shape))
        rgb, depth, gradients, by_cubes = golden_picture(
            jnp.asarray(faces),
            jnp.asarray(one["face_index_map"][::-1], jnp.int32),
            jnp.asarray(cubes),
            jnp.asarray(options["background_color"], dtype),
            samples(channel_last(one.get("g_rgb", nothing))),
            samples(one["g_alpha"]),
            samples(one["g_depth"]),
            jnp.asarray(np.float32(options["eps"]), dtype),
            jnp.asarray(options["far"], dtype),
        )
        self.compare(one, "depth", depth, factor, pictures["depth"])
        if "rgb" in one:
            self.compare(one, "rgb", rgb, factor, pictures["rgb"])
            everywhere = np.full(count, True)
            assert relative(by_cubes[:count], one["grad_textures"], everywhere) < 2e-5
        else:
            del gradients["_rgb"]
        return {name: np.asarray(array)[:count] for name, array in gradients.items()}

    @staticmethod
    def compare(one, name, picture, factor, tolerance):
        """A picture against the file's, where that is stable."""
        wanted = one[name] if name == "depth" else channel_last(one[name])
        size = wanted.shape[0]
        picture = np.asarray(picture).reshape(size, factor, size, factor, -1).mean((1, 3))
        stable = ~one["unstable"].astype(bool)
        scale = np.abs(wanted) if name == "depth" else 1
        difference = np.abs(picture.reshape(wanted.shape) - wanted) / scale
        assert difference[stable].max() < tolerance, name


@jit
def golden_picture(corners, face, cubes, background, g_rgb, g_alpha, g_depth, eps, far):
    """The ancestor's face map drawn as the ancestor does, and its gradients by name."""
    faces = jnp.arange(corners.shape[0] * 3, dtype=jnp.int32).reshape(-1, 3)
    vertices = corners.reshape(-1, 3)
    (barycentrics, depth), pull_seen = jax.vjp(
        lambda vertices: hard.look_up(vertices, faces, face, far, perspective=True), vertices
    )
    (by_depth,) = pull_seen((jnp.zeros_like(barycentrics), g_depth))

    # It stops eps short of the last texel.
    barycentrics = jnp.clip(barycentrics, 0, 1 - eps / (cubes.shape[1] - 1))

    def colors(cubes):
        sampled = jr.sample_texture(jr.FaceCubes(cubes), faces, face, barycentrics)
        return jnp.where((face < 0)[..., None], background[None, None], sampled)

    rgb, pull_colors = jax.vjp(colors, cubes)
    alpha = (face >= 0).astype(rgb.dtype)
    picture = jnp.concatenate([rgb, alpha[..., None]], -1)
    upstream = jnp.concatenate([g_rgb, g_alpha[..., None]], -1)

    # Differentiate rgb alone, alpha alone, and both, in one call.
    apart = jnp.array([[1, 1, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]], rgb.dtype)[:, None, None]
    by_rgb, by_alpha, by_both = jax.vmap(
        lambda upstream: nmr.visibility_gradient(
            vertices, faces, face, picture, upstream, eps, perspective=False
        )
    )(upstream[None] * apart)
    gradients = {"": by_both + by_depth, "_rgb": by_rgb, "_alpha": by_alpha, "_depth": by_depth}
    gradients = {name: by.reshape(corners.shape) for name, by in gradients.items()}
    return rgb, depth, gradients, pull_colors(g_rgb)[0]


def golden_camera(options: dict, item: int) -> jr.Camera:
    given = {**options["constructor"], **options["call"], **options["attributes"]}
    if options["camera_mode"] == "projection":
        distortion = given.get("dist_coeffs", np.zeros((2, 5)))[item]
        placed = given["K"][item], given["R"][item], given["t"][item][0]
        return jr.pinhole(*placed, distortion, image_size=(given["orig_size"],) * 2)
    angle = given.get("viewing_angle", 30)
    eye = given.get("eye", (0, 0, -(1 / np.tan(np.radians(angle)) + 1)))
    flat = not given.get("perspective", True)
    projection = jr.orthographic(2.0) if flat else jr.perspective(2 * angle)
    if options["camera_mode"] == "look":
        return jr.look(eye, given["camera_direction"], projection=projection, right_handed=False)
    return jr.look_at(eye, projection=projection, right_handed=False)


def golden_lights(options: dict) -> jr.Lights:
    light = options["light"]
    # It lights the side of a face by the normal that looks at the viewer of a left-handed
    # camera; in a right-handed one that is the far side's.
    sign = -1 if options["camera_mode"] == "projection" else 1
    return jr.make_lights(
        np.float32(light["color_ambient"]) * light["intensity_ambient"],
        [
            (
                sign * np.asarray(light["direction"], np.float32),
                np.float32(light["color_directional"]) * light["intensity_directional"],
            )
        ],
    )


PIPELINES = [
    "angle45",
    "ico_rgbmode",
    "look_ico_b2",
    "look_tetra",
    "lookat_cube_light",
    "lookat_ico_b2_aa",
    "lookat_nofill",
    "lookat_ortho",
    "lookat_tetra",
    "projection_cube_b2",
    "projection_ico",
    "teapot_depth",
    "teapot_rgb",
    "teapot_silhouettes",
]


@pytest.mark.thorough
@pytest.mark.parametrize("file", GOLDEN.split(f"nmr/renderer_{name}.npz" for name in PIPELINES))
def test_golden_pipelines(golden, file):
    """`render` against the ancestor's `Renderer`: pictures, gradients to vertices and textures."""
    data = golden(file)
    options = json.loads(str(data["options"]))
    # These two modes ignore what their Renderer was given.
    silent = options["mode"] in ("silhouettes", "depth")
    near, far, eps = (0.1, 100, 1e-4) if silent else (options["near"], options["far"], 1e-3)
    draw = functools.partial(
        jr.render,
        lights=golden_lights(options),
        image_size=(options["image_size"],) * 2,
        near=near,
        far=far,
        background=jnp.asarray(options["background_color"], jnp.float32),
        anti_aliasing=2 if options["anti_aliasing"] else 1,
        cull="none" if options["fill_back"] else "back",
        rasterizer=jr.Hard("nmr", eps=eps, interpolation_gradient=False),
    )
    if file == "nmr/renderer_lookat_ortho.npz":
        draw = functools.partial(draw_as_if_perspective, near=near, far=far, eps=eps)

    @jit
    def picture(vertices, cubes, faces, view, upstream):
        def seen(vertices, cubes):
            image = draw(jr.Mesh(vertices, faces, jr.FaceCubes(cubes)), view)
            # The ancestor averages `far` in, where a sample is empty.
            covered = jax.lax.stop_gradient(image.alpha)
            depth = covered * image.depth + (1 - covered) * far
            image = jr.Image(image.rgb, image.alpha, depth)
            return {kind: getattr(image, kind) for kind in upstream}

        image, pull = jax.vjp(seen, vertices, cubes)
        return image, pull(upstream)

    for item, vertices in enumerate(data["vertices"]):
        faces = jnp.asarray(data["face_indices"][item], jnp.int32)
        cubes = jnp.ones((len(faces), 2, 2, 2, 3))
        if "textures" in data:
            cubes = jnp.asarray(data["textures"][item])
        view = golden_camera(options, item)

        upstream = {}
        for kind in {"rgb", "alpha", "depth"} & set(data):
            shape = channel_last if kind == "rgb" else np.asarray
            upstream[kind] = jnp.asarray(shape(data[f"g_{kind}"][item]))

        image, (by_vertices, by_cubes) = picture(
            jnp.asarray(vertices), cubes, faces, view, upstream
        )
        stable = ~data["unstable"][item].astype(bool)
        for kind, drawn in image.items():
            wanted = channel_last(data[kind][item]) if kind == "rgb" else data[kind][item]
            tolerance = {"rgb": 1e-3, "alpha": 0, "depth": 4e-4}[kind]
            assert np.abs(drawn - wanted)[stable].max() <= tolerance, kind

        # The files do not say which faces are unstable here: with those, float32 and float64
        # differ by up to 6e-2. So be strict where all but few vertices are concerned.
        wanted = data["grad_vertices"][item]
        error = np.linalg.norm(by_vertices - wanted, axis=-1)
        same = error <= 1e-3 * np.linalg.norm(wanted, axis=-1).max()
        assert (~same).sum() <= 8
        assert relative(by_vertices, wanted, same) < 2e-3
        assert relative(by_vertices, wanted, np.full(len(same), True)) < 2e-2
        if "grad_textures" in data:
            wanted = data["grad_textures"][item]
            # It reads the last texel of a cube at 1 - eps.
            assert relative(by_cubes, wanted, np.full(len(wanted), True)) < 2e-3


def draw_as_if_perspective(mesh, view, *, near, far, eps):
    """The stages one by one: under an orthographic camera too, NMR takes 1/z as linear."""
    screen = jr.ScreenMesh(jr.project(mesh.vertices, view), mesh.faces)
    seen = jr.rasterize_hard(screen, image_size=(48, 48), near=near, far=far)
    barycentrics = jax.lax.stop_gradient(seen.barycentrics)
    still = jr.Fragments(seen.face, barycentrics, seen.depth)
    colors = jr.shade(still, mesh, eye=jr.viewpoint(view))
    alpha = (seen.face >= 0).astype(jnp.float32)[..., None]
    picture = jr.nmr_gradient(jnp.concatenate([colors, alpha], -1), seen, screen, eps=eps)
    return jr.Image(picture[..., :3], picture[..., 3], seen.depth)


@pytest.mark.thorough
@pytest.mark.parametrize("views", [1, 4])
@pytest.mark.parametrize("case", ["tri1_alpha", "tri2_alpha", "tri1_rgb", "tri2_rgb"])
def test_golden_triangles(golden, case, views):
    """The ancestor's unit tests: one triangle, the loss in one pixel inside or outside."""
    data = golden(f"nmr/{case}_b{views}.npz")
    options = json.loads(str(data["options"]))
    view = jr.look_at((0, 0, -2.7320508), projection=jr.orthographic(2.0), right_handed=False)

    @jit
    @jax.vmap
    def gradient(vertices, faces):
        def loss(vertices):
            mesh, how = jr.Mesh(vertices, faces), jr.Hard("nmr", eps=options["eps"])
            kwargs = {"image_size": (64, 64), "rasterizer": how}
            if case.endswith("alpha"):
                image = jr.silhouette(mesh, view, **kwargs)
            else:
                light = jr.make_lights(1.0, [])
                image = jr.render(mesh, view, light, **kwargs).rgb.mean(-1)
            return jnp.abs(image[options["py"], options["px"]] - options["target"])

        return jax.grad(loss)(vertices)

    moved = gradient(jnp.asarray(data["vertices"]), jnp.asarray(data["face_indices"]))
    np.testing.assert_allclose(moved, data["grad_vertices"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_golden_depth_of_a_triangle(golden):
    """The ancestor's unit test of depth: a triangle and its back, the loss in one pixel."""
    data = golden("nmr/tri_depth.npz")
    options = json.loads(str(data["options"]))
    vertices, faces = separate(data["faces"][0])

    @jax.jit
    def depth(vertices):
        size = (options["image_size"],) * 2
        limits = {"near": options["near"], "far": options["far"]}
        screen = jr.ScreenMesh(vertices, faces)
        return jr.rasterize_hard(screen, image_size=size, cull="back", **limits).depth

    # The edge from (-.9, -.9) to (.8, .8) passes through pixel centres: there rounding decides.
    sure = ~np.fliplr(np.eye(options["image_size"], dtype=bool))
    assert (data["depth"][0][sure] < 2).sum() > 500
    np.testing.assert_allclose(depth(vertices)[sure], data["depth"][0][sure], rtol=1e-5)
    row, column = options["py"], options["px"]
    moved = jax.grad(lambda vertices: (depth(vertices)[row, column] - 1) ** 2)(vertices)
    np.testing.assert_allclose(moved.reshape(-1, 3, 3), data["grad_faces"][0], rtol=1e-4, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("copied", [False, True])
def test_golden_doubled_faces(golden, copied):
    """A model that has each face twice, once reversed and with another material.

    The original culls backs and draws each face and a reversed copy of it; to cull nothing is the
    same: no stable pixel is off.
    """
    data, expected = golden("nmr/renderer_textured_model.npz"), golden("nmr/load_obj_textured.npz")
    options = json.loads(str(data["options"]))
    path = golden.path(json.loads(str(expected["options"]))["file"])
    mesh = jr.normalize(jr.load_mesh(path))

    # The original takes pictures and the plain colours of materials as the files hold them.
    plain = (mesh.texture.pages[:, 1:] == 1).all(1)
    display, linear = (
        bake_cubes(jr.load_mesh(path, colors=colors), 4, wrap="clamp").texture.cubes
        for colors in ("display", "linear")
    )
    cubes = jnp.where(plain[:, None, None, None, None], linear, display)
    mesh = jr.Mesh(mesh.vertices, mesh.faces, jr.FaceCubes(cubes))
    np.testing.assert_allclose(mesh.vertices, expected["vertices"], atol=1e-6)
    doubled = {tuple(sorted(face)) for face in mesh.faces.tolist()}
    assert len(doubled) < 0.6 * len(mesh.faces)
    if copied:
        cubes = jnp.concatenate([cubes, cubes.swapaxes(1, 3)])
        faces = jnp.concatenate([mesh.faces, mesh.faces[:, ::-1]])
        mesh = jr.Mesh(mesh.vertices, faces, jr.FaceCubes(cubes))
    image = jr.render(
        mesh,
        jr.look_at(options["eye"], projection=jr.perspective(60.0), right_handed=False),
        image_size=(options["image_size"],) * 2,
        far=100.0,
        anti_aliasing=2,
        cull="back" if copied else "none",
    )
    stable = ~data["unstable"][0]
    assert stable.mean() > 0.99
    wanted = channel_last(data["rgb"][0])
    assert np.ptp(wanted[stable], axis=0).max() > 0.5
    np.testing.assert_allclose(np.asarray(image.rgb)[stable], wanted[stable], atol=1e-5)
    np.testing.assert_array_equal(np.asarray(image.alpha)[stable], data["alpha"][0][stable])
    # The original pools the depth of nothing as well.
    depth = image.alpha * image.depth + (1 - image.alpha) * 100
    np.testing.assert_allclose(depth[stable], data["depth"][0][stable], atol=4e-4)


# --- against the rule written out -------------------------------------------------------------


SIZES = [(9, 14), (16, 5), (1, 1)]


@st.composite
def hostile_soups(draw, sizes=SIZES):
    """Faces with corners on pixel centres, level edges, no area, off screen, and plain ones."""
    size = draw(st.sampled_from(sizes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corners = np.concatenate(
        [rng.uniform(-1.4, 1.4, (12, 3, 2)), rng.uniform(1, 5, (12, 3, 1))], -1
    ).astype(np.float32)
    for index in range(12):
        kind = draw(st.sampled_from(["plain", "aligned", "level", "thin", "point", "outside"]))
        points = corners[index, :, :2]
        if kind == "aligned":
            pixels = rng.integers(-2, [size[1] + 2, size[0] + 2], (3, 2))
            points[:] = (2 * pixels + 1) / [size[1], size[0]] - 1
        elif kind == "level":
            points[1, rng.integers(2)] = points[0, rng.integers(2)]
        elif kind == "thin":
            points[2] = points[0] + (points[1] - points[0]) * rng.uniform(-1, 2)
        elif kind == "point":
            points[:] = points[0]
        elif kind == "outside":
            points += 3
    return size, corners, rng


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(hostile_soups())
def test_equals_the_slow_loop(case):
    """Random soups: finite, zero for what nobody sees, the same by all schedules, and right."""
    size, corners, rng = case
    vertices, faces = separate(corners.astype(np.float64))
    face = nearest_faces(vertices, faces, 0.1, 100.0, image_size=size)[0]
    image = rng.integers(0, 3, (*size, 2)) / 2.0
    upstream = rng.normal(size=(*size, 2))
    args = (vertices, faces, face, jnp.asarray(image), jnp.asarray(upstream), 1e-3)
    one = np.asarray(GRADIENT(*args))
    wanted = reference_nmr.nmr_gradient(corners, np.asarray(face), image, upstream, 1e-3)
    scale = max(np.abs(wanted).max(), 1.0)
    assert np.isfinite(one).all()
    if size == SIZES[0]:
        for schedule in SCHEDULES:
            other = GRADIENT(*args, schedule=schedule)
            np.testing.assert_allclose(one, other, atol=1e-9 * scale)
    np.testing.assert_allclose(one.reshape(-1, 3, 3)[..., :2], wanted, atol=1e-9 * scale)
    unseen = np.setdiff1d(np.arange(len(corners)), np.asarray(face))
    assert (one.reshape(-1, 3, 3)[unseen] == 0).all()
    assert (one[:, 2] == 0).all()


@pytest.mark.slow
@settings(max_examples=30, deadline=None, derandomize=True)
@given(hostile_soups(SIZES[:1]))
def test_finite_in_float32(case):
    size, corners, rng = case
    vertices, faces = separate(corners)
    # Some corners behind the camera, some far away.
    vertices = vertices.at[::5, 2].multiply(-1).at[::7].multiply(1e6)
    face = nearest_faces(vertices, faces, 0.1, 1e9, image_size=size)[0]
    upstream = jnp.asarray(rng.normal(size=(*size, 1)), jnp.float32)
    picture = (face >= 0)[..., None].astype(jnp.float32)
    moved = GRADIENT(vertices, faces, face, picture, upstream, 1e-3)
    assert np.isfinite(moved).all()


class TestRule:
    @pytest.mark.slow
    def test_downhill_from_afar(self):
        """A pixel pulls on a triangle that is far away, along its row and its column."""
        corners = [[-0.9, -0.1, 2.0], [-0.6, -0.1, 2.0], [-0.75, 0.3, 2.0]]
        moved = pull_of_pixel(corners, row=14, column=30)
        # The edge on the right is asked to come, and so its two corners; no column is crossed.
        assert moved[0, 0] == 0
        assert (moved[1:, 0] < 0).all()
        assert (moved[:, 1:] == 0).all()

    @pytest.mark.slow
    def test_zero_where_no_change_helps(self):
        """A pixel off every row and column of the triangle, and a loss that would rise."""
        corners = [[-0.9, -0.1, 2.0], [-0.6, -0.1, 2.0], [-0.75, 0.3, 2.0]]
        assert (pull_of_pixel(corners, row=31, column=31) == 0).all()
        assert (pull_of_pixel(corners, row=14, column=30, wanted=-1) == 0).all()

    @pytest.mark.slow
    def test_faces_from_behind_count_as_turned(self):
        corners = [[-0.9, -0.1, 2.0], [-0.6, -0.1, 2.0], [-0.75, 0.3, 2.0]]
        moved = pull_of_pixel(corners, row=14, column=30)
        turned = pull_of_pixel(corners[::-1], row=14, column=30)
        np.testing.assert_allclose(turned[::-1], moved, rtol=1e-6)

    @pytest.mark.long
    def test_channels_are_summed_before_the_test(self):
        vertices, faces = map(jnp.asarray, soup(1, 30))
        face = nearest_faces(vertices, faces, 0.1, 100.0, image_size=(20, 20))[0]
        # Whole numbers, so that sums are exact in any order.
        upstream = jnp.round(4 * jax.random.normal(jax.random.key(0), (20, 20, 1)))
        image = jnp.round(4 * jax.random.uniform(jax.random.key(1), (20, 20, 1)))
        once = GRADIENT(vertices, faces, face, image, upstream, 1e-3)
        twice = GRADIENT(vertices, faces, face, *(x.repeat(2, -1) for x in (image, upstream)), 1e-3)
        np.testing.assert_allclose(twice, 2 * once, rtol=1e-4, atol=1e-2)
        against = jnp.concatenate([upstream, -upstream], -1)
        nothing = GRADIENT(vertices, faces, face, image.repeat(2, -1), against, 1e-3)
        assert (nothing == 0).all()


@jax.jit
def pull_on(corners, row, column, wanted):
    def loss(corners):
        screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        seen = jr.rasterize_hard(screen, image_size=(32, 32))
        alpha = jr.nmr_gradient((seen.face >= 0).astype(float), seen, screen)
        return -wanted * alpha[row, column]

    return jax.grad(loss)(corners)


def pull_of_pixel(corners, *, row, column, wanted=1.0):
    """Gradient of -wanted alpha at one pixel of 32 x 32 to one triangle's screen vertices."""
    return np.asarray(pull_on(jnp.asarray(corners), row, column, wanted))


class TestCameraPlane:
    """Edges that pass behind the camera act where the picture has them."""

    @pytest.mark.slow
    @pytest.mark.usefixtures("x64")
    def test_equals_the_cut_face(self):
        """A face with two corners behind, and the face that is left of it."""
        corners = jnp.array([[0.1, -0.3, 2.0], [0.9, 1.5, -1.0], [-1.3, 1.2, -2.0]])
        faces = jnp.array([[0, 1, 2]])
        weights = jax.random.normal(jax.random.key(3), (24, 31))

        def loss(corners):
            on_screen = corners / corners[:, 2:] * jnp.array([[1, 1, 0]])
            on_screen = on_screen + corners * jnp.array([[0, 0, 1]])
            screen = jr.ScreenMesh(on_screen, faces)
            seen = jr.rasterize_hard(screen, image_size=(24, 31), near=0.01)
            return (weights * jr.nmr_gradient((seen.face >= 0) * 1.0, seen, screen)).sum()

        def cut(corners):
            depth = corners[0, 2] / 1024
            t = ((corners[0, 2] - depth) / (corners[0, 2] - corners[1:, 2]))[:, None]
            return jnp.concatenate([corners[:1], corners[:1] * (1 - t) + corners[1:] * t])

        crossing = jit(jax.grad(loss))(corners)
        whole = jit(jax.grad(lambda corners: loss(cut(corners))))(corners)
        assert np.abs(crossing).max() > 0.1
        np.testing.assert_allclose(crossing, whole, rtol=1e-6, atol=1e-9)

    @pytest.mark.slow
    def test_floor_under_the_camera(self):
        """Tilting a floor that passes under the camera moves the horizon: uphill, downhill."""
        floor = jr.Mesh(
            jnp.array([[-9.0, -1, -9], [9, -1, -9], [9, -1, 9], [-9, -1, 9]]),
            jnp.array([[0, 1, 2], [0, 2, 3]]),
        )

        def covered(lift):
            mesh = jr.Mesh(floor.vertices.at[:2, 1].add(lift), floor.faces)
            return jr.silhouette(mesh, jr.look((0.0, 0.0, 0.0)), image_size=(32, 48)).mean()

        value, slope = jit(jax.value_and_grad(covered))(0.0)
        assert 0.3 < value < 0.6
        assert slope > 0


# --- transformations --------------------------------------------------------------------------


def assert_close(got, wanted):
    """Within rounding of the largest value: small ones are what is left of large ones."""
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def cube_loss(vertices, azimuth, image_size=(18, 24)):
    cube = jr.shapes.cube()
    mesh = jr.Mesh(vertices, cube.faces)
    view = jr.look_at(jr.points_from_angles(3.0, 20.0, azimuth))
    alpha = jr.silhouette(mesh, view, image_size=image_size)
    return ((alpha - 0.3) ** 2).sum()


class TestTransformations:
    @pytest.mark.long
    def test_views_and_meshes_at_once(self):
        """grad of vmap, vmap of grad, and a shared mesh: all are the loop over single views."""
        vertices = jr.shapes.cube().vertices
        azimuths = jnp.array([0.0, 40.0, 130.0])
        one = jit(jax.grad(cube_loss))
        apart = np.stack([one(vertices, azimuth) for azimuth in azimuths])

        @jit
        @jax.grad
        def together(vertices):
            return jax.vmap(cube_loss, (None, 0))(vertices, azimuths).sum()

        assert_close(together(vertices), apart.sum(0))
        meshes = jnp.stack([vertices, 0.8 * vertices])
        nested = jax.vmap(jax.vmap(jax.grad(cube_loss), (None, 0)), (0, None))
        both = jit(nested)(meshes, azimuths)
        assert_close(both[0], apart)
        assert_close(both[1, 2], one(0.8 * vertices, 130.0))

    @pytest.mark.slow
    def test_camera_parameters(self):
        """The gradient reaches eye, field of view and lens."""
        mesh = jr.shapes.icosphere(1)

        @jit
        @jax.grad
        def slope(params):
            view = jr.look_at(params["eye"], projection=jr.perspective(params["fov"]))
            return jr.silhouette(mesh, view, image_size=(32, 32)).mean()

        slopes = slope({"eye": jnp.array([0.0, 0.3, 3.0]), "fov": 60.0})
        assert slopes["fov"] < 0  # a wider view shows it smaller
        assert slopes["eye"][2] < 0  # a nearer one larger
        lens = jnp.array([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]])

        @jit
        @jax.grad
        def pinhole_slope(lens):
            view = jr.pinhole(lens, jnp.eye(3), jnp.array([0, 0, 3.0]), image_size=(32, 32))
            return jr.silhouette(mesh, view, image_size=(32, 32)).mean()

        assert pinhole_slope(lens)[0, 0] > 0

    @pytest.mark.slow
    def test_eps_is_traced(self):
        before = jr._render._silhouette._cache_size()
        for eps in (1e-3, 1e-2):
            jr.silhouette(
                jr.shapes.cube(),
                jr.look_at((2.0, 2, 2)),
                image_size=(21, 21),
                rasterizer=jr.Hard("nmr", eps=eps),
            )
        assert jr._render._silhouette._cache_size() == before + 1


class TestRender:
    @pytest.mark.slow
    def test_silhouette_is_the_alpha_of_render(self):
        mesh, view = jr.shapes.icosphere(2), jr.look_at((1.0, 1.0, 2.5))
        kwargs = {"image_size": (20, 28), "anti_aliasing": 2, "rasterizer": jr.Hard("nmr")}
        weights = jax.random.normal(jax.random.key(0), (20, 28))

        def by_silhouette(vertices):
            return jr.silhouette(jr.Mesh(vertices, mesh.faces), view, **kwargs)

        def by_render(vertices):
            return jr.render(jr.Mesh(vertices, mesh.faces), view, **kwargs).alpha

        @jit
        def draw(vertices, weights):
            pictures, pulls = zip(
                *(jax.vjp(by, vertices) for by in (by_silhouette, by_render)), strict=True
            )
            return pictures, [pull(weights)[0] for pull in pulls]

        pictures, gradients = draw(mesh.vertices, weights)
        np.testing.assert_array_equal(*pictures)
        np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-4)

    @pytest.mark.slow
    def test_picture_is_unchanged(self):
        mesh, view = jr.shapes.cube(), jr.look_at((1.0, 1.0, 2.5))
        plain = jr.render(mesh, view, image_size=(20, 28), anti_aliasing=2)
        image = jr.render(
            mesh, view, image_size=(20, 28), anti_aliasing=2, rasterizer=jr.Hard("nmr")
        )
        for got, wanted in zip(jax.tree.leaves(image), jax.tree.leaves(plain), strict=True):
            np.testing.assert_array_equal(got, wanted)

    @pytest.mark.slow
    def test_interpolation_gradient(self):
        """Colours that vary across a face pull its vertices, unless that is turned off."""
        square = jr.shapes.plane()
        colors = jr.VertexColors(jnp.linspace(0, 1, square.vertices.shape[0] * 3).reshape(-1, 3))
        view = jr.look_at((0.3, 0.4, 2.0))

        def slope(interpolation_gradient):
            def loss(vertices):
                image = jr.render(
                    jr.Mesh(vertices, square.faces, colors),
                    view,
                    image_size=(12, 12),
                    shading="none",
                    rasterizer=jr.Hard(interpolation_gradient=interpolation_gradient),
                )
                return (image.rgb[..., 0] ** 2).sum()

            return jit(jax.grad(loss))(square.vertices)

        assert np.abs(slope(True)).max() > 0.1
        assert (slope(False) == 0).all()


class TestErrors:
    def setup_method(self):
        self.screen = jr.ScreenMesh(
            jnp.array([[-1.0, -1, 2], [3, -1, 2], [-1, 3, 2]]), jnp.array([[0, 1, 2]])
        )
        self.seen = jr.rasterize_hard(self.screen, image_size=(4, 5))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("image", "eps", "message"),
        [
            (jnp.ones((5, 4, 1)), 1e-3, "anti-aliased"),
            (jnp.ones((4, 5, 1, 1)), 1e-3, "image"),
            (jnp.ones((4, 5)), 0.0, "eps"),
            (jnp.ones((4, 5)), jnp.ones(2), "eps"),
            (jnp.ones((4, 5), complex), 1e-3, "floating-point"),
        ],
    )
    def test_nmr_gradient(self, image, eps, message):
        with pytest.raises(ValueError, match=message):
            jr.nmr_gradient(image, self.seen, self.screen, eps=eps)

    @pytest.mark.slow
    def test_wrong_structs(self):
        with pytest.raises(ValueError, match="rasterize_hard"):
            jr.nmr_gradient(jnp.ones((4, 5)), self.screen, self.seen)

    @pytest.mark.parametrize("how", ["nmr", jr.Hard("softras"), jr.Hard("nmr", eps=-1.0)])
    def test_rasterizer(self, how):
        with pytest.raises(ValueError, match="rasterizer"):
            jr.render(jr.shapes.cube(), jr.look_at((0, 0, 3)), image_size=(4, 4), rasterizer=how)

    @pytest.mark.slow
    def test_nothing_to_see(self):
        """An empty mesh, a mesh behind the camera: zero, and not NaN."""
        view = jr.look_at((0.0, 0.0, 3.0))
        away = jr.look((0.0, 0.0, 3.0), (0.0, 0.0, 1.0))
        cube = jr.shapes.cube()
        for mesh, camera in (
            (jr.Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), int)), view),
            (cube, away),
        ):

            def loss(vertices, mesh=mesh, camera=camera):
                moved = jr.Mesh(vertices, mesh.faces)
                return jr.silhouette(moved, camera, image_size=(6, 6)).sum()

            assert (jit(jax.grad(loss))(mesh.vertices) == 0).all()


@pytest.mark.slow
def test_forward_mode_says_what_to_take():
    """Of vertices; colours have it, and second derivatives say so too."""
    corners = jnp.array([[-0.5, -0.5, 2.0], [0.5, -0.45, 2.0], [0.03, 0.5, 2.0]])

    def picture(scale, color):
        screen = jr.ScreenMesh(corners * scale, jnp.array([[0, 1, 2]]))
        seen = jr.rasterize_hard(screen, image_size=(8, 8))
        return jr.nmr_gradient(jnp.where(seen.face >= 0, color, 0.0), seen, screen)

    with pytest.raises(NotImplementedError, match='Hard\\(visibility_gradient="edge"\\)'):
        jax.jit(jax.jacfwd(picture))(1.0, 0.5)
    with pytest.raises(NotImplementedError, match="differentiated once"):
        jax.jit(jax.grad(jax.grad(lambda s: (picture(s, 0.5) ** 2).sum())))(1.0)
    drawn, moved = jax.jit(jax.vmap(lambda c: jax.jvp(lambda c: picture(1.0, c), (c,), (2.0,))))(
        jnp.array([0.5, 1.0])
    )
    np.testing.assert_array_equal(moved, (drawn > 0) * 2.0)
