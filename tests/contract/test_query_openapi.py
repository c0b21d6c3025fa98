"""The query API keeps its OpenAPI document: schemathesis calls every operation, with keys of every scope and with none."""

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from shared.contracts.events import RejectedEvent
from shared.contracts.failed import FAILED_ENCODER, FailedRecord, FailureReason
from shared.contracts.profile_blob import TRAIT, Money, Profile, Said, encode_recent
from shared.contracts.redis_keys import side_key
from shared.contracts.topics import EVENT_REJECTED, RECORD_FAILED
from tests.query_fakes import FULL, READ, World

AT = 1_780_000_000_000
EVENT = {
    "message_id": "m1", "source_id": "web", "type": "track", "event": "Order Completed", "profile_id": "u:1", "user_id": "1",
    "anonymous_id": "", "timestamp_ms": AT, "original_ms": AT, "sent_ms": None, "received_ms": AT, "name": "",
    "raw": '{"properties":{"revenue":1},"context":{"ip":"10.0.0.1"}}', "partition": 1, "offset": 5,
}  # fmt: skip
MESSAGE = {
    "dispatch_id": "d", "turn": 1, "journey": "j", "step": "s", "profile_id": "u:1", "channel": "email", "template": "t", "status": "sent",
    "at_ms": AT, "reason": "", "provider": "smtp", "provider_message_id": None, "to_masked": "a***",
}  # fmt: skip
TRANSITION = {
    "profile_id": "u:1", "segment": "big_spenders", "transition": "entered", "at_ms": AT, "decided_ms": AT, "version": 7, "by_event": None,
    "reason": "time",
}  # fmt: skip


def filled() -> World:
    """A world in which every list has something to show, and one row more than a page of one."""
    world = World()
    for n in range(3):
        person = Profile(
            events=1, first_seen=AT, last_seen=AT, money={"": Money(orders=1)}, said=[Said(AT, "m", "web", {TRAIT + "a": b"1"})]
        )
        world.space.profile(f"u:{n}", person)
        world.space.link(f"u:{n}")
        world.space.add(side_key("folder", f"u:{n}"), AT, encode_recent("m1", "track", "x", 0, 1))
        world.space.member("big_spenders", f"u:{n}", AT)
    rejected = RejectedEvent(reason="too_deep", message="m", received_at=AT, source_id="web", path="/v1/t", original=b"{}")
    letter = FailedRecord(
        stage="folder", topic="t", partition=0, offset=1, reason=FailureReason.UNDECODABLE, detail="d", failed_at=AT, key=b"u:1",
        value=b"{}", headers=[],
    )  # fmt: skip
    for n in range(3):
        world.log.put(EVENT_REJECTED, n, msgspec.json.encode(rejected), AT)
        world.log.put(RECORD_FAILED, n, FAILED_ENCODER.encode(letter), AT)
    world.history.canned.update(
        events=[EVENT] * 2,
        messages_of=[MESSAGE] * 2,
        messages=[MESSAGE],
        last_turns=[MESSAGE],
        message_places=[MESSAGE],
        transitions=[TRANSITION] * 2,
        conflicts=[{"one": "u:1", "two": "u:2", "why": "phone", "at_ms": AT}] * 2,
        timeseries=[{"bucket": "2026-03-02", "group": "DE", "value": 3}],
        flushed=[{"flushed_ms": AT, "events": 2}],
    )
    return world


WORLD = filled()
schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", WORLD.app)
MANY = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


ACCEPTED = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
BEYOND = {"lookupProfile", "queryTimeseries", "createKey", "createRebuild"}
"""Operations with rules that a schema cannot say (exactly one of, to later than from, for one view only); the same goes for cursors."""


def beyond_schema(case: schemathesis.Case) -> bool:
    return case.operation.definition.raw["operationId"] in BEYOND or "cursor" in (case.query or {})


@schema.parametrize()  # type: ignore[untyped-decorator]
@MANY
def test_every_answer_is_one_that_the_document_names(case: schemathesis.Case) -> None:
    excluded = [ACCEPTED] if beyond_schema(case) else []
    case.call_and_validate(headers={"Authorization": f"Bearer {FULL}"}, excluded_checks=excluded)


@schema.parametrize()  # type: ignore[untyped-decorator]
@settings(MANY, max_examples=5)
def test_a_key_that_may_only_read_gets_documented_answers_too(case: schemathesis.Case) -> None:
    excluded = [ACCEPTED] if beyond_schema(case) else []
    case.call_and_validate(headers={"Authorization": f"Bearer {READ}"}, excluded_checks=excluded)


AWAY = filled()
AWAY.space.away = AWAY.log.away = AWAY.history.away = True
away_schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", AWAY.app)


@away_schema.parametrize()  # type: ignore[untyped-decorator]
@settings(MANY, max_examples=5)
def test_with_every_store_away_nothing_is_500(case: schemathesis.Case) -> None:
    answer = case.call(headers={"Authorization": f"Bearer {FULL}"})
    assert answer.status_code != 500, answer.text
    if answer.status_code == 503 and case.path != "/readyz":
        assert answer.headers["retry-after"]


def test_every_operation_has_an_id_of_its_own_and_its_errors() -> None:
    document = WORLD.app.openapi()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            if path.startswith("/api/"):
                assert operation["security"] == [{"queryKey": []}], path
                assert {"400", "401", "403", "503"} <= set(operation["responses"]), path
                assert "422" not in operation["responses"], path


@pytest.mark.parametrize("path", sorted(path for path in WORLD.app.openapi()["paths"] if path.startswith("/api/")))
async def test_no_operation_answers_without_a_key(path: str) -> None:
    async with WORLD.client(None) as client:
        for method in WORLD.app.openapi()["paths"][path]:
            concrete = (
                path.replace("{place_id}", "0:0")
                .replace("{key_id}", "0" * 16)
                .replace("{rebuild_id}", "0" * 16)
                .replace("{", "")
                .replace("}", "")
            )
            body = {"ids": ["0:0"]} if path.endswith("replay") else {}
            answer = await client.request(method, concrete, json=body if method == "post" else None)
            assert answer.status_code == 401, (method, path)
