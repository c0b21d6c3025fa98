"""A problem document (RFC 9457), as every HTTP process of ours answers an error: ingest, query, control and the proxy before them."""

from http import HTTPStatus
from typing import Any, Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"


def problem_document(status: int, code: str, message: str, field: str | None = None) -> bytes:
    """The JSON. `code` is for programs and `message` for people: SDKs that find neither try again for ever. `field`: what is at fault."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "code": code,
        "message": message,
    }
    if field is not None:
        content["field"] = field
    return msgspec.json.encode(content)
