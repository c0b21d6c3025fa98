"""The stores of the API in memory, over the same ports as the real ones, and a client of an application."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx

from services.control.domain.replaying import Append
from shared.contracts.control import KEY_CHANGED_DECODER, KeyChanged, KeyKind, key_hash
from shared.contracts.key_signature import KeyStates
from shared.contracts.link_blob import Links, encode_links
from shared.contracts.membership_blob import Membership, encode_membership, members_index
from shared.contracts.profile_blob import Profile, encode_profile
from shared.contracts.rebuilds import REBUILD_DECODER, RebuildChanged
from shared.contracts.redis_keys import index_key, state_key
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import KEY_CHANGED, REBUILD_CHANGED
from shared.http.access import Scope
from shared.http.public_fields import public_fields
from shared.http.reasons import Code, Refused
from shared.reading.away import HistoryAway, LiveAway, LogAway
from shared.reading.keeping import Standing
from shared.reading.log import LogRecord
from shared.reading.questions import Question
from shared.runtime.envelope import Entry, close_entry
from tests.applied import first_set_of
from tests.definition_log import MemoryDefinitionLog
from tests.key_secrets import SECRETS

SHIPPED_CATALOGUE = public_fields(first_set_of())
FULL, READ, ADMIN = "qk_full", "qk_read", "qk_admin"
CREATED = 1_700_000_000_000


class MemorySpace:
    """KeySpace over dictionaries; `away` makes every call fail as a dead Redis does."""

    def __init__(self) -> None:
        self.strings: dict[str, bytes] = {}
        self.hash: dict[str, dict[str, str]] = {}
        self.sets: dict[str, list[tuple[float, bytes]]] = {}
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise LiveAway("switched off")

    async def texts(self, keys: Sequence[str]) -> list[bytes | None]:
        self._check()
        return [self.strings.get(key) for key in keys]

    async def fields(self, key: str, names: Sequence[str]) -> list[bytes | None]:
        self._check()
        found = self.hash.get(key, {})
        return [found[name].encode() if name in found else None for name in names]

    async def hashes(self, keys: Sequence[str]) -> list[dict[str, str]]:
        self._check()
        return [self.hash.get(key, {}) for key in keys]

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        self._check()
        return [len(self.sets.get(key, [])) for key in keys]

    async def slices(self, asked: Sequence[tuple[str, int, int]]) -> list[list[tuple[bytes, float]]]:
        self._check()
        found = []
        for key, first, last in asked:
            members = self.sets.get(key, [])
            found.append([(member, score) for score, member in members[first : None if last == -1 else last + 1]])
        return found

    async def answers(self) -> bool:
        return not self.away

    def add(self, key: str, score: float, member: bytes) -> None:
        bisect.insort(self.sets.setdefault(key, []), (score, member))

    def remove(self, key: str, member: bytes) -> None:
        self.sets[key] = [one for one in self.sets[key] if one[1] != member]

    def state(self, stage: str, key: str, blob: bytes, awaiting: set[str] | None = None, absorbed: set[str] | None = None) -> None:
        entry: Entry[bytes] = Entry()
        entry.awaiting, entry.absorbed = awaiting, absorbed
        self.strings[state_key(stage, key)] = close_entry(entry, blob)

    def marker(self, stage: str, key: str, winner: str) -> None:
        entry: Entry[bytes] = Entry()
        entry.winner = winner
        self.strings[state_key(stage, key)] = close_entry(entry, b"")

    def profile(self, key: str, profile: Profile, awaiting: set[str] | None = None, absorbed: set[str] | None = None) -> None:
        self.state("folder", key, encode_profile(profile), awaiting, absorbed)

    def link(self, typed: str, forward: str | None = None, had: bool = True) -> None:
        self.state("resolver", typed, encode_links(Links(forward=forward, had=had)))

    def member(self, segment: str, profile_id: str, since: int) -> None:
        self.add(index_key("segmentation", slot(profile_id), members_index(segment)), since, profile_id.encode())
        self.state("segmentation", profile_id, encode_membership(Membership(version=1, members={segment: since})))


class MemoryHistory:
    """Canned rows by the question's name; remembers what was asked."""

    def __init__(self, rows: Mapping[str, list[dict[str, Any]]] | None = None) -> None:
        self.canned = dict(rows or {})
        self.asked: list[Question] = []
        self.away = False
        self.kept = Standing()

    async def standing(self) -> Standing:
        if self.away:
            raise HistoryAway("switched off")
        return self.kept

    async def notes(self, question: Question) -> list[dict[str, Any]]:
        return await self.rows(question)

    async def rows(self, question: Question) -> list[dict[str, Any]]:
        if self.away:
            raise HistoryAway("switched off")
        self.asked.append(question)
        return self.canned.get(question.name, [])

    async def answers(self) -> bool:
        return not self.away


class MemoryLog:
    """A log, read and appended to; `keys` hears of key records as a follower would."""

    def __init__(self, stores: Mapping[KeyKind, "MemoryKeys"]) -> None:
        self.records: dict[tuple[str, int], list[LogRecord]] = {}
        self.appended: list[Append] = []
        self.acked: dict[tuple[str, tuple[str, int]], int] = {}
        self.begins: dict[tuple[str, int], int] = {}
        self.orders: list[RebuildChanged] = []
        self.away = False
        self._stores = stores

    def _check(self) -> None:
        if self.away:
            raise LogAway("switched off")

    def put(self, topic: str, partition: int, value: bytes, timestamp: int, key: bytes | None = None) -> int:
        kept = self.records.setdefault((topic, partition), [])
        kept.append(LogRecord(topic, partition, len(kept), timestamp, key, value, ()))
        return len(kept) - 1

    async def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        self._check()
        return {where: len(self.records.get(where, [])) for where in partitions}

    async def starts(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        self._check()
        return {where: self.begins.get(where, 0) for where in partitions}

    async def began(self, partitions: Iterable[tuple[str, int]]) -> int | None:
        self._check()
        kept = (record for where in partitions for record in self.records.get(where, []) if record.offset >= self.begins.get(where, 0))
        return min((record.timestamp for record in kept), default=None)

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        self._check()
        return {p: (0, len(self.records.get((topic, p), []))) for p in range(partition_count())}

    async def committed(self, group: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        self._check()
        return {where: self.acked[group, where] for where in partitions if (group, where) in self.acked}

    async def read(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> list[LogRecord]:
        self._check()
        return [record for p, (start, end) in ranges.items() for record in self.records[topic, p][start:end]]

    async def append(self, records: Sequence[Append]) -> None:
        self._check()
        for record in records:
            self.appended.append(record)
            if record.topic == KEY_CHANGED:
                changed = KEY_CHANGED_DECODER.decode(record.value or b"")
                assert KeyStates(SECRETS).take(record.key, record.value, record.headers) is None, "not signed"
                self._stores[changed.kind].keys[changed.hash] = changed
            if record.topic == REBUILD_CHANGED:
                order = REBUILD_DECODER.decode(record.value or b"")
                kept = [one for one in self.orders if one.id != order.id]
                self.orders = sorted([order, *kept], key=lambda one: -one.generation)

    def caught_up(self, seconds: float) -> bool:
        return not self.away


class MemoryKeys:
    """A KeyStore. `certain`: whether the log could be asked."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyChanged] = {}
        self.trouble: str | None = None
        self.certain = True

    def caught_up(self, seconds: float) -> bool:
        return self.certain

    def add(self, secret: str, *scopes: str, expires_at: int | None = None, revoked_at: int | None = None) -> None:
        hashed = key_hash(secret)
        self.keys[hashed] = KeyChanged(
            kind=KeyKind.QUERY,
            hash=hashed,
            name=secret,
            created_at=CREATED,
            scopes=list(scopes),
            expires_at=expires_at,
            revoked_at=revoked_at,
            hint=secret[-4:],
        )


class MemoryReplays:
    """Ingest's replay: takes everything but what is in `refused`."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.refused: set[bytes] = set()

    async def replay(self, record: bytes) -> None:
        if record in self.refused:
            raise Refused(409, Code.REPLAY_REFUSED, "still not acceptable")
        self.taken.append(record)


class Stores:
    """Everything in memory, and three query keys."""

    def __init__(self) -> None:
        self.space = MemorySpace()
        self.history = MemoryHistory()
        self.keys = {kind: MemoryKeys() for kind in KeyKind}
        self.log = MemoryLog(self.keys)
        self.replays = MemoryReplays()
        self.definitions = MemoryDefinitionLog()
        self.now_ms = CREATED + 1000
        self.query_keys = self.keys[KeyKind.QUERY]
        self.query_keys.add(FULL, *(scope.value for scope in Scope))
        self.query_keys.add(READ, "read")
        self.query_keys.add(ADMIN, "read", "admin")


class Client:
    """A client of `app`, with the full key unless another is named."""

    app: Any

    def client(self, key: str | None = FULL) -> httpx.AsyncClient:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)

    async def get(self, path: str, key: str | None = FULL, **query: Any) -> httpx.Response:
        async with self.client(key) as client:
            return await client.get(f"/api/v1/{path}", params=query)

    async def post(self, path: str, body: Any, key: str | None = FULL, headers: Mapping[str, str] | None = None) -> httpx.Response:
        async with self.client(key) as client:
            return await client.post(f"/api/v1/{path}", json=body, headers=headers)
