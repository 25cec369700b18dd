"""The data set: where its cameras stand, its files, and the batches of a training.

The format is that of the renderings of ShapeNet published with the Neural 3D Mesh Renderer. For
each class and split ("train", "val", "test") there are two files of one array each:

    CLASS_SPLIT_images.npz    uint8 [N, 24, 4, S, S]: rgb and coverage from 24 sides, S = 64
    CLASS_SPLIT_voxels.npz    bool or uint8 [N, 32, 32, 32]

The world is right-handed and `y` is up. Camera `k` stands 2.732 from the middle, 30 degrees up,
and sees 30 degrees from top to bottom; camera 0 looks from `+z`, and each next one stands 15
degrees on, towards `-x` first. A voxel is indexed by `y`, `x`, `z`, in that order.

SoftRas's program says the same in a left-handed world, whose `z` points the other way: azimuth
`-15 k` here and there, and voxels turned round along `z` before they are compared there. Meshes
made here need no mirror: they look in any viewer as in the pictures.

Shapes: `N` objects, `S` pixels, `B` objects of a batch, `V` vertices, `F` faces.

References:
    Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566; Liu et al., Soft Rasterizer,
    ICCV 2019, arXiv:1904.01786.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike

import jaxrender as jr
from arrays import map_array

SPLITS = ("train", "val", "test")
VIEWS, DISTANCE, ELEVATION, FIELD_OF_VIEW = 24, 2.732, 30.0, 30.0
VOXELS = 32
REACH = VOXELS / (VOXELS - 1) / 2  # of the grid from the middle, as in the evaluation of SoftRas
AHEAD = 3  # batches that are made before they are needed

T = TypeVar("T")


def camera(view: ArrayLike, elevation: float = ELEVATION) -> jr.Camera:
    """The camera of a view, `[]`, 0 to 23; parts of a view are in between."""
    azimuth = -360.0 / VIEWS * jax.numpy.asarray(view)
    eye = jr.points_from_angles(DISTANCE, elevation, azimuth)
    return jr.look_at(eye, projection=jr.perspective(FIELD_OF_VIEW))


def voxels_of(vertices: jax.Array, faces: ArrayLike) -> jax.Array:
    """The voxels `[32, 32, 32]` of a closed mesh as the files have them, indexed by y, x, z."""
    filled = jr.voxelize(vertices, faces, resolution=VOXELS, bounds=(-REACH, REACH))
    return filled.transpose(1, 0, 2)


class Batch(NamedTuple):
    """Two views of each object."""

    images: jax.Array | np.ndarray  # [B, 2, 4, S, S] uint8
    views: jax.Array | np.ndarray  # [B, 2] int32


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One split of some classes, left on the disk.

    Attributes:
        classes: their names.
        images: of each class, `[N, 24, 4, S, S]` uint8.
        voxels: of each class, `[N, 32, 32, 32]`.
    """

    classes: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    voxels: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        """`S`, pixels along each side."""
        return self.images[0].shape[-1]


def open_dataset(
    folder: Path,
    split: str,
    classes: Iterable[str] | None = None,
    *,
    check: bool = True,
    unpack_to: Path | None = None,
) -> Dataset:
    """Opens the files of a split.

    Args:
        folder: where they are.
        split: "train", "val" or "test".
        classes: which; None is all that are there.
        check: whether to read each file once, to see that it is sound.
        unpack_to: where compressed files are unpacked; None is beside them.

    Raises:
        ValueError: a file is missing, damaged, or not as above; the message names it.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}.")
    ending = f"_{split}_images.npz"
    names = tuple(
        sorted(path.name.removesuffix(ending) for path in Path(folder).glob(f"*{ending}"))
        if classes is None
        else classes
    )
    if not names:
        raise ValueError(
            f"{folder} has no file CLASS{ending}. Make some with make_dataset.py, or name the "
            "folder of the published files."
        )
    images, voxels = [], []
    for name in names:
        paths = [Path(folder) / f"{name}_{split}_{kind}.npz" for kind in ("images", "voxels")]
        pair = [map_array(path, check=check, unpack_to=unpack_to) for path in paths]
        _check_images(paths[0], pair[0])
        size = pair[0].shape[-1]
        if images and size != images[0].shape[-1]:
            raise ValueError(f"{paths[0]} has pictures of {size}², but the first class others.")
        shape = (len(pair[0]), *[VOXELS] * 3)
        if pair[1].shape != shape or pair[1].dtype.kind not in "bu":
            raise ValueError(
                f"{paths[1]} must be bool or uint8 {list(shape)}, one grid for each object of "
                f"{paths[0].name}; it is {pair[1].dtype.name}{list(pair[1].shape)}."
            )
        images.append(pair[0])
        voxels.append(pair[1])
    return Dataset(names, tuple(images), tuple(voxels))


def sample(
    dataset: Dataset, batch: int, seed: int, step: int, rows: slice, *, recolor: bool = False
) -> Batch:
    """The batch of a step, or these rows of it: a pure function of the seed and the step.

    An object is one of any class, each as likely; its two views differ.

    Args:
        dataset: what to choose from.
        batch: `B`.
        seed: of the training.
        step: of the training.
        rows: which rows to make.
        recolor: whether to exchange and dim the colours of each object at random.
    """
    random = np.random.default_rng((seed, step))
    kinds = random.integers(len(dataset.classes), size=batch)
    which = random.random(batch)
    first = random.integers(VIEWS, size=batch)
    second = (first + random.integers(1, VIEWS, size=batch)) % VIEWS
    views = np.stack([first, second], axis=1)[rows].astype(np.int32)

    size = dataset.size
    images = np.empty((len(views), 2, 4, size, size), np.uint8)
    for row, (kind, part) in enumerate(zip(kinds[rows], which[rows], strict=True)):
        objects = dataset.images[kind]
        images[row] = objects[int(part * len(objects))][views[row]]
    if recolor:
        order = random.random((batch, 1, 3)).argsort(axis=-1)[rows]
        gain = random.uniform(0.5, 1.0, (batch, 1, 3))[rows].astype(np.float32)
        colors = np.take_along_axis(images[:, :, :3], order[..., None, None], axis=2)
        images[:, :, :3] = colors * gain[..., None, None]
    return Batch(images, views)


def ahead(make: Callable[[int], T], steps: range) -> Iterator[T]:
    """Yields `make(step)` for all steps; a thread makes the next ones meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque()
        for step in steps:
            waiting.append(thread.submit(make, step))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _check_images(path: Path, array: np.ndarray) -> None:
    """Raises a ValueError that names the file if it does not hold pictures."""
    shape = array.shape
    if (
        array.dtype != np.uint8
        or array.ndim != 5
        or shape[1:3] != (VIEWS, 4)
        or shape[3] != shape[4]
        or shape[3] % 8
        or not array.size
    ):
        raise ValueError(
            f"{path} must be uint8 [N, {VIEWS}, 4, S, S] with S a multiple of 8; it is "
            f"{array.dtype.name}{list(shape)}."
        )
