"""Versions of what is kept in positional msgpack: state blobs, moved states, outboxes.

A positional form cannot say what a reader does not know: fields that an older reader cannot name are dropped without a word. So every form
has a version. Version 1 is what stands there without a mark; from version 2 on two bytes stand before: 0xC1, with which no msgpack value
begins, and the version. README.md has the rule by which a version may change.
"""

from typing import Final

MARK: Final = 0xC1


class NewerVersion(Exception):
    """Written by a newer release, in a form that this one cannot read: nothing may be concluded from it, nothing may be written over it."""


def stamped(body: bytes, version: int) -> bytes:
    """`body` in its version. No bytes stay none."""
    return body if version == 1 or not body else bytes((MARK, version)) + body


def opened(raw: bytes, reads: int, what: str) -> tuple[int, bytes]:
    """(version, body) of what `stamped` made. Raises NewerVersion for a version above `reads`, by the name of `what` it is."""
    if not raw or raw[0] != MARK:
        return 1, raw
    version = raw[1] if len(raw) > 1 else 0
    if version > reads:
        raise newer(what, version, reads)
    return version, raw[2:]


def newer(what: str, version: int, reads: int) -> NewerVersion:
    """The error, in words that say what to do."""
    return NewerVersion(
        f"{what} is of version {version}, written by a newer release; this one reads up to version {reads}: "
        "start the newer release here too (what it has written stays as it is)"
    )
