"""Single rules of the resolver, each on the real slots over fakes."""

from typing import Any

import msgspec
import pytest

from services.profile.domain.dedup import HOUR_MS, MAX_SEEN, Seen, short_hash
from services.profile.resolver_stage import ResolverStage
from shared.contracts.events import ReceivedEvent
from shared.contracts.headers import MERGED_FROM, header
from shared.contracts.identity import CONFLICT_DECODER
from shared.contracts.link_blob import Links, decode_links, encode_links
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, IDENTITY_CONFLICTED
from shared.definitions.applied import Applied
from shared.testing.histories import encoded, event, key_of
from shared.testing.scene import Scene


class Told:
    """A scene with the resolver alone, told one event after the other."""

    def __init__(self) -> None:
        self.scene = Scene(ResolverStage())
        self._number = 0

    def tell(self, type_: str, message_id: str | None = None, **fields: Any) -> ReceivedEvent:
        self._number += 1
        made = event(type_, message_id or f"m{self._number}", **fields)
        self.scene.log.append(EVENT_RECEIVED, key_of(made), encoded(made))
        self.scene.settle()
        return made

    def owner(self, made: ReceivedEvent) -> list[str]:
        """Profile ids that the event was given to."""
        records = self.scene.log.records(EVENT_RESOLVED)
        return [(record.key or b"").decode() for record in records if record.value == encoded(made)]

    def merges(self) -> set[tuple[str, str]]:
        records = self.scene.log.records(EVENT_RESOLVED)
        found = [msgspec.json.decode(record.value or b"") for record in records if header(record.headers, "kind") == b"merge"]
        return {(merge["loser"], merge["winner"]) for merge in found}

    def conflicts(self) -> set[tuple[str, str, str]]:
        found = [CONFLICT_DECODER.decode(record.value or b"") for record in self.scene.log.records(IDENTITY_CONFLICTED)]
        return {(conflict.one, conflict.two, conflict.why) for conflict in found}


def test_a_device_goes_to_its_first_user_with_all_that_it_did_alone() -> None:
    told = Told()
    alone = told.tell("track", anonymous_id="d")
    known = told.tell("identify", anonymous_id="d", user_id="ann")
    later = told.tell("track", anonymous_id="d")
    assert [told.owner(one) for one in (alone, known, later)] == [["a:d"], ["u:ann"], ["u:ann"]]
    assert told.merges() == {("a:d", "u:ann")}
    announced = [header(r.headers, MERGED_FROM) for r in told.scene.log.records(EVENT_RESOLVED) if r.value == encoded(known)]
    assert announced == [b"a:d"]


def test_a_device_that_did_nothing_alone_needs_no_merge() -> None:
    told = Told()
    told.tell("track", anonymous_id="d", user_id="ann")
    assert told.merges() == set()


def test_a_second_user_of_a_device_is_somebody_else() -> None:
    told = Told()
    told.tell("track", anonymous_id="d", user_id="ann")
    second = told.tell("track", anonymous_id="d", user_id="bob")
    alone = told.tell("track", anonymous_id="d")
    assert told.owner(second) == ["u:bob"]
    assert told.owner(alone) == ["u:ann"]
    assert told.merges() == set()
    assert told.conflicts() == set(), "sharing a device is no conflict"


def test_an_event_passes_through_byte_for_byte() -> None:
    told = Told()
    made = told.tell("track", anonymous_id="d", properties={"z": 1, "a": [1, {"b": None}]})
    assert [record.value for record in told.scene.log.records(EVENT_RESOLVED)] == [encoded(made)]


def test_two_users_with_one_email_are_a_conflict_and_two_people() -> None:
    told = Told()
    told.tell("identify", user_id="ann", ids={"email": "m@x.org"})
    told.tell("identify", user_id="bob", ids={"email": "m@x.org"})
    assert told.merges() == set()
    assert told.conflicts() == {("u:ann", "u:bob", "email:m@x.org")}


def test_two_users_with_one_email_who_were_aliased_are_no_conflict() -> None:
    told = Told()
    told.tell("alias", previous_id="ann", user_id="bob")
    told.tell("identify", user_id="ann", ids={"email": "m@x.org"})
    told.tell("identify", user_id="bob", ids={"email": "m@x.org"})
    assert told.conflicts() == set()
    assert told.merges() == {("u:bob", "u:ann")}


def test_an_alias_of_another_users_device_joins_nobody_and_is_a_conflict() -> None:
    for by_device in (None, "d"):
        told = Told()
        told.tell("track", anonymous_id="d", user_id="ann")
        told.tell("alias", previous_id="d", user_id="bob", anonymous_id=by_device)
        assert ("u:bob", "u:ann") not in told.merges()
        assert told.conflicts() == {("u:ann", "u:bob", "alias" if by_device is None else "a:d")}


def test_an_email_joins_what_came_under_it_to_the_user_who_claims_it() -> None:
    told = Told()
    before = told.tell("track", ids={"email": "m@x.org"})
    told.tell("identify", user_id="ann", ids={"email": "m@x.org"})
    after = told.tell("track", ids={"email": "m@x.org"})
    assert [told.owner(before), told.owner(after)] == [["email:m@x.org"], ["u:ann"]]
    assert told.merges() == {("email:m@x.org", "u:ann")}


def test_a_device_that_belongs_to_an_email_brings_it_to_its_user() -> None:
    told = Told()
    told.tell("identify", anonymous_id="d", ids={"email": "m@x.org"})
    told.tell("track", anonymous_id="d", user_id="ann")
    assert told.merges() == {("a:d", "email:m@x.org"), ("email:m@x.org", "u:ann")}


def test_a_claim_is_sent_once() -> None:
    told = Told()
    for _ in range(3):
        told.tell("identify", user_id="ann", ids={"email": "m@x.org"})
    links = [record for record in told.scene.log.records(EVENT_RECEIVED) if header(record.headers, "kind") == b"link"]
    assert len(links) == 1


class ByPhone(ResolverStage):
    """Under a set of definitions by which phones alone identify."""

    def compile(self, defined: Applied | None) -> tuple[str, ...]:
        return ("phone",)


def test_kinds_that_identity_yaml_does_not_name_identify_nobody() -> None:
    told = Told()
    told.scene = Scene(ByPhone())
    told.tell("identify", user_id="ann", ids={"email": "m@x.org"})
    assert len(told.scene.log.records(EVENT_RECEIVED)) == 1


def test_a_repeated_message_is_dropped_and_one_of_another_source_is_not() -> None:
    told = Told()
    told.tell("track", "m", user_id="ann")
    told.tell("track", "m", user_id="ann")
    told.tell("track", "m", user_id="ann", source_id="s2")
    assert len(told.scene.log.records(EVENT_RESOLVED)) == 2
    blobs = [decode_links(one.blob) for one in told.scene.stored()]
    assert [links.duplicates for links in blobs] == [1]


def test_a_message_is_remembered_for_a_day_and_no_longer_than_25_hours() -> None:
    told = Told()
    log = told.scene.log
    start = log.now
    for hours, known in ((0, False), (24, True), (49.5, False)):
        log.now = start + int(hours * HOUR_MS)
        before = len(log.records(EVENT_RESOLVED))
        told.tell("track", "m", user_id="ann")
        assert (len(log.records(EVENT_RESOLVED)) == before) == known, hours


def test_what_is_remembered_of_one_id_has_an_end_and_the_newest_stay() -> None:
    seen = Seen()
    hashes = [short_hash("s", str(number)) for number in range(MAX_SEEN + 10)]
    for number, message in enumerate(hashes):
        assert seen.add(message, number // 1000 * HOUR_MS)
    kept = sum(len(bucket) for _, bucket in seen.hours()) // 8
    assert MAX_SEEN // 4 <= kept <= MAX_SEEN
    again = Seen(seen.hours())
    assert not again.add(hashes[-1], (MAX_SEEN // 1000) * HOUR_MS)


def test_links_survive_their_blob() -> None:
    links = Links("u:ann", True, b"12345678", [(3, b"abcdefgh")], 2)
    assert decode_links(encode_links(links)) == links
    assert decode_links(b"") == Links()
    with pytest.raises(msgspec.DecodeError):
        decode_links(b"\xc1")
