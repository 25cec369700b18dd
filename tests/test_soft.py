"""`rasterize_soft`, and `render` and `silhouette` with `rasterizer=Soft(…)`.

Nearly all of the time here is compilation. So tests share programs, and most compile them
without optimisation, see `quick.py`.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_soft
from quick import jit
from reference import cast_rays, soup
from soft_scenes import (
    SIZE,
    assert_close,
    separate,
    small_scene,
    soft_loss,
    some_texture,
)

import jaxrender as jr
from jaxrender import _render, _soft
from jaxrender.ops import soft
from jaxrender.rotations import from_axis_angle

pytestmark = pytest.mark.usefixtures("short_passes")


# --- against the slow loop --------------------------------------------------------------------

SLOW = {
    "default": {},
    "orthographic": {"perspective": False, "cull": "back", "aggregate_alpha": "sum"},
    "barycentric": {"distance": "barycentric", "cull": "front", "aggregate_alpha": "max"},
    "hard": {"distance": "hard", "sigma": 1.0},
    "gaussian": {"distribution": "gaussian", "squared": False, "aggregate_alpha": "einstein"},
}


def normal_cdf(x):
    return np.vectorize(lambda t: 0.5 * math.erfc(-t / math.sqrt(2)))(x)


def together(coverages: np.ndarray, conorm: str, count: int) -> np.ndarray:
    """Alpha of the coverages `[N, H, W]`, pair by pair."""
    if conorm == "sum":
        return coverages.sum(0) / count
    pairs = {
        "prod": lambda a, b: a + b - a * b,
        "max": np.maximum,
        "einstein": lambda a, b: (a + b) / (1 + a * b),
    }
    return functools.reduce(pairs[conorm], coverages, np.zeros(coverages.shape[1:]))


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", SLOW)
@pytest.mark.parametrize("size", [(13, 22), (1, 1)])
def test_equals_the_slow_loop(case, size):
    if size == (1, 1) and case not in ("default", "barycentric"):
        pytest.skip("two will do")
    options = {"sigma": 3e-3, "gamma": 2e-2, "near": 0.9, "far": 9.0, "background": 0.3}
    options |= {"eps": 1e-2, "cutoff": 1e-12} | SLOW[case]
    perspective = options.pop("perspective", True)
    conorm = options.pop("aggregate_alpha", "prod")

    @jit
    def draw(vertices, colors):
        screen = jr.ScreenMesh(vertices, faces, perspective=perspective)
        return jr.rasterize_soft(
            screen, jr.VertexColors(colors), image_size=size, aggregate_alpha=conorm, **options
        )

    known = {key: value for key, value in options.items() if key != "distribution"}
    if "distribution" in options:
        known["distribution"] = normal_cdf
    for seed in range(3):
        vertices, faces = soup(seed, 12, crossing=perspective)
        vertices[-9:, 2] = np.random.default_rng(seed).uniform(0.5, 1.3, 9)  # across `near`
        colors = np.random.default_rng(seed).uniform(size=(len(vertices), 2))
        image = draw(jnp.asarray(vertices, np.float64), jnp.asarray(colors))
        rgb, depth, coverages = reference_soft.blend(
            vertices, faces, colors, size, perspective=perspective, **known
        )
        alpha = together(np.array(coverages), conorm, len(faces))
        np.testing.assert_allclose(image.alpha, alpha, atol=1e-9)
        np.testing.assert_allclose(image.rgb, rgb, atol=1e-8)
        np.testing.assert_allclose(image.depth, depth, rtol=1e-8)


# --- transformations --------------------------------------------------------------------------


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("faithful", [False, True])
def test_one_face_in_one_pixel(monkeypatch, faithful):
    """Where next to nothing is to be drawn, a pass still holds something."""
    for name, schedule in soft.SCHEDULES.items():
        monkeypatch.setitem(soft.SCHEDULES, name, schedule._replace(blocks_per_pass=(1, 1024)))
    screen = jr.ScreenMesh(
        *separate(np.array([[[-3.0, -3, 2], [3, -3, 2], [0, 3, 2]]], np.float32))
    )
    image = jr.rasterize_soft(screen, image_size=(1, 1), far=100.0, faithful=faithful)
    np.testing.assert_allclose(image.alpha, 1, atol=1e-5)
    np.testing.assert_allclose(image.rgb, 1, atol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 3e-7), (jnp.float64, 1e-15)])
def test_softplus(dtype, tolerance):
    t = np.concatenate([-np.logspace(1.9, -8, 200), [0.0], np.logspace(-8, 15, 200)]).astype(dtype)
    wide = t.astype(np.float64)
    wanted = np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
    got = jax.jit(soft.outlines.softplus)(jnp.asarray(t))
    assert got.dtype == dtype
    # The exponential alone is off by its argument's rounding.
    assert (np.abs(got / wanted - 1) < tolerance * np.maximum(1, -wide)).all()


class TestTransformations:
    def setup_method(self):
        self.vertices, self.faces = (jnp.asarray(a) for a in soup(4, 30))
        self.colors = jax.random.uniform(jax.random.key(0), (90, 3))

    @pytest.mark.long
    def test_jit_equals_eager(self):
        draw = functools.partial(soft_loss, faces=self.faces)
        args = self.vertices, self.colors, jnp.float32(1e-2)
        assert_close(jit(draw)(*args), draw(*args))

    @pytest.mark.thorough
    def test_views_at_once(self):
        """vmap of grad, grad of vmap and nested ones, shared and own colours: all are loops."""

        def loss(*args):
            return soft_loss(*args, faces=self.faces)[0]

        views = jnp.stack([self.vertices, 0.8 * self.vertices, self.vertices[::-1]])
        colors = jnp.stack([self.colors, self.colors[::-1], 0.5 * self.colors])
        sigmas = jnp.array([1e-2, 1e-3])
        both = jax.value_and_grad(loss, (0, 1, 2))
        one = jit(both)

        def stacked(trees):
            return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

        # Views of their own with colours of their own, all at every blur.
        nested = jax.vmap(jax.vmap(both, (0, 0, None)), (None, None, 0))
        apart = stacked(
            [
                stacked([one(v, c, sigma) for v, c in zip(views, colors, strict=True)])
                for sigma in sigmas
            ]
        )
        assert_close(jit(nested)(views, colors, sigmas), apart)

        # The gradient of a sum over views, which share their colours.
        def total(views, colors, sigma):
            return jax.vmap(loss, (0, None, None))(views, colors, sigma).sum()

        apart = stacked([one(view, self.colors, sigmas[0])[1] for view in views])
        summed = jit(jax.grad(total, (0, 1, 2)))(views, self.colors, sigmas[0])
        assert_close(summed, (apart[0], apart[1].sum(0), apart[2].sum(0)))

    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.parametrize(
        ("texture", "options"),
        [
            ("vertex", {}),
            ("texel", {}),
            ("flat", {"aggregate_alpha": "max"}),
            ("vertex", {"aggregate_rgb": None}),
            ("vertex", {"aggregate_rgb": "hard"}),
            ("vertex", {"distance": "barycentric", "faithful": True}),
        ],
    )
    def test_cotangents_of_one_picture(self, texture, options):
        """One scene against many targets: only the cotangents have a batch axis."""
        vertices, faces = self.vertices[:24], self.faces[:8]
        if texture == "flat":
            texture = jr.FaceTexels(self.colors[:8, None, None])
        else:
            texture = some_texture(texture, faces)
        colors, *rest = jax.tree.leaves(texture)
        tree = jax.tree.structure(texture)
        rng = np.random.default_rng(0)
        targets = jnp.asarray(rng.uniform(size=(3, *SIZE, 5)), jnp.float32)
        backgrounds = jnp.asarray(rng.uniform(size=(3, 3)), jnp.float32)

        def loss(vertices, colors, sigma, target, background):
            image = jr.rasterize_soft(
                jr.ScreenMesh(vertices, faces),
                jax.tree.unflatten(tree, [colors, *rest]),
                image_size=SIZE,
                sigma=sigma,
                gamma=1e-2,
                near=0.5,
                far=100.0,
                background=background,
                **options,
            )
            drawn = jnp.dstack([image.rgb, image.alpha, 0.1 * image.depth])
            return ((drawn - target) ** 2).sum()

        scene = vertices, colors.astype(jnp.float32), jnp.float32(1e-2)
        gradient = jax.grad(loss, (0, 1, 2))
        together = jit(jax.vmap(gradient, (None, None, None, 0, 0)))(*scene, targets, backgrounds)
        one = jit(gradient)
        apart = [one(*scene, *each) for each in zip(targets, backgrounds, strict=True)]
        assert_close(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *apart))

    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.parametrize("silhouette", [False, True])
    def test_jacobian(self, silhouette):
        """By `jax.jacrev`, of which each row is the gradient of one pixel, as a loop has it."""
        view = jr.look_at((0.3, 0.7, -2.4))
        sphere, options = jr.shapes.icosphere(0), {"image_size": (3, 4), "near": 0.1}

        def picture(vertices):
            mesh = jr.Mesh(vertices, sphere.faces)
            soft = jr.Soft(sigma=1e-2, gamma=1e-2)
            if silhouette:
                return jr.silhouette(mesh, view, rasterizer=soft, **options)
            return jr.render(mesh, view, rasterizer=soft, **options).rgb[..., 0]

        jacobian = jit(jax.jacrev(picture))(sphere.vertices)
        row = jit(jax.grad(lambda vertices, i, j: picture(vertices)[i, j]))
        for i, j in np.ndindex(3, 4):
            assert_close(jacobian[i, j], row(sphere.vertices, i, j))

    @pytest.mark.long
    def test_schedules_are_equal(self, monkeypatch):
        """That of a CPU and that of other devices, here on whatever this is."""
        plain, results = _soft.soft_blend, []
        for schedule in soft.SCHEDULES:
            monkeypatch.setattr(_soft, "soft_blend", lambda *args, by=schedule: plain(*args, by))
            both = jax.value_and_grad(
                functools.partial(soft_loss, faces=self.faces), (0, 1, 2), True
            )
            program, args = jit(both), (self.vertices, self.colors, jnp.float32(1e-2))
            results.append(program(*args))
            # Each finds the same bits again, where sums have an order: on a CPU.
            if jax.default_backend() == "cpu":
                jax.tree.map(np.testing.assert_array_equal, program(*args), results[-1])
        assert len(results) == 2
        assert_close(*results)

    @pytest.mark.slow
    def test_numbers_do_not_retrace(self):
        traces = []

        @jax.jit
        def draw(vertices, **numbers):
            traces.append(1)
            screen = jr.ScreenMesh(vertices, self.faces)
            return jr.rasterize_soft(screen, image_size=(4, 4), **numbers)

        plain = {"sigma": 1e-3, "gamma": 1e-3, "near": 0.1, "far": 50.0, "background": 0.5}
        for change in [{}, {"sigma": 1}, {"gamma": 0.1}, {"near": np.float32(1)}, {"far": 9}]:
            jax.eval_shape(draw, self.vertices, **jax.tree.map(np.float32, plain | change))
        assert len(traces) == 1

        before = _render._silhouette._cache_size()
        for sigma, gamma in ((1e-3, 1e-4), (1e-2, 1e-3)):
            soft = jr.Soft(sigma=sigma, gamma=gamma)
            view = jr.look_at((0, 0, 3))
            jr.silhouette(jr.shapes.cube(), view, image_size=(4, 5), near=sigma, rasterizer=soft)
        assert _render._silhouette._cache_size() == before + 1


# --- what pictures are like -------------------------------------------------------------------


class TestPicture:
    @pytest.mark.thorough
    def test_converges_to_the_hard_picture(self):
        """With little blur and no temperature it is `rasterize_hard`'s, away from edges."""
        size = (30, 44)
        vertices, faces = soup(6, 60)
        colors = jax.random.uniform(jax.random.key(1), (180, 3))
        _, _, _, doubtful = cast_rays(vertices, faces, size, 0.5, 50.0)

        @jit
        def both(vertices, colors, sigma, gamma):
            screen = jr.ScreenMesh(vertices, jnp.asarray(faces))
            texture, span = jr.VertexColors(colors), {"near": 0.5, "far": 50.0}
            seen = jr.rasterize_hard(screen, image_size=size, **span)
            hard = jr.sample_texture(texture, screen.faces, seen.face, seen.barycentrics)
            return (hard, (seen.face >= 0) * 1.0, seen.depth), jr.rasterize_soft(
                screen, texture, image_size=size, sigma=sigma, gamma=gamma, **span
            )

        errors = []
        for sigma, gamma in ((1e-4, 1e-3), (1e-6, 1e-4), (1e-8, 1e-7)):
            wanted, image = both(jnp.asarray(vertices), colors, sigma, gamma)
            got = image.rgb, image.alpha, image.depth
            apart = [np.abs(a - b)[~doubtful] for a, b in zip(got, wanted, strict=True)]
            errors.append([float(part.mean()) for part in apart])
        assert np.all(np.diff(errors, axis=0) <= 0)
        assert max(errors[-1]) < 1e-3
        assert max(np.quantile(part, 0.99) for part in apart) < 1e-5

    @pytest.mark.slow
    def test_only_coverages_above_the_cutoff_count(self):
        """One triangle left of a pixel row: alpha is the coverage, and 0 from the cutoff on."""
        corners = jnp.array([[-9.0, -9, 2], [0, -9, 2], [0, 9, 2]])

        @jit
        def draw(corners):
            screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
            return jr.rasterize_soft(
                screen,
                image_size=(1, 40),
                sigma=4.0,
                cutoff=0.1,
                far=100.0,
                aggregate_rgb=None,
                background=0.5,
            )

        image = draw(corners)
        assert (image.rgb == 0.5).all()  # which nobody asked for
        assert (image.depth == 100).all()
        x = (2 * np.arange(40) + 1 - 40.0)[20:]
        wanted = 1 / (1 + np.exp(x**2 / 4))
        wanted[wanted <= 0.1] = 0
        np.testing.assert_allclose(image.alpha[0, 20:], wanted, atol=1e-6)

    @pytest.mark.thorough
    def test_texels_beyond_an_edge(self):
        """A pixel outside reads the texel at the closest edge, not one that rounding chooses."""
        corners = jnp.array([[0.0, -0.83, 2.0], [0.1, 0.9, 2.3], [-0.8, 0.1, 2.5]])
        side = 4

        @jit
        def draw(texels):
            return jr.rasterize_soft(
                jr.ScreenMesh(corners, jnp.array([[0, 1, 2]])),
                jr.FaceTexels(texels),
                image_size=(24, 24),
                sigma=1.0,
                gamma=1.0,
                cutoff=1e-6,
                eps=0.0,
            ).rgb

        # Give each texel its number, and divide by what is not background.
        number = jnp.arange(side**2, dtype=jnp.float32).reshape(1, side, side, 1)
        numbers, share = draw(jnp.concatenate([number, number * 0 + 1], -1))[:, 13:].T
        texel = np.asarray(numbers / share).round().astype(int)
        # On that edge the second barycentric is 1 less the first: texels (0, 3), (1, 2), ….
        assert (texel // side + texel % side == side - 1).all()
        # Away from the edge's ends they change three times on the way up.
        assert (np.abs(np.diff(texel.astype(int), axis=1)) > 0).sum(1).max() <= side - 1

    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.parametrize(("kind", "count"), [("vertex", 7), ("uv", 5)])
    def test_many_channels(self, kind, count):
        """Many channels are those of as many calls."""
        vertices, faces = small_scene(3)
        rng = np.random.default_rng(0)
        shape = (18, count) if kind == "vertex" else (4, 6, count)
        channels = jnp.asarray(rng.uniform(size=shape), jnp.float32)
        uv = jnp.asarray(rng.uniform(size=(18, 2)), jnp.float32)
        upstream = jnp.asarray(rng.normal(size=(6, 9, count)), jnp.float32)

        @jit
        def draw(vertices, channels, upstream):
            def rgb(vertices, channels):
                texture = jr.VertexColors(channels)
                if kind == "uv":
                    texture = jr.UVTexture(channels, uv, faces)
                screen, options = jr.ScreenMesh(vertices, faces), {"sigma": 1e-2, "gamma": 0.1}
                return jr.rasterize_soft(screen, texture, image_size=(6, 9), **options).rgb

            if kind == "uv":
                return (rgb(vertices, channels),)
            image, pull = jax.vjp(rgb, vertices, channels)
            return image, *pull(upstream)

        vertices = vertices.astype(jnp.float32)
        image, *slopes = draw(vertices, channels, upstream)
        parts = [
            draw(vertices, channels[..., k : k + 1], upstream[..., k : k + 1]) for k in range(count)
        ]
        assert_close(image, jnp.concatenate([part[0] for part in parts], -1))
        if slopes:
            by_parts = zip(*(part[1:] for part in parts), strict=True)
            by_vertices, by_channels = by_parts
            assert_close(slopes, [sum(by_vertices), jnp.concatenate(by_channels, -1)])


# --- functions of the user's own --------------------------------------------------------------


class TestOwnFunctions:
    """One's own formula is as good as that of the library."""

    def draw(self, **options):
        vertices, faces = small_scene(5)
        colors = jax.random.uniform(jax.random.key(0), (18, 3))

        def loss(vertices, sigma):
            screen = jr.ScreenMesh(vertices, faces)
            image = jr.rasterize_soft(
                screen,
                jr.VertexColors(colors),
                image_size=(8, 8),
                sigma=sigma,
                gamma=0.1,
                **options,
            )
            return (image.rgb**2).sum() + (image.alpha**2).sum(), image

        both = jax.value_and_grad(loss, (0, 1), has_aux=True)
        return jit(both)(vertices.astype(jnp.float32), jnp.float32(0.01))

    @pytest.mark.thorough
    def test_distribution_and_conorm(self):
        def cauchy(x):
            return 0.5 + jnp.arctan(x) / jnp.pi

        bounded = jr.tconorms.TConorm(
            "bounded", lambda D: D**2, lambda s: jnp.sqrt(jnp.clip(s, 1e-20, 1))
        )
        ours = self.draw(distribution=cauchy, aggregate_alpha=bounded, cutoff=1e-2)
        theirs = self.draw(distribution="cauchy", aggregate_alpha="yager", cutoff=1e-2)
        assert_close(ours, theirs)


# --- render and silhouette --------------------------------------------------------------------


class TestRender:
    view = jr.look_at(jr.points_from_angles(3.0, 20.0, 30.0))
    soft = jr.Soft(sigma=1e-3, gamma=1e-2)

    @pytest.mark.cases(1)
    @pytest.mark.thorough
    @pytest.mark.parametrize("shading", ["flat", "gouraud"])
    def test_stages_compose(self, shading):
        """Light on plain faces is their colour, whether faces or vertices are lit."""
        sphere = jr.shapes.icosphere(1)
        lights = jr.make_lights(0.3, [((1.0, 1, 1), 0.4)])
        options = {"image_size": (12, 17), "background": 0.2}
        count = len(sphere.faces if shading == "flat" else sphere.vertices)
        texels = jax.random.uniform(jax.random.key(0), (len(sphere.faces), 2, 2, 3))

        def lit_colors(vertices, texels):
            normals = jr.face_normals if shading == "flat" else jr.vertex_normals
            facing = normals(vertices, sphere.faces) @ jnp.array([1.0, 1, 1])
            light = (0.3 + 0.4 * jnp.maximum(facing, 0))[:, None]
            if shading == "flat":
                return jr.FaceTexels(texels * light[:, None, None])
            return jr.VertexColors(jnp.broadcast_to(light, (count, 3)))

        def drawn(vertices, texels):
            texture = jr.FaceTexels(texels) if shading == "flat" else None
            mesh = jr.Mesh(vertices, sphere.faces, texture)
            light = {"shading": shading, "two_sided": False, "rasterizer": self.soft}
            return jr.render(mesh, self.view, lights, **light, **options)

        def staged(vertices, texels):
            place = jr.project(vertices, self.view, image_size=(12, 17))
            numbers = {"sigma": self.soft.sigma, "gamma": self.soft.gamma}
            return jr.rasterize_soft(
                jr.ScreenMesh(place, sphere.faces),
                lit_colors(vertices, texels),
                **numbers,
                **options,
            )

        @functools.partial(jit, static_argnums=0)
        def both(draw, vertices, texels):
            if shading == "gouraud":
                return draw(vertices, texels)
            image, pull = jax.vjp(draw, vertices, texels)
            return image, pull(jax.tree.map(jnp.cos, image))

        assert_close(both(drawn, sphere.vertices, texels), both(staged, sphere.vertices, texels))

    @pytest.mark.thorough
    def test_phong(self):
        """With next to no blur, each pixel is lit as a hard one."""
        mesh = jr.shapes.icosphere(1)
        lights = jr.make_lights(0.2, [((1.0, 1, 1), 0.4)], [((0, 0, 2), 0.3)], specular=0.3)

        @functools.partial(jit, static_argnums=0)
        def draw(kind, sigma):
            rasterizer = jr.Hard() if kind == "hard" else jr.Soft(sigma=sigma, gamma=1e-6)
            options = {"image_size": (15, 20), "shading": "phong", "rasterizer": rasterizer}
            return jr.render(mesh, self.view, lights, **options)

        hard, image = draw("hard", 0.0), draw("soft", 1e-8)
        apart = np.abs(image.rgb - hard.rgb).max(-1)
        assert np.quantile(apart, 0.98) < 1e-3
        assert (hard.alpha.mean() > 0.1) & (hard.rgb.std() > 0.1)

    @pytest.mark.long
    def test_anti_aliasing_and_silhouette(self):
        """Blocks of samples are averaged; `silhouette` is the alpha of that."""
        sphere = jr.shapes.icosphere(1)
        background = jax.random.uniform(jax.random.key(1), (8, 11, 3))
        upstream = jax.random.normal(jax.random.key(0), (8, 11))
        pooled = {"image_size": (8, 11), "anti_aliasing": 2, "rasterizer": self.soft}

        def outline(vertices):
            return jr.silhouette(jr.Mesh(vertices, sphere.faces), self.view, **pooled)

        def alpha(vertices):
            mesh = jr.Mesh(vertices, sphere.faces)
            image = jr.render(mesh, self.view, background=background, **pooled)
            return image.alpha, image

        @jit
        def both(vertices):
            wanted, pull, image = jax.vjp(alpha, vertices, has_aux=True)
            got, pull_outline = jax.vjp(outline, vertices)
            return (got, pull_outline(upstream)), (wanted, pull(upstream)), image

        @jit
        def large(vertices):
            samples = jr.render(
                jr.Mesh(vertices, sphere.faces),
                self.view,
                background=background.repeat(2, 0).repeat(2, 1),
                image_size=(16, 22),
                rasterizer=self.soft,
            )
            mean = functools.partial(jnp.mean, axis=(1, 3))
            rgb, alpha, depth = (
                x.reshape(8, 2, 11, 2, *x.shape[2:]) for x in jax.tree.leaves(samples)
            )
            # Where the temperature is low, all of a sample is drawn or nothing.
            seen = (depth > 0).astype(depth.dtype)
            return jr.Image(mean(rgb), mean(alpha), mean(depth) / jnp.maximum(mean(seen), 0.25))

        got, wanted, image = both(sphere.vertices)
        assert_close(image, large(sphere.vertices))
        assert_close(got, wanted)
        assert np.abs(got[1][0]).max() > 0.1


@pytest.mark.thorough
def test_memory_does_not_grow_with_the_blur():
    """A picture of 512 x 512 of 20,480 faces, blurred over 50 pixels: its colour gradient."""
    sphere = jr.shapes.icosphere(5)
    assert len(sphere.faces) == 20480

    def loss(vertices, colors):
        screen = jr.ScreenMesh(vertices, sphere.faces)
        image = jr.rasterize_soft(
            screen, jr.VertexColors(colors), image_size=(512, 512), sigma=1e-3
        )
        return (image.rgb**2).sum()

    shape = jax.ShapeDtypeStruct(sphere.vertices.shape, jnp.float32)
    compiled = jit(jax.grad(loss, (0, 1))).lower(shape, shape).compile()
    analysis = compiled.memory_analysis()
    assert analysis.temp_size_in_bytes < 500e6


# --- what it says to bad input ----------------------------------------------------------------


class TestErrors:
    screen = jr.ScreenMesh(
        jnp.array([[-1.0, -1, 2], [3, -1, 2], [-1, 3, 2]]), jnp.array([[0, 1, 2]])
    )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"sigma": 0.0}, "`sigma` must be positive"),
            ({"sigma": jnp.nan}, "`sigma` must be finite"),
            ({"sigma": jnp.ones(3)}, "`sigma`"),
            ({"gamma": -1.0}, "`gamma` must be positive"),
            ({"eps": 1.0}, "`eps`.*less than 1"),
            ({"cutoff": 0.5}, "`cutoff`.*less than 0.5"),
            ({"cutoff": 0.0}, "`cutoff` must be positive"),
            ({"distance": "manhattan"}, "`distance` must be one of 'hard'"),
            ({"distribution": "normal"}, "`distribution` must be one of"),
            ({"aggregate_rgb": "mean"}, "`aggregate_rgb` must be one of"),
            ({"aggregate_alpha": "mean"}, "`aggregate_alpha` must be one of"),
            ({"cull": "both"}, "`cull` must be one of"),
            ({"background": jnp.ones(4)}, r"`background`.*\[3\].*got \[4\]"),
            ({"background": jnp.ones((5, 4, 3))}, "`background`"),
            ({"near": 2.0, "far": 2.0}, "`near` must be less than `far`"),
            ({"near": 0.0}, "`near` must be positive"),
            ({"far": jnp.inf}, "`far` must be finite.*None for no limit"),
            ({"faithful": True}, "`far` must be a number.*Pass near=1, far=100"),
            ({"faithful": True, "distribution": "cauchy"}, "Pass faithful=False"),
            ({"faithful": True, "squared": False}, "Pass faithful=False"),
            ({"faithful": True, "aggregate_alpha": "frank"}, "Pass faithful=False"),
            ({"texture": jnp.ones((3, 3))}, "VertexColors"),
            ({"texture": jr.VertexColors(jnp.ones((4, 3)))}, "colors"),
            ({"image_size": (0, 5)}, "image_size"),
        ],
    )
    def test_rasterize_soft(self, options, message):
        with pytest.raises(ValueError, match=message):
            jr.rasterize_soft(self.screen, **{"image_size": (4, 5)} | options)

    def test_screen(self):
        with pytest.raises(ValueError, match="ScreenMesh"):
            jr.rasterize_soft(self.screen.vertices, image_size=(4, 5))
        broken = jr.ScreenMesh(self.screen.vertices.at[0, 0].set(jnp.nan), self.screen.faces)
        with pytest.raises(ValueError, match="finite"):
            jr.rasterize_soft(broken, image_size=(4, 5))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rasterizer": jr.Soft(sigma=-1.0)}, "`rasterizer.sigma` must be positive"),
            ({"rasterizer": jr.Soft(gamma=0.0)}, "`rasterizer.gamma` must be positive"),
            ({"rasterizer": jr.Soft(distance="far")}, "`rasterizer.distance`"),
            ({"rasterizer": jr.Soft(faithful=True, squared=False)}, "`rasterizer.faithful`"),
            ({"rasterizer": jr.Soft(faithful=True)}, "`far`.*where `rasterizer.faithful`"),
            ({"rasterizer": "soft"}, "`rasterizer` must be"),
            ({"shading": "toon"}, "`shading` must be one of"),
            ({"near": 3.0, "far": 2.0}, "`near`"),
        ],
    )
    def test_render(self, options, message):
        view = jr.look_at((0, 0, 3))
        options = {"rasterizer": jr.Soft()} | options
        with pytest.raises(ValueError, match=message):
            jr.render(jr.shapes.cube(), view, image_size=(4, 4), **options)

    def test_lit_channels(self):
        cube = jr.shapes.cube()
        mesh = jr.Mesh(cube.vertices, cube.faces, jr.VertexColors(jnp.ones((8, 5))))
        view, soft = jr.look_at((0, 0, 3)), jr.Soft()
        with pytest.raises(ValueError, match='shading="none"'):
            jr.render(mesh, view, image_size=(4, 4), rasterizer=soft)

    @pytest.mark.slow
    @pytest.mark.parametrize("twice", [jax.hessian, lambda f: jax.grad(jax.grad(f))])
    def test_second_derivatives(self, twice):
        """One error says what has them."""

        def loss(right):
            screen = jr.ScreenMesh(self.screen.vertices + right, self.screen.faces)
            return jr.rasterize_soft(screen, image_size=(4, 4), aggregate_rgb=None).alpha.sum()

        with pytest.raises(NotImplementedError, match=r"once.*jacfwd.*antialias"):
            jax.eval_shape(twice(loss), 0.1)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.05},
        {"gamma": 0.05, "far": 10.0, "near": 1.0, "faithful": True},
        {"distance": "barycentric", "aggregate_alpha": "max"},
        {"distribution": "gaussian", "squared": False, "aggregate_alpha": "einstein"},
    ],
    ids=["default", "faithful", "barycentric", "gaussian"],
)
def test_forward_mode_is_the_transpose_of_reverse_mode(x64, options):
    vertices, faces = soup(3, 12, crossing=True)
    vertices, faces = jnp.asarray(vertices, jnp.float64), jnp.asarray(faces)
    colors = jax.random.uniform(jax.random.key(0), (len(vertices), 3), jnp.float64)
    args = vertices, colors, jnp.float64(3e-3)

    def picture(vertices, colors, sigma):
        screen, texture = jr.ScreenMesh(vertices, faces), jr.VertexColors(colors)
        image = jr.rasterize_soft(screen, texture, image_size=SIZE, sigma=sigma, **options)
        return image.rgb, image.alpha, image.depth

    ways = [
        jax.random.normal(jax.random.key(k), (2, *a.shape), a.dtype) for k, a in enumerate(args)
    ]
    ways[2] = 1e-3 * ways[2]
    shapes = jax.eval_shape(picture, *args)
    upstream = [
        jax.random.normal(jax.random.key(k), s.shape, s.dtype) for k, s in enumerate(shapes)
    ]

    @jit
    def both(args, ways):
        push = jax.vmap(lambda *way: jax.jvp(picture, args, way)[1])(*ways)
        return push, jax.vjp(picture, *args)[1](tuple(upstream))

    push, pull = both(args, ways)
    got = sum((a * b[None]).reshape(2, -1).sum(-1) for a, b in zip(push, upstream, strict=True))
    want = sum((a[None] * b).reshape(2, -1).sum(-1) for a, b in zip(pull, ways, strict=True))
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("numba", ["1", "0"])
@pytest.mark.parametrize(
    "options", [{"far": 2.0, "near": 0.5}, {"distribution": "gaussian"}], ids=["far", "gaussian"]
)
def test_jacobians_of_several_silhouettes(x64, monkeypatch, options, numba):
    """By columns as by rows, where each view has its own triangles; the kernel knows the first."""
    monkeypatch.setenv("JAXRENDER_NUMBA", numba)
    vertices, faces = soup(3, 12, crossing=True)
    vertices, faces = jnp.asarray(vertices, jnp.float64), jnp.asarray(faces)

    def picture(move, vertices):
        turned = vertices @ from_axis_angle(move[:3]).T + move[None, 3:6]
        screen = jr.ScreenMesh(turned, faces)
        how = {"image_size": (7, 5), "sigma": 1e-2 + move[6], "aggregate_rgb": None}
        return jr.rasterize_soft(screen, **how, **options).alpha

    moves = 0.1 * jax.random.normal(jax.random.key(0), (3, 7), jnp.float64)
    moves = moves.at[:, 6].set(jnp.array([0.0, 1e-3, 1e-2]))
    columns, rows = (
        jit(jax.vmap(derive(picture), (0, None)))(moves, vertices)
        for derive in (jax.jacfwd, jax.jacrev)
    )
    assert float(jnp.abs(rows[..., :3]).sum((0, 1, 2)).min()) > 0.1
    np.testing.assert_allclose(columns, rows, rtol=1e-9, atol=1e-12)


@pytest.mark.long
def test_modes_of_differentiation(x64):
    """All say the same: also over views of their own, under remat, scan and shard_map."""
    cube, eye = jr.shapes.cube(), jnp.array([0.5, 0.7, 2.4], jnp.float64)
    vertices = jnp.asarray(cube.vertices, jnp.float64)

    def draw(move):
        mesh = jr.Mesh(vertices + move[None], cube.faces)
        how = jr.Soft(sigma=1e-2)
        return jr.silhouette(mesh, jr.look_at(eye), image_size=(5, 6), rasterizer=how)

    def summed(move):
        total = lambda carry, _: (carry + draw(move), None)  # noqa: E731
        return jax.lax.scan(total, jnp.zeros((5, 6)), None, length=2)[0] / 2

    devices = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("devices",))
    dealt = jax.sharding.PartitionSpec("devices")
    move = jnp.array([0.01, 0.02, 0.03])

    @jit
    def every(move):
        views = jnp.stack([move, move + 0.1])
        spread = functools.partial(jax.shard_map, mesh=devices, in_specs=dealt, out_specs=dealt)
        return [
            jax.jacfwd(draw)(move),
            jax.jacrev(draw)(move),
            jax.vmap(jax.linearize(draw, move)[1], out_axes=-1)(jnp.eye(3)),
            jax.jacfwd(jax.checkpoint(draw))(move),
            jax.jacfwd(summed)(move),
            jax.vmap(jax.jacfwd(draw))(views)[0],
            spread(jax.vmap(jax.jacfwd(draw)))(views)[0],
            spread(jax.vmap(jax.jacrev(draw)))(views)[0],
        ]

    first, *others = every(move)
    assert np.abs(first).max() > 0.1
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-12)


@pytest.mark.thorough
def test_default_gamma_moves_inner_edges():
    """A square before a wall: at SoftRas's gamma its colours do not move with it."""
    corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    front, back = (
        jnp.pad(s * corners, ((0, 0), (0, 1)), constant_values=z)
        for s, z in ((0.5, 2.0), (2.0, 3.0))
    )
    faces = jnp.array([[0, 1, 2], [0, 2, 3]])
    colors = jr.VertexColors(jnp.repeat(jnp.array([1.0, 0.2]), 4)[:, None])
    x = (2 * jnp.arange(32) - 31) / 32

    def loss(right, gamma):
        vertices = jnp.concatenate([front.at[:, 0].add(right), back])
        screen = jr.ScreenMesh(vertices, jnp.concatenate([faces, faces + 4]))
        image = jr.rasterize_soft(screen, colors, image_size=(32, 32), sigma=5e-3, gamma=gamma)
        return (image.rgb[..., 0] * x[None]).mean()

    want = 0.8 * 0.5**2  # the step of the colour times the share of the picture that moves
    got, sharp = jit(lambda right: [jax.grad(loss)(right, gamma) for gamma in (None, 1e-4)])(0.0)
    np.testing.assert_allclose(got, want, rtol=0.6)  # blurred, it is larger
    assert abs(sharp) < 0.1 * want
