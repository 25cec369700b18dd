"""The settings of the documentation: `make docs` builds it, and a warning is an error."""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.util.logging import getLogger

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "docs"))  # where the pages find `drawing`
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA says where a machine compiles slowly
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "docs")])

import jaxrender  # noqa: E402

project = "jaxrender"
author = "the jaxrender authors"
copyright = f"2026, {author}"
version = release = jaxrender.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"jaxrender {version}"
html_static_path: list[str] = []
default_role = "py:obj"  # a name in backticks is a link where there is something to link to

# Pages are run from the first line to the last; what they warn of or raise ends the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_output_stderr = "error"
nb_merge_streams = True
logging.getLogger("traitlets").setLevel(logging.ERROR)  # says that each page is run
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say shapes and units, which types do not
napoleon_use_ivar = True
napoleon_use_rtype = False

MODULES = [
    name for name in jaxrender.__all__ if inspect.ismodule(getattr(jaxrender, name))
]  # the public ones; each has a page of its own


def public_names() -> dict[str, Any]:
    """Every public name, in full, and what it names: what the reference must have."""
    names = {f"jaxrender.{name}": getattr(jaxrender, name) for name in jaxrender.__all__}
    for name in MODULES:
        module = names.pop(f"jaxrender.{name}")
        names |= {f"jaxrender.{name}.{inner}": getattr(module, inner) for inner in module.__all__}
    return names


def _apart(found: re.Match) -> str:
    """A name in backticks, and what follows it, as reStructuredText allows it."""
    return found[1] + "\\ " * bool(found[2]) + found[2]


def show_formulas(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Makes literal blocks of the indented lines of a docstring, which are formulas and tables."""
    headers = ("Args:", "Attributes:", "Returns:", "Raises:", "Warns:", "Example:", "References:")
    result: list[str] = []
    inside = False
    for number, line in enumerate(lines):
        if line.strip() in headers and not line.startswith(" "):
            result += lines[number:]
            break
        indented = line.startswith("    ")
        if indented and not inside and result and not result[-1].strip():
            result += ["::", ""]
        if line.strip():
            inside = indented
        result.append(line)
    # Let a letter follow a name: `Image`s.
    lines[:] = [re.sub(r"(`[^`]+`)(\w?)", _apart, line) for line in result]


def miss_no_name(app: Any, env: Any) -> None:
    """Warns of each public name that no page documents."""
    documented = env.get_domain("py").objects
    things = {id(thing): name for name, thing in public_names().items() if name in documented}
    for name, thing in public_names().items():
        if name not in documented and id(thing) not in things:
            getLogger(__name__).warning(
                "%s is public and no page documents it: add it to one in docs/api", name
            )


def name_outside_files(app: Any, page: str, source: list[str]) -> None:
    """Names what links lead to beside this folder, as they do in a checkout, and not in a site."""
    up = "../" * (page.count("/") + 1)
    outside = re.compile(rf"\[([^\]]+)\]\({re.escape(up)}([^)#]+)[^)]*\)")
    source[0] = outside.sub(r"\1 (`\2`)", source[0])


def setup(app: Any) -> None:
    """Connects what is ours."""
    app.connect("source-read", name_outside_files)
    app.connect("autodoc-process-docstring", show_formulas, priority=100)
    app.connect("env-check-consistency", miss_no_name)
