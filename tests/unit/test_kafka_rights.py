"""Rights in Kafka follow from the table of topics: what a process does it may, and no other process may it."""

import shlex

import pytest
from confluent_kafka.admin import AclBinding

from deploy.cli.acls import AclsError, _binding, commands, users
from services.messaging.settings import Settings as MessagingSettings
from services.messaging.stage import Journeys
from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.profile.settings import Settings as ProfileSettings
from services.segmentation.settings import Settings as SegmentationSettings
from services.segmentation.stage import SegmentationStage
from services.warehouse.domain.rows import TOPICS as WAREHOUSE_TOPICS
from shared.contracts.rights import PROCESSES, READER_GROUP, Kind, Operation, Right, rights
from shared.contracts.topics import DEFINITION_ACTIVATED, DEFINITION_CHANGED, KEY_CHANGED, MESSAGE_REQUESTED, TOPICS
from shared.runtime.stage import Stage

RIGHTS = rights()


def may(process: str, operation: Operation, topic: str) -> bool:
    return Right(process, Kind.TOPIC, topic, operation) in RIGHTS


@pytest.mark.parametrize(
    ("process", "stage"),
    [("profile", ResolverStage), ("profile", FolderStage), ("segmentation", SegmentationStage), ("messaging", Journeys)],
)
def test_a_stage_may_read_its_inputs_and_the_tails_of_what_it_writes(process: str, stage: type[Stage[object, object]]) -> None:
    outputs = [topic.name for topic in TOPICS if stage.name in topic.writers]
    assert [topic for topic in (*stage.inputs, *outputs) if not may(process, Operation.READ, topic)] == []
    assert [topic for topic in outputs if not may(process, Operation.WRITE, topic)] == []


def test_the_table_of_topics_names_the_inputs_of_every_stage_and_of_the_warehouse() -> None:
    for stage in (ResolverStage, FolderStage, SegmentationStage, Journeys):
        assert {topic.name for topic in TOPICS if stage.name in topic.readers and topic.partitions is None} == set(stage.inputs)
    assert {topic.name for topic in TOPICS if "warehouse" in topic.readers and topic.partitions is None} == set(WAREHOUSE_TOPICS)


def test_every_name_in_the_table_of_topics_is_a_process() -> None:
    known = {name for names in PROCESSES.values() for name in names}
    assert {name for topic in TOPICS for name in (*topic.writers, *topic.readers)} <= known


def test_only_who_makes_keys_may_write_them_and_only_journeys_ask_for_messages() -> None:
    def writers(topic: str) -> set[str]:
        return {process for process in PROCESSES if may(process, Operation.WRITE, topic)}

    assert writers(KEY_CHANGED) == {"control", "cli"}
    assert writers(MESSAGE_REQUESTED) == {"messaging"}


def test_only_control_may_write_definitions_and_where_they_hold_for_workers_have_no_secret_to_check_them_by() -> None:
    for topic in (DEFINITION_CHANGED, DEFINITION_ACTIVATED):
        assert {process for process in PROCESSES if may(process, Operation.WRITE, topic)} == {"control"}
    for worker in (ProfileSettings, SegmentationSettings, MessagingSettings):
        assert not {name for name in worker.model_fields if "secret" in name}


def test_query_may_write_nothing() -> None:
    assert {right.operation for right in RIGHTS if right.process == "query"} == {Operation.READ, Operation.DESCRIBE}


def test_no_process_may_delete_or_change_anything_but_its_own() -> None:
    assert {right.operation for right in RIGHTS if right.process != "topics"} == {Operation.READ, Operation.WRITE, Operation.DESCRIBE}
    assert not [right for right in RIGHTS if right.process == "topics" and right.operation in (Operation.READ, Operation.WRITE)]


def test_groups_and_transactions_go_by_the_prefix() -> None:
    names = {right.name for right in rights("shop") if right.kind is not Kind.TOPIC} - {READER_GROUP}
    assert names
    assert all(name.startswith("shop-") for name in names)


def test_a_command_gives_each_right_once() -> None:
    given = set()
    for line in commands(RIGHTS, users("app-", ["ingest=Ann Ingest"]), "broker:9093"):
        words = shlex.split(line)
        principal, operation = words[words.index("--allow-principal") + 1], words[words.index("--operation") + 1]
        for kind in Kind:
            resources = [words[at + 1] for at, word in enumerate(words) if word == f"--{kind}"]
            given |= {(principal, operation, kind, name, "prefixed" in words) for name in resources}
    expected = {
        (f"User:{'Ann Ingest' if one.process == 'ingest' else 'app-' + one.process}", one.operation, one.kind, one.name, one.prefixed)
        for one in RIGHTS
    }
    assert given == expected


@pytest.mark.parametrize("wrong", ["ingest", "=ann", "ingest=", "nobody=ann"])
def test_a_user_of_no_process_is_an_error_that_names_the_processes(wrong: str) -> None:
    with pytest.raises(AclsError, match=r"PROCESS=USER.*ingest"):
        users(named=[wrong])


def test_every_right_has_a_form_that_kafka_knows() -> None:
    bindings = {_binding(right, "me") for right in RIGHTS}
    assert all(isinstance(binding, AclBinding) and binding.principal == "User:me" for binding in bindings)
