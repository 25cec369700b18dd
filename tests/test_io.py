"""Meshes and pictures survive a round trip, and what is wrong with a file is said."""

from __future__ import annotations

import builtins
import dataclasses
import itertools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gltf_writer import Writer
from jax.test_util import check_grads
from mesh_files import page

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


# --- golden data -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tetrahedron", "teapot"])
def test_plain_obj_is_the_golden_one(golden, name):
    expected = golden("nmr/load_obj_plain.npz")
    mesh = io.load_mesh(golden.path(f"meshes/{name}.obj"))
    assert mesh.texture is None
    assert np.array_equal(mesh.vertices, expected[f"{name}_vertices_raw"])
    assert np.array_equal(mesh.faces, expected[f"{name}_faces"])
    normalized = io.normalize(mesh).vertices
    assert np.abs(normalized - expected[f"{name}_vertices_normalized"]).max() < 1e-6


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_golden_picture_is_read_as_it_is(golden):
    from imageio.v3 import imread

    for name in golden.glob("**/*.png") + golden.glob("**/*.jpg"):
        pixels = imread(golden.path(name))
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        image = io.load_image(golden.path(name))
        np.testing.assert_allclose(
            image, pixels / np.float32(np.iinfo(pixels.dtype).max), atol=1e-6
        )


@pytest.mark.slow
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


@pytest.mark.slow
def test_cubes_of_spot_are_the_golden_ones(golden):
    expected = golden("nmr/load_obj_spot_piece.npz")
    path = golden.path("meshes/spot_piece.obj")
    mesh = io.load_mesh(path, texture="cubes", texture_size=4)
    assert isinstance(mesh.texture, FaceCubes)
    assert np.abs(mesh.texture.cubes - expected["textures_repeat"]).max() < 3e-5
    nearest = bake_cubes(io.load_mesh(path), 4, wrap="repeat", bilinear=False)
    assert np.abs(nearest.texture.cubes - expected["textures_nearest"]).max() < 3e-5
    assert np.array_equal(mesh.vertices, expected["vertices_raw"])


@pytest.mark.slow
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


# --- other formats -----------------------------------------------------------------------------


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


@pytest.mark.parametrize("extension", [".obj", ".ply", ".off", ".glb", ".gltf"])
def test_round_trip_keeps_geometry(tmp_path, extension):
    mesh = shapes.teapot(3)
    path = tmp_path / f"a mesh{extension}"
    io.save_mesh(path, mesh)
    again = io.load_mesh(path)
    assert same_geometry(again, mesh)
    assert again.texture is None


@pytest.mark.parametrize("extension", [".obj", ".ply", ".off", ".glb"])
def test_round_trip_vertex_colors(tmp_path, extension):
    mesh = shapes.icosphere(1)
    colors = np.rint(RNG.random((42, 3)) * 255) / 255
    mesh = dataclasses.replace(mesh, texture=VertexColors(jnp.asarray(colors, jnp.float32)))
    io.save_mesh(tmp_path / f"a{extension}", mesh)
    again = io.load_mesh(tmp_path / f"a{extension}")
    assert same_geometry(again, mesh)
    assert np.abs(again.texture.colors - colors).max() < 1e-6


@pytest.mark.parametrize("extension", [".obj", ".ply", ".off", ".glb"])
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


def test_what_a_format_cannot_store_is_an_error(tmp_path):
    cube = shapes.cube()
    colors = dataclasses.replace(cube, texture=VertexColors(jnp.ones((8, 3))))
    faces = dataclasses.replace(cube, texture=FaceTexels(jnp.ones((12, 1, 1, 3))))
    fine = dataclasses.replace(cube, texture=FaceTexels(jnp.ones((12, 2, 2, 3))))
    textured = textured_cube()
    tint = jnp.ones((len(textured.texture.uv), 3))
    tinted = dataclasses.replace(textured, texture=dataclasses.replace(textured.texture, tint=tint))
    four = dataclasses.replace(cube, texture=VertexColors(jnp.ones((8, 4))))
    for mesh, name, message in [
        (textured_cube(), "a.ply", "cannot store texture images. Write .obj"),
        (colors, "a.stl", "cannot store colours of vertices. Write .obj or .ply"),
        (faces, "a.stl", "cannot store colours of faces. Write .obj or .ply or .off or .glb"),
        (tinted, "a.obj", "cannot store a tint of its texture images. Write .glb or .gltf"),
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


def test_folders_are_made(tmp_path):
    io.save_image(tmp_path / "a" / "b" / "c.png", np.zeros((2, 2)))
    io.save_animation(tmp_path / "d" / "e.gif", np.zeros((2, 4, 4)))
    for extension in (".obj", ".ply", ".off", ".stl", ".glb"):
        io.save_mesh(tmp_path / extension[1:] / f"f{extension}", shapes.cube())
        assert io.load_mesh(tmp_path / extension[1:] / f"f{extension}").faces.shape == (12, 3)
    assert (tmp_path / "a" / "b" / "c.png").exists()
    assert (tmp_path / "d" / "e.gif").exists()


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.thorough
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


# --- files that name files ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["library", "picture", "link", "gltf"])
def test_what_lies_outside_of_the_folder(tmp_path, way):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "m.mtl").write_text("newmtl a\nKd 1 0 0\n")
    io.save_image(tmp_path / "t.png", np.ones((2, 2, 3), np.float32))
    text = "mtllib {}\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl a\nf 1/1 2/1 3/1\n"
    path = folder / "a.obj"
    if way == "library":
        path.write_text(text.format(tmp_path / "m.mtl"))
    elif way == "picture":
        (folder / "m.mtl").write_text("newmtl a\nmap_Kd ../t.png\n")
        path.write_text(text.format("m.mtl"))
    elif way == "link":
        (folder / "m.mtl").symlink_to(tmp_path / "m.mtl")
        path.write_text(text.format("m.mtl"))
    else:
        writer = Writer()
        material = {"baseColorTexture": {"index": 0}}
        writer.item("images", uri="../t.png")
        writer.item("textures", source=0)
        uv = writer.accessor(np.zeros((4, 2), np.float32))
        number = writer.item("materials", pbrMetallicRoughness=material)
        writer.draw(writer.mesh(attributes={"TEXCOORD_0": uv}, material=number))
        path = writer.save(folder / "a.glb")
    assert io.load_mesh(path).texture is not None
    with pytest.raises(ValueError, match=r"(?s)cannot read the mesh .*lies outside of its folder"):
        io.load_mesh(path, within_folder=True)
    assert io.load_mesh(path, within_folder=True, texture="none").texture is None
    # What lies beside it is read.
    (folder / "own.mtl").write_text("newmtl a\nKd 1 0 0\n")
    (folder / "b.obj").write_text(text.format("own.mtl"))
    assert io.load_mesh(folder / "b.obj", within_folder=True).texture is not None
    with pytest.raises(ValueError, match="`within_folder` must be True or False"):
        io.load_mesh(path, within_folder=1)
