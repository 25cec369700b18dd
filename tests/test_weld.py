"""`weld` joins what files split, and keeps what corners have; losses warn of what is split."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_files import face_colors, load, write
from quick import jit

import jaxrender as jr
from jaxrender import losses

flatten_quickly = jit(losses.flatten)


def split(mesh: jr.Mesh, **rest) -> jr.Mesh:
    """The mesh with a vertex of its own for each corner."""
    corners = jnp.arange(mesh.faces.size, dtype=jnp.int32).reshape(mesh.faces.shape)
    return jr.Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), corners, **rest)


def flatten_of(mesh: jr.Mesh) -> float:
    topology = losses.mesh_topology(mesh.faces, len(mesh.vertices))
    jax.eval_shape(lambda: losses.flatten(mesh.vertices, topology))  # warns of what is known
    return float(flatten_quickly(mesh.vertices, topology))


@pytest.mark.slow
def test_vertices_at_one_place_become_one():
    ball = jr.shapes.icosphere(1)
    torn = split(ball)
    whole = jr.weld(torn)
    corners = np.asarray(torn.vertices)[np.asarray(torn.faces)]
    assert len(whole.vertices) == len(ball.vertices)
    np.testing.assert_array_equal(np.asarray(whole.vertices)[np.asarray(whole.faces)], corners)
    # In the order of their first, and nothing to do is nothing done.
    _, first = np.unique(np.asarray(ball.faces), return_index=True)
    np.testing.assert_array_equal(whole.vertices, torn.vertices[np.sort(first)])
    assert jr.weld(whole) is whole
    assert jr.weld(dataclasses.replace(torn, vertices=torn.vertices * 0)).vertices.shape == (1, 3)


def test_tolerance():
    """Corners of an STL file, apart by rounding."""
    square = jnp.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [1e-6, 0, 0], [1, 1, 1e-6]])
    mesh = jr.Mesh(square, jnp.array([[0, 1, 2], [4, 5, 3]]))
    assert jr.weld(mesh) is mesh
    whole = jr.weld(mesh, 2e-6)
    assert whole.vertices.tolist() == square[:4].tolist()
    assert whole.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert len(jr.weld(mesh, 2.0).vertices) == 1


def test_zero_has_no_sign():
    mesh = jr.Mesh(jnp.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, 0, 0]]), [[0, 1, 2]])
    assert len(jr.weld(mesh).vertices) == 3


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["glb", "ply"])
def test_blenders_cube_folds_again(cases, suffix):
    path = cases.path(f"blender/uvimage.{suffix}")
    torn, _ = load(path)
    whole, _ = load(path, weld=True)
    count, folds = {"glb": (24, 0), "ply": (14, 5)}[suffix]
    assert len(torn.vertices) == count
    with pytest.warns(UserWarning, match=r"split at seams.*weld"):
        np.testing.assert_allclose(flatten_of(torn), folds, atol=1e-3)
    assert len(whole.vertices) == 8
    np.testing.assert_allclose(flatten_of(whole), 12, rtol=1e-3)


@pytest.mark.slow
def test_what_corners_have_stays(cases):
    path = cases.path("blender/uvimage.glb")
    torn, _ = load(path)
    whole, _ = load(path, weld=True)
    assert len(whole.vertices) < len(torn.vertices)
    np.testing.assert_array_equal(whole.texture.uv, torn.texture.uv)
    np.testing.assert_array_equal(whole.texture.faces, torn.texture.faces)
    np.testing.assert_array_equal(whole.normals[whole.normal_faces], torn.normals[torn.faces])
    np.testing.assert_array_equal(face_colors(whole), face_colors(torn))


@pytest.mark.slow
def test_colours_that_differ_stay():
    cube = jr.shapes.cube()
    colors = np.random.default_rng(0).uniform(size=(36, 3)).astype(np.float32)
    torn = split(cube, texture=jr.VertexColors(jnp.asarray(colors), "linear"))
    whole = jr.weld(torn)
    assert len(whole.vertices) == 8
    assert whole.texture.encoding == "linear"
    np.testing.assert_allclose(face_colors(whole), face_colors(torn), atol=1e-6)
    # Those that do not differ stay what they are.
    alike = dataclasses.replace(torn, texture=jr.VertexColors(torn.vertices))
    assert isinstance(jr.weld(alike).texture, jr.VertexColors)
    np.testing.assert_array_equal(jr.weld(alike).texture.colors, jr.weld(alike).vertices)
    cubes = dataclasses.replace(torn, texture=jr.FaceTexels(jnp.ones((12, 1, 1, 3))))
    assert jr.weld(cubes).texture.texels.shape == (12, 1, 1, 3)
    # So do normals.
    smooth = dataclasses.replace(torn, normals=torn.vertices)
    assert jr.weld(smooth).normal_faces is None
    sharp = dataclasses.replace(torn, normals=jnp.asarray(colors))
    np.testing.assert_array_equal(jr.weld(sharp).normal_faces, torn.faces)


@pytest.mark.slow
def test_colours_may_be_traced():
    torn = split(jr.shapes.cube())

    def total(colors):
        whole = jr.weld(dataclasses.replace(torn, texture=jr.VertexColors(colors)))
        return jr.sample_texture(
            whole.texture, whole.faces, jnp.arange(12), jnp.full((12, 3), 1 / 3)
        ).sum()

    slope = jax.grad(total)(jnp.ones((36, 3)))
    np.testing.assert_allclose(slope, jnp.full((36, 3), 1 / 3), rtol=1e-6)


@pytest.mark.slow
def test_losses_warn_of_what_is_split():
    cube, sheet = jr.shapes.cube(), jr.shapes.cube().faces[:2]
    torn = split(cube)
    with pytest.warns(UserWarning, match="12 faces make 12 pieces"):
        topology = losses.mesh_topology(torn.faces, 36)
    with pytest.warns(UserWarning, match="all 36 edges on its boundary"):
        jax.eval_shape(lambda: losses.laplacian(torn.vertices, topology))
    # An unwrapped cube: cut along some edges alone.
    net = np.array(cube.faces)
    vertices = jnp.concatenate([cube.vertices, cube.vertices])
    net[:6] += 8
    topology = losses.mesh_topology(net, 16)
    with pytest.warns(UserWarning, match="edges on its boundary"):
        jax.eval_shape(lambda: losses.flatten(vertices, topology))
    # No word of a closed mesh, nor of one that is open.
    for faces in (cube.faces, sheet):
        topology = losses.mesh_topology(faces, 8)
        jax.eval_shape(lambda topology=topology: losses.flatten(cube.vertices, topology))


def test_bad_arguments(tmp_path):
    cube = jr.shapes.cube()
    for bad in (-1.0, np.nan, np.inf, "a", True, None):
        with pytest.raises(ValueError, match="`tolerance` must be a length"):
            jr.weld(cube, bad)
    with pytest.raises(ValueError, match="`mesh` must be a Mesh"):
        jr.weld(cube.vertices)
    with pytest.raises(ValueError, match="must be known to weld a mesh"):
        jax.jit(jr.weld)(cube)
    path = write(tmp_path / "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 0\nf 1 2 3\nf 4 2 3\n")
    assert len(load(path)[0].vertices) == 4
    assert len(load(path, weld=True)[0].vertices) == 3
    assert len(load(path, weld=1.0)[0].vertices) == 1
    # Flags of NumPy are flags, and no lengths.
    assert len(load(path, weld=np.True_)[0].vertices) == 3
    assert len(load(path, weld=np.False_)[0].vertices) == 4
    for bad in (-1.0, "yes", np.nan):
        with pytest.raises(ValueError, match="`weld` must be True, False or a length"):
            load(path, weld=bad)
