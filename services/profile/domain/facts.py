"""Facts of which the last said holds: by event time, ties by message id, then source, then the greater value.

Of a consent and a refusal at one instant the refusal holds, whatever their message ids: whoever withdraws is heard.

Any order of saying them, and any merge, gives the same. null is said like a value, and remembered: it must win over what is older.
"""

from bisect import insort
from collections.abc import Mapping
from typing import Final

import msgspec

from services.profile.domain.bounded import NAME_CHARS, place
from shared.contracts.profile_blob import CONSENT, CONTACT, TRAIT, Said

MAX_TRAITS: Final = 200
MAX_VALUE_BYTES: Final = 1024
CONTACT_KINDS: Final = ("email", "phone", "wecom")

_RESERVED: Final = frozenset(
    {
        ".address", ".age", ".avatar", ".birthday", ".company", ".createdAt", ".description", ".email", ".firstName", ".gender", ".id",
        ".lastName", ".name", ".phone", ".title", ".username", ".website",
    }
)  # fmt: skip
"""Traits of the tracking API's spec find room before all others."""

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _when(said: Said) -> tuple[int, str, str]:
    return (said.at, said.message_id, said.source_id)


def _rank(name: str, when: tuple[int, str, str], value: bytes) -> tuple[int, bool, tuple[str, str], bytes]:
    """The greatest holds."""
    return when[0], name.startswith(CONSENT) and value == b"false", when[1:], value


def say(all_said: list[Said], at: int, message_id: str, source_id: str, facts: Mapping[str, bytes]) -> bool:
    """Take what one event says into `all_said` (oldest first). True if anything that stands is now another.

    A trait that finds no place changes nothing; one that takes another's place does.
    """
    holders = {name: said for said in all_said for name in said.facts}
    when = (at, message_id, source_id)
    won: dict[str, bytes] = {}
    changed = emptied = False
    new: set[str] = set()
    for name, value in facts.items():
        holder = holders.get(name)
        if holder is None:
            if value != b"null":
                new.add(name)
        else:
            before = holder.facts[name]
            if _rank(name, _when(holder), before) >= _rank(name, when, value):
                continue
            del holder.facts[name]
            emptied = emptied or not holder.facts
            changed = changed or before != value
        won[name] = value
    if won:
        same = next((said for said in all_said if _when(said) == when), None)
        if same is None:
            insort(all_said, Said(at, message_id, source_id, won), key=_when)
        else:
            same.facts.update(won)
        if len(holders) + len(won) > MAX_TRAITS:
            lost = _make_room(all_said)
            emptied = True
            changed = changed or any(name in holders and value != b"null" for name, value in lost.items())
            new -= lost.keys()
    if emptied:
        all_said[:] = [said for said in all_said if said.facts]
    return changed or bool(new)


def say_all(all_said: list[Said], others: list[Said]) -> None:
    """Both together."""
    for said in others:
        say(all_said, said.at, said.message_id, said.source_id, said.facts)


def _make_room(all_said: list[Said]) -> dict[str, bytes]:
    """Keep the traits of the first MAX_TRAITS names: a name that has lost its place never finds it again, so no order shows.

    Answers what lost its place.
    """
    names = sorted((name for said in all_said for name in said.facts if name.startswith(TRAIT)), key=lambda name: place(name, _RESERVED))
    out = set(names[MAX_TRAITS:])
    return {name: said.facts.pop(name) for said in all_said for name in out & said.facts.keys()}


def of_traits(traits: msgspec.Raw) -> tuple[dict[str, bytes], int]:
    """The facts that an identify's traits make, and how many traits are too large to be kept. What is no object has none."""
    try:
        found = _decode(traits)
    except msgspec.DecodeError:
        return {}, 0
    facts: dict[str, bytes] = {}
    large = 0
    for name, raw in found.items():
        value = bytes(raw)
        if len(value) > MAX_VALUE_BYTES or len(name) > NAME_CHARS:
            large += 1
        else:
            facts[TRAIT + name] = value
    for kind in CONTACT_KINDS:
        if facts.get(TRAIT + kind) == b"null":
            facts[CONTACT + kind] = b"null"
    return facts, large
