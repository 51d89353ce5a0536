# Two commands: `make run` shows a whole fleet on this machine, `make test` checks everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DATA ?=
PORT ?= 8080

.PHONY: run test check format lock starter clean help

help:  ## say what each command does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

run: $(VENV)/.run  ## server and three boxes on this machine (DATA=folder with ok/ and defect/)
	@exec $(BIN)/python -m demo --port $(PORT) $(if $(DATA),--data "$(DATA)")

test: $(VENV)/.dev  ## format, lint, types, imports, migrations, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@state=$$(mktemp -d); trap 'rm -rf "$$state"' EXIT; export PARETOFLEET_DATA_DIR="$$state"; \
	  $(BIN)/alembic -q upgrade head && $(BIN)/alembic check
	$(BIN)/pytest -q -n 2

check: test

format: $(VENV)/.dev  ## rewrite the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

starter: $(VENV)/.dev  ## make the starter release again (hours; resumable)
	$(BIN)/python -m models starter

lock:  ## write constraints.txt from the environment in use
	$(PIP) freeze --exclude-editable --exclude paretofleet > constraints.txt

clean:  ## forget the demo's state and the environment
	rm -rf $(VENV) var/demo

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed (on Debian: apt-get install python3-venv)"; exit 1; }

$(VENV)/.run: pyproject.toml constraints.txt $(VENV)/bin/python
	$(PIP) install --progress-bar on -c constraints.txt -e ".[demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/bin/python
	$(PIP) install --progress-bar on -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.run
