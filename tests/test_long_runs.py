"""Fits and pictures by the thousand: memory stays, and nothing is compiled anew."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import fitting

MOST = 50 * 2**20  # bytes that a run may grow by
COMPILED = "/jax/core/compile/backend_compile_duration"
MESH = jr.shapes.icosphere(1)


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024
    pytest.skip("only Linux tells how much memory a process has")


@pytest.fixture
def compiled():
    """What has been compiled, one entry each."""
    found = []

    def note(event, duration, **_):
        if event == COMPILED:
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.clear_event_listeners()


@pytest.mark.long
def test_a_fit_of_20_000_steps(compiled):
    """By gradient descent with a schedule of the blur, in ten parts that measure memory."""

    class Descent:
        def init(self, params):
            return jnp.zeros((), jnp.int32)

        def update(self, slopes, state, params):
            return jax.tree.map(lambda slope: -1e-3 * slope, slopes), state + 1

    target = jnp.zeros((16, 16)).at[4:12, 5:11].set(1.0)

    def loss(params, sigma):
        moved = MESH.with_vertices(params["size"] * MESH.vertices + params["shift"][None])
        alpha = jr.silhouette(
            moved, jr.look_at((0.0, 0.0, 3.0)), image_size=(16, 16), rasterizer=jr.Soft(sigma=sigma)
        )
        return ((alpha - target) ** 2).sum()

    sizes, counts = [], []

    def look(params):
        sizes.append(resident())
        counts.append(len(compiled))
        return params["size"]

    result = fitting.fit(
        loss,
        {"size": jnp.float32(1.0), "shift": jnp.zeros(3)},
        Descent(),
        steps=20_000,
        schedules={"sigma": lambda step: 1e-2 * 0.1 ** (step / 20_000)},
        snapshot=look,
        snapshot_every=2_000,
        progress=False,
    )
    assert np.isfinite(result.params["size"])
    assert len(sizes) >= 10
    assert sizes[-1] - sizes[1] < MOST
    assert counts[-1] == counts[1]


@pytest.mark.long
def test_5_000_pictures(compiled):
    """Of other vertices, colours, cameras, lights, near and background, hard and soft."""
    random = np.random.default_rng(0)

    def draw(rasterizer):
        vertices = MESH.vertices + random.normal(size=MESH.vertices.shape, scale=0.1)
        colors = jr.VertexColors(random.uniform(size=MESH.vertices.shape).astype(np.float32))
        image = jr.render(
            jr.Mesh(vertices.astype(np.float32), MESH.faces, colors),
            jr.look_at(random.normal(size=3) + np.array([0, 0, 4])),
            jr.make_lights(float(random.uniform())),
            image_size=(16, 16),
            near=float(random.uniform(0.05, 0.1)),
            background=float(random.uniform()),
            rasterizer=rasterizer,
        )
        assert np.isfinite(image.rgb).all()

    def both():
        draw(jr.Hard())
        draw(jr.Soft(sigma=float(random.uniform(1e-4, 1e-2))))

    for _ in range(20):
        both()
    before, count = resident(), len(compiled)
    for _ in range(2_500):
        both()
    assert len(compiled) == count
    assert resident() - before < MOST
