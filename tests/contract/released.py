"""One value of everything that is kept in positional msgpack, with every field filled: what the fixtures of released forms are made of.

`python -m tests.contract.released` prints a line of JSON, name -> hex, by the code that it runs in. To keep a release's forms, run this
file in a checkout of it and store the line in data/ (data/SOURCE.md).
"""

import json
from collections.abc import Callable
from typing import Any, Final

from shared.contracts.journey_blob import Consent, Entry, Fact, Person, SendStep, WaitStep, decode_person, encode_person
from shared.contracts.link_blob import Links, decode_links, encode_links
from shared.contracts.membership_blob import Membership, TraitFact, decode_membership, encode_membership
from shared.contracts.profile_blob import (
    Device,
    Money,
    Profile,
    RecentEvent,
    Said,
    Touch,
    decode_profile,
    decode_recent,
    encode_profile,
    encode_recent,
)
from shared.runtime.envelope import Entry as Envelope
from shared.runtime.envelope import Moved, close_entry, decode_moved, encode_moved, open_entry
from shared.runtime.meta import Meta
from shared.runtime.outbox import Outbox, decode_outbox, encode_outbox
from shared.runtime.stage import Output

AT: Final = 1_767_225_600_123

PROFILE: Final = Profile(
    events=7,
    first_seen=AT - 5,
    last_seen=AT,
    user_ids={"17850": AT},
    anonymous_ids={"b1": AT - 1, "b2": AT - 2},
    external_ids={"email:a@b.example": AT - 3},
    said=[
        Said(AT - 3, "m-1", "web", {".plan": b'"gold"', "@email": b'"a@b.example"', "?email": b"true"}),
        Said(AT, "m-2", "app", {".age": b"41", ".note": b"null", "=": b'"17850"'}),
    ],
    counts={"Order Completed": 3, "": 1},
    money={"GBP": Money(3, 1, 1, 1_234_567, "98765432109876543210"), "": Money(1)},
    first_touch=Touch(AT - 5, "m-0", "google", "cpc", "spring", "shoes", "ad-1", "https://x.example/?q"),
    last_touch=Touch(AT, "m-2", referrer="https://y.example/"),
    devices={"d-1": Device(AT, "phone", "Maker", "Model", "OS 9")},
    ignored={"amount": 2},
)
LINKS: Final = Links("u:17850", True, b"12345678", [(490_896, b"abcdefgh" * 2), (490_897, b"ijklmnop")], 4)
MEMBERSHIP: Final = Membership(
    version=2**63 - 25,
    due=AT + 60_000,
    series={"f1": [29_453_760, 2, 29_453_761, 1], "f2": []},
    traits={"plan": TraitFact(AT, "m-2", "app", "gold"), "age": TraitFact(AT, "m-2", "app", 410_000), "x": TraitFact(1, "m", "s", None)},
    members={"important": AT - 9},
    left={"new_customer": AT - 1},
)
OLD_PERSON: Final = Person(
    contacts={"email": Fact(AT - 3, "m-1", "web", b'"a@b.example"')},
    traits={"name": Fact(AT, "m-2", "app", b'"Ann"')},
    consents={"email": Consent(AT - 3, "m-1", "web", True), "email/news": Consent(AT, "m-2", "app", False)},
    entries=(
        Entry(
            b"0123456789abcdef",
            "keep_important",
            12345678901234567890,
            "u:17850",
            "important",
            AT - 9,
            86_400_000,
            AT - 8,
            (1,),
            AT + 1,
            (SendStep("steps[1]", "email", "thanks", "marketing", 3_600_000, 2, 604_800_000), WaitStep("steps[2]", 60_000)),
        ),
        Entry(b"fedcba9876543210", "welcome", 1, "a:b1", "new_customer", AT - 99, 0, 0, (), 0),
    ),
)
PERSON: Final = Person(
    contacts=OLD_PERSON.contacts | {"phone": Fact(AT, "m-3", "app", b'"+8613800138000"')},
    traits=OLD_PERSON.traits,
    consents=OLD_PERSON.consents,
    entries=(
        *OLD_PERSON.entries,
        Entry(b"00112233445566aa", "welcome", 2, "a:b1", "new_customer", AT - 2, 0, AT - 1, (3,), AT + 9),
    ),
)
RECENT: Final = RecentEvent("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "track", "Order Completed", 5, 2**40)
RECENT_NAMED: Final = RecentEvent("m-2", "identify", "", 0, 7)
MOVED: Final = Moved("a:b1", encode_links(LINKS), ["a:b0"], ["a:b9"], [(float(AT), b"side")])
OUTBOX: Final = Outbox(
    "rapport.event.received.v1",
    [
        Output("rapport.event.resolved.v1", 3, b"u:17850", None, [("cause", b"resolver|rapport.event.received.v1|3|41|0")], 41),
        Output("rapport.event.received.v1", 6, b"a:b1", b'{"kind":"claim"}', [("cause", b"resolver|x|3|41|1"), ("kind", b"link")], 41),
    ],
)
META: Final = {
    "seq": "41",
    "t": "17|3",
    "rb": "1",
    "on": "rapport.event.resolved.v1",
    "f|rapport.event.resolved.v1": "1001",
    "c|rapport.event.resolved.v1|resolver|rapport.event.received.v1|3": str((41 << 24) | 2),
    "k|0": str(AT),
    "k|7": str(AT - 1),
    "p|rapport.profile.changed.v1|3": "77",
}


def _envelope(**fields: Any) -> Envelope[Any]:
    entry: Envelope[Any] = Envelope()
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


def _told(entry: Envelope[Any]) -> tuple[Any, ...]:
    return entry.winner, entry.due, entry.blob, entry.absorbed, entry.awaiting


PLAIN: Final = _envelope(due=AT, blob=b"blob")
MARKER: Final = _envelope(winner="u:17850")
MERGED: Final = _envelope(due=AT, blob=b"blob", absorbed={"a:b1", "a:b2"}, awaiting={"a:b9"})


def _meta(fields: dict[str, str]) -> Meta:
    meta = Meta.decode(fields)
    meta.stored = None
    return meta


FORMS: Final[dict[str, tuple[Any, bytes, Callable[[bytes], Any]]]] = {
    "profile": (PROFILE, encode_profile(PROFILE), decode_profile),
    "recent": (RECENT, encode_recent(*RECENT), decode_recent),
    "recent, no UUID": (RECENT_NAMED, encode_recent(*RECENT_NAMED), decode_recent),
    "links": (LINKS, encode_links(LINKS), decode_links),
    "membership": (MEMBERSHIP, encode_membership(MEMBERSHIP), decode_membership),
    "journeys": (PERSON, encode_person(PERSON), decode_person),
    "moved": (MOVED, encode_moved(MOVED), decode_moved),
    "outbox": (OUTBOX, encode_outbox(OUTBOX), decode_outbox),
    "envelope, plain": (_told(PLAIN), close_entry(PLAIN, b"blob"), lambda raw: _told(open_entry(raw))),
    "envelope, marker": (_told(MARKER), close_entry(MARKER, b""), lambda raw: _told(open_entry(raw))),
    "envelope, merged": (_told(MERGED), close_entry(MERGED, b"blob"), lambda raw: _told(open_entry(raw))),
    "meta": (META, json.dumps(_meta(META).changed(), sort_keys=True).encode(), lambda raw: _meta(json.loads(raw)).changed()),
}
"""Name -> the value, its bytes by this code, and the reader that gives the value back."""
MEANT: Final[dict[str, Any]] = {"journeys": OLD_PERSON}
"""Forms whose version was raised since the last release: what its fixture means."""


if __name__ == "__main__":
    print(json.dumps({name: written.hex() for name, (_, written, _) in FORMS.items()}))  # noqa: T201 - to be stored
