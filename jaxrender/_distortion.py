"""What the lens of a pinhole camera does to points, and back.

A point is at `x = X / Z`, `y = Y / Z` of camera space, here with `y` down, at the distance r from
the axis. The lens moves it along its ray to the distance

    f(r) = r (1 + k1 r² + k2 r⁴ + k3 r⁶)

and a little aside (p1, p2; see `pinhole`). The polynomial grows up to some radius, the border of
the lens's field, where f'(r) = 0. It means nothing beyond: there f stays as it is, along its
tangent, so that nothing is folded back into the picture.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

# No polynomial is followed farther than this, 84 degrees from the axis.
FARTHEST = 10.0

# Steps to find a point before the lens: along its ray, then in the plane.
RAY_STEPS = 24
PLANE_STEPS = 6

# What the lens moves to within this of where it should be is found.
FOUND = 1e-4


def field(distortion: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The radius `[]` where f stops growing, at most `FARTHEST`, and whether it does; no gradient.

    With `s = r²` it is the first root of the cubic `f' = 1 + 3 k1 s + 5 k2 s² + 7 k3 s³`.
    """
    k1, k2, _, _, k3 = jax.lax.stop_gradient(distortion)
    last = jnp.full_like(k1, FARTHEST**2)

    # Find where f' itself turns, by the solution of a quadratic that loses no digits.
    a, b, c = 21 * k3, 10 * k2, 3 * k1
    discriminant = b * b - 4 * a * c
    q = -(b + jnp.copysign(jnp.sqrt(jnp.maximum(discriminant, 0)), b)) / 2

    def turn(above: jax.Array, below: jax.Array) -> jax.Array:
        s = jnp.where(below == 0, last, above / jnp.where(below == 0, 1, below))
        return jnp.where((discriminant >= 0) & (s > 0) & (s < last), s, last)

    first, second = turn(q, a), turn(c, q)
    first, second = jnp.minimum(first, second), jnp.maximum(first, second)

    # Between its turns f' is monotonic: take the first stretch at whose end it is negative.
    def slope(s: jax.Array) -> jax.Array:
        return 1 + s * (3 * k1 + s * (5 * k2 + s * 7 * k3))

    in_first, in_second, in_third = (slope(end) < 0 for end in (first, second, last))
    low = jnp.where(in_first, 0, jnp.where(in_second, first, second))
    high = jnp.where(in_first, first, jnp.where(in_second, second, last))

    # Halve it until no float is left between its ends.
    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        grows = slope(middle) >= 0
        return jnp.where(grows, middle, low), jnp.where(grows, high, middle)

    low, _ = jax.lax.fori_loop(0, jnp.finfo(k1.dtype).nmant + 24, halve, (low, high))
    ends = in_first | in_second | in_third
    return jnp.where(ends, jnp.sqrt(low), FARTHEST), ends


def bend(x: jax.Array, y: jax.Array, distortion: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where the lens moves points to.

    Gradient: exact, with the border of the field held where it is.
    """
    k1, k2, _, _, k3 = distortion
    border, ends = field(distortion)

    # Pull points beyond the field to its border; `beyond` = max(r / border, 1), without overflow.
    largest = jnp.maximum(jnp.maximum(jnp.abs(x), jnp.abs(y)), border)
    ratio = (x / largest) ** 2 + (y / largest) ** 2
    beyond = largest / border * jnp.sqrt(jnp.maximum(ratio, 1))
    x, y = x / beyond, y / beyond

    # Go on along the tangent. Where that is level, go on outwards from `FARTHEST` on, or the
    # homogeneous coordinates (x z, y z, z) of a vertex near the camera plane would lose its
    # direction.
    s = border * border
    chord = 1 + s * (k1 + s * (k2 + s * k3))
    tangent = 1 + s * (3 * k1 + s * (5 * k2 + s * 7 * k3))
    outwards = jnp.where(
        ends, chord * jnp.maximum(beyond - FARTHEST / border, 0), tangent * (beyond - 1)
    )
    bent = _polynomial(x, y, distortion)
    return bent[0] + x * outwards, bent[1] + y * outwards


def unbend(
    x: jax.Array, y: jax.Array, distortion: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which points of the lens's field it moves to these, and whether there are any.

    A point that the lens moves none to gets the nearest one at the border, without gradient.

    Gradient: exact, once; of the implicit function.
    """
    goal_x, goal_y = jax.lax.stop_gradient((x, y))
    lens = jax.lax.stop_gradient(distortion)
    k1, k2, _, _, k3 = lens
    border, _ = field(lens)
    goal = jnp.sqrt(goal_x * goal_x + goal_y * goal_y)

    # Solve f(r) = goal by Newton's method, and by halving where that would leave the bracket.
    def along(_: int, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        r, low, high = state
        s = r * r
        miss = r * (1 + s * (k1 + s * (k2 + s * k3))) - goal
        slope = 1 + s * (3 * k1 + s * (5 * k2 + s * 7 * k3))
        low, high = jnp.where(miss <= 0, r, low), jnp.where(miss > 0, r, high)
        newton = r - miss / jnp.where(slope > 0, slope, 1)
        safe = (newton >= low) & (newton <= high) & (slope > 0)
        return jnp.where(safe, newton, (low + high) / 2), low, high

    ends = jnp.zeros_like(goal), jnp.broadcast_to(border, goal.shape).astype(goal.dtype)
    radius, *_ = jax.lax.fori_loop(0, RAY_STEPS, along, (jnp.minimum(goal, border), *ends))
    scale = jnp.where(goal > 0, radius / jnp.where(goal > 0, goal, 1), 1)

    # Follow what the lens moves aside, by Newton's method in the plane, within the field.
    def step(_: int, point: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        bent_x, bent_y = _polynomial(*point, lens)
        by_x, by_y = _solve(*point, lens, bent_x - goal_x, bent_y - goal_y)
        u, v = point[0] - by_x, point[1] - by_y
        outside = jnp.maximum(jnp.sqrt(u * u + v * v) / border, 1)
        return u / outside, v / outside

    start = goal_x * scale, goal_y * scale
    u, v = jax.lax.stop_gradient(jax.lax.fori_loop(0, PLANE_STEPS, step, start))

    # Take one more step for the sake of the gradient: all that it depends on is in the miss.
    bent_x, bent_y = _polynomial(u, v, distortion)
    miss_x, miss_y = bent_x - x, bent_y - y
    found = jnp.maximum(jnp.abs(miss_x), jnp.abs(miss_y)) <= FOUND
    by_x, by_y = _solve(u, v, lens, miss_x, miss_y)
    return jnp.where(found, u - by_x, u), jnp.where(found, v - by_y, v), found


def _polynomial(x: jax.Array, y: jax.Array, distortion: jax.Array) -> tuple[jax.Array, jax.Array]:
    k1, k2, p1, p2, k3 = distortion
    s = x * x + y * y
    radial = 1 + s * (k1 + s * (k2 + s * k3))
    return (
        x * radial + 2 * p1 * x * y + p2 * (s + 2 * x * x),
        y * radial + p1 * (s + 2 * y * y) + 2 * p2 * x * y,
    )


def _solve(
    x: jax.Array, y: jax.Array, distortion: jax.Array, right_x: jax.Array, right_y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Divides by the Jacobian of the polynomial, which is symmetric; 0 where it is singular."""
    k1, k2, p1, p2, k3 = distortion
    s = x * x + y * y
    radial = 1 + s * (k1 + s * (k2 + s * k3))
    turn = 2 * (k1 + s * (2 * k2 + s * 3 * k3))
    a = radial + turn * x * x + 2 * p1 * y + 6 * p2 * x
    b = turn * x * y + 2 * p1 * x + 2 * p2 * y
    c = radial + turn * y * y + 6 * p1 * y + 2 * p2 * x
    determinant = a * c - b * b
    regular = jnp.abs(determinant) > 1e-6
    inverse = jnp.where(regular, 1 / jnp.where(regular, determinant, 1), 0)
    return (c * right_x - b * right_y) * inverse, (a * right_y - b * right_x) * inverse
