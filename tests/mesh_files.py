"""What the tests of file formats share: files written and read in a line."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr
from jaxrender import io
from jaxrender._types import Mesh


def write(path, content):
    """Writes text or bytes; returns the path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_png(path, pixels):
    """Writes a picture; returns it as it is then, in 8 bits."""
    io.save_image(path, np.asarray(pixels, np.float32))
    return np.rint(np.asarray(pixels) * 255) / 255


def load(path, **options):
    """A mesh, and what was warned of in one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mesh = io.load_mesh(path, **options)
    return mesh, "\n".join(str(warning.message) for warning in caught)


def face_colors(mesh):
    """The colour in the middle of each face, `[F, 3]`."""
    count = len(mesh.faces)
    where = jnp.arange(count), jnp.full((count, 3), 1 / 3)
    return np.asarray(jr.sample_texture(mesh.texture, mesh.faces, *where))


def areas(mesh: Mesh):
    """The signed areas of the faces of a flat mesh, as seen from +z."""
    corners = np.asarray(mesh.vertices, float)[np.asarray(mesh.faces)]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] / 2


def page(texture, face):
    """The part of a texture's picture that a face reads."""
    first, height, width = np.asarray(texture.pages)[face]
    return np.asarray(texture.image)[first : first + height, :width]


@jax.jit
def _fragments_of(vertices, faces, camera):
    screen = jr.ScreenMesh(jr.project(vertices, camera, image_size=(120, 160)), faces)
    return jr.rasterize_hard(screen, image_size=(120, 160), near=1e-3, far=100.0)


def fragments_of(vertices, faces, told):
    """What Blender's camera sees of a mesh; all are padded to one size, for one compile."""
    padded = np.zeros((800, 3), np.float32), np.zeros((800, 3), np.int32)
    for rows, values in zip(padded, (vertices, faces), strict=True):
        rows[: len(values)] = values
    view, projection = np.array(told["view"]), np.array(told["proj"])
    camera = jr.from_opengl(view, projection, image_size=(120, 160))
    return _fragments_of(*map(jnp.asarray, padded), camera)
