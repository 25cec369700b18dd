"""glTF 2.0, as .glb and .gltf: all primitives of a scene as one mesh, or as objects.

Read here and not through trimesh, which rounds factors and colours, drops what it has no place
for (samplers, second texture coordinates, sparse values, skins, morphs) and says nothing of it.

Factors and vertex colours of glTF are linear, its pictures encoded as sRGB. What multiplies is
taken in linear light; the product then has the encoding that is asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrender._choices import Encoding
from jaxrender._formats import gltf_materials as materials
from jaxrender._formats.colors import recoded
from jaxrender._formats.gltf_accessors import MESHOPT, Document
from jaxrender._formats.gltf_materials import Material, TextureUse
from jaxrender._formats.gltf_primitives import DRACO, Primitive
from jaxrender._formats.gltf_scene import INSTANCES, VISIBILITY, read_stage
from jaxrender._formats.gltf_views import LIGHTS, Light, View, read_lights, read_views
from jaxrender._formats.raw import RawMesh
from jaxrender._textures import FILTERS, WRAPS

KNOWN = {
    "KHR_mesh_quantization",
    materials.TRANSFORM,
    materials.UNLIT,
    materials.EMISSIVE_STRENGTH,
    materials.GLOSSINESS,
    *materials.PICTURES,
    *MESHOPT,
    DRACO,
    INSTANCES,
    VISIBILITY,
}


def read_gltf(
    path: Path,
    read_image: Callable[[bytes | Path], np.ndarray] | None,
    encoding: Encoding = "display",
    **motion: Any,
) -> RawMesh:
    """Reads a glTF file, and with `read_image` its colours.

    Args:
        path: the file, JSON or GLB, whatever its name.
        read_image: a picture, of bytes or a file, as `[H, W, C]` display values with 1 to 4
            channels; None reads no colours.
        encoding: of the colours that are returned.
        **motion: `time`, `animations` and `scene`, see `read_stage`.

    Raises:
        ValueError: the file is not as the standard says, or needs an extension that we lack.
        MissingPackageError: it is compressed, and the package that decompresses is not installed.
    """
    with _saying_what():
        document = _opened(path, KNOWN)
        parts = read_stage(document, **motion).primitives()
        raw = _painted(document, parts, read_image, encoding)
        _share_vertices(raw, parts)
        _name_objects(raw, parts, document)
        _warn(document, KNOWN)
        return raw


class Thing(NamedTuple):
    """An object of a scene.

    Attributes:
        name: of its node, or else of its mesh.
        shape: its number in `RawMesh.face_object`.
        matrix: `[4, 4]` from the shape to the world.
    """

    name: str
    shape: int
    matrix: np.ndarray


class Objects(NamedTuple):
    """A scene of a file, its shapes apart from where they are.

    Attributes:
        shapes: each in its own space, once; `face_object` says which one faces are of.
        things: that show them.
        cameras: by name.
        lights: all of them.
    """

    shapes: RawMesh
    things: list[Thing]
    cameras: dict[str, View]
    lights: list[Light]


def read_objects(
    path: Path,
    read_image: Callable[[bytes | Path], np.ndarray],
    encoding: Encoding = "display",
    **motion: Any,
) -> Objects:
    """Reads a glTF file as a scene of objects, with its cameras and lights.

    Arguments and errors are those of `read_gltf`.
    """
    with _saying_what():
        known = {*KNOWN, LIGHTS}
        document = _opened(path, known)
        stage = read_stage(document, **motion)
        shown = [own for own in stage.shown if own.primitives]
        numbers: dict[Any, int] = {}
        parts = []
        for own in shown:
            if own.shape not in numbers:
                number = numbers[own.shape] = len(numbers)
                parts += [dataclasses.replace(part, node=number) for part in own.primitives]
        raw = _painted(document, parts, read_image, encoding)
        _share_vertices(raw, parts, apart=True)
        raw.face_object = _by_face(parts, [part.node for part in parts])
        things = [Thing(_name(document, own.node), numbers[own.shape], own.matrix) for own in shown]
        found = Objects(raw, things, read_views(document, stage), read_lights(document, stage))
        _warn(document, known)
        return found


@contextlib.contextmanager
def _saying_what() -> Iterator[None]:
    """Says what is wrong with a file where that shows as a missing key or a wrong type."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from error
    except (AttributeError, TypeError) as error:
        raise ValueError(f"its JSON has another type than it should: {error}") from error


def _opened(path: Path, known: set[str]) -> Document:
    """The file, if we know all that it requires."""
    document = Document(path)
    needed = [key for key in document.items("extensionsRequired") if key not in known]
    if needed:
        raise ValueError(f"it requires the extension {', '.join(needed)}, which is not known here")
    return document


def _warn(document: Document, known: set[str]) -> None:
    """Names what of a file was left out."""
    known = {*known, materials.BASISU}  # which is noted where it is the only picture
    unknown = [key for key in document.items("extensionsUsed") if key not in known]
    notes = [*document.notes, *(f"the extension {key}" for key in dict.fromkeys(unknown))]
    if notes:
        warnings.warn(f"{document.path}: ignores {'; '.join(notes)}", stacklevel=3)


def _painted(
    document: Document,
    parts: list[Primitive],
    read_image: Callable[[bytes | Path], np.ndarray] | None,
    encoding: Encoding,
) -> RawMesh:
    """All parts as one mesh, with their colours if they are read."""
    raw = _joined(parts, encoding).check()
    if read_image is not None:
        _paint(document, read_image, raw, parts)
    return raw


def _joined(parts: list[Primitive], encoding: Encoding) -> RawMesh:
    """The geometry of all parts."""
    if not parts:
        return RawMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    raw = RawMesh(
        _chained([part.vertices for part in parts]),
        _chained(
            [part.faces + k if k else part.faces for part, k in zip(parts, starts, strict=False)]
        ),
        encoding=encoding,
    )
    if any(part.normals is not None for part in parts):
        raw.normals = _chained(
            [np.zeros_like(p.vertices) if p.normals is None else p.normals for p in parts]
        )
    return raw


def _chained(arrays: list[np.ndarray]) -> np.ndarray:
    """Rows one after the other; those of one array are not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _share_vertices(raw: RawMesh, parts: list[Primitive], *, apart: bool = False) -> None:
    """Keeps one copy of vertices that several primitives of a mesh name, in all that they have.

    And that those of several nodes do, unless they are to stay `apart`.
    """
    if len(parts) < 2:
        return
    rows = [
        values for values in (raw.vertices, raw.normals, raw.vertex_colors) if values is not None
    ]
    kept = np.arange(len(raw.vertices))
    copies: dict[Any, list[tuple[int, set[str]]]] = {}  # by accessor: where, and of which parts
    start = 0
    for part in parts:
        here = slice(start, start + len(part.vertices))
        start = here.stop
        key = part.places, part.node if apart else None
        for first, names in copies.setdefault(key, []):
            there = slice(first, first + len(part.vertices))
            alike = part.name not in names  # else it is another instance
            if alike and all(np.array_equal(values[here], values[there]) for values in rows):
                kept[here] = kept[there]
                names.add(part.name)
                break
        else:
            copies[key].append((here.start, {part.name}))

    # Leave the others out; texture coordinates have faces of their own.
    own = kept == np.arange(len(kept))
    if own.all():
        return
    numbers = (np.cumsum(own) - 1)[kept]
    raw.faces = numbers[raw.faces]
    raw.vertices = raw.vertices[own]
    raw.normals = None if raw.normals is None else raw.normals[own]
    raw.vertex_colors = None if raw.vertex_colors is None else raw.vertex_colors[own]


def _name_objects(raw: RawMesh, parts: list[Primitive], document: Document) -> None:
    """Takes each node that shows a mesh for an object; one without a name has its mesh's."""
    numbers = {node: k for k, node in enumerate(dict.fromkeys(part.node for part in parts))}
    raw.objects = [_name(document, node) for node in numbers]
    raw.face_object = _by_face(parts, [numbers[part.node] for part in parts])


def _name(document: Document, node: int) -> str:
    """What a node that shows a mesh is called."""
    described = document.item("nodes", node)
    mesh = document.item("meshes", described["mesh"])
    return str(described.get("name") or mesh.get("name") or f"nodes[{node}]")


@dataclasses.dataclass
class _Layers:
    """What multiplies to the colour of a part; colours are linear.

    Attributes:
        part: the part.
        factor: `[3 or 4]` of its material, and of the colours of its vertices if these are alike.
        colors: `[V, 3 or 4]` of its vertices, if they differ.
        use: how it reads its picture, if it has one.
        image: index of the picture times the factor, -1 without.
    """

    part: Primitive
    factor: np.ndarray
    colors: np.ndarray | None
    use: TextureUse | None
    image: int = -1


# What of a material is read from pictures, by the names of `Material`: its linear factor, if its
# pictures are colours, and its picture.
LAYERS: dict[str, Callable[[Material], tuple[np.ndarray | None, TextureUse | None]]] = {
    "emissive": lambda material: (material.emissive, material.emissive_texture),
    "metallic_roughness_map": lambda material: (None, material.metallic_roughness_texture),
    "normal_map": lambda material: (None, material.normal_texture),
    "occlusion_map": lambda material: (None, material.occlusion_texture),
}
NO_MAP = {"normal_map": (0.5, 0.5, 1.0)}  # what stands for none; else white, which is a factor of 1


def _paint(document: Document, read_image: Callable, raw: RawMesh, parts: list[Primitive]) -> None:
    """Fills in all of a mesh that is about colours and materials."""
    # Read the materials that are used, each once.
    used = sorted({part.material for part in parts if part.material is not None})
    found = {index: materials.read_material(document, index) for index in used}
    raw.materials = list(found.values())
    raw.surfaces = [material.surface() for material in raw.materials]
    numbers = [-1 if part.material is None else used.index(part.material) for part in parts]
    raw.face_material = _by_face(parts, numbers)
    wear = [None if part.material is None else found[part.material] for part in parts]

    # Read their colours, and what else they have.
    pictures = _Pictures(document, read_image)
    base = [
        (np.ones(3), None) if material is None else (material.color[:3], material.texture)
        for material in wear
    ]
    _Painter(document, pictures, raw.encoding).paint(raw, parts, base, wear)
    for name, read in LAYERS.items():
        told = [(None, None) if material is None else read(material) for material in wear]
        lights = any(factor is not None and factor.any() for factor, _ in told)
        if not lights and (name == "emissive" or all(use is None for _, use in told)):
            continue
        colored = name == "emissive"
        layer = RawMesh(raw.vertices, raw.faces, encoding=raw.encoding if colored else "linear")
        none = np.zeros(3) if colored else np.array(NO_MAP.get(name, (1.0, 1.0, 1.0)))
        given = []
        for factor, use in told:
            blank = none if use is None else np.ones(3)
            given.append((blank if factor is None else factor, use))
        painter = _Painter(
            document, pictures, layer.encoding, held="display" if colored else "linear"
        )
        painter.paint(layer, parts, given)
        if layer.face_colors is not None or layer.images:
            raw.layers[name] = layer


class _Pictures:
    """The pictures of a file, each read once."""

    def __init__(self, document: Document, read_image: Callable) -> None:
        self.document, self.read_image = document, read_image
        self.found: dict[int, np.ndarray | None] = {}

    def read(self, index: int) -> np.ndarray | None:
        """A picture, or None if it cannot be read, which is noted."""
        if index not in self.found:
            try:
                picture = materials.read_picture(self.document, index, self.read_image)
            except ValueError as error:
                self.document.note(f"a texture, whose plain colour serves instead: {error}")
                picture = None
            self.found[index] = picture
        return self.found[index]


class _Painter:
    """Gives a mesh the colours of its parts, or what else they read from pictures."""

    def __init__(
        self,
        document: Document,
        pictures: _Pictures,
        encoding: Encoding,
        *,
        held: Encoding = "display",
    ) -> None:
        self.document, self.pictures = document, pictures
        self.encoding, self.held = encoding, held
        self.images: list[np.ndarray] = []
        self.numbers: dict[tuple, int] = {}  # of images, by picture and factor
        self.alpha = False

    def paint(
        self,
        raw: RawMesh,
        parts: list[Primitive],
        given: list[tuple[np.ndarray, TextureUse | None]],
        wear: list[Material | None] | None = None,
    ) -> None:
        """Fills in colours.

        Args:
            raw: the mesh.
            parts: of it.
            given: linear factor and picture of each.
            wear: their materials, where colours of vertices and alpha count.
        """
        opaque = [True] * len(parts)
        if wear is not None:
            opaque = [material is None or material.alpha_mode == "OPAQUE" for material in wear]
        self.alpha = any(
            not solid and self._has_alpha(part, use)
            for part, solid, (_, use) in zip(parts, opaque, given, strict=True)
        )

        # Choose the richest texture that any part has.
        layers = [
            self._layers(part, factor, use, solid, colored=wear is not None)
            for part, (factor, use), solid in zip(parts, given, opaque, strict=True)
        ]
        if self.images:
            self._paint_pictures(raw, parts, layers)
        elif wear is not None and any(part.colors is not None for part in parts):
            colors = [
                np.tile(layer.factor, (len(layer.part.vertices), 1))
                if layer.colors is None
                else layer.factor * layer.colors
                for layer in layers
            ]
            raw.vertex_colors = self._encoded(_chained(colors))
        elif wear is None or any(material is not None for material in wear):
            factors = self._encoded(np.array([layer.factor for layer in layers]))
            raw.face_colors = _by_face(parts, factors)

    def _has_alpha(self, part: Primitive, use: TextureUse | None) -> bool:
        """Whether a part is not as opaque all over as its material."""
        if part.colors is not None and (part.colors[:, 3] != 1).any():
            return True
        picture = (
            None if use is None or use.texcoord not in part.uv else self.pictures.read(use.image)
        )
        return picture is not None and picture.shape[-1] == 4 and bool((picture[..., 3] < 1).any())

    def _layers(
        self,
        part: Primitive,
        factor: np.ndarray,
        use: TextureUse | None,
        opaque: bool,
        *,
        colored: bool,
    ) -> _Layers:
        """Takes the colour of a part apart."""
        if use is not None and use.texcoord not in part.uv:
            self.document.note(f"the texture of {part.name}, which has no TEXCOORD_{use.texcoord}")
            use = None
        if use is not None and self.pictures.read(use.image) is None:
            use = None
        colors = part.colors if colored else None
        if self.alpha:
            factor = np.append(factor, 1.0)
        if colors is not None:
            colors = colors[:, : len(factor)].copy()
            if opaque:
                colors[:, 3:] = 1.0
        if colors is not None and (colors == colors[0]).all():
            factor, colors = factor * colors[0], None
        image = -1 if use is None else self._image(use, factor, opaque)
        return _Layers(part, factor, colors, use, image)

    def _image(self, use: TextureUse, factor: np.ndarray, opaque: bool) -> int:
        """The index of a picture times a factor."""
        key = use.image, self.alpha and opaque, *factor.tolist()
        if key not in self.numbers:
            picture, held = self.pictures.read(use.image), self.held
            assert picture is not None
            width = len(factor)
            if picture.shape[-1] < width or (width == 4 and opaque):
                picture = np.concatenate([picture[..., :3], np.ones((*picture.shape[:2], 1))], -1)
            picture = picture[..., :width]
            if (factor != 1).any():
                picture, held = recoded(picture, held, "linear") * factor, "linear"
            self.numbers[key] = len(self.images)
            self.images.append(recoded(picture, held, self.encoding))
        return self.numbers[key]

    def _paint_pictures(self, raw: RawMesh, parts: list[Primitive], layers: list[_Layers]) -> None:
        """Lets faces read pictures, or plain colours, times what differs by vertex."""
        raw.images = self.images
        raw.face_image = _by_face(parts, [layer.image for layer in layers])
        raw.uv = _chained([_coordinates(layer) for layer in layers])
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
            layer.factor
            if layer.colors is None or layer.use is not None
            else np.ones_like(layer.factor)
            for layer in layers
        ]
        raw.face_colors = _by_face(parts, self._encoded(np.array(plain)))
        if any(layer.colors is not None for layer in layers):
            raw.tint = np.concatenate([self._tint(layer) for layer in layers])

    def _tint(self, layer: _Layers) -> np.ndarray:
        """What multiplies the picture of a part, `[V, 3]`."""
        if layer.colors is None:
            return np.ones((len(layer.part.vertices), len(layer.factor)))
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
        return recoded(linear, "linear", self.encoding)


def _by_face(parts: list[Primitive], values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """One value for each part, as one for each face; not to be written to."""
    if len(parts) == 1:
        value = np.asarray(values[0])
        return np.broadcast_to(value, (len(parts[0].faces), *value.shape))
    return np.repeat(np.array(values), [len(part.faces) for part in parts], axis=0)


def _coordinates(layer: _Layers) -> np.ndarray:
    """The texture coordinates of a part, v up; 0 without a picture."""
    part, use = layer.part, layer.use
    if use is None:
        return np.zeros((len(part.vertices), 2))
    u, v = part.uv[use.texcoord].T
    if not np.array_equal(use.matrix, np.eye(2, 3)):
        u, v = (a * u + b * v + c for a, b, c in use.matrix)
    return np.stack([u, 1 - v], axis=-1)


def _sampler(use: TextureUse | None) -> list[int]:
    """How a picture is read, in the numbers of `UVTexture.samplers`."""
    if use is None:
        return [0, 0, 0]
    return [*(WRAPS.index(wrap) for wrap in use.wrap), FILTERS.index(use.filter)]
