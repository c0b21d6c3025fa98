"""One lane's provider as all slots of a process share it: who may call it when, and what its answers say of the provider itself.

A refusal of the sender or the login, 421, and no connection are the installation's trouble: everything waits, and the breaker lets one
message at a time try, another each time. A provider that takes content and never answers opens the breaker too. What is in hand meanwhile
is listed as `provider_away`, each message once; the process's log has a line when the provider goes and one when it is back.

A provider that says that it is gone for good is called no more by this process: its messages fail, until the process is started again.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from services.messaging.dispatch.class_queue import Bounds
from services.messaging.dispatch.places import Places
from services.messaging.dispatch.ports import Clock, Observer, Provider
from services.messaging.dispatch.queue import Class
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Outgoing, Sent, Unknown
from services.messaging.domain.patience import Breaker
from services.messaging.domain.reasons import Reason

PUT_OFF_LOGGED_S: Final = 60.0
"""One line of the log so often for messages that the provider puts off; the ledger has each."""
_log = structlog.get_logger("dispatcher")


@dataclass(eq=False)
class Outlet:
    """The provider, its places and its breaker. `bounds`: of what waits for it in one slot and class.

    `repeats`: the provider knows a message by its id, so that a call of which nobody knows what came may be made again.
    """

    provider: Provider[Any]
    places: Places
    breaker: Breaker
    clock: Clock
    observer: Observer
    bounds: Bounds = field(default_factory=Bounds)
    repeats: bool = False
    channel: str = "none"
    is_off: bool = False
    _calls: set[asyncio.Task[Outcome]] = field(default_factory=set)
    _put_off: int = 0
    _logged_at: float = float("-inf")

    def begin(self, message: Outgoing, place: Class, last_begin: float) -> asyncio.Task[Outcome]:
        """Call the provider, unless it is later than `last_begin` (steady seconds). `place` is given back when the call has ended.

        A slot that goes away leaves its calls alone: what is on the wire is let through.
        """
        task = asyncio.create_task(self._send(message, place, last_begin))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    @property
    def trouble(self) -> str | None:
        """Why nothing is sent by it now. Its own words are in the log alone: they may name a person."""
        if self.is_off:
            return f"provider {self.provider.name} has said that it is gone: its messages fail until its setting is mended"
        if self.breaker.open:
            return f"provider {self.provider.name} is away, one message at a time tries it; the log has its words"
        return None

    async def _send(self, message: Outgoing, place: Class, last_begin: float) -> Outcome:
        begun: float | None = None

        def may_begin() -> bool:
            nonlocal begun
            now = self.clock.steady_s()
            begun = now if now < last_begin else None
            return begun is not None

        tried = False
        self._observe()
        try:
            if self.is_off:
                return Failed(Reason.ENDPOINT_GONE, "it said so before")
            outcome = await self.provider.send(message, may_begin)
            now = self.clock.steady_s()
            tried = self._judge(outcome, now)
            if begun is not None:
                self.observer.provider(self.channel, self.provider.name, now - begun, self.breaker.open)
            if self.repeats and isinstance(outcome, Unknown):
                return Deferred(outcome.reason, outcome.detail, away=True, in_doubt=True)
            return outcome
        finally:
            self.places.free(place, self.clock.steady_s(), tried=tried)
            self._observe()

    def _observe(self) -> None:
        self.observer.places(self.channel, self.provider.name, sum(self.places.used.values()), self.places.count)

    def _judge(self, outcome: Outcome, now: float) -> bool:
        """Whether the outcome says something of the provider."""
        was_open = self.breaker.open
        match outcome:
            case Deferred(reason=Reason.HELD_UP):
                return False
            case Unknown(detail=detail) | Deferred(away=True, detail=detail):  # who swallows messages is as bad as who is not there
                self.breaker.failed(now)
                if self.breaker.open and not was_open:
                    _log.warning("provider away, one message at a time tries it", provider=self.provider.name, detail=detail)
            case Failed(reason=Reason.ENDPOINT_GONE, detail=detail):
                self.is_off = True
                self.breaker.went_well()
                self.observer.switched_off(self.channel, self.provider.name)
                _log.error("provider is gone for good: it is switched off", provider=self.provider.name, detail=detail)
            case Sent() | Failed() | Deferred():
                self.breaker.went_well()
                if was_open:
                    _log.info("provider takes messages again", provider=self.provider.name)
        if isinstance(outcome, Deferred):
            self.places.rest(now + outcome.after_s)
            if not outcome.away:
                self._log_put_off(outcome, now)
        return True

    def _log_put_off(self, outcome: Deferred, now: float) -> None:
        self._put_off += 1
        if now - self._logged_at >= PUT_OFF_LOGGED_S:
            _log.warning("messages put off by the provider", provider=self.provider.name, count=self._put_off, detail=outcome.detail)
            self._put_off, self._logged_at = 0, now
