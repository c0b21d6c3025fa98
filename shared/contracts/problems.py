"""A problem document (RFC 9457), as every HTTP process of ours answers an error: ingest, query, control and the proxy before them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"


def problem_document(status: int, code: str, message: str, field: str | None = None, problems: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The JSON. `code` is for programs and `message` for people: SDKs that find neither try again for ever.

    `field`: what is at fault. `problems`: each thing that is wrong in definitions.
    """
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
    if problems:
        content["problems"] = problems
    return msgspec.json.encode(content)
