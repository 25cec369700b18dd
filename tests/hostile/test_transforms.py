"""Pictures and gradients are the same by every road: as they are, under each of JAX's transforms.

In float64 and with mild values, so that what is left of rounding is far below any mistake: where a
corner lies at 1e-12 from the plane of the camera, a slope has four digits whatever the road.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from strategies import HARD, SOFT, VARIANTS, drawn, loss, picture, scenes, split

pytestmark = [pytest.mark.hostile, pytest.mark.slow]

WEIGHTS = np.array([1.0, -0.5])  # of two losses of one scene
DEVICES = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("devices",))


def assert_alike(got, wanted, where):
    """Within rounding of the largest number, which small ones are what is left of."""
    wanted = jax.tree.leaves(wanted)
    largest = max((np.abs(b).max() for b in wanted if np.size(b)), default=0)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), wanted, strict=True):
        assert a.shape == b.shape
        if np.size(b):
            name = where + jax.tree_util.keystr(path)
            rounding = 1e-9 * np.abs(b).max() + 1e-11 * largest
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=rounding, err_msg=name)


def assert_slopes_alike(variant, vertices, got, wanted, where):
    """Compares gradients to vertices `[..., V, 3]`, alone or by name among others.

    Of "max" those of corners at one place are summed before: where faces with corners of their own
    share an edge, both are as near to a pixel, and rounding decides whose corners get the gradient.
    """
    if ("aggregate_alpha", "max") in variant.soft:
        places = np.unique(vertices, axis=0)
        at_place = (places[:, None] == vertices).all(-1)

        def by_place(slopes):
            if isinstance(slopes, dict):
                return slopes | {"vertices": by_place(slopes["vertices"])}
            return np.einsum("pv, ...vc -> ...pc", at_place, slopes)

        got, wanted = by_place(got), by_place(wanted)
    assert_alike(got, wanted, where)


@functools.cache
def programs(variant):
    """By name: functions of what moves, of two losses, and of the rest, each of two gradients."""

    def slope(moving, weight, values):
        return jax.grad(functools.partial(loss, variant))(moving, values, weight)

    @jax.jit
    def vmap(moving, weights, values):
        return jax.vmap(slope, (None, 0, None))(moving, weights, values)

    @jax.jit
    def scan(moving, weights, values):
        return jax.lax.scan(lambda _, w: (None, slope(moving, w, values)), None, weights)[1]

    @jax.jit
    def remat(moving, weights, values):
        run = jax.checkpoint(functools.partial(loss, variant))
        return jax.lax.map(lambda w: jax.grad(run)(moving, values, w), weights)

    @jax.jit
    def shard_map(moving, weights, values):
        here, dealt = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("devices")
        spread = jax.shard_map(
            jax.vmap(slope, (None, 0, None)),
            mesh=DEVICES,
            in_specs=(here, dealt, here),
            out_specs=dealt,
        )
        return spread(moving, weights, values)

    return jax.jit(slope), {"vmap": vmap, "scan": scan, "remat": remat, "shard_map": shard_map}


TRANSFORMED = {
    name: VARIANTS[name] for name in (*list(HARD)[:8], "nmr without faces", *list(SOFT)[:12])
}
ROADS = "vmap", "scan", "remat", "shard_map"


@pytest.mark.thorough
@pytest.mark.cases(2)
@pytest.mark.parametrize(("road", "name"), [(road, name) for name in TRANSFORMED for road in ROADS])
def test_gradients(road, name, x64):
    variant = TRANSFORMED[name]
    slope, roads = programs(variant)

    @drawn(len(TRANSFORMED) * len(ROADS))
    @given(scenes(variant, np.float64, mild=True))
    def check(values):
        moving, rest = split(variant, values)
        one_by_one = [slope(moving, weight, rest) for weight in WEIGHTS]
        wanted = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)
        got = roads[road](moving, WEIGHTS, rest)
        assert_slopes_alike(variant, values["vertices"], got, wanted, road)

    check()


@pytest.mark.thorough
@pytest.mark.cases(1)
@pytest.mark.parametrize("name", TRANSFORMED)
def test_constants_closed_over(name, x64):
    """Values that are part of the program, under `jit`; a program for each, so there are few."""
    variant = TRANSFORMED[name]
    slope, _ = programs(variant)

    @drawn(2000)
    @given(scenes(variant, np.float64, mild=True))
    def check(values):
        moving, rest = split(variant, values)
        closed = jax.jit(
            lambda weight: jax.grad(functools.partial(loss, variant))(moving, rest, weight)
        )
        wanted = slope(moving, 1.0, rest)
        assert_slopes_alike(variant, values["vertices"], closed(1.0), wanted, "closed over")

    check()


@pytest.mark.thorough
@pytest.mark.cases(2)
@pytest.mark.parametrize("name", SOFT)
def test_soft_under_vmap_over_the_loss_alone(name, x64):
    """`vmap` over targets, or the background, of gradients to vertices; `jacrev` of a picture."""
    variant = SOFT[name]

    def miss(vertices, target, background, values):
        image = picture(variant, {**values, "vertices": vertices, "background": background})
        return ((image.rgb - target) ** 2).sum() + (image.alpha * target[..., 0]).sum()

    @functools.cache
    def compiled():
        slope = jax.grad(miss)
        over_targets, over_backgrounds = (
            jax.jit(jax.vmap(slope, axes))
            for axes in ((None, 0, None, None), (None, None, 0, None))
        )
        corner = jax.jit(
            jax.jacrev(lambda v, rest: picture(variant, {**rest, "vertices": v}).alpha[0, :2])
        )
        alone = jax.jit(
            jax.grad(lambda v, rest, k: picture(variant, {**rest, "vertices": v}).alpha[0, k])
        )
        return jax.jit(slope), over_targets, over_backgrounds, corner, alone

    @drawn(len(SOFT))
    @given(scenes(variant, np.float64, mild=True))
    def check(values):
        slope, over_targets, over_backgrounds, corner, alone = compiled()
        rng = np.random.default_rng(1)
        vertices, rest = values["vertices"], dict(values)
        targets, backgrounds = (
            rng.uniform(size=(2, *variant.image_size, 3)),
            rng.uniform(size=(2, 3)),
        )

        alike = functools.partial(assert_slopes_alike, variant, vertices)
        wanted = [slope(vertices, target, backgrounds[0], rest) for target in targets]
        got = over_targets(vertices, targets, backgrounds[0], rest)
        alike(got, np.stack(wanted), "targets")
        wanted[1] = slope(vertices, targets[0], backgrounds[1], rest)
        got = over_backgrounds(vertices, targets[0], backgrounds, rest)
        alike(got, np.stack(wanted), "backgrounds")
        columns = min(2, variant.image_size[1])
        wanted = [alone(vertices, rest, k) for k in range(columns)]
        alike(corner(vertices, rest), np.stack(wanted), "jacrev")

    check()
