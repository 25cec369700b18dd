"""`render`: the stages together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import _render

SIZE = (24, 30)


def scene(colors: int = 3) -> jr.Mesh:
    sphere = jr.shapes.icosphere(2)
    shade = jnp.linspace(0.1, 0.9, sphere.vertices.shape[0] * colors).reshape(-1, colors)
    return jr.Mesh(sphere.vertices, sphere.faces, jr.VertexColors(shade))


def camera(azimuth: float = 30.0, **kwargs) -> jr.Camera:
    return jr.look_at(jr.points_from_angles(3.0, 20.0, azimuth), **kwargs)


def assert_images_close(image: jr.Image, other: jr.Image, atol: float = 1e-5) -> None:
    for leaf, wanted in zip(jax.tree.leaves(image), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(leaf, wanted, atol=atol, rtol=1e-5)


class TestPicture:
    @pytest.mark.slow
    def test_stages_compose(self):
        """`render` is project, rasterize_hard and shade, and the background."""
        mesh, view, lights = scene(), camera(), jr.make_lights(0.3, [((1, 1, 1), 0.4)])
        image = jr.render(mesh, view, lights, image_size=SIZE, background=0.25, shading="phong")

        @jax.jit
        def staged(mesh, view, lights):
            screen = jr.ScreenMesh(jr.project(mesh.vertices, view, image_size=SIZE), mesh.faces)
            seen = jr.rasterize_hard(screen, image_size=SIZE)
            colors = jr.shade(seen, mesh, lights, eye=jr.camera_position(view), shading="phong")
            colors = jnp.where((seen.face < 0)[..., None], 0.25, colors)
            return jr.Image(colors, (seen.face >= 0).astype(jnp.float32), seen.depth)

        assert_images_close(image, staged(mesh, view, lights))

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("size", [(48, 96), (96, 48)])
    def test_sphere_stays_round(self, size):
        view = jr.look_at(jr.points_from_angles(5.0, 20.0, 30.0))
        alpha = jr.render(jr.shapes.icosphere(4), view, image_size=size).alpha
        rows, columns = np.nonzero(np.asarray(alpha) > 0.5)
        assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
        assert abs(rows.mean() - (size[0] - 1) / 2) < 0.6
        assert abs(columns.mean() - (size[1] - 1) / 2) < 0.6

    @pytest.mark.slow
    def test_anti_aliasing_is_the_mean_of_samples(self):
        mesh = scene()
        large = jr.render(mesh, camera(), image_size=(72, 90), background=0.5)
        image = jr.render(mesh, camera(), image_size=SIZE, background=0.5, anti_aliasing=3)
        rgb, alpha, depth = (
            np.asarray(leaf).reshape(24, 3, 30, 3, *leaf.shape[2:])
            for leaf in jax.tree.leaves(large)
        )
        # Depth is that of the samples that see a face.
        seen = np.maximum(alpha.sum((1, 3)), 1)
        pooled = jr.Image(rgb.mean((1, 3)), alpha.mean((1, 3)), depth.sum((1, 3)) / seen)
        assert_images_close(image, pooled)
        assert ((image.alpha > 0) & (image.alpha < 1)).any()

    @pytest.mark.slow
    def test_backgrounds(self):
        mesh, picture = scene(), jax.random.uniform(jax.random.key(0), (*SIZE, 3))
        plain = jr.render(mesh, camera(), image_size=SIZE, anti_aliasing=2)
        for background in (jnp.array([0.1, 0.2, 0.3]), picture):
            image = jr.render(
                mesh, camera(), image_size=SIZE, anti_aliasing=2, background=background
            )
            wanted = plain.rgb + (1 - plain.alpha)[..., None] * jnp.broadcast_to(
                background, (*SIZE, 3)
            )
            np.testing.assert_allclose(image.rgb, wanted, atol=1e-6)

    @pytest.mark.slow
    def test_features(self):
        """Any number of channels, without light."""
        image = jr.render(scene(7), camera(), image_size=SIZE, shading="none")
        assert image.rgb.shape == (*SIZE, 7)

    @pytest.mark.slow
    def test_orthographic_depth_is_exact(self):
        plane = jr.Mesh(
            jnp.array([[-5.0, -5, 2], [5, -5, 4], [5, 5, 4], [-5, 5, 2]]),
            jnp.array([[0, 1, 2], [0, 2, 3]]),
        )
        view = jr.look((0.0, 0.0, 0.0), projection=jr.orthographic(2.0), right_handed=False)
        depth = jr.render(plane, view, image_size=(8, 8)).depth
        x = (2 * np.arange(8) + 1 - 8) / 8
        np.testing.assert_allclose(depth, np.broadcast_to(3 + x / 5, (8, 8)), rtol=1e-5)

    @pytest.mark.thorough
    def test_teapot_picture(self, golden):
        """The ancestor's reference silhouette of the teapot, pixel for pixel."""
        from imageio.v3 import imread

        mesh = jr.load_mesh(golden.path("meshes/teapot.obj"))
        picture = np.asarray(imread(golden.path("nmr/pictures/teapot_blender.png")))[..., :3]
        eye = (0.0, 0.0, -(1 / np.tan(np.radians(30)) + 1))
        view = jr.look_at(eye, right_handed=False)
        mesh = jr.normalize(mesh)
        alpha = jr.render(mesh, view, image_size=(256, 256)).alpha
        np.testing.assert_array_equal(np.asarray(alpha) > 0.5, picture.min(-1) != 255)

    @pytest.mark.slow
    def test_teapot_depth(self, golden):
        """Its reference of the depth: scaled to 0 for the least, also where nothing is, and 1."""
        mesh = jr.normalize(jr.load_mesh(golden.path("meshes/teapot.obj")))
        picture = np.asarray(jr.io.load_image(golden.path("nmr/pictures/test_depth.png"))).mean(-1)
        eye = (0.0, 0.0, -(1 / np.tan(np.radians(30)) + 1))
        view = jr.look_at(eye, right_handed=False)
        image = jr.render(mesh, view, image_size=picture.shape)
        depth, seen = np.asarray(image.depth), np.asarray(image.alpha) > 0
        depth = np.where(seen, depth - depth[seen].min(), 0)
        np.testing.assert_allclose(depth / depth.max(), picture, atol=1e-2)


class TestTransformations:
    @pytest.mark.slow
    def test_one_trace(self):
        """New values of meshes, cameras, lights, limits and backgrounds compile nothing."""
        mesh = scene()
        before = _render._render._cache_size()
        for step in range(3):
            moved = jr.Mesh(mesh.vertices * (1 + 0.1 * step), mesh.faces, mesh.texture)
            jr.render(
                moved,
                camera(20.0 * step, projection=jr.perspective(40 + step)),
                jr.make_lights(0.1 * step, [((0, 1, step), 0.5)]),
                image_size=(17, 23),
                near=0.1 + 0.01 * step,
                far=50 + step,
                background=0.1 * step,
            )
        assert _render._render._cache_size() == before + 1

    @pytest.mark.slow
    def test_vmap_over_cameras(self):
        views = [camera(azimuth) for azimuth in (0.0, 100.0, 250.0)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views)
        together = jax.vmap(lambda view: jr.render(scene(), view, image_size=SIZE))(stacked)
        for index, view in enumerate(views):
            alone = jr.render(scene(), view, image_size=SIZE)
            assert_images_close(jax.tree.map(lambda leaf, i=index: leaf[i], together), alone)

    @pytest.mark.thorough
    def test_vmap_over_meshes_and_lights(self):
        mesh, scales, ambient = scene(), jnp.array([0.7, 1.0]), jnp.array([0.2, 0.6])

        def draw(scale, ambient):
            moved = jr.Mesh(mesh.vertices * scale, mesh.faces, mesh.texture)
            return jr.render(moved, camera(), jr.make_lights(ambient), image_size=SIZE)

        together = jax.vmap(draw)(scales, ambient)
        for index in range(2):
            alone = draw(scales[index], ambient[index])
            assert_images_close(jax.tree.map(lambda leaf, i=index: leaf[i], together), alone)

    @pytest.mark.slow
    def test_jit_equals_eager(self):
        inside = jax.jit(lambda mesh, view: jr.render(mesh, view, image_size=SIZE))
        assert_images_close(
            inside(scene(), camera()), jr.render(scene(), camera(), image_size=SIZE)
        )

    @pytest.mark.thorough
    @pytest.mark.usefixtures("x64")
    def test_gradient(self):
        """To colours, lights and background in float64; the picture is linear in each."""
        mesh, view = scene(), camera()
        weights = jnp.array(np.random.default_rng(0).normal(size=(*SIZE, 3)))
        lights = jr.make_lights(0.3, [((0.3, 1.0, -0.5), 0.6)], [((2.0, 2.0, -2.0), 0.3)])
        free = (mesh.texture.colors, lights, jnp.array([0.1, 0.2, 0.3]))

        def loss(colors, lights, background):
            dressed = jr.Mesh(mesh.vertices, mesh.faces, jr.VertexColors(colors))
            image = jr.render(dressed, view, lights, image_size=SIZE, background=background)
            return (image.rgb * weights).sum()

        loss = jax.jit(loss)
        gradient = jax.jit(jax.grad(loss, (0, 1, 2)))(*free)
        rng = np.random.default_rng(1)
        direction = jax.tree.map(lambda leaf: jnp.array(rng.normal(size=leaf.shape)), free)
        step = 1e-6
        up, down = (
            loss(*jax.tree.map(lambda leaf, d, s=sign: leaf + s * step * d, free, direction))
            for sign in (1, -1)
        )
        along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)))
        assert float(along) == pytest.approx(float(up - down) / (2 * step), rel=1e-6)


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"mesh": 3}, "`mesh` must be a Mesh"),
            ({"camera": jr.perspective(40)}, "`camera` must be"),
            ({"lights": 0.5}, "`lights` must be Lights"),
            ({"mesh": jr.Mesh(jnp.zeros((2, 4, 3)), jnp.array([[0, 1, 2]]))}, "jax.vmap"),
            ({"mesh": jr.Mesh(jnp.zeros((4, 3)), jnp.array([[0, 1, 9]]))}, "`mesh.faces`"),
            ({"mesh": jr.Mesh(jnp.full((3, 3), np.inf), jnp.array([[0, 1, 2]]))}, "finite"),
            ({"image_size": (0, 3)}, "`image_size`"),
            ({"near": 5, "far": 2}, "`near` must be less"),
            ({"background": jnp.zeros(4)}, "`background` must be"),
            ({"anti_aliasing": 0}, "`anti_aliasing` must be"),
            ({"shading": "toon"}, "`shading` must be one of"),
            ({"cull": "all"}, "`cull` must be one of"),
        ],
    )
    def test_value_error(self, change, message):
        arguments = {"mesh": scene(), "camera": camera(), "image_size": (4, 4)} | change
        with pytest.raises(ValueError, match=message):
            jr.render(arguments.pop("mesh"), arguments.pop("camera"), **arguments)

    @pytest.mark.slow
    def test_empty_mesh_shows_the_background(self):
        for mesh in (
            jr.Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32)),
            jr.Mesh(jnp.zeros((3, 3)), jnp.zeros((0, 3), jnp.int32)),
        ):
            image = jr.render(mesh, camera(), image_size=(4, 5), background=0.5)
            assert (image.rgb == 0.5).all()
            assert (image.alpha == 0).all()
            assert (image.depth == 0).all()
