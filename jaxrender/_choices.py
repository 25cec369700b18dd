"""Named choices, for type checkers and for errors: each name is written here once."""

from __future__ import annotations

from typing import Any, Literal, get_args

Cull = Literal["none", "back", "front"]
Shading = Literal["flat", "gouraud", "phong", "none"]
Encoding = Literal["display", "linear"]
# In the order that `UVTexture.samplers` counts.
Wrap = Literal["repeat", "clamp", "mirror"]
Filter = Literal["linear", "nearest"]
Reduction = Literal["sum", "mean"]
Distance = Literal["hard", "barycentric", "euclidean"]
ColorAggregation = Literal["hard", "softmax"]
Distribution = Literal[
    "uniform",
    "cubic_hermite",
    "wigner_semicircle",
    "gaussian",
    "laplace",
    "logistic",
    "gudermannian",
    "cauchy",
    "reciprocal",
    "gumbel_max",
    "gumbel_min",
    "exponential",
    "exponential_reversed",
    "gamma",
    "gamma_reversed",
    "levy",
    "levy_reversed",
]
TConormName = Literal[
    "max",
    "probabilistic",
    "einstein",
    "hamacher",
    "frank",
    "yager",
    "aczel_alsina",
    "dombi",
    "schweizer_sklar",
]
SoftRasAlpha = Literal["hard", "sum", "prod"]
AlphaAggregation = SoftRasAlpha | TConormName

CULLS = get_args(Cull)
SHADINGS = get_args(Shading)
ENCODINGS = get_args(Encoding)
WRAPS = get_args(Wrap)
FILTERS = get_args(Filter)
DISTANCES = get_args(Distance)
AGGREGATES_RGB = (*get_args(ColorAggregation), None)
AGGREGATES_ALPHA = get_args(SoftRasAlpha)
REDUCTIONS = get_args(Reduction)


def as_number(name: str, value: Any) -> float:
    """Returns a number of Python.

    Raises:
        ValueError: it is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        kind = type(value).__name__
        raise ValueError(f"`{name}` must be a number, got {kind}. Pass for example 2.0.") from None
