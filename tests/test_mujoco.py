"""Scenes of MuJoCo's models, against what `mujoco.Renderer` drew."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr

mujoco = pytest.importorskip("mujoco")
OURS = jr.mujoco
SIZE = (240, 320)
SMALL = """
<mujoco><visual><headlight ambient=".2 .2 .2" diffuse=".4 .4 .4" specular="0 0 0"/></visual>
 <default><geom contype="0" conaffinity="0"/></default>
 <worldbody>
  <geom name="floor" type="plane" size="0 0 .1" pos="0 0 -.6" rgba=".3 .4 .5 1"/>
  <geom name="other" type="sphere" size=".4" group="4"/>
  <geom name="gone" type="sphere" size=".4" rgba="1 0 0 0"/>
  <body><joint name="turn" type="hinge" axis="0 1 0"/>
   <geom name="arm" type="capsule" size=".1 .3" pos="0 0 .3" rgba=".8 .3 .2 1"/>
   <geom name="hand" type="box" size=".2 .1 .05" pos=".1 0 .7" rgba=".2 .7 .3 1"/>
   <body pos="0 0 .7"><joint type="ball"/><geom type="ellipsoid" size=".1 .2 .1" pos=".3 0 0"/>
    <camera name="eye" pos="0 -2 0" xyaxes="1 0 0 0 0 1" fovy="60" mode="track"/>
    <light pos="0 0 1" dir="0 0 -1" cutoff="60" mode="trackcom"/>
    <light pos="0 1 1" dir="0 0 -1" mode="targetbody" target="last"/>
   </body>
  </body>
  <body name="last" pos="-.5 0 0"><joint type="slide"/>
   <geom type="cylinder" size=".1 .2" rgba=".5 .5 .9 1"/></body>
  <camera name="front" pos="0 -3 .3" xyaxes="1 0 0 0 .1 1"/>
  <camera name="sensor" pos="0 -3 .3" xyaxes="1 0 0 0 .1 1" resolution="64 48"
   sensorsize="4e-3 3e-3" focal="4e-3 5e-3" principal="3e-4 2e-4"/>
  <camera name="flat" pos="0 -3 .3" xyaxes="1 0 0 0 .1 1" projection="orthographic" fovy="2"/>
 </worldbody></mujoco>
"""


@functools.cache
def small():
    """A model and its first state."""
    model = mujoco.MjModel.from_xml_string(SMALL)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def near_edge(ids, reach=1):
    """Which pixels have another id within so many pixels, diagonals included."""
    padded = np.pad(ids, reach, mode="edge")
    span = range(2 * reach + 1)
    height, width = ids.shape
    moved = [padded[i : i + height, j : j + width] for i in span for j in span]
    return np.any([other != ids for other in moved], axis=0)


@pytest.mark.long
@pytest.mark.parametrize("state", range(4))
def test_a_scene_of_every_kind_of_geom_is_drawn_as_mujoco_draws_it(cases, state):
    for name in ("mujoco/quad.png", "mujoco/texbox.obj"):
        cases.path(name)
    model = mujoco.MjModel.from_xml_path(str(cases.path("mujoco/scene.xml")))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    seen = {
        key.removesuffix(str(state)): array
        for key, array in cases("mujoco/pictures.npz").items()
        if key.endswith(str(state))
    }
    moved = types.SimpleNamespace(geom_xpos=seen["geom_xpos"], geom_xmat=seen["geom_xmat"])
    camera = OURS.camera(model, data, "c")
    image = jr.render(
        OURS.scene_from_model(model).at(OURS.poses(moved)),
        camera,
        OURS.lights(model, data, camera),
        image_size=SIZE,
        **OURS.options(model),
    )
    same = np.asarray(image.object) == seen["geom"]
    assert same.mean() >= 0.998
    assert same[~near_edge(seen["geom"])].all()
    there = same & (seen["geom"] >= 0)
    np.testing.assert_allclose(image.depth[there], seen["depth"][there], rtol=1e-3)
    assert np.abs(np.clip(image.rgb, 0, 1) * 255 - seen["rgb"]).mean() < 3


@pytest.mark.thorough
def test_geoms_have_their_sizes_and_places():
    model, data = small()
    mesh = OURS.scene_from_model(model).at(OURS.poses(data)).mesh()
    scene = OURS.scene_from_model(model)
    owner = np.asarray(scene.parts.object_of_face)
    assert sorted(set(owner.tolist())) == [0, 3, 4, 5, 6]  # the others are hidden
    for number in (3, 4, 5, 6):
        corners = np.asarray(mesh.vertices)[np.asarray(mesh.faces)[owner == number]].reshape(-1, 3)
        own = (corners - data.geom_xpos[number]) @ data.geom_xmat[number].reshape(3, 3)
        kind, (x, y, z) = model.geom_type[number], model.geom_size[number]
        reach = {3: (x, x, x + y), 5: (x, x, y)}.get(kind, (x, y, z))
        np.testing.assert_allclose(np.abs(own).max(0), reach, rtol=2e-3)


@pytest.mark.slow
def test_gradients_reach_sizes_and_colours():
    model, data = small()

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def slopes(size, rgba):
        scene = OURS.scene_from_model(model, geom_size=size, geom_rgba=rgba)
        mesh = scene.at(OURS.poses(data)).mesh()
        return mesh.vertices[:, 2].max() + mesh.material.base_color[4].sum()

    by_size, by_color = slopes(jnp.asarray(model.geom_size), jnp.asarray(model.geom_rgba))
    # The highest point is the ellipsoid's.
    np.testing.assert_allclose(by_size[5], [0, 0, 1], atol=1e-6)
    assert (by_color[4] > 0).all()
    assert not by_color[3].any()


@pytest.mark.slow
def test_alpha_that_is_given_says_what_is_drawn():
    model, _ = small()
    rgba = np.array(model.geom_rgba)
    rgba[2, 3], rgba[3, 3], rgba[4, 3] = 1, 0, 0.5  # of "gone", "arm" and "hand"
    with pytest.warns(UserWarning, match="1 half transparent geoms are drawn opaque.*'hand'"):
        scene = OURS.scene_from_model(model, geom_rgba=rgba)
    assert sorted(set(np.asarray(scene.parts.object_of_face).tolist())) == [0, 2, 4, 5, 6]
    # Where it is traced, the model says so.
    traced = jax.eval_shape(lambda rgba: OURS.scene_from_model(model, geom_rgba=rgba), rgba)
    assert traced.parts.faces.shape == OURS.scene_from_model(model).parts.faces.shape
    rgba[:, 3] = 0
    with pytest.raises(ValueError, match="of alpha above 0"):
        OURS.scene_from_model(model, geom_rgba=rgba)


@pytest.mark.slow
def test_the_models_own_colours_change_nothing_where_they_are_given():
    """The default leaves a geom's colour to its material, as MuJoCo has it."""
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><asset><material name="m" rgba=".9 .1 .2 1"/></asset><worldbody>
         <geom size=".1" material="m"/><geom size=".1" material="m" rgba=".1 .2 .3 1"/>
         <geom size=".1"/></worldbody></mujoco>"""
    )
    linear = jr.to_linear([[0.9, 0.1, 0.2], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    rgba = jnp.asarray(model.geom_rgba)

    def colors(rgba):
        return OURS.scene_from_model(model, geom_rgba=rgba).material.base_color[:, :3]

    for given in (None, np.array(model.geom_rgba), rgba):
        np.testing.assert_allclose(colors(given), linear, rtol=1e-5)
    traced, slope = jax.jvp(colors, (rgba,), (jnp.ones_like(rgba),))
    np.testing.assert_allclose(traced, linear, rtol=1e-5)
    assert (slope > 0).all()


@pytest.mark.slow
def test_cameras_project_as_mujoco_says():
    model, data = small()
    points = np.random.default_rng(0).normal(size=(5, 3))
    for name in ("front", "sensor", "eye"):
        number = model.camera(name).id
        own = (points - data.cam_xpos[number]) @ data.cam_xmat[number].reshape(3, 3)
        x, y = own[:, 0] / -own[:, 2], own[:, 1] / -own[:, 2]
        if name == "sensor":
            (fx, fy, cx, cy), (w, h) = model.cam_intrinsic[number], model.cam_sensorsize[number]
            expected = (x - cx / fx) * 2 * fx / w, (y + cy / fy) * 2 * fy / h
        else:
            scale = 1 / np.tan(np.deg2rad(model.cam_fovy[number]) / 2)
            expected = x * scale * 3 / 4, y * scale
        seen = jr.project(points, OURS.camera(model, data, name), image_size=(48, 64))
        np.testing.assert_allclose(seen, np.stack([*expected, -own[:, 2]], -1), rtol=2e-4)
    flat = OURS.camera(model, data, model.camera("flat").id)
    assert flat.projection.parallel
    assert jr.camera_position(OURS.camera(model, data)).shape == (3,)


FREELY = """
<mujoco><compiler angle="radian"/><worldbody>
 <body pos="0 0 1"><freejoint/><geom type="box" size=".1 .2 .3" euler=".3 .2 .1"/>
  <body pos=".3 0 0" euler="0 .4 0"><joint axis="1 2 0" pos=".1 .2 .3" ref=".2"/>
   <joint type="slide" axis="0 1 1" ref=".1"/><geom size=".1"/>
   <body pos="0 .5 0"><joint type="ball" pos="0 -.1 0"/><geom size=".1 .2" type="capsule"
    pos="0 0 .2" euler="1 0 0"/></body></body></body>
 <body pos="2 0 0" mocap="true"><geom size=".1"/></body></worldbody></mujoco>
"""


@pytest.mark.slow
def test_kinematics_are_mujocos():
    model = mujoco.MjModel.from_xml_string(FREELY)
    data = mujoco.MjData(model)
    qpos = np.random.default_rng(2).normal(size=(3, model.nq))
    several = jax.jit(jax.vmap(lambda qpos: OURS.kinematics(model, qpos)))(qpos)
    for own, poses in zip(qpos, several, strict=True):
        data.qpos[:] = own
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(poses, OURS.poses(data), atol=2e-6)


@pytest.mark.slow
def test_kinematics_have_gradients(x64):
    model = mujoco.MjModel.from_xml_string(FREELY)
    random = np.random.default_rng(3)
    qpos, way = random.normal(size=(2, model.nq))
    weights = random.normal(size=(model.ngeom, 4, 4))

    @jax.jit
    def loss(qpos):
        return (OURS.kinematics(model, qpos) * weights).sum()

    slope = jax.jit(jax.grad(loss))(qpos) @ way
    expected = (loss(qpos + 1e-6 * way) - loss(qpos - 1e-6 * way)) / 2e-6
    np.testing.assert_allclose(slope, expected, rtol=1e-7)


@pytest.mark.long
def test_the_gradient_of_a_picture_to_joints_is_that_of_differences(x64):
    model, data = small()
    scene, camera = OURS.scene_from_model(model), OURS.camera(model, data, "front")
    weights = np.random.default_rng(4).normal(size=(24, 24))

    @jax.jit
    @jax.value_and_grad
    def loss(qpos):
        image = jr.render(
            scene.at(OURS.kinematics(model, qpos)),
            camera,
            image_size=(24, 24),
            rasterizer=jr.Hard(visibility_gradient="antialias"),
            **OURS.options(model),
        )
        return (image.rgb[..., 0] * weights).sum()

    qpos = np.asarray(data.qpos, float)
    qpos[0] = 0.3
    way = np.array([1, 0.2, 0.1, -0.3, 0.2, 0.5])
    (above, _), (below, _) = loss(qpos + 1e-6 * way), loss(qpos - 1e-6 * way)
    slope = loss(qpos)[1] @ way
    assert abs(slope) > 0.1
    np.testing.assert_allclose(slope, (above - below) / 2e-6, rtol=1e-3)


@pytest.mark.slow
def test_lights_follow_bodies_as_mujoco_has_them():
    model, data = small()
    camera = OURS.camera(model, data, "front")
    own = OURS.lights(model, data, camera)
    without = types.SimpleNamespace(
        **{name: getattr(data, name) for name in ("xpos", "xmat", "subtree_com")}
    )  # as an mjx.Data is
    ours = OURS.lights(model, without, camera)
    np.testing.assert_allclose(ours.positions, data.light_xpos, atol=1e-6)
    np.testing.assert_allclose(ours.spot_directions, data.light_xdir, atol=1e-6)
    np.testing.assert_allclose(own.positions, ours.positions, atol=1e-6)
    np.testing.assert_allclose(own.directions[0], -camera.rotation[2], atol=1e-6)  # the headlight
    assert own.spot_cutoffs.tolist() == [60, 45]


@pytest.mark.long
def test_pictures_of_mjx_states_have_gradients():
    mjx = pytest.importorskip("mujoco.mjx")
    model, data = small()
    moved, start = mjx.put_model(model), mjx.make_data(model)
    scene, camera = OURS.scene_from_model(model), OURS.camera(model, data, "front")

    def height(qpos):
        state = mjx.kinematics(moved, start.replace(qpos=qpos))
        return scene.at(OURS.poses(state)).mesh().vertices[:, 2].mean()

    def picture(qpos):
        state = mjx.kinematics(moved, start.replace(qpos=qpos))
        return jr.render(
            scene.at(OURS.poses(state)), camera, image_size=(16, 16), **OURS.options(model)
        ).depth

    qpos = jnp.asarray(np.tile(data.qpos, (2, 1)), float).at[1, 0].set(0.3)
    several = jax.jit(jax.vmap(picture))(qpos)
    np.testing.assert_allclose(several[0], jax.jit(picture)(qpos[0]), rtol=1e-6)
    assert (several[0] != several[1]).any()
    slope = jax.jit(jax.vmap(jax.grad(height)))(qpos)
    assert np.isfinite(slope).all()
    assert slope[1, 0] < 0 == slope[1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, d: OURS.scene_from_model(d), "must be a mujoco.MjModel, got MjData"),
        (lambda m, d: OURS.scene_from_model(m, groups=[5]), "to be drawn, got none of its 7"),
        (lambda m, d: OURS.scene_from_model(m, geom_size=[1.0]), r"\[7, 3\]"),
        (lambda m, d: OURS.poses(m), "must be a mujoco.MjData or an mjx.Data, got MjModel"),
        (lambda m, d: OURS.kinematics(d, d.qpos), "must be a mujoco.MjModel, got MjData"),
        (lambda m, d: OURS.kinematics(m, [0.0]), r"\[6\]"),
        (lambda m, d: OURS.camera(m, d, "back"), "got 'back'"),
        (lambda m, d: OURS.camera(m, d, 9), "got 9"),
        (lambda m, d: OURS.options(d), "must be a mujoco.MjModel"),
        (lambda m, d: OURS.lights(d, m, None), "must be a mujoco.MjModel"),
    ],
)
def test_wrong_arguments_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call(*small())


@pytest.mark.slow
def test_mujoco_reads_urdf():
    model = mujoco.MjModel.from_xml_string(
        """
        <robot name="two"><mujoco><compiler discardvisual="false" fusestatic="false"/></mujoco>
         <link name="base"><visual><geometry><box size=".2 .2 .2"/></geometry></visual></link>
         <link name="arm"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0"
           ixz="0" iyz="0"/></inertial>
          <visual><origin xyz="0 0 .3"/><geometry><cylinder radius=".05" length=".6"/></geometry>
           <material name="red"><color rgba="1 0 0 1"/></material></visual></link>
         <joint name="j" type="revolute"><parent link="base"/><child link="arm"/><axis xyz="0 1 0"/>
          <limit lower="-2" upper="2" effort="1" velocity="1"/></joint></robot>"""
    )
    poses = jax.jit(lambda qpos: OURS.kinematics(model, qpos))(np.full(1, np.pi / 2))
    vertices = OURS.scene_from_model(model).at(poses).mesh().vertices
    np.testing.assert_allclose(vertices.max(0), [0.6, 0.1, 0.1], atol=1e-5)


@pytest.mark.slow
def test_what_is_not_drawn_so_is_warned_of():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><geom name='veil' size='1' rgba='1 1 1 .5'/></worldbody></mujoco>"
    )
    with pytest.warns(UserWarning, match="half transparent .* such as 'veil'"):
        OURS.scene_from_model(model)
