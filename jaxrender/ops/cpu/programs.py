"""Programs of scalars as machine code: what a shader does, for kernels that do not know it.

`ops/program.py` traces shaders. Here a C function of one address is made of such a program, which
shades 8 fragments at a time. A kernel finds its address in a table, by a **key** that XLA hands to
it with each call: so what XLA keeps on disk says nothing of where things lie in one process.

What a function is called with are **words** in memory, see `VARYINGS` and what follows.

Shapes as in `ops/program.py`; `R` rows of a table of texels.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from jaxrender.ops.cpu.lanes import LANES, Lanes, collect, lane_bytes, read, spread, write
from jaxrender.ops.cpu.machine import NUMBER, get, symbol_address
from jaxrender.ops.cpu.objects import programs_table
from jaxrender.ops.cpu.operations import resized, run
from jaxrender.ops.program import ShaderProgram

# Addresses of vectors of 8 fragments, one for each number: the varyings; the colours, which are
# set; and where these are derived their cotangents, which are given, set, and added to.
VARYINGS, COLORS, D_COLORS, D_VARYINGS, D_UNIFORMS = range(5)
# Addresses of plain numbers: of the view, of the face, of the texels, and where the cotangents of
# those are added up, or 0; how many rows there are, and which of the fragments count, as bits.
UNIFORMS, INDEX, TEXELS, D_TEXELS, ROWS, ASKED = range(5, 11)
WORDS = 11

TABLE = "jaxrender_programs"  # the symbol under which the table's address lies


@numba.njit(error_model="numpy")
def program_address(key: int) -> int:
    """Where the function of a key lies; it is in the table, for what calls it was traced here."""
    table = get(symbol_address(TABLE), 0)
    while get(table, 0) != key:
        table += 16
    return get(table, 1)


def key_of(program: ShaderProgram, backward: bool) -> int:
    """The key of a program's function, in the table by then: of all cotangents, or of colours."""
    with global_compiler_lock:
        return _key_of(program, backward)


@functools.lru_cache(maxsize=256)
def _key_of(program: ShaderProgram, backward: bool) -> int:
    """`key_of`, compiling the function if no other program has the same."""
    target: Any = cpu_target
    library = target.target_context.codegen().create_library("jaxrender_program")
    module = library.create_ir_module("jaxrender_program")
    function = ir.Function(module, ir.FunctionType(NUMBER, [NUMBER]), "shade")
    builder = ir.IRBuilder(function.append_basic_block())
    _write_function(builder, _Words(builder, function.args[0], program), program, backward)
    builder.ret(ir.Constant(NUMBER, 0))
    digest = hashlib.sha256(str(module).encode()).digest()
    key = int.from_bytes(digest[:8], "little", signed=True)
    if key not in _functions:
        library.add_ir_module(module)
        library.finalize()
        _functions[key] = library.get_pointer_to_function("shade")
        # Keep every table, for a kernel may be looking through it.
        numbers = [number for pair in _functions.items() for number in pair]
        table = (ctypes.c_int64 * len(numbers))(*numbers)
        _kept.extend([library, table])
        programs_table.value = ctypes.addressof(table)
    return key


_functions: dict[int, int] = {}  # their addresses, by key
_kept: list[Any] = []


# --- a function -----------------------------------------------------------------------------------


class _Words:
    """What a function is called with."""

    def __init__(self, builder: Any, address: Any, program: ShaderProgram) -> None:
        self.builder, self.address = builder, address
        self.kind = ir.FloatType() if program.dtype == "float32" else ir.DoubleType()

    def word(self, number: int) -> Any:
        """The word of this number."""
        pointer = self.builder.inttoptr(self.address, NUMBER.as_pointer())
        return self.builder.load(self.builder.gep(pointer, [ir.Constant(NUMBER, number)]))

    def vector_at(self, number: int, k: int) -> Any:
        """The address of a vector of those that a word points to."""
        apart = LANES * lane_bytes(self.kind)
        return self.builder.add(self.word(number), ir.Constant(NUMBER, k * apart))

    def vectors(self, number: int, count: int) -> list[Lanes]:
        """The vectors that a word points to."""
        return [read(self.builder, self.vector_at(number, k), self.kind) for k in range(count)]

    def set(self, number: int, values: Sequence[Lanes]) -> None:
        """Writes the vectors that a word points to."""
        for k, value in enumerate(values):
            write(self.builder, self.vector_at(number, k), value)

    def numbers(self, number: int, count: int, kind: Any) -> list[Lanes]:
        """The plain numbers that a word points to, each in all lanes."""
        pointer = self.builder.inttoptr(self.word(number), kind.as_pointer())
        places = [self.builder.gep(pointer, [ir.Constant(NUMBER, k)]) for k in range(count)]
        return [spread(self.builder, self.builder.load(place)) for place in places]


def _write_function(builder: Any, words: _Words, program: ShaderProgram, backward: bool) -> None:
    """Writes what a shader does to 8 fragments: their colours, and backwards all cotangents."""
    sizes, taps = program.sizes, program.tap_count
    varyings = words.vectors(VARYINGS, sizes.varyings)
    uniforms = words.numbers(UNIFORMS, sizes.uniforms, words.kind)
    index = words.numbers(INDEX, sizes.indices, ir.IntType(32))

    # Read the texels.
    rows: list[Lanes] = []
    texels: list[Lanes] = []
    weights: list[Lanes] = []
    if taps:
        found = run(builder, program.taps, [*index, *varyings, *uniforms])
        last = spread(builder, builder.sub(words.word(ROWS), ir.Constant(NUMBER, 1)))
        rows = [resized(row, NUMBER).at_most(last).at_least(0) for row in found[:taps]]
        weights = found[taps:]
        texels = [number for row in rows for number in _read_texel(words, row, sizes.columns)]
    if not backward:
        texel = []
        for column in range(sizes.columns):
            parts = [texels[k * sizes.columns + column] * weights[k] for k in range(taps)]
            texel.append(functools.reduce(Lanes.__add__, parts))
        words.set(COLORS, run(builder, program.color, [*texel, *varyings, *uniforms]))
        return

    # Go back through all of it.
    d_colors = words.vectors(D_COLORS, sizes.channels)
    given = [*index, *varyings, *uniforms, *texels, *d_colors]
    found = iter(run(builder, program.cotangents, given))
    words.set(COLORS, [next(found) for _ in range(sizes.channels)])
    words.set(D_VARYINGS, [next(found) for _ in varyings])
    held = words.vectors(D_UNIFORMS, sizes.uniforms)
    words.set(D_UNIFORMS, [one + next(found) for one in held])
    if taps:
        _add_texels(words, rows, list(found), sizes.columns)


def _read_texel(words: _Words, row: Lanes, columns: int) -> list[Lanes]:
    """The columns of a row of the table, which differs by lane."""
    builder, pointer = words.builder, words.kind.as_pointer()
    texels = builder.inttoptr(words.word(TEXELS), pointer)
    first = (row * columns).value
    lanes = []
    for lane in range(LANES):
        at = builder.gep(
            texels, [builder.extract_element(first, ir.Constant(ir.IntType(32), lane))]
        )
        places = [builder.gep(at, [ir.Constant(NUMBER, column)]) for column in range(columns)]
        lanes.append([builder.load(place) for place in places])
    return [collect(builder, column) for column in zip(*lanes, strict=True)]


def _add_texels(words: _Words, rows: list[Lanes], d_texels: list[Lanes], columns: int) -> None:
    """Adds cotangents to those of the texels, one fragment that counts after the other."""
    builder, into, asked = words.builder, words.word(D_TEXELS), words.word(ASKED)
    # Where a lane is to be chosen while it runs it must lie in memory.
    held_rows, held = ([_in_memory(each) for each in values] for values in (rows, d_texels))
    table = builder.inttoptr(into, words.kind.as_pointer())
    is_asked = builder.icmp_signed("!=", into, ir.Constant(NUMBER, 0))
    with (
        builder.if_then(is_asked),
        cgutils.for_range(builder, ir.Constant(NUMBER, LANES)) as loop,
        builder.if_then(builder.trunc(builder.lshr(asked, loop.index), ir.IntType(1))),
    ):
        for tap, held_row in enumerate(held_rows):
            row = builder.load(builder.gep(held_row, [loop.index]))
            at = builder.gep(table, [builder.mul(row, ir.Constant(NUMBER, columns))])
            for column in range(columns):
                place = builder.gep(at, [ir.Constant(NUMBER, column)])
                value = builder.load(builder.gep(held[tap * columns + column], [loop.index]))
                builder.store(builder.fadd(builder.load(place), value), place)


def _in_memory(lanes: Lanes) -> Any:
    """A pointer to the first of lanes that lie in memory."""
    place = cgutils.alloca_once_value(lanes.builder, lanes.value)
    return lanes.builder.bitcast(place, lanes.kind.as_pointer())
