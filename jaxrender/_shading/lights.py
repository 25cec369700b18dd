"""Lights, and the checks of what is lit, by what, and seen from where.

Shape legend: `D` directional and `P` point lights, `L` of either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrender._checks import (
    check_array,
    check_choice,
    check_flag,
    check_several,
    is_concrete,
    same_float,
)
from jaxrender._material import Material
from jaxrender._shading.reflection import REFLECTIONS, reflecting_number
from jaxrender._textures import Texture, channels
from jaxrender._types import LIGHT_SHAPES, Lights


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
    spots = check_several("spot", spot, "(position, colour, direction, cutoff)")
    if spots:
        placed, colors, cones = _spots(spots, len(positions))
        positions, placed = same_float(positions, placed)
        positions = jnp.concatenate([positions, placed])
        position_colors = jnp.concatenate(same_float(position_colors, colors))
    if attenuation is not None:
        attenuation = check_array("attenuation", attenuation, ("...", 3), finite=True)
        if attenuation.shape not in ((3,), (1, 3), positions.shape):
            raise ValueError(
                "`attenuation` must be [3] for all point and spot lights, or "
                f"{list(positions.shape)}, got {list(attenuation.shape)}. Pass for example "
                "(0, 0, 1)."
            )
        attenuation = jnp.broadcast_to(attenuation, positions.shape)
    return check_lights(
        Lights(
            ambient=check_color("ambient", ambient),
            directions=directions,
            direction_colors=direction_colors,
            positions=positions,
            position_colors=position_colors,
            specular=check_color("specular", specular),
            shininess=check_array("shininess", shininess, (), finite=True),
            reflection=reflection,
            attenuations=attenuation,
            like_opengl=check_flag("like_opengl", like_opengl),
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
            check_color("spot colour", color),
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


def check_eye(
    eye: ArrayLike | None, lights: Lights | None, material: Material | None = None
) -> jax.Array | None:
    """Returns the viewpoint as a homogeneous point `[4]`.

    Raises:
        ValueError: its shape is wrong, or it is missing and something reflects to it.
    """
    if eye is None:
        name = None if lights is None else reflecting_number(lights)
        strength = None if name is None else getattr(lights, name)
        if strength is not None and is_concrete(strength) and np.asarray(strength).any():
            raise ValueError(
                f"`eye` must be given for {name} reflection, got None. "
                f"Pass eye=viewpoint(camera), or lights with {name}=0."
            )
        glossy = None if lights is None or material is None else material.specular
        if glossy is not None and is_concrete(glossy) and np.asarray(glossy).any():
            raise ValueError(
                "`eye` must be given for a material with specular reflection, got None. "
                "Pass eye=viewpoint(camera), or a material without `specular`."
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

    # Give arrays their shapes; static fields stay as they are.
    counts: dict[Any, int] = {}
    arrays: dict[str, Any] = {}
    for field in dataclasses.fields(lights):
        value = getattr(lights, field.name)
        if field.metadata.get("static") or (value is None and field.default is None):
            continue
        sizes = LIGHT_SHAPES.get(field.name, ("...",))  # of a class of the user's own, any
        shape = [counts.get(size, size) for size in sizes]
        array = check_array(f"lights.{field.name}", value, shape, finite=True, hint=hint)
        if field.name in ("directions", "positions"):
            counts[sizes[0]] = len(array)
        arrays[field.name] = array
    arrays = dict(zip(arrays, same_float(*arrays.values()), strict=True))
    like_opengl = check_flag("lights.like_opengl", lights.like_opengl)
    lights = dataclasses.replace(lights, **arrays, like_opengl=like_opengl)

    # Check what their values say.
    if is_concrete(lights.shininess) and not np.asarray(lights.shininess) >= 0:
        raise ValueError(
            "`lights.shininess` must not be negative, got "
            f"{float(lights.shininess)}. Pass for example 32."
        )
    _check_cones(lights, hint)
    if isinstance(lights.reflection, str) or not callable(lights.reflection):
        check_choice("lights.reflection", lights.reflection, tuple(REFLECTIONS))
    return lights


def _check_cones(lights: Lights, hint: str) -> None:
    """Rejects spot lights whose cones are not whole.

    Raises:
        ValueError: a cone lacks an array, or is wider than a cone.
    """
    names = "spot_directions", "spot_cutoffs", "spot_exponents"
    given = [name for name in names if getattr(lights, name) is not None]
    if len(given) not in (0, 3) or (not given and lights.spot_inners is not None):
        raise ValueError(
            "`lights` must have all of spot_directions, spot_cutoffs and spot_exponents, or none, "
            f"got {', '.join(given or ['spot_inners'])} alone. {hint}"
        )
    cutoffs = lights.spot_cutoffs
    if cutoffs is not None and is_concrete(cutoffs):
        for cutoff in np.asarray(cutoffs).tolist():
            if not 0 <= cutoff <= 90 and cutoff != 180:
                raise ValueError(
                    "`lights.spot_cutoffs` must lie between 0 and 90 degrees, or be 180 for no "
                    f"cone, got {cutoff}."
                )


def check_color(name: str, color: ArrayLike) -> jax.Array:
    """A colour `[3]`, of rgb or of one number."""
    if not isinstance(color, list | tuple) and np.ndim(color) == 0:
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
    return jnp.stack(vectors), jnp.stack([check_color(f"{name} colour", color) for color in colors])
