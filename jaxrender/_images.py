"""Pictures and animations on disk, through pillow, imageio and ffmpeg.

Files hold display-encoded colours (sRGB); where we write, 8 bits of them. Here colours are floats
in [0, 1], in either encoding. The writers, and what shows an `Image`, are the places where colours
are clipped and rounded.
"""

from __future__ import annotations

import contextlib
import io
import math
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_choice, check_flag, check_path
from jaxrender._choices import ENCODINGS, Encoding
from jaxrender._color import recode_pixels
from jaxrender._formats.pictures import decode_picture
from jaxrender._formats.raw import MissingPackageError, optional
from jaxrender._formats.saving import replacing, write_files
from jaxrender._pixels import CLIP_HINT, clipped, eight_bit, warn_of_clipping
from jaxrender._types import Image

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
ANIMATIONS = (".gif", ".mp4")
PALETTE_FRAMES = 16  # the palette of a GIF is chosen from about this many of its frames


def load_image(
    path: str | Path, *, colors: Encoding = "display", upright: bool = True
) -> jax.Array:
    """Reads a picture as floats in [0, 1].

    The numbers are those in the file, divided by the largest of their type, 8, 16 or 32 bits;
    floats of a TIFF stay as they are. CMYK, YCbCr, Lab and palettes become rgb. Files are taken to
    be display-encoded (sRGB): "linear" decodes grey and colours, as `to_linear` does, and never
    alpha. Of an animation it is the first frame. A picture may have up to 2^30 pixels.

    A photograph whose EXIF data say that the camera was held sideways is turned upright, as viewers
    and OpenCV show it. With `upright=False` rows and columns are those of the file, as COLMAP reads
    it, and as the textures of mesh files always are.

    Args:
        path: a picture file.
        colors: "display", the values of the file, or "linear", in proportion to light.
        upright: whether the EXIF orientation is followed.

    Returns:
        `[H, W, C]`, row 0 the top; `C` is 1 (grey), 2 (grey, alpha), 3 (rgb) or 4 (rgba).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a picture that can be read, or `colors` is neither.
        ImportError: pillow is not installed.
    """
    check_choice("colors", colors, ENCODINGS)
    check_flag("upright", upright)
    pixels = recode_pixels(
        read_pixels(check_path("path", path), upright=upright), "display", colors
    )
    return jnp.asarray(pixels, jnp.result_type(float))


def save_image(path: str | Path, image: Any, *, encoding: Encoding | None = None) -> None:
    """Writes a picture, display-encoded, clipped to [0, 1] and rounded to 8 bits.

    Display values are written as they are, linear ones encoded first, as `to_display` does, but
    for alpha. Values that are clipped by more than rounding are warned of. A folder that is not
    there is made.

    Args:
        path: the extension is the format: .png, .jpg, .bmp, .tif or .webp.
        image: `[H, W]` or `[H, W, 1]` grey, `[H, W, 3]` rgb or `[H, W, 4]` rgba, row 0 the top; or
            an `Image`, whose `rgb` is written, its background included. Alpha is straight, as PNG
            has it: `Image.to_rgba()` makes such a picture.
        encoding: of an array, "display" (None is that) or "linear"; an `Image` knows its own.

    Raises:
        ValueError: unknown format, wrong shape, whole numbers, NaN or infinity, or an `encoding`
            that is not the `Image`'s.
        OSError: the file cannot be written.
        ImportError: imageio is not installed.
    """
    path = check_path("path", path)
    if path.suffix.lower() not in PICTURES:
        raise ValueError(_unknown(path, PICTURES, "Write animations with `save_animation`."))
    values = _display_values("image", image, encoding)
    warn_of_clipping(path, [clipped(values)], CLIP_HINT)
    pixels = _eight_bit(values)
    if pixels.ndim == 3 and pixels.shape[-1] == 4 and path.suffix.lower() in (".jpg", ".jpeg"):
        raise ValueError(f"{path}: JPEG has no alpha. Pass rgb, or write a PNG.")
    imageio = _imageio()
    # Pillow does not look whether all of a JPEG could be written, so have its bytes.
    suffix = path.suffix.lower()
    write_files({path: imageio.imwrite("<bytes>", pixels, extension=suffix, plugin="pillow")})


def save_animation(
    path: str | Path,
    frames: Iterable[Any] | Image,
    *,
    fps: float = 25,
    encoding: Encoding | None = None,
) -> None:
    """Writes an animation as GIF or MP4, display-encoded, clipped to [0, 1], rounded to 8 bits.

    A GIF repeats for ever. All its frames share one palette of 256 colours without dithering,
    so still parts do not flicker and the file is small. It counts time in hundredths of a
    second: each frame's time is rounded such that the whole keeps its length. An MP4 (H.264) is
    converted by BT.709, and says so; it has even sides: the last row or column of an odd size is
    repeated once, nothing is scaled. Display values are written as they are, linear ones encoded
    first. Values that are clipped by more than rounding are warned of, once. A folder that is not
    there is made.

    Args:
        path: ends in .gif or .mp4.
        frames: an array `[N, H, W, C]` or pictures `[H, W]`, `[H, W, 1]` (grey) or `[H, W, 3]`
            (rgb), all of one size; or an `Image` of N pictures, or `Image`s.
        fps: frames per second; a GIF shows at most 50.
        encoding: of arrays, "display" (None is that) or "linear"; an `Image` knows its own.

    Raises:
        ValueError: unknown format, no frames, frames of different or wrong shapes, NaN or
            infinity, an `encoding` that is not the `Image`'s, or `fps` out of range.
        OSError: the file cannot be written.
        ImportError: pillow (GIF) or imageio-ffmpeg (MP4) is not installed.
    """
    path = check_path("path", path)
    extension = path.suffix.lower()
    if extension not in ANIMATIONS:
        raise ValueError(_unknown(path, ANIMATIONS, "Write pictures with `save_image`."))
    rate = math.nan
    with contextlib.suppress(TypeError, ValueError):
        rate = float(fps)
    if not 0 < rate <= (50 if extension == ".gif" else 1000):
        most = "50 in a GIF" if extension == ".gif" else "1000"
        raise ValueError(f"`fps` must be more than 0 and at most {most}, got {fps!r}.")
    if isinstance(frames, Image):
        encoding = _encoding("frames", frames, encoding)
        frames = np.asarray(frames.rgb)
        if frames.ndim < 4:
            raise ValueError(
                f"`frames` must be an Image of N pictures [N, H, W, C], got one, "
                f"{list(frames.shape)}. Pass [image], or write it with `save_image`."
            )
    elif not isinstance(frames, Iterable):
        raise ValueError(
            f"`frames` must be pictures, got {type(frames).__name__}. Pass an array [N, H, W, C], "
            "or a list."
        )

    # Keep no more of each frame than its 8 bits, and of what is clipped the ends.
    pictures, found = [], []
    for index, frame in enumerate(frames):
        values = _display_values(f"frames[{index}]", frame, encoding)
        found.append(clipped(values))
        pictures.append(_rgb_pixels(index, values))
    if not pictures:
        raise ValueError("`frames` must hold at least one picture, got none.")
    for index, picture in enumerate(pictures):
        if picture.shape != pictures[0].shape:
            raise ValueError(
                f"`frames` must have one size, got {list(pictures[0].shape[:2])} in frame 0 and "
                f"{list(picture.shape[:2])} in frame {index}."
            )
    warn_of_clipping(path, found, CLIP_HINT)
    if extension == ".gif":
        write_files({path: _gif(pictures, rate)})
    else:
        with replacing(path) as (part,):
            _write_mp4(part, pictures, rate)


def png(name: Path | str, values: np.ndarray) -> bytes:
    """A picture of display values as the bytes of a PNG, in 8 bits; `name` is named if it clips."""
    warn_of_clipping(name, [clipped(values)], CLIP_HINT)
    return _imageio().imwrite("<bytes>", _eight_bit(values), extension=".png", plugin="pillow")


def read_pixels(source: Path | bytes, *, upright: bool = False) -> np.ndarray:
    """A picture, of a file or its bytes, as floats `[H, W, C]`; see `load_image`."""
    name = f"of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"no picture file {source}")
    try:
        return decode_picture(source, upright=upright)
    except (MissingPackageError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"cannot read the picture {name}: {error}") from error


def read_rgb(source: Path | bytes) -> np.ndarray:
    """A picture as `[H, W, 3]`: grey is repeated, alpha dropped."""
    pixels = read_pixels(source)
    return np.repeat(pixels[..., :1], 3, axis=-1) if pixels.shape[-1] < 3 else pixels[..., :3]


def _imageio() -> Any:
    return optional("imageio.v3", package="imageio", purpose="Writing pictures")


def _unknown(path: Path, known: tuple[str, ...], hint: str) -> str:
    return f"{path}: unknown format {path.suffix!r}, known are {', '.join(known)}. {hint}"


def _encoding(name: str, image: Image, encoding: Encoding | None) -> Encoding:
    """The encoding of an `Image`, which knows its own."""
    if encoding not in (None, image.encoding):
        raise ValueError(
            f"`encoding` must be that of `{name}`, {image.encoding!r}, got {encoding!r}. Pass the "
            "Image alone, or its `rgb` and the encoding that you know it to have."
        )
    return image.encoding


def _display_values(name: str, image: Any, encoding: Encoding | None) -> np.ndarray:
    """Checks a picture, and encodes it where it is linear: `[H, W]` or `[H, W, 1, 3 or 4]`."""
    check_choice("encoding", encoding, (None, *ENCODINGS))
    if isinstance(image, Image):
        encoding, name, image = _encoding(name, image, encoding), f"{name}.rgb", image.rgb
    values = np.asarray(image)
    if values.dtype == bool:
        values = values.astype(np.float32)
    sizes_fit = values.ndim == 2 or (values.ndim == 3 and values.shape[-1] in (1, 3, 4))
    if not sizes_fit or not values.size or not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be floats in [0, 1], [H, W] or [H, W, 1, 3 or 4], got "
            f"{values.dtype.name}{list(values.shape)}. Divide 8-bit values by 255."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` must be finite, got NaN or infinity. Pass finite numbers.")
    return recode_pixels(values, encoding or "display", "display")


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """A checked picture in 8 bits: `[H, W]`, `[H, W, 3]` or `[H, W, 4]`."""
    pixels = eight_bit(values)
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels


def _rgb_pixels(index: int, values: np.ndarray) -> np.ndarray:
    """A checked frame as 8-bit rgb."""
    pixels = _eight_bit(values)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.shape[-1] == 4:
        raise ValueError(
            f"`frames[{index}]` must have 1 or 3 channels, got rgba. "
            "Put it on a background first: rgb * alpha + background * (1 - alpha)."
        )
    return pixels


def _gif(pictures: list[np.ndarray], fps: float) -> bytes:
    image = optional("PIL.Image", package="pillow", purpose="Writing a GIF")

    # Choose one palette for all frames.
    step = -(-len(pictures) // PALETTE_FRAMES)
    sample = image.fromarray(np.concatenate(pictures[::step]))
    palette = sample.quantize(256, method=image.Quantize.MEDIANCUT, dither=image.Dither.NONE)
    frames = [
        image.fromarray(picture).quantize(palette=palette, dither=image.Dither.NONE)
        for picture in pictures
    ]

    # Round the times at which frames end, not their lengths, so that errors do not add up.
    ends = np.rint(np.arange(len(frames) + 1) * 100 / fps)
    durations = [int(hundredths) * 10 for hundredths in np.diff(ends)]
    file = io.BytesIO()
    options = {"duration": durations, "loop": 0, "disposal": 1}
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


def _write_mp4(path: Path, pictures: list[np.ndarray], fps: float) -> None:
    program = optional("imageio_ffmpeg", package="imageio-ffmpeg", purpose="Writing an MP4")

    # Repeat the last row and column of odd sizes: the format stores colour at half resolution.
    height, width = pictures[0].shape[:2]
    margins = ((0, height % 2), (0, width % 2), (0, 0))
    size = f"{width + width % 2}x{height + height % 2}"

    # Hand the raw frames to ffmpeg, one at a time.
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "-"]
    video = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]

    # Convert by BT.709 and say so: without, ffmpeg converts by BT.601, and players guess by size.
    video += ["-vf", "scale=in_range=pc:out_range=tv:out_color_matrix=bt709"]
    for name in ("-colorspace", "-color_primaries", "-color_trc"):
        video += [name, "bt709"]
    video += ["-color_range", "tv"]
    command = [program.get_ffmpeg_exe(), "-y", "-v", "error", *raw, *video, str(path.absolute())]
    with tempfile.TemporaryFile() as log:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log) as process:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # the log says why it ended
                for picture in pictures:
                    process.stdin.write(np.pad(picture, margins, mode="edge").tobytes())
        if process.returncode:
            log.seek(0)
            reason = log.read().decode(errors="replace").strip()
            raise OSError(reason)
