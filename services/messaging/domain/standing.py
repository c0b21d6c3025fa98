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

    def seen(self) -> Mapping[tuple[str, int], Place]:
        """Places as of now, by stage and partition: what a slot is asked for later must not lie before."""
        return {(stage, partition): place for stage, slots in self._highest.items() for partition, place in slots.items()}

    def remember(self, stage: str, partition: int, place: Place) -> None:
        """The slot has been seen there."""
        slots = self._highest.setdefault(stage, {})
        slots[partition] = max(place, slots.get(partition, place))

    def save(self) -> bytes:
        return _ENCODER.encode(self._highest)

    def know(self, saved: bytes) -> None:
        """Take in what was saved by another, or by this process before. Raises msgspec.DecodeError."""
        known: Mapping[str, Mapping[int, Place]] = _DECODER.decode(saved) if saved else {}
        for stage, slots in known.items():
            for partition, place in slots.items():
                self.remember(stage, partition, place)
