"""What the proxy answers itself. Its problems look like those of the services (shared/http/problems.py): RFC 9457, `code` and `message`."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send(self, send: Send) -> None:
        length = (b"content-length", b"%d" % len(self.body))
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, length]})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def reply_json(status: int, content: Any) -> Reply:
    return Reply(status, [(b"content-type", b"application/json")], msgspec.json.encode(content))


def problem(status: int, code: str, message: str, headers: list[tuple[bytes, bytes]] | None = None) -> Reply:
    """A problem document; `code` is one of shared/http/reasons.py."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "code": code,
        "message": message,
    }
    return Reply(status, [(b"content-type", b"application/problem+json"), *(headers or [])], msgspec.json.encode(content))
