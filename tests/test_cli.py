"""The command line: pictures as asked for, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("imageio", reason="the command line writes pictures with imageio")
import imageio.v3 as imageio

from jaxrender import io, shapes
from jaxrender._camera import camera_position, look_at, perspective, points_from_angles
from jaxrender._framing import camera_lights, frame
from jaxrender._render import render
from jaxrender._surface import split_creases
from jaxrender._textures import VertexColors
from jaxrender._turntable import Orbit, Style, draw_frame, show_depth, show_normals
from jaxrender._types import Hard, Mesh
from jaxrender.cli import _background, _lights, main

FAST = ["--size", "24", "--anti-aliasing", "1"]
FRONT = ["--azimuth", "0", "--elevation", "0"]


@pytest.fixture
def draw(tmp_path, capsys):
    """Runs `render` with the given arguments and returns the pixels of the file it names."""

    def run(mesh: str, *arguments: str, name: str = "out.png"):
        path = tmp_path / name
        code = main(["render", mesh, "-o", str(path), *FAST, *arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        assert captured.out.split() == [str(path)]
        return imageio.imread(path, index=None if name.endswith(".gif") else 0)

    return run


def _error(capsys, *arguments: str) -> tuple[int, str]:
    """Runs the command line where it must fail; returns its exit code and its one line."""
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("jaxrender: error: ")
    return code, lines[0]


# Pictures. Drawing is compiled for each style and mesh size, so tests share them where they can.


@pytest.mark.slow
def test_sphere_fills_the_picture_and_is_round(draw):
    pixels = draw("icosphere", "--show", "alpha", "--size", "40x60")
    assert pixels.shape == (40, 60)
    rows, columns = np.nonzero(pixels > 127)
    assert rows.min() <= 1
    assert rows.max() >= 38
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


@pytest.mark.slow
def test_narrow_side_is_fitted_in_parallel_projection_too(draw):
    pixels = draw("icosphere", "--show", "alpha", "--size", "60x40", "--orthographic")
    assert pixels.shape == (60, 40)
    rows, columns = np.nonzero(pixels > 127)
    assert columns.min() <= 1
    assert columns.max() >= 38
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
    assert np.mean(pixels > 127) == pytest.approx(np.pi / 4 * 40 / 60, abs=0.03)


@pytest.mark.slow
def test_distance_shrinks_the_object(draw):
    near, far = (
        draw("icosphere", "--show", "alpha", "--size", "40x60", "--distance", distance)
        for distance in ("4", "8")
    )
    assert 3 < near.sum() / far.sum() < 6


@pytest.fixture
def silhouette(draw, tmp_path):
    """Draws the front of a triangle, from the front unless told: `[H, W]` bool."""

    def run(corners: str, *arguments: str):
        path = tmp_path / "triangle.obj"
        path.write_text("".join(f"v {corner}\n" for corner in corners.split(", ")) + "f 1 2 3\n")
        return draw(str(path), *FRONT, "--show", "alpha", "--cull", "back", *arguments) > 127

    return run


@pytest.mark.slow
def test_models_are_not_mirrored(silhouette):
    # Seen from the front (+z), what lies at +x is on the right, and +y is up.
    seen = silhouette("0 0 0, 1 0 0, 1 1 0")
    assert seen[:, 12:].sum() > 2 * seen[:, :12].sum()
    assert seen[12:].sum() > 2 * seen[:12].sum()
    assert not silhouette("1 1 0, 1 0 0, 0 0 0").any()


@pytest.mark.slow
def test_azimuth_goes_to_the_positive_x_side(silhouette):
    # A triangle that faces +x shows its front from azimuth 90 only.
    assert silhouette("0 0 0, 0 0 -1, 0 1 0", "--azimuth", "90").any()
    assert not silhouette("0 0 0, 0 0 -1, 0 1 0", "--azimuth", "270").any()


def test_elevation_goes_over_the_top(silhouette):
    # The floor is seen from straight above, with the front side at the bottom.
    seen = silhouette("0 0 1, 1 0 1, 0 0 -1", "--elevation", "90")
    assert seen[:, :12].sum() > 2 * seen[:, 12:].sum()
    assert seen[12:].sum() > 2 * seen[:12].sum()


@pytest.mark.slow
def test_z_up_turns_the_model_upright(silhouette):
    rows, columns = np.nonzero(silhouette("-0.1 0 0, 0.1 0 0, 0 0 2", "--up", "z"))
    assert np.ptp(rows) > 3 * np.ptp(columns)
    assert np.mean(rows) > 12


@pytest.mark.long
def test_background_shows(draw):
    assert draw("plane", "--background", "#ff8000")[0, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("white", (1, 1, 1)), ("#ff8000", (1, 128 / 255, 0)), ("0,0.5,1", (0, 0.5, 1))],
)
def test_background_colors(text, expected):
    np.testing.assert_allclose(_background(text, (4, 4)), expected)


def test_background_picture_is_scaled_to_the_size(tmp_path):
    path = tmp_path / "sky.png"
    imageio.imwrite(path, np.full((5, 7, 3), (10, 200, 30), np.uint8))
    scaled = _background(str(path), (4, 6))
    assert scaled.shape == (4, 6, 3)
    np.testing.assert_allclose(scaled[2, 3] * 255, (10, 200, 30), rtol=1e-5)


@pytest.mark.slow
def test_faces_are_lit(draw):
    # The three sides of a cube that are seen differ.
    assert len(np.unique(draw("cube", "--background", "black", "--shading", "flat")[..., 0])) == 4


@pytest.mark.slow
def test_transparent_background_has_straight_alpha(draw):
    arguments = ["--shading", "none", "--anti-aliasing", "2"]
    pixels = draw("icosphere", "--background", "transparent", *arguments)
    assert pixels.shape == (24, 24, 4)
    assert pixels[0, 0, 3] == 0
    assert pixels[12, 12, 3] == 255
    assert ((pixels[..., 3] > 0) & (pixels[..., 3] < 255)).any()
    assert (pixels[pixels[..., 3] > 0][:, :3] == 255).all()  # white, at the soft edge too


@pytest.mark.long
def test_a_white_mesh_that_is_not_shaded_is_seen(draw, tmp_path, capsys):
    pixels = draw("icosphere", "--shading", "none")
    assert pixels[12, 12].tolist() == [255, 255, 255]
    assert pixels[0, 0].tolist() == [128, 128, 128]
    assert draw("icosphere", "--shading", "none", "--background", "blue")[0, 0, 0] == 0
    assert draw("icosphere", "--shading", "flat")[0, 0].tolist() == [255, 255, 255]

    # White on white is drawn where it is asked for, with a warning.
    path = tmp_path / "white.png"
    command = ["render", "icosphere", "-o", str(path), *FAST, "--shading", "none"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*command, "--background", "#ffffff"]) == 0
    assert "a white mesh on white is not seen" in capsys.readouterr().err
    assert (imageio.imread(path) == 255).all()

    # Colours are seen on white.
    vertices, faces = "v 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\n", "f 1 2 3\n"
    (tmp_path / "red.obj").write_text(vertices + faces)
    assert draw(str(tmp_path / "red.obj"), "--shading", "none")[0, 0].tolist() == [255, 255, 255]


@pytest.mark.long
def test_bright_highlights_need_no_warning(draw):
    with warnings.catch_warnings(record=True) as caught:
        draw("icosphere", "--shading", "phong", "--background", "black")
    assert not caught


@pytest.mark.long
def test_depth_is_bright_where_near(draw):
    pixels = draw("icosphere", "--show", "depth", "--anti-aliasing", "2")
    assert pixels[12, 12] > 240
    assert pixels[0, 0] == 0
    assert pixels[12, 2] < pixels[12, 6] < pixels[12, 12]


def test_depth_has_one_scale_over_all_frames():
    near, far = (np.dstack([np.full((1, 2), depth), [[1.0, 0.0]]]) for depth in (2.0, 5.0))
    first, second = show_depth([near, far])
    assert first.tolist() == [[1.0, 0.0]]
    assert second.tolist() == [[0.0, 0.0]]


@pytest.mark.long
def test_normals_point_out(draw):
    pixels = draw("cube", *FRONT, "--show", "normals", "--shading", "flat")
    assert pixels[12, 12].tolist() == [128, 128, 255]  # the +z side
    ball = shapes.icosphere(1)
    np.testing.assert_allclose(
        2 * show_normals(ball, "phong").texture.colors - 1, ball.vertices, atol=0.01
    )


@pytest.mark.slow
def test_soft_rasterizer_blurs_by_sigma(draw):
    soft = ["icosphere", "--show", "alpha", "--rasterizer", "soft", "--shading", "flat"]
    sharp, blurred = (draw(*soft, "--sigma", sigma) for sigma in ("1e-6", "1e-2"))
    faint = [((pixels > 0) & (pixels < 128)).sum() for pixels in (sharp, blurred)]
    assert 2 * faint[0] < faint[1]
    assert sharp[12, 12] > 200


@pytest.mark.thorough
def test_soft_rasterizer_shows_through_by_gamma(draw):
    soft = ["cube", *FRONT, "--rasterizer", "soft", "--show", "normals", "--shading", "flat"]
    near, mixed = (draw(*soft, "--gamma", gamma)[12, 12] for gamma in ("1e-4", "1.0"))
    assert near.tolist() == [128, 128, 255]
    assert mixed[2] < 250
    pixels = draw("icosphere", "--rasterizer", "soft", "--background", "transparent")
    assert pixels[12, 12, 3] > 200
    assert pixels[12, 12, 0] > 100
    assert pixels[0, 0, 3] == 0


@pytest.mark.long
def test_azimuths_are_those_of_points_from_angles():
    mesh, lights = shapes.cube(), {"ambient": 0.25, "specular": 0.2}
    orbit = Orbit(elevation=20.0, fov=40.0, distance=5.0)
    lens = perspective(40.0)
    for azimuth in (0.0, 35.0, 250.0):
        eye = points_from_angles(5.0, 20.0, azimuth)
        place = camera_position(frame(mesh, azimuth, 20.0, distance=5.0))
        np.testing.assert_allclose(place, eye, atol=1e-6)
        style = Style("alpha", (64, 64))
        image = draw_frame(mesh, orbit, azimuth, lights, 0.0, Hard(), style=style)
        wanted = render(mesh, look_at(eye, projection=lens), image_size=(64, 64), anti_aliasing=2)
        np.testing.assert_allclose(image, wanted.alpha, atol=0.26)
        assert np.mean(image != wanted.alpha) < 0.01


@pytest.mark.slow
def test_pictures_are_those_of_frame_and_camera_lights(draw):
    mesh = shapes.cube()
    place = {"at": (0.1, 0.2, 0.0), "up": "z", "image_size": (24, 24)}
    arguments = ["--azimuth", "70", "--elevation", "-15", "--at", "0.1,0.2,0", "--up", "z"]
    pixels = draw("cube", *arguments, "--shading", "flat")
    camera = frame(mesh, 70.0, -15.0, **place)
    image = render(
        mesh,
        camera,
        camera_lights(camera),
        image_size=(24, 24),
        background=1.0,
        shading="flat",
        near=0.01,
    )
    np.testing.assert_allclose(pixels / 255, image.rgb, atol=0.51 / 255)


@pytest.mark.slow
def test_lights_stand_still(draw):
    """Seen from both sides, a plate is lit only on the side of the light."""
    arguments = ["--shading", "flat", "--ambient", "0.1", "--specular", "0", *FRONT]
    lit, dark = (
        draw("cube", *arguments, "--light", f"{azimuth},0,0.5") for azimuth in ("0", "180")
    )
    assert lit[12, 12].tolist() == [153] * 3
    assert dark[12, 12].tolist() == [26] * 3


def test_lights_stand_in_the_world_of_the_mesh():
    given = {"light": [[0.0, 0.0], [90.0, 0.0, 2.0], [0.0, 90.0]], "ambient": 0.1, "specular": 0.0}
    lights = _lights(argparse.Namespace(up="z", **given))
    np.testing.assert_allclose(lights.directions, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(lights.direction_colors[:, 0], [0.65, 2, 0.65])


@pytest.mark.slow
def test_raw_depth(tmp_path, capsys):
    def write(name, *arguments):
        path = tmp_path / name
        command = ["render", "cube", "-o", str(path), "--size", "24", *FRONT, "--distance", "5"]
        assert main([*command, "--show", "depth", *arguments]) == 0, capsys.readouterr().err
        return path

    depth = np.load(write("a.npy"))
    assert depth.dtype == np.float32
    assert depth.shape == (24, 24)
    assert depth[12, 12] == pytest.approx(4.5)
    assert depth[0, 0] == 0
    counts = imageio.imread(write("a.png", "--raw"))
    np.testing.assert_array_equal(counts, np.rint(depth * 1000))
    np.testing.assert_array_equal(io.load_depth(write("a.tif", "--raw")), depth)
    if importlib.util.find_spec("OpenEXR"):
        np.testing.assert_array_equal(io.load_depth(write("a.exr")), depth)


@pytest.mark.slow
def test_turntable_turns_once(draw):
    frames = draw("plane", "--azimuth", "10", "--frames", "3", "--quiet", name="turn.gif")
    assert frames.shape == (3, 24, 24, 3)
    for picture, azimuth in zip(frames, ("10", "130", "250"), strict=True):
        np.testing.assert_allclose(picture, draw("plane", "--azimuth", azimuth), atol=12)


def test_gif_has_36_frames_unless_told_and_shows_progress(tmp_path, capsys):
    path = tmp_path / "new" / "turn.gif"
    assert main(["render", "plane", "-o", str(path), *FAST]) == 0
    captured = capsys.readouterr()
    assert "36/36" in captured.err
    assert len(imageio.imread(path, index=None)) == 36


def test_several_frames_of_a_picture_are_numbered(tmp_path, capsys):
    path = tmp_path / "side.png"
    assert main(["render", "plane", "-o", str(path), *FAST, "--frames", "11", "--quiet"]) == 0
    names = capsys.readouterr().out.split()
    assert names == [str(tmp_path / f"side-{number:02}.png") for number in range(11)]
    assert all(imageio.imread(name).shape == (24, 24, 3) for name in names)


def test_mp4(tmp_path, capsys):
    pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "turn.mp4"
    command = ["render", "plane", "-o", str(path), *FAST, "--frames", "3", "--quiet"]
    assert main(command) == 0
    assert path.stat().st_size > 100


@pytest.mark.slow
def test_creases_stay_sharp():
    cube = split_creases(shapes.cube(), 40.0)
    assert cube.vertices.shape == (24, 3)  # four for each side of the cube
    assert split_creases(shapes.cube(), 91.0).vertices.shape == (8, 3)
    assert split_creases(shapes.icosphere(2), 40.0).vertices.shape == (162, 3)
    np.testing.assert_array_equal(
        cube.vertices[cube.faces], shapes.cube().vertices[shapes.cube().faces]
    )


def test_creases_join_seams_and_keep_colors():
    # Two coplanar faces that do not share vertices, and one that stands up on them.
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 1.0]]
    mesh = Mesh(
        jnp.asarray(vertices),
        jnp.asarray([[0, 1, 2], [3, 4, 5], [4, 3, 6]]),
        VertexColors(jnp.asarray(vertices)),
    )
    split = split_creases(mesh, 40.0)
    assert split.vertices.shape == (7, 3)
    assert len(np.unique(split.faces[:2])) == 4
    assert not np.isin(split.faces[2], split.faces[:2]).any()
    np.testing.assert_array_equal(split.texture.colors, split.vertices)


# Info


def _facts(capsys, *arguments: str) -> dict[str, str]:
    assert main(["info", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line[:13].strip(): line[14:] for line in lines}


def test_info_of_a_closed_shape(capsys):
    facts = _facts(capsys, "cube")
    assert facts["format"] == "built-in shape"
    assert facts["vertices"] == "8"
    assert facts["faces"] == "12"
    assert facts["bounding box"] == "(-0.5, -0.5, -0.5) to (0.5, 0.5, 0.5)"
    assert facts["texture"] == "none"
    assert facts["surface"] == "closed"
    assert facts["area"] == "6"
    assert facts["volume"] == "1"


def test_info_of_an_open_file_with_defects(capsys, tmp_path):
    # Two faces that share an edge and walk it the same way, and one that collapses to a line.
    path = tmp_path / "open.ply"
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        "element face 3\nproperty list uchar int vertex_indices\nend_header\n"
        "0 0 0 255 0 0\n1 0 0 255 0 0\n0 1 0 255 0 0\n1 1 0 255 0 0\n"
        "3 0 1 2\n3 1 2 3\n3 0 1 1\n"
    )
    facts = _facts(capsys, str(path))
    assert facts["format"] == "PLY"
    assert facts["degenerate"] == "1 faces without area"
    assert facts["texture"] == "VertexColors (colors [4, 3]), display colours"
    assert facts["surface"] == (
        "not closed: 4 boundary edges, 1 edges whose faces are turned against each other"
    )
    assert facts["volume"] == "none, it is not closed"


# Help


@pytest.mark.parametrize("command", [[], ["info"], ["render"]])
def test_help_shows_defaults_as_they_are_typed(capsys, command):
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "None" not in text
    assert "SUPPRESS" not in text
    assert "(default: (" not in text
    if command == ["render"]:
        assert "pixels (default: 256x256)" in text
        assert "(default: 36 for .gif and .mp4, 1 for a picture)" in text


# Errors


@pytest.mark.parametrize("command", [["info"], ["render", "-o", "out.png"]])
def test_missing_file(capsys, command, tmp_path):
    code, line = _error(capsys, *command, str(tmp_path / "nothing.obj"))
    assert code == 1
    assert "no such file" in line


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mesh.xyz", "1 2 3\n", "unknown mesh format"),
        ("empty.obj", "# nothing\n", "no faces"),
        ("points.obj", "v 0 0 0\nv 1 0 0\n", "no faces"),
        ("nan.obj", "v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "finite"),
        ("broken.ply", "ply\nformat nonsense\n", "cannot read"),
        ("folder.obj", None, "no such file"),
    ],
)
def test_bad_mesh_files(capsys, tmp_path, name, content, message):
    path = tmp_path / name
    path.mkdir() if content is None else path.write_text(content)
    for command in (["info"], ["render", "-o", str(tmp_path / "out.png"), *FAST]):
        code, line = _error(capsys, *command, str(path))
        assert code == 1
        assert message in line
        assert name in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required"),
        (["sculpt"], "invalid choice"),
        (["render", "cube"], "-o"),
        (["render", "cube", "-o", "out.bmpp"], "the name must end in"),
        (["render", "cube", "-o", "out.png", "--size", "12x"], "--size: expected N or HxW"),
        (["render", "cube", "-o", "out.png", "--size", "0"], "--size: expected N or HxW"),
        (["render", "cube", "-o", "out.png", "--size", "1x2x3"], "--size: expected N or HxW"),
        (["render", "cube", "-o", "out.png", "--frames", "1.5"], "--frames: expected a positive"),
        (["render", "cube", "-o", "out.png", "--fov", "180"], "--fov: expected degrees"),
        (["render", "cube", "-o", "out.png", "--azimuth", "nan"], "--azimuth: expected a number"),
        (["render", "cube", "-o", "out.png", "--distance", "-1"], "--distance: expected"),
        (["render", "cube", "-o", "out.png", "--show", "smell"], "--show: invalid choice"),
        (["render", "cube", "-o", "out.png", "--background", "mauve"], "--background: 'mauve'"),
        (["render", "cube", "-o", "out.png", "--background", "255,0,0"], "--background: '255,0,0'"),
        (["render", "cube", "-o", "out.gif", "--background", "transparent"], "needs a .png"),
        (["render", "cube", "-o", "out.gif", "--fps", "60"], "at most 50"),
        (["render", "cube", "-o", "out.npy"], "a .npy file is for depth: pass --show depth"),
        (["render", "cube", "-o", "out.png", "--raw"], "--raw is for depth"),
        (["render", "cube", "-o", "out.gif", "--raw", "--show", "depth"], "depth is written to"),
        (["render", "cube", "-o", "out.png", "--at", "1,2"], "--at: expected three numbers"),
        (["render", "cube", "-o", "out.png", "--light", "1,x"], "--light: expected numbers"),
        (["render", "cube", "-o", "out.png", "--ambient", "-1"], "--ambient: expected a number"),
    ],
)
def test_bad_options(capsys, arguments, message):
    code, line = _error(capsys, *arguments)
    assert code == 2
    assert message in line


def test_output_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _ = _error(capsys, "render", "plane", *FAST, "-o", str(tmp_path / "file" / "out.png"))
    assert code == 1


@pytest.mark.slow
def test_module_runs_and_sets_the_exit_code():
    command = [sys.executable, "-m", "jaxrender", "info", "nothing.obj"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("jaxrender: error: no such file: nothing.obj")
