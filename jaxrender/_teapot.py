"""The Utah teapot as Martin Newell published it: 32 bicubic Bézier patches.

The data are in their published frame: z up, spout to +x, handle to -x. The pot is four
quarter turns of a profile curve; handle and spout are half tubes and their mirror images.
All patches are ordered so that `dP/du × dP/dv` points out of the teapot, with `u` along the
first axis of the `[4, 4, 3]` control points.
"""

from __future__ import annotations

import numpy as np

# Profile curves (radius, height), from the top and the axis outwards and down.
RIM = ((1.4, 2.4), (1.3375, 2.53125), (1.4375, 2.53125), (1.5, 2.4))
UPPER_BODY = ((1.5, 2.4), (1.75, 1.875), (2.0, 1.35), (2.0, 0.9))
LOWER_BODY = ((2.0, 0.9), (2.0, 0.45), (1.5, 0.225), (1.5, 0.15))
KNOB = ((0.0, 3.15), (0.8, 3.15), (0.0, 2.85), (0.2, 2.7))
LID = ((0.2, 2.7), (0.4, 2.55), (1.3, 2.55), (1.3, 2.4))
BOTTOM = ((1.5, 0.15), (1.5, 0.075), (1.425, 0.0), (0.0, 0.0))
PROFILES = (RIM, UPPER_BODY, LOWER_BODY, KNOB, LID, BOTTOM)

# A quarter circle of radius r as a cubic: (r, 0), (r, k r), (k r, r), (0, r). Newell rounded
# k to 0.56, but for one ring of the knob, where he wrote 0.45 for the radius 0.8.
CIRCLE = 0.56
KNOB_RING, KNOB_HANDLE = 0.8, 0.45

# Half tubes, as cross sections along the tube: each runs from one side of the plane of
# symmetry (y = 0) through negative y to the other. Sections 0 to 3 and 3 to 6 are a patch each.
HANDLE = (
    ((-1.6, 0, 2.025), (-1.6, -0.3, 2.025), (-1.5, -0.3, 2.25), (-1.5, 0, 2.25)),
    ((-2.3, 0, 2.025), (-2.3, -0.3, 2.025), (-2.5, -0.3, 2.25), (-2.5, 0, 2.25)),
    ((-2.7, 0, 2.025), (-2.7, -0.3, 2.025), (-3.0, -0.3, 2.25), (-3.0, 0, 2.25)),
    ((-2.7, 0, 1.8), (-2.7, -0.3, 1.8), (-3.0, -0.3, 1.8), (-3.0, 0, 1.8)),
    ((-2.7, 0, 1.575), (-2.7, -0.3, 1.575), (-3.0, -0.3, 1.35), (-3.0, 0, 1.35)),
    ((-2.5, 0, 1.125), (-2.5, -0.3, 1.125), (-2.65, -0.3, 0.9375), (-2.65, 0, 0.9375)),
    ((-2.0, 0, 0.9), (-2.0, -0.3, 0.9), (-1.9, -0.3, 0.6), (-1.9, 0, 0.6)),
)
SPOUT = (
    ((1.7, 0, 1.425), (1.7, -0.66, 1.425), (1.7, -0.66, 0.6), (1.7, 0, 0.6)),
    ((2.6, 0, 1.425), (2.6, -0.66, 1.425), (3.1, -0.66, 0.825), (3.1, 0, 0.825)),
    ((2.3, 0, 2.1), (2.3, -0.25, 2.1), (2.4, -0.25, 2.025), (2.4, 0, 2.025)),
    ((2.7, 0, 2.4), (2.7, -0.25, 2.4), (3.3, -0.25, 2.4), (3.3, 0, 2.4)),
    ((2.8, 0, 2.475), (2.8, -0.25, 2.475), (3.525, -0.25, 2.49375), (3.525, 0, 2.49375)),
    ((2.9, 0, 2.475), (2.9, -0.15, 2.475), (3.45, -0.15, 2.5125), (3.45, 0, 2.5125)),
    ((2.8, 0, 2.4), (2.8, -0.15, 2.4), (3.2, -0.15, 2.4), (3.2, 0, 2.4)),
)


def patches() -> np.ndarray:
    """The control points `[32, 4, 4, 3]` of the teapot."""
    turned = [_turn(_revolve(profile), quarter) for profile in PROFILES for quarter in range(4)]
    tubes = []
    for sections in (np.array(HANDLE), np.array(SPOUT)):
        for half in (sections[:4], sections[3:]):
            tubes += [half[:, ::-1], half * np.array([1.0, -1.0, 1.0])]
    return np.stack(turned + tubes)


def evaluate(control: np.ndarray, segments: int) -> np.ndarray:
    """Points of bicubic patches `[N, 4, 4, 3]` on a regular grid: `[N, S + 1, S + 1, 3]`.

    Patches that share a row of control points, in either direction, give bitwise equal points
    there: the weights are exactly symmetric, exactly 0 or 1 at the ends, and the sums pair
    the terms symmetrically.
    """
    # Weigh the four control points by the Bernstein polynomials.
    s = np.arange(segments + 1) / segments
    t = s[::-1]
    weights = np.stack([t * t * t, 3 * (t * t * s), 3 * (s * s * t), s * s * s])[..., None]

    # Sum outer and inner pairs, first along v, then along u.
    for axis in (2, 1):
        p0, p1, p2, p3 = (np.take(control, [k], axis).swapaxes(axis, -2) for k in range(4))
        sums = (weights[0] * p0 + weights[3] * p3) + (weights[1] * p1 + weights[2] * p2)
        control = sums.swapaxes(axis, -2)
    return control


def _revolve(profile: tuple[tuple[float, float], ...]) -> np.ndarray:
    """One quarter turn of a profile around the z axis, as control points `[4, 4, 3]`."""
    rings = []
    for radius, height in profile:
        handle = KNOB_HANDLE if radius == KNOB_RING else round(CIRCLE * radius, 6)
        corners = ((radius, 0.0), (radius, handle), (handle, radius), (0.0, radius))
        rings.append([(x, y, height) for x, y in corners])
    return np.array(rings)


def _turn(control: np.ndarray, quarter: int) -> np.ndarray:
    """Turns control points by quarters around the z axis, without rounding."""
    for _ in range(quarter):
        control = control[..., [1, 0, 2]] * np.array([-1.0, 1.0, 1.0])
    return control
