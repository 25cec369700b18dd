"""Lights, and the checks of what is lit, by what, and seen from where.

Shape legend: `D` directional and `P` point lights, `L` of either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._checks import check_array, check_choice, is_concrete, same_float
from jaxrender._shading.reflection import REFLECTIONS
from jaxrender._textures import Texture, channels
from jaxrender._types import Lights


def make_lights(
    ambient: ArrayLike = 0.5,
    directional: Sequence[tuple[ArrayLike, ArrayLike]] = (((0.0, 1.0, 0.0), 0.5),),
    point: Sequence[tuple[ArrayLike, ArrayLike]] = (),
    *,
    spot: Sequence[tuple[ArrayLike, ...]] = (),
    attenuation: ArrayLike | None = None,
    specular: ArrayLike = 0.0,
    shininess: ArrayLike = 32.0,
    reflection: str | Callable[..., Any] = "blinn_phong",
    like_opengl: bool = False,
) -> Lights:
    """Lights, from lists of (where, colour); by default those of NMR and SoftRas.

    A colour is rgb times intensity, or one number for grey. See `shade` for what they do.

    Gradient: exact to every number given.

    Args:
        ambient: colour of the light from everywhere.
        directional: pairs (direction, colour); the direction `[3]` points from the surface
            towards the light, and its length scales the light.
        point: pairs (position, colour); the position `[3]` is in scene units.
        spot: (position, colour, direction, cutoff), (…, exponent) or (…, exponent, inner): a point
            light that shines along the direction `[3]`, as far to all sides as `cutoff` degrees, 90
            at most, and within the cone by the cosine of the angle to the power of the exponent, 0
            by default. From `inner` degrees on it fades to nothing at the cutoff, as in glTF: by
            the square of how far its cosine has come. Without, the border of the cone is sharp, and
            has no gradient.
        attenuation: `[3]` of all point and spot lights, or `[P, 3]`, points first: their light is
            divided by `a + b d + c d²` at the distance `d`; None does not fall off.
        specular: colour of the surface's mirror-like reflection; 0 is matte.
        shininess: exponent of that reflection, not negative; larger is sharper.
        reflection: "blinn_phong", or a function `(points, normals, lights, eye)`, elementwise and
            differentiable, which all shadings of both rasterisers call: `points` and unit
            `normals` are `[3, 1, ...]`, components first, and broadcast against the lights'
            vectors and colours `[3, L, ...]`, ambient and specular `[3, ...]` and shininess
            `[...]`; `eye` is `[4, 1, ...]`, see `viewpoint`, or None where `shade` was given none.
            It returns three arrays `[...]`, red, green and blue, that multiply the texture, and
            three to be added, or None. Static.
        like_opengl: whether light falls as in OpenGL's fixed pipeline, and in MuJoCo: base colours
            of a `Material`, encoded as the texture is, take the light; reflection and what is
            emitted are added, without linear light; all is cut off at 1, and then multiplies the
            texture. Static.

    Returns:
        The lights.

    Raises:
        ValueError: a shape is wrong or a value is not finite.

    Example:
        >>> import jaxrender as jr
        >>> lights = jr.make_lights(0.2, [((0, 1, -1), (1.0, 0.9, 0.8))], specular=0.3)
        >>> lights.directions.shape, lights.positions.shape
        ((1, 3), (0, 3))
    """
    directions, direction_colors = _pairs("directional", directional)
    positions, position_colors = _pairs("point", point)
    cones: dict[str, Any] = {}
    if len(spot):
        placed, colors, cones = _spots(spot, len(positions))
        positions, placed = same_float(positions, placed)
        positions = jnp.concatenate([positions, placed])
        position_colors = jnp.concatenate(same_float(position_colors, colors))
    if attenuation is not None:
        attenuation = check_array("attenuation", attenuation, ("...", 3), finite=True)
        attenuation = jnp.broadcast_to(attenuation, positions.shape)
    return check_lights(
        Lights(
            ambient=_color("ambient", ambient),
            directions=directions,
            direction_colors=direction_colors,
            positions=positions,
            position_colors=position_colors,
            specular=_color("specular", specular),
            shininess=check_array("shininess", shininess, (), finite=True),
            reflection=reflection,
            attenuations=attenuation,
            like_opengl=bool(like_opengl),
            **cones,
        )
    )


def _spots(spots: Any, points: int) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """Positions and colours `[L, 3]`, and cones of these and the point lights before them.

    Raises:
        ValueError: a spot is not as `make_lights` says.
    """
    rows = []
    for spot in spots:
        if not isinstance(spot, Sequence) or len(spot) not in (4, 5, 6):
            raise ValueError(
                "`spot` must be a list of (position, colour, direction, cutoff), (…, exponent) or "
                f"(…, exponent, inner), got {spot!r}. Pass for example "
                "[((0, 3, 0), 1.0, (0, -1, 0), 30.0)]."
            )
        position, color, way, cutoff, *rest = spot
        exponent, inner = (*rest, *(0.0, cutoff)[len(rest) :])
        row = [
            check_array("spot position", position, (3,), finite=True),
            _color("spot colour", color),
            check_array("spot direction", way, (3,), finite=True),
            check_array("spot cutoff", cutoff, (), finite=True),
            check_array("spot exponent", exponent, (), finite=True),
            check_array("spot inner", inner, (), finite=True),
        ]
        rows.append(same_float(*row))
    positions, colors, ways, cutoffs, exponents, inners = (
        jnp.stack(parts) for parts in zip(*rows, strict=True)
    )
    dtype = ways.dtype
    all_round = jnp.broadcast_to(jnp.asarray([0, 0, 1], dtype), (points, 3))
    no_cone = jnp.full(points, 180, dtype)
    cones = {
        "spot_directions": jnp.concatenate([all_round, ways]),
        "spot_cutoffs": jnp.concatenate([no_cone, cutoffs]),
        "spot_exponents": jnp.concatenate([jnp.zeros(points, dtype), exponents]),
    }
    if any(len(spot) == 6 for spot in spots):
        cones["spot_inners"] = jnp.concatenate([no_cone, inners])
    return positions, colors, cones


def check_eye(eye: ArrayLike | None, specular: jax.Array | None) -> jax.Array | None:
    """Returns the viewpoint as a homogeneous point `[4]`.

    Raises:
        ValueError: its shape is wrong, or it is missing and something reflects to it.
    """
    if eye is None:
        if specular is not None and is_concrete(specular) and np.asarray(specular).any():
            raise ValueError(
                "`eye` must be given for specular reflection, got None. "
                "Pass eye=viewpoint(camera), or lights with specular=0."
            )
        return None
    eye = check_array("eye", eye, ("3 or 4",), hint="Pass viewpoint(camera) or a position.")
    if eye.shape[0] == 3:
        return jnp.concatenate([eye, jnp.ones_like(eye[:1])])
    return check_array("eye", eye, (4,), hint="Pass viewpoint(camera) or a position.")


def check_lit(texture: Texture | None) -> None:
    """Rejects a texture that light cannot fall on.

    Raises:
        ValueError: it has not three channels.
    """
    if channels(texture) != 3:
        raise ValueError(
            f"`mesh.texture` must have 3 channels to be lit, got {channels(texture)}. "
            'Pass shading="none" to draw other channels.'
        )


def check_lights(lights: Any) -> Lights:
    """Returns lights with arrays of the right shapes.

    Raises:
        ValueError: they are not `Lights`, or an array in them has the wrong shape.
    """
    hint = "Build lights with make_lights."
    if not isinstance(lights, Lights):
        raise ValueError(f"`lights` must be Lights or None, got {type(lights).__name__}. {hint}")
    directions = check_array("lights.directions", lights.directions, ("D", 3), hint=hint)
    positions = check_array("lights.positions", lights.positions, ("P", 3), hint=hint)
    shapes = {
        "ambient": (3,),
        "direction_colors": directions.shape,
        "position_colors": positions.shape,
        "specular": (3,),
        "shininess": (),
    }
    checked = {
        name: check_array(f"lights.{name}", getattr(lights, name), shape, hint=hint)
        for name, shape in shapes.items()
    }
    shininess = checked["shininess"]
    if is_concrete(shininess) and not np.asarray(shininess) >= 0:
        raise ValueError(
            f"`lights.shininess` must not be negative, got {float(shininess)}. Pass for example 32."
        )
    checked |= {"directions": directions, "positions": positions}
    checked |= _checked_extras(lights, directions, positions, hint)
    if isinstance(lights.reflection, str) or not callable(lights.reflection):
        check_choice("lights.reflection", lights.reflection, tuple(REFLECTIONS))
    numbers = dict(zip(checked, same_float(*checked.values()), strict=True))
    return Lights(**numbers, reflection=lights.reflection, like_opengl=bool(lights.like_opengl))


def _checked_extras(
    lights: Lights, directions: jax.Array, positions: jax.Array, hint: str
) -> dict[str, jax.Array]:
    """What lights say beyond where they are, in the right shapes.

    Raises:
        ValueError: a shape is wrong, or a cone is not whole.
    """
    count = len(positions)
    shapes = {
        "spot_directions": (count, 3),
        "spot_cutoffs": (count,),
        "spot_exponents": (count,),
        "spot_inners": (count,),
        "attenuations": (count, 3),
        "direction_speculars": directions.shape,
        "position_speculars": (count, 3),
    }
    found = {
        name: check_array(f"lights.{name}", getattr(lights, name), shape, hint=hint)
        for name, shape in shapes.items()
        if getattr(lights, name) is not None
    }
    cones = [name for name in found if name.startswith("spot")]
    if len(set(cones) - {"spot_inners"}) not in ((3,) if "spot_inners" in cones else (0, 3)):
        raise ValueError(
            "`lights` must have all of spot_directions, spot_cutoffs and spot_exponents, or none, "
            f"got {', '.join(cones)} alone. {hint}"
        )
    if cones and is_concrete(found["spot_cutoffs"]):
        for cutoff in np.asarray(found["spot_cutoffs"]).tolist():
            if not 0 <= cutoff <= 90 and cutoff != 180:
                raise ValueError(
                    "`lights.spot_cutoffs` must lie between 0 and 90 degrees, or be 180 for no "
                    f"cone, got {cutoff}."
                )
    return found


def _color(name: str, color: ArrayLike) -> jax.Array:
    """A colour `[3]`, of rgb or of one number."""
    if np.ndim(color) == 0:
        return jnp.broadcast_to(check_array(name, color, (), finite=True), (3,))
    return check_array(name, color, (3,), finite=True, hint="Pass rgb, or one number for grey.")


def _pairs(name: str, pairs: Sequence[tuple[ArrayLike, ArrayLike]]) -> tuple[jax.Array, jax.Array]:
    """Pairs (vector, colour) as two arrays `[L, 3]`."""
    try:
        vectors, colors = zip(*((vector, color) for vector, color in pairs), strict=True)
    except (TypeError, ValueError):
        if isinstance(pairs, Sequence) and not pairs:
            return jnp.zeros((0, 3)), jnp.zeros((0, 3))
        raise ValueError(
            f"`{name}` must be a list of pairs (vector, colour), got {pairs!r}. "
            "Pass for example [((0, 1, 0), 0.5)]."
        ) from None
    vectors = [check_array(f"{name} vector", vector, (3,), finite=True) for vector in vectors]
    return jnp.stack(vectors), jnp.stack([_color(f"{name} colour", color) for color in colors])
