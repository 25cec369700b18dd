"""What an enemy tried at the public doors: each mistake is a ValueError that names the argument."""

from __future__ import annotations

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr

CUBE, CAMERA = jr.shapes.cube(), jr.look_at((1.0, 2.0, 3.0))
VERTICES, FACES = CUBE.vertices, CUBE.faces
TOPOLOGY = jr.losses.mesh_topology(FACES, 8)


def draw(mesh=CUBE, camera=CAMERA, **options):
    return jr.render(mesh, camera, **{"image_size": (8, 8), **options})


def fit(**changes):
    """Of an optimizer that is never asked."""
    optimizer = types.SimpleNamespace(init=None, update=None)
    given = {"loss": jnp.sum, "params": jnp.ones(2), "optimizer": optimizer, "steps": 1}
    return jr.fitting.fit(**(given | changes))


def dressed(texture):
    return {"mesh": jr.Mesh(VERTICES, FACES, texture)}


def soft(**options):
    return {"rasterizer": jr.Soft(**options)}


def uv(image=(4, 4, 3), fill=1.0, at=0.0):
    return jr.UVTexture(np.full(image, fill), np.full((8, 2), at), FACES)


def thing(**options):
    return jr.make_scene([jr.Object(CUBE, **options)])


PAIR = jr.make_scene([CUBE, CUBE])
SUM = jr.tconorms.TConorm("sum of all", lambda D: D.sum(), lambda s: s)
TURN = CAMERA.rotation


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": None}, "`mesh` must be a Mesh, got NoneType"),
        ({"mesh": VERTICES}, "`mesh` must be a Mesh"),
        ({"mesh": jr.Mesh(None, FACES)}, r"`mesh\.vertices` must be .* got NoneType"),
        ({"mesh": jr.Mesh([[0.0, 0, 0], [1, 1]], FACES)}, "`mesh.vertices` .*different lengths"),
        ({"mesh": jr.Mesh(VERTICES, [[0, 1, 2], [1, 2]])}, "`mesh.faces` .*different lengths"),
        ({"mesh": jr.Mesh(VERTICES, np.asarray(FACES, np.int64) + 2**32)}, "`mesh.faces` must fit"),
        ({"mesh": jr.Mesh(VERTICES.at[0, 0].set(np.nan), FACES)}, "`mesh.vertices` must be finite"),
        ({"image_size": (np.inf, 8)}, "`image_size` must be a pair"),
        ({"image_size": None}, "`image_size` must be a pair"),
        ({"image_size": (2**70, 8)}, "`image_size` must be of fewer than"),
        ({"anti_aliasing": 2**14}, "`anti_aliasing` must make fewer than"),
        ({"anti_aliasing": None}, "`anti_aliasing` must be a whole number"),
        ({"anti_aliasing": np.nan}, "`anti_aliasing` must be a whole number"),
        ({"anti_aliasing": np.inf}, "`anti_aliasing` must be a whole number"),
        ({"cull": np.array(["back", "front"])}, "`cull` must be one of"),
        ({"shading": np.array(["flat"])}, "`shading` must be one of"),
        (soft(distribution=lambda x: x.sum()), "distribution` must return an array of the shape"),
        (soft(distribution=lambda x: x[:, 0, 0]), "distribution` must take an array of any shape"),
        (soft(aggregate_alpha=SUM), r"aggregate_alpha\.generator` must return"),
        ({"background": (255, 255, 255)}, "`background` must be floating-point.*up to 255"),
        ({"background": np.full((8, 8, 3), 200, np.uint8)}, "`background` .*Divide 8-bit"),
        ({"background": np.nan}, "`background` must be finite"),
        (
            dressed(jr.VertexColors(np.full((8, 3), 200, np.int32))),
            "`texture.colors` .*int32 up to",
        ),
        (dressed(jr.VertexColors(np.full((8, 3), np.nan))), "`texture.colors` must be finite"),
        (dressed(jr.FaceTexels(np.full((12, 2, 2, 3), np.inf))), "`texture.texels` must be finite"),
        (
            dressed(jr.FaceCubes(np.full((12, 2, 2, 2, 3), np.nan))),
            "`texture.cubes` must be finite",
        ),
        (dressed(uv(fill=np.nan)), "`texture.image` must be finite"),
        (dressed(uv(at=np.nan)), "`texture.uv` must be finite"),
        (
            {"camera": dataclasses.replace(CAMERA, rotation=2 * TURN)},
            "rotation` must hold an ortho",
        ),
        ({"camera": dataclasses.replace(CAMERA, rotation=np.nan * TURN)}, "rotation` must "),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        draw(**options)


@pytest.mark.slow
def test_whole_numbers_far_above_one_are_suspected():
    """Light may be brighter than 1, so that is no error."""
    with pytest.warns(UserWarning, match="`texture.colors` holds whole numbers up to 200"):
        jr.pad_meshes([jr.Mesh(VERTICES, FACES, jr.VertexColors(jnp.full((8, 3), 200.0)))])
    jr.pad_meshes([jr.Mesh(VERTICES, FACES, jr.VertexColors(jnp.full((8, 3), 20.5)))])


@pytest.mark.parametrize("thing", [None, VERTICES, 5])
def test_normalize_takes_meshes(thing):
    with pytest.raises(ValueError, match="`mesh` must be a Mesh"):
        jr.io.normalize(thing)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: CUBE.with_vertices(None),
            "`vertices` must be an array of real numbers, got NoneType",
        ),
        (lambda: CUBE.transformed("x"), "`matrix` must be an array of real numbers, got str"),
        (
            lambda: jr.losses.iou([[True], []], True),
            "`predicted` must be an array of real numbers, got rows of",
        ),
        (lambda: jr.rotations.random(jax.random.key(0), 5), "`shape` must be a tuple of sizes"),
        (
            lambda: jr.losses.flatten(VERTICES, dataclasses.replace(TOPOLOGY, hinges=None)),
            r"`topology\.hinges` must be an integer array \[K, 4\]",
        ),
        (lambda: jr.debug.checked(len, kinds=5), "`kinds` must be a list of kinds"),
        (lambda: thing(pose=(np.eye(3), np.zeros(3))), r"\[0\]\.pose` .*Pass a matrix \[4, 4\]"),
        (lambda: thing(pose="x"), r"`objects\[0\]\.pose` must be .* got str"),
        (lambda: thing(local="x"), r"`objects\[0\]\.local` must be .* got str"),
        (lambda: thing(material="red"), r"`objects\[0\]\.material` must be a Material or None"),
        (lambda: thing(visible="no"), r"`objects\[0\]\.visible` must be .* got str"),
        (lambda: thing(visible=0.5), r"`objects\[0\]\.visible` must be bools, got float32"),
        (lambda: thing(visible=[True, False]), r"\.visible` must be True or False, got shape"),
        (lambda: PAIR.with_visible([0, 2]), r"`visible` must be bools, got \[0, 2\]"),
        (lambda: PAIR.with_visible([0.0, 1.0]), "`visible` must be bools, got float32"),
        (lambda: PAIR.at((np.eye(3), 0, 0)), "`poses` must be a pair .* got 3 things"),
        (
            lambda: PAIR.with_material(base_color=np.ones((3, 4))),
            "`base_color` must have one row, or one for each of the 2 materials, got 3",
        ),
        (
            lambda: draw(dataclasses.replace(CUBE, material=jr.Material(shininess=[[1], [1, 2]]))),
            r"`mesh\.material\.shininess` must be .*different lengths",
        ),
        (
            lambda: jr.make_lights(point=[((0, 1, 0), 1)], attenuation=np.ones((2, 3))),
            r"`attenuation` must be \[3\] .* or \[1, 3\], got \[2, 3\]",
        ),
        (lambda: jr.io.save_animation("a.gif", None), "`frames` must be pictures, got NoneType"),
        (lambda: jr.io.save_animation("a.gif", [], fps="a"), "`fps` must be more than 0 .*'a'"),
        (lambda: fit(loss=None), "`loss` must be a function"),
        (lambda: fit(project=3), "`project` must be a function"),
        (lambda: fit(schedules=[]), "`schedules` must be a dict"),
        (lambda: fit(progress=[]), "`progress` must be True or False"),
        (lambda: fit(params=2**70), "`params` must be floating-point"),
    ],
)
def test_mistakes_elsewhere(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_flags_may_be_whole_numbers():
    assert PAIR.with_visible([0, 1]).visible.tolist() == [False, True]
    assert thing(visible=0).visible.tolist() == [False]
    assert jax.jit(lambda flag: thing(visible=flag).visible)(True).tolist() == [True]


def test_an_array_is_looked_at_once():
    """But another at its address, or one of NumPy, again."""
    from jaxrender._checks import _FOUND, check_array

    array = jnp.ones((2, 3))
    before = len(_FOUND)
    for _ in range(3):
        check_array("a", array, (2, 3), finite=True)
    assert len(_FOUND) == before + 1
    del array
    assert len(_FOUND) == before
    values = np.ones((2, 3), np.float32)
    check_array("a", values, (2, 3), finite=True)
    values[0, 0] = np.nan
    with pytest.raises(ValueError, match="`a` must be finite"):
        check_array("a", values, (2, 3), finite=True)
    jax.jit(lambda x: check_array("a", x, (2, 3), finite=True))(values)
