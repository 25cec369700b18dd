"""Draws the gallery: `make gallery` writes gallery/*.png and gallery.md, from the functions here.

Each function makes one picture. Its docstring is the caption, its source is shown beside it, and
the page names it by the function's name.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr

HERE = Path(__file__).resolve().parent
Way = jr.Hard | jr.Soft
SIZE = (160, 160)  # of one picture; a row has four


def row(*pictures: jax.Array) -> jax.Array:
    """Pictures `[H, W, 3]` or `[H, W]` side by side."""
    colored = [p if p.ndim == 3 else jnp.repeat(p[..., None], 3, axis=-1) for p in pictures]
    return jnp.clip(jnp.concatenate(colored, axis=1), 0, 1)  # what is mirrored may be brighter


TEAPOT = jr.normalize(jr.shapes.teapot(8))
BALL = jr.shapes.icosphere(4)
CAMERA = jr.frame(TEAPOT, azimuth=30.0, elevation=20.0)
ROUND = jr.frame(BALL)
LIGHTS = jr.camera_lights(ROUND, specular=0.0)


def around(mesh: jr.Mesh) -> jax.Array:
    """Texture coordinates `[3 F, 2]` by longitude and latitude, one for each corner of a face."""
    x, y, z = np.moveaxis(np.asarray(mesh.vertices)[np.asarray(mesh.faces)], -1, 0)
    u = np.arctan2(x, z) / (2 * np.pi)
    u -= np.round(u - u[:, :1])
    v = np.arcsin(np.clip(y / np.sqrt(x * x + y * y + z * z), -1, 1)) / np.pi + 0.5
    return jnp.asarray(np.stack([u, v], axis=-1).reshape(-1, 2), jnp.float32)


def textures() -> jax.Array:
    """Textures: colours of vertices, of faces, cubes of each face (NMR's), and pictures by UV."""
    coarse = jr.shapes.icosphere(2)
    faces = len(coarse.faces)
    random = np.random.default_rng(0)
    uv = around(BALL)
    odd = (np.indices((16, 32)).sum(0) % 2)[..., None]
    checks = np.where(odd, [0.9, 0.7, 0.3], [0.2, 0.3, 0.6])
    kinds = [
        (BALL, jr.VertexColors(0.5 + 0.5 * BALL.vertices)),
        (coarse, jr.FaceTexels(jnp.asarray(random.uniform(0.2, 1, (faces, 1, 1, 3))))),
        (coarse, jr.FaceCubes(jnp.asarray(random.uniform(0.2, 1, (faces, 4, 4, 4, 3))))),
        (
            BALL,
            jr.UVTexture(
                jnp.asarray(checks),
                uv,
                jnp.arange(len(uv), dtype=jnp.int32).reshape(-1, 3),
                filter="nearest",
            ),
        ),
    ]
    pictures = []
    for mesh, kind in kinds:
        painted = dataclasses.replace(mesh, texture=kind)
        image = jr.render(painted, ROUND, LIGHTS, image_size=SIZE, anti_aliasing=2)
        pictures.append(image.rgb)
    return row(*pictures)


def lights() -> jax.Array:
    """Light: from one side, two colours, a lamp nearby, and one that is mirrored by the surface."""
    kinds = [
        jr.make_lights(0.1, [((0.8, 0.4, 0.4), 0.85)]),
        jr.make_lights(0.05, [((1, 0, 0.5), (0.9, 0.3, 0.1)), ((-1, 0, 0.5), (0.1, 0.3, 0.9))]),
        jr.make_lights(0.1, [], [((0.8, 1.2, 1.5), 1.0)], attenuation=(0.4, 0.0, 0.4)),
        jr.make_lights(0.15, [((0.6, 0.8, 1.0), 0.5)], specular=0.8, shininess=40.0),
    ]
    return row(
        *(
            jr.render(TEAPOT, CAMERA, kind, image_size=SIZE, shading="phong", anti_aliasing=2).rgb
            for kind in kinds
        )
    )


def shading() -> jax.Array:
    """Where light is worked out: nowhere, on faces, at vertices, in each pixel."""
    coarse = jr.normalize(jr.shapes.teapot(3))
    shiny = jr.camera_lights(CAMERA, specular=0.5, shininess=30.0)
    return row(
        *(
            jr.render(coarse, CAMERA, shiny, image_size=SIZE, shading=kind, anti_aliasing=2).rgb
            for kind in ("none", "flat", "gouraud", "phong")
        )
    )


def soft_and_hard() -> jax.Array:
    """Sharp, and softer and softer: what `sigma` does to a picture, and how far gradients reach."""
    colors = jr.VertexColors(0.5 + 0.5 * TEAPOT.vertices / jnp.abs(TEAPOT.vertices).max(axis=0))
    coarse = dataclasses.replace(TEAPOT, texture=colors)
    ways: list[Way] = [jr.Hard(), *(jr.Soft(sigma=sigma) for sigma in (1e-4, 1e-3, 1e-2))]
    return row(
        *(
            jr.render(coarse, CAMERA, image_size=SIZE, shading="none", rasterizer=way).rgb
            for way in ways
        )
    )


def antialias() -> jax.Array:
    """Edges, eight times enlarged: one sample, blended silhouettes, 4 x 4 samples, and soft."""
    camera = jr.look_at((1.2, 1.0, 2.0), projection=jr.perspective(40.0))
    cube = jr.shapes.cube()
    ways: list[tuple[Way, int]] = [
        (jr.Hard(), 1),
        (jr.Hard("antialias"), 1),
        (jr.Hard(), 4),
        (jr.Soft(sigma=2e-4, gamma=1e-2), 1),
    ]
    small = [
        jr.render(cube, camera, image_size=(20, 20), rasterizer=way, anti_aliasing=samples).rgb
        for way, samples in ways
    ]
    return row(*(p.repeat(8, axis=0).repeat(8, axis=1) for p in small))


def depth_and_normals() -> jax.Array:
    """What else a picture holds: colour, depth, normals as colours, and which face is where."""
    lit = jr.camera_lights(CAMERA)
    image = jr.render(TEAPOT, CAMERA, lit, image_size=SIZE, shading="phong")
    near, far = image.depth[image.alpha > 0].min(), image.depth.max()
    depth = jnp.where(image.alpha > 0, 1 - 0.8 * (image.depth - near) / (far - near), 0)

    normals = jr.vertex_normals(TEAPOT.vertices, TEAPOT.faces) @ CAMERA.rotation.T
    painted = dataclasses.replace(TEAPOT, texture=jr.VertexColors(0.5 + 0.5 * normals))
    directions = jr.render(painted, CAMERA, image_size=SIZE, shading="none").rgb

    palette = jnp.asarray(np.random.default_rng(1).uniform(0.2, 1, (64, 3)), jnp.float32)
    screen = jr.ScreenMesh(jr.project(TEAPOT.vertices, CAMERA, image_size=SIZE), TEAPOT.faces)
    face = jr.rasterize_hard(screen, image_size=SIZE).face
    faces = jnp.where((face >= 0)[..., None], palette[face % 64], 0)
    return row(image.rgb, depth, directions, faces)


def scenes() -> jax.Array:
    """Scenes: many objects, each with a pose, a material and an id; at the right the ids."""
    ball = jr.shapes.icosphere(3, radius=0.5)
    ring = jr.shapes.torus(0.4, 0.16)
    objects = [jr.Object(jr.shapes.plane(6.0), pose=jnp.eye(4).at[1, 3].set(-0.5))]
    colors = [[0.9, 0.3, 0.2, 1], [0.95, 0.75, 0.2, 1], [0.3, 0.6, 0.3, 1], [0.2, 0.4, 0.8, 1]]
    for number, color in enumerate(colors):
        pose = jnp.eye(4).at[0, 3].set(1.2 * number - 1.8).at[2, 3].set(0.5 * (-1) ** number)
        mesh = (ball, jr.shapes.cube(0.9), ring, jr.normalize(jr.shapes.teapot(5)))[number]
        objects.append(
            jr.Object(mesh, pose=pose, material=jr.Material(base_color=jnp.array([color])))
        )
    scene = jr.make_scene(objects)
    camera = jr.look_at((0.0, 2.4, 5.5), projection=jr.perspective(36.0))
    size = (SIZE[0], 2 * SIZE[1])
    lit = jr.camera_lights(camera, specular=0.2)
    image = jr.render(scene, camera, lit, image_size=size, shading="phong", anti_aliasing=2)
    palette = jnp.array([[0, 0, 0], [0.35, 0.35, 0.4], *(color[:3] for color in colors)])
    assert image.object is not None  # as that of a mesh alone would be
    return row(image.rgb, palette[image.object + 1])


def lenses() -> jax.Array:
    """Cameras: perspective, orthographic, wide, and a barrel lens of OpenCV's model."""
    grid = jr.shapes.plane(2.4, 24)
    vertices = grid.vertices[:, jnp.array([0, 2, 1])]
    squares = jnp.arange(len(grid.faces)) // 2
    checks = ((squares // 24 + squares % 24) % 2)[:, None, None, None]
    wall = jr.Mesh(
        vertices, grid.faces, jr.FaceTexels(jnp.where(checks, 0.85, 0.25) * jnp.ones((1, 1, 1, 3)))
    )
    eye = (1.1, 0.9, 1.8)
    K = np.array([[110.0, 0, 79.5], [0, 110.0, 79.5], [0, 0, 1]])
    cameras = [
        jr.look_at(eye, projection=jr.perspective(50.0)),
        jr.look_at(eye, projection=jr.orthographic(2.2)),
        jr.look_at((0.45, 0.35, 0.75), projection=jr.perspective(110.0)),
        jr.from_opencv(K, [np.pi, 0, 0], [0, 0, 1.6], [-0.25, 0.05, 0, 0, 0], image_size=SIZE),
    ]
    return row(
        *(
            jr.render(wall, camera, image_size=SIZE, shading="none", anti_aliasing=2).rgb
            for camera in cameras
        )
    )


def gradients() -> jax.Array:
    """Change of pixels as a ball moves right, red is more: none, "edge", "antialias", soft."""
    ball = jr.shapes.icosphere(3)
    camera = jr.look_at((0.0, 0.0, 3.2), projection=jr.orthographic(2.8))
    red, blue = jnp.array([0.85, 0.15, 0.1]), jnp.array([0.1, 0.3, 0.85])

    def change(way: Way) -> jax.Array:
        def outline(shift: jax.Array) -> jax.Array:
            moved = ball.with_vertices(ball.vertices + shift * jnp.array([1.0, 0.0, 0.0]))
            return jr.silhouette(moved, camera, image_size=(40, 40), rasterizer=way)

        _, slope = jax.jvp(outline, (0.0,), (1.0,))
        strength = (slope / jnp.maximum(jnp.abs(slope).max(), 1e-9))[..., None]
        picture = 0.9 - jnp.abs(strength) * (0.9 - jnp.where(strength > 0, red, blue))
        return picture.repeat(4, axis=0).repeat(4, axis=1)

    ways: list[Way] = [jr.Hard(), jr.Hard("edge"), jr.Hard("antialias"), jr.Soft(sigma=3e-3)]
    return row(*map(change, ways))


PICTURES: list[Callable[[], jax.Array]] = [
    textures,
    lights,
    shading,
    depth_and_normals,
    scenes,
    lenses,
    antialias,
    soft_and_hard,
    gradients,
]


def page() -> str:
    """The text of gallery.md."""
    parts = [
        "# Gallery",
        "What the renderer draws, and the code that draws it: `make gallery` makes these pictures "
        "with\nthe functions below, which stand in `docs/gallery.py`.",
    ]
    for picture in PICTURES:
        name, caption = picture.__name__, inspect.getdoc(picture)
        code = inspect.getsource(picture).strip()
        parts += [
            f"## {name.replace('_', ' ').capitalize()}",
            f"![{name}](gallery/{name}.png)",
            f"{caption}",
            f"```python\n{code}\n```",
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Writes the pictures and the page."""
    (HERE / "gallery").mkdir(exist_ok=True)
    for picture in PICTURES:
        jr.io.save_image(HERE / "gallery" / f"{picture.__name__}.png", picture())
    (HERE / "gallery.md").write_text(page())


if __name__ == "__main__":
    main()
