"""`load_scene`: what a glTF file shows as objects, with its cameras and lights.

Shape legend: `V` vertices, `F` faces.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._camera import look, orthographic, perspective
from jaxrender._checks import check_array, check_choice, check_flag, check_path, check_positive
from jaxrender._choices import ENCODINGS, Encoding
from jaxrender._formats import gltf
from jaxrender._formats.convert import material_of, mesh_of, texture_of, warn_of_rounding
from jaxrender._formats.gltf_views import Light, View
from jaxrender._formats.raw import BeyondError, RawMesh, floats, keeping_to, naming
from jaxrender._images import read_pixels
from jaxrender._material import NUMBERS, Material
from jaxrender._scene import Object, Scene, make_scene
from jaxrender._shading import make_lights
from jaxrender._textures import FaceTexels, Texture, UVTexture, VertexColors
from jaxrender._types import Camera, Lights, Mesh


class SceneFile(NamedTuple):
    """A scene as a file has it; see `load_scene`.

    Attributes:
        scene: to be drawn; with `lights` if the file has some.
        names: of its objects, in their order: those of their nodes.
        cameras: by the names of their nodes, or else their own.
        options: by the same names, `near` and `far` as the cameras have them, for `render`.
        aspects: by the same names, width over height of their pictures; None is any.
        objects: what `scene` was made of, for `make_scene` together with others.
        lights: those of the file, or None.
    """

    scene: Scene
    names: tuple[str, ...]
    cameras: dict[str, Camera]
    options: dict[str, dict[str, Any]]
    aspects: dict[str, float | None]
    objects: tuple[Object, ...]
    lights: Lights | None


def load_scene(
    path: str | Path,
    *,
    colors: Encoding = "display",
    exposure: ArrayLike = 1.0,
    time: float | None = None,
    animation: int | str | Sequence[int | str] | None = None,
    scene: int | str | None = None,
    origin: tuple[float, float, float] | None = None,
    within_folder: bool = False,
) -> SceneFile:
    """Reads a glTF or GLB file as a scene: an object for each node that shows a mesh.

    It looks like the mesh that `load_mesh` makes of the file, but its objects can be moved, hidden
    and painted each by itself, and what several nodes show is kept once. Each object has a row of
    `scene.material` for each of its materials.

    Objects, cameras and lights stand where the nodes do, at rest or in an animation at `time`:
    `scene.at(load_scene(path, time=2.0).scene.poses)` moves a scene on. What a skeleton bends is
    bent as of then, in the world, and its pose is the unit. Instances of
    `EXT_mesh_gpu_instancing` are objects of one name.

    Lights are those of `KHR_lights_punctual`, and nothing else: without ambient light. Directional
    ones fall as they are, point lights and spots by the square of the distance, spots between
    their two cones as glTF says. A surface of colour c that faces light of intensity I, in lux or
    candela, at the distance 1 is seen as `exposure · c I / π`; files of Blender count in thousands.
    Where the light of a lamp is cut off (`range`) is not kept, and warned of, as all is that
    `load_mesh` warns of. Light adds up as in nature with `colors="linear"`.

    Args:
        path: the file.
        colors: as of `load_mesh`, the encoding of all colours.
        exposure: `[]` what multiplies the lights, positive.
        time: when in the animation, seconds; held at its ends. None: as it stands.
        animation: its number or name, or several; as of `load_mesh`.
        scene: its number or name; None is the one that the file shows.
        origin: what to subtract from all places in float64, where they are far away.
        within_folder: whether to refuse what names a file outside of the scene's own folder.

    Returns:
        The scene, and what else the file says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no glTF file, is damaged or draws nothing; or an argument is not as above.
        ImportError: what reads its pictures, or decompresses it, is not installed.

    Example:
        >>> file = load_scene("room.glb", colors="linear")  # doctest: +SKIP
        >>> camera, options = file.cameras["Camera"], file.options["Camera"]  # doctest: +SKIP
        >>> image = jr.render(
        ...     file.scene, camera, image_size=(120, 160), **options
        ... )  # doctest: +SKIP
    """
    path = check_path("path", path)
    check_choice("colors", colors, ENCODINGS)
    if path.suffix.lower() not in (".glb", ".gltf"):
        raise ValueError(f"{path}: scenes are read from .glb and .gltf. Load it with load_mesh.")
    if not path.is_file():
        raise FileNotFoundError(f"no scene file {path}")
    motion = check_motion(path, time, animation, scene)
    shift = np.zeros(3)
    if origin is not None:
        check_array("origin", origin, (3,), finite=True)
        shift = np.asarray(origin, np.float64)
    exposure = check_positive("exposure", exposure, jnp.result_type(float))
    folder = path.parent if check_flag("within_folder", within_folder) else None
    with naming(f"the scene {path}"), keeping_to(folder):
        found = gltf.read_objects(path, read_pixels, colors, **motion)

    # Move all before its numbers are rounded.
    things = [thing._replace(matrix=_moved(thing.matrix, shift)) for thing in found.things]
    warn_of_rounding(path, _in_world(found.shapes, things), jnp.result_type(float))
    raw = found.shapes
    with naming(f"the scene {path}", BeyondError):
        meshes = _apart(mesh_of(raw, texture_of(raw), material_of(raw)), raw.face_object)
        objects = tuple(Object(meshes[own.shape], pose=floats(own.matrix)) for own in things)
    lights = _lights(found.lights, shift, exposure) if found.lights else None
    return SceneFile(
        scene=make_scene(objects, lights),
        names=tuple(thing.name for thing in things),
        cameras={name: _camera(view, shift) for name, view in found.cameras.items()},
        options={name: {"near": v.near, "far": v.far} for name, v in found.cameras.items()},
        aspects={name: view.aspect for name, view in found.cameras.items()},
        objects=objects,
        lights=lights,
    )


def check_motion(path: Path, time: Any, animation: Any, scene: Any) -> dict[str, Any]:
    """What `read_gltf` takes of a time, an animation and a scene.

    Raises:
        ValueError: one is none, or is asked of a format without.
    """
    several = animation if isinstance(animation, list | tuple) else (animation,)
    several = () if animation is None else tuple(several)
    if time is not None and not (isinstance(time, numbers.Real) and math.isfinite(time)):
        raise ValueError(f"`time` must be seconds, a finite number, got {time!r}. Pass 0.0.")
    for name, value in (*(("animation", each) for each in several), ("scene", scene)):
        if not (isinstance(value, str | numbers.Integral) or (name == "scene" and value is None)):
            raise ValueError(f"`{name}` must be a number or a name, got {value!r}. Pass 0.")
    asked = {
        "time": time is not None,
        "animation": animation is not None,
        "scene": scene is not None,
    }
    for name, given in asked.items():
        if given and path.suffix.lower() not in (".glb", ".gltf"):
            raise ValueError(f"`{name}` is for glTF files, got {path}. Leave it out.")
    if animation is not None and time is None:
        raise ValueError(f"`time` must say when, with animation={animation!r}. Pass time=0.0.")
    return {"time": time, "animations": several, "scene": scene}


def _moved(matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The pose less an origin."""
    moved = matrix.copy()
    moved[:3, 3] -= shift
    return moved


def _in_world(shapes: RawMesh, things: list[gltf.Thing]) -> RawMesh:
    """The vertices of all objects where they are, and their faces."""
    assert shapes.face_object is not None
    vertices, faces, start = [], [], 0
    for thing in things:
        own = shapes.faces[shapes.face_object == thing.shape]
        used, local = np.unique(own, return_inverse=True)
        vertices.append(shapes.vertices[used] @ thing.matrix[:3, :3].T + thing.matrix[:3, 3])
        faces.append(local.reshape(-1, 3) + start)
        start += len(used)
    return RawMesh(np.concatenate(vertices), np.concatenate(faces))


def _apart(mesh: Mesh, owner: Any) -> list[Mesh]:
    """The faces of a mesh as one mesh for each number in `owner` `[F]`; pictures are shared."""
    faces = np.asarray(mesh.faces)
    return [_only(mesh, faces, np.flatnonzero(owner == own)) for own in range(max(owner) + 1)]


def _only(mesh: Mesh, faces: np.ndarray, rows: np.ndarray) -> Mesh:
    """Some faces of a mesh, with what they need."""
    used, local = np.unique(faces[rows], return_inverse=True)

    def shown(texture: Texture | None) -> Any:
        if isinstance(texture, VertexColors):
            return dataclasses.replace(texture, colors=_rows(texture.colors, used))
        if isinstance(texture, FaceTexels):
            return dataclasses.replace(texture, texels=_rows(texture.texels, rows))
        if isinstance(texture, UVTexture):
            read, corners = np.unique(np.asarray(texture.faces)[rows], return_inverse=True)
            return dataclasses.replace(
                texture,
                uv=_rows(texture.uv, read),
                tint=_rows(texture.tint, read),
                faces=jnp.asarray(corners.reshape(-1, 3), jnp.int32),
                pages=_rows(texture.pages, rows),
                samplers=_rows(texture.samplers, rows),
            )
        return texture

    # Normals have faces of their own where corners of a vertex differ.
    normals, own = mesh.normals, mesh.normal_faces
    if own is None:
        normals = _rows(normals, used)
    else:
        there, corners = np.unique(np.asarray(own)[rows], return_inverse=True)
        normals, own = _rows(normals, there), jnp.asarray(corners.reshape(-1, 3), jnp.int32)
    material = mesh.material
    if material is not None:
        material = _rows_of(material, rows).with_maps(shown)
    vertices, corners = _rows(mesh.vertices, used), jnp.asarray(local.reshape(-1, 3), jnp.int32)
    return Mesh(vertices, corners, shown(mesh.texture), normals, own, material)


def _rows_of(material: Material, rows: np.ndarray) -> Material:
    """A material with the rows that some faces have."""
    if material.group is None:
        return material
    kept, group = np.unique(np.asarray(material.group)[rows], return_inverse=True)
    numbers_ = {name: _rows(getattr(material, name), kept) for name in NUMBERS}
    return dataclasses.replace(material, group=jnp.asarray(group, jnp.int32), **numbers_)


def _rows(array: jax.Array | None, rows: np.ndarray) -> Any:
    """Some rows of an array that may be None."""
    # In NumPy: JAX would compile a program for each number of rows.
    return None if array is None else jnp.asarray(np.asarray(array)[rows])


def _camera(view: View, shift: np.ndarray) -> Camera:
    """A camera of a file as a `Camera`, in the world moved by `-shift`."""
    lens = (orthographic if view.parallel else perspective)(view.extent)
    return look(floats(view.eye - shift), view.ahead, view.up, projection=lens)


def _lights(lights: list[Light], shift: np.ndarray, exposure: jax.Array) -> Lights:
    """The lights of a file in our struct; `π` is what glTF's diffuse surfaces divide by."""
    strength = exposure / math.pi
    spots = []
    for own in lights:
        if own.kind == "spot":
            place = own.place - shift
            spots.append((place, own.color * strength, own.ahead, own.outer, 0.0, own.inner))
    return make_lights(
        0.0,
        [(-own.ahead, own.color * strength) for own in lights if own.kind == "directional"],
        [(own.place - shift, own.color * strength) for own in lights if own.kind == "point"],
        spot=spots,
        attenuation=(0.0, 0.0, 1.0),
    )
