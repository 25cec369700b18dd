"""`voxelize`, and the operations under it."""

from __future__ import annotations

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender._voxels import voxelize
from jaxrender.ops import voxels

# Most tests use this resolution, 42 vertices and 80 faces: one compiled program serves them.
N = 9
BALL = jr.shapes.icosphere(1, radius=0.37)
COMPILED = jax.jit(voxelize, static_argnames="resolution")
EXTERIOR = jax.jit(voxels._exterior)


def surface_by_hand(corners: np.ndarray, n: int) -> np.ndarray:
    """The two rules, face by face and line by line, in float64; `corners` `[F, 3, 3]` in voxels."""
    grid = np.zeros((n, n, n), bool)

    def mark(voxel):
        if all(0 <= index < n for index in voxel):
            grid[tuple(int(index) for index in voxel)] = True

    for face in corners.astype(np.float64):
        for corner in face:
            mark(np.floor(corner))
        for axis in range(3):
            p_axis, q_axis = (other for other in range(3) if other != axis)
            (ap, bp), (aq, bq) = (face[1:, kept] - face[0, kept] for kept in (p_axis, q_axis))
            determinant = ap * bq - aq * bp
            if determinant == 0:
                continue
            for p, q in itertools.product(range(n), repeat=2):
                down, across = p - face[0, p_axis], q - face[0, q_axis]
                t1 = (down * bq - across * bp) / determinant
                t2 = (ap * across - aq * down) / determinant
                if t1 >= 0 and t2 >= 0 and t1 + t2 <= 1:
                    c = face[0, axis] + t1 * (face[1, axis] - face[0, axis])
                    c = np.floor(round(c + t2 * (face[2, axis] - face[0, axis]), 12))
                    for near in itertools.product((p, p - 1), (q, q - 1)):
                        mark(np.insert(np.array(near, float), axis, c))
    return grid


def exterior_by_hand(surface: np.ndarray) -> np.ndarray:
    """The flood, voxel by voxel."""
    n = len(surface)
    outside = np.zeros_like(surface)
    border = [
        voxel for voxel in np.ndindex(surface.shape) if min(voxel) == 0 or max(voxel) == n - 1
    ]
    waiting = [voxel for voxel in border if not surface[voxel]]
    while waiting:
        voxel = waiting.pop()
        if outside[voxel]:
            continue
        outside[voxel] = True
        for axis, step in itertools.product(range(3), (-1, 1)):
            beside = list(voxel)
            beside[axis] += step
            beside = tuple(beside)
            if 0 <= beside[axis] < n and not surface[beside] and not outside[beside]:
                waiting.append(beside)
    return outside


def by_hand(vertices, faces, n: int, low=-0.5, high=0.5) -> np.ndarray:
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    points = (np.asarray(vertices, np.float64) - low) * n / (high - low)
    return ~exterior_by_hand(surface_by_hand(points[np.asarray(faces)], n))


def turned_ball(seed: int) -> np.ndarray:
    """The ball turned at random, bumpy, and off the centre."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    bumps = rng.uniform(0.6, 1, (len(BALL.vertices), 1))
    return (np.asarray(BALL.vertices) * bumps @ turn + rng.uniform(-0.1, 0.1, 3)).astype(np.float32)


def soup(seed: int, *, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Triangles in and around a grid from 0 to N: at random places, or on whole numbers."""
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-3, N + 3, (42, 3)).astype(np.float32)
    faces = rng.integers(0, 42, (80, 3))  # some have a corner twice
    faces[20:] = faces[:1]  # all together would fill the grid
    return np.round(vertices) if whole else vertices, faces


class TestAgainstByHand:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["cube_03", "plane", "sphere_642_04"])
    def test_softras(self, golden, name):
        case = golden(f"softras/voxel_{name}.npz")
        n = json.loads(str(case["options"]))["size"]
        half = (n - 1) / (2 * n)
        grid = voxelize(case["vertices"], case["faces"], resolution=n, bounds=(-half, half))
        np.testing.assert_array_equal(grid, case["voxels"][0])

    @pytest.mark.slow
    def test_closed(self):
        enclosed = 0
        for seed in range(6):
            vertices = turned_ball(seed)
            grid = np.asarray(voxelize(vertices, BALL.faces, resolution=N))
            np.testing.assert_array_equal(grid, by_hand(vertices, BALL.faces, N))
            points = (vertices.astype(np.float64) + 0.5) * N
            enclosed += (grid & ~surface_by_hand(points[np.asarray(BALL.faces)], N)).sum()
        assert enclosed > 10

    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.parametrize("whole", [False, True])
    def test_soups(self, whole):
        # On whole numbers lines meet edges and corners, and whole faces lie in lattice planes.
        for seed in range(4):
            vertices, faces = soup(seed, whole=whole)
            grid = voxelize(vertices, faces, resolution=N, bounds=(0.0, float(N)))
            np.testing.assert_array_equal(grid, by_hand(vertices, faces, N, 0, N))

    @pytest.mark.slow
    def test_float64(self, x64):
        vertices = jnp.asarray(turned_ball(0), jnp.float64)
        grid = voxelize(vertices, BALL.faces, resolution=N)
        np.testing.assert_array_equal(grid, by_hand(vertices, BALL.faces, N))

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("resolution", [1, 33])
    def test_resolutions(self, resolution):
        vertices = turned_ball(1)
        grid = voxelize(vertices, BALL.faces, resolution=resolution)
        np.testing.assert_array_equal(grid, by_hand(vertices, BALL.faces, resolution))

    @pytest.mark.slow
    def test_a_box_with_three_sides(self):
        low, high = np.array([-0.5, -1.0, -0.4]), np.array([0.75, 1.0, 0.5])
        vertices = turned_ball(2)
        grid = voxelize(vertices, BALL.faces, resolution=N, bounds=(low, high))
        expected = by_hand(vertices, BALL.faces, N, np.float32(low), np.float32(high))
        np.testing.assert_array_equal(grid, expected)

    @pytest.mark.slow
    def test_flood_finds_its_way(self):
        rng = np.random.default_rng(0)
        walls = rng.random((4, 34, 34, 34)) < np.array([0.3, 0.6, 0.68, 0.72])[:, None, None, None]
        expected = np.stack([exterior_by_hand(grid) for grid in walls])
        np.testing.assert_array_equal(EXTERIOR(walls), expected)
        assert (~walls & ~expected).any()

    @pytest.mark.slow
    def test_flood_follows_a_labyrinth(self):
        # One corridor, back and forth along y, with a plug at its far end.
        walls = np.ones((1, 34, 34, 34), bool)
        walls[0, 1:33:2, 1:33, 5] = False
        walls[0, 2:32:4, 32, 5] = walls[0, 4:32:4, 1, 5] = False
        walls[0, 31, 1, 5] = True
        assert not EXTERIOR(walls).any()
        walls[0, 0, 1, 5] = False
        np.testing.assert_array_equal(EXTERIOR(walls), ~walls)


class TestWhatItMeans:
    @pytest.mark.slow
    def test_volume_of_a_ball(self):
        ball = jr.shapes.icosphere(3, radius=0.4)
        filled = voxelize(ball.vertices, ball.faces, resolution=32).mean()
        # The surface voxels stand out by half a voxel on average.
        assert 4 / 3 * np.pi * 0.4**3 < filled < 4 / 3 * np.pi * (0.4 + 1 / 32) ** 3

    def test_faces_may_point_either_way(self):
        flipped = np.where(np.arange(len(BALL.faces))[:, None] % 2, BALL.faces, BALL.faces[:, ::-1])
        np.testing.assert_array_equal(
            voxelize(BALL.vertices, flipped, resolution=N),
            voxelize(BALL.vertices, BALL.faces, resolution=N),
        )

    def test_an_open_mesh_has_only_its_surface(self):
        vertices, faces = turned_ball(0), np.asarray(BALL.faces)
        kept = vertices[faces][..., 2].max(1) < 0.1
        opened = np.where(kept[:, None], faces, faces[kept][:1])
        points = (vertices.astype(np.float64) + 0.5) * N
        grid = voxelize(vertices, opened, resolution=N)
        np.testing.assert_array_equal(grid, surface_by_hand(points[opened], N))
        assert grid.sum() < voxelize(vertices, faces, resolution=N).sum()

    @pytest.mark.slow
    def test_nothing(self):
        nothing = jnp.zeros((0, 3))
        no_faces = jnp.zeros((0, 3), jnp.int32)
        assert not voxelize(nothing, no_faces, resolution=4).any()
        assert not voxelize(BALL.vertices, no_faces, resolution=4).any()

    @pytest.mark.slow
    def test_faces_without_area_have_only_corners(self):
        vertices = np.array([[0.2, 0.2, 0.2], [8.2, 8.2, 8.2], [4.2, 4.2, 4.2]], np.float32)
        for face in ([0, 1, 1], [0, 0, 0], [0, 1, 2]):
            grid = voxelize(vertices, np.array([face]), resolution=N, bounds=(0, N))
            expected = np.zeros((N, N, N), bool)
            expected[tuple(np.floor(vertices[face]).astype(int).T)] = True
            np.testing.assert_array_equal(grid, expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("far", [1e6, 1e30])
    def test_a_face_far_larger_than_the_grid(self, far):
        vertices = np.array([[0.1, -far, -far], [0.1, far, -far], [0.1, 0, far]], np.float32)
        grid = np.asarray(voxelize(vertices, np.array([[0, 1, 2]]), resolution=N))
        expected = np.zeros((N, N, N), bool)
        expected[5] = True
        np.testing.assert_array_equal(grid, expected)

    @pytest.mark.slow
    def test_any_size_of_pass(self, monkeypatch):
        monkeypatch.setattr(voxels, "BLOCKS_PER_PASS", (5, 5))
        vertices = turned_ball(3)
        arguments = [jnp.asarray(each)[None] for each in (vertices, BALL.faces)]
        limits = jnp.full((1, 3), -0.5), jnp.full((1, 3), 0.5)
        surface = jax.jit(voxels._surface, static_argnames="resolution")
        points = (vertices.astype(np.float64) + 0.5) * N
        np.testing.assert_array_equal(
            surface(*arguments, *limits, resolution=N)[0],
            surface_by_hand(points[np.asarray(BALL.faces)], N),
        )


class TestTransforms:
    @pytest.mark.slow
    def test_jit_equals_eager(self):
        vertices = turned_ball(4)
        np.testing.assert_array_equal(
            COMPILED(vertices, BALL.faces, resolution=N, bounds=(-0.5, 0.5)),
            voxelize(vertices, BALL.faces, resolution=N),
        )

    @pytest.mark.thorough
    def test_vmap_equals_a_loop(self):
        def fill(vertices, faces, half):
            return voxelize(vertices, faces, resolution=N, bounds=(-half, half))

        balls = np.stack([turned_ball(seed) for seed in range(6)]).reshape(2, 3, -1, 3)
        halves = np.array([0.5, 0.6], np.float32)
        grids = jax.vmap(jax.vmap(fill, (0, None, None)), (0, None, 0))(balls, BALL.faces, halves)
        for i, j in np.ndindex(2, 3):
            np.testing.assert_array_equal(grids[i, j], fill(balls[i, j], BALL.faces, halves[i]))

        faces = np.stack([BALL.faces, np.roll(BALL.faces, 7) % 42])
        grids = jax.vmap(fill, (None, 0, None))(balls[0, 0], faces, 0.5)
        for grid, its_faces in zip(grids, faces, strict=True):
            np.testing.assert_array_equal(grid, fill(balls[0, 0], its_faces, 0.5))

    def test_gradient_is_zero(self):
        def loss(vertices, high):
            grid = voxelize(vertices, BALL.faces, resolution=N, bounds=(-0.5, high))
            return jnp.where(grid, 2.0, 1.0).sum()

        gradients = jax.grad(loss, (0, 1))(BALL.vertices, 0.5)
        assert all((np.asarray(gradient) == 0).all() for gradient in gradients)

    @pytest.mark.slow
    def test_bad_faces_are_left_out_inside_jit(self):
        vertices = turned_ball(5)
        vertices[3], vertices[7] = [np.nan, 0, 0], [0, np.inf, 0]
        faces = np.array(BALL.faces)
        faces[0, 1], faces[-1, 2] = 42, -1
        bad = ((faces < 0) | (faces > 41) | (faces == 3) | (faces == 7)).any(1)
        rest = np.where(bad[:, None], faces[~bad][:1], faces)
        np.testing.assert_array_equal(
            COMPILED(vertices, faces, resolution=N, bounds=(-0.5, 0.5)),
            voxelize(np.nan_to_num(vertices, posinf=0), rest, resolution=N),
        )
        assert not COMPILED(vertices, faces, resolution=N, bounds=(0.5, 0.5)).any()


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"vertices": np.zeros((4, 2))}, r"`vertices` must be .*\[V, 3\]"),
            ({"vertices": np.full((42, 3), np.nan)}, "`vertices` must be finite"),
            ({"faces": np.zeros((4, 4), int)}, r"`faces` must be .*\[F, 3\]"),
            ({"faces": np.zeros((4, 3))}, "`faces` must be an integer array"),
            ({"faces": np.full((4, 3), 42)}, "`faces` must index 42 vertices"),
            ({"resolution": 2**70}, "`resolution` must be at most 1290"),
            ({"resolution": 0}, "`resolution` must be a positive integer"),
            ({"resolution": 2.5}, "`resolution` must be a positive integer"),
            ({"resolution": "32"}, "`resolution` must be a positive integer"),
            ({"bounds": 1.0}, "`bounds` must be a pair"),
            ({"bounds": (0.5, -0.5)}, "`bounds` must have low < high"),
            ({"bounds": (0.0, np.inf)}, r"`bounds\[1\]` must be finite"),
            ({"bounds": (np.zeros(2), 1.0)}, r"`bounds\[0\]` must be .*\[3\]"),
        ],
    )
    def test_arguments(self, change, message):
        arguments = {"vertices": BALL.vertices, "faces": BALL.faces, "resolution": N} | change
        with pytest.raises(ValueError, match=message):
            voxelize(**arguments)

    def test_traced_resolution(self):
        with pytest.raises(ValueError, match="`resolution` must be static"):
            jax.jit(voxelize)(BALL.vertices, BALL.faces, resolution=N)
