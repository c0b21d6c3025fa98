"""The answer on its way out: headers late enough to tell of early errors, then chunks, coded as the client accepts."""

import asyncio
import json
import secrets
import uuid
from collections.abc import Awaitable, Callable
from tempfile import SpooledTemporaryFile
from typing import Any, Final

from deploy.local.clickhouse_server.compression import Coder, Identity, encoder
from deploy.local.clickhouse_server.engine import Counts, Facts
from deploy.local.clickhouse_server.errors import ClickHouseError
from deploy.local.clickhouse_server.formats import content_type

HELD_BYTES: Final = 1 << 20
"""So much of a result is held back before the headers go out, so that an error within it still has its own status."""

MEMORY_BYTES: Final = 16 << 20
"""A result that is held back as a whole (wait_end_of_query=1) lies in a file from this size on."""

SEND_SECONDS: Final = 60.0
"""A client that takes nothing for so long is given up."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Reply:
    """One answer. `begin` names format and coding; then `write`, and `finish` or `fail`."""

    def __init__(self, send: Send, facts: Facts, head_only: bool) -> None:
        self._send, self._facts, self._head_only = send, facts, head_only
        self._held = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 the reply closes it
        self._started = False
        self._hold_all = False
        self._coder: Coder = Identity()
        self._coding = ""
        self._format: str | None = None
        self._tag = secrets.token_hex(8)
        self.query_id = str(uuid.uuid4())

    def begin(self, form: str | None, accepted: str, level: int, hold_all: bool = False) -> None:
        """What is to come is in format `form`; `accepted` is the Accept-Encoding that applies."""
        self._format, self._hold_all = form, hold_all
        self._coding, self._coder = encoder(accepted, level)

    async def write(self, data: bytes) -> None:
        """Send data, or hold them back while they are few."""
        if self._started:
            await self._body(self._coder.feed(data), more=True)
            return
        self._held.write(data)
        if self._held.tell() >= HELD_BYTES and not self._hold_all:
            await self._start(200, None)

    async def finish(self, counts: Counts, nanoseconds: int) -> None:
        """End a good answer."""
        if not self._started:
            await self._start(200, _summary(counts, nanoseconds))
        await self._body(self._coder.end(), more=False)

    async def fail(self, error: ClickHouseError) -> None:
        """Tell the error: as the whole answer, or, when part of a result has gone out, in the marked block that ends it.

        The answer is then left without its end, so that a client that knows no such block sees a broken transfer.
        """
        text = error.text(self._facts.version).encode("utf-8", "surrogateescape")
        if not self._started:
            self._held.truncate(0)
            self._coder, self._coding, self._format = Identity(), "", None
            await self._start(error.status, None, [(b"x-clickhouse-exception-code", str(error.code).encode())])
            await self._body(text, more=False)
            return
        tag = self._tag.encode()
        block = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (tag, text, len(text), tag)
        await self._body(self._coder.feed(block) + self._coder.end(), more=True)

    async def _start(self, status: int, summary: bytes | None, more: list[tuple[bytes, bytes]] | None = None) -> None:
        self._started = True
        facts = self._facts
        headers = [
            (b"content-type", (content_type(self._format) if self._format else "text/plain; charset=UTF-8").encode()),
            (b"x-clickhouse-server-display-name", facts.name.encode()),
            (b"x-clickhouse-query-id", self.query_id.encode("latin-1", "replace")),
            (b"x-clickhouse-timezone", facts.timezone.encode()),
            (b"x-clickhouse-exception-tag", self._tag.encode()),
            *(more or []),
        ]
        if self._format:
            headers.append((b"x-clickhouse-format", self._format.encode()))
        if self._coding:
            headers += [(b"content-encoding", self._coding.encode()), (b"vary", b"Accept-Encoding")]
        if summary:
            headers.append((b"x-clickhouse-summary", summary))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self._held.seek(0)
        while piece := self._held.read(HELD_BYTES):
            await self._body(self._coder.feed(piece), more=True)
        self._held.close()

    async def _body(self, data: bytes, more: bool) -> None:
        message = {"type": "http.response.body", "body": b"" if self._head_only else data, "more_body": more}
        if data or not more:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(message)


def _summary(counts: Counts, nanoseconds: int) -> bytes:
    told = {
        "read_rows": counts.read_rows,
        "read_bytes": counts.read_bytes,
        "written_rows": counts.written_rows,
        "written_bytes": counts.written_bytes,
        "total_rows_to_read": counts.read_rows,
        "result_rows": counts.written_rows,
        "result_bytes": counts.written_bytes,
        "elapsed_ns": nanoseconds,
    }
    return json.dumps({name: str(value) for name, value in told.items()}, separators=(",", ":")).encode()
