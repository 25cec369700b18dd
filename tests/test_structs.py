"""How structs show themselves: in one line, arrays by dtype and shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr


@pytest.mark.parametrize(
    ("struct", "text"),
    [
        (jr.shapes.cube(), "Mesh(vertices=float32[8, 3], faces=int32[12, 3])"),
        (
            jr.Mesh(
                np.zeros((3, 3)), np.zeros((1, 3), np.int32), jr.VertexColors(np.zeros((3, 3)))
            ),
            "Mesh(vertices=float64[3, 3], faces=int32[1, 3], "
            "texture=VertexColors(colors=float64[3, 3]))",
        ),
        (
            jr.look_at((1.0, 2, 3)),
            "Camera(rotation=float32[3, 3], translation=float32[3], "
            "projection=Perspective(fov=60))",
        ),
        (jr.Hard("nmr"), "Hard(visibility_gradient='nmr')"),
        (jr.Soft(sigma=jnp.float32(0.1)), "Soft(sigma=0.1)"),
    ],
)
def test_one_line(struct, text):
    assert repr(struct) == text


def test_traced():
    seen = []
    jax.jit(lambda soft: seen.append(repr(soft)))(jr.Soft(sigma=jnp.float32(0.1)))
    assert "sigma=float32[]" in seen[0]


def test_a_text_of_ones_own_stays():
    @jr.struct
    class Ball:
        radius: float

        def __repr__(self):
            return "o"

    assert repr(Ball(1.0)) == "o"
