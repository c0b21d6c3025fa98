"""How a person's consent travels: in an event's context, as Segment's consent fields, or as the spec's event `Unsubscribed`.

`context.consent.categoryPreferences` maps a category to true or false. A category named like a channel speaks for that channel, and
`marketing` for every channel that nothing more particular is said of. Categories of other names (those of a cookie banner) say
nothing here.
"""

from typing import Final

import msgspec

CHANNELS: Final = ("email", "sms", "push", "wecom")
PASSED_ON: Final = ("webhook", "wecom_group")
"""Channels that address nobody: consent to them is to be named, `marketing` does not speak for them."""
EVERY_CHANNEL: Final = "marketing"
UNSUBSCRIBED: Final = "Unsubscribed"
"""A track event of this name withdraws the consent to e-mail."""

_MENTION: Final = b'"categoryPreferences"'


class _Consent(msgspec.Struct, frozen=True):
    preferences: dict[str, msgspec.Raw] = msgspec.field(name="categoryPreferences", default_factory=dict)


class _Context(msgspec.Struct, frozen=True):
    consent: _Consent | None = None


_decoder: Final = msgspec.json.Decoder(_Context)


def consents(context: bytes, event: str | None) -> dict[str, bool]:
    """Channel -> granted, of what this event says; empty if it says nothing that can be read."""
    said: dict[str, bool] = {}
    if _MENTION in context:
        try:
            consent = _decoder.decode(context).consent
        except msgspec.DecodeError:
            consent = None
        if consent is not None:
            said_as = {name: bytes(raw) for name, raw in consent.preferences.items()}  # a Raw equals no bytes
            answers = {name: raw == b"true" for name, raw in said_as.items() if raw in (b"true", b"false")}
            if EVERY_CHANNEL in answers:
                said.update(dict.fromkeys(CHANNELS, answers[EVERY_CHANNEL]))
            said.update((name, granted) for name, granted in answers.items() if name in CHANNELS or name in PASSED_ON)
    if event == UNSUBSCRIBED:
        said["email"] = False
    return said
