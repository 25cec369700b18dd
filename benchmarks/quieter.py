"""`python -m benchmarks.quieter A.json B.json … --json BOTH.json`: of several runs the quieter.

For a machine that others use as well, and whose second core comes and goes: of each row it keeps
the run whose median is lowest, whoever is timed, and makes the ratios anew. All are files that
`python -m benchmarks --json` wrote, of the same code.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.compare import OURS, Key, read


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quieter", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args(argv)
    try:
        results = merge([read(path) for path in options.runs])
    except ValueError as error:
        parser.error(str(error))
    record = json.loads(options.runs[-1].read_text())
    record |= {"runs": len(options.runs), "results": results}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(record, indent=2) + "\n")
    return 0


def merge(runs: list[dict[Key, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows that any run has, each from the run in which it took the least time."""
    best: dict[Key, dict[str, Any]] = {}
    for run in runs:
        for key, row in run.items():
            if key not in best or row["median_ms"] < best[key]["median_ms"]:
                best[key] = dict(row)
    for (task, scene, who), row in best.items():
        ours = best.get((task, scene, OURS))
        row["ratio"] = ours["median_ms"] / row["median_ms"] if ours and who != OURS else None
    return list(best.values())


if __name__ == "__main__":
    sys.exit(main())
