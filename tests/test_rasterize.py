"""`rasterize_hard`, and the operations under it."""

from __future__ import annotations

import functools
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from quick import jit
from reference import cast_rays, soup

import jaxrender as jr
from jaxrender.ops import blocks, hard
from jaxrender.ops.hard import passes as hard_passes
from jaxrender.ops.view import View

SCHEDULES = sorted(hard.SCHEDULES)
LOOK_UP = jax.jit(hard.look_up, static_argnames="perspective")


def nearest_faces(vertices, faces, near, far, *, image_size, perspective=True, **options):
    """The operation under `rasterize_hard`, with any schedule."""
    near, far = (jnp.asarray(limit, vertices.dtype) for limit in (near, far))
    view = View(near, far, image_size, perspective=perspective)
    return hard.nearest_faces(vertices, faces, view, **options)


NEAREST = jax.jit(nearest_faces, static_argnames=("image_size", "schedule"))


@functools.partial(jax.jit, static_argnames=("image_size", "cull"))
def draw(screen, near=0.1, far=100.0, *, image_size, cull="none"):
    return jr.rasterize_hard(screen, image_size=image_size, near=near, far=far, cull=cull)


def to_screen(vertices, faces, **kwargs):
    return jr.ScreenMesh(jnp.asarray(vertices), jnp.asarray(faces, jnp.int32), **kwargs)


def jittered_grid(seed: int, cells: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A triangulated sheet that covers more than the picture, its corners moved at random."""
    rng = np.random.default_rng(seed)
    line = np.linspace(-1.5, 1.5, cells + 1)
    x, y = np.meshgrid(line, line)
    points = np.stack([x, y], -1) + rng.uniform(-0.4, 0.4, (cells + 1, cells + 1, 2)) * 3 / cells
    vertices = np.concatenate([points, rng.uniform(2, 5, (cells + 1, cells + 1, 1))], -1)
    ids = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b, c, d = (ids[i : i + cells, j : j + cells].ravel() for i, j in np.ndindex(2, 2))
    faces = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)])
    return vertices.reshape(-1, 3).astype(np.float32), rng.permutation(faces)


class TestAgainstRays:
    @pytest.mark.slow
    @pytest.mark.parametrize("image_size", [(1, 1), (33, 50)])
    @pytest.mark.parametrize("perspective", [True, False])
    def test_soups(self, image_size, perspective):
        for seed in range(3):
            vertices, faces = soup(seed, 150, crossing=perspective)
            seen = draw(to_screen(vertices, faces, perspective=perspective), image_size=image_size)
            face, barycentrics, depth, doubtful = cast_rays(
                vertices, faces, image_size, perspective=perspective
            )
            sure = ~doubtful
            assert sure.mean() > 0.8 or sure.size == 1
            np.testing.assert_array_equal(np.asarray(seen.face)[sure], face[sure])
            np.testing.assert_allclose(np.asarray(seen.depth)[sure], depth[sure], rtol=2e-4)
            np.testing.assert_allclose(
                np.asarray(seen.barycentrics)[sure], barycentrics[sure], atol=1e-3
            )

    @pytest.mark.slow
    def test_culling(self):
        vertices, faces = soup(5, 120)
        whole = cast_rays(vertices, faces, (40, 40))
        corners = vertices[faces].astype(np.float64)
        lifted = np.concatenate([corners[..., :2], np.ones((len(faces), 3, 1))], -1)
        front = np.linalg.det(lifted * corners[..., 2:]) > 0  # counter-clockwise to the eye
        for cull, kept in (("back", front), ("front", ~front)):
            seen = draw(to_screen(vertices, faces), image_size=(40, 40), cull=cull)
            face, _, _, doubtful = cast_rays(vertices, faces[kept], (40, 40))
            face = np.where(face < 0, -1, np.flatnonzero(kept)[face])
            np.testing.assert_array_equal(np.asarray(seen.face)[~doubtful], face[~doubtful])
        assert front.any()
        assert not front.all()
        assert (whole[0] >= 0).any()

    @pytest.mark.slow
    def test_front_is_counter_clockwise(self):
        corners = [[-1.0, -1.0, 2.0], [1.0, -1.0, 2.0], [0.0, 1.0, 2.0]]
        assert draw(to_screen(corners, [[0, 1, 2]]), image_size=(9, 9), cull="back").face[4, 4] == 0
        assert draw(to_screen(corners, [[0, 2, 1]]), image_size=(9, 9), cull="back").face[4, 4] < 0
        assert (
            draw(to_screen(corners, [[0, 2, 1]]), image_size=(9, 9), cull="front").face[4, 4] == 0
        )

    @pytest.mark.slow
    def test_first_row_is_the_top(self):
        upper_left = [[-1.0, 1.0, 1.0], [-1.0, 0.2, 1.0], [-0.2, 1.0, 1.0]]
        seen = draw(to_screen(upper_left, [[0, 1, 2]]), image_size=(10, 20))
        assert seen.face[0, 0] == 0
        assert (seen.face[5:] < 0).all()
        assert (seen.face[:, 10:] < 0).all()


class TestGolden:
    @pytest.mark.thorough
    def test_face_maps(self, golden):
        """Every stable pixel of the NMR soups, in the order and orientation of the files."""
        checked = 0
        for name in golden.glob("nmr/*.npz", "face_index_map"):
            data = golden(name)
            options = json.loads(str(data["options"]))
            for item, corners in enumerate(data["faces"]):
                size = data["face_index_map"].shape[1]
                # Pad with faces that are not drawn, so that few programs are compiled.
                count = 800 if len(corners) <= 800 else 4928
                padding = np.full((count - len(corners), 3, 3), np.nan, np.float32)
                corners = np.concatenate([corners, padding])
                screen = to_screen(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))
                seen = draw(
                    screen, options["near"], options["far"], image_size=(size, size), cull="back"
                )
                wanted = data["face_index_map"][item][::-1]
                # NMR draws faces that cross the camera plane in the wrong place; we cut them.
                across = np.append((corners[..., 2] <= 0).any(-1), False)
                ours = np.asarray(seen.face)
                stable = ~across[wanted] & ~across[ours]
                unstable = data["unstable"][item] if "unstable" in data else None
                if unstable is not None:
                    factor = size // len(unstable)
                    stable &= ~np.kron(unstable, np.ones((factor, factor), bool)).astype(bool)
                # On an edge that two faces share, rounding decides; both depths are the same.
                args = (screen.vertices, screen.faces, jnp.array(wanted, jnp.int32))
                depth = np.asarray(LOOK_UP(*args, options["far"], perspective=True)[1])
                tie = (ours != wanted) & (np.abs(depth - seen.depth) < 1e-6 * depth)
                assert tie.sum() <= 2
                stable &= ~tie
                np.testing.assert_array_equal(ours[stable], wanted[stable], err_msg=name)
                assert stable.mean() > 0.5
                if "weight_map" in data:
                    self.check_values(data, item, seen, corners, stable & (wanted >= 0))
                checked += 1
        assert checked > 20

    @staticmethod
    def check_values(data, item, seen, corners, where):
        """Barycentrics against the stored screen weights, and depth."""
        weights = data["weight_map"][item]
        weights = weights if weights.shape[-1] == 3 else np.moveaxis(weights, 0, -1)
        weights = weights[::-1][where].astype(np.float64)
        weights = np.clip(weights, 0, 1) / np.clip(weights, 0, 1).sum(-1, keepdims=True)
        over_z = weights / corners[np.asarray(seen.face)[where], :, 2]
        depth = 1 / over_z.sum(-1)
        np.testing.assert_allclose(np.asarray(seen.depth)[where], depth, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            np.asarray(seen.barycentrics)[where], over_z * depth[:, None], atol=1e-4
        )


OTHER_ORDERS = [(1, 2, 0), (2, 0, 1), (2, 1, 0), (1, 0, 2), (0, 2, 1)]  # two rotated, three turned


def close_views(vertices: np.ndarray, perspective: bool) -> np.ndarray:
    """The mesh on screen `[3, V, 3]` from three sides, in one of them cut by the near plane."""
    projection = jr.perspective(60.0) if perspective else jr.orthographic(2.5)
    eyes = [(1.2, 0.8, -2.2), (0.3, 2.0, 1.5), (0.2, 0.1, -0.9)]
    cameras = [jr.look_at(eye, projection=projection) for eye in eyes]
    return np.stack([jr.project(vertices, camera) for camera in cameras])


class TestTies:
    """Of faces at the same depth a front is seen before a back, then the lowest index."""

    @pytest.mark.thorough
    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("perspective", [True, False])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_copies_in_other_orders(self, request, schedule, perspective, dtype):
        """All six orders of the corners of each face: one bit of difference would show a copy."""
        if dtype == np.float64:
            request.getfixturevalue("x64")
        plain = dtype == np.float32 and perspective
        mesh = jr.shapes.teapot() if plain else jr.shapes.icosphere(2)
        count, faces = len(mesh.faces), np.asarray(mesh.faces)
        orders = [faces, *(faces[:, order] for order in OTHER_ORDERS)]
        views = jnp.asarray(close_views(np.asarray(mesh.vertices, dtype), perspective), dtype)
        assert (views[2, :, 2] < 0.5).any()  # across the near plane

        @jax.jit
        def seen(views, faces):
            see = functools.partial(
                nearest_faces,
                image_size=(61, 80),
                perspective=perspective,
                schedule=schedule,
            )
            near, far = jnp.asarray(0.5, dtype), jnp.asarray(100.0, dtype)
            return jax.vmap(see, (0, None, None, None))(views, faces, near, far)

        face, _, depth = map(np.asarray, seen(views, np.concatenate(orders)))
        assert depth.dtype == dtype
        assert (face >= 0).mean() > 0.1
        # Only the given faces and the first turned copies have a right to be seen.
        assert set(np.unique(face[face >= 0] // count)) == {0, 3}
        np.testing.assert_array_equal(depth, seen(views, np.tile(faces, (6, 1)))[2])

        # With the turned copies before the others the same sides of the same faces are seen.
        turned = np.asarray(seen(views, np.concatenate(orders[::-1]))[0])
        np.testing.assert_array_equal(turned >= 0, face >= 0)
        np.testing.assert_array_equal(turned % count, face % count)
        np.testing.assert_array_equal((turned // count)[face // count == 0], 3)
        np.testing.assert_array_equal((turned // count)[face // count == 3], 0)

    @pytest.mark.slow
    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_soup(self, schedule):
        """Faces as hostile as they come, also across the camera plane, in all six orders."""
        vertices, faces = soup(4, 200)
        copies = np.concatenate([faces, *(faces[:, order] for order in OTHER_ORDERS)])
        see = functools.partial(NEAREST, image_size=(50, 40), schedule=schedule)
        face, _, depth = see(jnp.array(vertices), jnp.array(copies), 0.1, 100.0)
        once = see(jnp.array(vertices), jnp.array(np.tile(faces, (6, 1))), 0.1, 100.0)
        assert set(np.unique(face[face >= 0] // 200)) == {0, 3}
        np.testing.assert_array_equal(face % 200, jnp.where(face < 0, 199, once[0]))
        np.testing.assert_array_equal(depth, once[2])

    @pytest.mark.slow
    def test_turned_copies_are_culled_backs(self):
        """As NMR fills backs: with copies, nothing culled and all backs culled are one picture."""
        mesh = jr.shapes.teapot()
        faces = jnp.concatenate([mesh.faces, mesh.faces[:, ::-1]])
        for vertices in close_views(mesh.vertices, True):
            for these in (faces, faces[::-1]):
                screen = jr.ScreenMesh(jnp.asarray(vertices), these)
                seen = draw(screen, 0.5, image_size=(64, 64))
                culled = draw(screen, 0.5, image_size=(64, 64), cull="back")
                assert len(np.unique(seen.face)) > 100
                for one, other in zip(*map(jax.tree.leaves, (seen, culled)), strict=True):
                    np.testing.assert_array_equal(one, other)

    @pytest.mark.slow
    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_backs_among_themselves(self, schedule):
        """Two fronts and two backs in every order of four: the first front, or the first back."""
        corners = jnp.array([[-1.0, -1.0, 2.0], [3.0, -1.0, 2.0], [-1.0, 3.0, 2.0]])
        sides = np.array([[0, 1, 2], [2, 1, 0]])
        for which in ((0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1), (1, 1, 0, 0), (1, 1, 1, 1)):
            args = corners, jnp.array(sides[list(which)]), 0.1, 9.0
            face = NEAREST(*args, image_size=(20, 20), schedule=schedule)[0]
            assert (face == which.index(min(which))).all()

    @pytest.mark.thorough
    def test_index_alone(self):
        """As SoftRas has it."""
        corners = jnp.array([[-1.0, -1.0, 2.0], [3.0, -1.0, 2.0], [-1.0, 3.0, 2.0]])
        args = corners, jnp.array([[2, 1, 0], [0, 1, 2]]), jnp.float32(0.1), jnp.float32(9.0)
        for schedule in SCHEDULES:
            see = functools.partial(nearest_faces, image_size=(9, 9), schedule=schedule)
            assert (see(*args)[0] == 1).all()
            assert (see(*args, facing_first=False)[0] == 0).all()


def slivers(seed: int, count: int, least: float, most: float) -> np.ndarray:
    """Thin triangles across the picture, their heights between two screen units: `[F, 3, 3]`."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 1, (2, count, 2))
    across = (b - a)[:, ::-1] * [-1, 1] / np.linalg.norm(b - a, axis=-1, keepdims=True)
    height = np.exp(rng.uniform(np.log(least), np.log(most), (count, 1)))
    c = a + (b - a) * rng.uniform(0, 1, (count, 1)) + height * across
    z = rng.uniform(2, 3, (count, 3, 1))
    return np.concatenate([np.stack([a, b, c], 1), z], -1).astype(np.float32)


def depth_by_areas(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Depth `[N]` where pixels at `points` `[N, 2]` see triangles, in the numbers' own precision.

    The plain way: areas over the area of the whole, made to add up to one. Inside alone; else NaN.
    """

    def area(a, b, c):
        return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])

    (a, b, c), z = corners[..., :2].swapaxes(0, 1), corners[..., 2].T
    weights = np.stack([area(points, b, c), area(a, points, c), area(a, b, points)])
    weights = weights / area(a, b, c)
    over_z = weights / z
    inside = (weights >= 0).all(0)
    return np.where(inside, weights.sum(0) / over_z.sum(0), np.nan)


class TestSlivers:
    # By the least height in screen units: the largest error that PyTorch3D was seen to make.
    LARGEST: ClassVar = {1e-5: 1.9e-3, 1e-2: 1.2e-5}

    @pytest.mark.slow
    @pytest.mark.parametrize("image_size", [(256, 256), (150, 230)])
    def test_depth(self, image_size):
        """Relative to exact arithmetic on the same corners, and to the plain way in float32.

        The largest of so many errors is a matter of luck, by a third in either direction.
        """
        height, width = image_size
        x = (2 * np.arange(width) + 1 - width) / width
        y = -(2 * np.arange(height) + 1 - height) / height
        centres = np.stack(np.broadcast_arrays(x[None], y[:, None]), -1)
        for least in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
            ours, plain = [], []
            for seed in range(2 if least < 1e-4 else 1):
                corners = slivers(seed, 4000, least, 10 * least)
                screen = to_screen(corners.reshape(-1, 3), np.arange(12000).reshape(-1, 3))
                seen = draw(screen, image_size=image_size)
                where = np.asarray(seen.face) >= 0
                corners, points = corners[np.asarray(seen.face)[where]], centres[where]
                exact = depth_by_areas(corners.astype(np.longdouble), points.astype(np.longdouble))
                sure = np.isfinite(exact)
                assert sure.mean() > 0.9
                ours.append((np.abs(np.asarray(seen.depth)[where] - exact) / exact)[sure])
                depth = depth_by_areas(corners, points.astype(np.float32))
                plain.append((np.abs(depth - exact) / exact)[sure & np.isfinite(depth)])
            ours, plain = map(np.concatenate, (ours, plain))
            if image_size == (256, 256):
                assert ours.max() < self.LARGEST.get(least, np.inf), least
            assert ours.max() < 2 * plain.max(), least
            assert np.median(ours) < 1.05 * np.median(plain), least

    @pytest.mark.slow
    def test_small_coordinates_keep_their_digits(self):
        """A triangle in the middle of the picture, far smaller than the rounding of a pixel."""
        for size, face in ((1e-5, 0), (5e-7, jr.NO_FACE)):
            corners = size * np.array([[-1, -1, 0], [1, -1, 0], [0, 2, 0.0]]) + [0, 0, 2]
            seen = draw(to_screen(corners.astype(np.float32), [[0, 1, 2]]), image_size=(9, 9))
            assert seen.face[4, 4] == face  # its area is above 1e-10 square pixels, or below
            assert (np.delete(seen.face.ravel(), 40) == jr.NO_FACE).all()


class TestExactness:
    @pytest.mark.slow
    def test_lowest_index_wins_ties(self):
        corners = [[-1.0, -1.0, 2.0], [3.0, -1.0, 2.0], [-1.0, 3.0, 2.0]]
        faces = np.tile([[0, 1, 2]], (3000, 1))
        for schedule in SCHEDULES:
            args = (jnp.array(corners), jnp.array(faces), 0.1, 9.0)
            assert (NEAREST(*args, image_size=(20, 20), schedule=schedule)[0] == 0).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(8))
    def test_no_cracks(self, seed):
        vertices, faces = jittered_grid(seed)
        seen = draw(to_screen(vertices, faces), image_size=(257, 300))
        assert (seen.face >= 0).all()

    @pytest.mark.slow
    def test_no_cracks_on_edges_through_pixel_centres(self):
        line = (2 * np.arange(17) + 1 - 17) / 17  # the pixel centres of 17 pixels
        x, y = np.meshgrid(line, line)
        vertices = np.stack([x, y, np.full_like(x, 2)], -1).reshape(-1, 3).astype(np.float32)
        ids = np.arange(17 * 17).reshape(17, 17)
        a, b, c, d = ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:]
        faces = np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3)
        assert (draw(to_screen(vertices, faces), image_size=(17, 17)).face >= 0).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("image_size", [(5, 70), (64, 33)])
    def test_schedules_agree(self, image_size):
        for seed in range(3):
            vertices, faces = map(jnp.array, soup(seed, 1500))
            one, other = (
                NEAREST(vertices, faces, 0.1, 100.0, image_size=image_size, schedule=schedule)
                for schedule in SCHEDULES
            )
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_allclose(one[2], other[2], rtol=3e-6)  # by a fused multiply-add

    @pytest.mark.thorough
    def test_number_of_blocks_per_pass_changes_nothing(self, monkeypatch):
        vertices, faces = soup(3, 350)
        faces = np.concatenate([faces[:, ::-1], faces])
        results = []
        for most in (1, 7, hard_passes.MAX_BLOCKS_PER_PASS):
            monkeypatch.setattr(hard_passes, "MAX_BLOCKS_PER_PASS", most)
            hard._single_view.cache_clear()
            draw = functools.partial(nearest_faces, image_size=(50, 40), schedule="passes")
            drawn = jax.jit(draw)
            results.append(drawn(jnp.array(vertices), jnp.array(faces), 0.1, 100.0)[0])
        hard._single_view.cache_clear()
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)

    @pytest.mark.thorough
    def test_more_blocks_ahead_than_int32_counts(self, monkeypatch):
        # Let one pass run: all of them would take forever.
        monkeypatch.setattr(lax, "while_loop", lambda go_on, step, state: step(state))
        size = blocks.MAX_BLOCKS_PER_PASS >> 6
        large = np.arange(size) < size - 5
        bounds = blocks.Bounds(*(jnp.zeros(size, jnp.int32),) * 2, *(large * 4095,) * 2)
        assert size * (size + 1) > 2**32
        faces = blocks.scan_blocks(
            lambda state, pass_: pass_.face,
            jnp.zeros(size, jnp.int32),
            bounds,
            block_size=(8, 8),
            blocks_per_pass=size,
        )
        expected = size - 1 - np.minimum(np.arange(size), 5)
        np.testing.assert_array_equal(faces, expected)

    @pytest.mark.thorough
    def test_many_faces_in_few_pixels(self):
        rng = np.random.default_rng(0)
        count = 5000
        xy = rng.uniform(-0.1, 0.1, (count, 3, 2))
        z = rng.uniform(1, 2, (count, 3, 1))
        vertices = np.concatenate([xy, z], -1).reshape(-1, 3).astype(np.float32)
        faces = np.arange(3 * count).reshape(-1, 3)
        seen = draw(to_screen(vertices, faces), image_size=(40, 40))
        face, _, _, doubtful = cast_rays(vertices, faces, (40, 40))
        np.testing.assert_array_equal(np.asarray(seen.face)[~doubtful], face[~doubtful])
        assert doubtful.mean() < 0.05


class TestClipping:
    """Faces across the near plane and the camera plane."""

    @pytest.mark.slow
    @pytest.mark.parametrize("cells", [1, 6])
    def test_inside_a_room(self, cells):
        """Standing in a box, every pixel sees a wall, at the depth that the box says."""
        line = np.linspace(-2, 2, cells + 1)
        u, v = (a.ravel() for a in np.meshgrid(line, line))
        ids = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
        a, b, c, d = ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:]
        sheet = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)]).reshape(-1, 3)
        walls, faces = [], []
        for axis in range(3):
            for side in (-2.0, 2.0):
                faces.append(sheet + len(walls) * len(u))
                walls.append(np.insert(np.stack([u, v], -1), axis, side, axis=1))
        mesh = jr.Mesh(jnp.array(np.concatenate(walls)), jnp.array(np.concatenate(faces)))
        for eye, direction in (((0.3, -0.2, 0.4), (0.2, 0.1, 1.0)), ((0, 0, 0), (1.0, 0, 0))):
            camera = jr.look(eye, direction, projection=jr.perspective(90.0))
            screen = jr.ScreenMesh(jr.project(mesh.vertices, camera), mesh.faces)
            seen = draw(screen, image_size=(64, 64))
            assert (seen.face >= 0).all()
            x = (2 * np.arange(64) + 1 - 64) / 64
            rays = np.stack([*np.broadcast_arrays(x, -x[:, None]), np.ones((64, 64))], -1)
            rays = rays @ np.asarray(camera.rotation, np.float64)
            with np.errstate(divide="ignore"):
                wanted = ((2 * np.sign(rays) - np.array(eye)) / rays).min(-1)
            np.testing.assert_allclose(seen.depth, wanted, rtol=1e-4)

    @pytest.mark.slow
    def test_floor_under_the_camera(self):
        """One quad that passes under the camera reaches from the horizon to the lowest row."""
        floor = np.array([[-50, -1, -50], [50, -1, -50], [50, -1, 50], [-50, -1, 50.0]])
        camera = jr.look((0.0, 0.0, 0.0), projection=jr.perspective(90.0))
        screen = to_screen(jr.project(floor, camera), [[0, 1, 2], [0, 2, 3]])
        seen = draw(screen, image_size=(64, 64))
        assert (seen.face[32:] >= 0)[seen.depth[32:] < 49].all()
        assert (seen.face[:32] < 0).all()
        row = np.arange(34, 64)
        wanted = 64 / (2.0 * row + 1 - 64)
        np.testing.assert_allclose(seen.depth[34:, 31], wanted, rtol=1e-4)
        assert float(seen.depth[33:].min()) > 1.0

    @pytest.mark.slow
    def test_a_vertex_on_the_camera_plane(self):
        corners = np.array([[0.0, -1.0, 0.0], [-1.0, -1.0, -4.0], [1.0, -1.0, -4.0]])
        camera = jr.look((0.0, 0.0, 0.0), projection=jr.perspective(90.0))
        seen = draw(to_screen(jr.project(corners, camera), [[0, 1, 2]]), image_size=(65, 65))
        wanted = 65 / (2.0 * np.arange(41, 65) + 1 - 65)
        np.testing.assert_allclose(seen.depth[41:, 32], wanted, rtol=1e-4)
        assert np.isfinite(seen.barycentrics).all()

    @pytest.mark.slow
    def test_a_corner_close_to_the_camera_plane(self):
        """Its place on screen is so far away that areas must not be measured from there."""
        corners = np.array([[-1.0, -2.0, 3.0], [2.0, 0.5, 2.0], [3e7, 5e7, 1e-7]], np.float32)
        for faces in ([[0, 1, 2]], [[1, 2, 0]], [[2, 0, 1]]):
            seen = draw(to_screen(corners, faces), image_size=(33, 50))
            face, barycentrics, _, doubtful = cast_rays(corners, np.array(faces), (33, 50))
            sure = (face == 0) & ~doubtful
            assert sure.sum() > 100
            np.testing.assert_allclose(seen.barycentrics[sure], barycentrics[sure], atol=1e-6)

    @pytest.mark.slow
    def test_near_plane(self):
        corners = np.array([[0.0, -1.0, -0.2], [-3.0, -1.0, -9.0], [3.0, -1.0, -9.0]])
        camera = jr.look((0.0, 0.0, 0.0), projection=jr.perspective(90.0))
        seen = draw(
            to_screen(jr.project(corners, camera), [[0, 1, 2]]), 2.0, 5.0, image_size=(64, 64)
        )
        drawn = seen.depth[seen.face >= 0]
        assert 2.0 < drawn.min() < 2.2
        assert 4.0 < drawn.max() < 5.0
        assert (seen.depth[seen.face < 0] == 5.0).all()


class TestTransformations:
    @pytest.mark.slow
    def test_jit_equals_eager(self):
        vertices, faces = soup(0, 80)
        screen = to_screen(vertices, faces)
        eager = jr.rasterize_hard(screen, image_size=(30, 31))
        np.testing.assert_array_equal(eager.face, draw(screen, image_size=(30, 31)).face)

    @pytest.mark.slow
    @pytest.mark.parametrize("level", [3, 5])
    def test_constants(self, level):
        """A mesh, or all that is drawn, that a compiled function closes over."""
        ball = jr.shapes.icosphere(level)
        camera = jr.look_at((0, 0, 3))
        screen = jr.ScreenMesh(jr.project(ball.vertices, camera), ball.faces)
        wanted = jr.rasterize_hard(screen, image_size=(20, 20)).depth

        def scaled(factor, vertices):
            screen = jr.ScreenMesh(jr.project(vertices, camera), ball.faces)
            return factor * jr.rasterize_hard(screen, image_size=(20, 20)).depth

        np.testing.assert_allclose(jax.jit(scaled)(1.0, ball.vertices), wanted, rtol=1e-5)
        all_known = jax.jit(functools.partial(scaled, vertices=ball.vertices))
        np.testing.assert_allclose(all_known(1.0), wanted, rtol=1e-5)

    @pytest.mark.slow
    def test_without_jit(self):
        """As those do who look for a NaN."""
        vertices, faces = soup(0, 20)
        screen = to_screen(vertices, faces)
        with jax.disable_jit():
            plain = jr.rasterize_hard(screen, image_size=(9, 10))
        np.testing.assert_array_equal(plain.face, draw(screen, image_size=(9, 10)).face)

    @pytest.mark.slow
    def test_vmap_equals_loop(self):
        """Over vertices, over faces, over both, nested, and over near alone."""
        image_size = (21, 30)
        meshes = [soup(seed, 60) for seed in range(4)]
        vertices = jnp.stack([jnp.array(v) for v, _ in meshes])
        faces = jnp.array(meshes[0][1])

        def single(v, f, near):
            return draw(jr.ScreenMesh(v, f), near, image_size=image_size)

        near = jnp.array([0.1, 0.5, 1.0, 2.0])
        permuted = jnp.stack([jnp.roll(faces, shift, 0) for shift in range(4)])

        def check(batched, wanted):
            for leaf, other in zip(jax.tree.leaves(batched), wanted, strict=True):
                np.testing.assert_allclose(leaf, other, rtol=1e-5, atol=1e-6)

        def loop(items):
            results = [single(*item) for item in items]
            leaves = zip(*map(jax.tree.leaves, results), strict=True)
            return [jnp.stack(items) for items in leaves]

        check(
            jax.vmap(single, (0, None, None))(vertices, faces, 0.1),
            loop([(v, faces, 0.1) for v in vertices]),
        )
        check(
            jax.vmap(single, (None, 0, 0))(vertices[0], permuted, near),
            loop([(vertices[0], f, n) for f, n in zip(permuted, near, strict=True)]),
        )
        nested = jax.vmap(jax.vmap(single, (None, None, 0)), (0, None, None))
        flat = loop([(v, faces, n) for v in vertices for n in near])
        result = nested(vertices, faces, near)
        check(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), result), flat)

    def test_one_fused_call(self):
        """A batch is one loop, not one per view."""
        vertices, faces = soup(0, 60)
        batch = jnp.stack([jnp.array(vertices)] * 8)
        program = jax.make_jaxpr(
            jax.vmap(lambda v: jr.rasterize_hard(to_screen(v, faces), image_size=(16, 16)).face)
        )(batch)
        single = jax.make_jaxpr(
            lambda v: jr.rasterize_hard(to_screen(v, faces), image_size=(16, 16)).face
        )(batch[0])
        assert str(program).count("while[") == str(single).count("while[")


class TestGradient:
    @pytest.mark.slow
    @pytest.mark.usefixtures("x64")
    @pytest.mark.parametrize("perspective", [True, False])
    def test_finite_differences(self, perspective):
        """Of barycentrics and depth, in float64, where no pixel changes its face."""
        vertices, faces = soup(11, 60, crossing=perspective)
        vertices = vertices.astype(np.float64)
        rng = np.random.default_rng(0)
        weights = jnp.array(rng.normal(size=(24, 20, 4)))
        direction = rng.normal(size=vertices.shape)

        @jax.jit
        def values(v):
            screen = to_screen(v, faces, perspective=perspective)
            seen = jr.rasterize_hard(screen, image_size=(24, 20))
            both = jnp.concatenate([seen.barycentrics, seen.depth[..., None]], -1)
            return seen.face, both

        # Compare pixels that see the same face, not edge-on, at both ends of the difference.
        step = 1e-6
        (face_up, up), (face_down, down) = (
            values(jnp.array(vertices + sign * step * direction)) for sign in (1, -1)
        )
        numeric = (up - down) / (2 * step)
        steady = (face_up == face_down) & (jnp.abs(numeric).max(-1) < 1e4)
        weights = weights * steady[..., None]
        assert steady.mean() > 0.9

        gradient = jax.grad(lambda v: (values(v)[1] * weights).sum())(jnp.array(vertices))
        assert gradient.dtype == np.float64
        wanted = float((numeric * weights).sum())
        assert float((gradient * direction).sum()) == pytest.approx(wanted, rel=1e-4)

        _, tangent = jax.jvp(
            lambda v: values(v)[1], (jnp.array(vertices),), (jnp.array(direction),)
        )
        np.testing.assert_allclose(
            np.asarray(tangent)[steady], np.asarray(numeric)[steady], rtol=1e-4, atol=1e-4
        )

    @pytest.mark.thorough
    @pytest.mark.parametrize("compiler", [jax.jit, jit])
    @pytest.mark.parametrize("perspective", [True, False])
    def test_unseen_slivers(self, compiler, perspective):
        """Whether rounding finds an area or none, and one kernel another than the next."""
        rng = np.random.default_rng(0)
        corners = rng.uniform([-1, -1, 1], [1, 1, 4], (40, 3, 3)).astype(np.float32)
        corners[:20, 2] = corners[:20, 1]
        corners[20:, 2] = (corners[20:, 0] + corners[20:, 1]) / 2
        faces = jnp.arange(120).reshape(-1, 3)
        upstream = jnp.asarray(rng.normal(size=(2, 8, 8)), jnp.float32)

        @compiler
        def gradient(vertices):
            def seen(vertices):
                none = jnp.full((8, 8), -1)
                return hard.look_up(vertices, faces, none, 9.0, perspective=perspective)

            (barycentrics, _), pull = jax.vjp(seen, vertices)
            return pull((upstream[0, ..., None] * jnp.ones_like(barycentrics), upstream[1]))[0]

        assert (gradient(jnp.asarray(corners.reshape(-1, 3))) == 0).all()

    @pytest.mark.thorough
    @pytest.mark.usefixtures("x64")
    def test_second_derivatives(self):
        corners = jnp.array([[-1.0, -1.0, 2.0], [1.0, -1.0, 3.0], [0.0, 1.0, 2.5]])

        @jit
        @jax.grad
        def slope(v):
            seen = jr.rasterize_hard(jr.ScreenMesh(v, jnp.array([[0, 1, 2]])), image_size=(6, 6))
            return (seen.depth**2).sum() + (seen.barycentrics**3).sum()

        way = jax.random.normal(jax.random.key(0), corners.shape)
        bend = jit(lambda v: jax.jvp(slope.__wrapped__, (v,), (way,))[1])(corners)
        numeric = (slope(corners + 1e-5 * way) - slope(corners - 1e-5 * way)) / 2e-5
        np.testing.assert_allclose(bend, numeric, rtol=1e-6, atol=1e-6)

    @pytest.mark.slow
    def test_of_vmap(self):
        vertices, faces = soup(0, 60)
        batch = jnp.stack([jnp.array(vertices), 1.1 * jnp.array(vertices)])

        def loss(v):
            return draw(jr.ScreenMesh(v, jnp.array(faces)), image_size=(16, 16)).depth.sum()

        together = jax.grad(lambda b: jax.vmap(loss)(b).sum())(batch)
        alone = jnp.stack([jax.grad(loss)(v) for v in batch])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)

    @pytest.mark.slow
    def test_far_of_empty_pixels(self):
        screen = to_screen([[0.0, 0.0, 1.0]] * 3, [[0, 1, 2]])
        gradient = jax.grad(lambda far: draw(screen, 0.1, far, image_size=(4, 5)).depth.sum())(50.0)
        assert float(gradient) == 20


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"vertices": jnp.zeros((2, 4, 3))}, "`screen.vertices` must be.*jax.vmap"),
            ({"vertices": jnp.zeros((4, 2))}, "`screen.vertices` must be"),
            ({"vertices": jnp.full((4, 3), jnp.nan)}, "`screen.vertices` must be finite"),
            ({"faces": jnp.zeros((1, 4), jnp.int32)}, "`screen.faces` must be"),
            ({"faces": jnp.zeros((1, 3))}, "`screen.faces` must be an integer"),
            ({"faces": jnp.array([[0, 1, 4]])}, "from 0 to 4"),
            ({"faces": jnp.array([[0, 1, -1]])}, "from -1 to 1"),
            ({"image_size": (0, 4)}, "`image_size` must be at least"),
            ({"image_size": 4}, "`image_size` must be a pair"),
            ({"image_size": (4.5, 4)}, "`image_size` must be at least"),
            ({"near": 2.0, "far": 1.0}, "`near` must be less than `far`"),
            ({"near": 0.0}, "`near` must be positive"),
            ({"far": np.nan}, "`far` must be finite"),
            ({"cull": "left"}, "`cull` must be one of"),
        ],
    )
    def test_value_error(self, change, message):
        arguments = {
            "vertices": jnp.ones((4, 3)),
            "faces": jnp.array([[0, 1, 2]]),
            "image_size": (4, 4),
        } | change
        screen = jr.ScreenMesh(arguments.pop("vertices"), arguments.pop("faces"))
        with pytest.raises(ValueError, match=message):
            jr.rasterize_hard(screen, **arguments)

    def test_no_screen(self):
        with pytest.raises(ValueError, match="`screen` must be a ScreenMesh"):
            jr.rasterize_hard(jr.shapes.cube(), image_size=(4, 4))

    @pytest.mark.slow
    @pytest.mark.parametrize(("vertex_count", "face_count"), [(0, 0), (4, 0)])
    def test_empty_mesh(self, vertex_count, face_count):
        screen = to_screen(np.ones((vertex_count, 3)), np.zeros((face_count, 3)))
        seen = draw(screen, image_size=(3, 4))
        assert (seen.face == jr.NO_FACE).all()
        assert (seen.barycentrics == 0).all()
        assert (seen.depth == 100).all()

    @pytest.mark.slow
    def test_bad_faces_inside_jit_lose_only_themselves(self):
        vertices, faces = soup(2, 40, crossing=False)
        bad_vertices = np.concatenate([vertices, [[np.nan, 0, 1], [0, np.inf, 1], [0, 0, 1]]])
        count = len(vertices)
        extra = [[count, count + 1, count + 2], [0, 1, count], [0, 1, 99999], [-1, 0, 1]]
        bad_faces = np.concatenate([faces, extra])
        good = draw(to_screen(vertices, faces), image_size=(32, 32))
        screen = to_screen(bad_vertices.astype(np.float32), bad_faces)
        seen = draw(screen, image_size=(32, 32))
        np.testing.assert_array_equal(seen.face, good.face)
        np.testing.assert_allclose(seen.depth, good.depth)

        def depth(v):
            return draw(jr.ScreenMesh(v, screen.faces), image_size=(32, 32)).depth.sum()

        assert np.isfinite(jax.jit(jax.grad(depth))(screen.vertices)).all()

    @pytest.mark.slow
    @given(data=st.data())
    @settings(max_examples=25, deadline=None)
    def test_always_finite(self, data):
        """Any finite vertices give finite results and gradients."""
        number = st.one_of(
            st.floats(-2, 2, width=32),
            st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30, 1e6, -1e6, 1e-6, 0.1, 100.0]),
        )
        points = data.draw(st.lists(st.tuples(number, number, number), min_size=9, max_size=9))
        vertices = jnp.array(points, jnp.float32)
        faces = np.random.default_rng(0).integers(0, 9, (16, 3))

        def total(v):
            seen = draw(to_screen(v, faces), image_size=(6, 5))
            return seen.barycentrics.sum() + seen.depth.sum(), seen

        (_, seen), gradient = jax.value_and_grad(total, has_aux=True)(vertices)
        assert np.isfinite(seen.depth).all()
        assert np.isfinite(seen.barycentrics).all()
        assert np.isfinite(gradient).all()
        assert (np.asarray(seen.depth) <= 100).all()
        assert (np.asarray(seen.depth)[np.asarray(seen.face) >= 0] > 0.0999).all()
