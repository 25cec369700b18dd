"""`pad_meshes` and `stack_meshes`: padding is never seen, and takes no gradient."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit

import jaxrender as jr

SIZE = (20, 24)
RASTERIZERS = {
    "hard": None,
    "nmr": jr.Hard(visibility_gradient="nmr"),
    "soft": jr.Soft(sigma=1e-3, gamma=1e-2),
}


def dressed(kind):
    """A cube, an icosphere and a mesh without faces, in textures of one kind."""
    rng = np.random.default_rng(0)
    found = []
    for shape in (jr.shapes.cube(), jr.shapes.icosphere(1)):
        vertices, faces = shape.vertices.shape[0], shape.faces.shape[0]
        texture = {
            "none": lambda: None,
            "colors": lambda v=vertices: jr.VertexColors(rng.uniform(size=(v, 3))),
            "texels": lambda f=faces: jr.FaceTexels(rng.uniform(size=(f, 2, 2, 3))),
            "cubes": lambda f=faces: jr.FaceCubes(rng.uniform(size=(f, 2, 2, 2, 3))),
            "uv": lambda v=vertices, s=shape: jr.UVTexture(
                rng.uniform(size=(5, 4, 3)), rng.uniform(size=(v, 2)), s.faces
            ),
            "pages": lambda v=vertices, s=shape: jr.UVTexture(
                rng.uniform(size=(6, 4, 3)),
                rng.uniform(size=(v, 2)),
                s.faces,
                np.tile([[2, 3, 4]], (s.faces.shape[0], 1)),
            ),
        }[kind]()
        found.append(jr.Mesh(shape.vertices, shape.faces, texture))
    return found


def draw(mesh, rasterizer):
    image = jr.render(
        mesh, jr.look_at((0.7, 1.0, 2.5)), image_size=SIZE, near=1.0, rasterizer=rasterizer
    )
    return jnp.concatenate([image.rgb, image.alpha[..., None]], -1)


picture = jit(lambda mesh: draw(mesh, None))


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["none", "colors", "texels", "cubes", "uv", "pages"])
def test_padding_is_not_seen(kind):
    meshes = dressed(kind)
    padded = jr.pad_meshes(meshes)
    assert len({tuple(map(jnp.shape, jax.tree.leaves(mesh))) for mesh in padded}) == 1
    stacked = jr.stack_meshes(meshes)
    together = jit(jax.vmap(lambda mesh: draw(mesh, None)))(stacked)
    for index, mesh in enumerate(meshes):
        alone = picture(mesh)
        assert alone[..., 3].max() == 1
        np.testing.assert_allclose(picture(padded[index]), alone, atol=1e-6)
        np.testing.assert_allclose(together[index], alone, atol=1e-6)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("name", RASTERIZERS)
def test_padding_has_no_gradient(name):
    meshes = dressed("colors")
    upstream = np.random.default_rng(1).normal(size=(*SIZE, 4)).astype(np.float32)

    def loss(vertices, mesh):
        mesh = dataclasses.replace(mesh, vertices=vertices)
        return jnp.sum(draw(mesh, RASTERIZERS[name]) * upstream)

    stacked = jr.stack_meshes(meshes)
    together = jit(jax.vmap(jax.grad(loss)))(stacked.vertices, stacked)
    for got, mesh in zip(together, meshes, strict=True):
        wanted = jit(jax.grad(loss))(mesh.vertices, mesh)
        count = len(wanted)
        assert np.abs(wanted).max() > 0.01
        np.testing.assert_allclose(got[:count], wanted, rtol=1e-3, atol=1e-3)
        assert (got[count:] == 0).all()


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("kind", [0, 1])
def test_what_counts_faces_or_corners_leaves_padding_out(kind):
    """Also where the first vertex, which padding repeats, is in no face."""
    alone = jr.shapes.cube()
    if kind:
        vertices = jnp.concatenate([jnp.full((1, 3), 0.45), 0.5 * alone.vertices])
        alone = jr.Mesh(vertices, alone.faces + 1)
    padded, _ = jr.pad_meshes([alone, jr.shapes.icosphere(1)])
    count = len(alone.vertices)

    def normalized(vertices, faces):
        weights = jnp.arange(3.0 * count).reshape(count, 3)
        return jnp.sum(jr.normalize(jr.Mesh(vertices, faces)).vertices[:count] ** 2 * weights)

    def covered(mesh):
        soft = jr.Soft(sigma=1e-3, aggregate_alpha="sum")
        camera = jr.look_at((0.7, 1.0, -2.5))
        return jr.silhouette(mesh, camera, image_size=SIZE, rasterizer=soft)

    for function in (covered, lambda mesh: jr.voxelize(mesh.vertices, mesh.faces, resolution=8)):
        np.testing.assert_allclose(jit(function)(padded), jit(function)(alone), atol=1e-6)
    normals = jit(lambda mesh: jr.vertex_normals(mesh.vertices, mesh.faces))
    np.testing.assert_allclose(normals(padded)[:count], normals(alone), atol=1e-6)
    slope = jit(jax.value_and_grad(normalized))
    found = (slope(mesh.vertices, mesh.faces) for mesh in (padded, alone))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got[:count] if got.ndim else got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_mesh_without_faces_fits_in():
    nothing = jr.Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32))
    padded, cube = jr.pad_meshes([nothing, jr.shapes.cube()])
    assert padded.faces.shape == cube.faces.shape
    assert (picture(padded) == 0).all()


@pytest.mark.slow
def test_the_box_stays():
    cube = jr.Mesh(jr.shapes.cube().vertices + 5, jr.shapes.cube().faces)
    padded, _ = jr.pad_meshes([cube, jr.shapes.icosphere(1)])
    assert (padded.vertices.min(0) == cube.vertices.min(0)).all()
    assert (padded.vertices[:8] == cube.vertices).all()


@pytest.mark.parametrize(
    ("meshes", "message"),
    [
        ([], "at least one mesh"),
        ([jr.shapes.cube(), 3], r"meshes\[1\]` must be a Mesh, got int"),
        ([dressed("colors")[0], dressed("none")[1]], "no texture"),
        ([dressed("colors")[0], dressed("texels")[1]], "one kind"),
        (
            [
                jr.Mesh(
                    *jax.tree.leaves(jr.shapes.cube()), jr.VertexColors(jnp.ones((8, channels)))
                )
                for channels in (3, 4)
            ],
            "same channels",
        ),
        ([jr.Mesh(jnp.zeros((3, 2)), jnp.zeros((1, 3), jnp.int32))], r"meshes\[0\].vertices"),
    ],
)
def test_what_cannot_be_stacked(meshes, message):
    with pytest.raises(ValueError, match=message):
        jr.stack_meshes(meshes)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("name", [*RASTERIZERS, "silhouette", "voxelize"])
def test_devices_are_told_apart(name):
    """`jax.shard_map` accepts it all, checks included, differentiated inside and outside."""
    devices = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("devices",))
    everywhere, dealt = (jax.sharding.PartitionSpec(*axes) for axes in ((), ("devices",)))
    ball = jr.shapes.icosphere(0)

    def loss(vertices, eye):
        mesh = dataclasses.replace(ball, vertices=vertices)
        view = {"image_size": SIZE, "near": 1.0}
        if name == "voxelize":
            filled = jr.voxelize(vertices + eye[None], ball.faces, resolution=4)
            return (vertices.sum() * filled).sum()
        if name == "silhouette":
            return jr.silhouette(mesh, jr.look_at(eye), rasterizer=jr.Soft(), **view).sum()
        image = jr.render(mesh, jr.look_at(eye), rasterizer=RASTERIZERS[name], **view)
        return image.rgb.sum() + image.alpha.sum() + image.depth.sum()

    def over_views(vertices, eyes):
        losses = jax.vmap(loss, (None, 0))(vertices, eyes)
        return jax.lax.psum(losses.sum(), "devices")

    def over_meshes(vertices, eye):
        return jax.vmap(jax.grad(loss), (0, None))(vertices, eye)

    def spread(function, *specs, out):
        return jax.shard_map(function, mesh=devices, in_specs=specs, out_specs=out)

    views = jax.grad(spread(over_views, everywhere, dealt, out=everywhere))
    eyes = jnp.array([[0.0, 0.0, -3.0], [0.0, 1.0, -3.0]])
    assert jax.eval_shape(views, ball.vertices, eyes).shape == (12, 3)
    meshes = spread(over_meshes, dealt, everywhere, out=dealt)
    many = jnp.stack([ball.vertices] * 2)
    assert jax.eval_shape(meshes, many, eyes[0]).shape == (2, 12, 3)


@pytest.mark.slow
@pytest.mark.parametrize("rasterizer", RASTERIZERS.values(), ids=RASTERIZERS)
def test_a_batch_of_none_is_empty(rasterizer):
    """As what a filter leaves of a batch may be."""
    cube, camera = jr.shapes.cube(), jr.look_at((0, 1, 3))
    none = jnp.zeros((0, *cube.vertices.shape))

    def draw(vertices):
        mesh = jr.Mesh(vertices, cube.faces)
        return jr.render(mesh, camera, image_size=SIZE, rasterizer=rasterizer)

    def total(vertices):
        return draw(vertices).rgb.sum()

    assert jax.vmap(draw)(none).rgb.shape == (0, *SIZE, 3)
    assert jax.vmap(jax.vmap(draw))(none[None]).alpha.shape == (1, 0, *SIZE)
    assert jax.vmap(jax.grad(total))(none).shape == none.shape
    # What all examples share gets no gradient from none.
    weighted = jax.vmap(lambda weight, vertices: weight * total(vertices), (0, None))
    slope = jax.grad(lambda vertices: weighted(jnp.zeros(0), vertices).sum())(cube.vertices)
    assert not slope.any()
