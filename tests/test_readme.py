"""The README's Python blocks run, in order and together, and what they claim is true."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import pytest

import jaxrender as jr

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.thorough
def test_python_blocks_run(tmp_path, monkeypatch):
    pytest.importorskip("optax")
    pytest.importorskip("imageio")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names: dict = {}
    with jax.numpy_rank_promotion("allow"):  # as users have it
        exec("\n".join(blocks), names)
    assert jr.io.load_image("out/picture.png").shape == (256, 256, 3)
    assert names["found"].best_loss < 0.3 * names["found"].losses[0]
    assert jr.load_mesh("out/fitted.obj").faces.shape == names["ball"].faces.shape


def test_links_lead_to_files():
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", README):
        assert "://" in link or (ROOT / link).exists(), link


def test_names_in_the_readme_exist():
    names = set(re.findall(r"\bjr\.(\w+)", README))
    assert names
    assert names <= set(jr.__all__) | set(dir(jr))
