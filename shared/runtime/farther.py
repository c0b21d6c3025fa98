"""Long chains of merges that are read before any blob has moved: a blob that went from marker to marker for a while jumps.

A marker that passes such a blob on writes to the marker that sent it where the blob went. The sender sends its next blobs there at once. So
the blobs of a chain of N keys cost about N log N records and not N * N / 2. DECISIONS.md, "A blob may jump, what is late may not", says why
that loses nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from shared.contracts.headers import HOPS, KIND, KIND_LATE, KIND_MERGE, KIND_MOVED, VIA, header
from shared.contracts.identity import MERGE_DECODER, MergeRecord
from shared.contracts.redis_keys import FARTHER_INDEX
from shared.runtime.stage import Output, Record, Step

LONG: Final = 4
"""So many markers a blob passes one by one. People's chains end before, so neither they nor an older release meet any of this."""
KNOWN_MS: Final = 1_800_000
"""So long a marker goes by what it was told: half of what lies at least between a cut (archived.py) and what has not been published."""

_LATE: Final = (KIND, KIND_LATE)
Words = Mapping[str, Sequence[str]]
_encode: Final = msgspec.json.Encoder().encode


class Word(NamedTuple):
    """What a marker was told at `at` (append time, epoch ms): blobs go on from `key`."""

    at: int
    key: str

    @classmethod
    def decode(cls, member: str) -> "Word":
        at, _, key = member.partition(" ")
        return cls(int(at), key)

    def encode(self) -> str:
        """As a member of the marker's index."""
        return f"{self.at} {self.key}"


def words_of(key: str) -> str:
    """The slot's index with what the marker of `key` was told: one member, or none."""
    return FARTHER_INDEX + key


class Farther:
    """Where the markers of one batch send the blobs that come to them."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._heard: dict[str, str] = {}

    def _words(self, key: str, before: Words) -> Sequence[str]:
        """`before`: what was known of each marker before the batch."""
        return [self._heard[key]] if key in self._heard else before.get(key, ())

    def hear(self, winner: str | None, record: Record, before: Words) -> None:
        """A marker behind this one says where blobs go on. `winner`: into whom this key was merged."""
        key, word = self._step.key, Word(record.timestamp, MERGE_DECODER.decode(record.value or b"").winner)
        if winner is None or word.key in (winner, key):
            return
        for old in self._words(key, before):
            self._step.index_remove(words_of(key), old)
        self._step.index_add(words_of(key), word.encode(), float(word.at))
        self._heard[key] = word.encode()

    def pass_on(self, topic: str, winner: str, record: Record, before: Words) -> None:
        """Send a blob on; if it has come a long way, as far as is known, and tell the marker that sent it."""
        step, hops = self._step, int(header(record.headers, HOPS) or 0) + 1
        headers = [(KIND, KIND_MOVED), (HOPS, str(hops).encode())]
        if hops <= LONG:
            step.emit(topic, winner, None, *headers)
            return
        words = [Word.decode(word) for word in self._words(step.key, before)]
        to = next((word.key for word in words if record.timestamp - word.at < KNOWN_MS), winner)
        step.emit(topic, to, None, *headers, (VIA, step.key.encode()))
        if (via := header(record.headers, VIA)) is not None:
            # A release that knows no jumps takes it for a merge that it has carried out, and does nothing.
            said = _encode(MergeRecord(via.decode(), to, record.timestamp))
            step.emit(topic, via.decode(), said, (KIND, KIND_MERGE))


def parts(outputs: Sequence[Output]) -> Iterator[Sequence[Output]]:
    """`outputs` in parts, each to be durable before the next: on its longer way what is late must not come before a blob that jumped."""
    start, jumped = 0, False
    for index, output in enumerate(outputs):
        headers = output.headers
        if len(headers) > 1 and headers[1] == _LATE:
            if jumped:
                yield outputs[start:index]
                start, jumped = index, False
        elif len(headers) > 3 and headers[3][0] == VIA:
            jumped = True
    if start < len(outputs):
        yield outputs[start:]
