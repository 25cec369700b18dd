"""`Material`: what it says of surfaces is drawn by both rasterisers, and holes show what is behind."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit

import jaxrender as jr
from jaxrender._color import decode, encode

SIZE = (12, 12)
CAMERA = jr.look((0.0, 0.0, 2.0), projection=jr.orthographic(2.0))
LIGHTS = jr.make_lights(0.3, [((0.2, 0.3, 1.0), 0.5)], specular=0.2, shininess=4.0)
SOFT = jr.Soft(sigma=1e-7, gamma=1e-3)
RASTERIZERS = {"hard": jr.Hard(), "soft": SOFT, "soft, nearest": dataclasses.replace(
    SOFT, aggregate_rgb="hard")}  # fmt: skip


def cards(count, seed=0) -> jr.Mesh:
    """Squares that fill the picture one behind the other, in RGBA pictures of 4 x 4 texels."""
    rng = np.random.default_rng(seed)
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    vertices = np.concatenate([square - [0, 0, 0.1 * k] for k in range(count)])
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * k for k in range(count)])
    uv = np.tile(square[:, :2] / 2 + 0.5, (count, 1))
    image = rng.uniform(size=(4 * count, 4, 4)).astype(np.float32)
    image[..., 3] = rng.integers(0, 2, (4 * count, 4))
    pages = np.repeat([[4 * k, 4, 4] for k in range(count)], 2, axis=0)
    texture = jr.UVTexture(image, uv.astype(np.float32), faces, pages, filter="nearest")
    return jr.Mesh(vertices.astype(np.float32), faces, texture)


def draw(mesh, rasterizer=None, shading="none", lights=LIGHTS, **options):
    return jr.render(
        mesh, CAMERA, lights, image_size=SIZE, shading=shading, rasterizer=rasterizer, **options
    )


def texel_grid(mesh):
    """The texel of each card at each pixel, `[count, 12, 12, 4]`: 3 x 3 pixels have one."""
    image = np.asarray(mesh.texture.image).reshape(-1, 4, 4, 4)
    return image.repeat(3, axis=1).repeat(3, axis=2)


def first_opaque(texels, cutoff):
    """The colour and number of the first card at each pixel whose alpha reaches the cutoff."""
    opaque = texels[..., 3] >= cutoff
    which = np.where(opaque.any(0), opaque.argmax(0), -1)
    color = np.take_along_axis(texels, np.maximum(which, 0)[None, ..., None], 0)[0, ..., :3]
    return np.where((which >= 0)[..., None], color, 0), which


@pytest.mark.slow
@pytest.mark.parametrize("name", RASTERIZERS)
def test_holes_show_what_is_behind(name):
    mesh = cards(4)
    masked = dataclasses.replace(mesh, material=jr.Material(alpha_cutoff=jnp.array([0.5])))
    want, which = first_opaque(texel_grid(mesh), 0.5)
    assert set(np.unique(which)) == {-1, 0, 1, 2, 3}

    @jit
    def picture(mesh):
        return draw(mesh, RASTERIZERS[name]), jr.silhouette(
            mesh, CAMERA, image_size=SIZE, rasterizer=RASTERIZERS[name]
        )

    image, outline = picture(masked)
    np.testing.assert_allclose(image.rgb, want, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(image.alpha) > 0.5, which >= 0)
    np.testing.assert_array_equal(np.asarray(outline) > 0.5, which >= 0)
    np.testing.assert_allclose(image.depth, np.where(which < 0, 0, 2 + 0.1 * which), atol=1e-4)
    # Without a cutoff alpha does nothing.
    whole = dataclasses.replace(mesh, material=jr.Material())
    np.testing.assert_allclose(draw(whole, RASTERIZERS[name]).rgb, texel_grid(mesh)[0, ..., :3], atol=1e-5)
