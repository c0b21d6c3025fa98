"""The dashboard: what the generator writes, about metrics that exist, and every query answered by a real Prometheus."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep

import httpx
import pytest
import yaml
from prometheus_client import Counter, Gauge, generate_latest

from deploy.grafana.dashboard import DATASOURCE_UID, PATH, UID, build
from deploy.grafana.panels import ROWS
from deploy.grafana.shapes import Query
from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from deploy.local.settings import PROJECT
from shared.adapters.prometheus import Registry
from shared.http.metrics import HTTP_METRICS
from tests.metric_tables import all_metrics, service_tables
from tests.promql import unknown_names

QUERIES = [query for row in ROWS for panel in row.panels for query in (panel.queries if hasattr(panel, "queries") else (panel.query,))]
SAMPLE_LABELS = {"code": "503", "status": "unknown"}
DEADLINE_SECONDS = 60.0


def test_the_committed_dashboard_is_what_the_generator_writes() -> None:
    assert PATH.read_text() == build(), "run: python -m deploy.grafana.dashboard"


def test_the_dashboard_and_its_datasource_have_fixed_ids() -> None:
    sources = yaml.safe_load((PROJECT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    board = json.loads(build())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert board["uid"] == UID
    assert {panel["datasource"]["uid"] for panel in panels} == {DATASOURCE_UID} == {source["uid"] for source in sources}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.expr)
def test_a_query_names_only_metrics_and_labels_that_exist(query: Query) -> None:
    assert unknown_names(query.expr, all_metrics()) == set()
    assert "scalar(max(rapport_partitions)) - " in query.expr or "rapport_slots_owned" not in query.expr or "by (stage)" in query.expr


def touched() -> Registry:
    """A process that has every metric, each with a value."""
    registry = Registry("everything", [metric for table in (HTTP_METRICS, *service_tables().values()) for metric in table])
    for metric in all_metrics().values():
        collector = registry._made[metric.name]
        if metric.labels:
            collector = collector.labels(*(SAMPLE_LABELS.get(label, "any") for label in metric.labels))
        if isinstance(collector, Counter):
            collector.inc()
        elif isinstance(collector, Gauge):
            if not metric.name.startswith("rapport_disk_"):
                collector.set(1)
        else:
            collector.observe(0.01)
    return registry


@pytest.fixture(scope="module")
def process_of_ours() -> Iterator[int]:
    """Port of a process that exposes every metric; its counters have grown at each scrape."""

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(generate_latest(registry.collectors))

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    registry = touched()
    server = ThreadingHTTPServer((HOST, 0), Metrics)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def prometheus(process_of_ours: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Prometheus that scrapes it each second and evaluates our rules."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = folder / "prometheus.yml"
    config.write_text(_config(process_of_ours))
    argv = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={HOST}:{port}"]
    with Process("prometheus", argv, folder / "log", check=f"http://{HOST}:{port}/-/ready"):
        yield f"http://{HOST}:{port}"


def _config(port: int) -> str:
    jobs = [{"job_name": "rapport", "static_configs": [{"targets": [f"{HOST}:{port}"], "labels": {"service": "everything"}}]}]
    paths = [str(PROJECT / "deploy/prometheus/rules/*.yml")]
    return yaml.safe_dump({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": paths, "scrape_configs": jobs})


def _series(address: str, expr: str) -> int:
    answer = httpx.get(f"{address}/api/v1/query", params={"query": expr.replace("$__rate_interval", "1m")}).json()
    assert answer["status"] == "success", f"{expr}: {answer}"
    return len(answer["data"]["result"])


@pytest.mark.needs_promtool
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="not run: needs promtool (Debian package prometheus)")
class TestRealPrometheus:
    def test_answers_every_query_of_the_dashboard(self, prometheus: str) -> None:
        end = monotonic() + DEADLINE_SECONDS
        empty = {query.expr for query in QUERIES}
        while empty and monotonic() < end:
            empty = {expr for expr in empty if not _series(prometheus, expr)}
            sleep(0.5)
        assert empty == set()

    def test_evaluates_every_rule(self, prometheus: str) -> None:
        end = monotonic() + DEADLINE_SECONDS
        while True:
            groups = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
            health = {rule["name"]: (rule["health"], rule.get("lastError")) for group in groups for rule in group["rules"]}
            if monotonic() > end or all(state != "unknown" for state, _ in health.values()):
                break
            sleep(0.5)
        assert health
        assert {name: told for name, told in health.items() if told[0] != "ok"} == {}
