"""The soft rasteriser in forward mode: one more scan, of the tangents of all pairs.

Shapes and symbols as in `__init__.py`, and `T` tangents of the same scene. What a triangle adds to
a pixel is differentiated by JAX, at the nearest depth `m` that is known, and added up as it was.
The point of the boundary that is closest to a pixel stays where it is on its edge, as on the way
back (the envelope theorem), so each is the transpose of the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrender.ops.batching import batch_size
from jaxrender.ops.framebuffer import Framebuffer
from jaxrender.ops.sharding import match_varying_axes
from jaxrender.ops.soft.fragments import (
    barycentrics_of,
    coverage_argument,
    depth_at,
    fragments_of,
    in_range,
    is_covered,
    scaled_distance,
)
from jaxrender.ops.soft.scan import (
    PassInputs,
    gather_inputs,
    scan_scene,
    separate_call,
    set_up_scene,
)
from jaxrender.ops.soft.shader import interpolate_varyings, shade, without_holes
from jaxrender.ops.soft.softmax import drawn_weight, normalize_tangents
from jaxrender.ops.soft.structs import Blend, Residuals, Scene, Schedule, Settings, Uniforms
from jaxrender.ops.soft.triangle_setup import closest_point_barycentrics, interpolate


class Variables(NamedTuple):
    """What is differentiated, of scene and uniforms."""

    corners: jax.Array
    varyings: jax.Array
    shader_uniforms: jax.Array
    texels: jax.Array
    sigma: jax.Array
    inverse_temperature: jax.Array
    background_depth: jax.Array

    @classmethod
    def of(cls, scene: Any, uniforms: Any) -> Variables:
        """Those of a scene, or of its tangents."""
        return cls(
            *(getattr(scene, name) for name in cls._fields[:4]),
            *(getattr(uniforms, name) for name in cls._fields[4:]),
        )

    def put(self, scene: Scene, uniforms: Uniforms) -> Any:
        """Scene and uniforms with these in place of theirs."""
        values = self._asdict()
        return (
            scene._replace(**{name: values[name] for name in self._fields[:4]}),
            uniforms._replace(**{name: values[name] for name in self._fields[4:]}),
        )


def blend_tangents(
    scene: Scene,
    uniforms: Uniforms,
    blend: Blend,
    residuals: Residuals,
    tangents: Variables,
    *,
    settings: Settings,
    schedule: Schedule,
) -> Blend:
    """One scan; all arrays have a leading axis `[B or 1]`.

    Args:
        scene: as given to `blend_forward`.
        uniforms: likewise.
        blend: what that returned.
        residuals: likewise.
        tangents: of scene and uniforms, `[T, B or 1, ...]`.
        settings: what is part of the program.
        schedule: a matter of speed.

    Returns:
        The tangents of `blend`, `[T, B, ...]`; 0 of `nearest_depth`.
    """
    settings = settings._replace(block_size=schedule.forward_block)
    views = max(batch_size(scene, uniforms, blend, residuals), tangents.sigma.shape[1])
    framebuffer = Framebuffer(views, settings.image_size, settings.block_size)
    own = Variables.of(scene, uniforms)
    count, dtype = tangents.sigma.shape[0], scene.corners.dtype
    channels = settings.shader.channels if settings.shader else 0
    planes = 1 + (2 + channels if settings.shader else 0)

    # Set up the triangles' tangents.
    def floats_of(variables: Variables) -> list[jax.Array]:
        made = set_up_scene(
            *variables.put(scene, uniforms), framebuffer=framebuffer, settings=settings
        )
        return [getattr(made, name) for name in FLOATS]

    def broadcast(tangent: jax.Array, like: jax.Array) -> jax.Array:
        return jnp.broadcast_to(tangent, (count, *like.shape))

    views_of_own = jax.tree.map(
        lambda value, tangent: jnp.broadcast_to(
            value, (max(value.shape[0], tangent.shape[1]), *value.shape[1:])
        ),
        own,
        tangents,
    )
    moved = jax.tree.map(broadcast, tangents, views_of_own)
    d_floats = jax.vmap(lambda tangent: jax.jvp(floats_of, (views_of_own,), (tangent,))[1])(moved)
    setup = set_up_scene(
        *views_of_own.put(scene, uniforms), framebuffer=framebuffer, settings=settings
    )
    nearest, max_face = framebuffer.stack([blend.nearest_depth]), None
    if settings.takes_maximum:
        (max_face,) = framebuffer.stack([residuals.max_face])

    def fold(sums: jax.Array, inputs: PassInputs) -> jax.Array:
        """Adds the tangents of what the triangles of a pass add."""
        here = framebuffer.read_blocks(nearest, inputs.origin)[:, 0]
        owned = None
        if max_face is not None:
            owner = framebuffer.read_blocks(max_face, inputs.origin)
            owned = owner == inputs.face[:, None]
        added = _tangents_of_pass(inputs, here, owned, d_floats, setup, settings, schedule)
        added = jnp.moveaxis(added, 0, 1).reshape(added.shape[1], -1, added.shape[-1])
        return framebuffer.add_blocks(sums, inputs.origin, inputs.blocks.valid, added)

    zeros = jnp.zeros((count * planes, *framebuffer.size), dtype)
    zeros = match_varying_axes(zeros, (scene, blend, tangents))
    sums = scan_scene(setup, fold, zeros, schedule=schedule)
    d_sums = framebuffer.crop(sums).reshape(views, *settings.image_size, count, planes)
    d_sums = jnp.moveaxis(d_sums, 3, 0)
    if settings.shader is None:
        d_total = d_sums[..., 0]
        zero = jnp.zeros_like(d_total)
        return Blend(jnp.zeros((*zero.shape, 0), zero.dtype), zero, zero, zero, d_total, zero)
    moved_uniforms = tangents.inverse_temperature, tangents.background_depth
    return normalize_tangents(d_sums, uniforms, blend, residuals.weight_sum, *moved_uniforms)


# What of a setup is differentiated, as `gather_inputs` has it.
FLOATS = "triangles", "varyings", "shader_uniforms", "texels", "uniforms"


def _tangents_of_pass(
    inputs: PassInputs,
    nearest_depth: jax.Array,
    owned: jax.Array | None,
    d_floats: list[jax.Array],
    setup: Any,
    settings: Settings,
    schedule: Schedule,
) -> jax.Array:
    """The tangents `[T, P, n, h w]` of what fragments add."""
    # Gather the tangents of the pass's triangles as the triangles themselves.
    moved = [
        jax.vmap(lambda d, name=name: gather_inputs_of(setup, name, d, inputs))(d)
        for name, d in zip(FLOATS, d_floats, strict=True)
    ]
    trees: list[Any] = []

    def linearize(
        inputs: PassInputs, nearest_depth: jax.Array, *owned: jax.Array
    ) -> list[jax.Array]:
        def added(values: list[jax.Array]) -> jax.Array:
            changed = inputs._replace(**dict(zip(FLOATS, values, strict=True)))
            return _added(changed, nearest_depth, owned, settings)

        _, linear = jax.linearize(added, [getattr(inputs, name) for name in FLOATS])
        leaves, tree = jax.tree.flatten(linear)
        trees.append(tree)
        return leaves

    # Write out the coefficients, so that they are computed once for all tangents.
    rest = () if owned is None else (owned,)
    leaves = separate_call(linearize, inputs, nearest_depth, *rest, schedule=schedule)
    linear = jax.tree.unflatten(trees[-1], leaves)
    return jax.vmap(linear)(moved)


def gather_inputs_of(setup: Any, name: str, values: jax.Array, inputs: PassInputs) -> jax.Array:
    """What a pass has of one table of the setup, in place of that."""
    return getattr(gather_inputs(setup._replace(**{name: values}), inputs.blocks), name)


def _added(
    inputs: PassInputs, nearest_depth: jax.Array, owned: Any, settings: Settings
) -> jax.Array:
    """What fragments add to pixels `[P, n, h w]`: `g(D_j)`, `p_j`, `p_j (z_j - m)`, `p_j c_j`."""
    still, constant = jax.lax.stop_gradient(inputs), jax.lax.stop_gradient
    fragments = fragments_of(inputs, settings)
    triangle = fragments.triangle
    edges = triangle.edge_functions(fragments.x, fragments.y)
    distance_sq = None
    if settings.distance == "euclidean":
        around = constant(triangle.closest_point(fragments.x, fragments.y))
        closest = [closest_point_barycentrics(around)[:, k] for k in range(3)]
        x = fragments.x - interpolate(closest, triangle.x)
        y = fragments.y - interpolate(closest, triangle.y)
        distance_sq = x * x + y * y
    t = scaled_distance(fragments, edges, settings, distance_sq)
    barycentrics = barycentrics_of(fragments, edges, settings)
    if settings.faithful:
        barycentrics = constant(barycentrics)
    depth = depth_at(fragments, barycentrics, settings)
    t = jnp.where(in_range(fragments, constant(depth), settings), t, -jnp.inf)
    b0, b1 = barycentrics[:2]
    t = without_holes(t, still, b0, b1, settings)
    reached = t > -jnp.inf
    argument = coverage_argument(t, settings)
    generator = jnp.where(reached, settings.generator(argument), 0)  # (Liu et al. 2019, Eq. 4)
    if owned:
        generator = jnp.where(owned[0], generator, 0)
    if settings.shader is None:
        return generator[:, None]

    # Weigh and shade (Liu et al. 2019, Eq. 2 and 3); what rounding puts in front of m moves as the
    # rest.
    drawn = is_covered(t, fragments, settings) & fragments.colored
    behind = jnp.where(drawn, depth - nearest_depth, 0)
    behind = behind + constant(jnp.maximum(behind, 0) - behind)
    weight = drawn_weight(drawn, argument, behind, fragments, settings)
    varyings = interpolate_varyings(inputs, b0, b1, settings.shader)
    colors = shade(inputs, varyings, settings.shader, b0.shape)
    return jnp.stack(
        [generator, weight, weight * behind, *(weight * color for color in colors)], axis=1
    )
