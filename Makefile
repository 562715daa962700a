# Everything a person types. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Another package index for PyTorch, e.g. https://download.pytorch.org/whl/cpu: the default build
# brings several GB of CUDA libraries.
TORCH_INDEX_URL ?=
# How many processes run the tests.
WORKERS ?= 2
CONSTRAINTS := requirements/constraints.txt
# No byte code ahead: of some 17,000 modules a quarter is imported, and compiled then.
# Written also where the environment forbids it, as in many containers: else each process would
# compile PyTorch and the rest again, which doubles the time that it takes to start.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input install -q --no-compile
TORCH_FROM := $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-faults test-kernels scenarios audit licences lint types docs install install-dev check clean-data

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

check: ## say what the machine lacks, in one line each
	@command -v git >/dev/null || { echo "avsep: git is missing; install it first (Debian: apt-get install git)." >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "avsep: $(PYTHON) is missing; install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "avsep: $(PYTHON) is older than 3.11; say PYTHON=python3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "avsep: the module venv is missing (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || { echo "avsep: a C compiler is missing, which pesq needs (Debian: apt-get install gcc)." >&2; exit 1; }
	@$(PYTHON) -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h").is_file())' || { echo "avsep: Python.h is missing, which pesq needs (Debian: apt-get install python3-dev)." >&2; exit 1; }

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.pipeline: pyproject.toml $(CONSTRAINTS) | check $(BIN)/python
	$(PIP_INSTALL) $(TORCH_FROM) -c $(CONSTRAINTS) -e '.[pipeline]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS) | check $(BIN)/python
	$(PIP_INSTALL) $(TORCH_FROM) -c $(CONSTRAINTS) -e '.[dev,browser]'
	@# face-alignment brings the OpenCV build with windows, which needs libGL; both write cv2/, so
	@# the one without is written last.
	$(PIP_INSTALL) --no-deps --force-reinstall -c $(CONSTRAINTS) opencv-python-headless
	@touch $@ $(VENV)/.pipeline

install: $(VENV)/.pipeline ## make the virtual environment and install what the pipeline needs

install-dev: $(VENV)/.dev ## the same with what development needs

demo: install ## build the demo corpus, train and evaluate all models, show the table
	@test -e .git || { echo "avsep: this is not a git checkout, which DVC needs; clone the project." >&2; exit 1; }
	@AVSEP_RESULTS_FOLLOW=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows.side_by_side
	@$(BIN)/avsep results

# A file's tests stay together, so that its fixtures are made once.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: install-dev ## run all tests; with COVERAGE=1, say what they cover
	$(PYTEST) $(if $(COVERAGE),--cov --cov-report=term)

test-fast: install-dev ## run the tests that take less than half a second each
	$(PYTEST) -q -m 'not slow'

# How many kills per stage and victim, and damaged files per reader.
SEEDS ?= 1
FUZZ ?= 300

test-faults: install-dev ## kill every stage, fill the disk, damage files (about 35 minutes; SEEDS=20: hours)
	AVSEP_FAULTS=1 AVSEP_FAULT_SEEDS=$(SEEDS) AVSEP_FUZZ=$(FUZZ) \
	  $(BIN)/python -m pytest -s tests/faults tests/security

test-kernels: install-dev ## run the GPU kernels in Triton's interpreter and compile them (fetches Triton, 1 GB)
	$(PIP_INSTALL) -c $(CONSTRAINTS) -e '.[kernels]'
	$(BIN)/python -m pytest -q tests/models/test_gpu_kernels.py

# Stories too long for the tests. Those of the second line start from a folder in which `dvc repro`
# has run: `make scenarios PROJECT=.` after `make demo`.
SCENARIOS ?= planted_bugs prefect_overhead training_page killed_trainings miniature_repro open_corpora thousand_videos worker_memory
OF_PROJECT := experiments scheduled_runs dvc_remotes
PROJECT ?=

scenarios: install-dev ## run the stories of tests/scenarios, hours (SCENARIOS="...", PROJECT=folder)
	@set -e; for name in $(SCENARIOS); do echo "== $$name"; \
	  PYTHONPATH=. $(BIN)/python tests/scenarios/$$name.py; done
	@set -e; for name in $(if $(PROJECT),$(OF_PROJECT)); do echo "== $$name"; \
	  PYTHONPATH=. $(BIN)/python tests/scenarios/$$name.py $(abspath $(PROJECT)); done

AUDIT := build/audit

$(AUDIT)/bin/pip-audit: | check
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip --disable-pip-version-check --no-input install -q pip-audit==2.10.1 2>$(AUDIT)/pip.log \
	  || { echo "avsep: pip-audit cannot be installed without the network ($(AUDIT)/pip.log)." >&2; exit 1; }

audit: $(AUDIT)/bin/pip-audit ## compare the pinned packages with the known vulnerabilities (network)
	@$(PYTHON) -m tools.audit $<

licences: install-dev ## write docs/licences.md again, after a change of uv.lock
	$(BIN)/python -m tools.licences

lint: install-dev ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev ## check types
	$(BIN)/mypy

docs: install-dev ## build the documents as a site, build/site/index.html
	$(BIN)/mkdocs build --strict

clean-data: ## remove all that the stages made, the cache included
	rm -rf data/raw data/raw.parquet data/clips data/plan.parquet data/shards data/mixtures data/lipcoder data/runs \
	  data/evaluations data/report data/.work data/ledger.sqlite* .dvc/cache .dvc/tmp dvc.lock
