# Everything here works from an empty clone: a target makes what it needs first.
# PYTHON names the Python to use (3.11 or later); PILLARS_VENV, PILLARS_STATE_DIR and PILLARS_PORT
# move the environment, the state and the web server.

ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && exit; done; echo none)
endif
VENV = $(or $(PILLARS_VENV),.venv)
BOOTSTRAP = @if [ '$(PYTHON)' = none ]; then \
	echo 'Pillars needs Python 3.11 or later and found none. Install it, or name it: make $@ PYTHON=/path/to/python3.11' >&2; \
	exit 1; fi; \
	'$(PYTHON)' deploy/local/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help up down status logs manage test lint typecheck format bench screenshots openapi \
	system install clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  PILLARS_PORT=9000 make up     another port than 8800'
	@echo '  DATABASE_URL=... REDIS_URL=... make up     servers of your own instead of the embedded ones'

up: ## Start the whole stack and show real detector outputs mapped
	$(BOOTSTRAP) up

down: ## Stop the whole stack; its data stays in .pillars/
	$(BOOTSTRAP) down

status: ## Show which parts run
	$(BOOTSTRAP) status

logs: ## Show the end of each log
	$(BOOTSTRAP) logs

manage: ## Run manage.py against the running stack: make manage ARGS="tenant list"
	$(BOOTSTRAP) manage $(ARGS)

test: install ## Run the tests, real Postgres and broker included: make test ARGS="-k name"
	@$(VENV)/bin/python -m deploy.local system
ifeq ($(ARGS),)
	$(VENV)/bin/python -m pytest -m 'not alone' -n 2 --dist loadfile --no-loadscope-reorder
	$(VENV)/bin/python -m pytest -m alone tests/stack tests/local
else
	$(VENV)/bin/python -m pytest $(ARGS)
endif

lint: install ## Check style, imports, types and the detector files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy .
	$(VENV)/bin/python manage.py lint_detectors

typecheck: install ## Check types alone
	$(VENV)/bin/mypy .

format: install ## Format the code and sort its imports
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

bench: install ## Measure /map and /map/batch against this machine's own commit rate
	$(VENV)/bin/python -m tests.bench $(ARGS)

screenshots: install ## Take the README's screenshots of the running stack, in real Chromium
	$(VENV)/bin/python -m tests.browser.screenshots $(ARGS)

openapi: install ## Write docs/openapi.json
	$(VENV)/bin/python manage.py spectacular --format openapi-json --file docs/openapi.json

system: install ## Install the system packages that PDF reports and browser tests need
	@$(VENV)/bin/python -m deploy.local system

install: ## Make the environment with all that development needs
	$(BOOTSTRAP) --dev install

clean: ## Stop the stack and delete its data, caches and build output
	$(BOOTSTRAP) clean
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
