"""`scene_from_model`: the geoms of a model as a scene.

Shape legend: `N` geoms.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._checks import check_array, is_concrete
from jaxrender._color import decode
from jaxrender._material import Material
from jaxrender._scene import Object, Scene, make_scene
from jaxrender._textures import FaceTexels
from jaxrender._types import Mesh
from jaxrender.mujoco import shapes
from jaxrender.mujoco.shapes import Shape
from jaxrender.mujoco.state import check_model
from jaxrender.mujoco.textures import Pictures, texture_of

# mjtGeom.
PLANE, HFIELD, SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX, MESH, SDF = range(9)
UNCHANGED = np.array([0.5, 0.5, 0.5, 1.0])  # the rgba of a geom that leaves it to its material
OPAQUE = 0.995  # alpha from which MuJoCo draws a geom without blending
PLAIN = (0.5, 0.5, 0.0)  # specular, shininess and emission without a material
SHARPEST = 128.0  # the exponent of shininess 1
PARALLEL = 3.0  # how far planes without an end go, in depths of the far plane


def scene_from_model(
    model: Any,
    *,
    groups: Sequence[int] = (0, 1, 2),
    geom_size: ArrayLike | None = None,
    geom_rgba: ArrayLike | None = None,
) -> Scene:
    """Makes a scene of a MuJoCo model: an object for each geom, of the geom's number.

    Shapes, normals, texture coordinates, materials and textures are those of the compiled model,
    not of files; round geoms have as many sides as `vis.quality` says. Geoms of one kind share one
    shape. Planes of size 0 go as far as the camera sees. A geom of another group, or of alpha 0, is
    there, and not drawn.

    Gradient: to `geom_size` and `geom_rgba`, exact: of spheres, capsules, ellipsoids, cylinders,
    boxes and planes with an end, that they are scaled. Textures that repeat by size
    (`texuniform`) do so by that of the model.

    Args:
        model: a `mujoco.MjModel`.
        groups: of geoms that are drawn, 0 to 5; by default those of MuJoCo.
        geom_size: `[N, 3]` in place of the model's, may be traced.
        geom_rgba: `[N, 4]` likewise; MuJoCo's default, (0.5, 0.5, 0.5, 1), leaves it to the
            material, if there is one. Alpha says only whether a geom is drawn, or where it is not
            known, that of the model does.

    Returns:
        The scene, with the geoms at the origin: see `poses`. Its material has a row for each geom.

    Raises:
        ValueError: it is no model, or draws nothing.

    Example:
        >>> import mujoco
        >>> import jaxrender.mujoco
        >>> model = mujoco.MjModel.from_xml_string(
        ...     "<mujoco><worldbody><geom type='sphere' size='.3'/></worldbody></mujoco>"
        ... )
        >>> scene = jaxrender.mujoco.scene_from_model(model)
        >>> round(scene.mesh().vertices.max().item(), 6)
        0.3
    """
    check_model(model)
    count = int(model.ngeom)
    dtype = jnp.result_type(float)
    sizes = np.asarray(model.geom_size) if geom_size is None else geom_size
    sizes = check_array("geom_size", sizes, (count, 3), finite=True, dtype=dtype)
    painted = None
    if geom_rgba is not None:
        painted = check_array("geom_rgba", geom_rgba, (count, 4), finite=True, dtype=dtype)
    pictures = Pictures(model, [texture_of(model, int(own)) for own in model.geom_matid])
    builder = _Builder(model, pictures, {})
    known = is_concrete(geom_rgba)
    given = model.geom_rgba if painted is None or not known else geom_rgba
    surfaces = [
        _surface(model, number, rgba) for number, rgba in enumerate(np.asarray(given, np.float64))
    ]
    emits = any(own.emission > 0 for own in surfaces)

    objects, unseen = [], []
    for number, surface in enumerate(surfaces):
        parts: list[tuple[Mesh, jax.Array | None]] = []
        group = min(max(int(model.geom_group[number]), 0), 5)
        if group in groups and surface.rgba[3] > 0:
            parts = builder.parts(number, sizes[number])
            if surface.rgba[3] < OPAQUE and known:
                unseen.append(_name(model, number))
        rgba = jnp.asarray(surface.rgba, dtype)
        if painted is not None and not known:
            rgba = _left_to_material(model, number, painted[number])
        places = [jnp.eye(4, dtype=dtype) if place is None else place for _, place in parts]
        color = jnp.concatenate([decode(rgba[:3], jnp), rgba[3:]])
        numbers = {
            "base_color": color[None],
            "specular": jnp.full((1, 3), surface.specular, dtype),
            "shininess": jnp.full(1, surface.shininess * SHARPEST, dtype),
        }
        meshes = [mesh for mesh, _ in parts]
        if emits:
            glow = rgba[:3] * surface.emission
            meshes = [
                _with_material(mesh, Material(emissive=_even(mesh, glow), **numbers))
                for mesh in meshes
            ]
        objects.append(
            Object(
                tuple(meshes),
                material=None if emits else Material(**numbers),
                local=jnp.stack(places) if places else None,
            )
        )
    _warn(model, unseen)
    if not any(thing.mesh for thing in objects):
        raise ValueError(
            f"`model` must have geoms in the groups {tuple(groups)}, of alpha above 0, to be "
            f"drawn, got none of its {count}. Pass groups=range(6) for all groups."
        )
    return _last_first(make_scene(objects))


def _last_first(scene: Scene) -> Scene:
    """The scene with its faces in reverse: of those that tie MuJoCo shows the last one."""
    parts = scene.parts
    turned = {
        name: None if (table := getattr(parts, name)) is None else table[::-1]
        for name in ("object_of_face", "faces", "face_source", "normal_faces")
    }
    material = scene.material
    if material is not None and material.group is not None:
        material = dataclasses.replace(material, group=material.group[::-1])
    parts = dataclasses.replace(parts, **turned)
    return dataclasses.replace(scene, parts=parts, material=material)


class _Surface(NamedTuple):
    """What a geom looks like beside its texture."""

    rgba: np.ndarray  # [4]
    specular: float
    shininess: float
    emission: float


def _surface(model: Any, number: int, rgba: np.ndarray) -> _Surface:
    """That of a geom, whose own colour may overrule its material's."""
    material = int(model.geom_matid[number])
    if material < 0:
        return _Surface(rgba, *PLAIN)
    if np.array_equal(rgba, UNCHANGED):
        rgba = np.asarray(model.mat_rgba, np.float64)[material]
    rest = (model.mat_specular, model.mat_shininess, model.mat_emission)
    return _Surface(rgba, *(float(numbers[material]) for numbers in rest))


def _left_to_material(model: Any, number: int, rgba: jax.Array) -> jax.Array:
    """The colour of a geom by its own, traced; one that is its material's has the same gradient."""
    material = int(model.geom_matid[number])
    if material < 0:
        return rgba
    own = jnp.asarray(np.asarray(model.mat_rgba)[material], rgba.dtype)
    unchanged = (rgba == jnp.asarray(UNCHANGED, rgba.dtype)).all()
    return rgba + jax.lax.stop_gradient(jnp.where(unchanged, own - rgba, 0))


def _even(mesh: Mesh, color: jax.Array) -> FaceTexels:
    """A texture of one colour for the whole mesh."""
    return FaceTexels(jnp.broadcast_to(color, (len(mesh.faces), 1, 1, 3)))


def _with_material(mesh: Mesh, material: Material) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, mesh.texture, mesh.normals, mesh.normal_faces, material)


def _name(model: Any, number: int) -> str:
    """What a geom is called, or its number."""
    found = model.geom(number).name if hasattr(model, "geom") else ""
    return repr(found) if found else f"number {number}"


def _warn(model: Any, transparent: list[str]) -> None:
    """Says what of the model is not drawn as MuJoCo draws it."""
    left_out = [
        (f"{len(transparent)} half transparent geoms are drawn opaque, such as", transparent),
        ("flexes are not drawn:", [str(model.nflex)] if getattr(model, "nflex", 0) else []),
        ("skins are not drawn:", [str(model.nskin)] if getattr(model, "nskin", 0) else []),
    ]
    for words, names in left_out:
        if names:
            warnings.warn(f"`model`: {words} {', '.join(names[:3])}.", UserWarning, stacklevel=3)


class _Builder(NamedTuple):
    """Makes meshes of shapes, each once, so that geoms share them."""

    model: Any
    pictures: Pictures
    made: dict[Any, Mesh]

    def parts(self, number: int, size: jax.Array) -> list[tuple[Mesh, jax.Array | None]]:
        """The meshes of a geom, and the scales `[4, 4]` of those that have one."""
        model, quality = self.model, self.model.vis.quality
        kind, own = int(model.geom_type[number]), int(model.geom_dataid[number])
        slices, stacks = int(quality.numslices), int(quality.numstacks)
        x, y, z = size
        if kind == PLANE:
            given = np.asarray(model.geom_size)[number]
            endless = bool(given[0] <= 0), bool(given[1] <= 0)
            extent = PARALLEL * float(model.vis.map.zfar) * float(model.stat.extent)
            key = "plane", *endless
            wide, high = (
                1.0 if never else side for never, side in zip(endless, (x, y), strict=True)
            )
            shape = shapes.plane(extent, endless=endless)
            return [(self._mesh(number, key, shape), _scaled(wide, high, 1.0))]
        if kind in (SPHERE, ELLIPSOID):
            scale = (x, x, x) if kind == SPHERE else (x, y, z)
            ball = shapes.sphere(slices, stacks)
            return [(self._mesh(number, "ball", ball), _scaled(*scale))]
        if kind == CAPSULE:
            # The halves of a ball, whose middles are at 1, are moved to the ends of the axis.
            tube = self._mesh(number, "tube", shapes.tube(slices))
            parts: list[tuple[Mesh, jax.Array | None]] = [(tube, _scaled(x, x, y))]
            for sign in (1, -1):
                half = shapes.half_sphere(slices, stacks, sign)
                mesh = self._mesh(number, ("half", sign), half)
                parts.append((mesh, _scaled(x, x, x, sign * (y - x))))
            return parts
        if kind == CYLINDER:
            mesh = self._mesh(number, "cylinder", shapes.cylinder(slices))
            return [(mesh, _scaled(x, x, y))]
        if kind == BOX:
            return [(self._mesh(number, "box", shapes.box()), _scaled(x, y, z))]
        if kind == HFIELD:
            return [(self._mesh(number, (kind, own), shapes.height_field(model, own)), None)]
        if kind in (MESH, SDF) and own >= 0:
            return [(self._mesh(number, (MESH, own), shapes.mesh(model, own)), None)]
        warnings.warn(
            f"`model`: geom {_name(model, number)} of type {kind} is not drawn.",
            UserWarning,
            stacklevel=4,
        )
        return []

    def _mesh(self, number: int, key: Any, shape: Shape) -> Mesh:
        """The mesh of a shape, with the texture that the geom has there."""
        picture = texture_of(self.model, int(self.model.geom_matid[number]))
        coordinates = None
        if picture >= 0:
            coordinates = self._coordinates(number, shape, picture)
            key = key, picture, coordinates[0].tobytes()
        if key not in self.made:
            dtype = jnp.result_type(float)
            texture = None
            if self.pictures.pages.keys() != {-1}:
                # Where some have a texture, the others are white in the same picture.
                blank = np.zeros((1, 3)), np.zeros((len(shape.faces), 3), int)
                texture = self.pictures.texture(picture, *(coordinates or blank))
            self.made[key] = Mesh(
                jnp.asarray(shape.vertices, dtype),
                jnp.asarray(shape.faces, jnp.int32),
                texture,
                jnp.asarray(shape.normals, dtype),
                jnp.asarray(shape.normal_faces, jnp.int32),
            )
        return self.made[key]

    def _coordinates(
        self, number: int, shape: Shape, picture: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the texture of a geom is read, `[U, 2 or 3]`, and which of them corners have."""
        model, material = self.model, int(self.model.geom_matid[number])
        repeat = np.asarray(model.mat_texrepeat, np.float64)[material]
        size = np.asarray(model.geom_size, np.float64)[number].copy()
        kind, uniform = int(model.geom_type[number]), bool(model.mat_texuniform[material])
        if kind in (SPHERE, CAPSULE, CYLINDER):
            size = np.array([size[0], size[0], size[0] if kind == SPHERE else size[1]])
        if not self.pictures.is_flat(picture):
            return shape.vertices * (size if uniform else 1.0), shape.faces
        by_size = np.where(size[:2] > 0, size[:2], 1.0)
        if shape.uv is not None and shape.uv_faces is not None:
            scale = np.where(repeat > 0, repeat, 1.0) * (by_size if uniform else 1.0)
            endless = kind == PLANE and (size[:2] <= 0).any()
            return shape.uv * scale - (0.5 if endless else 0.0), shape.uv_faces
        scale = repeat / by_size * (by_size if uniform else 1.0)
        return shape.vertices[:, :2] * np.array([0.5, -0.5]) * scale - 0.5, shape.faces


def _scaled(x: Any, y: Any, z: Any, up: Any = 0.0) -> jax.Array:
    """The map `[4, 4]` that scales along the axes, and then goes up z."""
    dtype = jnp.result_type(float)
    diagonal = jnp.stack([jnp.asarray(part, dtype) for part in (x, y, z, 1.0)])
    return jnp.diag(diagonal).at[2, 3].set(jnp.asarray(up, dtype))
