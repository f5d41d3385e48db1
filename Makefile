# Users need `make demo` and `make test`; the other targets are for developers.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# compile bytecode at installation, so that commands start faster
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install dev demo test test-all docs siege lint typecheck check wheel requirements benchmark-start benchmark-outcomes false-alarms bench soak clean

help:
	@echo "make demo      install and run the example job on an embedded database"
	@echo "make test      install what the tests need and run a few variants of each"
	@echo "make test-all  all tests: every point of every sweep"
	@echo "make soak      2,000 runs by one service, to detect leaks: 45 minutes"
	@echo "make siege     a service under bad connections and hostile files for ten minutes"
	@echo "make check     lint, types, tests, wheel: what CI runs"
	@echo "make benchmark-start   time --help and a run with nothing due"
	@echo "make benchmark-outcomes   time monthly figures of a million predictions: two minutes"
	@echo "make false-alarms      simulate how often monitoring alarms and asks for another model, with need and without: two minutes"
	@echo "make bench     compare speed and memory with pandas, Polars, MLflow and a hand-written loop: 15 minutes"
	@echo "make docs      write the generated parts of the documents: models, source types, commands, errors, package map"
	@echo "make requirements      pin requirements.txt and requirements-dev.txt again"

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m compileall -q batch_scoring
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

demo: install
	$(BIN)/batch-scoring demo

test: dev .venv-mlflow/.installed
	$(BIN)/python -m pytest -m "not slow"

# as `make test-all PYTEST_FLAGS="-k purge"`; TEST_MINUTES=30 in the environment ends the variants after so many minutes
PYTEST_FLAGS ?=
test-all: dev .venv-mlflow/.installed
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

docs: dev
	UPDATE_DOCS=1 $(BIN)/python -m pytest tests/unit/test_estimators.py tests/store/test_source_types.py \
	  tests/unit/test_cli_reference.py tests/unit/test_error_reference.py tests/unit/test_decisions.py tests/unit/test_package_map.py \
	  tests/unit/test_api.py tests/acceptance/test_logins.py

soak: dev
	SOAK_RUNS=2000 $(BIN)/python -m pytest -n 0 -s tests/acceptance/test_soak.py

siege: dev
	SIEGE_MINUTES=10 $(BIN)/python -m pytest -n 0 -s tests/acceptance/test_siege.py

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

typecheck: dev
	$(BIN)/mypy

WHEEL_DIR ?=
wheel: dev .venv-mlflow/.installed
	$(BIN)/python -m benchmarks.wheel_check $(WHEEL_DIR)

check: lint typecheck test wheel

false-alarms: dev
	$(BIN)/python -m benchmarks.false_alarms
	$(BIN)/python -m benchmarks.false_triggers

benchmark-start: dev
	$(BIN)/python -m benchmarks.start

benchmark-outcomes: dev
	$(BIN)/python -m benchmarks.outcomes

# the peers require other versions of shared libraries, so they have a separate environment
.venv-bench/.installed: requirements-bench.txt pyproject.toml
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

# the server of MLflow requires other versions of shared libraries, too
.venv-mlflow/.installed: requirements-mlflow.txt
	test -x .venv-mlflow/bin/python || $(PYTHON) -m venv .venv-mlflow
	.venv-mlflow/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-mlflow.txt
	touch $@

bench: .venv-bench/.installed
	.venv-bench/bin/python -m benchmarks.speed

requirements: dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --generate-hashes \
	  pyproject.toml --upgrade -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header \
	  pyproject.toml --all-extras --group dev --constraint requirements.txt --upgrade -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header \
	  pyproject.toml --group bench --upgrade -o requirements-bench.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header \
	  --group mlflow-server --upgrade -o requirements-mlflow.txt

clean:
	rm -rf $(VENV) .venv-bench .venv-mlflow build dist demo .pytest_cache .mypy_cache .ruff_cache
