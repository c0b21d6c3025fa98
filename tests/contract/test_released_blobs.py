"""What the last release has stored is read to the same meaning, and what this one stores the last one can read."""

import json
from pathlib import Path

import pytest

from shared.contracts.journey_blob import decode_person
from shared.contracts.link_blob import decode_links
from shared.contracts.membership_blob import decode_membership
from shared.contracts.profile_blob import decode_profile, decode_recent
from shared.contracts.versions import MARK, NewerVersion, stamped
from shared.runtime.envelope import decode_moved, open_entry
from shared.runtime.meta import Meta
from shared.runtime.outbox import decode_outbox
from shared.runtime.ports import NewerRelease
from tests.contract.released import FORMS, MEANT

DATA = Path(__file__).parent / "data"
RELEASED = json.loads((DATA / "released_blobs.json").read_text())
RAISED = json.loads((DATA / "raised_blobs.json").read_text())


def test_every_form_has_a_fixture() -> None:
    assert set(FORMS) == set(RELEASED)
    assert set(MEANT) == set(RAISED) <= set(FORMS)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_what_the_last_release_stored_is_read_to_the_same_meaning(name: str) -> None:
    value, _, read = FORMS[name]
    assert read(bytes.fromhex(RELEASED[name])) == MEANT.get(name, value)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_what_is_stored_now_is_what_the_last_release_reads_or_a_version_that_it_refuses(name: str) -> None:
    """An added field is dropped by an older reader without a word. So it is a new version, which older readers refuse, and not this one."""
    value, written, read = FORMS[name]
    assert written.hex() == RAISED.get(name, RELEASED[name])
    assert name not in RAISED or (written[0] == MARK and read(written) == value)


def test_a_letter_that_the_last_release_replayed_counts_as_replayed() -> None:
    """Its form of that field is only read: README.md, Versions, says what a step back forgets."""
    meta = Meta.decode({"seq": "1", "r|3:5": "1"})
    assert not meta.replayed.take("3:5", 0)
    assert meta.replayed.take("3:6", 0)


@pytest.mark.parametrize(("read", "newest"), [
    (decode_profile, 1), (decode_links, 1), (decode_membership, 1), (decode_person, 2), (decode_moved, 1),
])  # fmt: skip
def test_a_newer_version_is_refused_by_name_and_not_taken_for_rubbish(read: object, newest: int) -> None:
    assert callable(read)
    said = rf"is of version {newest + 1}, written by a newer release; this one reads up to version {newest}: start the newer"
    with pytest.raises(NewerVersion, match=said):
        read(stamped(b"\x93whatever", newest + 1))


def test_a_newer_outbox_envelope_or_event_is_refused_too() -> None:
    with pytest.raises(NewerRelease, match="the outbox of a slot is of version 3"):
        decode_outbox(stamped(b"\x92", 3))
    with pytest.raises(NewerVersion, match="the envelope of a state is of version 7"):
        open_entry(b"\x07whatever")
    with pytest.raises(NewerVersion, match="one of the last events is of version 2"):
        decode_recent(b"\x95\xc4\x01m\x10\xa0\x00\x07")


def test_the_state_of_nobody_has_no_version() -> None:
    assert stamped(b"", 2) == b""
