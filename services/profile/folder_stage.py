"""Stage `folder`: resolved events in, one profile a person out. The runtime does everything else."""

from typing import Final

import msgspec

from services.profile.domain.person import ResolvedEvent, is_forgettable, take, unite
from shared.contracts.changes import CHANGE_ENCODER, ProfileChanged
from shared.contracts.identity import Expiry
from shared.contracts.ids import is_anonymous
from shared.contracts.profile_blob import TRAIT, Profile, decode_profile, encode_profile, encode_recent
from shared.contracts.topics import DAY_MS, EVENT_RESOLVED, FOLDER_REPLAYED, PROFILE_CHANGED, PROFILE_MOVED
from shared.runtime.stage import Record, Stage, Step

EVENTS_BITS: Final = 32
"""Of a version: how many the number of events takes."""


class FolderStage(Stage[Profile, ResolvedEvent]):
    """Says profile.changed when it has become known who somebody is, or that they bought: not with every event."""

    name = "folder"
    inputs = (EVENT_RESOLVED, PROFILE_MOVED, FOLDER_REPLAYED)
    moved = PROFILE_MOVED
    side_cap = 50
    linger_ms = 80

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(ResolvedEvent).decode

    def decode(self, record: Record) -> ResolvedEvent:
        return self._decode(record.value or b"")

    def empty(self, key: str) -> Profile:
        return Profile()

    def load(self, raw: bytes) -> Profile:
        return decode_profile(raw)

    def dump(self, state: Profile) -> bytes:
        return encode_profile(state)

    def fold(self, state: Profile, item: ResolvedEvent, step: Step) -> Profile:
        at = item.at
        name = item.counted_as
        changed = take(state, item, at, name)
        topic, partition, offset = step.position
        place = offset if topic == EVENT_RESOLVED else -1
        step.side(at, encode_recent(item.message_id, item.type, item.event or "", partition, place))
        if changed and not step.held:
            self._publish(state, step)
        return state

    def merge(self, winner: Profile, loser: Profile, step: Step) -> Profile:
        return unite(winner, loser)

    def expire(self, state: Profile, expiry: Expiry, step: Step) -> Profile:
        """Nothing is said: the last summary was the last. Who is known, has refused something or came back since (a replay) stays."""
        step.gone = is_forgettable(state) and state.last_seen <= expiry.at - expiry.unseen_ms
        step.unchanged = not step.gone
        return state

    def settled(self, state: Profile, step: Step) -> Profile:
        if state.events:
            self._publish(state, step)
        return state

    def leave(self, state: Profile, winner: str, step: Step) -> None:
        if state.events:
            self._publish(state, step, winner)

    def _publish(self, state: Profile, step: Step, merged_into: str | None = None) -> None:
        """Say all about a person. The last word of a loser comes after all its others."""
        net = {code: money.net_text for code, money in state.money.items()}
        currency = state.currency
        change = ProfileChanged(
            profile_id=step.key,
            version=version(step.key, state) + (merged_into is not None),
            at=step.at,
            first_seen=state.first_seen,
            last_seen=state.last_seen,
            events=state.events,
            orders=sum(money.orders for money in state.money.values()),
            revenue="0" if currency is None else net[currency],
            currency=currency,
            revenues=net if len(net) > 1 else {},
            user_id=state.user_id,
            anonymous_ids=sorted(state.anonymous_ids),
            traits={name: msgspec.Raw(value) for name, (value, _) in sorted(state.facts(TRAIT).items())},
            merged_into=merged_into,
        )
        step.emit_last(PROFILE_CHANGED, step.key, CHANGE_ENCODER.encode(change))


def version(key: str, profile: Profile) -> int:
    """The number of events, which only grows; of an anonymous person, behind the day of the last one.

    Somebody anonymous may be forgotten and come back: what is said of them then is newer than what was said before.
    """
    day = profile.last_seen // DAY_MS if is_anonymous(key) else 0
    return (day << EVENTS_BITS) + profile.events
