"""Writers lose no earlier file: not on a full disk, not where nothing may be written."""

from __future__ import annotations

import contextlib
import os
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest

import jaxrender as jr
from jaxrender import io

resource = pytest.importorskip("resource", reason="limits the size of files")

BALL = jr.shapes.icosphere(2)
PICTURE = np.random.default_rng(0).uniform(size=(40, 40, 3)).astype(np.float32)
TEXTURE = jr.UVTexture(PICTURE, jnp.zeros((1, 2)), 0 * BALL.faces)
PAINTED = jr.Mesh(BALL.vertices, BALL.faces, TEXTURE)
WRITERS = {
    **{f"a{suffix}": lambda p: io.save_image(p, PICTURE) for suffix in (".png", ".jpg", ".tif")},
    "a.gif": lambda path: io.save_animation(path, [PICTURE, 1 - PICTURE]),
    "a.mp4": lambda path: io.save_animation(path, [PICTURE, 1 - PICTURE]),
    **{
        f"d{suffix}": lambda p: io.save_depth(p, PICTURE[..., 0] + 1)
        for suffix in (".npy", ".tif", ".png")
    },
    **{f"m{suffix}": lambda p: io.save_mesh(p, BALL) for suffix in (".ply", ".stl", ".off")},
    **{f"m{suffix}": lambda p: io.save_mesh(p, PAINTED) for suffix in (".obj", ".glb", ".gltf")},
    **{f"s{suffix}": lambda p: io.save(p, mesh=BALL) for suffix in (".npz", ".json")},
}


def content(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def full_disk(most):
    """Lets no file grow beyond so many bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(name, tmp_path):
    write, path = WRITERS[name], tmp_path / name
    write(path)
    before = content(tmp_path)
    for most in (0, 100):
        with full_disk(most), pytest.raises(OSError, match=rf"cannot write .*{name}") as caught:
            write(path)
        assert "What was there before is unchanged" in str(caught.value)
        assert content(tmp_path) == before
    write(path)
    assert content(tmp_path).keys() == before.keys()  # nothing is left beside


def refuse(*args, **kwargs):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("name", ["a.png", "d.npy", "m.obj", "s.json"])
def test_a_folder_that_may_not_be_written_to(name, tmp_path, monkeypatch):
    write, path = WRITERS[name], tmp_path / name
    write(path)
    before = content(tmp_path)
    for module, function in ((tempfile, "mkdtemp"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(module, function, refuse)
            with pytest.raises(PermissionError, match=r"cannot write .*: Permission denied"):
                write(path)
        assert content(tmp_path) == before


def test_files_that_may_not_be_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot write .*a\.json"):
        io.save(path, x=1)
    kept = tmp_path / "b.json"
    kept.write_text("mine")
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(PermissionError, match=r"cannot write .*b\.json"):
        io.save(kept, x=1)
    assert kept.read_text() == "mine"


def test_links_and_permissions_stay(tmp_path):
    real, link = tmp_path / "real" / "a.json", tmp_path / "b.json"
    io.save(real, x=1)
    real.chmod(0o640)
    link.symlink_to(real)
    io.save(link, x=2)
    assert link.is_symlink()
    assert io.load(real)["x"] == 2
    assert real.stat().st_mode & 0o777 == 0o640
