"""Rasterisation: which face each pixel sees, and where on it.

Shapes: `V` vertices, `F` faces, `H, W` image.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxrender._checks import (
    check_array,
    check_choice,
    check_depth_range,
    check_faces,
    check_flag,
    check_image_size,
    is_concrete,
    warn_out_of_range,
)
from jaxrender._choices import CULLS, Cull
from jaxrender._types import Fragments, Hard, ScreenMesh
from jaxrender._watching import Story, Watched
from jaxrender.ops.hard import hard_fragments
from jaxrender.ops.view import View


def rasterize_hard(
    screen: ScreenMesh,
    *,
    image_size: tuple[int, int],
    near: ArrayLike = 0.1,
    far: ArrayLike | None = None,
    cull: Cull = "none",
) -> Fragments:
    """Finds the nearest face at each pixel centre, exactly: a z-buffer.

    A pixel centre (x, y) sees a face where its three screen barycentrics `w` are >= 0, edges
    included. There, with `z` the depths of the corners,

        depth = 1 / Σₖ (wₖ / zₖ)        barycentrics bₖ = depth wₖ / zₖ

    are perspective-correct. Of all faces with `near < depth < far`, or `near < depth` where `far`
    is None, it keeps the nearest. Of faces at the same depth it keeps one that looks at the camera
    (a front, see `cull`) before one that looks away, and among those the one of lowest index. The
    depth of a triangle has the same bits in whatever order its corners come, so of a mesh that has
    each face twice, once reversed, the side that looks at the camera is seen. Faces that share an
    edge leave no crack along it. A face across the near plane or the camera plane is cut there,
    exactly, and keeps its index and barycentrics. There is no limit on the number of faces per
    pixel or per region. A face counts as edge-on, and is not drawn even over a pixel centre, where
    two of its edges span no more than 1e-10 square pixels. `why_not_drawn` tells why a face is
    missing. Without `screen.perspective`, depth is linear on screen and b = w. Of holes that a
    `Material` cuts it knows nothing: `render` and `silhouette` see through them.

    Gradient: exact, inside the face that a pixel sees, of barycentrics and depth to
    `screen.vertices`, and of the depth of empty pixels to `far`. Which face is seen has none:
    for a gradient of visibility see `edge_gradient`, `antialias`, `nmr_gradient` and
    `rasterize_soft`.

    Args:
        screen: the mesh in screen space: `vertices` `[V, 3]` (see `project`), `faces` `[F, 3]`.
        image_size: `(H, W)` in pixels; static.
        near: `[]` depth up to which nothing is drawn, scene units; positive under perspective.
        far: `[]` depth from which nothing is drawn, scene units; None is no limit.
        cull: "none", or which side of faces is not drawn: "back" or "front"; the front is
            counter-clockwise on screen, `y` up. Static.

    Returns:
        `face` `[H, W]` int32, `NO_FACE` where there is none; `barycentrics` `[H, W, 3]`, 0 where
        there is none; `depth` `[H, W]`, where there is none `far`, or 0 if that is None.

    Raises:
        ValueError: a shape, dtype or range is not as above, a vertex is not finite, or an index
            is out of range. Inside jit, where values are not known, faces with such a vertex or
            index, and only they, are not drawn; with near >= far nothing is. Where values are
            known, a warning says if the whole mesh lies outside of [near, far].

    Example:
        >>> import jax.numpy as jnp, jaxrender as jr
        >>> corners = jnp.array([[-1.0, -1.0, 2.0], [3.0, -1.0, 2.0], [-1.0, 3.0, 2.0]])
        >>> screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        >>> seen = jr.rasterize_hard(screen, image_size=(2, 2))
        >>> seen.face.tolist()
        [[0, 0], [0, 0]]

    References:
        Olano and Greer, Triangle scan conversion using 2D homogeneous coordinates, 1997.
    """
    if not isinstance(screen, ScreenMesh):
        raise ValueError(
            f"`screen` must be a ScreenMesh, got {type(screen).__name__}. "
            "Pass ScreenMesh(project(mesh.vertices, camera), mesh.faces)."
        )
    check_flag("screen.perspective", screen.perspective)
    vertices = check_array(
        "screen.vertices",
        screen.vertices,
        ("V", 3),
        finite=True,
        hint="Pass one mesh, in screen space; use jax.vmap for several.",
    )
    faces = check_faces("screen.faces", screen.faces, vertices.shape[0])
    near, far = check_depth_range(near, far, perspective=screen.perspective, dtype=vertices.dtype)
    image_size, cull = check_image_size(image_size), check_choice("cull", cull, CULLS)
    if is_concrete(vertices, faces, near, far):
        warn_out_of_range(np.asarray(vertices)[:, 2], faces, near, far, stacklevel=2)
    view = View(near, far, image_size, cull, screen.perspective)
    screen = ScreenMesh(vertices, faces, screen.perspective)
    watched = Watched("rasterize_hard", lambda: Story(screen, None, view, Hard()))
    held = watched.enter("screen.vertices", vertices)
    fragments = draw_hard(dataclasses.replace(screen, vertices=held), view)
    return watched.leave(fragments, fragments.face + 1)


def draw_hard(screen: ScreenMesh, view: View) -> Fragments:
    """`rasterize_hard` of a mesh and a view that have been checked."""
    with jax.named_scope("rasterize"):
        view = view.astype(screen.vertices.dtype)
        return Fragments(*hard_fragments(screen.vertices, screen.faces, view))
