"""The wheel holds the package and its licence, is small, and the sdist builds the same."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A wheel of the checkout, and an sdist."""
    wheels = pytest.importorskip("hatchling.builders.wheel")
    sdists = pytest.importorskip("hatchling.builders.sdist")
    folder = str(tmp_path_factory.mktemp("dist"))
    made = [
        next(iter(builder(str(ROOT)).build(directory=folder, versions=["standard"])))
        for builder in (wheels.WheelBuilder, sdists.SdistBuilder)
    ]
    return Path(made[0]), Path(made[1])


def test_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "jaxrender").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == wanted
    assert "jaxrender/py.typed" in inside
    about = {name.split(".dist-info/")[1] for name in names - inside}
    assert about == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert built[0].stat().st_size < MEGABYTE


def test_sdist_holds_all_that_the_wheel_is_built_from(built):
    with tarfile.open(built[1]) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames()}
    with zipfile.ZipFile(built[0]) as wheel:
        code = {name for name in wheel.namelist() if name.startswith("jaxrender/")}
    assert code <= names
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"} <= names
    assert not [name for name in names if name.startswith(("out/", "docs/", ".ci/", ".github/"))]
