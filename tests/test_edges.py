"""`antialias`, `edge_gradient`, and `render` and `silhouette` with them."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit
from reference import soup

import jaxrender as jr
from jaxrender import _edges
from jaxrender.ops import edges as ops_edges

SIZE = (14, 19)
KINDS = {"antialias": jr.antialias, "edge": jr.edge_gradient}


def seen(screen: jr.ScreenMesh, size=SIZE) -> jr.Fragments:
    return jr.rasterize_hard(screen, image_size=size)


def square(half: float, depth: float = 2.0, x: float = 0.0) -> np.ndarray:
    corners = [[-half, -half], [half, -half], [half, half], [-half, half]]
    return np.float32([[a + x, b, depth] for a, b in corners])


TWO = np.int32([[0, 1, 2], [0, 2, 3]])


def crossing_by_hand(ends, here, axis):
    """Where a line between two points meets the pixel row, or column, between two centres."""
    (a, b), other = ends, 1 - axis
    along, across = abs(b[axis] - a[axis]), abs(b[other] - a[other])
    if across < along or (axis == 1 and across == along):
        return None
    if (a[other] <= here[other]) == (b[other] <= here[other]):
        return None
    t = (here[other] - a[other]) / (b[other] - a[other])
    place = a[axis] + t * (b[axis] - a[axis]) - here[axis]
    return place if 0 <= place < 1 else None


def antialias_by_hand(image, face, depth, vertices, faces):
    """Pair by pair (Laine et al. 2020, section 3.6), of surfaces that do not cut each other."""
    height, width = face.shape
    x, y, _ = vertices.T
    points = np.stack([(x * width + width - 1) / 2, (height - 1 - y * height) / 2], -1)

    def area(a, b, c):
        (ux, uy), (vx, vy) = b - a, c - a
        return ux * vy - uy * vx

    def is_silhouette(f, start, end):
        for g, corners in enumerate(faces):
            if g != f and {start, end} <= set(corners):
                rest = [sum(faces[i]) - start - end for i in (f, g)]
                side = [area(points[start], points[end], points[r]) for r in rest]
                if side[0] * side[1] < 0:
                    return False
        return True

    out = image.astype(np.float64).copy()
    for axis, (down, right) in enumerate([(0, 1), (1, 0)]):
        for i, j in np.ndindex(height - down, width - right):
            one, two = (i, j), (i + down, j + right)
            f, g = face[one], face[two]
            if f == g:
                continue
            over = f if g < 0 or (f >= 0 and depth[one] < depth[two]) else g
            for k in range(3):
                start, end = faces[over][(k + 1) % 3], faces[over][(k + 2) % 3]
                place = crossing_by_hand((points[start], points[end]), (j, i), axis)
                if place is None or not is_silhouette(over, start, end):
                    continue
                if place >= 0.5:
                    out[two] += (place - 0.5) * (image[one] - image[two])
                else:
                    out[one] += (0.5 - place) * (image[two] - image[one])
                break
    return out


class TestAntialias:
    @pytest.mark.slow
    def test_against_a_loop(self):
        """Three squares at different depths, a folded one among them."""
        folded = np.float32([[-0.3, -0.9, 3.0], [0.3, -0.9, 3], [0.2, 0.9, 3], [0.25, -0.8, 3]])
        corners = [square(0.5, 2.0, 0.31), square(0.7, 2.5, -0.2), folded]
        vertices = np.concatenate(corners) * np.float32([0.93, 1.07, 1])
        faces = np.concatenate([TWO + 4 * k for k in range(3)])
        screen = jr.ScreenMesh(jnp.asarray(vertices), jnp.asarray(faces))
        fragments = seen(screen)
        image = np.float32(np.random.default_rng(0).uniform(size=(*SIZE, 3)))
        want = antialias_by_hand(
            image, np.asarray(fragments.face), np.asarray(fragments.depth), vertices, faces
        )
        got = jr.antialias(image, fragments, screen)
        np.testing.assert_allclose(got, want, atol=1e-5)
        assert np.abs(want - image).max() > 0.1
        # Known edges, one channel, and a picture without channels make no difference.
        edges = jr.number_edges(faces)
        np.testing.assert_array_equal(jr.antialias(image, fragments, screen, edges=edges), got)
        alone = jr.antialias(image[..., 1], fragments, screen, edges=edges)
        np.testing.assert_array_equal(alone, got[..., 1])

    @pytest.mark.slow
    def test_coverage_is_the_area(self):
        """Of a square whose edges lie anywhere between pixel centres."""
        areas = []
        for half in (0.4, 0.43, 0.47, 0.5):
            screen = jr.ScreenMesh(jnp.asarray(square(half)), jnp.asarray(TWO))
            fragments = seen(screen, (20, 20))
            alpha = jr.antialias((fragments.face >= 0) * 1.0, fragments, screen)
            areas.append(float(alpha.mean()) / half**2)
        np.testing.assert_allclose(areas, 1, atol=0.015)  # the corners are not quite

    @pytest.mark.slow
    def test_edges_are_numbered_alike(self):
        _, faces = soup(3, 20)
        faces = np.concatenate([faces, faces[:, ::-1], faces[:5]])
        some = jr.Fragments(jnp.full((1, 1), -1), jnp.zeros((1, 1, 3)), jnp.zeros((1, 1)))
        known = jr.number_edges(faces)
        np.testing.assert_array_equal(_edges._sort_edges(jnp.asarray(faces), some), known)
        assert (known >= 0).all()
        assert known.max() < faces.size


class TestGradient:
    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", KINDS)
    def test_modes(self, x64, kind):
        """Forward is the transpose of reverse, under jit and vmap, as a loop."""
        vertices, faces = soup(5, 12, crossing=True)
        vertices, faces = jnp.asarray(vertices, jnp.float64), jnp.asarray(faces)
        colors = jax.random.uniform(jax.random.key(0), (len(vertices), 2), jnp.float64)

        def picture(vertices, colors):
            screen = jr.ScreenMesh(vertices, faces)
            fragments = seen(screen)
            rgb = jr.interpolate(colors, fragments, faces)
            return KINDS[kind](rgb, fragments, screen)

        args = vertices, colors
        ways = [
            tuple(jax.random.normal(jax.random.key(k), a.shape, a.dtype) for a in args)
            for k in (1, 2)
        ]
        upstream = jax.random.normal(jax.random.key(3), (*SIZE, 2), jnp.float64)
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *ways)

        @jit
        def both(args, ways, upstream):
            push = jax.vmap(lambda way: jax.jvp(picture, args, way)[1])(ways)
            image, pull = jax.vjp(picture, *args)
            return image, push, pull(upstream)

        image, push, pull = both(args, stacked, upstream)
        assert all(np.isfinite(part).all() for part in (image, push, *pull))
        assert np.abs(pull[0][:, :2]).max() > 0.1
        for way, along in zip(ways, push, strict=True):
            want = sum((a * b).sum() for a, b in zip(pull, way, strict=True))
            np.testing.assert_allclose((along * upstream).sum(), want, rtol=1e-9)
        if kind == "edge":
            fragments = seen(jr.ScreenMesh(*args[:1], faces))
            plain = jr.interpolate(colors, fragments, faces)
            np.testing.assert_allclose(image, plain, rtol=1e-14)  # what compiles anew may round

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("perspective", [True, False])
    def test_of_weights_over_squares(self, x64, kind, perspective):
        """One square before another, moved: the derivative of sums over what each covers."""
        count = 64
        front, back = square(0.31, 2.0, 0.013), square(0.64, 3.0, -0.17)
        vertices = jnp.asarray(np.concatenate([front, back]), jnp.float64)
        faces = jnp.asarray(np.concatenate([TWO, TWO + 4]))
        column = jnp.linspace(-1, 1, count)
        weights = jnp.cos(2 * column)[None, :] + jnp.sin(3 * column)[:, None]

        def loss(move):
            shift = jnp.concatenate([jnp.tile(move[:3], (4, 1)), jnp.tile(move[3:], (4, 1))])
            screen = jr.ScreenMesh(vertices + shift, faces, perspective)
            fragments = seen(screen, (count, count))
            colors = jnp.array([0.0, 1.0, 0.4])[(fragments.face + 2) // 2]
            return (KINDS[kind](colors, fragments, screen) * weights).mean()

        def integral(low_x, high_x, low_y, high_y):
            """Of the weights over a rectangle of the screen, which is 2 x 2."""
            over_x = (np.sin(2 * high_x) - np.sin(2 * low_x)) / 2 * (high_y - low_y)
            # Rows go down, and y up.
            over_y = (np.cos(3 * -low_y) - np.cos(3 * -high_y)) / -3 * (high_x - low_x)
            return (over_x + over_y) / 4

        def truth(move):
            x, y = 0.013 + move[0], move[1]
            inner = integral(x - 0.31, x + 0.31, y - 0.31, y + 0.31)
            x, y = -0.17 + move[3], move[4]
            outer = integral(x - 0.64, x + 0.64, y - 0.64, y + 0.64)
            return 1.0 * inner + 0.4 * (outer - inner)

        got = np.asarray(jit(jax.grad(loss))(jnp.zeros(6)))
        step = 1e-5 * np.eye(6)
        want = [(truth(way) - truth(-way)) / 2e-5 for way in step]
        # What is blended pulls with the weight of a pixel centre, up to half a pixel off.
        tolerance = {"edge": 0.03, "antialias": 0.08}[kind]
        np.testing.assert_allclose(got, want, atol=tolerance * np.abs(want).max())

    @pytest.mark.thorough
    def test_surfaces_that_cut_each_other(self, x64):
        """The line of the cut moves with either; antialiasing is known to have no slope there."""
        tilted = np.array([[-3.0, -3, 1.5], [3, -3, 2.5], [0, 5, 2.0]])
        tilted[:, :2] *= 2 / tilted[:, 2:]  # straight in space
        flat = np.array([[-3.0, -3, 2], [3, -3, 2], [0, 5, 2]])
        vertices = jnp.asarray(np.concatenate([flat, tilted]))
        faces = jnp.arange(6, dtype=jnp.int32).reshape(2, 3)

        def loss(away, kind):
            screen = jr.ScreenMesh(vertices.at[:3, 2].add(away), faces)
            fragments = seen(screen, (30, 30))
            picture = KINDS[kind]((fragments.face == 1) * 1.0, fragments, screen)
            return picture[10:20, 10:20].mean()  # the ends of both lie elsewhere

        # In front of the square lies what is nearer than 2 + away: x < k (2 + away), and 1/z is
        # linear on screen, so the line moves at the rate of the tilted one's slope there.
        inverse = 1 / tilted[:, 2]
        slope = np.linalg.solve(np.c_[tilted[:, :2], np.ones(3)], inverse)[0]
        rate = -1 / 4 / slope  # d(1/z) over d(1/z)/dx
        want = rate / (2 * 10 / 30)  # of a window so wide
        got = {kind: float(jax.grad(loss)(0.0, kind)) for kind in KINDS}
        np.testing.assert_allclose(got["edge"], want, rtol=1e-6)
        assert got["antialias"] == 0

    @pytest.mark.thorough
    def test_hessian(self, x64):
        """Of a silhouette to its pose: symmetric, and the difference of gradients."""
        ball = jr.shapes.icosphere(1)
        weights = jax.random.normal(jax.random.key(0), SIZE, jnp.float64)
        vertices = jnp.asarray(ball.vertices, jnp.float64)
        hard = jr.Hard(visibility_gradient="antialias")
        view = jr.look_at(jnp.array([0.3, 0.4, 2.6], jnp.float64))

        def loss(pose):
            turned = vertices @ jr.rotations.from_axis_angle(pose[:3]).T + pose[None, 3:]
            mesh = jr.Mesh(turned, ball.faces)
            alpha = jr.silhouette(mesh, view, image_size=SIZE, rasterizer=hard)
            return (weights * alpha).sum() + (alpha**2).sum()

        pose = jnp.array([0.1, -0.2, 0.3, 0.01, 0.02, -0.03])
        hessian = np.asarray(jit(jax.hessian(loss))(pose))
        assert np.isfinite(hessian).all()
        size = np.abs(hessian).max()
        np.testing.assert_allclose(hessian, hessian.T, atol=1e-9 * size)
        gradient, step = jit(jax.grad(loss)), 1e-7
        for k, way in enumerate(np.eye(6) * step):
            column = (gradient(pose + way) - gradient(pose - way)) / (2 * step)
            np.testing.assert_allclose(column, hessian[k], atol=1e-5 * size)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", KINDS)
    def test_behind_the_camera(self, x64, kind):
        """A floor that passes under the camera: the edge on screen, cut or not, is the same."""
        corners = np.array([[-1.03, -1.1, -2], [1, -1.1, -2], [1.4, -1.1, 6], [-1, -1.1, 6]])
        x = jnp.linspace(-1, 1, 50)
        weights = jnp.cos(x)[None, :] + jnp.sin(2 * x)[:, None]

        def loss(corners, cut):
            # Where cut, what lies behind is left out: it starts 0.3 in front of the camera.
            t = (0.3 + 2) / 8
            near = corners[:2] + t * (corners[jnp.array([3, 2])] - corners[:2])
            corners = jnp.where(cut, jnp.concatenate([near, corners[2:]]), corners)
            x, y, z = corners.T
            screen = jr.ScreenMesh(jnp.stack([x / z, y / z, z], -1), jnp.asarray(TWO))
            fragments = seen(screen, (50, 50))
            picture = KINDS[kind]((fragments.face >= 0) * 1.0, fragments, screen)
            return (picture * weights).mean()

        slope = jit(jax.value_and_grad(loss))
        (whole, by_whole), (part, by_part) = (slope(jnp.asarray(corners), cut) for cut in (0, 1))
        np.testing.assert_allclose(whole, part, rtol=1e-2)
        # The diagonal lies elsewhere, and now and then next to an edge.
        size = np.abs(by_whole).max()
        assert size > 0.01
        np.testing.assert_allclose(by_whole, by_part, atol=0.08 * size)

    @pytest.mark.thorough
    def test_faces_that_meet(self, x64):
        """Whose colours jump from 1.009 to 0.185 between them, and have slopes besides."""
        x, y = np.array([-1.5, 0.03, 1.5] * 2), np.repeat([-1.5, 1.5], 3)
        vertices = jnp.asarray(np.stack([x, y, 0 * x + 2], -1))
        faces = jnp.array([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]])
        middle = np.outer([0, 1, 0, 0, 1, 0], [1.0, 0, 0])
        column = jnp.linspace(-1, 1, 41)[None, 1::2] + jnp.zeros((8, 1))

        def mean(right, faceted):
            screen = jr.ScreenMesh(vertices + right * middle, faces)
            fragments = seen(screen, column.shape)
            picture = jnp.where(fragments.face < 2, 1 + 0.3 * column, 0.2 - 0.5 * column)
            return jr.edge_gradient(picture, fragments, screen, faceted=faceted).mean()

        @jit
        def slopes(right):
            return [jax.grad(mean)(right, faceted) for faceted in (True, False)]

        found = slopes(0.0)
        np.testing.assert_allclose(found, [(1.009 - 0.185) * 2 / 4, 0], atol=1e-12)

    @pytest.mark.slow
    def test_midway(self):
        """An edge that lies just between two centres moves the one on its other side."""
        vertices = jnp.asarray(square(0.5))

        def alpha(right):
            screen = jr.ScreenMesh(vertices.at[1:3, 0].add(right), jnp.asarray(TWO))
            fragments = seen(screen, (8, 8))
            picture = (fragments.face >= 0) * 1.0
            return [draw(picture, fragments, screen)[4, 5:7] for draw in KINDS.values()]

        moved = jit(lambda right: jax.jvp(alpha, (right,), (1.0,)))(0.0)[1]
        np.testing.assert_allclose(moved, [[0, 4], [2, 2]])


@pytest.mark.slow
class TestKernels:
    """Of plain JAX the kernels are no more than a quicker way."""

    @staticmethod
    @functools.partial(jit, static_argnames=("options", "size"))
    def both(vertices, faces, numbers, options, size):
        """What edges there are, pixels blended and back, gradient and motions; in either way."""
        fragments = seen(jr.ScreenMesh(vertices, faces, options.perspective), size)
        numbers = numbers if options.silhouettes else numbers[:0]
        given = vertices, faces, fragments.face, fragments.depth, numbers
        given = [jnp.stack([array]) for array in given]
        random = (jax.random.normal(jax.random.key(k), (1, *size, 2)) for k in (0, 1))
        picture, pulled = (array.astype(vertices.dtype) for array in random)
        shapes = ((vertices.shape, vertices.dtype),)
        moved = jax.random.normal(jax.random.key(2), (3, *vertices.shape), vertices.dtype)
        results = []
        for way in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ops_edges.cpu, "can_take", lambda *dtypes, way=way: way)
                found = ops_edges._find(*given, options=options, schedule=way)
                if not results:
                    code, place = found
                args = [*given[:3], code, place, picture]
                gradient = ops_edges._transposed_move_pixels(args, [pulled], shapes, options)
                gradient += ops_edges._batched_move_pixels(args, [moved], options)
                blended = []
                if options.silhouettes:
                    back = ops_edges._transposed_blend(
                        [code, place], [picture], ((picture.shape[1:], picture.dtype),), None
                    )
                    forward = ops_edges.blend_pixels(
                        picture[0], *given[0], faces, fragments.face, code[0], place[0], True
                    )
                    blended = [forward, *back]
                results.append((found, list(gradient), blended))
        return results

    @pytest.mark.thorough
    @pytest.mark.parametrize("silhouettes", [True, False])
    @pytest.mark.parametrize("perspective", [True, False])
    def test_many_scenes(self, x64, perspective, silhouettes):
        options = ops_edges.Options(perspective, silhouettes)
        cuts = 0
        for seed in range(12):
            vertices, faces = soup(seed, 30, crossing=seed % 2 == 0)
            faces = np.concatenate([faces, faces[:10, ::-1]])  # some are there twice
            if seed % 3 == 0:
                vertices[:, 2] = 2 + vertices[:, 2] % 0.3  # many cut each other
            vertices = jnp.asarray(vertices, jnp.float64)
            args = vertices, jnp.asarray(faces), jnp.asarray(jr.number_edges(faces))
            one, other = self.both(*args, options, (24, 31))
            np.testing.assert_array_equal(one[0][0], other[0][0])
            for got, want in zip(one[1], other[1], strict=True):
                scale = np.abs(want).max()
                assert scale > 1
                np.testing.assert_allclose(got, want, atol=1e-10 * scale)
            for got, want in zip((one[0][1], *one[2]), (other[0][1], *other[2]), strict=True):
                np.testing.assert_allclose(got, want, atol=1e-9)
            cuts += (one[0][0] == ops_edges.CUT).sum()
        assert silhouettes or cuts > 50

    @pytest.mark.thorough
    def test_large_picture(self):
        """Which several threads draw, each its part."""
        ball = jr.shapes.icosphere(2)
        screen = jr.project(ball.vertices, jr.look_at((0.3, 0.4, 2.2)))
        args = screen, ball.faces, jnp.asarray(jr.number_edges(ball.faces))
        for silhouettes, faceted in ((True, False), (False, False), (False, True)):
            options = ops_edges.Options(True, silhouettes, faceted)
            one, other = self.both(*args, options, (260, 257))
            assert (one[0][0] != other[0][0]).mean() < 1e-4
            for got, want in zip(one[1], other[1], strict=True):
                np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())
            for got, want in zip(one[2], other[2], strict=True):
                np.testing.assert_allclose(got, want, atol=1e-3)


class TestHostile:
    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", KINDS)
    def test_finite(self, kind):
        """Whatever the vertices are: nothing, the largest floats, faces without area, NaN."""

        @jit
        def slopes(vertices, faces):
            def loss(vertices):
                screen = jr.ScreenMesh(vertices, faces)
                fragments = seen(screen, (5, 6))
                picture = fragments.barycentrics + 0.1
                return (KINDS[kind](picture, fragments, screen) ** 2).sum()

            return jax.value_and_grad(loss)(vertices)

        vertices, faces = soup(1, 10)
        random = np.random.default_rng(0)
        for scale in (1.0, 1e-6, 1e4, 1e18, 1e30):
            moved = vertices * np.float32([scale, 1, 1])
            moved[:6] = moved[0]
            moved[6:9, 2] = -moved[6:9, 2]
            moved[12] = np.float32(random.choice([np.nan, np.inf, 3e38], 3))
            value, slope = slopes(moved, faces)
            assert np.isfinite(value)
            assert np.isfinite(slope).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
    def test_small_pictures(self, kind, size):
        screen = jr.ScreenMesh(jnp.asarray(square(0.5)), jnp.asarray(TWO))
        fragments = seen(screen, size)
        picture = KINDS[kind]((fragments.face >= 0) * 1.0, fragments, screen)
        assert picture.shape == size
        assert np.isfinite(picture).all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_faces(self, kind):
        screen = jr.ScreenMesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32))
        fragments = seen(screen)
        assert (KINDS[kind](jnp.ones(SIZE), fragments, screen) == 1).all()


class TestRender:
    @pytest.mark.thorough
    def test_what_is_drawn(self):
        """ "edge" draws what no gradient draws; "antialias" blends colours and alpha, not depth."""
        mesh, view = jr.shapes.cube(), jr.look_at((0.9, 1.1, 2.5))

        def draw(gradient, **options):
            hard = jr.Hard(visibility_gradient=gradient)
            return jr.render(mesh, view, image_size=SIZE, rasterizer=hard, **options)

        plain, edge, smooth = draw(None), draw("edge"), draw("antialias")
        jax.tree.map(np.testing.assert_array_equal, edge, plain)
        np.testing.assert_array_equal(smooth.depth, plain.depth)
        part = (smooth.alpha > 0) & (smooth.alpha < 1)
        assert 10 < part.sum() < 80
        assert ((plain.rgb != smooth.rgb).any(-1) <= part).all()
        fine = draw(None, anti_aliasing=8)
        error = [np.abs(image.alpha - fine.alpha).mean() for image in (plain, smooth)]
        assert error[1] < 0.5 * error[0]

    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", KINDS)
    def test_vmap_is_a_loop(self, kind):
        mesh = jr.shapes.icosphere(1)
        hard = jr.Hard(visibility_gradient=kind)

        def loss(eye):
            view = jr.look_at(eye)
            picture = jr.silhouette(mesh, view, image_size=SIZE, anti_aliasing=2, rasterizer=hard)
            return (picture**2).mean()

        eyes = jnp.array([[0.1, 0.2, 2.5], [1.5, 0.3, 2.0]])
        slope = jit(jax.value_and_grad(loss))
        together = jit(jax.vmap(jax.value_and_grad(loss)))(eyes)
        apart = [slope(eye) for eye in eyes]
        for got, want in zip(together, zip(*apart, strict=True), strict=True):
            np.testing.assert_allclose(got, np.stack(want), rtol=1e-4, atol=1e-6)
        assert (np.abs(together[1]) > 1e-3).any()

    @pytest.mark.slow
    def test_faces_need_not_be_known(self):
        """Under jit, where they are an argument, edges are sorted there."""
        mesh, view = jr.shapes.cube(), jr.look_at((0.5, 0.6, 2.2))
        hard = jr.Hard(visibility_gradient="antialias")

        def draw(mesh):
            return jr.silhouette(mesh, view, image_size=SIZE, rasterizer=hard)

        np.testing.assert_allclose(jit(draw)(mesh), draw(mesh), atol=1e-6)

    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", KINDS)
    def test_devices_are_told_apart(self, kind):
        """`jax.shard_map` accepts it, checks included, in forward and in reverse mode."""
        devices = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("devices",))
        dealt = jax.sharding.PartitionSpec("devices")
        mesh, hard = jr.shapes.cube(), jr.Hard(visibility_gradient=kind)

        def loss(eye):
            image = jr.render(mesh, jr.look_at(eye), image_size=(5, 6), rasterizer=hard)
            return (image.rgb**2).sum()

        for derivative in (jax.grad, jax.jacfwd, lambda loss: jax.grad(jax.checkpoint(loss))):
            spread = jax.shard_map(
                jax.vmap(derivative(loss)), mesh=devices, in_specs=dealt, out_specs=dealt
            )
            assert jax.eval_shape(spread, jnp.ones((2, 3))).shape == (2, 3)


class TestErrors:
    screen = jr.ScreenMesh(jnp.asarray(square(0.5)), jnp.asarray(TWO))

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_is_wrong(self, kind):
        fragments, draw = seen(self.screen), KINDS[kind]
        with pytest.raises(ValueError, match="`fragments` must be Fragments and `screen`"):
            draw(jnp.ones(SIZE), self.screen, fragments)
        with pytest.raises(ValueError, match=rf"`image` must .*\[14, 19\].* Apply {draw.__name__}"):
            draw(jnp.ones((7, 7)), fragments, self.screen)
        wrong = dataclasses.replace(self.screen, faces=jnp.array([[0, 1, 9]]))
        with pytest.raises(ValueError, match=r"`screen\.faces`"):
            draw(jnp.ones(SIZE), fragments, wrong)

    def test_edges(self):
        fragments = seen(self.screen)
        with pytest.raises(ValueError, match=r"`edges` must .*\[2, 3\]"):
            jr.antialias(jnp.ones(SIZE), fragments, self.screen, edges=np.zeros((3, 3), int))
        with pytest.raises(ValueError, match=r"`faces` must be known.* close over the faces"):
            jax.jit(jr.number_edges)(TWO)
        with pytest.raises(ValueError, match="`faces`"):
            jr.number_edges([[0, 1]])
