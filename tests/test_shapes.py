"""The shapes are what they say: closed where they should be, outward, without repeated vertices."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrender import _teapot, shapes
from jaxrender._types import Mesh


def arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)


def edge_uses(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each directed, and each undirected edge is there."""
    edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    directed = np.unique(edges, axis=0, return_counts=True)[1]
    undirected = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)[1]
    return directed, undirected


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.sum(a * np.cross(b, c)) / 6)


def open_edges(faces: np.ndarray) -> list[set[int]]:
    """The boundary loops, as sets of vertices."""
    edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    there = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in there if (b, a) not in there}
    loops = []
    while following:
        start, vertex = following.popitem()
        loop = {start}
        while vertex != start:
            loop.add(vertex)
            vertex = following.pop(vertex)
        loops.append(loop)
    return loops


ALL = {
    "cube": (lambda: shapes.cube(2.0), 8.0, 2),
    "icosahedron": (lambda: shapes.icosphere(0), None, 2),
    "icosphere": (lambda: shapes.icosphere(4, radius=0.5), 4 / 3 * np.pi * 0.5**3, 2),
    "torus": (lambda: shapes.torus(2.0, 0.5, 96, 48), 2 * np.pi**2 * 2 * 0.25, 0),
    "thin torus": (lambda: shapes.torus(1.0, 0.1, 3, 3), None, 0),
    "plane": (lambda: shapes.plane(3.0, 5), None, 1),
    "teapot": (lambda: shapes.teapot(4), None, 1),
}


@pytest.mark.parametrize("name", ALL)
def test_every_shape_is_a_sound_mesh(name):
    build, expected_volume, euler = ALL[name]
    mesh = build()
    vertices, faces = arrays(mesh)
    assert mesh.vertices.dtype == jnp.float32
    assert mesh.faces.dtype == jnp.int32
    assert len(np.unique(vertices, axis=0)) == len(vertices)
    assert np.array_equal(np.unique(faces), np.arange(len(vertices)))

    # No edge is passed twice in the same direction, so neighbours agree on what is outside.
    directed, undirected = edge_uses(faces)
    assert directed.max() == 1
    assert undirected.max() <= 2
    assert len(vertices) - len(undirected) + len(faces) == euler

    # No face has lost its area.
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-6

    if name not in ("plane", "teapot"):
        assert undirected.min() == 2
        assert volume(vertices, faces) > 0
    if expected_volume is not None:
        assert volume(vertices, faces) == pytest.approx(expected_volume, rel=0.02)


@pytest.mark.parametrize("subdivisions", [0, 1, 3])
def test_icosphere_counts_and_radius(subdivisions):
    vertices, faces = arrays(shapes.icosphere(subdivisions, radius=3.0))
    assert faces.shape == (20 * 4**subdivisions, 3)
    assert vertices.shape == (10 * 4**subdivisions + 2, 3)
    assert np.allclose(np.linalg.norm(vertices, axis=1), 3.0, rtol=1e-6)


def test_torus_lies_on_its_surface():
    vertices, faces = arrays(shapes.torus(2.0, 0.5, 12, 7))
    assert faces.shape == (2 * 12 * 7, 3)
    ring = np.hypot(vertices[:, 0], vertices[:, 2]) - 2.0
    assert np.allclose(np.hypot(ring, vertices[:, 1]), 0.5, atol=1e-6)


def test_plane_faces_up():
    vertices, faces = arrays(shapes.plane(2.0, 3))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    assert np.allclose(vertices[:, 1], 0)
    assert np.all(normals[:, 1] > 0)
    assert normals[:, 1].sum() / 2 == pytest.approx(4.0)
    assert (vertices.min(), vertices.max()) == (-1, 1)


def test_teapot_stands_upright_at_its_published_size():
    vertices, _ = arrays(shapes.teapot(12))
    assert np.allclose(vertices.min(axis=0), [-3.0, 0.0, -2.0], atol=1e-6)
    assert np.allclose(vertices.max(axis=0)[1:], [3.15, 2.0], atol=1e-6)
    assert 3.42 < vertices[:, 0].max() < 3.45  # the tip of the spout


@pytest.mark.parametrize("tessellation", [2, 3, 7, 10])
def test_teapot_has_six_open_edges(tessellation):
    _, faces = arrays(shapes.teapot(tessellation))
    sizes = sorted(len(loop) for loop in open_edges(faces))
    assert sizes == [2 * tessellation] * 4 + [4 * tessellation] * 2
    assert len(faces) == 64 * tessellation**2 - 8 * tessellation


def test_teapot_faces_point_outward():
    """Each face looks away from the axis of the part that it belongs to."""
    vertices, faces = arrays(shapes.teapot(8))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    centers, normals = (a + b + c) / 3, np.cross(b - a, c - a)
    radius = np.hypot(centers[:, 0], centers[:, 2])
    outward = np.sum(normals * (centers - [0, 1.2, 0]), axis=1)
    belly = (radius < 2.01) & (centers[:, 1] > 0.2) & (centers[:, 1] < 1.3)
    belly &= np.abs(centers[:, 2]) > 0.7
    assert belly.sum() > 100
    assert np.all(outward[belly] > 0)

    # The handle's outermost bend and the top of the lid are known by sight.
    assert np.all(normals[centers[:, 0] < -2.95][:, 0] < 0)
    lid = (centers[:, 1] > 2.4) & (radius > 0.5) & (radius < 1.25)
    assert np.all(normals[lid][:, 1] > 0)
    bottom = (centers[:, 1] < 0.05) & (radius < 1)
    assert np.all(normals[bottom][:, 1] < 0)


def test_patches_evaluate_as_bezier_surfaces():
    """Against de Casteljau's construction, one point at a time."""
    control = _teapot.patches()
    assert control.shape == (32, 4, 4, 3)
    points = _teapot.evaluate(control, 3)

    def casteljau(row, t):
        while len(row) > 1:
            row = [(1 - t) * p + t * q for p, q in itertools.pairwise(row)]
        return row[0]

    for patch in (0, 9, 17, 31):
        for i in range(4):
            for j in range(4):
                column = [casteljau(list(control[patch, k]), j / 3) for k in range(4)]
                assert np.allclose(points[patch, i, j], casteljau(column, i / 3), atol=1e-12)


def test_teapot_is_the_golden_one(golden):
    """The ancestors' teapot is the same surface at 6 segments, but cut and with an inner rim."""
    reference = golden("nmr/load_obj_plain.npz")["teapot_vertices_normalized"]
    vertices, _ = arrays(shapes.teapot(6))
    vertices = vertices - vertices.min(axis=0)
    vertices = vertices / vertices.max() * 2
    vertices = vertices - vertices.max(axis=0) / 2
    distances = np.linalg.norm(reference[:, None] - vertices[None], axis=-1).min(axis=1)
    assert np.mean(distances < 1e-5) > 0.85
    assert np.allclose(reference.max(axis=0), vertices.max(axis=0), atol=1e-6)


def test_float64(x64):
    assert shapes.icosphere(1).vertices.dtype == jnp.float64


def test_a_large_icosphere_is_quick_to_make():
    assert shapes.icosphere(7).faces.shape == (327680, 3)


def test_shapes_pass_through_jax():
    mesh = shapes.cube()
    assert len(jax.tree.leaves(mesh)) == 2


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: shapes.cube(0), "size"),
        (lambda: shapes.cube(float("nan")), "size"),
        (lambda: shapes.icosphere(-1), "subdivisions"),
        (lambda: shapes.icosphere(1.5), "subdivisions"),
        (lambda: shapes.icosphere(1, radius=-1), "radius"),
        (lambda: shapes.torus(1.0, 0.0), "minor_radius"),
        (lambda: shapes.torus(major_segments=2), "major_segments"),
        (lambda: shapes.plane(segments=0), "segments"),
        (lambda: shapes.teapot(1), "tessellation"),
    ],
)
def test_bad_arguments(call, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        call()
