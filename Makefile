.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
T ?= tests

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml
	@echo "Installing everything into $(VENV): a minute or two; pip shows each package as it comes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	@echo "Installed: $(BIN)/tacit runs."
	@touch $@

setup: $(STAMP) ## make .venv with everything installed, so that .venv/bin/tacit runs

demo: $(STAMP) ## the whole cloud, end to end, checked step by step
	@$(BIN)/python -m tests.demo

test: $(STAMP) ## run the tests (T=path for a part)
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup $(T)

lint: $(STAMP) ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## write the format that lint checks
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only -q .

bench: $(STAMP) ## figures beside the real server's, in one run, into benchmarks/latest.json
	@$(BIN)/python -m tests.benchmarks

conformance: $(STAMP) ## scenarios, bad and random requests against the real server and ours; writes docs/conformance.md
	@$(BIN)/python -m tests.conformance

chaos: $(STAMP) ## kill -9 under load: 50 times on SQLite, 20 times on Postgres
	@$(BIN)/python -m tests.chaos --kills 50
	@$(BIN)/python -m tests.chaos --postgres --kills 20

sdks: $(STAMP) ## the Go, TypeScript and Java SDKs against tacit dev and tacit up, where their toolchains are found
	@$(BIN)/python -m tests.sdks

ui-check: $(STAMP) ## the stock Temporal web UI against tacit dev, page by page, where Go, Node and Chromium are found
	@$(BIN)/python -m tests.ui

.PHONY: help setup demo test lint format bench conformance chaos sdks ui-check
