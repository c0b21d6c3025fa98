"""Creates every topic of shared/contracts/topics.py, and checks those that exist: `python -m deploy.local.topics`.

Safe to run at every start and beside a running system. How many partitions the data topics have is chosen when the first of them is made
(RAPPORT_PARTITIONS); later starts take what is there. A count that differs is an error, never mended: keys would move to other partitions.
"""

import sys
import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.adapters.environment import read_environment
from shared.adapters.kafka_settings import KafkaSettings
from shared.contracts.slots import MOST_PARTITIONS
from shared.contracts.topics import DAY_MS, RETENTION_DAYS, TOPICS, Topic

SECONDS = 30
POLL_SECONDS = 0.1
NEW_PARTITIONS = 8


class TopicSettings(KafkaSettings):
    """Read from RAPPORT_<NAME>."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port of a broker")
    partitions: int | None = Field(
        None,
        ge=1,
        le=MOST_PARTITIONS,
        description=f"partitions of every data topic, so many workers a stage can share the work; chosen once, when topics are made: "
        f"without it as many as the topics have that are there, {NEW_PARTITIONS} where none is",
    )
    retention_days: int = Field(
        RETENTION_DAYS,
        ge=1,
        le=36_500,
        description="age at which data leaves the log, in log files of a day each: one day later they are gone; personal data must go",
    )
    replication_factor: int = Field(-1, ge=-1, le=100, description="copies of each topic; -1 takes the broker's default")


class WrongTopicError(Exception):
    """A topic exists in a shape that cannot be used, or has no leader; the message says which and what to do."""


def ensure(admin: AdminClient, topics: tuple[Topic, ...], settings: TopicSettings) -> list[str]:
    """Create what is absent, bring settings of the rest up to date; returns the names created.

    Raises WrongTopicError on a partition count that cannot be used, KafkaException when the broker refuses or does not answer.
    """
    there = admin.list_topics(timeout=SECONDS).topics
    counts = {t.name: len(there[t.name].partitions) for t in topics if t.name in there}
    partitions = choose(topics, counts, settings.partitions)
    retention = settings.retention_days * DAY_MS
    absent = [t for t in topics if t.name not in there]
    created = _create(admin, absent, partitions, retention, settings.replication_factor)
    _wait_for_leaders(admin, topics)
    # One made by another a moment ago may not be in the list yet: whatever was not made here is brought up to date.
    _configure(admin, [t for t in topics if t.name not in created], retention)
    return created


def choose(topics: tuple[Topic, ...], counts: Mapping[str, int], wanted: int | None) -> int:
    """The number of partitions of an installation whose topics have these `counts`. Raises WrongTopicError where it cannot be as wanted."""
    own = {t.name: counts[t.name] for t in topics if t.partitions is None and t.name in counts}
    fixed = [
        f"topic {t.name} has {counts[t.name]} partitions, it must have {t.partitions}: delete it, or use another cluster"
        for t in topics
        if t.partitions is not None and counts.get(t.name, t.partitions) != t.partitions
    ]
    if fixed:
        raise WrongTopicError("\n".join(fixed))
    if len(set(own.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in sorted(own.items()))
        raise WrongTopicError(
            f"the data topics must have equal numbers of partitions: {told}. Use another cluster, or delete those that are wrong"
        )
    found = next(iter(own.values()), None)
    if found is not None and wanted not in (None, found):
        raise WrongTopicError(
            f"RAPPORT_PARTITIONS is {wanted}, but the topics of this installation have {found} partitions (such as {next(iter(own))}):"
            " the number is chosen once, when topics are made."
            f" Unset it, or set it to {found}; for another number make a new installation beside this one"
        )
    return found or wanted or NEW_PARTITIONS


def _create(admin: AdminClient, absent: list[Topic], partitions: int, retention_ms: int, replication_factor: int) -> list[str]:
    if not absent:
        return []
    asked = admin.create_topics(
        [NewTopic(t.name, t.partitions or partitions, replication_factor, config=t.settings(retention_ms)) for t in absent]
    )
    created = []
    for name, outcome in asked.items():
        try:
            outcome.result(SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another start was faster
                raise
        else:
            created.append(name)
    return created


def _wait_for_leaders(admin: AdminClient, topics: tuple[Topic, ...]) -> None:
    """A new topic can be used a moment after its creation was acknowledged. Raises WrongTopicError after SECONDS."""
    end = time.monotonic() + SECONDS
    while True:
        there = admin.list_topics(timeout=SECONDS).topics
        waiting = [t.name for t in topics if t.name not in there or any(p.leader < 0 for p in there[t.name].partitions.values())]
        if not waiting:
            return
        if time.monotonic() > end:
            raise WrongTopicError(f"no leader after {SECONDS} s for {', '.join(waiting)}")
        time.sleep(POLL_SECONDS)


def _configure(admin: AdminClient, present: list[Topic], retention_ms: int) -> None:
    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            topic.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in topic.settings(retention_ms).items()
            ],
        )
        for topic in present
    ]
    if resources:
        for outcome in admin.incremental_alter_configs(resources).values():
            outcome.result(SECONDS)


def main() -> None:
    """Do it and say what was done; exit code 1 with a plain sentence when it cannot be."""
    settings = read_environment("topics", TopicSettings)
    admin = settings.kafka.admin({"log_level": 2})
    try:
        created = ensure(admin, TOPICS, settings)
    except WrongTopicError as error:
        sys.exit(str(error))
    except KafkaException as error:
        sys.exit(f"topics could not be made on {settings.kafka_bootstrap}: {error.args[0].str()}")
    print(f"{len(created)} topics created, {len(TOPICS) - len(created)} were there")  # noqa: T201 for the log


if __name__ == "__main__":
    main()
