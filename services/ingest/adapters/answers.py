"""Answers of the tracking API: success, problem+json, CORS. Few headers: uvicorn checks each by two regular expressions."""

import re
from typing import Final

from services.ingest.domain.reasons import Refused
from shared.contracts.problems import MEDIA_TYPE, problem_document

Headers = list[tuple[bytes, bytes]]

OK_BODY: Final = b'{"success":true}'
GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
_OK_HEADERS: Final[Headers] = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(OK_BODY))]
_PRINTABLE: Final = re.compile(rb"[\x21-\x7e][\x20-\x7e]*").fullmatch
_DEFAULT_ALLOWED: Final = (
    b"authorization, content-type, content-encoding, anonymousid, sentat, rsa-retry-attempt, rsa-retry-reason, rsa-since-last-attempt, "
    b"x-retry-count"
)


def cors(origin: bytes | None) -> Headers:
    """For every answer to a browser. Retry-After is exposed: else analytics-next retries after 0.2 s whatever it is told."""
    if origin is None or not _PRINTABLE(origin):
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"Retry-After"),
        (b"vary", b"Origin"),
    ]


def preflight(headers: dict[bytes, bytes]) -> Headers:
    """Echo what the browser asks for. Write keys are public and no cookie is used: there is nothing to guard by origin."""
    asked = headers.get(b"access-control-request-headers", b"")
    allowed = asked if _PRINTABLE(asked) else _DEFAULT_ALLOWED
    answer = cors(headers.get(b"origin", b"*"))
    answer += [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", allowed),
        (b"access-control-max-age", b"86400"),
    ]
    if headers.get(b"access-control-request-private-network") == b"true":
        answer.append((b"access-control-allow-private-network", b"true"))
    return answer


def success(origin: bytes | None) -> tuple[int, Headers, bytes]:
    return 200, _OK_HEADERS if origin is None else _OK_HEADERS + cors(origin), OK_BODY


def pixel(origin: bytes | None) -> tuple[int, Headers, bytes]:
    headers = [(b"content-type", b"image/gif"), (b"content-length", b"%d" % len(GIF)), (b"cache-control", b"no-store")]
    return 200, headers + cors(origin), GIF


def problem(refused: Refused, origin: bytes | None) -> tuple[int, Headers, bytes]:
    """The problem document, its headers, and what a browser needs."""
    body = problem_document(refused.status, refused.code.value, refused.message, refused.field)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), *cors(origin)]
    if refused.retry_after is not None:
        headers.append((b"retry-after", b"%d" % refused.retry_after))
    if refused.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="write key"'))
    return refused.status, headers, body
