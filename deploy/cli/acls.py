"""The rights of every process in Kafka, as kafka-acls commands or set at once by an administrator's own credentials."""

import shlex
from collections.abc import Iterable, Mapping
from itertools import groupby

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from shared.contracts.rights import PROCESSES, Kind, Operation, Right

SECONDS = 30.0
USER_PREFIX = "rapport-"
_KINDS = {Kind.TOPIC: ResourceType.TOPIC, Kind.GROUP: ResourceType.GROUP, Kind.TRANSACTION: ResourceType.TRANSACTIONAL_ID}
_OPERATIONS = {
    Operation.READ: AclOperation.READ,
    Operation.WRITE: AclOperation.WRITE,
    Operation.DESCRIBE: AclOperation.DESCRIBE,
    Operation.CREATE: AclOperation.CREATE,
    Operation.DESCRIBE_CONFIGS: AclOperation.DESCRIBE_CONFIGS,
    Operation.ALTER_CONFIGS: AclOperation.ALTER_CONFIGS,
}


class AclsError(Exception):
    """The rights could not be read or set; the message says why."""


def users(prefix: str = USER_PREFIX, named: Iterable[str] = ()) -> dict[str, str]:
    """The user of each process: `prefix` and the process, unless `named` says otherwise (`ingest=alice`). Raises AclsError."""
    found = {process: f"{prefix}{process}" for process in PROCESSES}
    for one in named:
        process, equals, user = one.partition("=")
        if process not in PROCESSES or not equals or not user:
            raise AclsError(f"{one!r} names no user of a process: write PROCESS=USER; processes are {', '.join(PROCESSES)}")
        found[process] = user
    return found


def commands(rights: Iterable[Right], of: Mapping[str, str], bootstrap: str) -> list[str]:
    """One kafka-acls command for each user, operation and sort of resource."""
    lines = []
    for (process, kind, operation, prefixed), same in groupby(sorted(rights, key=_alike), key=_alike):
        resources = " ".join(f"--{kind} {shlex.quote(right.name)}" for right in same)
        pattern = " --resource-pattern-type prefixed" if prefixed else ""
        principal = shlex.quote(f"User:{of[process]}")
        head = f"kafka-acls.sh --bootstrap-server {shlex.quote(bootstrap)} --command-config admin.properties"
        lines.append(f"{head} --add --allow-principal {principal} --operation {operation}{pattern} {resources}")
    return lines


def _alike(right: Right) -> tuple[str, Kind, Operation, bool]:
    return right.process, right.kind, right.operation, right.prefixed


def apply(admin: AdminClient, rights: Iterable[Right], of: Mapping[str, str]) -> tuple[int, list[str]]:
    """Give what is missing. Answers how much that was, and what these users may do beyond the table. Raises AclsError."""
    wanted = {_binding(right, of[right.process]) for right in rights}
    try:
        there = {binding for user in of.values() for binding in admin.describe_acls(_all_of(user)).result(SECONDS)}
        missing = sorted(wanted - there)
        for outcome in admin.create_acls(missing, request_timeout=SECONDS).values() if missing else ():
            outcome.result(SECONDS)
    except (KafkaException, TimeoutError) as error:
        told = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
        raise AclsError(f"Kafka did not give or take the rights: {told}") from None
    return len(missing), sorted(_told(binding) for binding in there - wanted)


def _binding(right: Right, user: str) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    kind, operation = _KINDS[right.kind], _OPERATIONS[right.operation]
    return AclBinding(kind, right.name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)


def _all_of(user: str) -> AclBindingFilter:
    return AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{user}", None, AclOperation.ANY, AclPermissionType.ANY)


def _told(binding: AclBinding) -> str:
    pattern = "*" if binding.resource_pattern_type is ResourcePatternType.PREFIXED else ""
    permission, operation = binding.permission_type.name.lower(), binding.operation.name
    return f"{binding.principal}: {permission} {operation} on {binding.restype.name.lower()} {binding.name}{pattern} from {binding.host}"
