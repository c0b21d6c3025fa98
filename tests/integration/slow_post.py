"""A mail server on a real socket that takes its time, puts some recipients off, and writes down what it took and when."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.local.ports import HOST, free_port
from tests.waiting import wait_until


@dataclass(frozen=True)
class Taken:
    """One message: its dispatch id and when (steady seconds) its content had come whole."""

    dispatch_id: str
    at: float


class SlowPost:
    """`seconds`: how long it thinks before it takes a message. `greylists`: recipients (address) that are answered 450 now."""

    def __init__(self, seconds: float = 0.0, greylists: Callable[[str], bool] = lambda address: False) -> None:
        self.seconds, self.greylists = seconds, greylists
        self.taken: list[Taken] = []
        self.put_off: Counter[str] = Counter()
        self.most_at_once = 0
        self._at_once = 0
        self.port = free_port()
        self.url = f"smtp://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._controller = Controller(self, hostname=HOST, port=self.port)
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._controller.stop()

    def times(self) -> dict[str, float]:
        """Dispatch id -> when it was first taken."""
        return {one.dispatch_id: one.at for one in reversed(self.taken)}

    def wait_for(self, count: int) -> None:
        """Until it has taken so many messages."""
        wait_until(f"{count} messages are taken", lambda: len(self.taken) >= count)

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 aiosmtpd's name
        if self.greylists(address):
            self.put_off[address] += 1
            return "450 4.2.0 greylisted, come back later"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        at = time.monotonic()
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self._at_once -= 1
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        found = re.search(rb"^Message-ID: <([0-9a-f]{32})@", content, re.MULTILINE | re.IGNORECASE)
        assert found is not None, content[:500]
        self.taken.append(Taken(found[1].decode(), at))
        return f"250 2.0.0 Ok: queued as {len(self.taken)}"
