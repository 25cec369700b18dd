"""`interpolate`: attributes of vertices where each pixel sees them.

Shapes: `H, W` image, `N` rows of attributes, `K` attributes, `F` faces, `V` vertices.
"""

from __future__ import annotations

from typing import overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxrender._checks import check_array, check_faces, check_flag, check_fragments
from jaxrender._types import Fragments, ScreenMesh
from jaxrender.ops import deterministic


@overload
def interpolate(
    attributes: ArrayLike, fragments: Fragments, faces: ArrayLike, *, screen: None = None
) -> jax.Array: ...


@overload
def interpolate(
    attributes: ArrayLike, fragments: Fragments, faces: ArrayLike, *, screen: ScreenMesh
) -> tuple[jax.Array, jax.Array]: ...


def interpolate(
    attributes: ArrayLike,
    fragments: Fragments,
    faces: ArrayLike,
    *,
    screen: ScreenMesh | None = None,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    r"""Interpolates attributes of vertices over the faces that pixels see: `Σₖ bₖ aₖ`.

    Positions, normals, uv, colours, features: whatever varies linearly over a face in space. What a
    face has all over, labels, materials or the ids of objects, needs no interpolation: gather it,
    `jnp.where(seen.face >= 0, labels[seen.face], -1)`.

    With `screen` also how each attribute changes from pixel to pixel: on the face, with
    `bₖ = λₖ / Σ λ` and `λ` linear on screen,

        ∂a/∂x = Σₖ ∂λₖ/∂x (aₖ - a) / Σ λ

    as mipmapped textures and filtered noise need.

    Gradient: exact, to attributes, and to `fragments.barycentrics` and through them to the mesh; of
    the changes also to `screen.vertices`. Forward and reverse mode, to any order.

    Args:
        attributes: `[N, K]` rows; `[N]` is one attribute.
        fragments: what `rasterize_hard` returned.
        faces: `[F, 3]` int32 which rows the corners of each face have: `mesh.faces` for what
            vertices have, or a table of their own, as `UVTexture.faces`, in the same order of
            faces.
        screen: the mesh in screen space that the fragments were made of; asks for the changes too.

    Returns:
        `[H, W, K]`, or `[H, W]` of one attribute, 0 where there is no face; with `screen` also its
        changes `[H, W, K, 2]`, or `[H, W, 2]`, per pixel to the right and down.

    Raises:
        ValueError: a shape or dtype is not as above, or an index is out of range.

    Example:
        >>> import jax.numpy as jnp, jaxrender as jr
        >>> corners = jnp.array([[-1.0, -1.0, 2.0], [3.0, -1.0, 2.0], [-1.0, 3.0, 2.0]])
        >>> screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        >>> seen = jr.rasterize_hard(screen, image_size=(2, 2))
        >>> x, change = jr.interpolate(corners[:, 0], seen, screen.faces, screen=screen)
        >>> x.tolist(), change[0, 0].tolist()
        ([[-0.5, 0.5], [-0.5, 0.5]], [1.0, 0.0])
    """
    fragments = check_fragments("fragments", fragments)
    if screen is not None:
        if not isinstance(screen, ScreenMesh):
            raise ValueError(
                f"`screen` must be a ScreenMesh, got {type(screen).__name__}. "
                "Pass what the fragments were made of."
            )
        check_flag("screen.perspective", screen.perspective)
    values = check_array("attributes", attributes, ("...",))
    if values.ndim not in (1, 2):
        raise ValueError(
            f"`attributes` must be [N, K] or [N], got {list(values.shape)}. Pass one row for each "
            "vertex; use jax.vmap for several meshes."
        )
    faces = check_faces("faces", faces, values.shape[0])
    rows = values.reshape(values.shape[0], -1)
    shape = fragments.face.shape
    trailing = values.shape[1:]
    if faces.shape[0] == 0:
        dtype = jnp.result_type(values, fragments.barycentrics)
        nothing = jnp.zeros((*shape, *trailing), dtype)
        if screen is None:
            return nothing
        vertices = check_array("screen.vertices", screen.vertices, ("V", 3))
        dtype = jnp.result_type(dtype, vertices)
        return nothing, jnp.zeros((*shape, *trailing, 2), dtype)
    with jax.named_scope("interpolate"):
        seen = (fragments.face >= 0)[..., None]
        index = jnp.where(seen[..., 0], fragments.face, 0)
        corners = deterministic.gather(rows, deterministic.gather(faces, index))
        here = (corners * fragments.barycentrics[..., None]).sum(-2)
        result = jnp.where(seen, here, 0).reshape(*shape, *trailing)
        if screen is None:
            return result
        slopes = _barycentric_slopes(screen, index, shape)
        away = corners - here[..., None, :]
        changes = jnp.einsum("...kc,...kd->...cd", away, slopes, precision="highest")
        changes = jnp.where(seen[..., None], changes, 0)
        return result, changes.reshape(*shape, *trailing, 2)


def _barycentric_slopes(screen: ScreenMesh, index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`∂λₖ/∂(x, y) / Σ λ` `[H, W, 3, 2]` of the faces `index`, per pixel."""
    vertices = check_array("screen.vertices", screen.vertices, ("V", 3))
    faces = check_faces("screen.faces", screen.faces, vertices.shape[0])
    height, width = shape

    # Take the corners relative to the pixel, homogeneous, so that the camera's plane is no limit.
    x, y, z = jnp.where(jnp.isfinite(vertices), vertices, 0).T
    w = z if screen.perspective else jnp.ones_like(z)
    placed = jnp.stack([(x * width + width - 1) / 2 * w, (height - 1 - y * height) / 2 * w, w], -1)
    corners = deterministic.gather(placed, deterministic.gather(faces, index))
    column, row = jnp.arange(width, dtype=x.dtype), jnp.arange(height, dtype=x.dtype)
    origin = jnp.stack(jnp.broadcast_arrays(column[None, :], row[:, None]), -1)[..., None, :]
    corners = jnp.concatenate(
        [corners[..., :2] - origin * corners[..., 2:], corners[..., 2:]], axis=-1
    )

    # λₖ = lₖ · (x, y, 1) / d, so Σ λ at the pixel is the sum of the last components.
    lines = jnp.cross(corners[..., (1, 2, 0), :], corners[..., (2, 0, 1), :])
    total = lines[..., 2].sum(-1)[..., None, None]
    return lines[..., :2] / jnp.where(total == 0, 1, total)
