# Every way to work on fluxbatch. Plain POSIX sh and GNU make 3.81, which is what macOS has.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: demo test test-slow counterparts coverage check lint bench bench-quick fmt lock clean help
MAKEFLAGS += --no-print-directory

PY := .venv/bin/python
PYTEST = $(PY) -m pytest
UV := $(shell command -v uv 2>/dev/null)
LOCK_UV = $(or $(UV),$(wildcard .venv/bin/uv))
COMPILE = $(LOCK_UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' $(LOCK_FLAGS)

NPM_LOCK = npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund --silent

# An interpreter downloaded behind one's back is a surprise, and no package registry has it.
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# `make PYTHON=/path/to/python` chooses; otherwise the first that is new enough. It is run, not looked up: the shims of
# version managers exist for interpreters that don't.
NEW_ENOUGH := import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)
FIND_PYTHON = for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	"$$python" -c '$(NEW_ENOUGH)' 2>/dev/null && break; done

# ---------------------------------------------------------------------------------------------------------- set-up
# Two stamps, one .venv: `make demo` needs a third of what the tests need, and its first run is someone's first minute.
# Packages are added, never removed: what a developer put into .venv stays.

$(PY):
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "fluxbatch needs Python 3.11 or newer, and none was found." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; \
	fi; \
	rm -rf .venv; \
	if [ -n "$(UV)" ]; then "$(UV)" venv -q --python "$$python" .venv; \
	elif "$$python" -c 'import ensurepip, venv' 2>/dev/null; then "$$python" -m venv .venv; \
	else \
		echo "$$python has no venv module. On Debian and Ubuntu: apt-get install python3-venv; or install uv." >&2; \
		exit 1; \
	fi || { rm -rf .venv; exit 1; }

# The project itself is installed without build isolation, so that its build backend comes from the lock file as well.
# A log, not a pipe: pip's output is worth reading only when it fails.
define install
@echo "Setting up .venv from $(1) (the first time takes a moment) ..."
@if [ -n "$(UV)" ]; then \
	install='"$(UV)" pip install -q --python $(PY) --compile-bytecode'; \
else \
	$(PY) -c 'import pip' 2>/dev/null || $(PY) -m ensurepip >/dev/null; \
	install='$(PY) -m pip install -q'; \
fi; \
{ eval "$$install --require-hashes -r $(1)" && eval "$$install --no-index --no-deps --no-build-isolation -e ."; } \
	>.venv/setup.log 2>&1 || { cat .venv/setup.log >&2; exit 1; }
endef

.venv/.ready-run: pyproject.toml requirements.txt | $(PY)
	$(call install,requirements.txt)
	@touch $@

.venv/.ready: pyproject.toml requirements.txt requirements-dev.txt | $(PY)
	$(call install,requirements-dev.txt)
	@touch .venv/.ready-run $@

# --------------------------------------------------------------------------------------------------------- targets

demo: .venv/.ready-run ## Make the images of jobs/demo.yaml on the built-in simulator: no key, no cost
	@.venv/bin/fluxbatch run jobs/demo.yaml --simulate --yes
	@printf '\nThe same from the real API: FLUXBATCH_API_KEY=sk-… .venv/bin/fluxbatch run jobs/demo.yaml\n'

# Side by side: most of their time they wait for sockets, disks and processes. Fewer of the slow ones: some fill a core.
test: .venv/.ready ## Run the tests, but for those that take their time
	@$(PYTEST) -q -m 'not slow' -n 4 --dist worksteal

# Programs that nobody here wrote, each in an environment of its own. Without a network the tests that meet them are
# skipped, and it is said.
SET_UP_COUNTERPARTS := $(PY) -m tests.counterparts.set_up

test-slow: .venv/.ready ## Run the tests that take their time: memory, crashes, large manifests
	@$(SET_UP_COUNTERPARTS) || true
	@$(PYTEST) -q -m slow -n 2 --dist worksteal

counterparts: .venv/.ready ## Set up what slow tests meet: litellm, mitmproxy, the OpenAI SDK for Node, azurite
	@$(SET_UP_COUNTERPARTS)

# The same tests as `make test`, watched: branch coverage, child processes included.
coverage: .venv/.ready ## Run the tests with branch coverage, and show what they miss
	@$(PY) -m coverage erase
	@$(MAKE) test PYTEST='$(PY) -m coverage run -m pytest'
	@$(PY) -m coverage combine -q
	@$(PY) -m coverage report

check: lint coverage test-slow ## Everything CI runs: format, lint, types, layers, all tests with coverage

lint: .venv/.ready
	@$(PY) -m ruff format --check
	@$(PY) -m ruff check
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo

bench: .venv/.ready ## Run the benchmarks (half an hour; BENCH_FLAGS='--json FILE --picture FILE.svg')
	@$(PY) -m benchmarks $(BENCH_FLAGS)

bench-quick: .venv/.ready ## The same, smaller, in two minutes
	@$(PY) -m benchmarks --quick $(BENCH_FLAGS)

fmt: .venv/.ready ## Format, and fix what ruff can fix
	@$(PY) -m ruff check --fix-only
	@$(PY) -m ruff format

lock: ## Rewrite the lock files from pyproject.toml (needs uv; LOCK_FLAGS=--upgrade takes new versions)
	@[ -n "$(LOCK_UV)" ] || { echo "make lock needs uv; pip install uv" >&2; exit 1; }
	@$(COMPILE) pyproject.toml --group build -o requirements.txt
	@$(COMPILE) pyproject.toml --group build --extra dev -c requirements.txt -o requirements-dev.txt
	@for name in litellm mitmproxy; do \
		$(COMPILE) tests/counterparts/$$name.in -o tests/counterparts/$$name.txt || exit 1; done
	@if command -v npm >/dev/null; then cd tests/counterparts && $(NPM_LOCK); else echo "no npm: its lock file stays" >&2; fi

clean: ## Remove caches, build products and simulated images (.venv and paid images stay)
	@rm -rf .coverage .coverage.* .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	@rm -rf jobs/*-out-simulated jobs/*/*-out-simulated
	@find fluxbatch tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile
