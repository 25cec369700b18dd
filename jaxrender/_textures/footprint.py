"""`with_footprints`: textures that are told how fast they change from pixel to pixel.

Shape legend: `F` faces, `K` varyings, `H, W` image.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrender._choices import Encoding
from jaxrender._textures.base import Columns, Texture, indices_of, varyings_of
from jaxrender._types import ScreenMesh
from jaxrender.ops.deterministic import gather

NO_DEPTH = 1e-6  # nearer to the plane of the camera, corners count as this far from it


class OnScreen(Texture):
    """A texture as a picture shows it: behind its varyings, what they change to the next pixel.

    A varying `v` of corners is `V / W` on screen, `V = v / z` and `W = 1 / z` linear there, so that
    it changes along x by `z (Vₓ - v Wₓ)`, and likewise along y. Without a gradient.

    Attributes:
        texture: which takes that; see `Texture.has_footprint`.
        slopes: `[F, 2 (K + 1)]` of `V` and of `W` from pixel to pixel, along x, then along y.
        depths: `[F, 3]` z of the corners; 1 where rays are parallel.
    """

    texture: Texture
    slopes: jax.Array  # [F, 2 (K + 1)]
    depths: jax.Array  # [F, 3]

    @property
    def encoding(self) -> Encoding:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the texture."""
        return self.texture.encoding

    def table(self) -> jax.Array | None:
        """That of the texture."""
        return self.texture.table()

    def indices(self, faces: jax.Array) -> jax.Array:
        """Those of the texture, and the bits of the slopes: they are the same all over a face."""
        bits = jax.lax.bitcast_convert_type(self.slopes.astype(jnp.float32), jnp.int32)
        return jnp.concatenate([indices_of(self.texture, faces).astype(jnp.int32), bits], axis=1)

    def varyings(self, faces: jax.Array) -> jax.Array:
        """Those of the texture, and depth."""
        own = varyings_of(self.texture, faces, self.depths.dtype)
        return jnp.concatenate([own, self.depths[..., None]], axis=-1)

    def uniforms(self) -> jax.Array | None:
        """Those of the texture."""
        return self.texture.uniforms()

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """Those of the texture, which gets the changes along x and y behind its varyings."""
        *own, depth = varyings
        count = len(own) + 1
        given, bits = index[: -2 * count], index[-2 * count :]
        slopes = [
            jax.lax.bitcast_convert_type(part, jnp.float32).astype(depth.dtype) for part in bits
        ]
        changes = []
        for *of_values, of_inverse in (slopes[:count], slopes[count:]):
            pairs = zip(of_values, own, strict=True)
            changes += [depth * (slope - value * of_inverse) for slope, value in pairs]
        return self.texture.taps(given, [*own, *changes], uniforms)

    def color(self, texel: Columns, varyings: Columns, uniforms: Columns) -> list:
        """That of the texture."""
        return self.texture.color(texel, varyings[:-1], uniforms)

    def channels(self) -> int:
        """Those of the texture."""
        return self.texture.channels()

    def checked(self, mesh: object) -> OnScreen:
        """Itself: it was checked without."""
        return self


def with_footprints(
    texture: Texture | None, screen: ScreenMesh, image_size: tuple[int, int]
) -> Texture | None:
    """The texture of a mesh on screen, which is told its footprint if it asks for it."""
    if texture is None or not texture.has_footprint or not screen.faces.shape[0]:
        return texture
    screen = jax.lax.stop_gradient(screen)
    height, width = image_size
    # By numbers of corners, each `[F]`, which XLA vectorises.
    axes = [
        axis * scale
        for axis, scale in zip(screen.vertices.T, (width / 2, height / 2, 1), strict=True)
    ]
    x, y, z = ([gather(axis, screen.faces[:, k]) for k in range(3)] for axis in axes)
    if not screen.perspective:
        z = [jnp.ones_like(part) for part in z]
    z = [jnp.where(jnp.abs(part) > NO_DEPTH, part, NO_DEPTH) for part in z]
    own = jax.lax.stop_gradient(varyings_of(texture, screen.faces, z[0].dtype))
    own = [*jnp.moveaxis(own, -1, 0), jnp.ones_like(own[..., 0])]

    # Take the slopes of the planes through the three corners; of no area, none.
    (ax, ay), (bx, by) = ((x[k] - x[0], y[k] - y[0]) for k in (1, 2))
    area = ax * by - bx * ay
    inverse = jnp.where(area == 0, 0, 1 / jnp.where(area == 0, 1, area))
    along_x, along_y = [], []
    for value in own:
        corners = [value[:, k] / z[k] for k in range(3)]
        first, second = corners[1] - corners[0], corners[2] - corners[0]
        along_x.append((first * by - second * ay) * inverse)
        along_y.append((second * ax - first * bx) * inverse)
    return OnScreen(texture, jnp.stack([*along_x, *along_y], axis=-1), jnp.stack(z, axis=-1))
