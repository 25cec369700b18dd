"""What the drawings of the documentation are made of: arrows, axes and cameras, as meshes."""

from __future__ import annotations

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxrender as jr

COLORS = {"x": (0.86, 0.22, 0.2), "y": (0.25, 0.62, 0.24), "z": (0.2, 0.4, 0.85)}
DARK = (0.25, 0.27, 0.3)
WHITE = 1.0


def colored(mesh: jr.Mesh, color: tuple[float, float, float]) -> jr.Mesh:
    """The mesh in one colour."""
    return jr.Mesh(
        mesh.vertices,
        mesh.faces,
        jr.VertexColors(jnp.broadcast_to(jnp.asarray(color), mesh.vertices.shape)),
    )


def together(meshes) -> jr.Mesh:
    """One mesh of several."""
    return jr.join_meshes(list(meshes))[0]


def arrow(start, end, color, thickness=0.025, sides=16) -> jr.Mesh:
    """A round arrow from one point to another."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = np.linalg.norm(end - start)
    ahead = (end - start) / length
    side = np.cross(ahead, np.eye(3)[np.argmin(np.abs(ahead))])
    side /= np.linalg.norm(side)
    other = np.cross(ahead, side)

    # Turn a profile of (distance along, radius) around the axis.
    head = max(length - 5 * thickness, 0.5 * length)
    profile = [(0, 0), (0, thickness), (head, thickness), (head, 2.4 * thickness), (length, 0)]
    angles = 2 * np.pi * np.arange(sides) / sides
    rings = [
        start
        + along * ahead
        + radius * (np.outer(np.cos(angles), side) + np.outer(np.sin(angles), other))
        for along, radius in profile
    ]
    faces = []
    for ring in range(len(profile) - 1):
        for k in range(sides):
            a, b = ring * sides + k, ring * sides + (k + 1) % sides
            faces += [(a, b, a + sides), (b, b + sides, a + sides)]
    mesh = jr.Mesh(jnp.asarray(np.concatenate(rings)), jnp.asarray(np.array(faces, np.int32)))
    return colored(mesh, color)


def axes(origin, directions, length=1.0, thickness=0.025) -> jr.Mesh:
    """Three arrows, x red, y green, z blue, along the rows of `directions`."""
    origin = np.asarray(origin, float)
    return together(
        arrow(origin, origin + length * np.asarray(direction), color, thickness)
        for direction, color in zip(directions, COLORS.values(), strict=True)
    )


def camera_body(camera: jr.Camera, size=0.3) -> jr.Mesh:
    """A box and, before it, a pyramid that opens in the direction in which the camera looks."""

    def placed(vertices, faces, color):
        world = (size * np.asarray(vertices) - np.asarray(camera.translation)) @ np.asarray(
            camera.rotation
        )
        return colored(jr.Mesh(jnp.asarray(world), jnp.asarray(faces, jnp.int32)), color)

    box = jr.shapes.cube()
    body = placed(np.asarray(box.vertices) * (0.9, 0.7, 1.0) - (0, 0, 0.6), box.faces, DARK)
    lens = [(0, 0, -0.2), (-0.5, -0.4, 0.5), (0.5, -0.4, 0.5), (0.5, 0.4, 0.5), (-0.5, 0.4, 0.5)]
    sides = [(0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 1), (1, 2, 3), (1, 3, 4)]
    return together([body, placed(lens, sides, (0.6, 0.63, 0.67))])


def draw(ax, mesh, camera, labels=(), image_size=(240, 320)):
    """Draws a mesh on a white ground, and words at points of the world."""
    image = jr.render(
        mesh,
        camera,
        jr.camera_lights(camera, specular=0),
        image_size=image_size,
        anti_aliasing=2,
        background=WHITE,
    )
    height, width = image_size
    ax.imshow(image.to_uint8(), extent=(0, width, height, 0))
    for word, place, color in labels:
        x, y, _ = np.asarray(
            jr.project(jnp.asarray([place], jnp.float32), camera, image_size=image_size)
        )[0]
        ax.text(
            (x + 1) / 2 * width, (1 - y) / 2 * height, word, color=color, ha="center", va="center"
        )
    ax.set_axis_off()


def figure(columns=1, width=4.0, height=3.0):
    """Axes side by side."""
    made, places = plt.subplots(1, columns, figsize=(width * columns, height), squeeze=False)
    made.tight_layout()
    return places[0]
