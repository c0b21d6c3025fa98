"""Tags of a person: the events that give and take them, and how they are kept in the state of segmentation.

A tag is given by the event `Tag Added` and taken by `Tag Removed`, tracked like any other, with the properties `tag`, `reason`, `by` (who
says so) and, when it is given, `until` (a time with its offset, from which on it no longer holds). Of one tag the last word holds, by
(time, message id, source).
"""

import re
from datetime import datetime
from typing import Final

import msgspec

TAG_ADDED: Final = "Tag Added"
TAG_REMOVED: Final = "Tag Removed"
TAGS: Final = "tags"
"""The id of the feature: where tags stand in `Membership.kept`."""
MAX_TAGS: Final = 200
"""Tags of one person of which the last word is kept: those that were spoken of last."""
MAX_TAG: Final = 100
"""Characters of a tag's name; events with a longer one give no tag."""
MAX_REASON: Final = 250
"""Characters of a reason, and of who gave it, that are kept."""
UNTIL: Final = (
    r"(19[789]|2[01][0-9])[0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]{1,3})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
"""What an `until` looks like, for any engine of regular expressions."""


class TagFact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The last word on one tag. `at`: epoch ms. `until`: epoch ms, 0 for ever."""

    at: int
    message_id: str
    source_id: str
    is_given: bool
    reason: str = ""
    by: str = ""
    until: int = 0

    @property
    def said(self) -> tuple[int, str, str]:
        return (self.at, self.message_id, self.source_id)

    def holds(self, now: int) -> bool:
        """Whether the person has the tag at `now`."""
        return self.is_given and (not self.until or now < self.until)


_decoder: Final = msgspec.msgpack.Decoder(dict[str, TagFact])
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


def decode_tags(raw: bytes | None) -> dict[str, TagFact]:
    """By tag. Raises msgspec.DecodeError or msgspec.ValidationError if `raw` is something else."""
    return _decoder.decode(raw) if raw else {}


def encode_tags(tags: dict[str, TagFact]) -> bytes:
    return _encoder.encode(tags)


def until_ms(text: str) -> int:
    """A time such as 2026-06-01T09:00:00+08:00 in epoch ms; 0 for anything else."""
    if not re.fullmatch(UNTIL, text):
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return max(int(at.replace(microsecond=0).timestamp()) * 1000 + at.microsecond // 1000, 1)
