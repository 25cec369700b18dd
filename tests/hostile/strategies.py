"""Scenes that an enemy would draw, for hypothesis, and the few programs that draw them.

A `Variant` is what is static: one compiled program. A strategy draws values for it: arrays of
fixed shapes, from a seed and from the names of what is wrong with each face, so that hypothesis
shrinks a failure to few faces with something wrong.

`make test` draws 200 sets of values for each property, the same in each run; HOSTILE_CASES says
how many instead, and draws others in each run: a failure prints the line that reproduces it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import jaxrender as jr

CASES = int(os.environ.get("HOSTILE_CASES", "0"))


class Values(dict):
    """Arrays by name, which show themselves by what they were drawn from."""

    made = ""

    def __repr__(self) -> str:
        small = {name: value.tolist() for name, value in self.items() if value.size < 4}
        return f"{self.made}, {small}"


def drawn(share: int = 1) -> Callable[[Any], Any]:
    """How many sets of values a test draws: its share, of so many, of those of a property."""
    return settings(
        max_examples=max((CASES or 200) // share, 2),
        derandomize=not CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        print_blob=True,
        suppress_health_check=[
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
            HealthCheck.too_slow,
        ],
    )


# --- variants: what is static ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Variant:
    """One program: all that is static of a picture."""

    rasterizer: str = "hard"  # "hard", "nmr", "edge", "antialias" or "soft"
    soft: tuple[tuple[str, Any], ...] = ()  # static fields of `Soft`
    image_size: tuple[int, int] = (5, 7)
    faces: int = 12
    texture: str = "vertex"
    shading: str = "flat"
    samples: int = 1
    parallel: bool = False
    cull: str = "none"
    limited: bool = False  # by `far`

    def how(self, values: Any) -> jr.Hard | jr.Soft:
        if self.rasterizer == "soft":
            numbers = {name: values[name] for name in ("sigma", "gamma", "eps", "cutoff")}
            return jr.Soft(**numbers, **dict(self.soft))
        named = None if self.rasterizer == "hard" else self.rasterizer
        return jr.Hard(visibility_gradient=named)

    @property
    def moving(self) -> tuple[str, ...]:
        """The values that a picture is differentiated to."""
        names = ("vertices", "colors", "eye", "at", "up", "zoom", "light", "background", "near")
        names += ("far",) if self.limited else ()
        return names + (("sigma", "gamma", "eps") if self.rasterizer == "soft" else ())


def soft(distribution: str = "logistic", conorm: str = "prod", /, **options: Any) -> Variant:
    """A soft variant: fields of `Soft` and of `Variant`."""
    of_variant = {field.name for field in dataclasses.fields(Variant)}
    fixed = {name: value for name, value in options.items() if name not in of_variant}
    fixed |= {"distribution": distribution, "aggregate_alpha": conorm}
    options = {name: value for name, value in options.items() if name in of_variant}
    return Variant("soft", tuple(sorted(fixed.items())), **options)


# Each choice of each kind is in some variant of each list, and each list begins with the usual.
HARD = {
    "hard": Variant(texture="uv", shading="gouraud"),
    "nmr": Variant("nmr"),
    "edge": Variant("edge", texture="texel", shading="none", cull="back", limited=True),
    "antialias": Variant("antialias", texture="cube", shading="phong"),
    "hard 2x2": Variant(samples=2, parallel=True, texture="texel 1x1", shading="phong"),
    "nmr 2x2": Variant("nmr", samples=2, image_size=(3, 5), cull="front", texture="uv 1x1"),
    "edge 2x2": Variant("edge", samples=2, parallel=True, shading="gouraud"),
    "antialias 2x2": Variant("antialias", samples=2, image_size=(1, 11), limited=True),
    "hard 1x1": Variant(image_size=(1, 1)),
    "nmr 1x1": Variant("nmr", image_size=(1, 1), faces=1),
    "edge 1x11": Variant("edge", image_size=(1, 11), faces=1),
    "antialias 1x1": Variant("antialias", image_size=(1, 1)),
    "hard without faces": Variant(faces=0),
    "nmr without faces": Variant("nmr", faces=0),
    "edge without faces": Variant("edge", faces=0),
    "antialias without faces": Variant("antialias", faces=0),
}
SOFT = {
    "logistic": soft(texture="uv", shading="gouraud"),
    "logistic at corners": soft(shading="none", limited=True),  # by kernels, on a CPU
    "logistic alone": soft(aggregate_rgb=None, samples=2),
    "logistic texel": soft(texture="texel", limited=True, samples=2),  # and these by its shader
    "logistic cube": soft(texture="cube", shading="phong"),
    "uniform max": soft("uniform", "max", squared=False),
    "cubic_hermite hamacher": soft("cubic_hermite", "hamacher", samples=2),
    "wigner_semicircle frank": soft("wigner_semicircle", "frank", distance="barycentric"),
    "gaussian yager": soft("gaussian", "yager", squared=False, texture="texel", cull="back"),
    "laplace aczel_alsina": soft("laplace", "aczel_alsina", squared=False, limited=True),
    "logistic hard": soft("logistic", "hard", distance="hard", aggregate_rgb="hard"),
    "gudermannian dombi": soft("gudermannian", "dombi", parallel=True),
    "cauchy sum": soft("cauchy", "sum", squared=False, texture="cube", shading="phong"),
    "reciprocal schweizer_sklar": soft("reciprocal", "schweizer_sklar", image_size=(1, 11)),
    "gumbel_max einstein": soft("gumbel_max", "einstein", aggregate_rgb="hard", shading="none"),
    "gumbel_min probabilistic": soft("gumbel_min", "probabilistic", aggregate_rgb=None),
    "exponential max": soft("exponential", "max", image_size=(1, 1)),
    "exponential_reversed yager": soft("exponential_reversed", "yager", faces=1, samples=2),
    "gamma dombi": soft("gamma", "dombi", cull="front", squared=False),
    "gamma_reversed frank": soft("gamma_reversed", "frank", parallel=True, limited=True),
    "levy hamacher": soft("levy", "hamacher", squared=False, texture="uv 1x1"),
    "levy_reversed aczel_alsina": soft("levy_reversed", "aczel_alsina", samples=2),
    "faithful": soft(faithful=True, limited=True, texture="texel 1x1"),
    "without faces": soft(faces=0, samples=2),
    "without faces, limited": soft("cauchy", "sum", faces=0, limited=True),
}
VARIANTS = HARD | SOFT


def texture_of(variant: Variant, colors: Any, faces: Any) -> jr.Texture:
    """The texture of a variant, its texels all from `colors` `[3 F, 3]`."""
    count = faces.shape[0]
    if variant.texture == "vertex" or not count:
        return jr.VertexColors(colors)
    if variant.texture.startswith("texel"):
        side = 1 if "1x1" in variant.texture else 2
        index = np.arange(count * side * side) % len(colors)
        return jr.FaceTexels(colors[index].reshape(count, side, side, 3))
    if variant.texture == "cube":
        return jr.FaceCubes(colors[np.arange(8 * count) % len(colors)].reshape(count, 2, 2, 2, 3))
    height, width = (1, 1) if "1x1" in variant.texture else (3, 2)
    image = colors[np.arange(height * width) % len(colors)].reshape(height, width, 3)
    return jr.UVTexture(image, 3 * colors[:, :2] - 1, faces)


def picture(variant: Variant, values: Any) -> jr.Image:
    """The picture of a scene."""
    mesh = jr.Mesh(
        values["vertices"],
        values["faces"],
        texture_of(variant, values["colors"], values["faces"]),
    )
    zoom = values["zoom"]
    lens = jr.orthographic(zoom / 30) if variant.parallel else jr.perspective(zoom)
    light = values["light"]
    return jr.render(
        mesh,
        jr.look_at(values["eye"], values["at"], values["up"], projection=lens),
        jr.make_lights(0.3, [(light[:3], 0.4)], [(light[3:], 0.3)], specular=0.2),
        image_size=variant.image_size,
        near=values["near"],
        far=values["far"] if variant.limited else None,
        background=values["background"],
        anti_aliasing=variant.samples,
        cull=variant.cull,  # pyright: ignore[reportArgumentType]
        shading=variant.shading,  # pyright: ignore[reportArgumentType]
        rasterizer=variant.how(values),
    )


def shares(variant: Variant, moving: Any, values: Any, weight: Any = 1.0) -> jax.Array:
    """What each pixel adds to `loss`, of its colour, alpha and depth `[H, W]`."""
    image = picture(variant, {**values, **moving})
    height, width = variant.image_size
    ramp = weight * jnp.linspace(-1, 1, height * width + 1, dtype=image.alpha.dtype)[1:]
    return (image.rgb.sum(-1) + image.alpha + image.depth) * ramp.reshape(height, width)


def loss(variant: Variant, moving: Any, values: Any, weight: Any = 1.0) -> jax.Array:
    """A number that depends on all of a picture, and on each pixel otherwise."""
    return shares(variant, moving, values, weight).sum()


def split(variant: Variant, values: Values) -> tuple[dict, dict]:
    """What is differentiated to, and the rest."""
    moving = {name: values[name] for name in variant.moving}
    return moving, {name: value for name, value in values.items() if name not in moving}


# --- values ---------------------------------------------------------------------------------------

# What is wrong with a face; hypothesis shrinks towards the first.
# Mild ones have no corner in the near plane itself: there rounding decides which pieces there are.
MILD = ("absent", "plain", "small", "beside", "before", "across", "shared")
HOSTILE = (
    *MILD, "near", "twice", "turned", "point", "sliver", "edge-on", "giant", "tiny", "far", "plane",
    "behind", "at eye", "on pixels", "at light",
)  # fmt: skip
CAMERAS = ("plain", "inside", "far", "upside down", "close", "wide", "narrow", "along up", "at eye")


def spoil(kind: str, corners: np.ndarray, scene: Values, rng: np.random.Generator) -> None:
    """Makes the last face `[3, 3]` of `corners` what `kind` says, in place."""
    face, other = corners[-1], corners[0]
    forward = scene["at"] - scene["eye"]
    forward = forward / max(np.linalg.norm(forward), 1e-30)
    if kind == "small":
        face[:] = face[0] + 0.05 * (face - face[0])
    elif kind == "beside":
        face += rng.normal(size=3) * 3
    elif kind == "before":  # one corner behind the camera, or two
        face[: rng.integers(1, 3)] += 2 * (scene["eye"] - scene["at"])
    elif kind in ("across", "near"):  # corners on either side of the near plane, or in it
        places = [0.9, 1.1] if kind == "across" else [0.9, 1, 1.1]
        ahead = scene["near"] * rng.choice(places, 3)
        face += (ahead - (face - scene["eye"]) @ forward)[:, None] * forward
    elif kind == "shared" and len(corners) > 1:
        face[:2] = other[1:]
    elif kind == "twice":
        face[:] = other
    elif kind == "turned":
        face[:] = other[::-1]
    elif kind == "point":
        face[:] = face[0]
    elif kind == "sliver":
        face[2] = face[0] + (face[1] - face[0]) * rng.uniform(-1, 2)
    elif kind == "edge-on":
        face[2] = face[0] + forward * rng.uniform(-2, 2)
    elif kind == "giant":
        face *= 10.0 ** rng.uniform(1, 7)
    elif kind == "tiny":
        face[:] = face[0] + (face - face[0]) * 10.0 ** rng.uniform(-7, -2)
    elif kind == "far":
        face += forward * 10.0 ** rng.uniform(1, 7)
    elif kind == "plane":  # a corner on the plane of the camera, or almost
        beside = np.cross(forward, rng.normal(size=3))
        face[0] = scene["eye"] + beside + forward * rng.choice([0, 1e-30, -1e-12, 1e-7])
    elif kind == "behind":
        face += 3 * (scene["eye"] - scene["at"])
    elif kind == "at eye":
        face[rng.integers(3)] = scene["eye"]
    elif kind == "on pixels":
        face[:] = np.round(face * 4) / 4
    elif kind == "at light":
        face[rng.integers(3)] = scene["light"][3:]


def camera(kind: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Where the camera of a scene within [-1, 1] stands."""
    eye = rng.normal(size=3)
    eye *= 2.5 / np.linalg.norm(eye)
    found = {"eye": eye, "at": 0.1 * rng.normal(size=3), "up": rng.normal(size=3)}
    found |= {"zoom": np.array(rng.uniform(30, 90)), "near": np.array(0.1)}
    if kind == "inside":
        found["eye"] = 0.3 * eye
    elif kind == "far":
        found["eye"] = eye * 10.0 ** rng.uniform(1, 6)
    elif kind == "upside down":
        found["up"] = -found["up"] * 1e-6
    elif kind == "close":
        found |= {"eye": 0.2 * eye, "near": np.array(10.0 ** rng.uniform(-6, -2))}
    elif kind == "wide":
        found["zoom"] = np.array(179.9)
    elif kind == "narrow":
        found["zoom"] = np.array(10.0 ** rng.uniform(-3, 0))
    elif kind == "along up":
        found["up"] = (found["at"] - found["eye"]) * rng.choice([1, -1])
    elif kind == "at eye":
        found["at"] = found["eye"] + rng.choice([0, 1e-20])
    return found


@st.composite
def scenes(draw: Any, variant: Variant, dtype: Any = np.float32, *, mild: bool = False) -> Values:
    """Values for a variant; `mild` are those whose derivative differences can find."""
    seed, place = draw(st.integers(0, 2**16)), draw(st.sampled_from(CAMERAS[: 2 if mild else None]))
    rng = np.random.default_rng(seed)
    scene = Values(camera(place, rng))
    scene["light"] = rng.normal(size=6)

    # Draw faces around the origin, each with something wrong, or nothing.
    count = variant.faces
    kinds = draw(
        st.lists(st.sampled_from(MILD if mild else HOSTILE), min_size=count, max_size=count)
    )
    corners = 0.4 * rng.normal(size=(count, 1, 3)) + 0.5 * rng.normal(size=(count, 3, 3))
    for index, kind in enumerate(kinds):
        spoil(kind, corners[: index + 1], scene, rng)
    faces = np.arange(3 * count).reshape(-1, 3)
    faces[[kind == "absent" for kind in kinds]] = 0
    scale = 1.0 if mild else 10.0 ** draw(st.sampled_from([0, 0, 0, 3, -3, 7, -7]))
    for name in ("eye", "at", "near"):
        scene[name] = scene[name] * scale

    # Join corners at one place, as edges need it.
    scene["vertices"] = corners.reshape(-1, 3) * scale
    if count and draw(st.booleans()):
        places, index = np.unique(scene["vertices"], axis=0, return_inverse=True)
        scene["vertices"][: len(places)] = places
        faces = index.reshape(-1)[faces]
    scene["colors"] = rng.uniform(size=(max(3 * count, 3), 3))[: 3 * count]

    # Draw the numbers of the soft rasteriser over their range.
    powers = (
        {"sigma": (-3, -1), "gamma": (-2, 0)} if mild else {"sigma": (-12, 2), "gamma": (-8, 1)}
    )
    for name, (low, high) in powers.items():
        scene[name] = np.array(10.0 ** draw(st.integers(low, high)))
    scene["eps"] = np.array(0.01 if mild else draw(st.sampled_from([1e-3, 0.0, 1e-8, 0.99])))
    scene["cutoff"] = np.array(1e-12 if mild else draw(st.sampled_from([1e-4, 1e-30, 1e-7, 0.49])))
    scene["far"] = scene["near"] * 10.0 ** (3 if mild else draw(st.sampled_from([3, 1, 9])))
    scene["background"] = rng.uniform(size=3)
    scene = Values({name: np.asarray(value, dtype) for name, value in scene.items()})
    scene["faces"] = faces.astype(np.int32)
    scene.made = f"seed {seed}, camera {place}, faces {', '.join(kinds)}, times {scale:g}"
    return scene
