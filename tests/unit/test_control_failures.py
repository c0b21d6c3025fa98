"""Dead letters and rejected events: listed newest first without a gap, replayed as the failed stage expects."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.control.domain.newest import newest, windows
from services.control.domain.replaying import Place, replayed
from shared.contracts.events import RejectedEvent
from shared.contracts.failed import FAILED_ENCODER, FailedRecord, FailureReason
from shared.contracts.slots import slot
from shared.contracts.topics import EVENT_REJECTED, FOLDER_REPLAYED, RECORD_FAILED
from shared.reading.log import LogRecord
from tests.api_stores import ADMIN
from tests.control_fakes import World

AT = 1_780_000_000_000


def letter(**changed: object) -> FailedRecord:
    whole = FailedRecord(
        stage="folder",
        topic="rapport.event.resolved.v1",
        partition=4,
        offset=77,
        reason=FailureReason.HANDLER_FAILED,
        detail="ValueError: ada@example.com",
        failed_at=AT,
        key=b"u:ada",
        value=b'{"type":"track"}',
        headers=[("cause", b"resolver|rapport.event.received.v1|2|9|0"), ("kind", b"merge"), ("merged_from", b"a:1")],
    )
    return msgspec.structs.replace(whole, **changed)


def put(world: World, record: FailedRecord, partition: int = 4, at: int = AT) -> str:
    offset = world.log.put(RECORD_FAILED, partition, FAILED_ENCODER.encode(record), at)
    return f"{partition}:{offset}"


def test_a_replayed_record_keeps_all_but_its_cause_and_says_where_it_was() -> None:
    again = replayed(letter(), Place(4, 12))
    assert (again.topic, again.partition, again.key, again.value) == (FOLDER_REPLAYED, slot("u:ada"), b"u:ada", b'{"type":"track"}')
    assert dict(again.headers) == {
        "kind": b"merge",
        "merged_from": b"a:1",
        "replay_of": b"4:12",
        "origin": b"rapport.event.resolved.v1|4|77",
        "origin_kind": b"merge",
    }


def test_a_late_record_keeps_the_origin_that_it_had() -> None:
    headers = [("origin", b"rapport.event.resolved.v1|1|5"), ("origin_kind", b"merge"), ("kind", b"late"), ("replay_of", b"0:1")]
    again = dict(replayed(letter(headers=headers), Place(4, 13)).headers)
    assert (again["origin"], again["origin_kind"], again["replay_of"]) == (b"rapport.event.resolved.v1|1|5", b"merge", b"4:13")


async def test_replaying_appends_to_the_failed_stages_own_topic() -> None:
    world = World()
    name = put(world, letter())
    answer = await world.post("dead-letters:replay", {"ids": [name]})
    assert answer.json() == {"data": [{"id": name, "replayed": True, "code": None, "message": None}]}
    (appended,) = world.log.appended
    assert appended.topic == FOLDER_REPLAYED


async def test_what_no_replay_can_mend_is_refused_and_the_others_go_through() -> None:
    world = World()
    names = [
        put(world, letter(key=None)),
        put(world, letter(key=b"\xff")),
        put(world, letter(stage="dispatcher")),
        put(world, letter(reason=FailureReason.TIMER_FAILED)),
        put(world, letter()),
        "7:123",
    ]
    outcomes = (await world.post("dead-letters:replay", {"ids": names})).json()["data"]
    assert [one["replayed"] for one in outcomes] == [False, False, False, False, True, False]
    assert [one["code"] for one in outcomes[:4]] == ["replay_refused"] * 4
    assert outcomes[5]["code"] == "unknown_record"
    assert len(world.log.appended) == 1


async def test_dead_letters_are_listed_newest_first_over_all_partitions() -> None:
    world = World()
    for n in range(30):
        put(world, letter(offset=n), partition=n % 3, at=AT + n)
    found, cursor = [], None
    while True:
        page = (await world.get("dead-letters", limit=7, **({} if cursor is None else {"cursor": cursor}))).json()
        found += [one["offset"] for one in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == list(reversed(range(30)))


async def test_a_filter_finds_what_is_rare() -> None:
    world = World()
    for n in range(60):
        put(world, letter(offset=n, stage="resolver" if n == 3 else "folder"), partition=n % 2, at=AT + n)
    found, cursor = [], None
    while True:
        page = (await world.get("dead-letters", limit=5, stage="resolver", **({} if cursor is None else {"cursor": cursor}))).json()
        found += [one["offset"] for one in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [3]


async def test_contents_are_for_keys_with_the_scope_personal() -> None:
    world = World()
    name = put(world, letter(value=b"\xff\x00"))
    clear = (await world.get(f"dead-letters/{name}")).json()
    assert (clear["value"], clear["kind"]) == ({"text": None, "base64": "/wA=", "bytes": 2, "cut": False}, "merge")
    hidden = await world.get(f"dead-letters/{name}", ADMIN)
    assert hidden.json()["value"] is None
    assert "ada@" not in hidden.text


async def test_rejected_events_are_shown_with_their_bytes_and_replayed_as_they_stand() -> None:
    world = World()
    original = '{"type":"trakc","userId":"é"}'.encode() * 300
    event = RejectedEvent(reason="unknown_type", message="type", received_at=AT, source_id="web", path="/v1/batch", original=original)
    raw = msgspec.json.encode(event)
    offset = world.log.put(EVENT_REJECTED, 1, raw, AT)
    listed = (await world.get("rejected-events", reason="unknown_type")).json()["data"][0]
    assert listed["original"]["cut"] is True
    whole = (await world.get(f"rejected-events/1:{offset}")).json()
    assert (whole["original"]["text"], whole["path"], whole["received_at"]) == (original.decode(), "/v1/batch", "2026-05-28T20:26:40.000Z")
    assert (await world.get("rejected-events", reason="too_deep")).json()["data"] == []
    await world.post("rejected-events:replay", {"ids": [f"1:{offset}"]})
    assert world.replays.taken == [raw]
    world.replays.refused.add(raw)
    (outcome,) = (await world.post("rejected-events:replay", {"ids": [f"1:{offset}"]})).json()["data"]
    assert (outcome["replayed"], outcome["code"]) == (False, "replay_refused")


async def test_without_kafka_failures_answer_503() -> None:
    world = World()
    world.log.away = True
    answer = await world.get("dead-letters")
    assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.booleans()), max_size=60), st.integers(1, 6))
def test_paging_backwards_shows_every_wanted_record_once(made: list[tuple[int, int, bool]], limit: int) -> None:
    logs: dict[int, list[LogRecord]] = {0: [], 1: [], 2: []}
    clock = 0
    for partition, step, wanted in made:
        clock += step
        log = logs[partition]
        log.append(LogRecord("t", partition, len(log) + 5, clock, None, b"y" if wanted else b"n", ()))
    bounds = {p: (5, 5 + len(log)) for p, log in logs.items()}
    found: list[LogRecord] = []
    before: dict[int, int] | None = {}
    while before is not None:
        read = windows(bounds, before, limit)
        records = [record for p, (start, end) in read.items() for record in logs[p][start - 5 : end - 5]]
        page, before = newest(records, read, bounds, limit, lambda record: record.value == b"y")
        assert len(page) <= limit
        found += page
    everything = [record for log in logs.values() for record in log if record.value == b"y"]
    assert found == sorted(everything, key=lambda one: (one.timestamp, one.partition, one.offset), reverse=True)
