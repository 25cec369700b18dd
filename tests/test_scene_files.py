"""glTF files as scenes, against the one mesh that `load_mesh` makes of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gltf_writer import SQUARE, Writer

import jaxrender as jr
from jaxrender import io

pytest.importorskip("imageio")

UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
HALF = float(np.sqrt(0.5))
LAMPS = [
    {"type": "directional", "color": [1, 0.5, 0.25], "intensity": 2},
    {"type": "point", "intensity": 10},
    {"type": "spot", "intensity": 8, "spot": {"innerConeAngle": 0.2, "outerConeAngle": 0.6}},
]
LENSES = [
    {"type": "perspective", "perspective": {"yfov": 0.8, "znear": 0.1, "aspectRatio": 1.5}},
    {"type": "orthographic", "orthographic": {"xmag": 2, "ymag": 1, "znear": 0.5, "zfar": 9}},
]


def room():
    """Two squares with pictures, one of them three times and once mirrored, and a coloured one."""
    writer = Writer()
    random = np.random.default_rng(0)
    materials = []
    for size in (4, 3):
        pixels = random.integers(0, 255, (size, size, 3)).astype(np.uint8)
        info = {"index": writer.picture(pixels)}
        metal = {"baseColorTexture": info, "baseColorFactor": [1, 0.5, 1, 1]}
        materials.append(writer.item("materials", pbrMetallicRoughness=metal))
    for material in materials:
        attributes = {"TEXCOORD_0": writer.accessor(UV)}
        writer.mesh(attributes=attributes, material=material)
    plain = writer.item("materials", pbrMetallicRoughness={"baseColorFactor": [0.2, 0.4, 0.6, 1]})
    second = {**writer.json["meshes"][1]["primitives"][0], "material": plain}
    writer.json["meshes"][1]["primitives"].append(second)  # of the same vertices
    writer.draw(0, name="first", translation=[-1, 0, 0])
    writer.draw(0, name="mirrored", scale=[-0.5, 1, 1], translation=[1, 0.2, -1])
    writer.draw(1, rotation=[0, HALF, 0, HALF], translation=[0.3, -1, 0.4])
    writer.draw(0, name="last", scale=[0.4, 0.5, 1], translation=[0, 0, 0.5])
    return writer


def furnished():
    """The same with cameras and lamps, and the first square turned by an animation."""
    writer = room()
    writer.json["extensions"] = {"KHR_lights_punctual": {"lights": LAMPS}}
    writer.json["extensionsUsed"] = ["KHR_lights_punctual"]
    writer.json["cameras"] = LENSES
    places = [
        {"camera": 0, "name": "eye", "translation": [0, 0, 4], "scale": [2, 2, 2]},
        {"camera": 1, "name": "eye", "rotation": [0, HALF, 0, HALF], "translation": [4, 0, 0]},
        *(
            {"extensions": {"KHR_lights_punctual": {"light": light}}, "translation": [0, 1, 2]}
            for light in range(3)
        ),
    ]
    for place in places:
        writer.json["scenes"][0]["nodes"].append(writer.item("nodes", **place))
    times = writer.accessor(np.array([0, 2], np.float32))
    ends = writer.accessor(np.array([[-1, 0, 0], [-1, 2, 0]], np.float32))
    channel = {"sampler": 0, "target": {"node": 0, "path": "translation"}}
    writer.item("animations", samplers=[{"input": times, "output": ends}], channels=[channel])
    return writer


def corners_of(mesh):
    """Where the corners of all faces are, in their order."""
    return np.asarray(mesh.vertices)[np.asarray(mesh.faces)]


def colors_in_the_middle(mesh):
    face = jnp.arange(len(mesh.faces))
    weights = jnp.broadcast_to(jnp.array([0.2, 0.3, 0.5]), (len(face), 3))
    return np.asarray(jr.sample_texture(mesh.texture, mesh.faces, face, weights))


@pytest.mark.thorough
def test_objects_are_where_their_nodes_are_and_shared(tmp_path):
    path = room().save(tmp_path / "room.glb")
    file, mesh = io.load_scene(path), io.load_mesh(path)
    assert file.names == ("first", "mirrored", "nodes[2]", "last")
    assert file.scene.ids.tolist() == [0, 1, 2, 3]
    assert len(file.scene.shapes.faces) == 2 + 2 + 4  # the first square, mirrored, and the other
    assert file.scene.material.count == 5
    assert not file.cameras
    assert file.lights is file.scene.lights is None
    whole = file.scene.mesh()
    same = [0, 1, 4, 5, 6, 7, 8, 9]  # those that are mirrored begin at another corner
    ours, theirs = corners_of(whole), corners_of(mesh)
    np.testing.assert_allclose(ours[same], theirs[same], atol=1e-6)
    normals = [np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]) for c in (ours, theirs)]
    np.testing.assert_allclose(*normals, atol=1e-6)
    seen, expected = colors_in_the_middle(whole), colors_in_the_middle(mesh)
    np.testing.assert_allclose(seen[same], expected[same], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "room", "blender/instances.glb", "morph.glb",
    *(pytest.param(f"blender/{name}.glb", marks=pytest.mark.long) for name in (
        "parented", "mirrored", "armature_posed", "two_materials", "vcol_one_of_two")),
])  # fmt: skip
def test_a_scene_looks_like_the_mesh_of_its_file(cases, tmp_path, name):
    path = room().save(tmp_path / "room.glb") if name == "room" else cases.path(name)
    scene, mesh = io.load_scene(path).scene, io.load_mesh(path)
    camera = jr.frame(mesh, azimuth=30.0, elevation=20.0)
    options = {"image_size": (24, 32), "shading": "gouraud"}
    ours, theirs = (jr.render(drawn, camera, **options) for drawn in (scene, mesh))
    assert theirs.alpha.max() == 1
    np.testing.assert_array_equal(ours.alpha, theirs.alpha)
    np.testing.assert_allclose(ours.rgb, theirs.rgb, atol=1e-5)
    np.testing.assert_allclose(ours.depth, theirs.depth, rtol=1e-5)


@pytest.mark.thorough
def test_cameras_and_lights_are_the_files(tmp_path):
    file = io.load_scene(furnished().save(tmp_path / "a.glb"), exposure=0.5)
    assert list(file.cameras) == ["eye", "eye (2)"]
    assert file.options["eye"] == {"near": 0.1, "far": None}
    assert file.options["eye (2)"] == {"near": 0.5, "far": 9.0}
    assert file.aspects == {"eye": 1.5, "eye (2)": 2.0}
    point = [[0.5, 0.25, 0.0]]
    x, y, z = np.asarray(jr.project(point, file.cameras["eye"]))[0]
    np.testing.assert_allclose([x, y, z], [0.125 / np.tan(0.4), 0.0625 / np.tan(0.4), 4], rtol=1e-5)
    # From +x, looking along -x: what is right is -z.
    seen = jr.project(point, file.cameras["eye (2)"], image_size=(10, 20))
    np.testing.assert_allclose(seen[0], [0, 0.25, 3.5], atol=1e-6)

    lights, scale = file.scene.lights, 0.5 / np.pi
    assert not lights.ambient.any()
    np.testing.assert_allclose(lights.directions, [[0, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(lights.direction_colors, [[2 * scale, scale, scale / 2]], rtol=1e-6)
    np.testing.assert_allclose(lights.positions, [[0, 1, 2]] * 2, atol=1e-6)
    np.testing.assert_allclose(lights.position_colors[:, 0], [10 * scale, 8 * scale], rtol=1e-6)
    # Light of the point, and of the spot at some angles, on a surface that faces them, as glTF has
    # it: a ramp in the cosine, squared.
    angles = np.array([0.0, 0.19, 0.3, 0.5, 0.61])
    way = np.stack([np.sin(angles), np.zeros(5), -np.cos(angles)], -1)
    points, each = np.array([[0, 1, 2]]) + 2 * way, jnp.repeat(jnp.arange(5)[:, None], 3, 1)
    mesh = jr.Mesh(jnp.asarray(points), each, normals=jnp.asarray(-way))
    where = jr.Fragments(jnp.arange(5), jnp.full((5, 3), 1 / 3), jnp.ones(5))
    lit = jr.shade(where, mesh, lights, shading="phong", two_sided=False)
    cosines = np.cos(angles)
    ramp = np.clip((cosines - np.cos(0.6)) / (np.cos(0.2) - np.cos(0.6)), 0, 1) ** 2
    expected = scale * ((10 + 8 * ramp) / 4 + 2 * cosines)
    np.testing.assert_allclose(lit[:, 0], expected, rtol=1e-5)


@pytest.mark.slow
def test_a_scene_stands_as_at_a_time(tmp_path):
    path = furnished().save(tmp_path / "a.glb")
    file = io.load_scene(path, time=0.5)
    np.testing.assert_allclose(file.scene.poses[0, :3, 3], [-1, 0.5, 0], atol=1e-6)
    corner = file.scene.mesh().vertices[0]
    np.testing.assert_allclose(corner, SQUARE[0] + [-1, 0.5, 0], atol=1e-6)
    moved = io.load_scene(path, time=0.5, origin=(0, 100, 0))
    np.testing.assert_allclose(moved.scene.poses[0, :3, 3], [-1, -99.5, 0], atol=1e-5)
    np.testing.assert_allclose(moved.scene.lights.positions[0], [0, -99, 2], atol=1e-5)


@pytest.mark.slow
def test_materials_and_poses_of_objects_can_be_changed(tmp_path):
    file = io.load_scene(room().save(tmp_path / "room.glb"))
    camera = jr.look_at((0, 0.5, 4))

    @jax.jit
    def draw(scene):
        return jr.render(scene, camera, image_size=(24, 32), shading="none")

    image = draw(file.scene)
    assert set(np.unique(image.object)) == {-1, 0, 1, 2, 3}
    gone = draw(file.scene.at(file.scene.poses.at[0, 0, 3].add(50.0)))
    assert not (gone.object == 0).any()
    dark = np.ones((5, 4))
    dark[0, :3] = 0
    painted = draw(file.scene.with_material(base_color=dark))
    assert not painted.rgb[image.object == 0].any()
    np.testing.assert_allclose(painted.rgb[image.object == 3], image.rgb[image.object == 3], 1e-5)
    both = jr.make_scene([*file.objects, jr.shapes.cube(0.1)])
    assert len(both.ids) == 5


def test_what_is_not_kept_or_wrong_is_said(tmp_path):
    writer = furnished()
    writer.json["extensions"]["KHR_lights_punctual"]["lights"] = [{**LAMPS[1], "range": 3}] * 3
    with pytest.warns(UserWarning, match=r"where the light of lamps ends \(`range`\)"):
        io.load_scene(writer.save(tmp_path / "a.glb"))
    for change, message in (
        ({"type": "area"}, "type 'area', known are directional"),
        ({"spot": {"innerConeAngle": 1, "outerConeAngle": 0.5}}, "cones of"),
    ):
        lamps = [{**LAMPS[2], **change}] * 3
        writer.json["extensions"]["KHR_lights_punctual"]["lights"] = lamps
        with pytest.raises(ValueError, match=message):
            io.load_scene(writer.save(tmp_path / "a.glb"))
    writer.json["extensions"]["KHR_lights_punctual"]["lights"] = []
    with pytest.raises(ValueError, match="names light 0, of 0"):
        io.load_scene(writer.save(tmp_path / "a.glb"))
    for name, value, message in (
        ("yfov", 4.0, "field of view of 4.0 radians"), ("znear", -1, "sees from -1.0"),
    ):  # fmt: skip
        writer = furnished()
        lens = {**LENSES[0]["perspective"], name: value}
        writer.json["cameras"] = [{"type": "perspective", "perspective": lens}] * 2
        with pytest.raises(ValueError, match=message):
            io.load_scene(writer.save(tmp_path / "a.glb"))
    with pytest.raises(ValueError, match="Load it with load_mesh"):
        io.load_scene(tmp_path / "a.obj")
    path = furnished().save(tmp_path / "b.glb")
    for change in ({"within_folder": "yes"}, {"origin": "middle"}, {"origin": (0.0, 1.0)}):
        with pytest.raises(ValueError, match=f"`{next(iter(change))}`"):
            io.load_scene(path, **change)
    with pytest.raises(FileNotFoundError, match="no scene file"):
        io.load_scene(tmp_path / "none.glb")
    with pytest.raises(ValueError, match="`exposure` must be positive"):
        io.load_scene(tmp_path / "a.glb", exposure=0)
