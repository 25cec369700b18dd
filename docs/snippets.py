"""Lets mypy and pyright read the code of README and documentation, as `make lint` does.

    python docs/snippets.py out/snippets

Each page becomes a Python file, whose lines have the numbers that they have on the page, so that
what a checker says of line 12 is on line 12. All else is left out. Of pages that are run
these are the cells; of others the blocks that are marked as `python`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES.remove(ROOT / "docs" / "gallery.md")  # has parts of gallery.py, which is checked as it is
PAGES.remove(ROOT / "docs" / "torch.md")  # its structs hold tensors where types say arrays
PATHS = [ROOT, ROOT / "docs", ROOT / "examples" / "reconstruction"]  # what pages import from
GALLERY = str(ROOT / "docs" / "gallery.py")
HIDDEN = re.compile(r":tags: \[.*\]")


def code_of(text: str) -> str:
    """The cells of a page that is run, or else its Python blocks; other lines are empty."""
    opening = "```{code-cell}" if "file_format: mystnb" in text else "```python"
    lines, inside = [], False
    for line in text.splitlines():
        if inside and line.startswith("```"):
            inside = False
        elif line.startswith(opening):
            inside = True
            lines.append("")
            continue
        shown = inside and not HIDDEN.match(line)
        lines.append(line if shown else "")
    return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """Writes a file for each page that has code, and what the checkers need beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.py"):
        old.unlink()
    for page in PAGES:
        code = code_of(page.read_text())
        if code.strip():
            name = "_".join(page.relative_to(ROOT).with_suffix("").parts)
            (folder / f"{name}.py").write_text(code)

    # Say that MuJoCo has any name: it comes without types.
    (folder / "typings" / "mujoco").mkdir(parents=True, exist_ok=True)
    anything = "from typing import Any\n\ndef __getattr__(name: str) -> Any: ...\n"
    (folder / "typings" / "mujoco" / "__init__.pyi").write_text(anything)
    settings = {
        "extraPaths": [str(path) for path in PATHS],
        "stubPath": "typings",
        "typeCheckingMode": "standard",
        "reportUnusedExpression": "none",  # the last line of a cell shows its value
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))


def main(folder: Path) -> int:
    """Writes the files and checks them; 0 if there is nothing to say of any."""
    write(folder)
    python = [sys.executable, "-m"]
    pyright = ["pyright", "--project", str(folder), "--pythonpath", sys.executable]
    mypy = ["mypy", "--follow-imports=silent", "--ignore-missing-imports", "--no-error-summary"]
    environment = os.environ | {"MYPYPATH": os.pathsep.join(map(str, [*PATHS, "typings"]))}
    pages = sorted(path.name for path in folder.glob("*.py"))
    return max(
        subprocess.run([*python, *command], cwd=folder, env=environment, check=False).returncode
        for command in (pyright, [*mypy, "--cache-dir", ".mypy_cache", *pages, GALLERY])
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
