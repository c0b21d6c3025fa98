"""What the proxy answers itself. Its problems are in the form that the services answer (shared/contracts/problems.py)."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.contracts.problems import MEDIA_TYPE, problem_document

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
    content_type = (b"content-type", MEDIA_TYPE.encode())
    return Reply(status, [content_type, *(headers or [])], problem_document(status, code, message))
