"""Rotations of space: matrices, rotation vectors, quaternions and six numbers, and ways between.

    turn = rotations.from_axis_angle(w)                        # [3, 3], differentiable in w
    turned = dataclasses.replace(camera, rotation=camera.rotation @ turn)

A rotation vector is an axis times an angle in RADIANS, as it is everywhere in the field; the angle
that `angle_between` returns is read by a person, and in degrees.

Matrices `[..., 3, 3]` act on column vectors: `points @ R.T`. Every function takes any number of
leading axes. A proper rotation has determinant +1. The rotation of a `Camera` in a right-handed
world has determinant -1, since camera space is left-handed: `orthonormalize` and `angle_between`
take that too, and a proper rotation turns it from the right, `R @ from_axis_angle(w)`.
"""

from __future__ import annotations

import operator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrender._checks import check_array, check_rotation, is_concrete, same_float

__all__ = [
    "angle_between",
    "from_6d",
    "from_axis_angle",
    "from_quaternion",
    "orthonormalize",
    "random",
    "to_6d",
    "to_axis_angle",
    "to_quaternion",
]


def __dir__() -> list[str]:
    return __all__


SERIES = 10  # terms of the power series of sin √x / √x, exact in float64 up to x = 1
ARC_SERIES = 10  # those of arctan √x / √x, exact in float64 up to x = 0.02
SMALL = 0.02

# Vectors shorter than this part of what they were made of have no direction.
NO_DIRECTION = 1e-6

# GPUs would otherwise round the factors to 10 bits.
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def from_axis_angle(axis_angle: ArrayLike) -> jax.Array:
    """The rotations about axes by angles (Rodrigues' formula).

    With `θ = |r|` and `K v = r x v`,

        R = exp(K) = I + (sin θ / θ) K + ((1 - cos θ) / θ²) K²

    Gradient: exact, and so are higher ones, also at `r = 0`.

    Args:
        axis_angle: `[..., 3]` r: the axis times the angle in radians, counter-clockwise as
            seen from where r points to, in a right-handed world.

    Returns:
        `[..., 3, 3]` R, for column vectors: `points @ R.T`.

    Raises:
        ValueError: the shape or dtype is wrong, or a value is not finite. Inside jit, the
            rotation of what is not finite is NaN.

    Example:
        >>> (jnp.eye(3) @ from_axis_angle([0.0, 0.0, 1.5708]).T).round().astype(int).tolist()
        [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    """
    hint = "Pass axes times angles in radians."
    r = check_array("axis_angle", axis_angle, ("...", 3), finite=True, hint=hint)
    (r,) = same_float(r)
    x, y, z = r[..., 0], r[..., 1], r[..., 2]
    square = x * x + y * y + z * z

    # (1 - cos θ) / θ² = (sin ½θ / ½θ)² / 2, which has no difference of nearly equal numbers.
    a, b = _sinc_root(square), _sinc_root(square / 4) ** 2 / 2
    c = 1 - b * square  # cos θ
    return _matrix(
        (c + b * x * x, b * x * y - a * z, b * x * z + a * y),
        (b * x * y + a * z, c + b * y * y, b * y * z - a * x),
        (b * x * z - a * y, b * y * z + a * x, c + b * z * z),
    )


def to_axis_angle(rotation: ArrayLike) -> jax.Array:
    """The shortest rotation vectors that make these rotations.

    Gradient: exact, also at the identity. At an angle of pi, where two opposite vectors make the
    same rotation, it is that of the one returned.

    Args:
        rotation: `[..., 3, 3]` proper rotations.

    Returns:
        `[..., 3]` axis times angle, which is 0 to pi radians.

    Raises:
        ValueError: the shape or dtype is wrong, or a matrix is no proper rotation. Inside jit,
            where values are not known, what comes of such a matrix is finite.

    Example:
        >>> to_axis_angle(from_axis_angle([0.0, 0.5, 0.0])).round(3).tolist()
        [0.0, 0.5, 0.0]
    """
    q = to_quaternion(rotation)
    w, v = q[..., :1], q[..., 1:]

    # |v| = sin ½θ and w = cos ½θ, so r = (2 arctan(|v| / w) / |v|) v.
    square = (v * v).sum(-1, keepdims=True)
    small = square < SMALL * w * w
    ratio = jnp.where(small, square / jnp.where(small, w * w, 1), 0)
    series = jnp.zeros_like(ratio)
    for n in range(ARC_SERIES - 1, -1, -1):
        series = 1 / (2 * n + 1) - ratio * series
    length = jnp.sqrt(jnp.where(small, 1, square))
    far = jnp.arctan2(length, jnp.where(small, 1, w)) / length
    return 2 * v * jnp.where(small, series / jnp.where(small, w, 1), far)


def from_quaternion(quaternion: ArrayLike) -> jax.Array:
    """The rotations of quaternions, which need not have length 1.

    Gradient: exact; that along the quaternion is 0.

    Args:
        quaternion: `[..., 4]` w, x, y, z: cos ½θ, and sin ½θ times the axis. SciPy, glTF and
            OpenGL put w last.

    Returns:
        `[..., 3, 3]`

    Raises:
        ValueError: the shape or dtype is wrong, a value is not finite, or a quaternion is 0.
            Inside jit, where values are not known, 0 makes the identity, with gradient 0.

    Example:
        >>> from_quaternion([2.0, 0.0, 0.0, 0.0]).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    hint = "Pass w, x, y, z."
    q = check_array("quaternion", quaternion, ("...", 4), finite=True, hint=hint)
    (q,) = same_float(q)
    if is_concrete(q) and not np.asarray(q).any(-1).all():
        raise ValueError(
            "`quaternion` must not be zero, which is no rotation. Pass (1, 0, 0, 0) for none."
        )
    q = _normalize(q)
    w, x, y, z = (q[..., k] for k in range(4))
    return _matrix(
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )


def to_quaternion(rotation: ArrayLike) -> jax.Array:
    """The quaternions of rotations, of length 1 and with `w >= 0`.

    The matrix of all products of two components, four times, is linear in R; its row with the
    largest diagonal element is never short, so that nothing is divided by a small number.

    Gradient: exact, also at the identity. At an angle of pi, where two opposite quaternions make
    the same rotation, it is that of the one returned.

    Args:
        rotation: `[..., 3, 3]` proper rotations.

    Returns:
        `[..., 4]` w, x, y, z.

    Raises:
        ValueError: the shape or dtype is wrong, or a matrix is no proper rotation. Inside jit,
            where values are not known, what comes of such a matrix is finite.

    Example:
        >>> to_quaternion(from_quaternion([0.0, 0.0, 3.0, 0.0])).tolist()
        [0.0, 0.0, 1.0, 0.0]
    """
    r = check_array("rotation", rotation, ("...", 3, 3), finite=True, hint="Pass matrices.")
    (r,) = same_float(r)
    check_rotation("rotation", r, proper=True)
    return _to_quaternion(r)


def from_6d(six: ArrayLike) -> jax.Array:
    """The rotations of six numbers, in which they are continuous: what networks learn well.

    The numbers are two vectors a and b. Gram and Schmidt's method makes columns of them:

        R = [n(a), n(b - (n(a)·b) n(a)), their cross product]        n(v) = v / |v|

    Gradient: exact; to what the method takes away, 0.

    Args:
        six: `[..., 6]` a and b. PyTorch3D's are rows: its numbers make the transposed matrix.

    Returns:
        `[..., 3, 3]`

    Raises:
        ValueError: the shape or dtype is wrong, a value is not finite, or a and b are 0 or
            parallel. Inside jit, where values are not known, an axis that has no direction is
            any one that makes a rotation, with gradient 0.

    Example:
        >>> from_6d([2.0, 0.0, 0.0, 1.0, 1.0, 0.0]).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    References:
        Zhou et al., On the Continuity of Rotation Representations in Neural Networks, CVPR 2019,
        arXiv:1812.07035.
    """
    six = check_array("six", six, ("...", 6), finite=True, hint="Pass two vectors, one by one.")
    (six,) = same_float(six)
    a, b = _normalize(six[..., :3]), _normalize(six[..., 3:])
    across = jnp.cross(a, b)
    if is_concrete(across) and (np.linalg.norm(np.asarray(across), axis=-1) < NO_DIRECTION).any():
        raise ValueError(
            "`six` must hold two vectors that are neither 0 nor parallel. "
            "Pass for example (1, 0, 0, 0, 1, 0) for no rotation."
        )

    # Take other vectors for those that have no direction.
    has_a = (a != 0).any(-1, keepdims=True)
    a = jnp.where(has_a, a, jnp.zeros_like(a).at[..., 0].set(1))
    least = jnp.abs(a).argmin(-1)
    across = jnp.cross(a, b)
    has_b = jnp.abs(across).max(-1, keepdims=True) >= NO_DIRECTION
    across = jnp.where(has_b, across, jnp.cross(a, jax.nn.one_hot(least, 3, dtype=a.dtype)))

    # Of two orthogonal unit vectors the third one follows.
    third = _normalize(across)
    return jnp.stack([a, jnp.cross(third, a), third], axis=-1)


def to_6d(rotation: ArrayLike) -> jax.Array:
    """The first two columns of rotations, of which `from_6d` makes them again.

    Gradient: exact.

    Args:
        rotation: `[..., 3, 3]` proper rotations.

    Returns:
        `[..., 6]`

    Raises:
        ValueError: the shape or dtype is wrong, or a matrix is no proper rotation.

    Example:
        >>> to_6d(jnp.eye(3)).tolist()
        [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """
    r = check_array("rotation", rotation, ("...", 3, 3), finite=True, hint="Pass matrices.")
    (r,) = same_float(r)
    check_rotation("rotation", r, proper=True)
    return jnp.concatenate([r[..., 0], r[..., 1]], axis=-1)


def random(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Random rotations, all equally likely: uniform on SO(3).

    Args:
        key: of `jax.random.key`.
        shape: the leading axes; static.

    Returns:
        `[*shape, 3, 3]`, in JAX's default float type.

    Raises:
        ValueError: `key` is no key, or `shape` no shape.

    Example:
        >>> random(jax.random.key(0), (5,)).shape
        (5, 3, 3)
    """
    if not isinstance(key, jax.Array):
        raise ValueError(f"`key` must be a random key, got {key!r}. Pass jax.random.key(0).")
    try:
        shape = tuple(operator.index(size) for size in shape)
        whole = all(0 <= size < 2**31 for size in shape)
    except TypeError:
        whole = False
    if not whole:
        raise ValueError(f"`shape` must be a tuple of sizes, got {shape!r}. Pass for example (5,).")

    # Four normal numbers point in all directions alike, and the rotations are as their quaternions.
    return from_quaternion(jax.random.normal(key, (*shape, 4)))


def angle_between(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """The angle by which one rotation must be turned to become the other, in degrees.

    Gradient: exact; 0 where they are the same, and one of several at 180 degrees: the angle has
    a kink there.

    Args:
        a: `[..., 3, 3]` rotations, or rotations of cameras.
        b: `[..., 3, 3]` the same; leading axes are broadcast against each other.

    Returns:
        `[...]` degrees, 0 to 180.

    Raises:
        ValueError: the shape or dtype is wrong, a matrix is not orthonormal, or one mirrors and
            the other does not. Inside jit, where values are not known, what comes of such a
            matrix is finite.

    Example:
        >>> turned = from_axis_angle([0.0, 0.0, 0.5])
        >>> round(float(angle_between(jnp.eye(3), turned)), 2)  # 0.5 radians
        28.65
    """
    first, second = same_float(
        check_array("a", a, ("...", 3, 3), finite=True, hint="Pass matrices."),
        check_array("b", b, ("...", 3, 3), finite=True, hint="Pass matrices."),
    )
    for name, matrix in (("a", first), ("b", second)):
        check_rotation(name, matrix, proper=False)
    between = _matmul(*jnp.broadcast_arrays(jnp.swapaxes(first, -1, -2), second))
    if is_concrete(between) and (np.linalg.det(np.asarray(between)) < 0).any():
        raise ValueError(
            "`a` and `b` must both be proper rotations or both mirror, got determinants of "
            "different signs: no turn makes one of the other."
        )
    q = _to_quaternion(between)
    square = (q[..., 1:] ** 2).sum(-1)
    apart = square > 0
    sine = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)
    return jnp.rad2deg(2 * jnp.arctan2(sine, q[..., 0]))


def orthonormalize(matrix: ArrayLike) -> jax.Array:
    """The orthonormal matrices nearest to these: what `fit(project=…)` keeps a camera straight by.

    With the singular values of `M = U S Vᵀ` it is `R = U Vᵀ`, so that `M = R P` with a symmetric P
    that turns nothing (the polar decomposition). The sign of the determinant stays: the rotation
    of a camera in a right-handed world, of determinant -1, remains one.

    Gradient: exact, also at a rotation; to a matrix that has lost two of its dimensions, 0.

    Args:
        matrix: `[..., 3, 3]`

    Returns:
        `[..., 3, 3]`, each `R @ R.T` the identity.

    Raises:
        ValueError: the shape or dtype is wrong, a value is not finite, or a matrix is singular:
            several are nearest to it. Inside jit, where values are not known, it is one of them.

    Example:
        >>> orthonormalize([[1.1, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, -1.0]]).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]

    References:
        Higham, Computing the polar decomposition, with applications, SIAM J. Sci. Stat. Comput.,
        1986.
    """
    hint = "Pass matrices that are nearly rotations."
    m = check_array("matrix", matrix, ("...", 3, 3), finite=True, hint=hint)
    (m,) = same_float(m)

    # Scale to 1, which changes no result, so that no product overflows or vanishes.
    size = jax.lax.stop_gradient(jnp.abs(m).max((-1, -2), keepdims=True))
    m = m / jnp.where(size > 0, size, 1)
    if is_concrete(m):
        values = np.linalg.svd(np.asarray(m, np.float64), compute_uv=False)
        if (values[..., -1] <= NO_DIRECTION * values[..., 0]).any():
            raise ValueError(
                "`matrix` must not be singular: no orthonormal matrix is nearer to it than all "
                f"others. {hint}"
            )
    return _polar(m)


@jax.custom_jvp
def _polar(matrix: jax.Array) -> jax.Array:
    u, _, vt = jnp.linalg.svd(matrix)
    return _matmul(u, vt)


# Of M = R P follows Rᵀ dM = Rᵀ dR P + dP. Its skew part has no dP; with Rᵀ dR = [ω]x, by
# [ω]x P + P [ω]x = [(tr P - P) ω]x, that is (tr P - P) ω = the axis of Rᵀ dM - dMᵀ R. The matrix
# has the eigenvalues sᵢ + sⱼ, which vanish only where two singular values do. The gradient of the
# singular value decomposition itself is infinite where two are equal: at every rotation.
@_polar.defjvp
def _polar_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (m,), (dm,) = primals, tangents
    r = _polar(m)
    rt = jnp.swapaxes(r, -1, -2)
    p, turn = _matmul(rt, m), _matmul(rt, dm)
    skew = turn - jnp.swapaxes(turn, -1, -2)
    axis = jnp.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], axis=-1)

    # Solve by the adjugate matrix; it is symmetric, so its rows serve as columns.
    trace = jnp.trace(p, axis1=-2, axis2=-1)[..., None, None]
    a = trace * jnp.broadcast_to(jnp.eye(3, dtype=m.dtype), p.shape) - p
    rows = a[..., 0, :], a[..., 1, :], a[..., 2, :]
    adjugate = [jnp.cross(rows[k - 2], rows[k - 1]) for k in range(3)]
    determinant = (rows[0] * adjugate[0]).sum(-1, keepdims=True)
    solvable = jnp.abs(determinant) > 1e-12
    omega = sum(axis[..., k, None] * adjugate[k] for k in range(3))
    omega = jnp.where(solvable, omega / jnp.where(solvable, determinant, 1), 0)
    x, y, z = omega[..., 0], omega[..., 1], omega[..., 2]
    zero = jnp.zeros_like(x)
    return r, _matmul(r, _matrix((zero, -z, y), (z, zero, -x), (-y, x, zero)))


def _matrix(*rows: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _normalize(vectors: jax.Array) -> jax.Array:
    """Vectors of length 1; 0 stays 0, with gradient 0."""
    # Scale by the largest component, so that no square overflows or vanishes.
    size = jax.lax.stop_gradient(jnp.abs(vectors).max(-1, keepdims=True))
    some = size > 0
    scaled = jnp.where(some, vectors / jnp.where(some, size, 1), 1)
    length = jnp.sqrt((scaled * scaled).sum(-1, keepdims=True))
    return jnp.where(some, scaled / length, 0)


def _to_quaternion(r: jax.Array) -> jax.Array:
    """Of any matrix something finite of length 1."""
    # Build 4 q qᵀ; the trace of it is 4, so its largest diagonal element at least 1.
    (a, b, c), (d, e, f), (g, h, i) = [[r[..., m, n] for n in range(3)] for m in range(3)]
    products = jnp.stack(
        [
            jnp.stack([1 + a + e + i, h - f, c - g, d - b], axis=-1),
            jnp.stack([h - f, 1 + a - e - i, b + d, c + g], axis=-1),
            jnp.stack([c - g, b + d, 1 - a + e - i, f + h], axis=-1),
            jnp.stack([d - b, c + g, f + h, 1 - a - e + i], axis=-1),
        ],
        axis=-2,
    )

    # Take its longest row, on the side of w >= 0.
    best = jnp.diagonal(products, axis1=-2, axis2=-1).argmax(-1)
    q = _normalize(jnp.take_along_axis(products, best[..., None, None], axis=-2)[..., 0, :])
    return jnp.where(q[..., :1] < 0, -q, q)


def _sinc_root(x: jax.Array) -> jax.Array:
    """`sin √x / √x`, which is smooth also at 0."""
    # Sum the power series Σ (-x)ⁿ / (2n + 1)! up to 1: there, dividing by the square root would
    # cost digits of the derivatives, and at 0 all.
    small = x < 1
    near, far = jnp.where(small, x, 0), jnp.where(small, 1, x)
    series = jnp.ones_like(x)
    for n in range(SERIES - 1, 0, -1):
        series = 1 - near / (2 * n * (2 * n + 1)) * series
    return jnp.where(small, series, jnp.sin(jnp.sqrt(far)) / jnp.sqrt(far))
