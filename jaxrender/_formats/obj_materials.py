"""Gives the faces of OBJ files the colours and pictures of their materials.

Shapes: `F` faces, `U` texture coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxrender._color import recode, recode_pixels
from jaxrender._formats.mtl import Map, Material, find, match, read_libraries
from jaxrender._formats.raw import RawMesh, rgb
from jaxrender._formats.text import Notes, shown

MASK_CUTOFF = 0.5
UNNAMED = ("", "None", "(null)")  # what exporters write where there is no material


def paint(
    path: Path,
    raw: RawMesh,
    libraries: list[str],
    names: list[str],
    used: np.ndarray,
    read_image: Callable[[Path], np.ndarray],
    notes: Notes,
) -> None:
    """Fills in all of a mesh that is about materials.

    Args:
        path: the OBJ file.
        raw: its geometry.
        libraries: the files that have its materials.
        names: what its lines `usemtl` say.
        used: `[F]` after how many of these lines each face stands.
        read_image: a picture as `[H, W, C]` display values.
        notes: takes what is not drawn.
    """
    materials, missing = read_libraries(path, libraries, notes)
    if not names and len(materials) == 1:
        names, used = list(materials), np.ones_like(used)
    elif not names and libraries:
        what = f"the library {shown(missing[0])!r} is missing" if missing else "no face names one"
        notes.add(path, f"its faces are white, without a material: {what}")

    # Number the materials, in the order of their first line.
    numbers = [-1]
    found: dict[str, int] = {}
    for name in names:
        meant = match(name, materials, path, notes)
        numbers.append(-1 if meant is None else found.setdefault(meant, len(found)))
    raw.materials = [materials[name] for name in found]
    raw.surfaces = [material.surface() for material in raw.materials]
    raw.face_material = np.array(numbers)[used]
    for line in np.flatnonzero(np.bincount(used[raw.face_material < 0])).tolist():
        name = names[line - 1] if line else ""
        if name not in UNNAMED:
            message = f"no material {shown(name)!r} in its library; its faces are white"
            notes.add(path, message)
    if raw.materials:
        _Painter(path, raw, read_image, notes).paint()


def hide_vertex_colors(raw: RawMesh, known: np.ndarray, path: Path, notes: Notes) -> np.ndarray:
    """Which vertices `[V]` keep their colour beside that of their material.

    A grey `Kd` stands for none: programs write it where the colour comes from vertices. One with a
    hue is meant.
    """
    if raw.face_material is None or not raw.materials or raw.vertex_colors is None:
        return known
    grey = np.array([len(set(material.color)) == 1 for material in raw.materials] + [True])
    shows = np.zeros(len(known), bool)
    shows[raw.faces[grey[raw.face_material]]] = True
    hidden = known & ~shows
    hidden &= np.isin(np.arange(len(known)), raw.faces)
    if (raw.vertex_colors[hidden] != 1).any():
        notes.add(path, "ignores colours of vertices where a material has a hue")
    return known & ~hidden


class _Painter:
    """Takes the colour and the picture of each material, where it can."""

    def __init__(
        self, path: Path, raw: RawMesh, read_image: Callable[[Path], np.ndarray], notes: Notes
    ) -> None:
        self.path, self.raw, self.read_image, self.notes = path, raw, read_image, notes
        self.pictures: dict[tuple[Path | None, Path | None], int] = {}

    def paint(self) -> None:
        """Paints all faces."""
        raw = self.raw
        assert raw.face_material is not None
        colors = np.array([material.color for material in raw.materials] + [(1.0, 1.0, 1.0)])
        raw.face_colors = recode(colors, "linear", raw.encoding)[raw.face_material]
        raw.face_image = np.full(len(raw.faces), -1)
        textured = np.zeros(len(raw.faces), bool)
        if raw.uv_faces is not None:
            textured = raw.uv_faces.min(axis=1) >= 0

        # Find the faces of each material.
        order = np.argsort(raw.face_material, kind="stable")
        ends = np.searchsorted(raw.face_material[order], np.arange(len(raw.materials) + 1))
        clamps = np.zeros(len(raw.faces), bool)
        for number, material in enumerate(raw.materials):
            faces = order[ends[number] : ends[number + 1]]
            if not len(faces):
                continue
            self._hide(number, material, bool(textured[faces].all()))
            if material.texture is None:
                continue
            picture, problem = -1, "faces with material {} have no texture coordinates"
            shows = faces[textured[faces]]
            try:
                picture = self._picture(material, material.texture)
            except ValueError as error:
                problem, shows = str(error), faces[:0]
            if len(shows) < len(faces):
                name = repr(shown(material.name))
                plain = f"its plain colour {list(material.color)} (linear)"
                message = f"{problem.replace('{}', name)}; {plain} serves instead"
                self.notes.add(self.path, message)
            if len(shows):
                raw.face_image[shows] = picture
                clamps[shows] = material.texture.clamp
                self._move(shows, material.texture)

        # Give plain colours alpha as well, and let faces send out light.
        if any(image.shape[-1] == 4 for image in raw.images):
            ones = np.ones((len(raw.face_colors), 1))
            raw.face_colors = np.concatenate([raw.face_colors, ones], axis=1)
            raw.images = [_with_alpha(image) for image in raw.images]
        lights = np.array([material.emissive for material in raw.materials] + [(0.0, 0.0, 0.0)])
        if lights.any():
            layer = RawMesh(raw.vertices, raw.faces, encoding=raw.encoding)
            layer.face_colors = recode(lights, "linear", raw.encoding)[raw.face_material]
            raw.layers["emissive"] = layer

        # Say how pictures go on outside: all alike, or else face by face.
        pictured = raw.face_image >= 0
        if clamps.any() and clamps[pictured].all():
            raw.wrap = "clamp"
        elif clamps.any():
            raw.samplers = np.stack([clamps, clamps, np.zeros_like(clamps)], -1).astype(np.int64)

    def _hide(self, number: int, material: Material, textured: bool) -> None:
        """Lets a map of alpha hide the faces of a material, where it can be read."""
        if material.mask is None:
            return
        problem = None if textured else "faces that have no texture coordinates"
        if problem is None and self._find(material, material.mask) is None:
            problem = f"{shown(material.mask.name)}, which is missing"
        if problem is None and material.texture is None:
            problem = "a material without a picture"
        if problem is not None:
            self.notes.add(self.path, f"ignores a map of alpha of {problem}")
            material.mask = None
            return
        self.raw.surfaces[number].cutoff = MASK_CUTOFF
        self.notes.add(
            self.path, f"takes a map of alpha for a mask: below {MASK_CUTOFF} is nothing"
        )

    def _find(self, material: Material, texture: Map) -> Path | None:
        """The file of a picture: beside the library, or beside the mesh."""
        found = find(material.path, texture.name, self.notes)
        return found or find(self.path, texture.name, self.notes)

    def _picture(self, material: Material, texture: Map) -> int:
        """The number of a material's picture.

        Raises:
            ValueError: it is not there, or cannot be read.
        """
        file = self._find(material, texture)
        if file is None:
            raise ValueError(f"texture file {shown(texture.name)} of material {{}} is missing")
        mask = None if material.mask is None else self._find(material, material.mask)
        if (file, mask) not in self.pictures:
            pixels, clear = rgb(self.read_image(file))
            if mask is not None:
                alpha = _alpha_of(self.read_image(mask), pixels.shape[:2])
                pixels = np.concatenate([pixels, alpha[..., None]], axis=-1)
            elif clear:
                self.notes.add(self.path, f"ignores alpha of the picture {shown(file.name)}")
            self.raw.images.append(recode_pixels(pixels, "display", self.raw.encoding))
            self.pictures[file, mask] = len(self.raw.images) - 1
        return self.pictures[file, mask]

    def _move(self, faces: np.ndarray, texture: Map) -> None:
        """Scales and moves the texture coordinates of faces."""
        if texture.scale == (1.0, 1.0) and texture.offset == (0.0, 0.0):
            return
        raw = self.raw
        assert raw.uv is not None
        assert raw.uv_faces is not None
        used, ids = np.unique(raw.uv_faces[faces], return_inverse=True)
        moved = raw.uv[used] * texture.scale + np.array(texture.offset)
        raw.uv_faces[faces] = len(raw.uv) + ids.reshape(-1, 3)
        raw.uv = np.concatenate([raw.uv, moved])


def _with_alpha(image: np.ndarray) -> np.ndarray:
    """A picture with four channels."""
    if image.shape[-1] == 4:
        return image
    return np.concatenate([image, np.ones((*image.shape[:2], 1))], axis=-1)


def _alpha_of(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What a map of alpha says `[H, W]`: its own alpha if it has one, else its brightness."""
    own = pixels.shape[-1] in (2, 4) and bool((pixels[..., -1] < 1).any())
    alpha = pixels[..., -1] if own else pixels[..., 0]
    rows, columns = (
        (np.arange(count) + 0.5) * have // count
        for count, have in zip(size, alpha.shape, strict=True)
    )
    return alpha[rows.astype(int)[:, None], columns.astype(int)]
