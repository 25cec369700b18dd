"""Scenes of MuJoCo's models, moved by MuJoCo's or by MJX's states.

    scene = jaxrender.mujoco.scene_from_model(model)

    def picture(data):  # of mujoco.MjData or mjx.Data
        camera = jaxrender.mujoco.camera(model, data, "front")
        return jaxrender.render(
            scene.at(jaxrender.mujoco.poses(data)),
            camera,
            jaxrender.mujoco.lights(model, data, camera),
            image_size=(240, 320),
            **jaxrender.mujoco.options(model),
        )

Drawn is what `mujoco.Renderer` draws of geoms, with the same shapes, materials, textures, cameras
and light: without its shadows, reflections, skybox, haze and fog, and what is half transparent is
opaque. Sites, tendons, flexes, skins and decoration are not drawn. No OpenGL is needed, and neither
is the package `mujoco` itself where the model comes from elsewhere.

`shapes.py` are the geoms, `textures.py` their textures, `model.py` makes a scene of both,
`state.py` says where all of it is, and `kinematics.py` where joints bring it. See `docs/scenes.md`.
"""

from jaxrender.mujoco.kinematics import kinematics
from jaxrender.mujoco.model import scene_from_model
from jaxrender.mujoco.state import camera, lights, options, poses

__all__ = ["camera", "kinematics", "lights", "options", "poses", "scene_from_model"]


def __dir__() -> list[str]:
    return __all__
