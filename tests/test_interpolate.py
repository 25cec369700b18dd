"""`interpolate`, and the pictures that are made with it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit
from reference import soup

import jaxrender as jr

SIZE = (12, 17)


def scene(seed: int = 0, *, perspective: bool = True, dtype=np.float32):
    vertices, faces = soup(seed, 12, crossing=perspective)
    screen = jr.ScreenMesh(jnp.asarray(vertices, dtype), jnp.asarray(faces), perspective)
    return screen, jr.rasterize_hard(screen, image_size=SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("perspective", [True, False])
def test_against_a_loop(perspective):
    screen, seen = scene(perspective=perspective)
    random = np.random.default_rng(0)
    attributes, own = random.normal(size=(7, 4)), random.integers(0, 7, screen.faces.shape)
    got = jr.interpolate(np.float32(attributes), seen, own)
    want = np.zeros((*SIZE, 4))
    for i, j in np.ndindex(*SIZE):
        if seen.face[i, j] >= 0:
            want[i, j] = np.asarray(seen.barycentrics[i, j]) @ attributes[own[seen.face[i, j]]]
    np.testing.assert_allclose(got, want, atol=1e-5)
    one = jr.interpolate(np.float32(attributes[:, 2]), seen, own)
    np.testing.assert_array_equal(one, got[..., 2])
    assert 20 < (seen.face >= 0).sum() < SIZE[0] * SIZE[1]


@pytest.mark.thorough
@pytest.mark.parametrize("perspective", [True, False])
def test_changes_from_pixel_to_pixel(x64, perspective):
    """As the same face has them next to the pixel; also where it passes behind the camera."""
    screen, seen = scene(3, perspective=perspective, dtype=np.float64)
    attributes = np.random.default_rng(1).normal(size=(len(screen.vertices), 2))
    here, change = jr.interpolate(attributes, seen, screen.faces, screen=screen)

    # Draw each face on its own, moved by a little in place of the pixel.
    @jit
    def ends(face, way):
        def there(moved):
            alone = jr.ScreenMesh(moved, face[None], perspective)
            fragments = jr.rasterize_hard(alone, image_size=SIZE)
            return jr.interpolate(attributes, fragments, face[None]), fragments.face

        return there(screen.vertices + way[None]), there(screen.vertices - way[None])

    step, checked = 1e-5, 0
    for index in np.unique(seen.face[seen.face >= 0]):
        mask = np.asarray(seen.face == index)
        for k, way in enumerate([[-2 / SIZE[1], 0, 0], [0, 2 / SIZE[0], 0]]):
            (up, face_up), (down, face_down) = ends(screen.faces[index], step * jnp.array(way))
            slope = (up - down) / (2 * step)
            mask = mask & np.asarray((face_up == 0) & (face_down == 0))
            np.testing.assert_allclose(
                change[..., k][mask], slope[mask], atol=1e-6 * np.abs(slope).max() + 1e-9
            )
        checked += mask.sum()
    assert checked > 20
    assert (change[seen.face < 0] == 0).all()
    np.testing.assert_array_equal(here, jr.interpolate(attributes, seen, screen.faces))


@pytest.mark.thorough
def test_gradient(x64):
    screen, _ = scene(2, dtype=np.float64)
    attributes = jax.random.normal(jax.random.key(0), (len(screen.vertices), 2), jnp.float64)

    def both(vertices, attributes):
        moved = jr.ScreenMesh(vertices, screen.faces)
        seen = jr.rasterize_hard(moved, image_size=(5, 6))
        return jr.interpolate(attributes, seen, screen.faces, screen=moved)

    args = screen.vertices, attributes
    ways = [jax.random.normal(jax.random.key(k), a.shape, a.dtype) for k, a in enumerate(args)]
    here, along = jit(lambda a, w: jax.jvp(both, a, w))(args, tuple(ways))
    step, quick = 1e-7, jit(both)
    ends = [
        quick(*(a + sign * w for a, w in zip(args, ways, strict=True))) for sign in (step, -step)
    ]
    for part, up, down in zip(along, *ends, strict=True):
        slope = (up - down) / (2 * step)
        same = np.isclose(part, slope, rtol=1e-4, atol=1e-4 * np.abs(part).max())
        assert same.mean() > 0.95  # a pixel may see another face
    upstream = jax.tree.map(jnp.cos, here)
    pulled = jit(lambda args, upstream: jax.vjp(both, *args)[1](upstream))(args, upstream)
    want = sum((a * b).sum() for a, b in zip(pulled, ways, strict=True))
    got = sum((a * b).sum() for a, b in zip(along, upstream, strict=True))
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.slow
def test_recipes():
    """Positions, normals, uv, labels and ids of what pixels see, as the docstring has them."""
    ball, view = jr.shapes.icosphere(2), jr.look_at((0.0, 0.3, 2.5))
    screen = jr.ScreenMesh(jr.project(ball.vertices, view), ball.faces)
    seen = jr.rasterize_hard(screen, image_size=SIZE)
    covered = seen.face >= 0
    position = jr.interpolate(ball.vertices, seen, ball.faces)
    normal = jr.interpolate(jr.vertex_normals(ball.vertices, ball.faces), seen, ball.faces)
    # On a ball a normal is the position, over the radius.
    radius = np.linalg.norm(ball.vertices[0])
    np.testing.assert_allclose(normal[covered], position[covered] / radius, atol=0.02)
    depth = position @ view.rotation[2] + view.translation[2]
    np.testing.assert_allclose(depth[covered], seen.depth[covered], rtol=1e-5)
    labels = jnp.arange(len(ball.faces)) % 5
    label = jnp.where(covered, labels[seen.face], -1)
    assert set(np.unique(label)) == {-1, 0, 1, 2, 3, 4}


def test_no_faces():
    screen = jr.ScreenMesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32))
    seen = jr.rasterize_hard(screen, image_size=SIZE)
    here, change = jr.interpolate(jnp.ones((2, 3)), seen, screen.faces, screen=screen)
    assert here.shape == (*SIZE, 3)
    assert change.shape == (*SIZE, 3, 2)
    assert not here.any()
    assert not change.any()


def test_no_faces_have_the_dtype_of_faces(x64):
    """Nothing to see changes no dtype, where JAX's default is another one."""
    results = []
    for count in (0, 1):
        faces = jnp.zeros((count, 3), jnp.int32)
        screen = jr.ScreenMesh(jnp.ones((3, 3), jnp.float32), faces)
        seen = jr.Fragments(
            face=jnp.full(SIZE, -1, jnp.int32),
            barycentrics=jnp.zeros((*SIZE, 3), jnp.float32),
            depth=jnp.zeros(SIZE, jnp.float32),
        )
        attributes = jnp.ones((3, 2), jnp.float32)
        results.append(jr.interpolate(attributes, seen, faces, screen=screen))
    empty, whole = results
    assert [array.dtype for array in empty] == [array.dtype for array in whole] == ["float32"] * 2


def test_errors():
    screen, seen = scene()
    with pytest.raises(ValueError, match="`fragments` must be Fragments, got ScreenMesh"):
        jr.interpolate(screen.vertices, screen, screen.faces)
    with pytest.raises(ValueError, match=r"`attributes` must be \[N, K\] or \[N\]"):
        jr.interpolate(jnp.ones((1, 2, 3)), seen, screen.faces)
    with pytest.raises(ValueError, match="`faces` must index 2 vertices"):
        jr.interpolate(jnp.ones((2, 3)), seen, screen.faces)
    with pytest.raises(ValueError, match="`screen` must be a ScreenMesh"):
        jr.interpolate(screen.vertices, seen, screen.faces, screen=screen.vertices)
