# make demo | test | test-faults | test-gpu | lint | install | report.  Everything happens in .venv; nothing outside this folder is touched but /tmp.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
DEMO := runs/demo
WORKSPACE ?= runs

.DEFAULT_GOAL := help
.PHONY: help install demo dashboard report test test-faults test-gpu lint format clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(DONE)  ## the environment alone: .venv with pinned versions

$(DONE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Pricestack needs Python 3.11 or newer; name it with: make PYTHON=python3.12 install"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(DONE)  ## demo catalog, sweep over all four architectures, stack, submission: about 4 minutes
	$(BIN)/pricestack demo --workspace $(DEMO)

dashboard: $(DONE)  ## Optuna's dashboard and MLflow's UI of a workspace (WORKSPACE=runs), until Ctrl-C
	@$(BIN)/python -m experiments.dashboard --workspace $(WORKSPACE)

report: $(DONE)  ## draws the demo workspace's report.html again
	$(BIN)/python -m reports.build --workspace $(DEMO)

test: $(DONE)  ## the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-faults: $(DONE)  ## the long ones: kills, restarts and outages that take minutes
	$(BIN)/python -m pytest -m faults

test-gpu: $(DONE)  ## what needs a GPU: parity, trainings, memory, two trials at once (skipped without one)
	$(BIN)/python -m pytest -m gpu -rs

lint: $(DONE)  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DONE)  ## lets ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## removes the environment and caches; workspaces stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
