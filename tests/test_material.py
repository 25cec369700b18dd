"""`Material`: drawn by both rasterisers, carried along, and read from files."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gltf_writer import Writer
from mesh_files import load, page, write, write_png
from quick import jit

import jaxrender as jr
from jaxrender._color import decode, encode
from jaxrender._material import surface_texture

SIZE = (12, 12)
CAMERA = jr.look((0.0, 0.0, 2.0), projection=jr.orthographic(2.0))
LIGHTS = jr.make_lights(0.3, [((0.2, 0.3, 1.0), 0.5)], specular=0.2, shininess=4.0)
SOFT = jr.Soft(sigma=1e-7, gamma=1e-3)
RASTERIZERS = {"hard": jr.Hard(), "soft": SOFT, "soft, nearest": dataclasses.replace(
    SOFT, aggregate_rgb="hard")}  # fmt: skip


def cards(count, seed=0) -> jr.Mesh:
    """Squares that fill the picture one behind the other, in RGBA pictures of 4 x 4 texels."""
    rng = np.random.default_rng(seed)
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    vertices = np.concatenate([square - [0, 0, 0.1 * k] for k in range(count)])
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * k for k in range(count)])
    uv = np.tile(square[:, :2] / 2 + 0.5, (count, 1))
    image = rng.uniform(size=(4 * count, 4, 4)).astype(np.float32)
    image[..., 3] = rng.integers(0, 2, (4 * count, 4))
    pages = np.repeat([[4 * k, 4, 4] for k in range(count)], 2, axis=0)
    texture = jr.UVTexture(image, uv.astype(np.float32), faces, pages, filter="nearest")
    return jr.Mesh(vertices.astype(np.float32), faces, texture)


def draw(mesh, rasterizer=None, shading="none", lights=LIGHTS, **options):
    return jr.render(
        mesh, CAMERA, lights, image_size=SIZE, shading=shading, rasterizer=rasterizer, **options
    )


def texel_grid(mesh):
    """The texel of each card at each pixel, `[count, 12, 12, 4]`: 3 x 3 pixels have one."""
    image = np.asarray(mesh.texture.image).reshape(-1, 4, 4, 4)
    return image.repeat(3, axis=1).repeat(3, axis=2)


def first_opaque(texels, cutoff):
    """The colour and number of the first card at each pixel whose alpha reaches the cutoff."""
    opaque = texels[..., 3] >= cutoff
    which = np.where(opaque.any(0), opaque.argmax(0), -1)
    color = np.take_along_axis(texels, np.maximum(which, 0)[None, ..., None], 0)[0, ..., :3]
    return np.where((which >= 0)[..., None], color, 0), which


@pytest.mark.thorough
@pytest.mark.parametrize("name", RASTERIZERS)
def test_holes_show_what_is_behind(name):
    mesh = cards(4)
    masked = dataclasses.replace(mesh, material=jr.Material(alpha_cutoff=jnp.array([0.5])))
    want, which = first_opaque(texel_grid(mesh), 0.5)
    assert set(np.unique(which)) == {-1, 0, 1, 2, 3}

    @jit
    def picture(mesh):
        return draw(mesh, RASTERIZERS[name]), jr.silhouette(
            mesh, CAMERA, image_size=SIZE, rasterizer=RASTERIZERS[name]
        )

    image, outline = picture(masked)
    np.testing.assert_allclose(image.rgb, want, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(image.alpha) > 0.5, which >= 0)
    np.testing.assert_array_equal(np.asarray(outline) > 0.5, which >= 0)
    np.testing.assert_allclose(image.depth, np.where(which < 0, 0, 2 + 0.1 * which), atol=1e-4)
    # Without a cutoff alpha does nothing.
    whole = dataclasses.replace(mesh, material=jr.Material())
    want = texel_grid(mesh)[0, ..., :3]
    np.testing.assert_allclose(jit(draw)(whole, RASTERIZERS[name]).rgb, want, atol=1e-5)


@jit
def outline(mesh):
    return jr.silhouette(mesh, CAMERA, image_size=SIZE)


@pytest.mark.slow
def test_holes_in_faces_at_one_depth():
    """None is skipped and none is drawn twice: the order is that of their numbers."""
    mesh = cards(8, seed=1)
    flat = dataclasses.replace(mesh, vertices=mesh.vertices * [[1, 1, 0]])
    material = jr.Material(alpha_cutoff=jnp.array([0.5]))
    picture = jit(draw)(dataclasses.replace(flat, material=material))
    want, which = first_opaque(texel_grid(mesh), 0.5)
    np.testing.assert_allclose(picture.rgb, want, atol=1e-6)
    assert (which >= 4).any()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["hard", "soft"])
def test_holes_under_vmap(name):
    one, other = cards(3), cards(3, seed=5)
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, other)
    material = jr.Material(alpha_cutoff=jnp.array([0.5]))

    def picture(mesh, cutoff):
        mesh = dataclasses.replace(mesh, material=jr.Material(alpha_cutoff=cutoff[None]))
        return draw(mesh, RASTERIZERS[name], "flat").rgb

    cutoffs = jnp.array([0.5, 0.0])
    got = jit(jax.vmap(picture))(many, cutoffs)
    alone = jit(picture)
    for index, mesh in enumerate((one, other)):
        np.testing.assert_allclose(got[index], alone(mesh, cutoffs[index]), atol=1e-6)
    several = jit(jax.vmap(picture, (None, 0)))(one, cutoffs)
    np.testing.assert_allclose(several[0], got[0], atol=1e-6)
    assert material.count == 1


@pytest.mark.long
@pytest.mark.parametrize("name", ["hard", "soft"])
def test_gradient_through_holes(name, x64):
    """That of what is seen: alpha is a mask, of which there is none."""
    mesh = jax.tree.map(lambda a: a.astype(np.float64) if a.dtype != np.int64 else a, cards(3))
    mesh = dataclasses.replace(mesh, faces=mesh.faces.astype(np.int32))
    rng = np.random.default_rng(0)
    upstream = jnp.asarray(rng.normal(size=(*SIZE, 3)))
    soft = jr.Soft(sigma=1e-3, gamma=1e-2)

    def value(image, shift, base, lights):
        texture = dataclasses.replace(mesh.texture, image=image)
        material = jr.Material(base_color=base, alpha_cutoff=jnp.array([0.5]), unlit=lights[1:])
        vertices = jnp.asarray(mesh.vertices).at[:, 2].add(shift)
        made = jr.Mesh(vertices, mesh.faces, texture, material=material)
        rasterizer = soft if name == "soft" else jr.Hard()
        return (draw(made, rasterizer, "phong", jr.make_lights(lights[0])).rgb * upstream).sum()

    args = mesh.texture.image, jnp.float64(0.0), jnp.array([[0.7, 0.8, 0.9, 1.0]])
    args = (*args, jnp.array([0.4, 0.0]))
    value_quickly, slopes = jit(value), jit(jax.grad(value, (0, 1, 2, 3)))(*args)
    assert not np.asarray(slopes[0])[..., 3].any()
    ways = [jnp.asarray(rng.normal(size=np.shape(arg))) for arg in args]
    ways[0] = ways[0].at[..., 3].set(0)
    ways[2], ways[3] = ways[2].at[:, 3].set(0), ways[3].at[1].set(0)
    if name == "soft":
        ways[1] = ways[1] * 0  # the nearest depth is where alpha is drawn from
    step = 1e-6
    ahead, back = (
        value_quickly(*(arg + sign * step * way for arg, way in zip(args, ways, strict=True)))
        for sign in (1, -1)
    )
    want = (ahead - back) / (2 * step)
    got = sum((slope * way).sum() for slope, way in zip(slopes, ways, strict=True))
    np.testing.assert_allclose(got, want, rtol=1e-5)


# --- light ----------------------------------------------------------------------------------------


def two_groups(**rest) -> jr.Mesh:
    """Two squares side by side, of two materials."""
    square = np.array([[-1, -1, 0], [0, -1, 0], [0, 1, 0], [-1, 1, 0]], np.float32)
    vertices = np.concatenate([square, square + np.array([1, 0, 0])])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    colors = np.random.default_rng(3).uniform(0.1, 0.6, (8, 3)).astype(np.float32)
    return jr.Mesh(vertices.astype(np.float32), faces, jr.VertexColors(colors), **rest)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("shading", "encoding"), [("flat", "display"), ("gouraud", "linear"), ("phong", "display")]
)
def test_light_by_group(shading, encoding):
    """By the book: the light is the same all over, so that all shadings agree."""
    glow = np.random.default_rng(4).uniform(0, 0.4, (4, 1, 1, 3)).astype(np.float32)
    base = np.array([[1.0, 0.5, 0.25, 1.0], [0.5, 0.5, 1.0, 1.0]], np.float32)
    specular = np.array([[0.5, 0.1, 0.2], [0.0, 0.3, 0.1]], np.float32)
    mesh = two_groups(
        material=jr.Material(
            group=np.array([0, 0, 1, 1]),
            base_color=base,
            emissive=jr.FaceTexels(glow, encoding),
            specular=specular,
            shininess=np.array([3.0, 9.0], np.float32),
        )
    )
    mesh = dataclasses.replace(mesh, texture=dataclasses.replace(mesh.texture, encoding=encoding))

    @jit
    def pictures(mesh, unlit):
        material = dataclasses.replace(mesh.material, unlit=unlit)
        mesh = dataclasses.replace(mesh, material=material)
        return [draw(mesh, rasterizer, shading).rgb for rasterizer in (jr.Hard(), SOFT)]

    # The colours of the pixels, which an orthographic camera sees square.
    y, x = (np.mgrid[:12, :12] + 0.5) / 12
    group = (x > 0.5).astype(int)
    plain = jit(lambda mesh: draw(mesh, None, "none").rgb)(dataclasses.replace(mesh, material=None))
    decoded = decode(np.asarray(plain, np.float64)) if encoding == "display" else np.float64(plain)
    own = decoded * base[group][..., :3]
    own = encode(own) if encoding == "display" else own
    toward, to_eye = np.array([0.2, 0.3, 1.0]), np.array([0, 0, 1])
    length = np.linalg.norm(toward)
    half = toward / length + to_eye
    glint = half[2] / np.linalg.norm(half)
    power = np.array([3.0, 9.0])[group][..., None]
    want = own * (0.3 + 0.5) + specular[group] * 0.5 * length * glint**power
    face = 2 * group + ((x % 0.5) * 2 < 1 - y)
    shine = glow[:, 0, 0].astype(np.float64)[face]
    sums = want + shine
    if encoding == "display":
        sums = encode(decode(want) + decode(shine))
    off_edge = np.abs((x % 0.5) * 2 - (1 - y)) > 0.1
    for image in pictures(mesh, np.array([False, False])):
        np.testing.assert_allclose(image[off_edge], sums[off_edge], atol=2e-5)
    want = np.where(group[..., None] == 1, own, sums)
    for image in pictures(mesh, np.array([False, True])):
        np.testing.assert_allclose(image[off_edge], want[off_edge], atol=2e-5)
    if shading == "flat":
        np.testing.assert_allclose(jit(draw)(mesh).rgb, own, atol=2e-5)


@pytest.mark.thorough
def test_a_material_that_says_nothing_changes_nothing():
    mesh = two_groups()
    phong = jit(lambda mesh: draw(mesh, None, "phong"))
    plain = phong(mesh)
    for material in (jr.Material(), jr.Material(metallic=jnp.ones(1), roughness=jnp.ones(1))):
        found = phong(dataclasses.replace(mesh, material=material))
        np.testing.assert_array_equal(found.rgb, plain.rgb)


# --- carried along --------------------------------------------------------------------------------


def full() -> jr.Mesh:
    """A cube with a vertex for each corner, in all that a material has."""
    rng = np.random.default_rng(0)
    cube = jr.shapes.cube()
    corners = np.arange(36, dtype=np.int32).reshape(12, 3)

    def some(*shape):
        return jnp.asarray(rng.uniform(0.1, 1, shape).astype(np.float32))

    picture = jr.UVTexture(some(4, 4, 3), some(36, 2), corners)
    return jr.Mesh(
        cube.vertices[cube.faces].reshape(-1, 3),
        jnp.asarray(corners),
        jr.VertexColors(some(36, 4)),
        material=jr.Material(
            group=jnp.arange(12, dtype=jnp.int32) % 3,
            base_color=some(3, 4),
            alpha_cutoff=jnp.array([0.2, 0.0, 0.3]),
            emissive=picture,
            specular=some(3, 3),
            shininess=some(3) * 10,
            normal_map=jr.FaceTexels(some(12, 1, 1, 3), "linear"),
        ),
    )


@jit
def surfaces(mesh):
    """What a surface is at points of each face: base colour, emission, margin, gloss."""
    texture = surface_texture(mesh, lit=True)
    points = jnp.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [1 / 3, 1 / 3, 1 / 3]])
    face = jnp.repeat(jnp.arange(len(mesh.faces)), 3)
    seen = face, jnp.tile(points, (len(mesh.faces), 1))
    gloss = mesh.material.by_face("specular", len(mesh.faces))
    bumps = jr.sample_texture(mesh.material.normal_map, mesh.faces, *seen)
    values = jr.sample_texture(texture, mesh.faces, *seen)
    return jnp.concatenate([values, jnp.repeat(gloss, 3, axis=0), bumps], axis=-1)


@pytest.mark.thorough
def test_materials_are_carried_along():
    mesh = full()
    want = surfaces(mesh)
    assert want.shape == (36, 13)
    np.testing.assert_allclose(surfaces(jr.weld(mesh)), want, atol=1e-6)
    assert len(jr.weld(mesh).vertices) == 8
    padded = jr.pad_meshes([mesh, jr.subdivide(mesh)])
    np.testing.assert_allclose(surfaces(padded[0])[:36], want, atol=1e-6)
    same = jax.tree.map(jnp.shape, padded[0]) == jax.tree.map(jnp.shape, padded[1])
    assert same
    # The middle quarter of a face has its middle.
    fine = surfaces(jr.subdivide(mesh)).reshape(12, 4, 3, 13)
    np.testing.assert_allclose(fine[:, 3, 2], want.reshape(12, 3, 13)[:, 2], atol=1e-5)
    turned = jr.orient_faces(
        dataclasses.replace(mesh, vertices=mesh.vertices * jnp.array([[-1, 1, 1]]))
    )
    middles = surfaces(turned).reshape(12, 3, 13)[:, 2]
    np.testing.assert_allclose(middles, want.reshape(12, 3, 13)[:, 2], atol=1e-6)


@pytest.mark.thorough
def test_materials_are_joined():
    mesh, plain = full(), jr.shapes.cube()
    both, _ = jr.join_meshes([mesh, plain, mesh])
    assert both.material.count == 7
    found = surfaces(both)
    np.testing.assert_allclose(found[:36], surfaces(mesh), atol=1e-6)
    np.testing.assert_allclose(found[72:], surfaces(mesh), atol=1e-6)
    # White, dark, there, matte, and flat.
    np.testing.assert_allclose(found[36:72, :6], [[1, 1, 1, 0, 0, 0]] * 36, atol=1e-6)
    assert (found[36:72, 6] > 0).all()
    np.testing.assert_allclose(found[36:72, 7:], [[0, 0, 0, 0.5, 0.5, 1]] * 36, atol=1e-6)
    stacked = jr.stack_meshes([plain, dataclasses.replace(plain, material=jr.Material())])
    assert stacked.material.count == 1


@pytest.mark.slow
def test_bad_materials():
    mesh = two_groups()
    texels = jr.FaceTexels(jnp.ones((4, 1, 1, 4)))
    for changes, message in (
        ({"group": np.array([0, 0, 1, 2]), "unlit": np.zeros(2)}, "must name 2 materials"),
        ({"group": np.array([0, 0, 1])}, r"material.group` must be an integer array \[4\]"),
        ({"base_color": np.ones((2, 3))}, r"material.base_color` must be .* \[M, 4\]"),
        ({"base_color": np.ones((3, 4)), "unlit": np.zeros(2)}, "one for each of the 3 materials"),
        ({"alpha_cutoff": np.array([np.nan])}, "material.alpha_cutoff` must be finite"),
        ({"roughness": 0.5}, r"material.roughness` must be .* \[M\]"),
        ({"specular": np.ones((1, 3))}, "must both be given"),
        ({"emissive": texels}, "material.emissive` must have 3 channels, got 4"),
        ({"emissive": np.ones(3)}, "material.emissive`: `texture` must be"),
        ({"emissive": jr.VertexColors(np.ones((8, 3)), "linear")}, "the encoding of the texture"),
    ):
        bad = dataclasses.replace(mesh, material=jr.Material(**changes))
        with pytest.raises(ValueError, match=message):
            draw(bad)
        with pytest.raises(ValueError, match=message):
            jr.pad_meshes([bad])
    for drawn in (draw, lambda bad: jr.silhouette(bad, CAMERA, image_size=SIZE)):
        with pytest.raises(ValueError, match="must be a Material or None, got dict"):
            drawn(dataclasses.replace(mesh, material={}))
    five = dataclasses.replace(mesh, texture=jr.VertexColors(jnp.ones((8, 5))))
    with pytest.raises(ValueError, match="3 channels, or 4 with alpha"):
        draw(dataclasses.replace(five, material=jr.Material()))


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_the_holes_of_blenders_picture(cases):
    """Where Cycles has more than half of a pixel, alpha is above the cutoff in its middle."""
    mesh, said = load(cases.path("blender/alpha_clip.glb"))
    assert not said
    told = json.loads(cases.path("blender/alpha_clip_camera.json").read_text())
    turn = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0]])
    camera = jr.from_opengl(np.array(told["view"]), np.array(told["proj"]), image_size=(120, 160))
    want = cases("blender/alpha_clip_cycles.npz")["rgba_linear"].astype(np.float64)

    @jit
    def picture(mesh):
        return jr.render(mesh, camera, image_size=(120, 160), shading="none")

    image = picture(mesh.transformed(turn))
    covered = want[..., 3] > 0.5
    np.testing.assert_array_equal(np.asarray(image.alpha) > 0.5, covered)
    whole = want[..., 3] > 0.999
    error = np.abs(np.asarray(image.rgb) - encode(want[..., :3]))[whole].max(-1) * 255
    assert np.quantile(error, 0.9) < 1


@pytest.mark.slow
def test_all_of_a_picture_is_a_hole(cases):
    mesh, said = load(cases.path("mask.glb"))
    assert not said
    assert not outline(mesh).any()


@pytest.mark.thorough
def test_gltf_keeps_what_it_says(tmp_path):
    writer = Writer(extensionsUsed=["KHR_materials_emissive_strength", "KHR_materials_unlit"])
    glow = np.full((2, 2, 3), 128, np.uint8)
    uv = writer.accessor(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32))
    index = writer.picture(glow)
    alpha = np.full((4, 4), 1, np.float32)
    alpha[:, 3] = [1, 0.25, 1, 1]
    shine = writer.item(
        "materials",
        alphaMode="BLEND",
        pbrMetallicRoughness={"baseColorFactor": [1, 0.5, 0.25, 0.5], "roughnessFactor": 0.5},
        emissiveFactor=[1, 0.5, 0],
        emissiveTexture={"index": index},
        normalTexture={"index": index, "scale": 0.5},
        extensions={"KHR_materials_emissive_strength": {"emissiveStrength": 2.0}},
    )
    plain = writer.item("materials", alphaMode="MASK", alphaCutoff=0.3,
                        extensions={"KHR_materials_unlit": {}})  # fmt: skip
    attributes = {"TEXCOORD_0": uv, "COLOR_0": writer.accessor(alpha)}
    writer.draw(writer.mesh(attributes=attributes, material=shine))
    writer.draw(writer.mesh(attributes={"TEXCOORD_0": uv}, material=plain))
    mesh, said = load(writer.save(tmp_path / "a.glb"))
    assert "alphaMode BLEND, which is drawn opaque" in said
    assert "a normal map" in said
    material = mesh.material
    assert material.group.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(material.base_color, [[1, 1, 1, 0.5], [1, 1, 1, 1]])
    np.testing.assert_allclose(material.alpha_cutoff, [0, 0.3])
    assert material.blend.tolist() == [1, 0]
    assert material.unlit.tolist() == [0, 1]
    assert material.roughness.tolist() == [0.5, 1]
    np.testing.assert_allclose(mesh.texture.colors[:4, 3], [1, 0.25, 1, 1])
    middle = jnp.arange(4), jnp.full((4, 3), 1 / 3)
    lights = jr.sample_texture(material.emissive, mesh.faces, *middle)
    linear = decode(np.float64(128 / 255)) * np.array([2.0, 1.0, 0.0])
    np.testing.assert_allclose(lights[:2], [encode(linear)] * 2, atol=1e-6)
    assert not lights[2:].any()
    bumps = jr.sample_texture(material.normal_map, mesh.faces, *middle)
    np.testing.assert_allclose(bumps, [[128 / 255] * 3] * 2 + [[0.5, 0.5, 1]] * 2, atol=1e-6)
    assert material.normal_map.encoding == "linear"
    assert material.normal_scale.tolist() == [0.5, 1]


def test_glossy_gltf(tmp_path):
    writer = Writer(extensionsUsed=["KHR_materials_pbrSpecularGlossiness"])
    gloss = {"specularFactor": [0.5, 0.25, 0], "glossinessFactor": 0.5}
    extensions = {"KHR_materials_pbrSpecularGlossiness": gloss}
    writer.draw(writer.mesh(material=writer.item("materials", extensions=extensions)))
    mesh, said = load(writer.save(tmp_path / "a.glb"), colors="linear")
    assert not said
    np.testing.assert_allclose(mesh.material.specular, [[0.5, 0.25, 0]])
    np.testing.assert_allclose(mesh.material.shininess, [30.0])


@pytest.mark.slow
def test_mtl_keeps_what_it_says(tmp_path):
    write_png(tmp_path / "t.png", np.full((2, 2, 3), 0.5))
    mask = np.ones((4, 4, 1))
    mask[:2] = 0
    write_png(tmp_path / "m.png", np.repeat(mask, 3, axis=2))
    mtl = (
        "newmtl a\nKd 1 0 0\nd .5\nKs 1 .5 0\nNs 10\nillum 2\n"
        "newmtl b\nmap_Kd t.png\nmap_d m.png\nKs 1 1 1\nNs 9\nillum 1\n"
        "newmtl c\nKe 0 1 0\nillum 0\nPr .25\n"
    )
    (tmp_path / "m.mtl").write_text(mtl)
    obj = (
        "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\n"
        "usemtl a\nf 1/1 2/2 3/3\nusemtl b\nf 1/1 2/2 3/3\nusemtl c\nf 1/1 2/2 3/3\nf 1 2 4\n"
    )
    mesh, said = load(write(tmp_path / "a.obj", obj), colors="linear")
    assert "takes a map of alpha for a mask: below 0.5 is nothing" in said
    assert "ignores alpha (d, Tr)" in said
    material = mesh.material
    assert material.group.tolist() == [0, 1, 2, 2]
    np.testing.assert_allclose(material.base_color[:, 3], [0.5, 1, 1])
    np.testing.assert_allclose(material.specular, [[1, 0.5, 0], [0, 0, 0], [0, 0, 0]])
    assert material.shininess.tolist()[0] == 10
    assert material.unlit.tolist() == [0, 0, 1]
    assert material.alpha_cutoff.tolist() == [0, 0.5, 0]
    assert material.roughness.tolist() == [1, 1, 0.25]
    assert page(mesh.texture, 1)[..., 3].tolist() == [[0, 0], [1, 1]]
    assert page(mesh.texture, 0)[..., 3].tolist() == [[1]]
    lights = jr.sample_texture(
        material.emissive, mesh.faces, jnp.arange(4), jnp.full((4, 3), 1 / 3)
    )
    np.testing.assert_allclose(lights, [[0, 0, 0]] * 2 + [[0, 1, 0]] * 2, atol=1e-6)


@pytest.mark.slow
def test_saving_says_what_is_lost(tmp_path):
    mesh = dataclasses.replace(full(), texture=jr.VertexColors(jnp.ones((36, 4))))
    with pytest.warns(UserWarning, match="base colours, alpha, emissive light, specular colours"):
        jr.save_mesh(tmp_path / "a.obj", mesh)
    again, said = load(tmp_path / "a.obj")
    assert not said
    assert again.texture.colors.shape == (36, 3)


@pytest.mark.thorough
def test_reflection_of_a_material_needs_an_eye():
    mesh = cards(1)
    shiny = jr.Material(specular=jnp.full((1, 3), 0.5), shininess=jnp.full(1, 8.0))
    mesh = dataclasses.replace(mesh, material=shiny)
    seen = jr.Fragments(jnp.zeros(1, int), jnp.full((1, 3), 1 / 3), jnp.ones(1))
    matt = jr.make_lights(0.3)
    with pytest.raises(ValueError, match="`eye` must be given for a material"):
        jr.shade(seen, mesh, matt)
    jr.shade(seen, mesh, matt, shading="none")
    jr.shade(seen, mesh, matt, eye=jr.viewpoint(CAMERA))
