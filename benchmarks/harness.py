"""Runs one contest: compiles and times ours, times the peers, and compares what they made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks.peers import Absent, Drawer, Pictures
from benchmarks.roofline import Work, work_of
from benchmarks.scenes import Scene
from benchmarks.stages import stage_times
from benchmarks.timing import compile_program, measure


def same_pixels(ours: Pictures, theirs: Pictures) -> float:
    """The share of pixels that see the same face or, where a peer does not tell, the same depth."""
    if ours[0] is not None and theirs[0] is not None:
        return float(np.mean(ours[0] == theirs[0]))
    return same_values(ours[1], theirs[1])


def same_values(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of values that are equal within 0.1%."""
    return float(np.mean(np.isclose(ours, theirs, rtol=1e-3)))


def same_gradient(ours: np.ndarray, theirs: np.ndarray) -> float:
    """1 less the relative L2 difference of two gradients."""
    return float(1 - np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@dataclasses.dataclass(frozen=True)
class Contest:
    """One thing to time, ours and the peers'.

    Attributes:
        task: what is drawn or differentiated.
        scene: on what.
        function: ours, to be compiled for `args`.
        args: its arguments.
        read: makes of what `function` returned what is compared with the peers', as theirs do.
        peers: adapters by name; each is built when its turn comes.
        agree: how far our result and a peer's are the same, 1 if wholly.
    """

    task: str
    scene: Scene
    function: Callable[..., Any]
    args: tuple[Any, ...]
    read: Callable[[Any], Any]
    peers: Mapping[str, Callable[[Scene], Drawer]]
    agree: Callable[[Any, Any], float] = same_pixels


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        task: of the contest.
        scene: of the contest.
        faces: in the scene.
        size: height and width of each picture.
        views: drawn at once.
        who: "jaxrender" or a peer.
        detail: version or setting of the peer, or why it has no figures.
        median_ms: of the timed runs; None where there are no figures.
        min_ms: the fastest run.
        repeats: how many runs were timed.
        ratio: our median over this peer's; more than 1 means the peer is faster.
        trace_s: seconds to trace and lower; ours only.
        compile_s: seconds to trace, lower and compile; ours only.
        peak_bytes: arguments, results and temporaries of the program; ours only.
        temporary_bytes: its temporaries alone; ours only.
        agreement: how far the peer made the same as we did, 1 if wholly, by the contest's
            measure; None where there is nothing to compare.
        stages: milliseconds by stage, see `stage_times`; ours only, where asked for.
        work: what the program does, see `roofline.Work`; likewise.
    """

    task: str
    scene: str
    faces: int
    size: int
    views: int
    who: str
    detail: str = ""
    median_ms: float | None = None
    min_ms: float | None = None
    repeats: int | None = None
    ratio: float | None = None
    trace_s: float | None = None
    compile_s: float | None = None
    peak_bytes: int | None = None
    temporary_bytes: int | None = None
    agreement: float | None = None
    stages: dict[str, float] | None = None
    work: Work | None = None


def run(
    contest: Contest,
    *,
    seconds: float,
    profile: bool = False,
    roofline: bool = False,
) -> Iterator[Result]:
    """Yields our result, then each peer's, spending about `seconds` of timing on each."""
    scene = contest.scene
    row = Result(contest.task, scene.name, len(scene.faces), scene.size, scene.views, "jaxrender")

    # Compile and time ours.
    args = jax.device_put(contest.args)
    program = compile_program(contest.function, *args)
    ours = measure(lambda: program.call(*args), seconds=seconds)
    made = contest.read(program.call(*args))
    yield dataclasses.replace(
        row,
        **dataclasses.asdict(ours),
        trace_s=program.trace_s,
        compile_s=program.compile_s,
        peak_bytes=program.peak_bytes,
        temporary_bytes=program.temporary_bytes,
        stages=stage_times(program.call, *args) if profile else None,
        work=work_of(contest.function, *args) if roofline else None,
    )

    # Time each peer on the same scene; one that fails is a row that says so.
    for name, adapter in contest.peers.items():
        try:
            drawer = adapter(scene)
            theirs = measure(drawer.draw, seconds=seconds)
            agreement = drawer.read and contest.agree(made, drawer.read(drawer.draw()))
        except Absent as reason:
            yield dataclasses.replace(row, who=name, detail=f"absent: {reason}")
        except Exception as error:  # whatever a foreign library raises must not end the run
            yield dataclasses.replace(row, who=name, detail=f"failed: {error!r}")
        else:
            yield dataclasses.replace(
                row,
                who=name,
                detail=drawer.detail,
                **dataclasses.asdict(theirs),
                ratio=ours.median_ms / theirs.median_ms,
                agreement=agreement,
            )
