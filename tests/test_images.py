"""Pictures and animations survive a round trip, and what is wrong with a file is said."""

from __future__ import annotations

import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrender import io

pytest.importorskip("imageio")

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_picture_round_trip(tmp_path, shape):
    image = RNG.random(shape).astype(np.float32) * 1.4 - 0.2
    with pytest.warns(UserWarning, match=r"values are not in \[0, 1\]"):
        io.save_image(tmp_path / "a.png", jnp.asarray(image))
    again = np.asarray(io.load_image(tmp_path / "a.png"))
    expected = np.clip(image, 0, 1).reshape(5, 7, -1)
    assert again.shape == expected.shape
    assert np.abs(again - expected).max() <= 0.5 / 255 + 1e-6
    assert again.dtype == np.float32


def test_picture_kinds(tmp_path):
    mask = RNG.random((4, 4)) > 0.5
    io.save_image(tmp_path / "mask.png", mask)
    assert np.array_equal(np.asarray(io.load_image(tmp_path / "mask.png"))[..., 0], mask)
    io.save_image(tmp_path / "a.jpg", np.full((8, 8, 3), 0.5))
    assert np.abs(np.asarray(io.load_image(tmp_path / "a.jpg")) - 0.5).max() < 0.02

    # Sixteen-bit, two-colour and palette files come as floats, too.
    image = pytest.importorskip("PIL.Image")
    deep = np.array([[0, 65535], [257, 32768]], np.uint16)
    image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.allclose(np.asarray(io.load_image(tmp_path / "deep.png"))[..., 0], deep / 65535)
    image.fromarray(mask).save(tmp_path / "bits.png")
    assert np.array_equal(np.asarray(io.load_image(tmp_path / "bits.png"))[..., 0], mask)
    image.fromarray(np.full((3, 3, 3), 51, np.uint8)).quantize(4).save(tmp_path / "palette.png")
    assert np.allclose(io.load_image(tmp_path / "palette.png"), 0.2, atol=1e-6)


def test_bad_pictures(tmp_path):
    good = np.zeros((4, 4, 3))
    for name, image, message in [
        ("a.png", np.zeros((4, 4, 2)), r"\[H, W\] or \[H, W, 1, 3 or 4\], got float64\[4, 4, 2\]"),
        ("a.png", np.zeros((4, 4, 3), np.uint8), "Divide 8-bit values by 255"),
        ("a.png", np.zeros((0, 4)), "must be floats"),
        ("a.png", np.full((4, 4), np.nan), "must be finite"),
        ("a.jpg", np.zeros((4, 4, 4)), "JPEG has no alpha"),
        ("a.gif", good, "Write animations with `save_animation`"),
        ("a", good, "unknown format ''"),
    ]:
        with pytest.raises(ValueError, match=message):
            io.save_image(tmp_path / name, image)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot read the picture .*bad\.png"):
        io.load_image(tmp_path / "bad.png")


def moving_disc(count, height, width):
    y, x = np.mgrid[0:height, 0:width]
    for k in range(count):
        inside = (x - 8 - 2 * k) ** 2 + (y - height / 2) ** 2 < 36
        shade = 0.3 + 0.5 * y / height
        yield np.where(inside[..., None], shade[..., None] * [1.0, 0.6, 0.3], 1.0)


def test_gif(tmp_path):
    image = pytest.importorskip("PIL.Image")
    frames = np.stack(list(moving_disc(7, 31, 45)))
    io.save_animation(tmp_path / "a.gif", jnp.asarray(frames), fps=30)
    with image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 7
        assert gif.size == (45, 31)
        assert gif.info["loop"] == 0
        durations = []
        for index in range(7):
            gif.seek(index)
            durations.append(gif.info["duration"])
            pixels = np.asarray(gif.convert("RGB")) / 255
            assert np.abs(pixels - frames[index]).max() < 0.03
    assert sum(durations) == 230  # 7 / 30 s, to a hundredth
    io.save_animation(tmp_path / "one.gif", [np.zeros((4, 4))])
    assert io.load_image(tmp_path / "one.gif").shape[:2] == (4, 4)


def test_gif_parts_that_stand_still_do_not_flicker(tmp_path):
    """Everything that is the same in two frames is the same in the file."""
    image = pytest.importorskip("PIL.Image")
    frames = np.stack(list(moving_disc(4, 32, 48)))
    frames[..., 30:, :] = RNG.random((32, 18, 3))
    io.save_animation(tmp_path / "a.gif", frames)
    with image.open(tmp_path / "a.gif") as gif:
        pictures = []
        for index in range(4):
            gif.seek(index)
            pictures.append(np.asarray(gif.convert("RGB")))
    assert all(np.array_equal(picture[:, 30:], pictures[0][:, 30:]) for picture in pictures)


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_mp4(tmp_path, size):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = list(moving_disc(6, *size))
    io.save_animation(tmp_path / "a.mp4", frames, fps=10)
    command = [ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "a.mp4"), "-f", "rawvideo"]
    result = subprocess.run(
        [*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True, timeout=60
    )
    height, width = (side + side % 2 for side in size)
    log = result.stderr.decode()
    assert f"{width}x{height}" in log
    assert "10 fps" in log
    pictures = np.frombuffer(result.stdout, np.uint8).reshape(6, height, width, 3)
    error = np.abs(pictures[3][: size[0], : size[1]] / 255 - frames[3])
    assert error.mean() < 0.02


def test_bad_animations(tmp_path):
    frame = np.zeros((4, 4, 3))
    for name, frames, fps, message in [
        ("a.avi", [frame], 25, r"unknown format '\.avi', known are \.gif, \.mp4"),
        ("a.gif", [], 25, "must hold at least one picture"),
        ("a.gif", [frame, np.zeros((4, 5, 3))], 25, r"\[4, 4\] in frame 0 and \[4, 5\] in frame 1"),
        ("a.gif", [np.zeros((4, 4, 4))], 25, "Put it on a background first"),
        ("a.gif", [frame], 0, "`fps` must be more than 0"),
        ("a.gif", [frame], 60, "at most 50 in a GIF"),
    ]:
        with pytest.raises(ValueError, match=message):
            io.save_animation(tmp_path / name, frames, fps=fps)
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(OSError, match="cannot write"):
        io.save_animation(tmp_path / "taken.mp4", [frame])
