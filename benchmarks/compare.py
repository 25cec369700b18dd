"""`python -m benchmarks.compare BEFORE.json AFTER.json`: what became quicker, and what slower.

Both are files that `python -m benchmarks --json` wrote. A row that one of them lacks is named
below the table. Machines drift: where a peer ran in both, the ratio is also given by the peer's
clock, `(after / before) / (peer after / peer before)`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OURS = "jaxrender"
Key = tuple[str, str, str]  # task, scene, who


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args(argv)
    try:
        before, after = (read(path) for path in (options.before, options.after))
    except ValueError as error:
        parser.error(str(error))
    print("\n".join(table(before, after)))
    return 0


def read(path: Path) -> dict[Key, dict[str, Any]]:
    """The rows of a file that have figures.

    Raises:
        ValueError: it is missing, or not such a file.
    """
    try:
        results = json.loads(path.read_text())["results"]
        rows = {(row["task"], row["scene"], row["who"]): row for row in results}
        return {key: row for key, row in rows.items() if row["median_ms"] is not None}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not what `python -m benchmarks --json` writes: {error!r}"
        ) from error


def table(before: dict[Key, dict[str, Any]], after: dict[Key, dict[str, Any]]) -> list[str]:
    """The lines that compare our rows of two files."""
    lines = [
        f"{'task':20} {'scene':32} {'before ms':>10} {'after ms':>10} {'ratio':>6} "
        f"{'by peer':>7} {'compile s':>13} {'memory MB':>17}"
    ]
    ours = [key for key in before if key[2] == OURS and key in after]
    ratios = []
    for task, scene, who in ours:
        old, new = before[task, scene, who], after[task, scene, who]
        ratio = new["median_ms"] / old["median_ms"]
        by_peer = ratio / _drift(before, after, task, scene)
        ratios.append((ratio, by_peer))
        lines.append(
            f"{task:20} {scene:32} {old['median_ms']:10,.2f} {new['median_ms']:10,.2f} "
            f"{ratio:6.2f} {by_peer:7.2f} {_pair(old, new, 'compile_s', 1, 13)} "
            f"{_pair(old, new, 'peak_bytes', 1e-6, 17)}"
        )
    if ratios:
        ratio, by_peer = map(_mean, zip(*ratios, strict=True))
        lines.append(f"\ngeometric mean of {len(ratios)} rows: {ratio:.2f}, by peer {by_peer:.2f}")
    for name, some, others in (("before", before, after), ("after", after, before)):
        alone = sorted({key[:2] for key in some if key[2] == OURS and key not in others})
        lines += [f"only {name}: {task}; {scene}" for task, scene in alone]
    return lines


def _drift(before: dict, after: dict, task: str, scene: str) -> float:
    """How much slower the machine's clock of this row is afterwards: by the peers of both, or 1."""
    ratios = [
        after[key]["median_ms"] / before[key]["median_ms"]
        for key in before
        if key[:2] == (task, scene) and key[2] != OURS and key in after
    ]
    return _mean(ratios) if ratios else 1.0


def _mean(ratios: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _pair(old: dict[str, Any], new: dict[str, Any], name: str, scale: float, width: int) -> str:
    if old.get(name) is None or new.get(name) is None:
        return " " * width
    return f"{old[name] * scale:.1f} -> {new[name] * scale:.1f}".rjust(width)


if __name__ == "__main__":
    sys.exit(main())
