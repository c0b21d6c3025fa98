# ruff: noqa: S608 numbers and names of this file only
"""How fast each GET of the query API answers where there is much: merges, messages, events, members. Ids only, made in SQL and in Redis."""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import redis

from shared.adapters.clickhouse import ClickHouse
from shared.adapters.store_settings import Address
from shared.contracts.link_blob import Links, encode_links
from shared.contracts.membership_blob import members_index
from shared.contracts.profile_blob import Profile, encode_profile, encode_recent
from shared.contracts.rebuilds import View
from shared.contracts.redis_keys import index_key, side_key, state_key
from shared.contracts.slots import slot
from shared.runtime.envelope import Entry, close_entry
from tests.bench.system import NotMeasuredError, System

MERGES, MESSAGES, EVENTS, TRANSITIONS = 1_000_000, 10_000_000, 1_000_000, 1_000_000
PEOPLE = 700_000
"""Merges and messages are spread over so many."""
LIVE, MEMBERS, CHAIN = 20_000, 100_000, 1_000
"""People whom Redis holds, and who are asked for; members of one segment; merges in a row of one person."""
PORTION = 250_000
SMALL_BLOCKS: dict[str, str | int] = {"max_block_size": 16_384, "min_insert_block_size_rows": 65_536, "min_insert_block_size_bytes": 2**25}
"""So that the local server makes them within the memory that it gives one statement."""
AT = 1_780_000_000_000
CALLS, WARM_UP = 200, 20
PARTS = ("kafka", "redis", "clickhouse", "topics", "migrations", "query", "control", "proxy")


@dataclass(frozen=True)
class Reads:
    """Seconds until an operation has answered, one call after another. `status`: the HTTP statuses that came."""

    p50: float
    p95: float
    status: str


def fill(system: System, say: Callable[[str], None], share: float = 1.0) -> None:
    """Put everything, or a share of it, where the services would have put it. Raises StoreAway, StoreRefused."""
    began = time.monotonic()
    store = ClickHouse(Address(system.env["RAPPORT_CLICKHOUSE_URL"]))
    for sql, whole in _inserts():
        rows = whole if whole == CHAIN else int(whole * share)
        for start in range(0, rows, PORTION):
            store.command(sql.format(numbers=f"numbers({start}, {min(PORTION, rows - start)})"), SMALL_BLOCKS)
    store.close()
    told = ", ".join(f"{int(rows * share):,} {what}" for what, rows in (("merges", MERGES), ("messages", MESSAGES), ("events", EVENTS)))
    say(f"{told} in ClickHouse after {time.monotonic() - began:.0f} s")
    with redis.Redis.from_url(system.env["RAPPORT_REDIS_URL"]) as live, live.pipeline(transaction=False) as pipe:
        for number in range(LIVE):
            _person(pipe, number)
            if number % 1000 == 999:
                pipe.execute()
        for number in range(MEMBERS):
            member = f"u:{number}"
            pipe.zadd(index_key("segmentation", slot(member), members_index(SEGMENT)), {member: AT + number // 1000})
            if number % 5000 == 4999:
                pipe.execute()
        _chain(pipe)
        pipe.execute()
    say(f"and their live view in Redis after {time.monotonic() - began:.0f} s")


SEGMENT = "new_customer"


def _inserts() -> list[tuple[str, int]]:
    """Statements with {numbers} in them, and how many rows each makes in all. What only the warehouse reads stays empty."""
    where = "_partition, _offset, _appended_at"
    stood = "number % 8, number, now64(3)"
    message = f"raw, profile_id, {where}, ledger, dispatch_id, entry_id, journey, step, channel, template, status, at, reason, provider"
    at = f"fromUnixTimestamp64Milli({AT} + number, 'UTC')"
    return [
        (
            f"INSERT INTO rapport.merges (raw, profile_id, {where}, loser, winner, at) "
            f"SELECT '', '', {stood}, concat('a:', toString(number)), concat('u:', toString(number % {PEOPLE})), {at} FROM {{numbers}}",
            MERGES,
        ),
        (
            f"INSERT INTO rapport.merges (raw, profile_id, {where}, loser, winner, at) "
            f"SELECT '', '', {stood}, concat('u:chain-', toString(number)), concat('u:chain-', toString(number + 1)), {at} "
            "FROM {numbers}",
            CHAIN,
        ),
        (
            f"INSERT INTO rapport.messages ({message}) SELECT '', concat('u:', toString(number % {PEOPLE})), {stood}, number, "
            "lower(hex(sipHash128(number))), 'e', 'welcome', 's', 'email', 't', if(number % 1000 = 0, 'failed', 'sent'), "
            f"{at}, '', 'smtp' FROM {{numbers}}",
            MESSAGES,
        ),
        (
            f"INSERT INTO rapport.events (raw, profile_id, {where}, message_id, source_id, type, event, timestamp, received_at, day) "
            f"SELECT '{{{{}}}}', if(number % 3 = 0, concat('a:', toString(number % {MERGES})), concat('u:', toString(number % {PEOPLE}))), "
            f"{stood}, toString(number), 'web', 'track', 'Product Viewed', {at}, {at}, toDate32({at}) FROM {{numbers}}",
            EVENTS,
        ),
        (
            f"INSERT INTO rapport.segment_transitions (raw, profile_id, {where}, segment, transition, at, decided_at, version, by_event) "
            f"SELECT '', concat('u:', toString(number % {PEOPLE})), {stood}, '{SEGMENT}', 'entered', {at}, {at}, 1, '' FROM {{numbers}}",
            TRANSITIONS,
        ),
    ]


def _stored(blob: bytes, winner: str | None = None, absorbed: set[str] | None = None) -> bytes:
    entry: Entry[bytes] = Entry()
    entry.winner, entry.absorbed = winner, absorbed
    return close_entry(entry, blob)


def _person(pipe: Any, number: int) -> None:
    """A user with a device that was merged into them."""
    person, device = f"u:{number}", f"a:{number}"
    profile = Profile(events=2, first_seen=AT, last_seen=AT, user_ids={str(number): AT}, anonymous_ids={str(number): AT})
    pipe.set(state_key("folder", person), _stored(encode_profile(profile), absorbed={device}))
    pipe.set(state_key("folder", device), _stored(b"", winner=person))
    pipe.set(state_key("resolver", device), _stored(encode_links(Links(forward=person, had=True))))
    pipe.zadd(side_key("folder", person), {encode_recent(f"m{n}", "track", "Product Viewed", 0, n): AT + n for n in range(5)})


def _chain(pipe: Any) -> None:
    """One person of CHAIN merges in a row."""
    names = [f"u:chain-{number}" for number in range(CHAIN + 1)]
    for loser, winner in pairwise(names):
        pipe.set(state_key("folder", loser), _stored(b"", winner=winner))
        pipe.set(state_key("resolver", loser), _stored(encode_links(Links(forward=winner, had=True))))
    profile = Profile(events=CHAIN, first_seen=AT, last_seen=AT, user_ids={"chain": AT})
    pipe.set(state_key("folder", names[-1]), _stored(encode_profile(profile), absorbed=set(names[:-1])))


def measure(system: System, say: Callable[[str], None]) -> dict[str, Reads]:
    """Each GET of the OpenAPI document, several ways where the way matters. Raises NotMeasuredError."""
    found = {}
    headers = {"authorization": f"Bearer {system.env['RAPPORT_QUERY_KEY']}"}
    with httpx.Client(base_url=system.env["RAPPORT_QUERY_URL"], headers=headers, timeout=30.0) as client:
        document = client.get("/api/v1/openapi.json").json()
        for name, template in ways(document).items():
            found[name] = _timed(client, template)
            say(f"{name}: p50 {found[name].p50 * 1000:.0f} ms, p95 {found[name].p95 * 1000:.0f} ms ({found[name].status})")
    return found


WAYS = {
    "/api/v1/profiles:lookup": {
        "": "?anonymous_id={number}",
        "by user id": "?user_id={number}",
        "of a thousand merges": "?user_id=chain-0",
    },
    "/api/v1/messages": {
        "": "",
        "later page": "?limit=100&cursor={cursor}",
        "a rare status": "?status=failed",
        "an open status": "?status=claimed",
        "a journey that is none": "?journey=nothing",
    },
    "/api/v1/rebuilds:plan": {f"of {view}": f"?view={view}" for view in View},
    "/api/v1/profiles/{profile_id}/messages": {"": "", "of a thousand merges": "#u%3Achain-0"},
    "/api/v1/profiles/{profile_id}/events": {"": "", "of a thousand merges": "#u%3Achain-0"},
}
"""Operation -> what is asked -> its query. Behind # stands a profile id in place of one that is drawn."""


NAMES = {"key": SEGMENT, "place_id": "0:0", "rebuild_id": "0" * 16, "kind": "segment", "name": SEGMENT}
"""What stands in paths beside ids of profiles. But for the segment, nothing is there by these."""


def ways(document: dict[str, Any]) -> dict[str, str]:
    """Each GET of an OpenAPI document, by its name and way: path and query, with what is drawn for each call in braces."""
    return {
        operations["get"]["operationId"] + (f", {way}" if way else ""): path + query
        for path, operations in document["paths"].items()
        if "get" in operations
        for way, query in WAYS.get(path, {"": ""}).items()
    }


def asked(template: str, number: int, cursor: str = "") -> str:
    """What to ask for with `number` drawn."""
    path, _, person = template.partition("#")
    return path.format(profile_id=person or f"a%3A{number}", number=number, cursor=cursor, **NAMES)


def _timed(client: httpx.Client, template: str) -> Reads:
    draw = random.Random(template)
    cursor = client.get("/api/v1/messages", params={"limit": 1000}).json().get("next_cursor", "") if "{cursor}" in template else ""
    took, statuses = [], set()
    for call in range(WARM_UP + CALLS):
        url = asked(template, draw.randrange(LIVE), cursor)
        began = time.monotonic()
        answer = client.get(url)
        if call >= WARM_UP:
            took.append(time.monotonic() - began)
            statuses.add(answer.status_code)
    if any(status >= 500 or status in (400, 401, 403, 429) for status in statuses):
        raise NotMeasuredError(f"{template}: answered {sorted(statuses)}")
    quantiles = statistics.quantiles(took, n=20)
    return Reads(statistics.median(took), quantiles[-1], ", ".join(map(str, sorted(statuses))))
