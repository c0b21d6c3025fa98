"""Payloads as others wrote them, whole and mutilated: an answer every time, and nothing in the log that cannot be read."""

import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.contracts.events import EventType
from shared.contracts.ids import is_usable
from tests.contract.ingest_rig import Rig

LINES = gzip.decompress((Path(__file__).parent / "data" / "segment_messages.ndjson.gz").read_bytes()).splitlines()
MESSAGES: list[dict[str, Any]] = [json.loads(line)["message"] for line in LINES]
KINDS = [kind.value for kind in EventType]


@pytest.fixture(scope="module")
async def rig() -> AsyncIterator[Rig]:
    made = Rig(max_event_bytes=65_536)
    async with made.client:
        yield made


@pytest.fixture
async def fresh(rig: Rig) -> Rig:
    rig.producer.log.clear()
    return rig


async def test_published_messages_are_taken_in_one_batch_and_only_the_unfit_are_set_aside(fresh: Rig) -> None:
    response = await fresh.post("/v1/batch", {"batch": MESSAGES})
    assert response.status_code == 200
    reasons = Counter(one.reason for one in fresh.rejected())
    assert len(fresh.events()) + len(fresh.rejected()) == len(MESSAGES)
    assert [json.loads(one.original) for one in fresh.rejected()] == [one for one in MESSAGES if not _fit(one)]
    assert set(reasons) <= {"missing_identity", "missing_field", "invalid_field"}


def _fit(message: dict[str, Any]) -> bool:
    """Whether the specification lets this message pass, in other words than the service's."""
    usable = [message.get(name) for name in ("userId", "anonymousId")]
    listed = [*(message.get("context") or {}).get("externalIds", []), *(message.get("context") or {}).get("externalId", [])]
    traits = {**((message.get("context") or {}).get("traits") or {}), **(message.get("traits") or {})}
    known = any(one is not None and is_usable(str(one)) for one in usable) or any(one.get("type") in ("email", "phone") for one in listed)
    match message["type"]:
        case "track":
            return known and bool(message.get("event"))
        case "identify":
            return known or any(name in traits for name in ("email", "phone"))
        case "group":
            return known and bool(message.get("groupId"))
        case "alias":
            return bool(message.get("userId")) and bool(message.get("previousId"))
        case _:
            return known


@pytest.mark.parametrize("number", range(len(MESSAGES)))
async def test_a_published_message_is_answered_on_its_own_path(fresh: Rig, number: int) -> None:
    message = MESSAGES[number]
    response = await fresh.post(f"/v1/{message['type']}", message)
    assert response.status_code == (200 if _fit(message) else 400)
    assert len(fresh.events()) == _fit(message)


@given(
    number=st.integers(0, len(MESSAGES) - 1),
    cut=st.integers(0, 400),
    flips=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=5),
    path=st.sampled_from(["/v1/batch", "/v1/b", *(f"/v1/{kind}" for kind in KINDS)]),
    packed=st.booleans(),
    wrapped=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
async def test_a_mutilated_message_is_never_a_server_error(
    fresh: Rig, number: int, cut: int, flips: list[tuple[int, int]], path: str, packed: bool, wrapped: bool
) -> None:
    fresh.producer.log.clear()
    body = bytearray(json.dumps({"batch": [MESSAGES[number]] * 2} if wrapped else MESSAGES[number]).encode())
    for at, byte in flips:
        body[at % len(body)] = byte
    content = bytes(body[: len(body) - cut % len(body)])
    response = await fresh.post(path, gzip.compress(content) if packed else content)
    assert response.status_code in (200, 400)
    assert len(fresh.events()) + len(fresh.rejected()) <= 2
    if response.status_code == 400:
        assert response.json()["code"]
