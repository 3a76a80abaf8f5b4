UV := dev/uv.sh
RUN := $(UV) run

# Sets DATABASE_URL and RABBITMQ_URL in the shell of a recipe, starting servers where none are found.
SERVERS := urls=$$($(RUN) python -m dev.servers up) && set -a && eval "$$urls" && set +a

# By way of the environment, so that no quote in it ends the command.
export m

# Whatever the machine says: to compile all libraries anew in every program makes its start three times as dear.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench check up down db-upgrade db-downgrade db-migrate-new format

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install uv where it is missing, and all packages into .venv
	@$(UV) sync --quiet

demo: setup ## Show the service at work, on servers that are found or started
	@$(SERVERS) && $(RUN) main.py demo

test: setup ## Run the tests, two files at a time; ARGS="..." goes to pytest, "-n 0" is one after the other
	@$(SERVERS) && $(RUN) pytest -n 2 --dist loadfile $(ARGS)

bench: setup ## Measure the service beside others; ARGS="--messages 10000", "--profile", "--help"
	@$(SERVERS) && $(RUN) python -m bench $(ARGS)

check: setup ## Check style, types, import directions and migrations
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) python -m dev.schema

up: setup ## Find or start PostgreSQL and RabbitMQ; print their URLs
	@$(RUN) python -m dev.servers up

down: setup ## Stop the servers that were started here
	@$(RUN) python -m dev.servers down

db-upgrade: setup ## Migrate the database to the newest revision
	$(RUN) alembic upgrade head

db-downgrade: setup ## Take the database back by one revision
	$(RUN) alembic downgrade -1

db-migrate-new: setup ## Write a migration from the models: make db-migrate-new m="what it does"
	@test -n "$$m" || { echo 'Say what the migration does: make db-migrate-new m="add orders"' >&2; exit 1; }
	$(RUN) alembic revision --autogenerate -m "$$m"

format: setup ## Format the code and apply safe fixes
	$(RUN) ruff check --fix
	$(RUN) ruff format
