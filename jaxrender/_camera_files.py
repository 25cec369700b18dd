"""Cameras that other programs write: COLMAP, NeRF, Blender."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxrender._checks import check_flag, check_image_size, check_path
from jaxrender._formats.blender import read_blender_cameras
from jaxrender._formats.colmap import read_model
from jaxrender._formats.nerf import read_transforms
from jaxrender._formats.raw import MissingPackageError
from jaxrender._types import Camera


def read_colmap(folder: str | Path) -> dict[str, Camera]:
    """Reads the cameras of a reconstruction by COLMAP.

    The folder, or `sparse/0` in it, holds `cameras.bin` and `images.bin`, or the same as `.txt`.
    The models SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, RADIAL and OPENCV are drawn exactly, and
    FULL_OPENCV where its k4, k5 and k6 are 0; images of other lenses are left out, with a warning
    that names them. The world is COLMAP's: right-handed, of any size, and which way is up it does
    not say; `camera_lights` are at the right place all the same.

    COLMAP reads pictures as they are stored, so do the same: `load_image(path, upright=False)`.

    Args:
        folder: where the files are.

    Returns:
        `Camera`s by the names of their images, in the order of the file. `camera.projection` has
        K, distortion and `image_size`.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: a file is damaged, or all lenses are of other models; the message names the
            file, and of text the line.

    Example:
        >>> cameras = read_colmap("scene/sparse/0")  # doctest: +SKIP
        >>> camera = cameras["IMG_0001.jpg"]  # doctest: +SKIP
        >>> size = camera.projection.image_size  # doctest: +SKIP

    References:
        Schönberger and Frahm, Structure-from-Motion Revisited, CVPR 2016.
    """
    return read_model(check_path("folder", folder))


def read_nerf(path: str | Path, *, image_size: tuple[int, int] | None = None) -> dict[str, Camera]:
    """Reads the cameras of a `transforms.json`, as NeRF, instant-ngp and nerfstudio have it.

    Focal lengths (`fl_x`, `fl_y`, or `camera_angle_x`, `camera_angle_y`), `cx`, `cy` and the
    coefficients k1, k2, p1, p2, k3 may stand for all frames or in each. The world is the file's,
    z up as a rule.

    Args:
        path: the file.
        image_size: `(H, W)` where the file has no `w` and `h`; None takes that of each picture.

    Returns:
        `Camera`s by the `file_path` of their frames, in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or a lens is a fisheye; the message names file and frame.

    Example:
        >>> cameras = read_nerf("lego/transforms_train.json")  # doctest: +SKIP
        >>> camera = cameras["./train/r_0"]  # doctest: +SKIP

    References:
        Mildenhall et al., NeRF, ECCV 2020, arXiv:2003.08934.
    """
    size = None if image_size is None else check_image_size(image_size)
    return _read(path, lambda file: read_transforms(file, size))


def read_blender(path: str | Path, *, y_up: bool = False) -> dict[str, Camera]:
    """Reads the cameras of a Blender scene from JSON.

    These lines write it, inside Blender:

        import bpy, json

        render = ("resolution_x resolution_y resolution_percentage "
                  "pixel_aspect_x pixel_aspect_y").split()
        lens = ("type lens ortho_scale sensor_width sensor_height sensor_fit "
                "shift_x shift_y").split()
        settings = bpy.context.scene.render
        told = {"render": {name: getattr(settings, name) for name in render}, "cameras": {}}
        for item in bpy.data.objects:
            if item.type == "CAMERA":
                camera = {name: getattr(item.data, name) for name in lens}
                camera["matrix_world"] = [list(row) for row in item.matrix_world]
                told["cameras"][item.name] = camera
        with open("cameras.json", "w") as file:
            json.dump(told, file)

    What is left out of `lens` has Blender's default. See `from_blender` for what the numbers mean;
    it takes one camera without a file.

    Args:
        path: the file.
        y_up: whether the world is turned such that y is up, as Blender writes glTF and OBJ files;
            PLY and STL files are z up.

    Returns:
        `Camera`s by the names of their objects.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or a camera is neither PERSP nor ORTHO; the message names
            file and camera.

    Example:
        >>> cameras = read_blender("cameras.json", y_up=True)  # doctest: +SKIP
        >>> camera = cameras["Camera"]  # doctest: +SKIP
    """
    check_flag("y_up", y_up)
    return _read(path, lambda file: read_blender_cameras(file, y_up=y_up))


def _read(path: str | Path, reader: Any) -> dict[str, Camera]:
    """What a reader makes of a file; what is wrong with that is said with its name."""
    path = check_path("path", path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of cameras {path}")
    try:
        return reader(path)
    except MissingPackageError:
        raise
    except Exception as error:
        raise ValueError(f"cannot read the cameras {path}: {error}") from error
