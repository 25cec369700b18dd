"""Vertices that move together: the parameters of Nicolet et al., and their optimiser.

Shapes: `V` vertices, `U` places where vertices lie, `F` faces, `E` edges.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender._checks import check_array, check_choice, check_faces, is_concrete
from jaxrender._formats.raw import optional
from jaxrender.ops.pytrees import struct
from jaxrender.ops.sparse import Factors, Matrix, System, multiply, solve

Laplacian = Literal["uniform", "cotangent"]
MAX_COTANGENT = 100.0  # of a corner; those of a thinner face are scaled down to that


@struct
class LargeSteps:
    """How vertices follow from parameters that are smooth by themselves; see `large_steps`.

    Attributes:
        system: `I + λ L` over the places, factored.
        place: `[V]` int32 the place of each vertex: those that lie at one place stay together.
        first: `[U]` int32 a vertex of each place.
    """

    system: System
    place: jax.Array
    first: jax.Array

    def to_differential(self, vertices: ArrayLike) -> jax.Array:
        """The parameters `u = (I + λ L) v` of vertices.

        Args:
            vertices: `[V, 3]` positions, scene units; those of one place must be equal.

        Returns:
            `[U, 3]` scene units, one row for each place.

        Raises:
            ValueError: a shape or dtype is wrong, or a vertex is not finite.
        """
        shape = (*self.place.shape, 3)
        vertices = check_array("vertices", vertices, shape, finite=True)
        return multiply(self.system.matrix, vertices[self.first])

    def from_differential(self, parameters: ArrayLike) -> jax.Array:
        """The vertices `v` of parameters: the solution of `(I + λ L) v = u`.

        Gradient: exact, in every mode, by another solution.

        Args:
            parameters: `[U, 3]` scene units.

        Returns:
            `[V, 3]` positions, scene units.

        Raises:
            ValueError: a shape or dtype is wrong, or a number is not finite.
        """
        shape = (*self.first.shape, 3)
        hint = "Pass what to_differential(vertices) returned, or what became of it."
        parameters = check_array("parameters", parameters, shape, finite=True, hint=hint)
        dtype = self.system.matrix.diagonal.dtype
        return solve(self.system, parameters.astype(dtype)).astype(parameters.dtype)[self.place]


def large_steps(
    vertices: ArrayLike,
    faces: ArrayLike,
    *,
    smoothness: float = 19.0,
    laplacian: Laplacian = "uniform",
) -> LargeSteps:
    """Parameters of a mesh in which a gradient step moves vertices together.

    A gradient of a picture says much at the silhouette and little elsewhere, so a step along it
    tears single vertices out of the surface. Steps in

        u = (I + λ L) v,    L = D - A

    instead, with the Laplacian L of the mesh's edges, reach the vertices as `v = (I + λ L)⁻¹ u`:
    smoothed, and large where all neighbours agree. No regulariser has to hold the surface
    together, and detail is not lost, as u can be anything. Use it with `adam_uniform`, which
    keeps steps smooth.

    The matrix is factored once, on the host, from known vertices: make it before `jax.jit`, and
    anew when the mesh gets other faces. It is a pytree.

    Args:
        vertices: `[V, 3]` where the mesh is now, scene units; known. Vertices at one place, as
            files split them at seams, share their parameters.
        faces: `[F, 3]` indices of their corners.
        smoothness: λ, how far a pull reaches: by about √λ edges. 0 is none; the authors take 19,
            and less for the last steps of a fit.
        laplacian: "uniform" weighs all edges the same; "cotangent" by the angles across them, as
            in Desbrun et al., so that a surface meshed unevenly moves evenly.

    Returns:
        what takes vertices to parameters, and back.

    Raises:
        ValueError: a shape, dtype, index or number is wrong, or a value is traced.

    Example:
        >>> import jax, optax
        >>> from jaxrender import fitting, shapes
        >>> ball = shapes.icosphere(1)
        >>> steps = large_steps(ball.vertices, ball.faces)
        >>> def loss(u):
        ...     return ((steps.from_differential(u) - 2 * ball.vertices) ** 2).sum()
        >>> start = steps.to_differential(ball.vertices)
        >>> found = fitting.fit(
        ...     loss, start, fitting.adam_uniform(0.3), steps=100, progress=False
        ... )
        >>> vertices = steps.from_differential(found.params)
        >>> [round(float(length), 1) for length in jax.numpy.linalg.norm(vertices, axis=1)[:2]]
        [2.0, 2.0]

    References:
        Nicolet, Jacobson, Jakob, Large Steps in Inverse Rendering of Geometry, SIGGRAPH Asia 2021;
        Desbrun et al., Implicit Fairing of Irregular Meshes, SIGGRAPH 1999.
    """
    check_choice("laplacian", laplacian, ("uniform", "cotangent"))
    if not is_concrete(vertices, faces, smoothness):
        raise ValueError(
            "`vertices`, `faces` and `smoothness` must be known, got a traced value. Call "
            "large_steps outside jax.jit, jax.vmap and jax.grad, and pass its result on."
        )
    hint = "One row per vertex; for several meshes call it for each."
    with jax.ensure_compile_time_eval():
        array = check_array("vertices", vertices, ("V", 3), finite=True, hint=hint)
        corners = np.asarray(check_faces("faces", faces, len(array)))
        weight = float(check_array("smoothness", smoothness, (), finite=True))
    if weight < 0:
        raise ValueError(f"`smoothness` must be at least 0, got {weight:g}.")
    if not len(array):
        raise ValueError("`vertices` must hold at least one vertex, got none.")

    # Join vertices that lie at one place.
    known = np.asarray(array, np.float64) + 0.0
    _, first, place = np.unique(known, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # keep the order of the vertices
    rank = np.argsort(order)
    first, place = first[order], rank[place.reshape(-1)]
    corners = place[corners]
    corners = corners[(corners != np.roll(corners, 1, axis=1)).all(1)]

    edges, weights = _edge_weights(known[first], corners, laplacian)
    system = _factor(edges, weight * weights, np.ones(len(first)), array.dtype)
    with jax.ensure_compile_time_eval():
        return LargeSteps(system, jnp.asarray(place, jnp.int32), jnp.asarray(first, jnp.int32))


def _edge_weights(
    vertices: np.ndarray, corners: np.ndarray, laplacian: str
) -> tuple[np.ndarray, np.ndarray]:
    """The edges `[E, 2]` of a mesh and their weights `[E]`."""
    count = len(vertices)
    ends = np.stack([np.roll(corners, -1, 1), np.roll(corners, -2, 1)], -1).reshape(-1, 2)
    names = ends.min(1, initial=count) * count + ends.max(1, initial=0)
    names, place = np.unique(names, return_inverse=True)
    edges = np.stack(np.divmod(names, count), 1)
    if laplacian == "uniform":
        return edges, np.ones(len(edges))

    # Give the edge across each corner half of the corner's cotangent.
    here = vertices[corners]
    after, before = np.roll(here, -1, 1) - here, np.roll(here, -2, 1) - here
    area = np.linalg.norm(np.cross(after[:, 0], before[:, 0]), axis=-1)  # twice
    flat = area <= 0
    cotangents = (after * before).sum(-1) / np.where(flat, 1, area)[:, None]
    # Scale those of a thin face together, which keeps the matrix positive definite.
    largest = np.abs(cotangents).max(1, keepdims=True, initial=MAX_COTANGENT)
    cotangents = np.where(flat[:, None], 0, cotangents * (MAX_COTANGENT / largest))
    return edges, np.bincount(place.reshape(-1), cotangents.reshape(-1) / 2, len(edges))


def _factor(ends: np.ndarray, weights: np.ndarray, diagonal: np.ndarray, dtype: Any) -> System:
    """The system of a positive definite matrix, factored in float64, in arrays of a dtype."""
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    count = len(diagonal)
    (a, b), each = ends.T, np.arange(count)
    entries = np.concatenate([diagonal, weights, weights, -weights, -weights])
    pairs = np.concatenate([each, a, b, a, b]), np.concatenate([each, a, b, b, a])
    matrix = coo_array((entries, pairs), shape=(count, count)).tocsc()

    # Eliminate along the diagonal, so that U = D Lᵀ and the columns of L are all there is.
    options = {"SymmetricMode": True}
    parts = splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    lower = parts.L.tocsc()
    lower.sort_indices()
    values = lower.data.copy()
    values[lower.indptr[:-1]] = parts.U.diagonal()  # in place of the ones of L
    high = values.astype(dtype)
    floats = weights, diagonal, high, values - high
    integers = ends, np.argsort(parts.perm_c), lower.indptr, lower.indices
    with jax.ensure_compile_time_eval():
        weight, added, *numbers = (jnp.asarray(part, dtype) for part in floats)
        edges, *places = (jnp.asarray(part, jnp.int32) for part in integers)
        return System(Matrix(edges, weight, added), Factors(*places, *numbers))


class UniformState(NamedTuple):
    """What `adam_uniform` keeps: the steps so far, and the moments of the gradient."""

    steps: jax.Array
    mean: Any
    square: Any


def adam_uniform(learning_rate: Any, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Any:
    """Adam with one size of step for all numbers of an array, for `large_steps`.

        step = -rate · m̂ / (√max v̂ + eps)

    with the moments m̂ and v̂ of Adam, and the maximum over the array. Adam divides each number by
    its own moment, which makes noise of what is smooth; here the direction stays that of the mean
    gradient.

    Args:
        learning_rate: a number, or an optax schedule: about how far the number that moves fastest
            goes in a step.
        b1: how much of the mean is kept from step to step.
        b2: how much of the mean square.
        eps: what keeps the quotient finite.

    Returns:
        an optax gradient transformation.

    Raises:
        ValueError: `b1` or `b2` is not in [0, 1), or `eps` is not above 0.

    References:
        Nicolet, Jacobson, Jakob, Large Steps in Inverse Rendering of Geometry, SIGGRAPH Asia 2021,
        section 3.4.
    """
    optax = optional("optax", package="optax", purpose="Fitting", extra="all")
    for name, value in (("b1", b1), ("b2", b2)):
        if not (isinstance(value, int | float) and 0 <= value < 1):
            raise ValueError(f"`{name}` must be at least 0 and less than 1, got {value!r}.")
    if not (isinstance(eps, int | float) and eps > 0):
        raise ValueError(f"`eps` must be above 0, got {eps!r}.")

    def weight_so_far(kept: float, steps: jax.Array, dtype: Any) -> jax.Array:
        # 1 - kept^steps, without the rounding of a difference from 1.
        return -jnp.expm1(steps.astype(dtype) * (math.log(kept) if kept else -math.inf))

    def init(params: Any) -> UniformState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return UniformState(jnp.zeros([], jnp.int32), zeros, zeros)

    def update(gradient: Any, state: UniformState, params: Any = None) -> tuple[Any, UniformState]:
        steps = state.steps + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, gradient)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, gradient)

        def step(m: jax.Array, v: jax.Array) -> jax.Array:
            largest = jnp.max(v / weight_so_far(b2, steps, v.dtype), initial=0)
            return m / weight_so_far(b1, steps, m.dtype) / (jnp.sqrt(largest) + eps)

        return jax.tree.map(step, mean, square), UniformState(steps, mean, square)

    return optax.chain(
        optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate)
    )
