"""The port that is for inside only: /metrics, with /healthz and /readyz beside it."""

import errno
import os

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from shared.adapters.health import HealthServer, Readiness

_log = structlog.get_logger()


class InsidePort:
    """Of several processes on one API port the first has it and tells of all; if that ends, the process that takes its place has it."""

    def __init__(self, host: str, port: int, readiness: Readiness, collectors: CollectorRegistry) -> None:
        self._alone = "PROMETHEUS_MULTIPROC_DIR" not in os.environ
        if not self._alone:
            collectors = CollectorRegistry()
            MultiProcessCollector(collectors)  # type: ignore[no-untyped-call]
        self._port = port
        self._server = HealthServer(host, port, readiness, collectors)

    async def start(self) -> None:
        """Raises OSError if somebody else has the port."""
        try:
            await self._server.start()
        except OSError as error:
            if self._alone or error.errno != errno.EADDRINUSE:
                raise
            _log.info("another process of this service has the health port", port=self._port)

    async def stop(self) -> None:
        await self._server.stop()
