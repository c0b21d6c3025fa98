"""The whole API in memory: the query and the control service over the same stores, behind the proxy."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx

from deploy.local.proxy.app import Proxy
from deploy.local.proxy.document import merged
from deploy.local.proxy.metrics import METRICS, Failure, Metrics
from deploy.local.proxy.routes import Backend
from deploy.local.proxy.services import Answer, Asked, NoAnswerError, passed_on
from services.control import app as control
from services.query import app as query
from shared.adapters.prometheus import Registry
from tests.api_stores import Client, Stores
from tests.control_fakes import control_parts
from tests.query_fakes import query_parts


class AsgiService:
    """A service behind the proxy that is an application in this process; `away` makes it refuse connections."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.away = False

    @asynccontextmanager
    async def _ask(self, asked: Asked) -> AsyncIterator[Answer]:
        if self.away:
            raise NoAnswerError(Failure.UNREACHABLE, sent=False)
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        url = httpx.URL(scheme="http", host="api", raw_path=asked.target)
        request = httpx.Request(asked.method, url, headers=passed_on(asked.headers), content=asked.body)
        response = await transport.handle_async_request(request)
        yield Answer(response.status_code, passed_on(response.headers.raw), response.aiter_raw())

    def ask(self, asked: Asked, seconds: float) -> AbstractAsyncContextManager[Answer]:
        return self._ask(asked)

    async def close(self) -> None:
        pass


class World(Stores, Client):
    """Everything in memory, both services over it, the proxy over them, and a client with the full key."""

    def __init__(self) -> None:
        super().__init__()
        self.query_parts, self.control_parts = query_parts(self), control_parts(self)
        self.start()

    def start(self) -> None:
        """Make the applications, over parts as they are now."""
        self.query, self.control = query.build(self.query_parts), control.build(self.control_parts)
        self.services = {Backend.QUERY: AsgiService(self.query), Backend.CONTROL: AsgiService(self.control)}
        self.proxy_metrics = Metrics(Registry("proxy", METRICS))
        self.app: Any = Proxy(self.services, self.proxy_metrics, body_seconds=60, answer_seconds=60, ready_seconds=60)

    def document(self) -> dict[str, Any]:
        """The OpenAPI document of the one address."""
        return merged([self.query.openapi(), self.control.openapi()])
