"""What type checkers see of the package: a user's script passes, and mistakes in one are found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "typing"
SCRIPTS = "right.py", "wrong.py"
pytestmark = pytest.mark.slow


Mistakes = dict[str, list[int]]  # by name of a script: the lines that are reported


def mypy() -> Mistakes:
    """What mypy finds."""
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--no-error-summary"]
    command += ["--follow-imports=silent", "--ignore-missing-imports", *SCRIPTS]
    found = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1), found.stdout + found.stderr
    lines = re.findall(r"^(\w+\.py):(\d+): error: ", found.stdout, re.MULTILINE)
    return {name: [int(line) for of, line in lines if of == name] for name in SCRIPTS}


def pyright() -> Mistakes:
    """What pyright finds."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    found = subprocess.run(
        [*command, *SCRIPTS], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert found.returncode in (0, 1), found.stdout + found.stderr
    lines = [
        (Path(finding["file"]).name, finding["range"]["start"]["line"] + 1)
        for finding in json.loads(found.stdout)["generalDiagnostics"]
        if finding["severity"] == "error"
    ]
    return {name: [line for of, line in lines if of == name] for name in SCRIPTS}


@pytest.mark.thorough
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_mistakes_are_found_and_nothing_else(checker):
    found = checker()
    lines = (FOLDER / "wrong.py").read_text().splitlines()
    planted = {number for number, line in enumerate(lines, 1) if "# MISTAKE" in line}
    assert len(planted) >= 12
    assert set(found["wrong.py"]) == planted
    assert found["right.py"] == []
