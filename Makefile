# make setup       a virtual environment in .venv with everything the main job needs
#                  (a second call is instant)
# make quickstart  collect six Meta-World tasks, train both phases, evaluate on unseen goals,
#                  write the report
# make test        the tests; make test-slow: the slow ones, with other projects' loaders
# make check       format, lint, types
# make coverage    the tests, with coverage: a page in htmlcov/, and the figure in CONTRIBUTING.md
# make bench       every speed claim, measured in one run
# make docs        the documentation's site in site/, its reference written from the code;
#                  a broken link is an error
PYTHON ?= python3
EXTRAS ?= metaworld,navigation,kitchen,imagenet,dmc,serve,export,dev
# Suites of other projects' environments, which only slow tests need.
OTHERS ?= pusht,aloha,fetch,minigrid,panda,ogbench

BIN := .venv/bin
# The interpreter itself, also where PYTHON lives in a virtual environment, and its version.
INTERPRETER := $(shell $(PYTHON) -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
STAMP := .venv/ready-$(VERSION)-$(EXTRAS)
DOCS_STAMP := .venv/docs-ready-$(VERSION)
BUILDER ?= zensical
# Python compiles what is imported when it is; pip would compile all that is installed, for a minute.
PIP := $(BIN)/python -m pip install -q --no-compile -c constraints.txt
# One thread per process: test workers and simulator workers share the cores. A file's tests share
# what they prepare, and files come in the order of tests/conftest.py.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses=8 --dist loadfile --no-loadscope-reorder

.PHONY: setup quickstart test test-slow coverage check bench docs docs-setup clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(VERSION)" || { echo "error: no Python interpreter '$(PYTHON)': make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python $(VERSION) is too old, 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@if [ -x $(BIN)/python ] && [ "$$($(BIN)/python -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')" = "$(VERSION)" ]; then :; else rm -rf .venv; $(INTERPRETER) -m venv .venv; fi
	@rm -f .venv/ready-*
	$(PIP) torch==2.13.0
	$(PIP) -e '.[$(EXTRAS)]'
	@touch $@

quickstart: setup
	@scripts/system_package.sh renderer
	$(BIN)/manyparts quickstart

test: setup
	@scripts/system_package.sh renderer
	@scripts/system_package.sh navigation
	@scripts/system_package.sh browser
	$(PYTEST)

test-slow: setup
	@scripts/system_package.sh renderer
	@scripts/system_package.sh navigation
	@scripts/system_package.sh browser
	@scripts/system_package.sh peers
	@scripts/system_package.sh slurm
	@scripts/peers/install.sh $(INTERPRETER)
	@scripts/peers/install_clients.sh $(INTERPRETER)
	@scripts/peers/install_trackers.sh $(INTERPRETER)
	@scripts/peers/install_ray.sh $(INTERPRETER)
	$(PIP) -e '.[$(EXTRAS),$(OTHERS),rerun,wandb]'
	$(PYTEST) -m slow

# A failed test leaves the figure as it was: the run ends before the last line.
coverage: setup
	@scripts/system_package.sh renderer
	@scripts/system_package.sh navigation
	@scripts/system_package.sh browser
	$(PYTEST) --cov --cov-report= --cov-report=html
	$(BIN)/python scripts/coverage_figure.py

check: setup
	$(BIN)/ruff format --check src tests benchmarks scripts examples plugins
	$(BIN)/ruff check src tests benchmarks scripts examples plugins
	$(BIN)/pyright

bench: setup
	@scripts/system_package.sh renderer
	mkdir -p bench
	$(BIN)/manyparts bench --output bench/results.jsonl

$(DOCS_STAMP): $(STAMP)
	$(PIP) -e '.[$(EXTRAS),docs]'
	@touch $@

docs-setup: $(DOCS_STAMP)

# BUILDER=mkdocs builds the same site with MkDocs, where Zensical does not run.
docs: $(DOCS_STAMP)
	@scripts/system_package.sh renderer
	@scripts/system_package.sh navigation
	$(BIN)/python scripts/docs/reference.py
	$(BIN)/python scripts/docs/build.py --builder $(BUILDER)

clean:
	rm -rf .venv site .cache htmlcov .coverage docs/reference/generated
