"""An HTTP server on a real socket that writes down what came, and answers as it is told: late, cut off, too much, or elsewhere."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from deploy.local.ports import HOST, free_port


@dataclass(frozen=True)
class Request:
    """`path` with its query; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """`endless`: the body never ends. `drips`: it comes a byte at a time, and never whole."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False


CUT: Final = "cut"
"""Hang up instead of an answer."""
HANG: Final = "hang"
"""Say nothing until the other side hangs up."""
Answer = Reply | str


class RecordingHttp:
    """`answer` is asked for each request, in a thread of the server's own; `requests`: all that came whole."""

    def __init__(self, answer: Callable[[Request], Answer] = lambda request: Reply(), tls: ssl.SSLContext | None = None) -> None:
        self.answer, self._tls = answer, tls
        self.requests: list[Request] = []
        self.connections = 0
        self.port = free_port()
        self.url = f"{'http' if tls is None else 'https'}://{HOST}:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._ready, self._done = threading.Event(), asyncio.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        calls: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._connection(reader, writer))
            calls.add(task)
            task.add_done_callback(calls.discard)

        server = await asyncio.start_server(begin, HOST, self.port, ssl=self._tls)
        self._ready.set()
        await self._done.wait()
        server.close()
        for task in list(calls):
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                answer = self.answer(request)
                if answer == CUT:
                    return
                if isinstance(answer, str):
                    await reader.read()
                    return
                await _write(writer, answer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    length = 10**9 if reply.endless else len(reply.body)
    head = f"HTTP/1.1 {reply.status} Said\r\nContent-Length: {length}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
    writer.write(head.encode() + b"\r\n" + reply.body)
    await writer.drain()
    while reply.endless:
        writer.write(b"x" * 65536)
        await writer.drain()
