"""One person in the live view: profile, memberships, last events; and from an id a person is known by to the profile.

A merge is followed wherever it shows: by the resolver's links, and by the markers that each stage leaves where a state has moved.
Stages move one after the other, so each is followed by itself.
"""

from dataclasses import dataclass
from typing import Final

from services.query.adapters.live import KeySpace
from shared.contracts.link_blob import decode_links
from shared.contracts.membership_blob import Membership, decode_membership
from shared.contracts.profile_blob import Profile, RecentEvent, decode_profile, decode_recent
from shared.contracts.redis_keys import meta_key, side_key, state_key
from shared.contracts.slots import PARTITIONS, slot
from shared.runtime.envelope import peek

RESOLVER: Final = "resolver"
FOLDER: Final = "folder"
SEGMENTATION: Final = "segmentation"
MOST_HOPS: Final = 64
"""Merges in a row that are followed; no cycle can exist, so more of them means that what was read is broken."""


@dataclass(frozen=True)
class Held:
    """One stage's state of a person. `merging`: the state of somebody merged into them is on its way. `rebuilding`: the slot is."""

    profile_id: str
    blob: bytes
    merging: bool
    rebuilding: bool


class BrokenMergesError(Exception):
    """Forwards without an end."""


async def root_of(space: KeySpace, typed_id: str) -> str | None:
    """The profile that an id leads to, by the resolver's links; None if nothing ever came under it. Raises LiveAway."""
    current = typed_id
    for _ in range(MOST_HOPS):
        (raw,) = await space.texts([state_key(RESOLVER, current)])
        if raw is None:
            return current if current != typed_id else None
        winner, _, blob = peek(raw)
        links = decode_links(blob)
        following = winner or links.forward
        if following is None:
            return current if current != typed_id or links.had else None
        current = following
    raise BrokenMergesError(RESOLVER)


async def held(space: KeySpace, stage: str, profile_id: str) -> Held | None:
    """What `stage` holds of the person whom `profile_id` now stands for; None if it holds nothing. Raises LiveAway."""
    current = profile_id
    for _ in range(MOST_HOPS):
        (raw,) = await space.texts([state_key(stage, current)])
        if raw is None:
            return None
        winner, merging, blob = peek(raw)
        if winner is None:
            return Held(current, blob, merging, await rebuilding(space, stage, slot(current)))
        current = winner
    raise BrokenMergesError(stage)


async def profile(space: KeySpace, profile_id: str) -> tuple[Held, Profile] | None:
    """The profile, merges followed. Raises LiveAway."""
    found = await held(space, FOLDER, profile_id)
    if found is None:
        return None
    known = decode_profile(found.blob)
    return (found, known) if known.events or found.merging else None


async def membership(space: KeySpace, profile_id: str) -> tuple[Held, Membership] | None:
    """The segments of a person, merges followed. Raises LiveAway."""
    found = await held(space, SEGMENTATION, profile_id)
    return None if found is None else (found, decode_membership(found.blob))


async def recent(space: KeySpace, profile_id: str) -> list[tuple[int, RecentEvent]]:
    """The last events that the folder keeps, newest first, each with its time in epoch ms. `profile_id` has no winner."""
    (members,) = await space.slices([(side_key(FOLDER, profile_id), 0, -1)])
    return [(int(score), decode_recent(member)) for member, score in reversed(members)]


async def rebuilding(space: KeySpace, stage: str, partition: int) -> bool:
    """Whether the slot has yet to pass the end of its log as noted at its takeover. Raises LiveAway."""
    (flag,) = await space.fields(meta_key(stage, partition), ["rb"])
    return flag == b"1"


async def any_rebuilding(space: KeySpace, stage: str) -> bool:
    """Whether any slot of the stage is rebuilding. Raises LiveAway."""
    metas = await space.hashes([meta_key(stage, partition) for partition in range(PARTITIONS)])
    return any(meta.get("rb") == "1" for meta in metas)
