"""`pad_meshes` and `stack_meshes`: meshes of different sizes for one `jax.vmap`.

Shapes: `N` meshes, `V` vertices, `F` faces, `U` texture coordinates, of the largest of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_array, check_faces
from jaxrender._textures import (
    FaceCubes,
    FaceTexels,
    UVTexture,
    VertexColors,
    check_texture,
    encoding_of,
)
from jaxrender._types import Mesh


def pad_meshes(meshes: Iterable[Mesh]) -> list[Mesh]:
    """Pads meshes to the same numbers of vertices, faces and texture coordinates.

    Padding vertices repeat the first vertex, so that the box around a mesh stays as it is.
    Padding faces have the first corner of the first face three times: they have no area, so they
    are not drawn, take no block of the rasterisers, count in no mean (see also
    `losses.pad_topologies`), and their gradient is 0. The order of what is there does not change.

    Args:
        meshes: at least one; either none has a texture, or all have the same kind, with the same
            encoding, number of channels, texels per side and size of image.

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
    checked = [_checked(f"meshes[{index}]", mesh) for index, mesh in enumerate(meshes)]
    if not checked:
        raise ValueError("`meshes` must hold at least one mesh, got none.")
    _check_alike([mesh.texture for mesh in checked])
    vertices = max(mesh.vertices.shape[0] for mesh in checked)
    faces = max(mesh.faces.shape[0] for mesh in checked)
    coordinates = max(
        mesh.texture.uv.shape[0] if isinstance(mesh.texture, UVTexture) else 0 for mesh in checked
    )
    return [
        Mesh(
            _pad(mesh.vertices, vertices, repeat=True),
            _pad_faces(mesh.faces, faces),
            _pad_texture(mesh.texture, vertices, faces, coordinates),
        )
        for mesh in checked
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


def _checked(name: str, mesh: Any) -> Mesh:
    if not isinstance(mesh, Mesh):
        raise ValueError(f"`{name}` must be a Mesh, got {type(mesh).__name__}.")
    vertices = check_array(f"{name}.vertices", mesh.vertices, ("V", 3))
    faces = check_faces(f"{name}.faces", mesh.faces, vertices.shape[0])
    return Mesh(vertices, faces, check_texture(mesh.texture, Mesh(vertices, faces)))


def _check_alike(textures: list[Any]) -> None:
    """Rejects textures that cannot be stacked, since more than their padded axes differ."""
    padded = {VertexColors: 1, FaceTexels: 1, FaceCubes: 1, UVTexture: 0}

    def kind(texture: Any) -> tuple:
        if texture is None:
            return ("no texture",)
        colors = jax.tree.leaves(texture)[0]
        fixed = []
        if isinstance(texture, UVTexture):
            parts = ("pages", "tint", "samplers")
            fixed = [f"wrap {texture.wrap!r}", f"filter {texture.filter!r}"]
            fixed += [f"no {part}" for part in parts if getattr(texture, part) is None]
        return type(texture).__name__, *colors.shape[padded[type(texture)] :], *fixed

    first = kind(textures[0])
    for index, texture in enumerate(textures):
        both = texture is not None and textures[0] is not None
        if both and encoding_of(texture) != encoding_of(textures[0]):
            raise ValueError(
                "`meshes` must have textures of one encoding, got "
                f"{encoding_of(textures[0])!r} in meshes[0] and {encoding_of(texture)!r} in "
                f"meshes[{index}]. Convert the colours with jaxrender.to_display or "
                "jaxrender.to_linear and set `encoding`, or load all with the same `colors`."
            )
        if kind(texture) != first:
            raise ValueError(
                "`meshes` must have textures of one kind, with the same channels, texels per side, "
                "image size, wrap and filter, all or none with pages, tint and samplers, got "
                f"{first} in meshes[0] and {kind(texture)} in meshes[{index}]. Resize images, or "
                "make FaceTexels of them: io.bake_texels."
            )


def _pad_texture(texture: Any, vertices: int, faces: int, coordinates: int) -> Any:
    if isinstance(texture, VertexColors):
        return dataclasses.replace(texture, colors=_pad(texture.colors, vertices))
    if isinstance(texture, FaceTexels):
        return dataclasses.replace(texture, texels=_pad(texture.texels, faces))
    if isinstance(texture, FaceCubes):
        return dataclasses.replace(texture, cubes=_pad(texture.cubes, faces))
    if isinstance(texture, UVTexture):
        pages, tint, samplers = texture.pages, texture.tint, texture.samplers
        return dataclasses.replace(
            texture,
            uv=_pad(texture.uv, coordinates),
            faces=_pad(texture.faces, faces),
            pages=None if pages is None else _pad(pages, faces, repeat=True),
            tint=None if tint is None else _pad(tint, coordinates),
            samplers=None if samplers is None else _pad(samplers, faces, repeat=True),
        )
    return texture


def _pad_faces(faces: jax.Array, count: int) -> jax.Array:
    """Appends faces up to `count` that have three times the first corner, or vertex 0."""
    missing = (count - faces.shape[0], 3)
    corner = faces[:1, :1] if faces.shape[0] else jnp.zeros((1, 1), faces.dtype)
    return jnp.concatenate([faces, jnp.broadcast_to(corner, missing)])


def _pad(array: jax.Array, count: int, *, repeat: bool = False) -> jax.Array:
    """Appends rows up to `count`: zeros, or the first row again where there is one."""
    missing = count - array.shape[0]
    if repeat and array.shape[0]:
        rows = jnp.broadcast_to(array[:1], (missing, *array.shape[1:]))
    else:
        rows = np.zeros((missing, *array.shape[1:]), array.dtype)
    return jnp.concatenate([array, rows])
