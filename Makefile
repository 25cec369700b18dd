# make demo   draws the Utah teapot: out/teapot.png and out/teapot.gif
# make quick  tests every operation, in a minute or two
# make test   runs all tests but the longest, in some minutes (TESTS='not long' as in CI)
# make test-long   runs those, compiled as users have it, and the hostile tests on more values
# make test-torch   runs what needs PyTorch, make test-viewer what needs viser and a Chromium,
#   make test-remesh what needs gpytoolbox
# make lint   checks style and types, those of the code in README and docs too
# make docs   builds the documentation in out/docs, running all that its pages show
# make gallery   draws the pictures of docs/gallery.md
# make notebooks   writes the pages of docs/notebooks as .ipynb, for Jupyter, in out/notebooks
# make bench  times the rasterisers
#
# Each builds what it needs in .venv first, and again only when pyproject.toml has changed.
# PYTHON=python3.13 selects the interpreter, JAX=0.8.0 a version of jax, HOSTILE_CASES=1000 how many
# values `make test-long` draws for each property of tests/hostile.

PYTHON ?= python3
JAX ?=
HOSTILE_CASES ?= 20000
TESTS ?= not long and not thorough and not torch

venv := .venv
bin := $(venv)/bin
pip := $(bin)/python -m pip --quiet --quiet --disable-pip-version-check
made := $(venv)/made-with-$(subst /,-,$(PYTHON))-jax-$(or $(JAX),newest)

.PHONY: help demo quick test test-long test-torch test-viewer test-remesh lint docs gallery notebooks bench clean
.SILENT:

help:
	sed -n 's/^# make /make /p' Makefile

demo: $(made)
	$(bin)/python -m jaxrender render teapot --size 256 --output out/teapot.png
	$(bin)/python -m jaxrender render teapot --size 256 --output out/teapot.gif

quick: $(made)-test
	$(bin)/python -m pytest --numprocesses auto --dist worksteal -m 'not slow and not long and not torch'

test: $(made)-test
	$(bin)/python -m pytest --numprocesses auto --dist worksteal -m '$(TESTS)'

test-long: $(made)-test
	XLA_FLAGS="$$XLA_FLAGS" HOSTILE_CASES=$(HOSTILE_CASES) \
		$(bin)/python -m pytest --numprocesses auto --dist worksteal -m 'long or hostile'

test-torch: $(made)-torch
	$(bin)/python -m pytest -m torch tests/test_torch*.py
	$(bin)/python -m pytest --doctest-modules jaxrender/torch --override-ini addopts=

test-viewer: $(made)-viewer
	$(bin)/python -m pytest tests/test_viewer.py

test-remesh: $(made)-remesh
	$(bin)/python -m pytest tests/test_remesh.py

lint: $(made)-lint
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/pyright --pythonpath $(bin)/python
	$(bin)/python docs/snippets.py out/snippets

docs: $(made)-docs
	$(bin)/python -m sphinx --quiet --fail-on-warning --keep-going --jobs auto docs out/docs
	echo 'The documentation is in out/docs/index.html'

gallery: $(made)
	$(bin)/python docs/gallery.py

notebooks: $(made)-docs
	mkdir -p out/notebooks
	for page in docs/notebooks/*.md; do \
		case $$page in */index.md) continue;; esac; \
		$(bin)/mystnb-to-jupyter --overwrite $$page out/notebooks/$$(basename $$page .md).ipynb; \
	done

bench: $(made)
	$(bin)/python -m benchmarks --peers

clean:
	rm -rf $(venv) out dist

# What it takes to draw.
$(made): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'jaxrender needs Python 3.11 or newer: try make PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments: install its venv package' \
		'(on Debian and Ubuntu: apt install python3-venv)' >&2; exit 1; }
	echo 'Installing into $(venv) ...' >&2
	$(PYTHON) -m venv --clear $(venv)
	$(pip) install 'pip>=25.1'
	$(pip) install --editable '.[all]' $(if $(JAX),'jax==$(JAX)')
	touch $@

# What it takes to test, to check style and types, and to build the documentation.
$(made)-test $(made)-torch $(made)-viewer $(made)-remesh $(made)-lint $(made)-docs: $(made)-%: $(made)
	$(pip) install --group $*
	touch $@
