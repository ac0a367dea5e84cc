# Every target sees to the environment itself: .venv from the hashed locks in requirements/.
.DEFAULT_GOAL := help
.PHONY: help setup run test test-all check format lock clean

BIN := .venv/bin
STAMP := .venv/.stamp
# Two at a time: the suite is written for the size of a small laptop and of CI.
JOBS ?= 2
ARGS ?=

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

$(STAMP): pyproject.toml requirements/setup.sh requirements/debian.txt $(wildcard requirements/*.txt)
	@requirements/setup.sh
	@touch $@

setup: ## make or refresh .venv, and install what the tests need
	@rm -f $(STAMP)
	@$(MAKE) --no-print-directory $(STAMP)

run: $(STAMP) ## the demonstration: a gateway and three simulated nodes, until Ctrl-C
	@$(BIN)/wayside demo $(ARGS)

test: $(STAMP) ## the tests, without the slow ones
	@$(BIN)/pytest -n $(JOBS) -m "not slow" $(ARGS)

test-all: $(STAMP) ## all tests
	@$(BIN)/pytest -n $(JOBS) $(ARGS)

check: $(STAMP) ## format, lint, types, and the project's own rules
	@tools/checks/check.sh

format: $(STAMP) ## put the source in its format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: ## write the locks anew from pyproject.toml (UPGRADE=1: newest releases)
	@requirements/lock.sh

clean: ## remove what these targets made
	rm -rf .venv .stubs .make build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
