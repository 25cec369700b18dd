"""The task `soft`: pictures blended of all triangles, and their gradient.

A picture is alpha alone, which is the silhouette, or rgb with alpha, where each face has a colour
of its own and the background is 0. It is drawn from a mesh in screen space; `grad` is that and the
gradient of `sum(picture * upstream)` to the mesh's vertices, where `upstream` are random numbers.
`sigma` is 1e-4 but where the task names another, and `gamma` 1e-4.

Of the silhouette at 128² the Jacobian by a pose is timed too, six columns by `jax.jacfwd`, beside
the plain picture.

The C++ peer follows the same rules, in float32 as we do. The agreement of gradients is 1 less the
relative L2 difference; it should be above 99%.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from benchmarks import native, scenes
from benchmarks.harness import Contest, same_gradient, same_values
from benchmarks.peers import Drawer, pytorch3d_soft
from benchmarks.scenes import Scene
from jaxrender.rotations import from_axis_angle

SIGMA, GAMMA = 1e-4, 1e-4
CPP = "soft (C++)"


def contests(*, quick: bool, peers: bool) -> Iterator[Contest]:
    """All contests of this task; with `quick` two small ones, with `peers` against PyTorch3D."""
    if quick:
        yield drawn(scenes.sphere(2, 64), "alpha")
        yield differentiated(scenes.sphere(2, 32, views=2), "rgb")
        return
    for scene in _scenes():
        for kind in ("alpha", "rgb"):
            yield drawn(scene, kind)
            yield differentiated(scene, kind, peers=peers)
    for sigma in (1e-5, 1e-3):
        yield differentiated(scenes.sphere(4, 256), "rgb", sigma)
    yield differentiated(scenes.sphere(5, 512), "rgb", 1e-3)
    yield by_pose(scenes.sphere(4, 128))


def _scenes() -> Iterator[Scene]:
    # Let the faces grow with the picture; then each alone; then draw several views at once.
    for subdivisions, size in ((2, 64), (4, 128), (4, 256), (4, 512), (5, 512), (6, 512)):
        yield scenes.sphere(subdivisions, size)
    yield scenes.sphere(4, 256, views=8)
    yield from (scenes.sphere(3, 64, views) for views in (8, 64))


def drawn(scene: Scene, kind: str) -> Contest:
    """Drawing alone; the values of all pixels are compared."""
    colors, _ = _random(scene, kind)
    args = (scene.vertices, scene.faces, colors, SIGMA, GAMMA)
    peer = functools.partial(
        native.soft, colors=colors if kind == "rgb" else None, sigma=SIGMA, gamma=GAMMA
    )
    draw = _pictures(scene, kind)
    return Contest(f"soft, {kind}", scene, draw, args, np.asarray, {CPP: peer}, same_values)


def differentiated(
    scene: Scene, kind: str, sigma: float = SIGMA, *, peers: bool = False
) -> Contest:
    """Drawing and differentiating; the gradients are compared."""
    colors, upstream = _random(scene, kind)
    draw = _pictures(scene, kind)

    def loss(vertices: jax.Array, *args: jax.Array) -> jax.Array:
        return jnp.sum(draw(vertices, *args[:-1]) * args[-1])

    peer = functools.partial(
        native.soft,
        colors=colors if kind == "rgb" else None,
        sigma=sigma,
        gamma=GAMMA,
        upstream=upstream,
    )
    rivals: dict[str, Callable[[Scene], Drawer]] = {CPP: peer}
    if peers:
        rivals["pytorch3d"] = functools.partial(
            pytorch3d_soft,
            colors=colors if kind == "rgb" else None,
            sigma=sigma,
            gamma=GAMMA,
            upstream=upstream,
        )
    named = "" if sigma == SIGMA else f" {sigma:.0e}"
    args = (scene.vertices, scene.faces, colors, sigma, GAMMA, upstream)
    name = f"soft, {kind}{named}, grad"
    return Contest(name, scene, jax.grad(loss), args, np.asarray, rivals, same_gradient)


def by_pose(scene: Scene) -> Contest:
    """The Jacobian of a silhouette by a pose; the peer is its picture alone."""
    silhouette = _pictures(scene, "alpha")
    numbers = scene.faces, None, SIGMA, GAMMA

    def posed(pose: jax.Array, vertices: jax.Array) -> jax.Array:
        turned = vertices @ from_axis_angle(pose[:3]).T + pose[None, None, 3:]
        return silhouette(turned, *numbers)

    def alone(scene: Scene) -> Drawer:
        draw, nowhere, vertices = jax.jit(posed), jnp.zeros(6), jnp.asarray(scene.vertices)
        return Drawer(lambda: jax.block_until_ready(draw(nowhere, vertices)), None, "")

    args = np.zeros(6, np.float32), scene.vertices
    peers = {"picture alone": alone}
    return Contest("soft, alpha, 6 columns", scene, jax.jacfwd(posed), args, np.asarray, peers)


def _random(scene: Scene, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Colours of faces `[F, 3]` and an upstream gradient `[N, H, W, C]`, always the same."""
    random = np.random.default_rng(0)
    colors = random.uniform(size=(len(scene.faces), 3))
    channels = 1 if kind == "alpha" else 4
    upstream = random.normal(size=(scene.views, scene.size, scene.size, channels))
    return colors.astype(np.float32), upstream.astype(np.float32)


def _pictures(scene: Scene, kind: str) -> Callable[..., jax.Array]:
    """What draws `[N, H, W, C]` from vertices, faces, their colours, sigma and gamma."""
    size = (scene.size, scene.size)

    def draw(
        vertices: jax.Array,
        faces: jax.Array,
        colors: jax.Array,
        sigma: jax.Array,
        gamma: jax.Array,
    ) -> jax.Array:
        options = {"image_size": size, "sigma": sigma, "near": scenes.NEAR, "far": scenes.FAR}
        screen = jr.ScreenMesh(vertices, faces)
        if kind == "alpha":
            return jr.rasterize_soft(screen, **options, aggregate_rgb=None).alpha[..., None]
        texture = jr.FaceTexels(colors[:, None, None])
        image = jr.rasterize_soft(screen, texture, **options, gamma=gamma)
        return jnp.concatenate([image.rgb, image.alpha[..., None]], axis=-1)

    return jax.vmap(draw, in_axes=(0, None, None, None, None))
