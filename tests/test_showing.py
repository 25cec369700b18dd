"""How an `Image` shows itself in notebooks, and becomes 8 bits and pillow's."""

from __future__ import annotations

import io
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr


def _solid(colors, encoding="display"):
    """An `Image` of those colours `[..., H, W, C]`."""
    plane = jnp.ones(np.shape(colors)[:-1])
    return jr.Image(jnp.asarray(colors), plane, plane, encoding)


def test_to_uint8():
    want = np.array([[[0, 130, 255], [64, 5, 190]]])
    colors = want / 255
    np.testing.assert_array_equal(_solid(colors).to_uint8(), want)
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    np.testing.assert_array_equal(_solid(linear, "linear").to_uint8(), want)
    assert _solid(np.zeros((2, 3, 4, 5))).to_uint8().shape == (2, 3, 4, 5)


@pytest.mark.parametrize("colors", [[0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
def test_alpha_is_not_encoded(tmp_path, colors):
    image = _solid([[colors]], "linear")
    want = [188] * (len(colors) - 1) + [128]
    assert image.to_uint8().tolist() == [[want]]
    if len(colors) == 4:  # as the file has it
        jr.io.save_image(tmp_path / "a.png", image)
        read = jr.io.load_image(tmp_path / "a.png")
        np.testing.assert_allclose(255 * read, [[want]], atol=1e-3)


def test_to_uint8_says_what_it_clips():
    with pytest.warns(UserWarning, match=r"Image\.to_uint8: 1 of 3 values.*\(2\) and are clipped"):
        assert _solid([[[2.0, 0.0, 1.0]]]).to_uint8().tolist() == [[[255, 0, 255]]]
    with pytest.raises(ValueError, match="`rgb` must be finite"):
        _solid([[[np.nan, 0.0, 1.0]]]).to_uint8()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_notebooks_show_images(channels, mode):
    pillow = pytest.importorskip("PIL.Image")
    colors = np.random.default_rng(0).uniform(size=(2, 3, channels))
    image = _solid(colors)
    assert image.to_pil().mode == mode
    shown = np.asarray(pillow.open(io.BytesIO(image._repr_png_())))
    np.testing.assert_array_equal(shown.reshape(2, 3, channels), image.to_uint8())


def test_notebooks_show_batches_side_by_side():
    pillow = pytest.importorskip("PIL.Image")
    colors = np.arange(9.0)[:, None, None, None] / 9 * np.ones((2, 3, 3))
    shown = np.asarray(pillow.open(io.BytesIO(_solid(colors)._repr_png_())))
    assert shown.shape == (4, 24, 3)  # eight in the first row, one in the second
    of_rows = shown.reshape(2, 2, 8, 3, 3).swapaxes(1, 2).reshape(16, 2, 3, 3)
    np.testing.assert_array_equal(of_rows[:9], _solid(colors).to_uint8())
    assert not of_rows[9:].any()
    with pytest.raises(ValueError, match=r"one picture.*Of a batch take one"):
        _solid(colors).to_pil()


def test_notebooks_show_bright_images_in_silence_and_features_as_text():
    assert _solid([[[2.0, 0.0, 1.0]]])._repr_png_() is not None
    assert _solid(np.zeros((1, 1, 7)))._repr_png_() is None


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    image = _solid(np.zeros((1, 1, 3)))
    assert image._repr_png_() is None
    with pytest.raises(ImportError, match="pip install pillow"):
        image.to_pil()
