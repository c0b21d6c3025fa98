"""uvicorn, as a process of the API wants it."""

from typing import Final

from fastapi import FastAPI

from shared.adapters import http_serving
from shared.http.settings import HttpSettings

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the proxy keeps a connection: none is closed under a request."""


def serve(app: FastAPI, settings: HttpSettings) -> None:
    """Serve until SIGTERM or SIGINT; then stop listening and answer what is under way."""
    http_serving.serve(app, settings.host, settings.port, settings.drain_seconds, timeout_keep_alive=KEEP_ALIVE_SECONDS)
