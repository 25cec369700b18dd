"""The gradient of NMR, slowly and obviously: one face, edge, axis and scanline after the other.

Written after the rule itself (Kato et al., Neural 3D Mesh Renderer, 2018, section 3.3, as its
implementation does it), in float64, with pixel rows counted from the BOTTOM as it does.
"""

from __future__ import annotations

import numpy as np


def nmr_gradient(
    corners: np.ndarray, face: np.ndarray, image: np.ndarray, upstream: np.ndarray, eps: float
) -> np.ndarray:
    """The gradient `[F, 3, 2]` to screen x, y.

    Args:
        corners: `[F, 3, 2 or 3]` screen space.
        face: `[H, W]` what each pixel sees, -1 for nothing; row 0 is the top.
        image: `[H, W, C]`.
        upstream: `[H, W, C]`.
        eps: least distance.
    """
    height, width = face.shape
    face, image, upstream = (array[::-1] for array in (face, image, upstream))
    image, upstream = image.astype(np.float64), upstream.astype(np.float64)
    x, y = corners[..., 0].astype(np.float64), corners[..., 1].astype(np.float64)
    points = np.stack([(x * width + width - 1) / 2, (y * height + height - 1) / 2], -1)
    gradient = np.zeros_like(points)
    for index in np.unique(face[face >= 0]):
        area = (y[index, 2] - y[index, 0]) * (x[index, 1] - x[index, 0])
        area -= (y[index, 1] - y[index, 0]) * (x[index, 2] - x[index, 0])
        turn = (0, 1, 2) if area >= 0 else (2, 1, 0)
        for edge in range(3):
            a, b, c = (turn[(edge + k) % 3] for k in range(3))
            for axis in range(2):
                turned = (
                    np.swapaxes(array, 0, 1) if axis == 0 else array
                    for array in (face == index, image, upstream)
                )  # [u, v]
                own, seen, wanted = turned
                moved = _one_edge(
                    points[index][:, [axis, 1 - axis]], a, b, c, axis, own, seen, wanted, eps
                )
                gradient[index, a, 1 - axis] += moved[0]
                gradient[index, b, 1 - axis] += moved[1]
    return gradient


def _one_edge(points, a, b, c, axis, own, image, upstream, eps):
    (au, av), (bu, bv), (cu, cv) = points[a], points[b], points[c]
    lines, size = own.shape
    step = (-1 if au < bu else 1) * (1 if axis == 0 else -1)
    moved = np.zeros(2)
    first = max(np.ceil(min(au, bu)), 0)
    last = np.trunc(min(max(au, bu), lines - 1))
    for u in np.arange(first, last + 1):
        with np.errstate(all="ignore"):
            crossing = av + (bv - av) * (u - au) / (bu - au)
            if (u - au) * (u - cu) < 0:
                other = av + (cv - av) * (u - au) / (cu - au)
            else:
                other = cv + (bv - cv) * (u - cu) / (bu - cu)
        if not np.isfinite(crossing):
            continue
        inner = np.floor(crossing) if step > 0 else np.ceil(crossing)
        outer = inner + step
        if not (0 <= inner < size and 0 <= outer < size):
            continue
        limit = np.ceil(other) if step > 0 else np.floor(other)
        limit = 0 if np.isnan(limit) else np.clip(limit, -1, size)
        u, inner, outer, limit = int(u), int(inner), int(outer), int(limit)
        sweeps = []
        if own[u, inner]:
            sweeps.append((inner, range(outer, size if step > 0 else -1, step)))
        low, high = min(inner, limit), max(inner, limit)
        sweeps.append(
            (outer, [v for v in range(max(low, 0), min(high, size - 1) + 1) if own[u, v]])
        )
        for reference, pixels in sweeps:
            for v in pixels:
                delta = ((image[u, v] - image[u, reference]) * upstream[u, v]).sum()
                if delta <= 0:
                    continue
                for end, skipped in enumerate((bu, au)):
                    if skipped == u:
                        continue
                    lever = (bu - au) / ((bu - u) if end == 0 else (u - au))
                    distance = lever * (v - crossing) * 2 / size
                    distance += eps if distance > 0 else -eps
                    moved[end] -= delta / distance
    return moved
