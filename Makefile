# `make` lists the commands. Paths are relative, so a space in the folder's own path does no harm.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
TOOLS := .tools
REQUIREMENTS := requirements.txt webapp/requirements.txt scoring_service/requirements.txt \
	scoring_service/requirements-gpu.txt

.DEFAULT_GOAL := help
.PHONY: help install run test test-images check check-k8s check-azure audit format weights bench images up down clean

help:  ## List the commands
	@sed -n 's/^\([a-z0-9-]*\):.*  ## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

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

test: $(VENV)/.installed  ## Run the whole test suite, in a process more than there are cores but four at most
	@$(BIN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-images: $(VENV)/.installed  ## Build images and run the stack of containers, killing each (needs buildah and podman)
	@$(BIN) -m pytest -m images tests/docker

check: $(VENV)/.installed  ## Run formatter, linter, types, import rules and the Django checks
	@$(BIN) -m ruff format --check .
	@$(BIN) -m ruff check .
	@$(BIN) -m pytest -q tests/rules

check-k8s: $(VENV)/.installed $(TOOLS)/checkov/.installed  ## Look over the Kubernetes manifests with checkov
	@rendered=$$(mktemp -d) && trap 'rm -rf "$$rendered"' EXIT && $(BIN) -m tests.k8s.written "$$rendered" && \
		$(TOOLS)/checkov/bin/checkov --config-file tests/k8s/checkov.yaml --directory "$$rendered" && \
		echo "checkov has nothing to say of the rendered overlays."

# az is given its own folder for settings, and no leave to fetch extensions: nothing but the parser is wanted.
check-azure: $(TOOLS)/azure-cli/.installed  ## Hand each command of provision.sh and destroy.sh to az's own parser
	@settings=$$(mktemp -d) && trap 'rm -rf "$$settings"' EXIT && : > "$$settings/site.pfx" && { \
		k8s/provision.sh --dry-run --host scoring.example.org --admin-group 00000000-0000-0000-0000-000000000001 && \
		k8s/provision.sh --dry-run --host scoring.example.org --admin-group 00000000-0000-0000-0000-000000000001 \
			--subscription 00000000-0000-0000-0000-000000000002 --dns-zone example.org --dns-group names --ddos --defender-plan \
			--certificate "$$settings/site.pfx" --email-url-file "$$settings/site.pfx" && \
		k8s/destroy.sh --dry-run --dns-zone example.org --host scoring.example.org && \
		k8s/destroy.sh --dry-run --cluster-only; } > "$$settings/said" && \
		AZURE_CONFIG_DIR="$$settings" AZURE_CORE_COLLECT_TELEMETRY=no AZURE_EXTENSION_USE_DYNAMIC_INSTALL=no \
		$(TOOLS)/azure-cli/bin/python tests/k8s/azure_arguments.py < "$$settings/said"

# Tools whose requirements would quarrel with ours: an environment each.
$(TOOLS)/checkov/.installed: PACKAGE = checkov==3.3.30
$(TOOLS)/azure-cli/.installed: PACKAGE = azure-cli==2.91.0
$(TOOLS)/%/.installed: Makefile
	@echo "Installing $(PACKAGE) into $(@D). This happens once."
	@test -x $(@D)/bin/python || "$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$(PACKAGE)"
	@touch $@

audit: $(VENV)/.installed  ## Look for secrets in the source and known vulnerabilities in what is installed
	@$(BIN) .ci/audit.py $(AUDIT_OPTIONS)

format: $(VENV)/.installed  ## Format the Python code and mend what the linter can
	@$(BIN) -m ruff check --fix .
	@$(BIN) -m ruff format .

weights: $(VENV)/.installed  ## Get ResNet-152's ImageNet weights and put them into service (FILE=path: a file you have)
	@MODEL_STORE="$${MODEL_STORE:-var/models}" $(BIN) -m scoring_service fetch-weights $(if $(FILE),--file "$(FILE)")

bench: $(VENV)/.installed  ## Measure questions/s and images/s: model alone, pod, site
	@$(BIN) -m bench.serving

images:  ## Build the container images with docker or buildah (IMAGES="web scoring-cpu": only those)
	@docker/build.sh $(IMAGES)

up:  ## Run everything in containers, with PostgreSQL and Redis (needs docker, or podman and podman-compose)
	@docker/compose.sh up

down:  ## Stop those containers; their data stays
	@docker/compose.sh down

clean:  ## Remove the virtual environment and caches; keeps var/ (your data)
	@rm -rf $(VENV) $(TOOLS) .pytest_cache .ruff_cache .mypy_cache .hypothesis
