"""The HTTP server: uvicorn with uvloop and httptools, one process or several on one port."""

import os
import tempfile

from services.ingest.adapters.connections import BoundedProtocol
from services.ingest.settings import Settings
from shared.adapters import http_serving


def serve(factory: str, settings: Settings) -> None:
    """Serve the application that `factory` (module:function) makes, until SIGTERM or SIGINT.

    Then: stop listening, answer what is under way, run the end of its lifespan, and end with code 0.
    """
    if settings.ingest_processes > 1:  # each process counts for itself, in files that any of them can sum up
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="rapport-ingest-metrics-"))
    http_serving.serve(
        factory,
        settings.host,
        settings.port,
        settings.drain_seconds,
        factory=True,
        workers=settings.ingest_processes,
        http=BoundedProtocol,
        lifespan="on",
        date_header=False,  # a header costs two regular expressions and a few bytes of every answer
        timeout_keep_alive=75,
        backlog=4096,
    )
