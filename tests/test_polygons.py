"""Polygons are cut into triangles that cover them exactly."""

from __future__ import annotations

import numpy as np
import pytest

from jaxrender._formats import polygons

RNG = np.random.default_rng(7)


def cut(vertices, corners, sizes):
    """Which places among the corners triangles have `[F, 3]`, and their polygons `[F]`."""
    triangles = polygons.cut(vertices, corners, sizes)
    places, numbers = np.arange(len(corners)), np.arange(len(sizes))
    return triangles.of_corners(places), triangles.of_polygons(numbers)


def turned(points):
    """Points of the plane in a plane of space, and that plane's normal."""
    axes, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    return points @ axes[:2] + RNG.normal(size=3), np.cross(axes[0], axes[1])


def area_of(points):
    """The shoelace formula."""
    x, y = points.T
    return 0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum()


def signed_areas(vertices, faces, normal):
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a) @ normal / 2


def winding(points, place):
    """How often an outline goes around a place, by its angles."""
    off = points - place
    angle = np.arctan2(off[:, 1], off[:, 0])
    step = np.diff(np.append(angle, angle[0]))
    return np.rint(((step + np.pi) % (2 * np.pi) - np.pi).sum() / (2 * np.pi))


def star(size):
    """A polygon that is concave at about every second corner."""
    angle = np.sort(RNG.random(size)) * 2 * np.pi
    return np.stack([np.cos(angle), np.sin(angle)], -1) * (0.2 + RNG.random((size, 1)))


def spiral(size):
    """A band that is wound up: no corner sees much of it."""
    angle = np.linspace(0, 5 * np.pi, size + 9)[:, None]
    line = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([line * (1.6 + angle), (line * (1 + angle))[::-1]])


def ring(count):
    """A strip with square holes, each joined to the one before by an edge that is walked twice."""
    outline = np.array([[0, 0], [4 * count, 0], [4 * count, 4], [0, 4]], float)
    hole = np.array([[1, 1], [1, 3], [3, 3], [3, 1]], float)
    points, corners, last = [outline], [0, 1, 2, 3], 0
    for k in range(count):
        first = 4 + 4 * k
        points.append(hole + np.array([4 * k, 0]))
        at = corners.index(last) + 1
        corners[at:at] = [first, first + 1, first + 2, first + 3, first, last]
        last = first + 3
    return np.concatenate(points), np.array(corners)


@pytest.mark.parametrize("shape", [star, spiral])
@pytest.mark.parametrize("size", [4, 5, 9, 40])
def test_concave_polygons(shape, size):
    """All triangles turn like the polygon, and have its area together: they do not overlap."""
    flat = shape(size)
    count = len(flat)
    vertices, normal = turned(flat)
    ids, owners = cut(vertices, np.arange(count), np.array([count]))
    areas = signed_areas(vertices, ids, normal)
    assert ids.shape == (count - 2, 3)
    assert (areas > -1e-12).all()
    assert areas.sum() == pytest.approx(area_of(flat))
    assert owners.tolist() == [0] * (count - 2)
    for face in flat[ids]:
        if abs(area_of(face)) > 1e-9:
            assert winding(flat, face.mean(axis=0)) == 1


def test_convex_polygons_are_fans():
    angle = np.arange(7) / 7 * 2 * np.pi
    vertices = np.stack([np.cos(angle), np.sin(angle), np.zeros(7)], -1)
    corners, sizes = np.array([0, 1, 2, 0, 2, 3, 4, 5, 6]), np.array([3, 6])
    ids, owners = cut(vertices, corners, sizes)
    assert corners[ids].tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5], [0, 5, 6]]
    assert owners.tolist() == [0, 1, 1, 1, 1]
    ids, owners = cut(vertices, np.arange(7), np.array([2, 1, 4]))
    assert ids.tolist() == [[3, 4, 5], [3, 5, 6]]
    assert owners.tolist() == [2, 2]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("turn", range(4))
def test_holes(count, turn):
    flat, corners = ring(count)
    corners = np.roll(corners, turn)
    vertices, normal = turned(flat)
    ids, _ = cut(vertices, corners, np.array([len(corners)]))
    areas = signed_areas(vertices, corners[ids], normal)
    assert (areas > -1e-12).all()
    assert areas.sum() == pytest.approx(16 * count - 4 * count)
    for face in flat[corners[ids]]:
        if abs(area_of(face)) > 1e-9:
            x, y = face.mean(axis=0)
            assert not (1 < x % 4 < 3 and 1 < y < 3)


def test_many_at_once_are_cut_as_one_by_one():
    shapes = [star(size) for size in (4, 9, 4, 6, 9, 9, 3, 12)]
    flat = np.concatenate(shapes)
    vertices, _ = turned(flat)
    sizes = np.array([len(shape) for shape in shapes])
    ids, owners = cut(vertices, np.arange(len(flat)), sizes)
    start = 0
    for number, size in enumerate(sizes):
        alone, _ = cut(vertices, np.arange(start, start + size), np.array([size]))
        np.testing.assert_array_equal(ids[owners == number], alone + start)
        start += size


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((6, 2)),  # all at one place
        np.stack([np.arange(6.0), np.zeros(6)], -1),  # on a line
        np.array([[0, 0], [2, 2], [2, 0], [0, 2], [1, 3]], float),  # crosses itself
        np.array([[0, 0], [1, 0], [1, 1], [1, 0], [2, 0], [2, 2], [0, 2]], float),  # a spike
        RNG.random((30, 2)),
    ],
)
def test_what_has_no_inside_still_gives_triangles(points):
    vertices, _ = turned(points)
    ids, _ = cut(vertices, np.arange(len(points)), np.array([len(points)]))
    assert ids.shape == (len(points) - 2, 3)
    assert set(ids.reshape(-1)) == set(range(len(points)))
