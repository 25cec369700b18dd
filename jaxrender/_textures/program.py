"""The program of a kind of texture: its elementwise methods, without the values of its arrays.

Both rasterisers run the same one. It is static and hashable: textures of one kind, with arrays of
the same shapes and the same static fields, have the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from jaxrender._textures.base import Columns, Texture


class Shape:
    """Stands for an array of a texture where its values are not known."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        size = 1
        for count in self.shape:
            size *= count
        return size

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _reject_values()


def _reject_values(*_: Any) -> NoReturn:
    """Says where the values are.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "`taps` and `color` of a texture must not use the values of its arrays, only their shapes. "
        "Return what is the same for the whole mesh from `uniforms`, what is the same all over a "
        "face from `indices`, what differs by corner from `varyings`, and what rows are read of "
        "from `table`; the first three come back as arguments."
    )


_OPERATORS = "add sub mul truediv floordiv mod pow matmul"
_METHODS = "array jax_array bool float int index len iter getitem neg abs lt le gt ge"
_NAMES = [*_METHODS.split(), *_OPERATORS.split(), *("r" + name for name in _OPERATORS.split())]
for _name in _NAMES:
    setattr(Shape, f"__{_name}__", _reject_values)


@dataclasses.dataclass(frozen=True)
class TextureProgram:
    """`taps` and `color` of textures of one kind and shape."""

    kind: type[Texture]
    structure: Any  # of the pytree, static fields included
    shapes: tuple[tuple[tuple[int, ...], Any], ...]

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """See `Texture.taps`."""
        return self._texture().taps(index, varyings, uniforms)

    def color(self, texel: Columns, varyings: Columns, uniforms: Columns) -> list:
        """See `Texture.color`."""
        return self._texture().color(texel, varyings, uniforms)

    @property
    def has_color(self) -> bool:
        """Whether colours are more than what is read from the table."""
        return self.kind.color is not Texture.color

    def _texture(self) -> Texture:
        leaves = [Shape(*shape) for shape in self.shapes]
        return jax.tree.unflatten(self.structure, leaves)


def program_of(texture: Texture) -> TextureProgram:
    """The program of a texture."""
    leaves, structure = jax.tree.flatten(texture)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return TextureProgram(type(texture), structure, shapes)
