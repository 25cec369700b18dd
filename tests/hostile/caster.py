"""A slow ray caster in NumPy that knows what rounding may change: which faces a pixel may show.

The rule. Pixel coordinates of corners are rounded as the rasteriser rounds them; from there all is
computed in long doubles, and beside each number stands how far the rasteriser's may be from it:
`SLACK` roundings of its dtype, of each product that goes into it. So a face covers a pixel for
sure, or perhaps, or not at all, and its depth there lies in an interval. A pixel may show a face
that perhaps covers it, if no face that does so for sure ends before that one's interval begins;
and nothing, if no face covers it for sure. Of faces with the same three corners, whose depths have
the same bits, only the one may be shown that wins ties: a front before a back, then the lowest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxrender.ops.triangle import FARTHEST, MIN_AREA, MIN_DEPTH

SLACK = 16


class Rays(NamedTuple):
    """What pixels may show."""

    allowed: np.ndarray  # [F + 1, H, W] bool; the last is nothing
    nearest: np.ndarray  # [F, H, W] the least depth that a face may have at a pixel
    farthest: np.ndarray  # [F, H, W] the largest

    @property
    def decided(self) -> np.ndarray:
        """The pixels `[H, W]` that may show one thing alone."""
        return self.allowed.sum(0) == 1

    def allows(self, face: np.ndarray) -> np.ndarray:
        """Whether a picture `[H, W]` of face ids, -1 for nothing, is one of those that may be."""
        return np.take_along_axis(
            self.allowed, np.where(face < 0, len(self.nearest), face)[None], 0
        )[0]


def cast(
    vertices: np.ndarray,
    faces: np.ndarray,
    image_size: tuple[int, int],
    near: float,
    far: float | None = None,
    *,
    perspective: bool = True,
    cull: str = "none",
) -> Rays:
    """Casts a ray through each pixel centre, at all faces of screen-space vertices `[V, 3]`."""
    height, width = image_size
    dtype, wide = vertices.dtype, np.longdouble
    slack = SLACK * wide(np.finfo(dtype).eps)

    # Round pixel coordinates as `to_pixels` does; lay out faces [F, 1] and pixels [1, P].
    half = np.array([0.5 * width, -0.5 * height, 1], dtype)
    corners = (vertices * half)[faces]
    corners[..., :2] = corners[..., :2].clip(-FARTHEST, FARTHEST)
    xs, ys, zs = (corners[:, :, axis, None].astype(wide) for axis in range(3))
    x = np.tile(np.arange(width) - (width - 1) / 2, height)[None].astype(wide)
    y = np.repeat(np.arange(height) - (height - 1) / 2, width)[None].astype(wide)

    # Measure from the end of each edge that is farther from the camera, as rounding is least there;
    # find the edge functions, and what rounding may add to them.
    order = np.argsort(-zs[..., 0], axis=1, kind="stable")
    turned = np.linalg.det(np.eye(3)[order]) < 0
    xs, ys, zs = (np.take_along_axis(axis, order[..., None], 1) for axis in (xs, ys, zs))
    edge, doubt = np.zeros((2, 3, len(faces), height * width), wide)
    for k, (a, b) in enumerate([(1, 2), (0, 2), (0, 1)]):
        dx, dy = xs[:, b] - xs[:, a], ys[:, b] - ys[:, a]
        along, beside = (y - ys[:, a]) * dx, (x - xs[:, a]) * dy
        edge[k] = (along - beside) * (-1 if k == 1 else 1)
        doubt[k] = slack * (abs(along) + abs(beside))
    (dx1, dx2), (dy1, dy2) = ([axis[:, k] - axis[:, 0] for k in (1, 2)] for axis in (xs, ys))
    area, area_doubt = dx1 * dy2 - dx2 * dy1, slack * (abs(dx1 * dy2) + abs(dx2 * dy1))
    z = zs.transpose(1, 0, 2)

    # Sort faces into those that are drawn for sure, and perhaps.
    exists = np.isfinite(corners).all((1, 2))[:, None]
    if perspective:
        exists &= (abs(z) > MIN_DEPTH).all(0)
    exists &= z.max(0) >= near
    if far is not None:
        exists &= z.min(0) <= far
    sign = np.sign(area)
    front = (area < 0) ^ turned[:, None]
    front ^= perspective & ((z < 0).sum(0) % 2 == 1)
    kept = np.ones_like(front) if cull == "none" else front == (cull == "back")
    clear = abs(area) > area_doubt + MIN_AREA
    perhaps = exists & (abs(area) > MIN_AREA - area_doubt) & (kept | ~clear)
    surely = exists & clear & kept

    # Find where they cover pixels, and how deep they are there.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        signed = edge * sign * (np.sign(z) if perspective else 1)
        surely = surely & (signed > doubt).all(0)
        perhaps = perhaps & ((signed >= -doubt).all(0) | ~clear)
        reverse = 1 / z if perspective else -z
        share = edge / area
        share_doubt = doubt / abs(area) + abs(share) * area_doubt / abs(area)
        middle = (share * reverse).sum(0)
        spread = (share_doubt * abs(reverse) + slack * abs(share * reverse)).sum(0)
        if perspective:
            least, most = 1 / (middle + spread), 1 / (middle - spread)
            most = np.where(middle > spread, most, np.inf)
            least = np.where(middle + spread > 0, least, np.inf)
        else:
            least, most = -middle - spread, -middle + spread
        least = np.where(clear, least, -np.inf)
        most = np.where(clear, most, np.inf)
    surely &= (least > near) & (True if far is None else most < far)
    perhaps &= (most > near) & (True if far is None else least < far)

    # Compare depths.
    limit = np.where(surely, most, np.inf).min(0, initial=np.inf)
    allowed = perhaps & (least <= limit)
    allowed &= ~_loses_ties(corners, front[:, 0], clear[:, 0] & kept[:, 0])[:, None]
    allowed = np.concatenate([allowed, ~surely.any(0, keepdims=True)])
    shape = (-1, height, width)
    return Rays(allowed.reshape(shape), least.reshape(shape), most.reshape(shape))


def _loses_ties(corners: np.ndarray, front: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Which faces `[F]` lie where a face lies that is drawn before them."""
    loses, best = np.zeros(len(corners), bool), {}
    for index in np.lexsort([np.arange(len(front)), ~front]):
        place = tuple(sorted(map(tuple, corners[index].tolist())))
        if drawn[index]:
            loses[index] = place in best
            best.setdefault(place, index)
    return loses
