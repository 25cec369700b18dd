"""What kernels in machine code share: memory, atomic numbers, XLA's calls and XLA's threads.

This is imported only where a kernel is about to run, as are its siblings that need numba.

A **kernel** is a C function of one address, made of two Python functions that numba compiles, see
`answer`. `start(job, like)` cuts the work into parts, each a view or a band of a picture, and has
them done by `run_job`; `do_part(job, part, like)` does one. A **job** is a list of int64 numbers in
memory: what `run_job` needs, the frame of XLA's call, and behind that what `start` notes for the
parts. These are dealt to the threads of XLA's own pool as they ask for them. The thread that makes
the call does as many parts as it can itself, and waits for none that no other has begun: so it gets
on, however busy the pool is. `like` is a number of the kernel's float type.

The frame of a call is that of XLA's foreign function interface, version 0 (`c_api.h` lies in
jaxlib's folder `include`): structs of 8-byte fields, of which the first two are size and extension.
It, and the arrays that it names, are there until all parts are done.

Small steps are intrinsics, which write their instructions where they stand: each function takes
numba a tenth of a second more to compile.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

# Where things lie in structs, in numbers of 8 bytes.
EXTENSION, API, CONTEXT, ARGUMENTS, RESULT_COUNT, RESULTS, ATTRIBUTES = 1, 2, 3, 9, 12, 14, 20
DTYPE, DATA, RANK, SIZES = 2, 3, 4, 5  # of a buffer; before them those of a frame
ERROR_DESTROY, SCHEDULE, NUM_THREADS = 8, 17, 18  # of the interface
METADATA = 1  # a kind of extension
FLOAT64 = 12  # a dtype

# Bytes of a large page of memory, and of a result that is asked to lie on such: one so large is new
# each time, smaller ones the C library keeps. And Linux's number for that advice.
HUGE_PAGE, MIN_HUGE, USE_HUGE_PAGES = 1 << 21, 1 << 24, 14

# Of a job: a mark, which no frame begins with; who holds it, the next part, how many are done, each
# on a cache line of its own, since threads write it. How many parts there are; the arguments of a
# call to XLA; the frame, and the address of the kernel; and from `FIRST` on what is the kernel's.
MARK, HOLDERS, NEXT, DONE, COUNT, CALL, FRAME, WORKER, FIRST = 0, 8, 16, 24, 32, 33, 40, 41, 42
JOB_SIZE = 64
IS_JOB = -1

NUMBER = ir.IntType(64)
intrinsic: Any = extending.intrinsic  # a type checker takes what it makes for what it is given


# Of the C library; `objects.py` tells the linker where they are.
malloc = types.ExternalFunction("jaxrender_malloc", types.int64(types.int64))
free = types.ExternalFunction("jaxrender_free", types.void(types.int64))
rest = types.ExternalFunction("jaxrender_rest", types.int32())
advise = types.ExternalFunction(
    "jaxrender_advise", types.int32(types.int64, types.int64, types.int32)
)


# --- memory ---------------------------------------------------------------------------------------


def _place(context: Any, builder: Any, kind: Any, address: Any, index: Any) -> Any:
    """A pointer to a number so many of its type behind an address."""
    kind = context.get_value_type(kind)
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


@intrinsic
def load(context: Any, address: Any, index: Any, like: Any) -> Any:
    """The number of the type of `like` that lies so many of them behind an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature.return_type, *args[:2]))

    like = numba.types.unliteral(like)
    return like(types.int64, types.int64, like), generate


@intrinsic
def store(context: Any, address: Any, index: Any, value: Any) -> Any:
    """Writes a number so many of its type behind an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature.args[2], *args[:2]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, numba.types.unliteral(value)), generate


@intrinsic
def get(context: Any, address: Any, index: Any) -> Any:
    """The int64 number that lies so many of them behind an address: a field of a struct."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, types.int64, *args))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def put(context: Any, address: Any, index: Any, value: Any) -> Any:
    """Writes such a number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, types.int64, *args[:2]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def typed(context: Any, value: Any, like: Any) -> Any:
    """A number in the type of `like`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], *signature.args)

    return like(value, like), generate


@intrinsic
def size_of(context: Any, like: Any) -> Any:
    """How many bytes a number of this type takes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = context.get_abi_sizeof(context.get_value_type(signature.args[0]))
        return ir.Constant(NUMBER, size)

    return types.int64(like), generate


@intrinsic
def lowest_bit(context: Any, bits: Any) -> Any:
    """Which is the lowest bit that is set of a number that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@intrinsic
def fetch_add(context: Any, address: Any, index: Any, value: Any) -> Any:
    """Adds to a field of a struct, with no other thread in between; what it was before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _place(context, builder, types.int64, *args[:2])
        return builder.atomic_rmw("add", at, args[2], "seq_cst")

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def call_address(context: Any, function: Any, argument: Any) -> Any:
    """Calls the C function at an address with one number; the number that it returns."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(NUMBER, [NUMBER])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])

    return types.int64(types.int64, types.int64), generate


@intrinsic(prefer_literal=True)
def symbol_address(context: Any, name: Any) -> Any:
    """The address of the number of this name, which the linker knows."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = cgutils.add_global_variable(builder.module, NUMBER, name.literal_value)
        return builder.ptrtoint(found, NUMBER)

    return types.int64(name), generate


# --- arrays of a call -----------------------------------------------------------------------------


@numba.njit(error_model="numpy")
def argument(job: int, number: int) -> int:
    """An array that the call was given."""
    return get(get(get(job, FRAME), ARGUMENTS), number)


@numba.njit(error_model="numpy")
def result(job: int, number: int) -> int:
    """An array that the call is to fill."""
    return get(get(get(job, FRAME), RESULTS), number)


@numba.njit(error_model="numpy")
def option(job: int, number: int) -> int:
    """A setting of the call; the last one is how many threads it may use, 0 for any number."""
    return get(get(get(get(get(job, FRAME), ATTRIBUTES), 0), 2), number)


@numba.njit(error_model="numpy")
def length(array: int, axis: int) -> int:
    """The length of an array along an axis; of the first, which counts views, it may be 1."""
    return get(get(array, SIZES), axis)


@numba.njit(error_model="numpy")
def view_of(array: int, view: int, like: Any) -> int:
    """Where the numbers of a view begin, each as large as `like`; all views may share them."""
    numbers = view if length(array, 0) > 1 else 0
    for axis in range(1, get(array, RANK)):
        numbers *= length(array, axis)
    return get(array, DATA) + size_of(like) * numbers


@numba.njit(error_model="numpy")
def ask_for_huge_pages(job: int) -> None:
    """Has large results lie on large pages, of which each is one step for the system."""
    frame = get(job, FRAME)
    for number in range(get(frame, RESULT_COUNT)):
        array = result(job, number)
        size = 8 if get(array, DTYPE) & 0xFFFFFFFF == FLOAT64 else 4
        for axis in range(get(array, RANK)):
            size *= length(array, axis)
        first = (get(array, DATA) + HUGE_PAGE - 1) & -HUGE_PAGE
        whole = (get(array, DATA) + size - first) & -HUGE_PAGE
        if size >= MIN_HUGE:
            advise(first, whole, USE_HUGE_PAGES)


# --- calls and jobs -------------------------------------------------------------------------------


@numba.njit(error_model="numpy", inline="always")
def answer(address: int, worker: int, start: Any, do_part: Any, like: Any) -> int:
    """What a kernel does, called by XLA or by `run_job`, here or on another thread.

    It is written out where it is called: functions as arguments of a call that remains are
    addresses, which numba keeps no machine code with on disk.

    Args:
        address: of a frame, or of a job.
        worker: the kernel's own address.
        start: `start(job, like)`.
        do_part: `do_part(job, part, like)`.
        like: a number of the kernel's float type.
    """
    if get(address, MARK) == IS_JOB:
        part = fetch_add(address, NEXT, 1)
        while part < get(address, COUNT):
            do_part(address, part, like)
            fetch_add(address, DONE, 1)
            part = fetch_add(address, NEXT, 1)
        let_go(address)
    elif not answers_version(address):
        job = malloc(8 * JOB_SIZE)
        put(job, FRAME, address)
        put(job, WORKER, worker)
        ask_for_huge_pages(job)
        start(job, like)
        free(job)
    return 0


@numba.njit(error_model="numpy")
def answers_version(frame: int) -> bool:
    """Whether XLA only asked which version of its interface this is, and was told."""
    extension = get(frame, EXTENSION)
    if extension == 0:
        return False
    if get(extension, 1) & 0xFFFFFFFF != METADATA:
        return False
    # The version lies behind the size of the metadata, and the version's own size and extension.
    put(get(extension, 3), 3, 1 << 32)  # 0.1: minor versions are upwards compatible
    return True


@numba.njit(error_model="numpy")
def destroy_error(frame: int, error: int) -> None:
    """Frees an error of XLA's."""
    call = malloc(24)
    put(call, 0, 24)
    put(call, 1, 0)
    put(call, 2, error)
    call_address(get(get(frame, API), ERROR_DESTROY), call)
    free(call)


@numba.njit(error_model="numpy")
def threads_for(job: int, most: int) -> int:
    """How many threads may do a call's work: those of XLA's pool, but `most`; 0 is no limit."""
    frame = get(job, FRAME)
    interface = get(frame, API)
    if (most == 1) | (get(interface, 0) <= 8 * NUM_THREADS):
        return 1
    call = malloc(40)
    put(call, 0, 32)
    put(call, 1, 0)
    put(call, 2, get(frame, CONTEXT))
    put(call, 3, call + 32)
    put(call, 4, 1)
    error = call_address(get(interface, NUM_THREADS), call)
    size = get(call, 4)
    free(call)
    if error != 0:
        destroy_error(frame, error)
        return 1
    return min(size, most) if most > 0 else size


@numba.njit(error_model="numpy")
def copy_notes(job: int) -> int:
    """A job with the same notes, for a part that notes more; to be freed by who asked for it."""
    copy = malloc(8 * JOB_SIZE)
    for k in range(FRAME, JOB_SIZE):
        put(copy, k, get(job, k))
    return copy


@numba.njit(error_model="numpy")
def run_job(notes: int, count: int, threads: int) -> None:
    """Does all parts of a job with so many threads.

    Args:
        notes: a job, of which each call here makes a copy: threads that come late to one may still
            look at it when its parts are done.
        count: of parts.
        threads: how many.
    """
    job, frame = copy_notes(notes), get(notes, FRAME)
    helpers = max(min(threads, count) - 1, 0)
    put(job, MARK, IS_JOB)
    put(job, NEXT, 0)
    put(job, DONE, 0)
    put(job, COUNT, count)
    put(job, HOLDERS, 2 + helpers)

    # Ask for helpers; those that come too late find nothing to do.
    if helpers > 0:
        put(job, CALL, 40)
        put(job, CALL + 1, 0)
        put(job, CALL + 2, get(frame, CONTEXT))
        put(job, CALL + 3, get(job, WORKER))
        put(job, CALL + 4, job)
        for _ in range(helpers):
            error = call_address(get(get(frame, API), SCHEDULE), job + 8 * CALL)
            if error != 0:
                destroy_error(frame, error)
                fetch_add(job, HOLDERS, -1)

    # Do what is left, then wait for what others have begun.
    call_address(get(job, WORKER), job)
    while fetch_add(job, DONE, 0) < count:
        rest()
    let_go(job)


@numba.njit(error_model="numpy")
def let_go(job: int) -> None:
    """Frees a job, if nobody else holds it."""
    if fetch_add(job, HOLDERS, -1) == 1:
        free(job)
