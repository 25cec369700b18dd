"""A user's script in which each marked line holds one mistake that mypy and pyright must find."""

import jax.numpy as jnp

import jaxrender as jr

mesh = jr.shapes.cube()
camera = jr.look_at((0.0, 1.0, 3.0))
jr.render(mesh, camera)  # MISTAKE: no image_size
jr.render(mesh, camera, image_size=64)  # MISTAKE: one number
jr.render(mesh, camera, image_size=(64, 64), cull="behind")  # MISTAKE: no such side
jr.render(mesh, camera, image_size=(64, 64), shading="smooth")  # MISTAKE: no such shading
jr.render(mesh, camera, image_size=(64, 64), rasterizer="soft")  # MISTAKE: a name
jr.render(camera, mesh, image_size=(64, 64))  # MISTAKE: the wrong way round
color = jr.render(mesh, camera, image_size=(64, 64)).color  # MISTAKE: no such field
alpha = jr.silhouette(mesh, camera, image_size=(64, 64)).alpha  # MISTAKE: an array already
jr.look_at((0.0, 1.0, 3.0), fov=45.0)  # MISTAKE: an argument of `perspective`
jr.load_mesh("teapot.obj", colors="srgb")  # MISTAKE: no such encoding
jr.Mesh(mesh.vertices)  # MISTAKE: no faces
mesh.faces = jnp.zeros((1, 3), int)  # MISTAKE: structs are frozen
jr.Soft(aggregate_rgb="mean")  # MISTAKE: no such aggregation
jr.Soft(distance="manhattan")  # MISTAKE: no such distance
picture, uv = jnp.ones((2, 2, 3)), jnp.zeros((3, 2))
jr.UVTexture(picture, uv, mesh.faces, wrap="tile")  # MISTAKE: which wrap
