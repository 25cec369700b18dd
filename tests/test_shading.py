"""Normals and light against the ancestors' numbers, NumPy by the book and finite differences."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from quick import jit

import jaxrender as jr
from jaxrender._shading import face_normals, make_lights, shade, vertex_normals
from jaxrender._shading.lighting import _PhongLayout
from jaxrender._shading.lights import check_lights
from jaxrender._shading.reflection import REFLECTIONS, Reflection, blinn_phong
from jaxrender._textures import FaceCubes, FaceTexels, VertexColors
from jaxrender._types import LIGHT_SHAPES, NO_FACE, Fragments, Lights, Mesh

V, F, POINTS = 7, 6, 30
EYE = np.array([0.3, 0.5, -4.0], np.float32)

# Values are compared under jit, which compiles much faster than one operation at a time.
shade_quickly = jax.jit(shade, static_argnames=("shading", "two_sided"))


def some_mesh(dtype=np.float32) -> Mesh:
    rng = np.random.default_rng(0)
    faces = np.array([rng.choice(V, 3, replace=False) for _ in range(F)], np.int32)
    colors = rng.random((V, 3)).astype(dtype)
    vertices = rng.normal(size=(V, 3)).astype(dtype)
    return Mesh(jnp.asarray(vertices), jnp.asarray(faces), VertexColors(jnp.asarray(colors)))


def some_fragments(dtype=np.float32) -> Fragments:
    rng = np.random.default_rng(1)
    face = rng.integers(NO_FACE, F, POINTS).astype(np.int32)
    barycentrics = np.where(face[:, None] < 0, 0, rng.dirichlet((1, 1, 1), POINTS))
    return Fragments(
        jnp.asarray(face), jnp.asarray(barycentrics, dtype), jnp.ones(POINTS, dtype=dtype)
    )


def some_lights() -> Lights:
    return make_lights(
        (0.1, 0.2, 0.3),
        [((0.3, 1.0, -0.4), (0.5, 0.4, 0.3)), ((-1.0, 0.2, -2.0), 0.3)],
        [((1.0, 2.0, -3.0), (0.2, 0.6, 0.4))],
        specular=(0.3, 0.2, 0.5),
        shininess=7.0,
    )


def normalized(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-30)


def light_slowly(x, n, lights, eye) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse light and reflection at one point, in float64, by the book."""
    diffuse, reflection = np.float64(lights.ambient), np.zeros(3)
    view = normalized(eye - x)
    sources = [
        (np.float64(d), c) for d, c in zip(lights.directions, lights.direction_colors, strict=True)
    ] + [
        (normalized(np.float64(p) - x), c)
        for p, c in zip(lights.positions, lights.position_colors, strict=True)
    ]
    for direction, color in sources:
        if n @ direction > 0:
            diffuse = diffuse + n @ direction * np.float64(color)
            glint = max(0, n @ normalized(normalized(direction) + view))
            strength = np.linalg.norm(direction) * glint ** float(lights.shininess)
            reflection = reflection + strength * np.float64(color)
    return diffuse, reflection * np.float64(lights.specular)


def shade_slowly(fragments, mesh, lights, shading, two_sided) -> np.ndarray:
    vertices, faces = np.float64(mesh.vertices), np.asarray(mesh.faces)
    crosses = [np.cross(b - a, c - a) for a, b, c in vertices[faces]]
    smooth = np.zeros_like(vertices)
    for face, cross in zip(faces, crosses, strict=True):
        smooth[face] += cross
    smooth = [normalized(normal) for normal in smooth]

    out = []
    for face, w in zip(fragments.face, np.float64(fragments.barycentrics), strict=True):
        if face < 0:
            out.append(np.zeros(3))
            continue
        corners = faces[face]
        own, centroid = normalized(crosses[face]), vertices[corners].mean(0)
        side = -1 if two_sided and own @ (EYE - centroid) < 0 else 1
        if shading == "flat":
            light = light_slowly(centroid, side * own, lights, EYE)
        elif shading == "gouraud":
            lit = [light_slowly(vertices[k], side * smooth[k], lights, EYE) for k in corners]
            light = [sum(w[k] * lit[k][part] for k in range(3)) for part in range(2)]
        else:
            normal = normalized(sum(w[k] * smooth[corners[k]] for k in range(3)))
            light = light_slowly(w @ vertices[corners], side * normal, lights, EYE)
        color = w @ np.float64(mesh.texture.colors)[corners]
        out.append(color * light[0] + light[1])
    return np.stack(out)


# --- the ancestors' numbers -------------------------------------------------------------------


@pytest.mark.thorough
def test_golden_normals(golden):
    data = golden("softras/functions.npz")
    for n, faces in enumerate(data["faces"]):
        vertices = jnp.asarray(data["vertices"][n])
        np.testing.assert_allclose(
            face_normals(vertices, faces), data["surface_normals"][n], atol=1e-5
        )
        normals, pull = jax.vjp(lambda v, faces=faces: vertex_normals(v, faces), vertices)
        np.testing.assert_allclose(normals, data["vertex_normals"][n], atol=1e-5)
        (gradient,) = pull(jnp.asarray(data["vertex_normals_g"][n]))
        want = data["vertex_normals_grad"][n]
        np.testing.assert_allclose(gradient, want, atol=1e-5 * np.abs(want).max())
    vertices, faces = data["ico_vertices"][0], data["ico_faces"][0]
    np.testing.assert_allclose(
        face_normals(vertices, faces), data["ico_surface_normals"][0], atol=1e-5
    )
    np.testing.assert_allclose(
        vertex_normals(vertices, faces), data["ico_vertex_normals"][0], atol=1e-5
    )


def every_texel(face_count: int, weights: np.ndarray) -> Fragments:
    """Fragments that read each face with each of the weights: `[F, K]`."""
    face = np.broadcast_to(
        np.arange(face_count, dtype=np.int32)[:, None], (face_count, len(weights))
    )
    barycentrics = np.broadcast_to(np.float32(weights), (face_count, *weights.shape))
    return Fragments(jnp.asarray(face), jnp.asarray(barycentrics), jnp.ones(face.shape))


CORNERS = np.array(list(np.ndindex(2, 2, 2)))  # of a cube of 2 x 2 x 2 texels


def nmr_lit(face_vertices, textures, lights) -> jax.Array:
    """Every texel under NMR's light; its normals are the opposite of ours."""
    count = len(face_vertices)
    turned = jnp.arange(3 * count, dtype=jnp.int32).reshape(count, 3)[:, ::-1]
    mesh = Mesh(face_vertices.reshape(-1, 3), turned, FaceCubes(textures))
    lit = shade_quickly(every_texel(count, CORNERS), mesh, lights, two_sided=False)
    return lit.reshape(textures.shape)


@pytest.mark.slow
def test_golden_nmr_lighting(golden):
    data = golden("nmr/functions.npz")
    custom = json.loads(str(data["lighting_custom"]))
    lights = make_lights(
        np.float32(custom["color_ambient"]) * custom["intensity_ambient"],
        [
            (
                custom["direction"],
                np.float32(custom["color_directional"]) * custom["intensity_directional"],
            )
        ],
    )
    for n, faces in enumerate(data["lighting_faces"]):
        faces, textures = jnp.asarray(faces), jnp.asarray(data["lighting_textures"][n])
        lit = nmr_lit(faces, textures, None)
        np.testing.assert_allclose(lit, data["lighting_out_default"][n], atol=1e-5)
        lit, pull = jax.vjp(lambda f, textures=textures: nmr_lit(f, textures, lights), faces)
        np.testing.assert_allclose(lit, data["lighting_out_custom"][n], atol=1e-5)
        (gradient,) = pull(jnp.asarray(data["lighting_g"][n]))
        want = data["lighting_grad_faces_custom"][n]
        np.testing.assert_allclose(gradient, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.slow
def test_golden_softras_lighting(golden):
    data = golden("softras/functions.npz")
    given = json.loads(str(data["lighting_args"]))
    lights = make_lights(
        np.float32(given["color_ambient"]) * given["intensity_ambient"],
        [
            (
                given["directions"],
                np.float32(given["color_directionals"]) * given["intensity_directionals"],
            )
        ],
    )
    # One point inside each of the 2 x 2 texels; texel (1, 1) is the triangle in the middle.
    inside = np.array([[1, 1, 4], [4, 1, 1], [1, 4, 1], [2, 2, 2]]) / 6
    for n, faces in enumerate(data["faces"]):
        vertices = jnp.asarray(data["vertices"][n])
        texels = jnp.asarray(data["lighting_surface_textures"][n]).reshape(-1, 2, 2, 3)
        mesh = Mesh(vertices, jnp.asarray(faces), FaceTexels(texels))
        lit = shade_quickly(every_texel(len(faces), inside), mesh, lights, two_sided=False)
        np.testing.assert_allclose(lit, data["lighting_surface_out"][n], atol=1e-5)

        colors = jnp.asarray(data["lighting_vertex_textures"][n])
        mesh = Mesh(vertices, jnp.asarray(faces), VertexColors(colors))
        for shading in ("gouraud", "phong"):
            corners = every_texel(len(faces), np.eye(3))
            lit = shade_quickly(corners, mesh, lights, shading=shading, two_sided=False)
            want = data["lighting_vertex_out"][n][faces]
            np.testing.assert_allclose(lit, want, atol=1e-5)


# --- slow reference, jit, vmap, gradients -----------------------------------------------------


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("shading", ["flat", "gouraud", "phong"])
def test_against_numpy(shading, two_sided):
    given = some_fragments(), some_mesh(), some_lights()
    colors = shade_quickly(*given, eye=EYE, shading=shading, two_sided=two_sided)
    want = shade_slowly(*given, shading, two_sided)
    np.testing.assert_allclose(colors, want, atol=1e-5)


@pytest.mark.slow
def test_defaults():
    # A floor seen from above is lit by half + half, from below by half alone; two-sided both.
    floor = Mesh(jnp.array([[0.0, 0, 0], [0, 0, 1], [1, 0, 0]]), jnp.array([[0, 1, 2]]))
    seen = Fragments(jnp.zeros(1, jnp.int32), jnp.full((1, 3), 1 / 3), jnp.ones(1))
    above, below = jnp.array([0.0, 3, 0]), jnp.array([0.0, -3, 0])
    for eye, light in ((above, 1.0), (below, 0.5)):
        np.testing.assert_allclose(shade_quickly(seen, floor, eye=eye), light)
    np.testing.assert_allclose(shade_quickly(seen, floor), 1.0)
    np.testing.assert_allclose(shade_quickly(seen, floor, eye=below, two_sided=False), 1.0)
    # The same from infinity: an orthographic camera.
    for direction, light in (((0.1, 1, 0, 0), 1.0), ((0.1, -1, 0, 0), 0.5)):
        np.testing.assert_allclose(shade_quickly(seen, floor, eye=jnp.array(direction)), light)


@pytest.mark.slow
def test_none_takes_any_channels():
    mesh = dataclasses.replace(some_mesh(), texture=VertexColors(jnp.ones((V, 5))))
    fragments = some_fragments()
    features = shade_quickly(fragments, mesh, shading="none")
    assert features.shape == (POINTS, 5)
    np.testing.assert_allclose(features[:, 0], np.where(fragments.face < 0, 0, 1), atol=1e-6)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.parametrize("shading", ["flat", "gouraud", "phong"])
def test_jit_vmap_and_leading_shapes(shading):
    fragments, mesh, lights = some_fragments(), some_mesh(), some_lights()
    flat = shade_quickly(fragments, mesh, lights, eye=EYE, shading=shading)
    if shading == "flat":
        eager = shade(fragments, mesh, lights, eye=EYE, shading=shading)
        np.testing.assert_allclose(eager, flat, atol=1e-5)
    shaped = jax.tree.map(lambda leaf: leaf.reshape(5, 6, *leaf.shape[1:]), fragments)
    rows = shade_quickly(shaped, mesh, lights, eye=EYE, shading=shading)
    np.testing.assert_allclose(rows, flat.reshape(5, 6, 3), atol=1e-5)

    def one(fragments, eye, dimmed):
        return shade(fragments, mesh, dimmed, eye=eye, shading=shading)

    dimmed = jax.vmap(lambda s: jax.tree.map(lambda leaf: leaf * s, lights))(jnp.arange(5.0))
    eyes = jnp.asarray(EYE)[None] * jnp.arange(1.0, 6)[:, None]
    many = jax.jit(jax.vmap(one))(shaped, eyes, dimmed)
    for n in range(5):
        row, light = jax.tree.map(lambda leaf, n=n: leaf[n], (shaped, dimmed))
        alone = shade_quickly(row, mesh, light, eye=eyes[n], shading=shading)
        np.testing.assert_allclose(many[n], alone, atol=1e-5)


@pytest.mark.cases(1)
@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shading", ["flat", "gouraud", "phong"])
def test_gradient(shading):
    mesh, fragments = some_mesh(np.float64), some_fragments(np.float64)

    @jax.jit
    def colors(vertices, texture, lights, eye, barycentrics):
        seen = dataclasses.replace(fragments, barycentrics=barycentrics)
        return shade(seen, Mesh(vertices, mesh.faces, texture), lights, eye=eye, shading=shading)

    given = (
        mesh.vertices,
        mesh.texture,
        some_lights(),
        jnp.asarray(EYE, float),
        fragments.barycentrics,
    )
    assert colors(*given).dtype == jnp.float64
    check_grads(colors, given, order=1, modes=["rev"], eps=1e-6, atol=1e-5, rtol=1e-5)


@pytest.mark.thorough
def test_40_000_vertices():
    rng = np.random.default_rng(2)
    vertices = jnp.asarray(rng.normal(size=(40_000, 3)), jnp.float32)
    faces = jnp.arange(39_999, dtype=jnp.int32).reshape(-1, 3)
    for function in (face_normals, vertex_normals):
        eager = function(vertices, faces)
        np.testing.assert_allclose(jax.jit(function)(vertices, faces), eager, atol=1e-5)


# --- hostile numbers --------------------------------------------------------------------------


@pytest.mark.slow
def test_tiny_and_huge_meshes_have_unit_normals():
    mesh = some_mesh()
    for function in (face_normals, vertex_normals):
        want = function(mesh.vertices, mesh.faces)
        for scale in (1e-8, 1e6, 1e15):
            scaled = function(mesh.vertices * scale, mesh.faces)
            np.testing.assert_allclose(scaled, want, atol=1e-5)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("shading", ["flat", "gouraud", "phong"])
def test_degenerate_scenes_are_finite(shading):
    # Repeated vertices, collinear corners, everything at the light and at the eye.
    vertices = jnp.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0], [1e6, -1e6, 1e6]])
    faces = jnp.array([[0, 1, 2], [0, 0, 0], [0, 2, 3], [4, 4, 4], [0, 3, 4]], jnp.int32)
    face = jnp.array([NO_FACE, 0, 1, 2, 3, 4, 4, 4], jnp.int32)
    barycentrics = jnp.array([[0.0, 0, 0], *[[1 / 3] * 3] * 5, [1, 0, 0], [0, 1, 0]])
    fragments = Fragments(face, barycentrics, jnp.ones(8))

    def loss(vertices, lights, eye, barycentrics):
        seen = dataclasses.replace(fragments, barycentrics=barycentrics)
        return shade(seen, Mesh(vertices, faces), lights, eye=eye, shading=shading).sum()

    differentiated = jit(jax.value_and_grad(loss, (0, 1, 2, 3)))
    for shininess in (0.0, 0.5, 1e4):
        for where in ((0.0, 0, 0), (1.0, 0, 0)):
            lights = make_lights(
                0.1, [((0, 0, 0), 1.0)], [(where, 1.0)], specular=1.0, shininess=shininess
            )
            result = differentiated(vertices, lights, jnp.array(where), barycentrics)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


@pytest.mark.long
def test_nan_vertex_spoils_nothing_else():
    mesh = some_mesh()
    lost = int(mesh.faces[0, 0])
    broken = dataclasses.replace(mesh, vertices=mesh.vertices.at[lost].set(jnp.nan))
    keep = ~(np.asarray(mesh.faces) == lost).any(1)
    fragments = some_fragments()
    seen = np.asarray(fragments.face)
    unseen = jnp.asarray(np.where((seen >= 0) & keep[seen], seen, NO_FACE))
    fragments = dataclasses.replace(fragments, face=unseen)
    for shading in ("flat", "gouraud", "phong"):

        def loss(mesh, lights, shading=shading):
            return shade(fragments, mesh, lights, eye=EYE, shading=shading).sum()

        differentiated = jit(jax.value_and_grad(loss, (0, 1), allow_int=True))
        value, (mesh_gradient, light_gradient) = differentiated(broken, some_lights())
        assert np.isfinite(value)
        assert np.isfinite(mesh_gradient.vertices).all()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(light_gradient))


@pytest.mark.slow
@pytest.mark.parametrize("shading", ["flat", "gouraud", "phong", "none"])
def test_empty_mesh(shading):
    nothing = Fragments(
        jnp.full((2, 3), NO_FACE, jnp.int32), jnp.zeros((2, 3, 3)), jnp.ones((2, 3))
    )
    for vertices in (jnp.zeros((0, 3)), jnp.zeros((4, 3))):
        mesh = Mesh(vertices, jnp.zeros((0, 3), jnp.int32))
        image = shade_quickly(nothing, mesh, eye=EYE, shading=shading)
        np.testing.assert_array_equal(image, np.zeros((2, 3, 3)))
        assert face_normals(mesh.vertices, mesh.faces).shape == (0, 3)
        assert vertex_normals(mesh.vertices, mesh.faces).shape == vertices.shape


def test_no_retrace():
    traces = []

    @jax.jit
    def brightness(lights):
        traces.append(1)
        return lights.ambient.sum()

    for ambient in (0.5, 1, np.float32(0.3), jnp.ones(3), (0.1, 0.2, 0.3)):
        brightness(make_lights(ambient, shininess=10))
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_lights((1, 2)), "`ambient` must be"),
        (lambda: make_lights(0.5, [((0, 1), 1.0)]), "`directional vector` must be"),
        (lambda: make_lights(0.5, (0, 1, 0)), "`directional` must be a list of pairs"),
        (lambda: make_lights(point=[((0, 1, 0), (1, 2))]), "`point colour` must be"),
        (lambda: make_lights(shininess=-1.0), "`lights.shininess` must not be negative"),
        (lambda: make_lights(float("nan")), "`ambient` must be finite"),
        (lambda: face_normals(np.zeros((3, 2)), [[0, 1, 2]]), "`vertices` must be"),
        (lambda: face_normals(np.zeros((3, 3)), [[0, 1, 3]]), "`faces` must index"),
        (lambda: vertex_normals(np.zeros((3, 3)), [[0.0, 1, 2]]), "`faces` must be"),
        (lambda: shade(some_fragments(), some_mesh(), shading="smooth"), "`shading` must be one"),
        (lambda: shade(some_fragments(), some_mesh(), some_lights()), "`eye` must be given"),
        (lambda: shade(some_fragments(), some_mesh(), 0.5), "`lights` must be Lights"),
        (lambda: shade(some_fragments(), some_mesh(), eye=(1, 2)), "`eye` must be"),
        (
            lambda: shade(
                dataclasses.replace(some_fragments(), barycentrics=jnp.ones((3, 3))), some_mesh()
            ),
            "`fragments.barycentrics` must be",
        ),
        (
            lambda: shade(
                some_fragments(),
                dataclasses.replace(some_mesh(), texture=VertexColors(jnp.ones((V, 4)))),
            ),
            "3 channels",
        ),
        (
            lambda: shade(
                some_fragments(),
                dataclasses.replace(some_mesh(), vertices=jnp.full((V, 3), jnp.nan)),
            ),
            "`mesh.vertices` must be finite",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_spots_shine_in_cones_and_light_falls_off():
    points = np.random.default_rng(4).normal(size=(40, 3)) * [1, 1, 0]
    place, way = np.array([0.2, 0.1, 1.5]), np.array([0.1, -0.2, -1.0])
    lights = jr.make_lights(
        0.0,
        (),
        [((0, 0, 2), 0.5)],
        spot=[(place, (1.0, 0.5, 0.25), way, 30.0, 3.0)],
        attenuation=(0.5, 0.1, 0.2),
    )
    corners = points[:, None] + 1e-4 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = jr.Mesh(corners.reshape(-1, 3), np.arange(120).reshape(-1, 3))
    seen = jr.Fragments(jnp.arange(40), jnp.full((40, 3), 1 / 3), jnp.ones(40))
    expected = np.zeros((40, 3))
    for position, color in (((0, 0, 2), 0.5), (place, np.array([1.0, 0.5, 0.25]))):
        away = position - points
        distance = np.linalg.norm(away, axis=1)
        amount = away[:, 2] / distance / (0.5 + 0.1 * distance + 0.2 * distance**2)
        if position is place:
            cosine = -(away / distance[:, None]) @ (way / np.linalg.norm(way))
            amount = amount * np.where(cosine >= np.cos(np.deg2rad(30)), cosine**3, 0)
        expected += amount[:, None] * np.broadcast_to(color, 3)
    assert (expected[:, 0] != expected[:, 1]).any()  # inside the cone
    assert (expected[:, 0] == expected[:, 1]).any()  # and outside
    shown = jax.jit(lambda lights: jr.shade(seen, mesh, lights, shading="phong"))(lights)
    np.testing.assert_allclose(shown, expected, rtol=2e-3, atol=1e-5)
    slope = jax.jit(jax.grad(lambda own: jr.shade(seen, mesh, own, shading="flat").sum()))(lights)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    assert slope.spot_exponents[1] < 0


@pytest.mark.thorough
def test_light_like_opengl_is_cut_off_before_the_texture():
    mesh = jr.Mesh(
        np.eye(3),
        [[0, 1, 2]],
        jr.FaceTexels(np.full((1, 1, 1, 3), 0.5)),
        material=jr.Material(base_color=jr.to_linear(np.array([[0.4, 0.6, 1.0]]))),
    )
    base = np.concatenate([mesh.material.base_color, np.ones((1, 1))], 1)
    mesh = dataclasses.replace(mesh, material=jr.Material(base_color=base))
    seen = jr.Fragments(jnp.array([0, -1]), jnp.full((2, 3), 1 / 3), jnp.ones(2))
    shown = jr.shade(seen, mesh, jr.make_lights(1.5, (), like_opengl=True))
    np.testing.assert_allclose(shown, [[0.3, 0.45, 0.5], [0, 0, 0]], atol=1e-6)
    camera, soft = jr.look_at((2, 2, 2)), jr.Soft(sigma=1e-7, gamma=1e-4)
    pictures = [
        jr.render(
            mesh, camera, jr.make_lights(1.5, (), like_opengl=True), image_size=(8, 8), rasterizer=r
        ).rgb[4, 4]
        for r in (None, soft)
    ]
    np.testing.assert_allclose(pictures, [[0.3, 0.45, 0.5]] * 2, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spot": [((0, 0, 1), 1.0)]}, "spot. must be a list"),
        ({"spot": [((0, 0, 1), 1.0, (0, 0, 1), 120.0)]}, "between 0 and 90 degrees, .* got 120"),
        ({"attenuation": (1.0, 0.0)}, "attenuation"),
    ],
)
def test_wrong_spots_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        jr.make_lights(**options)


@pytest.mark.slow
def test_no_number_of_lights_is_dropped():
    """The table of shapes has all arrays, and a class of one's own keeps its numbers."""
    arrays = [f.name for f in dataclasses.fields(jr.Lights) if not f.metadata.get("static")]
    assert sorted(LIGHT_SHAPES) == sorted(arrays)

    @jr.struct
    class Rough(jr.Lights):
        roughness: Any = 0.25
        model: str = jr.static(default="oren")

    plain = some_lights()
    kept = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
    lights = check_lights(Rough(**kept, model="mine"))
    layout = _PhongLayout.of(lights, reflects=True, has_gloss=False)
    packed = layout.pack(lights, jnp.ones(4))
    found, _ = layout.unpack(list(packed), 0)
    assert isinstance(found, Rough)
    assert (found.model, float(found.roughness)) == ("mine", 0.25)
    np.testing.assert_array_equal(found.position_colors, lights.position_colors.T)


def test_models_say_which_number_needs_an_eye(monkeypatch):
    model = Reflection(blinn_phong, "shininess")
    monkeypatch.setitem(REFLECTIONS, "mine", model)
    lights = dataclasses.replace(make_lights(specular=0.0), reflection="mine")
    with pytest.raises(ValueError, match="`eye` must be given for shininess"):
        shade(some_fragments(), some_mesh(), lights)
