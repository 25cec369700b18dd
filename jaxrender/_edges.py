"""`antialias` and `edge_gradient`: what a sharp picture does where faces end.

Two neighbouring pixels that see different faces have an edge between them. Where it crosses the
line through the two pixel centres is a smooth function of the vertices: `antialias` blends the two
colours by it, `edge_gradient` leaves the picture as it is and differentiates it.

Shapes: `H, W` image, `C` channels, `V` vertices, `F` faces; pairs of neighbouring pixels are
`[2, H, W]`, those of rows and those of columns, at the first of the two (see `ops/edges`).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxrender._checks import check_array, check_drawn, is_concrete
from jaxrender._types import NO_FACE, Fragments, ScreenMesh, struct
from jaxrender.ops.edges import Options, blend_pixels, find_edges, move_pixels, places_of
from jaxrender.ops.sharding import match_varying_axes


def antialias(
    image: jax.Array,
    fragments: Fragments,
    screen: ScreenMesh,
    *,
    edges: ArrayLike | None = None,
) -> jax.Array:
    r"""Blends the colours of neighbouring pixels where a silhouette edge runs between them.

    Of two neighbours that see different faces, the edge of the nearer face crosses the line through
    both pixel centres at the fraction `t` of the way from the first. The colour on its side then
    fills that much of the way, and so a part of the other pixel, which is half a pixel wide:

        t >= 1/2:  I₂ ← I₂ + (t - 1/2) (I₁ - I₂)        t < 1/2:  I₁ ← I₁ + (1/2 - t) (I₂ - I₁)

    Steep edges count between neighbours of a row, flat ones between those of a column. A silhouette
    edge is one behind which the surface does not go on: it belongs to one face alone, or all its
    faces lie on the same side of it on screen; vertices that a file splits at a seam make two (see
    `weld`). Where surfaces cut each other, and where a face is cut by the near plane, nothing is
    blended; nor where the face that is seen has no silhouette edge itself. So where faces are
    smaller than a pixel, most of an outline stays as it is and has no gradient: there draw more
    samples, or take `edge_gradient`, which asks for any edge of the nearer face. (Poses of a teapot
    of 6,320 faces in 128² pixels, sought by `fitting.least_squares` from up to 30 degrees off: 1 of
    8 arrived by `antialias`, 8 of 8 by `edge_gradient`.)

    Gradient: that of these formulas, exact, to `image` and to `screen.vertices`, in forward and
    reverse mode, to any order. It is the gradient of what edges show, and of nothing else: a pixel
    that no silhouette edge touches pulls on none.

    Args:
        image: `[H, W, C]` any channels (rgb, alpha, features), background included; or `[H, W]`.
            Apply it before anti-aliased samples are averaged.
        fragments: what `rasterize_hard` made of `screen`.
        screen: the mesh in screen space: `vertices` `[V, 3]`, `faces` `[F, 3]`.
        edges: `[F, 3]` int32 `number_edges(screen.faces)`, known once for all pictures; None
            numbers those of faces that are known, and else sorts them for each picture, which may
            take as long as drawing.

    Returns:
        The image, blended.

    Raises:
        ValueError: a shape or dtype is not as above.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrender as jr
        >>> corners = jnp.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.0, 0.5, 2.0]])
        >>> def covered(corners):
        ...     screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        ...     seen = jr.rasterize_hard(screen, image_size=(64, 64))
        ...     return jr.antialias((seen.face >= 0).astype(float), seen, screen).mean()
        >>> round(float(covered(corners)), 3)  # the area is an eighth of the picture
        0.125
        >>> [round(x, 2) for x in jax.grad(covered)(corners)[2].tolist()]
        [0.0, 0.12, 0.0]

    References:
        Laine et al., Modular Primitives for High-Performance Differentiable Rendering, 2020,
        arXiv:2011.03277, section 3.6.
    """
    picture, screen = check_drawn(image, fragments, screen, "antialias")
    if screen.faces.shape[0] == 0:
        return jnp.asarray(image)
    with jax.named_scope("antialias"):
        if edges is None:
            known = is_concrete(screen.faces)
            edges = number_edges(screen.faces) if known else _sort_edges(screen.faces, fragments)
        else:
            edges = check_array("edges", edges, screen.faces.shape, kind="int")
        dtype = jnp.promote_types(picture.dtype, screen.vertices.dtype)
        vertices, smooth = screen.vertices.astype(dtype), picture.astype(dtype)
        given = vertices, screen.faces, fragments.face
        found = find_edges(
            *given, fragments.depth, jnp.asarray(edges), perspective=screen.perspective
        )
        given = match_varying_axes((smooth, *given, *found), (smooth, *given, *found))
        smooth = blend_pixels(*given, screen.perspective)
        return smooth.astype(picture.dtype).reshape(jnp.shape(image))


def edge_gradient(
    image: jax.Array, fragments: Fragments, screen: ScreenMesh, *, faceted: bool = False
) -> jax.Array:
    r"""Gives a sharp picture the derivative that its edges have.

    Returns the picture as it is. Between two neighbours that see different faces lies a place `s`
    where the one's colour `C₁` ends and the other's, `C₂`, begins. Moved by `ds` towards the
    second, it shows that much more of the first, which is shared out to both pixels:

        dI₁ += (C₁ - C₂) / 2 ds        dI₂ += (C₁ - C₂) / 2 ds

    The colours at the edge are those of the pixels, gone on with from the pixel before, or behind,
    if that sees the same face: `C₁ = I₁ + s (I₁ - I₀)` and `C₂ = I₂ - (1 - s) (I₃ - I₂)`.

    The place is where the nearer face's edge crosses the line through both pixel centres, or, where
    both faces go on under the other pixel, where they cut each other. Steep edges count between
    neighbours of a row, flat ones between those of a column. Where both faces share the edge and
    look the same way the picture is taken for continuous, and nothing is added; or, if it is
    `faceted`, what their colours at the edge differ by, where both sides are known so far: where
    each face fills two pixels. `render` says so by what it draws: where each face has texels of
    its own, or light falls on it as a plane.

    It is the derivative of what an edge of a pixel's length does. Faces smaller than a pixel that
    lie between two centres are not seen. Like the picture, it knows nothing beyond one pixel:
    `nmr_gradient` and `rasterize_soft` reach further.

    Gradient: as said, to `screen.vertices`, and that of the picture itself. It is linear in the
    tangents, so forward and reverse mode are transposes of each other; second derivatives are
    those of this expression.

    Args:
        image: `[H, W, C]` any channels (rgb, alpha, features), background included; or `[H, W]`.
            Apply it before anti-aliased samples are averaged.
        fragments: what `rasterize_hard` made of `screen`.
        screen: the mesh in screen space: `vertices` `[V, 3]`, `faces` `[F, 3]`.
        faceted: whether colours may jump where faces meet that look the same way; static.

    Returns:
        The image.

    Raises:
        ValueError: a shape or dtype is not as above.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrender as jr
        >>> corners = jnp.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.0, 0.5, 2.0]])
        >>> def covered(corners):
        ...     screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        ...     seen = jr.rasterize_hard(screen, image_size=(64, 64))
        ...     return jr.edge_gradient((seen.face >= 0).astype(float), seen, screen).mean()
        >>> [round(x, 2) for x in jax.grad(covered)(corners)[2].tolist()]
        [0.0, 0.12, 0.0]

    References:
        Pidhorskyi et al., Rasterized Edge Gradients, ECCV 2024, arXiv:2405.02508.
    """
    picture, screen = check_drawn(image, fragments, screen, "edge_gradient")
    if screen.faces.shape[0] == 0:
        return jnp.asarray(image)
    with jax.named_scope("edges"):
        args = picture, screen.vertices, screen.faces, fragments.face, fragments.depth
        args = match_varying_axes(args, args)
        options = Options(bool(screen.perspective), silhouettes=False, faceted=bool(faceted))
        return _with_edges(*args, options).reshape(jnp.shape(image))


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _with_edges(
    picture: jax.Array,
    vertices: jax.Array,
    faces: jax.Array,
    face: jax.Array,
    depth: jax.Array,
    options: Options,
) -> jax.Array:
    """The picture as it is; its derivative has what edges add, see `edge_gradient`."""
    return picture


def _with_edges_jvp(options, primals, tangents):
    picture, vertices, faces, face, depth = primals
    d_picture, d_vertices = tangents[:2]
    if isinstance(d_picture, SymbolicZero):
        d_picture = jnp.zeros_like(picture)
    if isinstance(d_vertices, SymbolicZero):
        return picture, d_picture
    dtype = jnp.promote_types(picture.dtype, vertices.dtype)
    given = vertices.astype(dtype), faces, face
    how = {"perspective": options.perspective, "faceted": options.faceted}
    code, place = find_edges(*given, depth, None, **how)
    place, moved = places_of(*given, code, place, options), d_vertices.astype(dtype)
    change = move_pixels(picture.astype(dtype), *given, code, place, moved, options)
    return picture, d_picture + change.astype(picture.dtype)


_with_edges.defjvp(_with_edges_jvp, symbolic_zeros=True)


# --- which edges are the same ---------------------------------------------------------------------


def _edge_ends(faces: Any) -> tuple[Any, Any]:
    """The vertices `[F, 3]` where the edges opposite to the corners start and end."""
    return faces[:, (1, 2, 0)], faces[:, (2, 0, 1)]


def number_edges(faces: ArrayLike) -> np.ndarray:
    """Numbers the edges of a mesh, for `antialias`: those of the same two vertices alike.

    Args:
        faces: `[F, 3]` int32, known: not under `jax.jit`.

    Returns:
        `[F, 3]` int32 in [0, 3 F): of the edge that lies opposite to each corner.

    Raises:
        ValueError: a shape or dtype is not as above, or the faces are traced.

    Example:
        >>> import jaxrender as jr
        >>> jr.number_edges([[0, 1, 2], [2, 1, 3]]).tolist()
        [[2, 1, 0], [3, 4, 2]]
    """
    if not is_concrete(faces):
        raise ValueError(
            "`faces` must be known, got a traced value. Call number_edges outside of jax.jit and "
            "jax.vmap, or close over the faces instead of passing them as an argument."
        )
    with jax.ensure_compile_time_eval():
        known = np.asarray(check_array("faces", faces, ("F", 3), kind="int"))
    start, end = (ends.astype(np.int64) for ends in _edge_ends(known))
    low, high = np.minimum(start, end), np.maximum(start, end)
    _, number = np.unique(low * (high.max(initial=0) + 1) + high, return_inverse=True)
    return number.reshape(-1, 3).astype(np.int32)


def _sort_edges(faces: jax.Array, fragments: Fragments) -> jax.Array:
    """`number_edges` of faces that are traced."""
    start, end = _edge_ends(faces)
    low, high = jnp.minimum(start, end).reshape(-1), jnp.maximum(start, end).reshape(-1)
    # Add a 0 that XLA does not know to be one: it would sort known faces itself, in minutes.
    low = low + jnp.minimum(fragments.face[0, 0], NO_FACE) - NO_FACE
    position = jnp.arange(low.size, dtype=jnp.int32)
    low, high, order = jax.lax.sort((low, high, position), num_keys=2)
    begins = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    number = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(begins, dtype=jnp.int32)])
    return jnp.zeros(low.size, jnp.int32).at[order].set(number).reshape(-1, 3)


@struct
class Antialias:
    """`Hard(visibility_gradient="antialias")`: `antialias`, as `render` and `silhouette` take it.

    Attributes:
        edges: `[F, 3]` int32 `number_edges(mesh.faces)`; by default `render` numbers them where
            the faces are known, and else sorts them for each picture.
    """

    edges: ArrayLike | None = None  # [F, 3]

    def __call__(self, picture: jax.Array, fragments: Fragments, screen: ScreenMesh) -> jax.Array:
        """The picture, blended at its silhouette edges."""
        return antialias(picture, fragments, screen, edges=self.edges)

    def prepared(self, faces: jax.Array) -> Antialias:
        """Itself, with the edges of faces that are known."""
        if self.edges is not None or not is_concrete(faces) or not faces.shape[0]:
            return self
        return Antialias(number_edges(faces))
