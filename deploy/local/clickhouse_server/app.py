"""The ASGI application: routes, who may enter, and errors as the real server tells them."""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from deploy.local.clickhouse_server import errors, forms, requests
from deploy.local.clickhouse_server.bodies import Body, ClientGoneError, Receive
from deploy.local.clickhouse_server.compression import decoder
from deploy.local.clickhouse_server.engine import Engine
from deploy.local.clickhouse_server.errors import ClickHouseError
from deploy.local.clickhouse_server.exchange import Exchange
from deploy.local.clickhouse_server.replies import Reply, Send
from deploy.local.clickhouse_server.users import Users

log = logging.getLogger(__name__)
OK: Final = b"Ok.\n"


class App:
    """ClickHouse's HTTP interface over one engine."""

    def __init__(self, engine: Engine, users: Users, threads: Executor, pipes: Path) -> None:
        self._engine, self._users, self._threads, self._pipes = engine, users, threads, pipes

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        headers = dict(scope["headers"])
        path, told = scope["path"], requests.url_parameters(scope)
        if path in ("/ping", "/replicas_status") or (path == "/" and scope["method"] in ("GET", "HEAD") and not scope["query_string"]):
            await _plain(send, 200, OK)
        elif path not in ("/", "/query"):
            await _plain(send, 404, f"There is no handle {path}\n\nUse / or /ping for health checks.\n".encode())
        elif scope["method"] not in ("GET", "POST", "HEAD"):
            await _plain(send, 405, b"Only GET, HEAD and POST are served here.\n")
        else:
            await self._query(scope, headers, told, receive, send)

    async def _query(
        self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], told: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        reply = Reply(send, self._engine.facts, scope["method"] == "HEAD")
        try:
            user = self._users.admit(headers, told)
            body = Body(receive, decoder(headers.get(b"content-encoding", b"").decode("latin-1")))
            if forms.is_form(headers):
                told = {**told, **await forms.read(headers, body)}
            request = requests.read(scope, headers, told, user)
            reply.query_id = request.query_id or reply.query_id
            await Exchange(self._engine, self._threads, self._pipes, request, body, reply).run()
        except ClickHouseError as error:
            await reply.fail(error)
        except (ClientGoneError, ConnectionResetError, TimeoutError):
            log.info("a client left before its answer was whole")
        except asyncio.CancelledError:
            raise
        except Exception as unforeseen:
            log.exception("a request failed in a way that was not foreseen")
            await reply.fail(errors.refused(errors.UNKNOWN_EXCEPTION, f"{type(unforeseen).__name__}: {unforeseen}."))


async def _plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/html; charset=UTF-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
