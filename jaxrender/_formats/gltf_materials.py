"""The materials, textures and pictures of glTF files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._choices import Filter, Wrap
from jaxrender._formats.gltf_accessors import Document, numbers
from jaxrender._formats.raw import Surface

# Where else a texture may name its picture, the better format first.
PICTURES = ("EXT_texture_webp", "EXT_texture_avif")
BASISU = "KHR_texture_basisu"
TRANSFORM = "KHR_texture_transform"
GLOSSINESS = "KHR_materials_pbrSpecularGlossiness"
UNLIT = "KHR_materials_unlit"
EMISSIVE_STRENGTH = "KHR_materials_emissive_strength"

ROUGHNESS_FLOOR = 0.1  # of what is mirror-like: no light is a point

ALPHA_MODES = ("OPAQUE", "MASK", "BLEND")
REPEAT, CLAMP, MIRROR = 10497, 33071, 33648
WRAPS: dict[int, Wrap] = {REPEAT: "repeat", CLAMP: "clamp", MIRROR: "mirror"}
NEAREST = 9728


@dataclasses.dataclass
class TextureUse:
    """A picture as a material reads it.

    Attributes:
        image: index of the picture.
        texcoord: which set of texture coordinates.
        matrix: `[2, 3]` that takes (u, v, 1) of the file, v down, to where the picture is read.
        wrap: how it goes on along u and v, as in `UVTexture`.
        filter: how it is read where it is enlarged, likewise; smaller levels are not kept.
    """

    image: int
    texcoord: int
    matrix: np.ndarray
    wrap: tuple[Wrap, Wrap]
    filter: Filter


@dataclasses.dataclass
class Material:
    """What a glTF file says of a surface; colours are linear.

    Attributes:
        name: of the material.
        color: `[4]` base colour and alpha, which multiply the picture; of specular and glossy
            materials the diffuse colour.
        texture: its picture.
        alpha_mode: "OPAQUE", "MASK" or "BLEND".
        alpha_cutoff: below which MASK shows nothing.
        emissive: `[3]` light that it sends out, times its picture.
        emissive_texture: that picture.
        unlit: whether light does not count.
        double_sided: whether its back is seen.
        metallic: times the blue of its picture.
        roughness: times the green of it.
        metallic_roughness_texture: that picture.
        normal_texture: tangent-space normals.
        normal_scale: of their x and y.
        occlusion_texture: how much ambient light arrives, in its red.
        occlusion_strength: how much that counts.
        specular: `[3]` colour that is reflected, of specular and glossy materials.
        glossiness: 1 less their roughness.
    """

    name: str
    color: np.ndarray
    texture: TextureUse | None
    alpha_mode: str
    alpha_cutoff: float
    emissive: np.ndarray
    emissive_texture: TextureUse | None
    unlit: bool
    double_sided: bool
    metallic: float
    roughness: float
    metallic_roughness_texture: TextureUse | None
    normal_texture: TextureUse | None
    normal_scale: float
    occlusion_texture: TextureUse | None
    occlusion_strength: float
    specular: np.ndarray | None = None
    glossiness: float = 1.0

    def surface(self) -> Surface:
        """The same, as all formats have it."""
        surface = Surface(
            self.name,
            unlit=self.unlit,
            metallic=self.metallic,
            roughness=self.roughness,
            normal_scale=self.normal_scale,
            occlusion_strength=self.occlusion_strength,
        )
        if self.alpha_mode != "OPAQUE":
            surface.alpha, surface.blend = float(self.color[3]), self.alpha_mode == "BLEND"
        if self.alpha_mode == "MASK":
            surface.cutoff = self.alpha_cutoff
        if self.specular is not None:
            surface.specular = tuple(self.specular)
            surface.shininess = shininess(self.glossiness)
        return surface


def shininess(glossiness: float) -> float:
    """An exponent whose highlight is about as wide as that of GGX of roughness 1 - glossiness."""
    return 2 / max(1 - glossiness, ROUGHNESS_FLOOR) ** 4 - 2


def glossiness(shininess: float) -> float:
    """The inverse of `shininess`."""
    return 1 - max((2 / (max(shininess, 0.0) + 2)) ** 0.25, ROUGHNESS_FLOOR)


def read_material(document: Document, index: int) -> Material:
    """Reads a material, and notes what of it is not drawn.

    Raises:
        ValueError: it is not as the standard says.
    """
    described = document.item("materials", index)
    name = f"materials[{index}]"
    extensions = described.get("extensions", {})
    metal = described.get("pbrMetallicRoughness", {})
    gloss = extensions.get(GLOSSINESS)
    factor, texture = metal.get("baseColorFactor"), metal.get("baseColorTexture")
    if gloss is not None:
        factor, texture = gloss.get("diffuseFactor"), gloss.get("diffuseTexture")
    alpha_mode = described.get("alphaMode", "OPAQUE")
    if alpha_mode not in ALPHA_MODES:
        raise ValueError(f"{name} has alphaMode {alpha_mode!r}, which does not exist")

    def bounded(key: str, given: Any, shape: tuple[int, ...], most: float) -> np.ndarray:
        values = numbers(f"{name}.{key}", given, shape)
        within = np.clip(values, 0, most)
        if (values != within).any():
            document.note(f"numbers out of range in {key}")
        return within

    def color(key: str, given: Any, default: list[int]) -> np.ndarray:
        return bounded(key, default if given is None else given, (len(default),), np.inf)

    def share(key: str, holder: dict[str, Any], default: float) -> float:
        return float(bounded(key, holder.get(key, default), (), 1.0))

    def use(key: str, holder: dict[str, Any]) -> TextureUse | None:
        return read_use(document, f"{name}.{key}", holder.get(key))

    normal = described.get("normalTexture") or {}
    occlusion = described.get("occlusionTexture") or {}
    material = Material(
        name=str(described.get("name", name)),
        color=color("baseColorFactor", factor, [1] * 4),
        texture=read_use(document, f"{name}.baseColorTexture", texture),
        alpha_mode=alpha_mode,
        alpha_cutoff=float(bounded("alphaCutoff", described.get("alphaCutoff", 0.5), (), np.inf)),
        emissive=color("emissiveFactor", described.get("emissiveFactor"), [0] * 3),
        emissive_texture=use("emissiveTexture", described),
        unlit=UNLIT in extensions,
        double_sided=bool(described.get("doubleSided", False)),
        metallic=share("metallicFactor", metal, 1.0),
        roughness=share("roughnessFactor", metal, 1.0),
        metallic_roughness_texture=use("metallicRoughnessTexture", metal),
        normal_texture=use("normalTexture", described),
        normal_scale=float(numbers(f"{name}.scale", normal.get("scale", 1), ())),
        occlusion_texture=use("occlusionTexture", described),
        occlusion_strength=share("strength", occlusion, 1.0),
    )
    if gloss is not None:
        material.specular = color("specularFactor", gloss.get("specularFactor"), [1] * 3)
        material.glossiness = share("glossinessFactor", gloss, 1.0)
        # Metal and roughness may stand beside it, for those who know no more; else they follow.
        material.metallic = share("metallicFactor", metal, 0.0)
        material.roughness = share("roughnessFactor", metal, 1 - material.glossiness)
    if EMISSIVE_STRENGTH in extensions:
        strength = extensions[EMISSIVE_STRENGTH].get("emissiveStrength", 1)
        material.emissive = material.emissive * bounded("emissiveStrength", strength, (), np.inf)

    # Say what is not drawn. Metal by default says nothing: most writers mean none by it.
    not_drawn = {
        "alphaMode BLEND, which is drawn opaque": material.alpha_mode == "BLEND",
        "metallic surfaces": metal.get("metallicFactor", 0) > 0 and not material.unlit,
        "a metallic and roughness map": material.metallic_roughness_texture is not None,
        "a normal map": material.normal_texture is not None,
        "an occlusion map": material.occlusion_texture is not None,
        "a map of specular colour and glossiness": gloss is not None
        and "specularGlossinessTexture" in gloss,
    }  # fmt: skip
    for feature, there in not_drawn.items():
        if there:
            document.note(feature)
    return material


def read_use(document: Document, name: str, described: dict[str, Any] | None) -> TextureUse | None:
    """How a material reads a picture; None if it reads none, or one of a kind that we cannot."""
    if described is None:
        return None
    texture = document.item("textures", described.get("index"))
    extensions = texture.get("extensions", {})
    sources = [extensions[key].get("source") for key in PICTURES if key in extensions]
    source = [*sources, texture.get("source")][0]
    if source is None:
        kinds = ", ".join(extensions) or "no picture"
        document.note(f"a texture of {kinds}")
        return None
    document.item("images", source)

    # Shrink, turn and move coordinates: "counter-clockwise" is as seen with v down.
    transform = described.get("extensions", {}).get(TRANSFORM, {})
    offset = numbers(f"{name}.offset", transform.get("offset", [0, 0]), (2,))
    scale = numbers(f"{name}.scale", transform.get("scale", [1, 1]), (2,))
    angle = float(numbers(f"{name}.rotation", transform.get("rotation", 0), ()))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    sampler = document.item("samplers", texture["sampler"]) if "sampler" in texture else {}
    wraps = [sampler.get(key, REPEAT) for key in ("wrapS", "wrapT")]
    if not set(wraps) <= set(WRAPS):
        raise ValueError(f"samplers[{texture['sampler']}] wraps by {wraps}, which do not exist")
    return TextureUse(
        image=source,
        texcoord=int(transform.get("texCoord", described.get("texCoord", 0))),
        matrix=np.concatenate([turn * scale, offset[:, None]], axis=1),
        wrap=(WRAPS[wraps[0]], WRAPS[wraps[1]]),
        filter="nearest" if sampler.get("magFilter") == NEAREST else "linear",
    )


def read_picture(
    document: Document, index: int, read_image: Callable[[bytes | Path], np.ndarray]
) -> np.ndarray:
    """A picture `[H, W, 3 or 4]` as it is encoded: grey is repeated.

    Raises:
        ValueError: it is missing, or cannot be read.
    """
    described = document.item("images", index)
    name = f"images[{index}]"
    if "uri" in described:
        source = document.resource(name, described["uri"])
    else:
        source = bytes(document.view(described.get("bufferView"))[0])
    try:
        pixels = read_image(source)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if pixels.shape[-1] < 3:
        return np.concatenate([np.repeat(pixels[..., :1], 3, axis=-1), pixels[..., 1:]], axis=-1)
    return pixels
