"""What a network must beat: the mean shape of a class, and the shape of the most alike picture.

Both are told the class, which the network is not.

Shapes: `N` objects, `M` pictures asked for, `S` pixels.
"""

import numpy as np

PIECE = 256  # pictures compared at a time


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of grids `[..., 32, 32, 32]`, two empty ones being equal: `[...]`."""
    a, b = a != 0, b != 0
    axes = (-3, -2, -1)
    union = (a | b).sum(axes)
    return np.where(union, (a & b).sum(axes) / np.maximum(union, 1), 1.0)


def mean_shape(voxels: np.ndarray) -> np.ndarray:
    """The voxels filled in a share of the objects, with the share that suits these best.

    Args:
        voxels: `[N, 32, 32, 32]` of the objects to train on.

    Returns:
        `[32, 32, 32]` bool.
    """
    known = np.asarray(voxels) != 0
    share = known.mean(0)
    candidates = [share >= limit for limit in np.arange(0.05, 1.0, 0.05)]
    return max(candidates, key=lambda shape: float(overlap(shape[None], known).mean()))


def nearest(images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The objects whose pictures are nearest, by the sum of squared differences.

    All pictures of all objects are compared, whatever the view.

    Args:
        images: `[M, 4, S, S]` uint8.
        known: `[N, 24, 4, S, S]` uint8 of the objects to train on.

    Returns:
        `[M]` their numbers.
    """
    asked = _flat(images)
    best = np.full(len(asked), np.inf, np.float32)
    found = np.zeros(len(asked), np.int64)
    step = max(PIECE // known.shape[1], 1)
    for start in range(0, len(known), step):
        # |a - k|² = |a|² - 2 a k + |k|², and the first term is the same for all.
        piece = known[start : start + step]
        flat = _flat(piece.reshape(-1, *piece.shape[2:]))
        distance = (flat**2).sum(1)[None] - 2 * asked @ flat.T
        nearer = distance.argmin(1)
        least = distance[np.arange(len(asked)), nearer]
        found = np.where(least < best, start + nearer // known.shape[1], found)
        best = np.minimum(best, least)
    return found


def _flat(images: np.ndarray) -> np.ndarray:
    """Pictures as rows of floats: colour on black, and coverage."""
    pixels = images.astype(np.float32) / 255
    pixels[:, :3] *= pixels[:, 3:]
    return pixels.reshape(len(pixels), -1)
