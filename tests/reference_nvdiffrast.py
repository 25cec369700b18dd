"""nvdiffrast's four operations, slowly, from the formulas of its paper and documentation.

One picture at a time, pixel by pixel, in float64. Row 0 is the bottom; ids are offset by one.
"""

from __future__ import annotations

import itertools

import numpy as np


def pixel_place(row, column, size):
    height, width = size
    return (2 * column + 1 - width) / width, (2 * row + 1 - height) / height


def areas_at(corners, x, y):
    """`aₖ` of the corners `[3, 4]` at a place of the screen."""
    dx, dy = corners[:, 0] - x * corners[:, 3], corners[:, 1] - y * corners[:, 3]
    return np.array(
        [dx[(k + 1) % 3] * dy[(k + 2) % 3] - dy[(k + 1) % 3] * dx[(k + 2) % 3] for k in range(3)]
    )


def uv_at(corners, x, y):
    area = areas_at(corners, x, y)
    return area[:2] / area.sum()


def rasterize(pos, tri, size, layer=0):
    """`[H, W, 4]` of the layer that has so many before it, and the derivatives."""
    rast, db = np.zeros((*size, 4)), np.zeros((*size, 4))
    for row, column in itertools.product(*map(range, size)):
        x, y = pixel_place(row, column, size)
        found = []
        for number, corners in enumerate(pos[tri]):
            area = areas_at(corners, x, y)
            if area.sum() == 0:
                continue
            share = area / area.sum()
            w, z = share @ corners[:, 3], share @ corners[:, 2]
            if (share >= 0).all() and w > 0 and -w <= z <= w:
                found.append((z / w, number))
        if layer >= len(found):
            continue
        depth, number = sorted(found)[layer]
        corners, step = pos[tri[number]], 1e-5
        rast[row, column] = [*uv_at(corners, x, y), depth, number + 1]
        by_x = (uv_at(corners, x + step, y) - uv_at(corners, x - step, y)) / (2 * step)
        by_y = (uv_at(corners, x, y + step) - uv_at(corners, x, y - step)) / (2 * step)
        by_x, by_y = by_x * 2 / size[1], by_y * 2 / size[0]
        db[row, column] = [by_x[0], by_y[0], by_x[1], by_y[1]]
    return rast, db


def interpolate(attr, rast, tri, db):
    """Attributes `[H, W, A]`, and their derivatives `[H, W, 2 A]`."""
    height, width = rast.shape[:2]
    values, slopes = np.zeros((height, width, attr.shape[1])), np.zeros((height, width, attr.size))
    slopes = np.zeros((height, width, 2 * attr.shape[1]))
    for row, column in itertools.product(range(height), range(width)):
        u, v, _, number = rast[row, column]
        if number:
            a, b, c = attr[tri[int(number) - 1]]
            values[row, column] = u * a + v * b + (1 - u - v) * c
            ux, uy, vx, vy = db[row, column]
            by_x, by_y = (a - c) * ux + (b - c) * vx, (a - c) * uy + (b - c) * vy
            slopes[row, column] = np.stack([by_x, by_y], 1).reshape(-1)
    return values, slopes


def texture(tex, uv, linear, boundary):
    """A texture `[h, w, C]` read at `uv` `[H, W, 2]`."""
    height, width, channels = tex.shape

    def texel(row, column):
        if boundary == "wrap":
            return tex[row % height, column % width]
        if boundary == "zero" and not (0 <= row < height and 0 <= column < width):
            return np.zeros(channels)
        return tex[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]

    result = np.zeros((*uv.shape[:2], channels))
    for at in np.ndindex(*uv.shape[:2]):
        s, t = uv[at] * (width, height)
        if not linear:
            result[at] = texel(int(np.floor(t)), int(np.floor(s)))
            continue
        s, t = s - 0.5, t - 0.5
        column, row = int(np.floor(s)), int(np.floor(t))
        for i, j in itertools.product((0, 1), (0, 1)):
            weight = (s - column if i else 1 - s + column) * (t - row if j else 1 - t + row)
            result[at] += weight * texel(row + j, column + i)
    return result


# Of OpenGL's table of cube maps, for +x, -x, +y, -y, +z, -z: s, t and the main axis of (x, y, z).
CUBE = [
    lambda x, y, z: (-z, -y, x),
    lambda x, y, z: (z, -y, -x),
    lambda x, y, z: (x, z, y),
    lambda x, y, z: (x, -z, -y),
    lambda x, y, z: (x, -y, z),
    lambda x, y, z: (-x, -y, -z),
]


def cube_nearest(tex, direction):
    """A cube map `[6, w, w, C]` at one direction, without a filter."""
    width = tex.shape[1]
    side = max(range(6), key=lambda k: CUBE[k](*direction)[2])
    s, t, ahead = CUBE[side](*direction)
    column, row = (min(int((x / ahead + 1) / 2 * width), width - 1) for x in (s, t))
    return tex[side, row, column]


def antialias(color, rast, pos, tri):
    """Section 3.6 of the paper: pairs of neighbours, of which the nearer triangle has the edge."""
    height, width = color.shape[:2]
    shared: dict[tuple[int, int], list[int]] = {}
    for corners in tri.tolist():
        for k in range(3):
            edge = sorted((corners[(k + 1) % 3], corners[(k + 2) % 3]))
            shared.setdefault(tuple(edge), []).append(corners[k])
    result = color.copy()
    for row, column, down in itertools.product(range(height), range(width), (0, 1)):
        other = (row + down, column + 1 - down)
        if other[0] >= height or other[1] >= width:
            continue
        first, second = rast[row, column], rast[other]
        if first[3] == second[3]:
            continue
        is_first = second[3] == 0 or (first[3] != 0 and first[2] < second[2])
        corners = tri[int((first if is_first else second)[3]) - 1]
        own = (row, column) if is_first else other

        # Take the corners in pixels from the centre of the pixel that sees the triangle.
        def placed(vertex, own=own):
            x, y, _, w = pos[vertex]
            return np.array(
                [(x / w + 1) / 2 * width - own[1] - 0.5, (y / w + 1) / 2 * height - own[0] - 0.5]
            )

        points = [placed(vertex) for vertex in corners]
        sides = []
        for k in range(3):
            a, b = points[(k + 1) % 3], points[(k + 2) % 3]
            edge = tuple(sorted((corners[(k + 1) % 3], corners[(k + 2) % 3])))
            opposite = [vertex for vertex in shared[edge] if vertex != corners[k]]

            def turn(point, a=a, b=b):
                return np.sign(
                    (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
                )

            outline = not opposite or turn(placed(opposite[0])) == turn(points[k])
            if down:
                a, b = a[::-1], b[::-1]
            crosses = (a[1] > 0) != (b[1] > 0)
            steep = abs(b[1] - a[1]) >= abs(b[0] - a[0])
            if crosses:
                at = a[0] - a[1] * (b[0] - a[0]) / (b[1] - a[1])
                sides.append((at * (1 if is_first else -1), outline and steep))
        # The edge through which one leaves the triangle on the way to the other pixel.
        if not sides:
            continue
        at, counts = max(sides)
        if counts and -1 / 16 < at < 17 / 16:
            at = np.clip(at, 0, 1)
            change = (0.5 - at) * (color[other] - color[row, column]) * (1 if is_first else -1)
            result[(row, column) if (0.5 - at) * (1 if is_first else -1) > 0 else other] += change
    return result
