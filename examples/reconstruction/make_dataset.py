"""Makes a data set in the format of the published renderings of ShapeNet (see data.py).

    python examples/reconstruction/make_dataset.py --output out/shapes
    python examples/reconstruction/make_dataset.py --meshes FOLDER --output out/shapes

The first line composes chairs, tables, lamps, planes and cars at random. The second takes your own
meshes, `FOLDER/CLASS/*.obj` (or .ply, .stl, .off, .glb): closed, right-handed, `y` up; they are
split by the parts that `--shares` names. Each shape is centred and scaled until its bounding
box has a diagonal of 1.

An object with the same seed, class, split and number is always the same.
"""

import argparse
import functools
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import jaxrender as jr
from arrays import save_array
from data import SPLITS, VIEWS, VOXELS, camera, voxels_of
from procedural import CLASSES, Shape, normalized

FORMATS = (".obj", ".ply", ".stl", ".off", ".glb")
SUNS = [((0.5, 0.8, 0.6), 0.4), ((-0.6, 0.3, -0.4), 0.25)]
Maker = Callable[[], Shape]


@functools.partial(jax.jit, static_argnames="size")
def views_and_voxels(
    vertices: jax.Array, faces: jax.Array, colors: jax.Array, *, size: int
) -> tuple[jax.Array, jax.Array]:
    """The pictures `[24, 4, S, S]` uint8 of a shape and its voxels `[32, 32, 32]`."""
    mesh = jr.Mesh(vertices, faces, jr.FaceTexels(colors[:, None, None]))
    lights = jr.make_lights(0.45, SUNS)

    def picture(view: jax.Array) -> jax.Array:
        image = jr.render(mesh, camera(view), lights, image_size=(size, size), anti_aliasing=3)
        # Show the object's own colour in pixels that it covers a part of.
        color = image.rgb / jnp.maximum(image.alpha, 1 / 9)[..., None]
        pixels = jnp.concatenate([color, image.alpha[..., None]], axis=-1)
        return jnp.round(255 * jnp.clip(pixels, 0, 1)).astype(jnp.uint8).transpose(2, 0, 1)

    return jax.vmap(picture)(jnp.arange(VIEWS)), voxels_of(vertices, faces)


def draw(shape: Shape, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws a shape; its arrays are padded, so that few programs are compiled."""

    def padded(array: np.ndarray, dtype: type) -> jax.Array:
        # Faces of the first vertex alone are not seen, and fill no voxel that it does not.
        room = 1 << max(int(np.ceil(np.log2(len(array)))), 9)
        return jnp.asarray(np.pad(array, ((0, room - len(array)), (0, 0))), dtype)

    arrays = padded(shape.vertices, float), padded(shape.faces, int), padded(shape.colors, float)
    images, voxels = views_and_voxels(*arrays, size=size)
    return np.asarray(images), np.asarray(voxels)


def procedural_makers(name: str, split: str, count: int, seed: int) -> list[Maker]:
    """What makes the shapes of a class and split."""

    def maker(number: int) -> Shape:
        key = (seed, zlib.crc32(f"{name} {split}".encode()), number)
        return CLASSES[name](np.random.default_rng(key))

    return [functools.partial(maker, number) for number in range(count)]


def read(path: Path) -> Shape:
    """A mesh of a file, with one colour per face."""
    mesh = jr.load_mesh(path, texture="texels")
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if not isinstance(mesh.texture, jr.FaceTexels):
        return Shape(vertices, faces, np.ones(faces.shape))
    return Shape(vertices, faces, np.asarray(mesh.texture.texels).mean((1, 2)))


def mesh_makers(
    folder: Path, shares: tuple[float, ...], seed: int
) -> dict[str, dict[str, list[Maker]]]:
    """What makes the shapes of the meshes of a folder, by class and split.

    Raises:
        ValueError: it has no folders with meshes, or a class too few of them.
    """
    found = {
        path.name: sorted(file for file in path.iterdir() if file.suffix.lower() in FORMATS)
        for path in sorted(folder.glob("*/"))
    }
    found = {name: files for name, files in found.items() if files}
    if not found:
        raise ValueError(f"{folder} has no meshes. Pass a folder with CLASS/NAME.obj in it.")
    ends = np.cumsum(shares) / np.sum(shares)
    makers = {}
    for name, files in found.items():
        order = np.random.default_rng(seed).permutation(len(files))
        parts = np.split(order, np.rint(ends[:-1] * len(files)).astype(int))
        if len(parts[0]) == 0:
            raise ValueError(f"{folder / name} has too few meshes to train on: {len(files)}.")
        makers[name] = {
            split: [functools.partial(read, files[number]) for number in sorted(part)]
            for split, part in zip(SPLITS, parts, strict=True)
        }
    return makers


def write(folder: Path, name: str, split: str, makers: list[Maker], size: int, bar: tqdm) -> None:
    """Writes the two files of a class and split, each whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        images, voxels = (
            np.lib.format.open_memmap(
                Path(scratch) / kind, "w+", kind_dtype, (len(makers), *kind_shape)
            )
            for kind, kind_dtype, kind_shape in (
                ("images", np.uint8, (VIEWS, 4, size, size)),
                ("voxels", np.bool_, (VOXELS, VOXELS, VOXELS)),
            )
        )
        for number, make in enumerate(makers):
            images[number], voxels[number] = draw(normalized(make()), size)
            bar.update()
        save_array(folder / f"{name}_{split}_images.npz", images)
        save_array(folder / f"{name}_{split}_voxels.npz", voxels)


def main(
    output: Path,
    *,
    classes: list[str] | None = None,
    train: int = 200,
    val: int = 20,
    test: int = 40,
    meshes: Path | None = None,
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2),
    size: int = 64,
    seed: int = 0,
) -> None:
    """Makes all files of a data set.

    Raises:
        ValueError: an argument is out of range, or there are no meshes.
    """
    unknown = sorted(set(classes or ()) - set(CLASSES))
    if unknown and meshes is None:
        raise ValueError(f"Unknown classes {', '.join(unknown)}; there are {', '.join(CLASSES)}.")
    if size < 8 or size % 8:
        raise ValueError(f"`size` must be a multiple of 8, got {size}. Pass for example 64.")
    if min(train, val, test) < 0 or train == 0:
        raise ValueError(f"Counts must not be negative, nor `train` 0, got {train}, {val}, {test}.")
    if len(shares) != 3 or min(shares) < 0 or shares[0] <= 0:
        raise ValueError(f"`shares` must be three parts, the first positive, got {shares}.")

    # Skip splits without objects.
    if meshes is not None:
        makers = mesh_makers(meshes, shares, seed)
    else:
        makers = {
            name: {
                split: procedural_makers(name, split, count, seed)
                for split, count in zip(SPLITS, (train, val, test), strict=True)
            }
            for name in classes or CLASSES
        }
    output.mkdir(parents=True, exist_ok=True)
    total = sum(len(part) for splits in makers.values() for part in splits.values())
    with tqdm(total=total, desc="drawing", unit="object") as bar:
        for name, splits in makers.items():
            for split, part in splits.items():
                if part:
                    write(output, name, split, part, size, bar)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=Path("out/shapes"), help="the folder to fill"
    )
    parser.add_argument("--classes", nargs="+", help=f"some of {', '.join(CLASSES)}")
    parser.add_argument("--train", type=int, default=200, help="objects of each class to train on")
    parser.add_argument("--val", type=int, default=20, help="to watch while training")
    parser.add_argument("--test", type=int, default=40, help="to test on")
    parser.add_argument("--meshes", type=Path, help="a folder with CLASS/NAME.obj")
    parser.add_argument(
        "--shares", type=float, nargs=3, default=(0.7, 0.1, 0.2), help="of train, val, test in it"
    )
    parser.add_argument("--size", type=int, default=64, help="pixels along each side")
    parser.add_argument("--seed", type=int, default=0)
    try:
        main(**vars(parser.parse_args()))
    except ValueError as error:
        raise SystemExit(f"make_dataset.py: {error}") from error
