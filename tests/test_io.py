"""Meshes and pictures survive a round trip, and what is wrong with a file is said."""

from __future__ import annotations

import builtins
import dataclasses
import itertools
import json
import struct
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxrender import io, shapes
from jaxrender._color import encode
from jaxrender._textures import FaceCubes, FaceTexels, UVTexture, VertexColors
from jaxrender._types import Mesh

pytest.importorskip("trimesh")
pytest.importorskip("imageio")

RNG = np.random.default_rng(7)

# Compiled as a whole: one operation after the other takes ten times as long to compile.
bake_cubes = jax.jit(io.bake_cubes, static_argnums=1, static_argnames=("wrap", "bilinear"))
bake_texels = jax.jit(io.bake_texels, static_argnums=1)


def write(path, text):
    path.write_text(text)
    return path


def write_png(path, pixels):
    io.save_image(path, np.asarray(pixels, np.float32))
    return np.rint(np.asarray(pixels) * 255) / 255


def textured_cube(*, pages=True, wrap="repeat"):
    """A cube with seams: 14 texture coordinates, two pictures and a plain colour."""
    mesh = shapes.cube()
    small, large = RNG.random((2, 3, 3)), RNG.random((4, 5, 3))
    plain = np.array([[[0.25, 0.5, 0.125]]])
    image = np.concatenate([np.pad(p, ((0, 0), (0, 5 - p.shape[1]), (0, 0))) for p in
                            (small, large, plain)])  # fmt: skip
    which = np.array([0, 0, 1, 1, 2, 2, 1, 1, 0, 0, 1, 0])
    return dataclasses.replace(
        mesh,
        texture=UVTexture(
            image=jnp.asarray(np.rint(image * 255) / 255, jnp.float32),
            uv=jnp.asarray(RNG.random((14, 2)) * 3 - 1, jnp.float32),
            faces=jnp.asarray(RNG.integers(0, 14, (12, 3)), jnp.int32),
            pages=jnp.array([[0, 2, 3], [2, 4, 5], [6, 1, 1]])[which] if pages else None,
            wrap=wrap,
        ),
    )


def same_geometry(a: Mesh, b: Mesh) -> bool:
    return np.array_equal(a.vertices, b.vertices) and np.array_equal(a.faces, b.faces)


def page(texture: UVTexture, face: int) -> np.ndarray:
    first, height, width = np.asarray(texture.pages)[face]
    return np.asarray(texture.image)[first : first + height, :width]


# --- golden data -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tetrahedron", "teapot"])
def test_plain_obj_is_the_golden_one(golden, name):
    expected = golden("nmr/load_obj_plain.npz")
    mesh = io.load_mesh(golden.path(f"meshes/{name}.obj"))
    assert mesh.texture is None
    assert np.array_equal(mesh.vertices, expected[f"{name}_vertices_raw"])
    assert np.array_equal(mesh.faces, expected[f"{name}_faces"])
    normalized = io.normalize(mesh).vertices
    assert np.abs(normalized - expected[f"{name}_vertices_normalized"]).max() < 1e-6


def test_every_golden_mesh_is_read_line_by_line(golden):
    """Vertices and triangles are those of the file's lines, in order."""
    for name in golden.glob("meshes/**/*.obj"):
        path = golden.path(name)
        lines = [line.split() for line in path.read_text().splitlines()]
        vertices = [line[1:4] for line in lines if line[:1] == ["v"]]
        faces = [[word.split("/")[0] for word in line[1:]] for line in lines if line[:1] == ["f"]]
        triangles = [[face[0], *pair] for face in faces for pair in itertools.pairwise(face[1:])]
        mesh = io.load_mesh(path, texture="none")
        assert np.array_equal(mesh.vertices, np.array(vertices, np.float32))
        assert np.array_equal(mesh.faces, np.array(triangles, int) - 1)


def test_every_golden_picture_is_read_as_it_is(golden):
    from imageio.v3 import imread

    for name in golden.glob("**/*.png") + golden.glob("**/*.jpg"):
        pixels = imread(golden.path(name))
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        image = io.load_image(golden.path(name))
        np.testing.assert_allclose(
            image, pixels / np.float32(np.iinfo(pixels.dtype).max), atol=1e-6
        )


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("textures_clamp", {"wrap": "clamp"}),
        ("textures_clamp", {"wrap": "texture"}),
        ("textures_mirror", {"wrap": "mirror"}),
        ("textures_repeat_once", {"wrap": "repeat"}),
        ("textures_clamp_nearest", {"wrap": "clamp", "bilinear": False}),
    ],
)
def test_baked_cubes_are_the_golden_ones(golden, key, options):
    expected = golden("nmr/load_obj_textured.npz")
    path = golden.path(json.loads(str(expected["options"]))["file"])
    mesh = io.load_mesh(path)
    assert np.array_equal(mesh.faces, expected["faces"])
    cubes = np.asarray(bake_cubes(mesh, 4, **options).texture.cubes)
    image_faces = expected["image_faces"]

    # In a few texels the original's float32 `int(v + 1)` reads one row further than it should.
    difference = np.abs(cubes[image_faces] - expected[key]).max(axis=-1)
    assert (difference > 3e-5).sum() <= 7
    assert difference.max() < 9e-3

    # The original takes numbers as they are: display values of images, but linear ones of Kd.
    linear = np.asarray(bake_cubes(io.load_mesh(path, colors="linear"), 4, **options).texture.cubes)
    plain = np.setdiff1d(np.arange(len(cubes)), image_faces)
    color = expected["face_color"][plain][:, None, None, None]
    assert np.abs(linear[plain] - color).max() < 1e-6
    assert np.abs(cubes[plain] - encode(color)).max() < 1e-6


def test_cubes_of_spot_are_the_golden_ones(golden):
    expected = golden("nmr/load_obj_spot_piece.npz")
    path = golden.path("meshes/spot_piece.obj")
    mesh = io.load_mesh(path, texture="cubes", texture_size=4)
    assert isinstance(mesh.texture, FaceCubes)
    assert np.abs(mesh.texture.cubes - expected["textures_repeat"]).max() < 3e-5
    nearest = bake_cubes(io.load_mesh(path), 4, wrap="repeat", bilinear=False)
    assert np.abs(nearest.texture.cubes - expected["textures_nearest"]).max() < 3e-5
    assert np.array_equal(mesh.vertices, expected["vertices_raw"])


@pytest.mark.parametrize("resolution", [1, 3])
def test_texels_of_spot_are_the_golden_ones(golden, resolution):
    expected = golden("softras/load_obj_spot.npz")
    mesh = io.load_mesh(golden.path("meshes/spot_triangulated.obj"))
    texels = np.asarray(bake_texels(mesh, resolution).texture.texels)[expected["faces_checked"]]
    assert np.abs(texels.reshape(732, -1, 3) - expected[f"textures_res{resolution}"]).max() < 3e-5
    assert mesh.vertices.shape == tuple(expected["vertices_shape"])
    assert np.array_equal(mesh.faces[:10], expected["faces_first10"])


def test_a_material_named_none_needs_no_library(golden):
    mesh = io.load_mesh(golden.path("meshes/sphere_642.obj"))
    assert mesh.faces.shape == (1280, 3)


# --- OBJ ---------------------------------------------------------------------------------------

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


# --- other formats -----------------------------------------------------------------------------


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


def test_off_variants(tmp_path):
    body = "# text\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n\n4 0 1 2 3 255 0 51\n3 0 1 2 0 0 0\n"
    for head in ("OFF\n", "OFF "):
        mesh = io.load_mesh(write(tmp_path / "a.off", head + body))
        assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
        assert np.allclose(mesh.texture.texels[:2, 0, 0], [1, 0, 0.2])
    text = "COFF3 1 0\n0 0 0 0.5 0.5 1 1\n1 0 0 0 0 0 1\n0 1 0 1 1 1 1\n3 0 1 2\n"
    mesh = io.load_mesh(write(tmp_path / "b.off", text))
    assert mesh.texture.colors[0].tolist() == [0.5, 0.5, 1.0]


def test_glb_scene_with_pictures_and_plain_parts(tmp_path):
    """Two instances of a textured triangle and a plain one become one mesh."""
    trimesh = pytest.importorskip("trimesh")
    image = pytest.importorskip("PIL.Image")
    pixels = RNG.integers(0, 256, (4, 3, 3)).astype(np.uint8)
    uv = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])

    def part(material):
        visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
        return trimesh.Trimesh(corners, [[0, 1, 2]], visual=visual, process=False)

    scene = trimesh.Scene()
    material = trimesh.visual.material
    textured = part(material.PBRMaterial(baseColorTexture=image.fromarray(pixels)))
    scene.add_geometry(textured, geom_name="t")
    moved = trimesh.transformations.translation_matrix([0, 0, 5])
    scene.add_geometry(part(material.PBRMaterial(baseColorFactor=[255, 0, 0, 255])), "p",
                       transform=moved)  # fmt: skip
    scene.export(tmp_path / "s.glb")

    mesh = io.load_mesh(tmp_path / "s.glb")
    assert mesh.vertices.shape == (6, 3)
    plain = int(np.argmax(np.asarray(mesh.vertices)[np.asarray(mesh.faces)[:, 0], 2]))
    assert np.allclose(page(mesh.texture, plain), [[[1, 0, 0]]])
    assert np.allclose(page(mesh.texture, 1 - plain), pixels / 255, atol=1e-6)
    corners_uv = np.asarray(mesh.texture.uv)[np.asarray(mesh.texture.faces)[1 - plain]]
    assert np.allclose(corners_uv, uv, atol=1e-6)


@pytest.mark.parametrize("extension", [".obj", ".ply", ".off", ".glb"])
def test_round_trip_keeps_geometry(tmp_path, extension):
    mesh = shapes.teapot(3)
    path = tmp_path / f"a mesh{extension}"
    io.save_mesh(path, mesh)
    again = io.load_mesh(path)
    assert same_geometry(again, mesh)
    assert again.texture is None


def test_round_trip_stl_welds_exactly(tmp_path):
    mesh = shapes.teapot(3)
    io.save_mesh(tmp_path / "a.stl", mesh)
    again = io.load_mesh(tmp_path / "a.stl")
    assert again.vertices.shape == mesh.vertices.shape
    assert np.array_equal(again.vertices[again.faces], mesh.vertices[mesh.faces])


@pytest.mark.parametrize("extension", [".obj", ".ply", ".off", ".glb"])
def test_round_trip_vertex_colors(tmp_path, extension):
    mesh = shapes.icosphere(1)
    colors = np.rint(RNG.random((42, 3)) * 255) / 255
    mesh = dataclasses.replace(mesh, texture=VertexColors(jnp.asarray(colors, jnp.float32)))
    io.save_mesh(tmp_path / f"a{extension}", mesh)
    again = io.load_mesh(tmp_path / f"a{extension}")
    assert same_geometry(again, mesh)
    assert np.abs(again.texture.colors - colors).max() < 1e-6


@pytest.mark.parametrize("extension", [".obj", ".ply", ".off"])
def test_round_trip_face_colors(tmp_path, extension):
    mesh = shapes.icosphere(1)
    colors = np.rint(RNG.random((80, 1, 1, 3)) * 255) / 255
    mesh = dataclasses.replace(mesh, texture=FaceTexels(jnp.asarray(colors, jnp.float32)))
    io.save_mesh(tmp_path / f"a{extension}", mesh)
    again = io.load_mesh(tmp_path / f"a{extension}")
    assert same_geometry(again, mesh)
    assert np.abs(again.texture.texels - colors).max() < 1e-6


@pytest.mark.parametrize("pages", [False, True])
@pytest.mark.parametrize("wrap", ["repeat", "clamp"])
def test_round_trip_uv_texture(tmp_path, pages, wrap):
    mesh = textured_cube(pages=pages, wrap=wrap)
    io.save_mesh(tmp_path / "a.obj", mesh)
    again = io.load_mesh(tmp_path / "a.obj")
    assert same_geometry(again, mesh)
    assert np.array_equal(again.texture.uv, mesh.texture.uv)
    assert np.array_equal(again.texture.faces, mesh.texture.faces)
    assert again.texture.wrap == wrap
    if pages:
        for face in range(12):
            assert np.abs(page(again.texture, face) - page(mesh.texture, face)).max() < 1e-6
    else:
        assert again.texture.pages is None
        assert np.abs(again.texture.image - mesh.texture.image).max() < 1e-6


def test_obj_round_trip_is_exact_in_float64(tmp_path, x64):
    mesh = shapes.icosphere(1)
    io.save_mesh(tmp_path / "a.obj", mesh)
    again = io.load_mesh(tmp_path / "a.obj")
    assert again.vertices.dtype == jnp.float64
    assert same_geometry(again, mesh)


def test_what_a_format_cannot_store_is_an_error(tmp_path):
    cube = shapes.cube()
    colors = dataclasses.replace(cube, texture=VertexColors(jnp.ones((8, 3))))
    faces = dataclasses.replace(cube, texture=FaceTexels(jnp.ones((12, 1, 1, 3))))
    fine = dataclasses.replace(cube, texture=FaceTexels(jnp.ones((12, 2, 2, 3))))
    four = dataclasses.replace(cube, texture=VertexColors(jnp.ones((8, 4))))
    for mesh, name, message in [
        (textured_cube(), "a.ply", "cannot store texture images. Write .obj"),
        (textured_cube(), "a.glb", "cannot store texture images"),
        (colors, "a.stl", "cannot store colours of vertices. Write .obj or .ply"),
        (faces, "a.glb", "cannot store colours of faces"),
        (fine, "a.obj", "no mesh file stores FaceTexels of several texels"),
        (bake_cubes(colors, 2), "a.obj", "no mesh file stores FaceCubes"),
        (four, "a.obj", "must be rgb to be saved, got 4 channels"),
        (cube, "a.xyz", "unknown mesh format '.xyz'. Known are .obj"),
        (dataclasses.replace(cube, faces=jnp.zeros((0, 3), int)), "a.obj", "must have faces"),
    ]:
        with pytest.raises(ValueError, match=message):
            io.save_mesh(tmp_path / name, mesh)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extension", [".ply", ".stl", ".off", ".glb"])
def test_unreadable_files(tmp_path, extension):
    for content in (b"", b"\x00\x01 what is this \xff" * 20):
        path = tmp_path / f"bad{extension}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"cannot read the mesh .*bad{extension}"):
            io.load_mesh(path)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no mesh file .*a\.obj"):
        io.load_mesh(tmp_path / "a.obj")
    with pytest.raises(ValueError, match=r"unknown mesh format '\.fbx'"):
        io.load_mesh(tmp_path / "a.fbx")
    with pytest.raises(FileNotFoundError, match="no picture file"):
        io.load_image(tmp_path / "a.png")


def test_missing_packages_say_what_to_install(tmp_path, monkeypatch):
    mesh = shapes.cube()
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] in ("trimesh", "imageio"):
            raise ImportError(f"no {name}")
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.partition(".")[0] in ("trimesh", "imageio")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"needs trimesh: pip install '\.\[io\]' in a checkout"):
        io.save_mesh(tmp_path / "a.stl", mesh)
    with pytest.raises(ImportError, match=r"needs imageio: pip install '\.\[io\]' in a checkout"):
        io.save_image(tmp_path / "a.png", np.zeros((2, 2)))


# --- normalize and bake ------------------------------------------------------------------------


def test_normalize():
    mesh = Mesh(jnp.array([[1.0, 2, 3], [5, 2, 3], [1, 4, 3]]), jnp.array([[0, 1, 2]]))
    expected = np.array([[-1.0, -0.5, 0], [1, -0.5, 0], [-1, 0.5, 0]])
    assert np.allclose(io.normalize(mesh).vertices, expected)
    normalize = jax.jit(io.normalize)
    assert np.allclose(normalize(mesh).vertices, expected)
    batch = dataclasses.replace(mesh, vertices=jnp.stack([mesh.vertices, 2 * mesh.vertices]))
    axes = Mesh(0, None, None)
    result = jax.vmap(io.normalize, in_axes=(axes,), out_axes=axes)(batch).vertices
    assert np.allclose(result, expected)

    # A mesh without extent, and one without vertices, are harmless; so is their gradient.
    point = dataclasses.replace(mesh, vertices=jnp.full((3, 3), 7.0))
    assert np.array_equal(normalize(point).vertices, np.zeros((3, 3)))

    @jax.jit
    def total(vertices):
        return (io.normalize(dataclasses.replace(mesh, vertices=vertices)).vertices ** 2).sum()

    assert np.isfinite(jax.grad(total)(point.vertices)).all()
    assert normalize(Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), int))).vertices.shape == (0, 3)

    broken = dataclasses.replace(mesh, vertices=mesh.vertices.at[1, 0].set(jnp.nan))
    with pytest.raises(ValueError, match="must be finite"):
        io.normalize(broken)
    kept = np.asarray(normalize(broken).vertices)[[0, 2]]
    assert np.allclose(kept, [[0, -1, 0], [0, 1, 0]])


def test_normalize_gradient(x64):
    mesh = shapes.icosphere(0)
    start = mesh.vertices + jnp.asarray(RNG.random((12, 3)))
    weights = jnp.asarray(RNG.random((12, 3)))

    @jax.jit
    def loss(vertices):
        return (io.normalize(dataclasses.replace(mesh, vertices=vertices)).vertices * weights).sum()

    check_grads(loss, (start,), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def sample_slowly(texture, face, barycentrics):
    """One sample by the rule of `bake_cubes`, in plain Python."""
    first, height, width = np.asarray(texture.pages)[face]
    corners = np.asarray(texture.uv, float)[np.asarray(texture.faces)[face]]
    u, v = np.asarray(barycentrics) @ corners
    if not 0 <= u <= 1:
        u = u % 1 if texture.wrap == "repeat" else min(max(u, 0), 1)
    if not 0 <= v <= 1:
        v = v % 1 if texture.wrap == "repeat" else min(max(v, 0), 1)
    x, y = u * (width - 1), v * (height - 1)
    color = 0.0
    for row in (int(y), int(y) + 1):
        for column in (int(x), int(x) + 1):
            weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
            if weight > 0:
                pixel = np.asarray(texture.image)[first + height - 1 - row, column]
                color = color + weight * pixel.astype(float)
    return color


@pytest.mark.parametrize("wrap", ["repeat", "clamp"])
def test_bake_against_a_slow_reference(wrap):
    mesh = textured_cube(wrap=wrap)
    cubes = np.asarray(bake_cubes(mesh, 3).texture.cubes)
    texels = np.asarray(bake_texels(mesh, 2).texture.texels)
    mesh = jax.tree.map(np.asarray, mesh)
    for face in range(12):
        for i0, i1, i2 in np.ndindex(3, 3, 3):
            weights = np.array([i0, i1, i2]) / max(i0 + i1 + i2, 1)
            expected = sample_slowly(mesh.texture, face, weights)
            assert np.abs(cubes[face, i0, i1, i2] - expected).max() < 1e-5
        lower, upper = [1 / 6, 1 / 6, 4 / 6], [2 / 6, 2 / 6, 2 / 6]
        assert np.abs(texels[face, 0, 0] - sample_slowly(mesh.texture, face, lower)).max() < 1e-5
        assert np.abs(texels[face, 1, 1] - sample_slowly(mesh.texture, face, upper)).max() < 1e-5


def test_bake_other_textures():
    cube = shapes.cube()
    assert np.all(np.asarray(bake_cubes(cube, 2).texture.cubes) == 1)
    colors = jnp.asarray(RNG.random((8, 3)), jnp.float32)
    mesh = dataclasses.replace(cube, texture=VertexColors(colors))
    cubes = np.asarray(bake_cubes(mesh, 3).texture.cubes)
    corners = np.asarray(colors)[np.asarray(cube.faces)]
    assert np.allclose(cubes[:, 2, 0, 0], corners[:, 0], atol=1e-6)
    assert np.allclose(cubes[:, 0, 0, 0], corners.mean(axis=1), atol=1e-6)
    one = bake_cubes(mesh, 1).texture.cubes
    assert np.allclose(one[:, 0, 0, 0], corners.mean(axis=1), atol=1e-6)
    faces = dataclasses.replace(cube, texture=FaceTexels(jnp.asarray(RNG.random((12, 1, 1, 3)))))
    texels = np.asarray(bake_texels(faces, 4).texture.texels)
    assert np.array_equal(texels, np.broadcast_to(faces.texture.texels, (12, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"`mesh\.texture` must be a UVTexture"):
        io.bake_texels(bake_cubes(cube, 2))
    with pytest.raises(ValueError, match="`texture_size` must be"):
        io.bake_cubes(cube, 0)
    with pytest.raises(ValueError, match="`wrap` must be one of"):
        io.bake_cubes(cube, wrap="border")


def test_bake_under_jax(x64):
    mesh = textured_cube()
    texture = dataclasses.replace(mesh.texture, image=jnp.asarray(RNG.random((7, 5, 3))))
    mesh = dataclasses.replace(mesh, texture=texture)
    assert np.allclose(
        bake_cubes(mesh).texture.cubes, io.bake_cubes(mesh).texture.cubes, atol=1e-12
    )
    weights = jnp.asarray(RNG.random((12, 2, 2, 3)))

    @jax.jit
    def loss(image, mesh):
        new = dataclasses.replace(mesh.texture, image=image)
        texels = io.bake_texels(dataclasses.replace(mesh, texture=new), 2).texture.texels
        return (texels * weights).sum()

    check_grads(lambda image: loss(image, mesh), (texture.image,), order=1, modes=["rev"])
    images = jnp.stack([texture.image, 2 * texture.image])
    expected = [loss(image, mesh) for image in images]
    assert np.allclose(jax.vmap(loss, in_axes=(0, None))(images, mesh), expected)


# --- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_picture_round_trip(tmp_path, shape):
    image = RNG.random(shape).astype(np.float32) * 1.4 - 0.2
    with pytest.warns(UserWarning, match=r"values are not in \[0, 1\]"):
        io.save_image(tmp_path / "a.png", jnp.asarray(image))
    again = np.asarray(io.load_image(tmp_path / "a.png"))
    expected = np.clip(image, 0, 1).reshape(5, 7, -1)
    assert again.shape == expected.shape
    assert np.abs(again - expected).max() <= 0.5 / 255 + 1e-6
    assert again.dtype == np.float32


def test_folders_are_made(tmp_path):
    io.save_image(tmp_path / "a" / "b" / "c.png", np.zeros((2, 2)))
    io.save_animation(tmp_path / "d" / "e.gif", np.zeros((2, 4, 4)))
    for extension in (".obj", ".ply", ".off", ".stl", ".glb"):
        io.save_mesh(tmp_path / extension[1:] / f"f{extension}", shapes.cube())
        assert io.load_mesh(tmp_path / extension[1:] / f"f{extension}").faces.shape == (12, 3)
    assert (tmp_path / "a" / "b" / "c.png").exists()
    assert (tmp_path / "d" / "e.gif").exists()


def test_picture_kinds(tmp_path):
    mask = RNG.random((4, 4)) > 0.5
    io.save_image(tmp_path / "mask.png", mask)
    assert np.array_equal(np.asarray(io.load_image(tmp_path / "mask.png"))[..., 0], mask)
    io.save_image(tmp_path / "a.jpg", np.full((8, 8, 3), 0.5))
    assert np.abs(np.asarray(io.load_image(tmp_path / "a.jpg")) - 0.5).max() < 0.02

    # Sixteen-bit, two-colour and palette files come as floats, too.
    image = pytest.importorskip("PIL.Image")
    deep = np.array([[0, 65535], [257, 32768]], np.uint16)
    image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.allclose(np.asarray(io.load_image(tmp_path / "deep.png"))[..., 0], deep / 65535)
    image.fromarray(mask).save(tmp_path / "bits.png")
    assert np.array_equal(np.asarray(io.load_image(tmp_path / "bits.png"))[..., 0], mask)
    image.fromarray(np.full((3, 3, 3), 51, np.uint8)).quantize(4).save(tmp_path / "palette.png")
    assert np.allclose(io.load_image(tmp_path / "palette.png"), 0.2, atol=1e-6)


def test_bad_pictures(tmp_path):
    good = np.zeros((4, 4, 3))
    for name, image, message in [
        ("a.png", np.zeros((4, 4, 2)), r"\[H, W\] or \[H, W, 1, 3 or 4\], got float64\[4, 4, 2\]"),
        ("a.png", np.zeros((4, 4, 3), np.uint8), "Divide 8-bit values by 255"),
        ("a.png", np.zeros((0, 4)), "must be floats"),
        ("a.png", np.full((4, 4), np.nan), "must be finite"),
        ("a.jpg", np.zeros((4, 4, 4)), "JPEG has no alpha"),
        ("a.gif", good, "Write animations with `save_animation`"),
        ("a", good, "unknown format ''"),
    ]:
        with pytest.raises(ValueError, match=message):
            io.save_image(tmp_path / name, image)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot read the picture .*bad\.png"):
        io.load_image(tmp_path / "bad.png")


def moving_disc(count, height, width):
    y, x = np.mgrid[0:height, 0:width]
    for k in range(count):
        inside = (x - 8 - 2 * k) ** 2 + (y - height / 2) ** 2 < 36
        shade = 0.3 + 0.5 * y / height
        yield np.where(inside[..., None], shade[..., None] * [1.0, 0.6, 0.3], 1.0)


def test_gif(tmp_path):
    image = pytest.importorskip("PIL.Image")
    frames = np.stack(list(moving_disc(7, 31, 45)))
    io.save_animation(tmp_path / "a.gif", jnp.asarray(frames), fps=30)
    with image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 7
        assert gif.size == (45, 31)
        assert gif.info["loop"] == 0
        durations = []
        for index in range(7):
            gif.seek(index)
            durations.append(gif.info["duration"])
            pixels = np.asarray(gif.convert("RGB")) / 255
            assert np.abs(pixels - frames[index]).max() < 0.03
    assert sum(durations) == 230  # 7 / 30 s, to a hundredth
    io.save_animation(tmp_path / "one.gif", [np.zeros((4, 4))])
    assert io.load_image(tmp_path / "one.gif").shape[:2] == (4, 4)


def test_gif_parts_that_stand_still_do_not_flicker(tmp_path):
    """Everything that is the same in two frames is the same in the file."""
    image = pytest.importorskip("PIL.Image")
    frames = np.stack(list(moving_disc(4, 32, 48)))
    frames[..., 30:, :] = RNG.random((32, 18, 3))
    io.save_animation(tmp_path / "a.gif", frames)
    with image.open(tmp_path / "a.gif") as gif:
        pictures = []
        for index in range(4):
            gif.seek(index)
            pictures.append(np.asarray(gif.convert("RGB")))
    assert all(np.array_equal(picture[:, 30:], pictures[0][:, 30:]) for picture in pictures)


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_mp4(tmp_path, size):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = list(moving_disc(6, *size))
    io.save_animation(tmp_path / "a.mp4", frames, fps=10)
    command = [ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "a.mp4"), "-f", "rawvideo"]
    result = subprocess.run(
        [*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True, timeout=60
    )
    height, width = (side + side % 2 for side in size)
    log = result.stderr.decode()
    assert f"{width}x{height}" in log
    assert "10 fps" in log
    pictures = np.frombuffer(result.stdout, np.uint8).reshape(6, height, width, 3)
    error = np.abs(pictures[3][: size[0], : size[1]] / 255 - frames[3])
    assert error.mean() < 0.02


def test_bad_animations(tmp_path):
    frame = np.zeros((4, 4, 3))
    for name, frames, fps, message in [
        ("a.avi", [frame], 25, r"unknown format '\.avi', known are \.gif, \.mp4"),
        ("a.gif", [], 25, "must hold at least one picture"),
        ("a.gif", [frame, np.zeros((4, 5, 3))], 25, r"\[4, 4\] in frame 0 and \[4, 5\] in frame 1"),
        ("a.gif", [np.zeros((4, 4, 4))], 25, "Put it on a background first"),
        ("a.gif", [frame], 0, "`fps` must be more than 0"),
        ("a.gif", [frame], 60, "at most 50 in a GIF"),
    ]:
        with pytest.raises(ValueError, match=message):
            io.save_animation(tmp_path / name, frames, fps=fps)
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(OSError, match="cannot write"):
        io.save_animation(tmp_path / "taken.mp4", [frame])
