"""`rasterize_soft`: a picture as the blend of all triangles.

Shapes: `V` vertices, `F` faces, `H, W` image, `C` channels, `K` varyings.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from jaxrender._checks import (
    check_array,
    check_background,
    check_choice,
    check_depth_range,
    check_elementwise,
    check_faces,
    check_flag,
    check_image_size,
    check_number,
    check_positive,
    is_concrete,
    warn_out_of_range,
)
from jaxrender._choices import (
    AGGREGATES_ALPHA,
    AGGREGATES_RGB,
    CULLS,
    DISTANCES,
    AlphaAggregation,
    ColorAggregation,
    Cull,
    Distance,
    Distribution,
)
from jaxrender._material import SurfaceTexture, hole_test
from jaxrender._shader import surface_of
from jaxrender._shading import Lighting, lit_at
from jaxrender._textures import Texture, channels, check_texture, encoding_of, sample_texture
from jaxrender._types import Image, Mesh, ScreenMesh, Soft, is_padding
from jaxrender._watching import Story, Watched
from jaxrender.distributions import DISTRIBUTIONS, logistic
from jaxrender.ops.clip import ClippedTriangles, clip_faces, unclipped_faces
from jaxrender.ops.hard import hard_fragments
from jaxrender.ops.hard.peel import masked_fragments
from jaxrender.ops.soft import soft_blend
from jaxrender.ops.soft.outlines import softplus
from jaxrender.ops.soft.scan import reached_pixels
from jaxrender.ops.soft.structs import (
    ALPHA_ONLY,
    DRAWN,
    NOT_DRAWN,
    Blend,
    Scene,
    Settings,
    Uniforms,
)
from jaxrender.ops.view import View
from jaxrender.tconorms import TCONORMS, TConorm, maximum

GAMMA, GAMMA_OF_FAR = 0.3, 1e-4  # what None is, in depth ranges, and where `far` is given
LEAST = 1e-30  # what a traced `sigma`, a depth range and `gamma` times it count as at least
LEAST_SHARE = 1e-15  # of a pixel, to have a depth: the square of its inverse is finite
FLAT = 1e-3  # the least range of depths, in depths; that times `gamma` is a float32's last digit
DEEPEST = 1e30  # what a depth counts as at most in a range of depths
SEARCHED = -6.0, 9.0, 4096  # powers of ten between which a distribution's blur radius is sought


# --- coverage and generator: functions of the signed distance -------------------------------------


@jax.custom_jvp
def _faithful_softplus(t: jax.Array) -> jax.Array:
    """`softplus` with SoftRas's gradient, which divides by `max(1 - D, 1e-6)`."""
    return softplus(t)


@_faithful_softplus.defjvp
def _faithful_softplus_jvp(primals, tangents):
    coverage = logistic(primals[0])
    slope = coverage * (1 - coverage) / jnp.maximum(1 - coverage, 1e-6)
    return softplus(primals[0]), slope * tangents[0]


def _is_covered(t: jax.Array) -> jax.Array:
    """1 where the logistic distribution exceeds one half, without a gradient."""
    return (t > 0).astype(t.dtype)


@jax.custom_jvp
def _faithful_is_covered(t: jax.Array) -> jax.Array:
    """The same with the gradient that SoftRas gives it: that of the coverage."""
    return _is_covered(t)


@_faithful_is_covered.defjvp
def _faithful_is_covered_jvp(primals, tangents):
    return _is_covered(primals[0]), jax.jvp(logistic, primals, tangents)[1]


@functools.cache
def _after(generator: Callable, distribution: Callable) -> Callable:
    """`x -> generator(distribution(x))`; made once, for it is static."""
    return lambda x: generator(jnp.clip(distribution(x), 0, 1))


@functools.cache
def _exceeds_half(distribution: Callable) -> Callable:
    return lambda x: (distribution(x) > 0.5).astype(x.dtype)


# --- the rasteriser -------------------------------------------------------------------------------


def check_soft(soft: Soft, prefix: str = "", *, far: jax.Array | None, dtype: DTypeLike) -> Soft:
    """Returns the settings with their numbers as scalars; `prefix` says where they stand.

    Raises:
        ValueError: one is of the wrong kind or out of range, or `faithful` without `far`.
    """
    check_choice(f"{prefix}distance", soft.distance, DISTANCES)
    check_choice(f"{prefix}aggregate_rgb", soft.aggregate_rgb, AGGREGATES_RGB)
    names = (*AGGREGATES_ALPHA, *TCONORMS)
    if not isinstance(soft.aggregate_alpha, TConorm):
        check_choice(f"{prefix}aggregate_alpha", soft.aggregate_alpha, names)
    else:
        for function in ("generator", "inverse"):
            at = f"{prefix}aggregate_alpha.{function}"
            check_elementwise(at, getattr(soft.aggregate_alpha, function))
    if not callable(soft.distribution):
        check_choice(f"{prefix}distribution", soft.distribution, tuple(DISTRIBUTIONS))
    else:
        check_elementwise(f"{prefix}distribution", soft.distribution)
    for name in ("squared", "faithful"):
        check_flag(f"{prefix}{name}", getattr(soft, name))
    if soft.faithful and (
        (soft.distribution, soft.squared) != ("logistic", True)
        or soft.aggregate_alpha not in AGGREGATES_ALPHA
    ):
        raise ValueError(
            f"`{prefix}faithful` must be False for what SoftRas does not have: it knows the "
            f"logistic distribution of squared distances and {AGGREGATES_ALPHA}, got "
            f"{soft.distribution!r}, squared={soft.squared} and {soft.aggregate_alpha!r}. "
            "Pass faithful=False."
        )
    if soft.faithful and far is None:
        raise ValueError(
            f"`far` must be a number where `{prefix}faithful` is True, for SoftRas has a depth "
            "range, got None. Pass near=1, far=100, as SoftRas does by default, or faithful=False."
        )
    default = GAMMA if far is None else GAMMA_OF_FAR
    numbers = {
        "sigma": check_positive(f"{prefix}sigma", soft.sigma, dtype),
        "gamma": check_positive(
            f"{prefix}gamma", default if soft.gamma is None else soft.gamma, dtype
        ),
        "cutoff": check_positive(f"{prefix}cutoff", soft.cutoff, dtype, below=0.5),
    }
    numbers["eps"], eps = check_number(f"{prefix}eps", soft.eps, dtype)
    if eps is not None and not 0 <= eps < 1:
        raise ValueError(
            f"`{prefix}eps` must be at least 0 and less than 1, got {eps}. Pass for example "
            f"{Soft.eps}."
        )
    fixed = ("distance", "distribution", "squared", "aggregate_rgb", "aggregate_alpha", "faithful")
    return Soft(**numbers, **{name: getattr(soft, name) for name in fixed})


def _generator(soft: Soft, distribution: Callable) -> tuple[Callable, bool]:
    """What is added up for alpha at each pixel, and whether the largest counts instead."""
    conorm = soft.aggregate_alpha
    original = distribution is logistic and soft.squared
    if conorm == "hard":
        if soft.faithful:
            return _faithful_is_covered, False
        return (_is_covered if original else _exceeds_half(distribution)), False
    if conorm == "sum":
        return distribution, False
    if conorm == "prod" and soft.faithful:
        return _faithful_softplus, False
    if conorm in ("prod", "probabilistic") and original:
        return softplus, False
    conorm = _conorm(conorm)
    if conorm == maximum:
        return distribution, True
    return _after(conorm.generator, distribution), False


def _conorm(chosen: str | TConorm) -> TConorm:
    if isinstance(chosen, TConorm):
        return chosen
    return TCONORMS["probabilistic" if chosen == "prod" else chosen]


def _alpha(total: jax.Array, soft: Soft, faces: jax.Array) -> jax.Array:
    """Alpha, from what was added up."""
    conorm = soft.aggregate_alpha
    if conorm == "hard":
        covered = jax.lax.stop_gradient(jnp.minimum(total, 1))
        return covered + (total - jax.lax.stop_gradient(total))
    if conorm == "sum":
        count = jnp.count_nonzero(~is_padding(faces))
        return total / jnp.maximum(count, 1).astype(total.dtype)
    if conorm in ("prod", "probabilistic"):
        return -jnp.expm1(-total)
    conorm = _conorm(conorm)
    return total if conorm == maximum else conorm.inverse(total)


def _blur_radius_sq(soft: Soft, distribution: Callable, cutoff: jax.Array) -> jax.Array:
    """The squared distance, over the blur, at which the coverage outside falls to the cutoff."""
    if distribution is logistic:
        radius = jnp.log(1 / cutoff - 1)
    else:
        # Take the first of many distances, which is a little more than it need be.
        start, stop, steps = SEARCHED
        tried = jnp.asarray(np.logspace(start, stop, steps), cutoff.dtype)
        tried = jnp.concatenate([jnp.zeros(1, cutoff.dtype), tried])
        radius = tried[jnp.argmax((distribution(-tried) <= cutoff).at[-1].set(True))]
    return radius if soft.squared else radius**2


def _depth_scale(
    corners: jax.Array, draw_mode: jax.Array, blur_radius_sq: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """Where depths are counted from where there is no `far`, and the range that scales them.

    With `z` the depths of the corners of all triangles that reach a pixel, the range is
    `R = max(z) - min(z)`, at least 1e-3 of their size, and depths are counted from `max(z) + R`:
    with a fixed limit the picture would change with the scene's unit. No gradient.
    """
    corners, radius_sq = jax.lax.stop_gradient((corners, blur_radius_sq))
    bounds = reached_pixels(
        corners, draw_mode == DRAWN, radius_sq[None], settings.distance, settings.image_size
    )
    drawn = ((bounds.top <= bounds.bottom) & (bounds.left <= bounds.right))[:, None]
    z = jnp.clip(corners[..., 2], -DEEPEST, DEEPEST)
    ends = jnp.where(drawn[None], jnp.stack([-z, z]), -jnp.inf).max((1, 2))
    low, high = -ends[0], ends[1]

    # Take anything where nothing is drawn, or all at a depth of 0.
    low, high = (jnp.where(low <= high, limit, 0) for limit in (low, high))
    span = jnp.maximum(high - low, FLAT * jnp.maximum(-low, high))
    span = jnp.where(span > 0, span, 1)
    return high + span, span


def blend_scene(
    screen: ScreenMesh,
    texture: Texture | None,
    light: Lighting | None,
    soft: Soft,
    view: View,
) -> Blend:
    """Blends the triangles of a scene that has been checked.

    Args:
        screen: the mesh in screen space.
        texture: of the mesh.
        light: at its corners, if any.
        soft: of `check_soft`.
        view: what is drawn.
    """
    vertices, faces = screen.vertices, screen.faces
    dtype = vertices.dtype
    sigma, gamma, eps, cutoff = (
        jnp.asarray(number, dtype) for number in (soft.sigma, soft.gamma, soft.eps, soft.cutoff)
    )
    sigma = jnp.maximum(sigma, LEAST)
    view = dataclasses.replace(view.astype(dtype), perspective=view.perspective or soft.faithful)
    near, limit = view.limits
    height = view.image_size[0]

    # Clip the faces, and choose how to draw them.
    if soft.faithful:
        # Those culled still count in alpha.
        triangles, shown = unclipped_faces(vertices, faces, view)
        draw_mode = jnp.where(shown, DRAWN, ALPHA_ONLY)
    else:
        # Cut them anew on the way back: each array that is handed on is a program to compile.
        triangles = jax.checkpoint(clip_faces, prevent_cse=False)(vertices, faces, view)
        draw_mode = DRAWN
    draw_mode = jnp.where(triangles.drawn, draw_mode, NOT_DRAWN).astype(jnp.int32)
    distribution = soft.distribution
    if not callable(distribution):
        distribution = DISTRIBUTIONS[distribution]
    if soft.distance == "hard":
        distribution = logistic
    squared = soft.squared or soft.distance == "hard"
    generator, takes_maximum = _generator(soft, distribution)

    # Lay out what the shader is given, for the triangles' corners.
    count = draw_mode.size
    shader, texels, index = None, jnp.zeros((1, 1), dtype), jnp.zeros((count, 0), jnp.int32)
    varyings, shader_uniforms = jnp.zeros((count, 3, 0), dtype), jnp.zeros(0, dtype)
    mask, colored = None, soft.aggregate_rgb == "softmax"
    if colored or (isinstance(texture, SurfaceTexture) and texture.masked):
        at_corners = soft.faithful or (light is not None and light.constant)
        light = light if colored else None
        shader, varyings, shader_uniforms, texels, index, mask = surface_of(
            texture, faces, light, dtype, at_corners=at_corners
        )
        constant = shader.constant_per_face
        varyings, index = _of_triangles(
            triangles, varyings, index, whole=soft.faithful, constant=constant
        )
    shader = shader if colored else None

    # Scale depths; distances are in pixels from here on.
    settings = Settings(
        view.image_size,
        soft.distance,
        distribution,
        squared=squared,
        reached_is_covered=distribution is logistic,
        generator=generator,
        takes_maximum=takes_maximum,
        shader=shader,
        perspective=view.perspective,
        faithful=soft.faithful,
        mask=mask,
    )
    unit = 1.0 if soft.distance == "barycentric" else (height / 2) ** 2
    radius_sq = _blur_radius_sq(soft, distribution, cutoff)
    blur_radius_sq = jax.lax.stop_gradient(sigma * unit * radius_sq)
    inverse_temperature = background_depth = jnp.ones_like(near)  # where nobody asks for depths
    if shader is not None:
        if view.far is not None:
            back, span = limit, jnp.maximum(limit - near, LEAST)
        else:
            back, span = _depth_scale(triangles.corners, draw_mode, blur_radius_sq, settings)
        # s = 1 / (R γ) (Liu et al. 2019, Eq. 3); JAX finds the way back.
        inverse_temperature = 1 / jnp.maximum(span * gamma, LEAST)
        background_depth = back - eps * (2 if soft.faithful else 1) * span

    # Blend them.
    return soft_blend(
        Scene(triangles.corners, draw_mode, varyings, shader_uniforms, texels, index),
        Uniforms(
            sigma=sigma * unit,
            inverse_temperature=inverse_temperature,
            background_depth=background_depth,
            near=near,
            far=limit,
            blur_radius_sq=blur_radius_sq,
            cutoff=cutoff,
        ),
        settings,
    )


def _of_triangles(
    triangles: ClippedTriangles,
    values: jax.Array,
    index: jax.Array,
    *,
    whole: bool,
    constant: bool,
) -> tuple[jax.Array, jax.Array]:
    """What the corners of faces have `[F, 3, K]`, for the corners of their clipped triangles."""
    if whole or triangles.drawn.size == 0:
        return values, index
    values, index = jnp.concatenate([values, values]), jnp.concatenate([index, index])
    if constant:
        return values, index
    barycentrics = triangles.barycentrics[..., None]
    return (barycentrics * values[:, None]).sum(2), index


def draw_soft(
    screen: ScreenMesh,
    texture: Texture | None,
    light: Lighting | None,
    background: jax.Array,
    soft: Soft,
    view: View,
) -> tuple[Image, jax.Array]:
    """`rasterize_soft` of a scene that has been checked; see `blend_scene`.

    Also what share of each pixel's colour and depth `[H, W]` is not the background's.
    """
    image_size = view.image_size
    count = 3 if isinstance(texture, SurfaceTexture) else channels(texture)
    nothing = jnp.asarray(view.empty_depth, screen.vertices.dtype)
    if _is_empty(screen):
        dtype, size = screen.vertices.dtype, (*image_size, count)
        image = Image(
            rgb=jnp.broadcast_to(background.astype(dtype), size),
            alpha=jnp.zeros(image_size, dtype),
            depth=jnp.broadcast_to(nothing, image_size),
            encoding=encoding_of(texture),
        )
        return image, image.alpha
    blend = blend_scene(screen, texture, light, soft, view)
    alpha = _alpha(blend.total, soft, screen.faces)
    if soft.aggregate_rgb == "hard":
        rgb, share, depth = _nearest_colors(screen, texture, light, soft, view)
        drawn = 1 - share
    elif soft.aggregate_rgb is None:
        share, drawn = jnp.ones_like(alpha), jnp.zeros_like(alpha)
        rgb = jnp.zeros((*image_size, count), alpha.dtype)
        depth = jnp.broadcast_to(nothing, image_size)
    else:
        rgb, share, drawn = blend.rgb, blend.background_weight, blend.foreground_weight
        depth = _blended_depth(blend, None if view.far is None else nothing)
    background = jnp.broadcast_to(background.astype(rgb.dtype), rgb.shape)
    rgb = rgb + share[..., None] * background
    return Image(rgb=rgb, alpha=alpha, depth=depth, encoding=encoding_of(texture)), drawn


def _blended_depth(blend: Blend, far: jax.Array | None) -> jax.Array:
    """Depth `[H, W]`: that of triangles and background, or without `far` of triangles alone."""
    nearest = jax.lax.stop_gradient(blend.nearest_depth)  # any would do, see `ops/soft`
    if far is not None:
        drawn = nearest * blend.foreground_weight + blend.behind
        return drawn + far * blend.background_weight
    weight = blend.foreground_weight
    drawn = weight > LEAST_SHARE
    return jnp.where(drawn, nearest + blend.behind / jnp.where(drawn, weight, 1), 0)


def _is_empty(screen: ScreenMesh) -> bool:
    return screen.vertices.shape[0] == 0 or screen.faces.shape[0] == 0


def soft_silhouette(
    screen: ScreenMesh, surface: Texture | None, soft: Soft, view: View
) -> jax.Array:
    """The alpha `[H, W]` of `draw_soft`, with nothing coloured; `surface` says where holes are."""
    if _is_empty(screen):
        return jnp.zeros(view.image_size, screen.vertices.dtype)
    uncolored = dataclasses.replace(soft, aggregate_rgb=None)
    blend = blend_scene(screen, surface, None, uncolored, view)
    return _alpha(blend.total, soft, screen.faces)


def _nearest_colors(
    screen: ScreenMesh,
    texture: Texture | None,
    light: Lighting | None,
    soft: Soft,
    view: View,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The colour of the nearest face `[H, W, C]`, where there is none `[H, W]`, and depth."""
    vertices, faces = screen.vertices, screen.faces
    view = view.astype(vertices.dtype)
    if soft.faithful and view.far is not None:
        # SoftRas takes corners behind the camera as they are, reads textures at the screen
        # barycentrics, and gives those no gradient. All that is linear on screen, with -1/z.
        x, y, z = jnp.moveaxis(jax.lax.stop_gradient(vertices), -1, 0)
        flat = jnp.stack([x, y, -1 / jnp.where(z == 0, LEAST, z)], -1)
        flat_view = dataclasses.replace(
            view, near=-1 / view.near, far=-1 / view.far, perspective=False
        )
        face, barycentrics, depth = hard_fragments(flat, faces, flat_view, facing_first=False)
        depth = -1 / depth
    elif isinstance(texture, SurfaceTexture) and texture.masked:
        is_hole = hole_test(texture, faces)
        face, barycentrics, depth = masked_fragments(vertices, faces, view, is_hole)
    else:
        face, barycentrics, depth = hard_fragments(vertices, faces, view)
    rgb = sample_texture(texture, faces, face, barycentrics)
    if isinstance(texture, SurfaceTexture):
        rgb = rgb[..., : 3 if texture.emissive is None else 6]
    if light is not None:
        lit = lit_at(light, rgb, face, barycentrics)
        rgb = jnp.where((face < 0)[..., None], rgb[..., :3], lit)
    return rgb, (face < 0).astype(rgb.dtype), depth


def rasterize_soft(
    screen: ScreenMesh,
    texture: Texture | None = None,
    *,
    image_size: tuple[int, int],
    sigma: ArrayLike = 1e-5,
    gamma: ArrayLike | None = None,
    near: ArrayLike = 0.1,
    far: ArrayLike | None = None,
    background: ArrayLike = 0.0,
    eps: ArrayLike = 1e-3,
    distance: Distance = "euclidean",
    aggregate_rgb: ColorAggregation | None = "softmax",
    aggregate_alpha: AlphaAggregation | TConorm = "prod",
    cutoff: ArrayLike = 1e-4,
    cull: Cull = "none",
    faithful: bool = False,
    distribution: Distribution | Callable[[jax.Array], jax.Array] = "logistic",
    squared: bool = True,
) -> Image:
    r"""Renders a mesh as the probabilistic blend of all its triangles: SoftRas.

    With `d` the distance from a pixel to the boundary of triangle `j` and `δ = +1` inside, `-1`
    outside, the triangle covers the pixel with probability (Liu et al. 2019, Eq. 1)

        Dⱼ = sigmoid(δ d² / σ)

    Colours are blended over all triangles and the background (Eq. 2-3), by coverage and by a
    softmax of depth: with `z'ⱼ = (far - zⱼ) / (far - near)`, and `z' = eps` for the background,

        rgb = Σⱼ wⱼ colourⱼ + w_b background        wⱼ ∝ Dⱼ exp(z'ⱼ / γ)        w_b ∝ exp(eps / γ)

    and likewise depth, the background's being `far`. Where `far` is None, depths are scaled by
    the range `R = z_max - z_min` of what is drawn, of the corners of all triangles in this view
    that reach a pixel, cut at `near` and not culled; it counts as at least a thousandth of their
    largest depth. Then `z'ⱼ = (z_max + R - zⱼ) / R`, from 2 for the nearest to 1 for the farthest,
    so `gamma` is a temperature in ranges, γ R in scene units; the background stands one range
    behind the farthest triangle, and `eps` moves it towards that. So the picture does not depend
    on the unit of the scene, nor on how far away it is. The depth is then that of the triangles
    alone, `Σⱼ wⱼ zⱼ / Σⱼ wⱼ`, and 0 where no triangle reaches. The coverages make the silhouette
    (Eq. 4),

        alpha = 1 - Πⱼ (1 - Dⱼ)

    Every triangle whose coverage exceeds `cutoff` counts, not the nearest few; memory does not
    grow with their number, nor with the blur. Outside of a triangle its colour and depth are
    those at its barycentrics clipped to [0, 1]. A face across the near plane is cut there; if a
    quadrilateral is left, it is drawn as two triangles. Other choices:

        distance          "euclidean"; "barycentric": `d` is the least barycentric, not on screen,
                          and has its own scale; "hard": D = 1 inside and 0 outside
        distribution      in place of the sigmoid: a name in `distributions.DISTRIBUTIONS`, or your
                          own function, elementwise, from -∞..∞ to 0..1, increasing, which JAX
                          differentiates; make it once, since another function compiles again
        squared           whether that takes δ d²/σ, as in SoftRas, or δ d/√σ, as in most of GenDR
        aggregate_rgb     "softmax"; "hard": the nearest face, as `rasterize_hard` finds it; None:
                          nothing, only alpha is drawn, which is quicker
        aggregate_alpha   "prod"; "sum": Σ D / F; "hard": 1 where some D > 1/2; the name of a
                          T-conorm in `tconorms.TCONORMS`, or a `tconorms.TConorm`

    Gradient: forward and reverse mode, once; a second derivative raises. It is the derivative of
    what is drawn, to `screen.vertices`, the texture, `sigma`, `gamma`, `near`, `far`, `eps` and
    `background`; left out are the jumps: where a coverage passes `cutoff`, a depth passes `far`,
    and in "hard" choices. `FaceTexels` jump between texels. To `cutoff` there is none. Without
    `far`, `z_max` and `R` count as constants.

    What is drawn is a blurred picture, and `gamma` says of what. At a small one, as SoftRas has it,
    the nearest triangle's colour wins as far as its blur reaches: objects look larger in front of
    others (by 6 to 74% in scenes where it was measured), and there colours hardly change when the
    edge moves. At 0.3 they do, where `sigma` blurs over a sample: the cosine to the true gradient
    was 0.92 and 0.99 at sigma 1e-4 of a 64² picture, for a cube before a wall and two blades that
    cut each other; at sigma 1e-5 it was 0.63 and 0.85 with one sample, 0.94 and 1.00 with 4 x 4,
    and at gamma 1e-4 0.86 at best, for the blades down to -0.5. The price: what lies
    behind by the fraction x of the range shows through with the weight exp(-x / 0.3), 4% of what
    is a whole range behind, 19% at half of it. For a sharp look take `gamma=1e-2` or less. Alpha
    is not concerned. `edge_gradient` and `antialias` do without any blur.

    `faithful` reproduces the arithmetic of SoftRas's CUDA code, forward and backward, and needs a
    `far`: SoftRas has near=1, far=100 (see `Soft.softras` for the rest of its defaults). There,
    alpha counts triangles outside of [near, far], and culled ones; the background has `2 eps`;
    colours are read at screen barycentrics, clipped at 1 as well; faces are not cut at `near`,
    corners behind the camera are taken as they are, and depth is never linear on screen.
    Backward, the barycentrics pass no gradient on to x and y; triangles outside of [near, far]
    get none from alpha; a "hard" alpha has that of `Σ D`; and `1 - D` counts as at least 1e-6.
    Unlike SoftRas it overflows at no `gamma`, no texel of another face is read, and faces without
    area count for nothing.

    Args:
        screen: the mesh in screen space: `vertices` `[V, 3]` (see `project`), `faces` `[F, 3]`.
        texture: what colour each face has where, with any number of channels; None is white.
        image_size: `(H, W)` in pixels; static.
        sigma: `[]` blur, in squared half image heights (barycentric: squared barycentrics);
            traced, like all numbers here: scheduling it does not recompile.
        gamma: `[]` depth temperature, in fractions of `far - near`, or without `far` of the depth
            range of what is drawn; None is 1e-4 with `far`, SoftRas's, and else 0.3.
        near: `[]` depth in front of which nothing is drawn, scene units.
        far: `[]` depth behind which nothing is drawn, scene units; None is no limit.
        background: one number, a colour `[C]`, or a picture `[H, W, C]`, in the texture's encoding.
        eps: `[]` how far in front of `far` the background counts as, in fractions of `far - near`;
            or without `far`, in front of where it stands then, in ranges. From 0, less than 1.
        distance: see above; static.
        aggregate_rgb: see above; static.
        aggregate_alpha: see above; static.
        cutoff: `[]` coverage below which a triangle does not count, less than 0.5.
        cull: "none", or which side of faces is not drawn: "back" or "front"; static. SoftRas's
            `fill_back=False` is "front": it calls the other side the front.
        faithful: see above; static.
        distribution: see above; static.
        squared: see above; static.

    Returns:
        `rgb` `[H, W, C]`, `alpha` `[H, W]` in [0, 1], `depth` `[H, W]` scene units, and the
        `encoding` of the texture.

    Raises:
        ValueError: a shape, dtype or range is not as above, a vertex is not finite, an index is
            out of range, or `faithful` is asked of what SoftRas does not have, or without `far`.
            Inside jit, where values are not known, faces with such a vertex or index, and only
            they, are not drawn. Where values are known, a warning says if the whole mesh lies
            outside of [near, far].

    Example:
        >>> import jax, jax.numpy as jnp, jaxrender as jr
        >>> corners = jnp.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.0, 0.5, 2.0]])
        >>> screen = jr.ScreenMesh(corners, jnp.array([[0, 1, 2]]))
        >>> image = jr.rasterize_soft(screen, image_size=(16, 24), sigma=1e-2)
        >>> image.rgb.shape, bool(0 < image.alpha[10, 5] < image.alpha[10, 12])
        ((16, 24, 3), True)

    References:
        Liu et al., Soft Rasterizer, ICCV 2019, arXiv:1904.01786; Petersen et al., GenDR: A
        Generalized Differentiable Renderer, CVPR 2022, arXiv:2204.13845.
    """
    if not isinstance(screen, ScreenMesh):
        raise ValueError(
            f"`screen` must be a ScreenMesh, got {type(screen).__name__}. "
            "Pass ScreenMesh(project(vertices, camera, image_size=…), faces)."
        )
    check_choice("cull", cull, CULLS)
    image_size = check_image_size(image_size)
    check_flag("screen.perspective", screen.perspective)
    vertices = check_array("screen.vertices", screen.vertices, ("V", 3), finite=True)
    faces = check_faces("screen.faces", screen.faces, vertices.shape[0])
    dtype = vertices.dtype
    near, far = check_depth_range(near, far, perspective=screen.perspective, dtype=dtype)
    if is_concrete(vertices, faces, near, far):
        warn_out_of_range(np.asarray(vertices)[:, 2], faces, near, far, stacklevel=2)
    texture = check_texture(texture, Mesh(vertices, faces))
    soft = check_soft(
        Soft(
            sigma=sigma,
            gamma=gamma,
            eps=eps,
            cutoff=cutoff,
            distance=distance,
            distribution=distribution,
            squared=squared,
            aggregate_rgb=aggregate_rgb,
            aggregate_alpha=aggregate_alpha,
            faithful=faithful,
        ),
        far=far,
        dtype=dtype,
    )
    background = check_background(background, channels(texture), image_size, dtype)
    screen = ScreenMesh(vertices, faces, screen.perspective)
    view = View(near, far, image_size, cull, screen.perspective)
    watched = Watched("rasterize_soft", lambda: Story(screen, None, view, soft))
    held = watched.enter("screen.vertices", vertices)
    texture = watched.enter("texture", texture)
    background = watched.enter("background", background)
    with jax.named_scope("rasterize"):
        drawn = dataclasses.replace(screen, vertices=held)
        image, _ = draw_soft(drawn, texture, None, background, soft, view)
    return watched.leave(image, image.alpha)
