"""The HTTP server: uvicorn with uvloop and httptools, one process or several on one port."""

import os
import signal
import tempfile

import uvicorn

from services.ingest.adapters.connections import BoundedProtocol
from services.ingest.settings import Settings


def serve(factory: str, settings: Settings) -> None:
    """Serve the application that `factory` (module:function) makes, until SIGTERM or SIGINT.

    Then: stop listening, answer what is under way, run the end of its lifespan, and end with code 0.
    """
    if settings.ingest_processes > 1:  # each process counts for itself, in files that any of them can sum up
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="rapport-ingest-metrics-"))
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has drained: then it is no death
    uvicorn.run(
        factory,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.ingest_processes,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,  # a header costs two regular expressions and a few bytes of every answer
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.drain_seconds),
        backlog=4096,
    )
