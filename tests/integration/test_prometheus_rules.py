"""Alert rules and scrape configurations: valid, tested by promtool, explained in the runbook, about metrics that exist."""

import re
import shutil
import string
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.ports import USUAL
from deploy.local.prometheus import RULES, TEMPLATE, Prometheus
from deploy.local.settings import PROJECT
from tests.metric_tables import SERVICES, all_metrics
from tests.promql import unknown_names

FOLDER = PROJECT / "deploy" / "prometheus"
TESTS = sorted((FOLDER / "tests").glob("*_test.yml"))
skip_without = pytest.mark.skipif(shutil.which("promtool") is None, reason="not run: needs promtool (Debian package prometheus)")


def alerts() -> list[dict[str, Any]]:
    groups = (group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"])
    return [rule for group in groups for rule in group["rules"]]


def covered_by_tests() -> tuple[set[str], set[str]]:
    """Names of the alerts that some test wants to fire, and of those that some test wants to be silent."""
    found = [rule for file in TESTS for test in yaml.safe_load(file.read_text())["tests"] for rule in test.get("alert_rule_test", [])]
    return {rule["alertname"] for rule in found if rule["exp_alerts"]}, {rule["alertname"] for rule in found if not rule["exp_alerts"]}


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.needs_promtool
@skip_without
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
class TestRules:
    def test_fire_and_stay_silent_as_their_tests_say(self, file: Path) -> None:
        assert "SUCCESS" in promtool("test", "rules", str(file))


@pytest.mark.needs_promtool
@skip_without
class TestConfiguration:
    def test_of_compose_is_valid(self) -> None:
        promtool("check", "config", str(FOLDER / "prometheus.yml"))

    def test_of_one_machine_is_valid_and_finds_the_rules(self, tmp_path: Path) -> None:
        server = Prometheus(tmp_path, 1, tmp_path / "log", {name: USUAL[name] for name in SERVICES})
        written = tmp_path / "prometheus.yml"
        written.write_text(_rendered(server))
        assert f"{len(alerts())} rules found" in promtool("check", "config", str(written))


def _rendered(server: Prometheus) -> str:
    from deploy.local.prometheus import _targets  # the part that start() fills in

    return string.Template(TEMPLATE.read_text()).substitute(targets=_targets(server._targets), rules=RULES)


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    names = {rule["alert"] for rule in alerts()}
    firing, silent = covered_by_tests()
    assert (names - firing, names - silent) == (set(), set())


def test_every_alert_has_a_heading_in_the_runbook_and_the_runbook_no_other() -> None:
    headings = set(re.findall(r"^## (\w+)$", (FOLDER / "RUNBOOK.md").read_text(), re.MULTILINE))
    assert {rule["alert"] for rule in alerts()} == headings
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"deploy/prometheus/RUNBOOK.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_names_only_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    assert unknown_names(rule["expr"], all_metrics()) == set()
    assert rule["labels"]["severity"] in {"page", "ticket"}


def test_the_rules_take_the_number_of_slots_from_the_workers() -> None:
    unowned = next(rule for rule in alerts() if rule["alert"] == "RapportSlotsUnowned")
    assert unowned["expr"].endswith("< scalar(max(rapport_partitions))")


def test_every_service_is_scraped_under_compose_and_missed_by_name() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]}
    services = set(USUAL) - {"kafka", "redis", "clickhouse", "smtp", "hooks", "prometheus", "ingest-health"}
    found = {name: by["port"] for by in jobs["rapport"]["dns_sd_configs"] for name in by["names"]}
    composed = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    assert found == {name: _metrics_port(name, composed[name]["environment"]) for name in services}
    down = next(rule for rule in alerts() if rule["alert"] == "RapportProcessDown")
    assert set(re.findall(r'absent\(up\{job="rapport",service="(\w+)"\}\)', down["expr"])) == services


def _metrics_port(service: str, environment: dict[str, str]) -> int:
    """Of a service under compose: those of the API have one port for all, the others one for inside."""
    return int(environment["RAPPORT_PORT" if service in ("query", "control", "proxy") else "RAPPORT_HEALTH_PORT"])
