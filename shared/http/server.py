"""uvicorn, as a process of the API wants it."""

import signal

import uvicorn
from fastapi import FastAPI

from shared.http.settings import HttpSettings


def serve(app: FastAPI, settings: HttpSettings) -> None:
    """Serve until SIGTERM or SIGINT; then stop listening and answer what is under way."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has drained: then it is no death
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than the proxy keeps a connection: none is closed under a request
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
