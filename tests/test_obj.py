"""OBJ and MTL: what files hold arrives whole, what is dropped is said, and errors name lines."""

from __future__ import annotations

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from mesh_files import areas, face_colors, fragments_of, load, page, write, write_png

import jaxrender as jr
from jaxrender import io, shapes
from jaxrender._color import encode, recode
from jaxrender._formats import obj
from jaxrender._textures import FaceTexels, UVTexture

pytest.importorskip("imageio")

RNG = np.random.default_rng(7)
SQUARE = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\n"
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
UV = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


NASTY = """# comment
mtllib my materials.mtl
o thing
v 0 0 0
v 1 0 0 # a comment
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vn 0 0 1
usemtl red paint
f 1/1/1 2/2/1 3/3/1 4/4/1
usemtl image
f -4/-4 -3/-3 -2/-2
v 2 0 0
v 3 0 1
v 3 1 1
f 5//1 6//1 7//1
usemtl other image
s off
f 1/4 2/3 \\
3/2
usemtl red paint
f 1 2 3 4 5
"""


@pytest.fixture
def nasty(tmp_path):
    """An OBJ file with all that is allowed and awkward, and its pictures."""
    (tmp_path / "tex").mkdir()
    first = write_png(tmp_path / "tex" / "a picture.png", RNG.random((3, 2, 3)))
    second = write_png(tmp_path / "b.png", RNG.random((2, 4)))
    write(
        tmp_path / "my materials.mtl",
        "newmtl red paint\nKd 0.75 0 0.25\nNs 3\nnewmtl image\nKd 0 1 0\n"
        "map_Kd -bm 0.5 -texres 2 tex\\a picture.png\nnewmtl other image\nmap_Kd b.png\n",
    )
    return write(tmp_path / "nasty.obj", NASTY), first, second


def test_obj_with_everything(nasty):
    path, first, second = nasty
    with pytest.warns(UserWarning, match="'image' have no texture coordinates"):
        mesh = io.load_mesh(path)
    assert mesh.vertices.shape == (7, 3)
    fan = [[0, 1, 2], [0, 2, 3], [0, 1, 2], [4, 5, 6], [0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert mesh.faces.tolist() == fan
    assert mesh.texture.uv.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert mesh.texture.faces[:3].tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert mesh.texture.faces[4].tolist() == [3, 2, 1]
    red, green = encode(np.array([[[0.75, 0.0, 0.25]]])), [[[0.0, 1.0, 0.0]]]
    for face, expected in [(0, red), (1, red), (2, first), (3, green), (7, red)]:
        assert np.allclose(page(mesh.texture, face), expected, atol=1e-6)
    assert np.allclose(page(mesh.texture, 4), np.repeat(second[..., None], 3, axis=-1), atol=1e-6)


def test_obj_without_its_pictures(nasty):
    path, _, _ = nasty
    (path.parent / "b.png").unlink()
    (path.parent / "tex" / "a picture.png").write_bytes(b"not a picture")
    with pytest.warns(UserWarning, match="serves instead") as caught:
        mesh = io.load_mesh(path, colors="linear")
    messages = " ".join(str(warning.message) for warning in caught)
    assert "b.png" in messages
    assert "'other image' is missing" in messages
    assert "cannot read the picture" in messages
    assert mesh.texture.texels.shape == (8, 1, 1, 3)
    red, green, white = [0.75, 0.0, 0.25], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]
    colors = [red, red, green, green, white, red, red, red]
    assert mesh.texture.texels[:, 0, 0].tolist() == colors


def test_obj_without_its_library(nasty):
    path, _, _ = nasty
    (path.parent / "my materials.mtl").unlink()
    with pytest.warns(UserWarning, match="in its library; its faces are white") as caught:
        mesh = io.load_mesh(path)
    assert len(caught) == 3
    assert mesh.texture is None
    assert io.load_mesh(path, texture="none").texture is None  # and no warning


@pytest.mark.thorough
def test_obj_texture_kinds(nasty):
    path, _, _ = nasty
    path.write_text(NASTY.replace("f 5//1 6//1 7//1\n", ""))
    assert isinstance(io.load_mesh(path, texture="uv").texture, UVTexture)
    texels = io.load_mesh(path, texture="texels", texture_size=3).texture
    assert isinstance(texels, FaceTexels)
    assert texels.texels.shape == (7, 3, 3, 3)
    with pytest.raises(ValueError, match="`texture` must be one of"):
        io.load_mesh(path, texture="cube")
    plain = write(path.parent / "plain.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match="has no colours of faces"):
        io.load_mesh(plain, texture="uv")


def test_plain_colours_can_be_a_uv_texture(tmp_path):
    write(tmp_path / "m.mtl", "newmtl a\nKd 0.5 0.25 0\n")
    text = "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl a\nf 1 2 3\n"
    mesh = io.load_mesh(write(tmp_path / "m.obj", text), texture="uv", colors="linear")
    assert mesh.texture.image.tolist() == [[[0.5, 0.25, 0.0]]]
    mesh = io.load_mesh(tmp_path / "m.obj", texture="uv")
    assert np.allclose(mesh.texture.image, encode(np.array([[[0.5, 0.25, 0.0]]])), atol=1e-7)


def test_one_picture_for_all_faces_needs_no_pages(tmp_path):
    write_png(tmp_path / "p.png", RNG.random((3, 5, 4)))
    write(tmp_path / "m.mtl", "newmtl a\nmap_Kd -clamp on p.png\n")
    text = "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.5\nusemtl a\nf 1/1 2/1 3/1\n"
    path = write(tmp_path / "m.obj", text)
    with pytest.warns(UserWarning, match=r"m\.obj: ignores alpha of the picture p\.png"):
        mesh = io.load_mesh(path)
    assert mesh.texture.pages is None
    assert mesh.texture.image.shape == (3, 5, 3)  # alpha is dropped
    assert mesh.texture.wrap == "clamp"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no faces"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no faces \\(3 vertices\\)"),
        ("v 0 0 0\nf 1 2 3\n", "names vertex 2, of 1"),
        ("v 0 0 0\nf 1 1 -2\n", "line 2: index -2"),
        ("v 0 0 0\nf 0 1 1\n", "line 2: index 0"),
        ("v 0 0 0\nf 1 1\n", "line 2: a face needs three corners"),
        ("v 0 0\n", "line 1: a vertex needs three numbers"),
        ("v 0 0 x\n", "line 1: could not convert"),
        ("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "vertex 0 is not finite"),
    ],
)
def test_bad_obj(tmp_path, text, message):
    path = write(tmp_path / "bad.obj", text)
    with pytest.raises(ValueError, match=f"bad.obj.*{message}"):
        io.load_mesh(path)


def test_obj_round_trip_is_exact_in_float64(tmp_path, x64):
    mesh = shapes.icosphere(1)
    io.save_mesh(tmp_path / "a.obj", mesh)
    again = io.load_mesh(tmp_path / "a.obj")
    assert again.vertices.dtype == jnp.float64
    assert np.array_equal(again.vertices, mesh.vertices)
    assert np.array_equal(again.faces, mesh.faces)


def write_obj(tmp_path, text, mtl=None):
    """Writes an OBJ file and its library, m.mtl."""
    if mtl is not None:
        write(tmp_path / "m.mtl", mtl)
    return write(tmp_path / "a.obj", text)


def colors_by(tmp_path, text, mtl, **options):
    """The linear colours of faces, and the warnings."""
    mesh, told = load(write_obj(tmp_path, text, mtl), colors="linear", **options)
    return face_colors(mesh), told


# --- files of real programs -----------------------------------------------------------------------


@pytest.mark.slow
def test_cases(cases):
    mesh = io.load_mesh(cases.path("concave.obj"))
    assert areas(mesh).sum() == pytest.approx(0.51)
    assert (areas(mesh) > 0).all()
    cases.path("pml_fc.obj.mtl")
    mesh = io.load_mesh(cases.path("pml_fc.obj"), colors="linear")
    expected = [[1, 0.501961, 0], [0, 0.501961, 1]]
    np.testing.assert_allclose(face_colors(mesh), expected, atol=1e-6)
    mesh = io.load_mesh(cases.path("some_colours.obj"))
    assert mesh.texture.colors.tolist() == [[1, 0, 0]] * 3 + [[1, 1, 1]] * 3


def test_an_unwrapped_mesh_without_a_picture_gets_a_blank_one(cases, tmp_path):
    path = cases.path("xatlas.obj")
    assert io.load_mesh(path).texture is None
    mesh = io.load_mesh(path, texture="uv", image_size=(8, 16))
    assert isinstance(mesh.texture, UVTexture)
    assert mesh.texture.image.tolist() == np.ones((8, 16, 3)).tolist()
    assert mesh.texture.uv.shape == (24, 2)
    np.testing.assert_array_equal(mesh.texture.faces, mesh.faces)
    assert io.load_mesh(path, texture="uv").texture.image.shape == (256, 256, 3)

    # One material gives its colour, several give none.
    text = path.read_text().replace("f 1/1", "mtllib m.mtl\nusemtl a\nf 1/1")
    library = "newmtl a\nKd .5 .25 0\nnewmtl b\nKd 1 0 0\n"
    one = write_obj(tmp_path, text, library)
    options = {"texture": "uv", "image_size": (2, 3), "colors": "linear"}
    assert io.load_mesh(one, **options).texture.image[0, 0].tolist() == [0.5, 0.25, 0]
    assert io.load_mesh(one, texture="uv").texture.image.shape == (1, 1, 3)
    mesh, told = load(write_obj(tmp_path, text + "usemtl b\nf 1/1 2/2 3\n", library), **options)
    assert mesh.texture.image.min() == 1
    assert "white in place of the colours of faces" in told
    assert "1 faces have no texture coordinates" in told
    with pytest.raises(ValueError, match="`image_size` is for texture='uv', got texture='auto'"):
        io.load_mesh(path, image_size=(8, 8))
    with pytest.raises(ValueError, match="`image_size` must be at least"):
        io.load_mesh(path, texture="uv", image_size=(0, 8))


# What these files do not say: alpha of pictures by coverage, clamping, a second unwrapping, and a
# colour times a picture.
BLENDER = {
    "alpha_clip": False, "armature_posed": True, "emission": True, "ext_extend": False,
    "factor_image": False, "hole_bool": True, "image16": True, "instances": True, "mapping": True,
    "mirrored": True, "ngon2": True, "parented": True, "planar_quad": True, "second_uv": False,
    "shapekey": True, "text": True, "two_materials": True, "uvimage": True, "vcol_byte_point": True,
    "vcol_float_corner": True, "vcol_one_of_two": True, "vcol_unused": True,
}  # fmt: skip


@pytest.mark.cases(7)
@pytest.mark.slow
@pytest.mark.parametrize("name", BLENDER)
def test_blender_scenes_against_cycles(cases, name):
    """As for glTF: each in the encoding in which our interpolation is that of Cycles."""
    path, camera = cases.path(f"blender/{name}.obj"), cases.path(f"blender/{name}_camera.json")
    encoding = "linear" if name.startswith("vcol") else "display"
    mesh, told = load(path, colors=encoding)
    expected = {
        "alpha_clip": "ignores alpha of the picture",
        "vcol_unused": "ignores colours of vertices where a material has a hue",
    }
    assert expected.get(name, "") in told
    assert bool(told) == (name in expected)
    upright = np.asarray(mesh.vertices)[:, [0, 2, 1]] * [1, -1, 1]
    seen = fragments_of(upright, mesh.faces, json.loads(camera.read_text()))
    want = cases(f"blender/{name}_cycles.npz")["rgba_linear"].astype(float)
    inside = np.asarray(seen.face) >= 0
    if name == "alpha_clip":
        inside &= want[..., 3] > 0.5
    np.testing.assert_array_equal(inside, want[..., 3] > 0.5)
    if BLENDER[name]:
        rgb = jr.sample_texture(mesh.texture, mesh.faces, seen.face, seen.barycentrics)
        rgb = recode(np.asarray(rgb, float), encoding, "display")
        whole = inside & (want[..., 3] > 0.999)
        error = np.abs(rgb - encode(want[..., :3]))[whole].max(-1) * 255
        assert np.quantile(error, 0.99) < 1


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("# c\n\nv 0 0 0\nv 0 0\n", 4, "a vertex needs three numbers, got 2"),
        ("v 0 0 0\r\nv 0 0 x\r\n", 2, "could not convert 'x'"),
        ("v 0 0 0\rv 0 0 1_0\r", 2, "could not convert '1_0'"),
        ("# C:\\\nv 0 0 \\\n0 \\\n\nv 0 q 0\n", 5, "could not convert 'q'"),
        ("v 0 0 0\nv nan 0 0\n" + "v 0 0 0\nf 1 2 3\n", 2, "vertex 1 is not finite"),
        (TRIANGLE + "f 1 2\n", 4, "a face needs three corners, got 2"),
        (TRIANGLE + "f\n", 4, "a face needs three corners, got 0"),
        (TRIANGLE + "f 1 2 3\nf 1 2 4\n", 5, "a face names vertex 4, of 3"),
        (TRIANGLE + f"f 1 2 {2 + 2**32}\n", 4, "a face names vertex 4294967298, of 3"),
        (TRIANGLE + f"f 1 2 {2 + 2**64}\n", 4, "a face names vertex|a corner is v"),
        (TRIANGLE + "f 0 1 2\n", 4, "index 0 with 3 lines of v to count"),
        (TRIANGLE + "f -1 -2 -4\n", 4, "index -4 with 3 lines of v"),
        (TRIANGLE + "f 1 2 1.5\n", 4, "a corner is v, v/vt, v//vn or v/vt/vn, got 1.5"),
        (TRIANGLE + "f 2/1/1/3 1 1\n", 4, "got 2/1/1/3"),
        (TRIANGLE + "f 1 2 a\n", 4, "got a"),
        (TRIANGLE + "f 1 2 3\nf 1-2 3 x\n", 5, "got 1-2"),
        (TRIANGLE + "vt 0 0\nvt 1 0\nvt 1 1\nf 1/2 2/4 3/1\n", 7,
         "a face names texture coordinate 4, of 3"),
        (TRIANGLE + "vt 0 0\nvt nan nan\nf 1/1 2/2 3/1\n", 5, "texture coordinate is not finite"),
        (TRIANGLE + "vt 0 0\nvt\nf 1/1 2/2 3/1\n", 5, "a texture coordinate needs a number"),
    ],
)  # fmt: skip
def test_errors_name_file_and_line(tmp_path, text, line, message):
    with pytest.raises(ValueError, match=rf"a\.obj, line {line}: .*(?:{message})"):
        io.load_mesh(write_obj(tmp_path, text))


@pytest.mark.slow
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"utf-16"])
def test_byte_order_marks(tmp_path, mark):
    def marked(text):
        return text.encode("utf-16") if mark == b"utf-16" else mark + text.encode()

    write(tmp_path / "m.mtl", marked("newmtl a\nKd 1 0 0\n"))
    path = write(tmp_path / "a.obj", marked(TRIANGLE + "mtllib m.mtl\nusemtl a\nf 1 2 3\n"))
    mesh = io.load_mesh(path)
    assert mesh.faces.tolist() == [[0, 1, 2]]
    assert face_colors(mesh).tolist() == [[1, 0, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["latin-1", "gbk"])
def test_names_that_are_not_utf8(tmp_path, codec):
    first, second = ("Tür", "Tör") if codec == "latin-1" else ("门", "窗")
    text = f"{SQUARE}{UV}mtllib m.mtl\nusemtl {first}\nf 1/1 2/2 3/3\nusemtl {second}\nf 1 3 4\n"
    mtl = f"newmtl {first}\nmap_Kd {first}.png\nnewmtl {second}\nKd 0 1 0\n"
    write(tmp_path / "m.mtl", mtl.encode(codec))
    write_png(tmp_path / f"{first}.png", np.broadcast_to([1.0, 0, 0], (2, 2, 3)))  # in UTF-8
    mesh = io.load_mesh(write(tmp_path / "a.obj", text.encode(codec)))
    np.testing.assert_allclose(face_colors(mesh), [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    write(tmp_path / "m.mtl", b"")
    _, told = load(tmp_path / "a.obj")
    assert told.count("no material") == 2
    told.encode()


@pytest.mark.slow
def test_case_and_comments(tmp_path):
    """Keywords are read in any case; names that differ in case alone match, and it is said."""
    write_png(tmp_path / "tex.png", np.broadcast_to([1.0, 0, 0], (2, 2, 3)))
    body = f"{SQUARE.replace('v', 'V')}{UV.replace('vt', 'VT')}MTLLIB m.mtl # a library\n"
    faces = "f 1/1 2/2 3/3\n"
    text = f"{body}UseMtl M # paint\nF 1/1 2/2 3/3\n"
    colors, told = colors_by(tmp_path, text, "NEWMTL M\nMap_KD tex.png # red\n")
    assert (colors.tolist(), told) == ([[1, 0, 0]], "")
    colors, told = colors_by(tmp_path, body + "usemtl m\n" + faces, "newmtl M\nkd 0 1 0\n")
    assert colors.tolist() == [[0, 1, 0]]
    assert "takes the material 'M' for 'm'" in told
    colors, told = colors_by(tmp_path, body + "usemtl M\n" + faces, "newmtl M\nmap_Kd TEX.PNG\n")
    assert colors.tolist() == [[1, 0, 0]]
    assert "takes the file tex.png for TEX.PNG" in told
    shutil.move(tmp_path / "m.mtl", tmp_path / "M.MTL")
    _, told = load(tmp_path / "a.obj")
    assert "takes the file M.MTL for m.mtl" in told
    mtl = "newmtl a #1\nKd 1 0 0\nnewmtl a #2\nKd 0 1 0\n"
    two = f"mtllib m.mtl\n{SQUARE}usemtl a #2\nf 1 2 3\nusemtl a #1\nf 1 3 4\n"
    (tmp_path / "M.MTL").unlink()
    assert colors_by(tmp_path, two, mtl)[0].tolist() == [[0, 1, 0], [1, 0, 0]]


def test_what_is_no_face_is_said(tmp_path):
    text = TRIANGLE + "l 1 2\np 1\ncurv 0 1 1 2\nend\nbogus 1\ng a b\ns 1\no x\nf 1 2 3\n"
    _, told = load(write_obj(tmp_path, text))
    assert "ignores lines (l)" in told
    assert "ignores points (p)" in told
    assert told.count("ignores curves and surfaces") == 1
    assert "ignores lines of 'bogus'" in told
    assert told.count("a.obj") == told.count("\n") + 1 == 4


def test_corners_of_all_forms_in_one_file(tmp_path):
    """Lines of one form are read at once, others word by word, all with the same result."""
    corners = ["1/1/1", "2/2", "3//2", "4", "-1/-1/-1", "-4//-2", "1/4/2"]
    chosen = RNG.integers(0, len(corners), (40, 3))
    same = [" ".join([corners[row[0]]] * 2 + [corners[row[0]].replace("1", "3")]) for row in chosen]
    mixed = [" ".join(corners[i] for i in row) for row in chosen]
    lines = [line for pair in zip(same, mixed, strict=True) for line in pair]
    text = f"{SQUARE}{UV}vn 0 0 1\nvn 0 0 -1\nvn 1 0 0\n" + "".join(f"f {line}\n" for line in lines)
    raw = obj.read_obj(write_obj(tmp_path, text), None)
    uv_faces, normal_faces = raw.uv_faces, raw.normal_faces
    counts = 4, 4, 3
    for face, line in enumerate(lines):
        expected = np.full((3, 3), -1)
        for corner, word in enumerate(line.split()):
            for kind, part in enumerate(word.split("/")):
                if part:
                    expected[kind, corner] = (
                        int(part) - 1 if int(part) > 0 else counts[kind] + int(part)
                    )
        expected[expected.min(axis=1) < 0] = -1
        np.testing.assert_array_equal(raw.faces[face], expected[0])
        np.testing.assert_array_equal(uv_faces[face], expected[1])
        np.testing.assert_array_equal(normal_faces[face], expected[2])
    assert raw.normals.tolist() == [[0, 0, 1], [0, 0, -1], [1, 0, 0]]
    assert any(
        "texture coordinates of faces that have them at some corners" in n for n in raw.notes
    )


def test_normals_that_lead_nowhere_are_dropped(tmp_path):
    path = write_obj(tmp_path, TRIANGLE + "vn 0 0 1\nf 1//1 2//1 3//2\n")
    raw = obj.read_obj(path, None)
    assert raw.normals is None
    assert raw.notes == [f"{path}: ignores the normals: a face names normal 2, of 1 (line 5)"]


# --- colours of vertices --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected", "said"),
    [
        (["128 0 0", "0 255 0", "0 0 0"], [[128 / 255, 0, 0], [0, 1, 0], [0, 0, 0]], "0 to 255"),
        (["127.5 0 0", "0 9 0", "0 0 0"], [[0.5, 0, 0], [0, 9 / 255, 0], [0, 0, 0]], "0 to 255"),
        (["1.5 0 0", "0 1 0", "0 0 0"], [[1.5, 0, 0], [0, 1, 0], [0, 0, 0]], ""),  # more than white
        (["-1 0 0", "0 1 0", "0 0 0"], [[0, 0, 0], [0, 1, 0], [0, 0, 0]], "below 0 for 0"),
        (["nan 0 0", "0 1 0", "0 0 0"], [[1, 1, 1], [0, 1, 0], [0, 0, 0]], "become white"),
        (["1 .5 0 0"] * 3, [[0.5, 0, 0]] * 3, ""),  # the fourth is w
        (["1 .5 0 .5", ".5 0 0 1", "0 0 0 1"], [[1, 0.5, 0], [0.5, 0, 0], [0, 0, 0]], "alpha"),
        ([".5 0 0", "", "0 0 0"], [[0.5, 0, 0], [1, 1, 1], [0, 0, 0]], ""),
        ([".5 0 0 1 7", "0 0 0", "0 0 0"], [[0.5, 0, 0], [0, 0, 0], [0, 0, 0]], "ignores numbers"),
    ],
)
def test_colours_of_vertices(tmp_path, rows, expected, said):
    places = TRIANGLE.splitlines()
    text = "".join(f"{place} {row}\n" for place, row in zip(places, rows, strict=True))
    mesh, told = load(write_obj(tmp_path, text + "f 1 2 3\n"))
    np.testing.assert_allclose(mesh.texture.colors, expected, atol=1e-6)
    assert said in told
    assert bool(said) == bool(told)


def test_w_without_a_colour_is_dropped(tmp_path):
    text = "v 0 0 0 1\nv 1 0 0 1\nv 0 1 0 {}\nf 1 2 3\n"
    mesh, told = load(write_obj(tmp_path, text.format(1)))
    assert (mesh.texture, told) == (None, "")
    assert "ignores w of vertices" in load(write_obj(tmp_path, text.format(2)))[1]


@pytest.mark.slow
def test_which_colours_win(tmp_path):
    """Pictures, then colours of vertices that are not all white, then those of materials."""

    def text(color, materials=("m", "n")):
        places = "".join(f"{place} {color}\n" for place in SQUARE.splitlines())
        faces = zip(materials, ("1/1 2/2 3/3", "1/1 3/3 4/4"), strict=True)
        parts = "".join(f"usemtl {name}\nf {face}\n" for name, face in faces)
        return f"mtllib m.mtl\n{places}{UV}{parts}"

    white, red = "1 1 1", "1 0 0"
    grey = "newmtl m\nKd .8 .8 .8\nnewmtl n\nKd .8 .8 .8\n"
    hues = "newmtl m\nKd .5 .25 0\nnewmtl n\nKd 0 .25 .5\n"
    assert colors_by(tmp_path, text(white), hues)[0].tolist() == [[0.5, 0.25, 0], [0, 0.25, 0.5]]
    colors, told = colors_by(tmp_path, text(red), grey)
    assert (colors.tolist(), told) == ([[1, 0, 0]] * 2, "")
    colors, told = colors_by(tmp_path, text(red), hues)
    assert colors.tolist() == [[0.5, 0.25, 0], [0, 0.25, 0.5]]
    assert "ignores colours of vertices where a material has a hue" in told

    # Beside a picture, faces without one keep the colours of their vertices.
    write_png(tmp_path / "blue.png", np.broadcast_to([0.0, 0, 1], (2, 2, 3)))
    pictured = "newmtl m\nmap_Kd blue.png\nnewmtl n\nKd .8 .8 .8\n"
    colors, told = colors_by(tmp_path, text(red), pictured)
    np.testing.assert_allclose(colors, [[0, 0, 1], [1, 0, 0]], atol=1e-6)
    assert "ignores colours of vertices where there is a picture" in told
    colors, told = colors_by(tmp_path, text(white), pictured)
    np.testing.assert_allclose(colors, [[0, 0, 1], [0.8, 0.8, 0.8]], atol=1e-6)
    assert told == ""


@pytest.mark.slow
def test_vertices_without_a_colour_have_that_of_their_material(tmp_path):
    text = "mtllib m.mtl\nv 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\nv 0 0 1\nv 1 0 1\nv 0 1 1\n"
    text += "usemtl g\nf 1 2 3\nusemtl h\nf 4 5 6\n"
    mtl = "newmtl g\nKd .8 .8 .8\nnewmtl h\nKd 0 .5 .25\n"
    colors, told = colors_by(tmp_path, text, mtl)
    np.testing.assert_allclose(colors, [[1, 0, 0], [0, 0.5, 0.25]], atol=1e-6)
    assert told == ""
    _, told = colors_by(tmp_path, text + "usemtl g\nf 4 5 6\n", mtl)
    assert "colours of faces at vertices that faces of several share" in told


# --- materials ------------------------------------------------------------------------------------

USED = f"mtllib m.mtl\n{SQUARE}{UV}usemtl a\nf 1/1 2/2 3/3 4/4\n"


@pytest.mark.parametrize(
    ("lines", "color", "said"),
    [
        ("Ka 0 .5 0", [0, 0.5, 0], "takes Ka for the colour"),
        ("Ka 0 .5 0\nKd .5 0 0", [0.5, 0, 0], ""),
        ("map_Ka red.png", [1, 0, 0], "takes map_Ka for the picture of material 'a'"),
        ("map_Ka red.png\nKd 0 1 0", [1, 0, 0], "takes map_Ka for the picture"),
        ("map_Ka no.png\nmap_Kd red.png", [1, 0, 0], ""),
        ("Kd 0 .5 0\nd .5", [0, 0.5, 0], "ignores alpha (d, Tr)"),
        ("Kd 0 .5 0\nd -halo .5", [0, 0.5, 0], "ignores alpha (d, Tr)"),
        ("Kd 0 .5 0\nTr .5", [0, 0.5, 0], "ignores alpha (d, Tr)"),
        ("Kd 0 .5 0\nTr 1\nd 1", [0, 0.5, 0], ""),
        ("Kd 0 .5 0\nTr 0\nKs 1 1 1\nNs 10\nillum 2\nNi 1.5\nKe 0 0 0", [0, 0.5, 0], ""),
        ("Kd 0 .5 0\nmap_d red.png", [0, 0.5, 0], "ignores a map of alpha"),
        ("Kd 0 .5 0\nmap_Bump -bm 2 red.png", [0, 0.5, 0], "ignores a bump map"),
        ("Kd 0 .5 0\nKe 1 1 1", [0, 0.5, 0], ""),
        ("Kd 0 .5 0\nPm 1", [0, 0.5, 0], "ignores metallic surfaces (Pm)"),
        ("Kd .5", [0.5, 0.5, 0.5], ""),
        ("Kd nan inf 1", [1, 1, 1], "cannot read the colour `Kd nan inf 1`"),
        ("Kd spectral a.rfl", [1, 1, 1], "cannot read the colour"),
        ("Kd 255 0 51", [1, 0, 0.2], "takes `Kd 255 0 51` for numbers from 0 to 255"),
        ("Kd -1 .5 0", [0, 0.5, 0], "takes `Kd -1 .5 0` below 0 for 0"),
        ("Kd 0 .5 0\nNs -5", [0, 0.5, 0], "takes `ns -5` for 0"),
        ("Kd 0 .5 0\nd 1.5", [0, 0.5, 0], "takes `d 1.5` for 1"),
        ("map_Kd -mm .5 2 red.png", [1, 0, 0], "ignores `-mm` of a texture map"),
        ("map_Kd -mm 0 1 -t 0 0 0 red.png", [1, 0, 0], ""),
    ],
)  # fmt: skip
def test_lines_of_materials(tmp_path, lines, color, said):
    write_png(tmp_path / "red.png", np.broadcast_to([1.0, 0, 0], (2, 2, 3)))
    colors, told = colors_by(tmp_path, USED, f"newmtl a\n{lines}\n")
    np.testing.assert_allclose(colors[0], color, atol=1e-6)
    assert said in told
    assert bool(said) == bool(told)


def test_what_is_kept_of_materials(tmp_path):
    mtl = "newmtl a\nKd .5 .25 0\nd .5\nKs 1 0 0\nNs 10\nKe 0 1 0\nPr .5\nillum 0\nmap_d x.png\n"
    raw = obj.read_obj(write_obj(tmp_path, USED, mtl), io.load_image)
    (material,) = raw.materials
    assert raw.face_material.tolist() == [0, 0]
    assert (material.color, material.alpha, material.unlit) == ((0.5, 0.25, 0), 0.5, True)
    assert (material.specular, material.shininess) == ((1, 0, 0), 10)
    assert (material.emissive, material.roughness) == ((0, 1, 0), 0.5)
    assert material.maps == {"map_d": "x.png"}


def test_a_library_without_usemtl(tmp_path):
    text = USED.replace("usemtl a\n", "")
    colors, told = colors_by(tmp_path, text, "newmtl only\nKd .5 0 0\n")
    assert (colors.tolist(), told) == ([[0.5, 0, 0]] * 2, "")
    mesh, told = load(write_obj(tmp_path, text, "newmtl a\nKd 1 0 0\nnewmtl b\nKd 0 1 0\n"))
    assert mesh.texture is None
    assert "faces are white, without a material: no face names one" in told
    (tmp_path / "m.mtl").unlink()
    assert "the library 'm.mtl' is missing" in load(tmp_path / "a.obj")[1]


def test_scale_offset_and_clamp_of_maps(tmp_path):
    """Each material moves its own coordinates; where they clamp differently, each face says how."""
    write_png(tmp_path / "p.png", RNG.random((4, 4, 3)))
    text = f"mtllib m.mtl\n{SQUARE}{UV}usemtl a\nf 1/1 2/2 3/3\nusemtl b\nf 1/1 3/3 4/4\n"
    mtl = "newmtl a\nmap_Kd -o .25 .5 0 -s 2 3 1 p.png\nnewmtl b\nmap_Kd -clamp on -s 4 p.png\n"
    mesh, told = load(write_obj(tmp_path, text, mtl))
    assert told == ""
    corners = np.asarray(mesh.texture.uv)[np.asarray(mesh.texture.faces)]
    plain = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]])
    np.testing.assert_allclose(corners[0], plain[0] * [2, 3] + [0.25, 0.5])
    np.testing.assert_allclose(corners[1], plain[1] * [4, 1])
    assert mesh.texture.samplers.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert mesh.texture.pages is None


# --- far from the origin --------------------------------------------------------------------------


def test_far_from_the_origin(tmp_path):
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(2), indexing="ij"), -1).reshape(-1, 2)
    places = grid * 0.1 + [500000, 4200000]
    text = "".join(f"v {x:.2f} {y:.2f} 7\n" for x, y in places)
    text += "".join(f"f {2 * i + 1} {2 * i + 3} {2 * i + 4} {2 * i + 2}\n" for i in range(39))
    path = write_obj(tmp_path, text)
    mesh, told = load(path)
    assert "float32 rounds its vertices by up to 0.25, where edges are 0.1 long" in told
    assert "Pass centre=True" in told
    middle = np.append((places.min(0) + places.max(0)) / 2, 7)
    centred = io.load_mesh(path, centre=True)
    moved = np.concatenate([places, np.full((80, 1), 7)], axis=1) - middle
    np.testing.assert_allclose(centred.vertices, moved, atol=1e-6)
    mesh = io.load_mesh(path, origin=(500000, 4200000, 0))
    np.testing.assert_allclose(mesh.vertices[:, :2], grid * 0.1, atol=1e-6)
    assert mesh.vertices[0, 2] == 7
    for options, message in [
        ({"origin": (1, 2)}, "`origin` must"),
        ({"origin": (1, 2, np.nan)}, "`origin` must"),
        ({"centre": "yes"}, "`centre` must be True or False, got 'yes'"),
        ({"centre": True, "origin": (0, 0, 0)}, "in place of `centre`, got both"),
    ]:
        with pytest.raises(ValueError, match=message):
            io.load_mesh(path, **options)


def test_beyond_float32(tmp_path):
    path = write_obj(tmp_path, "v 1e39 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match=r"a\.obj: vertex 0 at .*1e\+39.* is beyond float32"):
        io.load_mesh(path)


def test_far_is_fine_in_float64(tmp_path, x64):
    path = write_obj(tmp_path, "v 1e39 0 0\nv 4200000.1 0 0\nv 4200000 .1 0\nf 1 2 3\n")
    assert io.load_mesh(path).vertices[0, 0] == 1e39
