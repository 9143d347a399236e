# Two commands for a newcomer: `make demo` and `make test`. Both bootstrap .venv, again and again without harm.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check audit bench soak storm chaos up lock schemas image image-trial clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## Play a conversation through a real Kafka, PostgreSQL and two simulated CRMs
	@$(BIN)/connector demo

test: $(STAMP) ## Run the unit and integration tests
	@$(BIN)/python -m pytest

check: $(STAMP) ## Lint, types, import contracts, generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/connector schemas --check

audit: ## Ask for known vulnerabilities of the locked dependencies (needs uv and the network)
	@uv tool run pip-audit --require-hashes --disable-pip -r requirements/runtime.txt

bench: $(STAMP) ## Measure against references and bars, and write docs/performance.md
	@$(BIN)/python tests/bench/run_bench.py
	@$(BIN)/python tests/bench/sends.py

soak: $(STAMP) ## Play a million updates (SOAK_EVENTS), watch memory and growth, and write its part of docs/performance.md
	@$(BIN)/python tests/bench/soak.py

storm: $(STAMP) ## Post 10,000 damaged webhooks and judge what became of them
	@$(BIN)/python tests/storm.py --count 10000

chaos: $(STAMP) ## Kill, cut off and overload the connector for about two hours and write docs/reliability.md; ROWS=1,2 plays some
	@$(BIN)/python tests/chaos/run_chaos.py --rows "$(ROWS)"

up: $(STAMP) ## Start the whole stack here, with the simulators
	@$(BIN)/connector up --sandbox

schemas: $(STAMP) ## Write schemas/ from the models
	@$(BIN)/connector schemas --write

image: ## Build the image with buildah, without a daemon; BASE=debootstrap makes the base, too (docker/image.sh)
	@docker/image.sh

image-trial: $(STAMP) ## Run every role from the image that `make image` built, beside a real Kafka and PostgreSQL (root)
	@$(BIN)/python tests/image_trial.py --image $(or $(IMAGE),localhost/connector:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml))

lock: ## Pin the dependencies again (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -q -o requirements/dev.txt
	uv pip compile pyproject.toml --extra tracing --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -q -c requirements/dev.txt -o requirements/runtime.txt
	grep -o 'hatchling==[0-9.]*' pyproject.toml | head -n 1 | uv pip compile - --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -q -c requirements/dev.txt -o requirements/build.txt

# uv when present, else venv and pip; --no-build-isolation because the build back-end is locked too.
$(STAMP): requirements/dev.txt pyproject.toml
	@echo "Setting up $(VENV) ..."
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
	  uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $(STAMP)

clean: ## Remove the virtual environment and the embedded engines' data
	rm -rf $(VENV) .connector
