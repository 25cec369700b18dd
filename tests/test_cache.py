import os
import subprocess
import sys

import pytest

import jaxrender as jr

SCRIPT = """
import jax, jax.numpy as jnp
import jaxrender as jr

jnp.arange(3.0).sum().block_until_ready()  # something is compiled before
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(jr.cache(*{folder!r}))
jax.jit(lambda x: jnp.cos(x).sum())(jnp.arange(5.0)).block_until_ready()
print(sum("cache_hits" in hit for hit in hits))
"""


def run(*folder: str, **env: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(folder=folder)],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")


@pytest.mark.thorough
def test_next_process_finds_programs(tmp_path):
    folder = str(tmp_path / "some" / "where")
    assert run(folder)[0] == folder
    assert int(run(folder)[1]) > 0
    assert run(XDG_CACHE_HOME=str(tmp_path))[0] == str(tmp_path / "jaxrender")


def test_bad_folders(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", 5):
        with pytest.raises(ValueError, match="`folder`"):
            jr.cache(folder)
