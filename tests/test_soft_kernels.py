"""The soft blend by kernels: equal to the passes, whoever of the threads does what."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from soft_scenes import assert_close, small_scene

import jaxrender as jr
from jaxrender.ops import program, soft

ON_CPU = jax.default_backend() == "cpu"
pytestmark = pytest.mark.skipif(not ON_CPU, reason="kernels are for a CPU")
READ = [
    pytest.param(kind, marks=pytest.mark.long)
    for kind in ("texel", "cube", "nearest", "wrapped", "pages")
]
KINDS = ["alpha", "corner", "lit", "linear", *READ]


def scenes(count=40):
    """Two views of faces small, large, across the near plane, beyond `far`, and none at all."""
    vertices, faces = small_scene(3, count)
    vertices = np.array(vertices, dtype=float).reshape(-1, 3, 3)
    vertices[0, :, :2] *= 9
    vertices[1::7, 0, 2] = 0.05
    vertices[2::7, 1, 2] = 30
    vertices[3, 1] = vertices[3, 0]
    faces = faces.at[4, 1].set(10**6)
    turned = vertices * np.array([-0.7, 1.2, 1.0])
    return jnp.array(np.stack([vertices, turned]).reshape(2, -1, 3)), faces


def textured(kind, colors, faces):
    """Textures of each kind, in as many colours as there are corners; None where alpha is all."""
    if kind == "alpha":
        return None
    if kind in ("corner", "lit"):
        return jr.VertexColors(colors)
    if kind == "texel":
        return jr.FaceTexels(jnp.repeat(colors.reshape(-1, 3, 1, 3), 3, 2))
    if kind == "cube":
        cubes = colors.reshape(-1, 3, 1, 1, 3)
        return jr.FaceCubes(jnp.broadcast_to(cubes, (len(cubes), 3, 3, 3, 3)))
    count, rng = len(faces), np.random.default_rng(4)
    uv = jnp.asarray(rng.uniform(-1, 2, size=(len(colors), 2)), colors.dtype)
    own, faces = jnp.asarray(colors), jnp.minimum(faces, len(colors) - 1)
    picture = own.reshape(10, 12, 3)
    if kind == "wrapped":
        wrap = "mirror", "clamp"
        return jr.UVTexture(picture, uv, faces, wrap=wrap, tint=own[::-1])
    if kind == "pages":
        pages = jnp.tile(jnp.array([[2, 5, 7]], jnp.int32), (count, 1))
        samplers = jnp.asarray(rng.integers(0, [3, 3, 2], size=(count, 3)), jnp.int32)
        return jr.UVTexture(picture, uv, faces, pages=pages, samplers=samplers)
    return jr.UVTexture(picture, uv, faces, filter=kind)


def loss(vertices, colors, sigma, gamma, faces, *, size, kind):
    """Of both views, with weights that tell all pixels and channels apart."""
    numbers = {"image_size": size, "near": 0.2, "far": 10.0}
    texture, soft = textured(kind, colors, faces), jr.Soft(sigma=sigma, gamma=gamma)

    def of_view(vertices):
        if kind == "lit":
            lights = jr.make_lights(ambient=0.3, specular=0.4, shininess=sigma * 1000)
            mesh, eye = jr.Mesh(vertices, faces, texture), jnp.array([0.1, 0.0, -0.5])
            camera = jr.look_at(eye, right_handed=False)
            image = jr.render(
                mesh, camera, **numbers, rasterizer=soft, lights=lights, shading="phong"
            )
        else:
            screen = jr.ScreenMesh(vertices, faces)
            aggregate = "softmax" if texture is not None else None
            image = jr.rasterize_soft(
                screen, texture, **numbers, sigma=sigma, gamma=gamma, aggregate_rgb=aggregate
            )
        pictures = [image.alpha[..., None]]
        if texture is not None:
            pictures += [image.rgb, image.depth[..., None]]
        picture = jnp.concatenate(pictures, -1)
        return (picture * jnp.cos(jnp.arange(picture.size).reshape(picture.shape))).sum()

    return jax.vmap(of_view)(vertices).sum()


def arguments(dtype):
    vertices, faces = scenes()
    colors = np.random.default_rng(1).uniform(size=(vertices.shape[1], 3))
    numbers = (jnp.asarray(number, dtype) for number in (3e-3, 1e-2))
    return vertices.astype(dtype), jnp.asarray(colors, dtype), *numbers, faces


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", KINDS)
def test_equals_passes(monkeypatch, kind):
    """Also those that an exported program has in their place; to rounding in float64."""
    args = arguments(np.float64)
    both = functools.partial(loss, size=(11, 21), kind=kind)
    both = jax.value_and_grad(both, (0, 1, 2, 3))
    program = jax.jit(both).lower(*args)
    assert "jaxrender_blend" in program.as_text()
    kernels = program.compile()(*args)
    exported = jax.export.export(jax.jit(both))(*args)
    assert "jaxrender_blend" not in exported.mlir_module()
    without = soft.SCHEDULES["cpu"]._replace(has_kernels=False)
    monkeypatch.setitem(soft.SCHEDULES, "cpu", without)
    jax.clear_caches()
    passes = jax.jit(both)(*args)
    for other in (exported.call(*args), passes):
        for found, wanted in zip(jax.tree.leaves(kernels), jax.tree.leaves(other), strict=True):
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * scale)
    single = jax.jit(both)(*arguments(np.float32))
    assert_close(single, kernels)
    jax.clear_caches()


@pytest.mark.usefixtures("x64")
def test_views_share_triangles():
    """Those that have one set of them draw each with its own blur, and leave out what is far."""
    vertices, _, _, _, faces = arguments(np.float64)
    screen = jr.ScreenMesh(vertices[0], faces.at[4].set(0))

    @jax.jit
    def draw(sigma, far):
        return jr.rasterize_soft(
            screen, image_size=(11, 21), near=0.2, far=far, sigma=sigma, aggregate_rgb=None
        ).alpha

    sigmas, fars = jnp.array([1e-4, 3e-2]), jnp.array([1.5, 10.0])
    both = jax.vmap(draw)(sigmas, fars)
    for found, sigma, far in zip(both, sigmas, fars, strict=True):
        np.testing.assert_allclose(found, draw(sigma, far), rtol=1e-12, atol=1e-12)
    assert abs(both[0] - both[1]).max() > 0.1


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["alpha", "corner", "linear"])
def test_threads_change_nothing(monkeypatch, kind):
    both = functools.partial(loss, size=(130, 131), kind=kind)
    results = []
    for threads in ("1", "3", ""):
        monkeypatch.setenv("JAXRENDER_THREADS", threads)
        jax.clear_caches()
        program = jax.jit(jax.value_and_grad(both, (0, 1, 2, 3)))
        results += [program(*arguments(np.float32)) for _ in range(2)]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    jax.clear_caches()


class Waves(jr.Texture):
    """A texture of its own, by functions that have instructions or not, one for each channel."""

    numbers: jax.Array  # [V, 1]
    functions: tuple[Callable, ...] = jr.static()

    def varyings(self, faces):
        return self.numbers[faces]

    def channels(self):
        return len(self.functions)

    def color(self, texel, varyings, uniforms):
        return [function(varyings[0]) for function in self.functions]


@pytest.mark.slow
def test_what_kernels_leave_to_passes():
    """Other distributions, T-conorms and distances, and shaders that have no program."""
    vertices, colors, sigma, _, faces = arguments(np.float32)
    faces = faces.at[4].set(0)
    uv = jr.UVTexture(jnp.ones((2, 2, 3)), colors[:, :2], faces)

    def has_kernel(texture=None, **options):
        def draw(vertices):
            screen = jr.ScreenMesh(vertices, faces)
            return jr.rasterize_soft(screen, texture, image_size=(5, 6), sigma=sigma, **options).rgb

        return "jaxrender_blend" in jax.jit(draw).lower(vertices[0]).as_text()

    assert has_kernel(jr.VertexColors(colors))
    assert has_kernel(uv)
    assert has_kernel(Waves(colors[:, :1], (lambda x: jnp.exp(-x), jnp.floor)))
    assert not has_kernel(Waves(colors[:, :1], (jnp.exp, jnp.sin)))
    assert not has_kernel(Waves(colors[:, :1], (lambda x: jnp.concatenate([x[:1], x[1:]]),)))
    assert not has_kernel(Waves(colors[:, :1], (lambda x: jnp.maximum(x > 0, x < 1) * x,)))
    assert not has_kernel(Waves(colors[:, :1], (lambda x: x * ((9 * x).astype(int) // 2),)))
    assert not has_kernel(jr.UVTexture(jnp.ones((2, 2, 17)), colors[:, :2], faces))
    assert not has_kernel(distribution="gaussian")
    assert not has_kernel(squared=False)
    assert not has_kernel(distance="barycentric")
    assert not has_kernel(aggregate_alpha="einstein")
    assert not has_kernel(faithful=True, far=10.0, near=1.0)


def test_operations_of_programs():
    from jaxrender.ops.cpu import operations

    assert set(operations._ELEMENTWISE) == program.ELEMENTWISE
    assert set(operations._SHAPING) == program.SHAPING


def every_second(x):
    return jax.lax.slice_in_dim(x, 0, None, 2).sum(0)


FUNCTIONS = (
    lambda x: jnp.exp(80 * x) * 1e-30 + jnp.exp(9 * x) + jnp.exp(-x),
    lambda x: jnp.log(jnp.abs(x) + 1e-3) + jnp.log(1 + 1e6 * jnp.abs(x)),
    lambda x: jnp.sqrt(x * x + 1) / jax.lax.rsqrt(2 + x) + (3 + x) ** -3 + jnp.square(x),
    lambda x: jnp.floor(5 * x) * x + jnp.ceil(3 * x) + jnp.sign(x) + jnp.abs(x),
    lambda x: (5 * x).astype(jnp.int32) * x - jnp.abs((-9 * x).astype(jnp.int32)),
    lambda x: jnp.where((x > 0.3) ^ ~(x != 0.5) | (x <= 0.1), jnp.clip(x, 0.2, 1.1), x),
    lambda x: jnp.stack([x, 2 * x, x * x])[1:].sum(0) + jnp.zeros((0, *x.shape)).sum(0),
    lambda x: every_second(jnp.pad(jnp.stack([x, 2 * x]), ((1, 2), *[(0, 0)] * x.ndim))) / (x + 3),
)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
def test_programs_do_what_jax_does(monkeypatch):
    """Each in a channel, of numbers of both signs, and their derivatives, in both dtypes."""
    vertices, _, sigma, gamma, faces = arguments(np.float64)
    faces, found = faces.at[4].set(0), {}
    weights = jnp.cos(jnp.arange(7 * 9 * len(FUNCTIONS)).reshape(7, 9, -1))
    numbers = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (vertices.shape[1], 1)))

    def channels(numbers, vertices, sigma, gamma):
        image = jr.rasterize_soft(
            jr.ScreenMesh(vertices, faces),
            Waves(numbers, FUNCTIONS),
            image_size=(7, 9),
            sigma=sigma,
            gamma=gamma,
        )
        return (image.rgb * weights.astype(numbers.dtype)).sum((0, 1))

    def both(*args):
        values, back = jax.vjp(lambda numbers: channels(numbers, *args[1:]), args[0])
        return values, jax.vmap(back)(jnp.eye(len(FUNCTIONS), dtype=values.dtype))

    args = numbers, vertices[0], sigma, gamma
    for kernels in True, False:
        changed = soft.SCHEDULES["cpu"]._replace(has_kernels=kernels)
        monkeypatch.setitem(soft.SCHEDULES, "cpu", changed)
        for dtype in (np.float64, np.float32)[: 1 + kernels]:
            jax.clear_caches()
            lowered = jax.jit(both).lower(*(arg.astype(dtype) for arg in args))
            assert ("jaxrender_blend" in lowered.as_text()) == kernels
            found[kernels, dtype] = lowered.compile()(*(arg.astype(dtype) for arg in args))
    jax.clear_caches()
    for dtype, tolerance in ((np.float64, 1e-11), (np.float32, 1e-4)):
        of_both = zip(found[True, dtype], found[False, np.float64], strict=True)
        for ours, wanted in of_both:
            for channel, (one, other) in enumerate(zip(ours, wanted, strict=True)):
                scale = np.abs(other).max()
                message = f"channel {channel}"
                np.testing.assert_allclose(
                    one, other, rtol=tolerance, atol=tolerance * scale, err_msg=message
                )
