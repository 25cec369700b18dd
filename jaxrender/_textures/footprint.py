"""`with_footprints`: textures that are told how fast they change from pixel to pixel.

Shape legend: `V` vertices, `F` faces, `K` varyings, `H, W` image.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender._choices import Encoding
from jaxrender._textures.base import Columns, Texture, columns_of, indices_of, varyings_of
from jaxrender._types import ScreenMesh
from jaxrender.ops.deterministic import gather
from jaxrender.ops.fusion import computed_once

NO_DEPTH = 1e-6  # nearer to the plane of the camera, corners count as this far from it


class _Corners(NamedTuple):
    """What a texture on screen has at faces, in arrays `[...]`.

    Attributes:
        indices: of the texture.
        corners: its varyings and depth, of each corner.
        slopes: of `V` and of `W` from pixel to pixel, along x, then along y: `2 (K + 1)`.
    """

    indices: Columns
    corners: list[Columns]
    slopes: Columns


class OnScreen(Texture):
    """A texture as a picture shows it: behind its varyings, what they change to the next pixel.

    A varying `v` of corners is `V / W` on screen, `V = v / z` and `W = 1 / z` linear there, so that
    it changes along x by `z (Vₓ - v Wₓ)`, and likewise along y. Without a gradient.

    Attributes:
        texture: which takes that; see `Texture.has_footprint`.
        vertices: `[V, 3]` x and y in pixels, and z; 1 where rays are parallel.
        faces: `[F, 3]` of them.
    """

    texture: Texture
    vertices: jax.Array  # [V, 3]
    faces: jax.Array  # [F, 3]

    @property
    def encoding(self) -> Encoding:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the texture."""
        return self.texture.encoding

    def table(self) -> jax.Array | None:
        """That of the texture."""
        return self.texture.table()

    def indices(self, faces: jax.Array) -> jax.Array:
        """Those of the texture, and the bits of the slopes: they are the same all over a face."""
        own = self._at(faces, jnp.arange(len(faces)))
        bits = [
            jax.lax.bitcast_convert_type(slope.astype(jnp.float32), jnp.int32)
            for slope in own.slopes
        ]
        return jnp.stack([*own.indices, *bits], axis=-1)

    def varyings(self, faces: jax.Array) -> jax.Array:
        """Those of the texture, and depth."""
        corners = self._at(faces, jnp.arange(len(faces))).corners
        return jnp.stack([jnp.stack(corner, axis=-1) for corner in corners], axis=1)

    def at(
        self, faces: jax.Array, face: jax.Array, barycentrics: jax.Array
    ) -> tuple[Columns, Columns, Columns]:
        """What `taps` of the texture needs at points `[...]` on some faces: of these alone.

        Returns:
            Indices, interpolated varyings, and what these change.
        """
        own, weights = self._at(faces, face), columns_of(barycentrics)
        here = []
        for corners in zip(*own.corners, strict=True):
            a, b, c = (weight * value for weight, value in zip(weights, corners, strict=True))
            here.append(a + b + c)
        *here, depth = computed_once(here)
        return computed_once(own.indices), here, _changes(here, depth, own.slopes)

    def _at(self, faces: jax.Array, face: jax.Array) -> _Corners:
        """What faces `[...]` have."""
        # By numbers, each an array `[...]`, which XLA vectorises.
        corners = columns_of(gather(self.faces, face))
        axes = [gather(axis, corner) for axis in self.vertices.T for corner in corners]
        x0, x1, x2, y0, y1, y2, *z = computed_once(axes)
        given = gather(varyings_of(self.texture, faces, self.vertices.dtype), face)
        given = [columns_of(given[..., k, :]) for k in range(3)]

        # Take what barycentrics by depth change along x and y; without an area, nothing.
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        inverse = jnp.where(area == 0, 0, 1 / jnp.where(area == 0, 1, area))
        along_x = [
            side * inverse / depth
            for side, depth in zip((y1 - y2, y2 - y0, y0 - y1), z, strict=True)
        ]
        along_y = [
            side * inverse / depth
            for side, depth in zip((x2 - x1, x0 - x2, x1 - x0), z, strict=True)
        ]
        ways = computed_once([*along_x, *along_y])
        values = [jax.lax.stop_gradient(value) for value in zip(*given, strict=True)]
        slopes = []
        for way in (ways[:3], ways[3:]):
            for value in values:
                a, b, c = (slope * corner for slope, corner in zip(way, value, strict=True))
                slopes.append(a + b + c)
            slopes.append(way[0] + way[1] + way[2])
        index = columns_of(gather(indices_of(self.texture, faces).astype(jnp.int32), face))
        both = [[*part, depth] for part, depth in zip(given, z, strict=True)]
        return _Corners(index, both, slopes)

    def uniforms(self) -> jax.Array | None:
        """Those of the texture."""
        return self.texture.uniforms()

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """Those of the texture, which gets the changes along x and y behind its varyings."""
        *own, depth = varyings
        count = 2 * len(own) + 2
        slopes = [
            jax.lax.bitcast_convert_type(part, jnp.float32).astype(depth.dtype)
            for part in index[-count:]
        ]
        changes = _changes(own, depth, slopes)
        return self.texture.taps(index[:-count], [*own, *changes], uniforms)

    def color(self, texel: Columns, varyings: Columns, uniforms: Columns) -> list:
        """That of the texture."""
        return self.texture.color(texel, varyings[:-1], uniforms)

    def channels(self) -> int:
        """Those of the texture."""
        return self.texture.channels()

    def checked(self, mesh: object) -> OnScreen:
        """Itself: it was checked without."""
        return self


def _changes(values: Columns, depth: jax.Array, slopes: Columns) -> Columns:
    """What varyings change to the next pixel along x, then along y."""
    changes, count = [], len(values) + 1
    for *of_values, of_inverse in (slopes[:count], slopes[count:]):
        pairs = zip(of_values, values, strict=True)
        changes += [depth * (slope - value * of_inverse) for slope, value in pairs]
    return changes


def with_footprints(
    texture: Texture | None, screen: ScreenMesh, image_size: tuple[int, int]
) -> Texture | None:
    """The texture of a mesh on screen, which is told its footprint if it asks for it."""
    if texture is None or not texture.has_footprint or not screen.faces.shape[0]:
        return texture
    x, y, z = jax.lax.stop_gradient(screen.vertices).T
    height, width = image_size
    z = z if screen.perspective else jnp.ones_like(z)
    z = jnp.where(jnp.abs(z) > NO_DEPTH, z, NO_DEPTH)
    return OnScreen(texture, jnp.stack([x * (width / 2), y * (height / 2), z], -1), screen.faces)
