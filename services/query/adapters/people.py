"""One person in the live view: profile, memberships, last events; and from an id a person is known by to the profile.

A merge is followed wherever it shows: by the resolver's links, and by the markers that each stage leaves where a state has moved.
Stages move one after the other, so each is followed by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice
from typing import Final

from shared.adapters.forwards import Forwards, Way
from shared.contracts.link_blob import decode_links
from shared.contracts.membership_blob import Membership, decode_membership
from shared.contracts.profile_blob import Profile, RecentEvent, decode_profile, decode_recent
from shared.contracts.redis_keys import REBUILDING, index_key, meta_key, side_key, state_key
from shared.contracts.slots import partition_count, slot
from shared.reading.live import KeySpace
from shared.runtime.absorbed import index_of
from shared.runtime.envelope import GONE, OTHERS, Entry, open_entry, peek

RESOLVER: Final = "resolver"
FOLDER: Final = "folder"
SEGMENTATION: Final = "segmentation"
MOST_IDS: Final = 1_000
IDS_BYTES: Final = 64 * 1024
"""So many ids, of so many bytes, go into one question to ClickHouse."""


@dataclass(frozen=True)
class Held:
    """One stage's state of a person. `merging`: the state of somebody merged into them is on its way. `rebuilding`: the slot is."""

    profile_id: str
    blob: bytes
    merging: bool
    rebuilding: bool


class BrokenMergesError(Exception):
    """Forwards that form a ring, which no stage writes."""


class People:
    """Finds people in one key space."""

    def __init__(self, space: KeySpace) -> None:
        self._space = space
        self._links = Forwards(partial(self._stored, RESOLVER), _link)
        self._markers = {stage: Forwards(partial(self._stored, stage), _marker) for stage in (FOLDER, SEGMENTATION)}

    async def known_by(self, typed_id: str) -> tuple[Held, Profile] | None:
        """The profile of the person whom an id leads to; None if nothing ever came under it. Raises LiveAway.

        Links say who it is, and the folder who that is to it: under a user's id events may come by devices alone, so the resolver need
        have no node for it. Links go ahead of the folder: until it holds the person under the last id, it does so under one before.
        """
        way = (await self._links.follow([typed_id]))[typed_id]
        if way.endless:
            raise BrokenMergesError(f"{RESOLVER}: {typed_id} leads in a ring")
        found = await self.profile(way.root)
        if found is not None or len(way.path) == 1:
            return found
        ways = (await self._markers[FOLDER].follow(way.path)).values()
        held = [one.path[0] for one in ways if one.raw is not None] or [one.path[0] for one in ways if len(one.path) > 1]
        return await self.profile(held[-1]) if held else None

    async def held(self, stage: str, profile_id: str) -> Held | None:
        """What `stage` holds of the person whom `profile_id` now stands for; None if it holds nothing. Raises LiveAway.

        Where a marker leads and nothing stands yet, the state itself is on its way.
        """
        way = (await self._markers[stage].follow([profile_id]))[profile_id]
        if way.endless:
            raise BrokenMergesError(f"{stage}: {profile_id} leads in a ring")
        if way.raw is None and way.root == profile_id:
            return None
        _, merging, blob = (None, True, b"") if way.raw is None else peek(way.raw)
        return Held(way.root, blob, merging, await rebuilding(self._space, stage, slot(way.root)))

    async def ids_of(self, profile_id: str) -> list[str]:
        """Ids under which things happened to the person whom an id now stands for, as far as the folder knows, the newest first.

        MOST_IDS and IDS_BYTES at most: who asks ClickHouse by these finds the others there, from merge to merge. Raises LiveAway.
        """
        way = await self._folded(profile_id)
        if way.raw is None and way.root == profile_id and (known := await self.known_by(profile_id)) is not None:
            way = await self._folded(known[0].profile_id)
        entry: Entry[bytes] = open_entry(way.raw)
        absorbed = sorted((entry.absorbed or set()) - {OTHERS})
        if OTHERS in (entry.absorbed or ()):
            (others,) = await self._space.slices([(index_key(FOLDER, slot(way.root), index_of(way.root)), 0, MOST_IDS - 1)])
            absorbed += [member.decode() for member, _ in others]
        found = dict.fromkeys((*reversed(way.path), *(one for one in absorbed if not one.startswith(GONE))))
        bytes_until = accumulate(len(one.encode()) for one in found)
        return [one for one, size in islice(zip(found, bytes_until, strict=True), MOST_IDS) if size <= IDS_BYTES]

    async def _folded(self, profile_id: str) -> Way:
        """Where the folder's markers lead from an id."""
        way = (await self._markers[FOLDER].follow([profile_id]))[profile_id]
        if way.endless:
            raise BrokenMergesError(f"{FOLDER}: {profile_id} leads in a ring")
        return way

    async def person(self, an_id: str) -> tuple[Held, Profile] | None:
        """The profile of whom an id stands for, be it a profile's or anything the person is known by. Raises LiveAway."""
        return await self.profile(an_id) or await self.known_by(an_id)

    async def profile(self, profile_id: str) -> tuple[Held, Profile] | None:
        """The profile by a profile's id, merges followed. Raises LiveAway."""
        found = await self.held(FOLDER, profile_id)
        if found is None:
            return None
        known = decode_profile(found.blob)
        return (found, known) if known.events or found.merging else None

    async def membership(self, profile_id: str) -> tuple[Held, Membership] | None:
        """The segments of a person by a profile's id, merges followed. Raises LiveAway."""
        found = await self.held(SEGMENTATION, profile_id)
        return None if found is None else (found, decode_membership(found.blob))

    async def _stored(self, stage: str, ids: Sequence[str]) -> list[bytes | None]:
        return await self._space.texts([state_key(stage, one) for one in ids])


def _link(raw: bytes) -> str | None:
    """Where the resolver's state of an id leads."""
    winner, _, blob = peek(raw)
    return winner or decode_links(blob).forward


def _marker(raw: bytes) -> str | None:
    """Where a stage's state of an id has gone."""
    return peek(raw)[0]


async def recent(space: KeySpace, profile_id: str) -> list[tuple[int, RecentEvent]]:
    """The last events that the folder keeps, newest first, each with its time in epoch ms. `profile_id` is a root."""
    (members,) = await space.slices([(side_key(FOLDER, profile_id), 0, -1)])
    return [(int(score), decode_recent(member)) for member, score in reversed(members)]


async def rebuilding(space: KeySpace, stage: str, partition: int) -> bool:
    """Whether the slot has yet to pass the end of its log as noted at its takeover. Raises LiveAway."""
    (flag,) = await space.fields(meta_key(stage, partition), [REBUILDING])
    return flag == b"1"


async def any_rebuilding(space: KeySpace, stage: str) -> bool:
    """Whether any slot of the stage is rebuilding. Raises LiveAway."""
    metas = await space.hashes([meta_key(stage, partition) for partition in range(partition_count())])
    return any(meta.get(REBUILDING) == "1" for meta in metas)
