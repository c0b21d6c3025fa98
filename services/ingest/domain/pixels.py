"""Calls that come in the address of an image: as base64 JSON (Segment), or as dotted query parameters (Rudder)."""

import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from services.ingest.domain.limits import Limits
from services.ingest.domain.reasons import Refusal, Refused

MAX_PARTS = 16


def from_data(query_string: bytes) -> bytes:
    """The JSON in `data`: base64, standard or URL-safe, padded or not; or plain JSON. Raises Refused."""
    data = dict(_parameters(query_string)).get("data", "")
    if data.lstrip().startswith("{"):
        return data.encode("utf-8", "surrogateescape")
    text = data.replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True) or _none()
    except (binascii.Error, ValueError):
        raise Refused(400, Refusal.INVALID_DATA, "data is the base64 of a call's JSON", "data") from None


def _none() -> bytes:
    raise Refused(400, Refusal.INVALID_DATA, "data is the base64 of a call's JSON", "data")


def from_parameters(query_string: bytes, limits: Limits) -> bytes:
    """A call as JSON: `context.page.url=x` becomes {"context": {"page": {"url": "x"}}}. Raises Refused."""
    call: dict[str, Any] = {}
    for name, value in _parameters(query_string):
        parts = name.split(".")[: min(MAX_PARTS, limits.depth)]
        inner = call
        for part in parts[:-1]:
            found = inner.setdefault(part, {})
            if not isinstance(found, dict):
                found = inner[part] = {}
            inner = found
        inner[parts[-1]] = value
    try:
        return msgspec.json.encode(call)
    except UnicodeEncodeError:
        raise Refused(400, Refusal.INVALID_DATA, "the query is not UTF-8") from None


def _parameters(query_string: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=1000, errors="surrogateescape")
    except ValueError:
        raise Refused(400, Refusal.INVALID_DATA, "the query has too many fields") from None
