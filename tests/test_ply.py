"""PLY, text and binary."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from mesh_files import areas, face_colors, fragments_of, load, write, write_png

from jaxrender import io
from jaxrender._formats import ply
from jaxrender._formats.ply_tables import TYPES

pytest.importorskip("imageio")

RNG = np.random.default_rng(7)
CODES = {"b": "i1", "B": "u1", "h": "i2", "H": "u2", "i": "i4", "I": "u4", "f": "f4", "d": "f8"}


def header(*lines, form="ascii"):
    return "\n".join(["ply", f"format {form} 1.0", *lines, "end_header", ""])


def vertices(count, *more):
    return [f"element vertex {count}", *(f"property float {axis}" for axis in "xyz"), *more]


def faces(count, *more, lists="list uchar int vertex_indices"):
    return [f"element face {count}", f"property {lists}", *more]


def text(lines, *rows):
    return header(*lines) + "".join(f"{row}\n" for row in rows)


TRIANGLE = "0 0 0", "1 0 0", "0 1 0"
SQUARE = "0 0 0", "1 0 0", "1 1 0", "0 1 0"


def test_ply_text_with_polygons_and_colours(tmp_path):
    path = write(
        tmp_path / "a.ply",
        "ply\nformat ascii 1.0\ncomment hello\nelement vertex 5\nproperty float x\n"
        "property float y\nproperty float z\nproperty uchar red\nproperty uchar green\n"
        "property uchar blue\nelement face 3\nproperty list uchar int vertex_indices\nend_header\n"
        "0 0 0 255 0 0\n1 0 0 0 255 0\n1 1 0 0 0 255\n0 1 0 51 51 51\n0 2 0 0 0 0\n"
        "3 0 1 2\n5 0 1 2 3 4\n4 0 1 2 3\n",
    )
    mesh = io.load_mesh(path)
    fan = [[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 1, 2], [0, 2, 3]]
    assert mesh.faces.tolist() == fan
    assert np.allclose(mesh.texture.colors[3], 0.2)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("mixed", [False, True])
def test_ply_binary_with_coloured_faces(tmp_path, order, mixed):
    end = "<" if order == "little" else ">"
    header = (
        f"ply\nformat binary_{order}_endian 1.0\nelement vertex 4\nproperty double x\n"
        "property double y\nproperty double z\nelement extra 2\nproperty short n\n"
        "element face 2\nproperty list uchar int vertex_index\nproperty float red\n"
        "property float green\nproperty float blue\nend_header\n"
    )
    data = struct.pack(f"{end}12d2h", 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 5, 6)
    quad = (4, 0, 1, 2, 3) if mixed else (3, 0, 2, 3)
    data += struct.pack(f"{end}B{len(quad) - 1}i3f", *quad, 0.5, 0.25, 0.0)
    data += struct.pack(f"{end}B3i3f", 3, 0, 1, 2, 1.0, 0.0, 0.0)
    path = tmp_path / "a.ply"
    path.write_bytes(header.encode() + data)
    mesh = io.load_mesh(path)
    first = [[0, 1, 2], [0, 2, 3]] if mixed else [[0, 2, 3]]
    assert mesh.faces.tolist() == [*first, [0, 1, 2]]
    assert mesh.texture.texels[0, 0, 0].tolist() == [0.5, 0.25, 0.0]
    assert mesh.texture.texels[-1, 0, 0].tolist() == [1.0, 0.0, 0.0]

    path.write_bytes((header.encode() + data)[:-3])
    with pytest.raises(ValueError, match="ends within the face data"):
        io.load_mesh(path)


# --- files of real programs -----------------------------------------------------------------------


def test_cases(cases):
    mesh = io.load_mesh(cases.path("concave.ply"))
    np.testing.assert_allclose(areas(mesh), [0.15, 0.15], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hole_bool", "mirrored", "ngon2", "planar_quad", "text"])
def test_blender_scenes_against_cycles(cases, name):
    """PLY has no materials: there the mask counts."""
    path, camera = cases.path(f"blender/{name}.ply"), cases.path(f"blender/{name}_camera.json")
    mesh = io.load_mesh(path)
    seen = fragments_of(mesh.vertices, mesh.faces, json.loads(camera.read_text()))
    want = cases(f"blender/{name}_cycles.npz")["rgba_linear"]
    np.testing.assert_array_equal(np.asarray(seen.face) >= 0, want[..., 3] > 0.5)


# --- the container --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("kind", TYPES)
def test_all_types(tmp_path, form, kind):
    """Coordinates, indices and lengths of lists of any type, in rows of one length and of two."""
    code = TYPES[kind]
    order = ">" if "big" in form else "<"
    places = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 2]])
    for polygons in ([[0, 1, 2], [0, 2, 3]], [[0, 1, 2], [0, 1, 2, 3]]):
        lines = ["element vertex 4", *(f"property {kind} {axis}" for axis in "xyz")]
        lines += faces(2, "property uchar flag", lists=f"list {kind} {kind} vertex_index")
        if form == "ascii":
            rows = [" ".join(map(str, row)) for row in places.tolist()]
            rows += [f"{len(p)} {' '.join(map(str, p))} 7" for p in polygons]
            body = "".join(f"{row}\n" for row in rows).encode()
        else:
            body = places.astype(order + code).tobytes()
            for polygon in polygons:
                body += np.array([len(polygon), *polygon]).astype(order + code).tobytes() + b"\7"
        data = header(*lines, form=form).encode() + body
        mesh = io.load_mesh(write(tmp_path / "a.ply", data))
        assert mesh.vertices.tolist() == places.tolist()
        assert mesh.faces[:2].tolist()[0] == [0, 1, 2]
        assert len(mesh.faces) == sum(len(polygon) - 2 for polygon in polygons)


def test_double_coordinates_keep_their_digits(tmp_path, x64):
    lines = ["element vertex 3", *(f"property double {axis}" for axis in "xyz"), *faces(1)]
    place = 4200000.123456789
    body = struct.pack("<9d", place, 0, 0, 1, 0, 0, 0, 1, 0) + struct.pack("<B3i", 3, 0, 1, 2)
    data = header(*lines, form="binary_little_endian").encode() + body
    assert io.load_mesh(write(tmp_path / "a.ply", data)).vertices[0, 0] == place
    rows = f"{place!r} 0 0", *TRIANGLE[1:], "3 0 1 2"
    assert io.load_mesh(write(tmp_path / "b.ply", text(lines, *rows))).vertices[0, 0] == place


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        (("0 0 0", "1 0", "0 1 0", "3 0 1 2"), 11, "the row of vertex has 2 words, of 3 or more"),
        ((*TRIANGLE, "3 0 1"), 13, "the row of face has 3 words, of 4 or more"),
        ((*TRIANGLE, "3 0 1 x"), 13, "could not convert 'x'"),
        ((*TRIANGLE, "3 0 1 1.9"), 13, "vertex_indices is 1.9, which is no int"),
        ((*TRIANGLE, "-3 0 1 2"), 13, "length of vertex_indices is -3, which is no uchar"),
        ((*TRIANGLE, f"3 0 1 {2 + 2**32}"), 13, "which is no int"),
        ((*TRIANGLE, "3 0 1 3"), 13, "a face names vertex 3, of 3"),
        ((*TRIANGLE, "3 0 1 -1"), 13, "a face names vertex -1, of 3"),
        ((*TRIANGLE, "3 0 1 2", "", "3 0 1 2"), 15, "it goes on behind the 4 rows"),
        (("0 0 0", "nan 0 0", "0 1 0", "3 0 1 2"), 11, "vertex 1 is not finite"),
    ],
)
def test_errors_name_file_and_line(tmp_path, rows, line, message):
    path = write(tmp_path / "a.ply", text([*vertices(3), *faces(1)], *rows))
    with pytest.raises(ValueError, match=rf"a\.ply, line {line}: .*{message}"):
        io.load_mesh(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["element vertex x"], r"a\.ply, line 3: unknown PLY element 'vertex x'"),
        (["element vertex 1", "property half x"], r"line 4: unknown PLY property 'half x'"),
        (["property float x"], "line 3: unknown PLY property"),
        (["element vertex 3", "property float x", *faces(1)], "no vertices with x, y and z"),
        ([*vertices(9), *faces(1)], "it ends within the vertex data: 4 of 9 rows"),
    ],
)
def test_bad_headers(tmp_path, lines, message):
    path = write(tmp_path / "a.ply", text(lines, *TRIANGLE, "3 0 1 2"))
    with pytest.raises(ValueError, match=message):
        io.load_mesh(path)
    data = path.read_text()
    for broken in (data.replace("ascii", "morse"), data.replace("format ascii 1.0\n", "")):
        with pytest.raises(ValueError, match=r"unknown PLY format 'morse'|names no format|line \d"):
            io.load_mesh(write(path, broken))


def test_lines_count_and_not_words(tmp_path):
    """One word too many is not the first of the next row."""
    rows = "0 0 0 0", "1 0 0", "1 1 0", "0 1 0", "3 0 1 2 1", "3 0 2 3"
    mesh, told = load(write(tmp_path / "a.ply", text([*vertices(4), *faces(2)], *rows)))
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert "ignores words behind those of 1 rows of vertex, as in line 10" in told
    assert "ignores words behind those of 1 rows of face, as in line 14" in told


def test_marks_and_line_ends(tmp_path):
    data = text([*vertices(3), *faces(1)], *TRIANGLE, "3 0 1 2")
    ends = [data.replace("\n", end) for end in ("\r\n", "\r")]
    capitals = data.replace("element", "ELEMENT").replace("float x", "FLOAT X")
    for other in (b"\xef\xbb\xbf" + data.encode(), *ends, capitals):
        assert io.load_mesh(write(tmp_path / "a.ply", other)).faces.tolist() == [[0, 1, 2]]
    lines = [*vertices(3), *faces(1)]
    body = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes() + struct.pack(
        "<B3i", 3, 0, 1, 2
    )
    for end in ("\n", "\r\n", "\r"):
        data = header(*lines, form="binary_little_endian").replace("\n", end).encode() + body
        assert io.load_mesh(write(tmp_path / "a.ply", data)).faces.tolist() == [[0, 1, 2]]
    _, told = load(write(tmp_path / "a.ply", data + b"xyz"))
    assert "ignores 3 bytes behind the last element" in told


@pytest.mark.parametrize("binary", [False, True])
def test_strips_of_triangles(tmp_path, binary):
    lines = [*vertices(5), "element tristrips 2", "property list int int vertex_indices"]
    strips = [[0, 1, 2, 3, -1, 0, 1, 4], [2, 3, 4, 4]]
    places = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]], "<f4")
    if binary:
        body = places.tobytes() + b"".join(np.array([len(s), *s], "<i4").tobytes() for s in strips)
        data = header(*lines, form="binary_little_endian").encode() + body
    else:
        rows = [
            " ".join(map(str, row)) for row in [*places.tolist(), *([len(s), *s] for s in strips)]
        ]
        data = text(lines, *rows)
    mesh = io.load_mesh(write(tmp_path / "a.ply", data))
    assert mesh.faces.tolist() == [[0, 1, 2], [1, 3, 2], [0, 1, 4], [2, 3, 4]]


# --- colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names", "values", "expected", "said"),
    [
        ("uchar", "red green blue", [255, 51, 0], [1, 0.2, 0], ""),
        ("uchar", "Red Green Blue", [255, 51, 0], [1, 0.2, 0], ""),
        ("uchar", "r g b", [255, 51, 0], [1, 0.2, 0], ""),
        ("uchar", "diffuse_red diffuse_green diffuse_blue", [255, 51, 0], [1, 0.2, 0], ""),
        ("float", "r g b", [1, 0.2, 0], [1, 0.2, 0], ""),
        ("float", "red green blue", [128, 51, 0], [128 / 255, 0.2, 0], "from 0 to 255"),
        ("double", "red green blue", [0.5, 0.25, 0], [0.5, 0.25, 0], ""),
        ("int", "red green blue", [128, 51, 0], [128 / 255, 0.2, 0], "from 0 to 255"),
        ("int", "red green blue", [1, 0, 0], [1, 0, 0], ""),
        ("ushort", "red green blue", [65535, 13107, 0], [1, 0.2, 0], ""),
        ("ushort", "red green blue", [255, 51, 0], [1, 0.2, 0], "from 0 to 255"),
        ("uint", "red green blue", [65535, 13107, 0], [1, 0.2, 0], "from 0 to 65535"),
        ("float", "red green blue", [np.nan, 0, 0], [1, 1, 1], "become white"),
        ("uchar", "red green pink", [255, 51, 0], None, "ignores red, green of vertices"),
    ],
)
def test_colours_of_vertices(tmp_path, kind, names, values, expected, said):
    lines = vertices(3, *(f"property {kind} {name}" for name in names.split())) + faces(1)
    rows = [f"{row} {' '.join(map(str, values))}" for row in TRIANGLE]
    mesh, told = load(write(tmp_path / "a.ply", text(lines, *rows, "3 0 1 2")))
    if expected is None:
        assert mesh.texture is None
    else:
        np.testing.assert_allclose(mesh.texture.colors, [expected] * 3, atol=1e-6)
    assert said in told
    assert bool(said) == bool(told)


@pytest.mark.parametrize("value", [300, -5, 1.5])
def test_colours_that_do_not_fit(tmp_path, value):
    lines = vertices(3, *(f"property uchar {name}" for name in ("red", "green", "blue"))) + faces(1)
    rows = [f"{row} 0 0 {value}" for row in TRIANGLE]
    path = write(tmp_path / "a.ply", text(lines, *rows, "3 0 1 2"))
    with pytest.raises(ValueError, match=rf"line 13: blue is {value}, which is no uchar"):
        io.load_mesh(path)


def test_which_colours_win(tmp_path):
    """Those of faces beside vertices that are all white, else those of vertices."""
    names = [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
    lines = vertices(4, *names) + faces(2, *names)
    polygons = "3 0 1 2 255 0 0 255", "3 0 2 3 0 255 0 255"
    for color, expected in (
        ("255 255 255 255", [[1, 0, 0], [0, 1, 0]]),
        ("0 0 255 9", [[0, 0, 1]] * 2),
    ):
        rows = [f"{row} {color}" for row in SQUARE]
        mesh, told = load(write(tmp_path / "a.ply", text(lines, *rows, *polygons)))
        np.testing.assert_allclose(face_colors(mesh), expected)
        assert ("ignores colours of faces where vertices have some" in told) == (color[0] == "0")
        assert ("ignores alpha of vertices" in told) == (color[0] == "0")


# --- texture coordinates and pictures -------------------------------------------------------------


@pytest.mark.parametrize("names", ["s t", "u v", "texture_u texture_v"])
def test_coordinates_of_vertices(tmp_path, names):
    lines = vertices(4, *(f"property float {name}" for name in names.split())) + faces(1)
    rows = [f"{row} {row[:3]}" for row in SQUARE]
    path = write(tmp_path / "a.ply", text(lines, *rows, "4 0 1 2 3"))
    assert io.load_mesh(path).texture is None
    mesh = io.load_mesh(path, texture="uv", image_size=(4, 4))
    assert mesh.texture.uv.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert mesh.texture.faces.tolist() == mesh.faces.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("binary", [False, True])
def test_coordinates_of_corners_with_pictures(tmp_path, binary):
    """As MeshLab writes them; a face without coordinates is white, and one of another picture."""
    first = write_png(tmp_path / "a b.png", RNG.random((2, 2, 3)))
    second = write_png(tmp_path / "c.png", RNG.random((2, 2, 3)))
    lines = ["comment TextureFile a b.png", "comment TextureFile c.png", *vertices(4)]
    lines += faces(3, "property list uchar float texcoord", "property int texnumber")
    polygons = [([0, 1, 2, 3], [0, 0, 1, 0, 1, 1, 0, 1], 0), ([0, 1, 2], [0.25, 0.25] * 3, 1),
                ([0, 2, 3], [], 0)]  # fmt: skip
    if binary:
        body = np.array([row.split() for row in SQUARE], "<f4").tobytes()
        for corners, uv, number in polygons:
            body += struct.pack(f"<B{len(corners)}i", len(corners), *corners)
            body += struct.pack(f"<B{len(uv)}fi", len(uv), *uv, number)
        data = header(*lines, form="binary_little_endian").encode() + body
    else:
        rows = [
            " ".join(map(str, [len(corners), *corners, len(uv), *uv, number]))
            for corners, uv, number in polygons
        ]
        data = text(lines, *SQUARE, *rows)
    path = write(tmp_path / "a.ply", data)
    mesh, told = load(path)
    assert told == ""
    corners = np.asarray(mesh.texture.uv)[np.asarray(mesh.texture.faces)]
    assert corners[0].tolist() == [[0, 0], [1, 0], [1, 1]]
    assert corners[1].tolist() == [[0, 0], [1, 1], [0, 1]]
    colors = face_colors(mesh)
    np.testing.assert_allclose(colors[2], second[1, 0], atol=1e-6)
    assert colors[3].tolist() == [1, 1, 1]
    np.testing.assert_allclose(mesh.texture.image[:2, :2], first, atol=1e-6)
    (tmp_path / "c.png").unlink()
    assert "texture file c.png is missing; its faces have no picture" in load(path)[1]


@pytest.mark.parametrize("odd", ["0", "5 9 9 9 9 9", "7 9 9 9 9 9 9 9", "8 9 9 9 9 9 9 9 9"])
def test_coordinates_behind_a_face_that_has_too_many_or_few(tmp_path, odd):
    lines = vertices(3) + faces(3, "property list uchar float texcoord")
    rows = ["3 0 1 2 6 0 0 1 0 0 1", f"3 0 1 2 {odd}", "3 0 1 2 6 .125 .25 .5 .75 1 .375"]
    raw = ply.read_ply(write(tmp_path / "a.ply", text(lines, *TRIANGLE, *rows)))
    assert raw.uv[raw.uv_faces[0]].tolist() == [[0, 0], [1, 0], [0, 1]]
    assert raw.uv_faces[1].tolist() == [-1, -1, -1]
    assert raw.uv[raw.uv_faces[2]].tolist() == [[0.125, 0.25], [0.5, 0.75], [1, 0.375]]
    assert any("1 faces: not two a corner" in note for note in raw.notes) == (odd != "0")


def test_normals_arrive(tmp_path):
    lines = vertices(3, *(f"property float n{axis}" for axis in "xyz")) + faces(1)
    rows = [f"{row} 0 0 1" for row in TRIANGLE]
    raw = ply.read_ply(write(tmp_path / "a.ply", text(lines, *rows, "3 0 1 2")))
    assert raw.normals.tolist() == [[0, 0, 1]] * 3
    assert raw.normal_faces is None


def test_what_is_not_read_is_said(tmp_path):
    lines = [
        *vertices(3),
        *faces(2),
        "element edge 1",
        "property int vertex1",
        "property int vertex2",
    ]
    _, told = load(write(tmp_path / "a.ply", text(lines, *TRIANGLE, "3 0 1 2", "2 0 1", "0 1")))
    assert "ignores edges" in told
    assert "ignores 1 faces of less than three corners" in told


def test_names_that_look_like_colours_are_said(tmp_path):
    header = "ply\nformat ascii 1.0\nelement vertex 3\n"
    names = ["float x", "float y", "float z", "uchar cr", "uchar cg", "uchar cb", "float quality"]
    header += "".join(f"property {name}\n" for name in names)
    header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    rows = "0 0 0 1 2 3 4\n1 0 0 1 2 3 4\n0 1 0 1 2 3 4\n3 0 1 2\n"
    mesh, said = load(write(tmp_path / "a.ply", header + rows))
    assert mesh.texture is None
    assert "ignores cr, cg, cb of vertices" in said


def test_coordinates_that_are_not_finite(tmp_path):
    """Blender writes what its memory held for objects without: no matter, if nothing reads them."""
    lines = [*vertices(3, "property float s", "property float t"), *faces(1)]
    rows = [*(f"{row} nan 0" for row in TRIANGLE), "3 0 1 2"]
    mesh, said = load(write(tmp_path / "a.ply", text(lines, *rows)))
    assert mesh.texture is None
    assert "ignores texture coordinates: texture coordinate 0 is not finite" in said
    path = write(tmp_path / "a.ply", text(["comment TextureFile a.png", *lines], *rows))
    with pytest.raises(ValueError, match="texture coordinate 0 is not finite"):
        io.load_mesh(path)
