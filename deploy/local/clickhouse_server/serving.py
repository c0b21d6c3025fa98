"""Listening, and ending on a signal, by uvicorn."""

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Final

import uvicorn

from deploy.local.clickhouse_server.app import App

LONGEST_DRAIN_SECONDS: Final = 15


class _Server(uvicorn.Server):
    """uvicorn ends by raising the signal again; here the engine must still be closed, and the exit code be 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


def listen(host: str, port: int) -> socket.socket:
    """The listening socket. Exits with a plain sentence when the port is taken."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512)
    except OSError as taken:
        sys.exit(f"not started: cannot listen on {host}:{port} ({taken.strerror})")


def serve(app: App, listener: socket.socket) -> None:
    """Serve until a signal says to end."""
    settings = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=LONGEST_DRAIN_SECONDS,
    )
    _Server(settings).run(sockets=[listener])
