"""`pad_meshes` and `stack_meshes`: meshes of different sizes for one `jax.vmap`.

Shapes: `N` meshes, `V` vertices, `F` faces, `U` texture coordinates, of the largest of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from jaxrender._checks import (
    check_array,
    check_faces,
    check_is_mesh,
    check_normals,
    check_several,
)
from jaxrender._material import (
    MAPS,
    Material,
    alike_materials,
    check_material,
    pad_material,
)
from jaxrender._shading import vertex_normals
from jaxrender._textures import Texture, check_texture, encoding_of
from jaxrender._textures.kinds import pad_rows
from jaxrender._types import Mesh


def pad_meshes(meshes: Iterable[Mesh]) -> list[Mesh]:
    """Pads meshes to the same numbers of vertices, faces and texture coordinates.

    Padding vertices repeat the first vertex, so that the box around a mesh stays as it is.
    Padding faces have the first corner of the first face three times: they have no area, so they
    are not drawn, take no block of the rasterisers, count in no mean (see also
    `losses.pad_topologies`), and their gradient is 0. The order of what is there does not change.
    Materials are padded to the most, and what one does not say that others do gets its default.
    Normals of their own are padded too; where some meshes have such, the others get
    `vertex_normals`.

    Args:
        meshes: at least one; either none has a texture, or all have the same kind, with the same
            encoding, number of channels, texels per side and size of image. A kind of your own
            needs a method `padded`, see `Texture`.

    Returns:
        As many meshes; their arrays have the same shapes.

    Raises:
        ValueError: there is no mesh, one is not valid, or textures are not alike.

    Example:
        >>> import jaxrender as jr
        >>> cube, ball = jr.pad_meshes([jr.shapes.cube(), jr.shapes.icosphere(1)])
        >>> cube.vertices.shape, cube.faces.shape
        ((42, 3), (80, 3))
    """
    meshes = check_several("meshes", meshes, "meshes")
    checked = [checked_mesh(f"meshes[{index}]", mesh) for index, mesh in enumerate(meshes)]
    if not checked:
        raise ValueError("`meshes` must hold at least one mesh, got none.")
    checked = with_normals(checked)
    vertices = max(mesh.vertices.shape[0] for mesh in checked)
    faces = max(mesh.faces.shape[0] for mesh in checked)
    textures = _pad_textures([mesh.texture for mesh in checked], vertices, faces)
    normals = _pad_normals(checked, vertices, faces)
    materials = _pad_materials(checked, vertices, faces)
    return [
        Mesh(
            pad_rows(mesh.vertices, vertices, repeat=True),
            _pad_faces(mesh.faces, faces),
            texture,
            *own,
            material,
        )
        for mesh, texture, own, material in zip(checked, textures, normals, materials, strict=True)
    ]


def stack_meshes(meshes: Iterable[Mesh]) -> Mesh:
    """Pads meshes as `pad_meshes` does, and stacks them: every array gets a leading axis `[N]`.

    Args:
        meshes: as for `pad_meshes`.

    Returns:
        One mesh to be mapped over, `vertices` `[N, V, 3]`, `faces` `[N, F, 3]`.

    Raises:
        ValueError: as for `pad_meshes`.

    Example:
        >>> import jax, jaxrender as jr
        >>> both = jr.stack_meshes([jr.shapes.cube(), jr.shapes.icosphere(1)])
        >>> camera = jr.look_at((0, 1, 3))
        >>> draw = lambda mesh: jr.render(mesh, camera, image_size=(16, 24))
        >>> jax.vmap(draw)(both).rgb.shape
        (2, 16, 24, 3)
    """
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *pad_meshes(meshes))


def checked_mesh(name: str, mesh: Any) -> Mesh:
    """Returns a mesh with its arrays in the right shapes and dtypes.

    Raises:
        ValueError: it is none, or one of them is wrong.
    """
    check_is_mesh(mesh, name)
    vertices = check_array(f"{name}.vertices", mesh.vertices, ("V", 3))
    faces = check_faces(f"{name}.faces", mesh.faces, vertices.shape[0])
    normals = check_normals(name, mesh, vertices, faces)
    texture = check_texture(mesh.texture, Mesh(vertices, faces))
    material = check_material(mesh.material, Mesh(vertices, faces, texture))
    return Mesh(vertices, faces, texture, *normals, material)


def with_normals(meshes: list[Mesh]) -> list[Mesh]:
    """Meshes that all have normals, with their own faces, or none of which has any.

    Where some have, the others get `vertex_normals`.
    """
    if all(mesh.normals is None for mesh in meshes):
        return meshes
    own = any(mesh.normal_faces is not None for mesh in meshes)
    found = []
    for mesh in meshes:
        normals, faces = mesh.normals, mesh.normal_faces
        if normals is None:
            normals = vertex_normals(mesh.vertices, mesh.faces)
        faces = mesh.faces if own and faces is None else faces
        found.append(dataclasses.replace(mesh, normals=normals, normal_faces=faces))
    return found


def _pad_normals(
    meshes: list[Mesh], vertices: int, faces: int
) -> list[tuple[jax.Array | None, jax.Array | None]]:
    """The padded normals of meshes, and their faces."""
    found = []
    most = max(0 if mesh.normals is None else len(mesh.normals) for mesh in meshes)
    for mesh in meshes:
        if mesh.normals is None:
            found.append((None, None))
        elif mesh.normal_faces is None:
            found.append((pad_rows(mesh.normals, vertices), None))
        else:
            own = _pad_faces(mesh.normal_faces, faces)
            found.append((pad_rows(mesh.normals, most), own))
    return found


def _pad_materials(meshes: list[Mesh], vertices: int, faces: int) -> list[Material | None]:
    """The padded materials of meshes; what some of them do not say gets its default."""
    alike = alike_materials(meshes)
    count = max(1 if material is None else material.count for material in alike)
    padded: list[Any] = [pad_material(material, count, faces) for material in alike]
    if padded[0] is None:
        return padded
    for name in MAPS:
        textures = [getattr(material, name) for material in padded]
        textures = _pad_textures(textures, vertices, faces)
        padded = [
            material if texture is None else dataclasses.replace(material, **{name: texture})
            for material, texture in zip(padded, textures, strict=True)
        ]
    return padded


def _pad_textures(
    textures: list[Texture | None], vertices: int, faces: int
) -> list[Texture | None]:
    """Pads textures, and rejects those that cannot be stacked: what differs is not padding."""
    first = textures[0]
    for index, texture in enumerate(textures):
        if type(texture) is not type(first):
            _reject_unlike(first, texture, index)
        if encoding_of(texture) != encoding_of(first):
            raise ValueError(
                "`meshes` must have textures of one encoding, got "
                f"{encoding_of(first)!r} in meshes[0] and {encoding_of(texture)!r} in "
                f"meshes[{index}]. Convert the colours with jaxrender.to_display or "
                "jaxrender.to_linear and set `encoding`, or load all with the same `colors`."
            )
    if first is None:
        return textures
    dressed = [texture for texture in textures if texture is not None]
    padded = [texture.padded(vertices, faces, dressed) for texture in dressed]
    for index, texture in enumerate(padded):
        if _description(texture) != _description(padded[0]):
            _reject_unlike(padded[0], texture, index)
    return list(padded)


def _reject_unlike(first: Texture | None, other: Texture | None, index: int) -> NoReturn:
    """Says how two textures differ.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "`meshes` must have textures of one kind, with the same channels, texels per side, image "
        "size, wrap and filter, all or none with pages, tint and samplers, got "
        f"{_description(first)} in meshes[0] and {_description(other)} in meshes[{index}]. "
        "Resize images, or make FaceTexels of them: io.bake_texels."
    )


def _description(texture: Texture | None) -> tuple:
    """Kind, sizes and static fields of a texture."""
    if texture is None:
        return ("no texture",)
    fields: Any = texture  # a dataclass, as all kinds are
    values = {field.name: getattr(texture, field.name) for field in dataclasses.fields(fields)}
    parts = [type(texture).__name__]
    for name, value in values.items():
        if value is None:
            parts.append(f"no {name}")
        elif isinstance(value, jax.Array):
            parts.append(f"{name} {list(value.shape)}")
        else:
            parts.append(f"{name} {value!r}")
    return tuple(parts)


def _pad_faces(faces: jax.Array, count: int) -> jax.Array:
    """Appends faces up to `count` that have three times the first corner, or vertex 0."""
    missing = (count - faces.shape[0], 3)
    corner = faces[:1, :1] if faces.shape[0] else jnp.zeros((1, 1), faces.dtype)
    return jnp.concatenate([faces, jnp.broadcast_to(corner, missing)])
