"""What `UVTexture` reads outside [0, 1] and between texels, in both rasterisers, bakes and pads."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from quick import jit

import jaxrender as jr
from jaxrender import io
from jaxrender._textures import FILTERS, WRAPS

SIZE = (24, 20)
CAMERA = jr.look_at((0.0, 0.0, -3.0))
FACES = jnp.array([[0, 1, 2]], jnp.int32)
VERTICES = jnp.array([[-1.4, -1.2, 0.2], [1.3, -1.0, -0.3], [0.1, 1.5, 0.0]])
UV = jnp.array([[-1.3, -0.73], [2.4, 0.2], [0.3, 1.87]])  # off the kinks at texel centres
SAMPLERS = list(itertools.product(WRAPS, WRAPS, FILTERS))


def picture_of(count=3):
    return jnp.asarray(np.random.default_rng(0).random((5, 4, count)), jnp.float32)


def codes(along_u, along_v, filter):
    return jnp.array([[WRAPS.index(along_u), WRAPS.index(along_v), FILTERS.index(filter)]])


def draw(texture, rasterizer, vertices=VERTICES):
    mesh = jr.Mesh(vertices, FACES, texture)
    return jr.render(
        mesh, CAMERA, image_size=SIZE, near=1.0, shading="none", rasterizer=rasterizer
    ).rgb


@pytest.mark.thorough
def test_mirror_by_hand():
    # The triangle wave: 1.25 reads what 0.75 reads, and moves the other way.
    image = jnp.arange(4.0).reshape(1, 4, 1)
    row = jnp.array([[0, 0, 0]], jnp.int32)

    def at(u):
        uv = jnp.stack([jnp.full(1, u), jnp.full(1, 0.5)], -1)
        texture = jr.UVTexture(image, uv, row, wrap=("mirror", "repeat"))
        return jr.sample_texture(texture, FACES, jnp.array(0), jnp.array([1.0, 0, 0]))[0]

    for u, value, slope in [
        (0.75, 2.5, 4), (1.25, 2.5, -4), (-0.25, 0.5, -4), (2.25, 0.5, 4), (1.05, 3, 0),
    ]:  # fmt: skip
        np.testing.assert_allclose(at(u), value, atol=1e-5)
        np.testing.assert_allclose(jax.grad(at)(u), slope, atol=1e-4)


@pytest.mark.long
def test_traced_samplers_are_the_static_ones():
    # One face for each sampler, all with the same coordinates.
    count = len(SAMPLERS)
    faces = jnp.tile(FACES, (count, 1))
    traced = jr.UVTexture(
        picture_of(), UV, faces, samplers=jnp.concatenate([codes(*one) for one in SAMPLERS])
    )
    points = jnp.asarray(np.random.default_rng(1).dirichlet((1, 1, 1), 200), jnp.float32)
    baked = io.bake_texels(jr.Mesh(VERTICES, faces, traced), 3).texture.texels
    for number, sampler in enumerate(SAMPLERS):
        fixed = jr.UVTexture(picture_of(), UV, FACES, wrap=sampler[:2], filter=sampler[2])
        want = jr.sample_texture(fixed, FACES, jnp.zeros(200, jnp.int32), points)
        got = jr.sample_texture(traced, faces, jnp.full(200, number), points)
        np.testing.assert_allclose(got, want, atol=1e-6, err_msg=str(sampler))
        want = io.bake_texels(jr.Mesh(VERTICES, FACES, fixed), 3).texture.texels[0]
        np.testing.assert_allclose(baked[number], want, atol=1e-6, err_msg=str(sampler))


TEXTURES = {
    "mirror": {"wrap": "mirror"},
    "nearest": {"wrap": ("clamp", "mirror"), "filter": "nearest"},
    "traced": {"samplers": codes("mirror", "clamp", "linear")},
    "traced nearest": {"samplers": codes("repeat", "mirror", "nearest")},
    "tint": {"tint": jnp.array([[0.2, 1, 0.4], [1, 0.3, 2], [0, 0.5, 1]])},
}


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["nearest", "traced", "traced nearest", "tint"])
def test_soft_reads_what_hard_reads(kind):
    # The only triangle's colour comes through the blend as it is, times its share.
    texture = jr.UVTexture(picture_of(), UV, FACES, **TEXTURES[kind])
    soft = jr.Soft(sigma=1e-4, gamma=1e-2)
    share = draw(None, soft)
    hard = jit(lambda texture: draw(texture, None))(texture)
    inside = np.asarray(jr.render(jr.Mesh(VERTICES, FACES), CAMERA, image_size=SIZE).alpha == 1)
    assert inside.sum() > 60
    got = jit(lambda texture: draw(texture, soft))(texture) / np.maximum(share, 1e-6)
    np.testing.assert_allclose(got[inside], hard[inside], atol=2e-4)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["mirror", "traced", "tint"])
def test_soft_gradient(kind):
    # Those of hard fragments are `sample_texture`'s own.
    rasterizer = jr.Soft(sigma=1e-2, gamma=1e-1)
    texture = jr.UVTexture(picture_of().astype(float), UV.astype(float), FACES, **TEXTURES[kind])
    upstream = jnp.asarray(np.random.default_rng(2).normal(size=(*SIZE, 3)))
    floats = [texture.image, texture.uv]
    if texture.tint is not None:
        floats.append(texture.tint.astype(float))

    @jax.jit
    def loss(image, uv, tint=None):
        changed = dataclasses.replace(texture, image=image, uv=uv, tint=tint)
        return (draw(changed, rasterizer, VERTICES.astype(float)) * upstream).sum()

    check_grads(loss, floats, order=1, modes=["rev"], eps=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("shading", "rasterizer"),
    [("phong", None), *((name, jr.Soft(sigma=1e-3, gamma=1e-2)) for name in ("none", "phong"))],
    ids=["phong-hard", "none-soft", "phong-soft"],
)
def test_a_tinted_white_picture_is_vertex_colours(rasterizer, shading):
    ball = jr.shapes.icosphere(1)
    colors = jnp.asarray(np.random.default_rng(3).random((42, 3)), jnp.float32)
    white = jr.UVTexture(jnp.ones((1, 1, 3)), jnp.zeros((42, 2)), ball.faces, tint=colors)

    @jit
    def rgb(texture):
        mesh = dataclasses.replace(ball, texture=texture)
        lights = jr.make_lights(0.4, directional=[((0.3, 1, -1), 0.5)], specular=0.3)
        return jr.render(
            mesh, CAMERA, lights, image_size=SIZE, near=1.0, shading=shading, rasterizer=rasterizer
        ).rgb

    np.testing.assert_allclose(rgb(white), rgb(jr.VertexColors(colors)), atol=1e-5)


@pytest.mark.thorough
def test_bake_tint():
    ball = jr.shapes.icosphere(1)
    colors = jnp.asarray(np.random.default_rng(3).random((42, 3)), jnp.float32)
    white = jr.UVTexture(jnp.ones((1, 1, 3)), jnp.zeros((42, 2)), ball.faces, tint=colors)
    for bake in (io.bake_cubes, io.bake_texels):
        got, want = (
            bake(dataclasses.replace(ball, texture=texture), 3).texture
            for texture in (white, jr.VertexColors(colors))
        )
        np.testing.assert_allclose(*map(jax.tree.leaves, (got, want)), atol=1e-6)


@pytest.mark.long
def test_padding_and_vmap():
    tint = jnp.asarray(np.random.default_rng(4).random((3, 3)), jnp.float32)
    other = jnp.concatenate([FACES, FACES[:, ::-1]])
    small = jr.UVTexture(
        picture_of(),
        UV,
        FACES,
        jnp.array([[1, 3, 2]]),
        tint=tint,
        samplers=codes("mirror", "clamp", "linear"),
    )
    both = [codes("repeat", "clamp", "nearest"), codes("mirror", "mirror", "linear")]
    large = jr.UVTexture(
        picture_of(),
        jnp.concatenate([UV, UV]),
        other,
        jnp.array([[0, 2, 4], [2, 3, 3]]),
        tint=jnp.concatenate([tint, tint]),
        samplers=jnp.concatenate(both),
    )
    meshes = [jr.Mesh(VERTICES, FACES, small), jr.Mesh(VERTICES, other, large)]
    for rasterizer in (None, jr.Soft(sigma=1e-3, gamma=1e-2)):

        def rgb(mesh, rasterizer=rasterizer):
            return jr.render(
                mesh, CAMERA, image_size=SIZE, near=1.0, far=100.0, rasterizer=rasterizer
            ).rgb

        together = jit(jax.vmap(rgb))(jr.stack_meshes(meshes))
        for got, mesh in zip(together, meshes, strict=True):
            np.testing.assert_allclose(got, jit(rgb)(mesh), atol=1e-6)
    plain = jr.Mesh(VERTICES, FACES, dataclasses.replace(small, tint=None))
    with pytest.raises(ValueError, match="no tint"):
        jr.stack_meshes([meshes[0], plain])
    mirror = jr.Mesh(VERTICES, FACES, dataclasses.replace(small, wrap="mirror"))
    with pytest.raises(ValueError, match="wrap 'mirror'"):
        jr.stack_meshes([meshes[0], mirror])


def test_saving_says_what_is_lost(tmp_path):
    pytest.importorskip("imageio")
    texture = jr.UVTexture(picture_of(), UV, FACES, wrap="mirror")
    mesh = jr.Mesh(VERTICES, FACES, texture)
    with pytest.warns(UserWarning, match="MTL cannot say wrap 'mirror'"):
        io.save_mesh(tmp_path / "a.obj", mesh)
    changed = dataclasses.replace(texture, wrap="clamp", samplers=codes("clamp", "clamp", "linear"))
    with pytest.warns(UserWarning, match="MTL cannot say the samplers"):
        io.save_mesh(tmp_path / "a.obj", dataclasses.replace(mesh, texture=changed))
    assert io.load_mesh(tmp_path / "a.obj").texture.wrap == "repeat"
    changed = dataclasses.replace(texture, tint=jnp.ones((3, 3)))
    with pytest.raises(ValueError, match=r"cannot store a tint .* Write \.glb or \.gltf"):
        io.save_mesh(tmp_path / "a.obj", dataclasses.replace(mesh, texture=changed))
