"""A slow, obvious rasteriser in NumPy: a ray through each pixel centre, cut with each face."""

from __future__ import annotations

import numpy as np


def cast_rays(
    vertices: np.ndarray,
    faces: np.ndarray,
    image_size: tuple[int, int],
    near: float = 0.1,
    far: float = 100.0,
    *,
    perspective: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Face `[H, W]`, barycentrics `[H, W, 3]`, depth `[H, W]`, and where they are doubtful.

    Everything is float64. A pixel is doubtful where rounding in float32 may decide otherwise:
    the ray passes close to an edge or to the near or far plane, or two faces are about as near.
    """
    height, width = image_size
    x = (2 * np.arange(width) + 1 - width) / width
    y = -(2 * np.arange(height) + 1 - height) / height
    rays = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((height, width))], -1)

    face = np.full(image_size, -1)
    barycentrics = np.zeros((*image_size, 3))
    depth = np.full(image_size, float(far))
    doubtful = np.zeros(image_size, bool)
    for index, corner_ids in enumerate(faces):
        corners = np.asarray(vertices, np.float64)[corner_ids]
        z = corners[:, 2]
        # Write the corners as points that rays (x, y, 1) t can meet; solve Σ b corner = ray t.
        lifted = np.stack([corners[:, 0], corners[:, 1], np.ones(3)], -1)
        if perspective:
            lifted = lifted * z[:, None]
        scale = np.abs(lifted).max(0).prod()
        if not np.isfinite(lifted).all() or abs(np.linalg.det(lifted)) <= 1e-11 * max(scale, 1e-9):
            continue
        over_t = rays @ np.linalg.inv(lifted)  # b / t
        if perspective:
            with np.errstate(divide="ignore"):
                distance = 1 / over_t.sum(-1)
            weights = over_t * distance[..., None]
            margin = np.abs(over_t).min(-1) / np.abs(over_t).max(-1)
        else:
            weights = over_t
            distance = weights @ z
            margin = np.abs(weights).min(-1)
        hit = (over_t >= 0).all(-1) & (distance > near) & (distance < far)
        touched = (over_t >= -1e-3 * np.abs(over_t).max(-1, keepdims=True)).all(-1)
        for plane in (near, far):
            doubtful |= touched & (np.abs(distance - plane) < 1e-4 * (1 + abs(plane)))
        in_reach = touched & (distance < depth * (1 + 1e-4) + 1e-5)
        doubtful |= in_reach & (margin < 1e-4)
        doubtful |= hit & (face >= 0) & (np.abs(distance - depth) < 1e-4 * np.abs(depth))
        nearer = hit & (distance < depth)
        face[nearer] = index
        barycentrics[nearer] = weights[nearer]
        depth[nearer] = distance[nearer]
    return face, barycentrics, depth, doubtful


def soup(seed: int, count: int, *, crossing: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Random triangles in screen space, as hostile as they come: `[V, 3]` and `[F, 3]`.

    Small and large, thin, off screen, across the image border, behind others, in front of the
    near plane, beyond the far plane, of zero area, and (`crossing`) across the camera plane.
    """
    rng = np.random.default_rng(seed)
    size = rng.choice([0.02, 0.1, 0.5, 3.0], count)[:, None, None]
    centre = rng.uniform(-1.3, 1.3, (count, 1, 2))
    xy = centre + size * rng.normal(size=(count, 3, 2))
    z = rng.uniform(0.5, 8, (count, 1)) * rng.uniform(0.7, 1.3, (count, 3))
    z[rng.random(count) < 0.05] *= 0.02  # across or before the near plane
    z[rng.random(count) < 0.05] *= 30  # across or beyond the far plane
    if crossing:
        behind = rng.random(count) < 0.1
        z[behind, rng.integers(0, 3, behind.sum())] *= -1
    flat = rng.random(count) < 0.03
    xy[flat, 1] = xy[flat, 0]
    vertices = np.concatenate([xy, z[..., None]], -1).reshape(-1, 3).astype(np.float32)
    return vertices, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
