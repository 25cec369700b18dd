"""`join_meshes`: several meshes as one, each face with the object that it belongs to.

Shape legend: `V` vertices, `F` faces, `U` texture coordinates, `C` channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._batch import checked_mesh, with_normals
from jaxrender._checks import check_several
from jaxrender._color import recode
from jaxrender._material import MAPS, NUMBERS, Material, alike_materials, with_alpha
from jaxrender._textures import (
    FaceTexels,
    Texture,
    UVTexture,
    VertexColors,
    channels,
    encoding_of,
)
from jaxrender._textures.joining import chained
from jaxrender._types import Mesh


def join_meshes(meshes: Iterable[Mesh]) -> tuple[Mesh, jax.Array]:
    """Makes one mesh of several, that looks as they do together.

    Vertices, faces and normals follow each other in the order of the meshes; where some meshes have
    normals of their own, the others get `vertex_normals`. Textures of one kind stay of that kind.
    Where kinds differ all become one `UVTexture`: pictures become pages, and what has none, a white
    page times its colours (`tint`).

    Gradient: exact to vertices, normals and colours of all meshes.

    Args:
        meshes: at least one, with as many channels and one encoding. `FaceTexels` of several texels
            and `FaceCubes` cannot be mixed with other kinds, nor with other resolutions: bake all
            of them (`io.bake_texels`), or none. A kind of your own needs a method `joined`, see
            `Texture`.

    Returns:
        The mesh, and `[F]` int32 from which of the meshes each of its faces is, from 0.

    Raises:
        ValueError: there is no mesh, one is not valid, or textures do not go together.

    Example:
        >>> import jaxrender as jr
        >>> cube, ball = jr.shapes.cube(), jr.shapes.icosphere(0)
        >>> both, object_of_face = jr.join_meshes([cube, ball])
        >>> both.vertices.shape, object_of_face[10:14].tolist()
        ((20, 3), [0, 0, 1, 1])
    """
    meshes = check_several("meshes", meshes, "meshes")
    checked = [checked_mesh(f"meshes[{index}]", mesh) for index, mesh in enumerate(meshes)]
    if not checked:
        raise ValueError("`meshes` must hold at least one mesh, got none.")
    checked = with_normals(checked)
    texture = _join_textures(checked)
    vertices, faces = chained([(mesh.vertices, mesh.faces) for mesh in checked])
    normals = own = None
    if checked[0].normals is not None:
        pairs: list[Any] = [(mesh.normals, mesh.normal_faces) for mesh in checked]
        if any(pair[1] is None for pair in pairs):
            normals = jnp.concatenate([pair[0] for pair in pairs])
        else:
            normals, own = chained(pairs)
    counts = [len(mesh.faces) for mesh in checked]
    objects = jnp.asarray(np.repeat(np.arange(len(checked)), counts), jnp.int32)
    return Mesh(vertices, faces, texture, normals, own, _join_materials(checked)), objects


def _join_materials(meshes: list[Mesh]) -> Material | None:
    """One material for all faces, with the rows of all."""
    alike: list[Any] = alike_materials(meshes)
    if alike[0] is None:
        return None
    counts = [material.count for material in alike]
    starts = np.cumsum([0, *counts])[:-1].tolist()
    changes: dict[str, Any] = {}
    for name in NUMBERS:
        rows = [getattr(material, name) for material in alike]
        if rows[0] is not None:
            changes[name] = jnp.concatenate(rows)
    if sum(counts) > 1:
        groups = []
        for material, mesh, start in zip(alike, meshes, starts, strict=True):
            zeros = jnp.zeros(len(mesh.faces), jnp.int32)
            groups.append((zeros if material.group is None else material.group) + start)
        changes["group"] = jnp.concatenate(groups)
    for name, none in MAPS.items():
        textures = [getattr(material, name) for material in alike]
        known = [texture for texture in textures if texture is not None]
        if known:
            color, held = np.array(none), encoding_of(known[0])
            blank = jnp.asarray(recode(color, "linear", held) if name == "emissive" else color)
            filled = []
            for mesh, texture in zip(meshes, textures, strict=True):
                texels = jnp.broadcast_to(
                    blank.astype(mesh.vertices.dtype), (len(mesh.faces), 1, 1, 3)
                )
                own = FaceTexels(texels, held) if texture is None else texture
                filled.append(dataclasses.replace(mesh, texture=own))
            changes[name] = _join_textures(filled)
    return Material(**changes)


def _join_textures(meshes: list[Mesh]) -> Texture | None:
    """One texture for all faces.

    Raises:
        ValueError: they do not go together.
    """
    textures = [mesh.texture for mesh in meshes]
    dressed = [texture for texture in textures if texture is not None]
    if not dressed:
        return None
    if any(mesh.material is not None for mesh in meshes):
        # Where some have alpha, the others are opaque.
        found = {channels(texture) for texture in textures}
        if found == {3, 4}:
            held = encoding_of(dressed[0])
            meshes = [dataclasses.replace(mesh, texture=with_alpha(mesh, held)) for mesh in meshes]
            textures = dressed = [mesh.texture for mesh in meshes]
    for name, found in (
        ("number of channels", {channels(texture) for texture in textures}),
        ("encoding", {encoding_of(texture) for texture in dressed}),
    ):
        if len(found) > 1:
            raise ValueError(
                f"`meshes` must have textures of one {name}, got {sorted(found)}. Load all with "
                "the same `colors`, or convert them with jaxrender.to_linear or to_display."
            )
    if len(dressed) == len(textures):
        kinds = {type(texture) for texture in textures}
        shapes = {
            np.shape(texture.texels)[1:] if isinstance(texture, FaceTexels) else ()
            for texture in textures
        }
        if len(kinds) == 1 and len(shapes) == 1:
            return textures[0].joined(textures, meshes)
    encoding = encoding_of(dressed[0])
    pictures = [_picture_of(mesh, index, encoding) for index, mesh in enumerate(meshes)]
    return pictures[0].joined(pictures, meshes)


def _picture_of(mesh: Mesh, index: int, encoding: str) -> UVTexture:
    """The texture of a mesh as a picture: a white one times colours where it has none.

    Raises:
        ValueError: it has more colours than corners.
    """
    texture, count = mesh.texture, len(mesh.faces)
    if isinstance(texture, UVTexture):
        return texture
    if texture is None:
        colors = jnp.ones((1, 3), mesh.vertices.dtype)
        faces = jnp.zeros((count, 3), jnp.int32)
    elif isinstance(texture, VertexColors):
        colors, faces = texture.colors, mesh.faces
    elif isinstance(texture, FaceTexels) and texture.constant_per_face:
        colors = texture.texels[:, 0, 0]
        faces = jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32)[:, None], (count, 3))
    else:
        raise ValueError(
            "`meshes` of different kinds or resolutions of texture must have UVTexture, "
            f"VertexColors, FaceTexels of one texel or None, got {type(texture).__name__} in "
            f"meshes[{index}]. Bake all with io.bake_texels, or join them before they are baked."
        )
    blank = UVTexture(
        image=jnp.ones((1, 1, colors.shape[1]), colors.dtype),
        uv=jnp.zeros((len(colors), 2), colors.dtype),
        faces=faces,
        tint=colors,
    )
    return dataclasses.replace(blank, encoding=encoding)
