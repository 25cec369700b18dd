"""Textures of several meshes as one, see `join_meshes`.

Shape legend: `F` faces, `U` texture coordinates, `C` channels.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._textures.reading import FILTERS, WRAPS, wraps_of

if TYPE_CHECKING:
    from jaxrender._textures.kinds import UVTexture

MOST_ROOM = 4  # how many times their own room pictures may take one below the other


def chained(parts: list) -> tuple[jax.Array, jax.Array]:
    """Rows and the faces that index them, of all parts, one part after the other."""
    rows, faces = zip(*parts, strict=True)
    starts = np.cumsum([0, *map(len, rows)])[:-1].tolist()
    moved = [own + start for own, start in zip(faces, starts, strict=True)]
    return jnp.concatenate(rows), jnp.concatenate(moved)


def join_pictures(textures: list[UVTexture]) -> UVTexture:
    """All pictures in one, each face with its page.

    They stand one below the other, padded on the right, unless that takes far more room than they
    have: then their texels follow each other.
    """
    # Keep a picture that several have, the same one, once.
    own = {id(texture.image): texture.image for texture in textures}
    images, pages = list(own.values()), [texture.pages for texture in textures]
    number = {key: index for index, key in enumerate(own)}
    which = [number[id(texture.image)] for texture in textures]
    width = max(image.shape[1] for image in images)
    sizes = [image.shape[0] * image.shape[1] for image in images]
    height = sum(image.shape[0] for image in images)
    packed = any(own is not None and own.shape[1] == 4 for own in pages)
    if packed or height * width > MOST_ROOM * sum(sizes):
        image = jnp.concatenate([image.reshape(-1, image.shape[2]) for image in images])[None]
        starts = np.cumsum([0, *sizes])[which].tolist()
        moved = [
            _texel_pages(texture) + np.array([[start, 0, 0, 0]], np.int32)
            for texture, start in zip(textures, starts, strict=True)
        ]
    else:
        padded = [jnp.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0))) for image in images]
        image = jnp.concatenate(padded)
        starts = np.cumsum([0, *(image.shape[0] for image in images)])[which].tolist()
        moved = [
            _row_pages(texture) + np.array([[start, 0, 0]], np.int32)
            for texture, start in zip(textures, starts, strict=True)
        ]

    # Say how pictures are read: all alike, or else face by face.
    first = textures[0]
    ways = {(wraps_of(texture.wrap), texture.filter) for texture in textures}
    samplers = tints = None
    if len(ways) > 1 or any(texture.samplers is not None for texture in textures):
        samplers = jnp.concatenate([_samplers(texture) for texture in textures])
    if any(texture.tint is not None for texture in textures):
        tints = jnp.concatenate([_tint(texture) for texture in textures])
    uv, faces = chained([(texture.uv, texture.faces) for texture in textures])
    return dataclasses.replace(
        first,
        image=image,
        uv=uv,
        faces=faces,
        pages=jnp.concatenate(moved) if len(textures) > 1 else first.pages,
        tint=tints,
        samplers=samplers,
    )


def _row_pages(texture: UVTexture) -> jax.Array:
    """The page of each face `[F, 3]`."""
    if texture.pages is not None:
        return texture.pages
    whole = np.array([[0, *texture.image.shape[:2]]], np.int32)
    return jnp.asarray(np.repeat(whole, len(texture.faces), axis=0))


def _texel_pages(texture: UVTexture) -> jax.Array:
    """The same, counted in texels `[F, 4]`."""
    pages, width = _row_pages(texture), texture.image.shape[1]
    if pages.shape[1] == 4:
        return pages
    strides = jnp.full((len(pages), 1), width, pages.dtype)
    return jnp.concatenate([pages[:, :1] * width, pages[:, 1:], strides], axis=1)


def _tint(texture: UVTexture) -> jax.Array:
    """What multiplies the picture at its coordinates."""
    if texture.tint is not None:
        return texture.tint
    return jnp.ones((len(texture.uv), texture.image.shape[2]), texture.image.dtype)


def _samplers(texture: UVTexture) -> jax.Array:
    """How each face reads, in numbers."""
    if texture.samplers is not None:
        return texture.samplers
    codes = [*map(WRAPS.index, wraps_of(texture.wrap)), FILTERS.index(texture.filter)]
    return jnp.asarray(np.tile(np.array(codes, np.int32), (len(texture.faces), 1)))
