"""Pictures of what a network makes: sheets of reconstructions, and meshes that turn.

Shapes: `K` objects, `V` vertices, `F` faces, `S` pixels.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from data import VIEWS, camera

SUNS = [((0.5, 0.8, 0.6), 0.4), ((-0.6, 0.3, -0.4), 0.25)]


@functools.partial(jax.jit, static_argnames="size")
def _shaded(
    vertices: jax.Array, faces: jax.Array, colors: jax.Array | None, views: jax.Array, *, size: int
) -> jax.Array:
    """Meshes `[K, V, 3]`, one from each of the views `[K]`, on white: `[K, size, size, 3]`."""
    # What was learned from pictures has the light in it.
    lights = jr.make_lights(0.4, SUNS) if colors is None else jr.make_lights(1.0, [])

    def picture(vertices: jax.Array, colors: jax.Array | None, view: jax.Array) -> jax.Array:
        texture = None if colors is None else jr.VertexColors(colors)
        return jr.render(
            jr.Mesh(vertices, faces, texture),
            camera(view),
            lights,
            image_size=(size, size),
            background=1.0,
            anti_aliasing=2,
        ).rgb

    return jax.vmap(picture)(vertices, colors, views)


def inputs(images: np.ndarray, size: int) -> np.ndarray:
    """Pictures `[K, 4, S, S]` uint8 on white, enlarged: `[K, size, size, 3]`."""
    pixels = images.transpose(0, 2, 3, 1) / np.float32(255)
    index = np.arange(size) * images.shape[-1] // size
    shown = pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]
    return shown[:, index][:, :, index]


def save_sheet(
    path: Path,
    images: np.ndarray,
    views: Sequence[int] | np.ndarray,
    vertices: jax.Array,
    faces: np.ndarray,
    colors: jax.Array | None,
    size: int = 96,
) -> None:
    """Writes a picture: what was seen, the mesh from there, and the mesh from its other sides.

    Args:
        path: a `.png` to write.
        images: `[K, 4, S, S]` uint8.
        views: `[K]` from where.
        vertices: `[K, V, 3]` of the meshes.
        faces: `[F, 3]`.
        colors: `[K, V, 3]` or None.
        size: pixels of each object.
    """
    rows = [_row(vertices, faces, colors, views, turn, size) for turn in (0, 6, 15)]
    jr.io.save_image(path, np.concatenate([_side_by_side(inputs(images, size)), *rows]))


def save_turning(
    path: Path,
    images: np.ndarray,
    views: Sequence[int] | np.ndarray,
    vertices: jax.Array,
    faces: np.ndarray,
    colors: jax.Array | None,
    size: int = 96,
    frames: int = VIEWS,
) -> None:
    """Writes an animation: what was seen, and below it the mesh, turning. Takes as `save_sheet`."""
    top = _side_by_side(inputs(images, size))
    rows = [
        _row(vertices, faces, colors, views, turn, size)
        for turn in np.arange(frames) * VIEWS / frames
    ]
    jr.io.save_animation(path, [np.concatenate([top, row]) for row in rows], fps=12)


def _row(
    vertices: jax.Array,
    faces: np.ndarray,
    colors: jax.Array | None,
    views: Sequence[int] | np.ndarray,
    turn: float,
    size: int,
) -> np.ndarray:
    """The meshes from `turn` views farther round, side by side: `[size, K size, 3]`."""
    seen = jnp.asarray(views, float) + turn
    drawn = _shaded(vertices, jnp.asarray(faces), colors, seen, size=size)
    return _side_by_side(np.asarray(drawn))


def _side_by_side(pictures: np.ndarray) -> np.ndarray:
    """`[K, H, W, 3]` as one picture `[H, K W, 3]`."""
    return np.concatenate([*pictures], axis=1)
