"""The lens: its polynomial and the way back, and pictures with and without it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxrender as jr
from jaxrender._distortion import FARTHEST, bend, field, unbend

LENSES = {
    "none": (0.0, 0.0, 0.0, 0.0, 0.0),
    "barrel": (-0.35, 0.0, 0.0, 0.0, 0.0),
    "barrel, aside": (-0.35, 0.1, 1e-3, -2e-3, -0.02),
    "moustache": (-0.3, 0.25, 0.0, 1e-3, -0.05),
    "pincushion": (0.1, 0.05, 0.01, -0.02, 0.03),
    "strong": (-100.0, 0.0, 0.0, 0.0, 0.0),
}
K = np.array([[160.0, 0.0, 64.0], [0.0, 150.0, 50.0], [0.0, 0.0, 1.0]])
SIZE = (96, 128)

bent = jax.jit(bend)
unbent = jax.jit(unbend)
border = jax.jit(field)


def pinhole(lens="barrel, aside", matrix=K, size=SIZE, place=(0.0, 0.0, 4.0)) -> jr.Camera:
    return jr.pinhole(matrix, np.eye(3), place, LENSES[lens], image_size=size)


def bend_slowly(x, y, lens):
    """OpenCV's formula, in float64."""
    k1, k2, p1, p2, k3 = lens
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def border_slowly(lens) -> float:
    """The least root of f', by NumPy's roots of a polynomial."""
    k1, k2, _, _, k3 = lens
    roots = np.roots([7 * k3, 5 * k2, 3 * k1, 1])
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return min(np.sqrt(real.min()) if real.size else FARTHEST, FARTHEST)


def circle(radius: float, count: int = 100) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)])


def picture(shape=SIZE, seed: int = 0) -> np.ndarray:
    """Smooth colours `[H, W, 3]`."""
    v, u = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    waves = np.random.default_rng(seed).uniform(1, 4, (3, 2))
    return np.stack([0.5 + 0.4 * np.sin(a * u + b * v) for a, b in waves], -1).astype(np.float32)


# --- points -----------------------------------------------------------------------------------


@pytest.mark.cases(4)
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LENSES)
def test_polynomial_up_to_the_border_and_back(name, dtype, request):
    if dtype == np.float64:
        request.getfixturevalue("x64")
    lens, unit = jnp.asarray(LENSES[name], dtype), np.finfo(dtype).eps
    radius, ends = border(lens)
    reach = border_slowly(LENSES[name])
    np.testing.assert_allclose(radius, reach, rtol=30 * unit)
    assert bool(ends) == (reach < FARTHEST)
    for part in (0.0, 0.3, 0.9, 0.98, 0.999):
        x, y = circle(part * min(reach, 1.5)).astype(dtype)
        want = bend_slowly(np.float64(x), np.float64(y), LENSES[name])
        np.testing.assert_allclose(bent(x, y, lens), want, atol=10 * unit)
        *back, found = unbent(*np.asarray(want, dtype), lens)
        assert found.all()
        np.testing.assert_allclose(bent(*back, lens), want, atol=10 * unit)
        # At .999 of the border an error grows by a thousand. What moves aside may come back
        # before it does: then two points go to the same place.
        if part <= 0.9 or not any(LENSES[name][2:4]):
            np.testing.assert_allclose(back, [x, y], atol=20 * unit * min(1 / (1 - part), 1e3))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", LENSES)
def test_goes_on_along_the_tangent(name):
    lens = jnp.asarray(LENSES[name]).at[2:4].set(0)
    k1, k2, _, _, k3 = np.asarray(lens)
    reach = border_slowly(lens)

    def f(r):
        return r * (1 + k1 * r**2 + k2 * r**4 + k3 * r**6)

    slope = 1 + 3 * k1 * reach**2 + 5 * k2 * reach**4 + 7 * k3 * reach**6
    for factor in (1 + 1e-9, 1.001, 1.5, 0.999 * FARTHEST / reach, 2e0 * FARTHEST / reach):
        x, y = circle(factor * reach)
        got = np.array(bent(x, y, lens))
        want = f(reach) + slope * (factor - 1) * reach
        if factor * reach > FARTHEST and abs(slope) < 1e-6:
            want = f(reach) / reach * (factor * reach - FARTHEST) + f(reach)
        if factor > 1:
            np.testing.assert_allclose(got, circle(want), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LENSES)
def test_does_not_fold(name):
    """Along a ray the place on screen never comes back, nor leaves its direction, nor ends."""
    lens = jnp.asarray(LENSES[name], jnp.float32)
    r = np.geomspace(1e-3, 1e15, 400).astype(np.float32)
    for way in circle(1.0, 12).T.astype(np.float32):
        x, y = np.float64(bent(r * way[0], r * way[1], lens))
        along = x * way[0] + y * way[1]
        inside = r < border_slowly(LENSES[name])
        assert np.isfinite(along).all()
        grown = np.diff(np.maximum.accumulate(along) - along)
        # What p1 and p2 move aside may come back just before the border, but little.
        assert grown.max() < (1e-2 if any(LENSES[name][2:4]) else 1e-6) * (1 + along.max() * 1e-6)
        assert along[~inside].min(initial=np.inf) > 0.9 * along[inside].max(initial=0)
        assert along[-1] > 1e10


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", LENSES)
def test_gradient_of_points(name):
    lens = jnp.asarray(LENSES[name])
    reach = min(border_slowly(LENSES[name]), 1.2)
    for part in (0.5, 0.97):
        x, y = jnp.asarray(circle(part * reach, 7))
        check_grads(bent, (x, y, lens), order=1, modes=["rev"], rtol=1e-4, atol=1e-6)
        # The way back has the inverse Jacobian, and undoes what another lens would do.
        all_there = jax.jit(jax.vmap(jax.jacfwd(bend, (0, 1, 2)), (0, 0, None)))(x, y, lens)
        back = jax.vmap(jax.jacrev(lambda *args: unbend(*args)[:2], (0, 1, 2)), (0, 0, None))
        all_back = jax.jit(back)(*bent(x, y, lens), lens)
        there, back = (
            np.stack([np.stack(one[:2], -1) for one in way], 1) for way in (all_there, all_back)
        )
        np.testing.assert_allclose(back @ there, np.eye(2) + 0 * there, atol=1e-8)
        by_lens = [np.stack([one[2] for one in way], 1) for way in (all_there, all_back)]
        np.testing.assert_allclose(by_lens[1], -back @ by_lens[0], rtol=1e-7, atol=1e-9)
    # Outside of the field, to the point, and where nothing moves aside to the lens.
    x, y = jnp.asarray(circle(1.3 * border_slowly(LENSES[name]), 7))
    check_grads(lambda x, y: bent(x, y, lens), (x, y), order=1, modes=["rev"], rtol=1e-4, atol=1e-6)
    if not any(LENSES[name][2:4]):
        check_grads(
            lambda k: bent(x, y, k * lens), (1.0,), order=1, modes=["rev"], rtol=1e-4, atol=1e-6
        )


@pytest.mark.long
@pytest.mark.parametrize("name", LENSES)
def test_finite_at_the_border_and_at_the_end_of_floats(name):
    lens = jnp.asarray(LENSES[name], jnp.float32)
    reach = float(border(lens)[0])
    x = np.array([0, 1e-30, 1, np.nextafter(1, 2, dtype=np.float32)], np.float32) * reach
    x = np.concatenate([x, [1e6, 1e15, -1e18]]).astype(np.float32)
    for y in (0 * x, x[::-1], x):

        def place(x, y, lens):
            return sum(part.sum() for part in bend(x, y, lens)) * 1e-6

        def back(x, y, lens):
            return sum(part.sum() for part in unbend(x, y, lens)[:2])

        for function in (place, back):
            values = jax.jit(jax.value_and_grad(function, (0, 1, 2)))(
                jnp.clip(x, -1e15, 1e15), jnp.clip(y, -1e15, 1e15), lens
            )
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values))


@pytest.mark.slow
def test_nothing_is_found_beyond_what_the_lens_shows():
    lens = jnp.asarray(LENSES["barrel"], jnp.float32)
    reach = border_slowly(LENSES["barrel"])
    edge = bend_slowly(reach, 0.0, LENSES["barrel"])[0]
    x, _, found = unbent(jnp.array([0.99, 1.01, 5.0]) * edge, jnp.zeros(3), lens)
    assert found.tolist() == [True, False, False]
    np.testing.assert_allclose(x[1:], reach, rtol=1e-3)


# --- pictures ---------------------------------------------------------------------------------


def sample_slowly(image, u, v, fill):
    """One point of a picture, between four pixels; their centres are at halves."""
    height, width = image.shape[:2]
    if not (0 <= u <= width and 0 <= v <= height):
        return np.full(image.shape[2:], fill)
    u, v = np.clip(u - 0.5, 0, width - 1), np.clip(v - 0.5, 0, height - 1)
    left, top = int(u), int(v)
    right, below = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = u - left, v - top
    upper = image[top, left] * (1 - a) + image[top, right] * a
    return upper * (1 - b) + (image[below, left] * (1 - a) + image[below, right] * a) * b


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["none", "barrel, aside", "pincushion"])
def test_undistort_against_numpy(name):
    size = (12, 16)
    matrix = np.diag([1 / 8, 1 / 8, 1]) @ K
    camera = pinhole(name, matrix, size)
    image = np.float64(picture(size))
    got = jr.undistort(image, camera, fill=-1.0)
    for row, column in np.ndindex(size):
        x, y = ((c + 0.5 - matrix[n, 2]) / matrix[n, n] for n, c in enumerate((column, row)))
        x, y = bend_slowly(x, y, LENSES[name])
        u, v = matrix[0, 0] * x + matrix[0, 2], matrix[1, 1] * y + matrix[1, 2]
        np.testing.assert_allclose(got[row, column], sample_slowly(image, u, v, -1.0), atol=1e-12)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in LENSES if name != "strong"])
def test_there_and_back(name):
    """What the lens shows of a smooth picture and back is that picture, where both saw it."""
    camera = pinhole(name)
    ideal = jr.undistorted_camera(camera)
    image = picture(ideal.projection.image_size)
    seen = jr.distort(image, camera, ideal, fill=np.nan)
    assert seen.shape == (*SIZE, 3)
    assert np.isfinite(seen).all()  # the ideal camera covers all that the camera sees
    back = np.asarray(jr.undistort(seen, camera, ideal, fill=np.nan))
    both = np.isfinite(back).all(-1)
    assert both.mean() > 0.6
    # At the border a picture has no pixel farther out to go between.
    off = np.abs(back - image)[both]
    assert np.mean(off < 2e-3) > 0.99
    assert off.max() < 0.02

    # A picture of the same K and size does not have all that a barrel lens shows.
    same = np.isfinite(jr.distort(picture(), camera, fill=np.nan)).all()
    assert name == "pincushion" or same == (name == "none")


@pytest.mark.slow
def test_without_distortion_nothing_moves():
    camera = pinhole("none")
    assert jr.undistorted_camera(camera).projection.image_size == SIZE
    for function in (jr.distort, jr.undistort):
        np.testing.assert_allclose(function(picture(), camera), picture(), atol=1e-5)
        ids = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE)
        moved = function(ids, camera, filter="nearest")
        assert moved.dtype == jnp.asarray(ids).dtype
        np.testing.assert_array_equal(moved, ids)


def room(times: int) -> jr.Mesh:
    """A room of 12 faces, each split into `4^times`."""
    cube = jr.shapes.cube(4.0)
    corners = np.asarray(cube.vertices, np.float64)[np.asarray(cube.faces)]
    for _ in range(times):
        middles = (corners + np.roll(corners, -1, 1)) / 2
        corners = np.stack(
            [np.stack([corners[:, k], middles[:, k], middles[:, k - 1]], 1) for k in range(3)]
            + [middles],
            axis=1,
        ).reshape(-1, 3, 3)
    return jr.Mesh(
        jnp.asarray(corners.reshape(-1, 3), jnp.float32),
        jnp.arange(3 * len(corners), dtype=jnp.int32).reshape(-1, 3),
    )


def draw(mesh: jr.Mesh, camera: jr.Camera, size: tuple[int, int]) -> jr.Fragments:
    screen = jr.project(mesh.vertices, camera, image_size=size)
    return jr.rasterize_hard(jr.ScreenMesh(screen, mesh.faces), image_size=size)


@pytest.mark.long
def test_a_room_of_twelve_faces_is_drawn_exactly():
    """Without the lens, then moved: what a mesh shows whose faces are small beside the bend."""
    turn = jr.rotations.from_axis_angle([0.2, 0.5, 0.1])
    camera = jr.pinhole(K, turn, (0.3, -0.2, 0.5), LENSES["barrel"], image_size=SIZE)
    times, samples = 4, 4
    fine = draw(room(times), camera, SIZE)
    ideal = jr.undistorted_camera(camera)
    size = tuple(samples * side for side in ideal.projection.image_size)
    seen = draw(room(0), ideal, size)
    ids = jr.distort(seen.face, camera, ideal, filter="nearest", fill=jr.NO_FACE)
    assert (ids >= 0).all()
    assert (ids == fine.face // 4**times).mean() > 0.995
    depth = jr.distort(seen.depth, camera, ideal)
    off = np.abs(depth - fine.depth) / fine.depth
    assert np.mean(off < 2e-3) > 0.99

    # The twelve faces themselves, bent at their corners alone, are wrong.
    coarse = draw(room(0), camera, SIZE)
    assert np.mean(np.abs(coarse.depth - fine.depth) / fine.depth > 0.05) > 0.3


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("cover", [True, False])
def test_undistorted_camera(cover):
    camera = pinhole("barrel, aside")
    plain = jr.undistorted_camera(camera, cover=cover)
    assert not np.asarray(plain.projection.distortion).any()
    np.testing.assert_array_equal(plain.rotation, camera.rotation)
    np.testing.assert_array_equal(plain.projection.matrix[:2, :2], K[:2, :2])
    height, width = plain.projection.image_size
    if cover:
        assert height > SIZE[0]
        assert width > SIZE[1]
    else:
        assert (height, width) == SIZE

    # With a size, all that the camera sees fits in, also inside jit.
    size = (50, 200)
    fit = jax.jit(lambda c: jr.undistorted_camera(c, image_size=size, cover=cover))(camera)
    seen = jr.distort(np.ones(size, np.float32), camera, fit)
    assert (np.asarray(seen) == 1).all() == cover
    if not cover:
        np.testing.assert_allclose(fit.projection.matrix[:2, 2], [K[0, 2] + 36, K[1, 2] - 23])


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("filter", ["linear", "nearest"])
def test_jit_equals_eager_and_vmap_equals_loop(filter):
    camera = pinhole()
    for function in (jr.distort, jr.undistort):
        images = np.stack([picture(seed=seed) for seed in range(2)])
        eager = function(images[0], camera, filter=filter)
        compiled = jax.jit(lambda image, camera, f=function: f(image, camera, filter=filter))
        close = np.abs(compiled(images[0], camera) - eager).max(-1) < 1e-4
        assert close.mean() > (0.999 if filter == "nearest" else 1) - 1e-9
        mapped = jax.vmap(compiled, (0, None))(images, camera)
        np.testing.assert_allclose(mapped[1], compiled(images[1], camera), atol=1e-4)
        gray = function(images[0][..., 0], camera, filter=filter)
        np.testing.assert_allclose(gray, eager[..., 0], atol=1e-6)
        # A multiple of the size, in and out.
        large = function(picture((192, 256)), camera, image_size=(48, 64), fill=[1.0, 2.0, 3.0])
        assert large.shape == (48, 64, 3)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["distort", "undistort"])
def test_gradient_of_pictures(name):
    function = getattr(jr, name)
    size = (6, 8)
    camera = pinhole("barrel, aside", np.diag([1 / 16, 1 / 16, 1]) @ K, size)
    ideal = jr.undistorted_camera(camera)
    given = ideal.projection.image_size if name == "distort" else size
    image = jnp.asarray(picture(given), float)

    def moved(image, matrix, distortion):
        lens = dataclasses.replace(camera.projection, matrix=matrix, distortion=distortion)
        return function(image, dataclasses.replace(camera, projection=lens), ideal)

    args = image, camera.projection.matrix, camera.projection.distortion
    check_grads(jax.jit(moved), args, order=1, modes=["rev"], rtol=1e-4, atol=1e-5, eps=1e-6)


@pytest.mark.thorough
def test_finite_gradients_beyond_the_lens():
    """A lens that shows a small disc of the picture: no NaN outside of it."""
    camera = pinhole("strong")

    def loss(image, camera):
        return (jr.distort(image, camera) ** 2).sum() + (jr.undistort(image, camera) ** 2).sum()

    values = jax.jit(jax.value_and_grad(loss, (0, 1)))(picture(), camera)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values))


BALL = jr.look_at((0, 0, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jr.distort(picture(), BALL), "`camera` must be a pinhole camera"),
        (lambda: jr.undistorted_camera("camera"), "`camera` must be a pinhole camera"),
        (lambda: jr.distort(picture(), pinhole(), BALL), "`source` must be a pinhole camera"),
        (lambda: jr.distort(picture(), pinhole(), pinhole()), "`source` must have no distortion"),
        (
            lambda: jr.undistort(picture(), pinhole(), pinhole("none", place=(0, 0, 5))),
            "`target` must stand where",
        ),
        (lambda: jr.distort(picture((96, 96)), pinhole()), "`image` must have the aspect"),
        (lambda: jr.undistort(picture(), pinhole(), image_size=(9, 9)), "`image_size` must have"),
        (lambda: jr.distort(np.zeros(4), pinhole()), "`image` must be a picture"),
        (lambda: jr.distort(np.zeros((2, *SIZE, 3)), pinhole()), "jax.vmap"),
        (lambda: jr.distort(picture(), pinhole(), filter="cubic"), "`filter` must be one of"),
        (lambda: jr.distort(picture(), pinhole(), fill=[1.0, 2.0]), "`fill` must be"),
        (
            lambda: jr.distort(
                np.zeros(SIZE, np.uint8), pinhole(), filter="nearest", fill=jr.NO_FACE
            ),
            "`fill` must be a value of uint8",
        ),
        (lambda: jr.undistorted_camera(pinhole(), image_size=(0, 3)), "`image_size`"),
        (lambda: jax.jit(jr.undistorted_camera)(pinhole()), "Pass `image_size`"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
