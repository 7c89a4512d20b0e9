# `make demo` and `make test` create .venv and install with pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# onnxruntime and onnxruntime-gpu cannot be installed together: chosen by the presence of an NVIDIA driver.
RUNTIME := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test check format clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-$(RUNTIME): $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(RUNTIME)]'
	@touch $@

$(VENV)/.installed-dev-$(RUNTIME): $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(RUNTIME),dev]'
	@touch $@ $(VENV)/.installed-$(RUNTIME)

install: $(VENV)/.installed-$(RUNTIME)  ## Create .venv and install distill
install-dev: $(VENV)/.installed-dev-$(RUNTIME)  ## Create .venv and install distill with the packages for tests and checks

demo: install  ## Run the whole pipeline offline on a CPU: label, train, evaluate, export, bench, predict, report
	$(BIN)/distill demo --out demo

test: install-dev  ## Run the tests (CPU, no network), and those of arrays with shapes checked
	$(BIN)/python -m pytest -q -n 2 --dist loadfile
	$(BIN)/python -m pytest -q --jaxtyping-packages=distill,beartype.beartype tests/metrics tests/visualization tests/labels

check: install-dev  ## Format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev  ## Format the code and apply fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove build products
	rm -rf $(VENV) dist build demo runs .pytest_cache .mypy_cache .ruff_cache
