"""`python -m benchmarks.ahead`: what a GPU would be given, compiled where there is none.

XLA compiles for a card that it has a description of, with the CUDA plugin of JAX installed and no
card or driver (`pip install '.[cuda12]'`). So it can be seen, wherever one sits, that our
programs compile for it, how long that takes, which kernels they become, how often each is
launched, and what those read and write. Nothing is run there: the loops are counted on the CPU,
by the same schedules.

The two columns of milliseconds are estimates of the least, not forecasts: behind `launches`,
`LAUNCH_US` for each kernel and `STEP_US` for each step of a loop, which asks the card whether to go
on; behind `moved MB`, all bytes at the card's memory bandwidth, though much stays in its caches.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks import hard, nmr, scenes, soft
from benchmarks.harness import Contest
from benchmarks.roofline import Loop, known_loops, loop_of, loop_steps
from jaxrender.ops import deterministic as deterministic_ops
from jaxrender.ops import hard as hard_ops
from jaxrender.ops import nmr as nmr_ops
from jaxrender.ops.soft import structs as soft_ops

LAUNCH_US, STEP_US = 2.0, 10.0
BANDWIDTH = 4.8e12  # of an H200, bytes a second
H200 = """
    gpu_device_info {
      cuda_compute_capability { major: 9 minor: 0 }
      threads_per_warp: 32
      threads_per_block_limit: 1024
      threads_per_core_limit: 2048
      core_count: 132
      fpus_per_core: 128
      clock_rate_ghz: 1.98
      memory_bandwidth: 4800000000000
      device_memory_size: 151397597184
      l2_cache_size: 52428800
      shared_memory_per_block: 49152
      shared_memory_per_block_optin: 232448
      shared_memory_per_core: 233472
      registers_per_block_limit: 65536
      registers_per_core_limit: 65536
      block_dim_limit_x: 2147483647
      block_dim_limit_y: 65535
      block_dim_limit_z: 65535
    }
    platform_name: "CUDA"
    dnn_version_info { major: 9 minor: 10 }
"""
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
"""Instructions that launch nothing."""
TYPES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "f64": 8}
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
INSTRUCTION = re.compile(r"\s*(?:ROOT )?%([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
CALLED = re.compile(r"(?:body=|branch_computations=\{|calls=|to_apply=)%([\w.\-]+)")
ARRAY = re.compile(rf"\b({'|'.join(TYPES)})\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One launch of a compiled program.

    Attributes:
        name: XLA's.
        loop: in whose body it is, () for none.
        bytes: read and written; of what a scatter changes a few places of, those.
    """

    name: str
    loop: Loop
    bytes: int


def kernels_of(text: str) -> list[Kernel]:
    """The kernels of a compiled program, from XLA's text of it; of a choice, those of one way."""
    computations: dict[str, list[tuple[str, ...]]] = {}
    entry = inside = ""
    for line in text.splitlines():
        if head := COMPUTATION.match(line):
            inside = head[2]
            computations[inside] = []
            entry = inside if head[1] else entry
        elif line.startswith("}"):
            inside = ""
        elif inside and (instruction := INSTRUCTION.match(line)):
            computations[inside].append(instruction.groups())

    found: list[Kernel] = []

    def walk(computation: str, loop: Loop) -> None:
        shapes = {name: shape for name, shape, *_ in computations[computation]}
        for name, shape, operation, rest in computations[computation]:
            called = CALLED.search(rest)
            if operation in FREE:
                continue
            if operation == "while" and called:
                walk(called[1], loop_of(rest) or loop)
            elif operation in ("conditional", "call") and called:
                walk(called[1], loop)
            else:
                operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
                read = sum(_bytes(shapes.get(operand, "")) for operand in operands)
                written = _bytes(shape)
                if "scatter" in name:
                    read = written = max(read - written, 0)
                found.append(Kernel(name, loop, read + written))

    walk(entry, ())
    return found


def _bytes(shape: str) -> int:
    """Of an array, or of all in a tuple."""
    return sum(
        TYPES[of] * math.prod(int(size) for size in sizes.split(",") if size)
        for of, sizes in ARRAY.findall(shape)
    )


@contextlib.contextmanager
def schedules_of_a_gpu(*, deterministic: bool = False) -> Iterator[None]:
    """Lets programs for a CPU be traced as those for a GPU are, with sums in order or not."""
    with contextlib.ExitStack() as stack:
        asked = mock.patch.object(deterministic_ops, "is_requested", return_value=deterministic)
        stack.enter_context(asked)
        for module in (hard_ops, nmr_ops, soft_ops):
            first, *_, last = module.SCHEDULES
            changed = {first: module.SCHEDULES[last]}
            stack.enter_context(mock.patch.dict(module.SCHEDULES, changed))
        yield


def compile_for(
    target: str, function: Callable[..., Any], *args: Any, deterministic: bool = False
) -> tuple[jax.stages.Compiled, float]:
    """`function` compiled for a card, and how many seconds tracing and compiling took.

    Args:
        target: the card's description, as XLA has it.
        function: any that JAX can trace.
        *args: its arguments.
        deterministic: whether sums are to be made in a fixed order.

    Raises:
        RuntimeError: the plugin is not installed.
    """
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc(
            platform="cuda", target_config=target, topology="1x1x1"
        )
    except NotImplementedError as error:
        raise RuntimeError("needs the CUDA plugin: pip install '.[cuda12]'") from error
    card = jax.sharding.SingleDeviceSharding(topology.devices[0])

    def place(array: Any) -> jax.ShapeDtypeStruct:
        array = jnp.asarray(array)
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=card)

    options: dict[str, str | bool] = {"xla_gpu_deterministic_ops": True} if deterministic else {}
    with schedules_of_a_gpu(deterministic=deterministic), known_loops():
        start = time.perf_counter()
        traced = jax.jit(function, out_shardings=card).trace(*jax.tree.map(place, args))
        compiled = traced.lower(lowering_platforms=("cuda",)).compile(options)
        return compiled, time.perf_counter() - start


def contests() -> Iterator[Contest]:
    """The loads for which we have bars, and some larger ones."""
    for scene in (scenes.sphere(4, 256), scenes.sphere(6, 512), scenes.sphere(4, 256, views=64)):
        yield hard.drawn(scene)
    for scene in (scenes.sphere(4, 256), scenes.sphere(5, 512), scenes.sphere(3, 64, views=64)):
        yield nmr.differentiated(scene, "rgb")
    for scene in (scenes.sphere(4, 256), scenes.sphere(4, 512), scenes.sphere(6, 512)):
        yield soft.differentiated(scene, "rgb")
    yield soft.differentiated(scenes.sphere(3, 64, views=64), "rgb")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ahead", description=__doc__)
    parser.add_argument("--kernels", action="store_true", help="also list those that move most")
    parser.add_argument("--deterministic", action="store_true", help="with sums in a fixed order")
    options = parser.parse_args(argv)
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # or the plugin asks the driver first
    print(
        f"{'task':16} {'scene':30} {'compile s':>9} {'temp. MB':>9} {'kernels':>8} {'steps':>6} "
        f"{'launches':>9} {'ms':>6} {'moved MB':>9} {'ms':>6}"
    )
    for contest in contests():
        try:
            compiled, seconds = compile_for(
                H200, contest.function, *contest.args, deterministic=options.deterministic
            )
        except RuntimeError as error:
            parser.error(str(error))
        kernels = kernels_of(compiled.as_text() or "")
        with schedules_of_a_gpu(deterministic=options.deterministic):
            steps = loop_steps(contest.function, *contest.args)

        # Count each kernel as often as its loop runs; one that runs once XLA may have dissolved.
        often = Counter({(): 1}) + steps
        launches = sum(often[kernel.loop] for kernel in kernels)
        moved = sum(often[kernel.loop] * kernel.bytes for kernel in kernels)
        asked = sum(often[loop] for loop in {kernel.loop for kernel in kernels} - {()})
        memory = compiled.memory_analysis()
        print(
            f"{contest.task:16} {contest.scene.name:30} {seconds:9.1f} "
            f"{(memory.temp_size_in_bytes if memory else 0) / 1e6:9,.0f} {len(kernels):8} "
            f"{asked:6} {launches:9,} {1e-3 * (LAUNCH_US * launches + STEP_US * asked):6.2f} "
            f"{moved / 1e6:9,.0f} {1e3 * moved / BANDWIDTH:6.2f}",
            flush=True,
        )
        if options.kernels:
            for kernel in sorted(kernels, key=lambda kernel: -kernel.bytes)[:12]:
                where = ".".join(map(str, kernel.loop)) or "-"
                print(f"{'':16} {kernel.bytes / 1e6:9,.1f} MB  loop {where:6} {kernel.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
