"""What the soft rasteriser is given, and what it keeps; symbols as in `soft.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax

NOT_DRAWN, ALPHA_ONLY, DRAWN = 0, 1, 2  # what a triangle takes part in


class Schedule(NamedTuple):
    """How the same passes run on a kind of device; a matter of speed alone."""

    forward: tuple[int, int]  # window; a CPU scatters few large ones quicker than many small ones
    backward: tuple[int, int]  # the less of it lies out of a triangle's reach, the better
    slots: tuple[int, int]  # windows in a pass, at least and at most
    share: float  # of the windows to be expected, that a pass should hold
    staged: bool  # whether what many results need is written out first


SCHEDULES = {
    "cpu": Schedule((4, 16), (4, 8), (256, 1024), 0.5, staged=True),
    "gpu": Schedule((4, 8), (4, 8), (1 << 15, 1 << 17), 4, staged=False),
}


class Paint(NamedTuple):
    """How attributes become colours, with two functions of lists of arrays `[P, h w]`.

    Attributes:
        channels: `C`.
        taps: `(places, attributes) -> (rows, weights)`, which rows of the table to read and how
            much of each; `places` are integers of the triangle. None reads nothing.
        mix: `(texel, attributes) -> colours`, elementwise. None is the attributes themselves.
        flat: whether each triangle has the same attributes all over.
    """

    channels: int
    taps: Callable[[list[jax.Array], list[jax.Array]], tuple[list, list]] | None = None
    mix: Callable[[list[jax.Array], list[jax.Array]], list[jax.Array]] | None = None
    flat: bool = False


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the loss depends on, and what it is to be differentiated to; the rest gets 0.

    Part of the program, also among what the forward scans keep.
    """

    depth: bool = True  # whether it depends on `Blend.behind`
    corners: bool = True
    attributes: bool = True
    table: bool = True
    sigma: bool = True
    sharpness: bool = True


class Settings(NamedTuple):
    """What is part of the program.

    Attributes:
        image_size: `(H, W)`.
        distance: "euclidean", "barycentric" or "hard".
        coverage: `F`, elementwise.
        squared: whether `F` takes `t = ±d²/σ` or its root `±d/√σ`.
        sure: whether `F` exceeds any cutoff everywhere inside.
        tally: `t -> g(F(t))`, or likewise of its root; elementwise.
        highest: whether `total` is the largest, not the sum.
        paint: how colours are found; None blends nothing: only `total` counts.
        perspective: whether 1/z (True) or z (False) is linear on screen.
        faithful: SoftRas's arithmetic, see `rasterize_soft`.
        wanted: what to differentiate.
        window: `(h, w)`, which the scans take from their schedule.
    """

    image_size: tuple[int, int]
    distance: str
    coverage: Callable[[jax.Array], jax.Array]
    squared: bool
    sure: bool
    tally: Callable[[jax.Array], jax.Array]
    highest: bool
    paint: Paint | None
    perspective: bool
    faithful: bool
    wanted: Wanted = Wanted()
    window: tuple[int, int] = (0, 0)


class Scales(NamedTuple):
    """What is traced, each `[]`, one for each view."""

    sigma: jax.Array  # square pixels, or squared barycentrics
    sharpness: jax.Array  # s, per scene unit of depth
    floor: jax.Array  # z_b, depth of the background
    near: jax.Array  # in front of which nothing is drawn
    far: jax.Array  # behind which nothing is drawn; infinity is no limit
    reach: jax.Array  # how far a triangle reaches, as `sigma`
    cutoff: jax.Array  # the coverage there


class Scene(NamedTuple):
    """What is drawn."""

    corners: jax.Array  # [N, 3, 3] of each corner: pixel coordinates x, y, and depth
    part: jax.Array  # [N] int32: NOT_DRAWN, ALPHA_ONLY or DRAWN
    attributes: jax.Array  # [N, 3, K] of each corner
    table: jax.Array  # [R, C'] texels
    places: jax.Array  # [N, I] int32 what `Paint.taps` needs of a triangle


class Blend(NamedTuple):
    """The sums of all triangles at each pixel; see the top of the file."""

    rgb: jax.Array  # [H, W, C]
    behind: jax.Array  # [H, W]
    background: jax.Array  # [H, W]
    foreground: jax.Array  # [H, W]
    total: jax.Array  # [H, W]
    nearest: jax.Array  # [H, W] m


class Saved(NamedTuple):
    """What the backward scan needs of the forward ones."""

    norm: jax.Array  # [H, W] S
    winner: jax.Array  # [H, W] int32, or [0, 0]: which triangle gave the highest tally
