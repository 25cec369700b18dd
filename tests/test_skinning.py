"""Skinning against SMPL's formulas written out, its files against each other, our own body."""

from __future__ import annotations

import builtins
import dataclasses
import os
import pickle
import struct
import sys
import types
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import sparse

from jaxrender import skinning
from jaxrender.skinning import BodyModel

V, J, S = 30, 8, 3
PARENTS = (-1, 0, 0, 1, 3, 2, 4, 6)  # two chains, one of them six joints long

# Compiled as a whole: one operation after the other takes ten times as long to compile.
skin = jax.jit(skinning.skin)
joints = jax.jit(skinning.joints)
rotation_matrices = jax.jit(skinning.rotation_matrices)


def some_arrays(vertex_count=V, seed=0) -> dict[str, np.ndarray]:
    """A random model, by the names of its fields."""
    rng = np.random.default_rng(seed)

    def shares(*shape):
        values = rng.random(shape) ** 4
        return values / values.sum(-1, keepdims=True)

    return {
        "template": rng.normal(size=(vertex_count, 3)),
        "faces": rng.integers(0, vertex_count, (12, 3)),
        "shape_directions": rng.normal(size=(vertex_count, 3, S)),
        "pose_directions": 0.1 * rng.normal(size=(vertex_count, 3, 9 * (J - 1))),
        "joint_regressor": shares(J, vertex_count),
        "weights": shares(vertex_count, J),
    }


def some_model(dtype=np.float32, **settings) -> BodyModel:
    arrays = some_arrays(**settings)
    faces = jnp.asarray(arrays.pop("faces"), jnp.int32)
    floats = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
    return BodyModel(faces=faces, parents=PARENTS, **floats)


def some_motion(dtype=np.float32, seed=1, n=()) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A pose, with a joint that does not turn, a shape and a translation."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(size=(*n, J, 3))
    pose[..., 2, :] = 0
    motion = pose, rng.normal(size=(*n, S)), rng.normal(size=(*n, 3))
    return tuple(jnp.asarray(part, dtype) for part in motion)


# --- slow references --------------------------------------------------------------------------


def rotation_slowly(r) -> np.ndarray:
    """By a unit axis and an angle."""
    angle = np.linalg.norm(r)
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(r) / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def skin_slowly(model, pose, shape, translation) -> tuple[np.ndarray, np.ndarray]:
    """The vertices and joints, joint by joint and vertex by vertex, with 4x4 matrices."""
    model = jax.tree.map(np.float64, model)
    pose, shape, translation = (np.float64(part) for part in (pose, shape, translation))
    shaped = model.template + model.shape_directions @ shape
    rest = model.joint_regressor @ shaped

    world, places = [], []
    for k, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotation_slowly(pose[k])
        local[:3, 3] = rest[k] - (0 if parent < 0 else rest[parent])
        world.append(local if parent < 0 else world[parent] @ local)
        places.append(world[k][:3, 3] + translation)

    bends = np.concatenate([(rotation_slowly(r) - np.eye(3)).ravel() for r in pose[1:]])
    corrected = shaped + model.pose_directions @ bends
    vertices = []
    for x, shares in zip(corrected, model.weights, strict=True):
        moved = [world[k] @ np.append(x - rest[k], 1) for k in range(J)]
        vertices.append((shares @ moved)[:3] + translation)
    return np.array(vertices), np.array(places)


# --- rotations --------------------------------------------------------------------------------

SIZES = (0.0, 1e-20, 1e-8, 1e-4, 0.1, 0.999999, 1.000001, 2.0, np.pi, 7.0, 300.0)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_rotation_matrices(dtype, limit, request):
    if dtype == np.float64:
        request.getfixturevalue("x64")
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(len(SIZES), 20, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    r = jnp.asarray(axes * np.array(SIZES)[:, None, None], dtype)
    got = np.asarray(rotation_matrices(r))
    assert got.dtype == dtype
    want = np.array([[rotation_slowly(np.float64(one)) for one in row] for row in np.asarray(r)])
    scale = np.maximum(np.array(SIZES), 3)[:, None, None, None]  # the sine of a rounded angle
    assert (np.abs(got - want) < limit * scale).all()
    np.testing.assert_allclose(got @ np.swapaxes(got, -1, -2), np.eye(3) + 0 * got, atol=2 * limit)
    np.testing.assert_array_equal(got[0], np.eye(3) + 0 * got[0])


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_rotation_derivatives():
    slope = jax.jacfwd(skinning.rotation_matrices)
    slopes, bends = jax.jit(jax.vmap(slope)), jax.jit(jax.vmap(jax.jacfwd(slope)))
    # Where the series ends, x is 1.
    r = np.outer([0, 1e-8, 1e-3, 1 / np.sqrt(3), 2.5], np.ones(3))
    first, second = slopes(r), bends(r)

    # At 0 the first derivative is the cross product, the second that of (r rᵀ - r·r I) / 2.
    eye = np.eye(3)
    np.testing.assert_array_equal(first[0], np.cross(eye[:, None], eye).transpose(2, 1, 0))
    outer = np.einsum("ac,bd->abcd", eye, eye) + np.einsum("ad,bc->abcd", eye, eye)
    want = outer / 2 - np.einsum("ab,cd->abcd", eye, eye)
    np.testing.assert_allclose(second[0], want, atol=1e-15)

    h = 1e-5
    for k, one in enumerate(r):
        change = [rotation_slowly(one + h * e) - rotation_slowly(one - h * e) for e in eye]
        np.testing.assert_allclose(first[k], np.stack(change, -1) / (2 * h), atol=1e-9)
    change = [slopes(r + h * e) - slopes(r - h * e) for e in eye]
    np.testing.assert_allclose(second, np.stack(change, -1) / (2 * h), atol=1e-9)


@pytest.mark.slow
def test_rotation_derivatives_in_float32():
    slopes = jax.jit(jax.vmap(jax.jacrev(skinning.rotation_matrices)))
    r = np.array(SIZES)[:, None] * np.array([[2, -1, 2]]) / 3
    got = np.asarray(slopes(jnp.asarray(r, jnp.float32)))
    assert np.isfinite(got).all()
    h = 1e-5
    for one, slope in zip(np.float64(np.float32(r)), got, strict=True):
        ahead = [rotation_slowly(one + h * e) - rotation_slowly(one - h * e) for e in np.eye(3)]
        np.testing.assert_allclose(slope, np.stack(ahead, -1) / (2 * h), atol=4e-5)


# --- skinning ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_against_numpy():
    for seed in range(3):
        model = some_model(np.float64, seed=seed)
        motion = some_motion(np.float64, seed=seed + 10)
        want, places = skin_slowly(model, *motion)
        np.testing.assert_allclose(skin(model, *motion), want, atol=1e-12)
        np.testing.assert_allclose(joints(model, *motion), places, atol=1e-12)

    # A float32 model follows a float64 pose in float64, and float32 stays float32.
    assert skin(some_model(), motion[0]).dtype == jnp.float64
    assert skin(some_model(), *some_motion()).dtype == jnp.float32
    assert joints(some_model(), some_motion()[0]).dtype == jnp.float32


@pytest.mark.slow
def test_against_numpy_in_float32():
    model, motion = some_model(), some_motion()
    want, places = skin_slowly(model, *motion)
    np.testing.assert_allclose(skin(model, *motion), want, atol=1e-5)
    np.testing.assert_allclose(joints(model, *motion), places, atol=1e-5)


@pytest.mark.long
def test_jit_equals_eager_with_40_000_vertices():
    model, motion = some_model(vertex_count=40_000), some_motion()
    np.testing.assert_allclose(skin(model, *motion), skinning.skin(model, *motion), atol=1e-5)


@pytest.mark.slow
def test_vmap_equals_loop():
    model, motions = some_model(), some_motion(n=(3,))
    for one in (skinning.skin, skinning.joints):
        together = jax.jit(jax.vmap(one, in_axes=(None, 0, 0, 0)))(model, *motions)
        alone = [jax.jit(one)(model, *(part[k] for part in motions)) for k in range(3)]
        np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_gradient():
    model, motion = some_model(np.float64), some_motion(np.float64)
    parts = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    fixed = {name: parts.pop(name) for name in ("faces", "parents")}

    @jax.jit
    def both(parts, *motion):
        body = BodyModel(**parts, **fixed)
        return skinning.skin(body, *motion), skinning.joints(body, *motion)

    at_rest = jnp.zeros((J, 3)), *motion[1:]
    for moved in (motion, at_rest):
        check_grads(both, (parts, *moved), order=1, modes=["rev"], eps=1e-6, rtol=1e-7)


@pytest.mark.slow
def test_rest_pose_is_the_shaped_template():
    model, (_, shape, translation) = some_model(), some_motion()
    still = jnp.zeros((J, 3))
    np.testing.assert_allclose(skin(model, still), model.template, atol=1e-6)
    shaped = np.asarray(model.template + model.shape_directions @ shape)
    np.testing.assert_allclose(skin(model, still, shape), shaped, atol=1e-5)
    places = np.asarray(model.joint_regressor) @ shaped + np.asarray(translation)
    np.testing.assert_allclose(joints(model, still, shape, translation), places, atol=1e-5)


@pytest.mark.slow
def test_the_root_turns_the_body_as_a_whole():
    model, (pose, shape, _) = some_model(), some_motion()
    turned = pose.at[0].set(jnp.array([0.3, -2.0, 1.0]))
    turn = rotation_slowly(turned[0]) @ rotation_slowly(pose[0]).T
    root = np.asarray(joints(model, pose, shape))[0]
    for moved in (skin, joints):
        want = (np.asarray(moved(model, pose, shape)) - root) @ turn.T + root
        np.testing.assert_allclose(moved(model, turned, shape), want, atol=2e-5)


@pytest.mark.slow
def test_one_joint():
    """A tree of one joint has no pose directions."""
    model = dataclasses.replace(
        some_model(),
        pose_directions=jnp.zeros((V, 3, 0)),
        joint_regressor=jnp.full((1, V), 1 / V),
        weights=jnp.ones((V, 1)),
        parents=(-1,),
    )
    template = np.asarray(model.template)
    middle = template.mean(0)
    want = (template - middle) @ rotation_slowly([0, 1.0, 0]).T + middle
    np.testing.assert_allclose(skin(model, [[0, 1.0, 0]]), want, atol=1e-6)


# --- our own body -----------------------------------------------------------------------------

place = skinning.BODY_JOINTS.index


@pytest.mark.slow
def test_body_is_closed_and_faces_outwards():
    for resolution in (32, 54):  # unfilled, the grid of 32 would leave edges of four faces
        model = skinning.procedural_body(resolution)
        faces = np.asarray(model.faces)
        start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
        there = start * len(model.template) + end
        back = end * len(model.template) + start
        assert np.unique(there).size == there.size
        np.testing.assert_array_equal(np.sort(there), np.sort(back))
        assert np.unique(faces).size == len(model.template) == 2 + len(faces) // 2  # a sphere

        a, b, c = np.moveaxis(np.asarray(model.template, np.float64)[faces], 1, 0)
        volume = (a * np.cross(b, c)).sum() / 6
        assert 0.05 < volume < 0.08  # m³
        assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-6


@pytest.mark.slow
def test_body_is_a_person():
    model = skinning.procedural_body()
    assert 1000 <= len(model.template) <= 2500
    assert len(skinning.BODY_JOINTS) == len(model.parents) == model.weights.shape[1]
    assert len(skinning.BODY_SHAPES) == model.shape_directions.shape[2]
    low, high = np.asarray(model.template.min(0)), np.asarray(model.template.max(0))
    np.testing.assert_allclose(high - low, [1.7, 1.7, 0.3], atol=0.03)
    np.testing.assert_allclose(low[0], -high[0], atol=1e-3)

    # Toes and nose point to +z, the left hand to +x, the head up.
    toes = model.template[model.template[:, 1] < low[1] + 0.05]
    assert toes[:, 2].max() > 0.14 > 0.08 > -toes[:, 2].min()
    places = np.asarray(joints(model, np.zeros((17, 3), np.float32)))
    assert ((places > low) & (places < high)).all()
    np.testing.assert_allclose(places[place("pelvis")], 0, atol=1e-6)
    assert places[place("left wrist"), 0] > 0.6 > 0 > places[place("right wrist"), 0]
    assert places[place("head"), 1] > 0.5 > 0 > places[place("left ankle"), 1]


@pytest.mark.slow
def test_body_weights_and_regressor():
    model = skinning.procedural_body()
    weights, regressor = np.asarray(model.weights), np.asarray(model.joint_regressor)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(regressor.sum(1), 1, atol=1e-6)
    assert weights.min() >= 0

    # Joints go where the body around them goes: exactly, if it grows as a whole.
    still = np.zeros((17, 3), np.float32)
    rest = np.asarray(joints(model, still))
    tall = np.asarray(joints(model, still, jnp.array([2.0, 0, 0, 0])))
    np.testing.assert_allclose(tall, 1.1 * rest, atol=1e-6)
    longer = np.asarray(joints(model, still, jnp.array([0, 0, 1.0, 1.0]))) - rest
    np.testing.assert_allclose(longer[place("left ankle")], [0, -0.04, 0], atol=2e-3)
    np.testing.assert_allclose(longer[place("right wrist")], [-0.04, 0, 0], atol=2e-3)
    np.testing.assert_allclose(longer[place("head")], 0, atol=1e-3)


@pytest.mark.slow
def test_body_is_posed():
    model = skinning.procedural_body()
    pose = np.zeros((17, 3), np.float32)
    pose[place("left elbow"), 1] = -np.pi / 2  # the forearm points forwards
    places = np.asarray(joints(model, pose))
    forearm = places[place("left wrist")] - places[place("left elbow")]
    np.testing.assert_allclose(forearm, [-0.02, 0, 0.25], atol=0.01)
    vertices, template = np.asarray(skin(model, pose)), np.asarray(model.template)
    assert vertices[:, 2].max() > 0.38
    np.testing.assert_allclose(
        vertices[template[:, 0] < 0.2], template[template[:, 0] < 0.2], atol=1e-3
    )


def test_body_does_not_tear():
    model = skinning.procedural_body()
    edges = np.asarray(model.faces)[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)

    def lengths(vertices):
        return np.linalg.norm(np.subtract(*np.asarray(vertices)[edges.T]), axis=1)

    for pose in np.random.default_rng(0).normal(0, 0.5, (5, 17, 3)).astype(np.float32):
        posed = lengths(skin(model, pose))
        assert posed.max() < 0.15
        assert (posed < 4 * lengths(model.template)).all()


# --- files ------------------------------------------------------------------------------------


def official_arrays() -> dict[str, np.ndarray]:
    """The random model under SMPL's keys and in its types."""
    arrays = some_arrays()
    regressor = np.where(arrays["joint_regressor"] > 0.05, arrays["joint_regressor"], 0)
    return {
        "v_template": arrays["template"],
        "f": arrays["faces"].astype(np.uint32),
        "shapedirs": arrays["shape_directions"],
        "posedirs": np.asfortranarray(arrays["pose_directions"]),
        "J_regressor": regressor,
        "weights": arrays["weights"],
        "kintree_table": np.array([PARENTS, range(J)]).astype(np.uint32),
    }


class Python2Pickler(pickle._Pickler):
    """Writes protocol 2, with bytes as the strings of Python 2."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, data):
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch[bytes] = save_string


@pytest.fixture
def chumpy(monkeypatch):
    """Pretends that chumpy is there, for as long as the pickle is written."""

    class Ch:
        def __init__(self, **terms):
            self.__dict__.update(terms, _dirty_vars=set(), _itr=None, _depends_on_deps={})

    class Select(Ch):
        pass

    class Add(Ch):
        pass

    package = types.ModuleType("chumpy")
    for module, kind in (("ch", Ch), ("reordering", Select), ("ch_ops", Add)):
        room = types.ModuleType(f"chumpy.{module}")
        kind.__module__, kind.__qualname__ = room.__name__, kind.__name__
        setattr(room, kind.__name__, kind)
        setattr(package, module, room)
        monkeypatch.setitem(sys.modules, room.__name__, room)
    monkeypatch.setitem(sys.modules, "chumpy", package)
    return package


def write_official(path, chumpy, **changes):
    """Writes what the SMPL site has: Python 2, numpy's and SciPy's old names, chumpy."""
    arrays = official_arrays()
    more = np.concatenate([arrays["shapedirs"], arrays["posedirs"][:, :, :4]], axis=2)
    chosen = np.arange(more.size).reshape(more.shape)[:, :, :S]
    content = arrays | {
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
        "J_regressor_prior": sparse.csr_matrix(arrays["J_regressor"]),
        "v_template": chumpy.ch.Ch(x=arrays["v_template"]),
        "shapedirs": chumpy.reordering.Select(
            a=chumpy.ch.Ch(x=more), idxs=chosen.ravel(), preferred_shape=(V, 3, S)
        ),
        "J": chumpy.ch_ops.Add(a=np.float64(1), b=chumpy.ch.Ch(x=np.zeros((J, 3)))),
        "bs_style": b"lbs",
        "pose_training_info": {b"gender": b"f", b"counts": [np.int64(3), 2]},
        **changes,
    }
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(content)
    data = path.read_bytes()
    for new, old in ((b"numpy._core.", b"numpy.core."), (b"sparse._cs", b"sparse.cs")):
        data = data.replace(new, old)
    path.write_bytes(data)
    for module in [name for name in sys.modules if name.split(".")[0] == "chumpy"]:
        del sys.modules[module]


def write_archive(path, **changes):
    arrays = {key: a for key, a in (official_arrays() | changes).items() if a is not None}
    np.savez(path, **arrays)
    return path


def test_smpl_files(tmp_path, chumpy):
    write_official(tmp_path / "model.pkl", chumpy)
    data = (tmp_path / "model.pkl").read_bytes()
    for name in (b"cchumpy.ch\nCh\n", b"cnumpy.core.multiarray\n_reconstruct\n",
                 b"cscipy.sparse.csc\ncsc_matrix\n", b"cchumpy.reordering\nSelect\n"):  # fmt: skip
        assert name in data
    assert "chumpy" not in sys.modules

    pickled = skinning.load_smpl(tmp_path / "model.pkl")
    archived = skinning.load_smpl(write_archive(tmp_path / "model.npz"))
    assert jax.tree.structure(pickled) == jax.tree.structure(archived)  # the parents, too
    assert pickled.parents == PARENTS
    assert all(type(parent) is int for parent in pickled.parents)
    for field in dataclasses.fields(BodyModel):
        one, two = getattr(pickled, field.name), getattr(archived, field.name)
        np.testing.assert_array_equal(one, two)
    want = some_model()
    np.testing.assert_array_equal(archived.template, want.template)
    np.testing.assert_array_equal(archived.faces, want.faces)
    assert archived.faces.dtype == jnp.int32
    np.testing.assert_array_equal(archived.shape_directions, want.shape_directions)
    np.testing.assert_array_equal(archived.pose_directions, want.pose_directions)
    np.testing.assert_array_equal(archived.weights, want.weights)
    assert skin(pickled, *some_motion()).shape == (V, 3)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_python_3(tmp_path, protocol):
    arrays = official_arrays() | {"J_regressor": sparse.csr_array(official_arrays()["J_regressor"])}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol))
    model = skinning.load_smpl(path)
    want = skinning.load_smpl(write_archive(tmp_path / "model.npz"))
    for one, two in zip(jax.tree.leaves(model), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(one, two)


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *given):
        self.call = function, given

    def __reduce__(self):
        return self.call


def test_a_pickle_cannot_run_anything(tmp_path):
    path, spoiled = tmp_path / "model.pkl", tmp_path / "spoiled"
    attacks = [
        Calls(os.system, f"echo > {spoiled}"),
        Calls(builtins.eval, f"open({str(spoiled)!r}, 'w')"),
        Calls(builtins.open, str(spoiled), "w"),
        Calls(getattr, Calls(__import__, "os"), "system"),
        Calls(np.save, str(spoiled), 0),
        Calls(np.load, str(spoiled)),
        Calls(np.dtype, Calls(builtins.exec, "1 / 0")),
        Calls(np.ctypeslib.load_library, "libc", "."),
        Calls(sparse.load_npz, str(spoiled)),
    ]
    for attack in attacks:
        for content in (attack, official_arrays() | {"v_template": attack}, [attack]):
            for protocol in (0, 2, 4):
                path.write_bytes(pickle.dumps(content, protocol))
                with pytest.raises(ValueError, match="which no body model needs; nothing of it"):
                    skinning.load_smpl(path)
    assert os.listdir(tmp_path) == ["model.pkl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no pickle that can be read"),
        (b"hello", "it is no pickle that can be read"),
        (pickle.dumps([1, 2]), "it holds a list, not a dict"),
        (
            pickle.dumps({"f": 0}),
            "it has no v_template, shapedirs, .* its keys are f. Pass a model",
        ),
        (pickle.dumps(official_arrays() | {"f": "none"}), "f must be an array"),
        (pickle.dumps(official_arrays() | {"f": np.array([None])}), "f is no array that can be"),
        (pickle.dumps(official_arrays())[:-200], "it is no pickle that can be read"),
        (b"PK but no archive", "cannot read the body model"),
        (b"cnumpy\ndtype\n)R.", "it holds a _Stand, not a dict"),
        (b"ccopy_reg\n_reconstructor\n(c__builtin__\nset\ntR.", "makes an object of a kind"),
        (b"c_codecs\nencode\n(N}(Vchanged\nI1\nutb.", "it is no pickle that can be read"),
    ],
)
def test_bad_pickles(tmp_path, content, message):
    (tmp_path / "model.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        skinning.load_smpl(tmp_path / "model.pkl")


def test_unknown_parts_of_chumpy(tmp_path, chumpy):
    values = chumpy.ch_ops.Add(a=0, b=0)
    write_official(tmp_path / "model.pkl", chumpy, weights=values)
    with pytest.raises(ValueError, match=r"weights is no array .*it is a chumpy.ch_ops.Add; save"):
        skinning.load_smpl(tmp_path / "model.pkl")


ARRAYS = official_arrays()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"posedirs": None}, "it has no posedirs; its keys are J_regressor, f, kintree"),
        ({"weights": ARRAYS["weights"].T}, r"weights must be an array \[30, 8\], got \[8, 30\]"),
        ({"posedirs": ARRAYS["posedirs"][:, :, 1:]}, "posedirs must be for 63 numbers, got 62"),
        ({"f": ARRAYS["f"] + 20}, "f must name vertices from 0 to 29"),
        ({"f": ARRAYS["f"] * 1.0}, "f must hold numbers, got float64"),
        (
            {"v_template": ARRAYS["v_template"] * np.nan},
            "v_template holds numbers that are not fin",
        ),
        ({"kintree_table": ARRAYS["kintree_table"][:, ::-1]}, "`parents` must be -1 for the first"),
        ({"J_regressor": np.array([None])}, "cannot read .* Object arrays cannot be loaded"),
    ],
)
def test_bad_archives(tmp_path, changes, message):
    path = write_archive(tmp_path / "model.npz", **changes)
    with pytest.raises(ValueError, match=message):
        skinning.load_smpl(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Download SMPL from https://.* procedural_body"):
        skinning.load_smpl(tmp_path / "SMPL_NEUTRAL.pkl")


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: skinning.skin(None, np.zeros((J, 3))), "`model` must be a BodyModel, got None"),
        (lambda m: skinning.skin(m, np.zeros(3 * J)), "`pose` must be .* One row per joint"),
        (lambda m: skinning.skin(m, np.zeros((2, J, 3))), "use jax.vmap for more"),
        (lambda m: skinning.skin(m, np.full((J, 3), np.nan)), "`pose` must be finite"),
        (lambda m: skinning.skin(m, np.zeros((J, 3)), np.zeros(2)), "`shape` must .* One n"),
        (lambda m: skinning.joints(m, np.zeros((J, 3)), None, 1.0), "`translation` must be"),
        (lambda m: skinning.rotation_matrices(np.zeros(4)), "`axis_angle` must be"),
        (
            lambda m: skinning.skin(
                dataclasses.replace(m, weights=m.weights.T), np.zeros((J, 3))
            ),
            "`model.weights` must be",
        ),
        (
            lambda m: skinning.joints(
                dataclasses.replace(m, parents=(-1, 0, 3, 1)), np.zeros((4, 3))
            ),
            "`parents` must be -1 for the first joint",
        ),
        (lambda m: skinning.procedural_body(8), "`resolution` must be a whole number from 16"),
        (lambda m: skinning.procedural_body(50.5), "`resolution` must be a whole number"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(some_model())


@pytest.mark.slow
def test_not_finite_inside_jit():
    model, (pose, *_) = some_model(), some_motion()
    assert np.isnan(skin(model, pose.at[-1].set(jnp.nan))).all()
    lost = np.isnan(joints(model, pose.at[4].set(jnp.nan))).all(1)
    assert np.flatnonzero(lost).tolist() == [6, 7]  # what hangs on joint 4
