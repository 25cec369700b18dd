"""The materials of Wavefront OBJ files."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

from jaxrender._formats.raw import relative

WHITE = (1.0, 1.0, 1.0)

# How many words may follow each option of a texture map.
MAP_OPTIONS = {
    "-blendu": 1,
    "-blendv": 1,
    "-bm": 1,
    "-boost": 1,
    "-cc": 1,
    "-clamp": 1,
    "-imfchan": 1,
    "-mm": 2,
    "-o": 3,
    "-s": 3,
    "-t": 3,
    "-texres": 1,
    "-type": 1,
}


@dataclasses.dataclass
class Material:
    """One material of an MTL file: a plain colour, or an image where it can be read."""

    color: tuple[float, ...] = WHITE
    image: str = ""
    clamp: bool = False


def read_libraries(path: Path, names: list[str]) -> dict[str, Material]:
    """Reads the material files; one that is missing shows when a face asks for its material."""
    materials: dict[str, Material] = {}
    for name in names:
        whole = relative(path, name)
        found = [whole] if whole else [relative(path, part) for part in name.split()]
        for file in found:
            if file is not None:
                materials |= _read_mtl(file)
    return materials


def _read_mtl(path: Path) -> dict[str, Material]:
    materials: dict[str, Material] = {}
    material = Material()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        keyword, _, rest = line.strip().replace("\t", " ").partition(" ")
        if keyword == "newmtl":
            material = materials[rest.strip()] = Material()
        elif keyword == "Kd":
            words = rest.partition("#")[0].split()
            try:
                values = [float(word) for word in words[:3]]
            except ValueError:
                values = []
            if len(values) not in (1, 3):
                warnings.warn(f"{path}: cannot read the colour `Kd {rest}`", stacklevel=2)
            else:
                material.color = tuple(values * 3)[:3]
        elif keyword == "map_Kd":
            material.image, material.clamp = _map(path, rest)
    return materials


def _map(path: Path, rest: str) -> tuple[str, bool]:
    """Splits the options from the file name, which may have spaces: (name, clamp)."""
    words = rest.split()
    clamp = False
    while words and words[0] in MAP_OPTIONS:
        option, *words = words
        taken = 1
        while taken < MAP_OPTIONS[option] and taken < len(words) and _is_number(words[taken]):
            taken += 1
        values, words = words[:taken], words[taken:]
        if option == "-clamp":
            clamp = values == ["on"]
        elif option in ("-o", "-s", "-t"):
            warnings.warn(f"{path}: ignores `{option}` of a texture map", stacklevel=2)
    return " ".join(words), clamp


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
