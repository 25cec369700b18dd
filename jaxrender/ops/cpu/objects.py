"""Machine code of kernels as object files, kept on disk and linked by llvmlite.

numba keeps what it compiles too, but to import it, and to have it find that, takes eight times as
long as to load an object file: two fifths of a second of each process. So numba is imported only
where there is no file of these sources, versions and CPU.

A file is named by its target, this machine and the sources, and holds a hash and the object.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding

HERE = Path(__file__).parent
ENTRY = "jaxrender_entry"  # a kernel's C function of one number, in its object
HASH_SIZE = 32

_engines: list[Any] = []  # which own the memory of what they have linked
programs_table = ctypes.c_int64(0)  # the address of the table of `programs.py`, once there is one


def load(target: str, function: Callable[[], Any]) -> int:
    """The address of a kernel, as a C function of an int64 number that returns one.

    Args:
        target: under what name it is kept.
        function: makes the function that numba compiles, if it is not on disk.
    """
    file = f"{target}-{_machine()}-{_sources()}.o"
    code = _read(file)
    if code is None:
        code, alone = compile_object(function())
        if alone:
            _keep(file, code)
    return link(code)


def link(code: bytes) -> int:
    """The address of `ENTRY` of an object, brought into this process."""
    name_symbols()
    module = llvmlite.binding.parse_assembly("")
    engine = llvmlite.binding.create_mcjit_compiler(module, _host())
    engine.add_object_file(llvmlite.binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address(ENTRY)


def compile_object(function: Callable[[int], int]) -> tuple[bytes, bool]:
    """Compiles a function of an int64 number that returns one, and raises nothing.

    Returns:
        The object, and whether processes can link it that have not imported numba.
    """
    import numba

    name_symbols()  # numba links what it makes as well
    cfunc: Any = numba.cfunc
    made = cfunc(numba.int64(numba.int64), nopython=True, error_model="numpy")(function)
    module = llvmlite.binding.parse_assembly(made.inspect_llvm())

    # Call it without what numba wraps around it, which needs numba to tell of exceptions.
    native = made.native_name.removeprefix("cfunc.")
    module.link_in(
        llvmlite.binding.parse_assembly(f"""
            declare i32 @"{native}"(ptr, ptr, i64)
            define i64 @{ENTRY}(i64 %number) {{
              %result = alloca i64
              %error = alloca ptr
              call i32 @"{native}"(ptr %result, ptr %error, i64 %number)
              %value = load i64, ptr %result
              ret i64 %value
            }}""")
    )

    # Drop the wrapper, and all else that nothing asks for.
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name != ENTRY:
            value.linkage = "internal"
    options = llvmlite.binding.create_pipeline_tuning_options(speed_level=0)
    passes = llvmlite.binding.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvmlite.binding.create_pass_builder(_host(), options))

    # A function of numba's own, as of a library that it found, stops a process that lacks it.
    library = _c_library()
    outside = [at.name for at in module.functions if at.is_declaration]
    alone = all(
        name.startswith(("llvm.", "jaxrender_")) or hasattr(library, name) for name in outside
    )
    return _host().emit_object(module), alone


@functools.cache
def _host() -> Any:
    """What makes machine code for this CPU, as numba has it."""
    llvmlite.binding.initialize_native_target()
    llvmlite.binding.initialize_native_asmprinter()
    target = llvmlite.binding.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvmlite.binding.get_host_cpu_name(),
        features=llvmlite.binding.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def _c_library() -> Any:
    return ctypes.CDLL(None if os.name == "posix" else "msvcrt")


@functools.cache
def name_symbols() -> None:
    """Tells the linker where that is which kernels call, of the C library, and the programs."""
    library = _c_library()
    if os.name == "posix":
        advise = library.madvise if sys.platform == "linux" else library.labs
        functions = [library.malloc, library.free, library.sched_yield, advise]
    else:
        system = ctypes.CDLL("kernel32")
        functions = [library.malloc, library.free, system.SwitchToThread, library.labs]
    # Where no advice about memory is taken, give it to some function that does nothing.
    for name, function in zip(("malloc", "free", "rest", "advise"), functions, strict=True):
        address = ctypes.cast(function, ctypes.c_void_p).value
        llvmlite.binding.add_symbol(f"jaxrender_{name}", address)
    llvmlite.binding.add_symbol("jaxrender_programs", ctypes.addressof(programs_table))


# --- on disk --------------------------------------------------------------------------------------


@functools.cache
def _machine() -> str:
    """What changes with the compiler and the CPU."""
    parts = (
        importlib.metadata.version("numba"),
        llvmlite.__version__,
        sys.implementation.cache_tag,
        llvmlite.binding.get_process_triple(),
        llvmlite.binding.get_host_cpu_name(),
        llvmlite.binding.get_host_cpu_features().flatten(),
    )
    return _hash("\n".join(map(str, parts)).encode()).hex()[:12]


@functools.cache
def _sources() -> str:
    """What changes with the source of any kernel.

    It sees this folder alone: a constant imported from elsewhere could change, and old machine code
    would still be taken from disk. So kernels have copies of those, with "as in …" beside them.
    """
    sources = sorted(HERE.glob("*.py"))
    return _hash(b"".join(source.read_bytes() for source in sources)).hex()[:16]


def _folders() -> Iterator[Path]:
    """Where files may be, those of the first that can be written."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        yield Path(chosen) / "jaxrender"
    yield HERE / "__pycache__"
    with contextlib.suppress(RuntimeError):  # there is no home
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        yield Path(home) / "jaxrender" / "kernels"


def _read(file: str) -> bytes | None:
    """The object that was kept, whole."""
    for folder in _folders():
        with contextlib.suppress(OSError):
            kept = (folder / file).read_bytes()
            if _hash(kept[HASH_SIZE:]) == kept[:HASH_SIZE]:
                return kept[HASH_SIZE:]
    return None


def _keep(file: str, code: bytes) -> None:
    """Keeps an object where that can be, for other processes to see once all of it is there."""
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(suffix=".part", dir=folder)
            try:
                with os.fdopen(number, "wb") as part:
                    part.write(_hash(code) + code)
                Path(name).replace(folder / file)
            finally:
                Path(name).unlink(missing_ok=True)
            return


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
