"""On a CPU, the same program gives the same bits in another process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, sys
import jax, jax.numpy as jnp, numpy as np
import jaxrender as jr

rasterizer = {
    "hard": jr.Hard(),
    "nmr": jr.Hard("nmr"),
    "edge": jr.Hard("edge"),
    "antialias": jr.Hard("antialias"),
    "soft": jr.Soft(sigma=1e-3),
}[sys.argv[1]]
ball = jr.shapes.icosphere(2)
random = np.random.default_rng(0)
texture = jr.UVTexture(
    jnp.asarray(random.uniform(size=(9, 7, 3)), jnp.float32),
    jnp.asarray(random.uniform(size=(20, 2)), jnp.float32),
    ball.faces % 20,
)
weights = jnp.asarray(random.normal(size=(33, 40, 4)), jnp.float32)

def loss(vertices, texture, eye):
    mesh = jr.Mesh(vertices, ball.faces, texture)
    image = jr.render(
        mesh, jr.look_at(eye), image_size=(33, 40), rasterizer=rasterizer, shading="phong"
    )
    picture = jnp.concatenate([image.rgb, image.alpha[..., None]], -1)
    return (picture * weights).sum(), picture

slopes = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True, allow_int=True))
found = slopes(ball.vertices, texture, jnp.array([0.3, 0.5, -3.0]))
digest = hashlib.sha256()
for leaf in jax.tree.leaves(found):
    if leaf.dtype != jax.dtypes.float0:
        digest.update(np.asarray(leaf).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["hard", "nmr", "edge", "antialias", "soft"])
def test_two_processes(how):
    """Without a folder of compiled programs, which they would share."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    bits = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, how],
            env=environment | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    }
    assert len(bits) == 1
