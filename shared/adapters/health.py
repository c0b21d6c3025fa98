"""The health port of a process without an HTTP API of its own: /healthz, /readyz, /metrics."""

from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Readiness = Callable[[], Mapping[str, str | None]]
"""What must hold for the process to be ready: name -> None if it holds, else why it does not."""
Notes = Callable[[], Mapping[str, str]]
"""What whoever looks should know, though the process is ready: name -> what it is."""


class HealthServer:
    """Answers 200 on /healthz while the event loop turns, and 503 with the reasons on /readyz until all is ready."""

    def __init__(self, host: str, port: int, readiness: Readiness, collectors: CollectorRegistry, notes: Notes = dict) -> None:
        self._host, self._port = host, port
        self._readiness, self._notes = readiness, notes
        self._collectors = collectors
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        parts = dict(self._readiness())
        ready = all(reason is None for reason in parts.values())
        told = {name: reason or "ok" for name, reason in parts.items()} | dict(self._notes())
        body = {"status": "ready" if ready else "not ready", "parts": told}
        return web.json_response(body, status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._collectors), headers={"Content-Type": CONTENT_TYPE_LATEST})
