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


def test_a_scene_is_one_line():
    ball = jr.shapes.icosphere(1)
    pair = jr.make_scene(
        [ball, jr.Object(ball, material=jr.Material(roughness=jnp.array([0.5])), id=7)]
    )
    assert "\n" not in repr(pair)
    assert "Parts(object_of_part=int32[2], object_of_face=int32[160]" in repr(pair)


def test_arrays_inside_of_tuples():
    @jr.struct
    class Pair:
        both: tuple[jax.Array, jax.Array]
        more: list[float]

    assert (
        repr(Pair((jnp.ones(3), jnp.ones(())), [1.5])) == "Pair(both=(float32[3], 1), more=[1.5])"
    )


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
