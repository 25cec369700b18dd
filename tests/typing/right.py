"""A user's script without a mistake; `test_types.py` has mypy and pyright check it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrender as jr

mesh: jr.Mesh = jr.load_mesh("teapot.obj", colors="linear")
camera = jr.look_at((0.0, 1.0, 3.0), projection=jr.perspective(45.0))
lights = jr.make_lights(ambient=0.3, directional=[((0.0, 1.0, 0.0), 0.7)])
image = jr.render(
    mesh,
    camera,
    lights,
    image_size=(64, 96),
    background=np.ones(3),
    cull="back",
    shading="phong",
    rasterizer=jr.Soft(sigma=1e-4, aggregate_alpha="prod"),
)
total: jax.Array = image.rgb.sum() + image.alpha.sum() + image.depth.sum()


def loss(vertices: jax.Array) -> jax.Array:
    moved = jr.Mesh(vertices, mesh.faces)
    return jr.silhouette(moved, camera, image_size=(64, 64)).sum()


slope = jax.grad(loss)(mesh.vertices)
result = jr.fitting.fit(lambda p, step: loss(p), mesh.vertices, optax.adam(1e-2), steps=3)
fragments = jr.rasterize_hard(
    jr.ScreenMesh(jr.project(mesh.vertices, camera), mesh.faces), image_size=(8, 8), cull="none"
)
faces: jax.Array = fragments.face
coloured = jr.Mesh(mesh.vertices, mesh.faces, jr.VertexColors(jnp.ones((3, 3))))
jr.io.save_image("out.png", image)


def half(picture: jax.Array, fragments: jr.Fragments, screen: jr.ScreenMesh) -> jax.Array:
    return jr.nmr_gradient(picture, fragments, screen) * 1.0


hard = jr.Hard(visibility_gradient=half)


class Fisheye(jr.Projection):
    angle: jax.Array

    def to_screen(
        self, x: jax.Array, y: jax.Array, image_size: tuple[int, int] | None
    ) -> tuple[jax.Array, jax.Array]:
        return x / self.angle, y / self.angle


seen = jr.look_at((0.0, 0.0, 3.0), projection=Fisheye(jnp.asarray(1.0)))
