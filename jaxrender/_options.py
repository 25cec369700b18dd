"""The options of the command line, and how they are read.

What is wrong with one is said in a line on stderr, without the usage.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jaxrender import __version__, shapes
from jaxrender._choices import SHADINGS
from jaxrender._depth_files import DEPTHS
from jaxrender._formats import FORMATS
from jaxrender._framing import UP_AXES
from jaxrender._images import ANIMATIONS, PICTURES
from jaxrender._types import Mesh

Command = Callable[[argparse.Namespace], None]

SHAPES: dict[str, Callable[[], Mesh]] = {
    "cube": shapes.cube,
    "icosphere": shapes.icosphere,
    "plane": shapes.plane,
    "teapot": shapes.teapot,
    "torus": shapes.torus,
}
COLORS = {
    "black": (0.0, 0.0, 0.0),
    "gray": (0.5, 0.5, 0.5),
    "white": (1.0, 1.0, 1.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 0.5, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "cyan": (0.0, 1.0, 1.0),
    "magenta": (1.0, 0.0, 1.0),
}
CREASE = "gouraud and phong keep edges sharper than this sharp"
TURN = 36  # frames of a turntable, unless told
STRENGTH = 0.65  # of a light, unless told
ONLY_DEPTH = tuple(suffix for suffix in DEPTHS if suffix not in PICTURES)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"jaxrender: error: {message}\n")


def parser(info: Command, render: Command, view: Command) -> argparse.ArgumentParser:
    """The parser; what it parses has the command's function as `command`."""
    made = _Parser(prog="jaxrender", description="Renders triangle meshes.")
    made.add_argument("--version", action="version", version=f"jaxrender {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    formats = ", ".join(suffix.removeprefix(".") for suffix in FORMATS)
    mesh = f"a mesh file ({formats}) or one of {', '.join(SHAPES)}"

    facts = commands.add_parser("info", help="say what is in a mesh")
    facts.add_argument("mesh", metavar="MESH", help=mesh)
    facts.set_defaults(command=info)

    picture = commands.add_parser(
        "render",
        help="draw a mesh",
        description="Draws a mesh. The camera looks at the middle of its bounding box, or as told.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    picture.add_argument("mesh", metavar="MESH", help=mesh)
    _add_output_options(picture)
    _add_camera_options(picture)
    _add_light_options(picture)
    _add_drawing_options(picture)
    picture.set_defaults(command=render)

    page = commands.add_parser(
        "view",
        help="turn a mesh in a browser",
        description="Shows a mesh in a browser, drawn by this library as it is turned there. "
        "Ctrl-C ends it. Needs viser: pip install 'jaxrender[viewer]'.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    page.add_argument("mesh", metavar="MESH", help=mesh)
    add = page.add_argument
    add("--host", default="127.0.0.1", help="who may connect; 0.0.0.0 is everyone")
    add("--port", type=_positive(int), default=8080, metavar="N", help="or the next that is free")
    add("--size", type=_positive(int), default=384, metavar="N", help="rows of the picture")
    _add_up_option(add)
    add("--shading", choices=SHADINGS, default="phong", help="how light is spread over a face")
    add("--crease", type=_number, default=40.0, metavar="DEGREES", help=CREASE)
    page.set_defaults(command=view)
    return made


def _add_up_option(add: Callable[..., Any]) -> None:
    add(
        "--up",
        choices=UP_AXES,
        default="y",
        help="which of the mesh's axes is up; with z the front is the -y side, with -y, as in "
        "OpenCV's world, the -z side (write --up=-y)",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add(
        "-o",
        "--output",
        type=_output,
        required=True,
        metavar="PATH",
        help="a picture (.png, .jpg, ...), a turntable (.gif, .mp4), or depth (.npy, .exr)",
    )
    add("--size", type=_size, default="256x256", metavar="N|HxW", help="pixels")
    add(
        "--frames",
        type=_positive(int),
        metavar="N",
        help=f"turn the camera once around, in N frames; several of a picture are numbered "
        f"(default: {TURN} for .gif and .mp4, 1 for a picture)",
    )
    add("--fps", type=_positive(float), default=15.0, metavar="N", help="frames per second")
    add("--quiet", action="store_true", default=False, help="show no progress")


def _add_camera_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("camera").add_argument
    add(
        "--azimuth",
        type=_number,
        default=30.0,
        metavar="DEGREES",
        help="how far around; 0 sees the front (the +z side), 90 the +x side",
    )
    add("--elevation", type=_number, default=20.0, metavar="DEGREES", help="how far up")
    add(
        "--distance",
        type=_distance,
        default="fit",
        metavar="UNITS",
        help="from the point looked at; 'fit' fills the picture with the sphere around it",
    )
    add(
        "--at",
        type=_point,
        metavar="X,Y,Z",
        help="the point looked at (default: the middle of the bounding box); write --at=-1,0,0",
    )
    add("--fov", type=_fov, default=40.0, metavar="DEGREES", help="vertical field of view")
    add("--orthographic", action="store_true", default=False, help="parallel projection, fitted")
    _add_up_option(add)


def _add_light_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("light").add_argument
    add(
        "--light",
        action="append",
        type=_light,
        metavar="AZIMUTH,ELEVATION[,STRENGTH]",
        help="a light that stands still, far away, at angles as of the camera (to the left, write "
        "--light=-30,20); may be given "
        f"several times (default: two that go with the camera; of strength {STRENGTH})",
    )
    add("--ambient", type=_share, default=0.25, metavar="N", help="light from everywhere")
    add("--specular", type=_share, default=0.2, metavar="N", help="highlights; 0 is matte")


def _add_drawing_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("drawing").add_argument
    add(
        "--show",
        choices=("rgb", "alpha", "depth", "normals"),
        default="rgb",
        help="colour; coverage; depth, from 1 at the nearest point of all frames to 0 at the "
        "farthest, or see --raw; normals n in world space as (n + 1) / 2",
    )
    add(
        "--raw",
        action="store_true",
        default=False,
        help="write depth itself, 0 where nothing is: .npy, .exr and .tif in scene units (in the "
        "first two always), .png in 16 bits, thousandths of a unit (millimetres of metres)",
    )
    add(
        "--shading",
        choices=SHADINGS,
        default="phong",
        help="how light is spread over a face",
    )
    add(
        "--crease",
        type=_number,
        default=40.0,
        metavar="DEGREES",
        help=CREASE,
    )
    add(
        "--background",
        metavar="COLOR",
        help=f"{', '.join(COLORS)}, transparent (.png only), #rrggbb, r,g,b from 0 to 1, "
        "or a picture file (default: white; gray behind a white mesh that is not shaded)",
    )
    add(
        "--anti-aliasing",
        type=_positive(int),
        metavar="N",
        help="N x N samples a pixel; depth is the mean of those covered (default: 2; 1 if --raw)",
    )
    add("--cull", choices=("none", "back", "front"), default="none", help="leave out a side")
    add(
        "--rasterizer",
        choices=("hard", "soft"),
        default="hard",
        help="show the nearest face, or SoftRas's blend of all",
    )
    add(
        "--sigma",
        type=_positive(float),
        default=1e-5,
        metavar="S",
        help="blur of the soft one, in squared half picture heights",
    )
    add(
        "--gamma",
        type=_positive(float),
        default=1e-4,
        metavar="G",
        help="how much of what is behind shows through in it, from 1e-5 or so to 1",
    )


def _output(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in PICTURES + ANIMATIONS + ONLY_DEPTH:
        formats = ", ".join(PICTURES + ANIMATIONS + ONLY_DEPTH)
        raise argparse.ArgumentTypeError(f"cannot write {text!r}: the name must end in {formats}")
    return path


def _size(text: str) -> tuple[int, int]:
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"expected N or HxW in pixels, got {text!r}")
    return sides[0], sides[-1]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return value


def _positive(kind: Callable[[float], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = _number(text)
        if value <= 0 or kind(value) != value:
            noun = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"expected a positive {noun}, got {text!r}")
        return kind(value)

    return parse


def _share(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return value


def _numbers(text: str, counts: tuple[int, ...], words: str) -> list[float]:
    try:
        values = [_number(part) for part in text.split(",")]
    except argparse.ArgumentTypeError:
        values = []
    if len(values) not in counts:
        raise argparse.ArgumentTypeError(f"expected {words}, got {text!r}")
    return values


def _point(text: str) -> list[float]:
    return _numbers(text, (3,), "three numbers X,Y,Z")


def _light(text: str) -> list[float]:
    return _numbers(text, (2, 3), "numbers AZIMUTH,ELEVATION[,STRENGTH]")


def _distance(text: str) -> float | str:
    return text if text == "fit" else _positive(float)(text)


def _fov(text: str) -> float:
    value = _number(text)
    if not 0 < value < 180:
        raise argparse.ArgumentTypeError(f"expected degrees between 0 and 180, got {text!r}")
    return value
