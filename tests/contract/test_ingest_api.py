"""The tracking API as SDKs see it, over a fake Kafka: paths, keys, bodies, CORS, statuses, what is written."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from confluent_kafka import KafkaError

from services.ingest.adapters.answers import GIF
from services.ingest.adapters.log_writer import counting_failures
from shared.testing.producers import Broker
from tests.contract.ingest_rig import BASIC, KEY, Rig

TRACK = {"event": "E", "userId": "u1", "messageId": "m1"}
TYPES = ("track", "identify", "page", "screen", "group", "alias")
SINGLE_PATHS = [f"/v1/{word}{slash}" for kind in TYPES for word in (kind, kind[0]) for slash in ("", "/")]
BATCH_PATHS = [f"{path}{slash}" for path in ("/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch") for slash in ("", "/")]
NEVER = {301, 302, 307, 308, 403, 404, 410, 413, 422, 501}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    async with made.client:
        yield made


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an error, checked for what every error must have."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["message"] == body["detail"] != ""
    return body


@pytest.mark.parametrize("path", SINGLE_PATHS)
async def test_every_single_path_takes_its_kind_of_call(rig: Rig, path: str) -> None:
    response = await rig.post(path, {"userId": "u", "event": "E", "groupId": "g", "previousId": "p"})
    assert (response.status_code, response.content) == (200, b'{"success":true}')
    word = path.strip("/").split("/")[-1]
    assert [event.type.value for event in rig.events()] == [kind for kind in TYPES if word in (kind, kind[0])]


@pytest.mark.parametrize("path", BATCH_PATHS)
async def test_every_batch_path_takes_batches(rig: Rig, path: str) -> None:
    response = await rig.post(path, {"batch": [TRACK | {"type": "track"}, {"type": "identify", "userId": "u2"}]})
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert [event.user_id for event in rig.events()] == ["u1", "u2"]


async def test_sdk_statistics_are_taken_and_dropped(rig: Rig) -> None:
    assert (await rig.post("/v1/m", {"series": []}, {})).json() == {"success": True}
    assert rig.producer.log == []


@pytest.mark.parametrize(
    ("headers", "body_key", "query_key", "expected"),
    [
        (BASIC, "wk_bad", "wk_bad", 200),
        ({"authorization": "Basic " + base64.b64encode(KEY.encode()).decode()}, None, None, 200),
        ({"authorization": "Basic " + base64.b64encode(b"wk_bad:").decode()}, KEY, KEY, 401),
        ({}, KEY, "wk_bad", 200),
        ({}, "wk_bad", KEY, 401),
        ({}, None, KEY, 200),
        ({"authorization": f"Bearer {KEY}"}, None, None, 200),
        ({"authorization": f"Bearer {KEY}"}, None, "wk_bad", 401),
        ({"authorization": "Basic ???"}, KEY, None, 200),
        ({}, None, None, 401),
    ],
)
async def test_write_keys_are_looked_for_in_order(
    rig: Rig, headers: dict[str, str], body_key: str | None, query_key: str | None, expected: int
) -> None:
    body = {"batch": [TRACK | {"type": "track"}]} | ({"writeKey": body_key} if body_key else {})
    response = await rig.post("/v1/batch", body, headers, params={"writeKey": query_key} if query_key else None)
    assert response.status_code == expected
    assert len(rig.events()) == (expected == 200)


async def test_401_is_said_only_when_the_keys_are_read_to_the_end(rig: Rig) -> None:
    unknown = {"authorization": f"Bearer {KEY}2"}
    rig.keys.read_to_end = False
    assert "retry-after" in (await rig.post("/v1/track", TRACK, unknown)).headers
    problem(await rig.post("/v1/track", TRACK, unknown), 503, "keys_not_read")
    rig.keys.read_to_end, rig.keys.reachable = True, False
    problem(await rig.post("/v1/track", TRACK, unknown), 503, "keys_not_read")
    rig.keys.reachable = True
    problem(await rig.post("/v1/track", TRACK, unknown), 401, "unknown_write_key")


async def test_a_key_made_a_moment_ago_works_at_once(rig: Rig) -> None:
    record = rig.keys.write_key("wk_new", "app")
    rig.keys.late[record.hash] = record
    assert (await rig.post("/v1/track", TRACK, {"authorization": "Bearer wk_new"})).status_code == 200
    assert rig.events()[0].source_id == "app"


async def test_revoked_and_expired_keys_are_unknown(rig: Rig) -> None:
    for secret, record in (
        ("wk_revoked", rig.keys.write_key("wk_revoked", "x", revoked_at=1)),
        ("wk_expired", rig.keys.write_key("wk_expired", "x", expires_at=1)),
    ):
        rig.keys.keys[record.hash] = record
        problem(await rig.post("/v1/track", TRACK, {"authorization": f"Bearer {secret}"}), 401, "unknown_write_key")


async def test_a_revoked_key_stops_working_when_the_change_arrives(rig: Rig) -> None:
    assert (await rig.post("/v1/track", TRACK)).status_code == 200
    record = rig.keys.write_key(KEY, "shop", revoked_at=1)
    rig.keys.keys[record.hash] = record
    rig.keyring.forget()
    problem(await rig.post("/v1/track", TRACK), 401, "unknown_write_key")


async def test_a_flood_of_one_unknown_key_asks_kafka_once(rig: Rig) -> None:
    await asyncio.gather(*(rig.post("/v1/track", TRACK, {"authorization": "Bearer nope"}) for _ in range(50)))
    assert rig.keys.questions == 1


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "application/json", "x"])
async def test_the_content_type_does_not_matter_and_gzip_is_recognised(rig: Rig, content_type: str) -> None:
    headers = BASIC | {"content-type": content_type}
    assert (await rig.post("/v1/track", TRACK, headers)).status_code == 200
    assert (await rig.post("/v1/track", gzip.compress(json.dumps(TRACK).encode()), headers)).status_code == 200
    headers["content-encoding"] = "gzip"
    assert (await rig.post("/v1/track", gzip.compress(json.dumps(TRACK).encode()), headers)).status_code == 200
    assert len(rig.events()) == 3


async def test_a_chunked_body_is_read_to_its_end(rig: Rig) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in gzip.compress(json.dumps(TRACK).encode()):
            yield bytes([byte])

    response = await rig.client.post("/v1/track", content=chunks(), headers=BASIC | {"content-encoding": "gzip"})
    assert response.status_code == 200
    assert rig.events()[0].user_id == "u1"


async def test_an_oversize_body_is_cut_off_while_it_streams(rig: Rig) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 65_536
            yield b" " * 65_536

    response = await rig.client.post("/v1/batch", content=endless(), headers=BASIC)
    problem(response, 400, "body_too_large")
    assert response.headers["connection"] == "close"
    problem(await rig.post("/v1/batch", b"{}", BASIC | {"content-length": "5000000"}), 400, "body_too_large")


async def test_a_stalled_body_is_not_waited_for_for_ever() -> None:
    rig = Rig(body_timeout_seconds=0.05)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    problem(await rig.client.post("/v1/batch", content=stalled(), headers=BASIC), 503, "body_timeout")


@pytest.mark.parametrize(
    ("path", "body", "code", "field"),
    [
        ("/v1/track", b"{", "malformed_json", None),
        ("/v1/track", b"[]", "not_an_object", None),
        ("/v1/track", {"userId": "u"}, "missing_field", "event"),
        ("/v1/track", {"event": "E"}, "missing_identity", "userId"),
        ("/v1/track", TRACK | {"properties": 3}, "invalid_field", "properties"),
        ("/v1/track", TRACK | {"messageId": "m" * 101}, "invalid_field", "messageId"),
        ("/v1/track", TRACK | {"properties": {"x": "y" * 33_000}}, "event_too_large", None),
        ("/v1/batch", b"", "malformed_json", None),
        ("/v1/batch", {"batch": []}, "empty_batch", "batch"),
        ("/v1/batch", {"batch": [{}] * 2501}, "too_many_events", "batch"),
        ("/v1/batch", {"events": []}, "invalid_field", "batch"),
    ],
)
async def test_an_invalid_request_is_a_400_that_names_the_field(rig: Rig, path: str, body: Any, code: str, field: str | None) -> None:
    assert problem(await rig.post(path, body), 400, code).get("field") == field


async def test_an_invalid_single_call_is_kept_with_its_bytes(rig: Rig) -> None:
    body = b'{"event":"E"}'
    await rig.post("/v1/track", body)
    [kept] = rig.rejected()
    assert (kept.reason, kept.field, kept.path, kept.source_id, kept.original) == ("missing_identity", "userId", "/v1/track", "shop", body)
    assert rig.producer.log[0].key == b"shop"


async def test_one_bad_event_does_not_fail_the_batch(rig: Rig) -> None:
    bad = {"type": "track", "userId": "u"}
    response = await rig.post("/v1/batch", {"batch": [TRACK | {"type": "track"}, bad], "context": {"ip": "1.2.3.4"}})
    assert response.status_code == 200
    assert len(rig.events()) == 1
    [kept] = rig.rejected()
    assert json.loads(kept.original) == bad
    assert bytes(kept.around["context"]) == b'{"ip": "1.2.3.4"}'


async def test_a_rejected_event_is_replayed_through_the_same_parser_and_counts_once(rig: Rig) -> None:
    long = {"type": "track", "event": "E", "userId": "u", "timestamp": "2020-01-01T00:00:00Z", "properties": {"x": "y" * 40_000}}
    body = {"batch": [long], "context": {"ip": "1.2.3.4"}, "sentAt": "2020-01-01T00:00:01Z"}
    await rig.post("/v1/batch", body)
    [kept] = rig.rejected()
    value = rig.producer.log[0].value
    problem(await rig.post("/internal/v1/replay", value, {}), 401, "unknown_write_key")
    problem(await rig.post("/internal/v1/replay", value, {"authorization": "Bearer inside"}), 400, "event_too_large")
    assert len(rig.rejected()) == 1
    larger = Rig(max_event_bytes=262_144)
    for _ in range(2):
        assert (await larger.post("/internal/v1/replay", value, {"authorization": "Bearer inside"})).status_code == 200
    first, second = larger.events()
    assert first == second
    assert (first.received_at, first.timestamp) == (kept.received_at, kept.received_at - 1000)
    assert bytes(first.context) == b'{"ip": "1.2.3.4"}'
    assert first.source_id == "shop"


async def test_without_an_internal_token_nobody_replays() -> None:
    rig = Rig()
    object.__setattr__(rig.settings, "internal_token", None)
    problem(await rig.post("/internal/v1/replay", b"{}", {"authorization": "Bearer "}), 401, "unknown_write_key")


async def test_a_retry_keeps_its_original_time(rig: Rig) -> None:
    body = TRACK | {"timestamp": "2026-01-01T00:00:00Z", "sentAt": "2026-01-01T00:00:10Z"}
    for headers in ({}, {"x-retry-count": "0"}, {"x-retry-count": "1"}, {"rsa-retry-attempt": "2"}):
        await rig.post("/v1/track", body, BASIC | headers)
    corrected = [event.timestamp != 1_767_225_600_000 for event in rig.events()]
    assert corrected == [True, True, False, False]


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/t", "/beacon/v1/batch", "/sourceConfig/", "/v1/projects/k/settings", "/nowhere"])
async def test_preflights_are_allowed_what_they_ask_for(rig: Rig, path: str) -> None:
    asked = "authorization,anonymousid,content-type,sentat,rsa-retry-attempt"
    headers = {"origin": "https://shop.example", "access-control-request-method": "POST", "access-control-request-headers": asked}
    response = await rig.client.options(path, headers=headers)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "https://shop.example"
    assert response.headers["access-control-allow-headers"] == asked
    assert "POST" in response.headers["access-control-allow-methods"]
    assert int(response.headers["access-control-max-age"]) >= 600


async def test_browsers_may_read_retry_after_on_every_answer(rig: Rig) -> None:
    origin = {"origin": "https://shop.example"}
    for path, body, headers in (
        ("/v1/track", TRACK, BASIC),
        ("/v1/track", b"{", BASIC),
        ("/v1/track", TRACK, {}),
        ("/nowhere", b"", {}),
    ):
        response = await rig.post(path, body, headers | origin)
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
        assert response.headers["access-control-expose-headers"] == "Retry-After"
    assert "access-control-allow-origin" not in (await rig.post("/v1/track", TRACK)).headers


async def test_kafka_refusing_is_a_503_and_then_a_fast_one(rig: Rig) -> None:
    rig.producer.broker = Broker.REFUSING
    first = await rig.post("/v1/batch", {"batch": [TRACK | {"type": "track"}]})
    problem(first, 503, "kafka_unavailable")
    assert first.headers["retry-after"].isdigit()
    rig.producer.broker = Broker.SILENT  # whoever asked it now would wait for ever
    problem(await asyncio.wait_for(rig.post("/v1/track", TRACK), 5), 503, "kafka_unavailable")
    assert rig.events() == []


async def test_the_circuit_closes_when_kafka_answers_again(rig: Rig) -> None:
    rig.producer.broker = Broker.REFUSING
    await rig.post("/v1/track", TRACK)
    rig.producer.broker = Broker.WELL
    rig.writer.start()
    try:
        await _until(lambda: rig.writer.available)
        assert (await rig.post("/v1/track", TRACK)).status_code == 200
    finally:
        await rig.writer.close(1)


async def test_silence_of_kafka_turns_into_503s(rig: Rig) -> None:
    rig.writer.start()
    await _until(lambda: rig.writer.available)
    rig.producer.broker, rig.producer.waited = Broker.SILENT, 100.0
    await _until(lambda: not rig.writer.available)
    problem(await asyncio.wait_for(rig.post("/v1/track", TRACK), 5), 503, "kafka_unavailable")
    await rig.writer.close(1)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 the condition is no event of ours
            await asyncio.sleep(0.01)


async def test_a_full_queue_is_a_429_with_an_integer_retry_after(rig: Rig) -> None:
    rig.producer.broker = Broker.FULL
    response = await rig.post("/v1/track", TRACK)
    problem(response, 429, "overloaded")
    assert response.headers["retry-after"] == "1"


async def test_a_key_above_its_rate_is_told_to_wait() -> None:
    rig = Rig(rate_per_key=10)
    assert (await rig.post("/v1/batch", {"batch": [TRACK | {"type": "track"}] * 10})).status_code == 200
    response = await rig.post("/v1/batch", {"batch": [TRACK | {"type": "track"}] * 10})
    problem(response, 429, "rate_limited")
    assert int(response.headers["retry-after"]) >= 1
    assert len(rig.events()) == 10


async def test_a_failed_delivery_is_counted_and_a_fatal_one_ends_the_process(rig: Rig) -> None:
    ended: list[bool] = []
    failed = counting_failures(rig.metrics, lambda: ended.append(True))
    failed(KafkaError(KafkaError._MSG_TIMED_OUT))
    assert ended == []
    failed(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    assert ended == [True]
    assert "rapport_ingest_produce_errors_total 2.0" in rig.exposed()


async def test_pixels_are_taken_from_their_address(rig: Rig) -> None:
    data = base64.urlsafe_b64encode(json.dumps(TRACK | {"writeKey": KEY}).encode()).decode().rstrip("=")
    response = await rig.client.get("/v1/pixel/track", params={"data": data})
    assert (response.status_code, response.headers["content-type"], response.content) == (200, "image/gif", GIF)
    query = {"writeKey": KEY, "anonymousId": "a1", "context.page.url": "http://x/y", "properties.path": "/y", "name": "Home"}
    assert (await rig.client.get("/pixel/v1/page", params=query)).content == GIF
    track, page = rig.events()
    assert (track.event, track.user_id, page.type.value, page.anonymous_id, page.name) == ("E", "u1", "page", "a1", "Home")
    assert json.loads(bytes(page.context)) == {"page": {"url": "http://x/y"}}
    assert json.loads(bytes(page.properties)) == {"path": "/y"}
    assert page.extra == {}
    problem(await rig.client.get("/v1/pixel/track?data=!!!"), 400, "invalid_data")


async def test_a_beacon_needs_no_header(rig: Rig) -> None:
    response = await rig.post(f"/beacon/v1/batch?writeKey={KEY}", {"batch": [TRACK | {"type": "track"}]}, {"content-type": "text/plain"})
    assert response.status_code == 200
    assert len(rig.events()) == 1


async def test_segments_browser_sdk_learns_where_to_send(rig: Rig) -> None:
    response = await rig.client.get(f"/v1/projects/{KEY}/settings", headers={"origin": "http://shop.example"})
    destination = {"apiKey": KEY, "apiHost": "ingest.test:8080/v1", "protocol": "http"}
    assert response.json() == {"integrations": {"Segment.io": destination}, "metrics": {"sampleRate": 0}}
    assert response.headers["access-control-allow-origin"] == "http://shop.example"
    problem(await rig.client.get("/v1/projects/nope/settings"), 401, "unknown_write_key")
    public = Rig(public_url="https://events.example/in")
    destination = (await public.client.get(f"/v1/projects/{KEY}/settings")).json()["integrations"]["Segment.io"]
    assert destination == {"apiKey": KEY, "apiHost": "events.example/in/v1", "protocol": "https"}


@pytest.mark.parametrize("path", ["/sourceConfig", "/sourceConfig/"])
async def test_rudders_sdks_get_a_source(rig: Rig, path: str) -> None:
    for response in (
        await rig.client.get(path, headers=BASIC, params={"p": "npm", "v": "3"}),
        await rig.client.get(path, params={"writeKey": KEY}),
    ):
        source = response.json()["source"]
        assert (source["id"], source["writeKey"], source["enabled"], source["destinations"]) == ("shop", KEY, True, [])
    problem(await rig.client.get(path), 401, "missing_write_key")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track/", "/nowhere", "/", "/v1/", "/v1//batch", "/healthz", "/v1/pixel/nope"])
async def test_no_path_or_method_gets_a_status_that_stops_an_sdk(rig: Rig, method: str, path: str) -> None:
    response = await rig.client.request(method, path)
    assert response.status_code not in NEVER
    assert response.status_code < 500
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"


async def test_counts_are_told(rig: Rig) -> None:
    await rig.post("/v1/batch", {"batch": [TRACK | {"type": "track"}, {"type": "page", "anonymousId": "undefined"}]})
    text = rig.exposed()
    assert 'rapport_ingest_events_received_total{type="track"} 1.0' in text
    assert 'rapport_ingest_events_rejected_total{reason="missing_identity"} 1.0' in text
    assert 'rapport_ingest_unusable_ids_total{field="anonymousId"} 1.0' in text
    assert 'rapport_ingest_requests_total{code="200"} 1.0' in text


async def test_health_needs_no_key(rig: Rig) -> None:
    assert (await rig.client.get("/healthz")).json() == {"status": "ok"}
    assert (await rig.client.get("/readyz")).json() == {"status": "ready", "parts": {"kafka": "ok"}}
