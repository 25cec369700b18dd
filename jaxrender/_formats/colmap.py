"""Cameras of COLMAP: `cameras` and `images`, as text or binary files.

A pixel's centre lies at (0.5, 0.5) there, as in `pinhole`.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrender._camera import pinhole
from jaxrender._formats.text import decoded, read_bytes
from jaxrender._types import Camera

# The models by their numbers in binary files: the name, and how many parameters it has.
MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}
COUNTS = dict(MODELS.values())
ONE_FOCAL_LENGTH = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
NAMED = 3  # of the images that are left out
DRAWN = (*ONE_FOCAL_LENGTH, "PINHOLE", "OPENCV", "FULL_OPENCV")


class Calibration(NamedTuple):
    """A line of `cameras`."""

    model: str
    width: int
    height: int
    numbers: tuple[float, ...]


class Pose(NamedTuple):
    """A line of `images`."""

    name: str
    quaternion: tuple[float, ...]  # w, x, y, z
    translation: tuple[float, ...]
    camera: int


def read_model(folder: Path) -> dict[str, Camera]:
    """The cameras of a reconstruction by the names of their images.

    Raises:
        ValueError: a file is not COLMAP's, or no camera's model is one that we draw.
    """
    for place in (folder, folder / "sparse" / "0", folder / "sparse"):
        for suffix in (".bin", ".txt"):
            cameras, images = (place / f"{name}{suffix}" for name in ("cameras", "images"))
            if cameras.is_file() and images.is_file():
                readers = _BINARY if suffix == ".bin" else _TEXT
                calibrations = _named(cameras, readers[0])
                poses = _named(images, readers[1])
                return _cameras(images, calibrations, poses)
    raise FileNotFoundError(
        f"no cameras and images (.bin or .txt) of COLMAP in {folder}, nor in its sparse/0"
    )


def _named(path: Path, reader: Any) -> Any:
    """What a reader makes of a file; what is wrong with that is said with its name."""
    try:
        return reader(path)
    except Exception as error:
        raise ValueError(f"cannot read the cameras {path}: {error}") from error


def _cameras(
    path: Path, calibrations: dict[int, Calibration], poses: list[Pose]
) -> dict[str, Camera]:
    """The cameras of all images whose lens is drawn; the others are warned of.

    Raises:
        ValueError: an image is not as it should be, or no lens is drawn.
    """
    made: dict[str, Camera] = {}
    left_out: dict[str, str] = {}
    for pose in poses:
        if pose.name in made or pose.name in left_out:
            raise ValueError(f"cannot read the cameras {path}: it names {pose.name} twice")
        if pose.camera not in calibrations:
            raise ValueError(
                f"cannot read the cameras {path}: {pose.name} has camera {pose.camera}, which "
                "`cameras` does not have"
            )
        told = calibrations[pose.camera]
        lacks = _not_drawn(told)
        if lacks:
            left_out[pose.name] = lacks
            continue
        try:
            matrix, distortion = _lens(told)
            made[pose.name] = pinhole(
                matrix,
                _rotation(pose.quaternion),
                np.array(pose.translation),
                distortion,
                image_size=(told.height, told.width),
            )
        except ValueError as error:
            raise ValueError(f"cannot read the cameras {path}: {pose.name}: {error}") from error
    if left_out:
        first, lacks = next(iter(left_out.items()))
        message = f"{first}: {lacks}. Undistort the pictures with `colmap image_undistorter`"
        if not made:
            raise ValueError(f"cannot read the cameras {path}: {message}")
        names = ", ".join(list(left_out)[:NAMED]) + (", ..." if len(left_out) > NAMED else "")
        warnings.warn(
            f"{path}: leaves out {len(left_out)} of {len(poses)} images, {names}. {message}",
            stacklevel=4,
        )
    return made


def _not_drawn(told: Calibration) -> str:
    """Why a lens is not drawn, or nothing."""
    if told.model not in DRAWN:
        return f"its model {told.model} is none of {', '.join(DRAWN)}"
    if told.model == "FULL_OPENCV" and any(told.numbers[9:]):
        return "its model FULL_OPENCV has k4, k5, k6, which are not drawn"
    return ""


def _lens(told: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """K `[3, 3]` and the distortion `[5]` of a camera."""
    numbers = list(told.numbers)
    if len(numbers) != COUNTS[told.model]:
        raise ValueError(f"{told.model} has {COUNTS[told.model]} parameters, got {len(numbers)}")
    if told.model in ONE_FOCAL_LENGTH:
        numbers.insert(1, numbers[0])
    fx, fy, cx, cy, *bends = numbers
    bends = bends[:5] + [0.0] * (5 - len(bends))
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(bends)


def _rotation(quaternion: tuple[float, ...]) -> np.ndarray:
    """The matrix of a quaternion w, x, y, z, in float64."""
    length = float(np.linalg.norm(quaternion))
    if not 1e-6 < length < 1e6:
        raise ValueError(f"its quaternion {list(quaternion)} is no rotation")
    w, *vector = np.array(quaternion) / length
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


# --- text -----------------------------------------------------------------------------------------


def _read_text_cameras(path: Path) -> dict[int, Calibration]:
    found = {}
    for number, line in enumerate(decoded(read_bytes(path)).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            name, model, width, height, *numbers = words
            numbers = tuple(float(word) for word in numbers)
            found[int(name)] = Calibration(model, int(width), int(height), numbers)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return found


def _read_text_images(path: Path) -> list[Pose]:
    # The line after an image's lists its points, and may be empty.
    poses, lines = [], iter(enumerate(decoded(read_bytes(path)).splitlines(), 1))
    for number, line in lines:
        words = line.split(maxsplit=9)
        if not words or words[0].startswith("#"):
            continue
        try:
            _, *numbers = map(float, words[:8])
            camera, name = int(words[8]), words[9].strip()
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"line {number}: an image is its number, qw qx qy qz, tx ty tz, its camera and "
                f"name, got {line[:80]!r}"
            ) from error
        poses.append(Pose(name, tuple(numbers[:4]), tuple(numbers[4:]), camera))
        next(lines, None)
    return poses


# --- binary ---------------------------------------------------------------------------------------


class _Bytes:
    """Reads numbers from the front of a file's bytes."""

    def __init__(self, path: Path) -> None:
        self.data, self.place = path.read_bytes(), 0

    def take(self, kinds: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + kinds)
        if self.place + size > len(self.data):
            raise ValueError(f"it ends after {len(self.data)} bytes, in the midst of a record")
        values = struct.unpack_from("<" + kinds, self.data, self.place)
        self.place += size
        return values

    def take_name(self) -> str:
        end = self.data.find(b"\0", self.place)
        if end < 0:
            raise ValueError("it ends in the midst of a name")
        name = self.data[self.place : end].decode("utf-8", errors="surrogateescape")
        self.place = end + 1
        return name

    def skip(self, size: int) -> None:
        self.place += size
        if self.place > len(self.data):
            raise ValueError(f"it ends after {len(self.data)} bytes, in the midst of a record")

    def check_end(self) -> None:
        if self.place != len(self.data):
            raise ValueError(f"{len(self.data) - self.place} bytes follow its last record")


def _read_binary_cameras(path: Path) -> dict[int, Calibration]:
    file = _Bytes(path)
    (count,) = file.take("Q")
    found = {}
    for _ in range(count):
        number, model, width, height = file.take("iiQQ")
        if model not in MODELS:
            raise ValueError(f"camera {number} has model number {model}, which is not known")
        name, numbers = MODELS[model]
        found[number] = Calibration(name, width, height, file.take(f"{numbers}d"))
    file.check_end()
    return found


def _read_binary_images(path: Path) -> list[Pose]:
    file = _Bytes(path)
    (count,) = file.take("Q")
    poses = []
    for _ in range(count):
        _, *numbers, camera = file.take("I7dI")
        name = file.take_name()
        poses.append(Pose(name, tuple(numbers[:4]), tuple(numbers[4:]), camera))
        (points,) = file.take("Q")
        file.skip(24 * points)
    file.check_end()
    return poses


_TEXT = _read_text_cameras, _read_text_images
_BINARY = _read_binary_cameras, _read_binary_images
