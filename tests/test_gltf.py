"""glTF files: those of real programs, and small ones whose every number is known."""

from __future__ import annotations

import copy
import json
import struct
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gltf_writer import CORNERS, SQUARE, Writer

import jaxrender as jr
from jaxrender import io
from jaxrender._color import recode
from jaxrender._formats import gltf
from jaxrender._formats.convert import texture_of
from jaxrender._images import read_rgb

pytest.importorskip("imageio")

UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)  # v down: the picture stands upright
RED, GREEN, BLUE, GOLD = (220, 40, 40), (40, 200, 40), (40, 60, 230), (240, 220, 60)
QUAD = np.array([[RED, GREEN], [BLUE, GOLD]], np.uint8)
HALF = np.sqrt(0.5)


def encoded(linear):
    return recode(np.asarray(linear, float), "linear", "display")


def linear_mesh(path):
    """A mesh with its colours in linear light."""
    mesh = io.load_mesh(path, colors="linear")
    assert mesh.texture.encoding == "linear"
    return mesh


def color_at(mesh, x, y):
    """The colour of a flat mesh at a place."""
    vertices, faces = np.asarray(mesh.vertices, float), np.asarray(mesh.faces)
    for face, corners in enumerate(faces):
        system = np.concatenate([vertices[corners, :2].T, np.ones((1, 3))])
        if abs(np.linalg.det(system)) < 1e-12:
            continue
        weights = np.linalg.solve(system, [x, y, 1])
        if weights.min() > -1e-9:
            where = jnp.array(face), jnp.asarray(weights, jnp.float32)
            return np.asarray(jr.sample_texture(mesh.texture, mesh.faces, *where))
    raise AssertionError("no face there")


def textured(writer, texture, texcoords=UV, **more):
    """A material that shows a texture, and a square that has it."""
    info = {"index": texture, **more.pop("info", {})}
    material = writer.item("materials", pbrMetallicRoughness={
        "baseColorTexture": info, **more.pop("metal", {})}, **more)  # fmt: skip
    return writer.mesh(attributes={"TEXCOORD_0": writer.accessor(texcoords)}, material=material)


def load(writer, tmp_path, **options):
    return io.load_mesh(writer.save(tmp_path / "a.glb"), **options)


def vertices_of(writer, tmp_path, **options):
    return np.asarray(load(writer, tmp_path, **options).vertices)


# --- files of real programs -----------------------------------------------------------------------


@pytest.mark.slow
def test_colours_of_cases(cases):
    mesh = linear_mesh(cases.path("color_material.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.3, 0.6), [0.5, 0.25, 0], atol=1e-6)
    mesh = io.load_mesh(cases.path("color_material.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.3, 0.6), encoded([0.5, 0.25, 0]), atol=1e-6)
    mesh = linear_mesh(cases.path("color_u16.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.3, 0.6) * 65535, [13209, 3258, 637], atol=0.1)
    mesh = io.load_mesh(cases.path("factor_image.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.3, 0.6) * 255, 161, atol=0.5)
    mesh = linear_mesh(cases.path("factor_image.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.3, 0.6) * 255, 91, atol=0.5)
    mesh = io.load_mesh(cases.path("factor_dark.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.3, 0.6) * 255, [5, 17, 25], atol=0.5)
    mesh = linear_mesh(cases.path("factor_dark.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.3, 0.6), [0.0015, 0.0055, 0.0095], rtol=1e-6)
    mesh = io.load_mesh(cases.path("gray16.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.3, 0.6), 20000 / 65535, atol=1e-6)


@pytest.mark.slow
def test_textures_of_cases(cases):
    mesh = io.load_mesh(cases.path("wrap_clamp.glb"))
    assert mesh.texture.wrap == "clamp"
    np.testing.assert_allclose(color_at(mesh, 0.26, 0.1) * 255, [40, 60, 230], atol=0.5)
    mesh = io.load_mesh(cases.path("transform.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.2, 0.8) * 255, [40, 200, 40], atol=0.5)
    mesh = io.load_mesh(cases.path("texcoord1.glb"))
    np.testing.assert_allclose(color_at(mesh, 0.8, 0.2) * 255, [240, 220, 60], atol=0.5)
    mesh = io.load_mesh(cases.path("quantized.glb"))
    assert np.ptp(mesh.vertices, axis=0).tolist() == [2, 2, 0]
    assert mesh.texture.uv.min() == 0
    assert mesh.texture.uv.max() == 1


def test_shapes_of_cases(cases):
    vertices = io.load_mesh(cases.path("morph.glb")).vertices
    assert (vertices[:, 1].min(), vertices[:, 1].max()) == (0, 3)
    assert io.load_mesh(cases.path("sparse.glb")).vertices[2].tolist() == [3, 3, 0]
    masked = io.load_mesh(cases.path("mask.glb"))
    assert masked.material.alpha_cutoff.tolist() == [0.5]
    assert not np.asarray(masked.texture.image)[..., 3].any()
    assert io.load_mesh(cases.path("mask.glb"), texture="none").material is None


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["display", "linear"])
def test_coloured_and_textured_parts_side_by_side(cases, encoding):
    path = cases.path("tm_mixed.glb")
    mesh = io.load_mesh(path) if encoding == "display" else linear_mesh(path)
    raw = gltf.read_gltf(path, None)
    assert isinstance(mesh.texture, jr.UVTexture)
    # The colours of the first part, as its file has them: 8 bits, linear.
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    view = json.loads(data[20 : 20 + length])["bufferViews"][2]
    start = 28 + length + view["byteOffset"]
    colors = np.frombuffer(data[start : start + 16], np.uint8).reshape(4, 4)[:, :3] / 255
    want = recode(colors, "linear", encoding)
    corners = mesh.faces[0]
    for weights in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.3, 0.5]):
        got = jr.sample_texture(mesh.texture, mesh.faces, jnp.array(0), jnp.array(weights))
        np.testing.assert_allclose(got, np.array(weights) @ want[corners], atol=1e-6)
    # Nothing has become of the other.
    assert raw.vertices.shape == (8, 3)
    tinted = np.asarray(mesh.texture.tint)
    assert (tinted[4:] == 1).all()


BLENDER = [
    "alpha_clip", "armature_posed", "emission", "ext_extend", "factor_image", "hole_bool",
    "image16", "instances", "mapping", "mirrored", "ngon2", "parented", "planar_quad", "second_uv",
    "shapekey", "text", "two_materials", "uvimage", "vcol_byte_point", "vcol_float_corner",
    "vcol_one_of_two", "vcol_unused",
]  # fmt: skip


@jax.jit
def fragments_of(vertices, faces, camera):
    screen = jr.ScreenMesh(jr.project(vertices, camera, image_size=(120, 160)), faces)
    return jr.rasterize_hard(screen, image_size=(120, 160), near=1e-3, far=100.0)


@pytest.mark.cases(7)
@pytest.mark.thorough
@pytest.mark.parametrize("name", BLENDER)
def test_blender_scenes_against_cycles(cases, name):
    """Cycles interpolates the values of pictures as they are encoded, colours of vertices linear.

    So each scene is compared in the encoding in which our interpolation is Cycles' own.
    """
    path, camera = cases.path(f"blender/{name}.glb"), cases.path(f"blender/{name}_camera.json")
    encoding = "linear" if name.startswith("vcol") else "display"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        raw = gltf.read_gltf(path, read_rgb, encoding)
    assert not caught

    # The pictures were taken where z is up. All scenes are padded to the largest, for one compile.
    vertices = np.zeros((800, 3), np.float32)
    faces = np.zeros((800, 3), np.int32)
    vertices[: len(raw.vertices)] = raw.vertices[:, [0, 2, 1]] * [1, -1, 1]
    faces[: len(raw.faces)] = raw.faces
    told = json.loads(camera.read_text())
    camera = jr.from_opengl(np.array(told["view"]), np.array(told["proj"]), image_size=(120, 160))
    seen = fragments_of(jnp.asarray(vertices), jnp.asarray(faces), camera)
    want = cases(f"blender/{name}_cycles.npz")["rgba_linear"].astype(float)
    inside = np.asarray(seen.face) >= 0
    if name == "alpha_clip":
        inside &= want[..., 3] > 0.5  # `test_material.py` draws its holes
    np.testing.assert_array_equal(inside, want[..., 3] > 0.5)

    # Compare colours where the picture is the surface alone, but for the grid lines of texels.
    texture = texture_of(raw)
    rgb = jr.sample_texture(
        texture, jnp.asarray(raw.faces, jnp.int32), seen.face, seen.barycentrics
    )
    rgb = recode(np.asarray(rgb, float), encoding, "display")
    whole = inside & (want[..., 3] > 0.999)
    error = np.abs(rgb - encoded(want[..., :3]))[whole].max(-1) * 255
    assert np.quantile(error, 0.9 if name == "alpha_clip" else 0.99) < 1


# --- accessors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "limit"), [("u1", 255), ("i1", 127), ("u2", 65535), ("i2", 32767)]
)
def test_normalised_numbers(tmp_path, dtype, limit):
    writer = Writer(extensionsRequired=["KHR_mesh_quantization"])
    values = np.array([[0, 0, 0], [limit, 0, 0], [0, limit, 1]], dtype)
    position = writer.accessor(values, normalized=True)
    writer.mesh(None, None, attributes={"POSITION": position})
    found = vertices_of(writer.draw(scale=[2, 2, 2]), tmp_path)
    np.testing.assert_allclose(found, values * 2.0 / limit, rtol=1e-6)
    # Without the word they are numbers as they are.
    del writer.json["accessors"][0]["normalized"]
    np.testing.assert_array_equal(vertices_of(writer, tmp_path), values * 2.0)


def test_the_least_number_is_no_less_than_minus_one(tmp_path):
    writer = Writer()
    values = np.array([[-128, 0, 0], [127, 0, 0], [0, 127, 0]], np.int8)
    writer.mesh(None, None, attributes={"POSITION": writer.accessor(values, normalized=True)})
    assert vertices_of(writer.draw(), tmp_path)[0].tolist() == [-1, 0, 0]


def test_interleaved_and_offset(tmp_path):
    rows = np.zeros(4, [("pad", "<f4"), ("p", "<f4", 3), ("uv", "<u2", 2)])
    rows["p"], rows["uv"] = SQUARE, UV * 65535
    writer = Writer()
    view = writer.view(rows.tobytes(), byteStride=20)
    common = {"bufferView": view, "count": 4}
    position = writer.item("accessors", **common, byteOffset=4, componentType=5126, type="VEC3")
    uv = writer.item(
        "accessors", **common, byteOffset=16, componentType=5123, type="VEC2", normalized=True
    )
    texture = writer.picture(QUAD)
    material = writer.item(
        "materials", pbrMetallicRoughness={"baseColorTexture": {"index": texture}}
    )
    writer.mesh(None, attributes={"POSITION": position, "TEXCOORD_0": uv}, material=material)
    mesh = load(writer.draw(), tmp_path)
    np.testing.assert_array_equal(mesh.vertices, SQUARE)
    np.testing.assert_allclose(mesh.texture.uv, [[0, 0], [1, 0], [1, 1], [0, 1]], atol=1e-6)


@pytest.mark.parametrize("base", [True, False])
def test_sparse_with_and_without_a_view(tmp_path, base):
    writer = Writer()
    position = writer.accessor(SQUARE)
    described = writer.json["accessors"][position]
    if not base:
        del described["bufferView"]
    described["sparse"] = {
        "count": 2,
        "indices": {"bufferView": writer.view(bytes([1, 3])), "componentType": 5121},
        "values": {"bufferView": writer.view(np.float32([[5, 0, 0], [0, 6, 0]]).tobytes())},
    }
    writer.mesh(None, np.array([0, 1, 3], np.uint8), attributes={"POSITION": position})
    want = (SQUARE if base else np.zeros((4, 3))).copy()
    want[1], want[3] = [5, 0, 0], [0, 6, 0]
    np.testing.assert_array_equal(vertices_of(writer.draw(), tmp_path), want)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_indices_of_any_width(tmp_path, dtype):
    writer = Writer()
    writer.mesh(indices=CORNERS.astype(dtype))
    assert load(writer.draw(), tmp_path).faces.tolist() == [[0, 1, 2], [0, 2, 3]]


# --- primitives -----------------------------------------------------------------------------------

FIVE = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [2, 0, 0]], np.float32)


@pytest.mark.parametrize(
    ("mode", "indices", "faces"),
    [
        (4, None, [[0, 1, 2]]),
        (5, None, [[0, 1, 2], [1, 3, 2], [2, 3, 4]]),
        (5, [0, 1, 2, 2, 3, 3, 4, 1], [[0, 1, 2], [3, 1, 4]]),
        (6, None, [[1, 2, 0], [2, 3, 0], [3, 4, 0]]),
        (6, [4, 1, 3], [[1, 3, 4]]),
    ],
)
def test_modes(tmp_path, mode, indices, faces):
    writer = Writer()
    positions = FIVE[:3] if mode == 4 else FIVE
    writer.mesh(positions, None if indices is None else np.uint16(indices), mode=mode)
    assert load(writer.draw(), tmp_path).faces.tolist() == faces


@pytest.mark.parametrize(
    ("mode", "word"), [(0, "points"), (1, "lines"), (2, "loops"), (3, "strips")]
)
def test_points_and_lines_are_warned_of(tmp_path, mode, word):
    writer = Writer()
    writer.mesh()
    writer.mesh(indices=None, mode=mode)
    writer.draw(0).draw(1)
    with pytest.warns(UserWarning, match=f"a.glb: ignores .*{word}"):
        assert load(writer, tmp_path).vertices.shape == (4, 3)


# --- nodes ----------------------------------------------------------------------------------------


def test_transforms_and_parents(tmp_path):
    writer = Writer()
    writer.mesh()
    child = writer.item("nodes", mesh=0, translation=[1, 0, 0])
    turned = [0, 0, HALF, HALF]  # a quarter turn about z
    parent = writer.item("nodes", children=[child], rotation=turned, scale=[2, 3, 4])
    columns = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 10, 20, 30, 1]
    top = writer.item("nodes", children=[parent], matrix=columns)
    writer.json["scenes"] = [{"nodes": [top]}]
    scaled = np.add(SQUARE, [1, 0, 0]) * [2, 3, 4]
    want = np.stack([10 - scaled[:, 1], 20 + scaled[:, 0], 30 + scaled[:, 2]], -1)
    np.testing.assert_allclose(vertices_of(writer, tmp_path), want, atol=1e-5)


@pytest.mark.parametrize("scale", [[-1, 1, 1], [1, 1, -2], [-1, -1, -1], [-1, -2, 1], [1, 1, 0]])
def test_mirrors_turn_faces_and_normals_stay_outside(tmp_path, scale):
    # A ball stays outward under any mirror, and its normals stay at right angles to it.
    ball = jr.shapes.icosphere(1)
    positions = np.asarray(ball.vertices)
    writer = Writer()
    normal = writer.accessor(positions)
    writer.mesh(positions, np.asarray(ball.faces, np.uint16).reshape(-1),
                attributes={"NORMAL": normal})  # fmt: skip
    path = writer.draw(scale=scale).save(tmp_path / "a.glb")
    raw = gltf.read_gltf(path, None)
    corners = raw.vertices[raw.faces]
    fronts = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if 0 in scale:
        assert np.isfinite(raw.normals).all()
        return
    assert (np.einsum("fi,fi->f", fronts, corners.mean(1)) > 0).all()
    want = positions / scale
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(raw.normals, want, atol=1e-6)


def test_scenes(tmp_path):
    writer = Writer()
    writer.mesh()
    for place in range(4):
        writer.item("nodes", mesh=0, translation=[place, 0, 0])
    writer.json["nodes"][0]["children"] = [1]

    def starts(**options):
        return vertices_of(writer, tmp_path, **options)[::4, 0].tolist()

    # Without scenes all roots are drawn; with them, only what the default one names.
    assert starts() == [0, 1, 2, 3]
    writer.json["scenes"] = [{"nodes": [3]}, {"nodes": [2, 0], "name": "other"}]
    assert starts() == [3]
    writer.json["scene"] = 1
    assert starts() == [2, 0, 1]
    assert starts(scene=0) == [3]
    assert starts(scene="other") == [2, 0, 1]
    with pytest.raises(ValueError, match=r"there is no scene 'third', of \[None, 'other'\]"):
        starts(scene="third")
    with pytest.raises(ValueError, match=r"scenes\[5\] is asked for, of 2"):
        starts(scene=5)


def test_nodes_that_are_not_shown(tmp_path):
    """Nor what is below them."""
    writer = Writer(extensionsRequired=["KHR_node_visibility"])
    writer.mesh()
    hidden = {"extensions": {"KHR_node_visibility": {"visible": False}}}
    writer.json["nodes"] = [{"mesh": 0, "children": [1]}, {"children": [2], **hidden}, {"mesh": 0}]
    writer.json["scenes"] = [{"nodes": [0]}]
    assert len(vertices_of(writer, tmp_path)) == 4


def test_gpu_instances(tmp_path):
    writer = Writer(extensionsRequired=["EXT_mesh_gpu_instancing"])
    writer.mesh()
    quaternions = np.int16([[0, 0, 0, 32767], [0, 0, 23170, 23170]])
    attributes = {
        "TRANSLATION": writer.accessor(np.float32([[1, 0, 0], [0, 5, 0]])),
        "ROTATION": writer.accessor(quaternions, normalized=True),
        "SCALE": writer.accessor(np.float32([[1, 1, 1], [2, 2, -2]])),
    }  # fmt: skip
    extension = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    mesh = load(writer.draw(translation=[0, 0, 7], extensions=extension), tmp_path)
    second = np.stack([-2 * SQUARE[:, 1], 2 * SQUARE[:, 0] + 5, SQUARE[:, 2] + 7], -1)
    want = np.concatenate([np.add(SQUARE, [1, 0, 7]), second])
    np.testing.assert_allclose(mesh.vertices, want, atol=1e-4)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 6, 5], [4, 7, 6]]


# --- morphs, skins, animations --------------------------------------------------------------------


def morphing(**mesh):
    writer = Writer()
    moves = np.float32([np.full((4, 3), [0, 0, 1]), np.full((4, 3), [0, 10, 0])])
    targets = [{"POSITION": writer.accessor(move)} for move in moves]
    writer.mesh(targets=targets, mesh=mesh)
    return writer


def test_morph_weights(tmp_path):
    first = vertices_of(morphing().draw(), tmp_path)[0]
    assert first.tolist() == [0, 0, 0]
    assert vertices_of(morphing(weights=[0.5, 0.1]).draw(), tmp_path)[0].tolist() == [0, 1, 0.5]
    # The node's own weights win, and two nodes may differ.
    writer = morphing(weights=[0.5, 0.1]).draw(weights=[0, 0.2]).draw()
    assert vertices_of(writer, tmp_path)[::4].tolist() == [[0, 2, 0], [0, 1, 0.5]]
    with pytest.raises(ValueError, match="has 2 morph targets, and 1 weights"):
        load(morphing(weights=[1]).draw(), tmp_path)


def animated(path, times, values, interpolation=None, **node):
    """A square whose node is animated."""
    writer = morphing()
    sampler = {
        "input": writer.accessor(np.float32(times)),
        "output": writer.accessor(np.float32(values)),
    }
    if interpolation:
        sampler["interpolation"] = interpolation
    channel = {"sampler": 0, "target": {"node": 0, "path": path}}
    writer.item("animations", samplers=[sampler], channels=[channel], name="move")
    return writer.draw(**node)


def test_linear_step_and_ends(tmp_path):
    keys = [[0, 0, 0], [4, 0, 0], [4, 8, 0]]
    writer = animated("translation", [1, 3, 4], keys)
    for time, want in [(0, [0, 0, 0]), (2, [2, 0, 0]), (3.5, [4, 4, 0]), (9, [4, 8, 0])]:
        assert vertices_of(writer, tmp_path, time=time)[0].tolist() == want
    assert vertices_of(writer, tmp_path)[0].tolist() == [0, 0, 0]
    assert vertices_of(writer, tmp_path, time=9, animation="move")[0].tolist() == [4, 8, 0]
    writer = animated("translation", [1, 3, 4], keys, "STEP", translation=[9, 9, 9])
    assert vertices_of(writer, tmp_path)[0].tolist() == [9, 9, 9]
    for time, want in [(2.9, [0, 0, 0]), (3, [4, 0, 0]), (4, [4, 8, 0])]:
        assert vertices_of(writer, tmp_path, time=time)[0].tolist() == want


def test_one_key_holds(tmp_path):
    writer = animated("scale", [1], [[2, 3, 4]])
    assert vertices_of(writer, tmp_path, time=0.5)[2].tolist() == [2, 3, 0]


def test_rotations_turn_on_the_shorter_way(tmp_path):
    # From 0 to 90 degrees, written as the opposite quaternion.
    writer = animated("rotation", [0, 1], [[0, 0, 0, 1], [0, 0, -HALF, -HALF]])
    angle = np.pi / 2 * 0.3
    want = [np.cos(angle), np.sin(angle), 0]
    np.testing.assert_allclose(vertices_of(writer, tmp_path, time=0.3)[1], want, atol=1e-6)
    same = animated("rotation", [0, 1], [[0, 0, 0, 1], [0, 0, 0, 1]])
    np.testing.assert_array_equal(vertices_of(same, tmp_path, time=0.3), SQUARE)


def test_cubic_spline(tmp_path):
    # y = t³ has slopes 3 t²: a cubic is its own Hermite spline.
    times = np.array([1.0, 3.0])
    values = [[[0, 3 * t**2, 0], [0, t**3, 0], [0, 3 * t**2, 0]] for t in times]
    writer = animated("translation", times, np.reshape(values, (6, 3)), "CUBICSPLINE")
    for time in (0.0, 1.0, 1.5, 2.7, 3.0, 5.0):
        want = np.clip(time, 1, 3) ** 3
        np.testing.assert_allclose(vertices_of(writer, tmp_path, time=time)[0, 1], want, rtol=1e-5)


def test_several_animations_at_once(tmp_path):
    """Blender writes one for each object: those not asked for are named."""
    writer = animated("translation", [0, 2], [[0, 0, 0], [4, 0, 0]])
    turn = {**writer.json["animations"][0], "name": "grow"}
    keys = writer.accessor(np.array([[1, 1, 1], [3, 3, 3]], np.float32))
    samplers = [{**turn["samplers"][0], "output": keys}]
    target = {"node": 0, "path": "scale"}
    writer.item(
        "animations",
        **{**turn, "samplers": samplers, "channels": [{"sampler": 0, "target": target}]},
    )
    both = vertices_of(writer, tmp_path, time=1, animation=["move", 1])
    np.testing.assert_allclose(both[:2], [[2, 0, 0], [4, 0, 0]])
    with pytest.warns(UserWarning, match=r"all animations but the first, of \['move', 'grow'\]"):
        first = vertices_of(writer, tmp_path, time=1)
    np.testing.assert_allclose(first[:2], [[2, 0, 0], [3, 0, 0]])
    with pytest.raises(ValueError, match="`animation` must be a number or a name, got None"):
        load(writer, tmp_path, time=1, animation=[None])


def test_morphed_colours_stay_in_range(tmp_path):
    writer = Writer()
    red, more = (
        writer.accessor(np.tile(np.array(color, np.float32), (4, 1)))
        for color in ([1, 0, 0.25], [0.5, -1, 0.5])
    )
    square = {"attributes": {"COLOR_0": red}, "targets": [{"COLOR_0": more}]}
    writer.draw(writer.mesh(**square), weights=[1.0])
    assert load(writer, tmp_path, colors="linear").texture.colors[0].tolist() == [1, 0, 0.75]


def test_animated_weights(tmp_path):
    writer = animated("weights", [0, 2], [0, 0, 1, 0.5], weights=[1, 1])
    assert vertices_of(writer, tmp_path)[0].tolist() == [0, 10, 1]
    assert vertices_of(writer, tmp_path, time=1.0)[0].tolist() == [0, 2.5, 0.5]


def test_bad_animations(tmp_path):
    writer = animated("translation", [0, 1], [[0, 0, 0], [1, 1, 1]])
    with pytest.raises(ValueError, match=r"a\.glb.* no animation 'x', of 1: \['move'\]"):
        load(writer, tmp_path, time=0, animation="x")
    with pytest.raises(ValueError, match="no animation 3"):
        load(writer, tmp_path, time=0, animation=3)
    with pytest.raises(ValueError, match="`time` must say when"):
        load(writer, tmp_path, animation=1)
    for time in (np.nan, "1", [1.0]):
        with pytest.raises(ValueError, match="`time` must be seconds"):
            load(writer, tmp_path, time=time)
    with pytest.raises(ValueError, match="`scene` must be"):
        load(writer, tmp_path, scene=1.5)
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match="`time` is for glTF"):
        io.load_mesh(tmp_path / "a.obj", time=0.0)
    with pytest.raises(ValueError, match="2 times fall, or do not fit"):
        load(animated("translation", [1, 0], [[0, 0, 0]] * 2), tmp_path, time=0)
    with pytest.raises(ValueError, match="3 numbers for rotation"):
        load(animated("rotation", [0, 1], [[0, 0, 0]] * 2), tmp_path, time=0)
    columns = np.eye(4).reshape(-1).tolist()
    with pytest.raises(ValueError, match="has a matrix, and is animated"):
        load(animated("scale", [0], [[1, 1, 1]], matrix=columns), tmp_path, time=0)
    pointer = animated("pointer", [0], [[1, 1, 1]])
    with pytest.warns(UserWarning, match="animation of pointer"):
        load(pointer, tmp_path, time=0)


def skinned(joints, weights, **node):
    """A square whose right side hangs on a second bone, at (1, 0, 0), which is turned."""
    writer = Writer()
    columns = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    columns[1, :3, 3] = [-1, 0, 0]
    sets = {f"JOINTS_{k}": writer.accessor(np.uint8(j)) for k, j in enumerate(joints)}
    sets |= {f"WEIGHTS_{k}": writer.accessor(np.float32(w)) for k, w in enumerate(weights)}
    writer.mesh(attributes=sets)
    binds = writer.accessor(columns)
    writer.item("skins", joints=[1, 2], inverseBindMatrices=binds)
    writer.draw(skin=0, **node)
    writer.item("nodes", children=[2], translation=[0, 0, 5])
    writer.item("nodes", translation=[1, 0, 0], rotation=[0, 0, HALF, HALF])
    writer.json["scenes"][0]["nodes"].append(1)
    return writer


def test_skin_with_two_joints(tmp_path):
    joints = [[0, 9, 9, 9], [1, 9, 9, 9], [1, 9, 9, 9], [0, 1, 9, 9]]
    weights = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0]]
    # Where the mesh's own node stands does not count.
    writer = skinned([joints], [weights], translation=[100, 0, 0], scale=[3, 3, 3])
    want = [[0, 0, 5], [1, 0, 5], [0, 0, 5], [(0 + 0) / 2, (1 - 1) / 2, 5]]
    # (1, 1) is (0, 1) from the bone, which turns it to (-1, 0); (0, 1) is (-1, 1), turned (-1, -1).
    np.testing.assert_allclose(vertices_of(writer, tmp_path), want, atol=1e-6)


def test_animated_joints(tmp_path):
    writer = skinned([np.zeros((4, 4))], [np.tile([1, 0, 0, 0], (4, 1))])
    sampler = {
        "input": writer.accessor(np.float32([0, 2])),
        "output": writer.accessor(np.float32([[0, 0, 0], [0, 4, 0]])),
    }
    channel = {"sampler": 0, "target": {"node": 1, "path": "translation"}}
    writer.item("animations", samplers=[sampler], channels=[channel])
    found = vertices_of(writer, tmp_path, time=1.0)
    np.testing.assert_allclose(found, np.add(SQUARE, [0, 2, 0]), atol=1e-6)


def test_skin_with_two_sets(tmp_path):
    one = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    two = np.ones((4, 4))
    weights = [[[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0.5, 0, 0, 0]],
               [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0.25, 0.25, 0, 0]]]  # fmt: skip
    writer = skinned([one, two], weights)
    want = [[0, 0, 5], [1, 0, 5], [0, 0, 5], [0, 0, 5]]
    np.testing.assert_allclose(vertices_of(writer, tmp_path), want, atol=1e-6)


def test_skins_that_do_not_fit(tmp_path):
    joints, weights = np.zeros((4, 4)), np.tile([1, 0, 0, 0], (4, 1))
    with pytest.raises(ValueError, match=r"names joint 2, of 2 in skins\[0\]"):
        load(skinned([joints + 2], [weights]), tmp_path)
    with pytest.warns(UserWarning, match="4 vertices without weights"):
        found = vertices_of(skinned([joints], [weights * 0]), tmp_path)
    np.testing.assert_allclose(found, np.add(SQUARE, [0, 0, 5]), atol=1e-6)
    # Weights that do not add up to 1 are taken in proportion.
    found = vertices_of(skinned([joints], [weights * 0.25]), tmp_path)
    np.testing.assert_allclose(found, np.add(SQUARE, [0, 0, 5]), atol=1e-6)


def test_a_mirrored_skeleton_turns_faces(tmp_path):
    writer = skinned([np.zeros((4, 4))], [np.tile([1, 0, 0, 0], (4, 1))])
    writer.json["nodes"][1]["scale"] = [-1, 1, 1]
    assert load(writer, tmp_path).faces.tolist() == [[0, 2, 1], [0, 3, 2]]


# --- materials ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_samplers_of_one_file(tmp_path):
    writer = Writer()
    samplers = [{"wrapS": 33648, "wrapT": 33071}, {"magFilter": 9728}]
    numbers = [writer.item("samplers", **sampler) for sampler in samplers]
    wide = np.float32([[-1, 2], [2, 2], [2, -1], [-1, -1]])
    mirrored = textured(writer, writer.picture(QUAD, sampler=numbers[0]), wide)
    nearest = textured(writer, writer.picture(QUAD, sampler=numbers[1]), wide)
    mesh = load(writer.draw(mirrored), tmp_path)
    assert (mesh.texture.wrap, mesh.texture.samplers) == (("mirror", "clamp"), None)
    mesh = load(writer.draw(nearest, translation=[2, 0, 0]), tmp_path)
    assert mesh.texture.samplers.tolist() == [[2, 1, 0]] * 2 + [[0, 0, 1]] * 2
    # At (1/12, 1/12) u is -.75: mirrored .75, repeated .25; v is 1.75 from the top, below the end.
    np.testing.assert_allclose(color_at(mesh, 1 / 12, 1 / 12) * 255, GOLD, atol=0.5)
    np.testing.assert_allclose(color_at(mesh, 2 + 1 / 12, 1 / 12) * 255, BLUE, atol=0.5)


def test_texture_transform_turns_and_names_a_set(tmp_path):
    # A quarter turn is counter-clockwise where v is down: (u, v) becomes (v, -u).
    writer = Writer(extensionsRequired=["KHR_texture_transform"])
    transform = {"rotation": np.pi / 2, "offset": [0, 1], "scale": [0.5, 1], "texCoord": 1}
    info = {"extensions": {"KHR_texture_transform": transform}, "texCoord": 0}
    mesh = textured(writer, writer.picture(QUAD), np.zeros((4, 2), np.float32), info=info)
    attributes = writer.json["meshes"][mesh]["primitives"][0]["attributes"]
    attributes["TEXCOORD_1"] = writer.accessor(UV)
    found = load(writer.draw(mesh), tmp_path).texture.uv
    want = np.stack([UV[:, 1], 1 - 0.5 * UV[:, 0]], -1)
    np.testing.assert_allclose(found, want * [1, -1] + [0, 1], atol=1e-6)


@pytest.mark.slow
def test_pictures_of_every_kind(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rgb = image.fromarray(np.full((2, 2, 3), [200, 100, 50], np.uint8))
    for pixels, format, want in [
        (rgb.quantize(4), "PNG", [200, 100, 50]),
        (rgb.convert("RGBA"), "PNG", [200, 100, 50]),
        (rgb, "WEBP", [200, 100, 50]),
        (image.fromarray(np.full((2, 2), 70, np.uint8)), "PNG", [70] * 3),
        (image.fromarray(np.full((2, 2), 70 * 257, np.uint16)), "PNG", [70] * 3),
        (image.fromarray(np.full((2, 2), 70, np.uint8)), "JPEG", [70] * 3),
    ]:
        writer = Writer()
        more = {"source": None} if format == "WEBP" else {}
        texture = writer.picture(pixels, format, **more)
        if format == "WEBP":
            writer.json["extensionsRequired"] = ["EXT_texture_webp"]
            writer.json["textures"] = [{"extensions": {"EXT_texture_webp": {"source": 0}}}]
        mesh = load(writer.draw(textured(writer, texture)), tmp_path)
        np.testing.assert_allclose(color_at(mesh, 0.5, 0.5) * 255, want, atol=0.5)


def test_files_beside_and_within(tmp_path):
    writer = Writer()
    writer.draw(textured(writer, writer.picture(QUAD)))
    image = writer.json["images"][0]
    view = writer.json["bufferViews"][image["bufferView"]]
    start = view["byteOffset"]
    (tmp_path / "a b.png").write_bytes(writer.data[start : start + view["byteLength"]])
    for uri in (None, "a b.png", "a%20b.png"):
        if uri is not None:
            writer.json["images"] = [{"uri": uri}]
        for buffer in (None, "data.bin"):
            path = writer.save_json(tmp_path / "a.gltf", buffer)
            mesh = io.load_mesh(path)
            np.testing.assert_allclose(color_at(mesh, 0.25, 0.75) * 255, RED, atol=0.5)
    writer.json["images"] = [{"uri": "gone.png"}]
    with pytest.warns(UserWarning, match=r"images\[0\] is missing: there is no file gone\.png"):
        mesh = io.load_mesh(writer.save_json(path))
    assert isinstance(mesh.texture, jr.FaceTexels)
    (tmp_path / "data.bin").unlink()
    path.write_text(path.read_text().replace('"uri": "data:', '"uri": "nothing:'))
    with pytest.raises(ValueError, match=r"a\.gltf: buffers\[0\] is missing"):
        io.load_mesh(path)


def test_colours_of_vertices_times_pictures(tmp_path):
    # The product of linear values where they are linear; colours that are alike go into the image.
    colors = np.float32([[1, 0, 0.5, 1], [1, 1, 1, 1], [0, 1, 0, 1], [0.5, 0.5, 0.5, 1]])
    texture = np.full((2, 2, 3), 188, np.uint8)
    writer = Writer()
    mesh = textured(writer, writer.picture(texture), metal={"baseColorFactor": [0.5, 1, 1, 1]})
    attributes = writer.json["meshes"][mesh]["primitives"][0]["attributes"]
    attributes["COLOR_0"] = writer.accessor(colors)
    path = writer.draw(mesh).save(tmp_path / "a.glb")
    light = recode(np.full(3, 188 / 255), "display", "linear")
    want = light * [0.5, 1, 1] * (colors[0] + colors[2])[:3] / 2
    np.testing.assert_allclose(color_at(linear_mesh(path), 0.5, 0.5), want, atol=1e-6)
    with pytest.warns(UserWarning, match="the curve of display values"):
        io.load_mesh(path)
    attributes["COLOR_0"] = writer.accessor(
        np.tile(np.uint8([51, 102, 0, 9]), (4, 1)), normalized=True
    )
    mesh = load(writer, tmp_path)
    assert mesh.texture.tint is None
    want = encoded(light * [0.5, 1, 1] * np.array([0.2, 0.4, 0]))
    np.testing.assert_allclose(color_at(mesh, 0.5, 0.5), want, atol=1e-6)


def test_colours_of_one_part_and_a_factor_of_the_other(tmp_path):
    writer = Writer()
    factor = {"baseColorFactor": [0.5, 0.2, 0.02, 1]}
    material = writer.item("materials", pbrMetallicRoughness=factor)
    colors = writer.accessor(np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]))
    writer.draw(writer.mesh(attributes={"COLOR_0": colors}))
    writer.draw(writer.mesh(material=material), translation=[3, 0, 0])
    mesh = load(writer, tmp_path)
    assert isinstance(mesh.texture, jr.VertexColors)
    np.testing.assert_allclose(color_at(mesh, 3.5, 0.5), encoded([0.5, 0.2, 0.02]), atol=1e-6)
    np.testing.assert_allclose(color_at(mesh, 0, 0), [1, 0, 0], atol=1e-6)


def test_specular_and_glossy_materials(tmp_path):
    writer = Writer(extensionsUsed=["KHR_materials_pbrSpecularGlossiness"])
    info = {"index": writer.picture(np.full((1, 1, 3), 255, np.uint8))}
    glossy = {"diffuseFactor": [0.2, 0.3, 0.4, 1], "diffuseTexture": info}
    extension = {"KHR_materials_pbrSpecularGlossiness": glossy}
    mesh = textured(writer, 0, extensions=extension)
    mesh = load(writer.draw(mesh), tmp_path)
    np.testing.assert_allclose(color_at(mesh, 0.5, 0.5), encoded([0.2, 0.3, 0.4]), atol=1e-6)


@pytest.mark.parametrize(
    ("material", "words"),
    [
        ({"alphaMode": "BLEND"}, "alphaMode BLEND"),
        ({"alphaMode": "MASK", "alphaCutoff": 0.3}, None),
        ({"emissiveFactor": [0, 0.1, 0]}, None),
        ({"normalTexture": {"index": 0}}, "a normal map"),
        ({"occlusionTexture": {"index": 0}}, "an occlusion map"),
        ({"pbrMetallicRoughness": {"metallicFactor": 1}}, "metallic surfaces"),
        (
            {"pbrMetallicRoughness": {"metallicRoughnessTexture": {"index": 0}}},
            "metallic and rough",
        ),
        ({"extensions": {"KHR_materials_unlit": {}}}, None),
        ({}, None),
    ],
)
def test_what_is_not_drawn_is_named(tmp_path, material, words):
    writer = Writer(extensionsUsed=["KHR_materials_unlit"])
    writer.picture(QUAD)
    writer.draw(writer.mesh(material=writer.item("materials", **copy.deepcopy(material))))
    raw = None
    path = writer.save(tmp_path / "a.glb")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        raw = gltf.read_gltf(path, read_rgb)
    assert [words in str(w.message) for w in caught] == ([True] if words else [])
    (found,) = raw.materials
    assert raw.face_material.tolist() == [0, 0]
    assert found.unlit == ("extensions" in material)
    assert found.alpha_mode == material.get("alphaMode", "OPAQUE")
    assert found.alpha_cutoff == material.get("alphaCutoff", 0.5)
    assert found.emissive.tolist() == material.get("emissiveFactor", [0, 0, 0])
    assert (found.normal_texture is not None) == ("normalTexture" in material)


def test_numbers_of_materials_out_of_range(tmp_path):
    writer = Writer()
    metal = {"baseColorFactor": [2, -1, 0.5, 1], "metallicFactor": -3, "roughnessFactor": 9}
    material = writer.item("materials", pbrMetallicRoughness=metal, emissiveFactor=[-1, 1, 0])
    writer.draw(writer.mesh(material=material))
    with pytest.warns(UserWarning, match="out of range in baseColorFactor; .* roughnessFactor$"):
        mesh = load(writer, tmp_path, colors="linear")
    assert mesh.texture.texels[0, 0, 0].tolist() == [2, 0, 0.5]
    found = mesh.material
    assert (found.metallic.tolist(), found.roughness.tolist()) == ([0], [1])
    assert found.emissive.texels[0, 0, 0].tolist() == [0, 1, 0]
    writer.json["materials"][0]["alphaMode"] = "mask"
    with pytest.raises(ValueError, match="alphaMode 'mask', which does not exist"):
        load(writer, tmp_path)


def test_a_missing_set_of_coordinates_is_warned_of(tmp_path):
    writer = Writer()
    mesh = textured(writer, writer.picture(QUAD), info={"texCoord": 2},
                    metal={"baseColorFactor": [0.5, 0.5, 0.5, 1]})  # fmt: skip
    with pytest.warns(UserWarning, match="has no TEXCOORD_2"):
        mesh = load(writer.draw(mesh), tmp_path)
    np.testing.assert_allclose(mesh.texture.texels[0, 0, 0], encoded([0.5] * 3), atol=1e-6)


# --- extensions and broken files ------------------------------------------------------------------


def test_extensions(tmp_path):
    writer = Writer(extensionsUsed=["VENDOR_a", "VENDOR_b", "VENDOR_a"])
    writer.mesh()
    with pytest.warns(UserWarning, match="the extension VENDOR_a; the extension VENDOR_b$"):
        load(writer.draw(), tmp_path)
    writer.json["extensionsRequired"] = ["VENDOR_a"]
    with pytest.raises(ValueError, match=r"a\.glb: it requires the extension VENDOR_a"):
        load(writer, tmp_path)
    writer = Writer()
    writer.item("textures", extensions={"KHR_texture_basisu": {"source": 0}})
    writer.draw(textured(writer, 0))
    with pytest.warns(UserWarning, match="a texture of KHR_texture_basisu"):
        load(writer, tmp_path)


def test_meshopt(tmp_path):
    writer = Writer(extensionsRequired=["EXT_meshopt_compression"])
    writer.mesh()
    writer.draw()
    try:
        import meshopt
    except ImportError:
        meshopt = None
    for number, (values, mode) in enumerate([(SQUARE, "ATTRIBUTES"), (CORNERS, "TRIANGLES")]):
        view = writer.json["bufferViews"][number]
        data = b"none"
        if meshopt is not None:
            data = meshopt.encode_gltf_buffer(values, mode)
        packed = writer.json["bufferViews"][writer.view(data)]
        writer.json["bufferViews"].pop()
        packed |= {"count": len(values), "byteStride": values[0].nbytes, "mode": mode}
        view["extensions"] = {"EXT_meshopt_compression": packed}
        view["buffer"] = 7  # the fallback need not exist
    if meshopt is None:
        with pytest.raises(ImportError, match="EXT_meshopt_compression needs meshopt: pip install"):
            load(writer, tmp_path)
        return
    mesh = load(writer, tmp_path)
    np.testing.assert_array_equal(mesh.vertices, SQUARE)
    # The codec may turn triangles round, but not over.
    assert sorted(sorted(face) for face in mesh.faces.tolist()) == [[0, 1, 2], [0, 2, 3]]


def test_draco(tmp_path):
    writer = Writer(extensionsRequired=["KHR_draco_mesh_compression"])
    mesh = writer.mesh(attributes={"COLOR_0": writer.accessor(np.zeros((4, 4), np.uint8))})
    primitive = writer.json["meshes"][mesh]["primitives"][0]
    writer.json["accessors"][primitive["attributes"]["COLOR_0"]]["normalized"] = True
    colors = np.uint8([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [0, 0, 0, 255]])
    data, numbers = b"none", {"POSITION": 0, "COLOR_0": 1}
    try:
        import DracoPy
    except ImportError:
        DracoPy = None
    else:
        data = DracoPy.encode(SQUARE, CORNERS.reshape(-1, 3), colors=colors, preserve_order=True)
        found = DracoPy.decode(data).attributes
        numbers = {
            {0: "POSITION", 2: "COLOR_0"}[a["attribute_type"]]: a["unique_id"] for a in found
        }
    extension = {"bufferView": writer.view(data), "attributes": numbers}
    primitive["extensions"] = {"KHR_draco_mesh_compression": extension}
    writer.draw()
    if DracoPy is None:
        with pytest.raises(
            ImportError, match="KHR_draco_mesh_compression needs DracoPy: pip install"
        ):
            load(writer, tmp_path)
        return
    mesh = load(writer, tmp_path)
    for place, color in zip(SQUARE, colors, strict=True):
        found = color_at(mesh, *(place[:2] * 0.9998 + 0.0001))
        np.testing.assert_allclose(found * 255, color[:3], atol=1)


def square():
    writer = Writer()
    writer.mesh()
    return writer.draw()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda j: j["nodes"][0].update(children=[0]), "circle"),
        (lambda j: j["nodes"].extend([{"children": [2]}, {"children": [1]}]), "circle"),
        (lambda j: j["nodes"].extend([{"children": [0]}, {"children": [0]}]), "child of two"),
        (lambda j: j["nodes"][0].update(mesh=4), r"meshes\[4\] is asked for, of 1"),
        (lambda j: j["nodes"][0].update(children=[9]), r"nodes\[9\] is asked for"),
        (lambda j: j["nodes"][0].update(rotation=[0, 0, 0, 0]), "quaternion 0"),
        (lambda j: j["nodes"][0].update(scale=[1, 2]), r"nodes\[0\]\.scale must be 3 finite"),
        (lambda j: j["nodes"][0].update(scale=[1, 2, "x"]), r"nodes\[0\]\.scale is not numbers"),
        (lambda j: j["nodes"][0].update(scale=[1, 2, 1e999]), "finite|Infinity"),
        (lambda j: j["accessors"][0].update(count=5), r"accessors\[0\] ends at byte 60 .* has 48"),
        (lambda j: j["accessors"][0].update(count=-1), r"accessors\[0\]\.count must be a whole"),
        (lambda j: j["accessors"][0].update(count=10**30), "ends at byte|out of"),
        (lambda j: j["accessors"][0].update(byteOffset=8), r"accessors\[0\] ends"),
        (lambda j: j["accessors"][0].update(componentType=1), "unknown type VEC3 of 1"),
        (lambda j: j["accessors"][0].update(type="VEC9"), "unknown type VEC9"),
        (lambda j: j["accessors"][0].update(type="VEC2"), "POSITION has 2 components"),
        (lambda j: j["accessors"][0].update(count=2), "names vertex 3, of 2"),
        (lambda j: j["accessors"][1].update(componentType=5126), "ends at byte|no whole"),
        (lambda j: j["accessors"][0].pop("bufferView") or j["accessors"][0].update(count=10**12),
         "but no buffer view"),
        (lambda j: j["bufferViews"][0].update(byteLength=999), r"bufferViews\[0\] ends at byte 9"),
        (lambda j: j["bufferViews"][0].update(byteOffset=-4), r"byteOffset must be a whole number"),
        (lambda j: j["bufferViews"][0].update(byteStride=8), "elements of 12 bytes, 8 apart"),
        (lambda j: j["bufferViews"][0].update(buffer=3), r"buffers\[3\] is asked for, of 1"),
        (lambda j: j["meshes"][0]["primitives"][0].update(mode=9), "mode 9"),
        (lambda j: j["meshes"][0]["primitives"][0].update(indices=None), r"accessors\[None\]"),
        (lambda j: j["meshes"][0]["primitives"][0].update(material=2), r"materials\[2\] is asked"),
        (lambda j: j.update(scene=3), r"scenes\[3\] is asked for, of 1"),
        (lambda j: j["scenes"][0].update(nodes=[]), "it has no faces"),
        (lambda j: j.update(nodes=3), "`nodes` is not a list"),
        (lambda j: j.update(asset={"version": "1.0"}), r"glTF 1\.0, known is 2\.0"),
        (lambda j: j["meshes"][0].pop("primitives"), "it lacks 'primitives'"),
    ],
)  # fmt: skip
def test_broken_json(tmp_path, change, message):
    writer = square()
    change(writer.json)
    with pytest.raises(ValueError, match=rf"a\.glb.*({message})"):
        load(writer, tmp_path)


def test_broken_files(tmp_path):
    whole = square().glb()
    path = tmp_path / "a.glb"
    for end in (0, 3, 11, 19, 25, 60, len(whole) - 60, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"cannot read the mesh .*a\.glb"):
            io.load_mesh(path)
    path.write_bytes(whole + b"more")
    with pytest.warns(UserWarning, match="4 bytes behind its end"):
        io.load_mesh(path)
    for place, word in [(4, 1), (8, 10**9), (12, 10**9), (16, 0)]:
        path.write_bytes(whole[:place] + struct.pack("<I", word) + whole[place + 4 :])
        with pytest.raises(ValueError, match=r"a\.glb"):
            io.load_mesh(path)
    positions = SQUARE.copy()
    positions[2, 1] = np.nan
    writer = Writer()
    writer.mesh(positions)
    with pytest.raises(ValueError, match="POSITION: element 2 is not finite"):
        load(writer.draw(), tmp_path)


def test_mutated_files_end_in_an_error_or_a_mesh(tmp_path):
    writer = Writer()
    writer.draw(textured(writer, writer.picture(QUAD)))
    whole = bytearray(writer.glb())
    random = np.random.default_rng(0)
    path = tmp_path / "a.glb"
    for _ in range(150):
        changed = bytearray(whole)
        for place in random.integers(12, len(whole), 3):
            changed[place] = random.integers(0, 256)
        path.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                mesh = io.load_mesh(path, texture="none")
            except ValueError:
                continue
            assert np.isfinite(mesh.vertices).all()
