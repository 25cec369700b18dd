"""A slow, obvious `rasterize_soft` in NumPy: face by face, every pixel; float64.

Places on screen are measured where pixels are square: half the image height is 1, `y` up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


def blend(
    vertices: np.ndarray,
    faces: np.ndarray,
    colors: np.ndarray,
    image_size: tuple[int, int],
    *,
    sigma: float,
    gamma: float,
    near: float = 1.0,
    far: float = 100.0,
    background: float = 0.0,
    eps: float = 1e-3,
    cutoff: float = 1e-4,
    distance: str = "euclidean",
    distribution: Callable[[np.ndarray], np.ndarray] = logistic,
    squared: bool = True,
    perspective: bool = True,
    cull: str = "none",
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Colour `[H, W, C]`, depth `[H, W]`, and the coverages `[H, W]` of all triangles drawn.

    Args:
        vertices: `[V, 3]` screen space.
        faces: `[F, 3]`.
        colors: `[V, C]`.
        image_size: `(H, W)`.
        sigma: blur.
        gamma: depth temperature.
        near: where faces are cut.
        far: behind which nothing is drawn.
        background: of all channels.
        eps: how near the background is.
        cutoff: the coverage below which a triangle does not count.
        distance: "euclidean", "barycentric" or "hard".
        distribution: from the signed distance to the coverage.
        squared: whether it takes the square of that.
        perspective: whether 1/z or z is linear on screen.
        cull: which side is not drawn.
    """
    height, width = image_size
    x = (2 * np.arange(width) + 1 - width) / height
    y = -(2 * np.arange(height) + 1 - height) / height
    pixels = np.stack(np.broadcast_arrays(x[None], y[:, None]), -1)

    # Find coverage, depth and colour of each triangle at each pixel.
    seen = []
    for corner_ids in faces:
        face = np.array(vertices, np.float64)[corner_ids]
        face[:, 0] *= width / height
        paint = np.array(colors, np.float64)[corner_ids]
        for triangle, shares in cut(face, near, perspective):
            if doubled_area(triangle) == 0:
                continue
            if (cull == "back" and doubled_area(triangle) < 0) or (
                cull == "front" and doubled_area(triangle) > 0
            ):
                continue
            inside, apart, weights = look(triangle, pixels, distance)
            signed = np.where(inside, 1, -1) * (apart**2 / sigma if squared else apart / sigma**0.5)
            coverage = inside * 1.0 if distance == "hard" else distribution(signed)
            over = weights / triangle[:, 2] if perspective else weights
            barycentrics = over / over.sum(-1, keepdims=True)
            depth = barycentrics @ triangle[:, 2]
            coverage = np.where((coverage > cutoff) & (depth <= far), coverage, 0)
            seen.append((coverage, depth, barycentrics @ (shares @ paint)))

    # Blend them by coverage and depth, the background last.
    empty = np.zeros(image_size)
    seen.append((empty + 1, empty + far - eps * (far - near), empty[..., None] + background))
    coverages, depths = (np.stack([part[k] for part in seen]) for k in (0, 1))
    nearest = np.where(coverages > 0, depths, np.inf).min(0)
    exponents = (nearest - depths) / (far - near) / gamma
    weights = coverages * np.exp(np.where(coverages > 0, exponents, 0))
    weights /= weights.sum(0)
    rgb = sum(weight[..., None] * part[2] for weight, part in zip(weights, seen, strict=True))
    depths[-1] = far
    return rgb, (weights * depths).sum(0), list(coverages[:-1])


def look(
    triangle: np.ndarray, pixels: np.ndarray, distance: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether pixels lie inside, how far from the boundary, and the clipped barycentrics there."""
    lifted = np.concatenate([triangle[:, :2], np.ones((3, 1))], -1)
    ones = np.ones((*pixels.shape[:-1], 1))
    barycentrics = np.concatenate([pixels, ones], -1) @ np.linalg.inv(lifted)
    inside = (barycentrics > 0).all(-1)
    apart = np.full(pixels.shape[:-1], np.inf)
    if distance == "barycentric":
        apart = np.abs(barycentrics.min(-1))
    else:
        for k in range(3):
            start, end = triangle[k, :2], triangle[(k + 1) % 3, :2]
            along = (pixels - start) @ (end - start) / ((end - start) ** 2).sum()
            closest = start + np.clip(along, 0, 1)[..., None] * (end - start)
            apart = np.minimum(apart, np.linalg.norm(pixels - closest, axis=-1))
    clipped = np.maximum(barycentrics, 0)
    return inside, apart, clipped / clipped.sum(-1, keepdims=True)


def doubled_area(triangle: np.ndarray) -> float:
    """Positive where it is counter-clockwise to the eye."""
    (ax, ay), (bx, by) = triangle[1:, :2] - triangle[0, :2]
    return ax * by - ay * bx


def cut(face: np.ndarray, near: float, perspective: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """The triangles of a face `[3, 3]` in front of the near plane, and their barycentrics in it.

    A quadrilateral is split from the first of the corners in front, in the order of the face after
    the one that is behind, to the cut of the edge between the one behind and the other in front.
    """
    identity = np.eye(3)
    in_front = face[:, 2] >= near
    if in_front.all():
        return [(face, identity)]
    if not in_front.any():
        return []
    alone = int(np.flatnonzero(in_front == (in_front.sum() == 1))[0])
    order = [alone, (alone + 1) % 3, (alone + 2) % 3]

    def crossing(start: int, end: int) -> np.ndarray:
        t = (near - face[start, 2]) / (face[end, 2] - face[start, 2])
        return (1 - t) * identity[start] + t * identity[end]

    first, one, other = (identity[k] for k in order)
    cut_one, cut_other = crossing(order[0], order[1]), crossing(order[0], order[2])
    pieces = [[first, cut_one, cut_other]]
    if in_front.sum() == 2:
        pieces = [[one, other, cut_other], [one, cut_other, cut_one]]
    triangles = []
    for shares in map(np.array, pieces):
        # Interpolate where things are straight: in space.
        space = face.copy()
        if perspective:
            space[:, :2] *= face[:, 2:]
        triangle = shares @ space
        if perspective:
            triangle[:, :2] /= triangle[:, 2:]
        triangles.append((triangle, shares))
    return triangles
