"""Gunzip with caps on the size and on the ratio, checked while inflating: a bomb costs no more than the cap."""

import zlib
from typing import Final

from services.ingest.domain.limits import Limits
from services.ingest.domain.reasons import Refusal, Refused

MAGIC: Final = b"\x1f\x8b"
_STEP: Final = 256 * 1024


def is_gzip(body: bytes, content_encoding: bytes | None) -> bool:
    """By magic bytes, whatever the headers say; or by Content-Encoding, so that broken gzip is called that."""
    if body[:2] == MAGIC:
        return True
    return content_encoding is not None and content_encoding.strip().lower() in (b"gzip", b"x-gzip") and body[:1] not in (b"{", b"[")


def inflate(body: bytes, limits: Limits) -> bytes:
    """The inflated body (all members). Raises Refused: broken or truncated, too large, or suspiciously well compressed."""
    parts: list[bytes] = []
    total = 0
    rest = body
    while rest:
        member = zlib.decompressobj(wbits=31)
        try:
            while not member.eof:
                part = member.decompress(rest, _STEP)
                total += len(part)
                _check(total, len(body), limits)
                parts.append(part)
                rest = member.unconsumed_tail
                if not rest and not part and not member.eof:
                    raise Refused(400, Refusal.MALFORMED_GZIP, "the gzip body ends too early")
        except zlib.error:
            raise Refused(400, Refusal.MALFORMED_GZIP, "the body is no valid gzip") from None
        rest = member.unused_data.lstrip(b"\0")  # padding after a member is allowed
    return b"".join(parts)


def _check(total: int, compressed: int, limits: Limits) -> None:
    if total > limits.inflated_bytes:
        raise Refused(400, Refusal.INFLATED_TOO_LARGE, f"the inflated body has more than {limits.inflated_bytes} bytes")
    if total > limits.ratio_free_bytes and total > compressed * limits.ratio:
        raise Refused(400, Refusal.RATIO_TOO_HIGH, f"the body inflates to more than {limits.ratio} times its size")
