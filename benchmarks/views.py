"""The task `views`: the same scene from 1, 8, 64 and 256 sides in one `vmap`.

The mesh is given once, and each view has a camera of its own, as in a training step: 1,280 faces
at 64², from vertices in the world to pictures, drawn and differentiated to the vertices. The time
per view is that of a row over its views; it should fall, or stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from benchmarks import scenes
from benchmarks.harness import Contest
from benchmarks.scenes import Scene

VIEWS = (1, 8, 64, 256)
RASTERIZERS: dict[str, jr.Hard | jr.Soft | None] = {
    "hard": jr.Hard(),
    "nmr": jr.Hard(visibility_gradient="nmr"),
    "soft": jr.Soft(sigma=1e-4),
}


def contests(*, quick: bool, peers: bool) -> Iterator[Contest]:
    """All contests of this task; with `quick` two small ones. There are no peers."""
    del peers
    for name, rasterizer in RASTERIZERS.items():
        if quick and name != "soft":
            continue
        for views in (1, 2) if quick else VIEWS:
            scene = scenes.sphere(1 if quick else 3, 64, views)
            mesh = jr.shapes.icosphere(1 if quick else 3)
            azimuths = np.linspace(0, 360, views, False)
            eyes = jr.points_from_angles(2.732, 20.0, azimuths, right_handed=False)
            args = (np.asarray(mesh.vertices), np.asarray(mesh.faces), np.asarray(eyes))
            loss = _loss(scene, rasterizer)
            function = jax.grad(loss) if name != "hard" else loss
            yield Contest(f"views, {name}", scene, function, args, np.asarray, {})


def _loss(scene: Scene, rasterizer: jr.Hard | jr.Soft | None) -> Callable[..., jax.Array]:
    """The sum of all squared pixels of all views."""
    size = (scene.size, scene.size)

    def loss(vertices: jax.Array, faces: jax.Array, eyes: jax.Array) -> jax.Array:
        def seen(eye: jax.Array) -> jax.Array:
            image = jr.render(
                jr.Mesh(vertices, faces),
                jr.look_at(eye, right_handed=False),
                image_size=size,
                near=scenes.NEAR,
                far=scenes.FAR,
                shading="none",
                rasterizer=rasterizer,
            )
            return jnp.sum(image.rgb**2) + jnp.sum(image.alpha**2)

        return jnp.sum(jax.vmap(seen)(eyes))

    return loss
