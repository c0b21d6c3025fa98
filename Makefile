# Rapport: `make run` starts everything on this machine with real data; the rest is for those who work on it.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
RAPPORT := $(VENV)/bin/rapport
# Test processes side by side, each with servers of its own: most real tests wait. A module's tests stay together and in order.
TEST_PROCESSES ?= 3
SIDE_BY_SIDE = -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: run up reset logs status install test lint lock fuzz bench bench-mail chaos soak compose-test generated
.DEFAULT_GOAL := run

run: install ## everything up, real orders replayed, until Ctrl-C (ARGS="--full FILE": the whole set)
	@exec $(RAPPORT) run $(ARGS)

up: install ## everything up, without the demo
	@exec $(RAPPORT) up

reset: install ## delete all data, logs, mail and keys
	@$(RAPPORT) reset --yes

logs: install ## what every part says
	@exec $(RAPPORT) logs

status: install ## wait until everything is ready
	@$(RAPPORT) status

install: $(VENV)/.installed

test: $(VENV)/.installed-dev lint ## checks and tests
	$(PY) -m pytest $(SIDE_BY_SIDE)

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy services shared deploy tests
	$(VENV)/bin/lint-imports

fuzz: $(VENV)/.installed-dev ## the properties, on stories not tried before
	$(PY) -m pytest $(SIDE_BY_SIDE) --hypothesis-profile=fuzz -m 'not real' tests/unit tests/contract
	$(PY) -m pytest --hypothesis-profile=fuzz --timeout 3600 tests/integration/test_rules_sql.py

bench: $(VENV)/.installed-dev ## how fast it is on this machine
	$(PY) -m tests.bench

bench-mail: $(VENV)/.installed-dev ## 5,000 e-mails to a server that takes 200 ms for each (ARGS="--mails 500 --seconds 0.05")
	$(PY) -m tests.bench.mail $(ARGS)

chaos: $(VENV)/.installed-dev ## 200 random kills under load
	$(PY) -m tests.chaos

soak: $(VENV)/.installed-dev ## 30 minutes of load with kills
	$(PY) -m tests.chaos --minutes 30

compose-test: $(VENV)/.installed-dev ## docker-compose.yml for real, where there is a Docker engine
	bash deploy/compose_test.sh

generated: $(VENV)/.installed-dev ## write what follows from the code anew: the dashboard, deploy/REFERENCE.md, schemas of definitions
	$(PY) -m deploy.grafana.dashboard
	$(PY) -m deploy.reference
	$(RAPPORT) schema

lock: ## pin requirements and Kafka's jars anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements.in -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements-dev.in -o requirements-dev.txt
	$(PY) -m deploy.local.kafka_jars lock

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "needs Python 3.11 or newer: $(PYTHON) is not on PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer: $(PYTHON) is $$($(PYTHON) -V 2>&1)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "could not make $(VENV): on Debian and Ubuntu it needs the package python3-venv" >&2; exit 1; }

# What Kafka's files and its AOT cache follow from.
KAFKA := deploy/local/kafka.lock deploy/local/kafka_cache.py

$(VENV)/.installed: requirements.txt pyproject.toml $(KAFKA) | $(VENV)/bin/python
	@echo "installing $$(grep -c '==' requirements.txt) pinned packages into $(VENV) (the first time takes a minute or two)"
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@echo "fetching Apache Kafka (43 MB, once), and letting it run once so that it starts faster (20 s)"
	@$(PY) -m deploy.local.kafka_jars
	@$(PY) -m deploy.local.kafka_training
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt pyproject.toml $(KAFKA) | $(VENV)/bin/python
	@echo "installing $$(grep -c '==' requirements-dev.txt) pinned packages into $(VENV)"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(PY) -m deploy.local.kafka_jars
	@$(PY) -m deploy.local.kafka_training
	@touch $@ $(VENV)/.installed
