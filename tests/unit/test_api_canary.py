"""A person with something personal in every field that any record can carry: no answer to a key that may only read shows any of it."""

import re
from dataclasses import replace

import msgspec
import pytest

from services.query.app import build
from shared.contracts.events import RejectedEvent
from shared.contracts.failed import FAILED_ENCODER, FailedRecord, FailureReason
from shared.contracts.membership_blob import Membership, encode_membership
from shared.contracts.profile_blob import CONTACT, TRAIT, Device, Money, Profile, Said, Touch, encode_recent
from shared.contracts.redis_keys import side_key
from shared.contracts.tag_blob import TAGS, TagFact, encode_tags
from shared.contracts.topics import EVENT_REJECTED, RECORD_FAILED
from shared.definitions.catalogue import NOTHING_PUBLIC
from tests.api_fakes import World
from tests.api_stores import ADMIN, READ
from tests.query_fakes import World as QueryWorld

AT = 1_780_000_000_000
PERSON = "u:17"
MAIL, PHONE, NAME, STREET, BORN, HEALTH = "canary@example.com", "+447700900123", "Canary Bird", "5 Cage Lane", "1990-05-17", "diabetes"
PERSONAL = (
    MAIL, "canary%40example.com", PHONE, "7700900123", NAME, "Canary", "Cage", "1990-05", "05-17", HEALTH, "10.9.8.7", "s3cr3t-token",
)  # fmt: skip
URL = "https://shop.example/account/canary%40example.com?email=canary%40example.com&t=s3cr3t-token"
FIELDS = {
    "given_name": NAME, "surname": NAME, "family_name": NAME, "fullName": NAME, "contact_name": NAME, "收件人": NAME, "dob": BORN,
    "birthday": BORN, "cell": PHONE, "mobile": PHONE, "qq": "10.9.8.7", "mail": MAIL, "email": MAIL, "note": f"write to {MAIL}",
    "street": STREET, "addr": {"line1": STREET, "lines": [STREET]}, "condition": HEALTH, "url": URL, "path": f"/u/{MAIL}",
    "referrer": URL, "order_id": MAIL, "coupon": PHONE, MAIL: 1, "products": [{"name": MAIL, "gift_to": NAME}],
}  # fmt: skip
CONTEXT = {
    "ip": "10.9.8.7", "page": {"url": URL, "referrer": URL, "title": NAME, "search": URL}, "traits": FIELDS, "campaign": {"term": MAIL},
    "device": {"id": NAME, "name": NAME}, "userAgent": NAME, "location": {"city": STREET},
}  # fmt: skip


def planted() -> World:
    world = World()
    facts = {TRAIT + name: msgspec.json.encode(value) for name, value in FIELDS.items()}
    touch = Touch(AT, "m", MAIL, "cpc", MAIL, MAIL, MAIL, URL)
    world.space.profile(
        PERSON,
        Profile(
            events=2,
            first_seen=AT,
            last_seen=AT,
            user_ids={"17": AT, MAIL: AT},
            anonymous_ids={MAIL: AT},
            external_ids={f"email:{MAIL}": AT, f"phone:{PHONE}": AT, f"wecom:{NAME}": AT},
            said=[Said(AT, "m", "web", {**facts, CONTACT + "email": msgspec.json.encode(MAIL)})],
            counts={f"Clicked {MAIL}": 1, f"Called {PHONE}": 1},
            money={"EUR": Money(orders=1)},
            first_touch=touch,
            last_touch=touch,
            devices={NAME: Device(AT, "phone", MAIL, MAIL, MAIL)},
        ),
    )
    world.space.link(PERSON)
    world.space.add(side_key("folder", PERSON), AT, encode_recent(MAIL, "track", MAIL[:32], 0, 1))
    world.space.member("big_spenders", f"email:{MAIL}", AT)
    tag = TagFact(AT, "m", "web", True, reason=f"{NAME} has {HEALTH}", by=MAIL)
    tags = encode_tags({f"call {PHONE}": tag, "vip": tag})
    world.space.state("segmentation", PERSON, encode_membership(Membership(version=1, kept={TAGS: tags})))
    whole = {"properties": FIELDS, "traits": FIELDS, "context": CONTEXT}
    event = {
        "message_id": MAIL, "source_id": "web", "type": "track", "event": f"Clicked {MAIL}", "name": URL, "profile_id": f"email:{MAIL}",
        "user_id": MAIL, "anonymous_id": MAIL, "timestamp_ms": AT, "original_ms": AT, "sent_ms": AT, "received_ms": AT,
        "raw": msgspec.json.encode(whole).decode(), "partition": 1, "offset": 5,
    }  # fmt: skip
    message = {
        "dispatch_id": "d", "journey": "j", "step": "s", "profile_id": f"phone:{PHONE}", "channel": "email", "template": "t",
        "status": "sent", "at_ms": AT, "reason": "", "provider": "smtp", "provider_message_id": None, "to_masked": "c***@example.com",
    }  # fmt: skip
    transition = {
        "profile_id": f"u:{MAIL}", "segment": "big_spenders", "transition": "entered", "at_ms": AT, "decided_ms": AT, "version": 7,
        "by_event": MAIL, "reason": "event",
    }  # fmt: skip
    conflict = {"one": f"email:{MAIL}", "two": f"u:{MAIL}", "why": f"phone:{PHONE}", "at_ms": AT}
    world.history.canned.update(events=[event], messages=[message], transitions=[transition], conflicts=[conflict])
    rejected = RejectedEvent(
        reason="invalid_field", message=f"traits.{MAIL}: is an object", field=MAIL, received_at=AT, source_id="web", path="/v1/t",
        original=msgspec.json.encode(whole),
    )  # fmt: skip
    letter = FailedRecord(
        stage="folder", topic="t", partition=0, offset=1, reason=FailureReason.UNDECODABLE, detail=f"{MAIL} is wrong", failed_at=AT,
        key=f"email:{MAIL}".encode(), value=msgspec.json.encode(whole), headers=[],
    )  # fmt: skip
    world.log.put(EVENT_REJECTED, 0, msgspec.json.encode(rejected), AT)
    world.log.put(RECORD_FAILED, 0, FAILED_ENCODER.encode(letter), AT)
    return world


WORLD = planted()
VALUES = {
    "{profile_id}": PERSON,
    "{key}": "big_spenders",
    "{place_id}": "0:0",
    "{place}": "0:0",
    "{rebuild_id}": "0" * 16,
    "{number}": "1",
    "{kind}": "segment",
    "{name}": "big_spenders",
}
NEEDED = {":lookup": {"user_id": "17"}, ":plan": {"view": "profile"}}
GETS = sorted(path for path, operations in WORLD.document()["paths"].items() if "get" in operations and path.startswith("/api/v1/"))


@pytest.mark.parametrize("path", GETS)
@pytest.mark.parametrize("key", [READ, ADMIN])
async def test_no_answer_shows_anything_personal_to_a_key_without_the_scope(path: str, key: str) -> None:
    asked = path.removeprefix("/api/v1/")
    for name, value in VALUES.items():
        asked = asked.replace(name, value)
    query = next((query for end, query in NEEDED.items() if asked.endswith(end)), {})
    answer = await WORLD.get(asked, key, **query)
    assert answer.status_code in (200, 403, 404), answer.text
    assert [one for one in PERSONAL if one.lower() in answer.text.lower()] == []


async def test_the_canary_is_there_to_be_found() -> None:
    """What the test above looks for is shown to a key with the scope: it could fail."""
    assert len(GETS) > 10
    for asked in (f"profiles/{PERSON}", f"profiles/{PERSON}/events", "rejected-events", "dead-letters"):
        answer = await WORLD.get(asked)
        assert re.search("canary", answer.text), (asked, answer.text[:300])


async def test_a_series_by_a_property_that_is_not_public_masks_its_values() -> None:
    world = QueryWorld()
    world.history.canned["timeseries"] = [{"bucket": "2026-03-02", "group": group, "value": 3} for group in (MAIL, "Leeds Town")]
    body = {"event": "X", "from": "2026-03-01T00:00:00Z", "to": "2026-03-04T00:00:00Z", "group_by": "country"}
    for grouping, shown in (("country", {"c***@example.com", "Leeds Town"}), ("list_id", {"c***@example.com", "Leeds Town"})):
        answer = await world.post("queries/timeseries", {**body, "group_by": grouping}, READ)
        assert {one["group"] for one in answer.json()["data"]} == shown
    world.app = build(replace(world.parts, catalogue=lambda: NOTHING_PUBLIC))
    answer = await world.post("queries/timeseries", body, READ)
    assert {one["group"] for one in answer.json()["data"]} == {"c***@example.com", "L***n"}
