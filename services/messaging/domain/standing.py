"""How far the stages upstream had come when they were last looked at: a store that was rolled back says less. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

Place = tuple[int, int]
"""(life, commit) of a slot: a takeover begins a new life, later than all before it; commits count within it (shared/runtime/meta.py)."""
_DECODER: Final = msgspec.msgpack.Decoder(dict[str, dict[int, Place]])
_ENCODER: Final = msgspec.msgpack.Encoder()


class Standing:
    """The highest place of each slot that this process has seen, or has read in the ledgers of all slots of the dispatcher.

    `is_whole`: those ledgers have been read. One slot's own may be old: it was written when that slot last had something to send.
    """

    def __init__(self) -> None:
        self.is_whole = False
        self._highest: dict[str, dict[int, Place]] = {}

    def went_back(self, stage: str, partition: int, place: Place) -> bool:
        """Whether the slot stands before a place that it has had. Remembers `place` if not."""
        slots = self._highest.setdefault(stage, {})
        if place < slots.get(partition, (0, 0)):
            return True
        slots[partition] = place
        return False

    def save(self) -> bytes:
        return _ENCODER.encode(self._highest)

    def know(self, saved: bytes) -> None:
        """Take in what was saved by another, or by this process before. Raises msgspec.DecodeError."""
        known: Mapping[str, Mapping[int, Place]] = _DECODER.decode(saved) if saved else {}
        for stage, slots in known.items():
            for partition, place in slots.items():
                self.went_back(stage, partition, place)
