"""The API keeps its OpenAPI document: schemathesis calls every operation, with keys of every scope and with none.

Two services answer it; the document of the one address is that of the time when one process answered all.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from deploy.local.proxy.document import ConflictError, merged
from deploy.local.proxy.routes import OF_CONTROL, Backend, backend_of
from shared.contracts.events import RejectedEvent
from shared.contracts.failed import FAILED_ENCODER, FailedRecord, FailureReason
from shared.contracts.profile_blob import TRAIT, Money, Profile, Said, encode_recent
from shared.contracts.redis_keys import side_key
from shared.contracts.topics import EVENT_REJECTED, RECORD_FAILED
from tests.api_fakes import World
from tests.api_stores import FULL, READ

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
BEYOND = {"lookupProfile", "queryTimeseries", "createKey", "createRebuild", "planDefinitions", "applyDefinitions"}
"""Operations with rules that a schema cannot say (exactly one of, to later than from, for one view only, what stands in
definitions); the same goes for cursors."""


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


RELEASED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "api_document.json").read_text())
"""The document of the release in which one process answered all; data/SOURCE.md."""


def operations(document: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(path, method): operation for path, methods in document["paths"].items() for method, operation in methods.items()}


def kept(then: Any, now: Any, where: str = "") -> list[str]:
    """Where `now` lacks something that `then` has. Of objects and lists there may be more now."""
    if isinstance(then, dict) and isinstance(now, dict):
        gone = [f"{where}/{name} is gone" for name in then if name not in now]
        return gone + [told for name in then.keys() & now.keys() for told in kept(then[name], now[name], f"{where}/{name}")]
    if isinstance(then, list) and isinstance(now, list):
        return [f"{where} lacks {one}" for one in then if one not in now]
    return [] if then == now else [f"{where} was {then}, is {now}"]


def test_what_is_taken_away_or_changed_is_found() -> None:
    document = json.loads(json.dumps(RELEASED))
    document["components"]["schemas"]["KeyShape"]["properties"].pop("ends_in")
    document["paths"]["/api/v1/keys"]["get"]["operationId"] = "keys"
    assert sorted(kept(RELEASED, document)) == [
        "/components/schemas/KeyShape/properties/ends_in is gone",
        "/paths//api/v1/keys/get/operationId was listKeys, is keys",
    ]


async def test_the_joined_document_says_all_that_the_released_one_says() -> None:
    """Operations with their ids, parameters, bodies and answers, to the letter. Later releases may add to an answer, and operations."""
    async with WORLD.client(None) as client:
        answer = await client.get("/api/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    joined = answer.json()
    assert kept(RELEASED, joined) == []
    now, then = operations(joined), operations(RELEASED)
    for at, operation in then.items():  # what a client sends: nothing more may be asked of it
        for part in ("operationId", "parameters", "requestBody", "security"):
            assert now[at].get(part) == operation.get(part), at
    bodies = set(re.findall(r"schemas/(\w+)", json.dumps([one.get("requestBody") for one in then.values()])))
    assert {name: joined["components"]["schemas"][name] for name in bodies} == {
        name: RELEASED["components"]["schemas"][name] for name in bodies
    }


def test_every_operation_is_of_one_service_and_comes_to_it_by_its_path() -> None:
    """An operation that a service has and whose path the proxy gives to the other would be there for nobody."""
    documents = {Backend.QUERY: WORLD.query.openapi(), Backend.CONTROL: WORLD.control.openapi()}
    owned = {backend: {path for path, _ in operations(document) if path.startswith("/api/v1/")} for backend, document in documents.items()}
    assert owned[Backend.QUERY] & owned[Backend.CONTROL] == set()
    assert {path: backend_of(path) for paths in owned.values() for path in paths} == {
        path: backend for backend, paths in owned.items() for path in paths
    }
    steps = {path.removeprefix("/api/v1/").split("/")[0].split(":")[0] for path in owned[Backend.CONTROL]}
    assert steps == OF_CONTROL, "the proxy's table names what control has, and nothing else"


def test_documents_of_different_releases_are_not_joined() -> None:
    other = json.loads(json.dumps(WORLD.control.openapi()))
    other["components"]["schemas"]["Problem"]["properties"].pop("field")
    with pytest.raises(ConflictError, match="Problem"):
        merged([WORLD.query.openapi(), other])


def test_every_operation_has_an_id_of_its_own_and_its_errors() -> None:
    document = WORLD.document()
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


@pytest.mark.parametrize("path", sorted(path for path in WORLD.document()["paths"] if path.startswith("/api/")))
async def test_no_operation_answers_without_a_key(path: str) -> None:
    async with WORLD.client(None) as client:
        for method in WORLD.document()["paths"][path]:
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
