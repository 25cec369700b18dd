"""Elementwise functions as programs of scalars, which kernels take in machine code of their own.

What an elementwise function does with one fragment is all there is to know of it: so shaders are
traced for one, and derived by JAX; `cpu/operations.py` writes vector instructions for what was
traced. What does more than is known there, a sine or a loop say, has no program: passes shade then.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

# What `cpu/operations.py` has instructions for: of numbers, and of small arrays of them.
_ELEMENTWISE = """abs add add_any and ceil clamp convert_element_type div eq exp floor ge gt
    integer_pow is_finite le log lt max min mul ne neg not or rsqrt select_n sign sqrt square sub
    xor"""
_SHAPING = """broadcast_in_dim concatenate copy copy_p expand_dims optimization_barrier pad
    reduce_sum reshape slice split squeeze stack stop_gradient transpose unstack"""
_CALLS = "closed_call core_call custom_jvp_call custom_vjp_call jit pjit remat"
ELEMENTWISE, SHAPING, CALLS = (
    frozenset(names.split()) for names in (_ELEMENTWISE, _SHAPING, _CALLS)
)
DTYPES = frozenset(("bool", "int32", "int64", "float32", "float64"))
MAX_OPERATIONS, MAX_SIZE, MAX_TEXEL_NUMBERS = 4000, 64, 64  # more would take long to compile


class Sizes(NamedTuple):
    """How many numbers a shader is given of a fragment, and makes."""

    indices: int  # I of the face, int32
    varyings: int  # K
    uniforms: int  # U
    columns: int  # C' of the table of texels; 0 where none is read
    channels: int  # C of the colours


@dataclasses.dataclass(frozen=True, eq=False)
class ShaderProgram:
    """What a shader does with one fragment, whose `T` taps read rows of a table.

    Attributes:
        sizes: I, K, U, C' and C.
        dtype: of all numbers but those of faces.
        taps: `(I, K, U numbers) -> (T rows, T weights)`; None reads nothing.
        color: `(C' of the texel, K, U) -> C`.
        cotangents: `(I, K, U, T C' of the texels, C cotangents) -> (C colours, cotangents of K, U
            and T C')`.
    """

    sizes: Sizes
    dtype: str
    taps: Any
    color: Any
    cotangents: Any

    @property
    def tap_count(self) -> int:
        """How many rows of the table a fragment reads, `T`."""
        return 0 if self.taps is None else len(self.taps.jaxpr.outvars) // 2


@functools.lru_cache(maxsize=256)
def shader_program(
    taps: Callable | None, color: Callable | None, sizes: Sizes, dtype: str
) -> ShaderProgram | None:
    """That of a shader, whose functions are as in `soft.structs.Shader`; None if it has none."""
    try:
        program = _traced(taps, color, sizes, dtype)
        parts = program.taps, program.color, program.cotangents
        known = all(_is_known(part) for part in parts if part is not None)
    except Exception:  # of a user's function, which may want axes: passes try it with some
        return None
    few = program.tap_count * sizes.columns <= MAX_TEXEL_NUMBERS
    return program if few and known else None


def _traced(
    taps: Callable | None, color: Callable | None, sizes: Sizes, dtype: str
) -> ShaderProgram:
    """The programs of taps, of colours and of all cotangents, as JAX traces them for scalars."""
    number, integer = (jax.ShapeDtypeStruct((), kind) for kind in (dtype, jnp.int32))
    index, columns = [integer] * sizes.indices, sizes.columns
    own = [number] * sizes.varyings, [number] * sizes.uniforms

    def numbers(values: list) -> list[jax.Array]:
        return [jnp.broadcast_to(jnp.asarray(value, dtype), ()) for value in values]

    def read(index: list, varyings: list, uniforms: list) -> tuple[list, list]:
        if taps is None:
            return [], []
        rows, weights = taps(index, varyings, uniforms)
        return [jnp.broadcast_to(row, ()) for row in rows], numbers(weights)

    def shade(texel: list, varyings: list, uniforms: list) -> list:
        return numbers(texel if color is None else color(texel, varyings, uniforms))

    def cotangents(
        index: list, varyings: list, uniforms: list, texels: list, d_colors: list
    ) -> tuple[list, tuple]:
        def colors(varyings: list, uniforms: list, texels: list) -> list:
            _, weights = read(index, varyings, uniforms)
            rows = [texels[k * columns : (k + 1) * columns] for k in range(len(weights))]
            texel = [sum(map(jnp.multiply, c, weights)) for c in zip(*rows, strict=True)]
            return shade(texel, varyings, uniforms)

        found, back = jax.vjp(colors, varyings, uniforms, texels)
        return found, back(d_colors)

    reading = jax.make_jaxpr(read)(index, *own)
    texels = [number] * (len(reading.jaxpr.outvars) // 2 * columns)
    return ShaderProgram(
        sizes,
        dtype,
        None if taps is None else reading,
        jax.make_jaxpr(shade)([number] * columns, *own),
        jax.make_jaxpr(cotangents)(index, *own, texels, [number] * sizes.channels),
    )


def inner_program(operation: Any) -> Any:
    """The jaxpr that an operation of `CALLS` calls, with its constants if it has any."""
    params = operation.params
    return next(params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params)


def _is_known(program: Any) -> bool:
    """Whether there are instructions for all that a program does."""
    constants, operations = list(program.consts), []
    for operation, inner in _operations(program.jaxpr):
        operations.append(operation)
        constants += inner
    if any(isinstance(constant, Tracer) for constant in constants):
        return False
    values = [value.aval for operation in operations for value in operation.outvars]
    values += map(jnp.asarray, constants)
    return (
        len(operations) <= MAX_OPERATIONS
        and all(map(_has_instructions, operations))
        and all(value.size <= MAX_SIZE and str(value.dtype) in DTYPES for value in values)
    )


def _has_instructions(operation: Any) -> bool:
    """Whether kernels know an operation for its types."""
    name, kinds = operation.primitive.name, [each.aval.dtype.kind for each in operation.invars]
    if name == "div" and "i" in kinds:
        return False  # a processor stops at a whole number divided by 0
    if name == "select_n":
        return kinds[0] == "b" and len(kinds) == 3
    # What is true is -1 as a number of one bit, and less than what is not.
    ordered = name in ("clamp", "ge", "gt", "le", "lt", "max", "min")
    return name in ELEMENTWISE | SHAPING | CALLS and not (ordered and "b" in kinds)


def _operations(jaxpr: Any) -> Iterator[tuple[Any, list]]:
    """All operations, with the constants of what they call."""
    for operation in jaxpr.eqns:
        inner = inner_program(operation) if operation.primitive.name in CALLS else None
        yield operation, list(getattr(inner, "consts", ()))
        if inner is not None:
            yield from _operations(getattr(inner, "jaxpr", inner))
