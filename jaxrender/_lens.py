"""`distort` and `undistort`: pictures with and without what the lens of a pinhole camera does.

A picture drawn with a lens moves the vertices of a mesh, but no point of an edge between them. The
exact way is to draw what a camera without a lens sees, and to move the pixels:

    ideal = jr.undistorted_camera(camera)
    image = jr.render(mesh, ideal, image_size=ideal.projection.image_size)
    seen = jr.distort(image.rgb, camera, ideal)

Shape legend: `H, W` a picture, `C` its channels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender._camera import Pinhole, check_camera
from jaxrender._checks import (
    check_array,
    check_choice,
    check_flag,
    check_image_size,
    is_concrete,
    same_float,
)
from jaxrender._choices import FILTERS, Filter
from jaxrender._distortion import unbend
from jaxrender._types import Camera

# Points along each side of a picture whose places bound it.
SIDE = 65


def undistorted_camera(
    camera: Camera, *, image_size: tuple[int, int] | None = None, cover: bool = True
) -> Camera:
    """The camera without its lens: it stands in the same place, and its distortion is 0.

    With `cover` it sees all that the camera sees, which a picture of the same K and size would
    not: a barrel lens (k1 < 0) shows more. Without, K stays, around the middle of the picture.

    Gradient: exact.

    Args:
        camera: of `pinhole` or `from_opencv`.
        image_size: `(H, W)` of its picture; static. None is, with `cover`, one large enough that
            everything is as large in the picture as K says, and without, the camera's own.
        cover: whether all that the camera sees is in the picture; static.

    Returns:
        A pinhole camera; `render(mesh, it, image_size=it.projection.image_size)` draws what it
        sees.

    Raises:
        ValueError: `camera` is no pinhole camera. Inside jit, where its values are not known, the
            size must be given.

    Example:
        >>> import jaxrender as jr, numpy as np
        >>> K = [[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]]
        >>> barrel = (-0.3, 0, 0, 0, 0)
        >>> camera = jr.pinhole(K, np.eye(3), (0, 0, 4), barrel, image_size=(48, 64))
        >>> jr.undistorted_camera(camera).projection.image_size
        (52, 68)
    """
    camera, lens = _check_pinhole("camera", camera)
    size = None if image_size is None else check_image_size(image_size)
    height, width = lens.image_size
    nothing = jnp.zeros_like(lens.distortion)
    if not check_flag("cover", cover):
        size = size or lens.image_size
        middle = [[0, 0, (size[1] - width) / 2], [0, 0, (size[0] - height) / 2], [0, 0, 0]]
        matrix = lens.matrix + jnp.asarray(middle, lens.matrix.dtype)
        return dataclasses.replace(camera, projection=Pinhole(matrix, nothing, size))

    # See where the sides of the picture lie without the lens.
    way = np.linspace(0, 1, SIDE)
    ends = np.zeros(SIDE)
    across = jnp.asarray(np.concatenate([way, way, ends, ends + 1]), lens.matrix.dtype)
    down = jnp.asarray(np.concatenate([ends, ends + 1, way, way]), lens.matrix.dtype)
    x, y, _ = unbend(*_from_picture(across * width, down * height, lens), lens.distortion)
    u, v = _fractions(x, y, Pinhole(lens.matrix, nothing, (1, 1)))
    low, high = jnp.stack([u.min(), v.min()]), jnp.stack([u.max(), v.max()])

    # Shift K by whole pixels, or scale it.
    if size is None:
        if not is_concrete(low, high):
            raise ValueError(
                "`camera` must have known values, because they decide the size of the picture. "
                "Pass `image_size`, or make the camera outside jit."
            )
        first = [math.floor(float(value) + 1e-3) for value in low]
        count = [math.ceil(float(value) - 1e-3) - f for value, f in zip(high, first, strict=True)]
        size = check_image_size((count[1], count[0]))
        scale, shift = jnp.ones((), low.dtype), -jnp.asarray(first, low.dtype)
    else:
        room = jnp.asarray([size[1], size[0]], low.dtype)
        scale = (room / jnp.maximum(high - low, 1e-6)).min()
        shift = (room - scale * (low + high)) / 2
    rows = lens.matrix[:2] * scale
    rows = rows + jnp.pad(shift[:, None], ((0, 0), (2, 0)))
    matrix = jnp.concatenate([rows, lens.matrix[2:]])
    return dataclasses.replace(camera, projection=Pinhole(matrix, nothing, size))


def distort(
    image: ArrayLike,
    camera: Camera,
    source: Camera | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    filter: Filter = "linear",
    fill: ArrayLike = 0.0,
) -> jax.Array:
    """Makes of a picture without a lens the one that the camera's lens shows.

    Each pixel looks where its centre comes from in the picture without the lens (which Newton's
    method finds, to 1e-3 pixels), so nothing depends on how large the triangles of a mesh are.
    What is small beside a pixel should be drawn at a multiple of the size, and averaged after.

    Gradient: exact, to the picture and, by where the pixels look, to K and distortion; "nearest"
    has only that to the picture.

    Args:
        image: `[H, W]` or `[H, W, C]`, what `source` sees; a multiple of its size is allowed.
        camera: of `pinhole` or `from_opencv`.
        source: the camera without a lens that drew the picture, of `undistorted_camera`; None is
            the one of the same K and size, which does not see all that a barrel lens shows.
        image_size: `(H, W)` of the result; None is the camera's own; static.
        filter: "linear" between four pixels, or "nearest", for masks and ids; static.
        fill: what is where `source` saw nothing, or the lens shows nothing: a number or `[C]`.

    Returns:
        `[H, W]` or `[H, W, C]`, of the type of `image`; whole numbers become floats unless
        `filter` is "nearest".

    Raises:
        ValueError: a camera is no pinhole camera, `source` has a lens or stands elsewhere, the
            picture has another aspect than its camera, or an argument is not as above.

    Example:
        >>> import jaxrender as jr, numpy as np
        >>> K = [[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]]
        >>> barrel = (-0.3, 0, 0, 0, 0)
        >>> camera = jr.pinhole(K, np.eye(3), (0, 0, 4), barrel, image_size=(48, 64))
        >>> ideal = jr.undistorted_camera(camera)
        >>> image = jr.render(jr.shapes.cube(), ideal, image_size=ideal.projection.image_size)
        >>> jr.distort(image.rgb, camera, ideal).shape
        (48, 64, 3)
    """
    camera, lens = _check_pinhole("camera", camera)
    ideal = _check_ideal("source", source, camera, lens)
    size = lens.image_size if image_size is None else check_image_size(image_size)
    picture, fill = _check_picture(image, "source", ideal.image_size, filter, fill)
    _check_shape("image_size", size, "camera", lens.image_size)
    x, y, found = unbend(*_from_picture(*_centres(size, lens), lens), lens.distortion)
    return _sample(picture, *_fractions(x, y, ideal), found, filter, fill)


def undistort(
    image: ArrayLike,
    camera: Camera,
    target: Camera | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    filter: Filter = "linear",
    fill: ArrayLike = 0.0,
) -> jax.Array:
    """Makes of a picture that the camera took the one that it would take without its lens.

    Photographs to be compared with what is drawn are undistorted once, and all is drawn with
    `target`.

    Gradient: as `distort`.

    Args:
        image: `[H, W]` or `[H, W, C]`, what `camera` sees; a multiple of its size is allowed.
        camera: of `pinhole` or `from_opencv`.
        target: the camera without a lens whose picture is made, of `undistorted_camera`; None is
            the one of the same K and size.
        image_size: `(H, W)` of the result; None is that of `target`; static.
        filter: "linear" between four pixels, or "nearest", for masks and ids; static.
        fill: what is where the camera saw nothing: a number or `[C]`.

    Returns:
        `[H, W]` or `[H, W, C]`, of the type of `image`; whole numbers become floats unless
        `filter` is "nearest".

    Raises:
        ValueError: as `distort`.

    Example:
        >>> import jaxrender as jr, numpy as np
        >>> K = [[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]]
        >>> barrel = (-0.3, 0, 0, 0, 0)
        >>> camera = jr.pinhole(K, np.eye(3), (0, 0, 4), barrel, image_size=(48, 64))
        >>> photograph = np.ones((48, 64, 3))
        >>> jr.undistort(photograph, camera).shape
        (48, 64, 3)
    """
    camera, lens = _check_pinhole("camera", camera)
    ideal = _check_ideal("target", target, camera, lens)
    size = ideal.image_size if image_size is None else check_image_size(image_size)
    picture, fill = _check_picture(image, "camera", lens.image_size, filter, fill)
    _check_shape("image_size", size, "target", ideal.image_size)
    x, y = _from_picture(*_centres(size, ideal), ideal)
    return _sample(picture, *_fractions(x, y, lens), jnp.ones(size, bool), filter, fill)


def _centres(size: tuple[int, int], lens: Pinhole) -> tuple[jax.Array, jax.Array]:
    """The centres of the pixels of a picture, in those of its camera, `[H, W]` each."""
    height, width = lens.image_size
    u = (np.arange(size[1]) + 0.5) * (width / size[1])
    v = (np.arange(size[0]) + 0.5) * (height / size[0])
    u, v = np.broadcast_arrays(u[None], v[:, None])
    return jnp.asarray(u, lens.matrix.dtype), jnp.asarray(v, lens.matrix.dtype)


def _from_picture(u: jax.Array, v: jax.Array, lens: Pinhole) -> tuple[jax.Array, jax.Array]:
    """What `(x, y)`, y down, K takes to these pixels."""
    (a, b, c), (d, e, f) = lens.matrix[0], lens.matrix[1]
    determinant = a * e - b * d
    inverse = 1 / jnp.where(determinant == 0, 1, determinant)
    u, v = u - c, v - f
    return (e * u - b * v) * inverse, (a * v - d * u) * inverse


def _fractions(x: jax.Array, y: jax.Array, lens: Pinhole) -> tuple[jax.Array, jax.Array]:
    """Where points are seen: from 0 at the left to 1 at the right, and from the top down."""
    right, up = lens.to_screen(x, -y)
    return (1 + right) / 2, (1 - up) / 2


def _sample(
    picture: jax.Array, u: jax.Array, v: jax.Array, seen: jax.Array, filter: str, fill: jax.Array
) -> jax.Array:
    """The picture at these fractions of its width and height, `[H, W]` or `[H, W, C]`."""
    height, width = picture.shape[:2]
    seen = seen & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    column = jnp.clip(jnp.where(seen, u, 0) * width - 0.5, 0, width - 1)
    row = jnp.clip(jnp.where(seen, v, 0) * height - 0.5, 0, height - 1)

    def spread(values: jax.Array) -> jax.Array:
        values = values.reshape(*values.shape, *[1] * (picture.ndim - 2))
        return jnp.broadcast_to(values, (*u.shape, *picture.shape[2:]))

    if filter == "nearest":
        # Halves go to the right and down, wherever the pixel is.
        found = picture[jnp.floor(row + 0.5).astype(int), jnp.floor(column + 0.5).astype(int)]
    else:
        left, top = (jnp.floor(place).astype(int) for place in (column, row))
        right, below = jnp.minimum(left + 1, width - 1), jnp.minimum(top + 1, height - 1)
        across, down = (
            spread((place - jax.lax.stop_gradient(jnp.floor(place))).astype(picture.dtype))
            for place in (column, row)
        )
        upper = picture[top, left] * (1 - across) + picture[top, right] * across
        lower = picture[below, left] * (1 - across) + picture[below, right] * across
        found = upper * (1 - down) + lower * down
    empty = jnp.broadcast_to(
        fill.reshape((1,) * (picture.ndim - fill.ndim) + fill.shape), found.shape
    )
    return jnp.where(spread(seen), found, empty)


def _check_pinhole(name: str, camera: Any) -> tuple[Camera, Pinhole]:
    """Returns a camera and its lens.

    Raises:
        ValueError: it is no pinhole camera, or its K is known and singular.
    """
    hint = "Pass one of `pinhole` or `from_opencv`; other cameras have no lens."
    if not isinstance(getattr(camera, "projection", None), Pinhole):
        kind = type(getattr(camera, "projection", camera)).__name__
        raise ValueError(f"`{name}` must be a pinhole camera, got {kind}. {hint}")
    camera = check_camera(camera)
    lens: Any = camera.projection
    matrix, distortion = same_float(lens.matrix, lens.distortion)
    lens = Pinhole(matrix, distortion, lens.image_size)
    if is_concrete(lens.matrix):
        (a, b), (d, e) = np.asarray(lens.matrix, float)[:2, :2]
        if a * e == b * d:
            raise ValueError(f"`{name}` must have a K that is not singular, got {lens.matrix}.")
    return camera, lens


def _check_ideal(name: str, ideal: Any, camera: Camera, lens: Pinhole) -> Pinhole:
    """Returns the projection of the camera without a lens.

    Raises:
        ValueError: it has one, or stands elsewhere, as far as that is known.
    """
    if ideal is None:
        return Pinhole(lens.matrix, jnp.zeros_like(lens.distortion), lens.image_size)
    other, found = _check_pinhole(name, ideal)
    hint = f"Make `{name}` by undistorted_camera(camera)."
    if is_concrete(found.distortion) and np.asarray(found.distortion).any():
        raise ValueError(f"`{name}` must have no distortion, got {found.distortion}. {hint}")
    places = (other.rotation, other.translation), (camera.rotation, camera.translation)
    if is_concrete(places) and not all(
        np.allclose(one, another, atol=1e-4) for one, another in zip(*places, strict=True)
    ):
        raise ValueError(
            f"`{name}` must stand where `camera` stands, and look the same way. {hint}"
        )
    return found


def _check_picture(
    image: Any, owner: str, size: tuple[int, int], filter: str, fill: Any
) -> tuple[jax.Array, jax.Array]:
    """Returns the picture, and what is beside it, in its type.

    Raises:
        ValueError: a shape, type or name is wrong.
    """
    check_choice("filter", filter, FILTERS)
    picture = jnp.asarray(image) if filter == "nearest" else check_array("image", image, ("...",))
    if picture.ndim not in (2, 3) or 0 in picture.shape:
        raise ValueError(
            f"`image` must be a picture [H, W] or [H, W, C], got {list(picture.shape)}. "
            "Use jax.vmap for several."
        )
    _check_shape("image", (picture.shape[0], picture.shape[1]), owner, size)
    whole = np.issubdtype(picture.dtype, np.integer)
    exact = whole and isinstance(fill, int | np.integer | np.ndarray | jax.Array)
    beside = jnp.asarray(fill) if exact else check_array("fill", fill, ("...",))
    if beside.shape not in ((), picture.shape[2:]):
        raise ValueError(
            f"`fill` must be a number or as many as the picture has channels, "
            f"{list(picture.shape[2:])}, got {list(beside.shape)}."
        )
    typed = beside.astype(picture.dtype)
    if whole and is_concrete(beside) and (np.asarray(typed) != np.asarray(beside)).any():
        raise ValueError(f"`fill` must be a value of {picture.dtype.name}, got {fill}.")
    return picture, typed


def _check_shape(name: str, size: tuple[int, int], owner: str, own: tuple[int, int]) -> None:
    aspect = own[1] / own[0]
    if abs(size[0] * aspect - size[1]) > 0.5:
        raise ValueError(
            f"`{name}` must have the aspect of `{owner}`, whose picture is {own}, got {size}. "
            "Pass that size or a multiple of it."
        )
