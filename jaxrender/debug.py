"""Looks at values inside of `jax.jit`, where they are not known, and says what is wrong with them.

Outside of `jax.jit` the public functions check what they are given. Inside they cannot, and draw
nothing for what is wrong; `checked` has them check there too, by `jax.experimental.checkify`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrender._checks import check_choice, check_several, is_concrete
from jaxrender._diagnose import why_not_drawn
from jaxrender._types import Hard, Soft
from jaxrender._watching import KINDS, Story, watching

__all__ = ["checked"]
_F = TypeVar("_F", bound=Callable)


def __dir__() -> list[str]:
    return __all__


def checked(function: _F, *, kinds: Sequence[str] = KINDS) -> _F:
    """Makes a function that does the same, and raises where jaxrender is given or makes nonsense.

    It may call any functions here, and jit, differentiate and batch as it likes: `checked(loss)`,
    `checked(jax.jit(loss))`, `checked(jax.value_and_grad(loss))`. It is compiled; arrays are its
    inputs, all other arguments (numbers of Python too) are part of the program. It is for finding
    faults: programs are larger and slower, and none is changed that is compiled without it.

    "index": an index names no vertex. "finite": a vertex, colour, camera or whatever else is to be
    finite is not; nor is a result. "visible": a picture is empty. "gradient": what flows back to
    `mesh.vertices`, `mesh.texture`, `mesh.material`, `camera`, `lights` or `background` of a
    drawing is exactly 0 in all its numbers, though asked for. Messages name the argument, as those
    of the functions do, and add what `why_not_drawn` says. The first fault is raised.

    Args:
        function: of arrays, structs and settings; what `jax.jit` can trace.
        kinds: which faults are looked for: some of "index", "finite", "visible", "gradient".

    Returns:
        A function of the same arguments and results, to be called outside of `jax.jit`.

    Raises:
        ValueError: a fault; or `function` is none, a kind is not known, or an argument is traced.

    Example:
        >>> import jax, jaxrender as jr
        >>> ball = jr.shapes.icosphere(0)
        >>> def loss(vertices, eye):
        ...     mesh = jr.Mesh(vertices, ball.faces)
        ...     return jr.render(mesh, jr.look_at(eye), image_size=(8, 8)).alpha.sum()
        >>> jr.debug.checked(jax.grad(loss))(ball.vertices, jax.numpy.array([0.0, 0.0, 3.0]))
        Traceback (most recent call last):
        ...
        ValueError: the gradient to `mesh.vertices` is exactly zero. Hard() lets edges have no ...
    """
    if not callable(function):
        raise ValueError(
            f"`function` must be a function, got {type(function).__name__}. Pass the loss itself, "
            "not what it returns."
        )
    if isinstance(kinds, str):
        kinds = [kinds]
    several = check_several("kinds", kinds, "kinds")
    kinds = tuple(check_choice("kinds", kind, KINDS) for kind in several)
    program = jax.jit(functools.partial(_run, function, kinds), static_argnums=0)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not is_concrete((args, kwargs)):
            raise ValueError(
                "`checked` must be called with known values, got traced ones. Put it outside: "
                "checked(jax.jit(f)), checked(jax.grad(f)), checked(jax.vmap(f))."
            )
        leaves, tree = jax.tree.flatten((args, kwargs))
        known = tuple(None if _is_array(leaf) else leaf for leaf in leaves)
        arrays = [leaf if _is_array(leaf) else None for leaf in leaves]
        error, result = program((tree, known), arrays)
        failure = error.get_exception()
        if failure is not None:
            raise ValueError(_told(failure))
        if "finite" in kinds:
            _check_result(result)
        return result

    return run  # pyright: ignore[reportReturnType]


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def _run(function: Callable, kinds: tuple[str, ...], settings: Any, arrays: list[Any]) -> Any:
    """What fails, and what the function returns."""
    from jax.experimental import checkify

    tree, known = settings

    def on_arrays(arrays: list[Any]) -> Any:
        leaves = [k if array is None else array for k, array in zip(known, arrays, strict=True)]
        args, kwargs = jax.tree.unflatten(tree, leaves)
        return function(*args, **kwargs)

    with watching(kinds):
        return checkify.checkify(on_arrays, errors=checkify.user_checks)(arrays)


def _told(failure: Any) -> str:
    """What went wrong, in words."""
    text = str(failure).removesuffix(" (`check` failed)")
    story = getattr(failure, "kwargs", {}).get("story")
    if not isinstance(story, Story):
        return text
    reason = "" if story.group is None else f" {_why_no_gradient(story)}"
    view = story.view
    seen = why_not_drawn(
        story.mesh,
        story.camera,
        image_size=view.image_size,
        near=view.near,
        far=view.far,
        cull=view.cull,  # pyright: ignore[reportArgumentType]
        anti_aliasing=story.anti_aliasing,
    )
    return f"{text}.{reason} Of the mesh: {seen}"


def _why_no_gradient(story: Story) -> str:
    """Why a gradient is 0 though the loss depends on the picture, and what to change."""
    how = story.rasterizer
    moves = story.group in ("mesh.vertices", "screen.vertices", "camera")
    if moves and isinstance(how, Hard) and how.visibility_gradient is None:
        return (
            "Hard() lets edges have no gradient, and nothing that a pixel sees of its face depends "
            'on where it lies. Pass rasterizer=Hard("edge"), Hard("nmr") or Soft(…).'
        )
    if not moves:
        return "What it colours is seen at no pixel that the loss looks at, or has no colour there."
    reach = (
        f"sigma={float(np.asarray(how.sigma)):.3g}"
        if isinstance(how, Soft)
        else "the gradient's reach"
    )
    return (
        "No pixel on which the loss depends would change: what should move lies beyond "
        f"{reach}, or fills the picture. Start nearer"
        + (", or with a larger sigma." if isinstance(how, Soft) else ", or with Soft(sigma=1e-3).")
    )


def _check_result(result: Any) -> None:
    """Rejects what is not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(result):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            bad = int((~jnp.isfinite(leaf)).sum())
            if bad:
                raise ValueError(
                    f"the result{jax.tree_util.keystr(path)} has {bad} NaN or infinite values of "
                    f"{jnp.size(leaf)}, though all that jaxrender was given is finite. They come "
                    "of what else the function does, as a norm or a division at 0; "
                    'jax.config.update("jax_debug_nans", True) shows the line.'
                )
