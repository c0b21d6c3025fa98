"""The load generator, a process of its own: `python -m tests.bench.load`, with its orders as one line of JSON on stdin.

Sends at a given rate over kept-alive connections, open loop: what cannot be sent in time is owed, and shows as `owed`. Prints one line
of JSON (class Told) twice a second and at the end. Ends when its time is over or stdin closes.
"""

import asyncio
import base64
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from tests.bench.workload import Shoppers, Templates

TICK_SECONDS = 0.002
TELL_SECONDS = 0.5
LONGEST_END_SECONDS = 10.0


class Orders(msgspec.Struct, frozen=True):
    """`templates`: file of Templates, msgpack. `rate`: events a second; `batch`: events a request.

    `trial`: a number of its own for each run against one installation.
    """

    templates: str
    port: int
    write_key: str
    rate: float
    batch: int
    seconds: float
    trial: int
    connections: int = 64
    host: str = "127.0.0.1"


class Told(msgspec.Struct, frozen=True):
    """So far: events answered 200, events owed (not yet sent though due), in flight, requests by other status, seconds, own CPU seconds."""

    accepted: int
    owed: int
    in_flight: int
    refused: dict[str, int]
    seconds: float
    cpu_s: float
    finished: bool = False


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with one request at a time."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._load.idle.append(self)

    def send(self, head: bytes, body: bytes) -> None:
        if self._transport is not None:
            self._transport.writelines([head % len(body), body])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        self._buffer = self._buffer[end + 4 + length :]
        self._load.answered(self, head[9:12].decode())

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._load.lost(self)


class Load:
    """Sends what is due, counts what is answered."""

    def __init__(self, orders: Orders, shoppers: Shoppers) -> None:
        self.idle: deque[Connection] = deque()
        self._orders, self._shoppers = orders, shoppers
        self._busy: set[Connection] = set()
        self._sent = self._accepted = 0
        self._refused: Counter[str] = Counter()
        self._stopping = self._over = False
        key = base64.b64encode(f"{orders.write_key}:".encode()).decode()
        self._head = (
            f"POST /v1/batch HTTP/1.1\r\nHost: {orders.host}\r\nAuthorization: Basic {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        ).encode()

    def answered(self, connection: Connection, status: str) -> None:
        self._busy.discard(connection)
        self.idle.append(connection)
        if status == "200":
            self._accepted += self._orders.batch
        else:
            self._refused[status] += 1

    def lost(self, connection: Connection) -> None:
        if self._stopping:
            return
        self._refused["connection lost"] += 1
        self._busy.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def stop(self) -> None:
        """Send nothing more."""
        self._over = True

    async def run(self) -> None:
        """Until the time is over; then waits a little for what is in flight."""
        loop, orders = asyncio.get_running_loop(), self._orders
        for _ in range(orders.connections):
            await loop.create_connection(lambda: Connection(self), orders.host, orders.port)
        began = time.monotonic()
        told = began
        while (now := time.monotonic()) - began < orders.seconds and not self._over and (self.idle or self._busy):
            due = int((now - began) * orders.rate / orders.batch)
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
            while self._sent < due and self.idle:
                connection = self.idle.popleft()  # each in its turn: who rests for long is hung up on
                self._busy.add(connection)
                self._sent += 1
                connection.send(self._head, self._shoppers.batch(orders.batch, stamp))
            if now - told >= TELL_SECONDS:
                told = now
                self._tell(now - began, due - self._sent)
            await asyncio.sleep(TICK_SECONDS)
        seconds = time.monotonic() - began
        owed = int(seconds * orders.rate / orders.batch) - self._sent
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_answered(), LONGEST_END_SECONDS)
        self._stopping = True
        self._tell(seconds, owed, finished=True)

    async def _all_answered(self) -> None:
        while self._busy:  # noqa: ASYNC110 an event would be set and cleared with each answer
            await asyncio.sleep(TICK_SECONDS)

    def _tell(self, seconds: float, owed: int, finished: bool = False) -> None:
        batch = self._orders.batch
        flying, refused = len(self._busy) * batch, dict(self._refused)
        told = Told(self._accepted, owed * batch, flying, refused, seconds, time.process_time(), finished)
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()


async def _until_closed() -> None:
    """Return when stdin ends: whoever gave the orders has gone, or wants no more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _main(load: Load) -> None:
    closed = asyncio.ensure_future(_until_closed())
    closed.add_done_callback(lambda _: load.stop())
    await load.run()
    closed.cancel()


def main() -> None:
    """Read the orders, send."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    made = msgspec.msgpack.decode(Path(orders.templates).read_bytes(), type=Templates)
    uvloop.install()
    asyncio.run(_main(Load(orders, Shoppers(made, orders.trial))))


if __name__ == "__main__":
    main()
