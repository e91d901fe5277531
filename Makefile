# `make demo` and `make test` are all that a fresh machine needs: both set themselves up.
#
#   PYTHON=...        the interpreter to use (default: python3 on PATH; 3.10 or later)
#   PYTEST_ARGS=...   more arguments for pytest
#   BENCH_PYTHON=...  the environment to measure (default: PYTHON's own)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_PYTHON ?= $(PYTHON)
SHELL := /bin/sh
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test testall lint bench clean engine

help: ## say what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 15

# --- set-up --------------------------------------------------------------------------------

# apt-get as root, or with sudo where there is sudo; never a question but sudo's own.
define APT
as_root() { if [ "$$(id -u)" = 0 ]; then "$$@"; else sudo "$$@"; fi; }; \
apt_get() { \
    if [ "$$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then return 1; fi; \
    command -v apt-get >/dev/null || return 1; \
    as_root apt-get update -qq && \
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$$@" >/dev/null; \
}
endef

# A venv whose pip is new enough for dependency groups (25.1), with envfreeze in it.
$(VENV)/.installed: pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "$(PYTHON) is not here: install Python 3.10 or later, or give PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "$$("$(PYTHON)" --version) is too old: give PYTHON=... (3.10 or later)" >&2; exit 1; }
	@$(APT); "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    package="$$("$(PYTHON)" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; \
	    echo "$(PYTHON) cannot make a venv: it needs $$package"; \
	    { apt_get "$$package" && "$(PYTHON)" -c 'import ensurepip, venv'; } || { \
	        echo "could not install it; as root: apt install $$package" >&2; exit 1; }; }
	@echo "setting up $(VENV)"
	@test -x $(BIN)/python && $(BIN)/python -c '' || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.groups: $(VENV)/.installed
	@echo "installing what lint and test need"
	@$(BIN)/python -m pip install --quiet --group lint --group test
	@touch $@

# A container engine, a registry and a base image for the tests: Debian's own packages. Root can
# start them; without root those tests use an engine that answers, or skip and say why.
engine:
	@$(APT); if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    PATH="$$PATH:/usr/sbin:/sbin"; missing=; \
	    command -v dockerd >/dev/null || missing="$$missing docker.io"; \
	    command -v docker-registry >/dev/null || missing="$$missing docker-registry"; \
	    command -v mmdebstrap >/dev/null || missing="$$missing mmdebstrap"; \
	    if [ -n "$$missing" ]; then \
	        echo "installing for the engine tests:$$missing"; \
	        apt_get $$missing || echo "could not install$$missing" >&2; \
	    fi; \
	fi

# --- what people type ----------------------------------------------------------------------

demo: $(VENV)/.installed ## capture this machine's own Python, rebuild it under demo/, verify
	@BIN=$(BIN) PYTHON="$(PYTHON)" sh -eu -c "$$DEMO"

test: $(VENV)/.groups engine ## the suite
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

testall: $(VENV)/.groups engine ## the suite, and what takes long and shows more of the same
	$(BIN)/python -m pytest -n 2 --all $(PYTEST_ARGS)

lint: $(VENV)/.groups ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.groups ## measure a capture beside pip inspect, uv, pip-compile and sha256sum
	$(BIN)/python tests/bench/bench_capture.py --python "$$(command -v "$(BENCH_PYTHON)")"
	$(BIN)/python tests/bench/bench_targets.py --python "$$(command -v "$(BENCH_PYTHON)")"

clean: ## remove what the others made
	rm -rf $(VENV) demo dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the demo ------------------------------------------------------------------------------

define DEMO
say() { printf '\n\033[1m%s\033[0m\n' "$$*"; }
[ -t 1 ] && [ -z "$${NO_COLOR:-}" ] || say() { printf '\n%s\n' "$$*"; }
envfreeze() { "$$BIN/envfreeze" "$$@"; }

mkdir -p demo
rm -rf demo/rebuilt
python="$$(command -v "$$PYTHON")"

say "1. capture $$python: each package proved or packed"
envfreeze capture "$$python" -o demo/env.lock

say "2. rebuild it as a venv from demo/env.lock, and compare"
envfreeze build demo/env.lock --to venv --into demo/rebuilt

say "3. verify: is demo/rebuilt the environment of the lock?"
envfreeze verify demo/env.lock demo/rebuilt

file="$$(find demo/rebuilt/lib -name '*.py' -size +0 | LC_ALL=C sort | head -n 1)"
if [ -n "$$file" ]; then
    say "4. add one byte to one installed file, and verify again"
    cp -p "$$file" demo/kept
else
    say "4. put a file where there was none, and verify again"
    file="$$(echo demo/rebuilt/lib/python*/site-packages)/stray.py"
    rm -f demo/kept
fi
echo >>"$$file"
status=0
envfreeze verify demo/env.lock demo/rebuilt || status=$$?
echo "exit status $$status"
if [ -e demo/kept ]; then mv demo/kept "$$file"; else rm "$$file"; fi
[ "$$status" = 1 ] || { echo "the change was not noticed" >&2; exit 1; }

say "5. that is taken back; the difference between the lock and the rebuilt environment"
status=0
envfreeze diff demo/env.lock demo/rebuilt || status=$$?
if [ "$$status" = 0 ]; then
    say "verdict: demo/rebuilt is this machine's Python environment, file for file"
else
    say "verdict: the rebuilt environment differs"
fi
exit "$$status"
endef
export DEMO
