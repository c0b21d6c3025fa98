"""A local receiver of webhooks, which is a robot of WeCom too: keeps everything that Rapport posts as a file, sends nothing on.

`python -m deploy.local.hook_catcher --dir FOLDER --port N [--host ADDRESS] [--secret FILE]`. One JSON file a message, named by arrival and
channel, readable by its owner only, whole before it appears, and on disk before the sender is answered. With the secret of the webhook it
refuses what is not signed. Of a robot's key nothing is kept.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import uvicorn

from deploy.local.mail_catcher import keep
from deploy.local.ports import HOST

LARGEST_BYTES: Final = 1024 * 1024
HOOKS: Final = "/hooks/"
ROBOT: Final = "/cgi-bin/webhook/send"
KEPT_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type")
Message = MutableMapping[str, Any]


class Catcher:
    """ASGI application that writes each message to a folder."""

    def __init__(self, folder: Path, key: bytes | None = None) -> None:
        """Use `folder`, which is made if need be. `key`: with which webhooks must be signed."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._key = folder, key
        self._number = count()

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("speaks HTTP only")
        body = bytearray()
        more = True
        while more and len(body) <= LARGEST_BYTES:
            part = await receive()
            body += part.get("body", b"")
            more = part.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status, answer = self._answer(scope["method"], scope["path"], headers, bytes(body))
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        channel = "webhook" if path.startswith(HOOKS) else "wecom_group" if path == ROBOT else None
        if channel is None or method != "POST":
            return 404, b"{}"
        if len(body) > LARGEST_BYTES:
            return 413, b"{}"
        if channel == "webhook" and self._key is not None and not is_signed(self._key, headers, body):
            return 401, b"{}"
        kept = {"path": path, "headers": {name: headers[name] for name in KEPT_HEADERS if name in headers}}
        try:
            content = json.dumps(kept | {"body": json.loads(body)}, ensure_ascii=False, indent=1).encode()
            keep(self._folder, f"{time.time_ns() // 1_000_000}-{os.getpid()}-{next(self._number):06}-{channel}.json", content)
        except ValueError:
            return 400, b"{}"
        except OSError as error:
            print(f"cannot keep a message in {self._folder}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
            return 503, b"{}"
        return (200, b'{"errcode":0,"errmsg":"ok"}') if channel == "wecom_group" else (200, b"{}")


def is_signed(key: bytes, headers: dict[str, str], body: bytes) -> bool:
    """Whether any v1 of the header is that of this body."""
    signed = f"{headers.get('webhook-id', '')}.{headers.get('webhook-timestamp', '')}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(one.encode(), expected.encode()) for one in headers.get("webhook-signature", "").split(" "))


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are ours."""
        yield


async def serve(folder: Path, port: int, host: str = HOST, key: bytes | None = None) -> None:
    """Catch messages until SIGTERM or SIGINT."""
    server = _Server(uvicorn.Config(Catcher(folder, key), host, port, log_level="warning", lifespan="off", access_log=False))

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.serve()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="keeps every webhook and every notice to a robot as a file, sends none on")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=HOST, help="address to listen on (in a container: 0.0.0.0)")
    parser.add_argument("--secret", type=Path, help="file of the key (whsec_…) with which webhooks must be signed")
    arguments = parser.parse_args()
    secret = None if arguments.secret is None else arguments.secret.read_text().strip().removeprefix("whsec_")
    asyncio.run(serve(arguments.dir, arguments.port, arguments.host, None if secret is None else base64.b64decode(secret)))


if __name__ == "__main__":
    main()
