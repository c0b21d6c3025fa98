"""One typed id in its own resolver slot."""

from typing import Final

from services.profile.domain.dedup import Seen, short_hash
from shared.contracts.link_blob import HASH_BYTES, Links, decode_links, encode_links

MAX_ASKED: Final = 64
"""What has been asked of other slots is remembered so that it is not asked with every event; asking again would do no harm."""


class Node:
    """State of the resolver for one id; the fields are those of Links."""

    __slots__ = ("_asked", "duplicates", "forward", "had", "seen")

    def __init__(self, links: Links) -> None:
        self.forward = links.forward
        self.had = links.had
        self.duplicates = links.duplicates
        self.seen = Seen(links.seen)
        self._asked = links.asked

    def ask_once(self, one: str, two: str) -> bool:
        """Whether this is to be asked: not if it was among the last things asked."""
        question = short_hash(one, two)
        asked = self._asked
        at = asked.find(question)
        while at > 0 and at % HASH_BYTES:
            at = asked.find(question, at + 1)
        if at >= 0:
            return False
        self._asked = (asked + question)[-MAX_ASKED * HASH_BYTES :]
        return True

    @classmethod
    def load(cls, raw: bytes) -> "Node":
        return cls(decode_links(raw))

    def dump(self) -> bytes:
        return encode_links(Links(self.forward, self.had, self._asked, self.seen.hours(), self.duplicates))
