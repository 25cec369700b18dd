"""Meshes, pictures, depth and cameras, from files and to files.

Needs the extra `io` (`pip install '.[io]'` in a checkout): trimesh to write PLY and STL, pillow and
imageio for pictures; they are imported when a function first needs them.

Colours are encoded in one of two ways, and textures and pictures say in which: "display", as in
picture files (sRGB), or "linear", in proportion to light. All colours of a mesh have the same.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._camera_files import read_blender, read_colmap, read_nerf
from jaxrender._checks import (
    check_array,
    check_choice,
    check_image_size,
    check_is_mesh,
    check_path,
)
from jaxrender._choices import ENCODINGS, Encoding
from jaxrender._depth_files import load_depth, save_depth
from jaxrender._formats import FORMATS, Reading, Writing, store
from jaxrender._formats.convert import (
    blank_texture,
    material_of,
    mesh_of,
    raw_mesh,
    texture_of,
    uv_texture,
    warn_of_rounding,
)
from jaxrender._formats.raw import (
    BeyondError,
    RawMesh,
    keeping_to,
    naming,
)
from jaxrender._framing import bounding_box
from jaxrender._images import load_image, png, read_pixels, save_animation, save_image
from jaxrender._material import MAPS, Material
from jaxrender._pixels import clipped, warn_of_clipping
from jaxrender._scene_files import SceneFile, check_motion, load_scene
from jaxrender._surface import weld as weld_mesh
from jaxrender._textures.bake import bake_cubes, bake_texels
from jaxrender._types import Mesh

__all__ = [
    "SceneFile",
    "bake_cubes",
    "bake_texels",
    "load",
    "load_depth",
    "load_image",
    "load_mesh",
    "load_scene",
    "normalize",
    "read_blender",
    "read_colmap",
    "read_nerf",
    "save",
    "save_animation",
    "save_depth",
    "save_image",
    "save_mesh",
]


def __dir__() -> list[str]:
    return __all__


MeshTexture = Literal["auto", "uv", "cubes", "texels", "none"]
TEXTURES = get_args(MeshTexture)


@overload
def load_mesh(
    path: str | Path,
    *,
    texture: MeshTexture = "auto",
    texture_size: int = 4,
    colors: Encoding = "display",
    image_size: tuple[int, int] | None = None,
    centre: bool = False,
    origin: tuple[float, float, float] | None = None,
    weld: bool | float = False,
    time: float | None = None,
    animation: int | str | Sequence[int | str] | None = None,
    scene: int | str | None = None,
    within_folder: bool = False,
    objects: Literal[False] = False,
) -> Mesh: ...


@overload
def load_mesh(
    path: str | Path,
    *,
    texture: MeshTexture = "auto",
    texture_size: int = 4,
    colors: Encoding = "display",
    image_size: tuple[int, int] | None = None,
    centre: bool = False,
    origin: tuple[float, float, float] | None = None,
    weld: bool | float = False,
    time: float | None = None,
    animation: int | str | Sequence[int | str] | None = None,
    scene: int | str | None = None,
    within_folder: bool = False,
    objects: Literal[True],
) -> tuple[Mesh, jax.Array, tuple[str, ...]]: ...


def load_mesh(
    path: str | Path,
    *,
    texture: MeshTexture = "auto",
    texture_size: int = 4,
    colors: Encoding = "display",
    image_size: tuple[int, int] | None = None,
    centre: bool = False,
    origin: tuple[float, float, float] | None = None,
    weld: bool | float = False,
    time: float | None = None,
    animation: int | str | Sequence[int | str] | None = None,
    scene: int | str | None = None,
    within_folder: bool = False,
    objects: bool = False,
) -> Mesh | tuple[Mesh, jax.Array, tuple[str, ...]]:
    """Reads a mesh from a file, with what it names: an OBJ, say, its materials and pictures.

    The geometry stays the file's: vertices and faces in its order, not split at the seams of
    a texture (whose coordinates have their own face indices), but where the file itself splits
    them, as glTF does: `weld=True` joins them; polygons become fans, or, where they
    are concave or have holes, are cut ear by ear. An STL file, which repeats each face's corners,
    is welded where they are exactly equal.

    A glTF file's objects become one mesh in the scene's frame, in the order of its nodes, morphed
    and bent by their skeletons as the file has them, or as an animation has them at `time`. Factors
    and colours of vertices, which are linear there, multiply its pictures in linear light. What is
    not drawn (layers that shine through, maps of normals...) or not known is warned of by name.

    Normals in the file become those of the mesh, with their own faces where the corners of a vertex
    differ; corners without get `vertex_normals`. Change the vertices with `Mesh.with_vertices`.

    The images of several materials become pages of one `UVTexture`. As in NMR and SoftRas an
    image replaces its material's plain colour. Where a texture file is missing, or a face has
    no texture coordinates, a warning says so and the plain colour serves; faces without a
    material are white. Colours of vertices are drawn before those of materials and faces, unless
    all are white. Whatever else a file says that is not drawn is warned of; `docs/files.md` lists
    by format what is read, kept and dropped.

    A mesh that is unwrapped but has no picture, as xatlas writes it, gets a blank one, to be found:
    `texture="uv"` with the `image_size` of your choice.

    Formats mix encodings: pictures, and the vertex and face colours of OBJ, PLY and OFF files, are
    display-encoded (sRGB); `Kd` of MTL, `baseColorFactor` and vertex colours of GLB are linear.
    What is not in the encoding that `colors` asks for is converted, so that a mesh has one. Where a
    GLB file multiplies, it is linear values that are multiplied. Colours in text that count to 255
    are divided by it. A mesh without colours has no texture, so its picture is "display".

    Args:
        path: the file; its extension says the format.
        texture: what to make of the file's colours. "auto": images as `UVTexture`, else
            colours of vertices as `VertexColors`, else of faces or materials as `FaceTexels` of
            one texel, else None. "uv": `UVTexture`, plain colours too, or where there is no colour
            of faces a blank picture, if the file has texture coordinates. "cubes": `FaceCubes` as
            NMR bakes them (`bake_cubes`). "texels": `FaceTexels` as SoftRas bakes them
            (`bake_texels`). "none": no texture, and materials are not read.
        texture_size: texels along each side of a face, for "cubes" and "texels".
        image_size: `(H, W)` of the blank picture that `texture="uv"` gives a file without pictures;
            None is (256, 256), or the plain colours of faces where there are some.
        centre: whether the middle of the mesh's bounding box moves to the origin, in float64: what
            lies at (500000, 4200000) metres, say, would lose its last 25 centimetres in float32.
        origin: what to subtract from the vertices in float64, in place of that middle.
        weld: whether vertices at the same place are joined, which files split where texture or
            normals differ, see `weld`, those of different objects too; a number is how far apart
            they may be, scene units.
        colors: "display", the values of picture files, or "linear", in proportion to light; it
            becomes the texture's `encoding`.
        time: when in the animation of a glTF file, seconds; held at its ends. None: as it stands.
        animation: of a glTF file, its number or name, or those of several that run at once, as
            programs write one for each object; None is the first, and others are warned of.
        scene: of a glTF file, its number or name; None is the one that the file shows.
        within_folder: whether to refuse what names a file outside of the mesh's own folder, as a
            file of a stranger may: `mtllib ../../secret.mtl`. Links count where they lead.
        objects: whether to tell the file's objects as well: of OBJ what `o` names, or where
            there is no `o` what `g` does, of glTF its nodes, of STL in text its solids. A file
            without is one object, "".

    Returns:
        the mesh, in JAX's default float type; with `objects` also `[F]` int32 the object of each
        face, and the names of the objects.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown format, unreadable file (of a text file the message names the line), no
            faces, vertices that are not finite in JAX's default float type, or `texture="uv"` for a
            file that has neither colours of faces nor texture coordinates; a file that names
            another outside of its folder, with `within_folder`.
        ImportError: imageio (texture images), or what a compressed glTF file needs (DracoPy or
            meshopt) is not installed.

    Example:
        >>> mesh = load_mesh("spot.obj")  # doctest: +SKIP
        >>> mesh.texture.image.shape  # doctest: +SKIP
        (1024, 1024, 3)
    """
    path = check_path("path", path)
    check_choice("texture", texture, TEXTURES)
    check_choice("colors", colors, ENCODINGS)
    extension = _extension(path)
    if not path.is_file():
        raise FileNotFoundError(f"no mesh file {path}")
    motion = check_motion(path, time, animation, scene)
    _check_place(texture, image_size, centre, origin)
    tolerance = _check_weld(weld)
    for name, value in (("objects", objects), ("within_folder", within_folder)):
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"`{name}` must be True or False, got {value!r}.")
    folder = path.parent if within_folder else None
    pixels = None if texture == "none" else read_pixels
    with naming(f"the mesh {path}"), keeping_to(folder):
        raw = FORMATS[extension].read(path, Reading(colors, pixels, motion))

    # Move the mesh before its numbers are rounded.
    if origin is not None or centre:
        places = raw.vertices.astype(np.float64)
        middle = (places.min(axis=0) + places.max(axis=0)) / 2
        raw.vertices = places - (middle if origin is None else np.array(origin, np.float64))
    warn_of_rounding(path, raw, jnp.result_type(float))
    with naming(f"the mesh {path}", BeyondError):
        mesh = _drawable(path, raw, texture, image_size)
    if texture == "cubes":
        mesh = bake_cubes(mesh, texture_size)
    elif texture == "texels":
        mesh = bake_texels(mesh, texture_size)
    if tolerance is not None:
        mesh = weld_mesh(mesh, tolerance)
    if not objects:
        return mesh
    own = np.zeros(len(raw.faces), np.int32) if raw.face_object is None else raw.face_object
    return mesh, jnp.asarray(own, jnp.int32), tuple(raw.objects or [""])


def _drawable(path: Path, raw: RawMesh, texture: str, image_size: tuple[int, int] | None) -> Mesh:
    """The mesh that a file holds; its notes are warned of."""
    kind = material = None
    if texture != "none":
        kind = _texture(path, raw, texture, image_size)
        material = material_of(raw)
    mesh = mesh_of(raw, kind, material)
    for note in raw.notes:
        warnings.warn(note, stacklevel=3)
    return mesh


def _texture(path: Path, raw: RawMesh, texture: str, image_size: tuple[int, int] | None) -> Any:
    """The texture that is asked for, before it is baked."""
    if texture != "uv":
        return texture_of(raw)
    blank = raw.face_colors is None or image_size is not None
    if raw.images or (raw.face_colors is not None and (not blank or raw.uv is None)):
        return uv_texture(raw)
    if raw.uv is None:
        raise ValueError(
            f"{path} has no colours of faces and no texture coordinates. Pass texture='auto'."
        )
    return blank_texture(path, raw, image_size or (256, 256))


def save_mesh(path: str | Path, mesh: Mesh) -> None:
    """Writes a mesh and its texture to a file, of the format that its name ends in.

    OBJ and glTF store any of these: a `UVTexture` (OBJ beside it, in an MTL file and a PNG for each
    page; glTF in itself, with wrap, filter, samplers and tint), `VertexColors` and `FaceTexels` of
    one texel (as materials). PLY and OFF store colours of vertices and of faces, STL none.
    Normals of the mesh's own go into OBJ and glTF, and those of vertices into PLY; a `Material`
    into glTF, with its textures if they are pictures or colours of faces.

    Colours are clipped to [0, 1], with a warning, and rounded to 8 bits; but not clipped in the
    text of OBJ and MTL, and not rounded there and in glTF. Each is written as its format defines
    it, whatever the texture's `encoding`: pictures and the colours of OBJ, PLY and OFF
    display-encoded, `Kd` of MTL and the colours of glTF linear. So `load_mesh` brings the same
    texture back when its `colors` is that encoding. Coordinates come back exactly in OBJ and OFF,
    and in single precision from the others. A folder that is not there is made.

    glTF has one texture coordinate for each vertex: vertices at the seams of a texture are
    repeated there, and faces sorted by material, with a warning where that changes their order. Of
    more than 256 colours of faces it makes a picture, which comes back as a `UVTexture`. `.gltf` is
    one file of text, with pictures and numbers inside.

    Args:
        path: the file to write; its extension says the format.
        mesh: with known values, not inside `jax.jit`.

    Raises:
        ValueError: unknown format, wrong shapes, no faces, or a texture that the format cannot
            store; the message says which can.
        OSError: the file cannot be written.
        ImportError: trimesh (PLY, STL) or imageio (texture images) is not installed.

    Example:
        >>> from jaxrender.shapes import teapot
        >>> save_mesh("teapot.obj", teapot())  # doctest: +SKIP
    """
    path = check_path("path", path)
    extension = _extension(path)
    write = FORMATS[extension].write
    if write is None:
        written = (suffix for suffix, form in FORMATS.items() if form.write)
        raise ValueError(f"{path}: {extension} is read alone. Write {', '.join(written)}.")
    check_is_mesh(mesh)
    raw = raw_mesh(mesh, materials=FORMATS[extension].materials)
    for what, stored, field in (
        ("texture images", bool(raw.images), "pictures"),
        ("a tint of its texture images", raw.tint is not None, "tint"),
        ("colours of vertices", raw.vertex_colors is not None, "vertex_colors"),
        ("colours of faces", raw.face_colors is not None, "face_colors"),
    ):
        known = [suffix for suffix, form in FORMATS.items() if getattr(form, field)]
        if stored and extension not in known:
            raise ValueError(
                f"{path}: {extension} cannot store {what}. Write {' or '.join(known)}, or drop the "
                "texture with dataclasses.replace(mesh, texture=None)."
            )
    stored = FORMATS[extension].normals
    if raw.normals is not None and not (stored == "any" or (stored and raw.normal_faces is None)):
        what = "its normals" if raw.normal_faces is None else "normals of corners"
        warnings.warn(f"{path}: {extension} does not store {what}", stacklevel=2)
    if extension != ".obj":
        plain = raw.face_colors
        if plain is not None and raw.face_image is not None:
            plain = plain[raw.face_image < 0]
        colors = [raw.vertex_colors, plain, raw.tint]
        for surface in raw.surfaces:
            colors += [np.array([*surface.color, surface.alpha]), np.array(surface.specular or 0.0)]
        found = [clipped(values) for values in colors if values is not None]
        if found:
            warn_of_clipping(path, found, "Divide the colours by the largest.")
    lost = [] if mesh.material is None else _not_stored(mesh.material, raw)
    if lost:
        warnings.warn(f"{path}: does not store {', '.join(lost)} of the material", stacklevel=2)
    write(path, raw, Writing(png))


def _not_stored(material: Material, raw: RawMesh) -> list[str]:
    """What of a material is drawn, and lost in a file."""
    parts = {
        "base_color": "base colours",
        "alpha_cutoff": "alpha",
        "blend": "alpha",
        "emissive": "emissive light",
        "unlit": "what is unlit",
        "specular": "specular colours",
        "normal_map": "maps",
        "occlusion_map": "maps",
        "metallic_roughness_map": "maps",
    }
    lost = [
        text
        for name, text in parts.items()
        if getattr(material, name) is not None
        and name not in raw.layers
        and (name in MAPS or not raw.surfaces)
    ]
    if any(surface.blend and surface.cutoff is not None for surface in raw.surfaces):
        lost.append("what blends and has a cutoff")
    return list(dict.fromkeys(lost))


def normalize(mesh: Mesh) -> Mesh:
    """Moves and scales a mesh into the cube [-1, 1]³, centred, as `load_obj` of NMR does.

    With `b` the lower and `B` the upper corner of the mesh's bounding box, a vertex `v` becomes
    `(2 v - b - B) / max(B - b)`: the longest side is then 2 long. A mesh without extent moves
    to the origin. Vertices of no face, as padding has them, move along, but the box is that of
    the others; without faces it is that of all.

    Gradient: exact where one vertex holds each side of the box, and shared evenly among those
    that tie.

    Args:
        mesh: `[V, 3]` vertices in any unit, `[F, 3]` faces.

    Returns:
        the mesh with new vertices.

    Raises:
        ValueError: the vertices are not `[V, 3]` finite floats, or the faces do not fit them.
            Inside `jax.jit` a vertex that is not finite is left out of the box.

    Example:
        >>> from jaxrender.shapes import cube
        >>> normalize(cube(10.0)).vertices[0].tolist()
        [-1.0, -1.0, -1.0]
    """
    vertices, _, low, high = bounding_box(mesh)
    return dataclasses.replace(mesh, vertices=_into_cube(vertices, low, high))


@jax.jit
def _into_cube(vertices: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Vertices, moved from this box into the cube."""
    extent = jnp.max(high - low)
    scale = jnp.where(extent > 0, 2 / jnp.where(extent > 0, extent, 1), 1)
    return (vertices - low[None]) * scale - (high - low)[None] * scale / 2


def save(path: str | Path, /, **things: Any) -> None:
    """Writes structs and arrays by name, all that they hold, for `load`.

    Meshes with any texture, scenes, cameras with their lens, principal point and picture size,
    lights, soft and hard settings, screen meshes, fragments and images; of one's own, `struct`s
    too. Beside them arrays, numbers, texts, None, and tuples, lists and dicts of all these: near
    and far, the size of a picture, a seed. A named tuple comes back as a plain one.

    An .npz file holds arrays exactly; `numpy.load` reads them by names such as "camera.rotation".
    A .json file is for people and other programs, and larger. Neither runs code when it is read. A
    folder that is not there is made.

    Args:
        path: ends in .npz or .json.
        **things: by the names that `load` gives them.

    Raises:
        ValueError: another suffix, nothing to write, a value that is traced or of none of these
            kinds (functions, say), or NaN or infinity for JSON.
        OSError: the file cannot be written.

    Example:
        >>> import jaxrender as jr
        >>> mesh = jr.shapes.cube()
        >>> save("view.npz", mesh=mesh, camera=jr.frame(mesh), near=0.1)  # doctest: +SKIP
        >>> load("view.npz")["near"]  # doctest: +SKIP
        0.1
    """
    path = _store_path(path)
    if not things:
        raise ValueError(f"{path}: nothing to write. Pass things by name: save(path, mesh=mesh).")
    store.write_store(path, things)


def load(path: str | Path, *, kinds: Sequence[type] = ()) -> dict[str, Any]:
    """Reads what `save` wrote.

    Arrays become JAX arrays of their own types; without x64, JAX makes 32 bits of 64.

    Args:
        path: ends in .npz or .json.
        kinds: classes of your own, made with `struct`, that the file has.

    Returns:
        The things by their names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not one of `save`, or of a newer version, or damaged; the message
            names it.

    Example:
        >>> camera = load("view.npz")["camera"]  # doctest: +SKIP
    """
    path = _store_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")

    # Know the structs of modules, too, that nobody has used yet.
    from jaxrender import _large_steps, _manifolds, losses, mujoco, skinning  # noqa: F401

    try:
        return store.read_store(path, kinds)
    except Exception as error:
        raise ValueError(f"cannot read {path}: {error}") from error


def _store_path(path: str | Path) -> Path:
    path = check_path("path", path)
    if path.suffix.lower() not in store.SUFFIXES:
        raise ValueError(
            f"{path}: unknown format {path.suffix!r}, known are {', '.join(store.SUFFIXES)}. Mesh "
            "files are written by `save_mesh`, pictures by `save_image`."
        )
    return path


def _check_weld(weld: Any) -> float | None:
    """Returns how far apart vertices that are joined may be, or None where none are.

    Raises:
        ValueError: it is neither a flag nor a length.
    """
    if isinstance(weld, bool | np.bool_):
        return 0.0 if weld else None
    if isinstance(weld, int | float | np.number) and 0 <= weld < math.inf:
        return float(weld)
    raise ValueError(f"`weld` must be True, False or a length from 0, got {weld!r}. Pass True.")


def _check_place(texture: str, image_size: Any, centre: Any, origin: Any) -> None:
    """Rejects a size of a picture or a place that is none."""
    if image_size is not None:
        check_image_size(image_size)
        if texture != "uv":
            raise ValueError(f"`image_size` is for texture='uv', got texture={texture!r}.")
    if not isinstance(centre, bool | np.bool_):
        raise ValueError(f"`centre` must be True or False, got {centre!r}. Pass origin=(x, y, z).")
    if origin is not None:
        check_array("origin", origin, (3,), finite=True)
        if centre:
            raise ValueError("`origin` is in place of `centre`, got both. Pass one of them.")


def _extension(path: Path) -> str:
    extension = path.suffix.lower()
    if extension not in FORMATS:
        raise ValueError(
            f"{path}: unknown mesh format {path.suffix!r}. Known are {', '.join(FORMATS)}."
        )
    return extension
