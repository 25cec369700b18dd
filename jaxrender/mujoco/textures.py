"""The textures of a model: all of its pictures, flat ones and those on the sides of a cube.

Shape legend: `R` texels, `F` faces, `U` coordinates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
        pages: `[F, 4]` int32 first texel, height, width and kind of the picture that faces read.
        has_cubes: whether any is of a cube; static.
    """

    texels: jax.Array  # [R, 3]
    coordinates: jax.Array  # [U, 3]
    faces: jax.Array  # [F, 3]
    pages: jax.Array  # [F, 4]
    has_cubes: bool = static(default=False)

    def table(self) -> jax.Array:
        """The texels."""
        return self.texels

    def indices(self, faces: jax.Array) -> jax.Array:
        """The pages."""
        return self.pages

    def varyings(self, faces: jax.Array) -> jax.Array:
        """The coordinates."""
        return gather(self.coordinates, self.faces)

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """The four texels around the coordinates, or around where the direction meets the cube."""
        first, height, width, kind = index
        u, v = varyings[:2]
        if not self.has_cubes:
            return uv_taps(u, 1 - v, [first, height, width, width], "repeat", "linear")
        side, right, down = _on_cube(varyings)
        cube = kind != FLAT
        first = first + jnp.where(kind == SIX_SIDES, side * width * width, 0)
        wrap = jnp.where(cube, WRAPS.index("clamp"), WRAPS.index("repeat"))
        u, v = jnp.where(cube, right, u), jnp.where(cube, down, v)
        page = [first, height, width, width, wrap, wrap, jnp.zeros_like(wrap)]
        return uv_taps(u, 1 - v, page, "repeat", "linear")

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
                own + np.array([[start, 0, 0, 0]], np.int32)
                for own, start in zip(pages, starts, strict=True)
            ]
            texels = jnp.concatenate([own.texels for own in alike])
        cubes = any(own.has_cubes for own in alike)
        return ModelTexture(texels, coordinates, faces, jnp.concatenate(pages), cubes)


def _on_cube(direction: Columns) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which side of a cube directions meet, and where on it, from its upper left corner."""
    size = [jnp.abs(part) for part in direction]
    longest = jnp.where(size[0] >= jnp.maximum(size[1], size[2]), 0, 2)
    longest = jnp.where((longest == 2) & (size[1] >= size[2]), 1, longest)
    length = jnp.maximum(jnp.maximum(size[0], size[1]), size[2])
    scale = 0.5 / jnp.where(length > 0, length, 1)
    found = jnp.zeros_like(longest), jnp.zeros_like(scale), jnp.zeros_like(scale)
    for side, (axis, sign, right, down) in enumerate(SIDES):
        here = (longest == axis) & ((direction[axis] >= 0) == (sign > 0))
        place = [0.5 + way[1] * direction[way[0]] * scale for way in (right, down)]
        found = tuple(
            jnp.where(here, new, old)
            for new, old in zip((jnp.full_like(longest, side), *place), found, strict=True)
        )
    side, right, down = found
    return side, right, down


class Pictures:
    """All pictures of a model that materials show, and white."""

    def __init__(self, model: Any, used: Sequence[int]) -> None:
        texels, self.pages = [np.ones((1, 3))], {-1: (0, 1, 1, FLAT)}
        for number in sorted(set(used) - {-1}):
            width, height = int(model.tex_width[number]), int(model.tex_height[number])
            channels, start = int(model.tex_nchannel[number]), int(model.tex_adr[number])
            bytes_ = np.asarray(model.tex_data)[start : start + height * width * channels]
            image = bytes_.reshape(-1, channels)[:, :3] / 255
            flat = int(model.tex_type[number]) == TEXTURE_2D
            if flat and int(model.tex_colorspace[number]) == SRGB:
                image = decode(image)
            kind = FLAT if flat else ONE_SIDE if width == height else SIX_SIDES
            first = sum(map(len, texels))
            self.pages[number] = (first, height if flat else width, width, kind)
            texels.append(image)
        self.texels = jnp.asarray(np.concatenate(texels), jnp.result_type(float))
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
        )


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
