"""Normals, lights, and the colour of what the rasteriser sees.

Shape legend: `V` vertices, `F` faces, `D` directional and `P` point lights, `N` points that are
lit, `C` channels, `...` any number of pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._camera import NO_LENGTH, Vector, same_float, unit, unit3
from jaxrender._checks import check_array, check_choice, check_faces, is_concrete
from jaxrender._surface import outward_signs
from jaxrender._textures import Texture, VertexColors, channels, check_texture, sample_texture
from jaxrender._types import Fragments, Lights, Mesh
from jaxrender.ops.deterministic import gather, scatter_add

SHADINGS = ("flat", "gouraud", "phong", "none")

# Normals shorter than this, where the mesh's longest edge is 1, belong to faces without area.
NO_AREA = 1e-20


def make_lights(
    ambient: ArrayLike = 0.5,
    directional: Sequence[tuple[ArrayLike, ArrayLike]] = (((0.0, 1.0, 0.0), 0.5),),
    point: Sequence[tuple[ArrayLike, ArrayLike]] = (),
    *,
    specular: ArrayLike = 0.0,
    shininess: ArrayLike = 32.0,
) -> Lights:
    """Lights, from lists of (where, colour); by default those of NMR and SoftRas.

    A colour is rgb times intensity, or one number for grey. See `shade` for what they do.

    Gradient: exact to every number given.

    Args:
        ambient: colour of the light from everywhere.
        directional: pairs (direction, colour); the direction `[3]` points from the surface
            towards the light, and its length scales the light.
        point: pairs (position, colour); the position `[3]` is in scene units.
        specular: colour of the surface's mirror-like reflection; 0 is matte.
        shininess: exponent of that reflection, not negative; larger is sharper.

    Returns:
        The lights.

    Raises:
        ValueError: a shape is wrong or a value is not finite.

    Example:
        >>> import jaxrender as jr
        >>> lights = jr.make_lights(0.2, [((0, 1, -1), (1.0, 0.9, 0.8))], specular=0.3)
        >>> lights.directions.shape, lights.positions.shape
        ((1, 3), (0, 3))
    """
    directions, direction_colors = _pairs("directional", directional)
    positions, position_colors = _pairs("point", point)
    return check_lights(
        Lights(
            ambient=_color("ambient", ambient),
            directions=directions,
            direction_colors=direction_colors,
            positions=positions,
            position_colors=position_colors,
            specular=_color("specular", specular),
            shininess=check_array("shininess", shininess, (), finite=True),
        )
    )


def face_normals(vertices: ArrayLike, faces: ArrayLike) -> jax.Array:
    """Unit normals of the faces: `n((v1 - v0) x (v2 - v0))`, with `n(v) = v / |v|`.

    They point to the side from which the corners run counter-clockwise, where the world is
    right-handed: outward on usual meshes. SoftRas's normals are these, NMR's the opposite.

    Gradient: exact to `vertices`; 0 from a face without area.

    Args:
        vertices: `[V, 3]` positions.
        faces: `[F, 3]` int32 vertex indices.

    Returns:
        `[F, 3]`; 0 for a face without area, or with a vertex that is not finite.

    Raises:
        ValueError: a shape, dtype or index is wrong.

    Example:
        >>> import jaxrender as jr
        >>> jr.face_normals([[0, 0, 0], [2, 0, 0], [0, 2, 0]], [[0, 1, 2]]).tolist()
        [[0.0, 0.0, 1.0]]
    """
    vertices = check_array("vertices", vertices, ("V", 3))
    faces = check_faces("faces", faces, vertices.shape[0])
    return unit(_area_vectors(vertices, faces), NO_AREA)


def vertex_normals(vertices: ArrayLike, faces: ArrayLike, *, orient: bool = False) -> jax.Array:
    """Unit normals at the vertices: the sum of their faces' normals, weighted by area.

    The side is that of `face_normals`. The weights are SoftRas's.

    Where neighbouring faces are wound against each other, as in many files, their normals cancel
    out, and "gouraud" and "phong" shading show dark patches. `orient` turns the normals of faces
    so that neighbours agree, as `orient_faces` turns the faces themselves. To draw such a mesh,
    call `orient_faces` once, which also sets culling right.

    Gradient: exact to `vertices`; 0 from a vertex whose faces have no area.

    Args:
        vertices: `[V, 3]` positions.
        faces: `[F, 3]` int32 vertex indices.
        orient: whether neighbouring faces are first made to agree; static. Vertices and faces
            must then be known, not traced.

    Returns:
        `[V, 3]`; 0 at a vertex in no face with an area.

    Raises:
        ValueError: a shape, dtype or index is wrong; `orient` inside `jax.jit` or `jax.grad`.

    Example:
        >>> import jaxrender as jr
        >>> jr.vertex_normals([[0, 0, 0], [2, 0, 0], [0, 2, 0]], [[0, 1, 2]])[1].tolist()
        [0.0, 0.0, 1.0]
    """
    signs = outward_signs(vertices, faces) if orient else None
    vertices = check_array("vertices", vertices, ("V", 3))
    faces = check_faces("faces", faces, vertices.shape[0])
    areas = _area_vectors(vertices, faces)
    if signs is not None:
        areas = areas * jnp.asarray(signs, areas.dtype)[:, None]
    corners = jnp.broadcast_to(areas[:, None], (*faces.shape, 3))
    return unit(scatter_add(jnp.zeros_like(vertices), faces, corners), NO_AREA)


def shade(
    fragments: Fragments,
    mesh: Mesh,
    lights: Lights | None = None,
    *,
    eye: ArrayLike | None = None,
    shading: str = "flat",
    two_sided: bool = True,
) -> jax.Array:
    """The colour of what is seen at each pixel: texture times light, plus reflection.

    With the unit normal n at the point x, the unit direction v to the viewer, and for each
    light its colour c and direction l (for a point light the unit vector to it),

        colour = texture · (ambient + Σ c max(0, n·l)) + specular · Σ c max(0, n·h)ˢ

    with s the shininess and the half vector `h = n(l + v)` (Blinn-Phong), only for lights in
    front of the surface. The `l` of a directional light is not normalised, as in NMR and
    SoftRas: its length scales the light. Point lights do not fall off with distance. There are
    no shadows. Light multiplies the texture's values as they are, be they display-encoded or
    linear: NMR and SoftRas light display values; light adds up as in nature with linear ones
    (`load_mesh(…, colors="linear")`). What is evaluated where:

        "flat"     light per face, at its centroid, with its own normal
        "gouraud"  light per vertex, with `vertex_normals`, interpolated
        "phong"    `vertex_normals` interpolated, light per pixel
        "none"     no light: the texture alone, with any number of channels

    With `two_sided` and an `eye`, a face seen from behind is lit on the side that is seen: its
    normal, as `face_normals` gives it, is flipped. Without, its own normal counts whatever
    side is seen, as in NMR and SoftRas. Interpolated normals need faces that are wound alike: see
    `orient_faces`.

    Gradient: exact to textures, lights, `eye`, the mesh's vertices (through normals and
    positions) and barycentrics. Which face is seen, and from which side, has none.

    Args:
        fragments: what the rasteriser saw; `face` `[...]` and `barycentrics` `[..., 3]`.
        mesh: the mesh in world space, with its texture.
        lights: of `make_lights` or `Lights`; None is NMR's and SoftRas's: half ambient, half
            from (0, 1, 0).
        eye: where the scene is seen from, `[3]` a world position or `[4]` as `viewpoint` gives
            it; None is nowhere: no reflection, and `two_sided` is ignored.
        shading: "flat", "gouraud", "phong" or "none"; static.
        two_sided: whether the back of a face is lit as a front; static.

    Returns:
        `[..., C]` colours, in the texture's encoding; 0 where there is no face.

    Raises:
        ValueError: a shape, dtype, index or texture is wrong; light on a texture that has not 3
            channels; specular reflection without `eye`. Inside jit, where values are not
            known, faces with a vertex that is not finite have no normal.

    Example:
        >>> import jaxrender as jr, jax.numpy as jnp
        >>> mesh = jr.Mesh(jnp.eye(3), jnp.array([[0, 1, 2]]))
        >>> seen = jr.Fragments(jnp.array([0]), jnp.full((1, 3), 1 / 3), jnp.ones(1))
        >>> jr.shade(seen, mesh, jr.make_lights(0.25, directional=())).tolist()
        [[0.25, 0.25, 0.25]]

    References:
        Blinn, Models of light reflection for computer synthesized pictures, SIGGRAPH 1977.
    """
    # Check everything at the door.
    check_choice("shading", shading, SHADINGS)
    face = check_array("fragments.face", fragments.face, ("...",), kind="int")
    barycentrics = check_array("fragments.barycentrics", fragments.barycentrics, (*face.shape, 3))
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    faces = check_faces("mesh.faces", mesh.faces, vertices.shape[0])
    texture = check_texture(mesh.texture, Mesh(vertices, faces))
    matte = lights is None
    lights = check_lights(make_lights() if lights is None else lights)
    eye = _check_eye(eye, None if matte else lights.specular)

    # Read the texture.
    colors = sample_texture(texture, faces, face, barycentrics)
    if shading == "none" or faces.shape[0] == 0:
        return colors
    check_lit(texture)

    # Light it, and keep the reflection from where no face is.
    diffuse, reflection = _light_seen(
        face,
        barycentrics,
        Mesh(vertices, faces),
        lights,
        shading,
        turned_to=eye if two_sided else None,
        reflected_to=None if matte else eye,
    )
    colors = colors * diffuse
    if reflection is not None:
        colors = colors + jnp.where((face >= 0)[..., None], reflection, 0)
    return colors


def _light_seen(
    face: jax.Array,
    barycentrics: jax.Array,
    mesh: Mesh,
    lights: Lights,
    shading: str,
    *,
    turned_to: jax.Array | None,
    reflected_to: jax.Array | None,
) -> tuple[jax.Array, jax.Array | None]:
    """Diffuse light and reflection `[..., 3]` at each pixel; see `shade`.

    The viewpoints say to whom normals are turned, and to whom light is reflected, if to anyone.
    """
    vertices, faces = mesh.vertices, mesh.faces
    own_face = jnp.clip(face, 0, faces.shape[0] - 1)

    # Light faces, and spread each face's light over its pixels.
    if shading == "flat":
        diffuse, reflection = jax.tree.map(
            lambda light: gather(light, own_face),
            _light_faces(mesh, lights, turned_to, reflected_to),
        )
        return diffuse, reflection

    # Light vertices, and interpolate.
    if shading == "gouraud":
        sides, light = _light_vertices(mesh, lights, turned_to, reflected_to)
        diffuse, reflection = jax.tree.map(
            lambda light: sample_texture(VertexColors(light), sides, face, barycentrics), light
        )
        return diffuse, reflection

    # Interpolate places and normals, and light every pixel.
    surface = jnp.concatenate([_finite(vertices), vertex_normals(vertices, faces)], -1)
    points = sample_texture(VertexColors(surface), faces, face, barycentrics).reshape(-1, 6)
    places, normals = points[:, :3], unit(points[:, 3:])
    back = _shows_back(mesh, face_normals(vertices, faces), turned_to)
    if back is not None:
        flipped = jnp.take(back, own_face.reshape(-1), axis=0, mode="clip")
        normals = jnp.where(flipped[:, None], -normals, normals)
    diffuse, reflection = jax.tree.map(
        lambda light: light.reshape(*face.shape, 3), _light(places, normals, lights, reflected_to)
    )
    return diffuse, reflection


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
    shading: str,
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
    matte = lights is None
    lights = make_lights() if lights is None else lights
    turned_to, reflected_to = eye if two_sided else None, None if matte else eye
    none = jnp.zeros(0, mesh.vertices.dtype)
    if shading == "flat":
        by_face = _light_faces(mesh, lights, turned_to, reflected_to)
        parts = [light[:, None] for light in by_face if light is not None]
        values = jnp.concatenate(parts, axis=-1)
        values = jnp.broadcast_to(values, (*mesh.faces.shape, values.shape[-1]))
        return Lighting(values, none, _multiply_and_add, constant=True)
    if shading == "gouraud":
        sides, by_vertex = _light_vertices(mesh, lights, turned_to, reflected_to)
        parts = [gather(light, sides) for light in by_vertex if light is not None]
        return Lighting(jnp.concatenate(parts, axis=-1), none, _multiply_and_add)

    # Give each corner its normal, turned to the viewer, and its position if light depends on it.
    normals = gather(vertex_normals(mesh.vertices, mesh.faces), mesh.faces)
    back = _shows_back(mesh, face_normals(mesh.vertices, mesh.faces), turned_to)
    if back is not None:
        normals = jnp.where(back[:, None, None], -normals, normals)
    layout = _PhongLayout(lights.directions.shape[0], lights.positions.shape[0], not matte)
    varyings = [normals]
    if layout.has_positions:
        varyings.append(gather(_finite(mesh.vertices), mesh.faces))
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
    parts = [[part[..., c] for c in range(part.shape[-1])] for part in (colors, here)]
    return jnp.stack(lighting.lit(*parts, list(lighting.uniforms)), axis=-1)


def _multiply_and_add(colors: list, varyings: list, uniforms: list) -> list:
    """Colours times the first three varyings, plus the next three, if there are any."""
    return _apply(colors, varyings[:3], varyings[3:] or None)


def _apply(colors: list, diffuse: list, reflection: list | None) -> list:
    """Colours in diffuse light, and with what they reflect."""
    colors = [color * light for color, light in zip(colors, diffuse, strict=True)]
    if reflection is not None:
        colors = [color + shine for color, shine in zip(colors, reflection, strict=True)]
    return colors


class _PhongLayout(NamedTuple):
    """How lights, and the viewpoint that they are reflected to, are laid out as uniforms."""

    directional: int
    point: int
    reflects: bool

    @property
    def has_positions(self) -> bool:
        """Whether light depends on where a point is."""
        return self.point > 0 or self.reflects

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "ambient": (3,),
            "directions": (self.directional, 3),
            "direction_colors": (self.directional, 3),
            "positions": (self.point, 3),
            "position_colors": (self.point, 3),
        }
        if self.reflects:
            shapes |= {"specular": (3,), "shininess": ()}
        return shapes

    def pack(self, lights: Lights, eye: jax.Array) -> jax.Array:
        """All numbers in a row `[U]`."""
        numbers = [getattr(lights, name) for name in self._shapes()]
        numbers += [eye] if self.reflects else []
        return jnp.concatenate([number.reshape(-1) for number in numbers])

    def unpack(self, uniforms: list, ndim: int) -> tuple[Lights, jax.Array | None]:
        """Lights and viewpoint by components, as `_light_at` takes them.

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

        parts = {name: take(shape) for name, shape in self._shapes().items()}
        if not self.reflects:
            parts |= {"specular": parts["ambient"], "shininess": parts["ambient"][0]}
            return Lights(**parts), None
        return Lights(**parts), take((4,))[:, None]


@functools.cache
def _lit_phong(layout: _PhongLayout) -> Callable:
    """`Lighting.lit` by interpolated normals and positions; made once, for it is static."""

    def lit(colors: list, varyings: list, uniforms: list) -> list:
        lights, eye = layout.unpack(uniforms, varyings[0].ndim)
        normal = jnp.stack(unit3((varyings[0], varyings[1], varyings[2])))
        point = jnp.stack(varyings[3:6]) if layout.has_positions else jnp.zeros_like(normal)
        diffuse, reflection = _light_at(point[:, None], normal[:, None], lights, eye)
        return _apply(colors, diffuse, reflection)

    return lit


def _light_faces(
    mesh: Mesh, lights: Lights, turned_to: jax.Array | None, reflected_to: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    """Diffuse light and reflection `[F, 3]` at the centroids; see `_light_seen`."""
    normals = face_normals(mesh.vertices, mesh.faces)
    back = _shows_back(mesh, normals, turned_to)
    if back is not None:
        normals = jnp.where(back[:, None], -normals, normals)
    return _light(_centroids(mesh), normals, lights, reflected_to)


def _light_vertices(
    mesh: Mesh, lights: Lights, turned_to: jax.Array | None, reflected_to: jax.Array | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array | None]]:
    """The same at the vertices, and the rows `[F, 3]` that faces read, by the side they show."""
    vertices, faces = mesh.vertices, mesh.faces
    places, normals, sides = _finite(vertices), vertex_normals(vertices, faces), faces
    back = _shows_back(mesh, face_normals(vertices, faces), turned_to)
    if back is not None:
        sides = jnp.where(back[:, None], faces + vertices.shape[0], faces)
        places = jnp.concatenate([places, places])
        normals = jnp.concatenate([normals, -normals])
    return sides, _light(places, normals, lights, reflected_to)


def _shows_back(mesh: Mesh, normals: jax.Array, turned_to: jax.Array | None) -> jax.Array | None:
    """Which faces `[F]` show their back to the viewer, if there is one."""
    if turned_to is None:
        return None
    to_viewer = _to_viewer(_components(_centroids(mesh).T), turned_to)
    return _dot(_components(normals.T), to_viewer) < 0


def _centroids(mesh: Mesh) -> jax.Array:
    return gather(_finite(mesh.vertices), mesh.faces).mean(1)


def _finite(vertices: jax.Array) -> jax.Array:
    """Vertices that are not finite kept out of positions; normals leave their faces out."""
    return jnp.where(jnp.isfinite(vertices).all(-1, keepdims=True), vertices, 0)


def _light(
    points: jax.Array, normals: jax.Array, lights: Lights, eye: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    """Diffuse light `[N, 3]`, and with an eye the reflection `[N, 3]`."""
    spread = jax.tree.map(lambda numbers: numbers.T[..., None], lights)
    eye = None if eye is None else eye[:, None, None]
    diffuse, reflection = _light_at(points.T[:, None], normals.T[:, None], spread, eye)
    return jnp.stack(diffuse, -1), None if reflection is None else jnp.stack(reflection, -1)


def _light_at(
    points: jax.Array, normals: jax.Array, lights: Lights, eye: jax.Array | None
) -> tuple[list[jax.Array], list[jax.Array] | None]:
    """Light on points of any arrangement, by components, which XLA vectorises.

    Args:
        points: `[3, 1, ...]`.
        normals: `[3, 1, ...]` unit length.
        lights: with `[3, ...]` ambient and specular, `[3, L, ...]` vectors and colours, and
            shininess `[...]`; each `...` that of the points, or broadcastable to it.
        eye: `[4, 1, ...]`, or None for no reflection.

    Returns:
        Red, green and blue `[...]` of diffuse light, and of the reflection.
    """
    point, normal = _components(points), _components(normals)
    parallel = _components(lights.directions)
    x, y, z = _components(lights.positions)
    central = unit3((x - point[0], y - point[1], z - point[2]))

    # Sum what falls on the surface.
    facing = _dot(normal, parallel), _dot(normal, central)
    diffuse = [
        lights.ambient[c] + mixed for c, mixed in enumerate(_mix(lights, facing[0], facing[1]))
    ]
    if eye is None:
        return diffuse, None

    # Sum what it reflects to the viewer; the length of a direction scales its light.
    to_eye = unit3(_to_viewer(point, eye))
    along = unit3(parallel)
    strength = _dot(parallel, along)
    glint = (
        strength * _glint(normal, along, to_eye, facing[0] > 0, lights.shininess[None]),
        _glint(normal, central, to_eye, facing[1] > 0, lights.shininess[None]),
    )
    mixed = _mix(lights, glint[0], glint[1])
    return diffuse, [lights.specular[c] * shine for c, shine in enumerate(mixed)]


def _glint(
    normal: Vector, to_light: Vector, to_eye: Vector, lit: jax.Array, shininess: jax.Array
) -> jax.Array:
    """`max(0, n·h)ˢ` of unit vectors, with gradient 0 where it is 0."""
    x, y, z = (light + eye for light, eye in zip(to_light, to_eye, strict=True))
    cosine = _dot(normal, unit3((x, y, z)))
    lit = lit & (cosine > NO_LENGTH)
    power = jnp.maximum(shininess, 0) * jnp.log(jnp.where(lit, cosine, 1))
    return jnp.where(lit, jnp.exp(power), 0)


def _mix(lights: Lights, parallel: jax.Array, central: jax.Array) -> list[jax.Array]:
    """The lights' colours in the given amounts `[L, ...]`, none negative, summed."""
    return [
        (jax.nn.relu(parallel) * lights.direction_colors[c]).sum(0)
        + (jax.nn.relu(central) * lights.position_colors[c]).sum(0)
        for c in range(3)
    ]


def _components(vectors: jax.Array) -> Vector:
    """The x, y and z of vectors `[3, ...]`."""
    return vectors[0], vectors[1], vectors[2]


def _dot(a: Vector, b: Vector) -> jax.Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _to_viewer(point: Vector, eye: jax.Array) -> Vector:
    """From points to the homogeneous point `eye` `[4]`, of any length."""
    x, y, z = point
    return eye[0] - eye[3] * x, eye[1] - eye[3] * y, eye[2] - eye[3] * z


def _area_vectors(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """Normals `[F, 3]` as long as the faces' areas, up to one common factor."""
    if faces.shape[0] == 0:
        return jnp.zeros((0, 3), vertices.dtype)

    # Leave out faces with a vertex that is not finite.
    corners = gather(vertices, faces)
    finite = jnp.isfinite(corners).all((1, 2), keepdims=True)
    corners = jnp.where(finite, corners, 0)

    # Scale the longest edge to 1, so that no product overflows or vanishes.
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    size = jax.lax.stop_gradient(jnp.maximum(jnp.abs(a), jnp.abs(b)).max())
    scale = jnp.where(size > NO_LENGTH, 1 / jnp.maximum(size, NO_LENGTH), 0)
    return jnp.cross(a * scale, b * scale)


def _check_eye(eye: ArrayLike | None, specular: jax.Array | None) -> jax.Array | None:
    """Returns the viewpoint as a homogeneous point `[4]`.

    Raises:
        ValueError: its shape is wrong, or it is missing and something reflects to it.
    """
    if eye is None:
        if specular is not None and is_concrete(specular) and np.asarray(specular).any():
            raise ValueError(
                "`eye` must be given for specular reflection, got None. "
                "Pass eye=viewpoint(camera), or lights with specular=0."
            )
        return None
    eye = check_array("eye", eye, ("3 or 4",), hint="Pass viewpoint(camera) or a position.")
    if eye.shape[0] == 3:
        return jnp.concatenate([eye, jnp.ones_like(eye[:1])])
    return check_array("eye", eye, (4,), hint="Pass viewpoint(camera) or a position.")


def check_lit(texture: Texture) -> None:
    """Rejects a texture that light cannot fall on.

    Raises:
        ValueError: it has not three channels.
    """
    if channels(texture) != 3:
        raise ValueError(
            f"`mesh.texture` must have 3 channels to be lit, got {channels(texture)}. "
            'Pass shading="none" to draw other channels.'
        )


def check_lights(lights: Any) -> Lights:
    """Returns lights with arrays of the right shapes.

    Raises:
        ValueError: they are not `Lights`, or an array in them has the wrong shape.
    """
    hint = "Build lights with make_lights."
    if not isinstance(lights, Lights):
        raise ValueError(f"`lights` must be Lights or None, got {type(lights).__name__}. {hint}")
    directions = check_array("lights.directions", lights.directions, ("D", 3), hint=hint)
    positions = check_array("lights.positions", lights.positions, ("P", 3), hint=hint)
    shapes = {
        "ambient": (3,),
        "direction_colors": directions.shape,
        "position_colors": positions.shape,
        "specular": (3,),
        "shininess": (),
    }
    checked = {
        name: check_array(f"lights.{name}", getattr(lights, name), shape, hint=hint)
        for name, shape in shapes.items()
    }
    shininess = checked["shininess"]
    if is_concrete(shininess) and not np.asarray(shininess) >= 0:
        raise ValueError(
            f"`lights.shininess` must not be negative, got {float(shininess)}. Pass for example 32."
        )
    checked |= {"directions": directions, "positions": positions}
    return Lights(**dict(zip(checked, same_float(*checked.values()), strict=True)))


def _color(name: str, color: ArrayLike) -> jax.Array:
    """A colour `[3]`, of rgb or of one number."""
    if np.ndim(color) == 0:
        return jnp.broadcast_to(check_array(name, color, (), finite=True), (3,))
    return check_array(name, color, (3,), finite=True, hint="Pass rgb, or one number for grey.")


def _pairs(name: str, pairs: Sequence[tuple[ArrayLike, ArrayLike]]) -> tuple[jax.Array, jax.Array]:
    """Pairs (vector, colour) as two arrays `[L, 3]`."""
    try:
        vectors, colors = zip(*((vector, color) for vector, color in pairs), strict=True)
    except (TypeError, ValueError):
        if isinstance(pairs, Sequence) and not pairs:
            return jnp.zeros((0, 3)), jnp.zeros((0, 3))
        raise ValueError(
            f"`{name}` must be a list of pairs (vector, colour), got {pairs!r}. "
            "Pass for example [((0, 1, 0), 0.5)]."
        ) from None
    vectors = [check_array(f"{name} vector", vector, (3,), finite=True) for vector in vectors]
    return jnp.stack(vectors), jnp.stack([_color(f"{name} colour", color) for color in colors])
