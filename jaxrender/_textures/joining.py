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


def chained(parts: list) -> tuple[jax.Array, jax.Array]:
    """Rows and the faces that index them, of all parts, one part after the other."""
    rows, faces = zip(*parts, strict=True)
    starts = np.cumsum([0, *map(len, rows)])[:-1].tolist()
    moved = [own + start for own, start in zip(faces, starts, strict=True)]
    return jnp.concatenate(rows), jnp.concatenate(moved)


def join_pictures(textures: list[UVTexture]) -> UVTexture:
    """Pictures one below the other, padded on the right, each face with its page."""
    images = [texture.image for texture in textures]
    width = max(image.shape[1] for image in images)
    starts = np.cumsum([0, *(image.shape[0] for image in images)])[:-1].tolist()
    pages = []
    for texture, start in zip(textures, starts, strict=True):
        own = texture.pages
        if own is None:
            whole = np.array([[0, *texture.image.shape[:2]]], np.int32)
            own = jnp.asarray(np.repeat(whole, len(texture.faces), axis=0))
        pages.append(own + np.array([[start, 0, 0]], np.int32))

    # Say how pictures are read: all alike, or else face by face.
    first = textures[0]
    samplers = [texture.samplers for texture in textures]
    ways = {(wraps_of(texture.wrap), texture.filter) for texture in textures}
    together = None
    if len(ways) > 1 or any(own is not None for own in samplers):
        found = [_samplers(texture) for texture in textures]
        together = jnp.concatenate(found)
    tints = None
    if any(texture.tint is not None for texture in textures):
        tints = jnp.concatenate(
            [
                jnp.ones((len(t.uv), t.image.shape[2]), t.image.dtype) if t.tint is None else t.tint
                for t in textures
            ]
        )
    uv, faces = chained([(texture.uv, texture.faces) for texture in textures])
    return dataclasses.replace(
        first,
        image=jnp.concatenate(
            [jnp.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0))) for image in images]
        ),
        uv=uv,
        faces=faces,
        pages=jnp.concatenate(pages) if len(textures) > 1 else first.pages,
        tint=tints,
        samplers=together,
    )


def _samplers(texture: UVTexture) -> jax.Array:
    """How each face reads, in numbers."""
    if texture.samplers is not None:
        return texture.samplers
    codes = [*map(WRAPS.index, wraps_of(texture.wrap)), FILTERS.index(texture.filter)]
    return jnp.asarray(np.tile(np.array(codes, np.int32), (len(texture.faces), 1)))
