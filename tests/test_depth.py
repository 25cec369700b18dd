"""Depth: near and far, what is out of range, pooled depth, and the scale of a soft temperature."""

from __future__ import annotations

import functools
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit
from reference import cast_rays, soup

import jaxrender as jr
from jaxrender import _render, _soft

SIZE = (12, 16)
SOFT = jr.Soft(sigma=3e-3, gamma=0.05)
RASTERIZERS = {"hard": jr.Hard(), "nmr": jr.Hard("nmr"), "soft": SOFT}


def cube(size: float = 1.0, at: float = 0.0) -> jr.Mesh:
    mesh = jr.shapes.cube()
    texels = jnp.linspace(0, 1, 36, dtype=mesh.vertices.dtype).reshape(12, 1, 1, 3)
    return jr.Mesh(size * mesh.vertices + at, mesh.faces, jr.FaceTexels(texels))


def camera(size: float = 1.0) -> jr.Camera:
    return jr.look_at(size * np.array([0.9, 1.2, -2.5]))


def assert_finite(tree) -> None:
    for leaf in jax.tree.leaves(tree):
        assert np.isfinite(leaf).all()


# --- what is drawn by default ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", [jr.render, jr.silhouette, jr.rasterize_hard, jr.rasterize_soft]
)
def test_one_near_and_no_far(function):
    parameters = inspect.signature(function).parameters
    assert parameters["near"].default == 0.1
    assert parameters["far"].default is None


class TestUnits:
    """A scene in any unit is drawn, or one reads why not."""

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["hard", "soft"])
    def test_a_cube_of_thousands(self, kind):
        rasterizer = RASTERIZERS[kind]
        draw = functools.partial(jr.render, image_size=SIZE, rasterizer=rasterizer)
        wanted, image = draw(cube(), camera()), draw(cube(1e3), camera(1e3))
        assert wanted.alpha.mean() > 0.1
        np.testing.assert_allclose(image.alpha, wanted.alpha, atol=1e-4)
        np.testing.assert_allclose(image.rgb, wanted.rgb, atol=1e-4)
        np.testing.assert_allclose(image.depth / 1e3, wanted.depth, atol=1e-4)

    @pytest.mark.slow
    def test_a_calibration_in_millimetres(self):
        matrix = [[572.4, 0.0, 325.3], [0.0, 573.6, 242.0], [0.0, 0.0, 1.0]]
        view = jr.from_opencv(matrix, np.eye(3), (10.0, -20.0, 800.0), image_size=(480, 640))
        image = jr.render(cube(100.0), view, image_size=(48, 64))
        assert image.alpha.mean() > 0.01
        seen = np.asarray(image.alpha) > 0
        assert (np.abs(np.asarray(image.depth)[seen] - 800) < 100 * 3**0.5).all()
        assert (np.asarray(image.depth)[~seen] == 0).all()

    @pytest.mark.slow
    def test_a_cube_of_thousandths(self):
        with pytest.warns(UserWarning, match=r"before near=0\.1, at depths from 0\.00.*smaller"):
            image = jr.render(cube(1e-3), camera(1e-3), image_size=SIZE)
        assert (image.alpha == 0).all()
        image = jr.render(cube(1e-3), camera(1e-3), image_size=SIZE, near=1e-4)
        assert image.alpha.mean() > 0.1


class TestWarnings:
    screen = jr.ScreenMesh(
        jnp.array([[-0.5, -0.5, 3.0], [0.5, -0.5, 3.5], [0.0, 0.5, 4.0]]), jnp.array([[0, 1, 2]])
    )

    def draws(self):
        """All that warn; each takes near and far."""
        mesh, view = cube(), camera()  # at depths from 2 to 4
        return [
            functools.partial(jr.render, mesh, view, image_size=(4, 5)),
            functools.partial(jr.silhouette, mesh, view, image_size=(4, 5)),
            functools.partial(jr.rasterize_hard, self.screen, image_size=(4, 5)),
            functools.partial(jr.rasterize_soft, self.screen, image_size=(4, 5)),
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize("which", range(4))
    def test_each_door(self, which, monkeypatch):
        # What is drawn does not matter here.
        nothing = jr.Image(*[jnp.zeros(())] * 3)
        for name, drawn in (("_render", nothing), ("_silhouette", nothing.alpha)):
            monkeypatch.setattr(_render, name, lambda *args, drawn=drawn, **options: drawn)
        monkeypatch.setattr(_soft, "draw_soft", lambda *args, **options: (nothing, None))
        draw = self.draws()[which]
        with pytest.warns(UserWarning, match=r"before near=9.*Pass a smaller `near`") as told:
            draw(near=9.0)
        assert told[0].filename == __file__
        with pytest.warns(UserWarning, match=r"beyond far=1\.5.*far=None.*millimetres"):
            draw(near=1.0, far=1.5)
        draw(near=3.2)
        draw(far=3.2)

    def rasterize(self, depths, faces=((0, 1, 2),), **options):
        vertices = self.screen.vertices.at[:, 2].set(jnp.array(depths))
        faces = jnp.array(faces, jnp.int32).reshape(-1, 3)
        return jr.rasterize_hard(jr.ScreenMesh(vertices, faces), image_size=(2, 2), **options)

    @pytest.mark.slow
    def test_what_it_says(self):
        with pytest.warns(UserWarning, match=r"behind the camera, at depths from -3 to -1\. Turn"):
            self.rasterize([-1.0, -2.0, -3.0])
        # One face before, one beyond.
        with pytest.warns(UserWarning, match=r"before near=1 or beyond far=2"):
            self.rasterize([0.5, 0.5, 3.0], [(0, 1, 0), (2, 2, 2)], near=1.0, far=2.0)

    @pytest.mark.slow
    def test_when_it_is_silent(self):
        self.rasterize([0.5, 0.5, 3.0], near=1.0, far=2.0)  # the face reaches across
        self.rasterize([-1.0, -2.0, -3.0], faces=())
        none = jr.ScreenMesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32))
        jr.rasterize_hard(none, image_size=(2, 2))
        jax.eval_shape(lambda: self.rasterize([-1.0, -2.0, -3.0], near=jnp.float32(0.1)))
        behind = jnp.stack([self.screen.vertices * -1] * 2)
        jax.eval_shape(
            jax.vmap(
                lambda v: jr.rasterize_hard(jr.ScreenMesh(v, self.screen.faces), image_size=(2, 2))
            ),
            behind,
        )


# --- hard, without a limit ------------------------------------------------------------------------


class TestHard:
    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("perspective", [True, False])
    def test_against_rays(self, perspective):
        """Without `far` it is what a far `far` sees, and nothing is at 0."""
        vertices, faces = soup(3, 40, crossing=False)
        vertices[:, 2] *= 100
        draw = jit(
            lambda vertices, far: jr.rasterize_hard(
                jr.ScreenMesh(vertices, faces, perspective=perspective), image_size=SIZE, far=far
            )
        )
        seen, wanted = draw(jnp.asarray(vertices), None), draw(jnp.asarray(vertices), 1e6)
        np.testing.assert_array_equal(seen.face, wanted.face)
        hit = np.asarray(seen.face) >= 0
        np.testing.assert_array_equal(seen.depth, np.where(hit, wanted.depth, 0))
        assert (np.asarray(seen.depth) > 100).any()
        if perspective:
            face, _, depth, doubtful = cast_rays(vertices, faces, SIZE, 0.1, 1e6)
            np.testing.assert_array_equal(np.asarray(seen.face)[~doubtful], face[~doubtful])
            sure = ~doubtful & hit
            np.testing.assert_allclose(seen.depth[sure], depth[sure], rtol=1e-4)

    @pytest.mark.slow
    def test_depths_below_zero(self):
        """An orthographic camera sees them where `near` is below."""
        vertices = jnp.array([[-3.0, -3, -2], [3, -3, -2], [0, 6, 0]])
        screen = jr.ScreenMesh(vertices, jnp.array([[0, 1, 2]]), perspective=False)
        seen = jr.rasterize_hard(screen, image_size=(6, 8), near=-5.0)
        assert (seen.face == 0).all()
        y = 1 - (2 * np.arange(6) + 1) / 6
        wanted = np.broadcast_to((-2 + 2 * (y + 3) / 9)[:, None], (6, 8))
        np.testing.assert_allclose(seen.depth, wanted, atol=1e-5)

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.usefixtures("x64")
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("perspective", [True, False])
    def test_depths_of_any_size(self, dtype, perspective):
        """Pictures and gradients are finite, and right up to 1e17."""
        vertices, faces = (jnp.asarray(array) for array in soup(5, 20, crossing=True))
        vertices = vertices.astype(dtype)

        @jit
        def draw(vertices, scale):
            def loss(vertices):
                placed = vertices.at[:, 2].multiply(scale)
                screen = jr.ScreenMesh(placed, faces, perspective=perspective)
                seen = jr.rasterize_hard(screen, image_size=SIZE, near=0.1 * scale)
                return seen.depth.sum() / scale + seen.barycentrics.var(), seen

            return jax.grad(loss, has_aux=True)(vertices)

        wanted = None
        for scale in (1.0, 1e6, 1e12, 1e17):
            slope, seen = draw(vertices, jnp.asarray(scale, dtype))
            assert seen.depth.dtype == dtype
            assert_finite((slope, seen))
            wanted = wanted or seen
            same = np.asarray(seen.face == wanted.face)
            assert same.mean() > 0.99
            np.testing.assert_allclose(
                (seen.depth / dtype(scale))[same], wanted.depth[same], rtol=1e-4
            )

    @pytest.mark.slow
    def test_transformations(self):
        vertices, faces = (jnp.asarray(array) for array in soup(7, 20))
        views = jnp.stack([vertices, vertices.at[:, 2].multiply(1e3)])

        def draw(vertices):
            seen = jr.rasterize_hard(jr.ScreenMesh(vertices, faces), image_size=SIZE)
            return seen.depth

        both = jit(jax.value_and_grad(lambda v: jnp.log1p(draw(v)).sum()))
        together = jit(jax.vmap(jax.value_and_grad(lambda v: jnp.log1p(draw(v)).sum())))(views)
        for index, view in enumerate(views):
            alone = both(view)
            for part, whole in zip(alone, together, strict=True):
                np.testing.assert_allclose(whole[index], part, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(jit(draw)(vertices), draw(vertices), rtol=1e-6)


# --- pooled depth ---------------------------------------------------------------------------------


class TestPooled:
    def large(self, kind, **options):
        """The samples of a picture: depth, and what is not background, as blocks."""
        draw = functools.partial(
            jr.render,
            cube(),
            camera(),
            image_size=(24, 32),
            rasterizer=RASTERIZERS[kind],
            shading="none",
            **options,
        )
        image = draw()
        drawn = 1 - (draw(background=1.0).rgb - image.rgb).mean(-1)
        return [np.asarray(x, np.float64).reshape(12, 2, 16, 2) for x in (image.depth, drawn)]

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("far", [None, 50.0])
    @pytest.mark.parametrize("kind", ["hard", "soft"])
    def test_against_blocks(self, kind, far):
        image = jr.render(
            cube(),
            camera(),
            image_size=SIZE,
            rasterizer=RASTERIZERS[kind],
            shading="none",
            far=far,
            anti_aliasing=2,
        )
        depth, drawn = self.large(kind, far=far)
        share = drawn.sum((1, 3))
        wanted = (drawn * depth).sum((1, 3)) / np.where(share > 1e-6, share, 1)
        sure = (share > 1e-3) | (share == 0)
        assert (sure.mean() > 0.9) & (share == 0).any() & ((share > 0.1) & (share < 3.9)).any()
        wanted = np.where(share > 0, wanted, far or 0)
        np.testing.assert_allclose(image.depth[sure], wanted[sure], rtol=2e-4)
        if far is None:
            assert (np.asarray(image.depth)[share > 0.01] > 1.5).all()

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["hard", "soft"])
    def test_gradient(self, kind):
        """It is finite, and pulls an edge pixel's depth as that of its covered samples."""

        @jit
        def slope(vertices, far):
            def loss(vertices):
                mesh = jr.Mesh(vertices, cube().faces)
                options = {"image_size": SIZE, "anti_aliasing": 2, "far": far}
                image = jr.render(mesh, camera(), rasterizer=RASTERIZERS[kind], **options)
                return image.depth.sum()

            return jax.grad(loss)(vertices)

        vertices = cube().vertices
        assert_finite(slope(vertices, None))
        assert np.abs(slope(vertices, None)).max() > 0.1

    @pytest.mark.slow
    def test_empty_pixels_follow_far(self):
        def total(far):
            options = {"image_size": SIZE, "anti_aliasing": 2, "near": 0.1}
            return jr.render(cube(), camera(), far=far, **options).depth.sum()

        covered = jr.silhouette(cube(), camera(), image_size=SIZE, anti_aliasing=2)
        assert jax.grad(total)(50.0) == (np.asarray(covered) == 0).sum()


# --- soft, without a limit ------------------------------------------------------------------------


def fan(seed: int, dtype=np.float64) -> tuple[jax.Array, jax.Array]:
    """Five triangles that reach into the picture, at depths from 2 to 5."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-0.9, 0.9, (5, 3, 3))
    corners[..., 2] = rng.uniform(2, 5, (5, 3))
    corners[1:, :, :2] += 0.1
    faces = jnp.arange(15, dtype=jnp.int32).reshape(5, 3)
    return jnp.asarray(corners.reshape(15, 3), dtype), faces


class TestSoftScale:
    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.usefixtures("x64")
    @pytest.mark.parametrize("perspective", [True, False])
    def test_equals_a_given_range(self, perspective):
        """With `far` one range behind, and `gamma` in that measure; depth is the triangles' own."""
        vertices, faces = fan(0)
        colors = jnp.asarray(np.random.default_rng(1).uniform(size=(15, 3)))
        gamma, eps, near = 0.2, 0.3, 0.5
        z = np.asarray(vertices)[:, 2]
        span = z.max() - z.min()
        far = z.max() + span
        rate = span / (far - near)
        slopes = np.random.default_rng(2).normal(size=(6, *SIZE))

        def draw(vertices, colors, sigma, **options):
            # The last channel tells what is drawn.
            colors = jnp.concatenate([colors, jnp.ones_like(colors[:, :1])], axis=-1)
            image = jr.rasterize_soft(
                jr.ScreenMesh(vertices, faces, perspective=perspective),
                jr.VertexColors(colors),
                image_size=SIZE,
                sigma=sigma,
                near=near,
                **options,
            )
            depth = image.depth
            if "far" in options:
                drawn = image.rgb[..., 3]
                reached = drawn > 1e-9
                own = (depth - (1 - drawn) * far) / jnp.where(reached, drawn, 1)
                depth = jnp.where(reached, own, 0)
            planes = [*jnp.moveaxis(image.rgb, -1, 0), image.alpha, depth]
            return sum((a * b).sum() for a, b in zip(slopes, planes, strict=True)), planes

        args = vertices, colors, jnp.asarray(1e-2)
        free, fixed = (
            jit(jax.value_and_grad(functools.partial(draw, **options), (0, 1, 2), has_aux=True))(
                *args
            )
            for options in (
                {"gamma": gamma, "eps": eps},
                {"gamma": gamma * rate, "eps": eps * rate, "far": far},
            )
        )
        assert_finite(free)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-8), free, fixed
        )

    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.usefixtures("x64")
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_does_not_depend_on_the_unit(self, dtype):
        vertices, faces = fan(3, dtype)
        colors = jnp.asarray(np.random.default_rng(1).uniform(size=(15, 3)), dtype)
        assert _soft.FLAT == 1e-3

        @jit
        def draw(vertices, near):
            def loss(vertices):
                image = jr.rasterize_soft(
                    jr.ScreenMesh(vertices, faces),
                    jr.VertexColors(colors),
                    image_size=SIZE,
                    sigma=3e-3,
                    gamma=0.05,
                    near=near,
                )
                return (image.rgb**2).sum() + image.depth.sum() / near, image

            (_, image), slope = jax.value_and_grad(loss, has_aux=True)(vertices)
            return image, slope

        wanted, by_vertices = draw(vertices, 0.1)
        assert wanted.rgb.dtype == dtype
        for scale in (1e3, 1e-3, 1e12, 1e16, 1e-12):
            unit = np.array([[1, 1, scale]], dtype)
            image, slope = draw(vertices * unit, dtype(0.1 * scale))
            np.testing.assert_allclose(image.rgb, wanted.rgb, atol=1e-4)
            np.testing.assert_allclose(image.alpha, wanted.alpha, atol=1e-4)
            np.testing.assert_allclose(image.depth / unit[0, 2], wanted.depth, atol=1e-4)
            size = np.abs(by_vertices).max()
            np.testing.assert_allclose(slope * unit, by_vertices, atol=1e-3 * size)

    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.usefixtures("x64")
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_of_any_depths(self, dtype):
        """Flat, at zero, behind, out of the picture, large: nothing is inf or NaN."""
        vertices, faces = fan(4, dtype)
        colors = jnp.asarray(np.random.default_rng(1).uniform(size=(15, 3)), dtype)

        @functools.partial(jit, static_argnums=3)
        def draw(vertices, near, gamma, perspective):
            def loss(vertices, near, gamma):
                screen = jr.ScreenMesh(vertices, faces, perspective=perspective)
                image = jr.rasterize_soft(
                    screen,
                    jr.VertexColors(colors),
                    image_size=SIZE,
                    sigma=3e-3,
                    gamma=gamma,
                    near=near,
                )
                return image.rgb.sum() + image.alpha.sum() + image.depth.sum(), image

            return jax.grad(loss, (0, 1, 2), has_aux=True)(vertices, near, gamma)

        def at(depth):
            return vertices.at[:, 2].set(jnp.asarray(depth, dtype))

        wide, wild = np.linspace(1, 1e17, 15), np.geomspace(0.2, 1e17, 15)
        cases = [
            (at(3.0), 0.1, True, True),
            (at(1e17), 0.1, True, True),
            (at(wide), 0.1, True, True),
            (at(wild), 0.1, True, True),
            (at(-1.0), 0.1, True, False),
            (vertices.at[:, 0].add(1e6), 0.1, True, False),
            (at(0.0), -1.0, False, True),
            (at(np.linspace(-3, 0, 15)), -5.0, False, True),
            (at(-wild), -1e18, False, True),
            (at(1e17), 0.1, False, True),
        ]
        for moved, near, perspective, drawn in cases:
            for gamma in (1e-4, 1.0):
                slopes, image = draw(moved, dtype(near), dtype(gamma), perspective)
                assert_finite((slopes, image))
                assert (image.alpha.max() > 0.5) == drawn
                assert ((image.depth == 0) | (image.alpha > 0)).all()
                if drawn:
                    # Depths lie between those of the corners.
                    low, high = moved[:, 2].min(), moved[:, 2].max()
                    depth = np.asarray(image.depth)[np.asarray(image.alpha) > 0.01]
                    slack = 1e-5 * np.abs(moved[:, 2]).max()
                    assert (depth >= low - slack).all()
                    assert (depth <= high + slack).all()

    @pytest.mark.thorough
    def test_each_view_has_its_range(self):
        vertices, faces = fan(5, np.float32)
        views = [vertices, vertices.at[:, 2].multiply(1e3), vertices + 1]

        def loss(vertices):
            image = jr.rasterize_soft(
                jr.ScreenMesh(vertices, faces), image_size=SIZE, sigma=3e-3, gamma=0.3
            )
            return (image.rgb**2).sum() + jnp.log1p(image.depth).sum()

        both = jax.value_and_grad(loss)
        together, one = jit(jax.vmap(both))(jnp.stack(views)), jit(both)
        for index, view in enumerate(views):
            value, slope = one(view)
            np.testing.assert_allclose(together[0][index], value, rtol=1e-5)
            scale = np.abs(slope).max()
            np.testing.assert_allclose(together[1][index], slope, atol=1e-4 * scale)

    @pytest.mark.thorough
    def test_only_what_is_drawn_counts(self):
        """The range is that of triangles that reach the picture, cut, and not culled."""
        vertices, faces = fan(6, np.float32)
        wanted = self.draw(vertices, faces)
        extra = {
            "beside": [[5.0, 0, 50], [6, 0, 60], [5, 1, 70]],
            "behind": [[0.0, 0, -50], [1, 0, -60], [0, 1, -70]],
            "without area": [[0.0, 0, 50], [0.5, 0, 50], [1, 0, 90]],
        }
        for corners in extra.values():
            more = jnp.concatenate([vertices, jnp.array(corners)])
            image = self.draw(more, jnp.concatenate([faces, faces[-1:] + 3]))
            np.testing.assert_allclose(image, wanted, atol=1e-6)
        deeper = jnp.concatenate([vertices, jnp.array([[0.0, 0, 50], [0, 0.9, 50], [0.9, 0, 60]])])
        image = self.draw(deeper, jnp.concatenate([faces, faces[-1:] + 3]))
        assert np.abs(image - wanted).max() > 1e-2

    @staticmethod
    @jit
    def draw(vertices, faces):
        screen = jr.ScreenMesh(vertices, faces)
        colors = jnp.stack([vertices[:, 0] + 1, vertices[:, 1] + 1], -1)
        options = {"image_size": SIZE, "sigma": 3e-3, "gamma": 0.5}
        return jr.rasterize_soft(screen, jr.VertexColors(colors), **options).rgb


def test_softras_has_the_originals_numbers():
    soft = jr.Soft.softras()
    assert (soft.sigma, soft.gamma, soft.eps, soft.cutoff) == (1e-5, 1e-4, 1e-3, 1e-4)
    assert (soft.distance, soft.distribution, soft.squared) == ("euclidean", "logistic", True)
    assert (soft.aggregate_rgb, soft.aggregate_alpha, soft.faithful) == ("softmax", "prod", False)
    changed = jr.Soft.softras(gamma=1e-2, faithful=True)
    assert (changed.gamma, changed.faithful, changed.sigma) == (1e-2, True, 1e-5)
    with pytest.raises(TypeError, match="blur"):
        jr.Soft.softras(blur=1)


# --- one program for all kinds of numbers ---------------------------------------------------------


def numbers(value):
    """The same number as Python, NumPy and JAX have it; whole ones as integers too."""
    kinds = [float(value), np.float32(value), np.float64(value), jnp.float32(value)]
    kinds += [np.array(value), jnp.array(value)]
    return kinds + ([int(value), np.int32(value)] if value == int(value) else [])


def count_programs(calls) -> int:
    """How many programs XLA compiles in these calls, but for the first."""
    compiled = []
    on = [False]

    def listen(name, *_, **__):
        if on[0] and "backend_compile" in name:
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    for call in calls:
        call()
        on[0] = True
    on[0] = False
    return len(compiled)


class TestOneProgram:
    """Whether a number is weakly typed is no reason to compile again."""

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["hard", "nmr", "soft"])
    def test_render(self, kind):
        before = _render._render._cache_size(), _render._silhouette._cache_size()
        mesh, view = cube(), camera()
        for near, far, background, number, samples in zip(
            numbers(1.0),
            numbers(9.0),
            numbers(0.0),
            [*numbers(0.25), 0.375, jnp.float32(0.125)],
            [2, np.int32(2), 2.0, jnp.int32(2), np.int64(2), 2, 2, 2],
            strict=True,
        ):
            rasterizer = jr.Soft(number, number, number, number)
            if kind != "soft":
                rasterizer = jr.Hard("nmr" if kind == "nmr" else None, eps=number)
            options = {"near": near, "far": far, "rasterizer": rasterizer}
            options |= {"image_size": (4, 5), "anti_aliasing": samples}
            lights = jr.make_lights(number, [((0, 1, 0), number)], shininess=number)
            jr.render(mesh, view, lights, background=background, **options)
            jr.silhouette(mesh, view, **options)
        after = _render._render._cache_size(), _render._silhouette._cache_size()
        assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1]

    @pytest.mark.slow
    def test_no_limit_is_one_program(self):
        before = _render._render._cache_size()
        for near in (0.1, np.float32(0.2), jnp.float32(0.3)):
            jr.render(cube(), camera(), image_size=(4, 6), near=near)
            jr.render(cube(), camera(), image_size=(4, 6), near=near, far=None)
        assert _render._render._cache_size() == before + 1

    @pytest.mark.slow
    @pytest.mark.usefixtures("x64")
    def test_in_the_meshs_dtype(self):
        """With float64 about, a float32 mesh keeps to its own."""
        mesh = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == float else x, cube())
        view = jax.tree.map(lambda x: x.astype(jnp.float32), camera())
        before = _render._render._cache_size()
        for near in (0.1, np.float32(0.2), np.float64(0.3)):
            image = jr.render(mesh, view, image_size=(4, 7), near=near, far=near * 90)
            assert image.depth.dtype == jnp.float32
        assert _render._render._cache_size() == before + 1

    @pytest.mark.long
    def test_stages(self):
        screen = TestWarnings.screen
        mesh = jr.Mesh(screen.vertices, screen.faces, jr.VertexColors(jnp.eye(3)))
        seen = jr.rasterize_hard(screen, image_size=(4, 5))
        image = (seen.face >= 0).astype(jnp.float32)
        topology = jr.losses.mesh_topology(mesh.faces, 3)
        calls = {
            "rasterize_hard": lambda n: jr.rasterize_hard(screen, image_size=(4, 5), near=n, far=9),
            "nmr_gradient": lambda n: jr.nmr_gradient(image, seen, screen, eps=n),
            "make_lights": lambda n: jr.make_lights(n, [((n, 1, 0), n)], specular=n, shininess=n),
            "shade": lambda n: jr.shade(
                seen, mesh, jr.make_lights(n, [((n, 1, 0), n)]), eye=(n, 0, 0), shading="phong"
            ),
            "sample_texture": lambda n: jr.sample_texture(
                jr.VertexColors(np.full((3, 3), n)), mesh.faces, seen.face, seen.barycentrics
            ),
            "voxelize": lambda n: jr.voxelize(
                mesh.vertices, mesh.faces, resolution=4, bounds=(-n, 9 * n)
            ),
            "edge_length": lambda n: jr.losses.edge_length(mesh.vertices, topology, target=n),
            "look_at": lambda n: jr.look_at((n, 2, 3), projection=jr.perspective(n)),
            "orthographic": lambda n: jr.look_at((n, 2, 3), projection=jr.orthographic(n)),
        }
        for name, call in calls.items():
            values = [0.5, np.float32(0.5), np.float64(0.5), 0.25, np.float32(0.25)]
            compiled = count_programs([functools.partial(call, n) for n in values])
            assert compiled == 0, name

    @pytest.mark.thorough
    def test_rasterize_soft(self):
        screen = TestWarnings.screen

        def draw(n):
            options = {"sigma": n, "gamma": n, "eps": n, "cutoff": n, "background": n}
            return jr.rasterize_soft(screen, image_size=(4, 5), near=n, far=9, **options)

        values = [0.25, np.float32(0.25), np.float64(0.25), 0.125]
        assert count_programs([functools.partial(draw, n) for n in values]) == 0


@pytest.mark.slow
def test_no_warning_is_given_twice_inside(recwarn):
    """`render` says it once, not once more from the stage inside."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        jr.silhouette(cube(), camera(), image_size=(3, 4), near=90.0)
    assert len(told) == 1
