"""What a mesh file says, before it becomes a `Mesh`: NumPy arrays, whatever the format.

Shapes: `V` vertices, `F` faces, `U` texture coordinates.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._choices import Encoding, Filter, Wrap

CODECS = ("latin-1", "cp1252", "gbk", "shift_jis")  # in which other systems write names
_FOLDER: contextvars.ContextVar[Path | None] = contextvars.ContextVar("folder", default=None)


@dataclasses.dataclass
class Surface:
    """What a file says of a surface beyond its colours, whatever the format; colours are linear.

    Attributes:
        name: of its material.
        alpha: that multiplies that of textures.
        cutoff: alpha below which nothing is there; None where alpha hides nothing.
        blend: whether what is behind shines through.
        unlit: whether light does not count.
        specular: colour that is reflected, or None.
        shininess: exponent of that.
        metallic: how much of it is metal.
        roughness: of it.
        normal_scale: of the x and y of its normal map.
        occlusion_strength: how much its occlusion map counts.
        color: that multiplies those of textures where it is written; read, it is in them.
    """

    name: str = ""
    alpha: float = 1.0
    cutoff: float | None = None
    blend: bool = False
    unlit: bool = False
    specular: tuple[float, ...] | None = None
    shininess: float = 32.0
    metallic: float = 0.0
    roughness: float = 1.0
    normal_scale: float = 1.0
    occlusion_strength: float = 1.0
    color: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclasses.dataclass
class RawMesh:
    """The content of a mesh file.

    Attributes:
        vertices: `[V, 3]` in file order; float64, or float32 where the file has no more.
        faces: `[F, 3]` in file order, larger polygons cut.
        vertex_colors: `[V, 3]`, or None; all colours may have alpha as a fourth channel.
        face_colors: `[F, 3]` plain colours of the faces, or None.
        images: pictures `[H, W, 3]` that faces read.
        face_image: `[F]` index into `images`, -1 where a face has its plain colour.
        uv: `[U, 2]` texture coordinates, v up.
        uv_faces: `[F, 3]` indices into `uv`, -1 where a corner has none.
        wrap: how pictures go on outside [0, 1], as in `UVTexture`.
        filter: how they are read between texels, likewise.
        samplers: `[F, 3]` where faces differ in both, likewise.
        tint: `[U, 3]` colours that multiply the pictures, likewise.
        normals: `[N, 3]` normals, 0 where the file has none; or None.
        normal_faces: `[F, 3]` indices into `normals`, -1 where a corner has none; None where they
            are those of the vertices.
        materials: what the format says of surfaces, beyond colours.
        face_material: `[F]` index into `materials`, -1 for none.
        surfaces: the same for all formats, as many.
        layers: what else there is to read at a point, by the names of `Material`'s textures: each
            with the geometry and colours of its own.
        objects: names of the objects in the file; none where it has no such thing.
        face_object: `[F]` index into `objects`.
        encoding: of all colours, "display" or "linear".
        notes: what the reader has dropped or approximated and not yet warned of, in sentences.
    """

    vertices: np.ndarray
    faces: np.ndarray
    vertex_colors: np.ndarray | None = None
    face_colors: np.ndarray | None = None
    images: list[np.ndarray] = dataclasses.field(default_factory=list)
    face_image: np.ndarray | None = None
    uv: np.ndarray | None = None
    uv_faces: np.ndarray | None = None
    wrap: Wrap | tuple[Wrap, Wrap] = "repeat"
    filter: Filter = "linear"
    samplers: np.ndarray | None = None
    tint: np.ndarray | None = None
    normals: np.ndarray | None = None
    normal_faces: np.ndarray | None = None
    materials: list[Any] = dataclasses.field(default_factory=list)
    face_material: np.ndarray | None = None
    surfaces: list[Surface] = dataclasses.field(default_factory=list)
    layers: dict[str, RawMesh] = dataclasses.field(default_factory=dict)
    objects: list[str] = dataclasses.field(default_factory=list)
    face_object: np.ndarray | None = None
    encoding: Encoding = "display"
    notes: list[str] = dataclasses.field(default_factory=list)

    def check(self) -> RawMesh:
        """Returns itself, if it can be drawn.

        Raises:
            ValueError: there are no faces, an index names no vertex, or a number is not finite.
        """
        self.need_faces()
        most = unsigned(self.faces).max()
        if most >= len(self.vertices):
            bad = self.faces.max() if self.faces.min() >= 0 else self.faces.min()
            raise ValueError(f"a face names vertex {bad}, of {len(self.vertices)}")
        bad = first_not_finite(self.vertices)
        if bad is not None:
            raise ValueError(f"vertex {bad} is not finite: {self.vertices[bad].tolist()}")
        return self

    def need_faces(self) -> None:
        """Sees to it that there are faces.

        Raises:
            ValueError: there are none.
        """
        if not len(self.faces):
            raise ValueError(f"it has no faces ({len(self.vertices)} vertices)")


def unsigned(values: np.ndarray) -> np.ndarray:
    """Whole numbers read without a sign: those below 0 are the largest, so one look finds all."""
    return values.view(f"=u{values.dtype.itemsize}")


def first_not_finite(values: np.ndarray) -> int | None:
    """The first row of `[N, K]` that holds NaN or infinity, or None."""
    finite = np.isfinite(values)
    return None if finite.all() else int(np.flatnonzero(~finite.all(axis=1))[0])


class BeyondError(ValueError):
    """A file holds a number that JAX's default float type does not."""


def floats(values: Any) -> jax.Array:
    """An array of JAX's default float type.

    Raises:
        BeyondError: a finite number would become infinite.
    """
    dtype = jnp.result_type(float)
    values = np.asarray(values)
    if values.dtype == np.float64 and dtype != np.float64:
        with np.errstate(over="ignore"):
            rounded = values.astype(dtype)
        beyond = np.isinf(rounded) & np.isfinite(values)
        if beyond.any():
            raise BeyondError(
                f"it holds {values[beyond][0]:g}, which is beyond {dtype.name}. Scale the numbers, "
                "or enable x64 in jax"
            )
        values = rounded
    return jnp.asarray(values, dtype)


def unit_colors(values: np.ndarray) -> np.ndarray:
    """Colours as floats: whole numbers are fractions of the largest of their type."""
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.float64) / np.iinfo(values.dtype).max
    return values.astype(np.float64)


def rgb(pixels: np.ndarray) -> tuple[np.ndarray, bool]:
    """A picture `[H, W, C]` as `[H, W, 3]`, and whether it has an alpha below 1 that is dropped."""
    grey = pixels.shape[-1] < 3
    clear = pixels.shape[-1] in (2, 4) and bool((pixels[..., -1] < 1).any())
    return (np.repeat(pixels[..., :1], 3, axis=-1) if grey else pixels[..., :3]), clear


def digits(values: np.ndarray) -> str:
    """The `printf` format that brings floats of this type back exactly."""
    return "%.9g" if values.dtype == np.float32 else "%.17g"


class MissingPackageError(ImportError):
    """A package of an extra is not installed."""


def optional(module: str, *, package: str, purpose: str, extra: str = "io") -> Any:
    """Imports a module that only an extra installs.

    Args:
        module: what to import.
        package: what to install.
        purpose: what needs it.
        extra: the extra that has it.

    Raises:
        MissingPackageError: it is not installed; the message says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{purpose} needs {package}: pip install '.[{extra}]' in a checkout of jaxrender, or "
            f"pip install {package}"
        ) from error


def needed_by(extension: str, module: str, *, package: str) -> Any:
    """Imports a module that only files with a certain glTF extension need.

    Raises:
        MissingPackageError: it is not installed; the message says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"{extension} needs {package}: pip install {package}") from error


@contextlib.contextmanager
def naming(what: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Has an error of a kind say what could not be read: `the mesh a.obj`, say."""
    try:
        yield
    except (MissingPackageError, MemoryError, Warning):
        raise  # these say more than that the file is bad
    except kind as error:
        raise ValueError(f"cannot read {what}: {error}") from error


@contextlib.contextmanager
def keeping_to(folder: Path | None) -> Iterator[None]:
    """Lets `relative` refuse files outside of a folder; None refuses none."""
    token = _FOLDER.set(None if folder is None else folder.resolve())
    try:
        yield
    finally:
        _FOLDER.reset(token)


def _allowed(file: Path) -> Path:
    """Returns a file that may be read.

    Raises:
        OutsideError: it lies outside of the folder that is kept to.
    """
    folder = _FOLDER.get()
    if folder is not None and not file.resolve().is_relative_to(folder):
        raise OutsideError(
            f"it names the file {file}, which lies outside of its folder {folder}. Pass "
            "within_folder=False if you trust it."
        )
    return file


class OutsideError(Exception):
    """A file names another that it must not lead to."""


def relative(path: Path, name: str) -> Path | None:
    """The file that `name` means in the folder of `path`, or None where there is none.

    Names written on another machine may have backslashes, folders that are not here, letters of
    another case, or another encoding than that of this file system; see `CODECS`.
    """
    name = name.strip().strip('"').replace("\\", "/")
    if not name or "\0" in name:
        return None
    data = name.encode("utf-8", errors="surrogateescape")
    ways = {name: None}
    for codec in CODECS:
        with contextlib.suppress(UnicodeError):
            ways[data.decode(codec)] = None
        with contextlib.suppress(UnicodeError):
            ways[os.fsdecode(name.encode(codec))] = None
    candidates = [path.parent / way for way in ways]
    candidates += [path.parent / way.rpartition("/")[2] for way in ways]
    for candidate in candidates:
        with contextlib.suppress(OSError, ValueError):  # as for a name that is too long
            if candidate.is_file():
                return _allowed(candidate)
    for candidate in candidates:
        with contextlib.suppress(OSError, ValueError, OutsideError):
            _allowed(candidate.parent)
            for other in candidate.parent.iterdir():
                if other.name.lower() == candidate.name.lower() and other.is_file():
                    return _allowed(other)
    return None
