"""The state of slots in Redis (7.0 or later; Valkey too): one Lua call a commit, one a load."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import hiredis
import redis.asyncio as redis
from redis.exceptions import BusyLoadingError, ConnectionError, NoScriptError, ReadOnlyError, ResponseError, TimeoutError

from shared.adapters.redis_client import redis_client
from shared.adapters.store_settings import Address
from shared.contracts.redis_keys import meta_key, outbox_key, slot_prefix, timers_key
from shared.runtime.envelope import HEAD_BYTES, due_of, is_marker
from shared.runtime.forgetting import damage
from shared.runtime.ports import Commit, Fenced, RolledBack, StoreAway, waiting_for_update

COMMIT: Final = (Path(__file__).parent / "commit.lua").read_text()
FORGET: Final = (Path(__file__).parent / "forget.lua").read_text()
SCORED: Final = (Path(__file__).parent / "scored.lua").read_text()
HOLD: Final = (Path(__file__).parent / "hold.lua").read_text()
SCANNED: Final = 500
"""Keys that one step of forgetting, or of making timers again, looks at, and so the most that it deletes or reads."""
SIDES: Final = (Path(__file__).parent / "sides.lua").read_text()
LOAD: Final = (Path(__file__).parent / "load.lua").read_text()
TRANSIENT: Final = ("OOM", "MISCONF", "LOADING", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN")
"""Errors by which Redis says that it cannot now: it is waited for."""


class _Packing(redis.Connection):
    """Packs commands in C: a commit has thousands of arguments, and redis-py's asyncio connection packs them one by one in Python."""

    def pack_command(self, *args: Any) -> list[bytes]:
        name = args[0] if isinstance(args[0], str) else args[0].decode()
        return [hiredis.pack_command((*name.split(), *args[1:]))]  # Redis wants `SCRIPT LOAD` as two words


class _PackingTls(_Packing, redis.SSLConnection):
    """The same by TLS."""


def connect(where: Address, timeout_s: float = 5.0) -> redis.Redis:
    """A client for Redis at `where`; no connection is made yet. A call that gets no answer in `timeout_s` fails."""
    return redis_client(where, timeout_s, _Packing, _PackingTls, health_check_interval=0, max_connections=64)


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Turn 'Redis does not answer' into StoreAway; every other error stays what it is."""
    try:
        yield
    except (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OSError) as error:
        raise StoreAway(f"Redis does not answer: {error}") from error
    except ResponseError as error:
        if str(error).startswith(TRANSIENT):
            raise StoreAway(f"Redis refuses writes: {error}") from error
        raise


def _ok(answer: bytes, wanted: str) -> None:
    """Raises Fenced, RolledBack for what a script refuses."""
    if answer == b"fenced":
        raise Fenced("the slot has another owner")
    if answer != b"ok":
        raise RolledBack(f"wanted to {wanted}, Redis answered: {answer.decode()}")


class RedisStore:
    """One slot's keys (contracts/redis_keys.py)."""

    def __init__(self, client: redis.Redis, stage: str, partition: int) -> None:
        self._client = client
        self._prefix = slot_prefix(stage, partition)
        self._meta = meta_key(stage, partition)
        self._outbox = outbox_key(stage, partition)
        self._timers = timers_key(stage, partition)
        self._shas: dict[str, str] = {}

    async def take_over(self, token: str) -> tuple[dict[str, str], bytes]:
        async with answering(), self._client.pipeline(transaction=True) as pipe:
            pipe.hset(self._meta, "token", token)
            pipe.hgetall(self._meta)
            pipe.get(self._outbox)
            _, fields, outbox = await pipe.execute()
        del fields[b"token"]
        fields.pop(b"kept", None)
        return {name.decode(): value.decode() for name, value in fields.items()}, outbox or b""

    async def holds(self) -> tuple[str, int]:
        async with answering():
            token, seq = cast(list[bytes | None], await self._client.hmget(self._meta, ["token", "seq"]))
        return (token or b"").decode(), int(seq or 0)

    async def load(self, keys: Sequence[str], limit: int) -> list[bytes | None]:
        prefix = self._prefix + "s:"
        async with answering():
            return cast(list[bytes | None], await self._call(LOAD, [prefix + key for key in keys], [limit]))

    async def sides(self, keys: Sequence[str]) -> list[list[tuple[float, bytes]]]:
        prefix = self._prefix + "x:"
        async with answering():
            found = cast(list[list[bytes]], await self._call(SIDES, [prefix + key for key in keys], []))
        return [[(float(score), member) for member, score in zip(one[::2], one[1::2], strict=True)] for one in found]

    async def indexes(self, names: Sequence[str]) -> list[list[str]]:
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.zrange(f"{self._prefix}i:{name}", 0, -1)
            found = cast(list[list[bytes]], await pipe.execute())
        return [[member.decode() for member in members] for members in found]

    async def in_index(self, members: Sequence[tuple[str, str]]) -> list[bool]:
        asked: dict[str, dict[str, bool]] = {}
        for name, member in members:
            asked.setdefault(name, {})[member] = False
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for name, of in asked.items():
                pipe.zmscore(f"{self._prefix}i:{name}", list(of))
            for of, scores in zip(asked.values(), await pipe.execute(), strict=True):
                of.update(zip(of, (score is not None for score in scores), strict=True))
        return [asked[name][member] for name, member in members]

    async def commit(self, commit: Commit) -> None:
        prefix = self._prefix
        keys = [self._meta, self._outbox, self._timers]
        values: list[Any] = [commit.token, commit.seq, commit.outbox, commit.side_cap]
        values += map(len, (commit.meta, commit.states, commit.timers, commit.indexes, commit.sides, commit.side_drops, commit.gone))
        for pair in commit.meta.items():
            values += pair
        keys += [f"{prefix}s:{key}" for key in commit.states]
        values += commit.states.values()
        for timer in commit.timers.items():
            values += timer
        for op in commit.indexes:
            keys.append(f"{prefix}i:{op.index}")
            values += (op.member, "" if op.score is None else op.score)
        for key, score, member in commit.sides:
            keys.append(f"{prefix}x:{key}")
            values += (score, member)
        keys += [f"{prefix}x:{key}" for key in commit.side_drops]
        keys += [f"{prefix}s:{key}" for key in commit.gone]
        async with answering():
            answer = cast(bytes, await self._call(COMMIT, keys, values))
        _ok(answer, f"make commit {commit.seq}")

    async def damage(self, outbox: bool = True) -> str | None:
        async with answering(), self._client.pipeline(transaction=True) as pipe:
            pipe.hmget(self._meta, ["seq", "kept"])
            pipe.zcard(self._timers)
            pipe.strlen(self._outbox)
            (seq, kept), timers, length = await pipe.execute()
        return damage(None if seq is None else int(seq), None if kept is None else kept.decode(), timers, length if outbox else None)

    async def index_page(self, name: str, after: str, limit: int) -> list[str]:
        async with answering():
            first = f"({after}" if after else "-"
            found = await self._client.zrange(f"{self._prefix}i:{name}", cast(Any, first), cast(Any, "+"), bylex=True, offset=0, num=limit)
        return [member.decode() for member in cast(list[bytes], found)]

    async def index_states(self, token: str, name: str) -> None:
        async for states in self._states():
            members = [one for key, head in states if not is_marker(head) for one in (0, key)]
            await self._scored(token, f"{self._prefix}i:{name}", "", members)

    async def restore_timers(self, token: str) -> None:
        await self._scored(token, self._timers, "all", [])
        async for states in self._states():
            with waiting_for_update():
                due = [(due_of(head), key) for key, head in states]
            await self._scored(token, self._timers, "", [one for at, key in due if at for one in (at, key)])

    async def _states(self) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """(key, the first HEAD_BYTES of what is stored) of all states, in bounded pieces."""
        cursor = -1
        while cursor != 0:
            cursor, keys = await self._scan(max(cursor, 0), "s:")
            async with answering(), self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.getrange(key, 0, HEAD_BYTES - 1)
                heads = cast(list[bytes], await pipe.execute())
            yield [(key[len(self._prefix) + 2 :], head) for key, head in zip(keys, heads, strict=True)]

    async def _scored(self, token: str, name: str, what: str, members: Sequence[int | bytes]) -> None:
        async with answering():
            answer = await self._client.eval(SCORED, 2, self._meta, name, token, what, *members)
        _ok(cast(bytes, answer), "set timers, or an index")

    async def keeps_anything(self) -> bool:
        cursor = -1
        while cursor != 0:
            cursor, keys = await self._scan(max(cursor, 0))
            if keys:
                return True
        return False

    async def hold(self, token: str, generation: int | None) -> None:
        async with answering():
            answer = await self._client.eval(HOLD, 1, self._meta, token, "" if generation is None else str(generation))
        _ok(cast(bytes, answer), "note that the slot stands still")

    async def forget(self, token: str, generation: int) -> None:
        cursor = -1
        while cursor != 0:
            keys: list[bytes] = []
            if cursor > 0 or await self._forget(token, generation, []):  # the meta goes before anything else
                cursor, keys = await self._scan(max(cursor, 0))
            if keys:
                await self._forget(token, generation, keys)

    async def _scan(self, cursor: int, part: str = "") -> tuple[int, list[bytes]]:
        async with answering():
            following, found = await self._client.scan(cursor, match=f"{self._prefix}{part}*", count=SCANNED)
        return int(following), [key for key in cast(list[bytes], found) if key != self._meta.encode()]

    async def _forget(self, token: str, generation: int, keys: Sequence[bytes]) -> bool:
        """True. Raises Fenced, RolledBack."""
        async with answering():
            answer = await self._client.eval(FORGET, 1 + len(keys), self._meta, *keys, token, str(generation))
        _ok(cast(bytes, answer), "forget the slot")
        return True

    async def _call(self, script: str, keys: list[str], values: list[Any]) -> Any:
        sha = self._shas.get(script)
        if sha is None:
            sha = self._shas[script] = await self._client.script_load(script)
        try:
            return await self._client.evalsha(sha, len(keys), *keys, *values)
        except NoScriptError:  # Redis was restarted or its scripts were flushed
            return await self._client.eval(script, len(keys), *keys, *values)

    async def due(self, until: int, limit: int) -> list[str]:
        async with answering():
            keys = await self._client.zrange(self._timers, "-inf", until, byscore=True, offset=0, num=limit)
        return [key.decode() for key in cast(list[bytes], keys)]

    async def first_due(self) -> int | None:
        async with answering():
            first = cast(list[tuple[bytes, float]], await self._client.zrange(self._timers, 0, 0, withscores=True))
        return int(first[0][1]) if first else None
