"""The materials of glTF files, written.

A material reads several layers, each with pictures and plain colours of its own: its base colour,
which is that of the mesh, and what the textures of a `Material` say.

Shapes: `F` faces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxrender._formats.colors import recoded
from jaxrender._formats.gltf_file import File
from jaxrender._formats.gltf_materials import (
    EMISSIVE_STRENGTH,
    GLOSSINESS,
    UNLIT,
    glossiness,
)
from jaxrender._formats.raw import RawMesh, Surface
from jaxrender._material import MAPS
from jaxrender._textures.reading import FILTERS, WRAPS, wraps_of

BASE = "base"  # the layer of the mesh's own colours
NUMBERS = {name: none for name, none in MAPS.items() if name != "emissive"}  # no colours

Encode = Callable[[np.ndarray], bytes]  # values `[H, W, 3 or 4]` from 0 to 1 as PNG


def write_materials(
    file: File, layers: dict[str, RawMesh], sets: dict[str, int], encode: Encode
) -> tuple[int, np.ndarray]:
    """Writes the materials; returns how many there are, and that of each face `[F]`.

    A mesh without any colour has none.

    Args:
        file: takes them, and their pictures.
        layers: by their names, `BASE` and those of the textures of a `Material`.
        sets: number of the texture coordinates of those that have some.
        encode: makes bytes of pictures.
    """
    raw = layers[BASE]
    count = len(raw.faces)
    if raw.vertex_colors is None and raw.face_colors is None and not (raw.images or raw.surfaces):
        return 0, np.zeros(count, int)

    # Tell materials apart by surface, and in each layer by picture and sampler, or plain colour.
    surfaces = raw.surfaces or [Surface()]
    surface = np.zeros(count, int) if raw.face_material is None else raw.face_material
    readers = {
        name: _Layer(file, name, layer, sets.get(name, 0), encode) for name, layer in layers.items()
    }
    kinds = [surface[:, None], *(reader.kinds for reader in readers.values())]
    _, first, group = np.unique(
        np.concatenate(kinds, axis=1), axis=0, return_index=True, return_inverse=True
    )
    by_first = np.argsort(first)  # in the order in which faces have them
    rank = np.empty_like(by_first)
    rank[by_first] = np.arange(len(by_first))
    for face in first[by_first]:
        told = {name: reader.of_face(face) for name, reader in readers.items()}
        file.item("materials", **_material(file, surfaces[surface[face]], told))
    return len(first), rank[group.reshape(-1)]


class _Read(NamedTuple):
    """What a material reads of a layer."""

    color: np.ndarray  # linear, [3 or 4], times the picture
    texture: dict[str, Any] | None  # as a material names it


class _Layer:
    """The pictures and plain colours of a layer, and which of them faces have.

    Attributes:
        kinds: `[F, K]` numbers that are the same for faces which read the same.
    """

    def __init__(self, file: File, name: str, raw: RawMesh, texcoord: int, encode: Encode) -> None:
        """Writes the pictures.

        Args:
            file: takes them.
            name: of the layer.
            raw: the layer.
            texcoord: number of its texture coordinates.
            encode: makes bytes of pictures.
        """
        self._file, self._texcoord, self._encoding = file, texcoord, raw.encoding
        none = np.array(MAPS.get(name, (1.0, 1.0, 1.0)))
        count, images = len(raw.faces), raw.images
        image = np.full(count, -1) if raw.face_image is None else raw.face_image
        plain = np.tile(none, (count, 1)) if raw.face_colors is None else raw.face_colors
        if name in NUMBERS:
            images, image = _all_pictures(images, image, plain, none)
        self._images, self._scales = [], []
        for picture in images:
            held, scale = raw.encoding, 1.0
            if name == "emissive":
                # Let light that is brighter than white be white times a number.
                linear = recoded(picture, held, "linear")
                scale = max(float(linear.max()), 1.0)
                picture, held = (linear / scale, "linear") if scale > 1 else (picture, held)
            picture = recoded(picture, held, "linear" if name in NUMBERS else "display")
            view = file.view(encode(picture))
            self._images.append(file.item("images", bufferView=view, mimeType="image/png"))
            self._scales.append(scale)

        # Give all faces with pictures the same colour, and all without the same sampler.
        pictured = image[:, None] >= 0
        sampler = np.tile(_sampler(raw), (count, 1)) if raw.samplers is None else raw.samplers
        columns = image[:, None], np.where(pictured, sampler, 0), np.where(pictured, 1, plain)
        self.kinds = np.concatenate(columns, axis=1)

    def of_face(self, face: int) -> _Read:
        """What the material of a face reads."""
        image, *sampler = self.kinds[face, :4].astype(int).tolist()
        color = recoded(self.kinds[face, 4:], self._encoding, "linear")
        if image < 0:
            return _Read(color, None)
        texture = {"index": self._file.texture(self._images[image], tuple(sampler))}
        if self._texcoord:
            texture["texCoord"] = self._texcoord
        return _Read(color * self._scales[image], texture)


def _all_pictures(
    images: list[np.ndarray], image: np.ndarray, plain: np.ndarray, none: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures, and which of them faces have, with those of one pixel for plain numbers."""
    bare = (image < 0) & (plain != none).any(axis=1)
    if not bare.any():
        return images, image
    values, which = np.unique(plain[bare], axis=0, return_inverse=True)
    image = image.copy()
    image[bare] = len(images) + which.reshape(-1)
    return [*images, *values[:, None, None]], image


def _material(file: File, surface: Surface, told: dict[str, _Read]) -> dict[str, Any]:
    """A material, by what it reads of each layer."""
    color, texture = told[BASE]
    color = np.clip(color, 0, 1)
    factor = np.append(color[:3] * surface.color, surface.alpha * color[3:].prod())
    factor = np.clip(factor, 0, 1).tolist()
    metal: dict[str, Any] = {
        "metallicFactor": surface.metallic,
        "roughnessFactor": surface.roughness,
    }
    if factor != [1.0] * 4:
        metal["baseColorFactor"] = factor
    if texture is not None:
        metal["baseColorTexture"] = texture
    material: dict[str, Any] = {"pbrMetallicRoughness": metal, "doubleSided": True}
    if surface.cutoff is not None:
        material |= {"alphaMode": "MASK", "alphaCutoff": surface.cutoff}
    elif surface.blend:
        material["alphaMode"] = "BLEND"
    extensions: dict[str, Any] = {}
    if surface.unlit:
        extensions[UNLIT] = {}
    if surface.specular is not None:
        extensions[GLOSSINESS] = {
            "diffuseFactor": factor,
            "specularFactor": np.clip(surface.specular, 0, 1).tolist(),
            "glossinessFactor": glossiness(surface.shininess),
        }
        if texture is not None:
            extensions[GLOSSINESS]["diffuseTexture"] = texture

    # Add the light that it sends out, and maps.
    if "emissive" in told and told["emissive"].color.any():
        light, texture = told["emissive"]
        strength = max(float(light.max()), 1.0)
        material["emissiveFactor"] = (np.maximum(light, 0) / strength).tolist()
        if texture is not None:
            material["emissiveTexture"] = texture
        if strength > 1:
            extensions[EMISSIVE_STRENGTH] = {"emissiveStrength": strength}
    for name, holder, key, numbers in (
        ("metallic_roughness_map", metal, "metallicRoughnessTexture", {}),
        ("normal_map", material, "normalTexture", {"scale": surface.normal_scale}),
        ("occlusion_map", material, "occlusionTexture", {"strength": surface.occlusion_strength}),
    ):
        texture = told[name].texture if name in told else None
        if texture is not None:
            holder[key] = texture | numbers
    if extensions:
        material["extensions"] = extensions
        file.extensions |= dict.fromkeys(extensions)
    return material


def _sampler(raw: RawMesh) -> list[int]:
    """How all pictures are read, in the numbers of `UVTexture.samplers`."""
    return [*map(WRAPS.index, wraps_of(raw.wrap)), FILTERS.index(raw.filter)]
