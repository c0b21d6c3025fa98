"""One digest over all people and what each stage knows of them, without anything that tells of the order in which it was learnt.

Left out: causes, fences, markers, offsets, dedup hashes, timers, owner tokens. So it is equal for any arrival order of the same
events, after any crashes, and after a rebuild from the log.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

from shared.contracts.journey_blob import canonical_person
from shared.contracts.link_blob import decode_links
from shared.contracts.membership_blob import canonical_membership
from shared.contracts.profile_blob import canonical_profile, canonical_recent


class Stored(NamedTuple):
    """One key of one stage: the state blob that stands in the envelope (shared.runtime.envelope.peek), and the second blob's members.

    A key that is a marker of a merge (`peek` names a winner) is none.
    """

    stage: str
    key: str
    blob: bytes
    recent: list[tuple[float, bytes]] = []  # noqa: RUF012  a default that nobody changes


_CANONICAL = {
    "folder": canonical_profile,
    "segmentation": canonical_membership,
    "journeys": canonical_person,
}


def digest(stored: Iterable[Stored]) -> str:
    """SHA-256 in hex over what `lines` says."""
    hashed = sha256()
    for line in lines(stored):
        hashed.update(sha256(line).digest())
    return hashed.hexdigest()


def lines(stored: Iterable[Stored]) -> list[bytes]:
    """What the digest is made of, a line a thing, sorted: to see where two states differ."""
    found: list[bytes] = []
    forwards: dict[str, str] = {}
    for stage, key, blob, recent in stored:
        if stage == "resolver":
            forward = decode_links(blob).forward
            if forward is not None:
                forwards[key] = forward
        elif stage in _CANONICAL and blob:
            state = _CANONICAL[stage](blob)
            if state or recent:
                found.append(b"\t".join((stage.encode(), key.encode(), state, canonical_recent(recent))))
    found.extend(f"resolver\t{key}\t{root(key, forwards)}".encode() for key in forwards)
    return sorted(found)


def root(key: str, forwards: Mapping[str, str]) -> str:
    """The profile to which `key` finally leads. Raises RecursionError if forwards go in a circle."""
    passed = {key}
    while (following := forwards.get(key)) is not None:
        if following in passed:
            raise RecursionError(f"forwards go in a circle at {following}")
        passed.add(following)
        key = following
    return key
