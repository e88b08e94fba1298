# What the doors are called, and how each is opened. `make help` lists them.

PYTHON ?= python3
FLAVOUR ?=
PORT ?= 5000
ARGS ?=
IN_VENV := .venv/bin/python
export FLAVOUR

.PHONY: help setup test check format serve demo
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16
	@echo 'Variables: PYTHON=python3.12 and FLAVOUR=cpu|cuda (setup), PORT=5000 (serve), ARGS="..." (test, serve, demo)'

setup:  ## make .venv, or bring it up to date
	@"$(PYTHON)" -m scripts.setup_venv

test: setup  ## run the tests
	$(IN_VENV) -m pytest $(ARGS)

check: setup  ## formatting, lint and types
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m mypy

format: setup  ## put the code into the form that `check` wants
	$(IN_VENV) -m ruff format
	$(IN_VENV) -m ruff check --fix

serve: setup  ## serve the app, for production
	$(IN_VENV) app.py --production --port $(PORT) $(ARGS)

demo: setup  ## caption the sample video
	$(IN_VENV) -m demo $(ARGS)
