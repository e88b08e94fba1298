# What the doors are called, and how each is opened. `make help` lists them.

PYTHON ?= python3
FLAVOUR ?=
PORT ?= 5000
ARGS ?=
JOBS ?= 2
PIPX ?= pipx run
IN_VENV := .venv/bin/python
export FLAVOUR

.PHONY: help setup lock audit test check coverage format serve demo
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16
	@echo 'Variables: PYTHON=python3.12 and FLAVOUR=cpu|cuda (setup), PORT=5000 (serve), JOBS=2 (test),'
	@echo '           ARGS="..." (lock, test, coverage, serve, demo)'

setup:  ## make .venv, or bring it up to date
	@"$(PYTHON)" -m scripts.setup_venv

lock:  ## make the lock files from the requirements; ARGS=--upgrade takes the newest versions
	$(IN_VENV) -m scripts.lock $(ARGS)

test: setup  ## run the tests, in JOBS processes
	$(IN_VENV) -m pytest -n $(JOBS) --max-worker-restart 0 $(ARGS)

check: setup  ## formatting, lint, types, Containerfile, workflows, generated pages
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m mypy
	.venv/bin/hadolint Containerfile
	.venv/bin/zizmor --offline --quiet --no-progress .github
	$(IN_VENV) -m check_jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(IN_VENV) -m scripts.check_pages

coverage: setup  ## what the tests of engine, sampling and captioning leave untried in these three
	$(IN_VENV) -m coverage run -m pytest tests/engine tests/sampling tests/captioning $(ARGS)
	$(IN_VENV) -m coverage report

audit:  ## look for known vulnerabilities of the locked packages; needs pipx, and no .venv
	$(PIPX) pip-audit==2.10.1 --strict --disable-pip --require-hashes -r locks/cuda.txt

format: setup  ## put the code into the form that `check` wants
	$(IN_VENV) -m ruff format
	$(IN_VENV) -m ruff check --fix

serve: setup  ## serve the app, for production
	$(IN_VENV) app.py --production --port $(PORT) $(ARGS)

demo: setup  ## caption the sample video
	$(IN_VENV) -m demo $(ARGS)
