# Everything a developer or a newcomer runs. 'make help' lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo serve test check format bench torture lock clean

help: ## list what can be made
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/runtime ## start a server with a filled demo account, and print how to look at it
	$(BIN)/whodid demo

serve: $(VENV)/runtime ## start a server on ./data
	$(BIN)/whodid serve

test: $(VENV)/dev ## run all tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: $(VENV)/dev ## format, lint, types, architecture: changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/dev ## put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev ## measure speed and size beside the raw limits (minutes)
	$(BIN)/python -m bench $(BENCH)

torture: $(VENV)/dev ## kill a writing server again and again, and check what is left (minutes)
	$(BIN)/python -m bench.torture $(TORTURE)

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade \
		-q -o locks/runtime.txt pyproject.toml --extra postgres --group build
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade \
		-q -o locks/dev.txt pyproject.toml --extra postgres --group build --group dev

clean: ## remove what was installed and made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis htmlcov dist

# Installed exactly as locked: nothing that is not in a lock file, and nothing whose hash differs.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Whodid needs Python 3.11 or later; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: locks/runtime.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/runtime.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/dev: locks/dev.txt $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/dev.txt
	@touch $@
