"""Depth survives a round trip through each format, and what does not fit is said."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import io

DEPTH = np.array([[0.0, 0.0014, 2.5], [1.25, 65.535, 3.1415926]], np.float32)


@pytest.mark.parametrize("suffix", [".npy", ".exr", ".tif", ".TIFF"])
def test_floats_come_back_exactly(tmp_path, suffix):
    pytest.importorskip("OpenEXR" if suffix == ".exr" else "PIL")
    path = tmp_path / "new" / f"a{suffix}"
    image = jr.Image(jnp.zeros((2, 3, 3)), jnp.zeros((2, 3)), jnp.asarray(DEPTH))
    io.save_depth(path, image)
    again = io.load_depth(path)
    assert again.dtype == jnp.float32
    np.testing.assert_array_equal(again, DEPTH)


def test_whole_numbers_are_millimetres(tmp_path):
    image = pytest.importorskip("PIL.Image")
    io.save_depth(tmp_path / "a.png", DEPTH)
    counts = np.asarray(image.open(tmp_path / "a.png"))
    assert counts.dtype == np.uint16
    assert counts.tolist() == [[0, 1, 2500], [1250, 65535, 3142]]
    np.testing.assert_allclose(io.load_depth(tmp_path / "a.png"), counts / 1000, rtol=1e-6)

    io.save_depth(tmp_path / "b.png", DEPTH / 10, scale=5000)
    np.testing.assert_allclose(
        io.load_depth(tmp_path / "b.png", scale=5000), DEPTH / 10, atol=0.5 / 5000
    )

    # NumPy's whole numbers count likewise, and a PNG of another program's is read.
    np.save(tmp_path / "c.npy", counts)
    np.testing.assert_allclose(io.load_depth(tmp_path / "c.npy"), counts / 1000, rtol=1e-6)


def test_depths_that_do_not_fit_are_warned_of(tmp_path):
    path = tmp_path / "a.png"
    for depth, message in [
        (70.0, r"a\.png: 1 of 1 depths are not in 0 to 65\.535 at 1000 counts"),
        (-1.0, "1 of 1 depths are not in 0 to"),
        (1e-4, "1 are less than half a count and become 0"),
    ]:
        with pytest.warns(UserWarning, match=message):
            io.save_depth(path, np.array([[depth]]))


def test_double_precision_is_kept_by_numpy(tmp_path):
    io.save_depth(tmp_path / "a.npy", DEPTH.astype(np.float64))
    assert np.load(tmp_path / "a.npy").dtype == np.float64


def test_bad_depth(tmp_path):
    for name, depth, options, message in [
        ("a.jpg", DEPTH, {}, "unknown format '.jpg' of depth"),
        ("a.png", DEPTH[..., None], {}, r"`depth` must be floats \[H, W\], got float32\[2, 3, 1\]"),
        ("a.png", DEPTH.astype(int), {}, "must be floats"),
        ("a.png", DEPTH * np.nan, {}, "must be finite"),
        ("a.png", DEPTH, {"scale": 0}, "`scale` must be positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            io.save_depth(tmp_path / name, depth, **options)
    picture = jr.Image(jnp.zeros((2, 3, 3)), jnp.zeros((2, 3)), jnp.full((2, 3), jnp.inf))
    with pytest.raises(ValueError, match=r"`depth\.depth` must be finite"):
        io.save_depth(tmp_path / "a.npy", dataclasses.replace(picture))

    with pytest.raises(FileNotFoundError, match=r"no depth file .*none\.png"):
        io.load_depth(tmp_path / "none.png")
    io.save_image(tmp_path / "eight.png", np.full((2, 2), 0.5))
    np.save(tmp_path / "three.npy", np.zeros((2, 2, 3)))
    (tmp_path / "text.npy").write_text("nothing")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name in ("eight.png", "three.npy", "text.npy", "objects.npy"):
        with pytest.raises(ValueError, match=rf"cannot read the depth .*{name}"):
            io.load_depth(tmp_path / name)


def test_an_exr_picture_is_no_depth(tmp_path):
    exr = pytest.importorskip("OpenEXR")
    path = tmp_path / "a.exr"
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    with exr.File(header, {"RGB": np.zeros((2, 2, 3), np.float32)}) as file:
        file.write(str(path))
    with pytest.raises(ValueError, match=r"it holds|it has the channels"):
        io.load_depth(path)
