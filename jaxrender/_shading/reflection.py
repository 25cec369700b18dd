"""The light that a point of a surface reflects: functions that both rasterisers call.

To add a model (a BRDF), write a function beside `blinn_phong`, and name it in `REFLECTIONS`. A
number that it needs is a field of `Lights`, with its shape in `LIGHT_SHAPES`; a field that has a
default needs no change of `make_lights`.

Shape legend: `L` lights, `N` points, `...` any arrangement of points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrender._types import Lights
from jaxrender._vectors import NO_LENGTH, Vector, unit3
from jaxrender.ops.fusion import computed_once

NO_WIDTH = 1e-6  # of the soft border of a cone, in cosines: it is sharp


def light_points(
    points: jax.Array,
    normals: jax.Array,
    lights: Lights,
    eye: jax.Array | None,
    gloss: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array | None]:
    """Diffuse light `[N, 3]`, and with an eye the reflection `[N, 3]`.

    `gloss` `[N, 4]` is specular colour and shininess of the points, in place of the lights'.
    """
    diffuse, reflection = light_columns(
        points.T, normals.T, lights, eye, None if gloss is None else gloss.T
    )
    return jnp.stack(diffuse, -1), None if reflection is None else jnp.stack(reflection, -1)


def light_columns(
    points: jax.Array,
    normals: jax.Array,
    lights: Lights,
    eye: jax.Array | None,
    gloss: jax.Array | None = None,
) -> tuple[list[jax.Array], list[jax.Array] | None]:
    """The same by components: of points and normals `[3, N]`, gloss `[4, N]`; channels `[N]`."""
    spread = jax.tree.map(lambda numbers: numbers.T[..., None], lights)
    if gloss is not None:
        spread = dataclasses.replace(spread, specular=gloss[:3], shininess=gloss[3])
    eye = None if eye is None else eye[:, None, None]
    return reflect(points[:, None], normals[:, None], spread, eye)


def is_behind(eye: jax.Array, points: jax.Array, normals: jax.Array) -> jax.Array:
    """Whether the viewpoint `[4]` lies behind the surface at points `[N, 3]`."""
    to_viewer = _to_viewer(_components(points.T), eye)
    return _dot(_components(normals.T), to_viewer) < 0


def blinn_phong(
    points: jax.Array, normals: jax.Array, lights: Lights, eye: jax.Array | None
) -> tuple[list[jax.Array], list[jax.Array] | None]:
    """Light on points of any arrangement, by components, which XLA vectorises.

    Args:
        points: `[3, 1, ...]`.
        normals: `[3, 1, ...]` unit length.
        lights: with `[3, ...]` ambient and specular, `[3, L, ...]` vectors and colours, and
            shininess `[...]`; each `...` that of the points, or broadcastable to it.
        eye: `[4, 1, ...]`, or None for no reflection.

    Returns:
        Red, green and blue `[...]` of diffuse light, and of the reflection.
    """
    point, normal = _components(points), _components(normals)
    parallel = _components(lights.directions)
    x, y, z = _components(lights.positions)
    to_light = x - point[0], y - point[1], z - point[2]
    central = unit3(to_light)
    arriving = _arriving(lights, to_light, central)

    # Sum what falls on the surface.
    facing = _dot(normal, parallel), _dot(normal, central)
    colors = lights.direction_colors, lights.position_colors
    summed = _sum_lights(colors, facing[0], jax.nn.relu(facing[1]) * arriving)
    diffuse = [lights.ambient[c] + mixed for c, mixed in enumerate(summed)]
    if eye is None:
        return diffuse, None

    # Sum what it reflects to the viewer; the length of a direction scales its light.
    to_eye = unit3(_to_viewer(point, eye))
    along = unit3(parallel)
    strength = _dot(parallel, along)
    specular = (
        strength * _specular(normal, along, to_eye, facing[0] > 0, lights.shininess[None]),
        _specular(normal, central, to_eye, facing[1] > 0, lights.shininess[None]),
    )
    colors = (
        colors[0] if lights.direction_speculars is None else lights.direction_speculars,
        colors[1] if lights.position_speculars is None else lights.position_speculars,
    )
    summed = _sum_lights(colors, specular[0], specular[1] * arriving)
    return diffuse, [lights.specular[c] * light for c, light in enumerate(summed)]


class Reflection(NamedTuple):
    """A model of reflection."""

    light: Callable[..., Any]  # as `blinn_phong`
    strength: str  # the number of `Lights` that is 0 where nothing is reflected to an eye


REFLECTIONS = {"blinn_phong": Reflection(blinn_phong, "specular")}  # by name


def reflect(
    points: jax.Array, normals: jax.Array, lights: Lights, eye: jax.Array | None
) -> tuple[list[jax.Array], list[jax.Array] | None]:
    """What the lights' own model makes of them; arguments and results as of `blinn_phong`."""
    model = lights.reflection
    model = REFLECTIONS[model].light if isinstance(model, str) else model
    return model(points, normals, lights, eye)


def reflecting_number(lights: Lights) -> str:
    """The name of the number of the lights that is 0 where they need no eye."""
    model = lights.reflection
    return REFLECTIONS[model].strength if isinstance(model, str) else "specular"


def _specular(
    normal: Vector, to_light: Vector, to_eye: Vector, lit: jax.Array, shininess: jax.Array
) -> jax.Array:
    """`max(0, n·h)ˢ` of unit vectors, with gradient 0 where it is 0."""
    x, y, z = (light + eye for light, eye in zip(to_light, to_eye, strict=True))
    cosine = _dot(normal, unit3((x, y, z)))
    lit = lit & (cosine > NO_LENGTH)
    power = jnp.maximum(shininess, 0) * jnp.log(jnp.where(lit, cosine, 1))
    return jnp.where(lit, jnp.exp(power), 0)


def _arriving(lights: Lights, to_light: Vector, central: Vector) -> jax.Array | float:
    """How much of the light of the point lights arrives `[L, ...]`: distance and cones."""
    arriving = 1.0
    if lights.attenuations is not None:
        a, b, c = _components(lights.attenuations)
        distance = _dot(to_light, central)
        fall = a + b * distance + c * distance * distance
        positive = fall > NO_LENGTH
        arriving = 1 / jnp.where(positive, fall, 1)
    if lights.spot_directions is None:
        return arriving
    assert lights.spot_cutoffs is not None
    assert lights.spot_exponents is not None
    cosine = -_dot(central, unit3(_components(lights.spot_directions)))
    border = jnp.cos(jnp.deg2rad(lights.spot_cutoffs))
    inside = cosine >= border
    in_front = cosine > NO_LENGTH
    power = lights.spot_exponents * jnp.log(jnp.where(in_front, cosine, 1))
    fade = jnp.where(in_front, jnp.exp(power), jnp.where(lights.spot_exponents > 0, 0, 1))
    if lights.spot_inners is not None:
        width = jnp.cos(jnp.deg2rad(lights.spot_inners)) - border
        is_soft = width > NO_WIDTH
        way = jnp.clip((cosine - border) / jnp.where(is_soft, width, 1), 0, 1)
        fade = fade * jnp.where(is_soft, way * way, 1)
    cone = jnp.where(inside, fade, 0)
    return arriving * jnp.where(lights.spot_cutoffs >= 180, 1, cone)


def _sum_lights(
    colors: tuple[jax.Array, jax.Array], parallel: jax.Array, central: jax.Array
) -> list[jax.Array]:
    """The colours `[3, L, ...]` of lights in these amounts `[L, ...]`, none negative, summed."""
    amounts = [jax.nn.relu(own) for own in (parallel, central)]
    rows = computed_once([row for own in amounts for row in own])
    mixed = []
    for c in range(3):
        kept = [color for own in colors for color in own[c]]
        total = jnp.zeros_like(amounts[0][:0].sum(0))
        for row, color in zip(rows, kept, strict=True):
            total = total + row * color
        mixed.append(total)
    return mixed


def _components(vectors: jax.Array) -> Vector:
    """The x, y and z of vectors `[3, ...]`."""
    return vectors[0], vectors[1], vectors[2]


def _dot(a: Vector, b: Vector) -> jax.Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _to_viewer(point: Vector, eye: jax.Array) -> Vector:
    """From points to the homogeneous point `eye` `[4]`, of any length."""
    x, y, z = point
    return eye[0] - eye[3] * x, eye[1] - eye[3] * y, eye[2] - eye[3] * z
