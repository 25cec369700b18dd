"""Textures against slow per-point references, hand-computed cases and finite differences."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxrender._textures import (
    FILTERS,
    WRAPS,
    FaceCubes,
    FaceTexels,
    UVTexture,
    VertexColors,
    channels,
    check_texture,
    sample_texture,
    taps,
)
from jaxrender._types import NO_FACE, Mesh

V, F = 5, 3
FACES = np.array([[0, 1, 2], [2, 1, 3], [3, 4, 0]], np.int32)
POINTS = 40

# Values are compared under jit, which compiles much faster than one operation at a time.
sample = jax.jit(sample_texture)


def textures() -> dict[str, object]:
    """One texture of each kind, for the mesh above."""
    rng = np.random.default_rng(0)

    def colors(*shape):
        return jnp.asarray(rng.random(shape), np.float32)

    uv = jnp.asarray(rng.uniform(-1.2, 2.3, (7, 2)), np.float32)
    corners = jnp.asarray(rng.integers(0, 7, (F, 3)), np.int32)
    pages = jnp.array([[0, 4, 5], [4, 3, 2], [7, 1, 1]], np.int32)
    return {
        "vertices": VertexColors(colors(V, 3)),
        "texels": FaceTexels(colors(F, 4, 4, 3)),
        "texels_1": FaceTexels(colors(F, 1, 1, 3)),
        "cubes": FaceCubes(colors(F, 3, 3, 3, 3)),
        "cubes_1": FaceCubes(colors(F, 1, 1, 1, 3)),
        "uv_repeat": UVTexture(colors(6, 5, 3), uv, corners),
        "uv_clamp": UVTexture(colors(6, 5, 3), uv, corners, wrap="clamp"),
        "uv_pages": UVTexture(colors(8, 6, 3), uv, corners, pages),
        "uv_pages_clamp": UVTexture(colors(8, 6, 3), uv, corners, pages, wrap="clamp"),
        "uv_mirror": UVTexture(colors(6, 5, 3), uv, corners, wrap="mirror"),
        "uv_nearest": UVTexture(colors(6, 5, 3), uv, corners, filter="nearest"),
        "uv_axes": UVTexture(
            colors(8, 6, 3), uv, corners, pages, wrap=("mirror", "clamp"), filter="nearest"
        ),
        "uv_tint": UVTexture(
            colors(6, 5, 3), uv, corners, tint=colors(7, 3), wrap=("clamp", "mirror")
        ),
        "uv_samplers": UVTexture(
            colors(8, 6, 3),
            uv,
            corners,
            pages,
            tint=colors(7, 3),
            samplers=jnp.array([[0, 2, 0], [2, 1, 1], [1, 0, 0]], jnp.int32),
        ),
    }


def some_points() -> tuple[jax.Array, jax.Array]:
    """Faces (some of them none) and barycentrics."""
    rng = np.random.default_rng(1)
    face = rng.integers(-1, F, POINTS).astype(np.int32)
    barycentrics = rng.dirichlet((1, 1, 1), POINTS).astype(np.float32)
    return jnp.asarray(face), jnp.asarray(np.where(face[:, None] < 0, 0, barycentrics))


def sample_slowly(texture, face: int, w: np.ndarray) -> np.ndarray:
    """One point, by the definitions."""
    if face == NO_FACE:
        return np.zeros(3)
    if isinstance(texture, VertexColors):
        return sum(w[k] * np.float64(texture.colors[FACES[face, k]]) for k in range(3))
    if isinstance(texture, FaceTexels):
        side = texture.texels.shape[1]
        ix, iy = min(int(w[0] * side), side - 1), min(int(w[1] * side), side - 1)
        if w[0] * side + w[1] * side - ix - iy > 1:
            ix, iy = side - 1 - ix, side - 1 - iy
        return np.asarray(texture.texels[face, iy, ix])
    if isinstance(texture, FaceCubes):
        # The trilinear blend is a sum of tent functions around every texel.
        side = texture.cubes.shape[1]
        total = np.zeros(3)
        for index in np.ndindex(side, side, side):
            tent = np.maximum(0, 1 - np.abs(w * (side - 1) - index)).prod()
            total += tent * np.asarray(texture.cubes[face][index])
        return total
    # Bilinear: a sum of tents around every texel of the page, repeated, continued or turned back.
    image = np.asarray(texture.image)
    if texture.pages is not None:
        first, rows, columns = np.asarray(texture.pages[face])
        image = image[first : first + rows, :columns]
    corners = np.asarray(texture.faces[face])
    u, v = w @ np.float64(texture.uv)[corners]
    rows, columns = image.shape[:2]
    x, y = u * columns - 0.5, (1 - v) * rows - 0.5
    total = np.zeros(3)
    wraps = (texture.wrap,) * 2 if isinstance(texture.wrap, str) else texture.wrap
    filter = texture.filter
    if texture.samplers is not None:
        along_u, along_v, way = np.asarray(texture.samplers[face])
        wraps, filter = (WRAPS[along_u], WRAPS[along_v]), FILTERS[way]
    if filter == "nearest":
        x, y = np.floor(x + 0.5), np.floor(y + 0.5)

    def inside(place, size, wrap):
        if wrap == "clamp":
            return np.clip(place, 0, size - 1)
        if wrap == "repeat":
            return place % size
        return min(place % (2 * size), 2 * size - 1 - place % (2 * size))

    for i in range(int(np.floor(y)), int(np.floor(y)) + 2):
        for j in range(int(np.floor(x)), int(np.floor(x)) + 2):
            tent = (1 - abs(y - i)) * (1 - abs(x - j))
            total += tent * image[inside(i, rows, wraps[1]), inside(j, columns, wraps[0])]
    return total if texture.tint is None else total * (w @ np.float64(texture.tint)[corners])


@pytest.mark.cases(5)
@pytest.mark.slow
@pytest.mark.parametrize("kind", textures())
def test_against_numpy(kind):
    texture, (face, barycentrics) = textures()[kind], some_points()
    colors = sample(texture, FACES, face, barycentrics)
    want = [
        sample_slowly(texture, int(f), np.float64(w))
        for f, w in zip(face, np.asarray(barycentrics), strict=True)
    ]
    np.testing.assert_allclose(colors, want, atol=2e-5)


def test_white():
    face, barycentrics = some_points()
    colors = sample(None, FACES, face, barycentrics)
    want = np.broadcast_to(np.where(face[:, None] < 0, 0, 1), (POINTS, 3))
    np.testing.assert_array_equal(colors, want)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("kind", textures())
def test_jit_vmap_and_leading_shapes(kind):
    texture, (face, barycentrics) = textures()[kind], some_points()
    flat = sample(texture, FACES, face, barycentrics)
    eager = sample_texture(texture, jnp.asarray(FACES), face, barycentrics)
    np.testing.assert_allclose(eager, flat, atol=1e-6)
    shaped = sample(texture, FACES, face.reshape(5, 2, 4), barycentrics.reshape(5, 2, 4, 3))
    np.testing.assert_allclose(shaped, flat.reshape(5, 2, 4, 3), atol=1e-6)
    pointwise = jax.jit(jax.vmap(sample_texture, in_axes=(None, None, 0, 0)))
    np.testing.assert_allclose(pointwise(texture, FACES, face, barycentrics), flat, atol=1e-6)


@pytest.mark.cases(5)
@pytest.mark.slow
@pytest.mark.parametrize("kind", textures())
def test_taps(kind):
    texture, (face, barycentrics) = textures()[kind], some_points()
    table, indices, weights = jax.jit(taps)(texture, FACES, face, barycentrics)
    assert channels(texture) == table.shape[1] == 3
    assert indices.shape == weights.shape
    assert indices.dtype == jnp.int32
    assert (indices >= 0).all()
    assert (indices < table.shape[0]).all()
    np.testing.assert_allclose(weights.sum(-1), np.where(face < 0, 0, 1), atol=1e-6)
    assert (np.asarray(weights)[face < 0] == 0).all()


@pytest.mark.slow
def test_corners_read_their_own_texels():
    corners = np.eye(3, dtype=np.float32)
    face = np.full(3, F - 1, np.int32)
    cubes = textures()["cubes"]
    want = [cubes.cubes[F - 1][tuple(2 * np.eye(3, dtype=int)[k])] for k in range(3)]
    np.testing.assert_array_equal(sample(cubes, FACES, face, corners), want)
    texels = textures()["texels"]
    want = texels.texels[F - 1, [0, 3, 0], [3, 0, 0]]
    np.testing.assert_array_equal(sample(texels, FACES, face, corners), want)


@pytest.mark.slow
def test_uv_by_hand():
    # A picture of 2 x 2 texels: the lower left one is red, its centre at (1/4, 1/4).
    image = jnp.zeros((2, 2, 3)).at[1, 0].set(jnp.array([1.0, 0, 0])).at[0, 1, 1].set(1)
    uv = jnp.array([[0.25, 0.25], [0.75, 0.75], [0.5, 0.5], [0.0, 0.0]])
    texture = UVTexture(image, uv, jnp.array([[0, 1, 2], [3, 3, 3], [3, 3, 3]]), wrap="clamp")
    face = np.array([0, 0, 0, 1], np.int32)
    barycentrics = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    colors = sample(texture, FACES, face, barycentrics)
    want = [[1, 0, 0], [0, 1, 0], [0.25, 0.25, 0], [1, 0, 0]]
    np.testing.assert_allclose(colors, want, atol=1e-6)
    # The corner of a repeated picture blends all four of its corners.
    repeated = dataclasses.replace(texture, wrap="repeat")
    np.testing.assert_allclose(sample(repeated, FACES, face, barycentrics)[3], [0.25, 0.25, 0])


def test_golden_surface_texels(golden):
    # The ancestor's own loader says which weights each texel stands for.
    side = golden("softras/load_obj_spot.npz")["textures_res3"].shape[1] ** 0.5
    assert side == 3
    texels = jnp.arange(9.0).reshape(1, 3, 3, 1)
    for iy, ix in np.ndindex(3, 3):
        if ix + iy < 3:
            a, b = (ix + 1 / 3) / 3, (iy + 1 / 3) / 3
        else:
            a, b = (2 - ix + 2 / 3) / 3, (2 - iy + 2 / 3) / 3
        w = np.float32([a, b, 1 - a - b])
        assert sample(FaceTexels(texels), FACES[:1], np.int32(0), w)[0] == 3 * iy + ix


@pytest.mark.parametrize("name", ["soup200_a", "soup50_c"])
def test_golden_cubes(golden, name):
    # Every pixel of a golden picture, from its own face and weights (which are those of the
    # screen, so perspective is put right first; rows run upwards there).
    data = golden(f"nmr/{name}.npz")
    faces, cubes = data["faces"][0], data["textures"][0]
    seen = data["face_index_map"][0, ::-1].astype(np.int32)
    weights = data["weight_map"][0, ::-1]
    depth = np.where(seen[..., None] >= 0, faces[seen][..., 2], 1)
    share = weights / depth
    share = share / np.where(seen < 0, 1, share.sum(-1))[..., None]
    indices = np.zeros((len(faces), 3), np.int32)
    colors = sample(FaceCubes(jnp.asarray(cubes)), indices, seen, share.astype(np.float32))
    # The ancestor stops eps = 1e-3 short of the last texel.
    compared = (seen >= 0) & ~data["unstable"][0]
    assert compared.sum() > 500
    want = np.moveaxis(data["rgb"][0], 0, -1)
    np.testing.assert_allclose(np.asarray(colors)[compared], want[compared], atol=2e-3)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", textures())
def test_gradient(kind):
    face, barycentrics = some_points()
    texture, barycentrics = jax.tree.map(
        lambda leaf: leaf.astype(float) if leaf.dtype == jnp.float32 else leaf,
        (textures()[kind], barycentrics),
    )
    # Indices are no parameters.
    leaves, structure = jax.tree.flatten(texture)
    floats = {k: leaf for k, leaf in enumerate(leaves) if leaf.dtype == jnp.float64}

    @jax.jit
    def seen(floats, barycentrics):
        rebuilt = jax.tree.unflatten(structure, [floats.get(k, x) for k, x in enumerate(leaves)])
        return sample_texture(rebuilt, jnp.asarray(FACES), face, barycentrics)

    assert seen(floats, barycentrics).dtype == jnp.float64
    check_grads(seen, (floats, barycentrics), order=1, modes=["fwd", "rev"], eps=1e-6)


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("kind", textures())
def test_no_nan_for_no_face(kind):
    def loss(texture, barycentrics):
        face = jnp.full(4, NO_FACE, jnp.int32)
        return sample_texture(texture, jnp.asarray(FACES), face, barycentrics).sum()

    differentiated = jax.jit(jax.value_and_grad(loss, (0, 1), allow_int=True))
    value, gradients = differentiated(textures()[kind], jnp.zeros((4, 3)))
    assert value == 0
    for leaf in jax.tree.leaves(gradients):
        assert leaf.dtype == jax.dtypes.float0 or not leaf.any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", textures())
def test_far_coordinates(kind):
    texture = textures()[kind]
    if isinstance(texture, UVTexture):
        texture = dataclasses.replace(texture, uv=texture.uv * 1e30)
    face, barycentrics = some_points()
    assert np.isfinite(sample(texture, FACES, face, barycentrics)).all()


@pytest.mark.slow
def test_empty_meshes():
    none = np.zeros((0, 3), np.int32)
    face, barycentrics = np.full(4, NO_FACE, np.int32), np.zeros((4, 3), np.float32)
    empty = [
        None,
        VertexColors(jnp.zeros((0, 3))),
        FaceTexels(jnp.zeros((0, 2, 2, 3))),
        FaceCubes(jnp.zeros((0, 2, 2, 2, 3))),
        UVTexture(jnp.zeros((2, 2, 3)), jnp.zeros((0, 2)), jnp.asarray(none)),
    ]
    for texture in empty:
        colors = sample(texture, none, face, barycentrics)
        np.testing.assert_array_equal(colors, np.zeros((4, 3)))
        check_texture(texture, Mesh(jnp.zeros((0, 3)), jnp.asarray(none)))


def test_check_accepts_and_converts():
    mesh = Mesh(jnp.zeros((V, 3)), jnp.asarray(FACES))
    for texture in textures().values():
        checked = check_texture(texture, mesh)
        assert jax.tree.structure(checked) == jax.tree.structure(texture)
    whole = check_texture(VertexColors(np.ones((V, 4), int)), mesh)
    assert whole.colors.dtype == jnp.float32


@pytest.mark.parametrize(
    ("texture", "message"),
    [
        ("red", "`texture` must be VertexColors"),
        (VertexColors(np.zeros((V + 1, 3))), r"`texture.colors` must be .* \[5, C\]"),
        (VertexColors(np.zeros((V, 3), np.uint8)), "Divide 8-bit"),
        (VertexColors(np.zeros((V, 0))), "at least one"),
        (FaceTexels(np.zeros((F, 2, 3, 3))), "same number"),
        (FaceTexels(np.zeros((F, 0, 0, 3))), "at least one"),
        (FaceTexels(np.zeros((F + 1, 2, 2, 3))), "`texture.texels` must be"),
        (FaceCubes(np.zeros((F, 2, 2, 3))), "`texture.cubes` must be"),
        (FaceCubes(np.zeros((F, 2, 2, 1, 3))), "same number"),
        (UVTexture(np.zeros((2, 2)), np.zeros((4, 2)), FACES), "`texture.image` must be"),
        (UVTexture(np.zeros((0, 2, 3)), np.zeros((5, 2)), FACES), "at least one"),
        (UVTexture(np.zeros((2, 2, 3)), np.zeros((4, 2)), FACES), "must index 4"),
        (UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 3)), FACES), "`texture.uv` must be"),
        (UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES[:2]), "one row for each"),
        (UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, wrap="border"), "`texture.wrap`"),
        (UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, wrap=("clamp",)), "tuple of two"),
        (
            UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, wrap=("clamp", 1)),
            "tuple of two",
        ),
        (UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, filter="cubic"), "texture.filter"),
        (
            UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, tint=np.zeros((4, 3))),
            "`texture.tint` must be",
        ),
        (
            UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, samplers=np.full((F, 3), 2)),
            r"`texture.samplers` must be .* got \[2, 2, 2\] for face 0",
        ),
        (
            UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, samplers=np.zeros((F, 2), int)),
            "`texture.samplers` must be",
        ),
        (
            UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, np.full((F, 3), 2)),
            "within the image",
        ),
        (
            UVTexture(np.zeros((2, 2, 3)), np.zeros((5, 2)), FACES, np.zeros((2, 3), int)),
            "`texture.pages` must be",
        ),
    ],
)
def test_bad_input(texture, message):
    with pytest.raises(ValueError, match=message):
        check_texture(texture, Mesh(jnp.zeros((V, 3)), jnp.asarray(FACES)))


@pytest.mark.slow
def test_coordinates_that_are_not_finite():
    """An error where they are known; inside jit they read a texel, and nothing becomes NaN."""
    image = jnp.linspace(0, 1, 12).reshape(2, 2, 3)
    faces = jnp.array([[0, 1, 2]])
    point = jnp.array([0]), jnp.full((1, 3), 1 / 3)
    bad = jnp.array([[jnp.nan, 0], [0, jnp.inf], [0, 0]])
    with pytest.raises(ValueError, match=r"`texture.uv` must be finite"):
        check_texture(UVTexture(image, bad, faces), Mesh(jnp.eye(3), faces))

    def value(image, uv, barycentrics):
        return sample_texture(UVTexture(image, uv, faces), faces, point[0], barycentrics).sum()

    found = jax.jit(jax.grad(value, (0, 1, 2)))(image, bad, point[1])
    assert all(np.isfinite(part).all() for part in found)
