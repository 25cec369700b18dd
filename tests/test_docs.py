"""The documentation's snippets of cameras and names agree with each program's own formulas.

`make docs` runs all pages; here the functions that they give away are compared, and the reference
is held to have every public name.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import losses

DOCS = Path(__file__).resolve().parent.parent / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")
SIZES = [(240, 320), (320, 200)]
POINTS = np.random.default_rng(3).uniform(-1, 1, (50, 3))
ONES = np.ones((50, 1))


def _run(page, only=""):
    """What the shown code cells of a page define; or those that contain a word."""
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", page.read_text(), re.M | re.S)
    names = {"jr": jr, "jnp": jnp, "np": np}
    for cell in cells:
        if not re.match(r":tags: \[(hide|remove)", cell) and only in cell:
            exec(cell, names)
    return names


@pytest.fixture(scope="module")
def cameras():
    return _run(DOCS / "cameras.md")


def _pixels(camera, image_size):
    """Where we draw the points: u, v from the upper left corner."""
    height, width = image_size
    x, y, _ = np.asarray(jr.project(jnp.asarray(POINTS), camera, image_size=image_size)).T
    return np.stack([(x + 1) / 2 * width, (1 - y) / 2 * height], 1)


def _agree(found, wanted):
    assert np.ptp(wanted, axis=0).min() > 20  # all over the picture
    np.testing.assert_allclose(found, wanted, atol=2e-3)


OURS = jr.look_at((2.0, 1.5, 3.0), (0.1, 0.0, -0.1), projection=jr.perspective(50.0))


def _rodrigues(vector):
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _of_matrices(K, R, t):
    place = (POINTS @ np.asarray(R).T + np.asarray(t)) @ np.asarray(K).T
    return place[:, :2] / place[:, 2:]


@pytest.mark.slow
def test_opencv():
    x, y, z = (POINTS @ _rodrigues(np.array([0.2, -0.4, 0.1])).T + (0.1, -0.2, 4.0)).T
    x, y = x / z, y / z
    k1, k2, p1, p2 = -0.2, 0.05, 1e-3, -5e-4
    r = x * x + y * y
    swell = 1 + k1 * r + k2 * r**2
    bent = (
        x * swell + 2 * p1 * x * y + p2 * (r + 2 * x * x),
        y * swell + p1 * (r + 2 * y * y) + 2 * p2 * x * y,
    )
    wanted = np.stack([420 * bent[0] + 159.5, 418 * bent[1] + 119.5], 1) + 0.5
    K, R, t = np.diag([420.0, 418, 1]), _rodrigues(np.array([0.2, -0.4, 0.1])), (0.1, -0.2, 4.0)
    K[:2, 2] = 159.5, 119.5
    names = [k1, k2, p1, p2, 0.0]
    _agree(_pixels(jr.from_opencv(K, R, t, names, image_size=(240, 320)), (240, 320)), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_opencv_back(cameras, size):
    _agree(_of_matrices(*cameras["to_opencv"](OURS, size)) + 0.5, _pixels(OURS, size))


@pytest.mark.parametrize("size", SIZES)
def test_opengl_back_and_forth(cameras, size):
    height, width = size
    view, projection = cameras["to_opengl"](OURS, size)
    clip = np.concatenate([POINTS, ONES], 1) @ view.T @ projection.T
    place = clip[:, :2] / clip[:, 3:]
    wanted = np.stack([(place[:, 0] + 1) / 2 * width, (1 - place[:, 1]) / 2 * height], 1)
    _agree(_pixels(OURS, size), wanted)
    _agree(_pixels(jr.from_opengl(view, projection, image_size=size), size), wanted)


def _of_pytorch3d(R, T, fov, size):
    """Row vectors, x to the left; [-1, 1] across the shorter side."""
    height, width = size
    place = POINTS @ R + T
    scale = min(size) / 2 / np.tan(np.radians(fov) / 2)
    x, y = scale * place[:, :2].T / place[:, 2]
    return np.stack([width / 2 - x, height / 2 - y], 1)


@pytest.mark.parametrize("size", SIZES)
def test_pytorch3d(cameras, size):
    # `look_at_view_transform`: the columns of R are the camera's left, up and forward.
    eye = 3 * np.array([np.cos(0.5) * np.sin(0.7), np.sin(0.5), np.cos(0.5) * np.cos(0.7)])
    forward = -eye / np.linalg.norm(eye)
    left = np.cross((0, 1, 0), forward)
    left /= np.linalg.norm(left)
    R = np.stack([left, np.cross(forward, left), forward], 1)
    T = -eye @ R
    wanted = _of_pytorch3d(R, T, 45.0, size)
    camera = cameras["from_pytorch3d"](R, T, 45.0, size)
    _agree(_pixels(camera, size), wanted)
    _agree(_of_pytorch3d(*cameras["to_pytorch3d"](camera, size), size), wanted)
    angles = jr.points_from_angles(3.0, np.degrees(0.5), np.degrees(0.7))
    np.testing.assert_allclose(jr.camera_position(camera), angles, atol=1e-5)

    # `PerspectiveCameras(in_ndc=False)`: u = px - fx x/z, v = py - fy y/z.
    x, y, z = (POINTS @ R + T).T
    flip, (height, width) = np.diag([-1.0, -1, 1]), size
    K = np.array([[300.0, 0, 0.6 * width], [0, 310, 0.4 * height], [0, 0, 1]])
    camera = jr.pinhole(K, flip @ R.T, flip @ T, image_size=size)
    wanted = np.stack([K[0, 2] - 300 * x / z, K[1, 2] - 310 * y / z], 1)
    _agree(_pixels(camera, size), wanted)


def _looking_back(pose, focal, size):
    """Cameras that look along -z of their pose `[4, 4]`, with y up."""
    x, y, z, _ = np.linalg.inv(pose) @ np.concatenate([POINTS, ONES], 1).T
    return np.stack([size[1] / 2 - focal * x / z, size[0] / 2 + focal * y / z], 1)


@pytest.mark.parametrize("size", SIZES)
def test_blender_back(cameras, size):
    pose, lens = cameras["to_blender"](OURS, size)
    wanted = _looking_back(pose, lens / 36 * max(size), size)
    _agree(_pixels(OURS, size), wanted)
    _agree(_pixels(jr.from_blender(pose, image_size=size, lens=lens), size), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_colmap(cameras, size):
    (fx, fy, cx, cy), (w, x, y, z), t = cameras["to_colmap"](OURS, size)
    R = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    wanted = _of_matrices(K, R, t)
    _agree(_pixels(OURS, size), wanted)
    turn = jr.rotations.from_quaternion(np.array([w, x, y, z]))
    _agree(_pixels(jr.pinhole(K, turn, t, image_size=size), size), wanted)


@pytest.mark.parametrize("size", SIZES)
def test_nerf(cameras, size):
    pose, angle = cameras["to_nerf"](OURS, size)
    wanted = _looking_back(pose, size[1] / 2 / np.tan(angle / 2), size)
    _agree(_pixels(OURS, size), wanted)
    _agree(_pixels(cameras["from_nerf"](pose, angle, size), size), wanted)


@pytest.mark.parametrize("size", SIZES)
def test_mujoco(cameras, size):
    xpos, xmat, fovy = cameras["to_mujoco"](OURS)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = xmat.reshape(3, 3), xpos
    wanted = _looking_back(pose, size[0] / 2 / np.tan(np.radians(fovy) / 2), size)
    _agree(_pixels(OURS, size), wanted)
    _agree(_pixels(cameras["from_mujoco"](xpos, xmat, fovy), size), wanted)


@pytest.mark.parametrize("size", SIZES)
def test_mitsuba(cameras, size):
    # Its `look_at`: the columns of `to_world` are left, up, forward and the place.
    origin, target = np.array([2.0, 1.5, 3.0]), np.array([0.1, 0.0, -0.1])
    forward = (target - origin) / np.linalg.norm(target - origin)
    left = np.cross((0, 1, 0), forward)
    left /= np.linalg.norm(left)
    pose = np.eye(4)
    pose[:3] = np.stack([left, np.cross(forward, left), forward, origin], 1)
    x, y, z, _ = np.linalg.inv(pose) @ np.concatenate([POINTS, ONES], 1).T
    focal = size[1] / 2 / np.tan(np.radians(40.0) / 2)
    wanted = np.stack([size[1] / 2 - focal * x / z, size[0] / 2 - focal * y / z], 1)
    camera = cameras["from_mitsuba"](pose, 40.0, size)
    _agree(_pixels(camera, size), wanted)
    again, fov = cameras["to_mitsuba"](camera, size)
    np.testing.assert_allclose(again, pose, atol=1e-6)
    np.testing.assert_allclose(fov, 40.0, rtol=1e-5)


# --- coming from elsewhere ------------------------------------------------------------------------


@pytest.mark.slow
def test_units_of_others():
    """What `docs/moving.md` says of SoftRas's and PyTorch3D's numbers."""
    # SoftRas and NMR: azimuth 0 is on the side of -z, and the half angle is named.
    eye = jr.points_from_angles(2.732, 30.0, 20.0, right_handed=False)
    e, a = np.radians([30.0, 20.0])
    wanted = 2.732 * np.array([np.cos(e) * np.sin(a), np.sin(e), -np.cos(e) * np.cos(a)])
    np.testing.assert_allclose(eye, wanted, rtol=1e-6)

    # PyTorch3D's smoothing is the mean length, ours the sum of squares.
    ball = jr.shapes.icosphere(1)
    vertices, faces = np.asarray(ball.vertices, float), np.asarray(ball.faces)
    count = len(vertices)
    joined = np.zeros((count, count))
    joined[faces, np.roll(faces, 1, 1)] = joined[np.roll(faces, 1, 1), faces] = 1
    offsets = joined @ vertices / joined.sum(1, keepdims=True) - vertices
    topology = losses.mesh_topology(ball.faces, count)
    found = _run(DOCS / "moving.md", only="def smoothing")["smoothing_as_pytorch3d"](
        ball.vertices, topology
    )
    np.testing.assert_allclose(found, np.linalg.norm(offsets, axis=1).mean(), rtol=1e-5)
    found = losses.laplacian(ball.vertices, topology)
    np.testing.assert_allclose(found, (offsets**2).sum(), rtol=1e-5)


def test_positions_of_nvdiffrast(cameras):
    view, projection = cameras["to_opengl"](OURS, (64, 64))
    pos = np.concatenate([POINTS, ONES], 1) @ view.T @ projection.T
    found = _run(DOCS / "moving.md", only="screen_of_clip")["screen_of_clip"](
        pos, np.zeros((1, 3), int)
    )
    np.testing.assert_allclose(found.vertices, jr.project(jnp.asarray(POINTS), OURS), atol=1e-5)


# --- the reference --------------------------------------------------------------------------------


def test_every_public_name_is_in_the_reference():
    """The build says so too, and better; this is quick."""
    told = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    for name in jr.__all__:
        kind = (
            "automodule"
            if inspect.ismodule(getattr(jr, name))
            else "(autofunction|autoclass|py:data)"
        )
        assert re.search(rf"^\.\. {kind}:: jaxrender\.{name}$", told, re.M), (
            f"{name}: add to docs/api"
        )


def test_gallery_shows_the_code_that_draws_it():
    """`make gallery` was run after docs/gallery.py was changed."""
    code = (DOCS / "gallery.py").read_text()
    page = (DOCS / "gallery.md").read_text()
    shown = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(shown) >= 8
    for block in shown:
        assert block in code
    pictures = set(re.findall(r"\]\((gallery/\w+\.png)\)", page))
    assert pictures == {f"gallery/{path.name}" for path in (DOCS / "gallery").iterdir()}
    assert all((DOCS / name).stat().st_size < 150_000 for name in pictures)


def test_notebooks_end_with_a_check_and_are_listed():
    pages = [page for page in (DOCS / "notebooks").glob("*.md") if page.stem != "index"]
    listing = (DOCS / "notebooks" / "index.md").read_text()
    assert len(pages) == 6
    for page in pages:
        assert f"]({page.name})" in listing
        assert re.search(r"^\s*assert ", page.read_text(), re.M), f"{page.name}: check the result"
