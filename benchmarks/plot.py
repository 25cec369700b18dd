"""A picture of results: a panel for each task, milliseconds (logarithmic) over what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Result


def save_plot(path: Path, results: Sequence[Result], title: str) -> None:
    """Writes the picture; needs matplotlib.

    Args:
        path: of a .png, .svg or .pdf file.
        results: those without figures are left out.
        title: stands above.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    rows = [row for row in results if row.median_ms is not None]
    tasks = list(dict.fromkeys(row.task for row in rows))
    columns = min(3, max(len(tasks), 1))
    lines = -(-max(len(tasks), 1) // columns)
    figure = Figure(figsize=(5 * columns, 3.6 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, task in zip(panels, tasks, strict=False):
        chosen = [row for row in rows if row.task == task]
        scenes = list(dict.fromkeys(row.scene for row in chosen))
        for who in dict.fromkeys(row.who for row in chosen):
            points = [(scenes.index(row.scene), row.median_ms) for row in chosen if row.who == who]
            panel.plot(*zip(*points, strict=True), "o-", label=who, markersize=4, linewidth=1)
        panel.set_yscale("log")
        panel.set_ylabel("ms")
        panel.set_title(task, fontsize=9)
        panel.set_xticks(range(len(scenes)), scenes, rotation=60, ha="right", fontsize=6)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    for panel in panels[len(tasks) :]:
        panel.remove()
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
