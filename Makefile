UV := dev/uv.sh
RUN := $(UV) run

# Sets DATABASE_URL and RABBITMQ_URL in the shell of a recipe, starting servers where none are found.
SERVERS := urls=$$($(RUN) python -m dev.servers up) && set -a && eval "$$urls" && set +a

# By way of the environment, so that no quote in it ends the command.
export m

# Whatever the machine says: to compile all libraries anew in every program makes its start three times as dear.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo example test test-all test-databases test-databases-short compose-test mutants bench bench-all check up down db-upgrade db-downgrade db-migrate-new reference format

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install uv where it is missing, and all packages into .venv
	@$(UV) sync --quiet --all-extras

demo: setup ## Show the service at work, on servers that are found or started
	@$(SERVERS) && $(RUN) main.py demo

example: setup ## Run the FastAPI application of examples/fastapi; ARGS="--port 8080" goes to uvicorn
	@$(SERVERS) && $(RUN) main.py migrate && $(RUN) uvicorn examples.fastapi.app:app $(ARGS)

test: setup ## Run the tests, three files at a time; ARGS="..." goes to pytest, "-n 0" is one after the other
	@$(SERVERS) && $(RUN) pytest -n 3 --dist loadfile $(ARGS)

test-all: setup ## Run every test, the slow ones too, on examples drawn anew; ARGS="..." goes to pytest
	@$(SERVERS) && HYPOTHESIS_PROFILE=fresh $(RUN) pytest -n 2 --dist loadfile -m "" $(ARGS)
	@$(MAKE) --no-print-directory test-databases ARGS='-m "not databases" $(ARGS)'

# What DATABASES names beside PostgreSQL, and what is tried on them: SUITES, of which SHORT is for each change.
DATABASES := sqlite mariadb
SHORT := tests/databases/test_same.py tests/databases/test_schema_faults.py tests/operations $(addprefix tests/guarantees/test_,once.py entity.py)
SUITES := tests/databases tests/guarantees tests/hostile tests/operations tests/processing tests/persistence \
	tests/cli/play tests/consumers/test_unknown.py tests/consumers/test_garbage.py

test-databases: setup ## Run the suites that all databases share on the others; DATABASES="sqlite mariadb" chooses
	@$(SERVERS); folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && for kind in $(DATABASES); do \
		case $$kind in \
			sqlite) url=sqlite:///$$folder/tests.db;; \
			*) url=$$($(RUN) python -m dev.servers $$kind) || { echo "NOT TESTED on $$kind" >&2; continue; };; \
		esac; \
		DATABASE_URL=$$url $(RUN) pytest -n 2 --dist loadfile $(SUITES) $(ARGS) || exit 1; \
	done

test-databases-short: setup ## The same in a few minutes, and what is MariaDB's or SQLite's own
	@$(SERVERS) && $(RUN) pytest -n 2 --dist loadfile -m "databases and not slow" tests/databases tests/library
	@$(MAKE) --no-print-directory test-databases SUITES="$(SHORT)"

compose-test: setup ## Build the image and try docker-compose.yml with Docker
	@$(RUN) python -m dev.compose

mutants: setup ## Break the rules one by one and see that the tests notice; ARGS="words of their names"
	@$(SERVERS) && $(RUN) python -m dev.mutants $(ARGS)

bench: setup ## Measure the service beside others; ARGS="--seconds 5", "--profile", "--help"
	@$(SERVERS) && $(RUN) python -m bench $(ARGS)

bench-all: setup ## Measure everything, in less than half an hour; ARGS="--rows 10000000" goes to the long part
	@$(SERVERS) && $(RUN) python -m bench && $(RUN) python -m bench.long $(ARGS)

check: setup ## Check style, types, imports, dependencies and migrations
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) deptry .
	$(RUN) deptry . --exclude '\.' --exclude '.*node_modules' --non-dev-dependency-groups dev
	$(RUN) python -m dev.schema check

up: setup ## Find or start PostgreSQL, or take the database of DATABASE_URL, and RabbitMQ; print their URLs
	@$(RUN) python -m dev.servers up

down: setup ## Stop the servers that were started here
	@$(RUN) python -m dev.servers down

db-upgrade: setup ## Migrate the database to the newest revision
	@$(RUN) python -m dev.schema upgrade

db-downgrade: setup ## Take the database back by one revision
	@$(RUN) python -m dev.schema downgrade

db-migrate-new: setup ## Write a migration from the models: make db-migrate-new m="what it does"; ARGS=--contract lets it drop
	@$(RUN) python -m dev.schema $(ARGS) new -- "$$m"

reference: setup ## Write the generated pages from the source: docs/reference.md, the time constants
	@$(RUN) python -m dev.reference && $(RUN) python -m dev.timeouts

format: setup ## Apply safe fixes and format the code; show what is left to mend
	$(RUN) ruff check --fix --exit-zero
	$(RUN) ruff format
