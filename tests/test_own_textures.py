"""A kind of texture that is not ours: both rasterisers draw it, with gradients to all it has."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit

import jaxrender as jr
from jaxrender import io

SIZE = (14, 18)
VIEW = jr.look_at((0.9, 1.1, 2.4))
LIGHTS = jr.make_lights(0.3, [((1.0, 1.0, 1.0), 0.5)], [((0, 2, 2), 0.4)], specular=0.2)
HARD = jr.Hard()
SOFT = jr.Soft(sigma=1e-3, gamma=1e-2)


class Checkerboard(jr.Texture):
    """Squares of two colours over texture coordinates of the corners of faces."""

    colors: jax.Array  # [2, C]
    uv: jax.Array  # [F, 3, 2]
    scale: jax.Array  # [] squares along each unit
    encoding: str = jr.static(default="display")

    def table(self):
        return self.colors

    def varyings(self, faces):
        return self.uv

    def uniforms(self):
        return self.scale[None]

    def taps(self, index, varyings, uniforms):
        column, row = (jnp.floor(along * uniforms[0]) for along in varyings)
        return [((column + row) % 2).astype(jnp.int32)], [jnp.ones_like(row)]

    def padded(self, vertices, faces, alike):
        missing = faces - len(self.uv)
        return dataclasses.replace(self, uv=jnp.pad(self.uv, ((0, missing), (0, 0), (0, 0))))


class Waves(jr.Texture):
    """A smooth function of the barycentrics, without a table."""

    colors: jax.Array  # [3] amplitudes
    pitch: jax.Array  # []

    def uniforms(self):
        return jnp.append(self.colors, self.pitch)

    def channels(self):
        return 3

    def color(self, texel, varyings, uniforms):
        *colors, pitch = uniforms
        wave = 0.6 + 0.4 * jnp.sin(pitch * varyings[0] * varyings[1])
        return [color * wave for color in colors]


def board(mesh: jr.Mesh) -> Checkerboard:
    uv = np.random.default_rng(0).uniform(-1, 2, (len(mesh.faces), 3, 2))
    colors = jnp.array([[0.9, 0.7, 0.2], [0.1, 0.3, 0.6]])
    return Checkerboard(colors, jnp.asarray(uv, jnp.float32), jnp.asarray(3.0))


def waves(mesh: jr.Mesh) -> Waves:
    return Waves(jnp.array([0.9, 0.5, 0.3]), jnp.asarray(7.0))


def dressed(kind, mesh=None) -> jr.Mesh:
    mesh = jr.shapes.icosphere(1) if mesh is None else mesh
    return dataclasses.replace(mesh, texture=kind(mesh))


def read_slowly(texture, face: int, w: np.ndarray) -> np.ndarray:
    if isinstance(texture, Checkerboard):
        u, v = np.floor(w @ np.float64(texture.uv[face]) * float(texture.scale))
        return np.asarray(texture.colors)[int(u + v) % 2]
    wave = 0.6 + 0.4 * np.sin(float(texture.pitch) * w[0] * w[1])
    return np.asarray(texture.colors) * wave


@pytest.mark.slow
@pytest.mark.parametrize("kind", [board, waves])
def test_against_numpy(kind):
    mesh = dressed(kind)
    random = np.random.default_rng(1)
    face = random.integers(-1, len(mesh.faces), 60).astype(np.int32)
    w = random.dirichlet((1, 1, 1), 60).astype(np.float32)
    got = jr.sample_texture(mesh.texture, mesh.faces, face, w)
    want = [
        np.zeros(3) if f < 0 else read_slowly(mesh.texture, f, b)
        for f, b in zip(face, np.float64(w), strict=True)
    ]
    np.testing.assert_allclose(got, want, atol=1e-5)
    pointwise = jit(jax.vmap(jr.sample_texture, (None, None, 0, 0)))
    np.testing.assert_allclose(pointwise(mesh.texture, mesh.faces, face, w), got, atol=1e-6)


@functools.partial(jit, static_argnames=("shading", "soft"))
def draw(mesh, lights, *, shading, soft):
    return jr.render(
        mesh,
        VIEW,
        lights,
        image_size=SIZE,
        shading=shading,
        rasterizer=jr.Soft(sigma=1e-8, gamma=1e-6) if soft else HARD,
    ).rgb


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("shading", ["flat", "phong"])
@pytest.mark.parametrize("kind", [board, waves])
def test_soft_without_blur_draws_what_hard_draws(kind, shading):
    mesh = dressed(kind)
    hard, soft = (draw(mesh, LIGHTS, shading=shading, soft=soft) for soft in (False, True))
    assert hard.std() > 0.1
    assert np.quantile(np.abs(soft - hard).max(-1), 0.97) < 2e-3


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("rasterizer", [HARD, SOFT])
def test_jit_vmap_and_grad_agree(rasterizer):
    """Over textures that share coordinates, in one call; one compilation serves all colours."""
    mesh = dressed(board)
    upstream = jnp.asarray(np.random.default_rng(2).normal(size=(*SIZE, 3)), jnp.float32)

    def loss(colors, scale):
        texture = dataclasses.replace(mesh.texture, colors=colors, scale=scale)
        image = jr.render(
            dataclasses.replace(mesh, texture=texture),
            VIEW,
            LIGHTS,
            image_size=SIZE,
            shading="phong",
            rasterizer=rasterizer,
        )
        return (image.rgb * upstream).sum()

    colors = jnp.stack([mesh.texture.colors, 1 - mesh.texture.colors])
    scales = jnp.array([3.0, 2.0])
    alone = jit(jax.value_and_grad(loss))
    together = jit(jax.vmap(jax.value_and_grad(loss)))(colors, scales)
    for number in range(2):
        value, slope = alone(colors[number], scales[number])
        np.testing.assert_allclose(together[0][number], value, rtol=1e-4)
        np.testing.assert_allclose(together[1][number], slope, rtol=1e-3, atol=1e-4)
        assert np.abs(slope).min() > 1e-3

        # The picture is linear in the colours but for the reflection: so this is exact.
        black = alone(0 * colors[number], scales[number])[0]
        np.testing.assert_allclose(black + (slope * colors[number]).sum(), value, rtol=1e-3)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("rasterizer", "shading"), [(HARD, "flat"), (SOFT, "phong")])
def test_gradient(rasterizer, shading):
    """To uniforms, and in the soft picture to vertices, against finite differences."""
    mesh, soft = jr.shapes.icosphere(0), dataclasses.replace(SOFT, cutoff=1e-9)
    rasterizer = soft if rasterizer is SOFT else rasterizer
    random = np.random.default_rng(3)
    upstream = random.normal(size=(5, 6, 3))

    @jit
    @jax.value_and_grad
    def loss(args):
        vertices, colors, pitch = args
        worn = jr.Mesh(vertices, mesh.faces, Waves(colors, pitch))
        options = {"image_size": (5, 6), "far": 9.0, "shading": shading}
        image = jr.render(worn, VIEW, LIGHTS, rasterizer=rasterizer, **options)
        return (image.rgb * upstream).sum()

    args = (jnp.asarray(mesh.vertices, float), jnp.array([0.9, 0.5, 0.3]), jnp.array(7.0))
    way = jax.tree.map(lambda part: random.normal(size=part.shape), args)
    if rasterizer is HARD:
        way = (0 * way[0], *way[1:])
    ahead, behind = (
        loss(jax.tree.map(lambda a, b, step=step: a + step * b, args, way))[0]
        for step in (1e-6, -1e-6)
    )
    slope = sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), loss(args)[1], way)))
    np.testing.assert_allclose((ahead - behind) / 2e-6, slope, rtol=1e-5)


@pytest.mark.long
def test_padding_and_stacking():
    meshes = [dressed(board, jr.shapes.cube()), dressed(board, jr.shapes.icosphere(1))]
    stacked = jr.stack_meshes(meshes)
    assert stacked.texture.uv.shape == (2, 80, 3, 2)
    for rasterizer in (HARD, SOFT):

        def rgb(mesh, rasterizer=rasterizer):
            return jr.render(mesh, VIEW, image_size=SIZE, rasterizer=rasterizer).rgb

        together = jit(jax.vmap(rgb))(stacked)
        for got, mesh in zip(together, meshes, strict=True):
            np.testing.assert_allclose(got, jit(rgb)(mesh), atol=1e-5)
    unlike = dataclasses.replace(meshes[0].texture, colors=jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"same channels.*colors \[2, 4\]"):
        jr.stack_meshes([meshes[1], dataclasses.replace(meshes[0], texture=unlike)])


@pytest.mark.slow
def test_baking():
    mesh = dressed(waves)
    baked = io.bake_texels(mesh, 8).texture
    assert baked.texels.shape == (80, 8, 8, 3)
    want = read_slowly(mesh.texture, 0, np.array([1 + 1 / 3, 2 + 1 / 3]) / 8)
    np.testing.assert_allclose(baked.texels[3, 2, 1], want, atol=1e-6)


class Nothing(jr.Texture):
    """Lacks all methods."""

    colors: jax.Array


class Table(Nothing):
    """Has a table, but no taps."""

    def table(self):
        return self.colors


class Peeks(Waves):
    """Uses values where there are none."""

    def color(self, texel, varyings, uniforms):
        return [varyings[0] * self.pitch] * 3


class Misshapen(Waves):
    """Has varyings by vertex, not by corner of faces."""

    def varyings(self, faces):
        return jnp.zeros((42, 3))


class Odd(Waves):
    """Is not of any encoding."""

    encoding = "gamma"


COLORS = jnp.ones((2, 3))
BALL = jr.shapes.icosphere(1)


def worn(texture) -> jr.Mesh:
    return dataclasses.replace(BALL, texture=texture)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jr.render(worn(Nothing(COLORS)), VIEW, image_size=SIZE), r"Add channels\(self\)"),
        (
            lambda: jr.render(worn(Table(COLORS)), VIEW, image_size=SIZE),
            r"kind Table lacks .* reading its table. Add taps\(self, index",
        ),
        (
            lambda: jr.render(worn(Peeks(COLORS[0], jnp.ones(()))), VIEW, image_size=SIZE),
            "must not use the values of its arrays",
        ),
        (
            lambda: jr.sample_texture(
                Peeks(COLORS[0], jnp.ones(())), BALL.faces, np.zeros(2, np.int32), np.ones((2, 3))
            ),
            "must not use the values of its arrays",
        ),
        (
            lambda: jr.render(worn(Misshapen(COLORS[0], jnp.ones(()))), VIEW, image_size=SIZE),
            r"`texture.varyings` of kind Misshapen must return .*\[80, 3, K\].*\[42, 3\]",
        ),
        (
            lambda: jr.render(worn(Odd(COLORS[0], jnp.ones(()))), VIEW, image_size=SIZE),
            "texture.encoding",
        ),
        (lambda: jr.stack_meshes([worn(waves(BALL))] * 2), r"pad_meshes .* Add padded\(self"),
        (lambda: jr.subdivide(worn(waves(BALL))), r"subdivide. Add subdivided\(self"),
        (lambda: jr.orient_faces(worn(waves(BALL))), r"orient_faces. Add turned\(self"),
        (lambda: io.save_mesh("a.obj", worn(waves(BALL))), "no mesh file stores Waves"),
    ],
)
def test_what_is_missing_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
