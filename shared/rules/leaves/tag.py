"""`tag`: somebody, or some system, gave the person a tag, and it still holds (shared/contracts/tag_blob.py)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from shared.contracts.membership_blob import Membership, Value
from shared.contracts.tag_blob import (
    MAX_REASON,
    MAX_TAG,
    MAX_TAGS,
    TAG_ADDED,
    TAG_REMOVED,
    TAGS,
    UNTIL,
    TagFact,
    decode_tags,
    encode_tags,
    until_ms,
)
from shared.rules.buckets import INSTANT, Numbers
from shared.rules.cuts import Answered
from shared.rules.feature import Feature, Said, Seen, Take
from shared.rules.leaf import Asking, Holds, Leaf
from shared.rules.oracle import Past
from shared.rules.sql.gathering import Gathering
from shared.rules.values import Where, is_text


@dataclass(frozen=True)
class Tags:
    """The feature: the last word on each tag. It stands in `Membership.kept`, for rules and for whoever asks what tags a person has."""

    id: str = TAGS
    events: tuple[str, ...] = (TAG_ADDED, TAG_REMOVED)
    properties: tuple[str, ...] = ("tag", "reason", "by", "until")
    trait: str | None = None

    def where(self, places: Mapping[str, int]) -> Where | None:
        tag = places["tag"]
        return lambda values: isinstance(name := values[tag], str) and 1 <= len(name) <= MAX_TAG

    def take(self, event: str, places: Mapping[str, int]) -> Take:
        tag, reason, by, until = (places[name] for name in self.properties)

        def take(state: Membership, values: tuple[Value, ...], seen: Seen) -> int:
            ends = until_ms(_text(values[until]))
            fact = TagFact(*seen.said, event == TAG_ADDED, _text(values[reason]), _text(values[by]), ends)
            _add(state, {_text(values[tag]): fact})
            return 0

        return take

    def take_trait(self, state: Membership, raw: bytes, said: Said) -> bool:
        return False

    def unite(self, winner: Membership, loser: Membership) -> None:
        _add(winner, decode_tags(loser.kept.get(TAGS)))

    def prune(self, state: Membership, now: Numbers, keep: int) -> int:
        return 0


def _text(value: Value) -> str:
    return value[:MAX_REASON] if is_text(value) else ""


def _add(state: Membership, facts: Mapping[str, TagFact]) -> None:
    """Of two words on one tag the last holds; of too many tags those that were spoken of last stay. So order cannot matter."""
    tags = decode_tags(state.kept.get(TAGS))
    for name, fact in facts.items():
        mine = tags.get(name)
        if mine is None or mine.said < fact.said:
            tags[name] = fact
    if len(tags) > MAX_TAGS:
        newest = sorted(tags, key=lambda name: (tags[name].said, name), reverse=True)
        tags = {name: tags[name] for name in newest[:MAX_TAGS]}
    if tags:
        state.kept[TAGS] = encode_tags(tags)


@dataclass(frozen=True)
class Tagged:
    """The gauge: the tags that hold."""

    reach: int = 0

    @property
    def features(self) -> tuple[Feature, ...]:
        return (Tags(),)

    def read(self, state: Membership, now: Numbers) -> frozenset[str]:
        return frozenset(name for name, fact in decode_tags(state.kept.get(TAGS)).items() if fact.holds(now[INSTANT]))

    def border(self, state: Membership, now: Numbers, leaves: Answered) -> int:
        facts = decode_tags(state.kept.get(TAGS)).values()
        return min((fact.until for fact in facts if fact.until and fact.holds(now[INSTANT])), default=0)


class Tag(Leaf):
    """The person has the tag `tag`: of the events that give and take it the last one gave it, and its `until` has not come."""

    head: ClassVar[str] = "tag"
    always: ClassVar[tuple[Feature, ...]] = (Tags(),)

    tag: Annotated[str, Field(min_length=1, max_length=MAX_TAG, strict=True)]

    def ask(self, asking: Asking) -> Holds:
        return asking.test(Tagged(), self.tag, lambda tags: self.tag in tags)

    def sql(self, gathering: Gathering) -> str:
        word = gathering.last_word([TAG_ADDED, TAG_REMOVED], "tag", self.tag, ["until"])
        bind = gathering.reading.parameters
        until = f"{word}.2"
        day = f"toString(toDayOfMonth(parseDateTime64BestEffortOrNull(substring({until}, 1, 19), 3, 'UTC')))"
        is_time = f"match({until}, {bind.text(f'^{UNTIL}$')}) AND ifNull(leftPad({day}, 2, '0') = substring({until}, 9, 2), false)"
        ends = f"toUnixTimestamp64Milli(parseDateTime64BestEffortOrNull({until}, 3, 'UTC'))"
        stands = f"NOT ({is_time}) OR ifNull({bind.number(gathering.now)} < greatest({ends}, 1), false)"
        return f"({word}.1 = {bind.text(TAG_ADDED)} AND ({stands}))"

    def holds_of(self, past: Past) -> bool:
        words = [one for one in past.history if one.event in (TAG_ADDED, TAG_REMOVED) and one.values.get("tag") == self.tag]
        if not words:
            return False
        last = max(words, key=lambda one: (one.at, one.message_id))
        until = last.values.get("until")
        ends = until_ms(until) if isinstance(until, str) else 0
        return last.event == TAG_ADDED and (not ends or past.now < ends)
