"""What all tests share: strict rank promotion, the golden data, x64 on request.

A run of all tests fails if a file of the golden data is opened by none of them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet

from jaxrender.ops import soft

jax.config.update("jax_numpy_rank_promotion", "raise")

collect_ignore = ["typing"]  # what type checkers read, and nobody runs

REPO = Path(__file__).resolve().parent.parent
COPIED = REPO / "tests"  # the part of the data that travels with the repository
SHARED = REPO.parent / "shared"  # all of it, beside the checkout
NAMES_FILES = re.compile(r"^\s*(?:mtllib|map_\w+)\s+(\S+)\s*$", re.MULTILINE)  # in OBJ and MTL


class Data:
    """Finds files in a folder of `tests`, or of `../shared`; see the README there."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.opened: set[str] = set()  # by the names of files

    @property
    def folders(self) -> tuple[Path, Path]:
        """Where they lie: what travels with the repository, then all of them."""
        return COPIED / self.folder, SHARED / self.folder

    def path(self, name: str) -> Path:
        """The file's path; skips the test where it is absent (in CI that is a failure)."""
        for folder in self.folders:
            if (folder / name).exists():
                self.opened |= {name, *files_named_by(folder, name)}
                return folder / name
        reason = f"{name} is not here: it lies in {self.folders[1]}, beside the checkout"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    def glob(self, pattern: str, *arrays: str) -> list[str]:
        """The names of all files that match; skips or fails like `path` where there are none.

        Of `.npz` files only those that hold these arrays. It opens none for the test.
        """
        found = set()
        for folder in self.folders:
            for path in folder.glob(pattern):
                if not arrays or set(arrays) <= set(np.load(path).files):
                    found.add(path.relative_to(folder).as_posix())
        if not found:
            self.path(pattern)
        return sorted(found)

    def split(self, names: Iterable[str]) -> list[ParameterSet]:
        """Parameters of a test by names of files; `thorough` is what does not travel."""
        home = COPIED / self.folder
        return [
            pytest.param(name, marks=() if (home / name).exists() else pytest.mark.thorough)
            for name in names
        ]

    def __call__(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of one `.npz` file."""
        with np.load(self.path(name)) as arrays:
            return dict(arrays)


def files_named_by(folder: Path, name: str) -> set[str]:
    """The files that an OBJ names, and those that its material library names, by their names."""
    path = folder / name
    if path.suffix not in (".obj", ".mtl"):
        return set()
    named = [path.parent / other for other in NAMES_FILES.findall(path.read_text())]
    found = {other.relative_to(folder).as_posix() for other in named if other.exists()}
    return found.union(*(files_named_by(folder, other) for other in found))


GOLDEN = Data("golden")


@pytest.fixture(scope="session")
def golden() -> Data:
    """Reference data of the ancestors."""
    return GOLDEN


@pytest.fixture(scope="session")
def cases() -> Data:
    """Files as real programs write them, and the right pictures of some."""
    return Data("cases")


@pytest.fixture
def x64() -> Iterator[None]:
    """Runs the test in float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler of Ctrl-C, whatever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def short_passes() -> Iterator[None]:
    """Passes of few blocks: small scenes take several, and unoptimised programs little time."""
    with pytest.MonkeyPatch.context() as patch:
        for blocks, name in zip((32, 48), list(soft.SCHEDULES), strict=True):
            schedule = soft.SCHEDULES[name]._replace(blocks_per_pass=(blocks, blocks))
            patch.setitem(soft.SCHEDULES, name, schedule)
        yield


# --- the golden data is compared, all of it -------------------------------------------------------


class Coverage:
    """Which golden files the tests of this process and of its workers have opened."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.ran_all = False
        self.unopened: list[str] = []


COVERAGE = Coverage()


def unopened_files(opened: Iterable[str]) -> list[str]:
    """The names of the golden files that are here and not among these."""
    here = {
        path.relative_to(folder).as_posix()
        for folder in GOLDEN.folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".md"
    }
    return sorted(here.difference(opened))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves examples in docstrings to `make test`, and most of many cases to `make test-long`."""
    many: dict[str, list[pytest.Item]] = {}
    for item in items:
        if isinstance(item, pytest.DoctestItem) or item.get_closest_marker("thorough"):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("cases"):
            many.setdefault(item.nodeid.split("[")[0], []).append(item)

    # Keep so many of a test's cases as its mark says, evenly spread.
    for cases in many.values():
        mark = cases[0].get_closest_marker("cases")
        assert mark is not None
        (count,) = mark.args
        kept = {round(k * (len(cases) - 1) / max(count - 1, 1)) for k in range(count)}
        for k, item in enumerate(cases):
            item.add_marker(pytest.mark.slow if k in kept else pytest.mark.long)


def pytest_configure(config: pytest.Config) -> None:
    """Has XLA compile without optimising, in a third of the time, if this jaxlib knows how.

    Nearly all of the time here is compiling. Where XLA_FLAGS is set, it is as that says: so
    `make test-long` runs what users run.
    """
    if hasattr(config, "workerinput") or "XLA_FLAGS" in os.environ:
        return
    flags = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    known = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
    )
    if known.returncode == 0:
        os.environ["XLA_FLAGS"] = flags


def pytest_collection_finish(session: pytest.Session) -> None:
    """Notes whether all tests of all files are about to run."""
    collected = {item.path for item in session.items}
    whole = not any("::" in argument for argument in session.config.args)
    whole = whole and not session.config.getoption("collectonly")
    chosen = {session.config.getoption(name, None) for name in ("keyword", "markexpr", "lf")}
    files = set(Path(__file__).parent.glob("test_*.py"))
    # What takes long compares no golden data of its own.
    COVERAGE.ran_all = whole and chosen <= {"", "not long", None, False} and files <= collected


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Hands on what a worker has seen; fails a whole run that leaves files out."""
    COVERAGE.opened |= GOLDEN.opened
    if hasattr(session.config, "workeroutput"):
        output = session.config.workeroutput  # pyright: ignore[reportAttributeAccessIssue]
        output["golden"] = sorted(COVERAGE.opened), COVERAGE.ran_all
    elif COVERAGE.ran_all and exitstatus == pytest.ExitCode.OK:
        COVERAGE.unopened = unopened_files(COVERAGE.opened)
        if COVERAGE.unopened:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Takes what a worker of pytest-xdist has seen."""
    opened, ran_all = getattr(node, "workeroutput", {}).get("golden", ([], False))
    COVERAGE.opened |= set(opened)
    COVERAGE.ran_all |= ran_all


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the files."""
    if COVERAGE.unopened:
        terminalreporter.section("golden data", red=True)
        for name in COVERAGE.unopened:
            terminalreporter.line(f"no test compares {name}", red=True)
