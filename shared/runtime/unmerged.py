"""A merge that cannot be carried out: the winner is told that the loser's blob does not come, and goes on without it.

The dead letter says why. A replay of the letter carries the merge out, once the reason is gone: GONE and an id among the absorbed ids is
not that id.
"""

from typing import Final

import msgspec

from shared.contracts.headers import KIND, KIND_MERGE, KIND_MOVED, ORIGIN, ORIGIN_KIND
from shared.contracts.identity import MERGE_DECODER
from shared.contracts.versions import NewerVersion
from shared.runtime.envelope import GONE, Moved, decode_moved
from shared.runtime.stage import OutputTooLarge, Record

STAYS: Final = "it stays where it is, and whoever it was merged into goes on without it"


def kind_of(record: Record) -> bytes | None:
    """What a record is by its headers, or was when it was first read."""
    headers = dict(record.headers)
    return headers.get(ORIGIN_KIND if ORIGIN in headers else KIND)


def stays(record: Record, key: str) -> tuple[str, Moved] | None:
    """To whom it must be said that the state of `key` does not come, and how; None if `record` is no merge that can be read."""
    if kind_of(record) != KIND_MERGE:
        return None
    try:
        return MERGE_DECODER.decode(record.value or b"").winner, Moved(GONE + key, None, [], [], [])
    except msgspec.DecodeError:
        return None


def not_taken_in(record: Record) -> Moved | None:
    """What a record brought that could not be folded in; None if it brings nothing that can be read."""
    if kind_of(record) != KIND_MOVED:
        return None
    try:
        return decode_moved(record.value or b"")
    except (msgspec.DecodeError, NewerVersion):
        return None


def too_large(error: OutputTooLarge) -> OutputTooLarge:
    """The same in words that say what follows."""
    return OutputTooLarge(f"what a person leaves by a merge cannot be sent: {error}; {STAYS}")
