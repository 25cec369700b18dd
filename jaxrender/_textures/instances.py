"""`InstancedTexture`: the texture of shapes as the faces of their instances read it.

Shape legend: `G` faces of the shapes, `F` faces of all instances.
"""

from __future__ import annotations

from typing import Any

import jax

from jaxrender._choices import Encoding
from jaxrender._textures.base import Columns, Texture, indices_of
from jaxrender._types import Mesh
from jaxrender.ops.deterministic import gather


class InstancedTexture(Texture):
    """A texture of which faces of another mesh each read the part of one of its own faces.

    Pictures and texels are not copied, however many faces read them.

    Attributes:
        texture: of the shapes.
        shapes: `[G, 3]` faces of the shapes.
        source: `[F]` int32 which of them each face shows.
    """

    texture: Any
    shapes: jax.Array  # [G, 3]
    source: jax.Array  # [F]

    @property
    def encoding(self) -> Encoding:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the shapes."""
        return self.texture.encoding

    def table(self) -> jax.Array | None:
        """That of the shapes."""
        return self.texture.table()

    def indices(self, faces: jax.Array) -> jax.Array:
        """Those of the faces shown."""
        return gather(indices_of(self.texture, self.shapes), self.source)

    def varyings(self, faces: jax.Array) -> jax.Array | None:
        """Those of the faces shown."""
        own = self.texture.varyings(self.shapes)
        return None if own is None else gather(own, self.source)

    def uniforms(self) -> jax.Array | None:
        """Those of the shapes."""
        return self.texture.uniforms()

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """Those of the shapes."""
        return self.texture.taps(index, varyings, uniforms)

    def color(self, texel: Columns, varyings: Columns, uniforms: Columns) -> list:
        """That of the shapes."""
        return self.texture.color(texel, varyings, uniforms)

    def channels(self) -> int:
        """Those of the shapes."""
        return self.texture.channels()

    def corner_colors(self, faces: jax.Array) -> jax.Array | None:
        """Those of the faces shown."""
        own = self.texture.corner_colors(self.shapes)
        return None if own is None else gather(own, self.source)

    @property
    def constant_per_face(self) -> bool:
        """As of the shapes."""
        return self.texture.constant_per_face

    @property
    def has_footprint(self) -> bool:
        """As of the shapes."""
        return self.texture.has_footprint

    def checked(self, mesh: Mesh) -> InstancedTexture:
        """Itself: it was checked with the shapes."""
        return self
