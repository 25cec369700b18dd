"""nvdiffrast's operations under its names, on a CPU: change the import, and scripts run.

    import jaxrender.torch.nvdiffrast as dr         # was: import nvdiffrast.torch as dr

Names, arguments, shapes and channels are those of nvdiffrast (Laine et al. 2020), as its
documentation gives them: batches come first, `[B, H, W, C]`; row 0 is the bottom; positions are in
clip space; a triangle's id is offset by one. Tensors stay on the device where they are, which JAX
has to know: without CUDA, leave out `.cuda()`. What needs mipmaps raises NotImplementedError.

What differs: coverage is exact, where nvdiffrast moves vertices to sixteenths of pixels; of
triangles at the same depth the one that faces the camera is seen, then that of lowest index; and
`antialias` is `jaxrender.antialias`, whose rule for where an edge lies is nvdiffrast's but for its
tolerance of a sixteenth of a pixel. There is no limit on resolution or on triangles but the 2²⁴ ids
that a float32 holds. Tensors of float64 are taken under `jax_enable_x64`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxrender._checks import check_choice
from jaxrender._edges import number_edges
from jaxrender.torch._bridge import to_jax, torch, wrap
from jaxrender.torch._primitives import (
    LEAST_W,
    antialiased,
    attribute_slopes,
    cut_at_the_frustum,
    first_bound,
    interpolated,
    on_screen,
    sampled,
    surface_points,
    triangles_behind,
    triangles_seen,
)

__all__ = [
    "DepthPeeler",
    "RasterizeCudaContext",
    "RasterizeGLContext",
    "antialias",
    "antialias_construct_topology_hash",
    "get_log_level",
    "interpolate",
    "rasterize",
    "set_log_level",
    "texture",
    "texture_construct_mip",
]

MAX_TRIANGLES = 2**24 - 1  # whose ids float32 holds exactly
FILTERS = ("auto", "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear")
BOUNDARIES = ("wrap", "clamp", "zero", "cube")

_log_level = 1


def __dir__() -> list[str]:
    return __all__


def get_log_level() -> int:
    """The level that `set_log_level` was given; 1 at first."""
    return _log_level


def set_log_level(level: int) -> None:
    """Keeps the level; nothing here writes a log."""
    global _log_level
    _log_level = level


class RasterizeCudaContext:
    """What `rasterize` wants to be given; it holds nothing but the peeler that is at work.

    Args:
        device: any, ignored: tensors are drawn where they are.
    """

    def __init__(self, device: Any = None) -> None:
        self.active_depth_peeler: DepthPeeler | None = None


class RasterizeGLContext(RasterizeCudaContext):
    """The same under the name of the older context.

    Args:
        output_db: ignored: derivatives are always there.
        mode: ignored.
        device: ignored.
    """

    def __init__(self, output_db: bool = True, mode: str = "automatic", device: Any = None) -> None:
        super().__init__(device)

    def set_context(self) -> None:
        """Does nothing: there is no context to set."""

    def release_context(self) -> None:
        """Does nothing."""


# --- rasterize ------------------------------------------------------------------------------------


def rasterize(
    glctx: RasterizeCudaContext,
    pos: torch.Tensor,
    tri: torch.Tensor,
    resolution: Sequence[int],
    ranges: torch.Tensor | None = None,
    grad_db: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Finds the nearest triangle at each pixel, and where on it the pixel looks.

    Gradient: of u and v, and with `grad_db` of their derivatives, to `pos`, exact within the
    triangle; z/w and ids have none. For that of outlines see `antialias`.

    Args:
        glctx: a `RasterizeCudaContext` or `RasterizeGLContext`.
        pos: clip-space positions: `[B, V, 4]` of instances of one mesh, or `[V, 4]` with `ranges`.
        tri: `[T, 3]` whole numbers, the corners of triangles.
        resolution: `(H, W)`.
        ranges: `[B, 2]` whole numbers: of each picture the first triangle, and how many.
        grad_db: whether the second result has a gradient.

    Returns:
        `[B, H, W, 4]` `(u, v, z/w, id + 1)`, 0 where nothing is, and `[B, H, W, 4]` the changes per
        pixel `(du/dX, du/dY, dv/dX, dv/dY)`.

    Raises:
        ValueError: an argument is not as above.
        RuntimeError: a `DepthPeeler` is at work in this context.

    Example:
        >>> import torch, jaxrender.torch.nvdiffrast as dr
        >>> pos = torch.tensor([[[-1.0, -1.0, 0.0, 1.0], [3.0, -1.0, 0.0, 1.0], [-1.0, 3.0, 0, 1]]])
        >>> tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
        >>> rast, _ = dr.rasterize(dr.RasterizeCudaContext(), pos, tri, (1, 1))
        >>> rast
        tensor([[[[0.5000, 0.2500, 0.0000, 1.0000]]]])
    """
    _check_context(glctx)
    if glctx.active_depth_peeler is not None:
        raise RuntimeError(
            "rasterize() cannot be called while a DepthPeeler is at work in this context. Call its "
            "rasterize_next_layer(), or make another context."
        )
    scene = _Scene(pos, tri, resolution, ranges)
    return _surface(scene, scene.seen(), grad_db)


class DepthPeeler:
    """Draws one layer behind the other, in `with DepthPeeler(…) as peeler:`.

    Each layer shows what is farther than all layers before; a surface at the very depth of one
    that was seen is not.

    Args:
        glctx: as of `rasterize`, and so are the others.
        pos: likewise.
        tri: likewise.
        resolution: likewise.
        ranges: likewise.
        grad_db: likewise.

    Raises:
        ValueError: as `rasterize`.
    """

    def __init__(
        self,
        glctx: RasterizeCudaContext,
        pos: torch.Tensor,
        tri: torch.Tensor,
        resolution: Sequence[int],
        ranges: torch.Tensor | None = None,
        grad_db: bool = True,
    ) -> None:
        _check_context(glctx)
        self.raster_ctx: RasterizeCudaContext | None = glctx
        self.grad_db = grad_db
        self._scene: _Scene | None = _Scene(pos, tri, resolution, ranges)
        self._bound: jax.Array | None = None

    def __enter__(self) -> DepthPeeler:
        if self.raster_ctx is None:
            raise RuntimeError("This DepthPeeler has ended. Make another.")
        if self.raster_ctx.active_depth_peeler is not None:
            raise RuntimeError(
                "Only one DepthPeeler can be at work in a context. Make another context."
            )
        self.raster_ctx.active_depth_peeler = self
        return self

    def __exit__(self, *_: object) -> None:
        assert self.raster_ctx is not None
        self.raster_ctx.active_depth_peeler = None
        self.raster_ctx = self._scene = self._bound = None

    def rasterize_next_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next layer, as `rasterize` returns the first.

        Raises:
            RuntimeError: it is called outside of the `with` block.
        """
        if (
            self._scene is None
            or self.raster_ctx is None
            or (self.raster_ctx.active_depth_peeler is not self)
        ):
            raise RuntimeError("Call rasterize_next_layer() inside of `with DepthPeeler(…)`.")
        face, self._bound = self._scene.seen_behind(self._bound)
        return _surface(self._scene, face, self.grad_db)


class _Scene:
    """The arguments of `rasterize`, checked, with triangles that reach behind the camera cut."""

    def __init__(self, pos: Any, tri: Any, resolution: Any, ranges: Any) -> None:
        _check_tensors(pos=pos, tri=tri)
        _check_tri(tri)
        try:
            height, width = (int(size) for size in resolution)
        except (TypeError, ValueError):
            height = width = 0
        if min(height, width) < 1:
            raise ValueError(f"`resolution` must be (height, width), got {resolution!r}.")
        if pos.ndim not in (2, 3) or pos.shape[-1] != 4 or not pos.is_floating_point():
            raise ValueError(
                "`pos` must be [B, V, 4], or [V, 4] with `ranges`, of floating-point numbers, got "
                f"{list(pos.shape)} of {pos.dtype}. Pass clip-space positions (x, y, z, w)."
            )
        if pos.ndim == 2 and ranges is None:
            raise ValueError(
                "`ranges` must be given where `pos` is [V, 4], got None. Pass [[0, len(tri)]], or "
                "pos[None]."
            )
        self.pos, self.tri, self.image_size = pos, tri, (height, width)
        self.start = None  # of ranges, [B, 1]
        screen_pos, faces = to_jax((pos.detach(), tri))
        if pos.ndim == 2:
            faces = self._ranges(ranges, np.asarray(faces))
        self.dtype = np.dtype(screen_pos.dtype)
        self.views = faces.shape[0] if pos.ndim == 2 else pos.shape[0]
        self._prepare(screen_pos, faces)

    def _ranges(self, ranges: Any, tri: np.ndarray) -> np.ndarray:
        """The triangles of all pictures `[B, N, 3]`, those that are fewer filled with none."""
        _check_tensors(ranges=ranges)
        if ranges.ndim != 2 or ranges.shape[1] != 2 or ranges.is_floating_point():
            raise ValueError(
                f"`ranges` must be [B, 2] whole numbers, got {list(ranges.shape)} of "
                f"{ranges.dtype}. Pass the first triangle of each picture, and how many."
            )
        start, count = ranges.cpu().numpy().T.astype(np.int64)[..., None]
        if (start < 0).any() or (count < 0).any() or (start + count > len(tri)).any():
            raise ValueError(
                f"`ranges` must lie within the {len(tri)} triangles of `tri`, got "
                f"{ranges.tolist()}. Pass starts and counts, not ends."
            )
        self.start = start.astype(np.int32)
        step = np.arange(count.max(initial=0))[None]
        index = np.where(step < count, start + step, 0)
        return np.where((step < count)[..., None], tri[index], 0)

    def _prepare(self, pos: Any, faces: Any) -> None:
        """Finds what is drawn: `screen` and `faces`, and whose triangle each face is a part of."""
        self.screen, self.faces, self.whole = pos, faces, None
        if not faces.shape[-2] or not pos.shape[-2]:
            return
        known, corners = np.asarray(pos), np.asarray(faces)
        w, size = known[..., 3], np.abs(known).max(-1)
        if not (w <= LEAST_W * size).any():
            self.screen = _project(pos)
            return

        # Cut what reaches behind the camera, in each picture by itself, and pad to one size.
        drawn = []
        for k in range(self.views):
            own = known if known.ndim == 2 else known[k]
            tri = corners if corners.ndim == 2 else corners[k]
            drawn.append(_cut(own, tri))
        most = max(len(tri) for _, tri, _ in drawn)
        most = 1 << (most - 1).bit_length()  # few sizes, so that few programs are compiled
        vertices = max(len(screen) for screen, _, _ in drawn)
        vertices = 1 << (vertices - 1).bit_length()
        padded = [
            (_padded(screen, vertices), _padded(tri, most), _padded(whole, most))
            for screen, tri, whole in drawn
        ]
        self.screen, self.faces, self.whole = map(np.stack, zip(*padded, strict=True))

    def seen(self) -> torch.Tensor:
        """The triangle at each pixel `[B, H, W]`, counted in `tri`; -1 for none."""
        if not self.faces.shape[-2]:
            return self._nothing()
        return self._in_tri(_find(self.screen, self.faces, self.image_size))

    def seen_behind(self, bound: Any) -> tuple[torch.Tensor, Any]:
        """The next layer behind a bound, and the bound behind it."""
        if not self.faces.shape[-2]:
            return self._nothing(), bound
        if bound is None:
            bound = first_bound(self.views, self.image_size, self.dtype)
        face, bound = _find_behind(self.screen, self.faces, bound)
        return self._in_tri(face), bound

    def _nothing(self) -> torch.Tensor:
        return torch.full((self.views, *self.image_size), -1, dtype=torch.int32)

    def _in_tri(self, face: jax.Array) -> torch.Tensor:
        known = np.asarray(face)
        if known.shape[0] != self.views:
            known = np.broadcast_to(known, (self.views, *known.shape[1:]))
        if self.whole is not None:
            views = np.arange(self.views)[:, None, None]
            known = np.where(known < 0, -1, self.whole[views, np.maximum(known, 0)])
        if self.start is not None:
            known = np.where(known < 0, -1, known + self.start[..., None])
        return torch.from_numpy(np.array(known, np.int32)).to(self.pos.device)


def _cut(pos: np.ndarray, tri: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture's vertices on screen, its faces, and the triangle that each is part of."""
    inside = (tri >= 0).all(1) & (tri < len(pos)).all(1)
    corners = pos[np.where(inside[:, None], tri, 0)]
    behind = (corners[..., 3] <= LEAST_W * np.abs(corners).max(-1)).any(1) & inside
    parts, whole = cut_at_the_frustum(corners[behind], np.flatnonzero(behind))
    w = pos[:, 3:]
    screen = pos[:, :3] / np.where(w > 0, w, 1)
    added = len(pos) + np.arange(3 * len(parts)).reshape(-1, 3)
    return (
        np.concatenate([screen, parts.reshape(-1, 3)]).astype(pos.dtype),
        np.concatenate([np.where((inside & ~behind)[:, None], tri, 0), added]).astype(np.int32),
        np.concatenate([np.arange(len(tri)), whole]).astype(np.int32),
    )


def _padded(rows: np.ndarray, count: int) -> np.ndarray:
    return np.pad(rows, ((0, count - len(rows)), *((0, 0),) * (rows.ndim - 1)))


@jax.jit
def _project(pos: jax.Array) -> jax.Array:
    return on_screen(pos.reshape(-1, 4)).reshape(*pos.shape[:-1], 3)


def _axes(*arrays: Any, single: Sequence[int]) -> tuple[int | None, ...]:
    """The axes for `jax.vmap`: of batches the first, of what all share none."""
    return tuple(0 if a.ndim > n else None for a, n in zip(arrays, single, strict=True))


@functools.partial(jax.jit, static_argnums=2)
def _find(screen: Any, tri: Any, image_size: tuple[int, int]) -> jax.Array:
    axes = _axes(screen, tri, single=(2, 2))
    return jax.vmap(lambda *given: triangles_seen(*given, image_size), in_axes=axes)(screen, tri)


@jax.jit
def _find_behind(screen: Any, tri: Any, bound: Any) -> tuple[jax.Array, jax.Array]:
    axes = _axes(screen, tri, bound, single=(2, 2, 2))
    return jax.vmap(triangles_behind, in_axes=axes)(screen, tri, bound)


def _surface(scene: _Scene, face: torch.Tensor, grad_db: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(grad_db, bool):
        raise ValueError(f"`grad_db` must be True or False, got {grad_db!r}.")
    return _surface_points(scene.pos, scene.tri, face, grad_db=grad_db)


@wrap
def _surface_points(pos: Any, tri: Any, face: Any, *, grad_db: bool) -> Any:
    axes = _axes(pos, tri, face, single=(2, 2, 2))
    points = functools.partial(surface_points, grad_db=grad_db)
    return jax.vmap(points, in_axes=axes)(pos, tri, face)


# --- interpolate ----------------------------------------------------------------------------------


def interpolate(
    attr: torch.Tensor,
    rast: torch.Tensor,
    tri: torch.Tensor,
    rast_db: torch.Tensor | None = None,
    diff_attrs: Sequence[int] | str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Interpolates what vertices have.

    Gradient: exact, to `attr`, `rast` (u and v) and `rast_db`.

    Args:
        attr: `[B or 1, V, A]`, or `[V, A]`.
        rast: `[B, H, W, 4]`, the first result of `rasterize`.
        tri: `[T, 3]`.
        rast_db: `[B, H, W, 4]`, the second result.
        diff_attrs: which attributes' changes per pixel are asked for, or "all".

    Returns:
        `[B, H, W, A]`, 0 where nothing is, and `[B, H, W, 2 D]` `(dA/dX, dA/dY)` of those.

    Raises:
        ValueError: an argument is not as above.
    """
    _check_tensors(attr=attr, rast=rast, tri=tri)
    _check_tri(tri)
    _check_rast(rast)
    if attr.ndim not in (2, 3) or (attr.ndim == 3 and attr.shape[0] not in (1, rast.shape[0])):
        raise ValueError(
            f"`attr` must be [V, A], [1, V, A] or [{rast.shape[0]}, V, A], got {list(attr.shape)}."
        )
    result = _interpolated(_shared(attr, 3), rast, tri)
    if diff_attrs is None or not len(diff_attrs):
        return result, rast.new_zeros((*rast.shape[:3], 0))
    if rast_db is None:
        raise ValueError("`rast_db` must be given with `diff_attrs`, got None. Pass rasterize()'s.")
    _check_tensors(rast_db=rast_db)
    if isinstance(diff_attrs, str):
        check_choice("diff_attrs", diff_attrs, ("all",))
        chosen = attr
    else:
        index = np.asarray(diff_attrs)
        if (
            index.ndim != 1
            or index.dtype.kind not in "iu"
            or ((index < 0) | (index >= attr.shape[-1])).any()
        ):
            raise ValueError(
                f"`diff_attrs` must be 'all' or numbers below {attr.shape[-1]}, got {diff_attrs!r}."
            )
        chosen = attr[..., torch.as_tensor(index, dtype=torch.int64, device=attr.device)]
    return result, _attribute_slopes(_shared(chosen, 3), rast, tri, rast_db)


@wrap
def _interpolated(attr: Any, rast: Any, tri: Any) -> Any:
    return jax.vmap(interpolated, _axes(attr, rast, tri, single=(2, 3, 2)))(attr, rast, tri)


@wrap
def _attribute_slopes(attr: Any, rast: Any, tri: Any, rast_db: Any) -> Any:
    axes = _axes(attr, rast, tri, rast_db, single=(2, 3, 2, 3))
    return jax.vmap(attribute_slopes, axes)(attr, rast, tri, rast_db)


# --- texture --------------------------------------------------------------------------------------


def texture(
    tex: torch.Tensor,
    uv: torch.Tensor,
    uv_da: torch.Tensor | None = None,
    mip_level_bias: torch.Tensor | None = None,
    mip: Any = None,
    filter_mode: str = "auto",
    boundary_mode: str = "wrap",
    max_mip_level: int | None = None,
) -> torch.Tensor:
    """Reads a texture.

    `(0, 0)` is the lower left corner of the texture, whose row 0 is its bottom. A cube map's six
    sides are those of OpenGL, and it is smooth across their edges.

    Gradient: exact, to `tex` and, where the filter is linear, to `uv`.

    Args:
        tex: `[B or 1, h, w, C]`, or a cube map `[B or 1, 6, w, w, C]`.
        uv: `[B, H, W, 2]`, or directions `[B, H, W, 3]` into a cube map.
        uv_da: for mipmaps, which there are not; with "nearest", "linear" or `max_mip_level=0` it is
            not read.
        mip_level_bias: likewise.
        mip: likewise.
        filter_mode: "nearest", "linear", or "auto", which is "linear" if neither `uv_da` nor
            `mip_level_bias` is given.
        boundary_mode: "wrap", "clamp", "zero", or "cube" for cube maps.
        max_mip_level: 0 turns filters with mipmaps into "linear".

    Returns:
        `[B, H, W, C]`.

    Raises:
        ValueError: an argument is not as above.
        NotImplementedError: the filter needs mipmaps.
    """
    _check_tensors(tex=tex, uv=uv)
    check_choice("filter_mode", filter_mode, FILTERS)
    check_choice("boundary_mode", boundary_mode, BOUNDARIES)
    if filter_mode == "auto":
        plain = uv_da is None and mip_level_bias is None
        filter_mode = "linear" if plain else "linear-mipmap-linear"
    if "mipmap" in filter_mode and max_mip_level != 0:
        raise NotImplementedError(
            f"texture() has no mipmaps yet, which {filter_mode!r} needs. Pass filter_mode='linear' "
            "or max_mip_level=0, and draw the picture larger where the texture is fine."
        )
    cube = boundary_mode == "cube"
    rank, directions = (5, 3) if cube else (4, 2)
    batch = uv.shape[0] if uv.ndim == 4 else 1
    sizes = tex.ndim == rank and tex.shape[0] in (1, batch) and min(tex.shape[1:-1]) > 0
    if not sizes or (cube and (tex.shape[1] != 6 or tex.shape[2] != tex.shape[3])):
        wanted = "6, w, w" if cube else "h, w"
        raise ValueError(f"`tex` must be [{batch} or 1, {wanted}, C], got {list(tex.shape)}.")
    if uv.ndim != 4 or uv.shape[-1] != directions:
        raise ValueError(f"`uv` must be [B, H, W, {directions}], got {list(uv.shape)}.")
    linear = filter_mode != "nearest"
    return _sampled(_shared(tex, rank), uv, linear=linear, boundary=boundary_mode)


def texture_construct_mip(
    tex: torch.Tensor, max_mip_level: int | None = None, cube_mode: bool = False
) -> Any:
    """Raises NotImplementedError: there are no mipmaps yet."""
    raise NotImplementedError(
        "texture_construct_mip() makes mipmaps, which there are not yet. Leave it out, and pass "
        "filter_mode='linear' to texture()."
    )


@wrap
def _sampled(tex: Any, uv: Any, *, linear: bool, boundary: str) -> Any:
    read = functools.partial(sampled, linear=linear, boundary=boundary)
    single = (4 if boundary == "cube" else 3, 3)
    return jax.vmap(read, _axes(tex, uv, single=single))(tex, uv)


# --- antialias ------------------------------------------------------------------------------------


class _Topology:
    """The edges of a mesh, numbered."""

    def __init__(self, edges: np.ndarray) -> None:
        self.edges = edges


def antialias_construct_topology_hash(tri: torch.Tensor) -> _Topology:
    """Finds which triangles share edges, once for many calls of `antialias`.

    Args:
        tri: `[T, 3]`.

    Returns:
        What `antialias` takes as `topology_hash`.

    Raises:
        ValueError: `tri` is not as above.
    """
    _check_tensors(tri=tri)
    _check_tri(tri)
    return _Topology(number_edges(tri.cpu().numpy()))


def antialias(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    topology_hash: _Topology | None = None,
    pos_gradient_boost: float = 1.0,
) -> torch.Tensor:
    """Blends the colours of neighbouring pixels where a silhouette edge runs between them.

    See `jaxrender.antialias`.

    Gradient: exact, to `color` and `pos`.

    Args:
        color: `[B, H, W, C]`.
        rast: `[B, H, W, 4]`, the first result of `rasterize`.
        pos: `[B, V, 4]` or `[V, 4]`, as `rasterize` got it.
        tri: `[T, 3]`, likewise.
        topology_hash: of `tri`, from `antialias_construct_topology_hash`.
        pos_gradient_boost: by which the gradient to `pos` is multiplied.

    Returns:
        `[B, H, W, C]`.

    Raises:
        ValueError: an argument is not as above.
    """
    _check_tensors(color=color, rast=rast, pos=pos, tri=tri)
    _check_tri(tri)
    _check_rast(rast)
    if color.ndim != 4 or color.shape[:3] != rast.shape[:3]:
        raise ValueError(
            f"`color` must be {[*rast.shape[:3], 'C']} as `rast` is, got {list(color.shape)}."
        )
    if topology_hash is None:
        topology_hash = antialias_construct_topology_hash(tri)
    if not isinstance(topology_hash, _Topology):
        raise ValueError(
            f"`topology_hash` must be None or of antialias_construct_topology_hash(), got "
            f"{type(topology_hash).__name__}."
        )
    if not tri.shape[0]:
        return color
    boost = float(pos_gradient_boost)
    return _antialiased(color, rast, _shared(pos, 3), tri, topology_hash.edges, boost)


@wrap
def _antialiased(color: Any, rast: Any, pos: Any, tri: Any, edges: Any, boost: Any) -> Any:
    axes = *_axes(color, rast, pos, tri, single=(3, 3, 2, 2)), None, None
    boost = jax.numpy.asarray(boost, pos.dtype)
    return jax.vmap(antialiased, axes)(color, rast, pos, tri, edges, boost)


# --- checks ---------------------------------------------------------------------------------------


def _shared(tensor: torch.Tensor, rank: int) -> torch.Tensor:
    """A batch of one as what all pictures share."""
    return tensor[0] if tensor.ndim == rank and tensor.shape[0] == 1 else tensor


def _check_context(glctx: Any) -> None:
    if not isinstance(glctx, RasterizeCudaContext):
        raise ValueError(
            f"`glctx` must be a RasterizeCudaContext, got {type(glctx).__name__}. Pass "
            "RasterizeCudaContext()."
        )


def _check_tensors(**tensors: Any) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(
                f"`{name}` must be a torch.Tensor, got {type(tensor).__name__}. Pass "
                "torch.as_tensor(…)."
            )


def _check_tri(tri: torch.Tensor) -> None:
    if tri.ndim != 2 or tri.shape[1] != 3 or tri.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"`tri` must be [T, 3] of int32, got {list(tri.shape)} of {tri.dtype}. Pass the three "
            "corners of each triangle."
        )
    if tri.shape[0] > MAX_TRIANGLES:
        raise ValueError(
            f"`tri` must have at most {MAX_TRIANGLES:,} triangles, whose ids float32 can hold, got "
            f"{tri.shape[0]:,}."
        )


def _check_rast(rast: torch.Tensor) -> None:
    if rast.ndim != 4 or rast.shape[-1] != 4:
        raise ValueError(
            f"`rast` must be [B, H, W, 4], got {list(rast.shape)}. Pass rasterize()'s first result."
        )
