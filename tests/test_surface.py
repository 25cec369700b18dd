"""`orient_faces` and `vertex_normals(orient=True)`: neighbours agree about the front."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr


def uneven_ball(subdivisions=2) -> jr.Mesh:
    mesh = jr.shapes.icosphere(subdivisions)
    random = np.random.default_rng(0).uniform(0.8, 1.2, (len(mesh.vertices), 1))
    return dataclasses.replace(mesh, vertices=mesh.vertices * random.astype(np.float32))


def some_turned(faces, share=0.3, seed=1) -> np.ndarray:
    """Faces of which some go the other way around; their first corner stays."""
    faces = np.array(faces)
    chosen = np.random.default_rng(seed).uniform(size=len(faces)) < share
    faces[chosen] = faces[chosen][:, [0, 2, 1]]
    return faces


def directions(mesh) -> np.ndarray:
    return np.asarray(jr.face_normals(mesh.vertices, mesh.faces))


@pytest.mark.thorough
@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_normals_of_mixed_faces_are_those_of_the_right_ball(share):
    ball = uneven_ball()
    want = jr.vertex_normals(ball.vertices, ball.faces)
    faces = some_turned(ball.faces, share)
    assert np.abs(jr.vertex_normals(ball.vertices, faces) - want).max() > 0.5
    got = jr.vertex_normals(ball.vertices, faces, orient=True)
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_array_equal(jr.vertex_normals(ball.vertices, ball.faces, orient=True), want)

    # The faces themselves face outward, and are the same faces.
    oriented = jr.orient_faces(jr.Mesh(ball.vertices, faces))
    np.testing.assert_allclose(directions(oriented), directions(ball), atol=1e-5)
    np.testing.assert_array_equal(np.sort(oriented.faces), np.sort(faces))


@pytest.mark.slow
def test_faces_that_share_places_alone_are_neighbours():
    ball = uneven_ball()
    corners = ball.vertices[some_turned(ball.faces)].reshape(-1, 3)
    split = jr.Mesh(corners, jnp.arange(len(corners)).reshape(-1, 3))
    oriented = jr.orient_faces(split)
    np.testing.assert_allclose(directions(oriented), directions(ball), atol=1e-5)


@pytest.mark.thorough
def test_each_part_by_itself():
    """A closed part gets its front outside, an open one that of most of its faces."""
    ball, sheet = uneven_ball(1), jr.shapes.plane(segments=4)
    count = len(ball.vertices)
    inside_out = np.asarray(ball.faces)[:, ::-1]
    most_down = some_turned(sheet.faces, 0.7) + count
    mesh = jr.Mesh(
        np.concatenate([ball.vertices, sheet.vertices + 5]),
        np.concatenate([inside_out, most_down, some_turned(sheet.faces, 0.3) + count + 25]),
    )
    mesh = dataclasses.replace(mesh, vertices=np.concatenate([mesh.vertices, sheet.vertices - 5]))
    got = directions(jr.orient_faces(mesh))
    up = directions(sheet)
    want = np.concatenate([directions(ball), -up, up])
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_strip_with_a_twist_and_odd_edges():
    """Nothing is consistent there, but nothing breaks: only some edges stay torn."""
    turn = np.linspace(0, np.pi, 13)[:-1]
    rims = [
        np.stack([np.cos(2 * turn), np.sin(2 * turn), 0 * turn], -1)
        + side * np.stack([np.cos(2 * turn) * np.cos(turn), np.sin(2 * turn) * np.cos(turn),
                           np.sin(turn)], -1)
        for side in (-0.3, 0.3)
    ]  # fmt: skip
    a = np.arange(12)
    b, c, d = (a + 1) % 12, a + 12, (a + 1) % 12 + 12
    b[-1], d[-1] = 12, 0
    strip = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)])
    fin = [[0, 12, 24], [24, 24, 1]]  # a third face at an edge, and one that is none
    vertices = np.concatenate([*rims, [[2.0, 2, 2]]])
    mesh = jr.Mesh(vertices, np.concatenate([some_turned(strip), fin]))
    np.testing.assert_array_equal(
        np.sort(jr.orient_faces(mesh).faces), np.sort(np.asarray(mesh.faces))
    )
    nothing = jr.Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32))
    assert jr.orient_faces(nothing).faces.shape == (0, 3)


@pytest.mark.thorough
def test_textures_turn_with_their_faces():
    ball, random = uneven_ball(1), np.random.default_rng(2)
    faces, count = some_turned(ball.faces), len(ball.faces)
    uv_faces = random.integers(0, 9, (count, 3))
    for texture in (
        None,
        jr.VertexColors(random.uniform(size=(len(ball.vertices), 3))),
        jr.FaceTexels(random.uniform(size=(count, 3, 3, 3))),
        jr.FaceCubes(random.uniform(size=(count, 3, 3, 3, 3))),
        jr.UVTexture(random.uniform(size=(8, 8, 3)), random.uniform(size=(9, 2)), uv_faces),
    ):
        mesh = jr.Mesh(ball.vertices, faces, texture)
        oriented = jr.orient_faces(mesh)
        face = random.integers(0, count, 500)
        inside = random.dirichlet([1, 1, 1], 500)

        # Find where the same corners went.
        now = np.asarray(oriented.faces)[face]
        moved = np.stack(
            [(inside * (faces[face] == now[:, k : k + 1])).sum(1) for k in range(3)], -1
        )
        got = jr.sample_texture(oriented.texture, oriented.faces, face, jnp.asarray(moved))
        want = jr.sample_texture(mesh.texture, mesh.faces, face, jnp.asarray(inside))
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ball: jr.orient_faces(3), "`mesh` must be a Mesh"),
        (lambda ball: jax.jit(jr.orient_faces)(ball), "must be known to orient faces"),
        (
            lambda ball: jax.grad(lambda v: jr.vertex_normals(v, ball.faces, orient=True).sum())(
                ball.vertices
            ),
            "`vertices` and `faces` must be known",
        ),
        (
            lambda ball: jr.orient_faces(jr.Mesh(ball.vertices * jnp.nan, ball.faces)),
            "`mesh.vertices` must be finite",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(uneven_ball(0))
