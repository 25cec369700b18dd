"""Pictures as numbers: what pillow reads, whatever the colours and bits of the file.

Pillow has no mode for 16-bit colours: it hands over the high byte of each number. The low bytes are
the high ones of the other byte order, so such a picture is decoded twice.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrender._formats.raw import optional

MOST_PIXELS = 2**30  # 32768 x 32768; pillow itself refuses more than 178,956,970
ORIENTATION, BITS, SAMPLE_FORMAT = 274, 258, 339  # tags of EXIF and TIFF
SIGNED = 2  # a sample format
READY = ("L", "LA", "RGB", "RGBA", "F")
GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")
BACKWARDS = {6: 8, 8: 6}  # the orientation that undoes one; the others undo themselves

_lock = threading.Lock()


def decode_picture(source: Path | bytes, *, upright: bool) -> np.ndarray:
    """A picture as floats `[H, W, C]`, in JAX's default float type.

    Whole numbers are divided by the largest of their type; colours become grey, rgb, or either with
    alpha; floats are what they are.

    Args:
        source: a file, or its bytes.
        upright: whether the picture is turned as its EXIF orientation says, or kept as it is
            stored.

    Raises:
        ValueError: it is larger than 2^30 pixels, or stored in a way that is not read.
    """
    with _open(source) as picture:
        bits, signed = _sample(picture)  # before EXIF is read, for which pillow reads all of a PNG
        mode = _raw_mode(picture)
        orientation = _orientation(picture)
        values = _values(source, picture, mode, bits, signed)

        # Pillow has turned TIFF by now, and nothing else.
        done = _orientation(picture) != orientation
    if upright and not done:
        return turned(values, orientation)
    if done and not upright:
        return turned(values, BACKWARDS.get(orientation, orientation))
    return values


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """A picture `[H, W, C]` as it is to be seen, by the number that EXIF gives its orientation."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def _orientation(picture: Any) -> int:
    """The number of EXIF, or 1, upright, where there is none that can be read."""
    with contextlib.suppress(Exception):  # damaged EXIF data are no reason to refuse a picture
        found = picture.getexif().get(ORIENTATION, 1)
        return found if found in range(1, 9) else 1
    return 1


def _open(source: Path | bytes) -> Any:
    """Opens a picture of up to `MOST_PIXELS`."""
    image = optional("PIL.Image", package="pillow", purpose="Reading pictures")

    # Hand over bytes: of a path, pillow 13 maps an uncompressed TIFF to memory, and lays out one
    # that lies on its side as if it stood.
    data = io.BytesIO(source if isinstance(source, bytes) else source.read_bytes())
    with _lock:
        most, image.MAX_IMAGE_PIXELS = image.MAX_IMAGE_PIXELS, None
        try:
            picture = image.open(data)
        except image.UnidentifiedImageError as error:
            raise ValueError("it is no picture of a kind that is known") from error
        finally:
            image.MAX_IMAGE_PIXELS = most
    width, height = picture.size
    if width * height > MOST_PIXELS:
        picture.close()
        raise ValueError(f"it has {width} x {height} pixels, more than 2^30")
    return picture


def _values(source: Path | bytes, picture: Any, mode: str, bits: int, signed: bool) -> np.ndarray:
    """The numbers of a picture as floats, by its mode, and how the file has them."""
    if bits == 16 and picture.mode in ("RGB", "RGBA", "LA"):
        return _unit(_sixteen_bit(source, picture, mode), 65535)
    if picture.mode in GREY_16:
        return _unit(np.asarray(picture), 65535)
    if picture.mode == "I":
        pixels = np.asarray(picture)
        pixels = pixels if signed or bits < 32 else pixels.view(np.uint32)
        return _unit(pixels, 2 ** (bits - 1) - 1 if signed else 2**bits - 1)
    if picture.mode == "F":
        return _unit(np.asarray(picture), 1)
    return _unit(np.asarray(_ready(picture)), 255)


def _unit(pixels: np.ndarray, most: int) -> np.ndarray:
    """Numbers over the largest of their type, `[H, W, C]`."""
    dtype = np.float64 if most > 65535 else jnp.result_type(float)
    values = pixels.astype(dtype)
    values /= most
    values = values.astype(jnp.result_type(float), copy=False)
    return values[..., None] if values.ndim == 2 else values


def _sample(picture: Any) -> tuple[int, bool]:
    """How many bits a number of the file has, and whether it has a sign."""
    tags = getattr(picture, "tag_v2", None)
    if tags is not None:
        bits = tags.get(BITS, (8,))
        kind = tags.get(SAMPLE_FORMAT, (1,))
        return int(np.ravel(bits)[0]), int(np.ravel(kind)[0]) == SIGNED
    if picture.mode == "I":
        return 16, False  # of PNG by older pillows, and of PGM
    mode = _raw_mode(picture)
    return 16 if ";16" in mode else 8, False


def _raw_mode(picture: Any) -> str:
    """How the bytes of the file are laid out, in pillow's words; "" where it does not say."""
    if not getattr(picture, "tile", None):
        return ""
    arguments = picture.tile[0][3]
    mode = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
    return mode if isinstance(mode, str) else ""


def _sixteen_bit(source: Path | bytes, picture: Any, mode: str) -> np.ndarray:
    """16-bit colours, `[H, W, C]`.

    Raises:
        ValueError: the planes of the file stand apart.
    """
    if ";16" not in mode:
        raise ValueError("16-bit colours whose planes stand apart are not read")
    order = mode[-1] if mode[-1] in "BL" else "BL"[sys.byteorder == "little"]
    with _open(source) as other:
        if mode.startswith("LA"):
            # Grey and alpha have as many bytes as 8-bit rgba.
            other._mode = "RGBA"
            _read_as(other, "RGBA")
            pixels = np.asarray(other).astype(np.uint16)
            return pixels[..., 0::2] * 256 + pixels[..., 1::2]
        _read_as(other, mode[:-1] + ("L" if order == "B" else "B"))
        high, low = (np.asarray(part).astype(np.uint16) for part in (picture, other))
        return high * 256 + low


def _read_as(picture: Any, mode: str) -> None:
    """Lets pillow take the bytes of a picture that is not read yet for another layout."""
    picture.tile = [
        (codec, box, place, mode if isinstance(arguments, str) else (mode, *arguments[1:]))
        for codec, box, place, arguments in picture.tile
    ]


def _ready(picture: Any) -> Any:
    """An 8-bit picture as grey or rgb, with or without alpha."""
    clear = "transparency" in picture.info
    if picture.mode in READY and not clear:
        return picture
    if picture.mode == "LAB":
        cms = optional("PIL.ImageCms", package="pillow", purpose="Reading pictures in Lab")
        profiles = cms.createProfile("LAB"), cms.createProfile("sRGB")
        return cms.profileToProfile(picture, *profiles, outputMode="RGB")
    if picture.mode in ("1", "L"):
        return picture.convert("LA" if clear else "L")
    if picture.mode == "La":
        return picture.convert("LA")
    has_alpha = picture.mode in ("PA", "RGBA", "RGBa")
    has_alpha |= picture.mode == "P" and picture.palette.mode == "RGBA"
    return picture.convert("RGBA" if clear or has_alpha else "RGB")
