"""uvicorn, as every HTTP process of ours runs it."""

import signal
from typing import Any

import uvicorn


def serve(app: Any, host: str, port: int, drain_seconds: float, **options: Any) -> None:
    """Serve an ASGI app until SIGTERM or SIGINT; then stop listening and answer what is under way. `options` are uvicorn's."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has drained: then it is no death
    ours: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "ws": "none", "log_config": None, "access_log": False}
    ours |= {"proxy_headers": False, "server_header": False, "timeout_graceful_shutdown": int(drain_seconds)}
    uvicorn.run(app, host=host, port=port, **(ours | options))
