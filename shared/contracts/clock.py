"""Time as a record: how far a resolver slot has come, appended to every event.resolved partition each second."""

import msgspec


class ClockRecord(msgspec.Struct, frozen=True, array_like=True):
    """Resolver slot `slot` has published all it derived from event.received partition `slot` below `consumed`.

    `now` is in epoch milliseconds of log-append time: the wall clock if the slot stood at the end of its log. A stage's own `now`
    is the smallest over all slots of the highest it has read of each.
    """

    slot: int
    now: int
    consumed: int


_decoder = msgspec.msgpack.Decoder(ClockRecord)
_encoder = msgspec.msgpack.Encoder()


def encode_clock(record: ClockRecord) -> bytes:
    return _encoder.encode(record)


def decode_clock(raw: bytes) -> ClockRecord:
    """Raises msgspec.DecodeError if `raw` is no clock record."""
    return _decoder.decode(raw)
