"""Pictures and animations survive a round trip, and what is wrong with a file is said."""

from __future__ import annotations

import struct
import subprocess
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import io
from jaxrender._formats import pictures

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


# What a picture of colours may be stored as, and the colours that it then shows.
RGB = np.array(
    [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(255, 255, 255), (0, 0, 0), (128, 64, 32)]]
)


def test_cmyk_and_other_colors(tmp_path):
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(RGB.astype(np.uint8))
    flat = [image.new("CMYK", (9, 9), ink) for ink in ((0, 255, 255, 0), (0, 0, 0, 127))]
    for name, wanted, saved, error in [
        ("a.tif", RGB, picture.convert("CMYK"), 0),
        ("b.jpg", np.broadcast_to((255, 0, 0), (9, 9, 3)), flat[0], 2),
        ("c.jpg", np.broadcast_to(128, (9, 9, 3)), flat[1], 2),
        ("d.tif", RGB, picture.convert("YCbCr"), 2),
        ("e.png", RGB, picture.quantize(6), 0),
        ("f.bmp", RGB, picture, 0),
    ]:
        saved.save(tmp_path / name)
        found = np.asarray(io.load_image(tmp_path / name)) * 255
        assert found.shape == wanted.shape, name
        np.testing.assert_allclose(found, wanted, atol=error + 1e-4, err_msg=name)

    # Red, white and black in Lab: (L, a, b) = (53.2, 80.1, 67.2), (100, 0, 0), (0, 0, 0).
    lab = image.new("LAB", (3, 1))
    for column, color in enumerate([(136, 208, 195), (255, 128, 128), (0, 128, 128)]):
        lab.putpixel((column, 0), color)
    lab.save(tmp_path / "g.tif")
    found = np.asarray(io.load_image(tmp_path / "g.tif")) * 255
    assert np.abs(found - [[(255, 0, 0), (255, 255, 255), (0, 0, 0)]]).max() < 12


def test_transparent_palette_and_color(tmp_path):
    """A palette, and a colour that stands for nothing, have alpha."""
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(RGB.astype(np.uint8)).quantize(6)
    picture.save(tmp_path / "a.png", transparency=picture.getpixel((1, 0)))
    image.fromarray(RGB.astype(np.uint8)).save(tmp_path / "b.png", transparency=(0, 255, 0))
    image.fromarray(RGB[..., 0].astype(np.uint8)).save(tmp_path / "c.png", transparency=128)
    for name, place in (("a.png", (0, 1)), ("b.png", (0, 1)), ("c.png", (1, 2))):
        found = np.asarray(io.load_image(tmp_path / name))
        assert found.shape[-1] in (2, 4)
        assert found[place][-1] == 0
        assert found[..., -1].sum() == 5


def png_of_16_bits(pixels):
    """A PNG file, written out."""

    def chunk(kind, data):
        checked = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checked

    height, width, count = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_sixteen_bits_are_kept(tmp_path, count):
    pixels = RNG.integers(0, 65536, (5, 7, count)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(png_of_16_bits(pixels))
    found = np.asarray(io.load_image(tmp_path / "a.png"))
    np.testing.assert_allclose(found, pixels / 65535, rtol=1e-6)


def tiff(pixels, sign, *, order="<", planes=False):
    """A TIFF file without compression, written out; `sign` is 1, 2 (signed) or 3 (floats)."""
    height, width, count = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    if planes:
        pixels = np.moveaxis(pixels, 2, 0)
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    size = len(data) // (count if planes else 1)
    values = {
        256: [width],
        257: [height],
        258: [bits] * count,
        259: [1],
        262: [2 if count >= 3 else 1],
        273: [0] * (count if planes else 1),  # where the strips are, below
        277: [count],
        278: [height],
        279: [size] * (count if planes else 1),
        284: [2 if planes else 1],
        339: [sign] * count,
    }
    if count == 4:
        values[338] = [2]
    place = 8 + 2 + 12 * len(values) + 4
    behind = b""
    entries = []
    for tag in sorted(values):
        numbers = values[tag]
        if tag == 273:
            start = place + sum(4 * len(v) for v in values.values() if len(v) > 1)
            numbers = [start + k * size for k in range(len(numbers))]
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, there = struct.pack(f"{order}I", place + len(behind)), packed
            behind += there
        entries.append(struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    table = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return head + table + behind + data


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_numbers(tmp_path, order):
    random = np.random.default_rng(5)
    path = tmp_path / "a.tif"
    for dtype, sign, most in [
        (np.uint8, 1, 255),
        (np.uint16, 1, 65535),
        (np.int16, 2, 32767),
        (np.uint32, 1, 2**32 - 1),
        (np.int32, 2, 2**31 - 1),
        (np.float32, 3, 1),
    ]:
        pixels = random.integers(0, most, (4, 5, 1), endpoint=True).astype(dtype)
        if sign == 3:
            pixels = random.uniform(-2, 3, (4, 5, 1)).astype(dtype)
        path.write_bytes(tiff(pixels, sign, order=order))
        if order == ">" and dtype == np.uint32:  # which pillow does not know
            with pytest.raises(ValueError, match="cannot read the picture"):
                io.load_image(path)
            continue
        found = np.asarray(io.load_image(path))
        np.testing.assert_allclose(found, pixels / most, rtol=1e-6, err_msg=np.dtype(dtype).name)
    for count in (3, 4):
        pixels = random.integers(0, 65536, (4, 5, count)).astype(np.uint16)
        path.write_bytes(tiff(pixels, 1, order=order))
        found = np.asarray(io.load_image(path))
        np.testing.assert_allclose(found, pixels / 65535, rtol=1e-6)


def test_tiff_of_planes(tmp_path):
    pixels = RNG.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(pixels, 1, planes=True))
    np.testing.assert_allclose(io.load_image(tmp_path / "a.tif"), pixels / 255, rtol=1e-6)
    (tmp_path / "a.tif").write_bytes(tiff(pixels.astype(np.uint16), 1, planes=True))
    with pytest.raises(ValueError, match="16-bit colours whose planes stand apart"):
        io.load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_exif_orientation(tmp_path, suffix):
    """Where the first row and column of the file are seen, by the words of the standard."""
    image = pytest.importorskip("PIL.Image")
    stored = np.repeat(np.repeat(np.array([[0, 60, 120], [180, 240, 30]]), 8, 0), 8, 1)
    sides = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
    sides |= {5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}
    for number, (row, column) in ((n, words.split()) for n, words in sides.items()):
        exif = image.Exif()
        exif[274] = number
        path = tmp_path / f"{number}{suffix}"
        picture = image.fromarray(stored.astype(np.uint8))
        picture.save(path, exif=exif, **({"quality": 95} if suffix == ".jpg" else {}))
        seen = stored if row in ("top", "bottom") else stored.T
        if "bottom" in (row, column):
            seen = seen[::-1]
        if "right" in (row, column):
            seen = seen[:, ::-1]
        found = np.asarray(io.load_image(path))[..., 0] * 255
        np.testing.assert_allclose(found, seen, atol=12 if suffix == ".jpg" else 1e-4)
        found = np.asarray(io.load_image(path, upright=False))[..., 0] * 255
        np.testing.assert_allclose(found, stored, atol=12 if suffix == ".jpg" else 1e-4)


def test_large_pictures_are_read(tmp_path, monkeypatch):
    """Whatever pillow's own limit is, which stays what it was."""
    image = pytest.importorskip("PIL.Image")
    io.save_image(tmp_path / "a.png", np.full((40, 50), 0.2))
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_allclose(io.load_image(tmp_path / "a.png"), 0.2, atol=1e-6)
    assert image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1999)
    with pytest.raises(ValueError, match=r"a\.png: it has 50 x 40 pixels, more than"):
        io.load_image(tmp_path / "a.png")


@pytest.mark.slow
def test_straight_alpha():
    rgb = np.array([[[0.3, 0.2, 0.1], [0.5, 0.5, 0.5], [1.0, 0.0, 0.0]]])
    alpha = np.array([[0.5, 0.0, 1.0]])
    background = np.array([0.5, 0.5, 0.5])
    mixed = jnp.asarray(rgb * alpha[..., None] + background * (1 - alpha[..., None]))
    depth = jnp.asarray(alpha, jnp.float32)
    image = jr.Image(mixed, depth, depth)
    found = image.to_rgba(background)
    np.testing.assert_allclose(found[..., 3], alpha)
    np.testing.assert_allclose(found[0, ::2, :3], rgb[0, ::2], atol=1e-6)
    np.testing.assert_array_equal(found[0, 1, :3], 0)
    again = np.asarray(found)[..., :3] * alpha[..., None] + background * (1 - alpha[..., None])
    np.testing.assert_allclose(again, mixed, atol=1e-6)
    premultiplied = jr.Image(jnp.asarray(rgb * alpha[..., None]), depth, depth)
    np.testing.assert_allclose(premultiplied.to_rgba()[0, ::2, :3], rgb[0, ::2], atol=1e-6)
    gradient = jax.grad(lambda rgb: jr.Image(rgb, depth, depth).to_rgba()[..., :3].sum())(mixed)
    np.testing.assert_allclose(gradient[0, :, 0], [2, 1000, 1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"`background` must be a number, \[3\] or \[1, 3, 3\]"):
        image.to_rgba(jnp.zeros(2))


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


@pytest.mark.slow
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


def test_mp4_is_bt709(tmp_path):
    """Its colours come back where a player converts as the file says, and it says BT.709."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    colors = np.array([(255, 0, 0), (0, 200, 0), (0, 0, 255), (240, 200, 40), (128, 128, 128)])
    frame = np.repeat(np.repeat(colors[None], 32, 0), 32, 1)
    io.save_animation(tmp_path / "a.mp4", [frame / 255] * 2)
    decode = [ffmpeg, "-i", str(tmp_path / "a.mp4"), "-f", "rawvideo"]
    plain = subprocess.run([*decode, "-pix_fmt", "yuv444p", "-"], capture_output=True, check=True)
    assert "yuv420p(tv, bt709" in plain.stderr.decode()

    # Decode the middle of each colour by the numbers of BT.709, in their limited range.
    planes = np.frombuffer(plain.stdout, np.uint8).reshape(2, 3, 32, 160)[0, :, 16, 16::32]
    y, cb, cr = (planes.astype(float) - [[16], [128], [128]]) / [[219], [224], [224]]
    red, blue = y + 1.5748 * cr, y + 1.8556 * cb
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    found = 255 * np.stack([red, green, blue], -1)
    assert np.abs(found - colors).max() < 4


def test_bad_animations(tmp_path):
    frame = np.zeros((4, 4, 3))
    for name, frames, fps, message in [
        ("a.avi", [frame], 25, r"unknown format '\.avi', known are \.gif, \.mp4"),
        ("a.gif", [], 25, "must hold at least one picture"),
        ("a.gif", [frame, np.zeros((4, 5, 3))], 25, r"\[4, 4\] in frame 0 and \[4, 5\] in frame 1"),
        ("a.gif", [np.zeros((4, 4, 4))], 25, "Put it on a background first"),
        ("a.gif", jr.Image(frame, frame[..., 0], frame[..., 0]), 25, r"got one, \[4, 4, 3\]"),
        ("a.gif", [frame], 0, "`fps` must be more than 0"),
        ("a.gif", [frame], 60, "at most 50 in a GIF"),
    ]:
        with pytest.raises(ValueError, match=message):
            io.save_animation(tmp_path / name, frames, fps=fps)
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(OSError, match="cannot write"):
        io.save_animation(tmp_path / "taken.mp4", [frame])
