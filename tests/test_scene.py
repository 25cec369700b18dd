"""Scenes against the one mesh that they are, posed by hand."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr

SIZE = (24, 32)
CAMERA = jr.look_at((0.4, 1.2, 4.5), projection=jr.perspective(50.0))
LIGHTS = jr.make_lights(0.3, [((0.3, 1.0, 0.5), 0.6)], [((2.0, 2.0, 2.0), 0.4)], specular=0.2)
RANDOM = np.random.default_rng(5)
BALL = dataclasses.replace(jr.shapes.icosphere(1), normals=jr.shapes.icosphere(1).vertices)


def pose(seed, scale=(1.0, 1.0, 1.0)):
    """A turn about a skew axis, sizes along the axes, and a shift."""
    random = np.random.default_rng(seed)
    matrix = np.eye(4)
    turn = np.asarray(jr.rotations.from_axis_angle(random.normal(size=3)))
    matrix[:3, :3] = turn * np.asarray(scale)
    matrix[:3, 3] = random.uniform(-0.9, 0.9, 3)
    return matrix


def objects():
    """A picture on a cube, vertex colours, and a ball three times, once with no two sizes alike."""
    cube = jr.shapes.cube()
    uv = RANDOM.uniform(size=(36, 2))
    corners = np.arange(36).reshape(12, 3)
    image = RANDOM.uniform(size=(4, 6, 3)).astype(np.float32)
    picture = jr.UVTexture(jnp.asarray(image), jnp.asarray(uv, jnp.float32), jnp.asarray(corners))
    colors = jr.VertexColors(jnp.asarray(RANDOM.uniform(size=(8, 3)), jnp.float32))
    red = jr.Material(base_color=jnp.array([[0.8, 0.1, 0.1, 1.0]]))
    return [
        jr.Object(dataclasses.replace(cube, texture=picture), pose(0, (0.5, 0.5, 0.5))),
        jr.Object(dataclasses.replace(cube, texture=colors), pose(1, (0.3, 0.6, 0.4)), id=9),
        jr.Object(BALL, pose(2, (0.5, 0.5, 0.5)), red, id=14),
        jr.Object(BALL, pose(3, (0.2, 0.6, 0.4))),
        jr.Object((BALL, BALL), pose(4), local=np.stack([pose(5, [0.2] * 3), pose(6, [0.3] * 3)])),
    ]


THINGS = objects()


def by_hand(things):
    """The same as one mesh, each copied and moved, and which object each face is of."""
    moved, owner = [], []
    for number, thing in enumerate(things):
        meshes = thing.mesh if isinstance(thing.mesh, tuple) else (thing.mesh,)
        for index, mesh in enumerate(meshes):
            if thing.material is not None:
                mesh = dataclasses.replace(mesh, material=thing.material)
            place = np.eye(4) if thing.local is None else thing.local[index]
            moved.append(mesh.transformed(thing.pose @ place))
            owner.append(number if thing.id is None else thing.id)
    mesh, part = jr.join_meshes(moved)
    return mesh, np.asarray(owner)[np.asarray(part)]


SCENE = jr.make_scene(THINGS)
MESH, OWNER = by_hand(THINGS)


def draw(scene, **options):
    return jr.render(scene, CAMERA, LIGHTS, image_size=SIZE, **options)


@pytest.mark.thorough
def test_a_scene_looks_like_its_objects_moved_by_hand():
    things = THINGS
    scene, (mesh, owner) = jr.make_scene(things), by_hand(things)
    assert scene.ids.tolist() == [0, 9, 14, 3, 4]
    assert len(scene.shapes.vertices) == 8 + 8 + len(BALL.vertices)
    seen = draw(scene, shading="gouraud")
    expected = draw(mesh, shading="gouraud")
    np.testing.assert_allclose(seen.rgb, expected.rgb, atol=2e-6)
    np.testing.assert_allclose(seen.depth, expected.depth, rtol=1e-5)
    np.testing.assert_array_equal(
        seen.object, np.where(seen.face < 0, -1, owner[np.maximum(seen.face, 0)])
    )


@pytest.mark.thorough
def test_soft_and_sharp_pictures_have_the_same_ids():
    soft = draw(SCENE, rasterizer=jr.Soft(), anti_aliasing=2)
    expected = draw(MESH, rasterizer=jr.Soft(), anti_aliasing=2)
    np.testing.assert_allclose(soft.rgb, expected.rgb, atol=2e-4)
    np.testing.assert_array_equal(soft.object, draw(SCENE).object)


@pytest.mark.long  # as users compile it
def test_a_batch_of_poses_has_the_bits_of_each_alone():
    scene = SCENE
    poses = jnp.stack([scene.poses, scene.poses.at[:, :3, 3].multiply(0.7), scene.poses[::-1]])

    @jax.jit
    def picture(poses):
        return draw(scene.at(poses))

    together = jax.jit(jax.vmap(picture))(poses)
    for index, alone in enumerate(poses):
        one = picture(alone)
        for name in ("rgb", "alpha", "depth", "face", "object"):
            np.testing.assert_array_equal(getattr(together, name)[index], getattr(one, name))


@pytest.mark.thorough
def test_many_poses_are_drawn_in_chunks():
    """A chunk that does not divide them, and what it holds at once."""
    poses = jnp.stack([SCENE.poses.at[:, 0, 3].add(0.1 * step) for step in range(7)])

    def ids(poses):
        return draw(SCENE.at(poses), shading="none").object

    whole = jax.jit(jax.vmap(ids)).lower(poses).compile()
    chunks = jax.jit(lambda poses: jax.lax.map(ids, poses, batch_size=2)).lower(poses).compile()
    np.testing.assert_array_equal(chunks(poses), whole(poses))
    held = [program.memory_analysis().temp_size_in_bytes for program in (chunks, whole)]
    assert held[0] < held[1]


@pytest.mark.slow
def test_no_shape_is_copied_for_a_pose():
    scene = SCENE

    def rest(poses):
        return dataclasses.replace(scene.at(poses).mesh(), vertices=None, normals=None)

    # What does not depend on the poses may leave vmap unmapped.
    shared = jax.vmap(rest, out_axes=None)(jnp.stack([scene.poses] * 7))
    assert shared.texture.texture.image is scene.shapes.texture.image


@pytest.mark.slow
def test_the_gradient_to_poses_is_that_of_differences(x64):
    scene = jax.tree.map(lambda leaf: leaf.astype(float) if leaf.dtype.kind == "f" else leaf, SCENE)
    random = np.random.default_rng(1)
    mesh = scene.mesh()
    weights = [random.normal(size=array.shape) for array in (mesh.vertices, mesh.normals)]

    @jax.jit
    def loss(poses, places):
        mesh = dataclasses.replace(scene.at(poses), locals=places).mesh()
        pairs = zip((mesh.vertices, mesh.normals), weights, strict=True)
        return sum((array * weight).sum() for array, weight in pairs)

    given = scene.poses, scene.locals
    ways = [random.normal(size=array.shape) for array in given]
    ways[0][:, 3] = ways[1][:, 3] = 0
    slopes = jax.jit(jax.grad(loss, (0, 1)))(*given)
    slope = sum((own * way).sum() for own, way in zip(slopes, ways, strict=True))
    ends = [
        loss(*(array + step * way for array, way in zip(given, ways, strict=True)))
        for step in (1e-6, -1e-6)
    ]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


@pytest.mark.thorough
def test_a_mirrored_object_keeps_its_front_outside():
    cube = jr.shapes.cube()
    turned, mirrored = pose(7, (0.8, 0.8, 0.8)), pose(7, (0.8, 0.8, -0.8))
    both = [draw(jr.make_scene([jr.Object(cube, own)]), cull="back") for own in (turned, mirrored)]
    np.testing.assert_array_equal(both[0].alpha, both[1].alpha)
    np.testing.assert_allclose(both[0].depth, both[1].depth, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rasterizer", [jr.Hard(), jr.Soft(sigma=1e-3)])
def test_a_scene_without_faces_is_empty(rasterizer):
    nothing = jr.Mesh(jnp.zeros((2, 3)), jnp.zeros((0, 3), jnp.int32))
    scene = jr.make_scene([nothing, jr.Object(nothing, id=7)])
    image = jr.render(scene, CAMERA, image_size=SIZE, rasterizer=rasterizer)
    assert (image.object == -1).all()
    assert (image.face == -1).all()
    assert not image.alpha.any()
    masks = jr.silhouette(scene, CAMERA, scene.ids, image_size=SIZE, rasterizer=rasterizer)
    assert masks.shape == (*SIZE, 2)
    assert not masks.any()


@pytest.mark.thorough
def test_what_is_not_visible_is_not_drawn():
    scene = jr.make_scene([dataclasses.replace(t, visible=n != 1) for n, t in enumerate(THINGS)])
    less = jr.make_scene([thing for number, thing in enumerate(THINGS) if number != 1])
    shown = jax.jit(lambda visible: draw(scene.with_visible(visible)))(np.arange(5) != 1)
    for image in (draw(scene), shown):
        np.testing.assert_allclose(image.rgb, draw(less).rgb, atol=2e-6)
        assert not (image.object == 9).any()


@pytest.mark.slow
def test_materials_are_traced():
    scene = jr.make_scene([jr.Object(BALL, pose(2)), jr.Object(BALL, pose(3), id=5)])
    assert scene.material is None
    red, blue = np.eye(4)[[0, 2]] + np.array([0, 0, 0, 1])

    @jax.jit
    def picture(colors):
        return draw(scene.with_material(base_color=colors), shading="none")

    image = picture(np.stack([red, blue]))
    seen = np.where(image.object[..., None] == 5, blue[:3], red[:3]) * image.alpha[..., None]
    np.testing.assert_allclose(image.rgb, seen, atol=1e-6)
    repainted = scene.with_material(base_color=[red]).with_material(base_color=[blue, red])
    assert repainted.material.count == 2
    slope = jax.grad(lambda colors: picture(colors).rgb[..., 0].sum())(np.stack([red, blue]))
    assert slope[1, 0] > 0 == slope[0, 1]


@pytest.mark.slow
def test_each_object_has_a_silhouette_of_what_is_seen_of_it():
    scene = SCENE
    masks = jr.silhouette(scene, CAMERA, scene.ids, image_size=SIZE)
    seen = draw(scene)
    np.testing.assert_array_equal(masks, np.equal(seen.object[..., None], scene.ids))
    np.testing.assert_array_equal(jr.silhouette(scene, CAMERA, image_size=SIZE), seen.alpha)


@pytest.mark.thorough
@pytest.mark.parametrize("rasterizer", [None, jr.Soft(sigma=1e-4)])
def test_silhouettes_of_objects_pull_where_they_should(rasterizer):
    cube = jr.shapes.cube()
    scene = jr.make_scene([jr.Object(cube, pose(0)), cube])
    apart = np.tile(np.eye(4), (2, 1, 1))
    apart[:, :3, :3] *= 0.6
    apart[:, 0, 3] = -0.4, 0.4

    @jax.jit
    @jax.grad
    def slope(poses):
        mask = jr.silhouette(scene.at(poses), CAMERA, [0], image_size=SIZE, rasterizer=rasterizer)
        columns = np.arange(SIZE[1]) - SIZE[1] / 2
        return (mask[..., 0] * columns[None]).sum()

    slopes = slope(apart)
    assert slopes[0, 0, 3] > 0  # the sum of columns grows as the object goes to the right
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jr.make_scene([]), "at least one object"),
        (lambda: jr.make_scene([jr.Object(())]), "at least one object with a mesh"),
        (lambda: jr.make_scene([3]), r"objects\[0\]. must be an Object or a Mesh, got int"),
        (lambda: jr.make_scene([jr.Object(3)]), r"objects\[0\].mesh. must be a Mesh, got int"),
        (lambda: jr.make_scene([jr.Object(BALL, id=1), BALL]), "ids of their own, got 1 twice"),
        *(
            (lambda bad=bad: jr.make_scene([jr.Object(BALL, id=bad)]), r"\[0\]\.id` must be a")
            for bad in (-1, 2.5, "a", True, 2**31)
        ),
        (lambda: jr.make_scene([jr.Object(BALL, np.eye(3))]), r"objects\[0\].pose"),
        (lambda: jr.make_scene([jr.Object(BALL, np.full((4, 4), np.nan))]), "finite"),
        (lambda: jr.make_scene([BALL]).at(np.eye(4)), r"poses. must be .* \[1, 3 or 4, 4\]"),
        (lambda: jr.make_scene([BALL]).with_visible([True, False]), "1 objects, got shape"),
        (lambda: jr.make_scene([BALL]).with_material(color=1), "base_color"),
        (lambda: jr.silhouette(BALL, CAMERA, [0], image_size=SIZE), "no Scene"),
        (lambda: jr.silhouette(jr.make_scene([BALL]), CAMERA, [3], image_size=SIZE), "got 3"),
    ],
)
def test_wrong_arguments_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()
