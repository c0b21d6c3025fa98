"""Where a slot's history changes hands: what lies below the cut is folded from the archive, what lies above it from the log."""

from typing import Final

import msgspec

from shared.contracts.headers import Position

ARCHIVE: Final = "archive"
"""As a topic: rows of the archive, in its own order. No topic is called so."""


KIND_MARKER: Final = b"marker"
KIND_ABSORBED: Final = b"absorbed"
"""Of such rows: a merge, as the loser and as the winner know it."""


class Cut(msgspec.Struct, frozen=True):
    """`until`: records that the log took before then (epoch ms) lie below. `at`: topic -> the first offset above, partition by partition.

    `done`: all that lies below has been folded. It is kept: what comes later under an origin below the cut is in already.
    """

    until: int
    at: dict[str, list[int]]
    done: bool = False

    def follows(self, lane: str, offset: int) -> bool:
        """Whether a record with this cause followed from one below."""
        _, topic, partition = lane.split("|")
        return self.covers(Position(topic, int(partition), offset))

    def covers(self, origin: Position) -> bool:
        """Whether what was first read there lies below."""
        offsets = self.at.get(origin.topic)
        return offsets is not None and origin.partition < len(offsets) and origin.offset < offsets[origin.partition]


_decode = msgspec.json.Decoder(Cut).decode


def encode_cut(cut: Cut) -> str:
    return msgspec.json.encode(cut).decode()


def decode_cut(raw: str) -> Cut:
    return _decode(raw)
