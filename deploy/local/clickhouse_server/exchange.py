"""Runs the statement of one request: rows in as they arrive, rows out as they come."""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, TypeVar

from deploy.local.clickhouse_server import errors, requests, statements
from deploy.local.clickhouse_server.bodies import PIECE_BYTES, Body
from deploy.local.clickhouse_server.engine import Connection, Counts, Engine
from deploy.local.clickhouse_server.output import ResultPipe
from deploy.local.clickhouse_server.replies import Reply
from deploy.local.clickhouse_server.requests import Request
from deploy.local.clickhouse_server.spool import Spool

HEAD_BYTES: Final = 256 * 1024
"""An INSERT's data begin within so many bytes."""

STATEMENT_BYTES: Final = 16 * 1024 * 1024
"""Longest statement that carries no data."""

T = TypeVar("T")
_FORMAT = re.compile(r"\w+")


class Exchange:
    """One request's session in the engine."""

    def __init__(self, engine: Engine, threads: Executor, pipes: Path, request: Request, body: Body, reply: Reply) -> None:
        self._engine, self._threads, self._pipes = engine, threads, pipes
        self._request, self._body, self._reply = request, body, reply
        self._begun = time.monotonic_ns()

    async def run(self) -> None:
        """Answer it. Raises ClickHouseError while nothing has been sent, ClientGoneError when nobody waits any more."""
        head = self._request.query + b"\n" if self._request.query.strip() else b""
        if len(head) < HEAD_BYTES:
            head += await self._body.read(HEAD_BYTES - len(head))
        insert = statements.insert_with_data(head)
        connection = await self._call(self._engine.connect)
        try:
            await self._call(self._prepare, connection)
            if insert is not None and insert.data_at is not None:
                await self._insert(connection, insert, head[insert.data_at :])
            else:
                await self._statement(connection, head + await self._rest(len(head)))
        finally:
            await self._call(connection.__exit__)

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        """A blocking call on a thread, to its end even if the request is given up meanwhile."""
        call = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            raise

    def _prepare(self, connection: Connection) -> None:
        if self._request.database:
            connection.use(self._request.database)
        connection.set(requests.engine_settings(self._request))

    async def _rest(self, have: int) -> bytes:
        rest = await self._body.read(STATEMENT_BYTES)
        if not self._body.ended or have + len(rest) > STATEMENT_BYTES:
            raise errors.refused(errors.QUERY_IS_TOO_LARGE, f"The statement is longer than {STATEMENT_BYTES} bytes.")
        return rest

    async def _insert(self, connection: Connection, statement: statements.Statement, data: bytes) -> None:
        with contextlib.closing(await self._call(Spool, self._pipes)) as spool:
            while data:
                await self._call(spool.write, data)
                data = await self._body.read(PIECE_BYTES)
            sql = connection.with_parameters(statements.of_file(statement, bytes(spool.path)), self._request.parameters)
            _, counts = await self._call(connection.run, sql, "Null")
        self._reply.begin(None, "", 0)
        await self._reply.finish(counts, time.monotonic_ns() - self._begun)

    async def _statement(self, connection: Connection, sql: bytes) -> None:
        statement = statements.whole(sql)
        form = statement.format or self._request.default_format
        if not _FORMAT.fullmatch(form):
            raise errors.ClickHouseError(73, f"Unknown format {form}. (UNKNOWN_FORMAT)")
        bare = statement.text + b"\n" + statement.tail
        self._reply.begin(form, self._accepted(), 3, hold_all=self._request.wait_end)
        if await self._call(connection.reads_only, bare):
            counts = await self._rows(connection, statement, form)
        else:
            output, counts = await self._call(connection.run, bare, form, self._request.parameters)
            await self._reply.write(output)
        await self._reply.finish(counts, time.monotonic_ns() - self._begun)

    def _accepted(self) -> str:
        return "" if self._request.settings.get("enable_http_compression") == "0" else self._request.accept_encoding

    async def _rows(self, connection: Connection, statement: statements.Statement, form: str) -> Counts:
        pipe = ResultPipe(self._pipes)
        sql = b"%b\nINTO OUTFILE '%b' TRUNCATE\nFORMAT %b%b" % (statement.text, bytes(pipe.path), form.encode(), statement.tail)
        running = asyncio.ensure_future(self._call(self._finish, connection, pipe, sql, form))
        gone = asyncio.ensure_future(self._body.hung_up())
        pump = asyncio.ensure_future(self._pump(pipe))
        try:
            await asyncio.wait([gone, pump], return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
                return await running
            raise ConnectionResetError
        finally:
            gone.cancel()
            pump.cancel()
            if not running.done():
                pipe.close()
                await self._call(self._engine.kill, pipe.path.name)
            await asyncio.wait([running])
            pipe.close()

    async def _pump(self, pipe: ResultPipe) -> None:
        while piece := await pipe.read():
            await self._reply.write(piece)

    def _finish(self, connection: Connection, pipe: ResultPipe, sql: bytes, form: str) -> Counts:
        try:
            return connection.run(sql, form, self._request.parameters)[1]  # SHOW writes nothing when the format here is Null
        finally:
            pipe.written()
