"""`fitting.remesh`: the surface stays, its triangles become alike, what is on it comes along."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxrender as jr
from jaxrender import fitting

BALL = jr.shapes.icosphere(2)
LONG = BALL.with_vertices(BALL.vertices * jnp.array([[4.0, 1.0, 1.0]]))


def edges(mesh):
    corners = np.asarray(mesh.vertices)[np.asarray(mesh.faces)]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1)


@pytest.fixture(scope="module")
def made():
    pytest.importorskip("gpytoolbox")
    painted = dataclasses.replace(LONG, texture=jr.VertexColors(0.5 + 0.5 * BALL.vertices))
    return fitting.remesh(painted, edge_length=0.3)


def test_edges_are_alike(made):
    assert abs(edges(made.mesh).mean() - 0.3) < 0.05
    assert edges(made.mesh).std() < 0.2 * edges(made.mesh).mean() < edges(LONG).std()
    inside = (np.asarray(made.mesh.vertices) / [4, 1, 1]) ** 2
    assert (abs(inside.sum(1) - 1) < 0.2).all()
    assert len(np.unique(np.sort(made.mesh.faces, axis=1), axis=0)) == len(made.mesh.faces)


def test_whole_numbers_are_floats():
    pytest.importorskip("gpytoolbox")
    cube = jr.shapes.cube(2.0)
    whole = jr.Mesh(np.asarray(cube.vertices, int), cube.faces)
    found, wanted = (fitting.remesh(mesh, edge_length=0.5) for mesh in (whole, cube))
    np.testing.assert_array_equal(found.mesh.vertices, wanted.mesh.vertices)
    np.testing.assert_array_equal(found.barycentrics, wanted.barycentrics)


def test_colors_and_state_come_along(made):
    """Both are linear in the place here, so they are exact."""
    np.testing.assert_allclose(made.carry(LONG.vertices), made.mesh.vertices, atol=1e-5)
    wanted = 0.5 + 0.5 * np.asarray(made.mesh.vertices) / [4, 1, 1]
    np.testing.assert_allclose(made.mesh.texture.colors, wanted, atol=1e-5)
    state = optax.adam(0.1).init(LONG.vertices)
    moved = made.carry(state)
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    assert moved[0].mu.shape == made.mesh.vertices.shape
    assert moved[0].count is state[0].count


def test_texture_coordinates(made):
    """A square in two charts: each corner of a new face has the coordinates of its own chart."""
    corners = jnp.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = jnp.array([[0, 1, 2], [0, 2, 3]])
    uv = jnp.array([[0.0, 0], [0.4, 0], [0.4, 0.4], [0.6, 0.6], [1, 1], [0.6, 1]])
    texture = jr.UVTexture(jnp.ones((4, 4, 3)), uv, jnp.arange(6).reshape(2, 3))
    square = jr.Mesh(corners, faces, texture)
    found = fitting.remesh(jr.subdivide(square, 3), edge_length=0.1).mesh
    seen = np.asarray(found.texture.uv)[np.asarray(found.texture.faces)]
    high = (seen > 0.5).all((1, 2))
    assert (high | (seen < 0.5).all((1, 2))).all()
    place = np.asarray(found.vertices)[np.asarray(found.faces), :2]
    below = (place[..., 1] <= place[..., 0]).all(1) & ~high
    assert below.sum() > 20
    np.testing.assert_allclose(seen[below], 0.4 * place[below], atol=1e-5)


def test_colors_of_faces_and_number_of_vertices(made):
    texels = (BALL.vertices[BALL.faces].mean(1)[:, 0] > 0).astype(float)[:, None, None, None]
    found = fitting.remesh(dataclasses.replace(LONG, texture=jr.FaceTexels(texels)), vertices=400)
    assert abs(len(found.mesh.vertices) - 400) < 60
    middles = np.asarray(found.mesh.vertices)[np.asarray(found.mesh.faces)].mean(1)[:, 0]
    right = (middles > 0) == (np.asarray(found.mesh.texture.texels)[:, 0, 0, 0] > 0.5)
    assert right[abs(middles) > 1.2].all()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"edge_length": -1.0}, "`edge_length`"),
        ({"vertices": 0}, "`vertices`"),
        ({"vertices": 10, "edge_length": 0.1}, "`vertices`"),
        ({"iterations": 0.5}, "`iterations`"),
    ],
)
def test_bad_input(how, says):
    with pytest.raises(ValueError, match=says):
        fitting.remesh(LONG, **how)


def test_bad_meshes(made):
    with pytest.raises(ValueError, match="traced"):
        jax.jit(lambda v: fitting.remesh(LONG.with_vertices(v)).mesh)(LONG.vertices)
    cubes = jr.FaceCubes(jnp.ones((len(LONG.faces), 2, 2, 2, 3)))
    with pytest.raises(ValueError, match="texture"):
        fitting.remesh(dataclasses.replace(LONG, texture=cubes))
    with pytest.raises(ValueError, match="corners"):
        fitting.remesh(LONG.with_vertices(0 * LONG.vertices))
    fan = jr.Mesh(jnp.eye(5, 3), jnp.array([[0, 1, 2], [0, 1, 3], [1, 0, 4]]))
    fan = fan.with_vertices(jnp.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match="two faces"):
        fitting.remesh(fan)
