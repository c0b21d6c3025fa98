"""Every setting, topic and metric is described, and deploy/REFERENCE.md tells them as the code has them."""

import ast
import re

import pytest
from pydantic_settings import BaseSettings

from deploy.bounds import BOUNDS
from deploy.local.settings import PROJECT
from deploy.reference import CONNECTIONS, PATH, SERVICES, build, metrics, settings
from shared.contracts.metrics import Metric, MetricKind
from shared.contracts.topics import TOPICS
from tests.architecture.settings_found import settings_found
from tests.architecture.sources import python_files
from tests.metric_tables import all_metrics

TOPIC = re.compile(r"rapport\.[a-z_]+\.[a-z_]+\.v\d+")
PERSONAL = re.compile(r"(user|profile|person|anonymous|message|segment|journey|key|source|email|phone)(_id)?$")


def test_the_reference_is_what_the_code_says() -> None:
    assert PATH.read_text() == build(), "run: python -m deploy.reference"


def test_the_reference_covers_every_service() -> None:
    found = {path.parent.name for path in (PROJECT / "services").glob("*/main.py")}
    assert found == set(SERVICES)


@pytest.mark.parametrize("model", settings_found(), ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_whatever_reads_the_environment_stands_in_the_reference(model: type[BaseSettings]) -> None:
    told = set(re.findall(r"^\| `(RAPPORT_[A-Z_]+)` \|", PATH.read_text(), re.MULTILINE))
    assert {f"RAPPORT_{name.upper()}" for name in model.model_fields} - told == set()


def test_a_command_that_reads_the_environment_has_a_table_of_its_own() -> None:
    """The classes that others build on have none: who reads them has."""
    known = {*settings().values(), *CONNECTIONS.values()}
    built_on = {base for model in settings_found() for base in model.__mro__[1:]}
    assert [model for model in settings_found() if model not in known and model not in built_on] == []


@pytest.mark.parametrize("service", SERVICES)
def test_only_its_settings_read_the_environment_of_a_service(service: str) -> None:
    own = settings()[service]
    assert own.model_config.get("env_prefix") == "RAPPORT_"
    for path, tree in python_files(f"services/{service}"):
        reads = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}]
        # prometheus-client is told of several processes by a variable of its own, and only by that
        text = path.read_text()
        assert not reads or "PROMETHEUS_MULTIPROC_DIR" in text, f"{path} reads the environment"


@pytest.mark.parametrize("metric", all_metrics().values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_wants_and_labels_nobody(metric: Metric) -> None:
    assert re.fullmatch(r"rapport_[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert not re.search(r"_(ms|millis|milliseconds|minutes|kb|mb|percent)(_total)?$", metric.name), "base units only"
    assert not [label for label in metric.labels if PERSONAL.fullmatch(label)]


def test_no_two_tables_have_a_metric_of_the_same_name() -> None:
    names = [metric.name for table in metrics().values() for metric in table]
    assert sorted(names) == sorted(set(names))


def test_no_code_names_a_topic_or_a_metric_that_no_table_has() -> None:
    topics, known = {topic.name for topic in TOPICS}, all_metrics()
    strings = [
        (path, node.value)
        for root in ("services", "shared", "deploy")
        for path, tree in python_files(root)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [(path, value) for path, value in strings if TOPIC.fullmatch(value) and value not in topics] == []
    metric = re.compile(r"rapport_[a-z_]+_(total|seconds|bytes|records|owned|rebuilding)")
    assert [(path, value) for path, value in strings if metric.fullmatch(value) and value not in known] == []


def test_a_bound_names_a_setting_and_a_metric_that_exist() -> None:
    known = {name.upper() for model in settings().values() for name in model.model_fields}
    bounds = [bound for group in BOUNDS.values() for bound in group]
    assert [bound.what for bound in bounds if bound.setting and bound.setting not in known] == []
    assert [bound.what for bound in bounds if bound.metric and bound.metric not in all_metrics()] == []


def test_a_setting_that_is_a_bound_stands_among_the_bounds() -> None:
    """A bound is told by its words: `largest`, `most`, `at most`, `beyond`."""
    told = {bound.setting for group in BOUNDS.values() for bound in group}
    bounding = re.compile(r"\b(largest|most|at most|beyond)\b")
    found = {
        name.upper()
        for model in settings().values()
        for name, field in model.model_fields.items()
        if field.description and bounding.search(field.description)
    }
    assert found - told == set()
