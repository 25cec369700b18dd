"""Small scenes for the tests of the soft rasteriser, and how close its results must be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import jaxrender as jr

SIZE = (10, 14)


def separate(corners) -> tuple[jax.Array, jax.Array]:
    """Vertices `[3 F, 3]` and faces `[F, 3]` of faces that share none."""
    faces = jnp.arange(3 * len(corners), dtype=jnp.int32).reshape(-1, 3)
    return jnp.asarray(corners).reshape(-1, 3), faces


def relative(got, wanted, where=slice(None)) -> float:
    """Relative L2 difference of what `where` selects; 100 eps of all is lost in rounding."""
    got = np.asarray(got)
    least = max(100 * np.finfo(got.dtype).eps * np.linalg.norm(wanted), 1e-30)
    got, wanted = got[where], np.asarray(wanted)[where]
    return float(np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), least))


def channel_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, -3, -1)


def small_scene(seed: int, count: int = 6):
    """Faces `[3 F, 3]` around the middle of the picture, each at a depth of 2 to 4."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-0.5, 0.5, (count, 1, 2)) + 0.4 * rng.normal(size=(count, 3, 2))
    z = rng.uniform(2, 4, (count, 1)) * rng.uniform(0.9, 1.1, (count, 3))
    return separate(np.concatenate([xy, z[..., None]], -1))


def some_texture(kind: str, faces: jax.Array, seed: int = 2):
    rng = np.random.default_rng(seed)
    count = len(faces)
    if kind == "vertex":
        return jr.VertexColors(jnp.asarray(rng.uniform(size=(3 * count, 3))))
    if kind == "texel":
        return jr.FaceTexels(jnp.asarray(rng.uniform(size=(count, 3, 3, 3))))
    if kind == "cube":
        return jr.FaceCubes(jnp.asarray(rng.uniform(size=(count, 3, 3, 3, 3))))
    uv = jnp.asarray(rng.uniform(0.2, 0.8, size=(3 * count, 2)))
    return jr.UVTexture(jnp.asarray(rng.uniform(size=(8, 8, 3))), uv, faces)


def assert_close(got, wanted):
    """Within rounding of the largest value: small ones are what is left of large ones."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(np.abs(b).max(), 1e-3))


def soft_loss(vertices, colors, sigma, faces):
    image = jr.rasterize_soft(
        jr.ScreenMesh(vertices, faces),
        jr.VertexColors(colors),
        image_size=SIZE,
        sigma=sigma,
        gamma=1e-2,
        near=0.5,
    )
    return (image.rgb**2).sum() + (image.alpha**2).sum() + 0.01 * (image.depth**2).sum(), image


def blended(vertices, faces, texture, sigma, gamma, **options):
    """A number that depends on all that is drawn but, unless `depth` is set, not on depth."""
    depth = options.pop("depth", 0.0)
    image = jr.rasterize_soft(
        jr.ScreenMesh(vertices, faces), texture, image_size=(12, 16), sigma=sigma, gamma=gamma,
        cutoff=1e-6, **options,
    )  # fmt: skip
    slopes = np.random.default_rng(3).normal(size=(5, 12, 16))
    loss = (image.rgb * slopes[:3].transpose(1, 2, 0)).sum() + (image.alpha * slopes[3]).sum()
    return loss + depth * (image.depth * slopes[4]).sum() if depth else loss
