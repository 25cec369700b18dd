"""What users add without touching our files: cameras, visibility gradients, reflections."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from quick import jit

import jaxrender as jr

SIZE = (24, 24)


class Fisheye(jr.Projection):
    """Equidistant: the distance from the middle of the picture is the angle off the axis."""

    angle: jax.Array  # [] radians at the upper border

    def to_screen(self, x, y, image_size):
        height, width = image_size or (1, 1)
        r_sq = x * x + y * y
        r = jnp.sqrt(jnp.where(r_sq > 0, r_sq, 1))
        scale = jnp.where(r_sq > 0, jnp.arctan(r) / r, 1) / self.angle
        return x * scale * (height / width), y * scale


def fisheye(angle: float = 1.2, **kwargs) -> jr.Camera:
    return jr.look_at((0.5, 0.8, 2.0), projection=Fisheye(jnp.asarray(angle)), **kwargs)


class TestCamera:
    @pytest.mark.slow
    def test_points_lie_where_the_model_says(self):
        camera = jr.Camera(jnp.eye(3), jnp.zeros(3), Fisheye(jnp.asarray(np.pi / 2)))
        angles, around = np.linspace(0, 1.5, 7), 0.7
        points = np.stack(
            [np.sin(angles) * np.cos(around), np.sin(angles) * np.sin(around), np.cos(angles)], -1
        )
        seen = jr.project(points, camera, image_size=(20, 40))
        radius = angles / (np.pi / 2)
        want = [radius * np.cos(around) / 2, radius * np.sin(around), np.cos(angles)]
        np.testing.assert_allclose(seen, np.stack(want, -1), atol=1e-6)

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("rasterizer", [jr.Hard(), jr.Hard("nmr"), jr.Soft(sigma=1e-3)])
    def test_it_is_drawn_with(self, rasterizer):
        mesh = jr.shapes.icosphere(1)

        def draw(angle):
            image = jr.render(mesh, fisheye(angle), image_size=SIZE, rasterizer=rasterizer)
            return image.alpha.sum()

        # The same ball fills less of a picture that shows more.
        angles = jnp.array([1.2, 0.8])
        (wide, narrow), slopes = jit(jax.vmap(jax.value_and_grad(draw)))(angles)
        assert 5 < wide < narrow < SIZE[0] * SIZE[1]
        assert not slopes.any() if rasterizer == jr.Hard() else (slopes < 0).all()
        np.testing.assert_allclose(wide, draw(1.2), rtol=1e-5)

    @pytest.mark.thorough
    def test_gradient(self, x64):
        points = np.random.default_rng(0).uniform(-0.5, 0.5, (5, 3))

        def seen(angle, points):
            return jr.project(points, fisheye(angle))

        check_grads(seen, (1.0, points), order=1, modes=["fwd", "rev"], rtol=1e-5)

    @pytest.mark.slow
    def test_parallel_rays_see_from_a_direction(self):
        class Squares(jr.Projection):
            parallel = True

            def to_screen(self, x, y, image_size):
                return x / 3, y / 2

        camera = jr.look_at((0.0, 0.0, 4.0), projection=Squares())
        assert jr.viewpoint(camera).tolist() == [0.0, 0.0, 1.0, 0.0]
        assert jr.project([[1.5, 1.0, 1.0]], camera).tolist() == [[0.5, 0.5, 3.0]]
        depth = jr.render(jr.shapes.cube(), camera, image_size=(9, 9)).depth
        assert depth[4, 4] == 4 - float(jr.shapes.cube().vertices[:, 2].max())

    def test_calibrated_models_have_their_aspect(self):
        class Calibrated(jr.Projection):
            image_size: tuple[int, int] = jr.static(default=(10, 20))

            def to_screen(self, x, y, image_size):
                return x / 2, y

        camera = jr.look_at((0.0, 0.0, 4.0), projection=Calibrated())
        assert jr.project([[1.0, 1.0, 0.0]], camera, image_size=(5, 10)).shape == (1, 3)
        with pytest.raises(ValueError, match=r"`image_size` must have the aspect.*calibrated"):
            jr.project([[1.0, 1.0, 0.0]], camera, image_size=(5, 5))
        wrong = dataclasses.replace(camera, projection=Calibrated(image_size=(0, 3)))
        with pytest.raises(ValueError, match="image_size"):
            jr.project([[1.0, 1.0, 0.0]], wrong)

    def test_what_is_missing_is_said(self):
        class Empty(jr.Projection):
            shapes = {"scale": (2,)}  # noqa: RUF012

            scale: jax.Array

        camera = jr.look_at((0.0, 0.0, 4.0), projection=Empty(jnp.ones(2)))
        with pytest.raises(NotImplementedError, match=r"Empty has no to_screen\. Write to_screen"):
            jr.project([[1.0, 1.0, 0.0]], camera)
        camera = jr.look_at((0.0, 0.0, 4.0), projection=Empty(jnp.ones(3)))
        with pytest.raises(ValueError, match=r"`camera\.projection\.scale` must .*\[2\]"):
            jr.project([[1.0, 1.0, 0.0]], camera)
        camera = jr.look_at((0.0, 0.0, 4.0), projection=Fisheye(jnp.asarray(np.nan)))
        with pytest.raises(ValueError, match=r"`camera\.projection\.angle`"):
            jr.project([[1.0, 1.0, 0.0]], camera)
        with pytest.raises(ValueError, match=r"`projection` must be of .* got str"):
            jr.look_at((0.0, 0.0, 4.0), projection="fisheye")


def zero(picture, fragments, screen):
    """Lets nothing move the picture."""
    return jax.lax.stop_gradient(picture)


@jr.struct
class Scaled:
    """NMR's, times a number that is traced."""

    by: jax.Array  # []

    def __call__(self, picture, fragments, screen):
        moved = jr.nmr_gradient(picture, fragments, screen)
        still = jax.lax.stop_gradient(picture)
        return still + self.by * (moved - jax.lax.stop_gradient(moved))


class TestVisibilityGradient:
    mesh = jr.shapes.icosphere(1)
    camera = jr.look_at((0.5, 0.8, 3.0))

    def loss(self, vertices, gradient):
        mesh = dataclasses.replace(self.mesh, vertices=vertices)
        options = {"image_size": SIZE, "rasterizer": jr.Hard(gradient), "shading": "none"}
        return jr.render(mesh, self.camera, **options).alpha[:, :9].sum()

    def slope(self, gradient):
        return jit(jax.grad(self.loss))(self.mesh.vertices, gradient)

    @pytest.mark.slow
    def test_a_function(self):
        assert not np.asarray(self.slope(jax.tree_util.Partial(zero))).any()
        grad = jax.grad(functools.partial(self.loss, gradient=zero))(self.mesh.vertices)
        assert not np.asarray(grad).any()
        want = self.loss(self.mesh.vertices, None)
        assert self.loss(self.mesh.vertices, zero) == want > 0
        alpha = jr.silhouette(self.mesh, self.camera, image_size=SIZE, rasterizer=jr.Hard(zero))
        assert float(alpha[:, :9].sum()) == want

    @pytest.mark.thorough
    def test_a_struct_has_traced_numbers(self):
        want = self.slope(jr.NMR())
        assert np.abs(want).max() > 0
        np.testing.assert_allclose(self.slope(Scaled(jnp.asarray(2.0))), 2 * want, rtol=1e-5)
        compiled = jr._render._render._cache_size()
        for by in (3.0, 4.0):
            hard = jr.Hard(Scaled(jnp.asarray(by)))
            jr.render(self.mesh, self.camera, image_size=SIZE, rasterizer=hard)
        assert jr._render._render._cache_size() - compiled <= 1

    @pytest.mark.slow
    def test_names_are_shorthands(self):
        for eps in (1e-3, 1e-1):
            named = functools.partial(self.loss_of, jr.Hard("nmr", eps=eps))
            want = jax.grad(named)(self.mesh.vertices)
            made = functools.partial(self.loss_of, jr.Hard(jr.NMR(eps=eps)))
            assert np.array_equal(jax.grad(made)(self.mesh.vertices), want)

    def loss_of(self, hard, vertices):
        mesh = dataclasses.replace(self.mesh, vertices=vertices)
        return jr.silhouette(mesh, self.camera, image_size=SIZE, rasterizer=hard)[:, :9].sum()

    @pytest.mark.long
    def test_it_passes_through_jit_and_vmap(self):
        def slope(hard):
            return jax.grad(functools.partial(self.loss_of, hard))(self.mesh.vertices)

        for hard in (jr.Hard("nmr"), jr.Hard(zero), jr.Hard()):
            np.testing.assert_allclose(jax.jit(slope)(hard), slope(hard), rtol=1e-5, atol=1e-6)
        eps = jnp.array([1e-3, 1e-1])
        both = jax.vmap(lambda eps: slope(jr.Hard(jr.NMR(eps))))(eps)
        mapped = jax.vmap(slope)(jr.Hard(jr.NMR(eps), eps=eps))
        for k in range(2):
            want = slope(jr.Hard(jr.NMR(eps[k])))
            np.testing.assert_allclose(both[k], want, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(mapped[k], want, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            ("nmrr", r"`rasterizer\.visibility_gradient` must be .*'nmr'.* got 'nmrr'"),
            (3.0, r"`rasterizer\.visibility_gradient` must be None, a name or a function, got 3"),
            (jr.NMR, r"must be None, a name or a function, got <class"),
            (jr.NMR(-1.0), r"`rasterizer\.visibility_gradient\.eps` must be positive"),
            (lambda picture, fragments, screen: picture[0], r"must return a picture of the shape"),
        ],
    )
    def test_bad_ones_are_refused(self, chosen, message):
        hard = jr.Hard(chosen)
        with pytest.raises(ValueError, match=message):
            jr.render(self.mesh, self.camera, image_size=SIZE, rasterizer=hard)


def toon(points, normals, lights, eye):
    """Light in three steps, and none reflected."""
    facing = (normals * lights.directions).sum(0)
    steps = jnp.floor(3 * jax.nn.relu(facing)) / 3
    return [lights.ambient[c] + (steps * lights.direction_colors[c]).sum(0) for c in range(3)], None


class TestReflection:
    mesh = jr.shapes.icosphere(1)
    camera = jr.look_at((0.5, 0.8, 3.0))
    direction = np.array([0.36, 0.48, 0.8])
    lights = jr.make_lights(0.2, [(direction, (0.7, 0.5, 0.3))], reflection=toon)

    @pytest.mark.thorough
    def test_by_face(self):
        image = jr.render(self.mesh, self.camera, self.lights, image_size=SIZE)
        screen = jr.ScreenMesh(jr.project(self.mesh.vertices, self.camera), self.mesh.faces)
        face = np.asarray(jr.rasterize_hard(screen, image_size=SIZE).face)
        facing = np.asarray(jr.face_normals(self.mesh.vertices, self.mesh.faces)) @ self.direction
        steps = np.floor(3 * np.maximum(facing, 0)) / 3
        want = 0.2 + steps[face][..., None] * np.array([0.7, 0.5, 0.3])
        assert len(np.unique(steps[face[face >= 0]])) > 1
        np.testing.assert_allclose(image.rgb[face >= 0], want[face >= 0], atol=1e-5)

    @pytest.mark.thorough
    @pytest.mark.parametrize("shading", ["flat", "phong"])
    def test_both_rasterisers_call_it(self, shading):
        soft = jr.Soft(sigma=1e-8, gamma=1e-6)
        options = {"image_size": SIZE, "shading": shading}
        hard = jr.render(self.mesh, self.camera, self.lights, **options)
        blurred = jr.render(self.mesh, self.camera, self.lights, **options, rasterizer=soft)
        apart = np.abs(np.asarray(hard.rgb - blurred.rgb)).max(-1)
        assert (apart > 2e-3).mean() < 0.03
        default = jr.make_lights(0.2, [(self.direction, (0.7, 0.5, 0.3))])
        assert (
            np.abs(jr.render(self.mesh, self.camera, default, **options).rgb - hard.rgb).max() > 0.1
        )

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(ValueError, match=r"`lights\.reflection` must be .*'blinn_phong'"):
            jr.make_lights(reflection="phong")
