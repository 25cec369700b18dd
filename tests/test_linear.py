"""Maps whose transpose has a program of its own, in all modes of differentiation."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import soup

import jaxrender as jr
from jaxrender.ops import blend, hard
from jaxrender.ops.batching import fold_into
from jaxrender.ops.linear import LinearMap

COUNTED = []


def _plain(given, linear, options):
    (weights,), (one, other) = given, linear
    return [weights * one + other.sum(), options * one]


def _transposed(given, cotangents, shapes, options):
    """As JAX would find it, of batches; says that it was asked."""
    (weights,), (of_sum, of_product) = given, cotangents
    COUNTED.append(of_sum.shape)
    one = weights * of_sum + options * of_product
    other = jnp.broadcast_to(of_sum.sum(1)[:, None], (len(one), *shapes[1][0]))
    return [one, other]


def _program(given, linear, options):
    """The same of batches, by groups; says how many there were."""
    groups, size = len(given[0]), max(len(array) for array in linear)
    COUNTED.append((groups, size))
    weights = jnp.repeat(given[0], size // groups, 0)
    one, other = (jnp.broadcast_to(array, (size, *array.shape[1:])) for array in linear)
    return [weights * one + other.sum(1, keepdims=True), options * one]


PAIR = LinearMap("test_pair", _plain, _transposed)
GROUPED = LinearMap("test_grouped", _plain, _transposed, _program)


def own(weights, one, other):
    """By the map."""
    return sum((result**2).sum() for result in PAIR([weights], [one, other], 3.0))


def same(weights, one, other):
    """By plain JAX."""
    return sum((result**2).sum() for result in _plain([weights], [one, other], 3.0))


@pytest.mark.slow
class TestModes:
    weights, one, other = jnp.arange(1.0, 4), jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 0.7])

    @pytest.mark.parametrize("compiler", [jax.jit, lambda function: function])
    @pytest.mark.parametrize(
        "mode", [jax.grad, jax.jacfwd, jax.jacrev, jax.hessian], ids=lambda mode: mode.__name__
    )
    @pytest.mark.parametrize("number", range(3))
    def test_derivatives(self, compiler, mode, number):
        """By what it is linear in, and by what it is not."""
        args = self.weights, self.one, self.other
        found = compiler(mode(own, number))(*args)
        np.testing.assert_allclose(found, mode(same, number)(*args), rtol=1e-5, atol=1e-5)

    def test_without_jit(self):
        args = self.weights, self.one, self.other
        with jax.disable_jit():
            np.testing.assert_allclose(own(*args), same(*args), rtol=1e-6)

    @pytest.mark.thorough
    def test_own_program_is_used_once(self):
        """For all examples of a batch, whatever they share."""
        many = jnp.stack([self.one, 2 * self.one])
        for axes in ((None, 0, None), (0, None, None), (0, 0, None)):
            args = [
                jnp.stack([array, array + 1]) if axis == 0 else array
                for array, axis in zip((self.weights, self.one, self.other), axes, strict=True)
            ]
            COUNTED.clear()
            found = jax.jit(jax.vmap(jax.grad(own, (1, 2)), axes))(*args)
            assert [(len(many), 3)] == COUNTED
            wanted = jax.vmap(jax.grad(same, (1, 2)), axes)(*args)
            for leaf, other in zip(found, wanted, strict=True):
                np.testing.assert_allclose(leaf, other, rtol=1e-5)

            # The gradient of what the batch shares is the sum.
            found, wanted = (
                jax.grad(lambda *args, many=many: many(*args).sum(), (0, 1, 2))(*args)
                for many in (jax.vmap(own, axes), jax.vmap(same, axes))
            )
            for leaf, other in zip(found, wanted, strict=True):
                np.testing.assert_allclose(leaf, other, rtol=1e-5)

    def test_nested_batches(self):
        weights = jnp.arange(12.0).reshape(2, 2, 3)
        nested = functools.partial(jax.vmap, in_axes=(1, None, None))
        found = nested(jax.vmap(jax.grad(own, 1), (0, None, None)))(weights, self.one, self.other)
        wanted = nested(jax.vmap(jax.grad(same, 1), (0, None, None)))(weights, self.one, self.other)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)

    @pytest.mark.parametrize("order", ["columns of views", "views of columns"])
    def test_columns_share_what_they_depend_on(self, order):
        """Those of a Jacobian, of each of two views."""
        views, columns = jnp.stack([self.weights, self.weights + 1]), jnp.eye(3)

        def push(weights, column, map_):
            return map_([weights], [column, self.other], 3.0)[0]

        def all_of(map_):
            inner, outer = (0, None), (None, 0)
            if order == "views of columns":
                inner, outer = outer, inner
            both = jax.vmap(jax.vmap(functools.partial(push, map_=map_), inner), outer)
            return jax.jit(both)(views, columns)

        COUNTED.clear()
        found, wanted = all_of(GROUPED), all_of(_plain)
        assert COUNTED[-1] == (2, 6)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("length", [2, 0])  # arrays may be empty, and tell something by their shape
def test_axis_of_vmap_is_folded_into_the_batch(place, length):
    array = jnp.arange(6.0 * length).reshape(2, 3, length)
    folded = fold_into(array, True, array.shape[place], array.shape[1 - place], place)
    np.testing.assert_array_equal(folded, array.reshape(6, length))
    alone = fold_into(array, False, 4, 2, place)
    assert alone.shape == (8, 3, length)


@pytest.mark.slow
class TestBlend:
    """Against loops over all points; some indices are out of range."""

    @pytest.mark.parametrize("shape", [(5,), (40, 2000)])  # one part, several
    @pytest.mark.parametrize("taps", [1, 3, 4])
    def test_gradients(self, shape, taps):
        rng = np.random.default_rng(0)
        table = rng.normal(size=(7, 3)).astype(np.float32)
        indices = np.repeat(rng.integers(-1, 8, (*shape[:-1], -(-shape[-1] // 5), taps)), 5, -2)
        indices = indices[..., : shape[-1], :].astype(np.int32)
        weights = rng.normal(size=(*shape, taps)).astype(np.float32)
        values = rng.normal(size=(*shape, 3)).astype(np.float32)
        pulled = jax.jit(
            lambda *args: (
                jax.vjp(lambda table: blend.blend_rows(table, *args[1:3]), args[0])[1](args[3]),
                jax.vjp(lambda weights: blend.blend_by_weights(*args[:2], weights), args[2])[1](
                    args[3]
                ),
            )
        )
        (of_table,), (of_weights,) = pulled(table, indices, weights, values)
        clipped, wanted = np.clip(indices, 0, 6), np.zeros((7, 3))
        np.add.at(wanted, clipped, np.float64(weights)[..., None] * values[..., None, :])
        np.testing.assert_allclose(of_table, wanted, rtol=1e-4, atol=1e-3)
        wanted = (table[clipped] * values[..., None, :]).sum(-1)
        np.testing.assert_allclose(of_weights, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
class TestFragments:
    @pytest.mark.thorough
    @pytest.mark.usefixtures("x64")
    @pytest.mark.parametrize("perspective", [True, False])
    @pytest.mark.parametrize("image_size", [(24, 20), (300, 301)])  # one part, several
    def test_gradient_is_that_of_looking_up(self, perspective, image_size):
        """Also of views that share their faces or their vertices."""
        vertices, faces = soup(11, 60, crossing=perspective)
        vertices, faces = jnp.array(vertices, jnp.float64), jnp.array(faces)
        screen = jr.ScreenMesh(vertices, faces, perspective)
        face = jr.rasterize_hard(screen, image_size=image_size).face
        faces_seen = jnp.stack([face, face[::-1]])
        upstream = jnp.array(np.random.default_rng(0).normal(size=(2, *image_size, 4)))

        def gradient(move):
            def single(vertices, face, upstream):
                _, pull = jax.vjp(lambda moved: move([vertices, faces, face], moved), vertices)
                return pull((upstream[..., :3], upstream[..., 3]))[0]

            return jax.jit(jax.vmap(single, (None, 0, 0)))(vertices, faces_seen, upstream)

        own = hard.MOVE_FRAGMENTS
        found = gradient(lambda given, moved: tuple(own(given, [moved], perspective)))
        wanted = gradient(lambda given, moved: hard._move_fragments(given, [moved], perspective))
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(found / scale, wanted / scale, atol=1e-12)

        # Forward mode, by several motions of each view.
        moved = jnp.array(np.random.default_rng(1).normal(size=(3, *vertices.shape)))

        def motions(move):
            def single(face, moved):
                return move([vertices, faces, face], moved)

            each = jax.vmap(single, (None, 0))
            return jax.jit(jax.vmap(each, (0, None)))(faces_seen, moved)

        found = motions(lambda given, moved: tuple(own(given, [moved], perspective)))
        wanted = motions(lambda given, moved: hard._move_fragments(given, [moved], perspective))
        for got, want in zip(found, wanted, strict=True):
            scale = np.abs(want).max()
            np.testing.assert_allclose(got / scale, want / scale, atol=1e-12)

    def test_same_bits_each_time(self):
        """Whatever the threads do."""
        vertices, faces = map(jnp.array, soup(3, 400))

        @jax.jit
        @jax.grad
        def slope(vertices):
            seen = jr.rasterize_hard(jr.ScreenMesh(vertices, faces), image_size=(400, 400))
            return (seen.barycentrics**2).sum() + (seen.depth**2).sum()

        first = slope(vertices)
        assert np.isfinite(first).all()
        for _ in range(5):
            np.testing.assert_array_equal(slope(vertices), first)
