"""Records as rows, in ClickHouse's RowBinary: the bytes as they came and where they stood; ClickHouse makes the other columns.

RowBinary rather than NDJSON: half the work for ClickHouse (measured; README), any bytes at all survive in `raw`, and no value can
end its row and begin another.
"""

import struct
from enum import StrEnum
from typing import Final, NamedTuple

from services.warehouse.domain.amounts import Fault, amount
from shared.contracts import headers
from shared.contracts.headers import Cause
from shared.contracts.topics import (
    DISPATCH_RECORDED,
    EVENT_RESOLVED,
    IDENTITY_CONFLICTED,
    MESSAGE_CHANGED,
    PROFILE_CHANGED,
    SEGMENT_CHANGED,
)

FORMAT: Final = "RowBinary"


class Table(StrEnum):
    """Where a record goes. The value is the table and the columns that a row gives."""

    EVENTS = "rapport.events (raw, profile_id, _partition, _offset, _appended_at, revenue)"
    MERGES = "rapport.merges (raw, profile_id, _partition, _offset, _appended_at)"
    TRANSITIONS = "rapport.segment_transitions (raw, profile_id, _partition, _offset, _appended_at)"
    MESSAGES = "rapport.messages (raw, profile_id, _partition, _offset, _appended_at, ledger)"
    PROFILES = "rapport.profiles (raw, profile_id, _partition, _offset, _appended_at)"
    CONFLICTS = "rapport.identity_conflicts (raw, profile_id, _partition, _offset, _appended_at)"

    @property
    def label(self) -> str:
        """Its short name, for metrics and logs."""
        return self.value.split(" ")[0].removeprefix("rapport.")


_BY_TOPIC: Final = {
    EVENT_RESOLVED: Table.EVENTS,
    SEGMENT_CHANGED: Table.TRANSITIONS,
    MESSAGE_CHANGED: Table.MESSAGES,
    PROFILE_CHANGED: Table.PROFILES,
    IDENTITY_CONFLICTED: Table.CONFLICTS,
}
TOPICS: Final = tuple(_BY_TOPIC)


class Record(NamedTuple):
    """One record as read; `appended_at` in epoch milliseconds."""

    offset: int
    appended_at: int
    key: bytes
    value: bytes
    headers: headers.Headers


class Row(NamedTuple):
    """A row and its table; `fault` if a value was given that no column can hold."""

    table: Table
    data: bytes
    fault: Fault | None = None


_tail = struct.Struct("<Hqq").pack
_amount = struct.Struct("<Bq").pack
_int64 = struct.Struct("<q").pack
_NULL: Final = b"\x01"


def row(topic: str, partition: int, record: Record) -> Row | None:
    """The row of one record; None for one that no table keeps (a clock's, an expiry, a tombstone). Raises KeyError for a foreign topic."""
    table = _BY_TOPIC[topic]
    kind = headers.header(record.headers, headers.KIND)
    if kind in (headers.KIND_CLOCK, headers.KIND_EXPIRED) or not record.value:
        return None
    if kind == headers.KIND_MERGE:
        table = Table.MERGES
    head = b"".join((_varint(len(record.value)), record.value, _varint(len(record.key)), record.key))
    data = head + _tail(partition, record.offset, record.appended_at)
    if table is Table.MESSAGES:
        return Row(table, data + _int64(_ledger_place(record)))
    if table is not Table.EVENTS:
        return Row(table, data)
    money, fault = amount(record.value)
    return Row(table, data + (_NULL if money is None else _amount(0, money)), fault)


def _ledger_place(record: Record) -> int:
    """Which record of its ledger a message's state was told with: the order of its states, whatever any clock said. -1: it does not say."""
    try:
        cause = Cause.decode(headers.header(record.headers, headers.CAUSE) or b"")
    except ValueError:
        return -1
    return cause.offset if cause.topic == DISPATCH_RECORDED else -1


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
