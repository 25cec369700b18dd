"""`debug.checked`: each fault is raised inside of `jax.jit`, named, and with its reason."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender._checks import check_array, check_faces
from jaxrender._types import Hard, Soft
from jaxrender._watching import Story, Watched
from jaxrender.debug import checked
from jaxrender.ops.view import View

MESH = jr.Mesh(
    jnp.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0.5], [0, 0.3, -1]]),
    jnp.array([[0, 1, 2], [0, 1, 3]]),
)
EYE = jnp.array([0.1, 0.2, -4.0])


def covered(vertices, faces, eye, rasterizer=None):
    image = jr.render(
        jr.Mesh(vertices, faces), jr.look_at(eye), image_size=(6, 8), rasterizer=rasterizer
    )
    return image.alpha.sum()


@pytest.fixture(scope="module")
def drawing():
    """One program for all that is wrong with what it is given."""
    traces = []

    @jax.jit
    def loss(vertices, faces, eye):
        traces.append(None)
        return covered(vertices, faces, eye)

    return loss, checked(loss), traces


@pytest.mark.thorough
def test_a_picture(drawing):
    loss, run, traces = drawing
    args = MESH.vertices, MESH.faces, EYE
    wanted = loss(*args)
    assert run(*args) == wanted
    assert len(traces) == 2  # what was compiled before is not what is checked
    assert loss(*args) == run(*args) == wanted
    assert len(traces) == 2

    vertices, faces, eye = args
    with pytest.raises(ValueError, match=r"`mesh\.vertices` must be finite, got 2 .*index \[3 1\]"):
        run(vertices.at[3, 1:].set(jnp.nan), faces, eye)
    with pytest.raises(ValueError, match=r"`mesh\.faces` must index 4 .* got indices from 0 to 7"):
        run(vertices, faces.at[1, 0].set(7), eye)
    with pytest.raises(ValueError, match=r"`mesh`: nothing is drawn\. .*: 2 faces: 0 drawn; 2 off"):
        run(vertices + jnp.array([[0, 50.0, 0]]), faces, eye)
    with pytest.raises(ValueError, match=r"`eye` must be finite, got 1"):
        run(vertices, faces, eye.at[0].set(jnp.inf))


@pytest.mark.thorough
def test_a_gradient_that_hard_edges_do_not_have():
    run = checked(jax.grad(covered))
    told = r"the gradient to `mesh\.vertices` is exactly zero\. Hard\(\) .*Soft.*2 faces: 1 drawn"
    with pytest.raises(ValueError, match=told):
        run(MESH.vertices, MESH.faces, EYE)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "rasterizer",
    [
        pytest.param(Hard("nmr"), marks=pytest.mark.long),
        Hard("edge"),
        Soft(sigma=1e-3),
    ],
    ids=str,
)
def test_gradients_pass_through(rasterizer):
    """Of several views; to rounding, as what is checked is another program."""
    eyes = jnp.stack([EYE, EYE + 1])

    def total(vertices, eyes):
        draw = functools.partial(covered, vertices, MESH.faces, rasterizer=rasterizer)
        return jax.vmap(draw)(eyes).sum()

    slopes = jax.grad(total, (0, 1))
    wanted = jax.jit(slopes)(MESH.vertices, eyes)
    for got, own in zip(checked(slopes)(MESH.vertices, eyes), wanted, strict=True):
        np.testing.assert_allclose(got, own, rtol=1e-5, atol=1e-6 * np.abs(own).max())
        assert (own != 0).any()


# --- what is looked at, without a picture ---------------------------------------------------------

STORY = Story(MESH, jr.look_at(EYE), View(jnp.array(0.1), None, (6, 8)), Soft(sigma=1e-3))


def double(x, *, empty=False):
    """A drawing as far as it is watched."""
    watched = Watched("double", lambda: STORY)
    x = watched.enter("mesh.vertices", {"x": x, "whole": jnp.arange(3)})["x"]
    return watched.leave(2 * x, jnp.zeros(2) if empty else jnp.ones(2))


@pytest.mark.thorough
def test_every_way_to_differentiate():
    x, ways = (
        jnp.arange(1.0, 4.0),
        {
            "value": double,
            "jit": jax.jit(double),
            "forward": lambda x: jax.jvp(double, (x,), (x,)),
            "reverse": jax.grad(lambda x: (double(x) ** 2).sum()),
            "of jit": jax.jit(jax.grad(lambda x: (jax.jit(double)(x) ** 2).sum())),
            "Hessian": jax.hessian(lambda x: (double(x) ** 2).sum()),
            "batch": jax.vmap(jax.grad(lambda x: double(x) ** 2)),
            "of batch": jax.grad(lambda x: (jax.vmap(double)(x) ** 2).sum()),
            "loop": lambda x: jax.lax.map(jax.grad(lambda x: double(x) ** 2), x),
            "remat": jax.grad(lambda x: (jax.checkpoint(double)(x) ** 2).sum()),
        },
    )
    for name, way in ways.items():
        wanted, got = way(x), checked(way)(x)
        for own, other in zip(*map(jax.tree.leaves, (wanted, got)), strict=True):
            np.testing.assert_array_equal(own, other, err_msg=name)


@pytest.mark.slow
def test_gradients_that_are_zero():
    def nothing(x):
        return (double(x) * 0).sum()

    def unseen(x):
        return (jnp.ones(3) * 2 + jax.lax.stop_gradient(double(x))).sum()

    def flat(x):
        watched = Watched("flat", lambda: STORY)
        x = watched.enter("mesh.vertices", x)
        return watched.leave(jnp.round(x), jnp.ones(1)).sum()

    x = jnp.arange(3.0)
    with pytest.raises(ValueError, match=r"of the loss to what `double` returns is exactly zero"):
        checked(jax.grad(nothing))(x)
    told = r"to `mesh\.vertices` is exactly zero\. No pixel .*sigma=0\.001.* larger sigma"
    with pytest.raises(ValueError, match=told):
        checked(jax.grad(flat))(x)
    checked(jax.grad(flat), kinds=["finite", "visible"])(x)
    checked(jax.grad(flat), kinds="index")(x)
    checked(jax.grad(unseen))(x)  # nothing goes back at all: the function does not ask
    many = checked(jax.vmap(jax.grad(flat)))
    with pytest.raises(ValueError, match=r"to `mesh\.vertices` is exactly zero"):
        many(jnp.ones((2, 3)))


def test_empty():
    with pytest.raises(ValueError, match=r"`mesh`: nothing is drawn\. Of the mesh: 2 faces: 1 dra"):
        checked(functools.partial(double, empty=True))(jnp.ones(2))


def test_doors():
    faces = checked(lambda faces: check_faces("faces", faces, 4))
    with pytest.raises(ValueError, match=r"`faces` must index 4 vertices .* from -1 to 3"):
        faces(jnp.array([[0, 3, -1]]))
    many = checked(jax.vmap(lambda x: check_array("x", x, (), finite=True)))
    with pytest.raises(ValueError, match="`x` must be finite, got 1 NaN"):
        many(jnp.array([1.0, jnp.nan]))


def test_results():
    root = checked(jax.grad(lambda p: jnp.sqrt(p["a"]).sum()))
    assert root({"a": jnp.ones(2)})["a"].tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"the result\['a'\] has 1 NaN or infinite values of 2"):
        root({"a": jnp.array([0.0, 1.0])})


def test_settings_are_part_of_the_program():
    def power(x, *, exponent, name):
        return {name: x**exponent}

    run = checked(power)
    assert run(jnp.array(3.0), exponent=2, name="a")["a"] == 9
    assert run(jnp.array(3.0), exponent=3, name="b")["b"] == 27
    assert run.__name__ == "power"


def test_bad_input():
    with pytest.raises(ValueError, match=r"`function` must be a function, got ArrayImpl"):
        checked(MESH.vertices)
    with pytest.raises(ValueError, match=r"`kinds` must be one of 'index'"):
        checked(double, kinds=["nan"])
    with pytest.raises(ValueError, match=r"Put it outside: checked\(jax\.jit\(f\)\)"):
        jax.jit(checked(double))(1.0)
