# `make demo` and `make test` need nothing but Python 3.11+, pip, git and make.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help
help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.demo: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Storeroom needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Storeroom needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@ $(VENV)/.demo

.PHONY: demo
demo: $(VENV)/.demo ## Set up and run the demo: two days of a shop, from raw events to several destinations
	$(BIN)/storeroom demo

.PHONY: test
test: $(VENV)/.dev ## Set up and run all tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: lint
lint: $(VENV)/.dev ## Check style, types, import contracts and SQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint dbt/models

.PHONY: dev
dev: $(VENV)/.demo ## Open the Dagster UI
	$(BIN)/dagster dev

.PHONY: generated
generated: $(VENV)/.dev ## Make the files anew that are made from others: the catalog's index, reference pages
	$(BIN)/python -m destinations.generated

.PHONY: lock
lock: ## Pin every dependency anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra demo --output-file requirements.lock pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --all-extras --output-file requirements-dev.lock pyproject.toml

.PHONY: clean
clean: ## Remove what runs wrote (the environment stays)
	rm -rf .storeroom dbt/target dbt/logs
