"""jaxrender.torch: tensors and arrays share memory, and gradients are those of `jax.grad`.

Needs PyTorch: `make test-torch` installs and runs it; elsewhere it is skipped.
"""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import jaxrender as jr  # noqa: E402
import jaxrender.torch as jt  # noqa: E402

pytestmark = pytest.mark.torch

SIZE = (12, 12)
BALL = jr.shapes.icosphere(1)
CAMERA = jr.look_at((1.0, 1.5, 2.0))
COLORS = jnp.asarray(np.random.default_rng(0).uniform(size=(BALL.vertices.shape[0], 3)), "float32")
WEIGHTS = jnp.asarray(np.random.default_rng(1).normal(size=(*SIZE, 3)), "float32")
RASTERIZERS = [
    None,
    jr.Hard("nmr"),
    jr.Hard("edge"),
    jr.Hard("antialias"),
    jr.Soft(sigma=1e-4),
]


def tensor(array, dtype=None):
    return torch.tensor(np.asarray(array), dtype=dtype)


def leaf(array):
    return tensor(array).requires_grad_()


def same(found, wanted):
    np.testing.assert_array_equal(found.detach().numpy(), np.asarray(wanted))


# --- memory ---------------------------------------------------------------------------------------


def test_memory_is_shared_both_ways():
    values = torch.rand(100, 3)
    array = jt.to_jax(values)
    assert array.unsafe_buffer_pointer() == values.data_ptr()
    back = jt.to_torch(array)
    assert back.data_ptr() == values.data_ptr()
    ours = jnp.arange(12.0)
    assert jt.to_torch(ours).data_ptr() == ours.unsafe_buffer_pointer()


def test_a_result_is_not_copied():
    result = jt.project(torch.rand(50, 3), CAMERA)
    assert jt.to_jax(result).unsafe_buffer_pointer() == result.data_ptr()


def test_structs_are_trees_of_tensors():
    mesh = jt.to_torch(jr.Mesh(BALL.vertices, BALL.faces, jr.VertexColors(COLORS)))
    assert isinstance(mesh, jr.Mesh)
    assert isinstance(mesh.texture.colors, torch.Tensor)
    assert isinstance(jt.to_jax(mesh).texture.colors, jax.Array)
    nested = jt.to_jax({"a": [torch.ones(2), 3, "x"], "b": (torch.zeros(0, 3), None)})
    assert nested["a"][1:] == [3, "x"]
    assert nested["b"][0].shape == (0, 3)


@pytest.mark.parametrize(
    "made",
    [
        lambda: torch.rand(6, 4).T,
        lambda: torch.rand(7)[1:],
        lambda: torch.rand(3, 1).expand(3, 5),
        lambda: torch.arange(5),
        lambda: torch.tensor([True, False]),
        lambda: torch.tensor(2.0),
        lambda: torch.rand(2, requires_grad=True),
        lambda: torch.zeros(4, 0),
        lambda: torch.rand(3).to(torch.bfloat16),
    ],
)
def test_tensors_of_all_kinds(made):
    values = made().detach()
    back = jt.to_torch(jt.to_jax(values))
    assert back.shape == values.shape
    assert torch.equal(back.to(values.dtype), values)


def test_what_comes_back_is_not_the_input():
    values = torch.rand(4, 3)
    same_values = jt.wrap(lambda x: x)(values)
    same_values += 1
    assert torch.equal(values + 1, same_values)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, dtype=torch.float64), r"`\['x'\]` must be of float32.*jax_enable_x64"),
        (torch.tensor([2**40]), "must fit 32 bits"),
        (torch.eye(2).to_sparse(), "must be a dense tensor"),
        (torch.zeros(2, device="meta"), "where JAX has no device"),
    ],
)
def test_refused_tensors(value, message):
    with pytest.raises(ValueError, match=message):
        jt.to_jax({"x": value})


# --- gradients ------------------------------------------------------------------------------------


def draw(vertices, faces, colors, rasterizer, render=jr.render):
    mesh = jr.Mesh(vertices, faces, jr.VertexColors(colors))
    return render(mesh, CAMERA, image_size=SIZE, rasterizer=rasterizer)


@pytest.mark.parametrize("rasterizer", RASTERIZERS, ids=str)
def test_render_has_the_gradient_of_jax(rasterizer):
    """To the last bit, but for soft pictures: there XLA fuses the two programs otherwise."""

    def agree(found, wanted):
        if isinstance(rasterizer, jr.Soft):
            np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=2e-5, atol=1e-5)
        else:
            same(found, wanted)

    def loss(vertices, colors):
        image = draw(vertices, BALL.faces, colors, rasterizer)
        return (image.rgb * WEIGHTS).sum() + image.alpha.sum() + image.depth.sum(), image

    gradient = jax.value_and_grad(loss, (0, 1), has_aux=True)
    (_, wanted), gradients = gradient(BALL.vertices, COLORS)
    vertices, colors = leaf(BALL.vertices), leaf(COLORS)
    image = draw(vertices, tensor(BALL.faces), colors, rasterizer, jt.render)
    agree(image.rgb, wanted.rgb)
    ((image.rgb * tensor(WEIGHTS)).sum() + image.alpha.sum() + image.depth.sum()).backward()
    for found, array in zip((vertices.grad, colors.grad), gradients, strict=True):
        agree(found, array)


def test_the_stages_have_the_gradient_of_jax():
    colors = jr.VertexColors(COLORS)

    def ours(vertices, of, faces=BALL.faces, texture=colors):
        screen = jr.ScreenMesh(of.project(vertices, CAMERA), faces)
        fragments = of.rasterize_hard(screen, image_size=SIZE)
        mesh = jr.Mesh(vertices, faces, texture)
        picture = of.shade(fragments, mesh, eye=(1.0, 1.5, 2.0), shading="phong")
        picture = of.edge_gradient(picture, fragments, screen)
        picture = of.antialias(picture, fragments, screen)
        values = of.interpolate(vertices, fragments, faces)
        soft = of.rasterize_soft(screen, texture, image_size=SIZE, sigma=1e-4)
        return picture, values, soft.rgb, of.vertex_normals(vertices, faces)

    def loss(vertices):
        return sum((part * part).sum() for part in ours(vertices, jr))

    wanted = jax.jit(jax.grad(loss))(BALL.vertices)
    vertices = leaf(BALL.vertices)
    parts = ours(vertices, jt, tensor(BALL.faces), jr.VertexColors(tensor(COLORS)))
    sum((part * part).sum() for part in parts).backward()
    np.testing.assert_allclose(vertices.grad, wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    "rasterizer", [jr.Hard("antialias"), jr.Soft(sigma=1e-3, gamma=0.1)], ids=str
)
def test_gradcheck(x64, rasterizer):
    """In float64, against finite differences."""
    cube = jr.shapes.cube()
    vertices = torch.tensor(np.asarray(cube.vertices), dtype=torch.float64)
    vertices += 0.05 * torch.randn(8, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    colors = torch.rand(8, 3, dtype=torch.float64)
    eye = torch.tensor([1.3, 1.1, 2.2], dtype=torch.float64)

    def picture(vertices, colors, eye):
        mesh = jr.Mesh(vertices, tensor(cube.faces), jr.VertexColors(colors))
        options = {"image_size": (6, 6), "near": 0.5, "far": 6.0, "shading": "none"}
        image = jt.render(mesh, jt.look_at(eye), rasterizer=rasterizer, **options)
        return image.rgb, image.alpha

    given = [x.requires_grad_() for x in (vertices, colors, eye)]
    assert torch.autograd.gradcheck(picture, given, atol=1e-5, fast_mode=True)


def test_silhouette_and_camera():
    def covered(eye):
        return jr.silhouette(BALL, jr.look_at(eye), image_size=SIZE).sum()

    eye = jnp.array([0.3, 0.2, 3.0])
    moved = leaf(eye)
    jt.silhouette(BALL, jt.look_at(moved), image_size=SIZE).sum().backward()
    np.testing.assert_allclose(moved.grad, jax.grad(covered)(eye), rtol=1e-4, atol=1e-4)
    drawn = jt.silhouette(BALL, CAMERA, image_size=SIZE, rasterizer=jr.Hard("antialias"))
    assert not drawn.requires_grad


def test_a_batch():
    eyes = torch.tensor([[0.0, 0, 3], [3, 0, 0.5]], requires_grad=True)

    def one(eye):
        return jr.silhouette(BALL, jr.look_at(eye), image_size=SIZE)

    both = jt.wrap(jax.vmap(one))(eyes)
    assert both.shape == (2, *SIZE)
    both.sum().backward()
    assert (eyes.grad != 0).any(1).all()


def test_no_gradient_is_kept_where_none_is_asked_for():
    vertices = leaf(BALL.vertices)
    with torch.no_grad():
        assert not jt.project(vertices, CAMERA).requires_grad
    fragments = jt.rasterize_hard(
        jr.ScreenMesh(jt.project(vertices, CAMERA), BALL.faces), image_size=SIZE
    )
    assert fragments.depth.requires_grad
    assert not fragments.face.requires_grad


def test_writing_to_an_input_spoils_no_gradient():
    x = torch.rand(5, requires_grad=True)
    y = (x + 1).clone()
    result = jt.wrap(lambda y: y * y)(y)
    y += 1
    result.sum().backward()
    torch.testing.assert_close(x.grad, 2 * (x.detach() + 1))


def test_second_derivatives_are_refused():
    x = torch.rand(3, requires_grad=True)
    (first,) = torch.autograd.grad(jt.wrap(jnp.sin)(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"does not require grad|once_differentiable"):
        first.sum().backward()


def test_new_values_compile_nothing():
    traces = []

    def blurred(x, sigma, *, power):
        traces.append(power)
        return (x / sigma) ** power

    function = jt.wrap(blurred)
    for sigma in (0.1, 0.2, torch.tensor(0.3), torch.tensor(0.4)):
        x = torch.rand(3, requires_grad=True)
        function(x, sigma, power=2).sum().backward()
    assert len(traces) == 2  # a number of Python, and a tensor
    function(torch.rand(3), 0.1, power=3)
    assert len(traces) == 3


def test_a_mesh_is_checked():
    vertices, faces = tensor(BALL.vertices), tensor(BALL.faces)
    with pytest.raises(ValueError, match=r"`mesh\.faces`"):
        jt.render(jr.Mesh(vertices, faces + 1), CAMERA, image_size=SIZE)
    with pytest.raises(ValueError, match=r"`mesh\.vertices` must be finite"):
        jt.render(jr.Mesh(vertices * np.inf, faces), CAMERA, image_size=SIZE)
    with pytest.raises(ValueError, match="`image_size`"):
        jt.render(jr.Mesh(vertices, faces), CAMERA, image_size=(0, 3))


def test_the_core_imports_no_torch():
    code = "import sys, jaxrender; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
