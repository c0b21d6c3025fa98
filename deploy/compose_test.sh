#!/usr/bin/env bash
# Proves docker-compose.yml on whatever engine DOCKER_HOST offers: brings everything up, sends events from outside, breaks each part, looks
# whether anything was lost (tests/e2e/test_compose.py), and removes all that it made. Exit code 3: there is no engine.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
if ! docker version >/dev/null 2>&1 || ! docker compose version >/dev/null 2>&1; then
  echo "not run: needs a Docker engine with compose v2 (DOCKER_HOST)"
  exit 3
fi

secret() { "$python" -c 'import secrets; print(secrets.token_hex(24))'; }
free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
COMPOSE_PROJECT_NAME=rapport-test-$$
RAPPORT_REDIS_PASSWORD=$(secret)
RAPPORT_CLICKHOUSE_PASSWORD=$(secret)
RAPPORT_CLICKHOUSE_READER_PASSWORD=$(secret)
RAPPORT_INTERNAL_TOKEN=$(secret)
RAPPORT_KEY_SECRET=$(secret)
RAPPORT_INGEST_PORT=$(free_port)
RAPPORT_QUERY_PORT=$(free_port)
RAPPORT_CLICKHOUSE_PORT=$(free_port)
RAPPORT_PROMETHEUS_PORT=$(free_port)
RAPPORT_COMPOSE_TEST=1
export COMPOSE_PROJECT_NAME RAPPORT_REDIS_PASSWORD RAPPORT_CLICKHOUSE_PASSWORD RAPPORT_CLICKHOUSE_READER_PASSWORD RAPPORT_INTERNAL_TOKEN \
  RAPPORT_KEY_SECRET \
  RAPPORT_INGEST_PORT RAPPORT_QUERY_PORT RAPPORT_CLICKHOUSE_PORT RAPPORT_PROMETHEUS_PORT RAPPORT_COMPOSE_TEST
# Whatever the shell has of a running Rapport must not get in, nor a .env or rapport.env of this folder.
unset RAPPORT_KAFKA_BOOTSTRAP RAPPORT_SMTP_URL RAPPORT_DEFINITIONS RAPPORT_REDIS_MEMORY RAPPORT_RETENTION_DAYS
export COMPOSE_DISABLE_ENV_FILE=1 COMPOSE_PROFILES=mail RAPPORT_SETTINGS=tests/e2e/compose/rapport.env

trap 'docker compose --profile "*" down --volumes --timeout 5 >/dev/null 2>&1 || true' EXIT

if docker image inspect localhost/debian-base:bookworm >/dev/null 2>&1; then
  # An engine with images that stand in for the official ones: the one for ClickHouse is ours to make.
  echo "building a stand-in for clickhouse/clickhouse-server: the official image is not what is tested here"
  tag=$(docker compose config --format json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["services"]["clickhouse"]["image"])')
  docker build --quiet --file tests/e2e/compose/clickhouse.Dockerfile --tag "$tag" . >/dev/null
fi
echo "building the image of Rapport"
docker compose build --quiet

RAPPORT_REQUIRE_ALL=1 "$python" -m pytest -m needs_docker --timeout 900 -v -x tests/e2e/test_compose.py "$@"
