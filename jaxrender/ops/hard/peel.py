"""The z-buffer of surfaces with holes: what is behind a hole is seen, exactly.

Shapes: `B` views, `V` vertices, `F` faces, `H, W` image.

Whether a surface is there at a pixel is not known before its texture is read. So the mesh is drawn;
where the nearest face has a hole it is drawn again, with that face's depth and key as a bound
behind which to look; and so on, until no pixel sees a hole. Faces at equal depth are told by their
keys, so that none is skipped and none seen twice: all rounds run the same program, which gives a
face the same bits at a pixel each time. It takes as many rounds as there are holes one behind the
other, and one more.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxrender.ops.batching import batch_size, fold_vmap
from jaxrender.ops.hard import look_up
from jaxrender.ops.hard.passes import draw_scene, fragments_of, scene_of
from jaxrender.ops.triangle import key_of
from jaxrender.ops.view import View

FIRST = -jnp.iinfo(jnp.int32).max - 1  # a key before all others


def masked_fragments(
    vertices: jax.Array,
    faces: jax.Array,
    view: View,
    is_hole: Callable[[jax.Array, jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`hard_fragments` of a surface with holes.

    Gradient: as of `hard_fragments`; where holes are has none.

    Args:
        vertices: `[V, 3]` screen space, at least one.
        faces: `[F, 3]` int32, at least one.
        view: what is drawn.
        is_hole: `(face, barycentrics) -> bool` `[H, W]`, where a face has a hole; false where there
            is no face (-1).

    Returns:
        `face` `[H, W]` int32, `barycentrics` `[H, W, 3]` and `depth` `[H, W]`.
    """
    constant, constant_view = lax.stop_gradient((vertices, view))
    first = (
        jnp.full(view.image_size, jnp.inf, vertices.dtype),
        jnp.full(view.image_size, FIRST, jnp.int32),
    )
    nowhere = jnp.full(view.image_size, -1, jnp.int32)

    def see_behind(state: tuple) -> tuple:
        behind, _, _ = state
        reversed_depth, key, face, barycentrics = faces_behind(
            constant, faces, constant_view, *behind
        )
        hole = is_hole(face, barycentrics)
        behind = (
            jnp.where(hole, reversed_depth, behind[0]),
            jnp.where(hole, key, behind[1]),
        )
        return behind, face, hole.any()

    start = first, nowhere, jnp.array(True)
    _, face, _ = lax.while_loop(lambda state: state[2], see_behind, start)
    return face, *look_up(vertices, faces, face, view.empty_depth, perspective=view.perspective)


def _draw_behind(
    vertices: jax.Array,  # [B or 1, V, 3]
    faces: jax.Array,  # [B or 1, F, 3]
    view: View,  # limits [B or 1]
    depth_before: jax.Array,  # [B or 1, H, W]
    key_before: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What is seen behind a bound: reversed depth, key, face `[B, H, W]` and barycentrics."""
    views, face_count = batch_size(vertices, faces, view, depth_before), faces.shape[1]
    scene = scene_of(vertices, faces, view, views=views, facing_first=True)
    shape = (views, *view.image_size)
    behind = jnp.broadcast_to(depth_before, shape), jnp.broadcast_to(key_before, shape)
    drawn = draw_scene(scene, view, behind)
    reversed_depth, face, _ = drawn
    key = key_of(face, scene.wins_ties[jnp.maximum(face, 0)])
    face, barycentrics, _ = fragments_of(drawn, face_count, perspective=view.perspective)
    return reversed_depth, key, face, barycentrics


faces_behind = fold_vmap(_draw_behind)
