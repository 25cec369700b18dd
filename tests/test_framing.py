"""`frame`, `turntable`, `camera_lights` and `depth_range` against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import jit

import jaxrender as jr

# Where y goes, and z (the front), for each axis that may be up.
UPS = {
    "y": ((0, 1, 0), (0, 0, 1)),
    "z": ((0, 0, 1), (0, -1, 0)),
    "x": ((1, 0, 0), (0, 0, 1)),
    "-x": ((-1, 0, 0), (0, 0, 1)),
    "-y": ((0, -1, 0), (0, 0, -1)),
    "-z": ((0, 0, -1), (0, 1, 0)),
}
RNG = np.random.default_rng(3)
POINTS = RNG.normal(size=(9, 3)) * (1.0, 3.0, 0.5) + (5.0, 0.0, -2.0)
MESH = jr.Mesh(jnp.asarray(POINTS, jnp.float32), jnp.asarray([[0, 1, 2], [3, 4, 5], [6, 7, 0]]))
USED = POINTS[:8]  # the last vertex is no face's


def reference(azimuth, elevation, *, up="y", fov=40.0, size=(256, 256), at=None, distance=None):
    """The eye, the target and the radius, by trigonometry."""
    low, high = USED.min(0), USED.max(0)
    target = (low + high) / 2 if at is None else np.asarray(at)
    radius = np.linalg.norm(USED - target, axis=1).max()
    if distance is None:
        half = np.arctan(np.tan(np.radians(fov / 2)) * min(1, size[1] / size[0]))
        distance = radius / np.sin(half)
    a, e = np.radians([azimuth, elevation])
    upward, front = np.array(UPS[up], float)
    right = np.cross(upward, front)
    way = np.cos(e) * (np.sin(a) * right + np.cos(a) * front) + np.sin(e) * upward
    return target + distance * way, target, radius


CASES = [
    {},
    {"azimuth": 200.0, "elevation": -35.0, "size": (30, 60), "fov": 75.0},
    {"azimuth": 90.0, "elevation": 90.0, "size": (60, 30)},
    {"azimuth": 15.0, "elevation": 100.0, "at": (4.0, 1.0, -2.0), "distance": 12.5},
    *({"azimuth": 25.0, "elevation": 10.0, "up": up} for up in UPS),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_frame_stands_where_trigonometry_says(case):
    told = {"azimuth": 30.0, "elevation": 20.0} | case
    eye, target, radius = reference(**told)
    size = told.pop("size", (256, 256))
    camera = jr.frame(MESH, **told, image_size=size)
    np.testing.assert_allclose(jr.camera_position(camera), eye, rtol=1e-5, atol=1e-5)
    depth = np.linalg.norm(target - eye)
    middle = jr.project(jnp.asarray(target, jnp.float32)[None], camera, image_size=size)
    np.testing.assert_allclose(middle, [[0, 0, depth]], atol=2e-5)
    assert float(camera.projection.fov) == told.get("fov", 40.0)

    # The axis that is up is up in the picture, and what is right of it is not mirrored.
    upward = np.array(UPS[told.get("up", "y")][0], float)
    rows = np.asarray(camera.rotation)
    assert np.linalg.det(rows) == pytest.approx(-1, abs=1e-5)
    assert rows[1] @ upward == pytest.approx(np.cos(np.radians(told["elevation"])), abs=1e-6)
    assert abs(rows[0] @ upward) < 1e-6

    # The sphere touches the nearer sides of the picture.
    if "distance" not in told:
        narrow = min(1, size[1] / size[0]) * np.tan(np.radians(told.get("fov", 40.0) / 2))
        assert radius / np.sqrt(depth**2 - radius**2) == pytest.approx(narrow, rel=1e-5)
        x, y, _ = np.asarray(jr.project(MESH.vertices[:8], camera, image_size=size)).T
        assert max(abs(x).max(), abs(y).max()) <= 1


@pytest.mark.slow
def test_parallel_frames_show_the_sphere():
    _, _, radius = reference(0.0, 0.0)
    camera = jr.frame(MESH, parallel=True, image_size=(60, 30))
    assert camera.projection.parallel
    assert float(camera.projection.height) == pytest.approx(4 * radius, rel=1e-5)


def test_worlds_of_either_hand():
    camera = jr.frame(MESH, 30.0, 20.0, distance=4.0, at=(0, 0, 0), right_handed=False)
    wanted = jr.points_from_angles(4.0, 20.0, 30.0, right_handed=False)
    np.testing.assert_allclose(jr.camera_position(camera), wanted, atol=1e-6)
    assert np.linalg.det(np.asarray(camera.rotation)) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_turntable_is_a_loop_over_frames():
    options = {"distance": 9.0, "at": (1.0, 0, 0), "fov": 30.0, "up": "z", "image_size": (20, 30)}
    cameras = jr.turntable(MESH, 3, 10.0, -5.0, **options)
    alone = [jr.frame(MESH, azimuth, -5.0, **options) for azimuth in (10.0, 130.0, 250.0)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    assert jax.tree.structure(cameras) == jax.tree.structure(together)
    for ours, theirs in zip(jax.tree.leaves(cameras), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_frames_of_several_meshes():
    """vmap over meshes is a loop."""
    meshes = [jr.Mesh(scale * MESH.vertices, MESH.faces) for scale in (1.0, 3.0)]
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *meshes)
    cameras = jax.vmap(lambda mesh: jr.frame(mesh, 40.0))(many)
    for k, mesh in enumerate(meshes):
        alone = jr.frame(mesh, 40.0)
        np.testing.assert_allclose(cameras.translation[k], alone.translation, rtol=1e-5)


@pytest.mark.slow
def test_compiled_frame_and_range_are_the_same():
    def both(mesh, azimuth):
        camera = jr.frame(mesh, azimuth)
        return camera, jr.depth_range(mesh, camera), jr.camera_lights(camera)

    ours, theirs = jax.jit(both)(MESH, 70.0), both(MESH, 70.0)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.thorough
def test_gradients(x64):
    def total(points, azimuth, elevation, fov):
        mesh = jr.Mesh(points, MESH.faces)
        camera = jr.frame(mesh, azimuth, elevation, fov=fov)
        near, far = jr.depth_range(mesh, camera)
        eye = jr.camera_position(camera)
        return (eye * jnp.asarray([1.0, 0.7, -0.3])).sum() + near + 2 * far

    args = [jnp.asarray(POINTS), *(jnp.asarray(value) for value in (30.0, 20.0, 40.0))]
    both = jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3)))
    _, gradients = both(*args)
    for place, gradient in enumerate(gradients):
        way = jnp.asarray(RNG.normal(size=gradient.shape))
        moved = [
            float(both(*args[:place], args[place] + step * way, *args[place + 1 :])[0])
            for step in (1e-6, -1e-6)
        ]
        wanted = (moved[0] - moved[1]) / 2e-6
        assert float((gradient * way).sum()) == pytest.approx(wanted, rel=1e-6, abs=1e-7)


@pytest.mark.slow
def test_a_mesh_without_extent_has_a_camera():
    point = jr.Mesh(jnp.full((3, 3), 2.0), jnp.asarray([[0, 1, 2]]))

    def far(vertices):
        mesh = jr.Mesh(vertices, point.faces)
        camera = jr.frame(mesh, 0.0, 0.0)
        return jr.camera_position(camera)[2] + sum(jr.depth_range(mesh, camera))

    value, gradient = jit(jax.value_and_grad(far))(point.vertices)
    half = 1 / np.sin(np.radians(20))
    assert float(value) == pytest.approx(2 + half + 2 * half, rel=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_lights_stand_beside_the_camera_in_every_world():
    """What faces the camera is as bright in OpenCV's world, mirrored, or z up."""
    turned = np.array([[1, 0, 0], [0, -1, 0], [0, 0, 1.0]])
    opencv = jr.from_opencv(
        [[50, 0, 20], [0, 50, 20], [0, 0, 1.0]], np.eye(3), (0, 0, 3.0), image_size=(40, 40)
    )
    seen = []
    for camera in (jr.frame(MESH), jr.frame(MESH, up="z"), jr.frame(MESH, up="-y"), opencv):
        lights = jr.camera_lights(camera, fill=(0.1, 0.2, 0.3))
        seen.append(np.asarray(lights.directions) @ np.asarray(camera.rotation).T)
        np.testing.assert_allclose(lights.direction_colors[1], (0.1, 0.2, 0.3))
    np.testing.assert_allclose(
        seen, np.broadcast_to([[-0.5, 0.6, -0.62], [0.8, 0.1, -0.6]], (4, 2, 3)), atol=1e-6
    )
    np.testing.assert_allclose(
        jr.camera_lights(opencv).directions[0], turned @ seen[0][0], atol=1e-6
    )


@pytest.mark.slow
def test_depth_range():
    _, _, radius = reference(0.0, 0.0)
    camera = jr.frame(MESH, distance=20.0)
    np.testing.assert_allclose(
        jr.depth_range(MESH, camera), (20 - 1.01 * radius, 20 + 1.01 * radius), rtol=1e-5
    )
    near, far = jr.depth_range(MESH, jr.frame(MESH, distance=0.5 * radius))
    assert float(near) == pytest.approx(1e-3 * radius, rel=1e-5)
    assert float(far) > near
    behind = jr.look((0.0, 0, 100), (0.0, 0, 1))
    near, far = jr.depth_range(MESH, behind)
    assert 0 < near < far


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"azimuth": [1.0, 2.0]}, "`azimuth` must be"),
        ({"elevation": np.nan}, "`elevation` must be finite"),
        ({"distance": 0.0}, "`distance` must be positive"),
        ({"at": (1.0, 2.0)}, "`at` must be"),
        ({"fov": 180.0}, "`fov` must lie between"),
        ({"image_size": (0, 4)}, "`image_size` must be"),
        ({"up": "w"}, "`up` must be one of"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        jr.frame(MESH, **options)
    with pytest.raises(ValueError, match=message):
        jr.turntable(MESH, 2, **options)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`frames` must be a whole number"):
        jr.turntable(MESH, 0)
    with pytest.raises(ValueError, match="`mesh` must have vertices"):
        jr.frame(jr.Mesh(jnp.zeros((0, 3)), jnp.zeros((0, 3), jnp.int32)))
    with pytest.raises(ValueError, match=r"`mesh\.vertices` must be finite"):
        jr.frame(jr.Mesh(jnp.full((3, 3), jnp.nan), MESH.faces[:1]))
    with pytest.raises(ValueError, match="`camera` must be a Camera"):
        jr.camera_lights(None)
