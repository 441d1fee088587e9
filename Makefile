# The commands of this project. Plain `make` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
# Settings want servers in the environment; tools that only read code get names of none.
NO_SERVERS := JOBSCHED_DATABASE_URL=postgres://none:none@127.0.0.1:1/none JOBSCHED_BROKER_URL=amqp://none \
	JOBSCHED_SECRET_KEY=only-for-tools-that-read-the-code-00000
# make up BROKER=postgres, make test TESTS=tests/unit, make up ARGS="--data elsewhere"
BROKER ?=
ARGS ?=
TESTS ?=
# Make may be killed; what it started then stops in order.
LOCAL = $(PY) -m jobsched.local --with-parent $$PPID
LOCAL_ARGS = $(if $(BROKER),--broker $(BROKER)) $(ARGS)
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m piptools compile --quiet --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe

.PHONY: help demo up down test test-lane-1 test-lane-2 test-zones test-hostile test-containers check bench bench-applies bench-beat bench-heartbeats chaos format format-check lint types contracts lock install

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.local ## Run the examples on a stack of their own and check how each ended (BROKER=postgres)
	@exec $(LOCAL) demo $(LOCAL_ARGS)

up: $(VENV)/.local ## Run the whole stack in the foreground until Ctrl-C (BROKER=rabbitmq or postgres)
	@exec $(LOCAL) up $(LOCAL_ARGS)

down: $(VENV)/.local ## Stop the stack that `make up` runs in another terminal
	@exec $(PY) -m jobsched.local down $(ARGS)

# Two lanes side by side, each with servers of its own: most tests wait for something to start or to expire.
test: $(VENV)/.dev ## Run all tests against a real PostgreSQL and RabbitMQ (TESTS=tests/unit)
	@tools/need-for-tests rabbitmq-server chromium faketime pgbouncer docker-compose || true
ifeq ($(TESTS)$(ARGS),)
	@exec tools/side-by-side "$(MAKE) test-lane-1" "$(MAKE) test-lane-2"
else
	@exec $(LOCAL) exec -- $(PY) -m pytest $(TESTS) $(ARGS)
endif

test-lane-1: TESTS = tests/acceptance
test-lane-2: TESTS = tests/unit tests/integration tests/conformance tests/chaos
test-lane-1 test-lane-2: $(VENV)/.dev
	@unset MAKEFLAGS MFLAGS; exec $(LOCAL) exec -- $(PY) -m pytest $(TESTS) $(ARGS)

test-containers: $(VENV)/.dev ## Start the composed stack on a Docker engine of its own, and look for its secrets from inside jobs
	@tools/need-for-tests docker.io docker-compose debootstrap iptables iproute2
	@exec $(PY) -m tests.containers $(ARGS)

test-zones: $(VENV)/.dev ## Hold the calendar against a walk over every minute, in every time zone
	@$(NO_SERVERS) $(PY) -m pytest tests/unit/domain/every_zone.py -s $(ARGS)

test-hostile: $(VENV)/.dev ## Send every hostile value to every address of admin and API
	@tools/need-for-tests rabbitmq-server
	@HOSTILE_REQUESTS=all exec $(LOCAL) exec -- $(PY) -m pytest tests/integration/test_hostile_requests.py $(ARGS)

check: format-check lint types contracts test ## Everything that must hold: format, lint, types, contracts, tests

bench: $(VENV)/.dev ## Compare our throughput and latency with others', on the same servers
	@tools/need-for-tests rabbitmq-server
	@exec $(LOCAL) exec -- $(PY) -m benchmarks $(ARGS)

bench-beat: $(VENV)/.dev ## Measure beat with up to a million schedules, beside stock beat (ARGS=--quick)
	@tools/need-for-tests rabbitmq-server
	@exec $(LOCAL) exec -- $(PY) -m benchmarks.beat $(ARGS)

chaos: $(VENV)/.dev ## Break servers, beats and workers, and hold the promises against it (E=worker-kill SEED=7)
	@tools/need-for-tests rabbitmq-server
	@exec $(PY) -m tests.chaos --with-parent $$PPID $(if $(E),--only $(E)) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench-applies: $(VENV)/.dev ## Measure files of 5,000 jobs and requests of runs (ARGS="--jobs 500")
	@tools/need-for-tests rabbitmq-server
	@exec $(LOCAL) exec -- $(PY) -m benchmarks.applies $(ARGS)

bench-heartbeats: $(VENV)/.dev ## Measure what the heartbeats of 500 runs at once cost (ARGS="--runs 2000")
	@exec $(PY) -m benchmarks.heartbeats $(ARGS)

format: $(VENV)/.dev ## Rewrite the code in the project's format
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --select I --fix .

format-check: $(VENV)/.dev ## Tell whether `make format` would change anything
	@$(VENV)/bin/ruff format --check .

lint: $(VENV)/.dev ## Look for mistakes
	@$(VENV)/bin/ruff check .

types: $(VENV)/.dev ## Check the types
	@$(NO_SERVERS) $(VENV)/bin/mypy jobsched jobs config

contracts: $(VENV)/.dev ## Check who imports whom
	@$(NO_SERVERS) $(VENV)/bin/lint-imports

install: $(VENV)/.dev ## Make .venv with everything that tests and benchmarks need

lock: $(VENV)/.dev ## Choose new versions of all packages and write the lock files
	@$(PIP_COMPILE) --extra local --extra s3 --extra dev --extra bench -o requirements-dev.lock \
		pyproject.toml requirements/local.in
	@$(PIP_COMPILE) -c requirements-dev.lock --extra s3 -o requirements.lock pyproject.toml
	@$(PIP_COMPILE) -c requirements-dev.lock --extra local -o requirements-local.lock \
		pyproject.toml requirements/local.in

$(VENV)/.local: requirements-local.lock pyproject.toml
	@tools/install requirements-local.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	@tools/install requirements-dev.lock
	@touch $@ $(VENV)/.local
