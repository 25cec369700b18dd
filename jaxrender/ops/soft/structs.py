"""What the soft rasteriser is given, and what it keeps; symbols as in `__init__.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax

NOT_DRAWN, ALPHA_ONLY, DRAWN = 0, 1, 2  # `Scene.draw_mode`: what a triangle takes part in


class Schedule(NamedTuple):
    """How the same passes run on a kind of device; a matter of speed alone."""

    forward_block: tuple[int, int]  # a CPU scatters few large ones quicker than many small ones
    backward_block: tuple[int, int]  # the less of it lies out of a triangle's reach, the better
    blocks_per_pass: tuple[int, int]  # at least and at most
    pass_fraction: float  # of all blocks to be expected, that a pass should hold
    materialize: bool  # whether shared values are computed once, see `separate_call`
    has_kernels: bool  # whether kernels may list blocks, and do all of a scan, see `kernels.py`


SCHEDULES = {
    "cpu": Schedule((4, 16), (4, 8), (256, 1024), 0.5, materialize=True, has_kernels=True),
    "gpu": Schedule((4, 8), (4, 8), (1 << 15, 1 << 17), 4, materialize=False, has_kernels=False),
}


class Shader(NamedTuple):
    """How varyings and uniforms become colours, with two functions of lists of arrays.

    Varyings, what the corners have, are interpolated for each fragment, `[P, h w]`; uniforms, the
    same for all fragments of a view, are `[P, 1]`, as is the texture index. Both functions are
    elementwise.

    Attributes:
        channels: `C`.
        taps: `(texture_index, varyings, uniforms) -> (rows, weights)`, which rows of the table of
            texels to read and how much of each. None reads nothing.
        color: `(texel, varyings, uniforms) -> colours`. None is the texel that was read, and
            without taps the varyings themselves.
        constant_per_face: whether each triangle has the same varyings all over.
    """

    channels: int
    taps: Callable[[list, list, list], tuple[list, list]] | None = None
    color: Callable[[list, list, list], list] | None = None
    constant_per_face: bool = False


@dataclasses.dataclass(frozen=True)
class Needed:
    """What the loss depends on, and what it is to be differentiated to; the rest gets 0."""

    depth: bool = True  # whether it depends on `Blend.behind`
    corners: bool = True
    varyings: bool = True
    shader_uniforms: bool = True
    texels: bool = True
    sigma: bool = True
    inverse_temperature: bool = True

    OF_VARIABLES: ClassVar = (
        "corners",
        "varyings",
        "shader_uniforms",
        "texels",
        "sigma",
        "inverse_temperature",
    )


class Settings(NamedTuple):
    """What is part of the program.

    Attributes:
        image_size: `(H, W)`.
        distance: "euclidean", "barycentric" or "hard".
        coverage: `F`, elementwise.
        squared: whether `F` takes `t = ±d²/σ` or its root `±d/√σ`.
        reached_is_covered: whether `F` exceeds the cutoff wherever a triangle reaches, so that
            nobody need compare.
        generator: `t -> g(F(t))`, or likewise of its root; elementwise.
        takes_maximum: whether `total` is the largest generator, not their sum.
        shader: how colours are found; None blends nothing: only `total` counts.
        perspective: whether 1/z (True) or z (False) is linear on screen.
        faithful: SoftRas's arithmetic, see `rasterize_soft`.
        mask: a shader of one channel: where it is below 0 a triangle has a hole, and covers
            nothing. None: none has any.
        needed: what to differentiate.
        block_size: `(h, w)`, which the scans take from their schedule.
    """

    image_size: tuple[int, int]
    distance: str
    coverage: Callable[[jax.Array], jax.Array]
    squared: bool
    reached_is_covered: bool
    generator: Callable[[jax.Array], jax.Array]
    takes_maximum: bool
    shader: Shader | None
    perspective: bool
    faithful: bool
    mask: Shader | None = None
    needed: Needed = Needed()
    block_size: tuple[int, int] = (0, 0)


class Uniforms(NamedTuple):
    """What is traced and the same for all triangles and pixels of a view, each `[]`."""

    sigma: jax.Array  # square pixels, or squared barycentrics
    inverse_temperature: jax.Array  # s, per scene unit of depth
    background_depth: jax.Array  # z_b
    near: jax.Array  # in front of which nothing is drawn
    far: jax.Array  # behind which nothing is drawn; infinity is no limit
    blur_radius_sq: jax.Array  # how far a triangle reaches, in the unit of `sigma`
    cutoff: jax.Array  # the coverage there


class Scene(NamedTuple):
    """The triangles of a view, and what their colours are made of."""

    corners: jax.Array  # [N, 3, 3] of each corner: pixel coordinates x, y, and depth
    draw_mode: jax.Array  # [N] int32: NOT_DRAWN, ALPHA_ONLY or DRAWN
    varyings: jax.Array  # [N, 3, K] of each corner
    shader_uniforms: jax.Array  # [U] of the view
    texels: jax.Array  # [R, C'] table of all textures
    texture_index: jax.Array  # [N, I] int32 where a triangle's texels are, for `Shader.taps`


class Blend(NamedTuple):
    """The sums over all triangles at each pixel; see the top of `__init__.py`."""

    rgb: jax.Array  # [H, W, C]
    behind: jax.Array  # [H, W]
    background_weight: jax.Array  # [H, W]
    foreground_weight: jax.Array  # [H, W]
    total: jax.Array  # [H, W]
    nearest_depth: jax.Array  # [H, W] m


class Residuals(NamedTuple):
    """What the backward scan needs of the forward ones."""

    weight_sum: jax.Array  # [H, W] S
    max_face: jax.Array  # [H, W] int32, or [0, 0]: which triangle gave the largest generator
