"""What stands around a state blob: its timer, the blobs it has absorbed and waits for, or where a merged key's state has gone.

0 | due (8 bytes) | blob                         an ordinary state
1 | winner (UTF-8)                               a marker: the state has moved
2 | due | msgpack [absorbed, awaiting, blob]     a state that took part in merges; OTHERS among the absorbed: more stand in an index

The first byte is the form's version too: a change of a form is a new first byte.
"""

import struct
from typing import Generic, TypeVar

import msgspec

from shared.contracts.versions import newer, opened, stamped

S = TypeVar("S")

OTHERS = ""
"""Among the absorbed: others stand in the slot's index (absorbed.py). No id is empty."""
GONE = "!"
"""Before an id among the absorbed: its merge could not be carried out, so its blob is not to be waited for. No id begins with it."""
_PLAIN, _MARKER, _MERGED = 0, 1, 2
_HEAD = struct.Struct("<Bq")
HEAD_BYTES = _HEAD.size


class Merged(msgspec.Struct, array_like=True, frozen=True):
    absorbed: list[str]
    awaiting: list[str]
    blob: bytes


class Moved(msgspec.Struct, array_like=True, frozen=True):
    """On a moved topic: all that `loser` leaves to the winner (the record's key). `blob` None: there was no state.

    `absorbed`: those whose blobs the loser had taken in. A `loser` with GONE before it: its state stays where it is.
    """

    loser: str
    blob: bytes | None
    absorbed: list[str]
    awaiting: list[str]
    sides: list[tuple[float, bytes]]


_merged = msgspec.msgpack.Decoder(Merged)
_encode = msgspec.msgpack.Encoder().encode
_decode_moved = msgspec.msgpack.Decoder(Moved).decode
MOVED_VERSION = 1


def encode_moved(moved: Moved) -> bytes:
    return stamped(_encode(moved), MOVED_VERSION)


def decode_moved(raw: bytes) -> Moved:
    """Raises NewerVersion, msgspec.DecodeError or msgspec.ValidationError if `raw` cannot be read."""
    return _decode_moved(opened(raw, MOVED_VERSION, "the moved state of a merged key")[1])


class Entry(Generic[S]):
    """One key's state in memory. `blob` holds the stored bytes until `state` has been decoded from them. `size`: bytes when stored."""

    __slots__ = ("absorbed", "awaiting", "blob", "due", "size", "state", "winner")

    def __init__(self) -> None:
        self.state: S | None = None
        self.blob: bytes | None = None
        self.due = 0
        self.size = 0
        self.winner: str | None = None
        self.absorbed: set[str] | None = None
        self.awaiting: set[str] | None = None


def open_entry(raw: bytes | None) -> Entry[S]:
    """The entry stored as `raw`. Raises NewerVersion."""
    entry: Entry[S] = Entry()
    if raw is None:
        return entry
    entry.size = len(raw)
    flag = raw[0]
    if flag == _MARKER:
        entry.winner = raw[1:].decode()
        return entry
    entry.due = _HEAD.unpack_from(raw)[1]
    body = raw[_HEAD.size :]
    if flag == _PLAIN:
        entry.blob = body
    elif flag == _MERGED:
        merged = _merged.decode(body)
        entry.blob = merged.blob
        entry.absorbed = set(merged.absorbed) or None
        entry.awaiting = set(merged.awaiting) or None
    else:
        raise newer("the envelope of a state", flag, _MERGED)
    return entry


def due_of(head: bytes) -> int:
    """The timer in the first HEAD_BYTES of what is stored, 0 if there is none. Raises NewerVersion."""
    if not head or head[0] == _MARKER:
        return 0
    if head[0] not in (_PLAIN, _MERGED):
        raise newer("the envelope of a state", head[0], _MERGED)
    return int(_HEAD.unpack_from(head)[1])


def is_marker(head: bytes) -> bool:
    """Whether what is stored, of which this is the beginning, says where a merged key's state has gone."""
    return head[:1] == b"\x01"


def close_entry(entry: Entry[S], blob: bytes) -> bytes:
    """The bytes to store; `blob` is the state's dump."""
    if entry.winner is not None:
        return b"\x01" + entry.winner.encode()
    if entry.absorbed or entry.awaiting:
        merged = Merged(sorted(entry.absorbed or ()), sorted(entry.awaiting or ()), blob)
        return _HEAD.pack(_MERGED, entry.due) + _encode(merged)
    return _HEAD.pack(_PLAIN, entry.due) + blob


def peek(raw: bytes) -> tuple[str | None, bool, bytes]:
    """For readers of another owner's keys: (winner if moved, a merge is under way, state blob)."""
    entry: Entry[bytes] = open_entry(raw)
    return entry.winner, bool(entry.awaiting), entry.blob or b""
