"""Idempotency-Key: a POST that is sent again gets the first one's answer, for a while, from this process."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from shared.http.reasons import Code, Refused

KEPT_SECONDS: Final = 600.0
KEPT: Final = 1000
T = TypeVar("T")


@dataclass(frozen=True)
class _Kept:
    body: bytes
    until: float
    answer: "asyncio.Future[Any]"


class Answered:
    """Answers by (who asks, operation, Idempotency-Key). They live in memory only: one may hold a key's secret."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str, str], _Kept] = OrderedDict()

    async def once(self, who: str, operation: str, key: str | None, body: bytes, make: Callable[[], Awaitable[T]]) -> T:
        """`make`'s answer, or the one that it gave before. What failed may be tried again.

        Raises Refused (409) if the key came before with another body.
        """
        if key is None:
            return await make()
        digest = hashlib.sha256(body).digest()
        name = (who, operation, key)
        self._forget()
        kept = self._kept.get(name)
        if kept is not None:
            if kept.body != digest:
                raise Refused(409, Code.IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key came before with another body", "Idempotency-Key")
            return cast(T, await asyncio.shield(kept.answer))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._kept[name] = _Kept(digest, self._clock() + KEPT_SECONDS, future)
        try:
            answer = await make()
        except BaseException as error:
            self._kept.pop(name, None)
            failed = error if isinstance(error, Exception) else Refused(503, Code.INTERNAL_ERROR, "the first request was cut off")
            future.set_exception(failed)
            future.exception()  # nobody may be waiting for it
            raise
        future.set_result(answer)
        return answer

    def _forget(self) -> None:
        now = self._clock()
        while self._kept and (len(self._kept) >= KEPT or next(iter(self._kept.values())).until <= now):
            self._kept.popitem(last=False)
