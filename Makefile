# Every target stands on its own: it makes .venv and installs what it needs.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?=
PRECISION ?=
MINUTES ?= 5
TREE ?= .
TORCH ?= 2.13.0
BENCH_MODEL := build/bench-checkpoint
VENV := .venv
BIN := $(VENV)/bin
# Compiled tests are kept, whatever the environment says: compiling takes each process ten seconds.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run test test-all nightly test-deploy lint check docs bench peers metrics overload reading soak format lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.base ## Serve speech on http://127.0.0.1:8000 (MODEL=..., PRECISION=int8, HOST=..., PORT=...)
	$(BIN)/soprano-api serve --host $(HOST) --port $(PORT) $(if $(MODEL),--model $(MODEL)) \
		$(if $(PRECISION),--precision $(PRECISION))

test: $(VENV)/.dev ## Run all tests but those that take minutes each, in two processes
	$(PYTEST) -m "not nightly and not deploy"

test-all: test nightly ## Run the whole test suite

nightly: $(VENV)/.dev ## Run what test-all adds to test: fuzzing, faults, load, browsers, parity
	HYPOTHESIS_PROFILE=ci $(PYTEST) -m nightly

test-deploy: $(VENV)/.deploy ## Prove the image in a root file system, as root, and check the files in deploy
	$(BIN)/python -m pytest tests/deploy

lint: $(VENV)/.dev ## Format, lint, import contracts, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

check: lint ## The same, and the fast tests: no torch, no other processes
	$(PYTEST) -q -m "not nightly and not integration and not deploy"

docs: $(VENV)/.docs ## Update the generated tables and build the documentation into build/docs
	$(BIN)/python -m docs.generate
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet docs build/docs

bench: $(VENV)/.dev $(if $(MODEL),,$(BENCH_MODEL)/tokenizer_config.json) ## Measure beside the package, write docs/benchmarks.md (MODEL=...)
	SOPRANO_MODEL__GRAPH_DIRECTORY=build/bench-graphs \
		$(BIN)/python -m benchmarks --model $(or $(MODEL),$(BENCH_MODEL)) --output docs/benchmarks.md

peers: $(VENV)/.peers $(if $(MODEL),,$(BENCH_MODEL)/tokenizer_config.json) ## Measure beside llama.cpp, and without HTTP (MODEL=...)
	SOPRANO_MODEL__GRAPH_DIRECTORY=build/bench-graphs \
		$(BIN)/python -m benchmarks.peers --model $(or $(MODEL),$(BENCH_MODEL))

metrics: $(VENV)/.dev ## Print size and shape of the code (TREE=...)
	$(BIN)/python -m benchmarks.code_metrics $(TREE)

overload: $(VENV)/.dev ## Offer ten times what can be served, and check what is promised (MODEL=...)
	$(BIN)/python -m tests.load.overload $(if $(MODEL),--model $(MODEL))

reading: $(VENV)/.dev ## Measure how long texts take to be read, hostile ones too
	$(BIN)/python -m tests.load.reading

soak: $(VENV)/.dev ## Random clients for MINUTES=5; memory, descriptors, threads and log must stay clean
	$(BIN)/python -m tests.load.soak --minutes $(MINUTES) $(if $(MODEL),--model $(MODEL))

format: $(VENV)/.dev ## Format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Pin the newest versions of all dependencies in constraints.txt
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]' torch==$(TORCH)
	$(BIN)/python -m pip freeze --exclude soprano-tts-api --exclude-editable \
		| sed 's/+cpu//' > constraints.txt

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

# The file that is written last.
$(BENCH_MODEL)/tokenizer_config.json: | $(VENV)/.dev
	$(BIN)/python -m tests.checkpoints.build $(BENCH_MODEL) --size full --tokens 80

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.base

$(VENV)/.deploy: pyproject.toml constraints.txt | $(VENV)/.dev
	$(PIP) --editable '.[deploy-test,dev]'
	touch $@

$(VENV)/.peers: pyproject.toml constraints.txt | $(VENV)/.dev
	$(PIP) --editable '.[bench-peers,dev]'
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[docs]'
	touch $@ $(VENV)/.base
