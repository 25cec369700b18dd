"""`Material`: what the surfaces of a mesh do, beyond the colours of its texture.

Shape legend: `M` materials, `F` faces, `C` channels, `K` varyings, `T` columns of a table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_array, is_concrete
from jaxrender._choices import Encoding
from jaxrender._pixels import decode, encode
from jaxrender._textures import (
    FaceTexels,
    Texture,
    as_texture,
    channels,
    check_texture,
    encoding_of,
    sample_texture,
)
from jaxrender._textures.base import Columns, indices_of, varyings_of
from jaxrender._textures.kinds import pad_rows
from jaxrender._types import Mesh, static, struct
from jaxrender.ops.deterministic import gather

# The numbers of materials, by what stands for one where others have it.
NUMBERS: dict[str, tuple[tuple[int, ...], float]] = {
    "base_color": ((4,), 1.0),
    "alpha_cutoff": ((), 0.0),
    "blend": ((), 0.0),
    "unlit": ((), 0.0),
    "specular": ((3,), 0.0),
    "shininess": ((), 32.0),
    "metallic": ((), 0.0),
    "roughness": ((), 1.0),
    "normal_scale": ((), 1.0),
    "occlusion_strength": ((), 1.0),
}
# The textures likewise.
MAPS: dict[str, tuple[float, float, float]] = {
    "emissive": (0.0, 0.0, 0.0),
    "metallic_roughness_map": (1.0, 1.0, 1.0),
    "normal_map": (0.5, 0.5, 1.0),
    "occlusion_map": (1.0, 1.0, 1.0),
}
SLACK = 1e-6  # by how much rounding may bring alpha below the cutoff


@struct
class Material:
    """What surfaces do with light: `M` materials, and which of them each face has.

    A field that is None says nothing; the others have a row for each material, or one for all. With
    a material, a texture of four channels has alpha as its last, which is not encoded.

    Drawn by both rasterisers, and in every shading:

    - `base_color`, which multiplies texture and alpha in linear light;
    - `alpha_cutoff`: where alpha is less, nothing is there, and what is behind it is seen. With
      `Soft(…)` no triangle covers anything there. Which is which has no gradient.

    Drawn where there is light (all shadings but "none"): `unlit`, `specular`, `shininess`,
    `emissive`. Kept, and not drawn yet: `blend` (such surfaces are drawn opaque), `metallic`,
    `roughness` and all maps.

    Attributes:
        group: `[F]` int32 which row each face has; None is the first.
        base_color: `[M, 4]` linear rgb and alpha.
        alpha_cutoff: `[M]` alpha below which nothing is drawn; 0 draws all.
        blend: `[M]` bool, whether what is behind was meant to shine through.
        emissive: a `Texture` of three channels in the encoding of the mesh's: light that the
            surface sends out, added in linear light.
        unlit: `[M]` bool, whether light does not count.
        specular: `[M, 3]` in place of that of the lights, see `make_lights`.
        shininess: `[M]` likewise; the two come together.
        metallic: `[M]` kept.
        roughness: `[M]` kept.
        metallic_roughness_map: kept; metal in its blue, roughness in its green.
        normal_map: kept, a `Texture` of tangent-space normals.
        normal_scale: `[M]` kept, of their x and y.
        occlusion_map: kept, a `Texture`, in its red how much ambient light arrives.
        occlusion_strength: `[M]` kept.

    Example:
        >>> import jax.numpy as jnp, jaxrender as jr
        >>> cube = jr.shapes.cube()
        >>> red, mirror = [1.0, 0.0, 0.0, 1.0], [0.1, 0.1, 0.1, 1.0]
        >>> material = jr.Material(
        ...     group=jnp.arange(12) // 6,
        ...     base_color=jnp.array([red, mirror]),
        ...     specular=jnp.array([[0.0], [0.9]]) * jnp.ones((2, 3)),
        ...     shininess=jnp.array([1.0, 80.0]),
        ... )
        >>> mesh = jr.Mesh(cube.vertices, cube.faces, material=material)
        >>> image = jr.render(mesh, jr.look_at((2, 2, 2)), jr.make_lights(), image_size=(8, 8))
        >>> image.rgb.shape
        (8, 8, 3)
    """

    group: jax.Array | None = None  # [F]
    base_color: jax.Array | None = None  # [M, 4]
    alpha_cutoff: jax.Array | None = None  # [M]
    blend: jax.Array | None = None  # [M]
    emissive: Any = None
    unlit: jax.Array | None = None  # [M]
    specular: jax.Array | None = None  # [M, 3]
    shininess: jax.Array | None = None  # [M]
    metallic: jax.Array | None = None  # [M]
    roughness: jax.Array | None = None  # [M]
    metallic_roughness_map: Any = None
    normal_map: Any = None
    normal_scale: jax.Array | None = None  # [M]
    occlusion_map: Any = None
    occlusion_strength: jax.Array | None = None  # [M]

    @property
    def count(self) -> int:
        """How many materials there are, `M`; at least 1."""
        found = [np.shape(getattr(self, name)) for name in NUMBERS]  # of None it is ()
        return max([1, *(shape[0] for shape in found if shape)])

    def by_face(self, name: str, faces: int) -> jax.Array:
        """A number of the material of each face, `[F, ...]`."""
        numbers = getattr(self, name)
        if self.group is None:
            return jnp.broadcast_to(numbers[:1], (faces, *numbers.shape[1:]))
        if numbers.ndim == 1:
            return gather(numbers[:, None], self.group)[:, 0]
        return gather(numbers, self.group)

    def subdivided(self, faces: jax.Array, ends: np.ndarray) -> Material:
        """The material of the quarters of faces, see `Texture.subdivided`."""
        group = None if self.group is None else jnp.repeat(self.group, 4)
        finer = self.with_maps(lambda texture: texture.subdivided(faces, ends))
        return dataclasses.replace(finer, group=group)

    def with_maps(self, change: Callable[[Texture], Texture]) -> Material:
        """The material with each texture changed by a function."""
        found = {name: getattr(self, name) for name in MAPS}
        changed = {name: change(part) for name, part in found.items() if part is not None}
        return dataclasses.replace(self, **changed)


def check_material(material: Any, mesh: Mesh) -> Material | None:
    """Returns the material of a mesh with its arrays in the right shapes and dtypes.

    Args:
        material: what the user gave.
        mesh: that has it; its numbers of vertices and faces count, and the texture's encoding.

    Raises:
        ValueError: it is none, or does not fit the mesh or its texture.
    """
    if material is None:
        return None
    if not isinstance(material, Material):
        raise ValueError(
            f"`mesh.material` must be a Material or None, got {type(material).__name__}. "
            "Pass jaxrender.Material(base_color=…)."
        )
    changes: dict[str, Any] = {
        name: check_array(f"mesh.material.{name}", given, ("M", *shape), finite=True)
        for name, (shape, _) in NUMBERS.items()
        if (given := getattr(material, name)) is not None
    }
    count = max([1, *map(len, changes.values())])
    for name, rows in changes.items():
        if len(rows) not in (1, count):
            raise ValueError(
                f"`mesh.material.{name}` must have one row, or one for each of the {count} "
                f"materials, got {len(rows)}."
            )
        rows = rows.astype(mesh.vertices.dtype)
        changes[name] = jnp.broadcast_to(rows, (count, *rows.shape[1:]))
    if (material.specular is None) != (material.shininess is None):
        raise ValueError(
            "`mesh.material.specular` and `shininess` must both be given, or none of them. "
            "Pass for example shininess=jnp.array([32.0])."
        )
    if material.group is not None:
        hint = "Pass the number of a material for each face."
        faces = len(mesh.faces)
        group = check_array("mesh.material.group", material.group, (faces,), kind="int", hint=hint)
        known = np.asarray(group) if is_concrete(group) else np.zeros(0, int)
        if known.size and not 0 <= known.min() <= known.max() < count:
            raise ValueError(
                f"`mesh.material.group` must name {count} materials (0 to {count - 1}), got "
                f"{known.min()} to {known.max()}."
            )
        changes["group"] = group.astype(jnp.int32)
    for name in MAPS:
        part = getattr(material, name)
        if part is not None:
            try:
                part = check_texture(part, mesh)
            except ValueError as error:
                raise ValueError(f"`mesh.material.{name}`: {error}") from error
            if channels(part) != 3:
                raise ValueError(
                    f"`mesh.material.{name}` must have 3 channels, got {channels(part)}."
                )
            changes[name] = part
    if channels(mesh.texture) not in (3, 4):
        raise ValueError(
            "`mesh.texture` must have 3 channels, or 4 with alpha, where there is a material, got "
            f"{channels(mesh.texture)}. Pass material=None to draw other channels."
        )
    if material.emissive is not None:
        held = encoding_of(mesh.texture), encoding_of(material.emissive)
        if held[0] != held[1]:
            raise ValueError(
                f"`mesh.material.emissive` must have the encoding of the texture, {held[0]!r}, got "
                f"{held[1]!r}."
            )
    return dataclasses.replace(material, **changes)


def drawn_channels(mesh: Mesh) -> int:
    """How many channels a picture of the mesh has: alpha is not one of them."""
    return channels(mesh.texture) if mesh.material is None else 3


def is_masked(mesh: Mesh) -> bool:
    """Whether some of the surface may not be there."""
    return mesh.material is not None and mesh.material.alpha_cutoff is not None


def outline_of(mesh: Mesh, vertices: jax.Array, faces: jax.Array) -> Mesh:
    """A mesh of checked arrays, with texture and material if these cut holes, and checked too.

    Raises:
        ValueError: the texture does not fit the mesh, or the material is none, or does not fit.
    """
    bare = Mesh(vertices, faces)
    if mesh.material is None:
        return bare
    texture = check_texture(mesh.texture, bare)
    material = check_material(mesh.material, Mesh(vertices, faces, texture))
    whole = Mesh(vertices, faces, texture, material=material)
    return whole if is_masked(whole) else bare


def hole_test(surface: Texture, faces: jax.Array) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Where a masked `SurfaceTexture` has holes, as `masked_fragments` asks; without a gradient."""
    surface = jax.lax.stop_gradient(surface)

    def is_hole(face: jax.Array, barycentrics: jax.Array) -> jax.Array:
        values = sample_texture(surface, faces, face, barycentrics)
        return (face >= 0) & (values[..., -1] < 0)

    return is_hole


def add_light(lit: list, emissive: list, encoding: Encoding) -> list:
    """Colours and the light that their surface sends out, added in linear light."""
    if encoding == "linear":
        return [own + more for own, more in zip(lit, emissive, strict=True)]
    # Add the difference that it makes, so that none makes none.
    sums = []
    for own, more in zip(lit, emissive, strict=True):
        own, more = (jnp.asarray(part) for part in (own, more))
        linear = decode(own, jnp)
        sums.append(own + (encode(linear + decode(more, jnp), jnp) - encode(linear, jnp)))
    return sums


# --- as a texture ---------------------------------------------------------------------------------


class SurfaceTexture(Texture):
    """A texture times the base colours of faces, what they send out, and whether they are there.

    Its channels are rgb; with `emissive` three of emissive light; with `masked` one that is below 0
    where there is nothing.

    Attributes:
        texture: of the mesh, with or without alpha.
        emissive: that of the material, or None.
        numbers: `[F, K]` of the faces: base colour, if `tinted`; alpha and cutoff, if `masked`.
        sizes: of both textures how many indices, varyings, uniforms, and columns and rows of its
            table they have.
        tinted: whether there are base colours.
        masked: whether there are cutoffs.
        encoding: of the colours.
    """

    texture: Any
    emissive: Any
    numbers: jax.Array  # [F, K]
    sizes: tuple[tuple[int, ...], ...] = static()
    tinted: bool = static()
    masked: bool = static()
    encoding: Encoding = static(default="display")

    @property
    def parts(self) -> list[Texture]:
        """The texture of the mesh, and that of what it sends out, as far as there are any."""
        return [part for part in (self.texture, self.emissive) if part is not None]

    def channels(self) -> int:
        """Rgb, emissive light, and whether there is anything, as far as there are these."""
        return 3 + 3 * (self.emissive is not None) + self.masked

    def table(self) -> jax.Array | None:
        """The tables of both, each with rows and columns of its own."""
        tables = [table for part in self.parts if (table := part.table()) is not None]
        if len(tables) < 2:
            return tables[0] if tables else None
        first, second = tables
        below = jnp.zeros((len(second), first.shape[1]), first.dtype)
        beside = jnp.zeros((len(first), second.shape[1]), first.dtype)
        return jnp.concatenate(
            [
                jnp.concatenate([first, beside], axis=1),
                jnp.concatenate([below, second.astype(first.dtype)], axis=1),
            ]
        )

    def indices(self, faces: jax.Array) -> jax.Array:
        """Those of both."""
        return jnp.concatenate([indices_of(part, faces) for part in self.parts], axis=1)

    def varyings(self, faces: jax.Array) -> jax.Array:
        """Those of both, and the numbers."""
        numbers = jnp.broadcast_to(
            self.numbers[:, None], (len(self.numbers), 3, self.numbers.shape[1])
        )
        found = [varyings_of(part, faces, numbers.dtype) for part in self.parts]
        return jnp.concatenate([*(part.astype(numbers.dtype) for part in found), numbers], axis=2)

    def uniforms(self) -> jax.Array | None:
        """Those of both."""
        found = [part.uniforms() for part in self.parts]
        found = [uniforms for uniforms in found if uniforms is not None]
        return jnp.concatenate(found) if found else None

    def taps(self, index: Columns, varyings: Columns, uniforms: Columns) -> tuple[list, list]:
        """Those of both; the second's rows come behind the first's."""
        rows, weights, above = [], [], 0
        for number, part in enumerate(self.parts):
            if not self.sizes[number][3]:
                continue
            values = (index, varyings, uniforms)
            given = [self._own(number, kind, own) for kind, own in enumerate(values)]
            own_rows, own_weights = part.taps(*given)
            rows += [row + above for row in own_rows]
            weights += own_weights
            above += self.sizes[number][4]
        return rows, weights

    def color(self, texel: Columns, varyings: Columns, uniforms: Columns) -> list:
        """Rgb times the base colour, emissive light, and how far alpha is above the cutoff."""
        found = []
        for number, part in enumerate(self.parts):
            given = [
                self._own(number, kind, values)
                for kind, values in ((3, texel), (1, varyings), (2, uniforms))
            ]
            found.append(part.color(*given))
        colors, *rest = found
        numbers = list(varyings[sum(sizes[1] for sizes in self.sizes) :])
        rgb, alpha = list(colors[:3]), colors[3] if len(colors) > 3 else 1.0
        if self.tinted:
            base, numbers = numbers[:3], numbers[3:]
            rgb = [
                _times(own, factor, self.encoding) for own, factor in zip(rgb, base, strict=True)
            ]
        margin = [alpha * numbers[0] - numbers[1] + SLACK] if self.masked else []
        return [*rgb, *(rest[0] if rest else []), *margin]

    def _own(self, number: int, kind: int, values: Columns) -> Columns:
        """What of some values belongs to one of both."""
        start = sum(sizes[kind] for sizes in self.sizes[:number])
        return list(values[start : start + self.sizes[number][kind]])


def _times(color: Any, factor: jax.Array, encoding: Encoding) -> jax.Array:
    """A colour times a linear factor, multiplied in linear light."""
    if encoding == "linear":
        return color * factor
    return encode(decode(jnp.asarray(color, factor.dtype), jnp) * factor, jnp)


def surface_texture(mesh: Mesh, *, lit: bool, tinted: bool = True) -> Texture | None:
    """The texture of a mesh with all that its material says of colours.

    Args:
        mesh: that has been checked.
        lit: whether light falls on it; else what it sends out is left out as well.
        tinted: whether it is multiplied by base colours.
    """
    material, count = mesh.material, len(mesh.faces)
    if material is None:
        return mesh.texture
    texture, emissive = as_texture(mesh.texture), material.emissive if lit else None
    based, masked = material.base_color is not None, material.alpha_cutoff is not None
    tinted = tinted and based
    if not tinted and not masked and emissive is None and channels(texture) == 3:
        return mesh.texture
    dtype, numbers = mesh.vertices.dtype, []
    alpha = jnp.ones((count, 1), dtype)
    if based:
        base = material.by_face("base_color", count)
        numbers += [base[:, :3]] if tinted else []
        alpha = base[:, 3:]
    if masked:
        numbers += [alpha, material.by_face("alpha_cutoff", count)[:, None]]
    parts = [part for part in (texture, emissive) if part is not None]
    return SurfaceTexture(
        texture,
        emissive,
        jnp.concatenate(numbers, axis=1) if numbers else jnp.zeros((count, 0), dtype),
        tuple(_sizes(part, mesh.faces, dtype) for part in parts),
        tinted,
        masked,
        encoding_of(texture),
    )


def _sizes(part: Texture, faces: jax.Array, dtype: Any) -> tuple[int, ...]:
    """See `SurfaceTexture.sizes`."""
    table, uniforms = part.table(), part.uniforms()
    return (
        indices_of(part, faces).shape[1],
        varyings_of(part, faces, dtype).shape[2],
        0 if uniforms is None else len(uniforms),
        0 if table is None else table.shape[1],
        0 if table is None else table.shape[0],
    )


def with_alpha(mesh: Mesh, encoding: Encoding) -> Texture:
    """The texture of a mesh with a fourth channel, of 1 where it has none.

    Without a texture it is white, in the encoding that is asked for.

    Raises:
        ValueError: it is of a kind that we do not know.
    """
    texture = mesh.texture
    if texture is None:
        ones = jnp.ones((len(mesh.faces), 1, 1, 4), mesh.vertices.dtype)
        return FaceTexels(ones, encoding)
    if channels(texture) == 4:
        return texture
    names = texture.color_fields
    if not names:
        raise ValueError(
            f"`texture` of kind {type(texture).__name__} has no alpha, and others have. Give it a "
            "fourth channel, or its class `color_fields`."
        )
    changes = {}
    for name in names:
        colors = getattr(texture, name)
        if colors is not None:
            ones = jnp.ones((*colors.shape[:-1], 1), colors.dtype)
            changes[name] = jnp.concatenate([colors, ones], axis=-1)
    return dataclasses.replace(texture, **changes)


def without_alpha(texture: Texture | None) -> Texture | None:
    """A texture that names its fields of colours, with its first three channels."""
    names = () if texture is None else texture.color_fields
    found = {name: getattr(texture, name) for name in names}
    changes = {name: colors[..., :3] for name, colors in found.items() if colors is not None}
    whole: Any = texture  # a dataclass, as all kinds are
    return dataclasses.replace(whole, **changes) if changes else texture


# --- carried along --------------------------------------------------------------------------------


def pad_material(material: Material | None, count: int, faces: int) -> Material | None:
    """A material with so many rows and faces, its textures aside."""
    if material is None:
        return None
    changes = {
        name: pad_rows(getattr(material, name), count, repeat=True)
        for name in NUMBERS
        if getattr(material, name) is not None
    }
    if material.group is not None:
        changes["group"] = pad_rows(material.group, faces)
    return dataclasses.replace(material, **changes)


def alike_materials(meshes: list[Mesh]) -> list[Material | None]:
    """The materials of meshes, each with the numbers that any of them has; textures aside."""
    found = [mesh.material for mesh in meshes]
    if all(material is None for material in found):
        return found
    given = [Material() if material is None else material for material in found]
    named = [name for name in NUMBERS if any(getattr(m, name) is not None for m in given)]
    grouped = any(material.group is not None for material in given)
    result = []
    for material, mesh in zip(given, meshes, strict=True):
        changes = {}
        for name in named:
            if getattr(material, name) is None:
                shape, value = NUMBERS[name]
                rows = jnp.full((material.count, *shape), value, mesh.vertices.dtype)
                changes[name] = rows
        if grouped and material.group is None:
            changes["group"] = jnp.zeros(len(mesh.faces), jnp.int32)
        result.append(dataclasses.replace(material, **changes))
    return result
