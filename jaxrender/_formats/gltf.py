"""glTF 2.0, as .glb and .gltf: all primitives of a scene as one mesh.

Read here and not through trimesh, which rounds factors and colours, drops what it has no place
for (samplers, second texture coordinates, sparse values, skins, morphs) and says nothing of it.

Factors and vertex colours of glTF are linear, its pictures encoded as sRGB. What multiplies is
taken in linear light; the product then has the encoding that is asked for.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrender._choices import Encoding
from jaxrender._color import recode
from jaxrender._formats import gltf_materials as materials
from jaxrender._formats.gltf_accessors import MESHOPT, Document
from jaxrender._formats.gltf_materials import Material, TextureUse
from jaxrender._formats.gltf_primitives import DRACO, Primitive
from jaxrender._formats.gltf_scene import INSTANCES, read_scene
from jaxrender._formats.raw import RawMesh
from jaxrender._textures import FILTERS, WRAPS

KNOWN = {
    "KHR_mesh_quantization",
    materials.TRANSFORM,
    materials.UNLIT,
    materials.GLOSSINESS,
    *materials.PICTURES,
    *MESHOPT,
    DRACO,
    INSTANCES,
}


def read_gltf(
    path: Path,
    read_image: Callable[[bytes | Path], np.ndarray] | None,
    encoding: Encoding = "display",
    *,
    time: float | None = None,
    animation: int | str = 0,
    scene: int | str | None = None,
) -> RawMesh:
    """Reads a glTF file, and with `read_image` its colours.

    Args:
        path: the file, JSON or GLB, whatever its name.
        read_image: a picture, of bytes or a file, as `[H, W, 3]` display values; None reads no
            colours.
        encoding: of the colours that are returned.
        time: of the animation, seconds; None is the pose that the nodes themselves have.
        animation: its number or name.
        scene: number or name; None is the file's own.

    Raises:
        ValueError: the file is not as the standard says, or needs an extension that we lack.
        MissingPackageError: it is compressed, and the package that decompresses is not installed.
    """
    try:
        return _read(path, read_image, encoding, time, animation, scene)
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from error
    except (AttributeError, TypeError) as error:
        raise ValueError(f"its JSON has another type than it should: {error}") from error


def _read(
    path: Path,
    read_image: Callable[[bytes | Path], np.ndarray] | None,
    encoding: Encoding,
    time: float | None,
    animation: int | str,
    scene: int | str | None,
) -> RawMesh:
    document = Document(path)
    needed = [key for key in document.items("extensionsRequired") if key not in KNOWN]
    if needed:
        raise ValueError(f"it requires the extension {', '.join(needed)}, which is not known here")
    parts = read_scene(document, time=time, animation=animation, scene=scene)
    raw = _joined(parts, encoding).check()
    _name_objects(raw, parts, document)
    if read_image is not None:
        _Painter(document, read_image, encoding).paint(raw, parts)

    known = {*KNOWN, materials.BASISU}  # which is noted where it is the only picture
    unknown = [key for key in document.items("extensionsUsed") if key not in known]
    notes = [*document.notes, *(f"the extension {key}" for key in dict.fromkeys(unknown))]
    if notes:
        warnings.warn(f"{path}: ignores {'; '.join(notes)}", stacklevel=3)
    return raw


def _joined(parts: list[Primitive], encoding: Encoding) -> RawMesh:
    """The geometry of all parts."""
    if not parts:
        return RawMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    raw = RawMesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + k for part, k in zip(parts, starts, strict=False)]),
        encoding=encoding,
    )
    if any(part.normals is not None for part in parts):
        raw.normals = np.concatenate(
            [np.zeros_like(p.vertices) if p.normals is None else p.normals for p in parts]
        )
    return raw


def _name_objects(raw: RawMesh, parts: list[Primitive], document: Document) -> None:
    """Takes each node that shows a mesh for an object; one without a name has its mesh's."""
    numbers = {node: k for k, node in enumerate(dict.fromkeys(part.node for part in parts))}
    for node in numbers:
        described = document.item("nodes", node)
        mesh = document.item("meshes", described["mesh"])
        raw.objects.append(str(described.get("name") or mesh.get("name") or f"nodes[{node}]"))
    raw.face_object = _by_face(parts, [numbers[part.node] for part in parts])


@dataclasses.dataclass
class _Layers:
    """What multiplies to the colour of a part; colours are linear.

    Attributes:
        part: the part.
        factor: `[3]` of its material, and of the colours of its vertices if these are alike.
        colors: `[V, 3]` of its vertices, if they differ.
        use: how it reads its picture, if it has one.
        image: index of the picture times the factor, -1 without.
    """

    part: Primitive
    factor: np.ndarray
    colors: np.ndarray | None
    use: TextureUse | None
    image: int = -1


class _Painter:
    """Gives a mesh the colours of its parts."""

    def __init__(self, document: Document, read_image: Callable, encoding: Encoding) -> None:
        self.document = document
        self.read_image = read_image
        self.encoding = encoding
        self.images: list[np.ndarray] = []
        self.numbers: dict[tuple, int] = {}  # of images, by picture and factor
        self.pictures: dict[int, np.ndarray | None] = {}

    def paint(self, raw: RawMesh, parts: list[Primitive]) -> None:
        """Fills in all of a mesh that is about colours."""
        # Read the materials that are used, each once.
        used = sorted({part.material for part in parts if part.material is not None})
        found = {index: materials.read_material(self.document, index) for index in used}
        raw.materials = list(found.values())
        numbers = [-1 if part.material is None else used.index(part.material) for part in parts]
        raw.face_material = _by_face(parts, numbers)

        # Choose the richest texture that any part has.
        layers = [
            self._layers(part, None if part.material is None else found[part.material])
            for part in parts
        ]
        if self.images:
            self._paint_pictures(raw, parts, layers)
        elif any(part.colors is not None for part in parts):
            colors = [
                np.tile(layer.factor, (len(layer.part.vertices), 1))
                if layer.colors is None
                else layer.factor * layer.colors
                for layer in layers
            ]
            raw.vertex_colors = self._encoded(np.concatenate(colors))
        elif used:
            raw.face_colors = self._encoded(_by_face(parts, [layer.factor for layer in layers]))

    def _layers(self, part: Primitive, material: Material | None) -> _Layers:
        """Takes the colour of a part apart."""
        factor = np.ones(3) if material is None else material.color[:3]
        use = None if material is None else material.texture
        if use is not None and use.texcoord not in part.uv:
            self.document.note(f"the texture of {part.name}, which has no TEXCOORD_{use.texcoord}")
            use = None
        if use is not None and self._picture(use.image) is None:
            use = None
        colors = None if part.colors is None else part.colors[:, :3]
        if colors is not None and (colors == colors[0]).all():
            factor, colors = factor * colors[0], None
        return _Layers(part, factor, colors, use, -1 if use is None else self._image(use, factor))

    def _picture(self, index: int) -> np.ndarray | None:
        """A picture, or None if it cannot be read, which is noted."""
        if index not in self.pictures:
            try:
                picture = materials.read_picture(self.document, index, self.read_image)
            except ValueError as error:
                self.document.note(f"a texture, whose plain colour serves instead: {error}")
                picture = None
            self.pictures[index] = picture
        return self.pictures[index]

    def _image(self, use: TextureUse, factor: np.ndarray) -> int:
        """The index of a picture times a factor."""
        key = use.image, *factor.tolist()
        if key not in self.numbers:
            picture, held = self.pictures[use.image], "display"
            assert picture is not None
            if (factor != 1).any():
                picture, held = recode(picture, "display", "linear") * factor, "linear"
            self.numbers[key] = len(self.images)
            self.images.append(recode(picture, held, self.encoding))
        return self.numbers[key]

    def _paint_pictures(self, raw: RawMesh, parts: list[Primitive], layers: list[_Layers]) -> None:
        """Lets faces read pictures, or plain colours, times what differs by vertex."""
        raw.images = self.images
        raw.face_image = _by_face(parts, [layer.image for layer in layers])
        raw.uv = np.concatenate([_coordinates(layer) for layer in layers])
        raw.uv_faces = raw.faces

        # Say how pictures are read: all alike, or else face by face.
        uses = [layer.use for layer in layers]
        given = [use for use in uses if use is not None]
        if len({(use.wrap, use.filter) for use in given}) == 1:
            wrap, raw.filter = given[0].wrap, given[0].filter
            raw.wrap = wrap[0] if wrap[0] == wrap[1] else wrap
        else:
            raw.samplers = _by_face(parts, [_sampler(use) for use in uses])

        # Give parts without a picture all their colour by vertex, where it differs.
        plain = [
            layer.factor if layer.colors is None or layer.use is not None else np.ones(3)
            for layer in layers
        ]
        raw.face_colors = self._encoded(_by_face(parts, plain))
        if any(layer.colors is not None for layer in layers):
            raw.tint = np.concatenate([self._tint(layer) for layer in layers])

    def _tint(self, layer: _Layers) -> np.ndarray:
        """What multiplies the picture of a part, `[V, 3]`."""
        if layer.colors is None:
            return np.ones((len(layer.part.vertices), 3))
        if layer.use is None:
            return self._encoded(layer.colors * layer.factor)
        if self.encoding != "linear":
            self.document.note(
                "the curve of display values where colours of vertices multiply a picture "
                "(linear colours are exact)"
            )
        return self._encoded(layer.colors)

    def _encoded(self, linear: np.ndarray) -> np.ndarray:
        """The one place where colours get the encoding that is asked for."""
        return recode(linear, "linear", self.encoding)


def _by_face(parts: list[Primitive], values: Sequence[Any]) -> np.ndarray:
    """One value for each part, as one for each face."""
    return np.repeat(np.array(values), [len(part.faces) for part in parts], axis=0)


def _coordinates(layer: _Layers) -> np.ndarray:
    """The texture coordinates of a part, v up; 0 without a picture."""
    part, use = layer.part, layer.use
    if use is None:
        return np.zeros((len(part.vertices), 2))
    moved = part.uv[use.texcoord] @ use.matrix[:, :2].T + use.matrix[:, 2]
    return np.stack([moved[:, 0], 1 - moved[:, 1]], axis=-1)


def _sampler(use: TextureUse | None) -> list[int]:
    """How a picture is read, in the numbers of `UVTexture.samplers`."""
    if use is None:
        return [0, 0, 0]
    return [*(WRAPS.index(wrap) for wrap in use.wrap), FILTERS.index(use.filter)]
