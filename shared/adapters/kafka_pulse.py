"""Whether Kafka answers, asked all the time: a consumer whose broker stands still waits without a word."""

import asyncio
import time
from typing import Final, Protocol

from confluent_kafka import KafkaException

PERIOD_S: Final = 2.0
ANSWER_S: Final = 10.0
SILENT_S: Final = 5.0
"""Whoever waits longer for Kafka says so on /readyz."""


class Admin(Protocol):
    def list_topics(self, topic: str | None = None, timeout: float = -1) -> object: ...


def silence(since_s: float) -> str | None:
    """In words, once it lasts."""
    return f"does not answer since {since_s:.0f} s" if since_s > SILENT_S else None


class KafkaPulse:
    """Asks for what Kafka knows of `topic`, each PERIOD_S."""

    def __init__(self, admin: Admin, topic: str) -> None:
        self._admin = admin
        self._topic = topic
        self._asking: float | None = None

    async def run(self) -> None:
        while True:
            await self.ask()
            await asyncio.sleep(PERIOD_S)

    async def ask(self) -> None:
        if self._asking is None:
            self._asking = time.monotonic()
        try:
            await asyncio.to_thread(self._admin.list_topics, self._topic, ANSWER_S)
        except KafkaException:
            return  # it has been silent since it was asked first
        self._asking = None

    def silent_s(self) -> float:
        """Seconds since it was asked first without an answer; 0 if it answers."""
        return 0.0 if self._asking is None else time.monotonic() - self._asking
