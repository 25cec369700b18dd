"""The task `hard`: `rasterize_hard`, all its outputs, the depth alone, and a picture's gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from benchmarks import scenes
from benchmarks.harness import Contest
from benchmarks.native import zbuffer
from benchmarks.peers import PEERS, Drawer, Pictures, deodr
from benchmarks.scenes import Scene

CPP = "z-buffer (C++)"


def contests(*, quick: bool, peers: bool) -> Iterator[Contest]:
    """All contests of this task; with `quick` three small ones, with `peers` against all peers."""
    for scene in _scenes(quick):
        yield drawn(scene, PEERS if peers else {})
    for scene in _depth_scenes(quick):
        args = _args(scene)
        yield Contest("hard, depth", scene, depths_of(scene), args, _depth_pictures, {CPP: zbuffer})
    for scene in _gradient_scenes(quick):
        yield from colored(scene, peers=peers)


def colored(scene: Scene, *, peers: bool) -> Iterator[Contest]:
    """The picture in colours of its vertices, and its gradient to both; how visibility has one."""
    rng = np.random.default_rng(0)
    colors = rng.uniform(size=(scene.vertices.shape[1], 3)).astype(np.float32)
    upstream = rng.normal(size=(scene.views, scene.size, scene.size, 3)).astype(np.float32)
    args = *_args(scene), colors
    picture = _picture(scene)
    rows = [("", picture, None), (", grad", _gradient(picture, upstream), upstream)]
    for way in ("antialias", "edge"):
        rows.append((f", {way}, grad", _gradient(_picture(scene, way), upstream), upstream))
    for name, function, weights in rows:
        rivals = {"deodr": functools.partial(deodr, colors=colors, upstream=weights)}
        task = f"hard, rgb{name}"
        # Nothing is compared: deodr's gradient is that of its smoothed edges too.
        yield Contest(task, scene, function, args, jax.block_until_ready, rivals if peers else {})


def drawn(scene: Scene, peers: Mapping[str, Callable[[Scene], Drawer]] | None = None) -> Contest:
    """Drawing all that `rasterize_hard` returns."""
    rivals = {CPP: zbuffer, **(peers or {})}
    return Contest("hard", scene, _fragments(scene), _args(scene), _pictures, rivals)


def _scenes(quick: bool) -> Iterator[Scene]:
    if quick:
        yield from (scenes.sphere(2, 64), scenes.sphere(2, 64, views=2))
        return

    # Cross faces with pictures.
    for size in (64, 256, 512, 1024):
        for subdivisions in (2, 3, 4, 5, 6):
            yield scenes.sphere(subdivisions, size)

    # Draw several views at once, small and large.
    for views in (8, 64):
        yield scenes.sphere(2, 64, views)
        yield scenes.sphere(4, 256, views)

    # Crowd the faces; then show how time grows to a million faces and to 4096².
    yield scenes.crowded()
    yield from (scenes.sphere(subdivisions, 1024) for subdivisions in (7, 8))
    yield from (scenes.sphere(4, size) for size in (2048, 4096))


def _depth_scenes(quick: bool) -> Iterator[Scene]:
    if quick:
        yield scenes.sphere(2, 64)
        return
    for subdivisions, size in ((3, 64), (4, 256), (4, 512), (5, 512), (6, 512), (8, 1024)):
        yield scenes.sphere(subdivisions, size)
    yield scenes.sphere(4, 4096)
    yield scenes.sphere(4, 256, views=64)


def _gradient_scenes(quick: bool) -> Iterator[Scene]:
    if quick:
        yield scenes.sphere(2, 64)
        return
    for subdivisions, size in ((3, 64), (4, 256), (5, 512), (6, 512)):
        yield scenes.sphere(subdivisions, size)


def _args(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    return scene.vertices, scene.faces


def _fragments(scene: Scene) -> Callable[..., jr.Fragments]:
    def rasterize(vertices: jax.Array, faces: jax.Array) -> jr.Fragments:
        return jr.rasterize_hard(
            jr.ScreenMesh(vertices, faces),
            image_size=(scene.size, scene.size),
            near=scenes.NEAR,
            far=scenes.FAR,
        )

    return jax.vmap(rasterize, in_axes=(0, None))


def depths_of(scene: Scene) -> Callable[..., jax.Array]:
    """The depths alone."""
    return lambda vertices, faces: _fragments(scene)(vertices, faces).depth


def _gradient(picture: Callable[..., jax.Array], upstream: np.ndarray) -> Callable[..., Any]:
    def gradient(
        vertices: jax.Array, faces: jax.Array, colors: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        def loss(vertices: jax.Array, colors: jax.Array) -> jax.Array:
            return jnp.sum(picture(vertices, faces, colors) * upstream)

        return jax.grad(loss, (0, 1))(vertices, colors)

    return gradient


def _picture(scene: Scene, visibility: str = "none") -> Callable[..., jax.Array]:
    edges = jr.number_edges(scene.faces) if visibility == "antialias" else None

    def draw(vertices: jax.Array, faces: jax.Array, colors: jax.Array) -> jax.Array:
        screen = jr.ScreenMesh(vertices, faces)
        seen = jr.rasterize_hard(
            screen, image_size=(scene.size, scene.size), near=scenes.NEAR, far=scenes.FAR
        )
        texture = jr.VertexColors(colors)
        image = jr.sample_texture(texture, faces, seen.face, seen.barycentrics)
        if visibility == "antialias":
            return jr.antialias(image, seen, screen, edges=edges)
        return jr.edge_gradient(image, seen, screen) if visibility == "edge" else image

    return jax.vmap(draw, in_axes=(0, None, None))


def _pictures(fragments: Any) -> Pictures:
    return np.asarray(fragments.face), np.asarray(fragments.depth)


def _depth_pictures(depth: Any) -> Pictures:
    return None, np.asarray(depth)
