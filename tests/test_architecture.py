"""Holds the shape of the house: which way imports go, and what importing it needs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jaxrender as jr
from jaxrender import cli

PACKAGE = Path(jr.__file__).resolve().parent

# The rooms, from the ground up: each may import only from floors below its own. Rooms of one
# floor do not know each other.
FLOORS = [
    {"ops", "_arrays", "_cache", "_choices", "_known_faults", "_pixels", "_progress"}
    | {"_reuse", "_schedule"},
    {"_watching"},
    {"_types", "distributions", "tconorms"},
    {"_checks"},
    {"rotations", "_distortion", "_vectors"},
    {"_camera", "_color", "_teapot", "_body", "_topology"},
    {"_textures", "shapes"},
    {"_material"},
    {"_subdivide", "_surface"},
    {"_shading", "_rasterize", "_nmr", "_edges", "_interpolate", "_voxels", "_lens"},
    {"_batch", "_shader", "_framing"},
    {"_join"},
    {"_soft", "_diagnose", "_scene"},
    {"_render"},
    {"losses", "_formats", "_manifolds", "mujoco", "debug"},
    {"_images", "_depth_files", "_camera_files", "_large_steps", "_least_squares", "skinning"}
    | {"_remesh", "_viewer", "torch"},
    {"_scene_files"},
    {"io", "fitting"},
    {"_turntable", "_report", "_options"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# What may be imported where the module is loaded, outside functions.
OUTSIDE = {"jax", "numpy"}
# Kernels are written in numba: these modules are imported where one is about to run.
KERNELS = PACKAGE / "ops" / "cpu"
OF_KERNELS = {"numba", "llvmlite", "numpy"}
# What the package itself does not import.
OF_TORCH = {"torch"}

FILES = sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    """The top-level module or folder that a file belongs to; the package itself is ''."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Each full module name that a file imports, and whether a function body imports it."""
    tree = ast.parse(path.read_text())
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    late = {inner for function in functions for inner in ast.walk(function)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; name the module in full"
            # `from jaxrender import ops` names a module by its alias.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name, node in late) for name in names]
    return found


def _ours(name: str) -> str | None:
    """Which room a module name leads to; '' is the package, None is outside."""
    first, *rest = name.split(".")
    if first != "jaxrender":
        return None
    return rest[0] if rest and rest[0] in FLOOR else ""


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    here = _room(path)
    if here == "":
        return  # the package's front door may open every room
    assert here in FLOOR, f"{here} has no floor yet: give it one in {Path(__file__).name}"
    for name, _ in _imports(path):
        there = _ours(name)
        if there is None or there == here or name == "jaxrender.__version__":
            continue
        assert there, f"{path.name} imports the package by {name}; name the module"
        assert FLOOR[there] < FLOOR[here], f"{path.name} imports {name}, above it or beside it"


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_jax_and_numpy_are_imported_at_the_top(path):
    for name, late in _imports(path):
        top = name.split(".")[0]
        if not late and top != "jaxrender" and top not in sys.stdlib_module_names:
            known = OUTSIDE | OF_KERNELS if _is_kernel(path) else OUTSIDE
            known = OUTSIDE | OF_TORCH if _room(path) == "torch" else known
            assert top in known, f"{path.name} imports {name} outside a function"


def _is_kernel(path: Path) -> bool:
    """Whether a module is one that is imported late: no door of the package."""
    return path.parent == KERNELS and path.name != "__init__.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_kernels_are_imported_late(path):
    """By their door, inside of a function, and by each other."""
    for name, late in _imports(path):
        if name.startswith("jaxrender.ops.cpu.") and not _is_kernel(path):
            doors = "Kernel", "are_available", "can_take"
            names = {f"jaxrender.ops.cpu.{door}" for door in doors}
            assert late or name in names, f"{path.name} imports {name} outside a function"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "ops").rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_ops_import_only_jax(path):
    for name, _ in _imports(path):
        top = name.split(".")[0]
        known = top in {"jax", "__future__"} or top in sys.stdlib_module_names
        known |= path.parent == KERNELS and top in OF_KERNELS
        assert known or _ours(name) == "ops", f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.thorough
def test_import_needs_only_jax_and_numpy():
    all_of_it = "import sys; from jaxrender import *"
    loaded = _python(f"{all_of_it}; print(*{{name.split('.')[0] for name in sys.modules}})")
    needed = {"jaxrender", "jax", "jaxlib", "numpy", "scipy", "ml_dtypes", "opt_einsum"}
    ours = _python("import sys, jax; print(*{name.split('.')[0] for name in sys.modules})")
    assert set(loaded.split()) - set(ours.split()) - sys.stdlib_module_names <= needed


@pytest.mark.thorough
def test_import_starts_no_backend():
    """And says nothing with this jax; with one that is known to be wrong, one thing."""
    code = "import sys, warnings, jax; jax.__version__ = sys.argv[1] or jax.__version__\n"
    code += "with warnings.catch_warnings(record=True) as told: from jaxrender import *\n"
    code += "from jax._src import xla_bridge; print(len(xla_bridge._backends), *map(str, told))"
    command = [sys.executable, "-W", "always", "-c", code]
    quiet, wrong = (
        subprocess.run([*command, version], capture_output=True, text=True, check=True).stdout
        for version in ("", "0.10.2")
    )
    assert quiet.split() == ["0"]
    assert wrong.startswith("0 ")
    assert wrong.count("jax 0.10.2 gives wrong results") == 1


@pytest.mark.thorough
def test_import_changes_no_setting_of_jax():
    values = "print(sorted(jax.config.values.items(), key=str))"
    assert _python(f"import jax; from jaxrender import *; {values}") == _python(
        f"import jax; {values}"
    )


@pytest.mark.slow
def test_what_is_seldom_used_is_loaded_late():
    code = (
        "import sys, jaxrender; print(*sys.modules); from jaxrender import *; print(*sys.modules)"
    )
    first, then = (set(line.split()) for line in _python(code).splitlines())
    late = {"fitting", "io", "losses", "mujoco", "skinning", "_formats", "_viewer"}
    assert {f"jaxrender.{name}" for name in late} <= then - first
    with pytest.raises(AttributeError, match="module 'jaxrender' has no attribute 'teapot'"):
        jr.teapot  # noqa: B018


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", jr.__all__)
def test_public_names_are_documented(name):
    thing = getattr(jr, name)
    if callable(thing) or inspect.ismodule(thing):
        text = inspect.getdoc(thing) or ""
        generated = isinstance(thing, type) and text.startswith(f"{thing.__name__}(")
        assert text, f"{name} has no docstring"
        assert not generated, f"{name} has only the docstring that dataclass makes"


PUBLIC = [jr, *filter(inspect.ismodule, (getattr(jr, name) for name in jr.__all__)), cli]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_public_modules_list_public_names_only(module):
    listed = {name for name in dir(module) if not name.startswith("__")}
    assert listed == set(module.__all__)
    assert len(module.__all__) == len(listed), "a name is listed twice"

    # What a module defines without an underscore is public, unless it is a constant.
    own = {
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    }
    assert own <= listed
    assert all(hasattr(module, name) for name in listed)
