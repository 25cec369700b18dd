"""`io.save` and `io.load` bring everything back, and say what is wrong with a file."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import io
from jaxrender._formats import store
from jaxrender.ops.pytrees import structs_of

CUBE = jr.shapes.cube()
LENS = jr.pinhole(
    [[60.0, 0.5, 31.0], [0, 55.0, 25.0], [0, 0, 1.0]],
    np.eye(3),
    (0.1, 0.2, 3.0),
    (0.1, -0.02, 0.003, -0.004, 0.05),
    image_size=(48, 64),
)
UV = jr.UVTexture(
    jnp.linspace(0, 1, 4 * 5 * 3).reshape(4, 5, 3),
    jnp.linspace(0, 1, 16).reshape(8, 2),
    CUBE.faces,
    wrap=("mirror", "clamp"),
    filter="nearest",
    encoding="linear",
)
THINGS = {
    "mesh": jr.Mesh(CUBE.vertices, CUBE.faces, UV),
    "cubes": jr.Mesh(CUBE.vertices, CUBE.faces, jr.FaceCubes(jnp.ones((12, 2, 2, 2, 3)) / 3)),
    "plain": CUBE,
    "camera": LENS,
    "cameras": (jr.look_at((0, 1, 3)), jr.look((0, 0, 2), projection=jr.orthographic(3.0))),
    "many": jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), jr.look_at((0.0, 1.0, 3.0))),
    "lights": jr.make_lights(0.1, point=[((1.0, 2, 3), 0.5)], specular=0.25),
    "screen": jr.ScreenMesh(CUBE.vertices, CUBE.faces, perspective=False),
    "soft": jr.Soft(sigma=1e-4, aggregate_rgb=None, aggregate_alpha="sum"),
    "hard": jr.Hard(visibility_gradient="nmr"),
    "nmr": jr.Hard(visibility_gradient=jr.NMR(eps=0.01)),
    "image": jr.Image(jnp.ones((2, 3, 3)), jnp.ones((2, 3)), jnp.zeros((2, 3)), "linear"),
    "scene": jr.make_scene(
        [CUBE, jr.Object(CUBE, pose=np.diag([1.0, 2.0, 1.0, 1.0]), id=7)], jr.make_lights(0.1)
    ),
    "near": 0.1,
    "far": None,
    "size": (48, 64),
    "names": ["a", "ä"],
    "told": {"deep": {"mask": np.array([True, False]), "empty": np.zeros((0, 3), np.float32)}},
    "file": np.arange(3, dtype=np.uint8),
}


def same(one, other):
    """Whether two trees are equal, but for arrays of NumPy that came back as JAX's."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(left, right)
        if hasattr(left, "shape"):
            assert (left.shape, left.dtype) == (right.shape, right.dtype)
        else:
            assert type(left) is type(right)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_everything_comes_back(tmp_path, suffix):
    path = tmp_path / "new" / f"a{suffix}"
    io.save(path, **THINGS)
    same(THINGS, io.load(path))


def test_infinities(tmp_path):
    io.save(tmp_path / "a.npz", far=np.inf, depth=np.array([np.inf], np.float32))
    again = io.load(tmp_path / "a.npz")
    assert again["far"] == np.inf
    assert again["depth"] == np.inf
    io.save(tmp_path / "a.json", far=-np.inf)
    assert io.load(tmp_path / "a.json") == {"far": -np.inf}
    with pytest.raises(ValueError, match=r"JSON has no NaN and no infinity\. Write \.npz"):
        io.save(tmp_path / "a.json", depth=np.array([np.nan]))


def test_numpy_reads_the_arrays_by_name(tmp_path):
    io.save(tmp_path / "a.npz", camera=LENS)
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["camera.projection.matrix"], LENS.projection.matrix)


def test_all_structs_are_known():
    public = {
        thing
        for name in jr.__all__
        if inspect.isclass(thing := getattr(jr, name))
        and thing not in (jr.Texture, jr.Projection)  # what kinds derive from
        and thing not in (jr.SceneFile, jr.Viewer)  # what holds them
    }
    assert public <= set(structs_of("jaxrender").values())


@pytest.mark.slow
def test_structs_of_modules_that_are_loaded_late_are_known(tmp_path):
    io.save(tmp_path / "a.json", number=np.ones(1))
    code = (
        "import sys, jaxrender; from jaxrender.ops.pytrees import structs_of\n"
        "jaxrender.io.load(sys.argv[1]); print(*sorted(structs_of('jaxrender')))\n"
        "from jaxrender import *; print(*sorted(structs_of('jaxrender')))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.json")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    first, then = (line.split() for line in told.splitlines())
    assert first == then
    assert {"BodyModel", "LargeSteps", "Mesh", "Sensor"} <= set(first)


def test_structs_of_a_docstring_are_not_known():
    # As doctest runs an example: in a copy of its module's names, `__name__` among them.
    names = {"jr": jr, "__name__": "jaxrender.ops.pytrees"}
    exec("@jr.struct\nclass Cone:\n    name: str = jr.static()", names)
    assert "Cone" not in structs_of("jaxrender")


def test_classes_of_ones_own(tmp_path):
    @jr.struct
    class Ball:
        radius: jax.Array
        name: str = jr.static(default="ball")

    io.save(tmp_path / "a.npz", ball=Ball(jnp.ones(2), "b"))
    with pytest.raises(ValueError, match="`ball` is a Ball, which this version does not know"):
        io.load(tmp_path / "a.npz")
    same(io.load(tmp_path / "a.npz", kinds=[Ball])["ball"], Ball(jnp.ones(2), "b"))


def test_fields_that_came_later_have_their_defaults(tmp_path):
    io.save(tmp_path / "a.json", mesh=CUBE)
    told = json.loads((tmp_path / "a.json").read_text())
    del told["content"]["mesh"]["fields"]["texture"]
    (tmp_path / "a.json").write_text(json.dumps(told))
    same(io.load(tmp_path / "a.json")["mesh"], CUBE)
    told["content"]["mesh"]["fields"]["smell"] = 1
    (tmp_path / "a.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="`mesh` has smell, which Mesh has not in this version"):
        io.load(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (np.sin, "`a` must be a struct of jaxrender.*got sin"),
        (jr.Hard(visibility_gradient=lambda picture, *_: picture), r"`a\.visibility_gradient`"),
        ([object()], r"`a\[0\]` must be.*got object"),
        ({1: 2}, "got dict"),
        (jr.Mesh, "got Mesh"),
        (jnp.ones(2, jnp.bfloat16), "NumPy has, got bfloat16"),
        (np.array(["text"]), "must be an array of numbers"),
        (jax.random.key(0), "must be an array of numbers"),
    ],
)
def test_bad_things(tmp_path, thing, message):
    with pytest.raises(ValueError, match=message):
        io.save(tmp_path / "a.npz", a=thing)
    assert not (tmp_path / "a.npz").exists()


def test_bad_calls(tmp_path):
    with pytest.raises(ValueError, match="nothing to write"):
        io.save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"unknown format '\.obj', known are \.npz, \.json"):
        io.save(tmp_path / "a.obj", mesh=CUBE)
    with pytest.raises(ValueError, match="known values, got a traced one"):
        jax.jit(lambda x: io.save(tmp_path / "a.npz", x=x))(1.0)
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.npz"):
        io.load(tmp_path / "none.npz")


def test_wrong_files_are_named(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    (tmp_path / "text.npz").write_text("nothing")
    (tmp_path / "text.json").write_text("nothing")
    (tmp_path / "list.json").write_text("[1]")
    io.save(tmp_path / "short.npz", camera=LENS)
    with zipfile.ZipFile(tmp_path / "short.npz") as archive:
        text = archive.read(store.ENTRY)
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        archive.writestr(store.ENTRY, text)
    for name, message in [
        ("other.npz", "`jaxrender.io.save` did not write it"),
        ("text.npz", "not a zip file"),
        ("text.json", "Expecting value"),
        ("list.json", "did not write it"),
        ("short.npz", "camera.rotation"),
    ]:
        with pytest.raises(ValueError, match=rf"cannot read .*{name}: .*{message}"):
            io.load(tmp_path / name)

    # A later format, and arrays of another shape.
    io.save(tmp_path / "a.json", camera=LENS)
    told = json.loads((tmp_path / "a.json").read_text())
    for change, message in [
        ({"jaxrender": 2}, r"its format is 2, and this version knows 1"),
        (
            {"arrays": told["arrays"] | {"camera.rotation": told["arrays"]["camera.translation"]}},
            (r"`camera\.rotation` must be \[\.\.\., 3, 3\], got \[3\]"),
        ),
        (
            {
                "arrays": told["arrays"]
                | {
                    "camera.projection.distortion": {
                        "dtype": "float32",
                        "shape": [4],
                        "values": [0, 0, 0, 0],
                    }
                }
            },
            r"`camera\.projection\.distortion` must be \[\.\.\., 5\], got \[4\]",
        ),
    ]:
        (tmp_path / "a.json").write_text(json.dumps(told | change))
        with pytest.raises(ValueError, match=message):
            io.load(tmp_path / "a.json")
