"""docker-compose.yml as a text: closed, bounded, pinned, and in step with what the services read."""

import re
from typing import Any

import pytest
import yaml

from deploy.local.proxy.routes import Backend
from deploy.local.proxy.settings import ProxySettings
from deploy.local.settings import PROJECT
from deploy.local.topics import TopicSettings
from deploy.reference import SERVICES, settings

TEXT = (PROJECT / "docker-compose.yml").read_text()
PARTS: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
ONCE = {"topics", "migrate", "definitions"}
VARIABLE = re.compile(r"(?<!\$)\$\{(RAPPORT_\w+)(:[?-])?([^}]*)\}")
every_part = pytest.mark.parametrize("name", PARTS)


@every_part
def test_a_container_is_closed(name: str) -> None:
    part = PARTS[name]
    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]
    assert part["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in part
    assert "cap_add" not in part


@every_part
def test_a_container_is_bounded_in_memory_processes_and_logs(name: str) -> None:
    part = PARTS[name]
    assert part["mem_limit"]
    assert part["pids_limit"]
    assert part["logging"]["options"]["max-size"]


@every_part
def test_an_image_is_pinned_and_only_ours_is_built(name: str) -> None:
    image = PARTS[name]["image"]
    assert re.fullmatch(r"[a-z./-]+:v?\d[\w.-]*", image), image
    assert ("build" in PARTS[name]) == (name == "topics")


@every_part
def test_what_stays_up_is_restarted_and_says_whether_it_is_well(name: str) -> None:
    part = PARTS[name]
    if name in ONCE:
        assert part["restart"] == "no"
    else:
        assert part["restart"] == "unless-stopped"
        assert part["healthcheck"]["test"]


@every_part
def test_a_port_is_published_on_this_machine_alone_and_can_be_moved(name: str) -> None:
    for port in PARTS[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{RAPPORT_\w+_PORT:-\d+\}:\d+", port), port


@every_part
def test_a_service_starts_after_what_it_needs_is_well(name: str) -> None:
    for needed, how in PARTS[name].get("depends_on", {}).items():
        assert how["condition"] == ("service_completed_successfully" if needed in ONCE else "service_healthy")


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_is_given_is_what_it_reads(name: str) -> None:
    """A misspelt variable would be ignored without a word."""
    shared_by_anchor = {"RAPPORT_HOST", "RAPPORT_HEALTH_PORT", "RAPPORT_KAFKA_BOOTSTRAP", "RAPPORT_REDIS_URL"}
    reads = {f"RAPPORT_{field.upper()}" for field in settings()[name].model_fields}
    required = {f"RAPPORT_{key.upper()}" for key, field in settings()[name].model_fields.items() if field.is_required()}
    given = set(PARTS[name]["environment"])
    assert given - shared_by_anchor <= reads
    assert required <= given


def test_the_proxy_is_given_what_it_reads_and_knows_both_services_by_name() -> None:
    given = PARTS["proxy"]["environment"]
    assert set(given) <= {f"RAPPORT_{field.upper()}" for field in ProxySettings.model_fields}
    for backend in Backend:
        assert (
            given[f"RAPPORT_PROXY_{backend.value.upper()}_URL"]
            == f"http://{backend.value}:{PARTS[backend.value]['environment']['RAPPORT_PORT']}"
        )
    assert PARTS["proxy"]["command"] == ["python", "-m", "deploy.local.proxy"]
    assert "depends_on" not in PARTS["proxy"], "it answers for whichever service is there"


def test_of_the_api_only_its_one_address_is_published() -> None:
    assert [name for name in ("query", "control", "proxy") if PARTS[name].get("ports")] == ["proxy"]


def test_the_topics_job_is_given_what_it_reads() -> None:
    assert set(PARTS["topics"]["environment"]) <= {f"RAPPORT_{field.upper()}" for field in TopicSettings.model_fields}


def test_every_service_of_ours_is_there() -> None:
    for name in SERVICES:
        assert PARTS[name]["command"] == ["python", "-m", f"services.{name}.main"]


def test_a_secret_has_no_default() -> None:
    for name, how, _ in VARIABLE.findall(TEXT):
        if re.search(r"PASSWORD|TOKEN|SECRET|KEY", name):
            assert how == ":?", name
    assert not re.search(r"(?i)(password|token|secret)\w*: (?!\$\{)[\"']?\w", TEXT)


def test_the_example_of_env_names_every_variable() -> None:
    example = (PROJECT / ".env.example").read_text()
    told = set(re.findall(r"^#?(RAPPORT_\w+)=", example, re.MULTILINE))
    assert told == {name for name, _, _ in VARIABLE.findall(TEXT)}
    for name, how, default in VARIABLE.findall(TEXT):
        if how == ":-" and name != "RAPPORT_SMTP_URL":
            assert f"#{name}={default}\n" in example
        if how == ":?":
            assert f"#{name}=\n" in example


@pytest.mark.parametrize("file", sorted((PROJECT / "deploy" / "images").glob("**/*Dockerfile")), ids=lambda file: file.name)
def test_an_image_of_ours_is_built_without_root_and_without_fetching_a_syntax(file: Any) -> None:
    text = file.read_text()
    assert not text.startswith("# syntax")
    assert "<<" not in text
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["rapport"]
    assert "--require-hashes" in text
