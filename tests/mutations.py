"""Mesh files and pictures with faults in them, by the thousand: the same ones for the same seed.

A mutant is a folder of files: one that is read, and what it names. Bytes, numbers, lines, fields of
headers and values of JSON are changed, left out, doubled, or put elsewhere.
"""

from __future__ import annotations

import base64
import io
import json
import random
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gltf_writer import SQUARE, Writer
from PIL import Image

CASES = Path(__file__).parent / "cases"
SUFFIXES = (".obj", ".mtl", ".ply", ".stl", ".off", ".glb", ".gltf", ".png", ".jpg")
PICTURES = (".png", ".jpg")
SECRET = "secret"  # a folder beside the mesh's, into which names lead

NUMBERS = (
    *(b"nan", b"inf", b"-inf", b"-1", b"0", b"1e39", b"-1e39", b"1e400", b"1e-400", b"-0", b"0x10"),
    *(b"2147483647", b"2147483648", b"4294967296", b"99999999999999999999", b"1000000000", b"1_0"),
    *(b"1.", b".5", b"+1", b"1e5", b"255", b"300", b"", b"1/", b"//", b"1//1", b"65535", b"7"),
)
WORDS = (
    *(
        b"\\\n",
        b"#",
        b"f ",
        b"v ",
        b"vt ",
        b"vn ",
        b"\xff",
        b"\0",
        b" ",
        b"\n",
        b"\r",
        b"\t",
        b"1 ",
    ),
    *(b"usemtl ", b"mtllib ", b"newmtl ", b"map_Kd ", b"vt 1 1\n", b"3 0 1 2\n", b"\xef\xbb\xbf"),
    *(b"element vertex 9\n", b"property list uchar int vertex_indices\n", b"end_header\n"),
    *(b"../secret/", b"/etc/passwd", b"f 1 2 3\n", b"f -1 -2 -3\n", b"solid ", b"endsolid\n"),
)
VALUES: tuple[Any, ...] = (
    *(None, -1, 0, 1, 2, 2**31, 2**53, 1e300, -1.5, 0.5, True, "", "x", "../secret/a.bin", [], {}),
    *([0], [-1, 1], [0] * 17, {"x": 1}, 5120, 5126, "SCALAR", "MAT4", "data:,", "data:;base64,#"),
)
WHOLES = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
NAMED = re.compile(rb"[\w.-]+\.(?:mtl|png|jpg|bin)")


class Mutant(NamedTuple):
    """A file to read, and what lies beside it."""

    name: str
    files: dict[str, bytes]

    def write(self, folder: Path) -> Path:
        """Writes it into `folder/mesh`, beside a folder whose files it must not read."""
        for place in (folder / "mesh", folder / SECRET):
            place.mkdir(parents=True, exist_ok=True)
            for old in place.iterdir():
                old.unlink()
        for name, data in self.files.items():
            (folder / "mesh" / name).write_bytes(data)
        for name in ("a.mtl", "a.png", "a.bin", *self.files):
            (folder / SECRET / name).write_bytes(self.files.get(name, b"newmtl secret\nKd 1 0 0\n"))
        return folder / "mesh" / self.name


def mutant(suffix: str, seed: int) -> Mutant:
    """One whose file of this kind is faulty."""
    rng = random.Random(f"{suffix} {seed}")
    files = dict(rng.choice(originals()[suffix]))
    (victim,) = [name for name in files if name.endswith(suffix)][:1]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        data = files[victim]
        files[victim] = rng.choice(_ways(suffix))(rng, data)
    # Read what names the victim, half of the time where it may be read by itself.
    mesh = next((name for name in files if name.endswith((".obj", ".gltf"))), victim)
    alone = suffix in PICTURES and (mesh == victim or rng.random() < 0.5)
    return Mutant(victim if alone else mesh, files)


def _ways(suffix: str) -> list[Callable[[random.Random, bytes], bytes]]:
    """How files of a kind are changed."""
    if suffix == ".glb":
        return [_change_glb] * 12 + [_change_bytes, _change_whole, _cut]
    if suffix == ".gltf":
        return [_change_json] * 12 + [_change_number, _change_bytes, _cut]
    if suffix in PICTURES:
        return [_change_bytes, _change_whole, _change_whole, _cut]
    ways = [_change_bytes, _change_number, _change_number, _change_lines, _change_name, _cut]
    return [*ways, _change_whole] if suffix in (".ply", ".stl") else ways


def _change_bytes(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    place, kind = rng.randrange(len(out) + 1), rng.randrange(4)
    if kind == 0 and out:
        out[min(place, len(out) - 1)] = rng.randrange(256)
    elif kind == 1:
        del out[place : place + rng.randrange(1, 9)]
    elif kind == 2:
        out[place:place] = rng.choice(WORDS)
    else:
        other = rng.randrange(len(out) + 1)
        out[place:place] = out[other : other + rng.randrange(1, 30)]
    return bytes(out)


def _change_number(rng: random.Random, data: bytes) -> bytes:
    found = list(NUMBER.finditer(data))
    if not found:
        return _change_bytes(rng, data)
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(NUMBERS) + data[match.end() :]


def _change_name(rng: random.Random, data: bytes) -> bytes:
    """Lets a file name another."""
    found = list(NAMED.finditer(data))
    if not found:
        return _change_number(rng, data)
    match = rng.choice(found)
    names = (b"../secret/a.mtl", b"../secret/" + match[0], b"..\\secret\\a.png", b"/etc/passwd")
    other = rng.choice((*names, b"", b".", b"nowhere.png", match[0].upper(), b"a" * 300))
    return data[: match.start()] + other + data[match.end() :]


def _change_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        lines[first], lines[second] = lines[second], lines[first]
    elif kind == 1:
        del lines[first]
    elif kind == 2:
        lines[second:second] = [lines[first]] * rng.choice((1, 2, 100))
    else:
        words = lines[first].split(b" ")
        rng.shuffle(words)
        lines[first] = b" ".join(words[: rng.randrange(len(words) + 1)])
    return b"\n".join(lines)


def _change_whole(rng: random.Random, data: bytes) -> bytes:
    """Puts another whole number of four or two bytes, more often into the header."""
    end = max(min(len(data), 100) if rng.random() < 0.6 else len(data), 5)
    place = rng.randrange(end - 4)
    form = rng.choice(("<I", ">I", "<H", ">H"))
    value = rng.choice(WHOLES) % 2 ** (32 if form[1] == "I" else 16)
    put = struct.pack(form, value)
    return data[:place] + put + data[place + len(put) :]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _change_json(rng: random.Random, data: bytes) -> bytes:
    """Changes a value of a text in JSON, or leaves it out."""
    try:
        top = json.loads(data)
    except ValueError:
        return _change_bytes(rng, data)
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            places.append((node, key))
            if isinstance(value, dict | list):
                collect(value)

    if not isinstance(top, dict | list) or not top:
        return _change_bytes(rng, data)
    collect(top)
    node, key = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node[key], int | float):
        node[key] = rng.choice((-node[key], node[key] + 1, node[key] * 1000, 10**9, 10**6))
    elif kind == 2:
        other, name = rng.choice(places)
        with_value = other[name] if name in other or isinstance(other, list) else None
        node[key] = json.loads(json.dumps(with_value))
    else:
        node[key] = rng.choice(VALUES)
    return json.dumps(top).encode()


def _change_glb(rng: random.Random, data: bytes) -> bytes:
    """Changes the JSON of a GLB file, whose lengths stay right."""
    if len(data) < 20:
        return _change_bytes(rng, data)
    (length,) = struct.unpack_from("<I", data, 12)
    text = _change_json(rng, data[20 : 20 + length])
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    head = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + rest


_originals: dict[str, list[dict[str, bytes]]] = {}


def originals() -> dict[str, list[dict[str, bytes]]]:
    """Good files to begin with, by what is to be changed; each with all that it names."""
    if _originals:
        return _originals

    def case(*names: str) -> dict[str, bytes]:
        return {name: (CASES / name).read_bytes() for name in names}

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 5, 4), np.uint8)
    pictures = {
        "rgb.png": _picture(pixels[..., :3]),
        "rgba.png": _picture(pixels),
        "grey.png": _picture(pixels[..., 0]),
        "deep.png": _picture(pixels[..., 0].astype(np.uint16) * 257),
        "palette.png": _picture(Image.fromarray(pixels[..., :3]).quantize(4)),
        "rgb.jpg": _picture(pixels[..., :3], "JPEG"),
        "grey.jpg": _picture(pixels[..., 0], "JPEG"),
        "slow.jpg": _picture(pixels[..., :3], "JPEG", progressive=True),
    }
    square = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\n"
    square += b"mtllib m.mtl\nusemtl a\nf 1/1/1 2/2/1 3/3/1\nusemtl b\nf 1//1 3//1 4//1\n"
    library = b"newmtl a\nKd 1 0.5 0\nmap_Kd %s\nd 0.5\nNs 30\nKs 1 1 1\nnewmtl b\nKd 0 0 1\n"
    textured = [
        {"m.obj": square, "m.mtl": library % name.encode(), name: data}
        for name, data in pictures.items()
    ]
    objs = [
        case("concave.obj"),
        case("pml_fc.obj", "pml_fc.obj.mtl"),
        case("some_colours.obj"),
        case("xatlas.obj"),
        case("mixed.obj", "mixed.mtl"),
        *textured[:2],
    ]
    glbs = [
        *("color_material", "color_u16", "factor_image", "mask", "morph", "quantized", "sparse"),
        *("texcoord1", "tm_mixed", "transform", "wrap_clamp"),
    ]
    _originals.update(
        {
            ".obj": objs,
            ".mtl": [*textured[:2], case("mixed.obj", "mixed.mtl")],
            ".ply": [case("concave.ply"), *({"a.ply": data} for data in _plys())],
            ".stl": [{"a.stl": data} for data in _stls()],
            ".off": [case("ncoff.off"), {"a.off": b"COFF\n3 1 0\n" + b"0 1 2 1 0 0 1\n" * 3}],
            ".glb": [case(f"{name}.glb") for name in glbs],
            ".gltf": _gltfs(),
            ".png": [files for files in textured if any(".png" in name for name in files)],
            ".jpg": [files for files in textured if any(".jpg" in name for name in files)],
        }
    )
    _originals[".off"][1]["a.off"] += b"3 0 1 2 255 0 0\n"
    return _originals


def _picture(pixels: Any, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, form, **options)
    return file.getvalue()


def _plys() -> list[bytes]:
    """A square in text, and in both binary forms, with colours and normals."""
    head = (
        "ply\nformat {}\ncomment x\nelement vertex 4\nproperty float x\nproperty float y\n"
        "property float z\nproperty float nx\nproperty float ny\nproperty float nz\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nelement face 2\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    files = []
    for form in ("ascii 1.0", "binary_little_endian 1.0", "binary_big_endian 1.0"):
        data = head.format(form).encode()
        order = "<" if "little" in form else ">"
        for row in SQUARE.tolist():
            values = (*row, 0.0, 0.0, 1.0, 10, 200, 30)
            text = " ".join(map(str, values)).encode() + b"\n"
            data += text if "ascii" in form else struct.pack(f"{order}6f3B", *values)
        for face in ((3, 0, 1, 2), (3, 0, 2, 3)):
            text = " ".join(map(str, face)).encode() + b"\n"
            data += text if "ascii" in form else struct.pack(f"{order}B3i", *face)
        files.append(data)
    return files


def _stls() -> list[bytes]:
    """Two triangles in text and in binary, plain and with colours."""
    text = b"solid a\n"
    binary = b"COLOR=abcd".ljust(80) + struct.pack("<I", 2)
    for corners in (SQUARE[:3], SQUARE[[0, 2, 3]]):
        text += b"facet normal 0 0 1\nouter loop\n"
        text += b"".join(b"vertex %g %g %g\n" % tuple(corner) for corner in corners.tolist())
        text += b"endloop\nendfacet\n"
        binary += struct.pack("<12fH", 0, 0, 1, *corners.reshape(-1).tolist(), 0x8123)
    return [text + b"endsolid a\n", binary]


def _gltfs() -> list[dict[str, bytes]]:
    """A textured square as text, with its buffer inside and in another file."""
    writer = Writer()
    uv = writer.accessor(SQUARE[:, :2].copy())
    picture = writer.picture(np.full((2, 3, 3), 100, np.uint8))
    material = writer.item(
        "materials", pbrMetallicRoughness={"baseColorTexture": {"index": picture}}
    )
    writer.draw(writer.mesh(attributes={"TEXCOORD_0": uv}, material=material))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for buffer in (None, "a.bin"):
            writer.save_json(Path(folder, "a.gltf"), buffer)
            text = Path(folder, "a.gltf").read_bytes()
            found.append({"a.gltf": text} | ({"a.bin": writer.data} if buffer else {}))
    # And with its picture in a file.
    parts = json.loads(found[1]["a.gltf"])
    view = parts["bufferViews"][parts["images"][0]["bufferView"]]
    data = writer.data[view["byteOffset"] :][: view["byteLength"]]
    parts["images"] = [{"uri": "a.png"}]
    found.append({"a.gltf": json.dumps(parts).encode(), "a.bin": writer.data, "a.png": data})
    parts["images"] = [{"uri": "data:image/png;base64," + base64.b64encode(data).decode()}]
    return [*found, {"a.gltf": json.dumps(parts).encode(), "a.bin": writer.data}]
