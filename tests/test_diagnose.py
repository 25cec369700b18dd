"""`why_not_drawn`: one scene for each reason, for a mesh and for a face."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import soup

import jaxrender as jr
from jaxrender._diagnose import WORDS
from jaxrender.ops.triangle import Candidates, Corners, Reason, is_drawn, reason_not_drawn

SIZE = (16, 24)
BIG = np.array([[-0.8, -0.8], [0.8, -0.8], [0.0, 0.8]])


def scene() -> jr.ScreenMesh:
    """Nine faces, each with vertices of its own; the first is seen, the others as named below."""
    shapes = {
        "seen": (BIG, 2.0),
        "hidden": (0.3 * BIG, 3.0),
        "no pixel": (0.01 * BIG + 1e-2, 1.0),
        "no area": (BIG[[0, 1, 1]], 1.0),
        "before near": (BIG, 0.05),
        "beyond far": (BIG, 50.0),
        "off picture": (BIG - [3, 0], 1.0),
        "culled": (BIG[::-1], 1.0),
        "camera plane": (BIG, 1e-14),
        "not finite": (BIG, 1.0),
        "index": (BIG, 1.0),
    }
    assert list(shapes) == NAMES
    corners = np.array([np.c_[xy, np.full(3, z)] for xy, z in shapes.values()], np.float32)
    corners[9, 1, 0] = np.nan
    faces = np.arange(33, dtype=np.int32).reshape(-1, 3)
    faces[10, 2] = 77
    return jr.ScreenMesh(jnp.asarray(corners.reshape(-1, 3)), jnp.asarray(faces))


NAMES = [
    *("seen", "hidden", "no pixel", "no area", "before near", "beyond far"),
    *("off picture", "culled", "camera plane", "not finite", "index"),
]
OPTIONS = {"image_size": SIZE, "far": 10.0, "cull": "back"}
# What is said of each face, and the options with which it is drawn.
TOLD = {
    "seen": (r"Face 0 is drawn: it is seen at all \d+ pixels", {}),
    "hidden": (r"Face 1 is hidden at all (\d+) pixels .*: by face 0 at \1\.", None),
    "no pixel": (r"covers no pixel centre, being 0\.\d+ pixels wide", {"anti_aliasing": 32}),
    "no area": (r"spans no more than 1e-10 square pixels", None),
    "before near": (r"before near=0\.1, at depths .*Pass near below 0\.05", {"near": 0.04}),
    "beyond far": (r"beyond far=10, .*Pass far above 50 .*or far=None", {"far": None}),
    "off picture": (r"lies to the left of the picture", None),
    "culled": (r'turns its back .*Pass cull="none", or flip the face', {"cull": "none"}),
    "camera plane": (r"within 1e-13 of the plane through the camera", None),
    "not finite": (r"vertex 28 is not finite", None),
    "index": (r"vertices are \[30, 31, 77\], and the mesh has 33 \(0 to 32\)", None),
}


@pytest.mark.slow
def test_a_mesh():
    told = jr.why_not_drawn(scene(), **OPTIONS)
    assert told == (
        "11 faces: 1 drawn; 1 with an index out of range, such as face 10; 1 with a vertex that is "
        "not finite, such as face 9; 1 with a corner on the camera's plane, such as face 8; 1 "
        "without area on screen, such as face 3; 1 before near=0.1, such as face 4; 1 beyond "
        "far=10, such as face 5; 1 off the picture, such as face 6; 1 culled (back), such as face "
        "7; 1 hidden behind others, such as face 1; 1 covering no pixel centre, such as face 2."
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_face(name):
    index = NAMES.index(name)
    wanted, _ = TOLD[name]
    told = jr.why_not_drawn(scene(), face=index, **OPTIONS)
    assert re.search(wanted, told), told
    assert f"Face {index} " in told


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if TOLD[name][1] is not None])
def test_the_advice_is_right(name):
    """With other options, and all other faces out of the way, it is seen."""
    index, (_, other) = NAMES.index(name), TOLD[name]
    faces = jnp.where(jnp.arange(11)[:, None] == index, scene().faces, 77)
    alone = jr.ScreenMesh(scene().vertices, faces)
    told = jr.why_not_drawn(alone, face=index, **(OPTIONS | other))
    assert "is drawn: it is seen at all" in told


@pytest.mark.slow
def test_names_what_hides_a_face():
    # Two halves of a wall before a triangle, one of which leaves a part of it free.
    corners = [*np.c_[BIG, [3] * 3], [-2, -2, 1], [0, -2, 1], [-2, 2, 1], [0, 2, 1], [0.3, -2, 1]]
    faces = [[0, 1, 2], [3, 4, 5], [4, 6, 5], [4, 7, 6]]
    screen = jr.ScreenMesh(jnp.array(corners), jnp.array(faces))
    told = jr.why_not_drawn(screen, face=0, image_size=SIZE)
    seen = jr.rasterize_hard(screen, image_size=SIZE)
    numbers = re.fullmatch(
        r"Face 0 is drawn: it is seen at (\d+) of the (\d+) pixels that it covers\. It is hidden "
        r"by face 2 at (\d+), face 3 at (\d+), face 1 at (\d+)\.",
        told,
    )
    assert numbers, told
    shown, total, *hidden = map(int, numbers.groups())
    assert shown == (seen.face == 0).sum()
    assert shown + sum(hidden) == total


@pytest.mark.slow
def test_a_copy_at_the_same_depth():
    corners = np.c_[BIG, [2] * 3]
    screen = jr.ScreenMesh(jnp.array(corners), jnp.array([[0, 1, 2], [0, 1, 2], [2, 1, 0]]))
    told = jr.why_not_drawn(screen, face=2, image_size=SIZE)
    assert re.search(r"by face 0 at \d+\. At \d+ of them both lie at the same depth", told)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("perspective", [True, False])
def test_counts_of_a_soup(perspective):
    """Against each face drawn by itself, with limits and without."""
    vertices, faces = soup(3, 60, crossing=perspective)
    vertices = vertices.reshape(-1, 3)
    screen = jr.ScreenMesh(jnp.asarray(vertices), jnp.asarray(faces), perspective)
    told = jr.why_not_drawn(screen, image_size=SIZE, near=0.5, far=9.0)
    counts = {words: int(count) for count, words in re.findall(r"(\d+) ([a-z' ]+)", told)}

    @jax.jit
    @jax.vmap
    def alone(faces):
        one = jr.ScreenMesh(screen.vertices, faces[None], perspective)
        return jr.rasterize_hard(one, image_size=SIZE, near=0.5, far=9.0).face

    covers = (np.asarray(alone(screen.faces)) == 0).any((1, 2))
    seen = np.asarray(jr.rasterize_hard(screen, image_size=SIZE, near=0.5, far=9.0).face)
    drawn = np.unique(seen[seen >= 0])
    z = vertices[faces][..., 2]
    assert counts["faces"] == 60
    assert counts["drawn"] == drawn.size
    assert counts["hidden behind others"] == covers.sum() - drawn.size > 0
    assert counts["before near"] == (z < 0.5).all(1).sum() > 0
    assert counts["beyond far"] == (z > 9).all(1).sum() > 0
    assert sum(counts.values()) == 2 * counts["faces"]  # each for one reason


def test_every_reason_has_words():
    assert set(WORDS) == set(Reason) - {Reason.DRAWN}


@pytest.mark.slow
def test_mask_and_reason_agree():
    rng = np.random.default_rng(0)
    corners = Corners(*jnp.asarray(rng.normal(size=(3, 3, 200)), jnp.float32))
    area = jnp.where(jnp.arange(200) % 7 == 0, 0, 1.0)
    front = jnp.arange(200) % 3 > 0
    near, far = jnp.float32(0.3), jnp.float32(0.8)
    candidates = Candidates(corners, True, None, area, near, far, front=front, cull="back")
    reason = np.asarray(reason_not_drawn(candidates))
    np.testing.assert_array_equal(is_drawn(candidates), reason == Reason.DRAWN)
    assert len(np.unique(reason)) == 5


class TestMeshAndCamera:
    mesh = jr.shapes.cube()

    @pytest.mark.slow
    def test_behind_the_camera(self):
        camera = jr.look((0.0, 0.0, 3.0), (0.0, 0.0, 1.0))
        assert "12 before near=0.1" in jr.why_not_drawn(self.mesh, camera, image_size=SIZE)
        told = jr.why_not_drawn(self.mesh, camera, 3, image_size=SIZE)
        assert re.search(r"lies behind the camera, at depths from -\d.*Turn the camera", told)

    @pytest.mark.slow
    def test_vertices_that_are_not_finite(self):
        vertices = self.mesh.vertices.at[0, 1].set(jnp.inf)
        camera = jr.look_at((2.0, 2.0, 2.0), projection=jr.orthographic(4.0))
        told = jr.why_not_drawn(jr.Mesh(vertices, self.mesh.faces), camera, image_size=SIZE)
        assert re.search(r"\d with a vertex that is not finite", told)

    @pytest.mark.slow
    def test_nothing(self):
        none = jr.Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32))
        camera = jr.look_at((0.0, 0.0, 3.0))
        assert jr.why_not_drawn(none, camera, image_size=SIZE) == "0 faces: nothing to draw."
        none = jr.Mesh(jnp.zeros((0, 3)), jnp.zeros((2, 3), jnp.int32))
        told = jr.why_not_drawn(none, camera, image_size=SIZE)
        assert told.startswith("2 faces: 0 drawn; 2 with an index out of range")

    def test_bad_input(self):
        camera = jr.look_at((0.0, 0.0, 3.0))

        def ask(*args, **options):
            return jr.why_not_drawn(*args, **({"image_size": SIZE} | options))

        with pytest.raises(ValueError, match=r"`mesh` must be a Mesh"):
            ask(self.mesh.vertices, camera)
        with pytest.raises(ValueError, match=r"`camera` must be a Camera"):
            ask(self.mesh)
        with pytest.raises(ValueError, match=r"`camera` must be None for a ScreenMesh"):
            ask(scene(), camera)
        for face in (12, -1, 0.5):
            with pytest.raises(ValueError, match=r"`face` must be the index of one of 12 faces"):
                ask(self.mesh, camera, face)
        with pytest.raises(ValueError, match=r"`cull` must be one of"):
            ask(self.mesh, camera, cull="both")
        with pytest.raises(ValueError, match=r"`anti_aliasing` must be a whole number"):
            ask(self.mesh, camera, anti_aliasing=0)
        with pytest.raises(ValueError, match=r"must have known values.*outside of jax\.jit"):
            jax.eval_shape(
                lambda v: (ask(jr.Mesh(v, self.mesh.faces), camera), v)[1], self.mesh.vertices
            )


@pytest.mark.thorough
def test_holes_of_a_material():
    """A face whose pixels are all holes says so, and hides nothing."""
    corners = jnp.array([[-9.0, -9.0, 0.0], [9.0, -9.0, 0.0], [0.0, 9.0, 0.0]])
    vertices = jnp.concatenate([corners.at[:, 2].set(z) for z in (1.0, 0.0)])
    material = jr.Material(
        group=jnp.array([0, 1]),
        base_color=jnp.array([[1.0, 1.0, 1.0, 0.25], [1.0, 1.0, 1.0, 1.0]]),
        alpha_cutoff=jnp.array([0.5]),
    )
    mesh = jr.Mesh(vertices, jnp.arange(6).reshape(2, 3), material=material)
    view = {"camera": jr.look_at((0.0, 0.0, 3.0)), "image_size": (4, 4)}
    assert jr.why_not_drawn(mesh, **view) == (
        "2 faces: 1 drawn; 1 with holes at all pixel centres, such as face 0."
    )
    assert "has holes (`alpha_cutoff`) at all 16 pixels" in jr.why_not_drawn(mesh, face=0, **view)
    assert "seen at all 16 pixels" in jr.why_not_drawn(mesh, face=1, **view)
    with pytest.raises(ValueError, match=r"`mesh\.material` must be a Material"):
        jr.why_not_drawn(jr.Mesh(vertices, mesh.faces, material=3), **view)
