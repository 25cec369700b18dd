"""Depth on disk, as numbers: NumPy, OpenEXR and TIFF floats, or 16-bit PNG.

Shape legend: `H, W` image.
"""

from __future__ import annotations

import io
import math
import numbers
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_path
from jaxrender._formats.raw import BeyondError, MissingPackageError, floats, naming, optional
from jaxrender._formats.saving import replacing, write_files
from jaxrender._types import Image

DEPTHS = (".npy", ".exr", ".tif", ".tiff", ".png")
MOST = 65535  # that 16 bits count


def save_depth(path: str | Path, depth: Any, *, scale: float = 1000.0) -> None:
    """Writes depth as it is, not as brightness.

    .npy holds the array in its own type, .exr (channel `Z`) and .tif floats of single precision,
    and .png whole numbers of 16 bits, `round(scale * depth)`: millimetres, if the scene is in
    metres, as depth cameras and data sets have them. There 0 is where nothing is, as in an `Image`
    drawn without `far`. Depths that do not fit are warned of. A folder that is not there is made.

    Args:
        path: ends in .npy, .exr, .tif or .png.
        depth: `[H, W]` scene units; or an `Image`, whose `depth` is written.
        scale: of a PNG, counts per scene unit.

    Raises:
        ValueError: unknown format, wrong shape, NaN or infinity, or a `scale` that is not positive.
        OSError: the file cannot be written.
        ImportError: OpenEXR (.exr) or pillow (.tif, .png) is not installed.

    Example:
        >>> import jaxrender as jr
        >>> mesh = jr.shapes.cube()
        >>> image = jr.render(mesh, jr.frame(mesh), image_size=(16, 16))
        >>> save_depth("depth.npy", image)  # doctest: +SKIP
    """
    path = check_path("path", path)
    suffix = _suffix(path)
    _check_scale(scale)
    name = "depth"
    if isinstance(depth, Image):
        name, depth = "depth.depth", depth.depth
    values = np.asarray(depth)
    if values.ndim != 2 or not values.size or not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be floats [H, W], got {values.dtype.name}{list(values.shape)}. Pass "
            "an Image, or its depth."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` must be finite, got NaN or infinity. Pass 0 for nothing.")

    # Round to whole numbers before the file is touched, so that a warning may be an error.
    counts = _counted(path, values, scale) if suffix == ".png" else None
    single = np.ascontiguousarray(values, np.float32)
    if suffix == ".exr":
        with replacing(path) as (part,):
            _write_exr(part, single)
        return
    file = io.BytesIO()
    if suffix == ".npy":
        np.save(file, values, allow_pickle=False)
    elif suffix == ".tif":
        _pillow().fromarray(single).save(file, "TIFF", compression="tiff_adobe_deflate")
    else:
        _pillow().fromarray(counts).save(file, "PNG")
    write_files({path: file.getvalue()})


def load_depth(path: str | Path, *, scale: float = 1000.0) -> jax.Array:
    """Reads what `save_depth` writes, and depth of others in these formats.

    Args:
        path: ends in .npy, .exr (its channel `Z`, or its only one), .tif or .png (16 bits).
        scale: of whole numbers, counts per scene unit.

    Returns:
        `[H, W]` scene units, in JAX's default float type.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown format, the file is not one picture of depth, or a `scale` that is not
            positive.
        ImportError: OpenEXR (.exr) or pillow (.tif, .png) is not installed.

    Example:
        >>> depth = load_depth("depth.png")  # doctest: +SKIP
    """
    path = check_path("path", path)
    suffix = _suffix(path)
    _check_scale(scale)
    if not path.is_file():
        raise FileNotFoundError(f"no depth file {path}")
    readers: dict[str, Callable[[], np.ndarray]] = {
        ".npy": lambda: np.load(path, allow_pickle=False),
        ".exr": lambda: _read_exr(path),
        ".tif": lambda: _read_picture(path),
        ".png": lambda: _read_picture(path),
    }
    try:
        values = readers[suffix]()
    except MissingPackageError:
        raise
    except Exception as error:
        raise ValueError(f"cannot read the depth {path}: {error}") from error
    known = values.dtype.kind in "iuf"
    if values.ndim != 2 or not values.size or not known or values.dtype.itemsize == 1:
        raise ValueError(
            f"cannot read the depth {path}: it holds {values.dtype.name}{list(values.shape)}, and "
            "depth is floats, or whole numbers of 16 bits and more, [H, W]. Read pictures with "
            "`load_image`."
        )
    whole = values.dtype.kind in "iu"
    with naming(f"the depth {path}", BeyondError):
        return floats(values / scale if whole else values)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in DEPTHS:
        raise ValueError(
            f"{path}: unknown format {path.suffix!r} of depth, known are {', '.join(DEPTHS)}."
        )
    return ".tif" if suffix == ".tiff" else suffix


def _check_scale(scale: Any) -> None:
    if not (isinstance(scale, numbers.Real) and 0 < float(scale) < math.inf):
        raise ValueError(
            f"`scale` must be positive, counts per scene unit, got {scale!r}. Pass 1000 for "
            "millimetres of a scene in metres."
        )


def _counted(path: Path, values: np.ndarray, scale: float) -> np.ndarray:
    """Depths as whole numbers of 16 bits; warns of those that do not fit."""
    counts = np.rint(values.astype(np.float64) * scale)
    beyond = int(((counts > MOST) | (counts < 0)).sum())
    lost = int(((counts == 0) & (values != 0)).sum())
    if beyond or lost:
        told = [f"{beyond:,} of {values.size:,} depths are not in 0 to {MOST / scale:.6g}"]
        told = told if beyond else []
        told += [f"{lost:,} are less than half a count and become 0"] if lost else []
        warnings.warn(
            f"{path}: {' and '.join(told)} at {scale:.6g} counts per scene unit, from "
            f"{values.min():.6g} to {values.max():.6g}. Pass another `scale`, or write .npy.",
            stacklevel=3,
        )
    return np.clip(counts, 0, MOST).astype(np.uint16)


def _write_exr(path: Path, values: np.ndarray) -> None:
    exr = _exr()
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    with exr.File(header, {"Z": values}) as file:
        file.write(str(path))


def _read_exr(path: Path) -> np.ndarray:
    with _exr().File(str(path)) as file:
        channels = {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    if "Z" in channels or len(channels) == 1:
        return channels.get("Z", next(iter(channels.values())))
    raise ValueError(f"it has the channels {', '.join(channels)}, and not Z")


def _read_picture(path: Path) -> np.ndarray:
    with _pillow().open(path) as picture:
        return np.asarray(picture)


def _pillow() -> Any:
    return optional("PIL.Image", package="pillow", purpose="Depth in .png and .tif")


def _exr() -> Any:
    return optional("OpenEXR", package="OpenEXR", purpose="Depth in .exr", extra="exr")
