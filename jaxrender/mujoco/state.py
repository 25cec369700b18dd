"""Where geoms, cameras and lights of a MuJoCo model are, in a state of MuJoCo's or of MJX's.

Shape legend: `N` geoms, `B` bodies, `L` lights.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._camera.models import Orthographic, Perspective
from jaxrender._types import Camera, Lights, Projection
from jaxrender._vectors import unit

# mjtLightType, mjtCamLight, mjtProjection.
SPOT, DIRECTIONAL, POINT, IMAGE = range(4)
FIXED, TRACK, TRACKCOM, TARGETBODY, TARGETBODYCOM = range(5)
ORTHOGRAPHIC = 1
DARK = 0.3  # the ambient light where there are no lights


class Sensor(Projection):
    """The projection of a camera with a sensor, which fills the picture, whatever its shape.

    Attributes:
        half: `[2]` half the sensor's width and height, in focal lengths.
        middle: `[2]` where its middle is, to the right and up from the axis.
    """

    half: jax.Array  # [2]
    middle: jax.Array  # [2]

    def to_screen(
        self, x: jax.Array, y: jax.Array, image_size: tuple[int, int] | None
    ) -> tuple[jax.Array, jax.Array]:
        """`(x - middle) / half`."""
        return (x - self.middle[0]) / self.half[0], (y - self.middle[1]) / self.half[1]


def check_model(model: Any) -> None:
    """Rejects what is no MuJoCo model.

    Raises:
        ValueError: it lacks what we read of one.
    """
    for name in ("geom_type", "geom_size", "cam_fovy", "vis", "stat"):
        if not hasattr(model, name):
            raise ValueError(
                f"`model` must be a mujoco.MjModel, got {type(model).__name__}, which has no "
                f"{name}. Pass the model that mjx.put_model was given, not what it returned."
            )


def poses(data: Any) -> jax.Array:
    """The poses of all geoms, for `Scene.at`.

    Gradient: passes through.

    Args:
        data: a `mujoco.MjData` after `mj_forward` (or `mj_kinematics`), or an `mjx.Data`; under
            `jax.vmap`, one of a batch.

    Returns:
        `[N, 4, 4]`.

    Raises:
        ValueError: it is neither.

    Example:
        >>> import jaxrender.mujoco
        >>> class Data:  # as MuJoCo and MJX have it
        ...     geom_xpos = [[0.0, 0.0, 1.0]]
        ...     geom_xmat = [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]
        >>> jaxrender.mujoco.poses(Data()).shape
        (1, 4, 4)
    """
    if not hasattr(data, "geom_xpos") or not hasattr(data, "geom_xmat"):
        raise ValueError(
            f"`data` must be a mujoco.MjData or an mjx.Data, got {type(data).__name__}. Pass the "
            "state, after mj_forward or mjx.kinematics."
        )
    return as_poses(_floats(data.geom_xpos), _floats(data.geom_xmat).reshape(-1, 3, 3))


def as_poses(positions: jax.Array, matrices: jax.Array) -> jax.Array:
    """Poses `[N, 4, 4]` of positions `[N, 3]` and rotations `[N, 3, 3]`."""
    upper = jnp.concatenate([matrices, positions[:, :, None]], axis=2)
    last = jnp.broadcast_to(jnp.asarray([0, 0, 0, 1], upper.dtype), (len(upper), 1, 4))
    return jnp.concatenate([upper, last], axis=1)


def camera(model: Any, data: Any, id: int | str = -1) -> Camera:
    """A camera of the model.

    Gradient: exact to where the state has it.

    Args:
        model: a `mujoco.MjModel`.
        data: as of `poses`; of an `mjx.Data`, after `mjx.camlight` or `mjx.forward`.
        id: its number or name, or -1: the free camera as it stands at first.

    Returns:
        The camera, for pictures of any size. One that has a sensor (`focal`, `principal`) shows all
        of it, as MuJoCo does.

    Raises:
        ValueError: there is none of that number or name.

    Example:
        >>> import mujoco
        >>> import jaxrender.mujoco
        >>> model = mujoco.MjModel.from_xml_string(
        ...     "<mujoco><worldbody><geom size='.3'/><camera name='c'/></worldbody></mujoco>"
        ... )
        >>> data = mujoco.MjData(model)
        >>> mujoco.mj_forward(model, data)
        >>> jaxrender.mujoco.camera(model, data, "c").projection.fov.item()
        45.0
    """
    check_model(model)
    number = _camera_number(model, id)
    if number < 0:
        return _free_camera(model)
    position = _floats(data.cam_xpos)[number]
    matrix = _floats(data.cam_xmat).reshape(-1, 3, 3)[number]
    dtype = position.dtype
    fovy = jnp.asarray(model.cam_fovy[number], dtype)
    projection: Projection = Perspective(fovy)
    if _is_orthographic(model, number):
        projection = Orthographic(fovy)
    elif np.asarray(model.cam_sensorsize)[number, 1] > 0:
        focal, principal = np.split(np.asarray(model.cam_intrinsic, np.float64)[number], 2)
        sensor = np.asarray(model.cam_sensorsize, np.float64)[number]
        middle = principal / focal * np.array([1, -1])
        projection = Sensor(jnp.asarray(sensor / (2 * focal), dtype), jnp.asarray(middle, dtype))
    return _looking(position, matrix, projection)


def lights(model: Any, data: Any, camera: Camera) -> Lights:
    """The lights of the model, with the headlight at a camera.

    Gradient: exact to where the state has them.

    Args:
        model: a `mujoco.MjModel`.
        data: as of `poses`; of an `mjx.Data`, the bodies' places count.
        camera: from `camera`, or any other.

    Returns:
        Lights that fall as in MuJoCo's renderer (`make_lights(like_opengl=True)`), without
        shadows. Lights of type point, which that leaves out, shine all round; those of type image
        are left out.

    Raises:
        ValueError: it is no model.

    Example:
        >>> import mujoco
        >>> import jaxrender.mujoco
        >>> model = mujoco.MjModel.from_xml_string(
        ...     "<mujoco><worldbody><geom size='.3'/><light pos='0 0 3'/></worldbody></mujoco>"
        ... )
        >>> data = mujoco.MjData(model)
        >>> mujoco.mj_forward(model, data)
        >>> camera = jaxrender.mujoco.camera(model, data)
        >>> jaxrender.mujoco.lights(model, data, camera).spot_cutoffs.tolist()
        [45.0]
    """
    check_model(model)
    positions, directions = _light_places(model, data)
    dtype, kinds = positions.dtype, _light_kinds(model)
    active = np.flatnonzero(np.asarray(model.light_active)).tolist()
    parallel = [number for number in active if kinds[number] == DIRECTIONAL]
    central = [number for number in active if kinds[number] in (SPOT, POINT)]

    # Put the headlight before the others; the ambient light of all falls everywhere.
    head, table = model.vis.headlight, _table(model, dtype)
    ambient = table("light_ambient", parallel + central).sum(0)
    towards = -directions[np.array(parallel, int)]
    colors, speculars = table("light_diffuse", parallel), table("light_specular", parallel)
    if head.active:
        ambient = ambient + jnp.asarray(head.ambient, dtype)
        ahead = camera.rotation[2].astype(dtype)
        towards = jnp.concatenate([-ahead[None], towards])
        colors = jnp.concatenate([jnp.asarray(head.diffuse, dtype)[None], colors])
        speculars = jnp.concatenate([jnp.asarray(head.specular, dtype)[None], speculars])
    elif not parallel and not central:
        ambient = ambient + DARK
    cutoffs = [float(model.light_cutoff[n]) if kinds[n] == SPOT else 180.0 for n in central]
    return Lights(
        ambient=ambient,
        directions=towards,
        direction_colors=colors,
        positions=positions[np.array(central, int)],
        position_colors=table("light_diffuse", central),
        specular=jnp.ones(3, dtype),
        shininess=jnp.asarray(64.0, dtype),
        spot_directions=directions[np.array(central, int)],
        spot_cutoffs=jnp.asarray(cutoffs, dtype),
        spot_exponents=table("light_exponent", central),
        attenuations=table("light_attenuation", central),
        direction_speculars=speculars,
        position_speculars=table("light_specular", central),
        like_opengl=True,
    )


def options(model: Any) -> dict[str, Any]:
    """What else `render` takes to draw as MuJoCo's renderer does.

    Args:
        model: a `mujoco.MjModel`.

    Returns:
        `near`, `far`, `cull`, `shading` and `two_sided`.

    Raises:
        ValueError: it is no model.

    Example:
        >>> import mujoco
        >>> import jaxrender.mujoco
        >>> model = mujoco.MjModel.from_xml_string(
        ...     "<mujoco><statistic extent='2'/><worldbody><geom size='1'/></worldbody></mujoco>"
        ... )
        >>> jaxrender.mujoco.options(model)["far"]
        100.0
    """
    check_model(model)
    extent = float(model.stat.extent)
    return {
        "near": float(model.vis.map.znear) * extent,
        "far": float(model.vis.map.zfar) * extent,
        "cull": "back",
        "shading": "phong",
        "two_sided": False,
    }


def _floats(values: Any) -> jax.Array:
    """Numbers of a state, in the default dtype if they are NumPy's."""
    values = values if isinstance(values, jax.Array) else np.asarray(values)
    return jnp.asarray(values, jnp.result_type(float))


def _table(model: Any, dtype: Any) -> Any:
    """Reads rows of a field of the model."""

    def rows(name: str, numbers: list[int]) -> jax.Array:
        return jnp.asarray(np.asarray(getattr(model, name))[np.array(numbers, int)], dtype)

    return rows


def _camera_number(model: Any, id: int | str) -> int:
    """The number of a camera.

    Raises:
        ValueError: there is none of that number or name.
    """
    count = int(model.ncam)
    if isinstance(id, str):
        names = [model.camera(number).name for number in range(count)]
        if id not in names:
            raise ValueError(f"`id` must name a camera of the model, one of {names}, got {id!r}.")
        return names.index(id)
    number = int(id)
    if not -1 <= number < count:
        raise ValueError(
            f"`id` must be the number of one of {count} cameras, or -1 for the free one, got {id}."
        )
    return number


def _is_orthographic(model: Any, number: int) -> bool:
    kinds = getattr(model, "cam_projection", getattr(model, "cam_orthographic", None))
    return kinds is not None and int(kinds[number]) == ORTHOGRAPHIC


def _free_camera(model: Any) -> Camera:
    """The camera that looks at the middle of the model."""
    settings = model.vis.global_
    azimuth, elevation = np.deg2rad([settings.azimuth, settings.elevation])
    ahead = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    right = np.array([np.sin(azimuth), -np.cos(azimuth), 0])
    matrix = np.stack([right, np.cross(right, ahead), -ahead], axis=1)
    position = np.asarray(model.stat.center) - 1.5 * float(model.stat.extent) * ahead
    fovy = _floats(settings.fovy)
    kind = Orthographic if getattr(settings, "orthographic", 0) else Perspective
    return _looking(_floats(position), _floats(matrix), kind(fovy))


def _looking(position: jax.Array, matrix: jax.Array, projection: Projection) -> Camera:
    """A camera whose axes, in columns, go right, up and back."""
    rotation = matrix.T * jnp.asarray([1, 1, -1], matrix.dtype)[:, None]
    return Camera(rotation, -(rotation * position[None]).sum(1), projection)


def _light_kinds(model: Any) -> list[int]:
    kinds = getattr(model, "light_type", None)
    if kinds is None:  # before MuJoCo 3.3
        kinds = np.where(np.asarray(model.light_directional), DIRECTIONAL, SPOT)
    return [int(kind) for kind in kinds]


def _light_places(model: Any, data: Any) -> tuple[jax.Array, jax.Array]:
    """Positions and unit directions `[L, 3]` of all lights."""
    if hasattr(data, "light_xpos"):
        return _floats(data.light_xpos), _floats(data.light_xdir)

    # Compute them as MuJoCo does: MJX does not.
    count = int(model.nlight)
    body = np.asarray(model.light_bodyid, int)
    origin, turn = _floats(data.xpos), _floats(data.xmat).reshape(-1, 3, 3)
    dtype = origin.dtype
    local, way = (jnp.asarray(array, dtype) for array in (model.light_pos, model.light_dir))
    positions = origin[body] + (turn[body] * local[:, None]).sum(2)
    directions = (turn[body] * way[:, None]).sum(2)
    for number in range(count):
        mode, target = int(model.light_mode[number]), int(model.light_targetbodyid[number])
        if mode in (TRACK, TRACKCOM):
            start, offset = origin[body[number]], model.light_pos0[number]
            if mode == TRACKCOM:
                start, offset = _floats(data.subtree_com)[body[number]], model.light_poscom0[number]
            positions = positions.at[number].set(start + jnp.asarray(offset, dtype))
            directions = directions.at[number].set(jnp.asarray(model.light_dir0[number], dtype))
        elif mode in (TARGETBODY, TARGETBODYCOM) and target >= 0:
            aim = origin if mode == TARGETBODY else _floats(data.subtree_com)
            directions = directions.at[number].set(aim[target] - positions[number])
    return positions, unit(directions)
