"""What messaging hears in events."""

import msgspec

from services.messaging.domain.facts import EventView, Listener

T = 1_700_000_000_000


def test_contact_points_are_heard_of_the_kinds_that_channels_use() -> None:
    event = {
        "type": "identify",
        "message_id": "m",
        "source_id": "s",
        "timestamp": T,
        "received_at": T,
        "ids": {"phone": "+8613800138000", "email": "ann@example.com"},
        "traits": {"wecom": None},
    }
    listener = Listener(frozenset(), frozenset({"phone", "wecom"}))
    raw = msgspec.json.encode(event)
    assert listener.may_say(raw)
    said = listener.said_by(msgspec.json.decode(raw, type=EventView))
    assert said is not None
    assert said.contacts == {"phone": b'"+8613800138000"', "wecom": b"null"}
