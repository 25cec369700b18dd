"""Where the time of a compiled program goes, by stage: what `--profile` prints.

JAX names every operation by the scopes it was traced in: "project", "bin", "rasterize", "shade",
"visibility" (NMR's gradient), and "transpose" on the way back. XLA keeps that name through
compilation, and its profiler says how long each compiled operation ran.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import jax

STAGES = ("project", "bin", "rasterize", "shade", "visibility")
# They hold other operations, which are counted by themselves.
CONTAINERS = re.compile(r"(while|cond|conditional|call)(\.|$)")


def stage_times(program: jax.stages.Compiled, *args: Any, repeats: int = 5) -> dict[str, float]:
    """Milliseconds of one run by stage, the longest first; on several cores they add up to more.

    Operations that XLA made of several are counted as what their last part belongs to; those
    without a name are "other".

    Args:
        program: a compiled program, of `jax.jit(f).lower(*args).compile()`.
        args: its arguments.
        repeats: how many runs to average.
    """
    names = dict(re.findall(r'%?([\w.\-]+) = [^\n]*?op_name="([^"]+)"', program.as_text() or ""))
    jax.block_until_ready(program(*args))
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(repeats):
                jax.block_until_ready(program(*args))
        for path in Path(folder).rglob("*.xplane.pb"):
            for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
                for line in plane.lines:
                    for event in line.events:
                        if event.name in names and not CONTAINERS.match(event.name):
                            spent[stage_of(names[event.name])] += event.duration_ns
    return {stage: time / repeats / 1e6 for stage, time in spent.most_common()}


def stage_of(name: str) -> str:
    """The stage of an operation that JAX gave this name.

    Example:
        >>> stage_of("jit(loss)/jvp(jit(_render))/rasterize/while/body/bin/add")
        'bin'
        >>> stage_of("jit(loss)/transpose(jvp(jit(_render)))/shade/scatter-add")
        'backward shade'
    """
    found = re.findall(rf"\b({'|'.join(STAGES)})\b", name)
    stage = found[-1] if found else "other"
    return f"backward {stage}" if "transpose(" in name else stage
