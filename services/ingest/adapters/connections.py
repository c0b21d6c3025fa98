"""How many connections one process holds, and how long a client may take to say what it wants.

A connection without a request under way is waiting: for its first byte, for the rest of a head, or, kept alive, for the next request.
Beyond the bound the connection that has waited longest is closed, so silent clients never keep others out.
"""

import asyncio
import resource
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from uvicorn import Config
from uvicorn.server import ServerState

from services.ingest.adapters import answers
from services.ingest.adapters.http_protocol import OneWriteProtocol
from services.ingest.domain.reasons import Refusal, Refused
from services.ingest.metrics import Metrics
from services.ingest.settings import Settings

DOORS: Final = "doors"
OTHER_FILES: Final = 256
"""Files of a process that are no connections: Kafka's, the log, libraries."""


class HungUp(StrEnum):
    """Why a connection was closed from this side before a request was complete."""

    SLOW_HEAD = "slow_head"
    HEAD_TOO_LARGE = "head_too_large"
    CROWDED = "crowded"


@dataclass
class Doors:
    """The bounds of one process, and its connections that wait, longest first. `head_bytes` may be passed by what one read brings."""

    most: int
    head_seconds: float
    head_bytes: int
    hung_up: Callable[[HungUp], None] = lambda _: None
    opened: Callable[[int], None] = lambda _: None
    waiting: "OrderedDict[BoundedProtocol, None]" = field(default_factory=OrderedDict)


def bounded(settings: Settings, metrics: Metrics) -> Doors:
    """What the settings of this process say."""
    return Doors(
        most_connections(settings.max_connections),
        settings.head_timeout_seconds,
        settings.max_head_bytes,
        lambda why: metrics.hung_up.labels(why.value).inc(),
        metrics.connections.set,
    )


def most_connections(wanted: int) -> int:
    """`wanted`, or what the process may open where that is less. Raises its own limit of open files as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + OTHER_FILES if hard == resource.RLIM_INFINITY else min(wanted + OTHER_FILES, hard)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(1, min(wanted, files - OTHER_FILES))


class BoundedProtocol(OneWriteProtocol):
    """uvicorn's protocol between the bounds of the `Doors` that the application's lifespan yields under this name."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.doors: Doors = app_state[DOORS]
        self._in_head, self._head_size = True, 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        doors = self.doors
        doors.waiting[self] = None
        self._timer = self.loop.call_later(doors.head_seconds, self._too_slow)
        if len(self.connections) > doors.most:
            next(iter(doors.waiting)).hang_up(HungUp.CROWDED)
        doors.opened(len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        self.doors.waiting.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)
        self.doors.opened(len(self.connections))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_size += len(data)
            if self._head_size > self.doors.head_bytes:
                self.hang_up(HungUp.HEAD_TOO_LARGE, f"the head of a request has at most {self.doors.head_bytes} bytes")
            elif self._timer is None:
                self._timer = self.loop.call_later(self.doors.head_seconds, self._too_slow)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._head_size = False, 0
        self._stop_timer()
        self.doors.waiting.pop(self, None)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self.doors.waiting[self] = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered as every other error is."""
        self._answer(Refused(400, Refusal.INVALID_REQUEST, msg.removesuffix(".").lower()))

    def hang_up(self, why: HungUp, told: str | None = None) -> None:
        """Close the connection, with an answer where `told` says what was wrong."""
        self.doors.hung_up(why)
        self.doors.waiting.pop(self, None)
        if told is not None:
            self._answer(Refused(400, Refusal.INVALID_REQUEST, told))
        else:
            self.transport.close()

    def _answer(self, refused: Refused) -> None:
        status, headers, body = answers.problem(refused, None)
        lines = [b"HTTP/1.1 %d Bad Request" % status, *(name + b": " + value for name, value in headers), b"connection: close"]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()

    def _too_slow(self) -> None:
        self._timer = None
        begun = self._head_size > 0
        told = f"the head of the request did not arrive within {self.doors.head_seconds:g} s" if begun else None
        self.hang_up(HungUp.SLOW_HEAD, told)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
