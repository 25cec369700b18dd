"""Meshes and pictures, from files and to files.

Needs `pip install "jaxrender[io]"`: trimesh for meshes, imageio for pictures; they are imported
when a function first needs them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from jaxrender._bake import bake_cubes, bake_texels
from jaxrender._checks import check_array, check_choice, check_faces
from jaxrender._formats import obj, off, others, ply
from jaxrender._formats.convert import floats, raw_mesh, texture_of, uv_texture
from jaxrender._formats.raw import MissingPackageError, RawMesh
from jaxrender._images import load_image, read_rgb, save_animation, save_image
from jaxrender._types import Mesh, is_padding

__all__ = [
    "bake_cubes",
    "bake_texels",
    "load_image",
    "load_mesh",
    "normalize",
    "save_animation",
    "save_image",
    "save_mesh",
]

FORMATS = (".obj", ".ply", ".stl", ".off", ".glb")
TEXTURES = ("auto", "uv", "cubes", "texels", "none")


def load_mesh(path: str | Path, *, texture: str = "auto", texture_size: int = 4) -> Mesh:
    """Reads a mesh from an OBJ (with MTL and images), PLY, STL, OFF or GLB file.

    The geometry stays the file's: vertices and faces in its order, not split at the seams of
    a texture (whose coordinates have their own face indices); polygons become fans. An STL file,
    which repeats each face's corners, is welded where they are exactly equal. A GLB file's
    objects become one mesh in the scene's frame.

    The images of several materials become pages of one `UVTexture`. As in NMR and SoftRas an
    image replaces its material's plain colour. Where a texture file is missing, or a face has
    no texture coordinates, a warning says so and the plain colour serves; faces without a
    material are white. Colours are taken as they are in the file; no gamma curve is undone.

    Args:
        path: the file; its extension says the format.
        texture: what to make of the file's colours. "auto": images as `UVTexture`, else
            colours of vertices as `VertexColors`, else of faces or materials as `FaceTexels` of
            one texel, else None. "uv": `UVTexture`, plain colours too. "cubes": `FaceCubes` as
            NMR bakes them (`bake_cubes`). "texels": `FaceTexels` as SoftRas bakes them
            (`bake_texels`). "none": no texture, and materials are not read.
        texture_size: texels along each side of a face, for "cubes" and "texels".

    Returns:
        the mesh, in JAX's default float type.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown format, unreadable file, no faces, non-finite vertices, or
            `texture="uv"` for a file that has no colours of faces.
        ImportError: trimesh (STL, GLB) or imageio (texture images) is not installed.

    Example:
        >>> mesh = load_mesh("spot.obj")  # doctest: +SKIP
        >>> mesh.texture.image.shape  # doctest: +SKIP
        (1024, 1024, 3)
    """
    path = Path(path)
    check_choice("texture", texture, TEXTURES)
    extension = _extension(path)
    if not path.is_file():
        raise FileNotFoundError(f"no mesh file {path}")
    readers: dict[str, Callable[[Path], RawMesh]] = {
        ".obj": lambda file: obj.read_obj(file, None if texture == "none" else read_rgb),
        ".ply": ply.read_ply,
        ".off": off.read_off,
    }
    try:
        raw = readers.get(extension, others.read_trimesh)(path)
    except (MissingPackageError, MemoryError, Warning):
        raise  # these say more than that the file is bad
    except Exception as error:
        raise ValueError(f"cannot read the mesh {path}: {error}") from error

    mesh = Mesh(floats(raw.vertices), jnp.asarray(raw.faces, jnp.int32))
    if texture == "none":
        return mesh
    if texture == "uv":
        if raw.face_colors is None and not raw.images:
            raise ValueError(f"{path} has no colours of faces. Pass texture='auto'.")
        return dataclasses.replace(mesh, texture=uv_texture(raw))
    mesh = dataclasses.replace(mesh, texture=texture_of(raw))
    if texture == "cubes":
        return bake_cubes(mesh, texture_size)
    return bake_texels(mesh, texture_size) if texture == "texels" else mesh


def save_mesh(path: str | Path, mesh: Mesh) -> None:
    """Writes a mesh and its texture to an OBJ, PLY, STL, OFF or GLB file.

    OBJ stores any of these: a `UVTexture` (beside it an MTL file and a PNG for each page),
    `VertexColors` (behind the coordinates of each vertex) and `FaceTexels` of one texel (as
    materials). PLY and OFF store colours of vertices and of faces, GLB of vertices, STL none.
    Colours are clipped to [0, 1] and rounded to 8 bits, but not in the text of OBJ and MTL.
    Coordinates come back exactly in OBJ and OFF, and in single precision from the others.

    Args:
        path: the file to write; its extension says the format.
        mesh: with known values, not inside `jax.jit`.

    Raises:
        ValueError: unknown format, wrong shapes, no faces, or a texture that the format cannot
            store; the message says which can.
        ImportError: trimesh (PLY, STL, GLB) or imageio (texture images) is not installed.

    Example:
        >>> from jaxrender.shapes import teapot
        >>> save_mesh("teapot.obj", teapot())  # doctest: +SKIP
    """
    path = Path(path)
    extension = _extension(path)
    raw = raw_mesh(mesh)
    for kind, stored, known in (
        ("texture images", bool(raw.images), (".obj",)),
        ("colours of vertices", raw.vertex_colors is not None, (".obj", ".ply", ".off", ".glb")),
        ("colours of faces", raw.face_colors is not None, (".obj", ".ply", ".off")),
    ):
        if stored and extension not in known:
            raise ValueError(
                f"{path}: {extension} cannot store {kind}. Write {' or '.join(known)}, or drop the "
                "texture with dataclasses.replace(mesh, texture=None)."
            )
    if extension == ".obj":
        obj.write_obj(path, raw, save_image)
    elif extension == ".off":
        off.write_off(path, raw)
    else:
        others.write_trimesh(path, raw)


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
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    faces = check_faces("mesh.faces", mesh.faces, vertices.shape[0])

    # Find the box of the vertices that faces use.
    corners = jnp.where(is_padding(faces)[:, None], vertices.shape[0], faces)
    used = jnp.zeros(vertices.shape[0], bool).at[corners].set(True, mode="drop")
    counts = jnp.isfinite(vertices).all(axis=1) & (used | ~used.any())
    low = jnp.min(vertices, axis=0, initial=jnp.inf, where=counts[:, None])
    high = jnp.max(vertices, axis=0, initial=-jnp.inf, where=counts[:, None])
    extent = jnp.max(high - low)
    scale = jnp.where(extent > 0, 2 / jnp.where(extent > 0, extent, 1), 1)
    moved = (vertices - low[None]) * scale - (high - low)[None] * scale / 2
    return dataclasses.replace(mesh, vertices=moved)


def _extension(path: Path) -> str:
    extension = path.suffix.lower()
    if extension not in FORMATS:
        raise ValueError(
            f"{path}: unknown mesh format {path.suffix!r}. Known are {', '.join(FORMATS)}."
        )
    return extension
