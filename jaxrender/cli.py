"""The command line: `jaxrender render MESH -o PICTURE` and `jaxrender info MESH`.

Errors are one line on stderr; the exit code is 2 for a wrong option and 1 for anything else.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender import __version__, io, shapes
from jaxrender._formats.raw import optional
from jaxrender._images import ANIMATIONS, PICTURES, read_rgb
from jaxrender._report import report
from jaxrender._surface import split_creases
from jaxrender._turntable import Style, draw_frame, frame_mesh, show_depth, show_normals
from jaxrender._types import Hard, Mesh, Soft

__all__ = ["main"]


def __dir__() -> list[str]:
    return __all__


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
NEARLY_WHITE = 0.98
TURN = 36  # frames of a turntable, unless told


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            options.command(options)
    except KeyboardInterrupt:
        return 130
    except _UsageError as error:
        return _fail(2, str(error))
    except Exception as error:  # a person at a terminal is told what is wrong, not where
        return _fail(1, str(error) or type(error).__name__)
    return 0


class _UsageError(Exception):
    """Options that do not go together."""


def _warn(message: Warning | str, *_: Any) -> None:
    print(f"jaxrender: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(code: int, message: str) -> int:
    print(f"jaxrender: error: {' '.join(message.split())}", file=sys.stderr)
    return code


# The options


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"jaxrender: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jaxrender", description="Renders triangle meshes.")
    parser.add_argument("--version", action="version", version=f"jaxrender {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    mesh = f"a mesh file (OBJ, PLY, STL, OFF, GLB) or one of {', '.join(SHAPES)}"

    info = commands.add_parser("info", help="say what is in a mesh")
    info.add_argument("mesh", metavar="MESH", help=mesh)
    info.set_defaults(command=_info)

    render = commands.add_parser(
        "render",
        help="draw a mesh",
        description="Draws a mesh. The camera looks at the middle of its bounding box.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    render.add_argument("mesh", metavar="MESH", help=mesh)
    _add_output_options(render)
    _add_camera_options(render)
    _add_drawing_options(render)
    render.set_defaults(command=_render)
    return parser


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add(
        "-o",
        "--output",
        type=_output,
        required=True,
        metavar="PATH",
        help="a picture (.png, .jpg, ...) or a turntable (.gif, .mp4)",
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
        help="from the middle; 'fit' fills the picture with the bounding sphere",
    )
    add("--fov", type=_fov, default=40.0, metavar="DEGREES", help="vertical field of view")
    add("--orthographic", action="store_true", default=False, help="parallel projection, fitted")
    add("--up", choices=("y", "z"), default="y", help="which of the mesh's axes is up")


def _add_drawing_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("drawing").add_argument
    add(
        "--show",
        choices=("rgb", "alpha", "depth", "normals"),
        default="rgb",
        help="colour; coverage; depth, from 1 at the nearest point of all frames to 0 at the "
        "farthest; normals n in world space as (n + 1) / 2",
    )
    add(
        "--shading",
        choices=("flat", "gouraud", "phong", "none"),
        default="phong",
        help="how light is spread over a face",
    )
    add(
        "--crease",
        type=_number,
        default=40.0,
        metavar="DEGREES",
        help="gouraud and phong keep edges sharper than this sharp",
    )
    add(
        "--background",
        metavar="COLOR",
        help=f"{', '.join(COLORS)}, transparent (.png only), #rrggbb, r,g,b from 0 to 1, "
        "or a picture file (default: white; gray behind a white mesh that is not shaded)",
    )
    add(
        "--anti-aliasing", type=_positive(int), default=2, metavar="N", help="N x N samples a pixel"
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
    if path.suffix.lower() not in PICTURES + ANIMATIONS:
        formats = ", ".join(PICTURES + ANIMATIONS)
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


def _distance(text: str) -> float | str:
    return text if text == "fit" else _positive(float)(text)


def _fov(text: str) -> float:
    value = _number(text)
    if not 0 < value < 180:
        raise argparse.ArgumentTypeError(f"expected degrees between 0 and 180, got {text!r}")
    return value


# The commands


def _info(options: argparse.Namespace) -> None:
    """Prints what is in a mesh."""
    mesh = _load(options.mesh)
    kind = "built-in shape" if _is_shape(options.mesh) else Path(options.mesh).suffix[1:].upper()
    for name, fact in {"format": kind, **report(mesh)}.items():
        print(f"{name:13} {fact}")


def _render(options: argparse.Namespace) -> None:
    """Draws a mesh and writes the pictures."""
    suffix = options.output.suffix.lower()
    asked = getattr(options, "background", None)
    transparent = asked == "transparent"
    if transparent and suffix != ".png":
        raise _UsageError("argument --background: transparent needs a .png file")
    if suffix == ".gif" and options.fps > 50:
        raise _UsageError("argument --fps: a .gif shows at most 50 frames per second")
    background = (
        0.0 if transparent else _background("white" if asked is None else asked, options.size)
    )

    # Prepare what all frames share.
    mesh = _load(options.mesh)
    if options.show == "rgb" and options.shading == "none" and _is_white(mesh):
        if asked is None:
            background = _background("gray", options.size)
        elif not transparent and (np.asarray(background) > NEARLY_WHITE).all():
            warnings.warn(
                "a white mesh on white is not seen: pass --shading flat, or another --background",
                stacklevel=2,
            )
    if options.up == "z":
        mesh = mesh.transformed([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])
    framing = frame_mesh(
        mesh,
        options.size,
        distance=None if options.distance == "fit" else options.distance,
        elevation=options.elevation,
        fov=options.fov,
    )
    shading, rasterizer = options.shading, Hard()
    if options.rasterizer == "soft":
        rasterizer = Soft(sigma=options.sigma, gamma=options.gamma)
    if shading in ("gouraud", "phong"):
        mesh = split_creases(mesh, options.crease)
    if options.show == "normals":
        mesh, shading = show_normals(mesh, shading), "none"
    style = Style(
        show=options.show,
        size=options.size,
        orthographic=options.orthographic,
        transparent=transparent,
        anti_aliasing=options.anti_aliasing,
        cull=options.cull,
        shading=shading,
    )

    # Draw one frame after the other with one compiled program.
    frames = getattr(options, "frames", TURN if suffix in ANIMATIONS else 1)
    azimuths = options.azimuth + 360 / frames * np.arange(frames)
    pictures = [
        np.asarray(draw_frame(mesh, framing, azimuth, background, rasterizer, style=style))
        for azimuth in _progress(azimuths, options.quiet)
    ]
    if options.show == "depth":
        pictures = show_depth(pictures)
    elif options.show == "rgb":
        # Let highlights be as bright as a picture can.
        pictures = [np.clip(picture, 0, 1) for picture in pictures]
    _write(options.output, pictures, options.fps)


def _is_shape(name: str) -> bool:
    return name in SHAPES and not Path(name).exists()


def _load(name: str) -> Mesh:
    """The built-in shape or the file of that name."""
    if _is_shape(name):
        return SHAPES[name]()
    if not Path(name).is_file():
        raise ValueError(f"no such file: {name} (built-in shapes are {', '.join(SHAPES)})")
    return io.load_mesh(name)


def _is_white(mesh: Mesh) -> bool:
    """Whether all of its colours are white, or it has none."""
    texture = mesh.texture
    return texture is None or bool((np.asarray(jax.tree.leaves(texture)[0]) > NEARLY_WHITE).all())


def _background(text: str, size: tuple[int, int]) -> jax.Array:
    """A colour `[3]`, or a picture `[H, W, 3]` of that size."""
    if text in COLORS:
        return jnp.asarray(COLORS[text])
    if Path(text).is_file():
        return jax.image.resize(jnp.asarray(read_rgb(Path(text))), (*size, 3), "linear")
    try:
        if text.startswith("#") and len(text) == 7:
            color = [int(text[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        else:
            color = [float(part) for part in text.split(",")]
    except ValueError:
        color = []
    if len(color) != 3 or not all(0 <= part <= 1 for part in color):
        raise _UsageError(
            f"argument --background: {text!r} is not one of {', '.join(COLORS)}, transparent, "
            "#rrggbb, r,g,b from 0 to 1, or a picture file"
        )
    return jnp.asarray(color)


def _progress(azimuths: np.ndarray, quiet: bool) -> Iterable[Any]:
    if quiet or len(azimuths) == 1:
        return azimuths
    tqdm = optional("tqdm", package="tqdm", purpose="Showing progress (else pass --quiet)")
    return tqdm.tqdm(azimuths, desc="rendering", unit="frame")


def _write(path: Path, pictures: list[np.ndarray], fps: float) -> None:
    """Writes one animation, one picture, or numbered pictures, and prints their names."""
    if path.suffix.lower() in ANIMATIONS:
        io.save_animation(path, pictures, fps=fps)
        print(path)
        return
    digits = len(str(len(pictures) - 1))
    for number, picture in enumerate(pictures):
        numbered = path.with_stem(f"{path.stem}-{number:0{digits}}")
        target = path if len(pictures) == 1 else numbered
        io.save_image(target, picture)
        print(target)
