"""Cameras of COLMAP, NeRF and Blender, against projections written out in NumPy."""

from __future__ import annotations

import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit

import jaxrender as jr
from jaxrender import io

POINTS = np.array([[0.3, 0.2, -0.1], [-0.5, 0.4, 0.6], [1.0, -0.7, 0.2]])


def pixels(camera, image_size, points=POINTS):
    """Places in pixels, v down, (0, 0) the upper left corner, and depths."""
    screen = jr.project(jnp.asarray(points, jnp.float32), camera, image_size=image_size)
    x, y, z = np.asarray(screen, float).T
    return np.stack([(x + 1) * image_size[1] / 2, (1 - y) * image_size[0] / 2, z], -1)


def mark(path):
    """Writes a file anew with a byte order mark."""
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def test_byte_order_marks_do_not_count(tmp_path):
    write_text(tmp_path, LENSES[:1], VIEWS[:1])
    told = {"camera_angle_x": 1.0, "w": 4, "h": 4}
    told["frames"] = [{"file_path": "b", "transform_matrix": np.eye(4).tolist()}]
    (tmp_path / "nerf.json").write_text(json.dumps(told))
    told = {"render": {"resolution_x": 4, "resolution_y": 4}}
    told["cameras"] = {"c": {"matrix_world": np.eye(4).tolist()}}
    (tmp_path / "blender.json").write_text(json.dumps(told))
    io.save(tmp_path / "ours.json", d=1)
    for name in ("cameras.txt", "images.txt", "nerf.json", "blender.json", "ours.json"):
        mark(tmp_path / name)
    found = (
        io.read_colmap(tmp_path),
        io.read_nerf(tmp_path / "nerf.json"),
        io.read_blender(tmp_path / "blender.json"),
        io.load(tmp_path / "ours.json"),
    )
    assert [list(names) for names in found] == [["a.jpg"], ["b"], ["c"], ["d"]]


# COLMAP

# Model, its number, width and height, parameters.
LENSES = [
    ("SIMPLE_PINHOLE", 0, 64, 48, (60.0, 31.0, 25.0)),
    ("PINHOLE", 1, 64, 48, (60.0, 50.0, 31.0, 25.0)),
    ("SIMPLE_RADIAL", 2, 100, 80, (90.0, 50.0, 41.0, 0.2)),
    ("RADIAL", 3, 100, 80, (90.0, 50.0, 41.0, 0.2, -0.05)),
    ("OPENCV", 4, 100, 80, (90.0, 95.0, 50.0, 41.0, 0.1, -0.02, 0.003, -0.004)),
    ("FULL_OPENCV", 6, 100, 80, (90.0, 95.0, 50.0, 41.0, 0.1, -0.02, 0.003, -0.004, 0.01, 0, 0, 0)),
]
# Name, quaternion (not normalised), translation; one image for each lens.
VIEWS = [
    ("a.jpg", (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 3.0)),
    ("dir/b c.jpg", (0.8, 0.1, -0.2, 0.3), (0.1, -0.2, 4.0)),
    ("c.png", (0.5, -0.5, 0.5, 0.5), (0.2, 0.1, 3.5)),
    ("d.png", (2.0, 0.2, 0.2, -0.4), (0.0, 0.3, 5.0)),
    ("e.png", (0.1, 0.9, 0.1, 0.0), (0.3, 0.0, 4.0)),
    ("f.png", (0.9, 0.0, 0.4, 0.1), (-0.1, 0.1, 4.5)),
]


def hamilton(p, q):
    (a, b, c, d), (e, f, g, h) = p, q
    return np.array(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def colmap_pixels(lens, view):
    """The places of the points, from the documentation of COLMAP's models."""
    model, _, _, _, numbers = lens
    _, quaternion, translation = view
    q = np.array(quaternion) / np.linalg.norm(quaternion)
    found = []
    for point in POINTS:
        turned = hamilton(hamilton(q, (0, *point)), q * (1, -1, -1, -1))[1:]
        x, y, z = turned + translation
        u, v = x / z, y / z
        r2 = u * u + v * v
        if model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"):
            f, cx, cy, *k = numbers
            fx = fy = f
        else:
            fx, fy, cx, cy, *k = numbers
        k = [*k, 0, 0, 0, 0, 0]
        if model in ("OPENCV", "FULL_OPENCV"):
            radial = 1 + k[0] * r2 + k[1] * r2**2 + k[4] * r2**3
            du = 2 * k[2] * u * v + k[3] * (r2 + 2 * u * u)
            dv = 2 * k[3] * u * v + k[2] * (r2 + 2 * v * v)
        else:
            radial, du, dv = 1 + k[0] * r2 + k[1] * r2**2, 0, 0
        found.append((fx * (u * radial + du) + cx, fy * (v * radial + dv) + cy, z))
    return np.array(found)


def write_text(folder, lenses=LENSES, views=VIEWS):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Camera list"]
    for number, (model, _, width, height, numbers) in enumerate(lenses, 1):
        lines.append(" ".join(map(str, (number, model, width, height, *numbers))))
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# Image list", "#   POINTS2D[] as (X, Y, POINT3D_ID)"]
    for number, (name, quaternion, translation) in enumerate(views, 1):
        lines.append(" ".join(map(str, (number, *quaternion, *translation, number, name))))
        lines.append("" if number % 2 else "1.5 2.5 7 3.5 4.5 -1")
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


def write_binary(folder, lenses=LENSES, views=VIEWS):
    folder.mkdir(parents=True, exist_ok=True)
    data = struct.pack("<Q", len(lenses))
    for number, (_, model, width, height, numbers) in enumerate(lenses, 1):
        data += struct.pack(f"<iiQQ{len(numbers)}d", number, model, width, height, *numbers)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(views))
    for number, (name, quaternion, translation) in enumerate(views, 1):
        data += struct.pack("<I7dI", number, *quaternion, *translation, number)
        data += name.encode() + b"\0" + struct.pack("<Q", number)
        data += struct.pack("<ddq", 1.5, 2.5, -1) * number
    (folder / "images.bin").write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_text, write_binary])
def test_colmap(tmp_path, write):
    write(tmp_path / "sparse" / "0")
    cameras = io.read_colmap(tmp_path)
    assert list(cameras) == [view[0] for view in VIEWS]
    for lens, view in zip(LENSES, VIEWS, strict=True):
        camera = cameras[view[0]]
        assert camera.projection.image_size == (lens[3], lens[2])
        found = pixels(camera, (lens[3], lens[2]))
        np.testing.assert_allclose(found, colmap_pixels(lens, view), atol=1e-4)


@pytest.mark.parametrize(
    ("cameras", "images", "message"),
    [
        ("1 PINHOLE 4 x 1 1 1 1", "", r"cameras\.txt: line 1: invalid literal"),
        ("1 PINHOLE", "", r"cameras\.txt: line 1: not enough values"),
        ("1 OPENCV_FISHEYE 4 4 1 1 1 1 0 0 0 0", None, "a.jpg: its model OPENCV_FISHEYE is none"),
        ("1 FULL_OPENCV 4 4 1 1 1 1 0 0 0 0 0 .1 0 0", None, "FULL_OPENCV has k4"),
        ("1 PINHOLE 4 4 1 1 1", None, "PINHOLE has 4 parameters, got 3"),
        ("2 PINHOLE 4 4 1 1 1 1", None, "a.jpg has camera 1, which"),
        ("1 PINHOLE 4 4 1 1 1 1", "1 0 0 0 0 0 0 1 1 a.jpg\n\n", "quaternion .* is no rotation"),
        ("1 PINHOLE 4 4 1 1 1 1", "# no\n1 1 0 0 0 0 0 1 1\n", r"images\.txt: line 2: an image is"),
        ("1 PINHOLE 4 4 1 1 1 1", 2 * "1 1 0 0 0 0 0 1 1 a.jpg\n\n", "it names a.jpg twice"),
    ],
)
def test_bad_colmap_text(tmp_path, cameras, images, message):
    (tmp_path / "cameras.txt").write_text(cameras)
    (tmp_path / "images.txt").write_text(images or "1 1 0 0 0 0 0 1 1 a.jpg\n\n")
    with pytest.raises(ValueError, match=f"cannot read the cameras .*{message}"):
        io.read_colmap(tmp_path)


def test_names_of_other_encodings_are_the_same_in_text_and_binary_files(tmp_path):
    name = b"K\xfcche.jpg".decode("utf-8", errors="surrogateescape")
    views = [("Kueche.jpg", *VIEWS[0][1:])]
    for write, file in ((write_text, "images.txt"), (write_binary, "images.bin")):
        folder = tmp_path / write.__name__
        write(folder, LENSES[:1], views)
        path = folder / file
        path.write_bytes(path.read_bytes().replace(b"ue", b"\xfc"))
        assert list(io.read_colmap(folder)) == [name]


def test_lenses_that_are_not_drawn_are_left_out(tmp_path):
    """A folder of several lenses is read but for the fisheyes, which are named."""
    fisheye = "1 OPENCV_FISHEYE 4 4 1 1 1 1 0 0 0 0\n"
    (tmp_path / "cameras.txt").write_text(fisheye + "2 PINHOLE 4 4 1 1 1 1\n")
    rows = [f"{k} 1 0 0 0 0 0 1 {lens} {k}.jpg\n\n" for k, lens in enumerate([1, 2, 1, 1, 1])]
    (tmp_path / "images.txt").write_text("".join(rows))
    said = "leaves out 4 of 5 images, 0.jpg, 2.jpg, 3.jpg, .... 0.jpg: its model OPENCV_FISHEYE"
    with pytest.warns(UserWarning, match=said):
        assert list(io.read_colmap(tmp_path)) == ["1.jpg"]


def test_bad_colmap_binary(tmp_path):
    with pytest.raises(FileNotFoundError, match="no cameras and images"):
        io.read_colmap(tmp_path)
    write_binary(tmp_path)
    for name in ("cameras.bin", "images.bin"):
        data = (tmp_path / name).read_bytes()
        for bad, message in [
            (data[:-1], "it ends"),
            (data + b"x", "1 bytes follow"),
            (data[:9], "it ends"),
        ]:
            (tmp_path / name).write_bytes(bad)
            with pytest.raises(ValueError, match=rf"cannot read the cameras .*{name}: {message}"):
                io.read_colmap(tmp_path)
        (tmp_path / name).write_bytes(data)
    data = bytearray((tmp_path / "cameras.bin").read_bytes())
    data[12] = 99
    (tmp_path / "cameras.bin").write_bytes(data)
    with pytest.raises(ValueError, match="model number 99"):
        io.read_colmap(tmp_path)


# NeRF


def pose(seed):
    """A camera-to-world matrix: x right, y up, looking along -z."""
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    axes *= np.sign(np.linalg.det(axes))
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = POINTS.mean(0) + 4 * axes[:, 2]
    return matrix


def nerf_rays(matrix, fx, fy, cx, cy, places):
    """Points on the rays through places in pixels, as NeRF shoots them, and their depths."""
    depth = np.array([2.0, 3.0, 5.0])
    u, v = np.array(places).T
    rays = np.stack([(u - cx) / fx, -(v - cy) / fy, -np.ones(3)], -1)
    points = (rays * depth[:, None]) @ matrix[:3, :3].T + matrix[:3, 3]
    return points, np.concatenate([places, depth[:, None]], axis=1)


PLACES = [(10.5, 20.25), (40.0, 30.0), (55.5, 3.0)]


@pytest.mark.parametrize(
    ("told", "lens"),
    [
        ({"camera_angle_x": 0.7, "w": 64, "h": 48}, (None, None, 32, 24)),
        (
            {"camera_angle_x": 0.7, "camera_angle_y": 0.9, "w": 64, "h": 48},
            (None, 24 / np.tan(0.45), 32, 24),
        ),
        ({"fl_x": 70, "fl_y": 75, "cx": 30.5, "cy": 22, "w": 64.0, "h": 48.0}, (70, 75, 30.5, 22)),
        ({"fl_x": 70, "w": 64, "h": 48, "camera_model": "PINHOLE"}, (70, 70, 32, 24)),
    ],
)
def test_nerf(tmp_path, told, lens):
    fx, fy, cx, cy = lens
    fx = fx or 32 / np.tan(0.35)
    fy = fy or fx
    frames = [{"file_path": f"r_{k}", "transform_matrix": pose(k).tolist()} for k in range(2)]
    (tmp_path / "t.json").write_text(json.dumps(told | {"frames": frames}))
    cameras = io.read_nerf(tmp_path / "t.json")
    assert list(cameras) == ["r_0", "r_1"]
    for k in range(2):
        points, wanted = nerf_rays(pose(k), fx, fy, cx, cy, PLACES)
        found = pixels(cameras[f"r_{k}"], (48, 64), points)
        np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_nerf_lens_and_numbers_of_frames(tmp_path):
    matrix = pose(3)
    frame = {"file_path": "a", "transform_matrix": matrix[:3].tolist(), "fl_x": 50.0, "k1": 0.1}
    shared = {"fl_x": 70.0, "w": 64, "h": 48, "k2": -0.02, "p1": 0.003, "p2": -0.004}
    (tmp_path / "t.json").write_text(json.dumps(shared | {"frames": [frame]}))
    camera = io.read_nerf(tmp_path / "t.json")["a"]
    np.testing.assert_allclose(camera.projection.distortion, [0.1, -0.02, 0.003, -0.004, 0])
    np.testing.assert_allclose(camera.projection.matrix, [[50, 0, 32], [0, 50, 24], [0, 0, 1]])


def test_nerf_size_of_the_picture(tmp_path):
    told = {
        "camera_angle_x": 0.7,
        "frames": [{"file_path": "./train/r_0", "transform_matrix": pose(0).tolist()}],
    }
    path = tmp_path / "transforms_train.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"r_0: it has no w and h.*pass image_size"):
        io.read_nerf(path)
    camera = io.read_nerf(path, image_size=(48, 64))["./train/r_0"]
    assert camera.projection.image_size == (48, 64)
    io.save_image(tmp_path / "train" / "r_0.png", np.zeros((12, 16)))
    camera = io.read_nerf(path)["./train/r_0"]
    assert camera.projection.image_size == (12, 16)


MATRIX = np.eye(4).tolist()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([], "no list of `frames`"),
        ({}, "no list of `frames`"),
        ({"frames": [{"file_path": "a"}]}, r"a: `transform_matrix` must be \[4, 4\]"),
        ({"frames": [{"transform_matrix": MATRIX}]}, "frame 0: it has neither fl_x nor"),
        ({"camera_angle_x": 4, "frames": [{"transform_matrix": MATRIX}]}, "must be radians"),
        ({"fl_x": 1, "frames": 2 * [{"file_path": "a", "transform_matrix": MATRIX}]}, "two frames"),
        (
            {"camera_model": "OPENCV_FISHEYE", "frames": [{"transform_matrix": MATRIX}]},
            "its lens, OPENCV_FISHEYE, is not drawn",
        ),
        (
            {"fl_x": 1, "k4": 0.1, "frames": [{"transform_matrix": MATRIX}]},
            "fisheye, or one with k4",
        ),
        (
            {"fl_x": 1, "frames": [{"transform_matrix": (2 * np.eye(4)).tolist()}]},
            "must hold an orthonormal rotation",
        ),
    ],
)
def test_bad_nerf(tmp_path, told, message):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(told | {"w": 4, "h": 4} if isinstance(told, dict) else told))
    with pytest.raises(ValueError, match=rf"cannot read the cameras .*t\.json: .*{message}"):
        io.read_nerf(path)
    with pytest.raises(FileNotFoundError, match="no file of cameras"):
        io.read_nerf(tmp_path / "none.json")
    path.write_text("{")
    with pytest.raises(ValueError, match=r"cannot read the cameras .*t\.json"):
        io.read_nerf(path)


# Blender

# What Blender 5.0.1 says of cameras: settings, the size (H, W), the rotation (Euler angles), the
# place, the scale, and where the points are in pixels (`calc_matrix_camera`), with their depths.
BLENDER = [
    (
        {"lens": 35.0, "shift_x": 0.1, "shift_y": -0.2},
        (120, 160),
        (0.1, 3.1, 2.0),
        [
            [70.09402, 23.13366, 6.26031],
            [53.84204, 4.46365, 6.55092],
            [76.12357, 25.45859, 5.09659],
        ],
    ),
    (
        {"lens": 80.0, "sensor_fit": "VERTICAL", "shift_x": 0.25},
        (100, 45),
        (0.2, 3.2, 1.0),
        [
            [16.8832, 37.85453, 6.29866],
            [-20.98899, 1.66089, 6.61477],
            [29.06869, 41.57985, 5.13003],
        ],
    ),
    (
        {"pixel_aspect_x": 1.5},
        (120, 160),
        (0.0, 3.0, 1.0),
        [[84.4132, 51.13901, 6.22072], [63.46928, 7.57759, 6.48814], [93.44656, 57.55277, 5.06308]],
    ),
    (
        {"sensor_fit": "HORIZONTAL", "sensor_width": 20.0, "shift_y": 0.3, "pixel_aspect_y": 1.25},
        (100, 100),
        (0.3, 3.3, 2.0),
        [
            [69.22024, 65.59016, 6.33575],
            [38.81367, 46.29348, 6.67941],
            [77.74836, 67.17936, 5.16339],
        ],
    ),
    (
        {"type": "ORTHO", "ortho_scale": 5.0, "shift_x": 0.1, "shift_y": -0.05},
        (120, 160),
        (0.4, 3.4, 1.0),
        [
            [83.46379, 42.18268, 6.37149],
            [56.87427, 23.51104, 6.74447],
            [85.11395, 44.86777, 5.19663],
        ],
    ),
]


def blender_world(turn, x, scale):
    """The object's matrix: Euler angles (1.2, turn, 0.5) in order XYZ, at (x, -5, 2)."""
    matrix = np.eye(3)
    for angle, (a, b) in zip((1.2, turn, 0.5), ((1, 2), (2, 0), (0, 1)), strict=True):
        one = np.eye(3)
        one[[a, b], [a, b]] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        matrix = one @ matrix
    world = np.eye(4)
    world[:3, :3] = matrix * scale
    world[:3, 3] = x, -5, 2
    return world


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "size", "place", "wanted"), BLENDER)
def test_blender_cameras_are_blenders(settings, size, place, wanted):
    world = blender_world(*place)
    camera = jr.from_blender(world, image_size=size, **settings)
    np.testing.assert_allclose(pixels(camera, size), wanted, atol=1e-4)
    x, y, z = POINTS.T
    camera = jr.from_blender(world, image_size=size, y_up=True, **settings)
    found = pixels(camera, size, np.stack([x, z, -y], -1))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_blender_file(tmp_path):
    render = {"resolution_x": 90, "resolution_y": 200, "resolution_percentage": 50}
    render |= {"pixel_aspect_x": 1.0, "pixel_aspect_y": 1.0}
    settings, size, place, wanted = BLENDER[1]
    cameras = {"Camera": {"matrix_world": blender_world(*place).tolist(), **settings}}
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps({"render": render, "cameras": cameras}))
    found = pixels(io.read_blender(path)["Camera"], size)
    np.testing.assert_allclose(found, wanted, atol=1e-4)

    for told, message in [
        ({}, "it must hold `render` and `cameras`"),
        ({"render": {}, "cameras": {}}, "`render` has no 'resolution_y'"),
        ({"render": render, "cameras": {"A": {}}}, "A: it has no matrix_world"),
        ({"render": render, "cameras": {"A": cameras["Camera"] | {"type": "PANO"}}}, "A: `type`"),
    ]:
        path.write_text(json.dumps(told))
        with pytest.raises(ValueError, match=rf"cannot read the cameras .*\.json: {message}"):
            io.read_blender(path)


@pytest.mark.thorough
def test_blender_camera_compiled_and_its_gradient(x64):
    points = jnp.asarray(POINTS)
    eager = jr.from_blender(
        blender_world(0.1, 3.0, 2.0), image_size=(12, 16), lens=35.0, shift_x=0.1
    )
    wanted = np.asarray(jr.project(points, eager, image_size=(12, 16)))[:, :2].sum()

    def total(world, lens, shift):
        camera = jr.from_blender(world, image_size=(12, 16), lens=lens, shift_x=shift)
        return jr.project(points, camera, image_size=(12, 16))[:, :2].sum()

    args = [jnp.asarray(blender_world(0.1, 3.0, 2.0)), jnp.asarray(35.0), jnp.asarray(0.1)]
    both = jit(jax.value_and_grad(total, argnums=(0, 1, 2)))
    value, gradients = both(*args)
    assert float(value) == pytest.approx(float(wanted), rel=1e-5)
    for k, gradient in enumerate(gradients):
        way = jnp.asarray(np.random.default_rng(k).normal(size=gradient.shape))
        ends = [
            float(both(*args[:k], args[k] + step * way, *args[k + 1 :])[0])
            for step in (1e-6, -1e-6)
        ]
        slope = (ends[0] - ends[1]) / 2e-6
        assert float((gradient * way).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "PANO"}, "`type` must be one of"),
        ({"sensor_fit": "auto"}, "`sensor_fit` must be one of"),
        ({"lens": 0.0}, "`lens` must be positive"),
        ({"sensor_fit": "VERTICAL", "sensor_height": -1.0}, "`sensor_height` must be positive"),
        ({"shift_x": np.nan}, "`shift_x` must be finite"),
        ({"type": "ORTHO", "pixel_aspect_x": 2.0}, "must be the same for an orthographic"),
        ({"matrix_world": np.eye(3)}, "`matrix_world` must be"),
        ({"matrix_world": np.diag([1.0, 1, -1, 1])}, "`matrix_world` must hold a proper rotation"),
        ({"matrix_world": np.diag([1.0, 0, 1, 1])}, "three axes, got one of length 0"),
        ({"matrix_world": np.eye(4) + np.eye(4, k=1)}, "must hold an orthonormal rotation"),
    ],
)
def test_bad_blender_settings(options, message):
    with pytest.raises(ValueError, match=message):
        jr.from_blender(**{"matrix_world": np.eye(4), "image_size": (12, 16), **options})
