"""The outputs of one commit, kept beside the states until the next commit replaces them.

A dead letter in an outbox may hold a person's data, and an idle slot may not commit for a long time. So ten seconds after the last commit,
when the whole outbox is published, one small commit replaces it.
"""

import msgspec
import structlog

from shared.contracts.versions import opened, stamped
from shared.runtime.observer import Observer
from shared.runtime.ports import Log, waiting_for_update
from shared.runtime.stage import Output


class Outbox(msgspec.Struct, array_like=True):
    """`topic`: the input whose records the outputs without a value pass on."""

    topic: str
    outputs: list[Output]


VERSION = 1
_log = structlog.get_logger("runtime")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Outbox)


def encode_outbox(outbox: Outbox) -> bytes:
    return stamped(_encoder.encode(outbox), VERSION)


def decode_outbox(raw: bytes) -> Outbox:
    """Raises NewerRelease, msgspec.DecodeError if `raw` is no outbox."""
    with waiting_for_update():
        return _decoder.decode(opened(raw, VERSION, "the outbox of a slot")[1])


def drop_lost(outbox: Outbox, first: int, stage: str, slot: int, observer: Observer) -> None:
    """Drop what passes on records below `first`, where their log begins now, and say so. `outbox`: without what is found published.

    Where the outputs' own log has been cut, some of them may have been published and have left it since: they count too.
    """
    there = [output for output in outbox.outputs if output.value is not None or output.source_offset >= first]
    lost = len(outbox.outputs) - len(there)
    outbox.outputs = there
    if lost:
        observer.lost_to_retention(stage, lost)
        _log.error("outputs are not in the log, and their inputs left it: they cannot be published", stage=stage, slot=slot, lost=lost)


async def passed_on(log: Log, outbox: Outbox, partition: int) -> dict[int, bytes | None]:
    """The values that outputs without one pass on, by the offset of their input record."""
    sources = {output.source_offset for output in outbox.outputs if output.value is None}
    values: dict[int, bytes | None] = {}
    start, end = min(sources, default=0), max(sources, default=-1) + 1
    while start < end:
        records, start = await log.read(outbox.topic, partition, start, end)
        values.update((record.offset, record.value) for record in records)
    return values
