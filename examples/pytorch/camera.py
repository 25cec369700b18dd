"""Matrices of OpenGL for the scripts beside this one."""

from __future__ import annotations

import torch


def projection(fov: float = 40.0, near: float = 0.5, far: float = 10.0) -> torch.Tensor:
    """To clip space, seen along -z, under a field of view in degrees."""
    scale = 1 / torch.tan(torch.deg2rad(torch.tensor(fov)) / 2)
    matrix = torch.zeros(4, 4)
    matrix[0, 0] = matrix[1, 1] = scale
    matrix[2, 2], matrix[2, 3] = (near + far) / (near - far), 2 * near * far / (near - far)
    matrix[3, 2] = -1
    return matrix


def moved_back(distance: float) -> torch.Tensor:
    """The world as seen from so far along +z."""
    matrix = torch.eye(4)
    matrix[2, 3] = -distance
    return matrix


def rotation(quaternion: torch.Tensor) -> torch.Tensor:
    """The rotations `[..., 3, 3]` of quaternions `(w, x, y, z)`, of any length but 0."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def to_clip(points: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Points `[V, 3]` through matrices `[B, 4, 4]`, to `[B, V, 4]`."""
    ones = torch.ones_like(points[..., :1])
    return torch.cat([points, ones], -1) @ matrices.transpose(-1, -2)


def cube() -> tuple[torch.Tensor, torch.Tensor]:
    """Corners `[8, 3]` from -1/2 to 1/2, and triangles `[12, 3]`."""
    corner = torch.arange(8)
    points = torch.stack([corner & 1, (corner >> 1) & 1, corner >> 2], -1) - 0.5
    sides = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    triangles = [t for a, b, c, d in sides for t in ((a, b, c), (a, c, d))]
    return points, torch.tensor(triangles, dtype=torch.int32)
