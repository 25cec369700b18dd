"""From what a file says to textures, and back.

Shapes: `V` vertices, `F` faces, `U` texture coordinates; all colours are rgb.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_array, check_faces, check_normals
from jaxrender._choices import Encoding
from jaxrender._color import recode
from jaxrender._formats.raw import RawMesh, Surface, first_not_finite, floats
from jaxrender._material import MAPS, NUMBERS, Material, check_material, without_alpha
from jaxrender._textures import (
    FaceCubes,
    FaceTexels,
    Texture,
    UVTexture,
    VertexColors,
    channels,
    check_texture,
    encoding_of,
)
from jaxrender._textures.joining import MOST_ROOM
from jaxrender._types import Mesh

MOST_LOSS = 0.01  # of an edge that rounding may take without a word
SAMPLED = 10_000  # faces whose edges are measured


def mesh_of(raw: RawMesh, texture: Texture | None, material: Material | None) -> Mesh:
    """The mesh that a file says, in these colours."""
    normals, own = normals_of(raw)
    return Mesh(
        floats(raw.vertices),
        jnp.asarray(raw.faces, jnp.int32),
        texture,
        None if normals is None else floats(normals),
        None if own is None else jnp.asarray(own, jnp.int32),
        material,
    )


def texture_of(raw: RawMesh) -> Any:
    """The richest texture that the file has."""
    if raw.face_image is not None and (raw.face_image >= 0).any():
        return uv_texture(raw)
    if raw.vertex_colors is not None:
        return VertexColors(floats(raw.vertex_colors), raw.encoding)
    if raw.face_colors is not None:
        return FaceTexels(floats(raw.face_colors[:, None, None]), raw.encoding)
    return None


def uv_texture(raw: RawMesh) -> UVTexture:
    """Stacks the images, and a page of one pixel for each plain colour, into one image."""
    count = len(raw.faces)
    face_page = np.full(count, -1) if raw.face_image is None else raw.face_image.copy()
    images = list(raw.images)
    plain = face_page < 0
    if plain.any():
        width = images[0].shape[-1] if images else 3
        colors = np.ones((count, width)) if raw.face_colors is None else raw.face_colors
        colors, ids = np.unique(colors[plain], axis=0, return_inverse=True)
        face_page[plain] = len(images) + ids.reshape(-1)
        images += list(colors[:, None, None])

    # Pad all pages on the right to the widest, or where that takes far more room than the pictures
    # themselves, let their texels follow each other.
    width = max(image.shape[1] for image in images)
    heights = [image.shape[0] for image in images]
    sizes = [image.shape[0] * image.shape[1] for image in images]
    if sum(heights) * width > MOST_ROOM * sum(sizes):
        whole = np.concatenate([image.reshape(-1, image.shape[-1]) for image in images])[None]
        firsts = np.cumsum([0, *sizes[:-1]])
        parts = zip(firsts, images, strict=True)
        page = np.array([(a, *i.shape[:2], i.shape[1]) for a, i in parts])
    else:
        padded = [np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0))) for image in images]
        whole = np.concatenate(padded)
        firsts = np.cumsum([0, *heights[:-1]])
        page = np.array([(a, *i.shape[:2]) for a, i in zip(firsts, images, strict=True)])

    # Let corners without coordinates, on pages of one pixel, read any.
    uv = np.zeros((1, 2)) if raw.uv is None else raw.uv
    faces = np.zeros((count, 3)) if raw.uv_faces is None else np.maximum(raw.uv_faces, 0)
    return UVTexture(
        image=floats(whole),
        uv=floats(uv),
        faces=jnp.asarray(faces, jnp.int32),
        pages=None if len(images) == 1 else jnp.asarray(page[face_page], jnp.int32),
        tint=None if raw.tint is None else floats(raw.tint),
        samplers=None if raw.samplers is None else jnp.asarray(raw.samplers, jnp.int32),
        wrap=raw.wrap,
        filter=raw.filter,
        encoding=raw.encoding,
    )


def material_of(raw: RawMesh) -> Material | None:
    """The material of all faces, or None where the file says nothing of any."""
    if raw.face_material is None or not raw.surfaces:
        return None
    surfaces, group = list(raw.surfaces), raw.face_material
    if (group < 0).any():
        group = np.where(group < 0, len(surfaces), group)
        surfaces.append(Surface())

    def rows(name: str) -> jax.Array:
        return floats(np.array([getattr(surface, name) for surface in surfaces], np.float64))

    changes: dict[str, Any] = {name: rows(name) for name in ("metallic", "roughness")}
    if any(surface.alpha != 1 for surface in surfaces):
        alphas = np.array([[1.0, 1.0, 1.0, surface.alpha] for surface in surfaces])
        changes["base_color"] = floats(alphas)
    if any(surface.cutoff is not None for surface in surfaces):
        changes["alpha_cutoff"] = floats([surface.cutoff or 0.0 for surface in surfaces])
    for name in ("blend", "unlit"):
        if any(getattr(surface, name) for surface in surfaces):
            changes[name] = rows(name)
    if any(surface.specular is not None for surface in surfaces):
        colors = np.array([surface.specular or (0.0, 0.0, 0.0) for surface in surfaces])
        changes["specular"] = floats(recode(colors, "linear", raw.encoding))
        changes["shininess"] = rows("shininess")
    for name, layer in raw.layers.items():
        changes[name] = uv_texture(layer) if layer.images else texture_of(layer)
    if "normal_map" in changes:
        changes["normal_scale"] = rows("normal_scale")
    if "occlusion_map" in changes:
        changes["occlusion_strength"] = rows("occlusion_strength")
    if len(surfaces) > 1:
        changes["group"] = jnp.asarray(group, jnp.int32)
    return Material(**changes)


def normals_of(raw: RawMesh) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The normals of a file `[N, 3]`, and their faces where these are not those of the vertices.

    Corners without a normal get that of their vertex, as `vertex_normals` has it.
    """
    if raw.normals is None:
        return None, None
    normals = raw.normals
    known = (normals[:, 0] != 0) | (normals[:, 1] != 0) | (normals[:, 2] != 0)
    if known.all() and (raw.normal_faces is None or raw.normal_faces.min(initial=0) >= 0):
        return normals, raw.normal_faces
    own = raw.faces if raw.normal_faces is None else raw.normal_faces
    bare = ~np.where(own < 0, False, known[own])
    if bare.all():
        return None, None
    if not bare.any():
        return normals, None if raw.normal_faces is None else own

    # Put those of the vertices behind those of the file.
    corners = raw.vertices[raw.faces].astype(np.float64)
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros((len(raw.vertices), 3))
    for k in range(3):
        np.add.at(sums, raw.faces[:, k], areas)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    used, ids = np.unique(raw.faces[bare], return_inverse=True)
    own = own.copy()
    own[bare] = len(normals) + ids.reshape(-1)
    return np.concatenate([normals, (sums / np.where(length > 0, length, 1))[used]]), own


def blank_texture(path: Any, raw: RawMesh, image_size: tuple[int, int]) -> UVTexture:
    """A picture of one colour, that of the faces if they have one, else white, to be found."""
    assert raw.uv is not None
    assert raw.uv_faces is not None
    color = np.ones(3)
    if raw.face_colors is not None:
        if (raw.face_colors == raw.face_colors[0]).all():
            color = raw.face_colors[0]
        else:
            raw.notes.append(f"{path}: the blank picture is white in place of the colours of faces")
    lacks = int((raw.uv_faces < 0).any(axis=1).sum())
    if lacks:
        raw.notes.append(f"{path}: {lacks} faces have no texture coordinates and read one texel")
    return UVTexture(
        image=jnp.broadcast_to(floats(color), (*image_size, 3)),
        uv=floats(raw.uv),
        faces=jnp.asarray(np.maximum(raw.uv_faces, 0), jnp.int32),
        wrap=raw.wrap,
        filter=raw.filter,
        encoding=raw.encoding,
    )


def warn_of_rounding(path: Any, raw: RawMesh, dtype: Any) -> None:
    """Warns where a mesh lies so far from the origin that its type rounds away its shape.

    Raises:
        ValueError: a coordinate is beyond the type.
    """
    if raw.vertices.dtype == dtype:
        return
    with np.errstate(over="ignore"):
        rounded = raw.vertices.astype(dtype).astype(np.float64)
    beyond = first_not_finite(rounded)
    if beyond is not None:
        place = raw.vertices[beyond].tolist()
        raise ValueError(
            f"{path}: vertex {beyond} at {place} is beyond {np.dtype(dtype).name}. Scale the "
            "file, or enable x64 in jax."
        )
    loss = float(np.abs(rounded - raw.vertices).max(initial=0))
    some = raw.faces[:: max(len(raw.faces) // SAMPLED, 1)]
    edges = np.linalg.norm(raw.vertices[some] - raw.vertices[np.roll(some, 1, axis=1)], axis=-1)
    edge = float(np.median(edges))
    if loss > MOST_LOSS * edge:
        most = float(np.spacing(np.abs(raw.vertices).max().astype(dtype))) / 2
        warnings.warn(
            f"{path}: {np.dtype(dtype).name} rounds its vertices by up to {most:.3g}, where edges "
            f"are {edge:.3g} long: it lies far from the origin. Pass centre=True, or "
            "origin=(x, y, z).",
            stacklevel=3,
        )


def raw_mesh(mesh: Mesh, *, materials: bool = False) -> RawMesh:
    """The arrays of a mesh, checked, with its texture taken apart.

    Args:
        mesh: what is to be written.
        materials: whether its material is, and alpha of its texture.

    Raises:
        ValueError: wrong shapes, no faces, values that are not finite, or a texture that no mesh
            file stores.
    """
    vertices = check_array("mesh.vertices", mesh.vertices, ("V", 3), finite=True)
    faces = check_faces("mesh.faces", mesh.faces, len(vertices))
    if not len(faces):
        raise ValueError("`mesh` must have faces, got none. Pass at least one triangle.")
    raw = RawMesh(np.asarray(vertices), np.asarray(faces))
    normals, own = check_normals("mesh", mesh, vertices, faces)
    raw.normals = None if normals is None else np.asarray(normals)
    raw.normal_faces = None if own is None else np.asarray(own)
    texture = check_texture(mesh.texture, mesh)
    material = check_material(mesh.material, dataclasses.replace(mesh, texture=texture))
    stored = material if materials else None
    if stored is not None:
        group = np.zeros(len(faces), int) if stored.group is None else stored.group
        raw.face_material = np.asarray(group)
    elif material is not None and channels(texture) == 4:
        texture = without_alpha(texture)
    if channels(texture) != 3 and not (channels(texture) == 4 and stored is not None):
        raise ValueError(
            f"`mesh.texture` must be rgb to be saved, got {channels(texture)} channels."
        )
    for name, part in (("texture", texture), ("material", material)):
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(part)):
            raise ValueError(f"`mesh.{name}` must be finite, got NaN or infinity.")
    if not _take_texture(raw, texture):
        name = type(texture).__name__
        several = f"{name} of several texels per face"
        raise ValueError(
            "`mesh.texture`: no mesh file stores "
            f"{several if isinstance(texture, FaceTexels | FaceCubes) else name}. Keep it "
            "with jaxrender.io.save, or drop it with dataclasses.replace(mesh, texture=None)."
        )
    if stored is not None:
        raw.surfaces = _surfaces(stored, raw.encoding)
        raw.layers = _layers(stored, raw)
    return raw


def _take_texture(raw: RawMesh, texture: Texture | None) -> bool:
    """Takes a texture apart; False if it is of a kind that no mesh file stores."""
    raw.encoding = encoding_of(texture)
    if isinstance(texture, VertexColors):
        raw.vertex_colors = np.asarray(texture.colors)
    elif isinstance(texture, FaceTexels) and texture.constant_per_face:
        raw.face_colors = np.asarray(texture.texels)[:, 0, 0]
    elif isinstance(texture, UVTexture):
        _take_pages(raw, texture)
    else:
        return texture is None
    return True


def _layers(material: Material, raw: RawMesh) -> dict[str, RawMesh]:
    """The textures of a material that are pictures or plain colours, by their names."""
    layers = {}
    for name in MAPS:
        texture = getattr(material, name)
        layer = RawMesh(raw.vertices, raw.faces)
        if texture is None or not _take_texture(layer, texture):
            continue
        if layer.tint is not None:
            _spread_tint(layer)
        if layer.vertex_colors is None and layer.tint is None:
            layers[name] = layer
    return layers


def _spread_tint(layer: RawMesh) -> None:
    """Makes a tint that differs by face alone part of plain colours, where only these have one."""
    assert layer.tint is not None
    tint = layer.tint[layer.uv_faces]
    plain = np.ones(len(tint), bool) if layer.face_image is None else layer.face_image < 0
    if (tint == tint[:, :1]).all() and (tint[~plain] == 1).all():
        colors = 1.0 if layer.face_colors is None else layer.face_colors
        layer.face_colors = colors * tint[:, 0]
        layer.tint = None


def _surfaces(material: Material, encoding: Encoding) -> list[Surface]:
    """The rows of a material; what it does not say is as in an empty one."""
    count, found = material.count, {}
    for name in NUMBERS:
        rows = getattr(material, name)
        if rows is not None:
            rows = np.asarray(rows, np.float64)
            found[name] = np.broadcast_to(rows, (count, *rows.shape[1:])).tolist()
    surfaces = []
    for row in range(count):
        told = {name: rows[row] for name, rows in found.items()}
        surface = Surface()
        if "base_color" in told:
            *color, surface.alpha = told.pop("base_color")
            surface.color = tuple(color)
        if "specular" in told:
            color = np.array(told.pop("specular"))
            surface.specular = tuple(recode(color, encoding, "linear").tolist())
        cutoff = told.pop("alpha_cutoff", 0.0)
        surface.cutoff = cutoff if cutoff > 0 else None
        for name, value in told.items():
            setattr(surface, name, bool(value) if name in ("blend", "unlit") else value)
        surfaces.append(surface)
    return surfaces


def _take_pages(raw: RawMesh, texture: UVTexture) -> None:
    """Cuts the image of a texture into its pages; those of one pixel become plain colours."""
    image = np.asarray(texture.image)
    raw.uv, raw.uv_faces, raw.wrap = np.asarray(texture.uv), np.asarray(texture.faces), texture.wrap
    raw.filter = texture.filter
    if texture.tint is not None:
        raw.tint = np.asarray(texture.tint)
    if texture.samplers is not None:
        raw.samplers = np.asarray(texture.samplers)
    if texture.pages is None:
        pages = np.tile([0, *image.shape[:2]], (len(raw.faces), 1))
    else:
        pages = np.asarray(texture.pages)
    unique, page = np.unique(pages, axis=0, return_inverse=True)
    page = page.reshape(-1)
    if unique.shape[1] == 4:
        texels = image.reshape(-1, image.shape[2])
        rows = [
            first + stride * np.arange(height)[:, None] + np.arange(width)
            for first, height, width, stride in unique
        ]
        images = [texels[row] for row in rows]
    else:
        images = [image[first : first + height, :width] for first, height, width in unique]

    # Keep pages of one pixel as images where there is nothing else.
    plain = np.array([picture.shape[:2] == (1, 1) for picture in images])
    if plain.all():
        plain[:] = False
    else:
        raw.face_colors = np.stack([picture[0, 0] for picture in images])[page]
    raw.images = [picture for picture, one in zip(images, plain, strict=True) if not one]
    raw.face_image = np.where(plain, -1, np.cumsum(~plain) - 1)[page]
