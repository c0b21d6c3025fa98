"""How far a slot has settled all that it was asked, as the highest cause of each lane: what stands at or below it has been here before."""

from collections.abc import Mapping
from typing import Final

from shared.contracts.ledger import Passed, Place

BLOCK: Final = 64
"""Offsets of message.requested whose causes are kept together while something before them is not settled."""
MOST_BLOCKS: Final = 32
"""With more, blocks become twice as long: one message that waits for weeks costs no more than this."""


class Watermark:
    """`settled_to`: the offset of message.requested below which everything is settled and counted in `seen`."""

    def __init__(self, passed: Passed | None = None) -> None:
        passed = passed or Passed()
        self.settled_to = passed.settled_to
        self._seen = dict(passed.seen)
        self._length = passed.length or BLOCK
        self._ahead = {block: dict(lanes) for block, lanes in passed.ahead.items()}
        self._last = passed.last

    def settled(self, position: int, cause: str | None) -> None:
        """The request at `position`, made by `cause`, has ended."""
        self._last = max(self._last, position)
        if cause is None:
            return
        lane, place = _parts(cause)
        _raise(self._ahead.setdefault(position // self._length, {}), {lane: place})
        while len(self._ahead) > MOST_BLOCKS:
            self._length *= 2
            shorter, self._ahead = self._ahead, {}
            for block, lanes in shorter.items():
                _raise(self._ahead.setdefault(block // 2, {}), lanes)

    def passed(self, position: int) -> None:
        """Everything below `position` is settled."""
        if position > self._last:
            for lanes in self._ahead.values():
                _raise(self._seen, lanes)
            self._ahead, self._length = {}, BLOCK
            self.settled_to = max(self.settled_to, position)
            return
        whole = position // self._length
        for block in [block for block in self._ahead if block < whole]:
            _raise(self._seen, self._ahead.pop(block))
        self.settled_to = max(self.settled_to, whole * self._length)

    def is_past(self, cause: str | None) -> bool:
        """Whether what `cause` made has been settled, also if nothing else is known of it any more."""
        if cause is None:
            return False
        lane, place = _parts(cause)
        seen = self._seen.get(lane)
        return seen is not None and place <= seen

    def save(self) -> Passed:
        return Passed(
            self.settled_to, dict(self._seen), self._last, self._length, {block: dict(lanes) for block, lanes in self._ahead.items()}
        )


def _parts(cause: str) -> tuple[str, Place]:
    """Lane and place, as headers.Cause has them; this is asked for each entry of a ledger."""
    lane, offset, nth = cause.rsplit("|", 2)
    return lane, (int(offset), int(nth))


def _raise(lanes: dict[str, Place], to: Mapping[str, Place]) -> None:
    for lane, place in to.items():
        if place > lanes.get(lane, (-1, -1)):
            lanes[lane] = place
