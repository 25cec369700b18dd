"""How the faces of a mesh hang together, in NumPy, for known faces.

Shape legend: `V` vertices, `F` faces, `E` edges.
"""

from __future__ import annotations

import numpy as np


def quarter_faces(faces: np.ndarray, vertex_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts every face in four at the middles of its edges; faces that share an edge share its.

    With the corners a, b, c of a face, and the middle ab of a and b, its quarters are

        (a, ab, ca)    (b, bc, ab)    (c, ca, bc)    (ab, bc, ca)

    Args:
        faces: `[F, 3]` vertex indices.
        vertex_count: `V`; new vertices are numbered from there on.

    Returns:
        the ends `[E, 2]` of the edges, in the order of their middles, and faces `[4 F, 3]`.
    """
    # Give each edge one new vertex; a packed key sorts fast.
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).astype(np.int64), axis=1)
    keys, middle = np.unique(sides[:, 0] * vertex_count + sides[:, 1], return_inverse=True)
    ends = np.stack(np.divmod(keys, max(vertex_count, 1)), axis=-1)

    a, b, c = faces.T
    ab, bc, ca = middle.reshape(-1, 3).T + vertex_count
    quarters = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    split = np.stack([np.stack(quarter, axis=-1) for quarter in quarters], axis=1)
    return ends, split.reshape(-1, 3)
