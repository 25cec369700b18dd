"""What the doors look at inside of `jax.jit`, while `debug.checked` traces; nothing otherwise.

A check is one of `jax.experimental.checkify`: `debug.checked` makes it a value, and raises it. Of
gradients, values on their way into a drawing are held by `enter`, and its results by `leave`. Both
do nothing, forwards; the cotangents that pass them on the way back are looked at.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxrender.ops.pytrees import static, struct
from jaxrender.ops.view import View

T = TypeVar("T")
KINDS = ("index", "finite", "visible", "gradient")
_WATCHED: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("watched", default=())


@struct
class Story:
    """A drawing, to tell why it is empty, or has no gradient.

    Attributes:
        mesh: a `Mesh`, or a `ScreenMesh`.
        camera: of a `Mesh`, or None.
        view: of the picture.
        rasterizer: `Hard` or `Soft`, checked.
        anti_aliasing: as of `render`; static.
        group: what has no gradient, or None; static.
    """

    mesh: Any
    camera: Any
    view: View
    rasterizer: Any
    anti_aliasing: int = static(default=1)
    group: str | None = static(default=None)


@contextlib.contextmanager
def watching(kinds: Sequence[str]) -> Iterator[None]:
    """Has the doors look at values of these kinds; what was traced before is traced anew."""
    from jax.experimental.xla_metadata import set_xla_metadata

    token = _WATCHED.set(tuple(kinds))
    try:
        # The text is a part of what programs are kept by.
        with set_xla_metadata(jaxrender_checked=",".join(kinds)):
            yield
    finally:
        _WATCHED.reset(token)


def is_watched(kind: str) -> bool:
    """Whether values are looked at while programs are traced."""
    return kind in _WATCHED.get()


def watch(good: Any, message: str, **values: Any) -> None:
    """Fails where `good` is not, once the program runs.

    Args:
        good: bools of any shape.
        message: as `str.format` takes it, with the values by name.
        values: arrays; of a `story`, a `Story`, `debug.checked` tells more.
    """
    from jax.experimental import checkify

    checkify.check(jnp.all(good), message, **jax.tree.map(jnp.asarray, values))


class Watched:
    """One drawing, as `debug.checked` follows it; does nothing where that does not.

    Args:
        name: of the function.
        story: what makes a `Story` of its arguments.
    """

    def __init__(self, name: str, story: Callable[[], Story]) -> None:
        self.name, self.story = name, story
        self.tokens: list[jax.Array] = []

    def enter(self, group: str, values: T) -> T:
        """Returns a pytree, whose cotangent must not be all 0."""
        if not is_watched("gradient"):
            return values
        leaves, tree = jax.tree.flatten(values)
        chosen = [k for k, leaf in enumerate(leaves) if _is_float(leaf)]
        if chosen:
            told, told_tree = jax.tree.flatten(self.story())
            *held, token = _primitives()[0].bind(
                *(jax.lax.stop_gradient(jnp.asarray(value)) for value in told),
                *(jnp.asarray(leaves[k]) for k in chosen),
                count=len(told),
                tree=told_tree,
                group=group,
                axes=(0,) * len(told),
            )
            self.tokens.append(token)
            for k, leaf in zip(chosen, held, strict=True):
                leaves[k] = leaf
        return jax.tree.unflatten(tree, leaves)

    def leave(self, results: T, covered: jax.Array) -> T:
        """Returns the results, of which something must be covered, and the cotangent not all 0."""
        if is_watched("visible"):
            watch((covered > 0).any(), "`mesh`: nothing is drawn", story=self.story())
        if not self.tokens:
            return results
        leaves, tree = jax.tree.flatten(results)
        chosen = [k for k, leaf in enumerate(leaves) if _is_float(leaf)]
        held = _primitives()[1].bind(
            *self.tokens, *(leaves[k] for k in chosen), count=len(self.tokens), name=self.name
        )
        for k, leaf in zip(chosen, held, strict=True):
            leaves[k] = leaf
        return jax.tree.unflatten(tree, leaves)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _some_moves(cotangents: Sequence[jax.Array]) -> jax.Array:
    """Whether one is not 0; NaN is not."""
    return functools.reduce(jnp.logical_or, [(x != 0).any() for x in cotangents], jnp.array(False))


@functools.cache
def _primitives() -> tuple[Any, Any]:
    """Of `enter` and `leave`: identities, whose transposes look at cotangents."""
    from jax.extend.core import Primitive
    from jax.interpreters import ad, batching, mlir

    def enter_all(*arrays: Any, count: int, **params: Any) -> list[Any]:
        return [*arrays[count:], jnp.zeros(())]

    def enter_jvp(primals: Any, tangents: Any, *, count: int, **params: Any) -> Any:
        results = entering.bind(*primals, count=count, **params)
        moved = tangents[count:]
        # Hold those alone that are differentiated.
        some = [k for k, tangent in enumerate(moved) if type(tangent) is not ad.Zero]
        slopes = [*moved, ad.Zero(jax.typeof(results[-1]).to_tangent_aval())]
        if some:
            held = entering.bind(*primals[:count], *(moved[k] for k in some), count=count, **params)
            for k, slope in zip([*some, len(moved)], held, strict=True):
                slopes[k] = slope
        return results, slopes

    def enter_transpose(
        cotangents: Any, *arrays: Any, count: int, tree: Any, group: str, axes: tuple[int, ...]
    ) -> Any:
        *slopes, _ = cotangents
        told = [array[(0,) * depth] for array, depth in zip(arrays[:count], axes, strict=True)]
        known = [slope for slope in slopes if type(slope) is not ad.Zero]
        story = dataclasses.replace(jax.tree.unflatten(tree, told), group=group)
        watch(_some_moves(known), f"the gradient to `{group}` is exactly zero", story=story)
        return [None] * count + slopes

    def enter_batch(arrays: Any, places: Any, *, count: int, axes: Any, **params: Any) -> Any:
        told = [
            array if place is None else jnp.moveaxis(array, place, 0)
            for array, place in zip(arrays[:count], places[:count], strict=True)
        ]
        axes = tuple(n + (p is not None) for n, p in zip(axes, places[:count], strict=True))
        results = entering.bind(*told, *arrays[count:], count=count, axes=axes, **params)
        return results, [*places[count:], None]

    def leave_all(*arrays: Any, count: int, name: str) -> list[Any]:
        return list(arrays[count:])

    def leave_jvp(primals: Any, tangents: Any, *, count: int, name: str) -> Any:
        moved = [ad.instantiate_zeros(tangent) for tangent in tangents]
        return tuple(leaving.bind(*each, count=count, name=name) for each in (primals, moved))

    def leave_transpose(cotangents: Any, *arrays: Any, count: int, name: str) -> Any:
        known = [slope for slope in cotangents if type(slope) is not ad.Zero]
        watch(
            _some_moves(known),
            f"the gradient of the loss to what `{name}` returns is exactly zero: behind it nothing "
            "depends on the picture. Look at clips, comparisons, rounding and stop_gradient in the "
            "loss, and whether the picture equals its target.",
        )
        return [jnp.zeros(())] * count + list(cotangents)

    def leave_batch(arrays: Any, places: Any, *, count: int, name: str) -> Any:
        return leaving.bind(*arrays, count=count, name=name), list(places[count:])

    entering, leaving = Primitive("jaxrender_enter"), Primitive("jaxrender_leave")
    for primitive, program, jvp, transpose, batch in (
        (entering, enter_all, enter_jvp, enter_transpose, enter_batch),
        (leaving, leave_all, leave_jvp, leave_transpose, leave_batch),
    ):
        primitive.multiple_results = True
        primitive.def_impl(program)
        primitive.def_abstract_eval(functools.partial(_shapes_of, program))
        ad.primitive_jvps[primitive] = jvp
        ad.primitive_transposes[primitive] = transpose
        batching.primitive_batchers[primitive] = batch
        mlir.register_lowering(primitive, mlir.lower_fun(program, multiple_results=True))
    return entering, leaving


def _shapes_of(program: Any, *avals: Any, **params: Any) -> list[Any]:
    return list(jax.make_jaxpr(functools.partial(program, **params))(*avals).out_avals)
