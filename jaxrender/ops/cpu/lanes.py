"""Vectors for kernels: Python that reads as array code, and writes vector instructions.

numba leaves it to LLVM to find out which loops are vectors. What must be vectors is written with
these, inside of an intrinsic: its `generate` runs once, when the kernel is compiled, and each
operation here appends one instruction to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

LANES = 8
FUSED = ("contract",)  # a product and a sum may be one instruction, rounded once


class Lanes:
    """A vector of floats, of int32, or of bits: a mask.

    Arithmetic and comparisons are by lane, with a vector of the same kind or a number.
    """

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @property
    def kind(self) -> Any:
        """The type of a lane."""
        return self.value.type.element

    @property
    def is_float(self) -> bool:
        """Whether lanes are floats."""
        return not isinstance(self.kind, ir.IntType)

    def like(self, other: Lanes | float) -> Any:
        """The value of a vector, or of a number in all lanes."""
        if isinstance(other, Lanes):
            return other.value
        number = float(other) if self.is_float else int(other)
        return ir.Constant(self.value.type, [number] * self.value.type.count)

    def full(self, number: float) -> Lanes:
        """A vector of the same kind with a number in all lanes."""
        return self._new(self.like(number))

    def _new(self, value: Any) -> Lanes:
        return Lanes(self.builder, value)

    def _compare(self, sign: str, other: Lanes | float) -> Lanes:
        compare = self.builder.fcmp_ordered if self.is_float else self.builder.icmp_signed
        return self._new(compare(sign, self.value, self.like(other)))

    def _combine(self, name: str, other: Lanes | float, *, flip: bool = False) -> Lanes:
        pair = [self.value, self.like(other)]
        function = getattr(self.builder, f"f{name}" if self.is_float else name)
        return self._new(function(*(pair[::-1] if flip else pair)))

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._combine("add", other)

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._combine("sub", other)

    def __rsub__(self, other: float) -> Lanes:
        return self._combine("sub", other, flip=True)

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._combine("mul", other)

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self._combine("div", other)

    def __rtruediv__(self, other: float) -> Lanes:
        return self._combine("div", other, flip=True)

    def __neg__(self) -> Lanes:
        return self._new(self.builder.fneg(self.value))

    def __lt__(self, other: Lanes | float) -> Lanes:
        return self._compare("<", other)

    def __le__(self, other: Lanes | float) -> Lanes:
        return self._compare("<=", other)

    def __gt__(self, other: Lanes | float) -> Lanes:
        return self._compare(">", other)

    def __ge__(self, other: Lanes | float) -> Lanes:
        return self._compare(">=", other)

    def equals(self, other: Lanes | float) -> Lanes:
        """Where both are equal."""
        return self._compare("==", other)

    def __and__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.and_(self.value, self.like(other)))

    def __or__(self, other: Lanes) -> Lanes:
        return self._new(self.builder.or_(self.value, self.like(other)))

    def __xor__(self, other: Lanes) -> Lanes:
        return self._new(self.builder.xor(self.value, self.like(other)))

    def __invert__(self) -> Lanes:
        return self._new(self.builder.not_(self.value))

    def plus_product(self, one: Lanes, other: Lanes) -> Lanes:
        """`self + one * other`, which may be rounded once."""
        product = self.builder.fmul(one.value, other.value, flags=FUSED)
        return self._new(self.builder.fadd(self.value, product, flags=FUSED))

    def minus_product(self, one: Lanes, other: Lanes) -> Lanes:
        """`self - one * other`, likewise."""
        product = self.builder.fmul(one.value, other.value, flags=FUSED)
        return self._new(self.builder.fsub(self.value, product, flags=FUSED))

    def where(self, one: Lanes | float, other: Lanes | float) -> Lanes:
        """Of a mask: `one` where it is set, else `other`."""
        if not isinstance(one, Lanes):
            assert isinstance(other, Lanes)
            one = other._new(other.like(one))
        return one._new(self.builder.select(self.value, one.value, one.like(other)))

    def at_least(self, other: Lanes | float) -> Lanes:
        """The larger of both; `other` where this is NaN."""
        return (self > other).where(self, other)

    def at_most(self, other: Lanes | float) -> Lanes:
        """The smaller of both; `other` where this is NaN."""
        return (self < other).where(self, other)

    def abs(self) -> Lanes:
        """The absolute value."""
        return self._call("llvm.fabs")

    def sqrt(self) -> Lanes:
        """The square root."""
        return self._call("llvm.sqrt")

    def whole(self, way: str) -> Lanes:
        """Whole numbers, still floats, by "ceil" or "floor"."""
        return self._call(f"llvm.{way}")

    def ceil(self) -> Lanes:
        """Rounded up, int32."""
        return self.whole("ceil")._to_int()

    def floor(self) -> Lanes:
        """Rounded down, int32."""
        return self.whole("floor")._to_int()

    def exp(self) -> Lanes:
        """The exponential, to the last digit but one, of numbers up to 0.

        What is so low that the result is next to the least number counts as a little higher.
        """
        single = self.kind == ir.FloatType()
        bits, digits, least = (32, 23, -87.0) if single else (64, 52, -708.0)
        ln2 = (
            (0.693359375, -2.12194440e-4) if single else (0.693145751953125, 1.42860682030941723e-6)
        )
        # e^x = 2^n e^r, with the whole number n nearest to x / ln 2.
        power = self.at_least(least)
        whole = (power * math.log2(math.e) + 0.5).whole("floor")
        rest = power
        for part in ln2:
            rest = rest.minus_product(whole, self.full(part))
        series = self.full(0)
        for term in reversed(range(8 if single else 14)):
            series = self.full(1 / math.factorial(term)).plus_product(series, rest)
        kind = ir.VectorType(ir.IntType(bits), self.value.type.count)
        exponent = self._new(self.builder.fptosi(whole.value, kind)) + (
            (1 << bits - digits - 2) - 1
        )
        shifted = self.builder.shl(exponent.value, exponent.like(digits))
        return series * self._new(self.builder.bitcast(shifted, self.value.type))

    def log(self) -> Lanes:
        """The natural logarithm, to the last digits, of normal numbers above 0; 0 has -infinity."""
        single = self.kind == ir.FloatType()
        bits, digits = (32, 23) if single else (64, 52)
        kind = ir.VectorType(ir.IntType(bits), self.value.type.count)
        # x = 2^n m with m between 1/√2 and √2, and log m = 2 (s + s³/3 + s⁵/5 + …).
        pattern = self._new(self.builder.bitcast(self.value, kind))
        root = int(
            np.asarray(math.sqrt(0.5), np.float32 if single else float).view(f"i{bits // 8}")
        )
        ahead = pattern - root
        power = self._new(self.builder.ashr(ahead.value, ahead.like(digits)))
        shift = self._new(self.builder.shl(power.value, power.like(digits)))
        rest = self._new(self.builder.bitcast((pattern - shift).value, self.value.type))
        s = (rest - 1) / (rest + 1)
        square, series = s * s, s.full(0)
        for k in reversed(range(5 if single else 11)):
            series = s.full(1 / (2 * k + 1)).plus_product(series, square)
        whole = self._new(self.builder.sitofp(power.value, self.value.type))
        high, low = (
            (0.693359375, -2.12194440e-4) if single else (0.693145751953125, 1.42860682030941723e-6)
        )
        found = (s * 2 * series + whole * low) + whole * high
        return self.equals(0).where(-math.inf, (self < 0).where(math.nan, found))

    def widen(self) -> Lanes:
        """Floats as doubles."""
        kind = ir.VectorType(ir.DoubleType(), self.value.type.count)
        return self if self.value.type == kind else self._new(self.builder.fpext(self.value, kind))

    def narrow(self, like: Lanes) -> Lanes:
        """Doubles as floats of the same kind as another's."""
        kind = like.value.type
        return (
            self if self.value.type == kind else self._new(self.builder.fptrunc(self.value, kind))
        )

    def sum(self) -> Any:
        """All lanes added up, in pairs; a plain value."""
        count, total = self.value.type.count, self
        empty = ir.Constant(self.value.type, ir.Undefined)
        while count > 1:
            count //= 2
            mask = [*range(count, 2 * count), *[0] * (self.value.type.count - count)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), len(mask)), mask)
            total = total + self._new(self.builder.shuffle_vector(total.value, empty, mask))
        return total.lane(0)

    def bits(self) -> Any:
        """Of a mask: an int64 with a bit for each lane, the first the lowest; a plain value."""
        count = self.value.type.count
        whole = self.builder.bitcast(self.value, ir.IntType(count))
        return self.builder.zext(whole, ir.IntType(64)) if count < 64 else whole

    def lane(self, number: int) -> Any:
        """One lane, a plain value."""
        return self.builder.extract_element(self.value, ir.Constant(ir.IntType(32), number))

    def _call(self, name: str) -> Lanes:
        kind, float_name = self.value.type, "f32" if self.kind == ir.FloatType() else "f64"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(kind, [kind]), f"{name}.v{kind.count}{float_name}"
        )
        return self._new(self.builder.call(function, [self.value]))

    def _to_int(self) -> Lanes:
        kind = ir.VectorType(ir.IntType(32), self.value.type.count)
        return self._new(self.builder.fptosi(self.value, kind))


def largest(first: Lanes, *others: Lanes) -> Lanes:
    """The largest of several."""
    for other in others:
        first = first.at_least(other)
    return first


def least(first: Lanes, *others: Lanes) -> Lanes:
    """The least of several."""
    for other in others:
        first = first.at_most(other)
    return first


def spread(builder: Any, value: Any, count: int = LANES) -> Lanes:
    """A plain value in all lanes."""
    kind = ir.VectorType(value.type, count)
    empty, mask = ir.Constant(kind, ir.Undefined), ir.VectorType(ir.IntType(32), count)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    return Lanes(builder, builder.shuffle_vector(one, empty, ir.Constant(mask, [0] * count)))


def count_up(builder: Any, kind: Any, count: int = LANES) -> Lanes:
    """0, 1, 2 and so on."""
    number = int if isinstance(kind, ir.IntType) else float
    values = [number(k) for k in range(count)]
    return Lanes(builder, ir.Constant(ir.VectorType(kind, count), values))


def collect(builder: Any, values: Sequence[Any]) -> Lanes:
    """A vector of plain values."""
    vector = ir.Constant(ir.VectorType(values[0].type, len(values)), ir.Undefined)
    for k, value in enumerate(values):
        vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), k))
    return Lanes(builder, vector)


def read(builder: Any, address: Any, kind: Any, count: int = LANES) -> Lanes:
    """The vector that lies at an address, which need not be a multiple of anything but a lane."""
    at = builder.inttoptr(address, ir.VectorType(kind, count).as_pointer())
    return Lanes(builder, builder.load(at, align=lane_bytes(kind)))


def write(builder: Any, address: Any, lanes: Lanes) -> None:
    """Writes a vector there."""
    at = builder.inttoptr(address, lanes.value.type.as_pointer())
    builder.store(lanes.value, at, align=lane_bytes(lanes.kind))


def lane_bytes(kind: Any) -> int:
    """The bytes of a lane."""
    return kind.width // 8 if isinstance(kind, ir.IntType) else 4 if kind == ir.FloatType() else 8
