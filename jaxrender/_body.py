"""A small human body, made here: its surface, joints, skinning weights and measures.

The surface is the zero level of a distance to limbs that melt into each other. Surface nets
find it on a grid: one vertex in each cell that it crosses, one quad around each edge of the grid
that it cuts (Gibson, Constrained Elastic Surface Nets, MICCAI 1998). Weights are the heat that
bones give to the skin around them (Baran and Popović, Automatic Rigging and Animation of 3D
Characters, SIGGRAPH 2007).

All is NumPy on the host: metres, `y` up from the floor at 0, facing `+z`, the left hand at `+x`.

Shape legend: `V` vertices, `Q` quads, `F` faces, `J` joints, `S` shape parameters, `P` points.
"""

from __future__ import annotations

import functools

import numpy as np

HEIGHT = 1.7  # from the floor to the top of the head

# Each joint's parent and place; a parent comes before its children.
JOINTS = {
    "pelvis": ("", (0, 0.93, 0)),
    "left hip": ("pelvis", (0.09, 0.885, 0)),
    "right hip": ("pelvis", (-0.09, 0.885, 0)),
    "left knee": ("left hip", (0.115, 0.49, 0.005)),
    "right knee": ("right hip", (-0.115, 0.49, 0.005)),
    "left ankle": ("left knee", (0.135, 0.08, -0.025)),
    "right ankle": ("right knee", (-0.135, 0.08, -0.025)),
    "spine": ("pelvis", (0, 1.06, 0)),
    "chest": ("spine", (0, 1.22, -0.01)),
    "neck": ("chest", (0, 1.43, -0.015)),
    "head": ("neck", (0, 1.51, 0)),
    "left shoulder": ("chest", (0.17, 1.38, -0.018)),
    "right shoulder": ("chest", (-0.17, 1.38, -0.018)),
    "left elbow": ("left shoulder", (0.43, 1.375, -0.025)),
    "right elbow": ("right shoulder", (-0.43, 1.375, -0.025)),
    "left wrist": ("left elbow", (0.68, 1.37, -0.005)),
    "right wrist": ("right elbow", (-0.68, 1.37, -0.005)),
}

# Where the bones end that lead to no further joint.
TIPS = {
    "head": (0, 1.66, 0.01),
    "left wrist": (0.845, 1.364, 0.003),
    "right wrist": (-0.845, 1.364, 0.003),
    "left ankle": (0.157, 0.03, 0.15),
    "right ankle": (-0.157, 0.03, 0.15),
}

# Each limb's widths along x, y and z, then the points (x, y, z) of its middle line, each with
# its radius, for widths 1. What is on the left here is on both sides.
LIMBS = {
    "trunk": (
        (1.42, 1, 1),
        *[(0, 0.88, -0.005, 0.098), (0, 0.92, -0.005, 0.111), (0, 0.97, 0, 0.11)],
        *[(0, 1.03, 0.003, 0.1), (0, 1.09, 0.006, 0.096), (0, 1.15, 0.008, 0.1)],
        *[(0, 1.23, 0.008, 0.111), (0, 1.3, 0, 0.112), (0, 1.36, -0.01, 0.094)],
        (0, 1.4, -0.018, 0.06),
    ),
    "neck": (
        (1, 1, 1),
        *[(0, 1.38, -0.02, 0.06), (0, 1.45, -0.012, 0.053), (0, 1.53, 0.005, 0.05)],
    ),
    "skull": ((0.82, 1.05, 1), (0, 1.605, -0.005, 0.1)),
    "face": ((0.9, 1, 1), (0, 1.585, 0.04, 0.065), (0, 1.53, 0.055, 0.042)),
    "nose": ((1, 1, 1), (0, 1.59, 0.105, 0.008), (0, 1.565, 0.118, 0.016)),
    "left trapezius": ((1, 1, 1), (0.02, 1.45, -0.025, 0.04), (0.15, 1.4, -0.02, 0.05)),
    "left arm": (
        (1, 1, 1),
        *[(0.08, 1.36, -0.015, 0.06), (0.175, 1.378, -0.018, 0.066), (0.23, 1.378, -0.02, 0.056)],
        *[(0.31, 1.376, -0.022, 0.05), (0.43, 1.375, -0.025, 0.041), (0.5, 1.374, -0.02, 0.044)],
        *[(0.56, 1.373, -0.015, 0.041), (0.68, 1.37, -0.005, 0.03)],
    ),
    "left hand": (
        (1, 0.62, 1),
        *[(0.67, 1.37, -0.005, 0.036), (0.75, 1.368, 0, 0.05), (0.845, 1.364, 0.003, 0.034)],
    ),
    "left thumb": ((1, 1, 1), (0.71, 1.366, 0.03, 0.024), (0.765, 1.36, 0.085, 0.022)),
    "left leg": (
        (1, 1, 1),
        *[(0.088, 0.9, 0, 0.09), (0.098, 0.8, 0.003, 0.083), (0.107, 0.65, 0.005, 0.069)],
        *[(0.115, 0.49, 0.008, 0.054), (0.118, 0.43, -0.005, 0.055), (0.12, 0.36, -0.016, 0.057)],
        *[(0.127, 0.22, -0.022, 0.045), (0.135, 0.09, -0.025, 0.037)],
    ),
    "left buttock": ((1, 1, 1), (0.07, 0.905, -0.045, 0.084)),
    "left foot": (
        (1.15, 0.9, 1),
        *[(0.135, 0.042, -0.045, 0.042), (0.147, 0.036, 0.09, 0.038), (0.157, 0.03, 0.15, 0.03)],
    ),
}
MELT = 0.014  # how far from each other limbs melt together

WARMTH = 1.1  # how far heat spreads along the skin, in distances from there to the bone

# By how much one unit of each shape parameter changes the body.
TALLER = 0.05  # of all lengths
STOUTER = {  # metres outwards, where a joint moves the skin; elsewhere 0.002
    **{"pelvis": 0.014, "spine": 0.016, "chest": 0.012, "neck": 0.006},
    **{"shoulder": 0.008, "elbow": 0.005, "hip": 0.01, "knee": 0.005},
}
LONGER = 0.04  # metres


@functools.lru_cache(maxsize=4)
def make_body(resolution: int) -> dict[str, np.ndarray]:
    """The arrays of a body model by the names of its fields, the pelvis at the origin.

    Args:
        resolution: cells of the grid along the height.
    """
    cell, names = HEIGHT / resolution, list(JOINTS)
    joints = np.array([place for _, place in JOINTS.values()], float)
    vertices, quads = _surface_net(cell)
    edges = _edges(quads)
    vertices = _relax(vertices, edges)
    faces = _cut(vertices, quads)
    weights = _heat(vertices, edges, cell)
    return {
        "template": vertices - joints[0],
        "faces": faces,
        "shape_directions": _shape_directions(vertices, faces, edges, weights),
        "pose_directions": np.zeros((*vertices.shape, 9 * (len(names) - 1))),
        "joint_regressor": _regressor(vertices, joints),
        "weights": weights,
        "parents": np.array([names.index(up) if up else -1 for up, _ in JOINTS.values()]),
    }


# --- the surface ------------------------------------------------------------------------------


def _distance(points: np.ndarray) -> np.ndarray:
    """Roughly how far points `[P, 3]` are outside the body `[P]`; negative inside."""
    # Let near limbs melt: -m log Σ exp(-d / m) is a smooth minimum of their distances d.
    total = np.zeros(len(points))
    for name, (widths, *line) in LIMBS.items():
        for side in (1, -1) if name.startswith("left") else (1,):
            places = np.array(line)[:, :3] * (side, 1, 1) / widths
            radii = np.array(line)[:, 3]
            d = _line_distance(points / np.array(widths), places, radii)
            total += np.exp(-np.clip(d, -0.3, 0.3) / MELT)
    return -MELT * np.log(total)


def _line_distance(points: np.ndarray, places: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """How far points are outside a line of tapered pieces; one place alone is a ball."""
    if len(places) == 1:
        return np.linalg.norm(points - places[0], axis=1) - radii[0]
    nearest = np.full(len(points), np.inf)
    for a, b, ra, rb in zip(places[:-1], places[1:], radii[:-1], radii[1:], strict=True):
        t, gap = _bone_distance(points, a, b)
        nearest = np.minimum(nearest, gap - (ra + (rb - ra) * t))
    return nearest


def _bone_distance(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """Where on the way from a to b points are nearest to it, in [0, 1], and how far away."""
    t = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return t, np.linalg.norm(points - a - t[:, None] * (b - a), axis=1)


def _surface_net(cell: float) -> tuple[np.ndarray, np.ndarray]:
    """A vertex `[V, 3]` for each cell that the surface crosses, and the quads `[Q, 4]`."""
    # Lay a grid around the body, with its symmetry, and ask at each point what is inside.
    sizes = np.ceil(np.array([0.95, HEIGHT / 2 + 0.1, 0.25]) / cell).astype(int)
    ticks = [cell * np.arange(-size, size + 1) for size in sizes]
    ticks[1] += HEIGHT / 2
    grid = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1)
    inside = _fill(_distance(grid.reshape(-1, 3)).reshape(grid.shape[:3]) < 0)

    # Number the cells with corners of both kinds.
    corners = np.lib.stride_tricks.sliding_window_view(inside, (2, 2, 2)).sum((3, 4, 5))
    crossed = (corners > 0) & (corners < 8)
    ids = np.cumsum(crossed).reshape(crossed.shape) - 1
    vertices = grid[:-1, :-1, :-1][crossed] + cell / 2

    # Join the four cells around each edge along axis a that is cut. Seen from where the axis
    # points to, they are counter-clockwise: outwards, if the edge leaves the body.
    quads = []
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        here, cells = inside.transpose(axes)[:, 1:-1, 1:-1], ids.transpose(axes)
        around = (cells[:, :-1, :-1], cells[:, 1:, :-1], cells[:, 1:, 1:], cells[:, :-1, 1:])
        rings = np.stack(around, axis=-1)
        quads += [rings[here[:-1] & ~here[1:]], rings[here[1:] & ~here[:-1], ::-1]]
    return vertices, np.concatenate(quads)


def _fill(inside: np.ndarray) -> np.ndarray:
    """Fills the squares of the grid that have the body at two opposite corners only.

    There the net would have an edge with four quads. Filling one can make another.
    """
    while True:
        filled = inside.copy()
        for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            old, new = inside.transpose(axes), filled.transpose(axes)
            a, b, c, d = old[:-1, :-1], old[1:, :-1], old[1:, 1:], old[:-1, 1:]
            crossed = (a == c) & (b == d) & (a != b)
            for corner in (new[:-1, :-1], new[1:, :-1], new[1:, 1:], new[:-1, 1:]):
                corner |= crossed
        if (filled == inside).all():
            return inside
        inside = filled


def _edges(quads: np.ndarray) -> np.ndarray:
    """Each edge in both directions `[2, 2 E]`."""
    # Two quads share an edge and name it in opposite directions, so each is here twice.
    return np.stack([quads.ravel(), np.roll(quads, -1, axis=1).ravel()])


def _neighbour_mean(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The mean of `[V, n]` values over each vertex's neighbours."""
    start, end = edges
    sums = [np.bincount(start, column[end], len(values)) for column in values.T]
    return np.stack(sums, axis=1) / np.bincount(start, minlength=len(values))[:, None]


def _relax(vertices: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Pulls the vertices to the surface, and spreads them evenly over it."""
    step, rounds = 1e-5, 16
    for k in range(rounds):
        # Measure the distance d and its slope g.
        ahead = np.concatenate([vertices, *(vertices + step * axis for axis in np.eye(3))])
        d, *there = _distance(ahead).reshape(4, -1)
        g = (np.stack(there, axis=1) - d[:, None]) / step
        g2 = np.maximum((g * g).sum(1), 0.1)

        # Take a step of Newton's method, and, but for the last rounds, one along the surface
        # towards the neighbours' mean.
        move = (_neighbour_mean(vertices, edges) - vertices) * (0.5 if k < rounds - 3 else 0)
        vertices = vertices + move - g * (((g * move).sum(1) + d) / g2)[:, None]
    return vertices


def _cut(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Cuts each quad along its shorter diagonal: triangles `[F, 3]`."""
    a, b, c, d = np.moveaxis(vertices[quads], 1, 0)
    turn = np.linalg.norm(a - c, axis=1) > np.linalg.norm(b - d, axis=1)
    quads = np.where(turn[:, None], np.roll(quads, -1, axis=1), quads)
    return quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


# --- how it moves -----------------------------------------------------------------------------


def _heat(vertices: np.ndarray, edges: np.ndarray, cell: float) -> np.ndarray:
    """Skinning weights `[V, J]`: how warm each joint's bones make the skin."""
    # Find the bone nearest to each vertex. The way to a joint moves with the joint's parent.
    names = list(JOINTS)
    bones = [(up, JOINTS[up][1], place) for up, place in JOINTS.values() if up]
    bones += [(name, JOINTS[name][1], tip) for name, tip in TIPS.items()]
    gaps = np.stack([_bone_distance(vertices, np.array(a), np.array(b))[1] for _, a, b in bones])
    nearest = gaps.argmin(0)
    owner = np.array([names.index(name) for name, _, _ in bones])[nearest]
    source = np.eye(len(names))[owner]

    # Let the bone warm its skin, and the warmth spread: in the steady state h (source - w) is
    # what flows away, the difference of w to its neighbours' mean. The rows go on summing to 1.
    h = (cell / (WARMTH * gaps.min(0)))[:, None] ** 2
    weights = source
    for _ in range(round(8 / cell)):
        weights = (_neighbour_mean(weights, edges) + h * source) / (1 + h)
    return weights / weights.sum(1, keepdims=True)


def _shape_directions(
    vertices: np.ndarray, faces: np.ndarray, edges: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """How each vertex moves with each of the shape parameters `[V, 3, S]`."""
    tall = TALLER * (vertices - JOINTS["pelvis"][1])

    # Move outwards along the normals, smoothed: in folds they differ much.
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normals = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(normals, corner, np.cross(b - a, c - a))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    thickness = weights @ [STOUTER.get(name.split()[-1], 0.002) for name in JOINTS]
    stout = normals * thickness[:, None]
    for _ in range(6):
        stout = _neighbour_mean(stout, edges)

    # Stretch what lies between two joints, and carry along what lies beyond.
    def along(axis: int, start: str, end: str) -> np.ndarray:
        low, high = abs(JOINTS[start][1][axis]), abs(JOINTS[end][1][axis])
        moved = np.zeros_like(vertices)
        t = np.clip((np.abs(vertices[:, axis]) - low) / (high - low), 0, 1)
        moved[:, axis] = LONGER * t * np.sign(high - low) * np.sign(vertices[:, axis])
        return moved

    legs, arms = along(1, "left hip", "left ankle"), along(0, "left shoulder", "left wrist")
    return np.stack([tall, stout, legs, arms], axis=-1)


def _regressor(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Weights `[J, V]` of the vertices around each joint, whose mean is the joint."""
    rows = []
    for joint in joints:
        # Weight the ring of vertices around the joint, with a bell as wide as its radius.
        sides = vertices - joint
        d2 = (sides**2).sum(1)
        bell = np.exp(-d2 / d2.min() / 2)

        # Tilt the bell linearly (moving least squares): the weights sum to 1, and their mean
        # of any linear function is its value at the joint.
        linear = np.concatenate([np.ones((len(sides), 1)), sides], axis=1)
        tilt = np.linalg.solve(linear.T @ (bell[:, None] * linear), [1, 0, 0, 0])
        rows.append(bell * (linear @ tilt))
    return np.stack(rows)
