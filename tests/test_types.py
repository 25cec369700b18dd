"""What type checkers see of the package: a user's script passes, and mistakes in one are found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "typing"
pytestmark = pytest.mark.slow


def mypy(name: str) -> list[tuple[int, str]]:
    """The lines of a script in which mypy finds mistakes, and what it says."""
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--no-error-summary"]
    command += ["--follow-imports=silent", "--ignore-missing-imports", name]
    found = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1), found.stdout + found.stderr
    lines = re.findall(rf"^{name}:(\d+): error: (.*)$", found.stdout, re.MULTILINE)
    return [(int(line), message) for line, message in lines]


def pyright(name: str) -> list[tuple[int, str]]:
    """The same of pyright."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    found = subprocess.run(
        [*command, name], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert found.returncode in (0, 1), found.stdout + found.stderr
    return [
        (finding["range"]["start"]["line"] + 1, finding["message"])
        for finding in json.loads(found.stdout)["generalDiagnostics"]
        if finding["severity"] == "error"
    ]


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_right_script_passes(checker):
    assert checker("right.py") == []


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_every_mistake_is_found(checker):
    lines = (FOLDER / "wrong.py").read_text().splitlines()
    planted = {number for number, line in enumerate(lines, 1) if "# MISTAKE" in line}
    assert len(planted) >= 12
    assert {line for line, _ in checker("wrong.py")} == planted
