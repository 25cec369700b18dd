"""Operations of programs of scalars as vector instructions, for 8 fragments at a time.

A number of a program is a vector, one lane for each fragment; a small array is one of NumPy's that
holds vectors, so what only moves numbers is done by NumPy, and costs no instruction. Each operation
of `ops/program.py` has a rule here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from jaxrender.ops.cpu.lanes import LANES, Lanes, lane_bytes
from jaxrender.ops.cpu.machine import NUMBER
from jaxrender.ops.program import CALLS, inner_program


def run(builder: Any, program: Any, given: Sequence[Lanes]) -> list[Lanes]:
    """The numbers that a program makes of others."""
    arrays = [_array_of(value) for value in given]
    return [array[()] for array in _evaluate(builder, program.jaxpr, program.consts, arrays)]


def _array_of(value: Lanes) -> np.ndarray:
    """An array without an axis, of one vector."""
    array = np.empty((), object)
    array[()] = value
    return array


def _constant(builder: Any, value: Any, dtype: Any) -> np.ndarray:
    """An array of vectors whose lanes are a constant's numbers, in the dtype that it stands for."""
    value = np.asarray(value, dtype)
    kind = ir.VectorType(_KINDS[str(value.dtype)], LANES)
    array = np.empty(value.shape, object)
    for place in np.ndindex(value.shape):
        number = value[place].item()
        array[place] = Lanes(builder, ir.Constant(kind, [number] * LANES))
    return array


def _evaluate(builder: Any, jaxpr: Any, constants: Any, given: Sequence[np.ndarray]) -> list:
    """The results of a jaxpr, arrays of vectors."""
    known = dict(zip(jaxpr.invars, given, strict=True))
    for variable, value in zip(jaxpr.constvars, constants, strict=True):
        known[variable] = _constant(builder, value, variable.aval.dtype)

    def value_of(atom: Any) -> np.ndarray:
        # A literal is no variable, and has its value with it.
        if hasattr(atom, "val"):
            return _constant(builder, atom.val, atom.aval.dtype)
        return known[atom]

    for operation in jaxpr.eqns:
        values, params = [value_of(atom) for atom in operation.invars], operation.params
        name = operation.primitive.name
        if name in CALLS:
            inner = inner_program(operation)
            body, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
            found = _evaluate(builder, body, consts, values)
        elif name in _SHAPING:
            found = _SHAPING[name](builder, values, operation)
            found = found if operation.primitive.multiple_results else [found]
        else:
            rule = functools.partial(_ELEMENTWISE[name], **_chosen(name, params))
            found = [np.frompyfunc(rule, len(values), 1)(*values)]
        # NumPy hands out what an array without an axis holds.
        found = [each if isinstance(each, np.ndarray) else _array_of(each) for each in found]
        known |= dict(zip(operation.outvars, found, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars]


# --- operations -----------------------------------------------------------------------------------

_KINDS = {
    "bool": ir.IntType(1),
    "int32": ir.IntType(32),
    "int64": NUMBER,
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
}


def _chosen(name: str, params: Any) -> dict[str, Any]:
    """What of an operation's parameters its rule takes."""
    wanted = {"convert_element_type": ("new_dtype",), "integer_pow": ("y",)}
    return {key: params[key] for key in wanted.get(name, ())}


def resized(x: Lanes, kind: Any) -> Lanes:
    """Whole numbers as wider or narrower ones."""
    target = ir.VectorType(kind, LANES)
    if x.kind.width == kind.width:
        return x
    convert = x.builder.sext if x.kind.width < kind.width else x.builder.trunc
    return Lanes(x.builder, convert(x.value, target))


def _convert(x: Lanes, new_dtype: Any) -> Lanes:
    kind, builder = _KINDS[str(np.dtype(new_dtype))], x.builder
    target = ir.VectorType(kind, LANES)
    if x.kind == kind:
        return x
    if kind == ir.IntType(1):
        return ~x.equals(0)
    if x.kind == ir.IntType(1):
        convert = builder.zext if isinstance(kind, ir.IntType) else builder.uitofp
        return Lanes(builder, convert(x.value, target))
    if not x.is_float:
        if isinstance(kind, ir.IntType):
            return resized(x, kind)
        return Lanes(builder, builder.sitofp(x.value, target))
    if not isinstance(kind, ir.IntType):
        convert = builder.fpext if kind == ir.DoubleType() else builder.fptrunc
        return Lanes(builder, convert(x.value, target))
    # As XLA does: the nearest number that there is, and 0 for what is none.
    name = f"llvm.fptosi.sat.v{LANES}i{kind.width}.v{LANES}f{8 * lane_bytes(x.kind)}"
    kinds = ir.FunctionType(target, [x.value.type])
    function = cgutils.get_or_insert_function(builder.module, kinds, name)
    return Lanes(builder, builder.call(function, [x.value]))


def _exp(x: Lanes) -> Lanes:
    """Of any numbers; what is next to the largest there is, or above, is infinite."""
    top = 87.0 if x.kind == ir.FloatType() else 708.0
    return (x > top).where(math.inf, (x > 0).where(1 / (-x.at_most(top).abs()).exp(), x.exp()))


def _integer_power(x: Lanes, y: int) -> Lanes:
    power = functools.reduce(Lanes.__mul__, [x] * abs(y)) if y else x.full(1)
    return 1 / power if y < 0 else power


def _sign(x: Lanes) -> Lanes:
    return (x > 0).where(x.full(1), (x < 0).where(x.full(-1), x))


def _differ(x: Lanes, y: Lanes) -> Lanes:
    return ~x.equals(y)


_ELEMENTWISE: dict[str, Callable[..., Lanes]] = {
    "abs": lambda x: x.abs() if x.is_float else x.at_least(x.full(0) - x),
    "add": Lanes.__add__,
    "add_any": Lanes.__add__,
    "and": Lanes.__and__,
    "ceil": lambda x: x.whole("ceil"),
    "clamp": lambda low, x, high: x.at_least(low).at_most(high),
    "convert_element_type": _convert,
    "div": Lanes.__truediv__,
    "eq": Lanes.equals,
    "exp": _exp,
    "floor": lambda x: x.whole("floor"),
    "ge": Lanes.__ge__,
    "gt": Lanes.__gt__,
    "integer_pow": _integer_power,
    "is_finite": lambda x: x.abs() < math.inf,
    "le": Lanes.__le__,
    "log": Lanes.log,
    "lt": Lanes.__lt__,
    "max": Lanes.at_least,
    "min": Lanes.at_most,
    "mul": Lanes.__mul__,
    "ne": _differ,
    "neg": lambda x: -x if x.is_float else x.full(0) - x,
    "not": Lanes.__invert__,
    "or": Lanes.__or__,
    "rsqrt": lambda x: 1 / x.sqrt(),
    "select_n": lambda which, first, second: which.where(second, first),
    "sign": _sign,
    "sqrt": Lanes.sqrt,
    "square": lambda x: x * x,
    "sub": Lanes.__sub__,
    "xor": Lanes.__xor__,
}


def _broadcast(builder: Any, values: list, operation: Any) -> np.ndarray:
    shape, kept = operation.params["shape"], operation.params["broadcast_dimensions"]
    lengths = [1] * len(shape)
    for axis, length in zip(kept, values[0].shape, strict=True):
        lengths[axis] = length
    return np.broadcast_to(values[0].reshape(lengths), shape)


def _slice(builder: Any, values: list, operation: Any) -> np.ndarray:
    params = operation.params
    steps = params["strides"] or [1] * values[0].ndim
    bounds = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    return values[0][tuple(slice(*bound) for bound in bounds)]


def _pad(builder: Any, values: list, operation: Any) -> np.ndarray:
    array, filling = values
    for axis, (low, high, inner) in enumerate(operation.params["padding_config"]):
        length = array.shape[axis]
        places = np.arange(length) * (inner + 1) + low
        total = low + high + length + max(length - 1, 0) * inner
        shape = (*array.shape[:axis], total, *array.shape[axis + 1 :])
        wider = np.full(shape, filling[()], object)
        kept = (places >= 0) & (places < total)
        index = (slice(None),) * axis
        wider[(*index, places[kept])] = array[(*index, kept)]
        array = wider
    return array


def _sum(builder: Any, values: list, operation: Any) -> np.ndarray:
    array = values[0]
    if not array.size:
        result = operation.outvars[0].aval
        return _constant(builder, np.zeros(result.shape), result.dtype)
    for axis in sorted(operation.params["axes"], reverse=True):
        array = functools.reduce(np.add, np.moveaxis(array, axis, 0))
    return array


def _split(builder: Any, values: list, operation: Any) -> list:
    ends = np.cumsum(operation.params["sizes"])[:-1]
    return np.split(values[0], ends, operation.params["axis"])


def _same(builder: Any, values: list, operation: Any) -> np.ndarray:
    return values[0]


_SHAPING: dict[str, Callable[[Any, list, Any], Any]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda builder, values, op: np.concatenate(values, op.params["dimension"]),
    "copy": _same,
    "copy_p": _same,
    "expand_dims": lambda builder, values, op: values[0].reshape(op.outvars[0].aval.shape),
    "optimization_barrier": lambda builder, values, op: values,
    "pad": _pad,
    "reduce_sum": _sum,
    "reshape": lambda builder, values, op: values[0].reshape(op.outvars[0].aval.shape),
    "slice": _slice,
    "split": _split,
    "squeeze": lambda builder, values, op: values[0].reshape(op.outvars[0].aval.shape),
    "stack": lambda builder, values, op: np.stack(values, op.params["axis"]),
    "stop_gradient": _same,
    "transpose": lambda builder, values, op: values[0].transpose(op.params["permutation"]),
    "unstack": lambda builder, values, op: list(np.moveaxis(values[0], op.params["axis"], 0)),
}
