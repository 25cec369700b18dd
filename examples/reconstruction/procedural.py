"""Shapes of five classes, composed at random of closed parts: chairs, tables, lamps, planes, cars.

A part is a frustum (a box or a cylinder, also tapered and slanted) or a superquadric, and has a
colour of its own. The world is right-handed, `y` is up, and the front of a shape looks to `+z`.
All random numbers come from the generator passed in, so a seed gives the same shapes for ever.

Shapes: `V` vertices, `F` faces.

References:
    Barr, Superquadrics and Angle-Preserving Transformations, IEEE CG&A 1(1), 1981.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Point = tuple[float, float, float]
ROUND = 20  # sides of what is round


class Shape(NamedTuple):
    """A mesh with one colour per face, in host memory."""

    vertices: np.ndarray  # [V, 3]
    faces: np.ndarray  # [F, 3], counter-clockwise from outside
    colors: np.ndarray  # [F, 3]


def frustum(
    size: Point, at: Point, *, sides: int = 4, taper: float = 1.0, shift: Point = (0.0, 0.0, 0.0)
) -> Shape:
    """A prism along `y`: with 4 sides a box, with many a cylinder.

    Args:
        size: width (x), height (y) and depth (z) of the box around it, before the taper.
        at: the middle of its bottom.
        sides: how many.
        taper: how large the top is, in parts of the bottom.
        shift: how far the top is moved, which slants it.
    """
    # Scale the unit polygon such that it touches its box.
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    ring = np.stack([np.sin(angle), np.zeros(sides), np.cos(angle)], axis=1)
    ring = ring / (2 * ring.max(0).clip(1e-9)) * np.array([size[0], 0.0, size[2]])
    bottom, top = np.array(at), np.array(at) + np.array([0.0, size[1], 0.0]) + np.array(shift)

    # Close the sides with quads and both ends with fans.
    i = np.arange(sides)
    j, under, over = (i + 1) % sides, np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    faces = [
        (i, j, j + sides),
        (i, j + sides, i + sides),
        (under, j, i),
        (over, i + sides, j + sides),
    ]
    vertices = np.concatenate([bottom + ring, top + taper * ring, [bottom, top]])
    return _white(vertices, np.concatenate([np.stack(face, axis=1) for face in faces]))


def superquadric(size: Point, at: Point, *, across: float = 1.0, along: float = 1.0) -> Shape:
    """An ellipsoid that may tend towards a box (exponents to 0) or a diamond (to 2).

    Args:
        size: of the box around it.
        at: its middle.
        across: exponent of its outline seen from above.
        along: exponent of its outline seen from the side.
    """

    def power(value: np.ndarray, exponent: float) -> np.ndarray:
        return np.sign(value) * np.abs(value) ** exponent

    # Place rings of vertices from one pole to the other.
    rings = ROUND // 2
    height = np.pi * np.arange(1, rings)[:, None] / rings - np.pi / 2
    around = 2 * np.pi * np.arange(ROUND)[None] / ROUND
    width = power(np.cos(height), along)
    x, z = width * power(np.sin(around), across), width * power(np.cos(around), across)
    y = np.broadcast_to(power(np.sin(height), along), x.shape)
    poles = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    vertices = np.concatenate([np.stack([x, y, z], axis=-1).reshape(-1, 3), poles])

    # Join each ring to the next, and the last ones to the poles.
    ids = np.arange((rings - 1) * ROUND).reshape(rings - 1, ROUND)
    a, b = ids[:-1], np.roll(ids, -1, axis=1)[:-1]
    c, d = np.roll(ids, -1, axis=1)[1:], ids[1:]
    first, last = ids[0], ids[-1]
    south, north = np.full(ROUND, len(vertices) - 2), np.full(ROUND, len(vertices) - 1)
    faces = [
        (a, b, c),
        (a, c, d),
        (south, np.roll(first, -1), first),
        (north, last, np.roll(last, -1)),
    ]
    corners = np.concatenate([np.stack(face, axis=-1).reshape(-1, 3) for face in faces])
    return _white(vertices * np.array(size) / 2 + np.array(at), corners)


def turned(part: Shape, axis: int, degrees: float, about: Point) -> Shape:
    """The part, turned about an axis (0 is x) through a point, counter-clockwise as it points."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotation, (u, v) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
    rotation[[u, u, v, v], [u, v, u, v]] = cos, -sin, sin, cos
    middle = np.array(about)
    return part._replace(vertices=(part.vertices - middle) @ rotation.T + middle)


def joined(parts: list[tuple[Shape, np.ndarray]]) -> Shape:
    """Parts with their colours as one shape."""
    starts = np.cumsum([0] + [len(part.vertices) for part, _ in parts])
    return Shape(
        np.concatenate([part.vertices for part, _ in parts]),
        np.concatenate(
            [part.faces + start for (part, _), start in zip(parts, starts, strict=False)]
        ),
        np.concatenate([np.broadcast_to(color, part.faces.shape) for part, color in parts]),
    )


def normalized(shape: Shape) -> Shape:
    """The shape, centred, and with a bounding box whose diagonal is 1, as in ShapeNet."""
    low, high = shape.vertices.min(0), shape.vertices.max(0)
    return shape._replace(vertices=(shape.vertices - (low + high) / 2) / np.linalg.norm(high - low))


def stretched(random: np.random.Generator, shape: Shape) -> Shape:
    """The shape, made longer or shorter along each axis."""
    return shape._replace(vertices=shape.vertices * np.exp(random.uniform(-0.3, 0.3, 3)))


def chair(random: np.random.Generator) -> Shape:
    """A seat on four legs, a pedestal or a block, with a back and at times arms."""
    width, depth, high = random.uniform([0.35, 0.35, 0.2], [1.0, 0.9, 0.7])
    thick, leg, rise = random.uniform([0.08, 0.09, 0.25], [0.3, 0.2, 1.0])
    wood, cloth = _colors(random, 2)
    parts = [(frustum((width, thick, depth), (0, high, 0)), cloth)]
    parts += [(part, wood) for part in _legs(random, width, depth, high, leg)]

    back = frustum(
        (width * random.uniform(0.6, 1), rise, random.uniform(0.1, 0.3)),
        (0, high + thick / 2, -depth / 2 + 0.08),
        taper=random.uniform(0.6, 1),
        shift=(0, 0, -random.uniform(0, 0.5) * rise),
    )
    parts.append((back, cloth))
    if random.random() < 0.4:
        arm = random.uniform(0.07, 0.16)
        for side in (-1, 1):
            at = (side * (width - arm) / 2, high + thick / 2, 0)
            parts.append((frustum((arm, rise * random.uniform(0.3, 0.5), depth), at), wood))
    return stretched(random, joined(parts))


def table(random: np.random.Generator) -> Shape:
    """A square or round top on legs, a pedestal or a block, at times with a shelf."""
    width, depth, high = random.uniform([0.5, 0.4, 0.2], [1.5, 1.0, 0.9])
    thick, leg = random.uniform([0.07, 0.1], [0.3, 0.25])
    top, wood = _colors(random, 2)
    sides = ROUND if random.random() < 0.4 else 4
    parts = [(frustum((width, thick, depth), (0, high, 0), sides=sides), top)]
    inner = 0.7 if sides == ROUND else 1.0
    parts += [(part, wood) for part in _legs(random, inner * width, inner * depth, high, leg)]
    if random.random() < 0.4:
        size = (0.8 * inner * width, 0.06, 0.8 * inner * depth)
        parts.append((frustum(size, (0, high * random.uniform(0.2, 0.6), 0)), wood))
    return stretched(random, joined(parts))


def lamp(random: np.random.Generator) -> Shape:
    """A foot, a pole and a shade."""
    high, pole, foot = random.uniform([0.3, 0.07, 0.2], [1.2, 0.18, 0.8])
    flat, wide, tall = random.uniform([0.06, 0.25, 0.2], [0.3, 0.9, 0.8])
    metal, cloth = _colors(random, 2)
    sides = ROUND if random.random() < 0.7 else 4
    lean = (random.uniform(-0.2, 0.2), 0.0, random.uniform(-0.2, 0.2))
    top = (lean[0], high, lean[2])
    parts = [
        (frustum((foot, flat, foot), (0, 0, 0), sides=sides, taper=random.uniform(0.5, 1)), metal),
        (frustum((pole, high, pole), (0, 0, 0), sides=ROUND, shift=lean), metal),
    ]
    if random.random() < 0.3:
        ball = (wide, tall, wide)
        parts.append((superquadric(ball, (top[0], high + 0.4 * tall, top[2])), cloth))
    else:
        taper = random.uniform(0.3, 1.1)
        parts.append((frustum((wide, tall, wide), top, sides=sides, taper=taper), cloth))
    return stretched(random, joined(parts))


def plane(random: np.random.Generator) -> Shape:
    """A hull, two wings, a tail with three fins, and at times two engines."""
    length, thick, span = random.uniform([0.8, 0.14, 0.3], [1.5, 0.4, 0.9])
    chord, place, sweep = random.uniform([0.18, -0.2, -0.3], [0.55, 0.25, 0.6])
    paint, other = _colors(random, 2)
    hull = superquadric(
        (thick, thick * random.uniform(0.8, 1.3), length), (0, 0, 0), along=random.uniform(0.7, 1.1)
    )
    parts = [(hull, paint)]

    def fins(reach: float, width: float, z: float, y: float, slant: float, rise: float) -> None:
        for side in (-1, 1):
            # Let a frustum lie down: what was up points to the side.
            fin = frustum(
                (0.09, reach, width),
                (0, 0, 0),
                taper=random.uniform(0.3, 0.9),
                shift=(0, 0, -slant),
            )
            fin = turned(fin, 2, -side * (90 - rise), (0, 0, 0))
            parts.append((fin._replace(vertices=fin.vertices + np.array([0, y, z])), other))

    level = random.uniform(-0.3, 0.3) * thick
    fins(span, chord, place * length, level, sweep * span, random.uniform(-5, 15))
    back = -0.42 * length
    fins(span * random.uniform(0.25, 0.5), 0.5 * chord, back, 0.0, sweep * 0.2, 0.0)
    size, shift = (0.08, random.uniform(0.15, 0.4), 0.5 * chord), (0.0, 0.0, -0.1)
    parts.append((frustum(size, (0, 0, back), taper=0.6, shift=shift), other))
    if random.random() < 0.5:
        for side in (-1, 1):
            at = (side * 0.4 * span, level - 0.08, place * length)
            parts.append((superquadric((0.14, 0.14, 0.7 * chord), at, along=0.5), paint))
    return stretched(random, joined(parts))


def car(random: np.random.Generator) -> Shape:
    """A body, a cabin and four wheels."""
    width, high, length = random.uniform([0.4, 0.12, 0.7], [0.9, 0.5, 1.9])
    roof, share, place = random.uniform([0.08, 0.2, -0.45], [0.6, 0.9, 0.45])
    wheel = random.uniform(0.2, 0.4)
    paint, glass, rubber = _colors(random, 3)
    if random.random() < 0.5:
        at = (0, wheel / 2 + high / 2, 0)
        along = random.uniform(0.2, 0.5)
        body = superquadric((width, high, length), at, across=along, along=along)
    else:
        body = frustum((width, high, length), (0, wheel / 2, 0), taper=random.uniform(0.8, 1))
    cabin = frustum(
        (0.95 * width, roof, share * length),
        (0, wheel / 2 + 0.9 * high, place * (1 - share) * length),
        taper=random.uniform(0.4, 1),
        shift=(0, 0, random.uniform(-0.15, 0.1)),
    )
    parts = [(body, paint), (cabin, glass)]
    for x in (-1, 1):
        for z in (-1, 1):
            round_ = frustum((wheel, 0.14, wheel), (0, -0.07, 0), sides=ROUND)
            round_ = turned(round_, 2, 90, (0, 0, 0))
            at = np.array([x * 0.45 * width, wheel / 2, z * 0.32 * length])
            parts.append((round_._replace(vertices=round_.vertices + at), 0.3 * rubber))
    return joined(parts)


CLASSES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "chair": chair,
    "table": table,
    "lamp": lamp,
    "plane": plane,
    "car": car,
}


def _legs(
    random: np.random.Generator, width: float, depth: float, high: float, leg: float
) -> list[Shape]:
    """What carries a seat or a table: four legs, a pedestal or a block."""
    kind = random.choice(["legs", "pedestal", "block"], p=[0.6, 0.2, 0.2])
    if kind == "block":
        return [frustum((width * random.uniform(0.6, 1), high, 0.8 * depth), (0, 0, 0))]
    if kind == "pedestal":
        foot = random.uniform(0.5, 0.9)
        return [
            frustum((2 * leg, high, 2 * leg), (0, 0, 0), sides=ROUND),
            frustum((foot * width, 0.08, foot * depth), (0, 0, 0), sides=ROUND),
        ]
    sides = ROUND if random.random() < 0.5 else 4
    return [
        frustum((leg, high, leg), (x * (width - leg) / 2, 0, z * (depth - leg) / 2), sides=sides)
        for x in (-1, 1)
        for z in (-1, 1)
    ]


def _colors(random: np.random.Generator, count: int) -> np.ndarray:
    """Colours `[count, 3]`, none of them black."""
    return random.uniform(0.2, 1.0, (count, 3))


def _white(vertices: np.ndarray, faces: np.ndarray) -> Shape:
    return Shape(vertices, faces, np.ones(faces.shape))
