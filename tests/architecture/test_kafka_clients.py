"""Clients of Kafka are made in one module, so that TLS and credentials reach all of them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.local.settings import PROJECT
from tests.architecture.sources import python_files

BUILDER = PROJECT / "shared" / "adapters" / "kafka_clients.py"
CLIENTS = {"Consumer", "Producer", "AdminClient", "SerializingProducer", "DeserializingConsumer", "AIOConsumer", "AIOProducer"}


def made(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Each construction of a client, by its plain or dotted name."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CLIENTS | {"AIOKafkaConsumer", "AIOKafkaProducer"}:
                yield node.lineno, name
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "confluent_kafka":
                yield from ((node.lineno, f"as {one.asname}") for one in names if one.name in CLIENTS and one.asname is not None)


def test_no_client_of_kafka_is_made_outside_the_builder() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{line} {name}"
        for root in ("services", "shared", "deploy")
        for path, tree in python_files(root)
        if path != BUILDER
        for line, name in made(tree)
    ]
    assert found == [], "make it by KafkaConnection.consumer, .producer or .admin"


def test_nothing_that_the_query_process_loads_makes_a_producer() -> None:
    """It answers reads: its user of Kafka has no right to write (tests/integration/test_kafka_security.py), and no code of it would."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, services.query.main; print(*sorted(m.__file__ or '' for m in sys.modules.values() if "
         "m.__name__.partition('.')[0] in ('services', 'shared')), sep='\\n')"],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=True,
    ).stdout.split()  # fmt: skip
    modules = [Path(name) for name in loaded]
    assert PROJECT / "shared/reading/log.py" in modules
    makers = [str(path) for path in modules if path != BUILDER and makes_a_producer(ast.parse(path.read_text()))]
    assert makers == []
    assert makes_a_producer(ast.parse((PROJECT / "services/control/adapters/appends.py").read_text())), "it could be seen"


def makes_a_producer(tree: ast.Module) -> bool:
    calls = [node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return "producer" in calls


def test_the_builder_is_seen_making_all_three() -> None:
    assert {name for _, name in made(ast.parse(BUILDER.read_text()))} == {"Consumer", "Producer", "AdminClient"}


def test_no_one_else_says_how_kafka_is_reached() -> None:
    """`bootstrap.servers` beside the builder would be a connection without its credentials."""
    found = [
        str(path.relative_to(PROJECT))
        for root in ("services", "shared", "deploy")
        for path, tree in python_files(root)
        if path != BUILDER
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == "bootstrap.servers"
    ]
    assert found == []


def test_only_members_and_the_builder_name_a_group() -> None:
    """What reads partitions by hand is a `KafkaConnection.reader`: its group is one that every process may ask about."""
    found = {
        str(path.relative_to(PROJECT))
        for root in ("services", "shared", "deploy")
        for path, tree in python_files(root)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == "group.id"
    }
    members = {
        "services/messaging/adapters/requests.py",
        "services/warehouse/adapters/consumer.py",
        "deploy/local/kafka_training.py",
    }
    assert found == {*members, "shared/adapters/kafka_offsets.py", "shared/adapters/kafka_clients.py"}, (
        "kafka_offsets asks what groups committed"
    )


def test_a_faust_app_is_made_with_credentials() -> None:
    apps = [
        node
        for root in ("services", "shared")
        for _, tree in python_files(root)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "StageApp"
    ]
    assert apps
    assert all("broker_credentials" in {keyword.arg for keyword in app.keywords} for app in apps)
