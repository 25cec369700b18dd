"""Maps that are linear in some of their arguments, and whose transpose has a program of its own.

JAX transposes what it can differentiate; where another program is quicker, a `LinearMap` names it
and keeps all else as it was: forward mode, reverse mode and both in any order, and `vmap`, which
folds into one call as in `batching.py`. To differentiate again by what a map is not linear in, its
plain program is taken.

The columns of a Jacobian share what a map is not linear in, and under a further `vmap` those of
each view their own. So of a batch of `B` examples the arrays that a map is not linear in have a
leading axis of size `G`, or 1, where `G` divides `B`: each is that of `B / G` examples that follow
each other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrender.ops.batching import batch_size, fold_into, results_of_none
from jaxrender.ops.sharding import match_varying_axes

Arrays = Sequence[jax.Array]


def run_outside_jit(primitive: Any) -> None:
    """Has a primitive compiled where it is called outside of `jax.jit`, once for its parameters."""

    @functools.lru_cache(maxsize=64)
    def compiled(params: tuple) -> Callable:
        return jax.jit(functools.partial(primitive.bind, **dict(params)))

    @primitive.def_impl
    def run(*arrays: Any, **params: Any) -> Any:
        with jax.disable_jit(False):
            return compiled(tuple(sorted(params.items())))(*arrays)


class LinearMap:
    """`map(given, linear, options)`, see above.

    Args:
        name: of the primitives, for those who read programs.
        plain: `plain(given, linear, options) -> results` of one example, plain JAX and linear in
            `linear`; all three are lists of arrays.
        transposed: `transposed(given, cotangents, shapes, options) -> cotangents of linear`, for
            arrays with a leading batch axis, of size 1 where the whole batch shares an array; its
            results have that of the batch. `shapes` and dtypes are those of one example.
        program: `program(given, linear, options) -> results`, of arrays with a leading batch axis,
            where a quicker one than the plain is known: `given` of `G` or 1, see above.
    """

    def __init__(
        self,
        name: str,
        plain: Callable,
        transposed: Callable,
        program: Callable | None = None,
    ) -> None:
        self.name, self.plain, self.transposed, self.program = name, plain, transposed, program

    def __call__(self, given: Arrays, linear: Arrays, options: Hashable) -> list[jax.Array]:
        """The results for one example."""
        # Not by what is linear itself, which has no value where a program is transposed.
        every = [*given, *match_varying_axes(list(linear), list(given))]
        shapes = tuple((array.shape, array.dtype) for array in linear)
        results = self._primitives[0].bind(
            *(array[None] for array in every),
            count=len(given),
            shapes=shapes,
            options=options,
            unused=(),
        )
        return [result[0] for result in results]

    def forward(
        self, *arrays: jax.Array, count: int, shapes: Any, options: Any, unused: Any = ()
    ) -> Arrays:
        """The map, of arrays with a leading batch axis, by its own program."""
        if self.program is not None:
            return self.program(arrays[:count], arrays[count:], options)
        return self.plainly_forward(*arrays, count=count, shapes=shapes, options=options)

    def plainly_forward(
        self, *arrays: jax.Array, count: int, shapes: Any, options: Any, unused: Any = ()
    ) -> Arrays:
        """The map, as it is written."""
        return _over_groups(
            lambda *single: self.plain(single[:count], single[count:], options), arrays, count
        )

    def backward(
        self, *arrays: jax.Array, count: int, shapes: Any, options: Any, unused: Any = ()
    ) -> Arrays:
        """Its transpose, by its own program."""
        given, cotangents = arrays[:count], arrays[count:]
        given = without_groups(given, batch_size(*arrays))
        return self.transposed(given, cotangents, shapes, options)

    def plainly_backward(
        self, *arrays: jax.Array, count: int, shapes: Any, options: Any, unused: Any = ()
    ) -> Arrays:
        """Its transpose, as JAX makes it."""

        def single(*arrays: jax.Array) -> Arrays:
            given, cotangents = arrays[:count], arrays[count:]
            # It is the same at any place, so take one, which varies over devices as the rest does.
            nowhere = match_varying_axes([jnp.zeros(*shape) for shape in shapes], arrays)
            _, pull = jax.vjp(lambda *linear: tuple(self.plain(given, linear, options)), *nowhere)
            return pull(tuple(cotangents))

        return _over_groups(single, arrays, count)

    # What JAX traces for the shapes of the results, and never runs.
    abstract_forward, abstract_backward = plainly_forward, plainly_backward

    @functools.cached_property
    def _primitives(self) -> tuple[Any, Any]:
        """The map's and its transpose's."""
        from jax.extend.core import Primitive

        pair = Primitive(self.name), Primitive(f"{self.name}_transposed")
        programs = (
            (self.forward, self.plainly_forward, self.abstract_forward),
            (self.backward, self.plainly_backward, self.abstract_backward),
        )
        for own, other, of_own in zip(pair, pair[::-1], programs, strict=True):
            _give_rules(own, other, *of_own)
        return pair


def over_batch(single: Callable, arrays: Arrays) -> Any:
    """A function of single examples for arrays with a leading axis, 1 where they are shared."""
    size = batch_size(*arrays)
    if size == 1:
        # Without `vmap`, under which both branches of a choice are taken.
        return jax.tree.map(lambda result: result[None], single(*(array[0] for array in arrays)))
    shared = [array.shape[0] != size for array in arrays]
    axes = [None if alone else 0 for alone in shared]
    args = [array[0] if alone else array for array, alone in zip(arrays, shared, strict=True)]
    return jax.vmap(single, axes)(*args)


def without_groups(given: Arrays, size: int) -> list[jax.Array]:
    """What a map is not linear in, for a program that knows of no groups: each has its own."""
    return [
        jnp.repeat(array, size // array.shape[0], axis=0) if 1 < len(array) < size else array
        for array in given
    ]


def batched_zeros(shapes: Any, arrays: Arrays) -> list[jax.Array]:
    """Zeros with the batch axis of `arrays`, for `abstract_forward` and `abstract_backward`.

    Args:
        shapes: shape and dtype of each, of one example.
        arrays: with a leading batch axis, of size 1 where the whole batch shares an array.
    """
    size = batch_size(*arrays)
    return match_varying_axes([jnp.zeros((size, *shape), dtype) for shape, dtype in shapes], arrays)


def _over_groups(single: Callable, arrays: Arrays, count: int) -> Any:
    """The same, where the first `count` arrays are those of groups of examples."""
    groups, size = batch_size(*arrays[:count]), batch_size(*arrays)
    if groups in (1, size):
        return over_batch(single, arrays)
    split = [
        array
        if k < count or len(array) == 1
        else array.reshape(groups, size // groups, *array.shape[1:])
        for k, array in enumerate(arrays)
    ]

    def one_group(*arrays: jax.Array) -> Any:
        own = [
            array[None] if k < count or len(split[k]) == 1 else array
            for k, array in enumerate(arrays)
        ]
        return over_batch(single, own)

    results = over_batch(one_group, split)
    return jax.tree.map(lambda result: result.reshape(size, *result.shape[2:]), results)


def _give_rules(
    own: Any, other: Any, program: Callable, plain: Callable, abstract: Callable
) -> None:
    """What JAX has to know of a primitive: arrays not linear come first, `count` of them.

    `unused` are the cotangents, by their numbers, that are known to be 0.
    """
    from jax.interpreters import ad, batching, mlir

    own.multiple_results = True

    run_outside_jit(own)

    @own.def_abstract_eval
    def shapes_of(*avals: Any, **params: Any) -> list[Any]:
        # Trace a program, which tells how results vary over devices as well.
        return list(jax.make_jaxpr(functools.partial(abstract, **params))(*avals).out_avals)

    def jvp(primals: Any, tangents: Any, *, count: int, **params: Any) -> Any:
        params["count"] = count
        results = own.bind(*primals, **params)
        if all(type(tangent) is ad.Zero for tangent in tangents[:count]):
            moved = map(ad.instantiate_zeros, tangents[count:])
            return results, own.bind(*primals[:count], *moved, **params)
        tangents = tuple(ad.instantiate_zeros(tangent) for tangent in tangents)
        return results, jax.jvp(functools.partial(plain, **params), tuple(primals), tangents)[1]

    def transpose(cotangents: Any, *arrays: Any, count: int, **params: Any) -> Any:
        given, linear = arrays[:count], arrays[count:]
        zeros = [type(cotangent) is ad.Zero for cotangent in cotangents]
        params["unused"] = tuple(number for number, zero in enumerate(zeros) if zero)
        cotangents = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
        results = other.bind(*given, *cotangents, count=count, **params)
        # What the batch shares gets the sum.
        summed = [
            result.sum(0, keepdims=True) if into.aval.shape[0] < result.shape[0] else result
            for result, into in zip(results, linear, strict=True)
        ]
        return [None] * count + summed

    def batch(arrays: Any, axes: Any, *, count: int, **params: Any) -> Any:
        mapped = [axis is not None for axis in axes]
        grouped = any(mapped[:count])
        size = next(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None)
        # Examples of one group follow each other: where all share what the map is not linear in,
        # the axis goes behind that of the batch, else before it.
        place = 0 if grouped else 1
        if size == 0:

            def of_one(*arrays: jax.Array) -> list[jax.Array]:
                return batch(arrays, axes, count=count, **params)[0]

            found = results_of_none(of_one, arrays, axes, place)
            return found, [place] * len(found)
        moved = [
            array if axis is None else jnp.moveaxis(array, axis, place)
            for array, axis in zip(arrays, axes, strict=True)
        ]
        sizes = [
            array.shape[1 - place if of else 0] for array, of in zip(moved, mapped, strict=True)
        ]
        inner = max(sizes[:count]), max(sizes)
        folded = [
            fold_into(array, of, size, inner[k >= count], place) if grouped or k >= count else array
            for k, (array, of) in enumerate(zip(moved, mapped, strict=True))
        ]
        results = own.bind(*folded, count=count, **params)
        shape = (size, inner[1]) if grouped else (inner[1], size)
        unfolded = [result.reshape(*shape, *result.shape[1:]) for result in results]
        return unfolded, [place] * len(unfolded)

    ad.primitive_jvps[own] = jvp
    ad.primitive_transposes[own] = transpose
    batching.primitive_batchers[own] = batch
    mlir.register_lowering(own, mlir.lower_fun(program, multiple_results=True))
