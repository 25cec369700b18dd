"""`subdivide`: the same picture from four times as many faces."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from quick import jit

import jaxrender as jr

SIZE = (24, 24)


def textures(mesh):
    """Textures of every kind, of several sizes, by name."""
    random = np.random.default_rng(0)
    vertices, faces = len(mesh.vertices), len(mesh.faces)

    def some(*shape):
        return random.uniform(size=shape).astype(np.float32)

    uv_faces = random.integers(0, 30, (faces, 3))
    pages = np.array([[0, 5, 7], [5, 3, 4]])[np.arange(faces) % 2]
    return {
        "none": None,
        "colors": jr.VertexColors(some(vertices, 3)),
        **{f"texels {r}": jr.FaceTexels(some(faces, r, r, 3)) for r in (1, 2, 3, 4, 6)},
        **{f"cubes {t}": jr.FaceCubes(some(faces, t, t, t, 3)) for t in (1, 2, 3, 4, 5)},
        "uv": jr.UVTexture(some(8, 8, 3), some(30, 2), uv_faces),
        "pages": jr.UVTexture(some(8, 7, 3), 2 * some(30, 2) - 0.5, uv_faces, pages, "clamp"),
        "samplers": jr.UVTexture(
            some(8, 7, 3),
            some(30, 2),
            uv_faces,
            tint=some(30, 3),
            samplers=random.integers(0, 2, (faces, 3)) * [1, 1, 0],
        ),
    }


def ball() -> jr.Mesh:
    """Uneven, so that no sample lies on an edge but by chance."""
    mesh = jr.shapes.icosphere(0)
    random = np.random.default_rng(1).uniform(0.8, 1.2, (len(mesh.vertices), 1))
    return dataclasses.replace(mesh, vertices=mesh.vertices * random.astype(np.float32))


BALL = ball()


def subdivided_slowly(vertices, faces):
    """One edge after the other."""
    vertices, middles, finer = [*np.float64(vertices)], {}, []
    sides = np.asarray(faces)[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    edges = sorted({(min(i, j), max(i, j)) for i, j in sides.tolist()})
    for edge in edges:
        middles[edge] = len(vertices)
        vertices.append((vertices[edge[0]] + vertices[edge[1]]) / 2)
    for a, b, c in faces:
        ab, bc, ca = (middles[min(i, j), max(i, j)] for i, j in ((a, b), (b, c), (c, a)))
        finer += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return np.array(vertices), np.array(finer)


@pytest.mark.slow
def test_vertices_and_faces():
    mesh = ball()
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    for times in range(3):
        fine = jr.subdivide(mesh, times)
        np.testing.assert_allclose(fine.vertices, vertices, atol=1e-6)
        np.testing.assert_array_equal(fine.faces, faces)
        vertices, faces = subdivided_slowly(vertices, faces)

    # A seam of two vertices at each place stays one: only shared edges share a vertex.
    split = jr.Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), jnp.arange(60).reshape(-1, 3))
    assert jr.subdivide(split).vertices.shape == (60 + 60, 3)


@pytest.mark.cases(2)
@pytest.mark.thorough
@pytest.mark.parametrize("kind", textures(ball()))
def test_the_surface_looks_the_same(kind):
    """At the same points, by their barycentrics in a face and in its quarter."""
    mesh = ball()
    mesh = dataclasses.replace(mesh, texture=textures(mesh)[kind])
    fine = jr.subdivide(mesh, 2)
    random = np.random.default_rng(2)
    face = random.integers(0, len(fine.faces), 4000)
    inside = random.dirichlet([1, 1, 1], 4000)
    points = (np.asarray(fine.vertices)[fine.faces[face]] * inside[..., None]).sum(1)

    # Find them in the coarse face.
    corners = np.asarray(mesh.vertices, np.float64)[mesh.faces[face // 16]]
    coarse = np.linalg.solve(corners.transpose(0, 2, 1), points[..., None])[..., 0]
    np.testing.assert_allclose(coarse.sum(1), 1, atol=1e-5)
    got = jr.sample_texture(fine.texture, fine.faces, face, jnp.asarray(inside, jnp.float32))
    want = jr.sample_texture(mesh.texture, mesh.faces, face // 16, jnp.asarray(coarse, jnp.float32))
    # Texels jump at their edges, where rounding decides.
    off = np.abs(got - want).max(1) > 1e-4
    assert off.mean() <= (1e-3 if "texels" in kind else 0)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "colors", "texels 3", "cubes 4", "pages"])
def test_the_picture_is_the_same(kind):
    mesh = ball()
    mesh = dataclasses.replace(mesh, texture=textures(mesh)[kind])
    camera = jr.look_at((0.7, 1.0, -2.5))

    @jit
    def draw(mesh):
        screen = jr.ScreenMesh(jr.project(mesh.vertices, camera, image_size=SIZE), mesh.faces)
        seen = jr.rasterize_hard(screen, image_size=SIZE)
        return seen, jr.shade(seen, mesh, shading="flat")

    (seen, colors), (fine, fine_colors) = draw(mesh), draw(jr.subdivide(mesh))
    assert (seen.face >= 0).mean() > 0.2
    np.testing.assert_array_equal(seen.face, np.where(fine.face < 0, -1, fine.face // 4))
    np.testing.assert_allclose(fine.depth, seen.depth, rtol=1e-5)
    off = np.abs(fine_colors - colors).max(-1) > 1e-4
    assert off.mean() <= (0.02 if "texels" in kind else 0)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["colors", "texels 3", "cubes 4", "uv"])
def test_gradient(kind):
    mesh = ball()
    texture = textures(mesh)[kind]
    known = texture.faces if isinstance(texture, jr.UVTexture) else None
    leaves = [jnp.asarray(leaf, float) for leaf in jax.tree.leaves(texture)[: 1 + (kind == "uv")]]

    def fine(vertices, *leaves):
        dressed = type(texture)(*leaves, *([] if known is None else [known]))
        found = jr.subdivide(jr.Mesh(vertices, mesh.faces, dressed))
        return [found.vertices, *jax.tree.leaves(found.texture)[: len(leaves)]]

    args = jnp.asarray(mesh.vertices, float), *leaves
    for got, want in zip(jax.jit(fine)(*args), fine(*args), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)
        assert got.dtype == np.float64
    check_grads(jax.jit(fine), args, order=1, modes=["fwd", "rev"], rtol=1e-6)
    many = jnp.stack([args[0], 2 * args[0]])
    together = jax.vmap(lambda vertices: fine(vertices, *leaves)[0])(many)
    np.testing.assert_allclose(together[1], 2 * together[0])


@pytest.mark.slow
def test_empty_and_degenerate_meshes():
    nothing = jr.Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32))
    assert jr.subdivide(nothing, 2).faces.shape == (0, 3)
    padding = jr.Mesh(jnp.ones((2, 3)), jnp.zeros((1, 3), jnp.int32))
    fine = jr.subdivide(padding)
    assert fine.faces.shape == (4, 3)
    assert (fine.vertices == 1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jr.subdivide(3), "`mesh` must be a Mesh"),
        (lambda: jr.subdivide(ball(), -1), "`times` must be a whole number from 0"),
        (lambda: jr.subdivide(ball(), 1.0), "`times` must be a whole number from 0"),
        (lambda: jr.subdivide(ball(), True), "`times` must be a whole number from 0"),
        (lambda: jax.jit(jr.subdivide)(ball()), "`mesh.faces` must be known"),
        (lambda: jr.subdivide(jr.Mesh(jnp.zeros((3, 3)), [[0, 1, 3]])), "must index 3 vertices"),
        (
            lambda: jax.jit(lambda uv: jr.subdivide(dataclasses.replace(BALL, texture=uv)))(
                textures(BALL)["uv"]
            ),
            "`mesh.texture.faces` must be known",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
