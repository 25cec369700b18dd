"""Losses: how smooth a mesh is, and how well a picture or a voxel grid agrees with another.

`mesh_topology` finds out once, on the host, which vertices and faces are neighbours; the mesh
losses `laplacian`, `flatten`, `edge_length` and `normal_consistency` are pure functions of that
and of the vertices. `negative_iou` compares silhouettes, and the metric `iou` boolean grids.

Each takes one mesh or one view and returns a scalar. For a batch take `jax.vmap` and the mean:

    jnp.mean(jax.vmap(negative_iou)(silhouettes, targets))
    jnp.mean(jax.vmap(laplacian, in_axes=(0, None))(vertices, topology))

Meshes of different sizes are padded: `stack_meshes` their vertices, `stack_topologies` their
topologies. Padding counts for nothing, in sums and in means, so each loss is that of its mesh
alone:

    vertices = stack_meshes(meshes).vertices
    topologies = stack_topologies(mesh_topology(m.faces, len(m.vertices)) for m in meshes)
    jnp.mean(jax.vmap(laplacian)(vertices, topologies))

Values and gradients are finite for degenerate and empty meshes, as long as squared lengths fit
the dtype. A vertex that is not finite is an error where its value is known; inside jit its edges
and hinges count as if they had no extent, and nothing is moved by them.

Shape legend: `N` meshes, `V` vertices, `F` faces, `E` edges, `K` hinges, `H, W` image.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._arrays import as_array
from jaxrender._checks import check_array, check_choice, check_faces, check_several, is_concrete
from jaxrender._choices import REDUCTIONS, Reduction
from jaxrender._shading import NO_AREA
from jaxrender._types import struct
from jaxrender._vectors import unit
from jaxrender.ops.deterministic import gather, scatter_add

__all__ = [
    "MeshTopology",
    "edge_length",
    "flatten",
    "iou",
    "laplacian",
    "mesh_topology",
    "negative_iou",
    "normal_consistency",
    "pad_topologies",
    "stack_topologies",
]


def __dir__() -> list[str]:
    return __all__


FLATTEN_EPS = 1e-6  # keeps SoftRas's flatten loss smooth: a length², or the square of a sine
FEWEST_PIECES = 4  # of one or two faces each that a mesh may fall apart into without a word
SEAMS = (
    "The mesh is split at seams: {} seem to lie at the same places. Losses see no fold there, "
    "and fits tear it apart. Pass jaxrender.weld(mesh), or load it with weld=True."
)
UNION_EPS = 1e-6  # pixels that SoftRas adds to the union of two silhouettes


@struct
class MeshTopology:
    """Which vertices and faces of a mesh are neighbours; `mesh_topology` makes it.

    Attributes:
        edges: `[E, 2]` int32 ends of each edge, the lower index first; none is there twice.
        hinges: `[K, 4]` int32 for each edge that belongs to exactly two faces its ends, then
            the third corner of either face.
        valence: `[V]` int32 how many neighbours each vertex has.

    Where it is padded (see `pad_topologies`), an edge or hinge goes from a vertex to itself, and
    a vertex has no neighbours.
    """

    edges: jax.Array  # [E, 2]
    hinges: jax.Array  # [K, 4]
    valence: jax.Array  # [V]


def mesh_topology(faces: ArrayLike, vertex_count: int) -> MeshTopology:
    """Finds the edges of a mesh, and which faces meet there.

    A hinge is an edge of exactly two faces. Edges with one face (a boundary), or with three and
    more (where no single angle is defined), are no hinges. Which way faces are wound does not
    matter. Faces that name a vertex twice are ignored.

    NumPy computes this on the host, and it does not depend on where the vertices are: call it
    once per mesh. The result is a pytree: losses take it as an argument through `jax.jit` and
    `jax.vmap`, or from the surrounding function.

    Args:
        faces: `[F, 3]` vertex indices; known values, not traced ones.
        vertex_count: V; may be more than the faces use, as that of a padded mesh is.

    Returns:
        The topology. A warning says if the mesh falls apart into pieces of one or two faces, as
        files have it that split vertices at seams: `weld` joins them.

    Raises:
        ValueError: a shape, dtype or index is wrong, or `faces` is traced by `jax.jit`.

    Example:
        >>> topology = mesh_topology([[0, 1, 2], [2, 1, 3]], vertex_count=4)
        >>> topology.edges.tolist()
        [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
        >>> topology.hinges.tolist(), topology.valence.tolist()
        ([[1, 2, 0, 3]], [2, 3, 3, 2])
    """
    if not isinstance(vertex_count, int | np.integer) or not 0 <= vertex_count < 2**31:
        raise ValueError(
            f"`vertex_count` must be a whole number from 0, got {vertex_count!r}. "
            "Pass vertices.shape[0]."
        )
    if not is_concrete(faces):
        raise ValueError(
            "`faces` must be known, got a traced value. Call mesh_topology outside jax.jit, "
            "jax.vmap and jax.grad, and pass its result to the losses."
        )

    # Work with values, also where the surroundings are being traced.
    with jax.ensure_compile_time_eval():
        corners = np.asarray(check_faces("faces", faces, int(vertex_count))).astype(np.int64)
    corners = corners[(corners != np.roll(corners, 1, axis=1)).all(1)]
    _warn_of_pieces(corners)

    # Name each side of each face by its two ends, the lower first.
    start, end, apex = (np.roll(corners, -k, axis=1).ravel() for k in range(3))
    names = np.minimum(start, end) * vertex_count + np.maximum(start, end)

    # Sort the sides, so that those of one edge are neighbours, in the order of their faces.
    order = np.argsort(names, kind="stable")
    names, apex = names[order], apex[order]
    first = np.flatnonzero(np.diff(names, prepend=-1))
    sides = np.diff(first, append=names.size)

    # Where an edge has two sides, their third corners make the hinge.
    edges = np.stack(np.divmod(names[first], max(vertex_count, 1)), 1)
    paired = first[sides == 2]
    hinges = np.column_stack([edges[sides == 2], apex[paired], apex[paired + 1]])
    valence = np.bincount(edges.ravel(), minlength=vertex_count)
    with jax.ensure_compile_time_eval():
        return MeshTopology(*(jnp.asarray(part, jnp.int32) for part in (edges, hinges, valence)))


def pad_topologies(topologies: Iterable[MeshTopology]) -> list[MeshTopology]:
    """Pads topologies to the same numbers of vertices, edges and hinges.

    They then fit the vertices of the padded meshes, see `pad_meshes`. Losses leave padding out,
    also of their means.

    Args:
        topologies: at least one, of `mesh_topology`.

    Returns:
        As many topologies; their arrays have the same shapes.

    Raises:
        ValueError: there is none, or one is no topology.

    Example:
        >>> triangle = mesh_topology([[0, 1, 2]], 3)
        >>> square = mesh_topology([[0, 1, 2], [2, 1, 3]], 4)
        >>> pad_topologies([triangle, square])[0].edges.tolist()
        [[0, 1], [0, 2], [1, 2], [0, 0], [0, 0]]
    """
    topologies = check_several("topologies", topologies, "topologies")
    if not topologies:
        raise ValueError("`topologies` must hold at least one topology, got none.")
    for index, topology in enumerate(topologies):
        _check_topology(f"topologies[{index}]", topology)
    sizes = [max(map(len, parts)) for parts in zip(*map(jax.tree.leaves, topologies), strict=True)]

    def padded(part: jax.Array, size: int) -> jax.Array:
        return jnp.pad(part, ((0, size - len(part)), *((0, 0),) * (part.ndim - 1)))

    return [MeshTopology(*map(padded, jax.tree.leaves(topology), sizes)) for topology in topologies]


def stack_topologies(topologies: Iterable[MeshTopology]) -> MeshTopology:
    """Pads topologies as `pad_topologies` does, and stacks them: arrays get a leading axis `[N]`.

    Args:
        topologies: as for `pad_topologies`.

    Returns:
        One topology to be mapped over, with `edges` `[N, E, 2]`, `hinges` `[N, K, 4]` and
        `valence` `[N, V]`.

    Raises:
        ValueError: as for `pad_topologies`.

    Example:
        >>> import jaxrender as jr
        >>> meshes = [jr.shapes.cube(), jr.shapes.icosphere(1)]
        >>> both = stack_topologies(mesh_topology(m.faces, len(m.vertices)) for m in meshes)
        >>> losses = jax.vmap(edge_length)(jr.stack_meshes(meshes).vertices, both)
        >>> losses.shape
        (2,)
    """
    return jax.tree.map(lambda *parts: jnp.stack(parts), *pad_topologies(topologies))


def laplacian(
    vertices: ArrayLike, topology: MeshTopology, *, reduction: Reduction = "sum"
) -> jax.Array:
    """How far vertices are from the middle of their neighbours, squared.

    With `N(i)` the distinct neighbours of vertex i, the loss is the sum (or mean) over i of

        |xᵢ - Σⱼ xⱼ / |N(i)||²,   j in N(i)

    The sum is SoftRas's `LaplacianLoss`. A vertex without neighbours, as padding has none, adds
    0, and does not count in the mean. PyTorch3D's `mesh_laplacian_smoothing(method="uniform")` is
    another loss: the mean of the lengths `|…|`, not of their squares, over all vertices; its
    gradient does not fade as the mesh gets smooth.

    Gradient: exact to `vertices`.

    Args:
        vertices: `[V, 3]` positions, scene units.
        topology: of the same mesh; see `mesh_topology`.
        reduction: "sum" as in SoftRas, or "mean" over the vertices that have neighbours; static.

    Returns:
        `[]` squared scene units.

    Raises:
        ValueError: a shape or dtype is wrong, or a vertex is not finite.

    Example:
        >>> topology = mesh_topology([[0, 1, 2]], 3)
        >>> float(laplacian([[0, 0, 0], [2, 0, 0], [0, 2, 0]], topology))
        12.0

    References:
        Desbrun et al., Implicit Fairing of Irregular Meshes, SIGGRAPH 1999 (the umbrella
        operator); Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786.
    """
    vertices, topology = _check_mesh(vertices, topology)
    a, b = topology.edges[:, 0], topology.edges[:, 1]

    # Sum over edges, not neighbours: it needs no square matrix. Sum differences, not positions:
    # they stay exact far from the origin.
    side = _sides(vertices, topology.edges)[:, 0]
    offsets = scatter_add(scatter_add(jnp.zeros_like(vertices), a, -side), b, side)
    offsets = offsets / jnp.maximum(topology.valence, 1).astype(vertices.dtype)[:, None]
    return _reduce((offsets**2).sum(1), topology.valence > 0, reduction)


def flatten(
    vertices: ArrayLike, topology: MeshTopology, *, reduction: Reduction = "sum"
) -> jax.Array:
    """How sharply neighbouring faces are folded: 0 for a flat mesh.

    With θ the angle between the two faces of a hinge, 180° where they are flat, the loss is the
    sum (or mean) over hinges of `(cos θ + 1)²`. The edge is a, the other sides of the faces from
    its start are b and c; `e = 1e-6` and `|v| = sqrt(v·v + e)` keep it smooth. For b (c alike)

        cos β = a·b / (|a| |b| + e),   sin β = sqrt(1 - cos² β + e)
        h = b - a (a·b) / (a·a + e),   l = |b| sin β,   cos θ = h₁·h₂ / (l₁ l₂ + e)

    The sum is SoftRas's `FlattenLoss`, which fails on meshes with a boundary; here edges that do
    not have exactly two faces add nothing. PyTorch3D has no such loss; `normal_consistency` is
    its own, `1 + cos θ`, neither squared nor softened by e.

    Gradient: exact to `vertices`.

    Args:
        vertices: `[V, 3]` positions; edges shorter than about 0.01 are too short beside e.
        topology: of the same mesh; see `mesh_topology`.
        reduction: "sum" as in SoftRas, or "mean" over the K hinges; static.

    Returns:
        `[]` from 0 to 4 per hinge.

    Raises:
        ValueError: a shape or dtype is wrong, or a vertex is not finite.

    Example:
        >>> topology = mesh_topology([[0, 1, 2], [1, 0, 3]], 4)
        >>> book = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
        >>> round(float(flatten(book, topology)), 3)
        1.0

    References:
        Kato et al., Neural 3D Mesh Renderer, CVPR 2018, arXiv:1711.07566; Liu et al., Soft
        Rasterizer, ICCV 2019, arXiv:1904.01786.
    """
    vertices, topology = _check_mesh(vertices, topology)
    sides = _sides(vertices, topology.hinges)

    # Shrink large hinges to size 1, and e with them: the value is the same, and nothing
    # overflows as long as 1/e³ does not. (With e = 1e-16, float32 gradients were infinite.)
    size = jax.lax.stop_gradient(jnp.abs(sides).max((1, 2), initial=1))
    a, b, c = jnp.moveaxis(sides / size[:, None, None], 1, 0)
    e = jnp.maximum(FLATTEN_EPS / size**2, float(jnp.finfo(size.dtype).tiny) ** (1 / 3))

    # Drop b and c onto the edge, and compare the directions of the two perpendiculars.
    (h1, l1), (h2, l2) = _perpendicular(a, b, e), _perpendicular(a, c, e)
    cos = _dot(h1, h2) / (l1 * l2 + e)
    return _reduce((cos + 1) ** 2, _is_there(topology.hinges), reduction)


def _perpendicular(a: jax.Array, b: jax.Array, e: jax.Array) -> tuple[jax.Array, jax.Array]:
    """From the line along `a` to the tip of `b`: the vector `[K, 3]`, and its length `[K]`."""
    aa, ab, bb, axb = _dot(a, a), _dot(a, b), _dot(b, b), jnp.cross(a, b)
    length = jnp.sqrt(bb + e)
    q = jnp.sqrt(aa + e) * length + e

    # 1 - cos² is (q² - (a·b)²) / q². By Lagrange's identity (a·a)(b·b) - (a·b)² = |a x b|², it
    # needs no difference, which on slivers would leave float32 gradients with errors of 5e-5.
    sin_squared = (_dot(axb, axb) + e * (aa + bb + 2 * q)) / q / q
    return b - a * (ab / (aa + e))[:, None], length * jnp.sqrt(sin_squared + FLATTEN_EPS)


def edge_length(
    vertices: ArrayLike,
    topology: MeshTopology,
    *,
    target: ArrayLike = 0.0,
    reduction: Reduction = "mean",
) -> jax.Array:
    """How far the lengths of edges are from a target.

    The mean (or sum) over edges of `(|xₐ - x_b| - target)²`: deviations are squared. The mean is
    PyTorch3D's `mesh_edge_loss` of one mesh. (Its loss of a batch is the mean of the meshes'
    means, as `jnp.mean` of ours under `jax.vmap`.)

    Gradient: exact to `vertices` and `target`; an edge of no length has no direction, and 0.

    Args:
        vertices: `[V, 3]` positions, scene units.
        topology: of the same mesh; see `mesh_topology`.
        target: `[]` length, scene units; traced.
        reduction: "mean" over the E edges as in PyTorch3D, or "sum"; static.

    Returns:
        `[]` squared scene units; 0 for a mesh without edges.

    Raises:
        ValueError: a shape or dtype is wrong, or a vertex or `target` is not finite.

    Example:
        >>> topology = mesh_topology([[0, 1, 2]], 3)
        >>> float(edge_length([[0, 0, 0], [3, 0, 0], [0, 4, 0]], topology, target=4.0))
        0.6666666865348816

    References:
        Wang et al., Pixel2Mesh, ECCV 2018, arXiv:1804.01654.
    """
    vertices, topology = _check_mesh(vertices, topology)
    target = check_array("target", target, (), finite=True).astype(vertices.dtype)
    side = _sides(vertices, topology.edges)[:, 0]

    # The length is v·n(v): unlike a square root it has a gradient, 0, where v is 0.
    lengths = _dot(side, unit(side))
    return _reduce((lengths - target) ** 2, _is_there(topology.edges), reduction)


def normal_consistency(
    vertices: ArrayLike, topology: MeshTopology, *, reduction: Reduction = "mean"
) -> jax.Array:
    """How much the normals of neighbouring faces differ: 0 for a flat mesh.

    The mean (or sum) over hinges of `1 - n₁·n₂` (1 minus the cosine, not an angle, not squared),
    with the unit normals of the two faces on one side of the surface, however they are wound. The
    mean is PyTorch3D's `mesh_normal_consistency` of one mesh, where no edge has more than two
    faces; there, each pair of the faces at such an edge counts, here none does. As there, a face
    without area has the normal 0: its hinges add 1.

    Gradient: exact to `vertices`; 0 from a face without area.

    Args:
        vertices: `[V, 3]` positions.
        topology: of the same mesh; see `mesh_topology`.
        reduction: "mean" over the K hinges as in PyTorch3D, or "sum"; static.

    Returns:
        `[]` from 0 to 2 per hinge; 0 for a mesh without hinges.

    Raises:
        ValueError: a shape or dtype is wrong, or a vertex is not finite.

    Example:
        >>> topology = mesh_topology([[0, 1, 2], [1, 0, 3]], 4)
        >>> book = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
        >>> float(normal_consistency(book, topology))
        1.0

    References:
        Ravi et al., Accelerating 3D Deep Learning with PyTorch3D, arXiv:2007.08501.
    """
    vertices, topology = _check_mesh(vertices, topology)
    # Lengths do not matter: with units, no product overflows or vanishes.
    a, b, c = jnp.moveaxis(unit(_sides(vertices, topology.hinges)), 1, 0)
    cos = _dot(unit(jnp.cross(a, b), NO_AREA), unit(jnp.cross(c, a), NO_AREA))
    return _reduce(1 - cos, _is_there(topology.hinges), reduction)


def negative_iou(silhouette: ArrayLike, target: ArrayLike) -> jax.Array:
    """How little two silhouettes overlap: 1 minus their soft intersection over union.

    With the coverages p and t of each pixel, and `e = 1e-6`,

        1 - Σ p t / (Σ (p + t - p t) + e)

    This is SoftRas's `neg_iou_loss` of one view, but that two empty silhouettes have the loss 0,
    not 1. Its loss of several views is the mean under `jax.vmap`. Equal silhouettes have the
    loss 0 (but for e) only where they are all 0 or 1.

    Gradient: exact to both. An empty `target` gives none to `silhouette`.

    Args:
        silhouette: `[H, W]` coverage in [0, 1], as `Image.alpha`.
        target: `[H, W]` coverage in [0, 1], or booleans.

    Returns:
        `[]` from 0 to 1.

    Raises:
        ValueError: a shape or dtype is wrong, or a known value is not in [0, 1].

    Example:
        >>> round(float(negative_iou([[1.0, 0.5], [0.0, 0.0]], [[1, 0], [0, 0]])), 4)
        0.3333

    References:
        Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786.
    """
    p = _check_coverage("silhouette", silhouette, ("H", "W"))
    t = _check_coverage("target", target, p.shape).astype(p.dtype)
    intersection, union = (p * t).sum(), (p + t - p * t).sum()
    return jnp.where(union > 0, 1 - intersection / (union + UNION_EPS), 0)


def iou(predicted: ArrayLike, target: ArrayLike) -> jax.Array:
    """Intersection over union of two boolean grids: a metric of voxels or silhouettes.

    Gradient: none.

    Args:
        predicted: `[...]` booleans: voxels `[N, N, N]`, or for example `image.alpha > 0.5`.
        target: booleans of the same shape.

    Returns:
        `[]` from 0, disjoint, to 1, equal; two empty grids are equal.

    Raises:
        ValueError: they are not boolean, or differ in shape.

    Example:
        >>> float(iou([True, True, False], [True, False, False]))
        0.5
    """
    grids = as_array("predicted", predicted), as_array("target", target)
    for name, grid in zip(("predicted", "target"), grids, strict=True):
        if grid.dtype != bool or grid.shape != grids[0].shape:
            raise ValueError(
                f"`{name}` must be a boolean array {list(grids[0].shape)}, "
                f"got {grid.dtype.name}{list(grid.shape)}. Pass for example alpha > 0.5."
            )
    both, either = (
        found.sum().astype(jnp.result_type(float))
        for found in (grids[0] & grids[1], grids[0] | grids[1])
    )
    return jnp.where(either > 0, both / jnp.maximum(either, 1), 1)


def _dot(u: jax.Array, v: jax.Array) -> jax.Array:
    return (u * v).sum(-1)


def _reduce(terms: jax.Array, there: jax.Array, reduction: str) -> jax.Array:
    """The sum or mean of the terms that are there, not padding; 0 where there are none."""
    check_choice("reduction", reduction, REDUCTIONS)
    total = jnp.where(there, terms, 0).sum()
    return total / jnp.maximum(there.sum(), 1).astype(total.dtype) if reduction == "mean" else total


def _is_there(corners: jax.Array) -> jax.Array:
    """Which edges or hinges `[K, n]` are no padding: their ends are two vertices."""
    return corners[:, 0] != corners[:, 1]


def _sides(vertices: jax.Array, corners: jax.Array) -> jax.Array:
    """From the first corner of each edge or hinge `[K, n]` to the others: `[K, n - 1, 3]`.

    All are 0, with gradient 0, where a corner is not finite.
    """
    places = gather(vertices, corners)
    sides = places[:, 1:] - places[:, :1]
    return jnp.where(jnp.isfinite(sides).all((1, 2), keepdims=True), sides, 0)


def _check_mesh(vertices: ArrayLike, topology: Any) -> tuple[jax.Array, MeshTopology]:
    """Returns the vertices as an array that fits the topology.

    Raises:
        ValueError: it does not, or is not finite.
    """
    topology = _check_topology("topology", topology)
    shape = (*topology.valence.shape, 3)
    hint = "One row per vertex of the topology; for a batch use jax.vmap."
    checked = check_array("vertices", vertices, shape, finite=True, hint=hint)
    if is_concrete(vertices, topology):
        _warn_of_seams(np.asarray(vertices, checked.dtype), topology)
    return checked, topology


def _warn_of_seams(vertices: np.ndarray, topology: MeshTopology) -> None:
    """Warns where all edges of a mesh's boundary lie on others: it is closed, but for seams."""
    edges, hinges = np.asarray(topology.edges), np.asarray(topology.hinges)
    if len(edges) <= len(hinges):
        return
    count = len(vertices)
    inner = np.isin(edges @ [count, 1], hinges[:, :2] @ [count, 1])
    border = edges[~inner & (edges[:, 0] != edges[:, 1])]

    # Name the edges by where they end, but for those that have no length.
    _, place = np.unique(vertices[border].reshape(-1, 3) + 0.0, axis=0, return_inverse=True)
    ends = np.sort(place.reshape(-1, 2), axis=1)
    ends = ends[ends[:, 0] < ends[:, 1]]
    _, copies = np.unique(ends, axis=0, return_counts=True)
    if len(ends) and copies.min() > 1:
        what = f"the vertices of all {len(border)} edges on its boundary"
        warnings.warn(SEAMS.format(what), stacklevel=4)


def _warn_of_pieces(corners: np.ndarray) -> None:
    """Warns where a mesh `[F, 3]` falls apart into many pieces of one or two faces each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(corners) < FEWEST_PIECES:
        return
    count = int(corners.max()) + 1
    start, end = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
    graph = coo_array((np.ones(len(start), bool), (start, end)), shape=(count, count))
    pieces = connected_components(graph, directed=False)[0]
    pieces -= count - len(np.unique(corners))  # vertices of no face
    if pieces >= FEWEST_PIECES and len(corners) <= 2 * pieces:
        what = f"its {len(corners)} faces make {pieces} pieces, whose vertices"
        warnings.warn(SEAMS.format(what), stacklevel=3)


def _check_topology(name: str, topology: Any) -> MeshTopology:
    """Returns a topology with arrays of the right shapes.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(topology, MeshTopology):
        raise ValueError(
            f"`{name}` must be a MeshTopology, got {type(topology).__name__}. "
            "Pass mesh_topology(faces, vertices.shape[0])."
        )
    shapes = {"edges": ("E", 2), "hinges": ("K", 4), "valence": ("V",)}
    hint = "Pass mesh_topology(faces, vertices.shape[0])."
    return MeshTopology(
        **{
            field: check_array(
                f"{name}.{field}", getattr(topology, field), shape, kind="int", hint=hint
            )
            for field, shape in shapes.items()
        }
    )


def _check_coverage(name: str, value: ArrayLike, shape: tuple[int | str, ...]) -> jax.Array:
    """Returns coverages as floats.

    Raises:
        ValueError: the shape or dtype is wrong, or a known value is not in [0, 1].
    """
    array = check_array(name, value, shape, finite=True, hint="One view; use jax.vmap for more.")
    if is_concrete(array) and array.size:
        # As NumPy's, lest a known array be traced where others are.
        known = np.asarray(array)
        low, high = float(known.min()), float(known.max())
        if low < -1e-3 or high > 1 + 1e-3:  # rounding may leave [0, 1] by less
            raise ValueError(
                f"`{name}` must lie in [0, 1], got values from {low} to {high}. "
                "Divide 8-bit pictures by 255."
            )
    return array
