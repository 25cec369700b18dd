"""The task `nmr`: hard pictures with the gradient of visibility, and one step of fitting with it.

A picture is alpha alone, which is the silhouette, or rgb with alpha, where each face has a colour
of its own and the background is 0. It is drawn from a mesh in screen space; `grad` is that and the
gradient of `sum(picture * upstream)` to the mesh's vertices, where `upstream` are random numbers.
With `2x2`, the picture is the mean of so many samples a pixel.

The C++ peer follows the same rule, in float32 as we do. The gradients differ by rounding, most
where an edge passes close to the centre of a pixel, and where the two see different faces on an
edge. The agreement is 1 less the relative L2 difference; it should be above 99%.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from benchmarks import native, scenes
from benchmarks.harness import Contest, same_gradient, same_values
from benchmarks.peers import Drawer, pytorch3d
from benchmarks.scenes import Scene

CHANNELS = {"alpha": 1, "rgb": 4}  # of a picture; alpha is the last
CPP = "NMR (C++)"


def contests(*, quick: bool, peers: bool) -> Iterator[Contest]:
    """All contests of this task; with `quick` three small ones, with `peers` against PyTorch3D."""
    if quick:
        yield drawn(scenes.sphere(2, 64), "alpha")
        yield differentiated(scenes.sphere(2, 32, views=2), "rgb", samples=2)
    else:
        for scene in _scenes():
            for kind in CHANNELS:
                yield drawn(scene, kind)
                yield differentiated(scene, kind, peers=peers)
        yield differentiated(scenes.sphere(4, 256), "alpha", samples=2)
    if importlib.util.find_spec("optax"):
        yield _fitting(jr.shapes.teapot(2), 32) if quick else _fitting(jr.shapes.teapot(), 256)


def _scenes() -> Iterator[Scene]:
    # Let the faces grow with the picture; then enlarge the faces; then draw several views at once.
    for subdivisions, size in ((2, 64), (3, 128), (4, 256), (5, 512)):
        yield scenes.sphere(subdivisions, size)
    yield scenes.sphere(4, 512)
    yield scenes.sphere(4, 256, views=8)
    yield from (scenes.sphere(3, 64, views) for views in (8, 64))


def drawn(scene: Scene, kind: str) -> Contest:
    """Drawing alone; the values of all pixels are compared."""
    colors, _ = _random(scene, CHANNELS[kind])
    args = (scene.vertices, scene.faces, colors)
    rivals = {CPP: functools.partial(native.nmr, colors=colors)}
    return Contest(f"nmr, {kind}", scene, _pictures(scene), args, np.asarray, rivals, same_values)


def differentiated(scene: Scene, kind: str, *, samples: int = 1, peers: bool = False) -> Contest:
    """Drawing and differentiating; the gradients are compared."""
    colors, upstream = _random(scene, CHANNELS[kind])
    draw = _pictures(scene, samples)

    def loss(
        vertices: jax.Array, faces: jax.Array, colors: jax.Array, upstream: jax.Array
    ) -> jax.Array:
        return jnp.sum(draw(vertices, faces, colors) * upstream)

    cpp = functools.partial(native.nmr, colors=colors, upstream=upstream, samples=samples)
    rivals: dict[str, Callable[[Scene], Drawer]] = {CPP: cpp}
    if peers and kind == "alpha" and samples == 1:
        rivals["pytorch3d depth"] = functools.partial(pytorch3d, upstream=upstream)
    pooled = f" {samples}x{samples}" if samples > 1 else ""
    args = (scene.vertices, scene.faces, colors, upstream)
    name = f"nmr, {kind}{pooled}, grad"
    return Contest(name, scene, jax.grad(loss), args, np.asarray, rivals, same_gradient)


def _random(scene: Scene, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours of faces `[F, C - 1]` and an upstream gradient `[N, H, W, C]`, always the same."""
    random = np.random.default_rng(0)
    colors = random.uniform(size=(len(scene.faces), channels - 1))
    upstream = random.normal(size=(scene.views, scene.size, scene.size, channels))
    return colors.astype(np.float32), upstream.astype(np.float32)


def _pictures(scene: Scene, samples: int = 1) -> Callable[..., jax.Array]:
    """What draws `[N, H, W, C]` from vertices, faces and their colours."""
    size = scene.size * samples

    def draw(vertices: jax.Array, faces: jax.Array, colors: jax.Array) -> jax.Array:
        screen = jr.ScreenMesh(vertices, faces)
        seen = jr.rasterize_hard(screen, image_size=(size, size), near=scenes.NEAR, far=scenes.FAR)
        covered = (seen.face >= 0)[..., None]
        rgb = jnp.where(covered, colors[seen.face], 0)
        image = jnp.concatenate([rgb, covered.astype(rgb.dtype)], axis=-1)
        image = jr.nmr_gradient(image, seen, screen)
        blocks = image.reshape(scene.size, samples, scene.size, samples, -1)
        return blocks.mean((1, 3))

    return jax.vmap(draw, in_axes=(0, None, None))


def _fitting(mesh: jr.Mesh, size: int) -> Contest:
    """A step of Adam that moves the vertices of a mesh, until its outline is a disc.

    It goes through `jr.silhouette`, with 2x2 samples. On two cores, 80 ms are the bar.
    """
    import optax

    # See the mesh from aside; draw the disc.
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    eye = jr.points_from_angles(7.0, scenes.ELEVATION, 180 - scenes.AZIMUTH)
    camera = jr.look_at(centre + eye, centre)
    x = (2 * np.arange(size) + 1 - size) / size
    disc = (x**2 + x[:, None] ** 2 < 0.5**2).astype(np.float32)
    optimizer = optax.adam(1e-2)

    def distance(vertices: jax.Array, faces: jax.Array, camera: jr.Camera) -> jax.Array:
        moved = jr.Mesh(vertices, faces)
        alpha = jr.silhouette(moved, camera, image_size=(size, size), anti_aliasing=2)
        return jnp.mean((alpha - disc) ** 2)

    def step(vertices: jax.Array, state: Any, *scene: Any) -> tuple[Any, Any, jax.Array]:
        loss, gradient = jax.value_and_grad(distance)(vertices, *scene)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(vertices, update), state, loss

    faces = np.asarray(mesh.faces)
    screen = np.asarray(jr.project(mesh.vertices, camera))[None]
    scene = Scene(f"teapot, {len(faces):,} faces, {size}²", screen, faces, size)
    args = (mesh.vertices, optimizer.init(mesh.vertices), mesh.faces, camera)
    return Contest("nmr, fitting step", scene, step, args, lambda state: state, {})
