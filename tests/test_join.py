"""`join_meshes`: the picture of all meshes together, whatever their textures."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_files import load, write, write_png
from quick import jit

import jaxrender as jr

RNG = np.random.default_rng(0)


def some(*shape):
    return jnp.asarray(RNG.uniform(size=shape).astype(np.float32))


CUBE = jr.shapes.cube()
UV_FACES = jnp.tile(jnp.array([[0, 1, 2]]), (3, 1))
PICTURE = jr.UVTexture(some(4, 3, 3), some(8, 2), CUBE.faces, wrap="clamp")
PAGES = jr.UVTexture(
    some(6, 4, 3),
    some(8, 2),
    CUBE.faces,
    jnp.tile(jnp.array([[0, 2, 4], [2, 4, 3]]), (6, 1)),
    filter="nearest",
    tint=some(8, 3),
)
TEXTURES = {
    "none": None,
    "colors": jr.VertexColors(some(8, 3)),
    "texels": jr.FaceTexels(some(12, 1, 1, 3)),
    "fine texels": jr.FaceTexels(some(12, 2, 2, 3)),
    "cubes": jr.FaceCubes(some(12, 2, 2, 2, 3)),
    "uv": PICTURE,
    "pages": PAGES,
}


@jit
def colors_of(mesh):
    """At three points of each face."""
    face = jnp.repeat(jnp.arange(len(mesh.faces)), 3)
    points = jnp.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [1 / 3, 1 / 3, 1 / 3]])
    where = jnp.tile(points, (len(mesh.faces), 1))
    return jr.sample_texture(mesh.texture, mesh.faces, face, where)


def dressed(*names):
    return [dataclasses.replace(CUBE, texture=TEXTURES[name]) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        *((name, name) for name in TEXTURES),
        ("none", "colors", "texels", "uv", "pages"),
        ("uv", "uv", "none"),
        ("pages", "texels"),
        ("colors", "none"),
    ],
    ids="+".join,
)
def test_it_looks_as_they_do(names):
    meshes = dressed(*names)
    meshes[1] = dataclasses.replace(meshes[1], vertices=meshes[1].vertices + 3)
    whole, objects = jr.join_meshes(meshes)
    assert objects.dtype == jnp.int32
    np.testing.assert_array_equal(objects, np.repeat(np.arange(len(names)), 12))
    corners = [np.asarray(mesh.vertices)[np.asarray(mesh.faces)] for mesh in meshes]
    found = np.asarray(whole.vertices)[np.asarray(whole.faces)]
    np.testing.assert_array_equal(found, np.concatenate(corners))
    want = np.concatenate([colors_of(mesh) for mesh in meshes])
    np.testing.assert_allclose(colors_of(whole), want, atol=1e-6)
    if len(set(names)) == 1:
        assert type(whole.texture) is type(meshes[0].texture)


@pytest.mark.slow
def test_normals_come_along():
    smooth = dataclasses.replace(CUBE, normals=CUBE.vertices)
    both, _ = jr.join_meshes([smooth, CUBE])
    assert both.normal_faces is None
    np.testing.assert_array_equal(both.normals[:8], CUBE.vertices)
    np.testing.assert_allclose(both.normals[8:], jr.vertex_normals(CUBE.vertices, CUBE.faces))
    sharp = dataclasses.replace(
        CUBE, normals=jnp.eye(3), normal_faces=jnp.tile(jnp.array([[0, 1, 2]]), (12, 1))
    )
    both, _ = jr.join_meshes([smooth, sharp])
    np.testing.assert_array_equal(both.normals[both.normal_faces[12]], jnp.eye(3))
    np.testing.assert_array_equal(both.normals[both.normal_faces[3]], CUBE.vertices[CUBE.faces[3]])
    assert jr.join_meshes([CUBE, CUBE])[0].normals is None


@pytest.mark.thorough
def test_jit_vmap_and_gradient():
    colors = dressed("colors")[0]

    def total(vertices, values, image):
        one = dataclasses.replace(CUBE, vertices=vertices, texture=jr.VertexColors(values))
        other = dataclasses.replace(CUBE, texture=dataclasses.replace(PICTURE, image=image))
        whole, _ = jr.join_meshes([one, other])
        face = jnp.array([0, 12])
        points = jnp.full((2, 3), 1 / 3)
        return (
            jr.sample_texture(whole.texture, whole.faces, face, points).sum()
            + (whole.vertices[whole.faces] ** 2).sum()
        )

    args = CUBE.vertices, colors.texture.colors, PICTURE.image
    slopes = jit(jax.grad(total, (0, 1, 2)))(*args)
    counts = np.bincount(np.asarray(CUBE.faces).ravel())
    np.testing.assert_allclose(slopes[0], 2 * CUBE.vertices * counts[:, None], rtol=1e-5)
    np.testing.assert_allclose(slopes[1].sum(), 3, rtol=1e-5)
    np.testing.assert_allclose(slopes[2].sum(), 3, rtol=1e-5)
    many = [jnp.stack([arg, 2 * arg]) for arg in args]
    want = [jit(total)(*args), jit(total)(*(2 * arg for arg in args))]
    np.testing.assert_allclose(jit(jax.vmap(total))(*many), want, rtol=1e-5)


def test_what_does_not_go_together():
    linear = dataclasses.replace(CUBE, texture=jr.VertexColors(some(8, 3), "linear"))
    four = dataclasses.replace(CUBE, texture=jr.VertexColors(some(8, 4)))
    wide = dataclasses.replace(CUBE, texture=jr.FaceCubes(some(12, 3, 3, 3, 3)))

    class Own(jr.Texture):
        value: jax.Array

        def channels(self):
            return 3

    own = dataclasses.replace(CUBE, texture=Own(jnp.ones(3)))
    for meshes, message in (
        ([], "at least one mesh"),
        ([CUBE.vertices], r"meshes\[0\]` must be a Mesh"),
        ([linear, *dressed("uv")], r"one encoding, got \['display', 'linear'\]"),
        ([four, CUBE], r"one number of channels, got \[3, 4\]"),
        (dressed("cubes", "uv"), r"got FaceCubes in meshes\[0\]"),
        (dressed("texels", "fine texels"), r"got FaceTexels in meshes\[1\]"),
        ([wide, *dressed("cubes")], "FaceCubes of one number of texels"),
        ([own, own], "Add joined"),
    ):
        with pytest.raises(ValueError, match=message):
            jr.join_meshes(meshes)


# --- pictures of very different sides -------------------------------------------------------------


@pytest.mark.thorough
def test_pictures_of_very_different_sides(tmp_path):
    """They take the room that they have, not that of a rectangle around both."""
    tall, wide = RNG.uniform(size=(60, 1, 3)), RNG.uniform(size=(1, 50, 3))
    pictures = write_png(tmp_path / "t.png", tall), write_png(tmp_path / "w.png", wide)
    (tmp_path / "m.mtl").write_text(
        "newmtl t\nmap_Kd t.png\nnewmtl w\nmap_Kd w.png\nnewmtl p\nKd 1 0 0\n"
    )
    corners = "v 0 0 0\nv 1 0 0\nv 1 1 0\nvt .1 .05\nvt .9 .15\nvt .4 .85\n"
    faces = "".join(f"usemtl {name}\nf 1/1 2/2 3/3\n" for name in "twp")
    path = write(tmp_path / "a.obj", f"mtllib m.mtl\n{corners}{faces}")
    mesh, said = load(path)
    assert not said
    assert mesh.texture.image.shape == (1, 60 + 50 + 1, 3)
    assert mesh.texture.pages.tolist() == [[0, 60, 1, 1], [60, 1, 50, 50], [110, 1, 1, 1]]

    # Each face looks as with its picture alone.
    def alone(face, picture):
        texture = jr.UVTexture(jnp.asarray(picture, jnp.float32), mesh.texture.uv, UV_FACES)
        return colors_of(dataclasses.replace(mesh, texture=texture))[3 * face : 3 * face + 3]

    plain = np.array([[[1.0, 0, 0]]])
    want = np.concatenate([alone(k, part) for k, part in enumerate((*pictures, plain))])
    np.testing.assert_allclose(colors_of(mesh), want, atol=1e-6)
    baked = jit(lambda mesh: jr.io.bake_texels(mesh, 3))(mesh).texture.texels
    flat = jr.UVTexture(jnp.asarray(pictures[1], jnp.float32), mesh.texture.uv, UV_FACES)
    whole = jr.io.bake_texels(dataclasses.replace(mesh, texture=flat), 3).texture.texels
    np.testing.assert_allclose(baked[1], whole[1], atol=1e-6)
    both, _ = jr.join_meshes([mesh, mesh])
    np.testing.assert_allclose(colors_of(both), np.concatenate([want, want]), atol=1e-6)
    jr.save_mesh(tmp_path / "b.obj", mesh)
    again, _ = load(tmp_path / "b.obj")
    np.testing.assert_allclose(colors_of(again), want, atol=1e-6)
    for pages, message in (
        ([[0, 60, 1, 1], [61, 1, 51, 51], [0, 1, 1, 1]], "must lie within the image"),
        ([[0, 1, 2, 1], [0, 1, 1, 1], [0, 1, 1, 1]], "must lie within the image"),
        ([[0, 1], [0, 1], [0, 1]], r"texel, height, width, texels from row to row"),
    ):
        bad = dataclasses.replace(mesh.texture, pages=np.array(pages))
        with pytest.raises(ValueError, match=message):
            jr.pad_meshes([dataclasses.replace(mesh, texture=bad)])


# --- objects of files ----------------------------------------------------------------------------


def objects_of(path, **options):
    mesh, objects, names = load(path, objects=True, **options)[0]
    assert objects.shape == mesh.faces.shape[:1]
    return names, objects.tolist()


def test_objects_of_obj(tmp_path):
    corners = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
    text = (
        f"{corners}f 1 2 3\no one two\ng a\nf 1 2 3 4\no empty\no B\nf 1 3 4\no one two\nf 2 3 4\n"
    )
    assert objects_of(write(tmp_path / "a.obj", text)) == (("", "one two", "B"), [0, 1, 1, 2, 1])
    grouped = f"{corners}g left\nf 1 2 3\ng right up\nf 1 3 4\n"
    assert objects_of(write(tmp_path / "b.obj", grouped)) == (("left", "right up"), [0, 1])
    alone = write(tmp_path / "c.obj", f"{corners}f 1 2 3 4\n")
    assert objects_of(alone, texture="none") == (("",), [0, 0])


def test_objects_of_gltf(cases):
    names, objects = objects_of(cases.path("blender/instances.glb"))
    assert len(names) == 3
    assert objects == [0, 0, 1, 1, 2, 2]


def test_other_files_are_one_object(cases):
    assert objects_of(cases.path("concave.ply"))[0] == ("",)
    with pytest.raises(ValueError, match="`objects` must be True or False"):
        load(cases.path("concave.ply"), objects=1)
