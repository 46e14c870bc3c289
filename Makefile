# make demo | test | test-faults | lint | install | report.  Everything happens in .venv; nothing outside this folder is touched but /tmp.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
DEMO := runs/demo

.DEFAULT_GOAL := help
.PHONY: help install demo report test test-faults lint format clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

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
	$(BIN)/python -m experiments.sweep multimodal text lexical boosted --workspace $(DEMO) --trials 2 --members 1
	$(BIN)/python -m ensemble.stack --workspace $(DEMO)

report: $(DONE)  ## draws the demo workspace's report.html again
	$(BIN)/python -m reports.build --workspace $(DEMO)

test: $(DONE)  ## the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-faults: $(DONE)  ## what takes minutes: killed processes, several workers
	$(BIN)/python -m pytest -m faults

lint: $(DONE)  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DONE)  ## lets ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## removes the environment and caches; workspaces stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
