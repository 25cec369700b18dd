"""The textures of a model: all of its pictures, flat ones and those on the sides of a cube.

Shape legend: `R` texels, `F` faces, `U` coordinates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._color import decode
from jaxrender._textures import Texture
from jaxrender._textures.base import Columns
from jaxrender._textures.joining import chained
from jaxrender._textures.reading import WRAPS, uv_taps
from jaxrender._types import Mesh, static
from jaxrender.ops.deterministic import gather
from jaxrender.ops.fusion import computed_once

TEXTURE_2D = 0  # mjTEXTURE_2D
ROLE_RGB = 1  # mjTEXROLE_RGB
SRGB = 2  # mjCOLORSPACE_SRGB
FLAT, SIX_SIDES, ONE_SIDE = 0, 1, 2  # kinds of pictures: of a cube with its own, or one for all

# Sides of a cube as OpenGL has them: the axis, its sign, and what goes right and down on it.
SIDES = (
    (0, 1, (2, -1), (1, -1)),
    (0, -1, (2, 1), (1, -1)),
    (1, 1, (0, 1), (2, 1)),
    (1, -1, (0, 1), (2, -1)),
    (2, 1, (0, 1), (1, -1)),
    (2, -1, (0, -1), (1, -1)),
)


class ModelTexture(Texture):
    """Pictures read at coordinates of a model.

    Flat ones are read at u to the right and v DOWN, and repeat; those of a cube in a direction from
    its middle.

    Attributes:
        texels: `[R, 3]` of all pictures of the model.
        coordinates: `[U, 3]` u, v and nothing, or x, y, z of the direction.
        faces: `[F, 3]` int32 which of them corners have.
        pages: `[F, 5]` int32 first texel, height, width and kind of the picture that faces read,
            and how many texels it has in all sizes, of a cube one side.
        has_cubes: whether any is of a cube; static.
        levels: how many sizes the largest has, each half of that before; static.
    """

    texels: jax.Array  # [R, 3]
    coordinates: jax.Array  # [U, 3]
    faces: jax.Array  # [F, 3]
    pages: jax.Array  # [F, 5]
    has_cubes: bool = static(default=False)
    levels: int = static(default=1)

    def table(self) -> jax.Array:
        """The texels."""
        return self.texels

    def indices(self, faces: jax.Array) -> jax.Array:
        """The pages."""
        return self.pages

    def varyings(self, faces: jax.Array) -> jax.Array:
        """The coordinates."""
        return gather(self.coordinates, self.faces)

    @property
    def has_footprint(self) -> bool:
        """It is read at the size that the picture shows."""
        return True

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """The four texels around the coordinates, or around where the direction meets the cube.

        In a picture, those of the size that is nearest to the one it shows. (OpenGL blends the two
        on both sides: that took 2 of 5 ms of a picture of 64², and changed colours by .1 of 255.)
        """
        first, height, width, kind, all_sizes = index
        u, v = varyings[:2]
        cube = kind != FLAT
        changes = [varyings[3:6], varyings[6:9]] if len(varyings) > 3 else []
        if self.has_cubes:
            side, right, down, axes = _on_cube(varyings[:3])
            u, v = jnp.where(cube, right, u), jnp.where(cube, down, v)
            first = first + jnp.where(kind == SIX_SIDES, side * all_sizes, 0)
            changes = [
                [jnp.where(cube, own, flat) for own, flat in zip(axes(way), way, strict=False)]
                for way in changes
            ]
        wrap: Any = "repeat"
        if self.has_cubes:
            clamp = jnp.where(cube, WRAPS.index("clamp"), WRAPS.index("repeat"))
            wrap = [clamp, clamp, jnp.zeros_like(clamp)]

        def level(start: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple[list, list]:
            page = [start, rows, columns, columns, *(wrap if self.has_cubes else [])]
            return uv_taps(u, 1 - v, page, "repeat", "linear")

        if not changes or self.levels < 2:
            return level(first, height, width)
        texels = [jnp.maximum(jnp.abs(way[0]) * width, jnp.abs(way[1]) * height) for way in changes]
        size = jnp.log2(jnp.maximum(jnp.maximum(*texels), 1))
        number = jax.lax.stop_gradient(jnp.floor(size + 0.5))
        u, v, number, first, height, width = computed_once([u, v, number, first, height, width])

        # Walk to the size that is nearest to that; the last is one texel.
        start, rows, columns = first, height, width
        for step in range(1, self.levels):
            smaller = (number >= step) & ((rows > 1) | (columns > 1))
            start = start + jnp.where(smaller, rows * columns, 0)
            rows = jnp.where(smaller, jnp.maximum(rows >> 1, 1), rows)
            columns = jnp.where(smaller, jnp.maximum(columns >> 1, 1), columns)
        start, rows, columns = computed_once([start, rows, columns])
        return level(start, rows, columns)

    def turned(self, turned: np.ndarray) -> ModelTexture:
        """With the coordinates of those corners exchanged."""
        faces = jnp.where(turned[:, None], self.faces[:, np.array([1, 0, 2])], self.faces)
        return dataclasses.replace(self, faces=faces)

    def joined(self, alike: Sequence[Any], meshes: Sequence[Mesh]) -> ModelTexture:
        """Those of all, which read the same pictures, or all their pictures one after the other."""
        coordinates, faces = chained([(own.coordinates, own.faces) for own in alike])
        pages, texels = [own.pages for own in alike], self.texels
        if any(own.texels is not texels for own in alike):
            starts = np.cumsum([0, *(len(own.texels) for own in alike)])[:-1].tolist()
            pages = [
                own + np.array([[start, 0, 0, 0, 0]], np.int32)
                for own, start in zip(pages, starts, strict=True)
            ]
            texels = jnp.concatenate([own.texels for own in alike])
        cubes = any(own.has_cubes for own in alike)
        levels = max(own.levels for own in alike)
        return ModelTexture(texels, coordinates, faces, jnp.concatenate(pages), cubes, levels)


def _on_cube(
    direction: Columns,
) -> tuple[jax.Array, jax.Array, jax.Array, Callable[[Columns], Columns]]:
    """Which side of a cube directions meet, and where on it, from its upper left corner.

    And how changes of the direction move that place.
    """
    size = [jnp.abs(part) for part in direction]
    longest = jnp.where(size[0] >= jnp.maximum(size[1], size[2]), 0, 2)
    longest = jnp.where((longest == 2) & (size[1] >= size[2]), 1, longest)
    length = jnp.maximum(jnp.maximum(size[0], size[1]), size[2])
    scale = 0.5 / jnp.where(length > 0, length, 1)
    positive = [part >= 0 for part in direction]
    here = [(longest == axis) & (positive[axis] == (sign > 0)) for axis, sign, _, _ in SIDES]

    def choose(values: list[Any]) -> jax.Array:
        return jnp.select(here[:-1], values[:-1], values[-1])

    def on_side(vector: Columns, way: int) -> jax.Array:
        return choose([ways[way][1] * vector[ways[way][0]] for _, _, *ways in SIDES])

    right, down = (0.5 + on_side(direction, way) * scale for way in (0, 1))

    def moved(change: Columns) -> Columns:
        along = choose([side[1] * change[side[0]] for side in SIDES])
        return [
            (on_side(change, way) - 2 * (place - 0.5) * along) * scale
            for way, place in ((0, right), (1, down))
        ]

    number = choose([jnp.full_like(longest, number) for number in range(len(SIDES))])
    return number, right, down, moved


class Pictures:
    """All pictures of a model that materials show, and white."""

    def __init__(self, model: Any, used: Sequence[int]) -> None:
        texels, self.pages = [np.ones((1, 3))], {-1: (0, 1, 1, FLAT, 1)}
        for number in sorted(set(used) - {-1}):
            width, height = int(model.tex_width[number]), int(model.tex_height[number])
            channels, start = int(model.tex_nchannel[number]), int(model.tex_adr[number])
            bytes_ = np.asarray(model.tex_data)[start : start + height * width * channels]
            image = bytes_.reshape(-1, channels)[:, :3] / 255
            flat = int(model.tex_type[number]) == TEXTURE_2D
            if flat and int(model.tex_colorspace[number]) == SRGB:
                image = decode(image)
            kind = FLAT if flat else ONE_SIDE if width == height else SIX_SIDES
            rows = height if flat else width
            first, sizes = sum(map(len, texels)), []
            for side in image.reshape(-1, rows, width, 3)[: 6 if kind == SIX_SIDES else 1]:
                sizes = [size.reshape(-1, 3) for size in _sizes(side)]
                texels += sizes
            self.pages[number] = (first, rows, width, kind, sum(map(len, sizes)))
        self.texels = jnp.asarray(np.concatenate(texels), jnp.result_type(float))
        largest = max(max(page[1:3]) for page in self.pages.values())
        self.levels = largest.bit_length()
        self.has_cubes = any(page[3] != FLAT for page in self.pages.values())

    def is_flat(self, number: int) -> bool:
        """Whether it is no picture of a cube."""
        return self.pages[number][3] == FLAT

    def texture(self, number: int, coordinates: np.ndarray, faces: np.ndarray) -> ModelTexture:
        """A picture read at coordinates `[U, 2 or 3]`."""
        missing = np.zeros((len(coordinates), 3 - coordinates.shape[1]))
        return ModelTexture(
            self.texels,
            jnp.asarray(np.concatenate([coordinates, missing], 1), self.texels.dtype),
            jnp.asarray(faces, jnp.int32),
            jnp.tile(jnp.asarray(self.pages[number], jnp.int32), (len(faces), 1)),
            self.has_cubes,
            self.levels,
        )


def _sizes(image: np.ndarray) -> list[np.ndarray]:
    """A picture `[H, W, 3]` and its halves, down to one texel."""
    found = [image]
    while max(found[-1].shape[:2]) > 1:
        smaller = found[-1]
        for axis in (0, 1):
            size = smaller.shape[axis]
            count = max(size // 2, 1)
            # Read between two rows, at the middles of the new ones.
            place = (np.arange(count) + 0.5) * size / count - 0.5
            low = np.floor(place).astype(int)
            share = (place - low).reshape(-1, *(1,) * (2 - axis))
            parts = [smaller.take(np.clip(low + k, 0, size - 1), axis) for k in (0, 1)]
            smaller = parts[0] * (1 - share) + parts[1] * share
        found.append(smaller)
    return found


def texture_of(model: Any, material: int) -> int:
    """The number of the picture of a material, or -1."""
    if material < 0:
        return -1
    numbers = np.asarray(model.mat_texid)
    number = int(numbers[material] if numbers.ndim == 1 else numbers[material, ROLE_RGB])
    known = number >= 0 and (
        not hasattr(model, "tex_nchannel") or model.tex_nchannel[number] in (3, 4)
    )
    return number if known else -1
