"""glTF files as we write them: read back by us and by trimesh, and laid out by the standard."""

from __future__ import annotations

import dataclasses
import json
import struct
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from mesh_files import face_colors, load

import jaxrender as jr
from jaxrender._color import decode
from jaxrender._formats.gltf_writer import write_gltf
from jaxrender._formats.raw import RawMesh
from jaxrender._images import png

pytest.importorskip("imageio")

RNG = np.random.default_rng(11)
CUBE = jr.shapes.cube()
PIXELS = RNG.integers(0, 256, (6, 5, 3)) / 255
SEAMS = np.repeat(np.arange(36).reshape(12, 3) % 7, 1, axis=1)  # uv faces of their own
COORDINATES = RNG.uniform(-0.5, 1.5, (7, 2)).astype(np.float32)


def textured(**changes):
    texture = jr.UVTexture(
        jnp.asarray(PIXELS, jnp.float32), jnp.asarray(COORDINATES), jnp.asarray(SEAMS)
    )
    return dataclasses.replace(CUBE, texture=dataclasses.replace(texture, **changes))


def parsed(path):
    """The JSON and the bytes of a GLB file, whose chunks are checked."""
    data = path.read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    told = json.loads(data[20 : 20 + size])
    rest, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0"
    assert size % 4 == 0
    assert len(data) == 28 + size + rest
    return told, data[28 + size :]


def corners(mesh):
    """What each corner of each face has, in the order of the faces: place and coordinate."""
    place = np.asarray(mesh.vertices)[np.asarray(mesh.faces)]
    texture = mesh.texture
    if not isinstance(texture, jr.UVTexture):
        return place
    return np.concatenate([place, np.asarray(texture.uv)[np.asarray(texture.faces)]], axis=-1)


def seen(mesh, encoding="display"):
    """The colours at three points of each face, `[F, 3, 3]`."""
    where = jnp.asarray([[1 / 3, 1 / 3, 1 / 3], [0.7, 0.2, 0.1], [0.1, 0.15, 0.75]])
    found = []
    for point in where:
        face = jnp.arange(len(mesh.faces))
        spots = jnp.broadcast_to(point, (len(mesh.faces), 3))
        found.append(jr.sample_texture(mesh.texture, mesh.faces, face, spots))
    assert mesh.texture.encoding == encoding
    return np.stack(found, axis=1)


def paged(**changes):
    """Two pictures and a plain colour, as pages of one; faces of one stand together."""
    image = np.zeros((9, 5, 3), np.float32)
    image[:6], image[6:8, :3], image[8, 0] = PIXELS, PIXELS[:2, :3], (51 / 255, 102 / 255, 1)
    pages = np.repeat([[0, 6, 5], [6, 2, 3], [8, 1, 1]], 4, axis=0)
    return textured(image=jnp.asarray(image), pages=jnp.asarray(pages), **changes)


SAMPLERS = jnp.asarray(np.repeat([[0, 1, 0], [2, 0, 1], [0, 0, 0]], 4, axis=0))
MESHES = {
    "seams": textured(),
    "no seams": dataclasses.replace(
        CUBE,
        texture=jr.UVTexture(
            jnp.asarray(PIXELS, jnp.float32), jnp.asarray(CUBE.vertices[:, :2]), CUBE.faces
        ),
    ),
    "wrap": textured(wrap=("mirror", "clamp"), filter="nearest"),
    "pages": paged(),
    "samplers": paged(samplers=SAMPLERS),
    "faces": dataclasses.replace(
        CUBE, texture=jr.FaceTexels(jnp.asarray(np.repeat(PIXELS[0, :3], 4, 0)[:, None, None]))
    ),
    "vertices": dataclasses.replace(
        CUBE, texture=jr.VertexColors(jnp.asarray(PIXELS[:2, :4].reshape(8, 3)))
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
@pytest.mark.parametrize("name", MESHES)
def test_what_is_written_comes_back(tmp_path, name, suffix):
    mesh = MESHES[name]
    path = tmp_path / f"a{suffix}"
    jr.save_mesh(path, mesh)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    again, told = load(path)
    assert told == ""
    assert type(again.texture) is type(mesh.texture)
    pictured = 8 if name in ("pages", "samplers") else 12  # plain faces need no coordinates
    np.testing.assert_allclose(corners(again)[:pictured], corners(mesh)[:pictured], atol=2e-7)
    np.testing.assert_allclose(corners(again)[..., :3], corners(mesh)[..., :3], atol=1e-7)
    np.testing.assert_allclose(seen(again), seen(mesh), atol=2e-5)
    if name not in ("seams", "wrap", "pages", "samplers"):
        np.testing.assert_array_equal(again.vertices, mesh.vertices)
        np.testing.assert_array_equal(again.faces, mesh.faces)


@pytest.mark.slow
def test_linear_pictures_and_tint(tmp_path):
    tint = jnp.asarray(RNG.uniform(0, 1, (7, 3)), jnp.float32)
    mesh = textured(encoding="linear", image=jnp.asarray(decode(PIXELS), jnp.float32), tint=tint)
    jr.save_mesh(tmp_path / "a.glb", mesh)
    again, told = load(tmp_path / "a.glb", colors="linear")
    assert told == ""
    np.testing.assert_allclose(seen(again, "linear"), seen(mesh, "linear"), atol=2e-5)


def test_faces_of_one_material_come_together(tmp_path):
    """Faces that alternate are sorted, and it is said."""
    mesh = paged()
    pages = jnp.asarray(np.tile([[6, 2, 3], [0, 6, 5]], (6, 1)))
    mesh = dataclasses.replace(mesh, texture=dataclasses.replace(mesh.texture, pages=pages))
    with pytest.warns(UserWarning, match=r"a\.glb: its faces are sorted by material"):
        jr.save_mesh(tmp_path / "a.glb", mesh)
    again, _ = load(tmp_path / "a.glb")
    order = [*range(0, 12, 2), *range(1, 12, 2)]  # the first face's material first
    np.testing.assert_allclose(corners(again), corners(mesh)[order], atol=2e-7)
    np.testing.assert_allclose(seen(again), seen(mesh)[order], atol=2e-5)


@pytest.mark.slow
def test_many_colors_of_faces_become_a_picture(tmp_path):
    ball = jr.shapes.icosphere(2)
    colors = RNG.integers(0, 256, (320, 1, 1, 3)) / 255
    mesh = dataclasses.replace(ball, texture=jr.FaceTexels(jnp.asarray(colors, jnp.float32)))
    with pytest.warns(UserWarning, match=r"its 320 colours of faces become the texels"):
        jr.save_mesh(tmp_path / "a.glb", mesh)
    again, told = load(tmp_path / "a.glb")
    assert told == ""
    np.testing.assert_allclose(seen(again), seen(mesh), atol=1e-6)
    np.testing.assert_allclose(corners(again)[..., :3], corners(mesh), atol=1e-7)


def test_normals_and_seams(tmp_path):
    """A normal for each side of a cube splits each vertex in three."""
    sides = np.repeat(np.arange(6), 2)
    normals = np.concatenate([np.eye(3), -np.eye(3)]) * 2
    raw = RawMesh(
        np.asarray(CUBE.vertices),
        np.asarray(CUBE.faces),
        normals=normals,
        normal_faces=np.repeat(sides[:, None], 3, axis=1),
    )
    path = tmp_path / "a.glb"
    write_gltf(path, raw, lambda picture: png(path, picture))
    told, data = parsed(path)
    attributes = told["meshes"][0]["primitives"][0]["attributes"]
    assert attributes.keys() == {"POSITION", "NORMAL"}

    def array(accessor, dtype):
        described = told["accessors"][accessor]
        view = told["bufferViews"][described["bufferView"]]
        return np.frombuffer(data[view["byteOffset"] :][: view["byteLength"]], dtype)

    faces = array(told["meshes"][0]["primitives"][0]["indices"], "<u2").reshape(12, 3)
    written = array(attributes["NORMAL"], "<f4").reshape(-1, 3)
    assert len(written) == faces.max() + 1
    np.testing.assert_array_equal(written[faces], normals[sides][:, None].repeat(3, 1) / 2)
    places = array(attributes["POSITION"], "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(places[faces], np.asarray(CUBE.vertices)[np.asarray(CUBE.faces)])


def test_layout(tmp_path):
    """Views start at multiples of four, places have bounds, indices are as short as they can."""
    jr.save_mesh(tmp_path / "a.glb", paged())
    told, data = parsed(tmp_path / "a.glb")
    assert told["asset"]["version"] == "2.0"
    assert told["scenes"] == [{"nodes": [0]}]
    assert len(told["materials"]) == len(told["meshes"][0]["primitives"]) == 3
    assert len(told["images"]) == 2
    assert all(material["doubleSided"] for material in told["materials"])
    for view in told["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= len(data)
    used = {p["attributes"]["POSITION"] for p in told["meshes"][0]["primitives"]}
    assert len(used) == 1
    position = told["accessors"][used.pop()]
    assert (position["min"], position["max"]) == ([-0.5] * 3, [0.5] * 3)
    factors = [m["pbrMetallicRoughness"].get("baseColorFactor") for m in told["materials"]]
    assert factors[:2] == [None, None]  # which is white
    np.testing.assert_allclose(factors[2], [*decode(np.array([0.2, 0.4, 1])), 1], rtol=1e-6)

    # Vertices of no face stay, and many vertices need long indices.
    count = 0x10000
    many = jr.Mesh(jnp.zeros((count, 3)).at[:, 0].set(jnp.arange(count)), CUBE.faces)
    jr.save_mesh(tmp_path / "b.glb", many)
    assert load(tmp_path / "b.glb")[0].vertices.shape == (count, 3)
    assert parsed(tmp_path / "b.glb")[0]["accessors"][1]["componentType"] == 5123
    many = dataclasses.replace(many, faces=CUBE.faces.at[0, 0].set(count - 1))
    jr.save_mesh(tmp_path / "b.glb", many)
    assert load(tmp_path / "b.glb")[0].faces[0, 0] == count - 1
    assert parsed(tmp_path / "b.glb")[0]["accessors"][1]["componentType"] == 5125


def test_unused_vertices_of_a_textured_mesh_stay(tmp_path):
    mesh = textured()
    extra = jnp.concatenate([mesh.vertices, jnp.full((1, 3), 9.0)])
    jr.save_mesh(tmp_path / "a.glb", dataclasses.replace(mesh, vertices=extra))
    again, _ = load(tmp_path / "a.glb")
    assert (again.vertices == 9).all(axis=1).sum() == 1
    np.testing.assert_allclose(corners(again), corners(mesh), atol=2e-7)


def test_trimesh_reads_the_same(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    jr.save_mesh(tmp_path / "a.glb", textured())
    (other,) = trimesh.load(tmp_path / "a.glb", process=False).geometry.values()
    wanted = corners(textured())
    found = np.concatenate([other.vertices[other.faces], other.visual.uv[other.faces]], axis=-1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    image = np.asarray(other.visual.material.baseColorTexture.convert("RGB")) / 255
    np.testing.assert_allclose(image, PIXELS, atol=1e-6)

    # Two pictures and a plain colour.
    jr.save_mesh(tmp_path / "b.glb", paged())
    parts = trimesh.load(tmp_path / "b.glb", process=False).geometry.values()
    assert sum(len(part.faces) for part in parts) == 12
    linear = decode(np.array([0.2, 0.4, 1.0]))
    plain = [p for p in parts if p.visual.material.baseColorTexture is None]
    assert len(plain) == 1
    factor = np.asarray(plain[0].visual.material.baseColorFactor[:3], float) / 255
    np.testing.assert_allclose(factor, linear, atol=1 / 255)


def test_bright_colors_are_clipped_with_a_warning(tmp_path):
    mesh = textured(image=jnp.asarray(2 * PIXELS, jnp.float32))
    with pytest.warns(UserWarning, match=r"a\.glb: a picture: .* values are not in \[0, 1\]"):
        jr.save_mesh(tmp_path / "a.glb", mesh)


def test_materials_and_alpha(tmp_path):
    """Base colour, alpha and what hides by it, metal, roughness and what is unlit come back."""
    pixels = np.concatenate([PIXELS, np.round(RNG.uniform(0, 1, (6, 5, 1)) * 255) / 255], -1)
    material = jr.Material(
        group=jnp.asarray(np.repeat([0, 1, 2], 4)),
        base_color=jnp.asarray([[1, 1, 1, 1], [0.5, 0.25, 1, 0.75], [1, 0.5, 0, 0.5]], jnp.float32),
        alpha_cutoff=jnp.asarray([0.0, 0.25, 0.0]),
        blend=jnp.asarray([False, False, True]),
        unlit=jnp.asarray([False, True, False]),
        metallic=jnp.asarray([0.0, 0.25, 1.0]),
        roughness=jnp.asarray([1.0, 0.5, 0.125]),
    )
    mesh = textured(image=jnp.asarray(pixels, jnp.float32))
    mesh = dataclasses.replace(mesh, material=material)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jr.save_mesh(tmp_path / "a.glb", mesh)
    again, _ = load(tmp_path / "a.glb", colors="linear")
    np.testing.assert_allclose(corners(again), corners(mesh), atol=2e-7)
    found = again.material
    for name in ("metallic", "roughness", "unlit", "alpha_cutoff", "blend"):
        np.testing.assert_allclose(getattr(found, name), getattr(material, name), atol=1e-6)
    np.testing.assert_allclose(found.base_color[:, 3], material.base_color[:, 3], atol=1e-6)

    # Base colours are multiplied into the pictures, one for each; what is opaque has no alpha.
    for face in (0, 4, 8):
        row, height, width = np.asarray(again.texture.pages)[face]
        picture = np.asarray(again.texture.image)[row : row + height, :width]
        factor = np.asarray(material.base_color)[face // 4, :3]
        np.testing.assert_allclose(picture[..., :3], decode(PIXELS) * factor, atol=1e-6)
        alpha = pixels[..., 3] if face else 1.0
        np.testing.assert_allclose(picture[..., 3], np.broadcast_to(alpha, (6, 5)), atol=1e-6)


def test_base_color_alone(tmp_path):
    """A mesh without a texture has the colour of its material."""
    color = jnp.asarray([[0.5, 0.25, 1.0, 1.0]])
    mesh = dataclasses.replace(CUBE, material=jr.Material(base_color=color))
    jr.save_mesh(tmp_path / "a.glb", mesh)
    again, told = load(tmp_path / "a.glb", colors="linear")
    assert told == ""
    np.testing.assert_allclose(again.texture.texels[:, 0, 0], np.tile(color[:, :3], (12, 1)))
    with pytest.warns(UserWarning, match="does not store base colours of the material"):
        jr.save_mesh(tmp_path / "a.obj", mesh)
    shiny = jr.Material(specular=jnp.ones((1, 3)), shininess=jnp.ones(1))
    with pytest.warns(UserWarning, match="does not store specular colours of the material"):
        jr.save_mesh(tmp_path / "a.obj", dataclasses.replace(CUBE, material=shiny))


def picture(seed, faces=SEAMS, bright=1.0, **changes):
    """A picture of 8 bits in linear light, `bright` times, read with coordinates of its own."""
    rng = np.random.default_rng(seed)
    display = rng.integers(0, 256, (4, 3, 3)) / 255
    display[0, 0] = 1
    image = bright * decode(display)
    uv = rng.uniform(-0.5, 1.5, (7, 2)).astype(np.float32)
    return jr.UVTexture(
        jnp.asarray(image, jnp.float32), jnp.asarray(uv), jnp.asarray(faces), encoding="linear",
        **changes
    )  # fmt: skip


def pictures_of(mesh):
    """The pictures of a material, by their names."""
    names = ("emissive", "metallic_roughness_map", "normal_map", "occlusion_map")
    return {name: getattr(mesh.material, name) for name in names}


def test_all_of_a_material_comes_back(tmp_path):
    """Light brighter than white, shine, and maps, which have coordinates of their own."""
    numbers = picture(2).image.round(2) * 100 / 255  # of 8 bits as they are
    material = jr.Material(
        group=jnp.asarray(np.repeat([0, 1], 6)),
        emissive=picture(1, bright=4.0, wrap="clamp"),
        specular=jnp.asarray([[0.5, 0.25, 1.0], [0.0, 0.0, 0.0]]),
        shininess=jnp.asarray([30.0, 2.0]),
        metallic=jnp.asarray([0.0, 0.5]),
        roughness=jnp.asarray([0.25, 0.75]),
        metallic_roughness_map=dataclasses.replace(picture(2), image=numbers, filter="nearest"),
        normal_map=dataclasses.replace(picture(3), image=numbers[::-1]),
        normal_scale=jnp.asarray([0.5, 2.0]),
        occlusion_map=dataclasses.replace(picture(1), image=numbers[:, ::-1]),
        occlusion_strength=jnp.asarray([0.5, 0.75]),
    )
    mesh = textured(encoding="linear", image=jnp.asarray(decode(PIXELS), jnp.float32))
    mesh = dataclasses.replace(mesh, material=material)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jr.save_mesh(tmp_path / "a.glb", mesh)
    told, _ = parsed(tmp_path / "a.glb")
    assert [len(told[kind]) for kind in ("images", "textures", "materials")] == [5, 5, 2]
    attributes = told["meshes"][0]["primitives"][0]["attributes"]
    assert {f"TEXCOORD_{k}" for k in range(4)} <= attributes.keys()
    assert "TEXCOORD_4" not in attributes
    again, _ = load(tmp_path / "a.glb", colors="linear")
    np.testing.assert_allclose(corners(again), corners(mesh), atol=2e-7)
    for name in ("specular", "shininess", "metallic", "roughness", "normal_scale"):
        want = getattr(material, name)
        np.testing.assert_allclose(getattr(again.material, name), want, rtol=1e-5, atol=1e-6)
    for name, want in pictures_of(mesh).items():
        found = pictures_of(again)[name]
        np.testing.assert_allclose(found.image, want.image, rtol=1e-5, atol=1e-6)
        spots = [np.asarray(part.uv)[np.asarray(part.faces)] for part in (found, want)]
        np.testing.assert_allclose(*spots, atol=2e-7)
        assert (found.wrap, found.filter) == (want.wrap, want.filter)


@pytest.mark.slow
def test_plain_light_and_numbers(tmp_path):
    """Faces alone: factors of light, and pictures of one pixel for what only pictures hold."""
    light = np.repeat([[0.0, 0.0, 0.0], [2.0, 1.0, 0.5]], 6, axis=0)[:, None, None]
    rough = np.repeat([[1.0, 1.0, 1.0], [0.0, 0.2, 0.6]], 6, axis=0)[:, None, None]
    layers = {
        "emissive": jr.FaceTexels(jnp.asarray(light, jnp.float32), "linear"),
        "metallic_roughness_map": jr.FaceTexels(jnp.asarray(rough, jnp.float32), "linear"),
        "occlusion_map": jr.FaceTexels(jnp.ones((12, 1, 1, 3)), "linear"),
    }
    plain = jr.FaceTexels(jnp.full((12, 1, 1, 3), 0.5), "linear")
    mesh = dataclasses.replace(CUBE, texture=plain, material=jr.Material(**layers))
    jr.save_mesh(tmp_path / "a.glb", mesh)
    again, _ = load(tmp_path / "a.glb", colors="linear")
    np.testing.assert_allclose(again.material.emissive.texels, light, atol=1e-6)
    held = dataclasses.replace(again, texture=again.material.metallic_roughness_map)
    np.testing.assert_allclose(face_colors(held), rough[:, 0, 0], atol=1e-6)
    assert again.material.occlusion_map is None

    # What differs by vertex has no place.
    glow = jr.VertexColors(jnp.ones((8, 3)))
    mesh = dataclasses.replace(CUBE, material=jr.Material(emissive=glow))
    with pytest.warns(UserWarning, match="does not store emissive light of the material"):
        jr.save_mesh(tmp_path / "a.glb", mesh)


def test_normals_of_a_mesh_come_back(tmp_path):
    sides = np.repeat(np.arange(6), 2)
    normals = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    own = jnp.asarray(np.repeat(sides[:, None], 3, axis=1))
    mesh = dataclasses.replace(textured(), normals=jnp.asarray(normals), normal_faces=own)
    jr.save_mesh(tmp_path / "a.glb", mesh)
    again, told = load(tmp_path / "a.glb")
    assert told == ""
    faces = again.faces if again.normal_faces is None else again.normal_faces
    np.testing.assert_array_equal(
        np.asarray(again.normals)[np.asarray(faces)], normals[sides][:, None].repeat(3, axis=1)
    )
    np.testing.assert_allclose(corners(again), corners(mesh), atol=2e-7)
