"""The kinds of texture, see `Texture` for what their methods are.

Shape legend: `V` vertices, `F` faces, `C` channels, `R, T` texels per side, `U` texture
coordinates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import (
    check_array,
    check_choice,
    check_colors,
    check_faces,
    check_known_faces,
    is_concrete,
)
from jaxrender._choices import Encoding, Filter, Wrap
from jaxrender._textures.base import Columns, Texture
from jaxrender._textures.joining import join_pictures
from jaxrender._textures.quarters import cut_cubes, cut_texels, quarter, with_middles
from jaxrender._textures.reading import (
    FILTERS,
    WRAPS,
    bake_picture,
    cube_taps,
    texel_taps,
    uv_taps,
    wraps_of,
)
from jaxrender._types import Mesh, static
from jaxrender.ops.deterministic import gather


class VertexColors(Texture):
    """One colour per vertex, interpolated across each face.

    Attributes:
        colors: `[V, C]` colours or features.
        encoding: of the colours, "display" or "linear"; static.
    """

    color_fields: ClassVar = ("colors",)
    colors: jax.Array  # [V, C]
    encoding: Encoding = static(default="display")

    def table(self) -> jax.Array:
        """A row for each vertex."""
        return self.colors

    def indices(self, faces: jax.Array) -> jax.Array:
        """The rows of the corners."""
        return faces

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """Each corner's row, by its barycentric."""
        return index, varyings

    def corner_colors(self, faces: jax.Array) -> jax.Array:
        """Those of the vertices."""
        return gather(self.colors, faces)

    def checked(self, mesh: Mesh) -> VertexColors:
        """With a colour for each vertex."""
        colors = _check_colors("colors", self.colors, (mesh.vertices.shape[0], "C"))
        return dataclasses.replace(self, colors=colors)

    def padded(self, vertices: int, faces: int, alike: Sequence[Texture]) -> VertexColors:
        """With black vertices."""
        return dataclasses.replace(self, colors=pad_rows(self.colors, vertices))

    def subdivided(self, faces: jax.Array, ends: np.ndarray) -> VertexColors:
        """With the mean of both ends at each new vertex."""
        return dataclasses.replace(self, colors=with_middles(self.colors, ends))

    def turned(self, turned: np.ndarray) -> VertexColors:
        """The same: colours belong to vertices."""
        return self

    def of_vertices(self, source: np.ndarray) -> VertexColors:
        """Their colours."""
        return dataclasses.replace(self, colors=self.colors[source])

    def welded(self, faces: jax.Array, source: np.ndarray) -> Texture:
        """A white picture, times the colours, which so can differ at the corners of a vertex."""
        tint = self.colors
        return UVTexture(
            image=jnp.ones((1, 1, tint.shape[1]), tint.dtype),
            uv=jnp.zeros((len(tint), 2), tint.dtype),
            faces=faces,
            wrap="clamp",
            filter="nearest",
            tint=tint,
            encoding=self.encoding,
        )

    def joined(self, alike: Sequence[Any], meshes: Sequence[Mesh]) -> VertexColors:
        """The colours of all."""
        colors = jnp.concatenate([texture.colors for texture in alike])
        return dataclasses.replace(self, colors=colors)


class FaceTexels(Texture):
    """SoftRas's surface texture: each face is cut into R² equal triangles of one colour each.

    With `w` the barycentrics, `ix = ⌊w₀ R⌋` and `iy = ⌊w₁ R⌋`, a point in the lower triangle of
    its cell reads `texels[face, iy, ix]`, one in the upper triangle `texels[face, R-1-iy, R-1-ix]`.
    Unlike in SoftRas, a point on vertex 0 or 1 never reads another face.

    Attributes:
        texels: `[F, R, R, C]` colours or features.
        encoding: of the colours, "display" or "linear"; static.
    """

    color_fields: ClassVar = ("texels",)
    faceted: ClassVar = True
    texels: jax.Array  # [F, R, R, C]
    encoding: Encoding = static(default="display")

    def table(self) -> jax.Array:
        """A row for each texel of each face."""
        return self.texels.reshape(-1, self.texels.shape[-1])

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """The one texel at the barycentrics."""
        side = self.texels.shape[1]
        return texel_taps(index[0] * side**2, varyings[0], varyings[1], side)

    def corner_colors(self, faces: jax.Array) -> jax.Array | None:
        """That of the one texel, where there is but one."""
        if not self.constant_per_face:
            return None
        return jnp.broadcast_to(self.texels[:, 0], (*faces.shape, self.texels.shape[-1]))

    @property
    def constant_per_face(self) -> bool:
        """Whether there is one texel for each face."""
        return self.texels.shape[1] == 1

    def checked(self, mesh: Mesh) -> FaceTexels:
        """With a square of texels for each face."""
        texels = _check_colors("texels", self.texels, (mesh.faces.shape[0], "R", "R", "C"))
        _check_side("texels", texels)
        return dataclasses.replace(self, texels=texels)

    def padded(self, vertices: int, faces: int, alike: Sequence[Texture]) -> FaceTexels:
        """With black faces."""
        return dataclasses.replace(self, texels=pad_rows(self.texels, faces))

    def subdivided(self, faces: jax.Array, ends: np.ndarray) -> FaceTexels:
        """With the texels that lie in each quarter."""
        return dataclasses.replace(self, texels=cut_texels(self.texels))

    def turned(self, turned: np.ndarray) -> FaceTexels:
        """With the squares of those faces mirrored."""
        swapped = self.texels.swapaxes(1, 2)
        texels = jnp.where(turned[:, None, None, None], swapped, self.texels)
        return dataclasses.replace(self, texels=texels)

    def of_vertices(self, source: np.ndarray) -> FaceTexels:
        """The same: texels belong to faces."""
        return self

    def joined(self, alike: Sequence[Any], meshes: Sequence[Mesh]) -> FaceTexels:
        """The texels of all."""
        texels = jnp.concatenate([texture.texels for texture in alike])
        return dataclasses.replace(self, texels=texels)

    def baked(self, faces: jax.Array, points: jax.Array, *, wrap: str, bilinear: bool) -> jax.Array:
        """The one texel of each face.

        Raises:
            ValueError: there are more.
        """
        if not self.constant_per_face:
            _reject_baked(self)
        return super().baked(faces, points, wrap=wrap, bilinear=bilinear)


class FaceCubes(Texture):
    """NMR's texture: a cube of T³ texels per face, read at `(T - 1) · barycentrics`, trilinear.

    A vertex reads its own texel exactly: vertex 0 reads `cubes[face, T-1, 0, 0]`.

    Attributes:
        cubes: `[F, T, T, T, C]` colours or features.
        encoding: of the colours, "display" or "linear"; static.
    """

    color_fields: ClassVar = ("cubes",)
    faceted: ClassVar = True
    cubes: jax.Array  # [F, T, T, T, C]
    encoding: Encoding = static(default="display")

    def table(self) -> jax.Array:
        """A row for each texel of each face."""
        return self.cubes.reshape(-1, self.cubes.shape[-1])

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """The eight texels around the barycentrics."""
        side = self.cubes.shape[1]
        return cube_taps(index[0] * side**3, varyings, side)

    def checked(self, mesh: Mesh) -> FaceCubes:
        """With a cube of texels for each face."""
        cubes = _check_colors("cubes", self.cubes, (mesh.faces.shape[0], "T", "T", "T", "C"))
        _check_side("cubes", cubes)
        return dataclasses.replace(self, cubes=cubes)

    def padded(self, vertices: int, faces: int, alike: Sequence[Texture]) -> FaceCubes:
        """With black faces."""
        return dataclasses.replace(self, cubes=pad_rows(self.cubes, faces))

    def subdivided(self, faces: jax.Array, ends: np.ndarray) -> FaceCubes:
        """With the part of the cube that lies in each quarter."""
        return dataclasses.replace(self, cubes=cut_cubes(self.cubes))

    def turned(self, turned: np.ndarray) -> FaceCubes:
        """With the cubes of those faces mirrored."""
        swapped = self.cubes.swapaxes(1, 2)
        cubes = jnp.where(turned[:, None, None, None, None], swapped, self.cubes)
        return dataclasses.replace(self, cubes=cubes)

    def of_vertices(self, source: np.ndarray) -> FaceCubes:
        """The same: texels belong to faces."""
        return self

    def joined(self, alike: Sequence[Any], meshes: Sequence[Mesh]) -> FaceCubes:
        """The cubes of all.

        Raises:
            ValueError: they differ in size.
        """
        sides = {texture.cubes.shape[1] for texture in alike}
        if len(sides) > 1:
            raise ValueError(
                f"`meshes` must have FaceCubes of one number of texels, got {sorted(sides)}. Bake "
                "all with the same size, or join them before they are baked."
            )
        return dataclasses.replace(self, cubes=jnp.concatenate([t.cubes for t in alike]))

    def baked(self, faces: jax.Array, points: jax.Array, *, wrap: str, bilinear: bool) -> jax.Array:
        """Nothing.

        Raises:
            ValueError: always: this is baked already.
        """
        _reject_baked(self)


class UVTexture(Texture):
    """A picture wrapped around the mesh.

    `u` goes right and `v` UP, (0, 0) is the picture's lower left corner, and the centre of the
    texel in column `i` lies at `u = (i + 1/2) / W`, as in OpenGL.

    Several pictures fit in one `image`: stack them vertically, padded on the right, and name in
    `pages` the rectangle that each face reads. Coordinates then count, and wrap, within it. Faces
    may also differ in how they read: `samplers` says so, in numbers, since it is traced.

    Attributes:
        image: `[H, W, C]` colours or features; row 0 is the top.
        uv: `[U, 2]` texture coordinates, normally in [0, 1].
        faces: `[F, 3]` int32 indices into `uv`, one per corner of each face of the mesh.
        pages: `[F, 3]` int32 (first row, height, width) in texels, or None: all of `image`. Or
            `[F, 4]` (first texel, height, width, texels from row to row), counted through the rows
            of `image`: pictures of very different sides then take no more room than their own.
        wrap: what lies outside [0, 1]: "repeat", "clamp" (the border texel), "mirror" (back and
            forth), or a pair of them for u and v; static.
        filter: "linear", between four texels, or "nearest"; static.
        tint: `[U, C]` colours at the texture coordinates, interpolated across each face, that
            multiply what is read; or None.
        samplers: `[F, 3]` int32 (wrap of u, wrap of v, filter), in place of `wrap` and `filter`:
            0 repeats, 1 clamps, 2 mirrors; 0 is linear, 1 nearest; or None.
        encoding: of the colours, "display" or "linear"; static.
    """

    color_fields: ClassVar = ("image", "tint")
    image: jax.Array  # [H, W, C]
    uv: jax.Array  # [U, 2]
    faces: jax.Array  # [F, 3]
    pages: jax.Array | None = None  # [F, 3 or 4]
    wrap: Wrap | tuple[Wrap, Wrap] = static(default="repeat")
    filter: Filter = static(default="linear")
    tint: jax.Array | None = None  # [U, C]
    samplers: jax.Array | None = None  # [F, 3]
    encoding: Encoding = static(default="display")

    def table(self) -> jax.Array:
        """A row for each texel of the image."""
        return self.image.reshape(-1, self.image.shape[-1])

    def indices(self, faces: jax.Array) -> jax.Array | None:
        """The faces' pages and samplers, as far as they differ."""
        parts = [part for part in (self.pages, self.samplers) if part is not None]
        return jnp.concatenate(parts, axis=-1) if parts else None

    def varyings(self, faces: jax.Array) -> jax.Array:
        """Texture coordinates, and the tint."""
        # What is not finite, as may be inside jit, reads a texel of the lower left.
        uv = jnp.where(jnp.isfinite(self.uv), self.uv, 0)
        coordinates = gather(uv, self.faces)
        if self.tint is None:
            return coordinates
        return jnp.concatenate([coordinates, gather(self.tint, self.faces)], axis=-1)

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """The four texels around the coordinates, or the nearest."""
        height, width, _ = self.image.shape
        page = [0, height, width, width]
        if self.pages is not None:
            page = index[: self.pages.shape[1]]
            page = page if len(page) == 4 else [page[0] * width, *page[1:], width]
        sampler = [] if self.samplers is None else index[-3:]
        u, v = varyings[:2]
        return uv_taps(u, v, [*page, *sampler], self.wrap, self.filter)

    def color(self, texel: Columns, varyings: Columns, uniforms: Columns) -> list:
        """The texel, times the tint."""
        if self.tint is None:
            return texel
        return [part * tint for part, tint in zip(texel, varyings[2:], strict=True)]

    def padded(self, vertices: int, faces: int, alike: Sequence[Texture]) -> UVTexture:
        """With coordinates as many as the most of all have."""
        count = max(texture.uv.shape[0] for texture in alike if isinstance(texture, UVTexture))
        pages, tint, samplers = self.pages, self.tint, self.samplers
        return dataclasses.replace(
            self,
            uv=pad_rows(self.uv, count),
            faces=pad_rows(self.faces, faces),
            pages=None if pages is None else pad_rows(pages, faces, repeat=True),
            tint=None if tint is None else pad_rows(tint, count),
            samplers=None if samplers is None else pad_rows(samplers, faces, repeat=True),
        )

    def subdivided(self, faces: jax.Array, ends: np.ndarray) -> UVTexture:
        """With the mean of both ends at each new coordinate.

        Raises:
            ValueError: its faces are traced.
        """
        known = check_known_faces("mesh.texture.faces", self.faces, self.uv.shape[0])
        ends, quarters = quarter(known, self.uv.shape[0])
        pages, tint, samplers = self.pages, self.tint, self.samplers
        return dataclasses.replace(
            self,
            uv=with_middles(self.uv, ends),
            faces=quarters,
            pages=None if pages is None else jnp.repeat(pages, 4, axis=0),
            tint=None if tint is None else with_middles(tint, ends),
            samplers=None if samplers is None else jnp.repeat(samplers, 4, axis=0),
        )

    def turned(self, turned: np.ndarray) -> UVTexture:
        """With the coordinates of those corners exchanged."""
        swapped = self.faces[:, np.array([1, 0, 2])]
        return dataclasses.replace(self, faces=jnp.where(turned[:, None], swapped, self.faces))

    def of_vertices(self, source: np.ndarray) -> UVTexture:
        """The same: it has coordinates of its own."""
        return self

    def joined(self, alike: Sequence[Any], meshes: Sequence[Mesh]) -> UVTexture:
        """The pictures of all, as pages."""
        return join_pictures(list(alike))

    def baked(self, faces: jax.Array, points: jax.Array, *, wrap: str, bilinear: bool) -> jax.Array:
        """The image, read as the ancestors read it."""
        colors = bake_picture(
            self.image,
            self.uv[self.faces],
            points,
            pages=self.pages,
            samplers=self.samplers,
            wrap=wrap,
            own_wrap=self.wrap,
            filter=self.filter,
            bilinear=bilinear,
        )
        if self.tint is None:
            return colors
        # Give NMR's texel without barycentrics, which are all 0 there, the mean tint.
        points = jnp.where(points.sum(axis=1, keepdims=True) == 0, 1 / 3, points)
        return colors * jnp.einsum(
            "nk,fkc->fnc", points, self.tint[self.faces], precision=jax.lax.Precision.HIGHEST
        )

    def checked(self, mesh: Mesh) -> UVTexture:
        """With coordinates for each face, and indices in range."""
        return _check_uv(self, mesh.faces.shape[0])


def pad_rows(array: jax.Array, count: int, *, repeat: bool = False) -> jax.Array:
    """Appends rows up to `count`: zeros, or the first row again where there is one."""
    missing = count - array.shape[0]
    if repeat and array.shape[0]:
        rows = jnp.broadcast_to(array[:1], (missing, *array.shape[1:]))
    else:
        rows = np.zeros((missing, *array.shape[1:]), array.dtype)
    return jnp.concatenate([array, rows])


def _reject_baked(texture: Texture) -> NoReturn:
    """Rejects texels of faces as what texels are baked from.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "`mesh.texture` must be a UVTexture, VertexColors, FaceTexels of one texel, None or a kind "
        f"of your own, got {type(texture).__name__}. Bake from the mesh as it was loaded."
    )


def _check_colors(name: str, value: Any, shape: tuple[int | str, ...]) -> jax.Array:
    array = check_colors(f"texture.{name}", value, shape)
    if 0 in array.shape[1:]:
        raise ValueError(
            f"`texture.{name}` must have at least one texel and one channel, got "
            f"{list(array.shape)}. Pass for example 3 channels of rgb."
        )
    return array


def _check_side(name: str, array: jax.Array) -> None:
    """Rejects texel squares and cubes whose sides differ."""
    if len(set(array.shape[1:-1])) > 1:
        raise ValueError(
            f"`texture.{name}` must have the same number of texels on each side, got "
            f"{list(array.shape)}. Pass [F, R, R, C] texels or [F, T, T, T, C] cubes."
        )


def _check_inside(pages: np.ndarray, height: int, width: int, hint: str) -> None:
    """Rejects pages that reach out of the image."""
    first, rows, columns, *stride = pages.T.astype(np.int64)
    fits = (first >= 0) & (rows > 0) & (columns > 0)
    if stride:
        last = first + (rows - 1) * stride[0] + columns
        fits &= (stride[0] >= columns) & (last <= height * width)
    else:
        fits &= (first + rows <= height) & (columns <= width)
    if not fits.all():
        face = int(np.argmin(fits))
        raise ValueError(
            f"`texture.pages` must lie within the image of {height} x {width} texels, got "
            f"{pages[face].tolist()} for face {face}. {hint}"
        )


def _check_uv(texture: UVTexture, face_count: int) -> UVTexture:
    """The texture with its arrays checked, for a mesh of so many faces."""
    image = _check_colors("image", texture.image, ("H", "W", "C"))
    uv = check_array("texture.uv", texture.uv, ("U", 2), finite=True)
    faces = check_faces("texture.faces", texture.faces, uv.shape[0])
    if faces.shape[0] != face_count:
        raise ValueError(
            f"`texture.faces` must have one row for each of the mesh's {face_count} faces, got "
            f"{faces.shape[0]}. Pass the texture coordinates of each face's corners."
        )
    _check_sampler(texture)
    if 0 in image.shape:
        raise ValueError(
            f"`texture.image` must have at least one texel, got {list(image.shape)}. "
            "Pass texture=None for a white mesh."
        )

    pages = texture.pages
    if pages is not None:
        hint = "Pass (first row, height, width) per face, in texels."
        pages = check_array("texture.pages", pages, (face_count, "P"), kind="int", hint=hint)
        if pages.shape[1] not in (3, 4):
            raise ValueError(
                f"`texture.pages` must be an integer array [{face_count}, 3], or [.., 4] of (first "
                f"texel, height, width, texels from row to row), got {list(pages.shape)}. {hint}"
            )
        if is_concrete(pages) and face_count:
            _check_inside(np.asarray(pages), image.shape[0], image.shape[1], hint)
        pages = pages.astype(jnp.int32)

    tint, samplers = texture.tint, texture.samplers
    if tint is not None:
        tint = _check_colors("tint", tint, (uv.shape[0], image.shape[2]))
    if samplers is not None:
        samplers = check_array("texture.samplers", samplers, (face_count, 3), kind="int")
        if is_concrete(samplers) and face_count:
            most = np.array([len(WRAPS), len(WRAPS), len(FILTERS)])
            known = np.asarray(samplers)
            bad = np.flatnonzero(((known < 0) | (known >= most)).any(1))
            if len(bad):
                raise ValueError(
                    f"`texture.samplers` must be (wrap of u, wrap of v, filter) as indices into "
                    f"{WRAPS} and {FILTERS}, got {known[bad[0]].tolist()} for face {bad[0]}."
                )
        samplers = samplers.astype(jnp.int32)
    return dataclasses.replace(
        texture, image=image, uv=uv, faces=faces, pages=pages, tint=tint, samplers=samplers
    )


def _check_sampler(texture: UVTexture) -> None:
    """Rejects a wrap and a filter that do not exist."""
    wrap = texture.wrap
    known = wrap in WRAPS if isinstance(wrap, str) else isinstance(wrap, tuple) and len(wrap) == 2
    if not known or not set(wraps_of(wrap)) <= set(WRAPS):
        options = ", ".join(map(repr, WRAPS))
        raise ValueError(
            f"`texture.wrap` must be one of {options}, or a tuple of two of them for u and v, got "
            f"{wrap!r}."
        )
    check_choice("texture.filter", texture.filter, FILTERS)
