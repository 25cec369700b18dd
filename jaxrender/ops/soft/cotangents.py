"""The cotangents of the triangles of one pass; shapes and symbols as in `__init__.py`.

Backwards through the fragments, step by step, each a call of its own whose results are written
out (see `separate_call`): locate the fragments and weigh the triangles again, as the forward
scans do; from the cotangents of the picture find those of each fragment; from those, the cotangents
of what the corners determine; and sum those over the pixels of each block. What the three corners
have is one array `[P, 3, h w]`, and their cotangents are sums over the pixels of products of two
such arrays, `Σ_s a[p, k, s] b[p, j, s]`: a third of the arrays that one for each corner would be.

A name `d_x` is the cotangent of `x`, ∂L/∂x.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.soft.fragments import (
    Fragments,
    barycentric_over_z,
    coverage_argument,
    depth_at,
    fragments_of,
    in_range,
    lowest_barycentric,
    normalize_barycentric,
    scaled_distance,
)
from jaxrender.ops.soft.scan import PassInputs, separate_call
from jaxrender.ops.soft.shader import (
    ShaderCotangents,
    corner_varyings,
    interpolate_varyings,
    shade_backward,
    without_holes,
)
from jaxrender.ops.soft.softmax import BlendedPixels, blend_weight, softmax_cotangents
from jaxrender.ops.soft.structs import Schedule, Settings
from jaxrender.ops.soft.triangle_setup import Edge, Triple, closest_point_barycentrics, interpolate


class Pixels(NamedTuple):
    """What a triangle needs of the pixels that it reaches; each `[..., pixels]`."""

    d_total: jax.Array  # G_a
    blended: BlendedPixels | None  # where there are colours


def unpack_pixels(planes: jax.Array, settings: Settings) -> Pixels:
    """Those whose leaves are the planes `[P, n, h w]`, in the order of `jax.tree.leaves`."""
    plane = [planes[:, k] for k in range(planes.shape[1])]
    if settings.shader is None:
        return Pixels(plane[0], None)
    d_color = plane[4 : 4 + settings.shader.channels]
    d_depth = plane[-1] if settings.needed.depth else None
    nearest_depth, inverse_weight_sum, mean = plane[1:4]
    blended = BlendedPixels(nearest_depth, inverse_weight_sum, mean, d_color, d_depth)
    return Pixels(plane[0], blended)


def full_sum_sizes(varying_count: int, uniform_count: int) -> tuple[int, ...]:
    """How many sums a triangle may have of xy, z, varyings, sigma, inverse temperature, uniforms.

    Its parts of what uniforms get are added up in the end: so no two triangles add to one place.
    """
    return 6, 3, 3 * varying_count, 1, 1, uniform_count


def sum_sizes(settings: Settings, varying_count: int, uniform_count: int) -> tuple[int, ...]:
    """How many of these it has, as far as somebody asks for them."""
    needed = settings.needed
    has_distance = settings.distance != "hard"
    has_colors = settings.shader is not None
    has_barycentrics = has_colors and not settings.faithful
    asked = (
        needed.corners and (has_distance or has_barycentrics),
        needed.corners and has_colors,
        needed.varyings and has_colors,
        needed.sigma and has_distance,
        needed.inverse_temperature and has_colors,
        needed.shader_uniforms and has_colors,
    )
    sizes = full_sum_sizes(varying_count, uniform_count)
    return tuple(size * bool(ask) for size, ask in zip(sizes, asked, strict=True))


def triangle_cotangents(
    inputs: PassInputs, planes: jax.Array, *, settings: Settings, schedule: Schedule
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
    """All steps.

    Args:
        inputs: of the pass.
        planes: `[P, n, h w]`, the leaves of `Pixels`.
        settings: what is part of the program.
        schedule: a matter of speed.

    Returns:
        The sums of each triangle `[P, n]`, in the order of `sum_sizes`; and the rows of the
        table of texels that fragments read, and the cotangent of each `[P, h w, C']`.
    """

    def all_steps(inputs, planes, edges, closest_point):
        def call(step, *values):
            step = functools.partial(step, settings=settings)
            return separate_call(step, inputs, *values, schedule=schedule)

        location = call(_locate, edges, closest_point)
        t, weight, depth = call(_weigh, planes, location)
        d_fragment, rows, d_taps = call(_fragment_cotangents, planes, location, t, weight, depth)
        if d_fragment is None:
            return jnp.zeros((len(t), 0), t.dtype), rows, d_taps
        d_location = call(_location_cotangents, location, t, depth, d_fragment)
        return call(_sum_blocks, location, d_location), rows, d_taps

    # Find the edges, and the closest point of the boundary.
    fragments, closest_point = fragments_of(inputs, settings), None
    edges = fragments.triangle.stacked_edges()
    if settings.distance == "euclidean":
        closest_point = fragments.triangle.closest_point(fragments.x, fragments.y)

    # Have all steps in one call: otherwise XLA lays the inputs out anew for each.
    return separate_call(all_steps, inputs, planes, edges, closest_point, schedule=schedule)


# --- the forward scans again ----------------------------------------------------------------------


class _Location(NamedTuple):
    """Where fragments are to their triangles; each `[P, 3, h w]`, one for each corner."""

    edges: jax.Array  # e_k, the edge functions
    barycentrics: jax.Array  # b_k, where varyings are looked up
    closest: jax.Array | None  # barycentrics of the closest point of the boundary

    def from_closest(self, fragments: Fragments) -> tuple[jax.Array, jax.Array]:
        """The way from the closest point of the boundary to the pixel."""
        closest, triangle = _corners(self.closest), fragments.triangle
        return (
            fragments.x - interpolate(closest, triangle.x),
            fragments.y - interpolate(closest, triangle.y),
        )


def _corners(array: jax.Array | None) -> Triple:
    """What the three corners have, one by one."""
    return [] if array is None else [array[:, k] for k in range(3)]


def _locate(
    inputs: PassInputs, edges: Edge, closest_point: jax.Array | None, *, settings: Settings
) -> _Location:
    """Edge functions and barycentrics of the fragments."""
    fragments = fragments_of(inputs, settings)
    edge_functions = edges.function_at(fragments.x[:, None], fragments.y[:, None])
    over_z, total = _over_z(fragments, edge_functions, settings)
    barycentrics = normalize_barycentric(over_z, total, settings)
    closest = None if closest_point is None else closest_point_barycentrics(closest_point)
    return _Location(edge_functions, barycentrics, closest)


def _over_z(
    fragments: Fragments, edges: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """`w⁺_k / z_k` `[P, 3, h w]`, and their sum `[P, 1, h w]`."""
    triangle = fragments.triangle
    inverse_depth = jnp.stack(triangle.inverse_depth, 1)
    over_z = barycentric_over_z(edges, inverse_depth, triangle.inverse_area[:, None], settings)
    return over_z, functools.reduce(jnp.add, _corners(over_z))[:, None]


def _weigh(
    inputs: PassInputs, planes: jax.Array, location: _Location, *, settings: Settings
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """`t`, `p_j / S` and `z_j`."""
    fragments = fragments_of(inputs, settings)
    distance_sq = None
    if location.closest is not None:
        x, y = location.from_closest(fragments)
        distance_sq = x * x + y * y
    t = scaled_distance(fragments, _corners(location.edges), settings, distance_sq)
    b0, b1, b2 = _corners(location.barycentrics)
    depth = depth_at(fragments, [b0, b1, b2], settings)
    t = jnp.where(in_range(fragments, depth, settings), t, -jnp.inf)
    t = without_holes(t, inputs, b0, b1, settings)
    blended = unpack_pixels(planes, settings).blended
    if blended is None:
        return t, None, depth
    return t, *blend_weight(fragments, t, b0, b1, blended, settings)


# --- from the picture to each fragment ------------------------------------------------------------


class _FragmentCotangents(NamedTuple):
    """Of what a fragment adds to its pixel; each `[P, h w]`, if it is needed."""

    d_argument: jax.Array  # of what coverage and generator take
    d_depth: jax.Array | None
    mean_d_barycentric: jax.Array | None  # ū = Σ_k b_k u_k, see `_from_first_corner`
    d_varyings: list[jax.Array]
    uniforms: list[jax.Array]  # what sigma and the inverse temperature get, up to a factor
    d_shader_uniforms: list[jax.Array]  # each [P, 1]


def _fragment_cotangents(
    inputs: PassInputs,
    planes: jax.Array,
    location: _Location,
    t: jax.Array,
    weight: jax.Array | None,
    depth: jax.Array,
    *,
    settings: Settings,
) -> tuple[_FragmentCotangents | None, list[jax.Array], list[jax.Array]]:
    """Backwards through the softmax, the shader, coverage and generator.

    Also the rows of the table of texels that fragments read, and the cotangent of each.
    """
    needed, shader = settings.needed, settings.shader
    d_total, blended = unpack_pixels(planes, settings)
    inverse_temperature = fragments_of(inputs, settings).uniforms.inverse_temperature
    b0, b1, b2 = _corners(location.barycentrics)

    # Go back through the weighted mean (Liu et al. 2019, Eq. 2) and its weights (Eq. 3).
    shaded = ShaderCotangents([], [], [], [], [])
    d_log_coverage = d_depth = d_log_coverage_times_behind = None
    if shader is not None and blended is not None and weight is not None:
        # ∂L/∂c_j = (p_j / S) G_c, and on through the shader.
        varyings = interpolate_varyings(inputs, b0, b1, shader)
        d_color = [weight * d_pixel for d_pixel in blended.d_color]
        shaded = shade_backward(inputs, varyings, d_color, settings)
        # q_j = ∂L/∂log D_j, and ∂L/∂z_j; and this triangle's part of -∂L/∂s.
        d_log_coverage, d_depth, d_log_coverage_times_behind = softmax_cotangents(
            weight, shaded.colors, depth, inverse_temperature, blended
        )

    # Go back through generator and coverage: ∂L/∂x = G_a g'(x) + q_j F'(x) / D_j, where x is what
    # they take (Liu et al. 2019, Eq. 1, Eq. 4). It is ∂L/∂D_j = q_j / D_j, times F'.
    argument = coverage_argument(t, settings)
    ones = jnp.ones_like(argument)
    d_argument = d_total * jax.jvp(settings.generator, (argument,), (ones,))[1]
    if d_log_coverage is not None:
        coverage, slope = jax.jvp(settings.coverage, (argument,), (ones,))
        d_argument = d_argument + d_log_coverage * slope / jnp.where(coverage > 0, coverage, 1)
    d_argument = jnp.where(t > -jnp.inf, d_argument, 0)

    # Find the mean of u_k = ∂L/∂b_k; depth and varyings are looked up at b_k, but not in SoftRas.
    mean_d_barycentric = None
    if d_depth is not None and needed.corners and not settings.faithful:
        values = _from_first_corner(inputs, settings)
        d_barycentrics = [
            _d_barycentrics(d_depth, shaded.varyings, [value[:, k] for value in values])
            for k in range(3)
        ]
        mean_d_barycentric = interpolate([b0, b1, b2], d_barycentrics)

    # Leave out what nobody asks for.
    if not any(sum_sizes(settings, len(shaded.varyings), len(shaded.uniforms))):
        return None, shaded.rows, shaded.texels
    has_varyings = needed.varyings or (
        mean_d_barycentric is not None and shader is not None and not shader.constant_per_face
    )
    uniforms = [d_argument * argument] if needed.sigma and settings.distance != "hard" else []
    if needed.inverse_temperature and d_log_coverage_times_behind is not None:
        uniforms.append(d_log_coverage_times_behind)
    d_fragment = _FragmentCotangents(
        d_argument,
        d_depth if needed.corners else None,
        mean_d_barycentric,
        shaded.varyings if has_varyings else [],
        uniforms,
        shaded.uniforms,
    )
    return d_fragment, shaded.rows, shaded.texels


def _from_first_corner(inputs: PassInputs, settings: Settings) -> list[jax.Array]:
    """Depth, and varyings that vary, of the corners `[P, 3, 1]`, less what the first has.

    Only differences between corners count, and small ones of large numbers would be rounded off.
    """
    fields = [fragments_of(inputs, settings).triangle.z]
    if settings.shader is not None and not settings.shader.constant_per_face:
        fields += map(list, zip(*corner_varyings(inputs), strict=True))
    return [jnp.stack([value - field[0] for value in field], 1) for field in fields]


def _d_barycentrics(
    d_depth: jax.Array, d_varyings: list[jax.Array], values: list[jax.Array]
) -> jax.Array:
    """`u_k = ∂L/∂b_k`, less that of the first corner, of corners that have these values."""
    d_values = [d_depth, *d_varyings][: len(values)]
    return functools.reduce(jnp.add, map(jnp.multiply, d_values, values))


# --- from each fragment to the corners ------------------------------------------------------------


class _LocationCotangents(NamedTuple):
    """Of what the corners determine at each pixel; each `[P, n, h w]`, if it is needed."""

    d_closest_point: list[jax.Array]  # x and y, each `[P, h w]`
    d_edges: jax.Array | None  # of the edge functions, n = 3
    interpolated: jax.Array | None  # ū, and the cotangents of depth and varyings
    uniforms: jax.Array | None
    d_shader_uniforms: list[jax.Array]  # each [P, 1]


def _location_cotangents(
    inputs: PassInputs,
    location: _Location,
    t: jax.Array,
    depth: jax.Array,
    d_fragment: _FragmentCotangents,
    *,
    settings: Settings,
) -> _LocationCotangents:
    """Backwards through distance and barycentrics."""
    fragments = fragments_of(inputs, settings)
    needs_corners, sigma = settings.needed.corners, fragments.uniforms.sigma

    # Move the closest point c of the boundary: t = ±|x - c|²/σ, so ∂t/∂c = ∓2 (x - c) / σ; or of
    # the root, ∂√t/∂c = ∓(x - c) / √(σ d²).
    d_closest_point = []
    if location.closest is not None and needs_corners:
        x, y = location.from_closest(fragments)
        sign = jnp.sign(t)
        rate = 2 * sign / sigma
        if not settings.squared:
            distance_sq = x * x + y * y
            rate = sign / jnp.sqrt(sigma * jnp.where(distance_sq > 0, distance_sq, 1))
        rate = jnp.where(t > -jnp.inf, rate, 0) * d_fragment.d_argument
        d_closest_point = [-rate * x, -rate * y]

    # Move the edges: with r_k = w⁺_k / z_k, b_k = r_k / Σ r, so ∂L/∂r_k = (u_k - ū) / Σ r; and
    # where the distance is the lowest barycentric, that one.
    d_edges = []
    mean_d_barycentric, d_depth = d_fragment.mean_d_barycentric, d_fragment.d_depth
    if mean_d_barycentric is not None and d_depth is not None:
        d_varyings = [d_varying[:, None] for d_varying in d_fragment.d_varyings]
        values = _from_first_corner(inputs, settings)
        d_barycentrics = _d_barycentrics(d_depth[:, None], d_varyings, values)
        _, total = _over_z(fragments, location.edges, settings)
        rate = jnp.stack(fragments.triangle.inverse_depth, 1) / jnp.where(total > 0, total, 1)
        above_mean = d_barycentrics - mean_d_barycentric[:, None]
        d_edges.append(jnp.where(location.edges > 0, above_mean * rate, 0))
    if settings.distance == "barycentric" and needs_corners:
        d_edges.append(
            _d_lowest_edge(fragments, _corners(location.edges), t, d_fragment.d_argument, settings)
        )

    # Gather what is to be weighted by the barycentrics; SoftRas interpolates 1/z.
    interpolated = [] if mean_d_barycentric is None else [mean_d_barycentric]
    if d_depth is not None:
        interpolated.append(d_depth * depth**2 if settings.faithful else d_depth)
    interpolated += d_fragment.d_varyings
    return _LocationCotangents(
        d_closest_point,
        functools.reduce(jnp.add, d_edges) if d_edges else None,
        jnp.stack(interpolated, 1) if interpolated else None,
        jnp.stack(d_fragment.uniforms, 1) if d_fragment.uniforms else None,
        d_fragment.d_shader_uniforms,
    )


def _d_lowest_edge(
    fragments: Fragments, edges: Triple, t: jax.Array, d_argument: jax.Array, settings: Settings
) -> jax.Array:
    """Of the edge functions where `t = ±w²/σ` for the lowest barycentric `w`, `[P, 3, h w]`."""
    lowest, sigma = jnp.abs(lowest_barycentric(fragments, edges)), fragments.uniforms.sigma
    rate = 2 * lowest / sigma if settings.squared else jax.lax.rsqrt(sigma)
    rate = jnp.where(t > -jnp.inf, rate, 0) * d_argument
    rate = rate * jnp.abs(fragments.triangle.inverse_area)

    # On a tie it is the first.
    first = (edges[0] <= edges[1]) & (edges[0] <= edges[2])
    second = ~first & (edges[1] <= edges[2])
    return jnp.where(jnp.stack([first, second, ~first & ~second], 1), rate[:, None], 0)


def _sum_blocks(
    inputs: PassInputs,
    location: _Location,
    d_location: _LocationCotangents,
    *,
    settings: Settings,
) -> jax.Array:
    """Sums over the pixels of each block `[P, n]`, in the order of `sum_sizes`."""
    triangle, needed = fragments_of(inputs, settings).triangle, settings.needed
    parts: list[jax.Array] = []

    # Sum d_xy. The closest point moves with its edge, so a corner gets its barycentric there.
    d_xy = []
    if d_location.d_closest_point and location.closest is not None:
        by_axis = [_contract(location.closest, d[:, None]) for d in d_location.d_closest_point]
        d_xy.append(jnp.concatenate(by_axis, -1))
    # ∂L/∂x_m = -w_m Σ_k ∂L/∂w_k ∂w_k/∂x, and ∂e_k/∂x = -dy_k, ∂e_k/∂y = dx_k.
    if d_location.d_edges is not None:
        edges, inverse_area = triangle.stacked_edges(), jnp.abs(triangle.inverse_area)[..., None]
        slopes = jnp.concatenate([edges.dy, -edges.dx], -1) * inverse_area
        products = _contract(location.edges, d_location.d_edges)[..., None]
        d_xy += [products[:, :, k] * slopes[:, k, None] for k in range(3)]
    if d_xy:
        parts.append(functools.reduce(jnp.add, d_xy))

    # Sum d_z and d_varyings: ∂L/∂a_k = b_k ∂L/∂a; and as b_k depends on the corner's own depth,
    # ∂L/∂z_k = b_k ∂L/∂z - b_k (u_k - ū) / z_k.
    if d_location.interpolated is not None:
        sums = _contract(location.barycentrics, d_location.interpolated)
        has_mean = needed.corners and not settings.faithful
        mean_d_barycentric, d_varyings = sums[..., 0], sums[..., int(has_mean) :]
        if needed.corners:
            d_z, d_varyings = d_varyings[..., 0], d_varyings[..., 1:]
            z = jnp.stack(triangle.z, 1)[..., 0]
            z = jnp.where(z == 0, 1, z)
            if settings.faithful:
                d_z = d_z / z**2
            elif settings.perspective:
                values = [value[..., 0] for value in _from_first_corner(inputs, settings)]
                of_varyings = [d_varyings[..., k] for k in range(d_varyings.shape[-1])]
                d_barycentrics = _d_barycentrics(d_z, of_varyings, values)
                d_z = d_z - (d_barycentrics - mean_d_barycentric) / z
            parts.append(d_z)
        if needed.varyings:
            parts.append(d_varyings)

    # Sum what the uniforms get.
    if d_location.uniforms is not None:
        parts.append(d_location.uniforms.sum(-1))
    parts += d_location.d_shader_uniforms
    return jnp.concatenate([part.reshape(part.shape[0], -1) for part in parts], -1)


def _contract(a: jax.Array, b: jax.Array) -> jax.Array:
    """`Σ_s a[p, i, s] b[p, j, s]`, `[P, i, j]`; as a product of matrices one core would do it."""
    return (a[:, :, None] * b[:, None]).sum(-1)
