"""What a texture is: `Texture`, the class that all kinds derive from.

Shape legend: `V` vertices, `F` faces, `C` channels, `R` rows of a table and `T` its columns, `K`
varyings, `I` numbers of a face, `U` uniforms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxrender._choices import Encoding
from jaxrender._types import Mesh, static, struct

T = TypeVar("T", bound="Texture")

# Values of many points, one array for each number; of any one shape, or broadcastable to it.
Columns = list[jax.Array]


def columns_of(rows: jax.Array) -> Columns:
    """The numbers of the last axis, one by one."""
    return [rows[..., k] for k in range(rows.shape[-1])]


def indices_of(texture: Texture, faces: jax.Array) -> jax.Array:
    """`Texture.indices`, with what None stands for."""
    found = texture.indices(faces)
    return jnp.arange(len(faces), dtype=jnp.int32)[:, None] if found is None else found


def varyings_of(texture: Texture, faces: jax.Array, dtype: DTypeLike) -> jax.Array:
    """`Texture.varyings`, with what None stands for."""
    found = texture.varyings(faces)
    if found is None:
        return jnp.broadcast_to(jnp.eye(3, dtype=dtype), (len(faces), 3, 3))
    return found


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
class Texture:
    """What colour each face has where: the class that all kinds of texture derive from.

    `VertexColors`, `FaceTexels`, `FaceCubes` and `UVTexture` are such kinds. For a kind of your
    own, derive a class from this one: annotate its arrays, as in a dataclass, and add the methods
    below that it needs. It becomes a `struct` by itself; a field that is part of the
    program, not traced, is `static()`. Both rasterisers, `shade` and `sample_texture` then draw it,
    in every shading, and differentiate it. The colour of a point is

        texel = Σₖ weightₖ · table[rowₖ]        rows, weights = taps(index, varyings, uniforms)
        colour = color(texel, varyings, uniforms)

    What is the same all over a face is an index, a whole number without a gradient; what differs
    by corner is a varying, which is interpolated; what is the same for the whole mesh is a uniform.
    `taps` and `color` work on lists of arrays, one for each number, which hold many points in any
    arrangement; so they are elementwise. Of the texture itself they may use the shapes of its
    arrays and its static fields, not its values: these come as arguments.

    A picture needs `color` or (`table` and `taps`), and `channels` where there is no table. Other
    methods serve other functions, which name them if they are missing: `padded` for `pad_meshes`
    and `stack_meshes`, `subdivided` for `subdivide`, `turned` for `orient_faces`, `joined` for
    `join_meshes`, `of_vertices` for `weld`.

    Gradient: that of the methods, by JAX: to all that `table`, `varyings` and `uniforms` return.

    Attributes:
        encoding: of the colours, "display" or "linear"; a kind that has both makes it a static
            field.
        color_fields: the fields whose last axis is the channels; of the class. With these a
            material can add alpha to it, and take it away.
        faceted: whether colours may jump where two faces meet; of the class.
        has_footprint: whether `taps` of a picture is to get, behind the varyings, what these change
            to the next pixel along x, and then along y, to choose among sizes of what it reads; of
            the class.

    Example:
        Squares of two colours, `scale` of them along each unit of texture coordinates:

        >>> import jax, jax.numpy as jnp, jaxrender as jr
        >>> class Checkerboard(jr.Texture):
        ...     colors: jax.Array  # [2, C]
        ...     uv: jax.Array  # [F, 3, 2]
        ...     scale: jax.Array  # []
        ...
        ...     def table(self):
        ...         return self.colors
        ...
        ...     def varyings(self, faces):
        ...         return self.uv
        ...
        ...     def uniforms(self):
        ...         return self.scale[None]
        ...
        ...     def taps(self, index, varyings, uniforms):
        ...         column, row = (jnp.floor(uniforms[0] * along) for along in varyings)
        ...         return [((column + row) % 2).astype(jnp.int32)], [jnp.ones_like(row)]
        >>> uv = jnp.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
        >>> board = Checkerboard(jnp.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), uv, jnp.array(2.0))
        >>> mesh = jr.Mesh(jnp.eye(3), jnp.array([[0, 1, 2]]), board)
        >>> image = jr.render(mesh, jr.look_at((2, 2, 2)), image_size=(16, 16), shading="none")
        >>> image.rgb.min().item(), image.rgb.max().item()
        (0.0, 1.0)
    """

    encoding: Encoding = "display"
    color_fields: ClassVar[tuple[str, ...]] = ()
    faceted: ClassVar[bool] = False

    @property
    def has_footprint(self) -> bool:
        """Whether `taps` wants to know how varyings change from pixel to pixel, see above."""
        return False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Makes the kind a frozen dataclass and a pytree."""
        super().__init_subclass__(**kwargs)
        struct(cls)

    # --- what a picture reads -----------------------------------------------------------------

    def table(self) -> jax.Array | None:
        """`[R, T]` what `taps` reads rows of; None where `color` finds colours without."""
        return None

    def indices(self, faces: jax.Array) -> jax.Array | None:
        """`[F, I]` int32 what `taps` needs of each face; None is the number of the face."""
        return None

    def varyings(self, faces: jax.Array) -> jax.Array | None:
        """`[F, 3, K]` of the corners, which are interpolated; None is the barycentrics."""
        return None

    def uniforms(self) -> jax.Array | None:
        """`[U]` numbers that are the same for the whole mesh; None is none."""
        return None

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """Which rows of the table points read, and how much of each.

        Args:
            index: `I` arrays, of the face of each point.
            varyings: `K` arrays.
            uniforms: `U` arrays.

        Returns:
            As many rows, int32 arrays, as weights.
        """
        lacks(self, "taps(self, index, varyings, uniforms)", "reading its table")

    def color(self, texel: Columns, varyings: Columns, uniforms: Columns) -> list:
        """The `C` channels of points.

        Args:
            texel: `T` arrays, what was read from the table; empty without a table.
            varyings: `K` arrays.
            uniforms: `U` arrays.
        """
        if not texel:
            lacks(self, "color(self, texel, varyings, uniforms), or `table` and `taps`", "drawing")
        return texel

    def channels(self) -> int:
        """How many numbers a colour has, `C`."""
        table = self.table()
        if table is None:
            lacks(self, "channels(self)", "drawing without a table")
        return table.shape[-1]

    # --- what a picture is spared ----------------------------------------------------------------

    def corner_colors(self, faces: jax.Array) -> jax.Array | None:
        """`[F, 3, C]` colours of the corners, where that is all: between them, they are linear.

        The soft rasteriser then interpolates these, which is quicker. None says no such thing.
        """
        return None

    @property
    def constant_per_face(self) -> bool:
        """Whether each face has one colour all over, that of `corner_colors`."""
        return False

    # --- what functions on meshes need -----------------------------------------------------------

    def checked(self: T, mesh: Mesh) -> T:
        """The texture, with its arrays in the right shapes and dtypes.

        Args:
            mesh: that wears it; only its numbers of vertices and faces count.

        Raises:
            ValueError: it does not fit the mesh.
        """
        _check_methods(self, mesh.faces)
        return self

    def padded(self: T, vertices: int, faces: int, alike: Sequence[T]) -> T:
        """The texture of a mesh with appended vertices and faces, which are never seen.

        Args:
            vertices: how many there are to be.
            faces: how many there are to be.
            alike: the textures of all meshes that are padded, which this is one of.
        """
        lacks(self, "padded(self, vertices, faces, alike)", "pad_meshes and stack_meshes")

    def subdivided(self: T, faces: jax.Array, ends: np.ndarray) -> T:
        """The texture of the quarters of faces, see `subdivide`.

        Args:
            faces: `[F, 3]` of the mesh as it was.
            ends: `[E, 2]` between which vertices the new ones are.
        """
        lacks(self, "subdivided(self, faces, ends)", "subdivide")

    def turned(self: T, turned: np.ndarray) -> T:
        """The texture where the first two corners of some faces `[F]` bool are exchanged."""
        lacks(self, "turned(self, turned)", "orient_faces")

    def of_vertices(self: T, source: np.ndarray) -> T:
        """The texture of a mesh whose vertices are those with the numbers `source` `[V']`."""
        lacks(self, "of_vertices(self, source)", "weld, and for sharp creases")

    def welded(self, faces: jax.Array, source: np.ndarray) -> Texture:
        """The texture of a mesh whose vertices were joined, see `weld`.

        Args:
            faces: `[F, 3]` of the mesh as it was.
            source: `[V']` which vertex each vertex that is left was; those joined are alike.
        """
        return self.of_vertices(source)

    def joined(self: T, alike: Sequence[Any], meshes: Sequence[Mesh]) -> T:
        """The texture of several meshes as one, see `join_meshes`.

        Args:
            alike: the textures of all meshes, which this is the first of; all are of its kind.
            meshes: that wear them.
        """
        lacks(self, "joined(self, alike, meshes)", "join_meshes")

    def baked(self, faces: jax.Array, points: jax.Array, *, wrap: str, bilinear: bool) -> jax.Array:
        """The colours `[F, N, C]` of all faces at barycentrics `[N, 3]`, see `io.bake_cubes`.

        Barycentrics of NMR's texel that has none are all 0.
        """
        from jaxrender._textures.sample import sample_texture

        # Give that texel the colour in the middle.
        points = jnp.where(points.sum(1, keepdims=True) == 0, 1 / 3, points)
        count, shape = faces.shape[0], (faces.shape[0], *points.shape)
        face = jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32)[:, None], shape[:2])
        return sample_texture(self, faces, face, jnp.broadcast_to(points, shape))


class White(Texture):
    """The texture of a mesh without one: white, three channels."""

    def color(self, texel: Columns, varyings: Columns, uniforms: Columns) -> list:
        """White."""
        return [1.0, 1.0, 1.0]

    def varyings(self, faces: jax.Array) -> jax.Array:
        """No varyings `[F, 3, 0]`: it is white everywhere."""
        return jnp.zeros((*faces.shape, 0))

    def channels(self) -> int:
        """Of rgb."""
        return 3

    def corner_colors(self, faces: jax.Array) -> jax.Array:
        """White."""
        return jnp.ones((*faces.shape, 3))

    @property
    def constant_per_face(self) -> bool:
        """Whether each face has one colour all over: white."""
        return True


def lacks(texture: Texture, method: str, purpose: str) -> NoReturn:
    """Says which method a kind of texture lacks.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"`texture` of kind {type(texture).__name__} lacks a method that is needed for {purpose}. "
        f"Add {method} to the class; jaxrender.Texture says what it returns."
    )


def _check_methods(texture: Texture, faces: jax.Array) -> None:
    """Rejects a kind whose methods return arrays of other shapes than `Texture` says."""
    name, count = type(texture).__name__, faces.shape[0]
    wanted: dict[str, tuple[Any, tuple[int | str, ...]]] = {
        "table": (texture.table, ("R", "T")),
        "indices": (lambda: texture.indices(faces), (count, "I")),
        "varyings": (lambda: texture.varyings(faces), (count, 3, "K")),
        "uniforms": (texture.uniforms, ("U",)),
        "corner_colors": (lambda: texture.corner_colors(faces), (count, 3, "C")),
    }
    for method, (call, shape) in wanted.items():
        found = jax.eval_shape(call)
        if found is None:
            continue
        kind = jnp.integer if method == "indices" else jnp.floating
        sizes = getattr(found, "shape", ())
        fits = len(sizes) == len(shape) and all(
            isinstance(want, str) or want == size for want, size in zip(shape, sizes, strict=True)
        )
        if not fits or not jnp.issubdtype(found.dtype, kind):
            raise ValueError(
                f"`texture.{method}` of kind {name} must return an array of shape "
                f"[{', '.join(map(str, shape))}] and {kind.__name__} dtype, got "
                f"{getattr(found, 'dtype', type(found).__name__)}{list(sizes)}. "
                f"The mesh has {count} faces."
            )
