"""The README's Python blocks run, in order and together, and what they claim is true."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import jaxrender as jr

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


@pytest.mark.slow
def test_python_blocks_run():
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    names: dict = {}
    exec("\n".join(blocks), names)
    np.testing.assert_allclose(names["color"], [0.8, 0.4, 0.1], atol=0.02)


def test_names_in_the_readme_exist():
    names = set(re.findall(r"\bjr\.(\w+)", README))
    assert names
    assert names <= set(jr.__all__) | set(dir(jr))
