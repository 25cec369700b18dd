"""The checks at the public door: a ValueError says what was expected, what came, what to pass.

Shapes and dtypes are checked always, values only where they are known: inside `jax.jit` (or
any other transformation) a value is a tracer, and each public function documents the harmless
result that a bad value has there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike

from jaxrender._arrays import description
from jaxrender._types import Fragments, Mesh, ScreenMesh
from jaxrender._watching import is_watched, watch

T = TypeVar("T")
MOST_PIXELS = 2**31 - 1  # their numbers are int32


def is_concrete(*values: Any) -> bool:
    """Whether every array in these pytrees has a value that can be looked at now."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check_array(
    name: str,
    value: Any,
    shape: Sequence[int | str],
    *,
    kind: str = "float",
    finite: bool = False,
    hint: str = "",
    dtype: DTypeLike | None = None,
) -> jax.Array:
    """Returns `value` as an array once its rank, fixed sizes and dtype are right.

    Its dtype is never weak, so that a number of Python and one of NumPy make one program.

    Args:
        name: what the caller calls the argument.
        value: anything array-like.
        shape: the expected shape; a number is a fixed size, a string names a free one,
            a leading "..." allows any number of axes before the rest.
        kind: "float" (integers are converted) or "int".
        finite: also reject NaN and infinity, where values are known.
        hint: what to pass instead, appended to the message.
        dtype: of what is returned; None is that of `value`.

    Raises:
        ValueError: rank, size, dtype or value is not as asked for.
    """
    # Take it as it is, if it is one; round a number of Python before JAX, which takes longer.
    number = _rounded(value, dtype) if kind == "float" else None
    try:
        if value is None:
            raise TypeError
        array = value if isinstance(value, jax.Array) else jnp.asarray(_either(number, value))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(_message(name, shape, kind, description(value), hint)) from error

    # Compare rank and fixed sizes.
    axes = list(shape)
    sizes = list(array.shape)
    if axes and axes[0] == "...":
        axes = axes[1:]
        sizes = sizes[len(sizes) - len(axes) :] if axes else []
    fits = len(axes) == len(sizes) and all(
        isinstance(want, str) or want == size for want, size in zip(axes, sizes, strict=True)
    )
    if not fits:
        raise ValueError(_message(name, shape, kind, _dtype_and_shape(array), hint))

    # Compare the dtype; whole numbers serve as floats.
    if kind == "int":
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise ValueError(_message(name, shape, kind, _dtype_and_shape(array), hint))
        if array.size and isinstance(value, np.ndarray) and value.dtype != array.dtype:
            # Look at what does not fit before it wraps.
            low, high = int(value.min()), int(value.max())
            most = jnp.iinfo(array.dtype)
            if low < most.min or high > most.max:
                raise ValueError(
                    f"`{name}` must fit {array.dtype.name}, got {value.dtype.name} from {low} to "
                    f"{high}. " + (hint or "Pass smaller numbers.")
                )
    elif jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
        array = array.astype(jnp.result_type(float))
    elif not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(_message(name, shape, kind, _dtype_and_shape(array), hint))

    if finite and is_watched("finite") and not is_concrete(array):
        _watch_finite(name, array)
    elif finite and is_concrete(array) and not _is_finite(_either(number, array)):
        bad = np.argwhere(~np.isfinite(np.asarray(array)))
        where = f" (first at index {tuple(int(i) for i in bad[0])})" if array.ndim else ""
        raise ValueError(
            f"`{name}` must be finite, got {len(bad)} NaN or infinite values{where}. "
            + (hint or "Pass finite numbers.")
        )
    wanted = array.dtype if dtype is None else jnp.dtype(dtype)
    if array.dtype == wanted and not array.weak_type:
        return array  # without the time of `astype`, which is most of that of a door
    return array.astype(wanted)


def check_number(
    name: str, value: Any, dtype: DTypeLike | None = None, hint: str = ""
) -> tuple[jax.Array, float | None]:
    """Returns `value` as a scalar, and as a number of Python, or None where that is not known.

    Raises:
        ValueError: it is not one, or is known and not finite.
    """
    scalar = check_array(name, value, (), finite=True, hint=hint, dtype=dtype)
    if not is_concrete(scalar):
        return scalar, None
    return scalar, float(_either(_rounded(value, scalar.dtype), scalar))


def _rounded(value: Any, dtype: DTypeLike | None) -> np.ndarray | None:
    """A number of Python in a dtype, that of floats if None; None is what is no such number."""
    whole = type(value) is int and abs(value) < 2**31
    if not whole and not isinstance(value, float):
        return None
    with np.errstate(over="ignore"):
        return np.asarray(value, jnp.result_type(float) if dtype is None else dtype)


def _either(first: Any, second: Any) -> Any:
    return second if first is None else first


def _dtype_and_shape(array: jax.Array) -> str:
    return f"{array.dtype.name}{list(array.shape)}"


def check_flag(name: str, value: Any) -> bool:
    """Returns a bool; 0 and 1 are ones too.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise ValueError(f"`{name}` must be True or False, got {_short(value)}.")


def check_title(name: str, value: Any) -> None:
    """Rejects what is neither True, False nor a text.

    Raises:
        ValueError: it is that.
    """
    if not isinstance(value, str):
        check_flag(name, value)


def check_is_floating(name: str, value: Any, function: str) -> None:
    """Rejects a parameter of a fit that is no floating-point array or number.

    Raises:
        ValueError: it is none; the message names the `function` that may close over it.
    """
    try:
        dtype = jnp.asarray(value).dtype
    except (TypeError, ValueError, OverflowError):
        dtype = np.dtype(object)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be floating-point, got {dtype}. Leave it out of `params` and close "
            f"over it in the {function}."
        )


def check_whole(
    name: str, value: Any, *, least: int, most: int, example: int, floats: bool = True
) -> int:
    """Returns an int of a range; with `floats` 2.0 is one.

    Raises:
        ValueError: it is none.
    """
    try:
        whole = int(value) == value and not isinstance(value, bool)
        whole = whole and (floats or isinstance(value, int | np.integer))
        if whole and least <= value <= most:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(
        f"`{name}` must be a whole number from {least} to {most}, got {_short(value)}. Pass for "
        f"example {example}."
    )


def check_function(name: str, value: Any, example: str) -> None:
    """Rejects what cannot be called.

    Raises:
        ValueError: it is that.
    """
    if not callable(value):
        raise ValueError(
            f"`{name}` must be a function, got {_short(value)}. Pass for example {example}."
        )


def check_path(name: str, value: Any) -> Path:
    """Returns a path.

    Raises:
        ValueError: it is no text and no path.
    """
    if isinstance(value, str | os.PathLike):
        with contextlib.suppress(TypeError):
            return Path(value)
    raise ValueError(f"`{name}` must be a path, got {type(value).__name__}. Pass its name as text.")


def check_several(name: str, value: Any, what: str) -> list[Any]:
    """Returns the items of what is to be a list of things, which are checked by themselves.

    Raises:
        ValueError: there is nothing to go through.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | type):
        return list(value)
    raise ValueError(f"`{name}` must be a list of {what}, got {type(value).__name__}. Pass […].")


def _short(value: Any) -> str:
    """A value in a message: of an array its shape."""
    shape = getattr(value, "shape", None)
    return repr(value) if shape is None else f"{value.dtype}{list(shape)}"


def check_is_mesh(mesh: Any, name: str = "mesh") -> None:
    """Rejects what is no mesh.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"`{name}` must be a Mesh, got {type(mesh).__name__}. Pass Mesh(vertices, faces); "
            "`render` and `silhouette` take a Scene too."
        )


_FOUND: dict[tuple[int, Callable], tuple[weakref.ref[jax.Array], Any]] = {}


def _look_once(array: jax.Array, test: Callable[[np.ndarray], T]) -> T:
    """What a test finds in a known array, which is looked at once: those of jax never change."""
    key = id(array), test
    if key in _FOUND and _FOUND[key][0]() is array:
        return _FOUND[key][1]
    found = test(np.asarray(array))
    _FOUND[key] = weakref.ref(array, lambda _: _FOUND.pop(key, None)), found
    return found


def _watch_finite(name: str, array: jax.Array) -> None:
    """Fails where an array that is traced holds what is not finite."""
    good = jnp.isfinite(array)
    message = f"`{name}` must be finite, got {{count}} NaN or infinite values"
    where: dict[str, Any] = {}
    if good.ndim and good.size:
        message += " (first at index {where})"
        where["where"] = jnp.stack(jnp.unravel_index(good.argmin(), good.shape))
    watch(good, message, count=(~good).sum(), **where)


def _is_finite(known: jax.Array | np.ndarray) -> bool:
    return _all_finite(known) if isinstance(known, np.ndarray) else _look_once(known, _all_finite)


def _all_finite(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all())


def _ends(values: np.ndarray) -> tuple[int, int]:
    """The least and the largest."""
    return int(values.min()), int(values.max())


def _look_8_bit(values: np.ndarray) -> bool:
    """Whether these are whole numbers of which one is far above 1."""
    return bool(values.max(initial=0) >= 32 and (values == np.floor(values)).all())


def check_colors(
    name: str,
    value: Any,
    shape: Sequence[int | str],
    *,
    hint: str = "",
    dtype: DTypeLike | None = None,
) -> jax.Array:
    """Returns colours, finite where they are known; light may be brighter than 1.

    Raises:
        ValueError: as in `check_array`, or they are 8-bit ones.
    """
    array = check_array(name, value, shape, finite=True, hint=hint, dtype=dtype)
    given = value if hasattr(value, "dtype") else np.asarray(value) if is_concrete(value) else array
    if jnp.issubdtype(given.dtype, jnp.integer) and array.size:
        known = is_concrete(given)
        if given.dtype == np.uint8 or (known and np.abs(np.asarray(given)).max() > 1):
            raise ValueError(
                f"`{name}` must be floating-point colours, normally in [0, 1], got "
                f"{given.dtype.name}"
                + (f" up to {np.asarray(given).max()}" if known else "")
                + ". Divide 8-bit colours by 255."
            )
    elif is_concrete(array) and _look_once(array, _look_8_bit):
        warnings.warn(
            f"`{name}` holds whole numbers up to {float(array.max()):g}, and colours are normally "
            "in [0, 1]: divide 8-bit colours by 255",
            stacklevel=2,
        )
    return array


def check_elementwise(name: str, function: Callable[[jax.Array], jax.Array]) -> None:
    """Looks whether a function takes arrays of any shape, and gives one number for each.

    Raises:
        ValueError: it does not.
    """
    try:
        shape = _shape_from(function, TRIED)
    except (TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"`{name}` must take an array of any shape, and failed with one of {TRIED}: "
            f"{error}. Write it elementwise, of jax.numpy's functions."
        ) from error
    if shape != TRIED:
        raise ValueError(
            f"`{name}` must return an array of the shape that it is given, got {shape} for "
            f"{TRIED}. Write it elementwise, without sums."
        )


TRIED = 2, 3


@functools.lru_cache(maxsize=64)
def _shape_from(function: Callable, shape: tuple[int, ...]) -> Any:
    """The shape that a function makes of another; traced once, not at each call of a door."""
    array = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    return jax.tree.map(jnp.shape, jax.eval_shape(function, array))


def check_faces(name: str, faces: Any, vertex_count: int) -> jax.Array:
    """Returns `faces` as `[F, 3]` int32 once every index names a vertex.

    Raises:
        ValueError: the shape or dtype is wrong, or a known index is out of range.
    """
    array = check_array(
        name, faces, ("F", 3), kind="int", hint="Pass integer triangles; split larger polygons."
    )
    if is_concrete(array) and array.size:
        low, high = _look_once(array, _ends)
        if low < 0 or high >= vertex_count:
            raise ValueError(
                f"`{name}` must index {vertex_count} vertices (0 to {vertex_count - 1}), "
                f"got indices from {low} to {high}. Pass 0-based indices into the vertices."
            )
    elif array.size and is_watched("index"):
        watch(
            (array >= 0) & (array < vertex_count),
            f"`{name}` must index {vertex_count} vertices (0 to {vertex_count - 1}), got indices "
            "from {low} to {high}. Pass 0-based indices into the vertices.",
            low=array.min(),
            high=array.max(),
        )
    return array if array.dtype == np.int32 else array.astype(jnp.int32)


def check_normals(
    name: str, mesh: Any, vertices: jax.Array, faces: jax.Array
) -> tuple[jax.Array | None, jax.Array | None]:
    """Returns the normals of a mesh and their faces, in the dtype of its vertices.

    Args:
        name: of the mesh.
        mesh: with `normals` and `normal_faces`.
        vertices: of the mesh, checked.
        faces: likewise.

    Raises:
        ValueError: a shape, dtype or index is wrong, or a known value is not finite.
    """
    if mesh.normals is None:
        if mesh.normal_faces is not None:
            raise ValueError(f"`{name}.normal_faces` must be None without `{name}.normals`.")
        return None, None
    normals = check_array(f"{name}.normals", mesh.normals, ("N", 3), finite=True)
    count = normals.shape[0]
    if mesh.normal_faces is None:
        if count != vertices.shape[0]:
            raise ValueError(
                f"`{name}.normals` must have one row for each of the {vertices.shape[0]} vertices, "
                f"got {count}. Pass `normal_faces` for normals of corners."
            )
        return normals.astype(vertices.dtype), None
    own = check_faces(f"{name}.normal_faces", mesh.normal_faces, count)
    if own.shape[0] != faces.shape[0]:
        raise ValueError(
            f"`{name}.normal_faces` must have one row for each of the {faces.shape[0]} faces, got "
            f"{own.shape[0]}. Pass the normals of each face's corners."
        )
    return normals.astype(vertices.dtype), own


def check_fragments(name: str, fragments: Any) -> Fragments:
    """Returns fragments of points in any shape `[...]`.

    Raises:
        ValueError: a kind, shape or dtype is wrong.
    """
    if not isinstance(fragments, Fragments):
        raise ValueError(
            f"`{name}` must be Fragments, got {type(fragments).__name__}. "
            "Pass what rasterize_hard(screen) returned."
        )
    face = check_array(f"{name}.face", fragments.face, ("...",), kind="int")
    where = check_array(f"{name}.barycentrics", fragments.barycentrics, (*face.shape, 3))
    depth = check_array(f"{name}.depth", fragments.depth, face.shape)
    return Fragments(face, where, depth)


def check_drawn(
    image: Any, fragments: Any, screen: Any, function: str
) -> tuple[jax.Array, ScreenMesh]:
    """Returns a picture as `[H, W, C]`, and the mesh on screen that it was drawn of.

    Args:
        image: `[H, W]` or `[H, W, C]`.
        fragments: what `rasterize_hard` made of `screen`.
        screen: that mesh.
        function: that is to be applied, for the message.

    Raises:
        ValueError: a kind, shape or dtype is not as above.
    """
    if not isinstance(fragments, Fragments) or not isinstance(screen, ScreenMesh):
        raise ValueError(
            "`fragments` must be Fragments and `screen` a ScreenMesh, got "
            f"{type(fragments).__name__} and {type(screen).__name__}. "
            "Pass what rasterize_hard(screen) returned, and screen."
        )
    check_flag("screen.perspective", screen.perspective)
    fragments = check_fragments("fragments", fragments)
    vertices = check_array("screen.vertices", screen.vertices, ("V", 3))
    faces = check_faces("screen.faces", screen.faces, vertices.shape[0])
    image = check_array("image", image, ("...",))
    size = fragments.face.shape
    if len(size) != 2 or image.shape[:2] != size or image.ndim not in (2, 3):
        raise ValueError(
            f"`image` must be [H, W] or [H, W, C] of the fragments' size {list(size)}, got "
            f"{list(image.shape)}. Apply {function} before anti-aliased samples are averaged."
        )
    return image.reshape(*size, -1), ScreenMesh(vertices, faces, screen.perspective)


def check_known_faces(name: str, faces: Any, vertex_count: int) -> jax.Array:
    """Returns faces with values, also where the surroundings are being traced.

    Raises:
        ValueError: they are traced themselves, or are no faces.
    """
    if not is_concrete(faces):
        raise ValueError(
            f"`{name}` must be known, got a traced value. Subdivide outside of jax.jit and "
            "jax.vmap, or close over the faces instead of passing them as an argument."
        )
    with jax.ensure_compile_time_eval():
        return check_faces(name, faces, vertex_count)


def check_image_size(image_size: Any) -> tuple[int, int]:
    """Returns `(H, W)` as positive Python ints.

    Raises:
        ValueError: it is not a pair of positive integers.
    """
    try:
        if isinstance(image_size, bytes | set | dict):
            raise TypeError
        height, width = (int(size) for size in image_size)
        whole = all(int(size) == size for size in image_size)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"`image_size` must be a pair (H, W) of integers, got {image_size!r}. "
            "Pass for example (256, 256)."
        ) from error
    if not whole or height < 1 or width < 1:
        raise ValueError(
            f"`image_size` must be at least (1, 1) in whole pixels, got {image_size!r}. "
            "Pass for example (256, 256)."
        )
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"`image_size` must be of fewer than 2**31 pixels, got {image_size!r}. Draw less at a "
            "time."
        )
    return height, width


def check_anti_aliasing(anti_aliasing: Any, image_size: tuple[int, int]) -> int:
    """Returns how many samples a pixel has along each axis.

    Raises:
        ValueError: it is not a whole number from 1, or they are too many to be counted.
    """
    try:
        whole = int(anti_aliasing) == anti_aliasing
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or anti_aliasing < 1:
        raise ValueError(
            f"`anti_aliasing` must be a whole number of samples from 1, got {anti_aliasing!r}. "
            "Pass 1 for none, or for example 2."
        )
    height, width = image_size
    if int(anti_aliasing) ** 2 * height * width > MOST_PIXELS:
        raise ValueError(
            f"`anti_aliasing` must make fewer than 2**31 samples of {image_size} pixels, got "
            f"{anti_aliasing!r}. Pass for example 2."
        )
    return int(anti_aliasing)


def check_choice(name: str, value: Any, choices: Sequence[str | None]) -> Any:
    """Returns `value` if it is one of the choices.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str | None) or value not in choices:
        options = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {options}, got {value!r}.")
    return value


def check_positive(
    name: str, value: Any, dtype: DTypeLike | None = None, below: float = np.inf
) -> jax.Array:
    """Returns `value` as a scalar.

    Raises:
        ValueError: it is not one, or is known and not positive and finite, or not `below`.
    """
    scalar, known = check_number(name, value, dtype)
    if known is not None and not 0 < known < below:
        limit = "" if below == np.inf else f" and less than {below}"
        raise ValueError(f"`{name}` must be positive{limit}, got {known}.")
    return scalar


def check_depth_range(
    near: Any, far: Any, *, perspective: bool, dtype: DTypeLike
) -> tuple[jax.Array, jax.Array | None]:
    """Returns `near` and `far` as scalars, `near < far`; under perspective `near > 0`.

    `far` may be None, which is no limit, and then stays None.

    Raises:
        ValueError: a known value is out of that range.
    """
    near, least = check_number("near", near, dtype)
    most = None
    if far is not None:
        far, most = check_number("far", far, dtype, "Pass a finite depth, or None for no limit.")
    if least is not None and perspective and not least > 0:
        raise ValueError(
            f"`near` must be positive under perspective, got {least}. "
            "Pass a small positive depth, for example 0.1."
        )
    if least is not None and most is not None and not least < most:
        raise ValueError(
            f"`near` must be less than `far`, got near={least}, far={most}. "
            "Pass the nearest and farthest depth to draw, for example 0.1 and 100."
        )
    return near, far


def warn_out_of_range(
    depth: np.ndarray, faces: Any, near: Any, far: Any, *, stacklevel: int
) -> None:
    """Warns if all vertices lie outside of [near, far], and all faces with them.

    All values are known.

    Args:
        depth: `[V]` of the vertices in camera space.
        faces: `[F, 3]`.
        near: `[]`.
        far: `[]`, or None.
        stacklevel: as `warnings.warn` takes it where this is called.
    """
    if not depth.size or not faces.shape[0]:
        return
    near, far = float(near), np.inf if far is None else float(far)
    before, beyond = depth < near, depth > far
    if not (before | beyond).all():
        return
    lowest, highest = float(depth.min()), float(depth.max())
    if before.all() and highest <= 0:
        where, advice = "behind the camera", "Turn it, or move it back."
    elif before.all():
        where = f"before near={near:.6g}"
        advice = (
            "Pass a smaller `near`, or move the camera back; if the mesh is in metres and the "
            "camera in millimetres, or the other way round, bring both to one unit."
        )
    elif beyond.all():
        where = f"beyond far={far:.6g}"
        advice = (
            "Pass far=None, which is no limit, or move the camera closer; if one of mesh and "
            "camera is in millimetres, bring both to one unit."
        )
    else:
        # Faces may reach from one side to the other.
        corners = np.asarray(faces)
        if (before[corners].any(1) & beyond[corners].any(1)).any():
            return
        where, advice = f"before near={near:.6g} or beyond far={far:.6g}", "Pass others."
    warnings.warn(
        f"Nothing is drawn: all vertices lie {where}, at depths from {lowest:.6g} to "
        f"{highest:.6g}. {advice}",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def check_rotation(name: str, rotation: jax.Array, *, proper: bool) -> None:
    """Looks whether matrices `[..., 3, 3]` are orthonormal, and if `proper`, do not mirror.

    Raises:
        ValueError: they are known, and one is not.
    """
    if not is_concrete(rotation):
        return
    error, mirrors = _look_once(rotation, _rotation_error)
    if error > 1e-3:
        raise ValueError(
            f"`{name}` must hold an orthonormal rotation, got R Rᵀ that differs from the identity "
            f"by {error:.3g}. Pass rotations.orthonormalize of it; scale the mesh, not the camera."
        )
    if proper and mirrors:
        raise ValueError(
            f"`{name}` must hold a proper rotation, got one of determinant -1, which mirrors. "
            "Negate the row or column of the axis that points the other way; a Camera of `look_at` "
            "in a right-handed world has such a rotation: keep the Camera."
        )


def _rotation_error(matrices: np.ndarray) -> tuple[float, bool]:
    """How far matrices are from orthonormal, at most, and whether one mirrors."""
    rows = np.asarray(matrices, np.float64)
    error = np.abs(rows @ np.swapaxes(rows, -1, -2) - np.eye(3)).max(initial=0)
    return float(error), bool((np.linalg.det(rows) < 0).any())


def check_background(
    background: Any, count: int, image_size: tuple[int, int], dtype: DTypeLike
) -> jax.Array:
    """Returns a number, a colour `[C]` or a picture `[H, W, C]`.

    Raises:
        ValueError: it is none of these.
    """
    background = check_colors("background", background, ("...",), dtype=dtype)
    shapes = ((), (count,), (*image_size, count))
    if background.shape not in shapes:
        raise ValueError(
            f"`background` must be a number, a colour {list(shapes[1])} or a picture "
            f"{list(shapes[2])}, got {list(background.shape)}."
        )
    return background


def same_float(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays in their common dtype, none of them weakly typed (those would retrace jit)."""
    if len({array.dtype for array in arrays}) == 1 and not any(a.weak_type for a in arrays):
        return arrays
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*arrays)
    return tuple(jax.lax.convert_element_type(array, dtype) for array in arrays)


def _message(name: str, shape: Sequence[int | str], kind: str, got: str, hint: str) -> str:
    wanted = "[" + ", ".join(str(size) for size in shape) + "]"
    dtype = "an integer" if kind == "int" else "a floating-point"
    return f"`{name}` must be {dtype} array {wanted}, got {got}.{' ' + hint if hint else ''}"


def check_aspect(aspect: float, image_size: tuple[int, int], owner: str) -> None:
    """Rejects a picture of another aspect than its owner's.

    Raises:
        ValueError: its width is more than half a pixel off.
    """
    height, width = image_size
    if abs(height * aspect - width) > 0.5:
        raise ValueError(
            f"`image_size` must have the aspect that {owner} (W/H = {aspect:.4g}), got "
            f"{image_size}. Render at a multiple of the camera's own size, "
            f"for example {(height, max(round(height * aspect), 1))}."
        )
