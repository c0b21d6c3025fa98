"""One person's profile: taking an event in, and two profiles as one. Both come out the same in any order.

The functions change the profile in place.
"""

from typing import Final

import msgspec

from services.profile.domain import facts, money
from services.profile.domain.arrival import arrival
from services.profile.domain.bounded import MAX_IDS, count, meet, meet_all
from shared.contracts.consent import consents
from shared.contracts.events import PAGE_VIEWED, SCREEN_VIEWED, happened_at
from shared.contracts.ids import external
from shared.contracts.profile_blob import CONSENT, CONTACT, SHOWN_USER, Device, Profile

_NAMES: Final = {
    "page": PAGE_VIEWED,
    "screen": SCREEN_VIEWED,
    "identify": "$identify",
    "group": "$group",
    "alias": "$alias",
}
_encode: Final = msgspec.json.Encoder().encode


class ResolvedEvent(msgspec.Struct, frozen=True, gc=False):
    """What a profile is made from (shared/contracts/events.py); the rest is not read."""

    type: str
    message_id: str
    source_id: str
    timestamp: int
    received_at: int
    anonymous_id: str | None = None
    user_id: str | None = None
    event: str | None = None
    ids: dict[str, str] = {}
    properties: msgspec.Raw = msgspec.Raw(b"{}")
    traits: msgspec.Raw = msgspec.Raw(b"{}")
    context: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def at(self) -> int:
        """When it happened, epoch ms (contracts/events.py)."""
        return happened_at(self.timestamp, self.received_at)

    @property
    def counted_as(self) -> str:
        """The name under which it is counted: a track's own, else one that says what kind of call it was."""
        return _NAMES.get(self.type) or self.event or ""


def take(profile: Profile, event: ResolvedEvent, at: int, name: str) -> bool:
    """Take in an event. True if it changed whom we know: an id, a trait, a consent, an order, or that there is anybody."""
    changed = profile.events == 0
    if changed:
        profile.first_seen = profile.last_seen = at
    elif at < profile.first_seen:
        profile.first_seen = at
    elif at > profile.last_seen:
        profile.last_seen = at
    profile.events += 1
    count(profile.counts, name)
    if event.user_id is not None:
        changed = meet(profile.user_ids, event.user_id, at) or changed
    if event.anonymous_id is not None:
        changed = meet(profile.anonymous_ids, event.anonymous_id, at) or changed
    for kind, value in event.ids.items():
        changed = meet(profile.external_ids, external(kind, value), at) or changed
    kind_of_trade = money.TRADES.get(name) if event.type == "track" else None
    if kind_of_trade is not None:
        changed = True
        fault = money.trade(profile.money, kind_of_trade, event.properties)
        if fault is not None:
            _ignore(profile, fault, 1)
    context = bytes(event.context)
    if len(context) > 2:
        _take_arrival(profile, context, at, event.message_id)
    said = _said(profile, event, context)
    if said:
        changed = facts.say(profile.said, at, event.message_id, event.source_id, said) or changed
    return changed


def is_forgettable(profile: Profile) -> bool:
    """Whether all that is known are things done by somebody unknown: no id but a device's, and nothing that was refused."""
    refused = any(value == b"false" for value, _ in profile.facts(CONSENT).values())
    return not (profile.user_ids or profile.external_ids or refused)


def _said(profile: Profile, event: ResolvedEvent, context: bytes) -> dict[str, bytes]:
    """All facts that this event states."""
    said: dict[str, bytes] = {}
    if event.type == "identify":
        said, large = facts.of_traits(event.traits)
        if large:
            _ignore(profile, money.Fault.TRAIT_TOO_LARGE, large)
    elif event.type == "alias" and event.user_id is not None:
        said[SHOWN_USER] = _encode(event.user_id)
    for kind, value in event.ids.items():
        said[CONTACT + kind] = _encode(value)
    for channel, granted in consents(context, event.event).items():
        said[CONSENT + channel] = b"true" if granted else b"false"
    return said


def _take_arrival(profile: Profile, context: bytes, at: int, message_id: str) -> None:
    touch, device = arrival(context, at, message_id)
    if touch is not None:
        if profile.first_touch is None or touch < profile.first_touch:
            profile.first_touch = touch
        if profile.last_touch is None or touch > profile.last_touch:
            profile.last_touch = touch
    if device is not None:
        _meet_device(profile.devices, *device)


def _meet_device(devices: dict[str, Device], key: str, device: Device) -> None:
    other = devices.get(key)
    if other is None or device > other:
        devices[key] = device
        if len(devices) > MAX_IDS:
            del devices[min(devices, key=lambda one: (devices[one].at, one))]


def _ignore(profile: Profile, fault: money.Fault, times: int) -> None:
    profile.ignored[fault.value] = profile.ignored.get(fault.value, 0) + times


def unite(winner: Profile, loser: Profile) -> Profile:
    """Both as one; the same whichever of them is called the winner."""
    if not loser.events:
        return winner
    if not winner.events:
        return loser
    winner.events += loser.events
    winner.first_seen = min(winner.first_seen, loser.first_seen)
    winner.last_seen = max(winner.last_seen, loser.last_seen)
    meet_all(winner.user_ids, loser.user_ids.items())
    meet_all(winner.anonymous_ids, loser.anonymous_ids.items())
    meet_all(winner.external_ids, loser.external_ids.items())
    facts.say_all(winner.said, loser.said)
    for name, times in loser.counts.items():
        count(winner.counts, name, times)
    money.unite(winner.money, loser.money)
    touches = [touch for touch in (winner.first_touch, loser.first_touch) if touch is not None]
    winner.first_touch = min(touches, default=None)
    touches = [touch for touch in (winner.last_touch, loser.last_touch) if touch is not None]
    winner.last_touch = max(touches, default=None)
    for key, device in loser.devices.items():
        _meet_device(winner.devices, key, device)
    for fault, times in loser.ignored.items():
        winner.ignored[fault] = winner.ignored.get(fault, 0) + times
    return winner
