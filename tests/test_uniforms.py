"""What is the same for all pixels of a view, in the soft rasteriser: lights and viewpoint in phong.

Their cotangents are sums over all fragments of a view, whatever is mapped over.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit

import jaxrender as jr

BALL = jr.shapes.icosphere(1)
UPSTREAM = np.random.default_rng(0).normal(size=(9, 11, 3)).astype(np.float32)
SOFT = jr.Soft(sigma=1e-3, gamma=1e-2)
EYES = jnp.array([[1.0, 1.2, 2.5], [-1.0, 0.5, 2.0], [0.3, -1.0, 2.4]])


def some_lights(seed: int, dtype=np.float32) -> jr.Lights:
    random = np.random.default_rng(seed)
    directions, colors = random.normal(size=(2, 3)), random.uniform(0.1, 0.5, (4, 3))
    return jax.tree.map(
        lambda numbers: numbers.astype(dtype),
        jr.make_lights(
            colors[0],
            list(zip(directions, colors[1:3], strict=True)),
            [(random.normal(size=3) * 2, colors[3])],
            specular=colors[1],
            shininess=5.0,
        ),
    )


def loss(lights, eye, vertices=BALL.vertices):
    image = jr.render(
        jr.Mesh(vertices, BALL.faces),
        jr.look_at(eye),
        lights,
        image_size=UPSTREAM.shape[:2],
        far=9.0,
        shading="phong",
        rasterizer=SOFT,
    )
    return (image.rgb * UPSTREAM).sum()


one = jit(jax.value_and_grad(loss, (0, 1)))


def assert_alike(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4)
        assert np.abs(b).max() > 1e-4


def stacked(trees):
    return jax.tree.map(lambda *parts: jnp.stack(parts), *trees)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)], ids=["lights", "views", "both"])
def test_vmap_is_a_loop(axes):
    """Over lights of one view, over views in the same lights, and over both at once."""
    lights = [some_lights(seed) for seed in range(3)]
    args = stacked(lights) if axes[0] == 0 else lights[0], EYES if axes[1] == 0 else EYES[0]
    got = jit(jax.vmap(jax.value_and_grad(loss, (0, 1)), axes))(*args)
    want = [one(lights[k * (axes[0] == 0)], EYES[k * (axes[1] == 0)]) for k in range(3)]
    assert_alike(got, stacked(want))


@pytest.mark.long
def test_nested_vmap_and_shared_lights():
    """Views by lights, and the gradient of a sum over views to the lights that they share."""
    lights = [some_lights(seed) for seed in range(2)]
    inner = jax.vmap(jax.value_and_grad(loss, (0, 1)), (None, 0))
    got = jit(jax.vmap(inner, (0, None)))(stacked(lights), EYES[:2])
    wanted = [[one(light, eye) for eye in EYES[:2]] for light in lights]
    assert_alike(got, stacked([stacked(row) for row in wanted]))

    def total(light):
        return jax.vmap(loss, (None, 0))(light, EYES[:2]).sum()

    summed = jit(jax.grad(total))(lights[0])
    by_view = stacked([gradients[0] for _, gradients in wanted[0]])
    assert_alike(summed, jax.tree.map(lambda parts: parts.sum(0), by_view))


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_gradient():
    """To lights, viewpoint and vertices, against finite differences."""
    args = some_lights(0, np.float64), EYES[0].astype(float), BALL.vertices.astype(float)
    random = np.random.default_rng(3)
    way = jax.tree.map(lambda part: random.normal(size=part.shape), args)
    both = jit(jax.value_and_grad(lambda args: loss(*args)))
    ahead, behind = (
        both(jax.tree.map(lambda a, b, step=step: a + step * b, args, way))[0]
        for step in (1e-6, -1e-6)
    )
    for part in range(3):
        assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(both(args)[1][part]))
    slope = sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), both(args)[1], way)))
    np.testing.assert_allclose((ahead - behind) / 2e-6, slope, rtol=2e-4)


@pytest.mark.long
def test_what_nobody_asks_for_changes_nothing():
    """Lights alone, then the viewpoint alone: each as together.

    In one process, one after the other: jax reuses traces, and must not take what one of them
    needs for what the other does.
    """
    lights = some_lights(1)
    _, together = one(lights, EYES[1])
    for number in range(2):
        assert_alike(jit(jax.grad(loss, number))(lights, EYES[1]), together[number])


@pytest.mark.long
def test_many_lights_and_none():
    """Whatever kinds of light there are, each pixel is lit as a hard one."""
    direction, position = ((1.0, 1.0, 1.0), 0.4), ((0.0, 0.0, 2.0), 0.3)
    for directional in ([], [direction]):
        for point in ([], [position, position]):
            lights = jr.make_lights(0.3, directional, point, specular=0.1)
            pictures = [
                jit(
                    functools.partial(
                        jr.render,
                        image_size=(12, 15),
                        shading="phong",
                        rasterizer=rasterizer,
                    )
                )(BALL, jr.look_at(EYES[0]), lights).rgb
                for rasterizer in (jr.Hard(), jr.Soft(sigma=1e-8, gamma=1e-6))
            ]
            apart = np.abs(pictures[0] - pictures[1]).max(-1)
            assert np.quantile(apart, 0.97) < 2e-3
