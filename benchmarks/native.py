"""The peers written by hand in C++, in the files beside this one; on one thread, view by view."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Absent, Drawer, Pictures
from benchmarks.scenes import FAR, NEAR, Scene

SOURCES = ("zbuffer.cpp", "nmr.cpp", "soft.cpp")

Call = tuple[Any, list[Any]]  # a C function and its arguments


def zbuffer(scene: Scene) -> Drawer:
    """The z-buffer."""
    face, depth, calls = _see(scene, scene.size)

    def draw() -> Pictures:
        _run(calls)
        return face, depth

    return Drawer(draw, lambda pictures: pictures, "1 thread")


def nmr(
    scene: Scene,
    *,
    colors: np.ndarray,
    upstream: np.ndarray | None = None,
    samples: int = 1,
    eps: float = 1e-3,
) -> Drawer:
    """The z-buffer, and the gradient of NMR to the vertices of what it sees.

    Args:
        scene: what is seen.
        colors: `[F, C - 1]` of each face; alpha follows them in the picture.
        upstream: `[N, H, W, C]` the gradient of the loss to the picture; without it, the picture
            is drawn and no more.
        samples: per pixel along each axis; the picture is their mean.
        eps: least way of an edge, screen units.
    """
    size, channels = scene.size * samples, colors.shape[1] + 1
    library = _library()
    face, _, calls = _see(scene, size)
    image = np.empty((*face.shape, channels), np.float32)
    gradient = np.empty_like(scene.vertices)
    for view in range(scene.views):
        picture = channels, size, size
        calls.append(_call(library.paint, colors, *picture, face[view], image[view]))
        if upstream is not None:
            mesh = scene.vertices[view], scene.vertices.shape[1], scene.faces, len(scene.faces)
            pictures = face[view], image[view], upstream[view]
            args = (*mesh, *picture, samples, eps, *pictures, gradient[view])
            calls.append(_call(library.nmr, *args))

    def draw() -> np.ndarray:
        _run(calls)
        return image if upstream is None else gradient

    return Drawer(draw, lambda result: result, "1 thread")


def soft(
    scene: Scene,
    *,
    colors: np.ndarray | None,
    sigma: float,
    gamma: float,
    upstream: np.ndarray | None = None,
) -> Drawer:
    """The blend of all triangles, and its gradient to the vertices.

    Args:
        scene: what is seen.
        colors: `[F, 3]` of each face; alpha follows them in the picture. None: alpha alone.
        sigma: blur, in squared half picture heights.
        gamma: depth temperature, in fractions of `far - near`.
        upstream: `[N, H, W, C]` the gradient of the loss to the picture; without it, the picture
            is drawn and no more.
    """
    image = np.empty((scene.views, scene.size, scene.size, 1 if colors is None else 4), np.float32)
    gradient = np.zeros_like(scene.vertices)
    calls = []
    for view in range(scene.views):
        mesh = scene.vertices[view], scene.vertices.shape[1], scene.faces, len(scene.faces)
        size = colors, scene.size, scene.size, NEAR, FAR, sigma, gamma, image[view]
        back = (None, None) if upstream is None else (upstream[view], gradient[view])
        calls.append(_call(_library().soft, *mesh, *size, *back))

    def draw() -> np.ndarray:
        _run(calls)
        return image if upstream is None else gradient

    return Drawer(draw, lambda result: result, "1 thread")


def _see(scene: Scene, size: int) -> tuple[np.ndarray, np.ndarray, list[Call]]:
    """Face ids and depths, and the calls of the z-buffer that fill them."""
    shape = (scene.views, size, size)
    face, depth = np.empty(shape, np.int32), np.empty(shape, np.float32)
    library, count = _library(), len(scene.faces)
    calls = [
        _call(library.zbuffer, vertices, scene.faces, count, size, size, NEAR, FAR, *pictures)
        for vertices, *pictures in zip(scene.vertices, face, depth, strict=True)
    ]
    return face, depth, calls


def _call(function: Any, *args: np.ndarray | float | None) -> Call:
    """A call made ready: arrays become pointers, None none, numbers what C has for them."""

    def convert(arg: np.ndarray | float | None) -> Any:
        if arg is None:
            return ctypes.c_void_p()
        if isinstance(arg, np.ndarray):
            assert arg.flags.c_contiguous
            return arg.ctypes.data_as(ctypes.c_void_p)
        return ctypes.c_int(arg) if isinstance(arg, int) else ctypes.c_float(arg)

    return function, [convert(arg) for arg in args]


def _run(calls: Sequence[Call]) -> None:
    for function, args in calls:
        function(*args)


@functools.cache
def _library() -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        raise Absent("g++ is not installed")
    folder = Path(tempfile.mkdtemp(prefix="peers-"))
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    sources = [Path(__file__).with_name(source) for source in SOURCES]
    try:
        subprocess.run([compiler, *flags, *sources, "-o", folder / "peers.so"], check=True)
        return ctypes.CDLL(str(folder / "peers.so"))
    finally:
        shutil.rmtree(folder)  # a loaded library outlives its file
