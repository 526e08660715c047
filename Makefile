# `make` lists the commands. Paths are relative, so a space in the folder's own path does no harm.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
REQUIREMENTS := requirements.txt webapp/requirements.txt scoring_service/requirements.txt \
	scoring_service/requirements-gpu.txt

.DEFAULT_GOAL := help
.PHONY: help install run test check format weights bench clean

help:  ## List the commands
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-10s %s\n' "$$name" "$$what"; done

install: $(VENV)/.installed  ## Create the virtual environment and install the pinned requirements (about 6 GB)

$(VENV)/.installed: $(REQUIREMENTS)
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "Python is missing. On Debian: apt-get install python3 python3-venv"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed. Name one: make run PYTHON=python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing. On Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing the requirements into $(VENV): about 6 GB, most of it PyTorch. This happens once."
	@test -x $(BIN) || "$(PYTHON)" -m venv $(VENV)
	@$(BIN) -m pip install --disable-pip-version-check --no-input --requirement requirements.txt || { \
		echo "pip could not install the requirements; the lines above say why. Run the same command again to go on."; \
		exit 1; }
	@touch $(VENV)/.installed

run: $(VENV)/.installed  ## Start everything on this machine and print the address and the passwords
	@$(BIN) -m webapp.embedded

test: $(VENV)/.installed  ## Run the whole test suite, in as many processes as there are cores but four at most
	@$(BIN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

check: $(VENV)/.installed  ## Run formatter, linter, types, import rules and the Django checks
	@$(BIN) -m ruff format --check .
	@$(BIN) -m ruff check .
	@$(BIN) -m pytest -q tests/rules

format: $(VENV)/.installed  ## Format the Python code and mend what the linter can
	@$(BIN) -m ruff check --fix .
	@$(BIN) -m ruff format .

weights: $(VENV)/.installed  ## Get ResNet-152's ImageNet weights and put them into service (FILE=path: a file you have)
	@MODEL_STORE="$${MODEL_STORE:-var/models}" $(BIN) -m scoring_service fetch-weights $(if $(FILE),--file "$(FILE)")

bench: $(VENV)/.installed  ## Measure questions/s and images/s: model alone, pod, site
	@$(BIN) -m bench.serving

clean:  ## Remove the virtual environment and caches; keeps var/ (your data)
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
