"""Cameras against the ancestors' numbers, hand-computed cases, NumPy and finite differences."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxrender as jr
from jaxrender._camera import (
    Orthographic,
    Perspective,
    Pinhole,
    camera_position,
    from_opencv,
    from_opengl,
    look,
    look_at,
    orthographic,
    perspective,
    pinhole,
    points_from_angles,
    project,
    transform,
    viewpoint,
)
from jaxrender._types import Camera
from jaxrender._vectors import unit
from jaxrender.rotations import from_axis_angle

IDENTITY = np.eye(3)
MIRROR = np.diag([1.0, 1.0, -1.0])
K = np.array([[100.0, 2.0, 30.0], [0.0, 110.0, 26.0], [0.0, 0.0, 1.0]])
LENS = np.array([0.1, -0.05, 0.01, -0.02, 0.03])

# Values are compared under jit, which compiles much faster than one operation at a time.
place = jax.jit(transform)
see = jax.jit(project, static_argnames="image_size")


def cameras() -> dict[str, Camera]:
    """One camera of each kind, all seeing a unit ball at the origin."""
    return {
        "perspective": look_at((1.0, 2.0, 3.0), projection=perspective(50.0)),
        "orthographic": look((0.5, 0.2, 3.0), (0.1, 0.0, -1.0), projection=orthographic(2.5)),
        "left-handed": look_at((1.0, 2.0, -3.0), right_handed=False),
        "pinhole": pinhole(K, IDENTITY, (0.1, -0.2, 4.0), LENS, image_size=(48, 64)),
    }


def points(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32) * 0.5


def project_slowly(vertex: np.ndarray, camera: Camera, aspect: float) -> np.ndarray:
    """One vertex, in float64, by the book."""
    rotation, translation = np.float64(camera.rotation), np.float64(camera.translation)
    x, y, z = rotation @ np.float64(vertex) + translation
    lens = camera.projection
    if isinstance(lens, Orthographic):
        half = float(lens.height) / 2
        return np.array([x / half / aspect, y / half, z])
    if isinstance(lens, Perspective):
        half = z * np.tan(np.radians(float(lens.fov)) / 2)
        return np.array([x / half / aspect, y / half, z])
    k1, k2, p1, p2, k3 = np.float64(lens.distortion)
    x, y = x / z, -y / z
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    distorted = (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        1.0,
    )
    u, v, _ = np.float64(lens.matrix) @ distorted
    height, width = lens.image_size
    return np.array([2 * u / width - 1, 1 - 2 * v / height, z])


# --- the ancestors' numbers -------------------------------------------------------------------


@pytest.mark.slow
def test_golden_look_at(golden):
    for name, count in (("nmr", 4), ("softras", 0)):
        data = golden(f"{name}/functions.npz")
        for n in range(count):
            eye, at, up = (data[f"look_at_{n}_{key}"] for key in ("eye", "at", "up"))
            camera = look_at(eye, at, up, right_handed=False)
            seen = place(jnp.asarray(data["vertices"]), camera)
            np.testing.assert_allclose(seen, data[f"look_at_{n}_out"], atol=1e-5)
    eyes, vertices = data["look_at_eyes"], jnp.asarray(data["vertices"])
    seen = [place(vertices[n], look_at(eye, right_handed=False)) for n, eye in enumerate(eyes)]
    np.testing.assert_allclose(seen, data["look_at_out"], atol=1e-5)


def test_golden_look(golden):
    data = golden("nmr/functions.npz")
    vertices = jnp.asarray(data["vertices"])
    for n in range(4):
        eye, direction, up = (data[f"look_{n}_{key}"] for key in ("eye", "direction", "up"))
        level = place(vertices, look(eye, direction, right_handed=False))
        tilted = place(vertices, look(eye, direction, up, right_handed=False))
        np.testing.assert_allclose(level, data[f"look_{n}_out"], atol=1e-5)
        np.testing.assert_allclose(tilted, data[f"look_{n}_out_up"], atol=1e-5)


@pytest.mark.parametrize(("name", "angles"), [("nmr", (30, 45, 12.5)), ("softras", (30, 15))])
def test_golden_perspective(golden, name, angles):
    data = golden(f"{name}/functions.npz")
    for angle in angles:
        camera = look((0, 0, 0), projection=perspective(2 * angle), right_handed=False)
        for vertices, want in zip(
            data["perspective_in"], data[f"perspective_out_{angle}"], strict=True
        ):
            np.testing.assert_allclose(see(vertices, camera), want, rtol=1e-5, atol=1e-5)


def test_golden_orthographic(golden):
    data = golden("softras/functions.npz")
    want = data["orthogonal_out"]
    scale = np.median(want[..., 0] / data["vertices"][..., 0])
    camera = look((0, 0, 0), projection=orthographic(2 / scale), right_handed=False)
    for vertices, screen in zip(data["vertices"], want, strict=True):
        np.testing.assert_allclose(see(vertices, camera), screen, atol=1e-5)


@pytest.mark.slow
def test_golden_projection(golden):
    data = golden("nmr/functions.npz")
    size = (int(data["projection_orig_size"]),) * 2
    for n, vertices in enumerate(data["vertices"]):
        placed = data["projection_K"][n], data["projection_R"][n], data["projection_t"][n, 0]
        bent = pinhole(*placed, data["projection_dist_coeffs"][n], image_size=size)
        plain = pinhole(*placed, image_size=size)
        np.testing.assert_allclose(see(vertices, bent), data["projection_out"][n], atol=1e-5)
        np.testing.assert_allclose(
            see(vertices, plain), data["projection_out_nodist"][n], atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ico", "cube_b2"])
def test_golden_renderer_projection(golden, name):
    data = golden(f"nmr/renderer_projection_{name}.npz")
    options = json.loads(str(data["options"]))
    given = {**options["constructor"], **options["call"]}
    for n, vertices in enumerate(data["vertices"]):
        camera = pinhole(
            given["K"][n],
            given["R"][n],
            given["t"][n][0],
            given["dist_coeffs"][n],
            image_size=(given["orig_size"],) * 2,
        )
        faces = data["face_indices"][n]
        screen = see(vertices, camera, image_size=(options["image_size"],) * 2)
        want = data["raster_faces"][n, : len(faces)]
        np.testing.assert_allclose(screen[faces], want, atol=1e-5)


def test_golden_angles(golden):
    data = golden("nmr/functions.npz")
    made = points_from_angles(*data["angles_in"].T, right_handed=False)
    np.testing.assert_allclose(made, data["angles_out_tensor"], atol=1e-5)
    np.testing.assert_allclose(made, data["angles_out_scalar"], atol=1e-5)


# --- cases computed by hand -------------------------------------------------------------------


def test_axes_of_look_at():
    camera = look_at((0, 0, 3))
    np.testing.assert_allclose(camera.rotation, np.diag([1, 1, -1]), atol=1e-7)
    assert see(np.array([[1.0, 2.0, 0.0]]), camera)[0, 2] == 3.0
    camera = look_at((0, 0, -3), right_handed=False)
    np.testing.assert_allclose(camera.rotation, np.eye(3), atol=1e-7)


@pytest.mark.parametrize("right_handed", [True, False])
def test_azimuths(right_handed):
    """Azimuth 0 is where `look` sees the origin by default; 90 is the +x side."""
    hand = {"right_handed": right_handed}
    front = points_from_angles(3.0, 0.0, 0.0, **hand)
    side = 3.0 if right_handed else -3.0
    np.testing.assert_allclose(front, [0, 0, side], atol=1e-6)
    np.testing.assert_allclose(points_from_angles(3.0, 0.0, 90.0, **hand), [3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(points_from_angles(3.0, 90.0, 20.0, **hand), [0, 3, 0], atol=1e-6)
    ahead, aimed = look(front, **hand), look_at(front, **hand)
    for one, other in zip(jax.tree.leaves(ahead), jax.tree.leaves(aimed), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)

    # What lies at +x is on the right at azimuth 0, and a camera that goes on sees it come forward.
    point = np.array([[1.0, 0.0, 0.0]], np.float32)
    assert see(point, aimed)[0, 0] > 0
    turned = look_at(points_from_angles(3.0, 0.0, 30.0, **hand), **hand)
    assert see(point, turned)[0, 2] < 3


@pytest.mark.slow
def test_a_rotation_turns_a_camera():
    """`R @ exp(w)` shows what a world turned by exp(w) shows, whatever the hand."""
    c, s = np.cos(0.4), np.sin(0.4)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    for camera in cameras().values():
        turned = dataclasses.replace(camera, rotation=camera.rotation @ turn)
        wanted = see(points(9) @ turn.T, camera, image_size=(48, 64))
        np.testing.assert_allclose(see(points(9), turned, image_size=(48, 64)), wanted, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("image_size", [(64, 64), (60, 120), (150, 50)])
@pytest.mark.parametrize("kind", ["perspective", "orthographic"])
def test_sphere_stays_round(image_size, kind):
    # A circle facing the camera must be as many pixels wide as it is high, in any picture.
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], -1) * 0.5
    projection = {"perspective": perspective(50.0), "orthographic": orthographic(3.0)}[kind]
    screen = see(circle, look_at((0, 0, 2), projection=projection), image_size=image_size)
    width = np.ptp(screen[:, 0]) * image_size[1]
    height = np.ptp(screen[:, 1]) * image_size[0]
    np.testing.assert_allclose(width, height, rtol=1e-4)
    half = 3.0 / 2 if kind == "orthographic" else 2 * np.tan(np.radians(25))
    np.testing.assert_allclose(height / image_size[0], 2 * 0.5 / half, rtol=1e-4)


@pytest.mark.slow
def test_opencv_by_hand():
    # fx = fy = 100, principal point on the centre of pixel (row 20, column 30) of a 40 x 60
    # picture. A point 1 to the right, 0.5 down, 10 away lies 10 and 5 pixels from there:
    # on the centre of column 40, row 25: x = (2 40 + 1 - 60) / 60, y = -(2 25 + 1 - 40) / 40.
    matrix = [[100.0, 0, 30.0], [0, 100.0, 20.0], [0, 0, 1]]
    camera = from_opencv(matrix, IDENTITY, np.zeros(3), image_size=(40, 60))
    screen = see(np.array([[1.0, 0.5, 10.0]]), camera)
    np.testing.assert_allclose(screen, [[21 / 60, -11 / 40, 10.0]], atol=1e-6)


@pytest.mark.thorough
def test_opencv_takes_what_opencv_returns():
    vector, place = np.array([0.3, -0.2, 0.5]), np.array([0.1, -0.2, 4.0])
    turn = from_axis_angle(vector)
    want = from_opencv(K, turn, place, LENS, image_size=(48, 64))
    three = (
        want.projection,
        dataclasses.replace(want.projection, distortion=LENS * [1, 1, 1, 1, 0]),
    )
    for rotation in (turn, vector, vector[:, None], vector[None]):
        for translation in (place, place[:, None], place[None], list(place)):
            for distortion in (LENS, LENS[None], LENS[:, None], LENS[:4], LENS[None, :4]):
                made = functools.partial(from_opencv, image_size=(48, 64))
                for make in (made, jax.jit(made)) if translation is place else (made,):
                    got = make(K, rotation, translation, distortion)
                    np.testing.assert_allclose(got.rotation, want.rotation, atol=1e-6)
                    np.testing.assert_array_equal(got.translation, want.translation)
                    lens = three[distortion.size == 4]
                    np.testing.assert_allclose(got.projection.distortion, lens.distortion)


@pytest.mark.slow
def test_opengl_perspective_by_hand():
    # gluPerspective(90, 2, 1, 9): P00 = 1/2, P11 = 1. The camera stands at (0, 0, 5), looks along
    # -z; the point (2, 1, 1) is 4 away, at ndc (2/2/4, 1/4).
    frustum = np.array([[0.5, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, -1.25, -2.25], [0, 0, -1, 0]])
    view = np.eye(4)
    view[2, 3] = -5
    camera = from_opengl(view, frustum, image_size=(50, 100))
    screen = see(np.array([[2.0, 1.0, 1.0]]), camera, image_size=(50, 100))
    np.testing.assert_allclose(screen, [[0.25, 0.25, 4.0]], atol=1e-6)
    np.testing.assert_allclose(camera_position(camera), [0, 0, 5], atol=1e-6)


@pytest.mark.slow
def test_opengl_equals_clip_space():
    # An off-centre, skewed frustum and a turned camera, against the matrix product itself.
    frustum = np.array([[1.5, 0.1, 0.2, 0], [0, 1.8, -0.3, 0], [0, 0, -1.1, -0.5], [0, 0, -1, 0]])
    view = np.eye(4)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    view[:3, :3] = turn * np.linalg.det(turn)
    view[:3, 3] = (0.2, -0.1, -4)
    vertices = points(20)
    clip = np.c_[vertices, np.ones(20)] @ view.T @ frustum.T
    want = np.c_[clip[:, :2] / clip[:, 3:], clip[:, 3]]
    camera = from_opengl(view, frustum, image_size=(48, 64))
    np.testing.assert_allclose(see(vertices, camera), want, atol=1e-5)


def test_opengl_orthographic_by_hand():
    # glOrtho(-4, 4, -2, 2, 1, 9) in a 50 x 100 picture: 4 units high.
    ortho = np.diag([1 / 4, 1 / 2, -2 / 8, 1.0])
    ortho[2, 3] = -10 / 8
    camera = from_opengl(np.eye(4), ortho, image_size=(50, 100))
    assert isinstance(camera.projection, Orthographic)
    screen = see(np.array([[2.0, 1.0, -3.0]]), camera, image_size=(50, 100))
    np.testing.assert_allclose(screen, [[0.5, 0.5, 3.0]], atol=1e-6)


def test_positions():
    eye = points_from_angles(2.5, 20.0, 130.0)
    for hand in ({}, {"right_handed": False}):
        camera = look_at(eye, **hand)
        np.testing.assert_allclose(camera_position(camera), eye, atol=1e-6)
        np.testing.assert_allclose(viewpoint(camera), [*eye, 1], atol=1e-6)
        flat = look_at((0, 0, 3), projection=orthographic(), **hand)
        np.testing.assert_allclose(viewpoint(flat), [0, 0, 1, 0], atol=1e-6)


# --- every stage: slow reference, jit, vmap, gradients ----------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["perspective", "orthographic", "left-handed", "pinhole"])
def test_against_numpy(kind):
    camera = cameras()[kind]
    size = (48, 64)
    screen = see(points(50), camera, image_size=size)
    want = [project_slowly(vertex, camera, 64 / 48) for vertex in points(50)]
    np.testing.assert_allclose(screen, want, rtol=1e-4, atol=1e-5)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["perspective", "orthographic", "pinhole"])
def test_jit_equals_eager_and_vmap_equals_loop(kind):
    camera, vertices = cameras()[kind], jnp.asarray(points(40_000))
    eager = project(vertices, camera)
    np.testing.assert_allclose(jax.jit(project)(vertices, camera), eager, rtol=1e-5, atol=1e-5)
    pair = jnp.stack([vertices[:100], vertices[100:200]])
    both = jax.jit(jax.vmap(project, in_axes=(0, None)))(pair, camera)
    np.testing.assert_allclose(both.reshape(-1, 3), eager[:200], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_vmap_over_cameras():
    eyes = points_from_angles(2.7, 20.0, jnp.linspace(0, 300, 6))
    many = jax.jit(jax.vmap(lambda eye: project(points(7), look_at(eye))))(eyes)
    one_by_one = jnp.stack([see(points(7), look_at(eye)) for eye in eyes])
    np.testing.assert_allclose(many, one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["perspective", "orthographic", "pinhole"])
def test_gradient(kind):
    vertices = jnp.asarray(points(5), float)
    check_grads(
        lambda vertices, camera: see(vertices, camera, image_size=(48, 64)),
        (vertices, cameras()[kind]),
        order=1,
        modes=["rev"],
        rtol=1e-5,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_gradient_of_constructors():
    @jax.jit
    def seen(eye, at, up, fov, distance):
        camera = look_at(eye + points_from_angles(distance, 20.0, 50.0), at, up)
        turned = look(eye, at - eye, up, projection=perspective(fov))
        return project(points(4), camera), project(points(4), turned)

    given = [jnp.asarray(value) for value in ((1.0, 2, -3), (0.1, 0, 0.2), (0.2, 1, 0), 50.0, 2.0)]
    check_grads(seen, given, order=1, modes=["rev"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_float64_throughout():
    for camera in cameras().values():
        assert see(jnp.asarray(points(3), float), camera).dtype == jnp.float64


def test_kinds_of_projection_have_their_own_programs():
    # While these compared equal, jit took the wrong program once in some hundred times.
    wide, flat = (look_at((0, 0, 3), projection=kind(3.0)) for kind in (perspective, orthographic))
    assert jax.tree.structure(wide) != jax.tree.structure(flat)
    other = look_at((0, 1, 3), projection=perspective(60.0))
    assert jax.tree.structure(wide) == jax.tree.structure(other)


@pytest.mark.thorough
def test_constructors_make_strong_types():
    """From whatever numbers, also inside jit, so that no later call compiles again."""
    makers = (
        lambda x: look_at((x, 0.0, 3.0), projection=perspective(x + 60)),
        lambda x: look((x, 0, 3), projection=orthographic(x + 2)),
        lambda x: look_at(points_from_angles(3.0, x, 2)),
        lambda x: pinhole(K, IDENTITY, (x, 0, 1), image_size=(4, 4)),
        lambda x: from_opencv(K, [x, 0, 0], [0, 0, 1], [0, 0, 0, x], image_size=(4, 4)),
    )
    for make in makers:
        for value in (0, 0.5, np.float32(0.5), jnp.asarray(0.5)):
            for camera in (make(value), jax.jit(lambda: make(value))(), jax.jit(make)(value)):  # noqa: B023
                for leaf in jax.tree.leaves(camera):
                    assert leaf.dtype == jnp.float32
                    assert not leaf.weak_type


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fields_of_view_are_exact(dtype, request):
    """From a millionth of a degree to the last number below 180."""
    if dtype == np.float64:
        request.getfixturevalue("x64")
    last = np.nextafter(dtype(180), dtype(0))
    vertex = np.array([[0.25, 0.5, 0.0]], dtype)
    for fov in (1e-6, 1e-4, 1e-3, 0.1, 60, 90, 91, 170, 179.99, last):
        fov = dtype(fov)
        camera = look_at(np.array([0, 0, 1], dtype), projection=perspective(fov))
        half = (np.longdouble(fov) / 2) * np.pi / 180
        want = np.array([0.25, 0.5]) / np.float64(np.tan(half))
        if fov > 170:
            # NumPy's pole is where ours was: take the angle that is left.
            want = np.array([0.25, 0.5]) * np.tan(np.radians((180 - np.float64(fov)) / 2))
        np.testing.assert_allclose(see(vertex, camera)[0, :2], want, rtol=8 * np.finfo(dtype).eps)
    with pytest.raises(ValueError, match="orthographic"):
        perspective(1e-7)
    with pytest.raises(ValueError, match="between"):
        perspective(dtype(180) if dtype == np.float64 else 179.999999)

    # Inside jit, where a bad value is not known, all stays finite.
    slope = jax.jit(
        jax.value_and_grad(
            lambda fov: see(vertex, look_at((0, 0, 1.0), projection=perspective(fov))).sum()
        )
    )
    for fov in (-1.0, 0.0, 1e-6, 90.0, 180.0, 500.0):
        assert np.isfinite(slope(dtype(fov))).all()


def test_no_retrace():
    traces = []

    @jax.jit
    def seen(vertices, camera):
        traces.append(1)
        return project(vertices, camera)

    for eye, fov in (((0, 0, 3), 60), (np.array([0.0, 1.0, 3.0]), 60.0), (jnp.ones(3), 45)):
        seen(points(3), look_at(eye, projection=perspective(fov)))
    assert len(traces) == 1


# --- hostile numbers --------------------------------------------------------------------------

HOSTILE = np.array(
    [
        [0, 0, 0],
        [1, -1, 0],
        [1e6, -1e6, 0],
        [1, 1, -0.0],
        [1e6, 1e6, 1e-30],
        [1e6, 1e6, 1e-12],
        [1, 1, -1e-12],
        [1e6, -1e6, 1e6],
        [0, 0, 1],
        [0, 0, -1],
        [0, 0, 1e-30],
    ],
    np.float32,
)


def standing(kind: str) -> Camera:
    """A camera at the origin, so that z of the vertex is its depth."""
    if kind == "pinhole":
        return pinhole(K, IDENTITY, np.zeros(3), LENS, image_size=(48, 64))
    projection = {"perspective": perspective(), "orthographic": orthographic()}[kind]
    return look((0, 0, 0), projection=projection, right_handed=False)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["perspective", "orthographic", "pinhole"])
def test_finite_for_any_finite_vertex(kind):
    camera = standing(kind)

    def homogeneous(vertices, camera):
        screen = project(vertices, camera)
        return (screen[:, :2] * screen[:, 2:]).sum() + screen[:, 2].sum(), screen

    def plain(vertices, camera):
        screen = project(vertices, camera)
        return screen.sum() * 1e-6, screen

    for loss in (homogeneous, plain):
        differentiated = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(HOSTILE, camera)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(differentiated))


def test_camera_plane_keeps_homogeneous_coordinates():
    screen = np.asarray(
        see(HOSTILE, look((0, 0, 0), projection=perspective(90), right_handed=False))
    )
    np.testing.assert_allclose(screen[:, :2] * screen[:, 2:], HOSTILE[:, :2], rtol=1e-6)
    behind = HOSTILE[:, 2] < 0
    assert (screen[behind, 2] < 0).all()
    assert (screen[~behind, 2] > 0).all()


@pytest.mark.slow
def test_lens_does_not_fold():
    # With k1 < 0 the polynomial turns back at r = 1 / sqrt(-3 k1), where its tangent is level:
    # points beyond stay at the border, and from r = 10 on they go outwards.
    camera = pinhole(K, IDENTITY, np.zeros(3), (-0.3, 0, 0, 0, 0), image_size=(48, 64))
    r = np.geomspace(0.01, 1e4, 300)
    ray = np.stack([r, np.zeros(300), np.ones(300)], -1)
    grown = np.diff(see(ray, camera)[:, 0])
    border = 1 / np.sqrt(0.9)
    assert (grown[(r[1:] < 0.99 * border) | (r[:-1] > 10)] > 0).all()
    assert (grown > -1e-6).all()


@pytest.mark.slow
def test_lens_up_to_its_border():
    """To a thousandth of a pixel where the polynomial has nearly ceased to grow."""
    size = (2000, 2000)
    matrix = np.array([[1500.0, 0, 1000], [0, 1500.0, 1000], [0, 0, 1]])
    for lens in ((-0.3, 0, 0, 0, 0), (-0.35, 0.1, 1e-3, -2e-3, -0.02), (0.5, -0.3, 0, 0, 0.01)):
        roots = np.roots([7 * lens[4], 5 * lens[1], 3 * lens[0], 1])
        border = np.sqrt(roots[(abs(roots.imag) < 1e-9) & (roots.real > 0)].real.min())
        camera = pinhole(matrix, IDENTITY, np.zeros(3), lens, image_size=size)
        for part in (0.5, 0.98, 0.999):
            angles = np.linspace(0, 6, 20)
            x, y = part * border * np.cos(angles), part * border * np.sin(angles)
            vertices = np.stack([x, y, 1 + 0 * x], -1).astype(np.float32)
            want = [project_slowly(vertex, camera, 1.0)[:2] for vertex in vertices]
            off = (np.asarray(see(vertices, camera))[:, :2] - want) * 1000
            assert np.abs(off).max() < 2e-3


@pytest.mark.slow
def test_nan_vertex_spoils_nothing_else():
    vertices = jnp.asarray(points(4)).at[2].set(jnp.nan)
    for camera in cameras().values():
        screen = see(vertices, camera)
        assert np.isnan(screen[2]).all()
        assert np.isfinite(np.delete(screen, 2, axis=0)).all()
        gradient = jax.jit(jax.grad(lambda c, v: project(v, c)[:2].sum()))(camera, vertices)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_degenerate_cameras_inside_jit_are_finite():
    def seen(eye, up, fov, height):
        wide = look_at(eye, (0.0, 0.0, 0.0), up, projection=perspective(fov))
        flat = look_at(eye, (0.0, 0.0, 0.0), up, projection=orthographic(height))
        return sum(abs(project(points(3), camera)).sum() * 1e-9 for camera in (wide, flat))

    differentiated = jax.jit(jax.value_and_grad(seen, (0, 1)))
    bad = jnp.zeros(3), jnp.zeros(3)
    parallel = jnp.array([0.0, 0.0, 2.0]), jnp.array([0.0, 0.0, -1.0])
    for eye, up in (bad, parallel):
        for fov, height in ((0.0, 0.0), (180.0, -1.0), (720.0, 1.0)):
            value, gradient = differentiated(eye, up, fov, height)
            assert np.isfinite(value)
            assert all(np.isfinite(leaf).all() for leaf in gradient)


def test_no_vertices():
    for camera in cameras().values():
        assert see(np.zeros((0, 3)), camera).shape == (0, 3)


@pytest.mark.slow
def test_unit():
    vectors = jnp.array([[3.0, 0, 4], [1e-30, 0, 0], [0, 0, 0], [1e30, 1e30, 0], [1e-6, 0, 0]])
    want = [[0.6, 0, 0.8], [0, 0, 0], [0, 0, 0], [0.5**0.5, 0.5**0.5, 0], [1, 0, 0]]
    np.testing.assert_allclose(unit(vectors), want, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda v: unit(v)[:, 0].sum())(vectors)).all()


def skew(rotation) -> Camera:
    """A camera that has gone wrong."""
    return dataclasses.replace(cameras()["perspective"], rotation=np.array(rotation, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: look_at((0, 0, 0)), "target"),
        (lambda: look_at((0, 3, 0)), "`up` must not be"),
        (lambda: look_at((0, 0, 3), up=(0, 0, 0)), "`up` must not be"),
        (lambda: look_at((0, 0)), "`eye` must be"),
        (lambda: look_at(np.zeros((2, 3))), "`eye` must be"),
        (lambda: look_at((0, 0, float("nan"))), "`eye` must be finite"),
        (lambda: look_at((0, 0, 3), projection=60), "`projection` must be"),
        (lambda: look((0, 0, 0), (0, 0, 0)), "`direction` must not be zero"),
        (lambda: look((0, 0, 0), (0, 1, 0)), "`up` must not be"),
        (lambda: perspective(0), "`fov` must lie"),
        (lambda: perspective(1e-9), "`fov` must lie"),
        (lambda: from_opencv(K, IDENTITY, (0, 0, 1), np.zeros(8), image_size=(4, 4)), "Do not cut"),
        (
            lambda: from_opencv(K, IDENTITY, (0, 0, 1), np.zeros((1, 14)), image_size=(4, 4)),
            "Undist",
        ),
        (
            lambda: from_opencv(K, IDENTITY, (0, 0, 1), np.zeros((12, 1)), image_size=(4, 4)),
            "12, of",
        ),
        (
            lambda: from_opencv(K, IDENTITY, (0, 0, 1), np.zeros(3), image_size=(4, 4)),
            "4 or 5 numb",
        ),
        (lambda: from_opencv(K, IDENTITY, (0, 0), image_size=(4, 4)), "`translation` must be 3"),
        (lambda: from_opencv(K, np.zeros((2, 3)), (0, 0, 1), image_size=(4, 4)), "rotation vector"),
        (lambda: perspective(180), "`fov` must lie"),
        (lambda: perspective(float("nan")), "`fov` must be finite"),
        (lambda: orthographic(0), "`height` must be positive"),
        (lambda: pinhole(K[:2], IDENTITY, (0, 0, 1), image_size=(4, 4)), "`matrix` must be"),
        (lambda: pinhole(K.T, IDENTITY, (0, 0, 1), image_size=(4, 4)), "`matrix` must end"),
        (lambda: pinhole(K, 2 * IDENTITY, (0, 0, 1), image_size=(4, 4)), "orthonormal"),
        (lambda: pinhole(K, MIRROR, (0, 0, 1), image_size=(4, 4)), "`rotation` must hold a proper"),
        (lambda: from_opencv(K, MIRROR, (0, 0, 1), image_size=(4, 4)), "determinant -1"),
        (
            lambda: from_opengl(np.diag([1, 1, -1, 1.0]), np.eye(4), image_size=(4, 4)),
            "`view` must",
        ),
        (lambda: project(np.zeros((2, 3)), skew(1.1 * IDENTITY)), "`camera.rotation` must hold"),
        (lambda: project(np.zeros((2, 3)), skew([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]])), "orthonorm"),
        (lambda: project(np.zeros((2, 3)), skew(IDENTITY * np.nan)), "rotation` must be finite"),
        (lambda: pinhole(K, IDENTITY, (0, 0, 1), (1, 2), image_size=(4, 4)), "`distortion`"),
        (lambda: pinhole(K, IDENTITY, (0, 0, 1), image_size=(0, 4)), "`image_size`"),
        (lambda: from_opengl(np.eye(4), np.ones((4, 4)), image_size=(4, 4)), "perspective or"),
        (lambda: from_opengl(np.eye(4), np.eye(4), image_size=(4, 8)), "aspect"),
        (lambda: from_opengl(np.eye(3), np.eye(4), image_size=(4, 4)), "`view` must be"),
        (
            lambda: from_opengl(np.eye(4), np.eye(4) + np.eye(4, k=3), image_size=(4, 4)),
            "symmetric",
        ),
        (lambda: project(np.zeros((2, 4)), cameras()["perspective"]), "`vertices` must be"),
        (lambda: project(np.zeros((1, 2, 3)), cameras()["perspective"]), "`vertices` must be"),
        (lambda: project([[np.nan, 0, 0]], cameras()["perspective"]), "`vertices` must be finite"),
        (lambda: project(np.zeros((2, 3)), "camera"), "`camera` must be"),
        (lambda: project(np.zeros((2, 3)), cameras()["pinhole"], image_size=(64, 64)), "aspect"),
        (lambda: project(np.zeros((2, 3)), cameras()["perspective"], image_size=3), "image_size"),
        (lambda: points_from_angles("far", 0, 0), "`distance` must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_pinhole_renders_at_multiples_of_its_size():
    camera = cameras()["pinhole"]
    assert isinstance(camera.projection, Pinhole)
    small = see(points(3), camera)
    np.testing.assert_array_equal(see(points(3), camera, image_size=(24, 32)), small)
    np.testing.assert_array_equal(see(points(3), camera, image_size=(25, 33)), small)


@pytest.mark.slow
def test_right_handed_world_is_not_mirrored():
    """From +z, a right-handed world has +x on the right; a left-handed one on the left."""
    point = jnp.array([[1.0, 0.5, 0.0]])
    seen = jr.project(point, jr.look_at((0.0, 0.0, 3.0)))
    mirrored = jr.project(point, jr.look_at((0.0, 0.0, 3.0), right_handed=False))
    assert seen[0, 0] > 0
    np.testing.assert_allclose(seen[0], mirrored[0] * jnp.array([-1, 1, 1]), rtol=1e-6)
    # A face that is counter-clockwise from outside shows its front.
    corners = jnp.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]])
    screen = jr.ScreenMesh(
        jr.project(corners, jr.look((0.0, 0.0, 3.0))),
        jnp.array([[0, 1, 2]]),
    )
    assert jr.rasterize_hard(screen, image_size=(3, 3), cull="back").face[1, 1] == 0
