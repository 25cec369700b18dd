"""The command line: `jaxrender render MESH -o PICTURE`, `info MESH` and `view MESH`.

Errors are one line on stderr; the exit code is 2 for a wrong option and 1 for anything else.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender import io
from jaxrender._camera import points_from_angles
from jaxrender._depth_files import DEPTHS
from jaxrender._formats.raw import optional
from jaxrender._framing import TURNS
from jaxrender._images import ANIMATIONS, read_rgb
from jaxrender._options import COLORS, ONLY_DEPTH, SHAPES, STRENGTH, TURN, parser
from jaxrender._report import report
from jaxrender._shading import make_lights
from jaxrender._surface import split_creases
from jaxrender._turntable import Orbit, Style, draw_frame, show_depth, show_normals
from jaxrender._types import Hard, Lights, Mesh, Soft
from jaxrender._viewer import view

__all__ = ["main"]


def __dir__() -> list[str]:
    return __all__


NEARLY_WHITE = 0.98


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parser(_info, _render, _view).parse_args(argv)
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
    raw = _wants_raw(options, suffix)
    if transparent and (suffix != ".png" or raw):
        raise _UsageError("argument --background: transparent needs a .png file, not of depth")
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
    at = getattr(options, "at", None)
    orbit = Orbit(
        elevation=options.elevation,
        fov=options.fov,
        distance=None if options.distance == "fit" else options.distance,
        at=None if at is None else jnp.asarray(at),
        parallel=options.orthographic,
        up=options.up,
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
        transparent=transparent,
        anti_aliasing=getattr(options, "anti_aliasing", 1 if raw else 2),
        cull=options.cull,
        shading=shading,
    )

    lights = _lights(options)

    # Draw one frame after the other with one compiled program.
    frames = getattr(options, "frames", TURN if suffix in ANIMATIONS else 1)
    azimuths = options.azimuth + 360 / frames * np.arange(frames)
    pictures = [
        np.asarray(draw_frame(mesh, orbit, azimuth, lights, background, rasterizer, style=style))
        for azimuth in _progress(azimuths, options.quiet)
    ]
    if raw:
        pictures = [picture[..., 0] for picture in pictures]
    elif options.show == "depth":
        pictures = show_depth(pictures)
    elif options.show == "rgb":
        # Let highlights be as bright as a picture can.
        pictures = [np.clip(picture, 0, 1) for picture in pictures]
    _write(options.output, pictures, options.fps, io.save_depth if raw else io.save_image)


def _view(options: argparse.Namespace) -> None:
    """Shows a mesh in a browser until Ctrl-C."""
    mesh = split_creases(_load(options.mesh), options.crease)
    names = ("shading", "size", "up", "host", "port")
    viewer = view(mesh, **{name: getattr(options, name) for name in names})
    print(f"{options.mesh} is shown at {viewer.url}; Ctrl-C ends it", flush=True)
    viewer.wait()


def _wants_raw(options: argparse.Namespace, suffix: str) -> bool:
    """Whether depth is written as numbers."""
    raw = options.raw or suffix in ONLY_DEPTH
    if raw and options.show != "depth":
        reason = "--raw" if options.raw else f"a {suffix} file"
        raise _UsageError(f"argument --show: {reason} is for depth: pass --show depth")
    if raw and suffix not in DEPTHS:
        raise _UsageError(f"argument --raw: depth is written to {', '.join(DEPTHS)}")
    return raw


def _lights(options: argparse.Namespace) -> Lights | dict[str, float]:
    """The lights that stand still, or what those beside the camera are to be like."""
    if not hasattr(options, "light"):
        return {"ambient": options.ambient, "specular": options.specular}
    turn = np.asarray(TURNS[options.up], np.float32)
    lights = [
        (np.asarray(points_from_angles(1.0, elevation, azimuth)) @ turn, *(strength or [STRENGTH]))
        for azimuth, elevation, *strength in options.light
    ]
    return make_lights(options.ambient, lights, specular=options.specular, shininess=40.0)


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


def _write(
    path: Path, pictures: list[np.ndarray], fps: float, save: Callable[[Path, np.ndarray], None]
) -> None:
    """Writes one animation, one picture, or numbered pictures, and prints their names."""
    if path.suffix.lower() in ANIMATIONS:
        io.save_animation(path, pictures, fps=fps)
        print(path)
        return
    digits = len(str(len(pictures) - 1))
    for number, picture in enumerate(pictures):
        numbered = path.with_stem(f"{path.stem}-{number:0{digits}}")
        target = path if len(pictures) == 1 else numbered
        save(target, picture)
        print(target)
