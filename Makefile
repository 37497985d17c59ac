# Leadglass. `make` alone lists what there is.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
DATA ?=
DEMO ?= demo
PYTEST_ARGS ?=

.PHONY: help demo demo-stop test quick check fix interop fuzz bench docs lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: ## Start a throw-away site, send real studies over mutual TLS, find, fetch, verify (DATA=folder for your own)
	@PYTHON=$(PYTHON) tools/setup.sh requirements.lock
	@$(BIN)/python -m leadglass.app.demo start "$(DEMO)" $(if $(DATA),--data "$(DATA)")

demo-stop: ## Stop the demo's node; its folder stays until the next `make demo` or `make clean`
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m leadglass.app.demo stop "$(DEMO)"; else echo "no demo is running"; fi

test: ## The whole test suite, with its foreign peers where they can be installed
	@PYTHON=$(PYTHON) tools/setup.sh requirements-dev.lock
	@tools/peers.sh
	@$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

quick: ## The fast tests only: under two minutes
	@PYTHON=$(PYTHON) tools/setup.sh requirements-dev.lock
	@$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not interop" -q $(PYTEST_ARGS)

check: ## Format, lint, types, import contracts, generated pages
	@PYTHON=$(PYTHON) tools/setup.sh requirements-dev.lock
	@PYTHON=$(PYTHON) tools/check.sh

fix: ## Format, and repair what the linter can
	@PYTHON=$(PYTHON) tools/setup.sh requirements-dev.lock
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

interop: ## Only the tests with foreign peers (DCMTK, pynetdicom, Orthanc)
	@PYTHON=$(PYTHON) tools/setup.sh requirements-dev.lock
	@tools/peers.sh
	@$(BIN)/python -m pytest -m interop $(PYTEST_ARGS)

bench: ## Side by side with DCMTK and Orthanc in the same run, as ratios
	@PYTHON=$(PYTHON) tools/setup.sh requirements-dev.lock
	@$(BIN)/python bench/store.py
	@$(BIN)/python bench/web.py

docs: ## Write the generated pages anew
	@PYTHON=$(PYTHON) tools/setup.sh requirements-dev.lock
	@$(BIN)/python tools/generate_docs.py

lock: ## Pin and hash the dependencies anew
	@$(BIN)/python -m pip install --quiet uv
	@for line in "requirements.lock --extra postgresql" "requirements-dev.lock --extra postgresql --group dev"; do \
	  set -- $$line; out=$$1; shift; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url pyproject.toml "$$@" --output-file $$out; done
	@printf 'hatchling\neditables\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url - --output-file requirements-build.lock

clean: demo-stop ## Remove the demo and every cache
	@rm -rf "$(DEMO)" .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
