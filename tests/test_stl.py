"""STL, text and binary."""

from __future__ import annotations

import numpy as np
import pytest
from mesh_files import face_colors, load, write

from jaxrender import io, shapes
from jaxrender._formats.stl import FACE

TEXT = """solid {name}
facet normal 0 0 1
outer loop
vertex 0 0 0
vertex 1 0 0
vertex 0 1 0
endloop
endfacet
  FACET NORMAL 0 0 1
    OUTER LOOP
      VERTEX 1 0 0
      VERTEX 1 1 0
      VERTEX 0 1 0
    ENDLOOP
  ENDFACET
endsolid {name}
"""
PLACES, FACES = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], [[0, 1, 2], [1, 3, 2]]


def binary(attributes=(0, 0), head=b"solid binary, though"):
    rows = np.zeros(2, FACE)
    rows["corners"] = np.array(PLACES, np.float32)[np.array(FACES)]
    rows["attribute"] = attributes
    return head.ljust(80, b"\0") + np.uint32(2).tobytes() + rows.tobytes()


@pytest.mark.slow
def test_round_trip_stl_welds_exactly(tmp_path):
    pytest.importorskip("trimesh")
    mesh = shapes.teapot(3)
    io.save_mesh(tmp_path / "a.stl", mesh)
    again = io.load_mesh(tmp_path / "a.stl")
    assert again.vertices.shape == mesh.vertices.shape
    assert np.array_equal(again.vertices[again.faces], mesh.vertices[mesh.faces])


@pytest.mark.parametrize(
    "data",
    [
        TEXT.format(name="W").encode(),
        TEXT.format(name="Würfel").encode("latin-1"),
        b"\xef\xbb\xbf" + TEXT.format(name="").replace("\n", "\r\n").encode(),
        binary(),
        binary(head=b""),
    ],
)
def test_text_and_binary(tmp_path, data):
    mesh, told = load(write(tmp_path / "a.stl", data))
    assert mesh.vertices.tolist() == PLACES
    assert mesh.faces.tolist() == FACES
    assert mesh.texture is None
    assert told == ""


@pytest.mark.parametrize("head", [b"solid binary, though", b""])
def test_bytes_behind(tmp_path, head):
    mesh, told = load(write(tmp_path / "a.stl", binary(head=head) + b"abc"))
    assert mesh.faces.tolist() == FACES
    assert "ignores 3 bytes behind the last face" in told


@pytest.mark.slow
def test_colours(tmp_path):
    """Where the highest bit says so, 15 bits of a colour; red is in the lowest for Magics."""
    red, blue = 31 << 10, 31
    mesh, told = load(write(tmp_path / "a.stl", binary((1 << 15 | red, 1 << 15 | blue))))
    assert face_colors(mesh).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert told == ""
    mesh = io.load_mesh(write(tmp_path / "a.stl", binary((1 << 15 | red, 0))))
    assert face_colors(mesh).tolist() == [[1, 0, 0], [1, 1, 1]]
    head = b"text COLOR=" + bytes([51, 102, 0, 255])
    mesh = io.load_mesh(write(tmp_path / "a.stl", binary((red, 1 << 15), head)))
    np.testing.assert_allclose(face_colors(mesh), [[0, 0, 1], [0.2, 0.4, 0]], atol=1e-6)
    # MeshLab's: the bit says that there is a colour, and all 0 that there is none.
    mesh = io.load_mesh(write(tmp_path / "a.stl", binary((1 << 15 | 31, 1 << 15 | 31 << 10), head)))
    assert face_colors(mesh).tolist() == [[1, 0, 0], [0, 0, 1]]
    mesh = io.load_mesh(write(tmp_path / "a.stl", binary((0, 0), head)))
    np.testing.assert_allclose(face_colors(mesh), [[0.2, 0.4, 0]] * 2, atol=1e-6)
    mesh, told = load(write(tmp_path / "a.stl", binary((7, 0))))
    assert mesh.texture is None
    assert "ignores the attributes of faces, which say no colour" in told


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("vertex 1 0 0", "vertex 1 0", 5, "a vertex needs three numbers, got 2"),
        ("vertex 1 0 0", "vertex 1 0 q", 5, "could not convert 'q'"),
        ("vertex 1 0 0", "vertex 1 0 nan", 5, "a vertex is not finite"),
        ("vertex 1 0 0\n", "", 3, "a face needs three corners, got 2"),
        ("outer loop\n", "", 3, "a vertex stands outside of a loop"),
    ],
)
def test_errors_name_file_and_line(tmp_path, old, new, line, message):
    path = write(tmp_path / "a.stl", TEXT.format(name="W").replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"a\.stl, line {line}: {message}"):
        io.load_mesh(path)


def test_polygons_and_other_lines(tmp_path):
    """Some write more than three corners a loop; a concave one is cut right."""
    rows = "".join(f"vertex {x} {y} 0\n" for x, y in [(0, 0), (1, 0.5), (0, 1), (0.4, 0.5)])
    text = f"solid\nfacet normal 0 0 1\nouter loop\n{rows}endloop\nendfacet\nbogus\nendsolid\n"
    mesh, told = load(write(tmp_path / "a.stl", text))
    corners = np.asarray(mesh.vertices)[np.asarray(mesh.faces)]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()
    assert "ignores lines of unknown kinds, as line 10" in told


@pytest.mark.parametrize("space", ["", " " * 90])
def test_solids_without_facets(tmp_path, space):
    path = write(tmp_path / "a.stl", f"solid a\n{space}\nendsolid a\n")
    with pytest.raises(ValueError, match=r"a\.stl: it has no faces \(0 vertices\)"):
        io.load_mesh(path)


def test_what_ends_too_early(tmp_path):
    with pytest.raises(ValueError, match="it ends within its faces: 1 of 2"):
        io.load_mesh(write(tmp_path / "a.stl", binary(head=b"")[:-3]))


def test_solids_are_objects(tmp_path):
    """Several in a file, as OpenFOAM writes them; those of one name are one."""
    solids = [TEXT.format(name=name) for name in ("inlet", "wall of brick", "inlet")]
    path = write(tmp_path / "a.stl", "".join(solids))
    (mesh, owner, names), said = load(path, objects=True)
    assert (len(mesh.faces), names, said) == (6, ("inlet", "wall of brick"), "")
    assert owner.tolist() == [0, 0, 1, 1, 0, 0]
    assert load(write(path, binary()), objects=True)[0][2] == ("",)
