"""Light on a mesh: by face, by vertex, or as varyings and uniforms for the soft rasteriser.

Shape legend: `F` faces, `K` varyings, `U` uniforms, `...` any number of points.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrender._choices import Encoding, Shading
from jaxrender._color import encode
from jaxrender._material import Material, add_light
from jaxrender._shading.lights import make_lights
from jaxrender._shading.normals import (
    centroids,
    corner_normals,
    face_normals,
    finite_or_zero,
    front_normals,
)
from jaxrender._shading.reflection import is_behind, light_points, reflect
from jaxrender._textures import encoding_of
from jaxrender._textures.base import columns_of
from jaxrender._types import Lights, Mesh
from jaxrender._vectors import unit3
from jaxrender.ops.deterministic import gather


def light_faces(
    mesh: Mesh, lights: Lights, facing_eye: jax.Array | None, specular_eye: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    """Diffuse light and reflection `[F, 3]` at the centroids; see `shade`."""
    normals = face_normals(mesh.vertices, mesh.faces)
    back = shows_back(mesh, normals, facing_eye)
    if back is not None:
        normals = jnp.where(back[:, None], -normals, normals)
    return light_points(centroids(mesh), normals, lights, specular_eye, gloss_of(mesh))


def gloss_of(mesh: Mesh) -> jax.Array | None:
    """Specular colour and shininess `[F, 4]` of the faces, if their material says any."""
    material, count = mesh.material, mesh.faces.shape[0]
    if material is None or material.specular is None:
        return None
    shininess = material.by_face("shininess", count)[:, None]
    return jnp.concatenate([material.by_face("specular", count), shininess], axis=1)


def light_vertices(
    mesh: Mesh, lights: Lights, facing_eye: jax.Array | None, specular_eye: jax.Array | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array | None]]:
    """The rows `[F, 3]` that corners read, and the light of the rows, `[V, 3]` or more.

    Each vertex has one, and where both sides are lit another `V` rows later; where corners of a
    vertex may differ, in normals or gloss, each corner has its own.
    """
    vertices, faces = mesh.vertices, mesh.faces
    back = shows_back(mesh, front_normals(mesh), facing_eye)
    positions, (normals, own), sides = finite_or_zero(vertices), corner_normals(mesh), faces
    gloss = gloss_of(mesh)
    if mesh.normal_faces is not None or gloss is not None:
        gloss = None if gloss is None else jnp.repeat(gloss, 3, axis=0)
        positions, normals = gather(positions, faces), gather(normals, own)
        if back is not None:
            normals = jnp.where(back[:, None, None], -normals, normals)
        sides = jnp.arange(faces.size, dtype=faces.dtype).reshape(faces.shape)
        positions, normals = positions.reshape(-1, 3), normals.reshape(-1, 3)
    elif back is not None:
        sides = jnp.where(back[:, None], faces + vertices.shape[0], faces)
        positions = jnp.concatenate([positions, positions])
        normals = jnp.concatenate([normals, -normals])
    return sides, light_points(positions, normals, lights, specular_eye, gloss)


def shows_back(mesh: Mesh, normals: jax.Array, facing_eye: jax.Array | None) -> jax.Array | None:
    """Which faces `[F]` show their back to the viewer, if there is one."""
    if facing_eye is None:
        return None
    return is_behind(facing_eye, centroids(mesh), normals)


class Lighting(NamedTuple):
    """The light of `shade` as a function of varyings and uniforms, for the soft rasteriser.

    Attributes:
        varyings: `[F, 3, K]` at the corners of faces, to be interpolated.
        uniforms: `[U]` what is the same everywhere.
        lit: `(colours, varyings, uniforms) -> colours`, lists of arrays of any one shape, or of
            numbers; elementwise, static and hashable.
        constant: whether light is the same all over each face.
    """

    varyings: jax.Array  # [F, 3, K]
    uniforms: jax.Array  # [U]
    lit: Callable[[list, list, list], list]
    constant: bool = False


def lighting_of(
    mesh: Mesh,
    lights: Lights | None,
    *,
    eye: jax.Array,
    shading: Shading,
    two_sided: bool,
) -> Lighting:
    """The light of `shade`, for scenes already checked.

    Args:
        mesh: in world space, with faces.
        lights: as of `shade`.
        eye: `[4]` of `viewpoint`.
        shading: "flat", "gouraud" or "phong".
        two_sided: whether the back of a face is lit as a front.
    """
    lighting = _plain_lighting(mesh, lights, eye=eye, shading=shading, two_sided=two_sided)
    material, like_opengl = mesh.material, is_like_opengl(lights)
    if not like_opengl and (
        material is None or (material.unlit is None and material.emissive is None)
    ):
        return lighting
    material = Material() if material is None else material

    # Hand on base colours, and which faces are unlit, behind all other varyings.
    varyings = lighting.varyings
    if like_opengl:
        base = base_of(mesh).astype(varyings.dtype)[:, None]
        base = jnp.broadcast_to(base, (*varyings.shape[:2], 3))
        varyings = jnp.concatenate([varyings, base], axis=-1)
    if material.unlit is not None:
        unlit = material.by_face("unlit", mesh.faces.shape[0]).astype(varyings.dtype)
        unlit = jnp.broadcast_to(unlit[:, None, None], (*varyings.shape[:2], 1))
        varyings = jnp.concatenate([varyings, unlit], axis=-1)
    surface = _Surface(
        material.unlit is not None,
        material.emissive is not None,
        encoding_of(mesh.texture),
        like_opengl,
    )
    return lighting._replace(varyings=varyings, lit=_lit_surface(lighting.lit, surface))


class _Surface(NamedTuple):
    """What a material does beside reflecting."""

    has_unlit: bool
    emits: bool
    encoding: Encoding
    like_opengl: bool


@functools.lru_cache(maxsize=256)
def _lit_surface(lit: Callable, surface: _Surface) -> Callable:
    """`Lighting.lit` of a material; made once, for it is static.

    Colours that are emitted come behind the others.
    """

    def lit_surface(colors: list, varyings: list, uniforms: list) -> list:
        own, emitted, unlit = colors[:3], colors[3:6], None
        if surface.has_unlit:
            *varyings, unlit = varyings
        if surface.like_opengl:
            *varyings, red, green, blue = varyings
            base = [red, green, blue]
            return multiply_like_opengl(own, base, lit(base, varyings, uniforms), emitted, unlit)
        result = lit(own, varyings, uniforms)
        return finish_surface(
            result, own, emitted if surface.emits else [], unlit, surface.encoding
        )

    return lit_surface


def finish_surface(
    lit: list, colors: list, emitted: list, unlit: jax.Array | None, encoding: Encoding
) -> list:
    """Colours in light and what they emit; those that are unlit as they are."""
    if emitted:
        lit = add_light(lit, emitted, encoding)
    if unlit is not None:
        lit = [jnp.where(unlit > 0.5, own, part) for own, part in zip(colors, lit, strict=True)]
    return lit


def is_like_opengl(lights: Lights | None) -> bool:
    """Whether light falls as in OpenGL's fixed pipeline, see `make_lights`."""
    return lights is not None and lights.like_opengl


def base_of(mesh: Mesh) -> jax.Array:
    """Base colours `[F, 3]` of the faces, encoded as the texture is."""
    material, count = mesh.material, mesh.faces.shape[0]
    if material is None or material.base_color is None:
        return jnp.ones((count, 3), mesh.vertices.dtype)
    base = material.by_face("base_color", count)[:, :3]
    return base if encoding_of(mesh.texture) == "linear" else encode(base, jnp)


def multiply_like_opengl(
    own: list, base: list, lit: list, emitted: list, unlit: jax.Array | None
) -> list:
    """Textures times the light that base colours have, which is 1 at most."""
    if emitted:
        lit = [light + more for light, more in zip(lit, emitted, strict=True)]
    lit = [jnp.minimum(light, 1) for light in lit]
    if unlit is not None:
        lit = [jnp.where(unlit > 0.5, color, light) for color, light in zip(base, lit, strict=True)]
    return [texel * light for texel, light in zip(own, lit, strict=True)]


def _plain_lighting(
    mesh: Mesh,
    lights: Lights | None,
    *,
    eye: jax.Array,
    shading: Shading,
    two_sided: bool,
) -> Lighting:
    """`lighting_of` by what a material reflects alone."""
    by_default = lights is None
    lights = make_lights() if lights is None else lights
    facing_eye, specular_eye = eye if two_sided else None, None if by_default else eye
    none = jnp.zeros(0, mesh.vertices.dtype)
    if shading == "flat":
        by_face = light_faces(mesh, lights, facing_eye, specular_eye)
        parts = [light[:, None] for light in by_face if light is not None]
        values = jnp.concatenate(parts, axis=-1)
        values = jnp.broadcast_to(values, (*mesh.faces.shape, values.shape[-1]))
        return Lighting(values, none, _multiply_and_add, constant=True)
    if shading == "gouraud":
        sides, by_vertex = light_vertices(mesh, lights, facing_eye, specular_eye)
        parts = [gather(light, sides) for light in by_vertex if light is not None]
        return Lighting(jnp.concatenate(parts, axis=-1), none, _multiply_and_add)

    # Give each corner its normal, turned to the viewer, and its position if light depends on it.
    normals = gather(*corner_normals(mesh))
    back = shows_back(mesh, front_normals(mesh), facing_eye)
    if back is not None:
        normals = jnp.where(back[:, None, None], -normals, normals)
    gloss = None if by_default else gloss_of(mesh)
    layout = _PhongLayout.of(lights, reflects=not by_default, has_gloss=gloss is not None)
    varyings = [normals]
    if layout.has_positions:
        varyings.append(gather(finite_or_zero(mesh.vertices), mesh.faces))
    if gloss is not None:
        varyings.append(jnp.broadcast_to(gloss[:, None], (*mesh.faces.shape, 4)))
    return Lighting(
        jnp.concatenate(varyings, axis=-1),
        layout.pack(lights, eye).astype(normals.dtype),
        _lit_phong(layout),
    )


def lit_at(
    lighting: Lighting, colors: jax.Array, face: jax.Array, barycentrics: jax.Array
) -> jax.Array:
    """Colours `[..., C]` in that light at points on faces, see `sample_texture`."""
    own = jnp.clip(face, 0, lighting.varyings.shape[0] - 1)
    here = (gather(lighting.varyings, own) * barycentrics[..., None]).sum(-2)
    lit = lighting.lit(columns_of(colors), columns_of(here), list(lighting.uniforms))
    return jnp.stack(lit, axis=-1)


def _multiply_and_add(colors: list, varyings: list, uniforms: list) -> list:
    """Colours times the first three varyings, plus the next three, if there are any."""
    return _apply(colors, varyings[:3], varyings[3:] or None)


def _apply(colors: list, diffuse: list, reflection: list | None) -> list:
    """Colours in diffuse light, and with what they reflect."""
    colors = [color * light for color, light in zip(colors, diffuse, strict=True)]
    if reflection is not None:
        colors = [color + light for color, light in zip(colors, reflection, strict=True)]
    return colors


class _PhongLayout(NamedTuple):
    """How lights, and the viewpoint that they are reflected to, are laid out as uniforms."""

    kind: type[Lights]
    static: tuple[tuple[str, Any], ...]  # fields of the lights, by name
    shapes: tuple[tuple[str, tuple[int, ...]], ...]  # of the numbers of the lights, by name
    reflects: bool
    has_gloss: bool  # of its own at each point

    @classmethod
    def of(cls, lights: Lights, *, reflects: bool, has_gloss: bool) -> _PhongLayout:
        """The layout of such lights, with all numbers that they have and that count."""
        values = {field: getattr(lights, field.name) for field in dataclasses.fields(lights)}
        static = {f.name: value for f, value in values.items() if f.metadata.get("static")}
        arrays = {f.name: value for f, value in values.items() if f.name not in static}
        if not reflects:
            arrays |= {"specular": None, "shininess": None}
        shapes = tuple((name, a.shape) for name, a in arrays.items() if a is not None)
        return cls(type(lights), tuple(static.items()), shapes, reflects, has_gloss)

    @property
    def has_positions(self) -> bool:
        """Whether light depends on where a point is."""
        return dict(self.shapes)["positions"][0] > 0 or self.reflects

    def pack(self, lights: Lights, eye: jax.Array) -> jax.Array:
        """All numbers in a row `[U]`."""
        numbers = [getattr(lights, name) for name, _ in self.shapes]
        numbers += [eye] if self.reflects else []
        return jnp.concatenate([number.reshape(-1) for number in numbers])

    def unpack(self, uniforms: list, ndim: int) -> tuple[Lights, jax.Array | None]:
        """Lights and viewpoint by components, as `blinn_phong` takes them.

        Args:
            uniforms: those numbers, each of a shape that is broadcast to that of points.
            ndim: how many axes points have.
        """
        rest = iter(uniforms)

        def take(shape: tuple[int, ...]) -> jax.Array:
            numbers = [next(rest) for _ in range(math.prod(shape))]
            if not numbers:
                return jnp.zeros((3, 0, *(1,) * ndim), uniforms[0].dtype)
            axes = (*(1,) * (ndim - numbers[0].ndim), *numbers[0].shape)
            stacked = jnp.stack(numbers).reshape(*shape, *axes)
            return jnp.moveaxis(stacked, len(shape) - 1, 0) if shape else stacked

        parts: dict[str, Any] = {name: take(shape) for name, shape in self.shapes}
        eye = take((4,))[:, None] if self.reflects else None
        if not self.reflects:
            parts |= {"specular": parts["ambient"], "shininess": parts["ambient"][0]}
        return self.kind(**parts, **dict(self.static)), eye


@functools.cache
def _lit_phong(layout: _PhongLayout) -> Callable:
    """`Lighting.lit` by interpolated normals and positions; made once, for it is static."""

    def lit(colors: list, varyings: list, uniforms: list) -> list:
        lights, eye = layout.unpack(uniforms, varyings[0].ndim)
        normal = jnp.stack(unit3((varyings[0], varyings[1], varyings[2])))
        point = jnp.stack(varyings[3:6]) if layout.has_positions else jnp.zeros_like(normal)
        if layout.has_gloss:
            specular, shininess = jnp.stack(varyings[6:9]), varyings[9]
            lights = dataclasses.replace(lights, specular=specular, shininess=shininess)
        diffuse, reflection = reflect(point[:, None], normal[:, None], lights, eye)
        return _apply(colors, diffuse, reflection)

    return lit
