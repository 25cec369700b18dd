"""OFF, with all that its header can say."""

from __future__ import annotations

import numpy as np
import pytest
from mesh_files import face_colors, load, write

from jaxrender import io
from jaxrender._formats import off

TRIANGLE = "0 0 0\n1 0 0\n0 1 0\n"


def test_off_variants(tmp_path):
    body = "# text\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n\n4 0 1 2 3 255 0 51\n3 0 1 2 0 0 0\n"
    for head in ("OFF\n", "OFF "):
        mesh = io.load_mesh(write(tmp_path / "a.off", head + body))
        assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
        assert np.allclose(mesh.texture.texels[:2, 0, 0], [1, 0, 0.2])
    text = "COFF3 1 0\n0 0 0 0.5 0.5 1 1\n1 0 0 0 0 0 1\n0 1 0 1 1 1 1\n3 0 1 2\n"
    mesh = io.load_mesh(write(tmp_path / "b.off", text))
    assert mesh.texture.colors[0].tolist() == [0.5, 0.5, 1.0]


def test_cases(cases):
    mesh = io.load_mesh(cases.path("ncoff.off"))
    assert mesh.texture.colors.tolist() == [[1, 0, 0]] * 3


@pytest.mark.parametrize(
    ("letters", "rows"),
    [
        ("C", "{place} {color}"),
        ("N", "{place} {normal}"),
        ("CN", "{place} {normal} {color}"),
        ("NC", "{place} {color} {normal}"),  # MeshLab
        ("STCN", "{place} {normal} {color} {uv}"),
        ("NCST", "{place} {color} {normal} {uv}"),  # MeshLab
        ("ST", "{place} {uv}"),
        ("4", "0 0 0 2\n2 0 0 2\n0 2 0 2"),
    ],
)
def test_letters_of_the_header(tmp_path, letters, rows):
    if letters != "4":
        rows = "\n".join(
            rows.format(place=place, normal="0 0 1", color="255 51 0 255", uv=place[:3])
            for place in TRIANGLE.splitlines()
        )
    path = write(tmp_path / "a.off", f"{letters}OFF\n3 1 0\n{rows}\n3 0 1 2\n")
    raw = off.read_off(path)
    assert raw.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert raw.notes == []
    assert (raw.normals is not None) == ("N" in letters)
    if "N" in letters:
        assert raw.normals.tolist() == [[0, 0, 1]] * 3
    assert (raw.vertex_colors is not None) == ("C" in letters)
    if "C" in letters:
        np.testing.assert_allclose(raw.vertex_colors, [[1, 0.2, 0]] * 3)
    if "ST" in letters:
        assert raw.uv.tolist() == [[0, 0], [1, 0], [0, 1]]
        assert raw.uv_faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("colors", "expected", "said"),
    [
        (("255 0 51", ""), [[1, 0, 0.2], [1, 1, 1]], ""),  # white for the rest
        (("1 0 0", "0 1 0"), [[1, 0, 0], [0, 1, 0]], ""),  # whole numbers up to 1 are full
        (("1.0 0.5 0", "0 1 0 1"), [[1, 0.5, 0], [0, 1, 0]], ""),
        (("255 0 0 128", "0 255 0 255"), [[1, 0, 0], [0, 1, 0]], "ignores alpha of faces"),
        (("nan 0 0", "0 1 0"), [[1, 1, 1], [0, 1, 0]], "become white"),
        (("7", "0 1 0"), [[1, 1, 1], [0, 1, 0]], "ignores numbers behind the corners"),
    ],
)
def test_colours_of_faces(tmp_path, colors, expected, said):
    rows = "".join(f"3 0 1 2 {color}\n" for color in colors)
    mesh, told = load(write(tmp_path / "a.off", f"OFF\n3 2 0\n{TRIANGLE}{rows}"))
    np.testing.assert_allclose(face_colors(mesh), expected, atol=1e-6)
    assert said in told
    assert bool(said) == bool(told)


def test_colours_of_some_vertices(tmp_path):
    rows = "0 0 0 255 0 0\n1 0 0\n0 1 0 0 0 255 255\n"
    mesh, told = load(write(tmp_path / "a.off", f"COFF\n3 1 0\n{rows}3 0 1 2\n"))
    assert mesh.texture.colors.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 1]]
    assert told == ""


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("OFF\n3 1 0\n0 0 0\n1 0\n0 1 0\n3 0 1 2\n", 4, "a vertex of OFF needs 3 numbers"),
        ("NOFF\n3 1 0\n0 0 0 0 0 1\n1 0 0\n0 1 0\n3 0 1 2\n", 4, "NOFF needs 6 numbers"),
        (f"# c\nOFF\n3 1 0\n{TRIANGLE}3 0 1\n", 7, "fewer corners than it says: 2, of 3"),
        (f"OFF\n\n3 1 0\n{TRIANGLE}3 0 1 x\n", 7, "could not convert 'x'"),
        (f"OFF\n3 1 0\n{TRIANGLE}3 0 1 3\n", 6, "a face names vertex 3, of 3"),
        (f"OFF\n3 1 0\n{TRIANGLE}3 0 1 1.5\n", 6, "a face names vertex 1.5, of 3"),
        (f"OFF\n3 1 0\n{TRIANGLE}3.5 0 1 2\n", 6, "a face cannot have 3.5 corners"),
        (f"OFF\n3 1 0\n{TRIANGLE}1e400 0 1 2\n", 6, "a face cannot have inf corners"),
        (f"OFF\n1e400 1 0\n{TRIANGLE}3 0 1 2\n", 2, "the numbers of vertices and faces are none"),
        (f"OFF\n3 -1 0\n{TRIANGLE}3 0 1 2\n", 2, "the numbers of vertices and faces are none"),
        ("OFF\n3 1 0\n0 0 0\n1 inf 0\n0 1 0\n3 0 1 2\n", 4, "vertex 1 is not finite"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, line, message):
    with pytest.raises(ValueError, match=rf"a\.off, line {line}: .*{message}"):
        io.load_mesh(write(tmp_path / "a.off", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OFF\n", "no counts"),
        (f"OFF\n3 2 0\n{TRIANGLE}3 0 1 2\n", "it ends before its 3 vertices and 2 faces"),
        ("nOFF\n4\n3 1 0\n", "OFF of any dimension, or binary"),
        ("OFF BINARY\n\0\0", "OFF of any dimension, or binary"),
    ],
)
def test_what_cannot_be_read(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        io.load_mesh(write(tmp_path / "a.off", text))


def test_what_is_left_over_is_said(tmp_path):
    text = f"\ufeffOFF 3 2 1 # all\n{TRIANGLE}3 0 1 2\n2 0 1\n0 1\n"
    mesh, told = load(write(tmp_path / "a.off", text))
    assert mesh.faces.tolist() == [[0, 1, 2]]
    assert "ignores 1 faces of less than three corners" in told
    assert "ignores lines behind the last face, from line 7 on" in told
