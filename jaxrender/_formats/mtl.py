"""The materials of Wavefront OBJ files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from jaxrender._formats.raw import Surface, relative
from jaxrender._formats.text import Lines, Notes, read_bytes, shown

WHITE = (1.0, 1.0, 1.0)
BRIGHT = 8.0  # a colour above is meant in 255ths

# How many words may follow each option of a texture map, and those that say nothing by default.
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
NOT_DRAWN_OPTIONS = {"-t": (0, 0, 0), "-mm": (0, 1)}

RANGES = {"d": (0.0, 1.0), "tr": (0.0, 1.0), "pm": (0.0, 1.0), "pr": (0.0, 1.0)}

# What else a material may have, by the first word, lower case. The light of Ka, Ks, Ns, Ni, Tf and
# illum is kept or left without a word: nearly all files have some, and few mean it.
NOT_DRAWN = {
    "bump": "a bump map",
    "map_bump": "a bump map",
    "norm": "a normal map",
    "map_kn": "a normal map",
    "disp": "a displacement map",
    "map_disp": "a displacement map",
    "decal": "a decal",
    "refl": "a reflection map",
    "map_refl": "a reflection map",
    "map_tr": "a map of alpha",
    "map_ke": "a map of emissive light",
    "map_ks": "a map of specular colour",
    "map_ns": "a map of shininess",
    "map_pr": "a map of roughness",
    "map_pm": "a map of metal",
    "map_ps": "a map of sheen",
}


@dataclasses.dataclass
class Map:
    """A picture as a material reads it.

    Attributes:
        name: of its file, as it stands in the line; options are taken off.
        clamp: whether it goes on outside [0, 1] as its border, in place of again.
        scale: times which texture coordinates are taken.
        offset: what is added to them then.
    """

    name: str = ""
    clamp: bool = False
    scale: tuple[float, ...] = (1.0, 1.0)
    offset: tuple[float, ...] = (0.0, 0.0)


@dataclasses.dataclass
class Material:
    """One material of an MTL file; colours are linear.

    Attributes:
        name: of the material.
        path: the file that has it.
        color: `Kd`, in whose place `texture` stands where it can be read.
        alpha: `d`, or 1 less `Tr`.
        texture: `map_Kd`.
        specular: `Ks`.
        shininess: `Ns`.
        emissive: `Ke`.
        metallic: `Pm`.
        roughness: `Pr`, or None.
        glossy: whether what is specular is meant: by `illum` above 1, or without one by `Ns`.
        unlit: whether `illum` is 0.
        mask: `map_d`, alpha below 0.5 of which hides the surface.
        maps: the file names of other maps, by their first word in lower case.
    """

    name: str
    path: Path
    color: tuple[float, ...] = WHITE
    alpha: float = 1.0
    texture: Map | None = None
    specular: tuple[float, ...] = (0.0, 0.0, 0.0)
    shininess: float = 0.0
    emissive: tuple[float, ...] = (0.0, 0.0, 0.0)
    metallic: float = 0.0
    roughness: float | None = None
    glossy: bool = False
    unlit: bool = False
    mask: Map | None = None
    maps: dict[str, str] = dataclasses.field(default_factory=dict)

    def surface(self) -> Surface:
        """The same, as all formats have it; what `mask` hides aside."""
        surface = Surface(self.name, self.alpha, blend=self.alpha < 1, unlit=self.unlit)
        surface.metallic = self.metallic
        surface.roughness = 1.0 if self.roughness is None else self.roughness
        if self.glossy and any(self.specular):
            surface.specular, surface.shininess = self.specular, self.shininess
        return surface


def read_libraries(
    path: Path, names: list[str], notes: Notes
) -> tuple[dict[str, Material], list[str]]:
    """Reads the material files that an OBJ file names.

    Args:
        path: the OBJ file.
        names: what follows `mtllib`, in each of its lines.
        notes: takes what of the materials is not drawn.

    Returns:
        the materials by name, and the names of files that are not there.
    """
    materials: dict[str, Material] = {}
    missing = []
    for name in names:
        found = find(path, name, notes)
        if found is None:  # several names in one line
            parts = name.partition(" #")[0].split()
            files = [find(path, part, notes) for part in parts]
            missing += [part for part, file in zip(parts, files, strict=True) if file is None]
        else:
            files = [found]
        for file in files:
            if file is not None:
                materials |= _read_mtl(file, notes)
    return materials, missing


def find(path: Path, name: str, notes: Notes) -> Path | None:
    """The file that is named in a line, with or without a comment behind its name."""
    for way in dict.fromkeys((name, _without_comment(name))):
        file = relative(path, way)
        if file is not None:
            wanted = way.strip().strip('"').replace("\\", "/").rpartition("/")[2]
            if wanted != file.name and wanted.lower() == file.name.lower():
                notes.add(path, f"takes the file {file.name} for {shown(wanted)}")
            return file
    return None


def match(rest: str, materials: dict[str, Material], path: Path, notes: Notes) -> str | None:
    """The name of the material that is meant behind `usemtl`, or None if there is none."""
    plain = _without_comment(rest)
    for wanted in (rest, plain):
        if wanted in materials:
            return wanted
    for name in materials:
        if _without_comment(name) == plain:
            return name
    for name in materials:
        if name.lower() in (rest.lower(), plain.lower()):
            notes.add(path, f"takes the material {shown(name)!r} for {shown(plain)!r}")
            return name
    return None


def _without_comment(text: str) -> str:
    """What stands before a sign `#` that follows a space."""
    return f" {text}".replace("\t", " ").partition(" #")[0].strip()


def _read_mtl(path: Path, notes: Notes) -> dict[str, Material]:
    """All materials of a file, those named twice as they are the last time."""
    lines = Lines(path, read_bytes(path))
    materials: dict[str, Material] = {}
    kept: dict[str, list[tuple[str, str]]] = {}
    body: list[tuple[str, str]] = []
    for line in range(len(lines)):
        keyword, _, rest = lines.text(line).replace("\t", " ").partition(" ")
        keyword = keyword.lower()
        if keyword == "newmtl":
            body = kept[rest.strip()] = []
        elif not keyword.startswith("#"):
            body.append((keyword, rest.strip()))
    for name, statements in kept.items():
        materials[name] = _material(name, path, statements, notes)
    return materials


def _material(name: str, path: Path, statements: list[tuple[str, str]], notes: Notes) -> Material:
    """Makes a material of its lines, and notes what of it is not drawn."""
    material = Material(name, path)
    what = f"of material {shown(name)!r}"
    colors: dict[str, tuple[float, ...] | None] = {}
    maps: dict[str, Map] = {}
    for keyword, rest in statements:
        if keyword in ("kd", "ka", "ks", "ke"):
            colors[keyword] = _color(path, keyword, rest, notes)
        elif keyword in ("d", "tr", "ns", "pm", "pr", "illum"):
            value = _last_number(rest)
            if value is None:
                notes.add(path, f"cannot read the number `{keyword} {shown(rest)}`")
                continue
            low, high = RANGES.get(keyword, (0.0, math.inf))
            if not low <= value <= high:
                notes.add(
                    path, f"takes `{keyword} {shown(rest)}` for {min(max(value, low), high):g}"
                )
            value = min(max(value, low), high)
            if keyword == "d":
                material.alpha = value
            elif keyword == "tr" and all(other != "d" for other, _ in statements):
                material.alpha = 1 - value
            elif keyword == "ns":
                material.shininess = value
                material.glossy |= all(other != "illum" for other, _ in statements)
            elif keyword == "pm":
                material.metallic = value
            elif keyword == "pr":
                material.roughness = value
            elif keyword == "illum":
                material.unlit, material.glossy = value == 0, value >= 2
        elif keyword in ("map_kd", "map_ka"):
            maps[keyword] = _map(path, rest, notes)
        elif keyword in ("map_d", "map_opacity"):
            material.mask = _map(path, rest, notes)
            material.maps[keyword] = material.mask.name
        elif keyword in NOT_DRAWN:
            material.maps[keyword] = _map(path, rest, Notes()).name
            notes.add(path, f"ignores {NOT_DRAWN[keyword]}")

    # Take what is meant for ambient light for the colour where there is no other.
    material.texture = maps.get("map_kd") or maps.get("map_ka")
    if "map_kd" not in maps and "map_ka" in maps:
        notes.add(path, f"takes map_Ka for the picture {what}, which has no map_Kd")
    if "kd" in colors:
        material.color = colors["kd"] or WHITE
    elif colors.get("ka") and material.texture is None:
        material.color = colors["ka"] or WHITE
        notes.add(path, f"takes Ka for the colour {what}, which has no Kd")
    material.specular = colors.get("ks") or material.specular
    material.emissive = colors.get("ke") or material.emissive
    for there, feature in (
        (material.alpha < 1, "alpha (d, Tr)"),
        (material.metallic > 0, "metallic surfaces (Pm)"),
    ):
        if there:
            notes.add(path, f"ignores {feature}")
    return material


def _color(path: Path, keyword: str, rest: str, notes: Notes) -> tuple[float, ...] | None:
    """The colour of a line, or None if it has none that can be read."""
    values = [_number(word) for word in rest.partition("#")[0].split()[:3]]
    numbers = [value for value in values if value is not None]
    name = keyword.capitalize()
    if len(numbers) != len(values) or len(values) not in (1, 3):
        notes.add(path, f"cannot read the colour `{name} {shown(rest)}`")
        return None
    if max(numbers) > BRIGHT:
        notes.add(path, f"takes `{name} {shown(rest)}` for numbers from 0 to 255")
        numbers = [value / 255 for value in numbers]
    if min(numbers) < 0:
        notes.add(path, f"takes `{name} {shown(rest)}` below 0 for 0")
        numbers = [max(value, 0.0) for value in numbers]
    return tuple(numbers * 3)[:3]


def _map(path: Path, rest: str, notes: Notes) -> Map:
    """Splits the options from the file name, which may have spaces."""
    words = rest.split()
    found = Map()
    while words and words[0].lower() in MAP_OPTIONS:
        option, *words = words
        option = option.lower()
        taken, most = 1, min(MAP_OPTIONS[option], len(words))
        while taken < most and _number(words[taken]) is not None:
            taken += 1
        values, words = words[:taken], words[taken:]
        numbers = [_number(value) for value in values]
        if option == "-clamp":
            found.clamp = [value.lower() for value in values] == ["on"]
        elif option in ("-o", "-s"):
            default = 0.0 if option == "-o" else 1.0
            if any(number is None for number in numbers):
                said = shown(" ".join(values))
                notes.add(path, f"cannot read `{option} {said}` of a texture map")
                continue
            pair = tuple([number or 0.0 for number in numbers[:2]] + [default])[:2]
            if option == "-o":
                found.offset = pair
            else:
                found.scale = pair
        elif tuple(numbers) != NOT_DRAWN_OPTIONS.get(option, tuple(numbers)):
            notes.add(path, f"ignores `{option}` of a texture map")
    found.name = " ".join(words)
    return found


def _last_number(rest: str) -> float | None:
    """The number of a line such as `d -halo 0.5`."""
    words = rest.partition("#")[0].split()
    return _number(words[-1]) if words else None


def _number(word: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in word else None
